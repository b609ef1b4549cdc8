"""Grades a class.

Every submission runs in a sandbox of its own. The verdicts are made outside the
sandbox. Each student's record is written to disk before the same worker takes the next
one. A record contains a hash of everything that the mark depends on (the submission,
the sheet, the seed, the limits, the sandbox). If grading is interrupted and started
again, every record whose hash is unchanged is used again.
"""

import hashlib
import json
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from course_lib.files import write_json
from course_lib.grading import library, report
from course_lib.grading.cells import REASONS
from course_lib.grading.doctor import require
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Exercise
from course_lib.grading.inside import WAIT
from course_lib.grading.replies import parse
from course_lib.grading.sandbox import Limits, Sandbox, SandboxDied
from course_lib.grading.sheet import Sheet
from course_lib.grading.submissions import Handed, Refused, Submission, collect
from course_lib.grading.verdict import FAULTS, Result, Verdict, judge

ENDS = {
    "time": "did not finish in {seconds:g} seconds of computing time, or {clock:g} "
    "seconds on the clock: it has an endless loop, or the machine was busy",
    "memory": "used more memory than the {gigabytes:g} GB allowed",
    "processes": "started more than {processes} processes",
    "too much output": "returned too much output",
    "died": "ended its process instead of returning",
    "killed": "ended the grader's helper process",
    "garbled": "returned something that is not an array",
}


