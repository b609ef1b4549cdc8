"""What the notebooks need beside the library: plots, training drawn live, figures with
sliders, source, budget, checks.

Importing it sets matplotlib's defaults to the course's style (`style`).
"""

from course_lib.notebook.check import checks
from course_lib.notebook.live import explore, live
from course_lib.notebook.plots import (
    bars_with_spread,
    curve,
    image_grid,
    matrices,
    neighbours,
    scatter_map,
    similarity_matrix,
)
from course_lib.notebook.show import budget, show
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
    "scatter_map",
    "show",
    "similarity_matrix",
    "subplots",
]
