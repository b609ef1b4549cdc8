"""MoCo v3: the keys of the batch are the only candidates, and a predictor follows the
query network. It needs no queue, because the batches are large.

Chen, Xie, He 2021, "An Empirical Study of Training Self-Supervised Vision
Transformers", arXiv 2104.02057, Algorithm 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, number, positive
from course_lib.distributed import gather
from course_lib.losses import full_precision, info_nce
from course_lib.teacher import cosine_momentum, ema, frozen_copy
from course_lib.two_views import TwoViews


@expects(q="float N D", k="float N D")
@full_precision
def moco_v3_loss(q: Tensor, k: Tensor, temperature: float = 0.2) -> Tensor:
    """Returns 2 tau times InfoNCE of queries q against keys k (`ctr` of Algorithm 1).

    q, k (N, D): row i of both comes from image i; they are normalised here. The other
    N - 1 keys are the negatives of a query. The factor 2 tau makes the size of the
    gradient depend less on the temperature tau. Returns a 0-d loss; it is 2 tau log N
    if all rows are equal. No gradient reaches k. Raises ValueError for a
    temperature <= 0.
    """
    positive("temperature", temperature)
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    return 2 * temperature * info_nce(q @ k.T / temperature)


class MoCoV3(TwoViews):
    """Trains an encoder by momentum contrast without a queue. The loss is symmetric:
    each view is a query once and a key once.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); predictor:
    z -> query (N, d). augment: images -> a random view of each. momentum: of the moving
    average of f and g that makes the keys, at the start; it rises to 1 along a cosine.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        augment: Callable[[Tensor], Tensor],
        temperature: float = 0.2,
        momentum: float = 0.99,
    ):
        super().__init__(encoder, projector, augment)
        self.predictor = predictor
        self.key = frozen_copy(nn.Sequential(encoder, projector), training=True)
        self.temperature = positive("temperature", temperature)
        self.momentum = number("momentum", momentum, 0, 1)

    def loss(self, x: Tensor, y=None) -> Tensor:
        view1, view2 = self.augment(x), self.augment(x)
        q1, q2 = map(self.predictor, self.project(view1, view2))
        k1, k2 = map(gather, self.key(torch.cat([view1, view2])).chunk(2))
        return moco_v3_loss(q1, k2, self.temperature) + moco_v3_loss(
            q2, k1, self.temperature
        )

    def after_step(self):
        online = nn.Sequential(self.encoder, self.projector)
        ema(self.key, online, cosine_momentum(self.momentum, self.progress))
