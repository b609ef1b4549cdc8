"""The grader's parts, on a sheet with one small exercise: files, notebooks, replies,
reports, resuming, the doctor."""

import csv
import importlib
import inspect
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from course_lib.__main__ import main
from course_lib.grading import batch, doctor, library, replies, report, sandbox, sheet
from course_lib.grading.answers import Outcomes, defines, execute, is_stub, outcomes
from course_lib.grading.cells import parse
from course_lib.grading.drive import Failure, load_module
from course_lib.grading.exercise import Case, Exercise, Property
from course_lib.grading.inside import FAILURES, answer, receive, reply, send
from course_lib.grading.sandbox import Limits, Sandbox, SandboxDied
from course_lib.grading.verdict import judge

SOLUTION = '"""Toy."""\n\n\ndef double(x):\n    """Twice x."""\n    return 2 * x\n'
GRADING = """\
from course_lib.grading.drive import function


def drive_double(answer, arrays):
    return function(answer, {"x": arrays["x"]})


# --- private
import torch

from course_lib.grading.exercise import Case, Master, Property


def cases(generator, hidden):
    return [Case("ordinary", {"x": torch.randn(4 if hidden else 3, generator=generator)})]


PROPERTIES = Property("right", 2), Property("pure", 1, outputs=("unchanged",))
SHEET = [Master("double", PROPERTIES, cases, hides=("course_lib.losses:nt_xent",))]
"""
MISTAKES = "[double]\ntriple: Twice, not three times.\n    2 => 3\n"


@pytest.fixture
def toy(tmp_path):
    """A folder with a sheet 90_toy, and an empty one for submissions."""
    (tmp_path / "solutions" / "90_toy").mkdir(parents=True)
    (tmp_path / "class").mkdir()
    (tmp_path / "solutions" / "90_toy.py").write_text(SOLUTION)
    (tmp_path / "solutions" / "90_toy" / "exercises.py").write_text(GRADING)
    (tmp_path / "solutions" / "90_toy" / "mistakes.txt").write_text(MISTAKES)
    return tmp_path


@pytest.fixture
def trusted(monkeypatch):
    """The doctor has been here."""
    monkeypatch.setattr(batch, "require", lambda: None)


def notebook(*cells: str, **more) -> bytes:
    return json.dumps(
        {"cells": [{"cell_type": "code", "source": c} for c in cells]} | more
    ).encode()


def hand_in(toy: Path, student: str, code: str = "def double(x):\n    return x + x"):
    (toy / "class" / f"{student}.ipynb").write_bytes(notebook(code))


def graded(toy: Path, seed=1, limits=Limits(), isolated=True) -> dict[str, dict]:
    marks = batch.grade(
        toy / "class",
        sheet.read("90", toy / "solutions"),
        seed,
        toy / "out",
        2,
        limits,
        isolated,
    )
    return {student["student"]: student for student in marks["students"]}


def words(toy: Path, *more: str) -> list[str]:
    return ["grade", str(toy / "class"), "--exercise", "90", "--solutions", str(toy / "solutions"), "--seed", "1",
            "--out", str(toy / "out"), "--workers", "1", *more]  # fmt: skip


