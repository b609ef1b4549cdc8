"""Reads the submissions: a folder, a zip file or a notebook for each student. Zip files
are read in place and not unpacked, and links are not followed.

A submission may contain several notebooks. Which of them is the answered sheet is
decided from their bytes: a notebook is parsed only in the sandbox.
"""

import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

LARGEST = 100 << 20  # most bytes of a notebook: outputs may contain many pictures
ARCHIVE = 200 << 20  # most bytes of a zip file
INNER = 3  # most zip files in a submission that are looked into
CANDIDATES = 20  # most notebooks of a submission that are compared
FILES = 10_000  # most files in one submission
TABLE = 4 << 20  # most bytes of a zip's table of contents
# A browser or an editor may have put a second ending behind the first.
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)
OTHER_ARCHIVE = re.compile(
    r"\.(7z|rar|tgz|tbz2?|txz|(tar\.)?(gz|bz2|xz|zst)|tar)$", re.IGNORECASE
)
# Files that a system puts into a folder, beside those whose names begin with a dot
SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")

# The files of a submission: for each path a function that reads the file
Files = dict[str, Callable[[], bytes]]


class Refused(ValueError):
    """The submission cannot be graded; the message is the reason."""


@dataclass(frozen=True)
class Handed:
    """The notebook of a submission. name: its path there; note: what the instructor
    should know about the choice, such as other candidates."""

    name: str
    content: bytes
    note: str = ""


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

    def read(self, sheet: str, answers: Iterable[str] = ()) -> Handed:
        """Returns the notebook of this sheet, whose exercises have the names `answers`.
        Raises Refused if there is no such notebook, or if it cannot be read safely."""
        try:
            if self.path.is_symlink():
                raise Refused("the submission is a link")
            with ExitStack() as opened:
                if self.path.is_dir():
                    files = _in_folder(self.path, opened)
                elif self.path.suffix.lower() == ".zip":
                    files = _in_zip(_File(self.path), opened)
                    _look_into_zips(files, lambda n: _Inner(files[n]()), opened)
                else:
                    if not NOTEBOOK.search(self.path.name):
                        raise Refused(_no_notebook(self.path.name))
                    with _File(self.path) as file:
                        return Handed(self.path.name, _bounded(file))
                return choose(files, sheet, answers)
        except OSError as error:
            raise Refused(
                f"the submission cannot be read ({type(error).__name__})"
            ) from None


def collect(folder: Path) -> list[Submission]:
    """Returns one submission for each entry of `folder` that is not a file of the
    system, sorted. Raises ValueError if there is none."""
    if not folder.is_dir():
        raise ValueError(
            "argument `submissions`: expected a folder with a folder or zip for each "
            f"student, got {folder}"
        )
    paths = [path for path in sorted(folder.iterdir()) if not _of_system(path.name)]
    if not paths:
        raise ValueError(
            "argument `submissions`: expected a folder, zip or notebook for each "
            f"student, {folder} has none"
        )
    names = [path.name for path in paths]
    stems = [path.name if path.is_dir() else _stem(path.name) for path in paths]
    clear = [
        stems.count(s) == 1 and (s == name or s not in names)
        for s, name in zip(stems, names)
    ]
    return [
        Submission(s if ok else path.name, path)
        for s, ok, path in zip(stems, clear, paths)
    ]


def _stem(name: str) -> str:
    """Returns the name of a zip file or a notebook without its ending. Other files are
    not graded; they keep their endings in the reports."""
    stem = NOTEBOOK.sub("", name)
    return stem.removesuffix(Path(stem).suffix) if _is_zip(stem) else stem


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _of_system(name: str) -> bool:
    """Tests whether the system made the file or folder: it is nobody's submission."""
    return name.startswith((".", "__MACOSX")) or name in SYSTEM


def _hidden(name: str) -> bool:
    """Tests whether the file, or a folder that it is in, is one of the system's."""
    return any(map(_of_system, name.split("/")))


def _no_notebook(name: str) -> str:
    """Returns the reason why a single file of this name is not graded."""
    if OTHER_ARCHIVE.search(name):
        return (
            "an archive of a kind that the grader does not open: unpack it, or ask for "
            "a zip file"
        )
    if name.lower().endswith(".py"):
        return "a Python file, not a notebook"
    return "neither a notebook nor a folder nor a zip file"


def choose(files: Files, sheet: str, answers: Iterable[str] = ()) -> Handed:
    """Returns the notebook of the sheet among the files of a submission.

    The sheet is a notebook that calls `checks` with the sheet's name, or that has this
    name; a single notebook may have any content. Of several sheets it takes the one
    that answers the most exercises, then the one with exactly the sheet's name, then
    the one in the fewest folders. The note names the others. Raises Refused if there is
    no such notebook.
    """
    names = [name for name in files if not _hidden(name)]
    found = ordered(names, sheet)
    if not found:
        raise Refused(f"expected {sheet}.ipynb, found no notebook{_listing(names)}")
    if len(found) == 1:
        return Handed(found[0], files[found[0]]())
    best: tuple[tuple[bool, int], Handed] | None = None
    sheets, refused = [], None
    for name in found[:CANDIDATES]:
        try:
            content = files[name]()
        except Refused as error:
            refused = refused or error
            continue
        # A lecture has the name of its sheet, and may define functions of these names.
        rank = is_sheet, _ = answered(content, sheet, answers)
        if is_sheet or sheet.lower() in name.split("/")[-1].lower():
            sheets.append(name)
            if best is None or rank > best[0]:
                best = rank, Handed(name, content)
    if best is None and refused:
        raise refused
    if best is None:
        raise Refused(
            f"expected {sheet}.ipynb, found {len(found)} other notebooks"
            f"{_listing(found)}"
        )
    handed = best[1]
    others = [name for name in sheets if name != handed.name]
    if others:
        note = f"graded {handed.name} of {len(sheets)} candidates, not{_some(others)}"
        return replace(handed, note=note)
    return handed


