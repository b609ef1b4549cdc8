# %% [markdown]
# # 14. Denoising diffusion, the whole derivation
#
# **Can a network learn to draw by learning to remove noise?** Add a little noise to a picture a thousand times, until
# nothing of the picture is left. Each of these small steps is easy to undo, at least roughly, if one knows what
# pictures look like. Deck GT19, *CS 4644/7643, lecture 19: diffusion, GANs, pretext tasks, contrastive learning*, says:
# *generate an image from noise by denoising the Gaussian noises*. This notebook derives the method without leaving out
# a line: why the noisy picture of any step can be computed in one jump, what the ideal step back is, how a bound on
# $\log p(x)$ becomes a plain squared error, and why a sampler may leave out nineteen of twenty steps.
#
# **You will be able to** derive $q(x_t \mid x_0)$, the posterior and the bound; convert a prediction of the noise into
# one of the picture, of $v$, of the score and of the next step; train DDPM; sample with Ho et al.'s two variances, and
# with DDIM on any sub-sequence of steps; measure in bits how well the model knows pictures; find the mistake in a
# formula by an experiment.
#
# **You need** Gaussians (sums, products, KL divergence) and notebook 11's bound; for the comparisons also its Frechet
# distance, precision and recall.
#
# **Lectures** Deck GT19: *Denoising Diffusion* to *The Denoising Diffusion Algorithm*. Deck MLMI17, *Advanced Computer
# Vision: representation learning, generative models*: *Diffusion Generative Models* to *Algorithm 1.2*.
#
# **Time** Reading takes two hours, and computing about three minutes on two cores. Long experiments were run beforehand
# (`make results`); here their results are plotted.

# %%
import math

import numpy as np
import torch
from einops import rearrange
from IPython.display import Markdown, display
from ipywidgets import Dropdown, FloatLogSlider, IntSlider, SelectionSlider

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.data import as_float, load
from course_lib.data.toys import CENTRES, NOISE
from course_lib.diffusion.bound import (
    bits_per_dimension,
    discretised_log_likelihood,
    noise_weights,
    prior_kl,
    terms,
)
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.exact import MixtureNoise
from course_lib.diffusion.gaussians import (
    eps_from_v,
    eps_from_x0,
    mean_from_eps,
    posterior_mean,
    posterior_variance,
    q_sample,
    q_step,
    score_from_eps,
    v_from,
    x0_from_eps,
)
from course_lib.diffusion.next_step import NextStep, SaysNextStep
from course_lib.diffusion.samplers import (
    ancestral,
    ddim,
    invert,
    last,
    sample,
    step_numbers,
)
from course_lib.diffusion.schedules import (
    Schedule,
    cosine_betas,
    linear_betas,
    signal_to_noise,
)
from course_lib.latent.interpolation import slerp
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.unet import UNet, UNetEncoder
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

# "smoke" only shows that the notebook runs; "laptop" and "gpu" show that methods work
BUDGET = budget("14_ddpm")

# %% [markdown]
# ## 1. Thirty-two pictures from noise
#
# First the result, before any formula. Two of the course's diffusion models, one of digits and one of emoji, draw
# sixteen pictures each. They start from noise and take fifty steps. The pictures are neither sorted nor selected.

# %% tags=["fold"]
digits, emoji = load("digits", "test"), load("emoji_on_white", "test")
painter, emoji_painter = zoo.load("ddpm"), zoo.load("ddpm-emoji")
torch.manual_seed(0)
for name, model, shape in (
    ("digits", painter, (16, 1, 28, 28)),
    ("emoji", emoji_painter, (16, 3, 32, 32)),
):
    drawn = model.denormalise(
        last(
            ddim(
                model.eps,
                torch.randn(shape),
                model.schedule,
                50,
                clip_denoised=model.clip_denoised,
            )
        )
    )
    display(
        image_grid(
            drawn, columns=8, title=f"Sixteen {name}, 50 steps (of DDIM, section 10)"
        )
    )

# %% [markdown]
# ## 2. The forward process
#
# The **forward process** is fixed; nothing in it is learnt. It starts from a picture $x_0$ (pixels normalised to
# $[-1, 1]$). Each step shrinks the current picture a little and adds a little noise. MLMI17 writes:
#
# $$\begin{gathered}
# x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; \epsilon_t, \qquad \epsilon_t \sim \mathcal N(0, I), \\
# \text{that is}\qquad q(x_t \mid x_{t-1}) = \mathcal N\big(\sqrt{1 - \beta_t}\, x_{t-1},\; \beta_t I\big) .
# \end{gathered}$$
#
# $\beta_t$ is the **variance schedule**. Write $\alpha_t = 1 - \beta_t$ and
# $\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t$. (Steps are numbered $1..T$ on paper and $0..T-1$ in code. We say
# this only here.)
#
# **All steps in one jump.** Claim: $q(x_t \mid x_0) = \mathcal N(\sqrt{\bar\alpha_t}\, x_0,\; (1 - \bar\alpha_t) I)$.
# We prove it by induction. For $t = 1$ it is the definition. Suppose
# $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, \epsilon'$. Then
#
# $$x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{\beta_t}\, \epsilon_t = \sqrt{\alpha_t \bar\alpha_{t-1}}\; x_0 + \underbrace{\sqrt{\alpha_t (1 - \bar\alpha_{t-1})}\; \epsilon' + \sqrt{1 - \alpha_t}\; \epsilon_t}_{\text{independent Gaussians: variances add}} ,$$
#
# and $\alpha_t (1 - \bar\alpha_{t-1}) + 1 - \alpha_t = 1 - \alpha_t \bar\alpha_{t-1} = 1 - \bar\alpha_t$. So
#
# $$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon, \qquad \epsilon \sim \mathcal N(0, I) .$$
#
# Training will need $x_t$ for a random $t$. This formula gives it in one line instead of $t$ steps. Note the two
# noises: $\epsilon$ leads from $x_0$ to $x_t$ in one jump, and $\epsilon_t$ (in code `step_noise`) leads from $x_{t-1}$
# to $x_t$. Below, the chain is simulated step by step for 20,000 one-pixel pictures and compared with the jump.

# %%
betas = linear_betas(1000)  # 0.0001 to 0.02, as in deck GT19
schedule = Schedule(betas)
torch.manual_seed(0)
x = torch.full((20_000, 1), 0.7)  # 20,000 copies of one pixel
walked = {}
for t, beta in enumerate(betas.tolist()):
    # the definition, step by step
    x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn_like(x)
    if t in (9, 99, 499, 999):
        walked[t] = x
for t, x in walked.items():
    abar = schedule.abar[t].item()
    # four standard errors
    assert abs(x.mean() - math.sqrt(abar) * 0.7) < 4 * math.sqrt((1 - abar) / 20_000)
    assert abs(x.var() - (1 - abar)) < 4 * (1 - abar) * math.sqrt(2 / 20_000)
    jump = q_sample(torch.tensor([[0.7]]), abar, torch.ones(1, 1))
    torch.testing.assert_close(
        jump.item(), math.sqrt(abar) * 0.7 + math.sqrt(1 - abar), atol=1e-6, rtol=0
    )
show(q_step, after="exercise 3")
show(q_sample, after="exercise 2")

# %% [markdown]
# **Why the root?** Let the mean of $x_t$ be $(1 - \beta_t)\, x_{t-1}$, without the root. Then data of variance 1 do not
# keep this variance. The variance obeys $v_t = (1 - \beta_t)^2 v_{t-1} + \beta_t$. At the fixed point
# $v\,(2\beta - \beta^2) = \beta$, so $v = 1 / (2 - \beta)$, about **one half**. The network would be trained to expect
# a different noise from the one that the sampler starts with. With the root, $v_t = (1 - \beta_t) v_{t-1} + \beta_t$,
# and a variance of 1 stays 1.
#
# *Margin note.* GT19's slide *The Diffusion (Encoding) Process* writes the mean without the root, MLMI17 with it.

# %%
right, wrong = [1.0], [1.0]
for beta in betas.tolist():
    right.append((1 - beta) * right[-1] + beta)
    wrong.append((1 - beta) ** 2 * wrong[-1] + beta)
curve(
    range(1001),
    {"with the root": right, "without the root": wrong},
    xlabel="step t",
    ylabel="variance of x_t",
    title=(
        f"Data of variance 1: after 1,000 steps {right[-1]:.3f} with the root, "
        f"{wrong[-1]:.3f} without"
    ),
)

# %% [markdown]
# **Try it.** Choose a picture and move the slider $t$. Up to which $t$ do you recognise the picture? Then change the
# schedule. The *linear* one hides small pictures early, and spends its last steps on pictures that are already noise.
# So Nichol and Dhariwal introduced the *cosine* one.

# %% tags=["fold"]
PICTURES = {
    "a seven": 2 * as_float(digits.x[:1]) - 1,
    "a four": 2 * as_float(digits.x[4:5]) - 1,
    **{
        f"emoji {row}": 2 * as_float(emoji.x[row : row + 1]) - 1
        for row in (0, 300, 560, 950)
    },
}
SCHEDULES = {"linear": schedule, "cosine": Schedule(cosine_betas(1000))}


def draw_forward(picture, schedule, t):
    x0, abar = PICTURES[picture], SCHEDULES[schedule].abar[t].item()
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    parts = [
        x0,
        math.sqrt(abar) * x0,
        math.sqrt(1 - abar) * noise,
        q_sample(x0, abar, noise),
    ]
    names = [
        "$x_0$",
        f"$\\sqrt{{\\bar\\alpha}}\\, x_0$, factor {math.sqrt(abar):.3f}",
        f"$\\sqrt{{1 - \\bar\\alpha}}\\, \\epsilon$, factor {math.sqrt(1 - abar):.3f}",
        "their sum, $x_t$",
    ]
    figure, axes = subplots(1, 4, height=2.5)
    for ax, part, name in zip(axes, parts, names):
        ax.imshow(
            rearrange(((part[0] + 1) / 2).clamp(0, 1), "c h w -> h w c").squeeze(-1),
            cmap="gray",
            vmin=0,
            vmax=1,
        )
        ax.set_title(name, size=10)
        ax.set_axis_off()
    title = (
        f"{picture}, {schedule} schedule, t = {t + 1} of 1000: signal to noise "
        f"{abar / (1 - abar):.3g}"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_forward,
    picture=Dropdown(options=list(PICTURES)),
    schedule=Dropdown(options=list(SCHEDULES)),
    t=IntSlider(180, min=0, max=999, continuous_update=False),
)

