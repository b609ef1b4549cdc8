"""What the methods share that make two views of each picture and compare their
projections."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.distributed import gather
from course_lib.train import Method


class TwoViews(Method):
    """encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> z (N, d); augment:
    images -> a random view of each.

    A loss sees z; h is the representation.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment

    def project(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
        """z1, z2 (N, d) of all processes' pictures; one call of the encoder, so that
        BatchNorm sees both views."""
        # of (2N, d)
        z1, z2 = self.projector(self.encoder(torch.cat([view1, view2]))).chunk(2)
        return gather(z1), gather(z2)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
