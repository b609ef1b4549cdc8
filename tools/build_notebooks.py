"""notebooks/src/NN_topic.py (py:percent, the file one edits) ->
notebooks/NN_topic.ipynb (executed, committed).

    python tools/build_notebooks.py [NAME ...]     builds and executes all of them, or those whose names begin so
    python tools/build_notebooks.py --check        says where a notebook and its source differ; executes nothing
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
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from course_lib.stamp import with_address

try:
    import tomllib
# Python 3.10; pytest, jupytext and JupyterLab bring tomli there
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["urls"]["Repository"]
MACHINE = re.compile(r"\S*/(home|Users|root|tmp|site-packages)/\S*")
SETUP = """\
# Does nothing where course_lib is installed (`make lab`). Elsewhere, as on Colab, it installs it and keeps its torch.
import importlib.metadata
import importlib.util

if importlib.util.find_spec("course_lib") is None:
    kept = [name for name in ("torch", "torchvision", "numpy") if importlib.util.find_spec(name)]
    kept = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in kept)
    %pip install --quiet {kept} git+REPOSITORY
""".strip().replace("REPOSITORY", REPOSITORY)


def colab(name: str, folder: str = "notebooks") -> str:
    """Where Colab opens a notebook."""
    repository = REPOSITORY.split("/", 3)[3]
    return f"https://colab.research.google.com/github/{repository}/blob/main/{folder}/{name}.ipynb"


def read(source: pathlib.Path, folder: str = "notebooks") -> NotebookNode:
    """The notebook that a source stands for, not executed: badge under its title,
    set-up cell after its first cell.

    folder: where the notebook will be, for its badge. Of a cell's metadata tags and
    nbgrader's are kept. Its id is a hash of its type and source, whatever the
    repository's address: an unedited cell keeps its id. Raises ValueError for a first
    cell that is no markdown with a title, and for a version pinned by pip in a cell.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    first = notebook.cells[0] if notebook.cells else None
    if (
        first is None
        or first.cell_type != "markdown"
        or not first.source.startswith("# ")
    ):
        raise ValueError(
            f"{source.name}: the first cell must be markdown and begin with `# ` and "
            "the title"
        )
    if any(re.search(r"pip3? install.*==", cell.source) for cell in notebook.cells):
        raise ValueError(
            f"{source.name}: pins a version with pip; ranges stand in pyproject.toml, "
            "and only there"
        )
    title, _, rest = first.source.partition("\n")
    badge = (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    )
    badge += f"({colab(source.stem, folder)})"
    first.source = f"{title}\n\n{badge}\n\n{rest.strip()}".strip()
    notebook.cells.insert(1, nbformat.v4.new_code_cell(SETUP))
    seen = Counter()
    for cell in notebook.cells:
        key = cell.cell_type, with_address(cell.source, "OWNER/REPO")
        seen[key] += 1
        cell.id = hashlib.sha256(repr((*key, seen[key])).encode()).hexdigest()[:12]
        kept = [key for key in ("tags", "nbgrader") if cell.metadata.get(key)]
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in kept})
    notebook.metadata = NotebookNode(
        kernelspec={
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


class Client(NotebookClient):
    """nbclient's own now and then misses a reply and waits out the timeout
    (jupyter/nbclient#312): this one polls."""

    async def async_start_new_kernel_client(self):
        kernel_client = await super().async_start_new_kernel_client()
        channel, get = kernel_client.shell_channel, kernel_client.shell_channel.get_msg

        async def get_msg(timeout=None):
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                slice_ = (
                    0.05 if end is None else max(0.0, min(0.05, end - time.monotonic()))
                )
                try:
                    return await get(timeout=slice_)
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
) -> None:
    """Runs every cell in a fresh kernel, in place. Raises CellExecutionError where a
    cell or widget callback fails."""
    where = {"metadata": {"path": str(folder)}}
    Client(
        notebook,
        timeout=timeout,
        kernel_name=kernel_name,
        record_timing=False,
        resources=where,
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["course_lib"] = {"budget": os.environ.get("COURSE_BUDGET", "")}
    if errors := callback_errors(notebook):
        raise CellExecutionError(errors[0], "WidgetCallbackError", errors[0])


def callback_errors(notebook: NotebookNode) -> list[str]:
    """Errors inside widget callbacks: they end in the widget's own output, where no
    notebook runner looks."""
    widgets = (
        notebook.metadata.get("widgets", {})
        .get("application/vnd.jupyter.widget-state+json", {})
        .get("state", {})
    )
    outputs = [
        output
        for widget in widgets.values()
        for output in widget["state"].get("outputs", [])
    ]
    return [
        f"{output['ename']}: {output['evalue']}"
        for output in outputs
        if output["output_type"] == "error"
    ]


def shown_text(output: NotebookNode) -> str:
    """The words of an output, without its pictures."""
    data = output.get("data", {})
    return output.get("text", "") + " ".join(
        data[kind] for kind in ("text/plain", "text/html") if kind in data
    )


def problems(source: pathlib.Path, built: pathlib.Path) -> list[str]:
    """What is wrong with a built notebook: differs from its source, not executed,
    errors, paths of a machine."""
    if not built.exists():
        return [f"{built.name} is missing: make notebooks NAMES={source.stem}"]
    notebook = nbformat.read(built, as_version=4)
    wanted, has = (
        [
            (cell.cell_type, cell.source, cell.metadata.get("tags", []))
            for cell in each.cells
        ]
        for each in (read(source), notebook)
    )
    found = []
    if wanted != has:
        where = next(k for k, (a, b) in enumerate(zip_longest(wanted, has)) if a != b)
        found.append(
            f"differs from its source, first in cell {where}: make notebooks "
            f"NAMES={source.stem}"
        )
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if cell.source.strip() and cell.execution_count is None:
                found.append(f"cell {k} was never executed")
            found += [
                f"cell {k} shows an error: {o.ename}"
                for o in cell.outputs
                if o.output_type == "error"
            ]
            path = MACHINE.search(" ".join(map(shown_text, cell.outputs)))
            found += (
                [f"cell {k} shows a path of the machine that ran it: {path[0]}"]
                if path
                else []
            )
    found += [
        f"a widget's callback failed: {error}" for error in callback_errors(notebook)
    ]
    if notebook.metadata.get("course_lib", {}).get("budget") == "smoke":
        found.append(
            "was built with the budget `smoke`; what is committed has laptop quality "
            "or better"
        )
    return [f"{built.name}: {problem}" for problem in found]


def build(source: pathlib.Path, built: pathlib.Path) -> None:
    """Reads, executes and writes one notebook. Raises CellExecutionError, and
    ValueError for a result with problems."""
    notebook = read(source)
    execute(notebook, built.parent)
    nbformat.write(notebook, built)
    if found := problems(source, built):
        raise ValueError("\n".join(found))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    sources = sorted((NOTEBOOKS / "src").glob("*.py"))
    if unknown := [
        name
        for name in asked.names
        if not any(source.stem.startswith(name) for source in sources)
    ]:
        parser.error(
            f"no source begins with {unknown}; there are "
            f"{[source.stem for source in sources]}"
        )
    os.environ.setdefault("COURSE_BUDGET", "laptop")
    failed = False
    for source in sources:
        if asked.names and not source.stem.startswith(tuple(asked.names)):
            continue
        built, start = NOTEBOOKS / f"{source.stem}.ipynb", time.monotonic()
        try:
            if not asked.check:
                build(source, built)
            elif found := problems(source, built):
                raise ValueError("\n".join(found))
        except (CellExecutionError, ValueError) as error:
            print(f"{source.stem}: {error}", file=sys.stderr)
            failed = True
        else:
            print(
                f"{source.stem}: {'fine' if asked.check else f'built in {time.monotonic() - start:.0f} s'}"
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
