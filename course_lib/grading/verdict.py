"""The verdict on an answer, from its outputs on the cases of an exercise.

The student's check and the grader use this same code.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from course_lib.grading.compare import close, outputs_of, same
from course_lib.grading.diagnosis import known_mistakes
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Exercise, Mistake, Outputs, Property

WAITS = "counts once the first line is right"
FAULTS = {  # by the type of a Failure
    "NotATensor": "what it returns is not a tensor of real numbers",
    "NotFound": "the notebook has no function or class of this name",
    "Unreadable": "the file cannot be read as a Python notebook",
    "Leftover": "it still contains `raise NotImplementedError()`: delete that line",
    "Withheld": "it calls the library's own solution, which is not available when you "
    "are marked",
    "Unsolved": "your answer calls `{}`, which you have not solved yet",
}
MOST_HINTS = 3


@dataclass(frozen=True)
class Result:
    """The result of one property for one answer.

    why names the fault and contains no value of a case. details are lines that may
    contain values, so only the check of public cases shows them. case: the number of
    the case with this fault, the smallest of those with one; where: its shapes.
    """

    property: Property
    passed: bool
    why: str = ""
    details: tuple[str, ...] = ()
    where: str = ""
    case: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The results of all properties of an exercise.

    mistakes: the known mistakes that the answer may make, at most MOST_HINTS; several
    if they have the same outputs. likely: False if other mistakes could have these
    outputs as well, for example where only a gradient is missing. todo: True if the
    answer is still the stub that the student was given.
    """

    exercise: str
    results: list[Result]
    mistakes: list[Mistake] = field(default_factory=list)
    likely: bool = False
    todo: bool = False

    @property
    def points(self) -> int:
        return sum(r.property.points for r in self.results if r.passed)

    @property
    def solved(self) -> bool:
        return all(r.passed for r in self.results)

    @property
    def mistake(self) -> Mistake | None:
        """Returns the first of the mistakes."""
        return self.mistakes[0] if self.mistakes else None

    @property
    def lead(self) -> str:
        """Returns the words before the hints, which say how sure they are."""
        if self.likely:
            known = ("a known mistake", "one of these known mistakes")
            return f"This looks like {known[len(self.mistakes) > 1]}:"
        return ("This may be the reason:", "One of these may be the reason:")[
            len(self.mistakes) > 1
        ]

    @property
    def hint(self) -> str:
        """Returns the hints of the mistakes, one a line."""
        return "\n".join(mistake.hint for mistake in self.mistakes)


def judge(exercise: Exercise, outcomes: list[Outputs | Failure]) -> Verdict:
    """Returns the verdict on an answer. outcomes: for each case the driver's outputs,
    or how the answer failed; they may come from hostile code, so nothing in them is
    trusted."""
    if all(isinstance(o, Failure) and _is_stub(o) for o in outcomes):
        results = [Result(p, False, "to do") for p in exercise.properties]
        return Verdict(exercise.name, results, todo=True)
    results = []
    for p in exercise.properties:
        if results and not results[0].passed and not p.independent:
            results.append(Result(p, False, WAITS))
        else:
            fault = _first_fault(exercise, outcomes, p)
            results.append(Result(p, not fault, *fault))
    failed = [r.property for r in results if not r.passed and r.why != WAITS]
    found, likely = [], False
    if failed:

        def passes_first(mistake: Mistake) -> bool:
            return not _first_fault(exercise, mistake.outputs, exercise.properties[0])

        found, likely = known_mistakes(exercise, outcomes, failed, passes_first)
    return Verdict(exercise.name, results, found[:MOST_HINTS], likely)


def _is_stub(failure: Failure) -> bool:
    """Tests for the line of the stub, because torch raises the same exception for
    operations that it does not support."""
    return failure.type == "NotImplementedError" and failure.line.startswith(
        "raise NotImplementedError"
    )


