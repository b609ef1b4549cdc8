"""Updates the hashes of results and shipped weights without training, if the changed
code computes the same numbers.

    python tools/rehash.py [--since COMMIT]

A hash changes with the code of a builder or a job (`course_lib.fingerprint`), even if
the new code computes the same. This tool compares the code of COMMIT (by default the
last commit) with the present code, each in a process of its own:

- The weights that each builder makes from seed 0 are the same bit for bit.
- The losses of three short updates are equal.
- Each job with changed code gives the same row after a training of at most 20 updates
  with batches of at most 32 pictures, with the first 2,000 rows of each data set (with
  all rows, if these are too few for the job).

Then each row of results/ and of the zoo's manifest that had COMMIT's hash gets the
present hash. Rows whose comparison fails stay stale, and the tool prints their names.

There is no other way to change a hash without training. If all hashes have changed, the
tool takes several minutes.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
STEPS, BATCH, ROWS = 20, 32, 2000
# the only measures that may differ
TIMES = ("seconds", "draw_seconds")


def hashes() -> dict:
    """Returns the hashes of recipes by name, and of settings by "experiment, setting".

    A setting also has the hashes of its recipe and of its job.
    """
    from course_lib.experiments import catalogue
    from course_lib.fingerprint import fingerprint
    from course_lib.recipe import recipes

    by_setting = {}
    for experiment, settings in catalogue().items():
        for name, setting in settings.items():
            job = fingerprint(setting.job) + setting.recipe.data
            by_setting[f"{experiment}, {name}"] = {
                "hash": setting.hash(),
                "recipe": setting.recipe.hash(),
                "job": hashlib.sha256(job.encode()).hexdigest()[:12],
            }
    by_recipe = {name: recipe.hash() for name, recipe in recipes().items()}
    return {"recipes": by_recipe, "settings": by_setting}


def digest(state: dict[str, torch.Tensor]) -> str:
    """Returns a hash of all bits of a state_dict."""
    content = hashlib.sha256()
    for name, value in state.items():
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().contiguous().flatten()
        content.update(flat.view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:12]


def proofs(recipes: list[str], settings: list[str], jobs: list[str]) -> dict:
    """Returns what these recipes and settings compute, by name.

    Each has the hash of its weights and its losses. A setting in `jobs` also has the
    row of its job, as a text.
    """
    from course_lib import data, recipe, zoo
    from course_lib.experiments import catalogue
    from course_lib.experiments import jobs as library
    from course_lib.experiments.results import short
    from course_lib.experiments.setting import Setting

    by_name = {
        f"{experiment}, {name}": setting
        for experiment, settings_of in catalogue().items()
        for name, setting in settings_of.items()
    }
    computed, found, manifest = {}, {}, zoo.manifest()
    # The recipe of an evaluation network or a teacher may have a new hash, too.
    for name, row in manifest.items():
        row["recipe"] = recipe.lookup(name).hash()
    zoo.manifest = lambda: manifest

    def weights_and_losses(of: recipe.Recipe) -> list:
        if of.hash() not in computed:
            # only the values, because a builder's name may change
            losses = list(short({"": Setting(of)}).values()) if of.cpu else None
            computed[of.hash()] = [digest(recipe.build(of, 0).state_dict()), losses]
        return computed[of.hash()]

    for name in recipes:
        found[name] = weights_and_losses(recipe.lookup(name))
    fit, load = recipe.fit, data.load

    def short_fit(method, data, steps, *, batch_size, **more):
        steps, batch_size = min(steps, STEPS), min(batch_size, BATCH)
        return fit(method, data, steps, batch_size=batch_size, **more)

    def short_load(*names):
        return load(*names)[:ROWS]

    def replace_load(old, new):
        for module in list(sys.modules.values()):
            if getattr(module, "load", None) is old:
                module.load = new

    def row_of(setting: Setting) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            library.RUNS, recipe.fit = Path(folder), short_fit
            row = setting.job(setting.recipe, setting.seeds[0])
            recipe.fit = fit
        return without_times({key: without_times(value) for key, value in row.items()})

    for name in settings:
        setting = by_name[name]
        values = vars(setting).values()
        used = [value for value in values if isinstance(value, recipe.Recipe)]
        found[name] = [weights_and_losses(each) for each in used]
        if name in jobs:
            replace_load(load, short_load)
            try:
                row = row_of(setting)
            except (ValueError, RuntimeError, IndexError):  # too few rows
                replace_load(short_load, load)
                row = row_of(setting)
            replace_load(short_load, load)
            found[name].append(repr(row))
        done = f"{len(found)} of {len(recipes) + len(settings)}: {name}"
        print(done, file=sys.stderr, flush=True)
    return found


def without_times(value):
    """Returns a dictionary without the keys in TIMES, any other value as it is."""
    if not isinstance(value, dict):
        return value
    return {key: each for key, each in value.items() if key not in TIMES}


def in_tree(tree: Path, function: str, *arguments) -> dict:
    """Returns the result of a function of this file, called on the library in `tree`.

    The call runs in a process of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "arguments.json", Path(folder) / "result.json"
        given.write_text(json.dumps(arguments))
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", __file__]
        command += ["--call", function, str(given), str(result)]
        subprocess.run(command, env=environment, cwd=tree, check=True)
        return json.loads(result.read_text())


