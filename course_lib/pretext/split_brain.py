"""Split-brain autoencoder: one half of the network predicts colour from lightness, the
other half predicts lightness from colour.

Zhang, Isola, Efros 2017, "Split-Brain Autoencoders: Unsupervised Learning by
Cross-Channel Prediction", arXiv 1611.09842, section 3.2. Neither half gets as input
what it has to predict. Together, their features describe the whole picture.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.colour import nearest_bin
from course_lib.evaluate import accuracy
from course_lib.pretext.colourisation import pooled, split
from course_lib.supervised import cross_entropy
from course_lib.train import Method


class SplitBrain(Method):
    """Trains two encoders, each to predict the other's input.

    from_l, from_ab: ResNets for 1 and 2 channels; to_ab, to_l: feature map -> logits of
    colour and lightness bins. bins (Q, 2): as from `ab_bins`. Lightness has bins of
    equal size, one for each output of `to_l`. Colours are divided by 100 before the
    encoder. The representation is [h_l, h_ab].
    """

    def __init__(
        self,
        from_l: nn.Module,
        from_ab: nn.Module,
        to_ab: nn.Module,
        to_l: nn.Module,
        bins: Tensor,
    ):
        super().__init__()
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.register_buffer("bins", bins)

    def tasks(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Returns (logits, classes) of the two predictions, first colour, then
        lightness, with one row for each position."""
        lightness, ab = split(x)
        ab_logits = self.to_ab(self.from_l.feature_map(lightness))
        l_logits = self.to_l(self.from_ab.feature_map(ab / 100))
        steps = l_logits.shape[1]
        ab_class = nearest_bin(pooled(ab, ab_logits), self.bins)
        l_class = (pooled(lightness, l_logits)[:, 0] * steps).long().clamp(0, steps - 1)
        return [
            (rearrange(logits, "n q h w -> (n h w) q"), classes.flatten())
            for logits, classes in ((ab_logits, ab_class), (l_logits, l_class))
        ]

    def loss(self, x: Tensor, y=None) -> Tensor:
        return sum(cross_entropy(*task) for task in self.tasks(x))

    def encode(self, x: Tensor) -> Tensor:
        lightness, ab = split(x)
        return torch.cat([self.from_l(lightness), self.from_ab(ab / 100)], 1)

    def pretext_score(self, x: Tensor) -> float:
        """Returns the fraction of positions whose most likely bin is the correct one,
        averaged over the two predictions."""
        return sum(accuracy(*task) for task in self.tasks(x)) / 2
