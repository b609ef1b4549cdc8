"""Fingerprints of code: texts that change when the code behind a result changes.

The hash of a fingerprint tells which results and trained weights are out of date. The
fingerprint of a builder or a job contains:

- its syntax, without docstrings, comments, type hints, layout and the decorators
  `expects_values` and `takes_data`;
- the syntax of every function of the library that it calls, directly or indirectly;
- the values of the constants that they read.

The hashes of the trained weights that they load belong to the hash of a recipe or a
setting, too. The code of methods, networks, data and `fit` is not included. Instead a
test repeats short runs and compares their numbers (`experiments.results.short`).
tools/rehash.py changes stored hashes without training if it can prove that all numbers
stay the same.
"""

import ast
import functools
import inspect
import json
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import ModuleType

# Functions of these modules are not part of a fingerprint: the short runs test them, or
# they compute nothing.
WATCHED = [
    f"course_lib.{name}"
    for name in (
        "arguments checkpoint checks data distributed families files fingerprint names "
        "optim recipe run steps teacher train zoo"
    ).split()
]
NOT_SYNTAX = ("annotation", "returns", "type_comment", "type_params", "ctx", "kind")
PLAIN = (int, float, complex, str, bytes, bool, type(None))


def fingerprint(*values) -> str:
    """Returns the fingerprint of builders, jobs or their arguments.

    It is the same in every process, version of Python and machine. The module's
    docstring says what it contains for a function. A `functools.partial` gives the
    texts of its function and arguments, a function or class of torch its name, a recipe
    its hash, and any other object its `repr`. Raises ValueError for an object whose
    `repr` contains its address in memory, and for a job that loads trained weights
    whose name cannot be read from its source.
    """
    depends = _Dependencies()
    texts = [depends.value(value) for value in values]
    return "\n".join([*texts, *depends.functions.values(), *sorted(depends.constants)])


def weights_of(*values) -> set[str]:
    """Returns the names of the zoo's weights that these builders or jobs load. The name
    "judge" stands for the evaluation network (judge) of their data set."""
    depends = _Dependencies()
    for value in values:
        depends.value(value)
    return depends.weights


def weights_hash(name: str) -> str:
    """Returns the first 12 digits of the SHA-256 of trained weights in the zoo."""
    return _manifest()[name]["sha256"][:12]


def _manifest() -> dict[str, dict]:
    """The zoo's manifest. It is read here because the zoo imports recipes, which import
    this module."""
    file = Path(__file__).parent / "zoo" / "manifest.json"
    return json.loads(file.read_text(encoding="utf-8"))


class _Dependencies:
    """Collects what values refer to: functions (name -> syntax), constants, names of
    weights."""

    def __init__(self):
        self.functions, self.constants, self.weights = {}, set(), set()

    def value(self, value) -> str:
        """Returns the text of a value and adds what it refers to."""
        if isinstance(value, partial):
            parts = [value.func, *value.args, *value.keywords, *value.keywords.values()]
            self.weights |= {
                part for part in parts if isinstance(part, str) and part in _manifest()
            }
            return " ".join(map(self.value, parts))
        if inspect.isfunction(value) or inspect.isclass(value):
            if value.__module__.partition(".")[0] in ("torch", "torchvision"):
                return f"{value.__module__}.{value.__qualname__}"
            self.follow(value)
            return value.__qualname__
        if isinstance(value, (list, tuple, dict)):
            parts = value
            if isinstance(value, dict):
                parts = [part for pair in value.items() for part in pair]
            return f"{type(value).__name__}({', '.join(map(self.value, parts))})"
        if hasattr(value, "hash"):  # a recipe
            return value.hash()
        if " at 0x" in repr(value):
            raise ValueError(
                "argument `value`: expected an object whose repr does not contain its "
                f"address in memory, got {value!r}"
            )
        return repr(value)

    def follow(self, value):
        """Adds a function or class and all that it refers to."""
        value = inspect.unwrap(value)
        name = f"{value.__module__}.{value.__qualname__}"
        if name in self.functions:
            return
        self.functions[name] = ""  # a function may call itself
        tree, references, loads = _read(value)
        self.functions[name] = tree
        self.weights |= loads
        for label, other in references.items():
            if inspect.isfunction(other) or inspect.isclass(other):
                if _followed(inspect.unwrap(other), value):
                    self.follow(other)
            elif _is_plain(other):
                self.constants.add(f"{label} = {self.value(other)}")


