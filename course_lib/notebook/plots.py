"""The plots that several notebooks share. Each returns a `Picture`; colour never
carries the meaning alone."""

import textwrap

import numpy as np
from einops import rearrange
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from course_lib.checks import number
from course_lib.notebook.style import (
    LINES,
    MARKERS,
    PALETTE,
    PAPER,
    RIGHT,
    WIDTH,
    WRONG,
    Picture,
    describe,
    subplots,
)


def _array(name: str, value, *shape: str) -> np.ndarray:
    """A tensor, array or list as a numpy array with as many dimensions as `shape` has
    words."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # numpy has no bfloat16
        value = value.float() if value.is_floating_point() else value
    value = np.asarray(value)
    if value.ndim != len(shape):
        raise ValueError(
            f"argument `{name}`: expected shape ({', '.join(shape)}), got "
            f"{tuple(value.shape)}"
        )
    return value


def _pictures(name: str, images, *shape: str) -> np.ndarray:
    """Images as float in [0, 1], channels last: (..., H, W) for grey, (..., H, W, 3 or
    4) for colour."""
    images = _array(name, images, *shape)
    if images.dtype.kind not in "fb" and images.dtype != np.uint8:
        raise ValueError(
            f"argument `{name}`: expected uint8, or float in [0, 1], got {images.dtype}"
        )
    if images.shape[-3] not in (1, 3, 4) or 0 in images.shape:
        raise ValueError(
            f"argument `{name}`: expected at least one image, of 1 (grey), 3 (RGB) or "
            "4 (RGBA) channels, "
            f"got shape {tuple(images.shape)}"
        )
    images = (
        images / 255 if images.dtype == np.uint8 else images.astype(float).clip(0, 1)
    )
    images = rearrange(images, "... c h w -> ... h w c")
    return images[..., 0] if images.shape[-1] == 1 else images


def _named(name: str, values: dict, most: int = len(PALETTE)) -> dict:
    """Checks that there are between one series and as many as there are colours (or as
    a picture has room for)."""
    if not isinstance(values, dict) or not 1 <= len(values) <= most:
        raise ValueError(
            f"argument `{name}`: expected a dictionary of 1 to {most} entries by name, "
            f"got {len(values) if isinstance(values, dict) else type(values).__name__}"
        )
    return values


def _board(width: float, height: float, title: str, cell: float):
    """A figure with one bare axes of width x height cells of `cell` inches, y
    downwards, below its title."""
    top = 0.28 + 0.2 * title.count("\n")
    figure = Picture(figsize=(WIDTH, height * cell + top))
    figure.text(0.006, 1 - 0.08 / figure.get_figheight(), title, va="top", size=12)
    ax = figure.add_axes(
        (0, 0, width * cell / WIDTH, height * cell / figure.get_figheight())
    )
    ax.set_axis_off()
    return figure, ax


def image_grid(images, titles=None, *, title: str, columns: int = 8) -> Picture:
    """Images in rows of `columns`, each under its own title.

    images: (N, C, H, W), uint8 or float in [0, 1] (clipped), C = 1, 3 or 4. titles: N
    strings or None. Raises ValueError for another shape or dtype, or when titles and
    images differ in number.
    """
    images = _pictures("images", images, "N", "C", "H", "W")
    if titles is not None and len(titles) != len(images):
        raise ValueError(
            f"argument `titles`: expected {len(images)}, one for each image, got "
            f"{len(titles)}"
        )
    columns = min(int(number("columns", columns, 1)), len(images))
    cell = min(WIDTH / columns, 1.6)
    captions = [
        textwrap.fill(str(text), max(4, int(cell * 12))) for text in titles or []
    ]
    strip = (
        0.05
        + max((0.17 * (text.count("\n") + 1) for text in captions), default=0) / cell
    )
    pitch = 0.96 * images.shape[1] / images.shape[2] + strip
    rows = -(-len(images) // columns)
    figure, ax = _board(columns, rows * pitch, title, cell)
    for i, image in enumerate(images):
        x, bottom = i % columns + 0.02, (i // columns + 1) * pitch
        ax.imshow(
            image,
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(x, x + 0.96, bottom, bottom - pitch + strip),
        )
    for i, text in enumerate(captions):
        ax.text(
            i % columns + 0.02,
            i // columns * pitch + strip - 0.03,
            text,
            size=10,
            va="bottom",
            linespacing=1.1,
        )
    ax.set(xlim=(0, columns), ylim=(rows * pitch, 0), aspect="auto")
    return describe(
        figure,
        f"{title}. {len(images)} images"
        + (": " + ", ".join(map(str, titles)) if titles else ""),
    )


def neighbours(queries, nearest, correct, *, title: str, criterion: str) -> Picture:
    """A row for each query: the query, then its K neighbours, nearest first.

    queries: (Q, C, H, W); nearest: (Q, K, C, H, W); correct: bool (Q, K). A neighbour
    gets a solid frame and a tick where it is correct, a dashed frame of another colour
    and a cross where it is not. criterion: what a tick means, such as "same category".
    Raises ValueError when shapes or numbers disagree.
    """
    queries = _pictures("queries", queries, "Q", "C", "H", "W")
    nearest = _pictures("nearest", nearest, "Q", "K", "C", "H", "W")
    correct = _array("correct", correct, "Q", "K")
    if correct.dtype != bool or correct.shape != nearest.shape[:2]:
        raise ValueError(
            f"argument `correct`: expected bool of shape {nearest.shape[:2]}, one for "
            "each image of "
            f"`nearest`, got {correct.dtype} of shape {correct.shape}"
        )
    if len(queries) != len(nearest):
        raise ValueError(
            f"argument `queries`: expected {len(nearest)} images, one for each row of "
            "`nearest`, "
            f"got {len(queries)}"
        )
    rows, columns = correct.shape
    height, width = queries.shape[1] / queries.shape[2], columns + 1.3
    pitch, cell = height + 0.08, min(WIDTH / width, 1.1)
    head = 0.25 / cell
    figure, ax = _board(
        width,
        rows * pitch + head,
        f"{title}\n✓ solid frame: {criterion}   ✗ dashed frame: not",
        cell,
    )
    frame = dict(cmap="gray", vmin=0, vmax=1)
    for row in range(rows):
        y = head + row * pitch
        ax.imshow(queries[row], extent=(0.06, 1, y + height - 0.06, y), **frame)
        for column in range(columns):
            x, right = 1.3 + column, correct[row, column]
            colour, mark, line = (
                (RIGHT, "✓", "-") if right else (WRONG, "✗", (0, (3, 1.5)))
            )
            ax.imshow(
                nearest[row, column],
                extent=(x, x + 0.94, y + height - 0.06, y),
                **frame,
            )
            ax.add_patch(
                Rectangle(
                    (x, y),
                    0.94,
                    height - 0.06,
                    fill=False,
                    edgecolor=colour,
                    linestyle=line,
                    lw=3,
                )
            )
            ax.text(
                x + 0.9,
                y + 0.05,
                mark,
                color=colour,
                size=10,
                weight="bold",
                ha="right",
                va="top",
                bbox=dict(facecolor=PAPER, edgecolor="none", pad=1),
            )
    for column, text in enumerate(["nearest", *map(str, range(2, columns + 1))]):
        ax.text(1.3 + column, head - 0.05, text, size=10, va="bottom")
    ax.text(0.06, head - 0.05, "query", size=10, va="bottom")
    ax.set(xlim=(0, width), ylim=(rows * pitch + head, 0), aspect="auto")
    return describe(
        figure,
        f"{title}. {rows} queries with their {columns} nearest images; {correct.sum()} "
        "of "
        f"{correct.size} are right ({criterion}); by query: "
        f"{', '.join(map(str, correct.sum(1)))}",
    )


def similarity_matrix(
    matrix,
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    label: str = "cosine similarity",
    limits: tuple[float, float] = (-1, 1),
    marked=None,
) -> Picture:
    """A matrix (N, M) as colours, with a colour bar named `label` from limits[0] to
    limits[1].

    Small matrices (at most 12 columns) also show their numbers. marked: bool (N, M),
    cells to outline: the positives.
    """
    matrix = _array("matrix", matrix, "N", "M")
    figure, ax = subplots(height=min(6.5, max(3.0, 0.4 * len(matrix) + 1)))
    figure.set_layout_engine("compressed")
    image = ax.imshow(
        matrix,
        cmap="PuOr_r" if limits[0] < 0 else "cividis",
        vmin=limits[0],
        vmax=limits[1],
    )
    figure.colorbar(image, ax=ax, label=label)
    ax.grid(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if matrix.shape[1] <= 12:
        for (i, j), value in np.ndenumerate(matrix):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            ax.text(
                j,
                i,
                f"{value:.2f}",
                size=10,
                ha="center",
                va="center",
                color="black" if light else "white",
            )
    if marked is not None:
        marked = _array("marked", marked, "N", "M")
        if marked.shape != matrix.shape:
            raise ValueError(
                f"argument `marked`: expected shape {matrix.shape} like `matrix`, got "
                f"{marked.shape}"
            )
        for i, j in np.argwhere(marked):
            ax.add_patch(
                Rectangle(
                    (j - 0.5, i - 0.5),
                    1,
                    1,
                    fill=False,
                    edgecolor="black",
                    linewidth=1.5,
                )
            )
    return describe(
        figure,
        f"{title}. {label} of {ylabel} against {xlabel}, {matrix.shape[0]} by "
        f"{matrix.shape[1]}, "
        f"from {matrix.min():.2f} to {matrix.max():.2f}",
    )


def matrices(
    panels: dict, *, title: str, xlabel: str, ylabel: str, signed=()
) -> Picture:
    """Two or three matrices side by side, each with its own colour bar, which starts at
    0, or has 0 in its middle.

    panels: name -> (N, M). signed: the names of those that may be negative: they get
    the colours that tell signs apart.
    """
    panels = {
        name: _array(f"panels[{name!r}]", matrix, "N", "M")
        for name, matrix in _named("panels", panels).items()
    }
    # laid out by hand, not by matplotlib: that takes half the time, which a slider's
    # answer needs
    figure = Picture(figsize=(WIDTH, 1.3 + 0.75 * WIDTH / len(panels)))
    axes = figure.subplots(1, len(panels))
    figure.subplots_adjust(left=0.07, right=0.98, top=0.83, bottom=0.07, wspace=0.3)
    for ax, (name, matrix) in zip(np.atleast_1d(axes), panels.items()):
        end = max(abs(matrix.min()), abs(matrix.max()), 1e-12)
        look = (
            dict(cmap="PuOr_r", vmin=-end)
            if name in signed
            else dict(cmap="cividis", vmin=0)
        )
        image = ax.imshow(matrix, vmax=end, **look)
        figure.colorbar(image, ax=ax, orientation="horizontal", pad=0.22)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(False)
        ax.set_title(textwrap.fill(name, 30), size=11)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(title, x=0.01, ha="left")
    said = (
        f"{name} from {matrix.min():.3g} to {matrix.max():.3g}"
        for name, matrix in panels.items()
    )
    return describe(figure, f"{title}. {ylabel} against {xlabel}: {'; '.join(said)}")


def scatter_map(
    points, labels, classes, *, title: str, xlabel: str, ylabel: str
) -> Picture:
    """Points of a two-dimensional map (PCA, t-SNE), a colour and a shape for each
    class.

    points: (N, 2); labels: integers (N,) that index `classes`, the names.
    """
    points, labels = _array("points", points, "N", "2"), _array("labels", labels, "N")
    if points.shape != (len(labels), 2):
        raise ValueError(
            f"argument `points`: expected shape ({len(labels)}, 2), a row for each "
            "label, "
            f"got {points.shape}"
        )
    if (
        labels.dtype.kind not in "iu"
        or labels.size == 0
        or labels.min() < 0
        or labels.max() >= len(classes)
    ):
        came = (
            f"{labels.dtype} from {labels.min()} to {labels.max()}"
            if labels.size
            else "none"
        )
        raise ValueError(
            f"argument `labels`: expected integers from 0 to {len(classes) - 1} that "
            "index `classes`, "
            f"got {came}"
        )
    figure, ax = subplots(height=5)
    for c, name in enumerate(classes):
        colour, shape = (
            PALETTE[c % len(PALETTE)],
            MARKERS[(c + c // len(PALETTE)) % len(MARKERS)],
        )
        ax.scatter(
            *points[labels == c].T,
            label=name,
            marker=shape,
            color=colour,
            alpha=0.85,
            linewidth=0.4,
            edgecolor="white" if c % len(PALETTE) < 8 else "black",
            s=np.clip(20000 / len(points), 26, 50),
        )
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside right upper", markerscale=1.3)
    return describe(
        figure,
        f"{title}. Map of {len(points)} points, {xlabel} against {ylabel}, "
        f"of the classes {', '.join(classes)}",
    )


def bars_with_spread(values: dict, *, title: str, xlabel: str) -> Picture:
    """A bar for the mean of each entry, a dot for each of its values (seeds), the mean
    in figures.

    values: name -> numbers. Raises ValueError for an entry without numbers or with one
    that is not finite.
    """
    named = _named("values", values, 16)
    values = {
        name: _array(f"values[{name!r}]", numbers, "seeds")
        for name, numbers in named.items()
    }
    for name, numbers in values.items():
        if numbers.size == 0 or not np.isfinite(numbers).all():
            raise ValueError(
                f"argument `values[{name!r}]`: expected one or more finite numbers, "
                f"got {numbers.tolist()}"
            )
    figure, ax = subplots(height=0.9 + 0.42 * len(values))
    for y, numbers in enumerate(values.values()):
        ax.barh(y, numbers.mean(), height=0.62, color=PALETTE[0], alpha=0.35)
        ax.plot(
            numbers,
            y + np.linspace(-0.15, 0.15, len(numbers)) * (len(numbers) > 1),
            "o",
            color=PALETTE[0],
            ms=5,
        )
        end = max(numbers.max(), 0)
        ax.annotate(
            f"{numbers.mean():.3g}",
            (end, y),
            (8, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(values)), list(values))
    ax.set(title=title, xlabel=xlabel)
    ax.margins(x=0.12)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    said = (
        f"{name} {numbers.mean():.3g} ({numbers.min():.3g} to {numbers.max():.3g}, "
        f"{len(numbers)} values)"
        for name, numbers in values.items()
    )
    return describe(figure, f"{title}. {xlabel}: {'; '.join(said)}")


def curve(x, values: dict, *, title: str, xlabel: str, ylabel: str) -> Picture:
    """Lines over x, told apart by colour, stroke and marker; of several seeds the mean,
    in a band from least to most.

    x: (K,); values: name -> (K,) or (seeds, K). For a logarithmic axis:
    `curve(...).axes[0].set_xscale("log")`.
    """
    x = _array("x", x, "K")
    figure, ax = subplots()
    said = []
    for i, (name, lines) in enumerate(_named("values", values).items()):
        lines = np.atleast_2d(
            _array(
                f"values[{name!r}]", lines, *["seeds", "K"][-max(1, np.ndim(lines)) :]
            )
        )
        if lines.shape[1] != len(x):
            raise ValueError(
                f"argument `values[{name!r}]`: expected {len(x)} numbers, one for each "
                "x, "
                f"got {lines.shape[1]}"
            )
        mean = lines.mean(0)
        ax.plot(
            x,
            mean,
            label=name,
            color=PALETTE[i],
            linestyle=LINES[i % len(LINES)],
            marker=MARKERS[i] if len(x) <= 30 else "",
        )
        if len(lines) > 1:
            ax.fill_between(
                x, lines.min(0), lines.max(0), color=PALETTE[i], alpha=0.2, linewidth=0
            )
        said.append(f"{name} from {mean[0]:.3g} to {mean[-1]:.3g}")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return describe(
        figure,
        f"{title}. {ylabel} over {xlabel} from {x[0]:.3g} to {x[-1]:.3g}: "
        f"{'; '.join(said)}",
    )
