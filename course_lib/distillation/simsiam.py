"""SimSiam: BYOL without the moving average. The stop-gradient prevents collapse, that
is, the same output for all pictures.

Chen & He 2020, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566,
Algorithm 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.losses import full_precision
from course_lib.two_views import TwoViews


@expects(prediction="float N D", target="float N D")
@full_precision
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns -cos(p, z), averaged over the batch: a 0-d loss in [-1, 1] (equation 1).
    prediction, target (N, D) are p and z."""
    return -F.cosine_similarity(prediction, target, dim=1).mean()


class SimSiam(TwoViews):
    """Trains an encoder to predict the projection of another view by the same network.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); predictor:
    z -> prediction of the other view's z. augment: images -> a random view of each.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        augment: Callable[[Tensor], Tensor],
    ):
        super().__init__(encoder, projector, augment)
        self.predictor = predictor

    def target(self, z: Tensor) -> Tensor:
        return z.detach()  # the stop-gradient

    def loss(self, x: Tensor, y=None) -> Tensor:
        views = torch.cat([self.augment(x), self.augment(x)])  # (2N, C, H, W)
        z = self.projector(self.encoder(views))
        (z1, z2), (p1, p2) = self.target(z).chunk(2), self.predictor(z).chunk(2)
        return negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
