"""Exercises 15, guidance: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

import torch
from torch import Tensor

from course_lib.grading.drive import Arrays, by_number, on_case, same_bits
from course_lib.grading.probes import precise, stays_float64

drive_label_dropout = partial(
    on_case, tensors=("y", "null", "uniform"), settings=("p",)
)


def guided_eps_by(answer, a: Arrays) -> Arrays:
    """w: a number, or a tensor where each row has its own."""
    if a["w"].ndim:
        return on_case(answer, a, ("told", "untold", "w"))
    return on_case(answer, a, ("told", "untold"), ("w",))


drive_guided_eps = precise(guided_eps_by, "value")


def drive_classifier_gradient(answer, a: Arrays) -> Arrays:
    """Builds a tiny classifier from the weights. `sampling`: whether to ask inside
    `no_grad`. `without ...`: whether no weight has a gradient afterwards, and whether
    what comes back requires none."""
    weights = [a[name].requires_grad_() for name in ("first", "time", "last")]
    first, time, last = weights

    def classifier(x_t, t):
        return (x_t.flatten(1) @ first + t[:, None] * time).sin() @ last

    given = {name: a[name].clone() for name in ("x_t", "t", "y")}
    with torch.set_grad_enabled(not a["sampling"].item()):
        value = answer(classifier, *given.values())
    unchanged = all(same_bits(tensor, a[name]) for name, tensor in given.items())
    wants = isinstance(value, Tensor) and value.requires_grad
    return stays_float64(a, value) | {
        "value": value,
        "unchanged": unchanged and not given["x_t"].requires_grad,
        "without gradients in its weights": all(w.grad is None for w in weights),
        "without a graph behind its result": not wants,
    }


drive_classifier_guided_v = precise(
    partial(on_case, tensors=("v", "gradient", "abar"), settings=("scale",)), "value"
)


def guided_in_one_pass_by(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `calls`: of the network; `rows`: of all
    calls."""
    rows = []

    def eps(x_t, t, y):
        rows.append(len(x_t))
        label = a["table"][y] if y.ndim == 1 else a["table"][y].sum(1)
        hidden = (x_t.flatten(1) @ a["first"] + t[:, None] * a["time"] + label).sin()
        return (hidden @ a["last"]).view_as(x_t)

    outputs = on_case(partial(answer, eps), a, ("x_t", "t", "y", "null"), ("w",))
    return outputs | {"calls": len(rows), "rows": sum(rows)}


drive_guided_in_one_pass = precise(guided_in_one_pass_by, "value")
drive_caption_vector = precise(
    partial(on_case, tensors=("vectors", "tokens"), flows=("vectors",)), "value"
)


def guided_ddim_step_by(answer, a: Arrays) -> Arrays:
    def ask(told, untold, x_t, w, *others):
        return answer(told, untold, w, x_t, *others)

    settings = ("w", "abar_t", "abar_s", "limit")
    return on_case(ask, a, ("told", "untold", "x_t"), settings)


drive_guided_ddim_step = precise(guided_ddim_step_by, "value")
drive_exact_label_posterior = precise(
    partial(on_case, tensors=("x_t", "centres", "labels"), settings=("std", "abar")),
    "value",
)
drive_two_variances = precise(
    partial(on_case, tensors=("c", "s"), names=("samples", "tilted")),
    "samples",
    "tilted",
)
drive_towards_and_away = precise(
    partial(on_case, tensors=("eps_y", "eps_n", "eps"), settings=("w", "v")), "value"
)
drive_choose_w = partial(on_case, tensors=("w", "accuracy"), settings=("target",))
drive_numbers_and_choices = partial(
    by_number,
    given=("guidance_scale", "w", "steps"),
    groups={"conventions": "ab", "cost": "c", "choices": "de"},
)


# --- private: what stands above is given to students ----------------------------------

import math

import torch.nn.functional as F
from torch import Generator

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
    values,
)

WEIGHT = 1.3, 2.7  # not near 0, 1 or -1, where wrong answers are right
LARGE = 1e5  # of numbers with a small sum: float32 rounds them by more than allowed


def right_values(points: int) -> Property:
    """`values`, and float64 for float64 arguments."""
    return Property("gives the right values", points, outputs=("value", "float64"))


