"""CIE Lab, and colour as classes: what colourisation and split-brain autoencoders
predict.

Zhang, Isola, Efros 2016, "Colorful Image Colorization", arXiv 1603.08511, section 2. In
Lab a picture is its lightness L and two colours, a (green to red) and b (blue to
yellow); equal distances look about equally different.
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
    """sRGB (N, 3, H, W) in [0, 1] -> Lab (N, 3, H, W): L in [0, 100], a in [-87, 99], b
    in [-108, 95] (CIE 1976)."""
    linear = torch.where(
        x > 0.04045, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92
    )
    xyz = torch.einsum("ij,njhw->nihw", x.new_tensor(TO_XYZ), linear) / x.new_tensor(
        WHITE
    ).view(3, 1, 1)
    root = torch.where(
        xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116
    )
    fx, fy, fz = root.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


@expects(lab="float N 3 H W")
@full_precision
def lab_to_rgb(lab: Tensor) -> Tensor:
    """Lab (N, 3, H, W) -> sRGB (N, 3, H, W), clipped to [0, 1]: not every Lab colour
    has one."""
    lightness, a, b = lab.unbind(1)
    fy = (lightness + 16) / 116
    root = torch.stack([fy + a / 500, fy, fy - b / 200], 1)
    xyz = torch.where(
        root > 0.2068966, root**3, (root - 16 / 116) / 7.787
    ) * lab.new_tensor(WHITE).view(3, 1, 1)
    linear = torch.einsum(
        "ij,njhw->nihw", torch.linalg.inv(lab.new_tensor(TO_XYZ)), xyz
    )
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


@functools.cache
def _reached(spacing: float) -> Tensor:
    cube = torch.cartesian_prod(*[torch.linspace(0, 1, 64)] * 3)
    squares = (
        (rgb_to_lab(cube[:, :, None, None])[:, 1:, 0, 0] / spacing)
        .round()
        .unique(dim=0)
    )
    return squares * spacing


def ab_bins(spacing: float = 10.0) -> Tensor:
    """Centres (Q, 2) of the squares of that side, in the plane of (a, b), that sRGB
    colours reach.

    Looked for with 64 levels a channel: finer ones would add a square at the rim (one,
    at a spacing of 20). The paper's 313 bins of side 10 include squares beyond the
    gamut; here they are 261.
    """
    return _reached(float(positive("spacing", spacing))).clone()


@expects(ab="float N 2 H W", bins="float Q 2")
@full_precision
def nearest_bin(ab: Tensor, bins: Tensor) -> Tensor:
    """Colours (N, 2, H, W) -> the index of each one's nearest bin, int64 (N, H, W)."""
    return _affinity(ab, bins).argmax(1)


def _affinity(ab: Tensor, bins: Tensor) -> Tensor:
    """(N, Q, H, W): minus half the squared distance to each bin, up to a term that all
    bins of a pixel share."""
    return (
        torch.einsum("qc,nchw->nqhw", bins, ab)
        - bins.square().sum(1).view(1, -1, 1, 1) / 2
    )


@expects(ab="float N 2 H W", bins="float Q 2")
@full_precision
def soft_bins(
    ab: Tensor, bins: Tensor, neighbours: int = 5, sigma: float = 5.0
) -> Tensor:
    """Soft encoding: each colour shared among its nearest bins by exp(-distance^2 / (2
    sigma^2)), (N, Q, H, W).

    The shares of a pixel sum to 1; the other bins get 0. Section 2.1 of the paper,
    footnote: 5 neighbours, sigma = 5.
    """
    count("neighbours", neighbours, len(bins))
    # (N, k, H, W)
    value, nearest = (_affinity(ab, bins) / positive("sigma", sigma) ** 2).topk(
        neighbours, 1
    )
    shares = ab.new_zeros(len(ab), len(bins), *ab.shape[2:])
    return shares.scatter_(1, nearest, value.softmax(1))


@expects(prior="float Q")
def rebalancing_weights(prior: Tensor, mix: float = 0.5) -> Tensor:
    """Weights (Q,), proportional to 1 / ((1 - mix) prior + mix / Q), of mean 1 under
    the prior (equation 4).

    prior (Q,): how often each bin occurs, summing to 1. mix = 1 treats all bins alike,
    mix = 0 weighs by rarity alone (and a bin that never occurs infinitely).
    """
    weights = 1 / ((1 - number("mix", mix, 0, 1)) * prior + mix / len(prior))
    return weights / torch.where(prior > 0, prior * weights, 0).sum()


@expects(logits="float N Q H W", bins="float Q 2")
@full_precision
def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """One colour for each pixel's distribution over bins: softmax(logits / T)'s mean,
    (N, 2, H, W) (equation 5).

    T = 1 is the mean, pale; T -> 0 the mode, vivid and patchy. Raises ValueError for a
    temperature <= 0.
    """
    shares = (logits / positive("temperature", temperature)).softmax(1)
    return torch.einsum("qc,nqhw->nchw", bins, shares)
