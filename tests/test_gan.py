"""Adversarial methods: the losses of both players, their networks, and the turns of
each method.

The oracles are plain Python loops, losses and distances of torch and scipy, finite
differences and rejection sampling. Some games have a known optimum: D* = p / (p + q),
and a critic whose slope has a closed form.
"""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods import normal, same, seeded, state_of, two_processes
from scipy.integrate import quad
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, kstest, truncnorm, wasserstein_distance
from torch import nn
from torch.distributions import Normal
from torchvision.transforms.v2.functional import rgb_to_grayscale

from course_lib.data import Dataset
from course_lib.evaluate import mode_coverage
from course_lib.gan.bigan import BiGAN, PairDiscriminator
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
    critic_generator_loss,
    critic_loss,
    discriminator_loss,
    jensen_shannon,
    non_saturating_loss,
    optimal_logit,
    saturating_loss,
)
from course_lib.gan.gan import GAN
from course_lib.gan.painting import (
    AdversarialPainting,
    fill_colour,
    fill_hole,
    hide_colour,
)
from course_lib.gan.progressive import (
    GrowingDiscriminator,
    GrowingGenerator,
    ProgressiveGAN,
    blend,
    fade_in,
)
from course_lib.gan.wgan import WGAN, GradientPenalty, gradient_penalty
from course_lib.nets.conv import Decoder
from course_lib.nets.dcgan import (
    Discriminator,
    Generator,
    Stage,
    down,
    normal_weights,
    pooled,
    up,
)
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.optim import adamw, sgd
from course_lib.pretext.context_encoder import hide_square
from course_lib.train import fit

F64 = torch.float64


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed))


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def as_loops(game):
    """Each player's loss as its paper writes it, of lists of outputs."""
    if game is WASSERSTEIN:
        return lambda real, fake: mean(fake) - mean(real), lambda fake: -mean(fake)

    def discriminator(real, fake):
        return -mean(math.log(sigmoid(a)) for a in real) - mean(
            math.log(1 - sigmoid(a)) for a in fake
        )

    if game is MINIMAX:
        return discriminator, lambda fake: mean(math.log(1 - sigmoid(a)) for a in fake)
    return discriminator, lambda fake: -mean(math.log(sigmoid(a)) for a in fake)


GAMES = {
    "minimax": MINIMAX,
    "non-saturating": NON_SATURATING,
    "wasserstein": WASSERSTEIN,
}
games = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def plain(p):
    return 1.0


class Score(nn.Sequential):
    """Any network with one output, (N, 1), as a discriminator: (N,)."""

    def forward(self, x):
        return super().forward(x).squeeze(1)

    def features(self, x):
        return self[0](x)


def gan(kind=GAN, seed=0, **options):
    """Points of the plane out of noise of three numbers."""
    torch.manual_seed(seed)
    generator = mlp(3, 8, 2, norm=None)
    return kind(
        generator, Score(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), 3, **options
    )


def points(n=32, seed=0, dim=2):
    return Dataset(
        normal(n, dim, seed=seed, dtype=torch.float32), torch.arange(n) % 5, ()
    )


def pictures(n=16, side=16, channels=3, seed=0):
    return Dataset(uniform(n, channels, side, side, seed=seed), torch.arange(n) % 5, ())


def give(method, *noises):
    """The next noises that the method draws are these."""
    left = iter(noises)
    method.noise = lambda n: next(left)


def gradients(loss, module):
    """For each parameter of the module whether the loss moves it."""
    found = torch.autograd.grad(
        loss, list(module.parameters()), allow_unused=True, retain_graph=True
    )
    return [g is not None and bool((g != 0).any()) for g in found]


# --- what the players minimise ---


@games
def test_game_losses_equal_loops_over_the_papers_formulas(game):
    real, fake = 3 * normal(7), 3 * normal(5, seed=1)
    theirs, ours = as_loops(game)
    assert game.discriminator(real, fake).item() == pytest.approx(
        theirs(real.tolist(), fake.tolist()), rel=1e-12
    )
    assert game.generator(fake).item() == pytest.approx(ours(fake.tolist()), rel=1e-12)
    assert game.discriminator(real, fake).shape == game.generator(fake).shape == ()


def test_logit_losses_equal_torchs_binary_cross_entropy():
    real, fake = 3 * normal(7), 3 * normal(5, seed=1)
    bce, ones = F.binary_cross_entropy_with_logits, torch.ones_like
    expected = bce(real, ones(real)) + bce(fake, 0 * fake)
    torch.testing.assert_close(discriminator_loss(real, fake), expected)
    torch.testing.assert_close(saturating_loss(fake), -bce(fake, 0 * fake))
    torch.testing.assert_close(non_saturating_loss(fake), bce(fake, ones(fake)))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_logit_losses_and_gradients_are_finite_at_extreme_logits(dtype):
    real = torch.tensor([1000.0, -1000.0], dtype=dtype, requires_grad=True)
    fake = torch.tensor([1000.0, -1000.0, 0.0], dtype=dtype, requires_grad=True)
    found = [
        discriminator_loss(real, fake),
        saturating_loss(fake),
        non_saturating_loss(fake),
    ]
    third = (1000 + math.log(2)) / 3
    assert [loss.item() for loss in found] == pytest.approx(
        [500 + third, -third, third]
    )
    for loss in found:
        slopes = torch.autograd.grad(loss, (real, fake), allow_unused=True)
        assert all(slope is None or slope.isfinite().all() for slope in slopes)
    assert not fake.sigmoid().log().isfinite().all()  # where others break


def test_saturating_and_non_saturating_loss_gradients_equal_their_formulas():
    fake = torch.tensor([-30.0, -3.0, 0.0, 2.0, 30.0], dtype=F64, requires_grad=True)
    d = [sigmoid(a) for a in fake.tolist()]
    (saturating,) = torch.autograd.grad(saturating_loss(fake), fake)
    (non_saturating,) = torch.autograd.grad(non_saturating_loss(fake), fake)
    assert saturating.tolist() == pytest.approx([-p / 5 for p in d], rel=1e-9)
    assert non_saturating.tolist() == pytest.approx([-(1 - p) / 5 for p in d], rel=1e-3)
    # a discriminator that recognises the fake
    assert abs(saturating[0]) < 1e-12 < 0.19 < abs(non_saturating[0])
    real = fake.detach()[:4].requires_grad_()
    by_real, by_fake = torch.autograd.grad(discriminator_loss(real, fake), (real, fake))
    assert by_real.tolist() == pytest.approx([-(1 - p) / 4 for p in d[:4]], rel=1e-9)
    assert by_fake.tolist() == pytest.approx([p / 5 for p in d], rel=1e-9)
    by_real, by_fake = torch.autograd.grad(critic_loss(real, fake), (real, fake))
    assert by_real.tolist() == [-0.25] * 4 and by_fake.tolist() == [0.2] * 5
    assert (
        torch.autograd.grad(critic_generator_loss(fake), fake)[0].tolist() == [-0.2] * 5
    )


def test_discriminator_loss_of_zero_logits_is_log_4():
    nothing = torch.zeros(6, dtype=F64)
    assert discriminator_loss(nothing, nothing[:3]).item() == pytest.approx(
        math.log(4), rel=1e-12
    )
    assert non_saturating_loss(nothing).item() == pytest.approx(math.log(2), rel=1e-12)
    assert saturating_loss(nothing).item() == pytest.approx(-math.log(2), rel=1e-12)
    assert critic_loss(nothing + 7, nothing + 7) == 0


@pytest.mark.parametrize("game", [MINIMAX, WASSERSTEIN], ids=["minimax", "wasserstein"])
def test_minimax_and_wasserstein_losses_sum_to_a_constant_over_fakes(game):
    real, fakes = normal(6), [normal(5, seed=k) for k in (1, 2, 3)]
    totals = [
        (game.discriminator(real, fake) + game.generator(fake)).item() for fake in fakes
    ]
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-12)


