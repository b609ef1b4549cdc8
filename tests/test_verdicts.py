"""The outputs of drivers and the verdict on them, against numbers computed by hand."""

from dataclasses import replace

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
    several,
)
from course_lib.grading.exercise import (
    Case,
    Exercise,
    Master,
    Mistake,
    Property,
    WrongAnswer,
)
from course_lib.grading.probes import careful, keeps_float64, precise, watched
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


def test_run_returns_value_gradient_and_slope():
    out = run(cube, lambda x: x**3, {"x": X})
    assert out.keys() == {"value", "unchanged", "gradient x", "slope"}
    assert (
        out["value"].tolist() == [1, -8, 27]
        and out["unchanged"]
        and out["unchanged"].dtype == bool
    )
    assert out["gradient x"].tolist() == [3, 120, 2700]  # 3 x^2 times the cotangent
    assert out["slope"] == pytest.approx(slope(lambda x: x**3), rel=1e-12)


def test_run_computes_the_slope_from_values_not_gradients():
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


def test_run_omits_a_gradient_that_does_not_flow():
    assert "gradient x" not in run(cube, lambda x: (x**3).detach(), {"x": X})
    both = {"x": X.clone().requires_grad_(), "y": X.clone().requires_grad_()}
    assert gradients(both["x"].sum(), both).keys() == {"gradient x"}
    assert gradients(3.0, both) == {}


def test_run_has_no_slope_in_float32_and_needs_no_cotangent_for_a_scalar():
    out = run(
        lambda f, a: function(f, a, differentiate=("x",)),
        lambda x: (x**2).sum(),
        {"x": X.float()},
    )
    assert out.keys() == {"value", "unchanged", "gradient x"} and out[
        "gradient x"
    ].tolist() == [2, -4, 6]


def test_run_reports_an_argument_modified_in_place():
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


def test_run_does_not_take_nan_in_an_argument_for_a_change():
    x = tensor([1.0, float("nan")])
    assert run(function, lambda x: x, {"x": x})["unchanged"]
    assert not run(function, lambda x: x.nan_to_num_(), {"x": x})["unchanged"]


def test_run_returns_the_new_content_of_modified_arguments():
    def adds(x, y):
        y += 1
        return x + y

    out = run(function, adds, {"x": X, "y": X})
    assert not out["unchanged"] and out["changed y"].tolist() == [2, -1, 4]
    assert "changed x" not in out
    pair = {"x": X, "y": X}
    out = run(
        lambda f, a: several(f, ("a", "b"), a), lambda x, y: (x, adds(x, y)), pair
    )
    assert not out["unchanged"] and out["changed y"].tolist() == [2, -1, 4]


def test_run_reports_an_argument_that_is_left_wanting_a_gradient():
    def leaves(x):
        x.requires_grad_()
        return (2 * x).detach()

    out = run(function, leaves, {"x": X})
    assert not out["unchanged"] and "changed x" not in out
    assert run(function, lambda x: 2 * x.clone().requires_grad_(), {"x": X})[
        "unchanged"
    ]


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        (lambda x: x**3, True),
        (lambda x: x.log_softmax(0), True),
        (lambda x: x.sum() - 3.0, True),
        (lambda x: torch.logsumexp(x, 0), True),
        (lambda x: (x.float() ** 3).double(), False),
        (lambda x: x.float() ** 3, False),
        (lambda x: x**3 + x.mean().float(), False),
        (lambda x: x.float().log_softmax(0).to(x.dtype), False),
        (lambda x: torch.logsumexp(x.float(), 0).double(), False),
        (lambda x: x.sum().item(), False),
    ],
)
def test_keeps_float64_finds_float32_anywhere_in_an_answer(answer, keeps):
    out = keeps_float64(answer, {"x": X})
    assert out.keys() == {"float64 for float64 input"}
    assert out["float64 for float64 input"] == keeps


@pytest.mark.parametrize("probe", [lambda drive: precise(drive, "value"), careful])
def test_precise_and_careful_look_at_the_dtype_for_float64_alone(probe):
    drive = probe(lambda answer, a: {"value": answer(a["x"])})
    key = "float64 for float64 input"
    for answer, keeps in (
        (torch.exp, True),
        (lambda x: x.float(), False),
        (lambda x: x.sum().item(), True),
    ):
        assert drive(answer, {"x": X})[key] is keeps
        # no float64 array: a number without dimensions is a setting
        assert key not in drive(answer, {"x": X.float(), "rate": X[0]})


