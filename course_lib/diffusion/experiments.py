"""Experiments of notebook 14: what the network predicts, samplers and numbers of steps,
toys with a known score, comparisons with a VAE and a GAN.

Ho et al. 2020 (arXiv 2006.11239), tables 2 and 3. Song et al. 2020 (arXiv 2010.02502),
table 1.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from course_lib import evaluate, zoo
from course_lib.data import load
from course_lib.data.toys import CENTRES, NOISE
from course_lib.diffusion.bound import bits_per_dimension
from course_lib.diffusion.ddpm import DDPM, EPS, X0, V
from course_lib.diffusion.exact import MixtureNoise
from course_lib.diffusion.gaussians import q_sample
from course_lib.diffusion.next_step import NextStep, SaysNextStep
from course_lib.diffusion.samplers import ancestral, ddim, last
from course_lib.diffusion.schedules import cosine_betas, linear_betas
from course_lib.experiments.jobs import train_to_the_end
from course_lib.experiments.judge import (
    gan_draws,
    generation_metrics,
    prior_draws,
    some_of,
)
from course_lib.experiments.setting import Setting
from course_lib.latent.vae import VAE
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.unet import UNet
from course_lib.recipe import Recipe, Size, lookup
from course_lib.run import seeded

SAMPLES = 250  # pictures drawn to compare trained models
FEW_SAMPLES = 64  # to compare samplers, because some make 1,000 steps
POINTS = 4000  # drawn from the model of a toy
LEVELS = 10  # steps t at which the noise prediction for a toy is evaluated

Sampler = Callable[..., Iterator[tuple[Tensor, Tensor]]]


# Measures.


@torch.no_grad()
def drawn(
    method: DDPM, like: Tensor, seed: int = 0, sampler: Sampler = ddim, steps: int = 50
) -> Tensor:
    """Returns samples of the shape of `like` (N, ...), drawn with the moving average
    of the network from the noise of this seed."""
    x0, options = [], {"clip_denoised": method.clip_denoised}
    with seeded(seed):
        for part in like.split(250):
            x = torch.randn(part.shape)
            path = sampler(method.eval().eps, x, method.schedule, steps, **options)
            x0.append(last(path))
    return method.denormalise(torch.cat(x0))


@torch.no_grad()
def noise_error(method: DDPM, exact: MixtureNoise, x0: Tensor) -> dict[str, list]:
    """Returns the mean squared difference of eps_theta and the exact noise prediction
    at x_t, for LEVELS steps t: {"t": [...], "error": [...], "exact": [...]}. "exact" is
    the mean square of the exact prediction."""
    curve = {"t": [], "error": [], "exact": []}
    with seeded(0):
        for t in torch.linspace(0, len(method.schedule) - 1, LEVELS).long():
            numbers = t.expand(len(x0))
            x_t = q_sample(x0, method.schedule.abar[t], torch.randn_like(x0))
            eps, exact_eps = method.eval().eps(x_t, numbers), exact(x_t, numbers)
            row = (
                t.item(),
                (eps - exact_eps).square().mean().item(),
                exact_eps.square().mean().item(),
            )
            for name, value in zip(curve, row):
                curve[name].append(value)
    return curve


# Jobs.


def sampled(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe; returns the metrics of SAMPLES samples drawn with DDIM in 50
    steps, and the bound in bits on the same number of test pictures."""
    method, about = train_to_the_end(recipe, seed)
    real = load(recipe.data, "test").x[:SAMPLES]
    metrics = generation_metrics(drawn(method, real), real, recipe.data)
    return about | metrics | {"bits": bits_per_dimension(method.eval(), real)}


def stepped(recipe: Recipe, seed: int, sampler: Sampler, steps: int) -> dict:
    """Returns the metrics of FEW_SAMPLES samples drawn with the course's trained
    weights from the noise of this seed, and the seconds for one picture."""
    method, real = zoo.load("ddpm"), load(recipe.data, "test").x[:FEW_SAMPLES]
    began = time.perf_counter()
    samples = drawn(method, real, seed, sampler, steps)
    seconds = (time.perf_counter() - began) / FEW_SAMPLES
    return {"steps": steps, "seconds": seconds} | generation_metrics(
        samples, real, recipe.data
    )


def real(recipe: Recipe, seed: int, n: int) -> dict:
    """Returns the metrics of n training pictures, compared with n test pictures: how
    small the distances can be."""
    train, test = load(recipe.data, "train"), load(recipe.data, "test")
    return {"steps": 0} | generation_metrics(
        some_of(train.x, n, seed), test.x[:n], recipe.data
    )


def shipped(recipe: Recipe, seed: int, name: str) -> dict:
    """Returns the metrics of samples drawn with the course's trained weights and DDIM
    in 50 steps, one for each test picture, and the bound in bits."""
    test = load(recipe.data, "test")
    method = zoo.load(name)
    metrics = generation_metrics(drawn(method, test.x, seed), test.x, recipe.data)
    return {"steps": 50} | metrics | {"bits": bits_per_dimension(method, test.x)}


def shipped_rival(recipe: Recipe, seed: int, name: str) -> dict:
    """Returns the metrics of samples of the course's trained VAE or GAN, one for each
    test picture. A conditional GAN gets the labels of the test pictures."""
    test, method = load(recipe.data, "test"), zoo.load(name)
    with seeded(0):
        samples = (
            prior_draws(method, test.x)
            if isinstance(method, VAE)
            else gan_draws(method, test.y)
        )
    return {"steps": 1} | generation_metrics(samples, test.x, recipe.data)


