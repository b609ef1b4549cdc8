"""Makes the copy of the library for the sandbox: without the graded functions and
classes, without the grader, without the notebooks' plots."""

import ast
import compileall
import shutil
from collections.abc import Iterable
from pathlib import Path

import course_lib

PACKAGE = Path(course_lib.__file__).parent
# The files of grading/ that are copied.
NEEDED = (
    "__init__.py", "answers.py", "cells.py", "drive.py", "inside.py", "probes.py",
    "syscalls.py",
)  # fmt: skip
# In the sandbox, everything that a submission imports from course_lib.notebook does
# nothing, and its results do nothing either.
NO_NOTEBOOK = """\
class Nothing:
    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        return self


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing()
"""
REFUSE = (
    'raise type("Withheld", (ImportError,), {{}})'
    '("{name} is graded, so it is not in the library during grading")\n'
)
FUNCTION = "def {name}(*args, **kwargs):\n    "
CLASS = "class {name}:\n    def __init__(self, *args, **kwargs):\n        "
STUBS = {ast.FunctionDef: FUNCTION + REFUSE, ast.ClassDef: CLASS + REFUSE}


def definition(symbol: str, folder: Path = PACKAGE.parent) -> tuple[Path, str]:
    """Returns the file below `folder` that defines `module:name`, and the name in this
    file. They may differ from `module` and `name`, because a package's `__init__` often
    only imports the symbol. Raises FileNotFoundError if there is no such module."""
    module, name = symbol.split(":")
    path = folder / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if name == (alias.asname or alias.name):
                return definition(f"{node.module}:{alias.name}", folder)
    return path, name


def without(source: str, symbol: str) -> str:
    """Returns a module's source with one function or class replaced by a stub. Raises
    ValueError if the module does not define it."""
    for node in ast.parse(source).body:
        if type(node) in STUBS and node.name == symbol:
            lines = source.splitlines(keepends=True)
            first = min(part.lineno for part in (node, *node.decorator_list))
            lines[first - 1 : node.end_lineno] = [STUBS[type(node)].format(name=symbol)]
            return "".join(lines)
    raise ValueError(
        f"argument `symbol`: expected a function or class of the module, got {symbol!r}"
    )


def copy(to: Path, hides: Iterable[str]):
    """Copies the library into the folder `to` and compiles it. hides: the functions and
    classes to replace by stubs, as `module:name`."""
    package = to / PACKAGE.name
    shutil.copytree(
        PACKAGE,
        package,
        ignore=shutil.ignore_patterns(
            "__pycache__", "commands", "notebook", "shipped", "zoo"
        ),
    )
    for path in (package / "grading").iterdir():
        if path.name not in NEEDED:
            path.unlink()
    (package / "notebook").mkdir()
    (package / "notebook" / "__init__.py").write_text(NO_NOTEBOOK)
    for symbol in sorted(set(hides)):
        path, name = definition(symbol, to)
        path.write_text(
            without(path.read_text(encoding="utf-8"), name), encoding="utf-8"
        )
    compileall.compile_dir(package, quiet=2)
    for path in [to, *to.rglob("*")]:  # the sandbox's user is not the owner
        path.chmod(0o755 if path.is_dir() else 0o644)
