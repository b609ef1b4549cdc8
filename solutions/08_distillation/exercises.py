"""Exercises 08, distillation: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

from course_lib.grading.drive import (
    Arrays,
    by_number,
    gradients,
    on_case,
    parts,
    same_bits,
)
from course_lib.grading.probes import careful, stays_float64


def on_arrays(**names):
    return careful(partial(on_case, **names))


drive_soft_targets = on_arrays(
    tensors=("logits",), settings=("temperature",), flows=("logits",)
)
drive_distillation_loss = on_arrays(
    tensors=("student", "teacher", "labels"),
    settings=("temperature", "soft"),
    flows=("student",),
    stops=("teacher",),
)


def drive_ema_update(answer, a: Arrays) -> Arrays:
    """`target 0`, `target 1`, ... and `online 0`, ..., which want a gradient; start,
    progress. `value I`: the new ones; `unchanged ...`: whether the lists hold the
    tensors they held, and these are as they were; `without gradient`: whether all that
    comes back is without gradient; `float64 ...`: as in `stays_float64`."""
    n = sum(name.startswith("target ") for name in a)
    target, online = (
        [a[f"{word} {i}"] for i in range(n)] for word in ("target", "online")
    )
    tensors, before = target + online, [tensor.clone() for tensor in target + online]
    given = [*target], [tensor.requires_grad_() for tensor in online]
    new = answer(*given, a["start"].item(), a["progress"].item())
    listed = isinstance(new, (tuple, list))
    if not listed or len(new) != n:
        came = f"{len(new)} things" if listed else type(new).__name__
        raise TypeError(f"expected a list of {n} tensors, got {came}")
    same = list(map(same_bits, tensors, before))
    wanting = all(tensor.requires_grad for tensor in online)
    not_wanting = not any(tensor.requires_grad for tensor in target)
    outputs = {f"value {i}": part for i, part in enumerate(new)} | {
        "unchanged lists": [*map(id, given[0] + given[1])] == [*map(id, tensors)],
        "unchanged target": all(same[:n]) and not_wanting,
        "unchanged online": all(same[n:]) and wanting,
        "without gradient": not any(map(_wants, new)),
    }
    return outputs | stays_float64(a, *new)


def _wants(tensor) -> bool:
    return getattr(tensor, "requires_grad", False)


def drive_byol_loss(answer, a: Arrays) -> Arrays:
    """As for `on_case`, without a `slope` for predictions that are shorter than the
    step of its finite difference."""
    drive = on_arrays(tensors=("p", "z"), flows=("p",), stops=("z",))
    outputs = drive(answer, a)
    if a["p"].norm(dim=-1).min() < 0.1:
        outputs.pop("slope", None)
    return outputs


def drive_simsiam_loss(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and predictor from the weights. `gradient ...`: of these;
    `unchanged wish ...` and `float64 ...`: as in `careful`."""
    names = ("encoder", "encoder bias", "predictor", "predictor bias")
    weights = {name: a[name].requires_grad_() for name in names}

    def encoder(x):
        return (x @ weights["encoder"] + weights["encoder bias"]).tanh()

    def predictor(z):
        return z + (z @ weights["predictor"] + weights["predictor bias"]).sin()

    views = a["view1"], a["view2"]
    value = answer(encoder, predictor, *views)
    outputs = {"value": value} | gradients(value, weights)
    outputs["unchanged wish for a gradient"] = not any(map(_wants, views)) and all(
        map(_wants, weights.values())
    )
    return outputs | stays_float64(a, value)


def drive_barlow_twins(answer, a: Arrays) -> Arrays:
    """`matrix`: the first thing that comes back; `value`, gradients: of the second.
    `finite ...`: whether the gradient of the second is finite, in cases of dead
    features."""
    matrices = []

    def loss(z1, z2, weights, off_diagonal):
        came = parts(answer(z1, z2, weights, off_diagonal), ("matrix", "loss"))
        matrices.append(came[0])
        return came[1]

    def drive(loss, a):
        tensors, flows = ("z1", "z2", "weights"), ("z1", "z2")
        outputs = on_case(loss, a, tensors, ("off_diagonal",), flows=flows)
        return {"matrix": matrices[0]} | outputs

    outputs = careful(drive)(loss, a)
    if not bool(a["z1"].any(0).all() and a["z2"].any(0).all()):
        leaves = {name: a[name].clone().requires_grad_() for name in ("z1", "z2")}
        value = loss(*leaves.values(), a["weights"], a["off_diagonal"].item())
        found = gradients(value, leaves).values()
        finite = all(bool(gradient.isfinite().all()) for gradient in found)
        outputs["finite in its gradient"] = finite
    return outputs


