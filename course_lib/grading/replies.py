"""Reads the outcomes of an answer's cases from the output of the sandbox. A hostile
submission can write any bytes there, so nothing in them is trusted."""

import io
import json
import re

from safetensors.numpy import load

from course_lib.grading.answers import Outcomes
from course_lib.grading.drive import Failure
from course_lib.grading.inside import FAILURES, LINE, REPLY, SKIPPED, receive


def parse(written: bytes, cases: int) -> Outcomes | None:
    """Returns the outcome of each case (outputs or a Failure), or None if the bytes are
    not a valid reply. If there are several replies (see `answers.outcomes`), the last
    complete one counts."""
    file, reply = io.BytesIO(written), None
    try:
        while True:
            reply = receive(file.read, FAILURES), receive(file.read, REPLY)
    except (EOFError, ValueError):
        pass
    try:
        return _outcomes(*reply, cases) if reply else None
    except Exception:  # a hostile reply can make the parsers raise anything
        return None


def _outcomes(failures: bytes, outputs: bytes, cases: int) -> Outcomes:
    found = Outcomes({} for _ in range(cases))
    for key, array in load(outputs).items():
        i, _, name = key.partition("/")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"an array of {array.dtype}")
        found[int(i)][name] = array
    for i, (kind, *texts) in json.loads(failures).items():
        if not re.fullmatch(r"[A-Za-z_]\w{0,50}", kind, re.ASCII):
            kind = "Exception"
        line, message = (
            "".join(c for c in text[:LINE] if c.isprintable()) for text in texts
        )
        # The message is compared with those of known mistakes, but never shown.
        failure = Failure(kind, line, message)
        if i == SKIPPED:
            found.skipped = failure
        else:
            found[int(i)] = failure
    return found
