"""Denoising diffusion: a picture drowns in noise in a thousand small steps; a network
learns to take each step back.

Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models" (arXiv 2006.11239),
Algorithm 1. What the network predicts: noise (the paper), the picture, or v (Salimans &
Ho 2022, arXiv 2202.00512).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.checks import number
from course_lib.diffusion.gaussians import eps_from_v, eps_from_x0, q_sample, v_from
from course_lib.diffusion.schedules import Schedule
from course_lib.losses import full_precision
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


class Prediction(NamedTuple):
    """What the network is to say, (x_0, eps, abar) -> target, and what noise that is,
    (x_t, output, abar) -> eps."""

    target: Callable[[Tensor, Tensor, Tensor], Tensor]
    eps: Callable[[Tensor, Tensor, Tensor], Tensor]


EPS = Prediction(lambda x0, eps, abar: eps, lambda x_t, output, abar: output)
X0 = Prediction(lambda x0, eps, abar: x0, eps_from_x0)
V = Prediction(v_from, eps_from_v)


def normalise(x: Tensor, pictures: bool = True) -> Tensor:
    """Data as networks see it: pictures go from [0, 1] to [-1, 1], points
    (pictures=False) stay as they are."""
    return 2 * x - 1 if pictures else x


class DDPM(Method):
    """net: x_t (N, ...), t (N,) in 0..T-1, y (N,) or None -> a prediction like x_t.
    betas: (T,).

    pictures: what comes in is in [0, 1], and the net sees it in [-1, 1], where it also
    keeps its guess of x_0; False: points, as they are. momentum: of the moving average
    of the net, which is what samples in eval mode; over the first updates it is
    shorter, (1 + k) / (10 + k) after k of them, so that the average soon forgets the
    untrained net.
    """

    def __init__(
        self,
        net: nn.Module,
        betas: Tensor,
        prediction: Prediction = EPS,
        momentum: float = 0.999,
        pictures: bool = True,
    ):
        super().__init__()
        self.net, self.schedule, self.prediction = net, Schedule(betas), prediction
        self.momentum, self.pictures = number("momentum", momentum, 0, 1), pictures
        self.average = frozen_copy(net, training=False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def clip_denoised(self) -> float | None:
        """The samplers' argument of this name: the guess of a picture stays in [-1, 1],
        that of a point is free."""
        return 1.0 if self.pictures else None

    def normalise(self, x: Tensor) -> Tensor:
        """Data as the net sees it."""
        return normalise(x, self.pictures)

    def denormalise(self, x0: Tensor) -> Tensor:
        """What the net's x_0 is as data: `normalise` undone."""
        return ((x0 + 1) / 2).clamp(0, 1) if self.pictures else x0

    def predict(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return (self.net if self.training else self.average)(x_t, t, y)

    def eps(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """eps_theta(x_t, t, y), whatever the network predicts: what samplers ask
        for."""
        return self.prediction.eps(x_t, self.predict(x_t, t, y), self.schedule.abar[t])

    def errors(
        self, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None
    ) -> Tensor:
        """Squared error of the prediction at x_t, the mean over a picture's dimensions,
        (N,)."""
        abar = self.schedule.abar[t]
        return squared_error(
            self.predict(q_sample(x0, abar, eps), t, y),
            self.prediction.target(x0, eps, abar),
        )

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """L_simple: every step t equally likely, every step's error of equal weight
        (equation 14). No label is told."""
        x0 = self.normalise(x)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        return self.errors(x0, t, torch.randn_like(x0)).mean()

    def after_step(self):
        self.updates += 1
        k = self.updates.item()
        ema(self.average, self.net, min(self.momentum, (1 + k) / (10 + k)))

    def encode(self, x: Tensor) -> Tensor:
        """The U-Net's coarsest features of the picture under little noise, whose mean
        is shown, at a twentieth of the way (Xiang et al. 2023, arXiv 2303.09769, read
        representations so)."""
        t = torch.full((len(x),), len(self.schedule) // 20, device=x.device)
        x0 = self.normalise(x)
        net = self.net if self.training else self.average.net
        return net.features(
            q_sample(x0, self.schedule.abar[t], torch.zeros_like(x0)), t
        )

    def pretext_score(self, x: Tensor) -> float:
        """Minus the loss."""
        return -self.loss(x).item()


@full_precision
def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over dimensions, (N, ...) each -> (N,)."""
    return (output - target).square().flatten(1).mean(1)