# --- 1. dropping labels ---------------------------------------------------------------
def cases_label_dropout(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, row, often=False):
        """often: all but two rows are dropped, not the first; else every fifth, with
        the first."""
        p = whole(g, 20, 26) / 64  # exact in float32
        # Where u is: dropped; kept, u = p; kept and above 1 - p; kept and below 1 - p.
        edges = [(0.05 * p, 0.3 * p), (p, p), (1.05 - p, 0.99), (p + 0.05, p + 0.15)]
        which = [1, 2] + [0] * (n - 2) if often else [0, 2, 1, 3, 2] * n
        order = [0, *(1 + torch.randperm(n - 1, generator=g)).tolist()]
        u = [between(g, *edges[which[i]]) for i in order]
        y = torch.randint(1, 7, (n, *row), generator=g)
        null = torch.randint(9, 12, row, generator=g)
        if row:
            null[-1] = null[0] + 3
        u = torch.tensor(u, dtype=dtype)
        return make_case(kind, y=y, null=null, uniform=u, p=p)

    n = whole(g, 8, 12) if hidden else 4
    public = (F32, 5, ()), (F64, 7, (), True), (F32, 4, (3,)), (F64, 4, (4,))
    others = (F32, n, ()), (F64, n + 1, (), True), (F32, n, (5,)), (F32, n, (n,), True)
    rows = others if hidden else public
    return make_cases(case, ordinary=rows[:2], captions=rows[2:])


def dropout_by_indices(y, null, uniform, p):
    came = y.clone()
    came[(uniform < p).nonzero()[:, 0]] = null
    return came


def dropout_by_loops(y, null, uniform, p):
    return torch.stack([null if u < p else row for u, row in zip(uniform.tolist(), y)])


# --- 2. guided noise ------------------------------------------------------------------
def cases_guided_eps(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape, large=False):
        arrays, n = normals(g, dtype, told=shape, untold=shape), shape[0]
        if large:  # their weighted difference is small
            w, untold = between(g, *WEIGHT), LARGE * arrays["untold"]
            told = (arrays["told"] + w * untold) / (1 + w)
            return make_case(kind, told=told, untold=untold, w=w)
        w = 0.6 + 0.7 * torch.arange(n)[torch.randperm(n, generator=g)]
        w = (w + 0.1 * uniform(g, n)).to(dtype)
        arrays["w"] = w if kind == "rows" else between(g, *WEIGHT)
        return make_case(kind, **arrays)

    n = whole(g, 4, 6) if hidden else 2
    public = (F32, 2, 3), (F64, 2, 1, 2, 2), (F32, 3, 3), (F64, 2, 2, 2, 2)
    others = (F32, n, 2), (F64, n, 2, 3, 3), (F64, n, n), (F32, n, 1, 3, n)
    rows = others if hidden else public
    large = case("ordinary", F64, n, 3, large=True)
    return [*make_cases(case, ordinary=rows[:2], rows=rows[2:]), large]


def guided_by_coefficients(told, untold, w):
    w = torch.as_tensor(w, dtype=told.dtype).expand(len(told))
    each = partial(torch.einsum, "n,n...->n...")
    return each(1 + w, told) - each(w, untold)


def guided_by_lerp(told, untold, w):
    w = torch.as_tensor(w, dtype=F64).reshape(-1, *[1] * (told.ndim - 1))
    return torch.lerp(untold.double(), told.double(), 1 + w)


# --- 3. a classifier's gradient -------------------------------------------------------
def cases_classifier_gradient(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, classes, width, n, *shape):
        dtype = F32 if len(shape) == 1 else F64  # points, pictures
        arrays = normals(g, dtype, x_t=(n, *shape))
        arrays["t"] = 1 + torch.randperm(n + 2, generator=g)[:n]
        sizes = {"first": (math.prod(shape), width), "time": (width,)}
        weights = normals(g, dtype, **sizes, last=(width, classes))
        arrays |= {name: 1.5 * weight for name, weight in weights.items()}
        arrays["y"] = torch.arange(n) % (classes - 1) + 1
        return make_case(kind, **arrays, sampling=kind == "sampling")

    n = whole(g, 4, 6) if hidden else 2
    public = (4, 5, 3, 2), (3, 4, 2, 1, 2, 2), (3, 4, 3, 3), (4, 5, 2, 2, 1, 2)
    others = (5, 6, n, 3), (4, 5, n, 2, 1, 3), (5, 4, n, 2), (4, 6, n, 1, 2, 3)
    rows = others if hidden else public
    return make_cases(case, ordinary=rows[:2], sampling=rows[2:])


