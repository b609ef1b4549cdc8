"""Mistakes as a sheet's author writes them, in solutions/NN_topic/mistakes.txt: hints,
and edits of the solution.

    [nt_xent]
    @ sign, in_place z1
    no_temperature: The scores must be divided by the temperature.
        / temperature =>
    own_loss: The loss of one view is counted twice.
        in loss: body =>
            z = self.project(self.augment(x))
            return 2 * self.contrast(z, z)

`[NAME]` begins the mistakes of one exercise; a line that begins with # is a comment.
`OLD => NEW` replaces the one place of the solution where OLD stands, its `def` line
included and its docstring not. What is indented more below a line is NEW in several
lines. A mistake may need several edits, one after the other. Instead of text, OLD may
be:

    return RESULT    the only return; RESULT in NEW is what is returned there
    start, end       NEW is put before the first statement, or after the last
    body             NEW is put in place of all statements

`in NAME:` before OLD means a function of a class. `@` takes mistakes that many sheets
share from generic_mistakes.txt beside this file, with words for its `$1` and `$2`: `@
sign, in_place z1, in loss: as_number`. A generic mistake with a hint of one's own is a
name and a hint, below it `@ sign` in place of an edit.
"""

import ast
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading.exercise import Wrong

GENERIC = Path(__file__).with_name("generic_mistakes.txt")


@dataclass
class Entry:
    """A mistake as it is written; line: where, in its file."""

    name: str
    hint: str
    line: int
    edits: list[tuple[str, str]] = field(default_factory=list)


