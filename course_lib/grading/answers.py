"""Finds the answers in a notebook by their names, even if cells were moved or deleted.

Only imports, functions, classes and constants are executed. An answer seldom needs
more, and a notebook's training runs, plots and downloads do not count for the mark. If
an answer raises a NameError and the notebook defines that name, all cells down to this
definition are executed.
"""

import ast
import json
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from torch import Tensor

from course_lib.grading.drive import Failure, run

MAGIC = re.compile(r"^(\s*)([%!?].*|.*\?)$")
# A cell that begins with one of these contains Python.
KEEP = ("%%time", "%%timeit", "%%capture")


class Unreadable(ValueError):
    """The file is not a Python notebook."""


def code_cells(notebook: bytes) -> list[str]:
    """Returns the sources of a notebook's code cells (nbformat 3 and 4). Raises
    Unreadable if the bytes are not a Python notebook."""
    try:
        content = json.loads(notebook.decode("utf-8-sig"))
        sheets = content["worksheets"] if "worksheets" in content else [content]
        cells = [
            cell
            for sheet in sheets
            for cell in sheet["cells"]
            if cell["cell_type"] == "code"
        ]
        texts = [cell["source" if "source" in cell else "input"] for cell in cells]
        sources = [text if isinstance(text, str) else "".join(text) for text in texts]
        metadata = content.get("metadata", {})
        language = metadata.get("kernelspec", {}).get("language")
        language = language or metadata.get("language_info", {}).get("name") or "python"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"not a Jupyter notebook ({type(error).__name__})") from None
    if "python" not in str(language).lower():
        raise Unreadable("a notebook in a language other than Python")
    return sources


def parse(cell: str, name: str) -> list[ast.stmt]:
    """Returns a cell's statements. If the cell is not valid Python, `pass` replaces
    IPython's %, ! and ? lines, and a cell of a %% magic such as %%bash has no
    statements. Raises SyntaxError."""
    # tracebacks read the source lines from here
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    try:
        return ast.parse(cell, name).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        if cell.lstrip().startswith("%%") and not cell.lstrip().startswith(KEEP):
            return []
        python = "\n".join(MAGIC.sub(r"\1pass", line) for line in cell.splitlines())
        try:
            return ast.parse(python, name).body
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error)) from None


def defines(node: ast.stmt) -> bool:
    """Tests for an import, a function, a class, or an assignment without a call."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return node.value is not None and not _calls(node.value)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def _calls(node: ast.AST) -> bool:
    if isinstance(node, ast.Lambda):
        return False
    return isinstance(node, (ast.Call, ast.Await)) or any(
        map(_calls, ast.iter_child_nodes(node))
    )


def is_stub(node: ast.stmt) -> bool:
    """Tests for a function that only raises NotImplementedError, or a class in which
    all methods do: the student has not answered yet."""
    if isinstance(node, ast.ClassDef):
        methods = [child for child in node.body if isinstance(child, ast.FunctionDef)]
        return bool(methods) and all(map(is_stub, methods))
    if not isinstance(node, ast.FunctionDef):
        return False
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (
        len(body) == 1
        and isinstance(body[0], ast.Raise)
        and "NotImplementedError" in ast.dump(body[0])
    )


def execute(
    cells: list[str], wanted: set[str] = frozenset()
) -> tuple[dict, dict[str, Failure]]:
    """Runs the definitions in a new `__main__` module.

    An error skips only the definition that raises it. With `wanted`, all statements are
    run until these names are defined; there an error skips the rest of its cell.
    Returns the defined names with their values, and the failures by name. A stub never
    replaces an answer above it, because students copy cells.
    """
    module = sys.modules["__main__"] = ModuleType("__main__")
    space, failed, answered = vars(module), {}, set()
    for number, cell in enumerate(cells, 1):
        where = f"cell {number}"
        try:
            nodes = parse(cell, where)
        except SyntaxError as error:
            line = (error.text or "").strip()
            failed |= {
                name: Failure("SyntaxError", line)
                for name in re.findall(r"^\s*(?:def|class)\s+(\w+)", cell, re.M)
            }
            continue
        everything = not wanted <= space.keys()
        for node in nodes:
            name = getattr(node, "name", "")
            try:
                if is_stub(node) and name in answered:
                    continue
                if not (everything or defines(node)):
                    continue
                own = {answer: space[answer] for answer in answered if answer in space}
                statement = ast.Module([node], [])
                exec(compile(statement, where, "exec", dont_inherit=True), space)
                # An import of the library's version does not replace an answer.
                if isinstance(node, ast.ImportFrom):
                    space |= own
            # SystemExit too: a notebook continues after it
            except BaseException as error:
                line = linecache.getline(where, node.lineno).strip()
                failed[name] = Failure(type(error).__name__, line)
                if everything:
                    break
            else:
                if name and not is_stub(node):
                    answered.add(name)
    return space, failed


def binds(cells: list[str], name: str) -> bool:
    """Tests whether any statement of the notebook, at any depth, defines this name."""
    for number, cell in enumerate(cells, 1):
        try:
            nodes = [
                inner
                for node in parse(cell, f"cell {number}")
                for inner in ast.walk(node)
            ]
        except SyntaxError:
            continue
        for node in nodes:
            stored = (
                isinstance(node, ast.Name)
                and isinstance(node.ctx, ast.Store)
                and node.id == name
            )
            if (
                stored
                or getattr(node, "name", None) == name
                or getattr(node, "asname", None) == name
            ):
                return True
    return False


def outcomes(
    cells: list[str], name: str, drive: Callable, cases: list[dict[str, Tensor]]
) -> Iterator[list]:
    """Yields the outcomes of the notebook's answer of that name, one for each case (see
    `drive.run`).

    As long as the answer raises a NameError and the notebook defines the missing name,
    the statements down to this definition are executed, and new outcomes are yielded.
    The last ones count.
    """
    wanted: set[str] = set()
    while True:
        space, failed = execute(cells, wanted)
        if name in space:
            found = [run(drive, space[name], arrays) for arrays in cases]
            failures = [o for o in found if isinstance(o, Failure)]
            errors = [o.message for o in failures if o.type == "NameError"]
            first = errors[0] if errors else ""
            missing = re.findall(r"name '(\w+)' is not defined", first)
        else:
            found = [failed.get(name, Failure("NotFound"))] * len(cases)
            missing = [name] if found[0].type in ("NotFound", "NameError") else []
        yield found
        new = {word for word in missing if word not in wanted and binds(cells, word)}
        if not new:
            return
        wanted |= new