def test_game_losses_and_gradient_penalty_are_float32_under_autocast():
    real, fake = normal(6, dtype=torch.bfloat16), normal(5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        for game in GAMES.values():
            assert (
                game.discriminator(real, fake).dtype
                == game.generator(fake).dtype
                == torch.float32
            )
        wide = torch.randn(4, 3, requires_grad=True)
        assert (
            gradient_penalty(lambda x: x.sum(1), wide, wide, torch.rand(4)).dtype
            == torch.float32
        )


# --- the best discriminator ---

# of 20, six things each may be
COUNTS = torch.tensor([1, 2, 3, 4, 4, 6]), torch.tensor([7, 1, 4, 2, 3, 3])


def best_logits(p_counts, q_counts):
    """The logits that minimise the library's loss over all of p's and q's draws, and
    that loss."""
    logits = torch.zeros(len(p_counts), dtype=F64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-12, tolerance_change=0
    )

    def loss():
        optimizer.zero_grad()
        value = discriminator_loss(
            logits.repeat_interleave(p_counts), logits.repeat_interleave(q_counts)
        )
        value.backward()
        return value

    optimizer.step(loss)
    return logits.detach(), loss().item()


def test_optimal_logit_minimises_discriminator_loss_for_two_tables():
    p, q = (counts.double() / 20 for counts in COUNTS)
    logits, loss = best_logits(*COUNTS)
    torch.testing.assert_close(logits.sigmoid(), p / (p + q), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        logits, optimal_logit(p.log(), q.log()), atol=1e-7, rtol=0
    )
    divergence = jensenshannon(p.numpy(), q.numpy()) ** 2  # scipy's is the root of it
    assert loss == pytest.approx(math.log(4) - 2 * divergence, abs=1e-12)
    logits, loss = best_logits(COUNTS[0], COUNTS[0])
    assert loss == pytest.approx(math.log(4), abs=1e-12) and logits.abs().max() < 1e-8


def test_optimal_logit_minimises_discriminator_loss_for_two_gaussians():
    p, q = (
        Normal(torch.tensor(0.0, dtype=F64), 1.0),
        Normal(torch.tensor(1.5, dtype=F64), 0.7),
    )
    # the mean over them is a quadrature
    quantiles = (torch.arange(50_000, dtype=F64) + 0.5) / 50_000
    real, fake = p.icdf(quantiles), q.icdf(quantiles)

    def integrand(x):
        a, b = (d.log_prob(torch.tensor(x, dtype=F64)).exp().item() for d in (p, q))
        return a * math.log(2 * a / (a + b)) / 2 + b * math.log(2 * b / (a + b)) / 2

    divergence = quad(integrand, -8, 8, epsabs=1e-10)[0]

    def loss(change):
        """Of logits log p - log q + change."""
        return discriminator_loss(
            *(
                optimal_logit(p.log_prob(x), q.log_prob(x)) + change(x)
                for x in (real, fake)
            )
        )

    assert loss(torch.zeros_like).item() == pytest.approx(
        math.log(4) - 2 * divergence, abs=1e-5
    )
    for direction in (
        torch.ones_like,
        torch.sin,
        torch.square,
        lambda x: (x - 1).sigmoid(),
    ):
        step = torch.zeros((), dtype=F64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(lambda x: step * direction(x)), step)  # noqa: B023
        assert abs(slope.item()) < 1e-3
        for by in (0.2, -0.2):
            assert loss(lambda x: by * direction(x)) > loss(torch.zeros_like) + 1e-3  # noqa: B023


def test_jensen_shannon_equals_scipys_and_a_loop():
    p, q = (normal(9, seed=k).exp() for k in (0, 1))
    p[[0, 3, 5]], q[[1, 3]] = 0, 0  # in one only, in none
    p, q = p / p.sum(), q / q.sum()
    expected = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        m = (a + b) / 2
        expected += sum(v * math.log(v / m) / 2 for v in (a, b) if v)
    assert jensen_shannon(p, q).item() == pytest.approx(expected, rel=1e-12)
    assert jensen_shannon(p, q).item() == pytest.approx(
        jensenshannon(p.numpy(), q.numpy()) ** 2, rel=1e-9
    )
    assert (
        jensen_shannon(q, p) == jensen_shannon(p, q)
        and abs(jensen_shannon(p, p)) < 1e-15
    )
    apart = torch.tensor([0.5, 0.5, 0, 0], dtype=F64)
    assert jensen_shannon(apart, apart.flip(0)).item() == pytest.approx(
        math.log(2), rel=1e-12
    )
    for broken in ([math.nan, 0.5, 0, 0.5], [math.nan] * 4):
        # NaN is not taken for an empty entry
        broken = torch.tensor(broken, dtype=F64)
        assert (
            jensen_shannon(broken, apart).isnan()
            and jensen_shannon(apart, broken).isnan()
        )


# --- a slope of one ---


def between(real, fake, t):
    return [
        [a * x + (1 - a) * g for x, g in zip(xs, gs, strict=True)]
        for a, xs, gs in zip(
            t.tolist(), real.flatten(1).tolist(), fake.flatten(1).tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("shape", [(2,), (2, 3, 3)])
def test_gradient_penalty_equals_finite_differences(shape):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), 6), nn.Tanh(), nn.Linear(6, 1)
    ).double()
    real, fake, t = (
        2 * normal(5, *shape),
        normal(5, *shape, seed=1),
        uniform(5, seed=2).double(),
    )

    def value(point):
        return net(torch.tensor(point, dtype=F64).view(1, *shape)).item()

    terms, step = [], 1e-5
    for point in between(real, fake, t):
        squares = 0.0
        for k in range(len(point)):
            ahead, behind = (
                [*point[:k], point[k] + by, *point[k + 1 :]] for by in (step, -step)
            )
            squares += ((value(ahead) - value(behind)) / (2 * step)) ** 2
        terms.append((math.sqrt(squares) - 1) ** 2)

    def critic(x):
        assert x.shape == real.shape
        return net(x).squeeze(1)

    found = gradient_penalty(critic, real, fake, t)
    assert found.shape == () and found.item() == pytest.approx(mean(terms), rel=1e-7)
    assert not real.requires_grad and not fake.requires_grad

    # None for the last bias
    slopes = torch.autograd.grad(found, list(net.parameters()), allow_unused=True)
    for parameter, slope in list(zip(net.parameters(), slopes, strict=True))[:-1]:
        assert slope is not None, "no second derivative"
        for at in range(parameter.numel()):
            values = []
            for by in (step, -step):
                with torch.no_grad():
                    parameter.view(-1)[at] += by
                values.append(gradient_penalty(critic, real, fake, t).item())
                with torch.no_grad():
                    parameter.view(-1)[at] -= by
            assert slope.view(-1)[at].item() == pytest.approx(
                (values[0] - values[1]) / (2 * step), abs=1e-7
            )


def test_gradient_penalty_of_a_linear_critic_equals_its_closed_form():
    w = torch.tensor([3.0, -4.0], dtype=F64, requires_grad=True)
    found = gradient_penalty(
        lambda x: x @ w + 7, normal(6, 2), normal(6, 2, seed=1), uniform(6).double()
    )
    assert found.item() == pytest.approx(16)  # (5 - 1)^2
    assert torch.autograd.grad(found, w)[0].tolist() == pytest.approx(
        [2 * 4 * 0.6, -2 * 4 * 0.8]
    )
    # a slope that is too small costs as well
    for slope, expected in ((1.0, 0), (0.5, 0.25), (2.0, 1)):
        line = gradient_penalty(
            lambda x, slope=slope: slope * x[:, 0],
            normal(6, 2),
            normal(6, 2),
            uniform(6).double(),
        )
        assert line.item() == pytest.approx(expected)
    # the norm of a zero gradient has no derivative; it must be finite
    flat = torch.zeros(2, dtype=F64, requires_grad=True)
    found = gradient_penalty(
        lambda x: x @ flat, normal(6, 2), normal(6, 2, seed=1), uniform(6).double()
    )
    assert found == 1 and torch.autograd.grad(found, flat)[0].isfinite().all()


def test_gradient_penalty_is_taken_at_the_interpolation_t():
    real, fake = normal(7, 1, 2, 2), 2 * normal(7, 1, 2, 2, seed=1) + 5

    def bowl(x):  # whose slope at a point is the point
        return x.square().sum((1, 2, 3)) / 2

    def lengths(points):
        return [math.sqrt(sum(v * v for v in point)) for point in points]

    for t in (torch.ones(7), torch.zeros(7), torch.linspace(0, 1, 7)):
        expected = mean((length - 1) ** 2 for length in lengths(between(real, fake, t)))
        assert gradient_penalty(bowl, real, fake, t.double()).item() == pytest.approx(
            expected
        )
    unit = real / torch.tensor(lengths(real.flatten(1).tolist()), dtype=F64).view(
        -1, 1, 1, 1
    )
    assert gradient_penalty(
        bowl, unit, fake, torch.ones(7).double()
    ).item() == pytest.approx(0, abs=1e-20)


def test_gradient_penalty_draws_a_uniform_point_between_each_pair():
    n, seen = 4000, []

    def critic(x):
        seen.append(x.detach())
        return 3 * x.sum((1, 2, 3)) / 2  # of slope 3, for four numbers

    torch.manual_seed(0)
    real, fake = torch.ones(n, 1, 2, 2), torch.zeros(n, 1, 2, 2)
    for penalty, weight in ((GradientPenalty(), 10), (GradientPenalty(0.5), 0.5)):
        assert penalty(critic, real, fake).item() == pytest.approx(4 * weight, rel=1e-5)
    for t in seen:
        assert (t == t[:, :, :1, :1]).all() and kstest(
            t[:, 0, 0, 0].numpy(), "uniform"
        ).pvalue > 1e-3
        assert t.min() >= 0 and t.max() <= 1
    assert not torch.equal(*seen)


@pytest.mark.parametrize("make", [GradientPenalty, lambda value: gan(WGAN, clip=value)])
def test_gradient_penalty_and_wgan_reject_weight_or_clip_that_is_not_positive(make):
    for value in (0, -1.0, math.nan):
        with pytest.raises(
            ValueError, match="argument `(weight|clip)`: expected a positive number"
        ):
            make(value)


def test_every_critic_is_best_for_equal_samples_but_the_penalty_excludes_flat_ones():
    x = normal(9, 2)
    for critic in (
        lambda x: 0 * x[:, 0] + 3,
        lambda x: x[:, 0],
        lambda x: x[:, 1].sin(),
    ):
        assert critic_loss(critic(x), critic(x[torch.randperm(9)])).item() == (
            pytest.approx(0, abs=1e-12)
        )
    flat = torch.zeros(2, dtype=F64, requires_grad=True)
    assert gradient_penalty(lambda x: x @ flat, x, x, uniform(9).double()).item() == 1


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_penalised_ramp_is_too_steep_by_the_distance_over_twice_the_weight(weight):
    distance, slope = 1.7, torch.full((1,), 0.5, dtype=F64, requires_grad=True)
    real, fake = torch.full((4, 1), distance, dtype=F64), torch.zeros(4, 1, dtype=F64)

    def loss(s):
        def critic(x):
            return (x * s).sum(1)

        penalty = gradient_penalty(critic, real, fake, uniform(4).double())
        return critic_loss(critic(real), critic(fake)) + weight * penalty

    for _ in range(2):  # Newton is exact: the loss is a parabola in the slope
        (first,) = torch.autograd.grad(loss(slope), slope)
        with torch.no_grad():
            slope -= first / (2 * weight)
    assert slope.item() == pytest.approx(1 + distance / (2 * weight))


