"""Colourisation: the network gets only the lightness of a picture and predicts the
colour of every pixel, as a class.

Zhang, Isola, Efros 2016, "Colorful Image Colorization", arXiv 1603.08511, equations 2
to 5. The mean of several likely colours is grey, so the network predicts a distribution
over colour bins instead. Rare colours have a larger weight in the loss.
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
    """Returns the cross-entropy of the logits with the target distributions `shares`,
    averaged over pixels. Each pixel has the weight of its most likely bin
    (equations 2, 3)."""
    by_pixel = -(shares * logits.log_softmax(1)).sum(1)  # (N, H, W)
    return (weights[shares.argmax(1)] * by_pixel).mean()


class Colourisation(Method):
    """Trains an encoder to predict colour bins from lightness.

    encoder: a ResNet for lightness (N, 1, H, W) in [0, 1]; decoder: its feature map ->
    logits (N, Q, h, w), where h divides H. The target of each position is the mean
    colour of its block of pixels. bins (Q, 2): colours, as from `ab_bins`. sigma: width
    of the soft encoding; the paper uses half the bins' spacing. mix: lambda of the
    rebalancing weights. Before each epoch the weights are computed from the colours of
    the first 2,000 pictures. (The paper first smooths the frequencies with a Gaussian.)
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
        """Computes the rebalancing weights from the first 2,000 pictures."""
        _, ab = split(as_float(data.x[:2_000]))
        # 200 pictures at a time: `nearest_bin` needs (200, Q, H, W) numbers
        parts = [nearest_bin(part, self.bins).flatten() for part in ab.split(200)]
        seen = torch.cat(parts).bincount(minlength=len(self.bins))
        self.weights.copy_(rebalancing_weights(seen / seen.sum(), self.mix))

    def colours(self, lightness: Tensor) -> Tensor:
        """Returns the logits (N, Q, h, w) for lightness (N, 1, H, W) in [0, 1]."""
        return self.decoder(self.encoder.feature_map(lightness))

    def colourise(self, x: Tensor, temperature: float = 0.38) -> Tensor:
        """Returns pictures (N, 3, H, W) with the lightness of x and the predicted
        colours."""
        lightness, _ = split(x)
        ab = annealed_mean(self.colours(lightness), self.bins, temperature)
        ab = F.interpolate(ab, x.shape[2:], mode="bilinear")
        return lab_to_rgb(torch.cat([100 * lightness, ab], 1))

    def loss(self, x: Tensor, y=None) -> Tensor:
        lightness, ab = split(x)
        logits = self.colours(lightness)
        shares = soft_bins(pooled(ab, logits), self.bins, sigma=self.sigma)
        return rebalanced_cross_entropy(logits, shares, self.weights)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(split(x)[0])

    def pretext_score(self, x: Tensor) -> float:
        """Returns the fraction of positions whose most likely bin is the correct one.
        Positions with rare and with common colours have the same weight."""
        lightness, ab = split(x)
        logits = self.colours(lightness)
        return accuracy(
            rearrange(logits, "n q h w -> (n h w) q"),
            nearest_bin(pooled(ab, logits), self.bins).flatten(),
        )


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Splits RGB (N, 3, H, W) in [0, 1] into lightness (N, 1, H, W) in [0, 1] and
    colours ab (N, 2, H, W)."""
    lightness, ab = rgb_to_lab(x).split([1, 2], 1)
    return lightness / 100, ab


def pooled(ab: Tensor, logits: Tensor) -> Tensor:
    """Returns the mean colour of each block of pixels that has one prediction."""
    return F.adaptive_avg_pool2d(ab, logits.shape[2:])
