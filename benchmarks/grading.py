"""Measures the cost of grading, in seconds per submission: `python -m course_lib grade`
and `nbgrader autograde`.

    python benchmarks/grading.py [--submissions 100] [--blocks 4]

Makes a class of ordinary submissions to sheet 03: solved, solved in another way, with
mistakes, half done, not begun. The class is divided into blocks. Both graders grade
each block from the same folder, by the command that an instructor would type. nbgrader
grades one submission at a time, so compare it with our grader with one worker. Our
grader with one worker per core is measured, too. The time covers the whole command:
imports, our canary, nbgrader's database. A machine's speed drifts. Therefore the
graders take turns, in alternating order, and the ratios say more than the seconds.
nbgrader executes whole notebooks. To be fair to it, the submissions do not contain the
unmarked training run at the end of the sheet.

Then the marks are compared. nbgrader gives all points of an exercise if the check
passes on the public cases. Our grader gives points for single properties, on hidden
cases, too. Therefore the comparison counts only exercises with full points in our
grader. Writes benchmarks/grading.json.
"""

import argparse
import csv
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import torch

from course_lib.experiments.jobs import device_name
from course_lib.grading import sheet

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from build_exercises import answer, solved, unsolved, with_answers  # noqa: E402

NAME = "03_contrastive"
MIX = 3 * ["solved"] + 2 * ["another way"] + 3 * ["mistakes"] + ["half", "unsolved"]
CONFIG = """\
c = get_config()
c.CourseDirectory.root = {root!r}
c.CourseDirectory.course_id = 'course'
"""


def submission(
    found: sheet.Sheet, kind: str, rng: random.Random
) -> nbformat.NotebookNode:
    """Returns a submission of that kind, without the training run."""
    masters, sources = found.masters, {}
    if kind == "another way":
        for m in masters:
            sources[m.name] = answer(found, rng.choice(m.alternatives), m.name)
    if kind == "mistakes":
        for m in rng.sample(masters, 3):
            sources[m.name] = rng.choice(found.wrong[m.name]).source
    if kind in ("half", "unsolved"):
        stubs = {
            cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source
            for cell in unsolved(found).cells
        }
        share = 0.5 if kind == "half" else 1.0
        for m in rng.sample(masters, int(share * len(masters))):
            sources[m.name] = stubs[m.name]
    made = with_answers(found, sources)
    made.cells = [cell for cell in made.cells if "all_together(" not in cell.source]
    return made


def seconds_of(place: Path, *command) -> float:
    """Runs a command in the folder `place` and returns its seconds.

    Raises RuntimeError if the command fails.
    """
    words = list(map(str, command))
    run = [sys.executable, "-m", *words]
    began = time.perf_counter()
    done = subprocess.run(run, capture_output=True, text=True, cwd=place)
    seconds = time.perf_counter() - began
    if done.returncode:
        ends = done.stdout[-2000:], done.stderr[-2000:]
        raise RuntimeError("\n".join([" ".join(words), *ends]))
    return seconds


def graded(
    place: Path, blocks: list[list[str]], ours: dict[str, int]
) -> tuple[dict, dict, dict]:
    """Grades block B in place/submittedB, for each B, with each grader.

    Returns the seconds per submission by grader, nbgrader's totals and our records.
    """
    (place / "nbgrader_config.py").write_text(CONFIG.format(root=str(place)))
    source = place / "source" / NAME / f"{NAME}.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(solved(sheet.read(NAME)), source)
    seconds_of(place, "nbgrader", "generate_assignment", NAME)
    spent, records = {name: [] for name in ("nbgrader", *ours)}, {}
    for b, block in enumerate(blocks):
        for name in list(spent)[:: 1 if b % 2 == 0 else -1]:
            if name == "nbgrader":
                where = f"--CourseDirectory.submitted_directory=submitted{b}"
                seconds = seconds_of(place, "nbgrader", "autograde", NAME, where)
            else:
                out = place / f"marks{b}-{ours[name]}"
                command = ["course_lib", "grade", f"submitted{b}", "--exercise", NAME]
                command += ["--seed", 1, "--out", out, "--workers", ours[name]]
                seconds = seconds_of(place, *command)
                marks = json.loads((out / "marks.json").read_text())
                records |= {record["student"]: record for record in marks["students"]}
            spent[name].append(seconds / len(block))
            each = f"{name:24}{spent[name][-1]:6.2f} s per submission"
            print(f"block {b + 1} of {len(blocks)}  {each}", flush=True)
    seconds_of(place, "nbgrader", "export", "--to", "grades.csv")
    with open(place / "grades.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    totals = {row["student_id"]: float(row["raw_score"]) for row in rows}
    return spent, totals, records


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the class")
    args = parser.parse_args()
    # nbgrader runs alembic and finds it on PATH.
    bin_folder = Path(sys.executable).parent
    os.environ["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    # the same settings as in our sandbox
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    os.environ["COURSE_BUDGET"] = "smoke"
    torch.set_num_threads(1)
    found, rng, cores = sheet.read(NAME), random.Random(args.seed), os.cpu_count() or 1
    # the kinds in random order
    numbers = rng.sample(range(args.submissions), args.submissions)
    kinds = {f"student{n:03}": MIX[n % len(MIX)] for n in numbers}
    blocks = [list(kinds)[b :: args.blocks] for b in range(args.blocks)]
    with tempfile.TemporaryDirectory() as folder:
        for b, block in enumerate(blocks):
            for student in block:
                path = Path(folder) / f"submitted{b}" / student / NAME / f"{NAME}.ipynb"
                path.parent.mkdir(parents=True)
                nbformat.write(submission(found, kinds[student], rng), path)
        ours = {f"course_lib, workers: {n}": n for n in sorted({1, cores})}
        spent, theirs, records = graded(Path(folder), blocks, ours)
    print(
        f"\n{args.submissions} submissions, {cores} cores: medians over {args.blocks} "
        "blocks, in seconds per submission"
    )
    rows, marks = {}, {}
    for name, values in spent.items():
        ratio = statistics.median(a / b for a, b in zip(spent["nbgrader"], values))
        rows[name] = {
            "seconds": statistics.median(values),
            "blocks": values,
            "nbgrader / this": ratio,
        }
        spread = f"({min(values):.2f} to {max(values):.2f})"
        line = f"{name:24}{rows[name]['seconds']:6.2f}  {spread:18}"
        print(f"{line}nbgrader / this {ratio:.2f}")
    points = {student: record["points"] for student, record in records.items()}
    # our points for the exercises that have full points
    whole = {
        student: sum(e["of"] for e in record["exercises"] if e["points"] == e["of"])
        for student, record in records.items()
    }
    print("\nmean marks by kind of submission")
    for kind in dict.fromkeys(MIX):
        if group := [student for student in kinds if kinds[student] == kind]:
            marks[kind] = {
                "submissions": len(group),
                "nbgrader": statistics.mean(theirs[s] for s in group),
                "course_lib": statistics.mean(points[s] for s in group),
            }
            cells = [f"{name} {value:<8.4g}" for name, value in marks[kind].items()]
            print(f"{kind:14}{''.join(cells)}")
    agree = sum(whole[s] == theirs[s] for s in kinds)
    print(
        f"the same points for exercises without fault: {agree} of {len(kinds)} "
        "submissions"
    )
    result = {
        "device": device_name(torch.device("cpu")),
        "cores": cores,
        "python": sys.version.split()[0],
        "nbgrader": importlib.metadata.version("nbgrader"),
        "sheet": NAME,
        "submissions": len(kinds),
        "graders": rows,
        "marks": marks,
        "same points for exercises without fault": agree,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
