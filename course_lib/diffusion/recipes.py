"""How the diffusion models of notebook 14 are built and trained."""

from course_lib.diffusion.ddpm import DDPM, V
from course_lib.diffusion.schedules import cosine_betas, linear_betas
from course_lib.nets.unet import UNet
from course_lib.recipe import Recipe, Size


def ddpm() -> DDPM:
    """The paper's noise prediction and schedule; the U-Net looks at digits on grids of
    14 and 7."""
    return DDPM(UNet(1, (32, 64)), linear_betas())


def ddpm_emoji() -> DDPM:
    """v instead of noise: of colours on white the network must know the white exactly,
    from the first step on. Grids of 16 and 8."""
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
