"""Refuses system calls that give a process memory which no limit counts, or the rights
of a new user namespace.

The limits count the memory of processes and of /tmp and /dev/shm. They do not count a
file in memory that nobody maps (memfd, System V) or shared memory without a file. In a
new user namespace a process could mount any number of further file systems in memory.
"""

import ctypes
import errno
import platform
import struct

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
# Instructions of the filter's language, BPF.
LOAD, EQUAL, ABOVE, ANY, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
NEW_NAMESPACES = 0x7E020000  # flags of clone
SHARED_WITHOUT_FILE = 0x21  # flags of mmap
# Numbers: the architecture; shmget, unshare, memfd_create, memfd_secret,
# io_uring_setup; clone3, clone, mmap.
MACHINES = {
    "x86_64": (0xC000003E, (29, 272, 319, 447, 425), 435, 56, 9),
    "aarch64": (0xC00000B7, (194, 97, 279, 447, 425), 435, 220, 222),
}


def refuse():
    """Makes these calls fail from now on, in this process and in all processes that it
    starts. Does nothing if the processor is of another kind than MACHINES lists."""
    if platform.machine() not in MACHINES:
        return
    architecture, refused, clone3, clone, mmap = MACHINES[platform.machine()]
    no = RETURN, 0, 0, REFUSE | errno.EPERM
    program = [
        (LOAD, 0, 0, 4),  # the architecture, because 32-bit calls have other numbers
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, 0),  # the call's number
        (ABOVE, 0, 1, 0x40000000),
        (RETURN, 0, 0, KILL),
        # A filter cannot read the flags of clone3; the C library then calls clone.
        (EQUAL, 0, 1, clone3),
        (RETURN, 0, 0, REFUSE | errno.ENOSYS),
    ]
    for number in refused:
        program += [(EQUAL, 0, 1, number), no]
    program += [
        (EQUAL, 0, 3, clone),
        (LOAD, 0, 0, 16),  # its flags
        (ANY, 0, 1, NEW_NAMESPACES),
        no,
        (LOAD, 0, 0, 0),
        (EQUAL, 0, 4, mmap),
        (LOAD, 0, 0, 40),  # its flags
        (AND, 0, 0, SHARED_WITHOUT_FILE),
        (EQUAL, 0, 1, SHARED_WITHOUT_FILE),
        no,
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *line) for line in program)
    )
    head = ctypes.create_string_buffer(
        struct.pack("HP", len(program), ctypes.addressof(code))
    )
    if ctypes.CDLL(None, use_errno=True).prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the system calls cannot be filtered")
