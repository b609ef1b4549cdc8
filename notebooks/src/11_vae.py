# %% [markdown]
# # 11. The variational autoencoder
#
# **Where does a picture come from?** Suppose that somebody first draws a few random numbers, and then paints a picture
# that these numbers describe. If digits arose in this way, we could learn the painter, draw new numbers, and get new
# digits. But nobody can observe the numbers. This notebook learns both at once, the painter and a guess of the numbers,
# by one inequality, the **evidence lower bound** (ELBO). In small cases we can compute both sides of it, so we check
# every step.
#
# **You will be able to** derive the ELBO in two ways and say what its gap is; compute it in nats, with all constants;
# say why one reparameterises, with the variances of both gradient estimates measured; choose a likelihood and know what
# the squared error silently assumes; split the gap of one picture into its two parts; recognise posterior collapse
# early; evaluate samples by numbers whose limits you know.
#
# **You need** Gaussian densities, Bayes' rule, expectation; the autoencoder of notebook 01. Notebooks 00 and 03 explain
# how representations are evaluated.
#
# **Lectures** Deck AIA, *Automatic Image Analysis, lecture 13: un- and self-supervised learning*: from *What's
# generative learning?* to *VAE: Reparameterization Trick* and the two slides after it. Deck GT19, *CS 4644/7643,
# lecture 19: diffusion, GANs, pretext tasks, contrastive learning*: *Recall: Variational Autoencoders*, *Connection to
# VAEs*, and the untitled slide with the bound. Deck MLMI17, *Cambridge MLMI17, Advanced Computer Vision: representation
# learning, generative models*: *What is a generative model?*, *Direct approach*, *Indirect approach*.
#
# **Time** reading an hour and a half; computing about two minutes on two cores. Long experiments were run
# beforehand (`make results`); here they are plotted.

# %%
import math

import numpy as np
import torch
from einops import rearrange
from IPython.display import display
from ipywidgets import FloatSlider, IntSlider, SelectionSlider
from torch import nn

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.data import as_float, load
from course_lib.experiments.judge import pictures
from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.experiments import BETAS, DIMENSIONS, FREE, bound
from course_lib.latent.free_bits import FreeBitsVAE, free_bits_rate
from course_lib.latent.interpolation import slerp
from course_lib.latent.likelihoods import (
    Bernoulli,
    Gaussian,
    GaussianPerPixel,
    bernoulli_log_likelihood,
    binarise,
    dequantise,
    gaussian_log_likelihood,
)
from course_lib.latent.recipes import mlp_vae
from course_lib.latent.vae import (
    VAE,
    active_units,
    gaussian_kl,
    importance_weighted_bound,
    reparameterise,
)
from course_lib.notebook import (
    bars_with_spread,
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

# "smoke" shows that the notebook runs, "laptop" and "gpu" that the methods do
BUDGET = budget("11_vae")

# %% [markdown]
# ## 1. What is a generative model?
#
# MLMI17 gives two answers: *an algorithm that generates data*, and *a statistical model of the joint distribution of
# some data*. It also gives two ways to learn such a model. The **direct approach** learns
# $G: \mathcal Z \to \mathcal X$, from noise to pictures (this notebook, 12, 14). The **indirect** approach learns a
# function that scores pictures, $E: \mathcal X \to \mathbb R$, and searches for pictures with a good score (notebook
# 13, planned).
#
# AIA starts from the statistical model: *we want to model the data distribution p(x) directly*. A picture is a vector
# of pixels, so by the chain rule $p(x) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$, pixel by pixel. A network can learn
# each factor as a classification (notebook 10, planned). This is exact, but drawing a picture needs one forward pass
# for each pixel. The other way is **a latent variable**: a few numbers $z$ that explain what the pixels have in common.
#
# *Margin note.* AIA writes the chain rule as $\prod_i p(x_i)\,p(x_i \mid x_1, \dots, x_{i-1})$; the first factor does
# not belong there. And a pixel of 8 bits has 256 values, so *1 out of 255* is one too few.
#
# This is our goal. Nobody drew these digits and emoji: a network painted them from 16 (and 64) random numbers.

# %% tags=["fold"]
train, test = load("digits", "train"), load("digits", "test")
plane, painter, emoji_painter = (
    zoo.load("vae-plane"),
    zoo.load("vae"),
    zoo.load("vae-emoji"),
)
torch.manual_seed(1)
with torch.no_grad():
    drawn = pictures(painter, torch.randn(24, 16))
    drawn_emoji = pictures(emoji_painter, torch.randn(24, 64))
display(
    image_grid(
        drawn,
        columns=12,
        title="Digits that nobody wrote: the decoder's means at 24 draws of the prior",
    )
)
image_grid(drawn_emoji, columns=12, title="Emoji that nobody drew")

# %% [markdown]
# ## 2. A latent variable, and the integral that stands in the way
#
# In symbols: draw $z \sim p(z) = \mathcal N(0, I)$ in $D$ dimensions. A network, the **decoder**, turns it into the
# parameters of a distribution of pictures, $p(x \mid z)$. Then draw $x$ from this distribution. GT19: *assume p(z) is
# known and simple ... conditional p(x given z) is complex => represent with neural network*. To learn by maximum
# likelihood we need
#
# $$p(x) = \int p(x \mid z)\, p(z)\, dz = \mathbb E_{z \sim p(z)}\, p(x \mid z).$$
#
# This is an expectation. So why not draw many $z$ and average? With the shipped model of **two** latent dimensions we
# can do better: we put a grid over the plane and add up the values of $p(x, z)$, times the area of a grid cell. How
# exact is this sum? We compute it again with every second point of each axis only. The full grid is much closer to the
# integral than the coarse one, because the integrand is smooth. So here we know $\log p(x)$ well, and we can see how
# the average of random draws approaches it.

# %%
BATCH, POINTS = (20, 100) if BUDGET == "smoke" else (40, 200)
torch.manual_seed(0)
x = binarise(as_float(test.x[:BATCH]))
ticks = torch.linspace(-4.5, 4.5, POINTS)
# (POINTS^2, 2), y rows, x columns
grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).flatten(0, 1)


@torch.no_grad()
def log_joint(model, x, z):
    """log p(x, z) in nats for each picture and each z: x (N, 1, 28, 28), z (M, D) ->
    (N, M)."""
    logits = model.decode(z).flatten(1)  # (M, 784)
    flat = x.flatten(1)
    # x l - log(1 + e^l), summed
    log_likelihood = flat @ logits.T - nn.functional.softplus(logits).sum(1)
    return (
        log_likelihood - z.square().sum(1) / 2 - z.shape[1] * math.log(2 * math.pi) / 2
    )


cell = (ticks[1] - ticks[0]) ** 2
on_grid = log_joint(plane, x, grid)
log_evidence = on_grid.logsumexp(1) + cell.log()  # (N,) the integral as a sum
every_second = on_grid.view(BATCH, POINTS, POINTS)[:, ::2, ::2].flatten(1)
coarse = every_second.logsumexp(1) + (4 * cell).log()
print(
    f"log p(x) of {BATCH} test digits, by a grid of {POINTS} x {POINTS}: "
    f"{log_evidence.mean():.2f} nats on average;\n"
    "with every second point of each axis, the digits' values change by up to "
    f"{(coarse - log_evidence).abs().max():.2f} nats, "
    f"their average by {(coarse - log_evidence).mean().abs():.4f}"
)

# %%
counts = (
    [1, 10, 100, 1000, 10_000]
    if BUDGET == "smoke"
    else [1, 10, 100, 1000, 10_000, 50_000]
)


@torch.no_grad()
def by_prior_draws(model, x, dim, counts):
    """log of the mean of p(x given z) over n draws of the prior, for each n of counts:
    (counts, N)."""
    z = torch.randn(counts[-1], dim)
    parts = torch.cat(
        [
            log_joint(model, x, part)
            + part.square().sum(1) / 2
            + dim * math.log(2 * math.pi) / 2
            for part in z.split(2000)
        ],
        1,
    )
    return torch.stack([parts[:, :n].logsumexp(1) - math.log(n) for n in counts])


naive = by_prior_draws(plane, x, 2, counts).mean(1)
missed = log_evidence.mean() - naive
figure = curve(
    counts,
    {
        "mean over draws of the prior": naive,
        "the grid's answer": log_evidence.mean().expand(len(counts)),
    },
    title="log p(x) with two latent dimensions, mean over test digits\n"
    f"{counts[3]:,} draws miss {missed[3]:.2f} nats, {counts[4]:,} draws "
    f"{missed[4]:.2f} nats",
    xlabel="draws of z",
    ylabel="nats",
)
figure.axes[0].set_xscale("log")
figure

# %% [markdown]
# Even with two dimensions we need many thousands of draws to come within a few tenths of a nat. (On average the
# estimate is too low, because the logarithm is concave: section 3.) The integrand shows why so many are needed: only a
# very small part of the plane explains *this* picture. (Each window shows a 2 x 2 part of the plane.)


# %% tags=["fold"]
def show_posterior(ax, i):
    """The true posterior p(z given x_i), on the grid, and the encoder's Gaussian: its
    ellipses of one and two sigma."""
    density = (on_grid[i] - log_evidence[i]).exp().view(POINTS, POINTS)
    ax.imshow(density, origin="lower", extent=(-4.5, 4.5, -4.5, 4.5), cmap="cividis")
    with torch.no_grad():
        mean, log_variance = plane.posterior(x[i : i + 1])
    circle = torch.linspace(0, 2 * math.pi, 60)
    for r in (1, 2):
        around = mean + r * (log_variance / 2).exp() * torch.stack(
            [circle.cos(), circle.sin()], 1
        )
        ax.plot(*around.T, color="#D55E00", linewidth=1)
    (left, low), side = mean[0] - 1, 2  # a window of 2 by 2 sigma of the prior
    ax.set(
        xlim=(left, left + side),
        ylim=(low, low + side),
        xlabel="$z_1$",
        ylabel="$z_2$",
        title=f"a {int(test.y[i])}",
    )
    ax.grid(False)


figure, axes = subplots(1, 4, height=2.6)
for ax, i in zip(axes, (0, 3, 8, 14)):
    show_posterior(ax, i)
figure.suptitle(
    "True posterior of four test digits (bright); the encoder's guess q (orange, one "
    "and two sigma)",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Four windows of the latent plane. The true posterior of each digit is a small "
    "bright spot, round or long; orange ellipses of q lie on it, and for the 5 far "
    "beside it.",
)

