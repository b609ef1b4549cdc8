"""Exercises 11, the variational autoencoder: how answers are called, and on which
cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

from course_lib.grading.drive import Arrays, by_number, gradients, on_case

Q = ("mean", "log_variance")  # of the encoder's Gaussian

drive_reparameterise = partial(on_case, tensors=(*Q, "eps"), flows=Q)
drive_gaussian_kl = partial(on_case, tensors=Q, flows=Q)
drive_bernoulli_log_likelihood = partial(
    on_case, tensors=("logits", "x"), flows=("logits",)
)
drive_gaussian_log_likelihood = partial(
    on_case, tensors=("mean", "x", "log_sigma"), flows=("mean", "log_sigma")
)


def drive_negative_elbo(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and decoder from the weights. `gradient ...`: of these."""
    names = ("encoder", "encoder bias", "decoder", "decoder bias")
    w = {name: a[name].requires_grad_() for name in names}
    shape = a["x"].shape[1:]

    def encoder(x):
        return (x.flatten(1) @ w["encoder"] + w["encoder bias"]).chunk(2, 1)

    def decoder(z):
        logits = (z + z.sin()) @ w["decoder"] + w["decoder bias"]
        return logits.unflatten(1, shape)

    value = answer(encoder, decoder, a["x"], a["eps"])
    return {"value": value} | gradients(value, w)


drive_importance_weighted_bound = partial(
    on_case, tensors=("log_likelihood", "z", *Q), flows=("log_likelihood", "z", *Q)
)
drive_hidden_assumptions = partial(
    by_number,
    given=("pixels", "error", "share", "nats"),
    groups={"sigmas": "ab", "trade": "cd", "ignored": "e", "bits": "f"},
)
drive_slerp = partial(on_case, tensors=("a", "b"), settings=("t",))
drive_kl_by_dimension = partial(
    on_case, tensors=Q, settings=("threshold",), names=("kl", "alive")
)


def drive_two_gradients(answer, a: Arrays) -> Arrays:
    """Builds f(z) = sin(z . wave) + z^2 . bowl."""

    def f(z):
        return (z @ a["wave"]).sin() + z.square() @ a["bowl"]

    tensors, names = ("mean", "sigma", "eps"), ("score", "path")
    return on_case(partial(answer, f), a, tensors, ("baseline",), names=names)


# --- private: what stands above is given to students ----------------------------------

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

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
    values,
)


def posterior(g: Generator, dtype, n: int, d: int, spread=1.0) -> dict[str, Tensor]:
    """Mean and log-variance of q, as a case holds them."""
    q = normals(g, dtype, mean=(n, d), log_variance=(n, d))
    return {"mean": q["mean"], "log_variance": spread * q["log_variance"] - 0.5}


def kl_of_torch(mean, log_variance):
    """KL of q and prior, (N, D)."""
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))


# --- 1. reparameterise ----------------------------------------------------------------
def cases_reparameterise(g: Generator, hidden: bool, noise=True) -> list[Case]:
    """noise=False: the cases of gaussian_kl, which takes no eps."""

    def case(kind, dtype, n, d):
        arrays, shape = posterior(g, dtype, n, d), (n, d) if noise else (n,)
        if noise:
            arrays["eps"] = normal(g, n, d, dtype=dtype)
        return make_case(kind, partial(normal, g, *shape, dtype=F64), **arrays)

    if not hidden:
        ordinary = [(F32, 2, 3), (F64, 3, 2 if noise else 4)]
        return make_cases(case, ordinary=ordinary, gradient=[(F64, 2, 3)])
    n = whole(g, 4, 8)
    ordinary = [(F32, n, n + 2), (F64, n + 3, n), (F32, n, n if noise else 1)]
    return make_cases(case, ordinary=ordinary, gradient=[(F64, n, 5), (F64, 3, n)])


def draw_by_root(mean, log_variance, eps):
    return mean + log_variance.exp().sqrt() * eps


