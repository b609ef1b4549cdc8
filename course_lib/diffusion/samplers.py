"""From noise to data: ancestral sampling (DDPM) and DDIM, on all steps or on some of
them.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239), Algorithm 2. Song, Meng, Ermon 2020 (arXiv
2010.02502), equation 12. A sampler asks one function only, eps_fn(x_t, t) with t (N,)
-> noise like x_t: a network, the exact answer, or a guided one. It yields (x_s, x_0 as
guessed from x_t) after each step from t to s; the last x_s is x_0.

Both are one loop, `sample`. They differ in one Gaussian, the transition q(x_s | x_t,
x_0): the posterior (`ancestral`) or Song et al.'s q_sigma (`ddim`).

The variable is x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, and a level of noise is its
abar. Notebook 13 counts in sigma (Song & Ermon 2019, arXiv 1907.05600; Karras et al.
2022, arXiv 2206.00364). The map, tested in tests/test_diffusion.py:

Variable: x_t / sqrt(abar) = x_0 + sigma eps, with the same eps. sigma =
signal_to_noise(abar)**-0.5. Levels sigma_1 < ... < sigma_T, such as a geometric
sequence: abar = 1 / (1 + sigma^2) and
  Schedule(1 - abar / cat([1, abar[:-1]])). Then DDPM, MixtureNoise, guidance and all samplers work with these levels;
  x_T stays standard normal.
Score: of x_t it is score_from_eps(eps, abar); of x_0 + sigma eps it is sqrt(abar) times
that, -eps / sigma. Loss: denoising score matching with weight sigma^2 is DDPM's squared
error of eps. Probability-flow ODE: dx / dsigma = eps in the variable x_0 + sigma eps.
Euler's step from t to s is `ddim` with
  eta = 0: q_sample(x0_from_eps(x_t, eps, abar_t), abar_s, eps). Heun's step is this one twice, both from x_t: with eps
  at x_t, then with the mean of eps at x_t and eps at the first result; only once at the end, where sigma_s = 0. It asks
  twice a step: write a loop of its own over `_path`, in this file.
Annealed Langevin (Song & Ermon, Algorithm 1): a loop over `_path`, too. At level t, n
times
  x = x + a / 2 score_from_eps(eps, abar_t) + sqrt(a) noise, a = abar_t times the paper's step size; then
  x = sqrt(abar_s / abar_t) x.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.checks import count, number
from course_lib.diffusion.gaussians import (
    eps_from_x0,
    posterior_mean,
    posterior_variance,
    q_sample,
    x0_from_eps,
)
from course_lib.diffusion.schedules import Schedule

EpsFn = Callable[[Tensor, Tensor], Tensor]
Transition = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, float]]


def step_numbers(total: int, steps: int | None = None) -> list[int]:
    """`steps` of 0..total-1, evenly spaced, from the last one down to 0; all by
    default; one: the last."""
    steps = total if steps is None else count("steps", steps, total)
    return (
        torch.linspace(total - 1, 0, steps, dtype=torch.float64).round().long().tolist()
    )


@torch.no_grad()
def sample(
    eps_fn: EpsFn,
    x: Tensor,
    schedule: Schedule,
    transition: Transition,
    steps: int | None = None,
    clip_denoised: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The loop of Algorithm 2 (arXiv 2006.11239), from x = x_T, standard normal (N,
    ...): guess x_0, then draw x_s from a Gaussian.

    transition: (x_t, x_0, eps, abar_t, abar_s) -> mean of x_s, like x_t, and variance,
    a number. steps: how many, evenly spaced; None: all. clip_denoised: the guess of x_0
    is clipped to [-clip_denoised, clip_denoised]. noise: x -> the step's noise. The
    last step adds none.
    """
    for t, abar, abar_prev in _path(schedule, steps):
        x0, eps = _guess(eps_fn, x, t, abar, clip_denoised)
        mean, variance = transition(x, x0, eps, abar, abar_prev)
        x = (
            mean
            if abar_prev == 1 or variance == 0
            else mean + variance**0.5 * noise(mean)
        )
        yield x, x0


def ancestral(
    eps_fn: EpsFn,
    x: Tensor,
    schedule: Schedule,
    steps: int | None = None,
    *,
    large_variance: bool = False,
    clip_denoised: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Algorithm 2 of Ho et al. (arXiv 2006.11239): x_s is drawn from the posterior
    q(x_s | x_t, x_0), equation 7.

    large_variance: Ho et al.'s other variance, beta_t instead of btilde_t: right for
    data that are N(0, I), as btilde_t is for data that are one point. On fewer steps,
    from t to an earlier s, beta is 1 - abar_t / abar_s. The rest as for `sample`.
    """

    def posterior(x_t, x0, eps, abar, abar_prev):
        variance = (
            1 - abar / abar_prev
            if large_variance
            else posterior_variance(abar, abar_prev)
        )
        return posterior_mean(x0, x_t, abar, abar_prev), variance

    return sample(eps_fn, x, schedule, posterior, steps, clip_denoised, noise)


def ddim(
    eps_fn: EpsFn,
    x: Tensor,
    schedule: Schedule,
    steps: int | None = None,
    *,
    eta: float = 0.0,
    clip_denoised: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Equation 12 of Song et al. (arXiv 2010.02502) with sigma^2 = eta^2 btilde:
    x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s - sigma^2) eps + sigma noise.

    eta = 0: no noise but the first, a fixed map from x_T to x_0; eta = 1: ancestral
    sampling with btilde. The rest as for `sample`.
    """
    number("eta", eta, 0, 1)

    def q_sigma(x_t, x0, eps, abar, abar_prev):
        variance = eta**2 * posterior_variance(abar, abar_prev)
        mean = abar_prev**0.5 * x0 + max(1 - abar_prev - variance, 0.0) ** 0.5 * eps
        return mean, variance

    return sample(eps_fn, x, schedule, q_sigma, steps, clip_denoised, noise)


@torch.no_grad()
def invert(
    eps_fn: EpsFn, x: Tensor, schedule: Schedule, steps: int | None = None
) -> Iterator[Tensor]:
    """DDIM backwards, from data x = x_0 to the noise that it comes from (section 4.3):
    yields every x_t, ends at x_T.

    Each step takes the network's answer at the place it leaves, told the step of its
    arrival: more steps, a better inverse.
    """
    for t, abar, abar_prev in reversed(list(_path(schedule, steps))):
        x0, eps = _guess(eps_fn, x, t, abar_prev)
        yield (x := q_sample(x0, abar, eps))


def _path(schedule: Schedule, steps: int | None) -> Iterator[tuple[int, float, float]]:
    """(t, abar_t, abar_s) of each step from t to the next lower s; abar_s = 1 at the
    end. Read from the device once."""
    abar = schedule.abar.tolist()
    numbers = step_numbers(len(abar), steps)
    return (
        (t, abar[t], abar[s] if s >= 0 else 1.0)
        for t, s in zip(numbers, [*numbers[1:], -1])
    )


def _guess(eps_fn, x, t, abar, clip_denoised=None):
    """x_0 as the noise at x, of level abar, says, clipped, and the noise that this x_0
    means."""
    eps = eps_fn(x, torch.full((len(x),), t, device=x.device))
    x0 = x0_from_eps(x, eps, abar)
    if clip_denoised is None:
        return x0, eps
    x0 = x0.clamp(-clip_denoised, clip_denoised)
    return x0, eps_from_x0(x, x0, abar)


def last(steps: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """x_0: what a sampler ends at."""
    for step in steps:
        x = step[0]
    return x
