"""Denoising diffusion: noise is added to a picture in a thousand small steps, and a
network learns to reverse each step.

Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models" (arXiv 2006.11239),
Algorithm 1. The network predicts one of three quantities: the noise eps (as in the
paper), the picture x_0, or v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022,
arXiv 2202.00512).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.checks import number
from course_lib.diffusion.gaussians import eps_from_v, eps_from_x0, q_sample, v_from
from course_lib.diffusion.samplers import EpsFn, ddim, last
from course_lib.diffusion.schedules import Schedule
from course_lib.generator import sampling, zeros_like_data
from course_lib.losses import full_precision
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


class Prediction(NamedTuple):
    """The quantity that the network predicts, as two functions.

    target: (x_0, eps, abar) -> the network's target. eps: (x_t, output, abar) -> the
    noise that the network's output implies.
    """

    target: Callable[[Tensor, Tensor, Tensor], Tensor]
    eps: Callable[[Tensor, Tensor, Tensor], Tensor]


EPS = Prediction(lambda x0, eps, abar: eps, lambda x_t, output, abar: output)
X0 = Prediction(lambda x0, eps, abar: x0, eps_from_x0)
V = Prediction(v_from, eps_from_v)


def normalise(x: Tensor, pictures: bool = True) -> Tensor:
    """Maps pictures from [0, 1] to [-1, 1], the range of the network's inputs. Points
    (pictures=False) stay as they are."""
    return 2 * x - 1 if pictures else x


class DDPM(Method):
    """A denoising diffusion model.

    net: x_t (N, ...), t (N,) in 0..T-1, y (N,) or None -> a prediction of the shape of
    x_t. betas: (T,). pictures: True for data in [0, 1], which the model maps to
    [-1, 1]; samplers then clip the prediction of x_0 to [-1, 1]. False for points,
    which are neither mapped nor clipped. momentum: the momentum of the moving average
    of the net's weights. In eval mode, the net with the averaged weights makes the
    predictions. After k updates, the momentum is at most (1 + k) / (10 + k), so that
    the average soon forgets the untrained net.
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
        """The samplers' argument of this name: 1 for pictures, None (no clipping) for
        points."""
        return 1.0 if self.pictures else None

    def normalise(self, x: Tensor) -> Tensor:
        """Maps data to the range of the net's inputs."""
        return normalise(x, self.pictures)

    def denormalise(self, x0: Tensor) -> Tensor:
        """Maps x_0 back to the range of the data: the inverse of `normalise`."""
        return ((x0 + 1) / 2).clamp(0, 1) if self.pictures else x0

    def predict(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return (self.net if self.training else self.average)(x_t, t, y)

    def eps(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns the noise eps_theta(x_t, t, y), whichever quantity the network
        predicts. Samplers call this function."""
        return self.prediction.eps(x_t, self.predict(x_t, t, y), self.schedule.abar[t])

    @sampling
    def sample(
        self, n: int, y: Tensor | None = None, *, steps: int | None = None
    ) -> Tensor:
        """Returns n samples, drawn with DDIM. steps: by default 50, or all if the
        schedule has fewer."""
        return self.by_ddim(self.eps, n, steps)

    def by_ddim(self, eps_fn: EpsFn, n: int, steps: int | None) -> Tensor:
        """Returns n samples that DDIM draws with the noise predictions of eps_fn."""
        x = torch.randn_like(zeros_like_data(self, n))
        steps = min(50, len(self.schedule)) if steps is None else steps
        path = ddim(eps_fn, x, self.schedule, steps, clip_denoised=self.clip_denoised)
        return self.denormalise(last(path))

    def errors(
        self, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None
    ) -> Tensor:
        """Returns the squared error of the prediction at x_t, (N,): the mean over the
        dimensions of each picture."""
        abar = self.schedule.abar[t]
        return squared_error(
            self.predict(q_sample(x0, abar, eps), t, y),
            self.prediction.target(x0, eps, abar),
        )

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns L_simple (equation 14): every step t is equally likely, and the
        errors of all steps have the same weight. The net gets no label."""
        x0 = self.normalise(x)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        return self.errors(x0, t, torch.randn_like(x0)).mean()

    def after_step(self):
        self.updates += 1
        k = self.updates.item()
        ema(self.average, self.net, min(self.momentum, (1 + k) / (10 + k)))

    def encode(self, x: Tensor) -> Tensor:
        """Returns the U-Net's coarsest features at step t = T // 20, where x_t has
        little noise (as in Xiang et al. 2023, arXiv 2303.09769).

        No noise is drawn: the input is sqrt(abar) x_0, the mean of x_t given x_0.
        """
        t = torch.full((len(x),), len(self.schedule) // 20, device=x.device)
        x0 = self.normalise(x)
        net = self.net if self.training else self.average.net
        return net.features(
            q_sample(x0, self.schedule.abar[t], torch.zeros_like(x0)), t
        )

    def pretext_score(self, x: Tensor) -> float:
        """Returns minus the loss."""
        return -self.loss(x).item()


@full_precision
def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Returns the squared error of each picture or point, (N,), for output and target
    (N, ...). The error is averaged over all dimensions except the first."""
    return (output - target).square().flatten(1).mean(1)
