"""Exercises 04, momentum contrast: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

import torch
from torch import Tensor, nn

from course_lib.grading.drive import (
    Arrays,
    changes,
    gradients,
    layer,
    named_parameters,
    on_case,
    same_bits,
)
from course_lib.grading.probes import careful, keeps_float64, stays_float64


def same_dtype(name: str, given: Tensor, value) -> Arrays:
    """Returns the output `of the dtype of NAME`: whether the value has the dtype of the
    given tensor."""
    return {f"of the dtype of {name}": getattr(value, "dtype", None) == given.dtype}


def drive_push(answer, a: Arrays) -> Arrays:
    """`new` wants a gradient. `value`, `pointer`: what comes back; `unchanged new`:
    whether `new` still wants a gradient; `detached`: whether the new queue wants none;
    `made ...`: whether no key was rounded; `of ...`: that of `same_dtype`."""
    wants = []

    def watched(keys, new, pointer):
        returned = answer(keys, pointer, new)
        wants.append(new.requires_grad)
        return returned

    given = {"keys": a["keys"], "new": a["new"].requires_grad_()}
    given["pointer"] = a["pointer"]
    outputs = on_case(
        watched, given, ("keys", "new"), ("pointer",), names=("value", "pointer")
    )
    value = outputs["value"]
    outputs["unchanged new"] = all(wants)
    outputs["detached"] = not getattr(value, "requires_grad", False)
    if getattr(value, "shape", None) == a["keys"].shape:
        rows = torch.cat([a["keys"], a["new"]]).detach()
        kept = (value.detach()[:, None] == rows).all(2).any(1).all()
        outputs["made of exact copies"] = bool(kept)
    return outputs | stays_float64(a, value) | same_dtype("keys", a["keys"], value)


drive_masked_moco_loss = careful(
    partial(
        on_case,
        tensors=("q", "k", "queue", "rows", "queue_rows"),
        settings=("temperature",),
        flows=("q",),
        stops=("k", "queue"),
    )
)


def drive_lag(answer, a: Arrays) -> Arrays:
    """`in float64`: whether the result has this dtype."""
    outputs = on_case(answer, a, ("updates",), ("momentum",))
    dtype = getattr(outputs["value"], "dtype", None)
    return outputs | {"in float64": dtype == torch.float64}


drive_effective_negatives = careful(
    partial(on_case, tensors=("scores",), settings=("temperature",))
)


def drive_encode_shuffled(answer, a: Arrays) -> Arrays:
    """Builds a tiny network with BatchNorm from the weights. `unchanged`: x and order;
    `in training ...`: whether the whole network still is; `calls`: how often it was
    called, which no property compares."""
    network = nn.Sequential(
        nn.Flatten(),
        layer(nn.Linear, a["weight"], a["bias"]),
        nn.BatchNorm1d(len(a["bias"]), dtype=a["bias"].dtype),
        nn.Tanh(),
    )
    network[2].running_mean.copy_(a["running mean"])
    network[2].running_var.copy_(a["running variance"])
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    given = {name: a[name].clone() for name in ("x", "order")}
    value = answer(network, *given.values(), a["groups"].item())
    outputs = {"value": value} | changes(given, a)
    outputs["in training mode afterwards"] = all(m.training for m in network.modules())
    return outputs | {"calls": len(calls)} | stays_float64(a, value)


# --- drivers of exercises 6 to 10
def drive_mix_with_query(answer, a: Arrays) -> Arrays:
    """The queries and the negatives want a gradient. `detached`: whether the result
    wants none; `of ...`: that of `same_dtype`."""
    a["q"].requires_grad_()
    a["negatives"].requires_grad_()
    tensors, settings = ("q", "negatives"), ("hard",)

    def in_order(q, negatives, hard):
        return answer(q, negatives, hard, *given)

    given = [a["choice"].clone(), a["beta"].clone()]
    drive = careful(partial(on_case, tensors=tensors, settings=settings))
    outputs = drive(in_order, a)
    for name, tensor in zip(("choice", "beta"), given):
        outputs[f"unchanged {name}"] = same_bits(tensor, a[name])
    value = outputs["value"]
    outputs["detached"] = not getattr(value, "requires_grad", False)
    return outputs | same_dtype("q", a["q"], value)


def drive_MoCo(answer, a: Arrays) -> Arrays:
    """Builds the method around two tiny networks, the encoder with a BatchNorm layer,
    and makes the updates that `fit` would make, with plain gradient steps.

    x (updates, batches, N, C, H, W): `loss` is called for each batch of an update.
    `value`: the very first loss; `gradient ...`: of this loss, for each parameter of
    encoder, projector, key encoder and key projector; `parameters ...`: how many
    numbers the method would give the optimiser, -1 where it is no torch module, and how
    many of them belong to the given networks. For each update: `key parameters` and
    `key statistics` after it, those of the key network; `queue`: the queue's rows,
    sorted by their first number; `later loss`: the losses after the first update.
    `unchanged queue`: whether the given queue is as it was. `resumed ...`: whether a
    new method with the state of this one makes the same next update.

    A case with `unseen` asks for `encode`, in eval mode, with other weights than those
    at the start. `left ...`: whether `encode` leaves the mode of each network as it is,
    in eval mode and in train mode.
    """
    queue = a["queue"].clone()
    method, networks = _moco(answer, a, queue)
    if "unseen" in a:
        method.eval()
        with torch.no_grad():
            for p in (p for network in networks for p in network.parameters()):
                p.mul_(1.5).add_(0.1)
            outputs, kept = {"represent": method.encode(a["unseen"])}, []
            for training in (False, True):
                method.train(training)
                modes = [m.training for m in method.modules()]
                method.encode(a["unseen"])
                kept.append(modes == [m.training for m in method.modules()])
        return outputs | {"left in its mode by encode": all(kept)}
    given = {id(p) for network in networks for p in network.parameters()}
    known = method.parameters() if isinstance(method, nn.Module) else None
    wanted = known and [p for p in known if p.requires_grad]
    counts = {"all": wanted, "given": wanted and [p for p in wanted if id(p) in given]}
    outputs = {
        f"parameters {name}": -1 if listed is None else sum(p.numel() for p in listed)
        for name, listed in counts.items()
    }
    for k, batches in enumerate(a["x"], 1):
        values, found = _update(method, networks, batches, a["rate"].item())
        if k == 1:
            outputs |= {"value": values[0]} | found
        else:
            outputs[f"later loss {k}"] = torch.stack([v.detach() for v in values])
        outputs |= {f"{name} {k}": v for name, v in _kept(method).items()}
    outputs["unchanged queue"] = same_bits(queue, a["queue"])
    again, others = _moco(answer, a, a["queue"].clone())
    state = {name: value.clone() for name, value in method.state_dict().items()}
    try:
        again.load_state_dict(state)
    except RuntimeError:  # another queue size, for example
        return outputs | {"resumed exactly from its state": False}
    again.augment.seen = method.augment.seen = 0
    ends = []
    for one, its in ((method, networks), (again, others)):
        values, _ = _update(one, its, a["x"][0], a["rate"].item())
        ends.append([values[-1].detach(), *_kept(one).values()])
    same = all(torch.allclose(*pair, 1e-4, 1e-5) for pair in zip(*ends))
    return outputs | {"resumed exactly from its state": same}


def _moco(answer, a: Arrays, queue: Tensor):
    """Returns the method, and the list of its encoder and projector."""
    f, g = (
        layer(nn.Linear, a[f"{name} weight"].clone(), a[f"{name} bias"].clone())
        for name in ("encoder", "projector")
    )
    norm = nn.BatchNorm1d(len(f.bias), dtype=f.weight.dtype)
    encoder = nn.Sequential(nn.Flatten(), f, norm, nn.Tanh())
    projector = nn.Sequential(g)
    size = a["x"].shape[2] if "x" in a else len(a["unseen"])
    views = _Views(a["scale"], a["shift"], size)
    settings = a["temperature"].item(), a["momentum"].item()
    method = answer(encoder, projector, views, queue, *settings)
    method.augment = views
    return method, [encoder, projector]


def _update(method, networks, batches: Tensor, rate: float) -> tuple[list, Arrays]:
    """Makes one update as `fit` does, with a plain gradient step. Returns the losses of
    the batches, and the gradients of the first one."""
    method.train()
    copies = method.key_encoder, method.key_projector
    names = ("encoder", "projector", "key_encoder", "key_projector")
    leaves = named_parameters(**dict(zip(names, (*networks, *copies))))
    leaves = {name: p for name, p in leaves.items() if p.requires_grad}
    values, found = [], []
    for x in batches:
        values.append(method.loss(x, torch.arange(len(x))))
        found.append(gradients(values[-1], leaves) if leaves else {})
    with torch.no_grad():
        for name, p in leaves.items():
            for each in found:
                p -= rate / len(batches) * each.get(f"gradient {name}", 0)
        method.after_step()
    method.step_outputs.clear()
    return values, found[0]


def _kept(method) -> Arrays:
    copies, queue = (method.key_encoder, method.key_projector), method.queue.detach()
    numbers = [p.detach().flatten() for net in copies for p in net.parameters()]
    statistics = [b.flatten() for net in copies for b in net.buffers()]
    return {
        "key parameters": torch.cat(numbers).clone(),
        "key statistics": torch.cat(statistics).clone(),
        "queue": queue[queue[:, 0].argsort()],
    }


class _Views:
    """Stands for a random augmentation: the first N pictures it is given get one map,
    the next N another, and so on."""

    def __init__(self, scale: Tensor, shift: Tensor, pictures: int):
        self.maps, self.pictures, self.seen = (scale, shift), pictures, 0

    def __call__(self, x: Tensor) -> Tensor:
        turn = torch.arange(self.seen, self.seen + len(x)) // self.pictures
        self.seen += len(x)
        scale, shift = (of[turn % len(of)].view(-1, 1, 1, 1) for of in self.maps)
        return x * scale + shift


def drive_many_view_loss(answer, a: Arrays) -> Arrays:
    """As for `on_case`. In float64 cases without a cotangent `float64 ...` is that of
    `keeps_float64`."""
    names = {"tensors": ("q", "k"), "settings": ("temperature",)}
    drive = partial(on_case, **names, flows=("q",), stops=("k",))
    outputs = careful(drive)(answer, a)
    if a["q"].dtype != torch.float64 or "cotangent" in a:
        return outputs
    given = {name: a[name] for name in names["tensors"]}
    return outputs | keeps_float64(answer, given, a["temperature"].item())


def drive_iou_matrix(answer, a: Arrays) -> Arrays:
    """`of ...`: that of `same_dtype`."""
    outputs = careful(partial(on_case, tensors=("a", "b")))(answer, a)
    return outputs | same_dtype("a", a["a"], outputs["value"])


drive_labelled_queue_loss = careful(
    partial(
        on_case,
        tensors=("q", "k", "y", "queue", "queue_y"),
        settings=("temperature",),
        flows=("q",),
        stops=("k", "queue"),
    )
)


# --- private: what stands above is given to students ----------------------------------

import copy
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


def vectors_of_all_lengths(g: Generator, n: int, d: int, dtype=F32) -> Tensor:
    """n rows whose lengths differ by up to a factor of four, none of them near zero."""
    lengths = uniform(g, n, 1, low=0.6, high=2.4, dtype=F64)
    return (F.normalize(normal(g, n, d, dtype=F64), dim=1) * lengths).to(dtype)


# --- 1. the queue ---------------------------------------------------------------------
def cases_push(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, size, d, pointer, n, dtype=F32):
        keys, new = (
            F.normalize(normal(g, rows, d, dtype=dtype), dim=1) for rows in (size, n)
        )
        return make_case(kind, keys=keys, pointer=pointer, new=new)

    if not hidden:
        return [
            case("ordinary", 5, 3, 1, 2),  # without wrapping round
            case("ordinary", 5, 3, 3, 4, F64),
            case("ordinary", 4, 3, 2, 2),  # up to the last slot
            case("ordinary", 3, 2, 2, 3),  # all slots
            case("more new keys", 3, 2, 1, 4),
            case("more new keys", 4, 2, 3, 9, F64),
        ]
    size = whole(g, 7, 12)
    return [
        case("ordinary", size, 4, 0, 3),
        case("ordinary", size, 5, size - 1, 1),
        case("ordinary", size, 6, whole(g, 4, size - 1), size - 2),
        case("ordinary", size + 1, 4, size - 2, 5, F64),
        case("ordinary", size, 5, whole(g, 1, size - 1), size, F64),
        case("ordinary", 1, 4, 0, 1),
        case("more new keys", size, 4, whole(g, 1, size - 1), size + 1),
        case("more new keys", size, 5, size - 2, 2 * size + whole(g, 1, size - 3)),
        case("more new keys", size, 5, 0, 2 * size, F64),
        case("more new keys", 1, 4, 0, 3, F64),
    ]


@torch.no_grad()
def push_by_loop(keys, pointer, new):
    keys = keys.clone()
    for key in new:
        keys[pointer] = key
        pointer = (pointer + 1) % len(keys)
    return keys, torch.tensor(pointer)


def push_by_rolling(keys, pointer, new):
    """Puts the oldest key first, takes the last K of all, and rolls back."""
    size = len(keys)
    in_order = torch.cat([keys.roll(-pointer, 0), new.detach()])[-size:]
    pointer = (pointer + len(new)) % size
    return in_order.roll(pointer, 0), pointer


def push_by_index_of_newest(keys, pointer, new):
    size, n = keys.shape[0], new.shape[0]
    ahead = (torch.arange(size) - pointer) % size  # the first j that reaches each slot
    newest = ahead + (n - 1 - ahead) // size * size
    found = new.data[newest.clamp(min=0)]
    return torch.where((newest >= 0)[:, None], found, keys), (pointer + n) % size


# --- 2. MoCo's loss -------------------------------------------------------------------
def cases_masked_moco_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, size, d, temperature, dtype=F32, own=2, layout=""):
        q, k, queue = (
            vectors_of_all_lengths(g, rows, d, dtype) for rows in (n, n, size)
        )
        rows = torch.randperm(20, generator=g)[:n]
        queue_rows = torch.randint(20, 25, (size,), generator=g)
        queue_rows[torch.rand(size, generator=g) < 0.3] = -1
        places = torch.randperm(size, generator=g)[:own]
        of = torch.arange(own) % max(1, n - 1)  # the last query has none, if n > 1
        queue_rows[places] = rows[of]
        # an old key of the same picture is similar to the query
        queue[places] = 0.4 * queue[places] + q[of]
        if layout == "nearly equal":
            q, k, queue = (q[:1] + 0.001 * x for x in (q, k, queue))
        elif kind == "extreme":
            # all candidates of the last query are far from it, its positive the most;
            # for the first query (of several) the positive is nearly equal
            u = F.normalize(q[-1:])
            q[:-1] -= 0.9 * (q[:-1] @ u.T) * u
            lengths = queue.norm(dim=1, keepdim=True)
            queue -= (queue @ u.T + 0.5 * lengths) * u
            k[0] = q[0] + 0.01 * k[0]
            k[-1] = 0.02 * k[-1] - 1.3 * q[-1]
        return make_case(
            kind,
            lambda: 1.5,
            q=q,
            k=k,
            queue=queue,
            rows=rows,
            queue_rows=queue_rows,
            temperature=temperature,
        )

    if not hidden:
        return [
            case("ordinary", 3, 5, 4, 0.5),
            case("ordinary", 2, 4, 3, 0.3, F64, own=1),
            case("ordinary", 2, 3, 4, 0.4, own=0),
            case("ordinary", 1, 2, 3, 0.5, own=2),  # no negative remains
            case("extreme", 3, 4, 4, 0.005),
            case("extreme", 3, 4, 4, 1e-6, F64, layout="nearly equal"),
            case("gradient", 3, 4, 4, 0.5, F64),
        ]
    n = whole(g, 4, 7)
    return [
        case("ordinary", n, 2 * n + 3, 5, between(g, 0.2, 0.6), own=n),
        case("ordinary", n, 3 * n, 6, between(g, 0.2, 0.6), F64, own=3),
        case("ordinary", 1, whole(g, 6, 9), 5, between(g, 0.3, 0.8), own=2),
        case("ordinary", 2 * n, n, 7, between(g, 0.1, 0.2), own=2),
        case("ordinary", n, n + 5, 2, between(g, 0.3, 0.8), own=0),
        case("ordinary", 1, 5, n, between(g, 0.3, 0.8), F64, own=5),
        case("ordinary", n, n, 6, between(g, 0.3, 0.8), own=2),
        case("extreme", n, n + 4, 6, 0.005),
        case("extreme", n + 1, n + 2, 5, 0.004, own=4),
        case("extreme", n, n + 3, 6, 1e-6, F64, layout="nearly equal"),
        case("gradient", n, n + 2, 5, between(g, 0.3, 0.8), F64, own=4),
        case("gradient", n, n + 3, 7, between(g, 0.3, 0.8), own=3),
    ]


def moco_by_loops(q, k, queue, rows, queue_rows, temperature):
    losses = []
    for query, key, row in zip(q, k.detach(), rows):
        negatives = queue.detach()[queue_rows != row]
        candidates = torch.cat([key[None], negatives])
        s = candidates @ query / (candidates.norm(dim=1) * query.norm() * temperature)
        losses.append(s.logsumexp(0) - s[0])
    return torch.stack(losses).mean()


def moco_by_cross_entropy(q, k, queue, rows, queue_rows, temperature):
    keys = torch.cat([k, queue]).detach()
    s = F.cosine_similarity(q[:, None], keys[None], dim=2) / temperature
    n, away = len(q), s.new_tensor(-torch.inf)
    out = torch.cat([~torch.eye(n, dtype=torch.bool), rows[:, None] == queue_rows], 1)
    return F.cross_entropy(torch.where(out, away, s), torch.arange(n))


def moco_by_softplus(q, k, queue, rows, queue_rows, temperature):
    """-log(a / (a + b)) = log(1 + b / a), in float64."""
    q, k, queue = (F.normalize(x.double(), dim=1) for x in (q, k.data, queue.data))
    negatives = torch.einsum("nd,kd->nk", q, queue) / temperature
    weights = (queue_rows[None] != rows[:, None]).double().log()
    against = (negatives + weights).logsumexp(1) - (q * k).sum(1) / temperature
    return F.softplus(against, threshold=1e3).sum() / len(q)


# --- 3. the lag -----------------------------------------------------------------------
def cases_lag(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, updates, momentum):
        if not isinstance(updates, Tensor):
            updates = torch.tensor(updates)
        return make_case(kind, updates=updates, momentum=momentum)

    def some(low, high, *shape):
        return torch.randint(low, high, shape, generator=g)

    if not hidden:
        return [
            case("ordinary", [0, 1, 2, 5], 0.7),
            case("ordinary", [[3, 10], [40, 1]], 0.9),
            case("limits", [0, 1, 7], 0.0),
            case("limits", [0, 1, 7], 1.0),
            case("close to 1", [0, 1, 1000, 100_000], 0.9999),
            case("close to 1", [1000, 1_000_000, 10**12], 1 - 1e-10),
        ]
    return [
        case("ordinary", some(0, 30, 6), between(g, 0.3, 0.8)),
        case("ordinary", some(1, 9, 5), between(g, 0.05, 0.3)),
        case("ordinary", some(0, 99, 3, 5), between(g, 0.8, 0.99)),
        case("ordinary", some(1, 9), between(g, 0.5, 0.9)),
        case("limits", some(0, 50, 5), 0.0),
        case("limits", some(0, 10**9, 2, 3), 1.0),
        case("close to 1", some(0, 10**4, 5), 1 - between(g, 1e-4, 1e-3)),
        case("close to 1", some(10**8, 10**9, 6), 1 - between(g, 1e-9, 1e-8)),
        case("close to 1", some(10**11, 10**12, 2, 2), 1 - between(g, 1e-12, 1e-11)),
        case("close to 1", some(10**5, 10**7, 7), 1 - between(g, 1e-10, 1e-9)),
    ]


def lag_by_expm1(updates, momentum):
    m = torch.tensor(momentum, dtype=torch.float64)
    closed = -m * torch.expm1(updates * torch.log1p(m - 1)) / (1 - m)
    return torch.where(m == 1, updates.double(), torch.where(m == 0, 0.0, closed))


def lag_by_doubling(updates, momentum):
    """Adds up m + ... + m^t by the bits of t: S(2 n) = S(n) (1 + m^n)."""

    def one(t):
        total, power = 0.0, 1.0  # of n updates: the lag, and m^n
        for bit in bin(t)[2:]:
            total, power = total * (1 + power), power * power
            if bit == "1":
                total, power = momentum * (total + 1), power * momentum
        return total

    lags = [one(t) for t in updates.flatten().tolist()]
    return torch.tensor(lags, dtype=torch.float64).view(updates.shape)


def lag_by_products(updates, momentum):
    """1 + m + ... + m^(2^b - 1) is the product of 1 + m^(2^i) for i < b: adds blocks of
    these lengths for all t together."""
    block = torch.tensor(1.0, dtype=torch.float64)
    power = torch.tensor(momentum, dtype=torch.float64)  # m^(2^b)
    total, rest = torch.zeros(updates.shape, dtype=torch.float64), updates
    for _ in range(41):
        odd = rest % 2 == 1
        total = torch.where(odd, block + power * total, total)
        block, power, rest = block * (1 + power), power * power, rest // 2
    return momentum * total


# --- 4. the effective number of negatives ---------------------------------------------
def cases_effective_negatives(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, size, temperature, dtype=F32, scale=1.0, levels=(0.0,), out=0):
        scores = scale * normal(g, n, size, dtype=F64)
        scores += torch.tensor(levels, dtype=F64).repeat(n)[:n, None]
        if scale > 1e3:
            scores = scores.clamp(-1e4, 1e4)
        for row in scores:
            row[torch.randperm(size, generator=g)[:out]] = -torch.inf
        return make_case(kind, scores=scores.to(dtype), temperature=temperature)

    if not hidden:
        return [
            case("ordinary", 3, 4, 0.5),
            case("ordinary", 2, 5, 1.5, F64),
            case("ordinary", 2, 3, 0.7, scale=0.0),
            case("left out", 2, 5, 0.6, out=2),
            case("left out", 3, 3, 0.6, F64, out=2),
            case("extreme", 3, 4, 0.5, scale=5e3),
            case("extreme", 2, 3, 0.7, levels=(120.0, -120.0)),
            case("extreme", 2, 4, 0.8, F64, levels=(1e6,)),
        ]
    n, size = whole(g, 4, 7), whole(g, 8, 20)
    return [
        case("ordinary", n, size, between(g, 0.3, 0.9)),
        case("ordinary", size, n, between(g, 0.3, 0.9), F64),
        case("ordinary", 1, size + 1, between(g, 1.2, 3.0)),
        case("ordinary", n, 1, between(g, 0.3, 0.9)),
        case("ordinary", n, 200, between(g, 0.07, 0.3), scale=0.2),
        case("left out", n, size, between(g, 0.3, 0.9), out=size // 2),
        case("left out", n, size + 3, between(g, 1.2, 3.0), F64, out=3),
        case("left out", 1, size, between(g, 0.3, 0.9), out=size - 1),
        case("extreme", n, size, between(g, 0.3, 0.9), scale=5e3),
        case("extreme", n, size + 2, 0.7, levels=(-120.0, 120.0)),
        case("extreme", n, size, between(g, 0.6, 0.9), F64, levels=(1e6, -1e6)),
        case("extreme", 1, size, between(g, 0.6, 0.9), F64, levels=(-1e6,)),
    ]


def negatives_by_loops(scores, temperature):
    counts = []
    for row in scores.double():
        s = row[row.isfinite()] / temperature
        p = (s - s.max()).exp()
        p = p[p > 0] / p.sum()
        counts.append((-(p * p.log()).sum()).exp())
    return torch.stack(counts).to(scores.dtype)


def negatives_by_product(scores, temperature):
    p = (scores / temperature).softmax(1)
    return (p**-p).prod(1)


def negatives_by_logsumexp(scores, temperature):
    """log of the denominator minus the mean score, from each row's largest score on."""
    s = (scores - scores.amax(1, keepdim=True)) / temperature
    p = s.softmax(1)
    return (s.logsumexp(1) - (p * s.masked_fill(p == 0, 0)).sum(1)).exp()


