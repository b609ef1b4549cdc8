"""Diffusion: schedules, Gaussians, samplers, the exact denoiser, DDPM and methods like
it, the variational bound.

The oracles are plain Python loops, diffusers' schedulers, torch's distributions and
gradients, and quadrature. Gaussians are conditioned by the Schur complement. Linear
chains have a distribution that is known exactly.
"""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from methods import (
    close,
    normal,
    products,
    same,
    seeded,
    state_of,
    two_processes,
    within,
)
from scipy.integrate import quad
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from course_lib import zoo
from course_lib.data import Dataset
from course_lib.data.toys import NOISE, circle_centres, gaussians
from course_lib.diffusion.bound import (
    bits_per_dimension,
    discretised_log_likelihood,
    noise_weights,
    prior_kl,
    terms,
)
from course_lib.diffusion.ddpm import DDPM, EPS, X0, V, squared_error
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
from course_lib.diffusion.samplers import ancestral, ddim, invert, last, step_numbers
from course_lib.diffusion.schedules import (
    Schedule,
    cosine_betas,
    linear_betas,
    signal_to_noise,
)
from course_lib.evaluate import mode_coverage
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.unet import UNet
from course_lib.optim import adamw, sgd
from course_lib.train import fit

F32, F64 = torch.float32, torch.float64
LINEAR, COSINE = Schedule(linear_betas()), Schedule(cosine_betas())
SHORT = torch.tensor([0.1, 0.3, 0.2, 0.5], dtype=F64)  # no two alike, in no order
SCHEDULES = {"linear": LINEAR, "cosine": COSINE, "short": Schedule(SHORT)}
schedules = pytest.mark.parametrize(
    "schedule", SCHEDULES.values(), ids=SCHEDULES.keys()
)
PREDICTIONS = {"epsilon": EPS, "sample": X0, "v_prediction": V}
predictions = pytest.mark.parametrize("name", PREDICTIONS)


def wave(x, t):
    """A smooth made-up noise that depends on every number of its row and on the step,
    elementwise of order 1."""
    at = t.reshape(-1, *(1,) * (x.ndim - 1)).to(x.dtype)
    return 0.8 * torch.sin(1.5 * x + at / 90) + 0.3 * torch.cos(x.flip(-1) - at / 40)


