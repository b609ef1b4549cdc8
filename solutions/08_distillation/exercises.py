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

drive_soft_targets = partial(
    on_case, tensors=("logits",), settings=("temperature",), flows=("logits",)
)
drive_distillation_loss = partial(
    on_case,
    tensors=("student", "teacher", "labels"),
    settings=("temperature", "soft"),
    flows=("student",),
    stops=("teacher",),
)


def drive_ema_update(answer, a: Arrays) -> Arrays:
    """`target 0`, `target 1`, ... and `online 0`, ..., which want a gradient; start,
    progress. `value I`: the new ones; `unchanged ...`: whether the lists hold the
    tensors they held, and these are as they were; `detached`: whether all that comes
    back is without gradient."""
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
    return {f"value {i}": part for i, part in enumerate(new)} | {
        "unchanged lists": [*map(id, given[0] + given[1])] == [*map(id, tensors)],
        "unchanged target": all(same[:n]),
        "unchanged online": all(same[n:]) and wanting,
        "detached": _detached(new),
    }


def _detached(tensors) -> bool:
    return not any(getattr(tensor, "requires_grad", False) for tensor in tensors)


drive_byol_loss = partial(
    on_case, tensors=("p1", "p2", "z1", "z2"), flows=("p1", "p2"), stops=("z1", "z2")
)


