"""What the canary does in the sandbox: it tries to get out. Both the submission and the
driver file of `doctor`.

Each answer returns how far it got, 0 where it was kept in. WHERE is filled in by
`doctor`: files that the grader can read, folders that it can write to, a port and an
abstract socket that it listens on.
"""

import os
import socket
import time

import torch

WHERE: dict = {}


def read_files():
    reached = 0
    for path in WHERE["files"]:
        try:
            with open(path, "rb") as file:
                reached += bool(file.read(1))
        except OSError:
            pass
    return torch.tensor(reached)


def write_files():
    reached = 0
    for folder in WHERE["folders"]:
        try:
            with open(os.path.join(folder, WHERE["written"]), "w") as file:
                file.write("the canary was here")
            reached += 1
        except OSError:
            pass
    return torch.tensor(reached)


def network():
    reached = 0
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", WHERE["port"])),
        (socket.AF_UNIX, WHERE["socket"]),
    ):
        try:
            with socket.socket(family) as connection:
                connection.settimeout(1)
                connection.connect(address)
                reached += 1
        except OSError:
            pass
    return torch.tensor(reached)


def other_processes():
    """Processes in sight that are neither this one, nor the helper, nor the sandbox's
    first."""
    mine = {1, os.getpid(), os.getppid()}
    return torch.tensor(
        sum(
            int(entry) not in mine for entry in os.listdir("/proc") if entry.isdecimal()
        )
    )


def process_storm():
    started = 0
    try:
        while started < WHERE["processes"]:
            if os.fork() == 0:
                time.sleep(10)
                os._exit(0)
            started += 1
    except OSError:
        return torch.tensor(0)
    return torch.tensor(started)


def much_memory():
    try:
        # zeros: only what is touched would be taken
        return torch.tensor(len(bytearray(30 * 10**9)))
    except MemoryError:
        return torch.tensor(0)


def gpu():
    return torch.tensor(
        sum(name.startswith("nvidia") for name in os.listdir("/dev"))
        + torch.cuda.is_available()
    )


def _drive(answer, arrays):
    return {"value": answer()}


drive_read_files = drive_write_files = drive_network = drive_other_processes = _drive
drive_process_storm = drive_much_memory = drive_gpu = _drive
