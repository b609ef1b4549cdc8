# %% [markdown]
# # 08. Distillation: from a cumbersome teacher to no labels at all
#
# **Who teaches, when nobody has labels?** A large trained network can teach a small one, because its output says more
# than a label does. Now take the labels away, and then the large network too. What is left is a network that learns
# from a slow copy of itself. The easiest solution is to give the same output for every picture. This solution would
# satisfy both networks. Why do the two networks not choose it?
#
# **You will be able to** derive the factor $\tau^2$ in the loss of knowledge distillation, and use distillation to
# teach a student a class that is missing from its training pictures. You can write BYOL, SimSiam, Barlow Twins and DINO
# in a few lines each and check them. You can say what keeps each method from collapsing (to the same output for every
# picture), because you have switched off each remedy yourself. You can read a transformer's attention, and measure
# whether the attention finds the object.
#
# **You need** notebook 03: views, projection head, the random encoder as the baseline.
#
# **Lectures** Deck MLMI17, *Advanced Computer Vision: representation learning, generative models*: slides
# *Distillation-based Self-Supervision* to *Why does it learn local information?*. Deck REP, *Representation Learning*:
# *DINO*. Deck AIA, *Automatic Image Analysis, lecture 13*: *Barlow Twins*. Deck ENS, *Apprentissage continu de
# représentations visuelles*: *Peut-on apprendre une représentation sans échantillon négatif ?* to *DINO:
# Self-Distillation with No Labels*.
#
# **Time** Reading takes an hour and a half, and computing about four minutes on two cores. Long experiments were run
# beforehand (`make results`). Here their results are plotted.

# %%
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from IPython.display import display
from ipywidgets import Checkbox, Dropdown, FloatLogSlider, IntSlider, SelectionSlider
from torch import nn

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.augment import MultiCrop
from course_lib.data import as_float, load
from course_lib.distillation.byol import BYOL, byol_loss
from course_lib.distillation.dino import DINO, Prototypes, dino_loss
from course_lib.distillation.knowledge import (
    KnowledgeDistillation,
    distillation_loss,
    soft_targets,
)
from course_lib.distillation.simsiam import SimSiam, negative_cosine
from course_lib.distillation.vit_experiments import class_attention
from course_lib.nets.vit import Attention, ViT
from course_lib.notebook import (
    bars_with_spread,
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    show,
    similarity_matrix,
    subplots,
)
from course_lib.redundancy.barlow_twins import (
    BarlowTwins,
    barlow_twins_loss,
    cross_correlation,
)
from course_lib.teacher import cosine_momentum, ema

# "smoke" shows that the notebook runs, "laptop" and "gpu" that the methods work
BUDGET = budget()
train, test = load("scenes", "train"), load("scenes", "test")


def training(name, steps, method=None, **more):
    """Returns the recipe's method and an iterator over its training, which is drawn
    live. At smoke budget the training has only a few small updates."""
    recipe = recipes.lookup(name)
    method = recipes.build(recipe, seed=0) if method is None else method
    steps, batch_size = (
        (8, 32)
        if BUDGET == "smoke"
        else (steps * 8 if BUDGET == "gpu" else steps, None)
    )
    return method, live(
        recipes.train(
            recipe, method, train, seed=0, steps=steps, batch_size=batch_size
        ),
        **more,
    )


# %% [markdown]
# ## 1. What a teacher says beyond the label
#
# The course's supervised network was trained on nine categories of emoji. Below you see its predictions for scenes with
# held-out emoji (*unseen* in the figures). The label of the first scene is one word, *objects*. The teacher's
# probabilities say more: the emoji is quite possibly food, but surely not a flag. Hinton, Vinyals and Dean (2015;
# MLMI17 shows their *cumbersome model*) call this additional information *dark knowledge*. Usually it cannot be seen,
# because the large probability hides the small ones. A temperature $\tau$ makes the small probabilities visible:
#
# $$q_i = \frac{\exp(v_i/\tau)}{\sum_j \exp(v_j/\tau)} \qquad\text{for the teacher's logits } v.$$
#
# **Try it.** At which temperature do you see which other categories the teacher considers? At which temperature do the
# teacher's probabilities no longer carry any information?

# %%
teacher = zoo.load("supervised")
pictures = as_float(test.x[[0, 40, 77, 120, 203, 260]])
with torch.no_grad():
    logits = teacher.classifier(teacher.encode(pictures))


def draw_soft_labels(temperature, picture):
    q = soft_targets(logits, temperature)[picture]
    figure, (left, right) = subplots(1, 2, height=3.0)
    left.imshow(rearrange(pictures[picture], "c h w -> h w c"))
    left.set_axis_off()
    right.barh(
        range(9),
        q,
        color=[
            "C1" if c == test.y[[0, 40, 77, 120, 203, 260]][picture] else "C0"
            for c in range(9)
        ],
    )
    right.set_yticks(range(9), test.classes)
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="probability", title="orange: the label")
    entropy = torch.special.entr(q).sum().item()
    title = f"Soft targets at temperature {temperature:.2g}: entropy {entropy:.2f} of at most ln 9 = {math.log(9):.2f} nats"
    figure.suptitle(title, x=0.01, ha="left")
    return describe(
        figure,
        title
        + ". "
        + ", ".join(f"{name} {p:.2f}" for name, p in zip(test.classes, q.tolist())),
    )


explore(
    draw_soft_labels,
    temperature=FloatLogSlider(1.0, base=10, min=-1, max=2, step=0.1),
    picture=IntSlider(0, 0, len(pictures) - 1),
)

# %% [markdown]
# **The loss.** The student has logits $u$ and probabilities $p_i \propto \exp(u_i/\tau)$, which should agree with the
# teacher's $q_i$. Hinton minimises the cross-entropy $H(q, p) = -\sum_i q_i\log p_i$. We have
# $H(q, p) = H(q) + \mathrm{KL}(q\,\|\,p)$, and the teacher's entropy $H(q)$ does not depend on the student. So the KL
# divergence has the same gradient as the cross-entropy, and the KL divergence is 0 where $p$ and $q$ agree. Step by
# step:
#
# $$\frac{\partial}{\partial u_k}\log p_i = \frac{1}{\tau}(\mathbb{1}[i = k] - p_k)
# \quad\Rightarrow\quad
# \frac{\partial\,\mathrm{KL}}{\partial u_k} = -\sum_i q_i\,\frac{1}{\tau}(\mathbb{1}[i = k] - p_k) = \frac{1}{\tau}(p_k - q_k).$$
#
# Now let $\tau$ be large compared with the logits. Then $\exp(u/\tau) \approx 1 + u/\tau$. So with $C$ classes and
# logits centred to a mean of zero, $p_k \approx \frac1C(1 + u_k/\tau)$, and $q_k$ has the same form with $v_k$. The
# gradient becomes
#
# $$\frac{\partial\,\mathrm{KL}}{\partial u_k} \approx \frac{1}{\tau}\cdot\frac{1}{C\tau}(u_k - v_k) = \frac{u_k - v_k}{C\tau^2}.$$
#
# Two things follow. First, distillation at high temperature **matches logits**. Its gradient has the same direction as
# the gradient of the squared error $\frac{1}{2C}\sum_k(u_k - v_k)^2$. Second, the gradient shrinks like $1/\tau^2$.
# Therefore the loss is multiplied by $\tau^2$. Often the student also has a second loss, the cross-entropy with the
# hard labels. Without the factor $\tau^2$, the temperature would also change the weight of the distillation loss
# relative to this second loss.


