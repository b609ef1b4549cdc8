"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

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
