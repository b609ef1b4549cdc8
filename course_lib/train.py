"""The one training loop. A `Method` says what its paper's Algorithm box says; `fit` does everything else."""

import io
import math
import os
import pickle
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from course_lib import distributed
from course_lib.checks import count, number, positive
from course_lib.data import Dataset, as_float
from course_lib.files import write_whole

Optimizers = Callable[[list[Tensor]], torch.optim.Optimizer]


class Method(nn.Module):
    """A learning method: its networks and the two halves of its paper's Algorithm box.

    `progress` in [0, 1) is set by `fit` before each update, for temperature warm-up, momentum schedules, fade-in.
    `seen` is a list: `loss` appends what `after_step` needs (keys for a queue, outputs for a centre), one entry a
    micro-batch, and `after_step` consumes it. State that must survive a resume lives in parameters and buffers.
    """

    progress = 0.0

    def __init__(self):
        super().__init__()
        self.seen = []

    def loss(self, x: Tensor, y=None) -> Tensor:
        """Every line up to `loss.backward()`, augmentation included: images (N, C, H, W) in [0, 1] -> 0-d loss.

        y is whatever the data pairs with x: labels, row indices, tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(x, y)")

    def after_step(self):
        """Every line after the optimiser's update: moving averages, queue, centre. Called without gradient."""

    def before_epoch(self, data):
        """Looks at the whole data set before each pass over it (DeepCluster, SeLa). Called without gradient."""

    def turns(self) -> list[tuple[Callable, Iterable[Tensor]]]:
        """Who moves in one update, in order: (loss, parameters it updates). A GAN returns k discriminator turns, then
        the generator's; each turn gets its own batch."""
        return [(self.loss, self.parameters())]

    def encode(self, x: Tensor) -> Tensor:
        """The representation (N, D) of images (N, C, H, W) in [0, 1]: all that the evaluation knows of a method."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x)")


@dataclass(frozen=True)
class Step:
    """One update, as `fit` reports it."""

    k: int  # updates done, 1..steps
    steps: int
    losses: tuple[Tensor, ...]  # one 0-d tensor a turn, still on the device
    images: int  # consumed so far by all turns and processes
    seconds: float  # spent training so far; what the caller does between steps is not counted

    @property
    def loss(self) -> float:
        """The last turn's loss (waits for the device)."""
        return self.losses[-1].item()


def adamw(lr: float, weight_decay: float = 1e-4, betas: tuple[float, float] = (0.9, 0.999)) -> Optimizers:
    """AdamW (arXiv 1711.05101) without weight decay on biases, norms and other vectors."""
    return lambda params: torch.optim.AdamW(_decay_groups(params, weight_decay), lr=positive("lr", lr), betas=betas)


def sgd(lr: float, weight_decay: float = 1e-4, momentum: float = 0.9) -> Optimizers:
    """SGD with momentum, without weight decay on biases, norms and other vectors."""
    return lambda params: torch.optim.SGD(_decay_groups(params, weight_decay), lr=positive("lr", lr), momentum=momentum)


def _decay_groups(params, weight_decay):
    params = list(params)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def cosine(warmup: float = 0.05) -> Callable[[float], float]:
    """Learning-rate factor at progress p in [0, 1]: linear up to 1 at `warmup`, then half a cosine down to 0."""
    number("warmup", warmup, 0, 1)

    def factor(p: float) -> float:
        return p / warmup if p < warmup else 0.5 * (1 + math.cos(math.pi * (p - warmup) / (1 - warmup)))

    return factor


class Frozen(nn.Module):
    """A network without gradient; `training` as for `frozen_copy`."""

    def __init__(self, net: nn.Module, training: bool):
        super().__init__()
        self.net = deepcopy(net).requires_grad_(False)
        self.follows = training
        self.train(training)

    def train(self, mode: bool = True):
        return super().train(mode and self.follows)

    @torch.no_grad()
    def forward(self, *args):
        return self.net(*args)


def frozen_copy(net: nn.Module, *, training: bool) -> Frozen:
    """A teacher, target or key network: a copy without gradient.

    training=False: in eval mode for good, whatever the method around it is in: a trained teacher (knowledge
    distillation). True: in train mode while the method is, as its online twin: a moving average that must normalise
    with its own batch's statistics (MoCo, BYOL, DINO).
    """
    return Frozen(net, training)