def test_watched_and_careful_report_a_changed_requires_grad():
    def wants(x, y):
        return [x.requires_grad_(), y]

    def wants_no_more(x, y):
        return [x, y.detach_()]

    def right(x, y):
        return [x.clone().requires_grad_(), y.detach()]

    for probe in (watched, careful):
        for answer, keeps in ((wants, False), (wants_no_more, False), (right, True)):

            def call(answer, a):
                leaf = torch.ones(2, requires_grad=True)
                return {"value": answer(a["x"], 2 * leaf)[0]}

            out = probe(call)(answer, {"x": X.clone()})
            assert out["unchanged wish for a gradient"] is keeps


def test_judge_says_that_requires_grad_changed():
    key = "unchanged wish for a gradient"
    alone = Property("leaves its arguments alone", 1, outputs=("unchanged",))
    came = RIGHT | {key: np.array(False)}
    v = verdict(came, RIGHT | {key: np.array(True)}, properties=(VALUE, alone))
    assert v.results[1].why == "it changes requires_grad of its argument"


def test_run_returns_a_value_of_wrong_shape_unchanged():
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
def test_plain_rejects_values_that_are_no_dense_real_tensor(value):
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
def test_plain_converts_numbers_to_arrays_without_dimensions(value, dtype):
    array = plain(value)
    assert array.shape == () and array.dtype == dtype and array == float(value)


def test_run_reports_an_exception_with_the_line_of_the_answer():
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


def test_judge_gives_all_points_if_every_output_is_right():
    v = verdict(RIGHT)
    assert (
        v.solved
        and v.points == 5
        and v.mistakes == []
        and not v.todo
        and [r.why for r in v.results] == ["", ""]
    )


def test_judge_counts_other_properties_only_with_the_first():
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


def test_judge_counts_an_independent_property_without_the_first():
    alone = replace(GRADIENT, independent=True)
    third = Property("third", 1, outputs=("third",))
    right = RIGHT | {"third": array(1)}
    v = verdict(right | {"value": array(1, 3)}, right, properties=(VALUE, alone, third))
    assert [r.passed for r in v.results] == [False, True, False] and v.points == 2
    # both answers are wrong, the second in a known way
    known = with_value("known", 1, 5)  # another wrong first answer
    known.outputs[0]["gradient z"] = array(3, 4.27)
    came = RIGHT | {"value": array(1, 3), "gradient z": array(3, 4.27)}
    v = verdict(came, properties=(VALUE, alone), mistakes=(known,))
    assert names(v) == ["known"]
    assert names(verdict(came, mistakes=(known,))) == []


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
def test_judge_compares_values_up_to_rounding_and_names_the_fault(value, why):
    result = verdict(RIGHT | {"value": value}).results[0]
    assert (result.why, result.passed) == (why, not why)


def test_judge_takes_nan_and_infinity_as_equal_to_themselves():
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


def test_same_compares_whole_numbers_exactly():
    assert not same(array(100_000, dtype=int), array(100_001, dtype=int))
    assert same(array(100_001, dtype=np.int32), array(100_001, dtype=int)) and same(
        array(1e5), array(1e5 + 1)
    )


def test_judge_names_missing_outputs_and_modified_arguments():
    assert verdict({"value": RIGHT["value"]}).results[1].why == "no gradient reaches z"
    assert verdict({}).results[0].why == "no value"
    changes = Property("pure", 1, outputs=("unchanged",))
    right = {"value": array(1), "unchanged": np.array(True)}
    v = verdict(
        right | {"unchanged": np.array(False)}, right, properties=(VALUE, changes)
    )
    assert v.results[1].why == "it modifies its argument" and v.points == 3


def test_judge_rejects_an_unexpected_gradient_unless_it_is_zero():
    v = verdict(RIGHT | {"gradient target": array(0, 1)})
    assert (
        v.points == 3
        and v.results[1].why == "a gradient reaches target, but none should"
    )
    assert verdict(RIGHT | {"gradient target": array(0, 0)}).solved


def test_judge_checks_each_property_on_its_kind_of_case():
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
    assert v.results[1].why == "raised ValueError at: x = 1 / 0" and v.results[
        1
    ].details == ("the message",)
    assert v.points == 3
    assert (
        judge(e, [Failure("NotATensor"), RIGHT]).results[0].why
        == "what it returns is not a tensor of real numbers"
    )


