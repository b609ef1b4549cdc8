"""A test run ends if a worker dies, a test hangs or the run takes too long. The output
names the test."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENDLESS = "import threading\ndef test_hangs():\n    threading.Event().wait()\n"
DIES = "import os\ndef test_dies():\n    os.abort()\n"
WELL = "def test_is_well():\n    pass\n"


@pytest.mark.parametrize(
    "files, option, words",
    [
        (
            [DIES, ENDLESS],
            "session_limit=0",
            ["crashed while running 'test_0.py::test_dies'", "in test_dies"],
        ),
        (
            [ENDLESS, WELL],
            "faulthandler_timeout=1",
            ["crashed while running 'test_0.py::test_hangs'", "in test_hangs"],
        ),
        (
            [ENDLESS, WELL],
            "session_limit=1",
            ["not finished after 1 s; at work: ", "test_0.py::test_hangs\n"],
        ),
    ],
    ids=[
        "a worker dies while another one hangs",
        "a test hangs",
        "the run takes too long",
    ],
)
def test_run_of_pytest_that_crashes_or_hangs_ends_and_names_the_test(
    tmp_path, files, option, words
):
    """The run uses the options of `make test` and its conftest. The main property is
    that it ends at all."""
    for i, text in enumerate(files):
        (tmp_path / f"test_{i}.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        ROOT / "pyproject.toml",
        "-p",
        "conftest",
        "-p",
        "no:nbval",
    ]
    command += ["-o", option, "-n", "2", "--dist", "loadfile", tmp_path]
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ["PYTHONPATH"]])
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    try:
        ran = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": paths},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    said = ran.stdout + ran.stderr
    assert ran.returncode in (
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.INTERRUPTED,
    ), said
    assert all(word in said for word in words), said
