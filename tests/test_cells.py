"""Notebook files and their cells, compared with IPython and nbformat themselves."""

import json
import sys

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from course_lib.grading import cells
from course_lib.grading.answers import execute, outcomes
from course_lib.grading.cells import Unreadable, code_cells, parse
from course_lib.grading.drive import Failure

F = "def f(x):\n    return 2 * x"


@pytest.fixture(autouse=True)
def main():
    """Puts back `__main__`, which IPython and `execute` replace."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield InteractiveShell(user_ns={})


def in_ipython(shell: InteractiveShell, *sources: str) -> dict:
    """The names that the cells define in IPython, with their values."""
    shell.reset(new_session=False)
    shell.compile.reset_compiler_flags()
    before = set(shell.user_ns)
    for source in sources:
        shell.run_cell(source)
    new = {name for name in set(shell.user_ns) - before if not name.startswith("_")}
    return {name: shell.user_ns[name] for name in new}


def everything(*sources: str) -> dict:
    """The names that we find if all statements are executed."""
    found, _ = execute(list(sources), {"no such name"})
    return {name: value for name, value in found.items() if not name.startswith("_")}


AGREE = {
    "plain": F,
    "question in a comment and a string": f"%%time\n# right?\n{F}  # is it?\ns = 'why?'",
    "question in a text": f"%%time\ns = '''\nwhat is it?\n!no command\n%nor here\n'''\n{F}",
    "continued command": f"!true \\\n  --quiet \\\n  more\n{F}",
    "indented": "    import os\n    def f(x):\n        return 2 * x\n\n    y = 1",
    "time": f"%%time\n{F}",
    "time after blank lines": f"\n\n%%time\n{F}",
    "profile": f"%%prun -q -s cumulative\n{F}",
    "capture": f"%%capture\n!true\n{F}",
    "capture in time": f"%%time\n%%capture\n%matplotlib --list\n{F}",
    "timeit keeps no name": f"%%timeit -n 1 -r 1\n{F}",
    "bash": "%%bash\ntrue; def f",
    "html": "%%html\n<b>def f(x): return 1</b>",
    "javascript": "%%javascript\nfunction f(x) { return 1 }",
    "another Python": f"%%script cat\n{F}",
    "shell": "%%sx\ntrue",
    "no such magic": f"%%nosuch\n{F}",
    "help": f"import os\nos.path?\n?print\nprint??\n{F}",
    "time a statement": "%time y = 3\n%time def f(x): return 2 * x",
    "profile a statement": "%prun -q -s cumulative y = int('3')",
    "inside a block": f"if True:\n    %time y = 3\n    !true\n{F}",
    "inside a function": "def f(x):\n    !true\n    %time y = 2 * x\n    return 2 * x",
    "prompts of Python": ">>> def f(x):\n...     return 2 * x",
    "prompts of IPython": "In [1]: def f(x):\n   ...:     return 2 * x",
    "modulo": "y = 7\\\n%4\ndef f(x):\n    return (2\n%3) * x",
    "broken": "!true\ndef f(:",
}


@pytest.mark.parametrize("source", AGREE.values(), ids=AGREE)
def test_parse_finds_the_names_that_ipython_defines(shell, source, capfd):
    theirs, ours = in_ipython(shell, source), everything(source)
    assert ours.keys() == theirs.keys()
    if "f" in theirs:
        assert ours["f"](3) == theirs["f"](3) == 6


ASSIGNED = {
    "system": "x = !echo 1",
    "system in a block": "if True:\n    x = !echo 1",
    "environment": "x = %env PATH",
    "annotated": "x: list = !echo 1",
    "called by hand": "x = get_ipython().getoutput('echo 1')",
}


@pytest.mark.parametrize("source", ASSIGNED.values(), ids=ASSIGNED)
def test_parse_leaves_the_result_of_a_command_undefined(shell, source, capfd):
    source = f"{source}\n{F}"
    theirs, ours = in_ipython(shell, source), everything(source)
    assert theirs.keys() == {"x", "f"} and ours.keys() == {"f"} and ours["f"](3) == 6


def test_parse_runs_no_command(tmp_path):
    path = tmp_path / "made"
    commands = [f"!touch {path}", f"%%bash\ntouch {path}", f"x = !touch {path}", f"%run {path}",
                f"%%writefile {path}\nx", f"%time !touch {path}", f"get_ipython().system('touch {path}')"]  # fmt: skip
    everything(*commands)
    assert not path.exists()


# IPython has %%memit only with memory_profiler, which executes the cell in the
# notebook's names.
@pytest.mark.parametrize(
    "source, kinds",
    [
        (f"%%memit -r 1\n{F}", ["FunctionDef"]),
        ("%memit x = 1", ["Assign"]),
        ("%%time\nx = 1", ["Assign"]),
        (
            "%matplotlib inline\nx = 7 % 2\n!ls\nif x:\n    %time x = 3\nfoo?",
            ["Pass", "Assign", "Pass", "If", "Pass"],
        ),
        ("s = '''\n%d\n'''", ["Assign"]),
        ("get_ipython().run_cell_magic('time', '', 'x = 1\\n')", ["Assign"]),
        ("%time", ["Pass"]),
        ("", []),
        # Colab's IPython 7 removes the indentation of the first line, IPython 9 does
        # not
        ("    def f(x):\n        return x\n# end", ["FunctionDef"]),
    ],
)
def test_parse_returns_the_statements_of_a_cell(source, kinds):
    assert [type(node).__name__ for node in parse(source, "c")] == kinds


@pytest.mark.parametrize(
    "source",
    [
        "def f(:",
        "x = \0",
        "x = '\ud800",
        "(" * 5000,
        "%%time\n" * 400 + "x = 1",
        "    x\n  y",
    ],
)
def test_parse_raises_only_a_syntax_error(source):
    with pytest.raises(SyntaxError):
        parse(source, "c")


def test_execute_shows_the_line_of_a_cell_with_commands():
    source = "!true \\\n more\n\n%%no\n%time y = 1\ndef f(x):\n    return x\n\nclass A:\n    y = 1 / 0"
    _, failed = execute([source])
    assert failed["A"] == Failure("ZeroDivisionError", "class A:")
    (found,) = outcomes(
        ["%%time\n# c\n\ndef f(x):\n    !true\n    return x.missing"],
        "f",
        lambda answer, arrays: {"value": answer(1)},
        [{}],
    )
    assert found[0].type == "AttributeError" and found[0].line == "return x.missing"


def test_execute_carries_future_imports_to_later_cells_as_ipython_does(shell):
    sources = [
        "x = 1\nfrom __future__ import annotations",
        "def f(x: Missing) -> 1 / 0:\n    return 2 * x",
    ]
    theirs, (ours, failed) = in_ipython(shell, *sources), execute(sources)
    assert ours["f"](3) == theirs["f"](3) == 6 and failed == {}
    for found in theirs, ours:
        assert found["f"].__annotations__ == {"x": "Missing", "return": "1 / 0"}
    # without it, and above it, the annotations are executed
    for order in sources[1:], sources[::-1]:
        assert "f" not in execute(order)[0] and "f" not in in_ipython(shell, *order)


DRIVE = """
from google.colab import drive
drive.mount("/content/drive")
scale = int("2")
def f():
    return scale + {}