def cosine_momentum(momentum: float, progress: float) -> float:
    """1 - (1 - momentum) (cos(pi progress) + 1) / 2: from `momentum` up to 1, as in BYOL (section 3.2) and DINO."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def ema(target: nn.Module, online: nn.Module, momentum: float):
    """target <- momentum target + (1 - momentum) online, for every parameter.

    BatchNorm's running statistics: a target in train mode gathers its own from the batches it sees, they are left
    alone; a target in eval mode never sees a training batch, so it takes over the online network's buffers as they are.
    """
    number("momentum", momentum, 0, 1)
    target, online = (net.net if isinstance(net, Frozen) else net for net in (target, online))
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.lerp_(o, 1 - momentum)
    if not target.training:
        for t, o in zip(target.buffers(), online.buffers(), strict=True):
            t.copy_(o)


def fit(
    method: Method,
    data: Dataset | torch.utils.data.Dataset,
    steps: int,
    *,
    batch_size: int = 256,
    optimizers: Optimizers | list[Optimizers] = adamw(1e-3),
    schedule: Callable[[float], float] = cosine(),
    seed: int = 0,
    accumulate: int = 1,
    clip: float | None = None,
    device: torch.device | str | None = None,
    bf16: bool | None = None,
    compile: bool = False,
    checkpoint: str | Path | None = None,
    save_every: int = 200,
    check_every: int | None = None,
    workers: int = 4,
) -> Iterator[Step]:
    """Trains `method` for `steps` updates and yields a `Step` after each: the caller owns the loop, may plot or stop.

    data: a `course_lib.data.Dataset`, which moves to the device whole and stays uint8 there, or any map-style dataset
        of (x, y) pairs with uint8 or float x, which is streamed by a DataLoader with `workers` processes.
    batch_size: images per batch over all processes together; each pass over the data is a new permutation, its
        incomplete last batch dropped.
    optimizers: a function parameters -> Optimizer, or a list with one for each player in order of its first turn.
    schedule: factor on the learning rates at progress in (0, 1).
    seed: fixes all that follows. Update k draws from (seed, rank, k), pass e over the data is ordered by (seed, e), and
        the caller's random state is put back before each yield, so nothing that happens between steps matters.
    accumulate: batches whose gradients are averaged in one update. It saves memory only: it enlarges neither the
        negatives nor the batch that BatchNorm sees.
    clip: largest norm of one player's gradient.
    bf16: autocast to bfloat16; by default where the GPU computes in it. Losses stay in float32 (`full_precision`).
    compile: torch.compile the loss; pays off on long runs only.
    checkpoint: file to resume from when it exists, written every `save_every` updates, at the end and when the caller
        leaves the loop, whole or not at all (an interrupt in the middle of an update loses what came since the last
        save). On the CPU a killed and resumed run ends with the same weights, bit for
        bit. (Several processes without SyncBatchNorm: rank 0's BatchNorm statistics are kept.)
    check_every: updates between looks for a loss that is not finite; by default 1 on the CPU, 20 on a GPU, which need
        not wait for the answer in between.

    Random numbers that a map-style dataset draws itself come from its workers: they are not repeated by a resumed run.

    Raises ValueError for arguments that do not fit together, before anything is trained, and FloatingPointError when a
    loss is not finite.
    """
    for name, value in dict(steps=steps, batch_size=batch_size, accumulate=accumulate, save_every=save_every).items():
        count(name, value)
    for name, value in dict(clip=clip, check_every=check_every).items():
        if value is not None:
            positive(name, value)
    if not isinstance(method, Method):
        raise ValueError(f"argument `method`: expected a course_lib.train.Method, got {type(method).__name__}")
    if len(data) < batch_size:
        raise ValueError(f"argument `batch_size`: expected at most the data's {len(data)} rows, got {batch_size}")
    if batch_size % distributed.world_size():
        raise ValueError(
            f"argument `batch_size`: {batch_size} does not divide among {distributed.world_size()} processes"
        )
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    device = torch.empty(0, device=device).device  # "cuda" gets its number
    if bf16 is None:
        bf16 = computes_in_bf16(device)

    method.to(device)
    memory_format = _memory_format(method, device)
    for p in method.parameters():
        if p.ndim == 4:
            p.data = p.data.clone(memory_format=memory_format)  # contiguous() leaves one channel's strides as they are
    if distributed.world_size() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    turns, by_player = _players(method, optimizers)
    run = {
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "clip": clip,
        "rows": len(data),
        "processes": distributed.world_size(),
        "optimizers": [
            [type(optimizer).__name__, *({**group, "params": len(group["params"])} for group in optimizer.param_groups)]
            for optimizer in by_player.values()
        ],
    }
    done, images, seconds = 0, 0, 0.0
    if checkpoint is not None and Path(checkpoint).exists():
        done, images, seconds = _resume(Path(checkpoint), run, method, by_player.values())

    def train() -> Iterator[Step]:
        nonlocal images, seconds
        door = _Door(method, turns)
        if compile:
            door.compile()
        if distributed.world_size() > 1:
            trained = {id(p) for _, params in turns for p in params}
            partly = len(by_player) > 1 or any(id(p) not in trained for p in method.parameters() if p.requires_grad)
            door = DistributedDataParallel(door, broadcast_buffers=False, find_unused_parameters=partly)
        stored = data.to(device) if isinstance(data, Dataset) else data
        per_update, per_epoch = len(turns) * accumulate, len(data) // batch_size
        batches = _batches(stored, batch_size, seed, start=done * per_update, device=device, workers=workers)
        every = check_every or (1 if device.type == "cpu" else 20)
        broken = torch.zeros((), dtype=torch.bool, device=device)
        method.zero_grad(set_to_none=True)  # what an interrupted run may have left
        method.seen.clear()

        def update(turn: int, factor: float) -> Tensor:
            """One player's step along the mean gradient of `accumulate` batches; returns their mean loss."""
            params = turns[turn][1]
            optimizer, total = by_player[frozenset(map(id, params))], torch.zeros((), device=device)
            with _only(params, method):
                for micro in range(accumulate):
                    x, y = next(batches)
                    more = micro < accumulate - 1 and distributed.world_size() > 1
                    with door.no_sync() if more else nullcontext():
                        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                            loss = door(turn, x, y) / accumulate
                        loss.backward()
                    total += loss.detach()
            if clip is not None:
                nn.utils.clip_grad_norm_(params, clip)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return total

        for k in range(done + 1, steps + 1):
            began = time.perf_counter()
            method.progress = (k - 1) / steps
            method.train()
            if any(batch % per_epoch == 0 for batch in range((k - 1) * per_update, k * per_update)):
                with torch.no_grad(), seeded(_mix(seed, -1, k), device):  # no rank: the same on all
                    method.before_epoch(stored)
            with seeded(_mix(seed, distributed.rank(), k), device):
                losses = tuple(update(turn, schedule((k - 0.5) / steps)) for turn in range(len(turns)))
            with torch.no_grad(), seeded(_mix(seed, -2, k), device):
                method.after_step()
            method.seen.clear()
            images += batch_size * per_update
            broken |= ~torch.stack(losses).isfinite().all()
            save = checkpoint is not None and (k % save_every == 0 or k == steps)
            if (save or k % every == 0 or k == steps) and distributed.any_process(broken):
                raise FloatingPointError(
                    f"the loss stopped being finite at update {max(done + 1, k - every + 1)} to {k} of {steps} (now "
                    f"{[round(loss.item(), 4) for loss in losses]}): try a lower learning rate, a longer warm-up or "
                    f"clip=1.0, and look for a logarithm or square root of zero in the loss"
                )
            seconds += time.perf_counter() - began  # on a GPU right as of each look at the loss, which waits for it
            try:
                if save:
                    _save(Path(checkpoint), run, method, by_player.values(), (k, images, seconds))
                yield Step(k, steps, losses, images, seconds)
            except GeneratorExit:  # the caller stops here: keep what was learnt since the last save
                if checkpoint is not None and not save and not broken:
                    _save(Path(checkpoint), run, method, by_player.values(), (k, images, seconds))
                raise

    return train()


def _memory_format(method: nn.Module, device: torch.device) -> torch.memory_format:
    """Of the convolutions' weights: channels_last, which is faster, on the CPU as on a GPU; with one exception.

    In channels_last, oneDNN's kernel for processors with AVX2 and no AVX-512 writes past its buffer when it computes
    the weights' gradient of a 1 x 1 convolution with a stride and fewer than 8 input channels: gradients are wrong,
    then the process dies (oneDNN issue 6035). A method with such a convolution stays contiguous on the CPU.
    """
    stride_1 = {id(m.weight) for m in method.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1)}
    weights = (p for p in method.parameters() if p.ndim == 4 and id(p) not in stride_1)
    exception = device.type == "cpu" and any(p.shape[1] < 8 and p.shape[2:] == (1, 1) for p in weights)
    return torch.contiguous_format if exception else torch.channels_last