# %%
def distillation_by_hand(student, teacher, tau):
    loss = 0
    for u, v in zip(student, teacher):
        q, p = (
            (v / tau).exp() / (v / tau).exp().sum(),
            (u / tau).exp() / (u / tau).exp().sum(),
        )
        loss += sum(
            q_i * math.log(q_i / p_i) for q_i, p_i in zip(q.tolist(), p.tolist())
        )
    return tau**2 * loss / len(student)


torch.manual_seed(0)
u, v = torch.randn(2, 5, 9, dtype=torch.float64)
for tau in (0.5, 1.0, 4.0):
    torch.testing.assert_close(
        distillation_loss(u, v, tau).item(), distillation_by_hand(u, v, tau)
    )

u.requires_grad_()
gradient = torch.autograd.grad(distillation_loss(u, v, 1000.0), u)[0]
limit = ((u - u.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))) / (9 * len(u))
torch.testing.assert_close(gradient, limit.detach(), rtol=1e-2, atol=1e-4)
show(KnowledgeDistillation)

# %% [markdown]
# **Does it work?** The student has a quarter of the teacher's width. It is trained without labels, and learns only from
# the teacher's outputs. (MLMI17 and ENS show both the distillation loss and the loss with labels. ENS adds that *often
# only the distillation loss is used*, and we do so here.)

# %%
student, run = training("distillation", 150)
for step in run:
    pass


def label_accuracy(method):
    """Share of test scenes that the method's own classifier gets right."""
    method.eval().to("cpu")
    unseen = test[:500] if BUDGET == "smoke" else test
    return evaluate.accuracy(
        method.classifier(evaluate.features(method, unseen.x)).detach(), unseen.y
    )


weights = {
    "teacher": nn.ModuleList([teacher.encoder, teacher.classifier]),
    "student": nn.ModuleList([student.encoder, student.classifier]),
}
for name, net in weights.items():
    accuracy = label_accuracy({"teacher": teacher, "student": student}[name])
    print(
        f"{name}: {sum(p.numel() for p in net.parameters()):,} weights, {accuracy:.3f} "
        "of unseen emoji right"
    )

# %% [markdown]
# How much do *soft* targets improve the accuracy? We repeat MLMI17's experiment: the same student learns from the same
# pictures, with soft targets or with labels only. The difference is clear when there are few pictures. A label carries
# little information. The teacher's nine probabilities describe what the teacher sees in one particular picture, and
# they work as a regulariser. (Hinton et al., section 5: with 3 % of the data, a network with hard targets overfits
# badly, and a network with soft targets hardly overfits.) The teacher itself was trained with all labels, so its soft
# targets pass on information from all of them.

# %%
labels = {
    f"{title}, {share} of the emoji": values
    for share in ("1%", "10%", "100%")
    for title, values in experiments.values("distillation-labels", share).items()
}
bars_with_spread(
    labels,
    xlabel="accuracy on unseen emoji",
    title="By what the student is told; 200 updates, 3 seeds",
)

# %% [markdown]
# With 1 % of the emoji, soft targets improve the accuracy by seven points, and they help with each seed. From 10 % on
# there is no difference between soft targets and labels. A network as small as this one does not learn more in 200
# updates. And with that many scenes, the labels alone give enough information.
#
# **A class that the student never sees.** This is the paper's most striking experiment, repeated on digits. All threes
# are taken out of the student's training pictures. With labels only, the student cannot know that there is a three.
# Soft targets tell the student how similar each eight and each five is to a three, according to the teacher. The
# student's bias for *three* comes out too low, because none of its training pictures was a three. The paper raises this
# one number until as many digits as possible are classified correctly, and so do we (on training digits).

# %%
unshown = {}
for row in experiments.read("distillation-unshown")["rows"]:
    for measure, title in (
        ("unshown", "threes"),
        ("unshown_bias", "threes, bias raised"),
        ("all_bias", "all digits, bias raised"),
    ):
        unshown.setdefault(f"{row['setting']}: {title}", []).append(row[measure])
bars_with_spread(
    unshown,
    xlabel="accuracy on test digits",
    title="A student that was never shown a three; 1500 updates, 3 seeds",
)

# %% [markdown]
# With labels only, no three is ever recognised, whatever value the bias for *three* has. With soft targets more than
# half of the threes are recognised. With the raised bias, nearly nine of ten are recognised. Yet the student has never
# seen a three, and no label ever told it that there is a tenth digit.
#
# ## 2. No labels, no large network: BYOL
#
# Without labels there is no trained teacher. BYOL (*Bootstrap Your Own Latent*, Grill et al. 2020; ENS) makes a teacher
# out of earlier versions of the student. BYOL has two networks of the same shape. The **online** network sees one view
# of a picture, and learns to predict the output of the **target** network for another view. The target is never
# trained. Its weights are a moving average, with **momentum** $\mu$, of the online weights,
#
# $$\text{target} \leftarrow \mu\,\text{target} + (1 - \mu)\,\text{online}.$$
#
# With unit vectors $\bar p, \bar z$ the loss is a distance that you know from notebook 03. This loss is an energy (low
# if two views agree), and it needs no negatives:
#
# $$L = \lVert \bar p - \bar z \rVert^2 = \lVert\bar p\rVert^2 - 2\,\bar p\cdot\bar z + \lVert\bar z\rVert^2 = 2 - 2\cos(p, z),$$
#
# where the losses of both directions are added (view 1 predicts view 2, and view 2 predicts view 1). A small extra
# network, the **predictor**, belongs to the online side only. (`TwoViews`, from notebook 03, holds encoder, projector
# and `augment`. Its method `encode` returns h, the output of the encoder.)


# %%
def byol_by_hand(online, predictor, target, view1, view2):
    total = 0
    for here, there in ((view1, view2), (view2, view1)):
        p = predictor(online(here))
        # the target is fixed: no gradient moves it towards p
        with torch.no_grad():
            z = target(there)
        cos = (p * z).sum(1) / (p.norm(dim=1) * z.norm(dim=1))
        total = total + (2 - 2 * cos).mean()
    return total


