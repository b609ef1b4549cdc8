"""A class of submissions that attack the grader or are broken. Each gets its mark, and
nothing else is affected.

Each submission is the solved notebook with one exercise replaced, or with up to three
that do not follow each other. All others must still get full marks.
"""

import csv
import hashlib
import io
import json
import os
import re
import socket
import stat
import struct
import time
import uuid
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import pytest

from course_lib.grading import batch, library, sheet
from course_lib.grading.sandbox import Limits, Sandbox

NAME, SEED = "03_contrastive", 5
SHEET = sheet.read("03")
POINTS = {
    master.name: sum(p.points for p in master.properties) for master in SHEET.masters
}
TOTAL = sum(POINTS.values())
LIMITS = Limits(seconds=3, memory=1 << 30, processes=33)
SOLVED = [
    c.source
    for c in jupytext.read(sheet.ROOT / f"solutions/{NAME}.py").cells
    if c.cell_type == "code"
]
# of files that should never appear, and of a socket that nobody should reach
MARK = f"grading-{uuid.uuid4().hex}"
RIGHT = "(scores.logsumexp(1) - scores.diagonal()).mean()"
ENDED, WRONG, NOT_A_TENSOR = (
    "ended its process instead of returning",
    "value: wrong",
    "is not a tensor of real numbers",
)
SLOW = f"did not finish in {LIMITS.seconds} seconds"


def defining(name: str) -> int:
    """Which cell of the solved notebook defines it."""
    (number,) = [
        i
        for i, cell in enumerate(SOLVED)
        if re.search(rf"^(def|class) {name}\b", cell, re.M)
    ]
    return number


def solved(**replaced: str) -> list[str]:
    """The cells of the solved notebook, those of some exercises replaced."""
    cells = list(SOLVED)
    for name, code in replaced.items():
        cells[defining(name)] = code
    return cells


def notebook(cells: list[str], **more) -> bytes:
    cells = [
        {
            "cell_type": "code",
            "source": c,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for c in cells
    ]
    return json.dumps(
        {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more
    ).encode()


def zipped(*files: tuple, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name or ZipInfo, content)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data, compress_type=compression)
    return content.getvalue()


@dataclass
class Row:
    """One submission. content: bytes of its notebook, or make(folder) writes the
    submission into the class's folder.

    marks: where an exercise has not all its points: how many, and what (a regular
    expression) the report says. problem: nothing of it could be graded, for this
    reason.
    """

    student: str
    content: bytes = b""
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)
    problem: str = ""
    make: object = None
    file: str = f"{NAME}.ipynb"

    def write(self, folder: Path):
        if self.make:
            self.make(folder)
        else:
            (folder / self.student).mkdir()
            (folder / self.student / self.file).write_bytes(self.content)


@dataclass
class Attack:
    """An answer that is this code (a body), then right. why: what the report says (a
    regular expression), "" if the answer gets all its points."""

    student: str
    code: str
    points: int = 0
    why: str = ""
    before: str = ""

    def cell(self, exercise: str) -> str:
        body = "".join(f"    {line}\n" for line in self.code.strip().splitlines())
        if exercise == "info_nce":
            return f"{self.before}\ndef info_nce(scores):\n{body}    return {RIGHT}\n"
        right = SHEET.sources[exercise].replace(exercise, f"right_{exercise}")
        return (
            f"{self.before}\n{right}\n\ndef {exercise}(*args):\n{body}    "
            f"return right_{exercise}(*args)\n"
        )


attack = Attack


def packed(attacks: list[Attack]) -> tuple[list[Row], dict[str, str]]:
    """Submissions with these attacks, and the submission of each attack. A new sandbox
    imports torch, which costs more than all answers in it, so up to three attacks share
    one, with right answers before, between and after them. An attack that reads
    `scores` answers info_nce, one that lasts longer than its process is alone."""
    fixed = [a for a in attacks if re.search("scores|info_nce", a.code + a.before)]
    alone = [a for a in attacks if a.student in LASTING]
    rows = [{"info_nce": a} for a in fixed if a not in alone]
    free = [a for a in attacks if a not in fixed + alone]
    slots = [(row, exercise) for exercise in SLOTS[1:] for row in rows]
    for row, exercise in slots[: len(free)]:
        row[exercise] = free.pop()
    for first in range(0, len(free), 3):
        rows.append(dict(zip(SLOTS, free[first : first + 3])))
    rows += [{"info_nce": a} for a in alone]
    made, places = [], {}
    for row in rows:
        name = " + ".join(a.student for a in row.values())
        cells = solved(**{exercise: a.cell(exercise) for exercise, a in row.items()})
        marks = {exercise: (a.points, a.why) for exercise, a in row.items() if a.why}
        made.append(Row(name, notebook(cells), marks))
        places |= {a.student: name for a in row.values()}
    return made, places


