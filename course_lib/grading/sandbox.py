"""A place for submitted code: bubblewrap, limits, and one helper process in it that
answers exercise after exercise.

Nothing of the machine is there but the Python environment, read-only: no network, no
other processes, no home, no solutions, no other student. Each student gets a sandbox of
their own, so that none can leave anything behind for the next. Being installed proves
nothing: `doctor` tries it before each batch.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from course_lib.grading.inside import REPLY, WAIT, receive, send

GRACE = 15.0  # seconds for the helper itself, beside those of an answer
START = 120.0  # seconds to import torch on a machine that is busy
UNUSED = 61_000  # uids from here on are nobody's on an ordinary machine
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """For each exercise: seconds that an answer may compute (on the clock WAIT times as
    many), bytes of memory beside torch's own, processes and threads."""

    seconds: float = 20.0
    memory: int = 2 << 30
    processes: int = 64


class SandboxDied(OSError):
    """The helper is gone: it was killed, or it could not start (the message says what
    it said)."""


class Sandbox:
    """Starts when it is first needed; a context manager. number: two sandboxes at a
    time need two numbers."""

    def __init__(
        self,
        library: Path,
        drivers: Path,
        notebook: bytes,
        limits: Limits,
        number: int = 0,
        isolated=True,
    ):
        self.library, self.drivers, self.notebook, self.limits = (
            library,
            drivers,
            notebook,
            limits,
        )
        self.uid, self.isolated = UNUSED + number, isolated
        self.process: subprocess.Popen | None = None
        self.group: Path | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Has the helper ready; does nothing where it is. Raises SandboxDied where it
        cannot start."""
        if self.process is not None:
            return
        self._start()
        try:
            self._exchange(START, [self.notebook], 1)
        except SandboxDied as error:
            raise SandboxDied(f"no sandbox could be started: {error}") from None

    def ask(self, name: str, arrays: dict[str, Tensor]) -> tuple[str, bytes]:
        """Has the notebook's answer `name` run on `arrays` ("i/part" is case i's): how
        it ended, what it wrote.

        Raises SandboxDied when the helper does not reply; `start` makes another one.
        """
        self.start()
        end, written = self._exchange(
            WAIT * self.limits.seconds + GRACE, [name.encode(), save(arrays)], 2
        )
        return end.decode(errors="replace"), written

    def _exchange(
        self, seconds: float, frames: list[bytes], replies: int
    ) -> list[bytes]:
        # for a helper that was stopped: its pipes then end
        watch = threading.Timer(seconds, self._kill)
        watch.start()
        try:
            send(self.process.stdin.write, *frames)
            self.process.stdin.flush()
            return [
                receive(self.process.stdout.read, REPLY + (2 << 20))
                for _ in range(replies)
            ]
        except (OSError, EOFError, ValueError):
            said = self._said()
            self.close()
            raise SandboxDied(said or "no reply") from None
        finally:
            watch.cancel()

    def _said(self) -> str:
        """The last line that the helper, or bubblewrap, left on stderr."""
        self._kill()
        return (
            self.process.stderr.read(1 << 16)
            .decode(errors="replace")
            .strip()
            .rpartition("\n")[2]
        )

    def _kill(self):
        """Ends the helper, the first process in the sandbox: everything inside goes
        with it."""
        if process := self.process:
            try:
                children = (
                    Path(f"/proc/{process.pid}/task/{process.pid}/children")
                    .read_text()
                    .split()
                )
                # of another uid: it does not end with bubblewrap
                for pid in map(int, children):
                    os.kill(pid, signal.SIGKILL)
                if children and self.isolated:
                    # bubblewrap reaps it: what is left of it counts as a process of
                    # that uid
                    process.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                pass
            process.kill()

    def _start(self):
        limits = {
            **asdict(self.limits),
            "isolated": self.isolated,
            "uid": self.uid if self.isolated else 0,
        }
        python = [sys.executable, "-m", "course_lib.grading.inside", json.dumps(limits)]
        if self.isolated:
            command, environment = (
                [*self._bubblewrap(), *python, "/grading/drivers.py"],
                {},
            )
        else:
            command, environment = (
                [*python, str(self.drivers)],
                os.environ | _environment(self.library),
            )
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",  # not where the grader is: the library itself may be there
            start_new_session=True,
        )
        if self.isolated:
            self.group = cgroup(self.process.pid, self.limits)

    def _bubblewrap(self) -> list[str]:
        bwrap = shutil.which("bwrap")
        if not bwrap:
            raise SandboxDied("bubblewrap (`bwrap`) is not installed")
        words = [
            bwrap,
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]
        # mounts as root, then the helper takes an unused uid before it reads anything
        if os.getuid() == 0:
            words += [
                "--cap-drop",
                "ALL",
                "--cap-add",
                "CAP_SETUID",
                "--cap-add",
                "CAP_SETGID",
            ]
        else:
            words += ["--unshare-user"]
        words += ["--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"]
        for name, value in _environment(Path("/grading/library")).items():
            words += ["--setenv", name, value]
        for folder in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"):
            if os.path.islink(folder):
                words += ["--symlink", os.readlink(folder), folder]
            else:
                words += ["--ro-bind-try", folder, folder]
        # Zeros can be mapped as memory that belongs to no process; a tmpfs of
        # bubblewrap's own knows no limit.
        words += [
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--dev-bind",
            "/dev/null",
            "/dev/zero",
            "--remount-ro",
            "/dev",
        ]
        for folder in ("/tmp", "/dev/shm"):  # first: Python may be in a folder of /tmp
            words += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", folder]
        parents = {"/grading": None} | {
            str(p): None for f in _python() for p in [*Path(f).parents][-2::-1]
        }
        for folder in parents:  # made with a mode of their own, or only root could pass
            words += ["--perms", "0755", "--dir", folder]
        for folder in _python():
            words += ["--ro-bind", folder, folder]
        installed = {
            *Path(sys.prefix).glob("lib*/python*/*-packages/course_lib"),
            _packages() / "course_lib",
        }
        # has the graded symbols
        for folder in map(str, filter(Path.is_dir, installed)):
            words += ["--tmpfs", folder, "--remount-ro", folder]
        words += ["--ro-bind", str(self.library), "/grading/library"]
        words += ["--ro-bind", str(self.drivers), "/grading/drivers.py"]
        return [*words, "--remount-ro", "/", "--chdir", "/", "--"]

    def close(self):
        """Ends everything in the sandbox."""
        if self.process is not None:
            self._kill()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                try:
                    pipe.close()
                except OSError:
                    pass
            self.process.wait()
            self.process = None
        if self.group is not None:
            try:
                self.group.rmdir()
            except OSError:  # still dying; an empty group costs nothing
                pass
            self.group = None


def _environment(library: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONPATH": f"{library}:{_packages()}",
        "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "COURSE_BUDGET": "smoke", "MPLBACKEND": "agg",
    }  # fmt: skip


def _packages() -> Path:
    return Path(torch.__file__).parents[1]


def _python() -> list[str]:
    """The folders that Python and torch are in, those in /usr left out."""
    executable = Path(os.path.realpath(sys.executable))
    wanted = {
        sys.prefix,
        sys.base_prefix,
        os.path.realpath(sys.base_prefix),
        str(executable.parents[1]),
    }
    wanted.add(str(_packages()))
    kept: list[str] = []
    for folder in sorted(wanted):  # a parent comes before what is in it
        if not any(
            folder == other or folder.startswith(f"{other}/")
            for other in ["/usr", *kept]
        ):
            kept.append(folder)
    return kept


def cgroup(pid: int, limits: Limits) -> Path | None:
    """Puts the process into a control group (version 2) of its own with the limits;
    None where that is not allowed.

    The kernel then enforces what the helper otherwise looks at fifty times a second.
    """
    try:
        own = next(
            line
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        group = CGROUPS / own[3:].lstrip("/") / f"grading-{pid}"
        group.mkdir()
        if not (group / "cgroup.procs").exists():  # no control group, only a folder
            group.rmdir()
            return None
    except (OSError, StopIteration):
        return None
    try:
        (group / "memory.max").write_text(str(limits.memory + (2 << 30)))
        (group / "memory.swap.max").write_text("0")
        (group / "pids.max").write_text(str(limits.processes + 16))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        group.rmdir()
        return None
    return group
