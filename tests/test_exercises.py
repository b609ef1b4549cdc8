"""Exercises: the generated files agree with their masters. Solutions, alternatives and
mistakes get the marks they should."""

import ast
import functools
import inspect
import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import build_exercises
import build_release
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from build_exercises import SOLUTIONS, solved, unnoticed, unsolved
from build_notebooks import ROOT
from build_readme import SYLLABUS
from IPython.core.interactiveshell import InteractiveShell
from safetensors.numpy import load_file, save_file

from course_lib import trust
from course_lib.grading import drive, sheet
from course_lib.grading.answers import defines
from course_lib.grading.drive import run
from course_lib.grading.public_files import read_public
from course_lib.grading.verdict import judge

NAMES = sheet.names(SOLUTIONS)
SHEETS = {name: sheet.read(name) for name in NAMES}
MASTERS = [(name, k) for name in NAMES for k in range(len(SHEETS[name].masters))]
# The seeds of hidden cases: two in `make test`, three more in `make test-all`
SEEDS = [
    pytest.param((0, 1), id="seeds 0 and 1"),
    pytest.param((2, 3, 4), id="seeds 2 to 4", marks=pytest.mark.slow),
]


def verdict(exercise, answer):
    return judge(
        exercise, [run(exercise.drive, answer, case.arrays) for case in exercise.cases]
    )


@pytest.fixture(scope="module")
def public():
    """The exercises as students have them, read from the files."""
    return {name: read_public(ROOT / "exercises" / "checks" / name) for name in NAMES}


@functools.cache
def graded(name, seed):
    """The exercises of a sheet as the grader has them."""
    return SHEETS[name].graded(seed)


def test_exercises_exist_and_are_named_like_notebooks():
    assert NAMES and set(NAMES) <= {
        path.stem for path in (ROOT / "notebooks").glob("*.ipynb")
    }


@pytest.mark.parametrize("name", NAMES)
def test_generated_exercise_files_are_up_to_date(name):
    assert build_exercises.stale(SHEETS[name]) == []


def test_stale_reports_changed_missing_and_extra_files(tmp_path):
    found = SHEETS["03_contrastive"]
    build_exercises.build(found, tmp_path)
    assert build_exercises.stale(found, tmp_path) == []
    notebook, checks = (
        tmp_path / "exercises" / f"{found.name}.ipynb",
        tmp_path / "exercises" / "checks",
    )
    notebook.write_text(notebook.read_text().replace("YOUR CODE", "MY CODE"))
    texts = json.loads((checks / f"{found.name}.json").read_text())
    next(iter(texts.values()))["mistakes"][0]["hint"] = "another"
    (checks / f"{found.name}.json").write_text(json.dumps(texts))
    (checks / f"{found.name}.safetensors").unlink()
    (checks / f"{found.name}_more.py").write_text("")
    bad = build_exercises.stale(found, tmp_path)
    assert len(bad) == 4 and all(
        "exercises/" in problem and "make exercises" in problem for problem in bad
    )


def test_stale_reports_changed_numbers(tmp_path):
    found = SHEETS["03_contrastive"]
    build_exercises.build(found, tmp_path)
    arrays = next((tmp_path / "exercises" / "checks").glob("*.safetensors"))
    content = load_file(arrays)
    key = next(key for key in content if key.endswith("out/value"))
    content[key] = np.asarray(content[key] + 0.01)
    save_file(content, arrays)
    assert [
        problem
        for problem in build_exercises.stale(found, tmp_path)
        if "safetensors: stale" in problem
    ]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name, k", MASTERS)
def test_solution_and_alternatives_get_full_marks(name, k, seeds, public):
    master = SHEETS[name].masters[k]
    assert len(master.alternatives) >= 1
    for exercise in (
        public[name][master.name],
        *(graded(name, seed)[k] for seed in seeds),
    ):
        for answer in (SHEETS[name].solutions[master.name], *master.alternatives):
            found = verdict(exercise, answer)
            assert (
                found.solved
                and found.points == exercise.points
                and found.mistakes == []
            ), answer


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name, k", MASTERS)
def test_every_mistake_loses_points_and_is_recognised(name, k, seeds, public):
    master = SHEETS[name].masters[k]
    bank = SHEETS[name].wrong[master.name]
    assert len(bank) >= 5 and len({wrong.name for wrong in bank}) == len(bank)
    for wrong in bank:
        found = verdict(public[name][master.name], wrong.answer)
        assert not found.solved and wrong.name in [m.name for m in found.mistakes]
    for seed in seeds:
        assert unnoticed(graded(name, seed)[k]) == []