class Wave(nn.Module):
    """`wave` as a network with one trainable weight. A label, where given, shifts the
    output."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.9, dtype=F64))

    def forward(self, x, t, y=None):
        shift = 0 if y is None else 0.1 * y.reshape(-1, *(1,) * (x.ndim - 1))
        return self.weight.to(x.dtype) * wave(x, t) + shift


class Recorder(nn.Module):
    """A network that records its inputs and returns `say` of them."""

    def __init__(self, say=lambda x, t, y: torch.zeros_like(x)):
        super().__init__()
        self.say, self.asked = say, []
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, t, y=None):
        self.asked.append((x, t, y))
        return self.say(x, t, y) + self.weight


def prepared(noises):
    """A `noise` function for samplers that returns these noises one after the other."""
    left = iter(noises)
    return lambda x: next(left)


def never(x):
    raise AssertionError("noise was drawn")


# --- schedules ---


@pytest.mark.parametrize("steps", [1000, 100, 37])
def test_linear_and_cosine_betas_equal_those_of_diffusers(steps):
    scale = 1000 / steps
    theirs = DDPMScheduler(steps, 1e-4 * scale, 0.02 * scale, "linear")
    close(linear_betas(steps), theirs.betas.double(), rtol=1e-6, atol=1e-7)
    theirs = DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2")
    close(cosine_betas(steps), theirs.betas.double(), rtol=1e-6, atol=1e-7)
    assert linear_betas(steps).dtype == cosine_betas(steps).dtype == F64


def test_linear_betas_are_evenly_spaced_and_scaled_up_for_fewer_steps():
    close(linear_betas(5, 1e-4, 1e-3), [0.02, 0.065, 0.11, 0.155, 0.2], rtol=1e-12)
    assert (
        linear_betas()[[0, -1]].tolist() == pytest.approx([1e-4, 0.02], rel=1e-12)
        and len(linear_betas()) == 1000
    )
    left = [products(linear_betas(steps))[-1] for steps in (200, 1000, 4000)]
    # about as much noise in all
    assert max(map(math.log, left)) < -10 and min(map(math.log, left)) > -11.5


@pytest.mark.parametrize(("steps", "offset"), [(1000, 0.008), (50, 0.008), (20, 0.1)])
def test_cosine_abar_is_the_papers_formula(steps, offset):
    def f(t):
        return math.cos((t / steps + offset) / (1 + offset) * math.pi / 2) ** 2

    abar = products(cosine_betas(steps, offset))
    for t in range(1, steps):
        assert abar[t - 1] == pytest.approx(f(t) / f(0), rel=1e-9)
    assert cosine_betas(steps, offset)[-1] == 0.999  # the formula says 1
    assert cosine_betas(steps, offset, largest=0.3).max() == 0.3


@schedules
def test_schedule_abar_is_the_running_product_and_abar_prev_one_step_behind(schedule):
    expected = products(schedule.beta)
    close(schedule.abar, expected, rtol=1e-10, atol=0)
    assert schedule.abar_prev.tolist() == [1.0, *schedule.abar[:-1].tolist()]
    assert len(schedule) == len(schedule.beta) == len(expected)
    ratios = [abar / (1 - abar) for abar in expected]
    close(signal_to_noise(schedule.abar), ratios, rtol=1e-9, atol=0)


def test_schedule_is_float64_not_in_state_dict_and_follows_the_device():
    schedule = Schedule(linear_betas(50).float())
    assert schedule.beta.dtype == schedule.abar.dtype == schedule.abar_prev.dtype == F64
    assert not schedule.state_dict() and not list(schedule.parameters())
    moved = Schedule(linear_betas(50)).to("meta")
    assert (
        moved.beta.device.type
        == moved.abar.device.type
        == moved.abar_prev.device.type
        == "meta"
    )


def test_schedule_stays_exact_when_weights_are_stored_in_half_precision():
    method, again = (DDPM(TimedMLP(2, 8), cosine_betas()) for _ in range(2))
    state = zoo.halved(method.state_dict())
    assert (
        not any("schedule" in key for key in state)
        and state["updates"].dtype == torch.long
    )
    again.load_state_dict(state)
    assert again.schedule.abar.dtype == F64 and torch.equal(
        again.schedule.abar, COSINE.abar
    )


# --- forward ---


@schedules
def test_q_sample_has_the_mean_and_variance_of_all_q_steps_in_sequence(schedule):
    """Mean factor and variance, propagated by what q_step does to 1 without noise and
    to 0 with noise 1."""
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    factor, variance = 1.0, 0.0
    for beta, abar in zip(schedule.beta.tolist(), products(schedule.beta)):
        scale, root = q_step(one, beta, zero).item(), q_step(zero, beta, one).item()
        assert (scale, root) == pytest.approx(
            (math.sqrt(1 - beta), math.sqrt(beta)), rel=1e-12
        )
        factor, variance = scale * factor, scale**2 * variance + root**2
        assert q_sample(one, abar, zero).item() == pytest.approx(factor, rel=1e-9)
        assert q_sample(zero, abar, one).item() ** 2 == pytest.approx(
            variance, rel=1e-9
        )


def test_q_step_simulated_20_times_has_the_distribution_of_q_sample():
    schedule, x = (
        Schedule(linear_betas(60)),
        torch.tensor([1.5, -0.5]).expand(20_000, 2),
    )
    for t in range(20):
        x = q_step(x, schedule.beta[t], normal(20_000, 2, seed=t, dtype=F32))
    abar = products(schedule.beta)[19]
    centre = math.sqrt(abar) * torch.tensor([1.5, -0.5])
    within(x, centre)
    within((x - centre).square(), 1 - abar)
    within((x - centre).prod(1), 0.0)


def test_q_step_keeps_unit_variance_unlike_a_mean_factor_without_the_root():
    """With the mean (1 - beta) x, as on a slide, the linear schedule leaves 0.505 of
    variance 1."""
    wrong = right = 1.0
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    for beta in LINEAR.beta.tolist():
        wrong = (1 - beta) ** 2 * wrong + beta
        right = (
            q_step(one, beta, zero).item() ** 2 * right
            + q_step(zero, beta, one).item() ** 2
        )
    assert wrong == pytest.approx(0.505, abs=5e-4) and right == pytest.approx(
        1, rel=1e-12
    )


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4, 5)], ids=["points", "pictures"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_gaussian_functions_use_each_rows_own_level(shape, dtype):
    a, b, level, before = (
        normal(*shape, seed=seed, dtype=dtype) for seed in (0, 1, 2, 3)
    )
    level, before = (
        torch.tensor([0.3, 0.05, 0.7], dtype=F64),
        torch.tensor([0.9, 0.06, 1.0], dtype=F64),
    )
    calls = {
        q_step: lambda rows, p, s: q_step(a[rows], p, b[rows]),
        q_sample: lambda rows, p, s: q_sample(a[rows], p, b[rows]),
        posterior_mean: lambda rows, p, s: posterior_mean(a[rows], b[rows], p, s),
        mean_from_eps: lambda rows, p, s: mean_from_eps(a[rows], b[rows], 1 - p / s, p),
        x0_from_eps: lambda rows, p, s: x0_from_eps(a[rows], b[rows], p),
        eps_from_x0: lambda rows, p, s: eps_from_x0(a[rows], b[rows], p),
        v_from: lambda rows, p, s: v_from(a[rows], b[rows], p),
        eps_from_v: lambda rows, p, s: eps_from_v(a[rows], b[rows], p),
        score_from_eps: lambda rows, p, s: score_from_eps(a[rows], p),
    }
    for function, call in calls.items():
        together = call(slice(None), level, before)
        assert together.shape == shape and together.dtype == dtype, function.__name__
        for row in range(3):
            alone = call(slice(row, row + 1), level[row].item(), before[row].item())
            close(together[row : row + 1], alone, rtol=1e-6, atol=1e-6)


# --- posterior ---


def chain_joint(betas, s, t, x0):
    """Mean and covariance of (x_s, x_t) given x_0 = x0, by recursion over the steps; s
    = -1 is x_0 itself."""
    factor, variance, cross = 1.0, 0.0, None
    at_s = (1.0, 0.0) if s < 0 else None
    cross = 0.0
    for step in range(t + 1):
        scale = math.sqrt(1 - betas[step])
        factor, variance, cross = (
            scale * factor,
            scale**2 * variance + betas[step],
            scale * cross,
        )
        if step == s:
            at_s, cross = (factor, variance), variance
    mean = np.array([at_s[0] * x0, factor * x0])
    return mean, np.array([[at_s[1], cross], [cross, variance]])


def condition(mean, covariance, second):
    """Mean and variance of the first of two Gaussian variables, given the second."""
    gain = covariance[0, 1] / covariance[1, 1]
    return mean[0] + gain * (second - mean[1]), covariance[0, 0] - gain * covariance[
        1, 0
    ]


PAIRS = [(-1, 0), (0, 1), (1, 2), (2, 3), (-1, 3), (0, 3), (1, 3), (-1, 2)]
LONG_PAIRS = [
    (-1, 0),
    (0, 1),
    (498, 499),
    (998, 999),
    (100, 300),
    (0, 999),
    (-1, 999),
    (950, 999),
]


@pytest.mark.parametrize(
    ("schedule", "s", "t"),
    [(SCHEDULES["short"], *pair) for pair in PAIRS]
    + [(LINEAR, *pair) for pair in LONG_PAIRS],
)
def test_posterior_mean_and_variance_equal_gaussian_conditioning_of_the_chain(
    schedule, s, t
):
    betas = schedule.beta.tolist()
    abar, before = schedule.abar[t].item(), schedule.abar[s].item() if s >= 0 else 1.0
    for x0, x_t in [(0.0, 1.0), (1.0, 0.0), (-0.7, 1.3)]:
        mean, variance = condition(*chain_joint(betas, s, t, x0), x_t)
        ours = posterior_mean(
            torch.tensor([[x0]], dtype=F64),
            torch.tensor([[x_t]], dtype=F64),
            abar,
            before,
        )
        assert ours.item() == pytest.approx(mean, rel=1e-7, abs=1e-9)
        assert posterior_variance(abar, before) == pytest.approx(
            variance, rel=1e-7, abs=1e-12
        )
    if s < 0:
        x0, x_t = normal(3, 2), normal(3, 2, seed=1)
        assert posterior_variance(abar, 1.0) == 0
        close(posterior_mean(x0, x_t, abar, 1.0), x0, rtol=1e-12, atol=1e-12)


@schedules
def test_posterior_variance_of_neighbouring_steps_is_the_papers_btilde(schedule):
    btilde = posterior_variance(schedule.abar, schedule.abar_prev)
    expected, abar = [], [1.0, *products(schedule.beta)]
    for t, beta in enumerate(schedule.beta.tolist()):
        expected.append((1 - abar[t]) / (1 - abar[t + 1]) * beta)
    close(btilde, expected, rtol=1e-7, atol=1e-14)
    assert (btilde <= schedule.beta * (1 + 1e-12)).all() and btilde[0] == 0


@pytest.mark.parametrize("t", [0, 1, 30, 500, 999])
def test_variance_of_a_step_back_lies_between_btilde_and_beta_for_variance_up_to_1(t):
    """Data N(0, c): x_{t-1} and x_t are a joint Gaussian, conditioned by hand."""
    beta, abar, before = (
        v[t].item() for v in (LINEAR.beta, LINEAR.abar, LINEAR.abar_prev)
    )
    btilde = posterior_variance(abar, before)
    # x_0's weight in the posterior's mean
    of_x0 = math.sqrt(before) * beta / (1 - abar)
    found = []
    for c in (0.0, 0.3, 1.0, 4.0):
        earlier, later = before * c + 1 - before, abar * c + 1 - abar
        found.append(earlier - (1 - beta) * earlier**2 / later)
        of_picture = c * (1 - abar) / later  # Var(x_0 given x_t)
        assert found[-1] == pytest.approx(btilde + of_x0**2 * of_picture, abs=1e-12)
    assert found[0] == pytest.approx(btilde, abs=1e-12)
    assert found[2] == pytest.approx(beta, rel=1e-9)
    assert btilde <= found[1] <= beta < found[3] or t == 999
    assert found[0] <= found[1] <= found[2] <= found[3]


def test_fresh_noise_helps_the_exact_score_in_20_and_10_steps_but_not_in_4():
    """Eight Gaussians: the share of points that end on one, as sheet 14 counts them."""
    betas = torch.linspace(0.03, 0.7, 100, dtype=F64) ** 3
    exact = MixtureNoise(circle_centres(), NOISE, Schedule(betas))

    def share(steps, eta):
        g = seeded()
        start = torch.randn(2000, 2, generator=g)
        ends = last(
            ddim(
                exact,
                start,
                exact.schedule,
                steps,
                eta=eta,
                noise=lambda x: torch.randn(x.shape, generator=g),
            )
        )
        apart = torch.cdist(ends, circle_centres()).min(1).values
        return (apart < 3 * NOISE).double().mean().item()

    assert share(20, 1.0) > share(20, 0.0) + 0.01
    assert share(10, 1.0) > share(10, 0.0) + 0.01
    assert share(4, 1.0) < share(4, 0.0) - 0.01


@schedules
def test_mean_from_eps_equals_posterior_mean(schedule):
    t = torch.tensor([0, 1, len(schedule) // 2, len(schedule) - 2])
    x_t, eps = normal(4, 3), normal(4, 3, seed=1)
    abar, beta, before = schedule.abar[t], schedule.beta[t], schedule.abar_prev[t]
    x0 = x0_from_eps(x_t, eps, abar)
    close(
        mean_from_eps(x_t, eps, beta, abar),
        posterior_mean(x0, x_t, abar, before),
        rtol=1e-7,
        atol=1e-7,
    )


# --- one prediction read as another ---


@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 2e-4), (F64, 1e-11)])
@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2, 2)], ids=["points", "pictures"])
@pytest.mark.parametrize(
    "level", [0.3, 0.002, torch.tensor([0.9999, 0.5, 0.01, 0.2], dtype=F64)]
)
def test_conversions_between_x0_eps_and_v_invert_each_other(
    dtype, tolerance, shape, level
):
    x0, eps = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    x_t = q_sample(x0, level, eps)
    # x_t rounds to one part in 10^7, which the noise's share of it sees 100 times
    # larger at abar = 0.9999
    close(x0_from_eps(x_t, eps, level), x0, tolerance, tolerance)
    close(eps_from_x0(x_t, x0, level), eps, tolerance, tolerance)
    close(eps_from_v(x_t, v_from(x0, eps, level), level), eps, tolerance, tolerance)
    close(
        x0_from_eps(x_t, eps_from_v(x_t, v_from(x0, eps, level), level), level),
        x0,
        10 * tolerance,
        10 * tolerance,
    )
    close(
        x0_from_eps(x_t, eps_from_x0(x_t, x0, level), level), x0, tolerance, tolerance
    )
    for name, prediction in PREDICTIONS.items():
        assert prediction.target(x0, eps, level).dtype == dtype, name
        close(
            prediction.eps(x_t, prediction.target(x0, eps, level), level),
            eps,
            tolerance,
            tolerance,
        )


def test_prediction_targets_are_eps_x0_and_v():
    x0, eps = normal(3, 2), normal(3, 2, seed=1)
    assert EPS.target(x0, eps, 0.3) is eps and X0.target(x0, eps, 0.3) is x0
    for row, column in itertools.product(range(3), range(2)):
        expected = (
            math.sqrt(0.3) * eps[row, column].item()
            - math.sqrt(0.7) * x0[row, column].item()
        )
        assert V.target(x0, eps, 0.3)[row, column].item() == pytest.approx(
            expected, rel=1e-12
        )


def test_v_from_is_the_derivative_of_q_sample_by_the_angle():
    x0, eps, phi = normal(3, 2), normal(3, 2, seed=1), torch.tensor(0.6, dtype=F64)
    _, velocity = torch.autograd.functional.jvp(
        lambda angle: q_sample(x0, angle.cos().square(), eps),
        phi,
        torch.ones((), dtype=F64),
    )
    close(v_from(x0, eps, phi.cos().square()), velocity, rtol=1e-10)
    there, back = (q_sample(x0, math.cos(0.6 + h) ** 2, eps) for h in (1e-5, -1e-5))
    close(
        v_from(x0, eps, math.cos(0.6) ** 2), (there - back) / 2e-5, rtol=1e-7, atol=1e-8
    )


# --- the exact denoiser ---


def noised_density(centres, std, abar):
    """p_t of the mixture, by torch."""
    k = len(centres)
    spread = math.sqrt(abar * std**2 + 1 - abar) * torch.ones_like(centres)
    parts = Independent(Normal(math.sqrt(abar) * centres, spread), 1)
    return MixtureSameFamily(Categorical(torch.ones(k, dtype=centres.dtype)), parts)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_mixture_noise_gives_the_score_of_the_noised_mixture(std):
    centres = normal(5, 3)
    denoiser = MixtureNoise(centres, std, LINEAR)
    t = torch.tensor([10, 100, 250, 500, 999])
    x = normal(5, 3, seed=1).requires_grad_()
    eps = denoiser(x, t)
    scores = score_from_eps(eps, LINEAR.abar[t])
    for row, step in enumerate(t.tolist()):
        log_density = noised_density(centres, std, LINEAR.abar[step].item()).log_prob(
            x[row]
        )
        (gradient,) = torch.autograd.grad(log_density, x)
        close(scores[row].detach(), gradient[row], rtol=1e-7, atol=1e-8)
        close(
            score_from_eps(eps[row : row + 1], LINEAR.abar[step].item()),
            scores[row : row + 1],
            rtol=1e-12,
        )


@pytest.mark.parametrize("t", [5, 300, 700])
def test_mixture_noise_equals_the_posterior_mean_of_eps_by_quadrature(t):
    """E[eps given x] by quadrature over x_0."""
    places, std, abar = [-1.0, 0.4, 2.0], 0.3, LINEAR.abar[t].item()
    denoiser = MixtureNoise(torch.tensor(places, dtype=F64)[:, None], std, LINEAR)

    def weight(x0, x):
        prior = sum(NormalDist(place, std).pdf(x0) for place in places)
        return prior * math.exp(-((x - math.sqrt(abar) * x0) ** 2) / (2 * (1 - abar)))

    for x in (-0.9, 0.1, 1.2):
        ends, peaks = (-4, 5), [x / math.sqrt(abar), *places]
        peaks = sorted(p for p in peaks if -4 < p < 5)
        total = quad(weight, *ends, args=(x,), points=peaks, limit=300)[0]
        mean = (
            quad(
                lambda x0, x: x0 * weight(x0, x),
                *ends,
                args=(x,),
                points=peaks,
                limit=300,
            )[0]
            / total
        )
        expected = (x - math.sqrt(abar) * mean) / math.sqrt(1 - abar)
        got = denoiser(torch.tensor([[x]], dtype=F64), torch.tensor([t])).item()
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_mixture_noise_equals_the_posterior_mean_of_eps_by_monte_carlo():
    """E[eps given x], with draws of x_0 weighted by the likelihood of x."""
    centres, std, t, n = circle_centres().double(), 0.2, 400, 200_000
    abar = LINEAR.abar[t].item()
    x0 = centres[torch.randint(8, (n,), generator=seeded(1))] + std * normal(n, 2)
    x = torch.tensor([[0.4, -0.6]], dtype=F64)
    noise = (x - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
    weight = torch.exp(-noise.square().sum(1, keepdim=True) / 2)
    expected = (weight * noise).sum(0) / weight.sum()
    error = (weight * (noise - expected)).square().sum(0).sqrt() / weight.sum()
    got = MixtureNoise(centres, std, LINEAR)(x, torch.tensor([t]))[0]
    assert (got - expected).abs().lt(5 * error).all() and error.max() < 0.01


@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_samplers_with_the_exact_noise_of_points_draw_those_points(sampler):
    rows = 3 * normal(6, 2)
    noise = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731
    generator = seeded(3)
    ends = last(
        sampler(
            MixtureNoise(rows, 0.0, LINEAR), normal(60, 2, seed=1), LINEAR, noise=noise
        )
    )
    distance, nearest = torch.cdist(ends, rows).min(1)
    assert distance.max() < 1e-6 and len(nearest.unique()) == 6


# --- samplers, step for step as diffusers has them ---


def respaced(schedule, numbers):
    """beta of a chain that visits only these steps, numbered from 0, and its abar as
    diffusers is to have it."""
    abar = [schedule.abar[t].item() for t in sorted(numbers)]
    return [1 - a / b for a, b in zip(abar, [1.0, *abar[:-1]])], torch.tensor(
        abar, dtype=F64
    )


def as_theirs(kind, schedule, numbers, **options):
    """A scheduler of diffusers over these steps, in double precision (it keeps its
    tables in single)."""
    betas, abar = respaced(schedule, numbers)
    theirs = kind(len(betas), trained_betas=betas, **options)
    theirs.set_timesteps(len(betas))
    theirs.alphas_cumprod = abar
    return theirs


CHAINS = {
    "1000": (LINEAR, None),
    "50": (LINEAR, 50),
    "10 cosine": (COSINE, 10),
    "7 of 20": (Schedule(cosine_betas(20)), 7),
}
chains = pytest.mark.parametrize(
    ("schedule", "steps"), CHAINS.values(), ids=CHAINS.keys()
)


def numpys_steps(schedule, steps):
    total = len(schedule)
    return np.linspace(0, total - 1, steps or total).round().astype(int)[::-1].tolist()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("limit", [None, 1.0, 0.6])
@chains
def test_ancestral_equals_diffusers_ddpm_step_for_step(schedule, steps, limit, large):
    numbers = numpys_steps(schedule, steps)
    theirs = as_theirs(
        DDPMScheduler,
        schedule,
        numbers,
        variance_type="fixed_large" if large else "fixed_small",
        clip_sample=limit is not None,
        clip_sample_range=limit or 1.0,
    )
    shape = (3, 2) if steps is None else (2, 3, 4, 4)
    x, mine, other = normal(*shape), seeded(5), seeded(5)
    noise = lambda like: torch.randn(like.shape, generator=mine, dtype=like.dtype)  # noqa: E731
    ours = list(
        ancestral(
            wave,
            x,
            schedule,
            steps,
            large_variance=large,
            clip_denoised=limit,
            noise=noise,
        )
    )
    assert len(ours) == len(numbers)
    for k, (t, (x_s, x0)) in enumerate(zip(numbers, ours)):
        step = theirs.step(
            wave(x, torch.full((len(x),), t)), len(numbers) - 1 - k, x, generator=other
        )
        x = step.prev_sample
        close(x0, step.pred_original_sample, rtol=1e-6, atol=1e-6)
        close(x_s, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("limit", [None, 0.7])
@chains
def test_ddim_equals_diffusers_ddim_step_for_step(schedule, steps, limit, eta):
    numbers = numpys_steps(schedule, steps)
    clipped = dict(clip_sample=limit is not None, clip_sample_range=limit or 1.0)
    theirs = as_theirs(
        DDIMScheduler, schedule, numbers, set_alpha_to_one=True, **clipped
    )
    shape = (3, 2) if steps is None else (2, 3, 4, 4)
    x, noises = normal(*shape), normal(len(numbers), *shape, seed=5)
    ours = list(
        ddim(
            wave,
            x,
            schedule,
            steps,
            eta=eta,
            clip_denoised=limit,
            noise=prepared(noises),
        )
    )
    assert len(ours) == len(numbers)
    for k, (t, (x_s, x0)) in enumerate(zip(numbers, ours)):
        said = wave(x, torch.full((len(x),), t))
        options = dict(
            eta=eta,
            use_clipped_model_output=limit is not None,
            variance_noise=noises[k],
        )
        step = theirs.step(said, len(numbers) - 1 - k, x, **options)
        x = step.prev_sample
        close(x0, step.pred_original_sample, rtol=1e-6, atol=1e-6)
        close(x_s, x, rtol=1e-6, atol=1e-6)


@predictions
@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_samplers_equal_diffusers_for_eps_x0_and_v_prediction(name, sampler):
    schedule, limit = Schedule(linear_betas(100)), 0.8
    method = DDPM(Wave(), schedule.beta, PREDICTIONS[name], pictures=False).eval()
    options = dict(prediction_type=name, clip_sample=True, clip_sample_range=limit)
    if sampler is ddim:
        options["set_alpha_to_one"] = True
    theirs = as_theirs(
        DDPMScheduler if sampler is ancestral else DDIMScheduler,
        schedule,
        range(100),
        **options,
    )
    x, mine, other = normal(2, 3, 2, 2), seeded(5), seeded(5)
    noise = lambda like: torch.randn(like.shape, generator=mine, dtype=like.dtype)  # noqa: E731
    for t, (x_s, x0) in zip(
        reversed(range(100)),
        sampler(method.eps, x, schedule, clip_denoised=limit, noise=noise),
    ):
        said = 0.9 * wave(x, torch.full((2,), t))
        extra = (
            dict(generator=other)
            if sampler is ancestral
            else dict(use_clipped_model_output=True)
        )
        step = theirs.step(said, t, x, **extra)
        x = step.prev_sample
        close(x0, step.pred_original_sample, rtol=1e-6, atol=1e-6)
        close(x_s, x, rtol=1e-6, atol=1e-6)


def test_samplers_in_float32_agree_with_float64_over_1000_steps():
    x, noises = normal(3, 2), normal(1000, 3, 2, seed=1)
    for sampler in (ancestral, ddim):
        exact = last(
            sampler(wave, x, LINEAR, clip_denoised=1.0, noise=prepared(noises))
        )
        single = last(
            sampler(
                wave,
                x.float(),
                LINEAR,
                clip_denoised=1.0,
                noise=prepared(noises.float()),
            )
        )
        assert single.dtype == F32
        close(single, exact.float(), rtol=1e-3, atol=1e-3)


# --- samplers: what they promise ---


@pytest.mark.parametrize(
    ("total", "steps"), [(1000, None), (1000, 50), (1000, 7), (10, 9), (20, 2), (5, 5)]
)
def test_step_numbers_are_evenly_spaced_from_the_last_to_0(total, steps):
    numbers = step_numbers(total, steps)
    assert (
        numbers
        == np.linspace(total - 1, 0, steps or total).round().astype(int).tolist()
    )
    assert (
        numbers[0] == total - 1
        and numbers[-1] == 0
        and len(set(numbers)) == (steps or total)
    )
    assert all(isinstance(t, int) for t in numbers)


def test_samplers_with_one_step_start_at_the_last_level_and_return_x0():
    assert step_numbers(1000, 1) == [999] and step_numbers(1) == [0]
    x, schedule = normal(2, 3), Schedule(SHORT)
    guess = x0_from_eps(x, wave(x, torch.full((2,), 3)), products(SHORT)[-1])
    for sampler in (ancestral, ddim):
        ((x_s, x0),) = sampler(wave, x, schedule, 1, noise=never)
        close(x_s, guess) and close(x0, guess)


@pytest.mark.parametrize("limit", [None, 0.5])
@chains
def test_ddim_with_eta_1_equals_ancestral(schedule, steps, limit):
    x, noises = normal(2, 3), normal(1000, 2, 3, seed=1)
    pairs = zip(
        ancestral(
            wave, x, schedule, steps, clip_denoised=limit, noise=prepared(noises)
        ),
        ddim(
            wave,
            x,
            schedule,
            steps,
            eta=1.0,
            clip_denoised=limit,
            noise=prepared(noises),
        ),
        strict=True,
    )
    for (a, a0), (b, b0) in pairs:
        close(a, b, rtol=1e-6, atol=1e-6)
        close(a0, b0, rtol=1e-6, atol=1e-6)


@chains
def test_samplers_draw_no_noise_at_the_last_step_and_ddim_with_eta_0_none_at_all(
    schedule, steps
):
    x, n = normal(2, 3), steps or len(schedule)
    for options in (
        dict(sampler=ancestral),
        dict(sampler=ancestral, large_variance=True),
        dict(sampler=ddim, eta=0.3),
    ):
        sampler, drawn, asked = options.pop("sampler"), [], []

        def noise(like):
            drawn.append(like.shape)  # noqa: B023
            return torch.ones_like(like)

        def eps_fn(x_t, t):
            asked.append(t)  # noqa: B023
            return wave(x_t, t)

        path = list(sampler(eps_fn, x, schedule, steps, noise=noise, **options))
        assert len(path) == n and drawn == (n - 1) * [(2, 3)]  # none at the last step
        assert torch.stack(asked).tolist() == [
            [t, t] for t in step_numbers(len(schedule), steps)
        ]
        assert all(t.dtype == torch.long for t in asked)
        assert all(
            part.shape == (2, 3) and part.dtype == F64 for pair in path for part in pair
        )
        close(path[-1][0], path[-1][1], rtol=1e-12, atol=1e-12)
        assert last(iter(path)) is path[-1][0]
    assert len(list(ddim(wave, x, schedule, steps, noise=never))) == n


def test_samplers_draw_standard_normal_noise_from_torch_by_default():
    schedule, x = Schedule(SHORT), normal(20_000, 1)
    for sampler, eta in ((ancestral, {}), (ddim, {"eta": 1.0})):
        torch.manual_seed(4)
        first = next(
            iter(
                sampler(
                    lambda x, t: torch.zeros_like(x),
                    torch.zeros_like(x),
                    schedule,
                    **eta,
                )
            )
        )[0]
        variance = posterior_variance(schedule.abar[3].item(), schedule.abar[2].item())
        within(first, 0.0)
        within(first.square(), variance)
        torch.manual_seed(4)
        close(
            first, math.sqrt(variance) * torch.randn(20_000, 1, dtype=F64), rtol=1e-12
        )


def test_samplers_treat_each_row_of_a_batch_independently():
    schedule, x, noises = (
        Schedule(cosine_betas(20)),
        normal(4, 3, 2, 2),
        normal(20, 4, 3, 2, 2, seed=1),
    )
    cases = (
        (ancestral, {"large_variance": True}),
        (ancestral, {"clip_denoised": 0.5}),
        (ddim, {"eta": 0.5}),
    )
    for sampler, options in cases:
        together = last(
            sampler(wave, x, schedule, 9, noise=prepared(noises), **options)
        )
        for row in range(4):
            alone = last(
                sampler(
                    wave,
                    x[row, None],
                    schedule,
                    9,
                    noise=prepared(noises[:, row, None]),
                    **options,
                )
            )
            close(together[row, None], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_samplers_clip_x0_to_clip_denoised_and_not_without(sampler):
    def loud(x, t):
        return 5 * wave(x, t)

    path = list(sampler(loud, normal(3, 2), COSINE, 30, clip_denoised=0.25))
    assert (
        all(x0.abs().max() <= 0.25 for _, x0 in path)
        and path[-1][0].abs().max() <= 0.25
    )
    assert any(x0.abs().max() > 1 for _, x0 in sampler(loud, normal(3, 2), COSINE, 30))


def test_samplers_compute_no_gradient_and_keep_the_callers_grad_mode_and_input():
    weight, x = torch.ones((), dtype=F64, requires_grad=True), normal(2, 3)
    kept, schedule = x.clone(), Schedule(SHORT)
    runs = ancestral, ddim, lambda *args: ((x, x) for x in invert(*args))
    for sampler in runs:
        for x_s, x0 in sampler(lambda x, t: weight * wave(x, t), x, schedule):
            assert (
                not x_s.requires_grad
                and not x0.requires_grad
                and torch.is_grad_enabled()
            )
    assert torch.equal(x, kept)


def test_invert_finds_the_noise_from_which_ddim_returns_to_the_data():
    exact = MixtureNoise(circle_centres().double(), NOISE, COSINE)
    x0 = gaussians(50, seeded(1))[0].double()
    off = []
    for steps in (20, 100, None):
        path = list(invert(exact, x0, COSINE, steps))
        assert len(path) == (steps or 1000) and path[-1].shape == x0.shape
        off.append(
            (last(ddim(exact, path[-1], COSINE, steps)) - x0).norm(dim=1).mean().item()
        )
    assert off[0] > 2 * off[1] > 8 * off[2] and off[2] < 0.01
    # the end of the inversion is distributed like the noise that sampling starts from
    within(path[-1], 0.0)
    within(path[-1].square(), 1.0)


def test_invert_equals_its_formula_step_by_step():
    """Each step by hand: from level s to level t, with the noise of x_s at step t."""
    x = x_s = normal(2, 3)
    for (s, t), x_t in zip(
        [(None, 0), (0, 3), (3, 6), (6, 9)], invert(wave, x, LINEAR_10, 4), strict=True
    ):
        a, b = 1.0 if s is None else LINEAR_10.abar[s].item(), LINEAR_10.abar[t].item()
        eps = wave(x_s, torch.full((2,), t))
        x_s = (
            math.sqrt(b) * (x_s - math.sqrt(1 - a) * eps) / math.sqrt(a)
            + math.sqrt(1 - b) * eps
        )
        close(x_t, x_s)


LINEAR_10 = Schedule(linear_betas(10, 5e-4, 5e-3))


# --- samplers with the exact denoiser ---


def law(sampler, eps_fn, schedule, steps, mean, variance, **options):
    """(mean, variance) of every x_s for x_T of this mean and variance, where eps_fn is
    affine in x. Exact: 0, 1 and one unit of each step's noise go through the sampler.
    """
    n = steps or len(schedule)
    x = torch.zeros(n + 1, 1, dtype=F64)
    x[1] = 1
    calls = itertools.count(2)

    def noise(like):
        unit = torch.zeros_like(like)
        unit[next(calls)] = 1
        return unit

    found = []
    for x_s, _ in sampler(eps_fn, x, schedule, steps, noise=noise, **options):
        rest, gain, kicks = x_s[0].item(), (x_s[1] - x_s[0]).item(), x_s[2:] - x_s[0]
        found.append(
            (rest + gain * mean, gain**2 * variance + kicks.square().sum().item())
        )
    return found


def true_law(schedule, steps, mean, std):
    """(mean, variance) of q(x_s) for each step's s; the data at the end."""
    levels = [
        schedule.abar[t].item() for t in step_numbers(len(schedule), steps)[1:]
    ] + [1.0]
    return [(math.sqrt(a) * mean, a * std**2 + 1 - a) for a in levels]


