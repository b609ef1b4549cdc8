"""Exercises 14, denoising diffusion: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it.
"""

from functools import partial

from course_lib.grading.drive import Arrays, function, gradients, on_case
from course_lib.grading.probes import careful


def on_arrays(*tensors: str, settings=(), names=()):
    return careful(partial(on_case, tensors=tensors, settings=settings, names=names))


drive_schedule = on_arrays("betas", names=("alpha", "abar", "btilde"))
drive_q_sample = on_arrays("x0", "t", "eps", "abar")
drive_chain = on_arrays("x0", "step_noise", "betas", names=("path", "eps"))
drive_posterior = on_arrays("x0", "x_t", "t", "betas", names=("mean", "variance"))


def guess_of(answer, a: Arrays) -> Arrays:
    """The limit is None where the case has none."""
    given = {name: a[name] for name in ("x_t", "eps_hat", "t", "abar")}
    return function(answer, given, a["limit"].item() if "limit" in a else None)


drive_guess_x0 = careful(guess_of)


def loss_of(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `gradient ...`: of these."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def net(x_t, t):
        hidden = x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]
        return (hidden.sin() @ weights["last"]).view_as(x_t)

    value = answer(net, a["x0"], a["t"], a["eps"], a["abar"], a["cap"].item())
    return {"value": value} | gradients(value, weights)


drive_capped_loss = careful(loss_of)
drive_ancestral_step = on_arrays(
    "x_t", "eps_hat", "step_noise", "betas", settings=("t", "lam")
)
drive_ddim_step = on_arrays(
    "x_t", "v_hat", "step_noise", settings=("abar_t", "abar_s", "eta")
)
drive_loss_weights = on_arrays("betas", names=("bound", "next"))
drive_score_of_mixture = on_arrays("x", "centres", settings=("std", "abar"))


# --- private: what stands above is given to students ----------------------------------

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from course_lib.grading.draw import F32, F64, between, normal, normals, uniform, whole
from course_lib.grading.exercise import (
    UNCHANGED,
    Case,
    Master,
    Property,
    library,
    make_case,
)


def right(name: str, points: int, *outputs: str, kind: str = "ordinary") -> Property:
    """A property of values, which float64 arguments should give in float64."""
    return Property(name, points, kind, (*(outputs or ("value",)), "float64"))


def values(points: int) -> Property:
    return right("gives the right values", points)


def per_row(level: Tensor, like: Tensor) -> Tensor:
    return level.view(-1, *[1] * (like.ndim - 1))


def some_betas(g: Generator, steps: int, dtype: torch.dtype = F32) -> Tensor:
    """A growing schedule, of large steps, so that each mistake shows."""
    betas = 0.08 + 0.3 * uniform(g, steps, dtype=F64)
    return betas.sort().values.to(dtype)


def some_abar(g: Generator, steps: int, dtype: torch.dtype = F32) -> Tensor:
    return (1 - some_betas(g, steps, F64)).cumprod(0).to(dtype)


def different_steps(g: Generator, n: int, low: int, high: int) -> Tensor:
    """n >= 2 steps of low..high-1. low comes last, so that row n never has step n."""
    others = low + 1 + torch.randperm(high - low - 1, generator=g)[: n - 1]
    return torch.cat([others, torch.tensor([low])])


def rows_at_steps(g: Generator, steps: int, *shape: int, dtype: torch.dtype) -> dict:
    """x0, t, eps and abar, for rows that are noised."""
    arrays = {"x0": normal(g, *shape, dtype=dtype)}
    arrays["t"] = different_steps(g, shape[0], 0, steps)
    arrays["eps"] = normal(g, *shape, dtype=dtype)
    return arrays | {"abar": some_abar(g, steps, dtype)}