# %% [markdown]
# In 16 dimensions a grid of 200 points a side has $200^{16}$ cells. The share of the prior that explains a picture is
# so small that ten thousand draws do not find it (section 10). The **posterior** $p(z \mid x) = p(x \mid z)\,p(z) /
# p(x)$ would tell us where to look, but its denominator is the same integral. This is what *intractable* means. GT19:
# *we need an approximate posterior q(z|x) to tell us which z corresponds to which x*. The orange ellipses are such an
# approximate posterior, in short a *guess*, made by a second network. This **encoder** (AIA: *recognition model*) reads
# $x$ and returns a mean and a variance for each latent dimension:
#
# $$q(z \mid x) = \mathcal N\big(z;\ \mu(x),\ \operatorname{diag} \sigma^2(x)\big).$$
#
# *Margin note.* AIA writes $\mathcal N(\mu, \sigma)$; the second parameter of a Gaussian is its variance $\sigma^2$
# here and in most of the literature.
#
# ## 3. The ELBO, twice
#
# Write $p(x)$ with the guess inside the integral:
# $p(x) = \int q(z \mid x)\, \frac{p(x, z)}{q(z \mid x)}\, dz = \mathbb E_q\!\left[\frac{p(x, z)}{q(z \mid x)}\right]$.
#
# **By Jensen.** The logarithm is concave, so $\log \mathbb E[w] \ge \mathbb E[\log w]$:
#
# $$\log p(x) \ \ge\ \mathbb E_q\Big[\log \frac{p(x, z)}{q(z \mid x)}\Big] =: \mathrm{ELBO}(x).$$
#
# This takes one line, but it does not say how much is lost.
#
# **By the identity.** Bayes' rule says $p(x) = p(x, z) / p(z \mid x)$ for *every* $z$. Take logarithms, insert $q$, and
# average over $z \sim q$ (the left side does not depend on $z$):
#
# $$\begin{aligned}
# \log p(x) &= \mathbb E_q\Big[\log \frac{p(x, z)}{q(z \mid x)}\Big] + \mathbb E_q\Big[\log \frac{q(z \mid x)}{p(z
# \mid x)}\Big] \\
# &= \mathrm{ELBO}(x) + \mathrm{KL}\big(q(z \mid x)\,\|\,p(z \mid x)\big).
# \end{aligned}$$
#
# So Jensen's step loses exactly a KL divergence. It is at least 0 (notebook 03; by Jensen again) and is 0 only for $q =
# p(z \mid x)$. To raise the ELBO means to raise $\log p(x)$, or to make the guess better, or both. GT19 has this
# identity on a slide without a title, which begins *p(x) = ... Intractable to estimate!* Splitting $p(x, z) = p(x \mid
# z)\,p(z)$ gives the form that AIA maximises,
#
# $$\mathrm{ELBO}(x) = \underbrace{\mathbb E_{q}\, \log p(x \mid z)}_{-\text{distortion}} \;-\; \underbrace{\mathrm{KL}\big(q(z \mid x)\,\|\,p(z)\big)}_{\text{rate}} .$$
#
# The names come from data compression. The *rate* is the cost of the code. The *distortion* is the cost of the picture
# when the code is known (section 11). Do not confuse the two divergences. The *rate* compares the guess with the
# **prior** and is a term of the bound. The *gap* compares the guess with the **posterior** and is what the bound
# misses.
#
# *Margin note.* AIA calls the KL divergence *a similarity measurement*. But it is larger when two distributions are
# *less* similar, and it is not symmetric.
#
# **Every term by quadrature.** Take one latent dimension and one pixel: $z \sim \mathcal N(0, 1)$ and
# $x \mid z \sim \mathcal N(z^2, 0.4^2)$. The decoder ignores the sign of $z$. So a picture $x = 1$ may come from
# $z = 1$ or from $z = -1$. The posterior has two peaks, which a Gaussian $q$ cannot have.

# %%
Z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
NOISE = 0.4


def log_normal(value, mean, sigma):
    return (
        -((value - mean) / sigma).square() / 2
        - math.log(sigma)
        - math.log(2 * math.pi) / 2
    )


def terms_by_quadrature(x, m, s):
    """log p(x), ELBO, gap, rate and E_q log p(x given z) for q = N(m, s^2), each an
    integral over the line."""
    x = torch.tensor(x, dtype=torch.float64)
    log_p_xz = log_normal(x, Z.square(), NOISE) + log_normal(Z, 0.0, 1.0)
    log_q = log_normal(Z, m, s)
    q = log_q.exp()
    log_p_x = torch.trapezoid(log_p_xz.exp(), Z).log()
    elbo = torch.trapezoid(q * (log_p_xz - log_q), Z)
    gap = torch.trapezoid(q * (log_q - (log_p_xz - log_p_x)), Z)
    rate = torch.trapezoid(q * (log_q - log_normal(Z, 0.0, 1.0)), Z)
    fit = torch.trapezoid(q * log_normal(x, Z.square(), NOISE), Z)
    return log_p_x, elbo, gap, rate, fit


for x1, m, s in ((1.0, 0.0, 1.0), (1.0, 0.9, 0.2), (-0.3, 0.1, 0.4), (2.0, -1.5, 0.1)):
    log_p_x, elbo, gap, rate, fit = terms_by_quadrature(x1, m, s)
    # log p(x) = ELBO + KL(q || posterior)
    assert abs(log_p_x - (elbo + gap)) < 1e-6 and gap >= 0
    assert abs(elbo - (fit - rate)) < 1e-6  # ELBO = E log p(x given z) - KL(q || prior)
    # E_q (x - z^2)^2, by a Gaussian's moments
    squares = x1**2 - 2 * x1 * (m**2 + s**2) + m**4 + 6 * m**2 * s**2 + 3 * s**4
    exact = -squares / (2 * NOISE**2) - math.log(NOISE) - math.log(2 * math.pi) / 2
    by_formula = gaussian_kl(
        torch.tensor([[m]]).double(), torch.tensor([[2 * math.log(s)]]).double()
    )
    # and the quadrature is right, too
    assert abs(fit - exact) < 1e-6 and abs(rate - by_formula) < 1e-6

# %%
# the gap for x = 1 of many q: around one peak, and centred between the two
GAPS = {
    "on one peak": [(m, s) for m in (0.85, 0.87, 0.89) for s in (0.21, 0.23, 0.25)],
    "broad, around 0": [(0.0, 0.56 + 0.01 * k) for k in range(12)],
}
for name, tried in GAPS.items():
    gaps = {(m, s): float(terms_by_quadrature(1.0, m, s)[2]) for m, s in tried}
    m, s = min(gaps, key=gaps.get)
    print(f"the best q {name}: N({m:.2f}, {s:.2f}^2), gap {gaps[m, s]:.3f} nats")

# %% [markdown]
# **Try it.** Move $q$ by hand. The dark bar, $\log p(x)$, does not move: when the ELBO rises, the gap falls by the same
# amount. Begin with $x = 1$. Put $q$ on one peak, then between the two, then make it wide enough for both. Which $q$
# has the best ELBO? Then take $x = -0.3$, which no $z$ explains well. There the posterior has only one peak, and a
# Gaussian closes the gap almost completely.


# %% tags=["fold"]
def draw_parts(x, m, s):
    log_p_x, elbo, gap, rate, fit = (
        float(value) for value in terms_by_quadrature(x, m, s)
    )
    figure, (left, right) = subplots(1, 2, height=3.3)
    middle = (Z > -3.5) & (Z < 3.5)
    posterior = (
        log_normal(torch.tensor(x).double(), Z.square(), NOISE)
        + log_normal(Z, 0.0, 1.0)
        - log_p_x
    ).exp()
    left.plot(
        Z[middle],
        log_normal(Z, 0.0, 1.0).exp()[middle],
        ":",
        color="#000000",
        label="prior p(z)",
    )
    left.plot(
        Z[middle],
        posterior[middle],
        "-",
        color="#0072B2",
        label="posterior p(z given x)",
    )
    left.plot(
        Z[middle],
        log_normal(Z, m, s).exp()[middle],
        "--",
        color="#D55E00",
        label="guess q(z given x)",
    )
    left.set(xlabel="z", ylabel="density", ylim=(0, 2.6))
    left.legend()
    names = ["log p(x)", "ELBO", "E log p(x|z)", "-rate", "gap"]
    values = [log_p_x, elbo, fit, 0.0 - rate, gap]
    right.barh(
        names, values, color=["#000000", "#0072B2", "#56B4E9", "#E69F00", "#D55E00"]
    )
    for y, value in enumerate(values):
        right.annotate(
            f"{value:.2f}",
            (max(value, 0), y),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    right.set(
        xlabel="nats", xlim=(min(-6, 1.1 * min(values)), max(6, 1.2 * max(values)))
    )
    right.invert_yaxis()
    title = f"log p(x) {log_p_x:.3f} = ELBO {elbo:.3f} + gap {gap:.3f}"
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title + f"; ELBO = {fit:.3f} - {rate:.3f}")


explore(
    draw_parts,
    x=FloatSlider(1.0, min=-1.0, max=4.0, step=0.1),
    m=FloatSlider(0.0, min=-2.5, max=2.5, step=0.05),
    s=FloatSlider(1.0, min=0.05, max=2.0, step=0.05),
)

# %% [markdown]
# On one peak the gap is at best 0.75. Of this, $\log 2 = 0.69$ comes from the half of the posterior that is missed, and
# the rest from the shape of the peak, which is not quite a Gaussian. The best broad $q$ has a gap of 1.02. So the best
# Gaussian covers one peak and misses the other. It does not cover the valley between them, because $\mathrm{KL}(q \|
# p)$ is large if $q$ has mass where $p$ is nearly 0. Such a VAE is *sure* of $z = 1$, although the truth is *one or
# minus one*.
#
# ## 4. The rate in closed form
#
# For $q = \mathcal N(\mu, \operatorname{diag} \sigma^2)$ and the standard normal prior the KL needs no sampling. The
# dimensions are independent, so the KL is a sum over them. For one dimension
#
# $$\begin{aligned}
# \mathbb E_q \log q &= -\tfrac12 \log 2\pi - \tfrac12 \log \sigma^2 - \tfrac12, \\
# \mathbb E_q \log p &= -\tfrac12 \log 2\pi - \tfrac12\, \mathbb E_q z^2 = -\tfrac12 \log 2\pi - \tfrac12 (\mu^2 +
# \sigma^2),
# \end{aligned}$$
#
# where the first holds because $\mathbb E_q (z - \mu)^2 / \sigma^2 = 1$. The difference is
#
# $$\mathrm{KL} = \tfrac12 \sum_{j=1}^{D} \big( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \big).$$
#
# It is 0 only at $\mu = 0$, $\sigma = 1$ (since $\log t \le t - 1$). It is a sum, in nats. A mean over $j$ is a common
# mistake, which would make the rate $D$ times too small.


