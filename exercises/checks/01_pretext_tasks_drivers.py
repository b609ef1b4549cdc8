"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

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
