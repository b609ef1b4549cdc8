"""Builds and executes the notebooks.

Authors edit notebooks/src/NN_topic.py (format py:percent). This tool makes
notebooks/NN_topic.ipynb from it, executed, to be committed.

    python tools/build_notebooks.py [NAME ...]
        builds and executes the notebooks whose names begin with NAME, by default all
    python tools/build_notebooks.py --check
        names the notebooks that differ from their sources; executes nothing
    python tools/build_notebooks.py --dress [NAME ...]
        renews text, links and folding; executes nothing, and keeps all outputs

A build also dresses the other notebooks: their links may lead to the new one.
"""

import argparse
import hashlib
import os
import pathlib
import re
import sys
import time
from collections import Counter
from itertools import zip_longest
from queue import Empty

import jupytext
import nbformat
from dress import dressed, tomllib
from jupyter_core.utils import run_sync
from links import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from notebook_times import cell_seconds, record_times

from course_lib.notebook.budget import probe
from course_lib.stamp import SETUP_ID, addressed, repository

NOTEBOOKS = ROOT / "notebooks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REPOSITORY = repository(ROOT)
MACHINE = re.compile(r"\S*/(home|Users|root|tmp|site-packages)/\S*")


def read(source: pathlib.Path) -> NotebookNode:
    """Returns the notebook of a source, neither dressed nor executed.

    A cell keeps two kinds of metadata: its tags and nbgrader's. A cell's id is a hash
    of its type and source, so an unedited cell keeps its id. Raises ValueError if the
    first cell is not markdown with a title, or if a cell pins a version with pip.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    first = next(iter(notebook.cells), nbformat.v4.new_code_cell())
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        raise ValueError(
            f"{source.name}: the first cell must be markdown and begin with `# ` and "
            "the title"
        )
    if any(re.search(r"pip3? install.*==", cell.source) for cell in notebook.cells):
        raise ValueError(
            f"{source.name}: pins a version with pip; ranges stand in pyproject.toml, "
            "and only there"
        )
    seen = Counter()
    for cell in notebook.cells:
        key = cell.cell_type, cell.source
        seen[key] += 1
        cell.id = hashlib.sha256(repr((*key, seen[key])).encode()).hexdigest()[:12]
        kept = [key for key in ("tags", "nbgrader") if cell.metadata.get(key)]
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in kept})
    kernel = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata = NotebookNode(
        kernelspec=kernel, language_info={"name": "python"}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def finished(notebook: NotebookNode, source: pathlib.Path, folder: str) -> NotebookNode:
    """Returns the notebook of a source as it is written to `folder`: dressed, and with
    badge and set-up cell if the repository has an address."""
    notebook = dressed(notebook, source, folder)
    return addressed(notebook, f"{folder}/{source.stem}", REPOSITORY)


class Client(NotebookClient):
    """A NotebookClient that polls for the kernel's replies.

    nbclient's own sometimes misses a reply and then waits until the timeout
    (jupyter/nbclient#312).
    """

    async def async_start_new_kernel_client(self):
        kernel_client = await super().async_start_new_kernel_client()
        channel, get = kernel_client.shell_channel, kernel_client.shell_channel.get_msg

        async def get_msg(timeout=None):
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                left = 0.05 if end is None else end - time.monotonic()
                try:
                    return await get(timeout=max(0.0, min(0.05, left)))
                except Empty:
                    if end is not None and time.monotonic() >= end:
                        raise

        channel.get_msg = get_msg
        return kernel_client

    start_new_kernel_client = run_sync(async_start_new_kernel_client)


def execute(
    notebook: NotebookNode,
    folder: pathlib.Path,
    timeout: float = 1800,
    kernel_name: str = "python3",
) -> list[float]:
    """Runs every cell in a fresh kernel and stores the outputs in `notebook`.

    Returns the seconds of each cell. Raises CellExecutionError if a cell or a widget
    callback fails.
    """
    client = Client(
        notebook,
        timeout=timeout,
        kernel_name=kernel_name,
        record_timing=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    seconds = cell_seconds(notebook)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["course_lib"] = {"budget": os.environ.get("COURSE_BUDGET", "")}
    if errors := callback_errors(notebook):
        raise CellExecutionError(errors[0], "WidgetCallbackError", errors[0])
    return seconds


def callback_errors(notebook: NotebookNode) -> list[str]:
    """Returns the errors of widget callbacks.

    They are stored in the widget's own output, which notebook runners do not check.
    """
    kind = "application/vnd.jupyter.widget-state+json"
    widgets = notebook.metadata.get("widgets", {}).get(kind, {}).get("state", {})
    errors = []
    for widget in widgets.values():
        for output in widget["state"].get("outputs", []):
            if output["output_type"] == "error":
                errors.append(f"{output['ename']}: {output['evalue']}")
    return errors


def output_text(output: NotebookNode) -> str:
    """Returns the text of an output, without its pictures."""
    data = output.get("data", {})
    texts = [data[kind] for kind in ("text/plain", "text/html") if kind in data]
    return output.get("text", "") + " ".join(texts)


def problems(source: pathlib.Path, built: pathlib.Path) -> list[str]:
    """Returns the problems of a built notebook, a line each.

    It may differ from its source, contain cells that were not executed, errors, or
    paths of the machine that ran it, or be built with the smoke budget.
    """
    if not built.exists():
        return [f"{built.name} is missing: make notebooks NAMES={source.stem}"]
    notebook = nbformat.read(built, as_version=4)

    def content(cell: NotebookNode) -> tuple:
        meta = cell.metadata
        return cell.cell_type, cell.source, meta.get("tags"), meta.get("jupyter")

    made = finished(read(source), source, "notebooks")
    wanted, has = (list(map(content, n.cells)) for n in (made, notebook))
    found = []
    if wanted != has:
        where = next(k for k, (a, b) in enumerate(zip_longest(wanted, has)) if a != b)
        found.append(
            f"differs from its source, first in cell {where}: make notebooks "
            f"NAMES={source.stem}, or ARGS=--dress if only text differs"
        )
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            is_run = cell.execution_count is not None or cell.id == SETUP_ID
            if cell.source.strip() and not is_run:
                found.append(f"cell {k} was never executed")
            errors = [o for o in cell.outputs if o.output_type == "error"]
            found += [f"cell {k} shows an error: {o.ename}" for o in errors]
            if path := MACHINE.search(" ".join(map(output_text, cell.outputs))):
                found.append(
                    f"cell {k} shows a path of the machine that ran it: {path[0]}"
                )
    errors = callback_errors(notebook)
    found += [f"a widget's callback failed: {error}" for error in errors]
    if notebook.metadata.get("course_lib", {}).get("budget") == "smoke":
        found.append(
            "was built with the budget `smoke`; a committed notebook needs the budget "
            "`laptop` or `gpu`"
        )
    return [f"{built.name}: {problem}" for problem in found]


def build(source: pathlib.Path, built: pathlib.Path) -> None:
    """Reads, executes and writes one notebook.

    Raises CellExecutionError if a cell fails, and ValueError if the result has
    problems.
    """
    notebook, probed = read(source), probe()
    seconds = execute(notebook, built.parent)
    if built.parent == NOTEBOOKS:
        record_times(notebook, source.stem, seconds, probed)
    nbformat.write(finished(notebook, source, "notebooks"), built)
    if found := problems(source, built):
        raise ValueError("\n".join(found))


def dress(source: pathlib.Path, built: pathlib.Path) -> None:
    """Writes a built notebook anew with its outputs. Executes nothing.

    Raises ValueError if code changed since the notebook was executed.
    """
    notebook, old = read(source), nbformat.read(built, as_version=4)
    code, ran = (
        [c for c in n.cells if c.cell_type == "code" and c.id != SETUP_ID]
        for n in (notebook, old)
    )
    for k, (new, cell) in enumerate(zip_longest(code, ran)):
        if None in (new, cell) or new.id != cell.id:
            raise ValueError(
                f"{built.name}: the code changed, first in code cell {k}, so it must "
                f"be executed: make notebooks NAMES={source.stem}"
            )
        new.outputs, new.execution_count = cell.outputs, cell.execution_count
    notebook.metadata = old.metadata
    notebook = finished(notebook, source, "notebooks")
    if notebook != old:
        nbformat.write(notebook, built)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dress", action="store_true")
    asked = parser.parse_args()
    sources = sorted((NOTEBOOKS / "src").glob("*.py"))
    known = [source.stem for source in sources]
    if unknown := [
        name for name in asked.names if not any(k.startswith(name) for k in known)
    ]:
        parser.error(f"no source begins with {unknown}; there are {known}")
    os.environ.setdefault("COURSE_BUDGET", "laptop")
    failed = False
    for source in sources:
        built, start = NOTEBOOKS / f"{source.stem}.ipynb", time.monotonic()
        is_named = not asked.names or source.stem.startswith(tuple(asked.names))
        if not is_named and (asked.check or asked.dress or not built.exists()):
            continue
        try:
            if asked.check:
                if found := problems(source, built):
                    raise ValueError("\n".join(found))
                done = "fine"
            elif asked.dress or not is_named:
                dress(source, built)
                done = "dressed"
            else:
                build(source, built)
                done = f"built in {time.monotonic() - start:.0f} s"
        except (CellExecutionError, ValueError) as error:
            print(f"{source.stem}: {error}", file=sys.stderr)
            failed = True
        else:
            print(f"{source.stem}: {done}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