SLOTS = ("info_nce", "update_bank", "mi_bound")
# Attacks on the helper or on the sandbox's folders
LASTING = (
    "stops itself", "helper made idle", "kills", "starves the helper", "leaves a cripple", "fills tmp",
    "fork bomb", "daemon", "memory of nobody",
)  # fmt: skip


def probe(student: str, *attempts: str, before: str = "") -> Attack:
    """Right, unless one of the attempts succeeds: then it ends its process."""
    code = "import contextlib, ctypes, mmap, os, resource, signal, socket, sys, time, urllib.request\n"
    for attempt in attempts:
        code += f"try:\n    {attempt}\nexcept (OSError, ValueError):\n    pass\nelse:\n    os._exit(7)\n"
    return attack(student, code, before=before)


def other(student: str, **exercises: tuple[str, int, str]) -> Row:
    """Exercises answered by other code: (code, points, why)."""
    cells = solved(**{name: code for name, (code, _, _) in exercises.items()})
    marks = {name: (points, why) for name, (_, points, why) in exercises.items() if why}
    return Row(student, notebook(cells), marks)


def returns(
    name: str, value: str, points: int = 0, why: str = NOT_A_TENSOR
) -> tuple[str, int, str]:
    return f"def {name}(*args):\n    return {value}", points, why


def path_of(student: str, make) -> Row:
    return Row(student, make=lambda folder: make(folder / student))


def refused(name: str, problem: str, make) -> Row:
    """A submission that is no readable notebook; make writes it to the path it is
    given, bytes are a file's."""
    student = name.removesuffix(".zip").removesuffix(".ipynb")
    write = make if callable(make) else lambda path: path.write_bytes(make)
    return Row(student, make=lambda folder: write(folder / name), problem=problem)


PROCESSES = [
    attack("endless loop", "while True: pass", 0, SLOW),
    attack(
        "deaf",
        "import signal\nfor s in (2, 3, 15, 24): signal.signal(s, "
        "signal.SIG_IGN)\nwhile True: pass",
        0,
        SLOW,
    ),
    attack(
        "swallows everything",
        "while True:\n    try:\n        while True: pass\n    except BaseException: "
        "pass",
        0,
        SLOW,
    ),
    attack(
        "stops itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        0,
        SLOW,
    ),
    attack(
        "helper made idle",
        "import os\nos.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))\n"
        "os.setpriority(os.PRIO_PROCESS, 1, 19)\nwhile True: pass",
        0,
        SLOW,
    ),
    attack(
        "fork bomb",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        0,
        f"{SLOW}|more memory|more than 33 processes",
    ),
    attack(
        "daemon",
        """
import os
answering = os.getpid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            for entry in os.listdir("/proc"):
                if entry.isdecimal() and int(entry) not in (os.getpid(), answering):
                    try: os.kill(int(entry), 9)
                    except OSError: pass
    os._exit(0)
os.wait()""",
    ),
    attack(
        "thread storm",
        "import threading, time\n"
        "while True: threading.Thread(target=time.sleep, args=(99,)).start()",
        0,
        "raised RuntimeError at: while True: threading",
    ),
    attack("exit 0", "import os\nos._exit(0)", 0, ENDED),
    attack("exit 1", "import os\nos._exit(1)", 0, ENDED),
    attack(
        "sys.exit", "import sys\nsys.exit(0)", 0, r"raised SystemExit at: sys.exit\(0\)"
    ),
    attack("segfault", "import ctypes\nctypes.string_at(0)", 0, ENDED),
    attack(
        "recursion",
        "return info_nce(scores)",
        0,
        "raised RecursionError at: return info_nce",
    ),
    attack(
        "stack overflow",
        "import sys\nsys.setrecursionlimit(10**9)\nf = lambda x: [*map(f, [x])]\nf(1)",
        0,
        ENDED,
    ),
    attack(
        "kills",
        "import os, signal\nos.kill(os.getppid(), 9)\nos.kill(1, signal.SIGSTOP)\n"
        "try: os.kill(-1, 9)\nexcept ProcessLookupError: pass",
    ),
    attack(
        "starves the helper",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, "
        "0))\n"
        # whichever the kernel counts first
        "while True: pass",
        0,
        f"ended the grader's helper|{SLOW}",
    ),
    attack(
        "leaves a cripple",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, "
        "(0, 0))",
        0,
        "ended the grader's helper",
    ),
    attack("closes everything", "import os\nos.closerange(0, 256)", 0, ENDED),
    attack("clears os", "import os\nvars(os).clear()"),
]

