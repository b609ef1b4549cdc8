"""Optimisers and the schedule of their learning rates, as `fit` takes them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks import number, positive

Optimizers = Callable[[list[Tensor]], torch.optim.Optimizer]


def adamw(
    lr: float, weight_decay: float = 1e-4, betas: tuple[float, float] = (0.9, 0.999)
) -> Optimizers:
    """AdamW (arXiv 1711.05101) without weight decay on biases, norms and other
    vectors."""
    return lambda params: torch.optim.AdamW(
        _decay_groups(params, weight_decay), lr=positive("lr", lr), betas=betas
    )


def sgd(lr: float, weight_decay: float = 1e-4, momentum: float = 0.9) -> Optimizers:
    """SGD with momentum, without weight decay on biases, norms and other vectors."""
    return lambda params: torch.optim.SGD(
        _decay_groups(params, weight_decay), lr=positive("lr", lr), momentum=momentum
    )


def _decay_groups(params, weight_decay):
    params = list(params)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def cosine(warmup: float = 0.05) -> Callable[[float], float]:
    """Learning-rate factor at progress p in [0, 1]: linear up to 1 at `warmup`, then
    half a cosine down to 0."""
    number("warmup", warmup, 0, 1)

    def factor(p: float) -> float:
        return (
            p / warmup
            if p < warmup
            else 0.5 * (1 + math.cos(math.pi * (p - warmup) / (1 - warmup)))
        )

    return factor
