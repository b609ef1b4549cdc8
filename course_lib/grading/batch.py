"""Grades a class: every submission in its sandbox, every verdict made out here, every
mark on disk before the next.

Interrupted and started again it goes on where it was: a student's record is kept with a
hash of what was handed in, of the sheet and of the seed, and is used as long as none of
them changes.
"""

import hashlib
import json
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from course_lib.files import write_json
from course_lib.grading import library, report
from course_lib.grading.doctor import require
from course_lib.grading.drive import Failure
from course_lib.grading.exercise import Exercise, Result, Verdict, judge
from course_lib.grading.inside import WAIT
from course_lib.grading.replies import parse
from course_lib.grading.sandbox import Limits, Sandbox, SandboxDied
from course_lib.grading.sheet import Sheet
from course_lib.grading.submissions import Refused, Submission, collect

ENDS = {
    "time": "did not finish in {seconds:g} seconds of computing, or {clock:g} on the clock: an endless loop, or the "
    "machine was busy",
    "memory": "took more memory than the {gigabytes:g} GB allowed",
    "processes": "started more than {processes} processes",
    "too much output": "put out too much",
    "died": "ended its process instead of returning",
    "killed": "ended the grader's helper",
    "garbled": "put out something that is no array",
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
    """Grades every submission in the folder; writes marks.csv, marks.json, class.html,
    a page per student to `out`.

    seed: of the hidden cases; keep it to yourself until the marks are out. Returns what
    is in marks.json. Raises ValueError for a folder without submissions, SandboxDied
    where no sandbox can be had that keeps submissions in.
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
        numbers: queue.Queue[int] = queue.Queue()
        for number in range(workers):
            numbers.put(number)

        def work(submission: Submission) -> dict:
            number = numbers.get()
            try:
                return _record(
                    submission,
                    sheet,
                    seed,
                    out,
                    exercises,
                    place,
                    limits,
                    number,
                    isolated,
                )
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
    report.write(marks, {m.name: m.hint for e in exercises for m in e.mistakes}, out)
    return marks


def _record(
    submission: Submission,
    sheet: Sheet,
    seed,
    out,
    exercises,
    place,
    limits,
    number,
    isolated,
) -> dict:
    """The student's record: from the last run where nothing has changed, or graded now
    and written down."""
    try:
        (file, notebook), problem = submission.read(sheet.name), ""
    except Refused as error:
        file, notebook, problem = "", b"", str(error)
    about = f"{sheet.name} {sheet.hash} {seed} {isolated} {limits} {file!r} {problem} ".encode()
    key, path = (
        hashlib.sha256(about + notebook).hexdigest(),
        out / "state" / f"{submission.slug}.json",
    )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["key"] == key:
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    start = time.monotonic()
    if problem:
        verdicts = [_refused(exercise, problem) for exercise in exercises]
    else:
        with Sandbox(
            place / "library", place / "drivers.py", notebook, limits, number, isolated
        ) as sandbox:
            verdicts = [verdict(sandbox, exercise, limits) for exercise in exercises]
    record = {
        "student": submission.student, "slug": submission.slug, "file": file, "key": key, "problem": problem,
        "seconds": round(time.monotonic() - start, 2),
        "points": sum(v.points for v in verdicts),
        "exercises": [
            {
                "name": e.name, "points": v.points, "of": e.points, "todo": v.todo,
                "mistake": v.mistake.name if v.mistake else "", "hint": v.mistake.hint if v.mistake else "",
                "properties": [
                    {"name": r.property.name, "points": r.property.points, "passed": r.passed, "why": why(r)}
                    for r in v.results
                ],
            }
            for e, v in zip(exercises, verdicts)
        ],
    }  # fmt: skip
    write_json(path, record)
    return record


def verdict(sandbox: Sandbox, exercise: Exercise, limits: Limits) -> Verdict:
    """Has the answer run in the sandbox, judges what comes out. Raises SandboxDied only
    where none can be started."""
    arrays = {
        f"{i}/{name}": array
        for i, case in enumerate(exercise.cases)
        for name, array in case.arrays.items()
    }
    # a helper may have been killed by a short memory of the machine: not the student's
    # fault
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
        said = ENDS.get(end, ENDS["garbled"])
        numbers = dict(
            seconds=limits.seconds,
            clock=WAIT * limits.seconds,
            gigabytes=limits.memory / 2**30,
        )
        return _refused(exercise, said.format(**numbers, processes=limits.processes))
    return judge(exercise, outcomes)


def why(result: Result) -> str:
    """What a report says of a property: what is wrong, and the shapes of a case that
    shows it; no value."""
    return (
        f"{result.why} (first for {result.where})"
        if result.where and ": " in result.why
        else result.why
    )


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
