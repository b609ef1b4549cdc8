"""The committed notebooks are their sources, executed. The tool that builds them
detects defects."""

import importlib.metadata
import importlib.util
import os
import sys

import build_notebooks
import nbformat
import pytest
from build_notebooks import (
    NOTEBOOKS,
    REPOSITORY,
    SETUP,
    build,
    callback_errors,
    execute,
    problems,
    read,
)
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError

SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
TINY = """\
# %% [markdown]
# # 99. Tiny
# Words.

# %%
import socket

import ipywidgets

# %% tags=["kept"]
@ipywidgets.interact(k=(0, 3))
def shown(k=1):
    print("k is", 1 / k)

# %%
try:
    socket.create_connection(("192.0.2.1", 80))
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_equals_its_source_executed_without_errors(source):
    assert problems(source, NOTEBOOKS / f"{source.stem}.ipynb") == []


def test_every_notebook_has_a_source():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {
        source.stem for source in SOURCES
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_figures_have_alternative_texts(source):
    notebook = nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    outputs = [output for output in outputs if "image/png" in output.get("data", ())]
    assert outputs
    for output in outputs:
        alt = output.metadata["image/png"]["alt"]
        # JupyterLab 4.6 leaves it out, nbconvert does not
        assert len(alt) > 10 and output.data["text/plain"] == alt


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_cells_can_be_run_twice(source, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "smoke")
    notebook = read(source)
    notebook.cells = [
        cell for cell in notebook.cells for _ in range(1 + (cell.cell_type == "code"))
    ]
    execute(notebook, tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A source and the notebook built from it; tests write elsewhere."""
    folder = tmp_path_factory.mktemp("tiny")
    source, built = folder / "99_tiny.py", folder / "99_tiny.ipynb"
    source.write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUDGET", "laptop")
        build(source, built)
    return source, built


def test_build_adds_outputs_badge_and_setup_cell_without_machine_data(tiny):
    source, built = tiny
    assert problems(source, built) == []
    notebook = nbformat.read(built, as_version=4)
    first, setup, _, widget, network = notebook.cells
    assert first.source.startswith("# 99. Tiny\n\n[![Open in Colab](")
    assert first.source.endswith("/notebooks/99_tiny.ipynb)\n\nWords.")
    assert setup.source == SETUP and REPOSITORY in SETUP
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4]
    assert [dict(cell.metadata) for cell in notebook.cells] == [
        {},
        {},
        {},
        {"tags": ["kept"]},
        {},
    ]
    assert "tests run without a network" in network.outputs[0].text
    assert (
        widget.outputs[0].data.keys() >= {"application/vnd.jupyter.widget-view+json"}
        and notebook.metadata.widgets
    )
    assert (
        notebook.metadata.language_info == {"name": "python"}
        and notebook.metadata.kernelspec.name == "python3"
    )


def test_read_changes_only_the_id_of_an_edited_cell(tiny, tmp_path):
    before, copy = read(tiny[0]), tmp_path / "99_tiny.py"
    copy.write_text(
        TINY.replace("import socket\n", "import socket  # edited\n")
        + "\n# %%\n1\n\n# %%\n1\n"
    )
    after = read(copy)
    same = [a.id == b.id for a, b in zip(before.cells, after.cells, strict=False)]
    assert same == [True, True, False, True, True]
    assert len({cell.id for cell in after.cells}) == 7
    assert [cell.id for cell in nbformat.read(tiny[1], as_version=4).cells] == [
        cell.id for cell in before.cells
    ]


def test_read_gives_cell_ids_independent_of_the_repository_address(tiny, monkeypatch):
    before = read(tiny[0])
    monkeypatch.setattr(build_notebooks, "REPOSITORY", "https://github.com/ada/course")
    monkeypatch.setattr(
        build_notebooks,
        "SETUP",
        SETUP.replace(REPOSITORY, "https://github.com/ada/course"),
    )
    after = read(tiny[0])
    assert [a.source == b.source for a, b in zip(before.cells, after.cells)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert [cell.id for cell in before.cells] == [cell.id for cell in after.cells]


def unexecuted(notebook):
    notebook.cells[2].execution_count = None


def shows_an_error(notebook):
    notebook.cells[2].outputs = [
        nbformat.v4.new_output("error", ename="KeyError", evalue="", traceback=[])
    ]


def shows_a_path(notebook):
    text = f"{os.sep}home{os.sep}somebody{os.sep}file.py:3: UserWarning"
    notebook.cells[2].outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=text)
    ]


def other_source(notebook):
    notebook.cells[2].source += "\n"


def other_tags(notebook):
    notebook.cells[3].metadata["tags"] = []


def one_more_cell(notebook):
    notebook.cells.append(nbformat.v4.new_markdown_cell("more"))


