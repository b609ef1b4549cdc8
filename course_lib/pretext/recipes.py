"""How the pretext tasks of notebook 01 are built and trained."""

from torch import nn

from course_lib.augment import GaussianNoise
from course_lib.colour import ab_bins
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.pretext.autoencoder import Autoencoder
from course_lib.pretext.colourisation import Colourisation
from course_lib.pretext.context_encoder import ContextEncoder
from course_lib.pretext.jigsaw import Jigsaw, permutation_set
from course_lib.pretext.patch_location import PatchLocation
from course_lib.pretext.rotation import Rotation
from course_lib.pretext.split_brain import SplitBrain
from course_lib.recipe import Recipe, Size


def autoencoder() -> Autoencoder:
    """Returns an autoencoder whose code has 96 numbers, 1/32 of the picture's 3,072.
    The decoder gets only this code."""
    encoder = ResNet(widths=(24, 48, 96))
    # a grid of 16 x 16 positions with four pixels of three channels each
    decoder = Decoder(widths=(96, 48, 24), outputs=12)
    return Autoencoder(
        encoder, nn.Sequential(from_vector(encoder.dim), decoder, nn.PixelShuffle(2))
    )


def denoising_autoencoder() -> Autoencoder:
    """Returns an autoencoder with the same networks. Noise is added to the encoder's
    input."""
    plain = autoencoder()
    return Autoencoder(plain.encoder, plain.decoder, corrupt=GaussianNoise(0.2))


def context_encoder() -> ContextEncoder:
    """Returns a context encoder with a hole of a quarter of the picture. The decoder
    gets the whole feature map, 4 x 4 x 96."""
    decoder = Decoder(widths=(96, 48, 24), outputs=12)
    return ContextEncoder(
        ResNet(widths=(24, 48, 96)),
        nn.Sequential(decoder, nn.PixelShuffle(2)),
        hidden=16,
    )


def rotation() -> Rotation:
    """Returns RotNet. Each picture of the batch appears in all four rotations, as in
    the paper."""
    encoder = ResNet(widths=(24, 48, 96))
    return Rotation(encoder, nn.Linear(encoder.dim, 4))


def patch_location() -> PatchLocation:
    """Returns patch location with patches of 8 x 8, gaps of 3 and jitter of 1. Three
    such patches just fit into 32 pixels."""
    encoder = ResNet(widths=(24, 48, 96))
    return PatchLocation(
        encoder, mlp(2 * encoder.dim, 192, 8), patch=8, gap=3, jitter=1
    )


def jigsaw() -> Jigsaw:
    """Returns Jigsaw with nine tiles of 8 x 8 in cells of 10 x 10 and with 64 of the
    362,880 permutations."""
    encoder = ResNet(widths=(24, 48, 96))
    return Jigsaw(
        encoder, mlp(9 * encoder.dim, 128, 64), permutation_set(9, 64), tile=8
    )


def colourisation() -> Colourisation:
    """Returns colourisation with colour bins of side 20 (the paper: 10), predicted on a
    grid of 16 x 16."""
    bins = ab_bins(spacing=20)
    encoder = ResNet(widths=(24, 48, 96), channels=1)
    return Colourisation(
        encoder, Decoder(widths=(96, 48, 24), outputs=len(bins)), bins, sigma=10
    )


def split_brain() -> SplitBrain:
    """Returns a split-brain autoencoder with two encoders of half the width. Together
    they have 96 features, as many as in every other method."""
    bins = ab_bins(spacing=20)
    from_l = ResNet(widths=(12, 24, 48), channels=1)
    from_ab = ResNet(widths=(12, 24, 48), channels=2)
    to_ab = Decoder(widths=(48, 24, 24), outputs=len(bins))
    to_l = Decoder(widths=(48, 24, 24), outputs=20)
    return SplitBrain(from_l, from_ab, to_ab, to_l, bins)


RECIPES = {
    "autoencoder": Recipe(
        autoencoder,
        "scenes",
        cpu=Size(300, 256, 5e-3),
        gpu=Size(3000, 512, 5e-3),
        beats_random_in=("knn",),
    ),
    "denoising-autoencoder": Recipe(
        denoising_autoencoder,
        "scenes",
        cpu=Size(300, 256, 5e-3),
        gpu=Size(3000, 512, 5e-3),
        beats_random_in=("knn",),
    ),
    "context-encoder": Recipe(
        context_encoder, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "rotation": Recipe(
        rotation, "scenes", cpu=Size(300, 64, 5e-3), gpu=Size(3000, 128, 5e-3)
    ),
    "patch-location": Recipe(
        patch_location, "scenes", cpu=Size(600, 256, 5e-3), gpu=Size(6000, 512, 5e-3)
    ),
    "jigsaw": Recipe(
        jigsaw,
        "scenes",
        cpu=Size(300, 256, 5e-3),
        gpu=Size(3000, 512, 5e-3),
        beats_random_in=("probe",),
    ),
    "colourisation": Recipe(
        colourisation, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "split-brain": Recipe(
        split_brain, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
}
