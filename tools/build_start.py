"""Builds START.ipynb, the first page of the course.

    python tools/build_start.py            builds and executes it
    python tools/build_start.py --check    says whether it agrees with its sources

Everything that depends on a notebook is derived: titles, topics and decks from
syllabus/, hours and prerequisites from the head of notebooks/src/NN_topic.py, number
and minutes of the exercises from the sheet. So a new notebook needs no edit here.

The rest of the text, with the self-test, stands in tools/start_page.md. It has the
cells, between lines `+++`; the function NAME of this file writes `<!-- NAME -->`.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat
from build_notebooks import NOTEBOOKS, ROOT, execute
from build_readme import README, SYLLABUS, exists, row
from nbformat import NotebookNode

START = ROOT / "START.ipynb"
PAGE = ROOT / "tools" / "start_page.md"
HOURS = {
    "half an hour": 0.5,
    "an hour": 1.0,
    "an hour and a half": 1.5,
    "two hours": 2.0,
    "two hours and a half": 2.5,
    "three hours": 3.0,
}
NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()

CODE = """\
from course_lib.notebook import progress

progress()"""


def head(name: str) -> str:
    """Returns the text of the first cell of a notebook's source."""
    text = (NOTEBOOKS / "src" / f"{name}.py").read_text(encoding="utf-8")
    first = text.partition("# %% [markdown]\n")[2].partition("\n# %%")[0]
    lines = [line.removeprefix("#").strip() for line in first.split("\n")]
    return "\n".join(lines)


def paragraph(name: str, word: str) -> str:
    """Returns the paragraph of a notebook's head that begins with **word**, in a line.

    Raises ValueError if there is none.
    """
    for part in head(name).split("\n\n"):
        if part.startswith(f"**{word}**"):
            return " ".join(part.split()).removeprefix(f"**{word}**").strip()
    raise ValueError(
        f"{name}.py: the head has no paragraph that begins with **{word}**"
    )


def times(name: str) -> tuple[float, int]:
    """Returns a notebook's hours of reading and minutes of computing, from its head.

    Raises ValueError if the paragraph **Time** does not say them.
    """
    text = paragraph(name, "Time")
    words = "|".join(sorted(HOURS, key=len, reverse=True))
    hours = re.search(rf"reading (?:takes )?({words})", text, re.IGNORECASE)
    spent = re.search(r"computing (?:takes )?about (\w+) minutes", text, re.IGNORECASE)
    if not hours or not spent or spent[1] not in NUMBERS:
        raise ValueError(
            f"{name}.py: the paragraph **Time** must say, for example, `Reading takes "
            "an hour and a half, and computing about three minutes on two cores`. "
            f"Hours are one of {', '.join(HOURS)}. It says: {text!r}"
        )
    return HOURS[hours[1].lower()], NUMBERS.index(spent[1]) + 1


def needs(name: str) -> str:
    """Returns the numbers of the notebooks that a notebook's head says one needs."""
    text = paragraph(name, "You need")
    found = re.findall(r"[Nn]otebooks? (\d\d(?:(?:, | and )\d\d)*)", text)
    return ", ".join(sorted({n for some in found for n in re.findall(r"\d\d", some)}))


def sheet(name: str) -> tuple[int, int]:
    """Returns the number of exercises of a sheet, and their minutes."""
    cells = json.loads((ROOT / "exercises" / f"{name}.ipynb").read_text("utf-8"))
    texts = ["".join(cell["source"]) for cell in cells["cells"]]
    spent = [re.search(r"^\*(\d+) minutes,", text, re.MULTILINE) for text in texts]
    spent = [int(found[1]) for found in spent if found]
    return len(spent), sum(spent)


def hours(value: float) -> str:
    """Returns hours, rounded to a half, in words that stay in one line."""
    return f"{max(1, round(2 * value)) / 2:g}&nbsp;h"


