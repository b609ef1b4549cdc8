"""What a student runs needs nothing that Python lacks on Windows."""

import os
import re
import subprocess
import sys
from pathlib import PureWindowsPath

from build_notebooks import ROOT

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def test_library_works_without_posix_modules_forks_and_a_default_encoding(tmp_path):
    command = [sys.executable, "-X", "warn_default_encoding", ROOT / "tests/windows.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    captured = {"capture_output": True, "text": True, "encoding": "cp1252"}
    done = subprocess.run([*command, tmp_path], env=environment, **captured)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100  # modules
    assert "right" in done.stdout and "solved" in done.stdout


def tracked() -> list[str]:
    command = ["git", "-c", "core.quotepath=off", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().strip("\0").split("\0")


def test_windows_can_store_every_file_of_the_repository():
    names = tracked()
    assert len(names) > 300
    for name in names:
        path = PureWindowsPath(name)
        assert path.as_posix() == name and len(name) < 150
        for part in path.parts:
            assert not re.search(r'[<>:"|?*\\]|[. ]$', part), name
            assert not RESERVED.match(part), name
    assert len({name.lower() for name in names}) == len(names)
