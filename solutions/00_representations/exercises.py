"""Exercises 00, representations: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it.
"""

from functools import partial

from course_lib.grading.drive import on_case
from course_lib.grading.probes import precise, watched

drive_nearest_words = partial(on_case, tensors=("table", "given"), settings=("k",))
drive_majority_vote = partial(
    on_case, tensors=("train", "labels", "test"), settings=("k",)
)
drive_probe_step = precise(
    watched(
        partial(
            on_case,
            tensors=("x", "labels", "weight", "bias"),
            settings=("rate", "decay"),
            names=("weight", "bias"),
        )
    ),
    "weight",
    "bias",
)
drive_kmeans_step = precise(
    partial(on_case, tensors=("x", "weight", "means"), names=("codes", "means")),
    "means",
)
drive_relative_change = precise(
    partial(on_case, tensors=("h", "changed", "labels")), "value"
)
drive_effective_rank = precise(partial(on_case, tensors=("features",)), "value")
drive_mean_iou = partial(on_case, tensors=("scores", "masks"))
drive_report = partial(
    on_case, tensors=("validation", "test"), names=("setting", "mean", "std")
)


# --- private: what stands above is given to students ----------------------------------

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from course_lib.grading.draw import F32, F64, between, normal, uniform, whole
from course_lib.grading.exercise import (
    UNCHANGED,
    Case,
    Master,
    Property,
    library,
    make_case,
    values,
)

APART = 0.02  # least distance to the next one where order matters: rounding is smaller
drawn = partial(normal, dtype=F64)


def shuffled(g: Generator, values: Tensor) -> Tensor:
    return values[torch.randperm(len(values), generator=g)]


def gap(values: Tensor) -> float:
    """The least difference between any two of the values."""
    return values.flatten().sort().values.diff().min().item()


# --- 1. neighbours of several words ---------------------------------------------------
def cases_nearest_words(g: Generator, hidden: bool) -> list[Case]:
    def some(v, m):
        """m of the words 1 to v - 2, in any order."""
        return 1 + torch.randperm(v - 2, generator=g)[:m]

    def case(v, d, k, m, dtype=F32):
        """Rows of lengths 0.5 to 2 around a common direction. No two have nearly the
        same cosine. Other ways to compare rows find other words."""
        while True:
            given = some(v, m)
            lengths = uniform(g, v, 1, low=0.5, high=2, dtype=F64)
            table = lengths * F.normalize(drawn(g, v, d) + 0.4, dim=1)
            ways = ways_to_compare(table, given)
            ways = ways[:-2] if m == 1 else ways
            others = torch.stack(ways).index_fill(1, given, -torch.inf)
            found = others.sort(dim=1, descending=True, stable=True).indices[:, :k]
            clear = gap(ways[0][found[0]]) > APART / v
            if clear and (found[1:] != found[0]).any(1).all():
                return make_case("ordinary", table=table.to(dtype), given=given, k=k)

    def close(v, d, k, m):
        """Each row of the second half is one of the first half, turned towards the
        given words by so little that float32 cannot tell."""
        while True:
            given, table = some(v, m), 0.4 + drawn(g, v, d)
            query = F.normalize(table, dim=1)[given].mean(0)
            half = v // 2
            table[half : 2 * half] = table[:half] + 1e-7 * query
            words = words_by_loop(table, given, k)
            scores = ways_to_compare(table, given)[0].index_fill(0, given, -torch.inf)
            best = scores.sort(descending=True).values[: k + 1]
            rough = words_by_loop(table.float(), given, k)
            # given rows have copies, which are among the words
            if -best.diff().max() > 1e-9 and not torch.equal(words, rough):
                return make_case("ordinary", table=table, given=given, k=k)

    def one_hot(v, d, k, m, dtype=F32):
        """One-hot rows. Some words before and after the given ones have their rows."""
        place = torch.randint(0, d, (v,), generator=g)
        given = some(v, m)
        place[[0, v - 1]] = place[given[0]].item()
        table = F.one_hot(place, d).to(dtype)
        return make_case("equals", table=table, given=given, k=k)

    if not hidden:
        ordinary = [case(7, 3, 3, 2), case(8, 4, 6, 2, F64), case(9, 3, 2, 3)]
        ordinary += [close(8, 3, 4, 2)]
        identity = torch.eye(6, dtype=F64)
        identity = make_case("equals", table=identity, given=torch.tensor([2]), k=3)
        return [*ordinary, one_hot(20, 6, 12, 2), identity]
    v = whole(g, 12, 20)
    ordinary = [case(v, 5, 4, 2), case(v + 3, whole(g, 8, 12), v, 3, F64)]
    ordinary += [case(v + 1, 6, v - 3, 4), case(6, 3, 4, 1), close(v, 4, 6, 2)]
    equals = [one_hot(v + 20, whole(g, 4, 5), v, 3), one_hot(v + 5, 7, v, 2, F64)]
    return ordinary + equals