def rows_times(weights: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("n,n...->n...", weights, x)


# --- 1. the schedule ------------------------------------------------------------------
def cases_of_betas(public: int, last: int, tiny: float = 0.0):
    """public: how many betas the first public case has; last: the last hidden one. tiny:
    the size of the betas in one more case."""

    def cases(g: Generator, hidden: bool) -> list[Case]:
        n = whole(g, 6, 10) if hidden else public
        lengths = (n, n + 3, last) if hidden else (n, n + 1)
        kinds = zip(lengths, (F32, F64, F32))
        drawn = [some_betas(g, *kind) for kind in kinds]
        if tiny:  # in float32, 1 - 1e-7 is rounded
            drawn += [tiny * some_betas(g, n + 1, F64)]
        return [Case("ordinary", {"betas": betas}) for betas in drawn]

    return cases


def schedule_by_loops(betas):
    rows, product = [], 1.0
    for beta in betas.tolist():
        before, product = product, product * (1 - beta)
        rows.append((1 - beta, product, (1 - before) / (1 - product) * beta))
    return tuple(torch.tensor(rows, dtype=F64).T)


def schedule_by_precisions(betas):
    alpha, abar = 1 - betas, torch.log1p(-betas).cumsum(0).exp()
    before = F.pad(abar[:-1], (1, 0), value=1.0)
    return alpha, abar, 1 / (alpha / betas + 1 / (1 - before))


# --- 2. any step at once --------------------------------------------------------------
def cases_q_sample(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, *shape, dtype=F32):
        kind = "ordinary" if len(shape) == 2 else "shapes"
        return Case(kind, rows_at_steps(g, steps, *shape, dtype=dtype))

    def far(*shape):  # the noise nearly cancels the picture
        arrays = rows_at_steps(g, 4, *shape, dtype=F64)
        arrays["x0"] *= 1e7
        left = arrays["abar"][arrays["t"]].view(-1, 1)
        arrays["eps"] -= (left / (1 - left)).sqrt() * arrays["x0"]
        return Case("ordinary", arrays)

    if not hidden:
        points = [case(4, 3, 2), case(5, 3, 3, dtype=F64), far(2, 2)]
        return points + [case(4, 2, 1, 2, 3), case(4, 3, 3, 3)]
    n = whole(g, 4, 6)
    points = [case(n + 2, n, 3), case(n + 3, n, n, dtype=F64), far(3, n)]
    return points + [case(n + 1, n, 2, 3, 2, dtype=F64), case(n + 1, n, n, n)]


def q_sample_by_einsum(x0, t, eps, abar):
    signal, noise = abar.sqrt().gather(0, t), torch.sqrt(1 - abar).gather(0, t)
    return rows_times(signal, x0) + rows_times(noise, eps)


def q_sample_by_loops(x0, t, eps, abar):
    rows = zip(abar[t].tolist(), x0, eps)
    return torch.stack([a**0.5 * x + (1 - a) ** 0.5 * e for a, x, e in rows])


# --- 3. step by step ------------------------------------------------------------------
def cases_chain(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, n, d, dtype=F32, size=1):
        arrays = normals(g, dtype, x0=(n, d), step_noise=(steps, n, d))
        arrays["x0"] *= size  # large: in eps, large numbers cancel
        return make_case("ordinary", **arrays, betas=some_betas(g, steps, dtype))

    if not hidden:
        return [case(3, 2, 2), case(4, 3, 2, F64), case(2, 2, 2, F64, 1e7)]
    steps = whole(g, 5, 8)
    last = case(steps, 3, 2, F64, 1e7)
    return [case(steps, 4, 3), case(steps + 2, 2, steps, F64), last]


def chain_by_sums(x0, step_noise, betas):
    abar = (1 - betas).cumprod(0)
    came = rows_times((betas / abar).sqrt(), step_noise).cumsum(0)
    path = rows_times(abar.sqrt(), x0 + came)
    return path, (abar[-1] / (1 - abar[-1])).sqrt() * came[-1]


def chain_by_loops(x0, step_noise, betas):
    x, noise, path, variance = x0.clone(), torch.zeros_like(x0), [], 0.0
    for t, beta in enumerate(betas.tolist()):
        keeps, adds = math.sqrt(1 - beta), math.sqrt(beta) * step_noise[t]
        x, noise = keeps * x + adds, keeps * noise + adds
        variance = (1 - beta) * variance + beta
        path.append(x)
    return torch.stack(path), noise / math.sqrt(variance)


# --- 4. the posterior -----------------------------------------------------------------
def cases_posterior(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, *shape, first=False, dtype=F32):
        t = torch.zeros(shape[0], dtype=torch.int64)
        if not first:
            t = different_steps(g, shape[0], 1, steps)
        arrays = normals(g, dtype, x0=shape, x_t=shape) | {"t": t}
        kind = "first" if first else "ordinary"
        return make_case(kind, **arrays, betas=some_betas(g, steps, dtype))

    def far(steps, n):  # x_t nearly cancels x_0
        found = case(steps, n, 2, dtype=F64)
        x0, x_t, t, betas = found.arrays.values()
        x0 *= 1e7
        before = torch.stack([(1 - betas[:step]).prod() for step in t])
        of_x0 = before.sqrt() * betas[t]
        x_t -= rows_times(of_x0 / (1 - betas[t]).sqrt() / (1 - before), x0)
        return found

    if not hidden:
        later = [case(5, 3, 2), case(4, 2, 1, 2, 3, dtype=F64), case(5, 3, 3)]
        later += [far(4, 2)]
        return later + [case(3, 2, 3, first=True)]
    n = whole(g, 4, 6)
    later = [case(n + 2, n, 3), case(n + 3, n, 2, 2, 3, dtype=F64), far(n + 1, n)]
    first = [case(4, n, 2, first=True, dtype=F64), case(n, 2, 1, 3, 2, first=True)]
    return later + first


def posterior_by_bayes(x0, x_t, t, betas):
    means, variances = [], []
    for start, x, step in zip(x0, x_t, t.tolist()):
        prior, beta = (1 - betas[:step]).prod(), betas[step]  # no factors: 1
        total = beta + (1 - beta) * (1 - prior)
        pull = prior.sqrt() * beta * start + (1 - beta).sqrt() * (1 - prior) * x
        means.append(pull / total)
        variances.append((1 - prior) * beta / total)
    return torch.stack(means), torch.stack(variances)


def posterior_by_correction(x0, x_t, t, betas):
    """x_{t-1} as expected from x_0, corrected by what x_t adds to it: a Kalman gain."""
    before = F.pad((1 - betas).log().cumsum(0).exp(), (1, 0), value=1.0)[t]
    keeps = (1 - betas[t]).sqrt()
    gain = keeps * (1 - before) / (betas[t] + keeps.square() * (1 - before))
    expected = rows_times(before.sqrt(), x0)
    mean = expected + rows_times(gain, x_t - rows_times(keeps, expected))
    return mean, (1 - before) * (1 - gain * keeps)


# --- 5. the guess of x_0 --------------------------------------------------------------
def cases_guess_x0(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, *shape, limit=None, dtype=F32):
        arrays = normals(g, dtype, x_t=shape, eps_hat=shape)
        arrays["x_t"] *= 2
        arrays["t"] = different_steps(g, shape[0], 0, steps)
        arrays["abar"] = some_abar(g, steps, dtype)
        if limit is None:
            return Case("ordinary", arrays)
        return make_case("limit", **arrays, limit=limit)

    def far(steps, n, d):  # the noise is nearly all of x_t
        found = case(steps, n, d, dtype=F64)
        x_t, eps_hat, t, abar = found.arrays.values()
        x_t *= 1e7
        eps_hat += x_t / (1 - abar[t]).sqrt().view(-1, 1)
        return found

    if not hidden:
        free = [case(5, 3, 3), case(4, 2, 1, 2, 3, dtype=F64), far(4, 2, 2)]
        kept = [case(5, 4, 3, limit=1.0), case(5, 3, 4, limit=1.5, dtype=F64)]
        return free + kept
    n = whole(g, 4, 6)
    return [
        case(n + 2, n, 3),
        case(n + 3, n, 2, 2, 3, dtype=F64),
        far(n + 2, n, 3),
        case(n + 1, n, 6, limit=between(g, 0.7, 0.9)),
        case(n + 1, n, 2, 3, 2, limit=between(g, 1.2, 1.6), dtype=F64),
    ]


def guess_x0_by_ratio(x_t, eps_hat, t, abar, limit):
    noise = rows_times((1 / abar[t] - 1).sqrt(), eps_hat)
    x0 = rows_times(abar[t].rsqrt(), x_t) - noise
    return x0 if limit is None else x0.minimum(x0 * 0 + limit).maximum(x0 * 0 - limit)


def guess_x0_by_loops(x_t, eps_hat, t, abar, limit):
    rows = zip(abar[t].tolist(), x_t, eps_hat)
    x0 = torch.stack([(x - math.sqrt(1 - a) * e) / math.sqrt(a) for a, x, e in rows])
    return x0 if limit is None else torch.clip(x0, -limit, limit)


# --- 6. the loss with a cap -----------------------------------------------------------
def cases_capped_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, width, *shape, cap=0.5, dtype=F32):
        arrays = rows_at_steps(g, steps, *shape, dtype=dtype)
        arrays["x0"] += 1
        d = math.prod(shape[1:])
        weights = normals(g, dtype, first=(d, width), time=(width,), last=(width, d))
        return make_case("ordinary", **arrays, **weights, cap=cap)

    if not hidden:
        infinite = case(4, 3, 2, 2, cap=math.inf)
        return [case(5, 4, 3, 2), case(5, 3, 2, 1, 2, 2, dtype=F64), infinite]
    n = whole(g, 4, 6)
    return [
        case(n + 2, 5, n, 3, cap=between(g, 0.6, 0.9)),
        case(n + 1, 4, n, 2, 1, 3, cap=between(g, 0.3, 0.5), dtype=F64),
        case(n + 3, 3, n, n, cap=between(g, 0.4, 0.6)),
        case(n, 3, 3, 4, cap=math.inf, dtype=F64),
    ]