byol = recipes.build(recipes.lookup("byol"), seed=0)
torch.manual_seed(0)
views = [byol.augment(as_float(train.x[:64])) for _ in range(2)]
with torch.no_grad():
    z1, z2 = (byol.target(view) for view in views)
    p1, p2 = (byol.predictor(byol.projector(byol.encoder(view))) for view in views)
    by_hand = byol_by_hand(
        nn.Sequential(byol.encoder, byol.projector), byol.predictor, byol.target, *views
    )
torch.testing.assert_close(by_hand, byol_loss(p1, z2) + byol_loss(p2, z1))
# equal outputs are enough for a loss of 0
torch.testing.assert_close(byol_loss(p1, p1), torch.tensor(0.0))
show(BYOL)

# %% [markdown]
# The last assertion of the cell above shows the puzzle: **a network that gives the same output for all pictures has
# loss 0.** Nothing in $L$ forbids such a network. Grill et al. answer that BYOL does not minimise $L$ over both
# networks. The target does not follow the gradient of the loss. And as long as the target's output differs between
# pictures, the predictor can always reach a lower loss than a constant output would. This argument is an intuition, not
# a proof. Section 4 tests it. ENS says that the target follows *à chaque époque* (at each epoch). In fact the target
# follows after every update, in `after_step`. (Another slide of ENS shows BYOL with group norm and weight
# standardisation. These two belong to the follow-up paper, arXiv 2010.10241. The first paper uses BatchNorm, as we do.)
#
# **What does the momentum do?** Unroll the moving average into a sum over the past online weights. The online weights
# of $k$ updates ago have the coefficient $(1 - \mu)\mu^k$ in this sum, so the target remembers about $1/(1 - \mu)$
# updates. A toy example has two networks with one weight each. The online network wants to follow a curve, but its
# updates are noisy. The target is steadier, but it lags behind.
#
# **Try it.** At which momentum is the target's error smallest? What is the disadvantage of a lower momentum, and of a
# higher one?

# %%
torch.manual_seed(1)
wanted = torch.sin(torch.linspace(0, 6, 400, dtype=torch.float64))
online = wanted + 0.4 * torch.randn(400, dtype=torch.float64)


def averaged(online, momentum):
    """The target's weight after each update, by `course_lib`'s own moving average."""
    target, source, path = (
        nn.Linear(1, 1, bias=False).double(),
        nn.Linear(1, 1, bias=False).double(),
        [],
    )
    target.weight.data.fill_(online[0])
    for weight in online:
        source.weight.data.fill_(weight)
        ema(target, source, momentum)
        path.append(target.weight.item())
    return torch.tensor(path, dtype=torch.float64)


# the coefficients (1 - mu) mu^k of the online weights of k updates ago
powers = (1 - 0.9) * 0.9 ** torch.arange(400, dtype=torch.float64)
unrolled = (powers.flip(0) * online).sum() + 0.9**400 * online[0]
torch.testing.assert_close(averaged(online, 0.9)[-1], unrolled)
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.999)
targets = {m: averaged(online, m) for m in MOMENTA}


def draw_momentum(momentum):
    target = targets[momentum]
    error = (target - wanted)[50:].square().mean().sqrt()
    figure, axis = subplots(height=3)
    axis.plot(online, color="C7", alpha=0.5, linewidth=1, label="online")
    axis.plot(wanted, "k--", label="what it should be")
    axis.plot(target, color="C0", linewidth=2.5, label="target")
    title = f"momentum {momentum}: remembers about {1 / (1 - momentum):.0f} updates; the target's error {error:.2f}"
    axis.set(xlabel="update", ylabel="weight", title=title)
    axis.legend(loc="lower left")
    return describe(figure, title)


explore(draw_momentum, momentum=SelectionSlider(options=MOMENTA, value=0.5))

# %% [markdown]
# The best value depends on how fast the online network moves. Early in training it moves fast, and its old weights
# should be forgotten soon. At the end it settles. So BYOL and DINO let the momentum rise to 1 along half a cosine,
# $1 - (1 - \mu)(\cos(\pi k/K) + 1)/2$:

# %%
progress = torch.linspace(0, 1, 101)
curve(
    progress,
    {
        f"from {m}": torch.tensor([cosine_momentum(m, p) for p in progress.tolist()])
        for m in (0.9, 0.97, 0.99)
    },
    title="Momentum of the target over the training",
    xlabel="share of the training done",
    ylabel="momentum",
)

# %% [markdown]
# **Train it.** Besides the loss we watch the spread of $z$. This is the standard deviation of the normalised $z$ as a
# share of its maximum (notebook 03, section 9). A spread of 0 would be the collapse. In our run the spread rises
# instead.

# %%
watched = as_float(train.x[:400])


def share_of_std(network):
    """Spread of the network's unit outputs on the watched scenes: their standard
    deviation as a share of its maximum. 0: all are equal, 1: they are spread evenly."""
    z = evaluate.features(network, watched)
    return evaluate.feature_std(z) * z.shape[1] ** 0.5


byol, run = training(
    "byol",
    120,
    measured="std of z, share of the most",
    measure=lambda: share_of_std(nn.Sequential(byol.encoder, byol.projector)),
)
for step in run:
    pass

# %% [markdown]
# ## 3. SimSiam: without the slow copy
#
# Chen and He (2020) analysed the parts of BYOL and removed the moving average. Target and online network are then the
# same, and only the **stop-gradient** is left. With $D(p, z) = -\cos(p, z)$ (BYOL's loss halved and shifted:
# $2D = L - 2$),
#
# $$L = \tfrac12 D(p_1, \mathrm{stopgrad}(z_2)) + \tfrac12 D(p_2, \mathrm{stopgrad}(z_1)).$$
#
# "Stop" means that $z$ is treated as a constant in this update. Below, the same gradient is computed twice: by the
# library, and with targets that were computed beforehand, as constants. A third gradient, without the stop, differs.

# %%
simsiam = recipes.build(recipes.lookup("simsiam"), seed=0)
view1, view2 = views
weight = simsiam.encoder.stem[0].weight


def gradient_of(target):
    z1, z2 = (simsiam.projector(simsiam.encoder(view)) for view in (view1, view2))
    p1, p2 = simsiam.predictor(z1), simsiam.predictor(z2)
    loss = negative_cosine(p1, target(z2)) / 2 + negative_cosine(p2, target(z1)) / 2
    return torch.autograd.grad(loss, weight)[0]


with torch.no_grad():
    numbers = [simsiam.projector(simsiam.encoder(view)) for view in (view2, view1)]
