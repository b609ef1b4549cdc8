"""Modes, guidelines, k, losses and pictures, labels and truncation, arithmetic,
paintings: experiments of notebook 12.

Goodfellow et al. 2014 (arXiv 1406.2661), Radford et al. 2015 (arXiv 1511.06434),
Arjovsky et al. 2017 (arXiv 1701.07875), Gulrajani et al. 2017 (arXiv 1704.00028), Brock
et al. 2018 (arXiv 1809.11096).
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.data import as_float, load
from course_lib.data.toys import CENTRES, NOISE
from course_lib.experiments.jobs import train_to_the_end, watched
from course_lib.experiments.judge import gan_draws, generation_metrics, judge_of
from course_lib.experiments.setting import Setting
from course_lib.gan.games import MINIMAX, NON_SATURATING, WASSERSTEIN
from course_lib.gan.gan import GAN
from course_lib.gan.recipes import (
    adversarial,
    colouring,
    gan,
    gan_emoji,
    generator_recipe,
    inpainting,
    without_momentum,
)
from course_lib.gan.wgan import GradientPenalty
from course_lib.nets.dcgan import Discriminator, Generator
from course_lib.nets.mlp import mlp
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.run import seeded

POINTS = 4000  # of a toy, drawn to be counted
THRESHOLDS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


# Measures.


def coverage(method: GAN, data: str) -> dict[str, float]:
    """`evaluate.mode_coverage` of POINTS fakes, within three standard deviations; modes
    as a share of all."""
    centres = CENTRES[data]()
    modes, share = evaluate.mode_coverage(
        gan_draws(method, torch.zeros(POINTS, dtype=torch.long)), centres, 3 * NOISE
    )
    return {"modes": modes / len(centres), "inside": share}


@torch.no_grad()
def unseen_loss_and_frechet(method: GAN) -> dict[str, float]:
    """The discriminator's loss on unseen digits and as many fakes; the fakes' Frechet
    distance."""
    test = load("digits", "test")
    fakes = gan_draws(method, test.y)
    scores = [
        torch.cat([method.score(part) for part in x.split(500)])
        for x in (as_float(test.x), fakes)
    ]
    judge = judge_of("digits")
    h_real, h = (evaluate.features(judge, x) for x in (test.x, fakes))
    return {
        "loss": method.game.discriminator(*scores).item(),
        "frechet": evaluate.frechet_distance(h_real, h),
    }


# Jobs.


def sampled(recipe: Recipe, seed: int) -> dict:
    """The metrics of as many fakes as there are unseen pictures."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    return about | generation_metrics(gan_draws(method, test.y), test.x, recipe.data)


