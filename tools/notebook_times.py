"""The seconds that a notebook takes where it is built, for `budget` in the notebook.

`tools/build_notebooks.py` writes them to course_lib/notebook/times.json.
"""

import ast
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch
from nbformat import NotebookNode

from course_lib.files import write_json
from course_lib.notebook.budget import TIMES, Times, read_times

BEGIN, END = "iopub.execute_input", "shell.execute_reply"


def cell_seconds(notebook: NotebookNode) -> list[float]:
    """Returns the seconds of each cell, 0 for one that was not executed, and removes
    nbclient's time stamps from the cells."""
    seconds = []
    for cell in notebook.cells:
        stamps = cell.metadata.pop("execution", {})
        times = [_time(stamps[key]) for key in (BEGIN, END) if key in stamps]
        seconds.append((times[1] - times[0]).total_seconds() if len(times) == 2 else 0)
    return seconds


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00"))


def trains(notebook: NotebookNode) -> list[bool]:
    """Tells of each cell whether it trains: it runs `live` or `updates`, or a name that
    a call of `updates` assigns, or a function that uses one of these."""
    names, found = {"live", "updates"}, []
    for cell in notebook.cells:
        used = set()
        # magics are no Python, and none of them trains
        is_python = cell.cell_type == "code" and "%" not in cell.source.lstrip()[:1]
        try:
            body = ast.parse(cell.source).body if is_python else []
        except SyntaxError:
            body = []
        for node in body:
            uses = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & names
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names |= {node.name} if uses else set()
                continue
            if isinstance(node, ast.Assign) and "updates" in uses:
                names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            used |= uses - {"updates"} if isinstance(node, ast.Assign) else uses
        found.append(bool(used))
    return found


def times_of(notebook: NotebookNode, seconds: list[float], probed: float) -> Times:
    """Returns the times of an executed notebook; probed: the seconds of `probe`."""
    training = [s for s, does in zip(seconds, trains(notebook)) if does]
    rounded = (sum(seconds), sum(training), max(training, default=0.0))
    return Times(*(round(s, 1) for s in rounded), round(probed, 5))


def record_times(
    notebook: NotebookNode,
    name: str,
    seconds: list[float],
    probed: float,
    path: Path = TIMES,
):
    """Writes a notebook's times, if it was built with the budget `laptop` on a CPU."""
    if notebook.metadata["course_lib"]["budget"] != "laptop":
        return
    if torch.cuda.is_available():
        return
    known = read_times(path) | {name: times_of(notebook, seconds, probed)}
    write_json(path, {name: asdict(known[name]) for name in sorted(known)})
