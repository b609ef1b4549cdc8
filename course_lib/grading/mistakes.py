"""Reads the mistakes that a sheet's author writes in solutions/NN_topic/mistakes.txt. A
mistake is a hint and one or several edits of the solution.

    [nt_xent]
    @ sign, in_place z1
    no_temperature: The scores must be divided by the temperature.
        / temperature =>
    own_loss: The loss of one view is counted twice.
        in loss: body =>
            z = self.project(self.augment(x))
            return 2 * self.contrast(z, z)

`[NAME]` begins the mistakes of one exercise. A line that begins with # is a comment.
`OLD => NEW` replaces OLD by NEW. OLD has to occur exactly once in the solution; the
search includes the `def` line, but not the docstring. NEW may have several lines: write
them below, with a larger indent. A mistake may have several edits; they are made one
after the other. Instead of text, OLD may be:

    return RESULT    the only return statement; RESULT in NEW is the returned value
    return EACH      the same, but for a tuple, list or dict that stands there, EACH in
                     NEW is each of its values: `return EACH => return -EACH`
    start, end       NEW is inserted before the first or after the last statement
    body             NEW replaces all statements

`in NAME:` before OLD restricts the edit to the function NAME, for example a method of a
class. `@` uses mistakes that many sheets share, from generic_mistakes.txt in this
folder. The words after the name of such a mistake replace its `$1` and `$2`: `@ sign,
in_place z1, in loss: as_number`. To give a generic mistake another hint, write a name
and a hint, and below them `@ sign` in place of an edit.
"""

import ast
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading.exercise import WrongAnswer

GENERIC = Path(__file__).with_name("generic_mistakes.txt")


@dataclass
class Entry:
    """A mistake as the author wrote it; line: the number of its line in the file."""

    name: str
    hint: str
    line: int
    edits: list[tuple[str, str]] = field(default_factory=list)