def on_a_line(mean, std, schedule):
    """The exact denoiser of N(mean, std^2), and x_T's true mean and variance."""
    abar = schedule.abar[-1].item()
    exact = MixtureNoise(torch.tensor([[mean]], dtype=F64), std, schedule)
    return exact, math.sqrt(abar) * mean, abar * std**2 + 1 - abar


@pytest.mark.parametrize("steps", [None, 50, 10, 3])
@pytest.mark.parametrize(
    ("mean", "std", "large"),
    [(0.0, 1.0, True), (1.7, 0.0, False)],
    ids=["normal", "point"],
)
def test_ancestral_variance_beta_is_exact_for_normal_data_and_btilde_for_a_point(
    mean, std, large, steps
):
    """beta for N(0, 1), btilde for a point: every x_s before the last has exactly the
    distribution q."""
    exact, m, v = on_a_line(mean, std, LINEAR)
    ours, truth = (
        law(ancestral, exact, LINEAR, steps, m, v, large_variance=large),
        true_law(LINEAR, steps, mean, std),
    )
    for got, expected in zip(ours[:-1], truth[:-1]):
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert ours[-1] == pytest.approx(truth[-1], rel=2e-4, abs=1e-9)
    wrong = law(ancestral, exact, LINEAR, steps, m, v, large_variance=not large)
    assert (
        max(abs(got[1] / right[1] - 1) for got, right in zip(wrong[:-1], truth)) > 5e-3
    )


