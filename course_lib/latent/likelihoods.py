"""Likelihoods of a decoder: log p(x given z) in nats, summed over the dimensions of x,
with all constants.

Kingma & Welling 2013 (arXiv 1312.6114), appendix C. Each likelihood is right for one
kind of pixels only. `binarise` and `dequantise` convert 8-bit pictures to these kinds.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.losses import full_precision


@expects(logits="float N D", x="float N D")
@full_precision
def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """Returns sum_d x_d log p_d + (1 - x_d) log(1 - p_d) with p = sigmoid(logits), (N,
    D) each -> (N,) nats.

    It is computed from the logits, so that no probability is rounded to 0. It is a
    likelihood for pixels that are 0 or 1 only, not for values in between.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


@expects(mean="float N D", x="float N D", log_sigma="float ...")
@full_precision
def gaussian_log_likelihood(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """Returns sum_d log N(x_d; mean_d, sigma^2) = -sum_d [(x_d - mean_d)^2 / (2
    sigma^2) + log sigma + log(2 pi) / 2], (N,) nats.

    mean, x: (N, D). log_sigma: 0-d or (N, D). This is the logarithm of a density, so it
    may be positive.
    """
    if log_sigma.ndim and log_sigma.shape != mean.shape:
        raise ValueError(
            f"argument `log_sigma`: expected 0-d or {tuple(mean.shape)}, got "
            f"{tuple(log_sigma.shape)}"
        )
    squares = ((x - mean) / log_sigma.exp()).square()
    return -(squares / 2 + log_sigma + math.log(2 * math.pi) / 2).sum(1)


class Bernoulli(nn.Module):
    """The likelihood of pixels that are 0 or 1, independent given z. The decoder's
    outputs are logits."""

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        return bernoulli_log_likelihood(outputs.flatten(1), x.flatten(1))

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def sample(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid().bernoulli()


class Gaussian(nn.Module):
    """The likelihood of pixels with independent Gaussian noise around the decoder's
    outputs. All pixels have the same standard deviation sigma.

    learned: True if sigma is a parameter that starts at the given value, as in Rybkin
    et al. 2020 (arXiv 2006.13202). At the optimum, sigma^2 is the mean squared error.
    The loss of many "VAEs", half the sum of the squared errors, belongs to sigma = 1;
    half their mean over the d pixels belongs to sigma = sqrt(d).
    """

    def __init__(self, sigma: float, learned: bool = False):
        super().__init__()
        self.log_sigma = nn.Parameter(
            torch.tensor(math.log(positive("sigma", sigma))), requires_grad=learned
        )

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        return gaussian_log_likelihood(outputs.flatten(1), x.flatten(1), self.log_sigma)

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs

    def sample(self, outputs: Tensor) -> Tensor:
        return outputs + self.log_sigma.exp() * torch.randn_like(outputs)


class GaussianPerPixel(nn.Module):
    """A Gaussian likelihood with its own sigma for each pixel. The first half of the
    decoder's channels are means, the second half are log sigmas.

    sigma is never below `smallest`, which is one 8-bit step by default. Without this
    bound, the density of pixels that are always white grows without limit as sigma goes
    to 0 (Mattei & Frellsen 2018, arXiv 1802.04826).
    """

    def __init__(self, smallest: float = 1 / 256):
        super().__init__()
        self.floor = math.log(positive("smallest", smallest))

    def _parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_sigma = outputs.chunk(2, 1)
        # a smooth lower bound: far above it, log_sigma hardly changes
        return mean, self.floor + F.softplus(log_sigma - self.floor)

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        mean, log_sigma = self._parts(outputs)
        return gaussian_log_likelihood(
            mean.flatten(1), x.flatten(1), log_sigma.flatten(1)
        )

    def mean(self, outputs: Tensor) -> Tensor:
        return self._parts(outputs)[0]

    def sample(self, outputs: Tensor) -> Tensor:
        mean, log_sigma = self._parts(outputs)
        return mean + log_sigma.exp() * torch.randn_like(mean)


def binarise(x: Tensor) -> Tensor:
    """Returns pixels that are 1 with probability x and 0 otherwise, drawn again in each
    call. A Bernoulli likelihood is right for such pixels.

    Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks".
    """
    return x.bernoulli()


def dequantise(x: Tensor) -> Tensor:
    """Returns (255 x + u) / 256 with u uniform in [0, 1). Each 8-bit grey level becomes
    an interval, so that a density model makes sense.

    The mean log-density of a model on these pixels, minus d log 256, is at most the
    model's log-probability of the 8-bit pictures (Theis, van den Oord, Bethge 2015,
    arXiv 1511.01844, section 3.1). Without the noise, the density on white pixels may
    grow without bound.
    """
    # u < 1 - 2^-16, because float32 would round larger u up to the next interval
    return (255 * x + torch.rand_like(x) * (1 - 2**-16)) / 256
