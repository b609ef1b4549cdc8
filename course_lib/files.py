"""The folders of the course, and functions that write files atomically: if the process
is killed, the file has the old content or the new one, never a part of it."""

import json
import os
from pathlib import Path

# the folder of the clone; for an installed wheel, the folder of all packages
ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "course_lib" / "shipped"
# Only a wheel has the folder `shipped`: setup.py copies results/ and exercises/checks/
# into it.
if not SHIPPED.exists():
    SHIPPED = ROOT


def expanded(name: str, path: str | Path) -> Path:
    """Returns the path of the argument `name`, in which `~` is replaced by the home
    folder. Raises ValueError if `path` is no path, or if the home folder is unknown."""
    try:
        return Path(path).expanduser()
    except TypeError:
        raise ValueError(f"argument `{name}`: expected a path, got {path!r}") from None
    except RuntimeError:
        raise ValueError(
            f"argument `{name}`: the home folder is unknown: give a path without `~`, "
            f"got {str(path)!r}"
        ) from None


def file_to_write(name: str, path: str | Path) -> Path:
    """Returns the path of the argument `name` as from `expanded`, if `write_whole` can
    write there.

    Tries it with an empty file of another name, and makes missing folders. Raises
    ValueError for a folder, and for a place where no file can be written. Call it
    before a long computation whose result must not be lost.
    """
    path = expanded(name, path)
    if path.is_dir():
        raise ValueError(
            f"argument `{name}`: expected a file, got the folder {str(path)!r}: add "
            "the name of a file"
        )
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
        part.unlink()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"argument `{name}`: cannot write to {str(path)!r} ({error}): give another "
            "path"
        ) from None
    return path


def _part(path: Path) -> Path:
    """Returns the name of the temporary file from which `path` is made.

    It contains the process id, because two processes may write the same file at the
    same time.
    """
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def write_whole(path: Path, content: bytes):
    """Writes the file atomically and makes missing folders.

    Writes a temporary file in the same folder, waits until it is on the disk, then
    renames it to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, value: dict):
    """Writes the value as JSON by `write_whole`, with one entry a line."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())
