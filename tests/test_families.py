"""The recipes of all families are merged into one table. The library has no circular
imports."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

import course_lib
from course_lib.families import merged
from course_lib.recipe import lookup, recipes

LIBRARY = Path(course_lib.__file__).parent


def test_merged_finds_recipes_of_a_new_module_and_rejects_a_name_twice(
    tmp_path, monkeypatch
):
    """A family is a folder, a module whose name ends in `recipes` is found in it; no
    list has to be edited."""
    known, family = recipes(), tmp_path / "toys"
    family.mkdir()
    (family / "__init__.py").touch()
    (family / "own_recipes.py").write_text("RECIPES = {'toy': 1}")
    monkeypatch.setattr(course_lib, "__path__", [*course_lib.__path__, str(tmp_path)])
    try:
        assert merged("recipes") == known | {"toy": 1}
        (family / "recipes.py").write_text("RECIPES = {'simclr': 2}")
        with pytest.raises(
            ValueError,
            match=(
                "'simclr' is both in course_lib.contrastive.recipes and in "
                "course_lib.toys.recipes"
            ),
        ):
            merged("recipes")
    finally:
        for name in [
            name for name in sys.modules if name.startswith("course_lib.toys")
        ]:
            del sys.modules[name]
    assert lookup("simclr") is recipes()["simclr"]


def imports(path: Path, modules: set[str]) -> set[str]:
    """The library's modules that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & modules or {node.module}
    return found & modules


def test_library_has_no_circular_imports():
    paths = {
        ".".join(
            ("course_lib", *path.relative_to(LIBRARY).with_suffix("").parts)
        ).removesuffix(".__init__"): path
        for path in LIBRARY.rglob("*.py")
    }
    graph = {name: imports(path, paths.keys()) - {name} for name, path in paths.items()}
    assert len(graph) > 80 and graph["course_lib.contrastive.recipes"] > {
        "course_lib.recipe"
    }
    # raises CycleError, which names the circle
    graphlib.TopologicalSorter(graph).prepare()
