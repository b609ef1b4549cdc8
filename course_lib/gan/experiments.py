"""Experiments of notebook 12 with pictures: DCGAN's guidelines, k, losses, samples,
labels and truncation, vector arithmetic, completed pictures, representation.

toy_experiments.py has those with toys.

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
from course_lib.experiments.jobs import train_to_the_end, watched
from course_lib.experiments.judge import gan_draws, generation_metrics, judge_of
from course_lib.experiments.setting import Setting
from course_lib.gan.games import MINIMAX
from course_lib.gan.gan import GAN
from course_lib.gan.recipes import colouring, gan, gan_emoji, inpainting
from course_lib.nets.dcgan import Discriminator, Generator
from course_lib.recipe import Recipe, build, lookup
from course_lib.run import seeded

THRESHOLDS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


# Measures.


@torch.no_grad()
def held_out_loss_and_frechet(method: GAN) -> dict[str, float]:
    """Returns the discriminator's loss on the test digits and the same number of fakes,
    and the Frechet distance of these fakes."""
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
    """Trains the recipe; returns the metrics of fakes, one for each test picture."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    return about | generation_metrics(gan_draws(method, test.y), test.x, recipe.data)


def followed(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe; measures loss and Frechet distance during training and at the
    end. correlation: Spearman's rank correlation of loss and Frechet distance during
    training, without the first measurement."""
    method, about = watched(recipe, seed, held_out_loss_and_frechet)
    curves = torch.tensor([about["curve"][name][1:] for name in ("loss", "frechet")])
    ranks = curves.argsort(dim=1).argsort(dim=1).double()
    correlation = torch.corrcoef(ranks)[0, 1].item()
    return about | held_out_loss_and_frechet(method) | {"correlation": correlation}


def conditional_accuracy(recipe: Recipe, seed: int) -> dict:
    """Trains a conditional GAN; returns the metrics of its fakes, one for each test
    picture, and their accuracy.

    accuracy: the fraction of the fakes that the evaluation network assigns to their
    label. by_label: the same for each label. curve: metrics and accuracy of fakes from
    truncated noise, for each of THRESHOLDS.
    """
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
    """Returns the accuracy of k-NN and of a linear classifier on the discriminator's
    features. The linear classifier always has the same regularisation strength."""
    train, test = load(data, "train"), load(data, "test")
    h_train, h = (evaluate.features(method, x) for x in (train.x, test.x))
    linear = evaluate.logistic_regression(h_train, train.y, [0.01])[0]
    return {
        "knn": evaluate.accuracy(evaluate.knn(h_train, train.y, h), test.y),
        "linear": evaluate.accuracy(linear(h), test.y),
    }


def represented(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | feature_accuracy(method, recipe.data)


def of_random(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0} | feature_accuracy(build(recipe, seed), recipe.data)


# flags, people, smileys
PAIRS = [(a, b) for a in (2, 5, 6) for b in (2, 5, 6) if a != b]


def arithmetic(recipe: Recipe, seed: int) -> dict:
    """Trains a GAN; measures Radford et al.'s vector arithmetic for classes a and b.

    The evaluation network classifies 4,000 fakes. To the noise z of a fake of class a,
    a step is added: (mean z of class b) - (mean z of class a). Returns the fraction of
    the new fakes that are classified as b, the mean over PAIRS. after: after this step.
    random: after a step of the same length in a random direction. pixels: after the
    same sum and difference of pixels instead of z. The means are taken over the half of
    each class with the most certain classification. The steps start from the other half
    of class a.
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
    """Returns the mean squared difference of neighbouring pixels of x (N, C, H, W), if
    both are in the mask (N, 1, H, W)."""
    total, pairs = 0.0, 0
    for dim in (2, 3):
        both = mask.narrow(dim, 1, mask.shape[dim] - 1) & mask.narrow(
            dim, 0, mask.shape[dim] - 1
        )
        total += (x.diff(dim=dim).square() * both).sum().item()
        pairs += both.sum().item() * x.shape[1]
    return total / pairs


def chroma(x: Tensor, mask: Tensor) -> float:
    """Returns the mean difference between the largest and the smallest channel of a
    pixel inside the mask. It is 0 for grey."""
    spread = x.amax(1, keepdim=True) - x.amin(1, keepdim=True)
    return (spread * mask).sum().item() / mask.sum().item()


def painted(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe; measures how it completes the test pictures.

    rmse: root mean squared error over the hidden pixels. detail, chroma: `inner_detail`
    and `chroma` of the hidden pixels, divided by those of the real pictures. frechet:
    the Frechet distance of the completed pictures.
    """
    method, about = train_to_the_end(recipe, seed)
    x, judge = as_float(load(recipe.data, "test").x), judge_of(recipe.data)
    with torch.no_grad(), seeded(0):
        left, mask = method.eval().hide(x)
        done = torch.cat(
            [method.paint(a, b) for a, b in zip(left.split(500), mask.split(500))]
        ).clamp(0, 1)
    h_real, h = evaluate.features(judge, x), evaluate.features(judge, done)
    squared_error = ((done - x).square() * mask).sum() / (mask.sum() * x.shape[1])
    return about | {
        "rmse": squared_error.sqrt().item(),
        "detail": inner_detail(done, mask) / inner_detail(x, mask),
        "chroma": chroma(done, mask) / chroma(x, mask),
        "frechet": evaluate.frechet_distance(h_real, h),
    }


# Builders and recipes.


def guided(generator_options: dict, discriminator_options: dict) -> GAN:
    """Builds `gan` with other arguments for the generator and the discriminator."""
    generator = Generator(64, (48, 24), 1, side=7, **generator_options)
    discriminator = Discriminator((24, 48), 1, 28, **discriminator_options)
    return GAN(generator, discriminator, 64, momentum=0.99)


def minimax_gan() -> GAN:
    method = gan()
    method.game = MINIMAX
    return method


def unshifted_emoji() -> GAN:
    """Builds `gan_emoji` without the random shifts of the pictures."""
    method = gan_emoji()
    method.augment = nn.Identity()
    return method


def digits(builder, *arguments, steps: int = 1000) -> Recipe:
    """Returns the recipe of `gan` with another builder and number of updates."""
    return replace(
        lookup("gan"),
        build=partial(builder, *arguments),
        cpu=replace(lookup("gan").cpu, steps=steps),
    )


GUIDELINES = {  # changed arguments of the generator and of the discriminator
    "all five": ({}, {}),
    "no strides": ({"strided": False}, {"strided": False}),
    "no BatchNorm": ({"norm": nn.Identity}, {"norm": nn.Identity}),
    "a hidden layer": ({"hidden": 256}, {"hidden": 256}),
    "tanh in G's hidden layers": ({"activation": nn.Tanh}, {}),
    "ReLU in the discriminator": ({}, {"activation": nn.ReLU}),
    "BatchNorm at both ends, too": ({"everywhere": True}, {"everywhere": True}),
}

# An update without strides takes 2.3 times as long, so this is about equal time.
AS_LONG = "all five, as long as no strides"

EXPERIMENTS = {
    "gan-guidelines": {
        name: Setting(digits(guided, *switches, steps=300), sampled)
        for name, switches in GUIDELINES.items()
    }
    | {AS_LONG: Setting(digits(guided, {}, {}, steps=700), sampled)},
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