def test_spectral_bound_holds_for_a_clipped_network():
    """The product of the largest singular values, of which exercise 5 and spectral
    normalisation speak, bounds the slope; the product of clips alone does not."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.clamp_(-0.3, 0.3)
    bound = math.prod(np.linalg.svd(net[k].weight.detach())[1][0] for k in (0, 2))
    x = normal(200, 4)
    slopes = (net(x)[:, 0] - net(x.flip(0))[:, 0]).abs() / (x - x.flip(0)).norm(dim=1)
    assert 0.3**2 < bound and slopes.max().item() <= bound


def test_hinge_loss_of_the_best_discriminator_is_two_minus_twice_the_total_variation():
    p, q = (counts.double().numpy() / 20 for counts in COUNTS)
    best = np.where(p > q, 1.0, -1.0)
    hinge = (p * np.maximum(0, 1 - best) + q * np.maximum(0, 1 + best)).sum()
    assert hinge == pytest.approx(2 - np.abs(p - q).sum())
    rng = np.random.default_rng(0)
    for _ in range(100):
        other = best + rng.normal(0, 1, len(p))
        worse = (p * np.maximum(0, 1 - other) + q * np.maximum(0, 1 + other)).sum()
        assert worse >= hinge - 1e-12


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_smallest_gan_circles_without_r1_and_comes_to_rest_with_it(gamma):
    """Eigenvalues -gamma/2 +- sqrt(gamma^2/4 - 1/4) of the players' velocities at the
    equilibrium, from the gradients of the library's losses."""

    def velocity(theta, psi):
        theta, psi = (
            torch.tensor(v, dtype=F64, requires_grad=True) for v in (theta, psi)
        )
        d_loss = discriminator_loss(0 * psi[None], (psi * theta)[None])
        d_loss = d_loss + gamma / 2 * psi.square()  # the slope at the real point is psi
        (by_d,) = torch.autograd.grad(d_loss, psi)
        (by_g,) = torch.autograd.grad(non_saturating_loss((psi * theta)[None]), theta)
        return np.array([-by_g.item(), -by_d.item()])

    h = 1e-5
    columns = [(velocity(*(h * e)) - velocity(*(-h * e))) / (2 * h) for e in np.eye(2)]
    found = sorted(
        np.linalg.eigvals(np.array(columns).T), key=lambda v: (v.real, v.imag)
    )
    root = complex(gamma**2 / 4 - 0.25) ** 0.5
    expected = sorted(
        (-gamma / 2 - root, -gamma / 2 + root), key=lambda v: (v.real, v.imag)
    )
    # a double eigenvalue (gamma = 1) is sensitive
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert bool(max(v.real for v in found) < -1e-3) is (gamma > 0)


# --- Wasserstein GANs ---


def test_wgan_clip_weights_clamps_the_critic_only():
    method = gan(WGAN, clip=0.2)
    before, generator = state_of(method.discriminator), state_of(method.generator)
    method.clip_weights()
    for name, value in method.discriminator.state_dict().items():
        assert value.flatten().tolist() == [
            min(max(w, torch.tensor(-0.2).item()), torch.tensor(0.2).item())
            for w in before[name].flatten().tolist()
        ]
    assert same(generator, method.generator.state_dict())
    assert any((w.abs() > 0.2).any() for w in before.values())
    assert (gan(WGAN).k, gan(WGAN).clip, gan(WGAN).game, gan(WGAN).penalty) == (
        5,
        0.01,
        WASSERSTEIN,
        None,
    )


def test_wgan_critic_weights_stay_within_clip_throughout_training():
    method, clip, used = gan(WGAN, clip=0.1), torch.tensor(0.1).item(), []

    def look(critic, inputs):
        used.append(critic[0].weight.detach().clone())
        assert all(p.abs().max() <= clip for p in critic.parameters())
        assert any((p.abs() > 0.2).any() for p in method.generator.parameters())

    method.discriminator.register_forward_pre_hook(look)
    for step in fit(
        method,
        points(),
        3,
        batch_size=16,
        optimizers=sgd(1.0, momentum=0),
        schedule=plain,
    ):
        assert all(p.abs().max() <= clip for p in method.discriminator.parameters())
        assert len(step.losses) == 6
    assert len(used) == 3 * (5 * 2 + 1)
    changed = [not torch.equal(a, b) for a, b in zip(used, used[1:])]
    # five updates, then the generator's turn
    assert changed == ([False, True] * 5 + [False]) * 2 + [False, True] * 5
    assert any((p.abs() == clip).any() for p in method.discriminator.parameters())


class Clouds(nn.Module):
    """A generator that lays out the same points on a line, whatever the noise."""

    def __init__(self, where):
        super().__init__()
        self.where = nn.Parameter(where)

    def forward(self, z):
        return self.where[: len(z)]


def test_wgan_linear_critic_measures_the_mean_difference_times_clip():
    real, fake = (
        normal(32, 1, dtype=torch.float32) + 3,
        normal(32, 1, seed=1, dtype=torch.float32),
    )
    critic = Score(nn.Linear(1, 1, bias=False))
    method = WGAN(Clouds(fake), critic, 1, clip=0.03)
    data = Dataset(real, torch.zeros(32), ())
    for step in fit(method, data, 4, batch_size=32, optimizers=[sgd(0.1), sgd(1e-12)]):
        found = -step.losses[4].item()
    assert found == pytest.approx(0.03 * (real.mean() - fake.mean()).item(), rel=1e-4)
    assert found < 0.05 * wasserstein_distance(real[:, 0].numpy(), fake[:, 0].numpy())


def test_critic_loss_with_penalty_is_minimal_at_the_closed_form_slope():
    """A line w x from 0 (fake) to d (real) costs -w d + weight (w - 1)^2, least for w =
    1 + d / (2 weight)."""
    for weight, d in ((10.0, 3.0), (0.5, 0.2)):
        real, fake = torch.full((4, 1), d, dtype=F64), torch.zeros(4, 1, dtype=F64)
        w = torch.tensor(1 + d / (2 * weight), dtype=F64, requires_grad=True)

        def critic(x):
            return w * x[:, 0]  # noqa: B023

        loss = critic_loss(critic(real), critic(fake)) + GradientPenalty(weight)(
            critic, real, fake
        )
        assert torch.autograd.grad(loss, w)[0].abs() < 1e-6


def test_critic_with_gradient_penalty_learns_the_wasserstein_distance():
    real = torch.cat([normal(64, 1) * 0.3 - 1, normal(64, 1, seed=1) * 0.5 + 2]).float()
    fake = (normal(128, 1, seed=2) * 0.8 + 0.5).float()
    distance = wasserstein_distance(real[:, 0].numpy(), fake[:, 0].numpy())
    torch.manual_seed(0)
    critic = Score(mlp(1, 48, 48, 1, norm=None))
    method, data = (
        GAN(Clouds(fake), critic, 1, WASSERSTEIN),
        Dataset(real, torch.zeros(128), ()),
    )
    # lightly first, so that slopes may change their sign; then firmly
    for weight, steps in ((0.1, 100), (50.0, 300)):
        method.penalty = GradientPenalty(weight)
        list(
            fit(
                method,
                data,
                steps,
                batch_size=128,
                optimizers=[adamw(1e-2, 0, (0.5, 0.9)), sgd(1e-12)],
            )
        )
    with torch.no_grad():
        assert (critic(real).mean() - critic(fake).mean()).item() == pytest.approx(
            distance, rel=0.03
        )


# --- the turns of a GAN ---


def test_gan_turns_are_k_of_the_discriminator_then_one_of_the_generator():
    for k in (1, 3):
        method = gan(k=k)
        turns = method.turns()
        assert [loss for loss, _ in turns] == [method.discriminator_loss] * k + [
            method.generator_loss
        ]
        for _, params in turns[:-1]:
            assert list(map(id, params)) == list(
                map(id, method.discriminator.parameters())
            )
        assert list(map(id, turns[-1][1])) == list(
            map(id, method.generator.parameters())
        )
    assert (
        gan().k == 1
        and gan().game is NON_SATURATING
        and gan().penalty is None
        and gan().momentum == 0
    )


@games
def test_gan_loss_of_each_turn_equals_the_papers_formula(game):
    method, x = gan(game=game), points(6).x
    nn.init.ones_(method.average.net[0].weight)  # not what trains
    z, theirs = normal(6, 3, seed=1, dtype=torch.float32), as_loops(game)
    with torch.no_grad():
        real, fake = (
            method.discriminator(x).tolist(),
            method.discriminator(method.generator(z)).tolist(),
        )
    give(method, z, z)
    assert method.discriminator_loss(x).item() == pytest.approx(
        theirs[0](real, fake), rel=1e-5
    )
    assert method.generator_loss(x).item() == pytest.approx(theirs[1](fake), rel=1e-5)


def test_gan_noise_is_standard_normal_and_new_each_time():
    method, x = gan(), points(6).x
    torch.manual_seed(3)
    expected = method.discriminator_loss(x)
    torch.manual_seed(3)
    give(method, torch.randn(6, 3))
    assert method.discriminator_loss(x) == expected
    method = gan()
    torch.manual_seed(0)
    noise = method.noise(20_000)
    assert (
        noise.shape == (20_000, 3)
        and noise.dtype == torch.float32
        and noise.device.type == "cpu"
    )
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3 and not torch.equal(
        noise[:9], method.noise(9)
    )
    assert noise.T.cov().sub(torch.eye(3)).abs().max() < 0.05
    assert gan().to("meta").noise(4).device.type == "meta"  # where the networks are
    method = gan().double()
    assert method.noise(4).dtype == F64 and method.sample(4).dtype == F64
    assert method.discriminator_loss(points(6).x.double()).dtype == F64


def test_gan_penalty_is_added_to_the_discriminator_loss_only():
    asked = []

    def penalty(critic, real, fake):
        asked.append((real, fake, critic(fake), critic(real)))
        return critic(real).square().sum()

    plain_one, method, x = gan(), gan(penalty=penalty), points(6).x
    z = normal(6, 3, seed=1, dtype=torch.float32)
    give(plain_one, z, z), give(method, z, z)
    extra = method.discriminator_loss(x) - plain_one.discriminator_loss(x)
    assert extra.item() == pytest.approx(
        sum(a * a for a in method.discriminator(x).tolist()), rel=1e-4
    )
    real, fake, of_fake, of_real = asked[0]
    assert (
        torch.equal(real, x)
        and torch.equal(fake, method.generator(z))
        and not fake.requires_grad
    )
    assert torch.equal(of_fake, method.score(fake)) and torch.equal(
        of_real, method.score(x)
    )
    assert method.generator_loss(x) == plain_one.generator_loss(x) and len(asked) == 1


def test_discriminator_loss_gives_the_generator_no_gradient_and_generator_loss_does():
    for method in (gan(), gan(penalty=GradientPenalty()), gan(WGAN)):
        x = points(8).x
        loss = method.discriminator_loss(x)
        assert all(gradients(loss, method.discriminator)[:-1]) and not any(
            gradients(loss, method.generator)
        )
        assert all(gradients(method.generator_loss(x), method.generator))
        assert not any(p.requires_grad for p in method.average.parameters())