def negatives_by_clamp(scores, temperature):
    p = torch.softmax(scores / temperature, -1)
    return torch.exp(-torch.sum(p * p.clamp(min=1e-35).log(), -1))


# --- 5. shuffled BatchNorm ------------------------------------------------------------
def cases_encode_shuffled(g: Generator, hidden: bool) -> list[Case]:
    def case(groups, size, shape, d, dtype=F32):
        n, inputs = groups * size, math.prod(shape)
        while True:
            order = torch.randperm(n, generator=g)
            inverse = order.argsort()
            # another permutation than its inverse, and the groups of the two differ
            first, second = (
                {frozenset(part.tolist()) for part in given.split(size)}
                for given in (order, inverse)
            )
            straight = {frozenset(p.tolist()) for p in torch.arange(n).split(size)}
            # a batch of one group has no other groups
            others = groups == 1 or first != second and first != straight
            if others and (order != inverse).any():
                break
        return make_case(
            "ordinary",
            x=normal(g, n, *shape, dtype=dtype),
            order=order,
            groups=groups,
            weight=normal(g, d, inputs, dtype=dtype) / inputs**0.5,
            bias=0.3 * normal(g, d, dtype=dtype),
            **{
                "running mean": normal(g, d, dtype=dtype),
                "running variance": uniform(g, d, low=0.5, high=2.0, dtype=dtype),
            },
        )

    if not hidden:
        return [
            case(2, 3, (4,), 3),
            case(2, 4, (3,), 2, F64),
            case(3, 4, (2, 2), 2),
        ]
    groups = whole(g, 3, 4)
    return [
        case(groups, whole(g, 5, 7), (5,), 4),
        case(groups + 2, 3, (3, 2, 2), 5, F64),
        case(1, 7, (6,), 3),
        case(groups + 1, 3, (7,), 4, F64),
        case(2, whole(g, 5, 9), (3, 3), 4),
    ]


