"""Exercises 11, the variational autoencoder: how answers are called, and on which
cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too. Where the arguments are float64,
the driver also looks whether the answer computes in float64.
"""

from functools import partial

import torch

from course_lib.grading.drive import Arrays, by_number, gradients
from course_lib.grading.probes import keeps_float64, on_case_in_float64

Q = ("mean", "log_variance")  # of the encoder's Gaussian


drive_logistic_draw = partial(
    on_case_in_float64, tensors=("mean", "log_scale", "u"), flows=("mean", "log_scale")
)
drive_laplace_rate = partial(
    on_case_in_float64, tensors=Q, settings=("scale",), flows=Q
)


def drive_observed_log_likelihood(answer, a: Arrays) -> Arrays:
    """Makes the unknown pixels NaN."""
    x = a["x"].masked_fill(a["unknown"], float("nan"))
    a = a | {"x": x}
    return on_case_in_float64(answer, a, ("logits", "x"), flows=("logits",))


drive_gaussian_log_likelihood = partial(
    on_case_in_float64, tensors=("mean", "x", "log_sigma"), flows=("mean", "log_sigma")
)


def drive_negative_elbo(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and decoder from the weights. `gradient ...`: of these."""
    names = ("encoder", "encoder bias", "decoder", "decoder bias")
    w = {name: a[name].requires_grad_() for name in names}
    shape = a["x"].shape[1:]

    def loss(eps):
        def encoder(x):
            return (x.flatten(1) @ w["encoder"] + w["encoder bias"]).chunk(2, 1)

        def decoder(z):
            logits = (z + z.sin()) @ w["decoder"] + w["decoder bias"]
            return logits.unflatten(1, shape)

        return answer(encoder, decoder, a["x"], eps)

    value = loss(a["eps"])
    outputs = {"value": value} | gradients(value, w)
    if a["eps"].dtype == torch.float64:
        outputs |= keeps_float64(loss, {"eps": a["eps"]})
    return outputs


drive_wider_bound = partial(
    on_case_in_float64,
    tensors=("log_likelihood", "eps", *Q),
    settings=("width",),
    flows=("log_likelihood", *Q),
)


drive_hidden_assumptions = partial(
    by_number,
    given=("pixels", "error", "share", "nats"),
    groups={"sigmas": "ab", "trade": "cd", "ignored": "e", "bits": "f"},
)

drive_slerp = partial(on_case_in_float64, tensors=("a", "b"), settings=("t",))
drive_free_bits = partial(
    on_case_in_float64, tensors=(*Q, "group"), settings=("free",), flows=Q
)


def drive_two_gradients(answer, a: Arrays) -> Arrays:
    """Builds f(z) = sin(z . wave) + z^2 . bowl."""

    def f(z):
        return (z @ a["wave"]).sin() + z.square() @ a["bowl"]

    tensors, names = ("mean", "sigma", "eps"), ("score", "path")
    return on_case_in_float64(partial(answer, f), a, tensors, names=names)


drive_information = partial(
    on_case_in_float64, tensors=("z", *Q), names=("information", "mismatch")
)


# --- private: what stands above is given to students ----------------------------------

import itertools
import math

import torch.nn.functional as F
from torch import Generator
from torch.distributions import (
    Bernoulli,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)
from torch.distributions import Categorical as Choice

from course_lib.grading.draw import F32, F64, between, normal, normals, uniform, whole
from course_lib.grading.exercise import (
    UNCHANGED,
    Case,
    Master,
    Property,
    gradient,
    library,
    make_case,
    make_cases,
    question,
)


def precise_values(points: int) -> Property:
    """The first property: right values, computed in float64 for float64."""
    return Property("gives the right values", points, outputs=("value", "float64"))


def posterior(g: Generator, dtype, n: int, d: int, spread=1.0, extremes=()) -> dict:
    """Mean and log-variance of q, as a case holds them. extremes: the first
    log-variances of the first picture."""
    q = normals(g, dtype, mean=(n, d), log_variance=(n, d))
    log_variance = spread * q["log_variance"] - 0.5
    for d, extreme in enumerate(extremes):
        log_variance[0, d] = extreme
    return {"mean": q["mean"], "log_variance": log_variance}


def kl_of_torch(mean, log_variance):
    """KL of q and prior, (N, D)."""
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))


# --- 1. a draw from a logistic guess --------------------------------------------------
def cases_logistic_draw(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, d):
        arrays = normals(g, dtype, mean=(n, d), log_scale=(n, d))
        arrays["log_scale"][0, 0] = -5
        arrays["u"] = uniform(g, n, d, low=0.02, high=0.98, dtype=dtype)
        if kind == "extreme":  # in float64, 1 - 1e-11 is not 1
            edges = [1e-11, 1 - 1e-11] if dtype == F64 else [1e-11, 1 - 2**-22]
            arrays["u"][:, :2] = torch.tensor(edges, dtype=dtype)
        return make_case(kind, partial(normal, g, n, d, dtype=F64), **arrays)

    if not hidden:
        ordinary, edges = [(F32, 2, 3), (F64, 3, 2)], [(F32, 1, 3), (F64, 2, 2)]
        return make_cases(
            case, ordinary=ordinary, extreme=edges, gradient=[(F64, 2, 3)]
        )
    n = whole(g, 4, 8)
    return make_cases(
        case,
        ordinary=[(F32, n, n + 2), (F64, n + 3, n), (F32, n, 1)],
        extreme=[(F64, n, 3), (F32, 3, n)],
        gradient=[(F64, n, 5), (F64, 3, n)],
    )


def draw_by_logarithms(mean, log_scale, u):
    return mean + log_scale.exp() * (u.log() - (-u).log1p())


def draw_by_tanh(mean, log_scale, u):
    """logit(u) is twice the inverse of tanh at 2 u - 1; near 0 that is not exact."""
    standard = torch.where(u < 0.1, (u / (1 - u)).log(), 2 * (2 * u - 1).atanh())
    return torch.addcmul(mean, log_scale.exp(), standard)


# --- 2. the rate for a Laplace prior --------------------------------------------------
def cases_laplace_rate(g: Generator, hidden: bool) -> list[Case]:
    scales = itertools.cycle([0.6, 1.7, 1.1])

    def case(kind, dtype, n, d):
        extremes = (6.0, -6.0) if kind == "ordinary" else ()
        q = posterior(g, dtype, n, d, extremes=extremes)
        scale = next(scales) * between(g, 0.9, 1.1)
        return make_case(kind, partial(normal, g, n, dtype=F64), **q, scale=scale)

    if not hidden:
        ordinary = [(F32, 2, 3), (F64, 3, 4)]
        return make_cases(case, ordinary=ordinary, gradient=[(F64, 2, 3)])
    n = whole(g, 4, 8)
    ordinary = [(F32, n, n + 2), (F64, n + 3, n), (F32, n, n)]
    return make_cases(case, ordinary=ordinary, gradient=[(F64, n, 5), (F64, 3, n)])


def rate_by_normal_cdf(mean, log_variance, scale):
    """E |z| by the distribution function and the density of the normal."""
    q = Normal(mean, (log_variance / 2).exp())
    zero = torch.zeros_like(mean)
    density = q.log_prob(zero).exp() * log_variance.exp()
    size = 2 * density + mean * (1 - 2 * q.cdf(zero))
    return (size / scale + math.log(2 * scale) - q.entropy()).sum(-1)


def rate_by_torch(mean, log_variance, scale):
    q = Normal(mean, log_variance.exp().sqrt())
    fold = mean * torch.erf(mean / (q.scale * 2**0.5))
    fold = fold + q.scale * (2 / math.pi) ** 0.5 * (-0.5 * (mean / q.scale) ** 2).exp()
    entropy_of_prior = Laplace(0.0, scale).entropy().item()  # 1 + log(2 scale)
    cross = fold / scale + entropy_of_prior - 1
    return torch.einsum("nd->n", cross - q.entropy())


# --- 3. pixels of which some are unknown ----------------------------------------------
def batches(g: Generator, hidden: bool, case, extreme=True) -> list[Case]:
    """case(kind, dtype, *shape) for batches of pictures; extreme: these cases, too."""
    if not hidden:
        ordinary, slopes = [(F32, 2, 1, 2, 3), (F64, 3, 2, 2, 2)], [(F64, 2, 1, 3, 2)]
        sure = [(F32, 3, 1, 2, 3), (F64, 4, 1, 1, 3)]
    else:
        n, c = whole(g, 4, 6), 3 - 2 * whole(g, 0, 1)
        ordinary = [(F32, n, c, 4, 3), (F64, n + 3, 3, 2, n), (F32, 1, 1, n, n)]
        sure = [(F32, n, c, 3, 4), (F64, n + 1, 2, 2, 4)]
        slopes = [(F64, n, 3, 2, 2), (F64, 3, c, n, 3)]
    rows = {
        "ordinary": ordinary,
        "extreme": sure if extreme else [],
        "gradient": slopes,
    }
    return make_cases(case, **rows)


def cases_observed_log_likelihood(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape):
        logits = 1.5 * normal(g, *shape, dtype=dtype)
        x = torch.randint(0, 2, shape, generator=g).to(dtype)
        unknown = torch.rand(shape, generator=g) < 0.3
        unknown[-1, 0, 0, -2:] = torch.tensor([False, True])
        if kind == "extreme":  # surely wrong, both ways and one way only; surely right
            level = 1e3 if dtype == F64 else 200.0
            logits[:3, 0, 0, :2] = level * torch.tensor([[1, -1], [-1, -1], [1, 1]])
            x[:3, 0, 0, :2] = torch.tensor([[0, 1], [1, 1], [1, 1]]).to(dtype)
            unknown[:3, 0, 0, :2] = False
        cotangent = partial(normal, g, shape[0], dtype=F64)
        return make_case(kind, cotangent, logits=logits, x=x, unknown=unknown)

    return batches(g, hidden, case)


def observed_by_sign(logits, x):
    sign = torch.nan_to_num(2 * x - 1)  # 0 where x is unknown: log sigmoid(0)
    unknown = (sign == 0).flatten(1).sum(1)
    return F.logsigmoid(sign * logits).flatten(1).sum(1) + unknown * math.log(2)


def observed_by_loops(logits, x):
    pictures = []
    for a, pixels in zip(logits, x):
        known = pixels == pixels
        pictures.append(Bernoulli(logits=a[known]).log_prob(pixels[known]).sum())
    return torch.stack(pictures)


# --- 4. the Gaussian likelihood -------------------------------------------------------
def cases_gaussian_log_likelihood(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape):
        arrays = normals(g, dtype, mean=shape, x=shape)
        signs = torch.tensor([-1.0, 1.0, -5.0], dtype=F64)[: shape[1]]
        log_sigma = signs * uniform(g, shape[1], low=0.4, high=0.8, dtype=F64)
        arrays["log_sigma"] = log_sigma.to(dtype)
        return make_case(kind, partial(normal, g, shape[0], dtype=F64), **arrays)

    if not hidden:  # as many channels as columns: a wrong axis raises no error
        rows = {
            "ordinary": [(F32, 2, 3, 2, 3), (F64, 3, 2, 1, 2)],
            "gradient": [(F64, 2, 2, 3, 2)],
        }
    else:
        n = whole(g, 4, 6)
        rows = {
            "ordinary": [(F32, n, 3, 4, 3), (F64, n + 3, 2, 2, 2), (F32, 1, 1, n, n)],
            "gradient": [(F64, n, 3, 2, 3), (F64, 3, 2, n, 2)],
        }
    return make_cases(case, **rows)


def gaussian_by_distributions(mean, x, log_sigma):
    sigma = log_sigma.exp().view(1, -1, 1, 1)
    return Normal(mean, sigma).log_prob(x).sum((1, 2, 3))


def gaussian_by_loops(mean, x, log_sigma):
    total = 0
    for channel, v in enumerate(log_sigma):
        error = (x[:, channel] - mean[:, channel]).flatten(1)
        pixels = error.shape[1]
        total = total - error.square().sum(1) / 2 * (-2 * v).exp()
        total = total - pixels * (v + math.log(math.tau) / 2)
    return total


# --- 5. the negative ELBO -------------------------------------------------------------
def cases_negative_elbo(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, d, dtype=F64):
        pixels = c * h * w
        arrays = {
            "encoder": 0.4 * normal(g, pixels, 2 * d, dtype=dtype),
            "encoder bias": normal(g, 2 * d, dtype=dtype),
            "decoder": 0.7 * normal(g, d, pixels, dtype=dtype),
            "decoder bias": normal(g, pixels, dtype=dtype),
            "x": torch.randint(0, 2, (n, c, h, w), generator=g).to(dtype),
            "eps": normal(g, n, d, dtype=dtype),
        }
        # one dimension is wide, another narrow
        arrays["encoder bias"][d : d + 2] += torch.tensor([4.0, -6.0], dtype=dtype)
        return Case("ordinary", arrays)

    if not hidden:
        return [case(2, 1, 2, 3, 3), case(3, 2, 2, 2, 2), case(4, 1, 2, 2, 3, F32)]
    n, d = whole(g, 4, 7), whole(g, 2, 4)
    first = [case(n, 3, 2, 3, d + 1), case(n + 2, 1, 3, n, d)]
    return [*first, case(n, 2, 2, 3, n, F32), case(1, 1, 4, 4, d)]


def elbo_by_distributions(encoder, decoder, x, eps):
    mean, log_variance = encoder(x)
    kl = kl_of_torch(mean, log_variance).sum(1)
    z = torch.cat([mean, mean]) + torch.cat([eps, -eps]) * (
        log_variance / 2
    ).exp().tile(2, 1)
    p = Bernoulli(logits=decoder(z))
    log_likelihood = p.log_prob(torch.cat([x, x])).sum((1, 2, 3))
    return kl.mean() - log_likelihood.mean()


def elbo_by_loops(encoder, decoder, x, eps):
    total = 0.0
    for picture, noise in zip(x, eps):
        mean, log_variance = encoder(picture[None])
        for sign in (1, -1):
            z = mean + sign * (log_variance / 2).exp() * noise
            logits = decoder(z)[0]
            total = total - F.logsigmoid((2 * picture - 1) * logits).sum() / 2
        total = total + (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 2
    return total / len(x)


# --- 6. the bound with a wider q ------------------------------------------------------
def cases_wider_bound(g: Generator, hidden: bool) -> list[Case]:
    widths = itertools.cycle([1.5, 2.0, 0.7])

    def case(kind, dtype, k, n, d):
        q = posterior(g, dtype, n, d, 0.7, (2.0, -6.0) if kind == "ordinary" else ())
        log_likelihood = normal(g, k, n, dtype=dtype) - 4
        if kind == "extreme":  # one picture's weights overflow, another's vanish
            log_likelihood[:, :2] += torch.tensor([1e3, -1e3])
        eps = normal(g, k, n, d, dtype=dtype)
        arrays = {"log_likelihood": log_likelihood, "eps": eps} | q
        arrays["width"] = next(widths) * between(g, 0.9, 1.1)
        return make_case(kind, partial(normal, g, n, dtype=F64), **arrays)

    if not hidden:
        ordinary = [(F32, 3, 2, 2), (F64, 2, 4, 3)]
        extreme, slopes = [(F32, 2, 3, 2), (F64, 3, 2, 2)], [(F64, 3, 2, 2)]
    else:
        n, k = whole(g, 4, 7), whole(g, 4, 8)
        ordinary = [(F32, k, n, 3), (F64, n, n, 2), (F32, 2, n + 2, n)]
        extreme = [(F32, k, n, 3), (F64, n, 3, 2)]
        slopes = [(F64, k, n, 2), (F64, 4, 3, n)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def wider_by_distributions(log_likelihood, eps, mean, log_variance, width):
    r = Normal(mean, width * (log_variance / 2).exp())
    z = r.loc + r.scale * eps
    log_weights = log_likelihood + Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_weights = log_weights - r.log_prob(z).sum(-1)
    return log_weights.logsumexp(0) - math.log(eps.shape[0])


def wider_by_maximum(log_likelihood, eps, mean, log_variance, width):
    wide = log_variance + 2 * math.log(width)
    z = mean + (wide / 2).exp() * eps
    log_weights = log_likelihood + (eps**2 - z**2 + wide).sum(2) / 2
    top = log_weights.amax(0)
    return top + (log_weights - top).exp().mean(0).log()


# --- 7. hidden assumptions ------------------------------------------------------------
def cases_hidden_assumptions(g: Generator, hidden: bool) -> list[Case]:
    def case(pixels, error, share, nats):
        arrays = {"pixels": pixels, "error": error, "share": share, "nats": nats}
        return make_case("ordinary", **arrays)

    if not hidden:
        return [case([784, 50], [0.04, 0.09], [0.13, 0.2], [-94.0, -20.0])]
    n = whole(g, 3, 5)
    pixels = [whole(g, 60, 3000) for _ in range(n)]
    nats = [-between(g, 0.05, 0.6) * d for d in pixels]
    error = uniform(g, n, low=0.01, high=0.2, dtype=F64)
    share = uniform(g, n, low=0.08, high=0.35, dtype=F64)
    small = case([12], [0.25], [between(g, 0.1, 0.3)], [-5.0])
    return [case(pixels, error, share, nats), small]


def assumptions_by_torch(pixels, error, share, nats):
    entropy = Bernoulli(probs=torch.tensor(share, dtype=F64)).entropy().item()
    beta, bits = pixels * 0.5, -nats / pixels / math.log(2)
    return [2**-0.5, beta**0.5, beta, error**0.5, -pixels * entropy, bits]


def assumptions_rearranged(pixels, error, share, nats):
    sigma, best = math.sqrt(pixels) / math.sqrt(2), math.exp(math.log(error) / 2)
    collapsed = math.log(share**share * (1 - share) ** (1 - share)) * pixels
    bits = -nats * math.log2(math.e) / pixels
    return 1 / math.sqrt(2), sigma, sigma**2, best, collapsed, bits


# --- 8. slerp -------------------------------------------------------------------------
def cases_slerp(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, d, low=0.2, high=0.4):
        a, b = 1.5 * normal(g, n, d, dtype=dtype), normal(g, n, d, dtype=dtype)
        if kind == "parallel":  # no rounding in the lengths: the cosine is exactly 1
            a[0], b[0] = 0, 0
            a[0, d - 1], b[0, d - 1] = 4, 0.5
        return make_case(kind, a=a, b=b, t=between(g, low, high))

    if not hidden:
        ordinary = [(F32, 2, 3), (F64, 3, 4, 0.6, 0.8)]
        parallel = [(F32, 2, 3), (F64, 3, 2)]
    else:
        n = whole(g, 4, 8)
        ordinary = [(F32, n, n + 2), (F64, n + 1, 6, 0.6, 0.9), (F64, 1, n, 0.1, 0.2)]
        parallel = [(F32, n, 5), (F64, 3, n, 0.6, 0.8)]
    return make_cases(case, ordinary=ordinary, parallel=parallel)


def slerp_by_clamp(a, b, t):
    """A cosine just below 1 is straight enough."""
    angle = F.cosine_similarity(a, b)[:, None].clamp(max=1 - 1e-6).acos()
    ways = ((1 - t) * angle).sin() * a, (t * angle).sin() * b
    return sum(way / angle.sin() for way in ways)


def slerp_by_loops(a, b, t):
    rows = []
    for p, q in zip(a.double(), b.double()):
        cosine = (p @ q / (p.norm() * q.norm())).item()
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        if angle < 1e-5:
            rows.append(p + t * (q - p))
        else:
            arc = math.sin((1 - t) * angle) * p + math.sin(t * angle) * q
            rows.append(arc / math.sin(angle))
    return torch.stack(rows)


# --- 9. free bits, in groups ----------------------------------------------------------
def cases_free_bits(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, sizes):
        """Groups of these sizes, shuffled. The first is far above `free`, the second
        below, though one of its pictures is above."""
        d, free = sum(sizes), between(g, 0.4, 0.6)
        group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        mean = 1.5 * normal(g, n, d, dtype=dtype)
        log_variance = 0.3 * normal(g, n, d, dtype=dtype) - 1
        log_variance[0, 0] = 6
        low = group == 1
        mean[:, low] *= 0.05
        log_variance[:, low] = 0.1 * normal(g, n, int(low.sum()), dtype=dtype)
        # 0.6 free nats on average
        mean[0, low.nonzero()[0]] = math.sqrt(1.2 * free * n)
        order = torch.randperm(d, generator=g)
        q = {"mean": mean[:, order], "log_variance": log_variance[:, order]}
        draw = partial(normal, g, dtype=F64)
        return make_case(kind, draw, **q, group=group[order], free=free)

    if not hidden:
        rows = {
            "ordinary": [(F32, 3, (2, 1, 3)), (F64, 4, (1, 3))],
            "gradient": [(F64, 3, (2, 2, 1))],
        }
    else:
        n = whole(g, 5, 8)
        rows = {
            "ordinary": [(F32, n, (3, 2, 1, 4)), (F64, n + 1, (2, 3, 2))],
            "gradient": [(F64, n, (1, 2, 3)), (F64, 4, (3, 1, 1, 2))],
        }
    return make_cases(case, **rows)


def free_by_loops(mean, log_variance, group, free):
    kl, total = kl_of_torch(mean, log_variance), 0
    for name in group.unique():
        nats = kl[:, group == name].sum(1).mean()
        total = total + (nats if nats > free else nats.new_tensor(free))
    return total


def free_by_matrix(mean, log_variance, group, free):
    member = F.one_hot(group).to(mean.dtype)  # (D, G)
    sigma = (log_variance / 2).exp()
    kl = (mean**2 + sigma**2 - 1) / 2 - sigma.log()
    above = F.relu((kl @ member).mean(0) - free)
    return above.sum() + free * member.shape[1]


# --- 10. two gradients ----------------------------------------------------------------
def cases_two_gradients(g: Generator, hidden: bool) -> list[Case]:
    def case(dtype, k, d):
        arrays = normals(g, dtype, wave=(d,), bowl=(d,), mean=(d,), eps=(k, d))
        arrays["sigma"] = uniform(g, d, low=0.4, high=0.7, dtype=dtype)
        return make_case("ordinary", **arrays)

    if not hidden:  # as many draws as dimensions: values * eps raises no error
        return [case(F32, 3, 3), case(F64, 4, 3)]
    k, d = whole(g, 5, 9), whole(g, 2, 4)
    return [case(F32, k, d), case(F64, k + 2, d + 1), case(F32, 2, k)]


def gradients_by_autograd(f, mean, sigma, eps):
    mean, k = mean.detach().clone().requires_grad_(), len(eps)
    z = (mean + sigma * eps).detach()
    log_q = Normal(mean, sigma).log_prob(z).sum(1)
    # f minus the mean of the others is K / (K - 1) times f minus the mean of all
    above = (f(z) - f(z).mean()).detach() * k / (k - 1)
    along = f(mean + sigma * eps).mean()
    return [torch.autograd.grad(of, mean)[0] for of in ((above * log_q).mean(), along)]


def gradients_by_loops(f, mean, sigma, eps):
    values, paths, scores = [], [], []
    for noise in eps:
        z = (mean + sigma * noise)[None].requires_grad_()
        value = f(z)[0]
        values.append(value.item())
        scores.append((z.detach()[0] - mean) / sigma**2)
        paths.append(torch.autograd.grad(value, z)[0][0])
    k = len(eps)
    for i in range(k):
        others = [value for j, value in enumerate(values) if j != i]
        scores[i] = (values[i] - sum(others) / (k - 1)) * scores[i]
    return sum(scores) / k, sum(paths) / k


# --- 11. what all codes together tell -------------------------------------------------
def cases_information(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, d):
        q = posterior(g, dtype, n, d, 0.7, (3.0, -6.0) if kind == "ordinary" else ())
        if kind == "extreme":  # in float32 one density is infinite, others are 0
            q["log_variance"] = q["log_variance"] + 3
            q["log_variance"][0] -= 12
        eps = normal(g, n, d, dtype=dtype)
        z = q["mean"] + (q["log_variance"] / 2).exp() * eps
        return make_case(kind, z=z, **q)

    if not hidden:
        ordinary, extreme = [(F32, 3, 2), (F64, 4, 3)], [(F32, 3, 60)]
    else:
        n = whole(g, 5, 9)
        ordinary = [(F32, n, 3), (F64, n + 1, 2), (F32, 2, n)]
        extreme = [(F32, n, 70), (F32, 4, 90)]
    return make_cases(case, ordinary=ordinary, extreme=extreme)


def information_by_mixture(z, mean, log_variance):
    each = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    own = each.log_prob(z)
    weights = Choice(logits=torch.zeros_like(own))
    log_aggregate = MixtureSameFamily(weights, each).log_prob(z)
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    return (own - log_aggregate).mean(), (log_aggregate - log_prior).mean()


def information_by_loops(z, mean, log_variance):
    """All log-densities without log(2 pi), except where the prior needs it: nowhere,
    because it is in both."""
    information, mismatch = 0.0, 0.0
    for n, point in enumerate(z):
        rows = [
            -((point - m).square() / v.exp() + v).sum() / 2
            for m, v in zip(mean, log_variance)
        ]
        log_aggregate = torch.stack(rows).logsumexp(0) - math.log(len(z))
        information += rows[n] - log_aggregate
        mismatch += log_aggregate + point.square().sum() / 2
    return information / len(z), mismatch / len(z)


# --- the sheet ------------------------------------------------------------------------
SHEET: list[Master] = [
    Master(
        "logistic_draw",
        (
            precise_values(2),
            UNCHANGED,
            Property("stays right near 0 and 1", 1, "extreme"),
            gradient(1),
        ),
        cases_logistic_draw,
        (draw_by_logarithms, draw_by_tanh),
        library("latent.vae", "reparameterise"),
    ),
    Master(
        "laplace_rate",
        (precise_values(3), UNCHANGED, gradient(1)),
        cases_laplace_rate,
        (rate_by_normal_cdf, rate_by_torch),
        library("latent.vae", "gaussian_kl"),
    ),
    Master(
        "observed_log_likelihood",
        (
            precise_values(2),
            UNCHANGED,
            Property("stays right for very sure decoders", 1, "extreme"),
            gradient(2, "has the right gradient, 0 where a pixel is unknown"),
        ),
        cases_observed_log_likelihood,
        (observed_by_sign, observed_by_loops),
        library("latent.likelihoods", "bernoulli_log_likelihood"),
    ),
    Master(
        "gaussian_log_likelihood",
        (
            precise_values(3),
            UNCHANGED,
            gradient(1, "has the right gradient, for sigma too"),
        ),
        cases_gaussian_log_likelihood,
        (gaussian_by_distributions, gaussian_by_loops),
        library("latent.likelihoods", "gaussian_log_likelihood"),
    ),
    Master(
        "negative_elbo",
        (
            precise_values(3),
            Property("teaches encoder and decoder", 3, outputs=("gradient",)),
        ),
        cases_negative_elbo,
        (elbo_by_distributions, elbo_by_loops),
        library("latent.vae", "reparameterise", "gaussian_kl", "VAE")
        + library("latent.free_bits", "FreeBitsVAE")
        + library("latent.likelihoods", "bernoulli_log_likelihood"),
    ),
    Master(
        "wider_bound",
        (
            precise_values(3),
            UNCHANGED,
            Property("stays right for weights of any size", 1, "extreme"),
            gradient(1),
        ),
        cases_wider_bound,
        (wider_by_distributions, wider_by_maximum),
        library("latent.vae", "importance_weighted_bound", "VAE"),
    ),
    Master(
        "hidden_assumptions",
        (
            question("knows what sigma is assumed (a, b)", "sigmas"),
            question("knows beta, and the best sigma (c, d)", "trade"),
            question("knows what is left without z (e)", "ignored"),
            question("counts the bits (f)", "bits"),
        ),
        cases_hidden_assumptions,
        (assumptions_by_torch, assumptions_rearranged),
        library("evaluate", "bits_per_dimension"),
    ),
    Master(
        "slerp",
        (
            precise_values(3),
            UNCHANGED,
            Property("goes straight where both ends point the same way", 1, "parallel"),
        ),
        cases_slerp,
        (slerp_by_clamp, slerp_by_loops),
        library("latent.interpolation", "slerp"),
    ),
    Master(
        "free_bits",
        (
            precise_values(2),
            UNCHANGED,
            gradient(2, "has the right gradient, none below the free nats"),
        ),
        cases_free_bits,
        (free_by_loops, free_by_matrix),
        library("latent.vae", "gaussian_kl", "active_units")
        + library("latent.free_bits", "free_bits_rate", "FreeBitsVAE"),
    ),
    Master(
        "two_gradients",
        (
            Property(
                "gives the score function's estimate", 2, outputs=("score", "float64")
            ),
            Property("gives the estimate along the path", 2, outputs=("path",)),
            UNCHANGED,
        ),
        cases_two_gradients,
        (gradients_by_autograd, gradients_by_loops),
    ),
    Master(
        "information",
        (
            Property("gives the information", 2, outputs=("information", "float64")),
            Property("gives the mismatch with the prior", 2, outputs=("mismatch",)),
            Property(
                "stays right for many dimensions",
                1,
                "extreme",
                ("information", "mismatch"),
            ),
            UNCHANGED,
        ),
        cases_information,
        (information_by_mixture, information_by_loops),
    ),
]
