"""Experiments of notebook 03: what matters in SimCLR. Each setting is a recipe with one
change.

Chen et al. 2020 (arXiv 2002.05709): figures 5 (pairs of augmentations), 8
(projection head) and 9 (batch size), tables 5 (temperature) and 7 (few labels).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from course_lib import evaluate
from course_lib.augment import (
    ColorJitter,
    Compose,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    RandomApply,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotate90,
)
from course_lib.contrastive.false_negatives import DebiasedSimCLR, TrueNegativesSimCLR
from course_lib.contrastive.instance_discrimination import (
    InstanceDiscrimination,
    NCEInstanceDiscrimination,
)
from course_lib.contrastive.recipes import instance_discrimination, simclr
from course_lib.contrastive.simclr import SimCLR
from course_lib.data import labelled_subset, load
from course_lib.experiments.jobs import (
    from_scratch_on_few,
    measures,
    raw_pixels,
    train_on_few,
    train_to_the_end,
)
from course_lib.experiments.setting import Setting, standard
from course_lib.losses import nt_xent
from course_lib.nets.mlp import mlp
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.supervised import Supervised
from course_lib.transforms import sobel

# fewer updates, because there are many settings
BASE = replace(lookup("simclr"), cpu=Size(300, 256, 5e-3))


def variant(
    change: Callable, *arguments, steps: int = 300, batch_size: int = 256
) -> Recipe:
    """Returns SimCLR's recipe with change(*arguments) as its builder. The learning rate
    grows with the square root of the batch size."""
    size = Size(steps, batch_size, 5e-3 * (batch_size / 256) ** 0.5)
    return replace(
        BASE, build=partial(change, *arguments) if arguments else change, cpu=size
    )


# Pairs of augmentations. One view is the picture itself; the pair transforms the other
# view (section 3.1).


class OneTransformedView(SimCLR):
    """SimCLR whose first view is the unchanged picture, so that only the transforms of
    the second view are tested."""

    def loss(self, x: Tensor, y=None) -> Tensor:
        return nt_xent(*self.project(x, self.augment(x)), self.temperature)


AUGMENTATIONS = {
    "crop": Compose([RandomResizedCrop(32, scale=(0.2, 1.0)), RandomHorizontalFlip()]),
    "cutout": Cutout(12),
    "colour": Compose(
        [RandomApply(ColorJitter(0.4, 0.4, 0.4, 0.1), 0.8), RandomGrayscale(0.2)]
    ),
    "Sobel": sobel,
    "noise": GaussianNoise(0.1),
    "blur": GaussianBlur(5, (0.5, 2.0)),
    "rotate": RandomRotate90(),
}


def one_transformed_view(*transforms: Callable[[Tensor], Tensor]) -> OneTransformedView:
    """Returns the method whose second view goes through these transforms in turn."""
    method = simclr()
    return OneTransformedView(
        method.encoder, method.projector, Compose(transforms), method.temperature
    )


def pair(first: str, second: str) -> Setting:
    """Returns the setting that applies `first`, then `second`. The same name twice
    means this augmentation alone. Settings that use only crop and colour, the paper's
    best pair, have three seeds."""
    names = (first,) if first == second else (first, second)
    transforms = [AUGMENTATIONS[name] for name in names]
    seeds = (0, 1, 2) if {first, second} <= {"crop", "colour"} else (0,)
    return Setting(variant(one_transformed_view, *transforms, steps=100), seeds=seeds)


# Projection head, temperature, batch size.


def with_head(head: Callable[[], nn.Module]) -> SimCLR:
    method = simclr()
    method.projector = head()
    return method


def with_temperature(temperature: float) -> SimCLR:
    method = simclr()
    method.temperature = temperature
    return method


def trained_h_and_z(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns the measures of the representation h, before the head,
    and those of z = g(h), the input of the loss, with the suffix `_z`."""
    method, about = train_to_the_end(recipe, seed)
    z = measures(nn.Sequential(method.encoder, method.projector), recipe.data)
    return (
        about
        | measures(method, recipe.data)
        | {f"{measure}_z": value for measure, value in z.items()}
    )


# Few labels: a fraction of the emoji is labelled, at least one of each category, with
# all their scenes.

FRACTIONS = (0.01, 0.1, 1.0)
SHARES = {f"{fraction:.0%}": {"fraction": fraction} for fraction in FRACTIONS}


