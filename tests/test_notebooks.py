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
    build,
    callback_errors,
    dress,
    execute,
    finished,
    problems,
    read,
)
from dress import HOW, NAVIGATION_ID
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError

from course_lib.stamp import FOLDED, SETUP, SETUP_ID, addressed

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


def test_build_adds_outputs_top_and_end_without_machine_data(tiny):
    source, built = tiny
    assert problems(source, built) == []
    notebook = nbformat.read(built, as_version=4)
    first, _, widget, network, last = addressed(notebook, "x", None).cells
    line = "[Contents](../START.ipynb)"
    assert first.source == f"# 99. Tiny\n\n{line}\n\n{HOW}\n\nWords."
    assert (last.id, last.source) == (NAVIGATION_ID, line)
    assert [cell.execution_count for cell in notebook.cells[1:4]] == [1, 2, 3]
    assert [dict(cell.metadata) for cell in notebook.cells] == [
        {},
        FOLDED,
        {"tags": ["kept"]},
        {},
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
    assert same == [True, False, True, True]
    assert len({cell.id for cell in after.cells}) == 6
    built = [cell.id for cell in nbformat.read(tiny[1], as_version=4).cells]
    ids = [id for id in built if id not in (SETUP_ID, NAVIGATION_ID)]
    assert ids == [cell.id for cell in before.cells]


def test_address_adds_badge_and_setup_cell_and_none_takes_them_away(tiny):
    plain = addressed(finished(read(tiny[0]), tiny[0], "notebooks"), "x", None)
    text = nbformat.writes(plain)
    for repo in ("ada/course", "bob/notes"):
        given = addressed(nbformat.reads(text, 4), "notebooks/99_tiny", repo)
        first, setup, *others = given.cells
        link = f"github/{repo}/blob/main/notebooks/99_tiny.ipynb"
        assert first.source.startswith("# 99. Tiny\n\n[![Open in Colab](")
        assert first.source.count(link) == 1 and setup.id == SETUP_ID
        assert setup.source.endswith(f"git+https://github.com/{repo}")
        assert others == plain.cells[1:] and nbformat.validate(given) is None
        assert nbformat.writes(addressed(given, "x", None)) == text


def test_dress_renews_text_and_keeps_outputs_but_rejects_edited_code(tiny, tmp_path):
    source, built = tmp_path / "99_tiny.py", tmp_path / "99_tiny.ipynb"
    before = tiny[1].read_bytes()
    built.write_bytes(before)
    source.write_text(TINY)
    dress(source, built)
    assert built.read_bytes() == before
    source.write_text(TINY.replace("Words.", "Other words.").replace("kept", "fold"))
    dress(source, built)
    old, new = nbformat.reads(before.decode(), 4), nbformat.read(built, 4)
    assert new.cells[0].source.endswith("Other words.")
    assert problems(source, built) == [] and new.cells[-3].metadata.jupyter
    assert new.metadata == old.metadata and [
        (cell.outputs, cell.execution_count) for cell in new.cells[-4:-1]
    ] == [(cell.outputs, cell.execution_count) for cell in old.cells[-4:-1]]
    source.write_text(TINY.replace("import socket\n", "import socket  # edited\n"))
    before = built.read_bytes()
    with pytest.raises(ValueError, match="code changed, first in code cell 0"):
        dress(source, built)
    assert built.read_bytes() == before


def unexecuted(notebook):
    notebook.cells[-4].execution_count = None


def shows_an_error(notebook):
    notebook.cells[-4].outputs = [
        nbformat.v4.new_output("error", ename="KeyError", evalue="", traceback=[])
    ]


def shows_a_path(notebook):
    text = f"{os.sep}home{os.sep}somebody{os.sep}file.py:3: UserWarning"
    notebook.cells[-4].outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=text)
    ]


def other_source(notebook):
    notebook.cells[-4].source += "\n"


def other_tags(notebook):
    notebook.cells[-3].metadata["tags"] = []


def unfolded(notebook):
    del notebook.cells[-4].metadata["jupyter"]


def one_more_cell(notebook):
    notebook.cells.append(nbformat.v4.new_markdown_cell("more"))


def smoke(notebook):
    notebook.metadata["course_lib"]["budget"] = "smoke"


# {1}: the number of the first code cell of the source, and so on
@pytest.mark.parametrize(
    "spoil, said",
    [
        (unexecuted, "cell {1} was never executed"),
        (shows_an_error, "cell {1} shows an error: KeyError"),
        (shows_a_path, "cell {1} shows a path of the machine"),
        (other_source, "differs from its source, first in cell {1}"),
        (unfolded, "differs from its source, first in cell {1}"),
        (other_tags, "differs from its source, first in cell {2}"),
        (one_more_cell, "differs from its source, first in cell {5}"),
        (smoke, "budget `smoke`"),
    ],
)
def test_problems_reports_each_defect_of_a_notebook(tiny, tmp_path, spoil, said):
    notebook = nbformat.read(tiny[1], as_version=4)
    more = len(notebook.cells) - 5  # the set-up cell, if there is one
    spoil(notebook)
    nbformat.write(notebook, tmp_path / "99_tiny.ipynb")
    found = problems(tiny[0], tmp_path / "99_tiny.ipynb")
    assert len(found) == 1 and said.format(*range(more, more + 6)) in found[0]


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
        and "differs from its source, first in cell " in capsys.readouterr().err
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
    source = SETUP.replace("REPOSITORY", "ada/course")
    exec(TransformerManager().transform_cell(source), scope)
    return commands


def test_setup_cell_installs_missing_packages_only_and_keeps_torch(monkeypatch):
    assert run_setup_cell(set(), monkeypatch) == []
    torch, torchvision, numpy = (
        f"{n}=={importlib.metadata.version(n)}"
        for n in ("torch", "torchvision", "numpy")
    )
    course = "git+https://github.com/ada/course"
    everything = run_setup_cell({"course_lib"}, monkeypatch)
    assert everything == [f"pip install --quiet {torch} {torchvision} {numpy} {course}"]
    only_numpy = run_setup_cell({"course_lib", "torch", "torchvision"}, monkeypatch)
    assert only_numpy == [f"pip install --quiet {numpy} {course}"]
