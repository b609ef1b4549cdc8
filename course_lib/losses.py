"""Losses that several methods share. They are pure functions: random numbers, and rows
gathered from other processes, are arguments."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import classes_of, count, expects, expects_values, positive


def full_precision(function):
    """Decorator: computes the function without autocast, with bfloat16 and float16
    tensors converted to float32. In bfloat16 exp(s / tau) would be too inexact."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        def up(value):
            low = isinstance(value, Tensor) and value.dtype in (
                torch.bfloat16,
                torch.float16,
            )
            return value.float() if low else value

        tensors = [
            value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)
        ]
        with torch.autocast(
            tensors[0].device.type if tensors else "cpu", enabled=False
        ):
            return function(
                *map(up, args), **{name: up(value) for name, value in kwargs.items()}
            )

    return wrapper


@expects(scores="float N K", positive="int N")
@expects_values(positive=(classes_of, "scores"))
@full_precision
def info_nce(scores: Tensor, positive: Tensor | None = None) -> Tensor:
    """InfoNCE: the cross-entropy of finding the positive among K candidates (van den
    Oord et al. 2018, arXiv 1807.03748, equation 4).

    scores (N, K): the score of reference i with its k-th candidate, already divided by
    the temperature. positive (N,): the column of each row's positive. By default it is
    i: then reference i and candidate i are a pair, and the other candidates in the
    batch are the negatives. Returns the mean of -log softmax(scores)_positive, a 0-d
    loss in nats; it is log K when all scores are equal. Raises ValueError if `positive`
    is not given and there are fewer candidates than rows.
    """
    if positive is None:
        if scores.shape[1] < len(scores):
            raise ValueError(
                "argument `scores`: expected a candidate for each row, got "
                f"{tuple(scores.shape)}"
            )
        positive = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores, positive.long())


def mutual_information_bound(loss: float | Tensor, candidates: int) -> float | Tensor:
    """Returns log K - L, a lower bound in nats of the mutual information of a pair,
    from the InfoNCE loss L with K candidates.

    The bound holds in expectation for all scores. It is never above log K. Source: van
    den Oord et al. 2018, arXiv 1807.03748, appendix A.1; Poole et al. 2019, arXiv
    1905.06922, equation 12, prove it for finite K. The K candidates, with the positive
    among them, must be independent draws. Raises ValueError for fewer than 2
    candidates.
    """
    return math.log(count("candidates", candidates, low=2)) - loss


@expects(z1="float N D", z2="float N D")
@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross-entropy: SimCLR's loss (Chen et al. 2020,
    arXiv 2002.05709, Algorithm 1).

    z1, z2 (N, D): projections of two views; row i of both comes from image i. The
    partner of a row is the other view of the same image. With cosine similarities s,
    the loss of row i with partner j is
    l(i, j) = -log( exp(s_ij / tau) / sum_{k != i} exp(s_ik / tau) ).
    This is InfoNCE with 2N - 1 candidates. Returns the mean over the 2N ordered
    positive pairs, a 0-d loss in nats; it is log(2N - 1) when all rows are equal.
    Raises ValueError for a temperature <= 0.
    """
    positive("temperature", temperature)
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    scores = z @ z.T / temperature  # (2N, 2N)
    scores.fill_diagonal_(float("-inf"))  # k != i
    # the partner of row i is i + N for the first views, i - N for the second
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return info_nce(scores, partner)