# %%
def kl_by_draws(mean, log_variance, draws=200_000):
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    z = q.sample((draws,))
    return (
        (q.log_prob(z) - torch.distributions.Normal(0, 1).log_prob(z)).sum(-1).mean(0)
    )


torch.manual_seed(0)
mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
torch.testing.assert_close(
    gaussian_kl(mean, log_variance),
    kl_by_draws(mean, log_variance),
    rtol=0.02,
    atol=0.02,
)
show(gaussian_kl, after="exercise 9")

# %% [markdown]
# ## 5. A gradient through a random draw
#
# The other term, $\mathbb E_{z \sim q} f(z)$ with $f(z) = \log p(x \mid z)$, has no closed form. Estimating it is easy:
# draw one $z$. But the encoder's parameters are in the *distribution* from which we draw. AIA: *we cannot backpropagate
# through z ~ N*. There are two solutions.
#
# **Score function** (REINFORCE). Since $\nabla q = q\, \nabla \log q$,
#
# $$\nabla_\mu \int q(z) f(z)\, dz = \mathbb E_q\big[f(z)\, \nabla_\mu \log q(z)\big] = \mathbb E_q\Big[f(z)\, \frac{z - \mu}{\sigma^2}\Big].$$
#
# It needs only *values* of $f$. **Reparameterisation.** Draw $\epsilon \sim \mathcal N(0, I)$, which has no parameters,
# and set $z = \mu + \sigma \epsilon$. Now the expectation is over $\epsilon$, so we can take the derivative inside it:
#
# $$\nabla_\mu \mathbb E_\epsilon f(\mu + \sigma\epsilon) = \mathbb E_\epsilon\, f'(z), \qquad \nabla_\sigma \mathbb E_\epsilon f(\mu + \sigma\epsilon) = \mathbb E_\epsilon\, f'(z)\,\epsilon .$$
#
# It uses the *slope* of $f$. Both estimates are unbiased, but their variances differ. We take a case with a known
# answer, $f(z) = -\frac12 \lVert z - a \rVert^2$ in $D$ dimensions (so $\nabla_\mu \mathbb E f = a - \mu$). Here the
# variance of the slope does not depend on $D$ at all. But $f$ is a sum over all dimensions, and its square grows as
# $D^2$:


# %%
def gradient_draws(dim, draws=20_000):
    """Single-draw estimates of d E f / d mu_1, which is 1 here, (draws,) each: score
    function, reparameterisation."""
    mu, sigma, a = torch.zeros(dim), 1.0, torch.ones(dim)
    z = mu + sigma * torch.randn(draws, dim)
    f = -(z - a).square().sum(1) / 2
    return f * (z[:, 0] - mu[0]) / sigma**2, -(z[:, 0] - a[0])


torch.manual_seed(0)
sizes = [1, 2, 5, 10, 20, 50, 100]
both = [gradient_draws(dim) for dim in sizes]
for score, slope in both[:3]:
    # unbiased, both
    assert (
        abs(score.mean() - 1) < 5 * score.std() / math.sqrt(len(score))
        and abs(slope.mean() - 1) < 0.05
    )
figure = curve(
    sizes,
    {
        "score function": torch.stack([score.var() for score, _ in both]),
        "reparameterisation": torch.stack([slope.var() for _, slope in both]),
    },
    title="Variance of one draw's gradient; the true gradient is 1",
    xlabel="latent dimensions D",
    ylabel="variance",
)
figure.axes[0].set(xscale="log", yscale="log")
figure

# %% [markdown]
# At $D = 100$ the score function needs about ten thousand times as many draws for the same precision. (Subtracting the
# baseline $\mathbb E f$ from $f$ leaves the estimate unbiased and helps a lot: the variance here becomes $1.5\,D + 3$
# instead of about $D^2$. It still grows with $D$, but the variance of the slope does not.) Reparameterisation needs a
# differentiable $f$ and a continuous $z$. Words or codes of a codebook are not continuous. For them one needs the score
# function, or tricks such as straight-through estimators. In the library, reparameterisation is one line. *Margin
# note:* the noise multiplies $\sigma = e^{\frac12 \log \sigma^2}$. Networks predict $\log\sigma^2$ because it may be
# any real number. A common mistake is to forget the factor one half.

# %%
show(reparameterise, after="exercise 5")

# %% [markdown]
# ## 6. What is a pixel? The likelihood
#
# AIA: *minimize MSE to maximize E log p(x|z)*. This is true for one particular likelihood. Let us write down which one.
# The decoder's outputs $o = o(z)$ are parameters of a distribution of pixels. The pixels are independent *given z*
# (everything that they have in common has to go through $z$).
#
# **Bernoulli**, for pixels that are 0 or 1, with $o$ the logits, $\sigma(\cdot)$ the logistic function:
# $\ \log p(x \mid z) = \sum_i x_i \log \sigma(o_i) + (1 - x_i) \log(1 - \sigma(o_i))$. Our digits are grey, so they are
# *binarised*: each pixel is drawn as 1 with its grey value as probability, anew each time. (For a grey value
# $x_i = 0.5$ the formula still gives a number, but this number is not the probability of anything.)
#
# **Gaussian**, $p(x \mid z) = \prod_i \mathcal N(x_i; o_i, s^2)$ with one $s$ for all $d$ pixels:
#
# $$-\log p(x \mid z) = \frac{\lVert x - o \rVert^2}{2 s^2} + d \log s + \frac d2 \log 2\pi .$$
#
# For a fixed $s$ this is the squared error, up to a constant and a **weight** $1 / 2 s^2$. The weight decides how much
# the error counts compared with the rate. So a loss *sum of squares + KL* assumes $s^2 = \frac12$, which means that
# pixels between 0 and 1 have noise of standard deviation 0.71. And *mean* of squares + KL assumes $s^2 = d / 2$, which
# for our emoji is a standard deviation of 39. Then a code costs more than it saves, and it collapses (sections 12 and
# 13).
#
# It is better to make $s$ a parameter. Which $s$ is best? Let $S = \lVert x - o \rVert^2$ be the sum of the squared
# errors of all $d$ pixels. The derivative of the loss with respect to $s$ is
#
# $$\frac{\partial}{\partial s}\Big[\frac{S}{2 s^2} + d \log s\Big] = -\frac{S}{s^3} + \frac ds = 0
# \quad\Longleftrightarrow\quad s^2 = \frac Sd .$$
#
# So at the optimum $s^2$ is the mean squared error. For a smaller $s$ the derivative is negative, for a larger one
# positive, so this is the minimum. There the loss is $\frac d2 \log \frac Sd + \frac d2 (1 + \log 2\pi)$. (For many
# pictures with one common $s$, take the mean squared error over all of them.)

# %%
d, squared_error = 3072, 25.0
for name, s, loss in (
    ("sum", math.sqrt(1 / 2), squared_error),
    ("mean", math.sqrt(d / 2), squared_error / d),
):
    x1, o = torch.zeros(1, d), torch.full((1, d), math.sqrt(squared_error / d))
    likelihood = gaussian_log_likelihood(o, x1, torch.tensor(math.log(s)))
    constant = d * math.log(s) + d / 2 * math.log(2 * math.pi)
    # that loss is that sigma
    torch.testing.assert_close(-likelihood, torch.tensor([loss + constant]))
# the best sigma, found by trying many
tried = torch.linspace(0.01, 1.0, 2000)
losses = torch.stack([-gaussian_log_likelihood(o, x1, s.log()) for s in tried])
best = tried[losses.argmin()]
assert abs(best**2 - squared_error / d) < 1e-3
print(
    f"best of many sigmas: {best:.4f}; root mean squared error "
    f"{math.sqrt(squared_error / d):.4f}"
)
logits, pixels = torch.randn(4, 784), binarise(torch.rand(4, 784))
by_hand = torch.where(pixels == 1, logits.sigmoid(), 1 - logits.sigmoid()).log().sum(1)
torch.testing.assert_close(bernoulli_log_likelihood(logits, pixels), by_hand)
show(Bernoulli)
show(Gaussian)

# %% [markdown]
# A Gaussian is a density of real numbers, but our pictures are whole numbers from 0 to 255. On a pixel that is always
# white a density may grow without limit. So each grey value is spread over an interval: $y = (255 x + u) / 256$ with
# uniform $u$ (`dequantise`).
#
# An interval has the length $1/256$. So a picture of $d$ pixels has a *cell* of its own in $[0, 1]^d$, a small cube of
# volume $256^{-d}$. The probability of the 8-bit picture is the integral of the density over its cell, which is the
# volume times the mean density in the cell:
#
# $$P(x) = \int_{\text{cell of } x} p(y)\, dy = 256^{-d}\ \mathbb E_u\, p(y).$$
#
# By Jensen, $\mathbb E_u \log p(y) - d \log 256 \le \log P(x)$. So the mean log-density minus $d \log 256$ is a lower
# bound. With its sign changed and divided by $d \ln 2$, it is in **bits per dimension**, the unit in which generative
# models are compared. The uniform density needs 8.

# %%
show(dequantise)

# %% [markdown]
# ## 7. The VAE
#
# A VAE is an encoder, a draw, a decoder and two loss terms. This takes a few lines:


# %%
def negative_elbo_by_hand(encoder, decoder, x, eps):
    mean, log_variance = encoder(x).chunk(2, dim=1)  # (N, D) each
    z = mean + torch.exp(log_variance / 2) * eps
    p = torch.sigmoid(decoder(z))
    log_likelihood = (x * torch.log(p) + (1 - x) * torch.log(1 - p)).flatten(1).sum(1)
    kl = -0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum(1)
    return (kl - log_likelihood).mean()


torch.manual_seed(0)
vae = recipes.build(recipes.lookup("vae-plane"), seed=0)
x, eps = binarise(as_float(train.x[:64])), torch.randn(64, 2)
log_likelihood, kl = vae.terms(x, eps=eps)
torch.testing.assert_close(
    (kl - log_likelihood).mean(),
    negative_elbo_by_hand(vae.encoder, vae.decoder, x, eps),
)
show(VAE, after="exercises 5 and 6")

# %% [markdown]
# Now train one. This is nearly Kingma and Welling's experiment: perceptrons, digits, a plane. (Our networks have two
# hidden layers, theirs have one.) The right curve is the test ELBO with its sign changed. It is the number of nats
# needed to send a binarised digit (section 11).

# %%
STEPS = updates(smoke=40, laptop=1500, gpu=1500)
recipe = recipes.lookup("vae-plane")
vae = recipes.build(recipe, seed=0)


