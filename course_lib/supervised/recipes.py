"""How the classifiers are built and trained: the supervised baseline, and the
evaluation networks of generators."""

from torch import nn

from course_lib.augment import RandomResizedCrop
from course_lib.contrastive.recipes import views
from course_lib.nets.resnet import ResNet
from course_lib.recipe import Recipe, Size
from course_lib.supervised import Supervised


def supervised() -> Supervised:
    """Returns the encoder of the self-supervised methods with a linear classifier of
    the nine categories, trained on the same views: the baseline that uses all
    labels."""
    encoder = ResNet(widths=(24, 48, 96))
    return Supervised(encoder, nn.Linear(encoder.dim, 9), views())


def supervised_digits() -> Supervised:
    """Returns a classifier of digits. Its features and its class probabilities evaluate
    the pictures that generators draw."""
    encoder = ResNet(widths=(24, 48, 96), channels=1)
    return Supervised(
        encoder, nn.Linear(encoder.dim, 10), RandomResizedCrop(28, scale=(0.7, 1.0))
    )


RECIPES = {
    "supervised": Recipe(
        supervised, "scenes", cpu=Size(600, 256, 2e-3), gpu=Size(6000, 512, 2e-3)
    ),
    "supervised-digits": Recipe(
        supervised_digits, "digits", cpu=Size(300, 128, 5e-3), gpu=Size(3000, 128, 5e-3)
    ),
}
