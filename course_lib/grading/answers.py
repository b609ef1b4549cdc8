"""The answers in a notebook: found by name, whatever became of the cells around them.

Only imports, functions, classes and constants are executed: an answer needs nothing
else, and training runs, plots and downloads of a notebook are nobody's mark. Where that
ends in a NameError, and the notebook has that name, everything is executed down to the
cell that makes it.
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
KEEP = ("%%time", "%%timeit", "%%capture")  # the cell below is Python all the same


class Unreadable(ValueError):
    """The file is not a Python notebook."""


def code_cells(notebook: bytes) -> list[str]:
    """The sources of a notebook's code cells (nbformat 3 and 4). Raises Unreadable."""
    try:
        content = json.loads(notebook.decode("utf-8-sig"))
        sheets = content["worksheets"] if "worksheets" in content else [content]
        cells = [
            cell
            for sheet in sheets
            for cell in sheet["cells"]
            if cell["cell_type"] == "code"
        ]
        sources = [
            cell["source"] if "source" in cell else cell["input"] for cell in cells
        ]
        sources = [
            source if isinstance(source, str) else "".join(source) for source in sources
        ]
        about = content.get("metadata", {})
        language = (
            about.get("kernelspec", {}).get("language")
            or about.get("language_info", {}).get("name")
            or "python"
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"not a Jupyter notebook ({type(error).__name__})") from None
    if "python" not in str(language).lower():
        raise Unreadable("a notebook for another language than Python")
    return sources


def parse(cell: str, name: str) -> list[ast.stmt]:
    """A cell's statements, IPython's % and ! lines left out where it is no Python as it
    stands. Raises SyntaxError."""
    # for the lines of tracebacks
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
    """Is it an import, a function, a class, or an assignment that calls nothing?"""
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
    """A function that only raises NotImplementedError, or a class all of whose methods
    do: nobody's answer."""
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
    """Runs the definitions in a fresh `__main__`; errors end a single definition.

    With `wanted`, everything is run, as far down as it takes to have these names;
    errors end a cell. Returns the names that there are then, and what kept others from
    being defined. A stub never replaces an answer that stands above it: cells get
    copied.
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
                if (
                    is_stub(node)
                    and name in answered
                    or not (everything or defines(node))
                ):
                    continue
                mine = {answer: space[answer] for answer in answered if answer in space}
                exec(
                    compile(ast.Module([node], []), where, "exec", dont_inherit=True),
                    space,
                )
                # to compare with the library is no way to lose an answer
                if isinstance(node, ast.ImportFrom):
                    space |= mine
            # also SystemExit: a notebook goes on after it
            except BaseException as error:
                failed[name] = Failure(
                    type(error).__name__, linecache.getline(where, node.lineno).strip()
                )
                if everything:
                    break
            else:
                if name and not is_stub(node):
                    answered.add(name)
    return space, failed


def binds(cells: list[str], name: str) -> bool:
    """Does any statement of the notebook, at any depth, give something that name?"""
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
    """What the driver puts out for the notebook's answer of that name, for each case;
    see `drive.run`.

    Again as long as it ends in a NameError that the notebook can mend: the last one
    counts.
    """
    wanted: set[str] = set()
    while True:
        space, failed = execute(cells, wanted)
        if name in space:
            found = [run(drive, space[name], arrays) for arrays in cases]
            errors = [
                o.message
                for o in found
                if isinstance(o, Failure) and o.type == "NameError"
            ]
            missing = (
                re.findall(r"name '(\w+)' is not defined", errors[0]) if errors else []
            )
        else:
            found = [failed.get(name, Failure("NotFound"))] * len(cases)
            missing = [name] if found[0].type in ("NotFound", "NameError") else []
        yield found
        if not (
            new := {
                word for word in missing if word not in wanted and binds(cells, word)
            }
        ):
            return
        wanted |= new