def test_loss():
    device = next(vae.parameters()).device
    x = binarise(as_float(test.x[:500])).to(device)
    vae.eval()
    with torch.no_grad():
        log_likelihood, kl = vae.terms(x)
    vae.train()
    return (kl - log_likelihood).mean()


for step in live(
    recipes.train(recipe, vae, train, seed=0, steps=STEPS),
    measure=test_loss,
    measured="test -ELBO, nats",
):
    pass
vae = vae.eval().to("cpu")

# %% [markdown]
# ## 8. A walk through the plane
#
# AIA: *a grid in the latent space leads to consistent generations in pixel space*. Kingma and Welling's figure 4 takes
# the points of the grid at equal steps of *probability*, so there are more pictures where the prior has more mass. Here
# it is for the shipped weights:

# %% tags=["fold"]
SIDE = 15
quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(SIDE) + 0.5) / SIDE)
corners = torch.stack(
    torch.meshgrid(quantiles, quantiles.flip(0), indexing="xy"), -1
).flatten(0, 1)
with torch.no_grad():
    tiles = rearrange(
        pictures(plane, corners), "(row column) 1 h w -> (row h) (column w)", row=SIDE
    )
    means = plane.encode(as_float(test.x))
figure, (left, right) = subplots(1, 2, height=4.2)
left.imshow(1 - tiles, cmap="gray", vmin=0, vmax=1)
left.set(
    title="the decoder's means over the plane",
    xlabel="$z_1$, in steps of probability",
    ylabel="$z_2$",
    xticks=[],
    yticks=[],
)
left.grid(False)
for digit in range(10):
    spot = means[test.y == digit]
    right.scatter(*spot.T, s=4, alpha=0.5, color=f"C{digit % 9}")
    right.annotate(
        str(digit),
        spot.median(0).values.tolist(),
        weight="bold",
        ha="center",
        va="center",
        size=13,
        bbox=dict(
            boxstyle="circle,pad=0.15", facecolor="white", edgecolor=f"C{digit % 9}"
        ),
    )
right.set(
    title="where the encoder puts test digits",
    xlabel="$z_1$",
    ylabel="$z_2$",
    xlim=(-3.6, 3.6),
    ylim=(-3.6, 3.6),
)
figure.suptitle(
    "Two numbers for each digit; the model was trained without labels",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Left: a 15 by 15 grid of drawn digits that change smoothly into each other. "
    "Right: test digits' latent means, digits of a kind together.",
)

# %% [markdown]
# **Try it.** Walk with two sliders, in standard deviations of the prior. On the right is the training digit that is
# nearest in the plane. Does the decoder copy it? Go to a border between two kinds of digit. Then go far out, where the
# prior has hardly any mass and the decoder was hardly trained.

# %% tags=["fold"]
with torch.no_grad():
    train_mean, train_log_variance = plane.posterior(as_float(train.x))


def draw_walk(z1, z2):
    z = torch.tensor([[z1, z2]])
    with torch.no_grad():
        painted = pictures(plane, z)[0, 0]
    nearest = int((train_mean - z).square().sum(1).argmin())
    figure, axes = subplots(1, 3, height=2.9)
    axes[0].scatter(*means[::2].T, s=3, color="#666666", alpha=0.4)
    axes[0].plot(z1, z2, "o", markersize=11, color="#D55E00", markeredgecolor="white")
    axes[0].set(
        xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), xlabel="$z_1$", ylabel="$z_2$", title="here"
    )
    axes[1].imshow(1 - painted, cmap="gray", vmin=0, vmax=1)
    axes[1].set(title="the decoder's mean", xticks=[], yticks=[])
    axes[2].imshow(255 - train.x[nearest, 0], cmap="gray", vmin=0, vmax=255)
    axes[2].set(title="nearest training digit", xticks=[], yticks=[])
    for ax in axes[1:]:
        ax.grid(False)
    title = (
        f"z = ({z1:.2f}, {z2:.2f}); the nearest training digit is a "
        f"{int(train.y[nearest])}"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_walk,
    z1=FloatSlider(0.0, min=-3.5, max=3.5, step=0.1, description="z_1"),
    z2=FloatSlider(0.0, min=-3.5, max=3.5, step=0.1, description="z_2"),
)

# %% [markdown]
# ## 9. Why the means are blurry
#
# The reason is not the squared error, because our digits have a Bernoulli likelihood and are blurry too. Keep the
# encoder fixed and ask which decoder is best at one point $z$. The loss there is an average over the training pictures.
# Each picture has the weight $q(z \mid x_n)$, the density of its posterior at that point. For a Gaussian as for a
# Bernoulli the best mean is the weighted average of the pictures:
#
# $$m^*(z) = \frac{\sum_n q(z \mid x_n)\, x_n}{\sum_n q(z \mid x_n)} = \mathbb E_q[x \mid z],$$
#
# where $m$ is the mean of $p(x \mid z)$, which is $o$ for a Gaussian and $\sigma(o)$ for a Bernoulli. To prove the
# formula, set the derivative with respect to $m$ to 0. (The expectation is over two draws: a training picture, then its
# code.) **All pictures whose posteriors overlap at z are averaged**, and an average of sharp pictures is blurred. It is
# the same conditional mean as in the inpainting of notebook 01. We can compute it without any decoder, from the encoder
# and 12,000 training digits:


# %%
@torch.no_grad()
def average_of_training_digits(z):
    """E[x given z] under the encoder's posteriors: z (M, 2) -> pictures (M, 1, 28, 28),
    and the effective number of digits in each, 1 / sum of squared weights, (M,)."""
    # (M, N)
    log_q = (
        -(
            (z[:, None] - train_mean).square() / train_log_variance.exp()
            + train_log_variance
        ).sum(2)
        / 2
    )
    weight = log_q.softmax(1)
    return (weight @ as_float(train.x).flatten(1)).view(
        -1, 1, 28, 28
    ), 1 / weight.square().sum(1)


torch.manual_seed(3)
z = torch.randn(10, 2)
averages, effective = average_of_training_digits(z)
with torch.no_grad():
    painted = pictures(plane, z)
error = (painted - averages).square().mean().sqrt()
image_grid(
    torch.cat([painted, averages]),
    [*[""] * 10, *[f"of {int(n)}" for n in effective]],
    columns=10,
    title="Above: decoder's means. Below: weighted averages of training digits\n"
    "(their effective number). "
    f"Root mean squared difference of the two rows: {error:.2f}",
)

# %% [markdown]
# The two rows are much the same. So the decoder's mean, which one usually shows of a VAE, is an average. A true *draw*
# from $p(x \mid z)$ would add independent noise to each pixel, which looks worse. The means become sharper if the
# posteriors overlap less. For this the code must tell more about the picture: more latent dimensions, or a smaller $s$
# (a higher rate). A likelihood whose pixels depend on each other given $z$ does something else. Its mean at $z$ is
# still the average $\mathbb E_q[x \mid z]$, if it is learnt well. But its *draws* can be sharp, because each draw is
# one picture and not an average. Another way to sharp draws is to replace the likelihood by a discriminator (notebook
# 12).
#
# ## 10. How tight is the bound?
#
# The figure shows the test $-$ELBO of digits while three models learn, three seeds each: two dimensions, 16 dimensions,
# and 16 with convolutions.


# %% tags=["fold"]
def curves(name, setting, measure):
    rows = [
        row["curve"]
        for row in experiments.read(name)["rows"]
        if row["setting"] == setting
    ]
    return rows[0]["update"], -torch.tensor([row[measure] for row in rows])


SHOWN = ["perceptron, 2", "perceptron, 16", "convolutions, 16"]
figure, ax = subplots(height=3.4)
for i, name in enumerate(SHOWN):
    measured_at, values = curves("vae-training", name, "elbo")
    _, on_train = curves("vae-training", name, "elbo_train")
    ax.plot(
        measured_at[1:],
        values.mean(0)[1:],
        "os^"[i] + "-",
        color=f"C{i}",
        label=f"{name}: test",
    )
    ax.plot(
        measured_at[1:],
        on_train.mean(0)[1:],
        ":",
        color=f"C{i}",
        label=f"{name}: training digits",
    )
    ax.fill_between(
        measured_at[1:],
        values.amin(0)[1:],
        values.amax(0)[1:],
        color=f"C{i}",
        alpha=0.25,
        linewidth=0,
    )
ax.set(
    xlabel="update",
    ylabel="-ELBO, nats per digit",
    title="-ELBO of digits; mean and range of 3 seeds",
)
figure.legend(loc="outside right upper")
describe(
    figure,
    "Falling curves of the negative ELBO for three models, on test and on training "
    "digits",
)

# %% tags=["fold"]
by_setting = {
    name: experiments.values("vae-training", name) for name in ("elbo_few", "log_p_few")
}
bars_with_spread(
    {
        f"{setting}: {title}": [-value for value in by_setting[measure][setting]]
        for setting in SHOWN
        for measure, title in (
            ("elbo_few", "-ELBO"),
            ("log_p_few", "-bound of 100 draws"),
        )
    },
    xlabel="nats per digit, lower is better",
    title="-ELBO and a tighter bound, 500 digits, 3 seeds",
)

# %% [markdown]
# **A tighter bound.** Take $K$ draws from $q$, with weights $w_k = p(x, z_k) / q(z_k \mid x)$. The weights are
# unbiased, $\mathbb E\, w_k = p(x)$, so Jensen gives (Burda et al. 2015)
#
# $$\mathrm{ELBO} = \mathcal L_1 \ \le\ \mathcal L_K = \mathbb E \log \frac1K \sum_{k=1}^K w_k \ \le\ \log p(x), \qquad \mathcal L_K \le \mathcal L_{K+1},$$
#
# and $\mathcal L_K \to \log p(x)$ where the weights are bounded. This does not say how fast.
#
# Why does it rise? Take $K + 1$ weights and leave one of them out. There are $K + 1$ ways to do this, and
#
# $$\frac{1}{K + 1} \sum_{k=1}^{K + 1} w_k = \frac{1}{K + 1} \sum_{j=1}^{K + 1} \Big( \frac1K \sum_{k \ne j} w_k \Big),$$
#
# because each weight is left out once and so occurs $K$ times on the right. So the mean of all $K + 1$ weights is the
# average of $K + 1$ means of $K$ weights. By Jensen, its logarithm is at least the average of their logarithms. Each of
# these logarithms has the expectation $\mathcal L_K$.
#
# On the plane the grid gives $\log p(x)$, so we can see how close the bound comes. This also measures the ELBO's gap.

