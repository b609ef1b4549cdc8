"""Guidance of samplers, the exact noise of a class, label dropout, captions, and the
classifier of noisy points.

The oracles are plain loops, finite differences, torch's distributions and gradients,
and Bayes' rule by hand. Guided samples of some Gaussians have a closed form. The
expected captions are built again from the names of the emoji.
"""

import itertools
import math
import re
import unicodedata
from statistics import NormalDist

import pytest
import torch
from methods import close, normal, products, same, seeded, state_of, within
from scipy.stats import kstest
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_lib import zoo
from course_lib.data import Dataset, as_float, emoji_names, load, vocabulary
from course_lib.data.captions import (
    FIRST_WORD,
    LENGTH,
    PLACES,
    captioned,
    captions,
    shortened,
    token_names,
    tokens,
    unknown,
    withheld,
)
from course_lib.data.emoji import SPLITS, STYLES
from course_lib.data.words import words_of
from course_lib.diffusion.conditional import ConditionalDDPM, with_dropout
from course_lib.diffusion.ddpm import EPS, X0, V
from course_lib.diffusion.exact import MixtureNoise
from course_lib.diffusion.gaussians import q_sample
from course_lib.diffusion.guidance import (
    NoisyClassifier,
    classifier_guided,
    guided,
    in_interval,
    input_gradient,
)
from course_lib.diffusion.samplers import ancestral, ddim, last
from course_lib.diffusion.schedules import Schedule, cosine_betas, linear_betas
from course_lib.nets.mlp import TimedMLP, mlp, time_embedding
from course_lib.nets.text import TextTransformer
from course_lib.nets.unet import LabelEmbedding, UNet, UNetEncoder
from course_lib.optim import adamw
from course_lib.train import fit

F32, F64 = torch.float32, torch.float64
LINEAR, COSINE, QUICK = (
    Schedule(linear_betas()),
    Schedule(cosine_betas()),
    Schedule(cosine_betas(12)),
)
LEVELS = torch.tensor([1, 50, 300, 700, 999])


def often(events, probability, errors=4.0):
    """Independent events, (N, ...), happen with this probability up to that many
    standard errors, in every column."""
    off = (events.double().mean(0) - probability).abs()
    assert (
        off <= errors * math.sqrt(probability * (1 - probability) / len(events))
    ).all(), off


def made_up(x, t, y=None):
    """A smooth noise that depends on its row, the step and, not by a mere shift, on the
    label."""
    columns = -1, *(1,) * (x.ndim - 1)
    told = 0 if y is None else y.reshape(columns).to(x.dtype)
    return torch.sin(
        (1.5 + told) * x + t.reshape(columns).to(x.dtype) / 90
    ) + 0.3 * told * torch.cos(x.flip(-1))


class Asked:
    """A noise that keeps what it was asked."""

    def __init__(self, eps=made_up):
        self.eps, self.calls = eps, []

    def __call__(self, x, t, y=None):
        self.calls.append((x, t, y))
        return self.eps(x, t, y)


class Recorder(nn.Module):
    """`Asked` as a network with one weight; its output does not depend on the label."""

    def __init__(self):
        super().__init__()
        self.asked, self.weight = [], nn.Parameter(torch.zeros(()))

    def forward(self, x, t, y=None):
        self.asked.append((x, t, y))
        return made_up(x, t) + self.weight


# --- classifier-free guidance ---


@pytest.mark.parametrize("w", [0, 0.0, 0.5, 3, -0.3])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 4)], ids=["points", "pictures"])
def test_guided_equals_the_papers_weighted_sum(shape, w):
    x, t, y = normal(*shape), torch.tensor([4, 80, 900]), torch.tensor([2, 0, 1])
    got = guided(made_up, y, w)(x, t)
    assert got.shape == shape
    for row in range(3):
        one = slice(row, row + 1)
        told, untold = (
            made_up(x[one], t[one], y[one]).flatten(),
            made_up(x[one], t[one]).flatten(),
        )
        for a, b, found in zip(
            told.tolist(), untold.tolist(), got[row].flatten().tolist(), strict=True
        ):
            assert found == pytest.approx((1 + w) * a - w * b, rel=1e-12, abs=1e-12)


SAMPLERS = {
    "ancestral": (ancestral, {}),
    "ancestral large": (ancestral, {"large_variance": True}),
    "ddim": (ddim, {}),
    "ddim eta 0.5": (ddim, {"eta": 0.5}),
    "ddim eta 1": (ddim, {"eta": 1.0}),
}
samplers = pytest.mark.parametrize(
    ("sampler", "options"), SAMPLERS.values(), ids=SAMPLERS.keys()
)


def drawn(sampler, eps_fn, steps=None, seed=1, **options):
    """All that the sampler yields, from the same first noise with the same later
    noise."""
    torch.manual_seed(seed)
    return [
        part
        for pair in sampler(eps_fn, torch.randn(3, 2), QUICK, steps, **options)
        for part in pair
    ]


@pytest.mark.parametrize("steps", [None, 5])
@samplers
def test_guided_with_w_0_equals_the_conditional_model_in_one_call_per_step(
    sampler, options, steps
):
    y, asked = torch.tensor([2, 0, 1]), Asked()
    ours = drawn(sampler, guided(asked, y, 0.0), steps, **options)
    theirs = drawn(sampler, lambda x, t: made_up(x, t, y), steps, **options)
    assert len(ours) == len(theirs) and all(
        torch.equal(a, b) for a, b in zip(ours, theirs)
    )
    assert len(asked.calls) == (steps or 12) and all(
        told is y for _, _, told in asked.calls
    )
    zeros = drawn(sampler, guided(made_up, y, torch.zeros(3)), steps, **options)
    assert all(torch.equal(a, b) for a, b in zip(zeros, theirs))


@samplers
def test_guided_with_w_minus_1_equals_the_unconditional_model(sampler, options):
    y = torch.tensor([2, 0, 1])
    ours, theirs = (
        drawn(sampler, guided(made_up, y, -1), **options),
        drawn(sampler, made_up, **options),
    )
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, rtol=1e-3, atol=1e-3)
    told = drawn(sampler, guided(made_up, y, 0), **options)
    assert (told[-1] - theirs[-1]).abs().max() > 0.1


