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


def write_whole(path: Path, content: bytes):
    """Writes the file atomically and makes missing folders.

    Writes a temporary file in the same folder, waits until it is on the disk, then
    renames it to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the process id in the name: two processes may write the same file at the same time
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, value: dict):
    """Writes the value as JSON by `write_whole`, with one entry a line."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())
