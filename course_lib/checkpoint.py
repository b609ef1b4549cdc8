"""The checkpoint of `fit`: the file from which an interrupted run is resumed."""

import io
import pickle
from pathlib import Path

import torch
from torch import nn

from course_lib import distributed
from course_lib.files import write_whole


class Checkpoint:
    """The file from which a run is resumed. With path None, nothing is saved.

    run: settings of the run, to which the number of processes and the optimisers are
    added. A run is resumed only if its settings are equal to those in the file.
    """

    def __init__(
        self,
        path: str | Path | None,
        run: dict,
        method: nn.Module,
        optimizers: list[torch.optim.Optimizer],
    ):
        self.path = None if path is None else Path(path)
        self.method, self.optimizers = method, optimizers
        self.run = run | {
            "processes": distributed.world_size(),
            "optimizers": [_describe(optimizer) for optimizer in optimizers],
        }

    def resume(self) -> tuple[int, int, float]:
        """Loads the file, if it exists, into method and optimisers.

        Returns the numbers of updates, images and seconds that the run has done so far;
        0 for a new run. Raises ValueError for a file that cannot be read and for the
        file of another run.
        """
        path, run = self.path, self.run
        if path is None or not path.exists():
            return 0, 0, 0.0
        # torch.load puts all tensors on the CPU. load_state_dict then copies tensors to
        # the device where necessary. AdamW's step counters have to stay on the CPU.
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"argument `checkpoint`: {path} cannot be read: move or delete it "
                f"({error})"
            ) from None
        if state["run"] != run:
            old, names = state["run"], {**state["run"], **run}
            differs = ", ".join(
                f"{n} {old.get(n)} -> {run.get(n)}"
                for n in names
                if old.get(n) != run.get(n)
            )
            raise ValueError(
                f"argument `checkpoint`: {path} belongs to another run ({differs}): "
                "give another file name, or move or delete this file"
            )
        self.method.load_state_dict(state["method"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return state["done"]

    def save(self, totals: tuple[int, int, float]):
        """Writes the file atomically; only the process of rank 0 writes.

        totals: numbers of updates, images and seconds so far, as returned by `resume`.
        """
        if self.path is None or distributed.rank() > 0:
            return
        state = {"run": self.run, "done": totals, "method": self.method.state_dict()}
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(state, content := io.BytesIO())
        write_whole(self.path, content.getvalue())


def _describe(optimizer: torch.optim.Optimizer) -> list:
    """The optimiser's class and its settings for each group of parameters."""
    groups = [{**g, "params": len(g["params"])} for g in optimizer.param_groups]
    return [type(optimizer).__name__, *groups]