def test_guided_calls_the_network_once_with_and_once_without_the_label():
    y, asked = torch.tensor([2, 0, 1]), Asked()
    drawn(ddim, guided(asked, y, 1.5))
    assert len(asked.calls) == 24
    for (x, t, told), (x_again, t_again, untold) in zip(
        asked.calls[::2], asked.calls[1::2]
    ):
        assert (
            torch.equal(x, x_again)
            and torch.equal(t, t_again)
            and {told is None, untold is None} == {True, False}
        )


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 2, 3)], ids=["points", "pictures"])
def test_guided_accepts_a_weight_for_each_row(shape):
    x, t, y = (
        normal(*shape, dtype=F32),
        torch.tensor([4, 80, 300, 900]),
        torch.tensor([2, 0, 1, 1]),
    )
    weights = [0.0, -1.0, 2.5, 0.4]
    together = guided(made_up, y, torch.tensor(weights))(x, t)
    assert together.shape == shape and together.dtype == F32
    for row, w in enumerate(weights):
        alone = guided(made_up, y[row, None], w)(x[row, None], t[row, None])
        close(together[row, None], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("w", [-1.001, -math.inf, math.nan, "1", None, True, [1.0]])
def test_guided_rejects_a_weight_that_is_no_number_of_at_least_minus_1(w):
    with pytest.raises(ValueError, match=r"argument `w`: expected a number in \[-1, "):
        guided(made_up, torch.zeros(3, dtype=torch.long), w)


@pytest.mark.parametrize("k", [1.0, 0.5, 2.0])
def test_guidance_keeps_an_equal_error_and_reduces_one_that_is_larger_without_label(k):
    """Errors e with the label and k e without it leave (1 - w (k - 1)) e."""
    x, t, y, e, w = normal(3, 2), torch.tensor([4, 80, 900]), torch.arange(3), 0.1, 0.4

    def wrong(x, t, y=None):
        return made_up(x, t, y) + (k * e if y is None else e)

    off = guided(wrong, y, w)(x, t) - guided(made_up, y, w)(x, t)
    close(off, torch.full_like(off, (1 - w * (k - 1)) * e), rtol=1e-9, atol=1e-12)


def test_in_interval_guides_inside_only_and_calls_one_function_per_step():
    x, y, asked = normal(4, 2, 2, 3), torch.tensor([2, 0, 1, 1]), Asked()
    free, plain_eps = guided(asked, y, 2.0), Asked(lambda x, t, y=None: 5 * x)
    both = in_interval(free, plain_eps, 100, 300)
    t = torch.tensor([99, 100, 299, 300])
    got = both(x, t)
    for row, inside in enumerate((False, True, True, False)):
        expected = guided(made_up, y, 2.0)(x, t) if inside else 5 * x
        close(got[row], expected[row])
    for level, calls in ((50, (0, 1)), (200, (2, 0)), (300, (0, 1))):
        asked.calls.clear(), plain_eps.calls.clear()
        both(x, torch.full((4,), level))
        assert (len(asked.calls), len(plain_eps.calls)) == calls


# --- classifier guidance ---


def opinion(x_t, t, y):
    """A made-up log p(y given x_t), each of its own row."""
    flat = x_t.flatten(1)
    return (torch.sin(flat * (1 + y[:, None])) * torch.cos(flat.flip(1))).sum(
        1
    ) - t * flat.square().mean(1) / 500


@pytest.mark.parametrize(
    "scale",
    [1.0, 2.5, torch.tensor([0.5, 0.0, 4.0], dtype=F64)],
    ids=["1", "2.5", "by row"],
)
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 2)], ids=["points", "pictures"])
def test_classifier_guided_equals_finite_differences(shape, scale):
    x, t, y, h = (
        normal(*shape),
        torch.tensor([4, 80, 900]),
        torch.tensor([2, 0, 1]),
        1e-5,
    )
    got = classifier_guided(made_up, opinion, y, scale, LINEAR)(x, t)
    said, abar = made_up(x, t), products(LINEAR.beta)
    assert got.shape == shape
    for row, place in itertools.product(range(3), range(x[0].numel())):
        one, bump = slice(row, row + 1), torch.zeros(x[0].numel(), dtype=F64)
        bump[place] = h
        ahead, behind = (
            opinion(x[one] + sign * bump.view(1, *shape[1:]), t[one], y[one]).item()
            for sign in (1, -1)
        )
        factor = (
            scale[row].item() if isinstance(scale, torch.Tensor) else scale
        ) * math.sqrt(1 - abar[t[row]])
        expected = said[row].flatten()[place].item() - factor * (ahead - behind) / (
            2 * h
        )
        assert got[row].flatten()[place].item() == pytest.approx(
            expected, rel=1e-7, abs=1e-7
        )


# three, two and one Gaussian
CENTRES, CLASSES = 1.5 * normal(6, 3, seed=7), torch.tensor([0, 2, 1, 0, 0, 1])
EXACT = MixtureNoise(CENTRES, 0.4, LINEAR, CLASSES)


def asked_at(schedule=LINEAR, centres=CENTRES, labels=CLASSES, std=0.4):
    """x_t of the mixture at every one of LEVELS with every label: (15, D), t and y."""
    t, y = (
        part.flatten()
        for part in torch.meshgrid(LEVELS, torch.arange(3), indexing="ij")
    )
    x0 = centres[torch.arange(15) % len(centres)] + std * normal(15, 3, seed=1)
    return q_sample(x0, schedule.abar[t], normal(15, 3, seed=2)), t, y


def test_classifier_guided_by_the_exact_classifier_gives_the_class_noise():
    """Bayes: grad log p(x_t given y) = grad log p(x_t) + grad log p(y given x_t)."""
    x_t, t, y = asked_at()
    told, untold = EXACT(x_t, t, y), EXACT(x_t, t)
    assert (told - untold).abs().max() > 0.5
    close(
        classifier_guided(EXACT, EXACT.log_prob, y, 1.0, LINEAR)(x_t, t),
        told,
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "w",
    [0.0, 0.7, 3.0, torch.linspace(0, 5, 15, dtype=F64)],
    ids=["0", "0.7", "3", "by row"],
)
def test_classifier_guided_equals_guided_with_exact_scores(w):
    x_t, t, y = asked_at()
    free = guided(EXACT, y, w)(x_t, t)
    close(
        classifier_guided(EXACT, EXACT.log_prob, y, 1 + w, LINEAR)(x_t, t),
        free,
        rtol=1e-8,
        atol=1e-8,
    )
    conditional = guided(EXACT, y, 0)
    close(
        classifier_guided(conditional, EXACT.log_prob, y, w, LINEAR)(x_t, t),
        free,
        rtol=1e-8,
        atol=1e-8,
    )


@samplers
def test_classifier_guided_has_its_gradient_inside_a_sampler(sampler, options):
    exact = MixtureNoise(CENTRES, 0.4, QUICK, CLASSES)
    x, y, noises = normal(6, 3), torch.arange(6) % 3, normal(12, 6, 3, seed=1)

    def run(eps_fn):
        left = iter(noises)
        return last(sampler(eps_fn, x, QUICK, noise=lambda x: next(left), **options))

    close(
        run(classifier_guided(exact, exact.log_prob, y, 1.0, QUICK)),
        run(guided(exact, y, 0)),
        rtol=1e-6,
        atol=1e-6,
    )
    assert (run(exact) - run(guided(exact, y, 0))).abs().max() > 0.1


