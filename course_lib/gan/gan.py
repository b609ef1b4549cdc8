"""Generative adversarial networks: a generator and a discriminator, and neither is told
what a good picture is.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv 1406.2661, algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, number
from course_lib.evaluate import kernel_distance
from course_lib.gan.games import NON_SATURATING, Game
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


class GAN(Method):
    """generator: noise z (N, dim), standard normal, -> fakes like the data;
    discriminator: data -> logits (N,).

    game: the players' losses. k: turns of the discriminator for each one of the
    generator. penalty: (discriminator, real, fake) -> what is added to its loss, 0-d.
    momentum: of the moving average of the generator, which is what draws in eval mode
    (0: the generator itself); players circle around the equilibrium, their average is
    nearer to it (Yazici et al. 2018, arXiv 1806.04498). augment: what the discriminator
    sees of pictures and of fakes alike, differentiable: so it cannot learn a small data
    set by heart (Zhao et al. 2020, arXiv 2006.10738).

    Every turn has a batch and noise of its own. Real pictures and fakes go through the
    discriminator in two batches, so that its BatchNorm never mixes them.
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
        self.generator, self.discriminator, self.game, self.penalty = (
            generator,
            discriminator,
            game,
            penalty,
        )
        self.dim, self.k = count("dim", dim), count("k", k)
        self.momentum, self.augment = number("momentum", momentum, 0, 1), augment
        self.average = frozen_copy(generator, training=False)

    def noise(self, n: int) -> Tensor:
        like = next(self.parameters())
        return torch.randn(n, self.dim, device=like.device, dtype=like.dtype)

    @property
    def painter(self) -> nn.Module:
        """What draws: the generator, in eval mode its average."""
        return self.generator if self.training else self.average

    def generate(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Fakes of noise z (N, dim)."""
        return self.painter(z)

    def sample(self, n: int) -> Tensor:
        """n fakes."""
        return self.generate(self.noise(n))

    def score(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """What the discriminator says of pictures or fakes, (N,)."""
        return self.discriminator(x)

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            fake = self.generate(self.noise(len(x)), y)
        x, fake = self.augment(x), self.augment(fake)
        loss = self.game.discriminator(self.score(x, y), self.score(fake, y))
        return (
            loss + self.penalty(lambda between: self.score(between, y), x, fake)
            if self.penalty
            else loss
        )

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        fake = self.generate(self.noise(len(x)), y)
        return self.game.generator(self.score(self.augment(fake), y))

    def turns(self):
        discriminator, generator = (
            list(self.discriminator.parameters()),
            list(self.generator.parameters()),
        )
        return [(self.discriminator_loss, discriminator)] * self.k + [
            (self.generator_loss, generator)
        ]

    def after_step(self):
        ema(self.average, self.generator, self.momentum)

    def encode(self, x: Tensor) -> Tensor:
        """The discriminator's features: what one must look at to tell real from
        fake."""
        return self.discriminator.features(x)

    def pretext_score(self, x: Tensor) -> float:
        """Minus the kernel distance of as many fakes, on their numbers as they are: of
        digits, pixels."""
        return -kernel_distance(x.flatten(1), self.sample(len(x)).flatten(1))
