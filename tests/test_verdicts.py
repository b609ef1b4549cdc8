"""What drivers put out, and the verdict on it, against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, float64, tensor

from course_lib.grading.drive import (
    Failure,
    NotATensor,
    function,
    gradients,
    plain,
    run,
)
from course_lib.grading.exercise import (
    Case,
    Exercise,
    Master,
    Mistake,
    Property,
    WrongAnswer,
)
from course_lib.grading.public_files import read_public, write_public
from course_lib.grading.verdict import judge, same

# drive: what comes of an answer

X, C = (
    tensor([1.0, -2.0, 3.0], dtype=float64),
    tensor([1.0, 10.0, 100.0], dtype=float64),
)


def cube(answer, arrays):
    return function(answer, arrays, differentiate=("x",), cotangent=C)


def slope(f):
    """The central difference with the step 0.05 along (cos 1, cos 2, cos 3), by
    hand."""
    direction = np.cos([1.0, 2.0, 3.0])
    x, c = X.numpy(), C.numpy()
    return (
        (c * f(x + 0.05 * direction)).sum() - (c * f(x - 0.05 * direction)).sum()
    ) / 0.1


def test_a_function_puts_out_its_value_its_gradient_and_its_slope():
    out = run(cube, lambda x: x**3, {"x": X})
    assert out.keys() == {"value", "unchanged", "gradient x", "slope"}
    assert (
        out["value"].tolist() == [1, -8, 27]
        and out["unchanged"]
        and out["unchanged"].dtype == bool
    )
    assert out["gradient x"].tolist() == [3, 120, 2700]  # 3 x^2 times the cotangent
    assert out["slope"] == pytest.approx(slope(lambda x: x**3), rel=1e-12)


def test_a_slope_is_of_the_value_whatever_its_gradient_says():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x**3

        @staticmethod
        def backward(ctx, g):
            return 7 * g

    out = run(cube, Wrong.apply, {"x": X})
    assert out["gradient x"].tolist() == [7, 70, 700] and out["slope"] == pytest.approx(
        slope(lambda x: x**3)
    )


def test_a_gradient_that_does_not_flow_is_absent():
    assert "gradient x" not in run(cube, lambda x: (x**3).detach(), {"x": X})
    both = {"x": X.clone().requires_grad_(), "y": X.clone().requires_grad_()}
    assert gradients(both["x"].sum(), both).keys() == {"gradient x"}
    assert gradients(3.0, both) == {}


def test_a_float32_case_has_no_slope_and_a_0d_value_needs_no_cotangent():
    out = run(
        lambda f, a: function(f, a, differentiate=("x",)),
        lambda x: (x**2).sum(),
        {"x": X.float()},
    )
    assert out.keys() == {"value", "unchanged", "gradient x"} and out[
        "gradient x"
    ].tolist() == [2, -4, 6]


def test_a_value_modified_in_place_is_right_and_told_so():
    out = run(cube, lambda x: x.pow_(3), {"x": X})
    assert not out["unchanged"] and out["value"].tolist() == [1, -8, 27]
    assert out["gradient x"].tolist() == [3, 120, 2700]
    assert X.tolist() == [1, -2, 3]
    other = {"x": X, "w": torch.ones(3, dtype=float64)}
    # each call begins with the same w
    out = run(cube, lambda x, w: x**3 * w.mul_(2), other)
    assert not out["unchanged"] and out["slope"] == pytest.approx(
        slope(lambda x: 2 * x**3)
    )


def test_nan_in_an_argument_is_no_change():
    x = tensor([1.0, float("nan")])
    assert run(function, lambda x: x, {"x": x})["unchanged"]
    assert not run(function, lambda x: x.nan_to_num_(), {"x": x})["unchanged"]


def test_a_wrong_shape_comes_out_as_it_is():
    out = run(cube, lambda x: x[:2] ** 3, {"x": X})
    assert out["value"].tolist() == [1, -8]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [1.0],
        (1.0,),
        iter([1.0]),
        object,
        torch.ones,
        torch.ones(3).to_sparse(),
        torch.ones(2) * 1j,
        torch.ones(2, device="meta"),
        torch.ones(1).expand(10**7),
    ],
)
def test_what_is_no_dense_real_tensor_is_refused(value):
    with pytest.raises(NotATensor, match="^expected "):
        plain(value)
    assert run(cube, lambda x: value, {"x": X}).type == "NotATensor"


@pytest.mark.parametrize(
    "value, dtype",
    [
        (True, bool),
        (3, np.int64),
        (2.5, np.float32),
        (np.float64(2.5), np.float64),
        (tensor(2.5, dtype=torch.bfloat16), np.float32),
    ],
)
def test_numbers_are_arrays_without_dimensions(value, dtype):
    array = plain(value)
    assert array.shape == () and array.dtype == dtype and array == float(value)


def test_an_exception_is_told_with_the_line_of_the_answer():
    def answer(x):
        return x.view(7)  # here

    failure = run(cube, answer, {"x": X})
    assert (
        failure.type == "RuntimeError"
        and failure.line == "return x.view(7)  # here"
        and "'[7]'" in failure.message
    )

    def leaves(x):
        raise SystemExit("bye")

    assert run(cube, leaves, {"x": X}) == Failure(
        "SystemExit", 'raise SystemExit("bye")', "bye"
    )


# judge: the verdict

VALUE, GRADIENT = Property("value", 3), Property("gradient", 2, outputs=("gradient",))
FAR = Property("extremes", 1, kind="extreme")


def array(*values, dtype=np.float32):
    return np.array(values, dtype)


def exercise(*expected, properties=(VALUE, GRADIENT), mistakes=(), kinds=None):
    kinds = kinds or ["ordinary"] * len(expected)
    cases = [Case(kind, {"x": torch.zeros(1)}) for kind in kinds]
    return Exercise("toy", properties, None, cases, list(expected), list(mistakes))


RIGHT = {"value": array(1, 2), "gradient z": array(3, 4)}


def verdict(came, right=None, **more):
    return judge(exercise(right or RIGHT, **more), [came])


def test_all_right():
    v = verdict(RIGHT)
    assert (
        v.solved
        and v.points == 5
        and v.mistake is None
        and not v.todo
        and [r.why for r in v.results] == ["", ""]
    )


def test_other_properties_count_only_with_the_first():
    v = verdict(RIGHT | {"value": array(1, 3)})
    assert v.points == 0 and [r.passed for r in v.results] == [False, False]
    assert [r.why for r in v.results] == [
        "value: wrong",
        "counts once the first line is right",
    ]
    v = verdict(RIGHT | {"gradient z": array(3, 5)})
    assert (
        v.points == 3
        and not v.solved
        and [r.passed for r in v.results] == [True, False]
    )


@pytest.mark.parametrize(
    "value, why",
    [
        (array(1, 2.01), "value: wrong"),
        (array(1, 2, 3), "value: wrong shape"),
        (array([1, 2]), "value: wrong shape"),
        (array(1, 2, dtype=int), "value: wrong dtype"),
        (array(1, 2, dtype=complex), "value: wrong dtype"),
        (array("a", "b", dtype=str), "value: wrong dtype"),
        (array(1, np.nan), "value: not finite"),
        (array(1, np.inf), "value: not finite"),
        (array(1, 2.00001), ""),
        (array(1, 2, dtype=float), ""),
        (array(1, 2, dtype=np.float16), ""),
    ],
)
def test_a_value_is_right_up_to_rounding_and_its_fault_has_a_name(value, why):
    result = verdict(RIGHT | {"value": value}).results[0]
    assert (result.why, result.passed) == (why, not why)


def test_nan_equals_nan_and_infinity_itself():
    right = {"value": array(np.nan, np.inf, -np.inf, 1)}
    assert verdict(right, right, properties=(VALUE,)).solved
    assert not same(array(0, np.inf), array(np.nan, np.inf)) and not same(
        array(-np.inf), array(np.inf)
    )
    wrong = verdict(
        {"value": array(np.nan, np.inf, -np.inf, 2)}, right, properties=(VALUE,)
    ).results[0]
    # what is infinite here is so in the right answer
    assert wrong.why == "value: wrong"


def test_whole_numbers_are_compared_exactly():
    assert not same(array(100_000, dtype=int), array(100_001, dtype=int))
    assert same(array(100_001, dtype=np.int32), array(100_001, dtype=int)) and same(
        array(1e5), array(1e5 + 1)
    )


def test_outputs_that_are_missing_or_modified_are_named():
    assert verdict({"value": RIGHT["value"]}).results[1].why == "no gradient reaches z"
    assert verdict({}).results[0].why == "no value"
    changes = Property("pure", 1, outputs=("unchanged",))
    right = {"value": array(1), "unchanged": np.array(True)}
    v = verdict(
        right | {"unchanged": np.array(False)}, right, properties=(VALUE, changes)
    )
    assert v.results[1].why == "it modifies its argument" and v.points == 3


def test_a_gradient_where_none_should_be_is_wrong_unless_it_is_zero():
    v = verdict(RIGHT | {"gradient target": array(0, 1)})
    assert (
        v.points == 3
        and v.results[1].why == "a gradient reaches target, but none should"
    )
    assert verdict(RIGHT | {"gradient target": array(0, 0)}).solved


def test_each_property_looks_at_its_kind_of_case():
    e = exercise(
        RIGHT,
        {"value": array(9)},
        kinds=["ordinary", "extreme"],
        properties=(VALUE, FAR),
    )
    assert [r.passed for r in judge(e, [RIGHT, {"value": array(8)}]).results] == [
        True,
        False,
    ]
    v = judge(e, [RIGHT, Failure("ValueError", "x = 1 / 0", "the message")])
    assert (
        v.results[1].why == "raised ValueError at: x = 1 / 0"
        and v.results[1].detail == "the message"
    )
    assert v.points == 3
    assert (
        judge(e, [Failure("NotATensor"), RIGHT]).results[0].why
        == "what it returns is not a tensor of real numbers"
    )


def test_a_stub_is_to_do_and_an_operation_that_torch_lacks_is_not():
    e = exercise(RIGHT, RIGHT)
    stub = Failure("NotImplementedError", "raise NotImplementedError")
    assert judge(e, [stub, stub]).todo and judge(e, [stub, stub]).points == 0
    assert not judge(e, [stub, RIGHT]).todo
    assert not judge(
        e,
        [
            Failure(
                "NotImplementedError",
                "x.softmax(0)",
                '"softmax" not implemented for Long',
            )
        ]
        * 2,
    ).todo


FORGOT = Mistake(
    "forgot", "the hint", [{"value": array(1, 7), "gradient z": array(3, 4)}]
)
DETACHED = Mistake("detached", "no graph", [{"value": array(1, 2)}])
FAILS = Mistake("fails", "too far", [Failure("IndexError", message="index 9")])


@pytest.mark.parametrize(
    "came, name",
    [
        # the property that fails is the first
        ({"value": array(1, 7), "gradient z": array(0, 0)}, "forgot"),
        ({"value": array(1, 7)}, "forgot"),
        ({"value": array(1, 8)}, None),
        (RIGHT, None),
        ({"value": array(1, 2)}, "detached"),
        (RIGHT | {"gradient z": array(9, 9)}, None),
        (Failure("IndexError", "x[9]", "index  9"), "fails"),
        (Failure("IndexError", "y[7]", "index 7"), None),
        (Failure("KeyError", message="index 9"), None),
    ],
)
def test_a_mistake_is_known_by_the_property_that_fails(came, name):
    v = verdict(came, mistakes=(DETACHED, FORGOT, FAILS))
    assert (v.mistake and v.mistake.name) == name


def test_a_mistake_is_one_on_every_case():
    mistake = Mistake("ones", "h", [{"value": array(1)}, {"value": array(1)}])
    e = exercise(
        {"value": array(1)},
        {"value": array(2)},
        properties=(VALUE,),
        mistakes=(mistake,),
    )
    assert judge(e, [{"value": array(1)}, {"value": array(1)}]).mistake is mistake
    assert judge(e, [{"value": array(5)}, {"value": array(1)}]).mistake is None


# From an author's master to the verdict


def cubed(x: Tensor) -> Tensor:
    return x**3


def squared(x):
    return x**2


def detached(x):
    return (x**3).detach()


class Crooked(torch.autograd.Function):
    """The right value with the gradient of another."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] ** 2 * g


