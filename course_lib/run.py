"""What `fit` needs around its loop: seeds, batches and their order, players, device,
several processes, checkpoints."""

import io
import os
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from course_lib import distributed
from course_lib.checks import count, positive
from course_lib.data import Dataset, as_float
from course_lib.files import write_whole
from course_lib.optim import Optimizers

CPU = torch.device("cpu")


def check_arguments(
    data: Dataset | torch.utils.data.Dataset,
    *,
    steps: int,
    batch_size: int,
    accumulate: int,
    save_every: int,
    clip: float | None,
    check_every: int | None,
):
    """Raises ValueError for arguments of `fit` that are no such number or do not fit
    together."""
    for name, value in dict(
        steps=steps, batch_size=batch_size, accumulate=accumulate, save_every=save_every
    ).items():
        count(name, value)
    for name, value in dict(clip=clip, check_every=check_every).items():
        if value is not None:
            positive(name, value)
    if len(data) < batch_size:
        raise ValueError(
            f"argument `batch_size`: expected at most the data's {len(data)} rows, got "
            f"{batch_size}"
        )
    if batch_size % distributed.world_size():
        raise ValueError(
            f"argument `batch_size`: {batch_size} does not divide among "
            f"{distributed.world_size()} processes"
        )


# Seeds


def mix(*numbers: int) -> int:
    """One well-mixed seed out of several numbers (Python hashes the text with SHA-512,
    the same everywhere)."""
    return random.Random(repr(numbers)).getrandbits(63)


@contextmanager
def seeded(number: int, device: torch.device = CPU):
    """Within it the CPU's and this device's generators start from `number`; afterwards
    they are where they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(number)
        # torch.manual_seed would touch the other GPUs' generators too, unforked
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(number)
        yield


# Batches


def _order(
    rows: int, batch_size: int, seed: int, start: int = 0, device: torch.device = CPU
) -> Iterator[Tensor]:
    """This process's rows of batch number start, start + 1, ...: each pass is a
    permutation drawn from (seed, pass)."""
    per_epoch, share = rows // batch_size, batch_size // distributed.world_size()
    for batch in range(start, 2**62):
        epoch, slot = divmod(batch, per_epoch)
        # one copy to the device a pass: a copy a batch would wait for it each time
        if batch == start or slot == 0:
            permutation = torch.randperm(
                rows, generator=torch.Generator().manual_seed(mix(seed, epoch))
            ).to(device)
        first = slot * batch_size + distributed.rank() * share
        yield permutation[first : first + share]


def batches(
    data: Dataset | torch.utils.data.Dataset,
    batch_size: int,
    seed: int,
    start: int,
    device: torch.device,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (x, y) for ever, from batch number `start` on; x as float on the device,
    uint8 scaled to [0, 1]."""
    if isinstance(data, Dataset):
        pairs = (
            (data.x[rows], data.y[rows])
            for rows in _order(len(data), batch_size, seed, start, device)
        )
    else:
        pairs = DataLoader(
            data,
            batch_sampler=(
                rows.tolist() for rows in _order(len(data), batch_size, seed, start)
            ),
            num_workers=workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(
                mix(seed, distributed.rank(), start)
            ),
        )
    for x, y in pairs:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        # Pictures stored as (N, H, W, C) and permuted would bring channels_last in: see
        # _memory_format.
        yield (
            (as_float(x) if x.dtype == torch.uint8 else x).clone(
                memory_format=torch.contiguous_format
            ),
            y,
        )


# The device


def training_device(device: torch.device | str | None) -> torch.device:
    """The device that is asked for, with its number; by default this process's GPU, or
    the CPU where there is none."""
    if device is None:
        device = (
            f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            if torch.cuda.is_available()
            else "cpu"
        )
    return torch.empty(0, device=device).device  # "cuda" gets its number


