"""From noise to data: ancestral sampling (DDPM) and DDIM, on all steps or on some of them.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239), Algorithm 2. Song, Meng, Ermon 2020 (arXiv 2010.02502), equation 12.
A sampler asks one function only, eps_fn(x_t, t) with t (N,) -> noise like x_t: a network, the exact answer, or a guided
one. It yields (x_s, x_0 as guessed from x_t) after each step from t to s; the last x_s is x_0.
"""

from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.checks import count, number
from course_lib.diffusion.gaussians import eps_from_x0, posterior_mean, posterior_variance, q_sample, x0_from_eps
from course_lib.diffusion.schedules import Schedule

EpsFn = Callable[[Tensor, Tensor], Tensor]


def step_numbers(total: int, steps: int | None = None) -> list[int]:
    """`steps` of 0..total-1, evenly spaced, from the last one down to 0; all by default; one: the last."""
    steps = total if steps is None else count("steps", steps, total)
    return torch.linspace(total - 1, 0, steps, dtype=torch.float64).round().long().tolist()


@torch.no_grad()
def ancestral(
    eps_fn: EpsFn,
    x: Tensor,
    schedule: Schedule,
    steps: int | None = None,
    *,
    large: bool = False,
    limit: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Algorithm 2, from x = x_T, standard normal (N, ...).

    large: Ho et al.'s other variance, beta_t instead of btilde_t: right for data that are N(0, I), as btilde_t is for
    data that are one point. limit: the guess of x_0 is kept in [-limit, limit]. noise: x -> the step's noise. The last
    step adds none. On fewer steps, from t to an earlier s, beta is 1 - abar_t / abar_s.
    """
    for t, abar, before in _path(schedule, steps):
        x0, _ = _guess(eps_fn, x, t, abar, limit)
        x = posterior_mean(x0, x, abar, before)
        if before < 1:
            variance = 1 - abar / before if large else posterior_variance(abar, before)
            x = x + variance**0.5 * noise(x)
        yield x, x0


@torch.no_grad()
def ddim(
    eps_fn: EpsFn,
    x: Tensor,
    schedule: Schedule,
    steps: int | None = None,
    *,
    eta: float = 0.0,
    limit: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Iterator[tuple[Tensor, Tensor]]:
    """x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s - sigma^2) eps + sigma noise with sigma^2 = eta^2 btilde (equation 12).

    eta = 0: no noise but the first, a fixed map from x_T to x_0; eta = 1: ancestral sampling with btilde. The rest as
    for `ancestral`.
    """
    number("eta", eta, 0, 1)
    for t, abar, before in _path(schedule, steps):
        x0, eps = _guess(eps_fn, x, t, abar, limit)
        variance = eta**2 * posterior_variance(abar, before)
        x = before**0.5 * x0 + max(1 - before - variance, 0.0) ** 0.5 * eps
        if variance > 0:
            x = x + variance**0.5 * noise(x)
        yield x, x0


@torch.no_grad()
def invert(eps_fn: EpsFn, x: Tensor, schedule: Schedule, steps: int | None = None) -> Iterator[Tensor]:
    """DDIM backwards, from data x = x_0 to the noise that it comes from (section 4.3): yields every x_t, ends at x_T.

    Each step takes the network's answer at the place it leaves, told the step of its arrival: more steps, a better
    inverse.
    """
    path = list(_path(schedule, steps))[::-1]
    for t, abar, before in path:
        eps = eps_fn(x, torch.full((len(x),), t, device=x.device))
        x0 = x0_from_eps(x, eps, before) if before < 1 else x
        yield (x := q_sample(x0, abar, eps))


def _path(schedule: Schedule, steps: int | None) -> Iterator[tuple[int, float, float]]:
    """(t, abar_t, abar_s) of each step from t to the next lower s; abar_s = 1 at the end. Read from the device once."""
    abar = schedule.abar.tolist()
    numbers = step_numbers(len(abar), steps)
    return ((t, abar[t], abar[s] if s >= 0 else 1.0) for t, s in zip(numbers, [*numbers[1:], -1]))


def _guess(eps_fn, x, t, abar, limit):
    """x_0 as the noise at x_t says, kept within the limit, and the noise that this x_0 means."""
    eps = eps_fn(x, torch.full((len(x),), t, device=x.device))
    x0 = x0_from_eps(x, eps, abar)
    if limit is None:
        return x0, eps
    x0 = x0.clamp(-limit, limit)
    return x0, eps_from_x0(x, x0, abar)


def last(steps: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """x_0: what a sampler ends at."""
    return deque(steps, maxlen=1).pop()[0]
