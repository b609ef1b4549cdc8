"""Exercises 01, pretext tasks: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it. A case that brings a `cotangent` asks
for the gradient too.
"""

import torch
from torch import Tensor, nn

from course_lib.grading.drive import function, gradients, same_bits


def drive_rotation_batch(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x: square pictures. `views`, `labels`; `int64`: whether the labels are such numbers, as cross_entropy wants."""
    views, labels = _two(answer(a["x"]), "the views and their labels")
    return {"views": views, "labels": labels, "int64": getattr(labels, "dtype", None) == torch.int64}


def drive_cut_patches(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, corner, which, jitter, patch, gap. `centre` and `neighbour`: the patches."""
    tensors = {name: a[name] for name in ("x", "corner", "which", "jitter")}
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    result = answer(*given.values(), a["patch"].item(), a["gap"].item())
    centre, neighbour = _two(result, "the centre patches and their neighbours")
    unchanged = all(same_bits(given[name], tensors[name]) for name in tensors)
    return {"centre": centre, "neighbour": neighbour, "unchanged": unchanged}


def drive_permutation_set(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """candidates, count."""
    return function(answer, {"candidates": a["candidates"]}, a["count"].item())


def drive_shuffle_tiles(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, permutations, labels, side."""
    return function(answer, {name: a[name] for name in ("x", "permutations", "labels")}, a["side"].item())


def drive_masked_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """prediction, target, mask."""
    return function(answer, {name: a[name] for name in ("prediction", "target", "mask")}, **_gradient(a, "prediction"))


def drive_soft_bins(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """ab, bins, neighbours, sigma."""
    return function(answer, {"ab": a["ab"], "bins": a["bins"]}, a["neighbours"].item(), a["sigma"].item())


def drive_rebalancing_weights(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """prior, mix."""
    return function(answer, {"prior": a["prior"]}, a["mix"].item())


def drive_annealed_mean(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """logits, bins, temperature."""
    return function(answer, {"logits": a["logits"], "bins": a["bins"]}, a["temperature"].item())


def drive_CrossChannel(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds the method of four tiny networks. A case with `lab` asks for a loss, one with `unseen` for `encode`.

    `value`: the loss; `gradient ...`: of each of the networks' eight parameters; `parameters`: how many numbers the
    method would give the optimiser, -1 where it is no torch module; `represent`: what encode returns.
    """
    networks = {
        "from_l": nn.Sequential(_one_by_one(a, "from_l"), nn.Tanh()),
        "from_ab": nn.Sequential(_one_by_one(a, "from_ab"), nn.Tanh()),
        "to_ab": _one_by_one(a, "to_ab"),
        "to_l": _one_by_one(a, "to_l"),
    }
    method = answer(*networks.values(), _loss_ab, _loss_l)
    if "unseen" in a:
        return {"represent": method.encode(a["unseen"])}
    value = method.loss(a["lab"], torch.arange(len(a["lab"])))
    leaves = {
        f"{name} {parameter_name}": parameter
        for name, network in networks.items()
        for parameter_name, parameter in network.named_parameters()
    }
    parameters = sum(p.numel() for p in method.parameters()) if isinstance(method, nn.Module) else -1
    return {"value": value, "parameters": parameters} | gradients(value, leaves)


def _loss_ab(prediction: Tensor, target: Tensor) -> Tensor:
    """No loss of any paper; it tells prediction from target."""
    return (prediction - target).square().mean() + (0.7 * target + 0.2).mul(prediction.sin()).mean()


def _loss_l(prediction: Tensor, target: Tensor) -> Tensor:
    """Another one."""
    return 1.6 * (prediction - target).square().mean() + (0.4 * target - 0.3).mul(prediction.cos()).mean()


def _one_by_one(a: dict[str, Tensor], name: str) -> nn.Conv2d:
    """A convolution that looks at one pixel at a time: (N, in, H, W) -> (N, out, H, W)."""
    weight, bias = a[f"{name} weight"], a[f"{name} bias"]  # (out, in), (out,)
    layer = nn.Conv2d(*weight.shape[::-1], 1, dtype=weight.dtype)
    layer.weight, layer.bias = nn.Parameter(weight[:, :, None, None].clone()), nn.Parameter(bias)
    return layer


def _two(result, what: str):
    """Both parts of an answer that returns a pair. Raises TypeError for anything else."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        came = f"{len(result)} values" if isinstance(result, (tuple, list)) else type(result).__name__
        raise TypeError(f"expected two tensors, {what}, got {came}")
    return result


def _gradient(a: dict[str, Tensor], *names: str) -> dict:
    return {"differentiate": names, "cotangent": a["cotangent"]} if "cotangent" in a else {}


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402
from itertools import product  # noqa: E402

import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402
from course_lib.train import Method  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


def uniform(generator: torch.Generator, *shape: int, dtype: torch.dtype = SINGLE) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=DOUBLE).to(dtype)


# --- 1. rotation ------------------------------------------------------------------------------------------------------


def cases_rotation_batch(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, c, side, dtype=SINGLE):
        return Case("ordinary", {"x": uniform(g, n, c, side, side, dtype=dtype)})

    if not hidden:
        return [case(3, 2, 3), case(2, 3, 4, DOUBLE), case(1, 1, 2)]
    n = whole(g, 4, 7)
    return [
        case(n, 3, 5),
        case(n + 1, 1, whole(g, 5, 8), DOUBLE),
        case(1, 4, 6),
        case(2 * n, 2, 2),
        case(2, 5, 1),
    ]


def _quarters(x):
    return torch.arange(4).repeat_interleave(len(x))


def _turned(x, quarters=range(4)):
    return torch.cat([torch.rot90(x, k, (2, 3)) for k in quarters])


def rotation_labels_interleaved(x):
    """The views come turn by turn, the labels picture by picture, 0 1 2 3 0 1 2 3: repeat_interleave, not repeat."""
    return _turned(x), torch.arange(4).repeat(len(x))


def rotation_labels_float(x):
    """The labels must be int64, as F.cross_entropy wants classes: torch.full and torch.arange take a dtype."""
    return _turned(x), _quarters(x).float()


def rotation_labels_one_hot(x):
    """The labels are one-hot rows; asked for are the numbers of the classes, (4N,)."""
    return _turned(x), F.one_hot(_quarters(x), 4)


def rotation_labels_as_column(x):
    """The labels come as a column (4N, 1); asked for is (4N,)."""
    return _turned(x), _quarters(x)[:, None]


def rotation_labels_in_degrees(x):
    """The labels are degrees; a class is a number from 0 to 3, the quarters turned."""
    return _turned(x), 90 * _quarters(x)


def rotation_labels_from_one(x):
    """The labels run from 1 to 4: a picture that is not turned has label 0."""
    return _turned(x), _quarters(x) + 1


def rotation_labels_of_pictures(x):
    """The labels number the pictures; asked is by how many quarters each view is turned."""
    return _turned(x), torch.arange(len(x)).repeat(4)


def rotation_labels_backwards(x):
    """The views are right, the labels count the quarters the other way: one quarter anticlockwise is label 1, not 3."""
    return _turned(x), -_quarters(x) % 4


def rotation_labels_of_one_picture(x):
    """There are four labels only; every one of the 4N views needs its own."""
    return _turned(x), torch.arange(4)


def rotation_clockwise(x):
    """These turn clockwise. torch.rot90 turns from the first of its dims to the second: (2, 3) is anticlockwise."""
    return _turned(x, (0, -1, -2, -3)), _quarters(x)


def rotation_interleaved(x):
    """The views come picture by picture, the first one four times; asked for is turn by turn: cat the turns."""
    views = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)], 1)
    return views.flatten(0, 1), torch.arange(4).repeat(len(x))


def rotation_stacked(x):
    """The four turns stand in a dimension of their own, (4, N, C, S, S): torch.cat makes one batch of 4N."""
    return _turned(x).unflatten(0, (4, len(x))), _quarters(x)


def rotation_wrong_dims(x):
    """torch.rot90 without dims turns dimensions 0 and 1, pictures and channels: height and width are dims=(2, 3)."""
    return torch.cat([torch.rot90(x, k) for k in range(4)]), _quarters(x)


def rotation_channels_turned(x):
    """Channels are turned with the rows: in (N, C, S, S) height and width are dims=(2, 3)."""
    return torch.cat([torch.rot90(x, k, (1, 2)) for k in range(4)]), _quarters(x)


def rotation_mirrored(x):
    """These are mirror images: flips never make a quarter turn, which swaps height and width."""
    return torch.cat([x, x.flip(3), x.flip(2, 3), x.flip(2)]), _quarters(x)


def rotation_transposed(x):
    """The quarter turns are transposes, which mirror: a transpose and a flip together make a turn."""
    return torch.cat([x, x.mT, x.flip(2, 3), x.flip(2, 3).mT]), _quarters(x)


def rotation_turned_again(x):
    """Each view turns the one before by k quarters, so the turns add up to 0, 1, 3, 6: turn x itself."""
    return _turned(x, (0, 1, 3, 6)), _quarters(x)


def rotation_all_halves(x):
    """Turns 1 and 3 came out as half turns: all four quarters are asked for, 0, 1, 2 and 3."""
    return _turned(x, (0, 2, 0, 2)), _quarters(x)


def rotation_three_only(x):
    """The picture as it is is missing: it is class 0 of the four."""
    return _turned(x, (1, 2, 3)), torch.arange(3).repeat_interleave(len(x))


def rotation_one_turn_each(x):
    """Each picture comes once, with one turn; asked for are all four turns of each, 4N views."""
    turns = torch.arange(len(x)) % 4
    return torch.stack([torch.rot90(p, int(k), (1, 2)) for p, k in zip(x, turns)]), turns


def rotation_nothing_turned(x):
    """The pictures are repeated but not turned: rot90 returns the turned picture, it does not change its argument."""
    return x.repeat(4, 1, 1, 1), _quarters(x)


def rotation_views_only(x):
    """Only the views are returned: asked for are two tensors, return views, labels."""
    return _turned(x)


def rotation_labels_first(x):
    """The labels are returned first: the views come first, then the labels."""
    return _quarters(x), _turned(x)


def rotation_labels_in_a_list(x):
    """The labels are a Python list; make it a tensor of int64."""
    return _turned(x), _quarters(x).tolist()


def rotation_none_returned(x):
    """Nothing is returned: is a `return` missing?"""


def rotation_by_flips(x):
    turns = [x, x.transpose(2, 3).flip(2), x.flip(2).flip(3), x.flip(2).transpose(2, 3)]
    return torch.cat(turns, 0), torch.tensor([k for k in range(4) for _ in x])


def rotation_by_loops(x):
    views, side = x.new_empty(4 * len(x), *x.shape[1:]), x.shape[-1]
    for i, r, c in product(range(len(x)), range(side), range(side)):
        views[i, :, r, c] = x[i, :, r, c]
        views[len(x) + i, :, side - 1 - c, r] = x[i, :, r, c]
        views[2 * len(x) + i, :, side - 1 - r, side - 1 - c] = x[i, :, r, c]
        views[3 * len(x) + i, :, c, side - 1 - r] = x[i, :, r, c]
    return [views, torch.arange(4 * len(x)) // len(x)]


# --- 2. patches -------------------------------------------------------------------------------------------------------


def cases_cut_patches(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, c, patch, gap, shake, which=None, dtype=SINGLE):
        """The picture has room around the grid: what is displaced the wrong way is still cut from inside it."""
        grid, room = 3 * patch + 2 * gap, 2 * shake + 3
        x = uniform(g, n, c, grid + 2 * room + 2, grid + 2 * room + 5, dtype=dtype)
        corner = torch.stack([room + torch.randperm(3, generator=g)[:2] for _ in range(n)])  # rows and columns differ
        corner[:, 1] += 2
        if which is None:
            which = torch.randperm(8, generator=g).repeat(-(-n // 8))[:n]
        while True:
            jitter = torch.randint(-shake, shake + 1, (n, 2, 2), generator=g)
            if (jitter[:, 0] != jitter[:, 1]).any() and (jitter[..., 0] != jitter[..., 1]).any(0).all():
                break
        return Case("ordinary", {"x": x, "corner": corner, "which": torch.as_tensor(which), "jitter": jitter,
                                 "patch": scalar(patch), "gap": scalar(gap)})

    if not hidden:
        return [case(4, 1, 2, 1, 1, (5, 0, 4, 2)), case(3, 2, 2, 2, 1, (7, 3, 6), DOUBLE)]
    return [
        case(whole(g, 8, 11), 3, 3, 1, 2),
        case(whole(g, 5, 7), 1, 4, 2, 1, dtype=DOUBLE),
        case(1, 4, 5, 3, 2, (whole(g, 0, 7),)),
        case(9, 2, 1, 4, 3),
        case(8, 3, 2, 0, 1),
    ]


def _cell(which):
    """The grid's cells 0..8 row by row; 4 is the centre, which no neighbour has."""
    return which + (which >= 4)


def _patches(x, corner, cell, jitter, patch, pitch):
    """corner, jitter (N, 2), cell (N,): one patch of each picture."""
    at = corner + pitch * torch.stack([cell // 3, cell % 3], 1) + jitter
    return torch.stack([p[:, t : t + patch, s : s + patch] for p, (t, s) in zip(x, at.tolist())])


def _pair(x, corner, cells, jitter, patch, pitch):
    return tuple(_patches(x, corner, cell, jitter[:, k], patch, pitch) for k, cell in enumerate(cells))


def _centre(which):
    return torch.full_like(which, 4)


def patches_in_place(x, corner, which, jitter, patch, gap):
    """An argument itself is changed: which[which >= 4] += 1 or jitter += ... write into the caller's tensors."""
    which[which >= 4] += 1
    return _pair(x, corner, (_centre(which), which), jitter, patch, patch + gap)


def patches_centre_not_skipped(x, corner, which, jitter, patch, gap):
    """Neighbour 4 is taken to be cell 4, the centre itself: from 4 on the cells' numbers are one higher."""
    return _pair(x, corner, (_centre(which), which), jitter, patch, patch + gap)


def patches_one_too_far(x, corner, which, jitter, patch, gap):
    """All neighbours are taken one cell too far: below 4 a number is the cell's own, only from 4 on it is one less."""
    return _pair(x, corner, (_centre(which), which + 1), jitter, patch, patch + gap)


def patches_column_by_column(x, corner, which, jitter, patch, gap):
    """The cells are numbered column by column: row by row means row = cell // 3, column = cell % 3."""
    cell = _cell(which)
    return _pair(x, corner, (_centre(which), cell % 3 * 3 + cell // 3), jitter, patch, patch + gap)


def patches_clockwise(x, corner, which, jitter, patch, gap):
    """The neighbours are numbered clockwise; here they are numbered row by row, the centre left out."""
    around = torch.tensor([0, 1, 2, 5, 8, 7, 6, 3])
    return _pair(x, corner, (_centre(which), around[which]), jitter, patch, patch + gap)


def patches_opposite(x, corner, which, jitter, patch, gap):
    """The neighbour on the opposite side is cut: the offset is from the centre to the neighbour."""
    return _pair(x, corner, (_centre(which), 8 - _cell(which)), jitter, patch, patch + gap)


def patches_without_gap(x, corner, which, jitter, patch, gap):
    """The gap is left out: from one patch to the next it is patch + gap pixels."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter, patch, patch)


def patches_gap_only(x, corner, which, jitter, patch, gap):
    """From one patch to the next it is `gap` pixels here: the patch itself takes room, too, patch + gap."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter, patch, gap)


def patches_gap_on_both_sides(x, corner, which, jitter, patch, gap):
    """Each patch has its gap on both sides: between two patches there are `gap` pixels, not twice as many."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter, patch, patch + 2 * gap)


def patches_gap_before_the_grid(x, corner, which, jitter, patch, gap):
    """There is a gap before the first cell: the grid's top left pixel is at `corner`."""
    return _pair(x, corner + gap, (_centre(which), _cell(which)), jitter, patch, patch + gap)


def patches_one_jitter_for_both(x, corner, which, jitter, patch, gap):
    """Both patches are displaced alike, so their distance gives the answer away: jitter[:, 1] is the neighbour's."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter[:, [0, 0]], patch, patch + gap)


def patches_jitter_swapped(x, corner, which, jitter, patch, gap):
    """The jitters are swapped: jitter[:, 0] displaces the centre patch, jitter[:, 1] the neighbour."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter.flip(1), patch, patch + gap)


def patches_jitter_transposed(x, corner, which, jitter, patch, gap):
    """The jitter's rows and columns are mixed up: in jitter[i, p], p is the patch; down and right come last."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter.mT, patch, patch + gap)


def patches_jitter_right_then_down(x, corner, which, jitter, patch, gap):
    """The jitter is taken as (right, down); it is (down, right), rows first."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter.flip(2), patch, patch + gap)


def patches_jitter_of_first_picture(x, corner, which, jitter, patch, gap):
    """All pictures have the first one's jitter: each has its own."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter[:1].expand_as(jitter), patch, patch + gap)


def patches_jitter_accumulates(x, corner, which, jitter, patch, gap):
    """The neighbour is counted from the displaced centre, so both jitters move it: each patch has its own alone."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter.cumsum(1), patch, patch + gap)


def patches_no_jitter(x, corner, which, jitter, patch, gap):
    """The jitter is left out: each patch is displaced by its own."""
    return _pair(x, corner, (_centre(which), _cell(which)), 0 * jitter, patch, patch + gap)


def patches_centre_not_displaced(x, corner, which, jitter, patch, gap):
    """Only the neighbour is displaced: the centre patch has a jitter as well, jitter[:, 0]."""
    still = torch.stack([0 * jitter[:, 0], jitter[:, 1]], 1)
    return _pair(x, corner, (_centre(which), _cell(which)), still, patch, patch + gap)


def patches_jitter_sign(x, corner, which, jitter, patch, gap):
    """The jitter is subtracted: a positive one goes down and to the right."""
    return _pair(x, corner, (_centre(which), _cell(which)), -jitter, patch, patch + gap)


def patches_corner_swapped(x, corner, which, jitter, patch, gap):
    """The corner is taken as (left, top); it is (top, left), rows first."""
    return _pair(x, corner.flip(1), (_centre(which), _cell(which)), jitter, patch, patch + gap)


def patches_corner_of_first_picture(x, corner, which, jitter, patch, gap):
    """All grids begin at the first picture's corner: each picture has its own."""
    return _pair(x, corner[:1].expand_as(corner), (_centre(which), _cell(which)), jitter, patch, patch + gap)


def patches_corner_is_the_centre(x, corner, which, jitter, patch, gap):
    """The centre patch is cut at `corner`: there the whole grid begins, the centre is one cell down and right."""
    return _pair(x, corner - patch - gap, (_centre(which), _cell(which)), jitter, patch, patch + gap)


def patches_first_cell_as_centre(x, corner, which, jitter, patch, gap):
    """The first patch comes from the grid's first cell: it is the one in the middle."""
    return _pair(x, corner, (0 * which, _cell(which)), jitter, patch, patch + gap)


def patches_neighbour_first(x, corner, which, jitter, patch, gap):
    """The neighbours are returned first: the centre patches come first."""
    return _pair(x, corner, (_centre(which), _cell(which)), jitter, patch, patch + gap)[::-1]


def patches_one_neighbour_for_all(x, corner, which, jitter, patch, gap):
    """All pictures have the first one's neighbour: each has its own number in `which`."""
    return _pair(x, corner, (_centre(which), _cell(which[:1]).expand_as(which)), jitter, patch, patch + gap)


def patches_in_one_batch(x, corner, which, jitter, patch, gap):
    """Both are returned as one batch: asked for are two tensors, the centre patches and the neighbours."""
    return torch.cat(_pair(x, corner, (_centre(which), _cell(which)), jitter, patch, patch + gap))


def patches_by_gather(x, corner, which, jitter, patch, gap):
    offsets = torch.tensor([[r, c] for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)])
    middle = corner + patch + gap
    found = []
    for at in (middle + jitter[:, 0], middle + (patch + gap) * offsets[which] + jitter[:, 1]):
        rows, columns = (at[:, k, None] + torch.arange(patch) for k in range(2))  # (N, patch)
        found.append(x[torch.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(3, 1))
    return found


def patches_by_loops(x, corner, which, jitter, patch, gap):
    both = ([], [])
    for i, picture in enumerate(x):
        cells = [(r, c) for r in range(3) for c in range(3) if not r == c == 1]
        for k, (r, c) in enumerate([(1, 1), cells[which[i]]]):
            top = int(corner[i, 0] + r * (patch + gap) + jitter[i, k, 0])
            left = int(corner[i, 1] + c * (patch + gap) + jitter[i, k, 1])
            both[k].append(picture.narrow(1, top, patch).narrow(2, left, patch))
    return torch.stack(both[0]), torch.stack(both[1])


# --- 3. a set of permutations -----------------------------------------------------------------------------------------


def cases_permutation_set(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, m, t, count):
        while True:
            candidates = _permutations(g, m, t, alike=kind != "ties")
            if len(candidates.unique(dim=0)) < m:
                continue
            right, tied = _greedy(candidates, count), _greedy(candidates, count, last=True)
            again = _greedy(candidates, count, again=True)
            rivals = {"ordinary": RIVALS, "repeats": (), "ties": TIE_BREAKERS}[kind]
            if (kind == "ties") != (right == tied) and (kind == "repeats") != (right == again):
                if all(rival(candidates, count).tolist() != right for rival in rivals):
                    return Case(kind, {"candidates": candidates, "count": scalar(count)})

    if not hidden:
        return [
            case("ordinary", 10, 12, 5),
            case("ordinary", 11, 10, 4),
            case("repeats", 5, 7, 5),
            case("ties", 8, 4, 4),
            case("ties", 7, 5, 4),
        ]
    return [
        case("ordinary", whole(g, 12, 16), 16, 6),
        case("ordinary", whole(g, 9, 11), 9, 5),
        case("ordinary", 7, whole(g, 13, 15), 5),
        case("repeats", 6, 8, 6),
        case("repeats", 7, 9, 7),
        case("ties", whole(g, 12, 18), 5, 5),
        case("ties", whole(g, 9, 11), 4, 4),
    ]


def _permutations(g: torch.Generator, m: int, t: int, alike: bool) -> Tensor:
    """m permutations of t; alike: most of them leave some places of the first one as they are, so that distances
    differ."""
    first, rows = torch.randperm(t, generator=g), []
    for _ in range(m):
        places = torch.randperm(t, generator=g)[: whole(g, 2, t) if alike else t]
        row = first.clone()
        row[places] = first[places[torch.randperm(len(places), generator=g)]]
        rows.append(row)
    return torch.stack([first, *rows[1:]]) if alike else torch.stack(rows)


def _greedy(candidates, count, again=False, last=False):
    """The right rows as a list; again: a row may come twice; last: of several as far away, the last one is taken."""
    apart = (candidates[:, None] != candidates[None]).sum(2).tolist()
    chosen, total = [0], [0] * len(candidates)
    while len(chosen) < count:
        total = [before + now for before, now in zip(total, apart[chosen[-1]])]
        left = [k for k in range(len(total)) if again or k not in chosen]
        most = max(total[k] for k in left)
        chosen.append([k for k in left if total[k] == most][-1 if last else 0])
    return chosen


def _chosen(candidates, count, score):
    """Rows 0 and then, `count` times in all, the row left that has the largest score(distances (chosen, M))."""
    chosen = [0]
    while len(chosen) < count:
        apart = (candidates[chosen][:, None] != candidates[None]).sum(2)  # (chosen, M)
        chosen.append(int(score(apart).index_fill(0, torch.tensor(chosen), -(10**6)).argmax()))
    return torch.tensor(chosen)


def permutations_repeated(candidates, count):
    """A row comes twice: its distance to itself is 0, but the sum of its distances may be the largest all the same."""
    return torch.tensor(_greedy(candidates, count, again=True))


def permutations_last_of_ties(candidates, count):
    """Of several candidates as far away, the last is taken; asked for is the lowest row: > instead of >=."""
    return torch.tensor(_greedy(candidates, count, last=True))


def permutations_ties_by_tiles(candidates, count):
    """Of several candidates as far away, the first in alphabetical order is taken; asked for is the lowest row."""
    rank = torch.empty(len(candidates), dtype=torch.int64)
    rank[torch.tensor(sorted(range(len(candidates)), key=lambda k: candidates[k].tolist()))] = torch.arange(len(rank))
    return _chosen(candidates, count, lambda apart: apart.sum(0) * len(rank) - rank)


def permutations_ties_by_worst(candidates, count):
    """Of several candidates as far away, the one with the largest smallest distance is taken; asked for is the lowest
    row."""
    return _chosen(candidates, count, lambda apart: apart.sum(0) * 1000 + apart.amin(0))


def permutations_smallest_distance(candidates, count):
    """This maximises the smallest distance to those chosen; Algorithm 1 maximises the sum of the distances."""
    return _chosen(candidates, count, lambda apart: apart.amin(0))


def permutations_largest_distance(candidates, count):
    """This maximises the largest distance to those chosen; Algorithm 1 maximises the sum of the distances."""
    return _chosen(candidates, count, lambda apart: apart.amax(0))


def permutations_from_the_last(candidates, count):
    """Only the distance to the row chosen last counts: add up those to all rows chosen so far."""
    return _chosen(candidates, count, lambda apart: apart[-1])


def permutations_from_the_first(candidates, count):
    """These are the rows farthest from row 0: the distances to all rows chosen so far count."""
    return _chosen(candidates, count, lambda apart: apart[0])


def permutations_near(candidates, count):
    """This chooses the rows nearest to those chosen: the sum of the distances shall be as large as possible."""
    return _chosen(candidates, count, lambda apart: -apart.sum(0))


def permutations_how_far(candidates, count):
    """This adds up how far each tile has moved, |a - b|: the Hamming distance only counts the places that differ."""
    chosen = [0]
    while len(chosen) < count:
        apart = (candidates[chosen][:, None] - candidates[None]).abs().sum((0, 2))
        chosen.append(int(apart.index_fill(0, torch.tensor(chosen), -1).argmax()))
    return torch.tensor(chosen)


def permutations_euclidean(candidates, count):
    """These are squared differences: the Hamming distance only counts the places that differ."""
    chosen = [0]
    while len(chosen) < count:
        apart = (candidates[chosen][:, None] - candidates[None]).square().sum((0, 2))
        chosen.append(int(apart.index_fill(0, torch.tensor(chosen), -1).argmax()))
    return torch.tensor(chosen)


def permutations_far_from_all(candidates, count):
    """These are the rows farthest from all candidates; the distances to those chosen count, one after the other."""
    total = (candidates[:, None] != candidates[None]).sum((1, 2)).index_fill(0, torch.tensor([0]), 10**6)
    return torch.sort(total, descending=True, stable=True).indices[:count]


def permutations_far_from_those_left(candidates, count):
    """The distances to the rows that are left are added up: those to the rows chosen so far count."""
    apart, chosen = (candidates[:, None] != candidates[None]).sum(2), [0]
    while len(chosen) < count:
        left = apart.index_fill(0, torch.tensor(chosen), 0).sum(0)
        chosen.append(int(left.index_fill(0, torch.tensor(chosen), -1).argmax()))
    return torch.tensor(chosen)


def permutations_first_rows(candidates, count):
    """These are simply the first rows."""
    return torch.arange(count)


def permutations_sorted(candidates, count):
    """The rows come sorted by number; asked for is the order in which they are chosen."""
    return torch.tensor(_greedy(candidates, count)).sort().values


def permutations_themselves(candidates, count):
    """These are the permutations; asked for are the numbers of their rows, (count,)."""
    return candidates[_greedy(candidates, count)]


def permutations_without_the_first(candidates, count):
    """Row 0 is missing: it is the first one chosen, and counts."""
    return torch.tensor(_greedy(candidates, count + 1 if count < len(candidates) else count)[1:])


def permutations_one_too_few(candidates, count):
    """There is one row too few: row 0 is one of them."""
    return torch.tensor(_greedy(candidates, max(count - 1, 1)))


def permutations_one_too_many(candidates, count):
    """There is one row too many: row 0 is one of the `count`."""
    return torch.tensor(_greedy(candidates, count + 1, again=count == len(candidates)))


def permutations_in_a_list(candidates, count):
    """A Python list is returned; make it a tensor."""
    return _greedy(candidates, count)


def permutations_by_matrix(candidates, count):
    apart = (candidates[:, None] != candidates[None]).double().mean(2)  # the mean over places orders them alike
    free, chosen = torch.ones(len(candidates), dtype=torch.bool), [0]
    free[0] = False
    while len(chosen) < count:
        score = torch.where(free, apart[chosen].sum(0), -torch.inf)
        best = (score > score.max() - 1e-9).nonzero()[0, 0]
        free[best] = False
        chosen.append(best.item())
    return torch.tensor(chosen)


def permutations_by_loops(candidates, count):
    rows = candidates.tolist()
    chosen = [0]
    for _ in range(count - 1):
        best, most = None, -1
        for k, row in enumerate(rows):
            total = sum(a != b for j in chosen for a, b in zip(rows[j], row))
            if k not in chosen and total > most:
                best, most = k, total
        chosen.append(best)
    return torch.tensor(chosen)


# An ordinary case tells each of these from what is right.
RIVALS = (
    permutations_smallest_distance,
    permutations_largest_distance,
    permutations_from_the_last,
    permutations_from_the_first,
    permutations_how_far,
    permutations_euclidean,
    permutations_far_from_all,
    permutations_far_from_those_left,
    permutations_sorted,
)
TIE_BREAKERS = permutations_last_of_ties, permutations_ties_by_tiles, permutations_ties_by_worst


# --- 4. shuffled tiles ------------------------------------------------------------------------------------------------


def cases_shuffle_tiles(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, side, rows, dtype=SINGLE):
        tiles = side**2
        table = []
        while len(table) < rows:  # a permutation that undoes itself does not tell the order from its inverse
            order = torch.randperm(tiles, generator=g)
            if (order[order] != torch.arange(tiles)).any():
                table.append(order)
        table = torch.stack(table)
        while True:
            labels = torch.randint(rows, (n,), generator=g)
            if n == 1 and labels[0] > 0 or (labels != labels[0]).any() and (labels != torch.arange(n)).all():
                break
        x = uniform(g, n, c, side * h, side * w, dtype=dtype)
        arrays = {"x": x, "permutations": table, "labels": labels, "side": scalar(side)}
        return Case("ordinary" if h == w else "oblong", arrays)

    if not hidden:
        return [case(2, 3, 2, 2, 2, 4), case(3, 2, 1, 1, 3, 3, DOUBLE), case(2, 1, 2, 3, 2, 3), case(2, 2, 2, 1, 2, 4)]
    n = whole(g, 4, 6)
    return [
        case(n, 3, 3, 3, 2, n + 1),
        case(n + 1, 2, 2, 2, 3, 5, DOUBLE),
        case(1, 4, 2, 2, 4, 6),
        case(n, 5, whole(g, 4, 5), 2, 2, 7),
        case(n, 3, 1, whole(g, 3, 4), 3, 8, DOUBLE),
    ]


def _tiles(x, side):
    """(N, T, C, h, w), row by row."""
    n, c, height, width = x.shape
    cut = x.reshape(n, c, side, height // side, side, width // side)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _in_order(tiles, order):
    return tiles[torch.arange(len(tiles))[:, None], order]


def tiles_square_view(x, permutations, labels, side):
    """Height and width of a tile are taken to be the same, which holds for square pictures only: width // side."""
    n, c, height, _ = x.shape
    cut = x.reshape(n, c, side, height // side, side, height // side)
    return _in_order(cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2), permutations[labels])


def tiles_square_slices(x, permutations, labels, side):
    """Tiles are as wide as they are high, which is right for square pictures only: they are width // side wide."""
    h = x.shape[2] // side
    cut = [x[:, :, r * h : r * h + h, c * h : c * h + h] for r in range(side) for c in range(side)]
    return _in_order(torch.stack(cut, 1), permutations[labels])


def tiles_square_by_width(x, permutations, labels, side):
    """Tiles are as high as they are wide, which is right for square pictures only: they are height // side high."""
    w = x.shape[3] // side
    cut = [x[:, :, r * w : r * w + w, c * w : c * w + w] for r in range(side) for c in range(side)]
    return _in_order(torch.stack(cut, 1), permutations[labels])


def tiles_height_and_width_swapped(x, permutations, labels, side):
    """Height and width of a tile are swapped, which is right for square pictures only."""
    n, c, height, width = x.shape
    cut = x.reshape(n, c, side, width // side, side, height // side)
    return _in_order(cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2), permutations[labels])


def tiles_inverse(x, permutations, labels, side):
    """Tile j has gone to place order[j]; asked is the inverse: place j holds tile order[j]."""
    return _in_order(_tiles(x, side), permutations[labels].argsort(1))


def tiles_not_shuffled(x, permutations, labels, side):
    """The tiles are in their own order: put them in that of permutations[labels]."""
    return _tiles(x, side)


def tiles_one_order_for_all(x, permutations, labels, side):
    """All pictures are shuffled by the first one's permutation: each has its own label."""
    return _in_order(_tiles(x, side), permutations[labels[:1]])


def tiles_permutations_in_order(x, permutations, labels, side):
    """Picture i is shuffled by permutation i: it is that of its label, permutations[labels[i]]."""
    return _in_order(_tiles(x, side), permutations[torch.arange(len(x)) % len(permutations)])


def tiles_column_by_column(x, permutations, labels, side):
    """Tiles are numbered column by column: number them row by row, tile 1 is to the right of tile 0."""
    return _in_order(_tiles(x, side).unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2), permutations[labels])


def tiles_just_reshaped(x, permutations, labels, side):
    """A reshape to (N, T, C, h, w) alone mixes up the pixels: split height and width in two each, then permute."""
    n, c, height, width = x.shape
    return _in_order(x.reshape(n, side * side, c, height // side, width // side), permutations[labels])


def tiles_channels_cut(x, permutations, labels, side):
    """The pixels of each channel are cut up in reading order, so a tile holds rows that are as wide as the picture."""
    n, c, height, width = x.shape
    cut = x.reshape(n, c, side * side, height // side, width // side).transpose(1, 2)
    return _in_order(cut, permutations[labels])


def tiles_every_other_pixel(x, permutations, labels, side):
    """A tile holds every side-th pixel: it is a block of pixels that lie together, (side, h) and not (h, side)."""
    n, c, height, width = x.shape
    cut = x.reshape(n, c, height // side, side, width // side, side)
    return _in_order(cut.permute(0, 3, 5, 1, 2, 4).flatten(1, 2), permutations[labels])


def tiles_transposed(x, permutations, labels, side):
    """Each tile is transposed: after the permute height comes before width."""
    return _in_order(_tiles(x, side), permutations[labels]).mT


def tiles_channels_first(x, permutations, labels, side):
    """This is (N, C, T, h, w): asked for is (N, T, C, h, w), so that tiles.flatten(0, 1) is a batch of pictures."""
    return _in_order(_tiles(x, side), permutations[labels]).transpose(1, 2)


def tiles_one_batch(x, permutations, labels, side):
    """This is one batch of N T tiles: asked for is (N, T, C, h, w)."""
    return _in_order(_tiles(x, side), permutations[labels]).flatten(0, 1)


def tiles_put_together(x, permutations, labels, side):
    """The tiles are put together to a picture again: asked for are the tiles, (N, T, C, h, w)."""
    tiles = _in_order(_tiles(x, side), permutations[labels]).unflatten(1, (side, side))
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def tiles_all_orders_for_all(x, permutations, labels, side):
    """tiles[:, order] takes every picture in the orders of all pictures: index the pictures, too, or use gather."""
    return _tiles(x, side)[:, permutations[labels]]


def tiles_pictures_chosen(x, permutations, labels, side):
    """tiles[order] chooses among pictures, the first dimension; the tiles of one picture are the second."""
    return _tiles(x, side)[permutations[labels]]


def tiles_labels_taken_as_orders(x, permutations, labels, side):
    """The labels shift the tiles; a label is the row of `permutations` that says the order."""
    return _in_order(_tiles(x, side), (torch.arange(side * side) + labels[:, None]) % (side * side))


def tiles_by_gather(x, permutations, labels, side):
    n, c, height, width = x.shape
    h, w = height // side, width // side
    tiles = x.unfold(2, h, h).unfold(3, w, w).movedim(1, 3).reshape(n, side * side, c, h, w)
    return tiles.gather(1, permutations[labels].view(n, -1, 1, 1, 1).expand_as(tiles))


def tiles_by_loops(x, permutations, labels, side):
    h, w = x.shape[2] // side, x.shape[3] // side
    found = []
    for picture, label in zip(x, labels.tolist()):
        for number in permutations[label].tolist():
            r, c = divmod(number, side)
            found.append(picture[:, r * h : (r + 1) * h, c * w : (c + 1) * w])
    return torch.stack(found).view(len(x), side * side, x.shape[1], h, w)


# --- 5. the masked loss -----------------------------------------------------------------------------------------------


def cases_masked_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, h, w, dtype=SINGLE, grade=True):
        while True:  # pictures with more and with fewer missing pixels, none of them whole or gone
            mask = uniform(g, n, 1, h, w) < torch.linspace(0.2, 0.7, n).view(-1, 1, 1, 1)
            share = mask.float().mean((1, 2, 3))
            if (share > 0).all() and (share < 0.9).all() and (n == 1 or share.max() > 1.5 * share.min()):
                break
        mask &= kind != "nothing missing"
        arrays = {"prediction": normal(g, n, c, h, w, dtype=dtype), "target": uniform(g, n, c, h, w, dtype=dtype)}
        return Case(kind, arrays | {"mask": mask} | ({} if kind == "ordinary" else {"cotangent": scalar(1.5)}))

    if not hidden:
        return [
            case("ordinary", 2, 3, 3, 4),
            case("ordinary", 3, 2, 4, 3, DOUBLE),
            case("nothing missing", 2, 3, 2, 3),
            case("gradient", 2, 2, 3, 3, DOUBLE),
        ]
    n = whole(g, 4, 7)
    return [
        case("ordinary", n, 3, 5, 6),
        case("ordinary", n + 1, 1, 6, whole(g, 4, 6), DOUBLE),
        case("ordinary", 1, 4, 4, 7),
        case("nothing missing", n, 2, 4, 4),
        case("nothing missing", 1, 3, 5, 2, DOUBLE),
        case("gradient", n, 3, 5, 5, DOUBLE),
        case("gradient", n + 1, 2, 4, 5),
    ]


def _missing_mean(error, mask):
    """The mean of error over the missing values, 0 where there are none."""
    return (error * mask).sum() / (mask.sum() * error.shape[1]).clamp(min=1)


def loss_nan_division(prediction, target, mask):
    """Where nothing is missing this is 0 / 0, NaN: keep the number you divide by at 1 or above."""
    return ((prediction - target).square() * mask).sum() / (mask.sum() * prediction.shape[1])


def loss_nan_selection(prediction, target, mask):
    """Where nothing is missing the mean of an empty tensor is NaN: it shall be 0."""
    return (prediction - target)[mask.expand_as(prediction)].square().mean()


def loss_nan_hidden(prediction, target, mask):
    """The value is 0, but the gradient still NaN: nan_to_num comes after 0 / 0. Keep the divisor at 1 or above."""
    return loss_nan_division(prediction, target, mask).nan_to_num()


def loss_constant_zero(prediction, target, mask):
    """Where nothing is missing this returns a new 0 on which no backward() works: it needs a gradient, of zeros."""
    if not mask.any():
        return prediction.new_zeros(())
    return _missing_mean((prediction - target).square(), mask)


def loss_all_when_nothing_missing(prediction, target, mask):
    """Where nothing is missing this is the error of the whole picture: it shall be 0."""
    mask = mask if mask.any() else ~mask
    return _missing_mean((prediction - target).square(), mask)


def loss_without_gradient(prediction, target, mask):
    """No gradient comes through: .item(), float(), detach() or torch.tensor(...) cut it."""
    return torch.tensor(_missing_mean((prediction - target).square(), mask).item())


def loss_through_numpy(prediction, target, mask):
    """A tensor that wants a gradient cannot go through NumPy: stay with torch's operations."""
    return _missing_mean((torch.from_numpy(prediction.numpy()) - target).square(), mask)


def loss_in_place(prediction, target, mask):
    """An argument itself is changed: prediction *= mask writes into the caller's tensor, x = x * mask does not."""
    prediction *= mask
    return _missing_mean((prediction - target).square(), mask)


def loss_mean_of_all(prediction, target, mask):
    """The sum over the missing pixels is divided by the number of all: the smaller the hole, the smaller the loss."""
    return F.mse_loss(prediction * mask, target * mask)


def loss_visible(prediction, target, mask):
    """This is the error of the visible pixels: True in the mask means missing."""
    return _missing_mean((prediction - target).square(), ~mask)


def loss_whole_picture(prediction, target, mask):
    """The mask is not used: this is the error of the whole picture, most of which the network has seen."""
    return F.mse_loss(prediction, target)


def loss_channels_not_counted(prediction, target, mask):
    """mask.sum() counts pixels, and each has C values: the mean is C times too large."""
    return ((prediction - target).square() * mask).sum() / mask.sum().clamp(min=1)


def loss_mean_of_pictures(prediction, target, mask):
    """This is the mean over the pictures of their means; here every missing value of the batch counts alike."""
    error = ((prediction - target).square() * mask).sum((1, 2, 3))
    return (error / (mask.sum((1, 2, 3)) * prediction.shape[1]).clamp(min=1)).mean()


def loss_by_picture(prediction, target, mask):
    """These are the losses of the pictures, one by one; asked for is one number."""
    error = ((prediction - target).square() * mask).sum((1, 2, 3))
    return error / (mask.sum((1, 2, 3)) * prediction.shape[1]).clamp(min=1)


def loss_sum(prediction, target, mask):
    """This is the sum over the missing values; the loss is their mean."""
    return ((prediction - target).square() * mask).sum()


def loss_sum_by_pictures(prediction, target, mask):
    """The sum over the missing values is divided by the number of pictures: divide by that of the missing values."""
    return ((prediction - target).square() * mask).sum() / len(prediction)


def loss_absolute(prediction, target, mask):
    """This is the absolute error; the loss has its square."""
    return _missing_mean((prediction - target).abs(), mask)


def loss_root(prediction, target, mask):
    """This is the root of the mean squared error; the loss is without the root."""
    return _missing_mean((prediction - target).square(), mask).sqrt()


def loss_half(prediction, target, mask):
    """There is a factor of 1/2: the mean squared error has none."""
    return _missing_mean((prediction - target).square(), mask) / 2


def loss_target_masked_only(prediction, target, mask):
    """Only the target is masked, so the prediction is asked for black where the picture is visible."""
    return (prediction - target * mask).square().sum() / (mask.sum() * prediction.shape[1]).clamp(min=1)


def loss_prediction_masked_only(prediction, target, mask):
    """Only the prediction is masked, so the target's visible pixels count as errors."""
    return (prediction * mask - target).square().sum() / (mask.sum() * prediction.shape[1]).clamp(min=1)


def loss_square_of_mean(prediction, target, mask):
    """The mean is squared, not the errors: square each of them first."""
    return _missing_mean(prediction - target, mask).square()


def loss_one_too_many(prediction, target, mask):
    """The number of missing values has 1 added: that keeps it off 0, but changes the mean. clamp(min=1) does not."""
    return ((prediction - target).square() * mask).sum() / (mask.sum() * prediction.shape[1] + 1)


def loss_mask_not_expanded(prediction, target, mask):
    """A mask of one channel cannot index C of them: multiply by it, or mask.expand_as(prediction)."""
    return (prediction[mask] - target[mask]).square().mean()


def loss_mask_of_floats(prediction, target, mask):
    """1 - mask is an error for a boolean mask, and would be the visible pixels: multiply by the mask as it is."""
    return _missing_mean((prediction - target).square(), 1 - mask)


def loss_by_where(prediction, target, mask):
    there = mask.expand(-1, prediction.shape[1], -1, -1)
    error = torch.where(there, prediction - target, torch.zeros_like(prediction))
    return (error * error).sum() / max(int(there.sum()), 1)


def loss_by_selection(prediction, target, mask):
    there = mask.expand_as(prediction)
    return F.mse_loss(prediction[there], target[there], reduction="sum") / there.sum().clamp(min=1)


def loss_by_loops(prediction, target, mask):
    total, n = 0 * prediction.double().sum(), 0
    for p, t, m in zip(prediction.double(), target.double(), mask[:, 0]):
        for r, c in m.nonzero().tolist():
            total, n = total + ((p[:, r, c] - t[:, r, c]) ** 2).sum(), n + len(p)
    return total / n if n else total


# --- 6. soft encoding -------------------------------------------------------------------------------------------------


def cases_soft_bins(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, m, q, neighbours, sigma, dtype=SINGLE, exponent=0.0, near=1):
        """exponent: of the Gaussian at all rows but the first `near`; the bins lie about along a line then."""
        while True:
            bins, ab = 1.6 * sigma * normal(g, q, 2, dtype=DOUBLE), 1.9 * sigma * normal(g, m, 2, dtype=DOUBLE)
            if exponent:
                bins[:, 0] *= 0.02
                ab[near:, 0] = sigma * math.sqrt(2 * exponent) * (2 * (torch.arange(m - near) % 2) - 1)
                turn = between(g, 0, 2 * math.pi)
                c, s = math.cos(turn), math.sin(turn)
                turned = torch.tensor([[c, s], [-s, c]], dtype=DOUBLE)
                bins, ab = bins @ turned, ab @ turned
            order = _squared(ab, bins).sort(1).values / sigma**2
            clear = neighbours == q or (order[:, neighbours] - order[:, neighbours - 1] > 0.05).all()
            second = order[:, 1] - order[:, 0]  # the nearest does not take it all
            if clear and (order[:near, 0] < 4).all() and second.min() < 3 and second[-1] < 3 and second.max() > 0.3:
                break
        return Case(kind, {"ab": ab.to(dtype), "bins": bins.to(dtype), "neighbours": scalar(neighbours),
                           "sigma": scalar(sigma)})

    if not hidden:
        return [
            case("ordinary", 3, 6, 3, 2.0),
            case("ordinary", 4, 5, 2, 0.5, DOUBLE),
            case("far", 3, 5, 3, 2.0, exponent=125.0),
            case("far", 2, 6, 2, 5.0, DOUBLE, exponent=900.0),
            case("far", 1, 4, 2, 2.0, exponent=125.0, near=0),  # here one least distance for all rows will do
        ]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n, n + 4, 5, between(g, 3.0, 5.0)),
        case("ordinary", n + 5, 7, 4, between(g, 0.3, 0.8), DOUBLE),
        case("ordinary", 1, 9, 3, between(g, 1.2, 1.8)),
        case("ordinary", n, 4, 4, between(g, 1.2, 1.8)),
        case("ordinary", n, 8, 1, between(g, 1.2, 1.8), DOUBLE),
        case("far", n, 7, 4, between(g, 2.0, 4.0), exponent=between(g, 120, 135)),
        case("far", n, 9, 5, between(g, 4.0, 6.0), DOUBLE, exponent=between(g, 850, 1200)),
        case("far", 1, n + 5, 4, between(g, 4.0, 6.0), exponent=between(g, 120, 135), near=0),
    ]


def _squared(ab, bins):
    return (ab[:, None] - bins[None]).square().sum(2)


def _spread_over(distance, neighbours, sharing, largest=False):
    """(M, Q): sharing(squared distances (M, k)) at the k nearest bins, 0 elsewhere."""
    value, nearest = distance.topk(neighbours, 1, largest=largest)
    return distance.new_zeros(distance.shape).scatter(1, nearest, sharing(value))


def bins_underflow(ab, bins, neighbours, sigma):
    """Right near the bins; far from all of them every exp(-d^2 / ...) is 0, and 0 / 0 is NaN: softmax avoids that."""

    def sharing(value):
        weight = (-value / (2 * sigma**2)).exp()
        return weight / weight.sum(1, keepdim=True)

    return _spread_over(_squared(ab, bins), neighbours, sharing)


def bins_underflow_epsilon(ab, bins, neighbours, sigma):
    """Far from all bins the weights are 0, and a small number in the divisor leaves 0: they must still sum to 1."""

    def sharing(value):
        weight = (-value / (2 * sigma**2)).exp()
        return weight / (weight.sum(1, keepdim=True) + 1e-12)

    return _spread_over(_squared(ab, bins), neighbours, sharing)


def bins_least_of_all(ab, bins, neighbours, sigma):
    """Subtract each row's own smallest distance: relative to the smallest of all rows, a far row still underflows."""

    def sharing(value):
        weight = (-(value - value.min()) / (2 * sigma**2)).exp()
        return weight / weight.sum(1, keepdim=True)

    return _spread_over(_squared(ab, bins), neighbours, sharing)


def bins_in_place(ab, bins, neighbours, sigma):
    """An argument itself is changed: ab /= sigma writes into the caller's tensor, ab = ab / sigma does not."""
    ab /= sigma
    return _spread_over(_squared(ab, bins / sigma), neighbours, lambda value: (-value / 2).softmax(1))


def bins_all(ab, bins, neighbours, sigma):
    """All bins get a share: only the nearest `neighbours` may."""
    return (-_squared(ab, bins) / (2 * sigma**2)).softmax(1)


def bins_normalised_over_all(ab, bins, neighbours, sigma):
    """The shares are those among all bins, so the k that are kept do not sum to 1: normalise among the k."""
    shares = (-_squared(ab, bins) / (2 * sigma**2)).softmax(1)
    return torch.zeros_like(shares).scatter(1, *shares.topk(neighbours, 1)[::-1])


def bins_masked_with_zero(ab, bins, neighbours, sigma):
    """The others' exponents are set to 0 before the softmax, and exp(0) is 1: set them to minus infinity."""
    score = -_squared(ab, bins) / (2 * sigma**2)
    kept = torch.zeros_like(score).scatter(1, score.topk(neighbours, 1).indices, 1.0)
    return (score * kept).softmax(1)


def bins_not_normalised(ab, bins, neighbours, sigma):
    """These are the Gaussian weights as they are: divide by their sum, so that a row sums to 1."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / (2 * sigma**2)).exp())


def bins_density(ab, bins, neighbours, sigma):
    """These are densities of a Gaussian: a row shall sum to 1, so its constant does not matter."""
    return bins_not_normalised(ab, bins, neighbours, sigma) / (2 * math.pi * sigma**2)


def bins_no_two(ab, bins, neighbours, sigma):
    """The 2 of exp(-d^2 / (2 sigma^2)) is missing."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / sigma**2).softmax(1))


def bins_sigma_not_squared(ab, bins, neighbours, sigma):
    """sigma is not squared: exp(-d^2 / (2 sigma^2))."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / (2 * sigma)).softmax(1))


def bins_two_squared(ab, bins, neighbours, sigma):
    """(2 sigma)^2 stands where 2 sigma^2 should: only sigma is squared."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / (2 * sigma) ** 2).softmax(1))


def bins_no_sigma(ab, bins, neighbours, sigma):
    """sigma is left out: exp(-d^2 / (2 sigma^2))."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / 2).softmax(1))


def bins_distance_not_squared(ab, bins, neighbours, sigma):
    """The distance is not squared: a Gaussian has exp(-d^2 / (2 sigma^2)), and cdist gives d."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value.sqrt() / (2 * sigma**2)).softmax(1))


def bins_city_block(ab, bins, neighbours, sigma):
    """Differences in a and b are added up before they are squared: d^2 is the sum of their squares."""
    distance = (ab[:, None] - bins[None]).abs().sum(2).square()
    return _spread_over(distance, neighbours, lambda value: (-value / (2 * sigma**2)).softmax(1))


def bins_inverse_distance(ab, bins, neighbours, sigma):
    """The weights are 1 / d: asked for are Gaussian ones, exp(-d^2 / (2 sigma^2))."""

    def sharing(value):
        weight = 1 / value.sqrt()
        return weight / weight.sum(1, keepdim=True)

    return _spread_over(_squared(ab, bins), neighbours, sharing)


def bins_equal_shares(ab, bins, neighbours, sigma):
    """All neighbours get the same share: the nearer ones shall get more."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: torch.full_like(value, 1 / neighbours))


def bins_hard(ab, bins, neighbours, sigma):
    """This is a one-hot row of the nearest bin: its neighbours shall get a share, too."""
    return _spread_over(_squared(ab, bins), 1, torch.ones_like)


def bins_index(ab, bins, neighbours, sigma):
    """These are the numbers of the nearest bins; asked for are the shares of all bins, (M, Q)."""
    return _squared(ab, bins).argmin(1)


def bins_farthest(ab, bins, neighbours, sigma):
    """These are the farthest bins: topk takes the largest unless told largest=False."""
    sharing = lambda value: (-value / (2 * sigma**2)).softmax(1)  # noqa: E731
    return _spread_over(_squared(ab, bins), neighbours, sharing, largest=True)


def bins_far_ones_heavier(ab, bins, neighbours, sigma):
    """The sign in the exponent is missing, so the farther bins get more."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (value / (2 * sigma**2)).softmax(1))


def bins_softmax_over_colours(ab, bins, neighbours, sigma):
    """The softmax runs over the colours, dim=0: each colour shares its own 1 among its bins, dim=1."""
    return _spread_over(_squared(ab, bins), neighbours, lambda value: (-value / (2 * sigma**2)).softmax(0))


def bins_neighbours_of_bins(ab, bins, neighbours, sigma):
    """Each bin has its nearest colours here: each colour shall have its nearest bins, topk along dim=1."""
    if neighbours > len(ab):
        neighbours = len(ab)
    value, nearest = _squared(ab, bins).topk(neighbours, 0, largest=False)
    shares = (-value / (2 * sigma**2)).softmax(0)
    return torch.zeros_like(_squared(ab, bins)).scatter(0, nearest, shares)


def bins_only_the_neighbours(ab, bins, neighbours, sigma):
    """These are the shares of the neighbours alone, (M, neighbours): put them in their places among all Q bins."""
    return (-_squared(ab, bins).topk(neighbours, 1, largest=False).values / (2 * sigma**2)).softmax(1)


def bins_in_first_columns(ab, bins, neighbours, sigma):
    """The shares stand in the first columns: each belongs in the column of its bin, scatter with topk's indices."""
    shares = bins_only_the_neighbours(ab, bins, neighbours, sigma)
    return F.pad(shares, (0, len(bins) - neighbours))


def bins_one_neighbour_too_few(ab, bins, neighbours, sigma):
    """There is one neighbour too few: the nearest bin counts as one of them."""
    return _spread_over(_squared(ab, bins), max(neighbours - 1, 1), lambda value: (-value / (2 * sigma**2)).softmax(1))


def bins_one_neighbour_too_many(ab, bins, neighbours, sigma):
    """There is one neighbour too many: the nearest bin counts as one of them."""
    more = min(neighbours + 1, len(bins))
    return _spread_over(_squared(ab, bins), more, lambda value: (-value / (2 * sigma**2)).softmax(1))


def bins_transposed(ab, bins, neighbours, sigma):
    """This is the transpose of what is asked for: colours go down, bins across."""
    return bins_by_mask(ab, bins, neighbours, sigma).T


def bins_by_mask(ab, bins, neighbours, sigma):
    distance = torch.cdist(ab.double(), bins.double())
    edge = distance.kthvalue(neighbours, 1, keepdim=True).values
    score = torch.where(distance <= edge, -(distance**2) / (2 * sigma**2), -torch.inf)
    return score.softmax(1)


def bins_least_subtracted(ab, bins, neighbours, sigma):
    def sharing(value):
        weight = ((value.amin(1, keepdim=True) - value) / (2 * sigma**2)).exp()
        return weight / weight.sum(1, keepdim=True)

    return _spread_over(_squared(ab, bins), neighbours, sharing)


def bins_by_loops(ab, bins, neighbours, sigma):
    shares = torch.zeros(len(ab), len(bins), dtype=torch.float64)
    for i, colour in enumerate(ab.double().tolist()):
        squared = [sum((x - y) ** 2 for x, y in zip(colour, centre)) for centre in bins.double().tolist()]
        nearest = sorted(range(len(bins)), key=squared.__getitem__)[:neighbours]
        weight = [math.exp((squared[nearest[0]] - squared[q]) / (2 * sigma**2)) for q in nearest]
        for q, w in zip(nearest, weight):
            shares[i, q] = w / sum(weight)
    return shares


# --- 7. rebalancing ---------------------------------------------------------------------------------------------------


def cases_rebalancing_weights(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, q, mix, dtype=SINGLE):
        prior = normal(g, q, dtype=DOUBLE).mul(1.2).exp() + 0.1
        if kind == "empty bins":
            prior[torch.randperm(q, generator=g)[: 1 + q // 4]] = 0
        return Case(kind, {"prior": (prior / prior.sum()).to(dtype), "mix": scalar(mix)})

    if not hidden:
        return [
            case("ordinary", 4, 0.5),
            case("ordinary", 6, 0.2, DOUBLE),
            case("empty bins", 5, 0.3),
        ]
    q = whole(g, 7, 20)
    return [
        case("ordinary", q, between(g, 0.3, 0.45)),
        case("ordinary", 2 * q, between(g, 0.6, 0.8), DOUBLE),
        case("ordinary", 3, between(g, 0.1, 0.3)),
        case("ordinary", q + 1, 1.0),
        case("empty bins", q + 2, between(g, 0.6, 0.8)),
        case("empty bins", 2, between(g, 0.2, 0.4), DOUBLE),
    ]


def _mixed(prior, mix):
    return (1 - mix) * prior + mix / len(prior)


def _mean_one(weight, prior):
    return weight / (prior * weight).sum()


def weights_none_for_empty_bins(prior, mix):
    """A bin without pixels gets weight 0: no prior is 0 after mixing, so its weight is the largest, and finite."""
    return _mean_one((prior > 0) / _mixed(prior, mix), prior)


def weights_only_used_bins_mixed(prior, mix):
    """The uniform share is spread over the bins that occur: Q counts all bins, mix / Q for each."""
    return _mean_one(1 / ((1 - mix) * prior + mix / (prior > 0).sum()), prior)


def weights_one_for_empty_bins(prior, mix):
    """A bin without pixels gets weight 1: it gets what the formula says, the largest of all."""
    return torch.where(prior > 0, _mean_one(1 / _mixed(prior, mix), prior), torch.ones_like(prior))


def weights_in_place(prior, mix):
    """The prior itself is changed: prior *= ... writes into the caller's tensor, prior = prior * ... does not."""
    before = prior.clone()
    prior *= 1 - mix
    prior += mix / len(prior)
    return _mean_one(1 / prior, before)


def weights_not_scaled(prior, mix):
    """The weights are not scaled: the mean weight of a pixel, the sum of prior times weight, shall be 1."""
    return 1 / _mixed(prior, mix)


def weights_sum_one(prior, mix):
    """The weights are scaled to sum to 1: it is the sum of prior times weight that shall be 1."""
    weight = 1 / _mixed(prior, mix)
    return weight / weight.sum()


def weights_mean_one(prior, mix):
    """The mean over the bins is 1: bins count as often as they occur, the sum of prior times weight shall be 1."""
    weight = 1 / _mixed(prior, mix)
    return weight / weight.mean()


def weights_largest_one(prior, mix):
    """The largest weight is 1: the sum of prior times weight shall be 1."""
    weight = 1 / _mixed(prior, mix)
    return weight / weight.max()


def weights_scaled_by_mixture(prior, mix):
    """The mean is taken under the mixed distribution: it is under the prior as given, where pixels come from."""
    weight = 1 / _mixed(prior, mix)
    return weight / (_mixed(prior, mix) * weight).sum()


def weights_multiplied(prior, mix):
    """The weights are multiplied by their mean: divide by it."""
    weight = 1 / _mixed(prior, mix)
    return weight * (prior * weight).sum()


def weights_mix_on_the_prior(prior, mix):
    """The mix is on the prior: it is the uniform distribution's share, (1 - mix) * prior + mix / Q."""
    return _mean_one(1 / _mixed(prior, 1 - mix), prior)


def weights_one_for_uniform(prior, mix):
    """mix is added as it is: the uniform distribution over Q bins has 1 / Q in each, so mix / Q."""
    return _mean_one(1 / ((1 - mix) * prior + mix), prior)


def weights_prior_not_weighted(prior, mix):
    """The factor 1 - mix of the prior is missing."""
    return _mean_one(1 / (prior + mix / len(prior)), prior)


def weights_times_bins(prior, mix):
    """mix is multiplied by Q: the uniform distribution has 1 / Q in each bin, so mix / Q."""
    return _mean_one(1 / ((1 - mix) * prior + mix * len(prior)), prior)


def weights_not_mixed(prior, mix):
    """This is 1 / prior: mix it with the uniform distribution first, or the rarest colours are all that counts."""
    return _mean_one(1 / prior, prior)


def weights_inverses_mixed(prior, mix):
    """The weights are mixed; mix the distributions first, then take the inverse."""
    return _mean_one((1 - mix) / prior + mix * len(prior), prior)


def weights_not_inverted(prior, mix):
    """Common colours get the largest weights: the inverse is missing."""
    return _mean_one(_mixed(prior, mix), prior)


def weights_one_minus(prior, mix):
    """The weights are 1 - p: asked for is the inverse, 1 / p."""
    return _mean_one(1 - _mixed(prior, mix), prior)


def weights_logarithm(prior, mix):
    """The weights are -log p: asked for is the inverse, 1 / p."""
    return _mean_one(-_mixed(prior, mix).log(), prior)


def weights_root(prior, mix):
    """The weights are 1 / sqrt(p): asked for is 1 / p."""
    return _mean_one(_mixed(prior, mix).rsqrt(), prior)


def weights_softmax(prior, mix):
    """A softmax scales the weights here: divide them by the sum of prior times weight."""
    return (1 / _mixed(prior, mix)).softmax(0)


def weights_times_prior(prior, mix):
    """These are prior times weight, which sum to 1: asked for are the weights."""
    return prior * _mean_one(1 / _mixed(prior, mix), prior)


def weights_by_tensors(prior, mix):
    weight = torch.reciprocal(torch.lerp(prior.double(), torch.full_like(prior, 1 / len(prior)).double(), mix))
    return weight / torch.dot(weight, prior.double())


def weights_by_loops(prior, mix):
    weight = [1 / ((1 - mix) * p + mix / len(prior)) for p in prior.tolist()]
    mean = sum(p * w for p, w in zip(prior.tolist(), weight))
    return torch.tensor([w / mean for w in weight])


# --- 8. the annealed mean ---------------------------------------------------------------------------------------------


def cases_annealed_mean(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, q, h, w, temperature, dtype=SINGLE, scale=1.5, level=0.0):
        """scale, level: of the logits; a pixel's level is its own, up to `level`."""
        logits = scale * normal(g, n, q, h, w, dtype=DOUBLE) + level * (2 * uniform(g, n, 1, h, w, dtype=DOUBLE) - 1)
        bins = normal(g, q, 2, dtype=DOUBLE)
        bins = 60 * bins if dtype == DOUBLE else 2 + 0.8 * bins  # no mean near 0, where float32's rounding would show
        return Case(kind, {"logits": logits.to(dtype), "bins": bins.to(dtype), "temperature": scalar(temperature)})

    if not hidden:
        return [
            case("ordinary", 2, 4, 2, 3, 0.4),
            case("ordinary", 1, 3, 3, 2, 0.7, DOUBLE),
            case("extreme", 2, 5, 1, 2, 0.4, level=60.0),
            case("extreme", 1, 4, 1, 2, 0.3, DOUBLE, level=700.0),
            case("extreme", 1, 12, 2, 2, 0.02, scale=0.024),
            case("extreme", 1, 9, 2, 1, 0.0025, DOUBLE, scale=0.003),
        ]
    n = whole(g, 3, 5)
    return [
        case("ordinary", n, 6, 3, 4, between(g, 0.3, 0.45)),
        case("ordinary", n + 1, 8, 2, 2, between(g, 0.5, 0.7), DOUBLE),
        case("ordinary", 1, 2, 4, 1, between(g, 0.2, 0.3)),
        case("ordinary", 2, whole(g, 9, 12), 1, 5, between(g, 1.5, 2.5), DOUBLE),
        case("extreme", n, 7, 2, 4, between(g, 0.3, 0.45), level=60.0),
        case("extreme", 2, 5, 2, 4, between(g, 0.3, 0.45), DOUBLE, level=800.0),
        case("extreme", 2, whole(g, 13, 18), 2, 3, 0.02, scale=0.024),
        case("extreme", n, 10, 3, 1, 0.002, DOUBLE, scale=0.0025),
        case("extreme", 1, 5, 3, 3, 0.05, DOUBLE, scale=30.0),
    ]


def _mean_colour(shares, bins):
    return torch.einsum("nqhw,qc->nchw", shares, bins)


def annealed_overflow(logits, bins, temperature):
    """Right for small logits, but the exponential of large ones is beyond any float, inf / inf is NaN: use softmax."""
    weight = (logits / temperature).exp()
    return _mean_colour(weight / weight.sum(1, keepdim=True), bins)


def annealed_power_underflow(logits, bins, temperature):
    """Right at mild temperatures, but p ** (1 / 0.0025) underflows for all bins, 0 / 0: anneal the logits, not p."""
    weight = logits.softmax(1) ** (1 / temperature)
    return _mean_colour(weight / weight.sum(1, keepdim=True), bins)


def annealed_global_maximum(logits, bins, temperature):
    """Subtract each pixel's own maximum: below the largest of all pixels a pixel may underflow to 0 / 0, NaN."""
    weight = ((logits - logits.max()) / temperature).exp()
    return _mean_colour(weight / weight.sum(1, keepdim=True), bins)


def annealed_overflow_hidden(logits, bins, temperature):
    """Weights beyond the largest float are replaced after the fact, which is wrong: softmax never makes them."""
    return annealed_overflow(logits, bins, temperature).nan_to_num()


def annealed_in_place(logits, bins, temperature):
    """The logits themselves are changed: logits /= ... writes into the caller's tensor. logits / ... is a new one."""
    logits /= temperature
    return _mean_colour(logits.softmax(1), bins)


def annealed_mode(logits, bins, temperature):
    """This is the likeliest colour of each pixel, the limit of low temperatures: asked for is a mean."""
    return bins[logits.argmax(1)].movedim(3, 1)


def annealed_index(logits, bins, temperature):
    """These are numbers of bins; asked for are colours, (N, 2, H, W)."""
    return logits.argmax(1)


def annealed_not_annealed(logits, bins, temperature):
    """The temperature is left out, so colours are averaged to grey: divide the logits by it."""
    return _mean_colour(logits.softmax(1), bins)


def annealed_times_temperature(logits, bins, temperature):
    """The logits are multiplied by the temperature, which makes it paler, not more vivid: divide by it."""
    return _mean_colour((logits * temperature).softmax(1), bins)


def annealed_softmax_twice(logits, bins, temperature):
    """There are two softmaxes: the second one wants logarithms, log p / T, or simply the logits over T."""
    return _mean_colour((logits.softmax(1) / temperature).softmax(1), bins)


def annealed_softmax_after(logits, bins, temperature):
    """There is one softmax too many, after the first: one of the logits over T is all it takes."""
    return _mean_colour((logits / temperature).softmax(1).softmax(1), bins)


def annealed_power_not_normalised(logits, bins, temperature):
    """p ** (1 / T) does not sum to 1, so colours fade: divide by its sum over the bins."""
    return _mean_colour(logits.softmax(1) ** (1 / temperature), bins)


def annealed_probabilities_divided(logits, bins, temperature):
    """The probabilities are divided by T, which only makes the colours stronger: divide the logits, before softmax."""
    return _mean_colour(logits.softmax(1) / temperature, bins)


def annealed_exponential_not_normalised(logits, bins, temperature):
    """These are sums of exp(logit / T) times colour: divide by the sum of the weights, as softmax does."""
    return _mean_colour((logits / temperature).exp(), bins)


def annealed_no_exponential(logits, bins, temperature):
    """The logits themselves are the weights here: take the softmax of them."""
    return _mean_colour(logits / temperature, bins)


def annealed_log_softmax(logits, bins, temperature):
    """These are log-probabilities: the mean wants probabilities, softmax instead of log_softmax."""
    return _mean_colour((logits / temperature).log_softmax(1), bins)


def annealed_softmax_over_width(logits, bins, temperature):
    """The softmax runs along the width, dim=-1: the bins are dimension 1."""
    return _mean_colour((logits / temperature).softmax(-1), bins)


def annealed_softmax_over_batch(logits, bins, temperature):
    """The softmax runs over the pictures, dim=0: the bins are dimension 1."""
    return _mean_colour((logits / temperature).softmax(0), bins)


def annealed_softmax_over_everything(logits, bins, temperature):
    """All bins of all pixels share one softmax: each pixel has its own distribution, along dim=1."""
    shares = (logits / temperature).flatten(1).softmax(1).view_as(logits)
    return _mean_colour(shares, bins)


def annealed_mean_over_bins(logits, bins, temperature):
    """The weighted colours are averaged, .mean, so divided by Q once more: the weights sum to 1, add up, .sum."""
    return _mean_colour((logits / temperature).softmax(1), bins) / len(bins)


def annealed_b_before_a(logits, bins, temperature):
    """a and b are swapped: channel 0 of the result is the mean of bins[:, 0]."""
    return _mean_colour((logits / temperature).softmax(1), bins.flip(1))


def annealed_channels_last(logits, bins, temperature):
    """The two colours stand last, (N, H, W, 2): asked for is (N, 2, H, W)."""
    return _mean_colour((logits / temperature).softmax(1), bins).movedim(1, 3)


def annealed_pooled(logits, bins, temperature):
    """This is one colour for the whole picture: each pixel has its own."""
    return _mean_colour((logits / temperature).softmax(1), bins).mean((2, 3))


def annealed_by_logarithms(logits, bins, temperature):
    log_weight = logits.double().log_softmax(1) / temperature
    weight = (log_weight - log_weight.logsumexp(1, keepdim=True)).exp().to(bins)
    return torch.stack([(weight * bins[:, k].view(1, -1, 1, 1)).sum(1) for k in range(2)], 1)


def annealed_by_matrix(logits, bins, temperature):
    n, q, h, w = logits.shape
    shares = F.softmax(logits.permute(0, 2, 3, 1).reshape(-1, q) / temperature, dim=1)
    return (shares @ bins).view(n, h, w, 2).permute(0, 3, 1, 2)


def annealed_by_loops(logits, bins, temperature):
    n, _, h, w = logits.shape
    mean = torch.empty(n, 2, h, w, dtype=torch.float64)
    for i, r, c in product(range(n), range(h), range(w)):
        z = (logits[i, :, r, c].double() - logits[i, :, r, c].double().max()) / temperature
        mean[i, :, r, c] = (z.exp()[:, None] * bins.double()).sum(0) / z.exp().sum()
    return mean


# --- 9. cross-channel prediction --------------------------------------------------------------------------------------


def cases_CrossChannel(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, h, w, d_l, d_ab, dtype=SINGLE):
        def weights(name, outputs, inputs):
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            return {f"{name} weight": weight, f"{name} bias": 0.3 * normal(g, outputs, dtype=dtype)}

        networks = weights("from_l", d_l, 1) | weights("from_ab", d_ab, 2)
        networks |= weights("to_ab", 2, d_l) | weights("to_l", 1, d_ab)
        return Case(kind, {"unseen" if kind == "encode" else "lab": normal(g, n, 3, h, w, dtype=dtype)} | networks)

    if not hidden:
        return [
            case("ordinary", 3, 2, 3, 4, 4),
            case("ordinary", 2, 2, 2, 3, 3, DOUBLE),
            case("encode", 3, 2, 2, 3, 3),
            case("encode", 2, 2, 3, 2, 3),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 3, 4, 5, 5),
        case("ordinary", n + 1, whole(g, 4, 5), 2, 6, 3, DOUBLE),
        case("ordinary", 1, 3, 5, 2, 4),
        case("encode", n, 4, 3, 4, 4),
        case("encode", 1, 3, 2, 5, 6, DOUBLE),
        case("encode", n + 2, 2, 5, 5, 3),
    ]


class _Right(Method):
    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        super().__init__()
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.loss_ab, self.loss_l = loss_ab, loss_l

    def loss(self, lab, y=None):
        lightness, ab = lab[:, :1], lab[:, 1:]
        return self.loss_ab(self.to_ab(self.from_l(lightness)), ab) + self.loss_l(
            self.to_l(self.from_ab(ab)), lightness
        )

    def encode(self, lab):
        return torch.cat([self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])], 1)


class CrossNoMethod:
    """This is no Method, so nobody finds its parameters: class CrossChannel(Method)."""

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.loss_ab, self.loss_l = loss_ab, loss_l

    def loss(self, lab, y=None):
        return _Right.loss(self, lab)

    def encode(self, lab):
        return _Right.encode(self, lab)


class CrossHeadsInList(_Right):
    """The heads' parameters are not the method's: modules hidden in a list, tuple or function are not registered."""

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        super().__init__(from_l, from_ab, None, None, loss_ab, loss_l)
        self.heads = [to_ab, to_l]

    def loss(self, lab, y=None):
        to_ab, to_l = self.heads
        return self.loss_ab(to_ab(self.from_l(lab[:, :1])), lab[:, 1:]) + self.loss_l(
            to_l(self.from_ab(lab[:, 1:])), lab[:, :1]
        )


class CrossNetworksInList(_Right):
    """No network is the method's: modules hidden in a list, tuple or dict are not registered. nn.ModuleList is one."""

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        super().__init__(None, None, None, None, loss_ab, loss_l)
        self.networks = [from_l, from_ab, to_ab, to_l]

    def loss(self, lab, y=None):
        from_l, from_ab, to_ab, to_l = self.networks
        return self.loss_ab(to_ab(from_l(lab[:, :1])), lab[:, 1:]) + self.loss_l(to_l(from_ab(lab[:, 1:])), lab[:, :1])

    def encode(self, lab):
        return torch.cat([self.networks[0](lab[:, :1]), self.networks[1](lab[:, 1:])], 1)


class CrossFeaturesDetached(_Right):
    """Only the heads learn: the features are detached, though they are what we train for."""

    def loss(self, lab, y=None):
        h_l, h_ab = self.from_l(lab[:, :1]).detach(), self.from_ab(lab[:, 1:]).detach()
        return self.loss_ab(self.to_ab(h_l), lab[:, 1:]) + self.loss_l(self.to_l(h_ab), lab[:, :1])


class CrossOneHalfFrozen(_Right):
    """The half that sees colour does not learn: its features are detached."""

    def loss(self, lab, y=None):
        h_l, h_ab = self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:]).detach()
        return self.loss_ab(self.to_ab(h_l), lab[:, 1:]) + self.loss_l(self.to_l(h_ab), lab[:, :1])


class CrossOneLossDetached(_Right):
    """The loss of lightness is detached: half of the network gets no gradient."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])
        return first + self.loss_l(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1]).detach()


class CrossWithoutGradient(_Right):
    """No gradient comes through: the loss must stay a tensor, without .item(), float() or detach()."""

    def loss(self, lab, y=None):
        return super().loss(lab).item()


class CrossEncodesLightness(_Right):
    """encode returns the features of lightness alone: that half has never seen a colour. Concatenate both."""

    def encode(self, lab):
        return self.from_l(lab[:, :1])


class CrossEncodesColour(_Right):
    """encode returns the features of colour alone: that half has never seen the lightness. Concatenate both."""

    def encode(self, lab):
        return self.from_ab(lab[:, 1:])


class CrossFeaturesAdded(_Right):
    """encode adds the two halves' features: they mean different things, concatenate them, torch.cat."""

    def encode(self, lab):
        return self.from_l(lab[:, :1]) + self.from_ab(lab[:, 1:])


class CrossFeaturesAveraged(_Right):
    """encode averages the two halves' features: they mean different things, concatenate them, torch.cat."""

    def encode(self, lab):
        return (self.from_l(lab[:, :1]) + self.from_ab(lab[:, 1:])) / 2


class CrossColourFirst(_Right):
    """encode has the features of colour first: those of lightness come first."""

    def encode(self, lab):
        return torch.cat([self.from_ab(lab[:, 1:]), self.from_l(lab[:, :1])], 1)


class CrossFeaturesOfTwiceTheBatch(_Right):
    """encode puts the halves one below the other, which makes 2N pictures: concatenate features, dim=1."""

    def encode(self, lab):
        return torch.cat([self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])])


class CrossFeaturesStacked(_Right):
    """encode stacks the halves in a new dimension: torch.cat along dim=1 makes one vector of both."""

    def encode(self, lab):
        return torch.stack([self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])], 1)


class CrossEncodesPredictions(_Right):
    """encode returns what the heads predict: the representation is the features below them."""

    def encode(self, lab):
        return torch.cat([self.to_l(self.from_ab(lab[:, 1:])), self.to_ab(self.from_l(lab[:, :1]))], 1)


class CrossEncodesPredictionsByHalf(_Right):
    """encode returns the predictions of the two heads: the representation is the features below them."""

    def encode(self, lab):
        return torch.cat([self.to_ab(self.from_l(lab[:, :1])), self.to_l(self.from_ab(lab[:, 1:]))], 1)


class CrossFeaturesInTuple(_Right):
    """encode returns two tensors: concatenate them to one, torch.cat."""

    def encode(self, lab):
        return self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])


