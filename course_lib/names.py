"""Names that a user types: the error for an unknown one, and objects of one's own,
given by `module:NAME`."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from course_lib.spelling import did_you_mean


def unknown(argument: str, name: str, known: Iterable[str], more: str = ""):
    """Returns the ValueError for a name that is not among the known ones. The message
    lists these and suggests the closest. more: what else is accepted."""
    known = list(known)
    return ValueError(
        f"argument `{argument}`: expected one of {', '.join(known)}{more}, got "
        f"{name!r}{did_you_mean(name, known)}"
    )


def is_own(name: str) -> bool:
    """Returns whether the name has the form `module:NAME`."""
    return isinstance(name, str) and ":" in name


def imported(
    argument: str, name: str, accepts: Callable[[object], bool], expected: str
):
    """Returns the object NAME of a module for the name "module:NAME".

    The module is a file of the current folder, or any module that Python finds. The
    current folder becomes a part of Python's path. accepts: whether an object is of the
    right kind; expected: the name of this kind, for messages. Raises ValueError for a
    name of another form, for a module that does not exist or cannot be imported, for
    two modules of the same name, for a missing NAME, and for an object of another kind.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        hint = module.removesuffix(".py").replace("/", ".").replace("\\", ".")
        hint = f"{hint.strip('.') or 'my_recipe'}:{attribute or 'NAME'}"
        raise ValueError(
            f"argument `{argument}`: expected module:NAME, such as {hint}, got {name!r}"
        )
    found = _module(argument, module)
    file = getattr(found, "__file__", None) or "no file"
    if not hasattr(found, attribute):
        names = [key for key, value in vars(found).items() if accepts(value)]
        has = f"it has {', '.join(names)}" if names else f"expected {expected}"
        raise ValueError(
            f"argument `{argument}`: {module} ({file}) has no {attribute}; "
            f"{has}{did_you_mean(attribute, names)}"
        )
    value = getattr(found, attribute)
    if not accepts(value):
        kind = "a class" if isinstance(value, type) else f"a {type(value).__name__}"
        raise ValueError(
            f"argument `{argument}`: expected {expected}, got {name}, which is {kind}"
        )
    return value


def _module(argument: str, name: str):
    """Imports a module, from the current folder if it is there."""
    folder = Path.cwd()
    if str(folder) not in map(os.path.abspath, sys.path):
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # the file may be new
    path = folder.joinpath(*name.split("."))
    here = [path.with_name(f"{path.name}.py"), path / "__init__.py"]
    here = [file for file in here if file.exists()]
    try:
        found = importlib.import_module(name)
    # A module may raise anything, also SystemExit.
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) or ""
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(
            f"{missing}."
        ):
            files = [file.stem for file in folder.glob("*.py")]
            raise ValueError(
                f"argument `{argument}`: there is no module {name} in {folder}, and "
                f"none is installed{did_you_mean(name, files)}"
            ) from None
        raise ValueError(
            f"argument `{argument}`: the import of {name} failed with "
            f"{type(error).__name__}: {error}{_where(error)}"
        ) from error
    file = getattr(found, "__file__", None)
    both = [*here, *([] if file and Path(file) in here else [file or "Python itself"])]
    if here and len(both) > 1:
        raise ValueError(
            f"argument `{argument}`: the name {name} exists twice, as "
            f"{' and '.join(map(str, both))}: rename your file"
        )
    return found


def _where(error: BaseException) -> str:
    """Returns the line in which an import failed, as the end of a message."""
    if isinstance(error, SyntaxError):  # its message names the line
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({last.filename}, line {last.lineno})"