def _first_fault(
    exercise: Exercise, outcomes: list[Outputs | Failure], p: Property
) -> tuple:
    """Returns (why, details, where, case) for the smallest case on which the property
    fails, or () if there is none. Cases that were not run, because the time was up,
    come last."""

    def order(i: int) -> tuple[bool, int]:
        not_run = outcomes[i] == Failure("TimeLimit")
        return not_run, sum(a.numel() for a in exercise.cases[i].arrays.values())

    for i in sorted(range(len(exercise.cases)), key=order):
        case = exercise.cases[i]
        if case.kind != p.kind:
            continue
        if fault := _fault(outcomes[i], exercise.expected[i], p):
            shapes = [
                f"{name} {tuple(array.shape)}"
                for name, array in case.arrays.items()
                if array.ndim
            ]
            return *fault, ", ".join(shapes), i
    return ()


def _fault(
    outcome: Outputs | Failure, expected: Outputs, p: Property
) -> tuple[str, tuple[str, ...]] | None:
    """Returns the fault in the outputs of one case as (why, details), or None if they
    are right."""
    if isinstance(outcome, Failure):
        return _why_it_failed(outcome)
    for key, value in outputs_of(expected, p).items():
        if key not in outcome:
            word, _, about = key.partition(" ")
            if word == "gradient":
                return f"no gradient reaches {about or 'its input'}", ()
            return f"no {key}", ()
        if fault := _fault_of_array(key, outcome[key], value):
            return fault
    for key, other in outputs_of(outcome, p).items():
        if key.startswith("gradient ") and key not in expected and other.any():
            argument = key.partition(" ")[2]
            return f"a gradient reaches {argument}, but none should", ()
    return None


def _why_it_failed(failure: Failure) -> tuple[str, tuple[str, ...]]:
    """Returns (why, details) for an answer that raised an exception."""
    if failure.type == "Unsolved":
        # the name comes from the sandbox
        name = re.sub(r"[^\w.]", "", failure.message)[:50]
        return FAULTS["Unsolved"].format(name), ()
    at = f" at: {failure.line}" if failure.line else ""
    details = (failure.message,) if failure.message else ()
    if failure.type in FAULTS:
        return FAULTS[failure.type], details
    return f"raised {failure.type}{at}", details


def _fault_of_array(
    key: str, other: np.ndarray, value: np.ndarray
) -> tuple[str, tuple[str, ...]] | None:
    """Returns the fault in the output `other` of that key as (why, details), or None.
    value: the expected output."""
    if other.shape != value.shape:
        return f"{key}: wrong shape", (f"expected {value.shape}, got {other.shape}",)
    both_or_neither_float = (other.dtype.kind == "f") == (value.dtype.kind == "f")
    if other.dtype.kind not in "fiub" or not both_or_neither_float:
        return f"{key}: wrong dtype", (f"expected {_kind(value)}, got {other.dtype}",)
    if key == "unchanged wish for a gradient" and not other.all():
        return (
            "it changes requires_grad of its argument",
            ("work on a copy: x.detach().clone(), and change requires_grad of that",),
        )
    if key.split(" ")[0] == "unchanged" and not other.all():
        return (
            "it modifies its argument",
            ("work on a copy: x.clone(), or operations without a trailing underscore",),
        )
    if value.shape == () and value.dtype == bool and value != other:
        return f"it is {'not ' if value else ''}{key}", ()
    if same(other, value):
        return None
    finite = not (np.isfinite(value) & ~np.isfinite(other)).any()
    return f"{key}: {'wrong' if finite else 'not finite'}", _difference(value, other)


def _kind(value: np.ndarray) -> str:
    words = {"f": "a floating point number", "b": "true or false"}
    return words.get(value.dtype.kind, "whole numbers")


def _difference(value: np.ndarray, other: np.ndarray) -> tuple[str, ...]:
    """Returns the expected and the actual numbers: all of a small array, else the first
    element that differs."""
    if value.size > 12:
        right = close(other, value)
        where = (0,) * value.ndim
        if not right.all():
            where = tuple(map(int, np.argwhere(~right)[0]))
        return (
            f"first difference at {list(where)}: expected {value[where]:.5g}, "
            f"got {other[where]:.5g}",
        )
    if not value.ndim and value.dtype.kind == "f":
        return (f"expected {value:.6g}, got {other:.6g}",)
    with np.printoptions(precision=4, suppress=True):
        expected, got = (" ".join(f"{array}".split()) for array in (value, other))
    if value.size > 6:
        return f"expected {expected}", f"got {got}"
    return (f"expected {expected}, got {got}",)
