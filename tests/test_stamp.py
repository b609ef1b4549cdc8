"""`python -m course_lib stamp` writes one address into the whole clone. All generated
files still agree with their sources."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from build_notebooks import ROOT

from course_lib.__main__ import main
from course_lib.stamp import stamp

PLACEHOLDER = "OWNER" + "/REPO"  # in two parts: this file is in the clone, too
STALE = """\
import build_readme
import nbformat
from build_exercises import ROOT, SOLUTIONS, sheet, unsolved
from build_notebooks import NOTEBOOKS, problems

from course_lib import trust

for source in (NOTEBOOKS / "src").glob("*.py"):
    print("".join(f"{problem}\\n" for problem in problems(source, NOTEBOOKS / f"{source.stem}.ipynb")), end="")
for found in map(sheet.read, sheet.names(SOLUTIONS)):
    built = nbformat.writes(unsolved(found)) + "\\n"
    for folder in ("exercises", f"solutions/samples/{found.name}/Nobody yet"):  # a sample that is the sheet as it is
        if (ROOT / folder / f"{found.name}.ipynb").read_text(encoding="utf-8") != built:
            print(folder, found.name)
if (ROOT / trust.LIST).read_text(encoding="utf-8") != trust.listed(ROOT):
    print(trust.LIST)
for page in build_readme.PAGES:
    print(f"{page.name}\\n" * (build_readme.filled(page) != page.read_text(encoding="utf-8")), end="")
"""


@pytest.fixture
def clone(tmp_path, copied):
    return copied(tmp_path / "clone")


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(clone, *arguments):
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{clone}:{clone / 'tools'}",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_stamp_changes_the_address_everywhere_and_leaves_nothing_stale(clone):
    before = contents(clone)
    done = run(clone, "-m", "course_lib", "stamp", "--repo", "ada-l/notes.on_learning")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(
        "all badges, links and set-up cells have the address ada-l/notes.on_learning"
    )
    after = contents(clone)
    changed = {path for path in after if after[path] != before[path]}
    assert {path.suffix for path in changed} == {
        ".toml",
        ".md",
        ".ipynb",
        ".txt",
        ".zip",
    } and before.keys() == after.keys()
    for folder in ("notebooks", "exercises"):
        for path in (clone / folder).glob("*.ipynb"):
            text = path.read_text(encoding="utf-8")
            assert (
                f"https://colab.research.google.com/github/ada-l/notes.on_learning/blob/main/{folder}/"
                in text
            )
            assert '{kept} git+https://github.com/ada-l/notes.on_learning"' in text
    for path in (clone / "solutions" / "samples").glob("*/*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert b"github.com/ada-l/notes.on_learning" in archive.read(
                archive.namelist()[0]
            )
    given = [path for path in changed if path.suffix != ".zip"] + list(
        (clone / "docs").glob("*.md")
    )
    assert not [
        path for path in given if PLACEHOLDER in path.read_text(encoding="utf-8")
    ]
    done = run(clone, "-c", STALE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp("ada-l/notes.on_learning", clone) == [] and contents(clone) == after
    assert set(stamp("someone/else", clone)) == changed
    stamp(PLACEHOLDER, clone)
    assert contents(clone) == before


def test_stamp_leaves_the_placeholder_in_build_notebooks_only(clone):
    stamp("ada/course", clone)
    left = [
        path
        for path, content in contents(clone).items()
        if PLACEHOLDER.encode() in content
    ]
    # what ids are made of
    assert [path.relative_to(clone).as_posix() for path in left] == [
        "tools/build_notebooks.py"
    ]


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "course",
        "/course",
        "ada/",
        "ada/course/",
        "ada/the course",
        "ada lovelace/course",
        "a_b/course",
        "https://github.com/ada/course",
        "github.com/ada/course",
        "git@github.com:ada/course",
        "ada/course.git",
        "ada/course\n",
        "añes/course",
        r"ada/\1",
    ],
)
def test_stamp_rejects_anything_but_owner_and_name_and_changes_nothing(tmp_path, repo):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        ValueError,
        match="expected OWNER/NAME, for example ada/learning-without-labels, got",
    ):
        stamp(repo, tmp_path)
    assert contents(tmp_path) == before


def test_stamp_command_names_the_expected_argument(capsys):
    assert main(["stamp", "--repo", "https://github.com/ada/course"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: argument `repo`: expected OWNER/NAME"
    )


def test_stamp_outside_a_clone_names_the_missing_pyproject(tmp_path):
    with pytest.raises(
        ValueError,
        match=f"stamp needs a clone of the course: {tmp_path} has no pyproject.toml",
    ):
        stamp("ada/course", tmp_path)
