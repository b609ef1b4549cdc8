# %% [markdown]
# # 15. Guidance: asking for what you want
#
# **How do you ask a diffusion model for a seven?** Notebook 14's model draws pictures of any kind, and you cannot
# choose which. The model of this notebook gets a label: a digit, a category, or a caption such as *red apple*. Its
# pictures become better, and more similar to each other, if it is also pushed *away* from the picture that it would
# have drawn without the label. This push is one subtraction, times a number $w$. The notebook derives the push from
# Bayes' rule, with a classifier and without one. It measures how much diversity the push costs. And it finds that
# guided sampling does not draw from the distribution that the derivation promises.
#
# **You will be able to** derive classifier guidance and classifier-free guidance, with the right signs and scales in
# either convention; train a conditional model with label dropout; add either guidance to the noise that any sampler
# uses; say which distribution guidance samples from, and which it does not; choose $w$ by measurements; ask a small
# model for a caption that is not in its training set.
#
# **You need** from notebook 14: $x_t$, $\bar\alpha_t$, the score $-\epsilon_\theta / \sqrt{1 - \bar\alpha_t}$ and DDIM.
# From notebook 11: the Frechet distance, precision and recall.
#
# **Lectures** Deck GT19 (*CS 4644/7643, lecture 19: diffusion, GANs, pretext tasks, contrastive learning*):
# *Conditional Diffusion Models*, *Classifier-free Guided Diffusion*.
#
# **Time** Reading takes an hour and a half, and computing about three minutes on two cores. Long experiments were run
# beforehand (`make results`); here their results are plotted.

# %%
import math
import time
from functools import cache, partial

import numpy as np
import torch
from IPython.display import display
from ipywidgets import Dropdown, FloatSlider, IntSlider, SelectionSlider, Text

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.data import Dataset, as_float, emoji_names, load
from course_lib.data.captions import (
    PLACES,
    captions,
    shortened,
    token_names,
    tokens,
    unknown,
)
from course_lib.data.emoji import STYLES
from course_lib.data.toys import CENTRES, NOISE
from course_lib.data.words import words_of
from course_lib.diffusion.conditional import ConditionalDDPM, with_dropout
from course_lib.diffusion.ddpm import V
from course_lib.diffusion.exact import MixtureNoise
from course_lib.diffusion.gaussians import q_sample, score_from_eps
from course_lib.diffusion.guidance import (
    classifier_guided,
    guided,
    in_interval,
    input_gradient,
)
from course_lib.diffusion.guidance_experiments import group
from course_lib.diffusion.samplers import ancestral, ddim, last
from course_lib.diffusion.schedules import Schedule, cosine_betas
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.text import TextTransformer
from course_lib.nets.unet import LabelEmbedding
from course_lib.notebook import (
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    show,
    subplots,
    updates,
)
from course_lib.optim import adamw
from course_lib.train import fit

# "smoke" only shows that the notebook runs; "laptop" and "gpu" show that methods work
BUDGET = budget("15_guidance")

# %% [markdown]
# ## 1. A model that gets a label or a caption
#
# Before any formula, here are pictures of one model: without a label, with a category, with a caption, and with a
# caption plus a push. All pictures in a column begin with the same noise.

# %%
emoji_painter, digit_painter = zoo.load("text-ddpm"), zoo.load("conditional-ddpm")
DRAW_STEPS = {"smoke": 6, "laptop": 25, "gpu": 50}[BUDGET]


def paint(method, eps_fn, shape, seed=0, steps=DRAW_STEPS):
    """Pictures in [0, 1], drawn by DDIM from the noise of this seed."""
    x_T = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return method.denormalise(
        last(
            ddim(
                eps_fn, x_T, method.schedule, steps, clip_denoised=method.clip_denoised
            )
        )
    )


asked = {
    "nothing": (tokens(), 0.0),
    "any food": (tokens(category="Food & Drink"), 0.0),
    "red apple": (tokens("red apple"), 0.0),
    "apple, w = 3": (tokens("red apple"), 3.0),
    "... by openmoji": (tokens("red apple", "openmoji"), 3.0),
}
rows = [
    paint(
        emoji_painter,
        guided(emoji_painter.eps, y.expand(8, -1), w),
        (8, 3, 32, 32),
        seed=1,
    )
    for y, w in asked.values()
]
titles = [name if i == 0 else "" for name in asked for i in range(8)]
image_grid(
    torch.cat(rows),
    titles,
    columns=8,
    title="One caption a row; the same eight noises in each row",
)

# %% [markdown]
# ## 2. The label goes in beside the time
#
# GT19's slide *Conditional Diffusion Models* says: *just condition the model on some text labels $y$*,
# $\epsilon_\theta(x_t, y, t)$. Nothing in notebook 14's derivation changes. We apply it to the data of each $y$, with
# one network for all of them. A digit becomes a row of a table. A caption becomes the vector that a small transformer
# computes from its words (section 9). Either vector is added to the vector of $t$ and shifts the channels of every
# block.
#
# One more idea costs one line of code, and section 5 needs it. In training the label is sometimes dropped, *for each
# picture independently*. Ho and Salimans put a **null label** in its place. This is label dropout. So one network
# learns two predictions: the conditional one, $\epsilon_\theta(x_t, t, y)$, and the unconditional one,
# $\epsilon_\theta(x_t, t)$. Here the null label's vector is zero and stays zero. So the null label and no label at
# all (`None`) give the same prediction.

# %%
digits = load("digits", "test")


def loss_by_hand(method, x, y):
    """Ho & Salimans, Algorithm 1, for a network that predicts v = sqrt(abar) eps -
    sqrt(1 - abar) x_0."""
    x0 = 2 * x - 1
    t = torch.randint(len(method.schedule), (len(x0),))
    dropped = torch.rand(len(y)) < method.dropout  # for each picture independently
    y = with_dropout(y, torch.tensor(10), dropped)  # digits are 0 to 9, null label 10
    eps, abar = torch.randn_like(x0), method.schedule.abar[t].float().view(-1, 1, 1, 1)
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    return (
        (method.average(abar.sqrt() * x0 + (1 - abar).sqrt() * eps, t, y) - v)
        .square()
        .mean()
    )


x, y = as_float(digits.x[:64]), digits.y[:64]
torch.manual_seed(1)
theirs = digit_painter.loss(x, y)
torch.manual_seed(1)
torch.testing.assert_close(
    theirs, loss_by_hand(digit_painter, x, y), rtol=1e-4, atol=1e-5
)
with torch.no_grad():
    noisy, level, nothing = (
        torch.randn(4, 3, 32, 32),
        torch.full((4,), 500),
        tokens().expand(4, -1),
    )
    # the empty caption
    assert torch.equal(
        emoji_painter.eps(noisy, level, nothing), emoji_painter.eps(noisy, level)
    )
assert with_dropout(
    y[:3], torch.tensor(10), torch.tensor([True, False, False])
).tolist() == [10, *y[1:3].tolist()]
show(ConditionalDDPM, after="exercise 1")

# %% [markdown]
# **Is it blurry?** GT19's slide says about the conditional model: *Problem: very blurry generation*. Look at its
# pictures.

# %% tags=["fold"]
pictures = {
    f"w = {w:g}": paint(
        digit_painter,
        guided(digit_painter.eps, torch.arange(10), w),
        (10, 1, 28, 28),
        seed=3,
    )
    for w in (0.0, 1.0, 4.0)
}
real_digits = torch.stack([as_float(digits.x[digits.y == k][0]) for k in range(10)])
titles = [
    text if i == 0 else "" for text in ("test digits", *pictures) for i in range(10)
]
display(
    image_grid(
        torch.cat([real_digits, *pictures.values()]),
        titles,
        columns=10,
        title=(
            "Digits 0 to 9: test pictures, and drawn with weight w from the same ten "
            "noises"
        ),
    )
)
CATEGORIES = load("emoji_on_white", "test").classes
categories = torch.stack([tokens(category=name) for name in CATEGORIES])
pictures = {
    f"w = {w:g}": paint(
        emoji_painter, guided(emoji_painter.eps, categories, w), (9, 3, 32, 32), seed=4
    )
    for w in (0.0, 1.0, 4.0)
}
titles = [name.split()[0] for name in CATEGORIES] + [""] * 18
image_grid(
    torch.cat(list(pictures.values())),
    titles,
    columns=9,
    title="One emoji of each category; rows: w = 0, 1, 4, from the same nine noises",
)