@torch.enable_grad()
def gradient_by_one_hot(classifier, x_t, t, y):
    x = x_t.detach().clone().requires_grad_()
    logits = classifier(x, t)
    told = F.one_hot(y, logits.shape[1]).to(logits) * logits
    return torch.autograd.grad(told.sum() - logits.logsumexp(1).sum(), x)[0]


@torch.enable_grad()
def gradient_by_rows(classifier, x_t, t, y):
    x = x_t.detach().clone().requires_grad_()
    loss = sum(F.cross_entropy(row, label) for row, label in zip(classifier(x, t), y))
    return -torch.autograd.grad(loss, x)[0]


# --- 4. v, guided by a classifier -----------------------------------------------------
def cases_classifier_guided_v(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape, large=False):
        arrays, n = normals(g, dtype, v=shape, gradient=shape), shape[0]
        order = torch.arange(n)[torch.randperm(n, generator=g)]
        abar = 0.1 + 0.3 * order / (n - 1) + 0.05 * uniform(g, n)
        arrays["abar"], scale = abar.to(dtype), between(g, *WEIGHT)
        if large:  # the push nearly cancels v
            v, gradient = arrays["v"], LARGE * arrays["gradient"]
            factor = (1 / arrays["abar"] - 1).sqrt().view(-1, *[1] * (len(shape) - 1))
            arrays |= {"v": v + scale * factor * gradient, "gradient": gradient}
        return make_case(kind, **arrays, scale=scale)

    n = whole(g, 4, 6) if hidden else 2
    public = (F32, 2, 3), (F64, 3, 3), (F32, 2, 1, 2, 3), (F64, 3, 3, 3)
    others = (F32, n, 2), (F64, n, n), (F64, n, 2, 3, 2), (F32, n, n, n)
    rows = others if hidden else public
    large = case("ordinary", F64, n, 3, large=True)
    return [*make_cases(case, ordinary=rows[:2], shapes=rows[2:]), large]


def v_by_noise(v, gradient, abar, scale):
    """By way of the noise and the picture, at a made-up x_t."""
    root, rest = (
        part.double().view(-1, *[1] * (v.ndim - 1))
        for part in (abar.double().sqrt(), (1 - abar.double()).sqrt())
    )
    x_t = torch.ones_like(v, dtype=F64)
    eps = root * v + rest * x_t - scale * rest * gradient
    return root * eps - rest * (x_t - rest * eps) / root


def v_by_loops(v, gradient, abar, scale):
    rows = zip(v, gradient, abar.tolist())
    return torch.stack([x - math.sqrt(1 / a - 1) * scale * d for x, d, a in rows])


# --- 5. one pass for both -------------------------------------------------------------
def cases_guided_in_one_pass(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, width, length, n, *shape):
        d, dtype = math.prod(shape), F32 if len(shape) == 1 else F64
        row = (length,) if length else ()
        arrays = normals(g, dtype, x_t=(n, *shape))
        arrays["t"] = 1 + torch.randperm(n + 2, generator=g)[:n]
        arrays["y"] = torch.randint(1, 5, (n, *row), generator=g)
        arrays["null"] = torch.randint(5, 7, row, generator=g)
        if length:
            arrays["null"] = torch.arange(length) % 2 + 5  # its words differ
        else:
            arrays["y"] = 1 + torch.arange(n) % 4
        sizes = {"first": (d, width), "time": (width,), "table": (8, width)}
        arrays |= normals(g, dtype, **sizes, last=(width, d))
        return make_case(kind, **arrays, w=between(g, *WEIGHT))

    n = whole(g, 4, 6) if hidden else 2
    public = (4, 0, 3, 2), (5, 0, 2, 1, 2, 2), (4, 4, 2, 3), (5, 3, 3, 1, 2, 1)
    others = (5, 0, n, 3), (6, 0, n, 2, 2, 1), (5, n + 1, n, 2), (4, 3, n, 2, 1, 2)
    rows = others if hidden else public
    return make_cases(case, ordinary=rows[:2], captions=rows[2:])


