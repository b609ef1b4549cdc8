"""The tools of the notebooks: plots, live plots of training, figures with sliders, the
display of source code, the compute budget, the checks of exercises, and the progress
with them.

Importing this package sets matplotlib's defaults to the course's style (`style`).
"""

from course_lib.notebook.budget import budget, updates
from course_lib.notebook.check import checks
from course_lib.notebook.images import image_grid, neighbours
from course_lib.notebook.live import explore, live
from course_lib.notebook.plots import (
    bars_with_spread,
    curve,
    matrices,
    scatter_map,
    similarity_matrix,
)
from course_lib.notebook.progress import progress
from course_lib.notebook.show import show
from course_lib.notebook.style import describe, subplots

__all__ = [
    "bars_with_spread",
    "budget",
    "checks",
    "curve",
    "describe",
    "explore",
    "image_grid",
    "live",
    "matrices",
    "neighbours",
    "progress",
    "scatter_map",
    "show",
    "similarity_matrix",
    "subplots",
    "updates",
]