def changed(before: dict, now: dict) -> tuple[list[str], list[str], list[str]]:
    """Returns names of recipes and settings whose hash has changed.

    The third list has one setting for each job whose code has changed.
    """
    old, new = before["recipes"], now["recipes"]
    recipes = [name for name in new if name in old and old[name] != new[name]]
    old, new = before["settings"], now["settings"]
    settings = [
        name for name in new if name in old and old[name]["hash"] != new[name]["hash"]
    ]
    jobs = {}
    for name in settings:
        if old[name]["job"] != new[name]["job"]:
            jobs.setdefault((old[name]["job"], new[name]["job"]), name)
    return recipes, settings, list(jobs.values())


def write_hashes(before: dict, now: dict, equal: set[str]) -> int:
    """Writes the present hashes of the names in `equal` into results/ and the manifest.

    Returns the number of changed rows.
    """
    from course_lib.files import write_json

    count = 0
    for path in sorted((ROOT / "results").glob("*.json")):
        content = json.loads(path.read_text())
        for row in content["rows"]:
            name = f"{path.stem}, {row['setting']}"
            if name in equal and row["recipe"] == before["settings"][name]["hash"]:
                row["recipe"] = now["settings"][name]["hash"]
                count += 1
        write_json(path, content)
    path = ROOT / "course_lib" / "zoo" / "manifest.json"
    content = json.loads(path.read_text())
    for name, row in content.items():
        if name in equal and row["recipe"] == before["recipes"][name]:
            row["recipe"] = now["recipes"][name]
            count += 1
    write_json(path, content)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--since", default="HEAD", metavar="COMMIT")
    parser.add_argument("--call", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        function, given, result = args.call
        value = globals()[function](*json.loads(Path(given).read_text()))
        Path(result).write_text(json.dumps(value))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = partial(subprocess.run, cwd=ROOT, check=True)
        git(["git", "worktree", "add", "--quiet", "--detach", str(tree), args.since])
        try:
            before, now = (in_tree(each, "hashes") for each in (tree, ROOT))
            asked = changed(before, now)
            recipes, settings, jobs = map(len, asked)
            counts = f"{recipes} recipes, {settings} settings, {jobs} jobs"
            print(f"{counts} to compare", file=sys.stderr)
            # one process for each tree, at the same time
            with ThreadPoolExecutor(2) as both:
                first, second = both.map(
                    lambda each: in_tree(each, "proofs", *asked), (tree, ROOT)
                )
        finally:
            git(["git", "worktree", "remove", "--force", str(tree)])
    equal = {name for name in first if first[name] == second[name]}
    # If one setting of a changed job differs, no setting of this job is equal.
    old = before["settings"]
    jobs = {old[name]["job"] for name in asked[2] if name not in equal}
    equal = {name for name in equal if name not in old or old[name]["job"] not in jobs}
    count = write_hashes(before, now, equal)
    print(f"{count} rows and weights have today's hash")
    if differs := [name for name in first if name not in equal]:
        print(f"not the same as at {args.since}, so still stale: {'; '.join(differs)}")
    return bool(differs)


if __name__ == "__main__":
    sys.exit(main())