# %%
torch.manual_seed(0)
x = binarise(as_float(test.x[:BATCH]))
evidence = (log_joint(plane, x, grid).logsumexp(1) + cell.log()).mean()
DRAWS = [1, 2, 5, 10, 20, 50, 100, 200]
with torch.no_grad():
    # (draws, N)
    weights = plane.log_weights(
        x, torch.randn(DRAWS[-1] if BUDGET == "smoke" else 10 * DRAWS[-1], BATCH, 2)
    )
tighter = torch.stack(
    [
        torch.stack(
            [importance_weighted_bound(group) for group in weights.split(k)]
        ).mean()
        for k in DRAWS
    ]
)
figure = curve(
    DRAWS,
    {
        "importance-weighted bound": tighter,
        "log p(x), by the grid": evidence.expand(len(DRAWS)),
    },
    title=f"The ELBO (K = 1) misses {evidence - tighter[0]:.2f} nats, K = {DRAWS[-1]} "
    f"draws {evidence - tighter[-1]:.2f}",
    xlabel="draws K from q",
    ylabel="nats, mean over test digits",
)
figure.axes[0].set_xscale("log")
figure

# %% [markdown]
# The bound rises with $K$, but 200 draws are not enough to reach the true value. Most of what is missing comes from one
# digit, the 5 of section 2. Its guess lies *beside* the true posterior, and both are narrow. Draws from this guess have
# tiny weights, and the region that matters is hardly ever drawn.

# %%
show(importance_weighted_bound, after="exercise 6")

# %% [markdown]
# **Two parts of the gap** (Cremer et al. 2018). Let $q^*$ be the Gaussian with diagonal covariance that has the best
# ELBO for *this* picture. Then
#
# $$\log p(x) - \mathrm{ELBO}(q) = \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation gap}} +
# \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortisation gap}} .$$
#
# The first part is there because the posterior is no such Gaussian. The second is there because one network computes
# $q$ for all pictures, instead of a search for each picture. We do this search for the four digits of section 2, with
# the decoder fixed: gradient descent on $\mu$ and $\log \sigma^2$ of one picture, which begins at the encoder's guess.
# The expectation over $z$ is a sum over 64 points (Gauss-Hermite quadrature), so nothing here is random. The grid gives
# the same gap in another way, as $\mathrm{KL}(q^* \| p(z \mid x))$.

# %%
FOUR, UPDATES = [0, 3, 8, 14], 30 if BUDGET == "smoke" else 150
# expectations under N(0, I) in two dimensions: 8 x 8 points and their weights
points, share = (
    torch.from_numpy(values).float() for values in np.polynomial.hermite_e.hermegauss(8)
)
nodes = torch.stack(torch.meshgrid(points, points, indexing="xy"), -1).flatten(0, 1)
node_weights = (share[:, None] * share).flatten() / share.sum() ** 2


def exact_elbo(model, x, mean, log_variance):
    """The ELBO of q = N(mean, sigma^2) for each picture, (N,) nats, without draws."""
    z = reparameterise(
        mean[:, None].expand(-1, 64, -1),
        log_variance[:, None].expand(-1, 64, -1),
        nodes.expand(len(x), -1, -1),
    )
    logits = model.decode(z.flatten(0, 1)).flatten(1)
    pixels = x.flatten(1).repeat_interleave(64, 0)
    log_likelihood = bernoulli_log_likelihood(logits, pixels).view(len(x), 64)
    return log_likelihood @ node_weights - gaussian_kl(mean, log_variance)


def search(model, x, steps, rate=0.05):
    """The encoder's q, and the Gaussian with the best ELBO for each picture: (mean,
    log-variance) each."""
    with torch.no_grad():
        first = model.posterior(x)
    own = [part.clone().requires_grad_() for part in first]
    optimizer = torch.optim.Adam(own, lr=rate)
    for _ in range(steps):
        gradients = torch.autograd.grad(-exact_elbo(model, x, *own).sum(), own)
        for part, gradient in zip(own, gradients):
            part.grad = gradient
        optimizer.step()
    return first, [part.detach() for part in own]


guess, best = search(plane, x[FOUR], UPDATES)
with torch.no_grad():
    amortised, searched = (exact_elbo(plane, x[FOUR], *q) for q in (guess, best))
# independent of the quadrature: KL(q* || posterior) on the grid
log_q = -((grid - best[0][:, None]).square() / best[1].exp()[:, None]).sum(2) / 2
log_q = log_q - best[1].sum(1, keepdim=True) / 2 - math.log(2 * math.pi)
log_posterior = on_grid[FOUR] - log_evidence[FOUR, None]
by_grid = (log_q.exp() * (log_q - log_posterior)).sum(1) * cell
if BUDGET != "smoke":  # after 30 updates q* is not the best, and the grid is coarse
    torch.testing.assert_close(
        log_evidence[FOUR] - searched, by_grid, rtol=0, atol=0.05
    )
assert (searched > amortised - 1e-3).all()
for i, before, after, bound_of in zip(FOUR, amortised, searched, log_evidence[FOUR]):
    print(
        f"a {int(test.y[i])}: gap {bound_of - before:6.2f} nats = approximation "
        f"{bound_of - after:5.2f} "
        f"+ amortisation {after - before:6.2f}"
    )

# %% [markdown]
# For each of the four digits the larger part of the gap is the amortisation gap. A Gaussian of its own describes even
# the posterior of the 5 well. The encoder, which has to serve all digits, puts its Gaussian beside it. So for these
# digits a more flexible $q$ would not help much. A search for each picture closes most of the gap, as measured here. A
# larger encoder or more training may close a part of it, too.

# %% [markdown]
# What happens without an encoder? For the shipped convolutional model of 16 dimensions, which painted the digits of
# section 1, we estimate $\log p(x)$ by draws from the prior and by draws from $q$. This compares thousands of blind
# draws with a hundred good guesses.

# %%
few = x[:20]
torch.manual_seed(0)
counts = [1, 10, 100, 1000] if BUDGET == "smoke" else [1, 10, 100, 1000, 10_000]
blind = by_prior_draws(painter, few, 16, counts).mean(1)
with torch.no_grad():
    guesses = painter.log_weights(
        few, torch.randn(20 if BUDGET == "smoke" else 100, len(few), 16)
    )
guided = [importance_weighted_bound(guesses[:k]).mean() for k in (1, 10, len(guesses))]

# %% tags=["fold"]
figure = curve(
    counts,
    {"draws of the prior": blind},
    title="log p(x) with 16 latent dimensions, mean over 20 test digits",
    xlabel="draws",
    ylabel="nats",
)
figure.axes[0].plot(
    [1, 10, len(guesses)],
    guided,
    "s--",
    color="#D55E00",
    label="draws of the encoder's q",
)
figure.axes[0].legend()
figure.axes[0].set_xscale("log")
figure

# %% [markdown]
# ## 11. Rate against distortion
#
# The ELBO adds two costs of a message. The rate is the nats needed to send the code $z$ to the precision of $q$ (the
# *bits-back* argument of Hinton and van Camp 1993). The distortion is the nats needed to send the picture given the
# code. **beta** is a weight on the rate (Higgins et al. 2017):
#
# $$L_\beta = \mathbb E_q[-\log p(x \mid z)] + \beta\, \mathrm{KL}\big(q(z \mid x)\,\|\,p(z)\big).$$
#
# $\beta = 1$ is the bound. For a Gaussian likelihood with a fixed $s$, $\beta$ and $s^2$ have the same effect. To
# multiply the KL by $\beta$ is, up to a factor of the whole loss, to divide the weight of the error by $\beta$. Each
# $\beta$ gives another point of a curve (Alemi et al. 2017):

# %% tags=["fold"]
rows = {
    beta: [
        row
        for row in experiments.read("vae-rate-distortion")["rows"]
        if row["setting"] == f"{beta:g}"
    ]
    for beta in BETAS
}


def points(key):
    return {beta: [row[key] for row in rows[beta]] for beta in BETAS}


def mean_of(values):
    return sum(values) / len(values)


figure, (left, right) = subplots(1, 2, height=3.6)
rate, distortion, elbo = points("rate"), points("distortion"), points("elbo")
left.plot(
    [mean_of(rate[b]) for b in BETAS],
    [mean_of(distortion[b]) for b in BETAS],
    "-",
    color="#666666",
    linewidth=1,
)
for i, beta in enumerate(BETAS):
    left.plot(
        rate[beta],
        distortion[beta],
        "os^DvP"[i],
        color=f"C{i}",
        label=f"beta = {beta:g}",
    )
best = max(BETAS, key=lambda b: mean_of(elbo[b]))
sums = mean_of(rate[best]) + mean_of(distortion[best])
left.plot([0, sums], [sums, 0], ":", color="#000000", label="equal sums")
left.set(
    xlabel="rate, nats",
    ylabel="distortion, nats",
    title="rate and distortion",
    ylim=(0, 230),
    xlim=(-3, 1.1 * max(rate[BETAS[0]])),
)
left.legend(fontsize=9, ncols=2, loc="lower left")
right.plot(BETAS, [-mean_of(elbo[b]) for b in BETAS], "o-", label="-ELBO (beta = 1)")
right.fill_between(
    BETAS, [-max(elbo[b]) for b in BETAS], [-min(elbo[b]) for b in BETAS], alpha=0.2
)
right.set(
    xscale="log",
    xlabel="beta in training",
    ylabel="-ELBO, nats",
    title="the bound is best near beta = 1",
)
figure.suptitle(
    "Test digits, perceptrons, 16 dimensions, 1000 updates, 3 seeds", x=0.01, ha="left"
)
describe(
    figure,
    "Left: distortion falls as the rate rises, from beta 30 to beta 0.1. Right: -ELBO "
    "over beta, lowest near 1.",
)

# %% [markdown]
# Read the curve from right to left. At $\beta = 0.1$ a code of about 44 nats gives the lowest distortion. But the
# *bound* is worse than at 1, because the code costs more than it saves. Along the dotted line the sum of both costs is
# that of $\beta = 1$. All other points lie above it. The nearest is $\beta = 0.3$, by about one nat. At $\beta = 10$
# one unit (latent dimension) is left. At 30 none is left, and the distortion is the cost of a digit without any code.
#
# The distance of samples to real digits (section 15) is lowest near 1, too. Below 1 the reconstructions are closer to
# real digits than at 1. So the samples are worse because the prior is not where the codes are. Above 1 the
# reconstructions get worse, too, because the codes contain too little information.

# %% tags=["fold"]
bars_with_spread(
    {f"beta = {beta:g}": values for beta, values in points("frechet prior").items()},
    xlabel="Frechet distance of samples to test digits, lower is better",
    title="Samples of the prior by beta, 3 seeds",
)

