"""The public files of a sheet: cases, expected outputs and mistakes for the student's
check, without the source of any wrong answer."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save

from course_lib.files import write_json, write_whole
from course_lib.grading.compare import exception_key
from course_lib.grading.drive import Failure, load_module
from course_lib.grading.exercise import Case, Exercise, Mistake, Outputs, Property


def write_public(exercises: list[Exercise], stem: Path):
    """Writes STEM.json (the texts) and STEM.safetensors (cases, expected outputs,
    outputs of the mistakes). Of sources they hold only `Exercise.solution`, which is
    empty unless the instructor reveals the solutions."""
    arrays, texts = {}, {}
    for e in exercises:
        for i, (case, expected) in enumerate(zip(e.cases, e.expected)):
            parts = {
                "in": {name: array.numpy() for name, array in case.arrays.items()},
                "out": expected,
            }
            for j, mistake in enumerate(e.mistakes):
                if isinstance(mistake.outputs[i], dict):
                    parts[f"mistake{j}"] = mistake.outputs[i]
            for part, named in parts.items():
                for k, array in named.items():
                    key = f"{e.name}/{i}/{part}/{k}"
                    arrays[key] = np.asarray(array, order="C")
        texts[e.name] = {
            "properties": [asdict(p) for p in e.properties],
            "kinds": [case.kind for case in e.cases],
            # the file of arrays does not keep their order
            "inputs": [list(case.arrays) for case in e.cases],
            "mistakes": [
                {"name": m.name, "hint": m.hint, "raises": _raised(m)}
                for m in e.mistakes
            ],
            "solution": e.solution,
        }
    write_whole(stem.with_suffix(".safetensors"), save(arrays))
    write_json(stem.with_suffix(".json"), texts)


def _raised(mistake: Mistake) -> list[tuple[str, str] | None]:
    """Returns for each case the key of the exception that the mistake raises, or
    None."""
    return [
        exception_key(outputs) if isinstance(outputs, Failure) else None
        for outputs in mistake.outputs
    ]


def read_public(stem: Path) -> dict[str, Exercise]:
    """Returns the exercises that `write_public` wrote, by name, with their drivers from
    STEM_drivers.py."""
    texts = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    arrays = load(stem.with_suffix(".safetensors").read_bytes())
    drivers = load_module(stem.with_name(f"{stem.name}_drivers.py"))
    return {
        name: _exercise(name, text, arrays, getattr(drivers, f"drive_{name}"))
        for name, text in texts.items()
    }


def _exercise(name: str, text: dict, arrays: Outputs, drive) -> Exercise:
    def part(i: int, which: str) -> Outputs:
        start = f"{name}/{i}/{which}/"
        return {
            key[len(start) :]: array
            for key, array in arrays.items()
            if key.startswith(start)
        }

    def inputs(i: int) -> dict[str, torch.Tensor]:
        named = part(i, "in")
        return {k: torch.from_numpy(named[k]) for k in text["inputs"][i]}

    cases = [Case(kind, inputs(i)) for i, kind in enumerate(text["kinds"])]
    mistakes = []
    for j, m in enumerate(text["mistakes"]):
        outputs = [
            Failure(raised[0], message=raised[1]) if raised else part(i, f"mistake{j}")
            for i, raised in enumerate(m["raises"])
        ]
        mistakes.append(Mistake(m["name"], m["hint"], outputs))
    properties = tuple(
        Property(**{**p, "outputs": tuple(p["outputs"])}) for p in text["properties"]
    )
    expected = [part(i, "out") for i in range(len(cases))]
    return Exercise(
        name, properties, drive, cases, expected, mistakes, text["solution"]
    )
