"""Argument checks at the door of every public function: shape, dtype and device, never
values.

    @expects(view1="float N D", view2="float N D", labels="int N")
    def loss(view1, view2, labels=None): ...

A specification is a kind (`float`, `int`, `uint8`, `bool` or `any`) followed by one
word per dimension: a number is that very size, a letter the same size wherever it
occurs in the call, `...` stands for any leading dimensions. Sizes only: looking at the
values of a CUDA tensor would make the CPU wait for the GPU.
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
    """Decorator that checks the named tensor arguments of a function; `None` is let
    through where it is the default.

    Raises ValueError that names the argument, what was expected and what came: for
    something that is no tensor, a wrong dtype or shape, sizes that disagree between
    arguments, or tensors on different devices.
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
            arguments, sizes, device = (
                signature.bind(*args, **kwargs).arguments,
                {},
                None,
            )
            for name, (kind, dims) in parsed.items():
                value = arguments.get(name)
                if value is None and signature.parameters[name].default is None:
                    continue
                where = f"{function.__name__}: argument `{name}`"
                expected = f"expected a tensor ({kind}) of shape ({', '.join(dims)})"
                if not isinstance(value, Tensor):
                    raise ValueError(f"{where}: {expected}, got {type(value).__name__}")
                got = f"got {str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
                if not KINDS[kind](value.dtype):
                    raise ValueError(f"{where}: {expected}, {got}")
                shape, trailing = tuple(value.shape), dims
                if dims[:1] == ["..."]:
                    trailing = dims[1:]
                    shape = (
                        shape[len(shape) - len(trailing) :]
                        if len(shape) >= len(trailing)
                        else ()
                    )
                if len(shape) != len(trailing):
                    raise ValueError(f"{where}: {expected}, {got}")
                for dim, size in zip(trailing, shape):
                    known, owner = (
                        (int(dim), None)
                        if dim.isdigit()
                        else sizes.setdefault(dim, (size, name))
                    )
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


def number(name: str, value, low: float, high: float = float("inf")):
    """Checks that a scalar argument lies in [low, high] and returns it; raises
    ValueError otherwise."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not low <= value <= high
    ):
        raise ValueError(
            f"argument `{name}`: expected a number in [{low}, {high}], got {value!r}"
        )
    return value


def count(name: str, value, high: float = float("inf"), low: int = 1) -> int:
    """Checks that a scalar argument is a whole number in [low, high] and returns it;
    raises ValueError otherwise."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not low <= value <= high
    ):
        raise ValueError(
            f"argument `{name}`: expected a whole number in [{low}, {high}], got "
            f"{value!r}"
        )
    return value


def positive(name: str, value):
    """Checks that a scalar argument (a temperature, a learning rate, a count) is above
    zero and returns it."""
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise ValueError(
            f"argument `{name}`: expected a positive number, got {value!r}"
        )
    return value


def ordered(name: str, pair: tuple[float, float], high: float = float("inf")) -> None:
    """Checks a range that random numbers are drawn from: 0 < pair[0] <= pair[1] <=
    high."""
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= high:
        raise ValueError(
            f"argument `{name}`: expected (low, high) with 0 < low <= high <= {high}, "
            f"got {pair!r}"
        )
