"""Experiments of notebook 01: few labels, shortcuts, and measures layer by layer.

Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728): tables 1 and 4, figures 3 and 4.
Doersch, Gupta, Efros 2015 (arXiv 1505.05192): section 3.1. Zhang, Isola, Efros 2017
(arXiv 1611.09842): table 4 tests the transfer to segmentation, as the dense probe does
here.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.checks import expects, number
from course_lib.contrastive.recipes import views
from course_lib.data import Dataset, as_float, by_row, load
from course_lib.experiments.jobs import (
    from_scratch_on_few,
    measures,
    pretext_score,
    train_on_few,
    train_to_the_end,
)
from course_lib.experiments.setting import Setting
from course_lib.nets.resnet import ResNet
from course_lib.pretext.patch_location import ColorDropping, PatchLocation
from course_lib.pretext.recipes import patch_location
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.supervised import Supervised
from course_lib.teacher import frozen_copy
from course_lib.train import Method

# Few labels: the early layers of a rotation network are frozen; a last stage and a
# classifier are trained on top. The baseline is the same network trained from scratch
# (GT19: Evaluation on semi-supervised learning).

# labelled emoji of each category; no category has 300, so 300 means all
PER_CLASS = (1, 3, 10, 30, 300)
AMOUNTS = {str(per_class): {"per_class": per_class} for per_class in PER_CLASS}
FEW = replace(lookup("supervised"), cpu=Size(200, 128, 2e-3))


class FrozenEarly(nn.Module):
    """A ResNet with the stem and the early stages of `trained`, frozen, and with the
    last stage of `fresh`."""

    def __init__(self, trained: ResNet, fresh: ResNet):
        super().__init__()
        self.dim = fresh.dim
        self.early = frozen_copy(
            nn.Sequential(trained.stem, trained.stages[:-1]), training=False
        )
        self.late = fresh.stages[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x)).mean((2, 3))


def from_scratch(recipe: Recipe, seed: int) -> dict:
    """Trains the supervised recipe on the labelled scenes only."""
    return from_scratch_on_few(recipe, seed, AMOUNTS)


def on_rotation(recipe: Recipe, seed: int) -> dict:
    """Trains the last stage and the classifier on the same labelled scenes. The early
    layers are those of this seed's rotation network, frozen."""
    rotation, _ = train_to_the_end(lookup("rotation"), seed)

    def start() -> Supervised:
        method = build(recipe, seed)
        method.encoder = FrozenEarly(rotation.encoder, method.encoder)
        return method

    return train_on_few(recipe, seed, AMOUNTS, "rotation", start)


# Shortcuts of patch location.


@expects(x="float N 3 H W")
def chromatic_aberration(x: Tensor, pixels: float) -> Tensor:
    """Returns the pictures with the colour fringes of a simple lens: red is magnified,
    so that it is shifted by `pixels` pixels at the border and not at all in the middle.
    Green and blue stay as they are."""
    scale = 1 / (1 + 2 * number("pixels", pixels, 0) / x.shape[-1])
    turn = torch.tensor(
        [[scale, 0, 0], [0, scale, 0]], dtype=x.dtype, device=x.device
    ).expand(len(x), 2, 3)
    grid = F.affine_grid(turn, [len(x), 1, *x.shape[2:]], align_corners=False)
    red = F.grid_sample(x[:, :1], grid, padding_mode="border", align_corners=False)
    return torch.cat([red, x[:, 1:]], 1)


def through_the_lens(dataset: Dataset) -> Dataset:
    """Returns the data set with chromatic aberration of one pixel at the border."""
    x = [
        (chromatic_aberration(as_float(part), 1.0) * 255).round().byte()
        for part in dataset.x.split(1000)
    ]
    return replace(dataset, x=torch.cat(x))


def patches(
    gap: int, jitter: int, prepare: Callable[[Tensor], Tensor] = nn.Identity
) -> PatchLocation:
    """Returns the recipe's method with this gap and jitter. prepare() makes the
    transform that each patch goes through."""
    method = patch_location()
    return PatchLocation(
        method.encoder, method.classifier, method.patch, gap, jitter, prepare()
    )