def until(condition):
    """Waits for it, and for no longer than a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(mark: str) -> bool:
    """Is there a process with the mark in its command line?"""
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and mark.encode() in (entry / "cmdline").read_bytes()
            ):
                return True
        except OSError:
            pass
    return False


# Resuming


def test_grade_resumes_after_being_killed(toy, trusted):
    for i in range(3):
        hand_in(toy, f"student {i}", f"def double(x):\n    return {2 + i // 2} * x")
    process = subprocess.Popen([sys.executable, "-m", "course_lib", *words(toy, "--seconds", "3.25")],
                               cwd=sheet.ROOT, stderr=subprocess.DEVNULL)  # fmt: skip
    states = toy / "out" / "state"
    until(lambda: [*states.glob("*.json")] or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    until(lambda: not running('"seconds": 3.25,'))  # nothing outlives the grader
    before = {
        path: (path.stat().st_mtime_ns, path.read_text())
        for path in states.glob("*.json")
    }
    assert 1 <= len(before) < 3 and not (toy / "out" / "marks.csv").exists()
    students = graded(toy, limits=Limits(seconds=3.25))
    assert [s["points"] for s in students.values()] == [3, 3, 0]
    for path, known in before.items():
        assert (path.stat().st_mtime_ns, path.read_text()) == known
    with open(toy / "out" / "marks.csv", newline="") as file:
        assert [row["student"] for row in csv.DictReader(file)] == [
            f"student {i}" for i in range(3)
        ]


class InThisProcess:
    """A sandbox that isolates nothing and starts no process."""

    def __init__(self, library, drivers, notebook, *_):
        self.drive, self.notebook = vars(load_module(drivers)), notebook

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self):
        pass

    def ask(self, name, arrays):
        reader, writer = os.pipe()
        main = sys.modules["__main__"]
        try:
            answer(self.notebook, self.drive[f"drive_{name}"], name, arrays, writer)
            return "done", os.read(reader, 1 << 16)
        finally:
            sys.modules["__main__"] = main
            os.close(reader)


def test_grade_regrades_changed_submissions_only(toy, trusted, monkeypatch):
    for name in "abc":
        hand_in(toy, name)
    started = []
    monkeypatch.setattr(
        batch, "Sandbox", lambda *args: started.append(args) or InThisProcess(*args)
    )
    monkeypatch.setattr(library, "copy", lambda to, hides: None)
    first = graded(toy)
    assert len(started) == 3
    started.clear()
    assert graded(toy) == first and started == []
    hand_in(toy, "b", "def double(x):\n    return 3 * x")
    second = graded(toy)
    assert (
        len(started) == 1
        and second["b"]["points"] == 0
        and second["a"] == first["a"]
        and second["c"] == first["c"]
    )
    assert second["b"]["exercises"][0]["hint"] == "Twice, not three times."
    state = toy / "out" / "state" / f"{second['a']['slug']}.json"
    for broken in (state.read_text()[:100], "[]", "null", '{"key": 1}', ""):
        state.write_text(broken)
        started.clear()
        assert graded(toy)["a"]["points"] == 3 and len(started) == 1
        if broken == "[]":
            assert json.loads(state.read_text())["key"] == first["a"]["key"]
    started.clear()
    graded(toy, seed=2)
    assert len(started) == 3


# The doctor


def test_doctor_reports_that_the_sandbox_refuses_every_attempt():
    text, holds = doctor.table()
    assert (
        holds
        and text.endswith("The sandbox is safe.")
        and text.count("refused") == len(doctor.ATTEMPTS)
    )


def test_doctor_reports_attempts_that_succeed_without_a_sandbox(monkeypatch):
    found = doctor.attempts(False)
    for name in (
        "read_files",
        "write_files",
        "network",
        "other_processes",
        "process_storm",
    ):
        assert found[name] is True
    monkeypatch.setattr(doctor, "attempts", lambda: found)
    with pytest.raises(
        SandboxDied,
        match="is not safe: a submission could read the solutions.*; write outside",
    ):
        doctor.require()
    text, holds = doctor.table()
    assert not holds and "ALLOWED   write outside" in text
    assert not [
        name
        for place in ("/", "/usr", "/etc")
        for name in os.listdir(place)
        if name.startswith("canary-")
    ]


def test_grade_without_bubblewrap_refuses_to_grade(toy, monkeypatch, capsys):
    hand_in(toy, "a")
    monkeypatch.setenv("PATH", str(toy))
    assert main(words(toy)) == 1
    said = capsys.readouterr().err
    assert (
        said.startswith("error: the sandbox is not safe")
        and "bubblewrap (`bwrap`) is not installed" in said
    )
    assert not (toy / "out").exists()


def test_grade_without_a_sandbox_warns(toy, capsys):
    hand_in(toy, "honest")
    hand_in(
        toy,
        "runs away",
        "import os\ndef double(x):\n"
        "    os.setpgid(0, os.getpgid(os.getppid()))\n    while True: pass",
    )
    hand_in(toy, "takes ours", "from course_lib.losses import nt_xent\ndef double(x):\n"
            "    try:\n        nt_xent(x, x, 1.0)\n    except ImportError:\n        return 2 * x")  # fmt: skip
    assert main(words(toy, "--no-sandbox", "--seconds", "2.75")) == 0
    assert "NO SANDBOX: submitted code runs as you" in capsys.readouterr().err
    marks = json.loads((toy / "out" / "marks.json").read_text())
    assert marks["isolated"] is False and [s["points"] for s in marks["students"]] == [
        3,
        0,
        3,
    ]
    assert marks["students"][1]["exercises"][0]["properties"][0]["why"] == (
        "did not finish in 2.75 seconds of computing time, or 8.25 seconds on the "
        "clock: it has an endless loop, or the machine was busy"
    )
    until(lambda: not running('"seconds": 2.75,'))
    for page in (toy / "out").rglob("*.html"):
        assert "Graded without a sandbox" in page.read_text()


# The sandbox


def test_sandbox_replaces_a_helper_that_dies(toy):
    library.copy(toy / "library", [])
    (toy / "drivers.py").write_text(GRADING.partition("# --- private")[0])
    content = notebook("def double(x):\n    return 2 * x")
    arrays = {"0/x": torch.ones(2)}
    with Sandbox(toy / "library", toy / "drivers.py", content, Limits()) as found:
        for _ in range(2):
            end, written = found.ask("double", arrays)
            assert end == "done" and replies.parse(written, 1)[0]["value"].tolist() == [
                2,
                2,
            ]
            found._kill()
            with pytest.raises(SandboxDied):
                found.ask("double", arrays)
            assert found.process is None
    with Sandbox(toy / "nowhere", toy / "drivers.py", content, Limits()) as found:
        with pytest.raises(SandboxDied, match="no sandbox could be started: .*nowhere"):
            found.start()


def test_sandbox_gives_up_a_helper_that_never_replies(toy, monkeypatch):
    monkeypatch.setattr(sandbox, "GRACE", 0.5)
    library.copy(toy / "library", [])
    (toy / "drivers.py").write_text(GRADING.partition("# --- private")[0])
    with Sandbox(
        toy / "library", toy / "drivers.py", notebook("x = 1"), Limits(seconds=0.5)
    ) as found:
        found.start()
        os.kill(found.process.pid, signal.SIGSTOP)  # bubblewrap: what is inside goes on
        (helper,) = (
            Path(f"/proc/{found.process.pid}/task/{found.process.pid}/children")
            .read_text()
            .split()
        )
        os.kill(int(helper), signal.SIGSTOP)
        with pytest.raises(SandboxDied, match="no reply"):
            found.ask("double", {"0/x": torch.ones(2)})
    until(lambda: not Path(f"/proc/{helper}").exists())


def test_grade_imports_slow_modules_before_an_answer_begins(toy, trusted):
    hand_in(toy, "optim", "import sys, torch\ndef double(x):\n    assert 'torch._dynamo' in sys.modules\n"
            "    torch.optim.SGD([torch.ones(1)], 0.1)\n    return 2 * x")  # fmt: skip
    hand_in(toy, "plain", "import sys, torch\ndef double(x):\n    assert 'torch._dynamo' not in sys.modules\n"
            "    return 2 * x")  # fmt: skip
    assert [student["points"] for student in graded(toy).values()] == [3, 3]


def test_grade_ends_an_answer_that_waits_by_the_clock(toy, trusted):
    hand_in(
        toy, "waits", "import threading\ndef double(x):\n    threading.Event().wait()"
    )
    (exercise,) = graded(toy, limits=Limits(seconds=0.5))["waits"]["exercises"]
    assert (
        "did not finish in 0.5 seconds of computing time, or 1.5 seconds on the clock"
        in exercise["properties"][0]["why"]
    )


def test_sandbox_limits_go_into_a_control_group_if_there_is_one(tmp_path, monkeypatch):
    line = next(
        (
            x
            for x in Path("/proc/self/cgroup").read_text().splitlines()
            if x.startswith("0::")
        ),
        None,
    )
    monkeypatch.setattr(sandbox, "CGROUPS", tmp_path / "none")
    assert sandbox.cgroup(1, Limits()) is None
    monkeypatch.setattr(sandbox, "CGROUPS", tmp_path)
    if line is None:
        return
    own = tmp_path / line[3:].lstrip("/")
    own.mkdir(parents=True, exist_ok=True)
    # a folder is no control group
    assert sandbox.cgroup(1, Limits()) is None and list(own.iterdir()) == []

    def mkdir(path, *args, make=Path.mkdir):
        make(path, *args)
        (path / "cgroup.procs").touch()  # as the kernel does

    monkeypatch.setattr(Path, "mkdir", mkdir)
    group = sandbox.cgroup(4321, Limits(memory=1 << 30, processes=5))
    assert group == own / "grading-4321"
    said = {path.name: path.read_text() for path in group.iterdir()}
    assert said == {
        "memory.max": str(3 << 30),
        "memory.swap.max": "0",
        "pids.max": "21",
        "cgroup.procs": "4321",
    }


# Replies


def frames(*contents: bytes) -> bytes:
    file = io.BytesIO()
    send(file.write, *contents)
    return file.getvalue()


HUGE = b'{"0/v":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4]}}'
BRAIN = b'{"0/v":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
RIGHT = save({"0/value": np.ones(3, np.float32), "1/value": np.array(True)})


def test_replies_parse_returns_values_and_failures():
    found = replies.parse(frames(b"{}", RIGHT), 2)
    assert found[0]["value"].tolist() == [1, 1, 1] and found[1]["value"].item() is True
    said = {
        "1": ["Error<b>", "x" * 500 + "\n", ""],
        "0": ["ValueError", "a\u202eb\x07\n", "m"],
    }
    found = replies.parse(frames(json.dumps(said).encode(), save({})), 2)
    assert found == [Failure("ValueError", "ab", "m"), Failure("Exception", "x" * 120)]
    first = frames(b'{"0": ["NameError", "", ""]}', save({}))
    assert (
        replies.parse(first, 1)
        == [Failure("NameError")]
        == replies.parse(first + frames(b"{}", RIGHT)[:-1], 1)
    )
    assert replies.parse(first + frames(b"{}", save({"0/value": np.ones(1)})), 1)[0][
        "value"
    ].tolist() == [1]


@pytest.mark.parametrize("written", [
    b"", b"\0" * 8, b"\xff" * 100, frames(b"{}"), frames(b"[]", RIGHT), frames(b"null", RIGHT), frames(b"{}", b"{}"),
    frames(b'{"0": "text"}', RIGHT), frames(b'{"0": [1, 2, 3]}', RIGHT), frames(b'{"7": ["A", "b", "c"]}', RIGHT),
    frames(b'{"x": ["A", "b", "c"]}', RIGHT), frames(b"{" + b" " * FAILURES + b"}", RIGHT),
    frames(b"[" * 100_000, RIGHT),
    frames(b"{}", save({"value": np.ones(1)})), frames(b"{}", save({"9/value": np.ones(1)})),
    frames(b"{}", struct.pack("<Q", 1 << 62) + RIGHT), frames(b'{"0": ["A"]}', RIGHT), frames(b"\xff", RIGHT),
    frames(b"{}", struct.pack("<Q", len(HUGE)) + HUGE + bytes(4)),
    frames(b"{}", struct.pack("<Q", len(BRAIN)) + BRAIN + bytes(4)),
])  # fmt: skip
def test_replies_parse_returns_none_for_an_invalid_reply(written):
    assert replies.parse(written, 2) is None


def test_replies_parse_never_raises_for_damaged_bytes():
    draw = random.Random(0)
    good = frames(b'{"1": ["ValueError", "line", "message"]}', RIGHT)
    for _ in range(3000):
        content = bytearray(good)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(content))
            content[at : at + draw.choice((0, 1, 1, 1, 4))] = draw.randbytes(
                draw.choice((0, 1, 1, 2))
            )
        found = replies.parse(bytes(content), 2)
        assert found is None or len(found) == 2
    for size in (1, 8, 100, 5000):
        for _ in range(200):
            assert replies.parse(draw.randbytes(size), 2) is None


def test_receive_rejects_frames_above_the_limit():
    file = io.BytesIO(frames(b"abc", b""))
    assert receive(file.read, 3) == b"abc" and receive(file.read, 0) == b""
    with pytest.raises(EOFError):
        receive(file.read, 3)
    with pytest.raises(ValueError, match="a frame of 3 bytes"):
        receive(io.BytesIO(frames(b"abc")).read, 2)


# Answers


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import os", True),
        ("from os import path", True),
        ("def f(): g()", True),
        ("class A: pass", True),
        ("x = 1", True),
        ("x: int = 1", True),
        ("x: int", False),
        ("f = lambda: g()", True),
        ("x = g()", False),
        ("x = [g() for _ in y]", False),
        ("g()", False),
        ("x += 1", False),
        ("if x: pass", False),
        ("while True: pass", False),
        ("x, y = 1, -z[0]", True),
    ],
)
def test_defines_is_true_for_definitions_only(code, expected):
    (node,) = parse(code, "c")
    assert defines(node) is expected


@pytest.mark.parametrize(
    "code, expected",
    [
        ("def f(): raise NotImplementedError", True),
        ("def f():\n    'doc'\n    raise NotImplementedError('x')", True),
        ("def f(): raise ValueError", False),
        ("def f(): return 1", False),
        ("def f(): pass", False),
        ("x = 1", False),
        ("class A: pass", False),
        (
            "class A:\n    def f(self): raise NotImplementedError\n    def g(self): "
            "raise NotImplementedError()",
            True,
        ),
        (
            "class A:\n    def f(self): raise NotImplementedError\n    def g(self): "
            "return 1",
            False,
        ),
    ],
)
def test_is_stub_recognises_stubs(code, expected):
    (node,) = parse(code, "c")
    assert is_stub(node) is expected


STUB = "def f():\n    raise NotImplementedError"


@pytest.mark.parametrize(
    "cells, value",
    [
        ([STUB, "def f(): return 1"], 1),
        (["def f(): return 1", STUB], 1),
        (["def f(): return 1", "def f(): return 2"], 2),
        (["def f(): return 1", "def f(:"], 1),
        (["raise SystemExit", "def f(): return 1"], 1),
        (["f = lambda: 1"], 1),
        (["x = 1\nwhile True: pass", "def f(): return x"], 1),
        (["1 / 0\ndef f(): return 1"], 1),
        (["class A: x = 1 / 0", "def f(): return 1"], 1),
        (["x = " + "+".join("1" * 3000), "def f(): return 1"], 1),
        (["from __future__ import annotations\ndef f(x: int = 1): return x"], 1),
    ],
)
def test_execute_finds_answers_in_damaged_or_reordered_cells(cells, value):
    main = sys.modules["__main__"]
    try:
        assert execute(cells)[0]["f"]() == value
    finally:
        sys.modules["__main__"] = main


@pytest.mark.parametrize(
    "cells, last, replies",
    [
        (["def f(): return torch.tensor(1)", "import torch"], 1, 1),
        (
            [
                "import torch\nk = int('2')",
                "def f(): return torch.tensor(k)",
                "while True: pass",
            ],
            2,
            2,
        ),
        (
            [
                "import torch\nk = int('2')",
                "def f(): return torch.tensor(k) + j",
                "j = int('1')",
            ],
            3,
            3,
        ),
        (
            [
                "import torch, functools\ng = lambda x: torch.tensor(x)\nf = "
                "functools.partial(g, 5)"
            ],
            5,
            2,
        ),
        (["def f(): return nowhere", "while True: pass"], "NameError", 1),
        (["while True: pass"], "NotFound", 1),
        (["def f(:", "while True: pass"], "SyntaxError", 1),
        (["def f(x=1/0): pass"], "ZeroDivisionError", 1),
    ],
)
def test_outcomes_executes_the_rest_of_the_notebook_for_a_missing_name(
    cells, last, replies
):
    main = sys.modules["__main__"]
    try:
        found = list(
            outcomes(cells, "f", lambda answer, arrays: {"value": answer()}, [{}, {}])
        )
    finally:
        sys.modules["__main__"] = main
    assert len(found) == replies and len(found[-1]) == 2
    for outcome in found[-1]:
        assert (
            outcome.type if isinstance(outcome, Failure) else outcome["value"].item()
        ) == last


# The library in the sandbox


def test_library_without_replaces_a_symbol_by_an_import_error():
    source = "import os\n\n\n@deco\ndef f(x):\n    return x\n\n\nclass A(B):\n    y = 1\n\n\ndef g():\n"
    source += "    return f(1)\n"
    space = {}
    exec(library.without(library.without(source, "f"), "A"), space)
    for call in (space["f"], space["A"], space["g"]):
        with pytest.raises(
            ImportError, match="is graded, so it is not in the library during grading"
        ):
            call()

    class Child(space["A"]):
        pass

    with pytest.raises(ImportError):
        Child(1, x=2)
    with pytest.raises(
        ValueError,
        match="argument `symbol`: expected a function or class of the module, got 'h'",
    ):
        library.without(source, "h")


def test_definition_follows_imports_through_packages_and_aliases(
    tmp_path,
):
    (tmp_path / "p" / "q").mkdir(parents=True)
    (tmp_path / "p" / "__init__.py").write_text(
        "import os\nfrom p.q import g, h as k\n\n\ndef own():\n    pass\n"
    )
    (tmp_path / "p" / "q" / "__init__.py").write_text(
        "from p.q.deep import f as g\nfrom p.q.deep import h\n"
    )
    (tmp_path / "p" / "q" / "deep.py").write_text(
        "def f():\n    pass\n\n\nclass h:\n    pass\n"
    )
    deep = tmp_path / "p" / "q" / "deep.py"
    for symbol, name in (
        ("p:g", "f"),
        ("p:k", "h"),
        ("p.q:g", "f"),
        ("p.q.deep:f", "f"),
    ):
        assert library.definition(symbol, tmp_path) == (deep, name)
    assert library.definition("p:own", tmp_path) == (
        tmp_path / "p" / "__init__.py",
        "own",
    )
    with pytest.raises(FileNotFoundError):
        library.definition("p.none:f", tmp_path)


def test_library_copy_works_without_the_graded_symbols(tmp_path):
    sheets = [sheet.read(name) for name in sheet.names(sheet.ROOT / "solutions")]
    hides = {
        symbol
        for found in sheets
        for master in found.masters
        for symbol in master.hides
    }
    library.copy(tmp_path, hides)
    assert not [
        p
        for p in tmp_path.rglob("*")
        if p.name
        in ("batch.py", "sheet.py", "verdict.py", "check.py", "canary.py", "zoo")
    ]
    left = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.py"))
    # no file of the copy has its lines
    for module, name in (symbol.split(":") for symbol in hides):
        source = inspect.getsource(
            inspect.unwrap(getattr(importlib.import_module(module), name))
        )
        assert len(source.splitlines()) > 2 and source not in left, name
    code = f"""