class CrossFeaturesNormalised(_Right):
    """encode normalises the features: return them as they are."""

    def encode(self, lab):
        return F.normalize(super().encode(lab), dim=1)


class CrossPredictsItself(_Right):
    """Each half predicts what it sees, as an autoencoder: lightness predicts colour, colour lightness."""

    def loss(self, lab, y=None):
        lightness, ab = lab[:, :1], lab[:, 1:]
        first = self.loss_ab(self.to_ab(self.from_ab(ab)), ab)
        return first + self.loss_l(self.to_l(self.from_l(lightness)), lightness)


class CrossComparedWithItsInput(_Right):
    """Each prediction is compared with the half it was made from: colour belongs with colour."""

    def loss(self, lab, y=None):
        lightness, ab = lab[:, :1], lab[:, 1:]
        first = self.loss_ab(self.to_ab(self.from_l(lightness)), lightness)
        return first + self.loss_l(self.to_l(self.from_ab(ab)), ab)


class CrossSecondLossForgotten(_Right):
    """The loss of lightness is forgotten: the half that sees colour has a task, too."""

    def loss(self, lab, y=None):
        return self.loss_ab(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])


class CrossFirstLossForgotten(_Right):
    """The loss of colour is forgotten: the half that sees lightness has a task, too."""

    def loss(self, lab, y=None):
        return self.loss_l(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1])