def grade(
    submissions: Path,
    sheet: Sheet,
    seed: int,
    out: Path,
    workers: int = 2,
    limits: Limits = Limits(),
    isolated=True,
) -> dict:
    """Grades every submission in the folder, and writes marks.csv, marks.json,
    class.html and a page per student to `out`.

    seed: draws the hidden cases; keep it secret until the marks are published. Returns
    the content of marks.json. Raises ValueError for a folder without submissions,
    SandboxDied if this machine cannot make a sandbox that isolates submissions.
    """
    students = collect(submissions)
    if isolated:
        require()
    exercises = sheet.graded(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        library.copy(
            place / "library",
            [symbol for master in sheet.masters for symbol in master.hides],
        )
        (place / "drivers.py").write_text(sheet.public_drivers, encoding="utf-8")
        (place / "drivers.py").chmod(0o644)
        record = partial(_record, sheet, seed, out, exercises, place, limits, isolated)
        numbers: queue.Queue[int] = queue.Queue()
        for number in range(workers):
            numbers.put(number)

        def work(submission: Submission) -> dict:
            number = numbers.get()
            try:
                return record(submission, number)
            finally:
                numbers.put(number)

        records, start = {}, time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            futures = {
                pool.submit(work, submission): submission for submission in students
            }
            try:
                for future in as_completed(futures):
                    records[futures[future].student] = future.result()
                    _progress(len(records), len(students), time.monotonic() - start)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    marks = {
        "exercise": sheet.name, "sheet": sheet.hash, "seed": seed, "isolated": isolated,
        "exercises": {e.name: e.points for e in exercises},
        "students": [records[submission.student] for submission in students],
    }  # fmt: skip
    report.write(marks, out)
    return marks


def _record(
    sheet: Sheet,
    seed: int,
    out: Path,
    exercises: list[Exercise],
    place: Path,
    limits: Limits,
    isolated: bool,
    submission: Submission,
    number: int,
) -> dict:
    """Returns the student's record. If nothing has changed since the last run, it is
    read from there; else the submission is graded now and the record is written. place:
    the folder with the library and the drivers; number: that of the sandbox."""
    try:
        handed = submission.read(sheet.name, [e.name for e in exercises])
        problem = ""
    except Refused as error:
        handed, problem = Handed("", b""), str(error)
    about = (
        sheet.name, sheet.hash, seed, isolated, limits, repr(handed.name),
        repr(handed.note), problem, "",
    )  # fmt: skip
    head = " ".join(map(str, about)).encode("utf-8", "surrogateescape")
    key = hashlib.sha256(head + handed.content).hexdigest()
    path = out / "state" / f"{submission.slug}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["key"] == key:
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    start = time.monotonic()
    if not problem:
        with Sandbox(
            place / "library",
            place / "drivers.py",
            handed.content,
            limits,
            number,
            isolated,
        ) as sandbox:
            try:
                verdicts = [verdict(sandbox, e, limits) for e in exercises]
            except Refused as error:
                problem = str(error)
    if problem:
        verdicts = [(_refused(exercise, problem), "") for exercise in exercises]
    record = {
        "student": submission.student, "slug": submission.slug,
        "file": handed.name, "key": key, "problem": problem, "note": handed.note,
        "seconds": round(time.monotonic() - start, 2),
        "points": sum(v.points for v, _ in verdicts),
        "exercises": [_marks(e, *v) for e, v in zip(exercises, verdicts)],
    }  # fmt: skip
    write_json(path, record)
    return record


def _marks(exercise: Exercise, verdict: Verdict, note: str) -> dict:
    """Returns the part of a student's record that is about one exercise."""
    properties = [
        {
            "name": r.property.name, "points": r.property.points,
            "passed": r.passed, "why": why(r),
        }
        for r in verdict.results
    ]  # fmt: skip
    return {
        "name": exercise.name, "points": verdict.points, "of": exercise.points,
        "todo": verdict.todo, "mistake": " or ".join(m.name for m in verdict.mistakes),
        "lead": verdict.lead, "hint": verdict.hint, "note": note,
        "properties": properties,
    }  # fmt: skip


def verdict(
    sandbox: Sandbox, exercise: Exercise, limits: Limits
) -> tuple[Verdict, str]:
    """Runs the answer in the sandbox and returns the verdict on its outputs, and a note
    if a statement above it failed. Raises Refused if the file is no notebook,
    SandboxDied only if no sandbox can be started."""
    arrays = {
        f"{i}/{name}": array
        for i, case in enumerate(exercise.cases)
        for name, array in case.arrays.items()
    }
    # Twice: the machine may have run out of memory and killed the helper, which is not
    # the student's fault.
    for _ in range(2):
        sandbox.start()
        try:
            end, written = sandbox.ask(exercise.name, arrays)
            break
        except SandboxDied:
            end, written = "killed", b""
    outcomes = parse(written, len(exercise.cases))
    kinds = {o.type for o in outcomes or [] if isinstance(o, Failure)}
    if outcomes is None or "NotFound" in kinds and end != "done":
        if end == "done":
            end = "garbled" if written else "died"
        problem = ENDS.get(end, ENDS["garbled"]).format(
            seconds=limits.seconds,
            clock=WAIT * limits.seconds,
            gigabytes=limits.memory / 2**30,
            processes=limits.processes,
        )
        return _refused(exercise, problem), ""
    if kinds == {"Unreadable"}:
        # The words come from the sandbox: only the known ones are shown.
        said = {o.message for o in outcomes if isinstance(o, Failure)}
        raise Refused(next(iter(said & set(REASONS)), FAULTS["Unreadable"]))
    return judge(exercise, outcomes), outcomes.note


def why(result: Result) -> str:
    """Returns the explanation of a result for the reports: the fault, and the shapes of
    the smallest case with this fault, but no value."""
    if result.where and ": " in result.why:
        return f"{result.why} (for example for {result.where})"
    return result.why


def _refused(exercise: Exercise, why: str) -> Verdict:
    return Verdict(exercise.name, [Result(p, False, why) for p in exercise.properties])


def _progress(done: int, of: int, seconds: float):
    left = seconds / done * (of - done)
    bar = "#" * (30 * done // of)
    end = "\n" if done == of else ""
    print(
        f"\r[{bar:30}] {done} of {of} graded, {left / 60:.0f} min {left % 60:02.0f} s "
        "left ",
        end=end,
        file=sys.stderr,
        flush=True,
    )
