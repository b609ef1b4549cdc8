"""A test submission (canary) that tries to get out of the sandbox. `doctor` uses this
file both as the submission and as its driver file.

Each answer returns the number of successes, so 0 means that the sandbox refused all
attempts. `doctor` fills in WHERE: files that the grader can read, folders that it can
write to, and a port and an abstract socket on which it listens.
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
    """Counts the visible processes, without this one, the helper, and the first process
    in the sandbox."""
    own = {1, os.getpid(), os.getppid()}
    visible = [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]
    return torch.tensor(sum(pid not in own for pid in visible))


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
        # zeros: this asks for 30 GB of addresses, but uses no physical memory
        return torch.tensor(len(bytearray(30 * 10**9)))
    except MemoryError:
        return torch.tensor(0)


def gpu():
    devices = sum(name.startswith("nvidia") for name in os.listdir("/dev"))
    return torch.tensor(devices + torch.cuda.is_available())


def _drive(answer, arrays):
    return {"value": answer()}


drive_read_files = drive_write_files = drive_network = drive_other_processes = _drive
drive_process_storm = drive_much_memory = drive_gpu = _drive
