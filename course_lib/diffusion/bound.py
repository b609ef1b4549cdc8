"""The variational bound of a diffusion model, term by term. It is the bound of a VAE
with T latents and a fixed encoder.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239), equations 5, 12 and 13. Kingma et al. 2021
(arXiv 2107.00630, equation 13) write the terms with differences of signal-to-noise
ratios.
"""

import math

import torch
from torch import Tensor

from course_lib import evaluate
from course_lib.checks import count, expects, positive
from course_lib.data import as_float
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.gaussians import posterior_variance, q_sample, x0_from_eps
from course_lib.diffusion.schedules import Schedule, signal_to_noise
from course_lib.run import seeded


def noise_weights(schedule: Schedule) -> Tensor:
    """Returns beta^2 / (2 btilde alpha (1 - abar)), float64 (T,): the weight of
    ||eps - eps_theta||^2 in the bound, in nats, at each step, where x_{t-1} is drawn
    with variance btilde (equation 12).

    The first weight is infinite: the bound's first term is a likelihood instead.
    """
    beta, abar = schedule.beta, schedule.abar
    btilde = posterior_variance(abar, schedule.abar_prev)
    return beta.square() / (2 * btilde * (1 - beta) * (1 - abar))


@expects(x0="float ...")
def prior_kl(x0: Tensor, schedule: Schedule) -> Tensor:
    """Returns L_T = KL(q(x_T given x_0) || N(0, I)), (N,) nats. It has no parameters
    that could be learned."""
    abar = schedule.abar[-1]
    each = abar * x0.double().square() - abar - torch.log1p(-abar)
    return each.flatten(1).sum(1) / 2


@expects(mean="float N D", x0="float N D")
def discretised_log_likelihood(
    mean: Tensor, x0: Tensor, sigma: float, levels: int = 256
) -> Tensor:
    """Returns sum_d log P_d, (N,) nats, where P_d is the probability that N(mean_d,
    sigma^2) gives to the interval around the grey level x0_d (equation 13).

    x0: grey levels mapped to [-1, 1], which are 2 / (levels - 1) apart. The interval of
    a level contains all numbers that are nearest to this level. So the interval of the
    darkest level goes to -infinity, that of the brightest to infinity.
    """
    mean, x0 = mean.double(), x0.double()
    half = 1 / (count("levels", levels, low=2) - 1)
    below = torch.where(
        x0 < half - 1, -torch.inf, (x0 - half - mean) / positive("sigma", sigma)
    )
    above = torch.where(x0 > 1 - half, torch.inf, (x0 + half - mean) / sigma)
    # mirrored to the left tail, because in the right one both probabilities round to 1
    right = x0 > mean
    log_below = torch.special.log_ndtr(torch.where(right, -above, below))
    log_above = torch.special.log_ndtr(torch.where(right, -below, above))
    return (log_above + torch.log1p(-(log_below - log_above).exp())).sum(1)


def terms(
    method: DDPM, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None
) -> Tensor:
    """Returns the bound's terms of steps t (N,), one for each picture, (N,) nats, each
    estimated with one draw eps of the noise.

    Where t > 0, the term is KL(q(x_{t-1} given x_t, x_0) || p_theta) with variance
    btilde. This is half the increase of the signal-to-noise ratio from step t to step
    t - 1, times ||x_0 - prediction of x_0||^2. Where t = 0, the term is
    -log p_theta(x_0 given x_1) with variance beta_1. x0: the normalised pictures, as
    the network gets them.
    """
    schedule = method.schedule
    abar, abar_prev = schedule.abar[t], schedule.abar_prev[t]
    x_t = q_sample(x0, abar, eps)
    guess = x0_from_eps(x_t, method.eps(x_t, t, y), abar)
    if (clip := method.clip_denoised) is not None:
        guess = guess.clamp(-clip, clip)
    # 0.5 stands for no value: the result for t = 0 is not used
    gain = signal_to_noise(torch.where(t > 0, abar_prev, 0.5)) - signal_to_noise(abar)
    between = gain / 2 * (x0 - guess).double().square().flatten(1).sum(1)
    first = -discretised_log_likelihood(
        guess.flatten(1), x0.flatten(1), schedule.beta[0].sqrt().item()
    )
    return torch.where(t > 0, between, first)


@torch.no_grad()
def bits_per_dimension(method: DDPM, x: Tensor, draws: int = 8, seed: int = 0) -> float:
    """Returns an unbiased estimate of the bound in bits per dimension, the mean over
    8-bit pictures x, uint8 (N, C, H, W).

    For each picture, L_T is computed exactly and the first term from one draw of the
    noise. The sum of the other T - 1 terms is estimated from `draws` of them, by
    importance sampling. Step t is drawn with probability log((t + 1) / t) / log(T),
    because the terms fall about as 1 / t. This distribution is cut into `draws` parts
    of equal probability, and one step is drawn from each part.
    """
    totals, steps = [], len(method.schedule)
    with seeded(seed):
        for batch in as_float(x).split(250):
            x0 = method.normalise(batch)
            first = terms(
                method, x0, torch.zeros(len(x0), dtype=torch.long), torch.randn_like(x0)
            )
            total = prior_kl(x0, method.schedule) + first
            for part in range(draws):
                u = (part + torch.rand(len(x0), dtype=torch.float64)) / draws
                t = (steps**u).long().clamp(1, steps - 1)
                share = torch.log1p(1 / t.double()) / math.log(steps)
                total += terms(method, x0, t, torch.randn_like(x0)) / (share * draws)
            totals.append(total)
    return evaluate.bits_per_dimension(
        -torch.cat(totals).mean().item(), x[0].numel(), levels=1
    )