import importlib, pkgutil, course_lib
assert course_lib.__file__.startswith({str(tmp_path)!r})
for module in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
    if not module.name.endswith(("__main__", "experiments", "recipes")): importlib.import_module(module.name)
for symbol in {sorted(hides)}:
    module, name = symbol.split(":")
    try: getattr(importlib.import_module(module), name)(1)
    except ImportError as error: assert "is graded, so" in str(error)
    else: raise SystemExit(symbol)
from course_lib.notebook import *
from course_lib.notebook import checks, widgets
check = checks("03")
assert check(len).solved and not hasattr(course_lib.notebook, "__all__")
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


# Reports and the command line


def graded_exercise(name: str, known: str, lead: str, hint: str) -> dict:
    return {"name": name, "points": 0, "of": 2, "todo": False, "mistake": known,
            "lead": lead, "hint": hint, "properties": []}  # fmt: skip


def test_reports_show_the_hints_of_each_exercise(tmp_path):
    """Two exercises may have different mistakes of the same name."""
    lead = "This looks like a known mistake:"
    exercises = [
        graded_exercise("first", "sum", lead, "Add the rows."),
        graded_exercise("second", "sum", lead, "Add the columns."),
        graded_exercise("third", "a or b", "One of these may be the reason:", "A.\nB."),
    ]
    student = {"student": "Ada", "slug": "ada", "file": "a.ipynb", "problem": "", "note": "",
               "points": 0, "exercises": exercises}  # fmt: skip
    marks = {"exercise": "90_toy", "sheet": "", "seed": 1, "isolated": True,
             "exercises": dict.fromkeys(("first", "second", "third"), 2),
             "students": [student]}  # fmt: skip
    report.write(marks, tmp_path)
    page = (tmp_path / "class.html").read_text()
    for name, known, hint in (
        ("first", "sum", "Add the rows."),
        ("second", "sum", "Add the columns."),
        ("third", "a or b", "A.\nB."),
    ):
        row = f'<td>{name}</td><td>{known}</td><td class="hints">{hint}</td>'
        assert row in page
    page = (tmp_path / "students" / "ada.html").read_text()
    assert f"{lead}\nAdd the rows." in page
    assert "One of these may be the reason:\nA.\nB." in page


