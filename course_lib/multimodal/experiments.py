"""Experiments of notebook 06: zero-shot accuracy by pictures seen, the temperature, the
batch size, equal captions in a batch, and how often captions name the class.

Radford et al. 2021 (arXiv 2103.00020): figure 2 (pictures seen), figure 6 (shots).
Liang et al. 2022 (arXiv 2203.02053): figure 3 (closing the modality gap).
"""

from dataclasses import replace
from functools import partial

from torch import Tensor

from course_lib import evaluate
from course_lib.data.captions import drawn, sentence_words
from course_lib.experiments.jobs import measures, train_to_the_end, watched
from course_lib.experiments.setting import Setting
from course_lib.multimodal.clip import CLIP, clip_loss, fits
from course_lib.multimodal.measures import (
    gap_measures,
    held_out,
    name_ranks,
    shot_measures,
    zero_shot,
    zero_shot_measures,
)
from course_lib.multimodal.prompts import ensemble
from course_lib.multimodal.recipes import clip, siglip
from course_lib.multimodal.zero_shot import recall_at
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.train import Method

# many settings, so fewer updates than in the recipe
BASE = replace(lookup("clip"), cpu=Size(240, 128, 3e-3))


def everything(method: Method, recipe: Recipe) -> dict:
    """Returns all measures that a method has."""
    return {
        **measures(method, recipe.data),
        **zero_shot_measures(method),
        **(gap_measures(method) if isinstance(method, CLIP) else {}),
        **shot_measures(method),
    }


def looks(method: Method) -> dict[str, float]:
    """Returns the two measures that are repeated during a training, on half of the test
    scenes."""
    h = evaluate.features(method, held_out().x[:2000])
    return {
        "zero_shot": zero_shot(method, h, ensemble()),
        "name_10": recall_at(name_ranks(method, h)[0], 10),
    }


def watched_zero_shot(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns everything, and the curve of `looks`."""
    method, about = watched(recipe, seed, looks)
    return about | everything(method, recipe)


def untrained_pair(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **everything(build(recipe, seed).eval(), recipe)}


def pair_measures(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns its zero-shot measures, those of its gap, and the
    accuracy of k-NN and probe."""
    method, about = train_to_the_end(recipe, seed)
    method.eval()
    return (
        about
        | measures(method, recipe.data)
        | zero_shot_measures(method)
        | gap_measures(method)
    )


# The temperature.


def learned(temperature: float) -> CLIP:
    method = clip()
    method.log_scale.data.fill_(1 / temperature).log_()
    return method


def fixed(temperature: float) -> CLIP:
    method = learned(temperature)
    method.log_scale.requires_grad_(False)
    return method


# The batch size, at equal numbers of pictures.

BATCHES = {32: Size(960, 32, 1.5e-3), 128: Size(240, 128, 3e-3)}
BATCHES |= {512: Size(60, 512, 6e-3)}


# Two captions of a batch that are equal, or that are both true of one picture.


class LeavesOut(CLIP):
    """CLIP where a caption that is true of a picture is no negative of it. One process
    only."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        tokens = self.draw(y)
        return clip_loss(
            self.image_embedding(self.augment(x)),
            self.text_embedding(tokens),
            self.log_scale.exp(),
            fits(tokens, y, len(sentence_words())),
        )


def leaves_out() -> CLIP:
    return clip(LeavesOut)


# How often the words of the labels are in the captions.


def with_labels(share: float) -> CLIP:
    method = clip()
    method.draw = partial(drawn, label=share)
    return method


def variant(build, *arguments, **others) -> Recipe:
    """Returns BASE with build(*arguments) as its builder. others: further fields of the
    recipe."""
    return replace(BASE, build=partial(build, *arguments), **others)


COMPARED = ("clip", "clip-bag-of-words", "siglip", "word-prediction")

EXPERIMENTS = {
    "clip-zero-shot": {
        "random pair": Setting(lookup("clip"), untrained_pair),
        **{name: Setting(lookup(name), watched_zero_shot) for name in COMPARED},
    },
    "clip-temperature": {
        **{
            f"fixed, tau = {tau}": Setting(variant(fixed, tau), pair_measures)
            for tau in (1.0, 0.2, 0.07, 0.02)
        },
        **{
            f"learned, from tau = {tau}": Setting(variant(learned, tau), pair_measures)
            for tau in (1.0, 0.07)
        },
    },
    "clip-batch-size": {
        **{
            f"{name}, batch {n}": Setting(variant(method, cpu=size), pair_measures)
            for n, size in BATCHES.items()
            for name, method in (("softmax", clip), ("sigmoid", siglip))
        },
    },
    "clip-true-captions": {
        "negatives": Setting(variant(clip, cpu=Size(120, 256, 4.2e-3)), pair_measures),
        "left out": Setting(
            variant(leaves_out, cpu=Size(120, 256, 4.2e-3)), pair_measures
        ),
    },
    "clip-label-words": {
        f"{share}": Setting(variant(with_labels, share), pair_measures)
        for share in (0.0, 0.5)
    },
}
