"""The exact noise prediction for data whose distribution is known. A trained network
is compared with it."""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import expects, number, one_of
from course_lib.diffusion.schedules import Schedule


class MixtureNoise(nn.Module):
    """E[eps given x_t] for data from K equally likely Gaussians N(centre_k, std^2 I):
    x_t (N, D), t (N,) -> (N, D).

    At noise level abar, the noisy data come from Gaussians around sqrt(abar) centre_k
    with variance v = abar std^2 + 1 - abar. Given the k-th Gaussian, E[eps] =
    sqrt(1 - abar) / v (x_t - sqrt(abar) centre_k). Bayes' rule gives the probability of
    each k given x_t. With std = 0 and the rows of a data set as centres, this is the
    minimiser of L_simple on that data set. Sampling with it gives the rows of the data
    set again.

    labels (K,): the class of each Gaussian. With labels, eps(x_t, t, y) is the noise
    for class y (N,) alone, and `log_prob` is the exact classifier of noisy points.
    """

    def __init__(
        self,
        centres: Tensor,
        std: float,
        schedule: Schedule,
        labels: Tensor | None = None,
    ):
        super().__init__()
        if labels is not None and labels.shape != centres.shape[:1]:
            raise ValueError(
                f"argument `labels`: expected {len(centres)}, one a centre, got "
                f"{tuple(labels.shape)}"
            )
        self.variance, self.schedule = number("std", std, 0) ** 2, schedule
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("labels", labels, persistent=False)

    def noised(
        self, x_t: Tensor, t: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns x_t - sqrt(abar) centre_k, (N, K, D); the exponents of the Gaussians,
        (N, K), which are -inf outside class y; their variance v, (N, 1)."""
        if x_t.shape[1:] != self.centres.shape[1:]:
            dim = self.centres.shape[1]
            raise ValueError(
                f"argument `x_t`: expected (N, {dim}) like the centres, got "
                f"{tuple(x_t.shape)}"
            )
        abar = self.schedule.abar[t].to(x_t.dtype)[:, None]  # (N, 1)
        variance = abar * self.variance + 1 - abar
        means = abar.sqrt()[:, :, None] * self.centres  # (N, K, D)
        apart = x_t[:, None] - means
        exponent = -apart.square().sum(2) / (2 * variance)
        if y is not None and self.labels is None:
            raise ValueError(
                "argument `y`: expected None, for the mixture was built without "
                "`labels`; got labels"
            )
        if y is not None:
            one_of("y", y, self.labels)
            exponent = exponent.masked_fill(self.labels != y[:, None], -torch.inf)
        return apart, exponent, variance

    @expects(x_t="float N D", t="int N", y="int N")
    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        apart, exponent, variance = self.noised(x_t, t, y)
        root = (1 - self.schedule.abar[t]).sqrt().to(x_t.dtype)[:, None]
        return root / variance * (exponent.softmax(1)[:, :, None] * apart).sum(1)

    @expects(x_t="float N D", t="int N", y="int N")
    def log_density(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns log p_t(x_t), or log p_t(x_t given y), in nats: (N,)."""
        _, exponent, variance = self.noised(x_t, t, y)
        in_class = exponent.isfinite().sum(1).to(exponent.dtype)  # number of Gaussians
        return (
            exponent.logsumexp(1)
            - in_class.log()
            - x_t.shape[1] / 2 * (2 * math.pi * variance[:, 0]).log()
        )

    @expects(x_t="float N D", t="int N", y="int N")
    def log_prob(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Returns log p_t(y given x_t) by Bayes' rule, (N,): the exact classifier of
        noisy points."""
        _, in_class, _ = self.noised(x_t, t, y)
        _, exponent, _ = self.noised(x_t, t)
        return in_class.logsumexp(1) - exponent.logsumexp(1)
