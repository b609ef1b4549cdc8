"""The blocks of docs/your-own.md, with the small sizes that the page gives for its
test."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "your-own.md"


def blocks():
    """Yields (kind, text) of each block of code: "file" for a Python file of the
    reader's, whose first line is its name; "python"; "bash"."""
    text = PAGE.read_text(encoding="utf-8")
    for kind, code in re.findall(r"^```(python|bash)\n(.*?)^```$", text, re.S | re.M):
        small = r"^(.* = ).*  # the test of this page: (.*)$"
        code = re.sub(small, r"\1\2", code, flags=re.M)
        yield ("file" if re.match(r"# \w+\.py\n", code) else kind), code


def write(code, folder=Path()):
    """Writes a file of the reader's and returns its path."""
    path = folder / code.splitlines()[0].removeprefix("# ")
    path.write_text(code)
    return path


def command(first):
    """Returns the one command of the page that begins so."""
    lines = [
        line for kind, code in blocks() if kind == "bash" for line in code.splitlines()
    ]
    (found,) = [line for line in lines if line.startswith(first)]
    return found
