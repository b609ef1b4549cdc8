"""Writes the address of the repository into the files of a clone: into pyproject.toml
and into every badge, link and set-up cell."""

import io
import re
import zipfile
from pathlib import Path

from course_lib.files import ROOT, write_whole
from course_lib.trust import LIST, write_list

ADDRESS = re.compile(
    r'(colab\.research\.google\.com/github/|git\+https://github\.com/|Repository = "https://github\.com/)'
    r"[\w-]+/[\w.-]+"
)
FILES = (
    "pyproject.toml",
    "README.md",
    "docs/*.md",
    "notebooks/*.ipynb",
    "exercises/*.ipynb",
    "solutions/samples/**/*",
)


def with_address(text: str, repo: str) -> str:
    """Replaces every address of the course's repository in the text by `repo`, which is
    OWNER/NAME."""
    return ADDRESS.sub(rf"\g<1>{repo}", text)


def stamp(repo: str, root: Path = ROOT) -> list[Path]:
    """Writes the address `repo`, OWNER/NAME, into all files of the clone that contain
    the address of the repository. Returns the files that changed.

    Raises ValueError if `repo` is not of the form OWNER/NAME, or if `root` is not a
    clone of the course.
    """
    if not re.fullmatch(r"[A-Za-z\d-]+/[A-Za-z\d._-]+(?<!\.git)", repo):
        raise ValueError(
            "argument `repo`: expected OWNER/NAME, for example "
            f"ada/learning-without-labels, got {repo!r}"
        )
    if not (root / "pyproject.toml").is_file():
        raise ValueError(
            f"stamp needs a clone of the course: {root} has no pyproject.toml"
        )
    changed = []
    paths = [path for pattern in FILES for path in sorted(root.glob(pattern))]
    for path in filter(Path.is_file, paths):
        content = path.read_bytes()
        replace = _zip_with_address if path.suffix == ".zip" else _bytes_with_address
        stamped = replace(content, repo)
        if stamped != content:
            write_whole(path, stamped)
            changed.append(path)
    sums = root / LIST
    if changed and sums.is_file():
        write_list(root)
        changed.append(sums)
    return changed


def _bytes_with_address(content: bytes, repo: str) -> bytes:
    return with_address(content.decode(), repo).encode()


def _zip_with_address(content: bytes, repo: str) -> bytes:
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(written, "w") as new,
    ):
        for entry in old.infolist():
            new.writestr(entry, _bytes_with_address(old.read(entry), repo))
    return written.getvalue()
