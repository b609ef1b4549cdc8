"""Mistakes written as edits of a solution: the result of each form of edit, and the
error for an edit that does not fit."""

import pytest
import torch

from course_lib.grading import mistakes

LOSS = '''\
@torch.no_grad()
def loss(a, b):
    """The mean of a minus b."""
    ### BEGIN SOLUTION
    c = a - b  # (N,)
    return c.mean()
    ### END SOLUTION'''
PAIR = '''\
class Pair:
    """Two numbers."""

    def __init__(self, a):
        self.a = a

    def first(self):
        return self.a

    def second(self):
        return self.a + 1
'''
ENDS = "def ends(x):\n    return x.min(), x.max()"
SPACE = {"torch": torch}
A, B = torch.tensor([4.0, 8.0]), torch.tensor([1.0, 1.0])


@pytest.fixture
def written():
    """written(text): what the mistakes of that file, read for the solutions above, are:
    {exercise: [WrongAnswer]}."""

    def read(text):
        solutions = {"loss": LOSS, "Pair": PAIR, "ends": ENDS}
        return mistakes.read(text, "mistakes.txt", solutions, SPACE)

    return read


@pytest.mark.parametrize(
    ("edits", "value"),
    [
        ("a - b => a + b", 7.0),
        ("a - b => b\n    .mean() => .sum()", 2.0),  # one after the other
        ("a - b => a * b\n    a * b => a", 6.0),  # and in what came out
        (".mean() => .max() + (c.min()\n        * 10)", 37.0),
        ("c = a - b => for k in range(2):\n            c = k * a", 6.0),
        ("return RESULT => return 3 * RESULT", 15.0),
        (
            "a - b => a + b - b\n    return RESULT => return RESULT - RESULT.floor()",
            0.0,
        ),
        ("start => a = 2 * a", 11.0),
        ("body => return a.max()", 8.0),
        (
            "body =>\n        if a.max() > 5:\n            return b.max()\n        "
            "return a.max()",
            1.0,
        ),
        ("in loss: a - b => a", 6.0),
        # a bracket that only the second edit closes
        ("a - b => (a\n    # (N,) => * b)", 6.0),
        ("start => a = a * 2; b = b + 1", 10.0),
        ("@ sign", -5.0),
    ],
)
def test_mistakes_read_applies_edits_to_a_function(written, edits, value):
    (wrong,) = written(
        f"# A comment.\n\n[loss]\nodd: A hint: with a colon.\n    {edits}\n"
    )["loss"]
    assert (wrong.name, wrong.hint) == ("odd", "A hint: with a colon.")
    assert wrong.answer(A, B).item() == value
    scope = dict(SPACE)
    exec(wrong.source, scope)  # what stands in a sample submission does the same
    assert (
        scope["loss"](A, B).item() == value
        and "no_grad" in wrong.source
        and "###" not in wrong.source
    )


@pytest.mark.parametrize(
    ("edits", "values"),
    [
        ("in second: self.a + 1 => 0", (5, 0)),
        ("in first: return RESULT => return -RESULT", (-5, 6)),
        ("in first: body => return 7", (7, 6)),
        ("in second: start => self.a = 1", (5, 2)),
        ("in __init__: end => self.a = 2 * a", (10, 11)),
        ("end =>\n        def first(self):\n            return 9", (9, 6)),
        ("self.a = a => self.a = a + 1", (6, 7)),
        ("@ in second: sign", (5, -6)),
    ],
)
def test_mistakes_read_applies_edits_to_a_class(written, edits, values):
    (wrong,) = written(f"[Pair]\nodd: A hint.\n    {edits}\n")["Pair"]
    pair = wrong.answer(5)
    assert (pair.first(), pair.second()) == values


def test_mistakes_read_handles_several_mistakes_and_exercises(written):
    found = written(
        "[loss]\none: Hint.\n    a - b => a\n\ntwo: Hint.\n    a - b => "
        "b\n[Pair]\nthree: Hint.\n    + 1 =>\n"
    )
    assert {name: [wrong.name for wrong in bank] for name, bank in found.items()} == {
        "loss": ["one", "two"],
        "Pair": ["three"],
    }
    assert found["Pair"][0].answer(5).second() == 5


def test_mistakes_read_fills_generic_mistakes(written):
    pair = written("[Pair]\n@ in first: sign, in second: none_returned\n")["Pair"]
    assert pair[0].answer(5).first() == -5 and pair[1].answer(5).second() is None
    found = written("[loss]\n@ sign, through_numpy b\n@ none_returned\n")["loss"]
    assert [wrong.name for wrong in found] == ["sign", "through_numpy", "none_returned"]
    assert found[0].answer(A, B).item() == -5 and found[2].answer(A, B) is None
    assert (
        found[1].answer(A, B).item() == 5
        and "    b = torch.from_numpy(b.numpy())\n" in found[1].source
    )
    assert all(wrong.hint.endswith(".") for wrong in found)


