"""Measured results: every (setting, seed) of an experiment is a resumable job, and each row says how it came about.

An experiment is a dictionary name -> `Setting`. `results/NAME.json` holds {"short": ..., "rows": [...]}; a row is
{setting, seed, recipe (a hash), device, steps, batch_size, seconds, measures...}. Rows that are there are not run
again; a row of a changed recipe is, and all of them where one of the code's short rows comes out differently.
"""

import json
import math
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor

from course_lib import evaluate
from course_lib.checks import count
from course_lib.data import Dataset, as_float, labelled_subset, load
from course_lib.files import ROOT, SHIPPED, write_json
from course_lib.recipes import RECIPES, Recipe, build, train
from course_lib.run import seeded
from course_lib.train import Method

TITLES = {"knn": "k-NN", "probe": "linear probe", "effective_rank": "rank", "feature_std": "std", "pretext": "own task"}
RESULTS, RUNS = SHIPPED / "results", ROOT / "runs"
LOOKS = 10  # during a run that is watched


def measures(encoder: Callable, data: str = "scenes", split: str = "test") -> dict[str, float]:
    """What a frozen representation is worth on unseen rows, by the course's protocol; the training rows are the bank.

    knn, probe: accuracy of weighted k-NN (k = 20) and of a linear probe for the data's classes; effective_rank and
    feature_std of the unseen rows' features. encoder: as for `evaluate.features`.
    """
    bank, unseen = load(data, "train"), load(data, split)
    h_bank, h = evaluate.features(encoder, bank.x), evaluate.features(encoder, unseen.x)
    probe = evaluate.linear_probe(h_bank, bank.y, groups=bank.info.get("emoji"))
    return {
        "knn": evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y),
        "probe": evaluate.accuracy(probe(h), unseen.y),
        "effective_rank": evaluate.effective_rank(h),
        "feature_std": evaluate.feature_std(h),
    }


def device_name(device: torch.device) -> str:
    """A GPU's name, or the CPU's architecture with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


# Jobs: functions (recipe, seed) -> what a row holds.


def raw_pixels(recipe: Recipe, seed: int) -> dict:
    """No network at all, so one seed is enough."""
    return {"steps": 0, **measures(lambda x: x.flatten(1), recipe.data)}


def random_encoder(recipe: Recipe, seed: int) -> dict:
    """The recipe's network as the seed makes it, untrained."""
    return {"steps": 0, **measures(build(recipe, seed), recipe.data)}


def random_calibrated(recipe: Recipe, seed: int) -> dict:
    """The untrained network with BatchNorm statistics of 10,000 training rows: stricter by k-NN."""
    method = build(recipe, seed).train()
    with torch.no_grad():
        for x in load(recipe.data, "train").x[:10_000].split(256):
            method.encode(as_float(x))
    return {"steps": 0, **measures(method, recipe.data)}


def untrained(recipe: Recipe, seed: int) -> dict:
    """All measures of what the seed makes, for methods that have no representation."""
    return {"steps": 0, **all_measures(build(recipe, seed), recipe)}


def trained(recipe: Recipe, seed: int) -> dict:
    """The recipe, trained; continues from its checkpoint in runs/ when it was interrupted."""
    method, about = train_to_the_end(recipe, seed)
    return about | all_measures(method, recipe)


def all_measures(method: Method, recipe: Recipe) -> dict[str, float]:
    """`measures`, where there is a representation, and `pretext`: how well a method that has a `pretext_score` does its
    own task on unseen rows."""
    own = {"pretext": pretext_score(method, load(recipe.data, "test").x)} if hasattr(method, "pretext_score") else {}
    return own | (measures(method, recipe.data) if recipe.represents else {})


@torch.no_grad()
def pretext_score(method: Method, x: Tensor) -> float:
    """How well a method solves its own puzzle on pictures x (N, C, H, W): the mean over batches of 500, in eval mode.

    The puzzles are drawn from one fixed seed; the caller's random state stays as it was.
    """
    training, device = method.training, next(method.parameters()).device
    method.eval()
    with seeded(0, device):
        found = mean(float(method.pretext_score(as_float(batch.to(device)))) for batch in x.split(500))
    method.train(training)
    return found


