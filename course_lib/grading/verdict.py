"""The verdict on an answer, from its outputs on the cases of an exercise.

The student's check and the grader use this same code.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Exercise, Mistake, Outputs, Property

# Another order of summation stays within these tolerances, another formula does not.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
WAITS = "counts once the first line is right"
FAULTS = {  # by the type of a Failure
    "NotATensor": "what it returns is not a tensor of real numbers",
    "NotFound": "the notebook has no function or class of this name",
    "Unreadable": "the file cannot be read as a Python notebook",
    "Leftover": "it still contains `raise NotImplementedError()`: delete that line",
    "Withheld": "it calls the library's own solution, which is not available when you "
    "are marked",
}


@dataclass(frozen=True)
class Result:
    """The result of one property for one answer.

    why names the fault and contains no value of a case. detail may contain values, so
    only the check of public cases shows it. where: the shapes of the first case with
    the fault.
    """

    property: Property
    passed: bool
    why: str = ""
    detail: str = ""
    where: str = ""


@dataclass(frozen=True)
class Verdict:
    """The results of all properties of an exercise.

    mistake: the known mistake that has the same outputs, if there is one; todo: True if
    the answer is still the stub that the student was given.
    """

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
    """Returns the verdict on an answer. outcomes: for each case the driver's outputs,
    or how the answer failed; they may come from hostile code, so nothing in them is
    trusted."""
    if all(isinstance(o, Failure) and _is_stub(o) for o in outcomes):
        results = [Result(p, False, "to do") for p in exercise.properties]
        return Verdict(exercise.name, results, todo=True)
    results = []
    for p in exercise.properties:
        if results and not results[0].passed:
            results.append(Result(p, False, WAITS))
        else:
            fault = _first_fault(exercise, outcomes, p)
            results.append(Result(p, not fault, *fault))
    failed = [r.property for r in results if not r.passed and r.why != WAITS]
    matching = (
        mistake
        for p in failed
        for mistake in exercise.mistakes
        if _matches(exercise, outcomes, mistake, p)
    )
    return Verdict(exercise.name, results, next(matching, None))


def _is_stub(failure: Failure) -> bool:
    """Tests for the line of the stub, because torch raises the same exception for
    operations that it does not support."""
    return failure.type == "NotImplementedError" and failure.line.startswith(
        "raise NotImplementedError"
    )


def _first_fault(
    exercise: Exercise, outcomes: list[Outputs | Failure], p: Property
) -> tuple[str, ...]:
    """Returns (why, detail, where) for the first case on which the property fails, or
    () if there is none."""
    for case, outcome, expected in zip(
        exercise.cases, outcomes, exercise.expected, strict=True
    ):
        if case.kind == p.kind and (fault := _fault(outcome, expected, p)):
            shapes = [
                f"{name} {tuple(array.shape)}"
                for name, array in case.arrays.items()
                if array.ndim
            ]
            return *fault, ", ".join(shapes)
    return ()


def _outputs(all_of: Outputs, p: Property) -> Outputs:
    """Returns the outputs that the property compares."""
    return {
        key: value for key, value in all_of.items() if key.split(" ")[0] in p.outputs
    }


def _fault(
    outcome: Outputs | Failure, expected: Outputs, p: Property
) -> tuple[str, str] | None:
    """Returns the fault in the outputs of one case as (why, detail), or None if they
    are right."""
    if isinstance(outcome, Failure):
        if outcome.type in FAULTS:
            return FAULTS[outcome.type], outcome.message
        at = f" at: {outcome.line}" if outcome.line else ""
        return f"raised {outcome.type}{at}", outcome.message
    for key, value in _outputs(expected, p).items():
        if key not in outcome:
            word, _, about = key.partition(" ")
            if word == "gradient":
                return f"no gradient reaches {about or 'its input'}", ""
            return f"no {key}", ""
        if fault := _fault_of_array(key, outcome[key], value):
            return fault
    for key, other in _outputs(outcome, p).items():
        if key.startswith("gradient ") and key not in expected and other.any():
            argument = key.partition(" ")[2]
            return f"a gradient reaches {argument}, but none should", ""
    return None


def _fault_of_array(
    key: str, other: np.ndarray, value: np.ndarray
) -> tuple[str, str] | None:
    """Returns the fault in the output `other` of that key as (why, detail), or None.
    value: the expected output."""
    if other.shape != value.shape:
        return f"{key}: wrong shape", f"expected {value.shape}, got {other.shape}"
    both_or_neither_float = (other.dtype.kind == "f") == (value.dtype.kind == "f")
    if other.dtype.kind not in "fiub" or not both_or_neither_float:
        return f"{key}: wrong dtype", f"expected {_kind(value)}, got {other.dtype}"
    if key.split(" ")[0] == "unchanged" and not other.all():
        return (
            "it modifies its argument",
            "work on a copy: x.clone(), or operations without a trailing underscore",
        )
    if value.shape == () and value.dtype == bool and value != other:
        return f"it is {'not ' if value else ''}{key}", ""
    if same(other, value):
        return None
    finite = not (np.isfinite(value) & ~np.isfinite(other)).any()
    return f"{key}: {'wrong' if finite else 'not finite'}", _difference(value, other)


def same(array: np.ndarray, expected: np.ndarray) -> bool:
    """Tests whether the shapes are equal and the numbers are equal up to rounding. Two
    arrays without floating point numbers have to be equal exactly. NaN is equal to
    NaN."""
    if array.shape != expected.shape or array.dtype.kind not in "fiub":
        return False
    if "f" not in (array.dtype.kind, expected.dtype.kind):
        return np.array_equal(array, expected)
    return bool(_close(array, expected).all())


def _close(array: np.ndarray, expected: np.ndarray) -> np.ndarray:
    first, second = array.astype(float), expected.astype(float)
    return np.isclose(first, second, RELATIVE, ABSOLUTE, equal_nan=True)


def _matches(exercise: Exercise, outcomes: list, mistake: Mistake, p: Property) -> bool:
    """Tests whether the answer makes this mistake, where property `p` failed.

    The outputs (or the exceptions) have to be equal on all cases of this property. If
    it is not the first property, the mistake has to pass the first one, as the answer
    does.
    """
    first = exercise.properties[0]
    if p != first and _first_fault(exercise, mistake.outputs, first):
        return False
    differs = False  # whether the mistake differs from the solution on any of the cases
    for case, outcome, wrong, expected in zip(
        exercise.cases, outcomes, mistake.outputs, exercise.expected
    ):
        if case.kind != p.kind:
            continue
        if isinstance(outcome, Failure) or isinstance(wrong, Failure):
            both = isinstance(outcome, Failure) and isinstance(wrong, Failure)
            if not both or exception_key(outcome) != exception_key(wrong):
                return False
            differs = True
            continue
        if not _equal(_outputs(outcome, p), _outputs(wrong, p)):
            return False
        if not _equal(_outputs(wrong, p), _outputs(expected, p)):
            differs = True
    return differs


def _equal(first: Outputs, second: Outputs) -> bool:
    return first.keys() == second.keys() and all(
        same(first[key], second[key]) for key in first
    )


def exception_key(failure: Failure) -> tuple[str, str]:
    """Returns an exception's type and the first 80 characters of its message. The
    message distinguishes, for example, two TypeErrors. The key of a key is the same
    key."""
    printable = "".join(c if c.isprintable() else " " for c in failure.message)
    return failure.type, " ".join(printable.split())[:80].rstrip()


def _kind(value: np.ndarray) -> str:
    words = {"f": "a floating point number", "b": "true or false"}
    return words.get(value.dtype.kind, "whole numbers")


def _difference(value: np.ndarray, other: np.ndarray) -> str:
    """Returns the expected and the actual numbers: all of a small array, else the first
    element that differs."""
    if value.size > 6:
        close = _close(other, value)
        where = (0,) * value.ndim
        if not close.all():
            where = tuple(map(int, np.argwhere(~close)[0]))
        return (
            f"first difference at {list(where)}: expected {value[where]:.5g}, "
            f"got {other[where]:.5g}"
        )
    with np.printoptions(precision=4, suppress=True):
        return " ".join(f"expected {value}, got {other}".split())