def covered(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | coverage(method, recipe.data)


def followed(recipe: Recipe, seed: int) -> dict:
    """Loss and quality on the way; how their orders agree over the looks after the
    first (Spearman's correlation)."""
    method, about = watched(recipe, seed, unseen_loss_and_frechet)
    loss, frechet = (
        torch.tensor(about["curve"][name][1:]) for name in ("loss", "frechet")
    )
    ranks = torch.stack(
        [values.argsort().argsort().double() for values in (loss, frechet)]
    )
    return (
        about
        | unseen_loss_and_frechet(method)
        | {"correlation": torch.corrcoef(ranks)[0, 1].item()}
    )


def conditional_accuracy(recipe: Recipe, seed: int) -> dict:
    """How often the judge sees in a fake the label that it was made of: over all, by
    label; the metrics of all fakes; and `curve`, all over THRESHOLDS."""
    method, about = train_to_the_end(recipe, seed)
    test, judge = load(recipe.data, "test"), judge_of(recipe.data)

    def is_right(fakes: Tensor) -> Tensor:
        with torch.no_grad():
            return (judge.classifier(judge.encode(fakes)).argmax(1) == test.y).double()

    fakes = gan_draws(method, test.y)
    right = is_right(fakes)
    rows = []
    for threshold in THRESHOLDS:
        cut = gan_draws(method, test.y, threshold)
        rows.append(
            generation_metrics(cut, test.x, recipe.data)
            | {"accuracy": is_right(cut).mean().item()}
        )
    curve = {
        "threshold": list(THRESHOLDS),
        **{name: [row[name] for row in rows] for name in rows[0]},
    }
    by_label = [
        right[test.y == label].mean().item() for label in range(len(test.classes))
    ]
    metrics = generation_metrics(fakes, test.x, recipe.data) | {
        "accuracy": right.mean().item()
    }
    return about | metrics | {"by_label": by_label, "curve": curve}


def feature_accuracy(method: GAN, data: str) -> dict[str, float]:
    """Accuracy by the discriminator's features: of k-NN, and of a linear classifier of
    one strength for all."""
    train, test = load(data, "train"), load(data, "test")
    h, unseen = (evaluate.features(method, x) for x in (train.x, test.x))
    linear = evaluate.logistic_regression(h, train.y, [0.01])[0]
    return {
        "knn": evaluate.accuracy(evaluate.knn(h, train.y, unseen), test.y),
        "linear": evaluate.accuracy(linear(unseen), test.y),
    }


def represented(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | feature_accuracy(method, recipe.data)


def of_random(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0} | feature_accuracy(build(recipe, seed), recipe.data)


# flags, people, smileys
PAIRS = [(a, b) for a in (2, 5, 6) for b in (2, 5, 6) if a != b]


def arithmetic(recipe: Recipe, seed: int) -> dict:
    """Radford et al.'s vector arithmetic: of fakes judged a, z + mean z of b - mean z
    of a. Shares judged b, the mean over PAIRS: after; after a step as long in a random
    direction; of the same sum and difference of pixels.

    The means are of the half of 4,000 fakes' a and b that the judge is surest of; the
    steps begin at the others.
    """
    method, about = train_to_the_end(recipe, seed)
    judge = judge_of(recipe.data)

    def says(x: Tensor) -> Tensor:
        return torch.cat(
            [judge.classifier(judge.encode(part)).softmax(1) for part in x.split(500)]
        )

    def paint(z: Tensor) -> Tensor:
        return torch.cat([method.generate(part) for part in z.split(500)])

    with torch.no_grad(), seeded(0):
        z = torch.randn(4000, method.eval().dim)
        x = paint(z)
        sure, label = says(x).max(1)
        found = {"after": 0.0, "random": 0.0, "pixels": 0.0}
        for a, b in PAIRS:
            rows = {c: (label == c).nonzero().flatten() for c in (a, b)}
            best = {
                c: r[sure[r].argsort(descending=True)[: len(r) // 2]]
                for c, r in rows.items()
            }
            rest = rows[a][~torch.isin(rows[a], best[a])]
            step = z[best[b]].mean(0) - z[best[a]].mean(0)
            other = torch.randn_like(step)
            other *= step.norm() / other.norm()
            seen = {
                "after": paint(z[rest] + step),
                "random": paint(z[rest] + other),
                "pixels": (x[rest] + x[best[b]].mean(0) - x[best[a]].mean(0)).clamp(
                    0, 1
                ),
            }
            for name, pictures in seen.items():
                found[name] += (
                    says(pictures).argmax(1) == b
                ).double().mean().item() / len(PAIRS)
    return about | found


def inner_detail(x: Tensor, mask: Tensor) -> float:
    """Mean squared difference of neighbouring pixels of x (N, C, H, W) where both are
    in the mask (N, 1, H, W)."""
    total, pairs = 0.0, 0
    for dim in (2, 3):
        both = mask.narrow(dim, 1, mask.shape[dim] - 1) & mask.narrow(
            dim, 0, mask.shape[dim] - 1
        )
        total += (x.diff(dim=dim).square() * both).sum().item()
        pairs += both.sum().item() * x.shape[1]
    return total / pairs


def chroma(x: Tensor, mask: Tensor) -> float:
    """Mean distance of a pixel's largest from its smallest channel, inside the mask: 0
    for grey."""
    return (
        (x.amax(1, keepdim=True) - x.amin(1, keepdim=True)) * mask
    ).sum().item() / mask.sum().item()


def painted(recipe: Recipe, seed: int) -> dict:
    """Unseen pictures completed: root mean squared error over what was hidden; detail
    and chroma there, as shares of the pictures' own; the Frechet distance of the
    completed ones."""
    method, about = train_to_the_end(recipe, seed)
    x, judge = as_float(load(recipe.data, "test").x), judge_of(recipe.data)
    with torch.no_grad(), seeded(0):
        left, mask = method.eval().hide(x)
        done = torch.cat(
            [method.paint(a, b) for a, b in zip(left.split(500), mask.split(500))]
        ).clamp(0, 1)
    h_real, h = evaluate.features(judge, x), evaluate.features(judge, done)
    return about | {
        "rmse": ((done - x).square() * mask)
        .sum()
        .div(mask.sum() * x.shape[1])
        .sqrt()
        .item(),
        "detail": inner_detail(done, mask) / inner_detail(x, mask),
        "chroma": chroma(done, mask) / chroma(x, mask),
        "frechet": evaluate.frechet_distance(h_real, h),
    }


# Builders, and what is asked of them.


def toy_gan(wasserstein: bool, k: int, weight: float) -> GAN:
    """Perceptrons for points of the plane; the noise has two dimensions, too."""
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


def guided(generator_options: dict, discriminator_options: dict) -> GAN:
    """`gan` with other arguments for the generator and the discriminator."""
    generator = Generator(64, (48, 24), 1, side=7, **generator_options)
    discriminator = Discriminator((24, 48), 1, 28, **discriminator_options)
    return GAN(generator, discriminator, 64, momentum=0.99)


def minimax_gan() -> GAN:
    method = gan()
    method.game = MINIMAX
    return method


def unshifted_emoji() -> GAN:
    """`gan_emoji`, its pictures shown as they are."""
    method = gan_emoji()
    method.augment = nn.Identity()
    return method


def digits(builder, *arguments, steps: int = 1000) -> Recipe:
    """The recipe of `gan`, another builder."""
    return replace(
        lookup("gan"),
        build=partial(builder, *arguments),
        cpu=replace(lookup("gan").cpu, steps=steps),
    )


def toy(data: str, wasserstein: bool, k: int, weight: float, lr: float) -> Recipe:
    """9,000 turns in all, however they are shared out."""
    size = Size(9000 // (k + 1), 256, lr)
    return generator_recipe(
        partial(toy_gan, wasserstein, k, weight),
        data,
        cpu=size,
        gpu=size,
        optimizer=without_momentum if wasserstein else adversarial,
    )


# Six settings for each method on each toy, one seed; the best of each is run again with
# three others ("gan-modes").
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
BEST = {  # all modes, and the most points inside one
    "8 Gaussians, plain": "gaussians, plain, k = 1, lr 0.003",
    "8 Gaussians, WGAN-GP": "gaussians, WGAN-GP, lambda = 1, lr 0.003",
    "25 Gaussians, plain": "grid, plain, k = 5, lr 0.001",
    "25 Gaussians, WGAN-GP": "grid, WGAN-GP, lambda = 0.1, lr 0.003",
}
GUIDELINES = {  # what is changed in the generator, in the discriminator
    "all five": ({}, {}),
    "no strides": ({"strided": False}, {"strided": False}),
    "no BatchNorm": ({"norm": nn.Identity}, {"norm": nn.Identity}),
    "a hidden layer": ({"hidden": 256}, {"hidden": 256}),
    "tanh in G's hidden layers": ({"activation": nn.Tanh}, {}),
    "ReLU in the discriminator": ({}, {"activation": nn.ReLU}),
    "BatchNorm at both ends, too": ({"everywhere": True}, {"everywhere": True}),
}

EXPERIMENTS = {
    "gan-modes-tuning": {
        name: Setting(recipe, covered, seeds=(0,)) for name, recipe in TUNED.items()
    },
    "gan-modes": {
        name: Setting(TUNED[best], covered, seeds=(1, 2, 3))
        for name, best in BEST.items()
    },
    "gan-guidelines": {
        name: Setting(digits(guided, *switches, steps=300), sampled)
        for name, switches in GUIDELINES.items()
    },
    "gan-k": {
        "k = 1": Setting(digits(gan, 1, steps=300), sampled),
        "k = 2": Setting(digits(gan, 2, steps=300), sampled),
        "k = 5": Setting(digits(gan, 5, steps=300), sampled),
        "k = 1, as many turns as k = 5": Setting(digits(gan, 1, steps=900), sampled),
    },
    "gan-losses": {
        "saturating": Setting(digits(minimax_gan, steps=300), followed),
        "non-saturating": Setting(digits(gan, steps=300), followed),
        "non-saturating, no norm": Setting(
            digits(guided, {}, {"norm": nn.Identity}, steps=300), followed
        ),
        "WGAN, clipped": Setting(lookup("wgan"), followed),
        "WGAN-GP": Setting(lookup("wgan-gp"), followed),
    },
    "gan-samples": {
        "digits": Setting(lookup("gan"), sampled),
        "digits, with label": Setting(lookup("conditional-gan"), conditional_accuracy),
        "emoji": Setting(lookup("gan-emoji"), sampled),
        "emoji, not shifted": Setting(
            replace(lookup("gan-emoji"), build=unshifted_emoji), sampled
        ),
        "emoji, growing": Setting(lookup("progressive-gan"), sampled),
        "emoji, with label": Setting(
            lookup("conditional-gan-emoji"), conditional_accuracy
        ),
    },
    "gan-arithmetic": {"emoji": Setting(lookup("gan-emoji"), arithmetic)},
    "gan-painting": {
        "inpainting, squared error": Setting(
            replace(lookup("adversarial-inpainting"), build=partial(inpainting, 0.0)),
            painted,
        ),
        "inpainting, adversarial": Setting(lookup("adversarial-inpainting"), painted),
        "colours, squared error": Setting(
            replace(lookup("adversarial-colourisation"), build=partial(colouring, 0.0)),
            painted,
        ),
        "colours, adversarial": Setting(lookup("adversarial-colourisation"), painted),
    },
    "gan-representation": {
        "digits, untrained": Setting(lookup("gan"), of_random),
        "digits": Setting(lookup("gan"), represented),
    },
}
