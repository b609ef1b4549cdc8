"""Runs a student's answer on the public cases of an exercise, in a separate thread
with a time limit.

The limit counts the CPU time of this thread, without the time of imports. So a right
answer passes on a busy machine, and also where the first use of `torch.optim` imports
for seconds. An answer that exceeds its limit is stopped by an exception. An answer that
catches this exception goes on in the background, and the panel says so. One case cannot
be stopped: a single operation that holds the interpreter's lock all the time, such as
one giant integer power.
"""

import contextlib
import ctypes
import sys
import threading
import time

import numpy as np
import torch

from course_lib.grading.answers import outcomes
from course_lib.grading.drive import Failure, run
from course_lib.grading.exercise import Exercise

# The wall-clock limit is this many times the limit on computing time: it ends answers
# that wait, and is long enough for a busy machine.
WALL_CLOCK_FACTOR = 6
MAX_LENGTH = 200  # characters of any text that comes from an answer


class TimeLimit(BaseException):
    """Raised inside an answer that takes too long."""


class Attempt(threading.Thread):
    """A thread that runs one answer on the public cases.

    Its results: `exercise` (None for an unknown name), `received` (a description of the
    answer), `outcomes` (of the cases that were run), `allowed` (the limit that applied,
    as text), `late` (an event, set when the time was up), `ended` (an event, set unless
    the thread still runs).
    """

    def __init__(self, answer, exercises: dict[str, Exercise]):
        super().__init__(daemon=True)
        self._answer, self._exercises = answer, exercises
        self.exercise, self.received = None, "a value"
        self.outcomes, self.allowed = [], ""
        self.late, self.ended = threading.Event(), threading.Event()
        self._clock = None  # identifies the CPU-time clock of this thread

    def run(self):
        try:
            if hasattr(time, "pthread_getcpuclockid"):  # not on Windows, nor on macOS
                self._clock = time.pthread_getcpuclockid(threading.get_ident())
            with contextlib.suppress(BaseException):
                self._work()
        finally:
            self.ended.set()

    def _work(self):
        # read from `type` itself, since a metaclass can redefine __name__
        kind = safe(type.__dict__["__name__"].__get__(type(self._answer)))
        self.received = "None" if self._answer is None else f"a value of type {kind}"
        # this can run code of the answer, since __name__ may be a property
        name = safe(self._answer.__name__)
        self.received = "a lambda" if name == "<lambda>" else f"`{name}`"
        home = getattr(self._answer, "__module__", None)
        if type(home) is str and home.startswith("course_lib."):
            self.received += " of course_lib (not available when your answer is marked)"
            return
        self.exercise = self._exercises.get(name)
        for case in self.exercise.cases if self.exercise else ():
            self.outcomes.append(_checked(run(self._drive, self._answer, case.arrays)))

    def _drive(self, answer, arrays: dict) -> dict:
        if self.late.is_set():
            raise TimeLimit
        return self.exercise.drive(answer, arrays)

    def run_for(self, limit: float):
        """Starts the thread and waits for its end. Stops it, if possible, when its time
        is up or when the user interrupts.

        limit: seconds of computing time; the limit on the wall clock is
        WALL_CLOCK_FACTOR times as long. The time of imports counts for neither.
        """
        computed = waited = 0.0
        with _torch_restored():
            # An event, not join() or is_alive(): in Python 3.10 to 3.12 these take the
            # thread for dead after an interrupt.
            try:
                before, imported = (self._seconds(), time.monotonic()), False
                self.start()
                while (
                    not self.ended.wait(0.05)
                    and computed <= limit
                    and waited <= WALL_CLOCK_FACTOR * limit
                ):
                    now, imports = (self._seconds(), time.monotonic()), self._imports()
                    if not (imports or imported):
                        computed += now[0] - before[0]
                        waited += now[1] - before[1]
                    before, imported = now, imports
            finally:
                applied = limit if computed > limit else WALL_CLOCK_FACTOR * limit
                self.allowed = f"{applied:g} s"
                self._stop_thread()

    def _stop_thread(self):
        """Raises TimeLimit inside the thread, at most five times, until it ends."""
        for _ in range(5):
            if self.ended.is_set():
                break
            self.late.set()
            # `ident` is None if the user interrupts before the thread has started
            thread = ctypes.c_ulong(self.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                thread, ctypes.py_object(TimeLimit)
            )
            self.ended.wait(0.2)

    def _seconds(self) -> float:
        """The CPU time of this thread in seconds, or that of the whole process where
        the system does not measure single threads."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return time.process_time()
        try:
            return time.clock_gettime(self._clock) if self._clock is not None else 0.0
        except OSError:  # the thread has just ended
            return 0.0

    def _imports(self) -> bool:
        """Whether the thread is inside an import at this moment."""
        frame = sys._current_frames().get(self.ident)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


class FileAttempt(Attempt):
    """Runs the answer to one exercise in a notebook file, together with the cells that
    the answer needs."""

    def __init__(self, cells: list[str], exercise: Exercise):
        super().__init__(None, {})
        self.exercise, self._cells = exercise, cells
        self.note = ""  # what else the panel should say

    def _work(self):
        cases = [case.arrays for case in self.exercise.cases]
        # later outcomes replace earlier ones
        for found in outcomes(self._cells, self.exercise.name, self._drive, cases):
            self.outcomes, self.note = list(map(_checked, found)), clip(found.note)


def _checked(
    outcome: dict[str, np.ndarray] | Failure,
) -> dict[str, np.ndarray] | Failure:
    """The outcome with plain strings, and a Failure where an output is not a plain
    NumPy array."""
    if isinstance(outcome, Failure):
        texts = (outcome.type, outcome.line, outcome.message)
        return Failure(*map(safe, texts))
    if all(type(array) is np.ndarray for array in outcome.values()):
        return outcome
    message = "expected a tensor, got an object that only pretends to be a tensor"
    return Failure("NotATensor", message=message)


@contextlib.contextmanager
def _torch_restored():
    """Sets PyTorch's default dtype to float32 for the block; afterwards restores the
    default dtype and the random state. Grad mode needs no restoring: each thread has
    its own."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(
        range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    ):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def safe(text: str) -> str:
    """A plain, short string on one line, from a string of any subclass. Raises
    TypeError for anything else."""
    return clip(str.__str__(text))


def clip(text: str) -> str:
    """The text on one line, without unprintable characters, cut to MAX_LENGTH
    characters."""
    printable = (c if c.isprintable() else " " for c in text[: 4 * MAX_LENGTH])
    text = " ".join("".join(printable).split())
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]} …"
