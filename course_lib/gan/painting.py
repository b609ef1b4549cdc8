"""Painting what is missing, judged twice: by the squared error, and by a network that
tells paintings from pictures.

Pathak et al. 2016, "Context Encoders", arXiv 1604.07379, equations 1 to 3 (inpainting).
Isola et al. 2016, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv 1611.07004, equations 1 to 4: the discriminator sees what the painter saw, too
(colourisation and much else).
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
    """Pictures (N, 3, H, W) in grey, and a mask (N, 1, H, W) that is True everywhere:
    all is to be painted anew."""
    grey = rgb_to_grayscale(x)
    return grey.expand_as(x), torch.ones_like(grey, dtype=torch.bool)


def fill_hole(output: Tensor, left: Tensor, mask: Tensor) -> Tensor:
    """The output inside the hole, what is left around it."""
    return torch.where(mask, output, left)


def fill_colour(output: Tensor, left: Tensor, mask: Tensor) -> Tensor:
    """The output's colours, on whatever grid, at the lightness that is left: where they
    are grey, so is the picture."""
    colour = output - rgb_to_grayscale(output)
    return left + F.interpolate(colour, left.shape[2:], mode="bilinear")


class AdversarialPainting(Method):
    """hide: pictures (N, C, H, W) in [0, 1] -> what is left of them, like x, and mask
    (N, 1, H, W), True where it is to be painted; encoder, decoder: what is left -> an
    output, of which `fill` makes a picture; discriminator: (N, 2 C, H, W), a picture
    and what was left of it, -> logits (N,). weight: of the adversarial term beside the
    mean squared error over the hidden pixels."""

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
        self.discriminator, self.game, self.weight = (
            discriminator,
            game,
            number("weight", weight, 0),
        )

    def paint(self, left: Tensor, mask: Tensor) -> Tensor:
        """The completed picture."""
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
