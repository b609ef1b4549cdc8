"""Context encoders: the network reconstructs a hidden part of a picture from the rest.

Pathak, Krähenbühl, Donahue, Darrell, Efros 2016, "Context Encoders: Feature Learning by
Inpainting", arXiv 1604.07379, equation 1: the reconstruction loss, with which the
features are learned. The paper's second loss is adversarial and makes the
reconstructions sharp.
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
    """Returns the mean squared error over all hidden pixels of the batch (mask True), a
    0-d loss; it is 0 if no pixel is hidden."""
    error = (prediction - target).square() * mask
    return error.sum() / (mask.sum() * target.shape[1]).clamp(min=1)


def hide_square(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Hides a square at a random place of each picture (N, C, H, W). Returns the
    pictures with the batch's mean colour in the squares, and the mask,
    bool (N, 1, H, W), True in the squares. Raises ValueError for a side larger than the
    picture."""
    count("side", side, min(x.shape[-2:]))
    top, left = (
        torch.randint(length - side + 1, (len(x),), device=x.device)
        for length in x.shape[-2:]
    )
    sides = torch.full_like(top, side)
    boxes = torch.stack([top, left, sides, sides], 1)  # (N, 4)
    mask = erase(torch.zeros_like(x[:, :1]), boxes, value=1) > 0
    return torch.where(mask, x.mean((0, 2, 3), keepdim=True), x), mask


class ContextEncoder(Method):
    """Trains an encoder to reconstruct a hidden square of each picture.

    encoder: a ResNet; decoder: its feature map -> images (N, C, H, W); hidden: side of
    the square in pixels. The square lies anywhere in the picture and is filled with the
    batch's mean colour.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, hidden: int):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.hidden = count("hidden", hidden)

    def hide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `hide_square` with a square of this method's side."""
        return hide_square(x, self.hidden)

    def paint(self, holed: Tensor) -> Tensor:
        """Returns the network's reconstruction of the whole picture. The loss uses only
        the hidden pixels."""
        return self.decoder(self.encoder.feature_map(holed))

    def loss(self, x: Tensor, y=None) -> Tensor:
        holed, mask = self.hide(x)
        return masked_reconstruction(self.paint(holed), x, mask)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> Tensor:
        """Returns the fraction of the hidden pixels' variance about the mean colour
        that the reconstruction explains."""
        holed, mask = self.hide(x)
        error = masked_reconstruction(self.paint(holed), x, mask)
        variance = masked_reconstruction(holed, x, mask)
        return 1 - error / variance
