import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from course_lib import checks
from course_lib.checks import (
    as_seed,
    count,
    expects,
    expects_values,
    number,
    ordered,
    positive,
)


@expects(x="float N C H W", boxes="int N 4", weight="any ... D", flag="bool N")
def function(x, boxes, weight=None, flag=None):
    return "called"


IMAGES, BOXES = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, dtype=torch.long)


@pytest.mark.parametrize(
    "arguments",
    [
        (IMAGES, BOXES),
        (IMAGES.double(), BOXES.int()),
        (IMAGES, BOXES, torch.zeros(7, 2, 3)),
        (IMAGES, BOXES, torch.zeros(3)),
        (IMAGES, BOXES, None, torch.zeros(2, dtype=torch.bool)),
    ],
)
def test_expects_accepts_matching_tensors(arguments):
    assert function(*arguments) == "called"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([1.0], BOXES),
            "function: argument `x`: expected a tensor \\(float\\) of shape \\(N, C, "
            "H, W\\), got list",
        ),
        ((IMAGES.byte(), BOXES), "`x`: .* got uint8 of shape \\(2, 3, 4, 5\\)"),
        ((IMAGES[0], BOXES), "`x`: .* got float32 of shape \\(3, 4, 5\\)"),
        (
            (IMAGES, BOXES.float()),
            "`boxes`: expected a tensor \\(int\\) of shape \\(N, 4\\), got float32",
        ),
        (
            (IMAGES, BOXES[:1]),
            "`boxes`: .*where N = 2 in `x`, got int64 of shape \\(1, 4\\)",
        ),
        ((IMAGES, BOXES[:, :3]), "`boxes`: .*got int64 of shape \\(2, 3\\)"),
        ((IMAGES, None), "`boxes`: .*got NoneType"),
        ((IMAGES, BOXES, torch.tensor(1.0)), "`weight`: .*got float32 of shape \\(\\)"),
        ((IMAGES, BOXES, None, torch.zeros(2)), "`flag`: expected a tensor \\(bool\\)"),
        ((IMAGES, BOXES.to("meta")), "`boxes`: expected on cpu like `x`, got meta"),
    ],
)
def test_expects_names_a_tensor_that_does_not_match(arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_expects_leaves_a_missing_argument_to_python():
    with pytest.raises(TypeError, match="boxes"):
        function(IMAGES)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1", None, True])
def test_positive_rejects_values_that_are_no_positive_number(value):
    with pytest.raises(
        ValueError, match="argument `tau`: expected a positive number, got"
    ):
        positive("tau", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "x", None, False])
def test_number_rejects_a_value_outside_its_range(value):
    with pytest.raises(
        ValueError, match=r"argument `p`: expected a number in \[0, 1\], got"
    ):
        number("p", value, 0, 1)


@pytest.mark.parametrize("value", [0, 11, 2.0, "3", None, True])
def test_count_rejects_values_that_are_no_whole_number_in_range(value):
    with pytest.raises(
        ValueError, match=r"argument `k`: expected a whole number in \[1, 10\], got"
    ):
        count("k", value, 10)


@pytest.mark.parametrize("value", [1, 0, 6, 3.0, True])
def test_count_with_low_rejects_values_below_it(value):
    with pytest.raises(
        ValueError, match=r"argument `k`: expected a whole number in \[2, 5\], got"
    ):
        count("k", value, 5, low=2)


def test_count_positive_and_number_return_a_valid_value():
    assert count("k", 3) == 3
    assert (count("k", 2, 5, low=2), count("k", 5, 5, low=2), count("k", 0, low=0)) == (
        2,
        5,
        0,
    )
    assert (positive("tau", 0.5), number("p", 0, 0, 1), number("p", 1, 0, 1)) == (
        0.5,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count("k", np.int64(3)), 3),
        (number("p", np.float32(0.5), 0), 0.5),
        (number("p", np.int32(1), 0), 1),
        (positive("tau", np.float64(0.5)), 0.5),
        (positive("tau", Fraction(1, 4)), 0.25),
        (as_seed("seed", np.uint8(7)), 7),
        (as_seed("seed", -(2**63)), -(2**63)),
    ],
)
def test_numbers_of_other_types_become_plain_numbers(found, expected):
    assert found == expected and type(found) is type(expected)


NO_SEEDS = [None, 0.0, True, "a", math.nan, 2**64, torch.tensor(1), np.float64(1)]


@pytest.mark.parametrize("value", NO_SEEDS)
def test_as_seed_rejects_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="`seed`: expected a whole number"):
        as_seed("seed", value)


@pytest.mark.parametrize(
    "pair", [1.0, None, "12", (1,), (1, 2, 3), (2, 1), (0, 1), (1, math.nan), (1, 20)]
)
def test_ordered_rejects_what_is_no_range(pair):
    with pytest.raises(ValueError, match="`sigma`: expected .low, high. with 0 < low"):
        ordered("sigma", pair, 10)


@expects_values(a=checks.finite, b=(checks.classes_of, "a"))
def checked(a, b=None, c=None):
    """A docstring."""
    return a, b, c


def test_expects_values_checks_given_arguments_only_and_keeps_the_function():
    a, b = torch.zeros(2, 3), torch.tensor([0, 2])
    assert checked.__doc__ == "A docstring." and checked(a) == (a, None, None)
    assert checked(a, b, 1) == (a, b, 1) and checked(b=None, a=a) == (a, None, None)
    with pytest.raises(ValueError, match="`a`: expected finite numbers"):
        checked(a / 0)
    with pytest.raises(
        ValueError, match="`b`: expected numbers from 0 to 2, got 0 to 3"
    ):
        checked(a, b=torch.tensor([3, 0]))
    with pytest.raises(TypeError, match="missing a required argument"):
        checked()


def test_checks_do_not_read_tensors_on_other_devices():
    """A read of a meta tensor raises an error, and one of a CUDA tensor would wait."""
    x = torch.zeros(4, 3, 8, 8, device="meta")
    checks.below("x", x.long()[:, 0, 0, 0], 1)
    checks.label_for_each("x", x.long()[:, 0, 0, 0], 4, 1)
    checks.above_zero("x", x)
    checks.boxes_in("x", x.long()[:, 0, 0, :4], x)
    checks.picture_range("x", x)
    checks.number_or_rows(0, 1)("x", x)
    checks.one_of("x", x, x)


@pytest.mark.parametrize(
    ("x", "passes"),
    [
        (torch.tensor([0.0, 1.0]), True),
        (torch.tensor([0.0, 255.0]), False),
        (torch.tensor([-2.0, 3.0]), True),  # standardised
        (torch.tensor([0, 255], dtype=torch.uint8), True),
    ],
)
def test_picture_range_rejects_float_pictures_in_0_to_255_only(x, passes):
    pictures = x.view(1, 1, 1, 2)
    checks.picture_range("x", pictures.expand(2, 8, 4, 2))  # a feature map
    checks.picture_range("x", x.view(1, 2))  # points
    if passes:
        checks.picture_range("x", pictures)
    else:
        with pytest.raises(
            ValueError, match=r"in \[0, 1\], got values from 0 to 255: div"
        ):
            checks.picture_range("x", pictures)
