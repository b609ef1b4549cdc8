"""Experiments of notebook 15: fidelity against diversity, guidance in an interval, two
samplers, two kinds of guidance, label dropout, new captions.

Ho & Salimans 2022 (arXiv 2207.12598), figure 4, tables 1 and 2. Dhariwal & Nichol 2021
(arXiv 2105.05233), table 4.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import evaluate, zoo
from course_lib.data import Dataset, as_float, load
from course_lib.data.captions import captions, withheld
from course_lib.data.emoji import STYLES
from course_lib.data.words import word_lists
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.experiments import digits_ddpm
from course_lib.diffusion.guidance import classifier_guided, guided, in_interval
from course_lib.diffusion.guidance_recipes import conditional_ddpm, noisy_classifier
from course_lib.diffusion.samplers import EpsFn, ddim, last
from course_lib.experiments.jobs import train_to_the_end
from course_lib.experiments.judge import generation_metrics, judge_of, some_of
from course_lib.experiments.setting import Setting
from course_lib.recipe import Recipe, lookup
from course_lib.run import seeded

SAMPLES = 250  # pictures for each guidance weight
STEPS = 20  # number of DDIM steps
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)


# Measures.


def draw(
    method: DDPM, eps_fn: EpsFn, shape: tuple[int, ...], seed: int, steps: int = STEPS
) -> Tensor:
    """Draws pictures by DDIM from the noise of this seed, with the noise predictions
    of eps_fn and the method's schedule."""
    with seeded(seed):
        x = torch.randn(shape)
    path = ddim(eps_fn, x, method.schedule, steps, clip_denoised=method.clip_denoised)
    return method.denormalise(last(path))


def judge_logits(pictures: Tensor, data: str) -> Tensor:
    """Returns the logits of the evaluation network, (N, classes). This classifier is
    used neither for training nor for guidance."""
    judge = judge_of(data)
    return judge.classifier(evaluate.features(judge, pictures))