class Linear(nn.Module):
    """A classifier with weights: rows do not see each other."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(normal(3, 4))

    def forward(self, x_t, t, y):
        return (x_t.tanh() @ self.weights).log_softmax(1).gather(1, y[:, None])[:, 0]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_input_gradient_works_in_either_grad_mode_and_leaves_no_other_gradient(mode):
    classifier, x, t, y = (
        Linear(),
        normal(5, 3),
        torch.zeros(5, dtype=torch.long),
        torch.tensor([3, 1, 0, 2, 1]),
    )
    kept, leaf = x.clone(), x.clone().requires_grad_()
    with mode():
        before = torch.is_grad_enabled()
        gradient = input_gradient(classifier, x, t, y)
        again = input_gradient(classifier, leaf, t, y)
        assert torch.is_grad_enabled() == before
    assert not gradient.requires_grad and torch.equal(gradient, again)
    assert classifier.weights.grad is None and classifier.weights.requires_grad
    assert torch.equal(x, kept) and not x.requires_grad and leaf.grad is None
    # the chain rule by hand, row by row
    softened = (x.tanh() @ classifier.weights.detach()).softmax(1)
    for row, label in enumerate(y.tolist()):
        pull = (
            classifier.weights.detach()[:, label]
            - classifier.weights.detach() @ softened[row]
        )
        close(gradient[row], (1 - x[row].tanh().square()) * pull)


def test_input_gradient_restores_the_grad_mode_after_an_error():
    def broken(x_t, t, y):
        raise RuntimeError("broken")

    with torch.no_grad():
        with pytest.raises(RuntimeError, match="broken"):
            input_gradient(broken, normal(2, 3), torch.zeros(2), torch.zeros(2))
        assert not torch.is_grad_enabled()


# --- what guided sampling draws ---


def of_gaussian(mean, variance, schedule):
    """The exact noise of N(mean, variance I)."""

    def eps(x, t):
        abar = schedule.abar[t].to(x.dtype)[:, None]
        return (
            (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * variance + 1 - abar)
        )

    return eps


def either(told, untold):
    return lambda x, t, y=None: untold(x, t) if y is None else told(x, t)


def even_normal(n):
    """The quantiles of a standard normal in the middle of n equal parts."""
    return torch.tensor(
        [NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)], dtype=F64
    )


@pytest.mark.parametrize("w", [0, 1, 3])
def test_guided_samples_have_the_tilted_density_for_shifted_classes(w):
    """p = N(0, s2 I), p(. given y) = N(m, s2 I): p(. given y)^(1 + w) / p^w is N((1 +
    w) m, s2 I)."""
    mean, variance, n = torch.tensor([1.0, -0.4], dtype=F64), 0.3, 500
    eps = either(
        of_gaussian(mean, variance, COSINE), of_gaussian(0 * mean, variance, COSINE)
    )
    line = even_normal(n)
    x = torch.stack([line, line[torch.randperm(n, generator=seeded())]], 1)
    x = last(ddim(guided(eps, torch.zeros(n, dtype=torch.long), w), x, COSINE))
    for column, m in zip(x.T, mean.tolist()):
        assert column.mean().item() == pytest.approx((1 + w) * m, rel=1e-2)
        assert column.var().item() == pytest.approx(variance, rel=2e-2)
        assert (
            kstest(column.numpy(), "norm", ((1 + w) * m, math.sqrt(variance))).statistic
            < 0.01
        )


@pytest.mark.parametrize("w", [0, 1, 3])
def test_guided_samples_of_a_narrower_class_are_narrower_than_the_tilted_density(
    w,
):
    """p = N(0, 1), p(. given y) = N(0, c): d log x / dt is (1 + w) times that without
    guidance, so the variance that is drawn is c^(1 + w), and not the tilted density's c
    / (1 + w - w c). The map is linear: it takes 1 to the gain."""
    c = 0.5
    eps = either(of_gaussian(0.0, c, COSINE), of_gaussian(0.0, 1.0, COSINE))
    x, y = torch.tensor([[1.0], [-2.0]], dtype=F64), torch.zeros(2, dtype=torch.long)
    gain = last(ddim(guided(eps, y, w), x, COSINE))
    assert gain[1].item() == pytest.approx(-2 * gain[0].item(), rel=1e-9)
    assert gain[0].item() ** 2 == pytest.approx(c ** (1 + w), rel=0.02)
    tilted = c / (1 + w - w * c)
    assert w == 0 or gain[0].item() ** 2 < 0.8 * tilted


def test_a_narrower_gaussian_is_a_label_and_a_shifted_one_is_not():
    """p(x given y) p(y) <= p(x): the ratio of a label's density has a bound."""
    line, c = torch.linspace(-30, 30, 6001, dtype=F64), 0.5
    p = Normal(torch.zeros((), dtype=F64), 1.0)
    narrow = Normal(torch.zeros((), dtype=F64), math.sqrt(c)).log_prob(line)
    ratio = (narrow - p.log_prob(line)).exp()
    assert ratio.max().item() == pytest.approx(1 / math.sqrt(c))
    shifted = Normal(torch.ones((), dtype=F64), 1.0).log_prob(line)
    assert (shifted - p.log_prob(line)).max() > 29  # it grows without end


@pytest.mark.parametrize("w", [1, 3])
def test_the_variance_with_fresh_noise_solves_its_differential_equation(w):
    """dV/dr = 2 ((1 + w) / (c + r) - w / (1 + r)) V - 1, from a large r down to 0."""
    c, r = 0.5, 1e4
    variance = 1 + r

    def change(r, v):
        return 2 * ((1 + w) / (c + r) - w / (1 + r)) * v - 1

    for _ in range(4000):  # Runge-Kutta, in equal steps of log(r + 0.1)
        h = (r + 0.1) * (math.exp(-math.log(1e5) / 4000) - 1)
        h = max(h, -r)
        a = change(r, variance)
        b = change(r + h / 2, variance + h / 2 * a)
        d = change(r + h / 2, variance + h / 2 * b)
        e = change(r + h, variance + h * d)
        r, variance = r + h, variance + h / 6 * (a + 2 * b + 2 * d + e)
    closed = c / (1 - c) * (1 - c ** (2 * w + 1)) / (2 * w + 1)
    assert r < 1e-6 and variance == pytest.approx(closed, rel=2e-3)


def test_samples_of_two_labels_have_the_product_of_powers_as_variance():
    """Guided by labels N(0, c_m) with scales s_m, from N(0, 1): prod c_m^s_m, and not
    the tilted density's 1 / (1 + sum s_m (1 / c_m - 1))."""
    c, s = (0.5, 0.8), (2.0, 1.5)
    untold, *told = (of_gaussian(0.0, v, COSINE) for v in (1.0, *c))

    def eps(x, t):
        start = untold(x, t)
        return start + sum(a * (f(x, t) - start) for a, f in zip(s, told))

    gain = last(ddim(eps, torch.ones(1, 1, dtype=F64), COSINE)).item() ** 2
    assert gain == pytest.approx(c[0] ** s[0] * c[1] ** s[1], rel=0.02)
    assert gain < 0.8 / (1 + sum(a * (1 / b - 1) for a, b in zip(s, c)))


def test_a_classifier_guides_v_by_the_root_of_noise_to_signal():
    """The same guided noise, whether the model predicts eps or v."""
    eps, gradient, x_t, s, abar = *(normal(5, seed=k) for k in range(3)), 1.7, 0.3
    pushed = eps - s * math.sqrt(1 - abar) * gradient
    v, v_pushed = (
        math.sqrt(abar) * e
        - math.sqrt(1 - abar) * (x_t - math.sqrt(1 - abar) * e) / math.sqrt(abar)
        for e in (eps, pushed)
    )
    close(v_pushed, v - s * math.sqrt((1 - abar) / abar) * gradient, rtol=1e-10)