def drive_vicreg_terms(answer, a: Arrays) -> Arrays:
    """`invariance`, `variance`, `covariance`: what comes back. Gradients: of a sum of
    the three with different weights, in cases that ask for them."""
    names = ("invariance", "variance", "covariance")
    found = []

    def loss(z1, z2, floor):
        came = parts(answer(z1, z2, floor), names)
        found.append(came)
        return 0.7 * came[0] + 1.3 * came[1] + 0.4 * came[2]

    def drive(loss, a):
        return on_case(loss, a, ("z1", "z2"), ("floor",), flows=("z1", "z2"))

    outputs = careful(drive)(loss, a)
    return dict(zip(names, found[0])) | outputs


drive_multicrop_loss = on_arrays(
    tensors=("student", "teacher", "present"),
    settings=("tau_s", "tau_t"),
    flows=("student",),
    stops=("teacher",),
)


def drive_centre_and_sharpen(answer, a: Arrays) -> Arrays:
    """`probabilities`, `centre`: what comes back; `without ...`: whether each of them
    is without gradient, though the outputs want one."""
    a["outputs"].requires_grad_()
    names = ("probabilities", "centre")

    def drive(answer, a):
        tensors, settings = ("outputs", "centre"), ("temperature", "momentum")
        return on_case(answer, a, tensors, settings, names=names)

    outputs = careful(drive)(answer, a)
    return outputs | {
        f"without gradient in the {name}": not _wants(outputs[name]) for name in names
    }


drive_linear_network = partial(
    by_number,
    given=("noise", "decay", "lag"),
    groups={"largest": "a", "alive": "b", "threshold": "c", "rate": "d"},
)
drive_numbers_by_heart = partial(
    by_number,
    given=("prototypes", "large", "small", "share"),
    groups={"entropies": "abcd", "losses": "ef", "pairs": "g", "cost": "h"},
)


# --- private: what stands above is given to students ----------------------------------

import math

import torch
import torch.nn.functional as F
from torch import Generator

from course_lib.grading.draw import F32, F64, between, normal, uniform, whole
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


