"""The check of an exercise notebook: runs an answer on the public cases and shows a
panel that says which properties are right and which are wrong.

    check = checks("03_contrastive")
    check(nt_xent)

How an answer is run, and with which time limit, is in `course_lib.notebook.attempt`.
"""

import html
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from course_lib.checks import positive
from course_lib.files import SHIPPED
from course_lib.grading.cells import code_cells
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Case
from course_lib.grading.public_files import read_public
from course_lib.grading.verdict import FAULTS, WAITS, Verdict, judge
from course_lib.notebook.attempt import Attempt, FileAttempt, clip
from course_lib.notebook.progress import record
from course_lib.notebook.show import Source
from course_lib.notebook.style import INK, PAPER, RIGHT, WRONG

LIMIT = 5.0  # seconds that an answer may compute, for all cases of an exercise together
FINAL_NOTE = (
    "This check uses the public cases only. Your final mark comes from hidden cases, "
    "with other shapes and values."
)
# by the type or message of a Failure; each must be true of every answer that fails so
HINTS = {
    "TimeLimit": (
        "Does your answer contain an endless loop? If not, your computer may be busy: "
        "close other programs and check again."
    ),
    "RecursionError": "Does your answer call itself without end?",
    "SystemExit": "An answer must return its result. It must not exit.",
    "expected a tensor, got NoneType": (
        "Your answer returned None. Is a `return` missing?"
    ),
}
MONO = "margin-left: 5.5em; font-family: monospace"
BOX = (
    "margin: 0.4em 0; padding: 0.3em 0.7em; white-space: pre-line; "
    f"border: 1px solid {WRONG}; background: #fdf1e3"
)
FRAME = (
    f"background: {PAPER}; color: {INK}; padding: 0.6em 1em; max-width: 60em; "
    "line-height: 1.5; overflow-wrap: anywhere"
)
# kind of a line: (symbol, colour of the symbol, word, indent of the plain text, CSS)
LINE_KINDS = {
    "title": ("", "", "", "", "font-weight: bold"),
    "right": ("✓", RIGHT, "right", "", ""),
    "wrong": ("✗", WRONG, "wrong", "", ""),
    "to do": ("–", INK, "to do", "", ""),
    "waits": ("–", INK, "waits", "", ""),
    "why": ("", "", "", " " * 9, MONO),
    "input": ("", "", "", " " * 11, f"{MONO}; padding-left: 1em"),
    "box": ("", "", "", "", BOX),
    "solution": ("", "", "", "", "margin-top: 0.4em; cursor: pointer"),
    "note": ("", "", "", "", "margin-top: 0.4em; font-size: 0.9em"),
}
Line = tuple[str, str]  # (a key of LINE_KINDS, the text)
# Most numbers that a line shows of an array, in a small and in a big case.
MOST_NUMBERS, FEW_NUMBERS = 12, 4
BIG = 200  # elements in all arrays of a case
MOST_INPUTS = 12  # arrays of a case


@dataclass(frozen=True, repr=False)
class Panel:
    """The result of a check. It is displayed as HTML or as plain text, with the same
    lines in both."""

    lines: list[Line]
    verdict: Verdict | None = None  # None where the exercise is unknown
    solution: str = ""  # the worked solution, if the student may see it now

    @property
    def solved(self) -> bool:
        return self.verdict is not None and self.verdict.solved

    @property
    def points(self) -> int:
        return self.verdict.points if self.verdict else 0

    def __repr__(self) -> str:
        rows = []
        for kind, text in self._all_lines():
            symbol, _, word, indent, _ = LINE_KINDS[kind]
            rows.append(f"{indent}{f'{symbol} {word}  ' if symbol else ''}{text}")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        kinds = [kind for kind, _ in self.lines]
        edge = "#666666"
        if self.solved:
            edge = RIGHT
        elif "wrong" in kinds or "box" in kinds:
            edge = WRONG
        rows = "".join(self._html_row(*line) for line in self._all_lines())
        style = f"{FRAME}; border-left: 5px solid {edge}"
        return f'<div role="status" style="{style}">{rows}</div>'

    def _html_row(self, kind: str, text: str) -> str:
        symbol, colour, word, _, style = LINE_KINDS[kind]
        mark = ""
        if symbol:
            mark = (
                '<span style="display: inline-block; width: 5.5em">'
                f'<b style="color: {colour}">{symbol}</b> {word}</span>'
            )
        content = f"{mark}{html.escape(text)}"
        if kind != "solution":
            return f'<div style="{style}">{content}</div>'
        code = Source(self.solution)._repr_html_()
        return f'<details><summary style="{style}">{content}</summary>{code}</details>'

    def _all_lines(self) -> list[Line]:
        if not self.solution:
            return [*self.lines, ("note", FINAL_NOTE)]
        how = f'Worked solution: print(check.solution("{self.verdict.exercise}"))'
        return [*self.lines, ("solution", how), ("note", FINAL_NOTE)]


