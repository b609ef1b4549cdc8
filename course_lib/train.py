"""The training loop of all methods.

A `Method` implements the algorithm of its paper. `fit` does everything else. Its helper
functions are in run.py and checkpoint.py, the optimisers in optim.py. The moving
averages of networks are in teacher.py.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.arguments import check_arguments, check_schedule, check_values
from course_lib.checkpoint import Checkpoint
from course_lib.data import Dataset
from course_lib.optim import Optimizers, adamw, cosine
from course_lib.run import (
    batches,
    computes_in_bf16,
    loss_of_turn,
    mix,
    place,
    players,
    seeded,
    train_only,
    training_device,
)
from course_lib.steps import Steps


class Method(nn.Module):
    """A learning method: its networks, its loss, and what it does after an update.

    `fit` sets `progress` in [0, 1) before each update; schedules of temperatures and
    momentum use it. `step_outputs` is a list for values that `after_step` needs, such
    as keys for a queue or outputs for a centre. `loss` appends one entry for each
    micro-batch, and `after_step` reads them. Everything that must be saved in a
    checkpoint has to be a parameter or a buffer. `data_shape` is the shape of one row
    of the data, such as (1, 28, 28); `fit` and `course_lib.recipe.build` set it.
    """

    progress = 0.0
    data_shape: tuple[int, ...] | None = None

    def __init__(self):
        super().__init__()
        self.step_outputs = []

    def loss(self, x: Tensor, y=None) -> Tensor:
        """Returns the 0-d loss of images x (N, C, H, W) in [0, 1].

        It contains all lines of the paper's algorithm before the gradient step,
        augmentation included. y is the second part of each pair of the data: labels,
        row indices, tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(x, y)")

    def after_step(self):
        """Contains all lines of the paper's algorithm after the gradient step: updates
        of moving averages, a queue or a centre. `fit` calls it without gradient."""

    def before_epoch(self, data):
        """Uses the whole data set before each epoch, for example to cluster it
        (DeepCluster, SeLa). `fit` calls it without gradient."""

    def turns(self) -> list[tuple[Callable, Iterable[Tensor]]]:
        """Returns the turns of one update, in order: pairs (loss, parameters to train).

        A turn is one gradient step of one player on its own batch. A GAN returns k
        turns of the discriminator, then one of the generator.
        """
        return [(self.loss, self.parameters())]

    def encode(self, x: Tensor) -> Tensor:
        """Returns the representation (N, D) of images x (N, C, H, W) in [0, 1].
        Evaluation of representations uses only this function of a method."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x)")

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Returns n generated pictures, float (n, C, H, W) in [0, 1]; a generator of
        points returns (n, D). Every generator has this function.

        It generates in eval mode and without gradient, with the moving average of the
        weights if the method has one, on the device of the weights. All random numbers
        come from torch's global generator.

        y: the labels of a conditional generator: int (n,), or (n, L) for captions of L
        tokens. None: random labels, all equally likely; a generator that gets captions
        then works without. Diffusion models have two more arguments, by keyword only:
        steps, the number of the sampler's steps, and w, the guidance weight (only
        conditional ones).

        Raises ValueError for labels of another number, shape or range, and for labels
        that an unconditional generator gets. `course_lib.generator.sampling` does all
        this for a new generator.
        """
        raise NotImplementedError(f"{type(self).__name__} must define sample(n, y)")

    def sample_labels(self, n: int, y: Tensor | None = None) -> Tensor | None:
        """Returns the labels of n samples; None, as here, for an unconditional
        generator. A conditional one returns y, or random labels if y is None."""
        if y is not None:
            raise ValueError(
                f"argument `y`: expected None, because {type(self).__name__} is "
                "unconditional, got labels"
            )