# --- 1. soft targets ------------------------------------------------------------------
def cases_soft_targets(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, dtype=F32, low=2.0, high=4.0):
        logits = 3 * normal(g, n, c, dtype=dtype) + 1
        if kind == "extreme":  # overflow in one row, and another far below it
            # float32 says 10^7 to 1 only, and 9000 to 0.001
            level = 1e7 if dtype == F64 else 450
            logits[0] += level
            logits[1] -= level
        if low > 10:  # a softmax without the temperature underflows
            logits[:, 0], logits[:, 1] = 140, -140
        t = between(g, low, high)
        cotangent = partial(normal, g, n, c, dtype=dtype)
        return make_case(kind, cotangent, logits=logits, temperature=t)

    if not hidden:
        ordinary = [(2, 3), (3, 3, F64), (3, 2, F32, 0.3, 0.5)]
        extreme = [(3, 4), (2, 2, F64), (2, 3, F32, 60, 90)]
        slopes = [(2, 3, F64)]
        return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)
    n = whole(g, 4, 8)
    ordinary = [(n, n + 2), (n + 3, n), (n, n, F64), (n, 5, F32, 0.3, 0.5)]
    extreme = [(n, 5, F32, 1.5), (2, n, F64), (n, 4, F32, 60, 90)]
    slopes = [(n, 5, F64), (3, n + 1, F64, 0.3, 0.5)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def soft_by_logsumexp(logits, temperature):
    scaled = logits / temperature
    return (scaled - scaled.logsumexp(1, keepdim=True)).exp()


def soft_by_loops(logits, temperature):
    rows = [((row - row.max()) / temperature).exp() for row in logits.double()]
    return torch.stack([row / row.sum() for row in rows])


# --- 2. the distillation loss ---------------------------------------------------------
def cases_distillation_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, dtype=F32, soft=None, sure="teacher"):
        student, teacher = (s * normal(g, n, c, dtype=dtype) for s in (1.5, 2.5))
        if kind == "extreme":
            logits = teacher if sure == "teacher" else student
            level = 5e3 if sure == "student" else 3e3 if dtype == F64 else 300
            logits[0, 0], logits[0, 1] = level, -level
            if dtype == F64:  # a shift changes nothing, but float32 loses the rest
                student, teacher = student + 1e7, teacher - 1e7
        if soft is None:
            soft = between(g, 0.2, 0.35) if whole(g, 0, 1) else between(g, 0.65, 0.8)
        labels, temperature = torch.randint(0, c, (n,), generator=g), between(g, 2, 4)
        arrays = {"student": student, "teacher": teacher, "labels": labels}
        arrays |= {"temperature": temperature, "soft": soft}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(2, 3), (3, 3, F64), (3, 2, F32, 1.0)]
        extreme = [(2, 3), (3, 3, F32, None, "student"), (2, 3, F64)]
        slopes = [(2, 3, F64)]
        return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)
    n = whole(g, 4, 8)
    ordinary = [(n, n + 2), (n + 3, n), (n, n, F64)]
    ordinary += [(n + 1, 4, F64, 0.0), (3, n, F32, 1.0)]
    extreme = [(n, 5), (4, n, F64), (n + 1, 4, F32, None, "student")]
    slopes = [(n, 5, F64), (3, n, F64, 1.0)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def distill_by_kl_div(student, teacher, labels, temperature, soft):
    q = (teacher.detach() / temperature).softmax(1)
    log_p = (student / temperature).log_softmax(1)
    divergence = F.kl_div(log_p, q, reduction="batchmean")
    hard = F.cross_entropy(student, labels)
    return hard + soft * (divergence * temperature**2 - hard)


def distill_by_loops(student, teacher, labels, temperature, soft):
    total = 0.0
    for s, t, y in zip(student.double(), teacher.detach().double(), labels):
        log_q, log_p = ((x / temperature).log_softmax(0) for x in (t, s))
        divergence = (
            sum(a.exp() * (a - b) for a, b in zip(log_q, log_p)) * temperature**2
        )
        total = total + soft * divergence + (1 - soft) * (s.logsumexp(0) - s[y])
    return total / len(student)


# --- 3. the moving average ------------------------------------------------------------
def cases_ema_update(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, *shapes, dtype=F32, at=0.0, large=False):
        draw = partial(normal, g, dtype=dtype)
        arrays = {f"target {i}": 2 + draw(*s) for i, s in enumerate(shapes)}
        arrays |= {f"online {i}": 2 * draw(*s) - 1 for i, s in enumerate(shapes)}
        start = between(g, 0.65, 0.85)
        if large:  # the large numbers cancel: float32 loses what is left
            m = 1 - (1 - start) * math.cos(math.pi * at / 2) ** 2
            for i, shape in enumerate(shapes):
                level = 1e5 * (1.5 + uniform(g, *shape, dtype=dtype))
                arrays[f"target {i}"] += level
                arrays[f"online {i}"] -= m / (1 - m) * level
        return make_case(kind, **arrays, start=start, progress=at)

    if not hidden:
        return [
            case("ordinary", (2, 3), (3,)),
            case("ordinary", (2,), (2,), (1, 2), dtype=F64),
            case("ordinary", (2,), dtype=F64, large=True),
            case("schedule", (2, 2), (2,), at=0.4),
            case("schedule", (3,), at=0.75, dtype=F64),
            case("schedule", (2,), at=1.0),
        ]
    n = whole(g, 4, 7)
    return [
        case("ordinary", (n, 5), (5,), (5, n), (n,)),
        case("ordinary", (n, 3, 2, 2), (), (n, n), dtype=F64),
        case("ordinary", (1,)),
        case("ordinary", (n, 2), (3,), dtype=F64, large=True),
        case("schedule", (n, 5), (5,), at=between(g, 0.15, 0.4)),
        case("schedule", (n, 2), (2, n), (n,), at=between(g, 0.6, 0.8), dtype=F64),
        case("schedule", (n,), (n,), at=1.0),
    ]


def ema_by_lerp(target, online, start, progress):
    with torch.no_grad():  # (cos x + 1) / 2 is the square of cos(x / 2)
        share = (1 - start) * math.cos(math.pi * progress / 2) ** 2
        return tuple(torch.lerp(t, o, share) for t, o in zip(target, online))


def ema_in_double(target, online, start, progress):
    m = start + (1 - start) * (1 - math.cos(math.pi * progress)) / 2
    copies = [t.clone().double() for t in target]
    for copy, o in zip(copies, online):
        copy.mul_(m).add_(o.data.double(), alpha=1 - m)
    return copies


# --- 4. BYOL --------------------------------------------------------------------------
def cases_byol_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, v, n, d, dtype=F32, alike=False):
        def rows():
            lengths = uniform(g, v, n, 1, low=0.6, high=2.4, dtype=F64)
            unit = F.normalize(normal(g, v, n, d, dtype=F64) + 0.3, dim=-1)
            return (unit * lengths).to(dtype)

        arrays = {name: rows() for name in ("p", "z")}
        if alike:  # the gradient is a small difference, divided by a small length
            z = arrays["z"][:1] + 3e-5 * normal(g, v, n, d, dtype=dtype)
            arrays["z"] = z
            arrays["p"] = 1e-3 * (z + 3e-5 * normal(g, v, n, d, dtype=dtype))
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(2, 2, 3), (3, 3, 4, F64), (4, 1, 3)]
        slopes = [(3, 2, 3, F64), (3, 2, 3, F64, True)]
        return make_cases(case, ordinary=ordinary, gradient=slopes)
    n = whole(g, 4, 8)
    ordinary = [(3, n, n + 2), (5, n + 3, n, F64), (n, n, n), (4, n, 2), (2, n, 3)]
    slopes = [(3, n, 5, F64), (5, 3, n, F64), (4, n, 3, F64, True)]
    return make_cases(case, ordinary=ordinary, gradient=slopes)


