"""The variational autoencoder, its likelihoods, importance weights, labels, and
interpolation in the latent space.

The oracles are plain Python loops, torch.distributions, quadrature, and Monte Carlo
with an error bar. One model is known exactly: with a linear decoder and Gaussian noise
(probabilistic PCA, Tipping & Bishop 1999), the marginal likelihood and the posterior
are Gaussians in closed form.
"""

import math

import numpy as np
import pytest
import torch
from methods import normal, seeded
from torch import nn
from torch.distributions import (
    Beta,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from course_lib.data import Dataset
from course_lib.latent.conditional_vae import ConditionalVAE
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
from course_lib.latent.vae import (
    VAE,
    active_units,
    gaussian_kl,
    importance_weighted_bound,
    reparameterise,
)
from course_lib.nets.mlp import mlp
from course_lib.optim import adamw
from course_lib.train import fit

F64 = torch.float64


def noise(monkeypatch, eps):
    """From now on the posterior's draw uses this eps."""

    def drawn(like):
        assert like.shape == eps.shape and like.dtype == eps.dtype
        return eps

    monkeypatch.setattr(torch, "randn_like", drawn)


def near(found, expected, error):
    """Within four standard errors."""
    return bool(((found - expected).abs() < 4 * error).all())


def mean_and_error(draws):
    return draws.mean(0), draws.std(0) / math.sqrt(len(draws))


# --- KL divergence and reparameterisation ---


def test_gaussian_kl_equals_a_loop():
    mean, log_variance, expected = 2 * normal(6, 3), normal(6, 3, seed=1), []
    for row, logs in zip(mean.tolist(), log_variance.tolist(), strict=True):
        expected.append(
            sum(
                0.5 * (m * m + math.exp(v) - 1 - v)
                for m, v in zip(row, logs, strict=True)
            )
        )
    assert gaussian_kl(mean, log_variance).tolist() == pytest.approx(
        expected, rel=1e-12
    )


def test_gaussian_kl_equals_torchs_kl_divergence():
    mean, log_variance = 2 * normal(7, 4), 2 * normal(7, 4, seed=1)
    theirs = kl_divergence(
        Normal(mean, log_variance.exp().sqrt()), Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), theirs)
    assert (gaussian_kl(mean, log_variance) > 0).all()


def test_gaussian_kl_equals_a_monte_carlo_estimate():
    mean, log_variance = normal(3), normal(3, seed=1)
    q, p = (
        Normal(mean, (log_variance / 2).exp()),
        Normal(torch.zeros(3, dtype=F64), 1.0),
    )
    torch.manual_seed(0)
    z = q.sample((200_000,))
    estimate, error = mean_and_error((q.log_prob(z) - p.log_prob(z)).sum(1))
    assert near(gaussian_kl(mean, log_variance), estimate, error) and error < 0.01


def test_gaussian_kl_is_zero_at_the_prior_and_quadratic_near_it():
    zero = torch.zeros(5, 3, dtype=F64)
    assert gaussian_kl(zero, zero).tolist() == [0] * 5
    for step in (0.01, -0.01):
        assert gaussian_kl(zero + step, zero).tolist() == pytest.approx(
            [1.5 * step**2] * 5
        )
        assert gaussian_kl(zero, zero + step).tolist() == pytest.approx(
            [0.75 * step**2] * 5, rel=0.01
        )


@pytest.mark.parametrize("leading", [(), (4,), (2, 3, 5)])
def test_gaussian_kl_sums_the_last_dimension_only(leading):
    mean, log_variance = normal(*leading, 3), normal(*leading, 3, seed=1)
    found = gaussian_kl(mean, log_variance)
    assert found.shape == leading
    apart = torch.stack(
        [
            gaussian_kl(mean[..., d : d + 1], log_variance[..., d : d + 1])
            for d in range(3)
        ]
    )
    torch.testing.assert_close(found, apart.sum(0))


def test_gaussian_kl_gradient_equals_finite_differences_and_its_formula():
    mean, log_variance = (
        normal(4, 3).requires_grad_(),
        normal(4, 3, seed=1).requires_grad_(),
    )
    assert torch.autograd.gradcheck(gaussian_kl, (mean, log_variance))
    by_mean, by_log_variance = torch.autograd.grad(
        gaussian_kl(mean, log_variance).sum(), (mean, log_variance)
    )
    torch.testing.assert_close(by_mean, mean.detach())
    torch.testing.assert_close(by_log_variance, (log_variance.detach().exp() - 1) / 2)


def test_reparameterise_draws_have_the_given_mean_and_variance():
    mean, log_variance = (
        torch.tensor([1.0, -2.0, 0.0], dtype=F64),
        torch.tensor([0.5, -3.0, 2.0], dtype=F64),
    )
    n = 200_000
    z = reparameterise(mean.expand(n, 3), log_variance.expand(n, 3), normal(n, 3))
    found, error = mean_and_error(z)
    assert near(found, mean, error)
    squares, error = mean_and_error((z - mean).square())
    assert near(
        squares, torch.tensor([math.exp(v) for v in (0.5, -3.0, 2.0)], dtype=F64), error
    )


def test_reparameterise_passes_gradients_to_mean_and_log_variance():
    mean, log_variance, eps = (
        normal(4, 3).requires_grad_(),
        normal(4, 3, seed=1).requires_grad_(),
        normal(4, 3, seed=2),
    )
    z, cotangent = reparameterise(mean, log_variance, eps), normal(4, 3, seed=3)
    by_mean, by_log_variance = torch.autograd.grad(z, (mean, log_variance), cotangent)
    torch.testing.assert_close(by_mean, cotangent)
    sigma = log_variance.detach().exp().sqrt()
    torch.testing.assert_close(by_log_variance, cotangent * sigma * eps / 2)


def test_reparameterise_without_noise_returns_the_mean():
    mean, log_variance = normal(4, 3), normal(4, 3, seed=1)
    assert torch.equal(
        reparameterise(mean, log_variance, torch.zeros(4, 3, dtype=F64)), mean
    )
    # several draws of each row
    draws = reparameterise(mean, log_variance, normal(6, 4, 3, seed=2))
    assert draws.shape == (6, 4, 3)
    torch.testing.assert_close(
        draws[5], reparameterise(mean, log_variance, normal(6, 4, 3, seed=2)[5])
    )


# --- likelihoods ---


