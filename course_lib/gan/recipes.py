"""Recipes of notebook 12: how its GANs are built and trained."""

from functools import partial

from torch import nn

from course_lib.augment import RandomShift
from course_lib.gan.bigan import BiGAN, PairDiscriminator
from course_lib.gan.conditional import (
    ConditionalBatchNorm,
    ConditionalGAN,
    ProjectionDiscriminator,
)
from course_lib.gan.games import WASSERSTEIN
from course_lib.gan.gan import GAN
from course_lib.gan.painting import (
    AdversarialPainting,
    fill_colour,
    fill_hole,
    hide_colour,
)
from course_lib.gan.progressive import (
    GrowingDiscriminator,
    GrowingGenerator,
    ProgressiveGAN,
)
from course_lib.gan.wgan import WGAN, GradientPenalty
from course_lib.nets.conv import Decoder
from course_lib.nets.dcgan import Discriminator, Generator
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.optim import Optimizers, adamw
from course_lib.pretext.context_encoder import hide_square
from course_lib.recipe import Recipe, Size


def gan(k: int = 1) -> GAN:
    """Builds a DCGAN with all its guidelines. The generator's grids have 7, 14 and 28
    pixels a side; the discriminator's grids go the opposite way."""
    return GAN(
        Generator(64, (48, 24), 1, side=7),
        Discriminator((24, 48), 1, 28),
        64,
        k=k,
        momentum=0.99,
    )


def wgan() -> WGAN:
    """Builds a WGAN with the networks of `gan`, without norms in the critic. Weights
    are clipped to 0.05 instead of the paper's 0.01, because with 0.01 the outputs of a
    small critic would vanish."""
    return WGAN(
        Generator(64, (48, 24), 1, side=7),
        Discriminator((24, 48), 1, 28, norm=nn.Identity),
        64,
        clip=0.05,
    )


def wgan_gp() -> GAN:
    """Builds the same networks, with a gradient penalty instead of clipped weights."""
    critic = Discriminator((24, 48), 1, 28, norm=nn.Identity)
    return GAN(
        Generator(64, (48, 24), 1, side=7),
        critic,
        64,
        WASSERSTEIN,
        k=5,
        penalty=GradientPenalty(10.0),
        momentum=0.9,
    )


def conditional_gan() -> ConditionalGAN:
    """Builds a conditional GAN. The label of the digit goes into every BatchNorm of the
    generator and, as a projection, into the discriminator."""
    generator = Generator(
        64, (48, 24), 1, side=7, norm=partial(ConditionalBatchNorm, classes=10)
    )
    discriminator = ProjectionDiscriminator(Discriminator((24, 48), 1, 28), classes=10)
    return ConditionalGAN(generator, discriminator, 64, momentum=0.99)


def gan_emoji() -> GAN:
    """Builds a DCGAN for emoji, with one more stage and three channels. The pictures
    are shifted at random, because there are only 4,000."""
    generator = Generator(64, (96, 48, 24), 3)
    discriminator = Discriminator((32, 64, 128), 3, 32)
    return GAN(generator, discriminator, 64, momentum=0.99, augment=RandomShift(4))


def conditional_gan_emoji() -> ConditionalGAN:
    """Builds the networks of `gan_emoji`, conditional on the category."""
    generator = Generator(
        64, (96, 48, 24), 3, norm=partial(ConditionalBatchNorm, classes=9)
    )
    discriminator = ProjectionDiscriminator(
        Discriminator((32, 64, 128), 3, 32), classes=9
    )
    return ConditionalGAN(
        generator, discriminator, 64, momentum=0.99, augment=RandomShift(4)
    )


def progressive_gan() -> ProgressiveGAN:
    """Builds a GAN that grows from 8 to 16 to 32 pixels. Its training takes about as
    long as that of `gan_emoji`."""
    widths = (64, 64, 32, 16)
    return ProgressiveGAN(
        GrowingGenerator(64, widths, 3),
        GrowingDiscriminator(widths, 3),
        64,
        momentum=0.99,
    )


def bigan() -> BiGAN:
    """Builds a BiGAN with the generator of `gan`, for codes of 32 numbers.

    Encoder and discriminator are perceptrons, as in the paper's experiment with digits.
    A convolutional discriminator distinguishes the two kinds of pairs too well, and
    then the encoder learns nothing.
    """
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 512, 512, 32))
    discriminator = PairDiscriminator(
        nn.Flatten(), mlp(784 + 32, 512, 512, 1, norm=None)
    )
    return BiGAN(
        encoder, Generator(32, (48, 24), 1, side=7), discriminator, 32, momentum=0.99
    )


