"""Teachers, targets and key networks: copies without gradient, and the moving average
that lets them follow."""

import math
from copy import deepcopy

import torch
from torch import nn

from course_lib.checks import number


class Frozen(nn.Module):
    """A network without gradient; `training` as for `frozen_copy`."""

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
    """A teacher, target or key network: a copy without gradient.

    training=False: in eval mode for good, whatever the method around it is in: a
    trained teacher (knowledge distillation). True: in train mode while the method is,
    as its online twin: a moving average that must normalise with its own batch's
    statistics (MoCo, BYOL, DINO).
    """
    return Frozen(net, training)


@torch.no_grad()
def ema(target: nn.Module, online: nn.Module, momentum: float):
    """target <- momentum target + (1 - momentum) online, for every parameter.

    BatchNorm's running statistics: a target in train mode gathers its own from the
    batches it sees, they are left alone; a target in eval mode never sees a training
    batch, so it takes over the online network's buffers as they are.
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
    """1 - (1 - momentum) (cos(pi progress) + 1) / 2: from `momentum` up to 1, as in
    BYOL (section 3.2) and DINO."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2
