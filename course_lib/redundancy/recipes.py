"""How Barlow Twins is built and trained."""

from course_lib.contrastive.recipes import views
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.recipe import Recipe, Size
from course_lib.redundancy.barlow_twins import BarlowTwins


def barlow_twins() -> BarlowTwins:
    """Returns Barlow Twins with SimCLR's encoder and views. z is wider than h, as in
    the paper."""
    encoder = ResNet(widths=(24, 48, 96))
    return BarlowTwins(encoder, mlp(encoder.dim, 256, 256), views(), off_diagonal=0.01)


RECIPES = {
    "barlow-twins": Recipe(
        barlow_twins, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
}
