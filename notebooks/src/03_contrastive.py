# %% [markdown]
# # 03. Contrastive learning
#
# **Can a network learn what is in a picture when nobody tells it?** Here one does. It sees thousands of unlabelled
# scenes and solves a puzzle: *which of these views comes from the same picture as this one?* Afterwards pictures of the
# same kind lie near each other more often than before, although the network was never shown a label.
#
# **You will be able to** say what a positive and a negative are; write SimCLR's loss, NT-Xent, in ten lines and check it;
# train SimCLR and see whether it learns; measure what a representation is worth, against the baseline that counts.
#
# **You need** supervised training with PyTorch: a network, a loss, an optimiser.
#
# **Lectures** GT19: *A formulation of contrastive learning*, *SimCLR: A Simple Framework for Contrastive Learning*,
# *SimCLR: generating positive samples from data augmentation*. REP and ENS: *SimCLR*. MLMI17: *SimCLR - Architecture*.
#
# **Time** about four minutes on two cores, most of it one training run.

# %%
import torch
import torch.nn.functional as F
from IPython.display import display
from ipywidgets import Dropdown, FloatSlider, IntSlider

from course_lib import evaluate, experiments, recipes, zoo
from course_lib.augment import simclr_augment
from course_lib.contrastive.simclr import SimCLR
from course_lib.data import emoji_names, load, on_background
from course_lib.losses import nt_xent
from course_lib.notebook import bars_with_spread, budget, explore, image_grid, live, neighbours, show

BUDGET = budget()  # "smoke" shows that the notebook runs, "laptop" and "gpu" that the method does

# %% [markdown]
# ## The pictures
#
# The course brings its own: 1,906 emoji, each drawn by three hands. Two drawings of one emoji mean the same and share
# few pixels. That is what a good representation should see through.

# %%
emoji, names = load("emoji"), emoji_names()
some = [names.index(name) for name in ("grinning face", "octopus", "slice of pizza", "rocket")]
rows = torch.cat([(emoji.info["emoji"] == e).nonzero().flatten() for e in some])
image_grid(on_background(emoji.x[rows]), [names[e] for e in emoji.info["emoji"][rows]], columns=6,
           title="Four emoji of the training split, each by three hands")

# %% [markdown]
# On plain white, a few pixels at a fixed place would give much away. So we paste them, at a random size, place and turn,
# onto smooth random textures: in these *scenes* the background says nothing about what stands on it. 20,000 of them,
# always the same ones, are the training set. The emoji of the test set never occur in it, nor do their look-alikes
# (man, woman and person doing the same): a network that knows an emoji by heart gains nothing there. Each emoji belongs to one of nine categories; we keep these labels for the evaluation.

# %%
train, test = load("scenes", "train"), load("scenes", "test")
assert not set(train.info["emoji"].tolist()) & set(test.info["emoji"].tolist())
image_grid(train.x[:16], [train.classes[c] for c in train.y[:16]],
           title="Scenes with their categories (which SimCLR is never shown)")

# %% [markdown]
# ## The idea
#
# Take a picture and make two *views* of it: cut out a random part, mirror it, shift its colours. Both show the same
# thing, so they should get nearly the same representation: they are a **positive pair**. Views of other pictures are
# **negatives**. Most show another emoji, some even one of the same category: such *false negatives* are pushed away all
# the same, for nobody tells the loss. In GT19's words, for a reference x, a positive x⁺ and negatives x⁻
# we want $\operatorname{score}(f(x), f(x^+)) \gg \operatorname{score}(f(x), f(x^-))$.
#
# Note what the views decide. Here colours are shifted mildly, and dropped in a fifth of the views: colour still helps to
# match two views, but it is not enough. Stronger shifts would make it worthless, and the representation would lose it.
# Whatever the augmentation destroys the representation need not keep; whatever survives it, the network may use.

# %%
recipe = recipes.lookup("simclr")        # the course's way to build and train it: networks, augmentation, learning rate
random_encoder = recipes.build(recipe, seed=0)
augment = random_encoder.augment
torch.manual_seed(0)
pictures = train.x[:8].float() / 255
image_grid(torch.cat([pictures, augment(pictures), augment(pictures)]), columns=8,
           title="Eight scenes (first row), and two random views of each (below)")

# %% [markdown]
# **Try it.** How strong may the colours be shifted until you yourself no longer see that two views belong together?

# %%
def draw_views(picture, strength):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(picture)
        x = train.x[picture].float().div(255).expand(16, -1, -1, -1)
        shown = torch.cat([x[:1], simclr_augment(32, strength, scale=(0.2, 1.0))(x[1:])])
    title = f"{train.classes[train.y[picture]]}: the scene and 15 views of it, colour strength {strength:.1f}"
    return image_grid(shown, columns=8, title=title)


