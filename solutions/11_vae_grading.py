"""Exercises 11, the variational autoencoder: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it. A case that brings a `cotangent` asks
for the gradient too.
"""

from functools import partial

from torch import Tensor

from course_lib.grading.drive import by_number, gradients, on_case, several


def drive_reparameterise(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """mean, log_variance, eps. Gradient for mean and log_variance."""
    return on_case(answer, a, ("mean", "log_variance", "eps"), flows=("mean", "log_variance"))


def drive_gaussian_kl(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """mean, log_variance. Gradient for both."""
    return on_case(answer, a, ("mean", "log_variance"), flows=("mean", "log_variance"))


def drive_bernoulli_log_likelihood(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """logits, x. Gradient for the logits."""
    return on_case(answer, a, ("logits", "x"), flows=("logits",))


def drive_gaussian_log_likelihood(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """mean, x, log_sigma. Gradient for mean and log_sigma."""
    return on_case(answer, a, ("mean", "x", "log_sigma"), flows=("mean", "log_sigma"))


def drive_negative_elbo(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny encoder and decoder from the weights; x, eps. `gradient ...`: of the networks' weights."""
    weights = {name: a[name].requires_grad_() for name in ("encoder", "encoder bias", "decoder", "decoder bias")}
    shape = a["x"].shape[1:]

    def encoder(x):
        return (x.flatten(1) @ weights["encoder"] + weights["encoder bias"]).chunk(2, 1)

    def decoder(z):
        return (z @ weights["decoder"] + z.sin() @ weights["decoder"] + weights["decoder bias"]).unflatten(1, shape)

    value = answer(encoder, decoder, a["x"], a["eps"])
    return {"value": value} | gradients(value, weights)


def drive_importance_weighted_bound(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """log_likelihood, z, mean, log_variance. Gradient for all four."""
    tensors = ("log_likelihood", "z", "mean", "log_variance")
    return on_case(answer, a, tensors, flows=tensors)


def drive_hidden_assumptions(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """pixels, error, share, nats, (Q,) each: the answer is asked Q times. `sigmas`: a and b, `trade`: c and d,
    `ignored`: e, `bits`: f."""
    said = by_number(answer, a, ("pixels", "error", "share", "nats"), tuple("abcdef"))
    return {"sigmas": said[:, :2], "trade": said[:, 2:4], "ignored": said[:, 4], "bits": said[:, 5]}


def drive_slerp(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """a, b, t."""
    return on_case(answer, a, ("a", "b"), ("t",))


def drive_kl_by_dimension(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """mean, log_variance, threshold. `kl`, `alive`: what comes back."""
    tensors = {name: a[name] for name in ("mean", "log_variance")}
    return several(answer, ("kl", "alive"), tensors, a["threshold"].item())


def drive_two_gradients(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds f(z) = sin(z . wave) + z^2 . bowl; mean, sigma, eps, baseline. `score`, `path`: what comes back."""

    def f(z):
        return (z @ a["wave"]).sin() + z.square() @ a["bowl"]

    tensors = {name: a[name] for name in ("mean", "sigma", "eps")}
    return several(partial(answer, f), ("score", "path"), tensors, a["baseline"].item())


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


def _zeros_and_ones(g: torch.Generator, *shape: int, dtype=SINGLE) -> Tensor:
    return torch.randint(0, 2, shape, generator=g).to(dtype)


# --- 1. reparameterisation --------------------------------------------------------------------------------------------


def cases_reparameterise(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE):
        mean, log_variance = normal(g, n, d, dtype=dtype), normal(g, n, d, dtype=dtype) - 0.5
        arrays = {"mean": mean, "log_variance": log_variance, "eps": normal(g, n, d, dtype=dtype)}
        return Case(kind, arrays | ({"cotangent": normal(g, n, d, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [case("ordinary", 2, 3), case("ordinary", 3, 2, DOUBLE), case("gradient", 2, 3, DOUBLE)]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 3, n, DOUBLE),
        case("ordinary", n, n),
        case("gradient", n, 5, DOUBLE),
        case("gradient", 3, n, DOUBLE),
    ]


def reparam_in_place(mean, log_variance, eps):
    """The argument itself gets changed: mean += ... writes into the caller's tensor, mean + ... does not."""
    mean += (log_variance / 2).exp() * eps
    return mean


def reparam_without_gradient(mean, log_variance, eps):
    """The value is right, but no gradient comes through, as if z had been drawn by torch.normal: that is just what this
    trick is to avoid. No detach(), no no_grad()."""
    return (mean + (log_variance / 2).exp() * eps).detach()


def reparam_mean_stopped(mean, log_variance, eps):
    """The value is right, but no gradient reaches the mean."""
    return mean.detach() + (log_variance / 2).exp() * eps


def reparam_sigma_stopped(mean, log_variance, eps):
    """The value is right, but no gradient reaches the log-variance: sigma is learnt too."""
    return mean + (log_variance.detach() / 2).exp() * eps


def reparam_log_variance_as_sigma(mean, log_variance, eps):
    """The log-variance is taken as the standard deviation, as if it could not be negative: take exp of its half."""
    return mean + log_variance * eps


def reparam_variance(mean, log_variance, eps):
    """eps is multiplied by the variance, exp(log_variance): a standard deviation is the root of it."""
    return mean + log_variance.exp() * eps


def reparam_variance_squared(mean, log_variance, eps):
    """exp(2 log_variance) is the variance squared; the standard deviation is the variance's root."""
    return mean + (2 * log_variance).exp() * eps


def reparam_quarter(mean, log_variance, eps):
    """The root is taken twice: exp(log_variance / 2) is the standard deviation already."""
    return mean + (log_variance / 4).exp() * eps


def reparam_half_the_variance(mean, log_variance, eps):
    """This is exp(log_variance) / 2: halve inside the exponential, which is the root."""
    return mean + log_variance.exp() / 2 * eps


def reparam_root_of_logarithm(mean, log_variance, eps):
    """The root is taken of the log-variance, which may be negative: exp first."""
    return mean + log_variance.sqrt() * eps


def reparam_precision(mean, log_variance, eps):
    """eps is divided by the standard deviation: multiply."""
    return mean + (-log_variance / 2).exp() * eps


def reparam_eps_twice(mean, log_variance, eps):
    """The noise is added twice, once as it is: only sigma * eps."""
    return mean + eps + (log_variance / 2).exp() * eps


def reparam_minus(mean, log_variance, eps):
    """sigma * eps is subtracted. The distribution would be the same; the formula adds it."""
    return mean - (log_variance / 2).exp() * eps


def reparam_one_row(mean, log_variance, eps):
    """The first row's noise is used for all pictures: each has its own."""
    return mean + (log_variance / 2).exp() * eps[:1]


def reparam_one_column(mean, log_variance, eps):
    """One number of noise is used for all dimensions: each has its own."""
    return mean + (log_variance / 2).exp() * eps[:, :1]


def reparam_no_noise(mean, log_variance, eps):
    """The noise is left out: this is always the same point, mean + sigma."""
    return mean + (log_variance / 2).exp()


def reparam_mean_only(mean, log_variance, eps):
    """This is the mean: nothing is drawn, and the encoder has become an ordinary one."""
    return mean.clone()


def reparam_no_mean(mean, log_variance, eps):
    """The mean is left out."""
    return (log_variance / 2).exp() * eps


def reparam_no_sigma(mean, log_variance, eps):
    """The standard deviation is left out: this draws with variance 1."""
    return mean + eps


def reparam_mean_scaled(mean, log_variance, eps):
    """The mean gets multiplied by sigma as well: only the noise."""
    return (mean + eps) * (log_variance / 2).exp()


def reparam_swapped(mean, log_variance, eps):
    """Mean and standard deviation are swapped: the mean is where z lies, sigma how far it strays."""
    return (log_variance / 2).exp() + mean * eps


def reparam_by_root(mean, log_variance, eps):
    return mean + log_variance.exp().sqrt() * eps


def reparam_by_power(mean, log_variance, eps):
    return torch.addcmul(mean, eps, math.e ** (0.5 * log_variance))


def reparam_by_loops(mean, log_variance, eps):
    rows = [[m + torch.exp(v / 2) * e for m, v, e in zip(*row)] for row in zip(mean, log_variance, eps)]
    return torch.stack([torch.stack(row) for row in rows])


# --- 2. the divergence from the prior ---------------------------------------------------------------------------------


def cases_gaussian_kl(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE):
        arrays = {"mean": normal(g, n, d, dtype=dtype), "log_variance": normal(g, n, d, dtype=dtype) - 0.5}
        return Case(kind, arrays | ({"cotangent": normal(g, n, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [case("ordinary", 2, 3), case("ordinary", 3, 4, DOUBLE), case("gradient", 2, 3, DOUBLE)]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 3, n, DOUBLE),
        case("ordinary", n, 1),
        case("gradient", n, 5, DOUBLE),
        case("gradient", 3, n, DOUBLE),
    ]


def _kl(mean, log_variance):
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def kl_in_place(mean, log_variance):
    """An argument itself gets changed: operations whose names end with an underscore write into the caller's tensor."""
    variance = log_variance.exp()
    return (mean.square_() + variance - 1 - log_variance).sum(1) / 2


def kl_without_gradient(mean, log_variance):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return _kl(mean, log_variance).sum(1).detach()


def kl_mean_stopped(mean, log_variance):
    """The value is right, but no gradient reaches the mean."""
    return _kl(mean.detach(), log_variance).sum(1)


def kl_variance_stopped(mean, log_variance):
    """The value is right, but the gradient of the log-variance is not: it stands in two terms, and both count."""
    return (mean.square() + log_variance.exp().detach() - 1 - log_variance).sum(1) / 2


def kl_sign(mean, log_variance):
    """The sign is the wrong way round: a divergence is not negative."""
    return -_kl(mean, log_variance).sum(1)


def kl_mean_over_dimensions(mean, log_variance):
    """This is the mean over the latent dimensions: their divergences add up, so sum."""
    return _kl(mean, log_variance).mean(1)


def kl_not_halved(mean, log_variance):
    """The factor 1/2 is forgotten."""
    return 2 * _kl(mean, log_variance).sum(1)


def kl_of_log_sigma(mean, log_variance):
    """log_variance is read as log sigma: it is log sigma^2, so the variance is exp(log_variance)."""
    return _kl(mean, 2 * log_variance).sum(1)


def kl_sigma_for_variance(mean, log_variance):
    """The standard deviation stands where the variance belongs: exp(log_variance), not halved."""
    return (mean.square() + (log_variance / 2).exp() - 1 - log_variance).sum(1) / 2


def kl_log_halved(mean, log_variance):
    """The log-variance is halved twice: in the formula stands log sigma^2, which is log_variance itself."""
    return (mean.square() + log_variance.exp() - 1 - log_variance / 2).sum(1) / 2


def kl_total(mean, log_variance):
    """This is one number, the sum over the batch: one for each picture is asked for."""
    return _kl(mean, log_variance).sum()


def kl_average(mean, log_variance):
    """This is one number, the batch's average: one for each picture is asked for."""
    return _kl(mean, log_variance).sum(1).mean()


def kl_each(mean, log_variance):
    """The latent dimensions are not summed."""
    return _kl(mean, log_variance)


def kl_over_the_batch(mean, log_variance):
    """The sum runs down the columns, over the pictures: the latent dimensions are dimension 1."""
    return _kl(mean, log_variance).sum(0)


def kl_no_minus_one(mean, log_variance):
    """The -1 is missing: at mean 0 and variance 1 the divergence should be 0."""
    return (mean.square() + log_variance.exp() - log_variance).sum(1) / 2


def kl_one_for_all(mean, log_variance):
    """The -1 stands outside the sum: each dimension has its own."""
    return ((mean.square() + log_variance.exp() - log_variance).sum(1) - 1) / 2


def kl_plus_one(mean, log_variance):
    """It is -1 (and - log sigma^2), not +1."""
    return (mean.square() + log_variance.exp() + 1 - log_variance).sum(1) / 2


def kl_plus_log(mean, log_variance):
    """The sign of log sigma^2 is wrong: a small variance makes the divergence large."""
    return (mean.square() + log_variance.exp() - 1 + log_variance).sum(1) / 2


def kl_no_log(mean, log_variance):
    """The term - log sigma^2 is missing: without it a variance of 0 would cost nothing."""
    return (mean.square() + log_variance.exp() - 1).sum(1) / 2


def kl_no_variance(mean, log_variance):
    """The term sigma^2 is missing: without it the variance would grow for ever."""
    return (mean.square() - 1 - log_variance).sum(1) / 2


def kl_no_mean(mean, log_variance):
    """The term mean^2 is missing."""
    return (log_variance.exp() - 1 - log_variance).sum(1) / 2


def kl_mean_not_squared(mean, log_variance):
    """The mean is not squared."""
    return (mean + log_variance.exp() - 1 - log_variance).sum(1) / 2


def kl_reversed(mean, log_variance):
    """This is KL(prior || q): the other way round, KL(q || prior)."""
    return ((mean.square() + 1) / log_variance.exp() - 1 + log_variance).sum(1) / 2


def kl_cross_entropy(mean, log_variance):
    """This is the cross-entropy of q with the prior: the divergence is that minus q's own entropy."""
    return (mean.square() + log_variance.exp() + math.log(2 * math.pi)).sum(1) / 2


def kl_by_distributions(mean, log_variance):
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(q, prior).sum(1)


def kl_by_sigma(mean, log_variance):
    sigma = (log_variance / 2).exp()
    return -sigma.log().sum(1) + (sigma.square().sum(1) + mean.square().sum(1) - mean.shape[1]) / 2


def kl_by_loops(mean, log_variance):
    rows = [sum((m * m + v.exp() - v - 1) / 2 for m, v in zip(*row)) for row in zip(mean.double(), log_variance)]
    return torch.stack(rows)


# --- 3. pixels that are 0 or 1 ----------------------------------------------------------------------------------------


def cases_bernoulli_log_likelihood(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, h, w, dtype=SINGLE):
        logits, x = 1.5 * normal(g, n, c, h, w, dtype=dtype), _zeros_and_ones(g, n, c, h, w, dtype=dtype)
        if kind == "extreme":  # surely wrong, both ways and one way only; surely right
            level = 1e3 if dtype == DOUBLE else 200.0
            corner = torch.tensor([[level, -level], [-level, -level], [level, level]], dtype=dtype)
            logits[:3, 0, 0, :2], x[:3, 0, 0, :2] = corner, torch.tensor([[0, 1], [1, 1], [1, 1]], dtype=dtype)
        arrays = {"logits": logits, "x": x}
        return Case(kind, arrays | ({"cotangent": normal(g, n, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 2, 1, 2, 3),
            case("ordinary", 3, 2, 2, 2, DOUBLE),
            case("extreme", 3, 1, 2, 3),
            case("extreme", 4, 1, 1, 3, DOUBLE),
            case("gradient", 2, 1, 3, 2, DOUBLE),
        ]
    n, c = whole(g, 4, 6), 3 - 2 * whole(g, 0, 1)
    return [
        case("ordinary", n, c, 4, 3),
        case("ordinary", n + 3, 3, 2, n, DOUBLE),
        case("ordinary", 1, 1, n, n),
        case("extreme", n, c, 3, 4),
        case("extreme", n + 1, 2, 2, 4, DOUBLE),
        case("gradient", n, 3, 2, 2, DOUBLE),
        case("gradient", 3, c, n, 3, DOUBLE),
    ]


def _bernoulli(logits, x):
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def bern_log_of_sigmoid(logits, x):
    """Right for small logits, but the sigmoid of a large one rounds to 1 or 0, and 0 times log 0 is NaN: use the logits
    themselves (logsigmoid, or binary_cross_entropy_with_logits)."""
    p = logits.sigmoid()
    return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


def bern_infinite(logits, x):
    """Right for small logits, but a pixel that was thought impossible gives -inf, for the sigmoid has rounded to 0 or
    1: use the logits themselves."""
    p = logits.sigmoid()
    return (torch.xlogy(x, p) + torch.xlogy(1 - x, 1 - p)).flatten(1).sum(1)


def bern_overflow(logits, x):
    """Right for small logits, but exp of a large one is infinite: F.softplus is log(1 + exp) without that."""
    return (x * logits - (1 + logits.exp()).log()).flatten(1).sum(1)


def bern_cut_at_100(logits, x):
    """Right for small logits, but F.binary_cross_entropy of probabilities cuts each logarithm off at -100: there is one
    that takes logits."""
    return -F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").flatten(1).sum(1)


def bern_clamp(logits, x):
    """Right for small logits, but probabilities that are clamped hide how wrong a very sure decoder is, and have no
    gradient there: use the logits themselves."""
    p = logits.sigmoid().clamp(1e-6, 1 - 1e-6)
    return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


def bern_epsilon(logits, x):
    """Right for small logits, but a small number inside the logarithm hides how wrong a very sure decoder is: use the
    logits themselves."""
    p = logits.sigmoid()
    return (x * (p + 1e-7).log() + (1 - x) * (1 - p + 1e-7).log()).flatten(1).sum(1)


def bern_in_place(logits, x):
    """The argument itself gets changed: logits *= ... writes into the caller's tensor, logits * ... does not."""
    logits *= 2 * x - 1
    return F.logsigmoid(logits).flatten(1).sum(1)


def bern_without_gradient(logits, x):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return _bernoulli(logits, x).flatten(1).sum(1).detach()


def bern_half_the_gradient(logits, x):
    """The value is right, the gradient is not: log(1 - p) depends on the logits as well, do not detach it."""
    return (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits).detach()).flatten(1).sum(1)


def bern_mean(logits, x):
    """This is the mean over a picture's pixels: the probability of a picture is a product, its logarithm a sum. With
    the mean the KL would weigh as many times too much as there are pixels."""
    return _bernoulli(logits, x).flatten(1).mean(1)


def bern_total(logits, x):
    """This is one number, the sum over the batch: one for each picture is asked for."""
    return _bernoulli(logits, x).sum()


def bern_average(logits, x):
    """This is one number, the batch's average: one for each picture is asked for."""
    return _bernoulli(logits, x).flatten(1).sum(1).mean()


def bern_sign(logits, x):
    """This is the binary cross-entropy, a loss: the log-likelihood is minus that, and never above 0."""
    return -_bernoulli(logits, x).flatten(1).sum(1)


def bern_only_ones(logits, x):
    """The term (1 - x) log(1 - p) is missing: a decoder that says 1 everywhere would be perfect."""
    return (x * F.logsigmoid(logits)).flatten(1).sum(1)


def bern_only_zeros(logits, x):
    """The term x log p is missing: a decoder that says 0 everywhere would be perfect."""
    return ((1 - x) * F.logsigmoid(-logits)).flatten(1).sum(1)


def bern_as_probabilities(logits, x):
    """The logits are taken as probabilities: p = sigmoid(logits)."""
    return (x * logits.log() + (1 - x) * (1 - logits).log()).flatten(1).sum(1)


def bern_bce_of_logits(logits, x):
    """F.binary_cross_entropy wants probabilities: these are logits, and there is another function for them."""
    return -F.binary_cross_entropy(logits, x, reduction="none").flatten(1).sum(1)


def bern_sigmoid_twice(logits, x):
    """The sigmoid is taken twice: binary_cross_entropy_with_logits takes the logits as they are."""
    return _bernoulli(logits.sigmoid(), x).flatten(1).sum(1)


def bern_swapped(logits, x):
    """0 and 1 are swapped: p is the probability of a 1."""
    return _bernoulli(logits, 1 - x).flatten(1).sum(1)


def bern_arguments_swapped(logits, x):
    """The pictures stand where the logits belong: logits first, then x."""
    return _bernoulli(x, logits).flatten(1).sum(1)


def bern_each(logits, x):
    """The pixels are not summed."""
    return _bernoulli(logits, x)


def bern_over_channels(logits, x):
    """Only the channels are summed: a picture is C, H and W. x.flatten(1) makes a row of each."""
    return _bernoulli(logits, x).sum(1)


def bern_squares(logits, x):
    """This is the squared error of the probabilities: that belongs to a Gaussian."""
    return -(logits.sigmoid() - x).square().flatten(1).sum(1)


def bern_no_logarithm(logits, x):
    """The probabilities of the pixels are added: their logarithms are to be."""
    return _bernoulli(logits, x).exp().flatten(1).sum(1)


def bern_probability(logits, x):
    """This is the probability itself: asked for is its logarithm."""
    return _bernoulli(logits, x).flatten(1).sum(1).exp()


def bern_bits(logits, x):
    """These are bits: asked for are nats, with the natural logarithm."""
    return _bernoulli(logits, x).flatten(1).sum(1) / math.log(2)


def bern_by_softplus(logits, x):
    return (x * logits - F.softplus(logits)).sum((1, 2, 3))


def bern_by_sign(logits, x):
    return F.logsigmoid((2 * x - 1) * logits).flatten(1).sum(1)


def bern_by_loops(logits, x):
    pictures = []
    for numbers, picture in zip(logits.flatten(1).double(), x.flatten(1)):
        pictures.append(sum(F.logsigmoid(a if pixel > 0.5 else -a) for a, pixel in zip(numbers, picture)))
    return torch.stack(pictures)


# --- 4. pixels with Gaussian noise ------------------------------------------------------------------------------------


def cases_gaussian_log_likelihood(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, h, w, dtype=SINGLE, sign=-1):
        mean, x = normal(g, n, c, h, w, dtype=dtype), normal(g, n, c, h, w, dtype=dtype)
        log_sigma = scalar(sign * between(g, 0.4, 0.8)).to(dtype)
        arrays = {"mean": mean, "x": x, "log_sigma": log_sigma}
        return Case(kind, arrays | ({"cotangent": normal(g, n, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 2, 1, 2, 3),
            case("ordinary", 3, 2, 2, 2, DOUBLE, sign=1),
            case("gradient", 2, 1, 3, 2, DOUBLE),
        ]
    n, c = whole(g, 4, 6), 3 - 2 * whole(g, 0, 1)
    return [
        case("ordinary", n, c, 4, 3),
        case("ordinary", n + 3, 3, 2, n, DOUBLE, sign=1),
        case("ordinary", 1, 1, n, n),
        case("gradient", n, 3, 2, 2, DOUBLE, sign=1),
        case("gradient", 3, c, n, 3, DOUBLE),
    ]


def _gaussian(mean, x, log_sigma):
    return -((x - mean) / log_sigma.exp()).square() / 2 - log_sigma - math.log(2 * math.pi) / 2


def gauss_in_place(mean, x, log_sigma):
    """The argument itself gets changed: x -= ... writes into the caller's tensor, x - ... does not."""
    x -= mean
    return _gaussian(torch.zeros_like(x), x, log_sigma).flatten(1).sum(1)


def gauss_without_gradient(mean, x, log_sigma):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return _gaussian(mean, x, log_sigma).flatten(1).sum(1).detach()


def gauss_sigma_stopped(mean, x, log_sigma):
    """The value is right, but no gradient reaches log_sigma: with item(), float() or math.exp it is a mere number, and
    sigma cannot be learnt. log_sigma.exp() keeps the gradient."""
    return _gaussian(mean, x, torch.tensor(log_sigma.item())).flatten(1).sum(1)


def gauss_half_the_gradient(mean, x, log_sigma):
    """The value is right, but log_sigma's gradient is not: it stands in two terms, and only one lets it through."""
    squares = ((x - mean) / log_sigma.exp().detach()).square()
    return -(squares / 2 + log_sigma + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_no_constant(mean, x, log_sigma):
    """The constant log(2 pi) / 2 of each pixel is missing: no matter for training, but these are not nats of a density,
    and no other model can be compared with them."""
    return (_gaussian(mean, x, log_sigma) + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_no_log_sigma(mean, x, log_sigma):
    """The term log sigma is missing: a sigma that is learnt would run away to infinity, where errors cost nothing."""
    return (_gaussian(mean, x, log_sigma) + log_sigma).flatten(1).sum(1)


def gauss_squares_only(mean, x, log_sigma):
    """log sigma and log(2 pi) / 2 are missing: only the squares are there."""
    return -((x - mean) / log_sigma.exp()).square().flatten(1).sum(1) / 2


def gauss_squared_error(mean, x, log_sigma):
    """This is the negative squared error, without any sigma: a Gaussian has one, and constants that depend on it."""
    return -(x - mean).square().flatten(1).sum(1)


def gauss_sigma_not_squared(mean, x, log_sigma):
    """The squares are divided by sigma: it should be sigma^2."""
    squares = (x - mean).square() / log_sigma.exp()
    return -(squares / 2 + log_sigma + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_times_variance(mean, x, log_sigma):
    """The squares are multiplied by sigma^2: divide."""
    return (_gaussian(mean, x, -log_sigma) - 2 * log_sigma).flatten(1).sum(1)


def gauss_log_variance(mean, x, log_sigma):
    """log_sigma is read as the log-variance: the variance is exp(2 log_sigma)."""
    return _gaussian(mean, x, log_sigma / 2).flatten(1).sum(1)


def gauss_log_halved(mean, x, log_sigma):
    """log_sigma is halved: in the formula stands log sigma, or half of log sigma^2."""
    return (_gaussian(mean, x, log_sigma) + log_sigma / 2).flatten(1).sum(1)


def gauss_log_doubled(mean, x, log_sigma):
    """log sigma counts twice: this is log sigma^2, of which half belongs here."""
    return (_gaussian(mean, x, log_sigma) - log_sigma).flatten(1).sum(1)


def gauss_plus_log_sigma(mean, x, log_sigma):
    """The sign of log sigma is wrong: a wide Gaussian is a low one."""
    return (_gaussian(mean, x, log_sigma) + 2 * log_sigma).flatten(1).sum(1)


def gauss_log_of_log(mean, x, log_sigma):
    """log_sigma is taken as sigma: its exp is sigma."""
    squares = ((x - mean) / log_sigma).square()
    return -(squares / 2 + log_sigma.log() + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_not_halved(mean, x, log_sigma):
    """The factor 1/2 before the squares is forgotten."""
    squares = ((x - mean) / log_sigma.exp()).square()
    return -(squares + log_sigma + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_constant_not_halved(mean, x, log_sigma):
    """The constant is log(2 pi) / 2 for each pixel: it is not halved."""
    return (_gaussian(mean, x, log_sigma) - math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_constant_once(mean, x, log_sigma):
    """The constant log(2 pi) / 2 counts once for each picture: each pixel has one."""
    constant = math.log(2 * math.pi) / 2
    return (_gaussian(mean, x, log_sigma) + constant).flatten(1).sum(1) - constant


def gauss_constants_once(mean, x, log_sigma):
    """log sigma and log(2 pi) / 2 count once for each picture: each pixel has its own."""
    squares = ((x - mean) / log_sigma.exp()).square().flatten(1).sum(1)
    return -squares / 2 - log_sigma - math.log(2 * math.pi) / 2


def gauss_log_sigma_once(mean, x, log_sigma):
    """log sigma counts once for each picture: each pixel has its own."""
    return (_gaussian(mean, x, log_sigma) + log_sigma).flatten(1).sum(1) - log_sigma


def gauss_mean(mean, x, log_sigma):
    """This is the mean over a picture's pixels: the density of a picture is a product, its logarithm a sum."""
    return _gaussian(mean, x, log_sigma).flatten(1).mean(1)


def gauss_mean_of_squares(mean, x, log_sigma):
    """The squares are averaged over the pixels, as in MSE, while the other terms are summed: sum all of them."""
    d = x[0].numel()
    squares = ((x - mean) / log_sigma.exp()).square().flatten(1).mean(1)
    return -squares / 2 - d * (log_sigma + math.log(2 * math.pi) / 2)


def gauss_sign(mean, x, log_sigma):
    """This is the negative log-likelihood, a loss: the sign is the wrong way round."""
    return -_gaussian(mean, x, log_sigma).flatten(1).sum(1)


def gauss_total(mean, x, log_sigma):
    """This is one number, the sum over the batch: one for each picture is asked for."""
    return _gaussian(mean, x, log_sigma).sum()


def gauss_average(mean, x, log_sigma):
    """This is one number, the batch's average: one for each picture is asked for."""
    return _gaussian(mean, x, log_sigma).flatten(1).sum(1).mean()


def gauss_each(mean, x, log_sigma):
    """The pixels are not summed."""
    return _gaussian(mean, x, log_sigma)


def gauss_over_channels(mean, x, log_sigma):
    """Only the channels are summed: a picture is C, H and W. x.flatten(1) makes a row of each."""
    return _gaussian(mean, x, log_sigma).sum(1)


def gauss_absolute(mean, x, log_sigma):
    """The differences are not squared."""
    return -((x - mean).abs() / log_sigma.exp() / 2 + log_sigma + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def gauss_by_distributions(mean, x, log_sigma):
    return torch.distributions.Normal(mean, log_sigma.exp()).log_prob(x).sum((1, 2, 3))


def gauss_by_variance(mean, x, log_sigma):
    variance = (2 * log_sigma).exp()
    squares = (x - mean).square().flatten(1)
    return -squares.sum(1) / (2 * variance) - squares.shape[1] / 2 * (2 * math.pi * variance).log()


def gauss_by_loops(mean, x, log_sigma):
    pictures = []
    for means, pixels in zip(mean.flatten(1).double(), x.flatten(1).double()):
        squares = sum((a - m) ** 2 for m, a in zip(means, pixels))
        pictures.append(-squares / 2 * (-2 * log_sigma).exp() - len(pixels) * (log_sigma + math.log(math.tau) / 2))
    return torch.stack(pictures)


# --- 5. the whole loss ------------------------------------------------------------------------------------------------


def cases_negative_elbo(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, d, dtype=DOUBLE):
        pixels = c * h * w
        arrays = {"encoder": 0.4 * normal(g, pixels, 2 * d, dtype=dtype), "encoder bias": normal(g, 2 * d, dtype=dtype)}
        arrays |= {"decoder": 0.7 * normal(g, d, pixels, dtype=dtype), "decoder bias": normal(g, pixels, dtype=dtype)}
        x = _zeros_and_ones(g, n, c, h, w, dtype=dtype)
        return Case("ordinary", arrays | {"x": x, "eps": normal(g, n, d, dtype=dtype)})

    if not hidden:
        return [case(2, 1, 2, 3, 3), case(3, 2, 2, 2, 2), case(4, 1, 2, 2, 3, SINGLE)]
    n, d = whole(g, 4, 7), whole(g, 2, 4)
    return [case(n, 3, 2, 3, d + 1), case(n + 2, 1, 3, n, d), case(n, 2, 2, 3, n, SINGLE), case(1, 1, 4, 4, d)]


def _gap(decoder, z, x):
    """Minus log p(x given z), pixel by pixel."""
    return F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").flatten(1)


def _elbo_at(encoder, decoder, x, draw, mean_of_kl=lambda tensor: tensor):
    """The loss with z drawn in another way, or with something done to the KL's part."""
    mean, log_variance = encoder(x)
    return (_gap(decoder, draw(mean, log_variance), x).sum(1) + mean_of_kl(_kl(mean, log_variance).sum(1))).mean()


def _elbo_of(encoder, decoder, x, eps):
    """Pixels' and latent dimensions' parts of the loss, (N, P) and (N, D)."""
    mean, log_variance = encoder(x)
    return _gap(decoder, mean + (log_variance / 2).exp() * eps, x), _kl(mean, log_variance)


def elbo_z_stopped(encoder, decoder, x, eps):
    """The value is right, but z is detached: the decoder learns, and the encoder hears of the prior only, not of what
    the decoder would need to know."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: (mean + (log_variance / 2).exp() * eps).detach())


def elbo_kl_stopped(encoder, decoder, x, eps):
    """The value is right, but no gradient comes from the KL: nothing pulls the encoder towards the prior."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean + (log_variance / 2).exp() * eps, torch.detach)


def elbo_sigma_stopped(encoder, decoder, x, eps):
    """The value is right, but the gradient through z does not reach the log-variance: sigma is learnt too."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean + (log_variance.detach() / 2).exp() * eps)


def elbo_mean_stopped(encoder, decoder, x, eps):
    """The value is right, but the gradient through z does not reach the mean."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean.detach() + (log_variance / 2).exp() * eps)


def elbo_decoder_stopped(encoder, decoder, x, eps):
    """The value is right, but no gradient comes from the log-likelihood, and the decoder learns nothing."""
    mean, log_variance = encoder(x)
    with torch.no_grad():
        gap = _gap(decoder, mean + (log_variance / 2).exp() * eps, x)
    return (gap.sum(1) + _kl(mean, log_variance).sum(1)).mean()


def elbo_without_gradient(encoder, decoder, x, eps):
    """No gradient comes through at all: somewhere there is a detach(), an item() or a no_grad()."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (gap.sum(1) + kl.sum(1)).mean().detach()


def elbo_kl_subtracted(encoder, decoder, x, eps):
    """The KL is subtracted: in the ELBO it has a minus, so in the loss a plus. So it would drive q away from the
    prior."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (gap.sum(1) - kl.sum(1)).mean()


def elbo_kl_forgotten(encoder, decoder, x, eps):
    """The KL is missing: this is an autoencoder with noise, whose sigma goes to 0."""
    return _elbo_of(encoder, decoder, x, eps)[0].sum(1).mean()


def elbo_kl_only(encoder, decoder, x, eps):
    """The log-likelihood is missing: only the KL is there."""
    return _elbo_of(encoder, decoder, x, eps)[1].sum(1).mean()


def elbo_sign(encoder, decoder, x, eps):
    """This is the ELBO, which is to grow: the loss is minus that."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return -(gap.sum(1) + kl.sum(1)).mean()


def elbo_likelihood_added(encoder, decoder, x, eps):
    """The log-likelihood is added: a low loss would be an unlikely picture. It is KL minus log-likelihood."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (kl.sum(1) - gap.sum(1)).mean()


def elbo_pixels_averaged(encoder, decoder, x, eps):
    """The log-likelihood is averaged over the pixels: sum. With the mean the KL wins, and the posterior collapses."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (gap.mean(1) + kl.sum(1)).mean()


def elbo_dimensions_averaged(encoder, decoder, x, eps):
    """The KL is averaged over the latent dimensions: sum it."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (gap.sum(1) + kl.mean(1)).mean()


def elbo_all_averaged(encoder, decoder, x, eps):
    """Pixels and latent dimensions are averaged, as binary_cross_entropy_with_logits does unless told otherwise: sum
    over both, average over the pictures."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return gap.mean() + kl.mean()


def elbo_sum(encoder, decoder, x, eps):
    """This is the sum over the batch; the loss is the mean."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return gap.sum() + kl.sum()


def elbo_kl_of_all(encoder, decoder, x, eps):
    """The KL is summed over the batch, while the log-likelihood is averaged: average both."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return gap.sum(1).mean() + kl.sum()


def elbo_gap_of_all(encoder, decoder, x, eps):
    """The log-likelihood is summed over the batch, while the KL is averaged: average both."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return gap.sum() + kl.sum(1).mean()


def elbo_each(encoder, decoder, x, eps):
    """These are the losses of all pictures, one by one; asked for is their mean, a single number."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return gap.sum(1) + kl.sum(1)


def elbo_no_draw(encoder, decoder, x, eps):
    """The decoder gets the mean: z is to be drawn, with eps."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean)


def elbo_variance_for_sigma(encoder, decoder, x, eps):
    """eps is multiplied by the variance: by its root, exp(log_variance / 2)."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean + log_variance.exp() * eps)


def elbo_log_variance_as_sigma(encoder, decoder, x, eps):
    """eps is multiplied by the log-variance: by the standard deviation, exp(log_variance / 2)."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean + log_variance * eps)


def elbo_eps_not_scaled(encoder, decoder, x, eps):
    """The noise is added as it is: multiply it by sigma."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: mean + eps)


def elbo_no_mean(encoder, decoder, x, eps):
    """The mean is missing in z."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: (log_variance / 2).exp() * eps)


def elbo_from_prior(encoder, decoder, x, eps):
    """z is drawn from the prior: in training it comes from q(z given x)."""
    return _elbo_at(encoder, decoder, x, lambda mean, log_variance: eps)


def elbo_outputs_swapped(encoder, decoder, x, eps):
    """The encoder's two outputs are swapped: first the mean, then the log-variance."""
    return elbo_each(lambda pictures: encoder(pictures)[::-1], decoder, x, eps).mean()


def elbo_kl_not_halved(encoder, decoder, x, eps):
    """The KL counts twice: its factor 1/2 is forgotten."""
    gap, kl = _elbo_of(encoder, decoder, x, eps)
    return (gap.sum(1) + 2 * kl.sum(1)).mean()


def elbo_kl_drawn(encoder, decoder, x, eps):
    """This is the KL as estimated by the one draw, log q(z given x) - log p(z): right on average, but noisier than the
    closed form, which is asked for."""
    mean, log_variance = encoder(x)
    z = mean + (log_variance / 2).exp() * eps
    return (_gap(decoder, z, x).sum(1) + (z.square() - eps.square() - log_variance).sum(1) / 2).mean()


def elbo_squared_error(encoder, decoder, x, eps):
    """The pixels' part is a squared error: these pixels are 0 or 1, Bernoulli with the decoder's logits."""
    mean, log_variance = encoder(x)
    squares = (decoder(mean + (log_variance / 2).exp() * eps).sigmoid() - x).square().flatten(1).sum(1)
    return (squares + _kl(mean, log_variance).sum(1)).mean()


def elbo_sigmoid_twice(encoder, decoder, x, eps):
    """The sigmoid is taken twice: binary_cross_entropy_with_logits takes the decoder's logits as they are."""
    return elbo_each(encoder, lambda z: decoder(z).sigmoid(), x, eps).mean()


def elbo_logits_as_probabilities(encoder, decoder, x, eps):
    """F.binary_cross_entropy wants probabilities: the decoder gives logits, and there is another function for them."""
    mean, log_variance = encoder(x)
    gap = F.binary_cross_entropy(decoder(mean + (log_variance / 2).exp() * eps), x, reduction="none").flatten(1).sum(1)
    return (gap + _kl(mean, log_variance).sum(1)).mean()


def elbo_by_distributions(encoder, decoder, x, eps):
    mean, log_variance = encoder(x)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    p = torch.distributions.Bernoulli(logits=decoder(q.loc + q.scale * eps))
    return -(p.log_prob(x).sum((1, 2, 3)) - torch.distributions.kl_divergence(q, prior).sum(1)).mean()


def elbo_by_sums(encoder, decoder, x, eps):
    mean, log_variance = encoder(x)
    logits = decoder(mean + log_variance.exp().sqrt() * eps)
    total = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return (total - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()) / len(x)


def elbo_by_loops(encoder, decoder, x, eps):
    total = 0.0
    for picture, noise in zip(x, eps):
        mean, log_variance = encoder(picture[None])
        logits = decoder(mean + (log_variance / 2).exp() * noise)[0]
        total = total - F.logsigmoid((2 * picture - 1) * logits).sum()
        total = total + (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 2
    return total / len(x)


# --- 6. the importance-weighted bound ---------------------------------------------------------------------------------


def cases_importance_weighted_bound(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, k, n, d, dtype=SINGLE):
        mean, log_variance = normal(g, n, d, dtype=dtype), 0.7 * normal(g, n, d, dtype=dtype) - 0.5
        z = mean + (log_variance / 2).exp() * normal(g, k, n, d, dtype=dtype)
        log_likelihood = normal(g, k, n, dtype=dtype) - 4
        if kind == "extreme":  # one picture's weights overflow, another's vanish
            log_likelihood += 1e3 * torch.tensor([1.0, -1.0] + [0.0] * (n - 2), dtype=dtype)
        arrays = {"log_likelihood": log_likelihood, "z": z, "mean": mean, "log_variance": log_variance}
        return Case(kind, arrays | ({"cotangent": normal(g, n, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3, 2, 2),
            case("ordinary", 2, 4, 3, DOUBLE),
            case("extreme", 2, 3, 2),
            case("extreme", 3, 2, 2, DOUBLE),
            case("gradient", 3, 2, 2, DOUBLE),
        ]
    n, k = whole(g, 4, 7), whole(g, 4, 8)
    return [
        case("ordinary", k, n, 3),
        case("ordinary", n, n, 2, DOUBLE),
        case("ordinary", 2, n + 2, n),
        case("extreme", k, n, 3),
        case("extreme", n, 3, 2, DOUBLE),
        case("gradient", k, n, 2, DOUBLE),
        case("gradient", 4, 3, n, DOUBLE),
    ]


def _log_densities(z, mean, log_variance):
    """log p(z) and log q(z given x), (K, N, D)."""
    log_2_pi = math.log(2 * math.pi)
    log_prior = -(z.square() + log_2_pi) / 2
    return log_prior, -((z - mean).square() / log_variance.exp() + log_variance + log_2_pi) / 2


def _log_weights(log_likelihood, z, mean, log_variance):
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return log_likelihood + (log_prior - log_q).sum(2)


def _log_mean(log_weights):
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def iw_exp_log(log_likelihood, z, mean, log_variance):
    """Right for small numbers, but exp of a large one is infinite, and of a very negative one 0: logsumexp does the
    same without that. A picture's log-likelihood is easily -500."""
    return _log_weights(log_likelihood, z, mean, log_variance).exp().mean(0).log()


def iw_global_maximum(log_likelihood, z, mean, log_variance):
    """Subtract each picture's own maximum: below the largest of the whole batch all weights of a picture may underflow
    to 0, whose logarithm is -inf. logsumexp does it right."""
    log_weights = _log_weights(log_likelihood, z, mean, log_variance)
    return (log_weights - log_weights.max()).exp().mean(0).log() + log_weights.max()


def iw_epsilon(log_likelihood, z, mean, log_variance):
    """Right for ordinary weights, but a small number inside the logarithm hides how small they are, and does not help
    where they overflow: use logsumexp."""
    return (_log_weights(log_likelihood, z, mean, log_variance).exp().mean(0) + 1e-12).log()


def iw_in_place(log_likelihood, z, mean, log_variance):
    """An argument itself gets changed: log_likelihood += ... writes into the caller's tensor."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    log_likelihood += (log_prior - log_q).sum(2)
    return _log_mean(log_likelihood)


def iw_q_stopped(log_likelihood, z, mean, log_variance):
    """The value is right, but no gradient flows through log q: here all of it counts."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return _log_mean(log_likelihood + (log_prior - log_q.detach()).sum(2))


def iw_prior_stopped(log_likelihood, z, mean, log_variance):
    """The value is right, but no gradient flows through log p(z): here all of it counts."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return _log_mean(log_likelihood + (log_prior.detach() - log_q).sum(2))


def iw_without_gradient(log_likelihood, z, mean, log_variance):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance)).detach()


def iw_mean_of_logs(log_likelihood, z, mean, log_variance):
    """This is the mean of the log-weights, which is the ELBO: asked for is the log of the mean, which is never less."""
    return _log_weights(log_likelihood, z, mean, log_variance).mean(0)


def iw_no_log_k(log_likelihood, z, mean, log_variance):
    """log K is forgotten: this is the log of the sum, not of the mean, and no bound at all."""
    return _log_weights(log_likelihood, z, mean, log_variance).logsumexp(0)


def iw_plus_log_k(log_likelihood, z, mean, log_variance):
    """log K is added: a division by K is - log K."""
    return _log_weights(log_likelihood, z, mean, log_variance).logsumexp(0) + math.log(len(z))


def iw_divided_by_k(log_likelihood, z, mean, log_variance):
    """The logarithm is divided by K: K belongs inside it, as - log K."""
    return _log_weights(log_likelihood, z, mean, log_variance).logsumexp(0) / len(z)


def iw_no_prior(log_likelihood, z, mean, log_variance):
    """The prior is forgotten: w = p(x given z) p(z) / q(z given x)."""
    return _log_mean(log_likelihood - _log_densities(z, mean, log_variance)[1].sum(2))


def iw_no_q(log_likelihood, z, mean, log_variance):
    """q is forgotten: w = p(x given z) p(z) / q(z given x). The draws are q's, and the division makes up for that."""
    return _log_mean(log_likelihood + _log_densities(z, mean, log_variance)[0].sum(2))


def iw_likelihood_only(log_likelihood, z, mean, log_variance):
    """Prior and q are forgotten: w = p(x given z) p(z) / q(z given x)."""
    return _log_mean(log_likelihood)


def iw_no_likelihood(log_likelihood, z, mean, log_variance):
    """The log-likelihood is forgotten: w = p(x given z) p(z) / q(z given x)."""
    return _log_mean(_log_weights(torch.zeros_like(log_likelihood), z, mean, log_variance))


def iw_inverted(log_likelihood, z, mean, log_variance):
    """Prior and q are the wrong way round: multiply by p(z), divide by q(z given x)."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return _log_mean(log_likelihood + (log_q - log_prior).sum(2))


def iw_q_multiplied(log_likelihood, z, mean, log_variance):
    """The weight is multiplied by q(z given x): divide."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return _log_mean(log_likelihood + (log_prior + log_q).sum(2))


def iw_closed_kl(log_likelihood, z, mean, log_variance):
    """The closed KL stands in place of the draws' own log p(z) - log q(z given x): each draw has its weight."""
    return _log_mean(log_likelihood) - _kl(mean, log_variance).sum(1)


def iw_no_log_sigma(log_likelihood, z, mean, log_variance):
    """In log q the log-variance is missing: a narrow Gaussian is a high one."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance) - log_variance.sum(1) / 2)


def iw_log_variance_not_halved(log_likelihood, z, mean, log_variance):
    """In log q the log-variance is not halved: it is log sigma that stands there."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance) + log_variance.sum(1) / 2)


def iw_sigma_for_variance(log_likelihood, z, mean, log_variance):
    """In log q the squares are divided by sigma: by sigma^2, which is exp(log_variance)."""
    log_q = -((z - mean).square() / (log_variance / 2).exp() + log_variance + math.log(2 * math.pi)) / 2
    return _log_mean(log_likelihood + (_log_densities(z, mean, log_variance)[0] - log_q).sum(2))


def iw_log_sigma(log_likelihood, z, mean, log_variance):
    """log_variance is read as log sigma: it is log sigma^2."""
    return _log_mean(_log_weights(log_likelihood, z, mean, 2 * log_variance))


def iw_not_centred(log_likelihood, z, mean, log_variance):
    """In log q the mean is missing: (z - mean)^2."""
    return _log_mean(_log_weights(log_likelihood, z, torch.zeros_like(mean), log_variance))


def iw_constant_in_prior(log_likelihood, z, mean, log_variance):
    """log(2 pi) / 2 stands in log p(z) and not in log q: in both, or in none, for there they cancel."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance)) - z.shape[2] * math.log(2 * math.pi) / 2


def iw_constant_in_q(log_likelihood, z, mean, log_variance):
    """log(2 pi) / 2 stands in log q and not in log p(z): in both, or in none, for there they cancel."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance)) + z.shape[2] * math.log(2 * math.pi) / 2


def iw_dimensions_averaged(log_likelihood, z, mean, log_variance):
    """The densities of z are averaged over the latent dimensions: sum their logarithms."""
    log_prior, log_q = _log_densities(z, mean, log_variance)
    return _log_mean(log_likelihood + (log_prior - log_q).mean(2))


def iw_maximum(log_likelihood, z, mean, log_variance):
    """This is the largest log-weight: all draws count."""
    return _log_weights(log_likelihood, z, mean, log_variance).amax(0)


def iw_first_draw(log_likelihood, z, mean, log_variance):
    """The first draw's weight is used for all: each z_k has its own."""
    return _log_weights(log_likelihood, z, mean, log_variance)[0]


def iw_first_z(log_likelihood, z, mean, log_variance):
    """The first z serves all K draws in log p(z) and log q: each draw has its own."""
    return _log_mean(_log_weights(log_likelihood, z[:1], mean, log_variance))


def iw_over_the_batch(log_likelihood, z, mean, log_variance):
    """The mean runs over the pictures: over the draws, dimension 0."""
    log_weights = _log_weights(log_likelihood, z, mean, log_variance)
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def iw_average(log_likelihood, z, mean, log_variance):
    """This is one number, the batch's average: one for each picture is asked for."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance)).mean()


def iw_each(log_likelihood, z, mean, log_variance):
    """These are the log-weights: the log of their mean over the draws is asked for."""
    return _log_weights(log_likelihood, z, mean, log_variance)


def iw_no_logarithm(log_likelihood, z, mean, log_variance):
    """This is the mean weight: asked for is its logarithm."""
    return _log_mean(_log_weights(log_likelihood, z, mean, log_variance)).exp()


def iw_sign(log_likelihood, z, mean, log_variance):
    """This is a loss: the bound itself is asked for, without the minus."""
    return -_log_mean(_log_weights(log_likelihood, z, mean, log_variance))


def iw_by_distributions(log_likelihood, z, mean, log_variance):
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    log_weights = log_likelihood + prior.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    return log_weights.logsumexp(0) - math.log(z.shape[0])


def iw_by_maximum(log_likelihood, z, mean, log_variance):
    eps = (z - mean) / (log_variance / 2).exp()
    log_weights = log_likelihood + (eps**2 - z**2 + log_variance).sum(2) / 2
    top = log_weights.amax(0)
    return top + (log_weights - top).exp().mean(0).log()


def iw_by_loops(log_likelihood, z, mean, log_variance):
    bounds = []
    for n in range(len(mean)):
        total = None
        for k in range(len(z)):
            offset = (z[k, n] - mean[n]) ** 2 * (-log_variance[n]).exp()
            log_weight = log_likelihood[k, n] + 0.5 * (offset + log_variance[n] - z[k, n] ** 2).sum()
            total = log_weight if total is None else torch.logaddexp(total, log_weight)
        bounds.append(total - math.log(len(z)))
    return torch.stack(bounds)


# --- 7. hidden assumptions --------------------------------------------------------------------------------------------


def cases_hidden_assumptions(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(pixels, *others):
        numbers = {"pixels": torch.tensor(pixels)}
        names = ("error", "share", "nats")
        return Case("ordinary", numbers | {name: torch.tensor(o, dtype=DOUBLE) for name, o in zip(names, others)})

    if not hidden:
        return [case([784, 50], [0.04, 0.09], [0.13, 0.2], [-94.0, -20.0])]
    questions = whole(g, 3, 5)

    def between_all(low, high):
        return [between(g, low, high) for _ in range(questions)]

    pixels = [whole(g, 60, 3000) for _ in range(questions)]
    nats = [-between(g, 0.05, 0.6) * d for d in pixels]
    return [
        case(pixels, between_all(0.01, 0.2), between_all(0.08, 0.35), nats),
        case([12], [0.25], [between(g, 0.1, 0.3)], [-5.0]),
    ]


def _assumed(pixels, error, share, nats):
    coin = share * math.log(share) + (1 - share) * math.log(1 - share)
    return {"a": math.sqrt(0.5), "b": math.sqrt(pixels / 2), "c": pixels / 2, "d": math.sqrt(error),
            "e": pixels * coin, "f": -nats / (pixels * math.log(2))}  # fmt: skip


def _but(numbers, **others):
    return tuple((numbers | others).values())


def assumed_beta_not_halved(pixels, error, share, nats):
    """c: with sigma = 1 the log-likelihood has half the sum of the squares. What turns their mean into that, and what
    does the same factor make of the KL?"""
    return _but(_assumed(pixels, error, share, nats), c=pixels)


def assumed_beta_inverted(pixels, error, share, nats):
    """c is the wrong way round: the mean is far smaller than the sum, so the KL weighs more, not less."""
    return _but(_assumed(pixels, error, share, nats), c=2 / pixels)


def assumed_beta_root(pixels, error, share, nats):
    """c is sigma^2 of b, not sigma."""
    return _but(_assumed(pixels, error, share, nats), c=math.sqrt(pixels / 2))


def assumed_beta_one(pixels, error, share, nats):
    """c is not 1: the KL has weight 1 in that loss, but the squares have too little."""
    return _but(_assumed(pixels, error, share, nats), c=1.0)


def assumed_beta_doubled(pixels, error, share, nats):
    """c: the half of the squares divides the weight by 2, it does not double it."""
    return _but(_assumed(pixels, error, share, nats), c=2 * pixels)


def assumed_best_variance(pixels, error, share, nats):
    """d asks for sigma: this is sigma^2, which is the mean squared error at the best place."""
    return _but(_assumed(pixels, error, share, nats), d=error)


def assumed_best_halved(pixels, error, share, nats):
    """d: set the derivative of e / (2 sigma^2) + log sigma to 0. The 2 drops out."""
    return _but(_assumed(pixels, error, share, nats), d=math.sqrt(error / 2))


def assumed_best_doubled(pixels, error, share, nats):
    """d: set the derivative of e / (2 sigma^2) + log sigma to 0. No 2 comes in."""
    return _but(_assumed(pixels, error, share, nats), d=math.sqrt(2 * error))


def assumed_best_of_sum(pixels, error, share, nats):
    """d: the error is the mean over the pixels already, and each pixel has its own log sigma: d has no part in it."""
    return _but(_assumed(pixels, error, share, nats), d=math.sqrt(pixels * error))


def assumed_best_precision(pixels, error, share, nats):
    """d is sigma, not 1 / sigma."""
    return _but(_assumed(pixels, error, share, nats), d=1 / math.sqrt(error))


def assumed_ignored_sign(pixels, error, share, nats):
    """The sign of e is wrong: a log-probability is never above 0."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, e=-numbers["e"])


def assumed_ignored_pixel(pixels, error, share, nats):
    """e is for one pixel: a picture has d of them."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, e=numbers["e"] / pixels)


def assumed_ignored_ones_only(pixels, error, share, nats):
    """e: the pixels that are 0 count too."""
    return _but(_assumed(pixels, error, share, nats), e=pixels * share * math.log(share))


def assumed_ignored_fair(pixels, error, share, nats):
    """e is a decoder that says 1/2 for each pixel: it can know the share r without knowing z."""
    return _but(_assumed(pixels, error, share, nats), e=-pixels * math.log(2))


def assumed_ignored_guess(pixels, error, share, nats):
    """e counts all pixels as if they were 0: the share r of them are 1, and have log r."""
    return _but(_assumed(pixels, error, share, nats), e=pixels * math.log(1 - share))


def assumed_ignored_bits(pixels, error, share, nats):
    """e is in bits: asked for are nats, with the natural logarithm."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, e=numbers["e"] / math.log(2))


def assumed_ignored_zero(pixels, error, share, nats):
    """e is not 0: the KL is, but the log-likelihood is still there."""
    return _but(_assumed(pixels, error, share, nats), e=0.0)


def assumed_bits_sign(pixels, error, share, nats):
    """The sign of f is wrong: bits are a cost, so above 0 here."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, f=-numbers["f"])


def assumed_bits_in_nats(pixels, error, share, nats):
    """f is in nats: divide by log 2."""
    return _but(_assumed(pixels, error, share, nats), f=-nats / pixels)


def assumed_bits_times_log(pixels, error, share, nats):
    """f: divide by log 2, do not multiply. A bit is less than a nat, so there are more of them."""
    return _but(_assumed(pixels, error, share, nats), f=-nats / pixels * math.log(2))


def assumed_bits_of_picture(pixels, error, share, nats):
    """f is for the whole picture: divide by the number of pixels."""
    return _but(_assumed(pixels, error, share, nats), f=-nats / math.log(2))


def assumed_bits_of_8(pixels, error, share, nats):
    """f: the 8 is for densities of pictures with 256 greys. These have probabilities already."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, f=8 + numbers["f"])


def assumed_sum_one(pixels, error, share, nats):
    """a is sigma = 1: that gives half the sum, (x - m)^2 / 2. And without the half?"""
    return _but(_assumed(pixels, error, share, nats), a=1.0)


def assumed_sum_variance(pixels, error, share, nats):
    """a is sigma^2: sigma is its root."""
    return _but(_assumed(pixels, error, share, nats), a=0.5)


def assumed_sum_inverted(pixels, error, share, nats):
    """a is 1 / sigma: 1 / (2 sigma^2) is to be 1."""
    return _but(_assumed(pixels, error, share, nats), a=math.sqrt(2))


def assumed_mean_not_halved(pixels, error, share, nats):
    """b would be right for half the mean: 1 / (2 sigma^2) is to be 1 / d."""
    return _but(_assumed(pixels, error, share, nats), b=math.sqrt(pixels))


def assumed_mean_variance(pixels, error, share, nats):
    """b is sigma^2: sigma is its root."""
    return _but(_assumed(pixels, error, share, nats), b=pixels / 2)


def assumed_mean_doubled(pixels, error, share, nats):
    """b: 1 / (2 sigma^2) is to be 1 / d, so sigma^2 is d / 2, not 2 d."""
    return _but(_assumed(pixels, error, share, nats), b=math.sqrt(2 * pixels))


def assumed_mean_inverted(pixels, error, share, nats):
    """b is 1 / sigma: a mean counts each pixel little, so sigma is large."""
    return _but(_assumed(pixels, error, share, nats), b=math.sqrt(2 / pixels))


def assumed_mean_as_sum(pixels, error, share, nats):
    """b is a once more: the mean is d times smaller than the sum."""
    return _but(_assumed(pixels, error, share, nats), b=math.sqrt(0.5))


def assumed_both_not_halved(pixels, error, share, nats):
    """In a and b the half of the Gaussian's squares is forgotten: (x - m)^2 / (2 sigma^2)."""
    return _but(_assumed(pixels, error, share, nats), a=1.0, b=math.sqrt(pixels))


def assumed_swapped(pixels, error, share, nats):
    """a and b are swapped: the sum comes first."""
    numbers = _assumed(pixels, error, share, nats)
    return _but(numbers, a=numbers["b"], b=numbers["a"])


def assumed_by_torch(pixels, error, share, nats):
    share = torch.tensor(share, dtype=torch.float64)
    entropy = torch.distributions.Bernoulli(probs=share).entropy().item()
    a, beta = 2**-0.5, pixels * 0.5
    return [a, beta**0.5, beta, error**0.5, 0 - pixels * entropy, -nats / pixels / math.log(2)]


def assumed_rearranged(pixels, error, share, nats):
    sigma = math.sqrt(pixels) / math.sqrt(2)
    collapsed = math.log(share**share * (1 - share) ** (1 - share)) * pixels
    bits = -nats * math.log2(math.e) / pixels
    return 1 / math.sqrt(2), sigma, sigma**2, math.exp(math.log(error) / 2), collapsed, bits


# --- 8. a walk on the sphere ------------------------------------------------------------------------------------------


def cases_slerp(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE, low=0.2, high=0.4):
        a, b = 1.5 * normal(g, n, d, dtype=dtype), normal(g, n, d, dtype=dtype)
        if kind == "parallel":  # along an axis, of lengths without rounding: the cosine is exactly 1
            a[0], b[0] = 0, 0
            a[0, d - 1], b[0, d - 1] = 4, 0.5
        return Case(kind, {"a": a, "b": b, "t": scalar(between(g, low, high))})

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 4, DOUBLE, 0.6, 0.8),
            case("parallel", 2, 3),
            case("parallel", 3, 2, DOUBLE),
        ]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 1, 6, DOUBLE, 0.6, 0.9),
        case("ordinary", 1, n, DOUBLE, 0.1, 0.2),
        case("parallel", n, 5),
        case("parallel", 3, n, DOUBLE, 0.6, 0.8),
    ]


def _angle(a, b):
    return F.cosine_similarity(a, b, dim=1).clamp(-1, 1)[:, None].acos()


def _arc(a, b, t, angle):
    """The formula as it stands: NaN where the angle is 0."""
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def _slerp(a, b, t, angle):
    """The formula where the angle is not 0, a straight line where it is."""
    return torch.where(angle < 1e-6, (1 - t) * a + t * b, _arc(a, b, t, angle))


def slerp_nan(a, b, t):
    """0 / 0 where both ends point the same way: there the weights are 1 - t and t, a straight line."""
    return _arc(a, b, t, _angle(a, b))


def slerp_zero(a, b, t):
    """Where both ends point the same way this gives 0, as a small number in the denominator does: there the weights are
    1 - t and t, a straight line."""
    angle = _angle(a, b)
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / (angle.sin() + 1e-9)


def slerp_stays(a, b, t):
    """Where both ends point the same way this stays at a: they may still have different lengths. A straight line."""
    return torch.where(_angle(a, b) < 1e-3, a, slerp_nan(a, b, t))


def slerp_one_for_all(a, b, t):
    """One pair that points the same way makes all rows straight: decide for each row, with torch.where."""
    angle = _angle(a, b)
    return (1 - t) * a + t * b if (angle < 1e-3).any() else _arc(a, b, t, angle)


def slerp_in_place(a, b, t):
    """The argument itself gets changed: a *= ... writes into the caller's tensor, a * ... does not."""
    path = _slerp(a, b, t, _angle(a, b))
    a *= 0
    a += path
    return a


def slerp_straight(a, b, t):
    """This is a straight line: it cuts through the inside of the sphere, where a Gaussian has hardly any draws."""
    return (1 - t) * a + t * b


def slerp_straight_scaled(a, b, t):
    """This is a straight line that is lifted to unit length: on the sphere, but with uneven steps."""
    return F.normalize((1 - t) * a + t * b, dim=1)


def slerp_unit(a, b, t):
    """The ends are taken to unit length, and so is all that comes: only the angle needs unit vectors."""
    return _slerp(F.normalize(a, dim=1), F.normalize(b, dim=1), t, _angle(a, b))


def slerp_length_apart(a, b, t):
    """Direction and length are interpolated apart: a fair idea, but the formula weighs a and b themselves."""
    length = (1 - t) * a.norm(dim=1, keepdim=True) + t * b.norm(dim=1, keepdim=True)
    return length * slerp_unit(a, b, t)


def slerp_swapped(a, b, t):
    """t and 1 - t are swapped: t = 0 is a."""
    return _slerp(a, b, 1 - t, _angle(a, b))


def slerp_both_t(a, b, t):
    """Both weights have t: a's has 1 - t."""
    angle = _angle(a, b)
    return (t * angle).sin() / angle.sin() * (a + b)


def slerp_weights_without_sine(a, b, t):
    """The weights are divided by the angle: by its sine."""
    angle = _angle(a, b)
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle


def slerp_not_divided(a, b, t):
    """The division by the sine of the angle is missing: at t = 0 this is not a."""
    angle = _angle(a, b)
    return ((1 - t) * angle).sin() * a + (t * angle).sin() * b


def slerp_t_outside(a, b, t):
    """The sine is taken of t alone: sin(t angle), not sin(t) angle."""
    angle = _angle(a, b)
    return (math.sin(1 - t) * angle * a + math.sin(t) * angle * b) / angle.sin()


def slerp_cosine_as_angle(a, b, t):
    """The cosine is taken as the angle: acos is missing."""
    return _arc(a, b, t, _angle(a, b).cos())


def slerp_asin(a, b, t):
    """The angle is asin of the cosine: acos."""
    return _arc(a, b, t, _angle(a, b).cos().asin())


def slerp_cosines(a, b, t):
    """The weights are cosines: sines."""
    angle = _angle(a, b)
    return (((1 - t) * angle).cos() * a + (t * angle).cos() * b) / angle.sin()


def slerp_quarter_circle(a, b, t):
    """The angle is taken as 90 degrees: nearly so in many dimensions, but it can be computed."""
    return math.cos(t * math.pi / 2) * a + math.sin(t * math.pi / 2) * b


def slerp_roots(a, b, t):
    """The weights are roots of 1 - t and t, which keeps a variance: the sphere wants the angle."""
    return math.sqrt(1 - t) * a + math.sqrt(t) * b


def slerp_dot_product(a, b, t):
    """The angle is that of a dot product, cut off at 1: divide by both lengths first."""
    return _arc(a, b, t, (a * b).sum(1, keepdim=True).clamp(-0.99, 0.99).acos())


def slerp_one_angle(a, b, t):
    """One angle for the whole batch: each row has its own."""
    return _arc(a, b, t, F.cosine_similarity(a.flatten(), b.flatten(), dim=0).acos())


def slerp_columns(a, b, t):
    """The angle is one of columns, over the pictures: a latent point is a row, dim=1."""
    return _arc(a, b, t, F.cosine_similarity(a, b, dim=0).clamp(-1, 1).acos())


def slerp_degrees(a, b, t):
    """The angle is in degrees: sin wants radians, as acos gives them."""
    return _arc(a, b, t, _angle(a, b).rad2deg())


def slerp_by_clamp(a, b, t):
    """A cosine just below 1 is straight enough."""
    unit_a, unit_b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    angle = (unit_a * unit_b).sum(1, keepdim=True).clamp(max=1 - 1e-6).acos()
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def slerp_by_tangent(a, b, t):
    unit_a, unit_b = F.normalize(a.double(), dim=1), F.normalize(b.double(), dim=1)
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))[:, None]
    return torch.where(angle < 1e-5, torch.lerp(a.double(), b.double(), t), _slerp(a.double(), b.double(), t, angle))


def slerp_by_loops(a, b, t):
    rows = []
    for p, q in zip(a.double(), b.double()):
        cosine = (p @ q / (p.norm() * q.norm())).item()
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        if angle < 1e-5:
            rows.append(p + t * (q - p))
        else:
            rows.append((math.sin((1 - t) * angle) * p + math.sin(t * angle) * q) / math.sin(angle))
    return torch.stack(rows)


# --- 9. dimensions that sleep -----------------------------------------------------------------------------------------


def cases_kl_by_dimension(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, busy, asleep, dtype=SINGLE):
        """Columns: `busy` that tell pictures apart, one that says the same of all, one that says something of one
        picture only, and some that say nothing."""
        still = 0.03 * normal(g, n, asleep + 2, dtype=dtype)
        still[:, 0] += 1.5
        still[0, 1] = 0.5
        mean = torch.cat([1.5 * normal(g, n, busy, dtype=dtype), still], 1)
        log_variance = 0.02 * normal(g, n, busy + asleep + 2, dtype=dtype)
        log_variance[:, :busy] -= 2
        log_variance[0, busy + 1] -= 0.3
        order = torch.randperm(mean.shape[1], generator=g)
        return Case("ordinary", {"mean": mean[:, order], "log_variance": log_variance[:, order],
                                 "threshold": scalar(0.1)})  # fmt: skip

    if not hidden:
        return [case(5, 2, 1), case(4, 3, 1, DOUBLE)]
    n = whole(g, 6, 9)
    return [case(n, 3, 2), case(n + 1, whole(g, 2, 5), 1, DOUBLE), case(n + 3, 5, whole(g, 1, 3))]


def _counted(mean, log_variance, alive):
    return _kl(mean, log_variance).mean(0), int(alive.sum())


def asleep_counted(mean, log_variance, threshold):
    """These are the dimensions that sleep: count those above the threshold."""
    kl = _kl(mean, log_variance).mean(0)
    return kl, int((kl <= threshold).sum())


def alive_by_variance(mean, log_variance, threshold):
    """This counts where the mean varies over pictures: another common definition (Burda's), but here the KL decides. A
    mean that is the same for all pictures costs KL and says nothing; compare the two counts on a model of yours."""
    return _counted(mean, log_variance, mean.var(0, correction=0) > threshold)


def alive_anywhere(mean, log_variance, threshold):
    """This counts the dimensions that are above the threshold for some picture: first average over the pictures."""
    return _counted(mean, log_variance, (_kl(mean, log_variance) > threshold).any(0))


def alive_entries(mean, log_variance, threshold):
    """This counts pictures and dimensions together: first average over the pictures, then count the dimensions."""
    return _counted(mean, log_variance, _kl(mean, log_variance) > threshold)


def alive_total(mean, log_variance, threshold):
    """This is the number of all dimensions: count those above the threshold."""
    return _counted(mean, log_variance, torch.ones(mean.shape[1]))


def alive_share(mean, log_variance, threshold):
    """This is the share of the dimensions: their number is asked for, a whole one."""
    kl = _kl(mean, log_variance).mean(0)
    return kl, (kl > threshold).float().mean()


def alive_mask(mean, log_variance, threshold):
    """This says of each dimension whether it is alive: their number is asked for."""
    kl = _kl(mean, log_variance).mean(0)
    return kl, kl > threshold


def alive_of_pictures(mean, log_variance, threshold):
    """This counts the pictures whose KL, over all dimensions, is above the threshold: count the dimensions."""
    kl = _kl(mean, log_variance)
    return kl.mean(0), int((kl.sum(1) > threshold).sum())


def alive_in_place(mean, log_variance, threshold):
    """An argument itself gets changed: operations whose names end with an underscore write into the caller's tensor."""
    kl = (mean.square_() + log_variance.exp() - 1 - log_variance).mean(0) / 2
    return kl, int((kl > threshold).sum())


def alive_summed(mean, log_variance, threshold):
    """The KL is summed over the pictures: average."""
    kl = _kl(mean, log_variance).sum(0)
    return kl, int((kl > threshold).sum())


def alive_over_dimensions(mean, log_variance, threshold):
    """This is one number for each picture: average over the pictures, dimension 0, and keep the dimensions."""
    kl = _kl(mean, log_variance).mean(1)
    return kl, int((kl > threshold).sum())


def alive_picture_sums(mean, log_variance, threshold):
    """This is the KL of each picture, summed over the dimensions: here the dimensions stay apart, and the pictures are
    averaged."""
    kl = _kl(mean, log_variance).sum(1)
    return kl, int((kl > threshold).sum())


def alive_each(mean, log_variance, threshold):
    """The pictures are not averaged."""
    kl = _kl(mean, log_variance)
    return kl, int((kl > threshold).sum())


def alive_of_average(mean, log_variance, threshold):
    """This is the KL of averages: mean and log-variance are averaged over the pictures first. What differs from one
    picture to the next, all that a dimension has to say, is lost so. First the KL, then the average."""
    kl = _kl(mean.mean(0), log_variance.mean(0))
    return kl, int((kl > threshold).sum())


def alive_not_halved(mean, log_variance, threshold):
    """The factor 1/2 of the KL is forgotten."""
    kl = 2 * _kl(mean, log_variance).mean(0)
    return kl, int((kl > threshold).sum())


def alive_no_minus_one(mean, log_variance, threshold):
    """The -1 is missing in the KL: a dimension that is the prior has 0."""
    kl = _kl(mean, log_variance).mean(0) + 0.5
    return kl, int((kl > threshold).sum())


def alive_of_log_sigma(mean, log_variance, threshold):
    """log_variance is read as log sigma: it is log sigma^2, so the variance is exp(log_variance)."""
    kl = _kl(mean, 2 * log_variance).mean(0)
    return kl, int((kl > threshold).sum())


def alive_swapped(mean, log_variance, threshold):
    """The two results are swapped: first the KLs, then the number."""
    kl = _kl(mean, log_variance).mean(0)
    return int((kl > threshold).sum()), kl


def alive_only_kl(mean, log_variance, threshold):
    """Two things are asked for: the KL of each dimension, and how many are alive."""
    return _kl(mean, log_variance).mean(0)


def alive_by_distributions(mean, log_variance, threshold):
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    kl = torch.distributions.kl_divergence(q, prior).mean(0)
    return kl, (kl > threshold).sum()


def alive_by_loops(mean, log_variance, threshold):
    kl = []
    for m, v in zip(mean.double().T, log_variance.double().T):
        kl.append(sum((a * a + b.exp() - 1 - b) / 2 for a, b in zip(m, v)) / len(mean))
    return torch.stack(kl), len([number for number in kl if number > threshold])


# --- 10. two ways to a gradient ---------------------------------------------------------------------------------------


def cases_two_gradients(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(k, d, dtype=SINGLE):
        arrays = {"wave": normal(g, d, dtype=dtype), "bowl": normal(g, d, dtype=dtype)}
        arrays |= {"mean": normal(g, d, dtype=dtype), "eps": normal(g, k, d, dtype=dtype)}
        sigma = torch.tensor([between(g, 0.4, 0.7) for _ in range(d)], dtype=dtype)
        return Case("ordinary", arrays | {"sigma": sigma, "baseline": scalar(between(g, 0.8, 1.6))})

    if not hidden:
        return [case(3, 2), case(4, 3, DOUBLE)]
    k, d = whole(g, 5, 9), whole(g, 2, 5)
    return [case(k, d), case(k + 2, d + 1, DOUBLE), case(2, k)]


def _score(f, mean, sigma, eps, baseline):
    """Each draw's estimate, (K, D)."""
    return (f(mean + sigma * eps) - baseline)[:, None] * eps / sigma


def _path(f, z):
    """The gradient of f at each row of z."""
    z = z.detach().clone().requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]


def both_in_place(f, mean, sigma, eps, baseline):
    """An argument itself gets changed: eps *= ... writes into the caller's tensor, eps * ... does not."""
    score = _score(f, mean, sigma, eps, baseline).mean(0)
    eps *= sigma
    return score, _path(f, mean + eps).mean(0)


def both_path_summed(f, mean, sigma, eps, baseline):
    """The path's gradients are summed over the draws: average them."""
    return _score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean + sigma * eps).sum(0)


def both_path_at_mean(f, mean, sigma, eps, baseline):
    """The path's gradient is taken at the mean: at each draw, then the average."""
    return _score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean[None])[0]


def both_path_of_sigma(f, mean, sigma, eps, baseline):
    """The path's gradients are multiplied by eps: that is the derivative with respect to sigma. With respect to the
    mean dz / dmean is 1."""
    return _score(f, mean, sigma, eps, baseline).mean(0), (_path(f, mean + sigma * eps) * eps).mean(0)


def both_path_of_eps(f, mean, sigma, eps, baseline):
    """The path's gradients are multiplied by sigma: that is the derivative with respect to eps. With respect to the
    mean dz / dmean is 1."""
    return _score(f, mean, sigma, eps, baseline).mean(0), sigma * _path(f, mean + sigma * eps).mean(0)


def both_path_unscaled(f, mean, sigma, eps, baseline):
    """The path's draws are mean + eps: sigma is forgotten."""
    return _score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean + eps).mean(0)


def both_path_each(f, mean, sigma, eps, baseline):
    """The path's gradients are not averaged over the draws."""
    return _score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean + sigma * eps)


def both_path_first(f, mean, sigma, eps, baseline):
    """The path's gradient is that of the first draw only: average all."""
    return _score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean + sigma * eps)[0]


def both_path_is_score(f, mean, sigma, eps, baseline):
    """Both estimates are the score function's: the second differentiates f along z = mean + sigma eps."""
    score = _score(f, mean, sigma, eps, baseline).mean(0)
    return score, score


def both_score_added_twice(f, mean, sigma, eps, baseline):
    """The second estimate differentiates (f - baseline) times log q: there only f's own gradient along z counts."""
    score = _score(f, mean, sigma, eps, baseline).mean(0)
    return score, score + _path(f, mean + sigma * eps).mean(0)


def both_no_baseline(f, mean, sigma, eps, baseline):
    """The baseline is left out: right on average, but noisier, and here it is asked for."""
    return _score(f, mean, sigma, eps, 0).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_baseline_added(f, mean, sigma, eps, baseline):
    """The baseline is added: subtract it."""
    return _score(f, mean, sigma, eps, -baseline).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_baseline_outside(f, mean, sigma, eps, baseline):
    """The baseline is subtracted from the estimate: from f, before it is multiplied by the score."""
    return _score(f, mean, sigma, eps, 0).mean(0) - baseline, _path(f, mean + sigma * eps).mean(0)


def both_score_is_eps(f, mean, sigma, eps, baseline):
    """(z - mean) is divided by sigma: by sigma^2."""
    return (_score(f, mean, sigma, eps, baseline) * sigma).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_score_not_divided(f, mean, sigma, eps, baseline):
    """(z - mean) is not divided by sigma^2."""
    return (_score(f, mean, sigma, eps, baseline) * sigma**2).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_eps_by_variance(f, mean, sigma, eps, baseline):
    """eps is divided by sigma^2: z - mean is sigma eps, so a sigma too many."""
    return (_score(f, mean, sigma, eps, baseline) / sigma).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_score_of_sigma(f, mean, sigma, eps, baseline):
    """This is the score of sigma, (eps^2 - 1) / sigma: asked for is the mean's."""
    values = (f(mean + sigma * eps) - baseline)[:, None]
    return (values * (eps.square() - 1) / sigma).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_score_not_centred(f, mean, sigma, eps, baseline):
    """The mean is missing in the score: (z - mean) / sigma^2."""
    z = mean + sigma * eps
    return ((f(z) - baseline)[:, None] * z / sigma**2).mean(0), _path(f, z).mean(0)


def both_score_sign(f, mean, sigma, eps, baseline):
    """The sign of the score is wrong: z - mean, not mean - z."""
    return -_score(f, mean, sigma, eps, baseline).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_score_summed(f, mean, sigma, eps, baseline):
    """The score function's estimates are summed over the draws: average them."""
    return _score(f, mean, sigma, eps, baseline).sum(0), _path(f, mean + sigma * eps).mean(0)


def both_score_each(f, mean, sigma, eps, baseline):
    """The score function's estimates are not averaged over the draws."""
    return _score(f, mean, sigma, eps, baseline), _path(f, mean + sigma * eps).mean(0)


def both_score_of_means(f, mean, sigma, eps, baseline):
    """f and the score are averaged apart: multiply for each draw, then average."""
    score = (f(mean + sigma * eps) - baseline).mean() * (eps / sigma).mean(0)
    return score, _path(f, mean + sigma * eps).mean(0)


def both_f_at_mean(f, mean, sigma, eps, baseline):
    """f is taken at the mean: at each draw."""
    score = ((f(mean[None]) - baseline) * eps / sigma).mean(0)
    return score, _path(f, mean + sigma * eps).mean(0)


def both_f_left_out(f, mean, sigma, eps, baseline):
    """f is left out: this is the mean score, which is 0 on average."""
    return (eps / sigma).mean(0), _path(f, mean + sigma * eps).mean(0)


def both_f_differentiated(f, mean, sigma, eps, baseline):
    """In the first estimate f is differentiated: it is multiplied by the score instead, which needs f's values only."""
    path = _path(f, mean + sigma * eps)
    return (path * eps / sigma).mean(0), path.mean(0)


def both_variance_for_sigma(f, mean, sigma, eps, baseline):
    """The draws are mean + sigma^2 eps: sigma is the standard deviation already."""
    return _score(f, mean, sigma**2, eps, baseline).mean(0), _path(f, mean + sigma**2 * eps).mean(0)


def both_unscaled(f, mean, sigma, eps, baseline):
    """The draws are mean + eps: sigma is forgotten."""
    values = (f(mean + eps) - baseline)[:, None]
    return (values * eps / sigma**2).mean(0), _path(f, mean + eps).mean(0)


def both_swapped(f, mean, sigma, eps, baseline):
    """The two results are swapped: first the score function's estimate, then the path's."""
    return _path(f, mean + sigma * eps).mean(0), _score(f, mean, sigma, eps, baseline).mean(0)


def both_only_score(f, mean, sigma, eps, baseline):
    """Two things are asked for: the score function's estimate, and the path's."""
    return _score(f, mean, sigma, eps, baseline).mean(0)


def both_by_autograd(f, mean, sigma, eps, baseline):
    mean = mean.detach().clone().requires_grad_()
    z = (mean + sigma * eps).detach()
    log_q = torch.distributions.Normal(mean, sigma).log_prob(z).sum(1)
    score = torch.autograd.grad(((f(z) - baseline).detach() * log_q).mean(), mean)[0]
    return score, torch.autograd.grad(f(mean + sigma * eps).mean(), mean)[0]


def both_by_loops(f, mean, sigma, eps, baseline):
    scores, paths = [], []
    for noise in eps:
        z = (mean + sigma * noise)[None].requires_grad_()
        value = f(z)[0]
        scores.append((value.item() - baseline) * (z.detach()[0] - mean) / sigma**2)
        paths.append(torch.autograd.grad(value, z)[0][0])
    return sum(scores) / len(eps), sum(paths) / len(eps)


# --- the sheet --------------------------------------------------------------------------------------------------------

VALUES = "gives the right values"

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "reparameterise",
        (Property(VALUES, 2), UNCHANGED, gradient(2)),
        cases_reparameterise,
        mutants=(
            reparam_in_place,
            reparam_without_gradient,
            reparam_mean_stopped,
            reparam_sigma_stopped,
            reparam_log_variance_as_sigma,
            reparam_variance,
            reparam_variance_squared,
            reparam_quarter,
            reparam_half_the_variance,
            reparam_root_of_logarithm,
            reparam_precision,
            reparam_eps_twice,
            reparam_minus,
            reparam_one_row,
            reparam_one_column,
            reparam_no_noise,
            reparam_mean_only,
            reparam_no_mean,
            reparam_no_sigma,
            reparam_mean_scaled,
            reparam_swapped,
        ),
        alternatives=(reparam_by_root, reparam_by_power, reparam_by_loops),
        hides=("course_lib.latent.vae:reparameterise",),
    ),
    Master(
        "gaussian_kl",
        (Property(VALUES, 2), UNCHANGED, gradient(1)),
        cases_gaussian_kl,
        mutants=(
            kl_in_place,
            kl_without_gradient,
            kl_mean_stopped,
            kl_variance_stopped,
            kl_sign,
            kl_mean_over_dimensions,
            kl_not_halved,
            kl_of_log_sigma,
            kl_sigma_for_variance,
            kl_log_halved,
            kl_total,
            kl_average,
            kl_each,
            kl_over_the_batch,
            kl_no_minus_one,
            kl_one_for_all,
            kl_plus_one,
            kl_plus_log,
            kl_no_log,
            kl_no_variance,
            kl_no_mean,
            kl_mean_not_squared,
            kl_reversed,
            kl_cross_entropy,
        ),
        alternatives=(kl_by_distributions, kl_by_sigma, kl_by_loops),
        hides=("course_lib.latent.vae:gaussian_kl",),
    ),
    Master(
        "bernoulli_log_likelihood",
        (
            Property(VALUES, 2),
            UNCHANGED,
            Property("stays right for very sure decoders", 2, "extreme"),
            gradient(1),
        ),
        cases_bernoulli_log_likelihood,
        mutants=(
            bern_log_of_sigmoid,
            bern_infinite,
            bern_overflow,
            bern_cut_at_100,
            bern_clamp,
            bern_epsilon,
            bern_in_place,
            bern_without_gradient,
            bern_half_the_gradient,
            bern_mean,
            bern_total,
            bern_average,
            bern_sign,
            bern_only_ones,
            bern_only_zeros,
            bern_as_probabilities,
            bern_bce_of_logits,
            bern_sigmoid_twice,
            bern_swapped,
            bern_arguments_swapped,
            bern_each,
            bern_over_channels,
            bern_squares,
            bern_no_logarithm,
            bern_probability,
            bern_bits,
        ),
        alternatives=(bern_by_softplus, bern_by_sign, bern_by_loops),
        hides=("course_lib.latent.likelihoods:bernoulli_log_likelihood",),
    ),
    Master(
        "gaussian_log_likelihood",
        (Property(VALUES, 3), UNCHANGED, gradient(1, "has the right gradient, for sigma too")),
        cases_gaussian_log_likelihood,
        mutants=(
            gauss_in_place,
            gauss_without_gradient,
            gauss_sigma_stopped,
            gauss_half_the_gradient,
            gauss_no_constant,
            gauss_no_log_sigma,
            gauss_squares_only,
            gauss_squared_error,
            gauss_sigma_not_squared,
            gauss_times_variance,
            gauss_log_variance,
            gauss_log_halved,
            gauss_log_doubled,
            gauss_plus_log_sigma,
            gauss_log_of_log,
            gauss_not_halved,
            gauss_constant_not_halved,
            gauss_constant_once,
            gauss_constants_once,
            gauss_log_sigma_once,
            gauss_mean,
            gauss_mean_of_squares,
            gauss_sign,
            gauss_total,
            gauss_average,
            gauss_each,
            gauss_over_channels,
            gauss_absolute,
        ),
        alternatives=(gauss_by_distributions, gauss_by_variance, gauss_by_loops),
        hides=("course_lib.latent.likelihoods:gaussian_log_likelihood",),
    ),
    Master(
        "negative_elbo",
        (Property(VALUES, 3), Property("teaches encoder and decoder", 3, outputs=("gradient",))),
        cases_negative_elbo,
        mutants=(
            elbo_z_stopped,
            elbo_kl_stopped,
            elbo_sigma_stopped,
            elbo_mean_stopped,
            elbo_decoder_stopped,
            elbo_without_gradient,
            elbo_kl_subtracted,
            elbo_kl_forgotten,
            elbo_kl_only,
            elbo_sign,
            elbo_likelihood_added,
            elbo_pixels_averaged,
            elbo_dimensions_averaged,
            elbo_all_averaged,
            elbo_sum,
            elbo_kl_of_all,
            elbo_gap_of_all,
            elbo_each,
            elbo_no_draw,
            elbo_variance_for_sigma,
            elbo_log_variance_as_sigma,
            elbo_eps_not_scaled,
            elbo_no_mean,
            elbo_from_prior,
            elbo_outputs_swapped,
            elbo_kl_not_halved,
            elbo_kl_drawn,
            elbo_squared_error,
            elbo_sigmoid_twice,
            elbo_logits_as_probabilities,
        ),
        alternatives=(elbo_by_distributions, elbo_by_sums, elbo_by_loops),
        hides=(
            "course_lib.latent.vae:reparameterise",
            "course_lib.latent.vae:gaussian_kl",
            "course_lib.latent.vae:VAE",
            "course_lib.latent.likelihoods:bernoulli_log_likelihood",
        ),
    ),
    Master(
        "importance_weighted_bound",
        (
            Property(VALUES, 3),
            UNCHANGED,
            Property("stays right for weights of any size", 1, "extreme"),
            gradient(1),
        ),
        cases_importance_weighted_bound,
        mutants=(
            iw_exp_log,
            iw_global_maximum,
            iw_epsilon,
            iw_in_place,
            iw_q_stopped,
            iw_prior_stopped,
            iw_without_gradient,
            iw_mean_of_logs,
            iw_no_log_k,
            iw_plus_log_k,
            iw_divided_by_k,
            iw_no_prior,
            iw_no_q,
            iw_likelihood_only,
            iw_no_likelihood,
            iw_inverted,
            iw_q_multiplied,
            iw_closed_kl,
            iw_no_log_sigma,
            iw_log_variance_not_halved,
            iw_sigma_for_variance,
            iw_log_sigma,
            iw_not_centred,
            iw_constant_in_prior,
            iw_constant_in_q,
            iw_dimensions_averaged,
            iw_maximum,
            iw_first_draw,
            iw_first_z,
            iw_over_the_batch,
            iw_average,
            iw_each,
            iw_no_logarithm,
            iw_sign,
        ),
        alternatives=(iw_by_distributions, iw_by_maximum, iw_by_loops),
        hides=(
            "course_lib.latent.vae:importance_weighted_bound",
            "course_lib.latent.vae:VAE",
        ),
    ),
    Master(
        "hidden_assumptions",
        (
            Property("knows what sigma is assumed (a, b)", 1, outputs=("sigmas",)),
            Property("knows beta, and the best sigma (c, d)", 1, outputs=("trade",)),
            Property("knows what is left without z (e)", 1, outputs=("ignored",)),
            Property("counts the bits (f)", 1, outputs=("bits",)),
        ),
        cases_hidden_assumptions,
        mutants=(
            assumed_beta_not_halved,
            assumed_beta_inverted,
            assumed_beta_root,
            assumed_beta_one,
            assumed_beta_doubled,
            assumed_best_variance,
            assumed_best_halved,
            assumed_best_doubled,
            assumed_best_of_sum,
            assumed_best_precision,
            assumed_ignored_sign,
            assumed_ignored_pixel,
            assumed_ignored_ones_only,
            assumed_ignored_fair,
            assumed_ignored_guess,
            assumed_ignored_bits,
            assumed_ignored_zero,
            assumed_bits_sign,
            assumed_bits_in_nats,
            assumed_bits_times_log,
            assumed_bits_of_picture,
            assumed_bits_of_8,
            assumed_sum_one,
            assumed_sum_variance,
            assumed_sum_inverted,
            assumed_mean_not_halved,
            assumed_mean_variance,
            assumed_mean_doubled,
            assumed_mean_inverted,
            assumed_mean_as_sum,
            assumed_both_not_halved,
            assumed_swapped,
        ),
        alternatives=(assumed_by_torch, assumed_rearranged),
        hides=("course_lib.evaluate:bits_per_dimension",),
    ),
    Master(
        "slerp",
        (
            Property(VALUES, 3),
            UNCHANGED,
            Property("goes straight where both ends point the same way", 1, "parallel"),
        ),
        cases_slerp,
        mutants=(
            slerp_nan,
            slerp_zero,
            slerp_stays,
            slerp_one_for_all,
            slerp_in_place,
            slerp_straight,
            slerp_straight_scaled,
            slerp_unit,
            slerp_length_apart,
            slerp_swapped,
            slerp_both_t,
            slerp_weights_without_sine,
            slerp_not_divided,
            slerp_t_outside,
            slerp_cosine_as_angle,
            slerp_asin,
            slerp_cosines,
            slerp_quarter_circle,
            slerp_roots,
            slerp_dot_product,
            slerp_one_angle,
            slerp_columns,
            slerp_degrees,
        ),
        alternatives=(slerp_by_clamp, slerp_by_tangent, slerp_by_loops),
        hides=("course_lib.latent.interpolation:slerp",),
    ),
    Master(
        "kl_by_dimension",
        (
            Property("gives each dimension's KL", 2, outputs=("kl",)),
            Property("counts those that are alive", 1, outputs=("alive",)),
            UNCHANGED,
        ),
        cases_kl_by_dimension,
        mutants=(
            asleep_counted,
            alive_by_variance,
            alive_anywhere,
            alive_entries,
            alive_total,
            alive_share,
            alive_mask,
            alive_of_pictures,
            alive_in_place,
            alive_summed,
            alive_over_dimensions,
            alive_picture_sums,
            alive_each,
            alive_of_average,
            alive_not_halved,
            alive_no_minus_one,
            alive_of_log_sigma,
            alive_swapped,
            alive_only_kl,
        ),
        alternatives=(alive_by_distributions, alive_by_loops),
        hides=(
            "course_lib.latent.vae:gaussian_kl",
            "course_lib.latent.vae:active_units",
        ),
    ),
    Master(
        "two_gradients",
        (
            Property("gives the score function's estimate", 2, outputs=("score",)),
            Property("gives the estimate along the path", 2, outputs=("path",)),
            UNCHANGED,
        ),
        cases_two_gradients,
        mutants=(
            both_in_place,
            both_path_summed,
            both_path_at_mean,
            both_path_of_sigma,
            both_path_of_eps,
            both_path_unscaled,
            both_path_each,
            both_path_first,
            both_path_is_score,
            both_score_added_twice,
            both_no_baseline,
            both_baseline_added,
            both_baseline_outside,
            both_score_is_eps,
            both_score_not_divided,
            both_eps_by_variance,
            both_score_of_sigma,
            both_score_not_centred,
            both_score_sign,
            both_score_summed,
            both_score_each,
            both_score_of_means,
            both_f_at_mean,
            both_f_left_out,
            both_f_differentiated,
            both_variance_for_sigma,
            both_unscaled,
            both_swapped,
            both_only_score,
        ),
        alternatives=(both_by_autograd, both_by_loops),
    ),
]
