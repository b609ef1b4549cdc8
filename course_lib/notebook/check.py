"""The check of an exercise notebook: runs an answer on the public cases; a panel says
what is right and what is not.

    check = checks("03_contrastive")
    check(nt_xent)

The answer runs in a thread of its own, which may compute for a few seconds at most. Its
own time counts, and no import: on a busy machine, or where the first use of
`torch.optim` imports for seconds, a right answer is right all the same. What holds the
interpreter's lock all the time (one giant integer power) is out of any thread's reach;
everything else ends, or is left behind and named.
"""

import contextlib
import ctypes
import html
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from course_lib.checks import positive
from course_lib.files import SHIPPED
from course_lib.grading.answers import code_cells, outcomes
from course_lib.grading.drive import Failure, run
from course_lib.grading.exercise import Exercise
from course_lib.grading.public_files import read_public
from course_lib.grading.verdict import WAITS, Verdict, judge
from course_lib.notebook.show import Source
from course_lib.notebook.style import INK, PAPER, RIGHT, WRONG

LIMIT = 5.0  # seconds that an answer may compute, all cases of an exercise together
# times the limit: seconds on the clock, for an answer that waits or a machine that is
# busy
WAIT = 6
LONGEST = 200  # characters of anything that comes from an answer
FINAL = "These are the public cases. The final mark comes from other cases, with other shapes and values."
HINTS = {  # by how an answer failed; true whatever it does
    "TimeLimit": "Does a loop never end? If not, this computer may be busy: close other programs and check again.",
    "RecursionError": "Does it call itself without end?",
    "SystemExit": "An answer returns its result; it does not exit.",
    "expected a tensor, got NoneType": "It returned None. Is a `return` missing?",
}
MONO = "margin-left: 5.5em; font-family: monospace"
BOX = f"margin: 0.4em 0; padding: 0.3em 0.7em; border: 1px solid {WRONG}; background: #fdf1e3"
LOOKS = {  # of a line: symbol, its colour, word, indent of the plain text, style
    "title": ("", "", "", "", "font-weight: bold"),
    "right": ("✓", RIGHT, "right", "", ""),
    "wrong": ("✗", WRONG, "wrong", "", ""),
    "to do": ("–", INK, "to do", "", ""),
    "waits": ("–", INK, "waits", "", ""),
    "why": ("", "", "", " " * 9, MONO),
    "box": ("", "", "", "", BOX),
    "worked": ("", "", "", "", "margin-top: 0.4em; cursor: pointer"),
    "note": ("", "", "", "", "margin-top: 0.4em; font-size: 0.9em"),
}


class TimeLimit(BaseException):
    """Raised inside an answer that takes too long."""


@dataclass(frozen=True, repr=False)
class Panel:
    """What `check` found, shown as HTML or as plain text, both from the same lines: (a
    key of LOOKS, the text)."""

    lines: list[tuple[str, str]]
    verdict: Verdict | None = None  # None where there was no such exercise
    worked: str = ""  # a solution that may be seen now

    @property
    def solved(self) -> bool:
        return self.verdict is not None and self.verdict.solved

    @property
    def points(self) -> int:
        return self.verdict.points if self.verdict else 0

    def __repr__(self) -> str:
        rows = []
        for look, text in self._all():
            symbol, _, word, indent, _ = LOOKS[look]
            rows.append(f"{indent}{f'{symbol} {word}  ' if symbol else ''}{text}")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        rows = []
        for look, text in self._all():
            symbol, colour, word, _, style = LOOKS[look]
            mark = (
                (
                    f'<span style="display: inline-block; width: 5.5em"><b style="color: {colour}">{symbol}</b> {word}'
                    "</span>"
                )
                if symbol
                else ""
            )
            tag, more = (
                ("summary", Source(self.worked)._repr_html_())
                if look == "worked"
                else ("div", "")
            )
            row = f'<{tag} style="{style}">{mark}{html.escape(text)}</{tag}>{more}'
            rows.append(f"<details>{row}</details>" if more else row)
        looks = [look for look, _ in self.lines]
        edge = (
            RIGHT
            if self.solved
            else WRONG
            if "wrong" in looks or "box" in looks
            else "#666666"
        )
        return (
            f'<div role="status" style="background: {PAPER}; color: {INK}; border-left: 5px solid {edge}; '
            'padding: 0.6em 1em; max-width: 60em; line-height: 1.5; overflow-wrap: anywhere">'
            f"{''.join(rows)}</div>"
        )

    def _all(self) -> list[tuple[str, str]]:
        if not self.worked:
            return [*self.lines, ("note", FINAL)]
        how = f'Worked solution: print(check.solution("{self.verdict.exercise}"))'
        return [*self.lines, ("worked", how), ("note", FINAL)]