@pytest.mark.parametrize(("steps", "tolerance"), [(None, 0.02), (50, 0.3)])
@pytest.mark.parametrize("std", [0.3, 1.0])
def test_samplers_reproduce_mean_and_variance_of_a_gaussian(std, steps, tolerance):
    exact, *_ = on_a_line(0.8, std, COSINE)
    kinds = [
        (ancestral, {}, -1),
        (ancestral, {"large_variance": True}, 1),
        (ddim, {}, 0),
        (ddim, {"eta": 0.5}, 0),
    ]
    for sampler, options, side in kinds:
        mean, variance = law(sampler, exact, COSINE, steps, 0.0, 1.0, **options)[-1]
        assert mean == pytest.approx(0.8, rel=tolerance / 4)
        assert variance == pytest.approx(std**2, rel=tolerance)
        # btilde is a lower and beta an upper bound of the right variance
        if side and std < 1:
            assert side * (variance - std**2) > 0


def test_samplers_draw_the_mean_and_variance_computed_in_closed_form():
    """Once by Monte Carlo, with torch's own noise."""
    exact, *_ = on_a_line(0.8, 0.5, COSINE)
    torch.manual_seed(0)
    for sampler, options in (
        (ancestral, {"large_variance": True}),
        (ddim, {"eta": 0.7}),
    ):
        mean, variance = law(sampler, exact, COSINE, 40, 0.0, 1.0, **options)[-1]
        x = last(
            sampler(exact, torch.randn(20_000, 1, dtype=F64), COSINE, 40, **options)
        )
        within(x, mean)
        within((x - mean).square(), variance)


@pytest.mark.parametrize(
    ("sampler", "options", "steps"),
    [(ancestral, {}, 100), (ancestral, {"large_variance": True}, 100), (ddim, {}, 50)],
)
def test_samplers_with_the_exact_noise_draw_all_modes_evenly(sampler, options, steps):
    centres, n = circle_centres(), 2000
    torch.manual_seed(0)
    x = last(
        sampler(
            MixtureNoise(centres, NOISE, COSINE),
            torch.randn(n, 2),
            COSINE,
            steps,
            **options,
        )
    )
    modes, share = mode_coverage(x, centres, 4 * NOISE)
    assert modes == 8 and share > 0.95
    counts = torch.cdist(x, centres).argmin(1).bincount(minlength=8)
    assert (counts - n / 8).abs().max() < 5 * math.sqrt(n / 8 * 7 / 8)