@dataclass(frozen=True)
class Step:
    """What `fit` reports after each update."""

    k: int  # updates done, 1..steps
    steps: int
    losses: tuple[Tensor, ...]  # a 0-d tensor on the device for each turn
    images: int  # number of images used so far, by all turns and processes
    # time of training so far, without the time that the caller spends between steps
    seconds: float

    @property
    def loss(self) -> float:
        """The loss of the last turn. When the program reads this value, the CPU waits
        for the device."""
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
    """Trains `method` for `steps` updates and yields a `Step` after each.

    The caller iterates over the steps and may plot or stop between them. Without this
    loop nothing is trained, and there is a warning.

    data: a `course_lib.data.Dataset`, or any map-style dataset of pairs (x, y) with
        uint8 or float x. A `Dataset` is copied to the device as a whole and stays uint8
        there. Any other dataset is read batch by batch, by a DataLoader with `workers`
        processes. Float pictures must be in [0, 1], without normalisation. Before the
        training (for a map-style dataset: at its first batch), `fit` looks for other
        pictures, for NaN and for infinity, unless the data are on a GPU.
    batch_size: images per batch, summed over all processes. Each epoch uses a new
        permutation of the data and drops the incomplete last batch.
    optimizers: a function parameters -> Optimizer for all players, or a list with one
        such function for each player. The order of the list is the order in which the
        players have their first turns.
    schedule: function of the progress in (0, 1) that returns the factor of the learning
        rates.
    seed: determines all random numbers of the training. Update k draws from (seed,
        rank, k); the order of the data in epoch e comes from (seed, e). Before each
        yield the caller's random state is restored. So random numbers that the caller
        draws between steps do not change the training.
    accumulate: number of batches whose gradients are averaged in one update. These
        batches need less memory than one large batch. But each loss uses only the
        negatives of its own batch, and BatchNorm uses only the statistics of this
        batch.
    clip: upper bound for the norm of one player's gradient.
    bf16: whether to use autocast to bfloat16; by default only on a GPU with bfloat16 in
        its hardware. Losses are still computed in float32 (`full_precision`).
    compile: whether to compile the loss by torch.compile. The compilation takes more
        time than it saves, except in long runs.
    checkpoint: a file. If the file exists, the run resumes from it, if it has the same
        settings, the same schedule and the same data. (Of a `Dataset`, a few rows are
        compared, and only the number of rows of other datasets.) The file is written
        every `save_every` updates, at the end, and when the caller leaves the loop.
        Each write is atomic: if the process is killed, the file has either its old or
        its new content. An interrupt in the middle of an update loses the updates since
        the last save. On the CPU, a run that was killed and resumed ends with the same
        weights, bit for bit. (With several processes and without SyncBatchNorm, the
        file has the BatchNorm statistics of rank 0.)
    check_every: number of updates between two checks that the loss is finite; by
        default 1 on the CPU and 20 on a GPU, because each check waits for the GPU.

    A map-style dataset may draw random numbers itself. They come from the processes of
    the DataLoader, and a resumed run does not repeat them.

    Raises ValueError before the training if arguments do not fit together, and
    FloatingPointError if a loss is not finite.
    """
    if not isinstance(method, Method):
        raise ValueError(
            "argument `method`: expected a course_lib.train.Method, got "
            f"{type(method).__name__}"
        )
    settings = check_arguments(
        data,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        save_every=save_every,
        clip=clip,
        check_every=check_every,
        seed=seed,
        workers=workers,
        bf16=bf16,
        compile=compile,
    )
    run = {
        n: settings[n] for n in ("seed", "steps", "batch_size", "accumulate", "clip")
    }
    seed, steps, batch_size, accumulate, clip = run.values()
    save_every, workers = settings["save_every"], settings["workers"]
    factor_at = check_schedule(schedule)
    device = training_device(device)
    bf16 = computes_in_bf16(device) if bf16 is None else settings["bf16"]
    check_every = settings["check_every"] or (1 if device.type == "cpu" else 20)
    dtypes = {p.dtype for p in method.parameters() if p.is_floating_point()}
    plain = type(None), nn.Identity
    augmented = not isinstance(getattr(method, "augment", None), plain)
    if isinstance(data, Dataset):
        check_values(data.x, data.y, dtypes, augmented)
    place(method, device)
    turns, by_player = players(method, optimizers)
    run["rows"] = len(data)
    if checkpoint is not None:
        # rounded, because machines differ in the last digit of a cosine
        factors = [float(factor_at((k + 0.5) / 16)) for k in range(16)]
        run["schedule"] = [float(f"{factor:.6g}") for factor in factors]
    file = Checkpoint(checkpoint, run, method, list(by_player.values()), data)
    done, images, seconds = file.resume()

    def train() -> Iterator[Step]:
        nonlocal images, seconds
        loss_of = loss_of_turn(method, turns, compile)
        stored = data.to(device) if isinstance(data, Dataset) else data
        per_update, per_epoch = len(turns) * accumulate, len(data) // batch_size
        start = done * per_update
        given = (batch_size, seed, start, device, workers, dtypes, augmented)
        stream = batches(stored, *given)
        not_finite = torch.zeros((), dtype=torch.bool, device=device)
        # an interrupted run may have left gradients and outputs
        method.zero_grad(set_to_none=True)
        method.step_outputs.clear()

        def update(turn: int, factor: float) -> Tensor:
            """Updates the player of this turn by the mean gradient of `accumulate`
            batches; returns their mean loss."""
            params = turns[turn][1]
            optimizer = by_player[frozenset(map(id, params))]
            total = torch.zeros((), device=device)
            with train_only(params, method):
                for micro in range(accumulate):
                    x, y = next(stream)
                    method.data_shape = tuple(x.shape[1:])
                    # several processes average their gradients after the last batch
                    wait = micro < accumulate - 1 and distributed.world_size() > 1
                    with loss_of.no_sync() if wait else nullcontext():
                        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                            loss = loss_of(turn, x, y) / accumulate
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
            batch_numbers = range((k - 1) * per_update, k * per_update)
            if any(number % per_epoch == 0 for number in batch_numbers):
                # no rank in the seed: all processes draw the same numbers
                with torch.no_grad(), seeded(mix(seed, -1, k), device):
                    method.before_epoch(stored)
            with seeded(mix(seed, distributed.rank(), k), device):
                factor = factor_at((k - 0.5) / steps)
                losses = tuple(update(turn, factor) for turn in range(len(turns)))
            with torch.no_grad(), seeded(mix(seed, -2, k), device):
                method.after_step()
            method.step_outputs.clear()
            images += batch_size * per_update
            not_finite |= ~torch.stack(losses).isfinite().all()
            save = checkpoint is not None and (k % save_every == 0 or k == steps)
            check = save or k % check_every == 0 or k == steps
            if check and distributed.any_process(not_finite):
                raise _not_finite(max(done + 1, k - check_every + 1), k, steps, losses)
            # On a GPU this is exact only after a check, which waits for the GPU.
            seconds += time.perf_counter() - began
            try:
                if save:
                    file.save((k, images, seconds))
                yield Step(k, steps, losses, images, seconds)
            # The caller stops here: save the updates since the last save.
            except GeneratorExit:
                if checkpoint is not None and not save and not not_finite:
                    file.save((k, images, seconds))
                raise

    return Steps(train(), f"{type(method).__name__}, steps={steps}")


def _not_finite(
    first: int, k: int, steps: int, losses: tuple[Tensor, ...]
) -> FloatingPointError:
    update = f"update {k}" if first == k else f"one of the updates {first} to {k}"
    return FloatingPointError(
        f"the loss became infinite or NaN in {update} of {steps} (now "
        f"{[round(loss.item(), 4) for loss in losses]}): try a lower learning "
        "rate, a longer warm-up or clip=1.0, and look for a logarithm or square root "
        "of zero in the loss"
    )
