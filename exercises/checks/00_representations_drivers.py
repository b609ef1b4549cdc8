"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_lib.grading.drive import Arrays, on_case


def precise(drive: Callable, *names: str) -> Callable:
    """Returns the driver with one more output, `float64 for float64 input`: whether the
    outputs `names` have this dtype if the arrays of the case have it."""

    def driver(answer, a: Arrays) -> Arrays:
        outputs = drive(answer, a)
        wanted = any(array.dtype == torch.float64 for array in a.values() if array.ndim)
        kinds = [getattr(outputs[name], "dtype", torch.float64) for name in names]
        kept = not wanted or all(kind == torch.float64 for kind in kinds)
        return outputs | {"float64 for float64 input": kept}

    return driver


def watched(drive: Callable) -> Callable:
    """Returns the driver with one more output, `leaving requires_grad as it was`: False
    if an argument that came without requires_grad has it after the call."""

    def driver(answer, a: Arrays) -> Arrays:
        left = []

        def watching(*given):
            plain = [x for x in given if isinstance(x, Tensor) and not x.requires_grad]
            returned = answer(*given)
            left.extend(x for x in plain if x.requires_grad)
            return returned

        outputs = drive(watching, a)
        return outputs | {"leaving requires_grad as it was": not left}

    return driver


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
