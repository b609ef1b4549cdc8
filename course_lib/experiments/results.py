"""Measured results: each (setting, seed) of an experiment is a resumable job, and each
row says how it was measured.

`results/NAME.json`, in the clone of the course, has the results of an experiment. For a
recipe or an experiment of one's own, `module:NAME`, the file is
results/module.NAME.json in the current folder. A file holds {"short": ..., "rows":
[...]}. A row is {setting, seed, recipe (a hash), device, steps, batch_size, seconds,
measures...}. `run` runs the jobs whose rows are missing or have the hash of another
recipe than today's. It runs all jobs of an experiment again if the losses of a short
run (see `short`) have changed.
"""

import functools
import json
import math
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch

from course_lib.data import load
from course_lib.experiments import jobs
from course_lib.experiments.setting import Experiment, Setting, standard
from course_lib.families import merged
from course_lib.files import SHIPPED, write_json
from course_lib.names import imported, is_own, unknown
from course_lib.recipe import Recipe, build, is_recipe, recipes, train

RESULTS = SHIPPED / "results"


def catalogue() -> dict[str, Experiment]:
    """Returns all experiments of the course by name: one for each recipe, with the name
    of the recipe, and those of the families."""
    methods = {
        name: standard(recipe) for name, recipe in recipes().items() if recipe.cpu
    }
    return methods | merged("experiments")  # may replace the experiment of a recipe


def find(name: str) -> Experiment:
    """Returns the experiment of this name.

    "module:NAME" is one of one's own: NAME is a Recipe or a dictionary title -> Setting
    in a module, for example in a file of the current folder. Raises ValueError for an
    unknown name. The message lists the known ones and suggests the closest.
    """
    if is_own(name):
        expected = "a Recipe, or a dictionary of Settings"
        found = imported("name", name, _is_experiment, expected)
        return standard(found) if is_recipe(found) else found
    if name not in (known := catalogue()):
        raise unknown("name", name, known, ", or module:NAME for one of your own")
    return known[name]


def _is_experiment(value) -> bool:
    """Returns whether the value is a Recipe or a dictionary of Settings."""
    settings = value.values() if isinstance(value, dict) else ()
    is_table = bool(settings) and all(isinstance(each, Setting) for each in settings)
    return is_recipe(value) or is_table


def file_of(name: str) -> Path:
    """Returns the path of an experiment's results: in the course's folder of results,
    or in the folder `results` of the current one for a name "module:NAME"."""
    if is_own(name):
        return Path.cwd() / "results" / f"{name.replace(':', '.')}.json"
    return RESULTS / f"{name}.json"


def measured() -> list[str]:
    """Returns the names of all experiments with results: those of the course, then
    those of one's own, "module:NAME", in the folder `results` of the current one."""
    own = [path.stem for path in (Path.cwd() / "results").glob("*.*.json")]
    known = [path.stem for path in RESULTS.glob("*.json") if "." not in path.stem]
    return [*sorted(known), *sorted(":".join(stem.rsplit(".", 1)) for stem in own)]


def own_recipes() -> dict[str, Recipe]:
    """Returns the recipes of one's own that have results in the folder `results` of the
    current one, by their names "module:NAME". A module that is no longer there is left
    out."""
    found = {}
    for name in filter(is_own, measured()):
        try:
            value = imported("name", name, _is_experiment, "a Recipe")
        except ValueError:
            continue
        if is_recipe(value):
            found[name] = value
    return found


def short(experiment: Experiment) -> dict[str, list[float]]:
    """Returns builder -> losses of three small updates, for each function that builds
    methods of the experiment.

    They take seconds. If they change, the methods, the data or the training loop have
    changed.
    """
    found = {}
    for recipe in [setting.recipe for setting in experiment.values()]:
        builder = getattr(recipe.build, "func", recipe.build).__name__
        if builder not in found:
            found[builder] = list(first_losses(recipe))
    return found


@functools.cache
def first_losses(recipe: Recipe) -> tuple[float, ...]:
    """Returns the losses of the first three updates.

    Rounding differs between machines, and at the full learning rate each of the first
    steps of Adam multiplies the difference by ten. So the run is set up as a long one,
    whose first updates are in the warm-up. It has only 128 rows, so that the third
    update uses rows for the second time.
    """
    data = load(recipe.data, "train")[:128]
    steps = train(
        recipe,
        build(recipe, seed=0),
        data,
        steps=1000,
        batch_size=min(64, len(data)),  # less for a small data set of one's own
        device="cpu",
    )
    return tuple(step.loss for step in islice(steps, 3))


def same(losses: dict[str, list[float]], others: dict[str, list[float]]) -> bool:
    """Returns whether the losses of two short runs are equal, apart from differences
    that rounding on different machines explains."""
    return losses.keys() == others.keys() and all(
        math.isclose(a, b, rel_tol=2e-3, abs_tol=1e-4)
        for key in losses
        for a, b in zip(losses[key], others[key], strict=True)
    )