def notebooks() -> str:
    """Returns the sums of the hours, and the table of the notebooks in their order."""
    lines = [row("notebook", "time", "exercises"), row(":---", ":---", ":---")]
    reading, computing, solving, count = 0.0, 0, 0, 0
    for name, notebook in SYLLABUS["notebooks"].items():
        title, topics = f"{name[:2]}. {notebook['title']}", notebook["topics"]
        if not exists("notebooks", name):
            lines.append(row(f"{title} (planned)<br>{topics}", "", ""))
            continue
        read, computed = times(name)
        link = f"**[{title}](notebooks/{name}.ipynb)**<br>{topics}"
        if before := needs(name):
            link += f"<br>*needs {before}*"
        exercises = ""
        if exists("exercises", name):
            number, minutes = sheet(name)
            solving += minutes
            exercises = f"[{number} exercises](exercises/{name}.ipynb)<br>"
            exercises += hours(minutes / 60)
        time = f"read&nbsp;{hours(read)}<br>run&nbsp;{computed}&nbsp;min"
        lines.append(row(link, time, exercises))
        reading, computing, count = reading + read, computing + computed, count + 1
    about = (
        f"The {count} notebooks that are ready take about {reading:g} hours to read, "
        f"and their exercises about {round(solving / 60)} hours. Computing takes "
        f"{computing} minutes more on two cores: run the cells while you read. "
        "*Needs* names the notebooks to read before. A *planned* notebook does not "
        "exist yet."
    )
    return "\n".join([about, "", *lines])


def decks() -> str:
    """Returns the table of the lecture decks and the notebooks that explain them."""
    lines = [row("deck", "notebooks"), row(":---", ":---")]
    for tag, title in SYLLABUS["decks"].items():
        links = [
            f"[{name[:2]}](notebooks/{name}.ipynb)"
            for name, notebook in SYLLABUS["notebooks"].items()
            if tag in notebook["decks"] and exists("notebooks", name)
        ]
        lines.append(row(f"**{tag}**: {title}", ", ".join(links)))
    return "\n".join(lines)


def picture() -> str:
    """Returns README's picture of the course, with its alternative text."""
    line = r"^!\[.*\]\(docs/course\.png\)$"
    return re.search(line, README.read_text("utf-8"), re.MULTILINE)[0]


def page() -> NotebookNode:
    """Returns the start page, not executed."""
    cells = []
    for text in PAGE.read_text("utf-8").strip().split("\n\n+++\n\n"):
        kind = "code" if text == "<!-- code -->" else "markdown"
        for write in (picture, notebooks, decks):
            if (mark := f"<!-- {write.__name__} -->") in text:
                text = text.replace(mark, write())
        text = CODE if kind == "code" else text
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(text)
        # a cell keeps its id when its text changes
        cell.id = hashlib.sha256(f"START {len(cells)}".encode()).hexdigest()[:12]
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    return notebook


def problems(path: Path = START) -> list[str]:
    """Returns what is wrong with the built page: a cell that differs from its sources,
    or was not executed."""
    if not path.exists():
        return [f"{path.name} is missing: make readme"]
    built, wanted = nbformat.read(path, as_version=4), page()

    def content(cell: NotebookNode) -> tuple:
        return cell.cell_type, cell.source

    found = []
    if list(map(content, built.cells)) != list(map(content, wanted.cells)):
        found.append(f"{path.name} differs from its sources: make readme")
    code = [cell for cell in built.cells if cell.cell_type == "code"]
    if not all(cell.outputs for cell in code):
        found.append(f"{path.name} has a cell without an output: make readme")
    return found


def build(path: Path = START):
    """Builds, executes and writes the page. Its progress is that of a new student."""
    notebook = page()
    before = os.environ.get("COURSE_PROGRESS")
    os.environ["COURSE_PROGRESS"] = str(ROOT / "runs" / "nobody" / "progress.json")
    try:
        execute(notebook, ROOT)
    finally:
        del os.environ["COURSE_PROGRESS"]
        if before is not None:
            os.environ["COURSE_PROGRESS"] = before
    del notebook.metadata["course_lib"]
    nbformat.write(notebook, path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        build()
    found = problems()
    print("\n".join(found) or f"{START.name}: fine", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
