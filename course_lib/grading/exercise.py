"""The parts of an exercise: properties, cases, mistakes, and the exercise as its author
writes it.

An exercise has cases: arrays, of several kinds. A public driver calls the answer on
each case. The exercise stores the driver's outputs for the solution and for each of
several plausible mistakes. A *property* compares some of the outputs on the cases of
one kind and gives points. The first property is the main one: the others give points
only together with it, if they are not independent. The verdict on an answer is made in
`verdict`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from course_lib.grading.drive import Failure, run

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Property:
    """A property of an answer that gives points.

    name: a phrase that continues "the answer ..."; kind: the kind of cases on which it
    is tested; outputs: which of the driver's outputs it compares, by their first word;
    independent: whether it gives its points even if the first property fails, as in
    separate questions.
    """

    name: str
    points: int
    kind: str = "ordinary"
    outputs: tuple[str, ...] = ("value",)
    independent: bool = False


UNCHANGED = Property("leaves its arguments alone", 1, outputs=("unchanged",))


def values(points: int) -> Property:
    """Returns the first property of most exercises: the values are right."""
    return Property("gives the right values", points)


def gradient(points: int, name: str = "has the right gradient") -> Property:
    """Returns the property that the gradient is right, on cases of kind "gradient"."""
    return Property(name, points, "gradient", ("gradient", "slope"))


def question(name: str, output: str, points: int = 1) -> Property:
    """Returns the property of a question that needs no answer to another question."""
    return Property(name, points, outputs=(output,), independent=True)


@dataclass(frozen=True)
class Case:
    """The arrays that the driver gets, and the kind of case that they make."""

    kind: str
    arrays: dict[str, Tensor]


def as_tensor(value: bool | float | list) -> Tensor:
    """Returns a number, or a list of numbers, as a tensor: float64 for decimals, else
    int64 or bool."""
    tensor = torch.tensor(value)
    if tensor.is_floating_point():
        return torch.tensor(value, dtype=torch.float64)
    return tensor


def make_case(
    kind: str, draw_cotangent: Callable[[], Tensor | float] | None = None, **arrays
) -> Case:
    """Returns a case of these arrays. `as_tensor` converts those that are not tensors.

    draw_cotangent is called for kind "gradient" only. Its result becomes the last
    array, `cotangent`.
    """
    if kind == "gradient" and draw_cotangent:
        arrays["cotangent"] = draw_cotangent()
    tensors = {
        name: array if isinstance(array, Tensor) else as_tensor(array)
        for name, array in arrays.items()
    }
    return Case(kind, tensors)


def make_cases(make: Callable[..., Case], **rows: list[tuple]) -> list[Case]:
    """Returns make(kind, *row) for each kind and each of its rows. Example:
    `make_cases(case, ordinary=[(3, 4), (2, 5)])`."""
    return [make(kind, *row) for kind, listed in rows.items() for row in listed]


@dataclass(frozen=True)
class WrongAnswer:
    """A plausible wrong answer.

    hint: the text for students who make this mistake; answer: the function or class
    that the source defines.
    """

    name: str
    hint: str
    source: str
    answer: Callable


@dataclass(frozen=True)
class Mistake:
    """The public part of a wrong answer: name, hint, and the driver's outputs for each
    case, without the source."""

    name: str
    hint: str
    outputs: list[Outputs | Failure]


@dataclass(frozen=True)
class Exercise:
    """An exercise with its cases.

    drive(answer, arrays) returns arrays. expected: the driver's outputs for the
    solution, one dictionary per case. solution: its source, if the instructor allows
    students to see it.
    """

    name: str
    properties: tuple[Property, ...]
    drive: Callable
    cases: list[Case]
    expected: list[Outputs]
    mistakes: list[Mistake] = field(default_factory=list)
    solution: str = ""

    @property
    def points(self) -> int:
        return sum(p.points for p in self.properties)


@dataclass(frozen=True)
class Master:
    """An exercise as its author writes it.

    cases(generator, hidden) returns cases. The public ones are always the same; the
    hidden ones have other shapes. alternatives: right answers in another form. hides:
    symbols of the library, as `module:symbol`, that would answer the exercise.
    """

    name: str
    properties: tuple[Property, ...]
    cases: Callable[[torch.Generator, bool], list[Case]]
    alternatives: tuple[Callable, ...] = ()
    hides: tuple[str, ...] = ()

    def exercise(
        self,
        drive: Callable,
        solution: Callable,
        wrong: Iterable[WrongAnswer] = (),
        seed: int = 0,
        hidden: bool = False,
    ) -> Exercise:
        """Returns the exercise with cases drawn from the seed. Raises RuntimeError if
        the solution itself fails, or if there is no case for a property."""
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
    """Returns these functions and classes of course_lib.MODULE in the form that a
    master's `hides` needs."""
    return tuple(f"course_lib.{module}:{name}" for name in names)