# %% tags=["fold"]
def in_rows(name, setting, measure):
    """One measure along the curves of a setting: an array (seeds, weights)."""
    return np.array(
        [
            row["curve"][measure]
            for row in experiments.read(name)["rows"]
            if row["setting"] == setting
        ]
    )


WEIGHTS = in_rows("guidance-weights", "digits, shipped", "w")[0].tolist()


def detail_figure():
    figure, axes = subplots(1, 2, height=2.7)
    for ax, (title, setting, real) in zip(
        axes,
        (
            ("digits", "digits, shipped", "real digits"),
            ("emoji, by category", "emoji, shipped", "real emoji"),
        ),
    ):
        ax.plot(
            range(len(WEIGHTS)),
            in_rows("guidance-weights", setting, "detail").T,
            "o-",
            color="#0072B2",
            markersize=4,
            linewidth=1,
        )
        ax.axhline(
            np.mean(experiments.values("guidance-weights", "detail")[real]),
            color="#666666",
            linestyle=":",
        )
        ax.set(xlabel="w", ylabel="detail" if ax is axes[0] else "", title=title)
        ax.set_xticks(range(len(WEIGHTS)), [f"{w:g}" for w in WEIGHTS])
    figure.suptitle(
        "Squared differences of neighbouring pixels; test pictures are 1, training "
        "pictures dotted (3 seeds)",
        x=0.01,
        ha="left",
        size=11,
    )
    return describe(
        figure,
        "Detail of drawn pictures over w, digits and emoji, with that of real pictures "
        "as a dotted line.",
    )


detail_figure()

# %% [markdown]
# The detail of unguided digits ($w = 0$) is within a tenth of the test digits' detail. Drawn emoji are less sharp than
# real ones. But this holds at every $w$, and guidance up to $w = 2$ hardly changes it. We suspect our small network.
# (Some of the growth of "detail" with $w$ may be contrast.) The unguided pictures have another fault: they are less
# faithful to the label. Some show an odd stroke, or a thing that cannot be named. So for our models "diverse, and less
# faithful" is the right criticism, and "very blurry" is not.
#
# ## 3. Bayes' rule, and a classifier
#
# We want $p(x \mid y)$ and have a model of $p(x)$. Bayes' rule holds at every level of noise:
# $p_t(x_t \mid y) = p_t(x_t)\, p_t(y \mid x_t) / p(y)$. Take the gradient of the logarithm with respect to $x_t$. The
# term $p(y)$ does not depend on $x_t$ and drops out:
#
# $$\nabla \log p_t(x_t \mid y) = \nabla \log p_t(x_t) + \nabla \log p_t(y \mid x_t) .$$
#
# A diffusion model gives us the first score:
# $\nabla \log p_t(x_t) = -\epsilon_\theta(x_t, t) / \sqrt{1 - \bar\alpha_t}$. The second term is the gradient of a
# **classifier** with respect to its *input*. Multiply by $-\sqrt{1 - \bar\alpha_t}$:
#
# $$\epsilon(x_t, t, y) = \epsilon_\theta(x_t, t) - \sqrt{1 - \bar\alpha_t}\; \nabla_{x_t} \log p_\varphi(y \mid x_t) ,$$
#
# where $p_\varphi$ is the classifier and $\varphi$ are its weights.
#
# Why the minus sign? The sampler takes the noise away. So a direction that makes $y$ likelier is subtracted from the
# noise. So far everything is exact, and an unconditional model has become a conditional one without being trained
# again. Dhariwal and Nichol then multiply the classifier's gradient by a **scale** $s > 1$:
#
# $$\tilde\epsilon = \epsilon_\theta(x_t, t) - s \sqrt{1 - \bar\alpha_t}\; \nabla \log p_\varphi(y \mid x_t), \qquad\text{hoping for}\qquad p(x)\, p(y \mid x)^s .$$
#
# Compared with $p(x \mid y)$, this density gives more weight to pictures about which the classifier is certain. (GT19
# writes $\bar\epsilon$ for the guided noise, but here the bar already has another meaning. Section 6 tests whether the
# hope is fulfilled.)
#
# On toy data all of this is known. Eight Gaussians on a circle belong to three classes. `MixtureNoise` knows the exact
# noise of all data, the exact noise of one class, and, by Bayes' rule, the exact classifier.

# %%
# of the eight Gaussians, round the circle
CLASS_OF = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
exact = MixtureNoise(
    CENTRES["gaussians"](), NOISE, Schedule(cosine_betas(100)), CLASS_OF
)
schedule = exact.schedule


def slope(x_t, t, y, h=1e-4):
    """The gradient of log p(y given x_t) by finite differences, without autograd."""
    ahead, behind = (
        torch.stack([exact.log_prob(x_t + sign * h * axis, t, y) for axis in AXES], 1)
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * h)


AXES = torch.eye(2, dtype=torch.float64)
torch.manual_seed(0)
x_t = 1.5 * torch.randn(50, 2, dtype=torch.float64)
t, y = torch.randint(100, (50,)), torch.randint(3, (50,))
push = (1 - schedule.abar[t]).sqrt()[:, None] * slope(x_t, t, y)
torch.testing.assert_close(
    classifier_guided(exact, exact.log_prob, y, 2.5, schedule)(x_t, t),
    exact(x_t, t) - 2.5 * push,
    atol=1e-5,
    rtol=1e-4,
)
# scale 1: Bayes' rule, the conditional noise
torch.testing.assert_close(exact(x_t, t) - push, exact(x_t, t, y), atol=1e-5, rtol=1e-4)
show(classifier_guided)
show(input_gradient, after="exercise 3")

# %% [markdown]
# **The classifier must know noise.** A sampler begins with $x_T$. A classifier trained only on clean pictures has no
# useful answer there, or a wrong one. So ours is trained on $x_t$ of all levels and gets $t$ as an input
# (`NoisyClassifier`: the downsampling path of a U-Net and a linear layer).
#
# How large is the gradient? Write $g_k$ for the gradient of the logit of class $k$, and $p_k$ for its probability. The
# gradient of $\log p(y \mid x_t)$ is $g_y - \sum_k p_k\, g_k$. With little noise the classifier is already sure of a
# digit's own label, $p_y \approx 1$, so the gradient is small. With pure noise there is nothing to recognise, so the
# gradient is smaller again. It is largest in between, where the classifier is undecided and the picture still matters.
# The cell prints the mean norm at each level.

# %%
noisy_classifier, clean_classifier = (
    zoo.load("noisy-classifier"),
    zoo.load("supervised-digits"),
)
LEVELS = [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999]
few = digits[: {"smoke": 100}.get(BUDGET, 1000)]
right = {"trained on noisy pictures": [], "trained on clean pictures": []}
torch.manual_seed(0)
with torch.no_grad():
    for level in LEVELS:
        x_t = q_sample(
            2 * as_float(few.x) - 1,
            noisy_classifier.schedule.abar[level].item(),
            torch.randn(few.x.shape),
        )
        numbers = torch.full((len(few),), level)
        right["trained on noisy pictures"].append(
            evaluate.accuracy(noisy_classifier.logits(x_t, numbers), few.y)
        )
        right["trained on clean pictures"].append(
            evaluate.accuracy(
                clean_classifier.classifier(clean_classifier.encode((x_t + 1) / 2)),
                few.y,
            )
        )

# %% tags=["fold"]
display(
    curve(
        LEVELS,
        right,
        xlabel="t of 1000",
        ylabel="accuracy",
        title=f"Two classifiers of {len(few)} test digits in noise (chance: 0.1)",
    )
)

# %%
some = few[: {"smoke": 50}.get(BUDGET, 200)]
norms = {}
for level in LEVELS:
    x_t = 2 * as_float(some.x) - 1
    x_t = q_sample(
        x_t, noisy_classifier.schedule.abar[level].item(), torch.randn_like(x_t)
    )
    gradient = input_gradient(
        noisy_classifier.log_prob, x_t, torch.full((len(x_t),), level), some.y
    )
    norms[level] = gradient.flatten(1).norm(dim=1).mean().item()
print(
    "mean norm of the gradient for a digit's own label:",
    ", ".join(f"t = {level}: {norm:.2f}" for level, norm in norms.items()),
)

