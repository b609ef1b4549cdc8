"""What an exercise is, and the verdict on an answer: the same code for the student's
check and for the grader.

An exercise has cases (arrays) of several kinds, a public driver that calls the answer
on them, what comes out of the driver for the solution, and for each of a bank of
plausible mistakes. A *property* looks at some outputs on the cases of one kind and is
worth points. The first property is what the exercise is about: the others count only
with it.
"""

import importlib.util
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

from course_lib.files import write_json, write_whole
from course_lib.grading.drive import Failure, run

RELATIVE, ABSOLUTE = 1e-4, 1e-5  # other orders of summation pass, other formulas do not
WAITS = "counts once the first line is right"
FAULTS = {  # by the type of a Failure
    "NotATensor": "what it returns is not a tensor of real numbers",
    "NotFound": "the notebook has no function or class of this name",
    "Unreadable": "the file cannot be read as a Python notebook",
    "Leftover": "`raise NotImplementedError()` still stands in it: delete that line",
    "Withheld": "it calls the library's own solution, which is not there when you are marked",
}
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Property:
    """`name` reads as what the answer does. outputs: first words of the driver's
    outputs it looks at."""

    name: str
    points: int
    kind: str = "ordinary"
    outputs: tuple[str, ...] = ("value",)


UNCHANGED = Property("leaves its arguments alone", 1, outputs=("unchanged",))


def values(points: int) -> Property:
    """The first property of most exercises."""
    return Property("gives the right values", points)


def gradient(points: int, name: str = "has the right gradient") -> Property:
    """What most sheets ask beside the values, as UNCHANGED is."""
    return Property(name, points, "gradient", ("gradient", "slope"))


@dataclass(frozen=True)
class Case:
    kind: str
    arrays: dict[str, Tensor]


def as_tensor(value: bool | float | list) -> Tensor:
    """A number, or a list of numbers, as a case holds it: float64 for decimals, else
    int64 or bool."""
    tensor = torch.tensor(value)
    return (
        torch.tensor(value, dtype=torch.float64)
        if tensor.is_floating_point()
        else tensor
    )


def make_case(
    kind: str, draw_cotangent: Callable[[], Tensor | float] | None = None, **arrays
) -> Case:
    """A case of these arrays; what is no tensor becomes one, by `as_tensor`.
    draw_cotangent is called for kind "gradient" only; what it returns is the last
    array, `cotangent`."""
    if kind == "gradient" and draw_cotangent:
        arrays["cotangent"] = draw_cotangent()
    return Case(
        kind,
        {k: v if isinstance(v, Tensor) else as_tensor(v) for k, v in arrays.items()},
    )


def make_cases(make: Callable[..., Case], **rows: list[tuple]) -> list[Case]:
    """make(kind, *row) for each kind and each of its rows, as in `make_cases(case,
    ordinary=[(3, 4), (2, 5)])`."""
    return [make(kind, *row) for kind, listed in rows.items() for row in listed]


@dataclass(frozen=True)
class Wrong:
    """A wrong answer: its name, the hint for who made this mistake, its source, and
    what that defines."""

    name: str
    hint: str
    source: str
    answer: Callable


@dataclass(frozen=True)
class Mistake:
    """What is kept of a wrong answer: its name, the hint, and what it puts out for each
    case."""

    name: str
    hint: str
    outputs: list[Outputs | Failure]


@dataclass(frozen=True)
class Exercise:
    """drive(answer, arrays) -> arrays; expected: its outputs for the solution, one
    dictionary a case."""

    name: str
    properties: tuple[Property, ...]
    drive: Callable
    cases: list[Case]
    expected: list[Outputs]
    mistakes: list[Mistake] = field(default_factory=list)
    solution: str = ""  # source, where the instructor lets it be seen

    @property
    def points(self) -> int:
        return sum(p.points for p in self.properties)