numbers = iter([z.clone() for z in numbers])
stopped, fixed, flowing = (
    gradient_of(simsiam.target),
    gradient_of(lambda z: next(numbers)),
    gradient_of(lambda z: z),
)
torch.testing.assert_close(stopped, fixed)
assert (stopped - flowing).norm() > 0.1 * stopped.norm()
torch.testing.assert_close(negative_cosine(p1, z2) * 2 + 2, byol_loss(p1, z2))
show(SimSiam)

# %% [markdown]
# Why should the stop-gradient help? Chen and He's hypothesis is that there is a second set of unknowns, one vector
# $\eta_x$ for each picture, and the loss is $\mathbb{E}\,\lVert f(\text{view of } x) - \eta_x\rVert^2$. As in k-means
# (notebook 00), two steps take turns to minimise this loss. With the network fixed, $\eta_x$ is the mean of $f$ over
# views of $x$. With the $\eta_x$ fixed, the network takes a gradient step. SimSiam takes one view in place of the mean,
# and the predictor compensates for the missing mean. Each of the two steps lowers the loss. But no step follows the
# slope in $f$ and $\eta_x$ together, which leads both to a constant.
#
# ## 4. The collapse laboratory
#
# **Try it**: switch off the remedies against collapse, one at a time. Each setting was trained three times, with 100
# updates of 128 scenes. The curves show the spread of $z$ on held-out scenes. ($z$ is the output that the loss uses.)

# %%
LABORATORY = experiments.read("distillation-collapse")["rows"]
NAMES = {
    ("SimSiam", "predictor"): "no predictor",
    ("SimSiam", "stop-gradient"): "no stop-gradient",
    ("BYOL", "predictor"): "no predictor",
    ("BYOL", "momentum"): "momentum 0",
    ("DINO", "centring"): "no centring",
    ("DINO", "sharpening"): "no sharpening",
}


def setting(method, *on):
    """The name of the setting with these two remedies on or off."""
    off = [
        words
        for (name, _), words, kept in zip(
            [key for key in NAMES if key[0] == method],
            [w for key, w in NAMES.items() if key[0] == method],
            on,
        )
        if not kept
    ]
    return method + ("" if not off else ", neither" if len(off) == 2 else f", {off[0]}")


def curves(name, measure):
    """Returns the updates at which a setting was measured, and the values of `measure`
    there, (seeds, updates)."""
    rows = [row for row in LABORATORY if row["setting"] == name]
    return rows[0]["curve"]["update"], torch.tensor(
        [row["curve"][measure] for row in rows]
    )


def draw_collapse(method, first, second):
    chosen, full = setting(method, first, second), setting(method, True, True)
    update, std = curves(chosen, "std")
    lines = {"as published": curves(full, "std")[1]} | (
        {chosen: std} if chosen != full else {}
    )
    knn = [row["knn"] for row in LABORATORY if row["setting"] == chosen]
    return curve(
        update,
        lines,
        xlabel="update",
        ylabel="std of z, share of the most",
        title=(
            f"{chosen}: std ends at {std[:, -1].mean():.2f}, k-NN at "
            f"{sum(knn) / len(knn):.3f}"
        ),
    )


laboratory = Dropdown(
    options=["SimSiam", "BYOL", "DINO"], value="SimSiam", description="method"
)
switches = [
    Checkbox(True, description="predictor"),
    Checkbox(False, description="stop-gradient"),
]


def name_switches(_=None):
    for switch, (_, remedy) in zip(
        switches, [key for key in NAMES if key[0] == laboratory.value]
    ):
        switch.description = remedy


laboratory.observe(name_switches, "value")
explore(draw_collapse, method=laboratory, first=switches[0], second=switches[1])

# %% [markdown]
# **What we see.** *SimSiam without stop-gradient* collapses within forty updates, recovers briefly, and ends at a tenth
# of the spread that it has with both remedies. Without the predictor, or with neither remedy, SimSiam keeps about a
# quarter of this spread. Both remedies are needed, as Chen and He say. *BYOL without predictor* keeps less than half of
# BYOL's spread. But **BYOL with momentum 0 does not collapse**, although Grill et al. report 0.3 % accuracy for it
# (their table 5). With momentum 0 the target is the online network itself, without gradient. This method is SimSiam,
# except that SimSiam normalises $z$ once more at the end. Only *BYOL with neither remedy* collapses completely. With a
# predictor, the moving average is not needed to prevent the collapse. Without a predictor, the moving average slows the
# collapse.
#
# Look at the k-NN accuracy in the title too. It hardly differs between these runs. We evaluate $h$, the output before
# the head, and the collapse reaches $h$ last. And after 100 updates $h$ has learnt little anyway. So do not wait for
# k-NN to warn you.
#
# ## 5. Barlow Twins: forbid the collapse in the loss
#
# ENS names two ways to train without negatives: self-distillation, and *a special loss*. The second is Barlow Twins
# (Zbontar et al. 2021). AIA quotes Horace Barlow, 1961: neurons should respond in the same way to a picture and to its
# distortion, but they should not all respond in the same way. Take the outputs of two views, $z^A, z^B$, each of
# $N \times d$ numbers, and correlate feature $i$ of one view with feature $j$ of the other over the batch:
#
# $$C_{ij} = \frac{\sum_b \hat z^A_{b,i}\,\hat z^B_{b,j}}{\sqrt{\sum_b (\hat z^A_{b,i})^2}\sqrt{\sum_b (\hat z^B_{b,j})^2}},
# \qquad L = \sum_i (1 - C_{ii})^2 + \lambda\sum_i\sum_{j\neq i} C_{ij}^2 ,$$
#
# where $\hat z$ are the features minus their mean over the batch. The diagonal asks each feature to agree with itself
# across views. The other entries ask features not to repeat each other. A constant feature correlates with nothing, so
# its $C_{ii}$ is 0 and costs 1. The collapse is therefore the **worst** solution here, not the best.
#
# *Margin notes.* AIA calls the target *a diagonal matrix*. In fact the target is the identity, because a zero on the
# diagonal costs 1, as in the collapse. The slide's Algorithm 1 divides by `std(0)`, and then by $N$. But PyTorch
# computes `std(0)` with $N - 1$. So a feature that agrees with itself perfectly gets $(N-1)/N$, not 1. Use either
# $N - 1$ or $N$ in both places.
#
# (`self.project`, of `TwoViews`, returns the outputs of both views from one call of the networks.)


# %%
def barlow_by_hand(z1, z2, off_diagonal):
    n, d = z1.shape
    loss = 0
    for i in range(d):
        for j in range(d):
            a, b = z1[:, i] - z1[:, i].mean(), z2[:, j] - z2[:, j].mean()
            c = (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())
            loss = loss + ((1 - c) ** 2 if i == j else off_diagonal * c**2)
    return loss