class Watched(GAN):
    """Remembers each turn's player, batch and all weights before it."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.log = []

    def look(self, who, x):
        parts = self.generator, self.discriminator, self.average
        self.log.append((who, x.clone(), [state_of(part) for part in parts]))

    def discriminator_loss(self, x, y=None):
        self.look("D", x)
        return super().discriminator_loss(x, y)

    def generator_loss(self, x, y=None):
        self.look("G", x)
        return super().generator_loss(x, y)

    def after_step(self):
        self.look("after", torch.empty(0))
        super().after_step()


def test_gan_turns_move_their_player_only_and_after_step_the_average():
    method = gan(Watched, k=2, momentum=0.5, penalty=GradientPenalty())
    list(fit(method, points(96), 3, batch_size=16))
    assert [who for who, _, _ in method.log] == ["D", "D", "G", "after"] * 3
    moves = {
        "D": [False, True, False],
        "G": [True, False, False],
        "after": [False, False, True],
    }
    for (who, _, before), (_, _, after) in zip(method.log, method.log[1:]):
        assert [not same(a, b) for a, b in zip(before, after, strict=True)] == moves[
            who
        ]
    batches = [x for who, x, _ in method.log if who != "after"]
    # each turn has its own batch
    assert not any(
        torch.equal(a, b) for k, a in enumerate(batches) for b in batches[:k]
    )


@pytest.mark.parametrize("momentum", [0.0, 0.7, 1.0])
def test_gan_average_is_the_moving_average_of_the_generator_after_each_step(momentum):
    torch.manual_seed(0)
    method = GAN(mlp(3, 8, 2), Score(nn.Linear(2, 1)), 3, momentum=momentum)
    expected = [p.detach().clone() for p in method.generator.parameters()]
    assert same(state_of(method.average.net), state_of(method.generator))
    for _ in fit(method, points(), 4, batch_size=16, optimizers=adamw(0.1)):
        expected = [
            momentum * a + (1 - momentum) * p.detach()
            for a, p in zip(expected, method.generator.parameters())
        ]
        for average, by_hand in zip(method.average.parameters(), expected, strict=True):
            torch.testing.assert_close(average, by_hand)
        for ours, theirs in zip(
            method.average.buffers(), method.generator.buffers(), strict=True
        ):
            assert torch.equal(ours, theirs)  # BatchNorm's statistics as they are
    assert same(state_of(method.average.net), state_of(method.generator)) == (
        momentum == 0
    )


def test_gan_generate_uses_the_generator_in_train_and_the_average_in_eval_mode():
    torch.manual_seed(0)
    method, z = (
        GAN(mlp(3, 8, 2), Score(nn.Linear(2, 1)), 3, momentum=0.9),
        normal(7, 3, dtype=torch.float32),
    )
    list(fit(method, points(), 3, batch_size=16, optimizers=adamw(0.1)))
    assert (
        torch.equal(method.train().generate(z), method.generator(z))
        and method.generate(z).requires_grad
    )
    drawn = method.eval().generate(z)
    assert torch.equal(drawn, method.average(z)) and not drawn.requires_grad
    assert not torch.allclose(drawn, method.generator(z))
    # no fake depends on the others
    torch.testing.assert_close(method.generate(z[:1]), drawn[:1])


def test_gan_encode_is_the_features_of_the_discriminator():
    method, x = gan(), points(6).x
    assert torch.equal(method.encode(x), method.discriminator[0](x))
    net = Discriminator((4, 8), 3, 16)
    method, x = GAN(Generator(3, (8, 4), 3), net, 3).eval(), pictures(3).x
    assert torch.equal(method.encode(x), net.features(x)) and method.encode(
        x
    ).shape == (3, (4 + 8) * 16)


def test_gan_augments_real_and_fake_for_discriminator_and_generator_loss():
    seen = []

    def augment(x):
        seen.append(x)
        return 2 * x - 1

    def penalty(critic, real, fake):
        seen.extend([real, fake])
        return critic(real).sum() * 0

    method, x, z = (
        gan(augment=augment, penalty=penalty),
        points(6).x,
        normal(6, 3, seed=1, dtype=torch.float32),
    )
    give(method, z, z)
    with torch.no_grad():
        fake = method.generator(z)
        judged = [method.discriminator(2 * each - 1).tolist() for each in (x, fake)]
    theirs = as_loops(NON_SATURATING)
    assert method.discriminator_loss(x).item() == pytest.approx(
        theirs[0](*judged), rel=1e-5
    )
    for found, expected in zip(seen, (x, fake, 2 * x - 1, 2 * fake - 1), strict=True):
        assert torch.equal(found, expected) and not found.requires_grad
    loss = method.generator_loss(x)
    assert loss.item() == pytest.approx(theirs[1](judged[1]), rel=1e-5)
    assert (
        all(gradients(loss, method.generator))
        and torch.equal(seen[-1], fake)
        and len(seen) == 5
    )


def test_gan_sample_uses_new_noise_and_the_given_labels():
    method = gan()
    torch.manual_seed(3)
    found, again = method.sample(5), method.sample(5)
    torch.manual_seed(3)
    assert torch.equal(found, method.generator(torch.randn(5, 3))) and not torch.equal(
        found, again
    )
    method = conditional().eval()
    give(method, z := normal(12, 3, dtype=torch.float32))
    nn.init.normal_(method.average.net.stages[0].norm.gain.weight)
    y = torch.arange(12) % 5
    expected = method.average(z, y)
    assert torch.equal(method.sample(12, y), expected)
    assert expected.shape == (12, 3, 16, 16)
    found, x = [], pictures(12).x
    give(method, z)
    method.generate = lambda z, y: found.append(y) or x.flip(0)
    method.pretext_score(x)  # every label in turn, in any state of the generator
    assert torch.equal(found[0], y)


def test_gan_pretext_score_is_minus_the_kernel_distance():
    method, x = gan(), points(7).x
    give(method, z := normal(7, 3, dtype=torch.float32))
    real, fake = x.tolist(), method.generator(z).tolist()

    def kernel(u, v):
        return (sum(a * b for a, b in zip(u, v, strict=True)) / 2 + 1) ** 3

    within = [
        mean(kernel(u, v) for u in rows for v in rows if u is not v)
        for rows in (real, fake)
    ]
    expected = 2 * mean(kernel(u, v) for u in real for v in fake) - sum(within)
    assert method.pretext_score(x) == pytest.approx(expected, rel=1e-4)
    method, data, scores = (
        GAN(Generator(3, (8, 4), 3), Discriminator((4, 8), 3, 16), 3),
        pictures(6).x,
        [],
    )
    for fakes in (data.roll(1, 0), data**2, data / 9):
        method.generate = lambda z, y=None: fakes  # noqa: B023
        scores.append(method.pretext_score(data))
    assert scores[0] > scores[1] > scores[2]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(dim=0), "dim"),
        (dict(dim=2.5), "dim"),
        (dict(k=0), "k"),
        (dict(momentum=-0.1), "momentum"),
        (dict(momentum=1.1), "momentum"),
    ],
)
def test_gan_names_the_bad_argument(options, name):
    with pytest.raises(
        ValueError, match=f"argument `{name}`: expected a (whole )?number"
    ):
        GAN(nn.Linear(3, 2), nn.Linear(2, 1), **{"dim": 3, **options})


# --- DCGAN's networks ---

NETS = {
    "generator": lambda **options: Generator(5, (8, 4), 3, side=7, **options),
    "discriminator": lambda **options: Discriminator((4, 8), 3, 28, **options),
}
nets = pytest.mark.parametrize("name", list(NETS))


def input_of(name, n=3):
    return (
        normal(n, 5, dtype=torch.float32) if name == "generator" else pictures(n, 28).x
    )


def layers(net):
    """How many layers of each kind there are, containers aside."""
    return Counter(type(m).__name__ for m in net.modules() if not list(m.children()))


@pytest.mark.parametrize(
    ("widths", "side", "size"), [((8, 4), 7, 28), ((8, 6, 4), 4, 32), ((4,), 3, 6)]
)
def test_dcgan_generator_and_discriminator_have_the_expected_shapes(widths, side, size):
    x = Generator(5, widths, 2, side)(normal(3, 5, dtype=torch.float32))
    assert x.shape == (3, 2, size, size) and x.min() >= 0 and x.max() <= 1
    net = Discriminator(widths[::-1], 2, size)
    assert net(x).shape == (3,) and [m.shape[1:] for m in net.maps(x)] == [
        (width, size >> k, size >> k) for k, width in enumerate(widths[::-1], 1)
    ]
    assert net.dim == widths[0] * side**2


def test_dcgan_scales_between_0_to_1_and_minus_1_to_1():
    net, seen = Generator(5, (8,), 3), []
    net.out[-1].register_forward_hook(
        lambda layer, inputs, output: seen.append(inputs[0])
    )
    for p in net.parameters():
        nn.init.normal_(p)
    x = net(normal(50, 5, dtype=torch.float32))
    torch.testing.assert_close(x, (2 * seen[0]).sigmoid(), atol=1e-6, rtol=1e-5)
    assert x.min() < 0.05 and x.max() > 0.95
    judge, given = Discriminator((4,), 3, 8), []
    judge.stages[0].register_forward_pre_hook(
        lambda layer, inputs: given.append(inputs[0])
    )
    x = pictures(3, 8).x
    judge(x)
    torch.testing.assert_close(given[0], x * 2 - 1)


def test_dcgan_defaults_follow_the_papers_guidelines():
    generator, judge = NETS["generator"](), NETS["discriminator"]()
    for net in (generator, judge):
        assert not any(
            isinstance(m, (nn.MaxPool2d, nn.AvgPool2d, nn.Upsample))
            for m in net.modules()
        )
    assert layers(generator) == Counter(
        Linear=1,
        Unflatten=1,
        ConvTranspose2d=2,
        BatchNorm2d=2,
        ReLU=2,
        Tanh=1,
        Identity=2,
    )
    assert layers(judge) == Counter(
        Conv2d=2, BatchNorm2d=1, LeakyReLU=2, Linear=1, Identity=2
    )
    norms = [type(stage.norm) for net in (generator, judge) for stage in net.stages]
    # not at the discriminator's input
    assert norms == [nn.BatchNorm2d, nn.BatchNorm2d, nn.Identity, nn.BatchNorm2d]
    assert [type(layer) for layer in generator.out] == [
        nn.ConvTranspose2d,
        nn.Identity,
        nn.Tanh,
    ]
    assert isinstance(judge.door, nn.Identity) and isinstance(
        generator.hidden, nn.Identity
    )
    assert {
        m.negative_slope for m in judge.modules() if isinstance(m, nn.LeakyReLU)
    } == {0.2}
    for m in (*generator.modules(), *judge.modules()):
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            assert (m.kernel_size, m.stride, m.padding) == ((4, 4), (2, 2), (1, 1))


# what is more and what is less in generator and discriminator, and how the stages'
# norms are
SWITCHES = {
    "strided": (
        dict(strided=False),
        dict(Upsample=2, Conv2d=2, ConvTranspose2d=-2),
        dict(MaxPool2d=2),
    ),
    "norm": (
        dict(norm=nn.Identity),
        dict(BatchNorm2d=-2, Identity=2),
        dict(BatchNorm2d=-1, Identity=1),
    ),
    "everywhere": (
        dict(everywhere=True),
        dict(BatchNorm2d=1, Identity=-1),
        dict(BatchNorm2d=1, Identity=-1),
    ),
    "hidden": (
        dict(hidden=16),
        dict(Linear=1, ReLU=1, Identity=-1),
        dict(Linear=1, LeakyReLU=1),
    ),
    "activation": (
        dict(activation=nn.ELU),
        dict(ReLU=-2, ELU=2),
        dict(LeakyReLU=-2, ELU=2),
    ),
}


@nets
@pytest.mark.parametrize("switch", list(SWITCHES))
def test_dcgan_options_change_only_the_layers_they_name(name, switch):
    options, *changes = SWITCHES[switch]
    net, usual = NETS[name](**options), NETS[name]()
    found = layers(net)
    found.subtract(layers(usual))
    assert {layer: n for layer, n in found.items() if n} == changes[
        name == "discriminator"
    ]
    x = input_of(name)
    assert net(x).shape == usual(x).shape
    if name == "discriminator":
        assert [m.shape for m in net.maps(x)] == [m.shape for m in usual.maps(x)]
        assert (type(net.door) is nn.BatchNorm2d) == (switch == "everywhere")
    else:
        assert (type(net.out[1]) is nn.BatchNorm2d) == (switch == "everywhere")
        assert net(x).min() >= 0 and net(x).max() <= 1
    for p in net.parameters():  # a first convolution's bias before a norm says nothing
        p.grad = None
    net(x).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@nets
def test_dcgan_weights_start_normal_with_std_0_02_and_zero_biases(name):
    torch.manual_seed(0)
    wide = {
        "generator": Generator(50, (64, 32), 3, hidden=40),
        "discriminator": Discriminator((32, 64), 3, 16, hidden=9),
    }
    weights = []
    for layer in wide[name].modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            weights.append(layer.weight.detach().flatten())
            assert len(weights[-1]) < 100 or weights[-1].std() == pytest.approx(
                0.02, rel=0.25
            )
            assert not layer.bias.any()
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()
    weights = torch.cat(weights)
    assert len(weights) > 30_000 and weights.mean().abs() < 5 * 0.02 / math.sqrt(
        len(weights)
    )
    assert kstest((weights[:20_000] / 0.02).numpy(), "norm").pvalue > 1e-3
    line = nn.Linear(400, 400, bias=False)
    assert normal_weights(
        line, 0.5
    ) is line and line.weight.std().item() == pytest.approx(0.5, rel=0.02)


def max_pooled(rows, cells):
    """Plain loops over overlapping windows of a square map."""
    n, found = len(rows), []
    for i in range(cells):
        for j in range(cells):
            tall, wide = (
                range(k * n // cells, -(-(k + 1) * n // cells)) for k in (i, j)
            )
            found.append(max(rows[a][b] for a in tall for b in wide))
    return found


def pooled_by_hand(maps):
    return [
        [
            v
            for stage in maps
            for channel in stage[n].tolist()
            for v in max_pooled(channel, min(4, len(channel)))
        ]
        for n in range(len(maps[0]))
    ]


def test_discriminator_features_are_max_pooled_maps_of_all_stages():
    maps = [
        normal(3, 2, 8, 8),
        normal(3, 3, 7, 7, seed=1),
        normal(3, 1, 4, 4, seed=3),
        normal(3, 1, 2, 2, seed=2),
    ]
    expected = pooled_by_hand(maps)
    assert (
        pooled(maps).tolist() == expected and len(expected[0]) == (2 + 3 + 1) * 16 + 4
    )
    for net in (Discriminator((2,), 1, 8), GrowingDiscriminator((2, 2), 1)):
        net.maps = lambda x, level=0, alpha=1.0: maps
        assert net.features(torch.zeros(3, 1, 8, 8)).tolist() == expected


@pytest.mark.parametrize("strided", [True, False])
def test_up_doubles_and_down_halves_height_and_width(strided):
    x = normal(2, 3, 6, 10, dtype=torch.float32)
    assert up(3, 5, strided)(x).shape == (2, 5, 12, 20) and down(3, 5, strided)(
        x
    ).shape == (2, 5, 3, 5)


def test_stage_passes_labels_to_the_norm():
    class Add(nn.Module):
        def forward(self, x, y=None):
            return x if y is None else x + y

    stage, x = Stage(nn.Flatten(0), Add(), nn.ReLU()), torch.tensor([[1.0, -5.0]])
    assert stage(x).tolist() == [1, 0] and stage(x, torch.tensor(2.0)).tolist() == [
        3,
        0,
    ]


# --- labels and truncated noise ---


def test_conditional_batch_norm_applies_each_labels_gain_and_bias_to_batch_norm():
    torch.manual_seed(0)
    norm, x, y = (
        ConditionalBatchNorm(3, 4),
        normal(8, 3, 5, 6, dtype=torch.float32) * 3 + 1,
        torch.arange(8) % 3,
    )
    usual = nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(x, y), usual(x))  # all gains 1, all biases 0
    with torch.no_grad():
        norm.gain.weight.normal_(), norm.bias.weight.normal_()
    for training in (True, False):
        for each in (norm, usual):
            each.train(training)
        whole, found = usual(x), norm(x, y)
        for label in range(3):
            gain, bias = (
                norm.gain.weight[label].view(3, 1, 1),
                norm.bias.weight[label].view(3, 1, 1),
            )
            torch.testing.assert_close(
                found[y == label], gain * whole[y == label] + bias
            )
    torch.testing.assert_close(norm.norm.running_mean, usual.running_mean)
    torch.testing.assert_close(norm.norm.running_var, usual.running_var)
    batch = norm.train()(x, y)  # and without torch's
    centred = x - x.mean((0, 2, 3), keepdim=True)
    unit = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(
        batch[7],
        norm.gain.weight[1][:, None, None] * unit[7]
        + norm.bias.weight[1][:, None, None],
    )
    rows = torch.autograd.grad(batch.square().sum(), norm.gain.weight)[0].any(1)
    assert rows.tolist() == [True, True, True, False]  # label 3 is not in the batch
    assert sum(p.numel() for p in norm.parameters()) == 2 * 4 * 3


def test_projection_discriminator_adds_the_product_with_the_label_vector():
    torch.manual_seed(0)
    net = ProjectionDiscriminator(Discriminator((4, 6), 3, 8), 5).eval()
    assert net.classes.weight.std().item() == pytest.approx(
        0.02, rel=0.3
    ) and net.classes.weight.shape == (5, 24)
    nn.init.normal_(net.classes.weight)
    x, y = pictures(7, 8).x, torch.tensor([0, 3, 4, 4, 1, 2, 0])
    with torch.no_grad():
        found, psi, h = (
            net(x, y),
            net.discriminator(x),
            net.discriminator.maps(x)[-1].flatten(1).tolist(),
        )
    for n in range(7):
        product = sum(
            a * b for a, b in zip(net.classes.weight[y[n]].tolist(), h[n], strict=True)
        )
        assert found[n].item() == pytest.approx(
            psi[n].item() + product, rel=1e-4, abs=1e-6
        )
    assert torch.equal(
        net.features(x), net.discriminator.features(x)
    ) and found.shape == (7,)


@pytest.mark.parametrize("threshold", [0.1, 0.7, 1.5, 3.0])
def test_truncated_noise_has_the_distribution_of_rejection_sampling(threshold):
    z = normal(40_000, 2)
    drawn = normal(40_000 if threshold > 0.5 else 200_000, 2, seed=1).flatten()
    drawn, found = drawn[drawn.abs() <= threshold], truncated(z, threshold)
    assert found.shape == z.shape and found.abs().max() <= threshold
    assert ks_2samp(found.flatten().numpy(), drawn.numpy()).pvalue > 1e-3
    assert (
        kstest(found.flatten().numpy(), truncnorm(-threshold, threshold).cdf).pvalue
        > 1e-3
    )
    for power in (1, 2, 4):
        moments = [numbers.flatten() ** power for numbers in (found, drawn)]
        error = math.hypot(*(m.std().item() / math.sqrt(len(m)) for m in moments))
        assert abs(moments[0].mean() - moments[1].mean()).item() < 4 * error
    assert abs(np.corrcoef(found.numpy().T)[0, 1]) < 0.02
    exact = truncnorm(-threshold, threshold).var()
    assert found.var().item() == pytest.approx(exact, rel=0.02)


def test_truncated_noise_keeps_order_sign_and_dtype():
    z = normal(500, 1).sort(0).values
    for threshold in (0.3, 1.0, 2.5):
        found = truncated(z, threshold)
        assert (found.diff(dim=0) > 0).all()
        torch.testing.assert_close(
            truncated(-z, threshold), -found, atol=1e-12, rtol=1e-9
        )
        assert (found.sign() == z.sign()).all() and (found.abs() < z.abs()).all()
    for huge in (9, 50.0):
        torch.testing.assert_close(truncated(z, huge), z, atol=1e-9, rtol=1e-9)
    assert (
        truncated(z.float(), 0.5).dtype == torch.float32
        and truncated(z, 0.5).dtype == F64
    )
    outermost = torch.tensor([[-40.0, 40.0, 8.5, 0.0]])
    assert truncated(outermost, 0.75).tolist() == [
        [-0.75, 0.75, 0.75, pytest.approx(0, abs=1e-7)]
    ]


class Labelled(nn.Module):
    """A network that remembers the labels it is told."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.line, self.told = nn.Linear(inputs, outputs), []

    def forward(self, x, y):
        self.told.append(y.clone())
        out = self.line(x) * (1 + y[:, None])
        return out if out.shape[1] > 1 else out.squeeze(1)


