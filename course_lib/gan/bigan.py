"""BiGAN: an encoder in the game. The discriminator sees pairs of picture and code, and
must tell who made which half.

Donahue, Krähenbühl, Darrell 2016, "Adversarial Feature Learning", arXiv 1605.09782,
equations 2 to 5; Dumoulin et al. 2016, "Adversarially Learned Inference", arXiv
1606.00704, the same idea. At the optimum the encoder inverts the generator (theorem 2),
though no picture is ever compared with its reconstruction.
"""

import torch
from torch import Tensor, nn

from course_lib.gan.games import NON_SATURATING, Game
from course_lib.gan.gan import GAN


class PairDiscriminator(nn.Module):
    """trunk: pictures -> features (N, F); head: features and codes side by side, (N, F
    + dim), -> (N, 1)."""

    def __init__(self, trunk: nn.Module, head: nn.Module):
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.head(torch.cat([self.trunk(x), z], 1)).squeeze(1)


class BiGAN(GAN):
    """generator: z -> x, encoder: x -> z; discriminator: pairs (x, z) -> logits, high
    for (x, E(x)), low for (G(z), z).

    Generator and encoder are one player, who wants the two kinds of pairs exchanged.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        discriminator: PairDiscriminator,
        dim: int,
        game: Game = NON_SATURATING,
        momentum: float = 0.0,
    ):
        super().__init__(generator, discriminator, dim, game, momentum=momentum)
        self.encoder = encoder

    def pair_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's logits of (x, E(x)) and of (G(z), z), (N,) each."""
        z = self.noise(len(x))
        return self.discriminator(x, self.encoder(x)), self.discriminator(
            self.generate(z), z
        )

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.game.discriminator(*self.pair_logits(x))

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        encoded, generated = self.pair_logits(x)
        return self.game.generator(generated) + self.game.generator(-encoded)

    def turns(self):
        discriminator_turn, (loss, parameters) = super().turns()
        return [discriminator_turn, (loss, [*parameters, *self.encoder.parameters()])]

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(E(x)): nobody asked for it to be like x."""
        return self.generate(self.encoder(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