# %% tags=["fold"]
seven = 2 * as_float(digits.x[digits.y == 7][:1]) - 1
shown = []
for wanted in (7, 9, 2):
    for level in (50, 250, 450, 650):
        x_t = q_sample(
            seven,
            noisy_classifier.schedule.abar[level].item(),
            torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
        )
        gradient = input_gradient(
            noisy_classifier.log_prob,
            x_t,
            torch.tensor([level]),
            torch.tensor([wanted]),
        )
        size = gradient.abs().max()
        shown += [
            (f"t = {level}" if wanted == 7 else "", (x_t + 1) / 2),
            (f"{wanted}: {size:.1e}", 0.5 + gradient / (2 * size)),
        ]
image_grid(
    torch.cat([picture for _, picture in shown]),
    [text for text, _ in shown],
    columns=8,
    title=(
        "A seven in noise, and where paint should be added (white) or taken away "
        "(black) to make it\nlikelier a 7, a 9, a 2; the number: the gradient's "
        "largest entry"
    ),
)

# %% [markdown]
# ## 4. Without a classifier
#
# Do we need the second network? Solve Bayes' rule for the classifier's gradient:
#
# $$\begin{aligned}
# \nabla \log p_t(y \mid x_t) &= \nabla \log p_t(x_t \mid y) - \nabla \log p_t(x_t) \\
# &= -\frac{1}{\sqrt{1 - \bar\alpha_t}} \big( \epsilon_\theta(x_t, t, y) - \epsilon_\theta(x_t, t) \big) .
# \end{aligned}$$
#
# This is GT19's first formula. With exact noise, a model that predicts with and without the label contains the gradient
# of a classifier. (The difference of two *learnt* noises need not be the gradient of anything, as Ho and Salimans say.
# It is used all the same.) Put this gradient into classifier guidance **of the conditional model**, with weight $w$:
#
# $$\begin{aligned}
# \tilde\epsilon &= \epsilon_\theta(x_t, t, y) - w \sqrt{1 - \bar\alpha_t}\; \nabla \log p(y \mid x_t) \\
# &= \epsilon_\theta(x_t, t, y) + w \big( \epsilon_\theta(x_t, t, y) - \epsilon_\theta(x_t, t) \big) \\
# &= (1 + w)\, \epsilon_\theta(x_t, t, y) - w\, \epsilon_\theta(x_t, t) .
# \end{aligned}$$
#
# This is GT19's second formula. You can also start from the unconditional model, with scale $s$:
# $\epsilon_\theta(x_t, t) + s\, (\epsilon_\theta(x_t, t, y) - \epsilon_\theta(x_t, t))$. The result is the same if
# $s = 1 + w$. So **$w$ on the conditional model is $1 + w$ on the unconditional one**, because the conditional model
# already contains one factor $p(y \mid x)$. The two conventions differ by one, and both are in use:
#
# | | $w$, on the conditional model: here, GT19, Ho & Salimans | $s = 1 + w$, on the unconditional model: `guidance_scale` of most libraries |
# |---|---|---|
# | unconditional model | $w = -1$ | $s = 0$ |
# | conditional model | $w = 0$ | $s = 1$ |
# | the classifier's gradient twice | $w = 1$ | $s = 2$ |
# | usual value for Stable Diffusion | $w = 6.5$ | $s = 7.5$ |
#
# (Dhariwal and Nichol's scale always multiplies the classifier's gradient. So it is $1 + w$ for the unconditional
# model, and $w$ for the conditional one.)


# %%
def from_the_unconditional(eps, x_t, t, y, s):
    """The other convention: scale s on the unconditional model."""
    return eps(x_t, t) + s * (eps(x_t, t, y) - eps(x_t, t))


torch.manual_seed(0)
x_t, t, y = 1.5 * torch.randn(50, 2), torch.randint(100, (50,)), torch.randint(3, (50,))
for w in (-1.0, 0.0, 1.5, 4.0):
    free = guided(exact, y, w)(x_t, t)
    torch.testing.assert_close(
        free, from_the_unconditional(exact, x_t, t, y, 1 + w), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        free,
        classifier_guided(exact, exact.log_prob, y, 1 + w, schedule)(x_t, t),
        atol=1e-3,
        rtol=1e-3,
    )
    conditional = partial(exact, y=y)
    torch.testing.assert_close(
        free,
        classifier_guided(conditional, exact.log_prob, y, w, schedule)(x_t, t),
        atol=1e-3,
        rtol=1e-3,
    )
start, y = torch.randn(100, 2), torch.full((100,), 1)
for sampler in (
    ancestral,
    partial(ancestral, large_variance=True),
    ddim,
    partial(ddim, eta=1.0),
):
    wrapped = last(
        sampler(guided(exact, y, 0.0), start, schedule, noise=torch.ones_like)
    )
    # w = 0: the conditional model
    assert torch.equal(
        wrapped,
        last(sampler(partial(exact, y=y), start, schedule, noise=torch.ones_like)),
    )
    free = last(sampler(guided(exact, y, 2.0), start, schedule, noise=torch.ones_like))
    by_classifier = last(
        sampler(
            classifier_guided(exact, exact.log_prob, y, 3.0, schedule),
            start,
            schedule,
            noise=torch.ones_like,
        )
    )
    assert (free - by_classifier).abs().median() < 1e-3  # w = 2: scale 3
show(guided, after="exercise 2")

# %% [markdown]
# `guided` takes a noise function and returns one. Samplers do not know about guidance, so every sampler works with
# every guidance, and without any.
#
# **Try it.** The figure shows three scores on the toy data, and 300 points of the guided DDIM at step $t$ (they begin
# as samples of $\mathcal N(0, I)$). Class 0 consists of the three Gaussians at the upper right. With $w = 0$ the guided
# field is the conditional one, and all three Gaussians get about equally many points. Raise $w$, then drag $t$ to 0.
# Which of the three Gaussians has the most points, and why this one?

# %% tags=["fold"]
PLANE = torch.cartesian_prod(
    torch.linspace(-2.6, 2.6, 15), torch.linspace(-2.6, 2.6, 15)
)
COLOURS = ("#0072B2", "#D55E00", "#009E73")


@cache
def guided_path(w):
    """300 points from noise to class 0: (101, 300, 2)."""
    x_T = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    return torch.stack(
        [
            x_T,
            *(
                x
                for x, _ in ddim(
                    guided(exact, torch.zeros(300, dtype=torch.long), w), x_T, schedule
                )
            ),
        ]
    )


def draw_scores(w, t):
    y, numbers, abar = (
        torch.zeros(len(PLANE), dtype=torch.long),
        torch.full((len(PLANE),), t),
        schedule.abar[t].item(),
    )
    fields = {
        "unconditional": exact(PLANE, numbers),
        "conditional, class 0": exact(PLANE, numbers, y),
        f"guided, w = {w:g}": guided(exact, y, w)(PLANE, numbers),
    }
    path, longest = (
        guided_path(w),
        2.0 * score_from_eps(fields["unconditional"], abar).norm(dim=1).median().item(),
    )
    figure, axes = subplots(1, 3, height=3.2)
    for ax, (name, eps) in zip(axes, fields.items()):
        field = score_from_eps(eps, abar)
        length = field.norm(dim=1, keepdim=True)
        arrows = field / length.clamp(min=1e-9) * length.clamp(max=longest)
        for k, colour in enumerate(COLOURS):
            ax.scatter(
                *(math.sqrt(abar) * exact.centres[CLASS_OF == k]).T,
                s=70,
                marker="os^"[k],
                color=colour,
                alpha=0.5,
                label=f"class {k}",
            )
        ax.quiver(
            *PLANE.T,
            *arrows.T,
            color="#000000",
            angles="xy",
            scale_units="xy",
            scale=longest / 0.4,
            width=0.005,
        )
        ax.set(
            title=name,
            xlim=(-2.8, 2.8),
            ylim=(-2.8, 2.8),
            aspect="equal",
            xlabel="first coordinate",
            ylabel="second coordinate" if ax is axes[0] else "",
        )
        ax.grid(False)
    axes[2].scatter(*path[99 - t].T, s=5, color="#CC79A7", zorder=3)
    nearest = (
        torch.cdist(path[-1], exact.centres).argmin(1).bincount(minlength=8)[:3] / 300
    )
    title = (
        f"Scores at t = {t + 1} of 100; dots: the guided sampler. At the end, of class "
        "0's three: " + ", ".join(f"{share:.0%}" for share in nearest)
    )
    figure.suptitle(title, x=0.01, ha="left", size=11)
    return describe(figure, title)


explore(
    draw_scores,
    w=FloatSlider(value=2.0, min=-1.0, max=8.0, step=0.5, continuous_update=False),
    t=IntSlider(40, min=0, max=99, continuous_update=False),
)

