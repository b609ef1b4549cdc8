"""The progress with the exercises: `check` records each result, `progress()` shows all.

The record is a small JSON file: in a clone runs/progress.json, elsewhere the file
.course_lib/progress.json of the home folder. The environment variable COURSE_PROGRESS
names another file; the value `off` records nothing.

An exercise that was solved once stays solved. The points are those of the last check.
Where they are fewer than all although the exercise was solved, a note says so.
"""

import contextlib
import html
import json
import os
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import ROOT, SHIPPED, write_json
from course_lib.grading.verdict import Verdict
from course_lib.notebook.style import INK, PAPER, RIGHT

BEGIN = (
    "No exercise is solved yet. Open a sheet, write an answer, and run the cell "
    "check(...) below it. Then run this cell again."
)
FORGOTTEN = (
    "Nothing is recorded here, because COURSE_PROGRESS is off or nbgrader runs this."
)


def record_path() -> Path | None:
    """Returns the path of the record, or None where nothing is to be recorded: with
    COURSE_PROGRESS=off, and while nbgrader runs a notebook."""
    chosen = os.environ.get("COURSE_PROGRESS", "")
    if chosen == "off" or os.environ.get("NBGRADER_EXECUTION"):
        return None
    if chosen:
        return Path(chosen).expanduser()
    if (ROOT / "pyproject.toml").exists():
        return ROOT / "runs" / "progress.json"
    return Path.home() / ".course_lib" / "progress.json"


def read_record(path: Path | None) -> dict[str, dict[str, dict]]:
    """Returns sheet -> exercise -> {"solved": bool, "points": int}.

    A file that is missing or damaged counts as empty, and so does each entry of another
    form.
    """
    try:
        sheets = json.loads(path.read_text(encoding="utf-8")) if path else {}
        items = list(sheets.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    good = {}
    for sheet, rows in items:
        rows = rows.items() if isinstance(rows, dict) else ()
        kept = {name: row for name, row in rows if _is_row(row)}
        if kept:
            good[sheet] = kept
    return good


def _is_row(row) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == {"solved", "points"}
        and isinstance(row["solved"], bool)
        and type(row["points"]) is int
    )


def record(sheet: str, verdict: Verdict):
    """Records the result of a check, if the exercise was attempted. A check must not
    fail because the record cannot be written: the disk is full or read-only."""
    # RuntimeError: the home folder is unknown
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = record_path()
        if path is None or verdict.todo:
            return
        sheets = read_record(path)
        rows = sheets.setdefault(sheet, {})
        solved = verdict.solved or rows.get(verdict.exercise, {}).get("solved", False)
        rows[verdict.exercise] = {"solved": solved, "points": verdict.points}
        write_json(path, sheets)


@dataclass(frozen=True)
class Sheet:
    """The progress with a sheet. weaker: its solved exercises whose last check gave
    fewer points than all."""

    name: str
    title: str
    solved: int
    total: int
    points: int
    maximum: int
    weaker: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (
            f"{self.solved} of {self.total} solved, "
            f"{self.points} of {self.maximum} points"
        )
        if self.weaker:
            text += f"; the last check of {', '.join(self.weaker)} found a mistake"
        return text


class Progress(list):
    """The progress with all sheets, a list of `Sheet`. It is displayed as HTML or as
    plain text, with the same words."""

    note = ""

    def __repr__(self) -> str:
        width = max((len(sheet.title) for sheet in self), default=0)
        lines = [f"{sheet.title:{width}}  {sheet}" for sheet in self]
        return "\n".join([*lines, *filter(None, [self.note])])

    def _repr_html_(self) -> str:
        rows = "".join(map(_html_row, self))
        note = f'<div style="margin-top: 0.5em">{html.escape(self.note)}</div>'
        return (
            f'<div style="background: {PAPER}; color: {INK}; padding: 0.6em 1em; '
            f'max-width: 60em; line-height: 1.5; border-left: 5px solid {RIGHT}">'
            f"{rows}{note if self.note else ''}</div>"
        )


def progress() -> Progress:
    """Returns the progress with all sheets of exercises, as `check` recorded it on this
    computer. It is displayed as a table with bars."""
    path = record_path()
    shown, recorded = Progress(), read_record(path)
    for public in sorted((SHIPPED / "exercises" / "checks").glob("*.json")):
        exercises = json.loads(public.read_text(encoding="utf-8"))
        most = {
            name: sum(row["points"] for row in exercise["properties"])
            for name, exercise in exercises.items()
        }
        rows = recorded.get(public.stem, {})
        rows = {name: row for name, row in rows.items() if name in most}
        solved = [name for name, row in rows.items() if row["solved"]]
        shown.append(
            Sheet(
                public.stem,
                _title(public.stem),
                len(solved),
                len(most),
                sum(min(row["points"], most[name]) for name, row in rows.items()),
                sum(most.values()),
                tuple(n for n in solved if rows[n]["points"] < most[n]),
            )
        )
    if path is None:
        shown.note = FORGOTTEN
    elif not any(sheet.solved for sheet in shown):
        shown.note = BEGIN
    return shown


def _title(name: str) -> str:
    """Returns the title of a sheet: from its notebook in a clone, else its name."""
    notebook = ROOT / "exercises" / f"{name}.ipynb"
    try:
        first = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]
        line = "".join(first).partition("\n")[0]
    except (OSError, ValueError, LookupError, TypeError):
        line = ""
    return (
        line.removeprefix("# Exercises ") if line.startswith("# Exercises ") else name
    )


def _html_row(sheet: Sheet) -> str:
    title = html.escape(sheet.title)
    if (ROOT / "exercises" / f"{sheet.name}.ipynb").exists():
        title = (
            f'<a href="exercises/{sheet.name}.ipynb" style="color: {RIGHT}">{title}</a>'
        )
    share = 100 * sheet.solved / max(1, sheet.total)
    bar = (
        '<div style="flex: 0 0 8em; height: 0.7em; border-radius: 0.4em; '
        f'border: 1px solid {RIGHT}; overflow: hidden" aria-hidden="true">'
        f'<div style="width: {share:.0f}%; height: 100%; background: {RIGHT}"></div>'
        "</div>"
    )
    return (
        '<div style="display: flex; flex-wrap: wrap; align-items: center; '
        f'gap: 0 1em"><div style="flex: 0 0 17em">{title}</div>{bar}'
        f'<div style="flex: 1 1 14em">{html.escape(str(sheet))}</div></div>'
    )
