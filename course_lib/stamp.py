"""Writes the address of the repository into the files of a clone.

Without an address, pyproject.toml has a placeholder. Then no notebook has a badge or a
set-up cell, and README's table has no links to Colab, because they would lead nowhere.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import ROOT, write_whole
from course_lib.trust import LIST, write_list

# Imported where it is needed, because it comes with JupyterLab, not with course_lib.
if TYPE_CHECKING:
    from nbformat import NotebookNode

PLACEHOLDER = "OWNER/REPO"
ADDRESS = re.compile(r'(?<=^Repository = "https://github\.com/)[^"]+', re.MULTILINE)
COLAB = "https://colab.research.google.com"
BADGE = re.compile(rf"\[!\[Open in Colab\]\({re.escape(COLAB)}.*?\)\]\(.*?\)\n\n")
SETUP_ID = "set-up"
SETUP = """\
# Does nothing where course_lib is installed (`make lab`). Elsewhere, as on Colab, it
# installs course_lib and keeps the torch that is there.
import importlib.metadata
from importlib.util import find_spec

if find_spec("course_lib") is None:
    kept = [name for name in ("torch", "torchvision", "numpy") if find_spec(name)]
    kept = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in kept)
    %pip install --quiet {kept} git+https://github.com/REPOSITORY"""
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}


def repository(root: Path = ROOT) -> str | None:
    """Returns OWNER/NAME of the repository; None while there is only a placeholder."""
    found = ADDRESS.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    return found[0] if found and found[0] != PLACEHOLDER else None


def colab(place: str, repo: str) -> str:
    """Returns the address at which Colab opens a notebook. place: notebooks/NAME."""
    return f"{COLAB}/github/{repo}/blob/main/{place}.ipynb"


def addressed(notebook: "NotebookNode", place: str, repo: str | None):
    """Returns the notebook with a badge under its title and a set-up cell behind its
    first cell, both for the repository `repo`, or with neither if it is None.

    It changes `notebook`, too. place: notebooks/NAME or exercises/NAME.
    """
    import nbformat

    cells = [cell for cell in notebook.cells if cell.id != SETUP_ID]
    title, _, rest = BADGE.sub("", cells[0].source, count=1).partition("\n\n")
    badge = ""
    if repo:
        image = f"{COLAB}/assets/colab-badge.svg"
        badge = f"[![Open in Colab]({image})]({colab(place, repo)})\n\n"
        setup = nbformat.v4.new_code_cell(SETUP.replace("REPOSITORY", repo))
        setup.update(id=SETUP_ID, metadata=nbformat.from_dict(FOLDED))
        cells.insert(1, setup)
    cells[0].source = f"{title}\n\n{badge}{rest}".rstrip()
    notebook.cells = cells
    return notebook


def with_colab_column(table: str, repo: str | None) -> str:
    """Returns README's table of notebooks with a column of links to Colab, or without
    it if `repo` is None."""
    head, line, *rows = table.splitlines()
    if head.endswith("| Colab |"):
        head, line, *rows = (
            text[: text.rindex("|", 0, -1) + 1] for text in (head, line, *rows)
        )
    if repo:
        head, line = f"{head} Colab |", f"{line} --- |"
        for k, row in enumerate(rows):
            found = re.search(r"\]\((notebooks/\w+)\.ipynb\)", row)
            link = f"[open]({colab(found[1], repo)})" if found else ""
            rows[k] = f"{row} {link} |"
    return "\n".join([head, line, *rows])


def stamp(repo: str, root: Path = ROOT) -> list[Path]:
    """Writes the address `repo`, OWNER/NAME, into all files of the clone that have it:
    pyproject.toml, README's table, notebooks and exercises. Nothing is executed.
    Returns the files that changed.

    Raises ValueError if `repo` is not of the form OWNER/NAME, or if `root` is not a
    clone of the course.
    """
    if not re.fullmatch(r"[A-Za-z\d-]+/[A-Za-z\d._-]+(?<!\.git)", repo):
        raise ValueError(
            "argument `repo`: expected OWNER/NAME, for example "
            f"ada/learning-without-labels, got {repo!r}"
        )
    if not (root / "pyproject.toml").is_file():
        raise ValueError(
            f"stamp needs a clone of the course: {root} has no pyproject.toml"
        )
    import nbformat

    address = None if repo == PLACEHOLDER else repo
    places = ("pyproject.toml", "README.md", "notebooks/*.ipynb", "exercises/*.ipynb")
    changed = []
    for path in [path for place in places for path in sorted(root.glob(place))]:
        old = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            new = ADDRESS.sub(repo, old)
        elif path.suffix == ".md":
            new = re.sub(
                r"(?<=<!-- begin notebooks -->\n).*?(?=\n<!-- end notebooks -->)",
                lambda table: with_colab_column(table[0], address),
                old,
                flags=re.DOTALL,
            )
        else:
            notebook = nbformat.reads(old, as_version=4)
            place = f"{path.parent.name}/{path.stem}"
            new = nbformat.writes(addressed(notebook, place, address)) + "\n"
        if new != old:
            write_whole(path, new.encode())
            changed.append(path)
    sums = root / LIST
    if changed and sums.is_file():
        write_list(root)
        changed.append(sums)
    return changed
