"""Checks of arguments. The decorator `expects` checks shape, dtype and device of
tensors, but not their values. The decorator `expects_values` checks values. Other
functions check numbers; they return plain numbers of Python, also for NumPy's.

    @expects(view1="float N D", view2="float N D", labels="int N")
    def loss(view1, view2, labels=None): ...

A specification is a kind (`float`, `int`, `uint8`, `bool` or `any`), followed by one
word per dimension. A number is the size of this dimension. A letter stands for a size
that must be the same everywhere in the call. `...` stands for any leading dimensions.
`expects` does not check values, because reading those of a CUDA tensor would make the
CPU wait for the GPU.

    @expects(logits="float N C", labels="int N")
    @expects_values(labels=(classes_of, "logits"))
    def cross_entropy(logits, labels): ...

A check of `expects_values` is a function (name, value), or a pair: a function (name,
value, other value) and the name of the other argument. Tensors that are not on the CPU
are looked at only in functions that have to wait for the device anyway (`finite`,
`not_nan`).
"""

import functools
import inspect
from numbers import Integral, Real

import torch
from torch import Tensor

KINDS = {
    "float": lambda dtype: dtype.is_floating_point,
    "int": lambda dtype: dtype in (torch.int64, torch.int32),
    "uint8": lambda dtype: dtype == torch.uint8,
    "bool": lambda dtype: dtype == torch.bool,
    "any": lambda dtype: True,
}


def expects(**specifications):
    """Returns a decorator that checks the named tensor arguments of a function.

    `None` is accepted if it is the default of the argument. Raises ValueError for an
    argument that is not a tensor, for a wrong dtype or shape, for sizes that differ
    between arguments, and for tensors on different devices. The message names the
    argument, the expected kind and shape, and the given ones.
    """
    parsed = {
        name: (kind, dims)
        for name, text in specifications.items()
        for kind, *dims in [text.split()]
    }

    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            arguments = signature.bind(*args, **kwargs).arguments
            sizes, device = {}, None  # device: (device, name) of the first tensor
            for name, (kind, dims) in parsed.items():
                value = arguments.get(name)
                if value is None and signature.parameters[name].default is None:
                    continue
                where = f"{function.__name__}: argument `{name}`"
                expected = f"expected a tensor ({kind}) of shape ({', '.join(dims)})"
                if not isinstance(value, Tensor):
                    raise ValueError(f"{where}: {expected}, got {type(value).__name__}")
                dtype = str(value.dtype).removeprefix("torch.")
                got = f"got {dtype} of shape {tuple(value.shape)}"
                if not KINDS[kind](value.dtype):
                    raise ValueError(f"{where}: {expected}, {got}")
                shape, trailing = tuple(value.shape), dims
                if dims[:1] == ["..."]:
                    trailing = dims[1:]
                    leading = len(shape) - len(trailing)
                    shape = shape[leading:] if leading >= 0 else ()
                if len(shape) != len(trailing):
                    raise ValueError(f"{where}: {expected}, {got}")
                for dim, size in zip(trailing, shape):
                    if dim.isdigit():
                        known, owner = int(dim), None
                    else:
                        known, owner = sizes.setdefault(dim, (size, name))
                    if size != known:
                        why = f", where {dim} = {known} in `{owner}`" if owner else ""
                        raise ValueError(f"{where}: {expected}{why}, {got}")
                if device is not None and value.device != device[0]:
                    raise ValueError(
                        f"{where}: expected on {device[0]} like `{device[1]}`, got "
                        f"{value.device}"
                    )
                device = device or (value.device, name)
            return function(*args, **kwargs)

        return checked

    return decorate


def expects_values(**checks):
    """Returns a decorator that calls a check with the value of each named argument that
    the caller gives. (A default value is not checked.)

    The fingerprints of results leave this decorator out, because it computes nothing.
    """

    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            arguments = signature.bind(*args, **kwargs).arguments
            for name, check in checks.items():
                if arguments.get(name) is None and (
                    name not in arguments or signature.parameters[name].default is None
                ):
                    continue
                if isinstance(check, tuple):
                    check[0](name, arguments[name], arguments[check[1]])
                else:
                    check(name, arguments[name])
            return function(*args, **kwargs)

        return checked

    return decorate


# Values of tensors


def _is_read(x) -> bool:
    """Returns whether the values of x may be read at no cost: x is a tensor on the CPU,
    and torch.compile is not tracing it."""
    on_cpu = isinstance(x, Tensor) and x.device.type == "cpu"
    return on_cpu and not torch.compiler.is_compiling()


def _ends(x: Tensor) -> str:
    """Returns the smallest and the largest value as a text, for a message."""
    low, high = x.aminmax()
    return f"{low.item():.6g} to {high.item():.6g}"


def not_empty(name: str, x: Tensor):
    """Raises ValueError for a tensor without rows."""
    if len(x) == 0:
        raise ValueError(
            f"argument `{name}`: expected at least one row, got a tensor of shape "
            f"{tuple(x.shape)}"
        )


def finite(name: str, x: Tensor):
    """Raises ValueError for NaN and infinity. It waits for the device."""
    if not x.isfinite().all():
        raise ValueError(
            f"argument `{name}`: expected finite numbers, got NaN or infinity (did "
            "training diverge?)"
        )


def finite_rows(name: str, x: Tensor):
    """Raises ValueError for NaN, for infinity, and for a tensor without rows. It waits
    for the device."""
    not_empty(name, x)
    finite(name, x)


def not_nan(name: str, x: Tensor):
    """Raises ValueError for NaN, and for a tensor without rows. It waits for the
    device."""
    not_empty(name, x)
    if x.isnan().any():
        raise ValueError(
            f"argument `{name}`: expected numbers, got NaN (did training diverge?)"
        )