def ways_to_compare(table, given) -> list[Tensor]:
    """Scores of all words; the first is right. For one given word the last two are
    right, too."""
    unit, columns = F.normalize(table, dim=1), F.normalize(table, dim=0)
    centred = F.normalize(table - table.mean(0), dim=1)
    products = [of @ of[given].mean(0) for of in (unit, table, columns, centred)]
    distance = -(table[:, None] - table[given]).norm(dim=2).mean(1)
    cosines = unit @ unit[given].T
    summed = unit @ table[given].sum(0)
    return [*products, products[0].abs(), distance, summed, cosines.amax(1)]


def words_by_loop(table, given, k):
    """Plain loops over float64 numbers. Cosines that differ by rounding are equal."""
    rows, left_out = table.double(), given.tolist()
    rows = rows / rows.square().sum(1, keepdim=True).sqrt()
    others = [v for v in range(len(rows)) if v not in left_out]
    cosine = {
        v: round(sum((rows[v] @ rows[w]).item() for w in left_out), 11) for v in others
    }
    return torch.tensor(sorted(others, key=lambda v: (-cosine[v], v))[:k]).int()


def words_by_distance(table, given, k):
    """Of unit vectors: ||u - v||^2 = 2 - 2 cos, so the order is the same."""
    unit = table / table.square().sum(1, keepdim=True).sqrt()
    distance = (unit[:, None] - unit[given]).square().sum(2).sum(1)
    distance[given] = torch.inf
    return distance.sort(stable=True).indices[:k]