def draw_by_loops(mean, log_variance, eps):
    rows = zip(mean.double(), log_variance.double(), eps.double())
    drawn = [[m + math.e ** (v / 2) * e for m, v, e in zip(*row)] for row in rows]
    return torch.stack([torch.stack(row) for row in drawn])


# --- 2. the Gaussian's KL -------------------------------------------------------------
def kl_by_distributions(mean, log_variance):
    return kl_of_torch(mean, log_variance).sum(1)


def kl_by_sigma(mean, log_variance):
    sigma = (log_variance / 2).exp()
    squares = sigma.square().sum(1) + mean.square().sum(1)
    return -sigma.log().sum(1) + (squares - mean.shape[1]) / 2


# --- 3. the Bernoulli likelihood ------------------------------------------------------
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


def cases_bernoulli_log_likelihood(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape):
        logits = 1.5 * normal(g, *shape, dtype=dtype)
        x = torch.randint(0, 2, shape, generator=g).to(dtype)
        if kind == "extreme":  # surely wrong, both ways and one way only; surely right
            level = 1e3 if dtype == F64 else 200.0
            logits[:3, 0, 0, :2] = level * torch.tensor([[1, -1], [-1, -1], [1, 1]])
            x[:3, 0, 0, :2] = torch.tensor([[0, 1], [1, 1], [1, 1]]).to(dtype)
        cotangent = partial(normal, g, shape[0], dtype=F64)
        return make_case(kind, cotangent, logits=logits, x=x)

    return batches(g, hidden, case)


def bernoulli_by_softplus(logits, x):
    return (x * logits - F.softplus(logits)).sum((1, 2, 3))


def bernoulli_by_sign(logits, x):
    return F.logsigmoid((2 * x - 1) * logits).flatten(1).sum(1)


# --- 4. the Gaussian likelihood -------------------------------------------------------
def cases_gaussian_log_likelihood(g: Generator, hidden: bool) -> list[Case]:
    signs = itertools.cycle([-1, 1])

    def case(kind, dtype, *shape):
        arrays = normals(g, dtype, mean=shape, x=shape)
        log_sigma = next(signs) * uniform(g, low=0.4, high=0.8, dtype=F64)
        arrays["log_sigma"] = log_sigma.to(dtype)
        return make_case(kind, partial(normal, g, shape[0], dtype=F64), **arrays)

    return batches(g, hidden, case, extreme=False)


def gaussian_by_distributions(mean, x, log_sigma):
    return Normal(mean, log_sigma.exp()).log_prob(x).sum((1, 2, 3))


def gaussian_by_loops(mean, x, log_sigma):
    pictures, constant = [], log_sigma + math.log(math.tau) / 2
    for means, pixels in zip(mean.flatten(1).double(), x.flatten(1).double()):
        squares = sum((a - m) ** 2 for m, a in zip(means, pixels))
        pictures.append(-squares / 2 * (-2 * log_sigma).exp() - len(pixels) * constant)
    return torch.stack(pictures)


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
        return Case("ordinary", arrays)

    if not hidden:
        return [case(2, 1, 2, 3, 3), case(3, 2, 2, 2, 2), case(4, 1, 2, 2, 3, F32)]
    n, d = whole(g, 4, 7), whole(g, 2, 4)
    first = [case(n, 3, 2, 3, d + 1), case(n + 2, 1, 3, n, d)]
    return [*first, case(n, 2, 2, 3, n, F32), case(1, 1, 4, 4, d)]


def elbo_by_distributions(encoder, decoder, x, eps):
    mean, log_variance = encoder(x)
    p = Bernoulli(logits=decoder(mean + (log_variance / 2).exp() * eps))
    kl = kl_of_torch(mean, log_variance).sum(1)
    return (kl - p.log_prob(x).sum((1, 2, 3))).mean()


