"""Experiments: settings, the jobs that measure them, the classifiers that evaluate
generators, and the stored results.

The experiments of a family are in its modules named `experiments`, as EXPERIMENTS:
name -> settings.
"""

from course_lib.experiments.jobs import pretext_score
from course_lib.experiments.results import catalogue, read, run, values
from course_lib.experiments.setting import Setting
from course_lib.experiments.tables import table

__all__ = [
    "Setting",
    "catalogue",
    "pretext_score",
    "read",
    "run",
    "table",
    "values",
]
