"""The style of all figures of the course: a palette that is safe for colour-blind
readers, one matplotlib style, and alternative text.

Importing this module sets matplotlib's defaults, so that the pyplot figures of a
notebook have the same style.
"""

import base64
import functools
import io
import threading

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

# The eight colours of Okabe & Ito, Color Universal Design (2008),
# https://jfly.uni-koeln.de/color/, and a grey. Colours that are dark enough for a thin
# line come first.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#666666",
    "#F0E442",
)
# category i has colour i and marker i
MARKERS = ("o", "s", "^", "D", "v", "P", "X", ">", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
RIGHT, WRONG = PALETTE[:2]
# background and text colour; opaque, so that figures look the same on light and dark
# pages
PAPER, INK = "#fcfcfa", "#1f2328"
WIDTH = 8.0  # inches, at 100 dots per inch: the width of a notebook's output

matplotlib.rcParams.update(
    {
        "figure.dpi": 100,
        "figure.figsize": (WIDTH, 3.2),
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "legend.facecolor": PAPER,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.size": 11,
        "axes.titlesize": 12,
        "figure.titlesize": 12,
        "legend.fontsize": 10,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dededa",
        "legend.frameon": False,
        "axes.prop_cycle": cycler(color=PALETTE),
        "lines.linewidth": 1.8,
        "image.interpolation": "nearest",
    }
)


@functools.lru_cache(maxsize=32)
def _renderer(thread: int, *size: float) -> RendererAgg:
    return RendererAgg(*size)


class _Canvas(FigureCanvasAgg):
    """Draws all figures of one size by the same renderer (one for each thread).
    matplotlib remembers, for each renderer, how large a text is."""

    def get_renderer(self):
        size = *self.get_width_height(), self.figure.dpi
        return _renderer(threading.get_ident(), *size)


class Picture(Figure):
    """A matplotlib figure with alternative text. It is independent of pyplot: there is
    no global state, it need not be closed, and it is displayed once only.

    Front ends receive a PNG and, as plain text, the alternative text `alt`. The PNG's
    metadata also contain `alt`: nbconvert and Colab use this as the image's alternative
    text. Without `alt`, the titles and axis labels are used instead.
    """

    alt = ""

    def png(self) -> bytes:
        """The figure as a PNG file. Titles and labels that are too long get several
        lines."""
        canvas, file = _Canvas(self), io.BytesIO()
        for ax in self.axes:
            for text in (ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label):
                text.set_wrap(True)
        if self._suptitle:
            # finding the ends of lines is slow, and needed only for a long title
            self._suptitle.set_wrap(False)
            box = self._suptitle.get_window_extent(canvas.get_renderer())
            self._suptitle.set_wrap(box.x0 < 0 or box.x1 > self.bbox.width)
        # `savefig` would draw twice: for the layout, and for the pixels
        canvas.draw()
        imsave(file, canvas.buffer_rgba(), format="png", dpi=self.dpi)
        return file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        labels = (
            text
            for ax in self.axes
            for text in (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel())
        )
        alt = self.alt or "; ".join(filter(None, [self.get_suptitle(), *labels]))
        return (
            {"image/png": base64.b64encode(self.png()).decode(), "text/plain": alt},
            {"image/png": {"alt": alt}},
        )


def subplots(rows: int = 1, columns: int = 1, height: float = 3.2):
    """Returns an empty `Picture` of full width, `height` inches high, and its axes, in
    the form of pyplot's `subplots`."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def describe(figure: Picture, text: str) -> Picture:
    """Sets the figure's alternative text, which a screen reader reads aloud in place of
    the figure. Returns the figure."""
    figure.alt = text
    return figure
