"""`grade`: grades the submissions of a class."""

import sys

from course_lib.checks import count, positive

NO_SANDBOX = """\
################################################################################
#  NO SANDBOX: submitted code runs as you, with your files and your network.   #
#  It can read the solutions, change marks and delete files. The reports say   #
#  that the sandbox was off.                                                   #
################################################################################"""


def run(args) -> int | None:
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