def test_conditional_gan_uses_the_batchs_labels_for_fakes_in_both_turns():
    torch.manual_seed(0)
    method = ConditionalGAN(
        Labelled(3, 2), Labelled(2, 1), 3, penalty=GradientPenalty()
    )
    x, y = points(6).x, torch.tensor([3, 0, 0, 2, 1, 4])
    z = normal(6, 3, dtype=torch.float32)
    give(method, z, z)
    loss = method.generator_loss(x, y)
    fake = method.generator.line(z) * (1 + y[:, None])
    logits = method.discriminator.line(fake)[:, 0] * (1 + y)
    assert loss.item() == pytest.approx(
        mean(-math.log(sigmoid(a)) for a in logits.tolist()), rel=1e-5
    )
    method.discriminator_loss(x, y)
    # and the penalty's points
    assert len(method.generator.told) == 2 and len(method.discriminator.told) == 1 + 3
    assert all(
        torch.equal(y, told)
        for net in (method.generator, method.discriminator)
        for told in net.told
    )
    assert torch.equal(method.eval().generate(z, y), method.average(z, y))
    assert not torch.allclose(method.score(x, y), method.score(x, y.roll(1)))


def conditional(seed=0, norm=ConditionalBatchNorm):
    torch.manual_seed(seed)
    generator = Generator(3, (8, 4), 3, norm=lambda channels: norm(channels, 5))
    judge = ProjectionDiscriminator(Discriminator((4, 8), 3, 16), 5)
    return ConditionalGAN(generator, judge, 3, momentum=0.5)


