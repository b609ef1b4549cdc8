"""Random numbers and tensors for the cases of an exercise. All are drawn in float64 and
then converted, so that all dtypes get the same values up to rounding."""

import torch
from torch import Generator, Tensor

F32, F64 = torch.float32, torch.float64


def whole(generator: Generator, low: int, high: int) -> int:
    """Returns a random whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def between(generator: Generator, low: float, high: float) -> float:
    """Returns a number drawn uniformly from [low, high)."""
    return uniform(generator, low=low, high=high, dtype=F64).item()


def uniform(
    generator: Generator, *shape: int, low=0.0, high=1.0, dtype: torch.dtype = F32
) -> Tensor:
    """Returns a tensor of this shape, drawn uniformly from [low, high)."""
    fraction = torch.rand(shape, generator=generator, dtype=F64)
    return (low + (high - low) * fraction).to(dtype)


def normal(generator: Generator, *shape: int, dtype: torch.dtype = F32) -> Tensor:
    """Returns a standard normal tensor of this shape."""
    return torch.randn(shape, generator=generator, dtype=F64).to(dtype)


def normals(
    generator: Generator, dtype: torch.dtype, **shapes: tuple[int, ...]
) -> dict[str, Tensor]:
    """Returns standard normal tensors by name, drawn in the order of `shapes`."""
    return {
        name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()
    }