class CrossMeanOfLosses(_Right):
    """This is the mean of the two losses: asked for is their sum."""

    def loss(self, lab, y=None):
        return super().loss(lab) / 2


class CrossDifferenceOfLosses(_Right):
    """The second loss is subtracted: both shall become small, add them."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])
        return first - self.loss_l(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1])


class CrossProductOfLosses(_Right):
    """The losses are multiplied: add them."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])
        return first * self.loss_l(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1])


class CrossLossesSwapped(_Right):
    """The losses are swapped: loss_ab compares colours, loss_l lightness."""

    def loss(self, lab, y=None):
        first = self.loss_l(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])
        return first + self.loss_ab(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1])


class CrossOneLossForBoth(_Right):
    """loss_ab compares lightness, too: that is loss_l's task."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab[:, :1])), lab[:, 1:])
        return first + self.loss_ab(self.to_l(self.from_ab(lab[:, 1:])), lab[:, :1])


class CrossTargetFirst(_Right):
    """The losses get the target first: the prediction comes first, loss_ab(prediction, ab)."""

    def loss(self, lab, y=None):
        first = self.loss_ab(lab[:, 1:], self.to_ab(self.from_l(lab[:, :1])))
        return first + self.loss_l(lab[:, :1], self.to_l(self.from_ab(lab[:, 1:])))


class CrossChannelsFromTheEnd(_Right):
    """Lightness is taken to be the last channel: in Lab it is channel 0, a and b are 1 and 2."""

    def loss(self, lab, y=None):
        return super().loss(lab.roll(1, 1))


class CrossChannelsBlueFirst(_Right):
    """a and b are swapped: lab[:, 1:] keeps them in their order."""

    def loss(self, lab, y=None):
        return super().loss(lab[:, [0, 2, 1]])


class CrossChannelDropped(_Right):
    """lab[:, 0] has lost the channel's dimension, (N, H, W): lab[:, :1] keeps it, (N, 1, H, W)."""

    def loss(self, lab, y=None):
        lightness, ab = lab[:, 0], lab[:, 1:]
        first = self.loss_ab(self.to_ab(self.from_l(lightness)), ab)
        return first + self.loss_l(self.to_l(self.from_ab(ab)), lightness)


