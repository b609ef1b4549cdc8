"""Finds the answers in a notebook by their names, even if cells were moved or deleted.

Only imports, functions, classes and constants are executed. An answer seldom needs
more, and a notebook's training runs, plots and downloads do not count for the mark. If
an answer raises a NameError and the notebook defines that name, all cells down to this
definition are executed.
"""

import __future__

import ast
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from torch import Tensor

from course_lib.grading.cells import parse
from course_lib.grading.drive import Failure, run


class Outcomes(list):
    """The outcomes of an answer's cases, one for each case.

    skipped: the first statement that failed above the answer in its cell, if there is
    one. IPython would have stopped the cell there.
    """

    skipped: Failure | None = None

    @property
    def note(self) -> str:
        """The sentence about `skipped` for reports, "" if there is nothing to say."""
        if self.skipped is None:
            return ""
        return (
            f"A line above this answer in its cell raised {self.skipped.type} here: "
            f"`{self.skipped.line}`. The lines below it were executed all the same."
        )


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

    With `wanted`, all statements are run until these names are defined. An error skips
    only the statement that raises it, because an import that fails here may have worked
    where the student ran the notebook. As in IPython, `from __future__` also holds for
    the cells below.

    Returns the defined names with their values, and the failures by name. The failures
    also have a key `after NAME` if a statement above NAME in its cell failed. A stub
    never replaces an answer above it, because students copy cells.
    """
    module = sys.modules["__main__"] = ModuleType("__main__")
    space, failed, answered, flags = vars(module), {}, set(), 0
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
        skipped = None
        for node in nodes:
            name = getattr(node, "name", "")
            try:
                if is_stub(node) and name in answered:
                    continue
                if not (everything or defines(node)):
                    continue
                own = {answer: space[answer] for answer in answered if answer in space}
                statement = ast.Module([node], [])
                exec(compile(statement, where, "exec", flags, True), space)
                if isinstance(node, ast.ImportFrom):
                    # An import of the library's version does not replace an answer.
                    space |= own
                    flags |= _future(node)
            # SystemExit too: a notebook continues after it
            except BaseException as error:
                line = linecache.getline(where, node.lineno).strip()
                failed[name] = Failure(type(error).__name__, line)
                skipped = skipped or failed[name]
            else:
                if name and not is_stub(node):
                    answered.add(name)
                for bound in _names(node):
                    failed.pop(f"after {bound}", None)
                    if skipped:
                        failed[f"after {bound}"] = skipped
    return space, failed


def _future(node: ast.ImportFrom) -> int:
    """Returns the compiler's flags of a `from __future__ import`, else 0."""
    flags = 0
    for alias in node.names if node.module == "__future__" else ():
        flags |= getattr(__future__, alias.name).compiler_flag
    return flags


def _names(node: ast.stmt) -> list[str]:
    """Returns the names that a function, a class or a simple assignment defines."""
    targets = node.targets if isinstance(node, ast.Assign) else [node]
    names = [getattr(t, "name", "") or getattr(t, "id", "") for t in targets]
    return list(filter(None, names))


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
) -> Iterator[Outcomes]:
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
            found = Outcomes(run(drive, space[name], arrays) for arrays in cases)
            found.skipped = failed.get(f"after {name}")
            failures = [o for o in found if isinstance(o, Failure)]
            errors = [o.message for o in failures if o.type == "NameError"]
            first = errors[0] if errors else ""
            missing = re.findall(r"name '(\w+)' is not defined", first)
        else:
            found = Outcomes([failed.get(name, Failure("NotFound"))] * len(cases))
            missing = [name] if found[0].type in ("NotFound", "NameError") else []
        yield found
        new = {word for word in missing if word not in wanted and binds(cells, word)}
        if not new:
            return
        wanted |= new