def test_no_question_whose_answer_is_a_number_waits_for_the_first():
    drivers = {
        (name, master.name): SHEETS[name].drivers[f"drive_{master.name}"]
        for name in NAMES
        for master in SHEETS[name].masters
    }
    asked = {k for k, d in drivers.items() if getattr(d, "func", d) is drive.by_number}
    assert ("11_vae", "hidden_assumptions") in asked
    for name in NAMES:
        for master in SHEETS[name].masters:
            if (name, master.name) in asked:
                assert all(p.independent for p in master.properties), master.name


def test_the_first_two_hidden_assumptions_do_not_block_the_others(public):
    exercise = public["11_vae"]["hidden_assumptions"]
    right = SHEETS["11_vae"].solutions["hidden_assumptions"]
    found = verdict(exercise, lambda *given: (1.7, 2.3, *right(*given)[2:]))
    assert [r.passed for r in found.results] == [False, True, True, True]
    assert found.points == 3


@pytest.mark.parametrize("name", NAMES)
def test_check_names_no_mistake_for_an_argument_changed_in_another_way(name, public):
    """The hint of a mistake that normalises its argument in place is not true for an
    answer that adds a number to it."""
    for master in SHEETS[name].masters:
        solution = SHEETS[name].solutions[master.name]
        if inspect.isclass(solution):
            continue

        def adds(first, *others, solution=solution):
            value = solution(first, *others)
            if isinstance(first, torch.Tensor) and first.is_floating_point():
                with torch.no_grad():
                    first += 0.37
            return value

        found = verdict(public[name][master.name], adds)
        assert found.mistakes == [], (master.name, found.hint)


def test_unnoticed_reports_mistakes_that_the_check_does_not_name():
    (exercise,) = [e for e in SHEETS["03_contrastive"].public() if e.name == "nt_xent"]
    first, second = exercise.mistakes[:2]
    right = replace(first, name="right", outputs=exercise.expected)
    twins = [replace(second, name=name) for name in ("a", "b", "c")]
    # the check names two or three mistakes with the same outputs
    assert unnoticed(replace(exercise, mistakes=twins)) == []
    found = unnoticed(
        replace(exercise, mistakes=[right, *twins, replace(second, name="d")])
    )
    assert found == [
        "nt_xent: the mistake `right` gets full points",
        "nt_xent: the check does not name the mistake `d`, it names `a` or `b` or `c`",
    ]


@pytest.mark.parametrize("name, k", MASTERS)
def test_hidden_cases_depend_on_the_seed_and_have_other_shapes(name, k):
    master, driver = (
        SHEETS[name].masters[k],
        SHEETS[name].drivers[f"drive_{SHEETS[name].masters[k].name}"],
    )
    solution = SHEETS[name].solutions[master.name]
    known = master.exercise(driver, solution)

    def shapes_of(case):
        return case.kind, *(
            (key, value.shape) for key, value in sorted(case.arrays.items())
        )

    def shapes(exercise):
        return set(map(shapes_of, exercise.cases))

    first, again, other = (
        master.exercise(driver, solution, seed=seed, hidden=True) for seed in (0, 0, 1)
    )
    assert not shapes(first) & shapes(known)
    for a, b in zip(first.cases, again.cases, strict=True):
        assert a.arrays.keys() == b.arrays.keys() and all(
            torch.equal(a.arrays[key], b.arrays[key]) for key in a.arrays
        )
    values = [
        torch.cat([v.flatten().double() for c in e.cases for v in c.arrays.values()])
        for e in (first, other)
    ]
    assert values[0].shape != values[1].shape or not torch.equal(*values)
    together = graded(name, 0)[k]
    assert len(together.cases) == len(known.cases) + len(first.cases)
    assert shapes(together) == shapes(known) | shapes(first)
    orders = [graded(name, seed)[k].cases for seed in (0, 1)]
    places = [
        {i for i, case in enumerate(cases) if shapes_of(case) in shapes(known)}
        for cases in orders
    ]
    # nobody can tell a hidden case by its place
    assert any(place != places[0] for place in places)