# --- the same in sigma: x / sqrt(abar) = x_0 + sigma eps, as the docstring of samplers.py has it for notebook 13 ---


def with_levels(sigmas):
    abar = 1 / (1 + sigmas.square())
    return Schedule(1 - abar / torch.cat([torch.ones(1, dtype=F64), abar[:-1]]))


SIGMAS = torch.logspace(-2, 1.7, 60, dtype=F64)  # geometric, as Song & Ermon's
IN_SIGMA = {"linear": LINEAR, "cosine": COSINE, "geometric": with_levels(SIGMAS)}
CENTRES, STD = circle_centres().double(), 0.2
in_sigma = pytest.mark.parametrize("schedule", IN_SIGMA.values(), ids=IN_SIGMA.keys())


def score_in_sigma(x, sigma):
    """grad log p(x) of the toy + sigma eps, by torch's own mixture and gradient."""
    spread = Independent(Normal(CENTRES, math.hypot(STD, sigma)), 1)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        density = MixtureSameFamily(
            Categorical(torch.ones(len(CENTRES), dtype=F64)), spread
        ).log_prob(x)
        return torch.autograd.grad(density.sum(), x)[0]


def slope(x, sigma):
    """dx / dsigma of the probability-flow ODE (Karras et al., equation 3): the noise,
    written by the score."""
    return -sigma * score_in_sigma(x, sigma)


def path_in_sigma(schedule, steps):
    """(t, s, abar_t, abar_s, sigma_t, sigma_s) of every step; the end is level 0, with
    s = None."""
    numbers = step_numbers(len(schedule), steps)
    levels = [
        (t, schedule.abar[t].item(), signal_to_noise(schedule.abar[t]).item() ** -0.5)
        for t in numbers
    ]
    for (t, a, sigma), (s, b, after) in itertools.pairwise([*levels, (None, 1.0, 0.0)]):
        yield t, s, a, b, sigma, after


def test_signal_to_noise_returns_the_sigmas_a_schedule_was_made_from():
    close(signal_to_noise(with_levels(SIGMAS).abar) ** -0.5, SIGMAS, rtol=1e-9, atol=0)