# %% [markdown]
# ## 3. Schedules
#
# The important quantity of a schedule is $\bar\alpha_t$, or the **signal-to-noise ratio**
# $\bar\alpha_t / (1 - \bar\alpha_t)$, which falls from thousands to nearly zero. At the end $x_T$ must be as good as
# $\mathcal N(0, I)$, because the sampler will begin there. How far its distribution is from $\mathcal N(0, I)$ is
# measured by $L_T = \mathrm{KL}(q(x_T \mid x_0) \,\|\, \mathcal N(0, I))$, in nats for a whole picture. The number of
# steps and the size of $\beta$ depend on each other: with fewer steps $\beta$ has to be larger.
#
# **Try it.** Make the last $\beta$ ten times smaller: then $x_T$ is no longer pure noise. Next take 50 steps with the
# same $\beta$. (The library would scale the $\beta_t$ for you; here they are as you set them. The cosine schedule has
# no last beta to set.) Which schedule has the most steps in the middle, where there is still something to decide?


# %% tags=["fold"]
def draw_schedule(kind, steps, last_beta):
    betas = (
        cosine_betas(steps)
        if kind == "cosine"
        else torch.linspace(min(1e-4, last_beta), last_beta, steps, dtype=torch.float64)
    )
    chosen = Schedule(betas)
    figure, axes = subplots(1, 3, height=2.8)
    t = np.arange(1, steps + 1) / steps
    for ax, values, name in zip(
        axes,
        (chosen.beta, chosen.abar, signal_to_noise(chosen.abar)),
        ("$\\beta_t$", "$\\bar\\alpha_t$", "signal to noise"),
    ):
        ax.plot(t, values, color="#0072B2", label=kind)
        ax.set(xlabel="t / T", title=name)
    axes[1].set_ylim(0, 1)
    axes[2].set(yscale="log", ylim=(1e-5, 1e5))
    left, snr = (
        prior_kl(PICTURES["a seven"], chosen).item(),
        signal_to_noise(chosen.abar),
    )
    middle = ((snr > 0.01) & (snr < 100)).double().mean()
    title = (
        f"{kind}, {steps} steps: $L_T$ = {left:.3g} nats for the seven; {middle:.0%} "
        "of steps with SNR 0.01 to 100"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(
    draw_schedule,
    kind=Dropdown(options=["linear", "cosine"]),
    steps=SelectionSlider(options=[50, 100, 250, 500, 1000], value=1000),
    last_beta=FloatLogSlider(
        0.02,
        min=-3,
        max=-0.5,
        step=0.1,
        description="last beta",
        continuous_update=False,
    ),
)

# %% [markdown]
# ## 4. The ideal step back
#
# If only $x_t$ is given, the previous picture $x_{t-1}$ could be many things. If $x_t$ *and* $x_0$ are given, $x_{t-1}$
# has a Gaussian distribution, the **posterior** $q(x_{t-1} \mid x_t, x_0)$. Take $\bar\alpha_0 = 1$, because before the
# first step nothing has happened. By Bayes' rule the posterior, as a function of one pixel of $x_{t-1}$, is
# proportional to
#
# $$\begin{aligned}
# & q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0) \\
# & \quad \propto\; \exp\left(-\frac{(x_t - \sqrt{\alpha_t}\, x_{t-1})^2}{2 \beta_t}
# - \frac{(x_{t-1} - \sqrt{\bar\alpha_{t-1}}\, x_0)^2}{2 (1 - \bar\alpha_{t-1})}\right) ,
# \end{aligned}$$
#
# where the first factor does not depend on $x_0$ because the chain is Markov. Collect the powers of $x_{t-1}$. The
# coefficient of $-\frac12 x_{t-1}^2$ is the posterior's precision,
#
# $$\begin{gathered}
# \frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar\alpha_{t-1}} = \frac{\alpha_t - \bar\alpha_t + \beta_t}{\beta_t (1 -
# \bar\alpha_{t-1})}
# = \frac{1 - \bar\alpha_t}{\beta_t (1 - \bar\alpha_{t-1})} = \frac{1}{\tilde\beta_t}, \\
# \boxed{\tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t}
# \end{gathered}$$
#
# and the coefficient of $x_{t-1}$ is the mean times the precision, so the mean is
#
# $$\tilde\mu_t = \tilde\beta_t \left(\frac{\sqrt{\alpha_t}}{\beta_t} x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1 - \bar\alpha_{t-1}} x_0\right) = \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\; x_t + \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\; x_0 .$$
#
# **The mean, written with noise.** Insert $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$. The
# coefficient of $x_t$ becomes
# $\frac{\alpha_t (1 - \bar\alpha_{t-1}) + \beta_t}{\sqrt{\alpha_t}\,(1 - \bar\alpha_t)} = \frac{1}{\sqrt{\alpha_t}}$,
# and the coefficient of $\epsilon$ is $-\frac{\beta_t}{\sqrt{\alpha_t} \sqrt{1 - \bar\alpha_t}}$:
#
# $$\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} \left(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\; \epsilon\right) .$$
#
# *Margin note.* Under this formula GT19's slide *The Denoising (Decoding) Process* says that $\epsilon$ is the noise
# *that brought $x_{t-1}$ to $x_t$*. In fact it is the noise of the jump from $x_0$ to $x_t$, as a later slide says.
# (MLMI17's $\epsilon_t$ is the noise of the step.)
#
# To check the algebra, we condition a joint Gaussian by the textbook formula, which has nothing to do with diffusion.

# %%
t = 400
x0, x_t = (
    torch.tensor([0.7], dtype=torch.float64),
    torch.tensor([-0.4], dtype=torch.float64),
)
abar, abar_prev, beta = schedule.abar[t], schedule.abar[t - 1], schedule.beta[t]
# of x_{t-1} and x_t, given x_0
mean_s, mean_t = abar_prev.sqrt() * x0, abar.sqrt() * x0
var_s, var_t, covariance = 1 - abar_prev, 1 - abar, (1 - beta).sqrt() * (1 - abar_prev)
# E[s | t] = m_s + C_st C_tt^-1 (x_t - m_t)
textbook_mean = mean_s + covariance / var_t * (x_t - mean_t)
textbook_variance = var_s - covariance**2 / var_t
torch.testing.assert_close(posterior_mean(x0, x_t, abar, abar_prev), textbook_mean)
torch.testing.assert_close(posterior_variance(abar, abar_prev), textbook_variance)
torch.testing.assert_close(
    mean_from_eps(x_t, eps_from_x0(x_t, x0, abar), beta, abar), textbook_mean
)
print(
    f"x_t = -0.4, x_0 = 0.7, t = {t + 1}: x_(t-1) has mean {textbook_mean.item():.5f} "
    f"and variance {textbook_variance:.5f} (beta_t = {beta:.5f})"
)
show(posterior_mean, after="exercise 4")
show(posterior_variance, after="exercise 4")

# %% [markdown]
# ## 5. A bound that becomes a squared error
#
# Now we define the model. It runs in the other direction, from noise to a picture, with a Gaussian for every step:
# $p(x_T) = \mathcal N(0, I)$, $p_\theta(x_{t-1} \mid x_t) = \mathcal N(\mu_\theta(x_t, t),\; \sigma_t^2 I)$. With which
# loss should it be trained?
#
# **It is a VAE.** Take notebook 11's bound with the latent $z = x_{1:T}$. The encoder is the forward process (fixed,
# without parameters), and the decoder is the whole reverse chain:
#
# $$\log p_\theta(x_0) \;\ge\; \mathbb E_q \left[\log \frac{p(x_T) \prod_{t=1}^T p_\theta(x_{t-1} \mid x_t)}{\prod_{t=1}^T q(x_t \mid x_{t-1})}\right] .$$
#
# **The step that GT19 leaves out.** For $t \ge 2$ use the Markov property and Bayes' rule:
# $q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = q(x_{t-1} \mid x_t, x_0)\; \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}$.
# The fractions form a telescoping product:
# $\prod_{t=2}^T \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} = \frac{q(x_T \mid x_0)}{q(x_1 \mid x_0)}$. The last
# denominator cancels the remaining factor $q(x_1 \mid x_0)$. Sort the remaining factors by steps. In each step, average
# first over $x_{t-1}$ given $x_t$ and $x_0$: then
# $\mathbb E \log \frac{p_\theta(x_{t-1} \mid x_t)}{q(x_{t-1} \mid x_t, x_0)}$ is minus a KL divergence. The outer
# $\mathbb E_q$, over $x_t$, remains:
#
# $$\begin{aligned}
# \log p_\theta(x_0) \ge \mathbb E_q \Big[ & -\underbrace{\mathrm{KL}\big(q(x_T \mid x_0) \,\|\, p(x_T)\big)}_{L_T} \\
# & - \sum_{t=2}^T \underbrace{\mathrm{KL}\big(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1}
# \mid x_t)\big)}_{L_{t-1}}
# + \underbrace{\log p_\theta(x_0 \mid x_1)}_{-L_0} \Big] .
# \end{aligned}$$
#
# *Margin note.* On GT19's slide with this bound (the slide has no title) the brackets do not balance. The expectation
# is over all three terms.
#
# **KL to squared error.** $L_T$ contains nothing to learn. $L_{t-1}$ compares two Gaussians. If $p_\theta$ has the
# posterior's variance, $\sigma_t^2 = \tilde\beta_t$, then only the means matter. To see it, write the divergence as an
# average over $x \sim q = \mathcal N(\tilde\mu, \sigma^2 I)$. The constants of the two densities are equal and cancel:
#
# $$\mathrm{KL} = \mathbb E_q \log \frac{q(x)}{p_\theta(x)} = \frac{1}{2 \sigma^2}\, \mathbb E_q \Big[ \| x - \mu_\theta \|^2 - \| x - \tilde\mu \|^2 \Big] = \frac{1}{2 \sigma^2}\, \| \tilde\mu - \mu_\theta \|^2 .$$
#
# The last step uses $x - \mu_\theta = (x - \tilde\mu) + (\tilde\mu - \mu_\theta)$. The square has a mixed term, which
# is zero on average.
#
# **Mean to noise.** $\mu_\theta$ is a function of $x_t$, so in
# $\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} (x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}} \epsilon)$ only $\epsilon$ is
# unknown. So let the network predict $\epsilon$, as $\epsilon_\theta(x_t, t)$, and insert the prediction into the same
# formula. In the difference of the means $x_t$ cancels:
#
# $$\begin{aligned}
# L_{t-1} &= \mathbb E_{x_0, \epsilon}\; w_t\, \big\| \epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t}\, x_0 +
# \sqrt{1 - \bar\alpha_t}\, \epsilon,\; t) \big\|^2, \\
# w_t &= \frac{\beta_t^2}{2\, \tilde\beta_t\, \alpha_t\, (1 - \bar\alpha_t)} .
# \end{aligned}$$
#
# This holds for $t \ge 2$. At $t = 1$ the posterior is a point, $\tilde\beta_1 = 0$. The term is
# $L_0 = -\log p_\theta(x_0 \mid x_1)$. For it one takes the variance $\beta_1$ and the mass of a Gaussian in each of
# the 256 grey levels (Ho et al., equation 13). $L_{\text{simple}}$ below treats this term as one more squared error.
# (Written with $x_0$, the loss is $L_{t-1} = \frac12 (\mathrm{SNR}_{t-1} - \mathrm{SNR}_t)\, \| x_0 - \hat x_0 \|^2$:
# half of the signal-to-noise ratio that the step gains, times the squared error of the predicted picture; Kingma et al.
# 2021. The library computes the loss in this form.)
#
# **And then the weight is dropped.** $L_{\text{simple}}$ has weight 1 for every $t$. It is no longer a bound. But for
# every $t \ge 2$ the *minimiser is the same* as before, if the network can be any function:
# $\epsilon_\theta = \mathbb E[\epsilon \mid x_t]$ at each $t$ separately. With a finite network the weights decide
# where its capacity is used. The figure shows which steps count most in the bound: the first few, where the eye can
# hardly see the noise.
#
# *Margin note.* GT19 puts the constant weight in front of the error of the *means* ($w\,\|\mu_q - \mu_\theta\|$,
# *constant works better in practice*; the squares are missing). The statement is true for the error of the noise. Ho et
# al. found that a network that predicts the mean works only with the true weights. Section 9 tries a similar network.

# %%
few = 2 * as_float(digits.x[: {"smoke": 32, "laptop": 128, "gpu": 512}[BUDGET]]) - 1
levels = [0, 1, 2, 4, 8, 16, 32, 64, 125, 250, 375, 500, 625, 750, 875, 999]
weights, errors, worth = noise_weights(painter.schedule), [], []
torch.manual_seed(0)
with torch.no_grad():
    for t in levels:
        numbers, eps = torch.full((len(few),), t), torch.randn_like(few)
        said = painter.eps(q_sample(few, painter.schedule.abar[numbers], eps), numbers)
        errors.append((said - eps).square().mean().item())  # of L_simple
        worth.append(terms(painter, few, numbers, eps).mean().item())  # of the bound

# %% tags=["fold"]
figure, axes = subplots(1, 3, height=2.9)
paper = np.array(levels) + 1  # steps as on paper
axes[0].plot(paper[1:], weights[levels[1:]], "o-", markersize=3, color="#0072B2")
axes[0].set(title="weight $w_t$ of the bound", ylabel="nats per squared error")
axes[1].plot(paper, errors, "s-", markersize=3, color="#D55E00")
axes[1].set(title="$L_{simple}$ by step", ylabel="squared error of the noise")
axes[2].plot(paper, worth, "^-", markersize=3, color="#009E73")
axes[2].set(title="the bound by step", ylabel="nats for a picture")
for ax in axes:
    ax.set(xlabel="step t of 1000", xscale="log", yscale="log")
figure.suptitle(
    f"Digits, shipped weights: $L_0$ is {worth[0]:.0f} nats, the next step "
    f"{worth[1]:.0f}, the last {worth[-1]:.4f}",
    x=0.01,
    ha="left",
)
describe(
    figure,
    "Three panels over t: the bound's weight falls by two orders of magnitude and "
    "rises a little at the end; the noise's error falls with t; the bound's terms are "
    "largest at the first steps.",
)

# %% [markdown]
# Noise that is weak compared with the picture is the hardest to detect, so the error of the noise is largest at the
# first steps. Counted in nats, the same steps dominate far more.
#
# **How large is the bound?** The network was trained on $L_{\text{simple}}$, but the bound can still be computed. It
# has three parts: $L_T$; the term $L_0$, by the mass of a Gaussian in each grey level; and the $T - 1$ other terms,
# with their weights. We compute a few of these for each picture, at random steps, and from them an unbiased estimate of
# their sum. The unit is bits per dimension (a grey pixel is one dimension, a pixel in colour three). In this unit one
# can compare any two models that give a probability to the same 8-bit pictures.

# %%
mean, grey = (
    torch.tensor([[0.3]], dtype=torch.float64),
    (2 * torch.arange(256, dtype=torch.float64) / 255 - 1)[:, None],
)
masses = discretised_log_likelihood(mean.expand(256, 1), grey, 0.01).exp()
torch.testing.assert_close(masses.sum().item(), 1.0)  # a distribution over 256 greys
numbers, eps, abar = (
    torch.full((len(few),), 500),
    torch.randn_like(few),
    painter.schedule.abar[500].item(),
)
with torch.no_grad():
    x_t = q_sample(few, abar, eps)
    # clamped, as in the samplers
    guess = x0_from_eps(x_t, painter.eps(x_t, numbers), abar).clamp(-1, 1)
    apart = eps_from_x0(x_t, guess, abar) - eps
    by_weight = noise_weights(painter.schedule)[500] * apart.double().square().flatten(
        1
    ).sum(1)
    torch.testing.assert_close(
        terms(painter, few, numbers, eps), by_weight, rtol=1e-3, atol=0
    )
bits = bits_per_dimension(painter, digits.x[: len(few)])
rows = [
    row
    for row in experiments.read("ddpm-predictions")["rows"]
    if row["setting"] == "noise, linear"
]
print(
    f"shipped digits: at most {bits:.2f} bits per dimension; the recipe's "
    f"{rows[0]['steps']} updates: {np.mean([row['bits'] for row in rows]):.2f}; all "
    "greys equally likely: 8"
)
show(terms, after="exercise 9")

# %% [markdown]
# **Beside notebook 11's bits.** A VAE's bound has the same unit, so the two models can be compared on the same emoji.
# Notebook 11's likelihood is a density. Its grey values are spread over their intervals (`dequantise`), and the mean
# log-density minus $d \log 256$ is a lower bound on the log-probability of the 8-bit picture. The diffusion bound gives
# each grey level a probability directly. So both numbers are upper bounds on the bits that the model needs, for the
# same pictures. (How far each bound is from the model's true value is not known here. Notebook 11's digits are black or
# white. Their nats cannot be compared with bits of grey digits.)

# %%
vae = zoo.load("vae-emoji").eval()
some = emoji.x[:: {"smoke": 120, "laptop": 24, "gpu": 4}[BUDGET]]
torch.manual_seed(0)
with torch.no_grad():
    pixels = vae.draw(as_float(some))  # dequantised
    mean, log_variance = vae.posterior(pixels)
    noise = torch.randn_like(mean)
    log_likelihood, kl = vae.terms(pixels, eps=noise)
    # the same bound, by torch's distributions
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    z = mean + q.stddev * noise
    p = torch.distributions.Normal(vae.decode(z), vae.likelihood.log_sigma.exp())
    by_torch = p.log_prob(pixels).flatten(1).sum(1) - torch.distributions.kl_divergence(
        q, torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
torch.testing.assert_close(log_likelihood - kl, by_torch, rtol=1e-4, atol=0.1)
vae_bits = evaluate.bits_per_dimension(by_torch.mean().item(), 3072)
diffusion_bits = bits_per_dimension(emoji_painter, some)
print(
    f"{len(some)} test emoji, shipped weights, bits per dimension at most: VAE "
    f"{vae_bits:.2f}, diffusion {diffusion_bits:.2f}; all values equally likely: 8"
)

# %% [markdown]
# The diffusion model needs far fewer bits. (It was also trained for longer: the table in section 11 has the minutes.)
# Two things probably help it. Its bound has a thousand latents of the size of the picture, where the VAE has one short
# code. And its last step gives a probability to each grey level by a narrow Gaussian: its standard deviation is smaller
# than the distance between neighbouring grey levels. This VAE has one $\sigma$ for all pixels. This $\sigma$ was
# trained, and so it is about as large as the error of the blurred reconstructions of training pictures. (Notebook 11,
# section 13 shows how much a $\sigma$ for each pixel gains.)

# %% [markdown]
# ## 6. Algorithm 1
#
# One update needs little: pictures, a random step for each picture, noise, and one regression. Below are a few lines of
# code, and the library's loss for the same random numbers:


# %%
def loss_by_hand(net, x, schedule):
    """Algorithm 1 of Ho et al.: the loss of one update."""
    x0 = 2 * x - 1  # pixels to [-1, 1]
    t = torch.randint(len(schedule), (len(x0),))  # a step for each picture
    eps = torch.randn_like(x0)
    abar = schedule.abar[t].float().view(-1, 1, 1, 1)  # (N, 1, 1, 1)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    return (eps - net(x_t, t)).square().mean()


tiny = DDPM(UNet(1, (16, 32)), linear_betas())
# The U-Net's output starts at zero; with random weights the test is stricter.
torch.nn.init.normal_(tiny.net.out[-2].weight, 0, 0.1)
x = as_float(digits.x[:8])
torch.manual_seed(1)
theirs = tiny.loss(x)
torch.manual_seed(1)
torch.testing.assert_close(
    theirs, loss_by_hand(tiny.net, x, tiny.schedule), rtol=1e-4, atol=1e-5
)
show(DDPM)

# %% [markdown]
# The network is a **U-Net**. It has a path down to a coarse grid, a path up again, and a skip connection on every
# level, so that the output can be as sharp as the input. The step $t$ is encoded as sines and cosines, like the
# position of a word in a sentence. It shifts the channels of every block, so one network serves a thousand tasks.
# Attention (notebook 08, section 7) works on the coarsest grid, where few positions have to be compared. Our network
# first folds $2 \times 2$ pixels into channels, so it does not need the finest and most expensive level.

# %%
show(UNetEncoder, doc=False)
show(UNet, doc=False)

# %%
STEPS = updates(smoke=8, laptop=400, gpu=8000)
recipe, train = recipes.lookup("ddpm"), load("digits")
model = recipes.build(recipe, seed=0)
start = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(5))
stages = {}
run = recipes.train(recipe, model, train, seed=0, steps=STEPS)
for step in live(run):
    if step.k in (STEPS // 8, STEPS // 2, STEPS):
        model.eval()
        device = next(model.parameters()).device
        path = ddim(
            model.eps,
            start.to(device),
            model.schedule,
            {"smoke": 5}.get(BUDGET, 50),
            clip_denoised=model.clip_denoised,
        )
        stages[step.k] = model.denormalise(last(path)).cpu()
model = model.eval().to("cpu")

# %% [markdown]
# What did the network draw on the way?

# %% tags=["fold"]
titles = [str(k) if i == 0 else "" for k in stages for i in range(10)]
image_grid(
    torch.cat(list(stages.values())),
    titles,
    columns=10,
    title=(
        "The same ten noises, drawn after so many updates (moving average of the "
        "weights)"
    ),
)

# %% [markdown]
# Look at the loss. Most of its decrease happens in the first updates. After that it changes slowly and noisily, while
# the pictures keep improving. (After 400 updates they are strokes and not yet digits. The digits model of section 1 had
# 5,000 updates.) Much of the remaining loss comes from noise that a network cannot tell from the picture unless it has
# memorised the picture (the minimiser in section 8 has). The value of the loss says little about the pictures. But it
# measures one fixed quantity, which a GAN's loss does not, so two runs with the same schedule can be compared.
#
# The pictures are drawn with a **moving average** of the weights (`momentum`; notebook 08, section 2). Ho et al. report
# results with it, and the course's pretrained weights (the zoo) are such an average.
#
# ## 7. Algorithm 2: the chain back
#
# Start at $x_T \sim \mathcal N(0, I)$. At each step predict the noise, compute the mean from it, and add noise of
# variance $\sigma_t^2$. At the last step add none.
#
# **Which variance?** A step back knows $x_t$, but not $x_0$. The variance of a pixel of $x_{t-1}$ given $x_t$ has two
# parts, by the law of total variance: the posterior's variance, and the variance of the posterior's mean, because $x_0$
# is uncertain (section 4 has the coefficient of $x_0$ in the mean):
#
# $$\mathrm{Var}(x_{t-1} \mid x_t) = \tilde\beta_t + \frac{\bar\alpha_{t-1}\, \beta_t^2}{(1 - \bar\alpha_t)^2}\; \mathrm{Var}(x_0 \mid x_t) .$$
#
# - If the data are a single point, then $\mathrm{Var}(x_0 \mid x_t) = 0$, and $\tilde\beta_t$ is exactly right.
# - If the data are $\mathcal N(0, I)$, then $\mathrm{Var}(x_0 \mid x_t) = 1 - \bar\alpha_t$. The sum is
#   $\frac{\beta_t}{1 - \bar\alpha_t} \big(1 - \bar\alpha_{t-1} + \bar\alpha_{t-1} \beta_t\big) = \beta_t$, because
#   $\bar\alpha_{t-1} (1 - \beta_t) = \bar\alpha_t$. So $\beta_t$ is exactly right.
# - Pixels in $[-1, 1]$ have a variance $c \le 1$. The best *linear* guess of $x_0$ has the mean squared error
#   $c\, (1 - \bar\alpha_t) / (c\, \bar\alpha_t + 1 - \bar\alpha_t) \le 1 - \bar\alpha_t$, and the best guess has no
#   larger one. So $\mathrm{Var}(x_0 \mid x_t)$, averaged over $x_t$, is at most $1 - \bar\alpha_t$, and the averaged
#   right variance lies between $\tilde\beta_t$ and $\beta_t$. (Data of a larger variance can need more than $\beta_t$.)
#   With many small steps, $\tilde\beta_t$ and $\beta_t$ are nearly equal, except at the first few.
#
# **Why no noise at the last step?** At $t = 1$ the mean is the guess of $x_0$ itself: $\tilde\beta_1 = 0$, and the
# coefficient of $x_t$ is 0. In the bound, $p_\theta(x_0 \mid x_1)$ has a variance only so that it gives each grey level
# a probability. Noise drawn from it would only make the picture grainy, by about one grey level.
#
# Why add noise at all? With small steps, the mean moves about twice as far along the score (section 8) as a step of
# section 10's DDIM, which adds no noise. So without the noise the points contract too much. The line printed below
# shows this on a toy: eight Gaussians on a circle, for which $\epsilon_\theta$ is a formula (section 8 derives it).
#
# The library contains the loop only once, in `sample`, for steps from $t$ to any earlier $s$ ($s = t - 1$ in Algorithm
# 2; `abar_prev` is $\bar\alpha_s$). `ancestral` passes to it the Gaussian from which $x_s$ is drawn (`transition`).
# Section 10 replaces this Gaussian with another one.


# %%
def ancestral_by_hand(eps_fn, x, schedule, noises):
    """Algorithm 2 of Ho et al. with the variance btilde."""
    for t in reversed(range(len(schedule))):
        beta, abar, abar_prev = (
            schedule.beta[t].item(),
            schedule.abar[t].item(),
            schedule.abar_prev[t].item(),
        )
        eps = eps_fn(x, torch.full((len(x),), t))
        x = (x - beta / math.sqrt(1 - abar) * eps) / math.sqrt(1 - beta)
        if t > 0:
            # a standard deviation, not a variance
            x = x + math.sqrt((1 - abar_prev) / (1 - abar) * beta) * noises[t]
    return x


centres = CENTRES["gaussians"]()
exact = MixtureNoise(centres, NOISE, Schedule(cosine_betas(100)))  # section 8
torch.manual_seed(0)
x_T, noises = torch.randn(500, 2), torch.randn(100, 500, 2)
order = iter(reversed(range(100)))
theirs = last(
    ancestral(exact, x_T, exact.schedule, noise=lambda x: noises[next(order)])
)
torch.testing.assert_close(
    theirs, ancestral_by_hand(exact, x_T, exact.schedule, noises), atol=1e-4, rtol=0
)
without = last(ancestral(exact, x_T, exact.schedule, noise=torch.zeros_like))
print(
    f"mean distance from the middle: data {centres.norm(dim=1).mean():.2f}, drawn "
    f"{theirs.norm(dim=1).mean():.2f}, drawn without noise "
    f"{without.norm(dim=1).mean():.2f}"
)
# Var(x_{t-1} | x_t) for data N(0, c): the pair (x_{t-1}, x_t) is a joint Gaussian
beta, abar, abar_prev = schedule.beta[20], schedule.abar[20], schedule.abar[19]
for c, expected in ((0.0, posterior_variance(abar, abar_prev)), (1.0, beta)):
    before, now = abar_prev * c + 1 - abar_prev, abar * c + 1 - abar
    given = before - (1 - beta) * before**2 / now
    torch.testing.assert_close(given, expected)
show(sample)
show(ancestral, after="exercise 7")

# %% [markdown]
# **Try it.** The figure shows the reverse chain, frame by frame: above $x_t$, and below it the network's guess of $x_0$
# at that moment. When is the digit decided? When are its details decided? The early guesses are blurred, and this is
# correct, because the guess with the smallest squared error is the mean of all pictures that are still possible.

# %% tags=["fold"]
FILM_STEPS = {"smoke": 30, "laptop": 1000, "gpu": 1000}[BUDGET]
FRAMES, FEW = 31, {"smoke": 30}.get(BUDGET, 60)
torch.manual_seed(4)
chains = {}
for name, path in (
    (
        f"DDPM, {FILM_STEPS:,} steps",
        ancestral(
            painter.eps,
            torch.randn(10, 1, 28, 28),
            painter.schedule,
            FILM_STEPS,
            clip_denoised=painter.clip_denoised,
        ),
    ),
    (
        f"DDIM, {FEW} steps",
        ddim(
            painter.eps,
            torch.randn(10, 1, 28, 28),
            painter.schedule,
            FEW,
            clip_denoised=painter.clip_denoised,
        ),
    ),
    (
        f"DDPM of emoji, {FEW} steps",
        ancestral(
            emoji_painter.eps,
            torch.randn(10, 3, 32, 32),
            emoji_painter.schedule,
            FEW,
            clip_denoised=emoji_painter.clip_denoised,
        ),
    ),
):
    steps = list(path)
    chains[name] = [
        steps[round(i * (len(steps) - 1) / (FRAMES - 1))] for i in range(FRAMES)
    ]


def draw_reverse(sampler, moment):
    x, x0 = chains[sampler][moment]
    share, rmse = (
        moment / (FRAMES - 1),
        (x0 - chains[sampler][-1][1]).square().mean().sqrt() / 2,
    )
    rows = [((part + 1) / 2).clamp(0, 1) for part in (x, x0)]
    titles = [text if i == 0 else "" for text in ("x_t", "x_0?") for i in range(10)]
    return image_grid(
        torch.cat(rows),
        titles,
        columns=10,
        title=(
            f"{sampler}: {share:.0%} of the way back; the guess is {rmse:.2f} from "
            "the end (rms)"
        ),
    )


explore(
    draw_reverse,
    sampler=Dropdown(options=list(chains), layout={"width": "24em"}),
    moment=IntSlider(12, min=0, max=FRAMES - 1),
)

# %% [markdown]
# ## 8. The network learns a score
#
# What is $\mathbb E[\epsilon \mid x_t]$, the prediction that minimises the squared error? Let $p_t$ be the density of
# $x_t$ over all data. Differentiate
# $p_t(x_t) = \int p(x_0)\, \mathcal N(x_t; \sqrt{\bar\alpha_t} x_0, (1 - \bar\alpha_t) I)\, dx_0$ under the integral.
# The logarithm of the Gaussian has the gradient
# $-(x_t - \sqrt{\bar\alpha_t} x_0) / (1 - \bar\alpha_t) = -\epsilon / \sqrt{1 - \bar\alpha_t}$, so
#
# $$\nabla_{x_t} \log p_t(x_t) = \frac{\nabla p_t}{p_t} = \mathbb E\left[-\frac{\epsilon}{\sqrt{1 - \bar\alpha_t}} \,\Big|\, x_t\right] \approx -\frac{\epsilon_\theta(x_t, t)}{\sqrt{1 - \bar\alpha_t}} .$$
#
# The left side is the **score**: a vector that points uphill, to where noisy data are dense. Denoising *is* learning
# the score at every noise level (Tweedie's formula, notebook 01, section 2; Vincent 2011).
#
# *Margin note.* MLMI17's slide *Indirect approach* lists the *score function* among functions from pictures to numbers.
# But the score is the gradient of such a function, and so a vector.
#
# On a toy everything is known. Eight Gaussians with noise added are eight wider Gaussians, and
# $\mathbb E[\epsilon \mid x_t]$ is a formula (`MixtureNoise`). A multilayer perceptron that is trained on samples only
# should learn the same vector field.

# %%
TOY_STEPS = updates(smoke=150, laptop=4000, gpu=4000)
torch.manual_seed(0)
toy = DDPM(TimedMLP(2, 128), cosine_betas(100), momentum=0.99, pictures=False)
for _ in live(
    fit(
        toy,
        load("gaussians"),
        TOY_STEPS,
        batch_size=256,
        optimizers=adamw(5e-3, 0.0),
        seed=0,
        device="cpu",
    )
):
    pass
toy.eval()
points = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
abar = exact.schedule.abar[40].item()
apart = (points[:, None] - math.sqrt(abar) * centres.double()).square().sum(2) / (
    2 * (abar * NOISE**2 + 1 - abar)
)
log_density = (-apart).logsumexp(1).sum()  # of the noised mixture, up to a constant
score = torch.autograd.grad(log_density, points)[0]
torch.testing.assert_close(
    score_from_eps(exact(points.detach(), torch.full((6,), 40)), abar),
    score,
    atol=1e-6,
    rtol=1e-5,
)
show(MixtureNoise, after="exercise 10")

# %% [markdown]
# **Try it.** The figure shows the field at time $t$. At the end ($t$ near 100) the data are pure noise, so every arrow
# points to the middle, and its length is proportional to the distance to the middle. (At other $t$ the longest arrows
# may be shortened.) Move the slider to the left and watch how the arrows begin to point to eight different places.
# Where do the two fields differ most, and does a sampler ever go there?

# %% tags=["fold"]
PLANE = torch.cartesian_prod(
    torch.linspace(-2.6, 2.6, 18), torch.linspace(-2.6, 2.6, 18)
)


def draw_field(t):
    numbers, abar = torch.full((len(PLANE),), t), exact.schedule.abar[t].item()
    noised = q_sample(
        load("gaussians", "test").x[:400],
        abar,
        torch.randn(400, 2, generator=torch.Generator().manual_seed(0)),
    )
    figure, axes = subplots(1, 2, height=4.0)
    with torch.no_grad():
        fields = {
            "exact": score_from_eps(exact(PLANE, numbers), abar),
            "learnt": score_from_eps(toy.eps(PLANE, numbers), abar),
        }
        at = torch.full((400,), t)
        answer = exact(noised, at)
        error = (
            (toy.eps(noised, at) - answer).square().mean() / answer.square().mean()
        ).item()
        everywhere = (
            (fields["learnt"] - fields["exact"]).square().mean()
            / fields["exact"].square().mean()
        ).item()
    longest = 2 * fields["exact"].norm(dim=1).median().item()
    for ax, (name, field) in zip(axes, fields.items()):
        ax.scatter(*noised.T, s=4, color="#56B4E9")
        length = field.norm(dim=1, keepdim=True)
        arrows = field / length * length.clamp(max=longest)
        ax.quiver(
            *PLANE.T,
            *arrows.T,
            color="#000000",
            angles="xy",
            scale_units="xy",
            scale=longest / 0.35,
            width=0.004,
        )
        ax.set(
            title=f"{name} score; dots: data noised to t",
            xlabel="first coordinate",
            ylabel="second coordinate",
            xlim=(-2.8, 2.8),
            ylim=(-2.8, 2.8),
            aspect="equal",
        )
        ax.grid(False)
    title = (
        f"t = {t + 1} of 100: error of the learnt score, squared: {error:.1%} at the "
        f"dots, {everywhere:.1%} on the grid"
    )
    figure.suptitle(title, x=0.01, ha="left")
    return describe(figure, title)


explore(draw_field, t=IntSlider(45, min=0, max=99, continuous_update=False))


# %% tags=["fold"]
def toy_figure():
    rows = experiments.read("ddpm-toys")["rows"]
    figure, (left, right) = subplots(1, 2, height=3.0)
    for setting, colour, mark in (
        ("8 Gaussians", "#0072B2", "o-"),
        ("25 Gaussians", "#D55E00", "s--"),
    ):
        found = [row for row in rows if row["setting"] == setting]
        for row in found:
            left.plot(
                row["curve"]["t"],
                np.array(row["curve"]["error"]) / np.array(row["curve"]["exact"]),
                mark,
                color=colour,
                markersize=3,
                linewidth=1,
                label=setting if row is found[0] else None,
            )
    left.set(
        xlabel="t of 100",
        ylabel="squared error / squared size",
        yscale="log",
        title="learnt noise against exact",
    )
    left.legend()
    found = {
        "DDPM, 8": [r["inside"] for r in rows if r["setting"] == "8 Gaussians"],
        "DDPM, 25": [r["inside"] for r in rows if r["setting"] == "25 Gaussians"],
    }
    for title, setting in (
        ("GAN, 8 (12)", "8 Gaussians, plain"),
        ("GAN, 25 (12)", "25 Gaussians, plain"),
        ("WGAN-GP, 25 (12)", "25 Gaussians, WGAN-GP"),
    ):
        found[title] = experiments.values("gan-modes", "inside")[setting]
    for y, (name, values) in enumerate(found.items()):
        right.barh(y, np.mean(values), color="#0072B2", alpha=0.35)
        right.plot(values, [y] * len(values), ".", color="#0072B2")
    right.set(
        yticks=range(len(found)),
        yticklabels=list(found),
        xlabel="share inside a mode (data: 0.99)",
        xlim=(0, 1),
        title="what is drawn",
    )
    right.invert_yaxis()
    size, found = (
        f"{rows[0]['steps']:,} updates of {rows[0]['batch_size']}",
        min(row["modes"] for row in rows),
    )
    figure.suptitle(
        f"DDPM, {size}: modes found in every run: {found:.0%} (3 seeds)",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Left: relative error of the learnt noise over t for two toys. Right: share of "
        "drawn points inside a mode, DDPM beside notebook 12's GANs.",
    )


toy_figure()

# %% [markdown]
# The left panel divides the squared error by the squared size of the exact noise. Where the noise is strong ($t$ above
# 60), this quotient is below one in a thousand. Its root is the relative error of the noise: about 2 to 3 %. The
# relative error is largest at the smallest $t$. There the exact answer changes over short distances, within a mode and
# from one mode to the next. The network's answer is probably smoother.
#
# Every mode is found in every run. But with 25 narrow modes, about three samples in ten end outside all modes. The loss
# weighs all $t$ equally, so nothing asks for a sharp answer at small $t$ in particular.
#
# **What the best network would do.** For a *finite* set of pictures $\mathbb E[\epsilon \mid x_t]$ is a formula, too:
# `MixtureNoise` with one centre on each picture and a width of zero. This formula is the minimiser of the training
# loss, so no network can have a lower loss. Which pictures does it draw?

# %%
rows = as_float(train.x).flatten(1)
perfect = MixtureNoise(
    2 * rows[: {"smoke": 500, "laptop": 3000, "gpu": 12_000}[BUDGET]] - 1,
    0.0,
    painter.schedule,
)
torch.manual_seed(0)
drawn = {
    "minimiser": (
        last(
            ddim(perfect, torch.randn(8, 784), painter.schedule, 25, clip_denoised=1.0)
        )
        + 1
    ).view(8, 1, 28, 28)
    / 2,
    "our network": painter.denormalise(
        last(
            ddim(
                painter.eps,
                torch.randn(8, 1, 28, 28),
                painter.schedule,
                50,
                clip_denoised=1.0,
            )
        )
    ),
}

# %% tags=["fold"]
nearest = {name: torch.cdist(x.flatten(1), rows).min(1) for name, x in drawn.items()}
shown, titles = [], []
for name, x in drawn.items():
    shown += [x, rows[nearest[name].indices].view(-1, 1, 28, 28)]
    titles += [name] + [""] * 7 + ["nearest"] + [""] * 7
display(
    image_grid(
        torch.cat(shown),
        titles,
        columns=8,
        title=(
            "Draws, and below each the nearest training digit (the minimiser's set: "
            f"{len(perfect.centres):,} of 12,000)"
        ),
    )
)
of_test = torch.cdist(as_float(digits.x[:200]).flatten(1), rows).min(1).values
print(
    {name: round(found.values.mean().item(), 2) for name, found in nearest.items()},
    "mean distance to the nearest training digit;",
    f"a test digit's: {of_test.mean():.2f}",
)

# %% [markdown]
# The minimiser draws the training set. So if a diffusion model draws anything new, the reason is that its network
# **does not minimise its loss**. Whether it comes close depends on the number of pictures. Kadkhodaie et al. trained
# networks on sets of different sizes. From few pictures, a network does memorise: it draws the pictures of its training
# set. From many pictures, two networks that were trained on *separate* sets draw nearly the same picture from the same
# noise. They explain this by the functions that convolutional networks learn easily. Remember this before you train a
# big network on few pictures. (Distance alone does not distinguish a new digit from a badly drawn one. Compare it with
# the distance of test digits.)
#
# ## 9. Four things to predict
#
# Given $x_t$ and $t$, each of the following predictions determines all the others, by linear formulas:
#
# | the network predicts | the noise computed from it | trained on |
# |---|---|---|
# | noise $\epsilon$ | itself | $\lVert\epsilon - \hat\epsilon\rVert^2$ |
# | picture $x_0$ | $(x_t - \sqrt{\bar\alpha}\, \hat x_0) / \sqrt{1 - \bar\alpha}$ | $\lVert x_0 - \hat x_0\rVert^2$: the first loss, times $(1 - \bar\alpha) / \bar\alpha$ |
# | $v = \sqrt{\bar\alpha}\, \epsilon - \sqrt{1 - \bar\alpha}\, x_0$ | $\sqrt{1 - \bar\alpha}\, x_t + \sqrt{\bar\alpha}\, \hat v$ | $\lVert v - \hat v\rVert^2$: the first loss, times $1 / \bar\alpha$ |
# | the next step $x_{t-1}$, its mean | $(x_t - \sqrt{\alpha}\, \hat x_{t-1}) \sqrt{1 - \bar\alpha} / \beta$ | MLMI17's Algorithm 1.2 |
#
# **Algorithm 1.2** simulates whole chains and regresses $x_{t-1}$ on $x_t$. Split the target:
# $x_{t-1} = \tilde\mu_t(x_t, x_0) + \sqrt{\tilde\beta_t}\, \xi$ with $\xi$ independent of $x_t$ and $x_0$. With
# $f_\theta = \frac{1}{\sqrt{\alpha_t}} (x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}} \epsilon_\theta)$ and $d$ pixels
#
# $$\mathbb E \| x_{t-1} - f_\theta \|^2 = \mathbb E \| \tilde\mu_t - f_\theta \|^2 + d\, \tilde\beta_t = \frac{\beta_t^2}{\alpha_t (1 - \bar\alpha_t)}\; \mathbb E \| \epsilon - \epsilon_\theta \|^2 + d\, \tilde\beta_t .$$
#
# This is the same loss with other weights, plus a constant, so it has **the same optimum**. But the constant makes up
# nearly the whole loss (the cell prints both for one step). It comes from the random noise of the single step,
# $\sqrt{\tilde\beta_t}\, \xi$, which is up to ten times larger than all that there is to learn. This noise adds nothing
# to the gradient on average, but much in a single batch. DDPM's loss is the same regression with this noise averaged
# out, because its target is the mean of $x_{t-1}$ instead of one sample. A network that outputs $x_{t-1}$ *itself* has
# a second problem. It must copy $x_t$ to within about a hundredth before its output says anything about the noise,
# because its error is multiplied by $\sqrt{\alpha_t (1 - \bar\alpha_t)} / \beta_t$. This factor is about 50 or larger
# (the cell prints its range). First we check the identity, by Monte Carlo with an arbitrary function in place of the
# network:

# %%
torch.manual_seed(0)
n, t, d = 200_000, 30, 3
beta, abar, abar_prev = (
    values[t] for values in (schedule.beta, schedule.abar, schedule.abar_prev)
)
x0 = torch.rand(n, d, dtype=torch.float64) * 2 - 1
# x_{t-1} by a jump ...
x_s = abar_prev.sqrt() * x0 + (1 - abar_prev).sqrt() * torch.randn_like(x0)
x_t = (1 - beta).sqrt() * x_s + beta.sqrt() * torch.randn_like(x0)  # ... x_t by a step
eps = eps_from_x0(x_t, x0, abar)
said = torch.sin(3 * x_t)  # any eps_theta will do
left = (x_s - mean_from_eps(x_t, said, beta, abar)).square().sum(1)
right = beta**2 / ((1 - beta) * (1 - abar)) * (eps - said).square().sum(
    1
) + d * posterior_variance(abar, abar_prev)
gap = (left - right).mean().item()
assert abs(gap) < 4 * ((left - right).std() / math.sqrt(n)).item()
ratio = (
    (schedule.abar.new_tensor(1) - schedule.beta).sqrt()
    * (1 - schedule.abar).sqrt()
    / schedule.beta
)
print(
    f"an error of x_{{t-1}} counts {ratio.min():.0f} to {ratio.max():.0f} times as an "
    "error of the noise"
)
print(
    f"regress the next step: {left.mean():.6f}; the noise, reweighted, plus a "
    f"constant: {right.mean():.6f}; of it the constant "
    f"{d * posterior_variance(abar, abar_prev):.6f}"
)
v = v_from(x0, eps, abar)
torch.testing.assert_close(eps_from_v(x_t, v, abar), eps)
torch.testing.assert_close(x0_from_eps(x_t, eps, abar), x0)
says = SaysNextStep(
    lambda x, t, y: mean_from_eps(x, torch.sin(3 * x), beta, abar), linear_betas(1000)
)
torch.testing.assert_close(
    says(x_t[:5], torch.full((5,), t)), said[:5], atol=1e-6, rtol=1e-6
)
show(NextStep.loss)


# %% tags=["fold"]
def predictions_figure():
    found = {
        measure: experiments.values("ddpm-predictions", measure)
        for measure in ("frechet", "bits")
    }
    figure, axes = subplots(1, 2, height=3.4)
    for ax, (measure, values) in zip(axes, found.items()):
        for y, numbers in enumerate(values.values()):
            ax.barh(y, np.mean(numbers), color="#0072B2", alpha=0.35)
            ax.plot(numbers, [y] * len(numbers), ".", color="#0072B2")
            ax.annotate(
                f"{np.mean(numbers):.3g}",
                (max(numbers), y),
                (6, 0),
                textcoords="offset points",
                va="center",
            )
        ax.set(
            yticks=range(len(values)),
            yticklabels=list(values) if measure == "frechet" else [],
            xscale="log",
            xlabel={
                "frechet": "Frechet distance of 250 draws",
                "bits": "bound, bits per dimension",
            }[measure],
        )
        ax.invert_yaxis()
        ax.margins(x=0.25)
    row = experiments.read("ddpm-predictions")["rows"][0]
    figure.suptitle(
        f"Digits, {row['steps']} updates of {row['batch_size']}, 3 seeds; cosine "
        "schedule unless it says linear; lower is better",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Bars for six kinds of prediction: Frechet distance of the draws and bits per "
        "dimension of the bound.",
    )


predictions_figure()

# %% [markdown]
# The two columns disagree, and both are right. **Samples** of a network that predicts the picture, or $v$, are far
# better after so few updates. The first steps back, out of pure noise, decide the coarse shape. There a prediction of
# the noise has to be divided by $\sqrt{\bar\alpha_t} < 0.01$ before it says anything about the picture. **The bound**
# shows the opposite. Near the end a prediction of the picture is divided by $\sqrt{1 - \bar\alpha_t} \approx 0.01$
# before it says anything about the noise, and this costs hundreds of bits in the bound. Here predicting the noise is
# best, and $v$ is close behind. With $v$ there is no division by a small number at either end, so the emoji model uses
# $v$. After long training (the shipped digits, 5,000 updates) predicting the noise works well enough, too.
#
# **MLMI17's Algorithm 1.2** has the same optimum on paper, but it draws nothing but noise after these updates, in all
# six runs. In one version the network outputs $\epsilon_\theta$, and $f_\theta$ is computed from it. It probably fails
# because the random noise of the single step hides the gradient. In the literal version the network outputs $x_{t-1}$.
# It has the same noise in its target, and it must also copy $x_t$ first.
#
# ## 10. DDIM: the same network, fewer steps
#
# A thousand passes through the network for one picture are many. Look again at the loss. It uses only the *jumps*
# $q(x_t \mid x_0)$, never the steps between them. So **any other process with the same jumps has the same
# $L_{\text{simple}}$, and can use the same trained network** (its bound has other weights: Song et al., Theorem 1). For
# any $s < t$, Song et al., whose $\alpha_t$ is our $\bar\alpha_t$, choose
#
# $$q_\sigma(x_s \mid x_t, x_0) = \mathcal N\left(\sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \underbrace{\frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{\sqrt{1 - \bar\alpha_t}}}_{\epsilon},\;\; \sigma^2 I\right) .$$
#
# Check that this gives the right jump. If $x_t$ is a jump from $x_0$, then $\epsilon$ is standard normal, given $x_0$.
# So $x_s$ has mean $\sqrt{\bar\alpha_s}\, x_0$ and variance
# $(1 - \bar\alpha_s - \sigma^2) + \sigma^2 = 1 - \bar\alpha_s$. Any $\sigma^2 \le 1 - \bar\alpha_s$ is allowed. In use,
# the network's guess replaces $x_0$:
#
# $$\begin{gathered}
# x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \hat\epsilon + \sigma\, \xi, \\
# \sigma = \eta \sqrt{\tilde\beta}, \qquad
# \tilde\beta = \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \Big(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\Big) .
# \end{gathered}$$
#
# $\eta = 1$ gives DDPM's posterior again. $\eta = 0$ has **no noise except the first**. Then the map from noise to
# picture is fixed. In the library `ddim` is the loop of section 7 with this $q_\sigma$ in place of the posterior.
#
# **DDIM in one variable.** Divide by $\sqrt{\bar\alpha}$, so that the picture is not shrunk any more. Write
# $u_t = x_t / \sqrt{\bar\alpha_t}$, and $\sigma_t = \sqrt{1 - \bar\alpha_t} / \sqrt{\bar\alpha_t}$ for the noise level
# (this is another $\sigma$ than that of $q_\sigma$). Then a jump is $u_t = x_0 + \sigma_t\, \epsilon$, and the guess of
# the picture is $\hat x_0 = u_t - \sigma_t\, \hat\epsilon$. The step with $\eta = 0$, divided by $\sqrt{\bar\alpha_s}$,
# becomes
#
# $$\begin{gathered}
# u_s = \hat x_0 + \sigma_s\, \hat\epsilon = u_t + (\sigma_s - \sigma_t)\, \hat\epsilon, \\
# \text{which is Euler's method for}\qquad \frac{du}{d\sigma} = \hat\epsilon .
# \end{gathered}$$
#
# So DDIM follows the paths of a differential equation from the largest $\sigma$ to 0. Euler's method walks along the
# tangent. It can take large steps if the paths bend little. The cell below checks the formula on the toy. It also
# measures how much longer the paths of $x_t$ are than straight lines.


# %%
def ddim_step_by_hand(x_t, eps, abar_t, abar_s, eta, noise):
    """Equations 12 and 16 of Song et al., whose alpha is our abar."""
    sigma = eta * math.sqrt((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s))
    x0 = (x_t - math.sqrt(1 - abar_t) * eps) / math.sqrt(abar_t)
    return (
        math.sqrt(abar_s) * x0 + math.sqrt(1 - abar_s - sigma**2) * eps + sigma * noise
    )


torch.manual_seed(0)
x, noise = torch.randn(5, 2), torch.randn(5, 2)
t, s = step_numbers(100, 10)[3:5]
abar_t, abar_s = exact.schedule.abar[t].item(), exact.schedule.abar[s].item()
eps = exact(x, torch.full((5,), t))
ours = ddim_step_by_hand(x, eps, abar_t, abar_s, 1.0, noise)
posterior = (
    posterior_mean(x0_from_eps(x, eps, abar_t), x, abar_t, abar_s)
    + math.sqrt(posterior_variance(abar_t, abar_s)) * noise
)
torch.testing.assert_close(ours, posterior, atol=1e-5, rtol=0)  # eta = 1 is DDPM
x_T = torch.randn(200, 2)
a = last(ddim(exact, x_T, exact.schedule, 20, eta=1.0, noise=torch.ones_like))
torch.testing.assert_close(
    a,
    last(ancestral(exact, x_T, exact.schedule, 20, noise=torch.ones_like)),
    atol=1e-4,
    rtol=0,
)
u, numbers = None, step_numbers(100, 20)
for t, s in zip(numbers, [*numbers[1:], None]):  # Euler's method for du / dsigma = eps
    abar_t = exact.schedule.abar[t].item()
    abar_s = 1.0 if s is None else exact.schedule.abar[s].item()
    u = x_T / math.sqrt(abar_t) if u is None else u
    eps = exact(u * math.sqrt(abar_t), torch.full((200,), t))
    u = u + (math.sqrt(1 / abar_s - 1) - math.sqrt(1 / abar_t - 1)) * eps
torch.testing.assert_close(
    u, last(ddim(exact, x_T, exact.schedule, 20)), atol=1e-2, rtol=0
)
path = torch.stack([x_T, *(x for x, _ in ddim(exact, x_T, exact.schedule))])
longer = (path[1:] - path[:-1]).norm(dim=2).sum(0) / (path[-1] - path[0]).norm(dim=1)
print(
    f"paths from noise to the toy's data: {longer.median():.2f} times as long as the "
    "straight line between their ends (median of 200)"
)
show(ddim, after="exercise 8")


# %% tags=["fold"]
def steps_figure():
    figure, axes = subplots(1, 4, height=3.1)
    steps = (10, 50, 250, 1000)
    for ax, (measure, text) in zip(
        axes,
        {
            "frechet": "Frechet distance",
            "precision": "precision",
            "recall": "recall",
            "seconds": "seconds a picture",
        }.items(),
    ):
        found = experiments.values("ddpm-steps", measure)
        for name, colour, mark in (
            ("DDPM", "#0072B2", "o-"),
            ("DDPM, variance beta", "#D55E00", "s--"),
            ("DDIM", "#009E73", "^-."),
        ):
            lines = [
                (k, np.mean(found[f"{name}, {k}"]))
                for k in steps
                if f"{name}, {k}" in found
            ]
            ax.plot(*zip(*lines), mark, color=colour, markersize=4, label=name)
            for k, _ in lines:
                ax.plot([k] * 3, found[f"{name}, {k}"], ".", color=colour, markersize=2)
        if measure != "seconds":
            ax.axhline(
                np.mean(found["real"]), color="#666666", linewidth=0.8, linestyle=":"
            )
        ax.set(xscale="log", xticks=steps, xlabel="steps", title=text)
        ax.set_xticks(steps, [str(k) for k in steps], size=8)
        ax.minorticks_off()
    axes[0].set_yscale("log")
    axes[3].set_yscale("log")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    figure.suptitle(
        "64 digits by the shipped weights, 3 seeds; dotted: 64 real ones",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Four panels over 10, 50, 250 and 1000 steps: Frechet distance, precision, "
        "recall and seconds of DDPM with both variances and of DDIM.",
    )


display(steps_figure())
distance = {
    name: np.array(values)
    for name, values in experiments.values("ddpm-steps", "frechet").items()
}
for steps in (250, 50, 10):
    apart = distance[f"DDIM, {steps}"] - distance["DDIM, 1000"]
    print(
        f"DDIM from the same noise, {steps} steps instead of 1000: the Frechet "
        f"distance changes by {', '.join(f'{value:+.2f}' for value in apart)} (3 seeds)"
    )

# %% [markdown]
# Fifty steps need one twentieth of the calls of the network, and the figure shows no loss of quality. But such a figure
# cannot show a small loss. The Frechet distance compares means and covariances of 96 features, and 64 pictures do not
# determine a covariance of 96 features. Even 64 *real* digits have a distance of about 10, and the seeds of one sampler
# differ by as much as the numbers of steps do (apart from the large variance with ten steps).
#
# For DDIM a finer comparison is possible. With the same seed it starts from the same noise, so it draws nearly the same
# 64 pictures with any number of steps. The lines below the figure print the differences for each seed. Both 250 and 50
# steps cost a little, and ten steps cost clearly more, each time with all three seeds.
#
# Only the *large* variance fails, with ten steps. $\beta$ is right for data that are themselves noise. When one step
# replaces a hundred, it leaves more noise behind than the remaining steps can remove.
#
# Song et al. found that DDIM is better than ancestral sampling with few steps. Here ancestral sampling with
# $\tilde\beta$ is at least as good, within the spread of 64 pictures. A possible reason is that fresh noise lets later
# steps correct the errors of earlier ones. Only DDIM has the fixed map, and the rest of this section uses it.
#
# **Same start, different noise.** MLMI17 says: *different noise samples (dice rolls) result in different images*. DDIM
# rolls the dice once, at the start. DDPM rolls them again at later steps, so the same $x_T$ leads to different
# pictures. The larger $\eta$ is, the more they differ.

# %%
torch.manual_seed(2)
DICE = {"smoke": 20, "laptop": 100, "gpu": 250}[BUDGET]
x_T = torch.randn(3, 1, 28, 28).repeat_interleave(4, 0)
same = {
    f"eta {eta:g}": painter.denormalise(
        last(ddim(painter.eps, x_T, painter.schedule, DICE, eta=eta, clip_denoised=1.0))
    )
    for eta in (0.0, 0.3, 1.0)
}
titles = [f"{name}" if i == 0 else "" for name in same for i in range(12)]
apart = ", ".join(
    f"{torch.cdist(x.view(3, 4, -1), x.view(3, 4, -1)).sum().item() / 36:.1f}"
    for x in same.values()
)
image_grid(
    torch.cat(list(same.values())),
    titles,
    columns=12,
    title=(
        f"Three starts, four times each; mean distance within a start, by eta: {apart}"
    ),
)

# %% [markdown]
# **A latent space after all.** With $\eta = 0$ the map from $x_T$ to $x_0$ is fixed, and we can follow it backwards,
# from picture to noise. Each backward step would need the predicted noise at the point where it arrives. Instead it
# uses the prediction at the point where it starts, for the step number of the arrival. So a picture has a *code* of its
# own size, from which it is nearly recovered. The title gives the standard deviation of the codes. The noise that the
# sampler starts from has 1. We can also interpolate between two noises. (Walk on the sphere, as in notebook 11, because
# a straight line between two Gaussian vectors passes through a region in which such noises practically never lie.)

# %%
CODE_STEPS = {"smoke": 10, "laptop": 100, "gpu": 250}[BUDGET]
x = 2 * as_float(digits.x[[0, 2, 3, 4, 7, 18]]) - 1
*_, code = invert(painter.eps, x, painter.schedule, CODE_STEPS)
back = last(ddim(painter.eps, code, painter.schedule, CODE_STEPS))
titles = [
    text if i == 0 else ""
    for text in ("test digits", "their codes x_T", "drawn again")
    for i in range(6)
]
error = (back - x).square().mean().sqrt().item() / 2
display(
    image_grid(
        torch.cat([(x + 1) / 2, (code + 2) / 4, (back + 1) / 2]),
        titles,
        columns=6,
        title=(
            f"{CODE_STEPS} steps there, {CODE_STEPS} back: root mean squared error "
            f"{error:.3f}; the codes' std {code.std():.2f}"
        ),
    )
)
torch.manual_seed(8)
ends = torch.randn(2, 3, 1, 28, 28).flatten(2)
# (3, 9, 784)
walk = torch.stack(
    [slerp(ends[0], ends[1], w) for w in torch.linspace(0, 1, 9).tolist()], 1
)
between = painter.denormalise(
    last(
        ddim(
            painter.eps,
            walk.reshape(27, 1, 28, 28),
            painter.schedule,
            50,
            clip_denoised=1.0,
        )
    )
)
image_grid(
    between,
    columns=9,
    title="Nine noises on the arc between two, three times; DDIM, 50 steps",
)

# %% [markdown]
# ## 11. VAE, GAN, DDPM: the same time, the same digits
#
# How do the course's generative models compare if each is trained for about the same time on one core? (Each has the
# batch size of its own recipe. Each draws 250 digits, which are evaluated with the features of the same classifier.)


# %% tags=["fold"]
def equal_time():
    found = {
        measure: experiments.values("ddpm-equal-time", measure)
        for measure in ("frechet", "precision", "recall")
    }
    rows = experiments.read("ddpm-equal-time")["rows"]
    spent = {
        name: np.mean([row["seconds"] for row in rows if row["setting"] == name])
        for name in found["frechet"]
        if name != "real"
    }
    labels = [
        name + (f", {spent[name]:.0f} s" if name in spent else "")
        for name in found["frechet"]
    ]
    figure, axes = subplots(1, 3, height=2.9)
    for ax, (measure, values) in zip(axes, found.items()):
        for y, numbers in enumerate(values.values()):
            ax.barh(
                y, np.mean(numbers), color="#666666" if y == 0 else "#0072B2", alpha=0.5
            )
            ax.plot(numbers, [y] * len(numbers), "k.", markersize=4)
            ax.annotate(
                f"{np.mean(numbers):.3g}",
                (max(numbers), y),
                (5, 0),
                textcoords="offset points",
                va="center",
                size=9,
            )
        ax.set(
            yticks=range(len(labels)),
            yticklabels=labels if measure == "frechet" else [],
            title={"frechet": "Frechet distance"}.get(measure, measure),
        )
        ax.invert_yaxis()
        ax.margins(x=0.3)
    figure.suptitle(
        "Digits, about equal training time (3 seeds); of the distance lower is better",
        x=0.01,
        ha="left",
    )
    return describe(
        figure,
        "Bars of Frechet distance, precision and recall for real digits, VAE, GAN, "
        "DDPM of noise and DDPM of v.",
    )


display(equal_time())


def shipped_table():
    shipped = {
        "digits": "ddpm",
        "digits, VAE": "vae",
        "digits, GAN, label": "conditional-gan",
        "emoji": "ddpm-emoji",
        "emoji, VAE": "vae-emoji",
        "emoji, GAN": "gan-emoji",
        "emoji, GAN, label": "conditional-gan-emoji",
    }
    found = {
        measure: experiments.values("ddpm-shipped", measure)
        for measure in ("frechet", "precision", "recall")
    }
    lines = [
        "| shipped weights | updates | minutes on one core | Frechet distance | "
        "precision | recall |",
        "|---|---|---|---|---|---|",
    ]
    for title, name in shipped.items():
        about = zoo.manifest()[name]
        numbers = [found[measure][title][0] for measure in found]
        title = title if "," in title else f"{title}, **DDPM**"
        lines.append(
            f"| {title} | {about['steps']:,} | {about['seconds'] / 60:.0f} | "
            f"{numbers[0]:.1f} | {numbers[1]:.2f} | {numbers[2]:.2f} |"
        )
    for data in ("digits", "emoji"):
        real = [
            np.mean(
                experiments.values("vae-samples", f"{measure} prior")[f"real {data}"]
            )
            for measure in found
        ]
        lines.append(
            f"| other real {data} | | | {real[0]:.1f} | {real[1]:.2f} | {real[2]:.2f} |"
        )
    return Markdown("\n".join(lines))


shipped_table()

# %% [markdown]
# After a little more than a minute the VAE has the lowest Frechet distance, followed by the GAN. A diffusion model that
# predicts $v$ is behind both, and one that predicts the noise is far behind. One reason is probably that a diffusion
# model learns a thousand tasks, and each picture trains only one of them at a time. Compared with a GAN, a diffusion
# model has an advantage: it has one network and one loss, so no two networks have to be kept in balance. The table
# shows the shipped weights, each trained for as long as it seemed useful. The numbers of samples and the evaluation
# networks are those of notebook 12. On emoji, diffusion has the highest recall, at about equal precision, so it leaves
# out the least. By the Frechet distance the GANs are better, most of all the conditional one (with label).
#
# **A representation, too.** To remove noise from a picture one must know what is in the picture. Give the U-Net a
# picture without noise, but with the step $t = T / 20$. Take its coarsest feature map, averaged over positions
# (`encode`). These features are better than those of the same network without training.


# %% tags=["fold"]
def features_figure():
    found = {}
    for title, name in (("digits", "ddpm"), ("emoji", "ddpm-emoji")):
        for setting, text in (("random encoder", "untrained"), ("trained", "trained")):
            for measure, short in (("knn", "k-NN"), ("probe", "linear probe")):
                found[f"{title}, {text}: {short}"] = experiments.values(name, measure)[
                    setting
                ]
    return bars_with_spread(
        found,
        title="Frozen features of the U-Net, test pictures (3 seeds)",
        xlabel="accuracy (chance: 0.1 of digits, 0.11 of emoji)",
    )


features_figure()

# %% [markdown]
# ## 12. Pitfalls
#
# - **$\bar\alpha$ in place of $\alpha$, or the other way round.** Both lie in $(0, 1)$, the code runs with both, and no error is raised. The step has $\beta_t$, the jump has $\bar\alpha_t$.
# - **A variance used as a standard deviation**, or a forgotten root (section 2).
# - **Noise at the last step.** It adds fine noise of standard deviation $\sqrt{\beta_1}$ (0.01 for the linear schedule, about one grey level), which never shows in any loss.
# - **$t$ off by one** between training and sampling: the network gets a picture of one noise level and the step number of another.
# - **The noise of the step in place of the noise of the jump** (section 4's margin note).
# - **Pixels in $[0, 1]$.** Contrasts are halved, so at every $t$ the signal-to-noise ratio of the varying part is a quarter of the ratio that the schedule was made for. And a `clip_denoised` of 1 allows guesses down to $-1$.
# - **Sampling with the trained weights instead of their average**, or with an average whose memory is longer than the training.
# - **A guess of $x_0$ outside $[-1, 1]$.** Early guesses contain a division by $\sqrt{\bar\alpha_t} \approx 0.006$. The samplers here clamp the guesses to the range of pixels (`clip_denoised`), which changes every later step.
# - **One $t$ for the whole batch.** This is no mistake, but the gradient is much noisier.
# - **Measuring the quality of the pictures by the loss** (section 6).
#
# ## 13. What to try next
#
# **Exercises**: [`exercises/14_ddpm.ipynb`](../exercises/14_ddpm.ipynb): the schedule, the jump, the posterior, a loss
# with a cap, a step back with a learnt variance, DDIM for a network that predicts $v$, and more. Each is checked when
# you run the cell below it.
#
# Train `ddpm` with `cosine_betas()`. Set `clip_denoised=None` in section 1: what do the pictures look like with 10
# steps? Give `DDPM` a `momentum` of 0 and compare. Draw digits with a `MixtureNoise` of ten training digits and a width
# of 0.1: what do you get? In notebook 15 you tell the model what you want.
#
# ## 14. What to read
#
# - Sohl-Dickstein et al. 2015, *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, [arXiv 1503.03585](https://arxiv.org/abs/1503.03585): the idea.
# - Ho, Jain, Abbeel 2020, *Denoising Diffusion Probabilistic Models*, [arXiv 2006.11239](https://arxiv.org/abs/2006.11239). Nichol, Dhariwal 2021, *Improved DDPM*, [arXiv 2102.09672](https://arxiv.org/abs/2102.09672).
# - Song, Meng, Ermon 2020, *Denoising Diffusion Implicit Models*, [arXiv 2010.02502](https://arxiv.org/abs/2010.02502).
# - Vincent 2011, *A Connection Between Score Matching and Denoising Autoencoders*, Neural Computation 23. Song, Ermon 2019, *Generative Modeling by Estimating Gradients of the Data Distribution*, [arXiv 1907.05600](https://arxiv.org/abs/1907.05600); Song et al. 2020, *Score-Based Generative Modeling through SDEs*, [arXiv 2011.13456](https://arxiv.org/abs/2011.13456).
# - Kingma et al. 2021, *Variational Diffusion Models*, [arXiv 2107.00630](https://arxiv.org/abs/2107.00630): the bound in terms of signal-to-noise ratios. Salimans, Ho 2022, *Progressive Distillation*, [arXiv 2202.00512](https://arxiv.org/abs/2202.00512): $v$.
# - Karras et al. 2022, *Elucidating the Design Space of Diffusion-Based Generative Models*, [arXiv 2206.00364](https://arxiv.org/abs/2206.00364).
# - Kadkhodaie et al. 2023, *Generalization in Diffusion Models Arises from Geometry-Adaptive Harmonic Representations*, [arXiv 2310.02557](https://arxiv.org/abs/2310.02557): when networks memorise, and why they do not from many pictures. Xiang et al. 2023, *Denoising Diffusion Autoencoders are Unified Self-supervised Learners*, [arXiv 2303.09769](https://arxiv.org/abs/2303.09769).