def ordered(names: Iterable[str], sheet: str) -> list[str]:
    """Returns the notebooks among the names: first those with exactly the sheet's name,
    then those whose name contains it, then the others, each with the fewest folders
    first."""

    def key(name: str) -> tuple:
        last = name.split("/")[-1].lower()
        exact, similar = f"{sheet}.ipynb".lower() == last, sheet.lower() in last
        return not exact, not similar, name.count("/"), name

    return sorted(filter(NOTEBOOK.search, names), key=key)


def answered(content: bytes, sheet: str, answers: Iterable[str]) -> tuple[bool, int]:
    """Returns whether the bytes are those of a notebook that calls `checks` with the
    sheet's name or number, and the number of exercises that are defined in it and no
    longer raise NotImplementedError."""
    text = content.replace(b"\0", b"")  # the ASCII characters of UTF-16
    names = b"|".join(map(re.escape, {sheet.encode(), sheet.split("_")[0].encode()}))
    is_sheet = re.search(rb"checks\(\s*\\?[\"'](" + names + rb")\\?[\"']", text)
    defined = [
        name
        for name in answers
        if re.search(rb"\b(?:def|class) " + name.encode() + rb"\b", text)
    ]
    return bool(is_sheet), len(defined) - text.count(b"raise NotImplementedError")


def _listing(names: list[str]) -> str:
    return f":{_some(names)}" if names else ": nothing is in it"


def _some(names: list[str]) -> str:
    """Returns at most three names as text; a student may have chosen very long ones."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    short = (f"{n[:30]}...{n[-30:]}" if len(n) > 65 else n for n in names[:3])
    return f" {', '.join(short)}{more}"


def _in_folder(folder: Path, opened: ExitStack) -> Files:
    """Returns the files of a folder by their paths in it, and those of its zip
    files."""
    found: Files = {}
    for root, folders, names in os.walk(folder):  # follows no link to a folder
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            found[path.relative_to(folder).as_posix()] = partial(_whole, path)
        if len(found) > FILES:
            raise Refused(f"more than {FILES:,} files")
    _look_into_zips(found, lambda name: _File(folder / name), opened)
    return found


def _look_into_zips(found: Files, file_of: Callable, opened: ExitStack):
    """Adds the files of the zip files among `found`, but not those of zip files inside
    these. A broken zip file is passed over, unless it is the only file."""
    alone = len(found) == 1
    for name in [n for n in found if _is_zip(n) and not _hidden(n)][:INNER]:
        try:
            inner = _in_zip(file_of(name), opened)
        except Refused as error:
            if alone:
                raise Refused(f"{name}: {error}") from None
            continue
        found |= {f"{name}/{n}": read for n, read in inner.items()}


def _whole(path: Path) -> bytes:
    with _File(path) as file:
        return _bounded(file)


class _Bounded:
    """A file for `zipfile`, which reads the table of contents of a zip file in one
    call: a large read is refused."""

    def read(self, size: int = -1) -> bytes:
        if size > TABLE:
            raise Refused(f"a zip of more than {FILES:,} files")
        return super().read(size)


class _Inner(_Bounded, io.BytesIO):
    """A zip file that was in a zip file."""


class _File(_Bounded, io.FileIO):
    """A submitted file."""

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


def _in_zip(file: io.RawIOBase, opened: ExitStack) -> Files:
    """Returns the files of a zip file, which stays open as long as `opened`."""
    opened.enter_context(file)
    if file.seek(0, os.SEEK_END) > ARCHIVE:
        raise Refused(f"a zip of more than {ARCHIVE >> 20} MB")
    found: Files = {}
    with _readable():
        archive = opened.enter_context(zipfile.ZipFile(file))
        entries = [
            e
            for e in archive.infolist()
            if stat.S_IFMT(e.external_attr >> 16) in (0, stat.S_IFREG)
            and not e.is_dir()
        ]
    if len(entries) > FILES:
        raise Refused(f"a zip of more than {FILES:,} files")
    for entry in entries:
        found[entry.filename] = partial(_entry, archive, entry)
    return found


@contextmanager
def _readable():
    """Raises Refused for whatever a broken zip file makes the parser raise."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"the zip file cannot be read ({type(error).__name__})") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.flag_bits & 1:
        raise Refused("a zip file with a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The other methods unpack a whole file at once, of any size.
        raise Refused("a zip file with an unusual compression method")
    with _readable(), archive.open(entry) as file:
        return _bounded(file)


def _bounded(file) -> bytes:
    content = bytearray()
    while piece := file.read(1 << 20):
        content += piece
        if len(content) > LARGEST:
            raise Refused(f"a notebook of more than {LARGEST >> 20} MB")
    return bytes(content)