@dataclass(frozen=True)
class Master:
    """An exercise as its author writes it. cases(generator, hidden) makes cases: public
    ones always the same, hidden ones of other shapes. alternatives: right answers in
    another form. hides: `module:symbol` of the library that would answer it."""

    name: str
    properties: tuple[Property, ...]
    cases: Callable[[torch.Generator, bool], list[Case]]
    alternatives: tuple[Callable, ...] = ()
    hides: tuple[str, ...] = ()

    def exercise(
        self,
        drive: Callable,
        solution: Callable,
        wrong: Iterable[Wrong] = (),
        seed: int = 0,
        hidden: bool = False,
    ) -> Exercise:
        """The exercise with cases drawn from the seed. Raises RuntimeError where the
        solution itself fails, or where a property has no case to look at."""
        cases = self.cases(torch.Generator().manual_seed(seed), hidden)
        if idle := {p.kind for p in self.properties} - {case.kind for case in cases}:
            raise RuntimeError(
                f"{self.name}: expected a case of each property's kind, found none of "
                f"{sorted(idle)}"
            )
        expected = [run(drive, solution, case.arrays) for case in cases]
        if failed := [outputs for outputs in expected if isinstance(outputs, Failure)]:
            raise RuntimeError(
                f"the solution of {self.name} fails on its own cases: {failed[0]}"
            )
        mistakes = [
            Mistake(w.name, w.hint, [run(drive, w.answer, c.arrays) for c in cases])
            for w in wrong
        ]
        return Exercise(self.name, self.properties, drive, cases, expected, mistakes)


def library(module: str, *names: str) -> tuple[str, ...]:
    """These functions and classes of course_lib.MODULE, as a master's `hides` wants
    them."""
    return tuple(f"course_lib.{module}:{name}" for name in names)


@dataclass(frozen=True)
class Result:
    """One property of one answer. why names what is wrong and gives no number away;
    detail may, and is for public cases only; where: the shapes of the first case that
    shows it."""

    property: Property
    passed: bool
    why: str = ""
    detail: str = ""
    where: str = ""


@dataclass(frozen=True)
class Verdict:
    exercise: str
    results: list[Result]
    mistake: Mistake | None = None
    todo: bool = False

    @property
    def points(self) -> int:
        return sum(r.property.points for r in self.results if r.passed)

    @property
    def solved(self) -> bool:
        return all(r.passed for r in self.results)


def judge(exercise: Exercise, outcomes: list[Outputs | Failure]) -> Verdict:
    """The verdict on an answer, from what the driver put out for it, case by case.
    Trusts nothing in `outcomes`."""
    if all(isinstance(o, Failure) and _is_stub(o) for o in outcomes):
        return Verdict(
            exercise.name,
            [Result(p, False, "to do") for p in exercise.properties],
            todo=True,
        )
    results: list[Result] = []
    for p in exercise.properties:
        if results and not results[0].passed:
            results.append(Result(p, False, WAITS))
        else:
            fault = _first_fault(exercise, outcomes, p)
            results.append(Result(p, not fault, *fault))
    failed = [r.property for r in results if not r.passed and r.why != WAITS]
    mistake = next(
        (
            m
            for p in failed
            for m in exercise.mistakes
            if _matches(exercise, outcomes, m, p)
        ),
        None,
    )
    return Verdict(exercise.name, results, mistake)


def _is_stub(failure: Failure) -> bool:
    """The stub's own line; torch raises the same exception for what it cannot do."""
    return failure.type == "NotImplementedError" and failure.line.startswith(
        "raise NotImplementedError"
    )


def _first_fault(
    exercise: Exercise, outcomes: list[Outputs | Failure], p: Property
) -> tuple[str, ...]:
    """What is wrong with what the property looks at, as (why, detail, where) or (); of
    the first bad case."""
    for case, came, right in zip(
        exercise.cases, outcomes, exercise.expected, strict=True
    ):
        if case.kind == p.kind and (fault := _fault(came, right, p)):
            shapes = [
                f"{name} {tuple(array.shape)}"
                for name, array in case.arrays.items()
                if array.ndim
            ]
            return *fault, ", ".join(shapes)
    return ()


