"""The experiments of notebook 15: their measures, and that each setting is the one its
name says. Also the option of tools/train_zoo.py that starts from another method's
weights.

A network that always predicts given pictures replaces trained ones. The expected groups
of emoji are built again from their names.
"""

import importlib.util
import json
import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import pytest
import torch
from methods import ddim_by_hand, few_rows, same, state_of
from torch import nn

from course_lib import experiments, zoo
from course_lib.data import Dataset, as_float, emoji_names, load
from course_lib.data.captions import LENGTH, captioned, captions, token_names
from course_lib.data.emoji import STYLES
from course_lib.data.words import words_of
from course_lib.diffusion import guidance_experiments as studies
from course_lib.diffusion.conditional import ConditionalDDPM
from course_lib.diffusion.ddpm import DDPM, X0, V
from course_lib.diffusion.guidance import NoisyClassifier
from course_lib.diffusion.guidance_experiments import (
    CLASSIFIER,
    CLEAN,
    CONDITIONAL,
    EXPERIMENTS,
    UNCONDITIONAL,
    WEIGHTS,
    composed,
    draw,
    group,
    judge_logits,
    newly_named,
    picked,
    real,
    real_of_labels,
    sweep,
    swept,
    swept_ancestral,
    swept_by_classifier,
    swept_interval,
    swept_shipped,
)
from course_lib.diffusion.guidance_recipes import conditional_ddpm
from course_lib.diffusion.schedules import cosine_betas
from course_lib.experiments import jobs
from course_lib.experiments.judge import generation_metrics
from course_lib.nets.unet import LabelEmbedding, UNet, UNetEncoder
from course_lib.recipe import Recipe, Size, build, lookup, recipes

JUDGEMENT = {"frechet", "kernel", "precision", "recall", "detail"}
RUN = {"steps", "batch_size", "seconds"}
MEASURED = {"w", "accuracy", "draw_seconds"} | JUDGEMENT
GROUPS = ("shown", "style withheld", "new names")
BETAS = cosine_betas(60)