# %% [markdown]
# With $w = 2$ most points end at the middle one of the three Gaussians. It is farthest from the other classes, so *in
# the noise* the classifier is most certain there. Without noise the classifier is equally certain at all three, and the
# hoped-for density $p(x)\, p(y \mid x)^{1 + w}$ would keep a third of the points at each. This is a first sign that
# guidance samples from something else. At large $w$ the points also overshoot: they move past the centre, away from the
# other classes. **Guidance prefers samples that are least like the rest**, and this costs diversity.
#
# ## 5. One network learns both
#
# For pictures we do not have `exact`, but we have label dropout. We begin with the toy data, where the answer is known.
# A multilayer perceptron is trained on the points, and nine times out of ten it also gets the class. Guidance
# multiplies the difference of two predictions, and their errors with it. This is why the network predicts $v$
# (notebook 14). To get $\hat x_0$, the sampler multiplies an error of a predicted noise by
# $\sqrt{1 - \bar\alpha_t} / \sqrt{\bar\alpha_t}$, which is large where $\bar\alpha_t$ is small. An error of $v$ is
# only multiplied by $\sqrt{1 - \bar\alpha_t}$.

# %%
TOY_STEPS = updates(smoke=150, laptop=3000, gpu=3000)
points = load("gaussians")
classed = Dataset(points.x, CLASS_OF[points.y], ("0", "1", "2"))
torch.manual_seed(0)
toy = ConditionalDDPM(
    TimedMLP(2, 128, label=LabelEmbedding(3, 128)),
    cosine_betas(100),
    torch.tensor(3),
    V,
    momentum=0.99,
    pictures=False,
)
for _ in live(
    fit(
        toy,
        classed,
        TOY_STEPS,
        batch_size=256,
        optimizers=adamw(5e-3, 0.0),
        seed=0,
        device="cpu",
    )
):
    pass
toy = toy.eval()


# %% tags=["fold"]
def toy_samples():
    y = torch.zeros(600, dtype=torch.long)
    figure, axes = subplots(2, 4, height=4.4)
    for row, (name, eps) in enumerate((("exact", exact), ("learnt", toy.eps))):
        for ax, w in zip(axes[row], (-1.0, 0.0, 1.0, 4.0)):
            x_T = torch.randn(600, 2, generator=torch.Generator().manual_seed(1))
            x = last(ddim(guided(eps, y, w), x_T, schedule, {"smoke": 20}.get(BUDGET)))
            for k, colour in enumerate(COLOURS):
                ax.scatter(
                    *exact.centres[CLASS_OF == k].T,
                    s=60,
                    marker="os^"[k],
                    color=colour,
                    alpha=0.5,
                )
            ax.scatter(*x.T, s=2, color="#000000")
            inside = (
                (torch.cdist(x, exact.centres[CLASS_OF == 0]).min(1).values < 3 * NOISE)
                .float()
                .mean()
            )
            ax.set(
                title=f"w = {w:g}: {inside:.0%} inside",
                xlim=(-2.3, 2.3),
                ylim=(-2.3, 2.3),
                aspect="equal",
                xticks=[-2, 0, 2],
                yticks=[-2, 0, 2],
            )
            ax.title.set_size(10)
        axes[row, 0].set_ylabel(name)
    figure.suptitle(
        "600 points of DDIM, asked for class 0 (blue circles), by exact and by learnt "
        "noise",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Points drawn on the toy for four weights, by the exact and by the learnt "
        "noise.",
    )


toy_samples()

# %% [markdown]
# Now we train on digits. The recipe is notebook 14's network with a table of eleven rows.

# %%
STEPS = updates(smoke=8, laptop=400, gpu=8000)
recipe = recipes.lookup("conditional-ddpm")
model = recipes.build(recipe, seed=0)
for step in live(recipes.train(recipe, model, load("digits"), seed=0, steps=STEPS)):
    pass
model = model.eval().to("cpu")
rows = {
    f"w = {w:g}": paint(
        model, guided(model.eps, torch.arange(10), w), (10, 1, 28, 28), seed=5
    )
    for w in (-1.0, 0.0, 1.0, 3.0)
}
titles = [name if i == 0 else "" for name in rows for i in range(10)]
image_grid(
    torch.cat(list(rows.values())),
    titles,
    columns=10,
    title=f"Asked for 0 to 9, after {STEPS} updates; w = -1 is the unconditional model",
)

# %% [markdown]
# **Try it** with the shipped model, which was trained for 8,000 updates. Choose a digit and a weight $w$. The eight
# noises stay the same. At which $w$ do the eight pictures begin to look alike?

# %% tags=["fold"]
GRID = {"smoke": (0.0, 4.0)}.get(BUDGET, (0.0, 0.5, 1.0, 2.0, 4.0, 8.0))
asked = torch.arange(10).repeat_interleave(8)
noise_of = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(6)).repeat(
    10, 1, 1, 1
)
sheets = {}
for w in GRID:
    sheets[w] = digit_painter.denormalise(
        last(
            ddim(
                guided(digit_painter.eps, asked, w),
                noise_of,
                digit_painter.schedule,
                DRAW_STEPS,
                clip_denoised=1.0,
            )
        )
    )


def draw_digits(digit, w):
    mine = sheets[w][8 * digit : 8 * digit + 8]
    apart = torch.pdist(mine.flatten(1)).mean()
    with torch.no_grad():
        sure = (
            clean_classifier.classifier(clean_classifier.encode(mine))
            .softmax(1)[:, digit]
            .mean()
        )
    return image_grid(
        mine,
        columns=8,
        title=(
            f"{digit}, w = {w:g}: a classifier is {sure:.0%} sure; mean distance "
            f"between two of them {apart:.1f}"
        ),
    )


explore(
    draw_digits,
    digit=IntSlider(2, min=0, max=9),
    w=SelectionSlider(options=[(f"{w:g}", w) for w in GRID], value=GRID[0]),
)

# %% [markdown]
# ## 6. What does guidance sample?
#
# The derivation hopes for the **tilted density** $\tilde p(x) \propto p(x)\, p(y \mid x)^{1 + w}$. Does guidance draw
# from it? To do so, a sampler needs the score of the *noised* tilted density,
# $\nabla \log \int \tilde p(x_0)\, q(x_t \mid x_0)\, dx_0$. Guidance gives it
# $\nabla \log p_t(x_t) + (1 + w) \nabla \log p_t(y \mid x_t)$, which is the score of the noised density, tilted.
# **Noising and tilting do not commute.** In general the two scores agree at $t = 0$ and nowhere else.
#
# *A pair where they agree.* The formula of guidance takes any two densities, for example those of two labels (the
# second is then called a **negative prompt**). Let it push from $\mathcal N(0, 1)$ to $\mathcal N(m, 1)$. Noised to
# $\bar\alpha$, they are $\mathcal N(0, 1)$ and $\mathcal N(\sqrt{\bar\alpha}\, m, 1)$. The guided score is
# $-(x - (1 + w) \sqrt{\bar\alpha}\, m)$. This is the score of $\mathcal N((1 + w) m, 1)$, noised. The tilted density is
# also $\mathcal N((1 + w) m, 1)$, so guidance is exact here. (This pair is not data and one of its labels. Because
# $p(x \mid y)\, p(y) \le p(x)$, the ratio $p(x \mid y) / p(x)$ of a label is at most $1 / p(y)$. The ratio of these two
# has no bound.)
#
# *A label where they do not agree.* Let $p = \mathcal N(0, 1)$ and $p(\cdot \mid y) = \mathcal N(0, c)$ with $c < 1$.
# Their ratio is at most $1 / \sqrt c$, so such a label exists if $p(y) \le \sqrt c$. The tilted density is
# $\propto p^{-w} p(\cdot \mid y)^{1 + w}$, which is a Gaussian of variance
#
# $$\Big( \frac{1 + w}{c} - w \Big)^{-1} = \frac{c}{1 + w - wc} .$$
#
# Now look at the guided sampler. As in notebook 14, write $u = x_t / \sqrt{\bar\alpha_t}$ and
# $\sigma^2 = (1 - \bar\alpha_t) / \bar\alpha_t$. Then $u$ is data plus noise of variance $\sigma^2$, and DDIM with many
# steps follows $du / d\sigma = \tilde\epsilon$. For data of variance $a$ the exact noise is
# $\epsilon = \sigma u / (a + \sigma^2)$. So
#
# $$\frac{d \log u}{d\sigma} = (1 + w) \frac{\sigma}{c + \sigma^2} - w \frac{\sigma}{1 + \sigma^2} .$$
#
# Integrate from the data, $\sigma = 0$, to the start, $\sigma = \Sigma$:
#
# $$\log \frac{u(\Sigma)}{u(0)} = \frac12 \Big( (1 + w) \log \frac{c + \Sigma^2}{c} - w \log (1 + \Sigma^2) \Big) .$$
#
# The variance of $u(\Sigma)$ is $1 + \Sigma^2$. So the variance of $u(0)$ is
# $(1 + \Sigma^2)^{1 + w} (c / (c + \Sigma^2))^{1 + w}$, and for large $\Sigma$
#
# $$\operatorname{Var}(x_0) = c^{1 + w} .$$
#
# DDIM extrapolates the *logarithms* of the variances. The tilted density extrapolates their *inverses*. For
# $c = \tfrac12$, $w = 3$ the results are 0.0625 and 0.2.
#
# With fresh noise at every step (DDPM with many steps) there is a third answer. Write $r = \sigma^2$ and $V$ for the
# variance of $u$. When $r$ falls by $dr$, the score counts twice as much as in DDIM, and noise of variance $dr$ is
# added. So $\frac{dV}{dr} = 2 \big( \frac{1 + w}{c + r} - \frac{w}{1 + r} \big) V - 1$. The substitution
# $z = \frac{1 + r}{c + r}$ gives $V(0) = \frac{c}{1 - c} \cdot \frac{1 - c^{2w + 1}}{2w + 1}$, which is 0.142 here. So
# two samplers that agree at $w = 0$ no longer agree. (Bradley and Nakkiran found such an example, and interpret
# guidance as a predictor-corrector.)