def _outputs(all_of: Outputs, p: Property) -> Outputs:
    return {
        key: value for key, value in all_of.items() if key.split(" ")[0] in p.outputs
    }


def _fault(
    came: Outputs | Failure, right: Outputs, p: Property
) -> tuple[str, str] | None:
    """What is wrong with one case's outputs, as (why, detail); None where nothing
    is."""
    if isinstance(came, Failure):
        if came.type in FAULTS:
            return FAULTS[came.type], came.message
        return f"raised {came.type}" + (
            f" at: {came.line}" if came.line else ""
        ), came.message
    for key, value in _outputs(right, p).items():
        word, *about = key.split(" ", 1)
        if key not in came:
            return (
                f"no gradient reaches {about[0] if about else 'its input'}"
                if word == "gradient"
                else f"no {key}",
                "",
            )
        other = came[key]
        if other.shape != value.shape:
            return f"{key}: wrong shape", f"expected {value.shape}, got {other.shape}"
        if other.dtype.kind not in "fiub" or (other.dtype.kind == "f") != (
            value.dtype.kind == "f"
        ):
            return f"{key}: wrong dtype", f"expected {_kind(value)}, got {other.dtype}"
        if word == "unchanged" and not other.all():
            return (
                "it modifies its argument",
                "work on a copy: x.clone(), or operations without a trailing "
                "underscore",
            )
        if value.shape == () and value.dtype == bool and value != other:
            return f"it is {'not ' if value else ''}{key}", ""
        if not same(other, value):
            finite = not (np.isfinite(value) & ~np.isfinite(other)).any()
            return f"{key}: {'wrong' if finite else 'not finite'}", _difference(
                value, other
            )
    for key, other in _outputs(came, p).items():
        if key.startswith("gradient ") and key not in right and other.any():
            return f"a gradient reaches {key.split(' ', 1)[1]}, where none should", ""
    return None


def same(came: np.ndarray, right: np.ndarray) -> bool:
    """Equal up to rounding (whole numbers exactly), shapes included; NaN is equal to
    NaN."""
    if came.shape != right.shape or came.dtype.kind not in "fiub":
        return False
    if "f" not in (came.dtype.kind, right.dtype.kind):  # indices and masks: no rounding
        return np.array_equal(came, right)
    return bool(
        np.allclose(
            came.astype(float), right.astype(float), RELATIVE, ABSOLUTE, equal_nan=True
        )
    )


def _matches(exercise: Exercise, outcomes: list, mistake: Mistake, p: Property) -> bool:
    """Is this the mistake? Equal outputs (or the same exception) on all cases of the
    failed property; and where that is not the first, a mistake that gets the first
    right, as the answer does."""
    first = exercise.properties[0]
    if p != first and _first_fault(exercise, mistake.outputs, first):
        return False
    looked_at = False
    for case, came, wrong, right in zip(
        exercise.cases, outcomes, mistake.outputs, exercise.expected
    ):
        if case.kind != p.kind:
            continue
        if isinstance(came, Failure) or isinstance(wrong, Failure):
            if not (
                isinstance(came, Failure)
                and isinstance(wrong, Failure)
                and _said(came) == _said(wrong)
            ):
                return False
            looked_at = True
            continue
        came, wrong, right = _outputs(came, p), _outputs(wrong, p), _outputs(right, p)
        if came.keys() != wrong.keys() or not all(
            same(came[key], wrong[key]) for key in came
        ):
            return False
        looked_at = (
            looked_at
            or wrong.keys() != right.keys()
            or not all(same(wrong[key], right[key]) for key in right)
        )
    return looked_at


def _said(failure: Failure) -> tuple[str, str]:
    """An exception's type and the beginning of its message, which tells one TypeError
    from another."""
    message = " ".join(
        "".join(c if c.isprintable() else " " for c in failure.message).split()
    )
    return failure.type, message[:80].rstrip()  # the same again of what was said once


