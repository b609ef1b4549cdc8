"""The repository's address in a clone: in pyproject.toml's one line, and in every
badge, link and set-up cell."""

import io
import re
import zipfile
from pathlib import Path

from course_lib.files import ROOT, write_whole

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
    """The text with OWNER/NAME `repo` wherever it gives the address of the course's
    repository."""
    return ADDRESS.sub(rf"\g<1>{repo}", text)


def stamp(repo: str, root: Path = ROOT) -> list[Path]:
    """Writes OWNER/NAME `repo` into all files of the clone that give the address;
    returns those that changed.

    Raises ValueError for anything but OWNER/NAME, and where `root` is no clone of the
    course.
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
    for path in [
        path
        for pattern in FILES
        for path in sorted(root.glob(pattern))
        if path.is_file()
    ]:
        content = path.read_bytes()
        stamped = (
            _zip_with_address(content, repo)
            if path.suffix == ".zip"
            else _bytes_with_address(content, repo)
        )
        if stamped != content:
            write_whole(path, stamped)
            changed.append(path)
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
