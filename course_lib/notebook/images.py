"""Plots of images that several notebooks share. Each returns a `Picture`."""

import textwrap

from matplotlib.patches import Rectangle

from course_lib.checks import number
from course_lib.notebook.inputs import as_array, as_images
from course_lib.notebook.style import PAPER, RIGHT, WIDTH, WRONG, Picture, describe

GREY = dict(cmap="gray", vmin=0, vmax=1)  # how imshow draws grey images


def _blank_figure(width: float, height: float, title: str, cell: float):
    """A `Picture` with a title and, below it, one axes without frame: width x height
    cells of `cell` inches each, y downwards. Returns the picture and the axes."""
    top = 0.28 + 0.2 * title.count("\n")
    figure = Picture(figsize=(WIDTH, height * cell + top))
    inches = figure.get_figheight()
    figure.text(0.006, 1 - 0.08 / inches, title, va="top", size=12)
    ax = figure.add_axes((0, 0, width * cell / WIDTH, height * cell / inches))
    ax.set_axis_off()
    return figure, ax


def image_grid(images, titles=None, *, title: str, columns: int = 8) -> Picture:
    """Images in rows of `columns`, each with its own title above it.

    images: (N, C, H, W), uint8 or float in [0, 1] (clipped), C = 1, 3 or 4. titles: N
    strings or None. Raises ValueError for another shape or dtype, or when the numbers
    of titles and images differ.
    """
    images = as_images("images", images, "N", "C", "H", "W")
    if titles is not None and len(titles) != len(images):
        raise ValueError(
            f"argument `titles`: expected {len(images)}, one for each image, got "
            f"{len(titles)}"
        )
    columns = min(int(number("columns", columns, 1)), len(images))
    cell = min(WIDTH / columns, 1.6)
    wrap = max(4, int(cell * 12))
    captions = [textwrap.fill(str(text), wrap) for text in titles or []]
    lines = max((text.count("\n") + 1 for text in captions), default=0)
    strip = 0.05 + 0.17 * lines / cell  # the place of the titles above a row
    pitch = 0.96 * images.shape[1] / images.shape[2] + strip
    rows = -(-len(images) // columns)
    figure, ax = _blank_figure(columns, rows * pitch, title, cell)
    for i, image in enumerate(images):
        x, bottom = i % columns + 0.02, (i // columns + 1) * pitch
        extent = (x, x + 0.96, bottom, bottom - pitch + strip)
        ax.imshow(image, extent=extent, **GREY)
    for i, text in enumerate(captions):
        x, y = i % columns + 0.02, i // columns * pitch + strip - 0.03
        ax.text(x, y, text, size=10, va="bottom", linespacing=1.1)
    ax.set(xlim=(0, columns), ylim=(rows * pitch, 0), aspect="auto")
    listed = ": " + ", ".join(map(str, titles)) if titles else ""
    return describe(figure, f"{title}. {len(images)} images{listed}")


def neighbours(queries, nearest, correct, *, title: str, criterion: str) -> Picture:
    """A row for each query: the query, then its K neighbours, the nearest first.

    queries: (Q, C, H, W); nearest: (Q, K, C, H, W); correct: bool (Q, K). A correct
    neighbour gets a solid frame and a tick; a wrong one gets a dashed frame of another
    colour and a cross. criterion: the meaning of a tick, such as "same category".
    Raises ValueError when shapes or numbers disagree.
    """
    queries = as_images("queries", queries, "Q", "C", "H", "W")
    nearest = as_images("nearest", nearest, "Q", "K", "C", "H", "W")
    correct = as_array("correct", correct, "Q", "K")
    if correct.dtype != bool or correct.shape != nearest.shape[:2]:
        raise ValueError(
            f"argument `correct`: expected bool of shape {nearest.shape[:2]}, one for "
            f"each image of `nearest`, got {correct.dtype} of shape {correct.shape}"
        )
    if len(queries) != len(nearest):
        raise ValueError(
            f"argument `queries`: expected {len(nearest)} images, one for each row of "
            f"`nearest`, got {len(queries)}"
        )
    rows, columns = correct.shape
    height, width = queries.shape[1] / queries.shape[2], columns + 1.3
    pitch, cell = height + 0.08, min(WIDTH / width, 1.1)
    head = 0.25 / cell
    heading = f"{title}\n✓ solid frame: {criterion}   ✗ dashed frame: not"
    figure, ax = _blank_figure(width, rows * pitch + head, heading, cell)
    for row in range(rows):
        top = head + row * pitch
        bottom = top + height - 0.06
        ax.imshow(queries[row], extent=(0.06, 1, bottom, top), **GREY)
        for column in range(columns):
            x = 1.3 + column
            extent = (x, x + 0.94, bottom, top)
            ax.imshow(nearest[row, column], extent=extent, **GREY)
            _mark(ax, x, top, height - 0.06, correct[row, column])
    for column, text in enumerate(["nearest", *map(str, range(2, columns + 1))]):
        ax.text(1.3 + column, head - 0.05, text, size=10, va="bottom")
    ax.text(0.06, head - 0.05, "query", size=10, va="bottom")
    ax.set(xlim=(0, width), ylim=(rows * pitch + head, 0), aspect="auto")
    return describe(
        figure,
        f"{title}. {rows} queries with their {columns} nearest images; "
        f"{correct.sum()} of {correct.size} are right ({criterion}); by query: "
        f"{', '.join(map(str, correct.sum(1)))}",
    )


def _mark(ax, x: float, top: float, height: float, correct: bool):
    """Draws the frame of a neighbour, and a tick or a cross in its corner."""
    colour, mark, line = (RIGHT, "✓", "-") if correct else (WRONG, "✗", (0, (3, 1.5)))
    frame = dict(fill=False, edgecolor=colour, linestyle=line, lw=3)
    ax.add_patch(Rectangle((x, top), 0.94, height, **frame))
    ax.text(
        x + 0.9,
        top + 0.05,
        mark,
        color=colour,
        size=10,
        weight="bold",
        ha="right",
        va="top",
        bbox=dict(facecolor=PAPER, edgecolor="none", pad=1),
    )