def train_to_the_end(
    recipe: Recipe,
    seed: int,
    *,
    method: Method | None = None,
    data: Dataset | None = None,
    checkpoint: Path | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    bf16: bool = False,
) -> tuple[Method, dict]:
    """Trains on the CPU, where results are comparable, with a line of progress now and then; a run that had already
    ended is taken from its checkpoint. Returns the method and {steps, batch_size, seconds}.

    method, data, steps, batch_size: where not the recipe's own; they want another checkpoint, too. bf16: fit's.
    """
    checkpoint = checkpoint_of(recipe, seed) if checkpoint is None else checkpoint
    method = build(recipe, seed) if method is None else method
    data = load(recipe.data, "train") if data is None else data
    run = train(
        recipe,
        method,
        data,
        seed=seed,
        device="cpu",
        checkpoint=checkpoint,
        steps=steps,
        batch_size=batch_size,
        bf16=bf16,
    )
    for step in run:
        if step.k % 100 == 0:
            print(f"{checkpoint.stem}: step {step.k} of {step.steps}, loss {step.loss:.3f}", flush=True)
    steps, images, seconds = torch.load(checkpoint, weights_only=True)["done"]
    return method, {"steps": steps, "batch_size": images // steps, "seconds": round(seconds, 1)}


def watched(recipe: Recipe, seed: int, look: Callable[[Method], dict[str, float]]) -> tuple[Method, dict]:
    """Trains the recipe, looking at the method, in eval mode, after the first update and LOOKS - 1 times more.

    Returns it with what a row holds: steps, batch_size, seconds, and `curve`, {"update": [...], measure: [...]}. Raises
    ValueError for a run too short for so many looks.
    """
    method, every = build(recipe, seed), count("steps", recipe.cpu.steps, low=2 * LOOKS) // LOOKS
    names = list(look(method.eval()))
    method.register_buffer("looks", torch.full((LOOKS, len(names)), torch.nan))  # an interrupted run keeps them
    run = train(
        recipe,
        method,
        load(recipe.data, "train"),
        seed=seed,
        device="cpu",
        checkpoint=checkpoint_of(recipe, seed, "-w"),
    )
    for step in run:
        empty = (step.k - 1) // every  # the look that is due, or that an interrupt took away
        if empty < LOOKS and method.looks[empty].isnan().any():
            method.looks[empty] = torch.tensor(list(look(method.eval()).values()))
    method, about = train_to_the_end(recipe, seed, method=method, checkpoint=checkpoint_of(recipe, seed, "-w"))
    curve = {"update": [1 + k * every for k in range(LOOKS)], **dict(zip(names, method.looks.T.tolist()))}
    return method.eval(), about | {"curve": curve}


def from_scratch_on_few(recipe: Recipe, seed: int, amounts: dict[str, dict]) -> dict:
    """The supervised recipe on the labelled scenes alone."""
    return train_on_few(recipe, seed, amounts, "scratch", lambda: build(recipe, seed))


def train_on_few(recipe: Recipe, seed: int, amounts: dict[str, dict], name: str, start: Callable[[], Method]) -> dict:
    """Supervised training from start(), anew for each amount of labels: what a row holds, test accuracy by amount.

    amounts: title -> what `labelled_subset` is asked for. name: of these runs, for their checkpoints.
    """
    data, test, row = load("scenes", "train"), load("scenes", "test"), {"seconds": 0.0}
    for title, amount in amounts.items():
        few = data[labelled_subset(data, **amount, seed=seed)]
        checkpoint = checkpoint_of(recipe, seed, f"-{name}-{title}")
        method, about = train_to_the_end(
            recipe, seed, method=start(), data=few, checkpoint=checkpoint, batch_size=min(128, len(few))
        )
        logits = method.classifier(evaluate.features(method, test.x))
        about["seconds"] += row["seconds"]
        row |= about | {title: evaluate.accuracy(logits, test.y)}
    return row


def checkpoint_of(recipe: Recipe, seed: int, part: str = "") -> Path:
    """Where a run's state lies until its experiment is complete."""
    return RUNS / f"{recipe.hash()}-{seed}{part}.pt"


@dataclass(frozen=True)
class Setting:
    """One line of an experiment: the recipe it is about, what is done with it, and for which seeds."""

    recipe: Recipe
    job: Callable[[Recipe, int], dict] = trained
    seeds: tuple[int, ...] = (0, 1, 2)
    after: Recipe | None = None  # whose trained weights the job begins with

    def hash(self) -> str:
        """Of all that is trained for it."""
        return self.recipe.hash() + (f"-{self.after.hash()}" if self.after else "")


Experiment = dict[str, Setting]


def standard(recipe: Recipe) -> Experiment:
    """What every method is measured by: trained against untrained."""
    if not recipe.represents:
        return {"untrained": Setting(recipe, untrained), "trained": Setting(recipe)}
    return {
        "random encoder": Setting(recipe, random_encoder),
        "random, calibrated": Setting(recipe, random_calibrated),
        "trained": Setting(recipe),
    }


def catalogue() -> dict[str, Experiment]:
    """Every experiment of the course by name; those of the recipes have the recipe's name."""
    from course_lib.contrastive import ablations as contrastive  # they are made of this module's parts
    from course_lib.diffusion import ablations as diffusion
    from course_lib.diffusion import guidance_ablations as guidance
    from course_lib.distillation import ablations as distillation
    from course_lib.gan import ablations as gan
    from course_lib.latent import ablations as latent
    from course_lib.pretext import ablations as pretext
    from course_lib.pretext import layers

    methods = {name: standard(recipe) for name, recipe in RECIPES.items() if recipe.cpu}
    pixels = {"raw pixels": Setting(RECIPES["simclr"], raw_pixels, seeds=(0,))}
    studies = contrastive.ABLATIONS | pretext.ABLATIONS | layers.LAYERS | distillation.ABLATIONS
    studies |= latent.ABLATIONS | gan.ABLATIONS | diffusion.ABLATIONS | guidance.ABLATIONS
    return {**methods, "simclr": pixels | methods["simclr"], **studies}


def short(experiment: Experiment) -> dict[str, list[float]]:
    """builder -> losses of three small updates: repeated in seconds, they notice changed methods, data or loop.

    One for each function that builds an experiment's methods. Rounding differs between machines, and at full rate the
    first steps of Adam multiply it tenfold each: so these are the first three of a long run, still warming up. Only 128
    rows, so that the third sees rows again.
    """
    found = {}
    for recipe in [what.recipe for what in experiment.values()]:
        builder = getattr(recipe.build, "func", recipe.build).__name__
        if builder not in found:
            data = load(recipe.data, "train")[:128]
            steps = train(recipe, build(recipe, seed=0), data, steps=1000, batch_size=64, device="cpu")
            found[builder] = [step.loss for step in islice(steps, 3)]
    return found


def same(losses: dict[str, list[float]], others: dict[str, list[float]]) -> bool:
    """Whether two experiments' short rows differ by no more than rounding on different machines explains."""
    return losses.keys() == others.keys() and all(
        math.isclose(a, b, rel_tol=2e-3, abs_tol=1e-4)
        for key in losses
        for a, b in zip(losses[key], others[key], strict=True)
    )


def read(name: str) -> dict:
    """The file results/NAME.json; FileNotFoundError says how to make it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: run `make results` in a clone of the course")
    return json.loads(path.read_text())


def values(name: str, measure: str = "knn") -> dict[str, list[float]]:
    """setting -> the measure's values, one a seed, of those settings in results/NAME.json that have it."""
    found = _by_setting(name)
    return {setting: [row[measure] for row in rows] for setting, rows in found.items() if measure in rows[0]}


def _by_setting(name: str) -> dict[str, list[dict]]:
    """setting -> its rows in results/NAME.json."""
    found = {}
    for row in read(name)["rows"]:
        found.setdefault(row["setting"], []).append(row)
    return found


def _begin():
    torch.set_num_threads(1)
    catalogue()  # imports now what a later job would else import as it stands by then


def _job(tag: str, setting: str, what: Setting, seed: int) -> dict:
    row = {"setting": setting, "seed": seed, "recipe": tag, "device": device_name(torch.device("cpu"))}
    return row | what.job(what.recipe, seed)


def _wanted(experiment: Experiment) -> dict[tuple[str, int], str]:
    """(setting, seed) -> today's hash, in the order of the table."""
    return {(setting, seed): what.hash() for setting, what in experiment.items() for seed in what.seeds}


def run(experiments: dict[str, Experiment]):
    """Runs what results/*.json does not hold yet, in the order given, one process a core with one thread each."""
    jobs, files = [], {}
    for name, experiment in experiments.items():
        path, now = RESULTS / f"{name}.json", short(experiment)
        found = json.loads(path.read_text()) if path.exists() else {"short": now, "rows": []}
        if not same(found["short"], now):
            found = {"short": now, "rows": []}
            _forget(_recipes(experiment))
        wanted = _wanted(experiment)
        found["rows"] = [row for row in found["rows"] if wanted.get((row["setting"], row["seed"])) == row["recipe"]]
        have = {(row["setting"], row["seed"]) for row in found["rows"]}
        missing = [key for key in wanted if key not in have]
        jobs += [(name, wanted[setting, seed], setting, experiment[setting], seed) for setting, seed in missing]
        files[name] = path, list(wanted), found
        write_json(path, found)
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_begin)
    failed = {}
    try:
        running = {pool.submit(_job, *job): name for name, *job in jobs}
        for done in as_completed(running):
            path, order, found = files[running[done]]
            if done.exception():  # the other jobs go on; its checkpoint stays in runs/
                failed[running[done]] = done.exception()
                continue
            found["rows"].append(done.result())
            found["rows"].sort(key=lambda row: order.index((row["setting"], row["seed"])))
            write_json(path, found)
    finally:  # after an interrupt the next call continues from the checkpoints
        pool.shutdown(cancel_futures=True)
    if failed:
        raise RuntimeError(f"jobs of {', '.join(failed)} failed; the rest is done") from next(iter(failed.values()))
    needed = {recipe for name, other in catalogue().items() if stale(name, other) for recipe in _recipes(other)}
    for experiment in experiments.values():
        _forget(_recipes(experiment) - needed)


