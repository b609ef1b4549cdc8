"""The wheel holds the files a notebook without a clone needs, and no others. The course
works from the wheel alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from build_notebooks import ROOT

ALONE = """\
import json, sys
from course_lib.experiments import results
from course_lib import data, experiments, files, zoo
from course_lib.notebook import checks
print(json.dumps({
    "at": files.__file__, "data": len(data.load("scenes", "test").x), "zoo": sorted(zoo.manifest()),
    "weights": zoo.load("simclr").training, "sheets": [len(checks(sheet).exercises) for sheet in sys.argv[1:]],
    "results": len(list(results.RESULTS.iterdir())), "knn": experiments.values("simclr")["trained"],
}))
"""


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """run(arguments): Python elsewhere with the wheel installed, this environment's
    packages, and no clone."""
    folder = tmp_path_factory.mktemp("alone")
    command = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--target",
        folder / "site",
        wheel,
    ]
    subprocess.run([sys.executable, *command], check=True)
    packages = Path(torch.__file__).parents[1]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{folder / 'site'}:{packages}",
        "MPLCONFIGDIR": str(folder),
    }

    def run(*arguments):  # -S: without the .pth file through which the clone is found
        command = [sys.executable, "-S", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )

    return run


def given(*patterns):
    return {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if path.is_file()
    }


def test_wheel_has_package_results_and_public_cases_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    suffixes = (".py", ".npz", ".json", ".safetensors", ".md", ".txt")
    package = {name for name in given("course_lib/**/*") if name.endswith(suffixes)}
    shipped = {
        f"course_lib/shipped/{name}"
        for name in given("results/*.json", "exercises/checks/*.*")
    }
    assert names == package | shipped and len(shipped) > 80
    assert wheel.stat().st_size < 60e6


def test_wheel_alone_loads_data_weights_results_and_checks(alone):
    sheets = [path.stem for path in (ROOT / "exercises").glob("*.ipynb")]
    done = alone("-c", ALONE, *sheets)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["at"].endswith("/site/course_lib/files.py")
    assert (
        found["data"] > 1000 and "simclr" in found["zoo"] and found["weights"] is False
    )
    assert (
        min(found["sheets"]) > 3
        and found["results"] == len(given("results/*"))
        and len(found["knn"]) == 3
    )


def test_commands_from_the_wheel_work_or_name_the_missing_clone(alone):
    measured = alone("-m", "course_lib", "evaluate", "simclr")
    assert (
        measured.returncode == 0
        and "random encoder of the same seed" in measured.stdout
    ), measured.stderr
    stamp = alone("-m", "course_lib", "stamp", "--repo", "ada/course")
    assert stamp.returncode == 1 and stamp.stderr.startswith(
        "error: stamp needs a clone of the course"
    )
    grade = alone(
        "-m",
        "course_lib",
        "grade",
        ".",
        "--exercise",
        "03",
        "--seed",
        "1",
        "--out",
        "marks",
    )
    assert grade.returncode == 1 and grade.stderr.startswith(
        "error: grade needs the instructor's clone"
    )
