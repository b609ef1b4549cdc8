"""How every figure of the course looks: a colour-blind safe palette, one matplotlib
style, alternative text.

Importing this module sets matplotlib's defaults, so that a notebook's own pyplot
figures look the same.
"""

import base64
import io

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

# Okabe & Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/, and a
# grey to make nine; those strong enough for a thin line come first.
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
# the i-th category: i-th colour and i-th shape
MARKERS = ("o", "s", "^", "D", "v", "P", "X", ">", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
RIGHT, WRONG = PALETTE[:2]
# opaque, so that a figure reads the same on a light and on a dark page
PAPER, INK = "#fcfcfa", "#1f2328"
WIDTH = 8.0  # inches, at 100 dots each: the width of a notebook's output

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


class Picture(Figure):
    """A matplotlib figure outside pyplot: nothing to close, no global state, shown
    once, with alternative text.

    Front ends get a PNG whose metadata hold `alt` (nbconvert and Colab make it the
    image's alternative text) and `alt` itself as plain text; without one, titles and
    axis labels stand in.
    """

    alt = ""

    def png(self) -> bytes:
        """The figure as a PNG file."""
        file = io.BytesIO()
        self.savefig(file, format="png")
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
    """An empty `Picture` of full width, `height` inches high, and its axes, as pyplot's
    `subplots` gives them."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def describe(figure: Picture, text: str) -> Picture:
    """Gives the figure the alternative text that a screen reader says in its place;
    returns the figure."""
    figure.alt = text
    return figure