def inpainting(weight: float) -> AdversarialPainting:
    """Builds the networks and the hole of the context encoder. The discriminator gets
    six channels: a picture, and what was left of it."""
    decoder = nn.Sequential(
        Decoder(widths=(96, 48, 24), outputs=12), nn.PixelShuffle(2)
    )
    hide = partial(hide_square, side=16)
    discriminator = Discriminator((24, 48, 96), 6, 32)
    return AdversarialPainting(
        hide, fill_hole, ResNet(widths=(24, 48, 96)), decoder, discriminator, weight
    )


def colouring(weight: float) -> AdversarialPainting:
    """Builds the networks of notebook 01's colourisation, whose outputs have a grid of
    16 x 16. They predict three colour channels instead of bins."""
    decoder = Decoder(widths=(96, 48, 24), outputs=3)
    discriminator = Discriminator((24, 48, 96), 6, 32)
    return AdversarialPainting(
        hide_colour,
        fill_colour,
        ResNet(widths=(24, 48, 96)),
        decoder,
        discriminator,
        weight,
    )


def adversarial_inpainting() -> AdversarialPainting:
    """Builds `inpainting` with ten times the adversarial weight of the paper, whose
    pictures are larger and in [-1, 1]."""
    return inpainting(weight=0.01)


def adversarial_colourisation() -> AdversarialPainting:
    """Builds `colouring` with the same adversarial weight."""
    return colouring(weight=0.01)


def adversarial(lr: float, weight_decay: float) -> Optimizers:
    """Adam with the small momentum of DCGAN, because the gradient keeps turning as the
    other player moves."""
    return adamw(lr, weight_decay, betas=(0.5, 0.999))


def without_momentum(lr: float, weight_decay: float) -> Optimizers:
    """Adam with beta_1 = 0, as in the paper of the gradient penalty. This is nearly
    RMSprop."""
    return adamw(lr, weight_decay, betas=(0.0, 0.9))


# recipes for methods of two players
game_recipe = partial(Recipe, optimizer=adversarial, weight_decay=0.0)
generator_recipe = partial(game_recipe, has_representation=False)

RECIPES = {
    "gan": generator_recipe(
        gan, "digits", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)
    ),
    "wgan": generator_recipe(
        wgan,
        "digits",
        cpu=Size(300, 64, 1e-3),
        gpu=Size(3000, 64, 1e-3),
        optimizer=without_momentum,
    ),
    "wgan-gp": generator_recipe(
        wgan_gp,
        "digits",
        cpu=Size(300, 64, 1e-3),
        gpu=Size(3000, 64, 1e-3),
        optimizer=without_momentum,
    ),
    "conditional-gan": generator_recipe(
        conditional_gan, "digits", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)
    ),
    "gan-emoji": generator_recipe(
        gan_emoji,
        "emoji_on_white",
        cpu=Size(1000, 64, 1e-3),
        gpu=Size(10_000, 64, 1e-3),
    ),
    "conditional-gan-emoji": generator_recipe(
        conditional_gan_emoji,
        "emoji_on_white",
        cpu=Size(1000, 64, 1e-3),
        gpu=Size(10_000, 64, 1e-3),
    ),
    "progressive-gan": generator_recipe(
        progressive_gan,
        "emoji_on_white",
        cpu=Size(1000, 64, 1e-3),
        gpu=Size(10_000, 64, 1e-3),
    ),
    "bigan": game_recipe(
        bigan, "digits", cpu=Size(1500, 64, 5e-4), gpu=Size(15_000, 64, 5e-4)
    ),
    "adversarial-inpainting": game_recipe(
        adversarial_inpainting,
        "emoji_on_white",
        cpu=Size(200, 128, 2e-3),
        gpu=Size(2000, 128, 2e-3),
    ),
    "adversarial-colourisation": game_recipe(
        adversarial_colourisation,
        "emoji_on_white",
        cpu=Size(200, 128, 2e-3),
        gpu=Size(2000, 128, 2e-3),
        beats_random_in=("knn",),
    ),
}
