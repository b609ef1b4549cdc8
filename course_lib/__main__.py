"""The library from the command line; `torchrun -m course_lib train ...` trains on several GPUs."""

import argparse
import pickle
import sys
from pathlib import Path

import torch

from course_lib import distributed, experiments, zoo
from course_lib.data import load, names
from course_lib.recipes import RECIPES, Size, build, lookup, train
from course_lib.train import Method


def show_list(_):
    def size(row: Size | None) -> str:
        return f"{row.steps:>6} x {row.batch_size}" if row else "-"

    print(f"{'recipe':25}{'data':10}{'cpu: steps x batch':>20}{'gpu: steps x batch':>20}  zoo  measured")
    for name, recipe in RECIPES.items():
        measured = (experiments.RESULTS / f"{name}.json").exists()
        print(
            f"{name:25}{recipe.data:10}{size(recipe.cpu):>20}{size(recipe.gpu):>20}"
            f"  {'yes' if name in zoo.manifest() else 'no':3}  {'yes' if measured else 'not measured'}"
        )
        if recipe.published:
            print(f"{'':25}published: {recipe.published}")
    print(f"data sets: {', '.join(names())}")


def run_training(args):
    device = distributed.start()  # joins the other processes, if any
    device = torch.device(args.device) if args.device else device
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
        checkpoint=args.checkpoint,
    )
    for step in steps:
        if distributed.rank() == 0 and (step.k % args.every == 0 or step.k == step.steps):
            print(
                f"step {step.k} of {step.steps}  loss {step.loss:.4f}  {step.images / step.seconds:.0f} images/s  "
                f"{step.seconds / step.k * (step.steps - step.k):.0f} s left",
                flush=True,
            )
    if args.out and distributed.rank() == 0:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        torch.save(method.state_dict(), args.out)
        print(f"weights in {args.out}: python -m course_lib evaluate {args.name} --weights {args.out}")


def load_weights(method: Method, path: Path):
    try:
        method.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"--weights {path}: expected weights of this recipe, from train --out ({first})") from None


def run_evaluation(args):
    if args.zoo and args.weights:
        raise ValueError("--zoo and --weights: give one of them")
    if not (args.zoo or args.weights):
        measured = sorted(path.stem for path in experiments.RESULTS.glob("*.json"))
        for name in [args.name] if args.name else measured or list(RECIPES)[:1]:  # none: read says what to do
            print(f"{name}\n{experiments.table(name)}\n")
        return
    if args.name is None:
        raise ValueError("--zoo and --weights need the recipe's name")
    recipe = lookup(args.name)
    method = zoo.load(args.name) if args.zoo else build(recipe, args.seed)
    if args.weights:
        load_weights(method, args.weights)
    device = distributed.start()
    for title, net in (("random encoder", build(recipe, args.seed)), ("trained", method)):
        measured = experiments.measures(net.to(device), recipe.data)
        print(f"{title:16}" + "  ".join(f"{key} {value:.3f}" for key, value in measured.items()))
    print(f"held-out {recipe.data}, seed {args.seed}, {experiments.device_name(device)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("list", help="recipes, trained weights, data sets")
    command.set_defaults(run=show_list)

    command = commands.add_parser("train", help="train a recipe")
    command.add_argument("name", help=f"one of {', '.join(RECIPES)}")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, help="updates; by default the recipe's for this device")
    command.add_argument("--batch-size", type=int)
    command.add_argument("--device", help="cpu, cuda, cuda:1; by default a GPU where there is one")
    command.add_argument("--checkpoint", type=Path, help="file to write as it goes and to resume from")
    command.add_argument("--weights", type=Path, help="start from these weights")
    command.add_argument("--out", type=Path, help="where the trained weights go")
    command.add_argument("--every", type=int, default=50, help="steps between lines of progress")
    command.set_defaults(run=run_training)

    command = commands.add_parser("evaluate", help="print measured results, or measure weights now")
    command.add_argument("name", nargs="?", help="a recipe; by default everything in results/")
    command.add_argument("--zoo", action="store_true", help="measure the weights that ship with the course")
    command.add_argument("--weights", type=Path, help="measure these weights, from train --out")
    command.add_argument("--seed", type=int, default=0, help="of the random encoder to compare with")
    command.set_defaults(run=run_evaluation)

    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