class checks:
    """The check of one sheet of exercises: `check = checks("03")`, then
    `check(answer)`, which returns a `Panel`.

    sheet: "03_contrastive" or its number, "03". limit: seconds that an answer may
    compute, all cases of an exercise together. folder: where the public cases are;
    those of the course if not given.

    Raises ValueError for a sheet that is not there. A check itself raises nothing,
    whatever the answer does, but KeyboardInterrupt when it is the user who interrupts.
    """

    def __init__(self, sheet: str, *, limit: float = LIMIT, folder: Path | None = None):
        folder = Path(folder or SHIPPED / "exercises" / "checks")
        names = sorted(path.stem for path in folder.glob("*.json"))
        found = [name for name in names if sheet in (name, name.partition("_")[0])]
        if len(found) != 1:
            raise ValueError(
                "argument `sheet`: expected one of "
                f"{', '.join(names) or f'those in {folder} (none)'}, "
                f"got {sheet!r}"
            )
        self.exercises, self.limit = (
            read_public(folder / found[0]),
            positive("limit", limit),
        )
        self._attempted: set[str] = set()

    def __call__(self, answer) -> Panel:
        attempt = _Attempt(answer, self.exercises)
        attempt.run_for(self.limit)
        if attempt.exercise is None:
            expected = " or ".join(self.exercises)
            return Panel(
                [
                    ("title", "Nothing to check"),
                    (
                        "box",
                        f"Expected {expected}, got {attempt.received}. Pass "
                        "the function or class itself: "
                        f"check({next(iter(self.exercises), 'answer')})",
                    ),
                    *(("box", note) for note in attempt.notes()),
                ]
            )
        verdict, lines = _verdict(attempt)
        if not verdict.todo:
            self._attempted.add(verdict.exercise)
        return Panel(
            lines,
            verdict,
            attempt.exercise.solution if verdict.exercise in self._attempted else "",
        )

    def file(self, notebook: Path) -> list[Panel]:
        """The panels of a file's answers, found as the grader finds them, with the same
        limit for each exercise.

        Raises ValueError where it is no notebook.
        """
        cells, panels = code_cells(notebook.read_bytes()), []
        for exercise in self.exercises.values():
            attempt = _FileAttempt(cells, exercise)
            attempt.run_for(self.limit)
            verdict, lines = _verdict(attempt)
            panels.append(Panel(lines, verdict))
        return panels

    def solution(self, name: str) -> Source:
        """The worked solution, to print. Raises ValueError for an unknown exercise,
        where the release holds no solution, and before an answer was checked (a stub is
        none)."""
        if name not in self.exercises:
            raise ValueError(
                f"argument `name`: expected one of {', '.join(self.exercises)}, got "
                f"{name!r}"
            )
        if not self.exercises[name].solution:
            raise ValueError(
                f"argument `name`: this release does not include the solution of {name}"
            )
        if name not in self._attempted:
            raise ValueError(
                f"argument `name`: the solution of {name} is shown after an attempt: "
                f"check({name}) first"
            )
        return Source(self.exercises[name].solution)


