"""Gives results and shipped weights today's hashes, without training, where nothing
that a number depends on changed.

    python tools/rehash.py [--since COMMIT]

A hash changes with the code of a builder or a job (`course_lib.fingerprint`), also
where it only says the same in other words. Then this proves that it does: at COMMIT (by
default the last one) and now, each in a process of its own, the weights that each
builder makes from seed 0 are the same bit for bit, the losses of three short updates
are equal, and each job whose code has changed gives the same row after a training cut
to 20 updates of 32 pictures. Rows of results/ and of the zoo's manifest that had
COMMIT's hash then get today's. What differs stays as it is, stale, and is named.

It is the only way to change a hash without training. Several minutes where all have
changed.
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
STEPS, BATCH = 20, 32
SPENT = ("seconds", "draw_seconds")  # the only numbers that may differ


def hashes() -> dict:
    """Of recipes by name, of settings by "experiment, setting"; and what tells whose
    proof is whose."""
    from course_lib.experiments import catalogue
    from course_lib.fingerprint import fingerprint
    from course_lib.recipe import recipes

    return {
        "recipes": {name: recipe.hash() for name, recipe in recipes().items()},
        "settings": {
            f"{experiment}, {name}": {
                "hash": setting.hash(),
                "recipe": setting.recipe.hash(),
                "job": hashlib.sha256(
                    (fingerprint(setting.job) + setting.recipe.data).encode()
                ).hexdigest()[:12],
            }
            for experiment, settings in catalogue().items()
            for name, setting in settings.items()
        },
    }


def digest(state: dict[str, torch.Tensor]) -> str:
    """Of all bits of a state_dict."""
    content = hashlib.sha256()
    for name, value in state.items():
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(
            value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return content.hexdigest()[:12]


def proofs(recipes: list[str], settings: list[str], jobs: list[str]) -> dict:
    """What these recipes and settings compute: weights and losses of each; of the
    settings in `jobs` a row, too."""
    from course_lib import recipe, zoo
    from course_lib.experiments import catalogue
    from course_lib.experiments import jobs as library
    from course_lib.experiments.results import short
    from course_lib.experiments.setting import Setting

    by_name = {
        f"{experiment}, {name}": s
        for experiment, each in catalogue().items()
        for name, s in each.items()
    }
    computed, found, manifest = {}, {}, zoo.manifest()
    # a judge or a teacher may be of a recipe whose hash is changing, too
    for name, row in manifest.items():
        row["recipe"] = recipe.lookup(name).hash()
    zoo.manifest = lambda: manifest

    def same_as(of: recipe.Recipe) -> list:
        if of.hash() not in computed:
            # a builder's name may change
            losses = list(short({"": Setting(of)}).values()) if of.cpu else None
            computed[of.hash()] = [digest(recipe.build(of, 0).state_dict()), losses]
        return computed[of.hash()]

    for name in recipes:
        found[name] = same_as(recipe.lookup(name))
    fit = recipe.fit

    def cut(method, data, steps, *, batch_size, **more):
        return fit(
            method, data, min(steps, STEPS), batch_size=min(batch_size, BATCH), **more
        )

    for name in settings:
        setting = by_name[name]
        found[name] = [
            same_as(each)
            for each in vars(setting).values()
            if isinstance(each, recipe.Recipe)
        ]
        if name in jobs:
            with tempfile.TemporaryDirectory() as folder:
                library.RUNS, recipe.fit = Path(folder), cut
                row = setting.job(setting.recipe, setting.seeds[0])
                recipe.fit = fit
            found[name].append(
                repr(
                    {
                        key: without_time(value)
                        for key, value in row.items()
                        if key not in SPENT
                    }
                )
            )
        print(
            f"{len(found)} of {len(recipes) + len(settings)}: {name}",
            file=sys.stderr,
            flush=True,
        )
    return found


def without_time(value):
    return (
        {k: v for k, v in value.items() if k not in SPENT}
        if isinstance(value, dict)
        else value
    )


def ask(tree: Path, question: str, *arguments) -> dict:
    """What this file's function of that name says of the library in `tree`, in a
    process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "asked.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(arguments))
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            "--answer",
            question,
            str(asked),
            str(answer),
        ]
        subprocess.run(command, env=environment, cwd=tree, check=True)
        return json.loads(answer.read_text())


def changed(before: dict, now: dict) -> tuple[list[str], list[str], list[str]]:
    """Names of recipes and settings whose hash changed, and of one setting for each job
    whose code did."""
    recipes = [
        name
        for name, known in now["recipes"].items()
        if before["recipes"].get(name, known) != known
    ]
    old, new = before["settings"], now["settings"]
    settings = [
        name for name in new if name in old and old[name]["hash"] != new[name]["hash"]
    ]
    jobs = {}
    for name in settings:
        if old[name]["job"] != new[name]["job"]:
            jobs.setdefault((old[name]["job"], new[name]["job"]), name)
    return recipes, settings, list(jobs.values())


def rename(before: dict, now: dict, equal: set[str]):
    """Writes today's hashes into results/ and the manifest for what is equal; returns
    how many rows have one now."""
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
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        question, asked, answer = args.answer
        found = globals()[question](*json.loads(Path(asked).read_text()))
        Path(answer).write_text(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = partial(subprocess.run, cwd=ROOT, check=True)
        git(["git", "worktree", "add", "--quiet", "--detach", str(tree), args.since])
        try:
            before, now = (ask(each, "hashes") for each in (tree, ROOT))
            asked = changed(before, now)
            print(
                f"{len(asked[0])} recipes, {len(asked[1])} settings, {len(asked[2])} "
                "jobs to prove",
                file=sys.stderr,
            )
            with ThreadPoolExecutor(2) as both:  # a process for each tree
                first, second = both.map(
                    lambda each: ask(each, "proofs", *asked), (tree, ROOT)
                )
        finally:
            git(["git", "worktree", "remove", "--force", str(tree)])
    jobs = {
        old["job"]
        for name, old in before["settings"].items()
        if name in asked[2] and first[name] != second[name]
    }
    equal = {name for name in first if first[name] == second[name]}
    equal -= {
        name
        for name in equal
        if name in before["settings"] and before["settings"][name]["job"] in jobs
    }
    print(f"{rename(before, now, equal)} rows and weights have today's hash")
    if differs := [name for name in first if name not in equal]:
        print(f"not the same as at {args.since}, so still stale: {'; '.join(differs)}")
    return bool(differs)


if __name__ == "__main__":
    sys.exit(main())
