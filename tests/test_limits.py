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


# Files of tests, an option, what the output says
RUNS = {
    "a worker dies while another one hangs": (
        [DIES, ENDLESS],
        "session_limit=0",
        ["crashed while running 'test_0.py::test_dies'", "in test_dies"],
    ),
    "a test hangs": (
        [ENDLESS, WELL],
        "faulthandler_timeout=1",
        ["crashed while running 'test_0.py::test_hangs'", "in test_hangs"],
    ),
    "the run takes too long": (
        [ENDLESS, WELL],
        "session_limit=1",
        ["not finished after 1 s; at work: ", "test_0.py::test_hangs\n"],
    ),
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """All runs, at the same time: a worker that hangs ends only 15 s after its run.

    They use the options of `make test` and its conftest, and of the plugins only xdist:
    others take seconds to import in each process.
    """
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ["PYTHONPATH"]])
    settings = {"PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    runs = {}
    try:
        for name, (files, option, _) in RUNS.items():
            folder = tmp_path_factory.mktemp("run")
            for i, text in enumerate(files):
                (folder / f"test_{i}.py").write_text(text)
            command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml"]
            command += ["-p", "conftest", "-p", "xdist", "-o", option]
            runs[name] = subprocess.Popen(
                [*command, "-n", "2", "--dist", "loadfile", folder],
                env=os.environ | settings,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
    finally:
        signal.signal(signal.SIGINT, handler)
    yield runs
    for run in runs.values():
        run.kill()
        run.wait()


@pytest.mark.parametrize("name", RUNS)
def test_run_of_pytest_that_crashes_or_hangs_ends_and_names_the_test(started, name):
    """The main property is that it ends at all, with its workers."""
    said, _ = started[name].communicate(timeout=600)
    assert started[name].returncode in (
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.INTERRUPTED,
    ), said
    assert all(word in said for word in RUNS[name][2]), said
