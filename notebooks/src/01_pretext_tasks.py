# %% [markdown]
# # 01. Pretext tasks
#
# **Which questions can a picture ask about itself?** Turn the picture and ask how far it was turned. Cut a hole into it
# and ask what was there. Take away its colours and ask which they were. Such a puzzle is called a *pretext task*. Its
# answer is always known, so nobody has to write a label. This notebook builds eight pretext tasks, and you play against
# the networks that solve them. Then comes the important question: did a network that solves the puzzle learn anything
# about *what is in the picture*?
#
# **You will be able to** turn unlabelled pictures into supervised tasks of several kinds and train networks on them;
# derive why an autoencoder is a kind of principal component analysis, and why regression predicts grey; find the
# shortcut by which a network cheats; measure how useful a network's features are; show that the network that solves its
# puzzle best does not have the best features.
#
# **You need** notebook 00, which explains how a representation is evaluated, and supervised training with PyTorch.
#
# **Lectures** Deck GT19 (*CS 4644/7643, lecture 19: diffusion, GANs, pretext tasks, contrastive learning*):
# *Self-supervised pretext tasks* to *Summary: pretext tasks from image transformations*. Deck AIA (*Automatic Image
# Analysis, lecture 13: un- and self-supervised learning*): *Pretext tasks* to *Pretext tasks: Transfer knowledge*. Deck
# REP (*Representation Learning: DINO, MoCo, SimCLR, CLIP, MAE*): *Self-supervised Approaches*. Deck ENS (*ENSIMAG,
# Apprentissage continu de représentations visuelles*, in French): *Two main trends*. Deck MLMI17 (*Cambridge MLMI17,
# Advanced Computer Vision: representation learning, generative models*): *Three classes of self-supervision*.
#
# **Time** Reading takes an hour and a half, and computing about two minutes on two cores. Long experiments were run
# beforehand (`make results`). Here we only plot their results.

# %%
import math
from dataclasses import replace
from itertools import permutations

import torch
import torch.nn.functional as F
from einops import rearrange
from IPython.display import display
from ipywidgets import FloatLogSlider, FloatSlider, IntSlider
from sklearn.decomposition import PCA

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.colour import (
    ab_bins,
    annealed_mean,
    lab_to_rgb,
    nearest_bin,
    rebalancing_weights,
    rgb_to_lab,
    soft_bins,
)
from course_lib.contrastive.recipes import views as random_views
from course_lib.data import as_float, labelled_subset, load
from course_lib.data.scenes import render_scenes
from course_lib.losses import info_nce
from course_lib.notebook import (
    bars_with_spread,
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    matrices,
    show,
    subplots,
    updates,
)
from course_lib.pretext.autoencoder import Autoencoder, variance_explained
from course_lib.pretext.colourisation import Colourisation, split
from course_lib.pretext.context_encoder import ContextEncoder, masked_reconstruction
from course_lib.pretext.experiments import (
    PER_CLASS,
    attention,
    chromatic_aberration,
    exemplar,
    feature_maps,
)
from course_lib.pretext.jigsaw import (
    Jigsaw,
    cut_tiles,
    maximin_permutation_set,
    permutation_set,
)
from course_lib.pretext.patch_location import OFFSETS, PatchLocation, patch_pairs
from course_lib.pretext.recipes import denoising_autoencoder
from course_lib.pretext.rotation import Rotation, rotate_four_ways
from course_lib.pretext.split_brain import SplitBrain
from course_lib.transforms import gaussian_noise

# "smoke" only shows that the notebook runs; "laptop" and "gpu" show that methods work
BUDGET = budget("01_pretext_tasks")

# %% [markdown]
# ## 1. Supervision for nothing
#
# GT19 says it plainly: self-supervised learning is *still supervised learning*, with two distinctions. First, the
# labels are generated and not written by hand. Second, the goal is a representation that is good for *other* tasks.
# MLMI17 gives the general recipe in four lines: collect much unlabelled data, define an auxiliary task, train a model
# to solve it, and pray. We replace the fourth line by a measurement.
#
# Here is one scene, and five puzzles made from it. The picture itself contains all the answers.

# %% tags=["fold"]
train, test = load("scenes", "train"), load("scenes", "test")
torch.manual_seed(3)
scene = as_float(test.x[8:9])
holed = scene.clone()
holed[:, :, 8:24, 8:24] = scene.mean((2, 3), keepdim=True)
tiles = cut_tiles(scene, torch.ones(1, 9, 2, dtype=torch.long), 8)[0, torch.randperm(9)]
puzzle = rearrange(
    F.pad(tiles, (1, 1, 1, 1), value=1.0),
    "(row column) c h w -> 1 c (row h) (column w)",
    row=3,
)
lightness, ab = split(scene)
six = [
    scene,
    gaussian_noise(scene, 0.2 * torch.randn_like(scene)),
    holed,
    scene.rot90(1, (2, 3)),
    F.pad(puzzle, (1, 1, 1, 1), value=1.0),
    lightness.expand(-1, 3, -1, -1),
]
image_grid(
    torch.cat(six),
    [
        "the scene",
        "denoise",
        "what was there?",
        "how far turned?",
        "which order?",
        "which colours?",
    ],
    columns=6,
    title="One scene, and puzzles that need no label",
)

# %% [markdown]
# The puzzles are of two kinds. Some ask for **pixels** (denoise, fill the hole, colour). ENS calls this trend
# *generative*, and REP shows it as *reconstruction*. Others ask for a **property of the transformation** (which
# rotation, which order). ENS calls this trend *discriminative*. GT19 takes sides: it says that learning to generate
# pixels is often unnecessary. Section 9 tests this.
#
# All methods below share the course's 20,000 training scenes and the training loop `fit`. Their encoder is the course's
# residual network (24, 48 and 96 channels, `course_lib/nets/resnet.py`). There are two exceptions: the colourisation
# encoder has one input channel, and split-brain has two encoders of half the width. Each method has a function
# `pretext_score`, which measures how well the method solves its own puzzle on held-out scenes (the test set).

# %% tags=["fold"]
STEPS = updates(smoke=6, laptop=100, gpu=500)
SMALL = 32 if BUDGET == "smoke" else None  # batch size; None: take the recipe's


def training(name, **more):
    """A recipe's method, and its training run, which is plotted live."""
    recipe = recipes.lookup(name)
    method = recipes.build(recipe, seed=0)
    return method, live(
        recipes.train(recipe, method, train, seed=0, steps=STEPS, batch_size=SMALL),
        **more,
    )


held_out = as_float(test.x[:400])

# %% [markdown]
# ## 2. Compress and reconstruct: the autoencoder
#
# This is AIA's first pretext task. An encoder $f$ compresses the picture $x$ (3,072 numbers) into a code $h = f(x)$
# (here 96 numbers). A decoder $d$ reconstructs the picture from the code, and the loss compares pixels:
#
# $$L = \mathbb{E}\,\lVert d(f(x)) - x \rVert^2 / 3072.$$
#
# Without this bottleneck, the identity would solve the task, and nothing would be learnt. Which information does the
# bottleneck keep? For *linear* $f$ and $d$ the answer is known, and it is instructive.
#
# **A linear autoencoder is principal component analysis.** Let $x$ have mean 0 and covariance $\Sigma$, and let
# $d(f(x)) = Px$ with a matrix $P$ of rank at most $k$.
#
# *Step 1.* Fix a k-dimensional subspace that contains the range of $P$, with orthonormal basis $U$. The point of this
# subspace that is nearest to $x$ is $UU^\top x$. So the best $P$ is an orthogonal projection, $P = UU^\top$.
#
# *Step 2.* By Pythagoras $\lVert x\rVert^2 = \lVert UU^\top x\rVert^2 + \lVert x - UU^\top x\rVert^2$. So the error is
# smallest where $\mathbb{E}\lVert U^\top x\rVert^2 = \operatorname{tr}(U^\top \Sigma U)$ is largest.
#
# *Step 3.* Let $\lambda_1 \ge \lambda_2 \ge \dots$ be the eigenvalues of $\Sigma$, and $e_i$ its orthonormal
# eigenvectors. Then this trace is $\sum_i w_i \lambda_i$ with $w_i = \lVert U^\top e_i\rVert^2 \in [0, 1]$ and
# $\sum_i w_i = k$. It is largest when the whole weight is on the first k eigenvalues. Then $U$ spans the first k
# principal components, and the error is $\sum_{i > k} \lambda_i$. $\qquad\blacksquare$
#
# So a linear autoencoder keeps the directions in which *pixels vary most*. Nothing in the loss says that the kind of
# emoji matters. Let us look at these directions, and at the share of the variance that they explain. On the 4,000
# training scenes below, no linear autoencoder with a code of 96 numbers can do better.

