"""The command line of the library. `torchrun -m course_lib train ...` trains on several
GPUs."""

import argparse
import os
import sys
from pathlib import Path

from course_lib import distributed, experiments, zoo
from course_lib.checkpoint import load_weights, save_weights
from course_lib.checks import count, positive
from course_lib.data import load, names
from course_lib.experiments import jobs, results
from course_lib.files import SHIPPED, file_to_write
from course_lib.recipe import Size, build, lookup, recipes, train
from course_lib.run import training_device
from course_lib.stamp import stamp


def show_list(_):
    """Prints a row for each recipe. The column `code` names the class of the method, as
    in docs/concepts.md."""

    def size(row: Size | None) -> str:
        return f"{row.steps:>6} x {row.batch_size}" if row else "-"

    cells = "{:26}{:15}{:>17}{:>18}  {:4}{:9}{}"
    sizes = ("cpu: steps, batch", "gpu: steps, batch")
    print(cells.format("recipe", "data", *sizes, "zoo", "measured", "code"))
    for name, recipe in recipes().items():
        kind = recipe.build.__annotations__["return"]
        code = f"{kind.__module__.removeprefix('course_lib.')}.{kind.__name__}"
        shipped = "yes" if name in zoo.manifest() else "-"
        measured = "yes" if (results.RESULTS / f"{name}.json").exists() else "-"
        sizes = (size(recipe.cpu), size(recipe.gpu))
        print(cells.format(name, recipe.data, *sizes, shipped, measured, code))
        if recipe.published:
            print(f"{'':26}published: {recipe.published}")
    print(f"data sets: {', '.join(names())}")


def run_training(args):
    device = distributed.start()  # joins the process group, if there is one
    device = training_device(args.device) if args.device else device
    every = count("every", args.every)
    out = args.out and file_to_write("out", args.out)
    checkpoint = args.checkpoint and file_to_write("checkpoint", args.checkpoint)
    if out and checkpoint and out.resolve() == checkpoint.resolve():
        raise ValueError(
            "arguments `out` and `checkpoint`: expected two files, got "
            f"{str(out)!r} twice"
        )
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
    )
    for step in steps:
        report = step.k % every == 0 or step.k == step.steps
        if report and distributed.rank() == 0:
            print(
                f"step {step.k} of {step.steps}  loss {step.loss:.4f}  "
                f"{step.images / step.seconds:.0f} images/s  "
                f"{step.seconds / step.k * (step.steps - step.k):.0f} s left",
                flush=True,
            )
    if out and distributed.rank() == 0:
        out = save_weights(method, out)
        print(
            f"weights in {out}: python -m course_lib evaluate {args.name} --weights "
            f"{out}"
        )


def run_evaluation(args):
    if args.zoo and args.weights:
        raise ValueError("give --zoo or --weights, not both")
    if not (args.zoo or args.weights):
        measured = sorted(path.stem for path in results.RESULTS.glob("*.json"))
        # if nothing is measured, the table of any recipe raises an error with a hint
        measured = measured or list(recipes())[:1]
        for name in [args.name] if args.name else measured:
            print(f"{name}\n{experiments.table(name)}\n")
        return
    if args.name is None:
        raise ValueError("--zoo and --weights need the recipe's name")
    recipe = lookup(args.name)
    method = zoo.load(args.name) if args.zoo else build(recipe, args.seed)
    if args.weights:
        load_weights(method, args.weights)
    device = distributed.start()
    methods = {"random encoder": build(recipe, args.seed), "trained": method}
    for title, net in methods.items():
        measured = jobs.all_measures(net.to(device), recipe)
        values = "  ".join(f"{key} {value:.3f}" for key, value in measured.items())
        print(f"{title:16}{values}")
    print(f"held-out {recipe.data}, seed {args.seed}, {jobs.device_name(device)}")


def run_checks(args):
    from course_lib.notebook import checks

    if not args.notebook.is_file():
        fault = "is a folder" if args.notebook.is_dir() else "does not exist"
        raise ValueError(
            "argument `notebook`: expected the file of an exercise notebook, got "
            f"{args.notebook}, which {fault}"
        )
    name = args.notebook.name  # perhaps "Copy of 03_contrastive.ipynb"
    folder = SHIPPED / "exercises" / "checks"
    known = [path.stem for path in folder.glob("*.json") if path.stem in name]
    known += [name[:2]] if name[:2].isdecimal() else []
    if not args.exercise and not known:
        raise ValueError(
            "the file's name does not contain the name of its exercise sheet, nor "
            "begin with its number: give the number, for example --exercise 03"
        )
    panels = checks(args.exercise or known[0]).file(args.notebook)
    print(
        *panels,
        f"{sum(panel.solved for panel in panels)} of {len(panels)} solved",
        sep="\n\n",
    )