def drive_simsiam_loss(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and predictor from the weights. `gradient ...`: of
    these."""
    names = ("encoder", "encoder bias", "predictor", "predictor bias")
    weights = {name: a[name].requires_grad_() for name in names}

    def encoder(x):
        return (x @ weights["encoder"] + weights["encoder bias"]).tanh()

    def predictor(z):
        return z + (z @ weights["predictor"] + weights["predictor bias"]).sin()

    value = answer(encoder, predictor, a["view1"], a["view2"])
    return {"value": value} | gradients(value, weights)


def drive_barlow_twins(answer, a: Arrays) -> Arrays:
    """`matrix`: the first thing that comes back; `value`, gradients: of the second."""
    matrices = []

    def loss(z1, z2, off_diagonal):
        came = parts(answer(z1, z2, off_diagonal), ("matrix", "loss"))
        matrices.append(came[0])
        return came[1]

    outputs = on_case(loss, a, ("z1", "z2"), ("off_diagonal",), flows=("z1", "z2"))
    return {"matrix": matrices[0]} | outputs


drive_multicrop_loss = partial(
    on_case,
    tensors=("student", "teacher"),
    settings=("tau_s", "tau_t"),
    flows=("student",),
    stops=("teacher",),
)


def drive_centre_and_sharpen(answer, a: Arrays) -> Arrays:
    """`probabilities`, `centre`: what comes back; `detached`: whether both are without
    gradient, though the outputs want one."""
    a["outputs"].requires_grad_()
    tensors, settings = ("outputs", "centre"), ("temperature", "momentum")
    names = ("probabilities", "centre")
    found = on_case(answer, a, tensors, settings, names=names)
    return found | {"detached": _detached(found[name] for name in names)}


drive_numbers_by_heart = partial(
    by_number,
    given=("prototypes", "large", "small", "share"),
    groups={"entropies": "ab", "losses": "cd", "pairs": "e", "cost": "f"},
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
    values,
)


# --- 1. soft targets ------------------------------------------------------------------
def cases_soft_targets(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, dtype=F32, low=2.0, high=4.0):
        logits = 3 * normal(g, n, c, dtype=dtype) + 1
        if kind == "extreme":  # overflow in one row, and another far below it
            # float32 says 9000 to 0.001 only: no fault of an answer
            level = 9e3 if dtype == F64 else 450
            logits[0] += level
            logits[1] -= level
        t = between(g, low, high)
        cotangent = partial(normal, g, n, c, dtype=dtype)
        return make_case(kind, cotangent, logits=logits, temperature=t)

    if not hidden:
        ordinary = [(2, 3), (3, 3, F64), (3, 2, F32, 0.3, 0.5)]
        extreme, slopes = [(3, 4), (2, 2, F64)], [(2, 3, F64)]
        return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)
    n = whole(g, 4, 8)
    ordinary = [(n, n + 2), (n + 3, n), (n, n, F64), (n, 5, F32, 0.3, 0.5)]
    extreme = [(n, 5, F32, 1.5), (2, n, F64)]
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
        if soft is None:
            soft = between(g, 0.2, 0.35) if whole(g, 0, 1) else between(g, 0.65, 0.8)
        labels, temperature = torch.randint(0, c, (n,), generator=g), between(g, 2, 4)
        arrays = {"student": student, "teacher": teacher, "labels": labels}
        arrays |= {"temperature": temperature, "soft": soft}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(2, 3), (3, 3, F64), (3, 2, F32, 1.0)]
        extreme, slopes = [(2, 3), (3, 3, F32, None, "student")], [(2, 3, F64)]
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
    def case(kind, *shapes, dtype=F32, at=0.0):
        draw = partial(normal, g, dtype=dtype)
        arrays = {f"target {i}": 2 + draw(*s) for i, s in enumerate(shapes)}
        arrays |= {f"online {i}": 2 * draw(*s) - 1 for i, s in enumerate(shapes)}
        return make_case(kind, **arrays, start=between(g, 0.65, 0.85), progress=at)

    if not hidden:
        return [
            case("ordinary", (2, 3), (3,)),
            case("ordinary", (2,), (2,), (1, 2), dtype=F64),
            case("schedule", (2, 2), (2,), at=0.4),
            case("schedule", (3,), at=0.75, dtype=F64),
            case("schedule", (2,), at=1.0),
        ]
    n = whole(g, 4, 7)
    return [
        case("ordinary", (n, 5), (5,), (5, n), (n,)),
        case("ordinary", (n, 3, 2, 2), (), (n, n), dtype=F64),
        case("ordinary", (1,)),
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
    def case(kind, n, d, dtype=F32):
        def rows():
            lengths = uniform(g, n, 1, low=0.6, high=2.4, dtype=F64)
            unit = F.normalize(normal(g, n, d, dtype=F64) + 0.3, dim=1)
            return (unit * lengths).to(dtype)

        arrays = {name: rows() for name in ("p1", "p2", "z1", "z2")}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        return make_cases(case, ordinary=[(2, 3), (3, 4, F64)], gradient=[(2, 3, F64)])
    n = whole(g, 4, 8)
    ordinary = [(n, n + 2), (n + 3, n, F64), (n, n), (n, 2)]
    return make_cases(case, ordinary=ordinary, gradient=[(n, 5, F64), (3, n, F64)])


def byol_together(p1, p2, z1, z2):
    p, z = (F.normalize(torch.cat(views), dim=1) for views in ((p1, p2), (z2, z1)))
    return 2 * F.mse_loss(p, z.detach(), reduction="sum") / len(p)


def byol_by_loops(p1, p2, z1, z2):
    total = 0.0
    for p, z in ((p1, z2), (p2, z1)):
        for u, v in zip(p.double(), z.detach().double()):
            total = total + 2 - 2 * u.dot(v) / (u.dot(u) * v.dot(v)).sqrt()
    return total / len(p1)


# --- 5. SimSiam -----------------------------------------------------------------------
def cases_simsiam_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(n, inputs, d, dtype=F64):
        draw = partial(normal, g, dtype=dtype)
        arrays = {"encoder": 0.7 * draw(inputs, d), "encoder bias": draw(d)}
        arrays |= {"predictor": draw(d, d), "predictor bias": draw(d)}
        view1 = draw(n, inputs)
        view2 = view1 + 0.8 * draw(n, inputs)
        return make_case("ordinary", **arrays, view1=view1, view2=view2)

    if not hidden:
        return [case(2, 3, 3), case(3, 2, 4), case(3, 3, 2, F32)]
    n = whole(g, 4, 8)
    shapes = (n, 5, n + 1), (n + 2, n, 4), (n, n, n, F32), (n + 1, 2, 2)
    return [case(*shape) for shape in shapes]


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
    def case(kind, n, d, dtype=F32, dead=((), ())):
        first = normal(g, n, d, dtype=F64)
        views = [first, 0.6 * first + normal(g, n, d, dtype=F64)]
        for view, columns in zip(views, dead):
            view -= view.mean(0)
            # no feature is nearly dead, so no small number below matters
            view /= view.std(0, correction=0)
            view *= uniform(g, d, low=0.6, high=2, dtype=F64)
            view += uniform(g, d, low=0.5, high=2, dtype=F64)
            view[:, list(columns)] = 0
        arrays = {"z1": views[0].to(dtype), "z2": views[1].to(dtype)}
        arrays["off_diagonal"] = between(g, 0.1, 0.4)
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        dead = [(4, 3, F32, ([1], [])), (5, 3, F32, ([0], [0, 2]))]
        ordinary = [(4, 3), (5, 2, F64), (4, 4)]
        return make_cases(case, ordinary=ordinary, dead=dead, gradient=[(4, 3, F64)])
    n = whole(g, 6, 9)
    ordinary = [(n, n - 2), (n, n + 2), (n, n, F64), (n, 2)]
    return [
        *make_cases(case, ordinary=ordinary),
        case("dead", n, 5, dead=([whole(g, 0, 4)], [])),
        case("dead", n + 1, 4, F64, dead=([], [whole(g, 0, 1), 3])),
        case("dead", n, 4, dead=([2], [2])),
        *make_cases(case, gradient=[(n, 5, F64), (n, n + 1, F64)]),
    ]


def barlow_by_batch_norm(z1, z2, off_diagonal):
    z1, z2 = (F.batch_norm(z, None, None, training=True, eps=1e-8) for z in (z1, z2))
    c = torch.einsum("ni,nj->ij", z1, z2) / len(z1)
    one = torch.eye(len(c), dtype=c.dtype)
    return c, ((off_diagonal + (1 - off_diagonal) * one) * (c - one).square()).sum()


def barlow_over_less_in_both(z1, z2, off_diagonal):
    """In float64, with N - 1 in the covariance and in both deviations: it cancels."""
    z1, z2 = (z.double() - z.double().mean(0) for z in (z1, z2))
    c = z1.T @ z2 / (len(z1) - 1)
    c = c / (z1.var(0) + 1e-12).sqrt()[:, None] / (z2.var(0) + 1e-12).sqrt()
    itself = torch.eye(len(c), dtype=torch.bool)
    return [c, ((c[itself] - 1) ** 2).sum() + off_diagonal * c[~itself].pow(2).sum()]


# --- 7. multi-crop --------------------------------------------------------------------
def cases_multicrop_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, v, large, n, k, dtype=F32, sure="teacher"):
        student = normal(g, v, n, k, dtype=dtype)
        teacher = 0.7 * normal(g, large, n, k, dtype=dtype)
        tau_s, tau_t = between(g, 0.6, 0.9), between(g, 0.25, 0.4)
        if kind == "extreme" and sure == "teacher":
            tau_t, teacher = 0.01, 5 * teacher
            teacher[:, 0, 0], teacher[:, 0, 1] = 9, -9
        elif kind == "extreme":
            tau_s, student = 0.01, 5 * student
            student[:, 0, 0], student[:, 0, 1] = -9, 9
        arrays = {"student": student, "teacher": teacher}
        arrays |= {"tau_s": tau_s, "tau_t": tau_t}
        return make_case(kind, partial(between, g, 1.2, 2), **arrays)

    if not hidden:
        ordinary = [(3, 2, 2, 4), (2, 2, 3, 3, F64), (4, 2, 3, 2)]
        extreme = [(3, 2, 2, 3), (3, 2, 2, 4, F32, "student")]
        slopes = [(3, 2, 2, 3, F64)]
        return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)
    n, v = whole(g, 4, 6), whole(g, 5, 7)
    ordinary = [(v, 2, n, n + 3), (v, 3, n + 1, 4, F64), (2, 2, n, n)]
    ordinary += [(4, 1, 3, n), (3, 3, n, 5, F64)]
    extreme = [(v, 2, n, 5), (4, 3, 2, n, F64), (v, 2, n, 4, F32, "student")]
    slopes = [(v, 2, 3, n, F64), (4, 3, n, 3, F64)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def crops_by_loops(student, teacher, tau_s, tau_t):
    total, pairs = 0.0, 0
    for i, t in enumerate(teacher.detach().double()):
        for j, s in enumerate(student.double()):
            if i != j:
                each_k = F.softmax(t / tau_t, dim=-1) * F.log_softmax(s / tau_s, dim=-1)
                total, pairs = total - each_k.sum(dim=-1).mean(), pairs + 1
    return total / pairs


def crops_by_masks(student, teacher, tau_s, tau_t):
    with torch.no_grad():
        target = (teacher / tau_t).softmax(2)
    scores = student / tau_s
    mine = torch.arange(len(teacher))[:, None] == torch.arange(len(student))
    dots = (target[:, None] * scores[None]).sum(3)  # (G, V, N)
    pairs = (scores.logsumexp(2)[None] - dots).mean(2)
    return pairs.masked_fill(mine, 0).sum() / (~mine).sum()


# --- 8. centring and sharpening -------------------------------------------------------
def cases_centre_and_sharpen(g: Generator, hidden: bool) -> list[Case]:
    def case(m, k, dtype=F32):
        draw = partial(normal, g, dtype=dtype)
        arrays = {"outputs": draw(m, k) + draw(k), "centre": 1.5 * draw(k)}
        arrays["temperature"] = between(g, 0.3, 0.6)
        return make_case("ordinary", **arrays, momentum=between(g, 0.65, 0.85))

    if not hidden:
        return [case(2, 3), case(3, 4, F64), case(3, 3)]
    n = whole(g, 5, 9)
    return [case(n, n + 2), case(n + 2, n, F64), case(n, n), case(2 * n, 2)]


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


# --- 9. numbers by heart --------------------------------------------------------------
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
    even, sure = torch.full((prototypes,), 1 / prototypes), torch.eye(prototypes)[0]
    pairs = (sure, sure), (even, even), (sure, sure), (sure, even)
    entropies = [-torch.xlogy(p, q).sum() for p, q in pairs]
    views = range(large + small)
    compared = sum(i != j for i in range(large) for j in views)
    return [*entropies, compared, sum(2.0 if j < large else share for j in views)]


def numbers_rearranged(prototypes, large, small, share):
    log_k, pairs = -math.log(1 / prototypes), large * (large - 1) + large * small
    return 0, log_k, 0, log_k, pairs, large * (2 + share * small / large)


# --- the sheet ------------------------------------------------------------------------
STUDENT_ONLY = gradient(2, "has the right gradient, for the student only")
PREDICTIONS_ONLY = gradient(2, "has the right gradient, for the predictions only")
THROUGH = "lets the gradient through the predictions, and nothing else"
CENTRE = "gives the right centre for the next batch"
KNOWLEDGE, BARLOW = "distillation.knowledge", "redundancy.barlow_twins"

SHEET: list[Master] = [
    Master(
        "soft_targets",
        (
            values(2),
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
            values(3),
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
            Property("averages target and online network", 2),
            Property("follows the schedule", 1, "schedule"),
            UNCHANGED,
            Property("keeps no gradient", 2, outputs=("detached",)),
        ),
        cases_ema_update,
        (ema_by_lerp, ema_in_double),
        library("teacher", "ema", "cosine_momentum"),
    ),
    Master(
        "byol_loss",
        (values(2), UNCHANGED, PREDICTIONS_ONLY),
        cases_byol_loss,
        (byol_together, byol_by_loops),
        library("distillation.byol", "byol_loss", "BYOL"),
    ),
    Master(
        "simsiam_loss",
        (values(2), Property(THROUGH, 3, outputs=("gradient",))),
        cases_simsiam_loss,
        (siam_together, siam_encoded_twice),
        library("distillation.simsiam", "negative_cosine", "SimSiam"),
    ),
    Master(
        "barlow_twins",
        (
            Property("gives the right matrix", 2, outputs=("matrix",)),
            Property("gives the right loss", 1),
            UNCHANGED,
            Property("gives 0 for a dead feature", 1, "dead", ("matrix", "value")),
            gradient(1),
        ),
        cases_barlow_twins,
        (barlow_by_batch_norm, barlow_over_less_in_both),
        library(BARLOW, "cross_correlation", "barlow_twins_loss", "BarlowTwins"),
    ),
    Master(
        "multicrop_loss",
        (
            values(2),
            UNCHANGED,
            Property("stays right at low temperatures", 1, "extreme"),
            STUDENT_ONLY,
        ),
        cases_multicrop_loss,
        (crops_by_loops, crops_by_masks),
        library("distillation.dino", "dino_loss", "DINO"),
    ),
    Master(
        "centre_and_sharpen",
        (
            Property("gives the right probabilities", 2, outputs=("probabilities",)),
            Property(CENTRE, 2, outputs=("centre",)),
            UNCHANGED,
            Property("keeps no gradient", 1, outputs=("detached",)),
        ),
        cases_centre_and_sharpen,
        (centre_by_lerp, centre_by_loops),
        library("distillation.dino", "dino_loss", "DINO"),
    ),
    Master(
        "numbers_by_heart",
        (
            Property("knows the entropies (a, b)", 1, outputs=("entropies",)),
            Property("knows the losses (c, d)", 1, outputs=("losses",)),
            Property("counts the pairs (e)", 1, outputs=("pairs",)),
            Property("knows the cost (f)", 1, outputs=("cost",)),
        ),
        cases_numbers_by_heart,
        (numbers_by_torch, numbers_rearranged),
    ),
]