MEMORY = [
    attack(
        "30 GB",
        "bytearray(b'x') * 30_000_000_000",
        0,
        "raised MemoryError at: bytearray",
    ),
    attack(
        "30 GB of ones",
        "torch.ones(30_000_000_000 // 4)",
        0,
        "raised RuntimeError at: torch.ones",
    ),
    attack(
        "many chunks",
        "kept = []\nwhile True: kept.append(b'x' * (50 << 20))",
        0,
        f"raised MemoryError|more memory|{SLOW}",
    ),
    attack(
        "shared among processes",
        "import os\nfor _ in range(20):\n    if os.fork() == 0:\n"
        "        kept = b'x' * (200 << 20)\n        while True: pass\nwhile True: pass",
        0,
        f"more memory|{SLOW}",
    ),
    probe(
        "memory of nobody",
        "os.memfd_create('x')",
        "mmap.mmap(-1, 4096)",
        "mmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096)",
        "open('/dev/' + 'x', 'w')",
        "assert (k := ctypes.CDLL(None).shmget(0, 4096, 0o1600)) < 0; raise OSError",
        "assert ctypes.CDLL(None).unshare(0x10000000) < 0; raise OSError",
        "assert ctypes.CDLL(None).unshare(0x00020000) < 0; raise OSError",
    ),
    attack(
        "fills tmp",
        """
for folder in "/tmp", "/dev/shm":
    try:
        for i in range(100):
            with open(f"{folder}/{i}", "wb") as file: file.write(bytes(10 << 20))
    except OSError: pass
    else: raise SystemExit""",
    ),
    attack(
        "a flood of output",
        "import os, sys\nfor _ in range(100):\n    os.write(1, bytes(1 << 20))\n"
        "    os.write(2, bytes(1 << 20))\nprint('x' * (10 << 20), file=sys.stderr)",
    ),
]

REACH = r"""
import glob, os
def reached(paths):
    for path in paths:
        try:
            if os.path.isdir(path) and not os.listdir(path): raise OSError
            if not os.path.isdir(path): open(path, "rb").read(1)
        except OSError: continue
        os._exit(7)
"""


def spies(folder: Path, listening: str, port: int) -> list[Attack]:
    """What tries to see more than it should: folder, a canary of this test; a service
    that listens in here."""
    course = sheet.ROOT
    secrets = [
        folder / "secret", folder / "class", folder / "out", course / "solutions", course / "exercises",
        course / "tests", course / "course_lib", course / f"solutions/{NAME}.py", Path(batch.__file__),
        Path.home() / ".bashrc", Path.home() / ".ssh", Path("/etc/passwd"), Path("/etc/shadow"), Path("/var/log"),
    ]  # fmt: skip
    places = [folder, course, Path.home(), Path("/"), Path("/usr"), Path("/usr/lib"), Path("/etc"), Path("/dev"),
              Path("/grading"), Path("/grading/library"), Path("/grading/library/course_lib"),
              Path(os.__file__).parent, Path(jupytext.__file__).parent, Path("/proc"), Path("/sys")]  # fmt: skip
    return [
        attack("reads files", f"reached({[str(s) for s in secrets]})", before=REACH),
        attack(
            "reads processes",
            """
for entry in os.listdir("/proc"):
    if entry.isdecimal() and int(entry) != os.getpid():
        reached(f"/proc/{entry}/{what}" for what in ("mem", "environ", "maps", "fd/0", "fd/1", "root/tmp"))
reached(["/dev/mem", "/proc/kcore", "/proc/kmsg", "/dev/vda", "/dev/kvm", "/sys/fs"])
assert os.getppid() == 1 and os.getcwd() == "/tmp" != sys.path[0]
assert not [name for name in os.environ if name not in ('PATH HOME LANG PYTHONPATH PYTHONNOUSERSITE PWD \
PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS MKL_NUM_THREADS CUDA_VISIBLE_DEVICES COURSE_BUDGET COURSE_PROGRESS MPLBACKEND').split()]
""",
            before=REACH + "import sys",
        ),
        probe(
            "writes files",
            *(f"open({str(p / MARK)!r}, 'w')" for p in places),
            f"os.rename('/tmp', '/{MARK}')",
            f"os.symlink('/tmp', '/grading/{MARK}')",
            "os.chmod('/grading', 0o777)",
            "os.setuid(0)",
            "os.chroot('/tmp')",
            "os.mknod('/tmp/disk', 0o60600, os.makedev(253, 0))",
        ),
        probe(
            "network",
            f"socket.create_connection(('127.0.0.1', {port}), 1)",
            f"socket.socket(socket.AF_UNIX).connect({listening!r})",
            "socket.getaddrinfo('example.org', 80)",
            "socket.create_connection(('1.1.1.1', 53), 1)",
            "urllib.request.urlopen('http://example.org', timeout=1)",
            "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', "
            "53))",
        ),
    ]