def shuffled_by_places(network, x, order, groups):
    found = [None] * len(x)
    for rows in order.view(groups, -1):
        for row, output in zip(rows.tolist(), network(x[rows])):
            found[row] = output
    return torch.stack(found)


@torch.no_grad()
def shuffled_by_chunks(network, x, order, groups):
    outputs = torch.cat([network(part) for part in x[order].chunk(groups)])
    y = torch.empty_like(outputs)
    y[order] = outputs
    return y


def shuffled_by_sorting(network, x, order, groups):
    size = len(x) // groups
    shuffled = torch.index_select(x, 0, order)
    outputs = [network(shuffled[i * size : (i + 1) * size]) for i in range(groups)]
    return torch.cat(outputs)[torch.sort(order).indices]


def unit_rows(g: Generator, *shape: int, dtype=F32) -> Tensor:
    return F.normalize(normal(g, *shape, dtype=F64), dim=-1).to(dtype)


# --- 6. mixtures with the query -------------------------------------------------------
def cases_mix_with_query(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, keys, d, hard, mixtures, dtype=F32):
        while True:
            q, negatives = (unit_rows(g, rows, d, dtype=dtype) for rows in (n, keys))
            if kind == "extreme":  # key and query nearly cancel
                q = F.normalize(q[:1] + 3e-5 * q, dim=1)
                negatives = F.normalize(3e-5 * negatives - q[:1], dim=1)
            order = (q.double() @ negatives.double().T).sort(1, descending=True)
            gap = order.values.diff(dim=1).abs()
            # no rounding changes the order, which is another one for each query
            clear = gap.min() > (1e-13 if kind == "extreme" else 1e-3)
            several = n == 1 or (order.indices[0] != order.indices[1]).any()
            choice = torch.randint(hard, (n, mixtures), generator=g)
            # the order of the choices matters, and so do the order's first and last
            mixed = hard == 1 or mixtures == 1 or choice.unique().numel() > 1
            if clear and several and mixed:
                break
        low, high = (0.49, 0.4999) if kind == "extreme" else (0.05, 0.45)
        beta = uniform(g, n, mixtures, low=low, high=high, dtype=dtype)
        if kind == "extreme":
            beta = 0.5 - 1e-6 * uniform(g, n, mixtures, low=0.5, dtype=dtype)
        arrays = {"q": q, "negatives": negatives, "hard": hard}
        return make_case(kind, **arrays, choice=choice, beta=beta)

    if not hidden:
        return [
            case("ordinary", 2, 5, 3, 3, 2),
            case("ordinary", 3, 4, 2, 4, 3, F64),
            case("ordinary", 1, 4, 3, 1, 2),
            case("extreme", 2, 3, 3, 2, 2, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 2 * n, 5, n, 7),
        case("ordinary", n, n + 1, 4, 3, n, F64),
        case("ordinary", 2, 12, 8, 5, 1),
        case("ordinary", 1, n, 5, n, 9),
        case("ordinary", n, n + 3, 6, n + 3, 5),
        case("extreme", n, 6, 5, 4, 3, F64),
    ]