# --- 2. the majority of the neighbours ------------------------------------------------
def cases_majority_vote(g: Generator, hidden: bool) -> list[Case]:
    def far_away(n, m, d, k, classes):
        """Features around 100,000, where float32 cannot tell which rows are near."""
        while True:
            far = clear(n, m, d, k, classes, F64)
            a = far.arrays
            a["train"], a["test"] = a["train"] + 1e5, a["test"] + 1e5
            rough = vote_by_loops(a["train"].float(), a["labels"], a["test"].float(), k)
            fine = vote_by_loops(a["train"], a["labels"], a["test"], k)
            if not torch.equal(fine, rough):
                return far

    def case(kind, n, m, d, k, classes, dtype=F32):
        """m test rows or a few more. Votes tie in all of them or in none. Each other
        way to vote is wrong for one of them at least."""
        other_ways = ways_to_settle if kind == "ties" else ways_to_vote
        while True:
            train = (0.5 + drawn(g, n, d)).to(dtype)
            labels = shuffled(g, torch.arange(n) % classes)
            test = (0.5 + 0.8 * drawn(g, 200, d)).to(dtype)
            distance, order = (test[:, None] - train).norm(dim=2).sort(1)
            apart = distance[:, : k + 1].diff(dim=1).amin(1) > APART / n
            votes = F.one_hot(labels[order[:, :k]]).sum(1)
            tied = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
            kept = apart & (tied == (kind == "ties"))
            test, distance, near = test[kept], distance[kept], labels[order[kept]]
            found = torch.stack(other_ways(train, labels, test, k, distance, near))
            wrong = found[1 if classes == 2 else 0 :] != elected(near[:, :k])
            if wrong.any(1).all() and len(test) >= m:
                break
        # for each way: of the rows where it is wrong, the one where fewest others are
        telling = wrong.sum(0).masked_fill(~wrong, len(wrong) + 1).argmin(1)
        test = test[torch.cat([telling, torch.arange(m)]).unique()]
        return make_case(kind, train=train, labels=labels, test=test, k=k)

    clear, ties = partial(case, "ordinary"), partial(case, "ties")
    if not hidden:
        ordinary = [clear(12, 4, 2, 3, 2), clear(14, 2, 3, 5, 3, F64)]
        ordinary += [far_away(10, 12, 2, 3, 2)]
        return ordinary + [ties(12, 4, 2, 4, 2), ties(15, 2, 3, 5, 3, F64)]
    n = whole(g, 20, 30)
    cases = [clear(n, n // 2, whole(g, 4, 6), 5, 3)]
    cases += [clear(n + 2, 8, 2, 7, whole(g, 4, 5), F64), clear(n + 1, 10, 3, 11, 2)]
    cases += [far_away(n, 20, 3, 5, 3)]
    cases += [ties(n, 9, 3, 4, 2), ties(n + 1, 10, 2, 5, 3)]
    return cases + [ties(n + 3, 8, 4, 7, 4, F64)]


def elected(voters):
    """The class of each row of voters, nearest first."""
    same = (voters[:, :, None] == voters[:, None]).sum(2)
    return voters.gather(1, same.argmax(1, keepdim=True))[:, 0]


def ways_to_vote(train, labels, test, k, distance, near) -> list[Tensor]:
    """Wrong ones; the first is right for two classes. distance, near: to all training
    rows, and their labels, nearest first."""
    cosine = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    scaled = torch.cdist(test / train.std(0), train / train.std(0))
    others = [-cosine, -test @ train.T, torch.cdist(test, train, p=1), scaled]
    voters = [labels[other.argsort(1)[:, :k]] for other in others]
    voters += [near.flip(1)[:, :k], near[:, :1], near[:, : k + 1], near[:, 1 : k + 1]]
    mean = near[:, :k].double().mean(1).round().long()
    weighted = F.one_hot(near[:, :k]) / (distance[:, :k, None] + 1e-8)
    best = cosine.topk(k)
    lectures = F.one_hot(labels[best.indices]) * (best.values / 0.07).exp()[..., None]
    ways = [mean, weighted.sum(1).argmax(1), lectures.sum(1).argmax(1)]
    return [*ways, *map(elected, voters), elected(near)]


def ways_to_settle(train, labels, test, k, distance, near) -> list[Tensor]:
    """As `ways_to_vote`, where votes tie."""

    def fewer(row):
        votes = torch.bincount(row)
        one = (votes == votes.max()).sum() == 1
        return votes.argmax() if one else fewer(row[:-1])

    voters = near[:, :k]
    one = F.one_hot(voters)
    votes, total = one.sum(1), (one * distance[:, :k, None]).sum(1)
    smallest, largest = votes.argmax(1), votes.shape[1] - 1 - votes.flip(1).argmax(1)
    mean = (votes - total / (1 + total.max())).argmax(1)
    sent_away = torch.stack([fewer(row) for row in voters])
    return [near[:, 0], smallest, largest, mean, sent_away, elected(voters.flip(1))]


def vote_by_loops(train, labels, test, k):
    found = []
    for row in test.double().tolist():
        distance = [math.dist(row, other) for other in train.double().tolist()]
        nearest = sorted(range(len(train)), key=distance.__getitem__)[:k]
        voters = [int(labels[j]) for j in nearest]
        found.append(max(voters, key=voters.count))  # max: the first of several
    return torch.tensor(found)


def vote_with_bonus(train, labels, test, k):
    """A vote counts 1 and a bonus. The bonus of a voter is more than those of all
    behind it, and all together are less than a vote."""
    distance = (test[:, None] - train[None]).square().sum(2)
    voters = labels[distance.topk(k, largest=False).indices]
    worth = 1 + 2.0 ** -torch.arange(2, k + 2, dtype=torch.float64)
    return (F.one_hot(voters) * worth[:, None]).sum(1).argmax(1)


# --- 3. one step of a linear probe ----------------------------------------------------
def cases_probe_step(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, c, dtype=F32, levels=False):
        x, weight, bias = 0.5 + drawn(g, n, d), drawn(g, d, c), drawn(g, c)
        labels = shuffled(g, torch.arange(n) % (c - (kind == "absent class")))
        low, high = 0.1, 0.4
        if kind == "extreme":
            x[:, 0], weight[0], low, high = 1, 2000 + weight[0], 1e-4, 2e-4
            if levels:  # logits near -2000 in every second row
                x[1::2, 0] = -1
        decay, rate = between(g, low, high), between(g, 0.4, 0.8)
        x, weight, bias = (tensor.to(dtype) for tensor in (x, weight, bias))
        arrays = {"x": x, "labels": labels, "weight": weight, "bias": bias}
        return make_case(kind, **arrays, rate=rate, decay=decay)

    def far_away(n, d, c):
        """Two columns near 3 million, whose weights cancel but for float64."""
        given = case("ordinary", n, d, c, F64).arrays
        given["x"][:, :2] += 3e6
        given["weight"][1] = -given["weight"][0]
        return Case("ordinary", given)

    full, absent = partial(case, "ordinary"), partial(case, "absent class")
    extreme, both = partial(case, "extreme"), partial(case, "extreme", levels=True)
    if not hidden:
        cases = [full(4, 3, 2), full(5, 2, 3, F64), far_away(3, 3, 2)]
        cases += [absent(4, 2, 3)]
        return cases + [extreme(4, 3, 3), both(4, 2, 3, F64)]
    n = whole(g, 8, 16)
    cases = [full(n, 5, 4), full(1, whole(g, 4, 7), 3, F64)]
    cases += [full(n + 3, n + 5, 6, F64), full(n + 1, 1, 3), absent(n, 4, 5)]
    cases += [far_away(n, 4, 3)]
    cases += [absent(n, 3, 2, F64), extreme(n, 5, 4), both(n + 1, 3, 5)]
    return cases + [both(n + 2, 4, 3, F64)]


def probe_by_autograd(x, labels, weight, bias, rate, decay):
    with torch.enable_grad():
        old = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
        loss = F.cross_entropy(x @ old[0] + old[1], labels)
        loss = loss + decay / 2 * old[0].square().sum()
        slopes = torch.autograd.grad(loss, old)
    return [(one - rate * slope).detach() for one, slope in zip(old, slopes)]


def probe_by_loop(x, labels, weight, bias, rate, decay):
    new_weight, new_bias = (1 - rate * decay) * weight.double(), bias.double()
    for row, label in zip(x.double(), labels):
        logits = row @ weight.double() + bias.double()
        p = (logits - logits.logsumexp(0)).exp()
        p[label] -= 1
        new_weight = new_weight - rate / len(x) * torch.outer(row, p)
        new_bias = new_bias - rate / len(x) * p
    return new_weight.to(weight.dtype), new_bias.to(bias.dtype)


# --- 4. one step of weighted k-means --------------------------------------------------
def cases_kmeans_step(g: Generator, hidden: bool) -> list[Case]:
    def case(n, d, k, dtype=F32, empty=(), idle=(), low=0.5, high=3, far=0):
        """Vectors around 1 and means among them, those of `empty` far away. The members
        of `idle` weigh nothing. The step changes the nearest mean of some vector. far:
        added to all, so that float32 finds other codes."""
        while True:
            x, means = 1 + drawn(g, n, d), 1 + 0.8 * drawn(g, k, d)
            means[list(empty)] += 50
            x, means = x + far, means + far
            weight = uniform(g, n, low=low, high=high, dtype=F64)
            nearest = torch.cdist(x, means).sort(1).values[:, :2]
            codes, moved = kmeans_by_loops(x, weight, means)
            weight[torch.isin(codes, torch.tensor(idle))] = 0
            after = kmeans_by_loops(x, weight, moved)[0]
            moves = k - len(empty) == 1 or not torch.equal(codes, after)
            apart = k == 1 or nearest.diff(dim=1).min() > APART / n
            rough = kmeans_by_loops(x.float(), weight, means.float())[0]
            telling = not far or not torch.equal(rough, codes)
            met = len(codes.unique()) == k - len(empty)
            if apart and met and moves and telling:
                break
        kind = "empty mean" if (*empty, *idle) else "ordinary"
        arrays = {"x": x, "weight": weight, "means": means}
        return Case(kind, {name: array.to(dtype) for name, array in arrays.items()})

    few = {"low": 0.05, "high": 0.2}  # a cluster weighs less than 1
    if not hidden:
        cases = [case(8, 2, 3), case(9, 3, 2, F64, **few), case(8, 2, 3, F64, far=1e5)]
        cases += [case(6, 2, 3, empty=[1])]
        return cases + [case(8, 3, 4, F64, empty=[0, 3], idle=[1])]
    n = whole(g, 15, 22)
    cases = [case(n, 4, 5), case(n + 2, whole(g, 5, 8), 3, F64), case(n + 30, 2, 4)]
    cases += [case(4, 3, 1, **few), case(n, 3, 4, F64, far=1e5)]
    cases += [case(n, 3, 5, empty=[whole(g, 1, 3)], idle=[4])]
    return cases + [case(n + 1, 2, 6, F64, empty=[0, 2, 5], **few)]


def kmeans_by_loops(x, weight, means):
    codes = torch.tensor([(means - row).norm(dim=1).argmin() for row in x]).int()
    new = means.clone()
    for j in codes.unique().tolist():
        own = weight[codes == j]
        if own.sum() > 0:
            new[j] = (own[:, None] * x[codes == j]).sum(0) / own.sum()
    return codes, new


def kmeans_by_index_add(x, weight, means):
    distance = x.square().sum(1, keepdim=True) - 2 * x @ means.T + means.square().sum(1)
    codes = distance.min(1).indices
    total = torch.zeros_like(means).index_add_(0, codes, x * weight[:, None])
    mass = torch.bincount(codes, weight, minlength=len(means))[:, None]
    return codes, torch.where(mass == 0, means, (total / mass).to(x.dtype))


# --- 5. what a representation notices -------------------------------------------------
def cases_relative_change(g: Generator, hidden: bool) -> list[Case]:
    def case(n, d, noise, classes, dtype=F32, mean=1):
        """Features around the mean, whose spread grows from column to column. Classes
        of unequal sizes, each with a mean of its own."""
        labels = shuffled(g, torch.arange(n) % classes)
        own = 0.7 * drawn(g, classes, d)[labels]
        h = mean + own + drawn(g, n, d) * torch.linspace(0.5, 2, d, dtype=F64)
        changed = h + noise * (0.3 + drawn(g, n, d))
        kind = "large mean" if mean > 1 else "ordinary"
        arrays = {"h": h.to(dtype), "changed": changed.to(dtype)}
        return Case(kind, arrays | {"labels": labels})

    if not hidden:
        ordinary = [case(4, 2, 0.5, 3), case(5, 3, 1.0, 3, F64), case(4, 4, 0.0, 3)]
        large = [case(5, 3, 0.6, 4, mean=1000), case(4, 2, 0.6, 3, F64, mean=1e8)]
        return ordinary + large
    n = whole(g, 6, 10)
    noise = partial(between, g)
    cases = [case(n, 5, noise(0.3, 0.6), 4), case(n, 1, noise(0.3, 0.6), 5, F64)]
    cases += [case(4, whole(g, 5, 7), noise(0.5, 0.8), 4, F64)]
    cases += [case(n + 12, 3, noise(0.8, 1.5), 3)]
    cases += [case(n, 4, noise(0.5, 0.8), 3, mean=1000)]
    return cases + [case(n + 3, 6, noise(0.3, 0.6), 4, F64, mean=1e8)]


def change_by_cdist(h, changed, labels):
    centred = h - h.mean(0)
    distance = torch.cdist(
        centred, centred, compute_mode="donot_use_mm_for_euclid_dist"
    )
    other = (labels[:, None] != labels).to(h.dtype)
    moved = (h - changed).norm(dim=1).square().mean()
    return moved * other.sum() / (distance.square() * other).sum()


def change_by_loops(h, changed, labels):
    rows, names = h.double(), labels.tolist()
    apart = [
        (one - other).square().sum()
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
        if names[i] != names[j]
    ]
    moved = (rows - changed.double()).square().sum() / len(h)
    return moved / (sum(apart) / len(apart))


# --- 6. how many directions it uses ---------------------------------------------------
def cases_effective_rank(g: Generator, hidden: bool) -> list[Case]:
    def case(n, d, dtype=F32, zeros=(), last=-0.6, scale=1.0):
        """Columns of falling size around a mean; those in `zeros` are 0. last: the
        exponent of the last column's size."""
        sizes = scale * torch.logspace(0, last, d, dtype=F64)
        features = (0.3 + drawn(g, n, d)) * sizes
        features[:, list(zeros)] = 0
        return Case("zeros" if zeros else "ordinary", {"features": features.to(dtype)})

    if not hidden:
        cases = [case(5, 3), case(4, 6, F64), case(6, 2), case(5, 4, zeros=[1, 3])]
        cases += [case(7, 6, last=-3), case(3, 4, scale=1e-15)]
        cases += [case(4, 3, F64, scale=1e-50)]
        labels = torch.tensor([0, 0, 2, 3, 3, 3])
        return cases + [Case("zeros", {"features": F.one_hot(labels, 5).double()})]
    n = whole(g, 8, 14)
    cases = [case(n + 2, whole(g, 4, 7)), case(n, n + 5, F64), case(2 * n, 8)]
    cases += [case(n, n, F64), case(n, 6, zeros=[0, 4])]
    cases += [case(n, 7, last=-3), case(n, 4, scale=1e-15)]
    cases += [case(n, 5, F64, scale=1e-50)]
    cases += [case(n + 1, 5, F64, zeros=[whole(g, 0, 4)])]
    labels = shuffled(g, torch.arange(n + 3) % 4)
    return cases + [Case("zeros", {"features": F.one_hot(labels, 7).float()})]


def rank_by_gram(features):
    """The Gram matrix's eigenvalues are the squares of the singular values."""
    features = features.double() / features.abs().max()
    share = torch.linalg.eigvalsh(features @ features.T).clamp(min=0).sqrt()
    share = share[share > 1e-7 * share.max()] / share.sum()
    return (share ** (-share)).prod()


def rank_with_epsilon(features):
    """As RankMe has it."""
    values = torch.linalg.svd(features, full_matrices=False)[1]
    share = values / values.sum() + 1e-9
    return torch.exp(-(share * torch.log(share)).sum())


# --- 7. how good a mask is ------------------------------------------------------------
def cases_mean_iou(g: Generator, hidden: bool) -> list[Case]:
    def case(n, h, w, dtype=F32, empty=False, tiny=False):
        """Masks of different sizes; scores fit some of them better. Some scores are
        0. tiny: one pixel of the first picture belongs to its mask, and two are
        predicted."""
        size = shuffled(g, torch.linspace(0.2, 0.8, n, dtype=F64)).view(-1, 1, 1, 1)
        masks = uniform(g, n, 1, h, w, dtype=F64) < size
        help_ = shuffled(g, torch.linspace(0.2, 2, n, dtype=F64)).view(-1, 1, 1, 1)
        scores = drawn(g, n, 1, h, w) + help_ * (2.0 * masks - 1)
        scores.view(n, -1)[:, whole(g, 0, h * w - 1)] = 0
        masks[:, :, 0, 0], scores[:, :, 0, 0] = True, 0.3  # none is empty
        masks[:, :, -1, -1], scores[:, :, -1, -1] = False, 2
        scores[:, :, 0, -1] = 0
        if empty:  # both in the first picture, one of them in the next two
            masks[:2] = False
            scores[:3:2] = -scores[:3:2].abs()
        if tiny:
            masks[0, :, 0, 1:], masks[0, :, 1:] = False, False
            scores[0, :, 1:-1], scores[0, :, 0, 1:] = -1, -1
            scores[0, :, -1, :-1] = -1
        kind = "empty masks" if empty else "ordinary"
        return Case(kind, {"scores": scores.to(dtype), "masks": masks})

    if not hidden:
        cases = [case(3, 3, 4), case(2, 4, 4, F64), case(4, 3, 3, empty=True)]
        cases += [case(2, 4, 4, tiny=True)]
        return cases + [case(2, 3, 4, F64, empty=True)]
    n = whole(g, 5, 9)
    cases = [case(n, 6, whole(g, 7, 9)), case(1, 5, whole(g, 6, 8), F64)]
    cases += [case(3, 6, 5, tiny=True)]
    cases += [case(n + 2, 2, 9), case(n, 5, whole(g, 6, 8), empty=True)]
    return cases + [case(3, 8, 6, F64, empty=True)]


def iou_by_loops(scores, masks):
    found = []
    for score, mask in zip(scores, masks):
        predicted = set((score.flatten() > 0).nonzero()[:, 0].tolist())
        true = set(mask.flatten().nonzero()[:, 0].tolist())
        both, either = predicted & true, predicted | true
        found.append(len(both) / len(either) if either else 1.0)
    return torch.tensor(sum(found) / len(found))


def iou_with_epsilon(scores, masks):
    predicted, masks = (scores > 0).double().flatten(1), masks.double().flatten(1)
    intersection = (predicted * masks).sum(1) + 1e-7
    return (intersection / ((predicted + masks).sum(1) - intersection + 2e-7)).mean()


# --- 8. the number you report ---------------------------------------------------------
def cases_report(g: Generator, hidden: bool) -> list[Case]:
    def accuracies(low, high, s, r, dtype):
        both = [torch.randint(low, high, (s, r), generator=g) for _ in range(2)]
        return [runs.to(dtype) / 64 for runs in both]

    def case(s, r, dtype=F32):
        """Other ways to choose lead to other settings than the right one."""
        while True:
            validation, test = accuracies(20, 60, s, r, dtype)
            chosen, means = validation.mean(1), test.mean(1)
            clear = min(map(gap, (chosen, means, test.std(1)))) > 1e-3
            if clear and chosen.argmax().item() not in other_choices(validation, test):
                return Case("ordinary", {"validation": validation, "test": test})

    def close(s, r):
        """The best setting is better than an earlier one by less than float32 can
        tell."""
        best = case(s, r, F64).arrays
        first, second = best["validation"].mean(1).topk(2).indices.sort().values
        high = best["validation"].amax(0) + 1 / 64
        best["validation"][first], best["validation"][second] = high, high + 1e-10
        return Case("ordinary", best)

    def tied(s, r, dtype=F32):
        """Three settings have the best validation accuracies, in another order: their
        means are equal to the last bit. The second of them is the best on test."""
        best = torch.randperm(s, generator=g)[:3].sort().values
        validation, test = accuracies(20, 40, s, r, dtype)
        validation[best] = torch.arange(40, 40 + r, dtype=dtype) / 64
        validation[best[1]] = validation[best[1]].flip(0)
        test[best[1]], test[best[2]] = test[best[0]] + 0.25, test[best[0]] + 0.125
        return Case("ties", {"validation": validation, "test": test})

    if not hidden:
        while True:
            both = [case(6, 3), case(5, 4, F64)]
            ways = list(zip(*(other_choices(**c.arrays) for c in both)))
            if len(set(ways)) == len(ways):  # no two lead to the same settings in both
                return [*both, close(5, 2), tied(4, 2), tied(5, 4, F64)]
    r = whole(g, 3, 5)
    cases = [case(7, r), case(whole(g, 8, 10), 5, F64), case(4, 2), close(7, r + 1)]
    return cases + [tied(6, r), tied(7, 3, F64)]


def other_choices(validation, test) -> list[int]:
    """The settings to which other ways to choose lead."""
    worth = [test.mean(1), validation.amax(1), test.amax(1), validation.amin(1)]
    worth += [-validation.std(1), (validation + test).mean(1), -validation.mean(1)]
    return [each.argmax().item() for each in (*worth, validation[:, 0])]


def report_by_lists(validation, test):
    sums = [sum(row) for row in validation.tolist()]
    found = test[sums.index(max(sums))].tolist()
    mean = sum(found) / len(found)
    squares = sum((value - mean) ** 2 for value in found)
    return sums.index(max(sums)), mean, math.sqrt(squares / (len(found) - 1))


def report_by_formula(validation, test):
    s = validation.sum(1).max(0).indices
    mean = test.mean(1)[s]
    squares = (test.double()[s] - mean).square().sum()
    return s.int(), mean, (squares / (test.shape[1] - 1)).sqrt()


# --- the sheet ------------------------------------------------------------------------
STEP, MEANS, STD, CHOICE = ("weight", "bias"), ("means",), ("std",), ("setting", "mean")
FLOAT64 = ("float64",)

SHEET: list[Master] = [
    Master(
        "nearest_words",
        (
            Property("finds the right neighbours, nearest first", 3),
            UNCHANGED,
            Property("puts equals in ascending order", 1, "equals"),
        ),
        cases_nearest_words,
        (words_by_loop, words_by_distance),
    ),
    Master(
        "majority_vote",
        (
            Property("finds the right classes", 3),
            UNCHANGED,
            Property("settles ties by the nearest voter", 2, "ties"),
        ),
        cases_majority_vote,
        (vote_by_loops, vote_with_bonus),
        library("evaluate", "knn"),
    ),
    Master(
        "probe_step",
        (
            Property(
                "moves weight and bias as the formula says", 3, outputs=STEP + FLOAT64
            ),
            UNCHANGED,
            Property("knows classes without rows", 1, "absent class", STEP),
            Property("stays right for large logits", 1, "extreme", STEP),
        ),
        cases_probe_step,
        (probe_by_autograd, probe_by_loop),
        library("evaluate", "logistic_regression", "linear_probe"),
    ),
    Master(
        "kmeans_step",
        (
            Property("finds the right codes", 2, outputs=("codes",)),
            Property(
                "moves the means to the weighted mean of their members",
                2,
                outputs=MEANS + FLOAT64,
            ),
            UNCHANGED,
            Property(
                "leaves a mean whose members weigh nothing where it was",
                1,
                "empty mean",
                ("codes", "means"),
            ),
        ),
        cases_kmeans_step,
        (kmeans_by_loops, kmeans_by_index_add),
        library("clustering.kmeans", "nearest_mean", "means_of", "lloyd", "kmeans"),
    ),
    Master(
        "relative_change",
        (
            replace(values(2), outputs=("value", *FLOAT64)),
            UNCHANGED,
            Property("stays right where the mean is large", 1, "large mean"),
        ),
        cases_relative_change,
        (change_by_cdist, change_by_loops),
        library("evaluate", "relative_change"),
    ),
    Master(
        "effective_rank",
        (
            replace(values(2), outputs=("value", *FLOAT64)),
            Property("leaves its argument alone", 1, outputs=("unchanged",)),
            Property("lets a singular value of 0 contribute nothing", 1, "zeros"),
        ),
        cases_effective_rank,
        (rank_by_gram, rank_with_epsilon),
        library("evaluate", "effective_rank"),
    ),
    Master(
        "mean_iou",
        (
            values(2),
            UNCHANGED,
            Property(
                "counts a picture as 1 where both masks are empty", 1, "empty masks"
            ),
        ),
        cases_mean_iou,
        (iou_by_loops, iou_with_epsilon),
        library("evaluate", "intersection_over_union"),
    ),
    Master(
        "report",
        (
            Property(
                "chooses the right setting, and reports its mean", 2, outputs=CHOICE
            ),
            Property("reports the standard deviation of its seeds", 1, outputs=STD),
            UNCHANGED,
            Property("takes the first of settings that tie", 1, "ties", CHOICE),
        ),
        cases_report,
        (report_by_lists, report_by_formula),
    ),
]
