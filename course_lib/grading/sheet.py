"""An exercise sheet as its author keeps it: in solutions/, NN_topic.py (the solved
notebook) and in NN_topic/ exercises.py (drivers, cases, alternatives, properties) and
mistakes.txt (hints and edits)."""

import ast
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from course_lib.files import ROOT
from course_lib.grading import mistakes
from course_lib.grading.answers import execute
from course_lib.grading.exercise import Exercise, Master, Wrong, load_module

# the line of exercises.py below which nothing is given to students
PRIVATE = "# --- private"


@dataclass(frozen=True)
class Sheet:
    """solutions: functions and classes of the solved notebook, sources: their code,
    both by name; wrong: the wrong answers to each exercise; hash: of the sheet, the
    grader's code and torch's version, all that a mark depends on beside the submission
    and the seed."""

    name: str
    folder: Path
    masters: list[Master]
    solutions: dict
    sources: dict[str, str]
    wrong: dict[str, list[Wrong]]
    drivers: dict
    public_drivers: str  # source
    hash: str

    def exercise(self, master: Master, seed: int = 0, hidden: bool = False) -> Exercise:
        """One exercise of the sheet, with its public or its hidden cases."""
        name = master.name
        return master.exercise(
            self.drivers[f"drive_{name}"],
            self.solutions[name],
            self.wrong.get(name, ()),
            seed,
            hidden,
        )

    def public(self, reveal: bool = False) -> list[Exercise]:
        """What `check` uses; reveal puts the worked solutions in."""
        found = [self.exercise(m) for m in self.masters]
        return (
            [replace(e, solution=self.sources[e.name]) for e in found]
            if reveal
            else found
        )

    def graded(self, seed: int) -> list[Exercise]:
        """Hidden cases from the seed and the public ones, shuffled together."""
        exercises = []
        for master, public in zip(self.masters, self.public()):
            hidden = self.exercise(master, seed, hidden=True)
            order = torch.randperm(
                len(public.cases) + len(hidden.cases),
                generator=torch.Generator().manual_seed(seed),
            ).tolist()
            mistakes = [
                replace(a, outputs=_shuffled(a.outputs + b.outputs, order))
                for a, b in zip(public.mistakes, hidden.mistakes)
            ]
            cases = _shuffled(public.cases + hidden.cases, order)
            expected = _shuffled(public.expected + hidden.expected, order)
            exercises.append(
                replace(hidden, cases=cases, expected=expected, mistakes=mistakes)
            )
        return exercises


def _shuffled(items: list, order: list[int]) -> list:
    return [items[i] for i in order]


def names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/exercises.py"))


def read(name: str, folder: Path = ROOT / "solutions") -> Sheet:
    """The sheet of that name, or whose name begins so ("03"). Raises ValueError for
    none or several, or where a solution or driver is missing."""
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
    source, text = (
        notebook.read_text(encoding="utf-8"),
        grading.read_text(encoding="utf-8"),
    )
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
        node.name: _whole(source, node)
        for node in ast.parse(source).body
        if hasattr(node, "name")
    }
    listed = grading.with_name("mistakes.txt")
    wrong = mistakes.read(
        listed,
        {master.name: sources[master.name] for master in module.SHEET},
        solutions,
    )
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(Path(__file__).parent.glob("*.*"))
    )
    everything = (
        source + text + listed.read_text(encoding="utf-8") + code + torch.__version__
    )
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


def _whole(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """The source of a function or class, its decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