def pass_untold_first(eps, x_t, t, y, null, w):
    n = len(y)
    labels = torch.cat([torch.stack([null] * n), y])
    found = eps(x_t.repeat(2, *[1] * (x_t.ndim - 1)), t.repeat(2), labels)
    return found[n:] + w * (found[n:] - found[:n])


def pass_interleaved(eps, x_t, t, y, null, w):
    labels = torch.stack([y, torch.broadcast_to(null, y.shape)], 1).flatten(0, 1)
    found = eps(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), labels)
    return torch.lerp(found[1::2], found[::2], 1 + w)


# --- 6. a caption's vector ------------------------------------------------------------
def cases_caption_vector(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, length, d, large=False):
        vectors = 1 + normal(g, n, length, d, dtype=dtype)
        tokens = torch.randint(1, 9, (n, length), generator=g)
        for i in range(n):  # holes anywhere; rows differ in how many words are left
            gaps = i % (length - 1) + (i % (length - 1) == 0 and i > 0)
            tokens[i, torch.randperm(length, generator=g)[:gaps]] = 0
        tokens[-1, :2] = torch.tensor([0, 3])  # a word behind a hole
        if kind in ("empty", "gradient"):
            tokens[whole(g, 0, n - 2)] = 0
        if large:  # two words, nearly opposite
            tokens[0], tokens[0, :2] = 0, torch.tensor([3, 5])
            vectors[0, 0] = LARGE * vectors[0, 0] + 1
            vectors[0, 1] -= vectors[0, 0]
        return make_case(kind, lambda: normal(g, n, d), vectors=vectors, tokens=tokens)

    n = whole(g, 5, 7) if hidden else 3
    public = (F32, 3, 4, 2), (F64, 4, 5, 3), (F32, 3, 4, 3), (F64, 3, 4, 2)
    others = (F32, n, 6, 3), (F64, n, 4, 5), (F64, n, 5, 2), (F64, n, 5, 3)
    rows = (*others, (F32, n, 3, 4)) if hidden else public
    cases = make_cases(case, ordinary=rows[:2], empty=rows[2:3], gradient=rows[3:])
    return [*cases, case("ordinary", F64, n, 4, 2, large=True)]


def caption_by_loops(vectors, tokens):
    rows = [row[said != 0] for row, said in zip(vectors, tokens)]
    return torch.stack([row.sum(0) / max(len(row), 1) for row in rows])


def caption_by_matmul(vectors, tokens):
    shares = (tokens != 0).double()
    shares = shares / torch.where(shares.sum(1) == 0, 1, shares.sum(1))[:, None]
    return (shares[:, None] @ vectors.double())[:, 0]


# --- 7. a guided DDIM step ------------------------------------------------------------
def cases_guided_ddim_step(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape, large=False):
        arrays = normals(g, dtype, told=shape, untold=shape, x_t=shape)
        told, untold, x_t = arrays.values()
        w = between(g, *WEIGHT)
        if large:  # the guided noise is small
            untold *= LARGE
            told.add_(w * untold).div_(1 + w)
        abar_t, abar_s = between(g, 0.15, 0.4), between(g, 0.6, 0.8)
        x0 = (x_t - (1 - abar_t) ** 0.5 * (told + w * (told - untold))) / abar_t**0.5
        share = between(g, 1.6, 2.0) if kind == "ordinary" else between(g, 0.3, 0.4)
        arrays |= {"w": w, "abar_t": abar_t, "abar_s": abar_s}
        return make_case(kind, **arrays, limit=share * x0.abs().max().item())

    n = whole(g, 4, 6) if hidden else 2
    public = (F32, 2, 3), (F64, 2, 1, 2, 2), (F32, 3, 4), (F64, 2, 2, 2, 2)
    others = (F32, n, 3), (F64, n, 2, 2, 3), (F32, n, 4), (F64, n, 1, 3, 2)
    rows = others if hidden else public
    large = case("ordinary", F64, n, 3, large=True)
    return [*make_cases(case, ordinary=rows[:2], limit=rows[2:]), large]