# %%
flat = as_float(train.x[:4000]).flatten(1)
pca = PCA(n_components=96, svd_solver="randomized", random_state=0).fit(flat.numpy())
painted = (
    torch.from_numpy(pca.inverse_transform(pca.transform(held_out.flatten(1).numpy())))
    .view_as(held_out)
    .float()
)
of_pca = variance_explained(painted, held_out).item()
components = torch.from_numpy(pca.components_[:16]).view(16, 3, 32, 32).float()
image_grid(
    0.5 + components * 8,
    [f"{i + 1}" for i in range(16)],
    columns=8,
    title=(
        f"First 16 of 96 principal components; all 96 explain {of_pca:.0%} of the "
        "variance of held-out pixels"
    ),
)

# %% [markdown]
# Several of the first components are a disc in the middle: they say whether there is a light, a yellow or a green emoji
# in the middle of the picture. The others are soft patterns, coarse changes of colour across the picture. No component
# shows what the emoji *is*.
#
# **The subspace is determined (if $\lambda_k > \lambda_{k+1}$), the code is not.** Only the product $P = UU^\top$
# enters the loss. For every invertible $k \times k$ matrix $A$, the encoder $f(x) = A^{-1}U^\top x$ and the decoder
# $d(h) = UAh$ have the same product, because $UAA^{-1}U^\top = UU^\top$. So a trained linear autoencoder finds the
# *span* of the first k components. Its k numbers are an arbitrary mixture of them. (PCA adds two demands: orthogonal
# directions, ordered by their variance.) We train a linear autoencoder with k = 2 on small pictures, from two random
# starts. It needs only the covariance: the expected squared error of $P$ is
# $\operatorname{tr}((I - P)\Sigma(I - P)^\top)$.

# %%
small = F.avg_pool2d(as_float(train.x[:4000]), 4).flatten(1)  # 8 x 8 pixels
sigma = small.T.cov()
eigenvalues, eigenvectors = torch.linalg.eigh(sigma)  # in ascending order
u = eigenvectors[:, -2:].flip(1)
least_error = eigenvalues[:-2].sum()
rows = [u]
for seed in (0, 1):
    torch.manual_seed(seed)
    encoder, decoder = (0.1 * torch.randn(192, 2) for _ in range(2))
    adam = torch.optim.Adam([encoder.requires_grad_(), decoder.requires_grad_()], 0.02)
    for step in range(300):
        rest = torch.eye(192) - decoder @ encoder.T  # I - P
        error = (rest @ sigma * rest).sum()
        adam.zero_grad()
        error.backward()
        adam.step()
    d = decoder.detach()
    angles = torch.linalg.svdvals(torch.linalg.qr(d)[0].T @ u)
    print(
        f"start {seed}: error {error / least_error:.4f} times the least; "
        f"cosines of the angles between the planes {angles[0]:.4f}, {angles[1]:.4f}"
    )
    rows.append(F.normalize(d, dim=0))
a = torch.tensor([[2.0, 1.0], [-1.0, 3.0]])
torch.testing.assert_close((u @ a) @ (torch.linalg.inv(a) @ u.T), u @ u.T)
image_grid(
    0.5 + 3 * torch.cat(rows, 1).T.unflatten(1, (3, 8, 8)),
    [
        f"{name} {k}"
        for name in ("component", "start 0, code", "start 1, code")
        for k in (1, 2)
    ],
    columns=6,
    title="Two components; what each number of the code paints, from two random starts",
)

# %% [markdown]
# Both starts find the same plane and reach the least possible error. But each paints with its own mixtures of the two
# discs.
#
# The library's autoencoder is nonlinear, but it explains *less*: about half of the variance after 300 updates (section
# 9). We suspect two reasons, which we have not tested. Its code is a mean over positions, which loses where things are.
# And a short training has to find what an eigenvalue problem solves exactly. This is the library's class. For a plain
# autoencoder its argument `corrupt` is the identity.

# %%
show(Autoencoder)

# %% [markdown]
# ### Denoise
#
# The bottleneck is one way to rule out the identity. Another way is to damage the input,
# $\tilde x = x + \sigma\epsilon$, and to ask for the *clean* picture. This is the **denoising autoencoder** (Vincent et
# al. 2008), which AIA describes as "same as before but apply a distortion function". To remove noise, a network must
# know what pictures look like. For Gaussian noise the best possible answer is even known. It is the posterior mean,
# which moves the noisy picture uphill on the density $p_\sigma$ of noisy pictures:
#
# $$\mathbb{E}[x \mid \tilde x] = \tilde x + \sigma^2\, \nabla \log p_\sigma(\tilde x).$$
#
# *Why (Tweedie's formula).* By definition $p_\sigma(\tilde x) = \int p(x)\, \mathcal N(\tilde x; x, \sigma^2 I)\, dx$.
# The gradient of a Gaussian with respect to $\tilde x$ is the Gaussian times $(x - \tilde x) / \sigma^2$. So
# $\nabla p_\sigma(\tilde x) = \int p(x)\, \mathcal N(\tilde x; x, \sigma^2 I)\, \frac{x - \tilde x}{\sigma^2}\, dx
# = p_\sigma(\tilde x)\, \frac{\mathbb{E}[x \mid \tilde x] - \tilde x}{\sigma^2}$.
# Divide by $p_\sigma$. Remember this formula, because notebook 14 generates pictures with it. It needs Gaussian noise
# *as it is*. Our noisy pictures are clamped to [0, 1] afterwards, like real pictures, so for our networks the formula
# holds only approximately. The next ten lines check it in a case where everything is known: x is 1 or -1, with equal
# probability, and nothing is clamped.


# %%
def posterior_mean(noisy, sigma):
    """E[x | noisy] for x = 1 or -1, each with probability one half: by Bayes' rule."""
    likelihood = torch.stack(
        [-(noisy - x).square() / (2 * sigma**2) for x in (1.0, -1.0)]
    ).softmax(0)
    return likelihood[0] - likelihood[1]


noisy = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
log_density = torch.stack(
    [-(noisy - x).square() / (2 * 0.7**2) for x in (1.0, -1.0)]
).logsumexp(0)
score = torch.autograd.grad(log_density.sum(), noisy)[0]
torch.testing.assert_close(noisy + 0.7**2 * score, posterior_mean(noisy, 0.7))

# %% [markdown]
# Now we train a denoising autoencoder on scenes. The curve on the right is its pretext score: the share of the clean
# pixels' variance that it explains on held-out noisy scenes.

# %%
show(denoising_autoencoder)
denoiser, run = training(
    "denoising-autoencoder",
    measure=lambda: experiments.pretext_score(denoiser, test.x[:300]),
    measured="pretext score",
)
for step in run:
    pass

# %% [markdown]
# **Try it.** How much noise can you add before the picture is lost? Look at what the reconstruction keeps, and at what
# it loses even without noise: the fine details of the drawing. With 96 numbers, a mean squared error and a short
# training, the network reproduces mostly blobs.

