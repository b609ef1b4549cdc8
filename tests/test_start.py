"""The start page agrees with its sources; its self-test has the right answers; the
progress with the exercises is recorded, and never fails a check."""

import importlib
import json
import math
import re

import build_start
import nbformat
import pytest
import torch
import torch.nn.functional as F
from build_notebooks import NOTEBOOKS, ROOT
from build_readme import SYLLABUS
from build_release import RELEASED
from build_start import PAGE, START, needs, problems, sheet, times

from course_lib.grading.exercise import Property
from course_lib.grading.verdict import Result, Verdict
from course_lib.notebook import checks, progress
from course_lib.notebook.progress import BEGIN, read_record, record, record_path

MODULE = importlib.import_module("course_lib.notebook.progress")
SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
EXERCISE = "cosine_similarity_matrix"


# The page


def test_start_page_agrees_with_its_sources():
    assert problems() == []


def test_start_page_lists_every_notebook_and_marks_the_planned_ones():
    text = START.read_text(encoding="utf-8")
    for name, notebook in SYLLABUS["notebooks"].items():
        title = f"{name[:2]}. {notebook['title']}"
        if (NOTEBOOKS / f"{name}.ipynb").exists():
            assert f"**[{title}](notebooks/{name}.ipynb)**" in text
            assert f"(exercises/{name}.ipynb)" in text
        else:
            assert f"{title} (planned)" in text


def test_start_page_has_no_dead_link():
    notebook = nbformat.read(START, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert len(links) > 20 and START.name in RELEASED
    # students get these files, too
    assert not [x for x in links if not x.startswith(("#", *RELEASED))]
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = ["#" + heading.replace(" ", "-") for heading in headings]
    assert not [x for x in links if not (x in anchors or (ROOT / x).exists())]
    # the sections that the self-test names
    for name, section in re.findall(
        r"\(notebooks/(\w+)\.ipynb\),\s+section\s+(\d+)", text
    ):
        source = (NOTEBOOKS / "src" / f"{name}.py").read_text(encoding="utf-8")
        assert f"# ## {section}. " in source


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_head_of_a_notebook_says_its_hours_and_what_it_needs(source):
    hours, minutes = times(source.stem)
    assert 0.5 <= hours <= 3 and 1 <= minutes <= 20
    assert all(number < source.stem[:2] for number in needs(source.stem).split(", "))
    exercises, spent = sheet(source.stem)
    assert exercises > 0 and spent >= 5 * exercises


def test_head_without_a_readable_time_is_an_error_that_shows_the_form(monkeypatch):
    said = {"Time": "Reading takes long."}
    monkeypatch.setattr(build_start, "paragraph", lambda name, word: said[word])
    with pytest.raises(ValueError, match="must say, for example, `Reading takes an"):
        times("99_tiny")


def test_self_test_has_the_right_answers():
    asked = PAGE.read_text(encoding="utf-8").split("## Are you prepared?")[1]
    asked = " ".join(asked.split("+++")[0].split())
    answers = re.findall(r"<summary>Answer</summary>(.*?)</details>", asked)
    assert len(answers) == 8 and "eight questions" in asked
    assert all("*If you were wrong:* [" in answer for answer in answers)

    layer = torch.nn.Conv2d(3, 16, 3, stride=2, padding=1)
    x = torch.zeros(8, 3, 32, 32)
    assert f"the shape {tuple(layer(x).shape)}" in answers[0]
    assert f"{sum(p.numel() for p in layer.parameters())} parameters" in answers[0]
    assert tuple((x * torch.rand(8, 1, 1, 1)).shape) == (8, 3, 32, 32)

    weight = torch.ones((), requires_grad=True)
    for _ in range(2):
        (3 * weight).backward()
    assert weight.grad == 6 and "*adds* to the gradients" in answers[1]

    student, teacher = (torch.ones((), requires_grad=True) for _ in range(2))
    F.mse_loss(2 * student, (3 * teacher).detach()).backward()
    assert student.grad and teacher.grad is None
    assert answers[2].startswith(" Only the student.")

    similarity = F.cosine_similarity(torch.tensor([3.0, 4]), torch.tensor([4.0, 3]), 0)
    assert f"= {similarity:.2f}$" in answers[3]

    values, vectors = torch.linalg.eigh(torch.tensor([[2.0, 1], [1, 2]]))
    torch.testing.assert_close(values, torch.tensor([1.0, 3]))
    torch.testing.assert_close(vectors[:, 1].abs(), torch.full((2,), 0.5**0.5))
    assert (values / values.sum())[1].item() == pytest.approx(3 / 4)
    assert "largest eigenvalue, 3" in answers[4] and "share is 3/4" in answers[4]

    logits = torch.tensor([0, math.log(3)])
    torch.testing.assert_close(logits.softmax(0), torch.tensor([1 / 4, 3 / 4]))
    loss = F.cross_entropy(logits, torch.tensor(1))
    assert rf"-\ln \frac34 \approx {loss:.3f}" in answers[5]
    equal = F.cross_entropy(torch.zeros(7), torch.tensor(1)).item()
    assert equal == pytest.approx(math.log(7)) and r"is $\ln N$" in answers[5]

    # of 1,000 pictures, 100 show a cat: 90 reports are right, 90 of 900 others wrong
    assert 90 / (90 + 90) == 1 / 2 and r"= \frac12$" in answers[6]

    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 100_000, generator=generator)
    assert (0.6 * a + 0.8 * b).std().item() == pytest.approx(1, abs=0.01)
    assert answers[7].startswith(r" $\mathcal N(0, 1)$.")