class CrossSeesEverything(_Right):
    """The whole picture goes into the halves: each may see its own channels only, or it has nothing to predict."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab)), lab[:, 1:])
        return first + self.loss_l(self.to_l(self.from_ab(lab)), lab[:, :1])


class CrossInputsSwapped(_Right):
    """from_l is given the colours and from_ab the lightness."""

    def loss(self, lab, y=None):
        first = self.loss_ab(self.to_ab(self.from_l(lab[:, 1:])), lab[:, 1:])
        return first + self.loss_l(self.to_l(self.from_ab(lab[:, :1])), lab[:, :1])


class CrossThroughThePrediction(_Right):
    """Lightness is predicted from the predicted colours: predict it from the picture's own."""

    def loss(self, lab, y=None):
        predicted = self.to_ab(self.from_l(lab[:, :1]))
        return self.loss_ab(predicted, lab[:, 1:]) + self.loss_l(self.to_l(self.from_ab(predicted)), lab[:, :1])


class CrossScaled(_Right):
    """The channels are divided by 100 first: give the networks and the losses lab as it is."""

    def loss(self, lab, y=None):
        return super().loss(lab / 100)


class CrossBackwardInside(_Right):
    """loss must not call backward(): it returns the loss, fit does the rest."""

    def loss(self, lab, y=None):
        value = super().loss(lab)
        value.backward()
        return value


