# %% [markdown]
# # 12. Generative adversarial networks
#
# **Who says what a good picture is?** The decoder of notebook 11 was trained with a likelihood, pixel by pixel, and
# generated blurred pictures. Deck AIA (*Automatic Image Analysis, lecture 13: un- and self-supervised learning*) says:
# *instead of formulating a good error measurement ourselves, we can train a classifier to distinguish between a real
# image and a generated (fake) image*. So there are two networks. The first network generates pictures. The second
# network distinguishes generated from real pictures. Each network learns from the other. This notebook derives the
# equilibrium of this game, plays it, and measures what goes wrong and how much the repairs help.
#
# **You will be able to** derive the best discriminator and the game's value. You can then explain, with gradients you
# have measured, why nobody uses the loss of the game's formula for the generator. You can build a DCGAN and say how
# much each of its guidelines matters here. You can go from the earth mover's distance to a gradient penalty, step by
# step, and you know its successors: spectral normalisation, R1 and the hinge loss. You can distinguish losses that
# measure quality from losses that do not, and recognise a collapsed generator. You can generate pictures of a chosen
# class, and give up variety to gain quality.
#
# **You need** binary cross-entropy, KL divergence, Lipschitz continuity; notebook 11's latent variable and its Frechet
# distance, precision and recall.
#
# **Lectures** Deck GT19 (*CS 4644/7643, lecture 19: diffusion, GANs, pretext tasks, contrastive learning*): *GANs:
# Learning generate samples directly* to *Generative Models: Closing Thoughts*. AIA: the slides on GANs, which have no
# titles, and *Taxonomy of generative methods*. Deck MLMI17 (*Cambridge MLMI17, Advanced Computer Vision: representation
# learning, generative models*): *State of the art (once upon a time)*.
#
# **Time** The reading takes an hour and a half, and the computing takes about five minutes on two cores. Long
# experiments were run beforehand (`make results`). Here they are plotted.

# %%
import math

import numpy as np
import torch
from IPython.display import Markdown, display
from ipywidgets import Dropdown, FloatSlider, IntSlider, SelectionSlider
from scipy.optimize import linear_sum_assignment, linprog
from scipy.stats import wasserstein_distance
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.data import as_float, load
from course_lib.data.toys import CENTRES, NOISE
from course_lib.gan.bigan import BiGAN
from course_lib.gan.conditional import (
    ConditionalBatchNorm,
    ConditionalGAN,
    ProjectionDiscriminator,
    truncated,
)
from course_lib.gan.games import (
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    discriminator_loss,
    jensen_shannon,
    non_saturating_loss,
    optimal_logit,
    saturating_loss,
)
from course_lib.gan.gan import GAN
from course_lib.gan.painting import AdversarialPainting
from course_lib.gan.progressive import ProgressiveGAN, fade_in
from course_lib.gan.wgan import WGAN, GradientPenalty, gradient_penalty
from course_lib.latent.interpolation import slerp
from course_lib.nets.dcgan import Discriminator, Generator
from course_lib.nets.mlp import mlp
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
from course_lib.optim import adamw
from course_lib.train import fit

# "smoke" shows that the notebook runs, "laptop" and "gpu" show that the methods work
BUDGET = budget("12_gan")

# %% [markdown]
# ## 1. Squared error or a classifier
#
# Here is AIA's argument in its smallest case. A shirt in a grey photograph may be red or blue, with equal probability.
# What should the network paint? The mean squared error has one answer for all such cases, the mean. Here the mean is a
# greyish purple, which never occurs. A classifier that has learnt what real shirts look like would reject purple. It
# would accept both red and blue.
#
# Now consider whole pictures. The first figure shows what the VAE of notebook 11 draws from noise. The second shows
# what the adversarial network of this notebook draws. The adversarial network had no likelihood and no encoder, only a
# discriminator (section 2). Both figures show the first 27 draws of a seed.

# %% tags=["fold"]
digits, emoji = load("digits", "test"), load("emoji_on_white", "test")
vae, walker = zoo.load("vae-emoji"), zoo.load("gan-emoji")
torch.manual_seed(0)
with torch.no_grad():
    blurs = vae.likelihood.mean(vae.decode(torch.randn(27, 64))).clamp(0, 1)
    fakes = walker.generate(torch.randn(27, walker.dim))
display(
    image_grid(
        blurs,
        columns=9,
        title="Samples of notebook 11's VAE, trained with a likelihood of pixels",
    )
)
image_grid(
    fakes,
    columns=9,
    title="Samples of a GAN, trained with a discriminator only",
)

# %% [markdown]
# ## 2. The game
#
# A **generator** $G$ turns noise $z \sim \mathcal N(0, I)$ into a picture $G(z)$. A **discriminator** $D$ looks at a
# picture and returns the probability that it is real. GT19 writes:
#
# $$\min_{G} \max_{D}\; V(D, G) = \mathbb E_{x \sim p_{\text{data}}} \log D(x) + \mathbb E_{z \sim p(z)} \log\big(1 - D(G(z))\big).$$
#
# $D$ is a classifier with two classes, real and generated, and $G$ makes the pictures of the second class. If both
# classes are equally frequent, $V$ is minus two times the binary cross-entropy of $D$. No density of pictures is
# written down anywhere, because $G$ only *draws*. MLMI17 calls this the direct approach, *confusingly, sometimes called
# an implicit generative model*. Let $p_g$ be the distribution of $G(z)$. What does $p_g$ become in this game?
#
# **The best discriminator.** Write both expectations as integrals over pictures,
# $V = \int p_{\text{data}}(x) \log D(x) + p_g(x) \log(1 - D(x))\, dx$. If the network can be any function, its value at
# one picture does not restrict its value at another. So we can maximise the integrand at each picture separately. With
# $a = p_{\text{data}}(x)$, $b = p_g(x)$:
#
# $$\begin{gathered}
# \frac{\partial}{\partial D}\big[a \log D + b \log(1 - D)\big] = \frac aD - \frac b{1 - D} = 0 \\
# \Rightarrow\quad D^*(x) = \frac{a}{a + b} = \frac{p_{\text{data}}(x)}{p_{\text{data}}(x) + p_g(x)},
# \end{gathered}$$
#
# and the second derivative $-a/D^2 - b/(1-D)^2$ is negative, so this is a maximum. The **logit** of $D^*$ is simpler
# still: $\operatorname{logit} D^* = \log \frac{D^*}{1 - D^*} = \log p_{\text{data}}(x) - \log p_g(x)$. So a
# discriminator estimates a *ratio of densities*. The best score in section 4 of notebook 03 also estimates such a
# ratio.
#
# **The value for the best discriminator.** Insert $D^*$ and take a factor $\tfrac12$ out of each fraction, with the
# mixture $m = \tfrac12(p_{\text{data}} + p_g)$:
#
# $$\begin{aligned}
# V(D^*, G) &= \mathbb E_{p_{\text{data}}} \log \frac{p_{\text{data}}}{2 m} + \mathbb E_{p_g} \log \frac{p_g}{2 m} \\
# &= -\log 4 + \mathrm{KL}(p_{\text{data}} \| m) + \mathrm{KL}(p_g \| m) \\
# &= -\log 4 + 2\, \mathrm{JSD}(p_{\text{data}}, p_g).
# \end{aligned}$$
#
# The Jensen-Shannon divergence is at least 0, and is 0 only for equal distributions, because the same holds for each
# KL. In the outer minimum each generator plays against *its own* best $D$. So this minimum is at
# $p_g = p_{\text{data}}$. There $D^* = \tfrac12$ and $V = -\log 4$. The order of minimum and maximum matters: against
# one *fixed* $D$ the best generator draws only the picture with the largest $D$ (section 8).
#
# Check the best $D$ and its value on six pictures with known probabilities. The discriminator consists of six free
# logits, which are trained without the formula.

# %%
torch.manual_seed(0)
p, q = torch.randn(2, 6, dtype=torch.float64).softmax(1)  # p for data, q for fakes
logits = torch.zeros(6, dtype=torch.float64, requires_grad=True)
optimiser = torch.optim.LBFGS(
    [logits], max_iter=100, tolerance_grad=1e-12, tolerance_change=0.0
)


def minus_value():
    optimiser.zero_grad()
    loss = -(p * logits.sigmoid().log() + q * (1 - logits.sigmoid()).log()).sum()
    loss.backward()
    return loss


optimiser.step(minus_value)
torch.testing.assert_close(
    logits.detach(), optimal_logit(p.log(), q.log()), atol=1e-4, rtol=0
)
torch.testing.assert_close(
    -minus_value().detach(), -math.log(4) + 2 * jensen_shannon(p, q)
)
print(
    f"value {-minus_value():.5f} = -log 4 + 2 JSD = {-math.log(4):.5f} + "
    f"{2 * jensen_shannon(p, q):.5f}"
)
show(optimal_logit)
show(jensen_shannon)

# %% [markdown]
# **Try it.** The data lie on a line (blue), and you can move the fakes (orange). First make the fakes narrow (0.3),
# then move them away from the data. $D^*$ becomes a steep step. The JSD stops at $\log 2$, even if you move the fakes
# further. Far from the data, $D^*$ is flat at the fakes. The generator's *saturating* loss (section 4) is flat there,
# too. (The *logit* of $D^*$ still has a slope here, because Gaussians overlap a little everywhere. Section 7 is about
# distributions that do not overlap.) The earth mover's distance $W$ (section 7) continues to grow. Then put the narrow
# fakes on one of the two bumps of the data. Where is $D^*$ above $\frac12$?

# %% tags=["fold"]
LINE = torch.linspace(-8, 8, 3201, dtype=torch.float64)


def draw_game(mean, width):
    """Draws two equal bumps of data, one bump of fakes, and the best discriminator.

    The distances are sums over a fine grid.
    """

    def normal(m, s):
        return torch.exp(-((LINE - m) / s).square() / 2)

    p, q = normal(-1.0, 0.5) + normal(1.0, 0.5), normal(mean, width)
    p, q = p / p.sum(), q / q.sum()
    best = (1 + (q + 1e-300) / (p + 1e-300)).reciprocal()
    jsd = jensen_shannon(p, q).item()
    w = wasserstein_distance(LINE, LINE, p, q)
    figure, (left, right) = subplots(1, 2, height=3.0)
    step = LINE[1] - LINE[0]
    left.fill_between(LINE, p / step, color="#0072B2", alpha=0.35, label="data")
    left.fill_between(LINE, q / step, color="#E69F00", alpha=0.5, label="fakes")
    left.plot(LINE, best, color="#000000", label="$D^*(x)$")
    left.axhline(0.5, color="#666666", linewidth=0.8, linestyle=":")
    left.set(xlabel="x", ylabel="density; probability", ylim=(0, 1.4), xlim=(-6, 6))
    left.legend(loc="upper left")
    right.barh(
        ["value V(D*, G)", "JSD", "W"],
        [-math.log(4) + 2 * jsd, jsd, w],
        color=["#000000", "#0072B2", "#009E73"],
    )
    for y, value in enumerate((-math.log(4) + 2 * jsd, jsd, w)):
        right.annotate(
            f"{value:.3f}",
            (max(value, 0), y),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    right.set(xlabel="nats; for W units of x", xlim=(-1.6, 6))
    right.invert_yaxis()
    title = (
        f"fakes at {mean:.1f}, width {width:.2f}: JSD {jsd:.3f} of at most "
        f"{math.log(2):.3f}, W {w:.2f}"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_game,
    mean=FloatSlider(0.0, min=-5.0, max=5.0, step=0.1),
    width=FloatSlider(1.1, min=0.1, max=2.0, step=0.05),
)

# %% [markdown]
# ## 3. Playing it
#
# Nobody can maximise over $D$ at every step, so in GT19's algorithm the players take turns: $k$ steps of the
# discriminator, then one step of the generator. Two details matter. First, **the discriminator's turn must not move the
# generator**, and vice versa. So each has an optimiser of its own, and fakes for the discriminator are made without
# gradient. Second, **write the losses on logits**: $-\log D = \operatorname{softplus}(-l)$ and
# $-\log(1 - D) = \operatorname{softplus}(l)$ are finite for every logit $l$, while the logarithm of a sigmoid is not.


# %%
def one_update_by_hand(generator, discriminator, x, z_for_d, z_for_g):
    """Algorithm 1 with k = 1: what each player minimises in its turn."""
    with torch.no_grad():
        fake = generator(z_for_d)
    d_loss = (
        nn.functional.softplus(-discriminator(x)).mean()
        + nn.functional.softplus(discriminator(fake)).mean()
    )
    # section 4 says why the loss is not log(1 - D)
    g_loss = nn.functional.softplus(-discriminator(generator(z_for_g))).mean()
    return d_loss, g_loss


torch.manual_seed(0)
game = GAN(
    mlp(2, 64, 2, norm=None),
    nn.Sequential(mlp(2, 64, 1, norm=None), nn.Flatten(0)),
    dim=2,
)
x = torch.randn(128, 2)
torch.manual_seed(1)
z_for_d, z_for_g = game.noise(128), game.noise(128)
torch.manual_seed(1)
ours = game.discriminator_loss(x), game.generator_loss(x)
torch.testing.assert_close(
    ours, one_update_by_hand(game.generator, game.discriminator, x, z_for_d, z_for_g)
)
ours[0].backward()
# the discriminator's turn gives the generator no gradient
assert all(p.grad is None for p in game.generator.parameters())
for big in (-1000.0, 1000.0):
    logit = torch.tensor([big])
    assert (
        discriminator_loss(logit, logit).isfinite()
        and not (logit.sigmoid().log() + (1 - logit.sigmoid()).log()).isfinite()
    )
show(GAN, after="exercise 10")

# %% [markdown]
# `fit` plays the turns of any method in order, each with its own optimiser. On eight Gaussians we can watch the
# generator's points and the discriminator's output at each place. (The networks are perceptrons with two hidden layers;
# the noise has two dimensions.)

# %%
FRAMES = 24
TURNS = updates(smoke=300, laptop=4000, gpu=4000)  # of both players together
SQUARE = torch.cartesian_prod(
    torch.linspace(-2.6, 2.6, 53), torch.linspace(-2.6, 2.6, 53)
)
FILM_Z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))