def _recipes(experiment: Experiment) -> set[str]:
    """The hashes that begin the names of an experiment's checkpoints."""
    return {recipe.hash() for what in experiment.values() for recipe in (what.recipe, what.after) if recipe}


def _forget(recipes: set[str]):
    for recipe in recipes:
        for checkpoint in RUNS.glob(f"{recipe}-*.pt"):
            checkpoint.unlink(missing_ok=True)


def stale(name: str, experiment: Experiment) -> list[str]:
    """Rows of results/NAME.json that are missing, of another recipe than today's, or too many: "setting, seed k"."""
    rows = read(name)["rows"] if (RESULTS / f"{name}.json").exists() else []
    found, wanted = {(row["setting"], row["seed"]): row["recipe"] for row in rows}, _wanted(experiment)
    return [f"{key[0]}, seed {key[1]}" for key in {**wanted, **found} if found.get(key) != wanted.get(key)]


def table(name: str) -> str:
    """results/NAME.json as text: each setting's mean and standard deviation over its seeds, the gain over random.

    Raises ValueError for another name and where the recipes have changed since.
    """
    if name not in (known := catalogue()):
        raise ValueError(f"argument `name`: expected one of {', '.join(known)}, got {name!r}")
    by_setting = _by_setting(name)
    if old := stale(name, known[name]):
        raise ValueError(f"results/{name}.json differs from today's {'; '.join(old[:3])}: run `make results`")
    rows = [row for of_it in by_setting.values() for row in of_it]
    about = ("setting", "seed", "recipe", "device", "steps", "batch_size", "seconds")
    numbers = (key for row in rows for key in row if isinstance(row[key], (int, float)))  # and no curves
    columns = [key for key in dict.fromkeys(numbers) if key not in about]
    first = max(map(len, by_setting)) + 2
    wide = {c: max(len(TITLES.get(c, c)), *(len(spread(each, c)) for each in by_setting.values())) + 2 for c in columns}
    head = "".join(f"{TITLES.get(c, c):>{wide[c]}}" for c in columns)
    lines = [f"{'':{first}}{head}  seeds   steps  seconds"]
    for setting, of_it in by_setting.items():
        found = "".join(f"{spread(of_it, c):>{wide[c]}}" for c in columns)
        seeds, seconds = ",".join(str(row["seed"]) for row in of_it), mean(row.get("seconds", 0) for row in of_it)
        lines.append(f"{setting:{first}}{found}  {seeds:7}{of_it[0]['steps']:>6}{seconds:>9.0f}")
    for measure in ("knn", "probe"):
        for baseline in ("random encoder", "random, calibrated"):
            if "trained" in by_setting and baseline in by_setting:
                random = {row["seed"]: row[measure] for row in by_setting[baseline]}
                gains = [row[measure] - random[row["seed"]] for row in by_setting["trained"]]
                by_seed = ", ".join(f"{gain:+.3f}" for gain in gains)
                gain = f"trained - {baseline} of the same seed = {mean(gains):+.3f} ({by_seed})"
                lines.append(f"{TITLES[measure]}: {gain}")
    devices = sorted({row["device"] for row in rows})
    return "\n".join([*lines, f"unseen rows; mean ± standard deviation over seeds; {'; '.join(devices)}"])


def spread(rows: list[dict], measure: str) -> str:
    """Mean ± standard deviation over the rows; of what only describes features the mean; nothing where they lack it."""
    if measure not in rows[0]:
        return ""
    found = [row[measure] for row in rows]
    if measure.startswith(("effective_rank", "feature_std")):
        return f"{mean(found):.3g}"
    return f"{mean(found):.3f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")
