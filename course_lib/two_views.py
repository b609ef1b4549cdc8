"""The base class of methods that make two views of each image and compare their
projections."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.distributed import gather
from course_lib.train import Method


class TwoViews(Method):
    """A method with an encoder, a projector and a random augmentation.

    encoder f: images (N, C, H, W) -> h (N, D), the representation. projector g: h -> z
    (N, d), the input of the loss. augment: images -> one random view of each image.
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
        """Returns z1, z2 (N, d), the projections of the two views of all N images of
        all processes.

        The encoder gets both views in one batch. So BatchNorm uses the statistics of
        both. Raises ValueError for a single image: losses that compare images with each
        other then have no gradient.
        """
        z1, z2 = self.projector(self.encoder(torch.cat([view1, view2]))).chunk(2)
        z1, z2 = gather(z1), gather(z2)
        if len(z1) < 2:
            raise ValueError(
                "argument `x`: expected a batch of at least 2 images, because "
                f"{type(self).__name__} compares images with each other, got "
                f"{len(z1)}: give a larger batch_size"
            )
        return z1, z2

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