def step_by_coefficients(told, untold, w, x_t, abar_t, abar_s, limit):
    ratio = math.sqrt((1 - abar_s) / (1 - abar_t))
    one, two = (x_t - (1 - abar_t) ** 0.5 * eps for eps in (told, untold))
    x0 = ((one * (1 + w) - two * w) / abar_t**0.5).clip(-limit, limit)
    return (math.sqrt(abar_s) - ratio * math.sqrt(abar_t)) * x0 + ratio * x_t


def step_in_double(told, untold, w, x_t, abar_t, abar_s, limit):
    sigma_t, sigma_s = ((1 / abar - 1) ** 0.5 for abar in (abar_t, abar_s))
    eps = torch.lerp(untold.double(), told.double(), 1 + w)
    u = x_t.double() / abar_t**0.5
    x0 = (u - sigma_t * eps).clip(-limit, limit)
    return abar_s**0.5 * (x0 + sigma_s / sigma_t * (u - x0))


# --- 8. the exact posterior of a label ------------------------------------------------
def cases_exact_label_posterior(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, k, d, classes):
        centres = 1.2 * normal(g, k, d, dtype=dtype)
        x_t = 0.8 * normal(g, n, d, dtype=dtype)
        # One Gaussian of each class but the last, which owns the rest; in any order.
        labels = torch.arange(k).clamp(max=classes - 1)[torch.randperm(k, generator=g)]
        if kind == "far":
            # In float64: in float32 it is mostly rounding. So far away that some class
            # has the probability exp(-1000), which is 0 in float64. The first point is
            # about as likely in two classes.
            x_t = 900 * F.normalize(x_t)
            one, two = (labels == 0).nonzero()[0, 0], (labels == 1).nonzero()[0, 0]
            centres[one, 0] = centres[two, 0] = centres[:, 0].max() + 1.5
            x_t[0, 1:], x_t[0, 0] = 0.3 * x_t[0, 1:] / 900, 900
        arrays = {"x_t": x_t, "centres": centres, "labels": labels}
        arrays["std"] = between(g, 0.5, 0.7)
        return make_case(kind, **arrays, abar=between(g, 0.55, 0.8))

    n = whole(g, 5, 8) if hidden else 3
    public = (F32, 3, 4, 2, 2), (F64, 4, 5, 3, 3), (F64, 3, 4, 2, 2), (F64, 2, 5, 3, 3)
    others = (F32, n, 6, 2, 3), (F64, n, n, 3, 2), (F64, n, 6, 2, 4), (F64, n, 5, n, 3)
    rows = others if hidden else public
    return make_cases(case, ordinary=rows[:2], far=rows[2:])


def posterior_by_matmul(x_t, centres, labels, std, abar):
    means, v = abar**0.5 * centres.double(), abar * std**2 + 1 - abar
    exponent = (x_t.double() @ means.T - means.square().sum(1) / 2) / v  # |x|^2 cancels
    member = F.one_hot(labels).double().log()
    return (exponent.log_softmax(1)[:, :, None] + member).logsumexp(1)


def posterior_by_loops(x_t, centres, labels, std, abar):
    rows, v = [], abar * (std * std - 1) + 1
    for x in x_t.double():
        logs = -(x - abar**0.5 * centres).square().sum(1) / (2 * v)
        own = [logs[labels == y].logsumexp(0) for y in labels.unique()]
        rows.append(torch.stack(own) - logs.logsumexp(0))
    return torch.stack(rows)


# --- 9. two variances -----------------------------------------------------------------
def cases_two_variances(g: Generator, hidden: bool) -> list[Case]:
    def case(k, m, dtype):
        c = uniform(g, k, m, low=0.3, high=0.8, dtype=dtype)
        s = uniform(g, k, m, low=1.2, high=2.6, dtype=dtype)
        if dtype == F64:  # nearly 1: float32 rounds 1 - c by a few percent
            s[-1], c[-1] = s[-1] * 1e6, 1 - 1e-6 * c[-1]
        return Case("ordinary", {"c": c, "s": s})

    k = whole(g, 5, 8) if hidden else 3
    return [case(k, 2, F32), case(k + 2 if hidden else 4, 4 if hidden else 3, F64)]


def variances_by_logs(c, s):
    return (s * c.log()).sum(1).exp(), 1 / (1 - s.sum(1) + (s / c).sum(1))


