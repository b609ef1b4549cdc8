"""Only the notebooks that ship with the course are signed, and only as they shipped."""

import nbformat
import pytest
from build_notebooks import ROOT
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import trust


def content(source):
    return (
        nbformat.writes(new_notebook(cells=[new_code_cell(source)])) + "\n"
    ).encode()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    root = tmp_path / "clone"
    for name in ("START.ipynb", "notebooks/03_a.ipynb", "exercises/03_a.ipynb"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content(name))
    trust.write_list(root)
    return root


def is_trusted(path):
    return NotebookNotary().check_signature(nbformat.read(path, as_version=4))


def test_shipped_notebooks_are_signed_once_and_others_never(clone):
    changed, added = clone / "exercises/03_a.ipynb", clone / "notebooks/04_mine.ipynb"
    changed.write_bytes(content("changed by somebody"))
    added.write_bytes(content("sent by somebody"))
    assert trust.trust(clone) == ["START.ipynb", "notebooks/03_a.ipynb"]
    assert trust.trust(clone) == []
    found = {path for path in clone.rglob("*.ipynb") if is_trusted(path)}
    assert found == {clone / "START.ipynb", clone / "notebooks/03_a.ipynb"}


def test_notebooks_are_signed_with_the_line_ends_of_windows_and_if_some_are_gone(clone):
    (clone / "START.ipynb").unlink()
    for path in clone.rglob("*.ipynb"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(trust.trust(clone)) == 2
    assert all(map(is_trusted, clone.rglob("*.ipynb")))


def test_nothing_is_signed_without_the_list(clone):
    (clone / trust.LIST).unlink()
    assert trust.trust(clone) == []


def test_list_of_shipped_notebooks_is_up_to_date():
    text = (ROOT / trust.LIST).read_text(encoding="utf-8")
    assert text == trust.listed(), "stale: python -m course_lib.trust"
