"""Losses that two or more methods share: pure functions; what is random or gathered comes in as an argument."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects, positive


def full_precision(function):
    """Decorator: tensors become at least float32 and autocast is off, since exp(s / tau) does not survive bfloat16."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        def up(value):
            low = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
            return value.float() if low else value

        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(*map(up, args), **{name: up(value) for name, value in kwargs.items()})

    return wrapper


@expects(z1="float N D", z2="float N D")
@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross-entropy: SimCLR's loss (Chen et al. 2020, arXiv 2002.05709, Algorithm 1).

    z1, z2 (N, D): projections of two views, row i of both from image i. Each of the 2N rows is asked to find its
    partner among the 2N - 1 others by cosine similarity over temperature:
    l(i, j) = -log( exp(s_ij / tau) / sum_{k != i} exp(s_ik / tau) ), averaged over the 2N ordered positive pairs.
    Returns a 0-d loss in nats; log(2N - 1) when all rows are equal. Raises ValueError for a temperature <= 0.
    """
    positive("temperature", temperature)
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    scores = z @ z.T / temperature  # (2N, 2N)
    scores.fill_diagonal_(float("-inf"))  # k != i
    partner = torch.arange(2 * n, device=z.device).roll(n)  # of i: i + N for the first views, i - N for the second
    return F.cross_entropy(scores, partner)