# %% [markdown]
# **Try it** with short runs of every beta, trained here. What is lost first as beta rises: the strokes' details, the
# slant, or the digit itself? At small beta the reconstructions are good. But look at the **samples**: they are drawn
# from a prior that the encoder was hardly forced to match.

# %%
BETA_STEPS = updates(smoke=20, laptop=1000, gpu=1000)
shown = as_float(test.x[:10])
SHOWN_BETAS = {}
torch.manual_seed(0)
noise = torch.randn(10, 16)
for beta in BETAS:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = mlp_vae(dim=16, beta=beta)
    for step in recipes.train(recipe, model, train, seed=0, steps=BETA_STEPS):
        pass
    model = model.eval().to("cpu")
    with torch.no_grad():
        SHOWN_BETAS[beta] = (
            pictures(model, model.encode(shown)),
            pictures(model, noise),
            bound(model, test.x[:500], test.y[:500]),
        )


def draw_beta(beta):
    again, samples, parts = SHOWN_BETAS[beta]
    return image_grid(
        torch.cat([shown, again, samples]),
        columns=10,
        title=f"Test digits, reconstructions, samples; beta = {beta:g}, {BETA_STEPS} "
        "updates:\n"
        f"rate {parts['rate']:.1f} nats, distortion {parts['distortion']:.1f}, "
        f"{parts['active']} of 16 units active",
    )


explore(draw_beta, beta=SelectionSlider(options=BETAS, value=1.0))

# %% [markdown]
# ## 12. Posterior collapse, and how it shows
#
# A unit whose rate costs more than it saves is switched off. Its posterior becomes the prior, $\mu_j = 0$,
# $\sigma_j = 1$ for every picture, and its KL is 0. If all units are off, the decoder paints one average picture, and
# the ELBO is no better than without a code. When only some units collapse, neither the loss nor the samples show it,
# but **the KL of each unit** does. Burda et al. count **active units**, those whose mean varies over pictures with a
# variance above 0.01. The figure shows that count and a stricter one.

# %% tags=["fold"]
figure, (left, right) = subplots(1, 2, height=3.6)
for i, beta in enumerate((0.1, 1.0, 3.0, 10.0)):
    units = torch.tensor([row["units"] for row in rows[beta]]).mean(0)
    left.plot(
        range(1, 17),
        units,
        "os^D"[i] + "-",
        color=f"C{i}",
        label=f"beta = {beta:g}",
        markersize=4,
    )
left.set(
    xlabel="unit, by its rate",
    ylabel="KL, nats",
    title="16 dimensions: KL of each unit",
    xticks=range(1, 17, 3),
)
left.legend()
sizes = [str(dim) for dim in DIMENSIONS]
active, units = (
    experiments.values("vae-dimensions", "active"),
    experiments.values("vae-dimensions", "units"),
)
carrying = {
    name: [sum(kl > 0.1 for kl in seed) for seed in values]
    for name, values in units.items()
}
right.plot(
    DIMENSIONS,
    [mean_of(active[dim]) for dim in sizes],
    "o-",
    label="mean varies by > 0.01",
)
right.plot(
    DIMENSIONS, [mean_of(carrying[dim]) for dim in sizes], "s--", label="KL > 0.1 nats"
)
right.plot(
    [64] * 3,
    carrying["64, warm-up"],
    "^",
    color="#009E73",
    label="KL > 0.1, beta warmed up",
)
right.set(
    xscale="log",
    yscale="log",
    xlabel="latent dimensions",
    ylabel="units",
    title="how many are in use",
)
right.set_xticks(DIMENSIONS, sizes)
right.set_yticks(DIMENSIONS, sizes)
right.minorticks_off()
right.legend()
figure.suptitle(
    "Units whose rate costs more than it saves are switched off; test digits, 1000 "
    "updates, 3 seeds",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Left: KL per unit for four betas, a step between units in use and units at zero. "
    "Right: units in use over latent dimensions, two counts.",
)

# %%
show(active_units)

# %% tags=["fold"]
bars_with_spread(
    {
        name: [-value for value in values]
        for name, values in experiments.values("vae-dimensions", "elbo").items()
    },
    xlabel="-ELBO, nats per test digit, lower is better",
    title="The bound by number of latent dimensions; 1000 updates, 3 seeds",
)

# %% [markdown]
# At $\beta = 1$ seven to twelve of 16 units carry more than 0.1 nats, the largest about two nats each. Even with 64
# units, the model uses only a dozen. The published count says 61 of 64. After such a short training the means of the
# other units still vary with a standard deviation above 0.1, although they carry almost nothing. So *look at the KLs*.
#
# Unused units do some harm here. From 16 to 64 dimensions the bound gets worse by 6.5 nats. A likely reason is that
# early in the training every unit is noise for the decoder. In **warm-up** (Bowman et al. 2015), beta grows from 0 to 1
# during the first half. So units can become useful before their rate counts fully. This wins back most of what was
# lost.
#
# **Free bits** (Kingma et al. 2016) are another remedy. Each unit may use $\lambda$ nats for free. In the loss, the
# rate becomes
#
# $$\sum_{j=1}^{D} \max\Big(\lambda,\ \frac1N \sum_{n=1}^{N} \mathrm{KL}\big(q(z_j \mid x_n)\,\|\,p(z_j)\big)\Big).$$
#
# A unit below $\lambda$ costs $\lambda$ in any case, and the gradient of its rate is 0. So it gains nothing by
# switching off. A unit above $\lambda$ is trained as before. The loss is no longer $-$ELBO. It is never below $-$ELBO.
# Does this give more units, and a better bound? We measure it with 64 dimensions. All bounds in the figure contain the
# true KL.

# %%
torch.manual_seed(0)
mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
# the average of each unit's KL over the pictures, by torch.distributions
kl = torch.distributions.kl_divergence(
    torch.distributions.Normal(mean, (log_variance / 2).exp()),
    torch.distributions.Normal(0.0, 1.0),
).mean(0)
middle = kl.median().item()  # one unit below, one above
assert free_bits_rate(mean, log_variance, 0.0) >= kl.sum() - 1e-5
torch.testing.assert_close(
    free_bits_rate(mean, log_variance, middle), middle + middle + kl.max()
)
show(FreeBitsVAE, after="exercise 9")

# %% tags=["fold"]
free_units = {"0": units["64"]} | experiments.values("vae-free-bits", "units")
free_elbo = {"0": experiments.values("vae-dimensions", "elbo")["64"]}
free_elbo |= experiments.values("vae-free-bits", "elbo")
figure, (left, right) = subplots(1, 2, height=3.4)
for i, free in enumerate(["0", *[f"{value:g}" for value in FREE]]):
    left.plot(
        range(1, 65),
        torch.tensor(free_units[free]).mean(0),
        "os^D"[i] + "-",
        color=f"C{i}",
        markersize=3,
        label=f"lambda = {free}",
    )
    right.plot([i] * 3, [-value for value in free_elbo[free]], "o", color=f"C{i}")
left.set(
    xlabel="unit, by its rate",
    ylabel="KL, nats",
    title="KL of each unit, mean of the seeds",
    yscale="log",
    ylim=(0.003, 12),
)
left.legend(ncols=2, loc="upper right")
right.set(
    xlabel="lambda, nats for each unit",
    ylabel="-ELBO, nats",
    title="the bound, a dot for each seed",
)
right.set_xticks(range(1 + len(FREE)), ["0", *[f"{value:g}" for value in FREE]])
figure.suptitle(
    "Free bits: 64 dimensions, test digits, 1000 updates, 3 seeds", x=0.01, ha="left"
)
describe(
    figure,
    "Left: KL of each unit for four values of lambda; below lambda the units rise to "
    "about lambda. Right: -ELBO for each lambda: "
    + "; ".join(
        f"{free}: {-mean_of(values):.1f}" for free, values in free_elbo.items()
    ),
)

# %% [markdown]
# Free bits do what they promise: the units that were off rise to about $\lambda$ nats each, so with 0.2 all 64 units
# count as active by their KL. With 0.5 all 64 carry 0.4 to 0.5 nats, and no unit carries two nats any more.
#
# The bound does not get better here. With $\lambda = 0.05$ it is about as good as without free bits. With 0.2 and 0.5
# it is worse by about ten nats. With 0.5 the rate rises by 16 nats, and the distortion falls by four only. With 0.2 the
# rate rises by three nats, and the distortion *rises*, by six. So an active unit is not yet a useful unit.
#
# Why do units collapse at all? For a *linear* VAE the answer is known (Lucas et al. 2019): the units are principal
# components, and a component gets a unit exactly where its variance exceeds $\beta s^2$. The ELBO is not the cause,
# because the maximum of the likelihood does the same. A decoder strong enough to explain the pixels without $z$, such
# as an autoregressive one, collapses for another reason: it really does not need the code.
#
# ## 13. Emoji: what the likelihood decides
#
# We train the same networks on colour pictures with five likelihoods (*sigma* in the plots is section 6's $s$, not the
# encoder's $\sigma$). The plots show first the bound, in bits per dimension, then what each likelihood does to the rate
# and to the code.

# %% tags=["fold"]
emoji = load("emoji_on_white", "test")
print(
    f"{(emoji.x == 255).all(1).float().mean():.0%} of the test emoji's pixels are white"
)
likelihoods = {
    name: [evaluate.bits_per_dimension(value, 3072) for value in values]
    for name, values in experiments.values("vae-likelihoods", "elbo").items()
}
display(
    bars_with_spread(
        likelihoods,
        xlabel="bits per dimension, bound, lower is better",
        title="Held-out emoji, five likelihoods, 400 updates, 3 seeds",
    )
)
for measure, xlabel in (
    ("rate", "rate, nats"),
    ("active", "active units of 64"),
    ("rmse", "root mean squared error of reconstructions"),
):
    display(
        bars_with_spread(
            experiments.values("vae-likelihoods", measure),
            xlabel=xlabel,
            title=f"The same models: {xlabel}",
        )
    )

# %% [markdown]
# **The mean of squares** collapses completely. The rate is 0, no unit is active, and every reconstruction is the same
# average picture.
#
# **The sum of squares** uses 22 nats for a code. A learnt sigma uses 138. **Learning sigma** means that nobody has to
# guess it.
#
# **A sigma for each pixel** is best by far in bits, 6.4 against 7.7. Much of an emoji is plain white, and a model that
# knows where can give those pixels a tiny sigma. Each of their three colour values then costs as little as 1.4 bits. It
# cannot cost less, because sigma is not allowed below 1/256. But the reconstructions of this model are *worse* than
# with one learnt sigma: the root mean squared error is 0.19 against 0.17. Perhaps the model uses its code to describe
# where the white is. So a better likelihood is not a better picture (Theis et al. 2015). The shipped model has one
# learnt sigma.