@torch.no_grad()
def mixtures_by_sorting(q, negatives, hard, choice, beta):
    rows = torch.arange(len(q))[:, None]
    order = torch.cdist(q, negatives).argsort(dim=1)  # the nearest unit vectors
    near = negatives.expand(len(q), -1, -1)[rows, order[rows, choice]]
    mixed = torch.lerp(near, q[:, None], beta[..., None])
    return mixed / mixed.norm(dim=2, keepdim=True)


def mixtures_by_loops(q, negatives, hard, choice, beta):
    found = []
    keys = negatives.detach().double()
    for one, numbers, shares in zip(q.detach().double(), choice, beta.double()):
        near = sorted(keys, key=lambda n: -float(one @ n))[:hard]
        parts = [b * one + (1 - b) * near[c] for c, b in zip(numbers.tolist(), shares)]
        found.append(torch.stack([part / part.square().sum().sqrt() for part in parts]))
    return torch.stack(found).to(q.dtype)


# --- 7. MoCo --------------------------------------------------------------------------
def cases_MoCo(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, updates, batches, n, side, d, dim, keys, dtype=F32, momentum=None):
        def weights(name, outputs, inputs):
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            bias = 0.3 * normal(g, outputs, dtype=dtype)
            return {f"{name} weight": weight, f"{name} bias": bias}

        def maps(width, *lows):
            numbers = [between(g, low, low + width) for low in lows]
            return torch.tensor(numbers, dtype=dtype)

        shape = (n, 3, side, side)
        if kind == "encode":
            arrays = {"unseen": uniform(g, *shape, dtype=dtype)}
        else:
            arrays = {"x": uniform(g, updates, batches, *shape, dtype=dtype)}
        arrays |= weights("encoder", d, 3 * side**2) | weights("projector", dim, d)
        arrays["scale"] = maps(0.3, 1.2, 0.4, -0.9, 2.0)
        arrays["shift"] = maps(0.2, 0.1, -0.5, 0.5, -0.9)
        arrays["queue"] = unit_rows(g, keys, dim, dtype=dtype)
        arrays["temperature"] = between(g, 0.3, 0.6)
        arrays["momentum"] = between(g, 0.6, 0.8) if momentum is None else momentum
        return make_case(kind, **arrays, rate=between(g, 0.5, 0.9))

    if not hidden:
        return [
            # the queue is never full here: the cases of kind "queue" are for that
            case("ordinary", 2, 1, 3, 1, 4, 3, 9),
            case("ordinary", 1, 1, 4, 1, 3, 2, 8, F64),
            # the key network stays as it is, so the queue depends on nothing else
            case("queue", 3, 1, 2, 1, 3, 3, 5, momentum=1.0),
            case("queue", 2, 2, 2, 1, 3, 2, 3, momentum=1.0),
            case("encode", 1, 1, 3, 1, 4, 3, 5),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 2, 1, n, 2, 5, 4, 3 * n),
        case("ordinary", 3, 1, n + 1, 1, 5, n, 4 * n + 5, F64),
        case("ordinary", 2, 2, n, 1, 6, 3, 6 * n),
        case("ordinary", 1, 1, n, 1, 6, 5, 2 * n + 1, momentum=0.0),
        case("queue", 4, 1, n, 2, 5, 4, 2 * n + 1, momentum=1.0),
        case("queue", 2, 3, n, 1, 4, 5, n + 3, F64, momentum=1.0),
        case("queue", 2, 1, n + 2, 1, 5, 3, n, momentum=1.0),
        case("encode", 1, 1, n, 2, 5, 6, n),
        case("encode", 1, 1, 2, 1, n + 1, 3, 4, F64),
    ]