def run_grading(args):
    if sys.platform != "linux":
        raise ValueError(
            "grade needs Linux, for example in a virtual machine: its sandbox uses "
            "Linux namespaces"
        )
    from course_lib.grading import batch, doctor, sandbox, sheet

    if args.doctor:
        text, holds = doctor.table()
        print(text)
        return 0 if holds else 1
    if None in (args.submissions, args.exercise, args.seed, args.out):
        raise ValueError(
            "grade needs SUBMISSIONS/, --exercise, --seed and --out (or only --doctor)"
        )
    if args.no_sandbox:
        print(NO_SANDBOX, file=sys.stderr)
    memory = int(positive("gigabytes", args.gigabytes) * 2**30)
    limits = sandbox.Limits(seconds=positive("seconds", args.seconds), memory=memory)
    solutions = args.solutions or sheet.ROOT / "solutions"
    if not solutions.is_dir():
        raise ValueError(
            "grade needs the instructor's clone, or --solutions FOLDER: the folder "
            f"{solutions} does not exist"
        )
    found = sheet.read(args.exercise, solutions)
    workers = count("workers", args.workers, 64)
    inputs = (args.submissions, found, args.seed, args.out)
    marks = batch.grade(*inputs, workers, limits, not args.no_sandbox)
    print(
        f"{len(marks['students'])} submissions: {args.out}/marks.csv, marks.json, "
        "class.html, students/"
    )


def run_stamp(args):
    changed = stamp(args.repo)
    print(
        f"all badges, links and set-up cells have the address {args.repo}; "
        f"{len(changed)} files changed"
    )


NO_SANDBOX = """\
################################################################################
#  NO SANDBOX: submitted code runs as you, with your files and your network.   #
#  It can read the solutions, change marks and delete files. The reports say   #
#  that the sandbox was off.                                                   #
################################################################################"""


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        # a pipe or file of Windows may have no ✓: print ? instead
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("list", help="recipes, trained weights, data sets")
    command.set_defaults(run=show_list)

    command = commands.add_parser("train", help="train a recipe")
    command.add_argument("name", help=f"one of {', '.join(recipes())}")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--steps", type=int, help="number of updates; by default the recipe's number"
    )
    command.add_argument("--batch-size", type=int)
    command.add_argument(
        "--device", help="cpu, cuda, cuda:1; by default a GPU if there is one"
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        help="file to write during the run and to resume from",
    )
    command.add_argument("--weights", type=Path, help="start from these weights")
    command.add_argument("--out", type=Path, help="file for the trained weights")
    command.add_argument(
        "--every", type=int, default=50, help="updates between two lines of output"
    )
    command.set_defaults(run=run_training)

    command = commands.add_parser(
        "evaluate", help="print measured results, or measure weights now"
    )
    command.add_argument(
        "name", nargs="?", help="a recipe; by default everything in results/"
    )
    command.add_argument(
        "--zoo",
        action="store_true",
        help="measure the weights that are part of the course",
    )
    command.add_argument(
        "--weights", type=Path, help="measure these weights, written by train --out"
    )
    command.add_argument(
        "--seed", type=int, default=0, help="seed of the random encoder to compare with"
    )
    command.set_defaults(run=run_evaluation)

    command = commands.add_parser(
        "check", help="check the answers of an exercise notebook on the public cases"
    )
    command.add_argument("notebook", type=Path)
    command.add_argument(
        "--exercise",
        help="number of the sheet, for example 03; by default that in the file's name",
    )
    command.set_defaults(run=run_checks)

    command = commands.add_parser(
        "grade", help="grade the submissions of a class (docs/instructors.md)"
    )
    command.add_argument(
        "submissions",
        nargs="?",
        type=Path,
        help="folder with a folder or zip for each student",
    )
    command.add_argument("--exercise", help="the sheet, for example 03")
    command.add_argument(
        "--seed", type=int, help="seed of the hidden cases; keep it secret"
    )
    command.add_argument(
        "--out",
        type=Path,
        help="folder for marks and reports; an interrupted run continues",
    )
    command.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="submissions in parallel",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=20,
        help="computing time for each exercise of a student, in seconds",
    )
    command.add_argument(
        "--gigabytes",
        type=float,
        default=2,
        help="memory for each exercise in gigabytes, besides that of torch itself",
    )
    command.add_argument(
        "--solutions",
        type=Path,
        help="folder of the solutions; by default the course's",
    )
    command.add_argument(
        "--doctor",
        action="store_true",
        help="only test the sandbox on this machine",
    )
    command.add_argument(
        "--no-sandbox",
        action="store_true",
        help="run submitted code with your own rights: read the docs first",
    )
    command.set_defaults(run=run_grading)

    command = commands.add_parser(
        "stamp",
        help="write the repository's address into badges, links and set-up cells",
    )
    command.add_argument(
        "--repo", metavar="OWNER/NAME", required=True, help="its name on GitHub"
    )
    command.set_defaults(run=run_stamp)

    args = parser.parse_args(arguments)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
