"""The one training loop. A `Method` says what its paper's Algorithm box says; `fit`
does everything else; run.py has what `fit` needs around its loop, optim.py the
optimisers, teacher.py the slow copies of networks."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.data import Dataset
from course_lib.optim import Optimizers, adamw, cosine
from course_lib.run import (
    Checkpoint,
    batches,
    check_arguments,
    computes_in_bf16,
    front_door,
    mix,
    only,
    place,
    players,
    seeded,
    training_device,
)


class Method(nn.Module):
    """A learning method: its networks and the two halves of its paper's Algorithm box.

    `progress` in [0, 1) is set by `fit` before each update, for temperature warm-up,
    momentum schedules, fade-in. `step_outputs` is a list: `loss` appends what
    `after_step` needs (keys for a queue, outputs for a centre), one entry a
    micro-batch, and `after_step` consumes it. State that must survive a resume lives in
    parameters and buffers.
    """

    progress = 0.0

    def __init__(self):
        super().__init__()
        self.step_outputs = []

    def loss(self, x: Tensor, y=None) -> Tensor:
        """Every line up to `loss.backward()`, augmentation included: images (N, C, H,
        W) in [0, 1] -> 0-d loss.

        y is whatever the data pairs with x: labels, row indices, tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(x, y)")

    def after_step(self):
        """Every line after the optimiser's update: moving averages, queue, centre.
        Called without gradient."""

    def before_epoch(self, data):
        """Looks at the whole data set before each pass over it (DeepCluster, SeLa).
        Called without gradient."""

    def turns(self) -> list[tuple[Callable, Iterable[Tensor]]]:
        """Who moves in one update, in order: (loss, parameters it updates). A GAN
        returns k discriminator turns, then the generator's; each turn gets its own
        batch."""
        return [(self.loss, self.parameters())]

    def encode(self, x: Tensor) -> Tensor:
        """The representation (N, D) of images (N, C, H, W) in [0, 1]: all that the
        evaluation knows of a method."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x)")


@dataclass(frozen=True)
class Step:
    """One update, as `fit` reports it."""

    k: int  # updates done, 1..steps
    steps: int
    losses: tuple[Tensor, ...]  # one 0-d tensor a turn, still on the device
    images: int  # consumed so far by all turns and processes
    # spent training so far; what the caller does between steps is not counted
    seconds: float

    @property
    def loss(self) -> float:
        """The last turn's loss (waits for the device)."""
        return self.losses[-1].item()


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
    """Trains `method` for `steps` updates and yields a `Step` after each: the caller
    owns the loop, may plot or stop.

    data: a `course_lib.data.Dataset`, which moves to the device whole and stays uint8
    there, or any map-style dataset
        of (x, y) pairs with uint8 or float x, which is streamed by a DataLoader with `workers` processes.
    batch_size: images per batch over all processes together; each pass over the data is
    a new permutation, its
        incomplete last batch dropped.
    optimizers: a function parameters -> Optimizer, or a list with one for each player
    in order of its first turn. schedule: factor on the learning rates at progress in
    (0, 1). seed: fixes all that follows. Update k draws from (seed, rank, k), pass e
    over the data is ordered by (seed, e), and
        the caller's random state is put back before each yield, so nothing that happens between steps matters.
    accumulate: batches whose gradients are averaged in one update. It saves memory
    only: it enlarges neither the
        negatives nor the batch that BatchNorm sees.
    clip: largest norm of one player's gradient. bf16: autocast to bfloat16; by default
    where the GPU computes in it. Losses stay in float32 (`full_precision`). compile:
    torch.compile the loss; pays off on long runs only. checkpoint: file to resume from
    when it exists, written every `save_every` updates, at the end and when the caller
        leaves the loop, whole or not at all (an interrupt in the middle of an update loses what came since the last
        save). On the CPU a killed and resumed run ends with the same weights, bit for
        bit. (Several processes without SyncBatchNorm: rank 0's BatchNorm statistics are kept.)
    check_every: updates between looks for a loss that is not finite; by default 1 on
    the CPU, 20 on a GPU, which need
        not wait for the answer in between.

    Random numbers that a map-style dataset draws itself come from its workers: they are
    not repeated by a resumed run.

    Raises ValueError for arguments that do not fit together, before anything is
    trained, and FloatingPointError when a loss is not finite.
    """
    if not isinstance(method, Method):
        raise ValueError(
            "argument `method`: expected a course_lib.train.Method, got "
            f"{type(method).__name__}"
        )
    settings = dict(
        steps=steps, batch_size=batch_size, accumulate=accumulate, clip=clip
    )
    check_arguments(data, **settings, save_every=save_every, check_every=check_every)
    device = training_device(device)
    bf16 = computes_in_bf16(device) if bf16 is None else bf16
    check_every = check_every or (1 if device.type == "cpu" else 20)
    place(method, device)
    turns, by_player = players(method, optimizers)
    kept = Checkpoint(
        checkpoint,
        {"seed": seed, **settings, "rows": len(data)},
        method,
        list(by_player.values()),
    )
    done, images, seconds = kept.resume()

    def train() -> Iterator[Step]:
        nonlocal images, seconds
        door = front_door(method, turns, compile)
        stored = data.to(device) if isinstance(data, Dataset) else data
        per_update, per_epoch = len(turns) * accumulate, len(data) // batch_size
        stream = batches(
            stored,
            batch_size,
            seed,
            start=done * per_update,
            device=device,
            workers=workers,
        )
        broken = torch.zeros((), dtype=torch.bool, device=device)
        method.zero_grad(set_to_none=True)  # what an interrupted run may have left
        method.step_outputs.clear()

        def update(turn: int, factor: float) -> Tensor:
            """One player's step along the mean gradient of `accumulate` batches;
            returns their mean loss."""
            params = turns[turn][1]
            optimizer, total = (
                by_player[frozenset(map(id, params))],
                torch.zeros((), device=device),
            )
            with only(params, method):
                for micro in range(accumulate):
                    x, y = next(stream)
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
            if any(
                batch % per_epoch == 0
                for batch in range((k - 1) * per_update, k * per_update)
            ):
                # no rank: the same on all
                with torch.no_grad(), seeded(mix(seed, -1, k), device):
                    method.before_epoch(stored)
            with seeded(mix(seed, distributed.rank(), k), device):
                losses = tuple(
                    update(turn, schedule((k - 0.5) / steps))
                    for turn in range(len(turns))
                )
            with torch.no_grad(), seeded(mix(seed, -2, k), device):
                method.after_step()
            method.step_outputs.clear()
            images += batch_size * per_update
            broken |= ~torch.stack(losses).isfinite().all()
            save = checkpoint is not None and (k % save_every == 0 or k == steps)
            if (save or k % check_every == 0 or k == steps) and distributed.any_process(
                broken
            ):
                raise _not_finite(max(done + 1, k - check_every + 1), k, steps, losses)
            # on a GPU right as of each look at the loss, which waits for it
            seconds += time.perf_counter() - began
            try:
                if save:
                    kept.save((k, images, seconds))
                yield Step(k, steps, losses, images, seconds)
            # the caller stops here: keep what was learnt since the last save
            except GeneratorExit:
                if checkpoint is not None and not save and not broken:
                    kept.save((k, images, seconds))
                raise

    return train()


def _not_finite(
    first: int, k: int, steps: int, losses: tuple[Tensor, ...]
) -> FloatingPointError:
    return FloatingPointError(
        f"the loss stopped being finite at update {first} to {k} of {steps} (now "
        f"{[round(loss.item(), 4) for loss in losses]}): try a lower learning rate, a "
        "longer warm-up or "
        f"clip=1.0, and look for a logarithm or square root of zero in the loss"
    )