# %% tags=["fold"]
torch.manual_seed(0)
fixed_noise = torch.randn(6, 3, 32, 32)
denoiser.eval().to("cpu")


@torch.no_grad()
def draw_denoising(noise, first):
    clean = as_float(test.x[first : first + 6])
    noisy = gaussian_noise(clean, noise * fixed_noise)
    painted = denoiser.reconstruct(noisy)
    explained = variance_explained(painted, clean).item()
    return image_grid(
        torch.cat([clean, noisy, painted]),
        columns=6,
        title=(
            f"Clean, noisy and painted again; sigma = {noise:.2f}: {explained:.0%} "
            "of the variance explained"
        ),
    )


explore(
    draw_denoising,
    noise=FloatSlider(value=0.2, min=0.0, max=1.0, step=0.05, description="sigma"),
    first=IntSlider(0, 0, 394, description="first scene"),
)

# %% [markdown]
# ## 3. Fill the hole: the context encoder
#
# AIA describes this task as "predict one part of the data from another". Let M be 1 inside the hole. The network sees
# the picture with a filled hole, $\bar x_M = (1 - M) \odot x + M \odot \mu$, where $\mu$ is the mean colour of the
# batch. The loss evaluates its painting only inside the hole (Pathak et al. 2016, equation 1, with a mean):
#
# $$L = \frac{\lVert M \odot (d(f(\bar x_M)) - x)\rVert^2}{\text{number of hidden values}}.$$
#
# Why only inside? Outside the hole, the network could simply copy its input. (The paper's equation 1 fills the hole
# with zeros, which are black here. With the mean colour, the edge of the hole is weaker.)


# %%
def masked_loss_by_hand(prediction, target, mask):
    errors = []
    for n, c, i, j in torch.ones_like(target).nonzero().tolist():
        if mask[n, 0, i, j]:
            errors.append((prediction[n, c, i, j] - target[n, c, i, j]) ** 2)
    return sum(errors) / len(errors)


torch.manual_seed(0)
prediction, target, mask = (
    torch.rand(2, 3, 4, 4),
    torch.rand(2, 3, 4, 4),
    torch.rand(2, 1, 4, 4) < 0.4,
)
torch.testing.assert_close(
    masked_loss_by_hand(prediction, target, mask),
    masked_reconstruction(prediction, target, mask),
)
show(ContextEncoder)

# %% [markdown]
# **Try it** with pretrained weights (shipped with the course: the same recipe, trained longer). Move the hole over the
# emoji, and away from it. Colours continue from the border of the hole for a few pixels inwards. The middle of a large
# hole is a blurry guess, and it is blurrier over the emoji than beside it.

# %% tags=["fold"]
painter = zoo.load("context-encoder")


@torch.no_grad()
def draw_inpainting(size, down, right, first):
    clean = as_float(test.x[first : first + 6])
    mask = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    mask[:, :, down : down + size, right : right + size] = True
    holed = torch.where(mask, clean.mean((0, 2, 3), keepdim=True), clean)
    painted = torch.where(mask, painter.paint(holed), clean)
    error = masked_reconstruction(painted, clean, mask).sqrt()
    return image_grid(
        torch.cat([clean, holed, painted]),
        columns=6,
        title=f"True, holed, painted; root mean squared error inside {error:.3f}",
    )


explore(
    draw_inpainting,
    size=IntSlider(14, 4, 24),
    down=IntSlider(9, 0, 24),
    right=IntSlider(9, 0, 24),
    first=IntSlider(60, 0, 394, description="first scene"),
)

# %% [markdown]
# Why is it blurry? **The mean squared error is smallest for the mean.** For any hole there are many possible fillings
# $y$. The best single answer $a$ minimises
# $\mathbb{E}\lVert y - a\rVert^2 = \lVert a - \mathbb{E}y\rVert^2 + \operatorname{tr}\operatorname{Cov}(y)$. So the
# best answer is $\mathbb{E}[y \mid \text{what is seen}]$, the average of all fillings, and an average of sharp pictures
# is blurry. Pathak et al. add an adversarial term, which penalises paintings that do not look like a picture. We do
# that in notebook 12. They report that this term makes paintings sharper. The features that they transfer come from the
# reconstruction loss.
#
# ## 4. How far turned? RotNet
#
# GT19 states this hypothesis: *a model could recognise the correct rotation of an object only if it has the "visual
# commonsense" of what the object should look like unperturbed*. So turn each picture by $r \in \{0, 1, 2, 3\}$ quarter
# turns, and let the network classify r (Gidaris et al. 2018):
#
# $$L = -\frac1{4N} \sum_{i=1}^{N} \sum_{r=0}^{3} \log p_r(\text{turn}(x_i, r)).$$
#
# A quarter turn needs no resampling, so no blur reveals the answer. It also leaves no empty corners, while turns by
# other angles do.


# %%
def rotation_batch_by_hand(x):
    views, labels = [], []
    for quarters in range(4):
        for picture in x:
            views.append(torch.rot90(picture, quarters, (1, 2)))
            labels.append(quarters)
    return torch.stack(views), torch.tensor(labels)


views, turns = rotation_batch_by_hand(as_float(train.x[:3]))
torch.testing.assert_close((views, turns), rotate_four_ways(as_float(train.x[:3])))
image_grid(
    views,
    [f"{t} quarters" for t in turns],
    columns=6,
    title="Three scenes, four ways: a batch with its labels",
)

# %%
show(Rotation)

# %% [markdown]
# Chance is 1/4. A short run stays near it: this puzzle is hard for a small network, and the score rises late. Below we
# use pretrained weights, from a longer training with the same recipe.

# %%
rotnet, run = training(
    "rotation",
    measure=lambda: experiments.pretext_score(rotnet, test.x[:300]),
    measured="accuracy (chance 0.25)",
)
for step in run:
    pass

# %% [markdown]
# **Try it** with pretrained weights: choose a scene and turn it by any angle. The network knows only four answers. At
# which angle does its answer change? (For a network that uses the object, we expect it halfway between two quarter
# turns. Corners that are empty after a turn are filled with colours from the edge.) And which emoji does the network
# get wrong? Look for those that have no upright position, such as balls.

# %% tags=["fold"]
turner = zoo.load("rotation")


@torch.no_grad()
def turned(x, degrees):
    a = math.radians(degrees)
    theta = torch.tensor(
        [[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]]
    ).expand(len(x), 2, 3)
    return F.grid_sample(
        x,
        F.affine_grid(theta, x.shape, align_corners=False),
        padding_mode="border",
        align_corners=False,
    )


@torch.no_grad()
def draw_rotation(scene, degrees):
    picture = turned(as_float(test.x[scene : scene + 1]), degrees)
    shares = turner.classifier(turner.encoder(picture)).softmax(1)[0]
    figure, (left, right) = subplots(1, 2, height=2.6)
    left.imshow(rearrange(picture[0], "c h w -> h w c").clamp(0, 1))
    left.set(title=f"turned by {degrees} degrees", xticks=[], yticks=[])
    left.grid(False)
    right.bar(["0", "1", "2", "3"], shares)
    right.set(
        title=(
            f"The network says {int(shares.argmax())} quarters "
            f"({float(shares.max()):.0%})"
        ),
        xlabel="quarters",
        ylabel="probability",
        ylim=(0, 1),
    )
    return describe(
        figure,
        f"Scene {scene} turned by {degrees} degrees; probabilities of 0 to 3 quarters: "
        + ", ".join(f"{share:.2f}" for share in shares),
    )


assert torch.equal(
    turned(scene, 90).round(decimals=3), scene.rot90(1, (2, 3)).round(decimals=3)
)
explore(
    draw_rotation, scene=IntSlider(41, 0, 399), degrees=IntSlider(0, -180, 180, step=15)
)

