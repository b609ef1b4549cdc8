"""Colourisation: from a picture's lightness alone, the colour of every pixel, as a
class.

Zhang, Isola, Efros 2016, "Colorful Image Colorization", arXiv 1603.08511, equations 2
to 5. A mean of likely colours is grey; a distribution over colour bins is not, and rare
colours weigh more.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.colour import (
    annealed_mean,
    lab_to_rgb,
    nearest_bin,
    rebalancing_weights,
    rgb_to_lab,
    soft_bins,
)
from course_lib.data import as_float
from course_lib.evaluate import accuracy
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(logits="float N Q H W", shares="float N Q H W", weights="float Q")
@full_precision
def rebalanced_cross_entropy(logits: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the shares, each pixel weighted by its likeliest bin (equations
    2, 3); mean over pixels."""
    by_pixel = -(shares * logits.log_softmax(1)).sum(1)  # (N, H, W)
    return (weights[shares.argmax(1)] * by_pixel).mean()


class Colourisation(Method):
    """encoder: a ResNet for lightness (N, 1, H, W) in [0, 1]; decoder: its feature map
    -> logits (N, Q, h, w).

    bins (Q, 2): colours as from `ab_bins`; h divides H, the colours of a block are
    averaged. sigma: width of the soft encoding, half the bins' spacing in the paper.
    mix: of the rebalancing weights; before each epoch these are measured on the first
    2,000 pictures (the paper smooths the frequencies with a Gaussian first).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        bins: Tensor,
        sigma: float,
        mix: float = 0.5,
    ):
        super().__init__()
        self.encoder, self.decoder, self.mix = encoder, decoder, mix
        self.sigma = positive("sigma", sigma)
        self.register_buffer("bins", bins)
        self.register_buffer("weights", torch.ones(len(bins)))

    def before_epoch(self, data):
        _, ab = split(as_float(data.x[:2_000]))
        # (200, Q, H, W) numbers at a time
        parts = [nearest_bin(part, self.bins).flatten() for part in ab.split(200)]
        seen = torch.cat(parts).bincount(minlength=len(self.bins))
        self.weights.copy_(rebalancing_weights(seen / seen.sum(), self.mix))

    def colours(self, lightness: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) in [0, 1] -> logits (N, Q, h, w)."""
        return self.decoder(self.encoder.feature_map(lightness))

    def colourise(self, x: Tensor, temperature: float = 0.38) -> Tensor:
        """Pictures (N, 3, H, W) -> their lightness in the colours that the network
        gives it."""
        lightness, _ = split(x)
        ab = annealed_mean(self.colours(lightness), self.bins, temperature)
        return lab_to_rgb(
            torch.cat(
                [100 * lightness, F.interpolate(ab, x.shape[2:], mode="bilinear")], 1
            )
        )

    def loss(self, x: Tensor, y=None) -> Tensor:
        lightness, ab = split(x)
        logits = self.colours(lightness)
        shares = soft_bins(pooled(ab, logits), self.bins, sigma=self.sigma)
        return rebalanced_cross_entropy(logits, shares, self.weights)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(split(x)[0])

    def pretext_score(self, x: Tensor) -> float:
        """The share of pixels whose bin is the likeliest one, rare and common bins
        counted as they come."""
        lightness, ab = split(x)
        logits = self.colours(lightness)
        return accuracy(
            rearrange(logits, "n q h w -> (n h w) q"),
            nearest_bin(pooled(ab, logits), self.bins).flatten(),
        )


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """RGB (N, 3, H, W) in [0, 1] -> lightness (N, 1, H, W) in [0, 1] and colours ab (N,
    2, H, W)."""
    lightness, ab = rgb_to_lab(x).split([1, 2], 1)
    return lightness / 100, ab


def pooled(ab: Tensor, logits: Tensor) -> Tensor:
    """The mean colour of each block of pixels that one prediction stands for."""
    return F.adaptive_avg_pool2d(ab, logits.shape[2:])
