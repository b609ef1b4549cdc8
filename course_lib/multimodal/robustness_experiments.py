"""Experiments of notebook 06 on what CLIP does on other pictures than those of its
training: another drawing style, painted words, several objects.

Radford et al. 2021 (arXiv 2103.00020): figure 13 (natural distribution shift).
Yuksekgonul et al. 2022 (arXiv 2210.01936): word order.
"""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.data import Dataset, load
from course_lib.data.captions import described
from course_lib.data.emoji import STYLES
from course_lib.experiments.jobs import train_to_the_end, watched
from course_lib.experiments.setting import Setting
from course_lib.multimodal.clip import CLIP
from course_lib.multimodal.compositions import (
    HardNegatives,
    side_by_side,
    swapped,
)
from course_lib.multimodal.measures import class_scores, held_out
from course_lib.multimodal.painting import PAINTED, paint, with_true_words
from course_lib.multimodal.prompts import ensemble
from course_lib.multimodal.recipes import clip, clip_bag_of_words
from course_lib.recipe import Recipe, Size, lookup
from course_lib.supervised.recipes import supervised
from course_lib.train import Method

SIZE = Size(400, 128, 3e-3)
BASE = replace(lookup("clip"), cpu=SIZE)

# Trained on two drawing styles, tested on the third.


def without_style(data: Dataset, style: str, captions: bool) -> Dataset:
    data = data[data.info["style"] != STYLES.index(style)]
    return described(data) if captions else data


def category_scores(method: Method, h: Tensor) -> Tensor:
    if isinstance(method, CLIP):
        return class_scores(method, h, ensemble())
    with torch.no_grad():
        return method.classifier(h)


def by_style(method: Method) -> dict[str, float]:
    """Returns the accuracy for the nine categories on the test scenes of each style."""
    data = held_out()
    scores = category_scores(method, evaluate.features(method, data.x))
    return {
        name: evaluate.accuracy(scores[rows], data.info["category"][rows])
        for k, name in enumerate(STYLES)
        for rows in [data.info["style"] == k]
    }