def capped_loss_by_signal(net, x0, t, eps, abar, cap):
    """The weights as a quotient, one for each value."""
    ratio = per_row(1 / (1 / abar[t] - 1), x0).expand_as(x0)
    weights = ratio.minimum(torch.full_like(ratio, cap)) / ratio
    said = net(q_sample_by_einsum(x0, t, eps, abar), t)
    return F.mse_loss(weights.sqrt() * said, weights.sqrt() * eps)


def capped_loss_by_rows(net, x0, t, eps, abar, cap):
    total = 0
    for x_t, step, e in zip(q_sample_by_loops(x0, t, eps, abar), t, eps):
        a = abar[step].item()
        weight = min(1.0, cap * (1 - a) / a)
        error = (net(x_t[None], step[None])[0] - e).pow(2).sum() / e.numel()
        total = total + weight * error
    return total / len(x0)


# --- 7. an ancestral step -------------------------------------------------------------
def cases_ancestral_step(g: Generator, hidden: bool) -> list[Case]:
    def case(steps, t, lam, *shape, dtype=F32, far=False, tiny=False):
        arrays = normals(g, dtype, x_t=shape, eps_hat=shape, step_noise=shape)
        betas = arrays["betas"] = some_betas(g, steps, dtype)
        if tiny:  # a number like 1e-8 inside a logarithm shows
            betas *= 1e-9
            arrays["step_noise"] *= 1e5
        if far:  # the predicted noise nearly cancels x_t
            left = 1 - (1 - betas[: t + 1]).prod()
            arrays["x_t"] *= 1e7
            arrays["eps_hat"] += left.sqrt() / betas[t] * arrays["x_t"]
        kind = "last" if t == 0 else "ends" if lam in (0.0, 1.0) else "ordinary"
        return make_case(kind, **arrays, t=t, lam=lam)

    if not hidden:
        return [
            case(4, 2, 0.3, 2, 3),
            case(5, 1, 0.6, 2, 1, 2, 2, dtype=F64),
            case(3, 2, 0.5, 2, 2, dtype=F64, far=True),
            case(3, 1, 0.5, 2, 2, dtype=F64, tiny=True),
            case(4, 2, 0.0, 3, 2),
            case(4, 1, 1.0, 2, 3),
            case(3, 0, 0.5, 2, 2),
            case(3, 0, 1.0, 3, 3, dtype=F64),
        ]
    n = whole(g, 6, 9)
    return [
        case(n, whole(g, 2, n - 2), between(g, 0.2, 0.4), 4, 3),
        case(n, 1, between(g, 0.3, 0.7), 2, 2, 2, 3, dtype=F64),
        case(n, 2, between(g, 0.3, 0.7), 3, 4, dtype=F64, far=True),
        case(n, 3, between(g, 0.3, 0.7), 3, 2, dtype=F64, tiny=True),
        case(n, whole(g, 2, n - 2), 0.0, 4, 2, dtype=F64),
        case(n, 1, 1.0, 3, 4),
        case(n, 0, between(g, 0.3, 0.7), 4, 2),
        case(n, 0, 1.0, 4, 3, dtype=F64),
    ]