def byol_by_sums(p, z):
    """All pairs at once: a sum of dot products is a dot product of sums."""
    p, z = F.normalize(p, dim=2), F.normalize(z.detach(), dim=2)
    v, n, _ = p.shape
    dots = (p.sum(0) * z.sum(0)).sum() - (p * z).sum()
    return 2 - 2 * dots / (v * (v - 1) * n)


def byol_by_loops(p, z):
    total, pairs = 0.0, 0
    for i, first in enumerate(p.double()):
        for j, second in enumerate(z.detach().double()):
            if i != j:
                for a, b in zip(first, second):
                    total = total + 2 - 2 * a.dot(b) / (a.dot(a) * b.dot(b)).sqrt()
                pairs += 1
    return total / (pairs * p.shape[1])


# --- 5. SimSiam -----------------------------------------------------------------------
def cases_simsiam_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(n, inputs, d, dtype=F64, alike=False):
        draw = partial(normal, g, dtype=dtype)
        arrays = {"encoder": 0.7 * draw(inputs, d), "encoder bias": draw(d)}
        arrays |= {"predictor": draw(d, d), "predictor bias": draw(d)}
        view1 = draw(n, inputs)
        view2 = view1 + 0.8 * draw(n, inputs)
        if alike:  # the gradient is a small difference, divided by a small length
            view2 = view1 + 3e-5 * draw(n, inputs)
            arrays = {name: 1e-5 * array for name, array in arrays.items()}
            arrays["predictor bias"] = 1e-4 * arrays["predictor bias"]
        return make_case("ordinary", **arrays, view1=view1, view2=view2)

    if not hidden:
        return [case(2, 3, 3), case(3, 2, 4), case(3, 3, 2, F32), case(2, 3, 3, F64, 1)]
    n = whole(g, 4, 8)
    shapes = (n, 5, n + 1), (n + 2, n, 4), (n, n, n, F32), (n + 1, 2, 2)
    return [case(*shape) for shape in (*shapes, (n, 4, 5, F64, True))]


def siam_together(encoder, predictor, view1, view2):
    z = encoder(torch.cat([view1, view2]))
    target = F.normalize(z.roll(len(view1), 0).detach(), dim=1)
    return -(F.normalize(predictor(z), dim=1) * target).sum() / len(z)


def siam_encoded_twice(encoder, predictor, view1, view2):
    with torch.no_grad():
        targets = encoder(view2).double(), encoder(view1).double()
    guesses = (predictor(encoder(view)).double() for view in (view1, view2))
    cosines = [
        (p * z).sum(1) / p.norm(dim=1) / z.norm(dim=1) for p, z in zip(guesses, targets)
    ]
    return -torch.cat(cosines).mean()


