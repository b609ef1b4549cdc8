"""Siamese networks: one network encodes two inputs. Two views of one picture should get
a lower energy than views of two pictures.

The energy is the squared distance of the two outputs. The triplet loss compares a
positive with one negative at a time (Schroff, Kalenichenko, Philbin 2015, "FaceNet",
arXiv 1503.03832, equation 3). The name "Siamese" comes from Bromley et al. 1993.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.losses import full_precision
from course_lib.two_views import TwoViews


@expects(anchor="float N D", same="float N D", other="float N D")
@full_precision
def triplet(anchor: Tensor, same: Tensor, other: Tensor, margin: float = 0.5) -> Tensor:
    """Returns mean_i max(0, energy(anchor_i, same_i) - energy(anchor_i, other_i) +
    margin), with energy(u, v) = ||u - v||^2.

    The vectors (N, D) are normalised to length 1 first. Energies are then 2 - 2 cos, in
    [0, 4]. Returns a 0-d loss; it is `margin` if all rows are equal. Raises ValueError
    for a margin <= 0.
    """
    positive("margin", margin)
    anchor, same, other = (F.normalize(z, dim=1) for z in (anchor, same, other))
    energy_same = (anchor - same).square().sum(1)  # (N,)
    energy_other = (anchor - other).square().sum(1)  # (N,)
    return F.relu(energy_same - energy_other + margin).mean()


class Siamese(TwoViews):
    """Trains an encoder with the triplet loss: two views of one picture must have a
    lower energy than views of two pictures, by a margin.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); augment:
    images -> a random view of each. The negative of each picture is the picture before
    it in the batch.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        margin: float = 0.5,
    ):
        super().__init__(encoder, projector, augment)
        self.margin = positive("margin", margin)

    def loss(self, x: Tensor, y=None) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return triplet(z1, z2, z2.roll(1, 0), self.margin)
