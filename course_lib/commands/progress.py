"""Shows the progress of a training run: a bar on a terminal, else lines."""

import os
import shutil
import sys
import time

from course_lib.commands.as_json import as_json
from course_lib.train import Step


class Progress:
    """The bar of a run; `show` is called after each step.

    On a terminal, the bar is drawn ten times a second. Otherwise there is a line after
    the first step, after every `every` steps, and at the end. json: these lines are
    JSON documents, also on a terminal.
    """

    def __init__(self, every: int, json: bool):
        self.every, self.json = every, json
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.bar = terminal and not json
        self.started, self.due = False, 0.0

    def show(self, step: Step):
        now = time.monotonic()
        periodic = now >= self.due if self.bar else step.k % self.every == 0
        if not periodic and self.started and step.k < step.steps:
            return
        self.started, self.due = True, now + 0.1
        numbers = {
            "step": step.k,
            "steps": step.steps,
            "loss": step.loss,
            "images_per_second": step.images / step.seconds,
            "seconds_left": step.seconds / step.k * (step.steps - step.k),
        }
        if self.json:
            print(as_json(numbers), flush=True)
        elif self.bar:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{bar(numbers, width)}", end="", flush=True)
        else:
            print(line(numbers), flush=True)

    def close(self):
        """Ends the line of the bar."""
        if self.bar and self.started:
            print(flush=True)


def line(numbers: dict) -> str:
    return (
        f"step {numbers['step']} of {numbers['steps']}  loss {numbers['loss']:.4f}  "
        f"{numbers['images_per_second']:.0f} images/s  "
        f"{duration(numbers['seconds_left'])} left"
    )


def bar(numbers: dict, width: int) -> str:
    """Returns the line with a bar before it, exactly `width` characters."""
    text = line(numbers)
    cells = max(0, min(30, width - len(text) - 4))
    full = cells * numbers["step"] // numbers["steps"]
    drawn = f"[{'#' * full}{'.' * (cells - full)}]  " if cells else ""
    return f"{drawn}{text}"[:width].ljust(width)


def duration(seconds: float) -> str:
    """Returns a time in words: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
