"""solutions/NN_topic.py and NN_topic/, the masters -> exercises/NN_topic.ipynb,
exercises/checks/, samples.

    python tools/build_exercises.py [NAME ...]         builds what is generated from the masters, of all sheets or these
    python tools/build_exercises.py --check            says what is stale; writes nothing
    python tools/build_exercises.py --solutions FOLDER --to FOLDER     masters of your own, kept elsewhere
    python tools/build_exercises.py --nbgrader FOLDER  also writes FOLDER/source/NN_topic/ for nbgrader
"""

import argparse
import ast
import io
import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import numpy as np
from build_notebooks import ROOT, read
from nbformat import NotebookNode
from safetensors.numpy import load_file

from course_lib.files import write_whole
from course_lib.grading import sheet
from course_lib.grading.exercise import Exercise
from course_lib.grading.public_files import write_public
from course_lib.grading.sheet import Sheet
from course_lib.grading.verdict import judge, same

SOLUTIONS = ROOT / "solutions"
SOLUTION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL | re.MULTILINE
)
HIDDEN = re.compile(
    r"^### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS\n?", re.DOTALL | re.MULTILINE
)
GENERATED = (
    '"""How each answer is called, for the check and the grader.\n\n'
    'Made by `make exercises` from solutions/."""\n\n'
)


def solved(found: Sheet) -> NotebookNode:
    """The notebook with its solutions, as nbgrader's `source` wants it."""
    return read(found.folder / f"{found.name}.py", "exercises")


def unsolved(found: Sheet) -> NotebookNode:
    """What students get: as `nbgrader generate_assignment` would make it. Raises
    ValueError where a marker is alone."""
    notebook = solved(found)
    for cell in notebook.cells:
        cell.source = SOLUTION.sub(
            r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell.source
        )
        cell.source = HIDDEN.sub("", cell.source).rstrip("\n")
        if re.search("### (BEGIN|END)", cell.source):
            raise ValueError(
                f"{found.name}: a cell has a marker without its partner:\n{cell.source}"
            )
    return notebook


def drivers(found: Sheet) -> str:
    """The public part of a grading file, with a docstring of its own."""
    head = ast.parse(found.public_drivers).body[0]
    return (
        GENERATED
        + "\n".join(found.public_drivers.splitlines()[head.end_lineno :]).lstrip()
        + "\n"
    )


# --- sample submissions -----------------------------------------------------------------------------------------------