def test_guided_samples_move_from_the_other_class_and_narrow_with_the_weight():
    """Two Gaussians side by side: with the weight their samples move apart and each
    class spreads less."""
    exact = MixtureNoise(
        torch.tensor([[-1.0], [1.0]], dtype=F64), 0.7, QUICK, torch.tensor([0, 1])
    )
    x, y = even_normal(200)[:, None], torch.ones(200, dtype=torch.long)
    ends = [last(ddim(guided(exact, y, w), x, QUICK)) for w in (-1, 0, 1, 4)]
    means, stds = [e.mean().item() for e in ends], [e.std().item() for e in ends]
    assert (
        abs(means[0]) < 1e-9
        and means == sorted(means)
        and stds == sorted(stds, reverse=True)
    )


# --- the exact noise of a class ---


def in_noise(centres, std, abar):
    """p_t of a mixture, by torch."""
    spread = math.sqrt(abar * std**2 + 1 - abar) * torch.ones_like(centres)
    parts = Independent(Normal(math.sqrt(abar) * centres, spread), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(centres), dtype=F64)), parts)


stds = pytest.mark.parametrize("std", [0.0, 0.4])


@stds
def test_mixture_noise_of_a_class_is_that_of_its_gaussians_alone(std):
    x_t, t, y = asked_at(std=std)
    together, expected = MixtureNoise(CENTRES, std, LINEAR, CLASSES), []
    for row, label in enumerate(y.tolist()):
        alone = MixtureNoise(CENTRES[CLASSES == label], std, LINEAR)
        expected.append(alone(x_t[row, None], t[row, None]))
    close(together(x_t, t, y), torch.cat(expected), rtol=1e-10, atol=1e-10)
    without = MixtureNoise(CENTRES, std, LINEAR)
    assert torch.equal(together(x_t, t), without(x_t, t)) and not together.state_dict()


@stds
def test_mixture_noise_log_density_equals_torchs_and_its_gradient_the_noise(std):
    x_t, t, y = asked_at(std=std)
    exact, x_t, abar = (
        MixtureNoise(CENTRES, std, LINEAR, CLASSES),
        x_t.requires_grad_(),
        products(LINEAR.beta),
    )
    for told in (None, y):
        density = exact.log_density(x_t, t, told)
        for row in range(15):
            centres = CENTRES if told is None else CENTRES[CLASSES == y[row]]
            expected = in_noise(centres, std, abar[t[row]]).log_prob(x_t[row])
            close(density[row].detach(), expected.detach(), rtol=1e-8, atol=1e-7)
        (gradient,) = torch.autograd.grad(density.sum(), x_t)
        root = torch.tensor(
            [math.sqrt(1 - abar[step]) for step in t.tolist()], dtype=F64
        )[:, None]
        close(-root * gradient, exact(x_t, t, told).detach(), rtol=1e-8, atol=1e-8)


@stds
def test_mixture_noise_log_prob_is_the_class_posterior_by_bayes_rule(std):
    x_t, t, _ = asked_at(std=std)
    exact, abar = MixtureNoise(CENTRES, std, LINEAR, CLASSES), products(LINEAR.beta)
    found = torch.stack(
        [exact.log_prob(x_t, t, torch.full((15,), label)) for label in range(3)], 1
    )
    close(found.exp().sum(1), torch.ones(15), rtol=1e-12)
    for row in range(15):
        a = abar[t[row]]
        spread, joint = math.sqrt(a * std**2 + 1 - a), [0.0, 0.0, 0.0]
        # each Gaussian equally likely: 3, 2 and 1 of 6
        for centre, label in zip(CENTRES.tolist(), CLASSES.tolist()):
            bells = (
                NormalDist(math.sqrt(a) * m, spread).pdf(v)
                for m, v in zip(centre, x_t[row].tolist())
            )
            joint[label] += math.prod(bells) / 6
        for label in range(3):
            assert found[row, label].exp().item() == pytest.approx(
                joint[label] / sum(joint), rel=1e-7, abs=1e-12
            )
    # at the highest noise level the posterior is close to the prior
    close(found[-3:].exp(), torch.tensor([[3, 2, 1]] * 3) / 6, rtol=0.1)


# --- label dropout ---


@pytest.mark.parametrize(
    ("y", "null"),
    [
        (torch.tensor([3, 1, 4, 1]), torch.tensor(9)),
        (torch.tensor([[3, 1], [4, 1], [5, 9], [2, 6]]), torch.tensor([0, 0])),
        (torch.tensor([[3, 1], [4, 1], [5, 9], [2, 6]]), torch.tensor([7, 8])),
    ],
    ids=["labels", "captions", "any null"],
)
def test_with_dropout_replaces_dropped_rows_by_the_null_label_and_keeps_the_others(
    y, null
):
    kept = y.clone()
    for dropped in itertools.product([False, True], repeat=4):
        found = with_dropout(y, null, torch.tensor(dropped))
        expected = [
            null.tolist() if gone else row for gone, row in zip(dropped, y.tolist())
        ]
        assert (
            found.tolist() == expected
            and found.dtype == torch.long
            and torch.equal(y, kept)
        )


def test_with_dropout_rejects_dropped_that_is_not_boolean():
    with pytest.raises(
        ValueError, match="argument `dropped`: expected a tensor .bool. of shape .N."
    ):
        with_dropout(torch.zeros(3).long(), torch.tensor(1), torch.zeros(3))


def conditional(net=None, null=torch.tensor(10), betas=QUICK.beta, **options):
    return ConditionalDDPM(
        net or Recorder(), betas, null, **{"pictures": False, **options}
    )


@pytest.mark.parametrize("dropout", [0.1, 0.6])
def test_label_dropout_is_independent_of_row_label_and_step(dropout):
    torch.manual_seed(0)
    n = 20_000
    method, y = conditional(dropout=dropout), torch.arange(n) % 10
    method.loss(torch.zeros(n, 1), y)
    ((_, t, told),) = method.net.asked
    dropped = told == 10
    assert torch.equal(told[~dropped], y[~dropped])
    often(dropped, dropout)
    often(dropped.view(-1, 10), dropout)
    # neighbouring rows are independent
    often(dropped[1:] & dropped[:-1], dropout**2, errors=5)
    within(t[dropped], 5.5)  # nor does dropping of the step
    torch.manual_seed(1)
    method.loss(torch.zeros(n, 1), y)
    assert not torch.equal(method.net.asked.pop()[2], told)


@pytest.mark.parametrize(("dropout", "share"), [(0, 0), (0.0, 0), (1, 1), (1.0, 1)])
def test_label_dropout_0_drops_no_label_and_1_drops_all(dropout, share):
    method, y = conditional(dropout=dropout), torch.arange(5000) % 10
    method.loss(torch.zeros(5000, 1), y)
    assert (method.net.asked.pop()[2] == 10).float().mean() == share


def test_conditional_ddpm_loss_and_score_without_labels_pass_none():
    method = conditional(dropout=0.5)
    assert method.loss(torch.zeros(4, 1)).isfinite() and math.isfinite(
        method.pretext_score(torch.zeros(4, 1))
    )
    assert [y for _, _, y in method.net.asked] == [None, None]


