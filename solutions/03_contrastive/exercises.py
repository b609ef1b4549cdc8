"""Exercises 03, contrastive learning: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

import torch
from torch import Tensor, nn

from course_lib.grading.drive import Arrays, gradients, layer, named_parameters, on_case
from course_lib.grading.probes import careful


def on_arrays(*tensors: str, settings=(), flows=()):
    return careful(partial(on_case, tensors=tensors, settings=settings, flows=flows))


def drive_cosine_similarity_matrix(answer, a: Arrays) -> Arrays:
    """`finite ...`: whether no gradient is NaN or infinite. A case with rows of zeros
    has `pull` as its cotangent: there the cosine jumps, so it has no slope."""
    jumps = "pull" in a
    if jumps:
        a = a | {"cotangent": a["pull"]}
    outputs = on_arrays("a", "b", flows=("a", "b"))(answer, a)
    if jumps:
        outputs.pop("slope", None)
    found = [value for key, value in outputs.items() if key.startswith("gradient")]
    finite = all(value.isfinite().all() for value in found)
    return outputs | {"finite in its gradient at each row": finite}


drive_info_nce = on_arrays("scores", flows=("scores",))
drive_nt_xent = on_arrays("z1", "z2", settings=("temperature",), flows=("z1", "z2"))


def drive_update_bank(answer, a: Arrays) -> Arrays:
    """v wants a gradient. `unchanged v`: whether it still does after the call;
    `detached`: whether the result wants none."""
    wants = []

    def watched(bank, rows, v, momentum):
        value = answer(bank, rows, v, momentum)
        wants.append(v.requires_grad)
        return value

    a["v"].requires_grad_()
    outputs = on_case(watched, a, ("bank", "rows", "v"), ("momentum",))
    detached = not getattr(outputs["value"], "requires_grad", False)
    return outputs | {"unchanged v": all(wants), "detached": detached}


drive_knn_vote = on_arrays(
    "train", "train_labels", "test", settings=("k", "classes", "temperature")
)
drive_mi_bound = on_arrays("losses", settings=("negatives",), flows=("losses",))


def drive_TwoViews(answer, a: Arrays) -> Arrays:
    """Builds the method around two tiny networks. A case with `x` asks for a loss, one
    with `unseen` for `encode`.

    `value`: the loss; `part of a graph`: whether it requires grad; `gradient ...`: of
    each of the networks' four parameters; `parameters`: how many numbers the method
    would give the optimiser, -1 where it is no torch module, and how many of them
    belong to the given networks and not to copies. `represent`: what encode returns,
    and whether picture and networks are as before.
    """
    f, g = (
        layer(nn.Linear, a[f"{name} weight"], a[f"{name} bias"])
        for name in ("encoder", "projector")
    )
    encoder = nn.Sequential(nn.Flatten(), f, nn.Tanh())
    projector = nn.Sequential(g, nn.Tanh())
    x = a.get("x", a.get("unseen"))
    views = _Views(a["scale"], a["shift"], len(x))
    method = answer(encoder, projector, views, _contrast)
    if "unseen" in a:
        before = x.clone()
        outputs = {"represent": method.encode(x)}
        same = torch.equal(x, before) and not x.requires_grad
        outputs["in training mode afterwards"] = encoder.training and projector.training
        return outputs | {"unchanged": torch.tensor(same)}
    value = method.loss(x, torch.arange(len(x)))
    outputs = {
        "value": value,
        "part of a graph": getattr(value, "requires_grad", False),
    }
    known = list(method.parameters()) if isinstance(method, nn.Module) else None
    given = {id(p) for p in (*f.parameters(), *g.parameters())}
    for name, counted in (
        ("parameters", known),
        (
            "parameters of the given networks",
            known and [p for p in known if id(p) in given],
        ),
    ):
        outputs[name] = -1 if counted is None else sum(p.numel() for p in counted)
    return outputs | gradients(value, named_parameters(encoder=f, projector=g))


drive_uniformity = on_arrays("z", settings=("t",), flows=("z",))
drive_hardest_triplet = on_arrays("z1", "z2", settings=("margin",), flows=("z1", "z2"))
drive_multi_view_nt_xent = on_arrays("z", settings=("temperature",), flows=("z",))


class _Views:
    """Stands for a random augmentation: the first N pictures it is given get one map,
    the next N another, and so on."""

    def __init__(self, scale: Tensor, shift: Tensor, pictures: int):
        self.maps, self.pictures, self.seen = (scale, shift), pictures, 0

    def __call__(self, x: Tensor) -> Tensor:
        turn = torch.arange(self.seen, self.seen + len(x)) // self.pictures
        self.seen += len(x)
        turn = turn.clamp(max=len(self.maps[0]) - 1)
        scale, shift = (of[turn].view(-1, 1, 1, 1) for of in self.maps)
        return x * scale + shift


def _contrast(z1: Tensor, z2: Tensor) -> Tensor:
    """No loss of any paper. It treats both views alike, and no more is needed here."""
    weight = torch.arange(1, z1.shape[1] + 1, dtype=z1.dtype)
    return ((z1 - z2).square() @ weight).mean() + (z1 * z2).sum(1).sin().mean()


# --- private: what stands above is given to students ----------------------------------

import math

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
    values,
)
from course_lib.train import Method


def rows_of_all_lengths(g: Generator, n: int, d: int, dtype=F32) -> Tensor:
    """n rows whose lengths differ by up to a factor of four, none of them near zero."""
    lengths = uniform(g, n, 1, low=0.6, high=2.4, dtype=F64)
    return (F.normalize(normal(g, n, d, dtype=F64), dim=1) * lengths).to(dtype)


# --- 1. cosine similarity -------------------------------------------------------------
def cases_cosine_similarity_matrix(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, dtype=F32, zeros=((), ()), lengths=(1.0, 1.0)):
        a, b = (rows_of_all_lengths(g, rows, d, dtype) for rows in (n, m))
        a[list(zeros[0])] = b[list(zeros[1])] = 0
        a, b = a * lengths[0], b * lengths[1]
        pull = {"pull": normal(g, n, m, dtype=dtype)} if any(zeros) else {}
        return make_case(kind, lambda: normal(g, n, m, dtype=dtype), a=a, b=b, **pull)

    if not hidden:
        return [
            case("ordinary", 3, 2, 4),
            case("ordinary", 3, 4, 3, F64),
            case("zero rows", 3, 2, 4, zeros=([1], [])),
            case("zero rows", 2, 3, 3, zeros=([0], [2])),
            case("zero rows", 2, 2, 3, lengths=(1e-5, 1e-5)),
            case("zero rows", 2, 2, 4, F64, lengths=(1e25, 1e25)),
            case("gradient", 2, 3, 4, F64),
            case("ordinary", 3, 3, 2),
        ]
    n = whole(g, 5, 9)
    return [
        case("ordinary", n, n + whole(g, 1, 4), 2),
        case("ordinary", n + 1, n - whole(g, 1, 3), n + whole(g, 3, 7)),
        case("ordinary", 1, whole(g, 5, 8), 5),
        case("ordinary", whole(g, 5, 8), 1, 6, F64),
        case("ordinary", n, n, 5, F64),
        case("zero rows", n, 5, 6, zeros=([whole(g, 0, n - 1)], [])),
        case("zero rows", 5, n, 2, F64, zeros=([0, 3], [whole(g, 0, n - 1)])),
        case("zero rows", n, n, 3, lengths=(1e-5, 3e-5)),
        case("zero rows", 1, n, 7, F64, lengths=(1e-5, 1.0)),
        case("zero rows", n + 1, 4, 3, F64, lengths=(1e25, 2e25)),
        case("gradient", n, n + 2, 5, F64),
        case("gradient", n + 1, n, 12),
        case("gradient", 1, n, 2, F64),
    ]


def cosine_by_einsum(a, b):
    lengths = torch.einsum("n,m->nm", a.norm(dim=1), b.norm(dim=1))
    return torch.einsum("nd,md->nm", a, b) / lengths.clamp(min=1e-20)


def cosine_by_library(a, b):
    return torch.cosine_similarity(a[:, None], b[None], dim=2)


def cosine_by_loops(a, b):
    def cosine(u, v):
        return u.dot(v) / (u.norm() * v.norm() + 1e-30)

    rows = [[cosine(u, v) for v in b.double()] for u in a.double()]
    return torch.stack([torch.stack(row) for row in rows])


# --- 2. InfoNCE -----------------------------------------------------------------------
def cases_info_nce(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, dtype=F32, scale=2.0, level=0.0):
        scores = scale * normal(g, n, n, dtype=dtype) + level
        if kind == "extreme" and not level:
            # overflow and underflow in the first row, whatever the rest is
            scores = scores.clamp(-1e4, 1e4)
            scores[0, 0], scores[0, 1] = -1e4, 1e4
        return make_case(kind, lambda: 1.5, scores=scores)

    if not hidden:
        return [
            case("ordinary", 3),
            case("ordinary", 4, F64),
            case("ordinary", 5, scale=0.0),
            case("extreme", 3, scale=5e3),
            case("gradient", 4, F64),
            case("extreme", 4, level=120.0),  # one maximum for all rows is enough here
            case("extreme", 3, F64, level=1e6),
        ]
    n = whole(g, 3, 6)
    return [
        case("ordinary", 1),
        case("ordinary", 2 * n),
        case("ordinary", 2 * n + 1, F64, scale=4.0),
        case("ordinary", 2, F64),
        case("ordinary", 2 * n + 3, scale=0.5),
        case("extreme", 2 * n, scale=5e3),
        case("extreme", 2, scale=1e3),
        case("extreme", 2 * n + 1, F64, scale=5e3),
        case("gradient", 2 * n + 1, F64),
        case("gradient", 2 * n),
        case("extreme", 2 * n + 2, level=-120.0),
        case("extreme", 2 * n + 3, F64, level=1e6),
        case("extreme", 2, F64, level=-1e6),
    ]


def infonce_by_cross_entropy(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))


def infonce_maximum_subtracted(scores):
    shifted = scores.double() - scores.double().max(1, keepdim=True).values
    losses = shifted.exp().sum(1).log() - shifted.diagonal()
    return losses.mean().to(scores.dtype)


def infonce_by_loops(scores):
    losses = [torch.logsumexp(row, 0) - row[i] for i, row in enumerate(scores)]
    return sum(losses) / len(losses)


# --- 3. NT-Xent -----------------------------------------------------------------------
def cases_nt_xent(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, temperature, dtype=F32, layout=""):
        z1, z2 = (rows_of_all_lengths(g, n, d, dtype) for _ in range(2))
        if layout == "opposite":  # only a mask of -inf takes a view itself out
            z2 = 0.02 * z2 - 1.3 * z1
        elif layout == "alike":  # one maximum for all rows is enough here
            z1, z2 = z1[:1] + 0.02 * z1, z1[:1] + 0.02 * z2
        elif layout == "nearly equal":
            z1, z2 = z1[:1] + 0.001 * z1, z1[:1] + 0.001 * z2
        elif layout == "short":
            z1, z2 = 1e-5 * z1, 1e-5 * z2
        elif kind == "extreme":
            # one pair exactly opposite, far from the rest; one almost equal
            u = z1[0] / z1[0].norm()
            z1[1:] -= 0.9 * (z1[1:] @ u)[:, None] * u
            z2 -= 0.9 * (z2 @ u)[:, None] * u
            z2[0], z2[1] = -2 * z1[0], 1.01 * z1[1]
        return make_case(kind, lambda: 1.5, z1=z1, z2=z2, temperature=temperature)

    if not hidden:
        return [
            case("ordinary", 3, 4, 0.5),
            case("ordinary", 4, 3, 0.2, F64),
            case("extreme", 4, 4, 0.005),
            case("gradient", 3, 4, 0.5, F64),
            case("ordinary", 1, 3, 1.0, layout="opposite"),
            case("extreme", 1, 3, 0.005, layout="opposite"),
            case("extreme", 3, 3, 0.005, layout="alike"),
            case("extreme", 3, 4, 1e-6, F64, layout="nearly equal"),
            case("ordinary", 3, 4, 0.5, layout="short"),
        ]
    n = whole(g, 3, 6)
    return [
        case("ordinary", 1, 5, between(g, 0.2, 0.8)),
        case("ordinary", 2 * n, 2 * n + whole(g, 2, 6), between(g, 0.05, 0.15)),
        case("ordinary", 2 * n + 1, whole(g, 5, 6), between(g, 0.3, 0.45)),
        case("ordinary", 2 * n - 1, 2, between(g, 0.55, 0.8), F64),
        case("ordinary", 2, 5, between(g, 0.55, 0.8), F64),
        case("extreme", 2 * n, 6, 0.004),
        case("extreme", 2 * n + 1, 9, 0.006),
        case("gradient", 2 * n, 7, between(g, 0.25, 0.45), F64),
        case("gradient", 2 * n + 1, 5, between(g, 0.55, 0.8)),
        case("ordinary", 1, 4, between(g, 0.3, 0.5), layout="opposite"),
        case("extreme", 1, whole(g, 5, 7), 0.004, layout="opposite"),
        case("extreme", n + 1, whole(g, 5, 7), 0.006, layout="alike"),
        case("extreme", n + 1, whole(g, 5, 7), 1e-6, F64, layout="nearly equal"),
        case("ordinary", n + 1, 5, between(g, 0.3, 0.8), layout="short"),
        case("ordinary", n, 6, between(g, 0.3, 0.8), F64, layout="short"),
    ]


def ntxent_by_loops(z1, z2, temperature):
    z = torch.cat([z1, z2])
    z, n, losses = z / z.norm(dim=1, keepdim=True), len(z1), []
    for i in range(2 * n):
        scores = [z[i] @ z[k] / temperature for k in range(2 * n) if k != i]
        positive = z[i] @ z[(i + n) % (2 * n)] / temperature
        losses.append(torch.logsumexp(torch.stack(scores), 0) - positive)
    return torch.stack(losses).mean()


def ntxent_in_blocks(z1, z2, temperature):
    u, v = F.normalize(z1.double(), dim=1), F.normalize(z2.double(), dim=1)
    itself, rows = -1e9 * torch.eye(len(u), dtype=F64), torch.arange(len(u))
    uv, uu, vv = (x @ y.T / temperature for x, y in ((u, v), (u, u), (v, v)))
    first = F.cross_entropy(torch.cat([uv, uu + itself], 1), rows)
    second = F.cross_entropy(torch.cat([uv.T, vv + itself], 1), rows)
    return ((first + second) / 2).to(z1.dtype)


def ntxent_interleaved(z1, z2, temperature):
    z = torch.stack([z1, z2], dim=1).flatten(0, 1)  # partners are neighbours
    s = torch.cosine_similarity(z[:, None], z[None], dim=2) / temperature
    others = s[~torch.eye(len(z), dtype=torch.bool)].view(len(z), -1)
    top = others.detach().amax(1, keepdim=True)
    total = (others - top).exp().sum(1).log() + top[:, 0]
    return (total - s[torch.arange(len(z)), torch.arange(len(z)) ^ 1]).mean()


# --- 4. the memory bank ---------------------------------------------------------------
def cases_update_bank(g: Generator, hidden: bool) -> list[Case]:
    def case(n, d, batch, momentum, dtype=F32, opposite=False):
        rows = torch.randperm(n, generator=g)[:batch]
        if batch > 1 and (rows.diff() > 0).all():  # never ascending: order matters
            rows = rows.flip(0)
        bank, v = (F.normalize(normal(g, k, d, dtype=dtype), dim=1) for k in (n, batch))
        if opposite:  # old and new nearly cancel: float32 is not exact enough
            v = F.normalize(1e-4 * v - bank[rows], dim=1)
        return make_case("ordinary", bank=bank, rows=rows, v=v, momentum=momentum)

    if not hidden:
        return [
            case(5, 3, 2, 0.7),
            case(6, 4, 3, 0.2),
            case(5, 4, 3, 0.0),
            case(4, 3, 2, 0.5, F64, opposite=True),
        ]
    n = whole(g, 8, 14)
    return [
        case(n, 2, 4, between(g, 0.6, 0.95)),
        case(n, n + 3, n, between(g, 0.25, 0.4)),
        case(n + 1, 5, n // 2 + 1, between(g, 0.05, 0.15), F64),
        case(n, 6, 1, between(g, 0.6, 0.8)),
        case(n + 2, 7, 5, 0.0),
        case(n, 5, 3, 0.5, F64, opposite=True),
    ]


@torch.no_grad()
def bank_by_index_copy(bank, rows, v, momentum):
    mixed = torch.lerp(v, bank[rows], momentum)
    return bank.index_copy(0, rows, mixed / mixed.norm(dim=1, keepdim=True))


def bank_by_loops(bank, rows, v, momentum):
    new = bank.double().clone()
    for row, vector in zip(rows.tolist(), v.detach().double()):
        new[row] = momentum * new[row] + (1 - momentum) * vector
        new[row] /= new[row].square().sum().sqrt()
    return new.to(bank.dtype)


def bank_by_one_hot(bank, rows, v, momentum):
    chosen = F.one_hot(rows, len(bank)).to(bank.dtype)  # (B, n)
    moved = F.normalize(momentum * (chosen @ bank) + (1 - momentum) * v.data, dim=1)
    return torch.where(chosen.sum(0)[:, None] > 0, chosen.T @ moved, bank)


# --- 5. k-NN --------------------------------------------------------------------------
def cases_knn_vote(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, k, classes, temperature, dtype=F32, far=False, spread=0.1):
        while True:
            train, test = (rows_of_all_lengths(g, rows, d, dtype) for rows in (n, m))
            if far:  # all training rows lie around one direction, one test row opposite
                u = test[0] / test[0].norm()
                train, test[-1] = 2 * u + 0.3 * train, 0.2 * test[-1] - u
            elif kind == "extreme":  # the k nearest lie all around the first test row
                near = spread * normal(g, k, d, dtype=dtype) + F.normalize(train[:1])
                train[:k], test[0] = near, near.mean(0)
            u, v = (F.normalize(rows.double(), dim=1) for rows in (test, train))
            order = (u @ v.T).sort(descending=True).values
            # until no rounding changes which rows are the k nearest
            if k == n or (order[:, k - 1] - order[:, k] > 1e-3).all():
                break
        used = classes - (kind == "absent class")
        any_of_them = torch.randint(used, (n - used,), generator=g)
        labels = torch.cat([torch.arange(used), any_of_them])
        if kind != "extreme":
            labels = labels[torch.randperm(n, generator=g)]
        settings = {"k": k, "classes": classes, "temperature": temperature}
        arrays = {"train": train, "train_labels": labels, "test": test}
        return make_case(kind, **arrays, **settings)

    if not hidden:
        return [
            case("ordinary", 6, 3, 4, 3, 2, 0.2),
            case("ordinary", 8, 4, 3, 4, 3, 0.5, F64),
            case("absent class", 6, 2, 4, 3, 3, 0.2),
            case("extreme", 6, 3, 4, 3, 2, 0.005),
            case("extreme", 7, 2, 4, 3, 2, 0.005, far=True),
            case("extreme", 6, 1, 4, 3, 2, 1e-5, F64, spread=0.003),
        ]
    n = whole(g, 12, 24)
    return [
        case("ordinary", n, whole(g, 5, 8), 6, 7, 4, between(g, 0.08, 0.15)),
        case("ordinary", n + 1, 5, n + 5, whole(g, 5, 9), 4, between(g, 0.25, 0.4)),
        case("ordinary", n, 1, 2, 6, 5, between(g, 0.55, 0.9), F64),
        case("ordinary", n, 5, 7, 1, 4, between(g, 0.3, 0.9)),
        case("ordinary", 7, 5, 5, 7, 4, between(g, 0.3, 0.9)),
        case("absent class", n, 5, 6, 5, 6, between(g, 0.1, 0.4)),
        case("absent class", n, 6, 2, 6, 4, between(g, 0.1, 0.4), F64),
        case("extreme", n, 6, 8, whole(g, 5, 8), 4, 0.004),
        case("extreme", n, 2, 5, 6, 5, 0.006),
        case("extreme", n, 3, 6, 4, 3, 0.005, far=True),
        case("extreme", n, 1, 5, 6, 3, 1e-5, F64, spread=0.003),
    ]


def knn_by_loops(train, train_labels, test, k, classes, temperature):
    train, test = train.double(), test.double()
    votes = torch.zeros(len(test), classes, dtype=F64)
    for i, row in enumerate(test):
        cos = (train @ row) / (train.norm(dim=1) * row.norm())
        for j in cos.argsort(descending=True)[:k]:
            votes[i, train_labels[j]] += ((cos[j] - cos.max()) / temperature).exp()
    return votes / votes.sum(1, keepdim=True)


def knn_by_threshold(train, train_labels, test, k, classes, temperature):
    cos = torch.cosine_similarity(test[:, None], train[None], dim=2)
    least = cos.sort(dim=1, descending=True).values[:, k - 1 : k]
    weight = (cos / temperature).masked_fill(cos < least, -torch.inf).softmax(1)
    return weight @ F.one_hot(train_labels, classes).to(weight.dtype)


# --- 6. the bound ---------------------------------------------------------------------
def cases_mi_bound(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, batches, negatives, dtype=F32):
        low, high = (1.1, 1.8) if kind == "nothing learnt" else (0.1, 0.8)
        shares = uniform(g, batches, low=low, high=high, dtype=F64)
        losses = (math.log(negatives + 1) * shares).to(dtype)
        return make_case(kind, lambda: 1.5, losses=losses, negatives=negatives)

    if not hidden:
        return [
            case("ordinary", 3, 7),
            case("ordinary", 4, 15, F64),
            case("nothing learnt", 3, 7),
            case("gradient", 3, 7, F64),
        ]
    n = whole(g, 30, 600)
    return [
        case("ordinary", 1, n),
        case("ordinary", whole(g, 5, 9), n + 1),
        case("ordinary", whole(g, 5, 9), 2 * n, F64),
        case("ordinary", 2, 3),
        case("nothing learnt", whole(g, 5, 9), n),
        case("nothing learnt", 1, 3, F64),
        case("gradient", whole(g, 5, 9), n, F64),
        case("gradient", 2, n + 1),
    ]


def bound_in_float64(losses, negatives):
    candidates = torch.tensor(negatives + 1, dtype=F64)
    return candidates.log() - losses.double().sum() / losses.numel()


def bound_mean_last(losses, negatives):
    return (math.log1p(negatives) - losses).mean()


def bound_by_loop(losses, negatives):
    return sum(math.log(1 + negatives) - loss for loss in losses) / len(losses)


# --- 7. two views ---------------------------------------------------------------------
def cases_TwoViews(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, side, d, dim, dtype=F32):
        def weights(name, outputs, inputs):
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            bias = 0.3 * normal(g, outputs, dtype=dtype)
            return {f"{name} weight": weight, f"{name} bias": bias}

        def maps(width, *lows):
            numbers = [between(g, low, low + width) for low in lows]
            return torch.tensor(numbers, dtype=dtype)

        x = uniform(g, n, 3, side, side, dtype=dtype)
        arrays = {"unseen" if kind == "encode" else "x": x}
        arrays["scale"] = maps(0.3, 1.2, 0.4, -0.9, 2.0)
        arrays["shift"] = maps(0.2, 0.1, -0.5, 0.5, -0.9)
        networks = weights("encoder", d, 3 * side**2) | weights("projector", dim, d)
        return Case(kind, arrays | networks)

    if not hidden:
        return [
            case("ordinary", 3, 2, 4, 3),
            case("ordinary", 2, 2, 5, 4, F64),
            case("encode", 3, 2, 4, 3),
        ]
    n = whole(g, 3, 5)
    return [
        case("ordinary", 2 * n, 3, 6, 5),
        case("ordinary", 2 * n + 1, 2, whole(g, 7, 9), 2, F64),
        case("ordinary", 1, 4, 3, 6),
        case("encode", 2 * n, 3, 6, 5),
        case("encode", 1, 2, whole(g, 7, 9), 2, F64),
    ]


class ViewsOneByOne(Method):
    def __init__(self, encoder, projector, augment, contrast):
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.augment, self.contrast = augment, contrast

    def project(self, view):
        return self.projector(self.encoder(view))

    def loss(self, x, y=None):
        z1, z2 = self.project(self.augment(x)), self.project(self.augment(x))
        return self.contrast(z1, z2)

    def encode(self, x):
        return self.encoder(x)


class ViewsOfDoubledBatch(ViewsOneByOne):
    def loss(self, x, y=None):
        z = self.project(self.augment(torch.cat([x, x])))
        return self.contrast(z[: len(x)], z[len(x) :])


class ViewsSwapped(Method):
    def __init__(self, encoder, projector, augment, contrast):
        super().__init__()
        self.f, self.whole = encoder, nn.Sequential(encoder, projector)
        self.parts = augment, contrast

    def loss(self, x, y=None):
        augment, contrast = self.parts
        z2, z1 = (self.whole(augment(x)) for _ in range(2))
        return contrast(z1, z2).double()

    @torch.no_grad()
    def encode(self, x):
        return self.f(x)


# --- 8. uniformity --------------------------------------------------------------------
def cases_uniformity(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, t, dtype=F32, near=0.0):
        z = rows_of_all_lengths(g, n, d, dtype)
        if near:  # small differences of rows that are nearly equal
            z = z[:1] + near * z
        return make_case(kind, lambda: 1.5, z=z, t=t)

    if not hidden:
        return [
            case("ordinary", 3, 4, 2.0),
            case("ordinary", 4, 3, 0.7, F64),
            case("ordinary", 2, 3, 1.5),
            case("extreme", 4, 4, 300.0),
            case("extreme", 4, 3, 1e11, F64, near=5e-6),
            case("gradient", 3, 4, 0.8, F64),
        ]
    n = whole(g, 5, 9)
    return [
        case("ordinary", n, 2, between(g, 1.0, 3.0)),
        case("ordinary", 2, n, between(g, 0.3, 0.9), F64),
        case("ordinary", n + 1, n + 4, between(g, 0.3, 0.9)),
        case("ordinary", n + 2, 5, between(g, 0.3, 0.9), near=0.2),
        case("extreme", n, 8, 400.0),
        case("extreme", 2, 6, 300.0),
        case("extreme", n, 5, 1e11, F64, near=5e-6),
        case("gradient", n, 5, between(g, 0.3, 0.9), F64),
        case("gradient", n + 1, 6, between(g, 1.0, 2.0)),
    ]


def uniformity_by_pdist(z, t):
    squares = F.pdist(z / z.norm(dim=1, keepdim=True)).square()  # each pair once
    return (-t * squares).logsumexp(0) - math.log(len(squares))


def uniformity_by_product(z, t):
    u = F.normalize(z.double(), dim=1)
    exponents = 2 * t * (u @ u.T - 1)
    exponents = exponents.masked_fill(torch.eye(len(u)).bool(), -torch.inf)
    total = exponents.logsumexp(1).logsumexp(0) - math.log(len(u) * (len(u) - 1))
    return total.to(z.dtype)


def uniformity_by_loops(z, t):
    u, n = [row / row.norm() for row in z], len(z)
    pairs = [(i, k) for i in range(n) for k in range(n) if i != k]
    exponents = torch.stack([-t * (u[i] - u[k]).square().sum() for i, k in pairs])
    top = exponents.detach().max()
    return top + (exponents - top).exp().mean().log()


# --- 9. the hardest negative ----------------------------------------------------------
def cases_hardest_triplet(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, margin, dtype=F32, noise=0.8, mostly_met=False):
        while True:
            z1, z2 = (rows_of_all_lengths(g, n, d, dtype) for _ in range(2))
            z2 = (1 - noise) * z1 + noise * z2  # partners are somewhat similar
            u, v = (F.normalize(z.double(), dim=1) for z in (z1, z2))
            energy = (2 - 2 * u @ v.T).masked_fill(torch.eye(n).bool(), torch.inf)
            low = energy.sort(1).values
            hinge = (2 - 2 * (u * v).sum(1)) - low[:, 0] + margin
            # no step of the finite difference changes which negative is the hardest, or
            # whether the margin is met; some references meet it, unless there are few
            clear = n == 2 or (low[:, 1] - low[:, 0] > 0.02).all()
            mixed = n < 4 or (hinge > 0).any() and (hinge < 0).any()
            # max(0, ...) of the mean is then another value than the mean without it
            met = not mostly_met or hinge.mean() < -0.05
            if clear and mixed and met and (hinge.abs() > 0.02).all():
                return make_case(kind, lambda: 1.5, z1=z1, z2=z2, margin=margin)

    if not hidden:
        return [
            case("ordinary", 4, 3, 0.5),
            case("ordinary", 5, 4, 0.3, F64),
            case("ordinary", 2, 3, 1.0),
            case("ordinary", 4, 4, 0.2, noise=0.5, mostly_met=True),
            case("gradient", 4, 4, 0.5, F64),
        ]
    n = whole(g, 6, 8)
    return [
        case("ordinary", n, 5, between(g, 0.2, 0.6)),
        case("ordinary", n + 1, 4, between(g, 0.2, 0.6), F64, noise=0.6),
        case("ordinary", n, 7, between(g, 0.1, 0.3), noise=0.6, mostly_met=True),
        case("ordinary", 3, n, between(g, 0.7, 1.5)),
        case("ordinary", 2, 6, between(g, 1.0, 2.0), F64),
        case("gradient", n, 6, between(g, 0.2, 0.6), F64),
        case("gradient", 3, 5, between(g, 0.7, 1.5)),
    ]


def hardest_by_loops(z1, z2, margin):
    def energy(u, v):
        return (u / u.norm() - v / v.norm()).square().sum()

    losses = []
    for i, anchor in enumerate(z1):
        others = [energy(anchor, other) for j, other in enumerate(z2) if j != i]
        losses.append(energy(anchor, z2[i]) - min(others) + margin)
    return torch.stack(losses).clamp(min=0).mean()


def hardest_by_topk(z1, z2, margin):
    cos = torch.cosine_similarity(z1[:, None], z2[None], dim=2)
    rows = torch.arange(len(z1))
    near = cos.topk(2, dim=1).indices
    negative = torch.where(near[:, 0] == rows, near[:, 1], near[:, 0])
    gap = 2 * cos[rows, negative] - 2 * cos[rows, rows]
    return torch.clamp_min(gap + margin, 0).sum() / len(z1)


# --- 10. more than two views ----------------------------------------------------------
def cases_multi_view_nt_xent(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, v, n, d, temperature, dtype=F32, opposite=False):
        z = rows_of_all_lengths(g, v * n, d, dtype).view(v, n, d)
        if opposite:  # one pair of views is as far apart as possible
            z[1, 0] = 0.02 * z[1, 0] - 1.3 * z[0, 0]
        return make_case(kind, lambda: 1.5, z=z, temperature=temperature)

    if not hidden:
        return [
            case("ordinary", 3, 2, 4, 0.5),
            case("ordinary", 2, 3, 3, 0.4, F64),
            case("ordinary", 4, 3, 4, 0.7),
            case("extreme", 3, 2, 3, 0.005, opposite=True),
            case("gradient", 3, 3, 4, 0.5, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 3, n, 5, between(g, 0.2, 0.5)),
        case("ordinary", 5, n - 1, 4, between(g, 0.3, 0.8), F64),
        case("ordinary", 2, n + 1, 6, between(g, 0.3, 0.8)),
        case("ordinary", 4, 2, n + 2, between(g, 0.3, 0.8)),
        case("extreme", 3, n, 6, 0.005, opposite=True),
        case("extreme", 4, n, 5, 0.004, F64),
        case("gradient", 4, n, 5, between(g, 0.3, 0.6), F64),
        case("gradient", 3, n + 1, 6, between(g, 0.4, 0.8)),
    ]


def views_by_loops(z, temperature):
    u, losses = z / z.norm(dim=2, keepdim=True), []
    views, pictures, _ = z.shape
    for k in range(pictures):
        others = torch.cat([u[:, :k], u[:, k + 1 :]], 1).flatten(0, 1)
        for a in range(views):
            negatives = others @ u[a, k] / temperature
            for b in range(views):
                if a != b:
                    own = (u[a, k] @ u[b, k] / temperature)[None]
                    losses.append(torch.cat([own, negatives]).logsumexp(0) - own[0])
    return sum(losses) / len(losses)


def views_by_cross_entropy(z, temperature):
    views, pictures, d = z.shape
    u = F.normalize(z.transpose(0, 1).reshape(-1, d), dim=1)  # picture after picture
    s = (u @ u.T / temperature).view(pictures, views, pictures, views)
    own = s.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (N, V, V)
    rows = torch.arange(pictures)
    rest = torch.stack([s[k][:, rows != k].flatten(1) for k in rows])  # (N, V, ...)
    rest = rest[:, :, None].expand(-1, -1, views, -1)
    logits = torch.cat([own[..., None], rest], 3)  # the positive is column 0
    losses = -logits.log_softmax(3)[..., 0]
    return losses[:, ~torch.eye(views, dtype=torch.bool)].mean()


# --- the sheet ------------------------------------------------------------------------
ZEROS = Property(
    "is right for zero, short and long rows",
    1,
    "zero rows",
    ("value", "finite", "float64"),
)
LARGE = Property("stays right for large scores", 1, "extreme", ("value", "float64"))
LOW = Property("stays right at a low temperature", 1, "extreme", ("value", "float64"))
LARGE_T = Property("stays right for large t", 1, "extreme", ("value", "float64"))

SHEET: list[Master] = [
    Master(
        "cosine_similarity_matrix",
        (values(2), UNCHANGED, ZEROS, gradient(1)),
        cases_cosine_similarity_matrix,
        (cosine_by_einsum, cosine_by_library, cosine_by_loops),
    ),
    Master(
        "info_nce",
        (values(2), UNCHANGED, LARGE, gradient(1)),
        cases_info_nce,
        (infonce_by_cross_entropy, infonce_maximum_subtracted, infonce_by_loops),
        library("losses", "info_nce")
        + library("contrastive.instance_discrimination", "non_parametric_softmax"),
    ),
    Master(
        "nt_xent",
        (values(4), UNCHANGED, LOW, gradient(2)),
        cases_nt_xent,
        (ntxent_by_loops, ntxent_in_blocks, ntxent_interleaved),
        library("losses", "nt_xent")
        + library("contrastive.simclr", "SimCLR")
        + library("contrastive.false_negatives", "debiased_nt_xent")
        + library("contrastive.false_negatives", "nt_xent_true_negatives")
        + library("contrastive.supcon", "supervised_contrastive"),
    ),
    Master(
        "update_bank",
        (
            Property("moves the named rows, and no others", 3),
            UNCHANGED,
            Property("keeps no gradient in the memory", 2, outputs=("detached",)),
        ),
        cases_update_bank,
        (bank_by_index_copy, bank_by_loops, bank_by_one_hot),
        library("contrastive.instance_discrimination", "InstanceDiscrimination"),
    ),
    Master(
        "knn_vote",
        (
            Property("gives the right shares", 3),
            UNCHANGED,
            Property("has a column for a class without rows", 1, "absent class"),
            LOW,
        ),
        cases_knn_vote,
        (knn_by_loops, knn_by_threshold),
        library("evaluate", "knn"),
    ),
    Master(
        "mi_bound",
        (
            values(2),
            Property(
                "may be negative where the scores are worse than guessing",
                1,
                "nothing learnt",
            ),
            gradient(1),
        ),
        cases_mi_bound,
        (bound_in_float64, bound_mean_last, bound_by_loop),
        library("losses", "mutual_information_bound"),
    ),
    Master(
        "TwoViews",
        (
            Property("compares the projections of two views", 3),
            Property(
                "hands its networks' parameters to the optimiser",
                1,
                outputs=("parameters",),
            ),
            Property(
                "has a gradient through both views and both networks",
                1,
                outputs=("part", "gradient"),
            ),
            Property(
                "encodes a picture as it is, without the projector",
                1,
                "encode",
                ("represent", "in", "unchanged"),
            ),
        ),
        cases_TwoViews,
        (ViewsOneByOne, ViewsOfDoubledBatch, ViewsSwapped),
        library("contrastive.simclr", "SimCLR")
        + library("contrastive.siamese", "Siamese")
        + library("contrastive.supcon", "SupCon")
        + library("two_views", "TwoViews"),
    ),
    Master(
        "uniformity",
        (values(2), UNCHANGED, LARGE_T, gradient(1)),
        cases_uniformity,
        (uniformity_by_pdist, uniformity_by_product, uniformity_by_loops),
        library("evaluate", "uniformity"),
    ),
    Master(
        "hardest_triplet",
        (values(2), UNCHANGED, gradient(2)),
        cases_hardest_triplet,
        (hardest_by_loops, hardest_by_topk),
        library("contrastive.siamese", "Siamese", "triplet"),
    ),
    Master(
        "multi_view_nt_xent",
        (values(3), UNCHANGED, LOW, gradient(1)),
        cases_multi_view_nt_xent,
        (views_by_loops, views_by_cross_entropy),
        library("losses", "nt_xent")
        + library("contrastive.false_negatives", "nt_xent_true_negatives")
        + library("contrastive.supcon", "supervised_contrastive"),
    ),
]
