"""The known mistakes that explain the outputs of a wrong answer."""

from collections.abc import Callable

import numpy as np

from course_lib.grading.compare import close, equal, exception_key, outputs_of
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Exercise, Mistake, Outputs, Property

# The bits of evidence that make one known mistake likely and others unlikely: see
# `_evidence`.
ENOUGH = 10


def known_mistakes(
    exercise: Exercise,
    outcomes: list,
    failed: list[Property],
    passes_first: Callable[[Mistake], bool],
) -> tuple[list[Mistake], bool]:
    """Returns the known mistakes that explain the answer, and whether they are likely.

    Best are mistakes with the same outputs in all cases, also in those that no failed
    property compares. They are likely if these outputs are evidence enough. Otherwise,
    for the first property for which there are any: the mistakes that fail it with the
    same outputs, and these have to be evidence enough. passes_first: tests whether a
    mistake passes the exercise's first property.
    """
    pairs = [
        (mistake, bits)
        for mistake in exercise.mistakes
        if (bits := _agreement(exercise, outcomes, mistake))
    ]
    if pairs:
        # without .item(): the same numbers in another dtype are another mistake
        exact = [p for p in pairs if _same_dtypes(outcomes, p[0].outputs)]
        found = [mistake for mistake, _ in exact or pairs]
        return found, max(bits for _, bits in pairs) >= ENOUGH
    first = exercise.properties[0]
    for p in failed:
        found = [
            mistake
            for mistake in exercise.mistakes
            if _agreement(exercise, outcomes, mistake, p) >= ENOUGH
            and (p == first or p.independent or passes_first(mistake))
        ]
        if found:
            return found, True
    return [], False


def _agreement(
    exercise: Exercise, outcomes: list, mistake: Mistake, p: Property | None = None
) -> int:
    """Returns 0 if the answer's outputs (or its exceptions) are not equal to those of
    the mistake, else the bits of evidence that the answer makes this mistake.

    p: compares only the outputs and cases of this property.
    """
    bits = 0
    for case, outcome, wrong, expected in zip(
        exercise.cases, outcomes, mistake.outputs, exercise.expected
    ):
        if p and case.kind != p.kind:
            continue
        if isinstance(outcome, Failure) or isinstance(wrong, Failure):
            both = isinstance(outcome, Failure) and isinstance(wrong, Failure)
            if not both or exception_key(outcome) != exception_key(wrong):
                return 0
            bits = max(bits, 1)
            continue
        if p:
            outcome, wrong = outputs_of(outcome, p), outputs_of(wrong, p)
            expected = outputs_of(expected, p)
        if not equal(outcome, wrong):
            return 0
        if not equal(wrong, expected):
            bits = max(bits, 1) + _evidence(wrong, expected)
    return bits


def _evidence(wrong: Outputs, expected: Outputs) -> int:
    """Returns how many bits of evidence for one mistake the numbers in these outputs of
    it are.

    A number such as 0.7312 hardly comes from two different mistakes. NaN, a 0, False
    instead of True, or a missing gradient come from many: they are no evidence.
    """
    bits = 0
    for key, values in wrong.items():
        right = expected.get(key)
        if right is not None and right.shape == values.shape:
            values = values[~close(values, right)]
        if values.dtype.kind == "f":
            # 12 x is whole for simple numbers: 0, 1, -2, 1/2, 1/3
            twelve = 12 * values[np.isfinite(values)].astype(float)
            simple = (np.abs(twelve - twelve.round()) < 1e-3) & (np.abs(twelve) < 100)
            bits += 12 * len({f"{number:.3g}" for number in twelve[~simple][:100]})
        elif values.size and (values != values.flat[0]).any():
            bits += values.size * (1 if values.dtype == bool else 2)
    return bits


def _same_dtypes(outcomes: list, others: list) -> bool:
    """Tests whether the outputs, which are equal as numbers, have the same dtypes."""
    return all(
        one[key].dtype == other[key].dtype
        for one, other in zip(outcomes, others)
        if isinstance(one, dict)
        for key in one
    )
