"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

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
