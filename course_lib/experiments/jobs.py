"""Jobs: functions (recipe, seed) -> the contents of one row of results, and the
functions that they share.

A job that was interrupted continues from its checkpoint in runs/.
"""

import platform
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from course_lib import evaluate
from course_lib.checks import count
from course_lib.data import Dataset, as_float, labelled_subset, load
from course_lib.files import ROOT, SHIPPED
from course_lib.recipe import Recipe, build, train
from course_lib.run import seeded
from course_lib.train import Method

# the checkpoints: in the clone; if the course is installed, in the current folder
RUNS = ROOT / "runs" if SHIPPED == ROOT else Path("runs")
LOOKS = 10  # number of measurements during a run of `watched`


def measures(
    encoder: Callable, data: str = "scenes", split: str = "test"
) -> dict[str, float]:
    """Evaluates a frozen representation on held-out rows by the course's protocol.

    knn, probe: accuracy of weighted k-NN (k = 20) and of a linear probe for the classes
    of the data. Both use the training rows and their labels. effective_rank and
    feature_std: of the features of the held-out rows. encoder: as for
    `evaluate.features`. split: the part of the
    data that is held out.
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
    """Returns the name of a GPU, or the CPU's architecture with the number of threads
    that PyTorch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def raw_pixels(recipe: Recipe, seed: int) -> dict:
    """Evaluates raw pixels. Without a network, one seed is enough."""
    return {"steps": 0, **measures(lambda x: x.flatten(1), recipe.data)}


def random_encoder(recipe: Recipe, seed: int) -> dict:
    """Evaluates the recipe's network, untrained, as it is initialised from the seed."""
    return {"steps": 0, **measures(build(recipe, seed), recipe.data)}


def random_calibrated(recipe: Recipe, seed: int) -> dict:
    """Evaluates the untrained network with BatchNorm statistics of 10,000 training
    rows: by k-NN this is a stricter baseline."""
    method = build(recipe, seed).train()
    with torch.no_grad():
        for x in load(recipe.data, "train").x[:10_000].split(256):
            method.encode(as_float(x))
    return {"steps": 0, **measures(method, recipe.data)}


def untrained(recipe: Recipe, seed: int) -> dict:
    """Returns all measures of an untrained method, for methods without a
    representation."""
    return {"steps": 0, **all_measures(build(recipe, seed), recipe)}


def trained(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe and evaluates it. After an interruption the training continues
    from its checkpoint in runs/."""
    method, about = train_to_the_end(recipe, seed)
    return about | all_measures(method, recipe)


def all_measures(method: Method, recipe: Recipe) -> dict[str, float]:
    """Returns `measures`, for a method with a representation, and `pretext`, for a
    method with a `pretext_score`: how well it solves its own task on test rows."""
    own = (
        {"pretext": pretext_score(method, load(recipe.data, "test").x)}
        if hasattr(method, "pretext_score")
        else {}
    )
    return own | (measures(method, recipe.data) if recipe.has_representation else {})


@torch.no_grad()
def pretext_score(method: Method, x: Tensor) -> float:
    """Returns how well a method solves its own pretext task on pictures x (N, C, H, W):
    the mean over batches of 500, in eval mode.

    The tasks are drawn from one fixed seed. The caller's random state does not change.
    """
    training, device = method.training, next(method.parameters()).device
    method.eval()
    with seeded(0, device):
        score = mean(
            float(method.pretext_score(as_float(batch.to(device))))
            for batch in x.split(500)
        )
    method.train(training)
    return score


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
    """Trains to the last update and returns the method and {steps, batch_size,
    seconds}.

    It trains on the CPU, where results are comparable, and prints a line of progress
    every 100 updates. A run that has already ended is loaded from its checkpoint.
    method, data, steps, batch_size: given where they differ from the recipe; such a run
    needs a checkpoint of its own, too. bf16: as for `fit`.
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
            print(
                f"{checkpoint.stem}: step {step.k} of {step.steps}, loss "
                f"{step.loss:.3f}",
                flush=True,
            )
    steps, images, seconds = torch.load(checkpoint, weights_only=True)["done"]
    return method, {
        "steps": steps,
        "batch_size": images // steps,
        "seconds": round(seconds, 1),
    }


def watched(
    recipe: Recipe, seed: int, metrics: Callable[[Method], dict[str, float]]
) -> tuple[Method, dict]:
    """Trains the recipe and computes metrics(method), in eval mode, after the first
    update and LOOKS - 1 more times.

    Returns the method and the contents of a row: steps, batch_size, seconds, and
    `curve`, {"update": [...], measure: [...]}. Raises ValueError for a run too short
    for so many measurements.
    """
    method = build(recipe, seed)
    every = count("steps", recipe.cpu.steps, low=2 * LOOKS) // LOOKS
    names = list(metrics(method.eval()))
    # a buffer, so that the checkpoint of an interrupted run contains it
    method.register_buffer("looks", torch.full((LOOKS, len(names)), torch.nan))
    run = train(
        recipe,
        method,
        load(recipe.data, "train"),
        seed=seed,
        device="cpu",
        checkpoint=checkpoint_of(recipe, seed, "-w"),
    )
    for step in run:
        # a measurement is due, or was missed because of an interruption
        empty = (step.k - 1) // every
        if empty < LOOKS and method.looks[empty].isnan().any():
            method.looks[empty] = torch.tensor(list(metrics(method.eval()).values()))
    method, about = train_to_the_end(
        recipe, seed, method=method, checkpoint=checkpoint_of(recipe, seed, "-w")
    )
    curve = {
        "update": [1 + k * every for k in range(LOOKS)],
        **dict(zip(names, method.looks.T.tolist())),
    }
    return method.eval(), about | {"curve": curve}


def from_scratch_on_few(recipe: Recipe, seed: int, amounts: dict[str, dict]) -> dict:
    """Trains the supervised recipe from scratch on few labelled scenes."""
    return train_on_few(recipe, seed, amounts, "scratch", lambda: build(recipe, seed))


def train_on_few(
    recipe: Recipe,
    seed: int,
    amounts: dict[str, dict],
    name: str,
    start: Callable[[], Method],
) -> dict:
    """Trains start() with labels, anew for each amount of labels, and returns the
    contents of a row: the test accuracy for each amount.

    amounts: title -> arguments of `labelled_subset`. name: the name of these runs,
    which is a part of the names of their checkpoints.
    """
    data, test, row = load("scenes", "train"), load("scenes", "test"), {"seconds": 0.0}
    for title, amount in amounts.items():
        few = data[labelled_subset(data, **amount, seed=seed)]
        checkpoint = checkpoint_of(recipe, seed, f"-{name}-{title}")
        method, about = train_to_the_end(
            recipe,
            seed,
            method=start(),
            data=few,
            checkpoint=checkpoint,
            batch_size=min(128, len(few)),
        )
        logits = method.classifier(evaluate.features(method, test.x))
        about["seconds"] += row["seconds"]
        row |= about | {title: evaluate.accuracy(logits, test.y)}
    return row


def checkpoint_of(recipe: Recipe, seed: int, part: str = "") -> Path:
    """Returns the path of a run's checkpoint, which is kept until its experiment is
    complete."""
    return RUNS / f"{recipe.hash()}-{seed}{part}.pt"
