"""How a built notebook looks: what is folded, its links, and what stands at its top and
at its end. All of it is made from the sources, so they stay plain."""

import re
from pathlib import Path

import nbformat
from links import LECTURES, ROOT, SHEETS, linked
from nbformat import NotebookNode

from course_lib.stamp import FOLDED

try:
    import tomllib
# On Python 3.10. There pytest, jupytext and JupyterLab install tomli.
except ModuleNotFoundError:
    import tomli as tomllib

NAVIGATION_ID = "navigation"
HOW = (
    "**How to work** Press Shift+Enter: it runs a cell and goes to the next one. The "
    "first cell takes some seconds, because it loads PyTorch. Do not use *Run All* the "
    "first time, because the view jumps to the end and hides the training. Some code "
    "is folded: a click on the three dots opens it. A red icon beside a control says "
    "that the cells were not run yet."
)
LECTURES_OF = re.compile(r"\*\*Lectures\*\*\s+(.*)", re.S)
MARGIN = re.compile(r"\*Margin note(?P<s>s?)(?P<more>[^*]*?)\.\*\s+(?P<text>.*)", re.S)


def title(name: str) -> str:
    """Returns the number and the title of a notebook, from syllabus/."""
    path = ROOT / "syllabus" / f"{name}.toml"
    row = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return f"{name[:2]}. {row['title']}" if row else name


def navigation(source: Path, folder: str) -> str:
    """Returns the line of links: previous, contents, exercises or lecture, next.

    The neighbours are the other sources in the same folder.
    """
    names = sorted(path.stem for path in source.parent.glob("[0-9]*_*.py"))
    before = [name for name in names if name < source.stem][-1:]
    after = [name for name in names if name > source.stem][:1]
    partner, other = (SHEETS, "exercises") if folder == "notebooks" else (LECTURES, "")
    links = [f"Previous: [{title(name)}]({name}.ipynb)" for name in before]
    links.append("[Contents](../START.ipynb)")
    if (partner / source.name).exists():
        word = "Exercises" if other else f"Lecture {title(source.stem)}"
        links.append(f"[{word}](../{other or 'notebooks'}/{source.stem}.ipynb)")
    links += [f"Next: [{title(name)}]({name}.ipynb)" for name in after]
    return " · ".join(links)


def folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def with_folded_notes(text: str) -> str:
    """Returns a markdown text whose margin notes are folded, and the list of slides in
    a notebook's head: not everybody has the slides."""
    paragraphs = re.split(r"\n{2,}", text)
    for k, paragraph in enumerate(paragraphs):
        if slides := LECTURES_OF.fullmatch(paragraph):
            paragraphs[k] = folded("Slides that this notebook explains", slides[1])
        elif note := MARGIN.fullmatch(paragraph):
            summary = (
                "Margin notes on slides" if note["s"] else "Margin note on a slide"
            )
            paragraphs[k] = folded(summary + note["more"], note["text"])
    return "\n\n".join(paragraphs)


def dressed(notebook: NotebookNode, source: Path, folder: str) -> NotebookNode:
    """Returns the notebook of a source as it is built. It changes `notebook`, too.

    The first code cell and those with the tag `fold` are folded in JupyterLab, and by
    `cellView` in Colab. folder: notebooks or exercises. Raises ValueError if the text
    refers to a section that does not exist.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for k, cell in enumerate(code):
        if k == 0 or "fold" in cell.metadata.get("tags", ()):
            cell.metadata |= nbformat.from_dict(FOLDED)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(with_folded_notes(cell.source), source, folder)
    first, line = notebook.cells[0], navigation(source, folder)
    head, _, rest = first.source.partition("\n")
    top = [head, line, *[HOW] * (folder == "notebooks"), rest.strip()]
    first.source = "\n\n".join(top).strip()
    notebook.cells.append(nbformat.v4.new_markdown_cell(line, id=NAVIGATION_ID))
    return notebook
