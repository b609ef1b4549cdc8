"""Diffusion as in Algorithm 1.2 of the deck MLMI17: the network learns to predict
x_{t-1} from x_t, along simulated chains.

With the squared error, the loss is the loss of the noise prediction times beta^2 /
(alpha (1 - abar)), plus d btilde. No network can lower this second term. So the optimum
is the same as for the noise, and the steps have other weights (Ho, Jain, Abbeel 2020,
arXiv 2006.11239, section 3.2).
"""

import torch
from torch import Tensor, nn

from course_lib.diffusion.ddpm import DDPM, squared_error
from course_lib.diffusion.gaussians import mean_from_eps, q_sample, q_step
from course_lib.diffusion.schedules import Schedule


class NextStep(DDPM):
    """A DDPM trained with the squared error of f_theta(x_t, t), its prediction of
    x_{t-1}.

    f_theta is the posterior's mean for the noise that the network predicts. The
    algorithm stores whole chains. Here each picture has one pair (x_{t-1}, x_t) of one
    chain: x_{t-1} is drawn by a jump from x_0, and x_t by one step from x_{t-1}. The
    pair has the same distribution as in a simulated chain.
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
    """Converts the output of `net`, a prediction of x_{t-1}, to the noise that this
    prediction implies. With it, `NextStep` is Algorithm 1.2 exactly.

    eps = (x_t - sqrt(alpha) x_{t-1}) sqrt(1 - abar) / beta. So the error of x_{t-1} is
    multiplied by 50 to 160 (linear betas).
    """

    def __init__(self, net: nn.Module, betas: Tensor):
        super().__init__()
        self.net, self.schedule = net, Schedule(betas)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        shape = (-1, *(1,) * (x_t.ndim - 1))
        beta = self.schedule.beta[t].reshape(shape)
        abar = self.schedule.abar[t].reshape(shape)
        scale = (1 - abar).sqrt() / beta
        x_prev_scale = scale * (1 - beta).sqrt()
        x_prev = self.net(x_t, t, y)
        return scale.to(x_t.dtype) * x_t - x_prev_scale.to(x_t.dtype) * x_prev