def test_conditional_ddpm_rewords_labels_before_dropping_them():
    torch.manual_seed(0)
    y, asked = torch.arange(400).view(200, 2), []

    def reword(labels):
        asked.append(labels)
        return labels + 1000

    method = conditional(null=torch.tensor([0, 0]), dropout=0.3, reword=reword)
    method.loss(torch.zeros(200, 1), y)
    told = method.net.asked.pop()[2]
    dropped = (told == 0).all(1)
    assert 30 < dropped.sum() < 90 and torch.equal(told[~dropped], y[~dropped] + 1000)
    # all of them, unchanged
    assert len(asked) == 1 and torch.equal(asked[0], torch.arange(400).view(200, 2))
    torch.manual_seed(0)
    method.loss(torch.zeros(200, 1))
    assert len(asked) == 1


@pytest.mark.parametrize("prediction", [EPS, X0, V], ids=["eps", "x0", "v"])
@pytest.mark.parametrize("pictures", [False, True])
def test_conditional_ddpm_loss_equals_a_loop_for_eps_x0_and_v(prediction, pictures):
    """The noise is read off x_t, for the data are known."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 3, dtype=F64), torch.arange(8)
    method = conditional(prediction=prediction, pictures=pictures)
    loss = method.loss(x, y).item()
    ((x_t, t, _),) = method.net.asked
    said, errors = made_up(x_t, t), []
    for row, place in itertools.product(range(8), range(3)):
        abar = products(QUICK.beta)[t[row]]
        x0 = x[row, place].item() * 2 - 1 if pictures else x[row, place].item()
        eps = (x_t[row, place].item() - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        target = {
            EPS: eps,
            X0: x0,
            V: math.sqrt(abar) * eps - math.sqrt(1 - abar) * x0,
        }[prediction]
        errors.append((said[row, place].item() - target) ** 2)
    assert loss == pytest.approx(sum(errors) / 24, rel=1e-9)


def test_null_label_follows_the_device_and_is_not_in_state_dict():
    method = conditional(TimedMLP(2, 8, label=LabelEmbedding(10, 8)))
    assert not any("null" in key for key in method.state_dict())
    assert method.to("meta").null.device.type == "meta"


@pytest.mark.parametrize("dropout", [-0.1, 1.1, math.nan, "0.1", None])
def test_conditional_ddpm_rejects_a_dropout_that_is_no_probability(dropout):
    with pytest.raises(ValueError, match="argument `dropout`"):
        conditional(dropout=dropout)


# --- one network learns both ---

THREE = torch.tensor([[-1.2, 0.0], [1.0, 1.0], [0.8, -1.1]])


def three_gaussians(n=3000, std=0.3):
    y = torch.arange(n) % 3
    return Dataset(THREE[y] + std * normal(n, 2, seed=3, dtype=F32), y, ())


def noisy(data, schedule, n=1500):
    t = torch.randint(len(schedule) // 20, len(schedule), (n,), generator=seeded(4))
    return (
        q_sample(data.x[:n], schedule.abar[t], normal(n, 2, seed=5, dtype=F32)),
        t,
        data.y[:n],
    )


def test_conditional_ddpm_learns_the_noise_with_and_without_the_label():
    torch.manual_seed(0)
    net = TimedMLP(2, 64, label=LabelEmbedding(3, 64))
    method = conditional(
        net, torch.tensor(3), cosine_betas(50), dropout=0.5, momentum=0.99
    )
    data = three_gaussians()
    exact = MixtureNoise(THREE, 0.3, method.schedule, torch.arange(3))
    list(fit(method, data, 1000, batch_size=128, optimizers=adamw(6e-3, 0)))
    x_t, t, y = noisy(data, method.schedule)

    def off(said, right):
        """Squared error, in units of the right answer's square."""
        return ((said - right).square().sum() / right.square().sum()).item()

    told, untold, method = exact(x_t, t, y), exact(x_t, t), method.eval()
    assert (
        off(method.eps(x_t, t, y), told) < 0.03
        and off(method.eps(x_t, t), untold) < 0.05
    )
    assert (
        off(method.eps(x_t, t), told) > 0.08
        and off(method.eps(x_t, t, y), untold) > 0.08
    )
    assert torch.equal(method.eps(x_t, t, torch.full_like(y, 3)), method.eps(x_t, t))
    close(
        guided(method.eps, y, 1.0)(x_t, t),
        2 * method.eps(x_t, t, y) - method.eps(x_t, t),
        1e-4,
        1e-4,
    )


def unet_of_labels():
    return (
        UNet(1, (8, 16), label=LabelEmbedding(5, 16)),
        torch.tensor(5),
        torch.arange(8) % 5,
        torch.rand(8, 1, 8, 8),
    )


def unet_of_captions():
    label, y = (
        TextTransformer(12, 4, 16, depth=1, heads=2),
        torch.randint(0, 12, (8, 4)),
    )
    return (
        UNet(1, (8, 16), label=label),
        torch.zeros(4, dtype=torch.long),
        y,
        torch.rand(8, 1, 8, 8),
    )


def points_of_labels():
    return (
        TimedMLP(2, 16, label=LabelEmbedding(5, 16)),
        torch.tensor(5),
        torch.arange(8) % 5,
        torch.randn(8, 2),
    )


@pytest.mark.parametrize("make", [unet_of_labels, unet_of_captions, points_of_labels])
def test_null_label_equals_no_label_before_and_after_training(make):
    torch.manual_seed(0)
    net, null, y, x = make()
    method = ConditionalDDPM(net, linear_betas(50), null, dropout=0.5, momentum=0.5)
    optimizer, t = (
        torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.3),
        torch.arange(8) * 6,
    )
    nulls = null.expand(y.shape)

    def silent():
        for mode in (True, False):  # the network, then its moving average
            said = method.train(mode).eps(x, t)
            assert torch.equal(method.eps(x, t, nulls), said) and said.isfinite().all()
            half = with_dropout(y, null, torch.arange(8) < 4)
            close(
                method.eps(x, t, half)[:4].detach(),
                said[:4].detach(),
                rtol=1e-5,
                atol=1e-5,
            )

    silent()
    for _ in range(8):
        optimizer.zero_grad()
        method.train().loss(x, y).backward()
        optimizer.step()
        method.after_step()
    silent()
    for mode in (True, False):
        # a label changes the output
        assert (method.train(mode).eps(x, t, y) - method.eps(x, t)).abs().max() > 1e-4


def test_label_embedding_of_the_null_label_is_zero_with_zero_gradient():
    torch.manual_seed(0)
    label, y = LabelEmbedding(5, 4), torch.tensor([0, 4, 5, 2])
    found = label(y)
    assert (
        found.shape == (4, 4)
        and torch.equal(found[2], torch.zeros(4))
        and found[[0, 1, 3]].abs().min() > 0
    )
    found.square().sum().backward()
    assert (
        label.weight.grad[5].abs().max() == 0 < label.weight.grad[[0, 2, 4]].abs().min()
    )


# --- captions as vectors ---