class CrossSuperForgotten(_Right):
    """super().__init__() must come before any network is assigned: it makes the place where modules are registered."""

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.loss_ab, self.loss_l = loss_ab, loss_l


class CrossLossWithoutY(_Right):
    """loss must accept y, even if it needs no labels: fit calls loss(x, y) for every method."""

    def loss(self, lab):
        return super().loss(lab)

    loss.__qualname__ = "CrossChannel.loss"  # the exception's message has it


class CrossBySplit(_Right):
    def halves(self, lab):
        lightness, ab = lab.split([1, 2], dim=1)
        return lightness, ab, self.from_l(lightness), self.from_ab(ab)

    def loss(self, lab, y=None):
        lightness, ab, h_l, h_ab = self.halves(lab)
        return self.loss_l(self.to_l(h_ab), lightness).double() + self.loss_ab(self.to_ab(h_l), ab).double()

    def encode(self, lab):
        return torch.cat(self.halves(lab)[2:], dim=1)


class CrossInModules(Method):
    def __init__(self, *parts):
        super().__init__()
        self.features, self.heads = nn.ModuleList(parts[:2]), nn.ModuleList(parts[2:4])
        self.losses = parts[4:]

    def loss(self, lab, y=None):
        parts = [lab[:, [0]], lab[:, [1, 2]]]
        return torch.stack([
            loss(head(features(seen)), hidden)
            for features, head, loss, seen, hidden in zip(self.features, self.heads, self.losses, parts, parts[::-1])
        ]).sum()  # fmt: skip

    @torch.no_grad()
    def encode(self, lab):
        return torch.hstack([self.features[0](lab[:, [0]]), self.features[1](lab[:, [1, 2]])])


