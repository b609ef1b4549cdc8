"""What a built notebook shows beside its source: links that lead somewhere, folded code
and margin notes, lines that fit."""

import re
from urllib.parse import unquote

import build_exercises
import links
import nbformat
import pytest
from build_book import page, slug
from build_notebooks import NOTEBOOKS, ROOT, finished, read
from dress import HOW, NAVIGATION_ID, navigation, with_folded_notes
from links import linked

LECTURES = sorted((NOTEBOOKS / "src").glob("*.py"))
SHEETS = sorted((ROOT / "solutions").glob("*.py"))
SOURCES = [("notebooks", path) for path in LECTURES]
SOURCES += [("exercises", path) for path in SHEETS]
IDS = [f"{folder}-{path.stem}" for folder, path in SOURCES]
LINK = re.compile(r"\]\(((?!https?:)[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)")


@pytest.fixture(scope="module")
def built():
    """The notebooks and sheets as they are built from their sources, by place."""
    return {
        f"{folder}/{path.stem}.ipynb": finished(read(path), path, folder)
        for folder, path in SOURCES
    }


def text(notebook) -> str:
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return "\n\n".join(cells)


def dead(place: str, words: str, pages: dict[str, str]) -> list[str]:
    """Returns the links in `words` that lead nowhere. pages: the texts by place."""
    found = []
    for link in LINK.findall(words):
        name, _, section = link.partition("#")
        file = (ROOT / place).parent / unquote(name) if name else ROOT / place
        target = file.resolve().relative_to(ROOT).as_posix()
        headings = re.findall(r"^#+ (.*)", pages.get(target, ""), re.MULTILINE)
        # as JupyterLab makes them
        anchors = [
            re.sub("[*`]", "", heading).replace(" ", "-") for heading in headings
        ]
        if not file.exists() or (section and section not in anchors):
            found.append(link)
    return found


def test_links_of_notebooks_and_sheets_lead_to_files_and_headings(built):
    pages = {place: text(notebook) for place, notebook in built.items()}
    assert {place: dead(place, words, pages) for place, words in pages.items()} == {
        place: [] for place in pages
    }
    count = {place: len(LINK.findall(words)) for place, words in pages.items()}
    assert min(count.values()) >= 6 and "#" in "".join(
        LINK.findall("".join(pages.values()))
    )