class MoCoWithPointer(Method):
    """With a ring buffer; loss and average in another algebraic form."""

    def __init__(self, encoder, projector, augment, queue, temperature, momentum):
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment
        self.key_encoder, self.key_projector = copy.deepcopy((encoder, projector))
        for p in (*self.key_encoder.parameters(), *self.key_projector.parameters()):
            p.requires_grad = False
        self.register_buffer("queue", queue.detach().clone())
        self.register_buffer("pointer", torch.tensor(0))
        self.temperature, self.momentum = temperature, momentum

    def loss(self, x, y=None):
        view1, view2 = self.augment(x), self.augment(x)
        k = self.key_projector(self.key_encoder(view2))
        k = k / k.norm(dim=1, keepdim=True)
        q = self.projector(self.encoder(view1))
        q = q / q.norm(dim=1, keepdim=True)
        self.step_outputs.append(k)
        positive = (q @ k.T).diagonal() / self.temperature
        negatives = (q @ self.queue.T / self.temperature).logsumexp(1)
        return (torch.logaddexp(positive, negatives) - positive).mean()

    @torch.no_grad()
    def after_step(self):
        for row in torch.cat(self.step_outputs):
            self.queue[self.pointer] = row
            self.pointer.copy_((self.pointer + 1) % len(self.queue))
        for online, key in (
            (self.projector, self.key_projector),
            (self.encoder, self.key_encoder),
        ):
            for o, k in zip(online.parameters(), key.parameters()):
                k += (1 - self.momentum) * (o - k)

    def encode(self, x):
        return self.encoder(x)


