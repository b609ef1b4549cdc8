"""Experiments of notebook 12 with toys: modes of mixtures of Gaussians, by a plain GAN
and by WGAN-GP.

Goodfellow et al. 2014 (arXiv 1406.2661), Gulrajani et al. 2017 (arXiv 1704.00028).
"""

from functools import partial

import torch
from torch import nn

from course_lib import evaluate
from course_lib.data.toys import CENTRES, NOISE
from course_lib.experiments.jobs import train_to_the_end
from course_lib.experiments.judge import gan_draws
from course_lib.experiments.setting import Setting
from course_lib.gan.games import NON_SATURATING, WASSERSTEIN
from course_lib.gan.gan import GAN
from course_lib.gan.recipes import adversarial, generator_recipe, without_momentum
from course_lib.gan.wgan import GradientPenalty
from course_lib.nets.mlp import mlp
from course_lib.recipe import Recipe, Size

POINTS = 4000  # drawn from the generator of a toy


# Measure and job.


def coverage(method: GAN, data: str) -> dict[str, float]:
    """Returns `evaluate.mode_coverage` of POINTS fakes, with a radius of three standard
    deviations. modes: the fraction of the modes that are found. inside: the fraction of
    the fakes that lie in a mode."""
    centres = CENTRES[data]()
    modes, share = evaluate.mode_coverage(
        gan_draws(method, torch.zeros(POINTS, dtype=torch.long)), centres, 3 * NOISE
    )
    return {"modes": modes / len(centres), "inside": share}


def covered(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | coverage(method, recipe.data)


# Builder and recipes.


def toy_gan(wasserstein: bool, k: int, weight: float) -> GAN:
    """Builds a GAN of perceptrons for points of the plane. The noise also has two
    dimensions. weight: the weight of the gradient penalty. With weight 0, there is no
    penalty."""
    generator = mlp(2, 128, 128, 2, norm=None)
    discriminator = nn.Sequential(mlp(2, 128, 128, 1, norm=None), nn.Flatten(0))
    game = WASSERSTEIN if wasserstein else NON_SATURATING
    return GAN(
        generator,
        discriminator,
        2,
        game,
        k,
        GradientPenalty(weight) if weight else None,
    )


def toy(data: str, wasserstein: bool, k: int, weight: float, lr: float) -> Recipe:
    """Returns the recipe of `toy_gan`, with 9,000 turns in all: in each update, the
    discriminator has k turns and the generator one."""
    size = Size(9000 // (k + 1), 256, lr)
    return generator_recipe(
        partial(toy_gan, wasserstein, k, weight),
        data,
        cpu=size,
        gpu=size,
        optimizer=without_momentum if wasserstein else adversarial,
    )


# Six settings for each method on each toy, with one seed. The best setting of each
# method on each toy is run again with three other seeds ("gan-modes").
TUNED = {
    f"{data}, {name}, lr {lr:g}": toy(data, wasserstein, k, weight, lr)
    for data in ("gaussians", "grid")
    for lr in (3e-4, 1e-3, 3e-3)
    for name, wasserstein, k, weight in (
        ("plain, k = 1", False, 1, 0.0),
        ("plain, k = 5", False, 5, 0.0),
        ("WGAN-GP, lambda = 0.1", True, 5, 0.1),
        ("WGAN-GP, lambda = 1", True, 5, 1.0),
    )
}
BEST = {  # the setting that finds all modes and has the most points inside one
    "8 Gaussians, plain": "gaussians, plain, k = 1, lr 0.003",
    "8 Gaussians, WGAN-GP": "gaussians, WGAN-GP, lambda = 1, lr 0.003",
    "25 Gaussians, plain": "grid, plain, k = 5, lr 0.001",
    "25 Gaussians, WGAN-GP": "grid, WGAN-GP, lambda = 0.1, lr 0.003",
}

EXPERIMENTS = {
    "gan-modes-tuning": {
        name: Setting(recipe, covered, seeds=(0,)) for name, recipe in TUNED.items()
    },
    "gan-modes": {
        name: Setting(TUNED[best], covered, seeds=(1, 2, 3))
        for name, best in BEST.items()
    },
}
