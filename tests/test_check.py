"""The check of an exercise notebook names the fault of an answer. No exception and no
changed state of an answer leaves the check."""

import dataclasses
import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from course_lib.grading.exercise import Case, Master, Property, WrongAnswer
from course_lib.grading.public_files import read_public, write_public
from course_lib.notebook import attempt as attempt_module
from course_lib.notebook import checks
from course_lib.notebook.style import INK, PAPER

pytestmark = pytest.mark.filterwarnings(
    "error::pytest.PytestUnhandledThreadExceptionWarning"
)
FINAL = (
    "This check uses the public cases only. Your final mark comes from hidden cases, "
    "with other shapes and values."
)
SOLUTION = 'def double(x):\n    """<b>Twice</b> x."""\n    return 2 * x\n'
DRIVERS = """
import torch
from course_lib.grading.drive import function

def drive_double(answer, arrays):
    differentiate = ("x",) if arrays["x"].dtype == torch.float64 else ()
    return function(answer, {"x": arrays["x"]}, differentiate=differentiate, cotangent=arrays.get("cotangent"))

drive_total = drive_double
"""


def named(name):
    def rename(function):
        function.__name__ = name
        return function

    return rename


def double(x):
    return 2 * x


def total(x):
    return x.sum()


def squares(x):
    """This is what you get when x is <b>squared</b>."""
    return x * x


def detaches(x):
    """This is what you get when the value leaves the graph."""
    return (2 * x).detach()


def overflows(x):
    """This is what you get when squares are divided."""
    return 2 * x**2 / x


def picks(x):
    """This is what you get when the last element is read."""
    return x[99]


def cases(generator, hidden):
    values, extreme = (
        torch.rand(4, generator=generator) + 2,
        torch.tensor([1e30, -1e30]),
    )
    exact = {
        "x": values.double(),
        "cotangent": torch.rand(4, generator=generator).double(),
    }
    return [
        Case("ordinary", {"x": values}),
        Case("ordinary", {"x": values[:1] * 2}),
        Case("extreme", {"x": extreme}),
        Case("exact", exact),
    ]


