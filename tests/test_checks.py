import pytest
import torch

from course_lib.checks import count, expects, number, positive


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