def text(length=6, seed=0, spread=0.4, **options):
    """With weights as training might leave them: attention far from uniform, nothing at
    zero."""
    torch.manual_seed(seed)
    net = TextTransformer(20, length, **{"dim": 16, "depth": 2, "heads": 4, **options})
    with torch.no_grad():
        for p in net.parameters():
            p.add_(spread * torch.randn_like(p))
    return net.eval()


ROWS = torch.tensor(
    [
        [3, 1, 4, 0, 0, 0],
        [5, 9, 2, 6, 5, 3],
        [0, 7, 0, 0, 8, 0],
        [11, 0, 0, 0, 0, 0],
        [0] * 6,
    ]
)


@pytest.mark.parametrize("depth", [1, 3])
def test_text_transformer_averages_over_the_words_without_empty_places(depth):
    """Only the words that are there, with the positions they have, through the blocks
    without a mask."""
    net = text(depth=depth)
    found = net(ROWS)
    assert found.shape == (5, 16)
    for row, vector in zip(ROWS[:4], found):
        places = row.nonzero().flatten()
        x = (net.words.weight[row[places]] + net.positions[places])[None]
        for block in net.blocks:
            x = block(x)
        torch.testing.assert_close(
            vector, net.out(net.norm(x)[0].mean(0)), rtol=1e-4, atol=1e-5
        )


def test_text_transformer_ignores_trailing_empty_places_and_other_rows():
    net, short = text(), ROWS[:1, :3]
    for length in (4, 5, 6):
        longer = torch.nn.functional.pad(short, (0, length - 3))
        torch.testing.assert_close(net(longer), net(short), rtol=1e-5, atol=1e-6)
    # the other rows do not matter either
    torch.testing.assert_close(net(ROWS)[[3]], net(ROWS[3:4]), rtol=1e-5, atol=1e-6)


def test_text_transformer_depends_on_every_word_and_their_order():
    net = text()
    plain = net(torch.tensor([[3, 1, 4]]))
    for other in ([[1, 3, 4]], [[4, 1, 3]], [[3, 1, 5]], [[2, 1, 4]], [[3, 1, 0]]):
        assert (net(torch.tensor(other)) - plain).abs().max() > 1e-2


def test_text_transformer_gives_zeros_for_empty_captions_and_before_training():
    torch.manual_seed(0)
    assert torch.equal(TextTransformer(20, 6, 16, 2, 4)(ROWS), torch.zeros(5, 16))
    assert (
        torch.equal(text()(ROWS)[4], torch.zeros(16))
        and text()(ROWS)[:4].abs().amax(1).min() > 1e-2
    )
    assert torch.equal(text()(torch.zeros(3, 6, dtype=torch.long)), torch.zeros(3, 16))


def test_text_transformer_gradient_reaches_every_weight_and_is_finite_if_empty():
    for rows in (ROWS, ROWS[4:]):
        net = text().train()
        (net(rows) - torch.arange(16.0)).square().sum().backward()
        for name, p in net.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all(), name
            assert (p.grad.abs().sum() > 0) == (len(rows) > 1), name
        reached = net.words.weight.grad.abs().sum(1).nonzero().flatten()
        assert reached.tolist() == [word for word in rows.unique().tolist() if word]
    net = TextTransformer(20, 6, 16, 2, 4)
    net(ROWS).sub(1).square().sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad.abs().sum() > 0} == {
        "out.weight"
    }


@pytest.mark.parametrize(
    "rows", [torch.zeros(2, 6), torch.zeros(6, dtype=torch.long), None]
)
def test_text_transformer_names_the_bad_argument(rows):
    with pytest.raises(ValueError, match="argument `tokens`: expected"):
        text()(rows)


# --- captions of the emoji ---


@pytest.fixture(scope="module")
def emoji():
    return {split: load("emoji", split) for split in SPLITS}


def plain(name):
    """A name's words in plain letters, each once: "réunion flag" -> reunion, flag."""
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)
    )
    return list(dict.fromkeys(re.findall("[a-z0-9]+", letters.lower())))


@pytest.fixture(scope="module")
def trained_words(emoji):
    """The words of the training emoji's names; what no vocabulary holds (with, of) is
    no word."""
    names = emoji_names()
    found = {
        word
        for e in emoji["train"].info["emoji"].unique().tolist()
        for word in plain(names[e])
    }
    return found & set(vocabulary())


def test_token_names_are_empty_then_styles_categories_and_sorted_words(
    emoji, trained_words
):
    names, categories = token_names(), emoji["train"].classes
    assert (
        names[0] == ""
        and names[1:4] == STYLES
        and names[4:FIRST_WORD] == categories
        and len(categories) == 9
    )
    assert list(names[FIRST_WORD:]) == sorted(trained_words)
    assert len(set(names)) == len(names) and FIRST_WORD == 13 and LENGTH == 2 + PLACES


def test_tokens_are_style_category_and_words_padded_with_zeros():
    names = token_names()
    row = tokens("Red, APPLE!", style="twemoji", category="Food & Drink")
    assert row.dtype == torch.long and row.shape == (LENGTH,)
    assert [names[token] for token in row.tolist()] == [
        "twemoji",
        "Food & Drink",
        "red",
        "apple",
        *[""] * 7,
    ]
    assert tokens().tolist() == LENGTH * [0]
    assert tokens(style="noto").tolist() == [1, *[0] * 10]
    assert tokens(category="Activities").tolist() == [0, 4, *[0] * 9]
    assert (
        tokens("apple red")[2:4].tolist() == tokens("red apple")[2:4].flip(0).tolist()
    )
    many = token_names()[FIRST_WORD : FIRST_WORD + PLACES]
    assert len(tokens(" ".join(many)).nonzero()) == PLACES
    assert tokens("a red, red apple with the apple").equal(tokens("red apple"))


def test_unknown_lists_words_that_no_training_emoji_has(trained_words):
    strange = sorted(set(vocabulary()) - trained_words)
    assert strange and unknown(
        f"red {strange[0]} apple {strange[-1]} gobbledygook"
    ) == [strange[0], strange[-1], "gobbledygook"]
    assert unknown(" ".join(sorted(trained_words))) == [] == unknown("")
    # styles are no words
    assert unknown("noto twemoji openmoji") == ["noto", "twemoji", "openmoji"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("red gobbledygook flubber",),
            "`caption`: expected words of .* got gobbledygook, flubber",
        ),
        (
            (" ".join(token_names()[-10:]),),
            "`caption`: expected at most 9 words, got 10",
        ),
        (
            ("red", "apple"),
            "`style`: expected one of noto, twemoji, openmoji, or nothing, got 'apple'",
        ),
        (("red", "Noto"), "`style`: expected one of noto.* got 'Noto'"),
        (("red", "Activities"), "`style`: expected one of .* got 'Activities'"),
        (
            ("red", "noto", "Fruit"),
            "`category`: expected one of Activities, .*Travel & Places, or nothing, "
            "got 'Fruit'",
        ),
        (("red", "", "noto"), "`category`: expected one of .* got 'noto'"),
    ],
)
def test_tokens_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=f"argument {message}"):
        tokens(*arguments)