class MoCoWithPairs(MoCoWithPointer):
    """The queue's newest keys come first; both views are made by one call."""

    def __init__(self, encoder, projector, augment, queue, temperature, momentum):
        super().__init__(encoder, projector, augment, queue, temperature, momentum)
        self.queue = queue.flip(0)

    def loss(self, x, y=None):
        view1, view2 = self.augment(torch.cat([x, x])).chunk(2)
        q = F.normalize(self.projector(self.encoder(view1)))
        k = F.normalize(self.key_projector(self.key_encoder(view2))).detach()
        self.step_outputs += [k]
        scores = torch.cat([(q * k).sum(1)[:, None], q @ self.queue.T], 1)
        return -(scores / self.temperature).log_softmax(1)[:, 0].mean()

    def after_step(self):
        for o, k in zip(
            (*self.encoder.parameters(), *self.projector.parameters()),
            (*self.key_encoder.parameters(), *self.key_projector.parameters()),
        ):
            k.data = torch.lerp(o.data, k.data, self.momentum)
        newest_first = torch.cat(self.step_outputs).flip(0)
        self.queue = torch.cat([newest_first, self.queue])[: len(self.queue)]


# --- 8. many views --------------------------------------------------------------------
def cases_many_view_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, views, n, d, temperature, dtype=F32, layout=""):
        lengths = uniform(g, 2, views, n, 1, low=0.6, high=2.4, dtype=F64)
        q, k = (lengths * unit_rows(g, 2, views, n, d, dtype=F64)).to(dtype)
        if layout == "opposite":  # one positive is as far away as possible
            k[1, 0] = 0.02 * k[1, 0] - 1.3 * q[0, 0]
        elif layout == "long":
            q, k = 1e25 * q, 3e25 * k
        temperature = {"temperature": temperature}
        return make_case(kind, lambda: 1.5, q=q, k=k, **temperature)

    if not hidden:
        return [
            case("ordinary", 3, 2, 4, 0.5),
            case("ordinary", 2, 3, 3, 0.3, F64),
            case("ordinary", 4, 3, 2, 0.8),
            case("extreme", 2, 3, 3, 0.005, layout="opposite"),
            case("extreme", 3, 2, 3, 0.4, F64, layout="long"),
            case("extreme", 2, 2, 4, 0.3, F64),
            case("gradient", 3, 3, 4, 0.5, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 3, n, 5, between(g, 0.2, 0.5)),
        case("ordinary", 5, n - 1, 4, between(g, 0.6, 0.9), F64),
        case("ordinary", 2, n + 1, 6, between(g, 0.1, 0.3)),
        case("ordinary", 4, 2, n + 2, between(g, 0.6, 1.5)),
        case("ordinary", 3, 1, 5, between(g, 0.2, 0.5)),
        case("extreme", 3, n, 6, 0.004, layout="opposite"),
        case("extreme", 2, n, 5, 0.3, F64, layout="long"),
        case("extreme", 4, n, 5, 0.5, F64),
        case("gradient", 4, n, 5, between(g, 0.3, 0.6), F64),
        case("gradient", 2, n + 1, 6, between(g, 0.4, 0.8), F64),
    ]


