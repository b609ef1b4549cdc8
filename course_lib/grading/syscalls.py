"""System calls that the sandbox refuses: they get memory that no limit counts, or
rights in a namespace of one's own.

The limits count the memory of processes and of /tmp and /dev/shm. A file in memory that
nobody maps (memfd, System V) and shared memory without a file belong to neither; in a
user namespace one could mount as much more as one likes.
"""

import ctypes
import errno
import platform
import struct

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
# of the filter's language, BPF
LOAD, EQUAL, ABOVE, ANY, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
NEW_NAMESPACES = 0x7E020000  # flags of clone
SHARED_WITHOUT_FILE = 0x21  # of mmap
# Numbers: the architecture; shmget, unshare, memfd_create, memfd_secret,
# io_uring_setup; clone3, clone, mmap.
MACHINES = {
    "x86_64": (0xC000003E, (29, 272, 319, 447, 425), 435, 56, 9),
    "aarch64": (0xC00000B7, (194, 97, 279, 447, 425), 435, 220, 222),
}


def refuse():
    """From now on these calls fail, in this process and all that it starts. Does
    nothing on another kind of machine."""
    if platform.machine() not in MACHINES:
        return
    architecture, refused, clone3, clone, mmap = MACHINES[platform.machine()]
    no = RETURN, 0, 0, REFUSE | errno.EPERM
    program = [
        (LOAD, 0, 0, 4),  # the architecture: 32-bit calls have other numbers
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, 0),  # the call's number
        (ABOVE, 0, 1, 0x40000000),
        (RETURN, 0, 0, KILL),
        # its flags are out of sight; the C library then takes clone
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
