"""Experiments of notebook 04 on negatives and views: which negatives are hard, MoCHi,
PIRL beside its pretext task, how much two views share, and partly labelled data.

Kalantidis et al. 2020 (arXiv 2010.01028): figures 2 and 3. Misra & van der Maaten 2019
(arXiv 1912.01991): figures 5 and 6. Tian et al. 2020, "What Makes for Good Views for
Contrastive Learning?" (arXiv 2005.10243): figures 3 and 6.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib import evaluate, zoo
from course_lib.augment import (
    ColorJitter,
    Compose,
    RandomApply,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from course_lib.contrastive.mochi import MoCHi
from course_lib.contrastive.moco import MoCo, key_scores, moco_loss
from course_lib.contrastive.moco_experiments import BASE, variant
from course_lib.contrastive.moco_recipes import like_moco_v2, moco_v2, pirl
from course_lib.contrastive.partly_labelled import hide_labels
from course_lib.data import as_float, labelled_subset, load
from course_lib.distillation.collapse_experiments import quick_knn
from course_lib.experiments.jobs import measures, train_to_the_end, watched
from course_lib.experiments.setting import Setting
from course_lib.losses import mutual_information_bound
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.pretext.jigsaw import Jigsaw, cut_tiles, permutation_set
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.run import seeded
from course_lib.transforms import resized_crop, rot90

# Which negatives are hard.

QUERIES, KEYS = 1024, 8192


@torch.no_grad()
def queries_and_keys(method: MoCo, split: str = "train") -> tuple[Tensor, ...]:
    """Returns queries (1,024, dim), their positives, and negatives (8,192, dim) of
    other pictures of the split: random views of it, always the same ones, encoded in
    eval mode. With fewer pictures in the split there are fewer negatives."""
    method.eval()
    x = as_float(load("scenes", split).x[: QUERIES + KEYS])
    with seeded(0):
        (first, positive), (_, other) = (
            method.views(part) for part in (x[:QUERIES], x[QUERIES:])
        )
    return (
        method.embed(method.online, first),
        method.embed(method.key, positive),
        method.embed(method.key, other),
    )


def hardness(method: MoCo) -> dict:
    """Returns what the negatives of training scenes are, by their rank: the hardest
    negative of a query has rank 1.

    same_category, same_emoji: rank group -> share of the negatives that show the
    category (the emoji) of the query. gradient: rank group -> share of the negatives'
    total probability, which is their share of the gradient. positive: mean similarity
    of query and positive; similarity: rank group -> mean similarity.
    """
    data = load("scenes", "train")
    q, k, negatives = queries_and_keys(method)
    scores = key_scores(q, k, negatives)
    p = (scores / method.temperature).softmax(1)[:, 1:]
    order = scores[:, 1:].argsort(1, descending=True)
    p, similarity = p.gather(1, order), scores[:, 1:].gather(1, order)
    row = {"positive": scores[:, 0].mean().item()}
    same = {}
    for name, label in (("category", data.y), ("emoji", data.info["emoji"])):
        theirs = label[QUERIES : QUERIES + KEYS][order]
        same[name] = (theirs == label[:QUERIES, None]).double()
    groups = {"1-10": (0, 10), "11-100": (10, 100), "101-1000": (100, 1000)}
    groups["1001-8192"] = (1000, KEYS)
    table = {"same_category": {}, "same_emoji": {}, "gradient": {}, "similarity": {}}
    for name, (first, last) in groups.items():
        table["same_category"][name] = same["category"][:, first:last].mean().item()
        table["same_emoji"][name] = same["emoji"][:, first:last].mean().item()
        part = p[:, first:last].sum(1) / p.sum(1)
        table["gradient"][name] = part.mean().item()
        table["similarity"][name] = similarity[:, first:last].mean().item()
    return row | table


def untrained_hardness(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **hardness(build(recipe, seed))}


def trained_hardness(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | hardness(method)


# MoCHi during training.


def mochi_of(pairs: int, with_query: int) -> MoCHi:
    return like_moco_v2(MoCHi, hard=512, pairs=pairs, with_query=with_query)


def progress_of(method: MoCo) -> dict[str, float]:
    """Returns measures of a run on the validation scenes.

    knn: `quick_knn`. pretext: the share of queries whose positive is more
    similar than all negatives. top_64: the share of the 64 hardest negatives in the
    gradient of all negatives.
    """
    scores = key_scores(*queries_and_keys(method, "val"))
    p = (scores / method.temperature).softmax(1)[:, 1:]
    return {
        "knn": quick_knn(method),
        "pretext": (scores.argmax(1) == 0).double().mean().item(),
        "top_64": (p.topk(64, 1).values.sum(1) / p.sum(1)).mean().item(),
    }


def over_training(recipe: Recipe, seed: int) -> dict:
    method, about = watched(recipe, seed, progress_of)
    return about | measures(method, recipe.data)


LONG = Size(400, 128, 3.5e-3)


# PIRL beside the pretext task with the same transformation.


def jigsaw_of(permutations: int) -> Jigsaw:
    encoder = ResNet(widths=(24, 48, 96))
    classifier = mlp(9 * encoder.dim, 128, permutations)
    return Jigsaw(encoder, classifier, permutation_set(9, permutations), tile=8)


@torch.no_grad()
def shuffled(x: Tensor) -> Tensor:
    """Returns pictures whose nine tiles are in a random order, without gaps: (N, C, 32,
    32) -> (N, C, 24, 24)."""
    order = torch.rand(len(x), 9).argsort(1)
    tiles = cut_tiles(x, torch.ones(len(x), 9, 2, dtype=torch.long), 8)
    tiles = tiles[torch.arange(len(x))[:, None], order]
    return rearrange(tiles, "n (a b) c h w -> n c (a h) (b w)", a=3)


def distances(method: nn.Module) -> dict[str, float]:
    """Returns mean distances of unit features of test scenes I and of transformed ones:
    shuffled, to the same scene with shuffled tiles; rotated, to the scene rotated by 90
    degrees; others, to other scenes. Distances are in [0, 2]."""
    x = as_float(load("scenes", "test").x[:2000])
    with seeded(0):
        # the unshuffled picture has the same crop and size
        pairs = {"shuffled": (x[:, :, 3:27, 3:27], shuffled(x))}
    pairs["rotated"] = x, rot90(x, torch.ones(len(x), dtype=torch.long))
    pairs["others"] = x, x.roll(1, 0)
    return {
        name: (
            F.normalize(evaluate.features(method, a), dim=1)
            - F.normalize(evaluate.features(method, b), dim=1)
        )
        .norm(dim=1)
        .mean()
        .item()
        for name, (a, b) in pairs.items()
    }


def trained_distances(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | distances(method)


def shipped_distances(name: str, recipe: Recipe, seed: int) -> dict:
    """Returns the distances of the weights that ship with the course."""
    return {"steps": zoo.manifest()[name]["steps"], **distances(zoo.load(name))}


def untrained_distances(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **distances(build(recipe, seed))}


# How much two views share (InfoMin).


class CropPairMoCo(MoCo):
    """MoCo whose views are two crops of 16 x 16 pixels at a fixed distance: `offset`
    pixels to the right or left, and as many down or up, from 0 (the same crop) to 16
    (they touch at a corner)."""

    offset = 0

    def views(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, device = len(x), x.device
        room = x.shape[-1] - 16 - self.offset
        first = torch.randint(room + 1, (n, 2), device=device)
        # down or up, right or left
        turned = torch.rand(n, 2, device=device) < 0.5
        second = first + self.offset
        first, second = (
            torch.where(turned, second, first),
            torch.where(turned, first, second),
        )
        sides = torch.full_like(first, 16)
        return tuple(
            resized_crop(x, torch.cat([corner, sides], 1), 16)
            for corner in (first, second)
        )


def crops_at(offset: int) -> CropPairMoCo:
    method = like_moco_v2(CropPairMoCo)
    method.offset = offset
    return method


def colours_of(strength: float) -> MoCo:
    """Returns MoCo v2 with crop, flip and a colour jitter of this strength for each
    view, as in the paper's section 4.2."""
    method = moco_v2()
    s = 0.8 * strength
    jitter = ColorJitter(s, s, s, min(0.2 * strength, 0.5))
    method.augment = Compose(
        [
            RandomResizedCrop(32, scale=(0.2, 1.0)),
            RandomHorizontalFlip(),
            *([RandomApply(jitter, 0.8)] if strength else []),
        ]
    )
    return method


