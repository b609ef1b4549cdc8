"""What makers of cases draw with: numbers and tensors from a generator, in float64 first, so that all dtypes get the
same values."""

import torch
from torch import Generator, Tensor


def whole(generator: Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def between(generator: Generator, low: float, high: float) -> float:
    """A number uniform in [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def normal(generator: Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers of that shape."""
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def scalar(value: float | int) -> Tensor:
    """A setting as a case holds it: a 0-d tensor, int64 for a whole number, else float64."""
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
