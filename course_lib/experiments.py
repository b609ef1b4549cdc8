"""Measured results: every (setting, seed) of an experiment is a resumable job, and each row says how it came about.

`results/NAME.json` holds {"recipe": hash, "short": ..., "rows": [...]}. A row is {setting, seed, steps, batch_size,
device, seconds, measures...}. Rows that are there are not run again; a changed recipe, or code whose
short row comes out differently, starts the file afresh.
"""

import json
import math
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import torch

from course_lib import evaluate
from course_lib.data import load
from course_lib.files import write_json
from course_lib.recipes import build, lookup, train
from course_lib.train import Method

ROOT = Path(__file__).resolve().parents[1]
RESULTS, RUNS = ROOT / "results", ROOT / "runs"


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


# Settings: functions (recipe name, seed) -> a row.


def raw_pixels(name: str, seed: int) -> dict:
    """No network at all, so one seed is enough."""
    return {"steps": 0, **measures(lambda x: x.flatten(1), lookup(name).data)}


def random_encoder(name: str, seed: int) -> dict:
    """The recipe's network as the seed makes it, untrained."""
    return {"steps": 0, **measures(build(lookup(name), seed), lookup(name).data)}


def random_calibrated(name: str, seed: int) -> dict:
    """The untrained network with BatchNorm statistics of 10,000 training rows: the strictest baseline."""
    method = build(lookup(name), seed).train()
    with torch.no_grad():
        for x in load(lookup(name).data, "train").x[:10_000].split(256):
            method.encode(x.float() / 255)
    return {"steps": 0, **measures(method, lookup(name).data)}


def trained(name: str, seed: int) -> dict:
    """The recipe, trained; continues from its checkpoint in runs/ when it was interrupted."""
    recipe, method = lookup(name), build(lookup(name), seed)
    done, images, seconds = train_to_the_end(name, method, seed, checkpoint_of(name, seed))
    measured = measures(method, recipe.data)
    return {"steps": done, "batch_size": images // done, "seconds": round(seconds, 1), **measured}


def checkpoint_of(name: str, seed: int) -> Path:
    return RUNS / f"{name}-{lookup(name).hash()}-{seed}.pt"


def train_to_the_end(name: str, method: Method, seed: int, checkpoint: Path, **size) -> tuple[int, int, float]:
    """Trains on the CPU, where results are comparable, with a line of progress now and then; a run that had already
    ended is taken from its checkpoint. Returns updates, images and seconds. size: steps or batch_size."""
    data = load(lookup(name).data, "train")
    for step in train(lookup(name), method, data, seed=seed, device="cpu", checkpoint=checkpoint, **size):
        if step.k % 100 == 0:
            print(f"{name}, seed {seed}: step {step.k} of {step.steps}, loss {step.loss:.3f}", flush=True)
    return torch.load(checkpoint, weights_only=True)["done"]


SETTINGS = {
    "raw pixels": raw_pixels,
    "random encoder": random_encoder,
    "random, calibrated": random_calibrated,
    "trained": trained,
}


def short(name: str) -> list[float]:
    """Losses of three small updates with seed 0: repeated in seconds, they notice changed methods, data or loop.

    No more than three: rounding differs between machines, and early steps of Adam multiply it tenfold each.
    """
    recipe = lookup(name)
    steps = train(recipe, build(recipe, seed=0), load(recipe.data, "train"), steps=8, batch_size=64, device="cpu")
    return [step.loss for step in islice(steps, 3)]


def _job(name: str, setting: str, seed: int, threads: int) -> dict:
    torch.set_num_threads(threads)
    row = {"setting": setting, "seed": seed, "device": device_name(torch.device("cpu"))}
    return row | SETTINGS[setting](name, seed)


def read(name: str) -> dict:
    """The file results/NAME.json; FileNotFoundError says how to make it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: run `make results` in a clone of the course")
    return json.loads(path.read_text())


def run(name: str, seeds: tuple[int, ...] = (0, 1, 2)):
    """Runs what results/NAME.json does not hold yet, one process a core with one thread each.

    Everything is run again when the recipe has changed, or when the short row shows that the code has.
    """
    path, tag, now = RESULTS / f"{name}.json", lookup(name).hash(), short(name)
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("recipe") != tag or not same(found["short"], now):
        found = {"recipe": tag, "short": now, "rows": []}
        write_json(path, found)
        for seed in seeds:
            checkpoint_of(name, seed).unlink(missing_ok=True)
    have = {(row["setting"], row["seed"]) for row in found["rows"]}
    jobs = [(setting, seed) for setting in SETTINGS for seed in (seeds[:1] if setting == "raw pixels" else seeds)]
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    try:
        running = [pool.submit(_job, name, *job, threads=1) for job in jobs if job not in have]
        for done in as_completed(running):
            found["rows"].append(done.result())
            found["rows"].sort(key=lambda row: (list(SETTINGS).index(row["setting"]), row["seed"]))
            write_json(path, found)
    finally:  # where a job failed, the others' checkpoints stay in runs/ and the next call continues them
        pool.shutdown(cancel_futures=True)
    for seed in seeds:
        checkpoint_of(name, seed).unlink(missing_ok=True)


def same(losses: list[float], others: list[float]) -> bool:
    """Whether two short rows differ by no more than rounding on different machines explains."""
    return len(losses) == len(others) and all(math.isclose(a, b, rel_tol=2e-3) for a, b in zip(losses, others))


def table(name: str) -> str:
    """results/NAME.json as text: each setting's mean and standard deviation over its seeds, the gain over random."""
    found = read(name)
    if found["recipe"] != lookup(name).hash():
        raise ValueError(f"results/{name}.json was made by another recipe than today's: run `make results`")
    lines = [f"{'':19}{'k-NN':>14}{'linear probe':>16}{'eff. rank':>11}{'std':>7}  seeds    steps    seconds"]
    by_setting = {s: [row for row in found["rows"] if row["setting"] == s] for s in SETTINGS}
    for setting, rows in by_setting.items():
        if rows:
            lines.append(
                f"{setting:19}{spread(rows, 'knn'):>14}{spread(rows, 'probe'):>16}"
                f"{mean(r['effective_rank'] for r in rows):11.1f}{mean(r['feature_std'] for r in rows):7.3f}"
                f"  {','.join(str(r['seed']) for r in rows):8}{rows[0]['steps']:>6}"
                f"{mean(r.get('seconds', 0.0) for r in rows):>11.0f}"
            )
    for measure, title in (("knn", "k-NN"), ("probe", "linear probe")):
        for baseline in ("random encoder", "random, calibrated"):
            random = {row["seed"]: row[measure] for row in by_setting[baseline]}
            gains = [row[measure] - random[row["seed"]] for row in by_setting["trained"] if row["seed"] in random]
            if gains:
                by_seed = ", ".join(f"{gain:+.3f}" for gain in gains)
                lines.append(f"{title}: trained - {baseline} of the same seed = {mean(gains):+.3f} ({by_seed})")
    devices = sorted({row["device"] for row in found["rows"]})
    return "\n".join(
        [*lines, f"held-out {lookup(name).data}; mean ± standard deviation over seeds; {'; '.join(devices)}"]
    )


def spread(rows: list[dict], measure: str) -> str:
    values = [row[measure] for row in rows]
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
