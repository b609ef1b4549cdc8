"""The sandbox for submitted code: bubblewrap, limits, and one helper process inside
that runs the answers, exercise after exercise.

Of the machine's files, the sandbox has only the system's programs and libraries (/usr),
the Python environment, the library and the drivers, all read-only. It has no network,
no other processes, no home folder, no solutions and no files of other students. Each
student gets a new sandbox, so that no submission can affect the next one. An installed
bubblewrap does not guarantee all this, so `doctor` tests the sandbox before each batch.
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

GRACE = 15.0  # seconds for the helper itself, in addition to those of an answer
START = 120.0  # seconds to import torch on a busy machine
UNUSED = 61_000  # an ordinary machine has no users with uids from here on
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """The limits for each exercise: seconds of computing time (WAIT times as many on
    the clock), bytes of memory in addition to torch's own, number of processes and
    threads."""

    seconds: float = 20.0
    memory: int = 2 << 30
    processes: int = 64


class SandboxDied(OSError):
    """The helper has ended: it was killed, or it could not start. The message is its
    last line on stderr."""


class Sandbox:
    """A sandbox for one notebook, as a context manager. It starts when it is first
    needed. number: sandboxes that run at the same time need different numbers."""

    def __init__(
        self,
        library: Path,
        drivers: Path,
        notebook: bytes,
        limits: Limits,
        number: int = 0,
        isolated=True,
    ):
        self.library, self.drivers = library, drivers
        self.notebook, self.limits = notebook, limits
        self.uid, self.isolated = UNUSED + number, isolated
        self.process: subprocess.Popen | None = None
        self.group: Path | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Starts the helper; does nothing if it is running. Raises SandboxDied if it
        cannot start."""
        if self.process is not None:
            return
        self._start()
        try:
            self._exchange(START, [self.notebook], 1)
        except SandboxDied as error:
            raise SandboxDied(f"no sandbox could be started: {error}") from None

    def ask(self, name: str, arrays: dict[str, Tensor]) -> tuple[str, bytes]:
        """Runs the notebook's answer `name` on `arrays`, whose keys are "CASE/NAME".
        Returns how the answer ended, and the bytes that it wrote.

        Raises SandboxDied if the helper does not reply; `start` starts another one.
        """
        self.start()
        end, written = self._exchange(
            WAIT * self.limits.seconds + GRACE, [name.encode(), save(arrays)], 2
        )
        return end.decode(errors="replace"), written

    def _exchange(
        self, seconds: float, frames: list[bytes], replies: int
    ) -> list[bytes]:
        # If the helper hangs, the timer kills it, and reading from its pipes ends.
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
        """Ends the helper. Returns the last line that the helper or bubblewrap wrote to
        stderr."""
        self._kill()
        text = self.process.stderr.read(1 << 16).decode(errors="replace")
        return text.strip().rpartition("\n")[2]

    def _kill(self):
        """Ends the helper. It is the first process in the sandbox, so all processes
        inside end with it."""
        if process := self.process:
            task = Path(f"/proc/{process.pid}/task/{process.pid}")
            try:
                children = (task / "children").read_text().split()
                # The helper has another uid, so it does not end with bubblewrap.
                for pid in map(int, children):
                    os.kill(pid, signal.SIGKILL)
                if children and self.isolated:
                    # Until bubblewrap reaps it, it counts as a process of its uid.
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
            command = [*self._bubblewrap(), *python, "/grading/drivers.py"]
            environment = {}
        else:
            command = [*python, str(self.drivers)]
            environment = os.environ | _environment(self.library)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",  # the grader's folder may contain the library itself
            start_new_session=True,
        )
        if self.isolated:
            self.group = cgroup(self.process.pid, self.limits)

    def _bubblewrap(self) -> list[str]:
        bwrap = shutil.which("bwrap")
        if not bwrap:
            raise SandboxDied("bubblewrap (`bwrap`) is not installed")
        words = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net"]
        words += ["--unshare-uts", "--unshare-cgroup-try"]
        # bubblewrap mounts as root; the helper takes an unused uid before it reads
        # anything.
        if os.getuid() == 0:
            words += ["--cap-drop", "ALL"]
            words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
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
        # /dev/zero could be mapped as memory that belongs to no process. The folder
        # /dev of bubblewrap has no size limit, so it becomes read-only.
        words += ["--proc", "/proc", "--dev", "/dev"]
        words += ["--dev-bind", "/dev/null", "/dev/zero", "--remount-ro", "/dev"]
        # Before the folders of Python, which may be inside /tmp.
        for folder in ("/tmp", "/dev/shm"):
            words += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", folder]
        parents = {"/grading": None} | {
            str(p): None for f in _python() for p in [*Path(f).parents][-2::-1]
        }
        # Made with an explicit mode; otherwise only root could enter them.
        for folder in parents:
            words += ["--perms", "0755", "--dir", folder]
        for folder in _python():
            words += ["--ro-bind", folder, folder]
        installed = {
            *Path(sys.prefix).glob("lib*/python*/*-packages/course_lib"),
            _packages() / "course_lib",
        }
        # An installed course_lib contains the graded symbols: hide it.
        for folder in map(str, filter(Path.is_dir, installed)):
            words += ["--tmpfs", folder, "--remount-ro", folder]
        words += ["--ro-bind", str(self.library), "/grading/library"]
        words += ["--ro-bind", str(self.drivers), "/grading/drivers.py"]
        return [*words, "--remount-ro", "/", "--chdir", "/", "--"]

    def close(self):
        """Ends all processes in the sandbox."""
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
            except OSError:  # a process has not ended yet; an empty group does no harm
                pass
            self.group = None


def _environment(library: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{library}:{_packages()}",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COURSE_BUDGET": "smoke",
        "COURSE_PROGRESS": "off",
        "MPLBACKEND": "agg",
    }


def _packages() -> Path:
    return Path(torch.__file__).parents[1]


def _python() -> list[str]:
    """Returns the folders that contain Python and torch, without those in /usr."""
    executable = Path(os.path.realpath(sys.executable))
    wanted = {
        sys.prefix,
        sys.base_prefix,
        os.path.realpath(sys.base_prefix),
        str(executable.parents[1]),
    }
    wanted.add(str(_packages()))
    kept: list[str] = []
    for folder in sorted(wanted):  # a folder comes before its subfolders
        known = ("/usr", *kept)
        if folder not in known and not folder.startswith(tuple(f"{k}/" for k in known)):
            kept.append(folder)
    return kept


def cgroup(pid: int, limits: Limits) -> Path | None:
    """Puts the process into a new control group (version 2) with the limits. Returns
    the group's folder, or None if that is not allowed.

    The kernel then enforces the limits in addition to the helper, which tests them only
    about fifty times a second.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line for line in lines if line.startswith("0::"))
        group = CGROUPS / own[3:].lstrip("/") / f"grading-{pid}"
        group.mkdir()
        # It is an ordinary folder, not a control group.
        if not (group / "cgroup.procs").exists():
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
