"""Gives JupyterLab the extension of this folder; `make lab` reads this file."""

from pathlib import Path

c = get_config()  # noqa: F821, JupyterLab defines it
c.LabApp.extra_labextensions_path = [str(Path(__file__).parent / "labextensions")]