def film(method, optimiser, watch=False, data="gaussians"):
    """Trains on a toy data set.

    Returns a list of (update, generator's points, discriminator's outputs on SQUARE).
    """
    frames, steps = [], TURNS // len(method.turns())
    run = fit(
        method,
        load(data),
        steps,
        batch_size=256,
        optimizers=optimiser,
        seed=0,
        device="cpu",
    )
    for step in (
        live(run, names=("discriminator",) * method.k + ("generator",))
        if watch
        else run
    ):
        if step.k == 1 or step.k % max(1, steps // (FRAMES - 1)) == 0:
            with torch.no_grad():
                frames.append(
                    (
                        step.k,
                        method.generator(FILM_Z),
                        method.score(SQUARE).view(53, 53),
                    )
                )
    return frames


def toy(game, k=1, penalty=None):
    torch.manual_seed(0)
    generator = mlp(2, 128, 128, 2, norm=None)
    discriminator = nn.Sequential(mlp(2, 128, 128, 1, norm=None), nn.Flatten(0))
    return GAN(generator, discriminator, 2, game, k, penalty)


films = {
    "non-saturating": film(
        toy(NON_SATURATING), adamw(1e-3, 0.0, (0.5, 0.999)), watch=True
    )
}

# %%
films["saturating"] = film(toy(MINIMAX), adamw(1e-3, 0.0, (0.5, 0.999)))
films["non-saturating, beta_1 = 0.9"] = film(
    toy(NON_SATURATING), adamw(1e-3, 0.0, (0.9, 0.999))
)
# the discriminator's learning rate is a tenth of the generator's (section 8)
films["non-saturating, slow discriminator"] = film(
    toy(NON_SATURATING),
    [adamw(rate, 0.0, (0.5, 0.999)) for rate in (1e-4, 1e-3)],
)
films["Wasserstein, penalty (section 7)"] = film(
    toy(WASSERSTEIN, 5, GradientPenalty(1.0)), adamw(3e-3, 0.0, (0.0, 0.9))
)
films["non-saturating, 25 Gaussians"] = film(
    toy(NON_SATURATING, 5), adamw(1e-3, 0.0, (0.5, 0.999)), data="grid"
)
films["Wasserstein, penalty, 25 Gaussians"] = film(
    toy(WASSERSTEIN, 5, GradientPenalty(0.1)), adamw(3e-3, 0.0, (0.0, 0.9)), data="grid"
)

# %% tags=["fold"]
real_points = {data: load(data, "test").x[:500] for data in ("grid", "gaussians")}


def draw_frame(players, moment):
    frames, data = films[players], "grid" if "25" in players else "gaussians"
    update, points, outputs = frames[round(moment * (len(frames) - 1) / (FRAMES - 1))]
    figure, (left, right) = subplots(1, 2, height=3.6)
    limit = outputs.abs().max().item()
    picture = left.imshow(
        outputs.T,
        origin="lower",
        extent=(-2.6, 2.6, -2.6, 2.6),
        cmap="PuOr_r",
        vmin=-limit,
        vmax=limit,
    )
    figure.colorbar(picture, ax=left, label="logit, or critic's value")
    left.scatter(*points.T, s=4, color="#000000")
    left.set(
        title="discriminator's output; fakes",
        xlabel="$x_1$",
        ylabel="$x_2$",
        xlim=(-2.6, 2.6),
        ylim=(-2.6, 2.6),
    )
    right.scatter(*real_points[data].T, s=4, color="#0072B2", label="data")
    right.scatter(*points.T, s=4, color="#D55E00", label="fakes")
    right.set(
        title="data and fakes",
        xlabel="$x_1$",
        ylabel="$x_2$",
        xlim=(-2.6, 2.6),
        ylim=(-2.6, 2.6),
        aspect="equal",
    )
    right.legend(loc="upper right")
    for ax in (left, right):
        ax.grid(False)
    modes, share = evaluate.mode_coverage(points, CENTRES[data](), 3 * NOISE)
    title = (
        f"{players}: update {update}, {modes} of {len(CENTRES[data]())} modes, "
        f"{share:.0%} of the fakes inside one"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_frame,
    players=Dropdown(
        options=list(films), description="players", layout={"width": "28em"}
    ),
    moment=IntSlider(FRAMES - 4, min=0, max=FRAMES - 1, description="moment"),
)

# %% [markdown]
# **Try it.** Move the slider `moment` (the time in training) from left to right, then change the `players`. ($\beta_1$
# is explained below, the slow discriminator in section 8.) The discriminator's output falls where many fakes gather,
# and the fakes then move away. So the output keeps changing until the learning rate goes to zero. At equilibrium the
# losses of both players are constants ($\log 4$ and $\log 2$). But a discriminator that has learnt nothing has the same
# losses, whatever the fakes are.
#
# **Circling.** A game with alternating turns does not always converge. For $V = xy$ small simultaneous steps spiral
# outwards, and alternating steps circle around $(0, 0)$ for ever. This circling explains two habits. First, Adam
# averages the gradient over fewer updates ($\beta_1 = 0.5$ or 0 instead of 0.9), because the other player's updates
# keep changing its direction. Second, we draw with a moving average of the generator's weights (`momentum`, notebook
# 08, section 2; Yazici et al. 2018). This average lies nearer the centre of the circle. In eval mode the image models
# of this notebook use such averages.
#
# *Margin note.* AIA: the discriminator learns *if an image x is within p(x) or out of distribution*. In fact it learns
# to distinguish real from generated pictures. At equilibrium the fakes are *in* distribution. The discriminator's loss
# says nothing about pictures that are neither real nor generated.
#
# ## 4. Two losses for the generator
#
# Why is the generator's loss not the $\log(1 - D(G(z)))$ of the formula? GT19 draws this loss and $-\log D(G(z))$
# against $D(G(z))$. Differentiate both losses with respect to the discriminator's logit $l$, with $D = \sigma(l)$,
# $\sigma' = \sigma (1 - \sigma)$:
#
# $$\frac{\partial}{\partial l} \log(1 - D) = -D, \qquad \frac{\partial}{\partial l}\big(-\log D\big) = -(1 - D).$$
#
# GT19 says of the first loss: *gradient signal dominated by region where sample is already good*. Early on, fakes are
# bad and the discriminator recognises them, so $D(G(z)) \approx 0$. There the slope of the first loss is 0. **Where the
# generator most needs to learn, it gets no gradient**: the loss *saturates*. The second loss has slope $-1$ there. For
# one picture both gradients have the same direction, and the ratio of their lengths is $(1 - D)/D = e^{-l}$. Both
# losses have the same equilibrium. If $D = \frac12$ everywhere, the logit is *the same for all pictures*, so neither
# loss has a gradient for $G$.
#
# But the two losses define different games. At the best $D$ the first loss has the gradient of $2\,\mathrm{JSD}$. For
# the second loss write $-\log D^* = \log \frac{p_g}{p_{\text{data}}} - \log(1 - D^*)$. So its gradient is that of
# $\mathrm{KL}(p_g \| p_{\text{data}}) - 2\,\mathrm{JSD}$ (Arjovsky and Bottou). This KL punishes fakes where there are
# no data. But it hardly punishes fakes that leave out some of the data. (In notebook 11 the one-peaked $q$ left out a
# peak for the same reason.)
#
# *Margin note.* GT19 says of the second loss *same objective of fooling discriminator*. The fixed point is the same,
# but the objective is not. GT19's *discriminator outputs likelihood in (0,1)* means the probability of *real* given
# $x$, which is not a likelihood. The *noise prior $p_g(z)$* of GT19's algorithm is called $p(z)$ elsewhere in the deck.
# AIA's *backpropagate the negative gradient of the discriminator* is the saturating game.
#
# So far this is theory. Now take a DCGAN for digits (section 5). Its generator keeps its initial weights. Only the
# discriminator is trained. At each step we measure the length of the gradient that would reach the generator's weights.

# %%
AHEAD = {"smoke": 8, "laptop": 60, "gpu": 60}[BUDGET]
ahead = recipes.build(recipes.lookup("gan"), seed=0)
train = load("digits")
optimiser = torch.optim.Adam(ahead.discriminator.parameters(), 1e-3, (0.5, 0.999))
fooled, lengths = [], {"saturating: log(1 - D)": [], "non-saturating: -log D": []}
torch.manual_seed(0)
z = ahead.noise(64)
for step in range(AHEAD):
    fake = ahead.generator(z)
    logit = ahead.discriminator(fake)
    for name, loss in zip(
        lengths, (saturating_loss(logit), non_saturating_loss(logit))
    ):
        slopes = torch.autograd.grad(
            loss, list(ahead.generator.parameters()), retain_graph=True
        )
        lengths[name].append(
            torch.cat([slope.flatten() for slope in slopes]).norm().item()
        )
    fooled.append(logit.sigmoid().mean().item())
    x = as_float(train.x[64 * step : 64 * step + 64])
    optimiser.zero_grad()
    discriminator_loss(
        ahead.discriminator(x), ahead.discriminator(fake.detach())
    ).backward()
    optimiser.step()
ahead_logits = torch.linspace(-7, 7, 141, requires_grad=True)
slopes = [
    torch.autograd.grad(loss(ahead_logits) * 141, ahead_logits)[0]
    for loss in (saturating_loss, non_saturating_loss)
]
# the two slopes of the text
torch.testing.assert_close(
    slopes, [-ahead_logits.sigmoid(), ahead_logits.sigmoid() - 1]
)

# %% tags=["fold"]
figure, (left, right) = subplots(1, 2, height=3.2)
D = ahead_logits.detach().sigmoid()
left.plot(D, (1 - D).log(), color="#0072B2", label="log(1 - D)")
left.plot(D, -D.log(), "--", color="#D55E00", label="-log D")
left.set(
    xlabel="D(G(z))",
    ylabel="generator's loss, nats",
    title="the two losses",
)
left.legend()
for (name, values), line, colour in zip(
    lengths.items(), ("-", "--"), ("#0072B2", "#D55E00")
):
    right.plot(fooled, values, line, marker=".", color=colour, label=name)
right.set(
    xlabel="mean D(G(z)), falling as D trains",
    ylabel="length of G's gradient",
    xscale="log",
    yscale="log",
    title="measured in the network's weights",
)
right.invert_xaxis()
right.tick_params(axis="x", which="minor", labelbottom=False)
right.legend()
ratio = lengths["non-saturating: -log D"][-1] / lengths["saturating: log(1 - D)"][-1]
figure.suptitle(
    f"After {AHEAD} steps of D alone: D(G(z)) = {fooled[-1]:.4f}, the gradients' ratio "
    f"is {ratio:.0f}",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Left: log(1 - D) is flat at D = 0, -log D is steep. Right: as D(G(z)) falls, the "
    "saturating loss's gradient falls with it, the other one's does not.",
)

# %% [markdown]
# ## 5. Convolutions, and five guidelines
#
# GT19: *generator is an upsampling network with fractionally-strided convolutions, discriminator is a convolutional
# network*. Radford et al. (DCGAN) searched for architectures that can be trained, and gave five guidelines: strided
# convolutions instead of pooling; batch norm; no hidden fully connected layer; ReLU in the generator and tanh at its
# end; LeakyReLU in the discriminator. In `course_lib` each guideline is an argument, and the recommended value is its
# default.
#
# *Margin note.* GT19 says *use batchnorm in both*. The paper adds where **not** to use BatchNorm: at the generator's
# output and at the discriminator's input. A norm at the output would force every batch of fakes to the same mean and
# the same contrast. A norm at the input would hide the brightness and the contrast of a whole batch from the
# discriminator. And *LeakyReLU for all layers* means all layers except the output layer.
#
# A tanh that is mapped from $[-1, 1]$ to $[0, 1]$ is a sigmoid: $\frac12(\tanh a + 1) = \sigma(2a)$. The important
# point is that the output is bounded, as pixels are.

# %%
show(Generator, doc=False)
show(Discriminator, doc=False)

# %%
STEPS = updates(smoke=12, laptop=500, gpu=5000)
recipe = recipes.lookup("gan")
dcgan = recipes.build(recipe, seed=0)
z = torch.randn(24, 64, generator=torch.Generator().manual_seed(3))
stages = {}
run = recipes.train(recipe, dcgan, train, seed=0, steps=STEPS)
for step in live(run, names=("discriminator", "generator")):
    if step.k in (1, STEPS // 8 or 2, STEPS):
        device = next(dcgan.parameters()).device
        with torch.no_grad():
            stages[step.k] = dcgan.generator(z.to(device)).cpu()
dcgan = dcgan.eval().to("cpu")

# %% [markdown]
# The two curves do not say how good the fakes are. Look at them:

# %% tags=["fold"]
titles = [str(k) if i == 0 else "" for k in stages for i in range(10)]
image_grid(
    torch.cat([fakes[:10] for fakes in stages.values()]),
    titles,
    columns=10,
    title="The same ten noises after so many updates",
)

# %% [markdown]
# Which of the guidelines matters here? We switch off one guideline at a time (digits, 300 updates, three seeds). The
# Frechet distance is measured in the features of a classifier of digits (notebook 11; the distance between two sets of
# real digits is 0.4).

# %% tags=["fold"]
measured = experiments.values("gan-guidelines", "frechet")
# of generators after one update
untrained = np.mean(
    [row["curve"]["frechet"][0] for row in experiments.read("gan-losses")["rows"]]
)
figure = bars_with_spread(
    measured,
    title=(
        "One guideline changed at a time (digits, 3 seeds).\n"
        f"Dotted: after one update, {untrained:.0f}"
    ),
    xlabel="Frechet distance of fakes to real digits; lower is better",
)
figure.axes[0].axvline(untrained, color="#666666", linestyle=":")
figure

# %% [markdown]
# Begin with the longest bars.
#
# - **With BatchNorm at both ends, too, nothing is learnt** in all three runs. (The ends are the generator's output and
#   the discriminator's input. GT19's *both* includes them.)
# - With a hidden fully connected layer, two of three runs have learnt nothing after 300 updates. The third run has
#   begun to learn. (The initial weights of this layer, like those of every layer here, have a standard deviation of
#   0.02. The layer has no norm, so it may pass on too little of the noise.)
# - Without BatchNorm training is slow, and variety is lost (the recall of these fakes is 0).
# - Tanh instead of ReLU in the generator's hidden layers makes the fakes a little worse.
# - ReLU instead of LeakyReLU in the discriminator makes no difference here.
# - Strided convolutions do not help here. *Without* strides, the generator repeats pixels (nearest-neighbour
#   upsampling), and the discriminator uses max-pooling. After equally many updates the distance is then nearly halved.
#   But an update takes more than twice as long. The last bar has all five guidelines and as much time, 700 updates. So
#   at equal time nothing is left of the advantage.
#
# Guidelines are findings about one family of networks on one kind of data. Some guidelines also hold elsewhere.
#
# ## 6. How many turns for the discriminator?
#
# GT19: *some find k = 1 more stable, others use k > 1, no best rule*. The theory of section 2 assumes the best
# discriminator, which means a large $k$. Section 4 says that a very good discriminator gives no gradient to a generator
# with the saturating loss. Consider the cost, too: $k = 5$ takes three times as many turns as $k = 1$.

# %% tags=["fold"]
bars_with_spread(
    experiments.values("gan-k", "frechet"),
    title="k turns of the discriminator (digits, 3 seeds)",
    xlabel="Frechet distance; 300 updates of the generator, the last bar 900",
)

# %% [markdown]
# With equally many updates of the generator, more turns for the discriminator make the fakes *worse* here. With $k = 5$
# the seeds differ widely. With equally many turns, which means about equal time, $k = 1$ is better by far. So this
# non-saturating game with BatchNorm does not need a nearly perfect discriminator. A critic (section 7) is trained with
# more turns.
#
# ## 7. When the two do not overlap
#
# Pictures of 784 pixels that are made from 64 numbers lie on a surface of dimension 64 at most. Real digits, too, lie
# more or less on such a surface. The surface of the fakes and that of the digits hardly meet, unless they are specially
# aligned. Then some discriminator is right nearly everywhere, and $\mathrm{JSD} = \log 2$ wherever the fakes are. So
# the derivative of the JSD with respect to the position of the fakes is **zero**. Does the loss $-\log D$ solve this
# problem? It solved the problem of a saturated *sigmoid*. But where the supports do not meet, the best logit $\log
# p_{\text{data}} - \log p_g$ is not even finite. So the theory says nothing about its slope. The slope that a trained
# network has there can be very noisy (Arjovsky and Bottou). The remedy is a distance that tells how far apart the two
# distributions are.
#
# **Earth mover's distance.** A transport plan $\pi(x, \tilde x)$ says how much earth is moved from $x$ to $\tilde x$.
# It is a joint distribution whose marginals are $p$ and $q$. The cheapest plan costs
#
# $$W(p, q) = \min_{\pi \in \Pi(p, q)} \mathbb E_{(x, \tilde x) \sim \pi} \lVert x - \tilde x \rVert .$$
#
# For two points at a distance $\theta$ we have $W = |\theta|$, with slope $\pm 1$, while $\mathrm{JSD} = \log 2$ for
# every $\theta \ne 0$, with slope 0. On a line there is always a best plan whose paths do not cross. So for two samples
# of equal size we sort both, and pair their points in order. The figure has two intervals of width 1, one of them moved
# by $\theta$:


# %%
def moved_interval():
    thetas, cells = np.linspace(-3, 3, 61), torch.arange(-400, 500) / 100
    p = ((cells >= 0) & (cells < 1)).double()
    jsd, w = [], []
    for theta in thetas:
        q = ((cells >= theta) & (cells < theta + 1)).double()
        jsd.append(jensen_shannon(p / p.sum(), q / q.sum()).item())
        w.append(wasserstein_distance(cells, cells, p, q))
    return curve(
        thetas,
        {"JSD, nats": jsd, "W": w},
        title="Two intervals of width 1, one moved: what has a slope?",
        xlabel="moved by",
        ylabel="distance",
    )


moved_interval()

# %% [markdown]
#
# **Kantorovich and Rubinstein.** A network cannot compute a minimum over plans, but it can compute the dual. On
# finitely many points, with $c_{ij} = \lVert x_i - \tilde x_j \rVert$, the minimum is that of a linear programme,
# $\min_{\pi \ge 0} \sum_{ij} \pi_{ij} c_{ij}$ subject to $\sum_j \pi_{ij} = p_i$, $\sum_i \pi_{ij} = q_j$. With a
# multiplier $f_i$ for each row and $-g_j$ for each column, the Lagrangian is
#
# $$\sum_i f_i p_i - \sum_j g_j q_j + \sum_{ij} \pi_{ij} \big(c_{ij} - f_i + g_j\big).$$
#
# Its minimum over $\pi \ge 0$ is $-\infty$ unless $f_i - g_j \le c_{ij}$ for all $i, j$. So the dual is
# $\max \sum f_i p_i - \sum g_j q_j$ under these constraints, and for linear programmes the minimum and its dual have
# the same value. Now let $p$ and $q$ live on the same points. For a given $g$ the best $f$ is as large as the
# constraints allow, $f_i = \min_j (c_{ij} + g_j)$. Two things follow from this formula. First, $j = i$ gives
# $f_i \le g_i$. Second, let us replace $i$ by $k$. By the triangle inequality each term $c_{ij} + g_j$ changes by at
# most $c_{ik}$. Then the minimum of these terms also changes by at most $c_{ik}$. So $|f_i - f_k| \le c_{ik}$. This
# means that $f$ is *1-Lipschitz*, and the pair $(f, f)$ also satisfies the constraints. Replacing $g$ by $f$ can only
# raise $-\sum g_j q_j$. Conversely, every 1-Lipschitz $f$ gives an admissible pair $(f, f)$. So no 1-Lipschitz $f$
# gives more than the maximum of the dual. (The theorem also holds for distributions on infinitely many points, and we
# use it for them.) Hence
#
# $$W(p, q) = \max_{\lVert f \rVert_L \le 1} \mathbb E_p f - \mathbb E_q f .$$
#
# A **critic** is a discriminator without a sigmoid. The slope of a critic must be at most 1 everywhere. The critic is
# trained to maximise the difference of means, and the generator follows the critic's slope. How do we keep a network
# from being steeper than 1?
#
# - **Clip** every weight to $[-c, c]$ after each update (WGAN). Then the critic is $K$-Lipschitz for some $K$ that
#   nobody has chosen, and the difference of means is at most $K\,W$.
# - **Penalise** the slope (WGAN-GP). Because the minimum and its dual have the same value,
#   $\sum_{ij} \pi_{ij} (c_{ij} - f_i + f_j) = 0$, and no term of this sum is negative. So $f_i - f_j = c_{ij}$ wherever
#   $\pi_{ij} > 0$. If a 1-Lipschitz $f$ falls by the whole distance between two points, it must fall with slope 1 all
#   along the straight line between them. So its gradient on this line (where it has one) has norm 1. Gulrajani et al.
#   ask for this norm at random points between *independently* drawn real pictures and fakes:
#   $\lambda\, \mathbb E_{t}\big(\lVert \nabla f(x_t) \rVert - 1\big)^2$, $x_t = t\, x + (1 - t)\, G(z)$. This is more
#   than the theorem says, because the theorem speaks only of pairs that the best plan $\pi$ joins. Between other
#   pairs a best $f$ may be flat. For $p = q$, for example, *every* 1-Lipschitz $f$ is best, because
#   $\mathbb E_p f - \mathbb E_q f = 0$. A constant $f$ is one of them, and the penalty excludes it. BatchNorm in the
#   critic would make one picture's slope depend on the other pictures of its batch, so leave it out.


# %%
def penalty_by_hand(critic, real, fake, t):
    """The penalty, with each point's slopes from central differences."""
    between, h = t[:, None] * real + (1 - t[:, None]) * fake, 1e-5
    unit = torch.eye(real.shape[1], dtype=real.dtype)
    slopes = torch.stack(
        [(critic(between + h * e) - critic(between - h * e)) / (2 * h) for e in unit], 1
    )
    return (slopes.norm(dim=1) - 1).square().mean()


torch.manual_seed(0)
critic = nn.Sequential(
    nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)
).double()
real, fake, t = (
    torch.randn(32, 2).double(),
    torch.randn(32, 2).double() + 1,
    torch.rand(32).double(),
)
torch.testing.assert_close(
    gradient_penalty(critic, real, fake, t), penalty_by_hand(critic, real, fake, t)
)
show(gradient_penalty, after="exercise 6")
show(WGAN, after="exercise 5")

# %% [markdown]
# How steep is a best $f$ between pairs that the plan does *not* join? On a few points a linear programme gives both the
# plan and an $f$.


# %%
def best_potential(real, fake):
    """The plan's pairs, and one of the best f at the real points and at the fakes.

    The linear programme maximises the difference of means of f under the constraints
    f_i - f_j <= c_ij, for all pairs of points.
    """
    n, points = len(real), np.concatenate([real, fake])
    cost = np.linalg.norm(points[:, None] - points, axis=2)
    i, j = np.nonzero(~np.eye(2 * n, dtype=bool))
    rows = np.zeros((len(i), 2 * n))
    rows[np.arange(len(i)), i], rows[np.arange(len(i)), j] = 1, -1
    gain = np.repeat([1 / n, -1 / n], n)
    f = linprog(-gain, rows, cost[i, j], bounds=(None, None)).x
    return linear_sum_assignment(cost[:n, n:])[1], cost[:n, n:], f[:n], f[n:]


rng = np.random.default_rng(0)
few_real, few_fake = rng.normal(0, 1, (2, 24, 2)) + np.array([[[0, 0]], [[1, 0]]])
partner, apart, f_real, f_fake = best_potential(few_real, few_fake)
steepness = np.abs(f_real[:, None] - f_fake) / apart
joined = np.eye(24, dtype=bool)[partner]
# f falls by the whole distance along every joined pair, and the two optima agree
np.testing.assert_allclose((f_real[:, None] - f_fake)[joined], apart[joined], atol=1e-7)
np.testing.assert_allclose(f_real.mean() - f_fake.mean(), apart[joined].mean())
print(
    f"mean |f(x) - f(G(z))| / |x - G(z)|: {steepness[joined].mean():.3f} over the "
    f"pairs of the plan, {steepness[~joined].mean():.3f} over all other pairs"
)

# %% [markdown]
# Does a critic find the distance? For two samples of equal size the best plan pairs their points, and scipy finds the
# pairing. We train a small critic, with a penalty or with clipping, on two clouds in the plane. (The learning rate
# falls to almost zero, so that the critic comes to rest.)

# %%
CRITIC_STEPS = {"smoke": 60, "laptop": 500, "gpu": 500}[BUDGET]
torch.manual_seed(0)
real, fake = (
    torch.randn(256, 2) * 0.5,
    torch.randn(256, 2) * 0.5 + torch.tensor([1.0, 0.0]),
)
cost = torch.cdist(real, fake)
exact = cost[linear_sum_assignment(cost)].mean().item()


def estimates(penalty_weight=None, clip=None, spectral=False):
    """E f(real) - E f(fake) after each update of a critic."""
    torch.manual_seed(1)
    critic, gaps = nn.Sequential(mlp(2, 64, 64, 1, norm=None), nn.Flatten(0)), []
    if spectral:
        for layer in [m for m in critic.modules() if isinstance(m, nn.Linear)]:
            spectral_norm(layer, n_power_iterations=3)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3, (0.0, 0.9))
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, CRITIC_STEPS)
    for _ in range(CRITIC_STEPS):
        if clip is not None:
            with torch.no_grad():
                for p in critic.parameters():
                    p.clamp_(-clip, clip)
        gap = critic(real).mean() - critic(fake).mean()
        extra = (
            penalty_weight * gradient_penalty(critic, real, fake, torch.rand(256))
            if penalty_weight
            else 0.0
        )
        optimiser.zero_grad()
        (extra - gap).backward()
        optimiser.step()
        falling.step()
        gaps.append(gap.item())
    return gaps