HEADER = b'{"0/value":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
FORGED = f"""
import os, struct
def frame(content): return struct.pack(">Q", len(content)) + content
def right(): return frame(b"{{}}") + frame(struct.pack("<Q", {len(HEADER)}) + {HEADER!r} + bytes(4))
def write(content):
    for number in range(3, 256):
        try:
            while content: content = content[os.write(number, content):]
        except OSError: pass
    os._exit(0)
"""
CHEATS = [
    attack("garbage", "write(bytes(range(256)) * 100)", 0, "returned something that is not an array", FORGED),
    attack("forged arrays", "write(right())", 0, "no value|value: wrong", FORGED),
    attack("forged marks", "write(frame(b'[5, 5]') + frame(b'{\"points\": 40, \"passed\": true}'))", 0,
           "returned something that is not an array", FORGED),
    attack("half a frame", "write(right()[:-2])", 0, "returned something that is not an array", FORGED),
    attack("100 MB", "write(frame(bytes(100 << 20)))", 0, "returned too much output", FORGED),
    attack("patches torch", """
import numpy
torch.allclose = torch.equal = numpy.allclose = numpy.array_equal = lambda *a, **k: True
torch.Tensor.__eq__ = torch.Tensor.eq = torch.Tensor.__ne__ = lambda *a: torch.tensor(True)
return scores.sum() * 0""", 0, WRONG),
    attack("patches the driver", """
import gc, sys
from course_lib.grading import answers, drive, inside
drive.same_bits = drive.gradients = drive.plain = lambda *a, **k: numpy.zeros(())
for thing in gc.get_objects():
    if getattr(thing, "__name__", "").startswith("drive_"): thing.__code__ = (lambda *a: {"value": 7.0}).__code__
return torch.zeros(())""", 0, WRONG, "import numpy"),
    attack("patches the reply", "import sys\nframe = sys._getframe()\nwhile frame := frame.f_back:\n"
           "    if 'supervise' in frame.f_globals: frame.f_globals['save'] = lambda arrays: b'full marks'", 0,
           "returned something that is not an array"),
    attack("looks for the answer", """
import gc, sys, numpy
frame, seen = sys._getframe(), []
while frame:
    seen += [frame.f_locals.get(name) for name in ("expected", "right", "solution", "exercise", "mistakes")]
    frame = frame.f_back
seen += [o for o in gc.get_objects() if type(o).__name__ in ("Exercise", "Master", "Sheet", "Mistake", "Verdict")]
seen += [o for o in gc.get_objects() if isinstance(o, dict) and "0/value" in o]
if seen := [s for s in seen if s is not None]: os._exit(7)
return torch.zeros(())""", 0, WRONG, "import os"),
    attack("its own tensor", "return Yes(torch.zeros(()))", 0, WRONG, """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass(): found = function(*args, **(kwargs or {}))
        return found.as_subclass(cls) if isinstance(found, torch.Tensor) else found
    def __eq__(self, other): return True
    __hash__ = None"""),
    attack("its own equality", "return Same()", 0, NOT_A_TENSOR, "class Same:\n    def __eq__(self, other): return True\n"
           "    def __float__(self): return 1.0"),
    attack("IPython hook", "get_ipython().input_transformers_post.append(lambda lines: [])", 0,
           r"raised NameError at: get_ipython\(\)"),
    attack("earlier input", "return eval(In[-1])", 0, r"raised NameError at: return eval\(In"),
    attack("counts calls", "calls.append(1)\nreturn (scores.logsumexp(1) - scores.diagonal()).mean() * len(calls)", 0,
           WRONG, "calls = []"),
    attack("settings", "import random, sys\ntorch.set_default_dtype(torch.float64)\ntorch.manual_seed(7)\n"
           "torch.set_num_threads(16)\ntorch.set_grad_enabled(True)\nrandom.seed(7)\nsys.setrecursionlimit(50_000)"),
    attack("the grader itself", "import course_lib.grading.batch", 0,
           "raised (ModuleNotFound|Import)Error at: import course_lib.grading.batch"),
    attack("html in a line", "raise type('<script>', (Exception,), {})  # <script>alert(2)</script>", 0,
           re.escape("raised Exception at: raise type('<script>', (Exception,), {})  # <script>alert(2)</script>")),
    other("the library's own", nt_xent=("from course_lib.losses import nt_xent as theirs\n"
                                        "def nt_xent(*args):\n    return theirs(*args)",
                                        0, "calls the library's own solution")),
    Row("import below", notebook([*solved(), "from course_lib.losses import info_nce, nt_xent"])),
    attack("stub left", f"if len(scores) < 0:\n    return {RIGHT}\nraise NotImplementedError()", 0, "delete that line"),
    other("odd values", cosine_similarity_matrix=returns("cosine_similarity_matrix", "torch.full((5, 4), torch.nan)", 0,
                                                         "value: (wrong shape|not finite)"),
          info_nce=returns("info_nce", "torch.ones(10_000_000)"),
          nt_xent=returns("nt_xent", "torch.eye(3).to_sparse()"),
          update_bank=returns("update_bank", "torch.ones(2) * 1j"),
          knn_vote=returns("knn_vote", "torch.ones(3, device='meta')"), mi_bound=returns("mi_bound", "'right'")),
    other("odder values", cosine_similarity_matrix=returns("cosine_similarity_matrix", "None"),
          info_nce=returns("info_nce", "torch.tensor(torch.inf)", 0, "value: not finite"),
          nt_xent=returns("nt_xent", "(x for x in args)"), update_bank=returns("update_bank", "type('x', (), {})"),
          knn_vote=returns("knn_vote", "torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)"),
          mi_bound=returns("mi_bound", "torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])", 0, "."),
          TwoViews=("class TwoViews: pass", 0, "raised TypeError")),
]  # fmt: skip