# %% [markdown]
# ## 5. Where does the other patch lie?
#
# Doersch et al. 2015 cut two patches from a 3 x 3 grid: the patch in the middle and one of its eight neighbours. The
# network has to say which neighbour it is. AIA calls this *a discrete spatial relation*. Both patches go through the
# same encoder, and a classifier sees both codes.

# %%
torch.manual_seed(1)
pictures = as_float(test.x[40:44])
place = torch.tensor([0, 2, 4, 6])
no_jitter = torch.zeros(4, 2, 2, dtype=torch.long)
first, second = patch_pairs(pictures, place, no_jitter, patch=8, gap=3)
# the same with plain slices
for n, (down, right) in enumerate(OFFSETS[p] for p in place):
    top, left = 12 + 11 * down, 12 + 11 * right
    torch.testing.assert_close(
        second[n], pictures[n, :, top : top + 8, left : left + 8]
    )
both = torch.stack([pictures, F.interpolate(first, 32), F.interpolate(second, 32)], 1)
image_grid(
    both.flatten(0, 1),
    [title for p in place for title in ("scene", "middle", f"place {int(p)}")],
    columns=6,
    title=(
        "Scenes, and two patches of each, enlarged (place 0 is top left, 7 bottom "
        "right)"
    ),
)

# %%
show(PatchLocation)

# %% [markdown]
# ### How a network cheats
#
# A network takes the easiest way to solve a puzzle. This way may be a *shortcut*, which needs no understanding of the
# picture. Doersch et al. found two shortcuts, and we measure both.
#
# **Lines that continue.** If the patches touch, it can be enough to follow an edge or a gradient of brightness from one
# patch into the other. The remedy is a *gap* between patches and a *jitter* (random shift) of each patch, so that
# borders never match.
#
# **The lens.** Glass refracts each colour differently. So in the photographs of some cameras, one colour channel (often
# green) is very slightly smaller than the others, and colour fringes grow towards the corners. A patch's fringes reveal
# *where in the picture it was taken*, without any need to see what is in it. The remedy is *colour dropping*, which
# replaces two of the three channels by noise. Our scenes have no lens, so we simulate one. It enlarges the red channel,
# with fringes of one pixel at the border:

# %% tags=["fold"]
fringed = chromatic_aberration(as_float(test.x[40:46]), 1.0)
difference = 0.5 + (fringed - as_float(test.x[40:46]))
image_grid(
    torch.cat([as_float(test.x[40:46]), fringed, difference]),
    columns=6,
    title="Scenes, the same through a cheap lens, and the difference (grey is none)",
)


# %% tags=["fold"]
def shortcut_scores(measure):
    return experiments.values("pretext-shortcuts", measure)


clean = {
    name: scores
    for name, scores in shortcut_scores("pretext_clean").items()
    if "lens" in name
}
display(
    bars_with_spread(
        shortcut_scores("pretext"),
        xlabel="accuracy on pictures like those trained on (chance is 1/8)",
        title="Patch location on held-out scenes, 300 updates of 256 scenes, 3 seeds",
    )
)
display(
    bars_with_spread(
        clean,
        xlabel="accuracy on scenes without fringes (chance is 1/8)",
        title="The two networks trained with the lens, tested without it, 3 seeds",
    )
)
bars_with_spread(
    shortcut_scores("probe"),
    xlabel="linear probe accuracy (9 categories)",
    title="Features of these networks, frozen, on held-out emoji, 3 seeds",
)

# %% [markdown]
# With *patches that touch*, the network finds more places, but on average over the seeds its features are the worst. We
# read this as a shortcut: the additional score did not come from knowledge that helps the probe. With gap and jitter
# the score falls, and the accuracy of the linear probe rises. *The lens* hardly changes the score: the difference is
# smaller than the spread of the seeds. But on pictures without fringes, the network trained with the lens loses about
# three percentage points, with each seed. So it relies on the fringes. Colour dropping closes this shortcut: on average
# over the seeds, the score with and without the lens is the same. But it also removes the colours from which the
# network might have learnt, and the score falls. In Doersch et al.'s photographs the fringes revealed more: networks
# could find from a patch's fringes where in the picture it was cut out.
#
# ## 6. Solve the jigsaw
#
# Noroozi & Favaro 2016 cut the picture into nine tiles, shuffle them by a permutation from a fixed set, and ask for the
# number of this permutation. The encoder sees each tile on its own, with the same weights for all tiles. Only the
# classifier sees all nine codes. There is a reason for this. An encoder that saw the whole shuffled picture could
# compare the borders of neighbouring tiles in its first layers, pixel by pixel. So it could solve the puzzle without a
# description of any tile. An encoder that sees one tile has to describe this tile, and the tiles are compared only by
# their descriptions.
#
# *Margin note.* AIA's slide speaks of one of n! classes. For nine tiles that is 362,880 classes, and many permutations
# differ in two tiles only. Where these two tiles look alike, such a pair cannot be told apart. The paper takes a
# subset of permutations that are far apart. Its Algorithm 1 starts with one permutation. Then it adds, again and again,
# the permutation with the largest sum of **Hamming distances** (numbers of places in which two permutations differ) to
# those already chosen.


# %%
def permutation_set_by_hand(candidates, size, first):
    chosen = [first]
    while len(chosen) < size:

        def total(p):
            return sum(sum(a != b for a, b in zip(p, q)) for q in chosen)

        chosen.append(max((p for p in candidates if p not in chosen), key=total))
    return torch.tensor(chosen)


ours = permutation_set(tiles=4, size=6)
torch.testing.assert_close(
    ours,
    permutation_set_by_hand(list(permutations(range(4))), 6, tuple(ours[0].tolist())),
)

far = permutation_set(tiles=9, size=64)
maximin = maximin_permutation_set(tiles=9, size=64)
torch.manual_seed(0)
random_ones = torch.stack([torch.randperm(9) for _ in range(64)])
sets = {"largest sum": far, "drawn at random": random_ones, "maximin": maximin}
hamming = {name: (p[:, None] != p).sum(2).float() for name, p in sets.items()}
pairs = torch.triu_indices(64, 64, 1).unbind()
matrices(
    {f"{name}: least {d[pairs].min():.0f}": d for name, d in hamming.items()},
    title="Hamming distances within 64 permutations of nine tiles",
    xlabel="permutation",
    ylabel="permutation",
)

# %%
for name, d in hamming.items():
    found = d[pairs].int().bincount(minlength=10).tolist()
    print(
        f"{name:16} mean {d[pairs].mean():.2f}; pairs that differ in 2, 3, ..., 9 "
        f"places: {found[2:]}"
    )

# %% [markdown]
# **A large sum does not exclude small distances.** The greedy rule has the largest mean distance. But 61 of its 2,016
# pairs differ in two places only, and the random set has no such pair. So this rule leaves more ambiguous pairs than
# chance does, although it was made to avoid them. The **maximin** rule avoids them. It adds the permutation whose
# *nearest* chosen one is as far away as possible (exercise 3). Its mean is about the same, and its least distance is 7.
#
# Our jigsaw network uses Algorithm 1, as in the paper. Below you see that in most of its errors the answer and the
# truth differ in two places.

# %% [markdown]
# Here, too, we have to close shortcuts. Tiles are cut with a random gap between them (8 x 8 pixels anywhere in a cell
# of 10 x 10). Each tile is also *standardised*, because neighbours have similar brightness and contrast.

# %%
show(Jigsaw, after="exercise 4")

# %% [markdown]
# **Play against the network.** The first row shows six puzzles. Decide where the tiles belong. Then look at the
# network's answers in the middle row: the tiles in the order that the network predicts. The last row is the truth. (The
# network only has to recognise which of its 64 permutations it is. You have to find one of 362,880.)

# %% tags=["fold"]
solver = zoo.load("jigsaw")


