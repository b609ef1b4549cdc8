"""Builds exercise notebooks, the cases of their checks and sample submissions.

They are made from the masters, solutions/NN_topic.py and solutions/NN_topic/, and
written to exercises/NN_topic.ipynb, exercises/checks/ and solutions/samples/.

    python tools/build_exercises.py [NAME ...]
        builds the named sheets, by default all, and tries their mistakes
    python tools/build_exercises.py --check
        names the files that are stale; writes nothing
    python tools/build_exercises.py --solutions FOLDER --to FOLDER
        builds from masters in another folder
    python tools/build_exercises.py --nbgrader FOLDER
        also writes FOLDER/source/NN_topic/ for nbgrader
"""

import argparse
import ast
import copy
import io
import re
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

import nbformat
from build_notebooks import ROOT, finished, read
from compare import same_content
from nbformat import NotebookNode

from course_lib.files import write_whole
from course_lib.grading import sheet
from course_lib.grading.exercise import Exercise
from course_lib.grading.public_files import write_public
from course_lib.grading.sheet import Sheet
from course_lib.grading.verdict import judge

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


def solved(source: Path) -> NotebookNode:
    """Returns the notebook with its solutions, in the form of nbgrader's `source`."""
    return copy.deepcopy(_read(source, source.stat().st_mtime_ns))


@lru_cache
def _read(path: Path, changed: int) -> NotebookNode:
    """Reads a master once for all samples. changed: the time of its last change."""
    return read(path)


def unsolved(source: Path) -> NotebookNode:
    """Returns the students' notebook, as `nbgrader generate_assignment` would make it.

    Raises ValueError if a BEGIN or END marker has no partner.
    """
    notebook = solved(source)
    for cell in notebook.cells:
        cell.source = SOLUTION.sub(
            r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell.source
        )
        cell.source = HIDDEN.sub("", cell.source).rstrip("\n")
        if re.search("### (BEGIN|END)", cell.source):
            raise ValueError(
                f"{source.stem}: a cell has a marker without its partner:\n"
                f"{cell.source}"
            )
    return notebook


def written(source: Path, notebook: NotebookNode) -> bytes:
    """Returns the file of a notebook of the sheet, with links and folded cells."""
    return f"{nbformat.writes(finished(notebook, source, 'exercises'))}\n".encode()


def drivers(found: Sheet) -> str:
    """Returns the public part of exercises.py, under another docstring."""
    head = ast.parse(found.public_drivers).body[0]
    lines = found.public_drivers.splitlines()[head.end_lineno :]
    return GENERATED + "\n".join(lines).lstrip() + "\n"


# --- sample submissions ---------------------------------------------------------------


def answer(found: Sheet, function, name: str) -> str:
    """Returns the source of an alternative solution, under the answer's name.

    It includes the imports, functions and classes of its file that it uses.
    """
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
        sources[node.name] = sheet.whole(text, node)
        used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        wanted += sorted(used & known.keys() - sources.keys())
        above |= {imports[name] for name in used & imports.keys()}
    source = "\n\n\n".join(["\n".join(sorted(above)), *reversed(sources.values())])
    return re.sub(rf"\b{function.__name__}\b", name, source) + "\n"


def with_answers(found: Sheet, answers: dict[str, str]) -> NotebookNode:
    """Returns the solved notebook; `answers`, grade_id -> source, replaces cells."""
    notebook = solved(found.source)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution") and about["grade_id"] in answers:
            cell.source = answers[about["grade_id"]]
        cell.source = re.sub(
            r" *### (BEGIN|END) SOLUTION\n?", "", HIDDEN.sub("", cell.source)
        ).rstrip("\n")
    return notebook


