"""The grader's helper inside the sandbox: it has imported torch once, and forks a
process for each exercise.

It runs course code only. The forked process runs the submission: it reads the notebook,
calls the answer on arrays and writes arrays back. The helper enforces the limits on it,
and removes whatever it left running. Nothing here knows what is right, and nothing that
comes out is trusted.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # until all is imported: a tenth off the time that each student costs

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

import course_lib.losses  # noqa: F401  what an exercise's notebook is likely to import is there already
import course_lib.teacher  # noqa: F401
import course_lib.train  # noqa: F401
from course_lib.grading import syscalls
from course_lib.grading.answers import Unreadable, code_cells, outcomes
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import load_module

REPLY = 32 << 20  # bytes of one answer's outputs at most
FAILURES, LINE = 1 << 20, 120  # bytes of how it failed, characters of a line in it
PR_SET_DUMPABLE = 4
# times the limit: seconds on the clock, for an answer that waits or a machine that is
# busy
WAIT = 3
# What torch imports for seconds when it is first used.
IMPORTS = re.compile(
    rb"torch\.(optim|func)\b|import (optim|func)\b|functorch|utils\.checkpoint"
)
SCRATCH = tempfile.gettempdir()


def send(write: Callable[[bytes], object], *frames: bytes):
    for frame in frames:
        write(struct.pack(">Q", len(frame)) + frame)


def receive(read: Callable[[int], bytes], limit: int) -> bytes:
    """One frame. Raises EOFError where there is none, ValueError where it is longer
    than `limit` bytes."""
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
    """The limits of the process that runs a submission: they hold for what it starts,
    too, and cannot be taken back."""
    address_space = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        + limits["memory"]
    )
    if limits["isolated"]:  # elsewhere the user's other processes would be counted
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
    """Runs in the forked process: the answer's outputs into the pipe."""
    cases = [{} for _ in range(1 + max(int(key.split("/")[0]) for key in arrays))]
    for key, array in arrays.items():
        i, _, part = key.partition("/")
        cases[int(i)][part] = array
    with os.fdopen(pipe, "wb") as file:
        try:
            for found in outcomes(code_cells(notebook), name, drive, cases):
                reply(file, found)
        except Unreadable as error:
            reply(file, [Failure("Unreadable", str(error))] * len(cases))


def reply(file, found: list):
    """Two frames: the failures, and the outputs."""
    failures = {
        i: [o.type, o.line[:LINE], o.message[:LINE]]
        for i, o in enumerate(found)
        if isinstance(o, Failure)
    }
    outputs = {
        f"{i}/{key}": value
        for i, o in enumerate(found)
        if isinstance(o, dict)
        for key, value in o.items()
    }
    send(file.write, json.dumps(failures).encode(), save(outputs))
    file.flush()


def usage() -> tuple[int, int]:
    """Bytes of memory that are their own, and number, of the processes in the sandbox
    beside this one."""
    memory = count = 0
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                _, resident, shared, *_ = (
                    Path(f"/proc/{entry}/statm").read_text().split()
                )
            except OSError:  # gone meanwhile
                continue
            memory += (int(resident) - int(shared)) * resource.getpagesize()
            count += 1
    return memory, count


def computed(pid: int) -> float:
    """Seconds that a process, which was not waited for yet, has computed: all its
    threads, not what it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def supervise(pid: int, pipe: int, limits: dict) -> tuple[str, bytes]:
    """How the forked process ended ("done", or which limit it broke), and what it
    wrote."""
    deadline, written, end = (
        time.monotonic() + WAIT * limits["seconds"],
        bytearray(),
        "",
    )
    finished = status = 0
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(pid)
    baseline = usage()[0] if limits["isolated"] else 0
    grader = select.poll()
    # tells when the other end is closed, and nothing else
    grader.register(sys.stdin, 0)
    while not end:
        select.select([pipe, ended], [], [], 0.02)
        # the first process inherits orphans
        while not finished and (child := os.waitpid(-1, os.WNOHANG))[0]:
            finished, status = child if child[0] == pid else (0, 0)
        try:
            while len(written) <= REPLY and (chunk := os.read(pipe, 1 << 20)):
                written += chunk
            if not finished:  # it closed its end and lives on
                select.select([ended], [], [], 0.02)
        except BlockingIOError:
            pass
        memory, processes = usage() if limits["isolated"] else (0, 0)
        if finished:
            end = "done" if status == 0 else "died"
        elif len(written) > REPLY:
            end = "too much output"
        # nobody waits for it
        elif (
            computed(pid) > limits["seconds"]
            or time.monotonic() > deadline
            or grader.poll(0)
        ):
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
    """Ends everything that the submission started. Outside a sandbox -1 would be
    everything of this user."""
    for kill, whom in (
        [(os.kill, -1)] if isolated else [(os.killpg, pid), (os.kill, pid)]
    ):
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
    """Answers one exercise in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            # a flood of output goes nowhere; the way to the grader is closed
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            os.closerange(3, min(reader, writer))
            os.close(reader)
            os.chdir(SCRATCH)  # the helper itself would import what lies there
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
    """First uses of what torch imports only then, for 1 to 8 seconds. It leaves the
    environment as it was."""
    environment = dict(os.environ)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    torch.func.grad(torch.sin)(torch.zeros(()))
    os.environ.clear()
    os.environ.update(environment)


def main(limits: dict, drivers: Path):
    """The notebook in, "ready" out. Then for each exercise: name and arrays in; how it
    ended, what was written out."""
    if os.getuid() == 0 and limits["uid"]:  # limits on processes do nothing for root
        os.setgroups([])
        os.setresgid(*3 * [limits["uid"]])
        os.setresuid(*3 * [limits["uid"]])
    # a fork of the same user cannot look into this process
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if limits["isolated"]:
        syscalls.refuse()
    torch.set_num_threads(1)
    read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
    drive = vars(load_module(drivers))
    notebook = receive(read, 1 << 30)
    # here, once: in an answer it would count as the answer's time
    if IMPORTS.search(notebook + drivers.read_bytes()):
        warm()
    gc.freeze()  # the forks then share more of this process's memory
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