def _players(method, optimizers):
    """The method's turns as (loss, list of parameters), and the optimiser of each different set of parameters."""
    turns, lists = method.turns(), {}
    for _, params in turns:  # the same iterator may stand in several turns, but can be read once only
        lists.setdefault(id(params), [p for p in params if p.requires_grad])
    turns = [(loss, lists[id(params)]) for loss, params in turns]
    players = {frozenset(map(id, params)): params for _, params in turns}
    if frozenset() in players:
        raise ValueError(f"argument `method`: a turn of {type(method).__name__} has no parameters to train")
    makers = optimizers if isinstance(optimizers, list) else [optimizers] * len(players)
    if len(makers) != len(players):
        raise ValueError(f"argument `optimizers`: expected one for each of {len(players)} players, got {len(makers)}")
    by_player = {key: make(params) for make, (key, params) in zip(makers, players.items())}
    for optimizer in by_player.values():
        for group in optimizer.param_groups:
            group["base_lr"] = float(group["lr"])
    return turns, by_player


class _Door(nn.Module):
    """The front door: DistributedDataParallel synchronises only what is entered by `forward`."""

    def __init__(self, method, turns):
        super().__init__()
        self.method = method
        self.losses = [loss for loss, _ in turns]

    def forward(self, turn, x, y):
        return self.losses[turn](x, y)


