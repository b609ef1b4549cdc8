# %% [markdown]
# # 03. Contrastive learning
#
# **Can a network learn what is in a picture without labels?** In this notebook it can. The network sees thousands of
# unlabelled scenes and solves a puzzle: *which of these views comes from the same picture as this one?* After training,
# it places pictures of the same kind near each other more often than before, although it never saw a label.
#
# **You will be able to** explain how InfoNCE developed from Siamese networks, and prove that InfoNCE gives a lower
# bound on a mutual information; write SimCLR's loss in ten lines and check it; train SimCLR, a memory bank and
# supervised contrastive learning, and measure whether they learn; say which design choices matter, by how much, and
# which claims of the lectures are too strong.
#
# **You need** notebook 00: the scenes, k-NN, the linear probe, the random encoder. You also need supervised training
# with PyTorch and, for the proof, expectations and Jensen's inequality.
#
# **Lectures** Deck GT19, *CS 4644/7643, lecture 19*: slides *A formulation of contrastive learning* to *SimCLR design
# choices*. Deck AIA, *Automatic Image Analysis, lecture 13*: *Energy-based self-supervised representation learning*,
# *Contrastive Learning*. Deck REP, *Representation Learning*: *Contrastive Learning Approaches*, *SimCLR*. Deck ENS,
# *Apprentissage continu de représentations visuelles* (in French): *Instance discrimination*, *SimCLR*. Deck MLMI17,
# *Advanced Computer Vision*: *SimCLR - Architecture*.
#
# **Time** Reading takes an hour, and computing about seven minutes on two cores. Long experiments were run beforehand
# (`make results`); here their results are plotted.

# %%
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from IPython.display import display
from ipywidgets import Dropdown, FloatLogSlider, FloatSlider, IntSlider, SelectionSlider
from sklearn.manifold import TSNE

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.augment import simclr_augment
from course_lib.contrastive.experiments import AUGMENTATIONS, FRACTIONS
from course_lib.contrastive.false_negatives import debiased_nt_xent
from course_lib.contrastive.instance_discrimination import (
    InstanceDiscrimination,
    noise_contrastive,
)
from course_lib.contrastive.siamese import triplet
from course_lib.contrastive.simclr import SimCLR
from course_lib.contrastive.supcon import supervised_contrastive
from course_lib.data import as_float, load, shortcut_triplets
from course_lib.data.toys import CorrelatedGaussians
from course_lib.losses import info_nce, mutual_information_bound, nt_xent
from course_lib.notebook import (
    bars_with_spread,
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    matrices,
    neighbours,
    scatter_map,
    show,
    similarity_matrix,
    subplots,
    updates,
)
from course_lib.notebook.style import MARKERS, PALETTE
from course_lib.optim import adamw, cosine
from course_lib.run import mix, seeded
from course_lib.train import fit
from course_lib.two_views import TwoViews

# "smoke" shows that the notebook runs, "laptop" and "gpu" that the methods work
BUDGET = budget("03_contrastive")

# %% [markdown]
# ## 1. The pictures
#
# The course has its own pictures: 1,906 emoji, each drawn in three styles. Two drawings of one emoji have the same
# meaning but share few pixels (notebook 00, section 1). A good representation should be similar for both drawings.
#
# On a plain white background, a few pixels at a fixed place would reveal a lot about the emoji. So we paste the emoji,
# at a random size, place and rotation, onto smooth random textures. In these *scenes* the background contains no
# information about the emoji. The training set is a fixed set of 20,000 scenes. It contains no emoji of the test set,
# and none of their look-alikes (man, woman and person doing the same thing). So a network that memorises single emoji
# gains nothing on the test set. Each emoji belongs to one of nine categories; we keep these labels for the evaluation.

# %%
train, test = load("scenes", "train"), load("scenes", "test")
assert not set(train.info["emoji"].tolist()) & set(test.info["emoji"].tolist())
image_grid(
    train.x[:16],
    [train.classes[c] for c in train.y[:16]],
    title="Scenes with their categories (not used in training)",
)

# %% [markdown]
# ## 2. Two networks that share their weights
#
# Give a network two pictures, one after the other, and compare its two outputs. Such a pair of networks with the same
# weights is called *Siamese*. AIA's slide uses an **energy**: a number for each pair that should be low when the two
# pictures are compatible and high when they are not. Our energy is the squared distance between the two outputs, each
# scaled to unit length:
#
# $$E(u, v) = \Big\lVert \frac{u}{\lVert u\rVert} - \frac{v}{\lVert v\rVert} \Big\rVert^2
# = 2 - 2\cos(u, v) \in [0, 4].$$
#
# The energy is low where the cosine is high, so low energy means high similarity. (ENS calls $\lVert u - v\rVert^2$ the
# Euclidean distance, but it is the square of that distance.) The output $u$ comes from a small head, $z = g(h)$, on top
# of the encoder's representation $h = f(x)$. Section 12 measures what this head is good for. Which pairs are
# compatible? Nobody labels them. So we take one picture and make two **views** of it: we cut out a random part, mirror
# it and shift its colours. Both show the same thing, so they are a **positive pair**. A view of any other picture is a
# **negative**.

# %%
# the course's way to build and train a method: networks, views, learning rate
recipe = recipes.lookup("simclr")
random_encoder = recipes.build(recipe, seed=0)
augment = random_encoder.augment
torch.manual_seed(0)
pictures = as_float(train.x[:8])
image_grid(
    torch.cat([pictures, augment(pictures), augment(pictures)]),
    columns=8,
    title="Eight scenes (first row), and two random views of each (below)",
)

# %% [markdown]
# It is not enough to pull positive pairs together, because a network that maps everything to one point has energy 0 for
# all pairs. Such a network has **collapsed**. AIA's slide asks for a ranking: *more similar means lower energy*. We add
# a margin, because without one the loss of a collapsed network would be 0:
#
# $$E(x, x^+) + m < E(x, x^-) \qquad\text{for a margin } m > 0.$$
#
# As a loss, this becomes $\max(0,\ E(x, x^+) - E(x, x^-) + m)$, the **triplet loss** (FaceNet, Schroff et al. 2015). It
# is zero where the order is right by at least the margin, and $m$ for a collapsed network.


# %%
def triplet_by_hand(anchor, same, other, margin):
    def energy(u, v):
        return (u / u.norm() - v / v.norm()).square().sum()

    losses = [
        torch.relu(energy(a, s) - energy(a, o) + margin)
        for a, s, o in zip(anchor, same, other)
    ]
    return sum(losses) / len(losses)


torch.manual_seed(0)
a, s, o = torch.randn(3, 6, 8)
torch.testing.assert_close(triplet_by_hand(a, s, o, 0.5), triplet(a, s, o, margin=0.5))
torch.testing.assert_close(triplet(a, s, s, margin=0.5), torch.tensor(0.5))

# %% [markdown]
# How is a network trained with such a loss? One loop, `fit`, trains every method of the course. Here are its eight main
# lines, from `for` to `schedule.step()`. The rows of the data come in random order, `batch_size` at a time. The method
# draws views of them and returns its loss. `backward` computes the gradient, and the optimiser takes a step. Then
# `after_step` makes the additional updates that some methods need (of a memory in section 10, of a slow copy of the
# network in notebook 08). The `schedule` changes the learning rate: it first rises from 0, and then falls to 0 along
# half a cosine. `seeded` fixes the random numbers of each update, so that a run can be repeated. With the same seed,
# the eight lines and `fit` give the same losses. (`fit` can also save and resume a run, and it uses GPUs.)