def many_views_by_einsum(q, k, temperature):
    q, k = (x / x.norm(dim=2, keepdim=True) for x in (q, k.detach()))
    scores = torch.einsum("und,vmd->uvnm", q, k) / temperature
    losses = scores.logsumexp(3) - scores.diagonal(dim1=2, dim2=3)  # (V, V, N)
    pairs = losses.mean(2).mul(2 * temperature)
    return (pairs.sum() - pairs.trace()) / (len(q) - 1)


def many_views_by_loops(q, k, temperature):
    views, n, _ = q.shape
    losses = []
    for u in range(views):
        for v in range(views):
            for i in range(n):
                cos = torch.cosine_similarity(q[u, i][None], k.detach()[v], dim=1)
                gaps = (cos - cos[i]) / temperature
                if u != v:
                    losses.append(gaps.logsumexp(0))
    return torch.stack(losses).mean() * views * 2 * temperature


# --- 9. boxes -------------------------------------------------------------------------
def cases_iou_matrix(g: Generator, hidden: bool) -> list[Case]:
    def boxes(n, dtype, scale, start):
        corner = uniform(g, n, 2, high=5.0, dtype=F64)
        sides = uniform(g, n, 2, low=1.5, high=6.0, dtype=F64)
        return (start + scale * torch.cat([corner, corner + sides], 1)).to(dtype)

    def case(kind, n, m, dtype=F32, scale=1.0, start=0.0, empty=False):
        a, b = (boxes(rows, dtype, scale, start) for rows in (n, m))
        if kind == "ordinary" and n > 1 and m > 2:
            b[0] = a[1]  # equal boxes
            # above to the right of all boxes of a, and below to the left
            b[1] = a.new_tensor([20, -9, 24, -6.5])
            b[2] = a.new_tensor([13, 12, 15.5, 16])
        if kind == "extreme":  # two boxes that overlap by more than half
            b[0] = a[0]
            b[0, 2] += 0.3 * (a[0, 2] - a[0, 0])
        if empty:
            a[0, 2] = a[0, 0]  # no width
            b[-1, 1:] = b[-1, [3, 2, 1]]  # the bottom above the top
            a[1] = a[1, [2, 3, 0, 1]]  # both sides negative
            b[0] = a[0].mean()  # a point
        return make_case(kind, a=a, b=b)

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 4, F64),
            case("ordinary", 3, 3),
            case("empty", 2, 3, empty=True),
            case("empty", 3, 2, F64, empty=True),
            case("extreme", 2, 2, scale=3e-6),
            case("extreme", 2, 3, F64, scale=0.3, start=1e8),
        ]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 1, 4, F64),
        case("ordinary", n, n),
        case("ordinary", 1, n),
        case("ordinary", n, 1, F64),
        case("empty", n, 5, empty=True),
        case("empty", 4, n, F64, empty=True),
        case("extreme", n, 4, scale=3e-6),
        case("extreme", n, n + 1, F64, scale=0.3, start=1e8),
    ]


def iou_by_loops(a, b):
    def area(left, top, right, bottom):
        return max(right - left, 0.0) * max(bottom - top, 0.0)

    rows = []
    for one in a.tolist():
        row = []
        for other in b.tolist():
            low = [max(x, y) for x, y in zip(one[:2], other[:2])]
            high = [min(x, y) for x, y in zip(one[2:], other[2:])]
            both = area(*low, *high)
            union = area(*one) + area(*other) - both
            row.append(both / union if union > 0 else 0.0)
        rows.append(row)
    return torch.tensor(rows, dtype=a.dtype)


def iou_by_sides(a, b):
    def overlap(i, j):  # of the intervals of one axis
        right = torch.minimum(a[:, None, j], b[None, :, j])
        return (right - torch.maximum(a[:, None, i], b[None, :, i])).relu()

    def areas(boxes):
        width, height = (boxes[:, 2:] - boxes[:, :2]).relu().unbind(1)
        return width * height

    both = overlap(0, 2) * overlap(1, 3)
    union = areas(a)[:, None] + areas(b)[None] - both
    return both / union.clamp(min=torch.finfo(union.dtype).tiny)


# --- 10. labels and a queue -----------------------------------------------------------
def cases_labelled_queue_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, keys, d, temperature, dtype=F32, labels=None, layout=""):
        q, k, queue = (unit_rows(g, rows, d, dtype=dtype) for rows in (n, n, keys))
        if layout == "opposite":  # one own key is as far away as possible
            k[0] = -q[0]
        elif layout == "nearly equal":
            q, k, queue = (F.normalize(q[:1] + 1e-3 * x, dim=1) for x in (q, k, queue))
        if labels is None:  # query 0 has two positives in the queue, 1 has no label
            y = torch.randint(-1, 3, (n,), generator=g)
            queue_y = torch.randint(-1, 3, (keys,), generator=g)
            y[:2], queue_y[:4] = torch.tensor([0, -1]), torch.tensor([0, 0, -1, 1])
            y[2:3] = 4  # a class without keys in the queue
            y[3:4] = 1
            queue_y = queue_y[torch.randperm(keys, generator=g)]
        else:
            y, queue_y = (torch.full((rows,), labels) for rows in (n, keys))
        arrays = {"q": q, "k": k, "y": y, "queue": queue, "queue_y": queue_y}
        return make_case(kind, lambda: 1.5, **arrays, temperature=temperature)

    if not hidden:
        return [
            case("ordinary", 2, 4, 3, 0.5),
            case("ordinary", 3, 5, 4, 0.3, F64),
            case("ordinary", 4, 4, 3, 0.4),
            case("extreme", 2, 4, 3, 0.005, layout="opposite"),
            case("extreme", 3, 4, 3, 1e-6, F64, layout="nearly equal"),
            case("gradient", 3, 5, 3, 0.5, F64),
        ]
    n = whole(g, 5, 7)
    return [
        case("ordinary", n, 2 * n, 5, between(g, 0.2, 0.4)),
        case("ordinary", n + 1, 7, 6, between(g, 0.5, 0.9), F64),
        case("ordinary", n, n, 4, between(g, 0.2, 0.6)),
        case("ordinary", 3, 9, n, between(g, 0.1, 0.2), labels=-1),
        case("ordinary", n, 4, 6, between(g, 0.5, 0.9), labels=2),
        case("extreme", n, 8, 5, 0.005, layout="opposite"),
        case("extreme", n, 6, 4, 1e-6, F64, layout="nearly equal"),
        case("gradient", n, 2 * n, 5, between(g, 0.3, 0.6), F64),
        case("gradient", 3, n + 1, 4, between(g, 0.4, 0.8), F64),
    ]