def memoriser() -> Attack:
    """Knows the outputs of the cases that students have."""
    (public,) = [e for e in SHEET.public() if e.name == "info_nce"]
    known = {bytes(c.arrays["scores"].numpy().tobytes()).hex(): e["value"].item()
             for c, e in zip(public.cases, public.expected)}  # fmt: skip
    code = "return scores.sum() * 0 + KNOWN.get(scores.detach().numpy().tobytes().hex(), 0.0)"
    return attack("knows the public cases", code, 0, WRONG, f"KNOWN = {known!r}")


def messy() -> Row:
    """Everything that happens to a notebook without any fault of the answers."""
    cells = solved()[::-1] + [
        "%matplotlib inline\n!pip install torch\nfrom tqdm import "
        "nothing_of_the_kind\n",
        # a copied cell
        "def info_nce(scores):\n    '''Again.'''\n    raise NotImplementedError",
        "%%bash\nrm -rf /", "this is no Python", "x = " + "+".join("1" * 5000), "y = " + "(" * 900 + ")" * 900,
        "while True: pass", "raise SystemExit", "class Dead:\n    raise SystemExit", "input('your name?')",
        "if __name__ == '__main__':\n    while True: pass", "check(info_nce)", "for x in range(10**12): pass",
    ]  # fmt: skip
    imports = cells[
        len(SOLVED) - 1 - [i for i, c in enumerate(SOLVED) if "import torch\n" in c][0]
    ]
    return Row("messy", notebook([imports, *cells]))


