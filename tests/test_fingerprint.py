"""A hash of results and weights covers code that changes numbers, not its wording."""

import importlib
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_lib import experiments, zoo
from course_lib.experiments import setting as setting_module
from course_lib.experiments.judge import JUDGES
from course_lib.experiments.setting import Setting
from course_lib.fingerprint import fingerprint, weights_hash, weights_of
from course_lib.recipe import lookup, recipes

CODE = """
from functools import partial

import torch

from course_lib import zoo
from course_lib.checks import expects_values
from course_lib.nets.mlp import mlp

SIZES = {"hidden": (3, 4)}


def own_check(name, value):
    assert value


def takes_data(function):
    return function


def head(width):
    return mlp(2, width, 1)


def build(width=3):
    net = head(width + SIZES["hidden"][0])
    return torch.nn.Sequential(net, torch.nn.ReLU())


class Reader:
    rate = 0.5


def job(recipe, seed):
    return build(), Reader.rate


def named(recipe, seed, name):
    return zoo.load(name)


def quoted(recipe, seed):
    return zoo.load("simclr")


def hidden(recipe, seed):
    return zoo.load("sim" + "clr")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """toy(old, new, ...) is the module above, with these pieces of text replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def made(*changes, suffix="_experiments"):
        text = CODE
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert text.count(old) == 1
            text = text.replace(old, new)
        name = f"toy_{next(count)}{suffix}"
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield made
    for name in [name for name in sys.modules if name.startswith("toy_")]:
        del sys.modules[name]


def same(a, b) -> bool:
    """Equal but for the number in the module's name, which is not there in the
    course."""
    first, second = (
        fingerprint(getattr(module, name)).replace(module.__name__, "toy")
        for module, name in ((a, "job"), (b, "job"))
    )
    return first == second


@pytest.mark.parametrize(
    "changes",
    [
        ("def head(width):\n", 'def head(width):\n    """Better words."""\n'),
        ("    return mlp(2, width, 1)", "    # why\n    return mlp(\n        2, width,\n        1)"),
        ("def build(width=3):", "def build(width: int = 3) -> torch.nn.Sequential:"),
        ('class Reader:\n', 'class Reader:\n    """Reads."""\n\n'),
        ("def quoted", "def another(recipe, seed):\n    pass\n\n\ndef quoted"),
        ("def head(width)", "@expects_values(width=own_check)\ndef head(width)"),
        ("def head(width)", "@takes_data\ndef head(width)"),
    ],
    ids=["docstring", "comment and layout", "type hints", "a class's docstring", "what nobody calls",
         "a check of values", "a decorator for data sets"],
)  # fmt: skip
def test_fingerprint_ignores_comments_docstrings_layout_and_type_hints(toy, changes):
    assert same(toy(), toy(*changes))


@pytest.mark.parametrize(
    "changes",
    [
        ("mlp(2, width, 1)", "mlp(2, width, 2)"),
        ("width + SIZES", "width - SIZES"),
        ("(3, 4)", "(5, 4)"),
        ("width=3", "width=4"),
        ("rate = 0.5", "rate = 0.25"),
        ("return build(), Reader.rate", "return build(), 2 * Reader.rate"),
    ],
    ids=[
        "a helper",
        "the builder",
        "a constant",
        "a default",
        "a class of the study",
        "the job",
    ],
)
def test_fingerprint_changes_with_code_constants_and_defaults(toy, changes):
    assert not same(toy(), toy(*changes))


def test_fingerprint_follows_helpers_in_other_modules():
    """`mlp` is in nets/mlp.py, `views` in another family; a network's class is watched
    by the short runs instead."""
    found = fingerprint(lookup("byol").build)
    assert (
        "name='mlp'" in found
        and "name='views'" in found
        and "name='simclr_augment'" in found
    )
    assert "name='ResNet'" not in found and "id='ResNet'" in found


def calls_simclr(tau):
    return lookup("simclr").build(), tau


def test_fingerprint_includes_arguments_and_rejects_objects_without_a_name():
    assert "0.25" in fingerprint(partial(calls_simclr, 0.25)) and fingerprint(
        torch.nn.Identity
    ).endswith("Identity")
    assert fingerprint(partial(calls_simclr, 0.25)) != fingerprint(
        partial(calls_simclr, 0.5)
    )
    assert lookup("simclr").hash() in fingerprint(
        partial(calls_simclr, lookup("simclr"))
    )
    with pytest.raises(ValueError, match="whose repr does not contain its address"):
        fingerprint(partial(calls_simclr, object()))


def test_weights_of_finds_the_weights_a_job_loads(toy):
    module = toy()
    assert (
        weights_of(module.quoted)
        == {"simclr"}
        == weights_of(partial(module.named, name="simclr"))
    )
    assert (
        weights_of(module.job)
        == set()
        == weights_of(partial(module.named, name="no weights"))
    )
    with pytest.raises(
        ValueError,
        match=(
            "hidden: expected zoo.load of a name in quotes or of a parameter, got "
            "zoo.lo"
        ),
    ):
        fingerprint(module.hidden)


def test_setting_hash_changes_with_the_weights_of_judge_and_teacher(
    monkeypatch,
):
    catalogue = experiments.catalogue()
    every = [
        (f"{e}, {name}", s)
        for e, settings in catalogue.items()
        for name, s in settings.items()
    ]
    reading = {name: weights_of(s.job, s.recipe.build) for name, s in every}
    assert sum(map(bool, reading.values())) >= 92
    assert reading["gan-samples, digits"] == {"judge"} and reading[
        "distillation, trained"
    ] == {"supervised"}
    assert (
        reading["ddpm-shipped, emoji"] == {"judge", "ddpm-emoji"}
        and reading["simclr, trained"] == set()
    )
    before = {name: s.hash() for name, s in every}
    for module in (setting_module, sys.modules["course_lib.recipe"]):
        monkeypatch.setattr(
            module,
            "weights_hash",
            lambda name: "new" if name == "supervised" else weights_hash(name),
        )
    changed = {name for name, s in every if s.hash() != before[name]}
    judged = {
        n
        for n, s in every
        if "judge" in reading[n] and JUDGES[s.recipe.data] == "supervised"
    }
    taught = {n for n, s in every if "supervised" in reading[n]}
    assert (
        changed == judged | taught
        and "gan-samples, emoji" in changed
        and "gan-samples, digits" not in changed
    )


def test_setting_hash_changes_with_the_job():
    def other(recipe, seed):
        return {}

    first = Setting(lookup("simclr"))
    assert (
        replace(first, job=other).hash()
        != first.hash()
        == Setting(lookup("simclr")).hash()
    )
    assert set(zoo.manifest()) <= set(recipes())


def test_recipe_hash_changes_with_size_weight_decay_data_and_representation():
    recipe = lookup("autoencoder")
    others = [replace(recipe, cpu=replace(recipe.cpu, lr=1e-3)), replace(recipe, weight_decay=0.0),
              replace(recipe, data="digits"), replace(recipe, has_representation=False)]  # fmt: skip
    assert len({recipe.hash(), *(other.hash() for other in others)}) == 5