def below(name: str, x: Tensor, size: int):
    """Raises ValueError unless all values of x are in 0..size - 1."""
    if _is_read(x) and x.numel() and not (0 <= x.min() and x.max() < size):
        raise ValueError(
            f"argument `{name}`: expected numbers from 0 to {size - 1}, got {_ends(x)}"
        )


def label_for_each(name: str, y: Tensor, rows: int, classes: int):
    """Raises ValueError unless y has one label in 0..classes - 1 for each of the rows.
    (One label would be broadcast to all rows.)"""
    if y.shape != (rows,):
        raise ValueError(
            f"argument `{name}`: expected {rows} labels, one for each row, got "
            f"{tuple(y.shape)}"
        )
    below(name, y, classes)


def one_of(name: str, x: Tensor, known: Tensor):
    """Raises ValueError unless each value of x is in `known`."""
    if _is_read(x) and _is_read(known) and not torch.isin(x, known).all():
        raise ValueError(
            f"argument `{name}`: expected only {known.unique().tolist()}, got "
            f"{x.unique().tolist()}"
        )


def classes_of(name: str, labels: Tensor, scores: Tensor):
    """Raises ValueError for labels that are no columns of scores (N, C)."""
    below(name, labels, scores.shape[1])


def rows_of(name: str, numbers: Tensor, table: Tensor):
    """Raises ValueError for numbers that are no rows of the table."""
    below(name, numbers, len(table))


def above_zero(name: str, x: Tensor):
    """Raises ValueError unless all values of x are positive and finite."""
    if _is_read(x) and not ((x > 0) & (x < torch.inf)).all():
        raise ValueError(
            f"argument `{name}`: expected positive numbers, got {_ends(x)}"
        )


def boxes_in(name: str, boxes: Tensor, x: Tensor):
    """Raises ValueError unless each box (top, left, height, width) has at least one
    pixel and lies inside the images x (N, C, H, W)."""
    if not (_is_read(boxes) and len(boxes)):
        return
    start, size = boxes[:, :2], boxes[:, 2:]
    end = (start + size).amax(0).tolist()
    low = start.min() >= 0 and size.min() >= 1
    if not low or end[0] > x.shape[2] or end[1] > x.shape[3]:
        side = torch.tensor(x.shape[2:])
        wrong = (start < 0) | (size < 1) | (start + size > side)
        raise ValueError(
            f"argument `{name}`: expected (top, left, height, width) inside the "
            f"{x.shape[2]} x {x.shape[3]} pixels, got "
            f"{tuple(boxes[wrong.any(1)][0].tolist())}"
        )


def picture_range(name: str, x: Tensor):
    """Raises ValueError for float pictures (N, C, H, W) in 0..255. Augmentations would
    clamp them to 1.

    Only pictures with at most four channels are rejected, and only if no value is below
    0 and some are above 2. So standardised pictures and feature maps pass.
    """
    if not _is_read(x) or not x.is_floating_point() or x.ndim != 4 or not x.numel():
        return
    low, high = x.aminmax()
    if x.shape[1] <= 4 and low >= 0 and high > 2:
        raise ValueError(
            f"argument `{name}`: expected float pictures in [0, 1], got values from "
            f"{_ends(x)}: divide them by 255, or give uint8"
        )


def number_in(low: float, high: float = float("inf")):
    """Returns a check for an argument that is a number in [low, high]."""
    return lambda name, value: number(name, value, low, high)


def number_or_rows(low: float, high: float):
    """Returns a check for an argument that is a number in [low, high], or a tensor of
    such numbers, one for each row."""

    def check(name: str, value):
        if not isinstance(value, Tensor):
            number(name, value, low, high)
        elif _is_read(value) and not ((low <= value) & (value <= high)).all():
            raise ValueError(
                f"argument `{name}`: expected numbers in [{low}, {high}], got "
                f"{_ends(value)}"
            )

    return check


# Numbers


def _plain(value) -> int | float:
    """Returns a number of Python for any real number, for example NumPy's: a seed of
    NumPy would give other random numbers than the same int."""
    return int(value) if isinstance(value, Integral) else float(value)


def as_seed(name: str, value) -> int:
    """Returns a seed as an int. Raises ValueError for anything but a whole number that
    fits torch's random number generators."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not -(2**63) <= value < 2**64:
        raise ValueError(
            f"argument `{name}`: expected a whole number, for example 0, got {value!r}"
        )
    return int(value)


def number(name: str, value, low: float, high: float = float("inf")):
    """Returns a number that lies in [low, high]; raises ValueError for anything
    else."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(
            f"argument `{name}`: expected a number in [{low}, {high}], got {value!r}"
        )
    return _plain(value)


def count(name: str, value, high: float = float("inf"), low: int = 1) -> int:
    """Returns a whole number that lies in [low, high]; raises ValueError for anything
    else."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise ValueError(
            f"argument `{name}`: expected a whole number in [{low}, {high}], got "
            f"{value!r}"
        )
    return _plain(value)


def positive(name: str, value):
    """Returns a number above zero (a temperature, a learning rate, a size); raises
    ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise ValueError(
            f"argument `{name}`: expected a positive number, got {value!r}"
        )
    return _plain(value)


def ordered(name: str, pair: tuple[float, float], high: float = float("inf")) -> None:
    """Checks that 0 < pair[0] <= pair[1] <= high, for a range from which random numbers
    are drawn; raises ValueError otherwise."""
    try:
        first, last = (float(end) for end in (() if isinstance(pair, str) else pair))
    except (TypeError, ValueError):
        first, last = 0.0, 0.0
    if not 0 < first <= last <= high:
        raise ValueError(
            f"argument `{name}`: expected (low, high) with 0 < low <= high <= {high}, "
            f"got {pair!r}"
        )