def test_mistakes_edited_ignores_returns_of_inner_functions():
    source = "def f(x):\n    def g(y):\n        return 2 * y\n\n    return g(x)"
    edited = mistakes.edited(source, "return RESULT", "return -RESULT")
    assert edited == source.replace("return g(x)", "return -(g(x))")


@pytest.mark.parametrize(
    "entry",
    mistakes.parse(mistakes.GENERIC.read_text(), "")[""],
    ids=lambda entry: entry.name,
)
def test_every_generic_mistake_fits_one_solution(entry):
    right = "def f(x, y):\n    z = (x / y).log_softmax(x) - y.log()\n    return (z @ z.T).mean()"
    source = right
    for old, new in mistakes.filled(entry, words=["x", "y"]):
        source = mistakes.edited(source, old, new)
    compile(source, "f", "exec")
    assert entry.hint.endswith(".") and "(z @ z.T)" in source and source != right


@pytest.mark.parametrize(
    ("returned", "edit", "result"),
    [
        ("x, y", "return -EACH", "-(x), -(y)"),
        ("(x + 1, y)", "return -EACH", "-(x + 1), -(y)"),
        ("(x,)", "return -EACH", "-(x),"),
        ("[x, y]", "return EACH.detach()", "[(x).detach(), (y).detach()]"),
        ('{"a": x, "b": y}', "return -EACH", '{"a": -(x), "b": -(y)}'),
        ("x - y", "return -EACH", "-(x - y)"),
    ],
)
def test_mistakes_edited_changes_each_of_several_results(returned, edit, result):
    source = f"def f(x, y):\n    return {returned}"
    edited = mistakes.edited(source, "return EACH", edit)
    assert edited == f"def f(x, y):\n    return {result}"


def test_generic_sign_and_without_gradient_fit_an_answer_that_returns_a_tuple(written):
    sign, detached = written("[ends]\n@ sign, without_gradient\n")["ends"]
    assert [end.item() for end in sign.answer(A)] == [-4, -8]
    wants = A.clone().requires_grad_()
    ends = detached.answer(wants)
    assert [end.item() for end in ends] == [4, 8]
    assert not any(end.requires_grad for end in ends)


def test_generic_float32_inside_returns_float64_with_the_precision_of_float32(written):
    (inside,) = written("[loss]\n@ float32_inside a\n")["loss"]
    a = torch.tensor([1.0, 1.0], dtype=torch.float64) / 3
    result = inside.answer(a, torch.zeros(2))
    assert result.dtype == torch.float64 and 1e-9 < abs(result - 1 / 3) < 1e-7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[los]\none: Hint.\n    a => b\n", r"expected the name of an exercise in \[...\], one of loss, Pair, ends, got 'los'"),
        ("[loss]\n\none: Hint.\n    a * b => a\n", "line 3, `one`: expected OLD to stand once in the solution, got 'a \\* b' 0 times"),
        ("[loss]\none: Hint.\n    c => a\n", "expected OLD to stand once in the solution, got 'c' 3 times"),
        ("[loss]\none: Hint.\n    => a\n", "expected OLD to stand once in the solution, got '' 0 times"),
        # the docstring is no place
        ("[loss]\none: Hint.\n    The mean => a\n", "'The mean' 0 times"),
        ("[loss]\none: Hint.\n    a - b => (a - b)\n", "expected an edit that changes something, got none"),
        ("[loss]\none: Hint.\n", "expected an edit that changes something, got none"),
        ("[loss]\none: Hint.\n    a - b => (a - b\n", "expected Python after the edit"),
        ("[Pair]\none: Hint.\n    return RESULT => return 1\n", "expected one return, got 2"),
        ("[ends]\none: Hint.\n    return EACH => x = EACH\n", "`return EACH`: expected `return ...` after =>"),
        ("[Pair]\none: Hint.\n    in third: body => return 1\n", "expected one function 'third' in the solution, got 0"),
        ("[loss]\n@ sign, sign\n", r"expected each name once in \[loss\], got sign more than once"),
        ("one: Hint.\n    a => b\n", r"expected the name of an exercise in \[...\], one of loss, Pair, ends, got ''"),
        ("[loss]\n@ sine\n", "line 2: expected one of .*sign, .* after @, got 'sine'"),
        ("[loss]\none\n", "line 2: expected `name: hint`, got 'one'"),
        ("[loss]\ntwo words: Hint.\n", "line 2: expected `name: hint`"),
        ("[loss]\n    a => b\n", "line 2: expected a mistake's name and hint, then edits"),
        ("[loss]\none: Hint.\n    a - b\n", "line 3: expected a mistake's name and hint, then edits"),
        ("[loss]\none: Hint.\n        a => b\n", "line 3: expected an edit `OLD =>` above its lines"),
    ],
)  # fmt: skip
def test_mistakes_read_names_a_bad_entry(written, text, message):
    with pytest.raises(ValueError, match=message):
        written(text)