def read(
    text: str, file: str, solutions: dict[str, str], space: dict
) -> dict[str, list[WrongAnswer]]:
    """Returns the wrong answers to each exercise. text: the content of the file of this
    name; solutions: the sources by name; space: the names that these sources use, with
    their values.

    Raises ValueError, with the file and the line, if a mistake has another form than
    above, or if an edit does not fit: OLD does not occur exactly once, the edit changes
    nothing, or its result is not Python.
    """
    generic = parse(GENERIC.read_text(encoding="utf-8"), GENERIC.name)[""]
    listed = parse(text, file, {entry.name: entry for entry in generic})
    if not listed[""]:
        del listed[""]
    found = {}
    for exercise, entries in listed.items():
        if exercise not in solutions:
            there = ", ".join(solutions)
            raise ValueError(
                f"{file}: expected the name of an exercise in [...], one of "
                f"{there}, got {exercise!r}"
            )
        names = [entry.name for entry in entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            again = ", ".join(twice)
            raise ValueError(
                f"{file}: expected each name once in [{exercise}], got {again} "
                "more than once"
            )
        right = without_docstring(solutions[exercise])
        found[exercise] = [
            wrong_answer(file, exercise, right, entry, space) for entry in entries
        ]
    return found


def parse(
    content: str, file: str, generic: dict[str, Entry] | None = None
) -> dict[str, list[Entry]]:
    """Returns a file's mistakes by exercise; "" has those before the first [NAME].
    file: its name, for errors; generic: the shared mistakes by name."""
    entries: list[Entry] = []
    found, generic = {"": entries}, generic or {}
    for number, line in enumerate(content.splitlines(), 1):
        text, indent = line.strip(), len(line) - len(line.lstrip())

        def fault(expected: str, got: str = text, number: int = number):
            return ValueError(
                f"{file}, line {number}: expected {expected}, got {got!r}"
            )

        if not text or line.startswith("#"):
            continue
        if line.startswith("[") and text.endswith("]"):
            entries = found.setdefault(text[1:-1], [])
        elif text.startswith("@") and (not indent or entries):
            for one in text[1:].split(","):
                where, _, rest = one.rpartition(":")
                name, *words = rest.split()
                if name not in generic:
                    raise fault(f"one of {', '.join(generic)} after @", name)
                edits = filled(generic[name], where.strip(), words)
                if indent:
                    entries[-1].edits += edits
                else:
                    entries.append(Entry(name, generic[name].hint, number, edits))
        elif not indent:
            name, colon, hint = text.partition(":")
            if not (name.isidentifier() and colon and hint):
                raise fault("`name: hint`")
            entries.append(Entry(name, hint.strip(), number))
        elif not entries or indent < 8 and "=>" not in text:
            raise fault("a mistake's name and hint, then edits `OLD => NEW`")
        elif indent < 8:
            old, _, new = text.partition("=>")
            entries[-1].edits.append((old.strip(), new.strip()))
        elif not entries[-1].edits:
            raise fault("an edit `OLD =>` above its lines")
        else:
            old, new = entries[-1].edits[-1]
            entries[-1].edits[-1] = (old, "\n".join(filter(None, (new, line[8:]))))
    return found


def filled(
    entry: Entry, where: str = "", words: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Returns a generic mistake's edits, with `where` (`in NAME`) before each OLD, and
    with the words in place of $1, $2, ..."""
    edits = [(f"{where}: {old}" if where else old, new) for old, new in entry.edits]
    for k, word in enumerate(words, 1):
        edits = [
            (old.replace(f"${k}", word), new.replace(f"${k}", word))
            for old, new in edits
        ]
    return edits


def wrong_answer(
    file: str, exercise: str, solution: str, entry: Entry, space: dict
) -> WrongAnswer:
    """Returns the wrong answer that an entry's edits make of the solution. Raises
    ValueError if they do not fit."""
    where, source = f"{file}, line {entry.line}, `{entry.name}`", solution
    try:
        for old, new in entry.edits:
            source = edited(source, old, new)
        if ast.dump(ast.parse(source)) == ast.dump(ast.parse(solution)):
            raise ValueError("expected an edit that changes something, got none")
        scope = dict(space)
        exec(compile(source, f"<{entry.name}>", "exec", dont_inherit=True), scope)
    except SyntaxError as error:
        raise ValueError(
            f"{where}: expected Python after the edit, got {error.msg} in "
            f"{error.text!r}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return WrongAnswer(entry.name, entry.hint, source, scope[exercise])


def without_docstring(source: str) -> str:
    """Returns a solution without its docstring and without the lines that begin with
    `###`. Edits are applied to this text."""
    (node,) = ast.parse(source).body
    docstring = range(0)
    if ast.get_docstring(node):
        docstring = range(node.body[0].lineno, node.body[0].end_lineno + 1)
    numbered = enumerate(source.splitlines(), 1)
    lines = [line for number, line in numbered if number not in docstring]
    return "\n".join(line for line in lines if not line.lstrip().startswith("###"))


def edited(source: str, old: str, new: str) -> str:
    """Returns the source with one edit made. Raises ValueError if OLD does not fit."""
    where, colon, rest = old.partition(":")
    node = None
    if colon and where.startswith("in "):
        old, node = rest.strip(), function_of(source, where.removeprefix("in ").strip())
    if old in ("start", "end", "body"):
        whole = node or ast.parse(source).body[0]
        start, stop, text = in_place_of_statements(source, whole, old, new)
    elif old in ("return RESULT", "return EACH"):
        whole, word = node or ast.parse(source).body[0], old.removeprefix("return ")
        start, stop, text = in_place_of_return(source, whole, word, new)
    else:
        start, stop, text = in_place_of_text(source, node, old, new)
    return source[:start] + text + source[stop:]


# The next three return (start, stop, text): source[start:stop] becomes the text.


def in_place_of_statements(
    source: str, node: ast.AST, where: str, new: str
) -> tuple[int, int, str]:
    """Makes an edit of the form `start`, `end` or `body`."""
    statements = node.body
    first = offset(source, statements[0].lineno)
    last = offset(source, statements[-1].end_lineno, None)
    text = textwrap.indent(new, " " * statements[0].col_offset)
    if where == "start":
        return first, first, text + "\n"
    if where == "end":
        return last, last, "\n" + text
    return first, last, text


def in_place_of_return(
    source: str, node: ast.AST, word: str, new: str
) -> tuple[int, int, str]:
    """Makes an edit of the form `return RESULT` or `return EACH`."""
    found = returns(node)
    if len(found) != 1:
        raise ValueError(f"`return {word}`: expected one return, got {len(found)}")
    (only,) = found
    start = offset(source, only.lineno, only.col_offset)
    stop = offset(source, only.end_lineno, only.end_col_offset)
    several = isinstance(only.value, (ast.Tuple, ast.List, ast.Dict))
    if word == "EACH" and several:
        return start, stop, "return " + of_each(source, only.value, new)
    value = ast.get_source_segment(source, only.value)
    text = indent_rest(new.replace(word, f"({value})"), only.col_offset)
    return start, stop, text


def of_each(source: str, value: ast.Tuple | ast.List | ast.Dict, new: str) -> str:
    """Returns the tuple, list or dict, with `return ... EACH ...` applied to each of
    its values."""
    keyword, space, change = new.partition(" ")
    if keyword != "return" or "\n" in change:
        raise ValueError(f"`return EACH`: expected `return ...` after =>, got {new!r}")
    is_dict = isinstance(value, ast.Dict)
    parts = []
    for part in value.values if is_dict else value.elts:
        segment = ast.get_source_segment(source, part)
        parts.append(change.replace("EACH", f"({segment})"))
    if is_dict:
        if None in value.keys:
            raise ValueError("`return EACH`: expected a dict without **")
        keys = [ast.get_source_segment(source, key) for key in value.keys]
        return "{" + ", ".join(f"{k}: {part}" for k, part in zip(keys, parts)) + "}"
    if isinstance(value, ast.List):
        return "[" + ", ".join(parts) + "]"
    return ", ".join(parts) + "," * (len(parts) == 1)


def in_place_of_text(
    source: str, node: ast.AST | None, old: str, new: str
) -> tuple[int, int, str]:
    """Makes an edit of a text that stands once in the source, or in the function
    `node`."""
    begin, end = 0, len(source)
    if node:
        begin = offset(source, node.lineno)
        end = offset(source, node.end_lineno, None)
    found = list(pattern(old).finditer(source, begin, end)) if old else []
    if len(found) != 1:
        raise ValueError(
            f"expected OLD to stand once in the solution, got {old!r} {len(found)} "
            "times"
        )
    start, stop = found[0].span()
    line = source[source.rfind("\n", 0, start) + 1 : start]
    return start, stop, indent_rest(new, len(line) - len(line.lstrip()))


def pattern(old: str) -> re.Pattern:
    """Returns a pattern that finds OLD independently of the solution's line breaks.
    Space is required only between two words, and a comma before a closing bracket is
    optional."""
    found = ""
    for space, word in re.findall(r"(\s*)(\w+|[^\w\s])", old):
        between_words = space and found and found[-1].isalnum() and word[0].isalnum()
        found += r"\s+" if between_words else r"\s*" if found else ""
        found += (r"(?:,\s*)?" if word in ")]}" else "") + re.escape(word)
    return re.compile(found)


def function_of(source: str, name: str) -> ast.FunctionDef:
    """Returns the one function of this name, at any depth. Raises ValueError if there
    is none, or more than one."""
    found = [
        n
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.FunctionDef) and n.name == name
    ]
    if len(found) != 1:
        raise ValueError(
            f"expected one function {name!r} in the solution, got {len(found)}"
        )
    return found[0]


def returns(node: ast.AST) -> list[ast.Return]:
    """Returns the return statements of a function, without those of functions inside
    it. For a class: the return statements of its methods."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            found.append(child)
        elif isinstance(node, ast.ClassDef) or not isinstance(
            child, (ast.FunctionDef, ast.Lambda)
        ):
            found += returns(child)
    return found


def indent_rest(text: str, indent: int) -> str:
    """Returns the text with all lines after the first indented. The first line needs no
    indent, because it replaces a part of a line."""
    head, _, tail = text.partition("\n")
    return head + ("\n" + textwrap.indent(tail, " " * indent) if tail else "")


def offset(source: str, line: int, column: int | None = 0) -> int:
    """Returns the position in the source of a line (from 1) and a column (in bytes, as
    `ast` counts; None: the end of the line)."""
    lines = source.splitlines(keepends=True)
    text = lines[line - 1]
    if column is None:
        within = len(text.rstrip("\n"))
    else:
        within = len(text.encode()[:column].decode())
    return sum(map(len, lines[: line - 1])) + within
