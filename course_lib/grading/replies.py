"""What comes out of the sandbox: bytes that anybody may have made, read as the outcomes
of an answer's cases."""

import io
import json
import re

from safetensors.numpy import load

from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Outputs
from course_lib.grading.inside import FAILURES, LINE, REPLY, receive


def parse(written: bytes, cases: int) -> list[Outputs | Failure] | None:
    """The outcome of each case, from bytes that anybody may have made; None where they
    are no such thing. Of several replies (see `answers.outcomes`) the last one that is
    whole counts."""
    file, reply = io.BytesIO(written), None
    try:
        while True:
            reply = receive(file.read, FAILURES), receive(file.read, REPLY)
    except (EOFError, ValueError):
        pass
    try:
        return _outcomes(*reply, cases) if reply else None
    except Exception:  # whatever a hostile reply makes of the parsers: it is no answer
        return None


def _outcomes(failures: bytes, outputs: bytes, cases: int) -> list[Outputs | Failure]:
    found: list = [{} for _ in range(cases)]
    for key, array in load(outputs).items():
        i, _, name = key.partition("/")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"an array of {array.dtype}")
        found[int(i)][name] = array
    for i, (kind, *texts) in json.loads(failures).items():
        kind = (
            kind if re.fullmatch(r"[A-Za-z_]\w{0,50}", kind, re.ASCII) else "Exception"
        )
        line, message = (
            "".join(c for c in text[:LINE] if c.isprintable()) for text in texts
        )
        # the message is compared with those of mistakes, never shown
        found[int(i)] = Failure(kind, line, message)
    return found