torch.manual_seed(0)
z1 = torch.randn(32, 6, dtype=torch.float64)
z2 = z1 + 0.5 * torch.randn(32, 6, dtype=torch.float64)
torch.testing.assert_close(
    barlow_twins_loss(z1, z2, 0.01), barlow_by_hand(z1, z2, 0.01)
)
# scale and shift do not matter
torch.testing.assert_close(cross_correlation(3 * z1 + 1, z2), cross_correlation(z1, z2))
torch.testing.assert_close(
    cross_correlation(z1, z1).diagonal(), torch.ones(6, dtype=torch.float64)
)
slide = ((z1 - z1.mean(0)) / z1.std(0)).T @ ((z1 - z1.mean(0)) / z1.std(0)) / 32
torch.testing.assert_close(
    slide.diagonal(), torch.full((6,), 31 / 32, dtype=torch.float64)
)
show(BarlowTwins)

# %% [markdown]
# **Train it, and film the matrix.** The film shows the correlations of 48 of its 256 features. They are computed after
# every few updates, always on the same scenes.

# %%
barlow = recipes.build(recipes.lookup("barlow-twins"), seed=0)
film, filmed = [], as_float(train.x[: 128 if BUDGET == "smoke" else 512])


@torch.no_grad()
def correlations():
    """Returns C of two views of the filmed scenes, computed by the current network."""
    barlow.eval()
    device = next(barlow.parameters()).device
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cross_correlation(
            *barlow.project(*(barlow.augment(filmed.to(device)) for _ in range(2)))
        ).cpu()


film.append((0, correlations()))
barlow, run = training(
    "barlow-twins",
    120,
    barlow,
    measured="mean of C's diagonal",
    measure=lambda: correlations().diagonal().mean(),
)
for step in run:
    if step.k % (step.steps // 4 if BUDGET == "smoke" else step.steps // 12) == 0:
        film.append((step.k, correlations()))

# %% [markdown]
# **Try it**: run the film. What comes first, the bright diagonal or the dark rest?


# %%
def draw_correlations(scene):
    update, c = film[scene]
    rest = c[~torch.eye(len(c), dtype=torch.bool)]
    return similarity_matrix(
        c[:48, :48],
        label="correlation",
        xlabel="feature of view 2",
        ylabel="feature of view 1",
        title=f"After {update} updates: diagonal {c.diagonal().mean():.2f} on average, "
        f"the rest {rest.square().mean().sqrt():.2f} (root mean square)",
    )


explore(draw_correlations, scene=IntSlider(len(film) - 1, 0, len(film) - 1))

# %% [markdown]
# **Batch size.** SimCLR takes its negatives from the batch. Barlow Twins needs the batch only to estimate correlations.
# In the paper's figure SimCLR loses accuracy with small batches, and Barlow Twins loses hardly any. Here all runs see
# the same number of scenes (25,600), and for both methods the learning rate grows with the square root of the batch
# size. SimCLR's results come from notebook 03.

# %%
batches = {}
for row in experiments.read("barlow-batch-size")["rows"]:
    batches.setdefault(f"Barlow Twins, {row['setting']}", []).append(row["knn"])
for setting_name in (
    "batch 32, 800 steps",
    "batch 128, 200 steps",
    "batch 256, 100 steps",
):
    batches[f"SimCLR, {setting_name}"] = experiments.values("simclr-batch-size")[
        setting_name
    ]
bars_with_spread(
    batches,
    xlabel="k-NN accuracy on unseen emoji",
    title="25,600 scenes in batches of three sizes, 3 seeds",
)

# %% [markdown]
# With the same number of scenes, the accuracy of Barlow Twins does not depend on the batch size, as published. (The
# differences are within the spread of the seeds, and the largest batch has the fewest updates.) But here **SimCLR's
# accuracy does not depend on it either**. Notebook 03 finds that small batches catch up when they get more updates. The
# paper's figure compares equal numbers of epochs too. But its runs are a hundred times as long as ours, and its batches
# have 256 pictures or more. At our scale we cannot see this difference between the two methods.
#
# ## 6. DINO: distillation with no labels
#
# DINO (Caron et al. 2021) is knowledge distillation once more. It uses the loss of section 1 with the teacher of
# section 2. (MLMI17 shows the title page of SwAV here. The paper is *Emerging Properties in Self-Supervised Vision
# Transformers*.) The network ends in $K$ outputs, to which no one has given a meaning. They are classes that are
# invented during training. Student and teacher turn these outputs into probabilities,
#
# $$P_s = \mathrm{softmax}(g_s(x)/\tau_s), \qquad P_t = \mathrm{softmax}((g_t(x) - c)/\tau_t), \qquad
# L = H(P_t, P_s) = -\sum_k P_t^{(k)}\log P_s^{(k)},$$
#
# and no gradient reaches the teacher. Two collapses are possible, with remedies that pull in opposite directions
# (MLMI17):
#
# - **one output wins** for all pictures: $P_t$ has entropy 0. *Centring* takes away what all pictures have in common,
#   because it subtracts $c$, the moving average of the teacher's outputs.
# - **all outputs are equal**: $P_t$ has entropy $\ln K$. *Sharpening*, $\tau_t < \tau_s$, lowers the entropy of the
#   teacher's probabilities.
#
# *Margin notes.* MLMI17 writes $g_t(x) = g_t(x) - c$ and then averages $g_t$ into $c$. But the average is of the
# **uncentred** outputs. As soon as $c$ is right, the centred outputs have a mean of about 0. Their average would then
# pull $c$ towards 0. REP says *the trained student network is used for feature extraction*. But the authors use the
# teacher, and below you see why.
# **uncentred** outputs. With the centred ones $c$ would be pulled towards 0 as soon as it was right. REP says *the
# trained student network is used for feature extraction*. But the authors use the teacher, and below you see why.
#
# Here is the slides' Algorithm 1, without multi-crop:


# %%
def algorithm_1(s1, s2, t1, t2, C, tps, tpt):
    def H(t, s):
        t = t.detach()  # stop gradient
        s = F.softmax(s / tps, dim=1)
        t = F.softmax((t - C) / tpt, dim=1)  # center + sharpen
        return -(t * s.log()).sum(dim=1).mean()

    return H(t1, s2) / 2 + H(t2, s1) / 2


torch.manual_seed(0)
s, t, C = torch.randn(2, 16, 50), torch.randn(2, 16, 50), torch.randn(50)
torch.testing.assert_close(
    dino_loss(s, t, C, 0.1, 0.04), algorithm_1(*s, *t, C, 0.1, 0.04)
)
alike = torch.zeros(2, 16, 50)
# all uniform: ln K
torch.testing.assert_close(
    dino_loss(alike, alike, alike[0, 0], 0.1, 0.04), torch.tensor(math.log(50))
)
show(dino_loss)
show(Prototypes)
show(DINO)

# %% [markdown]
# **Try it**: what do centring and sharpening do to a teacher's outputs? The example has 200 pictures and 10 outputs,
# one of which has begun to win.

# %%
torch.manual_seed(0)
outputs = 0.3 * torch.randn(200, 10) + 0.8 * F.one_hot(torch.tensor(3), 10)


def draw_centring(temperature, centring):
    centre = outputs.mean(0) if centring else torch.zeros(10)
    p = ((outputs - centre) / temperature).softmax(1)
    each = torch.special.entr(p).sum(1).mean()
    share = p.mean(0)
    together = torch.special.entr(share).sum()
    figure, (left, right) = subplots(1, 2, height=3)
    left.imshow(p[:30], cmap="cividis", vmin=0, vmax=1, aspect="auto")
    left.grid(False)
    left.set(xlabel="output k", ylabel="picture", title="P_t of 30 pictures")
    right.bar(range(10), share)
    right.set(
        xlabel="output k",
        ylabel="mean of P_t",
        ylim=(0, 1),
        title="how often each is used",
    )
    title = f"Entropy of a picture's P_t {each:.2f}, of their mean {together:.2f}; ln K = {math.log(10):.2f}"
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_centring,
    temperature=FloatLogSlider(0.1, base=10, min=-2, max=0.5, step=0.1),
    centring=Checkbox(False),
)