lines = {
    "penalty, lambda = 10": estimates(10.0),
    "penalty, lambda = 1": estimates(1.0),
    "clipped to 0.1": estimates(clip=0.1),
    "clipped to 0.3": estimates(clip=0.3),
}

# %% tags=["fold"]
figure = curve(
    range(1, CRITIC_STEPS + 1),
    {**lines, "exact distance": [exact] * CRITIC_STEPS},
    title=f"E f(real) - E f(fake) while the critic trains; the distance is {exact:.2f}",
    xlabel="update of the critic",
    ylabel="units of x",
)
figure.axes[0].set_yscale("symlog", linthresh=2)
display(figure)
for weight in (10, 1):
    last = lines[f"penalty, lambda = {weight}"][-1]
    print(
        f"lambda = {weight}: estimate / distance {last / exact:.3f}, "
        f"a ramp would have {1 + exact / (2 * weight):.3f}"
    )

# %% [markdown]
# With the penalty the critic's estimate comes near the distance. With clipped weights the estimate arrives at a
# multiple of the distance. The factor depends on the clip, the depth and the widths. A penalty makes a steep critic
# costly, but does not forbid it. Let the critic be a ramp of slope $s$ between two points at a distance $W$. This
# critic maximises $s W - \lambda (s - 1)^2$, which gives $s = 1 + W / (2 \lambda)$. The cell prints this $s$ beside
# what the trained critic estimates, divided by the distance. So a small $\lambda$ gives an estimate that is clearly too
# large. The right $\lambda$ also depends on the unit of $x$: the paper's 10 is for pictures in $[-1, 1]$, but ours are
# in $[0, 1]$.
#
# **Three successors.** Later GANs bound the discriminator in other ways.
#
# *Spectral normalisation* (Miyato et al. 2018) divides each weight matrix by its largest singular value $\sigma(W)$. A
# linear layer changes the difference of two inputs by at most the factor $\sigma(W)$, because $\lVert W (x - \tilde x)
# \rVert \le \sigma(W) \lVert x - \tilde x \rVert$. ReLU, LeakyReLU and tanh never enlarge a difference. So the slope of
# the whole network is at most the product of all $\sigma(W)$, which is 1 after the division. If every $\sigma(W)$ is
# exact, this critic is 1-Lipschitz *everywhere*, and its estimate never exceeds the distance. (The product is an upper
# bound. It is reached only if the layers stretch the same direction, so such a critic may be too flat.) $\sigma(W)$
# comes from power iteration: $v \leftarrow W^\top u / \lVert W^\top u \rVert$, $u \leftarrow W v / \lVert W v \rVert$,
# $\sigma \approx u^\top W v$. (This estimate is never larger than $\sigma(W)$, so the network may be slightly too
# steep.) The weights change little in one update, so one iteration for each update is enough if $u$ is kept.
#
# *R1* (Mescheder et al. 2018) is $\frac\gamma2\, \mathbb E_{p_{\text{data}}} \lVert \nabla D(x) \rVert^2$ (of the
# logit), a penalty at real pictures only. Where the data are, the discriminator should become flat, as it is at the
# equilibrium. The smallest GAN shows the effect. All real points are 0, the generator draws the point $\theta$, and the
# logit is $\psi x$. With the non-saturating losses and very small steps,
#
# $$\dot\theta = \psi\, \sigma(-\psi\theta), \qquad \dot\psi = -\theta\, \sigma(\psi\theta) - \gamma \psi .$$
#
# Near the equilibrium $(0, 0)$ both sigmoids are $\frac12$, so the system is linear there, with this matrix and its
# eigenvalues:
#
# $$\begin{pmatrix} 0 & 1/2 \\ -1/2 & -\gamma \end{pmatrix}, \qquad -\frac\gamma2 \pm \sqrt{\frac{\gamma^2}4 - \frac14} .$$
#
# Without R1 the eigenvalues are $\pm \frac i2$. So the linear system circles around the equilibrium for ever (section
# 3). The full system comes nearer, but ever more slowly: the distance $r$ from the equilibrium falls only like $1/\sqrt
# t$. (The equations give $\frac{d}{dt} \frac{r^2}2 = -\psi\theta \tanh\frac{\psi\theta}2$, which is of order $r^4$.)
# With every $\gamma > 0$ both real parts are negative. So near the equilibrium the distance falls exponentially.
#
# *The hinge loss* (Lim and Ye 2017; BigGAN uses it) is $\mathbb E_{p_{\text{data}}} \max(0, 1 - l(x)) + \mathbb E_{p_g}
# \max(0, 1 + l(x))$ with logits $l$. The generator minimises $-\mathbb E_{p_g}\, l$. At each picture the
# discriminator's loss is linear between $l = -1$ and $l = 1$, so the best $l$ is $\pm 1$: $+1$ where $p_{\text{data}} >
# p_g$. Insert this, and the loss is $2 \int \min(p_{\text{data}}, p_g)\, dx = 2 - 2\, \mathrm{TV}$, with the total
# variation $\mathrm{TV} = \frac12 \int |p_{\text{data}} - p_g|\, dx$. So the hinge game minimises another distance than
# the JSD. A discriminator that is sure enough ($|l| > 1$ on the right side) gets no gradient, and does not become still
# surer.


