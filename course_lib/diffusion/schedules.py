"""How fast pictures drown: variance schedules, and what follows from them.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239): linear. Nichol & Dhariwal 2021 (arXiv
2102.09672): cosine. Steps are 1..T on paper and 0..T-1 here: index t is the paper's
step t + 1. Levels of noise counted in sigma, as in notebook 13, are a Schedule, too:
samplers.py has the map.
"""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects, number


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """beta_t evenly spaced from `first` to `last`, inside (0, 1): float64 (T,). The
    ends are made for 1,000 steps; for fewer they grow by 1000 / T, so that as much
    noise comes in."""
    scale = 1000 / count("steps", steps, low=2)
    for name, value in (("first", first), ("last", last)):
        if not 0 < scale * number(name, value, 0, 1) < 1:
            raise ValueError(
                f"argument `{name}`: {value} is beta = {scale * value:g} in {steps} "
                "steps, not in (0, 1)"
            )
    return torch.linspace(scale * first, scale * last, steps, dtype=torch.float64)


def cosine_betas(
    steps: int = 1000, offset: float = 0.008, largest: float = 0.999
) -> Tensor:
    """abar_t = f(t) / f(0) with f(t) = cos((t / T + offset) / (1 + offset) pi / 2)^2,
    as betas, float64 (T,): at most `largest` (equation 17)."""
    t = torch.arange(count("steps", steps) + 1, dtype=torch.float64) / steps
    f = torch.cos(
        (t + number("offset", offset, 0)) / (1 + offset) * math.pi / 2
    ).square()
    return (1 - f[1:] / f[:-1]).clamp(max=number("largest", largest, 0, 1))


class Schedule(nn.Module):
    """beta_t and abar_t, the product of alpha = 1 - beta up to t: float64 (T,) each,
    for they come near 0 and 1.

    They move to a GPU with the method that they belong to; no checkpoint holds them.
    """

    def __init__(self, betas: Tensor):
        super().__init__()
        if betas.ndim != 1 or not len(betas) or not ((betas > 0) & (betas < 1)).all():
            raise ValueError(
                f"argument `betas`: expected numbers in (0, 1), shape (T,), got {betas}"
            )
        self.register_buffer("beta", betas.double(), persistent=False)
        self.register_buffer("abar", (1 - betas.double()).cumprod(0), persistent=False)

    def __len__(self) -> int:
        return len(self.beta)

    @property
    def abar_prev(self) -> Tensor:
        """abar_{t-1}, (T,): 1 before the first step."""
        return torch.cat([self.abar.new_ones(1), self.abar[:-1]])


@expects(abar="float ...")
def signal_to_noise(abar: Tensor) -> Tensor:
    """abar / (1 - abar): the variance of what is left of the picture over the variance
    of the noise."""
    return abar / (1 - abar)