def test_run_names_the_unsolved_function_that_an_answer_calls():
    source = """
import torch
def unsolved(x):
    raise NotImplementedError()
def unfinished(x):
    y = x + 1
    raise NotImplementedError()
class Network:
    def __init__(self):
        raise NotImplementedError()
class Both:
    def encode(self, x):
        raise NotImplementedError()
    def __call__(self, x):
        return self.encode(x)
def calls(x):
    return 2 * unsolved(x)
def calls_unfinished(x):
    return unfinished(x)
def builds(x):
    return Network()(x)
def softmax_of_integers(x):
    return x.long().softmax(0)
"""
    space = {}
    exec(compile(source, "cell 1", "exec"), space)

    def failure(name):
        answer = space[name]
        return run(function, answer() if name == "Both" else answer, {"x": X})

    assert (failure("calls").type, failure("calls").message) == ("Unsolved", "unsolved")
    assert failure("calls_unfinished").message == "unfinished"
    named = {failure("Both").message, failure("builds").message}
    assert named <= {"Both.encode", "encode", "Network", "__init__"}  # Python 3.10
    assert failure("unsolved").type == "NotImplementedError"
    assert failure("unfinished").type == "Leftover"
    assert failure("softmax_of_integers").type == "NotImplementedError"


def test_judge_reports_a_stub_as_to_do_but_not_a_missing_operation_of_torch():
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
    "forgot", "the hint", [{"value": array(1, 7.31), "gradient z": array(3, 4)}]
)
DETACHED = Mistake("detached", "no graph", [{"value": array(1, 2)}])
FAILS = Mistake("fails", "too far", [Failure("IndexError", message="index 9")])


def names(verdict):
    return [mistake.name for mistake in verdict.mistakes]


@pytest.mark.parametrize(
    "came, known",
    [
        # the property that fails is the first
        ({"value": array(1, 7.31), "gradient z": array(0, 0)}, ["forgot"]),
        ({"value": array(1, 7.31)}, ["forgot"]),
        ({"value": array(1, 8)}, []),
        (RIGHT, []),
        ({"value": array(1, 2)}, ["detached"]),
        (RIGHT | {"gradient z": array(9, 9)}, []),
        (Failure("IndexError", "x[9]", "index  9"), ["fails"]),
        (Failure("IndexError", "y[7]", "index 7"), []),
        (Failure("KeyError", message="index 9"), []),
    ],
)
def test_judge_recognises_a_mistake_by_the_property_that_fails(came, known):
    assert names(verdict(came, mistakes=(DETACHED, FORGOT, FAILS))) == known


def test_judge_recognises_a_mistake_only_if_every_case_matches():
    mistake = Mistake("ones", "h", [{"value": array(1)}, {"value": array(1.73)}])
    e = exercise(
        {"value": array(1)},
        {"value": array(2)},
        properties=(VALUE,),
        mistakes=(mistake,),
    )
    assert judge(e, [{"value": array(1)}, {"value": array(1.73)}]).mistakes == [mistake]
    assert judge(e, [{"value": array(5)}, {"value": array(1.73)}]).mistakes == []


def with_value(name, *numbers, **more):
    return Mistake(name, f"hint of {name}", [RIGHT | {"value": array(*numbers)} | more])


def test_judge_names_all_mistakes_with_the_same_outputs_at_most_three():
    known = [with_value(name, 1, 7.31) for name in "abcd"]
    other = with_value("other", 1, 7.42)
    v = verdict(RIGHT | {"value": array(1, 7.31)}, mistakes=(known[0], other))
    assert names(v) == ["a"] and v.lead == "This looks like a known mistake:"
    v = verdict(RIGHT | {"value": array(1, 7.31)}, mistakes=(*known[:2], other))
    assert names(v) == ["a", "b"]
    assert v.lead == "This looks like one of these known mistakes:"
    assert v.hint == "hint of a\nhint of b"
    v = verdict(RIGHT | {"value": array(1, 7.31)}, mistakes=known)
    assert names(v) == ["a", "b", "c"]


def test_judge_prefers_the_mistake_that_agrees_in_all_outputs():
    same_value = with_value("value", 1, 7.31)
    everything = with_value("everything", 1, 7.31, after=array(5))
    came = RIGHT | {"value": array(1, 7.31), "after": array(5)}
    assert names(verdict(came, mistakes=(same_value, everything))) == ["everything"]
    both = verdict(came | {"after": array(6)}, mistakes=(same_value, everything))
    assert names(both) == ["value", "everything"]


@pytest.mark.parametrize(
    "value",
    [array(0, 0), array(1, np.nan), array(1, np.inf), array(1, 0.5), array(-1, 3)],
)
def test_judge_is_not_sure_where_many_mistakes_have_these_numbers(value):
    came, mistake = RIGHT | {"value": value}, with_value("m", *value)
    v = verdict(came, mistakes=(mistake,))
    assert names(v) == ["m"] and not v.likely and v.lead == "This may be the reason:"
    twice = verdict(came, mistakes=(mistake, mistake))
    assert twice.lead == "One of these may be the reason:"
    # another gradient: then it is not this mistake
    assert (
        verdict(came | {"gradient z": array(8, 9)}, mistakes=(mistake,)).mistakes == []
    )