@in_sigma
def test_score_in_sigma_is_sqrt_abar_times_score_from_eps(schedule):
    for t in (0, len(schedule) // 2, len(schedule) - 1):
        x, abar = normal(20, 2), schedule.abar[t].item()
        eps = MixtureNoise(CENTRES, STD, schedule)(x, torch.full((20,), t))
        sigma = math.sqrt((1 - abar) / abar)
        close(
            math.sqrt(abar) * score_from_eps(eps, abar),
            score_in_sigma(x / math.sqrt(abar), sigma),
            rtol=1e-7,
        )


@pytest.mark.parametrize("steps", [50, 7])
@in_sigma
def test_ddim_equals_euler_steps_of_the_probability_flow_ode(schedule, steps):
    x = normal(20, 2)
    exact = MixtureNoise(CENTRES, STD, schedule)
    for (x_s, _), (_, _, a, b, sigma, after) in zip(
        ddim(exact, x, schedule, steps), path_in_sigma(schedule, steps), strict=True
    ):
        here = x / math.sqrt(a)
        expected = here + (after - sigma) * slope(here, sigma)
        close(x_s / math.sqrt(b), expected, rtol=1e-9, atol=1e-9 * max(1, after))
        x = x_s


@in_sigma
def test_heun_steps_equal_ddim_steps_with_the_mean_of_two_noises(schedule):
    x = normal(20, 2)
    exact = MixtureNoise(CENTRES, STD, schedule)
    for t, s, a, b, sigma, after in path_in_sigma(schedule, 7):
        here = x / math.sqrt(a)
        first = slope(here, sigma)
        expected = here + (after - sigma) * first
        if after > 0:
            expected = here + (after - sigma) * (first + slope(expected, after)) / 2
        eps = exact(x, torch.full((20,), t))
        x_s = q_sample(x0_from_eps(x, eps, a), b, eps)
        if s is not None:
            eps = (eps + exact(x_s, torch.full((20,), s))) / 2
            x_s = q_sample(x0_from_eps(x, eps, a), b, eps)
        close(x_s / math.sqrt(b), expected, rtol=1e-9, atol=1e-9 * max(1, after))
        x = x_s


@in_sigma
def test_annealed_langevin_in_sigma_equals_langevin_with_score_from_eps(schedule):
    """Song & Ermon's Algorithm 1: at each level 3 steps of size 0.1 sigma^2."""
    x, exact = normal(20, 2), MixtureNoise(CENTRES, STD, schedule)
    noises = iter(normal(20, 3, 20, 2, seed=1))
    for t, _, a, b, sigma, _ in path_in_sigma(schedule, 20):
        theirs, size = x / math.sqrt(a), 0.1 * sigma**2
        for noise in next(noises):
            theirs = (
                theirs
                + size / 2 * score_in_sigma(theirs, sigma)
                + math.sqrt(size) * noise
            )
            score = score_from_eps(exact(x, torch.full((20,), t)), a)
            x = x + a * size / 2 * score + math.sqrt(a * size) * noise
        x = math.sqrt(b / a) * x
        close(x / math.sqrt(b), theirs, rtol=1e-9, atol=1e-9 * max(1, sigma))


@in_sigma
def test_ddpm_errors_equal_denoising_score_matching_weighted_by_the_variance(
    schedule,
):
    """Song & Ermon, equations 5 and 6 with lambda = sigma^2; a mean over dimensions,
    without the half."""
    method, t = (
        DDPM(Wave(), schedule.beta, pictures=False).train(),
        torch.tensor([0, 5, 30, 59]),
    )
    x0, eps = normal(4, 2), normal(4, 2, seed=1)
    abar = schedule.abar[t][:, None]
    sigma = ((1 - abar) / abar).sqrt()
    noisy = x0 + sigma * eps
    score = -method.net(abar.sqrt() * noisy, t) / sigma
    expected = (sigma * (score + (noisy - x0) / sigma.square())).square().mean(1)
    close(method.errors(x0, t, eps), expected, rtol=1e-9)


# --- DDPM ---


def drawn(seed, total, x):
    """What the loss draws after this seed: steps, then noise."""
    torch.manual_seed(seed)
    t = torch.randint(total, (len(x),))
    return t, torch.randn(x.shape, dtype=x.dtype)


@predictions
@pytest.mark.parametrize("pictures", [False, True])
def test_ddpm_loss_errors_and_score_equal_a_loop_for_eps_x0_and_v(name, pictures):
    x, y = torch.rand(6, 3, 2, 2, generator=seeded(), dtype=F64), torch.arange(6)
    method = DDPM(Wave(), SHORT, PREDICTIONS[name], pictures=pictures).train()
    t, eps = drawn(3, 4, x)
    errors = []
    for row in range(6):
        abar = products(SHORT)[t[row]]
        x0 = 2 * x[row] - 1 if pictures else x[row]
        x_t = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * eps[row]
        said = method.net(x_t[None], t[row : row + 1])[0]  # no label is told
        v = math.sqrt(abar) * eps[row] - math.sqrt(1 - abar) * x0
        target = {"epsilon": eps[row], "sample": x0, "v_prediction": v}[name]
        pairs = zip(said.flatten().tolist(), target.flatten().tolist())
        errors.append(sum((a - b) ** 2 for a, b in pairs) / 12)
    torch.manual_seed(3)
    assert method.loss(x, y).item() == pytest.approx(sum(errors) / 6, rel=1e-9)
    close(method.errors(method.normalise(x), t, eps).detach(), errors)
    torch.manual_seed(3)
    assert method.pretext_score(x) == pytest.approx(
        -method.errors(method.normalise(x), t, eps).mean().item(), rel=1e-9
    )


def test_ddpm_loss_draws_steps_uniformly_and_standard_normal_noise():
    net = Recorder()
    method, n = DDPM(net, linear_betas(7, 5e-4, 5e-3), pictures=False), 35_000
    torch.manual_seed(0)
    method.loss(torch.zeros(n, 1))
    ((x_t, t, _),) = net.asked
    assert t.dtype == torch.long and sorted(t.unique().tolist()) == list(range(7))
    assert (t.bincount() - n / 7).abs().max() < 5 * math.sqrt(n / 7 * 6 / 7)
    eps = (
        x_t[:, 0]
        / torch.tensor([math.sqrt(1 - a) for a in products(method.schedule.beta)])[t]
    )
    within(eps, 0.0)
    within(eps.square(), 1.0)


@predictions
@pytest.mark.parametrize("pictures", [False, True])
def test_ddpm_loss_of_the_right_prediction_is_zero(name, pictures):
    """All data are one point, so that the noise can be read off x_t."""
    point = torch.tensor([0.2, 0.9, 0.5], dtype=F64)
    x0 = 2 * point - 1 if pictures else point
    abar = torch.tensor(products(SHORT), dtype=F64)

    def say(x_t, t, y):
        a = abar[t][:, None]
        eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        return {"epsilon": eps, "sample": x0.expand_as(x_t), "v_prediction": v}[name]

    method = DDPM(Recorder(say), SHORT, PREDICTIONS[name], pictures=pictures)
    assert 0 <= method.loss(point.expand(50, 3)).item() < 1e-20
    t, eps = torch.tensor([0, 1, 2, 3]), normal(4, 3)
    close(method.eps(q_sample(x0.expand(4, 3), abar[t], eps), t).detach(), eps)


def test_ddpm_normalise_centres_pictures_denormalise_inverts_and_points_stay():
    x = torch.rand(3, 1, 4, 4, generator=seeded())
    method = DDPM(Wave(), SHORT)
    assert (
        method.normalise(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
        and method.clip_denoised == 1
    )
    close(method.denormalise(method.normalise(x)), x, rtol=1e-6, atol=1e-6)
    assert method.denormalise(torch.tensor([-1.2, 0.0, 1.2])).tolist() == [0, 0.5, 1]
    points = DDPM(Wave(), SHORT, pictures=False)
    assert (
        points.normalise(x) is x
        and points.denormalise(5 * x).max() > 1
        and points.clip_denoised is None
    )


def test_ddpm_moving_average_after_step_uses_a_growing_momentum():
    method = DDPM(nn.Linear(1, 1, bias=False), SHORT, momentum=0.3)
    method.net.weight.data.fill_(0.0)
    method.average.net.weight.data.fill_(1.0)
    expected = 1.0
    for k, value in enumerate([2.0, -1.0, 5.0, 3.0, 4.0], start=1):
        method.net.weight.data.fill_(value)
        method.after_step()
        momentum = min(0.3, (1 + k) / (10 + k))  # 2/11, 3/12, 4/13, ...
        expected = momentum * expected + (1 - momentum) * value
        assert method.average.net.weight.item() == pytest.approx(expected, rel=1e-6)
        assert method.net.weight.item() == value and method.updates.item() == k
    assert "updates" in method.state_dict()


def test_ddpm_average_starts_as_a_copy_and_is_used_in_eval_mode():
    method = DDPM(Wave(), SHORT, pictures=False)
    assert same(state_of(method.net), state_of(method.average.net))
    method.net.weight.data.fill_(2.0)
    x, t = normal(4, 3), torch.arange(4)
    close(method.train().eps(x, t).detach(), 2 * wave(x, t))
    close(method.eval().eps(x, t), 0.9 * wave(x, t))
    assert not method.eps(x, t).requires_grad and method.train().eps(x, t).requires_grad
    assert not method.average.net.training


def test_ddpm_loss_passes_no_label_while_predict_eps_and_errors_can():
    net, x, y = Recorder(), normal(5, 2), torch.tensor([3, 1, 4, 1, 5])
    t = torch.zeros(5, dtype=torch.long)
    for kind in (DDPM, NextStep):
        method = kind(net, SHORT, pictures=False)
        net.asked.clear()
        method.loss(x, y)
        assert net.asked.pop()[2] is None
        for told in (
            method.predict(x, t, y),
            method.eps(x, t, y),
            method.errors(x, t, x, y),
        ):
            assert told is not None and net.asked.pop(0)[2] is y
    method = DDPM(Wave(), SHORT, pictures=False)
    eps = normal(5, 2, seed=1)
    assert not torch.equal(
        terms(method, x, t + 1, eps, y), terms(method, x, t + 1, eps)
    )


class Looks(nn.Module):
    """A network whose features are its input and the step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def features(self, x, t):
        return torch.cat([self.weight * x.flatten(1), t[:, None]], 1)


def test_ddpm_encode_reads_features_at_one_twentieth_of_the_steps():
    method, x = (
        DDPM(Looks(), linear_betas(200)),
        torch.rand(3, 1, 2, 2, generator=seeded()),
    )
    method.net.weight.data.fill_(3.0)
    shown = math.sqrt(products(linear_betas(200))[10]) * (2 * x - 1).flatten(1)
    close(
        method.eval().encode(x),
        torch.cat([shown, torch.full((3, 1), 10.0)], 1),
        rtol=1e-6,
    )
    close(method.train().encode(x)[:, :4].detach(), 3 * shown, rtol=1e-6)


def test_ddpm_encode_of_a_unet_has_the_coarsest_width_and_is_deterministic():
    torch.manual_seed(0)
    method, x = DDPM(UNet(1, (8, 16)), linear_betas(100)).eval(), torch.rand(3, 1, 8, 8)
    assert method.encode(x).shape == (3, 16) and torch.equal(
        method.encode(x), method.encode(x)
    )


@pytest.mark.parametrize("kind", [DDPM, NextStep])
def test_ddpm_loss_gives_the_network_a_gradient_and_its_average_none(kind):
    torch.manual_seed(0)
    method = kind(TimedMLP(2, 8), SHORT, pictures=False)
    method.loss(normal(64, 2, dtype=F32)).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in method.net.parameters()
    )
    assert all(
        p.grad is None and not p.requires_grad for p in method.average.parameters()
    )


def test_squared_error_and_ddpm_loss_are_float32_under_autocast():
    a, b = normal(3, 4, 2, dtype=F32), normal(3, 4, 2, seed=1, dtype=F32)
    expected = [
        sum((u - w) ** 2 for u, w in zip(p, q)) / 8
        for p, q in zip(*(z.flatten(1).tolist() for z in (a, b)))
    ]
    close(squared_error(a, b), expected, rtol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert squared_error(a.bfloat16(), b).dtype == F32
        method = DDPM(TimedMLP(2, 8), SHORT, pictures=False)
        assert method.loss(normal(4, 2, dtype=F32)).dtype == F32


# --- the next step, as MLMI17 writes it ---


def hermite(n=60):
    """Nodes and weights of the mean over a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(nodes, dtype=F64), torch.tensor(
        weights / math.sqrt(2 * math.pi), dtype=F64
    )


def at_step(monkeypatch, t):
    """Every row's step is t."""
    monkeypatch.setattr(
        torch, "randint", lambda *args, **kwargs: torch.full(args[-1], t)
    )


@pytest.mark.parametrize("t", range(4))
def test_next_step_loss_is_the_reweighted_noise_loss_plus_a_constant(t, monkeypatch):
    """beta^2 / (alpha (1 - abar)) E (eps - eps_theta)^2 + btilde a dimension, the mean
    over eps by quadrature."""

    def say(x, t, y=None):
        return torch.sin(2 * x + t[:, None])

    x0, beta, abar = [0.7, -1.2], SHORT[t].item(), products(SHORT)[t]
    before = products(SHORT)[t - 1] if t else 1.0
    nodes, weights = hermite()
    eps_error = 0.0
    for value in x0:
        x_t = math.sqrt(abar) * value + math.sqrt(1 - abar) * nodes
        eps_error += (
            weights * (nodes - torch.sin(2 * x_t + t)).square()
        ).sum().item() / 2
    expected = (
        beta**2 / ((1 - beta) * (1 - abar)) * eps_error
        + (1 - before) / (1 - abar) * beta
    )

    at_step(monkeypatch, t)
    torch.manual_seed(0)
    method = NextStep(Recorder(say), SHORT, pictures=False)
    rows = torch.tensor(x0, dtype=F64).expand(4000, 2)
    losses = torch.stack([method.loss(rows).detach() for _ in range(40)])
    within(losses, expected, errors=4.5)
    assert losses.std() / math.sqrt(40) < 0.02 * expected


@pytest.mark.parametrize("t", [0, 2])
def test_next_step_gradient_is_the_reweighted_noise_gradient(t, monkeypatch):
    """For eps_theta = w x_t it is known: 2 weight (w E x_t^2 - E eps x_t)."""
    w, beta, abar, x0 = 0.4, SHORT[t].item(), products(SHORT)[t], 1.3

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(w, dtype=F64))

        def forward(self, x, t, y=None):
            return self.w * x

    square, product = abar * x0**2 + 1 - abar, math.sqrt(1 - abar)
    expected = 2 * beta**2 / ((1 - beta) * (1 - abar)) * (w * square - product)
    at_step(monkeypatch, t)
    torch.manual_seed(0)
    for kind, factor in ((NextStep, 1), (DDPM, (1 - beta) * (1 - abar) / beta**2)):
        method = kind(Line(), SHORT, pictures=False)
        rows = torch.full((4000, 1), x0, dtype=F64)
        slopes = torch.stack(
            [torch.autograd.grad(method.loss(rows), method.net.w)[0] for _ in range(40)]
        )
        within(slopes, factor * expected, errors=4.5)


def test_next_step_loss_draws_steps_uniformly_and_centres_pictures():
    net = Recorder()
    method, n = NextStep(net, SHORT), 20_000
    torch.manual_seed(0)
    method.loss(torch.full((n, 1), 0.9))
    ((x_t, t, _),) = net.asked
    assert (t.bincount(minlength=4) - n / 4).abs().max() < 5 * math.sqrt(n * 3 / 16)
    for step, abar in enumerate(products(SHORT)):
        seen = x_t[t == step]
        within(seen, 0.8 * math.sqrt(abar))
        within((seen - 0.8 * math.sqrt(abar)).square(), 1 - abar)


@pytest.mark.parametrize("shape", [(4, 2), (4, 1, 3, 3)])
def test_says_next_step_converts_a_predicted_posterior_mean_to_noise(shape):
    x0, eps, t = normal(*shape), normal(*shape, seed=1), torch.arange(4)
    abar, schedule = torch.tensor(products(SHORT), dtype=F64), Schedule(SHORT)
    x_t = q_sample(x0, abar, eps)
    truth = SaysNextStep(
        lambda x, t, y=None: posterior_mean(x0, x, abar[t], schedule.abar_prev[t]),
        SHORT,
    )
    close(truth(x_t, t), eps)
    own = SaysNextStep(Wave(), SHORT)
    y = torch.arange(4)
    close(
        mean_from_eps(x_t, own(x_t, t, y).detach(), SHORT[t], abar[t]),
        own.net(x_t, t, y).detach(),
    )
    assert own(x_t.float(), t).dtype == F32 and not any(
        "schedule" in key for key in own.state_dict()
    )


# --- the bound ---


def posteriors(betas, t, x0, guess, x_t):
    """q(x_{t-1} given x_t, x_0) and p_theta with variance btilde, by conditioning the
    chain."""
    pairs = zip(x0.flatten().tolist(), guess.flatten().tolist(), x_t.flatten().tolist())
    found = []
    for a, b, x in pairs:
        q, p = (condition(*chain_joint(betas, t - 1, t, start), x) for start in (a, b))
        found.append((q, p))
    (q_mean, q_var), (p_mean, p_var) = (
        torch.tensor(part, dtype=F64).T for part in zip(*found)
    )
    return Normal(q_mean, q_var.sqrt()), Normal(p_mean, p_var.sqrt())


@pytest.mark.parametrize("t", [1, 2, 3])
@pytest.mark.parametrize("pictures", [False, True])
def test_bound_terms_after_the_first_are_kl_divergences_of_gaussians(t, pictures):
    x0, eps, y = normal(3, 2, 2).clamp(-1, 1), normal(3, 2, 2, seed=1), torch.arange(3)
    method, step = DDPM(Wave(), SHORT, pictures=pictures), torch.full((3,), t)
    abar = products(SHORT)[t]
    x_t = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * eps
    said = method.net(x_t, step, y).detach()
    guess = (x_t - math.sqrt(1 - abar) * said) / math.sqrt(abar)
    if pictures:
        assert guess.abs().max() > 1  # or the limit would not be tested
        guess = guess.clamp(-1, 1)
    ours = terms(method, x0, step, eps, y).detach()
    for row in range(3):
        divergence = kl_divergence(
            *posteriors(SHORT.tolist(), t, x0[row], guess[row], x_t[row])
        ).sum()
        assert ours[row].item() == pytest.approx(divergence.item(), rel=1e-9)
        if not pictures:
            by_noise = (
                noise_weights(Schedule(SHORT))[t]
                * (eps[row] - said[row]).square().sum()
            )
            assert by_noise.item() == pytest.approx(divergence.item(), rel=1e-9)


def test_noise_weights_of_1000_steps_equal_their_formula():
    for schedule in (LINEAR, COSINE):
        weights = noise_weights(schedule)
        assert (
            weights.dtype == F64
            and weights[0] == math.inf
            and weights[1:].isfinite().all()
        )
        betas, abar = schedule.beta.tolist(), products(schedule.beta)
        for t in (1, 2, 10, 500, 998):
            btilde = (1 - abar[t - 1]) / (1 - abar[t]) * betas[t]
            expected = betas[t] ** 2 / (2 * btilde * (1 - betas[t]) * (1 - abar[t]))
            assert weights[t].item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 2.0])