PROPERTIES = (
    Property("doubles", 3),
    Property("leaves x alone", 1, outputs=("unchanged",)),
    Property("stays finite", 1, "extreme"),
    Property("lets the gradient pass", 2, "exact", ("gradient",)),
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checks")
    (folder / "99_toy_drivers.py").write_text(DRIVERS)
    drivers = {}
    exec(DRIVERS, drivers)
    master = Master("double", PROPERTIES, cases)
    other = Master(
        "total",
        (Property("adds", 1),),
        lambda generator, hidden: cases(generator, hidden)[:1],
    )
    wrong = [
        WrongAnswer(f.__name__, f.__doc__, "", f)
        for f in (squares, detaches, overflows, picks)
    ]
    doubling = dataclasses.replace(
        master.exercise(drivers["drive_double"], double, wrong), solution=SOLUTION
    )
    write_public(
        [doubling, other.exercise(drivers["drive_total"], total)], folder / "99_toy"
    )
    return folder


@pytest.fixture
def check(folder):
    return checks("99_toy", folder=folder, limit=20)


class Tags(HTMLParser):
    """The tags of a page; fails where one is left open or is none that a panel has."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in ("div", "span", "b", "details", "summary", "pre") and not {
            a for a, _ in attributes
        } - {"style", "role", "class"}
        self.seen.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(panel):
    """The panel's text, the same in both forms."""
    page, text = panel._repr_html_(), repr(panel)
    Tags(page)
    assert (
        page.startswith('<div role="status"')
        and f"background: {PAPER}; color: {INK}" in page
    )
    words = html.unescape(
        re.sub("<[^>]*>", " ", re.sub("<pre.*</pre>", "", page, flags=re.DOTALL))
    )
    assert words.split() == text.split()
    assert str(panel) == text and text.endswith(FINAL)
    return text


# What is said of an answer


def test_check_gives_a_right_answer_all_points(check):
    panel = check(double)
    text = shown(panel)
    assert panel.solved and panel.points == 7 and panel.verdict.exercise == "double"
    assert text.startswith(
        "double: solved, 7 of 7 points on the public cases\n✓ right  doubles (3 of 3)\n"
    )
    assert (
        "wrong" not in text
        and text.count("✓ right") == 4
        and "known mistake" not in text
    )
    assert shown(check(total)).startswith("total: solved, 1 of 1 point on")


def test_check_reports_a_stub_as_to_do(check):
    @named("double")
    def stub(x):
        raise NotImplementedError

    panel = check(stub)
    assert shown(panel) == f"– to do  double, 7 points\n{FINAL}"
    assert not panel.solved and panel.points == 0 and panel.verdict.todo


def wrong_shape(x):
    return 2 * x[None]


def wrong_kind(x):
    return (2 * x).long()


def in_place(x):
    return x.mul_(2)


def nan(x):
    return 2 * x * float("nan")


def nothing(x):
    2 * x


def raises(x):
    raise KeyError("the message")  # here


def partly(x):
    return 2 * x if x.dtype == torch.float32 else 2 * x + 1


@pytest.mark.parametrize(
    "answer, points, first, words",
    [
        (
            wrong_shape,
            0,
            "✗ wrong  doubles",
            ["value: wrong shape", "expected (1,), got (1, 1)", "(0 of 3)"],
        ),
        (
            wrong_kind,
            0,
            "✗ wrong  doubles",
            ["value: wrong dtype", "expected a floating point number, got int64"],
        ),
        (
            in_place,
            6,
            "✗ wrong  leaves x",
            ["it modifies its argument", "x.clone()", "✓ right  doubles (3 of 3)"],
        ),
        (nan, 0, "✗ wrong  doubles", ["value: not finite", "got [nan]"]),
        (
            nothing,
            0,
            "✗ wrong  doubles",
            [
                "what it returns is not a tensor",
                "got NoneType",
                "Is a `return` missing?",
            ],
        ),
        (
            raises,
            0,
            "✗ wrong  doubles",
            [
                'raised KeyError at: raise KeyError("the message") # here',
                "'the message'\n",
            ],
        ),
        (
            lambda x: 2 * x.detach(),
            5,
            "✗ wrong  lets",
            [
                "no gradient reaches x",
                "This may be the reason: ",
                "This is what you get when the value leaves the graph.",
            ],
        ),
        (
            overflows,
            6,
            "✗ wrong  stays",
            ["value: not finite", "(0 of 1)", "when squares are divided"],
        ),
        (
            lambda x: x**2,
            0,
            "✗ wrong  doubles",
            ["value: wrong", "This is what you get", "x is <b>squared</b>."],
        ),
        (
            lambda x: x[99],
            0,
            "✗ wrong  doubles",
            ["IndexError", "when the last element is read"],
        ),
        (
            lambda x: 3 * x,
            0,
            "✗ wrong  doubles",
            [
                "value: wrong\n",
                "– waits  leaves x alone (0 of 1): counts once the first line is "
                "right\n– waits  stays ",
            ],
        ),
        # only gradients are looked at in float64 here
        (partly, 7, "✓ right  lets", ["solved"]),
        (
            lambda x: (2 * xi for xi in x),
            0,
            "✗ wrong  doubles",
            ["expected a tensor, got generator"],
        ),
        (
            lambda x: (2 * x).to_sparse(),
            0,
            "✗ wrong  doubles",
            ["expected a dense tensor", "layout torch.sparse_coo"],
        ),
        (
            lambda x: 2 * x + 0j,
            0,
            "✗ wrong  doubles",
            ["expected a dense tensor of real numbers", "complex64"],
        ),
        (
            lambda x: x.long().softmax(0),
            0,
            "✗ wrong  doubles",
            ["raised NotImplementedError at: "],
        ),
        (
            lambda x: (2 * x).to("meta"),
            0,
            "✗ wrong  doubles",
            ["expected a dense tensor"],
        ),
        (
            lambda x: torch.zeros(1).expand(10**12),
            0,
            "✗ wrong  doubles",
            ["at most 1,000,000 elements"],
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_check_describes_each_kind_of_fault(check, answer, points, first, words):
    original, answer.__name__ = answer.__name__, "double"
    try:
        panel = check(answer)
    finally:
        answer.__name__ = original
    text = shown(panel)
    assert panel.points == points and panel.solved == (points == 7)
    assert first in text and all(word in text for word in words), text
    assert ("known mistake" in text or "may be the reason" in text) == any(
        "This is what" in w or w.startswith("when") for w in words
    )
    assert text.startswith(
        f"double: {'solved, ' * panel.solved}{points} of 7 points on the public cases\n"
    )


def test_check_judges_a_tensor_subclass_by_its_numbers(check):
    class Equal(torch.Tensor):
        def __eq__(self, other):
            return True

    class Nothing(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *_):
            return None

    assert check(named("double")(lambda x: (2 * x).as_subclass(Equal))).solved
    assert check(named("double")(lambda x: (3 * x).as_subclass(Equal))).points == 0
    panel = check(named("double")(lambda x: (2 * x).as_subclass(Nothing)))
    assert "wrong" in shown(panel) and not panel.solved


def test_check_can_be_called_again_with_the_same_result(check):
    assert check(double).solved
    first, again = check(named("double")(squares)), check(named("double")(squares))
    squares.__name__ = "squares"
    assert shown(first) == shown(again) and check(double).solved


# The smallest failing case, twins, unsolved answers


def two_arrays(n, m):
    return Case("ordinary", {"x": torch.arange(float(n)) / 7, "k": torch.tensor(m)})


@pytest.fixture
def sized(tmp_path):
    """sized(*cases): the check of an exercise `double` with these cases."""

    def make(*cases):
        drivers = "def drive_double(answer, arrays):\n    return {'value': answer(arrays['x'])}\n"
        (tmp_path / "98_toy_drivers.py").write_text(drivers)
        space = {}
        exec(drivers, space)
        master = Master("double", (Property("doubles", 1),), lambda *_: list(cases))
        wrong = [
            WrongAnswer("twice", "It is doubled twice.", "", lambda x: 4 * x),
            WrongAnswer("squared", "Two is squared.", "", lambda x: 2**2 * x),
        ]
        exercise = master.exercise(space["drive_double"], double, wrong)
        write_public([exercise], tmp_path / "98_toy")
        return checks("98", folder=tmp_path)

    return make


def test_check_shows_the_smallest_failing_case_where_no_mistake_is_known(sized):
    check = sized(two_arrays(30, 1), two_arrays(3, 2), two_arrays(1, 3))
    # x = [0] has the right result
    text = shown(check(named("double")(lambda x: 3 * x)))
    assert (
        "         value: wrong\n"
        "         expected [0. 0.2857 0.5714], got [0. 0.4286 0.8571]\n"
        "         The smallest case that fails:\n"
        "           x, float32 (3,): [0, 0.1429, 0.2857]\n"
        "           k, int64: 2\n"
    ) in text
    assert "smallest" not in shown(check(double))
    assert "smallest" not in shown(check(named("double")(lambda x: 4 * x)))


def test_check_shows_only_the_first_numbers_of_a_big_case(sized):
    wrong = named("double")(lambda x: 3 * x)
    text = shown(sized(two_arrays(30, 1))(wrong))
    twelve = ", ".join(f"{i / 7:.4g}" for i in range(12))
    assert f"x, float32 (30,): {twelve}, ...\n" in text
    text = shown(sized(two_arrays(300, 1))(wrong))
    assert "x, float32 (300,): 0, 0.1429, 0.2857, 0.4286, ...\n" in text
    # in the author's order, which the file of arrays does not keep
    many = {f"x{i}": torch.ones(1) for i in range(20)} | {"x": torch.ones(2)}
    text = shown(sized(Case("ordinary", many))(wrong))
    assert "x11, float32 (1,): [1]\n           and 9 more arrays\n" in text


def test_check_shows_the_hints_of_all_mistakes_with_the_same_outputs(sized):
    panel = sized(two_arrays(3, 2))(named("double")(lambda x: 4 * x))
    lines = (
        "This looks like one of these known mistakes:\n"
        "- It is doubled twice.\n- Two is squared.\n"
    )
    assert lines in shown(panel) and "white-space: pre-line" in panel._repr_html_()


def test_check_names_an_unsolved_answer_that_an_answer_calls(check, tmp_path):
    cells = [
        "def total(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()",
        "def double(x):\n    return 2 * x + 0 * total(x)",
    ]
    space = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), space)
    path = tmp_path / "mine.ipynb"
    content = {"cells": [{"cell_type": "code", "source": cell} for cell in cells]}
    path.write_text(json.dumps(content))
    for panel in (check(space["double"]), check.file(path)[0]):
        text = shown(panel)
        assert "your answer calls `total`, which you have not solved yet" in text
        assert not panel.verdict.todo and panel.points == 0
        assert "smallest" not in text and "may be the reason" not in text
    assert check.file(path)[1].verdict.todo


# What an answer tries


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_check_lets_no_exception_of_an_answer_out(check, error):
    @named("double")
    def answer(x):
        raise error

    text = shown(check(answer))
    assert f"raised {type(error).__name__} at: raise error" in text
    assert ("must not exit" in text) == isinstance(error, SystemExit)


def test_check_names_endless_recursion(check):
    def double(x):
        return double(x)

    text = shown(check(double))
    assert (
        "raised RecursionError at: return double(x)" in text
        and "Does your answer call itself without end?" in text
    )


class Evil(str):
    """A string whose methods all raise an error."""

    def _no(self, *_):
        raise RuntimeError

    __eq__ = __format__ = __str__ = __repr__ = __getitem__ = __iter__ = __len__ = (
        strip
    ) = replace = _no
    __hash__ = _no


class EvilError(Exception):
    def __str__(self):
        return Evil("evil but shown")


class SilentError(Exception):
    def __str__(self):
        raise SystemExit


class Disguise:
    """An object that imitates a tensor as far as possible."""

    __class__, layout, dtype = torch.Tensor, torch.strided, torch.float32
    is_meta = is_quantized = False

    def is_complex(self):
        return False

    def numel(self):
        return 1

    def __getattr__(self, name):
        return lambda *args: self


@pytest.mark.parametrize(
    "error, words", [(EvilError, "evil but shown"), (SilentError, "✗ wrong  doubles")]
)
def test_check_shows_an_exception_whose_text_is_hostile(check, error, words):
    @named("double")
    def answer(x):
        raise error

    panel = check(answer)
    assert words in shown(panel) and panel.points == 0


def test_check_rejects_an_object_that_imitates_a_tensor(check):
    panel = check(named("double")(lambda x: Disguise()))
    assert (
        "an object that only pretends to be a tensor" in shown(panel)
        and panel.points == 0
    )


@pytest.mark.parametrize(
    "message",
    [
        "<script>alert(1)</script>",
        "</div></pre><img src=x onerror=y>",
        "&lt;",
        "a\nb\x1b[31mc\ud800d",
        "x" * 10**6,
    ],
)
def test_check_escapes_and_shortens_error_messages_in_the_panel(check, message):
    @named("double")
    def answer(x):
        raise type("<i>Error</i>", (Exception,), {})(message)

    panel = check(answer)
    text, page = shown(panel), panel._repr_html_()
    assert (
        "raised <i>Error</i>" in text
        and "<i>" not in page
        and "<script" not in page
        and "<img" not in page
    )
    assert (
        len(page) < 6000
        and "x" * 201 not in page
        and page.encode()
        and "\x1b" not in page
    )
    assert html.escape(message[:5].split("\n")[0]) in page


def test_check_panel_as_plain_text_has_no_tags(check):
    for answer in (double, total, None, named("double")(lambda x: x)):
        assert not re.search("<[a-z/]", str(check(answer)))


# Endless answers


@pytest.fixture
def hasty(folder):
    return checks("99", folder=folder, limit=0.3)


def test_check_stops_an_endless_loop_and_names_its_line(hasty):
    threads = []

    @named("double")
    def answer(x):
        threads.append(threading.current_thread())
        while True:
            pass

    panel = hasty(answer)
    text = shown(panel)
    assert (
        panel.points == 0
        and "stopped after 0.3 s at: " in text
        and text.count("Does your answer contain an endless loop?") == 1
    )
    assert re.search("at: (while True:|pass)", text)
    assert (
        "It is still running" not in text
        and not threads[0].is_alive()
        and len(threads) == 1
    )


def test_check_keeps_points_earned_before_an_endless_loop(hasty):
    @named("double")
    def answer(x):
        while x.dtype == torch.float64:
            pass
        return 2 * x

    panel = hasty(answer)
    assert (
        panel.points == 5
        and "✗ wrong  lets the gradient pass (0 of 2)\n         stopped after"
        in shown(panel)
    )


def test_check_continues_if_an_endless_loop_cannot_be_stopped(hasty):
    threads, end = [], threading.Event()

    @named("double")
    def answer(x):
        threads.append(threading.current_thread())
        while not end.is_set():
            try:
                while not end.is_set():
                    pass
            except BaseException:
                pass

    try:
        panel = hasty(answer)
        text = shown(panel)
        assert (
            "It is still running: restart the kernel to stop it." in text
            and panel.points == 0
        )
        assert "\n         no result after 0.3 s\n" in text and "TimeLimit" not in text
        assert threads[0].is_alive() and threads[0].daemon
        assert hasty(double).solved
    finally:
        end.set()
        threads[0].join(20)
    assert not threads[0].is_alive()


def test_check_stops_an_endless_name_property(hasty):
    class Endless:
        @property
        def __name__(self):
            while True:
                pass

    text = shown(hasty(Endless()))
    assert (
        "Expected one of double, total, got a value of type Endless" in text
        and "No result after 0.3 s" in text
    )


@pytest.mark.parametrize(
    "seconds, clock, after", [(1.0, 0.0, "0.3"), (0.0, 1.0, "1.8")]
)
def test_check_limits_computing_time_and_six_times_as_much_on_the_clock(
    hasty, monkeypatch, seconds, clock, after
):
    """Each reading of the computing time and of the clock advances them by a fixed
    step."""

    @named("double")
    def answer(x):
        while True:
            pass

    ticks = [0.0, 0.0]

    def tick(i, step):
        ticks[i] += step
        return ticks[i]

    monkeypatch.setattr(
        attempt_module.Attempt, "_seconds", lambda self: tick(0, seconds)
    )
    monkeypatch.setattr(attempt_module.time, "monotonic", lambda: tick(1, clock))
    text = shown(hasty(answer))
    assert (
        f"stopped after {after} s at: " in text
        and f"No result after {after} s. Does your" in text
    )
    assert "your computer may be busy" in text


def test_check_uses_process_time_if_thread_time_is_not_available(hasty, monkeypatch):
    monkeypatch.delattr(attempt_module.time, "pthread_getcpuclockid", raising=False)

    @named("double")
    def answer(x):
        while True:
            pass

    assert "stopped after 0.3 s" in shown(hasty(answer)) and hasty(double).solved


FIRST_USE = """
import pathlib, sys, torch
from course_lib.notebook import checks
check = checks("99", folder=pathlib.Path(sys.argv[1]), limit=0.5)

def double(x):
    from sklearn.linear_model import LogisticRegression
    weight = torch.nn.Parameter(torch.ones(()))
    torch.func.grad(torch.sin)(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    (-weight).backward()
    optimizer.step()
    return weight.detach().to(x.dtype) * x

before = set(sys.modules)
panel = check(double)
assert panel.verdict.results[0].passed, panel
assert {"torch._dynamo", "sklearn.linear_model"} <= set(sys.modules) - before
"""


def test_check_does_not_count_time_for_imports(folder):
    """The first torch.optim or torch.func of a process imports for seconds, which are
    more than this limit."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_USE, folder], check=True
    )


def test_check_passes_on_an_interrupt_of_the_user(folder):
    threads, dtype = [], torch.get_default_dtype()

    @named("double")
    def answer(x):
        threads.append(threading.current_thread())
        torch.set_default_dtype(torch.float64)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            time.sleep(0.001)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            checks("99_toy", folder=folder, limit=60)(answer)
    finally:
        signal.signal(signal.SIGINT, handler)
    threads[0].join(20)
    assert (
        not threads[0].is_alive()
        and len(threads) == 1
        and torch.get_default_dtype() == dtype
    )


# Torch's state


def test_check_gives_an_answer_torchs_defaults_and_restores_the_state(
    check,
):
    found = []

    @named("double")
    def answer(x):
        found.append(
            (
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.get_default_dtype(),
            )
        )
        torch.manual_seed(0)
        torch.rand(3)
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        return 2 * x

    torch.manual_seed(5)
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        check(answer)
        assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float64
        with torch.no_grad():
            assert check(double).solved and not torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found[0] == (True, False, torch.float32) and torch.equal(
        state, torch.get_rng_state()
    )


# Names and sheets


class Raising:
    def __getattr__(self, name):
        raise SystemExit

    __repr__ = __str__ = __call__ = __getattr__


class Changeling:
    @property
    def __class__(self):
        raise SystemExit


class Meta(type):
    __name__ = property(lambda cls: 1 / 0)


@pytest.mark.parametrize(
    "make, came",
    [
        (lambda: None, "None"),
        (lambda: lambda x: 2 * x, "a lambda"),
        (lambda: squares, "`squares`"),
        (lambda: "double", "a value of type str"),
        (lambda: (i for i in range(3)), "`<genexpr>`"),
        (lambda: torch.ones(3), "a value of type Tensor"),
        (Raising, "a value of type Raising"),
        (Changeling, "a value of type Changeling"),
        (lambda: Meta("M", (), {}), "a value of type Meta"),
        (lambda: Meta("M", (), {})(), "a value of type M"),
        (lambda: named("<b>")(lambda x: x), "`<b>`"),
        (type("Named", (), {"__name__": Evil("other")}), "`other`"),
        (type("Named", (), {"__name__": 7}), "of type Named"),
    ],
)
def test_check_names_the_expected_functions_for_any_other_object(check, make, came):
    panel = check(make())
    text = shown(panel)
    assert (
        "Expected one of double, total, got " in text
        and f"{came}. Pass your function or class itself" in text
    )
    assert panel.verdict is None and not panel.solved and panel.points == 0


def test_check_calls_a_class_or_object_of_the_right_name(check):
    Class = type("double", (), {"__init__": lambda self, x: None})
    assert "got double" in shown(check(Class))
    assert "raised TypeError" in shown(
        check(type("Object", (), {"__name__": "double"})())
    )


def test_checks_finds_a_sheet_by_name_or_number(folder, tmp_path):
    assert (
        checks("99", folder=folder).exercises.keys()
        == checks("99_toy", folder=folder).exercises.keys()
    )
    with pytest.raises(ValueError, match="`sheet`: expected one of 99_toy, got '98'"):
        checks("98", folder=folder)
    with pytest.raises(
        ValueError, match="`sheet`: expected one of those in .* got '99'"
    ):
        checks("99", folder=tmp_path)
    with pytest.raises(ValueError, match="`sheet`.*'no such sheet'"):
        checks("no such sheet")
    with pytest.raises(ValueError, match="`limit`"):
        checks("99", folder=folder, limit=0)


# The worked solution


def test_check_shows_the_solution_after_an_attempt_only(check):
    @named("double")
    def stub(x):
        raise NotImplementedError

    with pytest.raises(ValueError, match="after an attempt"):
        check.solution("double")
    assert "Worked solution" not in shown(check(stub))
    with pytest.raises(ValueError, match="after an attempt"):
        check.solution("double")
    panel = check(named("double")(lambda x: x))
    assert 'Worked solution: print(check.solution("double"))' in shown(
        panel
    ) and SOLUTION not in str(panel)
    page = panel._repr_html_()
    assert Tags(page).seen.count("details") == 1
    code = html.unescape(
        re.sub("<[^>]*>", "", re.search("<pre.*</pre>", page, flags=re.DOTALL)[0])
    )
    assert code.strip() == SOLUTION.strip()
    assert check.solution("double") == SOLUTION and "Worked solution" in shown(
        check(stub)
    )


def test_check_has_no_solution_that_is_not_released(check):
    assert "Worked solution" not in shown(check(total))
    with pytest.raises(ValueError, match="release does not include"):
        check.solution("total")
    with pytest.raises(ValueError, match="`name`: expected one of double, total"):
        check.solution("triple")


# Files


def test_read_public_restores_the_written_exercise(folder):
    exercise = read_public(folder / "99_toy")["double"]
    wanted = cases(torch.Generator().manual_seed(0), False)
    assert (
        exercise.properties == PROPERTIES
        and exercise.solution == SOLUTION
        and exercise.points == 7
    )
    assert [c.kind for c in exercise.cases] == [c.kind for c in wanted]
    for case, other, expected in zip(
        exercise.cases, wanted, exercise.expected, strict=True
    ):
        assert case.arrays.keys() == other.arrays.keys()
        assert all(torch.equal(case.arrays[k], other.arrays[k]) for k in other.arrays)
        assert (
            np.array_equal(expected["value"], 2 * other.arrays["x"].numpy())
            and expected["unchanged"].dtype == bool
        )
    assert np.allclose(
        exercise.expected[3]["gradient x"], 2 * wanted[3].arrays["cotangent"]
    )
    assert [m.name for m in exercise.mistakes] == [
        "squares",
        "detaches",
        "overflows",
        "picks",
    ]
    assert (
        exercise.mistakes[1].hint
        == "This is what you get when the value leaves the graph."
    )
    assert np.array_equal(
        exercise.mistakes[0].outputs[0]["value"], wanted[0].arrays["x"].numpy() ** 2
    )
    picks = exercise.mistakes[3].outputs
    assert [o.type for o in picks] == 4 * ["IndexError"]
    assert all(o.message.startswith("index 99 is out of bounds") for o in picks)
    assert "gradient x" not in exercise.mistakes[1].outputs[3]
    total = read_public(folder / "99_toy")["total"].expected[0]["value"]
    assert total.shape == () and total == pytest.approx(
        wanted[0].arrays["x"].numpy().sum()
    )


def test_check_rejects_the_librarys_own_function(check):
    def nt_xent(z1, z2):
        return z1

    nt_xent.__module__, nt_xent.__name__ = "course_lib.losses", "double"
    panel = check(nt_xent)
    assert not panel.solved and panel.verdict is None
    assert "`double` of course_lib (not available when your answer is marked)" in repr(
        panel
    )


def test_check_names_a_leftover_stub_line(check):
    @named("double")
    def almost(x):
        y = 2 * x  # noqa: F841
        raise NotImplementedError()

    panel = check(almost)
    assert (
        not panel.verdict.todo
        and "still contains `raise NotImplementedError()`: delete that line"
        in repr(panel)
    )


def test_check_file_reads_a_notebook_as_the_grader_does(check, tmp_path):
    path = tmp_path / "mine.ipynb"
    cells = [
        "import torch\n",
        "two = torch.tensor(2.0)",
        "def double(x):\n    return two * x",
        "total = lambda x: x.sum(",
    ]
    content = {
        "cells": [{"cell_type": "code", "source": cell} for cell in cells],
        "metadata": {},
        "nbformat": 4,
    }
    path.write_text(json.dumps(content))
    # `two` is made by a call: what is above is executed, too
    double, total = check.file(path)
    assert (
        double.points > 0
        and "the notebook has no function or class of this name" in repr(total)
    )
    path.write_text("no notebook")
    with pytest.raises(ValueError, match="not a Jupyter notebook"):
        check.file(path)


def test_check_file_continues_after_an_endless_answer(hasty, tmp_path):
    path = tmp_path / "mine.ipynb"
    cells = [
        "def double(x):\n    while True:\n        pass",
        "def total(x):\n    return x.sum()",
    ]
    content = {
        "cells": [{"cell_type": "code", "source": cell} for cell in cells],
        "metadata": {},
        "nbformat": 4,
    }
    path.write_text(json.dumps(content))
    double, total = hasty.file(path)
    assert "stopped after 0.3 s at: " in shown(
        double
    ) and "Does your answer contain an endless loop?" in shown(double)
    assert double.points == 0 and total.solved