@contextmanager
def _only(params, method):
    """Within it only these parameters learn; all others of the method get no gradient, computed or stored."""
    mine = set(map(id, params))
    others = [p for p in method.parameters() if p.requires_grad and id(p) not in mine]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


def _mix(*numbers: int) -> int:
    """One well-mixed seed out of several numbers (Python hashes the text with SHA-512, the same everywhere)."""
    return random.Random(repr(numbers)).getrandbits(63)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether it is a GPU that has bfloat16 in its hardware: a CPU, and a GPU that emulates it, are slower with it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def seeded(number: int, device: torch.device = torch.device("cpu")):
    """Within it the CPU's and this device's generators start from `number`; afterwards they are where they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(number)
        if device.type == "cuda":  # torch.manual_seed would touch the other GPUs' generators too, unforked
            torch.cuda.default_generators[device.index].manual_seed(number)
        yield


def _order(rows: int, batch_size: int, seed: int, start: int, device: torch.device) -> Iterator[Tensor]:
    """This process's rows of batch number start, start + 1, ..."""
    per_epoch, share = rows // batch_size, batch_size // distributed.world_size()
    for batch in range(start, 2**62):
        epoch, slot = divmod(batch, per_epoch)
        if batch == start or slot == 0:  # one copy to the device a pass: a copy a batch would wait for it each time
            order = torch.randperm(rows, generator=torch.Generator().manual_seed(_mix(seed, epoch))).to(device)
        first = slot * batch_size + distributed.rank() * share
        yield order[first : first + share]


def _batches(data, batch_size, seed, start, device, workers):
    """Yields (x, y) for ever, x as float on the device, uint8 scaled to [0, 1]."""
    if isinstance(data, Dataset):
        pairs = ((data.x[rows], data.y[rows]) for rows in _order(len(data), batch_size, seed, start, device))
    else:
        pairs = DataLoader(
            data,
            batch_sampler=(rows.tolist() for rows in _order(len(data), batch_size, seed, start, torch.device("cpu"))),
            num_workers=workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(_mix(seed, distributed.rank(), start)),
        )
    for x, y in pairs:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        # Pictures stored as (N, H, W, C) and permuted would bring channels_last in: see _memory_format.
        yield (as_float(x) if x.dtype == torch.uint8 else x).clone(memory_format=torch.contiguous_format), y


def _save(path, run, method, optimizers, done):
    if distributed.rank() > 0:
        return
    state = {"run": run, "done": done, "method": method.state_dict()}
    torch.save(state | {"optimizers": [optimizer.state_dict() for optimizer in optimizers]}, content := io.BytesIO())
    write_whole(path, content.getvalue())


def _resume(path, run, method, optimizers):
    try:  # onto the CPU: load_state_dict copies what belongs on the device, and AdamW wants its counters here
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"argument `checkpoint`: {path} cannot be read: move it away ({error})") from None
    if state["run"] != run:
        old, names = state["run"], {**state["run"], **run}
        differs = ", ".join(f"{n} {old.get(n)} -> {run.get(n)}" for n in names if old.get(n) != run.get(n))
        raise ValueError(
            f"argument `checkpoint`: {path} belongs to another run ({differs}): name another file or move it"
        )
    method.load_state_dict(state["method"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["done"]