@pytest.mark.parametrize("name, k", MASTERS)
def test_expected_gradients_equal_central_differences_of_the_values(
    name, k, monkeypatch
):
    """<gradient, direction> against a central difference of the values: autograd has no
    part in that."""
    exercise, solution = (
        graded(name, 0)[k],
        SHEETS[name].solutions[SHEETS[name].masters[k].name],
    )
    monkeypatch.setattr(drive, "STEP", 1e-5)
    looked = 0
    for case in exercise.cases:
        outputs = run(exercise.drive, solution, case.arrays)
        if "slope" in outputs:
            gradients = [
                torch.from_numpy(value)
                for key, value in outputs.items()
                if key.startswith("gradient ")
            ]
            total = sum(
                (g * torch.arange(1, g.numel() + 1).double().cos().view_as(g))
                .sum()
                .item()
                for g in gradients
            )
            assert outputs["slope"] == pytest.approx(total, rel=1e-6, abs=1e-8)
            looked += 1
    assert looked or not any("slope" in p.outputs for p in exercise.properties)


def secrets(name: str) -> dict[str, str]:
    """What no student may get of a sheet: solutions, alternatives, case makers, by the
    trees of their code."""
    found = SHEETS[name]
    text = (SOLUTIONS / name / "exercises.py").read_text(encoding="utf-8")
    private = ast.parse(text[text.index(sheet.PRIVATE) :]).body
    nodes = [
        node for node in private if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    nodes += [ast.parse(found.sources[master.name]).body[0] for master in found.masters]
    known = {body(node): node.name for node in nodes if len(body(node)) > 150}
    assert len(known) > len(found.masters) and {
        master.name for master in found.masters
    } <= set(known.values())
    return known


def leaks(files: dict[str, bytes]) -> list[str]:
    """The secrets in files of these names, and markers of the masters."""
    known = {
        tree: name for sheet_name in NAMES for tree, name in secrets(sheet_name).items()
    }
    found = []
    for name, content in files.items():
        nodes = [node for tree in trees(name, content) for node in ast.walk(tree)]
        bodies = {
            body(node)
            for node in nodes
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        found += [
            f"{name}: {known[secret]}" for secret in sorted(bodies & known.keys())
        ]
        found += [
            f"{name}: {word}"
            for word in ("BEGIN SOLUTION", "HIDDEN TESTS")
            if word.encode() in content
        ]
    return found


def body(node) -> str:
    """What a function does, without its name and docstring."""
    statements = node.body[1:] if ast.get_docstring(node) else node.body
    return " ".join(map(ast.dump, statements))


def trees(name: str, content: bytes):
    """The Python in a file: the file itself, or a notebook's cells."""
    if name.endswith(".py"):
        yield ast.parse(content)
    elif name.endswith(".ipynb"):
        for cell in json.loads(content)["cells"]:
            try:
                yield ast.parse("".join(cell["source"]))
            except SyntaxError:  # markdown, and set-up cells with % lines
                continue


def test_release_has_the_student_files_and_no_solution(tmp_path, monkeypatch):
    path = tmp_path / "course-1.zip"
    # the sheets were read above
    monkeypatch.setattr(sheet, "read", lambda name, folder: SHEETS[name])
    build_release.release(path)
    with zipfile.ZipFile(path) as archive:
        names = [name.removeprefix("course-1/") for name in archive.namelist()]
        contents = {name: archive.read(f"course-1/{name}") for name in names}
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "exercises"], capture_output=True, text=True
    ).stdout
    assert (
        set(tracked.splitlines()) <= set(names)
        and "course_lib/losses.py" in names
        and "Makefile" in names
    )
    assert not [
        name
        for name in names
        if name.startswith(("solutions", "tests", "benchmarks", "tools/build"))
    ]
    # no page of the instructors'
    pages = ("concepts.md", "course.png", "reference.md", "start.md", "your-own.md")
    docs = {f"docs/{page}" for page in pages}
    assert {name for name in names if name.startswith("docs")} == docs
    assert leaks(contents) == []
    assert "setup_course.py" in names and any(n.startswith("tools/lab/") for n in names)
    shipped = {n: c for n, c in contents.items() if n.endswith(".ipynb")}
    assert contents[trust.LIST].decode() == trust.listing(shipped)


