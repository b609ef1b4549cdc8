"""What a class hands in: which file is graded, and what is said about the others."""

import csv
import io
import json
import os
import random
import zipfile
from pathlib import Path

import pytest
from safetensors.numpy import save

from course_lib.__main__ import main
from course_lib.grading import batch, sheet, submissions
from course_lib.grading.cells import CONFLICT, EMPTY, WEB_PAGE
from course_lib.grading.inside import send
from course_lib.grading.sandbox import Limits
from course_lib.grading.submissions import (
    Refused,
    Submission,
    answered,
    collect,
    ordered,
)

SHEET, ANSWERS = "90_toy", ("double", "Triple")
SOLVED = {
    "double": "def double(x):\n    return 2 * x",
    "Triple": "class Triple:\n    def f(self, x):\n        return 3 * x",
}
STUBS = {
    "double": "def double(x):\n    raise NotImplementedError()",
    "Triple": "class Triple:\n    def f(self, x):\n        raise NotImplementedError()",
}
CHECKS = f'from course_lib.notebook import checks\ncheck = checks("{SHEET}")'


def notebook(*cells: str) -> bytes:
    made = [{"cell_type": "code", "source": cell.splitlines(True)} for cell in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4}, indent=1).encode()


BLANK = notebook(CHECKS, *STUBS.values())
HALF = notebook(CHECKS, SOLVED["double"], STUBS["Triple"])
FILLED = notebook(CHECKS, *SOLVED.values())
# A lecture has the name of its sheet, and shows functions of the same names.
LECTURE = notebook("import torch", *SOLVED.values())


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def in_folder(path: Path, files: dict[str, bytes]) -> Submission:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return Submission("a", path)


def in_zip(path: Path, files: dict[str, bytes]) -> Submission:
    path = path.with_suffix(".zip")
    path.write_bytes(zipped(**files))
    return Submission("a", path)


PLAIN, COPY = f"{SHEET}.ipynb", f"Copy of {SHEET}.ipynb"


# Which notebook


@pytest.mark.parametrize(
    "names, first",
    [
        (["b/90_toy.ipynb", "90_toy.ipynb", "x.ipynb"], "90_toy.ipynb"),
        (["a.txt", "mine.ipynb"], "mine.ipynb"),
        (["hw/90_toy (1).ipynb", "other.ipynb"], "hw/90_toy (1).ipynb"),
        (["._90_toy.ipynb", "90_toy_x.ipynb"], "90_toy_x.ipynb"),
        (["__MACOSX/._mine.ipynb", "mine.ipynb"], "mine.ipynb"),
        ([".ipynb_checkpoints/90_toy.ipynb", "x.IPYNB"], "x.IPYNB"),
        (["a/.ipynb_checkpoints/90_toy.ipynb", "a/x.ipynb"], "a/x.ipynb"),
        (["a/90_TOY.ipynb", "90_toy_old.ipynb"], "a/90_TOY.ipynb"),
        (["notes.txt", "90_toy.ipynb.txt"], "90_toy.ipynb.txt"),
        (["90_toy.ipynb.json", "90_toy.py"], "90_toy.ipynb.json"),
    ],
)
@pytest.mark.parametrize("make", [in_folder, in_zip])
def test_read_takes_the_notebook_with_the_best_name(tmp_path, make, names, first):
    """Of equal contents: here all are filled."""
    made = make(tmp_path / "a", dict.fromkeys(names, FILLED))
    handed = made.read(SHEET, ANSWERS)
    assert handed.name == first and handed.content == FILLED


