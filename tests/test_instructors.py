"""The example sheet in docs/instructors.md can be read, built, handed out and graded as
the page says."""

import csv
import json
import re
import subprocess
import sys

import build_exercises
import nbformat
import pytest
from build_notebooks import ROOT

from course_lib.grading import sheet
from course_lib.grading.drive import run
from course_lib.grading.verdict import judge
from course_lib.notebook import checks

PAGE = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
NAME, ANSWER = "98_example", "centre"


@pytest.fixture(scope="module")
def solutions(tmp_path_factory):
    """The page's three files in a folder of their own."""
    folder = tmp_path_factory.mktemp("solutions")
    files = dict(
        re.findall(
            r"^`solutions/([\w/]+\.\w+)`\n\n```\w*\n(.*?)^```$",
            PAGE,
            re.DOTALL | re.MULTILINE,
        )
    )
    assert files.keys() == {
        f"{NAME}.py",
        f"{NAME}/exercises.py",
        f"{NAME}/mistakes.txt",
    }
    (folder / NAME).mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(solutions):
    return sheet.read("98", solutions)


def test_example_sheet_gives_solutions_full_marks_and_names_mistakes(found):
    (master,) = found.masters
    for exercise in (found.public()[0], found.graded(1)[0], found.graded(2)[0]):

        def verdict(answer, exercise=exercise):
            return judge(
                exercise,
                [run(exercise.drive, answer, case.arrays) for case in exercise.cases],
            )

        assert all(
            verdict(a).points == 4
            for a in (found.solutions[ANSWER], *master.alternatives)
        )
        assert len(found.wrong[ANSWER]) >= 6
        for wrong in found.wrong[ANSWER]:
            assert not verdict(wrong.answer).solved and [
                m.name for m in verdict(wrong.answer).mistakes
            ] == [wrong.name]


def test_example_sheet_builds_a_student_version_with_working_checks(
    solutions, found, tmp_path, monkeypatch, capsys
):
    command = [
        "build_exercises.py",
        "--solutions",
        str(solutions),
        "--to",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", command)
    assert build_exercises.main() == 0
    assert len(list((tmp_path / "solutions" / "samples" / NAME).iterdir())) == 12
    text = (tmp_path / "exercises" / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert (
        "raise NotImplementedError()" in text
        and "x.mean(0)" not in text
        and "HIDDEN" not in text
    )
    monkeypatch.setattr(sys, "argv", [*command, "--check"])
    assert build_exercises.main() == 0 and capsys.readouterr().err == ""
    check = checks(NAME, folder=tmp_path / "exercises" / "checks")
    assert check(found.solutions[ANSWER]).solved
    (rows,) = [wrong for wrong in found.wrong[ANSWER] if wrong.name == "rows"]
    assert rows.hint in repr(check(rows.answer))
    (tmp_path / "exercises" / f"{NAME}.ipynb").write_text(text + " ", encoding="utf-8")
    assert build_exercises.main() == 1
    assert (
        capsys.readouterr().err == f"exercises/{NAME}.ipynb: stale (make exercises)\n"
    )


def test_example_sheet_is_graded_from_the_command_line(solutions, found, tmp_path):
    (by_rows,) = [wrong for wrong in found.wrong[ANSWER] if wrong.name == "rows"]
    handed_in = {
        "right": build_exercises.solved(found.source), "none": build_exercises.unsolved(found.source),
        "wrong": build_exercises.with_answers(found, {ANSWER: by_rows.source}),
    }  # fmt: skip
    for student, notebook in handed_in.items():
        (tmp_path / "in" / student).mkdir(parents=True)
        nbformat.write(notebook, tmp_path / "in" / student / f"{NAME}.ipynb")
    command = [sys.executable, "-m", "course_lib", "grade", tmp_path / "in", "--exercise", "98", "--seed", "5",
               "--out", tmp_path / "out", "--solutions", solutions, "--workers", "1"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "marks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["student", ANSWER, "total", "of", "problem"]
    assert {row["student"]: (row["total"], row["of"], row["problem"]) for row in rows} == {
        "right": ("4", "4", ""), "none": ("0", "4", ""), "wrong": ("0", "4", ""),
    }  # fmt: skip
    marks = json.loads((tmp_path / "out" / "marks.json").read_text(encoding="utf-8"))
    exercises = {
        student["student"]: student["exercises"][0] for student in marks["students"]
    }
    assert {name: e["mistake"] for name, e in exercises.items()} == {
        "right": "",
        "none": "",
        "wrong": "rows",
    }
    assert (
        exercises["none"]["todo"]
        and exercises["wrong"]["hint"] == by_rows.hint
        and marks["isolated"]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "class.html",
        "students",
        "state",
    }


def test_instructors_page_names_existing_targets_options_and_paths():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(
        f"\n{target}:" in makefile
        for target in re.findall(r"(?:`|^)make ([a-z]+)", PAGE, re.MULTILINE)
    )
    done = subprocess.run(
        [sys.executable, "-m", "course_lib", "grade", "--help"],
        capture_output=True,
        text=True,
    )
    builder = "".join(
        (ROOT / "tools" / f"build_{it}.py").read_text("utf-8")
        for it in ("exercises", "release")
    )
    ours = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", PAGE)) - {
        "--cap-add",
        "--security-opt",
        "--privileged",
    }
    assert (
        ours
        and [option for option in ours if option not in done.stdout + builder] == []
    )
    named = [
        path
        for path in re.findall(r"`((?:benchmarks|solutions|tools|docs)/[\w/.]+)`", PAGE)
        if "98_" not in path
    ]
    assert named and all((ROOT / path).exists() for path in named)