NOTEBOOKS = [
    Row("Zoë 🦊 O'Neil & Söhne", notebook(solved()), file=f"{NAME} (kopié 2) 🦊.ipynb"),
    Row("=1+1;@SUM <script>alert(1)<\\script>", notebook(solved()), file=f"{NAME}<img src=x onerror=alert(3)>.ipynb"),
    Row("anna", b"\xef\xbb\xbf" + json.dumps({"cells": [{"cell_type": "code", "source": c.splitlines(True)}
                                                        for c in solved()]}).encode()),
    Row("Anna", json.dumps({"nbformat": 3, "metadata": {"name": "x"}, "worksheets": [{"cells": [
        {"cell_type": "heading", "source": "H"},
        *({"cell_type": "code", "language": "python", "input": c, "outputs": []} for c in solved())]}]}).encode()),
    other("renamed and deleted", info_nce=("def infonce(scores):\n    return " + RIGHT, 0,
                                           "no function or class of this name"),
          mi_bound=("", 0, "no function or class of this name")),
    other("syntax error", info_nce=("def info_nce(scores)\n    return 1", 0, r"raised SyntaxError at: def info_nce")),
    other("other forms",
          info_nce=("import functools\nbase = lambda scores, sign: sign * " + RIGHT.replace("(1)", "(dim=1)")
                    + "\ninfo_nce = functools.partial(base, sign=1)", 5, ""),
          mi_bound=("mi_bound = lambda losses, negatives: math.log(negatives + 1) - losses.mean()\n"
                    "while True: pass", 4, ""),
          nt_xent=("@torch.no_grad()\n" + SHEET.sources["nt_xent"], 6, "no gradient reaches"),
          knn_vote=("async " + SHEET.sources["knn_vote"], 0, NOT_A_TENSOR),
          update_bank=(SHEET.sources["update_bank"].replace("def update_bank", "def wrong") + "\ndef update_bank(*a):\n"
                       "    return a[0]\n" + SHEET.sources["update_bank"], 6, "")),
    other("needs a call",
          info_nce=(f"import time\nscale = torch.ones(())\ndef info_nce(scores):\n    return {RIGHT} * scale", 5, ""),
          mi_bound=("def mi_bound(losses, negatives):\n    return math.log(negatives + number) - losses.mean()", 4, ""),
          TwoViews=(SHEET.sources["TwoViews"] + "\nnumber = int('1')\ntime.sleep(0)", 6, "")),
    # what real IPython takes: see test_cells
    other("commands", info_nce=("\n%%time\n%matplotlib inline\n!pip install \\\n    einops\nx = !ls\n# is it?\n"
                                f"def info_nce(scores):\n    !true\n    return {RIGHT}  # really?", 5, ""),
          mi_bound=("    %time other = 1\n    def mi_bound(losses, negatives):\n"
                    "        return math.log(negatives + other) - losses.mean()", 4, ""),
          nt_xent=("x = !ls\ndef nt_xent(*args):\n    return x", 0, "raised NameError at: return x"),
          knn_vote=("from __future__ import annotations", 0, ""),  # its answer is further down
          TwoViews=("def knn_vote(*args: Missing):\n    return _vote(*args)\n\n"
                    + SHEET.sources["knn_vote"].replace("def knn_vote", "def _vote"), 0, "no function or class of this"),
          update_bank=("from google.colab import drive\ndrive.mount('/x')\nneeded = dict(a=1)\n"
                       + SHEET.sources["update_bank"].replace(":\n", ":\n    needed\n", 1), 6, "")),
    Row("UTF-16", notebook(solved()).decode().encode("utf-16")),
    Row("plain text", notebook(solved(), metadata={"kernelspec": None, "language_info": {"name": "plaintext"}})),
    Row("not JSON", b"{ this is no notebook", problem="not a Jupyter notebook: the file is not valid JSON"),
    Row("deep JSON", b"[" * 200_000, problem="not a Jupyter notebook: the file is not valid JSON"),
    Row("R", notebook(["x <- 1"], metadata={"kernelspec": {"name": "ir", "language": "R"}}),
        problem="a notebook in a language other than Python"),
]  # fmt: skip


def locked(data: bytes) -> bytes:
    """The same zip, its entries marked as encrypted."""
    data = bytearray(data)
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + at] |= 1
    return bytes(data)


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def contents(entries: int) -> bytes:
    """A zip that is nothing but a table of contents."""
    line = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, *15 * [0])
    line = line[:28] + struct.pack("<H", 1) + line[30:] + b"a"
    return line * entries + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(line) * entries, 0, 0
    )


def inside(name: str, make):
    """In a folder: make(path of the notebook)."""

    def write(path: Path):
        path.mkdir()
        make(path / name)

    return write