# %%
fine = Schedule(cosine_betas(1000))


def pair(conditional, unconditional):
    """One noise function of two: with a label y the first, without one the second."""
    return lambda x_t, t, y=None: (unconditional if y is None else conditional)(x_t, t)


centre, shift, c = torch.zeros(1, 1), 1.0, 0.5
CASES = {  # conditional, unconditional, range of the plot
    "shifted": (
        MixtureNoise(centre + shift, 1.0, fine),
        MixtureNoise(centre, 1.0, fine),
        (-4, 9),
    ),
    "narrower": (
        MixtureNoise(centre, math.sqrt(c), fine),
        MixtureNoise(centre, 1.0, fine),
        (-3, 3),
    ),
    "two of three": (
        MixtureNoise(torch.tensor([[0.0], [1.6]]), 0.4, fine),
        MixtureNoise(torch.tensor([[-1.6], [0.0], [1.6]]), 0.4, fine),
        (-3, 4),
    ),
}
torch.manual_seed(0)
# nobody: any label will do, because the conditional density has one class only
cloud, nobody = torch.randn(4000, 1), torch.zeros(4000, dtype=torch.long)
cloud = (cloud - cloud.mean()) / cloud.std()
for w in (1.0, 3.0):
    moved = last(ddim(guided(pair(*CASES["shifted"][:2]), nobody, w), cloud, fine))
    # the tilted density
    assert abs(moved.mean() - (1 + w) * shift) < 0.01 and abs(moved.var() - 1) < 0.01
    shrunk = (
        last(ddim(guided(pair(*CASES["narrower"][:2]), nobody, w), cloud, fine))
        .var()
        .item()
    )
    assert abs(shrunk / c ** (1 + w) - 1) < 0.02  # not the tilted density
    dice = (
        last(ancestral(guided(pair(*CASES["narrower"][:2]), nobody, w), cloud, fine))
        .var()
        .item()
    )
    third = c / (1 - c) * (1 - c ** (2 * w + 1)) / (2 * w + 1)
    assert abs(dice / third - 1) < 0.1  # a third answer; 4,000 points: 2 % by chance
    print(
        f"w = {w:g}: variance of DDIM {shrunk:.4f} ({c ** (1 + w):.4f}), of DDPM "
        f"{dice:.4f} ({third:.4f}), of the tilted density {c / (1 + w - w * c):.4f}"
    )

# %% [markdown]
# **Try it.** Here are three pairs of densities in one dimension, and guided samples of DDIM and DDPM from the same
# starting points. For which pair do both histograms follow the tilted density? For which do the two samplers differ? In
# the third pair the label means "one of the right two". What happens to the Gaussian in the middle?


# %% tags=["fold"]
# guided samples of each pair, for all weights w at once
TILTS, MANY = torch.arange(5.0), len(cloud) // 2
# every second point of the sorted cloud: mean and variance stay
begin = cloud.sort(0).values[::2].repeat(len(TILTS), 1)
first = torch.zeros(len(begin), dtype=torch.long)
samples = {}  # DDIM and DDPM, each (5, 2000)
torch.manual_seed(0)
for case, (conditional, unconditional, _) in CASES.items():
    eps_fn = guided(
        pair(conditional, unconditional), first, TILTS.repeat_interleave(MANY)
    )
    samples[case] = [
        last(
            ddim(
                eps_fn,
                begin,
                fine,
                200,
                eta=eta,
                noise=lambda _: torch.randn(MANY, 1).repeat(len(TILTS), 1),
            )
        ).view(len(TILTS), MANY)
        for eta in (0.0, 1.0)
    ]


def draw_tilted(case, w):
    conditional, unconditional, (low, high) = CASES[case]
    x, noisy = (drawn[w] for drawn in samples[case])
    line, first = (
        torch.linspace(-8, 16, 2400)[:, None],
        torch.zeros(2400, dtype=torch.long),
    )
    log_conditional, log_unconditional = (
        conditional.log_density(line, first),
        unconditional.log_density(line, first),
    )
    tilted = ((1 + w) * log_conditional - w * log_unconditional).exp()
    tilted = tilted / (0.01 * tilted.sum())
    figure, ax = subplots(height=3.0)
    ax.hist(
        noisy.numpy(),
        bins=100,
        range=(low, high),
        density=True,
        histtype="step",
        color="#CC79A7",
        label="guided DDPM",
    )
    ax.hist(
        x.numpy(),
        bins=100,
        range=(low, high),
        density=True,
        histtype="stepfilled",
        color="#56B4E9",
        label="guided DDIM",
    )
    for density, colour, stroke, name in (
        (log_unconditional.exp(), "#666666", ":", "p(x)"),
        (log_conditional.exp(), "#009E73", "--", "p(x | y)"),
        (tilted, "#D55E00", "-", "tilted: p(x) p(y | x)^(1 + w)"),
    ):
        ax.plot(line[:, 0], density, color=colour, linestyle=stroke, label=name)
    ax.set(xlabel="x", ylabel="density", xlim=(low, high))
    ax.legend()
    mean = 0.01 * (tilted * line[:, 0]).sum().item()
    variance = 0.01 * (tilted * (line[:, 0] - mean).square()).sum().item()
    title = (
        f"{case}, w = {w:g}: mean and variance of DDIM {x.mean():.2f}, {x.var():.3f}; "
        f"DDPM {noisy.mean():.2f}, {noisy.var():.3f}; tilted {mean:.2f}, {variance:.3f}"
    )
    if case == "two of three":
        title += (
            f"\nright of 0.8: DDIM {(x > 0.8).float().mean():.0%}, DDPM "
            f"{(noisy > 0.8).float().mean():.0%}, tilted "
            f"{0.01 * tilted[line[:, 0] > 0.8].sum():.0%}"
        )
    ax.set_title(title, size=10)
    return describe(figure, title)


explore(
    draw_tilted,
    case=Dropdown(options=list(CASES)),
    w=IntSlider(1, min=0, max=int(TILTS[-1])),
)

# %% [markdown]
# The Gaussian in the middle loses points as $w$ grows, because it has a neighbour outside the class. The tilted density
# would keep it. So guidance is a useful direction, but not a recipe for sampling from a distribution.
#
# **Why does it help a network that is not perfect?** This is a separate question. We compare the guided noise of a
# network with the guided noise of exact predictions, at the same $w$. Let the conditional prediction have the error
# $e$. If the unconditional prediction has the *same* error, the error is still there after guidance:
# $(1 + w)\, e - w\, e = e$. Now let the unconditional error be $k$ times as large, in the same direction. The guided
# error is
#
# $$(1 + w)\, e - w\, k\, e = \big( 1 - w (k - 1) \big)\, e .$$
#
# For $k > 1$ and a small $w$ it is smaller than $e$, and too large a $w$ overshoots. For $k < 1$ guidance makes the
# error larger. (The part of the unconditional error that is orthogonal to $e$ is multiplied by $w$. It always adds to
# the squared error.) So the model that one guides *away* from should make the same errors, only larger. Karras et al.
# build such a model on purpose: they guide with a smaller or less trained version of the model, *for the same label*.
# The cell measures $k$ on the toy data of section 5, where the exact noise is known. Is $k$ large enough for guidance
# to reduce the error here?