def labelled_by_loops(q, k, y, queue, queue_y, temperature):
    losses = []
    for i in range(len(q)):
        candidates = torch.cat([k[i : i + 1], queue]).detach()
        scores = candidates @ q[i] / temperature
        positive = [0]
        if y[i] >= 0:
            positive += [1 + j for j in range(len(queue)) if queue_y[j] == y[i]]
        losses.append(scores.logsumexp(0) - scores[positive].mean())
    return sum(losses) / len(losses)


def labelled_by_cross_entropy(q, k, y, queue, queue_y, temperature):
    k, queue = k.detach(), queue.detach()
    own = torch.einsum("nd,nd->n", q, k)[:, None]
    scores = torch.cat([q @ queue.T, own], 1) / temperature
    # an unlabelled query or key gets a label that no other one has
    y = y.where(y >= 0, -2)
    targets = torch.cat([queue_y == y[:, None], torch.ones(len(q), 1) > 0], 1)
    targets = targets.to(q.dtype)
    return F.cross_entropy(scores, targets / targets.sum(1, keepdim=True))


# --- the sheet ------------------------------------------------------------------------
LOW = Property("stays right at a low temperature", 1, "extreme", ("value", "float64"))

SHEET: list[Master] = [
    Master(
        "push",
        (
            Property(
                "puts the new keys into the right slots",
                2,
                outputs=("value", "made", "float64", "of"),
            ),
            Property("moves the pointer", 1, outputs=("pointer",)),
            Property(
                "is right for more new keys than slots",
                2,
                "more new keys",
                ("value", "pointer"),
            ),
            UNCHANGED,
            Property("keeps no gradient in the queue", 1, outputs=("detached",)),
        ),
        cases_push,
        (push_by_loop, push_by_rolling, push_by_index_of_newest),
        library("contrastive.moco", "Queue"),
    ),
    Master(
        "masked_moco_loss",
        (
            values(3),
            UNCHANGED,
            Property(
                "stays right at a low temperature",
                1,
                "extreme",
                ("value", "float64"),
            ),
            gradient(2, "has the right gradient, for the queries only"),
        ),
        cases_masked_moco_loss,
        (moco_by_loops, moco_by_cross_entropy, moco_by_softplus),
        library("contrastive.moco", "key_scores", "moco_loss"),
    ),
    Master(
        "lag",
        (
            values(2),
            Property("is right for momentum 0 and 1", 1, "limits"),
            Property(
                "is right for many updates with a momentum close to 1",
                2,
                "close to 1",
                ("value", "in"),
            ),
        ),
        cases_lag,
        (lag_by_expm1, lag_by_doubling, lag_by_products),
    ),
    Master(
        "effective_negatives",
        (
            values(2),
            UNCHANGED,
            Property("does not count negatives that are left out", 1, "left out"),
            Property(
                "stays right for large scores", 1, "extreme", ("value", "float64")
            ),
        ),
        cases_effective_negatives,
        (
            negatives_by_loops,
            negatives_by_product,
            negatives_by_logsumexp,
            negatives_by_clamp,
        ),
    ),
    Master(
        "encode_shuffled",
        (
            Property(
                "gives the right output for each picture",
                3,
                outputs=("value", "float64"),
            ),
            UNCHANGED,
            Property("leaves the network in training mode", 1, outputs=("in",)),
        ),
        cases_encode_shuffled,
        (shuffled_by_places, shuffled_by_chunks, shuffled_by_sorting),
        library("contrastive.batch_experiments", "GroupedMoCo"),
    ),
    Master(
        "mix_with_query",
        (
            Property("gives the right mixtures", 3, outputs=("value", "of")),
            UNCHANGED,
            Property("gives mixtures without gradient", 1, outputs=("detached",)),
            Property(
                "is right where key and query nearly cancel",
                1,
                "extreme",
                ("value", "float64"),
            ),
        ),
        cases_mix_with_query,
        (mixtures_by_sorting, mixtures_by_loops),
        library("contrastive.mochi", "hardest", "mix", "MoCHi"),
    ),
    Master(
        "MoCo",
        (
            Property("compares a query with its own key and with the queue", 3),
            Property(
                "trains the query network, and nothing else",
                1,
                outputs=("gradient", "parameters"),
            ),
            Property("moves the key network as it should", 2, outputs=("key",)),
            Property(
                "puts the keys of each update into the queue",
                2,
                "queue",
                ("queue", "later", "unchanged"),
            ),
            Property("has all that it needs in its state", 1, outputs=("resumed",)),
            Property("encodes a picture", 1, "encode", ("represent", "left")),
        ),
        cases_MoCo,
        (MoCoWithPointer, MoCoWithPairs),
        library("contrastive.moco", "MoCo", "Queue", "moco_loss", "key_scores")
        + library("contrastive.mochi", "MoCHi")
        + library("teacher", "ema", "frozen_copy"),
    ),
    Master(
        "many_view_loss",
        (
            values(3),
            UNCHANGED,
            Property(
                "stays right at a low temperature and for long rows",
                1,
                "extreme",
                ("value", "float64"),
            ),
            gradient(1),
        ),
        cases_many_view_loss,
        (many_views_by_einsum, many_views_by_loops),
        library("contrastive.moco_v3", "moco_v3_loss", "MoCoV3"),
    ),
    Master(
        "iou_matrix",
        (
            Property("gives the right values", 2, outputs=("value", "of")),
            UNCHANGED,
            Property("gives 0 for empty boxes", 1, "empty"),
            Property(
                "is right for tiny and for far boxes",
                1,
                "extreme",
                ("value", "float64"),
            ),
        ),
        cases_iou_matrix,
        (iou_by_loops, iou_by_sides),
        library("evaluate", "box_iou"),
    ),
    Master(
        "labelled_queue_loss",
        (values(4), UNCHANGED, LOW, gradient(2)),
        cases_labelled_queue_loss,
        (labelled_by_loops, labelled_by_cross_entropy),
        library("contrastive.moco", "moco_loss", "key_scores")
        + library("contrastive.supcon", "supervised_contrastive")
        + library("contrastive.partly_labelled", "own_classes", "PartlyLabelled"),
    ),
]
