"""Variance schedules: how fast noise is added to the pictures.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239): linear. Nichol & Dhariwal 2021 (arXiv
2102.09672): cosine. Steps are 1..T in the papers and 0..T-1 here: index t is the
paper's step t + 1. Noise levels given by sigma, as in notebook 13, can be written as a
Schedule, too; samplers.py explains how.
"""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects, number


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Returns beta_t, float64 (T,), evenly spaced from `first` to `last` in 1,000
    steps.

    For T steps, both ends are multiplied by 1000 / T, so that about the same amount of
    noise is added in all. Raises ValueError if an end is then not in (0, 1).
    """
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
    """Returns the betas, float64 (T,), for which abar_t = f(t) / f(0) with f(t) =
    cos((t / T + offset) / (1 + offset) pi / 2)^2 (equation 17). Each beta is at most
    `largest`."""
    t = torch.arange(count("steps", steps) + 1, dtype=torch.float64) / steps
    f = torch.cos(
        (t + number("offset", offset, 0)) / (1 + offset) * math.pi / 2
    ).square()
    return (1 - f[1:] / f[:-1]).clamp(max=number("largest", largest, 0, 1))


class Schedule(nn.Module):
    """beta_t, and abar_t, the product of alpha = 1 - beta up to t, (T,) each. They are
    float64, because they come near 0 and 1.

    They move to a GPU with the method that they belong to. Checkpoints do not contain
    them.
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
        """abar_{t-1}, (T,). It is 1 for the first step."""
        return torch.cat([self.abar.new_ones(1), self.abar[:-1]])


@expects(abar="float ...")
def signal_to_noise(abar: Tensor) -> Tensor:
    """Returns abar / (1 - abar): the variance of the scaled picture, divided by the
    variance of the noise, for data of variance 1."""
    return abar / (1 - abar)