# --- the sheet --------------------------------------------------------------------------------------------------------

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "rotation_batch",
        (
            Property("turns the pictures, in the right order", 3, outputs=("views",)),
            Property("labels the turns", 2, outputs=("labels", "int64")),
        ),
        cases_rotation_batch,
        mutants=(
            rotation_labels_interleaved,
            rotation_labels_float,
            rotation_labels_one_hot,
            rotation_labels_as_column,
            rotation_labels_in_degrees,
            rotation_labels_from_one,
            rotation_labels_of_pictures,
            rotation_labels_backwards,
            rotation_labels_of_one_picture,
            rotation_clockwise,
            rotation_interleaved,
            rotation_stacked,
            rotation_wrong_dims,
            rotation_channels_turned,
            rotation_mirrored,
            rotation_transposed,
            rotation_turned_again,
            rotation_all_halves,
            rotation_three_only,
            rotation_one_turn_each,
            rotation_nothing_turned,
            rotation_views_only,
            rotation_labels_first,
            rotation_labels_in_a_list,
            rotation_none_returned,
        ),
        alternatives=(rotation_by_flips, rotation_by_loops),
        hides=(
            "course_lib.transforms:rot90",
            "course_lib.pretext.rotation:rotate_four_ways",
            "course_lib.pretext.rotation:Rotation",
        ),
    ),
    Master(
        "cut_patches",
        (
            Property("cuts both patches where they belong", 5, outputs=("centre", "neighbour")),
            UNCHANGED,
        ),
        cases_cut_patches,
        mutants=(
            patches_in_place,
            patches_centre_not_skipped,
            patches_one_too_far,
            patches_column_by_column,
            patches_clockwise,
            patches_opposite,
            patches_without_gap,
            patches_gap_only,
            patches_gap_on_both_sides,
            patches_gap_before_the_grid,
            patches_one_jitter_for_both,
            patches_jitter_swapped,
            patches_jitter_transposed,
            patches_jitter_right_then_down,
            patches_jitter_of_first_picture,
            patches_jitter_accumulates,
            patches_no_jitter,
            patches_centre_not_displaced,
            patches_jitter_sign,
            patches_corner_swapped,
            patches_corner_of_first_picture,
            patches_corner_is_the_centre,
            patches_first_cell_as_centre,
            patches_neighbour_first,
            patches_one_neighbour_for_all,
            patches_in_one_batch,
        ),
        alternatives=(patches_by_gather, patches_by_loops),
        hides=(
            "course_lib.pretext.patch_location:patch_pairs",
            "course_lib.pretext.patch_location:PatchLocation",
        ),
    ),
    Master(
        "permutation_set",
        (
            Property("adds the farthest row again and again", 4),
            Property("never chooses a row twice", 1, "repeats"),
            Property("takes the lowest of several rows that are as far away", 1, "ties"),
        ),
        cases_permutation_set,
        mutants=(
            permutations_repeated,
            permutations_last_of_ties,
            permutations_ties_by_tiles,
            permutations_ties_by_worst,
            permutations_smallest_distance,
            permutations_largest_distance,
            permutations_from_the_last,
            permutations_from_the_first,
            permutations_near,
            permutations_how_far,
            permutations_euclidean,
            permutations_far_from_all,
            permutations_far_from_those_left,
            permutations_first_rows,
            permutations_sorted,
            permutations_themselves,
            permutations_without_the_first,
            permutations_one_too_few,
            permutations_one_too_many,
            permutations_in_a_list,
        ),
        alternatives=(permutations_by_matrix, permutations_by_loops),
        hides=("course_lib.pretext.jigsaw:permutation_set", "course_lib.pretext.jigsaw:_permutation_set"),
    ),
    Master(
        "shuffle_tiles",
        (
            Property("cuts and shuffles square pictures", 4),
            Property("cuts and shuffles pictures that are not square", 1, "oblong"),
        ),
        cases_shuffle_tiles,
        mutants=(
            tiles_square_view,
            tiles_square_slices,
            tiles_square_by_width,
            tiles_height_and_width_swapped,
            tiles_inverse,
            tiles_not_shuffled,
            tiles_one_order_for_all,
            tiles_permutations_in_order,
            tiles_column_by_column,
            tiles_just_reshaped,
            tiles_channels_cut,
            tiles_every_other_pixel,
            tiles_transposed,
            tiles_channels_first,
            tiles_one_batch,
            tiles_put_together,
            tiles_all_orders_for_all,
            tiles_pictures_chosen,
            tiles_labels_taken_as_orders,
        ),
        alternatives=(tiles_by_gather, tiles_by_loops),
        hides=("course_lib.pretext.jigsaw:cut_tiles", "course_lib.pretext.jigsaw:Jigsaw"),
    ),
    Master(
        "masked_loss",
        (
            Property("gives the right values", 3),
            UNCHANGED,
            gradient(1),
            Property("is 0 with gradient 0 where nothing is missing", 1, "nothing missing", ("value", "gradient")),
        ),
        cases_masked_loss,
        mutants=(
            loss_nan_division,
            loss_nan_selection,
            loss_nan_hidden,
            loss_constant_zero,
            loss_all_when_nothing_missing,
            loss_without_gradient,
            loss_through_numpy,
            loss_in_place,
            loss_mean_of_all,
            loss_visible,
            loss_whole_picture,
            loss_channels_not_counted,
            loss_mean_of_pictures,
            loss_by_picture,
            loss_sum,
            loss_sum_by_pictures,
            loss_absolute,
            loss_root,
            loss_half,
            loss_target_masked_only,
            loss_prediction_masked_only,
            loss_square_of_mean,
            loss_one_too_many,
            loss_mask_not_expanded,
            loss_mask_of_floats,
        ),
        alternatives=(loss_by_where, loss_by_selection, loss_by_loops),
        hides=(
            "course_lib.pretext.context_encoder:masked_reconstruction",
            "course_lib.pretext.context_encoder:ContextEncoder",
        ),
    ),
    Master(
        "soft_bins",
        (
            Property("gives the right shares", 4),
            UNCHANGED,
            Property("stays right far away from every bin", 1, "far"),
        ),
        cases_soft_bins,
        mutants=(
            bins_underflow,
            bins_underflow_epsilon,
            bins_least_of_all,
            bins_in_place,
            bins_all,
            bins_normalised_over_all,
            bins_masked_with_zero,
            bins_not_normalised,
            bins_density,
            bins_no_two,
            bins_sigma_not_squared,
            bins_two_squared,
            bins_no_sigma,
            bins_distance_not_squared,
            bins_city_block,
            bins_inverse_distance,
            bins_equal_shares,
            bins_hard,
            bins_index,
            bins_farthest,
            bins_far_ones_heavier,
            bins_softmax_over_colours,
            bins_neighbours_of_bins,
            bins_only_the_neighbours,
            bins_in_first_columns,
            bins_one_neighbour_too_few,
            bins_one_neighbour_too_many,
            bins_transposed,
        ),
        alternatives=(bins_by_mask, bins_least_subtracted, bins_by_loops),
        hides=("course_lib.colour:soft_bins", "course_lib.colour:nearest_bin"),
    ),
    Master(
        "rebalancing_weights",
        (
            Property("gives the right weights", 2),
            UNCHANGED,
            Property("weighs bins that never occur", 1, "empty bins"),
        ),
        cases_rebalancing_weights,
        mutants=(
            weights_none_for_empty_bins,
            weights_only_used_bins_mixed,
            weights_one_for_empty_bins,
            weights_in_place,
            weights_not_scaled,
            weights_sum_one,
            weights_mean_one,
            weights_largest_one,
            weights_scaled_by_mixture,
            weights_multiplied,
            weights_mix_on_the_prior,
            weights_one_for_uniform,
            weights_prior_not_weighted,
            weights_times_bins,
            weights_not_mixed,
            weights_inverses_mixed,
            weights_not_inverted,
            weights_one_minus,
            weights_logarithm,
            weights_root,
            weights_softmax,
            weights_times_prior,
        ),
        alternatives=(weights_by_tensors, weights_by_loops),
        hides=("course_lib.colour:rebalancing_weights",),
    ),
    Master(
        "annealed_mean",
        (
            Property("gives the right colours", 3),
            UNCHANGED,
            Property("stays right for large logits and low temperatures", 1, "extreme"),
        ),
        cases_annealed_mean,
        mutants=(
            annealed_overflow,
            annealed_power_underflow,
            annealed_global_maximum,
            annealed_overflow_hidden,
            annealed_in_place,
            annealed_mode,
            annealed_index,
            annealed_not_annealed,
            annealed_times_temperature,
            annealed_softmax_twice,
            annealed_softmax_after,
            annealed_power_not_normalised,
            annealed_probabilities_divided,
            annealed_exponential_not_normalised,
            annealed_no_exponential,
            annealed_log_softmax,
            annealed_softmax_over_width,
            annealed_softmax_over_batch,
            annealed_softmax_over_everything,
            annealed_mean_over_bins,
            annealed_b_before_a,
            annealed_channels_last,
            annealed_pooled,
        ),
        alternatives=(annealed_by_logarithms, annealed_by_matrix, annealed_by_loops),
        hides=("course_lib.colour:annealed_mean", "course_lib.pretext.colourisation:Colourisation"),
    ),
    Master(
        "CrossChannel",
        (
            Property("predicts each half from the other", 3),
            Property("hands its networks' parameters to the optimiser", 1, outputs=("parameters",)),
            Property("has a gradient through both halves and both heads", 1, outputs=("gradient",)),
            Property("encodes a picture as the features of both halves", 2, "encode", ("represent",)),
        ),
        cases_CrossChannel,
        mutants=(
            CrossNoMethod,
            CrossHeadsInList,
            CrossNetworksInList,
            CrossFeaturesDetached,
            CrossOneHalfFrozen,
            CrossOneLossDetached,
            CrossWithoutGradient,
            CrossEncodesLightness,
            CrossEncodesColour,
            CrossFeaturesAdded,
            CrossFeaturesAveraged,
            CrossColourFirst,
            CrossFeaturesOfTwiceTheBatch,
            CrossFeaturesStacked,
            CrossEncodesPredictions,
            CrossEncodesPredictionsByHalf,
            CrossFeaturesInTuple,
            CrossFeaturesNormalised,
            CrossPredictsItself,
            CrossComparedWithItsInput,
            CrossSecondLossForgotten,
            CrossFirstLossForgotten,
            CrossMeanOfLosses,
            CrossDifferenceOfLosses,
            CrossProductOfLosses,
            CrossLossesSwapped,
            CrossOneLossForBoth,
            CrossTargetFirst,
            CrossChannelsFromTheEnd,
            CrossChannelsBlueFirst,
            CrossChannelDropped,
            CrossSeesEverything,
            CrossInputsSwapped,
            CrossThroughThePrediction,
            CrossScaled,
            CrossBackwardInside,
            CrossSuperForgotten,
            CrossLossWithoutY,
        ),
        alternatives=(CrossBySplit, CrossInModules),
        hides=("course_lib.pretext.split_brain:SplitBrain",),
    ),
]
