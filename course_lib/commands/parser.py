"""The arguments of all commands. This module imports neither torch nor a recipe."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib import __version__
from course_lib.spelling import did_you_mean


class UsageError(Exception):
    """The command line cannot be read."""


class Help(argparse.HelpFormatter):
    """Adds the default to the help of an option, except None and False."""

    def _get_help_string(self, action):
        hidden = (None, False, argparse.SUPPRESS)
        if not action.option_strings or any(action.default is each for each in hidden):
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, with one sentence."""

    def __init__(self, **options):
        super().__init__(formatter_class=Help, **options)

    def error(self, message: str):
        raise UsageError(f"{message}: see `{self.prog} --help`")

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(
                action,
                f"expected one of {', '.join(action.choices)}, got {value!r}"
                f"{did_you_mean(value, action.choices)}",
            )


def is_script() -> bool:
    """Returns whether the console script `course_lib` started this program."""
    return Path(sys.argv[0]).stem == "course_lib"


def invocation() -> str:
    """Returns the words that start this program in a shell in the working folder, such
    as `course_lib` or `.venv/bin/python -m course_lib`."""
    script = is_script()
    path = os.path.abspath(sys.argv[0] if script else sys.executable)
    name = os.path.basename(path)
    if (found := shutil.which(name)) and os.path.abspath(found) == path:
        path = name
    elif path.startswith(os.getcwd() + os.sep):
        path = os.path.relpath(path)
    return quoted(path) if script else f"{quoted(path)} -m course_lib"


def quoted(*words) -> str:
    """Returns words for the shell, those with spaces or special signs in quotes."""
    words = [str(word) for word in words]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the arguments of a command, its name as `command`, and the words as
    `arguments`.

    Raises UsageError, and SystemExit after --help and --version.
    """
    parser = Parser(
        prog="course_lib" if is_script() else "python -m course_lib",
        description="The command line of the course's library. `torchrun -m "
        "course_lib train ...` trains on several GPUs.",
        epilog="Exit codes: 0 done, 1 it failed, 2 the command line cannot be read, "
        "130 interrupted.",
    )
    parser.add_argument(
        "--version", action="version", version=f"course_lib {__version__}"
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, (text, add_arguments) in COMMANDS.items():
        # the full help begins with a capital letter
        command = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        add_arguments(command)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands.choices[args.command]
        known = [word for action in command._actions for word in action.option_strings]
        word = unknown[0].partition("=")[0]
        command.error(f"unexpected argument {word}{did_you_mean(word, known)}")
    args.arguments = arguments
    return args


def of_list(command: Parser):
    json_output(command, "one document")


def of_train(command: Parser):
    name(command)
    seed(command, "weights, data order and training")
    command.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="number of updates; by default the recipe's number",
    )
    command.add_argument(
        "--batch-size", type=int, metavar="N", help="by default the recipe's number"
    )
    device(command)
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="file to write during the run and to resume from; by default "
        "runs/NAME/checkpoint.pt in a new folder; it is deleted when the run has ended",
    )
    command.add_argument(
        "--save-every",
        type=int,
        default=200,
        metavar="N",
        help="updates between two writes of the checkpoint",
    )
    weights(command, "start from these weights")
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file for the trained weights; by default runs/NAME/weights.pt in a new "
        "folder",
    )
    command.add_argument(
        "--every",
        type=int,
        default=50,
        metavar="N",
        help="updates between two lines of output, if it is not a terminal",
    )
    json_output(
        command, "a document on each line of the output, the last one the result"
    )


def of_sample(command: Parser):
    name(command)
    command.add_argument(
        "--n", type=int, default=64, metavar="N", help="number of pictures"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the picture to write, a PNG file; by default NAME.png",
    )
    command.add_argument(
        "--class",
        dest="classes",
        nargs="+",
        metavar="CLASS",
        help="classes, by number or name (3, food), in turn; by default random ones",
    )
    command.add_argument(
        "--caption",
        dest="captions",
        nargs="+",
        metavar="CAPTION",
        help='captions, in turn, for example "red apple" or "openmoji, red apple"; by '
        "default random ones of the training data",
    )
    command.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="steps of a diffusion model's sampler; by default 50",
    )
    command.add_argument(
        "--w",
        type=float,
        metavar="W",
        help="guidance weight of a conditional diffusion model; by default 0",
    )
    seed(command, "the noise and of random labels")
    weights(command, "weights written by train; by default those of the course")
    device(command)


def of_evaluate(command: Parser):
    command.add_argument(
        "name", nargs="?", help="a recipe; by default everything in results/"
    )
    command.add_argument(
        "--zoo",
        action="store_true",
        help="measure the weights that are part of the course",
    )
    weights(command, "measure these weights, written by train")
    seed(command, "the random encoder to compare with")
    json_output(command, "one document")


def of_check(command: Parser):
    command.add_argument("notebook", type=Path, help="the file of the notebook")
    command.add_argument(
        "--exercise",
        help="number of the sheet, for example 03; by default that in the file's name",
    )
    json_output(command, "one document")


def of_grade(command: Parser):
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


def of_stamp(command: Parser):
    command.add_argument(
        "--repo", metavar="OWNER/NAME", required=True, help="its name on GitHub"
    )


# Arguments that several commands have.


def name(command: Parser):
    command.add_argument("name", help="a recipe; the command `list` shows all")


def seed(command: Parser, what: str):
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help=f"seed of {what}"
    )


def weights(command: Parser, what: str):
    command.add_argument("--weights", type=Path, metavar="FILE", help=what)


def device(command: Parser):
    command.add_argument(
        "--device", help="cpu, cuda, cuda:1; by default a GPU if there is one"
    )


def json_output(command: Parser, what: str):
    command.add_argument("--json", action="store_true", help=f"print JSON: {what}")


COMMANDS = {
    "list": ("show recipes, trained weights and data sets", of_list),
    "train": ("train a recipe", of_train),
    "sample": ("draw pictures with a trained generator", of_sample),
    "evaluate": ("print measured results, or measure weights now", of_evaluate),
    "check": (
        "check the answers of an exercise notebook on the public cases",
        of_check,
    ),
    "grade": ("grade the submissions of a class (docs/instructors.md)", of_grade),
    "stamp": (
        "write the repository's address into badges, links and set-up cells",
        of_stamp,
    ),
}
