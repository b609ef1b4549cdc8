"""Barlow Twins: each feature should correlate with itself across two views, and with no
other feature.

Zbontar, Jing, Misra, LeCun, Deny 2021, "Barlow Twins: Self-Supervised Learning via
Redundancy Reduction", arXiv 2103.03230, Algorithm 1.
"""

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.losses import full_precision
from course_lib.two_views import TwoViews


@expects(z1="float N D", z2="float N D")
@full_precision
def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """Returns C (D, D) in [-1, 1]: C_ij is the correlation, over the batch, of feature
    i in one view with feature j in the other.

    z1, z2 (N, D): projections of two views. A feature that is constant over the batch
    has correlation 0 with all features.
    """
    # twice: rounding of a large mean leaves the same offset in all rows, and this
    # offset would count as correlation
    for _ in range(2):
        z1, z2 = z1 - z1.mean(0), z2 - z2.mean(0)
    covariance = z1.T @ z2 / len(z1)  # (D, D)
    # (D,) each; divided by N, not by N - 1
    spread1, spread2 = (z.square().mean(0).clamp(min=1e-12).sqrt() for z in (z1, z2))
    return covariance / (spread1[:, None] * spread2)


@expects(z1="float N D", z2="float N D")
@full_precision
def barlow_twins_loss(z1: Tensor, z2: Tensor, off_diagonal: float = 5e-3) -> Tensor:
    """Returns sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2, a 0-d loss (equation 1).
    It is 0 if C (D, D) is the identity matrix.

    off_diagonal: the paper's lambda. Raises ValueError for off_diagonal <= 0.
    """
    positive("off_diagonal", off_diagonal)
    c = cross_correlation(z1, z2)
    diagonal = c.diagonal()
    redundancy = c.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal * redundancy


class BarlowTwins(TwoViews):
    """Trains an encoder with the Barlow Twins loss of two views of each picture.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d), with a large
    d; augment: images -> a random view of each.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        off_diagonal: float = 5e-3,
    ):
        super().__init__(encoder, projector, augment)
        self.off_diagonal = positive("off_diagonal", off_diagonal)

    def loss(self, x: Tensor, y=None) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return barlow_twins_loss(z1, z2, self.off_diagonal)