def variances_by_loops(c, s):
    samples, tilted = [], []
    for row in zip(c.tolist(), s.tolist()):
        pairs = list(zip(*row))
        samples.append(math.prod(a**b for a, b in pairs))
        tilted.append(1 / math.fsum([1, *(b * (1 - a) / a for a, b in pairs)]))
    return torch.tensor(samples, dtype=c.dtype), torch.tensor(tilted, dtype=c.dtype)


# --- 10. the choice of w --------------------------------------------------------------
def cases_choose_w(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, k, exact=False):
        """By growing w: far too low, a little too low, good enough (three times), too
        low again. In 64ths."""
        first = k - 4  # the answer
        good = [0, 7, 5] if exact else [3, 7, 1]
        steps = [*[-5, -11, -7, -9, -6, -8][: k - 5], -0.5, *good, -5]
        target = whole(g, 40, 44)
        parts = target + torch.tensor(steps, dtype=F64) - 20 * (kind == "none")
        w = 0.3 + 0.8 * torch.arange(k) + 0.5 * uniform(g, k, dtype=F64)
        order = torch.randperm(k, generator=g)
        while first <= order[0] < first + 3:  # the first is not good enough
            order = order.roll(1)
        places = ((order >= first) & (order < first + 3)).nonzero()[:, 0]
        # The answer stands between the two others that are good enough.
        order[places] = first + torch.tensor([2, 0, 1] if exact else [1, 0, 2])
        if dtype == F64:  # a little too low only in float64
            parts[first - 1] = target - 20 * (kind == "none") - 1e-7
        arrays = {"w": w.to(dtype)[order], "accuracy": (parts / 64).to(dtype)[order]}
        return make_case(kind, **arrays, target=target / 64)

    k = whole(g, 8, 10) if hidden else 6
    public = (F32, 6), (F64, 7, True), (F32, 6)
    others = (F32, k, True), (F64, k + 1), (F32, k), (F32, 7)
    rows = others if hidden else public
    return make_cases(case, ordinary=rows[:2], none=rows[2:])


def choice_by_sorting(w, accuracy, target):
    pairs = sorted(zip(w.tolist(), accuracy.tolist()))
    return next((weight for weight, share in pairs if share >= target), math.inf)


def choice_by_infinity(w, accuracy, target):
    return torch.where(accuracy.double() < target, math.inf, w.double()).amin()


# --- 11. a program with faults --------------------------------------------------------
def cases_towards_and_away(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, *shape, large=False):
        arrays = normals(g, dtype, eps_y=shape, eps_n=shape, eps=shape)
        w, v = between(g, *WEIGHT), between(g, 0.4, 0.8)
        if large:  # the result is small
            eps_n, eps = LARGE * arrays["eps_n"], LARGE * arrays["eps"]
            eps_y = (arrays["eps_y"] + w * eps + v * (eps_n - eps)) / (1 + w)
            arrays = {"eps_y": eps_y, "eps_n": eps_n, "eps": eps}
        return make_case(kind, **arrays, w=w, v=v)

    n = whole(g, 4, 6) if hidden else 2
    rows = [(F32, n, 3), (F64, n, 2, 2, n)] if hidden else [(F32, 2, 3), (F64, 2, 1, 2)]
    return [*make_cases(case, ordinary=rows), case("ordinary", F64, n, 2, large=True)]


def both_by_coefficients(eps_y, eps_n, eps, w, v):
    return (1 + w) * eps_y - v * eps_n + (v - w) * eps


def both_from_the_unconditional(eps_y, eps_n, eps, w, v):
    y, n, e = eps_y.double(), eps_n.double(), eps.double()
    return e + (1 + w) * (y - e) + v * (e - n)


# --- 12. numbers and choices ----------------------------------------------------------
def cases_numbers_and_choices(g: Generator, hidden: bool) -> list[Case]:
    def case(scales, weights, steps):
        return make_case("ordinary", guidance_scale=scales, w=weights, steps=steps)

    if not hidden:
        return [case([7.5, 3.0], [2.0, 0.5], [25, 60])]
    n = whole(g, 3, 5)
    scales = uniform(g, n, low=2.5, high=9, dtype=F64)
    weights = uniform(g, n, low=1.5, high=6, dtype=F64)
    steps = [whole(g, 10, 200) for _ in range(n)]
    return [case(scales, weights, steps), case([5.0], [4.0], [50])]