# %%
torch.manual_seed(0)
x_0, island = points.x, points.y
levels = torch.randint(100, (len(x_0),))
root = schedule.abar[levels].float()[:, None]
x_t = root.sqrt() * x_0 + (1 - root).sqrt() * torch.randn_like(x_0)
y = CLASS_OF[island]
with torch.no_grad():
    e = toy.eps(x_t, levels, y) - exact(x_t, levels, y)
    e_uncond = toy.eps(x_t, levels) - exact(x_t, levels)
k = (e * e_uncond).sum() / e.square().sum()
for w in (0.5, 1.0, 3.0):
    # the noise is linear in both predictions, so its error is, too
    error = guided(toy.eps, y, w)(x_t, levels) - guided(exact, y, w)(x_t, levels)
    torch.testing.assert_close(error, (1 + w) * e - w * e_uncond, atol=1e-4, rtol=1e-3)
print(
    f"k = {k:.2f}; mean squared error: conditional {e.square().mean():.5f}, "
    f"unconditional {e_uncond.square().mean():.5f}; of the guided noise "
    + ", ".join(
        f"{((1 + w) * e - w * e_uncond).square().mean():.5f} (w = {w:g})"
        for w in (0.5, 1.0, 3.0)
    )
)

# %% [markdown]
# ## 7. Fidelity against diversity
#
# Ho and Salimans claim this trade-off, and here we measure it. The shipped models draw 250 pictures for each $w$ and
# for each of three seeds. A seed gives the same noise at every $w$. An *evaluation classifier*, which took no part in
# training or guiding, says how often it recognises what was asked for. Its features give the Frechet distance,
# precision (do the pictures look real?) and recall (does every kind of picture occur?). These three compare the drawn
# pictures with 250 *test* pictures, whose labels the model was asked for. The dotted lines show what 250 real
# *training* pictures reach in the same comparison. They have the same labels, too, because the Frechet distance of so
# few pictures also depends on how many there are of each label.


# %% tags=["fold"]
def sweep_figure():
    figure, axes = subplots(2, 4, height=4.8)
    measures = {
        "accuracy": "accuracy",
        "frechet": "Frechet distance",
        "precision": "precision",
        "recall": "recall",
    }
    for row, (name, setting, real) in enumerate(
        (
            ("digits", "digits, shipped", "real digits, same labels"),
            ("emoji", "emoji, shipped", "real emoji, same labels"),
        )
    ):
        for ax, (measure, text) in zip(axes[row], measures.items()):
            values = in_rows("guidance-weights", setting, measure)
            ax.plot(
                range(len(WEIGHTS)), values.mean(0), "o-", color="#0072B2", markersize=4
            )
            ax.fill_between(
                range(len(WEIGHTS)),
                values.min(0),
                values.max(0),
                color="#0072B2",
                alpha=0.2,
                linewidth=0,
            )
            ax.axhline(
                np.mean(experiments.values("guidance-weights", measure)[real]),
                color="#666666",
                linestyle=":",
            )
            if measure == "accuracy":
                guess = (1 / 10, 1 / 9)[row]
                ax.axhline(guess, color="#666666", linestyle="--", linewidth=1)
            ax.set(
                xlabel="w" if row else "",
                ylabel=name if ax is axes[row, 0] else "",
                title="" if row else text,
            )
            ax.set_xticks(range(len(WEIGHTS)), [f"{w:g}" for w in WEIGHTS], size=8)
            ax.title.set_size(10)
    figure.suptitle(
        "250 pictures for each w, three noises (band); dotted: real training pictures "
        "of the same labels; dashed: a random class",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Accuracy, Frechet distance, precision and recall over w for digits (above) "
        "and emoji with their category (below).",
    )


sweep_figure()

# %% [markdown]
# These are the textbook curves.
#
# *Digits.* The unguided conditional model already draws the right digit nineteen times out of twenty. With $w = 1$ the
# evaluation classifier agrees every time. The price is recall: two thirds of it are lost at $w = 8$. The Frechet
# distance is best without guidance, where it is about that of real pictures of the same labels. It grows with every
# larger $w$. Precision is a little higher at $w = 1$ than without guidance. With large $w$ it falls, too: at $w = 8$
# fewer pictures look like those of real writers.
#
# *Emoji.* The label is one of nine wide categories. The evaluation classifier was trained on the same training emoji as
# the generator. It recognises half of *them*, about as many as it recognises of the unguided drawn emoji. With guidance
# it recognises more. So the guided emoji are *more typical* of their category than real ones. (It recognises 43 % of
# the test emoji.) Recall falls less than for digits. Without guidance the Frechet distance is about twice that of real
# emoji. On average it grows with $w$.
#
# So which $w$ should you choose? This depends on what you need. For a set as varied as the data, choose 0. For one
# picture that should show what you asked for, choose 1 to 3 here. (Large models of photographs draw poorer pictures
# without guidance. For them, published Frechet distances are best a little above 0, and text-to-image models are
# commonly used with a far larger $w$.)
#
# **When to push, and with which sampler?** Guidance need not act at all levels of noise. Kynkäänniemi et al. guide in
# an *interval* of medium levels. Our `in_interval` takes the conditional model outside the interval. The second choice
# is the sampler: fresh noise at each step (DDPM, here 20 steps) gives other pictures than DDIM. The cell shows the
# effect of each choice, for the shipped model of digits and $w = 1$ and $4$.


# %% tags=["fold"]
def choices_figure():
    settings = {
        "DDIM, all levels": ("guidance-weights", "digits, shipped"),
        "only t >= 667": ("guidance-intervals", "much noise"),
        "only 333 <= t < 667": ("guidance-intervals", "medium noise"),
        "only t < 333": ("guidance-intervals", "little noise"),
        "DDPM, all levels": ("guidance-samplers", "ancestral"),
    }
    figure, axes = subplots(1, 3, height=3.0)
    for ax, (measure, text) in zip(
        axes,
        {
            "accuracy": "accuracy",
            "frechet": "Frechet distance",
            "recall": "recall",
        }.items(),
    ):
        for w, colour, mark in ((0.0, "#666666", "v"), *W_STYLES):
            for place, (experiment, setting) in enumerate(settings.values()):
                weights = in_rows(experiment, setting, "w")[0].tolist()
                if w not in weights:
                    continue
                values = in_rows(experiment, setting, measure)[:, weights.index(w)]
                ax.plot(
                    values,
                    [place] * len(values),
                    mark,
                    color=colour,
                    markersize=5,
                    label=f"w = {w:g}" if place == 0 else "",
                )
        ax.set(title=text, xlabel=text)
        ax.set_yticks(range(len(settings)), list(settings) if ax is axes[0] else [])
        ax.set_ylim(len(settings) - 0.5, -0.5)
    axes[0].set_xlabel("accuracy (chance: 0.1)")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    figure.suptitle(
        "Digits: guided at some levels of noise only, and with fresh noise (3 seeds)",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Accuracy, Frechet distance and recall of digits, guided at all or at some "
        "levels of noise, by DDIM and DDPM.",
    )


# %%
W_STYLES = ((1.0, "#0072B2", "o"), (4.0, "#D55E00", "s"))
show(in_interval)
choices_figure()

# %% [markdown]
# *With little noise* ($t < 333$) guidance changes hardly anything, even with $w = 4$. *At medium levels* $w = 4$ raises
# the accuracy and costs about a tenth of recall. *With much noise* ($t \ge 667$) it acts nearly as at all levels: every
# digit is right, and most of the loss of recall happens here. So guidance at medium levels buys most of the accuracy at
# a lower price in diversity. The Frechet distance is still not better than without guidance, because these unguided
# digits are already as near to test digits as training digits are.
#
# *DDPM* obeys as well as DDIM, but at $w = 1$ and $4$ its recall is lower and its Frechet distance larger, with each
# seed. (In section 6 it was DDPM whose samples of the narrower Gaussian varied more. So that example does not predict
# which sampler loses more here.) A value of $w$ is chosen for one sampler.
#
# ## 8. Classifier or none?
#
# We compare at about equal cost: 400 updates of a conditional model with label dropout, against 330 updates of an
# unconditional model and 300 of a noise-aware classifier, which is the downsampling path of the same U-Net. (An update
# of the classifier costs a little more than a third of an update of the model, so this side even gets about a tenth more.)
# In sampling, classifier-free guidance takes two passes of the U-Net per step, or one where $w = 0$. Classifier guidance takes one pass, plus a forward and a backward
# pass of half the U-Net. Here it has scale $1 + w$ on the unconditional model. The cell measures the time of a step of
# each, side by side.