def all_binary_pictures(d):
    return torch.tensor(
        [[(n >> bit) & 1 for bit in range(d)] for n in range(2**d)], dtype=F64
    )


def test_bernoulli_log_likelihood_equals_torchs_and_a_loop():
    logits, x = 3 * normal(8, 5), (normal(8, 5, seed=1) > 0).double()
    found, expected = bernoulli_log_likelihood(logits, x), []
    torch.testing.assert_close(
        found, torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(1)
    )
    for row, pixels in zip(logits.tolist(), x.tolist(), strict=True):
        chances = [1 / (1 + math.exp(-a)) for a in row]
        expected.append(
            sum(
                math.log(p if one else 1 - p)
                for p, one in zip(chances, pixels, strict=True)
            )
        )
    assert found.tolist() == pytest.approx(expected)


def test_bernoulli_log_likelihood_of_all_binary_pictures_sums_to_1():
    pictures = all_binary_pictures(4)
    for logits in 3 * normal(5, 4):
        total = bernoulli_log_likelihood(logits.expand(16, 4), pictures).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_bernoulli_log_likelihood_and_its_gradient_are_finite_at_extreme_logits(dtype):
    logits = torch.tensor(
        [[1000.0, -1000.0], [1000.0, -1000.0], [0.0, -1000.0]],
        dtype=dtype,
        requires_grad=True,
    )
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=dtype)
    found = bernoulli_log_likelihood(logits, x)
    found.sum().backward()
    assert (
        found.tolist() == pytest.approx([0, -2000, -math.log(2)])
        and logits.grad.isfinite().all()
    )
    # the naive formula is not finite here
    assert (
        not torch.where(x > 0, logits.sigmoid(), 1 - logits.sigmoid())
        .log()
        .isfinite()
        .all()
    )


def test_gaussian_log_likelihood_equals_torchs_and_a_loop():
    mean, x, log_sigma = (
        normal(8, 5),
        2 * normal(8, 5, seed=1),
        torch.tensor(-0.7, dtype=F64),
    )
    found, sigma, expected = (
        gaussian_log_likelihood(mean, x, log_sigma),
        math.exp(-0.7),
        [],
    )
    torch.testing.assert_close(found, Normal(mean, sigma).log_prob(x).sum(1))
    for row, pixels in zip(mean.tolist(), x.tolist(), strict=True):
        densities = [
            math.exp(-0.5 * ((v - m) / sigma) ** 2) / math.sqrt(2 * math.pi * sigma**2)
            for m, v in zip(row, pixels, strict=True)
        ]
        expected.append(math.log(math.prod(densities)))
    assert found.tolist() == pytest.approx(expected)
    each = normal(8, 5, seed=2)  # a log sigma for each number
    torch.testing.assert_close(
        gaussian_log_likelihood(mean, x, each),
        Normal(mean, each.exp()).log_prob(x).sum(1),
    )


@pytest.mark.parametrize("log_sigma", [-2.0, 0.0, 0.8])
def test_gaussian_log_likelihood_density_integrates_to_1(log_sigma):
    step, log_sigma = 0.001, torch.tensor(log_sigma, dtype=F64)
    x = torch.arange(-25, 25, step, dtype=F64)[:, None]
    density = gaussian_log_likelihood(torch.full_like(x, 0.3), x, log_sigma).exp()
    assert density.sum().item() * step == pytest.approx(1, abs=1e-9)


def test_gaussian_log_likelihood_gradients_equal_finite_differences():
    mean, x = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    log_sigma = torch.tensor(0.4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_log_likelihood, (mean, x, log_sigma))
    (found,) = torch.autograd.grad(
        gaussian_log_likelihood(mean, x, log_sigma).sum(), log_sigma
    )
    assert found.item() == pytest.approx(
        ((mean - x).square() / math.exp(0.8) - 1).sum().item()
    )


def test_gaussian_learned_sigma_is_best_at_the_root_mean_squared_error():
    outputs, x = normal(6, 2, 3, 4), 3 * normal(6, 2, 3, 4, seed=1)
    likelihood = Gaussian(1.0, learned=True).double()
    optimizer = torch.optim.LBFGS(
        likelihood.parameters(), max_iter=100, tolerance_grad=1e-10, tolerance_change=0
    )

    def objective():
        optimizer.zero_grad()
        loss = -likelihood.log_prob(outputs, x).mean()
        loss.backward()
        return loss

    optimizer.step(objective)
    assert likelihood.log_sigma.exp().item() ** 2 == pytest.approx(
        (outputs - x).square().mean().item(), rel=1e-6
    )


