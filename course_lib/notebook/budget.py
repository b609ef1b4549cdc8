"""The compute budget of a notebook: how long its training runs may be, and how long
they take on this machine.

    BUDGET = budget("08_distillation")      # "smoke", "laptop" or "gpu"; prints a line
    STEPS = updates(smoke=8, laptop=400, gpu=8000)

`times.json` has the seconds that each notebook took on the machine that built it, and
the seconds of `probe` there (`tools/notebook_times.py` writes it). So one probe says
how long the notebook takes here.
"""

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from course_lib.checks import count

BUDGETS = ("smoke", "laptop", "gpu")
TIMES = Path(__file__).with_name("times.json")
LONGEST = 180.0  # seconds that a training run may take with the budget `laptop`
PROBE = 1.0  # seconds that a probe takes
LEAST = 0.1  # a run is not shortened further; a tenth of it hardly learns anything
# The share of the laptop budget's updates that `updates` gives; `budget` sets it.
_share = 1.0


@dataclass(frozen=True)
class Times:
    """The seconds that a notebook took on the machine that built it: all of it, all
    cells that train, the longest of these cells, and the probe."""

    whole: float
    training: float
    longest: float
    probe: float


def budget(name: str = "") -> str:
    """Returns how much a notebook may compute: "smoke" (half a minute for the whole
    notebook), "laptop" (minutes for each training run, on two cores) or "gpu".

    This is the value of the environment variable COURSE_BUDGET. If it is not set, it is
    "gpu" where PyTorch finds a GPU, else "laptop".

    name: a notebook. Then it prints a line that says how long the notebook takes on
    this machine, by a probe of a second. If the longest run would take more than three
    minutes, `updates` returns smaller numbers from then on, and the line says so. A
    budget that is set by COURSE_BUDGET is never shortened.

    Raises ValueError for any other value of COURSE_BUDGET.
    """
    if not isinstance(name, str):
        raise ValueError(
            "argument `name`: expected the name of a notebook, such as "
            f'"08_distillation", got {name!r}'
        )
    global _share
    chosen, _share = _chosen(), 1.0
    if name:
        line, _share = _line_and_share(name, chosen)
        print(line)
    return chosen


def updates(*, smoke: int, laptop: int, gpu: int) -> int:
    """Returns the number of updates of a training run for the budget.

    On a machine that is too slow for the notebook, the laptop number is shortened to
    the share that the line of `budget(name)` says. Raises ValueError unless all are
    positive integers.
    """
    numbers = {"smoke": smoke, "laptop": laptop, "gpu": gpu}
    numbers = {name: count(name, number) for name, number in numbers.items()}
    chosen = _chosen()
    if chosen == "laptop":
        return min(laptop, max(smoke, round(_share * laptop)))
    return numbers[chosen]


def probe(seconds: float = PROBE) -> float:
    """Returns the seconds of a small training loop of convolutions on the CPU: the
    fastest of the repeats that fit into `seconds`, at least two.

    Uses the threads of the notebook and leaves PyTorch's random state as it is.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, 32, 32, generator=generator)
    weights = [
        torch.randn(shape, generator=generator).mul_(0.05).requires_grad_()
        for shape in ((24, 3, 3, 3), (48, 24, 3, 3), (96, 48, 3, 3))
    ]
    fastest, repeats, end = math.inf, 0, time.perf_counter() + seconds
    while repeats < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        with torch.enable_grad():
            h = x
            for weight in weights:
                h = F.relu(F.conv2d(h, weight, stride=2, padding=1))
            gradients = torch.autograd.grad(h.square().mean(), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients):
                weight -= 0.01 * gradient
        fastest = min(fastest, time.perf_counter() - began)
        repeats += 1
    return fastest


def read_times(path: Path = TIMES) -> dict[str, Times]:
    """Returns the times of all notebooks that were built with the budget `laptop`."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {name: Times(**row) for name, row in rows.items()}


def share_of(longest: float) -> float:
    """Returns the share of a run's updates that takes at most LONGEST seconds, if all
    of them take `longest` seconds: tenths, at least LEAST.

    A run that would take up to a fifth longer is left whole: the estimate is not more
    exact than this.
    """
    if longest <= 1.2 * LONGEST:
        return 1.0
    return max(LEAST, math.floor(10 * LONGEST / longest) / 10)


def minutes(seconds: float) -> str:
    """Returns a duration in words: "less than a minute", "about 9 minutes"."""
    whole = round(seconds / 60)
    if seconds < 45:
        return "less than a minute"
    return "about a minute" if whole <= 1 else f"about {whole} minutes"


def _chosen() -> str:
    chosen = os.environ.get("COURSE_BUDGET") or (
        "gpu" if torch.cuda.is_available() else "laptop"
    )
    if chosen not in BUDGETS:
        raise ValueError(
            "environment variable COURSE_BUDGET: expected one of "
            f"{', '.join(BUDGETS)}, got {chosen!r}"
        )
    return chosen


def _line_and_share(name: str, chosen: str) -> tuple[str, float]:
    """Returns the line that `budget` prints, and the share of the updates."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    if chosen == "smoke":
        line = "Budget smoke: a few updates per run, to check that the notebook works."
        return line, 1.0
    if chosen == "gpu" and not gpu:
        return "Budget gpu, but PyTorch finds no GPU: this will take very long.", 1.0
    if gpu:
        return f"Budget {chosen}: the training runs use the GPU, {gpu}.", 1.0
    built = read_times().get(name)
    if built is None:
        line = "Budget laptop: up to about three minutes a training run, on two cores."
        return line, 1.0
    slower = probe() / built.probe
    fixed = os.environ.get("COURSE_BUDGET")
    share = 1.0 if fixed else share_of(slower * built.longest)
    left = built.whole - (1 - share) * built.training
    threads = torch.get_num_threads()
    line = (
        f"Budget laptop: {minutes(slower * left)} of computing on this machine "
        f"(an estimate; {threads} thread{'s' * (threads != 1)})."
    )
    if share < 1:
        line += (
            f" The machine is slow: runs are shortened to {100 * share:.0f} %. "
            "COURSE_BUDGET=laptop turns this off."
        )
    return line, share
