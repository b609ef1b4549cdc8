"""`train`: trains a recipe, shows the progress, and keeps the result."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from course_lib import distributed
from course_lib.checkpoint import load_weights, save_weights
from course_lib.checks import count
from course_lib.commands.as_json import as_json
from course_lib.commands.interrupt import Interrupt
from course_lib.commands.parser import invocation, quoted
from course_lib.commands.progress import Progress
from course_lib.data import load
from course_lib.files import file_to_write
from course_lib.recipe import build, lookup, train
from course_lib.run import training_device
from course_lib.train import Step

RUNS = Path("runs")  # in the working folder


def run(args) -> int:
    device = distributed.start()  # joins the process group, if there is one
    device = training_device(args.device) if args.device else device
    count("every", args.every)
    for name in ("out", "checkpoint"):
        if path := getattr(args, name):
            setattr(args, name, file_to_write(name, path))
    out, checkpoint = args.out, args.checkpoint
    if out and checkpoint and out.resolve() == checkpoint.resolve():
        raise ValueError(
            "arguments `out` and `checkpoint`: expected two files, got "
            f"{str(out)!r} twice"
        )
    with nullcontext() if out and checkpoint else new_folder(args.name) as folder:
        out = out or folder / "weights.pt"
        checkpoint = checkpoint or folder / "checkpoint.pt"
        return run_in(args, device, out, checkpoint)


def run_in(args, device: torch.device, out: Path, checkpoint: Path) -> int:
    """Trains, and writes these two files."""
    recipe = lookup(args.name)
    method = build(recipe, args.seed)
    if args.weights:
        load_weights(method, args.weights)
    steps = train(
        recipe,
        method,
        load(recipe.data, "train"),
        seed=args.seed,
        device=device,
        steps=args.steps,
        batch_size=args.batch_size,
        checkpoint=checkpoint,
        save_every=args.save_every,
    )
    last = run_steps(steps, Progress(args.every, args.json), device)
    stopped = last is not None and last.k < last.steps
    if distributed.rank() > 0:
        return 130 if stopped else 0
    if stopped:
        say_how_to_continue(args, last.k, out, checkpoint)
        return 130
    out = save_weights(method, out)
    if not args.checkpoint:
        checkpoint.unlink(missing_ok=True)
    evaluate = command(invocation(), "evaluate", args.name, "--weights", out)
    if args.json:
        print(as_json({"weights": str(out), "command": evaluate}))
    else:
        print(f"weights in {out}: {evaluate}")
    return 0


def run_steps(
    steps: Iterator[Step], progress: Progress, device: torch.device
) -> Step | None:
    """Runs the steps, to the last one or until somebody interrupts, and returns the
    last one; None if the run had already ended. All processes stop after the same step,
    and the checkpoint is saved."""
    last = None
    with Interrupt() as interrupt:
        for last in steps:
            if distributed.rank() == 0:
                progress.show(last)
            asked = interrupt.asked
            if distributed.world_size() > 1:
                asked = distributed.any_process(torch.tensor(asked, device=device))
            if asked and last.k < last.steps:
                break
        steps.close()  # saves the checkpoint if the loop was left
    progress.close()
    return last


@contextmanager
def new_folder(recipe: str) -> Iterator[Path]:
    """Makes the first of runs/NAME, runs/NAME-2, ... that does not exist. Afterwards
    the folder is removed if it is empty. A recipe MODULE:NAME has the last name."""
    found = [None]  # all processes use the folder of the first one
    if distributed.rank() == 0:
        name, number = recipe.rpartition(":")[2], 1
        while found[0] is None:
            folder = RUNS / (name if number == 1 else f"{name}-{number}")
            number += 1
            try:
                folder.mkdir(parents=True)
                found[0] = folder
            except FileExistsError:
                continue
            except OSError as error:
                raise ValueError(
                    f"cannot make the folder {folder} ({error}): give --out and "
                    "--checkpoint"
                ) from None
    if distributed.world_size() > 1:
        torch.distributed.broadcast_object_list(found)
    try:
        yield found[0]
    finally:
        for path in (found[0], RUNS):
            with suppress(OSError):  # it is not empty
                path.rmdir()


def say_how_to_continue(args, k: int, out: Path, checkpoint: Path):
    """Prints where the run is saved, and the command that continues it."""
    words = [*args.arguments]
    words += [] if args.out else ["--out", out]
    words += [] if args.checkpoint else ["--checkpoint", checkpoint]
    start = invocation()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = os.environ["LOCAL_WORLD_SIZE"]
        python = start.removesuffix("-m course_lib") if "-m course_lib" in start else ""
        torchrun = f"-m torch.distributed.run --nproc-per-node {processes}"
        start = f"{python or quoted(sys.executable)} {torchrun} -m course_lib"
    line = command(start, *words)
    if args.json:
        state = {"interrupted_after": k, "checkpoint": str(checkpoint), "command": line}
        print(as_json(state), flush=True)
    print(
        f"interrupted after update {k}; the run is saved in {checkpoint}. This command "
        f"continues it:\n{line}",
        file=sys.stderr,
    )


def command(start: str, *words) -> str:
    """Returns a line for the shell: the start as it is, then the words in quotes where
    necessary."""
    return f"{start} {quoted(*words)}"