def piecewise(x):
    """Right, gradient included, at the given point and nowhere else."""
    here = X * (x.detach() - X).abs().lt(1e-9)
    return x**3 if here.any() else 0 * x


MASTER = Master(
    "toy",
    (VALUE, Property("gradient", 2, outputs=("gradient", "slope"))),
    lambda generator, hidden: [Case("ordinary", {"x": X})],
)
WRONG = [
    WrongAnswer(answer.__name__, "a hint", "", answer) for answer in (squared, detached)
]


@pytest.mark.parametrize(
    "answer, points, why, mistake",
    [
        (cubed, 5, "", None),
        (lambda x: x * x * x, 5, "", None),
        (squared, 0, "counts once the first line is right", "squared"),
        (detached, 3, "no gradient reaches x", "detached"),
        (lambda x: Crooked.apply(x), 3, "gradient x: wrong", None),
        (piecewise, 3, "slope: wrong", None),
        (lambda x: x.pow_(3), 5, "", None),
    ],
)
def test_values_alone_are_not_enough(answer, points, why, mistake):
    e = MASTER.exercise(cube, cubed, WRONG)
    v = judge(e, [run(e.drive, answer, case.arrays) for case in e.cases])
    assert (
        v.points == points
        and v.results[1].why == why
        and (v.mistake and v.mistake.name) == mistake
    )


def test_a_solution_that_fails_is_the_authors_error():
    with pytest.raises(
        RuntimeError, match="the solution of toy fails on its own cases"
    ):
        MASTER.exercise(cube, lambda x: x.view(7))


def test_arrays_without_dimensions_keep_their_shape_in_the_file(tmp_path):
    drivers = "def drive_toy(answer, arrays):\n    return {'value': answer(**arrays)}\n"
    (tmp_path / "98_toy_drivers.py").write_text(drivers)
    case = Case("ordinary", {"x": tensor(2.0), "k": tensor([[1, 2]])})
    master = Master("toy", (VALUE,), lambda generator, hidden: [case])
    write_public(
        [
            master.exercise(
                lambda f, arrays: {"value": f(**arrays)}, lambda x, k: x.sum()
            )
        ],
        tmp_path / "98_toy",
    )
    e = read_public(tmp_path / "98_toy")["toy"]
    assert e.cases[0].arrays["x"].shape == () and e.cases[0].arrays["k"].tolist() == [
        [1, 2]
    ]
    assert e.expected[0]["value"].shape == () and e.mistakes == [] and e.solution == ""
    assert judge(e, [run(e.drive, lambda x, k: x, e.cases[0].arrays)]).solved
