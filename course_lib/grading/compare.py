"""Compares outputs of an answer with expected ones, and exceptions with each other."""

import numpy as np

from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Outputs, Property

# Another order of summation stays within these tolerances, another formula does not.
RELATIVE, ABSOLUTE = 1e-4, 1e-5


def same(array: np.ndarray, expected: np.ndarray) -> bool:
    """Tests whether the shapes are equal and the numbers are equal up to rounding. Two
    arrays without floating point numbers have to be equal exactly. NaN is equal to
    NaN."""
    if array.shape != expected.shape or array.dtype.kind not in "fiub":
        return False
    if "f" not in (array.dtype.kind, expected.dtype.kind):
        return np.array_equal(array, expected)
    return bool(close(array, expected).all())


def close(array: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Tests which numbers are equal up to rounding."""
    first, second = array.astype(float), expected.astype(float)
    return np.isclose(first, second, RELATIVE, ABSOLUTE, equal_nan=True)


def equal(first: Outputs, second: Outputs) -> bool:
    return first.keys() == second.keys() and all(
        same(first[key], second[key]) for key in first
    )


def outputs_of(all_of: Outputs, p: Property) -> Outputs:
    """Returns the outputs that the property compares."""
    return {
        key: value for key, value in all_of.items() if key.split(" ")[0] in p.outputs
    }


def exception_key(failure: Failure) -> tuple[str, str]:
    """Returns an exception's type and the first 80 characters of its message. The
    message distinguishes, for example, two TypeErrors. Applied to a key,
    it returns the same key."""
    printable = "".join(c if c.isprintable() else " " for c in failure.message)
    return failure.type, " ".join(printable.split())[:80].rstrip()