def test_discretised_log_likelihood_is_the_mass_of_each_grey_cell(sigma):
    levels = 16
    greys = [2 * k / (levels - 1) - 1 for k in range(levels)]
    means = [-1.3, -0.98, -0.05, 0.31, 1.0]
    for place in means:
        model, masses = NormalDist(place, sigma), []
        for k in range(levels):
            low = 0.0 if k == 0 else model.cdf((greys[k - 1] + greys[k]) / 2)
            high = 1.0 if k == levels - 1 else model.cdf((greys[k] + greys[k + 1]) / 2)
            masses.append(high - low)
        mean, x0 = (
            torch.full((levels, 1), place, dtype=F64),
            torch.tensor(greys, dtype=F64)[:, None],
        )
        ours = discretised_log_likelihood(mean, x0, sigma, levels).exp()
        close(ours, masses, rtol=1e-8, atol=1e-13)
        assert ours.sum().item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_discretised_log_likelihood_is_finite_and_exact_far_from_the_mean(sigma):
    """The expected mass is an integral from the end where the density is larger. The
    exponent there is taken out of the integral."""
    greys = [2 * k / 255 - 1 for k in range(256)]
    for place, k in [
        (-0.9, 240),
        (0.9, 20),
        (-1.0, 255),
        (1.0, 0),
        (0.5, 128),
        (2.0, 255),
        (-2.0, 0),
    ]:
        low = -math.inf if k == 0 else (greys[k] - 1 / 255 - place) / sigma
        high = math.inf if k == 255 else (greys[k] + 1 / 255 - place) / sigma
        if low < 0 < high:
            low, high = min(-low, high), max(-low, high)
            expected = math.log(NormalDist().cdf(low) + NormalDist().cdf(high) - 1)
        else:
            near, far = sorted((abs(low), abs(high)))
            inside = quad(
                lambda u, near=near: math.exp(-near * u - u * u / 2),
                0,
                min(far - near, 40 / near),
                epsabs=0,
            )[0]
            expected = -(near**2) / 2 - math.log(2 * math.pi) / 2 + math.log(inside)
        x0 = torch.tensor([[greys[k]]], dtype=F64)
        ours = discretised_log_likelihood(torch.tensor([[place]], dtype=F64), x0, sigma)
        assert ours.item() == pytest.approx(expected, rel=1e-8, abs=1e-12), (place, k)


def test_discretised_log_likelihood_of_256_greys_sums_to_one_in_float32():
    x0 = 2 * (torch.arange(256) / 255)[:, None] - 1
    for place, sigma in [(-1.0, 0.01), (0.3, 0.01), (0.99, 0.2), (0.0, 3.0)]:
        ours = discretised_log_likelihood(torch.full((256, 1), place), x0, sigma)
        # greys are rounded
        assert (
            ours.exp().sum().item() == pytest.approx(1, rel=1e-6)
            and ours.isfinite().all()
        )
    rows = discretised_log_likelihood(
        torch.zeros(2, 256), torch.stack([x0[:, 0], x0[:, 0].flip(0)]), 0.3
    )
    single = discretised_log_likelihood(torch.zeros(256, 1), x0, 0.3)
    close(rows, [single.sum().item()] * 2)


def test_bound_terms_at_the_first_step_are_the_likelihood_of_x0():
    x0 = (2 * torch.randint(256, (3, 2), generator=seeded()) / 255 - 1).double()
    eps, first = normal(3, 2, seed=1), torch.zeros(3, dtype=torch.long)
    method = DDPM(Wave(), SHORT)
    x_1 = math.sqrt(0.9) * x0 + math.sqrt(0.1) * eps
    guess = (x_1 - math.sqrt(0.1) * method.net(x_1, first).detach()) / math.sqrt(0.9)
    ours = terms(method, x0, first, eps).detach()
    for row in range(3):
        total = 0.0
        for value, mean in zip(x0[row].tolist(), guess[row].clamp(-1, 1).tolist()):
            model = NormalDist(mean, math.sqrt(0.1))
            low = 0.0 if value < -0.999 else model.cdf(value - 1 / 255)
            high = 1.0 if value > 0.999 else model.cdf(value + 1 / 255)
            total -= math.log(high - low)
        assert ours[row].item() == pytest.approx(total, rel=1e-8)
    mixed = torch.tensor([0, 2, 0])
    close(terms(method, x0, mixed, eps).detach()[[0, 2]], ours[[0, 2]])


def test_prior_kl_equals_torchs_kl_divergence():
    x0 = normal(3, 2, 2)
    for schedule in SCHEDULES.values():
        abar = products(schedule.beta)[-1]
        end = Normal(math.sqrt(abar) * x0, math.sqrt(1 - abar))
        expected = kl_divergence(end, Normal(torch.zeros_like(x0), 1.0)).sum((1, 2))
        close(prior_kl(x0, schedule), expected, rtol=1e-6, atol=1e-12)
        close(prior_kl(x0.float(), schedule).float(), expected.float(), rtol=1e-5)


def few_pictures(n=5):
    return torch.randint(256, (n, 1, 2, 2), generator=seeded(2), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("betas", "draws"), [(SHORT, 1), (SHORT, 3), (SHORT, 8), (SHORT[:2], 2)]
)
def test_bits_per_dimension_is_an_unbiased_estimate_of_the_whole_sum(betas, draws):
    method, x = DDPM(Wave(), betas).eval(), few_pictures()
    x0 = 2 * x.double() / 255 - 1
    many, steps = x0.repeat(2000, 1, 1, 1), len(betas)
    total = torch.zeros(2000, dtype=F64)
    for t in range(steps):
        eps = normal(*many.shape, seed=t)
        total += (
            terms(method, many, torch.full((len(many),), t), eps)
            .reshape(2000, 5)
            .mean(1)
        )
    total = (total + prior_kl(x0, method.schedule).mean()) / (4 * math.log(2))
    ours = torch.tensor(
        [bits_per_dimension(method, x, draws, seed) for seed in range(150)], dtype=F64
    )
    error = math.hypot(ours.std() / math.sqrt(150), total.std() / math.sqrt(2000))
    assert abs(ours.mean() - total.mean()) < 4.5 * error and error < 0.03 * total.mean()


def test_bits_per_dimension_draws_steps_evenly_on_a_logarithmic_scale():
    net = Recorder()
    method = DDPM(net, linear_betas(16, 5e-4, 5e-3)).train()
    bits_per_dimension(method, few_pictures(500), draws=2)
    seen = [sorted(set(t.tolist())) for _, t, _ in net.asked]
    # batches of 250; 16^0, 16^(1/2), 16^1
    assert seen == 2 * [[0], [1, 2, 3], list(range(4, 16))]
    net.asked.clear()
    bits_per_dimension(method, few_pictures(4000), draws=2)
    counts = torch.cat([t for _, t, _ in net.asked]).bincount(minlength=16)[1:].double()
    expected = 8000 * torch.tensor(
        [math.log((t + 1) / t) / math.log(16) for t in range(1, 16)], dtype=F64
    )
    assert ((counts - expected).abs() < 4.5 * expected.sqrt()).all()


