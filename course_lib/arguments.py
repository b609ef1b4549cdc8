"""Checks of the arguments of `fit` and of its data. Each error names the argument, what
was expected and what came."""

from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from course_lib import distributed
from course_lib.checks import as_seed, count, finite, picture_range, positive
from course_lib.data import Dataset


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
    is_map = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    other = (Tensor, np.ndarray, dict, str, IterableDataset)
    if not is_map or isinstance(data, other):
        raise ValueError(
            "argument `data`: expected a course_lib.data.Dataset, or a map-style "
            f"dataset with len(data) and pairs data[k] = (x, y), got {kind}"
        )
    if isinstance(data, tuple) and all(isinstance(part, Tensor) for part in data):
        raise ValueError(
            "argument `data`: expected a course_lib.data.Dataset, got a tuple of "
            "tensors: write Dataset(x, y, classes=())"
        )


def check_values(x: Tensor, y: Tensor, dtypes: set[torch.dtype]):
    """Raises ValueError for x that a method with weights of these dtypes cannot use.

    Raises ValueError, too, for float pictures in 0..255 and for NaN and infinity, if
    x and y are on the CPU. (On a GPU, the CPU would have to wait.)
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
    for name, rows in (("x", x), ("y", y)):
        if rows.device.type == "cpu" and rows.is_floating_point():
            finite(f"data`, `{name}", rows)


def collate(samples: list) -> tuple[Tensor, Tensor] | ValueError:
    """Returns the batch (x, y) of the samples of a map-style dataset.

    If they cannot be a batch, returns (and does not raise) a ValueError: if a worker
    process raises an error, the DataLoader adds the whole traceback to its message.
    """
    expected = "argument `data`: expected pairs data[k] = (x, y) of tensors or numbers"
    for sample in samples:
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            kind = type(sample).__name__
            size = f" of {len(sample)}" if isinstance(sample, (tuple, list)) else ""
            return ValueError(f"{expected}, got {kind}{size}")
        for name, value in zip("xy", sample):
            if not isinstance(value, (Tensor, np.ndarray, np.generic, Real)):
                kind = f"{type(value).__module__}.{type(value).__name__}"
                hint = (
                    ": convert pictures, for example by "
                    "torchvision.transforms.v2.functional.pil_to_tensor"
                    if kind.startswith("PIL")
                    else ""
                )
                kind = kind.removeprefix("builtins.")
                return ValueError(f"{expected}, got {name} of type {kind}{hint}")
    try:
        x, y = default_collate(samples)
    except (TypeError, RuntimeError) as error:
        return ValueError(
            f"{expected} with equal shapes, got samples that do not make a batch "
            f"({str(error).splitlines()[0]})"
        )
    return x, y
