"""Files of weights, and the checkpoint of `fit`, from which an interrupted run is
resumed."""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.data import Dataset, as_float
from course_lib.files import expanded, file_to_write, write_whole

PARTS = ("run", "done", "method", "optimizers")
ROWS, COLUMNS = 16, 256  # of the data, in a checkpoint
# Two samples of the same data may differ by rounding, if scenes were rendered on other
# hardware: by one of 256 grey levels.
TOLERANCE = 0.01


def read(name: str, path: Path):
    """Returns the content of a file that `torch.save` wrote; all tensors are on the
    CPU. Raises ValueError, with the argument's name, for a file that cannot be read."""
    # Bytes that are no such file lead to errors of many types.
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(
            f"argument `{name}`: {path} cannot be read: move or delete it ({why})"
        ) from None


class Checkpoint:
    """The file from which a run is resumed. With path None, nothing is saved.

    run: settings of the run, to which the number of processes and the optimisers are
    added. A run is resumed only if its settings are equal to those in the file. data:
    the data of the run. If it is a `Dataset`, a few of its rows are saved, and the run
    is resumed only with these rows. Raises ValueError if the file could not be written.
    """

    def __init__(
        self,
        path: str | Path | None,
        run: dict,
        method: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        data: Dataset | torch.utils.data.Dataset | None = None,
    ):
        self.path = None if path is None else file_to_write("checkpoint", path)
        self.method, self.optimizers = method, optimizers
        self.run = _without_numpy(
            run
            | {
                "processes": distributed.world_size(),
                "optimizers": [_describe(optimizer) for optimizer in optimizers],
            }
        )
        self.data = {}
        if self.path is not None and isinstance(data, Dataset):
            self.data = {"x": _sample(data.x), "y": _sample(data.y)}

    def resume(self) -> tuple[int, int, float]:
        """Loads the file, if it exists, into method and optimisers.

        Returns the numbers of updates, images and seconds that the run has done so far;
        0 for a new run. Raises ValueError for a file that cannot be read, for a file
        that contains no run, and for the file of another run.
        """
        path = self.path
        if path is None or not path.exists():
            return 0, 0, 0.0
        # torch.load puts all tensors on the CPU. load_state_dict then copies tensors to
        # the device where necessary. AdamW's step counters have to stay on the CPU.
        state = read("checkpoint", path)
        if not isinstance(state, dict) or not all(part in state for part in PARTS):
            raise ValueError(
                f"argument `checkpoint`: {path} contains no run (perhaps only "
                "weights): give another file name"
            )
        if differs := self._differences(state):
            raise ValueError(
                f"argument `checkpoint`: {path} belongs to another run ({differs}): "
                "give another file name, or move or delete this file"
            )
        self.method.load_state_dict(state["method"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return state["done"]

    def _differences(self, state: dict) -> str:
        """Returns in words how the run in the file differs from this run; an empty text
        if it is the same run.

        Files of earlier versions have neither rows of the data nor factors of the
        schedule. These are then not compared.
        """
        old, run = {"schedule": self.run.get("schedule"), **state["run"]}, self.run
        # the factors of a schedule are too many for a message
        found = [
            n if n == "schedule" else f"{n} {old.get(n)} -> {run.get(n)}"
            for n in {**old, **run}
            if old.get(n) != run.get(n)
        ]
        saved = state.get("data") or {}
        if saved and self.data and not found:
            found += [
                f"other {n} in the data"
                for n, sample in self.data.items()
                if not _close(saved[n], sample)
            ]
        shapes = [
            {name: getattr(value, "shape", None) for name, value in weights.items()}
            for weights in (state["method"], self.method.state_dict())
        ]
        if not found and shapes[0] != shapes[1]:
            names = {**shapes[0], **shapes[1]}
            first = next(n for n in names if shapes[0].get(n) != shapes[1].get(n))
            found.append(f"the method has another {first}")
        return ", ".join(found)

    def save(self, totals: tuple[int, int, float]):
        """Writes the file atomically; only the process of rank 0 writes.

        totals: numbers of updates, images and seconds so far, as returned by `resume`.
        """
        if self.path is None or distributed.rank() > 0:
            return
        state = {"run": self.run, "done": totals, "method": self.method.state_dict()}
        state["optimizers"] = [
            _without_numpy(optimizer.state_dict()) for optimizer in self.optimizers
        ]
        state["data"] = self.data
        torch.save(state, content := io.BytesIO())
        write_whole(self.path, content.getvalue())


def _describe(optimizer: torch.optim.Optimizer) -> list:
    """The optimiser's class and its settings for each group of parameters."""
    groups = [{**g, "params": len(g["params"])} for g in optimizer.param_groups]
    return [type(optimizer).__name__, *groups]


def _without_numpy(value):
    """Returns the value with numbers of NumPy, in lists, tuples and dictionaries, too,
    replaced by numbers of Python. torch.load rejects a file with numbers of NumPy."""
    if isinstance(value, dict):
        return {
            _without_numpy(key): _without_numpy(part) for key, part in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(map(_without_numpy, value))
    return value.item() if isinstance(value, np.generic) else value


def _sample(x: Tensor) -> Tensor:
    """Returns a few evenly spaced rows and columns of x (N, ...), on the CPU."""
    rows = torch.linspace(0, len(x) - 1, min(ROWS, len(x)), dtype=torch.float64).long()
    flat = x[rows.to(x.device)].flatten(1) if x.ndim > 1 else x[rows.to(x.device)]
    return flat[..., :: max(1, -(-flat.shape[-1] // COLUMNS))].cpu().clone()


def _close(a: Tensor, b: Tensor) -> bool:
    """Returns whether two samples are of the same data."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.is_floating_point() or a.dtype == torch.uint8:
        a, b = as_float(a), as_float(b)
        return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return torch.equal(a, b)


def save_weights(method: nn.Module, path: Path) -> Path:
    """Writes the weights and returns the path of the file.

    This is another file, in the folder of temporary files, if `path` cannot be written
    any more. For example, its disk may be full after a long training.
    """
    torch.save(method.state_dict(), content := io.BytesIO())
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        print(f"cannot write to {path} ({error})", file=sys.stderr)
        path = Path(tempfile.mkdtemp(prefix="course_lib-")) / path.name
        write_whole(path, content.getvalue())
    return path


def load_weights(method: nn.Module, path: Path):
    """Loads weights from a file that `train --out` wrote; raises ValueError for other
    content."""
    path = expanded("weights", path)
    expected = f"--weights {path}: expected weights of this recipe, written by train"
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise ValueError(f"{expected} --out, got {what}")
    state = read("weights", path)
    if isinstance(state, dict) and "run" in state:
        raise ValueError(f"{expected} --out, got a checkpoint: give it by --checkpoint")
    try:
        method.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{expected} --out ({first})") from None