# %% [markdown]
# We want each picture's $P_t$ to have a low entropy, and their mean (on the right) to have a high entropy. Centring
# alone gives the high entropy of the mean. Sharpening alone gives the low entropy of each picture. To notice a
# collapse, it is enough to watch these two entropies. The next figures show the entropy of $P_t$ and the KL divergence
# during training:


# %%
def entropies(measure, ylabel):
    names = [
        "DINO",
        "DINO, no centring",
        "DINO, no sharpening",
        "DINO, neither",
        "DINO, no centring, no BatchNorm",
    ]
    found = {name: curves(name, measure)[1] for name in names}
    return curve(
        curves("DINO", measure)[0],
        found,
        xlabel="update",
        ylabel=ylabel,
        title=f"{ylabel}, on unseen scenes; 3 seeds",
    )


display(entropies("entropy", "entropy of P_t as a share of ln K"))
entropies("kl", "KL from P_t to P_s, nats")

# %% [markdown]
# These curves agree with MLMI17. **Without centring** the entropy falls to a tenth of $\ln K$, which means that for
# most pictures one output has won. **Without sharpening** it rises to 0.97 $\ln K$. Then all outputs are equal, and the
# KL divergence goes to 0 because there is nothing to learn. With neither remedy, the second collapse (all outputs are
# equal) is stronger than the first. With both remedies, the entropy stays in between and the KL divergence stays high,
# so the teacher keeps having something to teach.
#
# The fifth curve is a finding of ours. Our head has a BatchNorm, but the paper's head (for transformers) has none.
# Without BatchNorm and without centring, the collapse is nearly complete, at 0.02 $\ln K$. BatchNorm keeps the pictures
# of a batch apart, so it is a remedy by itself.
#
# **Multi-crop** (from SwAV) makes two large views and several small ones. The student sees all views, and the teacher
# sees only the large ones. So the student sees a part of the picture, and has to predict the teacher's output for the
# whole picture. That is one answer to MLMI17's question *why does it learn local information?* The loss runs over all
# pairs of a teacher's view and a student's view, except a view with itself:

# %%
dino = recipes.build(recipes.lookup("dino"), seed=0)
torch.manual_seed(1)
crops = dino.augment(as_float(train.x[[0, 3, 8, 11]]))
# the small views are enlarged for the figure
larger = [F.interpolate(crop, 32) for crop in crops]
image_grid(
    torch.stack(larger, 1).flatten(0, 1),
    ["large", "large", *["small"] * 4] * 4,
    columns=6,
    title="Four scenes (rows): two large and four small views of each",
)


# %%
def multi_crop_by_hand(student, teacher, centre, tau_s, tau_t):
    total, pairs = 0, 0
    for i, t in enumerate(teacher):
        for j, s in enumerate(student):
            if i != j:  # not a view with itself
                p = ((t - centre) / tau_t).softmax(1)
                total, pairs = (
                    total - (p * (s / tau_s).log_softmax(1)).sum(1).mean(),
                    pairs + 1,
                )
    return total / pairs


student_outputs = torch.randn(6, 16, 50)
torch.testing.assert_close(
    dino_loss(student_outputs, t, C, 0.1, 0.04),
    multi_crop_by_hand(student_outputs, t, C, 0.1, 0.04),
)
show(MultiCrop)


# %%
@torch.no_grad()
def teacher_entropy():
    """Entropy of the teacher's probabilities, as a share of ln K."""
    device = next(dino.parameters()).device
    q = (
        (dino.eval().teacher(watched.to(device)) - dino.centre)
        / dino.teacher_temperature()
    ).softmax(1)
    return torch.special.entr(q).sum(1).mean() / math.log(q.shape[1])


dino, run = training(
    "dino", 60, measured="teacher's entropy, share of ln K", measure=teacher_entropy
)
for step in run:
    pass

# %% [markdown]
# **Who leads?** In the paper's figure 6 the teacher, an average of past students, is better than the student
# throughout. So the student can learn something from the teacher. The next figure shows the k-NN accuracy of both
# networks during training. It also shows a second run, in which the teacher has a short memory (its momentum $\mu$
# starts at 0.9).

# %%
crop_rows = experiments.read("dino-crops")["rows"]
leaders = {}
for row in crop_rows:
    if row["setting"] != "large crops only":
        for who in ("teacher", "student"):
            name = (
                f"{who}, momentum from 0.9"
                if row["setting"] == "short memory"
                else f"{who}, momentum from 0.99"
            )
            leaders.setdefault(name, []).append(row["curve"][who])
curve(
    crop_rows[0]["curve"]["update"],
    {name: torch.tensor(values) for name, values in leaders.items()},
    title="Teacher and student while they learn; mean and range of 3 seeds",
    xlabel="update",
    ylabel="k-NN accuracy, validation emoji",
)

# %% [markdown]
# Our result differs from the paper's: with $\mu$ from 0.99 **the student leads**. The teacher remembers 100 updates,
# which is half of this run. As $\mu$ rises to 1, each update changes the teacher less and less. Meanwhile the student's
# learning rate falls, and the student's weights need no averaging any more. ImageNet's runs have some 100,000 updates.
# With a short memory, teacher and student are equally good (the teacher leads with one seed of three, and the student
# with one). But then both end lower, because the teacher is so close to its student that it does not keep the student
# steady. The usefulness of a teacher depends on its memory relative to the length of the run.
#
# And how much do the small crops help? In a run as short as this one they improve the accuracy by less than a point,
# which is within the spread of the seeds:

