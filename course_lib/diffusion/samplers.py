"""Samplers, which turn noise into data: ancestral sampling (DDPM) and DDIM, with all
steps or with fewer.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239), Algorithm 2. Song, Meng, Ermon 2020 (arXiv
2010.02502), equation 12. A sampler calls one function, eps_fn(x_t, t) with t (N,),
which returns a noise prediction of the shape of x_t. This function can be a trained
network, the exact noise prediction of a known distribution, or a prediction with
guidance. After each step from t to s, the sampler yields x_s and the prediction of x_0
from x_t. The last x_s is the sample. In the code, abar_s is called abar_prev.

Both samplers use the same loop, `sample`. They differ in one Gaussian, the transition
q(x_s | x_t, x_0): this is the posterior in `ancestral`, and Song et al.'s q_sigma in
`ddim`.

This file uses the variable x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, with noise levels
given by abar. Notebook 13 uses x_0 + sigma eps, with noise levels given by sigma (Song
& Ermon 2019, arXiv 1907.05600; Karras et al. 2022, arXiv 2206.00364). One can be
converted to the other as follows (tested in tests/test_diffusion.py).

Variable: x_t / sqrt(abar) = x_0 + sigma eps, with the same eps and with sigma =
signal_to_noise(abar)**-0.5.

Levels: take any levels sigma_1 < ... < sigma_T, for example a geometric sequence. Then
abar = 1 / (1 + sigma^2), and the schedule is Schedule(1 - abar / cat([1, abar[:-1]])).
DDPM, MixtureNoise, guidance and all samplers work with this schedule. x_T is drawn from
N(0, I), as before.

Score: score_from_eps(eps, abar) is the score of x_t. The score of x_0 + sigma eps is
sqrt(abar) score_from_eps(eps, abar), which equals -eps / sigma.

Loss: denoising score matching with weight sigma^2 is DDPM's squared error of eps.

Probability-flow ODE: dx / dsigma = eps, for the variable x = x_0 + sigma eps. Euler's
step from t to s is a step of `ddim` with eta = 0, q_sample(x0_from_eps(x_t, eps,
abar_t), abar_s, eps). A step of Heun's method consists of two Euler steps, and both
start from x_t. The first Euler step uses eps at x_t and gives a provisional x_s. The
second Euler step uses the mean of two noise predictions: eps at x_t, and eps at the
provisional x_s. At the end, where sigma_s = 0, the first Euler step is the whole step.
Heun's method calls eps_fn twice per step, so it needs its own loop over `_path` (in
this file).

Annealed Langevin dynamics (Song & Ermon, Algorithm 1): this method needs its own loop
over `_path`, too. At level t, repeat n times x = x + a / 2 score_from_eps(eps,
abar_t) + sqrt(a) noise, where a is abar_t times the paper's step size. Then go to level
s by x = sqrt(abar_s / abar_t) x.
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
    """Returns `steps` evenly spaced numbers from total - 1 down to 0. Without `steps`,
    returns all of them; steps = 1 gives total - 1 only."""
    steps = total if steps is None else count("steps", steps, total)
    numbers = torch.linspace(total - 1, 0, steps, dtype=torch.float64)
    return numbers.round().long().tolist()


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
    """Runs the loop of Algorithm 2 (arXiv 2006.11239): predict x_0, then draw x_s from
    a Gaussian. Yields (x_s, predicted x_0) after each step.

    x: the start x_T, standard normal, (N, ...). transition: a function (x_t, x_0, eps,
    abar_t, abar_s) -> (mean of x_s, variance of x_s). The mean has the shape of x_t.
    The variance is one number. steps: the number of steps, evenly spaced; None: all.
    clip_denoised: the bound c if the predicted x_0 is clipped to [-c, c]; None: it is
    not clipped. noise: x -> standard normal noise of the same shape for one step. The
    last step adds no noise.
    """
    for t, abar, abar_prev in _path(schedule, steps):
        x0, eps = _predict(eps_fn, x, t, abar, clip_denoised)
        mean, variance = transition(x, x0, eps, abar, abar_prev)
        without_noise = abar_prev == 1 or variance == 0
        x = mean if without_noise else mean + variance**0.5 * noise(mean)
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
    """Runs Algorithm 2 of Ho et al. (arXiv 2006.11239): x_s is drawn from the posterior
    q(x_s | x_t, x_0), equation 7.

    large_variance: False for the posterior's variance btilde_t (`posterior_variance`),
    True for Ho et al.'s other variance, beta_t. btilde_t is optimal for data that are a
    single point, beta_t for data from N(0, I). For a step from t to s, beta_t is
    1 - abar_t / abar_s. The other arguments are those of `sample`.
    """

    def posterior(x_t, x0, eps, abar, abar_prev):
        if large_variance:
            variance = 1 - abar / abar_prev
        else:
            variance = posterior_variance(abar, abar_prev)
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
    """Samples by equation 12 of Song et al. (arXiv 2010.02502):
    x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s - sigma^2) eps + sigma noise. Here sigma^2
    is eta^2 btilde, and btilde is the posterior's variance (`posterior_variance`).

    With eta = 0, no noise is added after x_T, so the sampler is a deterministic map
    from x_T to x_0. eta = 1 is ancestral sampling with variance btilde. The other
    arguments are those of `sample`.
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
    """Runs DDIM backwards, from data x = x_0 to the noise x_T that it would come from
    (section 4.3). Yields every x_t; the last one is x_T.

    The step from s to t > s needs eps at x_t, which is not known yet, so it uses
    eps_fn(x_s, t) instead. The inverse is therefore not exact. It is more accurate with
    more steps.
    """
    for t, abar, abar_prev in reversed(list(_path(schedule, steps))):
        x0, eps = _predict(eps_fn, x, t, abar_prev)
        yield (x := q_sample(x0, abar, eps))


def _path(schedule: Schedule, steps: int | None) -> Iterator[tuple[int, float, float]]:
    """Returns (t, abar_t, abar_s) for each step from t to the next lower s. At the
    last step, abar_s = 1. abar is copied from the device once, not at each step."""
    abar = schedule.abar.tolist()
    numbers = step_numbers(len(abar), steps)
    return (
        (t, abar[t], abar[s] if s >= 0 else 1.0)
        for t, s in zip(numbers, [*numbers[1:], -1])
    )


def _predict(eps_fn, x, t, abar, clip_denoised=None):
    """Returns x_0 and eps, as eps_fn predicts them from x at noise level abar. If x_0
    is clipped, eps is the noise that the clipped x_0 implies."""
    eps = eps_fn(x, torch.full((len(x),), t, device=x.device))
    x0 = x0_from_eps(x, eps, abar)
    if clip_denoised is None:
        return x0, eps
    x0 = x0.clamp(-clip_denoised, clip_denoised)
    return x0, eps_from_x0(x, x0, abar)


def last(steps: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """Runs a sampler to its end and returns its sample, the last x_s."""
    for step in steps:
        x = step[0]
    return x
