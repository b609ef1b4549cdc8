"""Plots of numbers that several notebooks share. Each returns a `Picture`. The meaning
never depends on colour alone."""

import textwrap

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from course_lib.notebook.inputs import as_array, as_series
from course_lib.notebook.style import (
    LINES,
    MARKERS,
    PALETTE,
    WIDTH,
    Picture,
    describe,
    subplots,
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

    The values are printed into the cells if there are at most 12 columns. marked: bool
    (N, M), the cells to outline, such as the positive pairs.
    """
    matrix = as_array("matrix", matrix, "N", "M")
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
            colour = "black" if light else "white"
            centred = dict(ha="center", va="center")
            ax.text(j, i, f"{value:.2f}", size=10, color=colour, **centred)
    if marked is not None:
        marked = as_array("marked", marked, "N", "M")
        if marked.shape != matrix.shape:
            raise ValueError(
                f"argument `marked`: expected shape {matrix.shape} like `matrix`, got "
                f"{marked.shape}"
            )
        outline = dict(fill=False, edgecolor="black", linewidth=1.5)
        for i, j in np.argwhere(marked):
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **outline))
    return describe(
        figure,
        f"{title}. {label} of {ylabel} against {xlabel}, "
        f"{matrix.shape[0]} by {matrix.shape[1]}, "
        f"from {matrix.min():.2f} to {matrix.max():.2f}",
    )


def matrices(
    panels: dict, *, title: str, xlabel: str, ylabel: str, signed=()
) -> Picture:
    """Two or three matrices side by side, each with its own colour bar.

    panels: name -> (N, M). signed: the names of the matrices that may have negative
    values. Their colours distinguish the signs, and 0 is in the middle of their colour
    bar; the other colour bars start at 0.
    """
    panels = {
        name: as_array(f"panels[{name!r}]", matrix, "N", "M")
        for name, matrix in as_series("panels", panels).items()
    }
    # A fixed layout takes half the time of matplotlib's constrained layout. Figures
    # with sliders need this speed.
    figure = Picture(figsize=(WIDTH, 1.3 + 0.75 * WIDTH / len(panels)))
    axes = figure.subplots(1, len(panels))
    figure.subplots_adjust(left=0.07, right=0.98, top=0.83, bottom=0.07, wspace=0.3)
    for ax, (name, matrix) in zip(np.atleast_1d(axes), panels.items()):
        end = max(abs(matrix.min()), abs(matrix.max()), 1e-12)
        if name in signed:
            colours = dict(cmap="PuOr_r", vmin=-end)
        else:
            colours = dict(cmap="cividis", vmin=0)
        image = ax.imshow(matrix, vmax=end, **colours)
        figure.colorbar(image, ax=ax, orientation="horizontal", pad=0.22)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(False)
        ax.set_title(textwrap.fill(name, 30), size=11)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(title, x=0.01, ha="left")
    summaries = (
        f"{name} from {matrix.min():.3g} to {matrix.max():.3g}"
        for name, matrix in panels.items()
    )
    return describe(
        figure, f"{title}. {ylabel} against {xlabel}: {'; '.join(summaries)}"
    )


def scatter_map(
    points, labels, classes, *, title: str, xlabel: str, ylabel: str
) -> Picture:
    """A scatter plot of a two-dimensional map (PCA, t-SNE), with a colour and a marker
    for each class.

    points: (N, 2); labels: integers (N,) that index `classes`, the names of the
    classes. Raises ValueError for other shapes or labels.
    """
    points = as_array("points", points, "N", "2")
    labels = as_array("labels", labels, "N")
    if points.shape != (len(labels), 2):
        raise ValueError(
            f"argument `points`: expected shape ({len(labels)}, 2), a row for each "
            f"label, got {points.shape}"
        )
    if (
        labels.dtype.kind not in "iu"
        or labels.size == 0
        or labels.min() < 0
        or labels.max() >= len(classes)
    ):
        received = "none"
        if labels.size:
            received = f"{labels.dtype} from {labels.min()} to {labels.max()}"
        raise ValueError(
            f"argument `labels`: expected integers from 0 to {len(classes) - 1} that "
            f"index `classes`, got {received}"
        )
    figure, ax = subplots(height=5)
    for c, name in enumerate(classes):
        colour = c % len(PALETTE)
        ax.scatter(
            *points[labels == c].T,
            label=name,
            marker=MARKERS[(c + c // len(PALETTE)) % len(MARKERS)],
            color=PALETTE[colour],
            alpha=0.85,
            linewidth=0.4,
            edgecolor="white" if colour < 8 else "black",
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
    """A bar chart: for each entry a bar with the mean, the mean as a number, and a dot
    for each single value (one for each seed).

    values: name -> numbers, at most 16 entries. Raises ValueError for an entry without
    numbers or with a number that is not finite.
    """
    values = {
        name: as_array(f"values[{name!r}]", numbers, "seeds")
        for name, numbers in as_series("values", values, 16).items()
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
        spread = np.linspace(-0.15, 0.15, len(numbers)) * (len(numbers) > 1)
        ax.plot(numbers, y + spread, "o", color=PALETTE[0], ms=5)
        mean, end = f"{numbers.mean():.3g}", (max(numbers.max(), 0), y)
        beside = dict(xytext=(8, 0), textcoords="offset points", va="center")
        ax.annotate(mean, end, **beside)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(title=title, xlabel=xlabel)
    ax.margins(x=0.12)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    summaries = (
        f"{name} {numbers.mean():.3g} ({numbers.min():.3g} to {numbers.max():.3g}, "
        f"{len(numbers)} values)"
        for name, numbers in values.items()
    )
    return describe(figure, f"{title}. {xlabel}: {'; '.join(summaries)}")


def curve(x, values: dict, *, title: str, xlabel: str, ylabel: str) -> Picture:
    """A line plot over x. The lines differ in colour, line style and marker. Where an
    entry has several seeds, the line is their mean, in a band from the minimum to the
    maximum.

    x: (K,); values: name -> (K,) or (seeds, K). For a logarithmic axis:
    `curve(...).axes[0].set_xscale("log")`. Raises ValueError for other shapes.
    """
    x = as_array("x", x, "K")
    figure, ax = subplots()
    summaries = []
    for i, (name, lines) in enumerate(as_series("values", values).items()):
        shape = ("K",) if np.ndim(lines) < 2 else ("seeds", "K")
        lines = np.atleast_2d(as_array(f"values[{name!r}]", lines, *shape))
        if lines.shape[1] != len(x):
            raise ValueError(
                f"argument `values[{name!r}]`: expected {len(x)} numbers, one for each "
                f"x, got {lines.shape[1]}"
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
            band = dict(color=PALETTE[i], alpha=0.2, linewidth=0)
            ax.fill_between(x, lines.min(0), lines.max(0), **band)
        summaries.append(f"{name} from {mean[0]:.3g} to {mean[-1]:.3g}")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return describe(
        figure,
        f"{title}. {ylabel} over {xlabel} from {x[0]:.3g} to {x[-1]:.3g}: "
        f"{'; '.join(summaries)}",
    )
