"""Checks of arguments. The decorator `expects` checks shape, dtype and device of
tensors, but not their values; other functions check numbers.

    @expects(view1="float N D", view2="float N D", labels="int N")
    def loss(view1, view2, labels=None): ...

A specification is a kind (`float`, `int`, `uint8`, `bool` or `any`), followed by one
word per dimension. A number is the size of this dimension. A letter stands for a size
that must be the same everywhere in the call. `...` stands for any leading dimensions.
Values are not checked, because reading those of a CUDA tensor would make the CPU wait
for the GPU.
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


def number(name: str, value, low: float, high: float = float("inf")):
    """Returns a number that lies in [low, high]; raises ValueError for anything
    else."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(
            f"argument `{name}`: expected a number in [{low}, {high}], got {value!r}"
        )
    return value


def count(name: str, value, high: float = float("inf"), low: int = 1) -> int:
    """Returns a whole number that lies in [low, high]; raises ValueError for anything
    else."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise ValueError(
            f"argument `{name}`: expected a whole number in [{low}, {high}], got "
            f"{value!r}"
        )
    return value


def positive(name: str, value):
    """Returns a number above zero (a temperature, a learning rate, a size); raises
    ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise ValueError(
            f"argument `{name}`: expected a positive number, got {value!r}"
        )
    return value


def ordered(name: str, pair: tuple[float, float], high: float = float("inf")) -> None:
    """Checks that 0 < pair[0] <= pair[1] <= high, for a range from which random numbers
    are drawn; raises ValueError otherwise."""
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= high:
        raise ValueError(
            f"argument `{name}`: expected (low, high) with 0 < low <= high <= {high}, "
            f"got {pair!r}"
        )
