"""Reads an exercise sheet as its author writes it.

A sheet has three files in solutions/: NN_topic.py (the solved notebook),
NN_topic/exercises.py (drivers, cases, alternatives, properties) and
NN_topic/mistakes.txt (hints and edits).
"""

import ast
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from course_lib.files import ROOT
from course_lib.grading import mistakes
from course_lib.grading.answers import execute
from course_lib.grading.drive import load_module
from course_lib.grading.exercise import Exercise, Master, WrongAnswer

# Students do not get the part of exercises.py below this line.
PRIVATE = "# --- private"


@dataclass(frozen=True)
class Sheet:
    """An exercise sheet with its solutions.

    masters: the exercises; solutions: functions and classes of the solved notebook by
    name; sources: their code by name; wrong: the wrong answers to each exercise;
    drivers: the names in exercises.py with their values; public_drivers: the source of
    its public part; hash: of the sheet's three files, the grader's code and torch's
    version.
    """

    name: str
    folder: Path
    masters: list[Master]
    solutions: dict
    sources: dict[str, str]
    wrong: dict[str, list[WrongAnswer]]
    drivers: dict
    public_drivers: str
    hash: str

    @property
    def source(self) -> Path:
        """The solved notebook, in the format py:percent."""
        return self.folder / f"{self.name}.py"

    def exercise(self, master: Master, seed: int = 0, hidden: bool = False) -> Exercise:
        """Returns one exercise of the sheet, with its public or its hidden cases."""
        name = master.name
        return master.exercise(
            self.drivers[f"drive_{name}"],
            self.solutions[name],
            self.wrong.get(name, ()),
            seed,
            hidden,
        )

    def public(self, reveal: bool = False) -> list[Exercise]:
        """Returns the exercises for the student's check, with their public cases.
        reveal: include the worked solutions."""
        if reveal:
            return [replace(e, solution=self.sources[e.name]) for e in self._public]
        return list(self._public)

    @cached_property
    def _public(self) -> list[Exercise]:
        """The public exercises, made once, because running all wrong answers takes
        time."""
        return [self.exercise(master) for master in self.masters]

    def graded(self, seed: int) -> list[Exercise]:
        """Returns the exercises for grading: with the public cases and with hidden ones
        drawn from the seed, shuffled together."""
        exercises = []
        for master, public in zip(self.masters, self._public):
            hidden = self.exercise(master, seed, hidden=True)
            cases, generator = public.cases + hidden.cases, torch.Generator()
            generator.manual_seed(seed)
            order = torch.randperm(len(cases), generator=generator).tolist()
            known = [
                replace(a, outputs=_shuffled(a.outputs + b.outputs, order))
                for a, b in zip(public.mistakes, hidden.mistakes)
            ]
            exercises.append(
                replace(
                    hidden,
                    cases=_shuffled(cases, order),
                    expected=_shuffled(public.expected + hidden.expected, order),
                    mistakes=known,
                )
            )
        return exercises


def _shuffled(items: list, order: list[int]) -> list:
    return [items[i] for i in order]


def names(folder: Path) -> list[str]:
    """Returns the names of the sheets in the folder."""
    return sorted(path.parent.name for path in folder.glob("*/exercises.py"))


def read(name: str, folder: Path = ROOT / "solutions") -> Sheet:
    """Returns the sheet whose name is or begins with `name`, such as "03". Raises
    ValueError if there are none or several, or if a solution or driver is missing."""
    found = [sheet for sheet in names(folder) if sheet.startswith(name)]
    if len(found) != 1 or not name:
        there = ", ".join(names(folder)) or "none yet"
        raise ValueError(
            f"argument `exercise`: expected one of {there} (or its number) in "
            f"{folder}, got {name!r}"
        )
    (name,) = found
    notebook, grading = folder / f"{name}.py", folder / name / "exercises.py"
    if not notebook.exists():
        raise ValueError(
            f"{notebook}: expected the solved notebook beside the folder {name}, found "
            "none"
        )
    source = notebook.read_text(encoding="utf-8")
    text = grading.read_text(encoding="utf-8")
    module = load_module(grading)
    solutions, failed = execute([source])
    drivers = vars(module)
    for master in module.SHEET:
        if master.name not in solutions:
            raise ValueError(
                f"{notebook.name}: expected a solution `{master.name}`, found "
                f"{failed.get(master.name, 'none')}"
            )
        if f"drive_{master.name}" not in drivers:
            raise ValueError(
                f"{grading}: expected a driver `drive_{master.name}`, found none"
            )
    public, line, _ = text.partition(f"\n{PRIVATE}")
    if not line:
        raise ValueError(
            f"{grading}: expected a line that begins with `{PRIVATE}`, found none"
        )
    sources = {
        node.name: whole(source, node)
        for node in ast.parse(source).body
        if hasattr(node, "name")
    }
    listed = grading.with_name("mistakes.txt")
    edits = listed.read_text(encoding="utf-8")
    wrong = mistakes.read(
        edits,
        listed.name,
        {master.name: sources[master.name] for master in module.SHEET},
        solutions,
    )
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(Path(__file__).parent.glob("*.*"))
    )
    everything = source + text + edits + code + torch.__version__
    digest = hashlib.sha256(everything.encode()).hexdigest()[:16]
    return Sheet(
        name,
        folder,
        module.SHEET,
        solutions,
        sources,
        wrong,
        drivers,
        public.rstrip() + "\n",
        digest,
    )


def whole(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """Returns the source of a function or class, including its decorators."""
    first = min(part.lineno for part in (node, *node.decorator_list))
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
