"""Exercises 01, pretext tasks: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.grading.drive import (
    Arrays,
    gradients,
    layer,
    named_parameters,
    on_case,
    parts,
)
from course_lib.grading.probes import precise, watched


def exact(drive: Callable, *names: str) -> Callable:
    """Returns the driver with one more output, `float64 for float64 input`: whether the
    outputs `names` consist of numbers of x, without rounding."""

    def driver(answer, a: Arrays) -> Arrays:
        outputs = drive(answer, a)
        found = [outputs[name] for name in names if isinstance(outputs[name], Tensor)]
        kept = all(torch.isin(part.double(), a["x"].double()).all() for part in found)
        return outputs | {"float64 for float64 input": kept}

    return driver


def drive_eight_views(answer, a: Arrays) -> Arrays:
    """x: square pictures. `views`, `labels`; `int64`: whether the labels are such
    numbers, as cross_entropy wants."""
    views, labels = parts(answer(a["x"]), ("views", "labels"))
    is_int64 = getattr(labels, "dtype", None) == torch.int64
    return {"views": views, "labels": labels, "int64": is_int64}


drive_eight_views = exact(drive_eight_views, "views")
drive_cut_patches = exact(
    partial(
        on_case,
        tensors=("x", "corner", "which", "jitter"),
        settings=("patch", "gap"),
        names=("centre", "neighbour"),
    ),
    "centre",
    "neighbour",
)
drive_maximin_set = partial(on_case, tensors=("candidates",), settings=("count",))
drive_shuffle_tiles = exact(
    partial(on_case, tensors=("x", "permutations", "labels"), settings=("side",)),
    "value",
)
drive_masked_loss = precise(
    watched(
        partial(
            on_case, tensors=("prediction", "target", "mask"), flows=("prediction",)
        )
    ),
    "value",
)
drive_soft_bins = precise(
    partial(on_case, tensors=("ab", "bins"), settings=("neighbours", "sigma")), "value"
)
drive_rebalancing_weights = precise(
    partial(on_case, tensors=("prior", "bins"), settings=("mix", "sigma")), "value"
)
drive_annealed_mean = precise(
    partial(
        on_case,
        tensors=("logits", "bins"),
        settings=("temperature",),
        names=("colour", "spread"),
    ),
    "colour",
    "spread",
)


def drive_CrossChannel(answer, a: Arrays) -> Arrays:
    """Builds the method of four tiny networks. A case with `lab` asks for a loss, one
    with `unseen` for `encode`.

    `value`: the loss; `unchanged`: whether it leaves `lab` alone; `gradient ...`: of
    each of the networks' eight parameters; `parameters`: how many numbers of these four
    networks the method would give the optimiser, -1 where it is no torch module;
    `represent`: what encode returns; `leaving ...`: whether the networks are in
    training mode as before.
    """
    halves, heads = ("from_l", "from_ab"), ("to_ab", "to_l")
    networks = {name: nn.Sequential(_one_by_one(a, name), nn.Tanh()) for name in halves}
    networks |= {name: _one_by_one(a, name) for name in heads}
    method = answer(*networks.values(), _loss_ab, _loss_l)
    if "unseen" in a:
        represent = method.encode(a["unseen"])
        mode = all(net.training for net in networks.values())
        return {"represent": represent, "leaving the networks in training mode": mode}
    given = a["lab"].clone()
    value = method.loss(given, torch.arange(len(given)))
    unchanged = torch.equal(given, a["lab"]) and not given.requires_grad
    known = method.parameters() if isinstance(method, nn.Module) else None
    own = {id(p) for net in networks.values() for p in net.parameters()}
    outputs = {"value": value, "unchanged": unchanged}
    outputs["parameters"] = (
        -1 if known is None else sum(p.numel() for p in known if id(p) in own)
    )
    return outputs | gradients(value, named_parameters(**networks))


def _loss_ab(prediction: Tensor, target: Tensor) -> Tensor:
    """No loss of any paper; it tells prediction from target, and from _loss_l."""
    squared = (prediction - target).square().mean()
    return squared + (0.7 * target + 0.2).mul(prediction.sin()).mean()


def _loss_l(prediction: Tensor, target: Tensor) -> Tensor:
    squared = 1.6 * (prediction - target).square().mean()
    return squared + (0.4 * target - 0.3).mul(prediction.cos()).mean()


def _one_by_one(a: Arrays, name: str) -> nn.Conv2d:
    """A convolution that looks at one pixel at a time: (N, in, H, W) -> (N, out, H,
    W)."""
    weight, bias = a[f"{name} weight"][:, :, None, None], a[f"{name} bias"]
    return layer(nn.Conv2d, weight, bias, kernel_size=1)


# --- private: what stands above is given to students ----------------------------------

import math
from itertools import product

import numpy as np
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
)
from course_lib.train import Method


# --- 1. turned and mirrored ----------------------------------------------------------
def cases_eight_views(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, side, dtype=F32):
        return make_case("ordinary", x=uniform(g, n, c, side, side, dtype=dtype))

    if not hidden:
        return [case(1, 1, 2), case(3, 2, 3), case(2, 3, 4, F64)]
    n = whole(g, 4, 7)
    cases = [case(n, 3, 5), case(n + 1, 1, whole(g, 5, 8), F64)]
    return [*cases, case(1, 4, 6), case(2 * n, 2, 2), case(2, 5, 1)]


def views_by_flips(x):
    found = []
    for picture in (x, x.flip(-1)):
        half = picture.flip(2).flip(3)
        found += [picture, picture.mT.flip(2), half, half.mT.flip(2)]
    labels = torch.tensor([k for _ in x for k in range(8)])
    return torch.stack(found, 1).flatten(0, 1), labels


def views_by_loops(x):
    n, last = len(x), x.shape[-1] - 1
    views = x.new_empty(8 * n, *x.shape[1:])
    for i, r, c in product(range(n), range(last + 1), range(last + 1)):
        places = (r, c), (last - c, r), (last - r, last - c), (c, last - r)
        for quarters, (row, column) in enumerate(places):
            views[8 * i + quarters, :, row, column] = x[i, :, r, c]
            views[8 * i + 4 + quarters, :, row, column] = x[i, :, r, last - c]
    return [views, torch.arange(8 * n) % 8]


# --- 2. pairs of patches --------------------------------------------------------------
def cases_cut_patches(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, patch, gap, shake, which=None, dtype=F32):
        """There is room around the grid: wrong places, too, lie inside the picture."""
        room = 2 * shake + 3
        side = 3 * patch + 2 * gap + 2 * room
        x = uniform(g, n, c, side + 2, side + 5, dtype=dtype)
        corner = [room + torch.randperm(3, generator=g)[:2] for _ in range(n)]
        corner = torch.stack(corner) + torch.tensor([0, 2])  # rows and columns differ
        if which is None:
            which = torch.randperm(8, generator=g).repeat(-(-n // 8))[:n]
        while True:
            jitter = torch.randint(-shake, shake + 1, (n, 2, 2), generator=g)
            down, right = jitter.unbind(2)
            if (jitter[:, 0] != jitter[:, 1]).any() and (down != right).any(0).all():
                break
        grid = {"corner": corner, "which": torch.as_tensor(which), "jitter": jitter}
        return make_case("ordinary", x=x, **grid, patch=patch, gap=gap)

    if not hidden:
        first = case(4, 1, 2, 1, 1, (5, 0, 4, 2))
        return [first, case(3, 2, 2, 2, 1, (7, 3, 6), F64)]
    cases = [case(whole(g, 8, 11), 3, 3, 1, 2)]
    cases += [case(whole(g, 5, 7), 1, 4, 2, 1, dtype=F64)]
    cases += [case(1, 4, 5, 3, 2, (whole(g, 0, 7),))]
    return [*cases, case(9, 2, 1, 4, 3), case(8, 3, 2, 0, 1)]


def patches_by_index(x, corner, which, jitter, patch, gap):
    offsets = [[r, c] for r, c in product((-1, 0, 1), repeat=2) if (r, c) != (0, 0)]
    middle, picture = corner + patch + gap, torch.arange(len(x))[:, None, None]
    moved, found = middle + (patch + gap) * torch.tensor(offsets)[which], []
    for at in (middle + jitter[:, 0], moved + jitter[:, 1]):
        rows, columns = (at[:, k, None] + torch.arange(patch) for k in range(2))
        found.append(x[picture, :, rows[:, :, None], columns[:, None]].movedim(3, 1))
    return found


def patches_by_loops(x, corner, which, jitter, patch, gap):
    both = ([], [])
    cells = [(r, c) for r in range(3) for c in range(3) if not r == c == 1]
    for i, picture in enumerate(x):
        for k, cell in enumerate([(1, 1), cells[which[i]]]):
            start = corner[i] + (patch + gap) * torch.tensor(cell) + jitter[i, k]
            rows, columns = (slice(at, at + patch) for at in start.tolist())
            both[k].append(picture[:, rows, columns])
    return torch.stack(both[0]), torch.stack(both[1])


# --- 3. a set of permutations ---------------------------------------------------------
def cases_maximin_set(g: Generator, hidden: bool) -> list[Case]:
    def permutations(m, t, alike):
        """(m, t); alike: each row leaves some places of an earlier row as they are, so
        that there are small and large distances."""
        rows = [torch.randperm(t, generator=g)]
        while len(rows) < m:
            places = torch.randperm(t, generator=g)[: whole(g, 2, t) if alike else t]
            row = rows[whole(g, 0, len(rows) - 1)].clone()
            row[places] = row[places[torch.randperm(len(places), generator=g)]]
            rows.append(row)
        return torch.stack(rows)

    def case(m, t, count, kind="ordinary"):
        while True:
            candidates = permutations(m, t, alike=kind != "numbers")
            if len(candidates.unique(dim=0)) == m and tells(kind, candidates, count):
                return make_case(kind, candidates=candidates, count=count)

    if not hidden:
        cases = [case(8, 12, 4), case(9, 10, 4), case(8, 9, 5, "sums")]
        return [*cases, case(9, 6, 5, "numbers"), case(7, 5, 4, "numbers")]
    cases = [case(whole(g, 10, 13), 16, 4), case(whole(g, 9, 11), 13, 4)]
    cases += [case(whole(g, 10, 14), 10, 6, "sums"), case(12, 8, 6, "sums")]
    cases += [case(whole(g, 12, 18), 5, 5, "numbers")]
    return [*cases, case(whole(g, 9, 11), 4, 4, "numbers")]


def tells(kind, candidates, count):
    """Whether the sums, and the row numbers, matter only where the case's kind says so,
    and each rule that students confuse with the right one gives other rows."""
    table = candidates.numpy()  # NumPy is faster here, and many drafts are rejected
    m = len(table)
    apart = (table[:, None] != table).sum(2)  # (M, M)
    moved = np.abs(table[:, None] - table)  # (M, M, T)
    number = np.arange(m)

    def least(rows):
        return apart[rows].min(0)

    def total(rows):
        return apart[rows].sum(0)

    def chosen(score):
        rows = [0]
        while len(rows) < count:
            scores = np.array(score(rows))
            scores[rows] = -(10**9)
            rows.append(int(scores.argmax()))
        return rows

    def right_rule(rows):
        return 1000 * least(rows) + total(rows)

    right, first = chosen(right_rule), chosen(least)
    by_number = chosen(lambda rows: m * right_rule(rows) + number) != right
    if kind == "numbers":
        return by_number
    if by_number or (right != first) != (kind == "sums"):
        return False
    smallest = chosen(lambda rows: 1000 * least(rows) - total(rows))
    if kind == "sums":
        return right != smallest != first
    last = chosen(lambda rows: m * least(rows) + number)
    if right != smallest or right != last or right == sorted(right):
        return False
    wrong = (
        total,
        lambda rows: apart[rows].max(0),
        lambda rows: apart[rows[-1]],
        lambda rows: apart[0],
        lambda rows: -least(rows),
        lambda rows: 1000 * moved[rows].sum(2).min(0) + moved[rows].sum((0, 2)),
        lambda rows: apart.sum(0),
    )
    rows = [chosen(score) for score in wrong]
    # these two pairs are the most alike
    return right not in rows and rows[1] != rows[2] and rows[3] != rows[6]


def permutations_by_sorting(candidates, count):
    apart = (candidates[:, None] != candidates[None]).sum(2).double()
    chosen = [0]
    while len(chosen) < count:
        score = apart[chosen].amin(0) + apart[chosen].mean(0) / 1000
        chosen.append((score > score.max() - 1e-9).nonzero()[0, 0].item())
    return torch.tensor(chosen)


def permutations_by_loops(candidates, count):
    rows, chosen = candidates.tolist(), [0]

    def merit(k):
        apart = [sum(a != b for a, b in zip(rows[j], rows[k])) for j in chosen]
        return min(apart), sum(apart)

    while len(chosen) < count:
        left = [k for k in range(len(rows)) if k not in chosen]
        chosen.append(max(left, key=merit))
    return torch.tensor(chosen)


# --- 4. shuffled tiles ----------------------------------------------------------------
def cases_shuffle_tiles(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, side, rows, dtype=F32):
        tiles, table = side**2, []
        while len(table) < rows:  # each order differs from its inverse
            order = torch.randperm(tiles, generator=g)
            if (order[order] != torch.arange(tiles)).any():
                table.append(order)
        while True:
            labels = torch.randint(rows, (n,), generator=g)
            differ = (labels != labels[0]).any() and (labels != torch.arange(n)).all()
            if n == 1 and labels[0] > 0 or differ:
                break
        x = uniform(g, n, c, side * h, side * w, dtype=dtype)
        kind, table = "ordinary" if h == w else "oblong", torch.stack(table)
        return make_case(kind, x=x, permutations=table, labels=labels, side=side)

    if not hidden:
        cases = [case(2, 3, 2, 2, 2, 4), case(3, 2, 1, 1, 3, 3, F64)]
        return [*cases, case(2, 1, 2, 3, 2, 3), case(2, 2, 2, 1, 2, 4)]
    n = whole(g, 4, 6)
    cases = [case(n, 3, 3, 3, 2, n + 1), case(n + 1, 2, 2, 2, 3, 5, F64)]
    cases += [case(1, 4, 2, 2, 4, 6), case(n, 5, whole(g, 4, 5), 2, 2, 7)]
    return [*cases, case(n, 3, 1, whole(g, 3, 4), 3, 8, F64)]


def tiles_by_gather(x, permutations, labels, side):
    n, c, height, width = x.shape
    h, w = height // side, width // side
    tiles = x.unfold(2, h, h).unfold(3, w, w).movedim(1, 3).reshape(n, -1, c, h, w)
    return tiles.gather(1, permutations[labels].view(n, -1, 1, 1, 1).expand_as(tiles))


def tiles_by_chunks(x, permutations, labels, side):
    found = []
    for picture, label in zip(x, labels):
        tiles = [t for row in picture.chunk(side, 1) for t in row.chunk(side, 2)]
        found.append(torch.stack([tiles[k] for k in permutations[label]]))
    return torch.stack(found)


# --- 5. the loss of each picture's hole -----------------------------------------------
def cases_masked_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, dtype=F32, kind="ordinary", far=0.0, tiny=False, skip=0):
        """far: the pictures' level, beside which the errors are small; tiny: one pixel
        of the first picture is missing; skip: so many pictures have no hole."""
        limit = torch.linspace(0.2, 0.7, n).view(-1, 1, 1, 1)
        while True:  # some pictures miss more pixels than others; none misses 0 or all
            mask = uniform(g, n, 1, h, w) < limit
            share = mask.float().mean((1, 2, 3))
            uneven = n == 1 or share.max() > 1.5 * share.min()
            if (share > 0).all() and (share < 0.9).all() and uneven:
                break
        if tiny:
            mask[0] = False
            mask[0, 0, h // 2, w // 3] = True
        mask[1 : 1 + skip] = False
        mask &= kind != "nothing missing"
        prediction = far + normal(g, n, c, h, w, dtype=dtype)
        target = far + uniform(g, n, c, h, w, dtype=dtype)
        arrays = {"prediction": prediction, "target": target, "mask": mask}
        if kind in ("gradient", "nothing missing"):
            arrays["cotangent"] = 1.5
        return make_case(kind, **arrays)

    empty = partial(case, kind="nothing missing")
    graded = partial(case, kind="gradient")
    some = partial(case, kind="whole pictures")
    if not hidden:
        cases = [case(2, 3, 3, 4), case(3, 2, 4, 3, F64, far=1e5)]
        cases += [case(2, 1, 2, 3, tiny=True), some(3, 2, 2, 3, skip=1)]
        cases += [empty(2, 3, 2, 3), graded(2, 2, 3, 3, F64)]
        return [*cases, graded(3, 1, 2, 3, F64, skip=1)]
    n = whole(g, 4, 7)
    cases = [case(n, 3, 5, 6), case(n + 1, 1, 6, whole(g, 4, 6), F64, far=1e5)]
    cases += [case(1, 4, 4, 7), case(3, 1, 4, 5, tiny=True)]
    cases += [case(2, 2, 3, 6, F64, tiny=True)]
    cases += [some(n, 2, 3, 3, skip=2), some(2, 3, 4, 2, F64, skip=1)]
    cases += [empty(n, 2, 4, 4), empty(1, 3, 5, 2, F64)]
    cases += [graded(n, 3, 5, 5, F64, far=1e5), graded(n + 1, 2, 4, 5)]
    return [*cases, graded(n, 2, 3, 4, F64, skip=2)]


def loss_by_selection(prediction, target, mask):
    there = mask.expand_as(prediction)
    found = [
        F.mse_loss(p[m], t[m]) for p, t, m in zip(prediction, target, there) if m.any()
    ]
    return torch.stack(found).mean() if found else 0 * prediction.sum()


def loss_by_loops(prediction, target, mask):
    zero = 0 * prediction.double().sum()
    total, holes = zero, 0
    for p, t, m in zip(prediction.double(), target.double(), mask[:, 0]):
        errors = [((p[:, r, c] - t[:, r, c]) ** 2).mean() for r, c in m.nonzero()]
        if errors:
            total, holes = total + sum(errors) / len(errors), holes + 1
    return total / holes if holes else total


# --- 6. soft bins ---------------------------------------------------------------------
def cases_soft_bins(g: Generator, hidden: bool) -> list[Case]:
    def case(m, q, neighbours, sigma, dtype=F32, exponent=0.0, near=1, level=0.0):
        """exponent: of the Gaussian at all rows but the first `near`, which are far
        then; the bins lie about along a line. level: of all colours and bins; beside
        it their distances are small."""
        while True:
            bins = 1.6 * sigma * normal(g, q, 2, dtype=F64)
            ab = 1.9 * sigma * normal(g, m, 2, dtype=F64)
            if exponent:
                bins[:, 0] *= 0.02
                side = 2 * (torch.arange(m - near) % 2) - 1
                ab[near:, 0] = sigma * math.sqrt(2 * exponent) * side
                turn = between(g, 0, 2 * math.pi)
                c, s = math.cos(turn), math.sin(turn)
                turned = torch.tensor([[c, s], [-s, c]], dtype=F64)
                bins, ab = bins @ turned, ab @ turned
            squared = (ab[:, None] - bins[None]).square().sum(2)
            order = squared.sort(1).values / sigma**2
            gaps = order.diff(dim=1)
            clear = neighbours == q or (gaps[:, neighbours - 1] > 0.05).all()
            second = gaps[:, 0]  # where it is small, the nearest does not take it all
            shared = second.min() < 3 and second[-1] < 3 and second.max() > 0.3
            if clear and shared and (order[:near, 0] < 4).all():
                break
        ab, bins = (level + ab).to(dtype), (level + bins).to(dtype)
        kind = "far" if exponent else "ordinary"
        return make_case(kind, ab=ab, bins=bins, neighbours=neighbours, sigma=sigma)

    if not hidden:
        cases = [case(3, 6, 3, 2.0), case(4, 5, 2, 0.5, F64, level=1e5)]
        cases += [case(3, 5, 3, 2.0, exponent=125.0)]
        cases += [case(2, 6, 2, 5.0, F64, exponent=900.0)]
        # A single row: here the smallest distance of all rows is its own.
        return [*cases, case(1, 4, 2, 2.0, exponent=125.0, near=0)]
    n = whole(g, 5, 8)
    return [
        case(n, n + 4, 5, between(g, 3.0, 5.0)),
        case(n + 5, 7, 4, between(g, 0.3, 0.8), F64, level=1e5),
        case(1, 9, 3, between(g, 1.2, 1.8)),
        case(n, 4, 4, between(g, 1.2, 1.8)),
        case(n, 8, 1, between(g, 1.2, 1.8), F64),
        case(n, 7, 4, between(g, 2.0, 4.0), exponent=between(g, 120, 135)),
        case(n, 9, 5, between(g, 4.0, 6.0), F64, exponent=between(g, 850, 1200)),
        case(1, n + 5, 4, between(g, 4.0, 6.0), exponent=between(g, 120, 135), near=0),
    ]


def bins_by_mask(ab, bins, neighbours, sigma):
    distance = torch.cdist(ab.double(), bins.double())
    edge = distance.kthvalue(neighbours, 1, keepdim=True).values
    score = torch.where(distance <= edge, -(distance**2) / (2 * sigma**2), -torch.inf)
    return score.softmax(1)


def bins_by_loops(ab, bins, neighbours, sigma):
    shares = torch.zeros(len(ab), len(bins), dtype=F64)
    for row, colour in zip(shares, ab.double()):
        squared = [float((colour - centre).square().sum()) for centre in bins.double()]
        nearest = sorted(range(len(bins)), key=squared.__getitem__)[:neighbours]
        for q in nearest:
            row[q] = math.exp((squared[nearest[0]] - squared[q]) / (2 * sigma**2))
    return shares / shares.sum(1, keepdim=True)


# --- 7. rebalancing weights -----------------------------------------------------------
def cases_rebalancing_weights(g: Generator, hidden: bool) -> list[Case]:
    def case(q, mix, dtype=F32, kind="ordinary", level=0.0):
        """level: of all bins; beside it their distances are small."""
        sigma = between(g, 0.6, 1.8)
        prior = normal(g, q, dtype=F64).mul(1.2).exp() + 0.1
        if kind == "empty bins":
            prior[torch.randperm(q, generator=g)[: 1 + q // 4]] = 0
        # neighbours about one sigma apart
        bins = level + 1.5 * sigma * q**0.5 * (uniform(g, q, 2, dtype=F64) - 0.5)
        prior, bins = (prior / prior.sum()).to(dtype), bins.to(dtype)
        return make_case(kind, prior=prior, bins=bins, mix=mix, sigma=sigma)

    empty = partial(case, kind="empty bins")
    if not hidden:
        return [case(4, 0.5), case(6, 0.2, F64, level=1e5), empty(5, 0.3)]
    q = whole(g, 7, 20)
    cases = [case(q, between(g, 0.3, 0.45))]
    cases += [case(2 * q, between(g, 0.6, 0.8), F64, level=1e5)]
    cases += [case(3, between(g, 0.1, 0.3)), case(q + 1, 1.0)]
    cases += [empty(q + 2, between(g, 0.6, 0.8))]
    return [*cases, empty(2, between(g, 0.2, 0.4), F64)]


def weights_by_division(prior, bins, mix, sigma):
    kind, prior, bins = prior.dtype, prior.double(), bins.double()
    kernel = (-((bins[:, None] - bins).norm(dim=2) / sigma).square() / 2).exp()
    smooth = (kernel / kernel.sum(0, keepdim=True) * prior).sum(1)
    mixed = torch.lerp(smooth, torch.full_like(smooth, 1 / len(prior)), mix)
    return (1 / mixed / torch.dot(1 / mixed, prior)).to(kind)


def weights_by_loops(prior, bins, mix, sigma):
    centres, q = bins.tolist(), len(prior)
    smooth = [0.0] * q
    for share, centre in zip(prior.tolist(), centres):
        near = [math.exp(-(math.dist(centre, c) ** 2) / 2 / sigma**2) for c in centres]
        smooth = [s + share * k / sum(near) for s, k in zip(smooth, near)]
    weight = [1 / ((1 - mix) * s + mix / q) for s in smooth]
    mean = sum(p * w for p, w in zip(prior.tolist(), weight))
    return torch.tensor([w / mean for w in weight], dtype=prior.dtype)


# --- 8. the annealed mean and its spread ----------------------------------------------
def cases_annealed_mean(g: Generator, hidden: bool) -> list[Case]:
    def case(n, q, h, w, t, dtype=F32, scale=1.5, level=0.0, apart=0.8, centre=2.0):
        """t: the temperature. scale, level: of the logits; a pixel's level is its own,
        up to `level`. apart, centre: of the bins. In float32 no mean is near 0: there
        its rounding would show."""
        logits = scale * normal(g, n, q, h, w, dtype=F64)
        logits = logits + level * (2 * uniform(g, n, 1, h, w, dtype=F64) - 1)
        bins = centre + apart * normal(g, q, 2, dtype=F64)
        kind = "ordinary" if scale == 1.5 and level < 2 else "extreme"
        logits, bins = logits.to(dtype), bins.to(dtype)
        return make_case(kind, logits=logits, bins=bins, temperature=t)

    wide = partial(case, dtype=F64, apart=60.0, centre=0.0)
    remote = partial(case, dtype=F64, apart=3.0, centre=1e5)
    if not hidden:
        cases = [case(2, 4, 2, 3, 0.4), wide(1, 3, 3, 2, 0.7), remote(1, 4, 2, 1, 0.6)]
        cases += [case(2, 5, 1, 2, 0.4, level=60.0), wide(1, 4, 1, 2, 0.3, level=700.0)]
        cases += [case(1, 12, 2, 2, 0.02, scale=0.024)]
        cases += [wide(1, 9, 2, 1, 0.0025, scale=0.003)]
        cases += [case(1, 5, 2, 1, 40.0, scale=80.0)]
        return [*cases, wide(2, 4, 1, 2, 200.0, scale=700.0)]
    n = whole(g, 3, 5)
    return [
        case(n, 6, 3, 4, between(g, 0.3, 0.45)),
        wide(n + 1, 8, 2, 2, between(g, 0.5, 0.7)),
        remote(n, 6, 2, 3, between(g, 0.5, 0.7)),
        case(1, 2, 4, 1, between(g, 0.2, 0.3)),
        wide(2, whole(g, 9, 12), 1, 5, between(g, 1.5, 2.5)),
        case(n, 7, 2, 4, between(g, 0.3, 0.45), level=60.0),
        wide(2, 5, 2, 4, between(g, 0.3, 0.45), level=800.0),
        case(2, whole(g, 13, 18), 2, 3, 0.02, scale=0.024),
        wide(n, 10, 3, 1, 0.002, scale=0.0025),
        wide(1, 5, 3, 3, 0.05, scale=30.0),
        case(n, 6, 1, 3, between(g, 30.0, 50.0), scale=80.0),
        wide(2, 7, 3, 2, between(g, 150.0, 250.0), scale=700.0),
    ]


def annealed_by_logarithms(logits, bins, temperature):
    log_weight = logits.double().log_softmax(1) / temperature
    weight = (log_weight - log_weight.logsumexp(1, keepdim=True)).exp()
    centre = bins.double().mean(0)
    near = bins.double() - centre  # else the difference below would lose digits
    first = torch.einsum("nqhw,qc->nchw", weight, near)
    second = torch.einsum("nqhw,q->nhw", weight, near.square().sum(1))
    return [first + centre.view(1, 2, 1, 1), second - first.square().sum(1)]


def annealed_by_pixels(logits, bins, temperature):
    n, _, h, w = logits.shape
    pixels = logits.double().movedim(1, 3).flatten(0, 2)
    colours, spreads = [], []
    for p in pixels:
        f = ((p - p.max()) / temperature).exp()
        f = f / f.sum()
        colours.append(f @ bins.double())
        spreads.append(f @ (bins.double() - colours[-1]).norm(dim=1) ** 2)
    colour = torch.stack(colours).view(n, h, w, 2).movedim(3, 1)
    return colour, torch.stack(spreads).view(n, h, w)


# --- 9. predicting across channels ----------------------------------------------------
def cases_CrossChannel(g: Generator, hidden: bool) -> list[Case]:
    def case(n, h, w, d_l, d_ab, dtype=F32, kind="ordinary"):
        sizes = {"from_l": (d_l, 1), "from_ab": (d_ab, 2), "to_ab": (2, d_l)}
        networks = {}
        for name, (outputs, inputs) in (sizes | {"to_l": (1, d_ab)}).items():
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            networks[f"{name} weight"] = weight
            networks[f"{name} bias"] = 0.3 * normal(g, outputs, dtype=dtype)
        lab = normal(g, n, 3, h, w, dtype=dtype)
        return Case(kind, {"unseen" if kind == "encode" else "lab": lab} | networks)

    encode = partial(case, kind="encode")
    if not hidden:
        cases = [case(3, 2, 3, 4, 4), case(2, 2, 2, 3, 3, F64)]
        return [*cases, encode(3, 2, 2, 3, 3), encode(2, 2, 3, 2, 3)]
    n = whole(g, 4, 6)
    cases = [case(n, 3, 4, 5, 5), case(n + 1, whole(g, 4, 5), 2, 6, 3, F64)]
    cases += [case(1, 3, 5, 2, 4), encode(n, 4, 3, 4, 4)]
    return [*cases, encode(1, 3, 2, 5, 6, F64), encode(n + 2, 2, 5, 5, 3)]


class CrossBySplit(Method):
    def __init__(self, *given):
        super().__init__()
        self.from_l, self.from_ab, self.to_ab, self.to_l, *self.losses = given

    def loss(self, lab, y=None):
        lightness, ab = lab.split([1, 2], dim=1)
        second = self.losses[1](self.to_l(self.from_ab(ab)), lightness).double()
        return second + self.losses[0](self.to_ab(self.from_l(lightness)), ab).double()

    def encode(self, lab):
        lightness, ab = lab.split([1, 2], dim=1)
        return torch.cat([self.from_l(lightness), self.from_ab(ab)], dim=1)


class CrossInModules(Method):
    def __init__(self, *given):
        super().__init__()
        self.features, self.heads = nn.ModuleList(given[:2]), nn.ModuleList(given[2:4])
        self.losses = given[4:]

    def loss(self, lab, y=None):
        seen = [lab[:, [0]], lab[:, [1, 2]]]
        rows = zip(self.features, self.heads, self.losses, seen, seen[::-1])
        return sum(loss(head(half(x)), hidden) for half, head, loss, x, hidden in rows)

    @torch.no_grad()
    def encode(self, lab):
        seen = [lab[:, [0]], lab[:, [1, 2]]]
        return torch.hstack([half(x) for half, x in zip(self.features, seen)])


# --- the sheet ------------------------------------------------------------------------
PATCHES = ("centre", "neighbour", "float64")
VALUE = ("value", "float64")

SHEET: list[Master] = [
    Master(
        "eight_views",
        (
            Property(
                "turns and mirrors the pictures, in the right order",
                4,
                outputs=("views", "float64"),
            ),
            Property("labels the views", 2, outputs=("labels", "int64")),
        ),
        cases_eight_views,
        (views_by_flips, views_by_loops),
        library("transforms", "rot90")
        + library("pretext.rotation", "rotate_four_ways", "Rotation"),
    ),
    Master(
        "cut_patches",
        (
            Property("cuts both patches where they belong", 5, outputs=PATCHES),
            UNCHANGED,
        ),
        cases_cut_patches,
        (patches_by_index, patches_by_loops),
        library("pretext.patch_location", "patch_pairs", "PatchLocation"),
    ),
    Master(
        "maximin_set",
        (
            Property("adds the row with the largest smallest distance", 4),
            Property("takes the row with the largest sum of several such", 1, "sums"),
            Property("takes the lowest of several with this sum", 1, "numbers"),
        ),
        cases_maximin_set,
        (permutations_by_sorting, permutations_by_loops),
        library(
            "pretext.jigsaw",
            "permutation_set",
            "_permutation_set",
            "maximin_permutation_set",
            "_maximin_permutation_set",
        ),
    ),
    Master(
        "shuffle_tiles",
        (
            Property("cuts and shuffles square pictures", 4, outputs=VALUE),
            Property(
                "cuts and shuffles pictures that are not square", 1, "oblong", VALUE
            ),
        ),
        cases_shuffle_tiles,
        (tiles_by_gather, tiles_by_chunks),
        library("pretext.jigsaw", "cut_tiles", "Jigsaw"),
    ),
    Master(
        "masked_loss",
        (
            Property("gives the right values", 3, outputs=VALUE),
            UNCHANGED,
            gradient(1),
            Property("leaves out pictures without a hole", 1, "whole pictures", VALUE),
            Property(
                "is 0 with gradient 0 where nothing is missing",
                1,
                "nothing missing",
                ("value", "gradient"),
            ),
        ),
        cases_masked_loss,
        (loss_by_selection, loss_by_loops),
        library("pretext.context_encoder", "masked_reconstruction", "ContextEncoder"),
    ),
    Master(
        "soft_bins",
        (
            Property("gives the right shares", 4, outputs=VALUE),
            UNCHANGED,
            Property("stays right far away from every bin", 1, "far"),
        ),
        cases_soft_bins,
        (bins_by_mask, bins_by_loops),
        library("colour", "soft_bins", "nearest_bin"),
    ),
    Master(
        "rebalancing_weights",
        (
            Property("gives the right weights", 3, outputs=VALUE),
            UNCHANGED,
            Property("weighs bins that never occur", 1, "empty bins"),
        ),
        cases_rebalancing_weights,
        (weights_by_division, weights_by_loops),
        library("colour", "rebalancing_weights"),
    ),
    Master(
        "annealed_mean",
        (
            Property("gives the right colours", 3, outputs=("colour", "float64")),
            Property("gives the right spread", 1, outputs=("spread",)),
            UNCHANGED,
            Property(
                "stays right for large logits and extreme temperatures",
                1,
                "extreme",
                ("colour", "spread", "float64"),
            ),
        ),
        cases_annealed_mean,
        (annealed_by_logarithms, annealed_by_pixels),
        library("colour", "annealed_mean")
        + library("pretext.colourisation", "Colourisation"),
    ),
    Master(
        "CrossChannel",
        (
            Property("predicts each half from the other", 3),
            UNCHANGED,
            Property(
                "hands its networks' parameters to the optimiser",
                1,
                outputs=("parameters",),
            ),
            Property(
                "has a gradient through both halves and both heads",
                1,
                outputs=("gradient",),
            ),
            Property(
                "encodes a picture as the features of both halves",
                2,
                "encode",
                ("represent", "leaving"),
            ),
        ),
        cases_CrossChannel,
        (CrossBySplit, CrossInModules),
        library("pretext.split_brain", "SplitBrain"),
    ),
]
