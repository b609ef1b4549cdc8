"""Experiments of notebook 11: bounds and samples, rate and distortion, posterior
collapse, likelihoods, labels, representation.

Kingma & Welling 2013 (arXiv 1312.6114): figures 2 and 4. Burda et al. 2015 (arXiv
1509.00519): active units. Alemi et al. 2017 (arXiv 1711.00464): rate and distortion.
Bowman et al. 2015 (arXiv 1511.06349): warm-up. Kingma et al. 2016 (arXiv 1606.04934):
free bits. Rybkin et al. 2020 (arXiv 2006.13202): sigma.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.data import as_float, load
from course_lib.experiments.jobs import measures, train_to_the_end, watched
from course_lib.experiments.judge import (
    generation_metrics,
    judge_of,
    pictures,
    prior_draws,
    some_of,
)
from course_lib.experiments.setting import Setting
from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.free_bits import FreeBitsVAE
from course_lib.latent.likelihoods import Gaussian, GaussianPerPixel, dequantise
from course_lib.latent.recipes import colour_vae, conditional_vae, mlp_vae, vae_emoji
from course_lib.latent.vae import (
    VAE,
    active_units,
    gaussian_kl,
    importance_weighted_bound,
    reparameterise,
)
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.pretext.autoencoder import Autoencoder
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.run import seeded


@torch.no_grad()
def bound(method: VAE, x: Tensor, y: Tensor, by_label: bool = False) -> dict:
    """Returns the parts of the bound for 8-bit pictures x, estimated with one draw z
    for each picture, from fixed noise.

    elbo = -distortion - rate: means over the pictures, in nats. active: the number of
    active units. units: the rate of each unit, the largest first. rmse: the root mean
    squared error of the decoder's means. by_label: True for a conditional model, which
    gets y.
    """
    parts, method = [], method.eval()
    with seeded(0):
        for clean, label in zip(as_float(x).split(500), y.split(500)):
            condition = label if by_label else None
            drawn = method.draw(clean)
            mean, log_variance = method.posterior(drawn, condition)
            outputs = method.decode(
                reparameterise(mean, log_variance, torch.randn_like(mean)), condition
            )
            log_likelihood = method.likelihood.log_prob(outputs, drawn)
            kl = gaussian_kl(mean, log_variance)
            units = gaussian_kl(mean[..., None], log_variance[..., None])
            decoded = method.likelihood.mean(outputs).clamp(0, 1)
            error = (decoded - clean).square().flatten(1).mean(1)
            parts.append((log_likelihood, kl, units, mean, error))
    log_likelihood, kl, units, mean, error = map(torch.cat, zip(*parts))
    return {
        "elbo": (log_likelihood - kl).mean().item(),
        "distortion": -log_likelihood.mean().item(),
        "rate": kl.mean().item(),
        "active": active_units(mean),
        "units": units.mean(0).sort(descending=True).values.tolist(),
        "rmse": error.mean().sqrt().item(),
    }


@torch.no_grad()
def reconstructions(method: VAE, x: Tensor) -> Tensor:
    """Returns the decoder's means at one draw z of q(z given x), for 8-bit pictures
    x."""
    mean, log_variance = method.posterior(method.draw(as_float(x)))
    return pictures(method, reparameterise(mean, log_variance, torch.randn_like(mean)))


def both_samples(method: VAE, x: Tensor, data: str) -> dict[str, float]:
    """Returns `generation_metrics` of samples from the prior, one for each picture in
    x ("... prior"), and of the reconstructions of x ("... posterior")."""
    with seeded(0):
        painted = torch.cat([reconstructions(method, batch) for batch in x.split(500)])
        drawn = prior_draws(method, x)
    rows = {
        "prior": generation_metrics(drawn, x, data),
        "posterior": generation_metrics(painted, x, data),
    }
    return {
        f"{measure} {of}": value
        for of, row in rows.items()
        for measure, value in row.items()
    }


@torch.no_grad()
def log_p(method: VAE, x: Tensor, draws: int = 100) -> float:
    """Returns the importance-weighted bound in nats, the mean over 8-bit pictures x."""
    with seeded(0):
        bounds = []
        for batch in x.split(100):
            drawn = method.draw(as_float(batch))
            eps = torch.randn(draws, len(batch), method.encode(drawn).shape[1])
            bounds.append(importance_weighted_bound(method.log_weights(drawn, eps)))
    return torch.cat(bounds).mean().item()


# Jobs.


def train_and_test_bounds(method: VAE) -> dict[str, float]:
    """Returns the parts of the bound on the test digits, and the ELBO on 2,000 training
    digits (elbo_train)."""
    train, test = load("digits", "train")[:2000], load("digits", "test")
    parts = bound(method, test.x, test.y)
    parts = {name: parts[name] for name in ("elbo", "rate", "distortion")}
    return parts | {"elbo_train": bound(method, train.x, train.y)["elbo"]}


def followed(recipe: Recipe, seed: int) -> dict:
    method, about = watched(recipe, seed, train_and_test_bounds)
    test = load("digits", "test")
    few = {
        "elbo_few": bound(method, test.x[:500], test.y[:500])["elbo"],
        "log_p_few": log_p(method, test.x[:500]),
    }
    return about | bound(method, test.x, test.y) | few


def bounded(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    parts = bound(method, test.x, test.y)
    return about | parts | both_samples(method, test.x, recipe.data)


def real(recipe: Recipe, seed: int) -> dict:
    """Returns the metrics of training pictures, compared with the same number of test
    pictures: how small the distances can be."""
    train, test = load(recipe.data, "train"), load(recipe.data, "test")
    metrics = generation_metrics(some_of(train.x, len(test), seed), test.x, recipe.data)
    return {"steps": 0} | {f"{k} prior": v for k, v in metrics.items()}


def conditional_bound(recipe: Recipe, seed: int) -> dict:
    """Trains a conditional VAE; returns the bound on log p(x given y), the metrics of
    its samples, and their accuracy: the fraction of the samples that the evaluation
    network assigns to their label."""
    method, about = train_to_the_end(recipe, seed)
    test, dim = load("digits", "test"), method.eval().head[-1].out_features // 2
    with torch.no_grad(), seeded(0):
        drawn = pictures(method, torch.randn(len(test), dim), test.y)
    judge = judge_of("digits")
    accuracy = evaluate.accuracy(judge.classifier(judge.encode(drawn)), test.y)
    parts = bound(method, test.x, test.y, by_label=True) | {"accuracy": accuracy}
    metrics = generation_metrics(drawn, test.x, "digits")
    return about | parts | {f"{k} prior": v for k, v in metrics.items()}


def represented(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | measures(method, recipe.data)


def measures_of_mean_and_trunk(method: VAE, data: str) -> dict[str, float]:
    """Returns `measures` of the posterior mean and, as `..._h`, of the trunk: the
    features from which the posterior mean is computed."""
    return measures(method, data) | {
        f"{name}_h": value for name, value in measures(method.encoder[0], data).items()
    }


def mean_and_trunk(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | measures_of_mean_and_trunk(method, recipe.data)


def of_random(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0} | measures_of_mean_and_trunk(build(recipe, seed), recipe.data)


# Builders and recipes.


def fixed_sigma(sigma: float) -> VAE:
    return colour_vae(Gaussian(sigma))


def per_pixel_sigma() -> VAE:
    return colour_vae(GaussianPerPixel(), outputs=6)


def linear_head() -> ConditionalVAE:
    method = conditional_vae()
    method.head = nn.Sequential(nn.Linear(256 + 10, 2 * 8))
    return method


def scenes_vae(beta: float) -> VAE:
    """Builds a VAE with the networks of notebook 01's autoencoder, plus a linear layer
    for mean and log-variance."""
    encoder = nn.Sequential(ResNet(widths=(24, 48, 96)), nn.Linear(96, 2 * 96))
    decoder = nn.Sequential(
        from_vector(96), Decoder(widths=(96, 48, 24), outputs=12), nn.PixelShuffle(2)
    )
    return VAE(encoder, decoder, Gaussian(0.1, learned=True), dequantise, beta)


def free_bits_vae(dim: int, free: float) -> FreeBitsVAE:
    """Builds the VAE of `mlp_vae`, trained with `free` nats for each latent
    dimension."""
    plain = mlp_vae(dim)
    return FreeBitsVAE(plain.encoder, plain.decoder, plain.likelihood, plain.draw, free)


def mlp_autoencoder(dim: int) -> Autoencoder:
    """Builds an autoencoder with the networks of `mlp_vae`, without noise and prior."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, dim, norm=None))
    decoder = nn.Sequential(
        mlp(dim, 256, 256, 784, norm=None), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
    )
    return Autoencoder(encoder, decoder)


