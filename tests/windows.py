"""Takes from this process what Python does not have on Windows, as far as this can be
imitated, then uses the library as a student does.

    python -X warn_default_encoding tests/windows.py FOLDER

Python on Windows has neither `fcntl` nor `resource`, and it cannot fork. It reads and
prints in the country's code page if no encoding is named. `os.name` stays, because
`pathlib` of Python 3.10 and 3.11 could then make no path.
"""

import importlib
import os
import pkgutil
import signal
import sys
import time
import warnings
from pathlib import Path

# Other packages look at the system when they are imported.
import IPython  # noqa: F401
import ipywidgets
import matplotlib.pyplot  # noqa: F401
import nbformat.sign  # noqa: F401
import safetensors.torch  # noqa: F401
import torch
import torch.optim  # noqa: F401

MODULES = ("fcntl", "grp", "pwd", "resource", "syslog", "termios")
MISSING = {
    os: "fork forkpty getuid geteuid getpgid killpg setsid wait4 O_NOFOLLOW O_NONBLOCK "
    "pidfd_open sched_getaffinity WIFSIGNALED mkfifo",
    signal: "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGXCPU SIGCHLD alarm setitimer",
    time: "pthread_getcpuclockid clock_gettime",
}
# The grader's sandbox needs Linux; `grade` says so.
SANDBOX = "batch canary doctor inside library replies sandbox submissions syscalls"
SANDBOX = {f"course_lib.grading.{name}" for name in SANDBOX.split()}


def take_away():
    sys.modules.update(dict.fromkeys(MODULES))
    for module, names in MISSING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="cp1252")
    warnings.filterwarnings("error", category=EncodingWarning, module="course_lib")


def import_all() -> int:
    """Imports every module but those of the sandbox; returns their number."""
    import course_lib

    found = pkgutil.walk_packages(course_lib.__path__, "course_lib.")
    names = {module.name for module in found} - SANDBOX
    for name in names:
        importlib.import_module(name)
    return len(names)


def use(folder: Path):
    """Trains, saves, goes on, loads, plots and checks."""
    from course_lib import experiments, recipe, zoo
    from course_lib.__main__ import main
    from course_lib.checkpoint import load_weights, save_weights
    from course_lib.data import load
    from course_lib.notebook import checks, explore, image_grid, live, show

    vae = recipe.lookup("vae")
    method, data = recipe.build(vae, seed=0), load(vae.data, "train")[:32]
    for steps in (2, 4):  # the second run goes on from the first one's checkpoint
        settings = {"steps": 4, "batch_size": 8, "device": "cpu"}
        saved = folder / "run.pt"
        run = live(recipe.train(vae, method, data, checkpoint=saved, **settings))
        for step in run:
            if step.k == steps:
                break
    assert step.k == 4 and saved.exists()
    load_weights(recipe.build(vae, seed=1), save_weights(method, folder / "weights.pt"))
    assert not list(folder.glob("*.part"))
    name = next(iter(zoo.manifest()))
    assert isinstance(zoo.load(name), torch.nn.Module) and experiments.table(name)
    widget = explore(
        lambda k: image_grid(data.x[:k], title="digits"),
        k=ipywidgets.IntSlider(2, 1, 3),
    )
    assert widget.move(k=3)
    show(type(method))
    assert checks("03_contrastive").exercises
    samples = Path(__file__).parents[1] / "solutions" / "samples" / "03_contrastive"
    solved = samples / "Ada Lovelace" / "03_contrastive.ipynb"
    assert main(["check", str(solved)]) == 0  # prints ✓


if __name__ == "__main__":
    take_away()
    print(import_all())
    use(Path(sys.argv[1]))