# Progress


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of the record, not yet there."""
    path = tmp_path / "new" / "progress.json"
    monkeypatch.setenv("COURSE_PROGRESS", str(path))
    return path


def verdict(*passed, todo=False, name=EXERCISE):
    results = [Result(Property(f"p{k}", 2), right) for k, right in enumerate(passed)]
    return Verdict(name, results, todo=todo)


def test_check_records_the_result_and_solved_stays_solved(file):
    row = lambda: read_record(file)["03_contrastive"][EXERCISE]  # noqa: E731
    record("03_contrastive", verdict(True, False))
    assert row() == {"solved": False, "points": 2}
    record("03_contrastive", verdict(True, True))
    assert row() == {"solved": True, "points": 4}
    record("03_contrastive", verdict(False, False))
    assert row() == {"solved": True, "points": 0}
    before = file.read_bytes()
    record("03_contrastive", verdict(False, todo=True))
    assert file.read_bytes() == before
    record("08_distillation", verdict(True, name="soft_targets"))
    assert read_record(file).keys() == {"03_contrastive", "08_distillation"}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_check_of_the_courses_own_sheet_is_recorded(file):
    check = checks("03")

    def cosine_similarity_matrix(z):
        return z @ z.T

    panel = check(cosine_similarity_matrix)
    row = {"solved": False, "points": panel.points}
    assert json.loads(file.read_text()) == {"03_contrastive": {EXERCISE: row}}
    assert not panel.solved and "To do" not in repr(panel)


def test_check_of_another_folder_is_not_recorded(file, tmp_path):
    for source in (ROOT / "exercises" / "checks").glob("03_contrastive*.*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())

    def cosine_similarity_matrix(z):
        return z @ z.T

    checks("03", folder=tmp_path)(cosine_similarity_matrix)
    assert not file.exists()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b"{",
        b'{"03_contrastive": 7}',
        b'{"03_contrastive": {"cosine_similarity_matrix": {"solved": 1, "points": "x"}}}',
    ],
)
def test_damaged_record_counts_as_empty_and_is_replaced(file, damaged):
    file.parent.mkdir()
    file.write_bytes(damaged)
    assert not any(sheet.solved or sheet.points for sheet in progress())
    record("03_contrastive", verdict(True))
    assert read_record(file)["03_contrastive"][EXERCISE]["solved"]


def test_record_that_cannot_be_written_fails_no_check(tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "a file" / "progress.json"))
    record("03_contrastive", verdict(True))
    assert progress().note == BEGIN


def test_nothing_is_recorded_in_tests_in_nbgrader_and_in_the_sandbox(monkeypatch, file):
    from course_lib.grading.sandbox import _environment

    assert _environment(ROOT)["COURSE_PROGRESS"] == "off"
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert record_path() is None
    record("03_contrastive", verdict(True))
    assert not file.exists()
    monkeypatch.delenv("NBGRADER_EXECUTION")
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert record_path() is None and "is off" in progress().note


def test_record_lies_in_runs_of_a_clone_and_else_in_the_home_folder(
    monkeypatch, tmp_path
):
    monkeypatch.delenv("COURSE_PROGRESS")
    assert record_path() == ROOT / "runs" / "progress.json"
    assert "runs/" in (ROOT / ".gitignore").read_text().split()
    monkeypatch.setattr(MODULE, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert record_path() == tmp_path / ".course_lib" / "progress.json"


def test_progress_shows_each_sheet_with_a_bar_and_the_same_words_as_text(file):
    assert progress().note == BEGIN and BEGIN in repr(progress())
    names = list(
        json.loads((ROOT / "exercises/checks/03_contrastive.json").read_text())
    )
    points = {row.name: row.maximum for row in progress()}["03_contrastive"]
    rows = {names[0]: {"solved": True, "points": 1}, names[1]: {"solved": False, "points": 2}}  # fmt: skip
    rows["an exercise that is no more"] = {"solved": True, "points": 9}
    MODULE.write_json(file, {"03_contrastive": rows})
    shown = progress()
    (sheet,) = [sheet for sheet in shown if sheet.name == "03_contrastive"]
    words = (
        f"1 of {len(names)} solved, 3 of {points} points; the last check of {names[0]} "
        "found a mistake"
    )
    assert str(sheet) == words and words in repr(shown) and not shown.note
    page = shown._repr_html_()
    assert words in page and f"width: {100 / len(names):.0f}%" in page
    assert 'href="exercises/03_contrastive.ipynb"' in page
    assert "background: #fcfcfa; color: #1f2328" in page  # readable on a dark page
    assert "03. Contrastive learning" in repr(shown)