def test_conditional_gan_output_depends_on_the_label_after_training():
    method, data = conditional(), pictures(40)
    z, y = method.noise(6), torch.arange(6) % 5
    # labels have no effect before training
    assert torch.equal(method.generate(z, y), method.generate(z, y.flip(0)))
    list(fit(method, data, 3, batch_size=20))
    assert not torch.allclose(method.generate(z, y), method.generate(z, y.flip(0)))
    assert not torch.allclose(
        method.eval().score(data.x[:6], y), method.score(data.x[:6], y.flip(0))
    )
    assert method.generate(z, y).shape == (6, 3, 16, 16) and method.encode(
        data.x[:6]
    ).shape == (6, 12 * 16)


# --- progressive growing ---


def test_fade_in_equals_a_table_of_level_and_alpha():
    table = {
        0: (0, 1),
        0.1: (0, 1),
        0.25: (1, 0.25),
        0.3: (1, 0.5),
        0.5: (1, 1),
        0.65: (2, 0.25),
        0.7: (2, 0.5),
        0.79: (2, 0.95),
        0.81: (2, 1),
        0.9: (2, 1),
        1: (2, 1),
    }
    for progress, expected in table.items():
        assert fade_in(progress, 3) == (expected[0], pytest.approx(expected[1]))
    assert {fade_in(k / 10, 1) for k in range(11)} == {(0, 1.0)}
    assert fade_in(0.5, 2) == (1, pytest.approx(0.5)) and fade_in(1 / 4, 2) == (0, 1.0)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_fade_in_grows_without_steps_back_or_jumps(levels):
    steps = 1000 * (2 * levels - 1)
    grown = [
        level - 1 + alpha
        for level, alpha in (fade_in(k / steps, levels) for k in range(steps + 1))
    ]
    rises = [b - a for a, b in zip(grown, grown[1:])]
    assert (
        grown[0] == 0
        and grown[-1] == levels - 1
        and -1e-9 < min(rises)
        and max(rises) < 2e-3
    )
    alone = [k for k in range(steps) if fade_in((k + 0.5) / steps, levels)[1] == 1]
    assert len(alone) == 1000 * levels  # as long as the fading, and one phase more


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan, None])
def test_fade_in_rejects_progress_outside_0_to_1(progress):
    with pytest.raises(ValueError, match="argument `progress`: expected a number in"):
        fade_in(progress, 3)