def board(tiles):
    """Nine tiles (9, 3, 8, 8) with white lines between them, as one picture (3, 32,
    32)."""
    framed = F.pad(tiles, (1, 1, 1, 1), value=1.0)
    framed = rearrange(framed, "(row column) c h w -> c (row h) (column w)", row=3)
    return F.pad(framed, (1, 1, 1, 1), value=1.0)


@torch.no_grad()
def draw_jigsaw(first, permutation):
    pictures = as_float(test.x[first : first + 6])
    tiles = cut_tiles(pictures, torch.ones(6, 9, 2, dtype=torch.long), 8)
    shuffled = tiles[:, solver.permutations[permutation]]
    answers = solver.solve(shuffled).argmax(1)
    solved = [
        piece[solver.permutations[answer].argsort()]
        for piece, answer in zip(shuffled, answers)
    ]
    rows = [torch.stack([board(t) for t in some]) for some in (shuffled, solved, tiles)]
    right = int((answers == permutation).sum())
    verdicts = (
        ["" for _ in range(6)]
        + ["right" if a == permutation else "wrong" for a in answers]
        + ["truth"] * 6
    )
    return image_grid(
        torch.cat(rows),
        verdicts,
        columns=6,
        title=f"Puzzles, the network's answers, the truth: {right} of 6 right",
    )


explore(
    draw_jigsaw,
    first=IntSlider(100, 0, 394, description="first scene"),
    permutation=IntSlider(0, 0, 63),
)

# %% [markdown]
# **What does a puzzle need?** We can test what the two shipped networks use. We render the same scenes without an
# emoji, so that only the textures of the background are left. Which puzzle can still be solved? And when the jigsaw
# network is wrong, how far is its answer from the truth?

# %%
drawings = load("emoji", "test")
nothing = replace(drawings, x=torch.zeros_like(drawings.x))  # transparent drawings
scenes = {
    "scenes": test.x[:300],
    "without emoji": render_scenes(nothing, 300, seed=2).x,
}
for name, net, chance in (("rotation", turner, 1 / 4), ("jigsaw", solver, 1 / 64)):
    scores = [
        f"{kind} {experiments.pretext_score(net, x):.2f}" for kind, x in scenes.items()
    ]
    print(f"{name:9} solved: {', '.join(scores)}; chance {chance:.2f}")

torch.manual_seed(0)
with torch.no_grad():
    puzzles, which = solver.puzzles(as_float(test.x[:2000]))
    answers = torch.cat([solver.solve(part).argmax(1) for part in puzzles.split(500)])
wrong = answers != which
apart = (solver.permutations[answers] != solver.permutations[which]).sum(1)[wrong]
others = hamming["largest sum"][which[wrong]]  # to each of the 64
print(
    f"{wrong.float().mean():.0%} of the jigsaw's answers are wrong. Of these "
    f"{(apart == 2).float().mean():.0%} differ from the truth in two places only, as "
    f"{((others == 2).sum() / (63 * len(others))).item():.0%} of the wrong "
    "permutations do."
)

# %% [markdown]
# The background alone is enough for more than half of the jigsaw puzzles, because textures and gradients go on from one
# tile to the next. So the jigsaw network needs the emoji only for a part of its score. The rotation network falls to
# chance, because a random texture has no upright side. It can only use the emoji.
#
# ## 7. Colour it
#
# GT19 gives this task: from lightness $L$, predict the colours $ab$ (Zhang et al. 2016). In **CIE Lab**, L says how
# light a pixel is, a goes from green to red, and b from blue to yellow. Lab is not linear in RGB. To compute it, first
# undo the screen's gamma, then take a linear map to the standard's XYZ values, then cube roots. The cube root is a
# model of the eye: in a dark place, a small change of light is seen as a large one. So equal distances in Lab look
# about equally large. `course_lib/colour.py` does this, and the tests confirm that scikit-image gives the same values.

# %%
lab = rgb_to_lab(as_float(test.x[8:14]))
torch.testing.assert_close(lab_to_rgb(lab), as_float(test.x[8:14]), atol=1e-4, rtol=0)
halves = torch.cat(
    [
        lab[:, :1].expand(-1, 3, -1, -1) / 100,
        lab_to_rgb(torch.cat([torch.full_like(lab[:, :1], 60), lab[:, 1:]], 1)),
    ]
)
image_grid(
    torch.cat([as_float(test.x[8:14]), halves]),
    columns=6,
    title=(
        "Six scenes; their lightness, which is given; their colours, which are asked "
        "for"
    ),
)

# %% [markdown]
# **Why not regress (a, b)?** A balloon is red or blue. The mean squared error is smallest for the mean (section 3), and
# this colour between red and blue may be one that no balloon has. So we make colour a *class*. We divide the plane of
# (a, b) into squares of side 20 (the paper: 10) and keep those squares that contain some screen colour. The network
# predicts a distribution over these **bins**. The target is softened: it is spread over the five nearest bins $q$ with
# weights $\propto \exp(-d_q^2 / 2\sigma^2)$.
# %%
bins = ab_bins(spacing=20)
colour = torch.tensor([33.0, -12.0])
shares = soft_bins(colour.view(1, 2, 1, 1), bins, 5, 10.0).flatten()
distance = (bins - colour).norm(dim=1)
nearest = distance.argsort()[:5]
print(f"colour {colour.tolist()}, sigma 10")
for q in nearest:
    print(
        f"  bin at {bins[q].tolist()}: distance {distance[q]:4.1f}, "
        f"share {shares[q]:.3f}"
    )

# The shares sum to 1, no other bin has one, and two shares differ as two Gaussians do
torch.testing.assert_close(shares[nearest].sum(), torch.tensor(1.0))
assert int((shares > 0).sum()) == 5
torch.testing.assert_close(
    (shares[nearest[0]] / shares[nearest[1]]).log(),
    (distance[nearest[1]] ** 2 - distance[nearest[0]] ** 2) / (2 * 10.0**2),
)

# %%
_, ab = split(as_float(train.x[:2000]))
counts = nearest_bin(ab, bins).flatten().bincount(minlength=len(bins))
prior = counts / counts.sum()
weights = rebalancing_weights(prior)
torch.testing.assert_close((prior * weights).sum(), torch.tensor(1.0))

# %% tags=["fold"]
figure, axes = subplots(1, 2, height=3.6)
shown = lab_to_rgb(
    torch.cat([torch.full((len(bins), 1, 1, 1), 65.0), bins[:, :, None, None]], 1)
)[:, :, 0, 0]
for ax, value, title in (
    (axes[0], prior, "how often"),
    (axes[1], weights, "weight in the loss"),
):
    ax.scatter(
        bins[:, 0],
        bins[:, 1],
        s=20 + 230 * value / value.max(),
        c=shown.numpy(),
        edgecolors="#1f2328",
        linewidths=0.5,
    )
    ax.set(
        title=f"{len(bins)} colour bins by {title}",
        xlabel="a (green to red)",
        ylabel="b (blue to yellow)",
    )
describe(
    figure,
    f"{len(bins)} bins in the plane of a and b; the middle ones are the commonest and "
    "weigh least",
)

# %% [markdown]
# **Rare colours weigh more.** In photographs most pixels are near grey, so a network that always predicts grey does
# well. (In our scenes grey is the commonest bin, too, but it has only about a tenth of the pixels.) Therefore equation
# 4 of the paper mixes the bins' frequencies $p_q$ with a uniform distribution and takes the inverse as the weight. (The
# paper first smooths $p$, see exercise 7.) The weights are
# $w_q \propto \left((1 - \lambda)\,p_q + \lambda / Q\right)^{-1}$ with $\sum_q p_q w_q = 1$ and
# $\lambda = \tfrac12$.
#
# **One colour from a distribution.** The mode is vivid but patchy, the mean is smooth but pale. The **annealed mean**
# lies between them. First sharpen the distribution with a temperature,
# $\hat z_q = \exp(\log z_q / T) / \sum_{q'} \exp(\log z_{q'} / T)$ with $T = 0.38$, then take its mean.

