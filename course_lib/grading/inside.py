"""The grader's helper process inside the sandbox. It imports torch once and forks a
process for each exercise.

The helper runs course code only. The forked process runs the submission: it reads the
notebook, calls the answer on arrays and writes arrays back. The helper enforces the
limits on the forked process, and ends all processes that it started. Nothing here
contains an expected value, and the grader does not trust the output.
"""

import gc

if __name__ == "__main__":
    # During the imports: saves a tenth of the time per student.
    gc.disable()

import ctypes
import json
import os
import re
import resource
import select
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.numpy import save
from safetensors.torch import load

# What an exercise's notebook is likely to import is imported here, once.
import course_lib.losses  # noqa: F401
import course_lib.teacher  # noqa: F401
import course_lib.train  # noqa: F401
from course_lib.grading import syscalls
from course_lib.grading.answers import Outcomes, outcomes
from course_lib.grading.cells import Unreadable, code_cells
from course_lib.grading.drive import Failure, load_module

REPLY = 32 << 20  # most bytes of one answer's outputs
FAILURES = 1 << 20  # most bytes of the description of the failures
LINE = 120  # most characters of one of its lines
SKIPPED = "skipped"
PR_SET_DUMPABLE = 4
# The limit on the clock is WAIT times the limit of computing time, because an answer
# may wait and the machine may be busy.
WAIT = 3
# Uses of the parts of torch that take seconds to import when they are first used.
IMPORTS = re.compile(
    rb"torch\.(optim|func)\b|import (optim|func)\b|functorch|utils\.checkpoint"
)
SCRATCH = tempfile.gettempdir()


def send(write: Callable[[bytes], object], *frames: bytes):
    """Writes each frame as its length (8 bytes) and its bytes."""
    for frame in frames:
        write(struct.pack(">Q", len(frame)) + frame)


def receive(read: Callable[[int], bytes], limit: int) -> bytes:
    """Returns one frame. Raises EOFError if there is no whole frame, ValueError if it
    is longer than `limit` bytes."""
    head = read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack(">Q", head)
    if size > limit:
        raise ValueError(f"a frame of {size} bytes")
    frame = read(size)
    if len(frame) < size:
        raise EOFError
    return frame


def restrict(limits: dict):
    """Limits the process that runs a submission. The limits also apply to all processes
    that it starts, and they cannot be removed again."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + limits["memory"]
    if limits["isolated"]:  # elsewhere the user's other processes would count too
        resource.setrlimit(resource.RLIMIT_NPROC, 2 * (limits["processes"],))
    for which, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, int(limits["seconds"]) + 5),
        (resource.RLIMIT_FSIZE, 64 << 20),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(which, (value, value))


def answer(
    notebook: bytes,
    drive: Callable,
    name: str,
    arrays: dict[str, torch.Tensor],
    pipe: int,
):
    """Runs in the forked process: writes the answer's outputs into the pipe. The keys
    of `arrays` are "CASE/NAME"."""
    cases = [{} for _ in range(1 + max(int(key.split("/")[0]) for key in arrays))]
    for key, array in arrays.items():
        i, _, part = key.partition("/")
        cases[int(i)][part] = array
    with os.fdopen(pipe, "wb") as file:
        try:
            for found in outcomes(code_cells(notebook), name, drive, cases):
                reply(file, found)
        except Unreadable as error:
            reply(file, Outcomes([Failure("Unreadable", "", str(error))] * len(cases)))


def reply(file, found: Outcomes):
    """Writes two frames: the failures and the outputs of all cases. The failures also
    have the key SKIPPED, if a statement was skipped."""
    failures = {
        i: [o.type, o.line[:LINE], o.message[:LINE]]
        for i, o in enumerate(found)
        if isinstance(o, Failure)
    }
    if found.skipped:
        failures[SKIPPED] = [found.skipped.type, found.skipped.line[:LINE], ""]
    outputs = {
        f"{i}/{key}": value
        for i, o in enumerate(found)
        if isinstance(o, dict)
        for key, value in o.items()
    }
    send(file.write, json.dumps(failures).encode(), save(outputs))
    file.flush()


def usage() -> tuple[int, int]:
    """Returns the memory (in bytes, without shared memory) and the number of the other
    processes in the sandbox."""
    memory = count = 0
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                fields = Path(f"/proc/{entry}/statm").read_text().split()
            except OSError:  # the process has ended
                continue
            _, resident, shared, *_ = fields
            memory += (int(resident) - int(shared)) * resource.getpagesize()
            count += 1
    return memory, count


def computed(pid: int) -> float:
    """Returns the computing time of a process in seconds: of all its threads, without
    the processes that it started. Nobody may have waited for the process yet."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def supervise(pid: int, pipe: int, limits: dict) -> tuple[str, bytes]:
    """Waits for the forked process. Returns how it ended ("done", "died", or the limit
    that it broke), and the bytes that it wrote."""
    deadline = time.monotonic() + WAIT * limits["seconds"]
    written, end = bytearray(), ""
    finished = status = 0
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(pid)
    baseline = usage()[0] if limits["isolated"] else 0
    grader = select.poll()
    # with no events: reports only that the grader has closed its end
    grader.register(sys.stdin, 0)
    while not end:
        select.select([pipe, ended], [], [], 0.02)
        # This is the first process in the sandbox, so it also inherits orphans.
        while not finished and (child := os.waitpid(-1, os.WNOHANG))[0]:
            finished, status = child if child[0] == pid else (0, 0)
        try:
            while len(written) <= REPLY and (chunk := os.read(pipe, 1 << 20)):
                written += chunk
            if not finished:  # it closed the pipe but is still running
                select.select([ended], [], [], 0.02)
        except BlockingIOError:
            pass
        memory, processes = usage() if limits["isolated"] else (0, 0)
        if finished:
            end = "done" if status == 0 else "died"
        elif len(written) > REPLY:
            end = "too much output"
        elif computed(pid) > limits["seconds"] or time.monotonic() > deadline:
            end = "time"
        elif grader.poll(0):  # the grader does not wait any more
            end = "time"
        elif memory - baseline > limits["memory"]:
            end = "memory"
        elif processes > limits["processes"]:
            end = "processes"
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        end = "time"
    os.close(ended)
    clean(pid, limits["isolated"])
    return end, bytes(written)