# --- 6. Barlow Twins ------------------------------------------------------------------
def cases_barlow_twins(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=F32, dead=((), ()), small=False, level=1.0, fill=0):
        first = normal(g, n, d, dtype=F64)
        views = [first, 0.6 * first + normal(g, n, d, dtype=F64)]
        weights = uniform(g, n, low=0.5, high=2.5, dtype=F64)
        for view, columns in zip(views, dead):
            view -= view.mean(0)
            view /= view.std(0, correction=0)
            view *= uniform(g, d, low=0.6, high=2, dtype=F64)
            if small:  # these are not dead
                view[:, ::2] *= 0.03
            view += level * uniform(g, d, low=0.5, high=2, dtype=F64)
            view[:, list(columns)] = 0
        if fill:  # pictures that do not count
            weights[-fill:] = 0
        arrays = {"z1": views[0], "z2": views[1], "weights": weights}
        arrays = {name: array.to(dtype) for name, array in arrays.items()}
        arrays["off_diagonal"] = between(g, 0.1, 0.4)
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        return [
            case("ordinary", 4, 3),
            case("ordinary", 5, 2, F64, level=3e5),
            case("ordinary", 4, 4, small=True),
            case("ordinary", 5, 3, fill=2),
            case("dead", 4, 3, dead=([1], [])),
            case("dead", 5, 3, dead=([0], [0, 2])),
            case("gradient", 4, 3, F64),
        ]
    n = whole(g, 6, 9)
    return [
        case("ordinary", n, n - 2),
        case("ordinary", n, n + 2, fill=1),
        case("ordinary", n, n, F64, level=3e5),
        case("ordinary", n + 1, 3, F64, small=True),
        case("ordinary", n, 2, fill=2),
        case("dead", n, 5, dead=([whole(g, 0, 4)], [])),
        case("dead", n + 1, 4, F64, dead=([], [whole(g, 0, 1), 3])),
        case("dead", n, 4, dead=([2], [2])),
        case("gradient", n, 5, F64),
        case("gradient", n, n + 1, F64, fill=1),
    ]


def barlow_by_cov(z1, z2, weights, off_diagonal):
    """By torch.cov, which divides by the sum of the weights if `correction` is 0."""
    d = z1.shape[1]
    both = torch.cat([z1, z2], 1).double()
    c = torch.cov(both.T, correction=0, aweights=weights.double())
    spread = (c.diagonal() + 1e-12).sqrt()
    c = (c / spread / spread[:, None])[:d, d:]
    itself = torch.eye(d, dtype=torch.bool)
    return [c, ((c[itself] - 1) ** 2).sum() + off_diagonal * c[~itself].pow(2).sum()]


def barlow_by_roots(z1, z2, weights, off_diagonal):
    """With the root of each weight in the rows: then all sums are plain ones."""
    root = (weights / weights.sum()).sqrt()
    rows = []
    for z in (z1, z2):
        z = (z - root.square() @ z) * root.view(-1, 1)
        rows.append(z / z.square().sum(0).add(1e-14).sqrt())
    c = torch.einsum("ni,nj->ij", *rows)
    one = torch.eye(len(c), dtype=c.dtype)
    return c, ((off_diagonal + (1 - off_diagonal) * one) * (c - one).square()).sum()


# --- 7. VICReg ------------------------------------------------------------------------
def cases_vicreg_terms(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=F32, level=1.0, dead=()):
        views = []
        for _ in range(2):
            # about half of the features vary more than the floor
            spreads = uniform(g, d, low=0.3, high=1.9, dtype=F64)
            view = spreads * normal(g, n, d, dtype=F64)
            view += level * (0.5 + uniform(g, 1, dtype=F64))
            view[:, list(dead)] = 1.5
            views.append(view.to(dtype))
        arrays = {"z1": views[0], "z2": views[1], "floor": between(g, 0.9, 1.2)}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(4, 3), (5, 4, F64), (2, 2), (4, 3, F64, 3e5)]
        slopes = [(4, 3, F64), (4, 3, F64, 1.0, (1,))]
        return make_cases(case, ordinary=ordinary, gradient=slopes)
    n = whole(g, 5, 9)
    ordinary = [(n, n + 2), (n + 3, n, F64), (n, n), (n, 5, F64, 3e5)]
    slopes = [(n, 5, F64), (n, 4, F64, 1.0, (2,))]
    return make_cases(case, ordinary=ordinary, gradient=slopes)


def vicreg_by_torch(z1, z2, floor):
    variance = covariance = 0.0
    for z in (z1.double(), z2.double()):
        variance = variance + F.relu(floor - (z.var(0) + 1e-4).sqrt()).mean()
        c = torch.cov(z.T)
        apart = c[~torch.eye(len(c), dtype=torch.bool)]
        covariance = covariance + apart.pow(2).sum() / z.shape[1]
    return F.mse_loss(z1, z2) * z1.shape[1], variance, covariance