def ancestral_step_by_posterior(x_t, eps_hat, step_noise, betas, t, lam):
    steps, abar = torch.full((len(x_t),), t), (1 - betas).cumprod(0)
    x0 = guess_x0_by_ratio(x_t, eps_hat, steps, abar, None)
    mean, variance = posterior_by_bayes(x0, x_t, steps, betas)
    if t == 0:
        return mean
    log_variance = lam * betas[t].log() + (1 - lam) * variance[0].log()
    return mean + (log_variance / 2).exp() * step_noise


def ancestral_step_by_numbers(x_t, eps_hat, step_noise, betas, t, lam):
    numbers = betas.tolist()
    beta, before = numbers[t], math.prod(1 - beta for beta in numbers[:t])
    left = 1 - before * (1 - beta)
    sigma = (t > 0) * math.sqrt(beta) * ((1 - before) / left) ** ((1 - lam) / 2)
    mean = (x_t - beta / math.sqrt(left) * eps_hat) / math.sqrt(1 - beta)
    return mean + sigma * step_noise


# --- 8. a DDIM step -------------------------------------------------------------------
def cases_ddim_step(g: Generator, hidden: bool) -> list[Case]:
    def case(*shape, eta=0.0, end=False, dtype=F32, far=False):
        arrays = normals(g, dtype, x_t=shape, v_hat=shape, step_noise=shape)
        a, b = between(g, 0.1, 0.4), 1.0 if end else between(g, 0.5, 0.8)
        if far:  # v nearly cancels x_t
            now, then = math.acos(a**0.5), math.acos(b**0.5)
            arrays["x_t"] *= 1e7
            arrays["v_hat"] += arrays["x_t"] / math.tan(now - then)
        kind = "end" if end else "dice" if eta else "ordinary"
        return make_case(kind, **arrays, abar_t=a, abar_s=b, eta=eta)

    if not hidden:
        still = [case(2, 3), case(2, 1, 2, 2, dtype=F64)]
        still += [case(2, 2, dtype=F64, far=True)]
        dice = [case(3, 2, eta=1.0), case(2, 2, eta=0.6, dtype=F64)]
        return still + dice + [case(3, 3, eta=0.5, end=True)]
    n = whole(g, 4, 6)
    still = [case(n, 3), case(n, 2, 2, 3, dtype=F64), case(3, n, dtype=F64, far=True)]
    dice = [case(n, 2, eta=between(g, 0.4, 0.7)), case(n, 4, eta=1.0, dtype=F64)]
    end = case(n, 5, eta=between(g, 0.4, 0.9), end=True, dtype=F64)
    return still + dice + [end]


