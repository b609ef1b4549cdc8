"""Exercises 01, pretext tasks: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

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


def drive_rotation_batch(answer, a: Arrays) -> Arrays:
    """x: square pictures. `views`, `labels`; `int64`: whether the labels are such
    numbers, as cross_entropy wants."""
    views, labels = parts(answer(a["x"]), ("views", "labels"))
    is_int64 = getattr(labels, "dtype", None) == torch.int64
    return {"views": views, "labels": labels, "int64": is_int64}


drive_cut_patches = partial(
    on_case,
    tensors=("x", "corner", "which", "jitter"),
    settings=("patch", "gap"),
    names=("centre", "neighbour"),
)
drive_permutation_set = partial(on_case, tensors=("candidates",), settings=("count",))
drive_shuffle_tiles = partial(
    on_case, tensors=("x", "permutations", "labels"), settings=("side",)
)
drive_masked_loss = partial(
    on_case, tensors=("prediction", "target", "mask"), flows=("prediction",)
)
drive_soft_bins = partial(
    on_case, tensors=("ab", "bins"), settings=("neighbours", "sigma")
)
drive_rebalancing_weights = partial(on_case, tensors=("prior",), settings=("mix",))
drive_annealed_mean = partial(
    on_case, tensors=("logits", "bins"), settings=("temperature",)
)


def drive_CrossChannel(answer, a: Arrays) -> Arrays:
    """Builds the method of four tiny networks. A case with `lab` asks for a loss, one
    with `unseen` for `encode`.

    `value`: the loss; `gradient ...`: of each of the networks' eight parameters;
    `parameters`: how many numbers the method would give the optimiser, -1 where it is
    no torch module; `represent`: what encode returns.
    """
    halves, heads = ("from_l", "from_ab"), ("to_ab", "to_l")
    networks = {name: nn.Sequential(_one_by_one(a, name), nn.Tanh()) for name in halves}
    networks |= {name: _one_by_one(a, name) for name in heads}
    method = answer(*networks.values(), _loss_ab, _loss_l)
    if "unseen" in a:
        return {"represent": method.encode(a["unseen"])}
    value = method.loss(a["lab"], torch.arange(len(a["lab"])))
    known = method.parameters() if isinstance(method, nn.Module) else None
    outputs = {"value": value}
    outputs["parameters"] = -1 if known is None else sum(p.numel() for p in known)
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


# --- 1. rotations ---------------------------------------------------------------------
def cases_rotation_batch(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, side, dtype=F32):
        return make_case("ordinary", x=uniform(g, n, c, side, side, dtype=dtype))

    if not hidden:
        return [case(3, 2, 3), case(2, 3, 4, F64), case(1, 1, 2)]
    n = whole(g, 4, 7)
    cases = [case(n, 3, 5), case(n + 1, 1, whole(g, 5, 8), F64)]
    return [*cases, case(1, 4, 6), case(2 * n, 2, 2), case(2, 5, 1)]


def rotation_by_flips(x):
    half = x.flip(2).flip(3)
    turns = [x, x.mT.flip(2), half, half.mT.flip(2)]
    return torch.cat(turns), torch.tensor([k for k in range(4) for _ in x])


def rotation_by_loops(x):
    views, n, last = x.new_empty(4 * len(x), *x.shape[1:]), len(x), x.shape[-1] - 1
    for i, r, c in product(range(n), range(last + 1), range(last + 1)):
        places = (r, c), (last - c, r), (last - r, last - c), (c, last - r)
        for quarters, (row, column) in enumerate(places):
            views[quarters * n + i, :, row, column] = x[i, :, r, c]
    return [views, torch.arange(4 * n) // n]


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
def cases_permutation_set(g: Generator, hidden: bool) -> list[Case]:
    def permutations(m, t, alike):
        """(m, t); alike: most rows leave some places of the first one as they are, so
        that distances differ."""
        first, rows = torch.randperm(t, generator=g), []
        for _ in range(m):
            places = torch.randperm(t, generator=g)[: whole(g, 2, t) if alike else t]
            row = first.clone()
            row[places] = first[places[torch.randperm(len(places), generator=g)]]
            rows.append(row)
        return torch.stack([first, *rows[1:]] if alike else rows)

    def case(m, t, count, kind="ordinary"):
        while True:
            candidates = permutations(m, t, alike=kind != "ties")
            if len(candidates.unique(dim=0)) == m and tells(kind, candidates, count):
                return make_case(kind, candidates=candidates, count=count)

    if not hidden:
        cases = [case(10, 12, 5), case(11, 10, 4), case(5, 7, 5, "repeats")]
        return [*cases, case(8, 4, 4, "ties"), case(7, 5, 4, "ties")]
    cases = [case(whole(g, 12, 16), 16, 6), case(whole(g, 9, 11), 9, 5)]
    cases += [case(7, whole(g, 13, 15), 5)]
    cases += [case(6, 8, 6, "repeats"), case(7, 9, 7, "repeats")]
    cases += [case(whole(g, 12, 18), 5, 5, "ties")]
    return [*cases, case(whole(g, 9, 11), 4, 4, "ties")]


def tells(kind, candidates, count):
    """Whether ties and repeated rows matter only where the case's kind says so, and
    each rule that students confuse with the right one gives other rows."""
    m = len(candidates)
    apart = (candidates[:, None] != candidates).sum(2)  # (M, M)
    moved = (candidates[:, None] - candidates).abs()  # (M, M, T)
    alphabetical = candidates.unique(dim=0, return_inverse=True)[1]

    def total(rows):
        return apart[rows].sum(0)

    def chosen(score, again=False):
        rows = [0]
        while len(rows) < count:
            gone = torch.tensor([] if again else rows, dtype=torch.int64)
            rows.append(int(score(rows).index_fill(0, gone, -(10**6)).argmax()))
        return rows

    ties = (
        lambda rows: total(rows) * m + torch.arange(m),
        lambda rows: total(rows) * m - alphabetical,
        lambda rows: total(rows) * 1000 + apart[rows].amin(0),
    )
    ordinary = (
        lambda rows: apart[rows].amin(0),
        lambda rows: apart[rows].amax(0),
        lambda rows: apart[rows[-1]],
        lambda rows: apart[0],
        lambda rows: moved[rows].sum((0, 2)),
        lambda rows: moved[rows].square().sum((0, 2)),
        lambda rows: apart.sum(0),
        lambda rows: apart.sum(0) - total(rows),
    )
    right = chosen(total)
    tied, repeated = chosen(ties[0]) != right, chosen(total, again=True) != right
    if (kind == "ties", kind == "repeats") != (tied, repeated):
        return False
    rules = {"ordinary": ordinary, "repeats": (), "ties": ties}[kind]
    in_order = kind == "ordinary" and right == sorted(right)
    return not in_order and all(chosen(score) != right for score in rules)


def permutations_by_mean(candidates, count):
    apart = (candidates[:, None] != candidates[None]).double().mean(2)
    free, chosen = torch.arange(len(candidates)) > 0, [0]
    while len(chosen) < count:
        score = torch.where(free, apart[chosen].sum(0), -torch.inf)
        chosen.append((score > score.max() - 1e-9).nonzero()[0, 0].item())
        free[chosen[-1]] = False
    return torch.tensor(chosen)


def permutations_by_loops(candidates, count):
    rows, chosen = candidates.tolist(), [0]

    def total(k):
        return sum(a != b for j in chosen for a, b in zip(rows[j], rows[k]))

    while len(chosen) < count:
        left = [k for k in range(len(rows)) if k not in chosen]
        chosen.append(max(left, key=total))
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


# --- 5. the loss where pixels are missing ---------------------------------------------
def cases_masked_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, dtype=F32, kind="ordinary"):
        limit = torch.linspace(0.2, 0.7, n).view(-1, 1, 1, 1)
        while True:  # some pictures miss more pixels than others; none misses 0 or all
            mask = uniform(g, n, 1, h, w) < limit
            share = mask.float().mean((1, 2, 3))
            uneven = n == 1 or share.max() > 1.5 * share.min()
            if (share > 0).all() and (share < 0.9).all() and uneven:
                break
        prediction = normal(g, n, c, h, w, dtype=dtype)
        target = uniform(g, n, c, h, w, dtype=dtype)
        mask &= kind != "nothing missing"
        arrays = {"prediction": prediction, "target": target, "mask": mask}
        if kind != "ordinary":
            arrays["cotangent"] = 1.5
        return make_case(kind, **arrays)

    empty = partial(case, kind="nothing missing")
    graded = partial(case, kind="gradient")
    if not hidden:
        cases = [case(2, 3, 3, 4), case(3, 2, 4, 3, F64)]
        return [*cases, empty(2, 3, 2, 3), graded(2, 2, 3, 3, F64)]
    n = whole(g, 4, 7)
    cases = [case(n, 3, 5, 6), case(n + 1, 1, 6, whole(g, 4, 6), F64)]
    cases += [case(1, 4, 4, 7), empty(n, 2, 4, 4), empty(1, 3, 5, 2, F64)]
    return [*cases, graded(n, 3, 5, 5, F64), graded(n + 1, 2, 4, 5)]


def loss_by_selection(prediction, target, mask):
    there = mask.expand_as(prediction)
    total = F.mse_loss(prediction[there], target[there], reduction="sum")
    return total / there.sum().clamp(min=1)


def loss_by_loops(prediction, target, mask):
    total, n = 0 * prediction.double().sum(), 0
    for p, t, m in zip(prediction.double(), target.double(), mask[:, 0]):
        for r, c in m.nonzero().tolist():
            total, n = total + ((p[:, r, c] - t[:, r, c]) ** 2).sum(), n + len(p)
    return total / n if n else total


# --- 6. soft bins ---------------------------------------------------------------------
def cases_soft_bins(g: Generator, hidden: bool) -> list[Case]:
    def case(m, q, neighbours, sigma, dtype=F32, exponent=0.0, near=1):
        """exponent: of the Gaussian at all rows but the first `near`, which are far
        then; the bins lie about along a line."""
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
        kind, ab, bins = "far" if exponent else "ordinary", ab.to(dtype), bins.to(dtype)
        return make_case(kind, ab=ab, bins=bins, neighbours=neighbours, sigma=sigma)

    if not hidden:
        cases = [case(3, 6, 3, 2.0), case(4, 5, 2, 0.5, F64)]
        cases += [case(3, 5, 3, 2.0, exponent=125.0)]
        cases += [case(2, 6, 2, 5.0, F64, exponent=900.0)]
        # A single row: here the smallest distance of all rows is its own.
        return [*cases, case(1, 4, 2, 2.0, exponent=125.0, near=0)]
    n = whole(g, 5, 8)
    return [
        case(n, n + 4, 5, between(g, 3.0, 5.0)),
        case(n + 5, 7, 4, between(g, 0.3, 0.8), F64),
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
    def case(q, mix, dtype=F32, kind="ordinary"):
        prior = normal(g, q, dtype=F64).mul(1.2).exp() + 0.1
        if kind == "empty bins":
            prior[torch.randperm(q, generator=g)[: 1 + q // 4]] = 0
        return make_case(kind, prior=(prior / prior.sum()).to(dtype), mix=mix)

    empty = partial(case, kind="empty bins")
    if not hidden:
        return [case(4, 0.5), case(6, 0.2, F64), empty(5, 0.3)]
    q = whole(g, 7, 20)
    cases = [case(q, between(g, 0.3, 0.45)), case(2 * q, between(g, 0.6, 0.8), F64)]
    cases += [case(3, between(g, 0.1, 0.3)), case(q + 1, 1.0)]
    cases += [empty(q + 2, between(g, 0.6, 0.8))]
    return [*cases, empty(2, between(g, 0.2, 0.4), F64)]


def weights_by_interpolation(prior, mix):
    prior = prior.double()
    weight = torch.lerp(prior, torch.full_like(prior, 1 / len(prior)), mix).reciprocal()
    return weight / torch.dot(weight, prior)


def weights_by_loops(prior, mix):
    weight = [1 / ((1 - mix) * p + mix / len(prior)) for p in prior.tolist()]
    mean = sum(p * w for p, w in zip(prior.tolist(), weight))
    return torch.tensor([w / mean for w in weight])


# --- 8. the annealed mean -------------------------------------------------------------
def cases_annealed_mean(g: Generator, hidden: bool) -> list[Case]:
    def case(n, q, h, w, t, dtype=F32, scale=1.5, level=0.0):
        """t: the temperature. scale, level: of the logits; a pixel's level is its own,
        up to `level`."""
        logits = scale * normal(g, n, q, h, w, dtype=F64)
        logits = logits + level * (2 * uniform(g, n, 1, h, w, dtype=F64) - 1)
        bins = normal(g, q, 2, dtype=F64)
        # In float32 no mean is near 0: there its rounding would show.
        bins = 60 * bins if dtype == F64 else 2 + 0.8 * bins
        kind = "ordinary" if (scale, level) == (1.5, 0.0) else "extreme"
        logits, bins = logits.to(dtype), bins.to(dtype)
        return make_case(kind, logits=logits, bins=bins, temperature=t)

    if not hidden:
        cases = [case(2, 4, 2, 3, 0.4), case(1, 3, 3, 2, 0.7, F64)]
        cases += [case(2, 5, 1, 2, 0.4, level=60.0)]
        cases += [case(1, 4, 1, 2, 0.3, F64, level=700.0)]
        cases += [case(1, 12, 2, 2, 0.02, scale=0.024)]
        return [*cases, case(1, 9, 2, 1, 0.0025, F64, scale=0.003)]
    n = whole(g, 3, 5)
    return [
        case(n, 6, 3, 4, between(g, 0.3, 0.45)),
        case(n + 1, 8, 2, 2, between(g, 0.5, 0.7), F64),
        case(1, 2, 4, 1, between(g, 0.2, 0.3)),
        case(2, whole(g, 9, 12), 1, 5, between(g, 1.5, 2.5), F64),
        case(n, 7, 2, 4, between(g, 0.3, 0.45), level=60.0),
        case(2, 5, 2, 4, between(g, 0.3, 0.45), F64, level=800.0),
        case(2, whole(g, 13, 18), 2, 3, 0.02, scale=0.024),
        case(n, 10, 3, 1, 0.002, F64, scale=0.0025),
        case(1, 5, 3, 3, 0.05, F64, scale=30.0),
    ]


def annealed_by_logarithms(logits, bins, temperature):
    log_weight = logits.double().log_softmax(1) / temperature
    weight = (log_weight - log_weight.logsumexp(1, keepdim=True)).exp().to(bins)
    a, b = ((weight * channel.view(1, -1, 1, 1)).sum(1) for channel in bins.T)
    return torch.stack([a, b], 1)


def annealed_by_pixels(logits, bins, temperature):
    n, _, h, w = logits.shape
    pixels = logits.double().movedim(1, 3).flatten(0, 2)
    weights = [((p - p.max()) / temperature).exp() for p in pixels]
    colours = torch.stack([f @ bins.double() / f.sum() for f in weights])
    return colours.view(n, h, w, 2).movedim(3, 1)


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
PATCHES = ("centre", "neighbour")

SHEET: list[Master] = [
    Master(
        "rotation_batch",
        (
            Property("turns the pictures, in the right order", 3, outputs=("views",)),
            Property("labels the turns", 2, outputs=("labels", "int64")),
        ),
        cases_rotation_batch,
        (rotation_by_flips, rotation_by_loops),
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
        "permutation_set",
        (
            Property("adds the farthest row again and again", 4),
            Property("never chooses a row twice", 1, "repeats"),
            Property(
                "takes the lowest of several rows that are as far away", 1, "ties"
            ),
        ),
        cases_permutation_set,
        (permutations_by_mean, permutations_by_loops),
        library("pretext.jigsaw", "permutation_set", "_permutation_set"),
    ),
    Master(
        "shuffle_tiles",
        (
            Property("cuts and shuffles square pictures", 4),
            Property("cuts and shuffles pictures that are not square", 1, "oblong"),
        ),
        cases_shuffle_tiles,
        (tiles_by_gather, tiles_by_chunks),
        library("pretext.jigsaw", "cut_tiles", "Jigsaw"),
    ),
    Master(
        "masked_loss",
        (
            values(3),
            UNCHANGED,
            gradient(1),
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
            Property("gives the right shares", 4),
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
            Property("gives the right weights", 2),
            UNCHANGED,
            Property("weighs bins that never occur", 1, "empty bins"),
        ),
        cases_rebalancing_weights,
        (weights_by_interpolation, weights_by_loops),
        library("colour", "rebalancing_weights"),
    ),
    Master(
        "annealed_mean",
        (
            Property("gives the right colours", 3),
            UNCHANGED,
            Property("stays right for large logits and low temperatures", 1, "extreme"),
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
                ("represent",),
            ),
        ),
        cases_CrossChannel,
        (CrossBySplit, CrossInModules),
        library("pretext.split_brain", "SplitBrain"),
    ),
]
