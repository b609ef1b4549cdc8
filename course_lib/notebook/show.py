"""`show` displays source code of the library."""

import ast
import html
import inspect
import sys
import textwrap
from pathlib import Path

from IPython.display import display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from course_lib.notebook.style import INK, PAPER


class Source(str):
    """Python code as a string. Front ends that display HTML show it with syntax
    colours, others as plain text. If `folded` is not empty, HTML shows this line, and
    the code after a click on it."""

    folded = ""

    def __repr__(self):
        return str(self)

    def _repr_html_(self):
        box = (
            f"background: {PAPER}; color: {INK}; padding: 0.6em; overflow-x: auto; "
            "white-space: pre-wrap"
        )
        style = HtmlFormatter(
            noclasses=True, style="xcode", nobackground=True, prestyles=box
        )
        code = highlight(self, PythonLexer(), style)
        if not self.folded:
            return code
        line = html.escape(self.folded)
        return f"<details><summary>{line}</summary>{code}</details>"


def show(symbol, *, doc: bool = True, after: str = ""):
    """Displays the source of a function, class or method, with its file and line.

    doc: whether to include the docstrings. after: an exercise that the source answers,
    such as "exercise 3"; the source is then folded, with the advice to solve the
    exercise first. Raises ValueError for an object without Python source (a value, a
    builtin function).
    """
    symbol = inspect.unwrap(symbol)  # the function below its decorators
    try:
        lines, start = inspect.getsourcelines(symbol)
    except (TypeError, OSError):
        raise ValueError(
            "argument `symbol`: expected a function, class or method written in "
            f"Python, got {symbol!r}"
        ) from None
    source = textwrap.dedent("".join(lines))
    package = symbol.__module__.partition(".")[0]
    if package == "__main__":
        where = "defined in this notebook"
    else:
        file = Path(inspect.getsourcefile(symbol))
        root = Path(sys.modules[package].__file__).parents[1]
        where = f"{file.relative_to(root).as_posix()}, line {start}"
    code = Source(f"# {where}\n{source if doc else _without_docstrings(source)}")
    if after:
        code.folded = (
            f"The library's {symbol.__name__}. It answers {after} of the sheet: solve "
            "that first, then unfold this."
        )
    display(code)


def _without_docstrings(source: str) -> str:
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and ast.get_docstring(node)
            and len(node.body) > 1
        ):
            first, end = node.body[0].lineno - 1, node.body[0].end_lineno
            end += not (lines[end] or "").strip()  # and the blank line after it
            lines[first:end] = [None] * (end - first)
    return "\n".join(line for line in lines if line is not None)