def ddim_step_by_angles(x_t, v_hat, step_noise, abar_t, abar_s, eta):
    """sqrt(abar) = cos(phi): with eta = 0, (x, v) is turned back by an angle."""
    now, then = math.acos(math.sqrt(abar_t)), math.acos(math.sqrt(abar_s))
    sigma = eta * math.sin(then) / math.sin(now) * math.sqrt(1 - abar_t / abar_s)
    still = math.cos(now - then) * x_t - math.sin(now - then) * v_hat
    eps = math.sin(now) * x_t + math.cos(now) * v_hat
    less = math.sqrt(max(math.sin(then) ** 2 - sigma**2, 0.0)) - math.sin(then)
    return still + less * eps + sigma * step_noise


def ddim_step_by_signal_to_noise(x_t, v_hat, step_noise, abar_t, abar_s, eta):
    """With x / sqrt(abar): data do not shrink, noise has variance 1 / abar - 1."""
    now, then = (1 / abar_t - 1) ** 0.5, (1 / abar_s - 1) ** 0.5
    up = eta * then / now * (now**2 - then**2) ** 0.5
    down = max(then**2 - up**2, 0.0) ** 0.5
    eps = (1 - abar_t) ** 0.5 * x_t + abar_t**0.5 * v_hat
    x = x_t / abar_t**0.5 + (down - now) * eps + up * step_noise
    return x * abar_s**0.5


