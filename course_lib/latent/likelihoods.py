"""What a decoder's outputs say of a picture: log p(x given z) in nats, summed over its
dimensions, constants included.

Kingma & Welling 2013 (arXiv 1312.6114), appendix C. A likelihood is right for one kind
of pixels only: `binarise` and `dequantise` make those kinds out of 8-bit pictures.
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
    """sum_d x_d log p_d + (1 - x_d) log(1 - p_d) with p = sigmoid(logits), written with
    logits so that nothing rounds to log 0: (N, D) each -> (N,) nats. A likelihood for
    pixels that are 0 or 1; what is in between has none."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


@expects(mean="float N D", x="float N D", log_sigma="float ...")
@full_precision
def gaussian_log_likelihood(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """sum_d log N(x_d; mean_d, sigma^2) = -sum_d [(x_d - mean_d)^2 / (2 sigma^2) + log
    sigma + log(2 pi) / 2]: (N, D) each, and a log sigma that is 0-d or (N, D), -> (N,)
    nats, of a density: it may be above 0."""
    if log_sigma.ndim and log_sigma.shape != mean.shape:
        raise ValueError(
            f"argument `log_sigma`: expected 0-d or {tuple(mean.shape)}, got "
            f"{tuple(log_sigma.shape)}"
        )
    squares = ((x - mean) / log_sigma.exp()).square()
    return -(squares / 2 + log_sigma + math.log(2 * math.pi) / 2).sum(1)


class Bernoulli(nn.Module):
    """Pixels are 0 or 1, independent given z; the decoder's outputs are logits."""

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        return bernoulli_log_likelihood(outputs.flatten(1), x.flatten(1))

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def sample(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid().bernoulli()


class Gaussian(nn.Module):
    """Pixels have independent noise of standard deviation sigma around the decoder's
    outputs, the same for all.

    learned: sigma starts there and is a parameter, as in Rybkin et al. 2020 (arXiv
    2006.13202); at the optimum sigma^2 is the mean squared error. Half the squared
    error, the loss of many "VAEs", is sigma = 1; its mean over the d pixels is sigma =
    sqrt(d).
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
    """Each pixel has a sigma of its own: the first half of the decoder's channels are
    means, the second log sigmas.

    Never below `smallest`: on pixels that are always white a density is the better the
    smaller sigma, without end (Mattei & Frellsen 2018, arXiv 1802.04826). By default it
    is the rounding of 8 bits.
    """

    def __init__(self, smallest: float = 1 / 256):
        super().__init__()
        self.floor = math.log(positive("smallest", smallest))

    def _parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_sigma = outputs.chunk(2, 1)
        # smooth; far above the floor as it is
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
    """Each pixel is 1 with probability x, drawn anew each time: what a Bernoulli
    likelihood is about.

    Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks".
    """
    return x.bernoulli()


def dequantise(x: Tensor) -> Tensor:
    """(255 x + u) / 256 with u uniform in [0, 1): each 8-bit grey becomes an interval,
    and a density has sense.

    A model's mean log-density of these minus d log 256 is at most its log-probability
    of the 8-bit pictures (Theis, van den Oord, Bethge 2015, arXiv 1511.01844, section
    3.1). Without it a density may grow without bound on white pixels.
    """
    # float32 would round some up into the next interval
    return (255 * x + torch.rand_like(x) * (1 - 2**-16)) / 256
