"""Drivers that look at more than what an answer returns: whether it computes in
float64, and whether it leaves `requires_grad` of its arguments as it was.

Drivers are public, as those in `drive`. Nothing here contains an expected value.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.grading.drive import Arrays, direction, on_case, parts


def stays_float64(a: Arrays, *results) -> Arrays:
    """Returns the output `float64 for float64 input`: True if all results that are
    tensors have this dtype. A case without a float64 array has no such output."""
    if torch.float64 not in {array.dtype for array in a.values() if array.ndim}:
        return {}
    kinds = {getattr(result, "dtype", torch.float64) for result in results}
    return {"float64 for float64 input": kinds <= {torch.float64}}


def precise(drive: Callable, *names: str) -> Callable:
    """Returns the driver with the output of `stays_float64` for its outputs `names`."""

    def driver(answer, a: Arrays) -> Arrays:
        outputs = drive(answer, a)
        return outputs | stays_float64(a, *(outputs[name] for name in names))

    return driver


def watched(drive: Callable) -> Callable:
    """Returns the driver with one more output, `unchanged wish for a gradient`: whether
    `requires_grad` of each tensor that the answer is given is the same after the
    call."""

    def driver(answer, a: Arrays) -> Arrays:
        kept = []

        def watching(*given):
            tensors = [x for x in given if isinstance(x, Tensor)]
            before = [x.requires_grad for x in tensors]
            returned = answer(*given)
            kept.append(before == [x.requires_grad for x in tensors])
            return returned

        outputs = drive(watching, a)
        return outputs | {"unchanged wish for a gradient": all(kept)}

    return driver


def careful(drive: Callable) -> Callable:
    """Returns the driver with the output of `watched`, and with that of `stays_float64`
    for everything that the answer returns."""

    def driver(answer, a: Arrays) -> Arrays:
        results = []

        def recorded(*given):
            returned = answer(*given)
            several = isinstance(returned, (tuple, list))
            results.extend(returned if several else [returned])
            return returned

        return watched(drive)(recorded, a) | stays_float64(a, *results)

    return driver


def keeps_float64(answer: Callable, tensors: Arrays, *parameters) -> Arrays:
    """Calls answer(*tensors, *parameters), where all floating point tensors are
    float64. Returns the output `float64 for float64 input`: True if the value has this
    dtype and the answer computes in it from beginning to end.

    The second difference of a smooth function is tiny for a tiny step. Rounding to
    float32 anywhere in the answer makes it much larger than that.
    """
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())

    def value(step: float) -> Tensor:
        moved = {key: tensor.clone() for key, tensor in tensors.items()}
        moved[name] += step * direction(moved[name])
        return answer(*moved.values(), *parameters)

    middle = value(0.0)
    right = isinstance(middle, Tensor) and middle.dtype == torch.float64
    for step in (1e-6, 1.7e-6, 2.9e-6) if right else ():
        bend = (value(step) - 2 * middle + value(-step)).abs()
        right = right and bool((bend <= 1e-9 * (1 + middle.abs())).all())
    return {"float64 for float64 input": torch.tensor(right)}


def on_case_in_float64(
    answer: Callable,
    a: Arrays,
    tensors: tuple[str, ...],
    settings: tuple[str, ...] = (),
    flows: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> Arrays:
    """Returns the outputs of `on_case`, and that of `keeps_float64` if the first of the
    tensors is float64. Several values (`names`) are looked at together."""
    outputs = on_case(answer, a, tensors, settings, flows, names=names)
    if a[tensors[0]].dtype != torch.float64:
        return outputs

    def together(*given):
        returned = answer(*given)
        if not names:
            return returned
        return torch.cat([part.flatten() for part in parts(returned, names)])

    given = {name: a[name] for name in tensors}
    numbers = [a[name].item() for name in settings]
    return outputs | keeps_float64(together, given, *numbers)
