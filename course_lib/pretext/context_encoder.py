"""Context encoders: hide a part of the picture and paint what was there.

Pathak, Krähenbühl, Donahue, Darrell, Efros 2016, "Context Encoders: Feature Learning by
Inpainting", arXiv 1604.07379, equation 1. Its second, adversarial term makes the
paintings sharp; the features come from the first.
"""

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.losses import full_precision
from course_lib.train import Method
from course_lib.transforms import erase


@expects(prediction="float N C H W", target="float N C H W", mask="bool N 1 H W")
@full_precision
def masked_reconstruction(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the pixels that were hidden (mask True), all of the batch
    alike: 0-d, 0 if none was."""
    error = (prediction - target).square() * mask
    return error.sum() / (mask.sum() * target.shape[1]).clamp(min=1)


def hide_square(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, C, H, W) with a square hole of the batch's mean colour somewhere in
    each, and the holes, bool (N, 1, H, W), True inside. Raises ValueError for a side
    larger than the picture."""
    count("side", side, min(x.shape[-2:]))
    top, left = (
        torch.randint(length - side + 1, (len(x),), device=x.device)
        for length in x.shape[-2:]
    )
    sides = torch.full_like(top, side)
    mask = (
        erase(
            torch.zeros_like(x[:, :1]),
            torch.stack([top, left, sides, sides], 1),
            value=1,
        )
        > 0
    )
    return torch.where(mask, x.mean((0, 2, 3), keepdim=True), x), mask


class ContextEncoder(Method):
    """encoder: a ResNet, whose feature map the decoder turns into images; hidden: side
    of the hidden square, in pixels.

    The square lies anywhere in the picture and is filled with the batch's mean colour.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, hidden: int):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.hidden = count("hidden", hidden)

    def hide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`hide_square` of this side."""
        return hide_square(x, self.hidden)

    def paint(self, holed: Tensor) -> Tensor:
        """The whole picture as the network imagines it; only what was hidden counts."""
        return self.decoder(self.encoder.feature_map(holed))

    def loss(self, x: Tensor, y=None) -> Tensor:
        holed, mask = self.hide(x)
        return masked_reconstruction(self.paint(holed), x, mask)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> Tensor:
        """The share of the hidden pixels' variance about the mean colour that the
        painting explains."""
        holed, mask = self.hide(x)
        return 1 - masked_reconstruction(
            self.paint(holed), x, mask
        ) / masked_reconstruction(holed, x, mask)
