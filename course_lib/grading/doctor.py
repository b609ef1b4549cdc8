"""Tests the sandbox before each grading run: a canary runs exactly like a submission
and tries to get out of the sandbox."""

import json
import os
import socket
import tempfile
import uuid
from pathlib import Path

import torch

from course_lib.grading import canary, library
from course_lib.grading.replies import parse
from course_lib.grading.sandbox import Limits, Sandbox, SandboxDied

ATTEMPTS = {
    "read_files": "read the solutions, the grader's files and the home folder",
    "write_files": "write outside",
    "network": "reach the network or a local service",
    "other_processes": "see other processes",
    "process_storm": "start 300 processes",
    "much_memory": "take 30 GB",
    "gpu": "see a GPU",
}
ADVICE = (
    "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap). In a container "
    "bubblewrap needs permission to make namespaces. On Ubuntu 24.04 AppArmor must "
    "allow bwrap. On macOS and Windows there is no bubblewrap: grade in a Linux "
    "virtual machine. Or use a machine without private data and grade with "
    "--no-sandbox."
)


def attempts(isolated: bool = True) -> dict[str, bool | str]:
    """Returns the results of the canary by the names in ATTEMPTS: False if the attempt
    was refused, True if it succeeded, a text if it did not run."""
    with (
        tempfile.TemporaryDirectory() as name,
        socket.socket() as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        place, mark = Path(name), f"canary-{uuid.uuid4().hex}"
        secret = place / "secret"
        secret.write_text("secret")
        tcp.bind(("127.0.0.1", 0))
        unix.bind(f"\0{mark}")
        for listener in (tcp, unix):
            listener.listen()
            listener.setblocking(False)
        course = Path(library.PACKAGE).parent
        files = [
            secret,
            Path(__file__).resolve(),
            *sorted(course.glob("solutions/*.py")),
            Path.home() / ".bashrc",
        ]
        folders = [
            place,
            course,
            Path.home(),
            Path("/"),
            Path("/usr"),
            Path("/etc"),
            Path("/var/tmp"),
        ]
        where = {
            "files": [str(f) for f in files],
            "folders": [str(f) for f in folders],
            "written": mark,
            "port": tcp.getsockname()[1],
            "socket": f"\0{mark}",
            "processes": 300,
        }
        library.copy(place / "library", [])
        drivers, limits = Path(canary.__file__), Limits(seconds=20)
        source = drivers.read_text(encoding="utf-8")
        source = source.replace("WHERE: dict = {}", f"WHERE = {where!r}")
        cell = {"cell_type": "code", "source": source}
        notebook = json.dumps({"cells": [cell], "metadata": {}}).encode()
        found: dict[str, bool | str] = {}
        with Sandbox(
            place / "library", drivers, notebook, limits, 99, isolated
        ) as sandbox:
            for attempt in ATTEMPTS:
                # without a sandbox it would disturb this machine
                if attempt == "process_storm" and not isolated:
                    found[attempt] = True
                    continue
                try:
                    sandbox.start()
                    end, written = sandbox.ask(attempt, {"0/nothing": torch.zeros(1)})
                except SandboxDied as error:
                    found[attempt] = str(error)
                    if sandbox.process is None and "could be started" in str(error):
                        break
                    continue
                found[attempt] = _reached(end, written)
        # Do not trust the canary's report alone: look for its traces from outside.
        for listener in (tcp, unix):
            try:
                listener.accept()[0].close()
                found["network"] = True
            except BlockingIOError:
                pass
        for folder in folders:
            if (folder / mark).exists():
                os.unlink(folder / mark)
                found["write_files"] = True
    return found


def _reached(end: str, written: bytes) -> bool | str:
    if end in ("memory", "processes"):
        return False
    outcome = (parse(written, 1) or [None])[0] if end == "done" else None
    if isinstance(outcome, dict) and "value" in outcome:
        return bool(outcome["value"])
    return f"did not run ({end})"


def require():
    """Raises SandboxDied unless every attempt of the canary was refused."""
    found = attempts()
    open_ = [ATTEMPTS[name] for name in ATTEMPTS if found.get(name) is not False]
    if open_:
        texts = [value for value in found.values() if isinstance(value, str)]
        raise SandboxDied(
            f"the sandbox is not safe: a submission could {'; '.join(open_)}. "
            f"{texts[0] if texts else ''}\n{ADVICE}"
        )


def table() -> tuple[str, bool]:
    """Returns the text that `grade --doctor` prints, and whether the sandbox is
    safe."""
    found = attempts()
    words = {False: "refused", True: "ALLOWED"}
    lines = []
    for name, what in ATTEMPTS.items():
        result = found.get(name, "not tried")
        lines.append(f"{words.get(result, result):10}{what}")
    safe = all(found.get(name) is False for name in ATTEMPTS)
    lines.append(
        "The sandbox is safe." if safe else f"The sandbox is not safe. {ADVICE}"
    )
    return "\n".join(lines), safe