# %%
show(GaussianPerPixel)

# %% [markdown]
# ## 14. Between pictures, and along one unit
#
# **Interpolation.** On a straight line through pixel space, one picture fades while the other appears. In the latent
# space each step is a picture of its own. Should we take straight lines or arcs? Draws from $\mathcal N(0, I)$ in $D$
# dimensions have length near $\sqrt D$. The middle of a straight line between two draws is nearer to the origin by a
# factor of about $\sqrt 2$, and the prior has hardly any mass there. `slerp` (spherical linear interpolation) stays on
# the sphere.
#
# Its formula is a rotation. Let $a$ and $b$ be unit vectors with the angle $\Omega$ between them. The part of $b$ that
# is orthogonal to $a$, divided by its length $\sin\Omega$, is $b_\perp = (b - \cos\Omega\, a) / \sin\Omega$. A rotation
# from $a$ towards $b$ by the angle $t\,\Omega$ gives
#
# $$\begin{aligned}
# \cos(t\Omega)\, a + \sin(t\Omega)\, b_\perp
# &= \frac{\cos(t\Omega) \sin\Omega - \sin(t\Omega) \cos\Omega}{\sin\Omega}\, a +
# \frac{\sin(t\Omega)}{\sin\Omega}\, b \\
# &= \frac{\sin\big((1 - t)\,\Omega\big)}{\sin\Omega}\, a + \frac{\sin(t\Omega)}{\sin\Omega}\, b .
# \end{aligned}$$
#
# For vectors of other lengths one keeps the two weights, and $\Omega$ is the angle between $a$ and $b$. For the codes
# of *pictures* in this figure, the difference between line and arc is hard to see.


# %%
def between(model, a, b, steps=10):
    """Rows of pictures from a to b: mixed pixels, straight through the latent space,
    along the arc."""
    t = torch.linspace(0, 1, steps)
    with torch.no_grad():
        first, last = model.encode(a[None]), model.encode(b[None])
        straight = pictures(model, torch.lerp(first, last, t[:, None]))
        arc = pictures(
            model, slerp(first.expand(steps, -1), last.expand(steps, -1), t[:, None])
        )
    return torch.cat(
        [torch.lerp(a[None], b[None], t[:, None, None, None]), straight, arc]
    )


# the formula against a rotation by a matrix, in the plane
turn = torch.tensor(0.3 * 1.1)
rotation = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])
ends = torch.tensor([[1.0, 0.0], [math.cos(1.1), math.sin(1.1)]])
torch.testing.assert_close(slerp(ends[0], ends[1], 0.3), rotation @ ends[0])

# %% tags=["fold"]
two = [int((test.y == digit).nonzero()[3]) for digit in (3, 7)]
figure = image_grid(
    between(painter, *as_float(test.x[two])),
    columns=10,
    title="From a 3 to a 7: mixed pixels; straight through the latent space; along "
    "the arc",
)
display(figure)
image_grid(
    between(emoji_painter, *as_float(emoji.x[[30, 600]])),
    columns=10,
    title="The same for two emoji",
)

# %% [markdown]
# **Traversal.** Take the code of one emoji and move one unit at a time. The units are sorted by their rate, so the
# first carries most information. **Try it**: does any unit stand for one thing, such as the colour, the size or the
# shape? The promise of beta-VAE was that each unit comes to mean one thing. The likelihood does not require this:
# rotate the code, and the decoder with it, and $p(x)$ is the same. (A diagonal $q$ does prefer some axes, as the
# principal components of the linear VAE show, but not necessarily axes with a meaning. Locatello et al. 2019 prove that
# no method can find the meaningful axes without supervision *and* without assumptions on model and data.)

# %% tags=["fold"]
with torch.no_grad():
    codes, code_variance = emoji_painter.posterior(as_float(emoji.x))
    by_rate = (
        gaussian_kl(codes[..., None], code_variance[..., None])
        .mean(0)
        .argsort(descending=True)
    )
FEW = 6


def draw_traversal(picture, first):
    values = torch.linspace(-3, 3, 9)
    z = codes[picture].repeat(FEW, 9, 1)
    for row in range(FEW):
        z[row, :, by_rate[first - 1 + row]] = values
    with torch.no_grad():
        painted = pictures(emoji_painter, z.flatten(0, 1))
    titles = [
        f"{value:+.1f}" if row == 0 else ""
        for row in range(FEW)
        for value in values.tolist()
    ]
    return image_grid(
        painted,
        titles,
        columns=9,
        title=f"Units {first} to {first + FEW - 1} by rate (rows), each moved from -3 "
        "to 3; the rest stays",
    )


explore(
    draw_traversal,
    picture=IntSlider(30, 0, len(emoji) - 1),
    first=IntSlider(1, 1, 59, description="first unit"),
)

# %% [markdown]
# ## 15. Samples of the prior against samples of the posterior
#
# The decoder was trained at codes of *pictures*, but for samples we use it at codes of the *prior*. All codes together
# have a distribution, the **aggregated posterior** $q(z) = \frac1N \sum_n q(z \mid x_n)$. The average rate is, exactly,
#
# $$\frac1N \sum_n \mathrm{KL}\big(q(z \mid x_n)\,\|\,p(z)\big) = I_q(x; z) + \mathrm{KL}\big(q(z)\,\|\,p(z)\big),$$
#
# where the first term is what the code tells about the picture, and the second is how far all codes together are from
# the prior (add and subtract $\log q(z)$). ($I_q$ is the mutual information, as in notebook 03, of a training picture
# and its code.) If the second term is not 0, the codes are not distributed as the prior: some regions hold more codes
# than their share, others fewer. Regions with prior mass and hardly any code are **holes**. The decoder was hardly
# trained there, and samples from there may look like no real picture.

# %%
grid_means, grid_logs = train_mean, train_log_variance
ticks = torch.linspace(-3.6, 3.6, 90)
where = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).flatten(0, 1)
part = torch.arange(0, len(train_mean), 6)  # 2,000 of the posteriors are plenty
log_q = (
    torch.stack(
        [
            (
                -(
                    (point - grid_means[part]).square() / grid_logs[part].exp()
                    + grid_logs[part]
                ).sum(1)
                / 2
            ).logsumexp(0)
            for point in where
        ]
    )
    - math.log(len(part))
    - math.log(2 * math.pi)
)

# %% tags=["fold"]
figure, axes = subplots(1, 2, height=3.6)
for ax, density, name in (
    (axes[0], log_q.exp(), "all codes together, q(z)"),
    (axes[1], torch.exp(-where.square().sum(1) / 2) / (2 * math.pi), "the prior, p(z)"),
):
    image = ax.imshow(
        density.view(90, 90),
        origin="lower",
        extent=(-3.6, 3.6, -3.6, 3.6),
        cmap="cividis",
        vmin=0,
        vmax=0.3,
    )
    ax.grid(False)
    ax.set(title=name, xlabel="$z_1$", ylabel="$z_2$")
figure.colorbar(image, ax=axes, label="density")
figure.suptitle(
    "The plane: what the decoder was trained on, and where it is asked to paint",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Left: the aggregated posterior, patchy, with gaps between digits. Right: the "
    "smooth prior.",
)

# %% [markdown]
# How good are samples? First look at them. Then use numbers. The next three are computed from **features** of a
# network, here our own classifier of digits (`zoo: supervised-digits`) and our classifier of scenes for emoji. Let the
# features of real pictures have mean $m_r$ and covariance $C_r$, those of generated ones $m_g$, $C_g$:
#
# $$d^2_{\text{Frechet}} = \lVert m_r - m_g \rVert^2 + \operatorname{tr}\big(C_r + C_g - 2 (C_r C_g)^{1/2}\big),$$
#
# which is the squared Wasserstein distance of two Gaussians with these moments. With the features of one particular
# Inception network it is the FID of the papers. Ours is **not comparable with theirs**, only with itself. **Precision**
# is the share of generated pictures that lie among the real ones (within the distance of some real one to its third
# neighbour). **Recall** is the share of real pictures that lie among the generated ones. A generator that makes only
# one perfect digit has precision 1 and recall 0.

# %%
show(evaluate.frechet_distance)
show(evaluate.precision_recall)

# %% tags=["fold"]
for measure, title in (
    ("frechet", "Frechet distance to test pictures, lower is better"),
    ("precision", "precision"),
    ("recall", "recall"),
    (
        "detail",
        "squared difference of neighbouring pixels, as a share of real pictures'",
    ),
):
    prior, posterior = (
        experiments.values("vae-samples", f"{measure} {of}")
        for of in ("prior", "posterior")
    )
    found = {}
    for name in ("real digits", "digits", "digits, 2", "real emoji", "emoji"):
        found[name if "real" in name else f"{name}: samples"] = prior[name]
        if name in posterior:
            found[f"{name}: reconstructions"] = posterior[name]
    display(
        bars_with_spread(
            found, xlabel=title, title=f"{title.split(',')[0].capitalize()}; 3 seeds"
        )
    )

# %% [markdown]
# What do the numbers say? Different classifiers evaluate digits and emoji, so compare only within each.
#
# **Reconstructions of digits are close to real ones**: the Frechet distance is 0.9, and 0.4 for other real digits.
# **Samples are not**: the distance is 12. The reason seems to be that the decoder is good where codes are, but the
# prior is not where codes are.
#
# With two dimensions recall is near 0 (0.02), although precision is 0.82. The generated averages lie close together
# among the real digits. Most are within the reach of a real one (its distance to the third neighbour). But their own
# reach is so short that hardly any real digit lies within it.
#
# For emoji the distance is 79 for samples, 39 for reconstructions, and 2 for other real emoji.
#
# *Detail* is the mean squared difference of neighbouring pixels. For digits it is about half of the real ones', and a
# fifth with two dimensions. For emoji it is 15 to 28 % of the real ones'. This one number measures the blur.
#
# Now look at the **precision of the emoji samples: 0.94**. Nobody would say that the blobs of section 1 are emoji. The
# features come from a classifier that was never trained on a bad emoji. The blobs seem to lie *in the middle* of the
# real emoji's features, within reach of some real one, and precision requires no more. The Frechet distance and recall
# do show the problem. A number is only as good as its features, and one number is never enough.
#
# (`evaluate.kernel_distance`, known as KID with Inception features, needs no Gaussian assumption and has no bias. It
# also finds the samples of section 11 best at $\beta = 1$.)
#
# ## 16. A conditional VAE: the label is given
#
# If encoder and decoder get the digit's label, the code need not contain it. Everything above holds with $y$ as a
# condition: $\log p(x \mid y) \ge \mathbb E_q \log p(x \mid z, y) - \mathrm{KL}(q(z \mid x, y)\,\|\,p(z))$. What
# remains for $z$? The *hand*, which means the style of writing: slant, width, weight. In each row, $z$ is the same and
# the label changes:

# %%
show(ConditionalVAE)

# %%
writer = zoo.load("conditional-vae")
with torch.no_grad():
    x, y = binarise(as_float(test.x)), test.y
    style_mean, style_variance = writer.posterior(x, y)
    style_by_rate = (
        gaussian_kl(style_mean[..., None], style_variance[..., None])
        .mean(0)
        .argsort(descending=True)
    )
torch.manual_seed(4)
hands = torch.randn(6, 8)
with torch.no_grad():
    written = pictures(
        writer, hands.repeat_interleave(10, 0), torch.arange(10).repeat(6)
    )
image_grid(
    written,
    columns=10,
    title="Six hands (rows), ten labels: z is the same along a row",
)

# %% [markdown]
# **Try it.** Move the two units that carry most information about the hand. Does a unit for slant change the slant of
# every digit?


# %% tags=["fold"]
def draw_hand(unit1, unit2):
    z = torch.zeros(10, 8)
    z[:, style_by_rate[0]], z[:, style_by_rate[1]] = unit1, unit2
    with torch.no_grad():
        painted = pictures(writer, z, torch.arange(10))
    return image_grid(
        1 - painted,
        columns=10,
        title=f"First unit {unit1:.1f}, second {unit2:.1f}, the other six 0: all ten "
        "in this hand",
    )


explore(
    draw_hand,
    unit1=FloatSlider(0.0, min=-3, max=3, step=0.25, description="first unit"),
    unit2=FloatSlider(0.0, min=-3, max=3, step=0.25, description="second unit"),
)

# %% tags=["fold"]
labels = {
    name: [-value for value in values]
    for name, values in experiments.values("vae-labels", "elbo").items()
}
display(
    bars_with_spread(
        labels,
        xlabel="nats per test digit, lower is better",
        title="-ELBO without and with the label; 8 dimensions, 4500 updates unless "
        "said",
    )
)
display(
    bars_with_spread(
        experiments.values("vae-labels", "accuracy"),
        xlabel="share of samples that the classifier assigns to their label",
        title="Conditional accuracy of samples, 3 seeds",
    )
)
bars_with_spread(
    experiments.values("vae-labels", "frechet prior"),
    xlabel="Frechet distance of samples to test digits, lower is better",
    title="Samples without and with the label, 3 seeds",
)

# %% [markdown]
# The label makes the **samples** better: the Frechet distance is 0.9 against 4.8. A likely reason is that the code no
# longer has to describe which digit it is, so the codes fit the prior better. Precision rises from .76 to .86, but
# recall falls from .75 to .52.
#
# The label does not make the **bound** better. A label can save at most $\log 10 = 2.3$ nats. This is so little that
# the model learns to use it only slowly. After 1500 updates the classifier assigns a fifth of the samples to another
# digit than their label. So the code still tells which digit it is.
#
# With a *linear* layer where the label meets the picture, as many are wrong after 4500 updates. There the label can
# only shift the mean and the log-variance. But the bound of this model is four nats better than without a label (106.4
# against 110.8). This is more than a label can save, so part of it is a better fit. We want samples that show their
# label, but the loss gains little from this.
#
# ## 17. How good is the representation?
#
# A VAE is an autoencoder with noise in its code and a cost for this code. Is its posterior mean a better representation
# than the code of notebook 01? We compare on digits, with the same perceptrons, then on scenes, with notebook 01's
# networks:

# %% tags=["fold"]
for measure, title in (("knn", "k-NN accuracy"), ("probe", "linear probe accuracy")):
    values = experiments.values("vae-representation", measure)
    display(
        bars_with_spread(
            {name: values[name] for name in values if name.startswith("digits")},
            xlabel=f"{title} on test digits",
            title=f"Digits: {title}, 1000 updates, 3 seeds",
        )
    )
    trunk = experiments.values("vae-representation", f"{measure}_h")
    scenes = {
        "autoencoder of notebook 01": experiments.values("autoencoder", measure)[
            "trained"
        ],
        "untrained, mean": values["random"],
        "VAE, mean": values["VAE"],
        "VAE beta 0.1, mean": values["VAE, beta 0.1"],
        "untrained, features": trunk["random"],
        "VAE, features": trunk["VAE"],
        "VAE beta 0.1, features": trunk["VAE, beta 0.1"],
    }
    display(
        bars_with_spread(
            scenes,
            xlabel=f"{title} on held-out emoji",
            title=f"Scenes: {title}, 300 updates, 3 seeds",
        )
    )

# %% [markdown]
# No. On digits with 16 dimensions the autoencoder is better in k-NN accuracy (.90 against .86) and about equal in
# linear probe accuracy. With two dimensions each wins once. (k-NN by cosine uses only the angle in a plane, and the
# results of the seeds differ widely.)
#
# On scenes a VAE is **no better than its untrained network**. Notebook 01's autoencoder gains two points in k-NN
# accuracy, and nothing in linear probe accuracy. The reason is not the cost of the code, because $\beta = 0.1$ changes
# nothing. Both models must first explain the pixels that vary most, the soft background. The VAE's noise may hide the
# rest (our interpretation, not a measurement).
#
# The shipped recipes of digits and emoji do gain. The convolutional VAE on digits reaches .94 in k-NN accuracy, against
# .70 for the random encoder. On a black background the digit *is* what varies. For single emoji on white the accuracy
# goes from .47 to .57. (`python -m course_lib evaluate vae` and `evaluate vae-emoji` measure this.) A likelihood of
# pixels rewards the parts of a picture that cost many bits, not the parts that have a name.
#
# ## 18. Pitfalls
#
# - **A mean where a sum belongs.** `reduction="mean"` over pixels beside a KL summed over units is, for squared errors,
#   a VAE with $s^2 = d/2$. It collapses (section 13), and the value of its loss is not $-$ELBO. Sum the terms over
#   dimensions, and average them over pictures.
# - **Constants dropped**: this is fine for training with fixed $s$, but wrong for every comparison. With a learnt $s$
#   and without $d \log s$, the loss falls for ever as $s$ grows.
# - **An epsilon inside a logarithm**: with $\log(p + 10^{-7})$ a pixel never costs more than about 16 nats, however
#   wrong the decoder is.
# - **log-variance taken for standard deviation**: `mean + log_variance * eps` trains badly and raises no error.
# - **sigmoid, then log**: the loss is infinite at a sure and wrong pixel. Work with logits.
# - **The same eps for the whole batch**: draw a separate one for every picture and every unit. A test: in a batch of
#   copies of one $x$, the draws must have the variance $\sigma^2(x)$.
# - **Sampling from the posterior and calling it generation**: reconstructions are better than samples. Say which of the
#   two you show.
# - **Nats of binarised digits and nats of grey ones** are different quantities, of a probability and of a density. They
#   cannot be compared. Two ways to binarise cannot be compared either.
# - **A Frechet distance without its features, its number of pictures and its preprocessing** says nothing.
# - **eval mode**: with BatchNorm in the networks, measure bounds in eval mode, on held-out pictures.
#
# ## 19. What to try next
#
# **Exercises**: [`exercises/11_vae.ipynb`](../exercises/11_vae.ipynb), each checked when you run the cell below it.
#
# Give the plane three dimensions and colour the grid. Train with $K = 10$ importance weights *in the loss* (Burda et
# al. 2015): do more units stay active? Give the prior the shape of the codes (fit a mixture to the means and draw from
# that). Learn $s$ and $\beta$ together and find out why that fails. Train the encoder for ten steps for each step of
# the decoder: does the collapse go away (He et al. 2019)?
#
# Notebook 10 (planned) works without a code, pixel by pixel. Notebook 12 replaces the likelihood by a discriminator.
# Notebook 14 stacks a thousand of these latent variables with a fixed encoder, and its ELBO is this one. Notebook 16
# (planned) replaces the prior by a diffusion model.
#
# ## 20. What to read
#
# Kingma, Welling 2013, *Auto-Encoding Variational Bayes* ([arXiv 1312.6114](https://arxiv.org/abs/1312.6114)); Rezende,
# Mohamed, Wierstra 2014 ([arXiv 1401.4082](https://arxiv.org/abs/1401.4082)). Kingma, Welling 2019, *An Introduction to
# Variational Autoencoders* ([arXiv 1906.02691](https://arxiv.org/abs/1906.02691)). Burda, Grosse, Salakhutdinov 2015,
# *Importance Weighted Autoencoders* ([arXiv 1509.00519](https://arxiv.org/abs/1509.00519)). Alemi et al. 2017, *Fixing
# a Broken ELBO* ([arXiv 1711.00464](https://arxiv.org/abs/1711.00464)). Hoffman, Johnson 2016, *ELBO surgery*. Lucas et
# al. 2019, *Don't Blame the ELBO!* ([arXiv 1911.02469](https://arxiv.org/abs/1911.02469)): collapse in the linear
# model, exactly. Rybkin, Daniilidis, Levine 2020, *Simple and Effective VAE Training with Calibrated Decoders* ([arXiv
# 2006.13202](https://arxiv.org/abs/2006.13202)). Locatello et al. 2019, *Challenging Common Assumptions in the
# Unsupervised Learning of Disentangled Representations* ([arXiv 1811.12359](https://arxiv.org/abs/1811.12359)). Theis,
# van den Oord, Bethge 2015, *A note on the evaluation of generative models* ([arXiv
# 1511.01844](https://arxiv.org/abs/1511.01844)). Kingma et al. 2016, *Improving Variational Inference with Inverse
# Autoregressive Flow* ([arXiv 1606.04934](https://arxiv.org/abs/1606.04934)): free bits. White 2016, *Sampling
# Generative Networks* ([arXiv 1609.04468](https://arxiv.org/abs/1609.04468)): slerp. Cremer, Li, Duvenaud 2018,
# *Inference Suboptimality in Variational Autoencoders* ([arXiv 1801.03558](https://arxiv.org/abs/1801.03558)). Heusel
# et al. 2017 ([arXiv 1706.08500](https://arxiv.org/abs/1706.08500)) for the Frechet distance, Kynkäänniemi et al. 2019
# ([arXiv 1904.06991](https://arxiv.org/abs/1904.06991)) for precision and recall.