def test_bits_per_dimension_is_repeatable_and_keeps_the_callers_random_state():
    method, x = DDPM(Wave(), SHORT).eval(), few_pictures()
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    found = [bits_per_dimension(method, x, 2, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2] and isinstance(found[0], float)
    assert torch.equal(torch.randn(3), expected)


def test_bound_is_above_the_entropy_and_approaches_it_as_1_over_steps():
    """The bound of N(m, s^2) with its exact denoiser, in nats. All terms are squares,
    so three nodes give an exact mean. The first term is a density, the limit of the
    mass of narrow cells."""
    m, s = 0.4, 0.5
    nodes, weights = hermite(3)
    entropy = math.log(2 * math.pi * math.e * s**2) / 2
    gaps = []
    for steps in (64, 256, 1024):
        # even in log signal to noise
        abar = torch.linspace(math.log(1e4), math.log(1e-4), steps, dtype=F64).sigmoid()
        schedule = Schedule(1 - abar / torch.cat([torch.ones(1, dtype=F64), abar[:-1]]))
        exact = MixtureNoise(torch.tensor([[m]], dtype=F64), s, schedule)
        method = DDPM(
            Recorder(lambda x, t, y, exact=exact: exact(x, t)),
            schedule.beta,
            pictures=False,
        )
        x0, eps = (
            part.reshape(-1, 1)
            for part in torch.meshgrid(m + s * nodes, nodes, indexing="ij")
        )
        weight = torch.outer(weights, weights).flatten()
        bound = (weight * prior_kl(x0, schedule)).sum().item()
        t = torch.arange(1, steps).repeat_interleave(9)
        each = terms(
            method, x0.repeat(steps - 1, 1), t, eps.repeat(steps - 1, 1)
        ).detach()
        bound += (each.reshape(-1, 9) * weight).sum().item()
        a = schedule.abar[0].item()
        left = s**2 * (1 - a) / (a * s**2 + 1 - a)  # the variance of x_0 given x_1
        bound += math.log(2 * math.pi * (1 - a)) / 2 + left / (2 * (1 - a))
        gaps.append(bound - entropy)
    assert gaps[2] > 0 and gaps[2] < 0.05
    # as 1 / T
    assert all(3.5 < wide / narrow < 6 for wide, narrow in itertools.pairwise(gaps))


# --- whole runs ---


def toy_data(n=2000):
    x, y = gaussians(n, seeded(1))
    return Dataset(x, y, ())


def test_ddpm_training_approaches_the_exact_noise_and_samples_all_modes():
    torch.manual_seed(0)
    method = DDPM(TimedMLP(2, 128), cosine_betas(100), momentum=0.99, pictures=False)
    exact = MixtureNoise(circle_centres(), NOISE, method.schedule)
    data = toy_data(4000)
    t = torch.randint(5, 100, (2000,), generator=seeded(3))
    x_t = q_sample(
        data.x[:2000], method.schedule.abar[t], normal(2000, 2, seed=2, dtype=F32)
    )

    def off():
        return squared_error(method.eval().eps(x_t, t), exact(x_t, t)).mean().item()

    before = off()
    list(fit(method, data, 1500, batch_size=256, optimizers=adamw(4e-3, 0)))
    assert before > 0.4 and off() < 0.06
    torch.manual_seed(1)
    x = last(ancestral(method.eps, torch.randn(1000, 2), method.schedule))
    modes, share = mode_coverage(x, circle_centres(), 5 * NOISE)
    assert modes == 8 and share > 0.7


def small(kind=DDPM, seed=0, **options):
    torch.manual_seed(seed)
    return kind(
        TimedMLP(2, 16), linear_betas(50), momentum=0.5, pictures=False, **options
    )


def small_unet(seed, kind=DDPM):
    torch.manual_seed(seed)
    x = torch.rand(16, 1, 8, 8, generator=seeded())
    return kind(UNet(1, (8, 16)), linear_betas(50), V), Dataset(
        x, torch.arange(16) % 5, ()
    )


RUNS = {
    "points": lambda seed: (small(seed=seed), toy_data(64)),
    "next step": lambda seed: (small(NextStep, seed, prediction=V), toy_data(64)),
    "pictures": small_unet,
}


@pytest.mark.parametrize("name", RUNS)
def test_resumed_diffusion_training_ends_with_the_same_weights_bit_for_bit(
    name, tmp_path
):
    def run(seed, stop=None, **options):
        method, data = RUNS[name](seed)
        steps = []
        for step in fit(
            method, data, 6, batch_size=8, optimizers=adamw(1e-2), **options
        ):
            steps.append(step.k)
            if step.k == stop:
                break
        return method, steps

    whole, _ = run(0)
    run(0, stop=3, checkpoint=tmp_path / "run.pt")
    # the seed differs, so all weights come from the checkpoint
    resumed, steps = run(1, checkpoint=tmp_path / "run.pt")
    assert steps == [4, 5, 6] and same(whole.state_dict(), resumed.state_dict())
    assert whole.updates == 6 and not same(
        whole.state_dict(), RUNS[name](0)[0].state_dict()
    )
    assert not same(state_of(whole.net), state_of(whole.average.net))


@pytest.mark.parametrize("kind", [DDPM, NextStep])
def test_ddpm_and_next_step_train_on_labelled_data_without_labels(kind):
    method, data = small_unet(0, kind)
    assert all(math.isfinite(step.loss) for step in fit(method, data, 2, batch_size=8))


class FixedDraws(DDPM):
    """Step and noise are functions of the label, so that nothing is drawn."""

    def loss(self, x, y=None):
        places = torch.arange(x.shape[1])
        return self.errors(
            self.normalise(x),
            7 * y % len(self.schedule),
            torch.cos(y[:, None] + 2.0 * places),
        ).mean()


def train():
    """Losses and final state of a few updates of plain SGD."""
    method, data = small(FixedDraws), Dataset(toy_data(32).x, torch.arange(32), ())
    options = dict(
        batch_size=16,
        optimizers=sgd(0.1, weight_decay=0, momentum=0),
        schedule=lambda p: 1.0,
    )
    losses = [step.loss for step in fit(method, data, 3, **options)]
    return losses, state_of(method)


def work():
    return train()


def test_ddpm_training_in_two_processes_equals_one_process(tmp_path):
    losses, state = train()
    (losses_0, state_0), (losses_1, state_1) = two_processes("test_diffusion", tmp_path)
    assert same(state_0, state_1), "the processes drifted apart"
    start = small(FixedDraws).state_dict()
    for key, value in state.items():
        torch.testing.assert_close(state_0[key], value, rtol=1e-4, atol=1e-5)
        assert not torch.equal(value, start[key]), key
    halves = (torch.tensor(losses_0) + torch.tensor(losses_1)) / 2
    torch.testing.assert_close(halves, torch.tensor(losses), rtol=1e-4, atol=1e-5)


# --- what is refused ---

M, INT, Z = torch.zeros(4, 2), torch.zeros(4, 2, dtype=torch.long), torch.zeros(4)
BAD = {
    "linear_betas no steps": (lambda: linear_betas(0), "steps"),
    "linear_betas one step": (lambda: linear_betas(1), "steps"),
    "linear_betas fraction": (lambda: linear_betas(10.5), "steps"),
    "linear_betas negative": (lambda: linear_betas(first=-0.1), "first"),
    "linear_betas nan": (lambda: linear_betas(first=math.nan), "first"),
    "linear_betas above": (lambda: linear_betas(last=1.5), "last"),
    "cosine_betas steps": (lambda: cosine_betas(0), "steps"),
    "cosine_betas offset": (lambda: cosine_betas(10, offset=-0.1), "offset"),
    "cosine_betas largest": (lambda: cosine_betas(10, largest=1.1), "largest"),
    "schedule empty": (lambda: Schedule(torch.zeros(0)), "betas"),
    "schedule zero": (lambda: Schedule(torch.tensor([0.1, 0.0])), "betas"),
    "schedule one": (lambda: Schedule(torch.tensor([0.1, 1.0])), "betas"),
    "schedule nan": (lambda: Schedule(torch.tensor([0.1, math.nan])), "betas"),
    "schedule 2-D": (lambda: Schedule(torch.full((2, 2), 0.1)), "betas"),
    "schedule 0-d": (lambda: Schedule(torch.tensor(0.1)), "betas"),
    "signal_to_noise int": (lambda: signal_to_noise(INT), "abar"),
    "q_step x": (lambda: q_step(INT, 0.1, M), "x"),
    "q_step noise": (lambda: q_step(M, 0.1, 0.5), "step_noise"),
    "q_sample x0": (lambda: q_sample(M.byte(), 0.1, M), "x0"),
    "q_sample eps": (lambda: q_sample(M, 0.1, INT), "eps"),
    "posterior_mean x0": (lambda: posterior_mean(INT, M, 0.1, 0.2), "x0"),
    "posterior_mean x_t": (lambda: posterior_mean(M, INT, 0.1, 0.2), "x_t"),
    "mean_from_eps x_t": (lambda: mean_from_eps(INT, M, 0.1, 0.2), "x_t"),
    "mean_from_eps eps": (lambda: mean_from_eps(M, INT, 0.1, 0.2), "eps"),
    "x0_from_eps x_t": (lambda: x0_from_eps(INT, M, 0.1), "x_t"),
    "x0_from_eps eps": (lambda: x0_from_eps(M, None, 0.1), "eps"),
    "eps_from_x0 x_t": (lambda: eps_from_x0(INT, M, 0.1), "x_t"),
    "eps_from_x0 x0": (lambda: eps_from_x0(M, INT, 0.1), "x0"),
    "v_from x0": (lambda: v_from(INT, M, 0.1), "x0"),
    "v_from eps": (lambda: v_from(M, INT, 0.1), "eps"),
    "eps_from_v x_t": (lambda: eps_from_v(INT, M, 0.1), "x_t"),
    "eps_from_v v": (lambda: eps_from_v(M, INT, 0.1), "v"),
    "score_from_eps": (lambda: score_from_eps(INT, 0.1), "eps"),
    "mixture std": (lambda: MixtureNoise(M, -0.1, LINEAR), "std"),
    "momentum": (lambda: DDPM(Wave(), SHORT, momentum=1.1), "momentum"),
    "betas of DDPM": (lambda: DDPM(Wave(), SHORT + 1), "betas"),
    "steps none": (lambda: last(ancestral(wave, M, LINEAR, 0)), "steps"),
    "steps many": (lambda: last(ddim(wave, M, LINEAR, 1001)), "steps"),
    "steps invert": (lambda: list(invert(wave, M, LINEAR, 1001)), "steps"),
    "eta below": (lambda: last(ddim(wave, M, LINEAR, 5, eta=-0.1)), "eta"),
    "eta above": (lambda: last(ddim(wave, M, LINEAR, 5, eta=1.1)), "eta"),
    "prior_kl": (lambda: prior_kl(INT, LINEAR), "x0"),
    "likelihood mean": (lambda: discretised_log_likelihood(Z, M, 0.1), "mean"),
    "likelihood shapes": (lambda: discretised_log_likelihood(M, M[:3], 0.1), "x0"),
    "likelihood sigma": (lambda: discretised_log_likelihood(M, M, 0.0), "sigma"),
    "likelihood levels": (lambda: discretised_log_likelihood(M, M, 0.1, 1), "levels"),
}


@pytest.mark.parametrize(("call", "name"), BAD.values(), ids=BAD.keys())
def test_diffusion_functions_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()


def test_linear_betas_rejects_betas_above_1_after_scaling_for_few_steps():
    with pytest.raises(
        ValueError,
        match=r"argument `last`: 0.02 is beta = 2 in 10 steps, not in \(0, 1\)",
    ):
        linear_betas(10)


def test_q_sample_rejects_noise_of_another_shape():
    with pytest.raises(
        ValueError, match=r"two tensors of one shape, got \(3, 2\) and \(1, 2\)"
    ):
        q_sample(torch.zeros(3, 2), 0.5, torch.zeros(1, 2))