def few_labels(encoder: nn.Module, seed: int) -> dict[str, float]:
    """Returns the test accuracy of a linear classifier on frozen features, for each
    fraction of labelled emoji."""
    data, test = load("scenes", "train"), load("scenes", "test")
    h, h_test = evaluate.features(encoder, data.x), evaluate.features(encoder, test.x)
    draws = [labelled_subset(data, **amount, seed=seed) for amount in SHARES.values()]
    found = evaluate.few_labels(h, data.y, draws, h_test, test.y)
    return dict(zip(SHARES, found.tolist()))


def random_frozen(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **few_labels(build(recipe, seed), seed)}


def simclr_frozen(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | few_labels(method, seed)


def from_scratch(recipe: Recipe, seed: int) -> dict:
    """Trains the supervised recipe on the labelled scenes only."""
    return from_scratch_on_few(recipe, seed, SHARES)


def fine_tuned(recipe: Recipe, seed: int) -> dict:
    """Trains the supervised recipe on the labelled scenes only, starting from SimCLR's
    encoder of this seed."""
    pretrained, _ = train_to_the_end(lookup("simclr"), seed)

    def start() -> Supervised:
        method = build(recipe, seed)
        method.encoder.load_state_dict(pretrained.encoder.state_dict())
        return method

    return train_on_few(recipe, seed, SHARES, "tuned", start)


# Negatives from the bank: the recipe uses all rows, NCE uses K random ones. One setting
# starts with a bank of random rows.


def nce(noise: int) -> NCEInstanceDiscrimination:
    method = instance_discrimination()
    networks = method.encoder, method.projector, method.augment
    return NCEInstanceDiscrimination(
        *networks, *method.bank.shape, method.temperature, method.momentum, noise
    )


class RandomBank(InstanceDiscrimination):
    """Instance discrimination whose bank starts with random vectors, as in Wu et al."""

    def before_epoch(self, data):
        """Keeps the random rows of the bank."""


def from_random_rows() -> RandomBank:
    return instance_discrimination(RandomBank)


BANK = lookup("instance-discrimination")


# False negatives: views of the same category, among the negatives.


def debiased(prior: float) -> DebiasedSimCLR:
    """Returns SimCLR with the debiased loss."""
    method = simclr()
    networks = method.encoder, method.projector, method.augment
    return DebiasedSimCLR(*networks, method.temperature, prior)


def true_negatives() -> TrueNegativesSimCLR:
    """Returns SimCLR that leaves out the negatives of the reference's category."""
    method = simclr()
    networks = method.encoder, method.projector, method.augment
    return TrueNegativesSimCLR(*networks, method.temperature)


EXPERIMENTS = {
    "simclr": {
        "raw pixels": Setting(lookup("simclr"), raw_pixels, seeds=(0,)),
        **standard(lookup("simclr")),
    },
    "simclr-heads": {
        "none": Setting(variant(with_head, nn.Identity), trained_h_and_z),
        "linear": Setting(variant(with_head, partial(mlp, 96, 64)), trained_h_and_z),
        "MLP": Setting(BASE, trained_h_and_z),
    },
    "simclr-temperature": {
        f"{tau}": Setting(BASE if tau == 0.2 else variant(with_temperature, tau))
        for tau in (0.05, 0.1, 0.2, 0.5, 1.0)
    },
    "simclr-labels": {
        "random encoder, frozen": Setting(lookup("simclr"), random_frozen),
        "SimCLR, frozen": Setting(lookup("simclr"), simclr_frozen),
        "SimCLR, fine-tuned": Setting(
            lookup("supervised"), fine_tuned, pretrained=lookup("simclr")
        ),
        "supervised from scratch": Setting(lookup("supervised"), from_scratch),
    },
    "bank-negatives": {
        "random rows at first": Setting(replace(BANK, build=from_random_rows)),
        "NCE, 1024 negatives": Setting(replace(BANK, build=partial(nce, 1024))),
    },
    "simclr-false-negatives": {
        **{
            f"debiased, prior {prior}": Setting(variant(debiased, prior, steps=100))
            for prior in (0.01, 0.1)
        },
        "true negatives, by labels": Setting(variant(true_negatives, steps=100)),
    },
    "simclr-batch-size": {
        f"batch {n}, {steps} steps": Setting(variant(simclr, steps=steps, batch_size=n))
        for n, lengths in {
            32: (200, 800, 3200),
            128: (200, 800),
            256: (100, 200, 400, 800),
        }.items()
        for steps in lengths
    },
    "simclr-augmentations": {
        f"{first}, {second}": pair(first, second)
        for first in AUGMENTATIONS
        for second in AUGMENTATIONS
    },
}
