"""Few labels, and shortcuts: experiments of notebook 01.

Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728): figure 4. Doersch, Gupta, Efros 2015 (arXiv 1505.05192): section 3.1.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, number
from course_lib.data import Dataset, as_float, load
from course_lib.experiments import (
    Setting,
    from_scratch_on_few,
    measures,
    pretext_score,
    train_on_few,
    train_to_the_end,
)
from course_lib.nets.resnet import ResNet
from course_lib.pretext.patch_location import ColorDropping, PatchLocation
from course_lib.recipes import RECIPES, Recipe, Size, build, patch_location
from course_lib.supervised import Supervised
from course_lib.teacher import frozen_copy

# Few labels: a rotation network's early layers, frozen, with a last stage and a classifier trained on top, against the
# same network trained from nothing (GT19: Evaluation on semi-supervised learning).

PER_CLASS = (1, 3, 10, 30, 300)  # labelled emoji of each category; 300 is more than there are: all
AMOUNTS = {str(per_class): {"per_class": per_class} for per_class in PER_CLASS}
FEW = replace(RECIPES["supervised"], cpu=Size(200, 128, 2e-3))


class FrozenEarly(nn.Module):
    """A ResNet's stem and all its stages but the last as they are, for good; the last one from `fresh`."""

    def __init__(self, trained: ResNet, fresh: ResNet):
        super().__init__()
        self.dim = fresh.dim
        self.early = frozen_copy(nn.Sequential(trained.stem, trained.stages[:-1]), training=False)
        self.late = fresh.stages[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x)).mean((2, 3))


def from_scratch(recipe: Recipe, seed: int) -> dict:
    """The supervised recipe on the labelled scenes alone."""
    return from_scratch_on_few(recipe, seed, AMOUNTS)


def on_rotation(recipe: Recipe, seed: int) -> dict:
    """The same training of the last stage and the classifier, on the early layers of this seed's rotation network."""
    rotation, _ = train_to_the_end(RECIPES["rotation"], seed)

    def start() -> Supervised:
        method = build(recipe, seed)
        method.encoder = FrozenEarly(rotation.encoder, method.encoder)
        return method

    return train_on_few(recipe, seed, AMOUNTS, "rotation", start)


# Shortcuts of patch location.


@expects(x="float N 3 H W")
def chromatic_aberration(x: Tensor, pixels: float) -> Tensor:
    """A cheap lens: red is a little larger than green and blue, by so many pixels at the border, none in the middle."""
    scale = 1 / (1 + 2 * number("pixels", pixels, 0) / x.shape[-1])
    turn = torch.tensor([[scale, 0, 0], [0, scale, 0]], dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(turn, [len(x), 1, *x.shape[2:]], align_corners=False)
    red = F.grid_sample(x[:, :1], grid, padding_mode="border", align_corners=False)
    return torch.cat([red, x[:, 1:]], 1)


def through_the_lens(dataset: Dataset) -> Dataset:
    """The same pictures with fringes of one pixel at the border."""
    x = [(chromatic_aberration(as_float(part), 1.0) * 255).round().byte() for part in dataset.x.split(1000)]
    return replace(dataset, x=torch.cat(x))


def patches(gap: int, jitter: int, prepare: Callable[[Tensor], Tensor] = nn.Identity) -> PatchLocation:
    """The recipe with these patches; prepare is called to make what each patch goes through."""
    method = patch_location()
    return PatchLocation(method.encoder, method.classifier, method.patch, gap, jitter, prepare())


def with_and_without_the_lens(recipe: Recipe, seed: int) -> dict:
    """`pretext` on unseen pictures like those trained on, `pretext_clean` on unseen ones without fringes."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    own = recipe.pairs(test) if recipe.pairs else test
    scores = {"pretext": pretext_score(method, own.x), "pretext_clean": pretext_score(method, test.x)}
    return about | scores | measures(method, recipe.data)


def shortcut(*arguments, lens: bool = False) -> Setting:
    recipe = replace(RECIPES["patch-location"], build=partial(patches, *arguments), cpu=Size(300, 256, 5e-3))
    return Setting(replace(recipe, pairs=through_the_lens) if lens else recipe, with_and_without_the_lens)


ABLATIONS = {
    "rotation-labels": {
        "rotation, early layers frozen": Setting(FEW, on_rotation, after=RECIPES["rotation"]),
        "supervised from scratch": Setting(FEW, from_scratch),
    },
    "pretext-shortcuts": {
        "patches touch": shortcut(0, 0),
        "gap and jitter": shortcut(3, 1),
        "lens, gap and jitter": shortcut(3, 1, lens=True),
        "lens, gap, jitter, colours dropped": shortcut(3, 1, ColorDropping, lens=True),
    },
}
