"""What grading costs: seconds per submission of `python -m course_lib grade` and of
`nbgrader autograde`, in one run.

    python benchmarks/grading.py [--submissions 100] [--blocks 4]

Makes a class of ordinary submissions to sheet 03 (solved, solved in another way, with
mistakes, half done, not begun) and has both grade each block of it, from the same
folder, by the command that an instructor would type. nbgrader grades one submission at
a time: the paired figure is ours with one worker; ours with a worker for each core
stands beside it. All that a command does counts: imports, our canary, nbgrader's
database. Blocks alternate, and so does the order within one, because a machine's speed
drifts: read the ratios, not the seconds. To be fair to nbgrader, which executes whole
notebooks, the unmarked training run at the sheet's end is left out of the submissions.

Then the marks: nbgrader asks whether an exercise passes its check, on public cases;
ours count single properties, on hidden cases too. So what is compared is the points of
the exercises without any fault. Writes benchmarks/grading.json.
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
CONFIG = "c = get_config()\nc.CourseDirectory.root = {root!r}\nc.CourseDirectory.course_id = 'course'\n"


def submission(
    found: sheet.Sheet, kind: str, rng: random.Random
) -> nbformat.NotebookNode:
    """A submission of that kind, the training run left out."""
    sources = {}
    if kind == "another way":
        sources = {
            m.name: answer(found, rng.choice(m.alternatives), m.name)
            for m in found.masters
        }
    if kind == "mistakes":
        sources = {
            m.name: rng.choice(found.wrong[m.name]).source
            for m in rng.sample(found.masters, 3)
        }
    if kind in ("half", "unsolved"):
        stubs = {
            cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source
            for cell in unsolved(found).cells
        }
        share = 0.5 if kind == "half" else 1.0
        sources = {
            m.name: stubs[m.name]
            for m in rng.sample(found.masters, int(share * len(found.masters)))
        }
    made = with_answers(found, sources)
    made.cells = [cell for cell in made.cells if "all_together(" not in cell.source]
    return made


def seconds_of(place: Path, *command) -> float:
    """Runs a command in the folder to its end. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=place,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
    return seconds


def graded(
    place: Path, blocks: list[list[str]], ours: dict[str, int]
) -> tuple[dict, dict, dict]:
    """Has the blocks in PLACE/submittedB graded: seconds a submission by grader,
    nbgrader's totals, our records."""
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
                about = (
                    "--exercise",
                    NAME,
                    "--seed",
                    1,
                    "--out",
                    out,
                    "--workers",
                    ours[name],
                )
                seconds = seconds_of(
                    place, "course_lib", "grade", f"submitted{b}", *about
                )
                records |= {
                    s["student"]: s
                    for s in json.loads((out / "marks.json").read_text())["students"]
                }
            spent[name].append(seconds / len(block))
            print(
                f"block {b + 1} of {len(blocks)}  {name:24}{spent[name][-1]:6.2f} s a "
                "submission",
                flush=True,
            )
    seconds_of(place, "nbgrader", "export", "--to", "grades.csv")
    with open(place / "grades.csv", newline="", encoding="utf-8") as file:
        return (
            spent,
            {
                row["student_id"]: float(row["raw_score"])
                for row in csv.DictReader(file)
            },
            records,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the class")
    args = parser.parse_args()
    bin_folder = Path(sys.executable).parent  # nbgrader calls alembic by its name
    os.environ["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    # as in our sandbox
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "COURSE_BUDGET": "smoke",
    }
    torch.set_num_threads(1)
    found, rng, cores = sheet.read(NAME), random.Random(args.seed), os.cpu_count() or 1
    # the kinds in no order
    numbers = rng.sample(range(args.submissions), args.submissions)
    kinds = {f"student{n:03}": MIX[n % len(MIX)] for n in numbers}
    blocks = [list(kinds)[b :: args.blocks] for b in range(args.blocks)]
    with tempfile.TemporaryDirectory() as folder:
        for b, block in enumerate(blocks):
            for student in block:
                path = Path(folder) / f"submitted{b}" / student / NAME / f"{NAME}.ipynb"
                path.parent.mkdir(parents=True)
                nbformat.write(submission(found, kinds[student], rng), path)
        ours = {
            f"course_lib, workers: {workers}": workers for workers in sorted({1, cores})
        }
        spent, theirs, records = graded(Path(folder), blocks, ours)
    print(
        f"\n{args.submissions} submissions, {cores} cores: medians over {args.blocks} "
        "blocks, s a submission"
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
        print(
            f"{name:24}{rows[name]['seconds']:6.2f}  {spread:18}nbgrader / this "
            f"{ratio:.2f}"
        )
    whole = {
        s: sum(e["of"] for e in r["exercises"] if e["points"] == e["of"])
        for s, r in records.items()
    }
    print("\nmean marks by kind of submission")
    for kind in dict.fromkeys(MIX):
        if group := [student for student in kinds if kinds[student] == kind]:
            mean = {
                "nbgrader": theirs,
                "course_lib": {s: r["points"] for s, r in records.items()},
            }
            mean = {
                name: statistics.mean(points[s] for s in group)
                for name, points in mean.items()
            }
            marks[kind] = {"submissions": len(group)} | mean
            print(
                f"{kind:14}"
                + "".join(
                    f"{name} {value:<8.4g}" for name, value in marks[kind].items()
                )
            )
    agree = sum(whole[s] == theirs[s] for s in kinds)
    print(
        f"the same points for exercises without fault: {agree} of {len(kinds)} "
        "submissions"
    )
    result = {
        "device": device_name(torch.device("cpu")), "cores": cores, "python": sys.version.split()[0],
        "nbgrader": importlib.metadata.version("nbgrader"), "sheet": NAME, "submissions": len(kinds),
        "graders": rows, "marks": marks, "same points for exercises without fault": agree,
    }  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