def with_and_without_the_lens(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe and returns the scores on test pictures, with the usual
    measures. `pretext`: pictures prepared like the training pictures. `pretext_clean`:
    pictures without fringes."""
    method, about = train_to_the_end(recipe, seed)
    test = load(recipe.data, "test")
    own = recipe.prepare_data(test) if recipe.prepare_data else test
    scores = {
        "pretext": pretext_score(method, own.x),
        "pretext_clean": pretext_score(method, test.x),
    }
    return about | scores | measures(method, recipe.data)


def shortcut(*arguments, lens: bool = False) -> Setting:
    """Returns the setting with these arguments of `patches`, with chromatic aberration
    if `lens`."""
    recipe = replace(
        lookup("patch-location"),
        build=partial(patches, *arguments),
        cpu=Size(300, 256, 5e-3),
    )
    return Setting(
        replace(recipe, prepare_data=through_the_lens) if lens else recipe,
        with_and_without_the_lens,
    )


# Layer by layer: probes of the feature maps inside a network, their attention, and the
# masks that can be predicted from them.

DENSE = 2  # masks and attention are measured after the second stage, 8 x 8 positions


@torch.no_grad()
def feature_maps(method: Method, x: Tensor, batch_size: int = 500) -> list[Tensor]:
    """Returns the feature maps (N, C, h, w) of x after the stem and after each stage of
    a method's ResNet.

    If the method has two encoders (split-brain), maps of the same depth are
    concatenated along the channels.
    """
    nets = [module for module in method.modules() if isinstance(module, ResNet)]
    seen, hooks = {}, []
    for depth in range(1 + len(nets[0].stages)):
        for net in nets:
            layer = net.stem if depth == 0 else net.stages[depth - 1]
            hooks.append(
                layer.register_forward_hook(
                    lambda *call, d=depth: seen.setdefault(d, []).append(call[-1])
                )
            )
    found = []
    for batch in x.split(batch_size):
        evaluate.features(method, batch, batch_size)
        found.append([torch.cat(seen[depth], 1) for depth in sorted(seen)])
        seen.clear()
    for hook in hooks:
        hook.remove()
    return [torch.cat(maps) for maps in zip(*found)]


def attention(maps: Tensor) -> Tensor:
    """Returns where a feature map is strong: the sum of squares over channels,
    (N, C, h, w) -> (N, 1, h, w), divided by its sum.

    Zagoruyko & Komodakis 2017 (arXiv 1612.03928), equation 1. Gidaris et al. draw such
    maps.
    """
    energy = maps.square().sum(1, keepdim=True)
    return energy / energy.sum((2, 3), keepdim=True)


def by_layer(method: Method) -> dict[str, float]:
    """Returns three kinds of measures on the test scenes. `stage 1`, ...: accuracy of a
    linear probe on the mean of each stage's map. `attention`: fraction of the second
    stage's attention that lies on the emoji. `masks`: IoU of the emoji's masks with
    those that a linear probe predicts from the second stage's map."""
    bank, unseen = load("scenes", "train"), load("scenes", "test")
    maps, unseen_maps = feature_maps(method, bank.x), feature_maps(method, unseen.x)
    row = {}
    for depth in range(1, len(maps)):
        h, h_unseen = maps[depth].mean((2, 3)), unseen_maps[depth].mean((2, 3))
        probe = evaluate.linear_probe(h, bank.y, groups=bank.info["emoji"])
        row[f"stage {depth}"] = evaluate.accuracy(probe(h_unseen), unseen.y)
    mask = evaluate.mask_probe(
        maps[DENSE], bank.info["mask"], groups=bank.info["emoji"]
    )
    row["masks"] = evaluate.intersection_over_union(
        mask(unseen_maps[DENSE]) > 0, unseen.info["mask"]
    )
    inside = F.adaptive_avg_pool2d(
        unseen.info["mask"].float(), unseen_maps[DENSE].shape[2:]
    )
    row["attention"] = (
        (attention(unseen_maps[DENSE]) * inside).sum((1, 2, 3)).mean().item()
    )
    return row


def of_random(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **by_layer(build(recipe, seed))}


def of_trained(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | by_layer(method)


# Exemplar networks: every scene is a class of its own, and its random views are the
# pictures of this class (Dosovitskiy et al. 2014, arXiv 1406.6909).

SCENES = 20_000  # training scenes


def exemplar(classes: int) -> Supervised:
    """Returns the supervised baseline's encoder and views, with a linear classifier of
    scenes: it has one row of weights for each scene."""
    encoder = ResNet(widths=(24, 48, 96))
    return Supervised(encoder, nn.Linear(encoder.dim, classes), views())


def first_by_row(classes: int, dataset: Dataset) -> Dataset:
    """Returns the first rows of the data set, with the row's index as y."""
    return by_row(dataset[:classes])


def of_exemplars(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe and evaluates its representation on all scenes."""
    method, about = train_to_the_end(recipe, seed)
    return about | measures(method, recipe.data)


def exemplars(classes: int) -> Setting:
    """Returns the setting in which the first scenes, `classes` of them, are the
    classes. It is trained as long as the other pretext tasks."""
    recipe = Recipe(
        partial(exemplar, classes),
        "scenes",
        cpu=Size(300, 256, 5e-3),
        gpu=Size(3000, 512, 5e-3),
        prepare_data=partial(first_by_row, classes),
    )
    return Setting(recipe, of_exemplars)


EXPERIMENTS = {
    "exemplar": {
        "2,000 scenes": exemplars(2_000),
        "20,000 scenes": exemplars(SCENES),
    },
    "rotation-labels": {
        "rotation, early layers frozen": Setting(
            FEW, on_rotation, pretrained=lookup("rotation")
        ),
        "supervised from scratch": Setting(FEW, from_scratch),
    },
    "pretext-shortcuts": {
        "patches touch": shortcut(0, 0),
        "gap and jitter": shortcut(3, 1),
        "lens, gap and jitter": shortcut(3, 1, lens=True),
        "lens, gap, jitter, colours dropped": shortcut(3, 1, ColorDropping, lens=True),
    },
    "pretext-layers": {
        "random encoder": Setting(lookup("rotation"), of_random),
        **{
            name: Setting(lookup(name), of_trained)
            for name in (
                "autoencoder",
                "context-encoder",
                "rotation",
                "jigsaw",
                "colourisation",
                "supervised",
            )
        },
    },
}