def clean(pid: int, isolated: bool):
    """Ends all processes that the submission started. -1 means all processes of the
    sandbox; outside a sandbox it would mean all processes of this user."""
    without_sandbox = [(os.killpg, pid), (os.kill, pid)]
    for kill, whom in [(os.kill, -1)] if isolated else without_sandbox:
        try:
            kill(whom, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def forked(
    notebook: bytes, drive: Callable, name: str, arrays: dict, limits: dict
) -> tuple[str, bytes]:
    """Runs the answer to one exercise in a new process. Returns how the process ended
    and the bytes that it wrote."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            # Discards all printed output, and closes the connection to the grader.
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            os.closerange(3, min(reader, writer))
            os.close(reader)
            # Only here: the helper itself would import files of this folder.
            os.chdir(SCRATCH)
            restrict(limits)
            answer(notebook, drive, name, arrays, writer)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writer)
    try:
        return supervise(pid, reader, limits)
    finally:
        os.close(reader)


def warm():
    """Uses the parts of torch that are imported only at their first use, which takes 1
    to 8 seconds. Restores the environment variables."""
    environment = dict(os.environ)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    torch.func.grad(torch.sin)(torch.zeros(()))
    os.environ.clear()
    os.environ.update(environment)


def main(limits: dict, drivers: Path):
    """Reads the notebook and replies "ready". Then, for each exercise, reads its name
    and arrays, and replies how the answer ended and what it wrote."""
    # The limit on processes has no effect for root.
    if os.getuid() == 0 and limits["uid"]:
        os.setgroups([])
        os.setresgid(*3 * [limits["uid"]])
        os.setresuid(*3 * [limits["uid"]])
    # A forked process of the same user then cannot read this process.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if limits["isolated"]:
        syscalls.refuse()
    torch.set_num_threads(1)
    read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
    drive = vars(load_module(drivers))
    notebook = receive(read, 1 << 30)
    # Once, and here: inside an answer it would count as the answer's time.
    text = notebook.replace(b"\0", b"")  # the ASCII characters of UTF-16
    if IMPORTS.search(text) or IMPORTS.search(drivers.read_bytes()):
        warm()
    gc.freeze()  # the forked processes then share more of this process's memory
    gc.enable()
    send(write, b"ready")
    sys.stdout.buffer.flush()
    while True:
        try:
            name = receive(read, 1 << 10).decode()
        except EOFError:
            return
        arrays = load(receive(read, 1 << 30))
        end, written = forked(notebook, drive[f"drive_{name}"], name, arrays, limits)
        send(write, end.encode(), written)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
