"""Reads the submissions: a folder, a zip file or a notebook for each student. Zip files
are not unpacked, and links are not followed."""

import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path

LARGEST = 20 << 20  # most bytes of a notebook
ARCHIVE = 200 << 20  # most bytes of a zip file
FILES = 10_000  # most files in one submission
TABLE = 4 << 20  # most bytes of a zip's table of contents


class Refused(ValueError):
    """The submission cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Submission:
    """A submission; student: the name of the folder or file at `path`."""

    student: str
    path: Path

    @property
    def slug(self) -> str:
        """Returns a file name for the student: readable, safe, and different for
        different students."""
        decomposed = unicodedata.normalize("NFKD", self.student)
        plain = decomposed.encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40]
        digest = hashlib.sha256(os.fsencode(self.student)).hexdigest()
        return f"{plain or 'student'}-{digest[:8]}"

    def read(self, sheet: str) -> tuple[str, bytes]:
        """Returns the notebook's path in the submission, and its bytes. Raises Refused
        if there is no such notebook, or if it cannot be read safely."""
        try:
            if self.path.is_symlink():
                raise Refused("the submission is a link")
            if self.path.is_dir():
                name = choose(_files(self.path), sheet)
                with _File(self.path / name) as file:
                    return name, _bounded(file)
            if self.path.suffix.lower() == ".zip":
                return _zipped(self.path, sheet)
            with _File(self.path) as file:
                return self.path.name, _bounded(file)
        except OSError as error:
            raise Refused(
                f"the submission cannot be read ({type(error).__name__})"
            ) from None


def collect(folder: Path) -> list[Submission]:
    """Returns one submission for each folder, zip file or notebook in `folder`, sorted.
    Raises ValueError if there is none."""
    if not folder.is_dir():
        raise ValueError(
            "argument `submissions`: expected a folder with a folder or zip for each "
            f"student, got {folder}"
        )
    paths = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith((".", "__MACOSX"))
        and (
            path.is_dir()
            or path.is_symlink()
            or path.suffix.lower() in (".zip", ".ipynb")
        )
    ]
    if not paths:
        raise ValueError(
            "argument `submissions`: expected a folder, zip or notebook for each "
            f"student, {folder} has none"
        )
    names = [path.name for path in paths]
    stems = [path.name if path.is_dir() else path.stem for path in paths]
    clear = [
        stems.count(s) == 1 and (s == name or s not in names)
        for s, name in zip(stems, names)
    ]
    return [
        Submission(s if ok else path.name, path)
        for s, ok, path in zip(stems, clear, paths)
    ]


def choose(names: list[str], sheet: str) -> str:
    """Returns the notebook among a submission's files: the one with the sheet's name,
    else one whose name contains the sheet's name, else the only one. Of several that
    match, it takes the one in the fewest folders. Raises Refused if there is none, or
    if several notebooks have other names."""
    notebooks = [
        name
        for name in names
        if name.lower().endswith(".ipynb")
        and not any(p.startswith((".", "__MACOSX")) for p in name.split("/"))
    ]
    notebooks.sort(key=lambda name: (name.count("/"), name))
    exact = [name for name in notebooks if name.split("/")[-1] == f"{sheet}.ipynb"]
    similar = [name for name in notebooks if sheet in name.split("/")[-1]]
    found = exact[:1] or similar[:1] or notebooks
    if len(found) != 1:
        raise Refused(
            f"expected {sheet}.ipynb, found "
            f"{'no notebook' if not found else f'{len(found)} other notebooks'}"
        )
    return found[0]


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for root, _, names in os.walk(folder):  # follows no link to a folder
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in names]
        if len(found) > FILES:
            raise Refused(f"more than {FILES:,} files")
    return found


class _File(io.FileIO):
    """A submitted file. `zipfile` reads the table of contents of a zip file in one
    call, so a large read is refused."""

    def __init__(self, path: Path):
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            link = path.is_symlink()
            reason = "the file is a link" if link else f"the file: {error.strerror}"
            raise Refused(reason) from None
        super().__init__(number)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            self.close()
            raise Refused("the file is not an ordinary file")

    def read(self, size: int = -1) -> bytes:
        if size > TABLE:
            raise Refused(f"a zip of more than {FILES:,} files")
        return super().read(size)


def _zipped(path: Path, sheet: str) -> tuple[str, bytes]:
    with _File(path) as file:
        if os.fstat(file.fileno()).st_size > ARCHIVE:
            raise Refused(f"a zip of more than {ARCHIVE >> 20} MB")
        try:
            with zipfile.ZipFile(file) as archive:
                entries = [
                    e
                    for e in archive.infolist()
                    if stat.S_IFMT(e.external_attr >> 16) in (0, stat.S_IFREG)
                ]
                if len(entries) > FILES:
                    raise Refused(f"a zip of more than {FILES:,} files")
                name = choose([e.filename for e in entries], sheet)
                usual = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                if archive.getinfo(name).compress_type not in usual:
                    # The other methods unpack a whole file at once, of any size.
                    raise Refused("a zip file with an unusual compression method")
                with archive.open(name) as notebook:
                    return name, _bounded(notebook)
        except Refused:
            raise
        except Exception as error:  # a broken zip can make the parser raise anything
            raise Refused(
                f"the zip file cannot be read ({type(error).__name__})"
            ) from None


def _bounded(file) -> bytes:
    content = bytearray()
    while piece := file.read(1 << 20):
        content += piece
        if len(content) > LARGEST:
            raise Refused(f"a notebook of more than {LARGEST >> 20} MB")
    return bytes(content)