def test_blend_equals_a_loop():
    old, new = normal(2, 3, 2, 3), normal(2, 3, 4, 6, seed=1)
    found = blend(old, new, 0.3)
    for at in np.ndindex(2, 3, 4, 6):
        n, c, i, j = at
        assert found[at].item() == pytest.approx(
            0.7 * old[n, c, i // 2, j // 2].item() + 0.3 * new[at].item()
        )
    assert torch.equal(blend(old, new, 1.0), new)


WIDTHS = (8, 6, 5, 4)


def progressive(seed=0, **options):
    torch.manual_seed(seed)
    generator, judge = (
        GrowingGenerator(3, WIDTHS, 3, side=2),
        GrowingDiscriminator(WIDTHS, 3, side=2),
    )
    for p in (*generator.parameters(), *judge.parameters()):
        if p.ndim > 1:  # so that colours and logits differ by more than rounding
            nn.init.normal_(p, std=p[0].numel() ** -0.5)
    return ProgressiveGAN(generator, judge, 3, **options)


def repeated(x, times):
    return x.repeat_interleave(times, 2).repeat_interleave(times, 3)


def block_means(x, side):
    """Means over squares of side x side pixels."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // side, side, w // side, side).mean((3, 5))


def test_progressive_gan_doubles_the_picture_size_at_each_level():
    method, z = progressive(), normal(5, 3, dtype=torch.float32)
    for level, size in enumerate((4, 8, 16)):
        for alpha in {1.0, 0.5 if level else 1.0}:
            x = method.generator(z, level, alpha)
            assert x.shape == (5, 3, size, size) and 0 <= x.min() < x.max() <= 1
            assert method.discriminator(x, level, alpha).shape == (5,)
            assert [m.shape[2] for m in method.discriminator.maps(x, level, alpha)] == [
                size >> k for k in range(1, level + 2)
            ]


@pytest.mark.parametrize("level", [1, 2])
def test_progressive_gan_level_fades_from_the_old_to_the_new_layers(level):
    method, z, x = (
        progressive(),
        normal(5, 3, dtype=torch.float32),
        pictures(5, 4 << level).x,
    )
    generator, judge = method.generator, method.discriminator
    old, new = generator(z, level - 1, 1.0), generator(z, level, 1.0)
    torch.testing.assert_close(generator(z, level, 0.0), repeated(old, 2))
    torch.testing.assert_close(
        generator(z, level, 0.3), 0.7 * repeated(old, 2) + 0.3 * new
    )
    torch.testing.assert_close(
        judge(x, level, 0.0),
        judge(block_means(x, 2), level - 1, 1.0),
        atol=1e-5,
        rtol=1e-5,
    )
    with torch.no_grad():
        shown = judge.from_rgb[level - 1](2 * block_means(x, 2) - 1)
        h = 0.7 * shown + 0.3 * judge.stages[level](judge.from_rgb[level](2 * x - 1))
        torch.testing.assert_close(
            judge.maps(x, level, 0.3)[0], h, atol=1e-5, rtol=1e-5
        )
        for stage in reversed(judge.stages[:level]):
            h = stage(h)
        torch.testing.assert_close(
            judge(x, level, 0.3), judge.out(h.flatten(1))[:, 0], atol=1e-4, rtol=1e-4
        )
    for alpha, used in ((0.5, True), (1.0, False)):
        for net, old_layer in (
            (generator, generator.to_rgb[level - 1]),
            (judge, judge.from_rgb[level - 1]),
        ):
            out = net(z if net is generator else x, level, alpha).square().sum()
            slopes = torch.autograd.grad(
                out, list(old_layer.parameters()), allow_unused=True
            )
            # none at all, not zeros: weight decay shrinks what has a gradient of zero
            assert all(
                (slope is not None and slope.any()) if used else slope is None
                for slope in slopes
            )
    unused = generator.to_rgb[level + 1 :], judge.from_rgb[level + 1 :]
    assert (
        not any(gradients(generator(z, level, 0.5).sum(), unused[0]))
        if level < 2
        else not unused[0]
    )


def test_progressive_gan_outputs_are_continuous_between_phases():
    method, z, x = (
        progressive(youth=1.0),
        normal(5, 3, dtype=torch.float32),
        pictures(5, 16).x,
    )
    for boundary in (0.2, 0.4, 0.6, 0.8):
        painted, shown, logits = [], [], []
        for method.progress in (boundary - 1e-7, boundary + 1e-7):
            small = method.shrink(x)
            painted.append(
                repeated(method.generate(z), 16 // method.generate(z).shape[2])
            )
            shown.append(repeated(small, 16 // small.shape[2]))
            logits.append(method.score(small))
        for before, after in (painted, shown, logits):
            torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_progressive_gan_shrinks_real_pictures_to_the_current_level():
    method, x = progressive(youth=1.0), pictures(3, 16).x
    for progress, side, alpha in (
        (0.1, 4, 1),
        (0.3, 2, 0.5),
        (0.5, 2, 1),
        (0.65, 1, 0.25),
        (0.9, 1, 1),
    ):
        method.progress = progress
        sharp = block_means(x, side)
        expected = (1 - alpha) * repeated(block_means(x, 2 * side), 2) + alpha * sharp
        torch.testing.assert_close(method.shrink(x), expected)
        assert method.shrink(x).shape == method.generate(method.noise(3)).shape
        give(method, z := normal(3, 3, dtype=torch.float32))
        real, fake = (
            method.score(expected).tolist(),
            method.score(method.generate(z)).tolist(),
        )
        assert method.discriminator_loss(x).item() == pytest.approx(
            as_loops(NON_SATURATING)[0](real, fake), rel=1e-3
        )
        give(method, z)
        assert method.generator_loss(x).item() == pytest.approx(
            as_loops(NON_SATURATING)[1](fake), rel=1e-3
        )
        del method.noise


def test_progressive_gan_in_eval_mode_uses_the_last_level():
    method, x = progressive().eval(), pictures(3, 16).x
    z = normal(3, 3, dtype=torch.float32)
    for method.progress in (0.0, 0.3, 0.99):
        assert method.grown() == (2, 1.0) and torch.equal(method.shrink(x), x)
        assert torch.equal(method.generate(z), method.average(z, 2, 1.0))
        assert torch.equal(method.score(x), method.discriminator(x, 2, 1.0))
    maps = method.discriminator.maps(x, 2, 1.0)
    assert [m.shape[2] for m in maps] == [8, 4, 2]
    torch.testing.assert_close(method.encode(x), torch.tensor(pooled_by_hand(maps)))


@pytest.mark.parametrize("youth", [0.25, 0.5, 1.0])
def test_progressive_gan_grows_during_the_share_youth_of_training(youth):
    method, x = progressive(youth=youth), pictures(3, 16).x
    table = {
        0: (0, 1),
        0.1: (0, 1),
        0.3: (1, 0.5),
        0.5: (1, 1),
        0.65: (2, 0.25),
        0.85: (2, 1),
        1: (2, 1),
    }
    for share, (level, alpha) in table.items():  # of the youth
        method.progress = share * youth
        assert (
            method.grown() == (level, pytest.approx(alpha))
            and method.shrink(x).shape[2] == 4 << level
        )
    for method.progress in (youth, (1 + youth) / 2, 0.999):
        assert method.grown() == (2, 1.0) and torch.equal(method.shrink(x), x)


@pytest.mark.parametrize("youth", [0, -0.1, 1.1, math.nan, None])
def test_progressive_gan_rejects_a_youth_that_is_no_positive_share(youth):
    with pytest.raises(
        ValueError, match="argument `youth`: expected a (positive )?number"
    ):
        progressive(youth=youth)


@pytest.mark.parametrize(("youth", "updates"), [(1.0, (2, 4, 4)), (0.5, (1, 2, 7))])
def test_progressive_gan_training_changes_every_layer(youth, updates):
    method, sizes = progressive(momentum=0.5, youth=youth), []
    start = state_of(method)
    method.discriminator.register_forward_pre_hook(
        lambda net, inputs: sizes.append(inputs[0].shape[2])
    )
    list(fit(method, pictures(), 10, batch_size=8, optimizers=adamw(1e-2, 0)))
    assert [sizes.count(size) / 3 for size in (4, 8, 16)] == list(
        updates
    ) and sizes == sorted(sizes)
    assert progressive().youth == 0.5
    for name, value in method.named_parameters():
        # a bias before a norm: no gradient but rounding
        if not name.endswith(("resize.bias", "first.resize.0.bias")):
            assert not torch.equal(value, start[name]), name


# --- BiGAN ---


def bigan(seed=0, dim=1, **options):
    torch.manual_seed(seed)
    judge = PairDiscriminator(nn.Identity(), mlp(2 + dim, 16, 1, norm=None))
    return BiGAN(nn.Linear(2, dim), nn.Linear(dim, 2), judge, dim, **options)


@games
def test_bigan_losses_of_pairs_equal_loops(game):
    method, x, z = (
        bigan(game=game, dim=3),
        points(6).x,
        normal(6, 3, seed=1, dtype=torch.float32),
    )
    judge, theirs = method.discriminator.head, as_loops(game)
    with torch.no_grad():
        encoded = judge(torch.cat([x, method.encoder(x)], 1))[:, 0].tolist()
        generated = judge(torch.cat([method.generator(z), z], 1))[:, 0].tolist()
    give(method, z, z, z)
    for logits, expected in zip(
        method.pair_logits(x), (encoded, generated), strict=True
    ):
        assert logits.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert method.discriminator_loss(x).item() == pytest.approx(
        theirs[0](encoded, generated), rel=1e-4, abs=1e-6
    )
    # the other player wants the two kinds of pairs exchanged: an encoded pair's chance
    # to be called generated is 1 - D
    ours = theirs[1](generated) + theirs[1]([-a for a in encoded])
    if game is MINIMAX:
        ours = mean(math.log(1 - sigmoid(a)) for a in generated) + mean(
            math.log(sigmoid(a)) for a in encoded
        )
    assert method.generator_loss(x).item() == pytest.approx(ours, rel=1e-4, abs=1e-6)


def test_bigan_generator_and_encoder_are_updated_in_the_same_turn():
    method, log = bigan(), []
    (_, theirs), (_, ours) = method.turns()
    assert list(map(id, theirs)) == list(map(id, method.discriminator.parameters()))
    assert set(map(id, ours)) == {
        id(p) for net in (method.generator, method.encoder) for p in net.parameters()
    }
    assert all(gradients(method.generator_loss(points(8).x), method.generator))
    assert all(gradients(method.generator_loss(points(8).x), method.encoder))
    parts = method.generator, method.encoder, method.discriminator

    def watch(loss):
        def watched(x, y=None):
            log.append([state_of(part) for part in parts])
            return loss(x, y)

        return watched

    method.discriminator_loss, method.generator_loss = map(
        watch, (method.discriminator_loss, method.generator_loss)
    )
    list(fit(method, points(), 2, batch_size=16))
    for k, (before, after) in enumerate(zip(log, log[1:])):
        assert [not same(a, b) for a, b in zip(before, after)] == (
            [True, True, False] if k % 2 else [False] * 2 + [True]
        )


def test_bigan_encode_and_reconstruct_use_encoder_generator_or_average():
    method, x = bigan(momentum=0.5), points(6).x
    assert torch.equal(method.encode(x), method.encoder(x))
    assert torch.equal(method.reconstruct(x), method.generator(method.encoder(x)))
    nn.init.ones_(method.average.net.weight)
    assert torch.equal(method.eval().reconstruct(x), method.average(method.encoder(x)))
    trunk, head = nn.Linear(2, 4), nn.Linear(4 + 3, 1)
    judge, z = PairDiscriminator(trunk, head), normal(6, 3, dtype=torch.float32)
    expected = trunk(x) @ head.weight[0, :4] + z @ head.weight[0, 4:] + head.bias
    torch.testing.assert_close(judge(x, z), expected)


# E(G(z)) starts on z's side of 0, and on the other
@pytest.mark.parametrize("seed", [1, 4])
def test_bigan_encoder_learns_to_invert_a_linear_generator(seed):
    """On a line, where the inverse is linear, too; nothing in the game compares z with
    E(G(z))."""
    torch.manual_seed(seed)
    judge = PairDiscriminator(nn.Identity(), mlp(2, 32, 32, 1, norm=None))
    method, z = (
        BiGAN(nn.Linear(1, 1), nn.Linear(1, 1), judge, 1),
        torch.linspace(-2, 2, 41)[:, None],
    )
    data = Dataset(0.7 * normal(512, 1, dtype=torch.float32) + 1, torch.zeros(512), ())

    def error():
        with torch.no_grad():
            return (method.encoder(method.generator(z)) - z).square().mean().item()

    before = error()
    list(fit(method, data, 400, batch_size=128, optimizers=adamw(1e-2, 0, (0.5, 0.9))))
    assert error() < 0.05 < 1 < before


# --- paintings ---


def painting(
    hide=lambda x: hide_square(x, 5),
    weight=0.3,
    seed=0,
    game=NON_SATURATING,
    fill=fill_hole,
):
    torch.manual_seed(seed)
    decoder = Decoder((16, 8, 8), norm=group_norm)
    judge = Discriminator((4, 8), 6, 16, norm=group_norm)
    return AdversarialPainting(
        hide, fill, ResNet((8, 16), norm=group_norm), decoder, judge, weight, game
    )


def test_hide_colour_equals_torchvisions_grayscale():
    x = uniform(4, 3, 5, 6)
    left, mask = hide_colour(x)
    torch.testing.assert_close(
        left, rgb_to_grayscale(x, num_output_channels=3), atol=1e-4, rtol=0
    )
    assert mask.shape == (4, 1, 5, 6) and mask.dtype == torch.bool and mask.all()
    assert torch.equal(x, uniform(4, 3, 5, 6))


def doubled(row):
    """Twice as many numbers, at the quarters between their middles: bilinear
    interpolation along one axis."""
    before, after = [row[0], *row[:-1]], [*row[1:], row[-1]]
    return [
        v
        for a, b, c in zip(before, row, after)
        for v in (0.25 * a + 0.75 * b, 0.75 * b + 0.25 * c)
    ]


def test_fill_colour_adds_colour_at_the_given_lightness():
    output, x = normal(2, 3, 3, 4, dtype=torch.float32), uniform(2, 3, 6, 8)
    left, mask = hide_colour(x)
    found = fill_colour(output, left, mask)
    colour = output - rgb_to_grayscale(output, num_output_channels=3)
    for n, c in np.ndindex(2, 3):
        rows = [doubled(row) for row in colour[n, c].tolist()]
        columns = torch.tensor([doubled(column) for column in zip(*rows)])
        torch.testing.assert_close(
            found[n, c], left[n, c] + columns.T, atol=1e-3, rtol=0
        )
    torch.testing.assert_close(rgb_to_grayscale(found), left[:, :1], atol=2e-3, rtol=0)
    same_grid = fill_colour(x, left, mask)
    # the picture's own colours make the picture
    torch.testing.assert_close(same_grid, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        fill_colour(torch.full_like(output, 0.7), left, mask), left, atol=1e-3, rtol=0
    )
    method = painting(hide_colour, fill=fill_colour)
    assert torch.equal(
        method.paint(left, mask),
        fill_colour(method.decoder(method.encoder.feature_map(left)), left, mask),
    )


def test_painting_changes_hidden_pixels_only():
    method, x = painting(), pictures().x
    left, mask = method.hide(x)
    painted, seen = method.paint(left, mask), mask.expand_as(x)
    assert torch.equal(painted[~seen], x[~seen]) and not torch.equal(
        painted[seen], x[seen]
    )
    assert torch.equal(
        painted[seen], method.decoder(method.encoder.feature_map(left))[seen]
    )


def fixed_hole(x):
    """The same corner of every picture is black."""
    mask = torch.zeros_like(x[:, :1], dtype=torch.bool)
    mask[:, :, :6, :7] = True
    return x.masked_fill(mask, 0.0), mask


@games
@pytest.mark.parametrize("weight", [0, 0.3])
def test_painting_loss_is_the_hidden_pixels_error_plus_the_adversarial_loss(
    game, weight
):
    method, x, theirs = (
        painting(fixed_hole, weight, game=game),
        pictures(5).x,
        as_loops(game),
    )
    seen = []
    method.discriminator.register_forward_pre_hook(
        lambda net, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        left, mask = fixed_hole(x)
        painted = method.paint(left, mask)
        real, fake = (
            method.discriminator(torch.cat([picture, left], 1)).tolist()
            for picture in (x, painted)
        )
    seen.clear()
    squares = (painted[:, :, :6, :7] - x[:, :, :6, :7]).flatten().tolist()
    expected = mean(e * e for e in squares) + weight * theirs[1](fake)
    assert method.painter_loss(x).item() == pytest.approx(expected, rel=1e-4)
    assert len(seen) == (weight > 0)
    assert method.discriminator_loss(x).item() == pytest.approx(
        theirs[0](real, fake), rel=1e-4, abs=1e-6
    )
    for pair, picture in zip(seen[-2:], (x, painted), strict=True):
        # the discriminator also sees the painter's input
        assert pair.shape == (5, 6, 16, 16) and torch.equal(pair[:, 3:], left)
        torch.testing.assert_close(pair[:, :3], picture)


def test_painting_turns_give_gradients_to_their_own_player_only():
    method, x = painting(weight=0.3), pictures(5).x
    (judge, theirs), (paint, ours) = method.turns()
    assert (judge, paint) == (method.discriminator_loss, method.painter_loss)
    assert list(map(id, theirs)) == list(map(id, method.discriminator.parameters()))
    assert list(map(id, ours)) == [
        id(p) for net in (method.encoder, method.decoder) for p in net.parameters()
    ]
    assert not any(gradients(judge(x), method.encoder)) and not any(
        gradients(judge(x), method.decoder)
    )
    assert all(gradients(judge(x), method.discriminator)[:-1])
    for weight, touched in ((0.3, True), (0, False)):
        method = painting(weight=weight)
        assert any(gradients(method.painter_loss(x), method.discriminator)) == touched
        assert all(gradients(method.painter_loss(x), method.encoder))
        assert all(gradients(method.painter_loss(x), method.decoder))
    assert torch.equal(method.encode(x), method.encoder(x))
    with pytest.raises(ValueError, match="argument `weight`: expected a number in"):
        painting(weight=-0.1)


# --- modes that were drawn ---


def test_mode_coverage_rejects_an_empty_set_of_points():
    for none in (torch.zeros(0, 2), torch.zeros(0, 2, dtype=F64)):
        with pytest.raises(
            ValueError, match="argument `points`: expected a whole number in .* got 0"
        ):
            mode_coverage(none, torch.zeros(3, 2, dtype=none.dtype), 1.0)


def test_mode_coverage_is_exact_far_from_the_origin():
    """Distances by |a|^2 + |b|^2 - 2 a b would have errors of about 1 here."""
    # 36: torch would take the product
    centres = 1000 + torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))
    points = (centres + torch.tensor([0.25, -0.125])).repeat(3, 1)
    apart = math.hypot(0.25, 0.125)
    assert mode_coverage(points, centres, apart + 1e-3) == (36, 1.0)
    assert mode_coverage(points, centres, apart - 1e-3) == (0, 0.0)
    assert mode_coverage(centres, centres, 1e-6) == (36, 1.0)


# --- whole runs ---


RUNS = {
    "gan": lambda seed: (
        gan(seed=seed, k=2, penalty=GradientPenalty(), momentum=0.9),
        points(),
    ),
    "wgan": lambda seed: (gan(WGAN, seed=seed, k=2), points()),
    "conditional": lambda seed: (conditional(seed), pictures()),
    "progressive": lambda seed: (progressive(seed, momentum=0.9), pictures()),
    "bigan": lambda seed: (bigan(seed, dim=3, momentum=0.9), points()),
    "painting": lambda seed: (painting(seed=seed), pictures()),
    "colouring": lambda seed: (
        painting(hide_colour, seed=seed, fill=fill_colour),
        pictures(),
    ),
}


@pytest.mark.parametrize("name", list(RUNS))
def test_resumed_gan_training_ends_with_the_same_weights_bit_for_bit(name, tmp_path):
    def run(seed, stop=None, **options):
        method, data = RUNS[name](seed)
        steps = []
        for step in fit(
            method, data, 6, batch_size=8, optimizers=adamw(1e-2), **options
        ):
            steps.append(step.k)
            assert all(loss.isfinite() for loss in step.losses)
            if step.k == stop:
                break
        return method, steps

    whole, _ = run(0)
    run(0, stop=3, checkpoint=tmp_path / "run.pt")
    # the seed differs, so all weights come from the checkpoint
    resumed, steps = run(1, checkpoint=tmp_path / "run.pt")
    assert steps == [4, 5, 6] and same(whole.state_dict(), resumed.state_dict())
    assert not same(whole.state_dict(), RUNS[name](0)[0].state_dict())
    kept = [key for key in whole.state_dict() if key.startswith("average.")]
    assert kept or name in ("painting", "colouring")


class FixedNoise:
    """The noise is what the data pair x with, so that nothing is drawn; it stands
    before a GAN's class."""

    def discriminator_loss(self, x, y=None):
        self.noise = lambda n: y
        return super().discriminator_loss(x, y)

    def generator_loss(self, x, y=None):
        self.noise = lambda n: y
        return super().generator_loss(x, y)


class FixedGAN(FixedNoise, GAN):
    pass


class FixedWGAN(FixedNoise, WGAN):
    pass


class FixedBiGAN(FixedNoise, BiGAN):
    pass


def middle(critic, real, fake):
    return 10 * gradient_penalty(critic, real, fake, torch.full((len(real),), 0.4))


def fixed_pictures():
    torch.manual_seed(0)
    judge = Discriminator((8, 16), 3, 16, norm=group_norm)
    return FixedGAN(Generator(3, (16, 8), 3, norm=group_norm), judge, 3, penalty=middle)


def fixed_pairs():
    torch.manual_seed(0)
    return FixedBiGAN(
        nn.Linear(2, 3),
        nn.Linear(3, 2),
        PairDiscriminator(nn.Identity(), mlp(5, 8, 1, norm=None)),
        3,
    )


def fixed_data(x):
    return Dataset(x, normal(len(x), 3, seed=7, dtype=torch.float32), ())


SHARED = {
    "gan": (
        lambda: gan(FixedGAN, k=2, momentum=0.5, penalty=middle),
        lambda: fixed_data(points().x),
    ),
    "wgan": (lambda: gan(FixedWGAN, k=2, clip=0.2), lambda: fixed_data(points().x)),
    "pictures": (fixed_pictures, lambda: fixed_data(pictures(32).x)),
    "bigan": (fixed_pairs, lambda: fixed_data(points().x)),
}


def train(name):
    """Losses and final state of a few updates of plain SGD."""
    method, data = SHARED[name][0](), SHARED[name][1]()
    optimizers = sgd(0.1, weight_decay=0, momentum=0)
    steps = fit(method, data, 3, batch_size=16, optimizers=optimizers, schedule=plain)
    return [[loss.item() for loss in step.losses] for step in steps], state_of(method)


def work():
    return {name: train(name) for name in SHARED}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return two_processes("test_gan", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", list(SHARED))
def test_gan_training_in_two_processes_equals_one_process(two, name):
    losses, state = train(name)
    (losses_0, state_0), (losses_1, state_1) = (
        per_process[name] for per_process in two
    )
    assert same(state_0, state_1), "the processes drifted apart"
    start = SHARED[name][0]().state_dict()
    for key, value in state.items():
        torch.testing.assert_close(state_0[key], value, rtol=1e-4, atol=1e-5)
        assert (
            not key.endswith("weight")
            or "average" in key
            or not torch.equal(value, start[key])
        ), key
    halves = (torch.tensor(losses_0) + torch.tensor(losses_1)) / 2
    torch.testing.assert_close(halves, torch.tensor(losses), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("game", "penalty"),
    [(NON_SATURATING, None), (WASSERSTEIN, GradientPenalty(1.0))],
    ids=["logits", "critic"],
)
def test_gan_training_brings_mean_and_std_near_the_data(game, penalty):
    torch.manual_seed(0)
    place, spread = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0])
    judge = Score(*mlp(2, 32, 32, 1, norm=None))
    method = GAN(
        mlp(2, 32, 2, norm=None), judge, 2, game, k=2, penalty=penalty, momentum=0.98
    )
    data = Dataset(
        place + spread * normal(2000, 2, dtype=torch.float32), torch.zeros(2000), ()
    )
    list(fit(method, data, 400, batch_size=128, optimizers=adamw(5e-3, 0, (0.5, 0.9))))
    fakes = method.eval().generate(normal(4000, 2, seed=9, dtype=torch.float32))
    assert (fakes.mean(0) - place).abs().max() < 0.35
    assert (fakes.std(0) / spread).log().abs().max() < math.log(1.5)


