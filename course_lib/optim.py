"""Optimisers and the learning-rate schedule, in the form that `fit` expects."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks import expects_values, number, number_in, positive

# a function: the parameters of one player -> their optimiser
Optimizers = Callable[[list[Tensor]], torch.optim.Optimizer]


@expects_values(weight_decay=number_in(0))
def adamw(
    lr: float, weight_decay: float = 1e-4, betas: tuple[float, float] = (0.9, 0.999)
) -> Optimizers:
    """AdamW (arXiv 1711.05101). Weight decay is off for biases, the parameters of
    normalisation layers and other vectors."""
    return lambda params: torch.optim.AdamW(
        _decay_groups(params, weight_decay), lr=positive("lr", lr), betas=betas
    )


@expects_values(weight_decay=number_in(0), momentum=number_in(0))
def sgd(lr: float, weight_decay: float = 1e-4, momentum: float = 0.9) -> Optimizers:
    """SGD with momentum. Weight decay is off for biases, the parameters of
    normalisation layers and other vectors."""
    return lambda params: torch.optim.SGD(
        _decay_groups(params, weight_decay), lr=positive("lr", lr), momentum=momentum
    )


def _decay_groups(params, weight_decay):
    """The parameters in groups with and without weight decay; empty groups are left
    out."""
    params = list(params)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def cosine(warmup: float = 0.05) -> Callable[[float], float]:
    """Returns a function: progress p in [0, 1] -> factor of the learning rate.

    The factor rises linearly from 0 to 1 at p = warmup. Then it falls to 0 along half a
    period of a cosine.
    """
    number("warmup", warmup, 0, 1)

    def factor(p: float) -> float:
        if p < warmup:
            return p / warmup
        return 0.5 * (1 + math.cos(math.pi * (p - warmup) / (1 - warmup)))

    return factor


def step_decay(p: float) -> float:
    """Returns the factor of the learning rate at progress p in [0, 1]: a linear warm-up
    from 0 to 1 up to p = 0.05, then 1, from 0.6 on 0.1, and from 0.8 on 0.01.

    MoCo v1 divides the learning rate by 10 after 120 and after 160 of 200 epochs (He et
    al. 2019, arXiv 1911.05722, section 4), without a warm-up.
    """
    number("p", p, 0, 1)
    if p < 0.05:
        return p / 0.05
    return 1.0 if p < 0.6 else 0.1 if p < 0.8 else 0.01
