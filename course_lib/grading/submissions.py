"""What was handed in: a folder or a zip a student, whatever is in it. Nothing is
unpacked, no link is followed."""

import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path

LARGEST = 20 << 20  # bytes of a notebook
ARCHIVE = 200 << 20  # bytes of a zip file
FILES = 10_000  # looked at in one submission
TABLE = 4 << 20  # bytes of a zip's table of contents


class Refused(ValueError):
    """A submission that cannot be read, with the reason."""


@dataclass(frozen=True)
class Submission:
    """student: the name of the folder or zip; path: where it is."""

    student: str
    path: Path

    @property
    def slug(self) -> str:
        """A file name for the student: readable, safe, and different for different
        students."""
        plain = (
            unicodedata.normalize("NFKD", self.student)
            .encode("ascii", "ignore")
            .decode()
        )
        plain = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40]
        return f"{plain or 'student'}-{hashlib.sha256(os.fsencode(self.student)).hexdigest()[:8]}"

    def read(self, sheet: str) -> tuple[str, bytes]:
        """The notebook's place in the submission, and its bytes. Raises Refused."""
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
    """One submission for each folder, zip or notebook in `folder`, sorted. Raises
    ValueError where there is none."""
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
    """The notebook among a submission's files: of the sheet's name, else with it in its
    name, else the only one."""
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
    """A file that was handed in. The table of contents of a zip is read in one go: a
    long one is refused."""

    def __init__(self, path: Path):
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(
                "the file is a link"
                if path.is_symlink()
                else f"the file: {error.strerror}"
            ) from None
        super().__init__(number)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            self.close()
            raise Refused("the file is no ordinary file")

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
                if archive.getinfo(name).compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    # others are unpacked whole, however large
                    raise Refused("a zip of an unusual kind")
                with archive.open(name) as notebook:
                    return name, _bounded(notebook)
        except Refused:
            raise
        except Exception as error:  # whatever a broken zip makes of the parser
            raise Refused(
                f"not a zip that can be read ({type(error).__name__})"
            ) from None


def _bounded(file) -> bytes:
    content = bytearray()
    while piece := file.read(1 << 20):
        content += piece
        if len(content) > LARGEST:
            raise Refused(f"a notebook of more than {LARGEST >> 20} MB")
    return bytes(content)
