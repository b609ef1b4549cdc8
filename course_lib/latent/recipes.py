"""How the variational autoencoders of notebook 11 are built and trained."""

from torch import nn

from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.likelihoods import Bernoulli, Gaussian, binarise, dequantise
from course_lib.latent.vae import VAE
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.mlp import mlp
from course_lib.nets.vit import convolutions
from course_lib.recipe import Recipe, Size


def mlp_vae(dim: int, beta: float = 1.0, warm_up: float = 0.0) -> VAE:
    """Kingma & Welling's perceptrons for digits, with two hidden layers; pixels are
    drawn 0 or 1."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, 2 * dim, norm=None))
    decoder = nn.Sequential(
        mlp(dim, 256, 256, 784, norm=None), nn.Unflatten(1, (1, 28, 28))
    )
    return VAE(encoder, decoder, Bernoulli(), binarise, beta, warm_up)


def vae_plane() -> VAE:
    """Two latent dimensions: the plane of digits that one can walk through."""
    return mlp_vae(dim=2)


def vae() -> VAE:
    """Convolutions see 28, 14, 7 pixels, and back."""
    encoder = nn.Sequential(
        convolutions(16, 32, 32, channels=1),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 2 * 16),
    )
    decoder = nn.Sequential(
        from_vector(16, side=7, width=32), Decoder((32, 32, 16), outputs=1)
    )
    return VAE(encoder, decoder, Bernoulli(), binarise)


def colour_vae(likelihood: nn.Module, outputs: int = 3) -> VAE:
    """Convolutions for 32 x 32 colour pictures, a code of 64 numbers; the decoder has
    `outputs` channels."""
    encoder = nn.Sequential(
        convolutions(24, 48, 48, 48), nn.Flatten(), nn.Linear(48 * 4 * 4, 2 * 64)
    )
    decoder = nn.Sequential(
        from_vector(64, side=4, width=48), Decoder((48, 48, 48, 24), outputs)
    )
    return VAE(encoder, decoder, likelihood, dequantise)


def vae_emoji() -> VAE:
    """One sigma for all pixels, learned: it becomes the error that the decoder cannot
    avoid."""
    return colour_vae(Gaussian(0.1, learned=True))


def conditional_vae() -> ConditionalVAE:
    """The digit's name is given, so the code, of 8 numbers, is left with its hand. The
    head needs a hidden layer: a linear one can only shift what it reads by what the
    label says."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, norm=None), nn.ReLU())
    decoder = nn.Sequential(
        mlp(8 + 10, 256, 256, 784, norm=None), nn.Unflatten(1, (1, 28, 28))
    )
    head = mlp(256 + 10, 128, 2 * 8, norm=None)
    return ConditionalVAE(
        encoder, head, decoder, Bernoulli(), classes=10, draw=binarise
    )


RECIPES = {
    "vae-plane": Recipe(
        vae_plane, "digits", cpu=Size(1500, 128, 2e-3), gpu=Size(1500, 128, 2e-3)
    ),
    "vae": Recipe(vae, "digits", cpu=Size(750, 128, 5e-3), gpu=Size(6000, 128, 5e-3)),
    "vae-emoji": Recipe(
        vae_emoji, "emoji_on_white", cpu=Size(600, 128, 5e-3), gpu=Size(6000, 128, 5e-3)
    ),
    "conditional-vae": Recipe(
        conditional_vae,
        "digits",
        cpu=Size(4500, 128, 2e-3),
        gpu=Size(4500, 128, 2e-3),
        has_representation=False,
    ),
}