def by_vae(recipe: Recipe, seed: int) -> dict:
    """Trains a VAE; returns the metrics of SAMPLES samples from its prior."""
    method, about = train_to_the_end(recipe, seed)
    real = load(recipe.data, "test").x[:SAMPLES]
    with seeded(0):
        samples = prior_draws(method.eval(), real)
    return about | generation_metrics(samples, real, recipe.data)


def by_gan(recipe: Recipe, seed: int) -> dict:
    """Trains a GAN; returns the metrics of SAMPLES generated pictures."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    return about | generation_metrics(
        gan_draws(method, test.y[:SAMPLES]), test.x[:SAMPLES], recipe.data
    )


def compared_with_exact(recipe: Recipe, seed: int) -> dict:
    """Trains on a toy; compares the noise prediction with the exact one.

    error: the squared error divided by the mean square of the exact prediction, over
    all t. curve: `noise_error`, for each t. modes, inside: the fraction of the modes
    that are found and of the points that lie in a mode, for POINTS points drawn by
    ancestral sampling with all steps.
    """
    method, about = train_to_the_end(recipe, seed)
    centres, test = CENTRES[recipe.data](), load(recipe.data, "test").x
    curve = noise_error(method, MixtureNoise(centres, NOISE, method.schedule), test)
    points = drawn(
        method, torch.empty(POINTS, 2), seed, ancestral, len(method.schedule)
    )
    modes, inside = evaluate.mode_coverage(points, centres, 3 * NOISE)
    share = sum(curve["error"]) / sum(curve["exact"])
    return about | {
        "error": share,
        "modes": modes / len(centres),
        "inside": inside,
        "curve": curve,
    }


# Builders.


def digits_ddpm(predicts: str) -> DDPM:
    """Builds the networks of `ddpm` with the cosine schedule and any prediction."""
    prediction = {"noise": EPS, "picture": X0, "v": V}[predicts]
    return DDPM(UNet(1, (32, 64)), cosine_betas(), prediction)


def next_step(itself: bool) -> NextStep:
    """Builds Algorithm 1.2 of the deck MLMI17 with the networks of `ddpm`. itself: the
    network predicts x_{t-1} itself instead of the noise."""
    net, betas = UNet(1, (32, 64)), linear_betas()
    return NextStep(SaysNextStep(net, betas) if itself else net, betas)


def toy_ddpm() -> DDPM:
    """Builds a DDPM of 100 steps with a perceptron, for points of the plane."""
    return DDPM(TimedMLP(2, 128), cosine_betas(100), momentum=0.99, pictures=False)


def digits(builder, *arguments) -> Recipe:
    return replace(lookup("ddpm"), build=partial(builder, *arguments))


def toy(data: str) -> Recipe:
    return Recipe(
        toy_ddpm,
        data,
        cpu=Size(4000, 256, 5e-3),
        gpu=Size(4000, 256, 5e-3),
        weight_decay=0.0,
    )


def with_steps(name: str, steps: int) -> Recipe:
    """Returns the recipe of that name with another number of updates. It is used to
    train other methods for about the same time as `ddpm`."""
    return replace(lookup(name), cpu=replace(lookup(name).cpu, steps=steps))


SAMPLERS = {
    "DDPM": ancestral,
    "DDPM, variance beta": partial(ancestral, large_variance=True),
    "DDIM": ddim,
}

EXPERIMENTS = {
    "ddpm-predictions": {
        "noise, linear": Setting(lookup("ddpm"), sampled),
        "noise": Setting(digits(digits_ddpm, "noise"), sampled),
        "picture": Setting(digits(digits_ddpm, "picture"), sampled),
        "v": Setting(digits(digits_ddpm, "v"), sampled),
        "next step, linear, by its noise": Setting(digits(next_step, False), sampled),
        "next step, linear, itself": Setting(digits(next_step, True), sampled),
    },
    "ddpm-steps": {
        "real": Setting(lookup("ddpm"), partial(real, n=FEW_SAMPLES)),
        **{
            f"{name}, {steps}": Setting(
                lookup("ddpm"), partial(stepped, sampler=sampler, steps=steps)
            )
            for name, sampler in SAMPLERS.items()
            for steps in (1000, 250, 50, 10)
            if (name, steps) != ("DDPM, variance beta", 1000)
        },
    },
    "ddpm-equal-time": {
        "real": Setting(lookup("ddpm"), partial(real, n=SAMPLES)),
        "VAE": Setting(with_steps("vae", 1000), by_vae),
        "GAN": Setting(with_steps("gan", 1400), by_gan),
        "DDPM": Setting(lookup("ddpm"), sampled),
        "DDPM, v": Setting(digits(digits_ddpm, "v"), sampled),
    },
    "ddpm-shipped": {
        "digits": Setting(lookup("ddpm"), partial(shipped, name="ddpm"), seeds=(0,)),
        "emoji": Setting(
            lookup("ddpm-emoji"), partial(shipped, name="ddpm-emoji"), seeds=(0,)
        ),
        **{
            title: Setting(lookup(name), partial(shipped_rival, name=name), seeds=(0,))
            for title, name in {
                "digits, VAE": "vae",
                "digits, GAN, label": "conditional-gan",
                "emoji, VAE": "vae-emoji",
                "emoji, GAN": "gan-emoji",
                "emoji, GAN, label": "conditional-gan-emoji",
            }.items()
        },
    },
    "ddpm-toys": {
        "8 Gaussians": Setting(toy("gaussians"), compared_with_exact),
        "25 Gaussians": Setting(toy("grid"), compared_with_exact),
    },
}
