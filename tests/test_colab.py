"""Each notebook runs as on Colab: with Colab's versions (.venv/colab, made by
setup_course.py) and without a clone, in a folder that holds the notebook only.

Its set-up cell must install course_lib; here it does so from the wheel.
"""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from build_notebooks import ROOT, execute
from nbclient.exceptions import CellExecutionError
from packaging.requirements import Requirement

from course_lib.stamp import SETUP_ID, addressed

COLAB = Path(sys.prefix) / "colab"
QUICKEST = ROOT / "notebooks" / "11_vae.ipynb"
NOTEBOOKS = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("exercises/*.ipynb")])
# Appended to a notebook: moves each control of each figure, where an error is raised;
# says what all of it ran on.
MOVE = """\
import gc

from course_lib.notebook import explore

for _figure in [each for each in gc.get_objects() if type(each) is explore]:
    for _name, _control in _figure.controls.items():
        if hasattr(_control, "_options_full"):  # a list to select from
            _values = [value for _, value in _control._options_full]
        elif hasattr(_control, "max"):
            _values = [_control.base**end if hasattr(_control, "base") else end for end in (_control.min, _control.max)]
        else:
            _values = [not _control.value] if isinstance(_control.value, bool) else ["dog", "cat"]
        assert _figure.move(**{_name: next(value for value in _values if value != _control.value)})
"""
RAN_ON = """\
import importlib.metadata
import json
import sys

_used = {name: sys.modules[name].__file__ for name in ("IPython", "ipywidgets", "matplotlib", "numpy", "course_lib")}
_all = {each.name: each.version for each in importlib.metadata.distributions()}
print(json.dumps({"executable": sys.executable, "files": _used, "versions": _all}))
"""


@pytest.fixture
def colab(wheel, tmp_path, monkeypatch):
    """run(notebook): executes it in place, by its kernel and in a folder of its own;
    `site` is where pip installs. install=False: it has no set-up cell."""
    site = (
        tmp_path
        / "lib"
        / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        / "site-packages"
    )
    kernel, alone = tmp_path / "kernels" / "colab", tmp_path / "alone"
    for folder in (site, kernel, alone):
        folder.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [
                    str(COLAB / "bin" / "python"),
                    "-m",
                    "ipykernel_launcher",
                    "-f",
                    "{connection_file}",
                ],
                "display_name": "Colab's versions",
                "language": "python",
                "env": {
                    "COURSE_BUDGET": "smoke",
                    "OMP_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1",
                    "PIP_NO_INDEX": "1",
                    "PIP_PREFIX": str(tmp_path),
                    "PYTHONPATH": f"{site}:{ROOT / 'tests' / 'offline'}",
                },
            }
        )
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def run(notebook, install=True):
        if install:
            setup = addressed(notebook, "notebooks/any", "ada/course").cells[1]
            course = "git+https://github.com/ada/course"
            assert setup.id == SETUP_ID and setup.source.count(course) == 1
            setup.source = setup.source.replace(course, str(wheel))
        execute(notebook, alone, kernel_name="colab")

    run.site = site
    return run


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=f"{path.parent.name}-{path.stem}",
            marks=() if path == QUICKEST else pytest.mark.slow,
        )
        for path in NOTEBOOKS
    ],
)
def test_notebook_without_a_clone_runs_with_colabs_versions(colab, path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in (MOVE, RAN_ON)]
    colab(notebook)
    ran_on = json.loads(notebook.cells[-1].outputs[0].text)
    assert Path(ran_on["executable"]).parent == COLAB / "bin"
    # and no torch of its own
    assert {path.name.split("-")[0] for path in colab.site.iterdir()} == {"course_lib"}
    packages = COLAB / colab.site.relative_to(colab.site.parents[2])
    homes = {name: Path(file).parents[1] for name, file in ran_on["files"].items()}
    assert homes.pop("course_lib") == colab.site and set(homes.values()) == {packages}
    for line in (ROOT / "tools" / "colab-requirements.txt").read_text().splitlines():
        pin = Requirement(line) if line and line[0] != "#" else None
        if pin and (not pin.marker or pin.marker.evaluate()):
            versions = {
                name.lower().replace("_", "-"): version
                for name, version in ran_on["versions"].items()
            }
            assert versions[pin.name] == str(pin.specifier)[2:], pin
    assert "jupyterlab" not in versions and "lightly" not in versions


def test_failing_widget_callback_is_an_error_with_colabs_versions(colab):
    notebook = nbformat.read(QUICKEST, as_version=4)
    source = "import ipywidgets\n\n@ipywidgets.interact(k=(0, 3))\ndef shown(k=0):\n    print(1 / k)\n"
    notebook.cells = [nbformat.v4.new_code_cell(source)]
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        colab(notebook, install=False)