class _Attempt(threading.Thread):
    """An answer at work on the public cases. Afterwards: `exercise` (None for an
    unknown name), `received` (the answer, in words), `outcomes` (as far as it got),
    `late` (set once time was up), `ended` (not set: it runs on)."""

    def __init__(self, answer, exercises: dict[str, Exercise]):
        super().__init__(daemon=True)
        self._answer, self._exercises = answer, exercises
        self.exercise, self.received, self.outcomes, self.allowed = (
            None,
            "a value",
            [],
            "",
        )
        self.late, self.ended = threading.Event(), threading.Event()
        self._clock = None  # of this thread's own seconds

    def run(self):
        try:
            if hasattr(time, "pthread_getcpuclockid"):  # not on Windows, nor on macOS
                self._clock = time.pthread_getcpuclockid(threading.get_ident())
            with contextlib.suppress(BaseException):
                self._work()
        finally:
            self.ended.set()

    def _work(self):
        # whatever its metaclass says
        kind = _safe(type.__dict__["__name__"].__get__(type(self._answer)))
        self.received = "None" if self._answer is None else f"a value of type {kind}"
        name = _safe(self._answer.__name__)  # this may be computed, too
        self.received = "a lambda" if name == "<lambda>" else f"`{name}`"
        if type(
            home := getattr(self._answer, "__module__", None)
        ) is str and home.startswith("course_lib."):
            self.received = f"the library's own {self.received}, which is not there when you are marked"
            return
        self.exercise = self._exercises.get(name)
        for case in self.exercise.cases if self.exercise else ():
            self.outcomes.append(_checked(run(self._drive, self._answer, case.arrays)))

    def _drive(self, answer, arrays: dict) -> dict:
        if self.late.is_set():
            raise TimeLimit
        return self.exercise.drive(answer, arrays)

    def run_for(self, limit: float):
        """Starts, waits, and when its time is up, or when the user interrupts, stops
        the thread if that can be.

        limit: seconds that it may compute; on the clock WAIT times as many. While it
        imports neither counts.
        """
        computed = waited = 0.0
        with _torch_restored():
            # with an event: an interrupted join() or is_alive() takes the thread for
            # dead (Python 3.10 to 3.12)
            try:
                before, imported = (self._seconds(), time.monotonic()), False
                self.start()
                while (
                    not self.ended.wait(0.05)
                    and computed <= limit
                    and waited <= WAIT * limit
                ):
                    now, imports = (self._seconds(), time.monotonic()), self._imports()
                    if not (imports or imported):
                        computed, waited = (
                            computed + now[0] - before[0],
                            waited + now[1] - before[1],
                        )
                    before, imported = now, imports
            finally:
                self.allowed = f"{limit if computed > limit else WAIT * limit:g} s"
                for _ in range(5):
                    if self.ended.is_set():
                        break
                    self.late.set()
                    # None when interrupted while it starts
                    thread = ctypes.c_ulong(self.ident or 0)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        thread, ctypes.py_object(TimeLimit)
                    )
                    self.ended.wait(0.2)

    def _seconds(self) -> float:
        """Seconds that it has computed; where the system does not tell that of a
        thread, those of this process."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return time.process_time()
        try:
            return time.clock_gettime(self._clock) if self._clock is not None else 0.0
        except OSError:  # it has just ended
            return 0.0

    def _imports(self) -> bool:
        frame = sys._current_frames().get(self.ident)
        while frame is not None and not frame.f_code.co_filename.startswith(
            "<frozen importlib"
        ):
            frame = frame.f_back
        return frame is not None

    def notes(self) -> list[str]:
        if not self.late.is_set():
            return []
        stuck = (
            " It did not stop; restart the kernel to get its core back."
            if not self.ended.is_set()
            else ""
        )
        return [f"No result after {self.allowed}. {HINTS['TimeLimit']}{stuck}"]


class _FileAttempt(_Attempt):
    """The answer to an exercise in a notebook file, with the cells that it needs."""

    def __init__(self, cells: list[str], exercise: Exercise):
        super().__init__(None, {})
        self.exercise, self._cells = exercise, cells

    def _work(self):
        cases = [case.arrays for case in self.exercise.cases]
        # the last one counts
        for found in outcomes(self._cells, self.exercise.name, self._drive, cases):
            self.outcomes = list(map(_checked, found))


def _checked(
    outcome: dict[str, np.ndarray] | Failure,
) -> dict[str, np.ndarray] | Failure:
    """An outcome in which every text and array is a plain one."""
    if isinstance(outcome, Failure):
        return Failure(
            *(_safe(text) for text in (outcome.type, outcome.line, outcome.message))
        )
    fine = all(type(array) is np.ndarray for array in outcome.values())
    return (
        outcome
        if fine
        else Failure(
            "NotATensor", message="expected a tensor, got something in its disguise"
        )
    )


def _verdict(attempt: _Attempt) -> tuple[Verdict, list[tuple[str, str]]]:
    """The verdict on what an attempt at an exercise left, and the lines of its
    panel."""
    missing = (
        Failure("TimeLimit")
        if attempt.late.is_set()
        else Failure("an exception that cannot be read")
    )
    exercise, notes = attempt.exercise, attempt.notes()
    outcomes = (attempt.outcomes + [missing] * len(exercise.cases))[
        : len(exercise.cases)
    ]
    verdict = judge(exercise, outcomes)
    if verdict.mistake is None:
        faults = {
            text
            for o in outcomes
            if isinstance(o, Failure)
            for text in (o.type, o.message)
        } - {"TimeLimit"}
        notes += [hint for fault, hint in HINTS.items() if fault in faults]
    return verdict, _lines(verdict, exercise.points, notes, attempt.allowed)


@contextlib.contextmanager
def _torch_restored():
    """Torch as at its start; afterwards default dtype and random state as before. Grad
    mode is each thread's own."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(
        range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    ):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def _lines(
    verdict: Verdict, points: int, notes: list[str], allowed: str
) -> list[tuple[str, str]]:
    """A title, one to three lines a property, then what to think about."""
    total = f"{points} point{'s' * (points != 1)}"
    if verdict.todo:
        return [("to do", f"{verdict.exercise}, {total}")]
    done = "solved, " * verdict.solved
    lines = [
        (
            "title",
            f"{verdict.exercise}: {done}{verdict.points} of {total} on the public "
            "cases",
        )
    ]
    for result in verdict.results:
        worth, waits = result.property.points, result.why == WAITS
        text = f"{result.property.name} ({worth * result.passed} of {worth})"
        if result.passed or waits:
            lines.append(
                ("right", text) if result.passed else ("waits", f"{text}: {result.why}")
            )
            continue
        lines.append(("wrong", text))
        why = (
            f"no result after {allowed}"
            if result.why == "raised TimeLimit"
            else result.why
        )
        why = why.replace("raised TimeLimit", f"stopped after {allowed}")
        lines += [("why", _clip(text)) for text in (why, result.detail) if text]
    if verdict.mistake:
        lines.append(
            ("box", f"This looks like a known mistake: {verdict.mistake.hint}")
        )
    return lines + [("box", note) for note in notes]


def _safe(text: str) -> str:
    """A plain, short string on one line, whatever subclass of it came. Raises TypeError
    for anything else."""
    return _clip(str.__str__(text))


def _clip(text: str) -> str:
    text = " ".join(
        "".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST]).split()
    )
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