# %%
show(Colourisation)

# %%
colourist, run = training(
    "colourisation",
    measure=lambda: experiments.pretext_score(colourist, test.x[:200]),
    measured="most likely bin correct",
)
for step in run:
    pass

# %% [markdown]
# **Try it** with pretrained weights. First change the temperature. T = 1 gives the mean, and the colours are pale. Move
# it to the left, towards the mode. (Above 1, all bins become more equal, and the colours even paler.) Then move the
# pixel (the cross) and read its distribution. Where are two colours likely at the same time?

# %% tags=["fold"]
painter_of_colours = zoo.load("colourisation")


@torch.no_grad()
def draw_colours(scene, temperature, down, right):
    pictures = as_float(test.x[scene : scene + 1])
    logits = painter_of_colours.colours(split(pictures)[0])
    coloured = painter_of_colours.colourise(pictures, temperature)
    shares = (logits[0, :, down, right] / temperature).softmax(0)
    mean = annealed_mean(logits, painter_of_colours.bins, temperature)[
        0, :, down, right
    ]
    figure, axes = subplots(1, 4, height=2.5)
    three = (split(pictures)[0].expand(-1, 3, -1, -1), coloured, pictures)
    for ax, picture, title in zip(axes, three, ("given", "coloured", "truth")):
        ax.imshow(rearrange(picture[0], "c h w -> h w c"))
        ax.plot(
            2 * right + 0.5,
            2 * down + 0.5,
            "+",
            color="#000000",
            markersize=12,
            markeredgewidth=3,
        )
        ax.plot(
            2 * right + 0.5,
            2 * down + 0.5,
            "+",
            color="#ffffff",
            markersize=11,
            markeredgewidth=1,
        )
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    axes[3].scatter(
        bins[:, 0],
        bins[:, 1],
        s=3 + 220 * shares,
        c=shown.numpy(),
        edgecolors="#1f2328",
        linewidths=0.4,
    )
    axes[3].plot(*mean, "x", color="#000000", markersize=9)
    axes[3].set(title="at the cross", xlabel="a", ylabel="b")
    return describe(
        figure,
        f"Scene {scene} coloured at temperature {temperature:.2f}; at the cross the "
        "likeliest bin is "
        f"{bins[shares.argmax()].tolist()} with {float(shares.max()):.2f}, the "
        f"annealed mean {mean.round().tolist()}",
    )


explore(
    draw_colours,
    scene=IntSlider(60, 0, 399),
    temperature=FloatLogSlider(value=0.38, min=-2, max=0.3, step=0.1),
    down=IntSlider(7, 0, 15),
    right=IntSlider(7, 0, 15),
)

# %% [markdown]
# ## 8. Two half brains
#
# A colourisation network gets no colour as input. Its features can describe only what can be *guessed* about the
# colours from the lightness. Two pictures that differ in colour alone have the same features. Zhang et al. 2017
# split the network into two halves. One half predicts ab from L, the other half predicts L from ab, and their features
# are concatenated. Neither half sees what it has to predict (otherwise the identity would solve the task), but both
# together have seen the whole picture.

# %%
show(SplitBrain, after="exercise 9")

# %%
brain = recipes.build(recipes.lookup("split-brain"), seed=0).eval()
x = as_float(test.x[:2]).requires_grad_()
(colour_logits, _), (light_logits, _) = brain.tasks(x)
h_l, h_ab = brain.encode(x).split(48, dim=1)
grey = lab_to_rgb(
    torch.cat([rgb_to_lab(x.detach())[:, :1], torch.zeros(2, 2, 32, 32)], 1)
)
# The half that sees L gives the same features for a grey copy of the picture
torch.testing.assert_close(brain.encode(grey)[:, :48], h_l, atol=2e-3, rtol=0)
# The half that sees ab gives others
assert (brain.encode(grey)[:, 48:] - h_ab).abs().max() > 0.05

# %% [markdown]
# ## 9. How useful are the features?
#
# The aim is not to solve a puzzle (GT19; notebook 00, section 8). So we freeze the encoder and evaluate it on held-out
# emoji, as in notebook 00. GT19 shows the papers' transfer tables (Pascal VOC, AlexNet). Here is our table. Every row
# was trained on the same scenes, with 3 seeds. The rows differ in the length of training, which the table below shows:
# most have 300 updates of 256 scenes; rotation has 64 scenes in each update, which make 256 views; patch location and
# the supervised network have 600 updates.
#
# *Margin note.* Below the table for RotNet, GT19's slide says "Finetune on labeled data from Pascal VOC 2007". In the
# first column only the last layers (fc6-8) are trained, and the segmentation column is Pascal VOC 2012.

# %% tags=["fold"]
TASKS = {
    "autoencoder": "autoencoder",
    "denoising-autoencoder": "denoising",
    "context-encoder": "inpainting",
    "rotation": "rotation",
    "patch-location": "patch location",
    "jigsaw": "jigsaw",
    "colourisation": "colourisation",
    "split-brain": "split-brain",
}
commonest = (test.y.bincount() / len(test.y)).max()  # the accuracy of one fixed answer
for measure, xlabel in (("knn", "k-NN accuracy"), ("probe", "linear probe accuracy")):
    rows = {"random encoder": experiments.values("rotation", measure)["random encoder"]}
    rows |= {
        title: experiments.values(name, measure)["trained"]
        for name, title in TASKS.items()
    }
    rows["supervised"] = experiments.values("supervised", measure)["trained"]
    display(
        bars_with_spread(
            rows,
            xlabel=f"{xlabel} on held-out emoji (largest category: {commonest:.3f})",
            title="Transfer: features frozen, 3 seeds",
        )
    )

# %% tags=["fold"]
print(
    f"{'':16}{'updates':>9}{'puzzle':>8}   {'probe':>15}   "
    "gain over the same untrained network, by seed"
)
for name, title in TASKS.items():
    probe, pretext = (
        experiments.values(name, "probe"),
        experiments.values(name, "pretext")["trained"],
    )
    gains = [t - r for t, r in zip(probe["trained"], probe["random encoder"])]
    spread, size = torch.tensor(probe["trained"]), recipes.lookup(name).cpu
    print(
        f"{title:16}{size.steps:5}x{size.batch_size:3}{sum(pretext) / 3:8.2f}   "
        f"{spread.mean():7.3f} ± {spread.std():.3f}   "
        + "  ".join(f"{gain:+.3f}" for gain in gains)
    )
half = {
    measure: torch.tensor(shortcut_scores(measure)["gap and jitter"]).mean()
    for measure in ("pretext", "probe")
}
print(
    f"patch location with 300 updates (section 5): puzzle {half['pretext']:.2f}, probe "
    f"{half['probe']:.3f}"
)