def vicreg_by_loops(z1, z2, floor):
    n, d = z1.shape
    total = [sum((a - b).dot(a - b) for a, b in zip(z1, z2)) / n, 0.0, 0.0]
    for z in (z1, z2):
        columns = [column - column.mean() for column in z.T]
        for i, a in enumerate(columns):
            spread = (a.dot(a) / (n - 1) + 1e-4).sqrt()
            total[1] = total[1] + torch.maximum(floor - spread, 0 * spread) / d
            for j, b in enumerate(columns):
                if i != j:
                    total[2] = total[2] + (a.dot(b) / (n - 1)) ** 2 / d
    return total


# --- 8. multi-crop --------------------------------------------------------------------
def cases_multicrop_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, v, large, n, k, dtype=F32, sure="teacher"):
        student = normal(g, v, n, k, dtype=dtype)
        teacher = 0.7 * normal(g, large, n, k, dtype=dtype)
        present = uniform(g, v, n) < 0.6
        present[:large] = True
        if v > large:  # one is missing and one is there
            present[-1, 0], present[-1, -1] = False, True
        student[~present] *= 3
        tau_s, tau_t = between(g, 0.6, 0.9), between(g, 0.25, 0.4)
        if kind == "extreme" and sure == "teacher":
            tau_t, teacher = 0.01, 5 * teacher
            teacher[:, 0, 0], teacher[:, 0, 1] = 9, -9
        elif kind == "extreme":
            tau_s, student = 0.01, 5 * student
            student[:, 0, 0], student[:, 0, 1] = -9, 9
        if kind == "extreme" and dtype == F64:  # a shift changes nothing
            student, teacher = student + 1e6, teacher - 1e6
        arrays = {"student": student, "teacher": teacher, "present": present}
        arrays |= {"tau_s": tau_s, "tau_t": tau_t}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(3, 2, 2, 4), (2, 2, 3, 3, F64), (4, 2, 3, 2)]
        extreme = [(3, 2, 2, 3), (3, 2, 2, 4, F32, "student"), (3, 2, 2, 3, F64)]
        slopes = [(3, 2, 2, 3, F64)]
        return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)
    n, v = whole(g, 4, 6), whole(g, 5, 7)
    ordinary = [(v, 2, n, n + 3), (v, 3, n + 1, 4, F64), (2, 2, n, n)]
    ordinary += [(4, 1, 3, n), (3, 3, n, 5, F64)]
    extreme = [(v, 2, n, 5), (4, 3, 2, n, F64), (v, 2, n, 4, F32, "student")]
    slopes = [(v, 2, 3, n, F64), (4, 3, n, 3, F64)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def crops_by_loops(student, teacher, present, tau_s, tau_t):
    total, terms = 0.0, 0
    for i, t in enumerate(teacher.detach().double()):
        for j, s in enumerate(student.double()):
            for n in range(len(s)):
                if i != j and present[j, n]:
                    log_p = F.log_softmax(s[n] / tau_s, dim=-1)
                    total = total - F.softmax(t[n] / tau_t, dim=-1).dot(log_p)
                    terms += 1
    return total / terms


def crops_by_weights(student, teacher, present, tau_s, tau_t):
    with torch.no_grad():
        target = (teacher / tau_t).softmax(2)
    scores = student / tau_s
    dots = (target[:, None] * scores[None]).sum(3)  # (G, V, N)
    pairs = scores.logsumexp(2)[None] - dots
    counts = present.to(pairs.dtype).expand_as(pairs).clone()
    for i in range(len(teacher)):
        counts[i, i] = 0
    return (counts * pairs).sum() / counts.sum()


# --- 9. centring and sharpening -------------------------------------------------------
def cases_centre_and_sharpen(g: Generator, hidden: bool) -> list[Case]:
    def case(m, k, dtype=F32, level=0.0):
        draw = partial(normal, g, dtype=dtype)
        arrays = {"outputs": draw(m, k) + draw(k), "centre": 1.5 * draw(k)}
        arrays = {name: array + level for name, array in arrays.items()}
        arrays["temperature"] = between(g, 0.3, 0.6)
        return make_case("ordinary", **arrays, momentum=between(g, 0.65, 0.85))

    if not hidden:
        return [case(2, 3), case(3, 4, F64), case(3, 3), case(2, 3, F64, 3e7)]
    n = whole(g, 5, 9)
    shapes = [(n, n + 2), (n + 2, n, F64), (n, n), (2 * n, 2), (n, 3, F64, 3e7)]
    return [case(*shape) for shape in shapes]


def centre_by_lerp(outputs, centre, temperature, momentum):
    with torch.no_grad():
        scores = outputs / temperature - centre / temperature
        new = torch.lerp(centre, outputs.sum(0) / len(outputs), 1 - momentum)
        return (scores - scores.logsumexp(1, keepdim=True)).exp(), new


def centre_by_loops(outputs, centre, temperature, momentum):
    said, mean = [], torch.zeros_like(centre)
    for row in outputs.detach():
        e = ((row - centre) / temperature).double().exp()
        said.append(e / e.sum())
        mean = mean + row / len(outputs)
    return torch.stack(said), centre + (1 - momentum) * (mean - centre)


# --- 10. the linear network -----------------------------------------------------------
def cases_linear_network(g: Generator, hidden: bool) -> list[Case]:
    def case(count):
        noise = uniform(g, count, low=0.3, high=0.9, dtype=F64)
        lag = uniform(g, count, low=0.6, high=0.95, dtype=F64)
        largest = lag.square() / (4 * (1 + noise.square()))
        decay = largest * uniform(g, count, low=0.2, high=0.8, dtype=F64)
        return make_case("ordinary", noise=noise, decay=decay, lag=lag)

    return [case(whole(g, 3, 5)), case(1)] if hidden else [case(2)]


def linear_by_bisection(noise, decay, lag):
    """Finds the zeros of the bracket c p - (1 + s^2) p^2 - eta by halving intervals."""

    def bracket(p):
        return lag * p - (1 + noise**2) * p**2 - decay

    def zero(below, above):
        for _ in range(80):
            middle = (below + above) / 2
            below, above = (middle, above) if bracket(middle) < 0 else (below, middle)
        return middle

    top = lag / (1 + noise**2) / 2  # there the bracket is largest
    return bracket(top) + decay, zero(2 * top, top), zero(0, top), bracket(1)


def linear_rearranged(noise, decay, lag):
    v = noise**2
    alive = lag / (2 + 2 * v) * (1 + (1 - 4 * decay * (1 + v) / lag**2) ** 0.5)
    largest = 0.25 * lag * lag / (1 + v)
    return largest, alive, decay / (alive * (1 + v)), lag - 1 - v - decay


# --- 11. numbers by heart -------------------------------------------------------------
def cases_numbers_by_heart(g: Generator, hidden: bool) -> list[Case]:
    names = ("prototypes", "large", "small", "share")
    if not hidden:
        numbers = [8, 64], [2, 3], [6, 4], [0.25, 0.19]
        return [make_case("ordinary", **dict(zip(names, numbers)))]
    asked = range(whole(g, 3, 5))
    ends = ((5, 2000), (2, 5), (3, 10))
    wholes = [[whole(g, low, high) for _ in asked] for low, high in ends]
    share = uniform(g, len(asked), low=0.1, high=0.4, dtype=F64)
    rows = (*wholes, share), ([5], [2], [0], [0.3])
    return [make_case("ordinary", **dict(zip(names, row))) for row in rows]


def numbers_by_torch(prototypes, large, small, share):
    one, ideal = torch.eye(prototypes)[[0] * prototypes], torch.eye(prototypes)
    even = torch.full((prototypes, prototypes), 1 / prototypes)
    entropies = []
    for p in (one, ideal):
        entropies += [torch.special.entr(p).sum(1).mean()]
        entropies += [torch.special.entr(p.mean(0)).sum()]
    losses = [-torch.xlogy(p, p).sum(1).mean() for p in (one, even)]
    views = range(large + small)
    compared = sum(i != j for i in range(large) for j in views)
    cost = sum(2.0 if j < large else share for j in views)
    return [*entropies, *losses, compared, cost]


def numbers_rearranged(prototypes, large, small, share):
    log_k, pairs = -math.log(1 / prototypes), large * (large - 1) + large * small
    return 0, 0, 0, log_k, 0, log_k, pairs, large * (2 + share * small / large)


# --- the sheet ------------------------------------------------------------------------
STUDENT_ONLY = gradient(2, "has the right gradient, for the student only")
PREDICTIONS_ONLY = gradient(2, "has the right gradient, for the predictions only")
THROUGH = "lets the gradient through the predictions, and nothing else"
CENTRE = "gives the right centre for the next batch"
KNOWLEDGE, BARLOW = "distillation.knowledge", "redundancy.barlow_twins"


def right(points: int, name: str = "values", output: str = "value") -> Property:
    """Returns the property that an output is right, and float64 for float64 input."""
    return Property(f"gives the right {name}", points, outputs=(output, "float64"))


SHEET: list[Master] = [
    Master(
        "soft_targets",
        (
            right(2),
            Property("leaves its argument alone", 1, outputs=("unchanged",)),
            Property("stays right for large logits", 1, "extreme"),
            gradient(1),
        ),
        cases_soft_targets,
        (soft_by_logsumexp, soft_by_loops),
        library(KNOWLEDGE, "soft_targets", "distillation_loss"),
    ),
    Master(
        "distillation_loss",
        (
            right(3),
            UNCHANGED,
            Property("stays right for very sure networks", 1, "extreme"),
            STUDENT_ONLY,
        ),
        cases_distillation_loss,
        (distill_by_kl_div, distill_by_loops),
        library(
            KNOWLEDGE, "soft_targets", "distillation_loss", "KnowledgeDistillation"
        ),
    ),
    Master(
        "ema_update",
        (
            Property(
                "averages target and online network", 2, outputs=("value", "float64")
            ),
            Property("follows the schedule", 1, "schedule"),
            UNCHANGED,
            Property("keeps no gradient", 2, outputs=("without",)),
        ),
        cases_ema_update,
        (ema_by_lerp, ema_in_double),
        library("teacher", "ema", "cosine_momentum"),
    ),
    Master(
        "byol_loss",
        (right(2), UNCHANGED, PREDICTIONS_ONLY),
        cases_byol_loss,
        (byol_by_sums, byol_by_loops),
        library("distillation.byol", "byol_loss", "BYOL"),
    ),
    Master(
        "simsiam_loss",
        (right(2), Property(THROUGH, 3, outputs=("gradient", "unchanged"))),
        cases_simsiam_loss,
        (siam_together, siam_encoded_twice),
        library("distillation.simsiam", "negative_cosine", "SimSiam"),
    ),
    Master(
        "barlow_twins",
        (
            right(2, "matrix", "matrix"),
            Property("gives the right loss", 1),
            UNCHANGED,
            Property(
                "gives 0 for a dead feature", 1, "dead", ("matrix", "value", "finite")
            ),
            gradient(1),
        ),
        cases_barlow_twins,
        (barlow_by_cov, barlow_by_roots),
        library(BARLOW, "cross_correlation", "barlow_twins_loss", "BarlowTwins"),
    ),
    Master(
        "vicreg_terms",
        (
            right(2, "variance", "variance"),
            Property("gives the right covariance", 2, outputs=("covariance",)),
            Property("gives the right invariance", 1, outputs=("invariance",)),
            UNCHANGED,
            gradient(1),
        ),
        cases_vicreg_terms,
        (vicreg_by_torch, vicreg_by_loops),
    ),
    Master(
        "multicrop_loss",
        (
            right(2),
            UNCHANGED,
            Property("stays right at low temperatures", 1, "extreme"),
            STUDENT_ONLY,
        ),
        cases_multicrop_loss,
        (crops_by_loops, crops_by_weights),
        library("distillation.dino", "dino_loss", "DINO"),
    ),
    Master(
        "centre_and_sharpen",
        (
            right(2, "probabilities", "probabilities"),
            Property(CENTRE, 2, outputs=("centre",)),
            UNCHANGED,
            Property("keeps no gradient", 1, outputs=("without",)),
        ),
        cases_centre_and_sharpen,
        (centre_by_lerp, centre_by_loops),
        library("distillation.dino", "dino_loss", "DINO"),
    ),
    Master(
        "linear_network",
        (
            question("knows where it stays alive (b)", "alive"),
            question("knows the largest decay (a)", "largest"),
            question("knows where it collapses (c)", "threshold"),
            question("knows the rate (d)", "rate"),
        ),
        cases_linear_network,
        (linear_by_bisection, linear_rearranged),
    ),
    Master(
        "numbers_by_heart",
        (
            question("knows the entropies (a to d)", "entropies"),
            question("knows the losses (e, f)", "losses"),
            question("counts the pairs (g)", "pairs"),
            question("knows the cost (h)", "cost"),
        ),
        cases_numbers_by_heart,
        (numbers_by_torch, numbers_rearranged),
    ),
]
