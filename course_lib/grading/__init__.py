"""Exercises and their grading: what an exercise is, how an answer is driven, judged
and, for a class, graded safely.

`exercise` (cases, properties, verdicts) and `drive` serve the student's check and the
grader alike. `answers` finds the answers in a notebook. `sandbox`, `inside`, `library`
and `doctor` keep submitted code away from everything else, `replies` reads what comes
out of there, `batch` runs a class, `report` writes it down. The way in:
docs/instructors.md.
"""
