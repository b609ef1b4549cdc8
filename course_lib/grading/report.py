"""Writes the reports: marks.csv for an LMS, marks.json for programs, class.html for the
instructor, and a page for each student.

Names, file names and lines of code come from submissions. Therefore the pages escape
them, and the CSV file changes them so that a spreadsheet does not take them for
formulas. No report contains a message, a value or an output of a hidden case.
"""

import csv
import io
from collections import Counter
from pathlib import Path

from jinja2 import Environment

from course_lib.files import write_json, write_whole
from course_lib.grading.verdict import WAITS

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328;
       background: #fcfcfa }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #dededa; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.right { color: #0072B2 } .wrong { color: #A84300 } .hint { border-left: 4px solid #E69F00; padding-left: .8rem; white-space: pre-line }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.5rem }
.bars { display: flex; align-items: flex-end; gap: 3px; height: 9rem; text-align: center }
.bars > div { flex: 1 } .bar { background: #0072B2; border-bottom: 1px solid #1f2328 }
.hints { white-space: pre-line }
.properties { table-layout: fixed } .properties td:nth-child(1) { width: 5.5rem }
.properties td:nth-child(2) { width: 19rem } .properties td:nth-child(3) { width: 4rem }
.loud { background: #A84300; color: white; padding: .5rem 1rem } code { overflow-wrap: anywhere }
"""
PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>{{ style|safe }}</style></head><body>
<h1>{{ title }}</h1>
{% if not marks.isolated %}<p class="loud">Graded without a sandbox: a submission could have changed any of this.</p>
{% endif %}
{% if student %}
<p>{{ marks.exercise }}: <b>{{ student.points }} of {{ total }} points.</b>
{% if student.problem %}Nothing could be graded: {{ student.problem }}.
{% elif student.note %}Several notebooks: {{ student.note }}.
{% elif student.file %}From <code>{{ student.file }}</code>.{% endif %}</p>
{% for e in student.exercises %}
<h2>{{ e.name }}: {{ e.points }} of {{ e.of }}{{ ", not attempted" if e.todo }}</h2>
{% if e.hint %}<p class="hint">{{ e.lead }}
{{ e.hint }}</p>{% endif %}
{% if e.note %}<p>{{ e.note }}</p>{% endif %}
<table class="properties">{% for p in e.properties %}
<tr><td class="{{ 'right' if p.passed else '' if e.todo or p.why == waits else 'wrong' }}">
{{ "✓ right" if p.passed else "– to do" if e.todo else "– waits" if p.why == waits else "✗ wrong" }}</td>
<td>{{ p.name }}</td><td class="number">{{ p.points if p.passed else 0 }} of {{ p.points }}</td>
<td>{{ p.why }}</td></tr>
{% endfor %}</table>
{% endfor %}
{% else %}
<p>{{ marks.students|length }} submissions, seed {{ marks.seed }}, sheet {{ marks.sheet }}. Mean
{{ "%.1f"|format(mean) }} of {{ total }} points.</p>
<h2>Points per exercise</h2>
<p>Each bar: the number of students with that many points.</p>
<div class="cards">
{% for name, counts in distribution.items() %}
<div class="card"><b>{{ name }}</b>, mean {{ "%.1f"|format(means[name]) }} of {{ marks.exercises[name] }}
<div class="bars">
{% for points, count in counts %}
<div>{{ count or "" }}<div class="bar" style="height: {{ "%.2f"|format(6 * count / marks.students|length) }}rem"></div>
<small>{{ points }}</small></div>
{% endfor %}</div></div>
{% endfor %}
</div>
<h2>The most common mistakes</h2>
<table><tr><th class="number">students</th><th>exercise</th><th>mistake</th><th>the hint they get</th></tr>
{% for (name, mistake, hint), count in mistakes %}
<tr><td class="number">{{ count }}</td><td>{{ name }}</td><td>{{ mistake }}</td><td class="hints">{{ hint }}</td></tr>
{% else %}<tr><td colspan="4">No known mistake.</td></tr>
{% endfor %}</table>
<h2>Students</h2>
<table><tr><th>student</th>{% for name in marks.exercises %}<th class="number">{{ name }}</th>{% endfor %}
<th class="number">total</th><th></th></tr>
{% for s in marks.students %}
<tr><td><a href="students/{{ s.slug }}.html">{{ s.student }}</a></td>
{% for e in s.exercises %}<td class="number">{{ e.points }}</td>{% endfor %}
<td class="number">{{ s.points }}</td><td>{{ s.problem }}{{ "; " if s.problem and s.note }}{{ s.note }}</td></tr>
{% endfor %}</table>
{% endif %}
</body></html>
""")


def write(marks: dict, out: Path):
    """Writes all reports into the folder. marks: the result of `batch.grade`."""
    total, students = sum(marks["exercises"].values()), marks["students"]
    common = {"marks": marks, "total": total, "style": STYLE, "waits": WAITS}
    for student in students:
        page = PAGE.render(common, title=student["student"], student=student)
        write_whole(
            out / "students" / f"{student['slug']}.html",
            page.encode("utf-8", "replace"),
        )
    distribution = {
        name: [
            (points, sum(s["exercises"][i]["points"] == points for s in students))
            for points in range(of + 1)
        ]
        for i, (name, of) in enumerate(marks["exercises"].items())
    }
    means = {
        name: sum(n * count for n, count in counts) / len(students)
        for name, counts in distribution.items()
    }
    mistakes = Counter(
        (e["name"], e["mistake"], e["hint"])
        for s in students
        for e in s["exercises"]
        if e["mistake"]
    )
    page = PAGE.render(
        common, title=f"Marks, {marks['exercise']}", student=None, distribution=distribution, means=means,
        mistakes=mistakes.most_common(), mean=sum(s["points"] for s in students) / len(students),
    )  # fmt: skip
    write_whole(out / "class.html", page.encode("utf-8", "replace"))
    write_json(out / "marks.json", marks)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["student", *marks["exercises"], "total", "of", "problem"])
    for s in students:
        points = [e["points"] for e in s["exercises"]]
        problem = "; ".join(filter(None, (s["problem"], s["note"])))
        student, problem = harmless(s["student"]), harmless(problem)
        writer.writerow([student, *points, s["points"], total, problem])
    write_whole(out / "marks.csv", table.getvalue().encode("utf-8", "replace"))


def harmless(text: str) -> str:
    """Returns the text on one line, with an apostrophe in front if a spreadsheet could
    take it for a formula."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return f"'{text}" if text.lstrip().startswith(tuple("=+-@|%＝＋－＠")) else text