def test_gaussian_log_prob_of_fixed_sigma_is_a_squared_error_up_to_a_constant():
    outputs, x = normal(5, 2, 3, 4), normal(5, 2, 3, 4, seed=1)
    squares = (outputs - x).square().flatten(1)
    half_sum = Gaussian(1.0).double().log_prob(outputs, x) + squares.sum(1) / 2
    torch.testing.assert_close(
        half_sum, torch.full((5,), -12 * math.log(2 * math.pi), dtype=F64)
    )
    half_mean = (
        Gaussian(math.sqrt(24)).double().log_prob(outputs, x) + squares.mean(1) / 2
    )
    # log sigma was a float32
    torch.testing.assert_close(half_mean, half_mean[:1].expand(5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("smallest", [1 / 256, 0.5])
def test_gaussian_per_pixel_sigma_is_never_below_smallest(smallest):
    """The second half of the decoder's channels is log sigma. The smallest sigma is
    added to it."""
    likelihood, outputs = GaussianPerPixel(smallest), 3 * normal(4, 6, 2, 3)
    x, mean, sigma = (
        normal(4, 3, 2, 3, seed=1),
        outputs[:, :3],
        smallest + outputs[:, 3:].exp(),
    )
    found = likelihood.log_prob(outputs, x)
    assert found.shape == (4,)
    torch.testing.assert_close(found, Normal(mean, sigma).log_prob(x).sum((1, 2, 3)))
    assert torch.equal(likelihood.mean(outputs), mean)
    # the mean is right and log sigma very small
    sure = torch.cat([x, torch.full_like(x, -1000.0)], 1).requires_grad_()
    best = likelihood.log_prob(sure, x)
    best.sum().backward()
    assert best.tolist() == pytest.approx(
        [-18 * math.log(smallest * math.sqrt(2 * math.pi))] * 4
    )
    assert sure.grad.isfinite().all()
    n = 20_000
    torch.manual_seed(0)
    draws = likelihood.sample(outputs[:1].expand(n, 6, 2, 3))
    (average, error), (squares, squares_error) = (
        mean_and_error(draws),
        mean_and_error((draws - mean[0]).square()),
    )
    assert near(average, mean[0], error) and near(
        squares, sigma[0].square(), squares_error
    )


def test_likelihoods_kl_and_importance_bound_of_bfloat16_are_float32():
    logits, x = (
        normal(4, 300, dtype=torch.bfloat16),
        (normal(4, 300, seed=1) > 0).bfloat16(),
    )
    found = bernoulli_log_likelihood(logits, x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, bernoulli_log_likelihood(logits.float(), x.float())
    )
    found = gaussian_log_likelihood(logits, x, torch.tensor(-1.0))
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, gaussian_log_likelihood(logits.float(), x.float(), torch.tensor(-1.0))
    )
    assert (
        gaussian_kl(logits, logits).dtype
        == importance_weighted_bound(logits).dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), Gaussian(0.5), Gaussian(2.0, learned=True)]
)
def test_likelihood_log_prob_sums_over_channels_and_places(likelihood):
    outputs, x = (
        normal(4, 2, 3, 5, dtype=torch.float32),
        (normal(4, 2, 3, 5, seed=1) > 0).float(),
    )
    if isinstance(likelihood, Bernoulli):
        pixels, mean = (
            torch.distributions.Bernoulli(logits=outputs),
            1 / (1 + (-outputs).exp()),
        )
    else:
        pixels, mean = Normal(outputs, likelihood.log_sigma.exp()), outputs
    found = likelihood.log_prob(outputs, x)
    assert found.shape == (4,)
    torch.testing.assert_close(found, pixels.log_prob(x).sum((1, 2, 3)))
    torch.testing.assert_close(likelihood.mean(outputs), mean)
    with pytest.raises(ValueError, match="argument `x`"):
        likelihood.log_prob(outputs, x[:, :1])


def test_likelihood_samples_have_the_right_moments():
    n, outputs = 40_000, normal(2, 1, 2, dtype=torch.float32)
    torch.manual_seed(0)
    draws = Bernoulli().sample(outputs.expand(n, 2, 1, 2))
    assert draws.shape == (n, 2, 1, 2) and set(draws.unique().tolist()) == {0, 1}
    found, error = mean_and_error(draws)
    assert near(found, outputs.sigmoid(), error)
    draws = Gaussian(0.3).sample(outputs.expand(n, 2, 1, 2))
    found, error = mean_and_error(draws)
    assert near(found, outputs, error)
    squares, error = mean_and_error((draws - outputs).square())
    assert near(squares, torch.tensor(0.09), error)
    # each pixel has its own noise
    assert draws.flatten(1).T.corrcoef().fill_diagonal_(0).abs().max() < 4 / math.sqrt(
        n
    )


def test_gaussian_sigma_requires_gradient_only_if_learned():
    fixed, learned = Gaussian(0.5), Gaussian(0.5, learned=True)
    assert not fixed.log_sigma.requires_grad and learned.log_sigma.requires_grad
    assert (
        fixed.log_sigma.exp().item()
        == learned.log_sigma.exp().item()
        == pytest.approx(0.5)
    )
    assert "log_sigma" in fixed.state_dict() and [*Bernoulli().parameters()] == []


# --- pixels that suit a likelihood ---


def test_binarise_draws_0_or_1_with_the_grey_as_mean():
    x, n = torch.tensor([0.0, 0.1, 0.5, 0.97, 1.0]), 40_000
    torch.manual_seed(0)
    drawn = binarise(x.expand(n, 5))
    assert set(drawn.unique().tolist()) == {0, 1} and drawn.dtype == torch.float32
    found, error = mean_and_error(drawn)
    assert near(found[1:4], x[1:4], error[1:4]) and found[[0, 4]].tolist() == [0, 1]
    assert not torch.equal(binarise(x.expand(n, 5)), drawn)  # new noise each time


def test_dequantise_is_uniform_in_the_interval_of_each_grey():
    grey, n = torch.arange(256.0), 2000
    torch.manual_seed(0)
    v = dequantise((grey / 255).expand(n, 256))
    # uniform in [0, 1): mean 1/2, variance 1/12, tenths alike
    u = 256 * v.double() - grey
    assert u.min() >= 0 and u.max() <= 1 and v.shape == (n, 256)
    found, error = mean_and_error(u)
    assert ((found - 0.5).abs() < 5 * error).all()  # 256 of them: 5
    assert u.var().item() == pytest.approx(1 / 12, rel=0.01)
    shares = u.flatten().histc(10, 0, 1) / u.numel()
    assert (shares - 0.1).abs().max() < 5 * math.sqrt(0.09 / u.numel())
    assert not torch.equal(dequantise((grey / 255).expand(n, 256)), v)


@pytest.mark.parametrize(
    "u", [0.0, 0.5, 1 - 2**-24], ids=["least", "middle", "largest"]
)
def test_dequantise_keeps_each_grey_recoverable(monkeypatch, u):
    """Also with the largest number below 1 that a uniform float32 draw can return."""
    grey = torch.arange(256.0)
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, u))
    v = dequantise(grey / 255)
    assert torch.equal((256 * v).floor(), grey) and v.max() < 1