other = int("3")
"""


@pytest.mark.parametrize("more, value", [("0", 2), ("other", 5)])
def test_outcomes_goes_on_after_a_failed_import_and_says_so(more, value):
    *_, last = outcomes(
        [DRIVE.format(more)],
        "f",
        lambda answer, arrays: {"value": answer()},
        [{}],
    )
    assert last[0]["value"].item() == value
    assert last.skipped == Failure(
        "ModuleNotFoundError", "from google.colab import drive"
    )
    assert last.note == (
        "A line above this answer in its cell raised ModuleNotFoundError here: `from google.colab import drive`. The "
        "lines below it were executed all the same."
    )


def test_outcomes_has_no_note_if_nothing_failed_above_the_answer():
    sources = ["import nowhere", "def f():\n    return 1\nimport nowhere"]
    (found,) = outcomes(sources, "f", lambda answer, arrays: {"value": answer()}, [{}])
    assert found.skipped is None and found.note == ""
    # a second definition, in a cell where nothing fails, replaces the first
    sources = ["import nowhere\ndef f(): return 1", "def f(): return 2"]
    (found,) = outcomes(sources, "f", lambda answer, arrays: {"value": answer()}, [{}])
    assert found[0]["value"].item() == 2 and found.note == ""


# Files


def written(*sources: str, **metadata) -> dict:
    made = [{"cell_type": "code", "source": source} for source in sources]
    return {"cells": made, "metadata": metadata, "nbformat": 4}


def as_json(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False)


UMLAUT = f"# größer 🦊\n{F}"
OLD = nbformat.v3.new_notebook(
    worksheets=[nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell(UMLAUT)])]
)


@pytest.mark.parametrize(
    "content",
    [
        as_json(written(UMLAUT)).encode(),
        as_json(written(UMLAUT)).encode("utf-8-sig"),
        as_json(written(UMLAUT)).encode("utf-16"),
        as_json(written(UMLAUT)).encode("utf-16-le"),
        as_json(written(UMLAUT)).encode("utf-32"),
        nbformat.v3.nbjson.writes(OLD).encode(),
        json.dumps(written(UMLAUT, kernelspec=None)).encode(),
        json.dumps(written(UMLAUT, kernelspec=7, language_info=[])).encode(),
        json.dumps(written(UMLAUT) | {"metadata": None}).encode(),
        json.dumps(written(UMLAUT, kernelspec={"language": "plaintext"})).encode(),
        json.dumps(written(UMLAUT, language_info={"name": "plaintext"})).encode(),
        json.dumps(written(UMLAUT, kernelspec={"language": "ipython3"})).encode(),
    ],
)
def test_code_cells_reads_notebooks_of_any_encoding_and_format(content):
    assert code_cells(content) == [UMLAUT]


def test_code_cells_reads_a_notebook_in_a_code_page():
    (source,) = code_cells(as_json(written("# größer\n" + F)).encode("cp1252"))
    assert source == "# größer\n" + F


CONFLICT = (
    '{\n"cells": [\n<<<<<<< HEAD\n],\n=======\n{}],\n>>>>>>> main\n"metadata": {}}'
)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", cells.EMPTY),
        (b" \n", cells.EMPTY),
        (b"\x89PNG\r\n\x1a\n", cells.BROKEN),
        (b"\xff\xfe{\0}\0", cells.NO_CELLS),
        (b"[" * 99_999, cells.BROKEN),
        (json.dumps(written(F)).encode()[:-9], cells.BROKEN),
        (b"PK\3\4\0\0", cells.ARCHIVE),
        (b"\n<!DOCTYPE html>\n<html>", cells.WEB_PAGE),
        (CONFLICT.encode(), cells.CONFLICT),
        (CONFLICT.encode("utf-16"), cells.CONFLICT),
        (b"[]", cells.NO_CELLS),
        (b"null", cells.NO_CELLS),
        (b"7", cells.NO_CELLS),
        (b"{}", cells.NO_CELLS),
        (b'{"cells": 7}', cells.NO_CELLS),
        (b'{"cells": [7]}', cells.NO_CELLS),
        (b'{"cells": [{}]}', cells.NO_CELLS),
        (b'{"cells": [{"cell_type": "code"}]}', cells.NO_CELLS),
        (b'{"cells": [{"cell_type": "code", "source": 7}]}', cells.NO_CELLS),
        (b'{"cells": [{"cell_type": "code", "source": [7]}]}', cells.NO_CELLS),
        (b'{"cells": [{"cell_type": "markdown", "source": "x"}]}', cells.NO_CODE),
        (json.dumps(written("x", kernelspec={"language": "julia"})).encode(), cells.LANGUAGE),
        (json.dumps(written("x <- 1", kernelspec={"language": "R"})).encode(), cells.LANGUAGE),
    ],
)  # fmt: skip
def test_code_cells_says_why_a_file_is_no_python_notebook(content, reason):
    with pytest.raises(Unreadable) as error:
        code_cells(content)
    assert str(error.value) == reason and reason in cells.REASONS
    assert len(reason) <= 120  # what the sandbox may say