# %%
with torch.no_grad():
    x_t, t, y = (
        torch.randn(100, 1, 28, 28),
        torch.full((100,), 500),
        torch.arange(10).repeat(10),
    )
    kinds = {
        "no guidance": partial(digit_painter.eps, y=y),
        "classifier-free": guided(digit_painter.eps, y, 2.0),
        "by a classifier": classifier_guided(
            digit_painter.eps, noisy_classifier.log_prob, y, 3.0, digit_painter.schedule
        ),
    }
    spent = {name: [] for name in kinds}
    for _ in range({"smoke": 1}.get(BUDGET, 7)):
        for name, eps_fn in kinds.items():
            began = time.perf_counter()
            eps_fn(x_t, t)
            spent[name].append(time.perf_counter() - began)
print(
    ", ".join(
        f"{name}: {np.median(s) / np.median(spent['no guidance']):.1f}"
        for name, s in spent.items()
    ),
    "times a step without guidance",
)


# %% tags=["fold"]
def kinds_figure():
    settings = {
        "classifier-free": ("#0072B2", "o-"),
        "classifier": ("#D55E00", "s--"),
        "classifier of clean pictures": ("#666666", "v:"),
    }
    figure, axes = subplots(1, 4, height=3.1)
    for ax, (measure, text) in zip(
        axes,
        {
            "accuracy": "accuracy",
            "frechet": "Frechet distance",
            "precision": "precision",
            "recall": "recall",
        }.items(),
    ):
        for name, (colour, mark) in settings.items():
            values, weights = (
                in_rows("guidance-kinds", name, measure),
                in_rows("guidance-kinds", name, "w")[0],
            )
            ax.plot(
                range(len(weights)),
                values.mean(0),
                mark,
                color=colour,
                markersize=4,
                linewidth=1.3,
                label=name,
            )
            ax.fill_between(
                range(len(weights)),
                values.min(0),
                values.max(0),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        ax.set(title=text, xlabel="w")
        if measure == "accuracy":
            ax.axhline(0.1, color="#666666", linestyle="--", linewidth=1)
        ax.set_xticks(range(len(weights)), [f"{w:g}" for w in weights], size=8)
        ax.title.set_size(10)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    figure.suptitle(
        "Digits, trained at about equal cost, 250 draws for each w (3 seeds; bands "
        "from least to most; dashed: chance)",
        x=0.01,
        ha="left",
        size=11,
    )
    return describe(
        figure,
        "Accuracy, Frechet distance, precision and recall over w for three kinds of "
        "guidance.",
    )


kinds_figure()

# %% [markdown]
# At this cost the classifier-free model is far ahead, already without guidance, because it learns with labels from the
# start. Guidance improves it further: its Frechet distance is best near $w = 2$ and its recall near $w = 1$. At $w = 8$
# even the accuracy is lower than at $w = 4$. The classifier's push is weaker: its accuracy still rises at $w = 8$. The
# classifier of clean pictures helps least. Its accuracy rises a little, but the distance *grows* with $w$ on average,
# although the sampler follows its gradient. (Dhariwal and Nichol's classifiers are large and trained for long. Their
# best results guide models that get the label as well.) A classifier is still useful if you have a finished
# unconditional model and cannot train it again.
#
# **How often should the label be dropped?** Ho and Salimans found rates of 0.1 and 0.2 equally good, and 0.5 worse. The
# extreme is a rate of 0, where the network was never trained with the null label.


# %% tags=["fold"]
def dropout_figure():
    settings = {
        rate: ("guidance-kinds", "classifier-free")
        if rate == "0.1"
        else ("guidance-dropout", rate)
        for rate in ("0", "0.1", "0.2", "0.5")
    }
    figure, axes = subplots(1, 3, height=3.1)
    for ax, (measure, text) in zip(
        axes,
        {
            "accuracy": "accuracy",
            "frechet": "Frechet distance",
            "recall": "recall",
        }.items(),
    ):
        for w, colour, mark in (
            (0.0, "#666666", "v:"),
            (1.0, "#0072B2", "o-"),
            (4.0, "#D55E00", "s--"),
        ):
            values = np.stack(
                [
                    in_rows(*where, measure)[
                        :, in_rows(*where, "w")[0].tolist().index(w)
                    ]
                    for where in settings.values()
                ],
                1,
            )
            ax.plot(
                range(len(settings)),
                values.mean(0),
                mark,
                color=colour,
                markersize=4,
                label=f"w = {w:g}",
            )
            ax.fill_between(
                range(len(settings)),
                values.min(0),
                values.max(0),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        ax.set(title=text, xlabel="label dropout")
        if measure == "accuracy":
            ax.axhline(0.1, color="#666666", linestyle="--", linewidth=1)
        ax.set_xticks(range(len(settings)), list(settings))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    figure.suptitle(
        "Digits by the rate of label dropout, 400 updates, 3 seeds; dashed: chance",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Accuracy, Frechet distance and recall over the rate of label dropout, for "
        "three weights.",
    )


dropout_figure()

# %% [markdown]
# Rates of 0.1 and 0.2 are about equal at $w = 0$ and $1$. At $w = 4$ the rate of 0.2 has the smaller distance, with
# each seed. At 0.5 the network gets the label in half of the cases only, and after so few updates it follows the label
# less. The surprise is a rate of 0: at $w = 1$ it is about as good as 0.1 and 0.2. Our null label is the zero vector.
# It may lie among the ten trained vectors, so that the network predicts something like the average over digits there,
# although it was never trained to do so. (We did not test this.) The missing dropout shows only at $w = 4$, where the
# distance is on average about twice that of rate 0.2. You should not rely on such luck.
#
# ## 9. Captions
#
# A class is a number. A caption is a row of numbers: one for the style, one for the category, and one for each word of
# the name. Empty places are zero. Here is *red apple* in the style of Noto, as food:

# %%
row = tokens("red apple", "noto", "Food & Drink")
print(row.tolist(), [token_names()[k] for k in row.tolist() if k])
torch.manual_seed(0)
print(
    "shortened, six times:",
    [
        " ".join(token_names()[k] for k in again.tolist() if k)
        for again in shortened(row.expand(6, -1))
    ],
)
show(TextTransformer, after="exercise 6")

# %% [markdown]
# The words attend to one another (attention; notebook 08, section 7). The mean of their vectors is the caption's
# vector, and it takes the place of the digit's row. The vector of the empty caption is zero. So the empty caption is
# the null label, and label dropout uses it. In training each part of a caption is also left out now and then. So the
# model learns what the style alone means, or the category, or *apple*.
#
# The shipped model began with the weights of notebook 14's `ddpm-emoji` (a new input that begins at zero changes
# nothing) and was then trained further with captions. The training set has 1,333 emoji, each in up to three drawings.
# With the style given, most captions mean one picture. The question is what the model draws for captions that were
# *not* in the training set.
#
# **Try it.** Type a caption (in English, with the words of emoji names; unknown words are left out and listed). Choose
# a style and a weight $w$. Ideas: *blue apple*, *red book*, *grinning face*, *japan flag*, *man walking*; *dog*, a word
# of four training names; *zebroid*, which occurs in none. To answer quickly, the widget takes only six steps of DDIM.


# %%
def draw_caption(caption, style, w):
    strange = unknown(caption)
    known = " ".join(
        [word for word in words_of(caption) if word not in strange][:PLACES]
    )
    y = tokens(known, "" if style == "any" else style)
    found = paint(
        emoji_painter,
        guided(emoji_painter.eps, y.expand(4, -1), w),
        (4, 3, 32, 32),
        seed=7,
        steps=6,
    )
    note = f"; not known: {', '.join(strange)}" if strange else ""
    return image_grid(found, columns=4, title=f'"{known}", {style}, w = {w:g}{note}')


explore(
    draw_caption,
    caption=Text("red apple", continuous_update=False),
    style=Dropdown(options=["any", *STYLES]),
    w=FloatSlider(value=2.0, min=0.0, max=8.0, step=0.5, continuous_update=False),
)

# %% [markdown]
# **New combinations, by numbers.** For every tenth emoji, the caption with one style was withheld from training, each
# style in turn. (The training with captions did not use this drawing. But its initial weights had been trained on it,
# without a caption.) The test emoji, never used in training, have names too. We take those of two words or more, all of
# which occur in training names, while no training name consists of exactly these words (*blue book*, *white heart*). A
# longer training name may contain all of them: *ice cream* is new, *soft ice cream* is not. For each such caption (style and name, no category) the model draws one picture. *Found*: is the nearest of all real drawings
# of the group a drawing of this emoji? *Style*: of this emoji's three real drawings, is the nearest one in the
# requested style? ("Nearest" is measured with the features of a classifier.)


# %% tags=["fold"]
def captions_figure():
    rows = experiments.read("guidance-captions")["rows"]
    figure, axes = subplots(1, 2, height=3.0)
    for ax, (measure, text, chance) in zip(
        axes,
        (
            ("found", "the emoji asked for", None),
            ("style", "the style asked for", 1 / 3),
        ),
    ):
        for name, colour, mark in (
            ("shown", "#0072B2", "o-"),  # the setting's name
            ("style withheld", "#009E73", "^-."),
            ("new names", "#D55E00", "s--"),
        ):
            found = [row for row in rows if row["setting"] == name]
            weights, values = (
                found[0]["curve"]["w"],
                np.array([row["curve"][measure] for row in found]),
            )
            ax.plot(
                range(len(weights)),
                values.mean(0),
                mark,
                color=colour,
                label=f"{NAMED.get(name, name)} ({found[0]['rows']})",
            )
            ax.fill_between(
                range(len(weights)),
                values.min(0),
                values.max(0),
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            if chance is None:
                ax.axhline(
                    1 / found[0]["emoji"], color=colour, linestyle=":", linewidth=1
                )
        if chance:
            ax.axhline(chance, color="#666666", linestyle=":", linewidth=1)
        ax.set(xlabel="w", title=text, ylim=(0, 1), ylabel="share of captions")
        ax.set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
    axes[0].legend()
    figure.suptitle(
        "One draw a caption, three noises (band); dotted: chance", x=0.01, ha="left"
    )
    return describe(
        figure,
        "Share of draws nearest to the emoji and to the style asked for, over w, for "
        "three groups of captions.",
    )


NAMED = {"shown": "training captions"}
display(captions_figure())
NAMES = emoji_names()
for which, seed in (("style withheld", 0), ("new names", 1)):
    rows = group(which)
    rows = rows[
        torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:8]
    ]
    y = captions(rows)
    y[:, 1] = 0
    drawn = [
        paint(emoji_painter, guided(emoji_painter.eps, y, w), (8, 3, 32, 32), seed=8)
        for w in (0.0, 2.0)
    ]
    titles = [
        f"{NAMES[e]}, {STYLES[s]}"
        for e, s in zip(rows.info["emoji"].tolist(), rows.info["style"].tolist())
    ]
    display(
        image_grid(
            as_float(rows.x),
            titles,
            columns=8,
            title=(f"{which.capitalize()}: real drawings of held-out captions"),
        )
    )
    display(
        image_grid(
            torch.cat(drawn),
            columns=8,
            title="and what it draws for these captions: w = 0, w = 2",
        )
    )

# %% [markdown]
# What transfers to new captions, and what does not? The *style* transfers. The model follows captions with a withheld
# style about as often as training captions, both well above chance, and new names a little less often. The *emoji* is
# seldom the right one, even for training captions: about one draw in ten is nearest to its own emoji. This is well
# above chance (below one in a hundred). New names reach a similar share, but among half as many emoji. So the new
# combination is not the main difficulty: the model seldom draws the right emoji for training captions either. Try
# single words in the widget: frequent ones (*face*, *flag*, *heart*), and rare ones (*dog* is in four training names,
# *pizza* in one). The network is small, was trained for
# 12,000 updates, and gets a caption as one vector. Large text-to-image models were trained on hundreds of millions of
# captions or more. In most of them each place of the picture attends to each word. Guidance helps where the model knows
# something. It cannot replace missing knowledge.
#
# ## 10. Pitfalls
#
# - **$w$ or $1 + w$.** A paper's 3 may be a library's 4. Write down which convention you use, and test that your "no
#   guidance" is the conditional model.
# - **The difference with the wrong sign.** A weight of 1 then gives the unconditional model, and a larger one pushes
#   away from $y$. With small weights this is hard to see.
# - **One random decision for the whole batch** in label dropout. It works on average, with a noisier gradient, but
#   BatchNorm would see two kinds of batches.
# - **No dropout at all**, but guidance all the same. The null label was never trained, so the network's prediction for
#   it is luck (section 8's figure).
# - **A classifier that was never trained on noise**, or does not get $t$.
# - **A lost gradient.** A sampler runs under `no_grad`, and a detached input has no gradient. Some frameworks then
#   return zeros without a warning.
# - **The mean of $\log p$ over the batch** before the gradient. Then each picture's push is $N$ times too small.
# - **Guiding $x_0$ or $v$ instead of $\epsilon$.** At a given $x_t$ each is an affine function of the other, and the
#   weights $1 + w$ and $-w$ sum to one. So classifier-free guidance is the same for all, but only before the predicted
#   $x_0$ is clipped. A classifier's gradient needs a different factor for each.
# - **Large $w$ without clipping.** The predicted $x_0$ leaves the range of pixels, and colours saturate.
#   `clip_denoised` keeps it inside the range. Imagen's dynamic thresholding clips at a quantile of each picture instead
#   and then rescales. Its authors found better pictures with it at large $w$.
# - **Choosing $w$ by accuracy alone.** Look at recall and at the pictures too.
#
# ## 11. What to try next
#
# **Exercises**: [`exercises/15_guidance.ipynb`](../exercises/15_guidance.ipynb): label dropout, guided noise, a
# classifier's gradient and its effect on $v$, both predictions in one pass of $2N$ rows, a caption as one vector, a
# guided DDIM step, the exact classifier, guidance by two labels at once, the choice of $w$ by a number, and a program
# with faults. Each is checked when you run the cell below it.
#
# Guide only at some levels of noise: `in_interval` of section 7 takes any interval. Can you find one with a smaller
# Frechet distance than $w = 0$? Guide *away* from a digit: `guided` refuses $w$ below $-1$, but you can compute the
# guided noise by hand. Put the caption *car* in the place of the null label, as a "negative prompt". Train `text-ddpm`
# further with `make zoo ARGS="text-ddpm"`.
#
# ## 12. What to read
#
# - Dhariwal, Nichol 2021, *Diffusion Models Beat GANs on Image Synthesis*,
#   [arXiv 2105.05233](https://arxiv.org/abs/2105.05233): classifier guidance.
# - Ho, Salimans 2022, *Classifier-Free Diffusion Guidance*, [arXiv 2207.12598](https://arxiv.org/abs/2207.12598). Sohl-Dickstein et al. 2015, [arXiv 1503.03585](https://arxiv.org/abs/1503.03585), section 2.5: the idea of multiplying by $p(y \mid x)$.
# - Nichol et al. 2021 (GLIDE), [arXiv 2112.10741](https://arxiv.org/abs/2112.10741); Saharia et al. 2022 (Imagen), [arXiv 2205.11487](https://arxiv.org/abs/2205.11487): text, guidance, thresholding. Song et al. 2020, [arXiv 2011.13456](https://arxiv.org/abs/2011.13456): conditional scores by a classifier.
# - Bradley, Nakkiran 2024, *Classifier-Free Guidance is a Predictor-Corrector*,
#   [arXiv 2408.09000](https://arxiv.org/abs/2408.09000); Chidambaram et al. 2024, *What Does Guidance Do?*,
#   [arXiv 2409.13074](https://arxiv.org/abs/2409.13074): which distribution is sampled.
# - Kynkäänniemi et al. 2024, *Applying Guidance in a Limited Interval*, [arXiv 2404.07724](https://arxiv.org/abs/2404.07724); Karras et al. 2024, *Guiding a Diffusion Model with a Bad Version of Itself*, [arXiv 2406.02507](https://arxiv.org/abs/2406.02507).
