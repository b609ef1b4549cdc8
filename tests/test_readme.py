"""The symbols, notebooks and slides named in syllabus/ exist; README.md and
docs/concepts.md agree with it; links in the pages are not dead."""

import importlib
import inspect
import re
import shutil

import build_readme
import pytest
from build_book import slug
from build_notebooks import NOTEBOOKS, ROOT
from build_readme import CONCEPTS, PAGES, README, SYLLABUS

from course_lib.__main__ import main
from course_lib.recipe import recipes
from course_lib.train import Method

TEXT = README.read_text(encoding="utf-8")
DOCS = [README, *sorted((ROOT / "docs").glob("*.md"))]


def resolves(system: dict) -> bool:
    """Tells whether the symbol of a system can be imported."""
    module, name = system["symbol"].split(":")
    return getattr(importlib.import_module(module), name, None) is not None


@pytest.mark.parametrize("name", SYLLABUS["systems"])
def test_syllabus_system_has_existing_symbol_notebook_and_slide(name):
    system = SYLLABUS["systems"][name]
    assert resolves(system), f"{system['symbol']} does not import"
    assert system.keys() <= {"symbol", "notebook", "exercise", "lecture", "paper"}
    source = NOTEBOOKS / "src" / f"{system['notebook']}.py"
    assert source.exists() and (NOTEBOOKS / f"{system['notebook']}.ipynb").exists()
    assert system["symbol"].split(":")[1] in source.read_text(encoding="utf-8"), (
        f"{source.name} never names it"
    )
    if "exercise" in system:
        assert (ROOT / "exercises" / f"{system['exercise']}.ipynb").exists()
    if "lecture" in system:
        assert system["lecture"].split(":")[0] in SYLLABUS["decks"]
    if "paper" in system:
        assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4}/\S+", system["paper"])


def test_missing_symbol_of_a_syllabus_system_is_detected():
    with pytest.raises(ModuleNotFoundError):
        resolves({"symbol": "course_lib.no_such_module:thing"})
    assert not resolves({"symbol": "course_lib.losses:no_such_loss"})


def test_every_method_of_the_library_is_in_the_syllabus():
    """Variants that only an experiment trains, in the modules of experiments, need
    none."""
    folders = [path.parent.name for path in (ROOT / "course_lib").glob("*/__init__.py")]
    methods = set()
    for folder in folders:
        for path in (ROOT / "course_lib" / folder).glob("[a-z]*.py"):
            if path.stem.endswith("experiments"):
                continue
            module = f"course_lib.{folder}.{path.stem}"
            for name, value in vars(importlib.import_module(module)).items():
                is_own = inspect.isclass(value) and value.__module__ == module
                if is_own and issubclass(value, Method):
                    methods.add(f"{module}:{name}")
    symbols = {system["symbol"] for system in SYLLABUS["systems"].values()}
    assert methods and methods <= symbols


