"""Functions for `fit`: seeds, batches and their order, the device, the players, and
several processes."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from course_lib import distributed
from course_lib.arguments import check_values
from course_lib.data import Dataset, as_float
from course_lib.data.reading import Numbered, collate
from course_lib.optim import Optimizers

CPU = torch.device("cpu")


# Seeds


def mix(*numbers: int) -> int:
    """Returns one seed that depends on all these numbers.

    The seed is the same on every machine: `random.Random` hashes the text of the
    numbers with SHA-512.
    """
    return random.Random(repr(numbers)).getrandbits(63)


@contextmanager
def seeded(number: int, device: torch.device = CPU):
    """Context manager: inside, the random number generators of the CPU and of this
    device start from the seed `number`. Afterwards their old states are restored."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(number)
        # torch.manual_seed would also set the generators of other GPUs, whose states
        # fork_rng does not restore.
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(number)
        yield


# Batches


def _order(
    rows: int, batch_size: int, seed: int, start: int = 0, device: torch.device = CPU
) -> Iterator[Tensor]:
    """Yields the row indices of one batch after another, beginning with batch number
    `start`. If there are several processes, each process gets the indices of its own
    part of the batch.

    Each epoch has its own permutation of all rows, drawn from (seed, epoch).
    """
    per_epoch, share = rows // batch_size, batch_size // distributed.world_size()
    for batch in range(start, 2**62):
        epoch, slot = divmod(batch, per_epoch)
        # Copies the permutation to the device once an epoch: a copy for each batch
        # would make the CPU wait for the device each time.
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
    dtypes: set[torch.dtype] = frozenset(),
    augmented: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches (x, y) on the device without end, beginning with batch number
    `start`. x is float; uint8 is scaled to [0, 1].

    dtypes: of the method's weights; augmented: whether it augments pictures. Raises
    ValueError if a map-style dataset does not give pairs of tensors or numbers, and if
    its first batch fails `check_values`.
    """
    if isinstance(data, Dataset):
        pairs = (
            (data.x[rows], data.y[rows])
            for rows in _order(len(data), batch_size, seed, start, device)
        )
    else:
        pairs = DataLoader(
            Numbered(data),
            batch_sampler=(
                rows.tolist() for rows in _order(len(data), batch_size, seed, start)
            ),
            num_workers=workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(
                mix(seed, distributed.rank(), start)
            ),
        )
    streamed, checked = not isinstance(data, Dataset), False
    for pair in pairs:
        if isinstance(pair, ValueError):
            raise pair
        x, y = pair
        if streamed and not checked:
            check_values(x, y, dtypes, augmented)
            checked = True
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        x = as_float(x) if x.dtype == torch.uint8 else x
        # clone() makes x contiguous. Without clone(), images that are stored as
        # (N, H, W, C) and permuted would be in channels_last. The docstring of
        # `_memory_format` explains when channels_last is unsafe.
        yield x.clone(memory_format=torch.contiguous_format), y


# The device


def training_device(device: torch.device | str | None) -> torch.device:
    """Returns `device` as a torch.device with its index. By default this is the GPU of
    this process, or the CPU if there is no GPU.

    Raises ValueError for a device that is neither a CPU nor a CUDA GPU, because its
    random numbers could not be seeded, and for one that this machine does not have.
    """
    if device is None:
        gpu = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        device = gpu if torch.cuda.is_available() else "cpu"
    expected = f"argument `device`: expected cpu, cuda or cuda:N, got {str(device)!r}"
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{expected} ({_first_line(error)})") from None
    if kind not in ("cpu", "cuda"):
        raise ValueError(expected)
    try:
        # the device of a tensor has an index: "cuda" becomes, for example, "cuda:0"
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        gpus = torch.cuda.device_count()
        raise ValueError(
            f"argument `device`: torch finds {gpus or 'no'} GPU{'s' * (gpus != 1)} on "
            f"this machine, got {str(device)!r} ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def computes_in_bf16(device: torch.device) -> bool:
    """Returns whether the device is a GPU with bfloat16 in its hardware.

    CPUs, and GPUs that emulate bfloat16, are slower with it.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(
        including_emulation=False
    )


