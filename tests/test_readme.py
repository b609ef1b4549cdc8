"""syllabus.toml resolves, and README.md says what it says."""
import importlib
import inspect
import re

import build_readme
import pytest
from build_notebooks import NOTEBOOKS, ROOT
from build_readme import SYLLABUS

from course_lib.__main__ import main
from course_lib.recipe import recipes
from course_lib.train import Method

TEXT = build_readme.README.read_text(encoding="utf-8")


def resolves(system: dict) -> bool:
    module, name = system["symbol"].split(":")
    return getattr(importlib.import_module(module), name, None) is not None


@pytest.mark.parametrize("name", SYLLABUS["systems"])
def test_a_systems_symbol_notebook_and_slide_are_there(name):
    system = SYLLABUS["systems"][name]
    assert resolves(system), f"{system['symbol']} does not import"
    assert system.keys() <= {"symbol", "notebook", "exercise", "lecture", "paper"}
    if "notebook" in system:
        source = NOTEBOOKS / "src" / f"{system['notebook']}.py"
        assert source.exists() and (NOTEBOOKS / f"{system['notebook']}.ipynb").exists()
        assert system["symbol"].split(":")[1] in source.read_text(encoding="utf-8"), f"{source.name} never names it"
    if "exercise" in system:
        assert (ROOT / "exercises" / f"{system['exercise']}.ipynb").exists()
    if "lecture" in system:
        assert system["lecture"].split(":")[0] in SYLLABUS["decks"]
    if "paper" in system:
        assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4}/\S+", system["paper"])


def test_a_symbol_that_is_gone_is_noticed():
    with pytest.raises(ModuleNotFoundError):
        resolves({"symbol": "course_lib.no_such_module:thing"})
    assert not resolves({"symbol": "course_lib.losses:no_such_loss"})


def test_every_method_of_the_library_has_a_row():
    folders = [path.parent.name for path in (ROOT / "course_lib").glob("*/__init__.py")]
    files = [path for folder in folders for path in (ROOT / "course_lib" / folder).glob("[a-z]*.py")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    methods = {
        f"{module}:{name}" for module in modules for name, value in vars(importlib.import_module(module)).items()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module
    }
    assert methods and methods <= {system["symbol"] for system in SYLLABUS["systems"].values()}


def test_the_command_line_lists_what_the_table_of_concepts_has(capsys):
    assert main(["list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    code = {row.split()[0]: row.split()[-1] for row in rows[1:-1] if not row.startswith(" ")}
    in_table = {system["symbol"].removeprefix("course_lib.").replace(":", "."): system.get("notebook")
                for system in SYLLABUS["systems"].values()}
    assert code.keys() == recipes().keys() and all(in_table[symbol] for symbol in code.values())


def test_the_notebooks_are_numbered_and_those_that_exist_are_in_the_table():
    names = list(SYLLABUS["notebooks"])
    assert [name[:3] for name in names] == [f"{k:02}_" for k in range(18)]
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} <= set(names)
    for notebook in SYLLABUS["notebooks"].values():
        assert notebook["title"] and notebook["topics"] and set(notebook["decks"]) <= set(SYLLABUS["decks"])


def test_readme_is_up_to_date():
    assert build_readme.filled(TEXT) == TEXT, "stale: make readme"


def test_a_stale_readme_is_noticed():
    for table in (build_readme.notebooks, build_readme.systems, build_readme.decks):
        stale = TEXT.replace(table().splitlines()[-1], "")
        assert stale != TEXT and build_readme.filled(stale) == TEXT
    with pytest.raises(ValueError, match="begin systems"):
        build_readme.filled(TEXT.replace("<!-- begin systems -->", ""))


def test_readme_begins_with_the_two_commands():
    assert [line.split("  ")[0] for line in TEXT.split("```")[1].strip().splitlines()] == ["make lab", "make test"]
    assert len(TEXT.split("```")[0].splitlines()) < 5


def test_readmes_links_and_make_targets_are_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("https://")]
    assert len(links) > 10 and [link for link in links if not (ROOT / link).exists()] == []
    targets = re.findall(r"`make ([a-z-]+)[^`]*`", TEXT)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert len(targets) > 6 and [target for target in targets if f"\n{target}:" not in makefile] == []