class checks:
    """The check of one sheet of exercises: `check = checks("03")`, then
    `check(answer)`, which returns a `Panel`.

    sheet: "03_contrastive" or its number, "03". limit: seconds that an answer may
    compute, for all cases of an exercise together. folder: the folder of the public
    cases (default: the course's own).

    Raises ValueError for an unknown sheet. A call `check(answer)` raises nothing,
    whatever the answer does, with one exception: KeyboardInterrupt when the user
    interrupts.
    """

    def __init__(self, sheet: str, *, limit: float = LIMIT, folder: Path | None = None):
        self._is_own = folder is None
        folder = Path(folder or SHIPPED / "exercises" / "checks")
        names = sorted(path.stem for path in folder.glob("*.json"))
        found = [name for name in names if sheet in (name, name.partition("_")[0])]
        if len(found) != 1:
            raise ValueError(
                "argument `sheet`: expected one of "
                f"{', '.join(names) or f'those in {folder} (none)'}, "
                f"got {sheet!r}"
            )
        self.sheet, self.exercises = found[0], read_public(folder / found[0])
        self.limit = positive("limit", limit)
        self._attempted: set[str] = set()

    def __call__(self, answer) -> Panel:
        attempt = Attempt(answer, self.exercises)
        attempt.run_for(self.limit)
        if attempt.exercise is None:
            expected = ", ".join(self.exercises)
            example = next(iter(self.exercises), "answer")
            advice = (
                f"Expected one of {expected}, got {attempt.received}. Pass your "
                f"function or class itself: check({example})"
            )
            boxes = [("box", text) for text in (advice, *_time_notes(attempt))]
            return Panel([("title", "Nothing to check"), *boxes])
        verdict, lines = _verdict(attempt)
        if self._is_own:
            record(self.sheet, verdict)
        if not verdict.todo:
            self._attempted.add(verdict.exercise)
        attempted = verdict.exercise in self._attempted
        solution = attempt.exercise.solution if attempted else ""
        return Panel(lines, verdict, solution)

    def file(self, notebook: Path) -> list[Panel]:
        """The panels of all answers in a notebook file. The answers are found in the
        same way as by the grader; each exercise has the limit of this check.

        Raises ValueError if the file is not a notebook.
        """
        cells, panels = code_cells(notebook.read_bytes()), []
        for exercise in self.exercises.values():
            attempt = FileAttempt(cells, exercise)
            attempt.run_for(self.limit)
            verdict, lines = _verdict(attempt)
            lines += [("note", attempt.note)] if attempt.note else []
            panels.append(Panel(lines, verdict))
        return panels

    def solution(self, name: str) -> Source:
        """The worked solution of an exercise, to print.

        Raises ValueError for an unknown exercise, if this release does not include the
        solution, and if no answer was checked yet (an unchanged stub is not an answer).
        """
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
                f"argument `name`: the solution of {name} is available after an "
                f"attempt: run check({name}) first"
            )
        return Source(self.exercises[name].solution)


