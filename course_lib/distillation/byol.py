"""BYOL: an online network gets one view of a picture, and a target network gets another
view. The online network learns to predict the output of the target network. The target
network is a moving average of the online network. BYOL needs no negatives.

Grill et al. 2020, "Bootstrap Your Own Latent: A New Approach to Self-Supervised
Learning", arXiv 2006.07733, section 3.1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, number
from course_lib.losses import full_precision
from course_lib.teacher import cosine_momentum, ema, frozen_copy
from course_lib.two_views import TwoViews


@expects(prediction="float N D", target="float N D")
@full_precision
def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns ||p - z||^2 of the unit vectors p and z, averaged over the batch
    (equation 2).

    prediction (N, D): predictions from one view; p is a prediction, normalised. target
    (N, D): outputs of the target network for the other view; z is such an output,
    normalised. Returns a 0-d loss in [0, 4], because ||p - z||^2 is 2 - 2 cos(p, z). No
    gradient reaches the target.
    """
    p, z = F.normalize(prediction, dim=1), F.normalize(target.detach(), dim=1)
    return (p - z).square().sum(1).mean()


class BYOL(TwoViews):
    """Trains an encoder to predict the target network's projection of another view.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); predictor q:
    z -> prediction of the other view's z. augment: images -> a random view of each.
    momentum: the momentum of the target network's moving average at the start of
    training. The momentum rises to 1 along a cosine.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        augment: Callable[[Tensor], Tensor],
        momentum: float = 0.996,
    ):
        super().__init__(encoder, projector, augment)
        self.predictor = predictor
        self.target = frozen_copy(nn.Sequential(encoder, projector), training=True)
        self.momentum = number("momentum", momentum, 0, 1)

    def loss(self, x: Tensor, y=None) -> Tensor:
        views = torch.cat([self.augment(x), self.augment(x)])  # (2N, C, H, W)
        p1, p2 = self.predictor(self.projector(self.encoder(views))).chunk(2)
        z1, z2 = self.target(views).chunk(2)
        return byol_loss(p1, z2) + byol_loss(p2, z1)

    def after_step(self):
        online = nn.Sequential(self.encoder, self.projector)
        ema(self.target, online, cosine_momentum(self.momentum, self.progress))