# --- 9. the weights of the loss -------------------------------------------------------
def loss_weights_by_signal_to_noise(betas):
    """The signal to noise that a step wins, from the picture's error to the noise's."""
    abar = (1 - betas).cumprod(0)
    ratio = abar / (1 - abar)
    return 0.5 * (ratio[:-1] / ratio[1:] - 1), betas * betas / (1 - betas) / (1 - abar)


def loss_weights_by_loops(betas):
    bound, following, before = [], [], 1.0
    for beta in betas.tolist():
        abar = before * (1 - beta)
        following.append((beta / (1 - beta) ** 0.5 / (1 - abar) ** 0.5) ** 2)
        bound.append(beta / (2 * (1 - beta) * (1 - before)) if before < 1 else 0.0)
        before = abar
    return torch.tensor(bound[1:], dtype=F64), torch.tensor(following, dtype=F64)


# --- 10. the score of a mixture -------------------------------------------------------
def cases_score_of_mixture(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, k, d, dtype=F32):
        centres = 1.2 * normal(g, k, d, dtype=dtype)
        x = 0.8 * normal(g, n, d, dtype=dtype)
        if kind == "far":
            x = (20 if dtype == F32 else 60) * F.normalize(x)
        std, abar = between(g, 0.3, 0.5), between(g, 0.4, 0.7)
        return make_case(kind, x=x, centres=centres, std=std, abar=abar)

    def wide(n, k, d):
        """All points are 1e4 away from all centres, along the last coordinate."""
        found = case("ordinary", n, k, d, F64)
        found.arrays["centres"][:, -1] = 0
        found.arrays["x"][:, -1] += 1e4
        return found

    if not hidden:
        near = [case("ordinary", 3, 3, 2), case("ordinary", 4, 2, 3, F64)]
        near += [wide(2, 3, 2)]
        return near + [case("far", 2, 3, 2)]
    n = whole(g, 5, 8)
    near = [case("ordinary", n, 4, 3), case("ordinary", n, n, n, F64)]
    near += [wide(n, 4, 3)]
    return near + [case("far", n, 4, 2), case("far", 3, n, 3, F64)]


def score_of_mixture_by_autograd(x, centres, std, abar):
    v = abar * std * std + (1 - abar)
    with torch.enable_grad():
        points = x.detach().clone().requires_grad_()
        squares = (points.unsqueeze(1) - math.sqrt(abar) * centres).pow(2).sum(-1)
        log_density = (-squares / (2 * v)).logsumexp(1)
        return torch.autograd.grad(log_density.sum(), points)[0]


def score_of_mixture_by_loops(x, centres, std, abar):
    v, rows = abar * std**2 + 1 - abar, []
    for point in x:
        ways = [math.sqrt(abar) * centre - point for centre in centres]
        logs = [way.square().sum().item() / (-2 * v) for way in ways]
        shares = [math.exp(value - max(logs)) for value in logs]
        pull = sum(share * way for share, way in zip(shares, ways))
        rows.append(pull / sum(shares) / v)
    return torch.stack(rows)