@pytest.mark.parametrize(
    ("right", "wrong", "likely"),
    [
        (np.array(True), np.array(False), False),
        (array(*range(8), dtype=int), array(*[0] * 8, dtype=int), False),
        (array(*range(8), dtype=int), array(*range(7, -1, -1), dtype=int), True),
        (array(0.3), array(0.6931), True),
        (array(0.3, 0.4), array([0.3, 0.4]), True),  # another shape
        (array(0.3, 0.4), array([0.0, 0.0]), False),
    ],
)
def test_judge_needs_numbers_as_evidence_of_a_mistake(right, wrong, likely):
    known = Mistake("m", "h", [{"value": wrong}])
    v = verdict(
        {"value": wrong}, {"value": right}, properties=(VALUE,), mistakes=(known,)
    )
    assert names(v) == ["m"] and v.likely == likely


def test_judge_tells_mistakes_apart_by_the_dtype_of_equal_numbers():
    number = Mistake("number", "h", [{"value": array(1, 2)}])
    detached = Mistake("detached", "h", [{"value": array(1, 2, dtype=float)}])
    for m in (number, detached):
        assert names(verdict(m.outputs[0], mistakes=(number, detached))) == [m.name]


def test_judge_describes_the_smallest_case_that_fails():
    e = exercise({"value": array(1)}, {"value": array(2)}, {"value": array(3)})
    sizes = [5, 1, 2]
    cases = [Case("ordinary", {"x": torch.zeros(n), "n": tensor(3)}) for n in sizes]
    e = replace(e, cases=cases, properties=(VALUE,))
    result = judge(e, [{"value": array(0)}, {"value": array(2)}, {"value": array(9)}])
    (result,) = result.results
    assert result.case == 2 and result.where == "x (2,)"
    assert result.details == ("expected [3.], got [9.]",)
    late = judge(e, [Failure("TimeLimit", "while True:"), *2 * [Failure("TimeLimit")]])
    assert late.results[0].why == "raised TimeLimit at: while True:"


def test_judge_shows_up_to_twelve_expected_and_actual_numbers():
    def details(n):
        value = np.arange(float(n))
        came = verdict({"value": value + 0.5}, {"value": value}, properties=(VALUE,))
        return came.results[0].details

    assert details(2) == ("expected [0. 1.], got [0.5 1.5]",)
    assert len(details(12)) == 2 and details(12)[1].endswith("10.5 11.5]")
    assert details(13) == ("first difference at [0]: expected 0, got 0.5",)


def test_judge_names_the_unsolved_function_that_an_answer_calls():
    failure = Failure("Unsolved", "return log_weights(z)", "log_weights")
    v = verdict(failure, mistakes=(FAILS,))
    assert not v.todo and v.mistakes == []
    says = "your answer calls `{}`, which you have not solved yet"
    assert v.results[0].why == says.format("log_weights")
    # the name may come from hostile code
    hostile = Failure("Unsolved", "return log_weights(z)", "<b>x = 0.5</b>" + "y" * 99)
    assert verdict(hostile).results[0].why == says.format("bx0.5b" + "y" * 44)


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
    "answer, points, why, mistakes",
    [
        (cubed, 5, "", []),
        (lambda x: x * x * x, 5, "", []),
        (squared, 0, "counts once the first line is right", ["squared"]),
        (detached, 3, "no gradient reaches x", ["detached"]),
        (lambda x: Crooked.apply(x), 3, "gradient x: wrong", []),
        (piecewise, 3, "slope: wrong", []),
        (lambda x: x.pow_(3), 5, "", []),
    ],
)
def test_judge_checks_gradients_and_slopes_as_well_as_values(
    answer, points, why, mistakes
):
    e = MASTER.exercise(cube, cubed, WRONG)
    v = judge(e, [run(e.drive, answer, case.arrays) for case in e.cases])
    assert v.points == points and v.results[1].why == why and names(v) == mistakes


def test_master_raises_an_error_if_its_solution_fails():
    with pytest.raises(
        RuntimeError, match="the solution of toy fails on its own cases"
    ):
        MASTER.exercise(cube, lambda x: x.view(7))


def test_write_public_keeps_the_shape_of_arrays_without_dimensions(tmp_path):
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