def shared_information(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns `measures` and bound: log(K + 1) minus the loss on
    views of test scenes, in nats, a lower bound of the mutual information of the two
    views. It is at most log(K + 1), here 8.0."""
    method, about = train_to_the_end(recipe, seed)
    q, k, negatives = queries_and_keys(method, "test")
    loss = moco_loss(q, k, negatives, method.temperature)
    bound = mutual_information_bound(loss.item(), len(negatives) + 1)
    return about | measures(method, recipe.data) | {"bound": bound}


# Partly labelled data.


def with_labels(fraction: float, recipe: Recipe, seed: int) -> dict:
    """Trains the recipe and returns `measures` and labelled_only: the test accuracy of
    a linear classifier that is fitted only on the labelled scenes."""
    method, about = train_to_the_end(recipe, seed)
    row = about | measures(method, recipe.data)
    if fraction:
        data, test = load(recipe.data, "train"), load(recipe.data, "test")
        h, h_test = evaluate.features(method, data.x), evaluate.features(method, test.x)
        draws = [labelled_subset(data, fraction=fraction, seed=0)]
        found = evaluate.few_labels(h, data.y, draws, h_test, test.y)
        row["labelled_only"] = found.item()
    return row


def labelled(fraction: float) -> Setting:
    hidden = partial(hide_labels, fraction=fraction)
    recipe = replace(lookup("partly-labelled"), prepare_data=hidden)
    return Setting(recipe, partial(with_labels, fraction))


def with_permutations(build_one: Callable, permutations: int, recipe: str) -> Setting:
    size = Size(200, 128, 3.5e-3)
    return Setting(
        replace(lookup(recipe), build=partial(build_one, permutations), cpu=size)
    )


EXPERIMENTS = {
    "moco-hardest": {
        "random encoder": Setting(lookup("moco-v2"), untrained_hardness),
        "MoCo v2": Setting(lookup("moco-v2"), trained_hardness),
    },
    "mochi-training": {
        "MoCo v2": Setting(replace(BASE, cpu=LONG), over_training),
        "MoCHi": Setting(variant(mochi_of, 128, 128, cpu=LONG), over_training),
    },
    "pirl-permutations": {
        **{
            f"Jigsaw, {p}": with_permutations(jigsaw_of, p, "jigsaw") for p in (4, 1000)
        },
        **{f"PIRL, {p}": with_permutations(pirl, p, "pirl") for p in (4, 1000)},
    },
    "pirl-distances": {
        "random encoder": Setting(lookup("pirl"), untrained_distances),
        "RotNet": Setting(
            lookup("rotation"), partial(shipped_distances, "rotation"), seeds=(0,)
        ),
        "Jigsaw": Setting(
            lookup("jigsaw"), partial(shipped_distances, "jigsaw"), seeds=(0,)
        ),
        "PIRL, rotation": Setting(lookup("pirl-rotation"), trained_distances),
        "PIRL, jigsaw": Setting(lookup("pirl"), trained_distances),
    },
    "infomin-crops": {
        f"{offset}": Setting(variant(crops_at, offset), shared_information)
        for offset in (0, 4, 8, 12, 16)
    },
    "infomin-colour": {
        f"{strength}": Setting(variant(colours_of, strength), shared_information)
        for strength in (0.0, 0.3, 1.0, 3.0)
    },
    "partly-labelled-share": {
        f"{fraction:.0%}": labelled(fraction) for fraction in (0.0, 0.01, 0.1, 0.5, 1.0)
    },
}