def _kind(value: np.ndarray) -> str:
    return {"f": "a floating point number", "b": "true or false"}.get(
        value.dtype.kind, "whole numbers"
    )


def _difference(value: np.ndarray, other: np.ndarray) -> str:
    """Expected and got: all of a small array, else the first element that differs."""
    if value.size > 6:
        close = np.isclose(
            other.astype(float), value.astype(float), RELATIVE, ABSOLUTE, equal_nan=True
        )
        where = (
            tuple(map(int, np.argwhere(~close)[0]))
            if not close.all()
            else (0,) * value.ndim
        )
        return f"first difference at {list(where)}: expected {value[where]:.5g}, got {other[where]:.5g}"
    with np.printoptions(precision=4, suppress=True):
        return " ".join(f"expected {value}, got {other}".split())


# --- files ------------------------------------------------------------------------------------------------------------


def load_module(path: Path) -> ModuleType:
    """A Python file as a module: drivers or an author's grading file."""
    spec = importlib.util.spec_from_file_location(path.stem.lstrip("0123456789_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_public(exercises: list[Exercise], stem: Path):
    """STEM.json (texts) and STEM.safetensors (cases, expected values, mistakes'
    outputs): no source of any answer."""
    arrays, texts = {}, {}
    for e in exercises:
        for i, (case, expected) in enumerate(zip(e.cases, e.expected)):
            parts = {
                "in": {name: array.numpy() for name, array in case.arrays.items()},
                "out": expected,
            }
            parts |= {
                f"mistake{j}": m.outputs[i]
                for j, m in enumerate(e.mistakes)
                if isinstance(m.outputs[i], dict)
            }
            arrays |= {
                f"{e.name}/{i}/{part}/{k}": np.asarray(v, order="C")
                for part, of in parts.items()
                for k, v in of.items()
            }
        texts[e.name] = {
            "properties": [asdict(p) for p in e.properties],
            "kinds": [case.kind for case in e.cases],
            "mistakes": [
                {
                    "name": m.name,
                    "hint": m.hint,
                    "raises": [
                        _said(o) if isinstance(o, Failure) else None for o in m.outputs
                    ],
                }
                for m in e.mistakes
            ],
            "solution": e.solution,
        }
    write_whole(stem.with_suffix(".safetensors"), save(arrays))
    write_json(stem.with_suffix(".json"), texts)


def read_public(stem: Path) -> dict[str, Exercise]:
    """The exercises that `write_public` wrote, by name, with their drivers from
    STEM_drivers.py."""
    texts = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    arrays = load(stem.with_suffix(".safetensors").read_bytes())
    drivers = load_module(stem.with_name(f"{stem.name}_drivers.py"))

    def part(name: str, i: int, which: str) -> Outputs:
        start = f"{name}/{i}/{which}/"
        return {
            key[len(start) :]: array
            for key, array in arrays.items()
            if key.startswith(start)
        }

    exercises = {}
    for name, text in texts.items():
        cases = [
            Case(kind, {k: torch.from_numpy(v) for k, v in part(name, i, "in").items()})
            for i, kind in enumerate(text["kinds"])
        ]
        mistakes = [
            Mistake(
                m["name"],
                m["hint"],
                [
                    Failure(r[0], message=r[1]) if r else part(name, i, f"mistake{j}")
                    for i, r in enumerate(m["raises"])
                ],
            )
            for j, m in enumerate(text["mistakes"])
        ]
        properties = tuple(
            Property(**{**p, "outputs": tuple(p["outputs"])})
            for p in text["properties"]
        )
        expected = [part(name, i, "out") for i in range(len(cases))]
        drive = getattr(drivers, f"drive_{name}")
        exercises[name] = Exercise(
            name, properties, drive, cases, expected, mistakes, text["solution"]
        )
    return exercises