def picked(data: str) -> Dataset:
    """Returns SAMPLES test pictures, the same ones for all rows of the results."""
    test = load(data, "test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    return test[order[:SAMPLES]]


def sweep(
    method: DDPM,
    real: Dataset,
    data: str,
    seed: int,
    guide: Callable[[float], EpsFn],
    weights: tuple = WEIGHTS,
) -> dict[str, list]:
    """Returns {"w": [...], measure: [...]}: measures of the samples for each weight w.

    They are `generation_metrics`, `draw_seconds`, and `accuracy`: the fraction of the
    samples that the evaluation network assigns to their label. All weights start from
    the same noise. guide: w -> the noise prediction with guidance.
    """
    curve = {}
    for w in weights:
        began = time.perf_counter()
        pictures = draw(method, guide(w), real.x.shape, seed)
        spent = time.perf_counter() - began
        accuracy = evaluate.accuracy(judge_logits(pictures, data), real.y)
        row = {
            "w": w,
            "accuracy": accuracy,
            **generation_metrics(pictures, real.x, data),
            "draw_seconds": spent,
        }
        for name, value in row.items():
            curve.setdefault(name, []).append(value)
    return curve


# Jobs.


def real(recipe: Recipe, seed: int) -> dict:
    """Returns the metrics of SAMPLES training pictures of all classes instead of
    samples: how small the distances can be. accuracy: the accuracy of the evaluation
    network on the test pictures."""
    test = picked(recipe.data)
    others = some_of(load(recipe.data, "train").x, SAMPLES, seed)
    accuracy = evaluate.accuracy(judge_logits(test.x, recipe.data), test.y)
    metrics = generation_metrics(others, test.x, recipe.data)
    return {"steps": 0, "accuracy": accuracy} | metrics


def real_of_labels(recipe: Recipe, seed: int) -> dict:
    """Returns the metrics of training pictures, as many of each label as `picked` has:
    how small the distances can be for samples of these labels. accuracy: the accuracy
    of the evaluation network on these training pictures."""
    test, train = picked(recipe.data), load(recipe.data, "train")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat(
        [
            order[train.y[order] == label][:count]
            for label, count in enumerate(test.y.bincount().tolist())
        ]
    )
    pictures = as_float(train.x[chosen])
    logits = judge_logits(pictures, recipe.data)
    accuracy = evaluate.accuracy(logits, train.y[chosen])
    metrics = generation_metrics(pictures, test.x, recipe.data)
    return {"steps": 0, "accuracy": accuracy} | metrics


def swept_interval(
    recipe: Recipe, seed: int, name: str, low: int, high: int, weights: tuple
) -> dict:
    """Measures classifier-free guidance that acts at steps low <= t < high only, with
    the course's trained weights and the noise of this seed, for each weight w."""
    method, test = zoo.load(name), picked(recipe.data)

    def guide(w: float) -> EpsFn:
        free = guided(method.eps, test.y, w)
        return in_interval(free, partial(method.eps, y=test.y), low, high)

    curve = sweep(method, test, recipe.data, seed, guide, weights)
    return {"steps": STEPS, "curve": curve}


def swept_ancestral(recipe: Recipe, seed: int, name: str, weights: tuple) -> dict:
    """Measures classifier-free guidance as `swept_shipped` does, but with fresh noise
    at each of STEPS steps (ancestral sampling), for each weight w."""
    method, test = zoo.load(name), picked(recipe.data)
    curve = {}
    for w in weights:
        with seeded(seed):
            x_T = torch.randn(test.x.shape)
            eps_fn, limit = guided(method.eps, test.y, w), method.clip_denoised
            path = ddim(
                eps_fn, x_T, method.schedule, STEPS, eta=1.0, clip_denoised=limit
            )
            pictures = method.denormalise(last(path))
        accuracy = evaluate.accuracy(judge_logits(pictures, recipe.data), test.y)
        metrics = generation_metrics(pictures, test.x, recipe.data)
        for key, value in ({"w": w, "accuracy": accuracy} | metrics).items():
            curve.setdefault(key, []).append(value)
    return {"steps": STEPS, "curve": curve}


def swept(recipe: Recipe, seed: int, weights: tuple = WEIGHTS) -> dict:
    """Trains the recipe; measures classifier-free guidance for each weight w."""
    method, about = train_to_the_end(recipe, seed)
    test, eps = picked(recipe.data), method.eval().eps
    curve = sweep(
        method, test, recipe.data, seed, lambda w: guided(eps, test.y, w), weights
    )
    return about | {"curve": curve}


def swept_shipped(recipe: Recipe, seed: int, name: str) -> dict:
    """Measures classifier-free guidance for each weight w, with the course's trained
    weights and the noise of this seed. Captions contain the category only."""
    method, test = zoo.load(name), picked(recipe.data)
    y = test.y
    if recipe.prepare_data:
        y = captions(test)
        y[:, 0], y[:, 2:] = 0, 0
    curve = sweep(method, test, recipe.data, seed, lambda w: guided(method.eps, y, w))
    return {"steps": STEPS, "curve": curve}


def swept_by_classifier(recipe: Recipe, seed: int, classifier_recipe: Recipe) -> dict:
    """Trains the recipe's unconditional model and a classifier; measures classifier
    guidance with scale 1 + w for each weight w. `seconds` is the time of both
    trainings."""
    method, about = train_to_the_end(recipe, seed)
    classifier, about_classifier = train_to_the_end(classifier_recipe, seed)
    eps, log_prob = method.eval().eps, classifier.eval().log_prob
    test = picked(recipe.data)

    def guide(w: float) -> EpsFn:
        return classifier_guided(eps, log_prob, test.y, 1 + w, method.schedule)

    about["seconds"] += about_classifier["seconds"]
    return about | {"curve": sweep(method, test, recipe.data, seed, guide)}


def composed(recipe: Recipe, seed: int, which: str) -> dict:
    """Draws with captions of style and name, for each weight w; returns the fractions
    `found` and `style` of the samples that fit their caption.

    found: a sample counts if its nearest drawing, of all drawings of the group, shows
    the emoji of the caption. style: a sample counts if its nearest drawing, of the
    three drawings of this emoji, has the style of the caption. The nearest drawing has
    the largest cosine of the evaluation network's features.

    which: the group of captions. "style withheld": emoji of which one style was left
    out of training, in this style. "shown": the same emoji, in a style that was trained
    on. "new names": emoji that were not trained on, whose names consist of known words.
    """
    rows, method = group(which), zoo.load("text-ddpm")
    y, emoji, judge = captions(rows), rows.info["emoji"], judge_of(recipe.data)
    y[:, 1] = 0  # no category: the name should be enough
    every = load(recipe.data, "test" if which == "new names" else "train")
    bank = every[torch.isin(every.info["emoji"], emoji)]
    unit = nn.functional.normalize(evaluate.features(judge, bank.x), dim=1)
    curve = {"w": [], "found": [], "style": []}
    for w in (0.0, 1.0, 3.0):
        pictures = draw(method, guided(method.eps, y, w), (len(rows), 3, 32, 32), seed)
        h = nn.functional.normalize(evaluate.features(judge, pictures), dim=1)
        cosine = h @ unit.T  # (N, bank)
        nearest = cosine.argmax(1)
        same = bank.info["emoji"] == emoji[:, None]
        nearest_of_same = cosine.masked_fill(~same, -torch.inf).argmax(1)
        found = bank.info["emoji"][nearest] == emoji
        right_style = bank.info["style"][nearest_of_same] == rows.info["style"]
        curve["w"].append(w)
        curve["found"].append(found.float().mean().item())
        curve["style"].append(right_style.float().mean().item())
    return {
        "steps": STEPS,
        "rows": len(rows),
        "emoji": len(emoji.unique()),
        "curve": curve,
    }


def group(which: str) -> Dataset:
    """Returns the emoji of which `composed` uses the captions."""
    train, test = load("emoji_on_white", "train"), load("emoji_on_white", "test")
    if which == "new names":
        rows = test[newly_named(test, train)]
        return rows[rows.info["style"] == rows.info["emoji"] % len(STYLES)]
    if which == "style withheld":
        return train[withheld(train)]
    turned = (train.info["emoji"] // 10 + 1) % len(STYLES)
    return train[(train.info["emoji"] % 10 == 0) & (train.info["style"] == turned)]


def newly_named(emoji: Dataset, train: Dataset) -> Tensor:
    """Returns True, (N,), for each row whose name has at least two words, all of them
    known, and is not the name of a training emoji, in any order of the words."""
    lists, words = word_lists(names_only=True), captions(emoji)[:, 2:]
    trained = {
        frozenset(lists[e].tolist()) for e in train.info["emoji"].unique().tolist()
    }
    names = [lists[e].tolist() for e in emoji.info["emoji"].tolist()]
    new = torch.tensor(
        [len(name) > 1 and frozenset(name) not in trained for name in names]
    )
    return new & ((words > 0).sum(1) == torch.tensor([len(name) for name in names]))


# Experiments.

# Training the noise-aware classifier takes about as long as 100 updates of the
# conditional model, which needs no classifier. The unconditional model is trained with
# 70 fewer updates, so this side gets a little more.
CONDITIONAL = lookup("conditional-ddpm")
UNCONDITIONAL = replace(
    CONDITIONAL,
    build=partial(digits_ddpm, "v"),
    cpu=replace(CONDITIONAL.cpu, steps=330),
)
CLASSIFIER = lookup("noisy-classifier")
CLEAN = replace(CLASSIFIER, build=partial(noisy_classifier, noise=False))

EXPERIMENTS = {
    "guidance-weights": {
        "real digits": Setting(CONDITIONAL, real),
        "digits, shipped": Setting(
            CONDITIONAL, partial(swept_shipped, name="conditional-ddpm")
        ),
        "real emoji": Setting(lookup("text-ddpm"), real),
        "emoji, shipped": Setting(
            lookup("text-ddpm"), partial(swept_shipped, name="text-ddpm")
        ),
        "real digits, same labels": Setting(CONDITIONAL, real_of_labels),
        "real emoji, same labels": Setting(lookup("text-ddpm"), real_of_labels),
    },
    "guidance-intervals": {
        name: Setting(
            CONDITIONAL,
            partial(
                swept_interval,
                name="conditional-ddpm",
                low=low,
                high=high,
                weights=(1.0, 4.0),
            ),
        )
        for name, (low, high) in {
            "little noise": (0, 333),
            "medium noise": (333, 667),
            "much noise": (667, 1000),
        }.items()
    },
    "guidance-samplers": {
        "ancestral": Setting(
            CONDITIONAL,
            partial(swept_ancestral, name="conditional-ddpm", weights=(0.0, 1.0, 4.0)),
        )
    },
    "guidance-kinds": {
        "classifier-free": Setting(CONDITIONAL, swept),
        "classifier": Setting(
            UNCONDITIONAL,
            partial(swept_by_classifier, classifier_recipe=CLASSIFIER),
            pretrained=CLASSIFIER,
        ),
        "classifier of clean pictures": Setting(
            UNCONDITIONAL,
            partial(swept_by_classifier, classifier_recipe=CLEAN),
            pretrained=CLEAN,
        ),
    },
    "guidance-dropout": {
        f"{dropout:g}": Setting(
            replace(CONDITIONAL, build=partial(conditional_ddpm, dropout)),
            partial(swept, weights=(0.0, 1.0, 4.0)),
        )
        for dropout in (0.0, 0.2, 0.5)
    },
    "guidance-captions": {
        which: Setting(lookup("text-ddpm"), partial(composed, which=which))
        for which in ("shown", "style withheld", "new names")
    },
}