@pytest.mark.parametrize("a, b", [(2.0, 5.0), (1.0, 1.0), (5.0, 0.7), (40.0, 60.0)])
def test_dequantise_mean_log_density_bounds_the_log_probability(monkeypatch, a, b):
    """Jensen: E_u log p((g + u) / 256) - log 256 <= log P(bin g), by quadrature over
    u."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    u, weights = (
        torch.tensor((nodes + 1) / 2)[:, None],
        torch.tensor(weights / 2)[:, None],
    )
    monkeypatch.setattr(torch, "rand_like", lambda like: u.expand_as(like))
    v = dequantise((torch.arange(256, dtype=F64) / 255).expand(24, 256))
    log_density = Beta(torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)).log_prob(
        v
    )
    inner = slice(1, 255)  # at the ends a density may be infinite, and quadrature worse
    bound = (weights * log_density).sum(0)[inner] - math.log(256)
    log_probability = ((weights * log_density.exp()).sum(0) / 256).log()[inner]
    assert (bound <= log_probability + 1e-9).all()
    assert log_probability.exp().sum() < 1 + 1e-12
    if (a, b) == (1.0, 1.0):
        # flat density: the bound is tight
        torch.testing.assert_close(bound, torch.full((254,), -math.log(256), dtype=F64))
    else:
        assert (bound < log_probability - 1e-7).any()


# --- the linear-Gaussian VAE, of which everything is known ---


class LinearEncoder(nn.Module):
    """A linear mean; one log-variance for all pictures."""

    def __init__(self, pixels, latents):
        super().__init__()
        self.mean, self.log_variance = (
            nn.Linear(pixels, latents),
            nn.Parameter(torch.zeros(latents)),
        )

    def forward(self, x):
        mean = self.mean(x)
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def linear_vae(weight, bias, sigma, mean_weight, mean_bias, log_variance):
    """A float64 VAE with p(x given z) = N(weight z + bias, sigma^2) and a q whose mean
    is linear in x."""
    pixels, latents = weight.shape
    vae = VAE(
        LinearEncoder(pixels, latents), nn.Linear(latents, pixels), Gaussian(1.0)
    ).double()
    values = {
        vae.decoder.weight: weight,
        vae.decoder.bias: bias,
        vae.likelihood.log_sigma: torch.tensor(math.log(sigma), dtype=F64),
        vae.encoder.mean.weight: mean_weight,
        vae.encoder.mean.bias: mean_bias,
        vae.encoder.log_variance: log_variance,
    }
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
    return vae


SIGMA = 0.7
# orthogonal
COLUMNS = torch.linalg.qr(normal(5, 2, seed=11))[0] * torch.tensor(
    [1.5, 0.6], dtype=F64
)
OFFSET = normal(5, seed=12)
# M, of which the posterior is made; diagonal
PRECISION = COLUMNS.T @ COLUMNS + SIGMA**2 * torch.eye(2, dtype=F64)
MARGINAL = MultivariateNormal(
    OFFSET, COLUMNS @ COLUMNS.T + SIGMA**2 * torch.eye(5, dtype=F64)
)
POINTS = OFFSET + 1.5 * normal(6, 5, seed=13)


def true_posterior(x):
    mean = torch.linalg.solve(PRECISION, COLUMNS.T @ (x - OFFSET).T).T
    return MultivariateNormal(mean, SIGMA**2 * PRECISION.inverse())


def vae_with_the_true_posterior(shift=0.0, widened=0.0):
    """With shift and widened, the mean is shifted and the log-variance larger by as
    much."""
    back = torch.linalg.solve(PRECISION, COLUMNS.T)
    variance = SIGMA**2 * PRECISION.inverse().diagonal()
    return linear_vae(
        COLUMNS, OFFSET, SIGMA, back, shift - back @ OFFSET, variance.log() + widened
    )


def vae_with_some_posterior(seed=0, log_variance=(-0.4, 0.3)):
    log_variance = torch.tensor(log_variance, dtype=F64)
    return linear_vae(
        COLUMNS,
        OFFSET,
        SIGMA,
        0.3 * normal(2, 5, seed=seed),
        0.5 * normal(2, seed=seed + 1),
        log_variance,
    )


def expected_elbo(vae, x, nodes=4):
    """E over eps by Gauss-Hermite quadrature. It is exact, as log p(x given z) is
    quadratic in two latents."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    total = 0
    for a, wa in zip(points, weights, strict=True):
        for b, wb in zip(points, weights, strict=True):
            log_likelihood, kl = vae.terms(
                x, eps=torch.tensor([[a, b]], dtype=F64).expand(len(x), 2)
            )
            total = total + wa * wb / (2 * math.pi) * (log_likelihood - kl)
    return total


@pytest.mark.parametrize("seed", [0, 10, 20])
@pytest.mark.parametrize("log_variance", [(-0.4, 0.3), (-3.0, -1.5), (1.0, 0.0)])
def test_elbo_plus_kl_to_the_true_posterior_is_the_log_likelihood(seed, log_variance):
    vae = vae_with_some_posterior(seed, log_variance)
    elbo, log_p = expected_elbo(vae, POINTS).detach(), MARGINAL.log_prob(POINTS)
    assert (elbo < log_p).all()
    mean, log_variance = vae.posterior(POINTS)
    q = MultivariateNormal(mean, torch.diag_embed(log_variance.exp()))
    torch.testing.assert_close(
        log_p - elbo,
        kl_divergence(q, true_posterior(POINTS)).detach(),
        rtol=1e-9,
        atol=1e-9,
    )


def test_elbo_with_the_true_posterior_is_the_log_likelihood_at_every_draw():
    vae, log_p = vae_with_the_true_posterior(), MARGINAL.log_prob(POINTS)
    torch.testing.assert_close(expected_elbo(vae, POINTS), log_p)
    eps = torch.cat([3 * normal(20, 6, 2, seed=5), torch.zeros(1, 6, 2, dtype=F64)])
    weights = vae.log_weights(POINTS, eps)
    torch.testing.assert_close(weights, log_p.expand(21, 6))
    for k in (1, 2, 21):
        torch.testing.assert_close(importance_weighted_bound(weights[:k]), log_p)


def test_elbo_has_zero_gradient_at_the_true_posterior():
    vae = vae_with_the_true_posterior()
    gradients = torch.autograd.grad(
        expected_elbo(vae, POINTS).sum(), [*vae.encoder.parameters()]
    )
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-9


def test_importance_weighted_bound_tightens_with_more_weights():
    vae, repetitions, counts = (
        vae_with_the_true_posterior(0.4, 0.7),
        4000,
        (1, 2, 4, 16, 64, 256),
    )
    x = POINTS[:1]
    log_p = MARGINAL.log_prob(x).item()
    with torch.no_grad():
        weights = vae.log_weights(
            x.expand(repetitions, 5), normal(256, repetitions, 2, seed=6)
        )
    # (repetitions, counts)
    bounds = torch.stack([importance_weighted_bound(weights[:k]) for k in counts], 1)
    mean, error = mean_and_error(bounds)
    gain, gain_error = mean_and_error(bounds.diff(dim=1))
    assert (gain > 3 * gain_error).all()  # it rises with K
    assert (mean < log_p + 4 * error).all() and (mean[:-1] < log_p).all()
    gap = log_p - mean
    assert near(gap[0], log_p - expected_elbo(vae, x)[0], error[0])  # K = 1 is the ELBO
    assert gap[-1] < 0.01 < 0.3 < gap[0]


# --- importance weights ---