views = explore(draw_views, picture=IntSlider(0, 0, 99), strength=FloatSlider(value=0.2, min=0.1, max=1.2, step=0.1))
views

# %% [markdown]
# ## From the wish to a loss
#
# SimCLR's encoder $f$ (a residual network) gives the representation $h = f(x)$, a small projection head $g$ gives
# $z = g(h)$. (Two linear layers with a ReLU between; it may forget what the views change, so that h need not.) The score of two views is their cosine similarity $s_{ij} = z_i^\top z_j / (\lVert z_i\rVert \lVert z_j\rVert)$.
#
# A batch of N pictures gives 2N views. Ask view $i$ to name its partner $j$ among the 2N - 1 others. That is a
# classification with 2N - 1 classes, whose logits are the similarities divided by a **temperature** $\tau$. Its
# cross-entropy is the loss of one positive pair,
#
# $$\ell(i, j) = -\log \frac{\exp(s_{ij} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}
# = -\frac{s_{ij}}{\tau} + \log \sum_{k \ne i} \exp \frac{s_{ik}}{\tau},$$
#
# and NT-Xent (*normalised temperature-scaled cross-entropy*) is its mean over all 2N ordered pairs. The first term pulls
# partners together. The second pushes views apart, the most similar ones hardest. If all z are equal, every partner is a
# guess among 2N - 1 and the loss is $\log(2N - 1)$: that is what a network that has **collapsed** to a constant pays. It is
# far from the minimum: the negatives are what makes collapse a bad answer.
#
# *Margin note.* GT19's slide *SimCLR: A Simple Framework for Contrastive Learning* calls the head $h(\cdot)$; its own Algorithm 1 and the paper call it $g$, and $h$
# is what we keep. $g$ is thrown away after training.

# %%
def nt_xent_in_ten_lines(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)              # 2N views: i and i + N are partners
    s = z @ z.T / tau                                        # all similarities
    n = len(z1)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = torch.cat([s[i, :i], s[i, i + 1:]])         # every k but i itself
        total = total - s[i, j] + torch.logsumexp(others, 0)
    return total / (2 * n)


z1, z2 = torch.randn(2, 6, 8)
torch.testing.assert_close(nt_xent_in_ten_lines(z1, z2, 0.5), nt_xent(z1, z2, 0.5))
torch.testing.assert_close(nt_xent(torch.ones(6, 8), torch.ones(6, 8)), torch.tensor(11.0).log())

# %% [markdown]
# The library's version does all rows at once. The rest of SimCLR is not longer: here is the class, as it is. (`gather`
# collects the views of several GPUs; on one device it returns its argument.)

# %%
show(nt_xent)
show(SimCLR)

# %% [markdown]
# ## How good is it before it has learnt anything?
#
# The baseline of every experiment in this course is the **random encoder**: the same network with the same seed,
# untrained. It is better than chance without any training: similar pixels go with similar categories a little, and random
# convolutions keep that. A method has learnt something only if it beats *this*.
#
# The measure is **k-NN**: the 20 most similar training scenes (by cosine) vote for their category, the more similar the
# more strongly, with weight $\exp(\cos / 0.07)$. No classifier is trained; the training labels serve the vote only.

# %%
bank = train if BUDGET != "smoke" else train[:2000]
unseen = test if BUDGET != "smoke" else test[:500]


def knn_accuracy(method):
    h_bank, h = evaluate.features(method, bank.x), evaluate.features(method, unseen.x)
    return evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y)


random_knn = knn_accuracy(random_encoder)
chance = (unseen.y == bank.y.mode().values).double().mean().item()
print(f"k-NN accuracy on {len(unseen)} unseen scenes: always the commonest category {chance:.3f}, "
      f"random encoder {random_knn:.3f}")

# %% [markdown]
# ## Train it
#
# A collapsed network would pay $\log(2N - 1) = 6.24$ at N = 256; the loss starts a little below, since even an untrained
# network finds two views of a picture somewhat alike. Watch the second curve too: the standard deviation of the normalised
# features of 500 fixed scenes, times $\sqrt D$. 0 means collapsed to one point, 1 is the most there is. (Our h comes out of
# a ReLU and is never negative, so 1 is not to be expected.) It does not notice features that fill a few directions only:
# for that the table below has the effective rank.

# %%
STEPS = {"smoke": 12, "laptop": 400, "gpu": 2000}[BUDGET]
method = recipes.build(recipe, seed=0)
probe = train.x[:500]


def spread():
    h = evaluate.features(method, probe)
    return evaluate.feature_std(h) * h.shape[1] ** 0.5


run = live(recipes.train(recipe, method, train, seed=0, steps=STEPS, batch_size=64 if BUDGET == "smoke" else None),
           measure=spread, measured="spread of features")