@pytest.mark.parametrize(
    "files, first, others",
    [
        ({PLAIN: BLANK, COPY: FILLED}, COPY, [PLAIN]),
        ({PLAIN: FILLED, COPY: BLANK}, PLAIN, [COPY]),
        ({PLAIN: BLANK, "my solution.ipynb": FILLED}, "my solution.ipynb", [PLAIN]),
        ({PLAIN: HALF, "90_toy (1).ipynb": FILLED}, "90_toy (1).ipynb", [PLAIN]),
        ({PLAIN: HALF, "90_toy (1).ipynb": HALF}, PLAIN, ["90_toy (1).ipynb"]),
        ({PLAIN: BLANK, "old/90_toy.ipynb": HALF}, "old/90_toy.ipynb", [PLAIN]),
        ({f"notebooks/{PLAIN}": LECTURE, f"exercises/{PLAIN}": HALF}, f"exercises/{PLAIN}", [f"notebooks/{PLAIN}"]),
        ({PLAIN: LECTURE, f"exercises/{PLAIN}": BLANK}, f"exercises/{PLAIN}", [PLAIN]),
        ({"a.ipynb": notebook("x = 1"), "b.ipynb": FILLED}, "b.ipynb", []),
        ({"a.ipynb": notebook("x = 1"), PLAIN: b"broken"}, PLAIN, []),
        ({PLAIN: b"", COPY: FILLED.decode().encode("utf-16")}, COPY, [PLAIN]),
        ({f"homework.zip/{PLAIN}": FILLED, PLAIN: BLANK}, f"homework.zip/{PLAIN}", [PLAIN]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [in_folder, in_zip])
def test_read_takes_the_most_answered_sheet_and_names_the_others(
    tmp_path, make, files, first, others
):
    if "homework.zip" in first:
        files = {"homework.zip": zipped(**{PLAIN: FILLED}), PLAIN: BLANK}
    handed = make(tmp_path / "a", files).read(SHEET, ANSWERS)
    assert handed.name == first
    note = f"graded {first} of {len(others) + 1} candidates, not {', '.join(others)}"
    assert handed.note == (note if others else "")


@pytest.mark.parametrize(
    "content, expected",
    [
        (BLANK, (True, 0)),
        (HALF, (True, 1)),
        (FILLED, (True, 2)),
        (LECTURE, (False, 2)),
        (FILLED.decode().encode("utf-16"), (True, 2)),
        (notebook("check = checks('90')"), (True, 0)),
        (notebook('check = checks("03_contrastive")'), (False, 0)),
        (b"", (False, 0)),
    ],
)
def test_answered_counts_definitions_that_are_no_stubs(content, expected):
    assert answered(content, SHEET, ANSWERS) == expected


def test_answered_ranks_the_samples_of_a_real_sheet():
    """The handout, a solved notebook and the lecture of the same name."""
    found = sheet.ROOT
    handout = (found / "exercises" / "03_contrastive.ipynb").read_bytes()
    lecture = (found / "notebooks" / "03_contrastive.ipynb").read_bytes()
    samples = sorted((found / "solutions/samples/03_contrastive").rglob("*.ipynb"))
    names = [
        "cosine_similarity_matrix", "info_nce", "mi_bound", "nt_xent", "TwoViews", "update_bank", "knn_vote",
    ]  # fmt: skip
    assert answered(lecture, "03_contrastive", names)[0] is False
    blank = answered(handout, "03_contrastive", names)
    best = max(answered(p.read_bytes(), "03_contrastive", names) for p in samples)
    assert (True, 0) >= blank and best == (True, len(names))


def test_ordered_leaves_out_what_is_no_notebook():
    assert ordered(["a.py", "b.ipynb.zip", "c.ipynb", "ipynb"], SHEET) == ["c.ipynb"]


# Files that are not graded

SEVERAL = "expected 90_toy.ipynb, found 2 other notebooks: a.ipynb, b.ipynb"


@pytest.mark.parametrize(
    "files, reason",
    [
        ({"a.ipynb": BLANK.replace(b"90", b"91"), "b.ipynb": b""}, SEVERAL),
        ({"a.rar": b"Rar!"}, "expected 90_toy.ipynb, found no notebook: a.rar"),
        ({"a.py": b"x", ".b.ipynb": b""}, "expected 90_toy.ipynb, found no notebook: a.py"),
        ({"a": b"", "b": b"", "c": b"", "d": b"", "e": b""},
         "expected 90_toy.ipynb, found no notebook: a, b, c and 2 more"),
        ({"h.zip": b"PK"}, "h.zip: the zip file cannot be read (BadZipFile)"),
        ({"h.zip": b"PK", "a.txt": b""}, "expected 90_toy.ipynb, found no notebook: h.zip, a.txt"),
        ({"h.zip": zipped(**{"i.zip": zipped(**{PLAIN: FILLED})})}, None),
        ({".DS_Store": b"", "__MACOSX/a.ipynb": b""}, "expected 90_toy.ipynb, found no notebook: nothing is in it"),
        ({f"{'x' * 100}.py": b""}, f"expected 90_toy.ipynb, found no notebook: {'x' * 30}...{'x' * 27}.py"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [in_folder, in_zip])
def test_read_says_why_a_submission_is_not_graded(tmp_path, make, files, reason):
    (tmp_path / "a").mkdir()
    with pytest.raises(Refused) as error:
        make(tmp_path / "a", files).read(SHEET, ANSWERS)
    found = str(error.value).removeprefix("expected 90_toy.ipynb, found no notebook: ")
    wanted = (reason or found).removeprefix(
        "expected 90_toy.ipynb, found no notebook: "
    )
    assert sorted(found.split(", ")) == sorted(wanted.split(", "))


@pytest.mark.parametrize(
    "name, reason",
    [
        ("anna.tar.gz", "an archive of a kind that the grader does not open"),
        ("anna.7z", "an archive of a kind that the grader does not open"),
        ("anna.RAR", "an archive of a kind that the grader does not open"),
        ("anna.py", "a Python file, not a notebook"),
        ("anna.pdf", "neither a notebook nor a folder nor a zip file"),
        ("anna", "neither a notebook nor a folder nor a zip file"),
        ("anna.zip", "found no notebook: nothing is in it"),
        ("anna (1).ipynb.txt", ""),
        ("anna_late_123_456_90_toy-1.ipynb", ""),
    ],
)
def test_every_entry_of_the_class_is_graded_or_has_a_reason(tmp_path, name, reason):
    content = zipped() if name.endswith(".zip") else FILLED
    (tmp_path / name).write_bytes(content)
    for system in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / system).write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    (submission,) = collect(tmp_path)
    if not reason:
        assert submission.read(SHEET).content == FILLED
        assert submission.student == name.removesuffix(".txt").removesuffix(".ipynb")
        return
    assert submission.student == name.removesuffix(".zip")
    with pytest.raises(Refused, match=reason):
        submission.read(SHEET)


def test_read_passes_over_a_notebook_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST", len(FILLED) + 5)
    made = in_folder(tmp_path / "a", {PLAIN: FILLED + b" " * 6, COPY: FILLED})
    assert made.read(SHEET, ANSWERS).name == COPY
    (tmp_path / "a" / COPY).unlink()
    with pytest.raises(
        Refused, match="a notebook of more than 100 MB|of more than 0 MB"
    ):
        made.read(SHEET, ANSWERS)


def test_read_looks_into_three_zip_files_at_most(tmp_path):
    files = {f"{i}.zip": zipped(**{PLAIN: FILLED}) for i in range(5)}
    handed = in_folder(tmp_path / "a", files).read(SHEET, ANSWERS)
    assert "of 3 candidates" in handed.note


# Names and damaged files


def test_collect_gives_every_submission_a_unique_name_and_slug(tmp_path):
    for name in ("a", "b", "Émile", "🦊", "-", "c.zip"):
        (tmp_path / name).mkdir()
    files = (
        "a.zip",
        "b.zip",
        "b.zip.zip",
        "b.ipynb",
        "c.ipynb",
        "c.zip.zip",
        ".hidden.zip",
        "notes.txt",
        "E mile.zip",
    )
    for name in files:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    found = collect(tmp_path)
    students = [s.student for s in found]
    assert len(students) == 14 == len(set(students)) == len({s.slug for s in found})
    expected = {
        "a",
        "a.zip",
        "b",
        "b.zip",
        "b.zip.zip",
        "b.ipynb",
        "c.zip",
        "c.zip.zip",
        "c",
        "Émile",
        "🦊",
        "notes.txt",
    }
    assert expected < set(students)
    assert all(s.slug.isascii() and not set(s.slug) & set("./\\ <>'\"") for s in found)


def test_slugs_are_safe_file_names_and_unique():
    names = [
        "../../etc",
        "CON",
        "a" * 300,
        "",
        "anna",
        "Anna",
        "an-na",
        "an na",
        "<script>",
        "a\nb",
    ]
    names.append(os.fsdecode(b"\xff\xfe"))
    slugs = [Submission(name, Path()).slug for name in names]
    assert (
        len(set(slug.lower() for slug in slugs)) == len(names)
        and max(map(len, slugs)) < 60
    )


def test_submission_read_raises_only_refused_for_damaged_zips(tmp_path):
    good, draw = io.BytesIO(), random.Random(0)
    with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("é/90_toy.ipynb", notebook("x = 1"))
        archive.writestr("b.txt", b"b")
    path = tmp_path / "a.zip"
    for _ in range(400):
        content = bytearray(good.getvalue())
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(content))
            content[at : at + draw.choice((0, 1, 1, 8))] = draw.randbytes(
                draw.choice((0, 1, 4))
            )
        path.write_bytes(content)
        try:
            Submission("a", path).read("90_toy")
        except Refused as error:
            assert str(error)


def test_submission_read_and_collect_name_an_unreadable_path(tmp_path):
    with pytest.raises(Refused, match=r"cannot be read|the file: "):
        Submission("a", tmp_path / "gone.ipynb").read("90_toy")
    for at, message in (
        (tmp_path / "gone", "expected a folder"),
        (tmp_path, "has none"),
    ):
        with pytest.raises(ValueError, match=message):
            collect(at)


# Reports


@pytest.mark.parametrize(
    "message, problem",
    [(CONFLICT, CONFLICT), ("[0.25, 0.75]", "the file cannot be read as a Python")],
)
def test_verdict_shows_no_words_of_the_sandbox_but_the_known_ones(message, problem):
    """A submission can write any reply, with values of hidden cases in it."""
    exercise = sheet.read("03").public()[0]
    failures = {str(i): ["Unreadable", "", message] for i in range(len(exercise.cases))}
    reply = io.BytesIO()
    send(reply.write, json.dumps(failures).encode(), save({}))

    class Forger:
        def start(self):
            pass

        def ask(self, name, arrays):
            return "done", reply.getvalue()

    with pytest.raises(Refused) as error:
        batch.verdict(Forger(), exercise, Limits())
    assert str(error.value).startswith(problem) and "0.25" not in str(error.value)


def test_grade_writes_reasons_and_candidates_into_every_report(tmp_path, monkeypatch):
    """The whole way, but for the sandbox: nothing is executed."""
    found = sheet.read("03")
    blank, filled = (c.replace(b"90_toy", found.name.encode()) for c in (BLANK, FILLED))
    in_folder(
        tmp_path / "class",
        {
            "anna.rar": b"Rar!",
            "ben/90_toy.py": b"x",
            "cleo/=a.7z": b"",
            "dora.ipynb": b"",
            f"emil/{found.name}.ipynb": blank,
            f"emil/Copy of {found.name}.ipynb": filled,
            ".DS_Store": b"",
        },
    )

    def verdict(sandbox, exercise, limits):
        if not sandbox.notebook:
            raise Refused(EMPTY)
        results = [batch.Result(p, True) for p in exercise.properties]
        return batch.Verdict(exercise.name, results), "A line failed <here>."

    monkeypatch.setattr(batch, "require", lambda: None)
    monkeypatch.setattr(batch, "verdict", verdict)
    marks = batch.grade(tmp_path / "class", found, 1, tmp_path / "out", workers=1)
    with open(tmp_path / "out/marks.csv", newline="", encoding="utf-8") as file:
        lines = {row["student"]: row for row in csv.DictReader(file)}
    said = {name: (row["total"], row["problem"]) for name, row in lines.items()}
    none = f"expected {found.name}.ipynb, found no notebook: "
    taken = f"graded Copy of {found.name}.ipynb of 2 candidates, not {found.name}.ipynb"
    assert said == {
        "anna.rar": ("0", "an archive of a kind that the grader does not open: unpack it, or ask for a zip file"),
        "ben": ("0", f"{none}90_toy.py"),
        "cleo": ("0", f"{none}=a.7z"),
        "dora": ("0", EMPTY),
        "emil": (str(sum(marks["exercises"].values())), taken),
    }  # fmt: skip
    overview = (tmp_path / "out/class.html").read_text()
    for student in marks["students"]:
        page = (tmp_path / f"out/students/{student['slug']}.html").read_text()
        if student["problem"]:
            assert f"Nothing could be graded: {student['problem']}" in page
        else:
            assert f"Several notebooks: {taken}." in page
            assert page.count("A line failed &lt;here&gt;.") == len(marks["exercises"])
        assert said[student["student"]][1] in overview


# The command `check`


def test_check_command_finds_the_sheet_in_the_name_and_says_what_failed(
    tmp_path, capsys
):
    found = sheet.read("03")
    mi_bound = found.sources["mi_bound"]
    cell = f"!pip install \\\n  einops\nfrom google.colab import drive\nimport math\n{mi_bound}"
    path = tmp_path / "anna_late_12_34_Copy of 03_contrastive-1.ipynb"
    path.write_bytes(
        notebook("%%time\n# ready?\nx = !ls", cell).decode().encode("utf-16")
    )
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "mi_bound: solved, 4 of 4 points" in said
    assert f"1 of {len(found.masters)} solved" in said
    assert (
        said.count("A line above this answer in its cell raised ModuleNotFoundError")
        == 1
    )
    assert "`from google.colab import drive`" in said


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("03_contrastive.ipynb", b"", EMPTY),
        ("03.ipynb", b"<html>", WEB_PAGE),
        ("mine.ipynb", BLANK, "give the number, for example --exercise 03"),
        ("03_gone.ipynb", None, "which does not exist"),
        ("", None, "which is a folder"),
    ],
)
def test_check_command_says_why_it_checks_nothing(
    tmp_path, capsys, name, content, words
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["check", str(tmp_path / name)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and "Traceback" not in said