# %%
def fit_in_eight_lines(method, data, steps, batch_size, optimizer, seed=0):
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: cosine()((k + 0.5) / steps)
    )
    order = torch.randperm(
        len(data), generator=torch.Generator().manual_seed(mix(seed, 0))
    )
    # one pass over the data, or less
    for k, rows in enumerate(order.split(batch_size)[:steps]):
        with seeded(mix(seed, 0, k + 1)):  # `mix` makes one seed of several numbers
            loss = method.loss(as_float(data.x[rows]), data.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step()
        schedule.step()
        yield loss.item()


ours, theirs = (recipes.build(recipes.lookup("siamese"), seed=0) for _ in range(2))
ours = ours.to(memory_format=torch.channels_last)  # faster convolutions, as in `fit`
losses = {
    "eight lines": list(
        fit_in_eight_lines(ours, train, 3, 64, adamw(5e-3)(ours.parameters()))
    ),
    "fit": [
        step.loss
        for step in fit(
            theirs, train, 3, batch_size=64, optimizers=adamw(5e-3), device="cpu"
        )
    ],
}
torch.testing.assert_close(
    torch.tensor(losses["eight lines"]), torch.tensor(losses["fit"])
)
losses

# %% [markdown]
# Training with this loss works (section 12 says how well). But look at the curve on the right below: the share of
# triplets that are in order, margin included. These triplets give no gradient at all. The network soon separates most
# pictures from a random other one, and then such a negative teaches nothing more.

# %% tags=["fold"]
STEPS = updates(smoke=8, laptop=100, gpu=500)
SMALL = 64 if BUDGET == "smoke" else None  # batch size; None is the recipe's
watched = train.x[:500]  # scenes to measure during training


def training(name, method, steps, **more):
    """Trains a method with the settings of its recipe, and plots the run live."""
    return live(
        recipes.train(
            recipes.lookup(name), method, train, seed=0, steps=steps, batch_size=SMALL
        ),
        **more,
    )


# %%
def in_order():
    network = torch.nn.Sequential(siamese.encoder, siamese.projector)
    z1, z2 = (
        F.normalize(evaluate.features(network, augment(as_float(watched))), dim=1)
        for _ in range(2)
    )
    energy_same, energy_other = (
        (z1 - z2).square().sum(1),
        (z1 - z2.roll(1, 0)).square().sum(1),
    )
    return (energy_same + siamese.margin < energy_other).float().mean()


siamese = recipes.build(recipes.lookup("siamese"), seed=0)
for step in training(
    "siamese", siamese, STEPS, measure=in_order, measured="triplets in order"
):
    pass

# %% [markdown]
# ## 3. One against many: InfoNCE
#
# One negative at a time gives little to learn from, so we take many at once. GT19 writes the goal as
# $\operatorname{score}(f(x), f(x^+)) \gg \operatorname{score}(f(x), f(x^-))$. We turn this goal into a classification
# task: *here are N candidates; which of them is the positive?* With a score $s$ for each candidate, softmax and
# cross-entropy give
#
# $$L = -\mathbb{E}\left[\log \frac{\exp s(x, x^+)}{\exp s(x, x^+) + \sum_{j=1}^{N-1} \exp s(x, x_j^-)}\right],$$
#
# which is **InfoNCE** (van den Oord et al. 2018). It is simply the cross-entropy of an N-way classifier whose classes
# are the candidates. With N = 2 it is $\log(1 + \exp(s^- - s^+))$, a smooth ranking loss. With more candidates, the
# hardest negatives automatically count most (section 6). REP writes InfoNCE with a query q, keys k and a temperature,
# and calls it a (k + 1)-way softmax, with k = N - 1 negatives. In a batch of N pairs, the positives of the other pairs
# serve as negatives. So the scores are an N x N matrix with the positives on its diagonal.
#
# *Margin note.* GT19 calls N "the negative sample size". But N counts the positive too, so N - 1 candidates are
# negatives. In the slide's formula a bracket is in the wrong place: it puts the sum of the negatives inside the exp of
# the positive.


# %%
def one_reference_by_hand(positive, negatives):
    everything = positive.exp() + sum(score.exp() for score in negatives)
    return -torch.log(positive.exp() / everything)


torch.manual_seed(0)
positive, *negatives = torch.randn(6)
row = torch.stack([positive, *negatives])[None]  # one reference, six candidates
torch.testing.assert_close(
    one_reference_by_hand(positive, negatives), info_nce(row, torch.tensor([0]))
)
# with one negative: a smooth ranking loss
torch.testing.assert_close(
    one_reference_by_hand(positive, negatives[:1]), F.softplus(negatives[0] - positive)
)
# nothing learnt: log N
torch.testing.assert_close(info_nce(torch.zeros(6, 6)), torch.tensor(6.0).log())

# %% [markdown]
# ## 4. What InfoNCE measures: a bound on mutual information
#
# GT19 states $I(f(x); f(x^+)) - \log N \ge -L$ and refers to Poole et al. 2019. Here is the whole proof. Write $x$ and
# $y$ for the two variables and $s(x, y)$ for the score. Their mutual information is
# $I(x; y) = \mathbb{E}_{p(x, y)} \log \frac{p(x, y)}{p(x)\,p(y)}$. (With $f(x)$ and $f(x^+)$ in the place of $x$ and
# $y$, the result is GT19's statement. A function of $x$ contains no more information than $x$, so the bound holds for
# $I(x; x^+)$ as well.)
#
# **Step 1: a bound for any function.** Let $T(x, y)$ be any function with
# $Z = \mathbb{E}_{p(x)p(y)}\, e^{T(x, y)} < \infty$. Then $q(x, y) = p(x)\,p(y)\,e^{T(x, y)} / Z$ is a density, and a
# Kullback-Leibler divergence is never negative:
#
# $$\begin{gathered}
# 0 \le \mathrm{KL}(p(x, y)\,\Vert\, q) = \mathbb{E}_{p(x, y)}\left[\log \frac{p(x, y)}{p(x)\,p(y)} - T +
# \log Z\right] \\
# \Longrightarrow\quad I(x; y) \ge \mathbb{E}_{p(x, y)}[T] - \log Z.
# \end{gathered}$$
#
# **Step 2: bring in the negatives.** Draw $y_1$ together with $x$, and draw $y_2, \dots, y_N$ from $p(y)$,
# independently of the *pair* $(x, y_1)$. Then $p(x, y_1, \dots, y_N) = p(x, y_1)\, p(y_2) \cdots p(y_N)$, so the
# negatives cancel in the density ratio, and $I(x; y_1, \dots, y_N) = I(x; y_1)$. (Independence of $x$ alone would not
# be enough. If $x$ and $y_1$ are two independent coins and $y_2$ says whether they differ, $y_2$ is independent of $x$,
# but $y_1$ and $y_2$ together determine $x$.) So step 1 holds with all of $y_1, \dots, y_N$ in the place of $y$. Choose
#
# $$T(x, y_1, \dots, y_N) = \log \frac{e^{s(x, y_1)}}{\frac1N \sum_{j=1}^N e^{s(x, y_j)}}.$$
#
# **Step 3: here Z is 1.** In $Z$, $x$ is independent of all $y_j$, and all $y_j$ are drawn in the same way. So it makes
# no difference which one is called the first, and we may average over all N of them:
#
# $$Z = \mathbb{E}\, \frac{e^{s(x, y_1)}}{\frac1N \sum_j e^{s(x, y_j)}}
# = \mathbb{E}\, \frac1N \sum_{i=1}^N \frac{e^{s(x, y_i)}}{\frac1N \sum_j e^{s(x, y_j)}} = \mathbb{E}\, \frac{\frac1N \sum_i e^{s(x, y_i)}}{\frac1N \sum_j e^{s(x, y_j)}} = 1,$$
#
# so $\log Z = 0$. This leaves $I(x; y) \ge \mathbb{E}[T] = \log N - L$. $\qquad\blacksquare$
#
# **Which score is best?** The best score makes the classifier Bayes-optimal. Suppose that each of the N places is
# equally likely to hold the positive. If the positive is candidate $k$, the candidates have density
# $p(y_k \mid x) \prod_{j \ne k} p(y_j)$. Divide by $\prod_j p(y_j)$; then the posterior of $k$ is
# $\frac{p(y_k \mid x)}{p(y_k)} \big/ \sum_j \frac{p(y_j \mid x)}{p(y_j)}$. So the best score is
# $s^\ast(x, y) = \log \frac{p(y \mid x)}{p(y)}$, up to a constant that may depend on $x$. With this score, the
# classifier has learnt how many times likelier $y$ is with $x$ than without.
#
# **With the best score, more candidates never make the bound looser.** Write $r_j = e^{s^\ast(x, y_j)}$, and
# $m_N = \frac1N \sum_{j=1}^N r_j$. Then $\log N - L = \mathbb{E}[\log r_1 - \log m_N] = I - \mathbb{E}[\log m_N]$. So
# the gap between $I$ and the bound is $\mathbb{E}[\log m_N]$. In this mean, $y_1$ is drawn together with $x$. The
# density of such a pair is $r_1$ times that of an independent pair. So, with $\mathbb{E}_0$ for the mean in which *all*
# candidates are independent of $x$,
#
# $$\text{gap}_N = \mathbb{E}_0[r_1 \log m_N] = \mathbb{E}_0[m_N \log m_N].$$
#
# (The second step is that of step 3: any of the N candidates can be called the first.) Now $m_{N+1}$ is the average of
# N + 1 means, each of which leaves out one candidate and is distributed like $m_N$. The function $t \log t$ is convex.
# So Jensen's inequality gives $\text{gap}_{N+1} \le \text{gap}_N$. $\qquad\blacksquare$
#
# But there is a **ceiling**: because $L \ge 0$, the bound is never larger than $\log N$, however large $I$ is.
#
# Let us check this. First take two variables with three values each, where all cases can be counted:


# %%
def gaps(table, n):
    """The gap I - (log N - L) with the best score, from its definition, and the mean of
    m log m over independent candidates. table (3, 3): the probabilities p(x, y)."""
    p_x, p_y = table.sum(1), table.sum(0)
    ratio = table / (p_x[:, None] * p_y)
    x, *ys = torch.cartesian_prod(*(n + 1) * [torch.arange(len(table))]).T
    r = torch.stack([ratio[x, y] for y in ys])  # (N, cases)
    independent = p_x[x] * torch.stack([p_y[y] for y in ys]).prod(0)
    loss = -(independent * r[0] * (r[0] / r.sum(0)).log()).sum()
    m = r.mean(0)
    information = (table * ratio.log()).sum()
    return information - (math.log(n) - loss), (independent * m * m.log()).sum()


torch.manual_seed(0)
table = torch.rand(3, 3, dtype=torch.double) ** 2
found = [gaps(table / table.sum(), n) for n in range(2, 7)]
torch.testing.assert_close(*torch.tensor(found).T)
assert all(more[0] < fewer[0] for fewer, more in zip(found, found[1:]))
print("gap with N = 2 to 6:", [round(gap.item(), 4) for gap, _ in found])

# %% [markdown]
# Now a case with larger information. Take pairs of standard Gaussian vectors with 4 independent coordinates each.
# Coordinate k of the one has correlation $\rho$ with coordinate k of the other. Such pairs have
# $I = -\frac42 \log(1 - \rho^2)$, and $s^\ast$ is a quadratic function.


# %%
def best_scores(toy, pairs=2048):
    """s* of every x with every y; the pairs are on the diagonal."""
    return toy.log_ratio(*toy.sample(pairs, torch.Generator().manual_seed(0)))


def bound(scores, n):
    """log N - L. The pairs are split into batches of N: the scores of each batch are
    one N x N block on the diagonal.
    """
    k = torch.arange(len(scores) // n)
    # (batches, N, N)
    blocks = rearrange(scores, "(k i) (l j) -> k l i j", i=n, j=n)[k, k]
    return mutual_information_bound(
        info_nce(blocks.flatten(0, 1), torch.arange(n).repeat(len(k))), n
    ).item()


toy = CorrelatedGaussians(0.9, dim=4)
by_n = {n: bound(best_scores(toy), n) for n in (2, 16, 128, 1024)}
print(
    f"I = {toy.mutual_information:.3f} nats; log N - L:",
    {n: round(value, 3) for n, value in by_n.items()},
)
assert by_n[2] < by_n[16] < by_n[128] < by_n[1024] < toy.mutual_information + 0.05

# %% [markdown]
# **Try it.** *Candidates* is N. Make the correlation stronger: the bound gets stuck at its ceiling $\log N$. Then go
# back to a correlation of 0.9, and multiply the best score by a factor other than 1, as a wrong temperature would. The
# bound still holds, but it gets looser. With three times the best score, more candidates even make the bound *worse*,
# from some N on. So GT19's "the larger the negative sample size (N), the tighter the bound" is a statement about the
# best score.

# %% tags=["fold"]
CANDIDATES = [2**k for k in range(1, 11)]


def draw_bound(candidates, correlation, times):
    toy = CorrelatedGaussians(correlation, dim=4)
    ceiling = torch.tensor(CANDIDATES).log()
    scores = times * best_scores(toy)
    found = [bound(scores, n) for n in CANDIDATES]
    truth = [toy.mutual_information] * len(CANDIDATES)
    here = CANDIDATES.index(candidates)
    picture = curve(
        CANDIDATES,
        {
            "bound log N - L": found,
            "mutual information I": truth,
            "ceiling log N": ceiling,
        },
        title=f"N = {candidates}: bound {found[here]:.2f}, I = {truth[0]:.2f}, "
        f"ceiling {ceiling[here]:.2f} nats",
        xlabel="candidates N",
        ylabel="nats",
    )
    ax = picture.axes[0]
    ax.axvline(candidates, color="#666666", linewidth=1)
    ax.set_xscale("log", base=2)
    return picture


explore(
    draw_bound,
    candidates=SelectionSlider(options=CANDIDATES, value=64),
    correlation=FloatSlider(
        value=0.9, min=0.1, max=0.99, step=0.01, continuous_update=False
    ),
    times=FloatSlider(
        value=1.0,
        min=0.2,
        max=3.0,
        step=0.2,
        description="score times",
        continuous_update=False,
    ),
)

# %% [markdown]
# Do not think that the bound is the reason why contrastive learning works. A representation may keep a lot of
# information and still be useless: the pixels themselves keep all of it. Tighter bounds can give worse features
# (Tschannen et al. 2020). The decisive point is which information the two *views* share, and we can choose the views.
#
# ## 5. SimCLR
#
# SimCLR's encoder $f$ (a residual network) gives the representation $h = f(x)$, and a small projection head $g$ gives
# $z = g(h)$. From here on, $s_{ij} = z_i^\top z_j / (\lVert z_i\rVert \lVert z_j\rVert)$ is the cosine similarity of
# two views. Their score is $s_{ij} / \tau$, with a **temperature** $\tau$. N is now the number of pictures, so a batch
# of N pictures gives 2N views. For view $i$, the task is to find its partner $j$ among the 2N - 1 other views:
#
# $$\ell(i, j) = -\log \frac{\exp(s_{ij} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}
# = -\frac{s_{ij}}{\tau} + \log \sum_{k \ne i} \exp \frac{s_{ik}}{\tau},$$
#
# and **NT-Xent** (*normalised temperature-scaled cross-entropy*) is the mean of $\ell(i, j)$ over all 2N ordered pairs.
# The first term pulls partners together, and the second pushes views apart. Some negatives show the same emoji as view
# $i$, or one of the same category. Such *false negatives* are pushed away too, because the loss does not know the
# labels. A collapsed network has the loss $\log(2N - 1)$. (The proof above needs independent candidates. Here, both
# views of another picture are among the candidates. So the proof holds for InfoNCE in a batch, as in section 3, but not
# exactly for NT-Xent.)
#
# *Margin notes.* GT19's slide calls the head $h(\cdot)$. Its own Algorithm 1 and the paper call it $g$, and $h$ is what
# we keep. ENS writes NT-Xnet and calls the loss new. The name is NT-Xent, and the paper itself says that Sohn 2016, Wu
# et al. 2018 and van den Oord et al. 2018 used this loss before. REP's "different rotations" are in the paper's figure
# of augmentations, but not in its recipe.


# %%
def nt_xent_of_two_pictures(a1, a2, b1, b2, tau):
    """The loss for N = 2, written out: the views a1, a2 of one picture, b1, b2 of
    another."""

    def ell(view, partner, *negatives):
        scores = [
            F.cosine_similarity(view, other, dim=0) / tau
            for other in (partner, *negatives)
        ]
        return -scores[0] + torch.stack(scores).logsumexp(0)

    return (
        ell(a1, a2, b1, b2)
        + ell(a2, a1, b1, b2)
        + ell(b1, b2, a1, a2)
        + ell(b2, b1, a1, a2)
    ) / 4


torch.manual_seed(0)
a1, a2, b1, b2 = torch.randn(4, 8)
torch.testing.assert_close(
    nt_xent_of_two_pictures(a1, a2, b1, b2, 0.5),
    nt_xent(torch.stack([a1, b1]), torch.stack([a2, b2]), 0.5),
)
# a collapsed network with N = 6
torch.testing.assert_close(
    nt_xent(torch.ones(6, 8), torch.ones(6, 8)), torch.tensor(11.0).log()
)

# %% [markdown]
# The library computes any number of pictures at once. You write this code yourself in the exercises: the loss is
# exercise 3, and the method is exercise 7. Read it beside Algorithm 1 of the paper, which GT19 shows. (`TwoViews` is
# the part shared with other methods that compare two views, such as the Siamese network of section 2. `gather` collects
# the views of several GPUs; on one device it returns its argument.)
#
# | Algorithm 1 | in the code |
# |---|---|
# | draw two augmentation functions $t, t' \sim \mathcal T$ | two calls of `augment`: each call draws new ones for each picture |
# | $h_{2k-1} = f(\tilde x_{2k-1}),\ h_{2k} = f(\tilde x_{2k})$ | all views go through `encoder` in one call, so that BatchNorm sees them together |
# | $z_{2k-1} = g(h_{2k-1}),\ z_{2k} = g(h_{2k})$ | `projector`; its output is cut into first and second views |
# | $s_{i,j} = z_i^\top z_j / (\lVert z_i\rVert \lVert z_j\rVert)$ | one matrix product of all views with all views |
# | $\ell(i, j)$, without $k = i$ | InfoNCE of the 2N rows, with a view itself taken out of its row |
# | $\mathcal L = \frac1{2N} \sum_k [\ell(2k-1, 2k) + \ell(2k, 2k-1)]$ | the mean over 2N rows; the partner of $i$ is $i \pm N$ in the code, $i \pm 1$ in the paper |
# | update $f$ and $g$ to minimise $\mathcal L$ | `fit`, which trains every method of the course |
# | return $f$, throw away $g$ | `encode` returns h |

# %%
show(nt_xent, after="exercise 3")
show(TwoViews, after="exercise 7")
show(SimCLR, after="exercise 7")

# %% [markdown]
# ## 6. The temperature decides who is pushed
#
# Differentiate $\ell(i, j)$ with respect to a similarity. With the softmax weights
# $p_{ik} = \exp(s_{ik} / \tau) / \sum_{k' \ne i} \exp(s_{ik'} / \tau)$,
#
# $$\frac{\partial \ell(i, j)}{\partial s_{ij}} = -\frac{1 - p_{ij}}{\tau}, \qquad
# \frac{\partial \ell(i, j)}{\partial s_{ik}} = \frac{p_{ik}}{\tau} \quad (k \ne i, j).$$
#
# The positive is pulled as strongly as all negatives together are pushed, and each negative is pushed in proportion to
# its weight $p_{ik}$. With a small $\tau$, nearly all of the push goes to the most similar negative, even if it is a
# false negative. A large $\tau$ treats all negatives nearly equally.
#
# Let autograd check it:


# %%
def weights_and_gradients(s, tau):
    """Softmax weights p of every row, and the gradient of that row's loss with respect
    to its similarities."""
    partner = torch.arange(len(s)).roll(len(s) // 2)
    p = (
        (s / tau)
        .masked_fill(torch.eye(len(s), dtype=torch.bool), -torch.inf)
        .softmax(1)
    )
    return p, (p - F.one_hot(partner, len(s))) / tau


s = (2 * torch.rand(12, 12) - 1).requires_grad_()
scores = (s / 0.2).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
(gradient,) = torch.autograd.grad(12 * info_nce(scores, torch.arange(12).roll(6)), s)
torch.testing.assert_close(gradient, weights_and_gradients(s.detach(), 0.2)[1])

# %% [markdown]
# **Try it** with six pictures and two views of each. Compare a low temperature (small $\tau$) with a high one (large
# $\tau$), for the untrained and for the trained encoder. Which views are pushed away most? (The untrained network has
# processed a few batches, so that its BatchNorm layers have estimated their statistics. Otherwise all its outputs point
# in one direction, and all its similarities are about 1.)

# %% tags=["fold"]
shipped = zoo.load("simclr")  # the course ships this recipe, trained for longer
untrained = recipes.build(recipe, seed=0).train()
torch.manual_seed(1)
two_views = torch.cat([augment(pictures[:6]), augment(pictures[:6])])
with torch.no_grad():
    for batch in train.x[:2560].split(64):
        untrained.projector(untrained.encode(augment(as_float(batch))))
networks = {"trained": shipped, "untrained": untrained}
similarities = {}
for name, net in networks.items():
    z = F.normalize(
        evaluate.features(torch.nn.Sequential(net.encoder, net.projector), two_views),
        dim=1,
    )
    similarities[name] = z @ z.T


def draw_temperature(tau, encoder):
    s = similarities[encoder]
    p, gradient = weights_and_gradients(s, tau)
    return matrices(
        {
            "similarity s": s,
            "softmax weight p": p,
            "gradient of row i's loss": gradient,
        },
        title=f"tau = {tau:.2f}, {encoder} encoder; loss "
        f"{-p[range(12), torch.arange(12).roll(6)].log().mean():.2f}"
        f" (collapsed: {torch.tensor(11.0).log():.2f}); views k and k + 6: one picture",
        signed=("similarity s", "gradient of row i's loss"),
        xlabel="view k",
        ylabel="view i",
    )


explore(
    draw_temperature,
    tau=FloatLogSlider(value=0.2, min=-2, max=0.5, step=0.05, readout_format=".2f"),
    encoder=Dropdown(options=list(networks)),
)

# %% [markdown]
# ### False negatives, counted
#
# How many negatives are false, and how much of the push do they get? Here is a batch of 256 pictures, compared by the
# trained encoder. For each view there are 510 negatives. We use the labels to count, but not to train.


# %%
def compared(net, rows):
    """Two views of each picture: the similarities of all views, their labels, and which
    entries are negatives."""
    n = len(rows)
    with torch.no_grad():
        network = torch.nn.Sequential(net.encoder, net.projector)
        views = torch.cat([augment(as_float(train.x[rows])) for _ in range(2)])
        z = F.normalize(evaluate.features(network, views), dim=1)
    negative = ~torch.eye(2 * n, dtype=torch.bool)
    negative[torch.arange(2 * n), torch.arange(2 * n).roll(n)] = False
    return z, z @ z.T, train.y[rows].repeat(2), negative


torch.manual_seed(0)
rows = torch.randperm(len(train))[:256]
z, s, label, negative = compared(shipped, rows)
emoji = train.info["emoji"][rows].repeat(2)
false = negative & (label[:, None] == label)  # of the same category
same_emoji = negative & (emoji[:, None] == emoji)
print(
    f"of {negative.sum(1)[0]} negatives: {false.sum(1).double().mean():.0f} of the "
    f"same category, {same_emoji.sum(1).double().mean():.1f} of the same emoji"
)
shares = {}
for tau in (0.05, 0.1, 0.2, 0.5, 1.0):
    p = weights_and_gradients(s, tau)[0]
    shares[tau] = (((p * false).sum(1) / (p * negative).sum(1)).mean()).item()
    print(f"tau = {tau}: they get {shares[tau]:.0%} of the negatives' push")

# %% [markdown]
# With a large temperature, the views of the same category get about their share by count. With a small temperature,
# they get more than their share, because the trained encoder finds them more similar than other views.
#
# **The debiased loss** (Chuang et al. 2020). Can the loss leave them out without labels? Suppose that a random picture
# is of the reference's class with probability $\eta$ (in the code, `prior`). Then the density of a candidate is a
# mixture, $p(y) = \eta\, p^+(y) + (1 - \eta)\, p^-(y)$, of false negatives ($p^+$) and true ones ($p^-$). Multiply by
# $e^{s / \tau}$, integrate, and solve for the true negatives:
#
# $$\mathbb{E}_{p^-}\, e^{s / \tau} = \frac{\mathbb{E}_p\, e^{s / \tau} - \eta\, \mathbb{E}_{p^+}\, e^{s / \tau}}{1 - \eta}.$$
#
# The first mean is that over all negatives in the batch. For the second one, the loss takes the only view of which it
# knows that it is of the same class: the partner. An estimate below $e^{-1 / \tau}$ is replaced by this value, because
# no similarity is below -1. The denominator of NT-Xent is then $e^{s_{ij} / \tau}$ plus $2N - 2$ times the estimate.

# %%
tau, exp = 0.2, (s / 0.2).exp()


def mean_over(chosen):
    return (exp * chosen).sum(1) / chosen.sum(1)


eta = false.sum(1) / negative.sum(1)  # the share of each view's category
everyone, true = mean_over(negative), mean_over(negative & ~false)
# the equation above holds exactly in a batch, with the labels' means
torch.testing.assert_close((everyone - eta * mean_over(false)) / (1 - eta), true)
partner = exp[torch.arange(512), torch.arange(512).roll(256)]
print(f"mean of exp(s / tau) over the true negatives:  {true.mean():.2f}")
print(f"over all negatives:                            {everyone.mean():.2f}")
print(f"over the false negatives:                      {mean_over(false).mean():.2f}")
print(f"of the partner:                                {partner.mean():.2f}")
for prior in (0.003, 0.01, 0.1):
    estimate = (everyone - prior * partner) / (1 - prior)
    too_low = (estimate < math.exp(-1 / tau)).double().mean()
    print(
        f"estimate with prior {prior}: {estimate.mean():.2f}, "
        f"impossibly low for {too_low:.0%} of the views"
    )
torch.testing.assert_close(  # prior 0 leaves NT-Xent
    debiased_nt_xent(*z.chunk(2), 0.0, tau), nt_xent(*z.chunk(2), tau)
)

# %% [markdown]
# The equation is right, but its second mean is the difficulty. The partner is another view of the *same scene*, and
# much more similar than another scene of the same category. So with a prior near the true share of the categories
# (0.1), the estimate subtracts far too much. Only the smallest prior comes near the truth. With 0.01 the estimate is
# already further from it than the mean over all negatives. Section 12 trains with the priors 0.01 and 0.1.
#
# **And a view itself?** If the similarity of a view to itself stays among the candidates, its term is
# $e^{1 / \tau}$, the largest that is possible. How much weight is left for the negatives?

# %%
for tau in (0.05, 0.1, 0.2, 0.5, 1.0):
    without = (weights_and_gradients(s, tau)[0] * negative).sum(1).mean()
    with_itself = ((s / tau).softmax(1) * negative).sum(1).mean()
    print(
        f"tau = {tau}: weight of all negatives {without:.2f}, "
        f"with the view itself among the candidates {with_itself:.2f}"
    )

# %% [markdown]
# At a small temperature the negatives lose most of their weight. At a large one they lose hardly any.
#
# ## 7. The views decide what is learnt
#
# The representation need not keep what the augmentation destroys. The network may use whatever survives it. Here,
# colours are shifted mildly, and they are dropped in a fifth of the views. (Chen et al. shift them much more. We chose
# our strength on validation emoji; see section 13.)
#
# **Try it.** How strongly can the colours be shifted before you yourself no longer see that two views belong together?
# Above each view are the similarities of its h to the h of the scene, for the untrained and the trained encoder. The
# title compares them with the similarities of *other* scenes. The larger the gap between the two, the easier it is to
# tell a view of this scene from other scenes.

# %% tags=["fold"]
others = {
    name: F.normalize(evaluate.features(net, train.x[100:164]), dim=1)
    for name, net in networks.items()
}


def draw_views(picture, strength):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(picture)
        x = as_float(train.x[picture]).expand(12, -1, -1, -1)
        shown = torch.cat(
            [x[:1], simclr_augment(32, strength, scale=(0.2, 1.0))(x[1:])]
        )
    views, strangers = {}, {}
    for name, net in networks.items():
        h = F.normalize(evaluate.features(net, shown), dim=1)
        views[name], strangers[name] = h[1:] @ h[0], (others[name] @ h[0]).mean()
    captions = ["the scene"] + [
        f"{a:.2f}  {b:.2f}" for a, b in zip(views["untrained"], views["trained"])
    ]
    means = "; ".join(
        f"{name}: views {views[name].mean():.2f}, other scenes {strangers[name]:.2f}"
        for name in ("untrained", "trained")
    )
    return image_grid(
        shown,
        captions,
        columns=6,
        title=f"{train.classes[train.y[picture]]}, colour strength {strength:.1f}: "
        "similarity to the scene, "
        f"untrained and trained\n{means}",
    )


explore(
    draw_views,
    picture=IntSlider(0, 0, 99),
    strength=FloatSlider(value=0.2, min=0.0, max=1.2, step=0.1),
)

# %% [markdown]
# ## 8. How good is it before it has learnt anything?
#
# As in notebook 00, sections 1 and 8, the measure is **k-NN** with 20 neighbours. The baseline is the **random
# encoder**: the same network with the same seed, untrained. A method has learnt something only if it beats *this*
# baseline. The measure of the literature is the **linear probe** (GT19: *Training linear classifier on SimCLR
# features*): freeze $f$, fit a linear classifier on $h$ with the training labels, and test it on the emoji of the test
# set (`evaluate.linear_probe`). **Fine-tuning** continues to train $f$ as well.

# %%
bank = train if BUDGET != "smoke" else train[:2000]
held_out = test if BUDGET != "smoke" else test[:500]


def knn_accuracy(method):
    h_bank, h = evaluate.features(method, bank.x), evaluate.features(method, held_out.x)
    return evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), held_out.y)


random_knn = knn_accuracy(random_encoder)
chance = (held_out.y == bank.y.mode().values).double().mean().item()
print(
    f"k-NN accuracy on {len(held_out)} test scenes: always the commonest category "
    f"{chance:.3f}, "
    f"random encoder {random_knn:.3f}"
)

# %% [markdown]
# ## 9. Train it
#
# A collapsed network would have the loss $\log(2N - 1)$, which is 6.24 at N = 256. Our loss starts a little below this
# value, because even for an untrained network two views of one picture are somewhat more similar than views of two
# pictures. Watch the second curve too: the standard deviation of the normalised features of 500 fixed scenes, times
# $\sqrt D$. 0 means collapsed to one point, and 1 is the maximum. (Our h comes from a ReLU and is never negative, so do
# not expect 1.)


# %%
def spread():
    h = evaluate.features(method, watched)
    return evaluate.feature_std(h) * h.shape[1] ** 0.5


method = recipes.build(recipe, seed=0)
for step in training(
    "simclr", method, 4 * STEPS, measure=spread, measured="spread of features"
):
    trained_steps = step.k

# %% [markdown]
# The loss falls, and the features do not collapse. Are they useful? Ask k-NN:

# %%
print(
    f"k-NN accuracy: random encoder {random_knn:.3f}, after {trained_steps} steps "
    f"{knn_accuracy(method):.3f}"
)

# %% [markdown]
# The next figures show four test scenes and their nearest training scenes, for the random encoder and for the shipped
# one (the same recipe, trained for longer). The menu also has the network that you trained; the slider moves through
# the test set. **Try it.** Where is the encoder trained above wrong, while the shipped one is right?

# %% tags=["fold"]
encoders = {
    "random encoder": random_encoder,
    "trained above": method,
    "shipped, trained longer": shipped,
}
features = {
    name: [
        F.normalize(evaluate.features(net, part.x), dim=1) for part in (bank, held_out)
    ]
    for name, net in encoders.items()
}


def draw_neighbours(encoder, first):
    h_bank, h = features[encoder]
    queries = torch.arange(first, first + 4)
    found = (h[queries] @ h_bank.T).topk(6).indices  # (4, 6)
    right = bank.y[found] == held_out.y[queries][:, None]
    return neighbours(
        held_out.x[queries],
        bank.x[found],
        right,
        criterion="same category as the query",
        title=f"Nearest training scenes of four test scenes: {encoder}",
    )


display(
    draw_neighbours("random encoder", 40),
    draw_neighbours("shipped, trained longer", 40),
)
explore(
    draw_neighbours,
    encoder=Dropdown(options=list(encoders), value="trained above"),
    first=IntSlider(40, 0, len(held_out) - 4, description="first query"),
)

# %% [markdown]
# Count the ticks. The random encoder seems to compare brightness and overall colour. SimCLR does well where a category
# has a typical look (people beside people). Many of its wrong neighbours share only colours or an outline with the
# query.
#
# Here are many test scenes at once, as a t-SNE map (notebook 00, section 8, explains how to read one):

# %% tags=["fold"]
shown = slice(0, {"smoke": 200, "laptop": 1000, "gpu": 2000}[BUDGET])


def draw_map(encoder):
    place = TSNE(metric="cosine", init="pca", random_state=0).fit_transform(
        features[encoder][1][shown].numpy()
    )
    return scatter_map(
        place,
        held_out.y[shown],
        held_out.classes,
        title=f"{len(place)} test scenes by category: {encoder}",
        xlabel="t-SNE, first coordinate",
        ylabel="second coordinate",
    )


display(draw_map("random encoder"), draw_map("shipped, trained longer"))

# %% [markdown]
# ### Near each other, and far from all others
#
# If partners are pulled together, why do not all pictures end in one point? For unit vectors,
# $\cos(u, v) = 1 - \|u - v\|^2 / 2$. So the loss of view $i$ is its squared distance from its partner, divided by
# $2\tau$, plus $\log \sum_{k \neq i} \exp(-\|z_i - z_k\|^2 / 2\tau)$. Take the mean over $i$. By Jensen's inequality,
# the mean of the logarithms is at most the logarithm of the mean:
#
# $$\begin{aligned}
# L \;\le\; {} & \frac{1}{2\tau} \underbrace{\operatorname{mean}_i \|z_i - z_i^+\|^2}_{\text{alignment}} \\
# & + \underbrace{\log \operatorname{mean}_{i \neq k}
# \exp\!\left(-\tfrac{1}{2\tau} \|z_i - z_k\|^2\right)}_{\text{uniformity}}
# \;+\; \log(2N - 1).
# \end{aligned}$$
#
# The first term is small if partners are near each other. The second is small if all views are spread evenly over the
# sphere (Wang and Isola 2020, who set $1 / 2\tau$ to 2 when they measure the second term). Either alone is easy to
# minimise: a collapsed network has perfect alignment.
#
# How low can the second term be? With $n$ unit vectors $u_i$ and the factor 2, the exponent is
# $-2 \|u_i - u_k\|^2 = -4 + 4\, u_i^\top u_k$. By Jensen's inequality, the logarithm of the mean is at least the mean
# of the exponents. Moreover, $\sum_{i \ne k} u_i^\top u_k = \|\sum_i u_i\|^2 - n \ge -n$, and there are $n (n - 1)$
# pairs. So the uniformity is at least $-4 - 4 / (n - 1)$, about -4. Vectors reach this limit only if their distances
# are all equal and their sum is 0. They are then the corners of a regular simplex. More than D + 1 vectors in D
# dimensions cannot do this. But 1,000 random directions in 64 dimensions come close:

# %%
corners = torch.eye(9) - 1 / 9  # a regular simplex
torch.testing.assert_close(evaluate.uniformity(corners), -4 - 4 / 8)
torch.manual_seed(0)
print(f"1,000 random directions: {evaluate.uniformity(torch.randn(1000, 64)):.2f}")

# %%
figure, ax = subplots(height=3.4)
for (name, net), colour, marker in zip(encoders.items(), PALETTE, MARKERS):
    torch.manual_seed(0)
    z1, z2 = (
        evaluate.features(
            torch.nn.Sequential(net.encoder, net.projector),
            net.augment(as_float(watched)),
        )
        for _ in range(2)
    )
    z, t = torch.cat([z1, z2]), 1 / (2 * net.temperature)
    limit = (
        t * evaluate.alignment(z1, z2)
        + evaluate.uniformity(z, t)
        + math.log(len(z) - 1)
    )
    loss = nt_xent(z1, z2, net.temperature).item()
    assert loss <= limit + 1e-4
    ax.plot(
        evaluate.uniformity(z),
        evaluate.alignment(z1, z2),
        marker,
        color=colour,
        ms=10,
        ls="",
        label=f"{name}: L = {loss:.2f}, at most {limit:.2f}",
    )
ax.set(
    title=f"Alignment and uniformity of z; two views of {len(watched)} scenes",
    xlim=(-4.1, 0.2),
    ylim=(-0.05, 1.05),
    xlabel="uniformity: 0 in one point, about -4 at best",
    ylabel="alignment: 0 at best",
)
ax.legend()
describe(
    figure,
    "Alignment over uniformity of z. "
    + "; ".join(text.get_text() for text in ax.get_legend().get_texts()),
)

# %% [markdown]
# The untrained network has almost perfect alignment. But its loss is almost that of a collapsed network, because all
# its outputs point in nearly the same direction. Training gives up some alignment and gains much uniformity.
#
# ### Did it look at the emoji, or at the background?
#
# Both views come from one scene, so the network could also solve the puzzle by the texture. Does it use the texture?
# The test of notebook 00 asks which is nearer to an anchor: the *same drawing* elsewhere, or another drawing in its
# place?

# %%
parts = shortcut_triplets(
    load("emoji", "test"), {"smoke": 200, "laptop": 2000, "gpu": 2000}[BUDGET], seed=7
)


def prefers_drawing(net):
    anchor, same_drawing, same_background = (
        F.normalize(evaluate.features(net, part.x), dim=1) for part in parts
    )
    return (
        ((anchor * same_drawing).sum(1) > (anchor * same_background).sum(1))
        .double()
        .mean()
        .item()
    )


# %% tags=["fold"]
picture = bars_with_spread(
    {name: [prefers_drawing(net)] for name, net in encoders.items()},
    xlabel="share of anchors nearer to their drawing (0.5: no preference)",
    title=f"Same drawing elsewhere, or another one in its place? {len(parts[0])} "
    "anchors",
)
picture.axes[0].axvline(0.5, color="#666666", linewidth=1)
picture

# %% [markdown]
# For the untrained network, the nearer scene is more often the one with the same background. For the trained networks
# it is the one with the same drawing in most cases, although the loss never forbade them to use the texture. (Note that
# the same *drawing* has the same colours and the same outline. So this test does not show whether the network
# recognises the category. The k-NN accuracy on test emoji does.)
#
# ## 10. A memory for negatives: instance discrimination
#
# AIA says: *good negative samples are very important*. There are three ways to have many of them: a huge batch (SimCLR;
# it costs memory, because all 2N views get a gradient), a memory bank (this section; its rows are out of date), and a
# queue of the latest outputs of a momentum encoder (MoCo, notebook 04).
#
# Two years before SimCLR, Wu et al. had many negatives with a small batch. They make **every picture a class of its
# own**. A classifier with 20,000 classes would need a weight vector for each class, learnt from one picture. Instead,
# they use the picture's own representation from the last time that it was in a batch. A **memory bank** keeps one unit
# vector $b_j$ for each of the $n$ pictures. For a view of picture $i$ with output $v$ of unit length,
#
# $$P(i \mid v) = \frac{\exp(v^\top b_i / \tau)}{\sum_{j=1}^{n} \exp(v^\top b_j / \tau)}, \qquad L = -\log P(i \mid v):$$
#
# a *non-parametric softmax*. It is InfoNCE again, with the whole data set as candidates and one view of each picture in
# the batch. After the update, only the rows of this batch's pictures move, with a **momentum on the memory**:
#
# $$b_i \leftarrow \frac{\mu\, b_i + (1 - \mu)\, v}{\lVert \mu\, b_i + (1 - \mu)\, v \rVert}.$$
#
# (The authors' code does this, with $\mu = 0.5$. The paper instead replaces the row and adds
# $\lambda \lVert v - b_i\rVert^2$ to the loss, for the same purpose.) The disadvantage is that rows are out of date.
# When a picture is in a batch again, its row is one epoch old on average. (REP says "typically once per epoch".)

# %%
show(InstanceDiscrimination, after="exercise 4")

# %%
torch.manual_seed(0)  # a bank of six rows, a batch of the pictures 1 and 4
tiny = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
toy_method = InstanceDiscrimination(
    tiny, torch.nn.Identity(), lambda x: x, images=6, dim=4, momentum=0.5
)
before, x, index = toy_method.bank.clone(), torch.rand(2, 3, 2, 2), torch.tensor([1, 4])
toy_method.loss(x, index)
with torch.no_grad():
    toy_method.after_step()
    v, after = tiny(x), toy_method.bank[index]
# with momentum 0.5, the new row halves the angle between the old row and v
torch.testing.assert_close(
    F.cosine_similarity(after, before[index]), F.cosine_similarity(after, v)
)
torch.testing.assert_close(after.norm(dim=1), torch.ones(2))
# the batch's rows move, and no others
assert (toy_method.bank != before).any(1).nonzero().flatten().tolist() == [1, 4]

# %% [markdown]
# **NCE or the full softmax?** With ImageNet's 1.28 million pictures, the sum in the denominator was too expensive. Wu
# et al. used *noise-contrastive estimation* (NCE, Gutmann and Hyvärinen 2010). They treat
# $Z = \sum_j \exp(v^\top b_j / \tau)$ as a constant, estimated once, and ask binary questions: *is this row the
# picture's own, or one of K drawn at random?*
#
# The posterior of "own" follows from Bayes' rule. There are K + 1 rows: the own one, drawn from $P(j \mid v)$, and K
# noise rows, each drawn with probability $1/n$. Before row $j$ is looked at, "noise" is K times as likely as "own". So
#
# $$\pi(j) = \frac{P(j \mid v)}{P(j \mid v) + K \cdot \frac1n}, \qquad
# L = -\log \pi(i) - \sum_{k=1}^{K} \log(1 - \pi(j_k)).$$
#
# What happens if K grows? Write $s_j = v^\top b_j / \tau$, so that $\log P(j \mid v) = s_j - \log Z$ with a constant Z.
# Then $\pi(j)$ is a sigmoid of $s_j - \log Z - \log(K / n)$. The gradient of $-\log \pi(i)$ is
# $-(1 - \pi(i)) \nabla s_i$, and that of $-\log(1 - \pi(j))$ is $\pi(j) \nabla s_j$. On average over the noise, the
# gradient of the loss is
#
# $$\begin{aligned}
# & -(1 - \pi(i))\, \nabla s_i + K \sum_{j=1}^{n} \frac1n\, \pi(j)\, \nabla s_j \\
# & \quad \longrightarrow\; -\nabla s_i + \sum_{j=1}^{n} P(j \mid v)\, \nabla s_j \qquad (K \to \infty),
# \end{aligned}$$
#
# because $\pi(j) \to 0$ and $\frac Kn \pi(j) \to P(j \mid v)$. The limit is the gradient of the softmax if Z is right
# for this $v$. With one Z for all $v$, it only comes close. Our bank has 20,000 rows of 64 numbers. The full softmax
# costs a small part of the step and is exact. So the recipe uses the full softmax, and `NCEInstanceDiscrimination` is
# there for comparison.
#
# *Margin note.* ENS's slide on InstDisc says InfoNCE. But Wu et al. used NCE over a non-parametric softmax, and InfoNCE
# comes from van den Oord et al. 2018. Also, K in NCE counts only the noise, not the positive.

# %%
torch.manual_seed(0)  # one view, a bank of 50 rows, three of them as noise
v, memory = (
    F.normalize(torch.randn(1, 8), dim=1),
    F.normalize(torch.randn(50, 8), dim=1),
)
own, noise, tau = torch.tensor([3]), torch.tensor([[7, 9, 30]]), 0.2
Z = (v @ memory.T / tau).exp().sum()
P = (v @ memory.T / tau).exp()[0] / Z
posterior = P / (P + 3 / 50)
by_hand = -posterior[3].log() - (1 - posterior[noise[0]]).log().sum()
torch.testing.assert_close(
    noise_contrastive(v, memory, own, noise, Z.log(), tau), by_hand
)


def nce_gradient(k):
    """The gradient for the scores s, on average over K noise rows: each row is noise
    K / 50 times."""
    s = (v @ memory.T / tau)[0].requires_grad_()
    own_or_noise = s - Z.log() - math.log(k / 50)
    loss = F.softplus(-own_or_noise[3]) + k / 50 * F.softplus(own_or_noise).sum()
    return torch.autograd.grad(loss, s)[0]


softmax_gradient = P - F.one_hot(torch.tensor(3), 50)
for k in (3, 300, 30_000):
    error = (nce_gradient(k) - softmax_gradient).norm() / softmax_gradient.norm()
    print(f"K = {k:>6,}: gradient differs from the softmax's by {error:.1%}")
assert error < 0.01

# %%
with_bank = recipes.build(recipes.lookup("instance-discrimination"), seed=0)
for step in training("instance-discrimination", with_bank, 3 * STEPS):
    pass
print(
    f"k-NN accuracy: random encoder {random_knn:.3f}, memory bank after {step.k} steps "
    f"{knn_accuracy(with_bank):.3f}"
)

# %% [markdown]
# A collapsed network has the loss $\log 20{,}000 = 9.90$ here. Our bank starts with the untrained network's output for
# a view of each picture. Wu et al. start with random rows and train for 200 epochs. Our runs on a CPU have four to
# eight epochs, and in the first one many candidates would be random rows. Section 12 compares both starts.
#
# ## 11. With labels: supervised contrastive learning
#
# Suppose now that we have labels (REP: "with labels? without labels?"). Then we know more positives: *all* views of the
# same class. Khosla et al. average the log-probability over the set P(i) of positives of each view (their $L_{out}$,
# with the mean outside the log):
#
# $$L = \frac{1}{2N} \sum_i \frac{-1}{|P(i)|} \sum_{p \in P(i)} \log \frac{\exp(s_{ip} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}.$$
#
# If all labels are different, the only positive of a view is its partner, and the loss is NT-Xent. So SimCLR is
# supervised contrastive learning where each picture is its own class, and `SupCon` is SimCLR with another loss. The
# loss of `SupCon` cannot fall to 0. By Jensen's inequality, the loss of view $i$ is at least $\log |P(i)|$, because so
# many positives share the probability 1.

# %%
torch.manual_seed(0)
z1, z2 = torch.randn(2, 6, 8)
torch.testing.assert_close(
    supervised_contrastive(z1, z2, torch.arange(6), 0.2), nt_xent(z1, z2, 0.2)
)
show(supervised_contrastive, doc=False, after="exercise 3")

# %%
with_labels = recipes.build(recipes.lookup("supcon"), seed=0)
for step in training("supcon", with_labels, STEPS):
    pass
print(
    f"k-NN accuracy: random encoder {random_knn:.3f}, with labels after {step.k} steps "
    f"{knn_accuracy(with_labels):.3f}"
)

# %% [markdown]
# ## 12. Measured, not promised
#
# One run proves little. From here on, we plot what `make results` measured. Each dot is one seed, and every accuracy is
# measured on scenes of test emoji. First we compare the methods at an equal number of views: 300 steps of 2 x 256
# views, or 600 steps of 256. *Calibrated* is the random encoder with the BatchNorm statistics of the training scenes.

# %% tags=["fold"]
by_method = {"raw pixels": experiments.values("simclr")["raw pixels"]}
by_method |= {
    key: experiments.values("simclr")[key]
    for key in ("random encoder", "random, calibrated")
}
by_method |= {
    "Siamese, triplets": experiments.values("siamese")["trained"],
    "memory bank": experiments.values("instance-discrimination")["trained"],
    "SimCLR": experiments.values("simclr-heads")["MLP"],
    "supervised contrastive": experiments.values("supcon")["trained"],
    "supervised": experiments.values("supervised")["trained"],
}
bars_with_spread(
    by_method,
    xlabel="k-NN accuracy, nine categories",
    title=f"{len(test):,} scenes of test emoji; {300 * 2 * 256:,} views each; 3 seeds",
)

# %%
for name in ("siamese", "instance-discrimination", "supcon", "simclr"):
    print(f"{name}\n{experiments.table(name)}\n")
about = zoo.manifest()["simclr"]
print(
    f"shipped weights: {about['steps']} steps, k-NN {about['knn']:.3f}, linear probe "
    f"{about['probe']:.3f}"
)

# %% [markdown]
# Every method beats the random encoder of its seed, with each of three seeds. The order follows this notebook. One
# negative for each picture (Siamese) gives the least. 20,000 old negatives (memory bank) give more, and 510 fresh ones
# (SimCLR) more again. (These three methods differ also in their losses and positives, so the negatives need not be the
# only reason.) Labels help most, as they should. In Khosla et al.'s experiments, the supervised contrastive loss also
# beats cross-entropy. At an equal number of views ours does not. But here cross-entropy has made twice as many updates.
# (In the tables SimCLR ran for 500 steps, and the shipped weights for even longer. Compare neither with the bars.)
#
# ### Bank or batch?
#
# The bank's negatives are many and old. A batch's negatives are few and fresh. Which are better? And does it matter how
# the bank starts, and whether its softmax is exact?

# %% tags=["fold"]
negatives = {
    "batch: 510 views (SimCLR)": experiments.values("simclr-heads")["MLP"],
    "bank: full softmax, 20,000 rows": experiments.values("instance-discrimination")[
        "trained"
    ],
    **{
        f"bank: {setting}": found
        for setting, found in experiments.values("bank-negatives").items()
    },
}
bars_with_spread(
    negatives,
    xlabel="k-NN accuracy",
    title="Where the negatives come from; equal number of views, 3 seeds",
)

# %% [markdown]
# Few fresh negatives beat many old ones. (The positives differ, too: SimCLR's is a fresh view, and the bank's is an
# average of old ones.) A start with random rows costs more than half of the gain. A likely reason is that our runs are
# short: during the first of eight epochs, many candidates are random rows. Even after its first update, a row is still
# a mixture of the new output and its random start. As far as three seeds can tell, NCE with 1,024 rows is as good as
# the exact softmax. Use NCE where the data are too many for the sum; here the sum is cheap.
#
# ### False negatives
#
# Section 6 counted the false negatives and derived a loss that estimates what they add. Does this loss improve the
# features (`DebiasedSimCLR`)? The last setting uses the labels to leave out all negatives of the same category, and for
# nothing else (`TrueNegativesSimCLR`). It shows how much there is to gain.

# %% tags=["fold"]
bars_with_spread(
    {
        "random encoder": experiments.values("simclr")["random encoder"],
        "SimCLR, all negatives": experiments.values("simclr-batch-size")[
            "batch 256, 100 steps"
        ],
        **experiments.values("simclr-false-negatives"),
    },
    xlabel="k-NN accuracy",
    title="What to do with false negatives; 100 steps of 256, 3 seeds",
)

# %%
plain = experiments.values("simclr-batch-size")["batch 256, 100 steps"]
print("k-NN accuracy minus that of SimCLR with all negatives, by seed:")
for setting, accuracies in experiments.values("simclr-false-negatives").items():
    gains = [accuracy - other for accuracy, other in zip(accuracies, plain)]
    print(f"{setting:>26}: " + "  ".join(f"{gain:+.3f}" for gain in gains))

# %% [markdown]
# With the labels, leaving the false negatives out helps with each seed, by 1.4 points on average. So in these short
# runs there is little to gain. The debiased loss, which has no labels, gains nothing that three seeds could show. With
# the small prior two seeds are as good as before and one is better. With the prior near the share of the categories,
# which section 6 found to subtract far too much, two of three seeds are worse.
#
# ### Which augmentations?
#
# REP (*Augmentation is an Art*) and AIA show the nine augmentations of SimCLR's figure 4. We use seven: crop with flip
# counts as one, and so does colour jitter with colour drop. For every pair, figure 5 of the paper trains one network
# (section 3.1: one view gets the pair, and the other view is not augmented). We do the same with `OneTransformedView`.
# On the diagonal, one augmentation is used alone. One thing differs: the paper first crops all pictures, to bring them
# to one size. Ours already have one size, so no crop is hidden in the other rows.

# %% tags=["fold"]
torch.manual_seed(0)
shown = torch.cat(
    [
        torch.cat(
            [x[None], *(transform(x[None]) for transform in AUGMENTATIONS.values())]
        )
        for x in pictures[3:5]
    ]
)
image_grid(
    shown,
    2 * ["original", *AUGMENTATIONS],
    columns=8,
    title="Seven augmentations, each once",
)

# %% tags=["fold"]
seven = list(AUGMENTATIONS)
pairs = experiments.values("simclr-augmentations")
grid = torch.tensor(
    [[pairs[f"{first}, {second}"][0] for second in seven] for first in seven]
)
picture = similarity_matrix(
    grid,
    title="Pairs of augmentations, 100 steps of 256, seed 0",
    xlabel="then",
    ylabel="first",
    label="k-NN accuracy",
    limits=(0.2, 0.45),
)
picture.axes[0].set_xticks(range(7), seven, rotation=30)
picture.axes[0].set_yticks(range(7), seven)
display(picture)
chosen = {
    "crop alone": pairs["crop, crop"],
    "colour alone": pairs["colour, colour"],
    "crop, then colour": pairs["crop, colour"],
    "colour, then crop": pairs["colour, crop"],
}
bars_with_spread(
    {"random encoder": experiments.values("simclr")["random encoder"], **chosen},
    xlabel="k-NN accuracy",
    title="The paper's best pair, 100 steps of 256, 3 seeds",
)

# %% [markdown]
# The crop is decisive. It does well in every pair but those with colour and blur, and alone it does about as well as
# with its best partner. The paper finds something else: there, *no* single augmentation is enough, and the best pair by
# far is crop *and colour*. Here, colour costs a good deal of accuracy, and alone it makes the features worse than
# untrained ones. We did not test why, but a likely reason is this. On photographs, two crops of one picture share a
# histogram of colours, and this is enough to match them. So this shortcut has to be closed. Our scenes have random
# textures, whose colours change from place to place. And a category of emoji has its typical colours (flags, faces,
# fruit), which a strong shift makes useless. So the lesson is not "always crop and colour". The lesson is: *an
# augmentation says what does not matter*, and only the data and the task can show whether that is true. This is why the
# recipe of this notebook shifts colours only mildly.
#
# ### A projection head?
#
# GT19's *projection head* slide (figure 8 of the paper) compares three losses by the linear probe: a loss on h itself,
# on a linear g(h) and on a nonlinear g(h). Its explanation is that z is trained to be the same for all views of a
# picture, so z must forget the properties that the views change. With a head in between, h need not forget them.
#
# *Margin notes.* ENS writes that the projector is added "at the end". In fact, it is thrown away at the end. REP calls
# h "the last" layer, but h is the penultimate one.

# %% tags=["fold"]
heads = {}
for head in ("none", "linear", "MLP"):
    heads[f"{head}: probe on h"] = experiments.values("simclr-heads", "probe")[head]
    if head != "none":
        heads[f"{head}: probe on z"] = experiments.values("simclr-heads", "probe_z")[
            head
        ]
bars_with_spread(
    heads,
    xlabel="linear probe accuracy",
    title="Projection head, 300 steps of 256, 3 seeds",
)

# %% [markdown]
# Both of GT19's statements hold here, on a smaller scale: a head helps, and the probe is more accurate on h than on
# z. But the paper's order of the heads does not appear here: a hidden layer makes no difference that three seeds could
# show. A possible reason is that our views are mild and the run is short, so that there is little for g to forget. In
# the paper z is worse than h by more than ten points.
#
# **Dimensional collapse.** Jing et al. (2022) give another reason for the head. A contrastive loss prevents that all
# vectors become equal, but it does not prevent that they lose *some of their dimensions*. The simplest case is linear.
# Let $x_i$ and $x_i'$ be the two views, $z = W x$ without a head, and $s_{ij} = -\frac12 \|W (x_i - x_j')\|^2$. With
# $D_{ij} = (x_i - x_j')(x_i - x_j')^\top$, the derivative of $s_{ij}$ with respect to $W$ is $-W D_{ij}$. With the
# softmax weights $p_{ij}$ of section 6, the gradient of InfoNCE and one step of gradient descent are
#
# $$\frac{\partial L}{\partial W} = -W X, \qquad W \leftarrow W (1 + \lambda X), \qquad
# X = \frac1N \sum_i \Big( \sum_j p_{ij} D_{ij} - D_{ii} \Big),$$
#
# where $\lambda$ is the learning rate. The 1 in $1 + \lambda X$ is the identity matrix. The first term of X is how much
# the view differs from its candidates, weighted by $p_{ij}$. The second is how much the two views of one picture
# differ. In a direction in which augmentation changes $x$ by more than the likely candidates differ, X is negative, so
# W shrinks there. (With a very small W, all candidates are nearly equally likely, and X becomes positive again. So in
# the example below W does not shrink to 0.) The direction becomes weak in z. Without a head, h is z.


# %%
def infonce_of_linear(W, x, x_prime):
    return info_nce(-torch.cdist(x @ W.T, x_prime @ W.T).square() / 2)


def two_views_of_points(strength, n=128):
    """Standard normal points in the plane. Augmentation changes the first coordinate a
    little, and the second with standard deviation `strength`."""
    x, noise = torch.randn(n, 2), torch.tensor([0.1, strength]) * torch.randn(2, n, 2)
    return x + noise[0], x + noise[1]


torch.manual_seed(0)
W, (x, x_prime) = torch.randn(2, 2, requires_grad=True), two_views_of_points(1.0)
with torch.no_grad():
    p = (-torch.cdist(x @ W.T, x_prime @ W.T).square() / 2).softmax(1)
    difference = x[:, None] - x_prime
    D = difference[..., None] * difference[..., None, :]  # (N, N, 2, 2)
    X = (p[..., None, None] * D).sum(1).mean(0) - D.diagonal().mean(-1)
(gradient,) = torch.autograd.grad(infonce_of_linear(W, x, x_prime), W)
torch.testing.assert_close(gradient, -W.detach() @ X, rtol=1e-4, atol=1e-5)

columns = {}
for strength in (0.1, 1.0, 3.0):
    W, lengths = 0.3 * torch.eye(2), []
    for _ in range(150):
        W.requires_grad_()
        loss = infonce_of_linear(W, *two_views_of_points(strength))
        W = (W - 0.05 * torch.autograd.grad(loss, W)[0]).detach()
        lengths.append(W[:, 1].norm())
    columns[f"strength {strength}"] = torch.stack(lengths)
curve(
    range(1, 151),
    columns,
    title="Linear encoder: the weight of the coordinate that augmentation changes",
    xlabel="step",
    ylabel="length of W's second column",
)

# %%
for head in ("none", "linear", "MLP"):
    rank, rank_z = (
        torch.tensor(experiments.values("simclr-heads", measure)[head]).mean()
        for measure in ("effective_rank", "effective_rank_z")
    )
    print(
        f"{head:>6}: effective rank of h {rank:.1f} of 96"
        + (f", of z {rank_z:.1f} of 64" if head != "none" else " (z is h)")
    )

# %% [markdown]
# In this toy example, augmentation that changes the second coordinate as much as the data do, or more, keeps the weight
# of this coordinate small. Does this explain why a head helps our networks? With a linear head, h has a higher
# effective rank than z. This fits the explanation, in which g loses dimensions that h keeps. With an MLP the two are
# nearly equal. But the network *without* a head has the highest rank of all, and the worst probe. So at our scale its
# features are not collapsed. They use more dimensions, and they are less useful for the categories. A possible reason
# is again that our views are mild.
#
# ### Temperature
#
# Section 6 says what the temperature does to the gradient. Here is its effect on the features:

# %% tags=["fold"]
taus = experiments.values("simclr-temperature")
lines = {
    "k-NN": torch.tensor(list(taus.values())).T,
    "linear probe": torch.tensor(
        list(experiments.values("simclr-temperature", "probe").values())
    ).T,
}
picture = curve(
    [float(tau) for tau in taus],
    lines,
    title="Temperature, 300 steps of 256; mean and range of 3 seeds",
    xlabel="temperature tau",
    ylabel="accuracy",
)
picture.axes[0].set_xscale("log")
picture.axes[0].set_xticks([float(tau) for tau in taus], list(taus))
picture.axes[0].minorticks_off()
picture

# %% [markdown]
# The k-NN accuracy hardly changes from 0.05 to 0.2. The linear probe is best near 0.2, and clearly worse at 0.05. Both
# measures fall towards a temperature of 1. A likely reason is that all negatives have nearly the same weight there,
# although the hard ones teach more. (In table 5 of the paper, 0.1 is best, and lower and higher values are worse.) The
# training *loss* could not have shown this, because its value depends on the temperature by definition.
#
# ### Is a large batch crucial?
#
# GT19 says: "Large training batch size is crucial for SimCLR!" ENS says nearly the same. Their figure (9 in the paper)
# compares batch sizes after equal numbers of *epochs*. There, a smaller batch makes more steps, and the gap closes as
# training gets longer. At equal numbers of *steps*, a larger batch has also used more pictures. Here are both:

# %% tags=["fold"]
by_size = {}
for row in experiments.read("simclr-batch-size")["rows"]:
    by_size.setdefault((row["batch_size"], row["steps"]), []).append(row["knn"])
sizes = [32, 128, 256]


def draw_batch_sizes(title, lines):
    found = {
        name: torch.tensor([by_size[size, steps(size)] for size in sizes]).T
        for name, steps in lines.items()
    }
    picture = curve(
        sizes,
        found,
        title=f"{title}; mean and range of 3 seeds",
        xlabel="batch size",
        ylabel="k-NN accuracy",
    )
    picture.axes[0].set_xscale("log", base=2)
    picture.axes[0].set_xticks(sizes, list(map(str, sizes)))
    return picture


display(
    draw_batch_sizes(
        "Equal steps", {"800 steps": lambda size: 800, "200 steps": lambda size: 200}
    ),
    draw_batch_sizes(
        "Equal epochs",
        {
            "5 epochs, 102,400 pictures": lambda size: 102_400 // size,
            "1.3 epochs, 25,600 pictures": lambda size: 25_600 // size,
        },
    ),
)

# %% [markdown]
# At equal steps the large batch is clearly better, both after 200 and after 800 steps. But it has used eight times as
# many pictures. At equal epochs nothing of its advantage is left: 32 pictures with their 62 negatives do as well as 256
# pictures with 510 negatives. So at our scale "crucial" is too strong: with the same number of pictures, a small batch
# does as well. Whether more negatives help a single step, these runs cannot say, because at equal epochs the small
# batch also makes eight times as many steps. (In the paper, with batches from 256 to 8,192, the smaller ones are worse
# after 100 epochs and nearly as good after 1,000. Our learning rate grows with the square root of the batch size; the
# paper's grows linearly.)
#
# ### Few labels
#
# GT19, *Semi-supervised learning on SimCLR features*, uses labels for 1 % or 10 % of the data. We label a share of the
# emoji, at least one of each category, with all their scenes. We do not count single scenes, because those of one emoji
# look too similar. We compare four ways to use the labels. Two are a linear classifier on frozen features
# (`evaluate.few_labels`): on random ones, or on SimCLR's after 500 steps. The other two train the whole network on the
# labelled scenes: from scratch, or from SimCLR's weights (600 steps in both cases).

# %% tags=["fold"]
shares = [f"{fraction:.0%}" for fraction in FRACTIONS]
by_share = [experiments.values("simclr-labels", share) for share in shares]
lines = {
    setting: torch.tensor([found[setting] for found in by_share]).T
    for setting in by_share[0]
}
picture = curve(
    FRACTIONS,
    lines,
    title="Accuracy by share of labelled emoji; mean and range of 3 seeds",
    xlabel="labelled emoji",
    ylabel="accuracy on scenes of test emoji",
)
picture.axes[0].set_xscale("log")
picture.axes[0].set_xticks(FRACTIONS, shares)
display(picture)
print("fine-tuned minus from scratch, by seed:")
for share, found in zip(shares, by_share):
    gains = [
        tuned - scratch
        for tuned, scratch in zip(
            found["SimCLR, fine-tuned"], found["supervised from scratch"]
        )
    ]
    print(f"{share:>6} of the emoji: " + "  ".join(f"{gain:+.3f}" for gain in gains))

# %% [markdown]
# Training from SimCLR's weights is better than training from scratch, at every share and with every seed, though once
# by a very small margin. With the fewest labels, a linear classifier on SimCLR's frozen features does as well as the
# whole network trained from scratch. With more labels it falls behind. The gain that GT19 shows for 1 % is many times
# as large as ours. There, the encoder was trained on 1.3 million pictures for 1,000 epochs. Here, it was trained on
# 20,000 for six, and our 1 % are fifteen emoji.
#
# ## 13. Pitfalls
#
# - **A low loss is not a good representation.** It only says that views can be matched, and a shortcut may be enough
#   for that. Without any colour shift, for example, the colours of two crops of one picture are nearly the same
#   (section 3.1 of the paper). Losses with different N or tau cannot even be compared. Always look at neighbours, or at
#   a probe on held-out data.
# - **The diagonal.** A view is most similar to itself. If the similarity of a view to itself stays in the denominator,
#   its term is the largest of all. The partner's weight is then at most 1/2, so it is pulled for ever, and the loss
#   cannot fall below log 2. How much the negatives lose depends on the temperature: much at small ones, little at large
#   ones (section 6).
# - **Normalise.** Without unit length, the network can lower the loss by making z longer instead of changing its
#   direction.
# - **Positives on another background** would be hidden labels. If you paste the same emoji on two textures, you tell
#   the network what the object is. Here both views come from one and the same scene.
# - **Baselines.** Compare with the random encoder of the same seed, not with chance. Choose settings on validation
#   data. We chose the strength of our views by k-NN on separate validation emoji. So labels did play a part in the
#   recipe, but none in the training.
# - **Gradient accumulation** does not give a view more negatives, because each part of the batch still has only its
#   own.
#
# ## 14. What to try next
#
# **Exercises**: [`exercises/03_contrastive.ipynb`](../exercises/03_contrastive.ipynb), each checked when you run the cell below it.
#
# Set `method.augment = simclr_augment(32, strength=1.0, scale=(0.2, 1.0))` before training. What do neighbours have in
# common then? In `bound`, give each reference every negative ten times and take the logarithm of the new number of
# candidates, $10 (n - 1) + 1$. With n = 2 and correlation 0.5, $\log N - L$ is then larger than $I$. Which step of the
# proof fails? Give the bank a momentum of 0.9. In supervised contrastive
# learning, replace the labels by `(y + 1) % 9`, then by random labels. Which of the two does harm, and why?
#
# Notebook 04 continues with more and harder negatives: MoCo, MoCHi and PIRL. Notebook 08 has methods that use no
# negatives at all. Planned: CPC in 05, text as the other view (CLIP) in 06.
#
# ## 15. What to read
#
# Chen, Kornblith, Norouzi, Hinton 2020, *A Simple Framework for Contrastive Learning of Visual Representations*
# ([arXiv 2002.05709](https://arxiv.org/abs/2002.05709)): Algorithm 1; figures 4, 5, 8, 9. Wu et al. 2018, *Unsupervised
# Feature Learning via Non-Parametric Instance Discrimination* ([arXiv 1805.01978](https://arxiv.org/abs/1805.01978)).
# Bromley et al. 1993, *Signature Verification using a "Siamese" Time Delay Neural Network*. Schroff et al. 2015, *FaceNet*
# ([arXiv 1503.03832](https://arxiv.org/abs/1503.03832)). Gutmann and Hyvärinen 2010, *Noise-contrastive estimation*.
# Van den Oord et al. 2018, *Representation Learning with Contrastive Predictive Coding*
# ([arXiv 1807.03748](https://arxiv.org/abs/1807.03748)). Poole et al. 2019, *On Variational Bounds of Mutual Information*
# ([arXiv 1905.06922](https://arxiv.org/abs/1905.06922)). Tschannen et al. 2020, *On Mutual Information Maximization for
# Representation Learning* ([arXiv 1907.13625](https://arxiv.org/abs/1907.13625)). Khosla et al. 2020, *Supervised
# Contrastive Learning* ([arXiv 2004.11362](https://arxiv.org/abs/2004.11362)). Wang and Liu 2021, *Understanding the
# Behaviour of Contrastive Loss* ([arXiv 2012.09740](https://arxiv.org/abs/2012.09740)): the temperature. Wang and Isola
# 2020, *Understanding Contrastive Representation Learning through Alignment and Uniformity*
# ([arXiv 2005.10242](https://arxiv.org/abs/2005.10242)). Chuang et al. 2020, *Debiased Contrastive Learning*
# ([arXiv 2007.00224](https://arxiv.org/abs/2007.00224)). Jing et al. 2022, *Understanding Dimensional Collapse in
# Contrastive Self-supervised Learning* ([arXiv 2110.09348](https://arxiv.org/abs/2110.09348)).
