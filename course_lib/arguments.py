"""Checks of the arguments of `fit` and of its data. Each error names the argument, what
was expected and what came."""

from collections.abc import Callable
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from course_lib import distributed
from course_lib.checks import as_seed, count, finite, picture_range, positive
from course_lib.data import Dataset
from course_lib.data.reading import is_map_style


def check_arguments(
    data: Dataset | torch.utils.data.Dataset,
    *,
    steps: int,
    batch_size: int,
    accumulate: int,
    save_every: int,
    clip: float | None,
    check_every: int | None,
    seed: int,
    workers: int,
    bf16: bool | None,
    compile: bool,
) -> dict[str, int | float | bool | None]:
    """Returns the arguments of `fit` that are numbers, as numbers of Python.

    Raises ValueError if one of them is outside its range, or if batch_size does not fit
    the data or the number of processes, and for data of another kind.
    """
    found = {
        name: count(name, value)
        for name, value in dict(
            steps=steps,
            batch_size=batch_size,
            accumulate=accumulate,
            save_every=save_every,
        ).items()
    }
    found["seed"] = as_seed("seed", seed)
    found["workers"] = count("workers", workers, low=0)
    found["clip"] = None if clip is None else positive("clip", clip)
    found["check_every"] = (
        None if check_every is None else count("check_every", check_every)
    )
    for name, value in dict(bf16=bf16, compile=compile).items():
        if not (
            isinstance(value, (bool, np.bool_)) or name == "bf16" and value is None
        ):
            raise ValueError(
                f"argument `{name}`: expected True or False, got {value!r}"
            )
        found[name] = None if value is None else bool(value)
    _check_kind(data)
    batch_size = found["batch_size"]
    if len(data) < batch_size:
        raise ValueError(
            f"argument `batch_size`: expected at most the data's {len(data)} rows, got "
            f"{batch_size}"
        )
    if batch_size % distributed.world_size():
        raise ValueError(
            "argument `batch_size`: expected a multiple of the "
            f"{distributed.world_size()} processes, got {batch_size}"
        )
    return found


def check_schedule(schedule: Callable[[float], float]) -> Callable[[float], float]:
    """Returns the schedule as a function that raises ValueError where a value is no
    number. Raises ValueError if the schedule is no function."""
    if not callable(schedule):
        raise ValueError(
            "argument `schedule`: expected a function of the progress, such as "
            f"cosine(), got {schedule!r}"
        )

    def factor(progress: float) -> float:
        value = schedule(progress)
        if isinstance(value, Tensor) and value.ndim == 0:
            return value
        if isinstance(value, Real) and value == value:
            return float(value)
        raise ValueError(
            "argument `schedule`: expected a function that returns a number, such as "
            f"cosine(), got {value!r} at progress {progress:.3g}"
        )

    return factor


def _check_kind(data):
    """Raises ValueError unless data are a `Dataset` or a map-style dataset."""
    kind = type(data).__name__
    hint = ""
    if isinstance(data, DataLoader):
        hint = ": give its dataset, and batch_size"
    elif isinstance(data, (str, Path)):
        hint = ": read a folder of pictures by course_lib.data.image_folder"
    if hint or not is_map_style(data):
        raise ValueError(
            "argument `data`: expected a course_lib.data.Dataset, or a map-style "
            f"dataset with len(data) and pairs data[k] = (x, y), got {kind}{hint}"
        )
    if isinstance(data, tuple) and all(isinstance(part, Tensor) for part in data):
        raise ValueError(
            "argument `data`: expected a course_lib.data.Dataset, got a tuple of "
            "tensors: write Dataset(x, y, classes=())"
        )


def check_values(
    x: Tensor, y: Tensor, dtypes: set[torch.dtype], augmented: bool = False
):
    """Raises ValueError for x that a method with weights of these dtypes cannot use.

    Raises ValueError, too, for pictures whose last axis is the channels, for NaN and
    infinity, and, if the method is `augmented`, for float pictures outside [0, 1]. The
    values are read only if x and y are on the CPU. (On a GPU, the CPU would have to
    wait.)
    """
    if x.dtype == torch.float64 and dtypes and torch.float64 not in dtypes:
        names = ", ".join(
            str(d).removeprefix("torch.") for d in sorted(dtypes, key=str)
        )
        raise ValueError(
            f"argument `data`: expected {names} x, like the weights of the method, got "
            "float64: convert x, for example by x.float()"
        )
    picture_range("data", x)
    _check_pictures(x, augmented)
    for name, rows in (("x", x), ("y", y)):
        if rows.device.type == "cpu" and rows.is_floating_point():
            finite(f"data`, `{name}", rows)


def _check_pictures(x: Tensor, augmented: bool):
    """Raises ValueError for pictures (N, H, W, C), and for float pictures that were
    normalised, if the method augments them: augmentations clamp their results to
    [0, 1]. A method without augmentation may use any range, such as that of Lab
    colours.

    A bicubic resize may go a little beyond [0, 1]; this is accepted. Tensors with more
    than four channels are feature maps or several views, which may have any range.
    """
    if x.ndim != 4 or not x.numel():
        return
    if x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise ValueError(
            "argument `data`: expected pictures (N, C, H, W), got "
            f"{tuple(x.shape)}: move the channels, for example by x.permute(0, 3, 1, 2)"
        )
    readable = x.is_floating_point() and x.device.type == "cpu"
    if not augmented or not readable or x.shape[1] > 4:
        return
    low, high = (end.item() for end in x.aminmax())
    if low < -0.1 or high > 1.1:
        raise ValueError(
            "argument `data`: expected float pictures in [0, 1], got values from "
            f"{low:.3g} to {high:.3g}: remove the normalisation, such as "
            "transforms.Normalize, since augmentations clamp pictures to [0, 1]"
        )