# %% [markdown]
# **The two rankings differ, and that is the lesson.** Compare the columns *puzzle* and *probe*. (The scores of
# different puzzles have no common scale. Chance is 1/4 for rotations, 1/8 for places and 1/64 for the jigsaw. The first
# three scores are shares of variance. For colours, the fixed answer "grey" is right at about one position in ten, so
# the colourisation network is hardly better than this answer.) The jigsaw is solved three times out of four. But by
# k-NN its features are the worst of all. They are better than the untrained network's with only one seed of three. By
# the probe they are a little better than the untrained network's with each seed. Rotations are recognised on held-out
# emoji only a little more often than by chance, but the features of that network are among the best. Section 6 measured
# a possible reason. More than half of the jigsaw puzzles can be solved from the background alone. Rotations cannot: to
# know which side is up, a network has to look at the emoji. So most of the jigsaw's high score may come from the
# background, but our categories are categories of emoji.
#
# **Pixels, or properties?** GT19 and ENS warn against methods that predict pixels. The two autoencoders confirm this:
# they explain about half of the variance, but by the probe their features are no better than those of the random
# network. But colourisation and split-brain also predict a value at every position (a block of 2 x 2 pixels), and they
# are at the top of the table, together with rotation. So it matters *what the puzzle asks for*. A possible reason,
# which we have not tested: the colours of an object cannot be copied from its lightness, so it helps to know which
# objects have which colours. (And many emoji have typical colours, such as faces and fruit.)
#
# In GT19's table (AlexNet, all layers fine-tuned, Pascal VOC 2007 classification) the order is: context encoder 56.5 %
# mAP, patch location 65.3, colourisation 65.6, split-brain 67.1, jigsaw 67.6, rotation 73.0. The jigsaw is second
# of these six, but near the end of our ranking. Much differs here: the pictures are small (a tile has 8 x 8 pixels),
# the encoder is frozen, and the training takes minutes instead of hours or days. Kolesnikov et al. 2019 found that the
# order of pretext tasks also changes with the network. As in GT19's table, no row reaches the supervised network.
#
# ## 10. With few labels
#
# GT19 shows this experiment in *Evaluation on semi-supervised learning*. RotNet's early layers are frozen, and a new
# last stage and a classifier are trained on a few labelled pictures. The comparison is the same network, trained from
# scratch on the same pictures. We count labelled *emoji* per category, with all of their scenes. Each run has 200
# updates.

# %% tags=["fold"]
labels = {
    name: torch.tensor(
        [
            [row[str(k)] for k in PER_CLASS]
            for row in experiments.read("rotation-labels")["rows"]
            if row["setting"] == name
        ]
    )
    for name in ("rotation, early layers frozen", "supervised from scratch")
}
picture = curve(
    PER_CLASS,
    labels,
    title="Accuracy on held-out emoji by number of labels; mean and range of 3 seeds",
    xlabel="labelled emoji per category (dotted line: always the largest category)",
    ylabel="accuracy",
)
picture.axes[0].set_xscale("log")
picture.axes[0].set_xticks(PER_CLASS, [*map(str, PER_CLASS[:-1]), "all"])
picture.axes[0].minorticks_off()
picture.axes[0].axhline(commonest, color="#666666", linestyle=":", lw=1)
picture

# %% [markdown]
# In the paper (CIFAR-10, GT19's figure) the frozen layers are better by a wide margin at 20 labels per class. The
# curves cross at about 1,000 labels per class, and from there on the frozen layers are worse. Our curves **do not show
# this advantage**. With one labelled emoji per category, both are hardly better than the answer "always the largest
# category". Up to ten emoji per category the two are level within the spread of the seeds. From thirty on the
# supervised network is ahead, and with all of the labels it is ahead with every seed. But the frozen features are not
# useless. Below, a linear classifier on the whole pretrained rotation network, frozen, is far better than one on an
# untrained network with the same labels. We suspect, but have not tested, the following reason: a label carries more
# information here. One labelled emoji comes with about fifteen scenes of it, while 20 labels in CIFAR-10 are 20
# photographs.

# %%
frozen = {}
for name, net in (
    ("rotation, shipped", turner),
    ("untrained", recipes.build(recipes.lookup("rotation"), seed=0)),
):
    rows = slice(0, 2000 if BUDGET == "smoke" else None)
    bank, h_test = train[rows], evaluate.features(net, test.x[:2000])
    h = evaluate.features(net, bank.x)
    frozen[name] = torch.stack(
        [
            evaluate.few_labels(
                h,
                bank.y,
                [labelled_subset(bank, per_class=k, seed=seed) for seed in range(3)],
                h_test,
                test.y[:2000],
            )
            for k in PER_CLASS[:4]
        ],
        dim=1,
    )

# %% tags=["fold"]
picture = curve(
    PER_CLASS[:4],
    frozen,
    title="A linear classifier on frozen features; mean and range of 3 draws of labels",
    xlabel="labelled emoji per category (dotted line: always the largest category)",
    ylabel="accuracy",
)
picture.axes[0].set_xscale("log")
picture.axes[0].set_xticks(PER_CLASS[:4], [str(k) for k in PER_CLASS[:4]])
picture.axes[0].minorticks_off()
picture.axes[0].axhline(commonest, color="#666666", linestyle=":", lw=1)
picture

# %% [markdown]
# ## 11. Which layers are useful, and where are their features strong?
#
# The last layer is there to solve the puzzle. So features that help other tasks may be found in earlier layers. The
# figure shows a linear probe on each stage (its feature map averaged over positions):

# %% tags=["fold"]
STAGES = ("stage 1", "stage 2", "stage 3")
by_layer = {}
for row in experiments.read("pretext-layers")["rows"]:
    by_layer.setdefault(row["setting"], []).append([row[stage] for stage in STAGES])
some = (
    "random encoder",
    "autoencoder",
    "rotation",
    "jigsaw",
    "colourisation",
    "supervised",
)
picture = curve(
    range(3),
    {name: torch.tensor(by_layer[name]) for name in some},
    xlabel="where the probe reads",
    ylabel="linear probe accuracy",
    title="Probe by layer; mean and range of 3 seeds",
)
picture.axes[0].set_xticks(range(3), STAGES)
picture

# %% [markdown]
# AIA's slide warns that *learned representations are very task specific*. The jigsaw's curve shows this: it falls
# towards the layer that solves the puzzle. The other pretext networks do not show it. Rotation's curve rises after the
# first stage and then stays level. Colourisation's curve rises with every stage, as the supervised network's does. (But
# all its stages lie below the supervised ones.) The autoencoder's curve is level with the untrained network's at every
# stage.
#
# The papers differ, too. Gidaris et al. find that the last layers of RotNet are not the best ones to keep. Their
# networks have no skip connections. Kolesnikov et al. 2019 find the opposite for networks with skip connections: there
# the quality does not fall towards the end. Our encoder has skip connections, too.
#
# GT19 shows Gidaris et al.'s **attention maps**: where in the picture the activations of a layer are large. We take the
# sum of squares over the channels of a feature map, at each position (Zagoruyko & Komodakis 2017). For our scenes we
# know where the emoji is, by its mask. Here are the maps of the second stage, with 8 x 8 positions:

# %%
untrained = recipes.build(recipes.lookup("rotation"), seed=0)
looked_at = test.x[[3, 8, 20, 41, 60, 77]]
maps = [
    attention(feature_maps(net, looked_at)[2])
    for net in (turner, zoo.load("supervised"), untrained)
]
rows = [
    F.interpolate(m / m.amax((2, 3), keepdim=True), 32, mode="bilinear").expand(
        -1, 3, -1, -1
    )
    for m in maps
]
image_grid(
    torch.cat([as_float(looked_at), *rows]),
    columns=6,
    title=(
        "Scenes; attention of the rotation network, of a supervised one, of an "
        "untrained one"
    ),
)

# %% tags=["fold"]
emoji_share = test.info["mask"].float().mean().item()  # of an even attention
dense = {}
for row in experiments.read("pretext-layers")["rows"]:
    dense.setdefault(row["setting"], []).append((row["attention"], row["masks"]))
picture = bars_with_spread(
    {name: [a for a, _ in values] for name, values in dense.items() if name in some},
    xlabel=f"share of attention on the emoji (dashed: of pixels, {emoji_share:.2f})",
    title="Attention of the second stage inside the true mask, 3 seeds",
)
picture.axes[0].axvline(emoji_share, color="#666666", linestyle="--")
picture

