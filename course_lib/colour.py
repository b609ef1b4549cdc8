"""The colour space CIE Lab, and classes of colours: the targets of colourisation and
split-brain autoencoders.

Zhang, Isola, Efros 2016, "Colorful Image Colorization", arXiv 1603.08511, section 2. An
image in Lab has the channels lightness L, a (green to red) and b (blue to yellow). For
the human eye, equal distances in Lab are about equally large differences of colour.
"""

import functools

import torch
from torch import Tensor

from course_lib.checks import count, expects, number, positive
from course_lib.losses import full_precision

TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)  # D65, the white of sRGB


@expects(x="float N 3 H W")
@full_precision
def rgb_to_lab(x: Tensor) -> Tensor:
    """Converts sRGB images (N, 3, H, W) in [0, 1] to Lab (N, 3, H, W) (CIE 1976).

    L is in [0, 100], a in [-87, 99], b in [-108, 95].
    """
    linear = torch.where(
        x > 0.04045, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92
    )
    white = x.new_tensor(WHITE).view(3, 1, 1)
    xyz = torch.einsum("ij,njhw->nihw", x.new_tensor(TO_XYZ), linear) / white
    root = torch.where(
        xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116
    )
    fx, fy, fz = root.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


@expects(lab="float N 3 H W")
@full_precision
def lab_to_rgb(lab: Tensor) -> Tensor:
    """Converts Lab images (N, 3, H, W) to sRGB (N, 3, H, W).

    The result is clipped to [0, 1], because some colours in Lab do not exist in sRGB.
    """
    lightness, a, b = lab.unbind(1)
    fy = (lightness + 16) / 116
    root = torch.stack([fy + a / 500, fy, fy - b / 200], 1)
    white = lab.new_tensor(WHITE).view(3, 1, 1)
    xyz = torch.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787) * white
    to_rgb = torch.linalg.inv(lab.new_tensor(TO_XYZ))
    linear = torch.einsum("ij,njhw->nihw", to_rgb, xyz)
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


@functools.cache
def _reached(spacing: float) -> Tensor:
    """The result of `ab_bins`, computed once for each spacing."""
    cube = torch.cartesian_prod(*[torch.linspace(0, 1, 64)] * 3)
    ab = rgb_to_lab(cube[:, :, None, None])[:, 1:, 0, 0]
    return (ab / spacing).round().unique(dim=0) * spacing


def ab_bins(spacing: float = 10.0) -> Tensor:
    """Returns the centres (Q, 2) of the bins: all squares with side `spacing` in the
    plane of (a, b) that contain a colour of sRGB.

    The colours tested have 64 levels per channel. More levels would add a few squares
    at the border (one, for a spacing of 20). For side 10 there are 261 bins. The paper
    has 313, which include squares outside sRGB.
    """
    return _reached(float(positive("spacing", spacing))).clone()


@expects(ab="float N 2 H W", bins="float Q 2")
@full_precision
def nearest_bin(ab: Tensor, bins: Tensor) -> Tensor:
    """Returns the index of the nearest bin, int64 (N, H, W), of colours ab (N, 2, H,
    W)."""
    return _affinity(ab, bins).argmax(1)


def _affinity(ab: Tensor, bins: Tensor) -> Tensor:
    """Returns minus half the squared distance of each pixel to each bin, (N, Q, H, W),
    up to a constant for each pixel."""
    half_squares = bins.square().sum(1).view(1, -1, 1, 1) / 2
    return torch.einsum("qc,nchw->nqhw", bins, ab) - half_squares


@expects(ab="float N 2 H W", bins="float Q 2")
@full_precision
def soft_bins(
    ab: Tensor, bins: Tensor, neighbours: int = 5, sigma: float = 5.0
) -> Tensor:
    """Soft encoding: returns for each pixel a distribution over bins, (N, Q, H, W).

    The probability of a bin is proportional to exp(-distance^2 / (2 sigma^2)) for the
    nearest bins, whose number is `neighbours`, and 0 for all others. The defaults are
    those of the paper (footnote in section 2.1).
    """
    count("neighbours", neighbours, len(bins))
    logits = _affinity(ab, bins) / positive("sigma", sigma) ** 2
    value, nearest = logits.topk(neighbours, 1)  # (N, neighbours, H, W)
    probabilities = ab.new_zeros(len(ab), len(bins), *ab.shape[2:])
    return probabilities.scatter_(1, nearest, value.softmax(1))


@expects(prior="float Q")
def rebalancing_weights(prior: Tensor, mix: float = 0.5) -> Tensor:
    """Returns weights (Q,) proportional to 1 / ((1 - mix) prior + mix / Q), with mean 1
    under the prior (equation 4).

    prior (Q,): frequency of each bin, with sum 1. For mix = 1 all bins have the same
    weight. For mix = 0 the weights are proportional to 1 / prior, which is infinite for
    a bin that never occurs.
    """
    weights = 1 / ((1 - number("mix", mix, 0, 1)) * prior + mix / len(prior))
    return weights / torch.where(prior > 0, prior * weights, 0).sum()


@expects(logits="float N Q H W", bins="float Q 2")
@full_precision
def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """Returns a colour for each pixel, (N, 2, H, W): the mean of the bins under
    softmax(logits / T) (equation 5).

    T = 1 gives the mean of the predicted distribution, with pale colours. T -> 0 gives
    its mode, with strong colours that are not smooth in space. Raises ValueError for a
    temperature <= 0.
    """
    probabilities = (logits / positive("temperature", temperature)).softmax(1)
    return torch.einsum("qc,nqhw->nchw", bins, probabilities)
