"""Completion of pictures (inpainting, colourisation) with two losses: the squared
error, and the adversarial loss of a discriminator.

Pathak et al. 2016, "Context Encoders", arXiv 1604.07379, equations 1 to 3 (inpainting).
Isola et al. 2016, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv 1611.07004, equations 1 to 4 (colourisation and many other tasks): the
discriminator also gets the input of the painter, the network that completes pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import number
from course_lib.gan.games import NON_SATURATING, Game
from course_lib.pretext.context_encoder import masked_reconstruction
from course_lib.train import Method
from course_lib.transforms import rgb_to_grayscale


def hide_colour(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pictures (N, 3, H, W) in grey, and a mask (N, 1, H, W) that is True
    everywhere, because every pixel needs a new colour."""
    grey = rgb_to_grayscale(x)
    return grey.expand_as(x), torch.ones_like(grey, dtype=torch.bool)


def fill_hole(output: Tensor, left: Tensor, mask: Tensor) -> Tensor:
    """Returns the output inside the hole and the given picture around it."""
    return torch.where(mask, output, left)


def fill_colour(output: Tensor, left: Tensor, mask: Tensor) -> Tensor:
    """Returns the grey picture `left` with the colours of the output, which may have
    another grid. Where the output is grey, so is the result."""
    colour = output - rgb_to_grayscale(output)
    return left + F.interpolate(colour, left.shape[2:], mode="bilinear")


class AdversarialPainting(Method):
    """Completes pictures of which a part is hidden, with a squared and an adversarial
    loss.

    hide: pictures (N, C, H, W) in [0, 1] -> what is left of them, of the same shape,
    and a mask (N, 1, H, W), True where a pixel is hidden. encoder, decoder: what is
    left -> an output. fill: the output, what is left, and the mask -> the completed
    picture. discriminator: (N, 2 C, H, W), a picture and what was left of it, -> logits
    (N,). weight: the weight of the adversarial term. The other term of the loss is the
    mean squared error over the hidden pixels.
    """

    def __init__(
        self,
        hide: Callable[[Tensor], tuple[Tensor, Tensor]],
        fill: Callable[[Tensor, Tensor, Tensor], Tensor],
        encoder: nn.Module,
        decoder: nn.Module,
        discriminator: nn.Module,
        weight: float,
        game: Game = NON_SATURATING,
    ):
        super().__init__()
        self.hide, self.fill, self.encoder, self.decoder = hide, fill, encoder, decoder
        self.discriminator, self.game = discriminator, game
        self.weight = number("weight", weight, 0)

    def paint(self, left: Tensor, mask: Tensor) -> Tensor:
        """Returns the completed pictures."""
        return self.fill(self.decoder(self.encoder.feature_map(left)), left, mask)

    def score(self, x: Tensor, left: Tensor) -> Tensor:
        return self.discriminator(torch.cat([x, left], 1))

    def discriminator_loss(self, x: Tensor, y=None) -> Tensor:
        left, mask = self.hide(x)
        with torch.no_grad():
            painted = self.paint(left, mask)
        return self.game.discriminator(self.score(x, left), self.score(painted, left))

    def painter_loss(self, x: Tensor, y=None) -> Tensor:
        left, mask = self.hide(x)
        painted = self.paint(left, mask)
        adversarial = (
            self.game.generator(self.score(painted, left)) if self.weight else 0.0
        )
        return masked_reconstruction(painted, x, mask) + self.weight * adversarial

    def turns(self):
        painter = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            (self.discriminator_loss, list(self.discriminator.parameters())),
            (self.painter_loss, painter),
        ]

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