# %%
def largest_singular_value(w, iterations=200):
    """Power iteration, as in spectral normalisation."""
    u = torch.ones(len(w), dtype=w.dtype)
    for _ in range(iterations):
        v = nn.functional.normalize(w.T @ u, dim=0)
        u = nn.functional.normalize(w @ v, dim=0)
    return u @ w @ v


torch.manual_seed(0)
w = torch.randn(20, 12, dtype=torch.float64)
torch.testing.assert_close(largest_singular_value(w), torch.linalg.svdvals(w)[0])
# the hinge loss of the six pictures of section 2: its minimum over many logits
some = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
hinge = (p * (1 - some).relu() + q * (1 + some).relu()).amin(0).sum()
torch.testing.assert_close(hinge, 2 - (p - q).abs().sum())


def players_velocity(state, gamma):
    """The smallest GAN: (theta, psi) -> their velocities, by autograd."""
    theta, psi = state.detach().requires_grad_().unbind()
    g_loss = non_saturating_loss((psi * theta)[None])
    real_point = torch.zeros(1, dtype=state.dtype, requires_grad=True)
    slope = torch.autograd.grad(psi * real_point, real_point, create_graph=True)[0]
    d_loss = discriminator_loss(psi * real_point, (psi * theta)[None])
    d_loss = d_loss + gamma / 2 * slope.square().mean()
    up = torch.autograd.grad(g_loss, theta)[0], torch.autograd.grad(d_loss, psi)[0]
    return -torch.stack(up)


def velocity_by_formula(state, gamma):
    theta, psi = state.unbind(-1)
    return torch.stack(
        [
            psi * torch.sigmoid(-psi * theta),
            -theta * torch.sigmoid(psi * theta) - gamma * psi,
        ],
        -1,
    )


