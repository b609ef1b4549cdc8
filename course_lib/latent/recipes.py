"""Recipes of notebook 11: how the variational autoencoders are built and trained."""

from torch import nn

from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.likelihoods import Bernoulli, Gaussian, binarise, dequantise
from course_lib.latent.vae import VAE
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.mlp import mlp
from course_lib.nets.vit import convolutions
from course_lib.recipe import Recipe, Size


def mlp_vae(dim: int, beta: float = 1.0, warm_up: float = 0.0) -> VAE:
    """Builds Kingma & Welling's perceptrons for digits, but with two hidden layers.
    Each pixel is drawn as 0 or 1."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, 2 * dim, norm=None))
    decoder = nn.Sequential(
        mlp(dim, 256, 256, 784, norm=None), nn.Unflatten(1, (1, 28, 28))
    )
    return VAE(encoder, decoder, Bernoulli(), binarise, beta, warm_up)


def vae_plane() -> VAE:
    """Builds a VAE with two latent dimensions, so that the whole latent space can be
    drawn as a plane of digits."""
    return mlp_vae(dim=2)


def vae() -> VAE:
    """Builds a convolutional VAE for digits. The encoder's grids have 28, 14 and 7
    pixels a side; the decoder's grids go the opposite way."""
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
    """Builds a convolutional VAE for 32 x 32 colour pictures, with 64 latent
    dimensions. The decoder has `outputs` channels."""
    encoder = nn.Sequential(
        convolutions(24, 48, 48, 48), nn.Flatten(), nn.Linear(48 * 4 * 4, 2 * 64)
    )
    decoder = nn.Sequential(
        from_vector(64, side=4, width=48), Decoder((48, 48, 48, 24), outputs)
    )
    return VAE(encoder, decoder, likelihood, dequantise)


def vae_emoji() -> VAE:
    """Builds a VAE for emoji with one learned sigma for all pixels. At the optimum,
    sigma is the root mean squared error of the decoder."""
    return colour_vae(Gaussian(0.1, learned=True))


def conditional_vae() -> ConditionalVAE:
    """Builds a conditional VAE for digits with 8 latent dimensions.

    The label is given, so z only has to describe the handwriting. The head needs a
    hidden layer: in a linear head, the label only adds a constant to the outputs.
    """
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