# %% [markdown]
# The emoji covers about 31 % of the pixels, so an attention that is equal everywhere has this share. The untrained
# network is above it, perhaps because drawings have stronger edges than our backgrounds. The rotation network is above
# the untrained one with every seed, and level with the supervised network. The jigsaw and colourisation are near the
# share of pixels. The autoencoder is far below it: its features are strongest on the background.
#
# **A dense task**: a linear map predicts the emoji's mask, pixel by pixel, from the frozen features of the second
# stage. (GT19's table has a segmentation column, too. There all layers are fine-tuned.)

# %% tags=["fold"]
bars_with_spread(
    {TASKS.get(name, name): [m for _, m in values] for name, values in dense.items()},
    xlabel="intersection over union with the true mask "
    f"(all pixels: {emoji_share:.2f})",
    title="Masks from frozen features, held-out emoji, 3 seeds",
)

# %% [markdown]
# This is a third ranking. When the question is *where* the emoji is, colourisation comes first, and the jigsaw is level
# with the supervised network. The untrained network, the autoencoder and the context encoder are last. A possible
# reason is that outlines help to colour a picture and to order tiles; we have not tested it. So there is no best
# pretext task, only one that is best *for* a certain purpose. This is why the course evaluates each representation in
# several ways.
#
# ## 12. Every picture is a class of its own
#
# The tasks above ask for a property of a transformation. One more task goes the other way. An **exemplar network**
# (Dosovitskiy et al. 2014) makes each training picture a class of its own. The members of this class are random views
# of the picture: crops, shifts of colour, and so on. So the features have to say which picture it is, *whatever* the
# transformation. With features $h$ of a view of picture i, and a row $w_k$ of weights for each of the N pictures,
#
# $$L = -\log \frac{\exp(w_i^\top h)}{\sum_{k=1}^{N} \exp(w_k^\top h)}.$$
#
# This is an ordinary classifier, so the course needs no new class for it:

# %%
show(exemplar)

# %% tags=["fold"]
bars_with_spread(
    {
        "random encoder": experiments.values("rotation", "probe")["random encoder"],
        "rotation": experiments.values("rotation", "probe")["trained"],
        **{
            f"exemplar, {scenes}": values
            for scenes, values in experiments.values("exemplar", "probe").items()
        },
    },
    xlabel=f"linear probe accuracy (largest category: {commonest:.3f})",
    title="Exemplar networks, 300 updates of 256 views, features frozen, 3 seeds",
)

# %% [markdown]
# With 2,000 scenes, the exemplar network is level with the best puzzles of section 9. With all 20,000 scenes and the
# same number of updates it is worse than the untrained network, and hardly better than always the largest category. A
# possible reason: the classifier grows with the data, and the views are spread over more classes. Each scene is then
# the right answer only about four times in the whole training.
#
# Notebook 03 removes the classifier's weights. **Instance discrimination** takes a stored feature of picture k for
# $w_k$. **SimCLR** takes the feature of another view, and only the pictures of the batch as classes. With such $w_k$
# and normalised features, the loss above is InfoNCE, the loss of notebook 03, at temperature 1:

# %%
torch.manual_seed(0)
with torch.no_grad():
    h1, h2 = (
        F.normalize(turner.encode(random_views()(as_float(train.x[:8]))), dim=1)
        for _ in range(2)
    )
by_hand = -torch.stack(
    [
        (h1[i] @ h2[i]) - torch.stack([h1[i] @ w for w in h2]).exp().sum().log()
        for i in range(8)
    ]
).mean()
torch.testing.assert_close(by_hand, info_nce(h1 @ h2.T))
weights = sum(p.numel() for p in turner.encoder.parameters())
print(f"weights of the encoder: {weights:,}")
for classes in (2_000, 20_000):
    print(
        f"weights of a classifier of {classes:,} scenes: {96 * classes:,}; views of "
        f"each scene in 300 updates of 256: {300 * 256 / classes:.1f}"
    )

# %% [markdown]
# ## 13. Pitfalls
#
# - **Networks take the easiest solution.** A gap, jitter, standardised tiles, dropped colours: each closes a shortcut.
#   Look for shortcuts before you believe a pretext score. A score that is surprisingly good is a reason for suspicion.
# - **A pretext score is not a result.** The scores of different puzzles cannot be compared, and none of them ranks the
#   features.
# - **Not every picture has an upright position.** RotNet learns from objects that have a usual orientation. Balls,
#   textures, cells under a microscope and aerial photographs have none.
# - **Training and use must match.** The jigsaw's encoder is trained on standardised tiles, so it must see standardised
#   pictures later. The colourisation encoder must see lightness. Here `encode` takes care of both.
# - **BatchNorm's statistics** come from tiles, patches or pictures with holes, but they are used on whole pictures.
# - **The random encoder of the same kind** is the baseline, because a network for lightness alone starts lower than one
#   for colours.
#
# ## 14. What to try next
#
# **Exercises**: [`exercises/01_pretext_tasks.ipynb`](../exercises/01_pretext_tasks.ipynb), each checked when you run the cell below it.
#
# Train the rotation network with eight rotations, in steps of 45 degrees. Which new shortcut can it use? Hide a stripe
# instead of a square. Train the jigsaw without `standardise` and with tiles of 10. Does its score rise, and do its
# features improve? Train the colourisation network with `mix=1.0` and `mix=0.01`. Train the denoising autoencoder with
# noise of 0.5.
#
# GT19's summary names two problems: *coming up with individual pretext tasks is tedious*, and *the learned
# representations may not be general*. Notebook 03 answers with a single task, which is to tell pictures apart, as in
# section 12. Notebook 04, section 10, makes a representation *invariant* to what a pretext task would predict (PIRL).
# Notebook 09 is planned: it fills holes again, with a transformer and three quarters of each picture hidden.
#
# ## 15. What to read
#
# Gidaris, Singh, Komodakis 2018, *Unsupervised Representation Learning by Predicting Image Rotations*
# ([arXiv 1803.07728](https://arxiv.org/abs/1803.07728)). Doersch, Gupta, Efros 2015, *Unsupervised Visual Representation Learning
# by Context Prediction* ([arXiv 1505.05192](https://arxiv.org/abs/1505.05192)). Noroozi, Favaro 2016, *Unsupervised Learning of
# Visual Representations by Solving Jigsaw Puzzles* ([arXiv 1603.09246](https://arxiv.org/abs/1603.09246)). Pathak et al. 2016,
# *Context Encoders* ([arXiv 1604.07379](https://arxiv.org/abs/1604.07379)). Zhang, Isola, Efros 2016, *Colorful Image Colorization*
# ([arXiv 1603.08511](https://arxiv.org/abs/1603.08511)); 2017, *Split-Brain Autoencoders*
# ([arXiv 1611.09842](https://arxiv.org/abs/1611.09842)). Vincent et al. 2008, *Extracting and Composing Robust Features with
# Denoising Autoencoders*. Baldi, Hornik 1989, *Neural networks and principal component analysis*. Zagoruyko, Komodakis 2017,
# *Paying More Attention to Attention* ([arXiv 1612.03928](https://arxiv.org/abs/1612.03928)). Kolesnikov, Zhai, Beyer 2019,
# *Revisiting Self-Supervised Visual Representation Learning* ([arXiv 1901.09005](https://arxiv.org/abs/1901.09005)): the choice
# of the network matters, too. Dosovitskiy, Springenberg, Riedmiller, Brox 2014, *Discriminative Unsupervised Feature Learning
# with Convolutional Neural Networks* ([arXiv 1406.6909](https://arxiv.org/abs/1406.6909)): exemplar networks. The lectures only name these: counting (Noroozi et al. 2017,
# [arXiv 1708.06734](https://arxiv.org/abs/1708.06734)), egomotion (Agrawal et al. 2015,
# [arXiv 1505.01596](https://arxiv.org/abs/1505.01596)), noise as targets (Bojanowski, Joulin 2017,
# [arXiv 1704.05310](https://arxiv.org/abs/1704.05310)).