@pytest.mark.parametrize("split", SPLITS)
def test_captions_are_style_category_and_the_words_of_the_name(
    emoji, trained_words, split
):
    data, names, of_emoji = emoji[split], token_names(), emoji_names()
    found = captions(data)
    assert found.shape == (len(data), LENGTH) and found.dtype == torch.long
    columns = (data.info[key].tolist() for key in ("emoji", "style", "category"))
    for row, e, style, category in zip(found.tolist(), *columns, strict=True):
        words = [word for word in plain(of_emoji[e]) if word in trained_words]
        expected = [STYLES[style], data.classes[category], *words]
        assert [names[token] for token in row] == expected + [""] * (
            LENGTH - len(expected)
        ), of_emoji[e]
    longest = (found[:, 2:] > 0).sum(1)
    assert split != "train" or (longest.min() >= 1 and longest.max() == PLACES)
    row = next(
        i for i, e in enumerate(data.info["emoji"].tolist()) if not unknown(of_emoji[e])
    )
    said = tokens(
        of_emoji[data.info["emoji"][row]],
        STYLES[data.info["style"][row]],
        data.classes[data.y[row]],
    )
    assert torch.equal(said, found[row])


def test_captions_of_selected_rows_are_the_selected_captions(emoji):
    order = torch.randperm(len(emoji["train"]), generator=seeded())[:300]
    assert torch.equal(captions(emoji["train"][order]), captions(emoji["train"])[order])