# --- what is refused ---

V, M = torch.zeros(4), torch.zeros(4, 2)
BAD = {
    "discriminator_loss real": (lambda: discriminator_loss(M, V), "real"),
    "discriminator_loss fake": (lambda: discriminator_loss(V, M), "fake"),
    "discriminator_loss int": (lambda: discriminator_loss(V.long(), V), "real"),
    "saturating_loss": (lambda: saturating_loss(M), "fake"),
    "non_saturating_loss": (lambda: non_saturating_loss(0.5), "fake"),
    "critic_loss real": (lambda: critic_loss(M, V), "real"),
    "critic_loss fake": (lambda: critic_loss(V, M), "fake"),
    "critic_generator_loss": (lambda: critic_generator_loss(M), "fake"),
    "optimal_logit p": (lambda: optimal_logit(0.5, V), "log_p"),
    "optimal_logit q": (lambda: optimal_logit(V, V.long()), "log_q"),
    "jensen_shannon size": (lambda: jensen_shannon(V, V[:3]), "q"),
    "jensen_shannon shape": (lambda: jensen_shannon(M, V), "p"),
    "truncated shape": (lambda: truncated(V, 1.0), "z"),
    "truncated int": (lambda: truncated(M.long(), 1.0), "z"),
    "truncated zero": (lambda: truncated(M, 0), "threshold"),
    "truncated negative": (lambda: truncated(M, -1.0), "threshold"),
    "truncated nan": (lambda: truncated(M, math.nan), "threshold"),
}


@pytest.mark.parametrize(("call", "name"), BAD.values(), ids=BAD.keys())
def test_gan_functions_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`: expected"):
        call()


@pytest.mark.parametrize(
    ("y", "message"),
    [([0], "expected 2 labels, one for each row"), ([0, 5], "from 0 to 4, got 0 to 5")],
)
def test_conditional_networks_reject_a_missing_label_and_one_out_of_range(y, message):
    """One label would be broadcast to both pictures."""
    method, y = conditional(), torch.tensor(y)
    with pytest.raises(ValueError, match=f"argument `y`: .*{message}"):
        method.generate(method.noise(2), y)
    with pytest.raises(ValueError, match=f"argument `y`: .*{message}"):
        method.score(torch.rand(2, 3, 16, 16), y)