def answer(found: Sheet, function, name: str) -> str:
    """The source of an alternative under an answer's name, with what it uses of its
    file, imports included."""
    text = (found.folder / found.name / "exercises.py").read_text(encoding="utf-8")
    known, imports = {}, {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            known[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= {
                alias.asname or alias.name: ast.unparse(node) for alias in node.names
            }
    wanted, sources, above = [function.__name__], {}, set()
    while wanted:
        node = known[wanted.pop()]
        first = min(
            [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]
        )
        sources[node.name] = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
        used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        wanted += sorted(used & known.keys() - sources.keys())
        above |= {imports[name] for name in used & imports.keys()}
    source = "\n\n\n".join(["\n".join(sorted(above)), *reversed(sources.values())])
    return re.sub(rf"\b{function.__name__}\b", name, source) + "\n"


def with_answers(found: Sheet, answers: dict[str, str]) -> NotebookNode:
    """The solved notebook with other sources in the cells of some of its answers."""
    notebook = solved(found)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution") and about["grade_id"] in answers:
            cell.source = answers[about["grade_id"]]
        cell.source = re.sub(
            r" *### (BEGIN|END) SOLUTION\n?", "", HIDDEN.sub("", cell.source)
        ).rstrip("\n")
    return notebook


def hostile(name: str, *lines: str) -> str:
    return f"def {name}(*args, **kwargs):\n" + "".join(
        f"    {line}\n" for line in lines
    )


def samples(found: Sheet) -> dict[str, bytes]:
    """Twelve submissions to try the grader on, by path: good, partly wrong, hostile."""
    name, masters = found.name, found.masters
    first, middle, last = (
        masters[0].name,
        masters[len(masters) // 2].name,
        masters[-1].name,
    )

    def file(notebook: NotebookNode) -> bytes:
        return (nbformat.writes(notebook) + "\n").encode()

    def alternatives(which: int) -> NotebookNode:
        others = {
            m.name: m.alternatives[which % len(m.alternatives)]
            for m in masters
            if m.alternatives
        }
        return with_answers(
            found, {m: answer(found, function, m) for m, function in others.items()}
        )

    def mistaken(every: int) -> NotebookNode:
        wrong = {m.name: found.wrong[m.name] for m in masters[::every]}
        return with_answers(
            found,
            {m: bank[len(bank) // (1 + every)].source for m, bank in wrong.items()},
        )

    def packed(notebook: NotebookNode) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"homework/{name}.ipynb"), file(notebook))
        return buffer.getvalue()

    done = {m.name for m in masters[: len(masters) // 2]}
    half = unsolved(found)
    for cell, right in zip(half.cells, with_answers(found, {}).cells):
        if right.metadata.get("nbgrader", {}).get("grade_id") in done:
            cell.source = right.source
    renamed = with_answers(found, {first: hostile(f"my_{first}", "return args")})
    renamed.cells.append(nbformat.v4.new_code_cell("def unfinished(:", id="0" * 12))
    # cells copied below, as happens: the copies are unsolved
    copied = with_answers(found, {})
    copied.cells += [
        cell
        for cell in unsolved(found).cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    ]
    for k, cell in enumerate(copied.cells):
        cell.id = f"{k:012}"
    breaks = with_answers(found, {
        first: hostile(first, "while True:", "    pass"),
        middle: hostile(middle, "import os", "os._exit(0)"),
        last: hostile(last, "kept = []", "while True:", "    kept.append(bytearray(10**8))"),
    })  # fmt: skip
    spies = with_answers(found, {
        first: hostile(first, f"return eval(open('../../{name}/exercises.py').read())"),
        last: hostile(last, "import urllib.request", "return urllib.request.urlopen('http://example.org').read()"),
    })  # fmt: skip
    return {
        f"Ada Lovelace/{name}.ipynb": file(with_answers(found, {})),
        "Blaise Pascal.zip": packed(alternatives(0)),
        f"Émilie du Châtelet/my homework/{name} (final).ipynb": file(alternatives(1)),
        f"Sofia Kovalevskaya/{name}.ipynb": file(copied),
        f"George Boole/{name}.ipynb": file(mistaken(3)),
        f"Kurt G/{name}.ipynb": file(mistaken(1)),
        f"Évariste Galois/{name}.ipynb": file(half),
        f"Henri P/{name}.ipynb": file(renamed),
        f"Nobody yet/{name}.ipynb": file(unsolved(found)),
        f"Mallory/{name}.ipynb": file(breaks),
        f"=SUM(1+1) &lt;b&gt;/{name}.ipynb": file(spies),
        f"Oscar/{name}.ipynb": b"{ this is not a notebook",
    }


# --- writing and checking ---------------------------------------------------------------------------------------------


def build(found: Sheet, to: Path, reveal: bool = False):
    """Writes all that is generated from one sheet below `to`."""
    text = nbformat.writes(unsolved(found)) + "\n"
    write_whole(to / "exercises" / f"{found.name}.ipynb", text.encode())
    checks = to / "exercises" / "checks"
    write_public(found.public(reveal), checks / found.name)
    write_whole(checks / f"{found.name}_drivers.py", drivers(found).encode())
    for name, content in samples(found).items():
        write_whole(to / "solutions" / "samples" / found.name / name, content)


def stale(found: Sheet, root: Path = ROOT) -> list[str]:
    """What below `root` is not as the masters say. Arrays may differ by rounding:
    another processor adds otherwise; and those of mistakes, some of which divide by
    next to nothing or leave ties, by 1 % and in order."""
    with tempfile.TemporaryDirectory() as folder:
        build(found, Path(folder))
        wanted = {p.relative_to(folder) for p in Path(folder).rglob("*") if p.is_file()}
        there = {
            p.relative_to(root)
            for p in (root / "solutions" / "samples" / found.name).rglob("*")
            if p.is_file()
        }
        there |= {
            p.relative_to(root)
            for p in (root / "exercises").rglob(f"{found.name}*")
            if p.is_file()
        }
        bad = [
            f"{path}: not generated from a master" for path in sorted(there - wanted)
        ]
        for path in sorted(wanted):
            new, old = Path(folder) / path, root / path
            if not old.exists():
                bad.append(f"{path}: missing")
            elif not _alike(new, old):
                bad.append(f"{path}: stale")
    return [f"{problem} (make exercises)" for problem in bad]


def _alike(new: Path, old: Path) -> bool:
    if new.suffix == ".safetensors":
        a, b = load_file(new), load_file(old)
        return a.keys() == b.keys() and all(
            a[key].dtype == b[key].dtype and _same(key, a[key], b[key]) for key in a
        )
    if new.suffix == ".json" and new.parent.name == "checks":
        a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (new, old))
        for text in (*a.values(), *b.values()):
            text["solution"] = ""  # there or not as the instructor's release wants it
        return a == b
    if new.suffix == ".zip":
        return [e.read_bytes() for e in _entries(new)] == [
            e.read_bytes() for e in _entries(old)
        ]
    return new.read_bytes() == old.read_bytes()


def _same(key: str, a: np.ndarray, b: np.ndarray) -> bool:
    if same(a, b) or "/mistake" not in key or a.shape != b.shape:
        return same(a, b)
    a, b = np.sort(a.astype(float), None), np.sort(b.astype(float), None)
    return bool(np.allclose(a, b, rtol=0.01, atol=1e-6, equal_nan=True))


def _entries(path: Path) -> list[zipfile.Path]:
    return [
        entry for folder in zipfile.Path(path).iterdir() for entry in folder.iterdir()
    ]


def unnoticed(exercise: Exercise) -> list[str]:
    """Which of its mistakes get full points, or another one's hint: a line each."""
    bad = []
    for mistake in exercise.mistakes:
        verdict = judge(exercise, mistake.outputs)
        if verdict.solved:
            bad.append(
                f"{exercise.name}: the mistake `{mistake.name}` gets full points"
            )
        elif verdict.mistake is None or verdict.mistake.name != mistake.name:
            said = (
                f"takes it for `{verdict.mistake.name}`"
                if verdict.mistake
                else "names none"
            )
            bad.append(
                f"{exercise.name}: the check does not know the mistake "
                f"`{mistake.name}`, it {said}"
            )
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a sheet's name or how it begins; all without any",
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--solutions", type=Path, default=SOLUTIONS)
    parser.add_argument("--to", type=Path, default=ROOT)
    parser.add_argument("--nbgrader", type=Path)
    asked = parser.parse_args()
    bad = []
    for name in asked.names or sheet.names(asked.solutions):
        found = sheet.read(name, asked.solutions)
        if asked.check:
            bad += stale(found, asked.to)
        else:
            build(found, asked.to)
            bad += [
                f"{name}, {line}"
                for e in (*found.public(), *found.graded(0))
                for line in unnoticed(e)
            ]
        if asked.nbgrader:
            source = nbformat.writes(solved(found)) + "\n"
            write_whole(
                asked.nbgrader / "source" / found.name / f"{found.name}.ipynb",
                source.encode(),
            )
    print("\n".join(bad), end="\n" if bad else "", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"error: {error}")
