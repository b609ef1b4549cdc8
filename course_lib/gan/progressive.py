"""Progressive growing: the networks learn 8 x 8 pictures first; then layers for 16 x 16
and for 32 x 32 are faded in.

Karras, Aila, Laine, Lehtinen 2017, "Progressive Growing of GANs for Improved Quality,
Stability, and Variation", arXiv 1710.10196, section 2 and figure 2. Its other parts
(equalised learning rates, pixel norm, minibatch statistics) are left out.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import number, positive
from course_lib.gan.games import NON_SATURATING, Game
from course_lib.gan.gan import GAN
from course_lib.nets.conv import from_vector
from course_lib.nets.dcgan import Stage, down, leaky_relu, normal_weights, pooled, up


def fade_in(progress: float, levels: int) -> tuple[int, float]:
    """Returns (level, alpha) at progress in [0, 1].

    Training has 2 levels - 1 phases of equal length. In turn, one level is trained
    alone (alpha = 1), or the next level is faded in: alpha grows from 0 to 1.
    """
    phase = number("progress", progress, 0, 1) * (2 * levels - 1)
    if phase >= 2 * levels - 2:
        return levels - 1, 1.0
    level, fading = divmod(int(phase), 2)
    return (level + 1, phase - int(phase)) if fading else (level, 1.0)


def blend(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    """Returns (1 - alpha) old + alpha new. old has half the side length, so its pixels
    are repeated."""
    return (1 - alpha) * F.interpolate(old, scale_factor=2) + alpha * new


class GrowingGenerator(nn.Module):
    """Noise z (N, dim) -> pictures (N, channels, S, S) in [0, 1].

    At level 0, S is 2 side, and it doubles with each level. Every level has its own
    last layer, which turns feature maps into colours.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], channels: int, side: int = 4):
        super().__init__()
        self.first = Stage(
            from_vector(dim, side, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        pairs = zip(widths, widths[1:])
        self.stages = nn.ModuleList(
            Stage(up(a, b), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairs
        )
        self.to_rgb = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, channels, 1), nn.Tanh()) for b in widths[1:]
        )
        normal_weights(self)

    def forward(self, z: Tensor, level: int, alpha: float) -> Tensor:
        x, pictures = self.first(z), None
        for k, stage in enumerate(self.stages[: level + 1]):
            x = stage(x)
            if k == level - 1 and alpha < 1:
                pictures = (self.to_rgb[k](x) + 1) / 2
        new = (self.to_rgb[level](x) + 1) / 2
        return new if pictures is None else blend(pictures, new, alpha)


class GrowingDiscriminator(nn.Module):
    """Pictures of the size of a level -> logits (N,). widths: coarse to fine, as in the
    generator."""

    def __init__(self, widths: tuple[int, ...], channels: int, side: int = 4):
        super().__init__()
        self.from_rgb = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, b, 1), leaky_relu()) for b in widths[1:]
        )
        self.stages = nn.ModuleList(
            Stage(down(b, a), nn.BatchNorm2d(a), leaky_relu())
            for a, b in zip(widths, widths[1:])
        )
        self.out = nn.Linear(widths[0] * side * side, 1)
        normal_weights(self)

    def maps(self, x: Tensor, level: int, alpha: float) -> list[Tensor]:
        """Returns the feature maps of all stages in use, from fine to coarse."""
        x = 2 * x - 1
        h = self.stages[level](self.from_rgb[level](x))
        if alpha < 1:
            h = (1 - alpha) * self.from_rgb[level - 1](F.avg_pool2d(x, 2)) + alpha * h
        found = [h]
        for k in reversed(range(level)):
            found.append(h := self.stages[k](h))
        return found

    def forward(self, x: Tensor, level: int, alpha: float) -> Tensor:
        return self.out(self.maps(x, level, alpha)[-1].flatten(1)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Returns features of full-sized pictures, computed as in
        `nets.dcgan.Discriminator.features`."""
        maps = self.maps(x, len(self.stages) - 1, 1.0)
        return pooled(maps)


class ProgressiveGAN(GAN):
    """A GAN whose networks grow with `progress`.

    They have their full size after the fraction `youth` of the training, and always in
    eval mode. Real pictures are reduced to the current size. While a level is faded in,
    they are blended with a coarser version, as the generated pictures are.
    """

    def __init__(
        self,
        generator: GrowingGenerator,
        discriminator: GrowingDiscriminator,
        dim: int,
        game: Game = NON_SATURATING,
        momentum: float = 0.0,
        youth: float = 0.5,
    ):
        super().__init__(generator, discriminator, dim, game, momentum=momentum)
        self.levels = len(generator.stages)
        self.youth = positive("youth", number("youth", youth, 0, 1))

    def grown(self) -> tuple[int, float]:
        """Returns the current level and alpha."""
        progress = min(1.0, self.progress / self.youth) if self.training else 1.0
        return fade_in(progress, self.levels)

    def shrink(self, x: Tensor) -> Tensor:
        """Reduces full-sized pictures to the size and sharpness of the current level
        and alpha."""
        level, alpha = self.grown()
        x = F.avg_pool2d(x, 2 ** (self.levels - 1 - level))
        return x if alpha == 1 else blend(F.avg_pool2d(x, 2), x, alpha)

    def generate(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.active_generator(z, *self.grown())

    def score(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.discriminator(x, *self.grown())

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().discriminator_loss(self.shrink(x), y)
