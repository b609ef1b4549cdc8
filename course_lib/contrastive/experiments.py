"""What matters in SimCLR: the experiments of notebook 03, each setting a recipe with
one thing changed.

Chen et al. 2020 (arXiv 2002.05709): figure 5 (pairs of augmentations), 8 (projection
head), 9 (batch size), tables 5 (temperature) and 7 (few labels).
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

# shorter, so that many settings fit
BASE = replace(lookup("simclr"), cpu=Size(300, 256, 5e-3))


def variant(
    change: Callable, *arguments, steps: int = 300, batch_size: int = 256
) -> Recipe:
    """SimCLR's recipe built by change(*arguments); the learning rate grows with the
    square root of the batch size."""
    size = Size(steps, batch_size, 5e-3 * (batch_size / 256) ** 0.5)
    return replace(
        BASE, build=partial(change, *arguments) if arguments else change, cpu=size
    )


# Which pair of augmentations? One view is the picture itself, the other what the pair
# makes of it (section 3.1).


class OneTransformedView(SimCLR):
    """SimCLR whose first view is the picture as it is: what the second view goes
    through is all that is tested."""

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
    method = simclr()
    return OneTransformedView(
        method.encoder, method.projector, Compose(transforms), method.temperature
    )


def pair(first: str, second: str) -> Setting:
    """`first` then `second`; the same name twice is that augmentation alone. Three
    seeds for the paper's best pair."""
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
    """The representation h before the head, and z = g(h), which the loss sees."""
    method, about = train_to_the_end(recipe, seed)
    z = measures(nn.Sequential(method.encoder, method.projector), recipe.data)
    return (
        about
        | measures(method, recipe.data)
        | {f"{measure}_z": value for measure, value in z.items()}
    )


# Few labels: a share of the emoji, at least one of each category, with all their
# scenes.

FRACTIONS = (0.01, 0.1, 1.0)
SHARES = {f"{fraction:.0%}": {"fraction": fraction} for fraction in FRACTIONS}


def few_labels(encoder: nn.Module, seed: int) -> dict[str, float]:
    """Test accuracy of a linear classifier on frozen features, by share of labelled
    emoji."""
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
    """The supervised recipe on the labelled scenes alone."""
    return from_scratch_on_few(recipe, seed, SHARES)


def fine_tuned(recipe: Recipe, seed: int) -> dict:
    """The same training, from SimCLR's encoder of this seed."""
    pretrained, _ = train_to_the_end(lookup("simclr"), seed)

    def start() -> Supervised:
        method = build(recipe, seed)
        method.encoder.load_state_dict(pretrained.encoder.state_dict())
        return method

    return train_on_few(recipe, seed, SHARES, "tuned", start)


# The bank's negatives: all rows (its own recipe) or K at random, estimated.


def nce(noise: int) -> NCEInstanceDiscrimination:
    method = instance_discrimination()
    networks = method.encoder, method.projector, method.augment
    return NCEInstanceDiscrimination(
        *networks, *method.bank.shape, method.temperature, method.momentum, noise
    )


class RandomBank(InstanceDiscrimination):
    """The bank begins as Wu et al. have it, with random vectors."""

    def before_epoch(self, data):
        """Leaves the bank as it was drawn."""


def from_random_rows() -> RandomBank:
    return instance_discrimination(RandomBank)


BANK = lookup("instance-discrimination")

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
