"""SimCLR: two views of one picture should be nearest neighbours of each other among all
views of the batch.

Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of
Visual Representations", arXiv 2002.05709, Algorithm 1.
"""

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.checks import positive
from course_lib.losses import nt_xent
from course_lib.two_views import TwoViews


class SimCLR(TwoViews):
    """Trains an encoder with the NT-Xent loss of two views of each picture.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); augment:
    images -> a random view of each. The loss compares the z. The representation is h; g
    is not used after training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        temperature: float = 0.5,
    ):
        super().__init__(encoder, projector, augment)
        self.temperature = positive("temperature", temperature)

    def loss(self, x: Tensor, y=None) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return nt_xent(z1, z2, self.temperature)
