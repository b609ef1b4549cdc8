"""Builds the zip for students, dist/NAME-VERSION.zip.

It contains no solutions, hidden cases, code of mistakes, tests or benchmarks.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from build_exercises import SOLUTIONS, build_for_students
from build_notebooks import PROJECT, ROOT

from course_lib.grading import sheet
from course_lib.trust import LIST, listing

# The files and folders for students.
RELEASED = (
    *("LICENSE", "Makefile", "README.md", "START.ipynb", "constraints.txt"),
    *("pyproject.toml", "setup.py", "setup_course.py", "tools/lab/"),
    *("docs/concepts.md", "docs/course.png", "docs/reference.md", "docs/start.md"),
    "docs/your-own.md",
    *("course_lib/", "exercises/", "notebooks/", "results/", "syllabus/"),
)
NOTE = b"""\
> This is the students' copy of the course. It has the notebooks, the exercises, the
> library and the data. Run `make lab` or `python setup_course.py lab` to set up
> everything. The instructor's repository has the tests, tools, solutions, grading, and
> pages for instructors and authors.

"""


def released_files() -> list[str]:
    """Returns the names of the tracked files that are for students.

    Raises RuntimeError outside a git checkout.
    """
    command = ["git", "-C", ROOT, "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        raise RuntimeError(
            "a release is made from a git checkout, because it holds only files that "
            "git tracks"
        )
    names = [name for name in listed.stdout.split("\0") if name.startswith(RELEASED)]
    return sorted(name for name in names if (ROOT / name).exists())


def release(path: Path, reveal: bool = False):
    """Writes the zip, which contains one folder.

    The same files give the same bytes. The exercises are built again from their
    masters. reveal: students may see the worked solutions after an attempt. Raises
    RuntimeError outside a git checkout.
    """
    names = [n for n in released_files() if not n.startswith("exercises/")]
    contents = {name: (ROOT / name).read_bytes() for name in names}
    contents["README.md"] = NOTE + contents["README.md"]
    with tempfile.TemporaryDirectory() as folder:
        for name in sheet.names(SOLUTIONS):
            build_for_students(sheet.read(name, SOLUTIONS), Path(folder), reveal)
        for file in (Path(folder) / "exercises").rglob("*"):
            if file.is_file():
                contents[file.relative_to(folder).as_posix()] = file.read_bytes()
    notebooks = {n: c for n, c in contents.items() if n.endswith(".ipynb")}
    contents[LIST] = listing(notebooks).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            about = zipfile.ZipInfo(f"{path.stem}/{name}")
            about.external_attr = 0o644 << 16
            archive.writestr(about, content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="students may see worked solutions after an attempt",
    )
    reveal = parser.parse_args().reveal
    target = ROOT / "dist" / f"{PROJECT['name']}-{PROJECT['version']}.zip"
    try:
        release(target, reveal)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
