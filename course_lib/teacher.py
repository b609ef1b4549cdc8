"""Copies of networks without gradient (teachers, target networks, key networks), and
the moving average that updates them."""

import math
from copy import deepcopy

import torch
from torch import nn

from course_lib.checks import number


class Frozen(nn.Module):
    """A copy of a network without gradient; for `training` see `frozen_copy`."""

    def __init__(self, net: nn.Module, training: bool):
        super().__init__()
        self.net = deepcopy(net).requires_grad_(False)
        self.follows = training
        self.train(training)

    def train(self, mode: bool = True):
        return super().train(mode and self.follows)

    @torch.no_grad()
    def forward(self, *args):
        return self.net(*args)


def frozen_copy(net: nn.Module, *, training: bool) -> Frozen:
    """Returns a copy of `net` without gradient, for a teacher, target or key network.

    training=False: the copy is always in eval mode, also while the method is in train
    mode. Use it for a trained teacher (knowledge distillation). training=True: the copy
    is in train mode whenever the method is, like its online network. Use it for a
    moving average that must normalise with the statistics of its own batch (MoCo, BYOL,
    DINO).
    """
    return Frozen(net, training)


@torch.no_grad()
def ema(target: nn.Module, online: nn.Module, momentum: float):
    """Updates every parameter: target <- momentum target + (1 - momentum) online.

    The running statistics of BatchNorm are buffers. A target in train mode computes its
    own from its batches, so its buffers do not change here. A target in eval mode does
    not update them, so it gets a copy of the online network's buffers.
    """
    number("momentum", momentum, 0, 1)
    target, online = (
        net.net if isinstance(net, Frozen) else net for net in (target, online)
    )
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.lerp_(o, 1 - momentum)
    if not target.training:
        for t, o in zip(target.buffers(), online.buffers(), strict=True):
            t.copy_(o)


def cosine_momentum(momentum: float, progress: float) -> float:
    """Returns 1 - (1 - momentum) (cos(pi progress) + 1) / 2.

    This rises from `momentum` at progress 0 to 1 at progress 1, as in BYOL (section
    3.2) and DINO. Raises ValueError if one of them is not in [0, 1].
    """
    number("momentum", momentum, 0, 1)
    number("progress", progress, 0, 1)
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2