def computes_in_bf16(device: torch.device) -> bool:
    """Whether it is a GPU that has bfloat16 in its hardware: a CPU, and a GPU that
    emulates it, are slower with it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(
        including_emulation=False
    )


def place(method: nn.Module, device: torch.device):
    """Moves the method to the device, with its convolutions' weights in the format that
    is fastest there.

    On several GPUs BatchNorm sees the batches of all of them.
    """
    method.to(device)
    memory_format = _memory_format(method, device)
    for p in method.parameters():
        if p.ndim == 4:
            # contiguous() leaves one channel's strides as they are
            p.data = p.data.clone(memory_format=memory_format)
    if distributed.world_size() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)


def _memory_format(method: nn.Module, device: torch.device) -> torch.memory_format:
    """Of the convolutions' weights: channels_last, which is faster, on the CPU as on a
    GPU; with one exception.

    In channels_last, oneDNN's kernel for processors with AVX2 and no AVX-512 writes
    past its buffer when it computes the weights' gradient of a 1 x 1 convolution with a
    stride and fewer than 8 input channels: gradients are wrong, then the process dies
    (oneDNN issue 6035). A method with such a convolution stays contiguous on the CPU.
    """
    stride_1 = {
        id(m.weight)
        for m in method.modules()
        if isinstance(m, nn.Conv2d) and m.stride == (1, 1)
    }
    weights = (p for p in method.parameters() if p.ndim == 4 and id(p) not in stride_1)
    exception = device.type == "cpu" and any(
        p.shape[1] < 8 and p.shape[2:] == (1, 1) for p in weights
    )
    return torch.contiguous_format if exception else torch.channels_last


# Players


def players(
    method, optimizers: Optimizers | list[Optimizers]
) -> tuple[list, dict[frozenset, torch.optim.Optimizer]]:
    """The method's turns as (loss, list of parameters), and the optimiser of each
    different set of parameters.

    Sets are known by frozenset(map(id, parameters)). Each group of an optimiser gets
    `base_lr`, its full learning rate. Raises ValueError for a turn that trains nothing
    and for another number of optimisers than of players.
    """
    turns, lists = method.turns(), {}
    # the same iterator may stand in several turns, but can be read once only
    for _, params in turns:
        lists.setdefault(id(params), [p for p in params if p.requires_grad])
    turns = [(loss, lists[id(params)]) for loss, params in turns]
    sets = {frozenset(map(id, params)): params for _, params in turns}
    if frozenset() in sets:
        raise ValueError(
            f"argument `method`: a turn of {type(method).__name__} has no parameters "
            "to train"
        )
    makers = optimizers if isinstance(optimizers, list) else [optimizers] * len(sets)
    if len(makers) != len(sets):
        raise ValueError(
            f"argument `optimizers`: expected one for each of {len(sets)} players, got "
            f"{len(makers)}"
        )
    by_player = {key: make(params) for make, (key, params) in zip(makers, sets.items())}
    for optimizer in by_player.values():
        for group in optimizer.param_groups:
            group["base_lr"] = float(group["lr"])
    return turns, by_player


@contextmanager
def only(params: list[Tensor], method: nn.Module):
    """Within it only these parameters learn; all others of the method get no gradient,
    computed or stored."""
    mine = set(map(id, params))
    others = [p for p in method.parameters() if p.requires_grad and id(p) not in mine]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


# Several processes


class _Door(nn.Module):
    """The front door: DistributedDataParallel synchronises only what is entered by
    `forward`."""

    def __init__(self, method, turns):
        super().__init__()
        self.method = method
        self.losses = [loss for loss, _ in turns]

    def forward(self, turn, x, y):
        return self.losses[turn](x, y)


def front_door(method: nn.Module, turns: list, compile: bool) -> nn.Module:
    """A module that is called as door(turn, x, y) and gives that turn's loss; gradients
    are averaged over processes."""
    door = _Door(method, turns)
    if compile:
        door.compile()
    if distributed.world_size() == 1:
        return door
    sets = {frozenset(map(id, params)) for _, params in turns}
    trained = set().union(*sets)
    partly = len(sets) > 1 or any(
        id(p) not in trained for p in method.parameters() if p.requires_grad
    )
    return DistributedDataParallel(
        door, broadcast_buffers=False, find_unused_parameters=partly
    )


# Checkpoints


class Checkpoint:
    """The file that a run is resumed from; with path None nothing is kept.

    run: what must be the same for a run to be resumed; how many processes and which
    optimisers is added to it.
    """

    def __init__(
        self,
        path: str | Path | None,
        run: dict,
        method: nn.Module,
        optimizers: list[torch.optim.Optimizer],
    ):
        self.path, self.method, self.optimizers = (
            None if path is None else Path(path),
            method,
            optimizers,
        )
        self.run = run | {
            "processes": distributed.world_size(),
            "optimizers": [
                [
                    type(optimizer).__name__,
                    *(
                        {**g, "params": len(g["params"])}
                        for g in optimizer.param_groups
                    ),
                ]
                for optimizer in optimizers
            ],
        }

    def resume(self) -> tuple[int, int, float]:
        """Loads the file, if there is one, into method and optimisers: updates done,
        images consumed, seconds spent.

        Raises ValueError for a file that cannot be read and for another run's.
        """
        path, run = self.path, self.run
        if path is None or not path.exists():
            return 0, 0, 0.0
        # onto the CPU: load_state_dict copies what belongs on the device, and AdamW
        # wants its counters here
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"argument `checkpoint`: {path} cannot be read: move it away ({error})"
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
                "name another file or move it"
            )
        self.method.load_state_dict(state["method"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return state["done"]

    def save(self, done: tuple[int, int, float]):
        """Writes the file, whole or not at all; done: as `resume` returns it. Of
        several processes the first writes."""
        if self.path is None or distributed.rank() > 0:
            return
        state = {"run": self.run, "done": done, "method": self.method.state_dict()}
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(state, content := io.BytesIO())
        write_whole(self.path, content.getvalue())
