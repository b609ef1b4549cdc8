"""What a result depends on, as a text whose hash tells which results and weights are
out of date.

It holds the syntax of builders and jobs, without docstrings, comments, type hints and
layout; that of every function of the library that they call, wherever it stands; the
values of the constants that they read; and the hash of the trained weights that they
load. Methods, networks, data and `fit` are not in it: short runs, repeated by a test,
watch over these (`experiments.results.short`). tools/rehash.py changes hashes without
training, where it can prove that nothing else has changed.
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

# Functions of these modules are watched by the short runs, or compute nothing.
WATCHED = [
    f"course_lib.{name}"
    for name in "checks data distributed families files fingerprint optim recipe run teacher train zoo".split()
]
NOT_SYNTAX = ("annotation", "returns", "type_comment", "type_params", "ctx", "kind")
PLAIN = (int, float, complex, str, bytes, bool, type(None))


def fingerprint(*values) -> str:
    """What builders, jobs or arguments of one stand for, the same in every process,
    Python and machine.

    Of functions their syntax and all that the module's docstring says; of a
    `functools.partial` the function's and its arguments'; of torch's own things their
    names; of everything else what it prints. Raises ValueError for something that
    prints its place in memory, and for a job that loads trained weights whose name
    cannot be read in its source.
    """
    depends = _Dependencies()
    texts = [depends.value(value) for value in values]
    return "\n".join([*texts, *depends.functions.values(), *sorted(depends.constants)])


def weights_of(*values) -> set[str]:
    """Names of the zoo's weights that these builders or jobs load; "judge" where it is
    the judge of their data."""
    depends = _Dependencies()
    for value in values:
        depends.value(value)
    return depends.weights


def weights_hash(name: str) -> str:
    """Of trained weights in the zoo."""
    return _manifest()[name]["sha256"][:12]


def _manifest() -> dict[str, dict]:
    """The zoo's, which is read here since the zoo itself imports recipes."""
    return json.loads((Path(__file__).parent / "zoo" / "manifest.json").read_text())


class _Dependencies:
    """What was met on the way: functions (name -> syntax), constants, weights."""

    def __init__(self):
        self.functions, self.constants, self.weights = {}, set(), set()

    def value(self, value) -> str:
        """The text of a value; functions that it calls are added to `functions`."""
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
            parts = (
                [part for pair in value.items() for part in pair]
                if isinstance(value, dict)
                else value
            )
            return f"{type(value).__name__}({', '.join(map(self.value, parts))})"
        if hasattr(value, "hash"):  # a recipe
            return value.hash()
        if " at 0x" in repr(value):
            raise ValueError(
                "argument `value`: expected something that prints what it is, got "
                f"{value!r}"
            )
        return repr(value)

    def follow(self, value):
        """Adds a function or class, and what it refers to."""
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
    """Is its syntax part of the text? Functions of the library are, and what stands
    where its user stands; classes only where they are part of a recipe or
    experiment."""
    module = value.__module__
    if module == user.__module__ and module not in WATCHED:
        return (
            inspect.isfunction(value)
            or module.endswith(("recipes", "experiments"))
            or "." not in module
        )
    return (
        module.startswith("course_lib.")
        and module not in WATCHED
        and inspect.isfunction(value)
    )


def _is_plain(value) -> bool:
    """Numbers, texts, and functions, in lists and dictionaries of any depth."""
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN) or inspect.isfunction(value)


@functools.cache
def _read(value) -> tuple[str, dict, frozenset[str]]:
    """A function's or class's syntax as text, the global things that it names, the
    trained weights that it loads."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    names = (
        vars(sys.modules[value.__module__])
        if inspect.isclass(value)
        else value.__globals__
    )
    references, loads = {}, set()
    own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    own |= {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    for part in ast.walk(node):
        if (
            isinstance(part, (ast.Name, ast.Attribute))
            and (dotted := _dotted(part))
            and dotted[0] not in own
        ):
            thing = names.get(dotted[0])
            for attribute in dotted[1:]:
                if not isinstance(thing, ModuleType):
                    break
                thing = getattr(thing, attribute, None)
            if (
                thing is not None
                and not isinstance(thing, ModuleType)
                and thing is not value
            ):
                references[".".join(dotted)] = thing
        if isinstance(part, ast.Call) and _dotted(part.func) == ["zoo", "load"]:
            loads |= _weights(part.args[0], value)
    return _syntax(node), references, frozenset(loads)


def _weights(argument: ast.expr, function) -> set[str]:
    """The names that `zoo.load(argument)` may have: a text, or a parameter that a
    `functools.partial` has given."""
    if isinstance(argument, ast.Constant):
        return {argument.value}
    if function.__name__ == "judge_of":
        return {"judge"}
    if (
        isinstance(argument, ast.Name)
        and argument.id in inspect.signature(function).parameters
    ):
        return set()  # `_Dependencies.value` sees it among the arguments
    raise ValueError(f"{function.__qualname__}: expected zoo.load of a name in quotes or of a parameter, got "
                     f"zoo.load({ast.unparse(argument)})")  # fmt: skip


def _dotted(node: ast.expr) -> list[str]:
    """["a", "b", "c"] for the expression a.b.c, else an empty list."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return [*before, node.attr]
    return []


def _syntax(node) -> str:
    """An abstract syntax tree as text, alike in all Pythons: `ast.dump` differs between
    them."""
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
