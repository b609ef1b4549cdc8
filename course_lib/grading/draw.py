"""What makers of cases draw with: numbers and tensors from a generator, in float64
first, so that all dtypes get the same values."""

import torch
from torch import Generator, Tensor

F32, F64 = torch.float32, torch.float64


def whole(generator: Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def between(generator: Generator, low: float, high: float) -> float:
    """A number uniform in [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=F64).item()


def uniform(
    generator: Generator, *shape: int, low=0.0, high=1.0, dtype: torch.dtype = F32
) -> Tensor:
    """Numbers uniform in [low, high), of that shape."""
    return (low + (high - low) * torch.rand(shape, generator=generator, dtype=F64)).to(
        dtype
    )


def normal(generator: Generator, *shape: int, dtype: torch.dtype = F32) -> Tensor:
    """Standard normal numbers of that shape."""
    return torch.randn(shape, generator=generator, dtype=F64).to(dtype)


def normals(
    generator: Generator, dtype: torch.dtype, **shapes: tuple[int, ...]
) -> dict[str, Tensor]:
    """Standard normal tensors by name, drawn in this order."""
    return {
        name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()
    }