def test_command_list_shows_only_methods_in_the_table_of_concepts(capsys):
    assert main(["list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    words = [row.split() for row in rows[1:-1] if not row.startswith(" ")]
    code = {first: last for first, *_, last in words}
    symbols = {system["symbol"] for system in SYLLABUS["systems"].values()}
    in_table = {
        symbol.removeprefix("course_lib.").replace(":", ".") for symbol in symbols
    }
    assert code.keys() == recipes().keys() and set(code.values()) <= in_table


def test_syllabus_notebooks_are_numbered_and_include_all_that_exist():
    names = list(SYLLABUS["notebooks"])
    numbers = [name[:3] for name in names]
    assert numbers[:18] == [f"{k:02}_" for k in range(18)]
    assert sorted(set(numbers)) == numbers
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} <= set(names)
    for notebook in SYLLABUS["notebooks"].values():
        assert notebook["title"] and notebook["topics"]
        assert set(notebook["decks"]) <= set(SYLLABUS["decks"])


def test_syllabus_read_merges_a_new_file_and_rejects_a_concept_twice(tmp_path):
    folder = shutil.copytree(ROOT / "syllabus", tmp_path / "syllabus")
    mine = 'title = "New"\ntopics = "new things"\ndecks = ["AIA"]\n\n[systems.%s]\nsymbol = "a:b"\nexercise = true\n'
    (folder / "18_new.toml").write_text(mine % "Newest")
    merged = build_readme.read(folder)
    assert merged["notebooks"].pop("18_new") == {
        "title": "New",
        "topics": "new things",
        "decks": ["AIA"],
    }
    assert merged["systems"].pop("Newest") == {
        "symbol": "a:b",
        "notebook": "18_new",
        "exercise": "18_new",
    }
    assert merged == SYLLABUS
    (folder / "18_new.toml").write_text(mine % "InfoNCE")
    twice = "18_new.toml: 03_contrastive.toml has `InfoNCE`, too"
    with pytest.raises(ValueError, match=twice):
        build_readme.read(folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_with_tables_are_up_to_date(page):
    assert build_readme.filled(page) == page.read_text(encoding="utf-8"), (
        "stale: make readme"
    )


def test_stale_table_of_a_page_is_detected():
    tables = [(page, table) for page in PAGES for table in PAGES[page]]
    for page, table in tables:
        text, last = page.read_text(encoding="utf-8"), table().splitlines()[-1]
        last = last if page == README else build_readme.from_docs(last)
        stale = text.replace(last, "")
        assert stale != text and build_readme.filled(page, stale) == text
    assert [table.__name__ for _, table in tables] == ["notebooks", "decks", "systems"]
    text = CONCEPTS.read_text(encoding="utf-8")
    without_mark = text.replace("<!-- begin systems -->", "")
    with pytest.raises(ValueError, match="concepts.md: .*begin systems"):
        build_readme.filled(CONCEPTS, without_mark)


def test_readme_is_at_most_8_kilobytes_even_with_all_notebooks(monkeypatch):
    assert README.stat().st_size <= 8192
    monkeypatch.setattr(build_readme, "exists", lambda folder, name: True)
    assert len(build_readme.filled(README).encode()) <= 8192


def test_readme_has_one_picture_with_a_long_alternative_text():
    ((alt, path),) = re.findall(r"^!\[([^]]*)\]\(([^)]*)\)$", TEXT, re.MULTILINE)
    picture = (ROOT / path).read_bytes()
    assert len(alt) > 100 and picture.startswith(b"\x89PNG") and len(picture) <= 150_000


@pytest.mark.slow
def test_build_picture_saves_a_picture_of_the_expected_size(tmp_path):
    import build_picture

    build_picture.save(tmp_path / "course.png")
    assert 50_000 < (tmp_path / "course.png").stat().st_size <= 150_000


def test_readme_begins_with_the_two_commands():
    lines = TEXT.split("```")[1].strip().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["make lab", "make test"]
    assert len(TEXT.split("```")[0].splitlines()) < 5


def prose(path):
    """Returns a page without its blocks of code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def dead(path, text):
    """Returns the links of a page whose file or heading does not exist."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if link.startswith("https://"):
            continue
        if not target.exists():
            found.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.*)", prose(target), re.M)
            if anchor not in map(slug, headings):
                found.append(link)
    return found


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_pages_have_no_dead_link_or_missing_make_target(page):
    text = prose(page)
    assert dead(page, text) == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([a-z-]+)[^`]*`", text)
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_readme_links_every_page_and_reference_explains_every_make_target():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    links = [link for link in links if not link.startswith("https://")]
    assert {f"docs/{page.name}" for page in DOCS[1:]} <= set(links) and len(links) > 10
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split())
    table = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `make ([a-z-]+)` \|", table, re.MULTILINE))
    assert targets - explained == set() and len(targets) > 6


def test_dead_link_of_a_page_is_detected():
    text = "[a](start.md) [b](gone.md) [c](instructors.md#grade) [d](instructors.md#gone) [e](#for-students) [f](#no)"
    assert dead(ROOT / "docs" / "start.md", text) == [
        "gone.md",
        "instructors.md#gone",
        "#no",
    ]