def test_grade_names_an_unsolved_answer_that_an_answer_calls():
    """From the sandbox's reply to the report."""
    written = io.BytesIO()
    failure = Failure("Unsolved", "return half(x)", "half")
    reply(written, Outcomes([failure]))
    assert replies.parse(written.getvalue(), 1) == [failure]
    right = Property("right", 2)
    case = Case("ordinary", {"x": torch.zeros(3)})
    exercise = Exercise("toy", (right,), None, [case], [{"value": np.zeros(3)}])
    (result,) = judge(exercise, [failure]).results
    assert (
        batch.why(result) == "your answer calls `half`, which you have not solved yet"
    )


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(1)",
        "|calc",
        "%0",
        "\t=1",
        "\r\n=1",
        "  =1",
        "\u200b=1",
        "＝1",
    ],
)
def test_harmless_quotes_text_that_looks_like_a_formula(text):
    assert report.harmless(text).startswith("'") and report.harmless(text).isprintable()


def test_harmless_keeps_ordinary_names():
    assert [report.harmless(name) for name in ("Zoë O'Neil", "a-b", "")] == [
        "Zoë O'Neil",
        "a-b",
        "",
    ]


def test_grade_handles_a_class_of_one_broken_submission(toy, trusted):
    (toy / "class" / "a").mkdir()
    record = graded(toy)["a"]
    assert (
        record["points"] == 0
        and record["problem"]
        == "expected 90_toy.ipynb, found no notebook: nothing is in it"
    )
    assert (
        "Nothing could be graded: expected 90_toy.ipynb"
        in (toy / f"out/students/{record['slug']}.html").read_text()
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"class": "nowhere"},
            "expected a folder with a folder or zip for each student",
        ),
        ({}, "expected a folder, zip or notebook for each student"),
        ({"90": "77"}, "argument `exercise`: expected one of 90_toy"),
        ({"90": ""}, "argument `exercise`: expected one of"),
        ({"--seed": None}, "grade needs SUBMISSIONS/, --exercise, --seed and --out"),
        ({"--out": None}, "grade needs SUBMISSIONS/"),
        ({"--workers": "0"}, "workers"),
        ({"--seconds": "-1"}, "seconds"),
        ({"--seconds": "nan"}, "seconds"),
    ],
)
def test_grade_command_reports_a_wrong_option_in_one_line(
    toy, capsys, trusted, change, message
):
    line = words(toy, "--seconds", "5")
    for old, new in change.items():
        if old.startswith("--"):
            at = line.index(old)
            line[at : at + 2] = [] if new is None else [old, new]
        else:
            at = next(
                i
                for i, word in enumerate(line)
                if word == old or word.endswith(f"/{old}")
            )
            line[at] = line[at].removesuffix(old) + new
    assert main(line) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said
    assert not (toy / "out").exists()


def test_sandbox_binds_a_python_prefix_below_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/tmp/clone/.venv")
    words = sandbox.Sandbox(
        tmp_path, tmp_path / "drivers.py", b"", sandbox.Limits()
    )._bubblewrap()
    place = words.index("/tmp/clone/.venv")
    assert (
        words[place - 1] == "--ro-bind"
        and words.index("/tmp") < place
        and words.index("/proc") < place
    )
