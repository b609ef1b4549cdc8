"""No test reaches the network. With CI=true a test may be skipped only for lack of
CUDA. Every run has a time limit.

pyproject.toml has the limits: ten times the time of the slowest test, and five times
that of `make test` on two cores. A test that hangs is ended with a traceback of all
threads (`faulthandler_timeout`), and its worker with it.
"""

import gc
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import threading

import pytest

OFFLINE = str(pathlib.Path(__file__).parent / "offline")
skipped = []

# No test, and no notebook that a test runs, writes the user's own progress.
os.environ["COURSE_PROGRESS"] = "off"
# subprocesses, kernels and workers inherit it
if OFFLINE not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (OFFLINE, os.environ.get("PYTHONPATH")))
    )
    runpy.run_path(os.path.join(OFFLINE, "sitecustomize.py"))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collection only makes objects that stay. To look for garbage among them would
    take a third of its time, and in the tests half a second each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def copied():
    """copied(to) copies the clone's own files to that folder, not what builds, runs and
    caches left there."""
    ignored = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "runs", "*.egg-info"
    )
    return lambda to: shutil.copytree(
        pathlib.Path(__file__).parents[1], to, ignore=ignored
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory, copied):
    """course_lib as a wheel, built without a network and in a copy: a build leaves
    files beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = copied(folder / "clone")
    command = [
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        clone,
    ]
    subprocess.run([sys.executable, *command], check=True)
    (built,) = folder.glob("*.whl")
    return built


def pytest_addoption(parser):
    parser.addini("session_limit", "seconds that a whole run may take", default="0")


class Clock:
    """Ends the run, and says which tests are at work, so many seconds after the first
    one began."""

    def __init__(self, seconds):
        self.seconds, self.running = seconds, {}
        self.timer = threading.Timer(seconds, self.end)
        self.timer.daemon = True

    def pytest_runtest_logstart(self, nodeid):
        self.running[nodeid] = True
        if self.timer.ident is None:
            self.timer.start()

    def pytest_runtest_logfinish(self, nodeid):
        self.running.pop(nodeid, None)

    def end(self):
        at_work = ", ".join(self.running) or "no test"
        print(
            f"\nnot finished after {self.seconds:g} s; at work: {at_work}",
            file=sys.__stderr__,
            flush=True,
        )
        # an interrupt is ignored where a shell started the run in the background
        os._exit(pytest.ExitCode.INTERRUPTED)


def pytest_configure(config):
    seconds = float(config.getini("session_limit"))
    if seconds and not hasattr(config, "workerinput"):  # one clock for all workers
        config.pluginmanager.register(clock := Clock(seconds))
        config.add_cleanup(clock.timer.cancel)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    # xdist's report of a dead worker; the others would go on with what they have in
    # hand
    if report.when == "???":
        pytest.exit(report.longrepr, returncode=pytest.ExitCode.TESTS_FAILED)
    note_skipped(report)


def note_skipped(report):
    if report.skipped:
        reason = (
            report.longrepr[2]
            if isinstance(report.longrepr, tuple)
            else str(report.longrepr)
        )
        if "CUDA" not in reason:
            skipped.append(f"{report.nodeid}: {reason}")


def pytest_collection_modifyitems(items):
    # macOS, Windows, a Linux without it; `.ci/run` installs it
    if shutil.which("bwrap") is None:
        for item in items:
            if item.path.name.startswith(("test_grading", "test_instructors")):
                item.add_marker(pytest.mark.skip(reason="bubblewrap is not installed"))


pytest_collectreport = note_skipped  # a module skipped as a whole


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    if skipped and os.environ.get("CI") == "true" and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.section(
            "skipped, and not for want of CUDA: this fails the run"
        )
        terminalreporter.write_line("\n".join(skipped))