def digits(builder, *arguments, steps: int = 1000) -> Recipe:
    size = Size(steps, 128, 2e-3)
    return Recipe(partial(builder, *arguments), "digits", cpu=size, gpu=size)


def emoji(builder, *arguments) -> Recipe:
    size = Size(400, 128, 5e-3)
    return Recipe(partial(builder, *arguments), "emoji_on_white", cpu=size, gpu=size)


BETAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
DIMENSIONS = (2, 4, 8, 16, 32, 64)
FREE = (0.05, 0.2, 0.5)
SCENES = replace(lookup("autoencoder"), build=partial(scenes_vae, 1.0))

EXPERIMENTS = {
    "vae-training": {
        "perceptron, 2": Setting(lookup("vae-plane"), followed),
        "perceptron, 16": Setting(digits(mlp_vae, 16, steps=1500), followed),
        "convolutions, 16": Setting(lookup("vae"), followed),
    },
    "vae-samples": {
        "real digits": Setting(lookup("vae"), real),
        "digits": Setting(lookup("vae"), bounded),
        "digits, 2": Setting(lookup("vae-plane"), bounded),
        "real emoji": Setting(lookup("vae-emoji"), real),
        "emoji": Setting(lookup("vae-emoji"), bounded),
    },
    "vae-rate-distortion": {
        f"{beta:g}": Setting(digits(mlp_vae, 16, beta), bounded) for beta in BETAS
    },
    "vae-dimensions": {
        **{f"{dim}": Setting(digits(mlp_vae, dim, 1.0), bounded) for dim in DIMENSIONS},
        "64, warm-up": Setting(digits(mlp_vae, 64, 1.0, 0.5), bounded),
    },
    "vae-free-bits": {
        f"{free:g}": Setting(digits(free_bits_vae, 64, free), bounded) for free in FREE
    },
    "vae-likelihoods": {
        "mean of squares": Setting(emoji(fixed_sigma, math.sqrt(3072 / 2)), bounded),
        "sum of squares": Setting(emoji(fixed_sigma, math.sqrt(1 / 2)), bounded),
        "sigma 0.1": Setting(emoji(fixed_sigma, 0.1), bounded),
        "sigma learned": Setting(emoji(vae_emoji), bounded),
        "sigma of each pixel": Setting(emoji(per_pixel_sigma), bounded),
    },
    "vae-labels": {
        "without label": Setting(digits(mlp_vae, 8, steps=4500), bounded),
        "with label": Setting(lookup("conditional-vae"), conditional_bound),
        "with label, 1500 updates": Setting(
            digits(conditional_vae, steps=1500), conditional_bound
        ),
        "with label, linear head": Setting(
            digits(linear_head, steps=4500), conditional_bound
        ),
    },
    "vae-representation": {
        "random": Setting(SCENES, of_random),
        "VAE": Setting(SCENES, mean_and_trunk),
        "VAE, beta 0.1": Setting(
            replace(SCENES, build=partial(scenes_vae, 0.1)), mean_and_trunk
        ),
        "digits, 2: autoencoder": Setting(digits(mlp_autoencoder, 2), represented),
        "digits, 2: VAE": Setting(digits(mlp_vae, 2, 1.0), represented),
        "digits, 16: autoencoder": Setting(digits(mlp_autoencoder, 16), represented),
        "digits, 16: VAE": Setting(digits(mlp_vae, 16, 1.0), represented),
    },
}
