"""Generative adversarial networks: a discriminator learns to distinguish real pictures
from those of a generator, and the generator learns to deceive it.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv 1406.2661, algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, number
from course_lib.evaluate import kernel_distance
from course_lib.gan.games import NON_SATURATING, Game
from course_lib.generator import sampling
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


class GAN(Method):
    """A generative adversarial network.

    generator: noise z (N, dim), standard normal, -> fakes (generated data) of the shape
    of the data. discriminator: data -> logits (N,). game: the losses of the
    discriminator and of the generator. k: the number of discriminator updates for each
    generator update. penalty: (discriminator, real, fake) -> a term, 0-d, that is added
    to the discriminator's loss.

    momentum: the momentum of the moving average of the generator's weights. In eval
    mode, a generator with the averaged weights generates the fakes. With momentum 0,
    the averaged weights are the current weights. The weights circle around the
    equilibrium, and the average of the weights is nearer to the equilibrium (Yazici et
    al. 2018, arXiv 1806.04498).

    augment: a differentiable augmentation, applied to all inputs of the discriminator,
    real and fake. With this augmentation, the discriminator cannot memorise a small
    data set so easily (Zhao et al. 2020, arXiv 2006.10738).

    Every update has its own batch and noise. Real pictures and fakes go through the
    discriminator in two separate batches, so that its BatchNorm never mixes them.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        dim: int,
        game: Game = NON_SATURATING,
        k: int = 1,
        penalty: Callable[[Callable, Tensor, Tensor], Tensor] | None = None,
        momentum: float = 0.0,
        augment: Callable[[Tensor], Tensor] = nn.Identity(),
    ):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.game, self.penalty = game, penalty
        self.dim, self.k = count("dim", dim), count("k", k)
        self.momentum, self.augment = number("momentum", momentum, 0, 1), augment
        self.average = frozen_copy(generator, training=False)

    def noise(self, n: int) -> Tensor:
        like = next(self.parameters())
        return torch.randn(n, self.dim, device=like.device, dtype=like.dtype)

    @property
    def active_generator(self) -> nn.Module:
        """The generator in training mode, its moving average in eval mode."""
        return self.generator if self.training else self.average

    def generate(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns the fakes that are generated from noise z (N, dim)."""
        return self.active_generator(z)

    @sampling
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Returns n fakes."""
        return self.generate(self.noise(n), y)

    def score(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns the discriminator's logits of pictures or fakes, (N,)."""
        return self.discriminator(x)

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            fake = self.generate(self.noise(len(x)), y)
        x, fake = self.augment(x), self.augment(fake)
        loss = self.game.discriminator(self.score(x, y), self.score(fake, y))
        if self.penalty:
            loss = loss + self.penalty(lambda points: self.score(points, y), x, fake)
        return loss

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        fake = self.generate(self.noise(len(x)), y)
        return self.game.generator(self.score(self.augment(fake), y))

    def turns(self):
        discriminator = list(self.discriminator.parameters())
        generator = list(self.generator.parameters())
        discriminator_turns = [(self.discriminator_loss, discriminator)] * self.k
        return [*discriminator_turns, (self.generator_loss, generator)]

    def after_step(self):
        ema(self.average, self.generator, self.momentum)

    def encode(self, x: Tensor) -> Tensor:
        """Returns the discriminator's features. The discriminator learnt these features
        in order to distinguish real data from fakes."""
        return self.discriminator.features(x)

    def pretext_score(self, x: Tensor, y: Tensor | None = None) -> float:
        """Returns minus the kernel distance between x and fakes, with as many fakes as
        rows of x. The distance is computed on the data themselves (for digits, on the
        pixels), not on features."""
        return -kernel_distance(x.flatten(1), self.sample(len(x), y).flatten(1))