def elbo_by_loops(encoder, decoder, x, eps):
    total = 0.0
    for picture, noise in zip(x, eps):
        mean, log_variance = encoder(picture[None])
        logits = decoder(mean + (log_variance / 2).exp() * noise)[0]
        total = total - F.logsigmoid((2 * picture - 1) * logits).sum()
        total = total + (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 2
    return total / len(x)


# --- 6. the importance-weighted bound -------------------------------------------------
def cases_importance_weighted_bound(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, k, n, d):
        q = posterior(g, dtype, n, d, spread=0.7)
        noise = normal(g, k, n, d, dtype=dtype)
        z = q["mean"] + (q["log_variance"] / 2).exp() * noise
        log_likelihood = normal(g, k, n, dtype=dtype) - 4
        if kind == "extreme":  # one picture's weights overflow, another's vanish
            log_likelihood[:, :2] += torch.tensor([1e3, -1e3])
        arrays = {"log_likelihood": log_likelihood, "z": z} | q
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


def bound_by_distributions(log_likelihood, z, mean, log_variance):
    log_q = Normal(mean, (log_variance / 2).exp()).log_prob(z).sum(-1)
    log_weights = log_likelihood + Normal(0.0, 1.0).log_prob(z).sum(-1) - log_q
    return log_weights.logsumexp(0) - math.log(z.shape[0])


def bound_by_maximum(log_likelihood, z, mean, log_variance):
    eps = (z - mean) / (log_variance / 2).exp()
    log_weights = log_likelihood + (eps**2 - z**2 + log_variance).sum(2) / 2
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


# --- 9. the KL of each dimension ------------------------------------------------------
def cases_kl_by_dimension(g: Generator, hidden: bool) -> list[Case]:
    def case(n, busy, asleep, dtype=F32):
        """Columns: `busy` that tell pictures apart, one that says the same of all, one
        that says something of one picture only, and some that say nothing."""
        still = 0.03 * normal(g, n, asleep + 2, dtype=dtype)
        still[:, 0] += 1.5
        still[0, 1] = 0.5
        mean = torch.cat([1.5 * normal(g, n, busy, dtype=dtype), still], 1)
        log_variance = 0.02 * normal(g, n, busy + asleep + 2, dtype=dtype)
        log_variance[:, :busy] -= 2
        log_variance[0, busy + 1] -= 0.3
        order = torch.randperm(mean.shape[1], generator=g)
        q = {"mean": mean[:, order], "log_variance": log_variance[:, order]}
        return make_case("ordinary", **q, threshold=0.1)

    if not hidden:
        return [case(5, 2, 1), case(4, 3, 1, F64)]
    n = whole(g, 6, 9)
    first = [case(n, 3, 2), case(n + 1, whole(g, 2, 5), 1, F64)]
    return [*first, case(n + 3, 5, whole(g, 1, 3))]


def alive_by_distributions(mean, log_variance, threshold):
    kl = kl_of_torch(mean, log_variance).mean(0)
    return kl, (kl > threshold).sum()


def alive_by_loops(mean, log_variance, threshold):
    columns = [zip(*q) for q in zip(mean.double().T, log_variance.double().T)]
    kl = [sum((m * m + v.exp() - 1 - v) / 2 for m, v in c) / len(mean) for c in columns]
    return torch.stack(kl), len([number for number in kl if number > threshold])


# --- 10. two gradients ----------------------------------------------------------------
def cases_two_gradients(g: Generator, hidden: bool) -> list[Case]:
    def case(dtype, k, d):
        arrays = normals(g, dtype, wave=(d,), bowl=(d,), mean=(d,), eps=(k, d))
        arrays["sigma"] = uniform(g, d, low=0.4, high=0.7, dtype=dtype)
        return make_case("ordinary", **arrays, baseline=between(g, 0.8, 1.6))

    if not hidden:
        return [case(F32, 3, 2), case(F64, 4, 3)]
    k, d = whole(g, 5, 9), whole(g, 2, 5)
    return [case(F32, k, d), case(F64, k + 2, d + 1), case(F32, 2, k)]


def gradients_by_autograd(f, mean, sigma, eps, baseline):
    mean = mean.detach().clone().requires_grad_()
    z = (mean + sigma * eps).detach()
    log_q = Normal(mean, sigma).log_prob(z).sum(1)
    surrogate = ((f(z) - baseline).detach() * log_q).mean()
    along = f(mean + sigma * eps).mean()
    return [torch.autograd.grad(of, mean)[0] for of in (surrogate, along)]


def gradients_by_loops(f, mean, sigma, eps, baseline):
    scores, paths = [], []
    for noise in eps:
        z = (mean + sigma * noise)[None].requires_grad_()
        value = f(z)[0]
        scores.append((value.item() - baseline) * (z.detach()[0] - mean) / sigma**2)
        paths.append(torch.autograd.grad(value, z)[0][0])
    return sum(scores) / len(eps), sum(paths) / len(eps)


# --- the sheet ------------------------------------------------------------------------
SHEET: list[Master] = [
    Master(
        "reparameterise",
        (values(2), UNCHANGED, gradient(2)),
        cases_reparameterise,
        (draw_by_root, draw_by_loops),
        library("latent.vae", "reparameterise"),
    ),
    Master(
        "gaussian_kl",
        (values(2), UNCHANGED, gradient(1)),
        partial(cases_reparameterise, noise=False),
        (kl_by_distributions, kl_by_sigma),
        library("latent.vae", "gaussian_kl"),
    ),
    Master(
        "bernoulli_log_likelihood",
        (
            values(2),
            UNCHANGED,
            Property("stays right for very sure decoders", 2, "extreme"),
            gradient(1),
        ),
        cases_bernoulli_log_likelihood,
        (bernoulli_by_softplus, bernoulli_by_sign),
        library("latent.likelihoods", "bernoulli_log_likelihood"),
    ),
    Master(
        "gaussian_log_likelihood",
        (values(3), UNCHANGED, gradient(1, "has the right gradient, for sigma too")),
        cases_gaussian_log_likelihood,
        (gaussian_by_distributions, gaussian_by_loops),
        library("latent.likelihoods", "gaussian_log_likelihood"),
    ),
    Master(
        "negative_elbo",
        (values(3), Property("teaches encoder and decoder", 3, outputs=("gradient",))),
        cases_negative_elbo,
        (elbo_by_distributions, elbo_by_loops),
        library("latent.vae", "reparameterise", "gaussian_kl", "VAE")
        + library("latent.likelihoods", "bernoulli_log_likelihood"),
    ),
    Master(
        "importance_weighted_bound",
        (
            values(3),
            UNCHANGED,
            Property("stays right for weights of any size", 1, "extreme"),
            gradient(1),
        ),
        cases_importance_weighted_bound,
        (bound_by_distributions, bound_by_maximum),
        library("latent.vae", "importance_weighted_bound", "VAE"),
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
        (assumptions_by_torch, assumptions_rearranged),
        library("evaluate", "bits_per_dimension"),
    ),
    Master(
        "slerp",
        (
            values(3),
            UNCHANGED,
            Property("goes straight where both ends point the same way", 1, "parallel"),
        ),
        cases_slerp,
        (slerp_by_clamp, slerp_by_loops),
        library("latent.interpolation", "slerp"),
    ),
    Master(
        "kl_by_dimension",
        (
            Property("gives each dimension's KL", 2, outputs=("kl",)),
            Property("counts those that are alive", 1, outputs=("alive",)),
            UNCHANGED,
        ),
        cases_kl_by_dimension,
        (alive_by_distributions, alive_by_loops),
        library("latent.vae", "gaussian_kl", "active_units"),
    ),
    Master(
        "two_gradients",
        (
            Property("gives the score function's estimate", 2, outputs=("score",)),
            Property("gives the estimate along the path", 2, outputs=("path",)),
            UNCHANGED,
        ),
        cases_two_gradients,
        (gradients_by_autograd, gradients_by_loops),
    ),
]