# --- the sheet ------------------------------------------------------------------------
SHEET: list[Master] = [
    Master(
        "schedule",
        (
            right("gives alpha and abar", 2, "alpha", "abar"),
            right("gives btilde", 2, "btilde"),
            UNCHANGED,
        ),
        cases_of_betas(3, 5),
        (schedule_by_loops, schedule_by_precisions),
        library("diffusion.schedules", "linear_betas", "cosine_betas", "Schedule")
        + library("diffusion.gaussians", "posterior_variance"),
    ),
    Master(
        "q_sample",
        (values(3), Property("takes rows of any shape", 1, "shapes"), UNCHANGED),
        cases_q_sample,
        (q_sample_by_einsum, q_sample_by_loops),
        library("diffusion.gaussians", "q_sample"),
    ),
    Master(
        "chain",
        (
            right("gives every step", 3, "path"),
            right("gives the noise of the jump", 1, "eps"),
            UNCHANGED,
        ),
        cases_chain,
        (chain_by_sums, chain_by_loops),
        library("diffusion.gaussians", "q_step", "eps_from_x0"),
    ),
    Master(
        "posterior",
        (
            right("gives the mean", 2, "mean"),
            right("gives the variance", 1, "variance"),
            Property("is right at the first step", 1, "first", ("mean", "variance")),
            UNCHANGED,
        ),
        cases_posterior,
        (posterior_by_bayes, posterior_by_correction),
        library("diffusion.gaussians", "posterior_mean", "posterior_variance"),
    ),
    Master(
        "guess_x0",
        (values(2), Property("keeps within the limit", 1, "limit"), UNCHANGED),
        cases_guess_x0,
        (guess_x0_by_ratio, guess_x0_by_loops),
        library(
            "diffusion.gaussians", "x0_from_eps", "eps_from_x0", "v_from", "eps_from_v"
        ),
    ),
    Master(
        "capped_loss",
        (
            right("gives the right values", 3, "value", "unchanged"),
            Property("teaches the network", 2, outputs=("gradient",)),
        ),
        cases_capped_loss,
        (capped_loss_by_signal, capped_loss_by_rows),
        library("diffusion.ddpm", "DDPM", "squared_error")
        + library("diffusion.gaussians", "q_sample")
        + library("diffusion.schedules", "signal_to_noise"),
    ),
    Master(
        "ancestral_step",
        (
            values(3),
            Property("is right at both ends of the variance", 1, "ends"),
            Property("adds no noise at the last step", 1, "last"),
            UNCHANGED,
        ),
        cases_ancestral_step,
        (ancestral_step_by_posterior, ancestral_step_by_numbers),
        library("diffusion.samplers", "ancestral")
        + library(
            "diffusion.gaussians",
            "mean_from_eps",
            "posterior_mean",
            "posterior_variance",
        ),
    ),
    Master(
        "ddim_step",
        (
            right("steps back without fresh noise", 2),
            Property("steps back with fresh noise", 2, "dice"),
            Property("ends at the guess of x_0", 1, "end"),
            UNCHANGED,
        ),
        cases_ddim_step,
        (ddim_step_by_angles, ddim_step_by_signal_to_noise),
        library("diffusion.samplers", "ddim", "invert")
        + library(
            "diffusion.gaussians", "eps_from_v", "x0_from_eps", "posterior_variance"
        ),
    ),
    Master(
        "loss_weights",
        (
            right("gives the bound's weights", 2, "bound"),
            right("gives those of the next step", 1, "next"),
            UNCHANGED,
        ),
        cases_of_betas(4, 2, tiny=1e-7),
        (loss_weights_by_signal_to_noise, loss_weights_by_loops),
        library("diffusion.bound", "noise_weights", "terms")
        + library("diffusion.schedules", "signal_to_noise")
        + library("diffusion.next_step", "NextStep"),
    ),
    Master(
        "score_of_mixture",
        (values(3), Property("stays right far away", 1, "far"), UNCHANGED),
        cases_score_of_mixture,
        (score_of_mixture_by_autograd, score_of_mixture_by_loops),
        library("diffusion.exact", "MixtureNoise")
        + library("diffusion.gaussians", "score_from_eps"),
    ),
]