def place(method: nn.Module, device: torch.device):
    """Moves the method to the device and sets the memory format of its convolutions'
    weights.

    With several GPUs, BatchNorm becomes SyncBatchNorm, which normalises with the
    statistics of the batch over all GPUs.
    """
    method.to(device)
    memory_format = _memory_format(method, device)
    for p in method.parameters():
        if p.ndim == 4:
            # clone() sets the strides of every weight. contiguous() would not change
            # the strides of a weight with one input channel.
            p.data = p.data.clone(memory_format=memory_format)
    if distributed.world_size() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)


def _memory_format(method: nn.Module, device: torch.device) -> torch.memory_format:
    """Returns the memory format for the convolutions' weights.

    The format is channels_last, with one exception. channels_last is faster both on the
    CPU and on a GPU.

    The exception is due to an error in oneDNN (issue 6035). The error occurs on
    processors with AVX2 but without AVX-512. It concerns 1 x 1 convolutions in
    channels_last with a stride and with fewer than 8 input channels. When oneDNN
    computes the gradient of the weights of such a convolution, oneDNN writes beyond a
    buffer. The gradients are wrong, and then the process crashes. A method with such a
    convolution therefore stays contiguous on the CPU.
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
    """Returns the method's turns and the optimisers of its players.

    A turn is (loss, list of parameters). A player is a set of parameters that are
    updated together. The optimisers are returned as a dictionary. In this dictionary,
    the key of a player's optimiser is frozenset(map(id, parameters)). Each parameter
    group of an optimiser gets an entry `base_lr`, its full learning rate. Raises
    ValueError if a turn has no parameters to train, or if a list of optimisers does not
    have one for each player.
    """
    turns, lists = method.turns(), {}
    # Several turns may share one iterator of parameters, which can be read only once.
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
    by_player = {}
    for make, (key, params) in zip(makers, sets.items()):
        made = make(params) if callable(make) else make
        if not callable(make) or not isinstance(made, torch.optim.Optimizer):
            raise ValueError(
                "argument `optimizers`: expected a function from parameters to an "
                f"optimiser, such as adamw(1e-3), got {make!r}"
            )
        by_player[key] = made
    for optimizer in by_player.values():
        for group in optimizer.param_groups:
            group["base_lr"] = float(group["lr"])
    return turns, by_player


@contextmanager
def train_only(params: list[Tensor], method: nn.Module):
    """Context manager: inside, only these parameters get gradients. For the method's
    other parameters no gradient is computed."""
    trained = set(map(id, params))
    others = [
        p for p in method.parameters() if p.requires_grad and id(p) not in trained
    ]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


# Several processes


class _LossOfTurn(nn.Module):
    """Computes the loss of a turn in its `forward`, because DistributedDataParallel
    averages gradients only for calls of `forward`."""

    def __init__(self, method, turns):
        super().__init__()
        self.method = method
        self.losses = [loss for loss, _ in turns]

    def forward(self, turn, x, y):
        return self.losses[turn](x, y)


def loss_of_turn(method: nn.Module, turns: list, compile: bool) -> nn.Module:
    """Returns a module that maps (number of the turn, x, y) to the loss of this turn.
    If there are several processes, the module averages the gradients over the
    processes."""
    module = _LossOfTurn(method, turns)
    if compile:
        module.compile()
    if distributed.world_size() == 1:
        return module
    sets = {frozenset(map(id, params)) for _, params in turns}
    trained = set().union(*sets)
    # In some turn, some parameters may get no gradient.
    some_unused = len(sets) > 1 or any(
        id(p) not in trained for p in method.parameters() if p.requires_grad
    )
    return DistributedDataParallel(
        module, broadcast_buffers=False, find_unused_parameters=some_unused
    )
