"""Recipes of notebook 14: how the diffusion models are built and trained."""

from course_lib.diffusion.ddpm import DDPM, V
from course_lib.diffusion.schedules import cosine_betas, linear_betas
from course_lib.nets.unet import UNet
from course_lib.recipe import Recipe, Size


def ddpm() -> DDPM:
    """Builds a DDPM with the paper's noise prediction and schedule. The U-Net computes
    its features of the digits on grids of 14 x 14 and 7 x 7."""
    return DDPM(UNet(1, (32, 64)), linear_betas())


def ddpm_emoji() -> DDPM:
    """Builds a DDPM for emoji that predicts v instead of the noise.

    The background of the pictures is exactly white, so the network must predict the
    white exactly, from the first sampling step on. The grids are 16 x 16 and 8 x 8.
    """
    return DDPM(UNet(3, (48, 96)), cosine_betas(), V)


RECIPES = {
    "ddpm": Recipe(
        ddpm,
        "digits",
        cpu=Size(400, 64, 2e-3),
        gpu=Size(20_000, 128, 1e-3),
        weight_decay=0.0,
    ),
    "ddpm-emoji": Recipe(
        ddpm_emoji,
        "emoji_on_white",
        cpu=Size(400, 64, 2e-3),
        gpu=Size(40_000, 128, 1e-3),
        weight_decay=0.0,
    ),
}