def watched_styles(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe; the curve is `by_style`. probe_*: the accuracy of a linear
    probe by style, fitted on the training styles."""
    method, about = watched(recipe, seed, by_style)
    data, test = recipe.prepare_data(load(recipe.data, "train")), held_out()
    h, h_test = evaluate.features(method, data.x), evaluate.features(method, test.x)
    probe = evaluate.linear_probe(h, data.info["category"], groups=data.info["emoji"])
    scores, y = probe(h_test), test.info["category"]
    about |= by_style(method)
    for k, name in enumerate(STYLES):
        rows = test.info["style"] == k
        about[f"probe_{name}"] = evaluate.accuracy(scores[rows], y[rows])
    return about


# Words painted into pictures.


def painted_captions(data: Dataset, share: float) -> Dataset:
    return described(with_true_words(data, share))


def attacked(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns for test pictures without a word, with the word of
    another category, and with its letters in another order: the accuracy among the nine
    words of PAINTED as texts, and the share of pictures that get the painted word's
    category."""
    method, about = train_to_the_end(recipe, seed)
    method.eval()
    y, generator = held_out().info["category"], torch.Generator().manual_seed(0)
    other = (y + torch.randint(1, 9, y.shape, generator=generator)) % 9
    words = [PAINTED[k] for k in other.tolist()]
    pictures = {
        "clean": held_out().x,
        "word": paint(held_out().x, words, seed=0),
        "shuffled": paint(held_out().x, [scrambled(word) for word in words], seed=0),
    }
    texts = [[word] for word in PAINTED]
    for name, x in pictures.items():
        scores = class_scores(method, evaluate.features(method, x), texts)
        about[f"{name}_right"] = evaluate.accuracy(scores, y)
        about[f"{name}_painted"] = evaluate.accuracy(scores, other)
    return about


def scrambled(word: str) -> str:
    """Returns the word's letters in reverse order, moved by one place."""
    return word[-2::-1] + word[-1]


# The order of two objects.


def on_compositions(build, data) -> Recipe:
    return replace(BASE, build=build, prepare_data=partial(composed, make=data))


def composed(data: Dataset, make) -> Dataset:
    """Returns 20,000 new pictures in place of the data set."""
    return make(20_000, 0)


def same(y: Tensor) -> Tensor:
    return y


def reads_all(build, *altered) -> CLIP:
    """Returns the CLIP of `build` that reads each caption as it is. altered: the
    function that makes its hard negatives."""
    method = build(HardNegatives) if altered else build()
    method.draw = same
    method.augment = nn.Identity()
    if altered:
        method.altered = altered[0]
    return method


def margins(method: CLIP, data: Dataset, wrong: Tensor) -> tuple[float, float]:
    """Returns the share of pictures whose caption is nearer than all its altered
    versions wrong (N, k, L), and the share whose caption is nearest among the captions
    of 100 pictures (their own and those of the next 99, of which equal captions and
    altered versions do not count). Of m equally near captions, each counts 1 / m."""
    h = evaluate.features(method, data.x)
    n, k = wrong.shape[:2]
    with torch.no_grad():
        image = F.normalize(method.projector(h), dim=1)
        text = method.text_embedding(data.y)
        altered = method.text_embedding(wrong.flatten(0, 1)).view(n, k, -1)
    own = (image * text).sum(1, keepdim=True)
    fine = share_first(own, torch.einsum("nd,nkd->nk", image, altered))
    versions = torch.cat([data.y[:, None], wrong], 1).sort(2).values  # (N, 1 + k, L)
    # (N, N): the same words in any order, or an altered version
    alike = (versions[:, :, None] == data.y.sort(1).values).all(3).any(1)
    distance = (torch.arange(n) - torch.arange(n)[:, None]) % n
    rivals = (image @ text.T).masked_fill(alike | (distance > 99), -torch.inf)
    return fine, share_first(own, rivals)


def share_first(own: Tensor, others: Tensor) -> float:
    """Returns the share of rows whose own score (N, 1) is above all others (N, k). If m
    scores are equal up to rounding, each counts 1 / m."""
    above, equal = others > own + 1e-5, (others - own).abs() <= 1e-5
    first = ~above.any(1) / (1.0 + equal.sum(1))
    return first.double().mean().item()


def composition(recipe: Recipe, seed: int, make, altered) -> dict:
    """Trains the recipe. fine: the share of test pictures whose caption beats its
    altered versions; coarse: the share whose caption is found among 100 with other
    objects. *_new: the same for pairs that are in no training picture."""
    method, about = train_to_the_end(recipe, seed)
    method.eval()
    for name, new in (("", False), ("_new", True)):
        data = make(1000, 1, new=new)
        fine, coarse = margins(method, data, altered(data.y))
        about |= {f"fine{name}": fine, f"coarse{name}": coarse}
    return about


ORDER = partial(composition, make=side_by_side, altered=swapped)

EXPERIMENTS = {
    "clip-styles": {
        f"{name}, without {style}": Setting(
            replace(
                BASE,
                build=build,
                prepare_data=partial(
                    without_style, style=style, captions=build is clip
                ),
            ),
            watched_styles,
            seeds=(0, 1, 2) if style == "openmoji" else (0,),
        )
        for style in STYLES
        for name, build in (("CLIP", clip), ("supervised", supervised))
    },
    "clip-typography": {
        f"{share}": Setting(
            replace(BASE, prepare_data=partial(painted_captions, share=share)),
            attacked,
        )
        for share in (0.0, 0.2, 1.0)
    },
    "clip-order": {
        "bag of words": Setting(
            on_compositions(partial(reads_all, clip_bag_of_words), side_by_side), ORDER
        ),
        "transformer": Setting(
            on_compositions(partial(reads_all, clip), side_by_side), ORDER
        ),
        "transformer, swapped negatives": Setting(
            on_compositions(partial(reads_all, clip, swapped), side_by_side), ORDER
        ),
    },
}
