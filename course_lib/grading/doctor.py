"""Tries the sandbox before it is trusted: a canary goes through the very path of a
submission and tries to get out."""

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
    "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap). In a container it "
    "needs the right to make "
    "namespaces; on Ubuntu 24.04 AppArmor must allow bwrap; macOS and Windows have "
    "none: grade in a Linux virtual "
    "machine. Or, on a machine that holds nothing of value, grade with --no-sandbox."
)


def attempts(isolated: bool = True) -> dict[str, bool | str]:
    """What the canary could do, by ATTEMPTS: False: kept in, True: got out; a word
    where it did not run."""
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
            "files": [str(f) for f in files], "folders": [str(f) for f in folders], "written": mark,
            "port": tcp.getsockname()[1], "socket": f"\0{mark}", "processes": 300,
        }  # fmt: skip
        library.copy(place / "library", [])
        source = (
            Path(canary.__file__)
            .read_text(encoding="utf-8")
            .replace("WHERE: dict = {}", f"WHERE = {where!r}")
        )
        notebook = json.dumps(
            {"cells": [{"cell_type": "code", "source": source}], "metadata": {}}
        ).encode()
        found: dict[str, bool | str] = {}
        with Sandbox(
            place / "library",
            Path(canary.__file__),
            notebook,
            Limits(seconds=20),
            99,
            isolated,
        ) as sandbox:
            for attempt in ATTEMPTS:
                # it would hit this machine
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
        # what it says it could not do is looked at from out here
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
    return (
        bool(outcome["value"])
        if isinstance(outcome, dict) and "value" in outcome
        else f"did not run ({end})"
    )


def require():
    """Raises SandboxDied unless every attempt of the canary was refused."""
    found = attempts()
    open_ = [ATTEMPTS[name] for name in ATTEMPTS if found.get(name) is not False]
    if open_:
        said = next((value for value in found.values() if isinstance(value, str)), "")
        raise SandboxDied(
            f"the sandbox does not hold: a submission could {'; '.join(open_)}. "
            f"{said}\n{ADVICE}"
        )


def table() -> tuple[str, bool]:
    """What `grade --doctor` prints, and whether the sandbox holds."""
    found = attempts()
    words = {False: "refused", True: "ALLOWED"}
    lines = [
        f"{words.get(found.get(name, 'not tried'), found.get(name, 'not tried')):10}{what}"
        for name, what in ATTEMPTS.items()
    ]
    holds = all(found.get(name) is False for name in ATTEMPTS)
    return "\n".join(
        [
            *lines,
            "The sandbox holds." if holds else f"The sandbox does not hold. {ADVICE}",
        ]
    ), holds
