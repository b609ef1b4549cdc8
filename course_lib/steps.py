"""The iterator over the steps of a training run, which warns if nobody iterates."""

import sys
import warnings
import weakref
from collections.abc import Iterator


class Steps(Iterator):
    """The steps of a run that has not begun yet: `next` computes one after the other.

    A run that is never started would train nothing and say nothing. So there is a
    warning when such a run is deleted or the program ends. The warning names the line
    of the program that made the run.
    """

    def __init__(self, steps: Iterator, about: str):
        self._steps, self._about = steps, about
        frame = sys._getframe(1)
        while frame.f_back and _is_of_the_library(frame):
            frame = frame.f_back
        self._unused = weakref.finalize(
            self,
            warnings.warn_explicit,
            f"nothing was trained ({about}): write `for step in fit(...): ...`",
            UserWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
        )

    def __next__(self):
        self._unused.detach()
        return next(self._steps)

    def close(self):
        """Ends the run, as the end of a loop by `break` does."""
        self._unused.detach()
        self._steps.close()

    def __repr__(self) -> str:
        state = "nothing is trained yet: write `for step in fit(...): ...`"
        return f"<{self._about}; {state if self._unused.alive else 'started'}>"


def _is_of_the_library(frame) -> bool:
    return frame.f_globals.get("__name__", "").startswith("course_lib.")
