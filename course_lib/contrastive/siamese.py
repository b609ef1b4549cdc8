"""Siamese networks: two inputs go through one network, and what belongs together gets
the lower energy.

Energy: the squared distance of the two outputs. Ranking it needs one negative at a time
(the triplet loss: Schroff, Kalenichenko, Philbin 2015, "FaceNet", arXiv 1503.03832,
equation 3). Bromley et al. 1993 gave the networks their name.
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
    """mean_i max(0, energy(anchor_i, same_i) - energy(anchor_i, other_i) + margin),
    energy(u, v) = ||u - v||^2.

    The vectors (N, D) are taken to unit length first, so that energies lie in [0, 4]
    and are 2 - 2 cos. Returns a 0-d loss, `margin` when all rows are equal. Raises
    ValueError for a margin <= 0.
    """
    positive("margin", margin)
    anchor, same, other = (F.normalize(z, dim=1) for z in (anchor, same, other))
    # (N,) each
    energy_same, energy_other = (
        (anchor - same).square().sum(1),
        (anchor - other).square().sum(1),
    )
    return F.relu(energy_same - energy_other + margin).mean()


class Siamese(TwoViews):
    """Two views of a picture must have a lower energy than views of two pictures, by a
    margin.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); augment:
    images -> a random view of each. The negative of each picture is the one before it
    in the batch.
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