def read(name: str) -> dict:
    """Returns the contents of the file of results (`file_of`). Raises
    FileNotFoundError, which says how to make the file, if it does not exist."""
    path = file_of(name)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: run {how_to_run(name)}")
    return json.loads(path.read_text(encoding="utf-8"))


def how_to_run(name: str) -> str:
    """Returns the command that makes the results of an experiment, with its place."""
    if is_own(name):
        return f"`python -m course_lib.experiments {name}` in this folder"
    return "`make results` in a clone of the course"


def values(name: str, measure: str = "knn") -> dict[str, list[float]]:
    """Returns setting -> values of the measure, one for each seed, for the settings in
    results/NAME.json that have this measure."""
    found = by_setting(name)
    return {
        setting: [row[measure] for row in rows]
        for setting, rows in found.items()
        if measure in rows[0]
    }


def by_setting(name: str) -> dict[str, list[dict]]:
    """Returns setting -> its rows in results/NAME.json."""
    found = {}
    for row in read(name)["rows"]:
        found.setdefault(row["setting"], []).append(row)
    return found


def _begin():
    torch.set_num_threads(1)
    # imports everything now: later, the source files may have changed
    catalogue()


def _job(tag: str, setting: str, what: Setting, seed: int) -> dict:
    row = {
        "setting": setting,
        "seed": seed,
        "recipe": tag,
        "device": jobs.device_name(torch.device("cpu")),
    }
    return row | what.job(what.recipe, seed)


def _todays_hashes(experiment: Experiment) -> dict[tuple[str, int], str]:
    """Returns (setting, seed) -> hash of today's code, in the order of the table."""
    return {
        (setting, seed): what.hash()
        for setting, what in experiment.items()
        for seed in what.seeds
    }


def run(experiments: dict[str, Experiment]):
    """Runs the jobs whose rows are missing in results/*.json, in the order given, with
    one process for each core and one thread for each process."""
    jobs, files = [], {}
    for name, experiment in experiments.items():
        path, now = file_of(name), short(experiment)
        found = (
            json.loads(path.read_text(encoding="utf-8"))
            if path.exists()
            else {"short": now, "rows": []}
        )
        if not same(found["short"], now):
            found = {"short": now, "rows": []}
            _forget(_recipes(experiment))
        today = _todays_hashes(experiment)
        found["rows"] = [
            row
            for row in found["rows"]
            if today.get((row["setting"], row["seed"])) == row["recipe"]
        ]
        have = {(row["setting"], row["seed"]) for row in found["rows"]}
        missing = [key for key in today if key not in have]
        jobs += [
            (name, today[setting, seed], setting, experiment[setting], seed)
            for setting, seed in missing
        ]
        files[name] = path, list(today), found
        write_json(path, found)
    pool = ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_begin
    )
    failed = {}
    try:
        running = {pool.submit(_job, *job): name for name, *job in jobs}
        for done in as_completed(running):
            path, order, found = files[running[done]]
            if done.exception():  # other jobs continue; the checkpoint stays
                failed[running[done]] = done.exception()
                continue
            found["rows"].append(done.result())
            found["rows"].sort(
                key=lambda row: order.index((row["setting"], row["seed"]))
            )
            write_json(path, found)
    finally:  # after an interrupt the next call continues from the checkpoints
        pool.shutdown(cancel_futures=True)
    if failed:
        raise RuntimeError(
            f"jobs of {', '.join(failed)} failed; the rest is done"
        ) from next(iter(failed.values()))
    needed = {
        recipe
        for name, other in catalogue().items()
        if stale(name, other)
        for recipe in _recipes(other)
    }
    for experiment in experiments.values():
        _forget(_recipes(experiment) - needed)


def _recipes(experiment: Experiment) -> set[str]:
    """Returns the hashes with which the names of an experiment's checkpoints begin."""
    return {
        recipe.hash()
        for what in experiment.values()
        for recipe in (what.recipe, what.pretrained)
        if recipe
    }


def _forget(recipes: set[str]):
    for recipe in recipes:
        for checkpoint in jobs.RUNS.glob(f"{recipe}-*.pt"):
            checkpoint.unlink(missing_ok=True)


def stale(name: str, experiment: Experiment) -> list[str]:
    """Returns the rows of results/NAME.json that are missing, that belong to another
    recipe than today's, or that are too many, as "setting, seed k"."""
    rows = read(name)["rows"] if file_of(name).exists() else []
    found = {(row["setting"], row["seed"]): row["recipe"] for row in rows}
    today = _todays_hashes(experiment)
    return [
        f"{key[0]}, seed {key[1]}"
        for key in {**today, **found}
        if found.get(key) != today.get(key)
    ]