def test_release_is_reproducible_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "names", lambda folder: ["03_contrastive"])
    paths = [tmp_path / folder / "course-1.zip" for folder in ("first", "second")]
    for path in paths:
        build_release.release(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_leaks_reports_solutions_and_markers():
    found = SHEETS["03_contrastive"]
    solution = (
        found.sources["nt_xent"]
        .replace("nt_xent", "other")
        .replace('"""', '"""Other words. ', 1)
    )
    cell = nbformat.v4.new_code_cell(
        inspect.getsource(found.masters[0].alternatives[1])
    )
    notebook = nbformat.writes(nbformat.v4.new_notebook(cells=[cell])).encode()
    bad = leaks(
        {
            "a.py": solution.encode(),
            "b.ipynb": notebook,
            "c.py": b"def cases_a(g, hidden):\n    return []\n",
        }
    )
    assert bad == [
        "a.py: nt_xent",
        "a.py: BEGIN SOLUTION",
        f"b.ipynb: {found.masters[0].alternatives[1].__name__}",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_unsolved_notebook_has_stubs_checks_points_and_hints(name):
    notebook = unsolved(SHEETS[name].source)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    words = "\n".join(
        cell.source for cell in notebook.cells if cell.cell_type == "markdown"
    )
    for master in SHEETS[name].masters:
        assert (
            f"\ncheck({master.name})" in code and "raise NotImplementedError()" in code
        )
        points = sum(p.points for p in master.properties)
        about = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
        assert [
            a.points for a in about if a.get("grade_id") == f"check_{master.name}"
        ] == [points]
    assert (
        words.count("<details>")
        == words.count("</details>")
        >= 2 * len(SHEETS[name].masters)
    )
    total = sum(p.points for m in SHEETS[name].masters for p in m.properties)
    assert f"**{total}**" in words
    assert [cell.id for cell in notebook.cells] != [] and nbformat.validate(
        notebook
    ) is None


def run_here(notebook):
    """What each code cell's last line is, (source, value); raises what a cell raises.
    In this process: a kernel would import torch once more. Kernels run the unsolved
    ones as notebooks of their own."""
    shell, main = InteractiveShell(user_ns={}), sys.modules["__main__"]
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                done = shell.run_cell(cell.source)
                done.raise_error()
                yield cell.source, done.result
    finally:
        sys.modules["__main__"] = main
        plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_solved_notebook_runs_and_asserts_every_check(name, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "smoke")
    # hidden tests assert it, where they stand
    sources = [source for source, _ in run_here(solved(SHEETS[name].source))]
    assert sum("assert check(" in source for source in sources) == len(
        SHEETS[name].masters
    )


@pytest.mark.parametrize("name", NAMES)
def test_unsolved_notebook_runs_and_its_checks_report_to_do(name, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "smoke")
    shown = [
        repr(value)
        for source, value in run_here(unsolved(SHEETS[name].source))
        if source.startswith("check(")
    ]
    assert len(shown) == len(SHEETS[name].masters) and all(
        "to do" in text for text in shown
    )


def test_unsolved_rejects_a_marker_without_its_partner(monkeypatch):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("def f():\n    ### BEGIN SOLUTION\n    pass")]
    )
    monkeypatch.setattr(build_exercises, "solved", lambda found: notebook)
    with pytest.raises(ValueError, match="marker without its partner"):
        unsolved(SHEETS["03_contrastive"].source)


def test_build_with_reveal_puts_solutions_into_the_public_files(tmp_path):
    found = SHEETS["03_contrastive"]
    build_exercises.build(found, tmp_path, reveal=True)
    exercises = read_public(tmp_path / "exercises" / "checks" / found.name)
    assert {name: exercise.solution for name, exercise in exercises.items()} == {
        master.name: found.sources[master.name] for master in found.masters
    }
    assert build_exercises.stale(found, tmp_path) == []
    assert all(
        e.solution == ""
        for e in read_public(ROOT / "exercises" / "checks" / found.name).values()
    )


def test_sheet_read_names_a_missing_sheet_or_file(tmp_path):
    with pytest.raises(ValueError, match="expected one of .*03_contrastive.*got '77'"):
        sheet.read("77")
    with pytest.raises(ValueError, match="none yet"):
        sheet.read("03", tmp_path)
    (tmp_path / "98_a").mkdir()
    (tmp_path / "98_a" / "exercises.py").write_text("SHEET = []\n")
    with pytest.raises(
        ValueError, match="expected the solved notebook beside the folder 98_a"
    ):
        sheet.read("98", tmp_path)
    (tmp_path / "98_a.py").write_text("")
    with pytest.raises(
        ValueError, match="expected a line that begins with `# --- private`"
    ):
        sheet.read("98", tmp_path)


def test_syllabus_names_the_exercise_of_each_hidden_symbol():
    rows = {
        row["exercise"] for row in SYLLABUS["systems"].values() if "exercise" in row
    }
    assert rows == set(NAMES)
    hidden = {
        symbol
        for found in SHEETS.values()
        for master in found.masters
        for symbol in master.hides
    }
    assert {
        row["symbol"] for row in SYLLABUS["systems"].values() if "exercise" in row
    } <= hidden


def test_defines_accepts_every_definition_of_the_masters():
    for name in NAMES:
        for node in ast.parse(
            (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
        ).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert defines(node)