PATH_STEPS, PATH_DT = 600, 0.05
paths = {}
for gamma in (0.0, 0.3, 1.0):
    h, unit = 1e-4, torch.eye(2, dtype=torch.float64)
    for somewhere in (
        *torch.randn(3, 2, dtype=torch.float64),
        h * unit[0],
        h * unit[1],
    ):
        torch.testing.assert_close(
            players_velocity(somewhere, gamma), velocity_by_formula(somewhere, gamma)
        )
    # the matrix of the text, from central differences
    jacobian = (
        (velocity_by_formula(h * unit, gamma) - velocity_by_formula(-h * unit, gamma))
        / (2 * h)
    ).T
    matrix = torch.tensor([[0, 0.5], [-0.5, -gamma]], dtype=torch.float64)
    torch.testing.assert_close(jacobian, matrix, atol=1e-6, rtol=0)
    root = complex(gamma**2 / 4 - 1 / 4) ** 0.5
    by_formula = np.sort_complex([-gamma / 2 - root, -gamma / 2 + root])
    eigenvalues = np.sort_complex(torch.linalg.eigvals(matrix).numpy())
    np.testing.assert_allclose(eigenvalues, by_formula, atol=1e-6)
    state = torch.tensor([1.0, 0.0], dtype=torch.float64)
    path = [state]
    for _ in range(PATH_STEPS):
        middle = state + PATH_DT / 2 * velocity_by_formula(state, gamma)
        state = state + PATH_DT * velocity_by_formula(middle, gamma)
        path.append(state)
    paths[gamma] = torch.stack(path)

# %% tags=["fold"]
lines["spectral normalisation"] = estimates(spectral=True)
figure, (left, right) = subplots(1, 2, height=3.4)
for (gamma, path), line, colour in zip(
    paths.items(), ("-", "--", ":"), ("#0072B2", "#D55E00", "#000000")
):
    left.plot(*path.T, line, color=colour, label=f"$\\gamma$ = {gamma:g}")
left.set(
    title="the smallest GAN, with R1",
    xlabel="$\\theta$, the fake",
    ylabel="$\\psi$, D's slope",
    aspect="equal",
)
left.legend(loc="upper right")
for name, line in (("penalty, lambda = 10", "--"), ("spectral normalisation", "-")):
    right.plot(range(1, CRITIC_STEPS + 1), lines[name], line, label=name)
right.axhline(exact, color="#666666", linestyle=":", label="exact distance")
right.set(
    title="critics of the two clouds", xlabel="update", ylabel="E f(real) - E f(fake)"
)
right.legend(loc="lower right")
figure.suptitle(
    "With R1 the players come to rest. With spectral normalisation the\nestimate ends "
    f"at {lines['spectral normalisation'][-1] / exact:.3f} of the distance",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Left: without R1 the players of the smallest GAN spiral slowly towards (0, 0), "
    "with R1 they come to rest there. Right: estimates of two critics, the exact "
    "distance.",
)

# %% [markdown]
# **Does the loss mean anything?** GT19 says that *followup work (e.g. Wasserstein GAN, BEGAN)* gives *better
# stability*. The WGAN paper claims more: its loss follows the quality of the pictures. Take the discriminator's
# *negative* loss (*minus the loss* in the figure). For a best discriminator the negative loss is $2\,\mathrm{JSD} -
# \log 4$, and for a best critic it is $W$. If the negative loss measures quality, it falls when the Frechet distance
# falls, and the correlation of the two is near 1. We play five games, with 300 updates of the generator and three
# seeds. In each run we measure the negative loss on held-out digits, and the Frechet distance of an equal number of
# fakes. We measure after the first update and nine more times. Figure and correlation leave out the first measurement.
# In the figure each game has a column, with the rank correlation under its name. (The generators have the same
# architecture. The discriminators of the first two columns have BatchNorm, which uses its running statistics when we
# measure. The other discriminators have no BatchNorm. WGAN critics take five turns for one of the generator.)


# %% tags=["fold"]
def losses_and_quality():
    """Draws the discriminator's loss on held-out digits, and the Frechet distance.

    The upper row is minus the loss, the lower row the distance. Each seed has a line.
    """
    rows = experiments.read("gan-losses")["rows"]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    figure, axes = subplots(2, len(settings), height=4.6)
    for (upper, lower), setting in zip(axes.T, settings):
        of_it = [row for row in rows if row["setting"] == setting]
        for row, line in zip(of_it, ("-", "--", ":")):
            curves = row["curve"]
            upper.plot(
                curves["update"][1:],
                [-loss for loss in curves["loss"][1:]],
                line,
                marker=".",
                color="#0072B2",
            )
            lower.plot(
                curves["update"][1:],
                curves["frechet"][1:],
                line,
                marker=".",
                color="#D55E00",
            )
        upper.set_title(
            f"{setting.replace('non-saturating', 'non-sat.')}\n"
            f"{np.mean([-row['correlation'] for row in of_it]):.2f}",
            fontsize=9,
        )
        lower.set(yscale="log", ylim=(12, 1200), xlabel="update of G")
    axes[0, 0].set(ylabel="minus D's loss")
    axes[1, 0].set(ylabel="Frechet distance")
    figure.suptitle(
        "Minus the loss (above), distance to real digits (below); mean rank "
        "correlation of the two",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Five columns, one for each game. In each, minus the discriminator's loss over "
        "the run above and the Frechet distance below.",
    )


losses_and_quality()

# %% [markdown]
# Both curves agree only in the last column.
#
# - *WGAN-GP.* The negative loss falls as the fakes come nearer to digits, from one measurement to the next, in every
#   run. (But nine measurements of two falling curves show only a common trend.)
# - *WGAN, clipped.* The negative loss falls once, and then rises to its largest value, while the fakes improve most.
#   After that it falls, while the fakes change little. At the end it is higher than at the first point of the figure.
#   It contains a factor that changes during training, so it is no measure of quality here.
# - *Non-saturating.* The negative loss says hardly anything about quality. Without BatchNorm it follows quality in
#   part.
# - *Saturating.* **The generator never starts to learn.** Its discriminator recognises every fake (its loss is about
#   0.001 nats). At the last measurement the fakes are farther from digits than after the first update. This is the
#   saturation of section 4 in a real training run. For this reason hardly anybody uses the formula of section 2
#   unchanged.
#
# ## 8. Modes
#
# A generator that draws one perfect picture fools a discriminator that looks at pictures one by one. When the
# discriminator has learnt to reject this picture, the generator draws another. (The KL of section 4 hardly punishes the
# missing pictures.) This failure is called *mode collapse*. The variety that is lost is called *diversity* in GT19.
#
# **A collapsed run.** A collapse is easy to produce: the discriminator must be too slow. Here its learning rate is a
# tenth of the generator's. Everything else is as in the first film of section 3.

# %% tags=["fold"]
slow = films["non-saturating, slow discriminator"]
moments = [round(share * (len(slow) - 1)) for share in (0.6, 0.7, 0.8, 0.9, 1.0)]
figure, axes = subplots(1, 5, height=2.6)
for ax, moment in zip(axes, moments):
    update, points, outputs = slow[moment]
    modes, share = evaluate.mode_coverage(points, CENTRES["gaussians"](), 3 * NOISE)
    ax.scatter(*real_points["gaussians"].T, s=2, color="#0072B2")
    ax.scatter(*points.T, s=5, color="#D55E00")
    ax.set(
        title=f"{update}: {modes} of 8",
        xlim=(-2.6, 2.6),
        ylim=(-2.6, 2.6),
        aspect="equal",
        xticks=(),
        yticks=(),
    )
covered = {
    name: evaluate.mode_coverage(films[name][-1][1], CENTRES["gaussians"](), 3 * NOISE)[
        0
    ]
    for name in ("non-saturating", "non-saturating, slow discriminator")
}
figure.suptitle(
    "A slow discriminator: update and modes; data blue, fakes orange.\nAt the end "
    f"{list(covered.values())[1]} of 8 modes; with equal learning rates "
    f"{list(covered.values())[0]}",
    x=0.01,
    ha="left",
    fontsize=10,
)
describe(
    figure,
    "Five moments of a run with a slow discriminator: the fakes gather at a few "
    "places, which change, while the data form a ring of eight clouds.",
)

# %% [markdown]
# The fakes gather at one or two places instead of eight. The discriminator is slow to reject these places. When it has
# done so, all fakes move on together, to the next place. Against one fixed $D$ the best generator draws only the
# picture with the largest $D$ (section 2), and this generator has enough time to come near it. The JSD, which is the
# value for the *best* $D$, has no such minimum. So a collapse is a failure of the training, not of the distance.
#
# **A fair comparison.** On eight Gaussians, and on twenty-five, we can count modes. The usual figure compares a poorly
# tuned plain GAN with a tuned WGAN. Here **both were tuned with equal care**. On each toy each GAN had six settings:
# three learning rates times two. The plain GAN had $k = 1$ or 5, and WGAN-GP had $\lambda = 0.1$ or 1 (always with $k =
# 5$). Each setting was run with one seed for 9,000 turns, which gives WGAN-GP's generator 1,500 updates. The best
# setting of each GAN on each toy was run again with three other seeds. A mode counts if at least a tenth of its
# expected share is drawn.

# %% tags=["fold"]
chosen = experiments.values("gan-modes", "inside")
tuning = experiments.values("gan-modes-tuning", "modes")
for data in ("gaussians", "grid"):
    for name in ("plain", "WGAN-GP"):
        found = [
            modes[0]
            for setting, modes in tuning.items()
            if setting.startswith(f"{data}, {name}")
        ]
        print(
            f"{data}, {name}: all modes with {sum(share == 1 for share in found)} of "
            f"{len(found)} settings, {min(found):.0%} with the worst"
        )
display(
    bars_with_spread(
        experiments.values("gan-modes", "modes"),
        title="Share of the modes drawn (3 new seeds)",
        xlabel="share of 8 or 25 modes",
    )
)
bars_with_spread(
    chosen,
    title="Share of the fakes inside a mode",
    xlabel="share of fakes within three standard deviations (real points: 0.989)",
)

# %% [markdown]
# No setting collapses: the worst of the 24 runs misses two modes of twenty-five. With equal care the plain GAN draws
# all modes, and so does the WGAN with a penalty. The plain GAN puts about as many points inside the modes as the WGAN,
# or more. None of the penalty's settings missed a mode, one of the plain GAN's settings did. This is the finding of
# Lucic et al., *Are GANs Created Equal?*, on a small scale. Collapsed GANs on a circle of Gaussians, such as the one
# above, are real, but each comes from one setting. The films of section 3 show the effect of the loss and of $\beta_1$.
#
# ## 9. Asking for a class
#
# AIA: *class conditional generation of images*, BigGAN. Two small parts of BigGAN contain the idea.
#
# **The generator** gets the label through its norms. BatchNorm brings each channel to mean 0 and variance 1 and then
# applies a gain and a bias. Now each label has its own gain and bias: $\gamma_y \odot \hat h + \beta_y$. A gain near 0
# switches a channel off, so the label chooses which features are painted.
#
# **The discriminator** must decide whether $x$ is real *and* of class $y$. Its best logit is
# $\log \frac{p(x, y)}{p_g(x, y)}$ (section 2, applied to pairs). Factor both densities:
#
# $$\log \frac{p(x, y)}{p_g(x, y)} = \log \frac{p(x)}{p_g(x)} + \log \frac{p(y \mid x)}{p_g(y \mid x)} .$$
#
# Suppose that both conditionals are softmax classifiers on features $h(x)$:
# $\log p(y \mid x) = \langle v_y, h \rangle - \log Z(h)$. Then the second term becomes
# $\langle v_y - v^g_y, h \rangle - (\log Z - \log Z_g)$. We add the part without $y$ to the first term, and now write
# $v_y$ for the difference $v_y - v^g_y$. The result is Miyato and Koyama's **projection**,
#
# $$\operatorname{logit}(x, y) = \psi\big(h(x)\big) + \langle v_y, h(x) \rangle :$$
#
# the first term asks whether the picture is real, the second whether its features point in the direction of class $y$.


# %%
def conditional_norm_by_hand(x, y, gain, bias):
    # mean and variance of the whole batch
    mean, variance = (
        x.mean((0, 2, 3), keepdim=True),
        x.var((0, 2, 3), correction=0, keepdim=True),
    )
    return (
        gain[y][:, :, None, None] * (x - mean) / (variance + 1e-5).sqrt()
        + bias[y][:, :, None, None]
    )