def smoke(notebook):
    notebook.metadata["course_lib"]["budget"] = "smoke"


@pytest.mark.parametrize(
    "spoil, said",
    [
        (unexecuted, "cell 2 was never executed"),
        (shows_an_error, "cell 2 shows an error: KeyError"),
        (shows_a_path, "cell 2 shows a path of the machine"),
        (other_source, "differs from its source, first in cell 2"),
        (other_tags, "differs from its source, first in cell 3"),
        (one_more_cell, "differs from its source, first in cell 5"),
        (smoke, "budget `smoke`"),
    ],
)
def test_problems_reports_each_defect_of_a_notebook(tiny, tmp_path, spoil, said):
    notebook = nbformat.read(tiny[1], as_version=4)
    spoil(notebook)
    nbformat.write(notebook, tmp_path / "99_tiny.ipynb")
    found = problems(tiny[0], tmp_path / "99_tiny.ipynb")
    assert len(found) == 1 and said in found[0]


def test_build_notebooks_check_reports_edited_source_and_missing_notebook(
    tiny, tmp_path, monkeypatch, capsys
):
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "99_tiny.py"
    source.write_text(TINY + "\nprint(2)\n")
    monkeypatch.setattr(build_notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["build_notebooks.py", "--check"])
    assert (
        build_notebooks.main() and "99_tiny.ipynb is missing" in capsys.readouterr().err
    )
    (tmp_path / "99_tiny.ipynb").write_bytes(tiny[1].read_bytes())
    assert (
        build_notebooks.main()
        and "differs from its source, first in cell 4" in capsys.readouterr().err
    )
    source.write_text(TINY)
    assert not build_notebooks.main() and "fine" in capsys.readouterr().out


def test_build_fails_at_a_failing_cell_and_writes_nothing(tmp_path):
    source = tmp_path / "99_broken.py"
    source.write_text("# %% [markdown]\n# # 99. Broken\n\n# %%\n1 / 0\n")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build(source, tmp_path / "99_broken.ipynb")
    assert not (tmp_path / "99_broken.ipynb").exists()


def test_build_fails_at_a_failing_widget_callback(tmp_path):
    source = tmp_path / "99_callback.py"
    # 1 / 0, inside interact: every cell still succeeds
    source.write_text(TINY.replace("k=1", "k=0"))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build(source, tmp_path / "99_callback.ipynb")
    assert not (tmp_path / "99_callback.ipynb").exists()


def test_callback_errors_lists_errors_in_a_built_notebook(tiny):
    notebook = nbformat.read(tiny[1], as_version=4)
    assert callback_errors(notebook) == []
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"][
        "state"
    ]
    output = next(
        widget for widget in state.values() if widget["model_name"] == "OutputModel"
    )
    output["state"]["outputs"] = [
        nbformat.v4.new_output("error", ename="KeyError", evalue="k", traceback=[])
    ]
    assert callback_errors(notebook) == ["KeyError: k"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("# %%\n1\n", "first cell must be markdown"),
        ("# %% [markdown]\n# words without a title\n", "first cell must be markdown"),
        (
            "# %% [markdown]\n# # Title\n\n# %%\n# %pip install torch==2.6\n",
            "pins a version",
        ),
        (
            "# %% [markdown]\n# # Title\n\n# %%\n# !pip3 install -q numpy==2\n",
            "pins a version",
        ),
    ],
)
def test_read_rejects_a_source_without_title_or_with_a_pinned_version(
    tmp_path, text, said
):
    (tmp_path / "99_rules.py").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "99_rules.py")


def run_setup_cell(missing: set[str], monkeypatch) -> list[str]:
    """The commands that the set-up cell gives where the packages in `missing` are not
    installed."""
    commands, find = [], importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in missing else find(name),
    )

    class Shell:
        def run_line_magic(self, name, line):
            # as IPython expands it
            commands.append(f"{name} {line}".replace("{kept}", scope["kept"]))

    scope = {"get_ipython": Shell}
    exec(TransformerManager().transform_cell(SETUP), scope)
    return commands


def test_setup_cell_installs_missing_packages_only_and_keeps_torch(monkeypatch):
    assert run_setup_cell(set(), monkeypatch) == []
    torch, torchvision, numpy = (
        f"{n}=={importlib.metadata.version(n)}"
        for n in ("torch", "torchvision", "numpy")
    )
    course = f"git+{REPOSITORY}"
    everything = run_setup_cell({"course_lib"}, monkeypatch)
    assert everything == [f"pip install --quiet {torch} {torchvision} {numpy} {course}"]
    only_numpy = run_setup_cell({"course_lib", "torch", "torchvision"}, monkeypatch)
    assert only_numpy == [f"pip install --quiet {numpy} {course}"]