def read(path: Path, solutions: dict[str, str], space: dict) -> dict[str, list[Wrong]]:
    """The wrong answers to each exercise. solutions: sources by name; space: the names
    that these sources use.

    Raises ValueError, with the file and the line, where a mistake is not written as
    above, or where its edit does not fit: nothing or more than one place is OLD,
    nothing changes, what comes out is no Python.
    """
    listed = parse(path, {entry.name: entry for entry in parse(GENERIC)[""]})
    if not listed[""]:
        del listed[""]
    found = {}
    for exercise, entries in listed.items():
        if exercise not in solutions:
            there = ", ".join(solutions)
            raise ValueError(
                f"{path.name}: expected the name of an exercise in [...], one of "
                f"{there}, got {exercise!r}"
            )
        names = [entry.name for entry in entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            again = ", ".join(twice)
            raise ValueError(
                f"{path.name}: expected each name once in [{exercise}], got {again} "
                "more than once"
            )
        right = bare(solutions[exercise])
        found[exercise] = [
            wrong(path, exercise, right, entry, space) for entry in entries
        ]
    return found


def parse(
    path: Path, generic: dict[str, Entry] | None = None
) -> dict[str, list[Entry]]:
    """A file's mistakes by exercise ("" before the first)."""
    entries: list[Entry] = []
    found, generic = {"": entries}, generic or {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text, indent = line.strip(), len(line) - len(line.lstrip())

        def fault(expected: str, came: str = text, number: int = number):
            return ValueError(
                f"{path.name}, line {number}: expected {expected}, got {came!r}"
            )

        if not text or line.startswith("#"):
            continue
        if line.startswith("[") and text.endswith("]"):
            entries = found.setdefault(text[1:-1], [])
        elif text.startswith("@") and (not indent or entries):
            for one in text[1:].split(","):
                where, name, *words = (
                    one.rpartition(":")[0].strip(),
                    *one.rpartition(":")[2].split(),
                )
                if name not in generic:
                    raise fault(f"one of {', '.join(generic)} after @", name)
                edits = filled(generic[name], where, words)
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
    """A generic mistake's edits, at a place (`in NAME`) and with the words for $1,
    $2."""
    edits = [(f"{where}: {old}" if where else old, new) for old, new in entry.edits]
    for k, word in enumerate(words, 1):
        edits = [
            (old.replace(f"${k}", word), new.replace(f"${k}", word))
            for old, new in edits
        ]
    return edits


def wrong(path: Path, exercise: str, solution: str, entry: Entry, space: dict) -> Wrong:
    where, source = f"{path.name}, line {entry.line}, `{entry.name}`", solution
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
    return Wrong(entry.name, entry.hint, source, scope[exercise])


def bare(source: str) -> str:
    """A solution without its docstring and the lines that mark it: what an edit's OLD
    is looked for in."""
    (node,) = ast.parse(source).body
    gone = (
        range(node.body[0].lineno, node.body[0].end_lineno + 1)
        if ast.get_docstring(node)
        else ()
    )
    lines = [line for k, line in enumerate(source.splitlines(), 1) if k not in gone]
    return "\n".join(line for line in lines if not line.lstrip().startswith("###"))


def edited(source: str, old: str, new: str) -> str:
    """The source with one edit made. Raises ValueError where OLD does not fit."""
    where, colon, rest = old.partition(":")
    if colon and where.startswith("in "):
        old, node = rest.strip(), function_of(source, where.removeprefix("in ").strip())
    else:
        node = None
    if old in ("start", "end", "body"):
        statements = (node or ast.parse(source).body[0]).body
        first, last = (
            place(source, statements[0].lineno),
            place(source, statements[-1].end_lineno, None),
        )
        start, stop = {
            "start": (first, first),
            "end": (last, last),
            "body": (first, last),
        }[old]
        text = textwrap.indent(new, " " * statements[0].col_offset)
        text = {"start": text + "\n", "end": "\n" + text, "body": text}[old]
    elif old == "return RESULT":
        found = returns(node or ast.parse(source).body[0])
        if len(found) != 1:
            raise ValueError(f"`return RESULT`: expected one return, got {len(found)}")
        (only,) = found
        start, stop = (
            place(source, only.lineno, only.col_offset),
            place(source, only.end_lineno, only.end_col_offset),
        )
        text = continued(
            new.replace("RESULT", f"({ast.get_source_segment(source, only.value)})"),
            only.col_offset,
        )
    else:
        begin, end = 0, len(source)
        if node:
            begin, end = (
                place(source, node.lineno),
                place(source, node.end_lineno, None),
            )
        found = list(pattern(old).finditer(source, begin, end)) if old else []
        if len(found) != 1:
            raise ValueError(
                "expected OLD to stand once in the solution, "
                f"got {old!r} {len(found)} times"
            )
        start, stop = found[0].span()
        line = source[source.rfind("\n", 0, start) + 1 : start]
        text = continued(new, len(line) - len(line.lstrip()))
    return source[:start] + text + source[stop:]


def pattern(old: str) -> re.Pattern:
    """Finds OLD however the solution's lines are broken: only between two words does
    space count, and a comma before a closing bracket never does."""
    found = ""
    for space, word in re.findall(r"(\s*)(\w+|[^\w\s])", old):
        between_words = space and found and found[-1].isalnum() and word[0].isalnum()
        found += r"\s+" if between_words else r"\s*" if found else ""
        found += (r"(?:,\s*)?" if word in ")]}" else "") + re.escape(word)
    return re.compile(found)


def function_of(source: str, name: str) -> ast.FunctionDef:
    """The one function of that name, at any depth. Raises ValueError."""
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
    """The returns of a function, without those of functions inside it; of a class,
    those of its functions."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            found.append(child)
        elif isinstance(node, ast.ClassDef) or not isinstance(
            child, (ast.FunctionDef, ast.Lambda)
        ):
            found += returns(child)
    return found


def continued(text: str, indent: int) -> str:
    """Text whose lines after the first are indented: the first goes where something
    stood."""
    head, _, tail = text.partition("\n")
    return head + ("\n" + textwrap.indent(tail, " " * indent) if tail else "")


def place(source: str, line: int, column: int | None = 0) -> int:
    """Where in the source a line (from 1) and a column (in bytes, as `ast` counts;
    None: the line's end) are."""
    lines = source.splitlines(keepends=True)
    here = lines[line - 1]
    within = (
        len(here.rstrip("\n"))
        if column is None
        else len(here.encode()[:column].decode())
    )
    return sum(map(len, lines[: line - 1])) + within