for step in run:
    steps_done = step.k

# %%
print(f"k-NN accuracy: random encoder {random_knn:.3f}, after {steps_done} steps {knn_accuracy(method):.3f}")

# %% [markdown]
# ## Neighbours, before and after
#
# The course ships the same network, trained for longer. Four test scenes and their nearest training scenes, under the
# random encoder and under the shipped one. The menu below has the network you trained as well; the slider moves through
# the test set.

# %%
shipped = zoo.load("simclr")
encoders = {"random encoder": random_encoder, "trained above": method, "shipped, trained longer": shipped}
features = {name: [F.normalize(evaluate.features(net, part.x), dim=1) for part in (bank, unseen)]
            for name, net in encoders.items()}


def draw_neighbours(encoder, first):
    h_bank, h = features[encoder]
    queries = torch.arange(first, first + 4)
    found = (h[queries] @ h_bank.T).topk(6).indices          # (4, 6)
    right = bank.y[found] == unseen.y[queries][:, None]
    return neighbours(unseen.x[queries], bank.x[found], right, criterion="same category as the query",
                      title=f"Nearest training scenes of four unseen ones: {encoder}")


display(draw_neighbours("random encoder", 40), draw_neighbours("shipped, trained longer", 40))
explore(draw_neighbours, encoder=Dropdown(options=list(encoders), value="trained above"),
        first=IntSlider(40, 0, len(unseen) - 4, description="first query"))

# %% [markdown]
# Count the ticks. The random encoder seems to go by brightness and overall colour. SimCLR does well where a category has a
# typical look (people beside people) and fails where only colours or outlines agree. Compare the backgrounds too: both
# views come from one scene, so its texture would also solve the puzzle, a possible *shortcut* that these views do not
# rule out.
#
# ## Measured, not promised
#
# One run proves little. This is what `make results` measured, with three seeds; each dot is one. *Calibrated* is the random
# encoder with the BatchNorm statistics of the training scenes, a slightly stricter baseline. In the table, *linear probe*
# is the accuracy of a linear classifier on frozen h; *eff. rank* says roughly how many of its directions h uses; *std* is
# the curve's measure before the factor $\sqrt D$. A footnote that belongs here: the strength of the views was chosen by k-NN
# on separate validation emoji, so labels did play a part in the recipe, though none in the training.

# %%
rows = experiments.read("simclr")["rows"]
last = rows[-1]
by_setting = {name: [row["knn"] for row in rows if row["setting"] == name] for name in experiments.SETTINGS}
bars_with_spread(by_setting, xlabel="k-NN accuracy, nine categories",
                 title=f"{len(test):,} scenes of unseen emoji; trained: {last['steps']} steps of {last['batch_size']}")

# %%
print(experiments.table("simclr"))
about = zoo.manifest()["simclr"]
print(f"\nshipped weights: {about['steps']} steps, k-NN {about['knn']:.3f}, linear probe {about['probe']:.3f}")

# %% [markdown]
# ## Pitfalls
#
# - **A low loss is not a good representation.** It says that views can be matched, and a shortcut may do that: without any
#   colour shift, the colours of two crops of one picture are much the same (section 3.1 of the paper). Always look at
#   neighbours or a probe on unseen data.
# - **The diagonal.** A view is most similar to itself. Kept in the denominator, that term is the largest possible: it
#   weakens every gradient and keeps the loss from falling.
# - **Normalise.** Without unit length the network can lower the loss by growing z instead of turning it.
# - **The temperature is no detail.** It sets how much the hardest negatives count. `nt_xent`'s default is 0.5, this
#   notebook's recipe has 0.2.
# - **Baselines.** Compare with the random encoder of the same seed, not with chance.
#
# ## What to try next
#
# Before training, set `method.augment = simclr_augment(32, strength=1.0, scale=(0.2, 1.0))`: what do neighbours share then?
# Measure z instead of h: `evaluate.features(torch.nn.Sequential(method.encoder, method.projector), bank.x)`. Halve the
# batch; at equal steps it also sees half the pictures, and its loss has another $\log(2N - 1)$.
#
# ## What to read
#
# Chen, Kornblith, Norouzi, Hinton 2020, *A Simple Framework for Contrastive Learning of Visual Representations*
# ([arXiv 2002.05709](https://arxiv.org/abs/2002.05709)): Algorithm 1, figure 4 (the augmentations), figure 5 (which pairs
# of them matter). Wu et al. 2018, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*
# ([arXiv 1805.01978](https://arxiv.org/abs/1805.01978)): weighted k-NN. Wang and Isola 2020, *Understanding Contrastive
# Representation Learning through Alignment and Uniformity* ([arXiv 2005.10242](https://arxiv.org/abs/2005.10242)).
