"""Noise predicted exactly, where the data's distribution is known: what a trained network is compared with."""

from torch import Tensor, nn

from course_lib.checks import number
from course_lib.diffusion.schedules import Schedule


class MixtureNoise(nn.Module):
    """E[eps given x_t] for data from K equally likely Gaussians N(centre_k, std^2 I): x_t (N, D), t (N,) -> (N, D).

    Noised to abar they are Gaussians around sqrt(abar) centre_k with variance v = abar std^2 + 1 - abar; given the
    k-th, E[eps] = sqrt(1 - abar) / v (x_t - sqrt(abar) centre_k), and Bayes says how likely each k is. With std = 0 and
    the rows of a data set as centres this is what L_simple's minimiser says on that set: it draws its rows again.
    """

    def __init__(self, centres: Tensor, std: float, schedule: Schedule):
        super().__init__()
        self.variance, self.schedule = number("std", std, 0) ** 2, schedule
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self.schedule.abar[t].to(x_t.dtype)[:, None]  # (N, 1)
        variance, means = abar * self.variance + 1 - abar, abar.sqrt()[:, :, None] * self.centres  # (N, K, D)
        apart = x_t[:, None] - means
        share = (-apart.square().sum(2) / (2 * variance)).softmax(1)  # (N, K)
        return (1 - abar).sqrt() / variance * (share[:, :, None] * apart).sum(1)
