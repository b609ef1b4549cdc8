"""Experiments: settings, the jobs that measure them, the judge of generators, and the
results that are kept.

The families' studies stand in their modules named `experiments`, as EXPERIMENTS: name
-> settings.
"""

from course_lib.experiments.jobs import pretext_score
from course_lib.experiments.results import catalogue, read, table, values

__all__ = ["catalogue", "pretext_score", "read", "table", "values"]