def small_vae(likelihood=None, seed=0, **options):
    """Pictures (N, 1, 2, 3) in float64, three latents."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Flatten(), mlp(6, 8, 6, norm=None))
    decoder = nn.Sequential(mlp(3, 8, 6, norm=None), nn.Unflatten(1, (1, 2, 3)))
    return VAE(encoder, decoder, likelihood or Gaussian(0.5), **options).double()


def pictures(n=5, seed=0):
    return torch.rand(n, 1, 2, 3, generator=seeded(seed), dtype=F64)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(0.4)])
def test_log_weights_equal_likelihood_plus_prior_minus_posterior(likelihood):
    vae, x, eps = small_vae(likelihood), pictures().round(), normal(4, 5, 3, seed=1)
    found = vae.log_weights(x, eps)
    assert found.shape == (4, 5)
    mean, log_variance = vae.encoder(x)[:, :3], vae.encoder(x)[:, 3:]
    q = Independent(Normal(mean, log_variance.exp().sqrt()), 1)
    prior = MultivariateNormal(torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64))
    for k in range(4):
        z = mean + log_variance.exp().sqrt() * eps[k]
        logits = vae.decoder(z)
        if isinstance(likelihood, Bernoulli):
            pixels = torch.distributions.Bernoulli(logits=logits)
        else:
            pixels = Normal(logits, likelihood.log_sigma.exp())
        expected = pixels.log_prob(x).sum((1, 2, 3)) + prior.log_prob(z) - q.log_prob(z)
        torch.testing.assert_close(found[k], expected)


def test_log_weights_mean_is_the_elbo():
    vae, x, n = small_vae(), pictures(2), 4000
    with torch.no_grad():
        weights = vae.log_weights(
            x.repeat(n, 1, 1, 1), normal(1, 2 * n, 3, seed=1)
        ).view(n, 2)
        log_likelihood, kl = vae.terms(
            x.repeat(n, 1, 1, 1), eps=normal(2 * n, 3, seed=2)
        )
    one, other = (
        mean_and_error(weights),
        mean_and_error((log_likelihood - kl).view(n, 2)),
    )
    assert near(one[0], other[0], (one[1] ** 2 + other[1] ** 2).sqrt())


def test_importance_weighted_bound_equals_a_loop():
    weights = 3 * normal(7, 4)
    expected = [
        math.log(sum(math.exp(weights[k, n]) for k in range(7)) / 7) for n in range(4)
    ]
    assert importance_weighted_bound(weights).tolist() == pytest.approx(
        expected, rel=1e-12
    )
    torch.testing.assert_close(importance_weighted_bound(weights[:1]), weights[0])
    # all weights equal
    torch.testing.assert_close(
        importance_weighted_bound(weights[:1].expand(9, 4)), weights[0]
    )
    assert (importance_weighted_bound(weights) > weights.mean(0)).all()


def test_importance_weighted_bound_is_finite_for_large_log_weights():
    weights = torch.tensor(
        [[-9000.0, 9000.0, -1e5], [-9001.0, -9000.0, -1e5]],
        dtype=F64,
        requires_grad=True,
    )
    found = importance_weighted_bound(weights)
    found.sum().backward()
    expected = [-9000 + math.log((1 + math.exp(-1)) / 2), 9000 - math.log(2), -1e5]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    # Burda et al. 2015, equation 14
    torch.testing.assert_close(weights.grad, weights.detach().softmax(0))


# --- the method ---


def by_hand(vae, x, eps, beta):
    """(beta KL - log likelihood), averaged over pictures, from torch's own
    densities."""
    rows = []
    for n in range(len(x)):
        found = vae.encoder(x[n : n + 1])[0]
        mean, sigma = found[:3], found[3:].exp().sqrt()
        outputs = vae.decoder((mean + sigma * eps[n])[None])[0]
        log_likelihood = (
            Normal(outputs, vae.likelihood.log_sigma.exp()).log_prob(x[n]).sum()
        )
        rows.append(
            beta * kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum()
            - log_likelihood
        )
    return (sum(rows) / len(x)).item()


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_vae_loss_is_the_negative_elbo_with_beta_times_the_kl(monkeypatch, beta):
    vae, x, eps = small_vae(beta=beta), pictures(), normal(5, 3, seed=1)
    log_likelihood, kl = vae.terms(x, eps=eps)
    assert log_likelihood.shape == kl.shape == (5,)
    noise(monkeypatch, eps)
    assert vae.loss(x).item() == pytest.approx(
        -(log_likelihood - beta * kl).mean().item(), rel=1e-9
    )
    assert vae.loss(x).item() == pytest.approx(by_hand(vae, x, eps, beta), rel=1e-9)


def test_vae_loss_without_beta_is_the_negative_elbo(monkeypatch):
    vae, x, eps = small_vae(), pictures(), normal(5, 3, seed=1)
    noise(monkeypatch, eps)
    assert vae.loss(x).item() == pytest.approx(by_hand(vae, x, eps, 1.0), rel=1e-9)
    # fit passes labels; this model ignores them
    labelled = vae.loss(x, torch.zeros(5).long())
    assert labelled.item() == vae.loss(x).item()


@pytest.mark.parametrize(
    "progress, share", [(0.0, 0.0), (0.1, 0.25), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)]
)
def test_vae_loss_warms_up_the_kl_linearly(monkeypatch, progress, share):
    vae, x, eps = small_vae(beta=3.0, warm_up=0.4), pictures(), normal(5, 3, seed=1)
    vae.progress = progress
    noise(monkeypatch, eps)
    assert vae.loss(x).item() == pytest.approx(
        by_hand(vae, x, eps, 3.0 * share), rel=1e-9
    )


def test_vae_loss_without_warm_up_has_the_full_kl_from_the_start(monkeypatch):
    vae, x, eps = small_vae(), pictures(), normal(5, 3, seed=1)
    noise(monkeypatch, eps)
    for progress in (0.0, 0.7):
        vae.progress = progress
        assert vae.loss(x).item() == pytest.approx(by_hand(vae, x, eps, 1.0), rel=1e-9)


def test_vae_loss_of_two_batches_is_the_average_of_both(monkeypatch):
    vae, x, eps = small_vae(), pictures(8), normal(8, 3, seed=1)
    found = []
    for rows in (slice(0, 4), slice(4, 8), slice(0, 8)):
        noise(monkeypatch, eps[rows])
        found.append(vae.loss(x[rows]).item())
    assert (
        found[2] == pytest.approx((found[0] + found[1]) / 2, rel=1e-9)
        and found[0] != found[1]
    )


def test_vae_draws_new_standard_normal_noise_each_time():
    torch.manual_seed(0)
    shown, n = [], 20_000

    def decoder(z):
        shown.append(z)
        return z

    vae = VAE(nn.Flatten(), nn.Identity(), Gaussian(1.0))
    vae.decode = lambda z, y=None: decoder(z)
    x = torch.zeros(n, 4)  # mean 0, log-variance 0 of two latents
    vae.likelihood.log_prob = lambda outputs, x: outputs.sum(1)
    vae.loss(x), vae.loss(x), vae.terms(x), vae.pretext_score(x)
    z = torch.cat(shown)
    # new noise each time
    assert len(z) == 4 * n and not any(
        torch.equal(shown[0], other) for other in shown[1:]
    )
    found, error = mean_and_error(z)
    assert near(found, 0, error)
    squares, error = mean_and_error(z.square())
    assert near(squares, 1, error)
    fourth, error = mean_and_error(z**4)
    assert near(fourth, 3, error) and z.T.corrcoef()[0, 1].abs() < 4 / math.sqrt(len(z))


def test_vae_draw_is_called_once_per_loss_and_not_for_encode(monkeypatch):
    shown = []

    def draw(x):
        shown.append(x)
        return (1 - x) / 2

    vae, plain, x, eps = (
        small_vae(draw=draw),
        small_vae(),
        pictures(),
        normal(5, 3, seed=1),
    )
    noise(monkeypatch, eps)
    assert vae.loss(x).item() == pytest.approx(
        by_hand(plain, (1 - x) / 2, eps, 1.0), rel=1e-9
    )
    assert len(shown) == 1 and shown[0] is x
    assert vae.pretext_score(x).item() == pytest.approx(
        -by_hand(plain, (1 - x) / 2, eps, 1.0), rel=1e-9
    )
    assert len(shown) == 2
    # encode uses the greys without a draw
    torch.testing.assert_close(vae.encode(x), plain.encode(x))
    assert len(shown) == 2


def test_vae_encode_is_the_posterior_mean_and_pretext_score_the_elbo(monkeypatch):
    vae, x, eps = small_vae(beta=7.0, warm_up=0.5), pictures(), normal(5, 3, seed=1)
    assert torch.equal(vae.encode(x), vae.encoder(x)[:, :3])
    mean, log_variance = vae.posterior(x)
    assert torch.equal(mean, vae.encoder(x)[:, :3]) and torch.equal(
        log_variance, vae.encoder(x)[:, 3:]
    )
    assert (
        torch.equal(vae.decode(mean), vae.decoder(mean))
        and vae.decode(mean).shape == x.shape
    )
    noise(monkeypatch, eps)
    assert vae.pretext_score(x).item() == pytest.approx(
        -by_hand(vae, x, eps, 1.0), rel=1e-9
    )


def test_vae_gradients_reach_every_parameter_but_a_fixed_sigma():
    learned, fixed = small_vae(Gaussian(0.5, learned=True)), small_vae(Gaussian(0.5))
    for vae in (learned, fixed, small_vae(Bernoulli())):
        vae.loss(pictures()).backward()
        trained = [p for p in vae.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
        assert len(trained) == 8 + (vae is learned)
    assert (
        fixed.likelihood.log_sigma.grad is None
        and learned.likelihood.log_sigma.grad is not None
    )
    learned.zero_grad()
    importance_weighted_bound(
        learned.log_weights(pictures(), normal(3, 5, 3))
    ).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in learned.parameters())


def test_active_units_counts_latents_with_variance_above_the_threshold():
    still, signs = [0.5, 0.5, 0.5, 0.5], [1, -1, -1, 1]
    columns = [
        still,
        [0.05 * s for s in signs],
        [0.2 * s for s in signs],
        [0.2 * s + 9 for s in signs],
        still,
    ]
    mean = torch.tensor(columns).T  # variances 0, 0.0025, 0.04, 0.04, 0
    assert active_units(mean) == 2 and isinstance(active_units(mean), int)
    assert (
        active_units(mean, threshold=0.001) == 3
        and active_units(mean, threshold=0.05) == 0
    )
    # 0.0081 of N; of N - 1 it were 0.0162
    assert active_units(torch.tensor([[0.09], [-0.09]])) == 0


# --- with labels ---


def conditional_vae(seed=0):
    """Two features, two latents, three classes, three pixels."""
    torch.manual_seed(seed)
    encoder, head, decoder = (
        nn.Linear(3, 2),
        nn.Linear(2 + 3, 2 * 2),
        nn.Linear(2 + 3, 3),
    )
    return ConditionalVAE(encoder, head, decoder, Gaussian(0.6), classes=3).double()


def affine(layer, row):
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [
        b + sum(w * v for w, v in zip(line, row, strict=True))
        for line, b in zip(weight, bias, strict=True)
    ]


def test_conditional_vae_appends_the_one_hot_label_to_features_and_latents():
    vae, x, y, z = (
        conditional_vae(),
        normal(4, 3),
        torch.tensor([2, 0, 1, 2]),
        normal(4, 2, seed=1),
    )
    mean, log_variance = vae.posterior(x, y)
    outputs = vae.decode(z, y)
    for n, label in enumerate(y.tolist()):
        one_hot = [1.0 if label == c else 0.0 for c in range(3)]
        found = affine(vae.head, affine(vae.encoder, x[n].tolist()) + one_hot)
        assert mean[n].tolist() == pytest.approx(found[:2]) and log_variance[
            n
        ].tolist() == pytest.approx(found[2:])
        assert outputs[n].tolist() == pytest.approx(
            affine(vae.decoder, z[n].tolist() + one_hot)
        )


def test_conditional_vae_depends_on_the_label_and_has_no_encode():
    vae, x, y = conditional_vae(), normal(4, 3), torch.tensor([2, 0, 1, 2])
    other = (y + 1) % 3
    for one, two in zip(vae.posterior(x, y), vae.posterior(x, other), strict=True):
        assert ((one - two).abs().amax(1) > 1e-3).all()
    z = normal(4, 2, seed=1)
    assert ((vae.decode(z, y) - vae.decode(z, other)).abs().amax(1) > 1e-3).all()
    with pytest.raises(NotImplementedError, match="ConditionalVAE must define encode"):
        vae.encode(x)


def test_conditional_vae_pretext_score_sums_over_all_labels(monkeypatch):
    vae, x = conditional_vae(), normal(4, 3)
    noises = [normal(4, 2, seed=seed) for seed in range(3)]
    drawn = iter(noises)
    monkeypatch.setattr(torch, "randn_like", lambda _: next(drawn))
    found = vae.pretext_score(x).item()
    each = []
    for row in range(4):
        weights = []
        for label in range(3):
            y = torch.full((4,), label)
            mean, log_variance = vae.posterior(x, y)
            z = mean + (log_variance / 2).exp() * noises[label]
            kl = kl_divergence(
                Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
            ).sum(1)
            weights.append(
                math.exp(
                    (Normal(vae.decode(z, y), 0.6).log_prob(x).sum(1) - kl)[row].item()
                )
            )
        each.append(math.log(sum(weights) / 3))
    assert found == pytest.approx(sum(each) / 4, rel=1e-5)


def test_conditional_vae_loss_passes_the_label_to_posterior_and_decoder(monkeypatch):
    vae, x, y, eps = (
        conditional_vae(),
        normal(4, 3),
        torch.tensor([2, 0, 1, 2]),
        normal(4, 2),
    )
    mean, log_variance = vae.posterior(x, y)
    q = Normal(mean, (log_variance / 2).exp())
    outputs = vae.decode(mean + q.scale * eps, y)
    log_likelihood = Normal(outputs, 0.6).log_prob(x).sum(1)
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    noise(monkeypatch, eps)
    vae.loss(x, y).backward()
    assert vae.loss(x, y).item() == pytest.approx(
        (kl - log_likelihood).mean().item(), rel=1e-6
    )
    assert all(p.grad.abs().sum() > 0 for p in vae.parameters() if p.requires_grad)
    assert (vae.head.weight.grad[:, 2:].abs().sum(0) > 0).all() and (
        vae.decoder.weight.grad[:, 2:] != 0
    ).any()


def test_conditional_vae_log_weights_with_the_true_posterior_are_log_p_given_label():
    """A linear decoder with an offset for each label: with the true posterior every
    weight is log p(x given y)."""
    offsets, y = normal(3, 5, seed=21), torch.tensor([0, 1, 2, 2, 1, 0])
    back = torch.linalg.solve(PRECISION, COLUMNS.T)
    head, decoder = nn.Linear(5 + 3, 4), nn.Linear(2 + 3, 5, bias=False)
    vae = ConditionalVAE(
        nn.Identity(), head, decoder, Gaussian(SIGMA), classes=3
    ).double()
    with torch.no_grad():
        vae.likelihood.log_sigma.fill_(math.log(SIGMA))
        decoder.weight.copy_(torch.cat([COLUMNS, offsets.T], 1))
        head.weight.zero_()
        head.weight[:2].copy_(torch.cat([back, -back @ offsets.T], 1))
        head.bias.copy_(
            torch.cat([torch.zeros(2), (SIGMA**2 / PRECISION.diagonal()).log()])
        )
    weights = vae.log_weights(POINTS, 2 * normal(5, 6, 2, seed=3), y)
    expected = MultivariateNormal(offsets[y], MARGINAL.covariance_matrix).log_prob(
        POINTS
    )
    torch.testing.assert_close(weights, expected.expand(5, 6))
    log_likelihood, kl = vae.terms(POINTS, y, normal(6, 2))
    assert torch.isfinite(log_likelihood - kl).all()


# --- interpolation ---


def slerp_by_hand(a, b, t):
    length_a, length_b = (math.sqrt(sum(v * v for v in row)) for row in (a, b))
    angle = math.acos(
        sum(p * q for p, q in zip(a, b, strict=True)) / length_a / length_b
    )
    weights = (
        math.sin((1 - t) * angle) / math.sin(angle),
        math.sin(t * angle) / math.sin(angle),
    )
    return [weights[0] * p + weights[1] * q for p, q in zip(a, b, strict=True)]


@pytest.mark.parametrize("t", [-0.3, 0.0, 0.2, 0.5, 0.9, 1.0])
def test_slerp_equals_its_formula(t):
    a, b = normal(6, 4), 3 * normal(6, 4, seed=1)
    found = slerp(a, b, t)
    for row, one, other in zip(found.tolist(), a.tolist(), b.tolist(), strict=True):
        assert row == pytest.approx(slerp_by_hand(one, other, t), abs=1e-12)
    torch.testing.assert_close(slerp(b, a, 1 - t), found)


def test_slerp_is_a_at_0_and_b_at_1():
    a, b = normal(6, 4), 3 * normal(6, 4, seed=1)
    torch.testing.assert_close(slerp(a, b, 0.0), a, rtol=0, atol=1e-14)
    torch.testing.assert_close(slerp(a, b, 1.0), b, rtol=0, atol=1e-14)


def test_slerp_keeps_the_length_and_turns_evenly():
    a, b = (
        16 * nn.functional.normalize(normal(5, 256, seed=seed), dim=1)
        for seed in (0, 1)
    )
    whole = (a * b).sum(1).div(256).acos()
    for t in (0.1, 0.25, 0.5, 0.8):
        found = slerp(a, b, t)
        torch.testing.assert_close(found.norm(dim=1), torch.full((5,), 16.0, dtype=F64))
        torch.testing.assert_close((a * found).sum(1).div(256).acos(), t * whole)
        # a straight line cuts through the inside
        assert ((1 - t) * a + t * b).norm(dim=1).max() < 15.9


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (F64, 1e-14)])
def test_slerp_is_a_straight_line_between_parallel_vectors(dtype, tolerance):
    a = normal(6, 4, dtype=dtype)
    for length in (1.0, 3.0):
        found = slerp(a, length * a, torch.tensor(0.3, dtype=dtype))
        torch.testing.assert_close(
            found, (0.7 + 0.3 * length) * a, rtol=10 * tolerance, atol=tolerance
        )
    assert slerp(a, -a, 0.25).isfinite().all()  # no shortest way, but no NaN


@pytest.mark.parametrize("angle", [1e-9, 1e-7, 1e-5, 1e-3, 3.1, math.pi - 1e-3])
def test_slerp_is_accurate_near_parallel_and_near_opposite_vectors(angle):
    a, b = (
        torch.tensor([1.0, 0.0], dtype=F64),
        torch.tensor([math.cos(angle), math.sin(angle)], dtype=F64),
    )
    found = slerp(a, b, 0.25)
    expected = torch.tensor([math.cos(angle / 4), math.sin(angle / 4)], dtype=F64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_slerp_broadcasts_over_t():
    a, b, t = normal(4), normal(4, seed=1), torch.linspace(0, 1, 7, dtype=F64)
    path = slerp(a, b, t[:, None])
    assert path.shape == (7, 4) and path.dtype == F64
    torch.testing.assert_close(path, torch.stack([slerp(a, b, s) for s in t.tolist()]))
    rows, others = normal(5, 4), normal(5, 4, seed=1)
    grid = slerp(rows, others, t[:, None, None])
    assert grid.shape == (7, 5, 4)
    torch.testing.assert_close(grid[3], slerp(rows, others, 0.5))
    parallel = slerp(rows, rows, t[:, None, None])  # the straight line, too
    torch.testing.assert_close(parallel, rows.expand(7, 5, 4))


# --- what is refused ---

X, E = normal(4, 3), normal(2, 4, 3)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: reparameterise(X, X[:, :2], X), "log_variance"),
        (lambda: reparameterise(X, X, X[:, :1]), "eps"),
        (lambda: reparameterise(X.long(), X, X), "mean"),
        (lambda: gaussian_kl(X, X[:, :2]), "log_variance"),
        (lambda: gaussian_kl(X.long(), X), "mean"),
        (lambda: gaussian_kl(torch.tensor(1.0), torch.tensor(1.0)), "mean"),
        (lambda: gaussian_kl(X.tolist(), X), "mean"),
        (lambda: importance_weighted_bound(X[0]), "log_weights"),
        (lambda: importance_weighted_bound(E), "log_weights"),
        (lambda: active_units(X[0]), "mean"),
        (lambda: active_units(E), "mean"),
        (lambda: bernoulli_log_likelihood(X, X[:2]), "x"),
        (lambda: bernoulli_log_likelihood(X, X[:, :1]), "x"),
        (lambda: bernoulli_log_likelihood(E, E), "logits"),
        (lambda: bernoulli_log_likelihood(X, X.bool()), "x"),
        (lambda: gaussian_log_likelihood(X, X[:, :1], torch.tensor(0.0)), "x"),
        (lambda: gaussian_log_likelihood(X[0], X, torch.tensor(0.0)), "mean"),
        (lambda: gaussian_log_likelihood(X, X, torch.tensor(0)), "log_sigma"),
        (lambda: gaussian_log_likelihood(X, X, 0.0), "log_sigma"),
        (lambda: Gaussian(0.0), "sigma"),
        (lambda: Gaussian(-1.0), "sigma"),
        (lambda: Gaussian(float("nan")), "sigma"),
        (lambda: slerp(X, X[:, :2], 0.5), "b"),
        (lambda: slerp(X.long(), X, 0.5), "a"),
        (lambda: slerp(torch.tensor(1.0), torch.tensor(1.0), 0.5), "a"),
        (lambda: small_vae(beta=-1.0), "beta"),
        (lambda: small_vae(beta=float("nan")), "beta"),
        (lambda: small_vae(beta="1"), "beta"),
        (lambda: small_vae(warm_up=1.5), "warm_up"),
        (lambda: small_vae(warm_up=-0.1), "warm_up"),
        (lambda: small_vae().terms(pictures(), eps=normal(5, 2)), "eps"),
        (lambda: small_vae().log_weights(pictures(), normal(4, 5, 2)), "eps"),
        (lambda: GaussianPerPixel(0.0), "smallest"),
        (lambda: GaussianPerPixel(-1.0), "smallest"),
    ],
)
def test_latent_functions_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()


# --- it learns ---


def principal_components(x, latents):
    """The largest likelihood of probabilistic PCA, in nats a row, and its sigma^2
    (Tipping & Bishop 1999, 3.2)."""
    d, values = (
        x.shape[1],
        torch.linalg.eigvalsh(x.double().T.cov(correction=0)).flip(0),
    )
    rest = values[latents:].mean()
    log_likelihood = (
        -(
            d * math.log(2 * math.pi)
            + values[:latents].log().sum()
            + (d - latents) * rest.log()
            + d
        )
        / 2
    )
    return log_likelihood.item(), rest.item()


def test_linear_vae_training_reaches_probabilistic_pca():
    """At the maximum of a linear VAE's ELBO the bound is tight (Lucas et al. 2019,
    arXiv 1911.02469)."""
    mixing = torch.linalg.qr(normal(5, 5, seed=31))[0] * torch.tensor(
        [2.0, 1.2, 0.5, 0.4, 0.3], dtype=F64
    )
    x = (normal(512, 5, seed=32) @ mixing.T + normal(5, seed=33)).float()
    best, best_variance = principal_components(x, 2)
    torch.manual_seed(0)
    vae = VAE(LinearEncoder(5, 2), nn.Linear(2, 5), Gaussian(1.0, learned=True))
    for _ in fit(
        vae,
        Dataset(x, torch.zeros(512).long(), ()),
        1500,
        batch_size=512,
        optimizers=adamw(0.03, 0.0),
    ):
        pass
    vae.double()
    with torch.no_grad():
        weight, variance = vae.decoder.weight, (2 * vae.likelihood.log_sigma).exp()
        learnt = MultivariateNormal(
            vae.decoder.bias, weight @ weight.T + variance * torch.eye(5, dtype=F64)
        )
        log_likelihood = learnt.log_prob(x.double()).mean().item()
        elbo = expected_elbo(vae, x.double()).mean().item()
    assert elbo <= log_likelihood + 1e-9 and log_likelihood <= best + 1e-9
    assert log_likelihood > best - 0.001 and elbo > best - 0.002
    assert variance.item() == pytest.approx(best_variance, rel=0.03)
    across = weight[:, 0] @ weight[:, 1] / weight[:, 0].norm() / weight[:, 1].norm()
    assert abs(across.item()) < 0.1  # a diagonal q makes the columns orthogonal


@pytest.mark.parametrize(
    ("y", "message"), [([0], "2 labels, one for each row"), ([0, 3], "from 0 to 2")]
)
def test_conditional_vae_rejects_a_missing_label_and_one_out_of_range(y, message):
    with pytest.raises(ValueError, match=f"argument `y`: expected .*{message}"):
        conditional_vae().decode(normal(2, 2), torch.tensor(y))
