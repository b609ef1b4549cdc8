"""Where the course's files are; and writing that a kill leaves whole: the old content
or the new one, never half."""

import json
import os
from pathlib import Path

# the clone; of an installed wheel, the folder of all packages
ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "course_lib" / "shipped"
# it is setup.py that copies results/ and exercises/checks/ there, and only into a wheel
if not SHIPPED.exists():
    SHIPPED = ROOT


def write_whole(path: Path, content: bytes):
    """Writes the file beside its place, waits until it is on the disk, then moves it
    there; makes missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # two processes that write the same file spoil neither
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, value: dict):
    """The same for a value as JSON, a line an entry."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())