def noise(*shape, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.randn(shape)


class Knows(nn.Module):
    """Predicts these pictures as x_0, whatever the input. `knowing` sets the network,
    but not its moving average, to grey."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(2 * as_float(x) - 1)

    def forward(self, x_t, t, y=None):
        return self.x[: len(x_t)]


def knowing(x):
    """A method whose network predicts grey and whose average predicts the pictures."""
    method = DDPM(Knows(x), BETAS, X0)
    nn.init.zeros_(method.net.x)
    return method


def by_hand(x, data="digits"):
    """The classes that the judge assigns, row by row."""
    judge, found = (
        zoo.load({"digits": "supervised-digits", "emoji_on_white": "supervised"}[data]),
        [],
    )
    weight, bias = judge.classifier.weight.tolist(), judge.classifier.bias.tolist()
    with torch.no_grad():
        rows = judge.encode(as_float(x)).tolist()
    for h in rows:
        scores = [sum(a * b for a, b in zip(w, h)) + c for w, c in zip(weight, bias)]
        found.append(scores.index(max(scores)))
    return found


def share(found, y):
    return mean(a == b for a, b in zip(found, y.tolist(), strict=True))


# What is measured.


@pytest.mark.parametrize("pictures", [True, False])
def test_draw_equals_ddim_from_the_noise_of_the_seed(pictures):
    method, shape = DDPM(nn.Linear(1, 1), BETAS, pictures=pictures), (30, 1, 3, 2)
    state = torch.get_rng_state()

    def eps_fn(x, t):
        assert x.shape == shape and t.shape == (30,) and not torch.is_grad_enabled()
        return torch.sin(0.7 * x + 0.1 * t.view(-1, 1, 1, 1))

    found = draw(method, eps_fn, shape, 3)
    assert (
        torch.equal(state, torch.get_rng_state())
        and not found.requires_grad
        and found.shape == shape
    )
    for picture, steps in ((found, 20), (draw(method, eps_fn, shape, 3, 7), 7)):
        x0 = ddim_by_hand(BETAS, noise(*shape, seed=3), steps, limit=pictures)
        expected = ((x0 + 1) / 2).clamp(0, 1) if pictures else x0
        torch.testing.assert_close(picture.double(), expected, atol=1e-3, rtol=1e-3)
    assert not pictures or 0 <= found.min() < found.max() <= 1
    torch.rand(7)
    assert torch.equal(draw(method, eps_fn, shape, 3), found)  # the same again
    assert (draw(method, eps_fn, shape, 4) - found).abs().max() > 0.1


def test_judge_logits_are_those_of_the_judge_of_the_data():
    x, y = load("digits", "test").x[:200], load("digits", "test").y[:200]
    found = judge_logits(x, "digits")
    assert found.shape == (200, 10) and torch.equal(
        judge_logits(as_float(x), "digits"), found
    )
    assert found.argmax(1).tolist() == by_hand(x) and share(by_hand(x), y) > 0.95
    emoji = load("emoji_on_white", "test").x[:40]
    assert judge_logits(emoji, "emoji_on_white").argmax(1).tolist() == by_hand(
        emoji, "emoji_on_white"
    )


@pytest.mark.parametrize(("data", "rows"), [("digits", 2000), ("emoji_on_white", 1146)])
def test_picked_gives_the_same_250_test_pictures_each_once(monkeypatch, data, rows):
    usual, test, state = picked(data), load(data, "test"), torch.get_rng_state()
    assert len(test) == rows

    def numbered(name, split):
        assert (name, split) == (data, "test")
        return replace(test, info={"row": torch.arange(rows)})

    monkeypatch.setattr(studies, "load", numbered)
    number = picked(data).info["row"]
    assert len(number) == len(number.unique()) == studies.SAMPLES == 250
    assert torch.equal(usual.x, test.x[number]) and torch.equal(usual.y, test.y[number])
    torch.rand(3)
    # not only the first
    assert torch.equal(picked(data).info["row"], number) and number.max() > rows / 2
    torch.set_rng_state(state)


def test_sweep_starts_every_weight_from_the_same_noise_and_measures_each_alone(
    monkeypatch,
):
    """A clock that advances by 1 with each call for the noise, and by 100 with each
    judgement."""
    unseen, ticks, began = load("digits", "test")[:40], [0], []
    pictures = {
        0.0: unseen.x,
        0.5: unseen.x.roll(1, 0),
        3.0: torch.cat([unseen.x[:20], unseen.x[:20]]),
    }
    method = knowing(unseen.x)

    def guide(w):
        known, calls = knowing(pictures[w]).eval(), []

        def eps_fn(x, t):
            calls.append(x)
            ticks.append(1)
            if len(calls) == 1:
                began.append(x)
            return known.eps(x, t)

        return eps_fn

    def slowly(drawn, others, data):
        ticks.append(100)
        return generation_metrics(drawn, others, data)

    monkeypatch.setattr(studies, "generation_metrics", slowly)
    monkeypatch.setattr(
        studies, "time", SimpleNamespace(perf_counter=lambda: sum(ticks))
    )
    found = sweep(method, unseen, "digits", 5, guide, tuple(pictures))
    assert set(found) == MEASURED and json.loads(json.dumps(found)) == found
    assert found["w"] == [0.0, 0.5, 3.0] and found["draw_seconds"] == [20, 20, 20]
    assert len(began) == 3 and all(
        torch.equal(x, noise(40, 1, 28, 28, seed=5)) for x in began
    )
    assert found["accuracy"] == pytest.approx(
        [share(by_hand(x), unseen.y) for x in pictures.values()]
    )
    assert (
        found["accuracy"][0]
        > 0.9
        > 0.8
        > found["accuracy"][2]
        > 0.4
        > found["accuracy"][1]
    )
    for k, x in enumerate(pictures.values()):
        expected = generation_metrics(as_float(x), unseen.x, "digits")
        assert {name: found[name][k] for name in JUDGEMENT} == pytest.approx(
            expected, abs=1e-3
        )


# Jobs.


@pytest.fixture
def few(tmp_path, monkeypatch):
    """The loader of few rows; as few pictures are drawn."""
    monkeypatch.setattr(studies, "SAMPLES", 40)
    return few_rows(tmp_path, monkeypatch, studies)


@pytest.fixture
def swept_over(monkeypatch):
    """The arguments of each call of `sweep`: (method, real, data, seed, guide,
    weights)."""
    found = []

    def recorded(method, real, data, seed, guide, weights=WEIGHTS):
        found.append((method, real, data, seed, guide, weights))
        return {"w": list(weights)}

    monkeypatch.setattr(studies, "sweep", recorded)
    return found


@pytest.fixture
def guided_by(monkeypatch):
    """The arguments of each call of `guided`: (eps, y, w)."""
    found = []

    def recorded(eps, y, w):
        found.append((eps, y, w))
        return eps

    monkeypatch.setattr(studies, "guided", recorded)
    return found


def tiny(recipe, build=None):
    size = Size(2, 16, 1e-3)
    return replace(recipe, cpu=size, gpu=size, build=build or recipe.build)


def tiny_told():
    net = UNet(1, (8,), patch=4, label=LabelEmbedding(10, 16))
    return ConditionalDDPM(net, cosine_betas(50), torch.tensor(10))


def tiny_untold():
    return DDPM(UNet(1, (8,), patch=4), cosine_betas(50))


def tiny_classifier():
    return NoisyClassifier(
        UNetEncoder(1, (8,), patch=4), nn.Linear(8, 10), cosine_betas(50)
    )


def is_the_picked(data, few):
    """40 of the few unseen rows with their labels, each once."""
    number = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    test = few("digits", "test")
    return torch.equal(data.x, test.x[number]) and torch.equal(data.y, test.y[number])


def test_swept_guides_the_trained_method_to_the_test_labels(
    few, monkeypatch, swept_over, guided_by
):
    method = knowing(few("digits", "test").x[:40]).train()
    monkeypatch.setattr(
        studies,
        "train_to_the_end",
        lambda recipe, seed: (method, {"steps": 7, "seconds": seed}),
    )
    assert swept(CONDITIONAL, 3) == {
        "steps": 7,
        "seconds": 3,
        "curve": {"w": list(WEIGHTS)},
    }
    assert swept(CONDITIONAL, 4, weights=(0.0, 2.5))["curve"] == {"w": [0.0, 2.5]}
    for (who, unseen, data, seed, guide, weights), expected in zip(
        swept_over, (WEIGHTS, (0.0, 2.5)), strict=True
    ):
        assert (
            who is method
            and not method.training
            and is_the_picked(unseen, few)
            and data == "digits"
        )
        assert seed == (3 if weights == WEIGHTS else 4) and weights == expected
        guide(1.5)
        eps, y, w = guided_by.pop()
        assert eps == method.eps and torch.equal(y, unseen.y) and w == 1.5


def test_swept_on_a_tiny_run_is_repeatable(few):
    recipe = tiny(CONDITIONAL, tiny_told)
    # the second time from its checkpoint
    row, again = swept(recipe, 1, (0.0, 2.0)), swept(recipe, 1, (0.0, 2.0))
    assert (
        set(row) == RUN | {"curve"}
        and set(row["curve"]) == MEASURED
        and json.loads(json.dumps(row)) == row
    )
    assert {len(values) for values in row["curve"].values()} == {2} and min(
        row["curve"]["draw_seconds"]
    ) > 0
    for found in (row, again):
        del found["curve"]["draw_seconds"]
    assert row == again and row["steps"] == 2


def test_swept_by_classifier_uses_scale_1_plus_w_and_counts_both_runs(
    few, monkeypatch, swept_over
):
    method, classifier, asked = (
        knowing(few("digits", "test").x[:40]).train(),
        tiny_classifier().train(),
        [],
    )
    runs = {
        UNCONDITIONAL: (method, {"steps": 7, "batch_size": 64, "seconds": 10.5}),
        CLEAN: (classifier, {"steps": 5, "batch_size": 32, "seconds": 2.25}),
    }

    def trained(recipe, seed):
        assert seed == 6
        return runs[recipe]

    monkeypatch.setattr(studies, "train_to_the_end", trained)
    monkeypatch.setattr(
        studies, "classifier_guided", lambda *arguments: asked.append(arguments)
    )
    row = swept_by_classifier(UNCONDITIONAL, 6, classifier_recipe=CLEAN)
    assert row == {
        "steps": 7,
        "batch_size": 64,
        "seconds": 12.75,
        "curve": {"w": list(WEIGHTS)},
    }
    ((who, unseen, data, seed, guide, weights),) = swept_over
    assert (
        who is method
        and is_the_picked(unseen, few)
        and (data, seed, weights) == ("digits", 6, WEIGHTS)
    )
    assert not method.training and not classifier.training
    for w in (0.0, 1.0, 4.0):
        guide(w)
        eps, log_prob, y, scale, schedule = asked.pop()
        assert (
            eps == method.eps
            and log_prob == classifier.log_prob
            and torch.equal(y, unseen.y)
        )
        assert scale == 1 + w and schedule is method.schedule


def test_swept_by_classifier_on_a_tiny_run_is_finite(few, monkeypatch):
    monkeypatch.setattr(studies, "SAMPLES", 12)
    row = swept_by_classifier(
        tiny(UNCONDITIONAL, tiny_untold),
        1,
        classifier_recipe=tiny(CLASSIFIER, tiny_classifier),
    )
    assert (
        set(row) == RUN | {"curve"}
        and set(row["curve"]) == MEASURED
        and json.loads(json.dumps(row)) == row
    )
    assert row["curve"]["w"] == list(WEIGHTS) and row["steps"] == 2
    assert all(
        math.isfinite(value) for values in row["curve"].values() for value in values
    )


def test_swept_shipped_of_digits_passes_the_label(
    few, monkeypatch, swept_over, guided_by
):
    method = knowing(few("digits", "test").x[:40]).eval()
    monkeypatch.setattr(zoo, "load", {"these": method}.__getitem__)
    assert swept_shipped(CONDITIONAL, 2, name="these") == {
        "steps": 20,
        "curve": {"w": list(WEIGHTS)},
    }
    ((who, unseen, data, seed, guide, weights),) = swept_over
    assert (
        who is method
        and is_the_picked(unseen, few)
        and (data, seed, weights) == ("digits", 2, WEIGHTS)
    )
    guide(4.0)
    ((eps, y, w),) = guided_by
    assert eps == method.eps and torch.equal(y, unseen.y) and w == 4.0


def test_swept_shipped_of_captions_passes_the_category_only(
    monkeypatch, swept_over, guided_by
):
    monkeypatch.setattr(
        zoo, "load", {"these": knowing(torch.zeros(1, 3, 32, 32))}.__getitem__
    )
    assert swept_shipped(lookup("text-ddpm"), 2, name="these")["steps"] == 20
    ((_, unseen, data, _, guide, _),) = swept_over
    guide(4.0)
    ((_, y, w),) = guided_by
    assert (
        data == "emoji_on_white"
        and len(unseen) == studies.SAMPLES
        and y.shape == (250, LENGTH)
        and w == 4.0
    )
    assert y.dtype == torch.long and y[:, 0].max() == 0 == y[:, 2:].max()
    assert [token_names()[k] for k in y[:, 1].tolist()] == [
        unseen.classes[k] for k in unseen.y.tolist()
    ]


def test_real_of_labels_has_as_many_training_pictures_of_each_label(few, monkeypatch):
    compared = []

    def recorded(*arguments):
        compared.append(arguments)
        return {"frechet": len(compared)}

    monkeypatch.setattr(studies, "generation_metrics", recorded)
    found = [real_of_labels(CONDITIONAL, seed) for seed in (0, 0, 1)]
    assert [row["frechet"] for row in found] == [1, 2, 3]
    unseen, train = picked("digits"), few("digits", "train")
    label_of = {
        tuple(row): label
        for row, label in zip(train.x.flatten(1).tolist(), train.y.tolist())
    }
    chosen = []
    for others, like, data in compared:
        rows = [tuple(row) for row in (others * 255).round().int().flatten(1).tolist()]
        assert data == "digits" and torch.equal(like, unseen.x)
        assert len(set(rows)) == len(rows) == 40
        labels = [label_of[row] for row in rows]
        assert sorted(labels) == sorted(unseen.y.tolist())
        chosen.append(rows)
    assert chosen[0] == chosen[1] != chosen[2]


def test_swept_interval_guides_the_steps_of_the_interval_only(
    few, monkeypatch, swept_over
):
    asked, method = [], knowing(few("digits", "test").x[:40]).eval()
    monkeypatch.setattr(zoo, "load", {"these": method}.__getitem__)

    def eps(x_t, t, y=None):
        asked.append(y is None)
        return x_t * (1 if y is None else 3)

    monkeypatch.setattr(method, "eps", eps)
    found = swept_interval(CONDITIONAL, 2, "these", 20, 40, weights=(2.0,))
    assert found == {"steps": 20, "curve": {"w": [2.0]}}
    ((who, unseen, _, seed, guide, weights),) = swept_over
    assert who is method and seed == 2 and weights == (2.0,)
    x = torch.ones(40, 1, 2, 2)
    for level, factor, calls in ((19, 3, 1), (20, 7, 2), (39, 7, 2), (40, 3, 1)):
        asked.clear()
        got = guide(2.0)(x, torch.full((40,), level))
        assert torch.equal(got, factor * x) and len(asked) == calls


def test_swept_ancestral_adds_noise_at_each_step(few, monkeypatch):
    method = knowing(few("digits", "test").x[:40]).eval()
    monkeypatch.setattr(zoo, "load", {"these": method}.__getitem__)
    etas, real_ddim = [], studies.ddim

    def recorded(*arguments, **options):
        etas.append((options.get("eta"), arguments[3]))
        return real_ddim(*arguments, **options)

    monkeypatch.setattr(studies, "ddim", recorded)
    monkeypatch.setattr(studies, "generation_metrics", lambda *_: {"frechet": 1.0})
    monkeypatch.setattr(studies, "judge_logits", lambda x, _: torch.eye(40))
    found = swept_ancestral(CONDITIONAL, 1, "these", weights=(0.0, 4.0))
    assert etas == [(1.0, 20)] * 2 and found["curve"]["w"] == [0.0, 4.0]
    assert found["curve"]["frechet"] == [1.0, 1.0]


def test_results_of_real_pictures_are_nearer_with_the_same_labels():
    frechet = experiments.values("guidance-weights", "frechet")
    for data in ("digits", "emoji"):
        same = frechet[f"real {data}, same labels"]
        assert mean(same) < mean(frechet[f"real {data}"])
    unguided = mean(at("guidance-weights", "digits, shipped", "frechet", 0.0))
    floor = frechet["real digits, same labels"]
    # as good as real pictures, not better
    assert unguided == pytest.approx(mean(floor), rel=0.15)


def test_real_judges_training_pictures_without_training_a_network(few, monkeypatch):
    compared, state = [], torch.get_rng_state()

    def recorded(*arguments):
        compared.append(arguments)
        return {"frechet": len(compared)}

    monkeypatch.setattr(studies, "train_to_the_end", None)
    monkeypatch.setattr(studies, "generation_metrics", recorded)
    found = [real(CONDITIONAL, seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    number = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    unseen, train = few("digits", "test")[number], few("digits", "train")
    right = share(by_hand(unseen.x), unseen.y)
    assert (
        found
        == [
            {"steps": 0, "accuracy": pytest.approx(right), "frechet": k}
            for k in (1, 2, 3)
        ]
        and right > 0.9
    )
    rows = {tuple(row) for row in train.x.flatten(1).tolist()}
    for others, like, data in compared:
        mine = {tuple(row) for row in (255 * others).round().long().flatten(1).tolist()}
        assert (
            len(mine) == 40
            and mine <= rows
            and torch.equal(like, unseen.x)
            and data == "digits"
        )
    first, again, other = (others for others, _, _ in compared)
    assert torch.equal(first, again) and not torch.equal(first, other)


# Captions.


@pytest.fixture(scope="module")
def groups():
    return {which: group(which) for which in GROUPS}


def drawings(data):
    return list(
        zip(data.info["emoji"].tolist(), data.info["style"].tolist(), strict=True)
    )


def pictures_of(keys, split):
    data = load("emoji_on_white", split)
    found = dict(zip(drawings(data), data.x))
    return torch.stack([found[key] for key in keys])


def test_group_shown_and_withheld_have_the_same_emoji_each_once(groups):
    shown, held = drawings(groups["shown"]), drawings(groups["style withheld"])
    train = load("emoji_on_white", "train")
    learned = set(drawings(captioned(train)))
    assert set(shown) <= learned and set(held) == set(drawings(train)) - learned
    assert [emoji for emoji, _ in shown] == [emoji for emoji, _ in held] and len(
        dict(shown)
    ) == len(shown) == 137
    assert not set(shown) & set(held)
    for of_it in (shown, held):
        # no style stands for another
        assert min(sum(style == k for _, style in of_it) for k in range(3)) > 35
    for which in ("shown", "style withheld"):
        rows = groups[which]
        assert torch.equal(rows.x, pictures_of(drawings(rows), "train"))


def test_group_new_names_has_test_emoji_with_known_words_only(groups):
    """Of two words or more, which no training emoji has together, in whatever order."""
    train, test, names = (
        load("emoji_on_white", "train"),
        load("emoji_on_white", "test"),
        emoji_names(),
    )
    learned = [
        words_of(names[e]) for e in captioned(train).info["emoji"].unique().tolist()
    ]
    told, known = set().union(*learned), [sorted(words) for words in learned]
    expected = []
    for e in test.info["emoji"].unique().tolist():
        words = words_of(names[e])
        if len(words) > 1 and set(words) <= told and sorted(words) not in known:
            expected.append(e)
    new = groups["new names"]
    assert drawings(new) == [(e, e % len(STYLES)) for e in expected] and len(new) > 50
    assert not set(expected) & set(train.info["emoji"].tolist())
    assert torch.equal(new.x, pictures_of(drawings(new), "test"))
    for e, row in zip(expected, captions(new)[:, 2:].tolist(), strict=True):
        assert [token_names()[k] for k in row if k] == words_of(names[e])
    assert torch.equal(
        newly_named(test, train), torch.isin(test.info["emoji"], torch.tensor(expected))
    )
    assert not newly_named(train, train).any()


def test_newly_named_depends_on_the_words_and_not_their_order(monkeypatch):
    """Words 1 to 9; training emoji 0 and 1 have all of them but 9."""
    lists = tuple(
        map(
            torch.tensor,
            (
                [1, 2, 3, 4, 5],
                [6, 7, 8],
                [2, 1],
                [8, 6, 7],
                [4],
                [1, 8, 9],
                [5, 4, 3, 2],
            ),
        )
    )
    monkeypatch.setattr(
        studies, "word_lists", lambda names_only: lists if names_only else None
    )

    def known_words(emoji):
        rows = torch.zeros(len(emoji), LENGTH, dtype=torch.long)
        rows[:, :2] = 1
        for row, e in zip(rows, emoji.info["emoji"].tolist()):
            words = [w for w in lists[e].tolist() if w < 9]
            row[2 : 2 + len(words)] = torch.tensor(words)
        return rows

    monkeypatch.setattr(studies, "captions", known_words)

    def emoji(*numbers):
        return Dataset(
            torch.zeros(len(numbers), 2),
            torch.zeros(len(numbers)),
            (),
            {"emoji": torch.tensor(numbers)},
        )

    found = newly_named(emoji(2, 3, 4, 5, 6, 2), emoji(0, 1, 1))
    assert found.tolist() == [True, False, False, False, True, True]


@pytest.fixture
def drawn_from(monkeypatch):
    """A function: `composed` has a method that draws these pictures. Gives what it is
    shown, one x_t a call."""
    load = zoo.load

    def give(x):
        seen, method = [], knowing(x).eval()
        eps = method.eps

        def recorded(x_t, t, y=None):
            seen.append(x_t)
            return eps(x_t, t)

        monkeypatch.setattr(method, "eps", recorded)
        monkeypatch.setattr(
            zoo, "load", lambda name: method if name == "text-ddpm" else load(name)
        )
        return seen

    return give


@pytest.mark.parametrize("which", GROUPS)
def test_composed_finds_the_requested_drawings_in_their_style(
    groups, drawn_from, guided_by, which
):
    """But two emoji that are drawn the same way by one hand."""
    seen, rows, state = (
        drawn_from(groups[which].x),
        groups[which],
        torch.get_rng_state(),
    )
    row = composed(lookup("text-ddpm"), 7, which=which)
    assert (
        torch.equal(state, torch.get_rng_state()) and json.loads(json.dumps(row)) == row
    )
    assert set(row) == {"steps", "rows", "emoji", "curve"}
    assert (row["steps"], row["rows"], row["emoji"]) == (20, len(rows), len(rows))
    curve = row["curve"]
    assert (
        curve["w"] == [0.0, 1.0, 3.0] == [w for *_, w in guided_by] and len(seen) == 60
    )
    assert all(torch.equal(x, noise(len(rows), 3, 32, 32, seed=7)) for x in seen[::20])
    assert min(curve["found"]) >= 1 - 1.5 / len(rows) and curve["style"] == [1, 1, 1]
    for _, y, _ in guided_by:  # style and name, but not the category
        tokens = [[token_names()[k] for k in caption if k] for caption in y.tolist()]
        names = [words_of(emoji_names()[e]) for e in rows.info["emoji"].tolist()]
        styles = [STYLES[k] for k in rows.info["style"].tolist()]
        assert tokens == [
            [style, *words] for style, words in zip(styles, names)
        ] and y.shape == (len(rows), LENGTH)


@pytest.mark.parametrize(
    ("which", "split"), [("style withheld", "train"), ("new names", "test")]
)
def test_composed_counts_other_styles_as_found_and_other_emoji_as_in_style(
    groups, drawn_from, which, split
):
    """The next style of the same emoji for the first third of rows, another of the
    group's emoji for the next, what was asked for the rest."""
    keys = drawings(groups[which])
    n = len(keys) // 3
    instead = [(e, (s + 1) % 3) for e, s in keys[:n]] + [
        (keys[k - n][0], keys[k][1]) for k in range(n, 2 * n)
    ]
    drawn_from(pictures_of(instead + keys[2 * n :], split))
    curve = composed(lookup("text-ddpm"), 0, which=which)["curve"]
    last = (len(keys) - 2 * n) / len(keys)
    assert curve["found"] == pytest.approx(
        [last + n / len(keys)] * 3, abs=1.5 / len(keys)
    )
    # none of the first third
    assert last < min(curve["style"]) and max(curve["style"]) < last + n / len(keys)


# Settings.


def plain(value):
    """What can be compared."""
    if isinstance(value, partial):
        return (
            plain(value.func),
            *map(plain, value.args),
            *((k, plain(v)) for k, v in sorted(value.keywords.items())),
        )
    return value


def but(recipe, **changes):
    """The recipe without its builder."""
    return replace(recipe, build=None, **changes)


def test_settings_of_a_guidance_experiment_are_all_different():
    for name, experiment in EXPERIMENTS.items():
        assert name.startswith("guidance-") and name not in recipes()
        assert len(
            {(setting.hash(), plain(setting.job)) for setting in experiment.values()}
        ) == len(experiment), name
        for setting in experiment.values():
            assert setting.seeds == (0, 1, 2) and setting.recipe.cpu
            assert not setting.pretrained or setting.pretrained.cpu
    assert EXPERIMENTS.items() <= experiments.catalogue().items()
    assert (
        len({CONDITIONAL.hash(), UNCONDITIONAL.hash(), CLASSIFIER.hash(), CLEAN.hash()})
        == 4
    )
    trained = {
        setting.hash()
        for name in ("kinds", "dropout")
        for setting in EXPERIMENTS[f"guidance-{name}"].values()
    }
    assert len(trained) == 6


def test_weights_and_captions_settings_use_the_shipped_methods():
    expected = {
        "real digits": ("conditional-ddpm", real),
        "digits, shipped": (
            "conditional-ddpm",
            (swept_shipped, ("name", "conditional-ddpm")),
        ),
        "real emoji": ("text-ddpm", real),
        "emoji, shipped": ("text-ddpm", (swept_shipped, ("name", "text-ddpm"))),
        "real digits, same labels": ("conditional-ddpm", real_of_labels),
        "real emoji, same labels": ("text-ddpm", real_of_labels),
    }
    found = EXPERIMENTS["guidance-weights"]
    assert {name: plain(setting.job) for name, setting in found.items()} == {
        k: job for k, (_, job) in expected.items()
    }
    assert all(
        found[name].recipe is lookup(recipe) for name, (recipe, _) in expected.items()
    )
    found = EXPERIMENTS["guidance-captions"]
    assert {name: plain(setting.job) for name, setting in found.items()} == {
        k: (composed, ("which", k)) for k in GROUPS
    }
    assert all(setting.recipe is lookup("text-ddpm") for setting in found.values())
    assert WEIGHTS[0] == 0 and list(WEIGHTS) == sorted(set(WEIGHTS))


def test_kinds_settings_differ_in_conditioning_and_guiding_classifier():
    found = EXPERIMENTS["guidance-kinds"]
    assert list(found) == [
        "classifier-free",
        "classifier",
        "classifier of clean pictures",
    ]
    free, by_classifier, clean = found.values()
    assert free.recipe is CONDITIONAL is lookup("conditional-ddpm")
    assert plain(free.job) is swept and free.pretrained is None
    assert CLASSIFIER is lookup("noisy-classifier") and but(CLEAN) == but(CLASSIFIER)
    for setting, judge in ((by_classifier, CLASSIFIER), (clean, CLEAN)):
        assert setting.recipe is UNCONDITIONAL and setting.pretrained is judge
        assert setting.job.func is swept_by_classifier and setting.job.keywords == {
            "classifier_recipe": judge
        }
    assert but(UNCONDITIONAL, cpu=None) == but(CONDITIONAL, cpu=None)
    assert UNCONDITIONAL.cpu.steps < CONDITIONAL.cpu.steps
    assert replace(UNCONDITIONAL.cpu, steps=CONDITIONAL.cpu.steps) == CONDITIONAL.cpu
    untold, told = build(UNCONDITIONAL, 0), build(CONDITIONAL, 0)
    assert (
        type(untold) is DDPM
        and untold.net.condition.label is None
        and untold.prediction is told.prediction is V
    )
    assert torch.equal(untold.schedule.abar, told.schedule.abar) and (
        untold.momentum,
        untold.pictures,
    ) == (0.999, True)
    shapes = {
        name: p.shape for name, p in told.net.named_parameters() if "label" not in name
    }
    assert {name: p.shape for name, p in untold.net.named_parameters()} == shapes


def test_dropout_settings_differ_in_dropout_only():
    usual = build(CONDITIONAL, 3)
    assert usual.dropout == 0.1
    for name, setting in EXPERIMENTS["guidance-dropout"].items():
        method = build(setting.recipe, 3)
        assert method.dropout == float(name) and but(setting.recipe) == but(CONDITIONAL)
        assert plain(setting.job) == (swept, ("weights", (0.0, 1.0, 4.0)))
        assert (
            type(method) is type(usual)
            and repr(method) == repr(usual)
            and same(state_of(method), state_of(usual))
        )
        assert (
            torch.equal(method.null, usual.null)
            and method.prediction is usual.prediction
        )
        assert (
            torch.equal(method.schedule.abar, usual.schedule.abar)
            and method.momentum == usual.momentum
        )
    assert (
        set(EXPERIMENTS["guidance-dropout"]) == {"0", "0.2", "0.5"}
        and conditional_ddpm(0.35).dropout == 0.35
    )


def test_clean_classifier_equals_the_noisy_one_but_sees_almost_no_noise():
    clean, usual = build(CLEAN, 4), build(CLASSIFIER, 4)
    assert repr(clean) == repr(usual) and same(state_of(clean), state_of(usual))
    assert len(clean.schedule) == len(usual.schedule) == 1000 and clean.pictures
    x = as_float(load("digits", "test").x[:200])
    x_t, t = clean.noised(x)
    off = (x_t - (2 * x - 1)).square().mean((1, 2, 3)).sqrt()
    assert (
        0 < off.max() < 1.2e-3 and off.mean() < 1e-3 and t.min() < 50 and t.max() > 950
    )
    assert (usual.noised(x)[0] - (2 * x - 1)).abs().max() > 1


# Weights that begin as another method's.


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A function: runs train_zoo on these words, twelve updates. Its `began` are (seed,
    method as it began)."""
    few_rows(tmp_path, monkeypatch, studies)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    for name, builder in (("untold", tiny_untold), ("told", tiny_told)):
        recipe = Recipe(
            builder,
            "digits",
            gpu=Size(2, 8, 0.01),
            cpu=Size(2, 8, 0.01),
            has_representation=False,
        )
        monkeypatch.setitem(recipes(), name, recipe)
    method = build(lookup("untold"), 5)
    with torch.no_grad():
        for k, p in enumerate(method.parameters()):
            p.add_(0.1 * noise(*p.shape, seed=k))  # an average that is not the network
    method.updates.fill_(70_000)
    zoo.save("untold", method, {"steps": 100})
    path = Path(__file__).resolve().parents[1] / "tools" / "train_zoo.py"
    spec = importlib.util.spec_from_file_location("train_zoo", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    train, began = jobs.train_to_the_end, []

    def spied(recipe, seed, *, method, **options):
        began.append((seed, deepcopy(method)))
        return train(recipe, seed, method=method, **options)

    monkeypatch.setattr(jobs, "train_to_the_end", spied)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["train_zoo", *words, "--steps", "12"])
        module.main()

    run.began = began
    return run


def test_train_zoo_start_takes_over_weights_and_initialises_the_rest_by_seed(tool):
    other, fresh = (
        zoo.load("untold").state_dict(),
        build(lookup("told"), 0).state_dict(),
    )
    assert other.keys() < fresh.keys()
    tool("told", "--start", "untold")
    ((seed, averaged),) = tool.began
    begun = averaged.method.state_dict()
    assert seed == 0 and begun.keys() == fresh.keys()
    for name, value in begun.items():
        assert torch.equal(value, other.get(name, fresh[name])), name
    assert {
        name.rpartition("condition.")[2] for name in begun.keys() - other.keys()
    } == {"label.weight"}
    # what ships is an average from there on
    assert same(begun, averaged.average.net.state_dict())
    row = zoo.manifest()["told"]
    assert (
        row["start"] == "untold"
        and (row["seed"], row["steps"]) == (0, 12)
        and math.isfinite(row["pretext"])
    )
    assert row["recipe"] == lookup("told").hash() and not same(
        zoo.load("told").state_dict(), begun
    )


def test_train_zoo_later_runs_continue_their_own_weights_and_keep_start(tool):
    tool("told", "--start", "untold")
    for runs, start in ((1, ()), (2, ("--start", "untold"))):
        before = zoo.load("told").state_dict()
        tool("told", *start)
        seed, averaged = tool.began[runs]
        assert seed == 12 * runs and same(averaged.method.state_dict(), before)
        row = zoo.manifest()["told"]
        assert row["start"] == "untold" and (row["seed"], row["steps"]) == (
            12 * runs,
            12 * runs + 12,
        )


def test_train_zoo_without_start_begins_as_the_seed_and_records_none(tool):
    tool("told")
    ((seed, averaged),) = tool.began
    assert seed == 0 and same(
        averaged.method.state_dict(), build(lookup("told"), 0).state_dict()
    )
    assert (
        "start" not in zoo.manifest()["told"]
        and "start" not in zoo.manifest()["untold"]
    )


def test_train_zoo_names_weights_without_a_place_and_does_not_train(tool, monkeypatch):
    tool("told")
    monkeypatch.setitem(recipes(), "other", replace(lookup("untold"), weight_decay=0.5))
    with pytest.raises(
        ValueError,
        match="`start`: other has no place for net.condition.label.weight, average.net",
    ):
        tool("other", "--start", "told")
    with pytest.raises(ValueError, match="`name`: expected one of"):
        tool("other", "--start", "nothing")
    assert len(tool.began) == 1 and "other" not in zoo.manifest()


# What was found.


def at(experiment, setting, measure, w):
    """The measure at that w, one a seed."""
    rows = [
        row for row in experiments.read(experiment)["rows"] if row["setting"] == setting
    ]
    assert rows
    return [row["curve"][measure][row["curve"]["w"].index(w)] for row in rows]


def test_results_guidance_lowers_recall():
    few, many = (
        at("guidance-weights", "digits, shipped", "recall", w) for w in (8.0, 0.0)
    )
    assert all(a < b for a, b in zip(few, many, strict=True))


def test_results_guidance_does_not_lower_accuracy():
    most, none = (
        at("guidance-weights", "digits, shipped", "accuracy", w)
        for w in (WEIGHTS[-1], 0.0)
    )
    assert all(a >= b for a, b in zip(most, none, strict=True))


def test_results_classifier_of_clean_pictures_guides_to_lower_accuracy():
    clean, noisy = (
        mean(at("guidance-kinds", setting, "accuracy", 4.0))
        for setting in ("classifier of clean pictures", "classifier")
    )
    assert clean < noisy