def test_dead_reports_missing_files_and_headings():
    words = "[a](b.ipynb) [c](#1.-One) [d](#2.-Two) [e](https://x.org) [f](00_representations.ipynb#no)"
    pages = {"notebooks/01_pretext_tasks.ipynb": "# T\n\n## 1. One"}
    found = dead("notebooks/01_pretext_tasks.ipynb", words, pages)
    assert found == ["b.ipynb", "#2.-Two", "00_representations.ipynb#no"]


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Sources of notebooks 03 and 08 and a sheet 08."""
    lectures, sheets = tmp_path / "src", tmp_path / "solutions"
    for folder in (lectures, sheets):
        folder.mkdir()
    monkeypatch.setattr(links, "LECTURES", lectures)
    three, eight = lectures / "03_a.py", lectures / "08_b.py"
    three.write_text(
        "# %% [markdown]\n# # 03. A\n#\n# ## 4. What's *it*?\n# ## 12. Two, three\n"
    )
    eight.write_text(
        "# %% [markdown]\n# # 08. B\n#\n# ## 2. One `x`: (a)\n# ## 3. $x$\n"
    )
    (sheets / "08_b.py").write_text(
        "# %% [markdown]\n# # Exercises 08. B\n# ## 2. Mine\n"
    )
    return eight, sheets / "08_b.py"


@pytest.mark.parametrize(
    "said, wanted",
    [
        ("see section 2.", "see [section 2](#2.-One-x:-(a))."),
        ("Section 2's x", "[Section 2](#2.-One-x:-(a))'s x"),
        (
            "(notebook\n03, section 4)",
            "([notebook\n03, section 4](03_a.ipynb#4.-What's-it?))",
        ),
        (
            "section 4 of notebook 03;",
            "[section 4 of notebook 03](03_a.ipynb#4.-What's-it?);",
        ),
        (
            "notebook 03's section 4",
            "[notebook 03's section 4](03_a.ipynb#4.-What's-it?)",
        ),
        ("Notebook 03's loss", "[Notebook 03](03_a.ipynb)'s loss"),
        ("notebooks 03 and 04", "notebooks [03](03_a.ipynb) and 04"),
        (
            "notebook 03, sections 4 and 12",
            "notebook 03, sections [4](03_a.ipynb#4.-What's-it?) and "
            "[12](03_a.ipynb#12.-Two,-three)",
        ),
        ("*as in section 2*", "*as in [section 2](#2.-One-x:-(a))*"),
        ("$a$ in section 2 for $b$", "$a$ in [section 2](#2.-One-x:-(a)) for $b$"),
    ],
)
def test_references_become_links(sources, said, wanted):
    assert linked(said, sources[0], "notebooks") == wanted


@pytest.mark.parametrize(
    "said",
    [
        "notebook 08 and notebook 09",  # its own, and a planned one
        "`section 9` and ``notebook 03``",
        "```\nsection 9\n\nsection 10\n```",
        "$\\text{section 9}$ and $$x\n\\text{section 9}$$",
        "## What section 9 says",
        "[of section 9](x.md) and ![section 9](x.png) and <a href='section 9'>",
        "Hinton et al., section 6; Ho et al. 2020, section 9",
        "section 3.1, and section 9 of the paper",
        "intersection 9, notebook 031",
    ],
)
def test_other_words_stay_as_they_are(sources, said):
    assert linked(said, sources[0], "notebooks") == said


def test_references_of_a_sheet_lead_to_its_lecture(sources):
    place = "../notebooks/08_b.ipynb#2.-One-x:-(a)"
    for said in ("section 2", "Section 2 of the lecture", "notebook 08, section 2"):
        assert linked(said, sources[1], "exercises") == f"[{said}]({place})"
    there = "[notebook 08](../notebooks/08_b.ipynb)"
    assert linked("notebook 08", sources[1], "exercises") == there


@pytest.mark.parametrize(
    "said, error",
    [
        ("as section\n9 says", "08_b.py: `section 9`: notebook 08 has no section 9"),
        ("sections 2, 5 and 9", "has no section 5 and no section 9"),
        ("notebook 03, section 5", "notebook 03 has no section 5"),
        (
            "notebook 04, section 5",
            "`notebook 04, section 5`: notebook 04 has no section",
        ),
        ("section 3", "`section 3`: no link can lead to the heading `3. $x$`"),
    ],
)
def test_reference_to_a_missing_section_is_an_error_with_file_and_words(
    sources, said, error
):
    with pytest.raises(ValueError, match=re.escape(error)):
        linked(said, sources[0], "notebooks")


def test_first_code_cell_and_cells_tagged_fold_are_folded_others_are_not(built):
    for place, notebook in built.items():
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        is_folded = [cell.metadata.get("jupyter") is not None for cell in code]
        tags = [cell.metadata.get("tags", ()) for cell in code]
        wanted = [k == 0 or "fold" in tag for k, tag in enumerate(tags)]
        if code[0].id == "set-up":
            wanted[1] = True
        assert is_folded == wanted, place
        for cell, folded in zip(code, is_folded, strict=True):
            assert not folded or cell.metadata.cellView == "form"


def test_margin_notes_are_folded():
    note = "*Margin note.* GT19 says $a$,\nbut $b$."
    folded = "<details><summary>{}</summary>\n\nGT19 says $a$,\nbut $b$.\n\n</details>"
    one = folded.format("Margin note on a slide")
    assert with_folded_notes(f"Words.\n\n{note}\n\n## 3. Next") == (
        f"Words.\n\n{one}\n\n## 3. Next"
    )
    two = folded.format("Margin notes on slides")
    assert with_folded_notes(note.replace("note", "notes")) == two
    more = folded.format("Margin note on a slide, and an experiment")
    assert with_folded_notes(note.replace("note.", "note, and an experiment.")) == more
    assert (
        with_folded_notes("Words about a *Margin note.*")
        == "Words about a *Margin note.*"
    )


def test_no_margin_note_of_a_source_stays_unfolded(built):
    for place, notebook in built.items():
        assert "*Margin note" not in text(notebook), place


def test_top_and_end_have_the_neighbours_and_the_partner(built):
    for folder, path in SOURCES:
        notebook = built[f"{folder}/{path.stem}.ipynb"]
        first, last = notebook.cells[0].source.split("\n\n"), notebook.cells[-1]
        line = navigation(path, folder)
        assert line in first[1:3] and (last.id, last.source) == (NAVIGATION_ID, line)
        assert (HOW in first) == (folder == "notebooks")
        assert line.count("Previous: ") == (path.stem[:2] != "00")
        partner = {"notebooks": "exercises", "exercises": "notebooks"}[folder]
        assert f"](../{partner}/{path.stem}.ipynb)" in line


def test_code_lines_of_notebooks_and_sheets_have_at_most_88_columns(built):
    too_long = [
        f"{place}: {line.strip()}"
        for place, notebook in built.items()
        for cell in notebook.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if len(line) > 88
    ]
    assert too_long == []


def test_book_page_has_its_own_anchors_and_folded_cells(tmp_path, monkeypatch):
    source = next(path for path in LECTURES if path.stem.startswith("03"))
    notebook = finished(read(source), source, "notebooks")
    nbformat.write(notebook, tmp_path / source.with_suffix(".ipynb").name)
    shown = nbformat.reads(page(tmp_path / f"{source.stem}.ipynb"), 4)
    words = text(shown)
    assert HOW not in words and "START.ipynb" not in words and "Previous:" not in words
    places = re.findall(r"\]\(([\w.]*#[^()\s]+)\)", words)
    assert "00_representations.ipynb#8-how-the-course-measures" in places
    headings = [slug(heading) for heading in re.findall(r"^#+ (.*)", words, re.M)]
    local = [place[1:] for place in places if place.startswith("#")]
    assert local and set(local) <= set(headings)
    for cell in shown.cells:
        folded = "jupyter" in cell.metadata
        assert folded == ("hide-input" in cell.metadata.get("tags", ()))


def test_new_sheet_renews_the_links_of_the_others_only(tmp_path, monkeypatch):
    """A build of one sheet writes its neighbours' notebooks, too."""
    monkeypatch.setattr(build_exercises, "build", lambda found, to: None)
    monkeypatch.setattr(build_exercises.sheet, "read", lambda name, folder: EMPTY)
    monkeypatch.setattr("sys.argv", ["build_exercises.py", "03", "--to", str(tmp_path)])
    (tmp_path / "exercises").mkdir()
    names = [path.stem for path in SHEETS]
    for name in names:
        (tmp_path / "exercises" / f"{name}.ipynb").write_text("old")
    assert build_exercises.main() == 0
    files = {name: tmp_path / "exercises" / f"{name}.ipynb" for name in names}
    assert files["03_contrastive"].read_text() == "old"
    for name in set(names) - {"03_contrastive"}:
        notebook = nbformat.read(files[name], 4)
        assert notebook.cells[-1].id == NAVIGATION_ID
        assert "### BEGIN" not in files[name].read_text()


class EMPTY:
    public = staticmethod(list)
    graded = staticmethod(lambda seed: [])
