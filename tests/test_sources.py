"""What a reader needs of the sources of notebooks and sheets: narrow code, folded
plots, notes on the slides that can be skipped, lecture decks called by their titles."""

import re
from pathlib import Path

import jupytext
import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
DECKS = tomllib.loads((ROOT / "syllabus" / "decks.toml").read_text("utf-8"))
NOTEBOOKS = sorted((ROOT / "notebooks" / "src").glob("*.py"))
SHEETS = sorted((ROOT / "solutions").glob("[0-9]*.py"))


@pytest.fixture(scope="module")
def cells():
    """Returns the cells of a source."""
    read = {
        path: jupytext.read(path, fmt="py:percent").cells for path in NOTEBOOKS + SHEETS
    }
    return read.__getitem__


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", NOTEBOOKS + SHEETS, ids=named)
def test_code_has_at_most_88_columns(path, cells):
    lines = [
        line
        for cell in cells(path)
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
    ]
    assert [line for line in lines if len(line) > 88] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_plots_are_folded_and_ideas_are_not(path, cells):
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    folded = [cell for cell in code if "fold" in cell.metadata.get("tags", ())]
    assert len(code) / 5 < len(folded) < len(code) / 2
    for cell in folded:
        # the library's source, a comparison with it, a run that is watched
        ideas = re.findall(
            r"^show\(|assert_close|^for \w+ in live\b", cell.source, re.M
        )
        assert ideas == [], cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_text_follows_each_training_so_that_its_live_figure_stays_in_view(path, cells):
    found = cells(path)
    trainings = 0
    for cell, after in zip(found, found[1:]):
        if cell.cell_type == "code" and re.search(
            "^for step in (?!range)", cell.source, re.M
        ):
            trainings += 1
            assert after.cell_type == "markdown", cell.source
    assert trainings


@pytest.mark.parametrize("path", NOTEBOOKS + SHEETS, ids=named)
def test_margin_notes_are_paragraphs_of_their_own(path, cells):
    for cell in cells(path):
        if cell.cell_type == "markdown":
            for paragraph in cell.source.split("\n\n"):
                note = paragraph.find("*Margin note")
                assert note <= 0, paragraph
                if note == 0:
                    assert re.match(r"\*Margin notes?\.\* ", paragraph), paragraph


@pytest.mark.parametrize("path", NOTEBOOKS + SHEETS, ids=named)
def test_lecture_decks_have_their_title_at_first_use(path, cells):
    text = "\n".join(cell.source for cell in cells(path))
    for tag, title in DECKS.items():
        if first := re.search(rf"\b{tag}\b", text):
            after = text[first.start() : first.start() + 80].replace("\n", " ")
            given = re.match(rf"{tag}(?:,| \() ?\*([^*:]+)", after)
            assert given and given[1].strip(" ,") in title, after
