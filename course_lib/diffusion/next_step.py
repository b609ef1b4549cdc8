"""Diffusion as MLMI17's Algorithm 1.2 has it: the network learns x_{t-1} from x_t,
along simulated chains.

For squared error its loss is that of the noise, times beta^2 / (alpha (1 - abar)), plus
d btilde, which no network can lower: the same optimum, other weights (Ho, Jain, Abbeel
2020, arXiv 2006.11239, section 3.2).
"""

import torch
from torch import Tensor, nn

from course_lib.diffusion.ddpm import DDPM, squared_error
from course_lib.diffusion.gaussians import mean_from_eps, q_sample, q_step
from course_lib.diffusion.schedules import Schedule


class NextStep(DDPM):
    """As DDPM; f_theta(x_t, t), the guess of x_{t-1}, is the posterior's mean for the
    noise that the network says.

    The algorithm writes whole chains to memory. Here each picture has one pair
    (x_{t-1}, x_t) of one chain: x_{t-1} by a jump, x_t from it by a step, which is the
    same distribution.
    """

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x0 = self.normalise(x)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        x_prev = q_sample(x0, self.schedule.abar_prev[t], torch.randn_like(x0))
        x_t = q_step(x_prev, self.schedule.beta[t], torch.randn_like(x0))
        guess = mean_from_eps(
            x_t, self.eps(x_t, t), self.schedule.beta[t], self.schedule.abar[t]
        )
        return squared_error(guess, x_prev).mean()


class SaysNextStep(nn.Module):
    """A network whose output is x_{t-1} itself, as the noise that this means: what
    Algorithm 1.2 has to the letter.

    eps = (x_t - sqrt(alpha) x_{t-1}) sqrt(1 - abar) / beta: its error is multiplied by
    50 to 160 (linear betas).
    """

    def __init__(self, net: nn.Module, betas: Tensor):
        super().__init__()
        self.net, self.schedule = net, Schedule(betas)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        shape = (-1, *(1,) * (x_t.ndim - 1))
        beta, abar = (
            self.schedule.beta[t].reshape(shape),
            self.schedule.abar[t].reshape(shape),
        )
        scale = (1 - abar).sqrt() / beta
        x_prev = self.net(x_t, t, y)
        return (
            scale.to(x_t.dtype) * x_t
            - (scale * (1 - beta).sqrt()).to(x_t.dtype) * x_prev
        )