# %%
bars_with_spread(
    experiments.values("dino-crops", "knn"),
    xlabel="k-NN accuracy on unseen emoji",
    title="DINO on the residual network, 200 updates, 3 seeds",
)

# %% [markdown]
# ## 7. A transformer that looks
#
# DINO's features became famous with the **vision transformer** (ViT; ENS introduces it here). A picture becomes a
# sequence of tokens: one for each patch, plus a learnt position, and one further token, the *class token*. The class
# token belongs to no patch, and its final value is the output of the network. In each block every token attends to
# (looks at) all tokens, and takes information from those that it finds useful:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt d}\Big) V,$$
#
# which each block computes several times in parallel (in several *heads*). Row $i$ of the softmax is a picture of where
# token $i$ looks. Small crops have fewer patches, so the learnt positions are interpolated. PyTorch's fused attention
# function never stores the attention map. Our network computes the map when asked:

# %%
vit = zoo.load("dino-vit").teacher.net[0]
block = vit.blocks[-1].attention
tokens = torch.randn(2, 65, vit.dim)
with torch.no_grad():
    _, _, values = block.qkv(tokens)
    by_hand = block.out(
        rearrange(block.maps(tokens) @ values, "n heads t d -> n t (heads d)")
    )
    torch.testing.assert_close(block(tokens), by_hand, rtol=1e-4, atol=1e-5)
    # pictures of any size give one vector of the same length
    assert vit(torch.rand(2, 3, 32, 32)).shape == vit(torch.rand(2, 3, 16, 16)).shape
show(Attention)
show(ViT)

# %% [markdown]
# The course comes with such a transformer, trained with DINO on scenes without any label. We call it the *shipped
# DINO*. (The paper's transformer was trained on ImageNet. Its patches are 8 x 8 pixels large and lie at 28 x 28 places.
# Ours lie at 8 x 8 places.) **Try it**: where does the class token look, head by head? (The class token is query token
# 0.) Then choose a token on the emoji, or a token beside the emoji, and ask where *this token* looks. Tokens 1 to 64
# are the places, row by row.

# %%
looked_at = test.x[[3, 8, 20, 41, 60, 77, 120, 203]]
ATTENTION = vit.attention_maps(as_float(looked_at))


def draw_attention(picture, head, query):
    # places are numbered row by row, from 1
    row, column = 1 + (query - 1) // 8, 1 + (query - 1) % 8
    looks = ATTENTION[picture, head - 1, query, 1:].view(8, 8)
    figure, (left, right) = subplots(1, 2, height=3.4)
    left.imshow(
        rearrange(looked_at[picture], "c h w -> h w c"), extent=(0.5, 8.5, 8.5, 0.5)
    )
    image = right.imshow(looks, cmap="cividis", vmin=0, extent=(0.5, 8.5, 8.5, 0.5))
    figure.colorbar(image, ax=right, label="attention")
    for axis in (left, right):
        axis.grid(False)
        axis.set(xlabel="column", ylabel="row")
        if query:
            axis.plot(
                column,
                row,
                "o",
                markersize=12,
                markerfacecolor="none",
                markeredgecolor="#D55E00",
                markeredgewidth=2,
            )
    who = (
        f"the token of row {row}, column {column} (red circle)"
        if query
        else "the class token"
    )
    title = f"Where {who} looks, head {head}"
    figure.suptitle(title, x=0.01, ha="left")
    strongest = divmod(int(looks.argmax()), 8)
    return describe(
        figure, f"{title}: most at row {strongest[0] + 1}, column {strongest[1] + 1}"
    )


explore(
    draw_attention,
    picture=IntSlider(0, 0, len(looked_at) - 1),
    head=IntSlider(1, 1, ATTENTION.shape[1]),
    query=IntSlider(0, 0, 64, description="query token"),
)

# %%
untrained = recipes.build(recipes.lookup("dino-vit"), seed=0).teacher.net[0]
some = looked_at[:6]
rows = [
    F.interpolate(a / a.amax((2, 3), keepdim=True), 32).expand(-1, 3, -1, -1)
    for a in (
        class_attention(net, some).mean(1, keepdim=True) for net in (vit, untrained)
    )
]
image_grid(
    torch.cat([as_float(some), *rows]),
    columns=6,
    title=(
        "Scenes; where the shipped DINO's class token looks (mean of heads); an "
        "untrained one's"
    ),
)

# %% [markdown]
# For our scenes we know the correct answer, the emoji's mask. As in the paper's figure 4, we keep the places with the
# strongest attention of the class token, until they hold 60 % of its attention. We compare these places with the mask
# (intersection over union). *Best head* is the head that is best on validation scenes. (The paper takes the best head
# for each picture, which needs the true mask.) For *tuned*, two settings are chosen on validation scenes: the head (or
# mean of heads), and the share of attention (30 to 90 %). They are chosen in the same way for each network.

# %%
show(evaluate.most_of_the_mass)
attention_rows = experiments.read("dino-attention")["rows"]
found = {"the whole picture": [row["iou_all"] for row in attention_rows[:1]]}
for row in attention_rows:
    for measure, how in (
        ("iou", "best head"),
        ("iou_mean", "mean of heads"),
        ("iou_tuned", "tuned"),
    ):
        found.setdefault(f"{row['setting']}: {how}", []).append(row[measure])
bars_with_spread(
    found,
    xlabel="intersection over union with the true mask",
    title="Attention as a mask of the emoji, 3 seeds",
)

# %% [markdown]
# DINO was never told what an object is, and yet it finds the object. When it is tuned, its attention reaches an
# intersection over union of 0.51. The whole picture as mask reaches 0.31, and the untrained transformer reaches no
# more. The **supervised transformer reaches 0.37**. This is the paper's observation at the scale of emoji. A classifier
# may need only a few informative places. But a network that gives the same output for a part and for the whole has to
# find the object (that is our interpretation, not a measurement). Each of our heads looks at a few places, and their
# mean is better than the best of them. Without small crops (one seed) the masks are as good as before, but the features
# are less good:

# %%
{
    name: [round(value, 3) for value in values]
    for name, values in experiments.values("dino-attention", "knn").items()
}

# %% [markdown]
# **What mattered.** Transformers are hard to train on few pictures. In the next figure, one choice is changed at a
# time. Each result is from a short run of one seed, on validation scenes. So treat a difference of two points as no
# difference:

# %%
bars_with_spread(
    experiments.values("dino-vit-choices", "knn"),
    xlabel="k-NN accuracy, validation emoji, 4,000 scenes to compare with",
    title="DINO on the transformer, 200 updates, one seed",
)