def _followed(value, user) -> bool:
    """Returns whether the syntax of `value`, which `user` refers to, is part of the
    fingerprint.

    Functions of the library and of the user's own module are. A class is only if it is
    in the user's own module, and this module has recipes or experiments or is in no
    package. No function or class of the modules in `WATCHED` is.
    """
    module = value.__module__
    if module in WATCHED:
        return False
    if inspect.isfunction(value):
        return module == user.__module__ or module.startswith("course_lib.")
    return module == user.__module__ and (
        module.endswith(("recipes", "experiments")) or "." not in module
    )


def _is_plain(value) -> bool:
    """Returns whether the value is a number, text or function, or a nested list, tuple
    or dictionary of these."""
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN) or inspect.isfunction(value)


@functools.cache
def _read(value) -> tuple[str, dict, frozenset[str]]:
    """Returns the syntax of a function or class as text, the global objects to which it
    refers (name -> object), and the names of the trained weights that it loads."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    if inspect.isclass(value):
        names = vars(sys.modules[value.__module__])
    else:
        names = value.__globals__
    for part in ast.walk(node):
        if hasattr(part, "decorator_list"):
            part.decorator_list = [
                decorator
                for decorator in part.decorator_list
                if not _changes_nothing(decorator)
            ]
    references, loads = {}, set()
    own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    own |= {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    for part in ast.walk(node):
        dotted = _dotted(part)
        if dotted and dotted[0] not in own:
            found = names.get(dotted[0])
            for attribute in dotted[1:]:
                if not isinstance(found, ModuleType):
                    break
                found = getattr(found, attribute, None)
            is_module = isinstance(found, ModuleType)
            if found is not None and found is not value and not is_module:
                references[".".join(dotted)] = found
        if isinstance(part, ast.Call) and _dotted(part.func) == ["zoo", "load"]:
            loads |= _weights(part.args[0], value)
    return _syntax(node), references, frozenset(loads)


def _weights(argument: ast.expr, function) -> set[str]:
    """Returns the names of the weights that `zoo.load(argument)` loads.

    In the function `judge_of` this is {"judge"}. The set is empty if the argument is a
    parameter of the function, whose value comes from a `functools.partial`.
    """
    if isinstance(argument, ast.Constant):
        return {argument.value}
    if function.__name__ == "judge_of":
        return {"judge"}
    if (
        isinstance(argument, ast.Name)
        and argument.id in inspect.signature(function).parameters
    ):
        return set()  # `_Dependencies.value` finds the name in the partial
    raise ValueError(
        f"{function.__qualname__}: expected zoo.load of a name in quotes or of a "
        f"parameter, got zoo.load({ast.unparse(argument)})"
    )


def _dotted(node: ast.AST) -> list[str]:
    """Returns ["a", "b", "c"] for the expression a.b.c, and [] for any other node."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return [*before, node.attr]
    return []


def _changes_nothing(decorator: ast.expr) -> bool:
    """Returns whether the decorator is `checks.expects_values(...)`, which computes
    nothing, or `takes_data`, which changes nothing for a tensor."""
    if isinstance(decorator, ast.Call):
        return _dotted(decorator.func)[-1:] == ["expects_values"]
    return _dotted(decorator) == ["takes_data"]


def _syntax(node) -> str:
    """Returns an abstract syntax tree as text that is the same in all versions of
    Python. (The text of `ast.dump` is not.)"""
    if isinstance(node, list):
        return f"[{' '.join(map(_syntax, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if (
        isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and ast.get_docstring(node, clean=False) is not None
    ):
        fields["body"] = fields["body"][1:]
    parts = [
        f"{k}={_syntax(v)}"
        for k, v in fields.items()
        if k not in NOT_SYNTAX and v is not None and v != []
    ]
    return f"{type(node).__name__}({', '.join(parts)})"
