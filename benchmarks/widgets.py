"""Measures how long the widgets of the notebooks take to answer (`make bench`).

    python benchmarks/widgets.py [NN ...] [--values 5] [--out FILE]

Runs the source of each notebook (all by default) with the smoke budget. Then moves each
control of each widget to several values. The time of an answer has two parts: `draw`
makes the figure, and `Picture.png` renders it. The result is the median of the CPU
seconds of each part, which other programs on the machine hardly change, and the CPU
seconds of the slowest answer. `explore` should answer in 0.3 s. Browser and kernel add
a few hundredths of a second. Writes benchmarks/widgets.json by default, for all
notebooks only.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("COURSE_BUDGET", "smoke")

import ipywidgets
import jupytext
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import course_lib.notebook

SOURCES = Path(__file__).resolve().parent.parent / "notebooks" / "src"
GOAL = 0.3
TYPED = ("blue book", "grinning face", "dog")


class Recorded(course_lib.notebook.explore):
    """An `explore` that remembers when its last figure was drawn and displayed, in CPU
    seconds of this process. `Recorded.made`: all widgets so far."""

    made = []

    def __init__(self, draw, **controls):
        def timed(**values):
            picture = draw(**values)
            self.drawn = time.process_time()
            return picture

        super().__init__(timed, **controls)
        self._image.observe(self._note, "value")
        Recorded.made.append(self)

    def _note(self, _):
        self.displayed = time.process_time()


def widgets(source: Path) -> list[Recorded]:
    """Runs a notebook's source and returns its widgets."""
    Recorded.made, course_lib.notebook.explore = [], Recorded
    shell = InteractiveShell()
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            with capture_output():
                result = shell.run_cell(cell.source)
            result.raise_error()
    return Recorded.made


def values_of(control, number: int) -> list:
    """Up to `number` values of a control, over its whole range."""
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    if isinstance(control, ipywidgets.Text) and not hasattr(control, "options"):
        return list(TYPED)
    if hasattr(control, "options"):  # of Dropdown: pairs of name and value
        options = getattr(control, "_options_values", control.options)
        places = np.linspace(0, len(options) - 1, min(number, len(options)))
        return [options[round(place)] for place in places]
    steps = round((control.max - control.min) / control.step)
    found = [
        control.min + control.step * round(place)
        for place in np.linspace(0, steps, number)
    ]
    if isinstance(control, ipywidgets.FloatLogSlider):
        found = [control.base**exponent for exponent in found]
    return found


def answers(box: Recorded, number: int):
    """Moves the controls one after the other, each from its first value to `number`
    values and back. Yields (control, value, CPU seconds of `draw`, CPU seconds of
    rendering) for each new picture."""
    for name, control in box.controls.items():
        first = control.value
        for value in values_of(control, number):
            if value == control.value:
                continue
            began = box.displayed = time.process_time()
            box.move(**{name: value})
            if box.displayed != began:
                yield name, value, box.drawn - began, box.displayed - box.drawn
        box.move(**{name: first})


def measure(source: Path, number: int) -> list[dict]:
    """Returns a row for each control of a notebook."""
    rows = []
    for k, box in enumerate(widgets(source)):
        found = {}
        for name, _, *seconds in answers(box, number):
            found.setdefault(name, []).append(seconds)
        for name, times in found.items():
            draw, render = map(median, zip(*times, strict=True))
            rows.append(
                {
                    "notebook": source.stem,
                    "widget": k,
                    "control": name,
                    "draw": round(draw, 3),
                    "render": round(render, 3),
                    "slowest": round(max(map(sum, times)), 3),
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NN")
    parser.add_argument("--values", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    if not (out or arguments.names):
        out = Path(__file__).with_suffix(".json")
    chosen = [
        source
        for source in sorted(SOURCES.glob("*.py"))
        if not arguments.names or source.name.startswith(tuple(arguments.names))
    ]
    rows = []
    for source in chosen:
        for row in measure(source, arguments.values):
            rows.append(row)
            late = "  slow" if row["draw"] + row["render"] > GOAL else ""
            print(
                f"{row['notebook']:20} {row['widget']} {row['control']:14} draw "
                f"{row['draw']:.3f} render {row['render']:.3f} slowest "
                f"{row['slowest']:.3f}{late}",
                flush=True,
            )
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
