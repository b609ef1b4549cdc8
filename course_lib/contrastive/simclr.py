"""SimCLR: two views of one picture should be each other's nearest neighbours among all the views of the batch.

Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv 2002.05709, Algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import positive
from course_lib.distributed import gather
from course_lib.losses import nt_xent
from course_lib.train import Method


class SimCLR(Method):
    """encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); augment: images -> a random view of each.

    z is what the loss sees; h is the representation, g is thrown away after training.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, augment: Callable[[Tensor], Tensor], temperature: float = 0.5
    ):
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment
        self.temperature = positive("temperature", temperature)

    def project(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
        """z1, z2 (N, d) of all processes' pictures; one call of the encoder, so that BatchNorm sees both views."""
        z1, z2 = self.projector(self.encoder(torch.cat([view1, view2]))).chunk(2)  # of (2N, d)
        return gather(z1), gather(z2)

    def loss(self, x: Tensor, y=None) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return nt_xent(z1, z2, self.temperature)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