# %% [markdown]
# Two choices count here: the convolutional stem (Xiao et al. 2021), and **BatchNorm in the head**, which the paper
# leaves out. (Without the stem, there is a linear map of patches. A convolution has a useful structure built in, but
# the linear map has to learn this structure from our few pictures.) The rest is tuning. The temperature (0.07 instead
# of the published 0.04), the teacher's momentum and the learning rate hardly matter in a run as short as this one.
#
# ## 8. What are the features worth?
#
# All results follow the course's protocol, on held-out emoji. Each method was trained with three seeds. For each seed,
# the trained network is compared with the untrained network of the same kind.

# %%
METHODS = {
    "untrained network": ("simclr", "random encoder"),
    "SimCLR, 300 updates": ("simclr-temperature", "0.2"),
    "BYOL": ("byol", "trained"),
    "SimSiam": ("simsiam", "trained"),
    "Barlow Twins": ("barlow-twins", "trained"),
    "DINO": ("dino", "trained"),
    "supervised": ("supervised", "trained"),
    "untrained ViT": ("dino-vit", "random encoder"),
    "DINO, ViT": ("dino-vit", "trained"),
    "supervised ViT": ("supervised-vit", "trained"),
}
for measure, title in (("knn", "k-NN accuracy"), ("probe", "linear probe accuracy")):
    display(
        bars_with_spread(
            {
                name: experiments.values(file, measure)[row]
                for name, (file, row) in METHODS.items()
            },
            xlabel=f"{title} on unseen emoji",
            title=f"{title}, 3 seeds",
        )
    )

# %%
for measure in ("probe", "knn"):
    of_it = {
        name: experiments.values(file, measure)
        for name, (file, row) in METHODS.items()
        if row == "trained"
    }
    gains = {
        name: [b - a for a, b in zip(found["random encoder"], found["trained"])]
        for name, found in of_it.items()
    }
    # compare each trained network with the random encoder of the same seed
    assert all(gain > 0 for values in gains.values() for gain in values)
bars_with_spread(
    gains,
    xlabel="k-NN accuracy, trained minus untrained",
    title="Gain over the same seed's untrained network, 3 seeds",
)

# %% [markdown]
# Every method beats its untrained network with each of three seeds, by both measures. **Barlow Twins** is the best of
# the new methods on the residual network. It is near the accuracy of SimCLR after the same number of updates (notebook
# 03). BYOL and SimSiam gain five points. ENS says that BYOL *améliore les résultats par rapport à SimCLR* (improves on
# SimCLR). This statement is about ImageNet, after a thousand epochs. Our training has four epochs. A method learns
# slowly at first if its own target is still noise. The **transformer with DINO** gains fifteen points, more than any
# residual network without labels. It comes within three points of the same transformer trained with all labels (DINO
# had a thousand updates, the training with labels 500). The shipped DINO, trained longer, is better than the
# transformer with labels:

# %%
{
    name: {key: about[key] for key in ("knn", "probe", "steps", "seconds")}
    for name, about in zoo.manifest().items()
    if name in ("dino-vit", "simclr", "supervised")
}

# %% [markdown]
# ## 9. Pitfalls
#
# - **A low loss proves nothing.** BYOL's, SimSiam's and DINO's losses are lowest in collapse. To notice a collapse,
#   watch the features' spread, or DINO's two entropies. For all other problems, watch k-NN.
# - **One temperature for both** networks is a hidden cause of collapse, because the teacher must be sharper than the
#   student.
# - **The mean of centred outputs** is nearly 0, so a centre that is computed from centred outputs no longer centres
#   them.
# - **Where the gradient stops** defines the method. With `detach` on the prediction instead of the target, either
#   nothing is trained, or everything is trained.
# - **BatchNorm in the target** uses the statistics of its own batch here (`frozen_copy(training=True)`). In a teacher
#   that was trained beforehand, BatchNorm never uses the statistics of the batch (`training=False`).
# - **A view with itself** ($i = j$) makes DINO's task trivial.
# - **The momentum's memory** must fit the run. A momentum of 0.996 remembers 250 updates. That is most of our run, but
#   almost nothing of a run on ImageNet.
#
# ## 10. What to try next
#
# **Exercises**: [`exercises/08_distillation.ipynb`](../exercises/08_distillation.ipynb), each checked when you run the cell below it.
#
# Give DINO 16 prototypes, then 4,096. Does the entropy still distinguish the two kinds of collapse? Let $\tau_t$ warm
# up from 0.04 to 0.07 as in the paper (`tau_t_start`, `warmup`). Take SimSiam's last normalisation away. Give Barlow
# Twins 16 features, then 1,024. Distil the shipped DINO into a smaller network with `distillation_loss` on its
# prototypes, without any label.
#
# Three more notebooks are planned. Notebook 07 forms its classes by clustering (SwAV, where multi-crop comes from).
# Notebook 04 has the moving average and keeps the negatives. Notebook 09 trains the same transformer by filling in
# missing parts.
#
# ## 11. What to read
#
# Hinton, Vinyals, Dean 2015, *Distilling the Knowledge in a Neural Network* ([arXiv 1503.02531](https://arxiv.org/abs/1503.02531)).
# Grill et al. 2020, *Bootstrap Your Own Latent* ([arXiv 2006.07733](https://arxiv.org/abs/2006.07733)), and Richemond et al. 2020,
# *BYOL works even without batch statistics* ([arXiv 2010.10241](https://arxiv.org/abs/2010.10241)). Chen, He 2020, *Exploring Simple
# Siamese Representation Learning* ([arXiv 2011.10566](https://arxiv.org/abs/2011.10566)). Zbontar et al. 2021, *Barlow Twins*
# ([arXiv 2103.03230](https://arxiv.org/abs/2103.03230)). Caron et al. 2021, *Emerging Properties in Self-Supervised Vision
# Transformers* ([arXiv 2104.14294](https://arxiv.org/abs/2104.14294)). Dosovitskiy et al. 2020, *An Image is Worth 16x16 Words*
# ([arXiv 2010.11929](https://arxiv.org/abs/2010.11929)). Xiao et al. 2021, *Early Convolutions Help Transformers See Better*
# ([arXiv 2106.14881](https://arxiv.org/abs/2106.14881)). Tian, Chen, Ganguli 2021, *Understanding self-supervised learning dynamics
# without contrastive pairs* ([arXiv 2102.06810](https://arxiv.org/abs/2102.06810)): why the predictor prevents the collapse. Tarvainen,
# Valpola 2017, *Mean teachers* ([arXiv 1703.01780](https://arxiv.org/abs/1703.01780)). The lectures only name DINOv2's
# successors for video (MLMI17 says *V-JEPA is close*; see Bardes et al. 2024, [arXiv 2404.08471](https://arxiv.org/abs/2404.08471)).
