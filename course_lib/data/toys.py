"""Toy distributions in the plane, for models that can be plotted completely. Each is
centred; on average its points are about 1 to 1.5 units from the centre.

Each function draws n points, float32 (n, 2), and their components, int64 (n,), from a
generator.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from course_lib.checks import count, number
from course_lib.data.dataset import Dataset
from course_lib.data.emoji import SPLITS

COUNTS = (10_000, 2_000, 2_000)  # points in SPLITS
NOISE = 0.1  # standard deviation around the curve or centre, along each axis


def _polar(radius: Tensor | float, angle: Tensor) -> Tensor:
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1) * torch.as_tensor(
        radius
    ).reshape(-1, 1)


def _blurred(points: Tensor, generator: Generator) -> Tensor:
    return points + NOISE * torch.randn(points.shape, generator=generator)


def moons(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Two half circles of radius 1; each reaches into the opening of the other."""
    y = torch.randint(2, (n,), generator=generator)
    arc = _polar(1.0, math.pi * torch.rand(n, generator=generator))
    upper = arc - torch.tensor([0.5, 0.25])
    return _blurred(torch.where(y[:, None] == 0, upper, -upper), generator), y


def circle_centres() -> Tensor:
    """The centres of `gaussians`, (8, 2): evenly spaced on the circle of radius
    sqrt(2)."""
    return _polar(math.sqrt(2), torch.arange(8) * math.pi / 4)


def gaussians(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Eight equal Gaussians on a circle of radius sqrt(2): the variance along each axis
    is 1 + NOISE^2."""
    y = torch.randint(8, (n,), generator=generator)
    return _blurred(circle_centres()[y], generator), y


def grid_centres() -> Tensor:
    """The centres of `grid`, (25, 2): five by five, at distances of 1 / sqrt(2)."""
    return (torch.cartesian_prod(torch.arange(5), torch.arange(5)) - 2) / math.sqrt(2)


def grid(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Twenty-five equal Gaussians, five by five: the variance along each axis is 1 +
    NOISE^2."""
    y = torch.randint(25, (n,), generator=generator)
    return _blurred(grid_centres()[y], generator), y


def rings(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Circles of radius 0.5, 1.25 and 2, equally likely."""
    y = torch.randint(3, (n,), generator=generator)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return _blurred(_polar(0.5 + 0.75 * y, angle), generator), y


def spirals(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Two arms of one and a half turns each: radius 2 sqrt(u) at angle 3 pi sqrt(u),
    with u uniform in [0, 1]. So the density along an arm is nearly constant, except
    close to the centre."""
    y = torch.randint(2, (n,), generator=generator)
    along = torch.rand(n, generator=generator).sqrt()
    return _blurred(_polar(2 * along, math.pi * (3 * along + y)), generator), y


def checkerboard(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Uniform on the eight black squares of a 4 x 4 board over [-2, 2]^2, without
    noise, so that the edges are sharp."""
    y = torch.randint(8, (n,), generator=generator)
    row, column = y // 2, 2 * (y % 2) + (y // 2) % 2
    return torch.stack([column, row], 1) - 2 + torch.rand(n, 2, generator=generator), y


@dataclass(frozen=True)
class CorrelatedGaussians:
    """Pairs x, y with `dim` coordinates each. Every coordinate is standard normal, and
    corr(x_d, y_d) = `correlation` in (-1, 1) for each d.

    The mutual information of x and y, and the optimal score function of InfoNCE, are
    known in closed form. Raises ValueError for another correlation or dim.
    """

    correlation: float
    dim: int = 1

    def __post_init__(self):
        count("dim", self.dim)
        if not abs(number("correlation", self.correlation, -1, 1)) < 1:
            raise ValueError(
                "argument `correlation`: expected a number inside (-1, 1), got "
                f"{self.correlation!r}"
            )

    @property
    def mutual_information(self) -> float:
        """-dim / 2 log(1 - correlation^2), in nats."""
        return -self.dim / 2 * math.log1p(-(self.correlation**2))

    def sample(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """n independent pairs: x and y, float32 (n, dim) each."""
        x, noise = torch.randn(2, n, self.dim, generator=generator)
        return x, self.correlation * x + math.sqrt(1 - self.correlation**2) * noise

    def log_ratio(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(y_j | x_i) / p(y_j) for x (N, dim) and y (K, dim): (N, K), the optimal
        scores of InfoNCE."""
        rho, rest = self.correlation, 1 - self.correlation**2
        squares = x.square().sum(1)[:, None] + y.square().sum(1)  # (N, K)
        return self.mutual_information + (rho * (x @ y.T) - rho**2 * squares / 2) / rest


TOYS: dict[str, tuple[Callable, int]] = {
    "moons": (moons, 2),
    "gaussians": (gaussians, 8),
    "rings": (rings, 3),
    "spirals": (spirals, 2),
    "checkerboard": (checkerboard, 8),
    "grid": (grid, 25),
}
CENTRES: dict[str, Callable[[], Tensor]] = {
    "gaussians": circle_centres,
    "grid": grid_centres,
}


def load_toy(name: str, split: str) -> Dataset:
    """x: float32 (N, 2); y: the component from which each point was drawn."""
    draw, components = TOYS[name]
    k = SPLITS.index(split)
    x, y = draw(COUNTS[k], torch.Generator().manual_seed(k))
    return Dataset(x, y, tuple(map(str, range(components))))


def load_toys(split: str) -> Dataset:
    """All toy distributions together: y is the index of the distribution,
    info["component"] the component in it."""
    parts = [load_toy(name, split) for name in TOYS]
    y = torch.arange(len(TOYS)).repeat_interleave(len(parts[0]))
    component = torch.cat([part.y for part in parts])
    return Dataset(
        torch.cat([part.x for part in parts]), y, tuple(TOYS), {"component": component}
    )