def hostile(name: str, *lines: str) -> str:
    """Returns a function of that name with these lines as its body."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"def {name}(*args, **kwargs):\n{body}"


def samples(found: Sheet) -> dict[str, bytes]:
    """Returns twelve submissions, path -> content, as a test of the grader.

    They are right, partly wrong, incomplete, or hostile.
    """
    name, masters = found.name, found.masters
    chosen = masters[0], masters[len(masters) // 2], masters[-1]
    first, middle, last = (master.name for master in chosen)

    def file(notebook: NotebookNode) -> bytes:
        return (nbformat.writes(notebook) + "\n").encode()

    def alternatives(which: int) -> NotebookNode:
        answers = {}
        for m in masters:
            if m.alternatives:
                function = m.alternatives[which % len(m.alternatives)]
                answers[m.name] = answer(found, function, m.name)
        return with_answers(found, answers)

    def mistaken(every: int) -> NotebookNode:
        answers = {}
        for m in masters[::every]:
            wrong = found.wrong[m.name]
            answers[m.name] = wrong[len(wrong) // (1 + every)].source
        return with_answers(found, answers)

    def packed(notebook: NotebookNode) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"homework/{name}.ipynb"), file(notebook))
        return buffer.getvalue()

    done = {m.name for m in masters[: len(masters) // 2]}
    half = unsolved(found.source)
    for cell, right in zip(half.cells, with_answers(found, {}).cells):
        if right.metadata.get("nbgrader", {}).get("grade_id") in done:
            cell.source = right.source
    renamed = with_answers(found, {first: hostile(f"my_{first}", "return args")})
    renamed.cells.append(nbformat.v4.new_code_cell("def unfinished(:", id="0" * 12))
    # The unsolved cells, copied to the end: students do this by mistake.
    copied = with_answers(found, {})
    for cell in unsolved(found.source).cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            copied.cells.append(cell)
    for k, cell in enumerate(copied.cells):
        cell.id = f"{k:012}"
    too_much_memory = "kept = []", "while True:", "    kept.append(bytearray(10**8))"
    answers = {
        first: hostile(first, "while True:", "    pass"),
        middle: hostile(middle, "import os", "os._exit(0)"),
        last: hostile(last, *too_much_memory),
    }
    breaks_limits = with_answers(found, answers)
    reads_file = f"return eval(open('../../{name}/exercises.py').read())"
    opens_page = "return urllib.request.urlopen('http://example.org').read()"
    answers = {
        first: hostile(first, reads_file),
        last: hostile(last, "import urllib.request", opens_page),
    }
    spies = with_answers(found, answers)
    return {
        f"Ada Lovelace/{name}.ipynb": file(with_answers(found, {})),
        "Blaise Pascal.zip": packed(alternatives(0)),
        f"Émilie du Châtelet/my homework/{name} (final).ipynb": file(alternatives(1)),
        f"Sofia Kovalevskaya/{name}.ipynb": file(copied),
        f"George Boole/{name}.ipynb": file(mistaken(3)),
        f"Kurt G/{name}.ipynb": file(mistaken(1)),
        f"Évariste Galois/{name}.ipynb": file(half),
        f"Henri P/{name}.ipynb": file(renamed),
        f"Nobody yet/{name}.ipynb": file(unsolved(found.source)),
        f"Mallory/{name}.ipynb": file(breaks_limits),
        f"=SUM(1+1) &lt;b&gt;/{name}.ipynb": file(spies),
        f"Oscar/{name}.ipynb": b"{ this is not a notebook",
    }


# --- writing and checking -------------------------------------------------------------


def build(found: Sheet, to: Path, reveal: bool = False):
    """Writes all files that are generated from one sheet into the folder `to`."""
    build_for_students(found, to, reveal)
    for name, content in samples(found).items():
        write_whole(to / "solutions" / "samples" / found.name / name, content)


def build_for_students(found: Sheet, to: Path, reveal: bool = False):
    """Writes the unsolved notebook and the files of its check into the folder `to`."""
    notebook = written(found.source, unsolved(found.source))
    write_whole(to / "exercises" / f"{found.name}.ipynb", notebook)
    checks = to / "exercises" / "checks"
    write_public(found.public(reveal), checks / found.name)
    write_whole(checks / f"{found.name}_drivers.py", drivers(found).encode())


def stale(found: Sheet, root: Path = ROOT) -> list[str]:
    """Names the files in `root` that differ from the ones built from the masters.

    Arrays may differ by rounding, because another processor adds in another order. The
    arrays of mistakes may differ by 1 % and in order, because some mistakes divide by
    nearly 0 or sort equal values.
    """
    with tempfile.TemporaryDirectory() as folder:
        build(found, Path(folder))
        wanted = {p.relative_to(folder) for p in Path(folder).rglob("*") if p.is_file()}
        there = [
            *(root / "solutions" / "samples" / found.name).rglob("*"),
            *(root / "exercises").rglob(f"{found.name}*"),
        ]
        surplus = {p.relative_to(root) for p in there if p.is_file()} - wanted
        bad = [f"{path}: not generated from a master" for path in sorted(surplus)]
        for path in sorted(wanted):
            new, old = Path(folder) / path, root / path
            if not old.exists():
                bad.append(f"{path}: missing")
            elif not same_content(new, old):
                bad.append(f"{path}: stale")
    return [f"{problem} (make exercises)" for problem in bad]


def unnoticed(exercise: Exercise) -> list[str]:
    """Returns a line for each mistake that the check does not name.

    Such a mistake gets full points, or its hint is not among those that the check
    shows. Two or three mistakes with the same outputs are no fault: the check shows the
    hints of all of them.
    """
    bad = []
    for mistake in exercise.mistakes:
        verdict = judge(exercise, mistake.outputs)
        if verdict.solved:
            problem = f"the mistake `{mistake.name}` gets full points"
            bad.append(f"{exercise.name}: {problem}")
        elif mistake.name not in (names := [m.name for m in verdict.mistakes]):
            named = " or ".join(f"`{name}`" for name in names)
            problem = (
                f"the check does not name the mistake `{mistake.name}`, it names "
                f"{named or 'none'}"
            )
            bad.append(f"{exercise.name}: {problem}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a sheet's name or its beginning; without names, all sheets",
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--solutions", type=Path, default=SOLUTIONS)
    parser.add_argument("--to", type=Path, default=ROOT)
    parser.add_argument("--nbgrader", type=Path)
    asked = parser.parse_args()
    bad = []
    names = asked.names or sheet.names(asked.solutions)
    for name in names:
        found = sheet.read(name, asked.solutions)
        if asked.check:
            bad += stale(found, asked.to)
        else:
            build(found, asked.to)
            for exercise in (*found.public(), *found.graded(0)):
                bad += [f"{name}, {line}" for line in unnoticed(exercise)]
        if asked.nbgrader:
            folder = asked.nbgrader / "source" / found.name
            notebook = written(found.source, solved(found.source))
            write_whole(folder / f"{found.name}.ipynb", notebook)
    for name in sheet.names(asked.solutions):
        file = asked.to / "exercises" / f"{name}.ipynb"
        # Its links may lead to a new sheet.
        if not asked.check and not name.startswith(tuple(names)) and file.exists():
            source = asked.solutions / f"{name}.py"
            write_whole(file, written(source, unsolved(source)))
    print("\n".join(bad), end="\n" if bad else "", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"error: {error}")