SOLUTION = sheet.ROOT / f"solutions/{NAME}.py"
IPYNB = f"{NAME}.ipynb"
REFUSED = [
    refused(
        "link to a notebook",
        "the file is a link",
        inside(IPYNB, lambda path: path.symlink_to(SOLUTION)),
    ),
    refused(
        "link to a device",
        "the file is a link",
        inside(IPYNB, lambda path: path.symlink_to("/dev/zero")),
    ),
    refused(
        "link to a folder",
        "the submission is a link",
        lambda path: path.symlink_to(SOLUTION.parent),
    ),
    refused("fifo", "not an ordinary file", inside(IPYNB, os.mkfifo)),
    refused("fifo in the class.ipynb", "not an ordinary file", os.mkfifo),
    refused("fifo as a zip.zip", "not an ordinary file", os.mkfifo),
    refused("folder as a notebook", "no notebook", inside(IPYNB, os.mkdir)),
    refused(
        "101 MB",
        "more than 100 MB",
        inside(IPYNB, lambda path: path.touch() or os.truncate(path, 101 << 20)),
    ),
    refused("empty", "no notebook", os.mkdir),
    refused(
        "two notebooks",
        "2 other notebooks",
        inside(
            "a.ipynb",
            lambda path: (
                path.write_text(""),
                (path.parent / "b.ipynb").write_text(""),
            ),
        ),
    ),
    refused("link in a zip.zip", "no notebook", zipped((link(IPYNB), str(SOLUTION)))),
    refused(
        "bomb.zip",
        "more than 100 MB",
        lambda path: path.write_bytes(zipped((IPYNB, bytes(300 << 20)))),
    ),
    refused(
        "bzip2 bomb.zip",
        "unusual compression method",
        lambda path: path.write_bytes(
            zipped((IPYNB, bytes(300 << 20)), compression=zipfile.ZIP_BZIP2)
        ),
    ),
    refused(
        "nested twice.zip",
        "found no notebook: a.zip, a.zip/b.zip",
        zipped(("a.zip", zipped(("b.zip", zipped((IPYNB, b"{}")))))),
    ),
    refused(
        "bomb in a zip.zip",
        "a notebook of more than 100 MB",
        lambda path: path.write_bytes(
            zipped(("a.zip", zipped((IPYNB, bytes(300 << 20)))))
        ),
    ),
    refused("encrypted.zip", "a password", locked(zipped((IPYNB, b"{}")))),
    refused(
        "truncated.zip",
        "the zip file cannot be read",
        zipped((IPYNB, notebook(solved())))[:2000],
    ),
    refused("no zip.zip", "the zip file cannot be read", b"PK" * 1000),
    refused(
        "20,000 entries.zip",
        "more than 10,000 files",
        lambda path: path.write_bytes(zipped(*((f"{i}", b"") for i in range(20_000)))),
    ),
    refused(
        "table of contents.zip",
        "more than 10,000 files",
        lambda path: path.write_bytes(contents(200_000)),
    ),
]
PLACED = [
    Row("traversal", make=lambda folder: (folder / "traversal.zip").write_bytes(zipped(
        (f"../../{MARK}", b"x"), (f"/tmp/{MARK}", b"x"), (f"__MACOSX/._{IPYNB}", b"\0\5"), (f"hw/._{IPYNB}", b"\0\5"),
        (f"hw/{IPYNB}", notebook(solved()))))),
    Row("twice", make=lambda folder: (folder / "twice").mkdir(), problem="no notebook"),
    Row("twice.zip", make=lambda folder: (folder / "twice.zip").write_bytes(
        zipped((f"a/{IPYNB}", notebook(solved()))))),
]  # fmt: skip
if os.geteuid() == 0:
    REFUSED.append(refused("device", "not an ordinary file",
                           inside(IPYNB, lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)))))  # fmt: skip
# Graded in the order of their names: among the others.
HONEST = [
    Row(name, notebook(solved()))
    for name in ("exit honestly", "honest", "patches nothing")
]
SPIES = ["reads files", "reads processes", "writes files", "network"]
BANK = [
    *HONEST,
    *PROCESSES,
    *MEMORY,
    *CHEATS,
    memoriser(),
    *NOTEBOOKS,
    messy(),
    *REFUSED,
    *PLACED,
]