torch.manual_seed(0)
norm, x, y = (
    ConditionalBatchNorm(6, classes=3),
    torch.randn(8, 6, 4, 4),
    torch.randint(3, (8,)),
)
nn.init.normal_(norm.gain.weight), nn.init.normal_(norm.bias.weight)
torch.testing.assert_close(
    norm(x, y), conditional_norm_by_hand(x, y, norm.gain.weight, norm.bias.weight)
)
show(ProjectionDiscriminator, after="exercise 8")
show(ConditionalGAN)

# %%
writer, painter = zoo.load("conditional-gan"), zoo.load("conditional-gan-emoji")
with torch.no_grad():
    z = torch.randn(
        10, writer.dim, generator=torch.Generator().manual_seed(2)
    ).repeat_interleave(10, 0)
    written = writer.generate(z, torch.arange(10).repeat(10))
image_grid(
    written,
    columns=10,
    title=(
        "A row is one noise, a column one label: the label says which digit, the "
        "noise how"
    ),
)

# %% [markdown]
# How often does a classifier (notebook 11's for digits, notebook 00's for emoji) predict the label that the generator
# got? This share is the *conditional accuracy*. For real pictures it is the classifier's accuracy. The table gives the
# means over the labels.


# %% tags=["fold"]
def conditional_accuracies(method, classifier, test, train):
    """Measures for each label how often the classifier predicts it rightly.

    Returns a list of shares for 600 fakes of the shipped weights, one for the test
    pictures and one for 1,000 training pictures (of GAN and classifier).
    """
    classes = len(test.classes)
    labels = torch.arange(600) % classes
    with torch.no_grad():
        fakes = method.generate(
            torch.randn(600, method.dim, generator=torch.Generator().manual_seed(0)),
            labels,
        )
        predicted = classifier.classifier(classifier.encode(fakes)).argmax(1)
        shares = [(predicted == labels, labels)]
        some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        for part in (test, train[some[:1000]]):
            h = evaluate.features(classifier, part.x)
            predicted = classifier.classifier(h).argmax(1)
            shares.append((predicted == part.y, part.y))
    return [
        [right[label == c].double().mean().item() for c in range(classes)]
        for right, label in shares
    ]


def by_label():
    figure, axes = subplots(1, 2, height=3.6)
    titles = ("short runs", "shipped weights", "test pictures", "training pictures")
    lines = [f"| mean over the labels | {' | '.join(titles)} |", "|---" * 5 + "|"]
    pairs = {
        "digits, with label": (writer, "supervised-digits", digits, train),
        "emoji, with label": (painter, "supervised", emoji, load("emoji_on_white")),
    }
    for ax, (name, (method, classifier, *parts)) in zip(axes, pairs.items()):
        short_runs = np.array(
            [
                row["by_label"]
                for row in experiments.read("gan-samples")["rows"]
                if row["setting"] == name
            ]
        )
        shares = conditional_accuracies(method, zoo.load(classifier), *parts)
        at = np.arange(len(parts[0].classes))
        ax.barh(at, short_runs.mean(0), color="#56B4E9")
        for seed in short_runs:
            ax.plot(seed, at, "k.", markersize=3)
        for share, marker, colour in zip(
            shares, ("D", "s", "^"), ("#D55E00", "#000000", "#000000")
        ):
            fill = "full" if marker == "D" else "none"
            ax.plot(share, at, marker, color=colour, fillstyle=fill)
        ax.axvline(1 / len(at), color="#666666", linestyle=":")
        ax.set(
            yticks=at,
            yticklabels=parts[0].classes,
            xlim=(0, 1.02),
            xlabel="share with the right prediction",
            title=name.split(",")[0],
        )
        ax.invert_yaxis()
        means = " | ".join(f"{np.mean(share):.0%}" for share in (short_runs, *shares))
        lines.append(f"| {name.split(',')[0]} | {means} |")
    display(Markdown("\n".join(lines)))
    figure.suptitle(
        "Conditional accuracy. Bars: 1,000 updates, 3 seeds; diamonds: shipped "
        "weights.\n"
        "Accuracy of the classifier. Squares: test pictures; triangles: training "
        "pictures",
        x=0.01,
        ha="left",
        fontsize=9,
    )
    return describe(
        figure,
        "For each digit and emoji category the conditional accuracy of short runs and "
        "of the shipped weights, and the classifier's accuracy on test and training "
        "pictures. Chance is dotted.",
    )


by_label()

# %% [markdown]
# In short runs the label has an effect, but many fakes do not yet show the class of their label. The shipped digits
# nearly always show it. The classifier of emoji is not reliable: as a mean over the labels it
# recognises fewer than half of the test emoji. The shipped fakes get a higher accuracy than the test emoji. This does
# not mean that they are better than real emoji. The GAN and the classifier were trained on the same emoji, so the fair
# comparison is with real *training* emoji. Fakes and training emoji have about the same accuracy. The test emoji are
# other emoji, and more difficult for this classifier.
#
# **Truncation.** BigGAN's trick needs no training. Draw noise only from the middle of the Gaussian, which means that
# numbers beyond a threshold are drawn again. (Our function `truncated` does not draw again. It maps each number to the
# same quantile of the truncated Gaussian. The result has the same distribution.) The *density* of a noise vector is
# largest at 0. But near 0 there is very little volume in 64 dimensions, so nearly all draws have a length of about
# $\sqrt{64} = 8$. Noise truncated at 1 has a length of about 4.3. So a truncated draw lies *inside* the sphere near
# which the generator was trained. If the generator is smooth, it paints something typical there. BigGAN's authors found
# that many of their large generators did not allow truncation, and added a regulariser. The figure uses a fake for each
# of the 2,000 test digits and 1,146 test emoji, with three seeds each. So its accuracy is a mean over pictures. (For
# emoji this is higher than the mean over the labels above, because the categories have different sizes.)


# %% tags=["fold"]
def truncation_figure():
    figure, axes = subplots(1, 3, height=3.0)
    rows = {
        name: [
            row
            for row in experiments.read("gan-samples")["rows"]
            if row["setting"] == name
        ]
        for name in ("digits, with label", "emoji, with label")
    }
    for (name, of_it), line, colour in zip(
        rows.items(), ("-", "--"), ("#0072B2", "#D55E00")
    ):
        for ax, measure in zip(axes, ("accuracy", "precision", "recall")):
            values = np.array([row["curve"][measure] for row in of_it])
            threshold = of_it[0]["curve"]["threshold"]
            ax.plot(
                threshold,
                values.mean(0),
                line,
                marker="o",
                color=colour,
                label=name.split(",")[0],
            )
            ax.fill_between(
                threshold, values.min(0), values.max(0), color=colour, alpha=0.2
            )
            ax.set(xlabel="truncation threshold", ylabel="share", ylim=(0, 1))
    axes[0].set(title="conditional accuracy")
    axes[1].set(title="precision")
    axes[2].set(title="recall")
    axes[0].legend()
    figure.suptitle(
        "What truncated noise does (mean and range of 3 seeds)", x=0.01, ha="left"
    )
    return describe(
        figure,
        "Three panels over the truncation threshold: accuracy, precision and recall, "
        "for digits and emoji.",
    )


truncation_figure()

# %% [markdown]
# Read the figure from the right to the left. Mean recall falls all the way, as expected. For the digits accuracy and
# precision rise down to a threshold of about 0.75 or 1. For the emoji accuracy rises only a little, and mean precision
# does not rise. Below this threshold accuracy, precision and recall all **fall**. With too much truncation these small
# generators paint blurred mixtures, because they were never trained on such noise.
#
# **Try it.** Choose a class, a noise and a threshold. Begin with the emoji, then try the digits.


# %%
def draw_class(which, label, noise, threshold):
    method, names = (
        (painter, emoji.classes) if which == "emoji" else (writer, digits.classes)
    )
    label = min(label, len(names) - 1)
    z = truncated(
        torch.randn(12, method.dim, generator=torch.Generator().manual_seed(noise)),
        threshold,
    )
    with torch.no_grad():
        pictures = method.generate(z, torch.full((12,), label))
    return image_grid(
        pictures,
        columns=6,
        title=(
            f"{names[label]}: twelve draws of seed {noise}, noise truncated at "
            f"{threshold:g}"
        ),
    )


explore(
    draw_class,
    which=Dropdown(options=["emoji", "digits"], description="data"),
    label=IntSlider(6, min=0, max=9, description="class"),
    noise=IntSlider(0, min=0, max=50, description="seed"),
    threshold=SelectionSlider(options=[0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 4.0], value=1.0),
)

# %% [markdown]
# ## 10. Growing up
#
# Karras et al. (MLMI17's *State of the art (once upon a time)*) do not begin with large pictures. The networks begin
# with 8 x 8 pixels (in the paper with 4 x 4). After a fixed share of the training the layers of the next level are
# **faded in**. Then the picture is $(1 - \alpha)$ times the enlarged picture of the old level, plus $\alpha$ times the
# picture of the new level. Real pictures are blended in the same way, so that the discriminator cannot recognise fakes
# by sharpness alone. `progress`, which `fit` sets before each update, says how far the training has come. Here the
# networks are fully grown after two fifths of the training.

# %% tags=["fold"]
growing_recipe = recipes.lookup("progressive-gan")
growing = recipes.build(growing_recipe, seed=0)


