"""The exercise master is a valid nbgrader source. nbgrader generates the same student
notebook as build_exercises, and grades it."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import build_exercises
import nbformat
import pytest
from build_exercises import SOLUTIONS, solved, unsolved
from build_notebooks import finished

from course_lib.grading import sheet

NAME = "03_contrastive"
SHEET = sheet.read(NAME)
SOURCE = SOLUTIONS / f"{NAME}.py"


def nbgrader(course: Path, *arguments: str):
    """nbgrader's command line, in the course's folder; it looks for alembic on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], capture_output=True, text=True, cwd=course,
                          env=os.environ | {"PATH": path, "COURSE_BUDGET": "smoke"})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course of nbgrader's with the assignment generated."""
    folder = tmp_path_factory.mktemp("course")
    config = f"c = get_config()\nc.CourseDirectory.root = {str(folder)!r}\n"
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys,
            "argv",
            ["build_exercises.py", NAME, "--check", "--nbgrader", str(folder)],
        )
        assert build_exercises.main() == 0
    nbgrader(folder, "generate_assignment", NAME)
    return folder


def test_nbgrader_generate_assignment_gives_our_student_notebook(course):
    released = nbformat.read(course / "release" / NAME / f"{NAME}.ipynb", 4)
    ours = finished(unsolved(SHEET.source), SOURCE, "exercises")
    assert [(c.cell_type, c.source) for c in released.cells] == [
        (c.cell_type, c.source) for c in ours.cells
    ]
    for cell, own in zip(released.cells, ours.cells):  # nbgrader adds a checksum
        about = {
            k: v
            for k, v in cell.metadata.get("nbgrader", {}).items()
            if k not in ("checksum", "cell_type")
        }
        assert about == own.metadata.get("nbgrader", {})
    given = "\n".join(cell.source for cell in released.cells)
    secrets = re.findall(
        r"### BEGIN SOLUTION\n(.*?)### END",
        SOURCE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    lines = [
        line.strip()
        for secret in secrets
        for line in secret.splitlines()
        if len(line.strip()) > 40
    ]
    assert len(secrets) >= 7 and lines and not [line for line in lines if line in given]
    assert "BEGIN" not in given and "assert check(" not in given  # the hidden tests


def test_nbgrader_autograde_gives_solved_all_points_and_unsolved_none(
    course,
):
    for student, notebook in {
        "solved": solved(SHEET.source),
        "unsolved": unsolved(SHEET.source),
    }.items():
        # trains, unmarked
        notebook.cells = [
            cell for cell in notebook.cells if "all_together(" not in cell.source
        ]
        path = course / "submitted" / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    nbgrader(course, "autograde", NAME)
    nbgrader(course, "export")
    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        marks = {
            row["student_id"]: (float(row["score"]), float(row["max_score"]))
            for row in csv.DictReader(file)
        }
    assert marks == {"solved": (56, 56), "unsolved": (0, 56)}