def test_withheld_marks_one_style_of_every_tenth_emoji_in_turn(emoji):
    for data in emoji.values():
        rows, e, style = withheld(data), data.info["emoji"], data.info["style"]
        # 0 noto, 10 twemoji, 20 openmoji
        expected = {k: STYLES[(k // 10) % 3] for k in e.tolist() if k % 10 == 0}
        assert rows.dtype == torch.bool and rows.sum() == len(expected)
        assert {
            k: STYLES[s] for k, s in zip(e[rows].tolist(), style[rows].tolist())
        } == expected
    counts = (
        emoji["train"].info["style"][withheld(emoji["train"])].bincount(minlength=3)
    )
    assert counts.sum() == 137 and counts.min() > 35


def test_captioned_keeps_the_rows_not_withheld_with_their_captions(emoji):
    data = emoji["train"]
    kept, rows = captioned(data), (~withheld(data)).nonzero().flatten()
    assert len(kept) == len(rows) == len(data) - 137 and not withheld(kept).any()
    assert torch.equal(kept.x, data.x[rows]) and torch.equal(
        kept.y, captions(data)[rows]
    )
    assert (
        all(torch.equal(kept.info[key], data.info[key][rows]) for key in data.info)
        and kept.classes == ()
    )
    assert data.y.ndim == 1  # what it came from is as it was


def test_every_token_occurs_in_the_captioned_training_rows(emoji):
    assert captioned(emoji["train"]).y.unique().tolist() == list(
        range(len(token_names()))
    )


def test_shortened_drops_each_part_independently_with_its_probability():
    torch.manual_seed(0)
    n, row = 20_000, torch.tensor([2, 7, 20, 30, 40, 0, 0])
    rows = row.repeat(n, 1)
    found = shortened(rows, style=0.2, category=0.35, name=0.3, word=0.15)
    assert torch.equal(rows, row.repeat(n, 1)) and found.dtype == torch.long
    # each token stays in its place or becomes 0
    assert ((found == 0) | (found == row)).all() and found[:, 5:].abs().max() == 0
    gone = found[:, :5] == 0
    often(gone[:, 0], 0.2)
    often(gone[:, 1], 0.35)
    often(gone[:, 2:], 1 - 0.7 * 0.85)
    often(gone[:, 2:].all(1), 0.3 + 0.7 * 0.15**3)
    often(gone[:, 2] & gone[:, 3] & ~gone[:, 4], 0.7 * 0.15**2 * 0.85)
    often(gone[:, 0] & gone[:, 1], 0.2 * 0.35)  # parts do not know of each other
    often(gone[:, 0] & gone[:, 2:].all(1), 0.2 * (0.3 + 0.7 * 0.15**3))
    for column in (gone[:, 0], gone[:, 2:].all(1), gone[:, 3]):  # nor do rows
        share = column.double().mean().item()
        often(column[1:] & column[:-1], share**2, errors=5)


@pytest.mark.parametrize(
    ("part", "places"),
    [("style", [0]), ("category", [1]), ("name", [2, 3]), ("word", [2, 3])],
)
def test_shortened_with_probability_1_drops_that_part_only(part, places):
    rows = torch.randint(1, 50, (500, 4), generator=seeded())
    found = shortened(rows, **{**dict(style=0, category=0, name=0, word=0), part: 1})
    gone = torch.zeros(4, dtype=torch.bool).index_fill(0, torch.tensor(places), True)
    assert (found[:, gone] == 0).all() and torch.equal(found[:, ~gone], rows[:, ~gone])


def test_shortened_has_its_default_probabilities_and_rejects_one_row():
    torch.manual_seed(0)
    gone = shortened(torch.ones(20_000, LENGTH, dtype=torch.long)) == 0
    often(gone[:, :2], 0.3)
    often(gone[:, 2:], 1 - 0.7 * 0.9, errors=5)
    with pytest.raises(ValueError, match="argument `rows`: expected"):
        shortened(torch.ones(LENGTH, dtype=torch.long))


# --- the classifier of noisy points ---


class Features(nn.Module):
    """An encoder of points that reads the step, and keeps what it was asked."""

    def __init__(self, dim=2, hidden=32):
        super().__init__()
        self.net, self.hidden, self.asked = (
            mlp(dim + hidden, hidden, hidden, norm=None),
            hidden,
            [],
        )

    def features(self, x, t):
        self.asked.append((x, t))
        return self.net(torch.cat([x, time_embedding(t, self.hidden)], 1)).relu()


def noisy_classifier(classes=3, betas=QUICK.beta, pictures=False, dim=2):
    torch.manual_seed(0)
    return NoisyClassifier(Features(dim), nn.Linear(32, classes), betas, pictures)


@pytest.mark.parametrize("pictures", [False, True])
def test_noisy_classifier_loss_equals_cross_entropy_by_a_loop(pictures):
    method, x, y = (
        noisy_classifier(pictures=pictures),
        torch.rand(7, 2),
        torch.arange(7) % 3,
    )
    torch.manual_seed(3)
    loss = method.loss(x, y).item()
    (x_t, t), terms = method.encoder.asked.pop(), []
    for row, label in enumerate(y.tolist()):
        logits = method.classifier(
            method.encoder.features(x_t[row, None], t[row, None])
        )[0].tolist()
        terms.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    assert loss == pytest.approx(sum(terms) / 7, rel=1e-5)
    torch.manual_seed(3)
    assert method.loss(x, y).item() == loss


def test_noisy_classifier_draws_steps_uniformly_and_standard_normal_noise():
    torch.manual_seed(0)
    method, n = noisy_classifier(), 24_000
    for pictures, value in ((False, 0.7), (True, 2 * 0.7 - 1)):
        method.pictures = pictures
        x_t, t = method.noised(torch.full((n, 2), 0.7))
        assert t.dtype == torch.long and (
            t.bincount(minlength=12) - n / 12
        ).abs().max() < 5 * math.sqrt(n / 12)
        abar = torch.tensor(products(QUICK.beta))[t][:, None]
        eps = (x_t - abar.sqrt() * value) / (1 - abar).sqrt()
        within(eps, 0.0)
        within(eps.square(), 1.0)
        within(eps.prod(1), 0.0)


def test_noisy_classifier_log_prob_is_the_log_of_probabilities_that_sum_to_1():
    method, x_t, t = (
        noisy_classifier(),
        3 * normal(5, 2, dtype=F32),
        torch.tensor([0, 3, 5, 8, 11]),
    )
    found = torch.stack(
        [method.log_prob(x_t, t, torch.full((5,), label)) for label in range(3)], 1
    )
    assert found.shape == (5, 3)
    close(found.exp().sum(1), torch.ones(5), rtol=1e-5)
    logits = method.logits(x_t, t)
    assert logits.shape == (5, 3)
    close(
        found[:, 1:] - found[:, :1], logits[:, 1:] - logits[:, :1], rtol=1e-4, atol=1e-5
    )
    y = torch.tensor([2, 0, 1, 1, 2])
    assert torch.equal(method.log_prob(x_t, t, y), found[torch.arange(5), y])


def test_noisy_classifier_encode_uses_the_picture_without_noise_at_step_0():
    method, x = noisy_classifier(pictures=True), torch.rand(4, 2)
    assert torch.equal(
        method.encode(x),
        method.encoder.features(2 * x - 1, torch.zeros(4, dtype=torch.long)),
    )


def test_noisy_classifier_gradient_reaches_every_weight_and_the_input():
    torch.manual_seed(0)
    method = NoisyClassifier(
        UNetEncoder(1, (8, 16)), nn.Linear(16, 3), linear_betas(50)
    )
    x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    # blocks begin as their shortcuts, which hides the gradient of what is in them
    for _ in range(4):
        method.zero_grad()
        method.loss(x, y).backward()
        for p in method.parameters():
            p.data -= 0.3 * p.grad
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
    x_t, t = method.noised(x)
    gradient = input_gradient(method.log_prob, x_t, t, y)
    assert gradient.shape == x.shape and gradient.abs().amax((1, 2, 3)).min() > 0


def test_noisy_classifier_training_approaches_the_exact_classifier():
    schedule, data = Schedule(cosine_betas(50)), three_gaussians(std=0.5)
    method = noisy_classifier(betas=schedule.beta)
    exact = MixtureNoise(THREE, 0.5, schedule, torch.arange(3))
    list(fit(method, data, 500, batch_size=128, optimizers=adamw(6e-3, 0)))
    method.encoder.asked.clear()
    x_t, t, y = noisy(data, schedule)
    ours, right = method.log_prob(x_t, t, y).detach(), exact.log_prob(x_t, t, y)
    assert (ours.exp() - right.exp()).abs().mean() < 0.05
    assert -ours.mean() < 1.1 * -right.mean() < 0.9 * math.log(3)
    found = classifier_guided(exact, method.log_prob, y, 1.0, schedule)(x_t, t)
    told, untold = exact(x_t, t, y), exact(x_t, t)
    assert (found - told).square().mean() < 0.25 * (untold - told).square().mean()
    assert all(p.grad is None for p in method.parameters())


def test_resumed_conditional_ddpm_training_ends_with_the_same_weights(tmp_path):
    def run(stop=None, seed=0, **options):
        torch.manual_seed(seed)
        method = conditional(
            TimedMLP(2, 16, label=LabelEmbedding(3, 16)), torch.tensor(3), dropout=0.5
        )
        for step in fit(
            method,
            three_gaussians(96),
            6,
            batch_size=16,
            optimizers=adamw(1e-2),
            **options,
        ):
            if step.k == stop:
                break
        return method

    whole = run()
    run(3, checkpoint=tmp_path / "run.pt")
    resumed = run(seed=1, checkpoint=tmp_path / "run.pt")
    assert same(whole.state_dict(), resumed.state_dict()) and not same(
        state_of(whole.net), state_of(run(3).net)
    )


# --- values that were accepted in silence, or failed inside torch ---


@pytest.mark.parametrize("weights", [[0.0, math.nan], [-2.0, 1.0], [1.0, math.inf]])
def test_guidance_rejects_a_weight_of_a_row_that_is_no_number_in_range(weights):
    y, w = torch.zeros(2, dtype=torch.long), torch.tensor(weights)
    with pytest.raises(ValueError, match=r"`w`: expected numbers in \[-1, .*, got"):
        guided(made_up, y, w)
    with pytest.raises(ValueError, match=r"`scale`: expected numbers in \[-1, .*, got"):
        classifier_guided(made_up, opinion, y, w, LINEAR)


@pytest.mark.parametrize("y", [[6, 0], [-1, 2]])
def test_label_embedding_and_text_name_a_number_out_of_range(y):
    with pytest.raises(ValueError, match="`y`: expected numbers from 0 to 5, got"):
        LabelEmbedding(5, 4)(torch.tensor(y))
    with pytest.raises(
        ValueError, match="`tokens`: expected numbers from 0 to 19, got"
    ):
        text()(4 * torch.tensor([y]))


def test_noisy_classifier_and_mixture_name_a_label_that_they_do_not_have():
    method, x, t = noisy_classifier(), torch.rand(2, 2), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="`y`: expected 2 labels, one for each row"):
        method.log_prob(x, t, torch.tensor([1]))
    with pytest.raises(
        ValueError, match="`y`: expected numbers from 0 to 2, got 0 to 3"
    ):
        method.log_prob(x, t, torch.tensor([0, 3]))
    with pytest.raises(
        ValueError, match=r"`y`: expected only \[0, 1, 2\], got \[1, 7\]"
    ):
        EXACT(torch.zeros(2, 3), t, torch.tensor([1, 7]))


@pytest.mark.parametrize("name", ["style", "category", "name", "word"])
@pytest.mark.parametrize("p", [math.nan, -0.1, 1.5, None])
def test_shortened_rejects_what_is_no_probability(name, p):
    with pytest.raises(ValueError, match=f"`{name}`: expected a number in .0, 1.*got"):
        shortened(ROWS, **{name: p})


def test_the_shipped_classifiers_gradient_is_largest_at_large_noise_but_not_at_its_end():
    classifier, digits = zoo.load("noisy-classifier"), load("digits", "test")[:24]
    norms = []
    for level in (50, 400, 800, 999):
        x_t = q_sample(
            2 * as_float(digits.x) - 1,
            classifier.schedule.abar[level].item(),
            normal(24, 1, 28, 28, dtype=F32),
        )
        t = torch.full((24,), level)
        gradient = input_gradient(classifier.log_prob, x_t, t, digits.y)
        norms.append(gradient.flatten(1).norm(dim=1).mean().item())
    assert norms[0] < norms[1] < norms[3] < norms[2]


def test_dog_is_a_word_of_four_training_names_and_pizza_of_one():
    train = load("emoji_on_white", "train").info["emoji"].unique().tolist()
    names = [words_of(emoji_names()[e]) for e in train]
    assert [sum(word in name for name in names) for word in ("dog", "pizza")] == [4, 1]