def _verdict(attempt: Attempt) -> tuple[Verdict, list[Line]]:
    """The verdict on an attempt at an exercise, and the lines of its panel."""
    late = attempt.late.is_set()
    missing = Failure("TimeLimit" if late else "an exception that cannot be read")
    exercise, notes = attempt.exercise, _time_notes(attempt)
    cases = len(exercise.cases)
    outcomes = (attempt.outcomes + [missing] * cases)[:cases]
    verdict = judge(exercise, outcomes)
    if not verdict.mistakes:
        failures = [o for o in outcomes if isinstance(o, Failure)]
        faults = {text for o in failures for text in (o.type, o.message)}
        faults -= {"TimeLimit"}  # _time_notes has this hint already
        notes += [hint for fault, hint in HINTS.items() if fault in faults]
    shown = None
    if not verdict.mistakes:
        shown = next((r for r in verdict.results if r.case is not None), None)
    if shown and isinstance(failure := outcomes[shown.case], Failure):
        # these failures are the same for any input
        if failure.type in (*FAULTS, "TimeLimit"):
            shown = None
    case = exercise.cases[shown.case] if shown else None
    return verdict, _lines(verdict, exercise.points, notes, attempt.allowed, case)


def _time_notes(attempt: Attempt) -> list[str]:
    """A note if the time was up, else nothing."""
    if not attempt.late.is_set():
        return []
    note = f"No result after {attempt.allowed}. {HINTS['TimeLimit']}"
    if not attempt.ended.is_set():
        note += " It is still running: restart the kernel to stop it."
    return [note]


def _lines(
    verdict: Verdict, points: int, notes: list[str], allowed: str, case: Case | None
) -> list[Line]:
    """A title, lines for each property, then the hints of known mistakes, and the
    notes. case: is shown below the first property that fails."""
    total = f"{points} point{'s' * (points != 1)}"
    if verdict.todo:
        return [("to do", f"{verdict.exercise}, {total}")]
    done = "solved, " * verdict.solved
    score = f"{verdict.points} of {total} on the public cases"
    lines = [("title", f"{verdict.exercise}: {done}{score}")]
    for result in verdict.results:
        maximum = result.property.points
        text = f"{result.property.name} ({maximum * result.passed} of {maximum})"
        if result.passed:
            lines.append(("right", text))
        elif result.why == WAITS:
            lines.append(("waits", f"{text}: {result.why}"))
        else:
            lines.append(("wrong", text))
            why = result.why
            if why == "raised TimeLimit":
                why = f"no result after {allowed}"
            why = why.replace("raised TimeLimit", f"stopped after {allowed}")
            lines += [("why", clip(text)) for text in (why, *result.details)]
            if case:
                lines += _case_lines(case)
                case = None
    if len(verdict.mistakes) == 1:
        lines.append(("box", f"{verdict.lead} {verdict.hint}"))
    elif verdict.mistakes:
        hints = "".join(f"\n- {mistake.hint}" for mistake in verdict.mistakes)
        lines.append(("box", verdict.lead + hints))
    return lines + [("box", note) for note in notes]


def _case_lines(case: Case) -> list[Line]:
    """The inputs of a case: name, dtype, shape and the first numbers of each array."""
    big = sum(array.numel() for array in case.arrays.values()) > BIG
    lines = [("why", "The smallest case that fails:")]
    for name, array in list(case.arrays.items())[:MOST_INPUTS]:
        dtype = str(array.dtype).removeprefix("torch.")
        shape = f" {tuple(array.shape)}" if array.ndim else ""
        numbers = _numbers(array, FEW_NUMBERS if big else MOST_NUMBERS)
        lines.append(("input", f"{name}, {dtype}{shape}: {numbers}"))
    if len(case.arrays) > MOST_INPUTS:
        lines.append(("input", f"and {len(case.arrays) - MOST_INPUTS} more arrays"))
    return lines


def _numbers(array: Tensor, most: int) -> str:
    """The numbers of an array as nested lists, or the first ones followed by "...", if
    there are more than MOST_NUMBERS."""
    if array.numel() > MOST_NUMBERS:
        first = array.flatten()[:most]
        return ", ".join(_numbers(number, most) for number in first) + ", ..."
    if array.ndim:
        return "[" + ", ".join(_numbers(part, most) for part in array) + "]"
    number = array.item()
    return f"{number:.4g}" if isinstance(number, float) else str(number)
