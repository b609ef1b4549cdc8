"""Fidelity against diversity, two kinds of guidance, label dropout, new captions:
experiments of notebook 15.

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
from course_lib.data import Dataset, load
from course_lib.data.captions import captions, withheld
from course_lib.data.emoji import STYLES
from course_lib.data.words import word_lists
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.experiments import digits_ddpm
from course_lib.diffusion.guidance import classifier_guided, guided
from course_lib.diffusion.guidance_recipes import conditional_ddpm, noisy_classifier
from course_lib.diffusion.samplers import EpsFn, ddim, last
from course_lib.experiments.jobs import train_to_the_end
from course_lib.experiments.judge import generation_metrics, judge_of, some_of
from course_lib.experiments.setting import Setting
from course_lib.recipe import Recipe, lookup
from course_lib.run import seeded

SAMPLES = 250  # pictures for each weight
STEPS = 20  # of DDIM
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)


# Measures.


def draw(
    method: DDPM, eps_fn: EpsFn, shape: tuple[int, ...], seed: int, steps: int = STEPS
) -> Tensor:
    """Pictures from the seed's noise by DDIM, with the noise that eps_fn says at the
    method's levels."""
    with seeded(seed):
        x = torch.randn(shape)
    return method.denormalise(
        last(
            ddim(eps_fn, x, method.schedule, steps, clip_denoised=method.clip_denoised)
        )
    )


def judge_logits(pictures: Tensor, data: str) -> Tensor:
    """The judge's logits, of a classifier that had no part in training or guiding: (N,
    classes)."""
    judge = judge_of(data)
    return judge.classifier(evaluate.features(judge, pictures))


def picked(data: str) -> Dataset:
    """SAMPLES unseen pictures, the same for every row."""
    test = load(data, "test")
    return test[
        torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    ]


def sweep(
    method: DDPM,
    real: Dataset,
    data: str,
    seed: int,
    guide: Callable[[float], EpsFn],
    weights: tuple = WEIGHTS,
) -> dict[str, list]:
    """By w: `generation_metrics`, `accuracy`, the share of draws in which the judge
    sees their label, and seconds: {"w": [...], measure: [...]}. Every w begins with the
    same noise."""
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
    """As many training pictures instead of draws, of whatever class: how low the
    distance can be. And how often the judge is right about the unseen ones."""
    unseen, others = (
        picked(recipe.data),
        some_of(load(recipe.data, "train").x, SAMPLES, seed),
    )
    accuracy = evaluate.accuracy(judge_logits(unseen.x, recipe.data), unseen.y)
    return {"steps": 0, "accuracy": accuracy} | generation_metrics(
        others, unseen.x, recipe.data
    )


def swept(recipe: Recipe, seed: int, weights: tuple = WEIGHTS) -> dict:
    """The recipe, trained; classifier-free guidance over w."""
    method, about = train_to_the_end(recipe, seed)
    unseen, eps = picked(recipe.data), method.eval().eps
    curve = sweep(
        method, unseen, recipe.data, seed, lambda w: guided(eps, unseen.y, w), weights
    )
    return about | {"curve": curve}


def swept_shipped(recipe: Recipe, seed: int, name: str) -> dict:
    """The course's weights, drawing from the seed's noise; captions are told the
    category only."""
    method, unseen = zoo.load(name), picked(recipe.data)
    y = unseen.y
    if recipe.prepare_data:
        y = captions(unseen)
        y[:, 0], y[:, 2:] = 0, 0
    curve = sweep(method, unseen, recipe.data, seed, lambda w: guided(method.eps, y, w))
    return {"steps": STEPS, "curve": curve}


def swept_by_classifier(recipe: Recipe, seed: int, judge: Recipe) -> dict:
    """The recipe's unconditional model and a classifier, both trained: classifier
    guidance over w, that is with scale 1 + w. `seconds` are of both."""
    method, about = train_to_the_end(recipe, seed)
    classifier, too = train_to_the_end(judge, seed)
    unseen, eps, log_prob = (
        picked(recipe.data),
        method.eval().eps,
        classifier.eval().log_prob,
    )

    def guide(w: float) -> EpsFn:
        return classifier_guided(eps, log_prob, unseen.y, 1 + w, method.schedule)

    about["seconds"] += too["seconds"]
    return about | {"curve": sweep(method, unseen, recipe.data, seed, guide)}


def composed(recipe: Recipe, seed: int, which: str) -> dict:
    """Captions with style and name, by w: `found`, how often the draw is nearest, of
    all of the group's drawings, to a drawing of the emoji asked for; `style`, how
    often, of this emoji's three, to the one in the style asked for.

    which: "shown", drawings that were trained on, of the emoji of "style withheld", one
    style of each, which was not shown; "new names", emoji never shown, of known words.
    Near: by cosine of the judge's features.
    """
    rows, method = group(which), zoo.load("text-ddpm")
    y, emoji, judge = captions(rows), rows.info["emoji"], judge_of(recipe.data)
    y[:, 1] = 0  # the name should say the category
    every = load(recipe.data, "test" if which == "new names" else "train")
    bank = every[torch.isin(every.info["emoji"], emoji)]
    unit = nn.functional.normalize(evaluate.features(judge, bank.x), dim=1)
    curve = {"w": [], "found": [], "style": []}
    for w in (0.0, 1.0, 3.0):
        pictures = draw(method, guided(method.eps, y, w), (len(rows), 3, 32, 32), seed)
        # (N, bank)
        likeness = (
            nn.functional.normalize(evaluate.features(judge, pictures), dim=1) @ unit.T
        )
        same = bank.info["emoji"] == emoji[:, None]
        by_style = bank.info["style"][likeness.masked_fill(~same, -torch.inf).argmax(1)]
        curve["w"].append(w)
        curve["found"].append(
            (bank.info["emoji"][likeness.argmax(1)] == emoji).float().mean().item()
        )
        curve["style"].append((by_style == rows.info["style"]).float().mean().item())
    return {
        "steps": STEPS,
        "rows": len(rows),
        "emoji": len(emoji.unique()),
        "curve": curve,
    }


def group(which: str) -> Dataset:
    """The rows of `composed`."""
    train, test = load("emoji_on_white", "train"), load("emoji_on_white", "test")
    if which == "new names":
        rows = test[newly_named(test, train)]
        return rows[rows.info["style"] == rows.info["emoji"] % len(STYLES)]
    if which == "style withheld":
        return train[withheld(train)]
    turned = (train.info["emoji"] // 10 + 1) % len(STYLES)
    return train[(train.info["emoji"] % 10 == 0) & (train.info["style"] == turned)]


def newly_named(emoji: Dataset, train: Dataset) -> Tensor:
    """Which rows have a name of two words or more, all of them known, that no training
    emoji has in any order: (N,)."""
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

# A noise-aware classifier costs about as much as 70 updates of the model that needs
# none.
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
    },
    "guidance-kinds": {
        "classifier-free": Setting(CONDITIONAL, swept),
        "classifier": Setting(
            UNCONDITIONAL,
            partial(swept_by_classifier, judge=CLASSIFIER),
            pretrained=CLASSIFIER,
        ),
        "classifier of clean pictures": Setting(
            UNCONDITIONAL, partial(swept_by_classifier, judge=CLEAN), pretrained=CLEAN
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