def numbers_by_torch(guidance_scale, w, steps):
    return torch.tensor([guidance_scale - 1, w + 1, steps + steps, 3.0, 2.0], dtype=F64)


def numbers_as_list(guidance_scale, w, steps):
    return [-(1 - guidance_scale), 1 - -w, steps * 2, 6 // 2, 4 // 2]


# --- the sheet ------------------------------------------------------------------------
SHEET: list[Master] = [
    Master(
        "label_dropout",
        (values(2), Property("drops captions as a whole", 1, "captions"), UNCHANGED),
        cases_label_dropout,
        (dropout_by_indices, dropout_by_loops),
        library("diffusion.conditional", "with_dropout", "ConditionalDDPM"),
    ),
    Master(
        "guided_eps",
        (
            right_values(3),
            Property("takes a weight for each row", 1, "rows"),
            UNCHANGED,
        ),
        cases_guided_eps,
        (guided_by_coefficients, guided_by_lerp),
        library("diffusion.guidance", "guided"),
    ),
    Master(
        "classifier_gradient",
        (
            right_values(2),
            Property("works inside no_grad", 1, "sampling"),
            Property("leaves no trace in the weights", 1, outputs=("without",)),
            UNCHANGED,
        ),
        cases_classifier_gradient,
        (gradient_by_one_hot, gradient_by_rows),
        library("diffusion.guidance", "input_gradient", "NoisyClassifier"),
    ),
    Master(
        "classifier_guided_v",
        (right_values(3), Property("takes rows of any shape", 1, "shapes"), UNCHANGED),
        cases_classifier_guided_v,
        (v_by_noise, v_by_loops),
        library("diffusion.guidance", "classifier_guided"),
    ),
    Master(
        "guided_in_one_pass",
        (
            right_values(2),
            Property("asks once, for 2N rows", 1, outputs=("calls", "rows")),
            Property("takes captions", 1, "captions"),
            UNCHANGED,
        ),
        cases_guided_in_one_pass,
        (pass_untold_first, pass_interleaved),
        library("diffusion.guidance", "guided"),
    ),
    Master(
        "caption_vector",
        (
            right_values(2),
            Property("gives zeros for an empty caption", 1, "empty"),
            gradient(1),
            UNCHANGED,
        ),
        cases_caption_vector,
        (caption_by_loops, caption_by_matmul),
        library("nets.text", "TextTransformer"),
    ),
    Master(
        "guided_ddim_step",
        (
            Property(
                "steps where the limit is not reached", 3, outputs=("value", "float64")
            ),
            Property("keeps the guess within the limit", 2, "limit"),
            UNCHANGED,
        ),
        cases_guided_ddim_step,
        (step_by_coefficients, step_in_double),
        library("diffusion.guidance", "guided") + library("diffusion.samplers", "ddim"),
    ),
    Master(
        "exact_label_posterior",
        (
            right_values(3),
            Property("stays right far away", 1, "far"),
            UNCHANGED,
        ),
        cases_exact_label_posterior,
        (posterior_by_matmul, posterior_by_loops),
        library("diffusion.exact", "MixtureNoise"),
    ),
    Master(
        "two_variances",
        (
            Property("gives the samples' variance", 2, outputs=("samples", "float64")),
            Property("gives the tilted density's variance", 1, outputs=("tilted",)),
            UNCHANGED,
        ),
        cases_two_variances,
        (variances_by_logs, variances_by_loops),
    ),
    Master(
        "choose_w",
        (
            Property("chooses the smallest w that is good enough", 2),
            Property("says infinity where none is", 1, "none"),
        ),
        cases_choose_w,
        (choice_by_sorting, choice_by_infinity),
    ),
    Master(
        "towards_and_away",
        (right_values(3), UNCHANGED),
        cases_towards_and_away,
        (both_by_coefficients, both_from_the_unconditional),
        library("diffusion.guidance", "guided"),
    ),
    Master(
        "numbers_and_choices",
        (
            question("knows the conventions (a, b)", "conventions"),
            question("knows the cost (c)", "cost"),
            question("knows what goes wrong (d, e)", "choices"),
        ),
        cases_numbers_and_choices,
        (numbers_by_torch, numbers_as_list),
    ),
]
