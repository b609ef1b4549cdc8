"""`python -m course_lib stamp` writes one address into the whole clone. All generated
files still agree with their sources. Without an address nothing refers to one."""

import shutil
import subprocess
import sys

import pytest
from build_notebooks import ROOT

from course_lib import trust
from course_lib.__main__ import main
from course_lib.stamp import PLACEHOLDER, repository, stamp

STALE = """\
import build_readme
from build_exercises import ROOT, SOLUTIONS, sheet, unsolved, written
from build_notebooks import NOTEBOOKS, problems

from course_lib import trust

for source in (NOTEBOOKS / "src").glob("*.py"):
    print("".join(f"{problem}\\n" for problem in problems(source, NOTEBOOKS / f"{source.stem}.ipynb")), end="")
for name in sheet.names(SOLUTIONS):
    source = SOLUTIONS / f"{name}.py"
    if (ROOT / "exercises" / f"{name}.ipynb").read_bytes() != written(source, unsolved(source)):
        print(name)
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
    built = {*clone.glob("notebooks/*.ipynb"), *clone.glob("exercises/*.ipynb")}
    pages = {clone / "pyproject.toml", clone / "README.md", clone / trust.LIST}
    assert changed == pages | built
    assert before.keys() == after.keys()
    for folder in ("notebooks", "exercises"):
        for path in (clone / folder).glob("*.ipynb"):
            text = path.read_text(encoding="utf-8")
            assert (
                f"https://colab.research.google.com/github/ada-l/notes.on_learning/blob/main/{folder}/"
                in text
            )
            assert '{kept} git+https://github.com/ada-l/notes.on_learning"' in text
    assert "/github/ada-l/notes.on_learning/" in (clone / "README.md").read_text()
    done = run(clone, "-c", STALE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp("ada-l/notes.on_learning", clone) == [] and contents(clone) == after
    assert set(stamp("someone/else", clone)) == changed
    stamp(PLACEHOLDER, clone)
    assert contents(clone) == before


def test_without_an_address_nothing_that_students_see_refers_to_one():
    if repository() is not None:
        pytest.skip("this clone has an address")
    given = [ROOT / "README.md", *ROOT.glob("*.ipynb"), *ROOT.glob("docs/*.md")]
    for folder in ("notebooks", "exercises", "solutions/samples"):
        given += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    words = (PLACEHOLDER, "colab.research.google.com", "git+https://")
    assert len(given) > 50 and not [
        (path, word)
        for path in given
        for word in words
        if word.encode() in path.read_bytes()
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