def phases():
    at = np.linspace(0, 1, 501)
    levels = np.array([fade_in(min(1.0, float(p) / growing.youth), 3) for p in at])
    figure, ax = subplots(height=2.4)
    for level, (line, colour) in enumerate(
        zip(("-", "--", "-."), ("#0072B2", "#D55E00", "#009E73"))
    ):
        share = np.where(
            levels[:, 0] == level,
            levels[:, 1],
            np.where(levels[:, 0] == level + 1, 1 - levels[:, 1], 0),
        )
        ax.plot(at, share, line, color=colour, label=f"{8 * 2**level} x {8 * 2**level}")
    ax.set(
        xlabel="progress",
        ylabel="share of the picture",
        title="Which level generates the picture",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return describe(
        figure,
        "Three levels: 8 x 8 alone for a tenth of the training, a hand-over to 16 x "
        "16, which paints alone, then to 32 x 32, which paints alone for the longer "
        "half.",
    )


display(phases())

# %%
show(fade_in, after="exercise 9")
show(ProgressiveGAN, doc=False)

# %%
GROWTH_STEPS = updates(smoke=10, laptop=800, gpu=3000)
growing_z = torch.randn(10, 64, generator=torch.Generator().manual_seed(1))
grown, marks = (
    {},
    [max(1, round(GROWTH_STEPS * share)) for share in (0.08, 0.18, 0.28, 0.38, 1.0)],
)
growing = recipes.build(growing_recipe, seed=0)  # a new start each time the cell runs
for step in live(
    recipes.train(
        growing_recipe, growing, load("emoji_on_white"), seed=0, steps=GROWTH_STEPS
    ),
    names=("discriminator", "generator"),
):
    if step.k in marks:
        device = next(growing.parameters()).device
        with torch.no_grad():
            small = growing.generate(growing_z.to(device)).cpu()
        grown[step.k] = nn.functional.interpolate(small, size=32)

# %% [markdown]
# What did the generator draw on the way? Small pictures are shown enlarged.

# %% tags=["fold"]
titles = [str(k) if i == 0 else "" for k in grown for i in range(10)]
image_grid(
    torch.cat(list(grown.values())),
    titles,
    columns=10,
    title=f"The same noises after so many of {GROWTH_STEPS} updates",
)

# %% [markdown]
# After equally many updates, growing networks are as good as plain ones. The Frechet distance is 37 for both, if the
# plain GAN's pictures are not shifted at random (see the table of section 14). Emoji of 32 pixels are not a hard case.
# The method was made for pictures of 1024 x 1024 pixels.
#
# ## 11. A walk, copies, and arithmetic
#
# Every noise vector gives a picture, so a path through noise gives a film. In 64 dimensions draws lie near a sphere
# (notebook 11), so we walk along this sphere (`slerp`).
#
# **Try it.** Choose two noises and a place `t` on the way between them. Is there a place where one thing suddenly
# becomes another?


# %% tags=["fold"]
def draw_way(start, end, t):
    a, b = (
        torch.randn(walker.dim, generator=torch.Generator().manual_seed(seed))
        for seed in (start, end)
    )
    along = torch.stack([slerp(a, b, s) for s in (0.0, 0.25, 0.5, 0.75, 1.0, t)])
    with torch.no_grad():
        pictures = walker.generate(along)
        film = walker.generate(
            torch.stack([slerp(a, b, s) for s in torch.linspace(0, 1, 21).tolist()])
        )
    names = ["start", "1/4", "1/2", "3/4", "end", f"t = {t:.2f}"]
    changes = (film[1:] - film[:-1]).square().mean((1, 2, 3)).sqrt()
    title = (
        f"From noise {start} to noise {end}: of 20 steps the largest, "
        f"{changes.max() / changes.mean():.1f} times the mean, is at t = "
        f"{changes.argmax() / 20 + 0.025:.2f}"
    )
    return image_grid(pictures, names, columns=6, title=title)


explore(
    draw_way,
    start=IntSlider(3, min=0, max=60),
    end=IntSlider(8, min=0, max=60),
    t=FloatSlider(0.4, min=0.0, max=1.0, step=0.02),
)

# %% [markdown]
# **Copies?** A generator could fool the discriminator with copies of the training pictures. A walk without jumps speaks
# against copies, but does not exclude them. So search the nearest training picture of each fake, in the features of
# notebook 00's classifier. But what is near? Real *test* pictures are new for certain, so their distances to the
# training set are the scale. The figure shows the ten fakes that are nearest to a training picture.

# %%
classifier, emoji_train = zoo.load("supervised"), load("emoji_on_white")
with torch.no_grad():
    many_z = torch.randn(600, walker.dim, generator=torch.Generator().manual_seed(0))
    many = torch.cat([walker.generate(part) for part in many_z.split(200)])
h_train, h_fakes, h_test = (
    evaluate.features(classifier, x) for x in (emoji_train.x, many, emoji.x)
)
of_fakes, nearest_row = torch.cdist(h_fakes, h_train).min(1)
of_test = torch.cdist(h_test, h_train).min(1).values
# the same distance, without cdist
closest = int(of_fakes.argmin())
torch.testing.assert_close(
    (h_train - h_fakes[closest]).square().sum(1).min().sqrt(), of_fakes[closest]
)
print(
    "distance to the nearest training picture, median and smallest: "
    f"fakes {of_fakes.median():.2f} and {of_fakes.min():.2f}, "
    f"test pictures {of_test.median():.2f} and {of_test.min():.2f}"
)
suspects = of_fakes.argsort()[:10]
image_grid(
    torch.cat([many[suspects], as_float(emoji_train.x[nearest_row[suspects]])]),
    [text if i == 0 else "" for text in ("fakes", "training") for i in range(10)],
    columns=10,
    title="The fakes that are nearest to a training picture, and that picture",
)

# %% [markdown]
# The shipped generator does not copy. Its fakes are not nearer to the training pictures than new real pictures are.
# Even the nearest ones share only colours or an outline with their neighbour. (This compares features of one
# classifier. Two pictures that this classifier confuses would count as near.)
#
# **Arithmetic.** In DCGAN's famous figure, the mean noise of *smiling women* minus *neutral women* plus *neutral men*
# paints a smiling man. Here notebook 00's classifier sorts fakes into categories. We compute the mean noise of the most
# confidently classified flags, and that of the most confidently classified smileys. From the noise of a flag we
# subtract the first mean, and add the second. There are two controls. One is a step of the same length in a random
# direction. The other, as in the paper, is the same sum with pixels.


# %%
def arithmetic_pictures(a=2, b=6):
    judge = zoo.load("supervised")
    n = {"smoke": 600, "laptop": 2000, "gpu": 2000}[BUDGET]
    z = torch.randn(n, walker.dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = torch.cat([walker.generate(part) for part in z.split(250)])
        sure, label = torch.cat(
            [judge.classifier(judge.encode(part)).softmax(1) for part in x.split(250)]
        ).max(1)
        rows = {c: (label == c).nonzero().flatten() for c in (a, b)}
        rows = {
            c: of_it[sure[of_it].argsort(descending=True)] for c, of_it in rows.items()
        }
        best = {c: of_it[: max(2, len(of_it) // 2)] for c, of_it in rows.items()}
        rest = rows[a][len(best[a]) :][:10]
        step = z[best[b]].mean(0) - z[best[a]].mean(0)
        by_pixels = (x[rest] + x[best[b]].mean(0) - x[best[a]].mean(0)).clamp(0, 1)
        moved = walker.generate(z[rest] + step)
    titles = [
        text if i == 0 else ""
        for text in ("before", "by noise", "by pixels")
        for i in range(len(rest))
    ]
    return image_grid(
        torch.cat([x[rest], moved, by_pixels]),
        titles,
        columns=len(rest),
        title=(
            f"Minus the mean of {emoji.classes[a]}, plus the mean of {emoji.classes[b]}"
        ),
    )


arithmetic_pictures()

# %% tags=["fold"]
rows = experiments.read("gan-arithmetic")["rows"]
named = {"after": "by noise", "random": "a random step as long", "pixels": "by pixels"}
bars_with_spread(
    {text: [row[name] for row in rows] for name, text in named.items()},
    title="Fakes classified as the category that was added (3 seeds)",
    xlabel="share of fakes, mean over six pairs of categories",
)

# %% [markdown]
# More than half of the fakes are classified as the category that was added. With random steps hardly any are. With sums
# of pixels about a third are, but they are pale double exposures. A warning: a step of this length in this direction
# moves a fake towards the *typical* smiley. Also, the classifier that chose the direction evaluates the result.
#
# ## 12. A representation from the game
#
# AIA: *Paper also uses discriminator features for image classification.* A network that distinguishes digits from fakes
# may have learnt features of strokes. And GT19's tables of representations have a line *BiGAN*. BiGAN puts an
# **encoder** into the game. The discriminator now gets *pairs* of picture and code: either a real picture with its
# code, $(x, E(x))$, or a noise vector with its picture, $(G(z), z)$. The discriminator must decide which kind of pair
# it gets. By section 2, applied to pairs, both joint distributions are equal at the game's optimum,
#
# $$p_{\text{data}}(x)\, \delta\big(z - E(x)\big) = p(z)\, \delta\big(x - G(z)\big) .$$
#
# The left side has mass only where $z = E(x)$, the right side only where $x = G(z)$. Both conditions together give
# $x = G(E(x))$ on the data: **the encoder inverts the generator**, though nobody ever compared a picture with its
# reconstruction. This result holds at the optimum only. Both kinds of pairs lie on thin surfaces, as in section 7, and
# a discriminator can distinguish them long before the optimum. Look how near a trained encoder comes to $x = G(E(x))$.

# %%
show(BiGAN)


# %% tags=["fold"]
def encoders():
    found = experiments.values("gan-representation", "knn")
    named = {
        "DCGAN's discriminator, untrained": found["digits, untrained"],
        "DCGAN's discriminator": found["digits"],
    }
    for title, name in (("BiGAN's encoder", "bigan"), ("VAE's encoder (11)", "vae")):
        found = experiments.values(name, "knn")
        named |= {
            f"{title}, untrained": found["random encoder"],
            title: found["trained"],
        }
    return bars_with_spread(
        named,
        title="k-NN accuracy of frozen features, test digits (3 seeds)",
        xlabel="accuracy (chance 0.1)",
    )


encoders()

# %%
STEPS = updates(smoke=10, laptop=1200, gpu=12_000)
both_ways = recipes.build(recipes.lookup("bigan"), seed=0)
for step in live(
    recipes.train(recipes.lookup("bigan"), both_ways, train, seed=0, steps=STEPS),
    names=("discriminator", "generator and encoder"),
):
    pass
both_ways = both_ways.eval().to("cpu")

# %% [markdown]
# Does the encoder find codes from which the generator draws the same digit?

# %%
with torch.no_grad():
    x = as_float(digits.x[:12])
    rebuilt = both_ways.reconstruct(x)
image_grid(
    torch.cat([x, rebuilt]),
    [text if i == 0 else "" for text in ("digits", "G(E(x))") for i in range(12)],
    columns=12,
    title=("Test digits and BiGAN's reconstructions, which training did not compare"),
)

# %% [markdown]
# Training improves the discriminator's features only a little, by k-NN. Their accuracy is half a point to two points
# higher than that of the same untrained network, depending on the run. (The DCGAN paper compared its features with
# k-means features. Notebook 00 compares with an untrained network.) BiGAN's code of 32 numbers gains fifteen points,
# and its reconstructions often, but not always, show the digit that was coded. From the code of notebook 11's VAE, k-NN
# recognises more digits. A network that distinguishes fakes from digits need not know which digit it sees.
#
# ## 13. Back to the blurry means
#
# AIA comes to GANs from colourisation: *we do not actually care if the image is exactly the same as the input image. We
# just want it to be realistic. But the MSE forces the output to be the same as the reference*. So take notebook 01's
# networks for colourisation and inpainting (we call them *painters*), and add an adversarial term to the squared error.
# The discriminator of this term also gets the painter's input (Isola et al.). So it can reject a realistic picture that
# does not fit this input. The painters' networks are those of notebook 01. The rows of pictures are the original, the
# painter's input, its output with the discriminator (*adversarial*), and its output after some more updates without the
# discriminator (*squared error*). (The painter for colours is trained here, the painter for holes is shipped.) The bar
# charts compare painters that differ only in the weight of the adversarial term.

# %%
show(AdversarialPainting)

# %%
WITH = updates(smoke=2, laptop=200, gpu=1000)
WITHOUT = updates(smoke=2, laptop=60, gpu=300)


def train_painter(name, painter, steps):
    for _ in live(
        recipes.train(
            recipes.lookup(name),
            painter,
            load("emoji_on_white"),
            seed=0,
            steps=steps,
            batch_size=64,
        ),
        names=("discriminator", "painter"),
    ):
        pass
    return painter.eval().to("cpu")


def with_and_without(name, painter):
    """Shows a painter before and after some updates without its discriminator."""
    x = as_float(emoji.x[[0, 45, 130, 300, 420, 560, 700, 800, 950, 1100]])
    torch.manual_seed(0)
    left, mask = painter.hide(x)
    with torch.no_grad():
        adversarial = painter.paint(left, mask).clamp(0, 1)
    painter.weight = 0.0
    train_painter(name, painter, WITHOUT)
    with torch.no_grad():
        squared = painter.paint(left, mask).clamp(0, 1)
    titles = [
        text if i == 0 else ""
        for text in ("original", "input", "GAN loss", "squared error")
        for i in range(10)
    ]
    return image_grid(
        torch.cat([x, left, adversarial, squared]),
        titles,
        columns=10,
        title=(
            f"{name.split('-')[1]}: with a discriminator, and after {WITHOUT} more "
            "updates without"
        ),
    )


name = "adversarial-colourisation"
display(
    with_and_without(
        name, train_painter(name, recipes.build(recipes.lookup(name), seed=0), WITH)
    )
)
with_and_without("adversarial-inpainting", zoo.load("adversarial-inpainting"))

# %% tags=["fold"]
figure, axes = subplots(1, 4, height=2.6)
for ax, (measure, text) in zip(
    axes,
    {
        "rmse": "RMSE",
        "detail": "detail",
        "chroma": "chroma",
        "frechet": "Frechet dist.",
    }.items(),
):
    found = experiments.values("gan-painting", measure)
    ax.barh(
        range(4),
        [np.mean(v) for v in found.values()],
        color=["#666666", "#0072B2", "#666666", "#D55E00"],
    )
    for y, v in enumerate(found.values()):
        ax.plot(v, [y] * len(v), "k.", markersize=4)
    ax.set(
        yticks=range(4), yticklabels=list(found) if ax is axes[0] else [], title=text
    )
    ax.invert_yaxis()
figure.suptitle(
    "Test emoji: RMSE, detail and chroma (relative to real) of what was hidden; "
    "Frechet distance",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Bars for inpainting and colours with squared error alone and with the adversarial "
    "term: error, detail, chroma, Frechet distance.",
)

# %% [markdown]
# The results agree with AIA. With the discriminator the squared error is *larger* in both tasks. In return the pictures
# are more realistic. Colours are as strong as real ones. With the squared error alone they have about two thirds of
# this strength. Filled holes have nearly three times the detail that they have with the squared error alone. In both
# tasks completed pictures have a smaller Frechet distance to real ones. With the squared error alone, the painter
# predicts the mean of every pixel, and such pictures do not occur. (With the discriminator, the painter's encoder is
# better than an untrained one for k-NN in each run. For a linear probe the encoder of the colourisation painter is
# not.)
#
# ## 14. The family tree
#
# AIA closes with Goodfellow's taxonomy of generative models. Does the model write down a density? Can this density be
# computed, or only bounded? These questions give a tree. This course has most of its branches, but some of these
# notebooks are only planned. Where the course can already measure something that the tree is about, the table has the
# measurement. Every number is read from `results/` and is a mean over three seeds. (The *conditional accuracy* is that
# of the short runs in section 9, a mean over the labels. *One picture takes* is the cost of generating one picture. A
# number after a model's name is that of its notebook.)


# %% tags=["fold"]
def mean_of(name, setting, measure):
    return np.mean(experiments.values(name, measure)[setting])


def family_tree():
    def quality(name, setting, part=""):
        found = {
            m: mean_of(name, setting, m + part)
            for m in ("frechet", "precision", "recall")
        }
        return (
            f"{found['frechet']:.1f} | {found['precision']:.2f} | {found['recall']:.2f}"
        )

    def conditional(setting):
        rows = experiments.read("gan-samples")["rows"]
        found = [row["by_label"] for row in rows if row["setting"] == setting]
        return f"conditional accuracy {np.mean(found):.0%}"

    bound = mean_of("vae-samples", "digits", "elbo")
    bits = evaluate.bits_per_dimension(mean_of("vae-samples", "emoji", "elbo"), 3072)
    lines = [
        "| model | density | measured here | one picture takes | Frechet distance | "
        "precision | recall |",
        "|---|---|---|---|---|---|---|",
        f"| VAE, digits (11) | explicit, bounded | log P(x) >= {bound:.1f} nats "
        f"(binarised) | one pass | {quality('vae-samples', 'digits', ' prior')} |",
        "| GAN, digits | implicit: none | no likelihood | one pass | "
        f"{quality('gan-samples', 'digits')} |",
        "| GAN, digits, conditional | implicit | "
        f"{conditional('digits, with label')} | one "
        f"pass | {quality('gan-samples', 'digits, with label')} |",
        "| VAE, emoji (11) | explicit, bounded | "
        f"{bits:.2f} bits per dimension at most | one pass | "
        f"{quality('vae-samples', 'emoji', ' prior')} |",
        "| GAN, emoji | implicit | no likelihood | one pass | "
        f"{quality('gan-samples', 'emoji')} |",
        "| GAN, emoji, not shifted | implicit | | one pass | "
        f"{quality('gan-samples', 'emoji, not shifted')} |",
        "| GAN, emoji, growing | implicit | | one pass | "
        f"{quality('gan-samples', 'emoji, growing')} |",
        "| GAN, emoji, conditional | implicit | "
        f"{conditional('emoji, with label')} | one "
        f"pass | {quality('gan-samples', 'emoji, with label')} |",
        "| normalising flows (not in this course) | explicit, exact | | one pass | | | "
        "|",
        "| generative stochastic networks (not in this course) | implicit | | a Markov "
        "chain | | | |",
        "| autoregressive (10, planned) | explicit, exact | | a pass for each pixel | "
        "| | |",
        "| energy-based (13, planned) | explicit, up to a constant | | a Markov chain "
        "| | | |",
        "| diffusion (14) | explicit, bounded | in notebook 14 | a pass for each step "
        "| | | |",
    ]
    return Markdown("\n".join(lines))


display(family_tree())


def quality_figure():
    named = {
        "VAE (11)": ("vae-samples", "{}", " prior"),
        "GAN": ("gan-samples", "{}", ""),
        "GAN, conditional": ("gan-samples", "{}, with label", ""),
    }
    named_measure = {
        "frechet": "Frechet distance",
        "precision": "precision",
        "recall": "recall",
    }
    figure, axes = subplots(2, 3, height=3.8)
    for row, data in zip(axes, ("digits", "emoji")):
        for ax, measure in zip(row, named_measure):
            for y, (title, (name, setting, part)) in enumerate(named.items()):
                found = experiments.values(name, measure + part)[setting.format(data)]
                ax.barh(y, np.mean(found), color=("#666666", "#0072B2", "#D55E00")[y])
                ax.plot(found, [y] * len(found), "k.", markersize=3)
            ax.set(
                yticks=range(3),
                yticklabels=list(named) if measure == "frechet" else [],
                title=f"{data}: {named_measure[measure]}",
            )
            ax.invert_yaxis()
    figure.suptitle(
        "Samples against test pictures (3 seeds); lower is better for the distance",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Six panels: Frechet distance, precision and recall of the VAE's and the GANs' "
        "samples, for digits and emoji.",
    )


quality_figure()

# %% [markdown]
# For digits the convolutional VAE is *better* than the plain GAN of this course, in distance and in recall. But the
# VAE's pictures have about half the detail. A little blur does little harm to handwriting. For emoji the GAN's distance
# is less than half of the VAE's. Only the VAE's precision is higher, but the evaluation network behind this number was
# never trained on blurred pictures (notebook 11). So it depends on the data whether GANs produce the best samples.
#
# How likely is a picture under a GAN? The generator's pictures lie on a thin surface (section 7). So $p_g$ has no
# density, and a real picture hardly ever lies on this surface. With a little Gaussian noise around each $G(z)$ there is
# a density: $p_\sigma(x) = \int p(z)\, \mathcal N(x;\, G(z), \sigma^2 I)\, dz$. Wu et al. (2016) estimate it by
# annealed importance sampling. This estimate is slow, and it depends on $\sigma$. In training there is no such number,
# and no bound to watch.
#
# ## 15. Pitfalls
#
# - **A sigmoid before the loss.** `log(1 - sigmoid(l))` is minus infinity for a logit of 20, so write losses on logits
#   (section 3).
# - **Fakes that carry gradient into the generator in the discriminator's turn.** The reverse error is that gradients of
#   the generator's turn stay in the discriminator. `fit` gives each player only its own parameters.
# - **`create_graph`.** Without it the gradient penalty is a number without gradient for the critic's weights: the loss
#   looks right, but nothing is penalised.
# - **BatchNorm in a critic with a penalty.** The slope for one picture then depends on the other pictures. BatchNorm is
#   also a mistake over a batch that mixes real pictures and fakes, and at the generator's output.
# - **A loss curve as proof.** Section 7 measured which losses follow quality.
# - **Frechet distances of different evaluation networks**, or of different numbers of pictures. The evaluation network
#   here was trained on a few thousand emoji, but published FIDs come from one Inception network and 50,000 pictures.
# - **Small data.** A discriminator can memorise 4,000 emoji. Then its output for these emoji teaches the
#   generator nothing new. Here the discriminator got shifted pictures, both real and fake. (The table of section 14
#   also has a GAN without these shifts.)
# - **Cherry-picking.** The samples in published figures are often truncated, sorted or selected. Say how you drew
#   yours. Ours are the first draws of a named seed.
#
# ## 16. What to try next
#
# **Exercises**: [`exercises/12_gan.ipynb`](../exercises/12_gan.ipynb): the best discriminator for smoothed labels, both
# players' losses with a debugging task, samples of different sizes on a line, clipping and how steep a clipped critic
# can be, the one-sided penalty, a norm for mixed labels, projection with missing labels, growing in phases of different
# lengths, and both players as a class. Each exercise is checked when you run the cell below it.
#
# Train `gan` with `MINIMAX` and a discriminator that is smaller than the generator: when does the game no longer
# saturate? Use noise with one dimension for the toy of section 3. Add `GradientPenalty` to the non-saturating loss. Use
# the emoji's subcategories as labels.
#
# ## 17. What to read
#
# - Goodfellow et al. 2014, *Generative Adversarial Nets*, [arXiv 1406.2661](https://arxiv.org/abs/1406.2661);
#   Goodfellow 2016, *NIPS 2016 Tutorial*, [arXiv 1701.00160](https://arxiv.org/abs/1701.00160) (the family tree).
# - Radford, Metz, Chintala 2015, *DCGAN*, [arXiv 1511.06434](https://arxiv.org/abs/1511.06434).
# - Arjovsky, Bottou 2017, *Towards Principled Methods for Training GANs*, [arXiv
#   1701.04862](https://arxiv.org/abs/1701.04862); Arjovsky, Chintala, Bottou 2017, *Wasserstein GAN*, [arXiv
#   1701.07875](https://arxiv.org/abs/1701.07875); Gulrajani et al. 2017, [arXiv
#   1704.00028](https://arxiv.org/abs/1704.00028). Berthelot et al. 2017, *BEGAN*, [arXiv
#   1703.10717](https://arxiv.org/abs/1703.10717), is the other follow-up that GT19 names on *Putting it together: GAN
#   training algorithm*: the discriminator is an autoencoder.
# - Miyato et al. 2018, *Spectral Normalization*, [arXiv 1802.05957](https://arxiv.org/abs/1802.05957); Mescheder,
#   Geiger, Nowozin 2018, *Which Training Methods for GANs do actually Converge?* (R1), [arXiv
#   1801.04406](https://arxiv.org/abs/1801.04406); Lim, Ye 2017, *Geometric GAN* (hinge loss), [arXiv
#   1705.02894](https://arxiv.org/abs/1705.02894).
# - Miyato, Koyama 2018, *Projection Discriminator*, [arXiv 1802.05637](https://arxiv.org/abs/1802.05637); Brock,
#   Donahue, Simonyan 2018, *BigGAN*, [arXiv 1809.11096](https://arxiv.org/abs/1809.11096). Karras et al. 2017,
#   *Progressive Growing*, [arXiv 1710.10196](https://arxiv.org/abs/1710.10196).
# - Donahue, Krähenbühl, Darrell 2016, *BiGAN*, [arXiv 1605.09782](https://arxiv.org/abs/1605.09782); Dumoulin et al.
#   2016, *Adversarially Learned Inference*, [arXiv 1606.00704](https://arxiv.org/abs/1606.00704), the same idea at the
#   same time; Donahue, Simonyan 2019, *BigBiGAN*, [arXiv 1907.02544](https://arxiv.org/abs/1907.02544), scales it.
# - Isola et al. 2016, *Image-to-Image Translation with Conditional Adversarial Networks*, [arXiv
#   1611.07004](https://arxiv.org/abs/1611.07004); Pathak et al. 2016, *Context Encoders*, [arXiv
#   1604.07379](https://arxiv.org/abs/1604.07379). Yazici et al. 2018, *The Unusual Effectiveness of Averaging in GAN
#   Training*, [arXiv 1806.04498](https://arxiv.org/abs/1806.04498).
# - Zhao et al. 2020, *Differentiable Augmentation*, [arXiv 2006.10738](https://arxiv.org/abs/2006.10738). Lucic et al.
#   2017, *Are GANs Created Equal?*, [arXiv 1711.10337](https://arxiv.org/abs/1711.10337): with enough tuning most
#   variants reach similar scores. Wu et al. 2016, *On the Quantitative Analysis of Decoder-Based Generative Models*,
#   [arXiv 1611.04273](https://arxiv.org/abs/1611.04273): likelihoods of GANs by annealed importance sampling.
