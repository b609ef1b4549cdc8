"""BiGAN: a GAN with an encoder. The discriminator gets pairs of a picture and a code,
and decides whether the encoder or the generator made the pair.

Donahue, Krähenbühl, Darrell 2016, "Adversarial Feature Learning", arXiv 1605.09782,
equations 2 to 5; Dumoulin et al. 2016, "Adversarially Learned Inference", arXiv
1606.00704, the same idea. At the optimum, the encoder inverts the generator (theorem
2), although the loss never compares a picture with its reconstruction.
"""

import torch
from torch import Tensor, nn

from course_lib.gan.games import NON_SATURATING, Game
from course_lib.gan.gan import GAN


class PairDiscriminator(nn.Module):
    """Pictures and codes (N, dim) -> logits (N,).

    trunk: pictures -> features (N, F). head: features and codes, concatenated to (N, F
    + dim), -> (N, 1).
    """

    def __init__(self, trunk: nn.Module, head: nn.Module):
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.head(torch.cat([self.trunk(x), z], 1)).squeeze(1)


class BiGAN(GAN):
    """A GAN whose discriminator compares pairs (x, E(x)) with pairs (G(z), z).

    encoder E: x -> z. generator G: z -> x. discriminator: pairs (x, z) -> logits, which
    it makes high for (x, E(x)) and low for (G(z), z). Generator and encoder are trained
    together, as one player: they want high logits for (G(z), z) and low ones for (x,
    E(x)).
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
        """Returns the discriminator's logits of (x, E(x)) and of (G(z), z), (N,)
        each."""
        z = self.noise(len(x))
        encoded = self.discriminator(x, self.encoder(x))
        generated = self.discriminator(self.generate(z), z)
        return encoded, generated

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.game.discriminator(*self.pair_logits(x))

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        encoded, generated = self.pair_logits(x)
        return self.game.generator(generated) + self.game.generator(-encoded)

    def turns(self):
        discriminator_turn, (loss, parameters) = super().turns()
        return [discriminator_turn, (loss, [*parameters, *self.encoder.parameters()])]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Returns G(E(x)). The loss does not require that it is like x."""
        return self.generate(self.encoder(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
