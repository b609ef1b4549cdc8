"""What students get, as dist/NAME-VERSION.zip: no solutions, hidden cases, mistakes,
tests or benchmarks."""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from build_exercises import SOLUTIONS, build
from build_notebooks import ROOT, tomllib

from course_lib.grading import sheet

GIVEN = (
    "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml", "setup.py", "tools/setup_env.sh",
    "docs/concepts.md", "docs/course.png", "docs/reference.md", "docs/start.md",
    "course_lib/", "exercises/", "notebooks/", "results/", "syllabus/",
)  # fmt: skip
NOTE = b"""\
> This is the students' copy of the course: notebooks, exercises, library, data. `make lab` is all it needs. Tests,
> tools, solutions, grading and the pages for instructors and authors are in the instructor's repository.

"""


def given() -> list[str]:
    """The files that git knows and students get. Raises RuntimeError outside a git
    checkout."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode:
        raise RuntimeError(
            "a release is made from a git checkout: it holds what git knows and "
            "nothing that lies about"
        )
    return sorted(
        name
        for name in listed.stdout.split("\0")
        if name.startswith(GIVEN) and (ROOT / name).exists()
    )


def release(path: Path, reveal: bool = False):
    """Writes the zip: one folder, the same bytes for the same files; the exercises are
    made anew from their masters.

    reveal: students may see the worked solutions after an attempt. Raises RuntimeError
    outside a git checkout.
    """
    contents = {
        name: (ROOT / name).read_bytes()
        for name in given()
        if not name.startswith("exercises/")
    }
    contents["README.md"] = NOTE + contents["README.md"]
    with tempfile.TemporaryDirectory() as folder:
        for name in sheet.names(SOLUTIONS):
            build(sheet.read(name, SOLUTIONS), Path(folder), reveal)
        made = [
            made for made in (Path(folder) / "exercises").rglob("*") if made.is_file()
        ]
        contents |= {
            file.relative_to(folder).as_posix(): file.read_bytes() for file in made
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            about = zipfile.ZipInfo(f"{path.stem}/{name}")
            about.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(about, content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="students may see worked solutions after an attempt",
    )
    reveal = parser.parse_args().reveal
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    target = ROOT / "dist" / f"{project['name']}-{project['version']}.zip"
    try:
        release(target, reveal)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
