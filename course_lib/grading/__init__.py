"""Exercises and their grading.

The student's check and the grader share `exercise` (its parts), `drive` and `probes`
(call an answer), `verdict` (the marks; `compare` compares outputs, `diagnosis` names
known mistakes) and `public_files`. `cells` reads a notebook's
cells, and `answers` finds the answers in them. `mistakes` and `sheet` read what an
author writes. `sandbox`, `inside`, `syscalls`, `library` and `doctor` isolate submitted
code. `replies` reads the output of the sandbox. `batch` grades a class, and `report`
writes the reports. Start with docs/instructors.md.
"""