def state(folder: Path) -> str:
    """A hash of names, kinds and contents."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        info = path.lstat()
        found.update(
            f"{path} {info.st_mode} {info.st_size} {info.st_mtime_ns}".encode(
                errors="replace"
            )
        )
        if stat.S_ISREG(info.st_mode):
            found.update(path.read_bytes())
    return found.hexdigest()


def strangers() -> list[str]:
    """Processes of this module's sandboxes: known by their limits, other graders may be
    at work."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and b'"processes": 33,' in (entry / "cmdline").read_bytes()
            ):
                found.append(entry.name)
        except OSError:
            pass
    return found


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The whole class in one batch: its rows by student, the student for each name in
    the bank, marks by student, the folder, and what was there before and after."""
    folder = tmp_path_factory.mktemp("grading")
    (folder / "class").mkdir()
    (folder / "out").mkdir()
    (folder / "secret").write_text("secret")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(f"\0{MARK}")
        for listener in (tcp, unix):
            listener.listen()
            listener.setblocking(False)
        bank = [*BANK, *spies(folder, f"\0{MARK}", tcp.getsockname()[1])]
        attacks, places = packed([row for row in bank if isinstance(row, Attack)])
        single = [row for row in bank if isinstance(row, Row)]
        places |= {row.student: row.student for row in single}
        rows = {row.student: row for row in single + attacks}
        for row in rows.values():
            row.write(folder / "class")
        before = (
            state(folder / "class"),
            state(sheet.ROOT / "solutions"),
            set(os.listdir("/tmp")),
        )
        marks = batch.grade(
            folder / "class", SHEET, SEED, folder / "out", workers=2, limits=LIMITS
        )
        after = (
            state(folder / "class"),
            state(sheet.ROOT / "solutions"),
            set(os.listdir("/tmp")),
        )
        reached = []
        for listener in (tcp, unix):
            try:
                reached.append(listener.accept())
            except BlockingIOError:
                pass
    students = {student["student"]: student for student in marks["students"]}
    return rows, places, students, folder, before, after, reached


@pytest.mark.parametrize("name", [row.student for row in BANK] + SPIES)
def test_grade_gives_each_submission_of_the_bank_its_expected_marks(graded, name):
    rows, places, students, *_ = graded
    row, record = rows[places[name]], students[places[name]]
    if row.problem:
        assert re.search(row.problem, record["problem"]) and record["points"] == 0
        return
    assert record["problem"] == ""
    right = {name: (POINTS[name], "") for name in POINTS}
    whys = {
        e["name"]: [p["why"] for p in e["properties"] if p["why"]]
        for e in record["exercises"]
    }
    got = {
        e["name"]: (e["points"], "".join(whys[e["name"]][:1]))
        for e in record["exercises"]
    }
    for name, (points, why) in (right | row.marks).items():
        assert got[name][0] == points, (name, got[name])
        assert re.search(why, got[name][1]) if why else got[name][1] == "", (
            name,
            got[name],
        )
    assert record["points"] == TOTAL - sum(
        POINTS[name] - points for name, (points, _) in row.marks.items()
    )


def test_grade_returns_marks_for_every_submission_of_a_large_bank(graded):
    rows, places, students, folder, *_ = graded
    assert len(places) == len(BANK) + len(SPIES) >= 80
    assert rows.keys() == students.keys() == set(places.values())
    with open(folder / "out" / "marks.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert (
        len(table) == len(rows) == len({s["slug"].lower() for s in students.values()})
    )
    assert [line["student"].lstrip("'") for line in table] == list(students)
    assert all(
        int(line["total"]) == students[line["student"].lstrip("'")]["points"]
        for line in table
    )
    for kind in ("students", "state"):
        assert len(list((folder / "out" / kind).iterdir())) == len(rows)


def test_grade_changes_nothing_outside_the_sandbox(graded):
    _, _, _, folder, before, after, reached = graded
    assert before[:2] == after[:2]
    assert sorted(path.name for path in folder.iterdir()) == ["class", "out", "secret"]
    assert (folder / "secret").read_text() == "secret" and reached == []
    deadline = time.monotonic() + 20
    while strangers() and time.monotonic() < deadline:  # killed, and about to be gone
        time.sleep(0.05)
    assert strangers() == []
    assert not [name for name in after[2] - before[2] if MARK in name]
    for place in (
        "/",
        "/usr",
        "/etc",
        "/dev",
        "/dev/shm",
        "/tmp",
        str(Path.home()),
        str(sheet.ROOT),
    ):
        assert not (Path(place) / MARK).exists()


def test_grade_reports_have_no_active_html_and_no_formula(graded):
    _, _, _, folder, *_ = graded
    pages = [
        path.read_text(encoding="utf-8") for path in (folder / "out").rglob("*.html")
    ]
    for page in pages:
        assert "<script" not in page and "<img" not in page
    for harmless in ("&lt;script&gt;alert(2)", "onerror=alert(3)&gt;"):
        assert any(harmless in page for page in pages)
    with open(folder / "out" / "marks.csv", encoding="utf-8", newline="") as file:
        assert not [
            field
            for line in csv.reader(file)
            for field in line
            if field.startswith(("=", "+", "-", "@"))
        ]


def test_grade_writes_every_record_to_disk(graded):
    _, _, students, folder, *_ = graded
    for record in students.values():
        assert (
            json.loads(
                (folder / "out" / "state" / f"{record['slug']}.json").read_text()
            )
            == record
        )


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory):
    """A sandbox with the solved notebook, and one with the unsolved notebook."""
    place = tmp_path_factory.mktemp("place")
    library.copy(place / "library", [s for m in SHEET.masters for s in m.hides])
    drivers, limits = place / "drivers.py", Limits(seconds=20)
    drivers.write_text(SHEET.public_drivers)
    stubs = {name: re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "raise NotImplementedError", SOLVED[defining(name)],
                          flags=re.S) for name in POINTS}  # fmt: skip
    contents = [notebook(solved()), notebook(solved(**stubs))]
    with (
        Sandbox(place / "library", drivers, contents[0], limits, 0) as first,
        Sandbox(place / "library", drivers, contents[1], limits, 1) as second,
    ):
        yield first, second


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 4))]
)
def test_grade_gives_solved_all_points_and_unsolved_none_for_any_seed(sandboxes, seed):
    for exercise in SHEET.graded(seed):
        first, second = (
            batch.verdict(sandbox, exercise, sandbox.limits)[0] for sandbox in sandboxes
        )
        assert first.points == exercise.points == POINTS[exercise.name]
        assert first.solved and second.points == 0 and second.todo
