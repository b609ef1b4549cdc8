"""What the network predicts, samplers and steps, a score that is known, three
generators: experiments of notebook 14.

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

SAMPLES = 250  # pictures drawn where training is compared
FEW_SAMPLES = 64  # where samplers are, with 1,000 steps among them
POINTS = 4000  # of a toy
LEVELS = 10  # steps t at which the toy's noise is looked at

Sampler = Callable[..., Iterator[tuple[Tensor, Tensor]]]


# Measures.


@torch.no_grad()
def drawn(
    method: DDPM, like: Tensor, seed: int = 0, sampler: Sampler = ddim, steps: int = 50
) -> Tensor:
    """As many draws as rows of `like` (N, ...), of their shape, from the seed's noise,
    by the moving average."""
    x0, options = [], {"clip_denoised": method.clip_denoised}
    with seeded(seed):
        for part in like.split(250):
            x = torch.randn(part.shape)
            x0.append(
                last(sampler(method.eval().eps, x, method.schedule, steps, **options))
            )
    return method.denormalise(torch.cat(x0))


@torch.no_grad()
def noise_error(method: DDPM, exact: MixtureNoise, x0: Tensor) -> dict[str, list]:
    """Mean squared difference of eps_theta and the exact answer at x_t, by t: {"t":
    [...], "error": [...], "exact": [...]}, the last for how large the answers are."""
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
    """The metrics of SAMPLES draws by DDIM in 50 steps; the bound in bits, of as many
    unseen pictures."""
    method, about = train_to_the_end(recipe, seed)
    real = load(recipe.data, "test").x[:SAMPLES]
    metrics = generation_metrics(drawn(method, real), real, recipe.data)
    return about | metrics | {"bits": bits_per_dimension(method.eval(), real)}


def stepped(recipe: Recipe, seed: int, sampler: Sampler, steps: int) -> dict:
    """The metrics of FEW_SAMPLES draws of the course's weights, from the seed's noise;
    seconds for one picture."""
    method, real = zoo.load("ddpm"), load(recipe.data, "test").x[:FEW_SAMPLES]
    began = time.perf_counter()
    samples = drawn(method, real, seed, sampler, steps)
    seconds = (time.perf_counter() - began) / FEW_SAMPLES
    return {"steps": steps, "seconds": seconds} | generation_metrics(
        samples, real, recipe.data
    )


def real(recipe: Recipe, seed: int, n: int) -> dict:
    """As many training pictures: how low the distances can be."""
    train, test = load(recipe.data, "train"), load(recipe.data, "test")
    return {"steps": 0} | generation_metrics(
        some_of(train.x, n, seed), test.x[:n], recipe.data
    )


def shipped(recipe: Recipe, seed: int, name: str) -> dict:
    """The metrics of as many draws of the course's weights as there are unseen
    pictures, by DDIM in 50 steps; the bound in bits."""
    test = load(recipe.data, "test")
    method = zoo.load(name)
    metrics = generation_metrics(drawn(method, test.x, seed), test.x, recipe.data)
    return {"steps": 50} | metrics | {"bits": bits_per_dimension(method, test.x)}


def shipped_rival(recipe: Recipe, seed: int, name: str) -> dict:
    """The same of the course's weights of a VAE, or of a GAN, which is told the labels
    where it listens."""
    test, method = load(recipe.data, "test"), zoo.load(name)
    with seeded(0):
        samples = (
            prior_draws(method, test.x)
            if isinstance(method, VAE)
            else gan_draws(method, test.y)
        )
    return {"steps": 1} | generation_metrics(samples, test.x, recipe.data)


def by_vae(recipe: Recipe, seed: int) -> dict:
    """The metrics of SAMPLES draws of a VAE's prior."""
    method, about = train_to_the_end(recipe, seed)
    unseen = load(recipe.data, "test").x[:SAMPLES]
    with seeded(0):
        samples = prior_draws(method.eval(), unseen)
    return about | generation_metrics(samples, unseen, recipe.data)


def by_gan(recipe: Recipe, seed: int) -> dict:
    """The metrics of SAMPLES fakes."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    return about | generation_metrics(
        gan_draws(method, test.y[:SAMPLES]), test.x[:SAMPLES], recipe.data
    )


def compared_with_exact(recipe: Recipe, seed: int) -> dict:
    """A toy's noise against the exact one, as a share of its size and by t; modes and
    points inside one, of draws by ancestral sampling on all steps."""
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
    """`ddpm` with the cosine schedule and any prediction."""
    return DDPM(
        UNet(1, (32, 64)),
        cosine_betas(),
        {"noise": EPS, "picture": X0, "v": V}[predicts],
    )


def next_step(itself: bool) -> NextStep:
    """MLMI17's Algorithm 1.2 with the networks of `ddpm`; itself: the network says
    x_{t-1}, not the noise in it."""
    net, betas = UNet(1, (32, 64)), linear_betas()
    return NextStep(SaysNextStep(net, betas) if itself else net, betas)


def toy_ddpm() -> DDPM:
    """A perceptron for points of the plane, 100 steps."""
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


def lasting(name: str, steps: int) -> Recipe:
    """A recipe of another notebook, trained about as long as `ddpm`."""
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
        "VAE": Setting(lasting("vae", 1000), by_vae),
        "GAN": Setting(lasting("gan", 1400), by_gan),
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
