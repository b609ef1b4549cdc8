"""The tools of the notebooks: plots that can be read without colour, live drawing and
stopping of training, `show`, and the budget."""

import ast
import base64
import gc
import io
import itertools
import json
import math
import re
import signal
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from build_notebooks import ROOT
from ipywidgets import IntSlider
from jupyter_client.manager import KernelManager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from methods import Regression, ToyGAN, points
from PIL import Image

import course_lib
from course_lib.notebook import (
    bars_with_spread,
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    matrices,
    neighbours,
    scatter_map,
    show,
    similarity_matrix,
    subplots,
)
from course_lib.notebook.style import INK, MARKERS, PALETTE, PAPER, RIGHT, WRONG
from course_lib.teacher import ema
from course_lib.train import Method, Step, fit

CLASSES = ["cats", "dogs", "birds"]
PLOTS = {
    "image_grid": lambda: image_grid(
        torch.rand(5, 3, 8, 8), CLASSES + ["a much longer title", "e"], title="Five"
    ),
    "neighbours": lambda: neighbours(
        torch.rand(2, 3, 8, 8),
        torch.rand(2, 4, 3, 8, 8),
        torch.eye(2, 4) > 0,
        title="Near",
        criterion="same class",
    ),
    "matrices": lambda: matrices(
        {"one": torch.eye(4), "two": -torch.eye(4)},
        title="Pairs",
        xlabel="x",
        ylabel="y",
    ),
    "similarity_matrix": lambda: similarity_matrix(
        torch.eye(4), title="Pairs", xlabel="view 2", ylabel="view 1"
    ),
    "scatter_map": lambda: scatter_map(
        torch.randn(30, 2),
        torch.arange(30) % 3,
        CLASSES,
        title="Map",
        xlabel="PC 1",
        ylabel="PC 2",
    ),
    "bars_with_spread": lambda: bars_with_spread(
        {"random": [0.2, 0.3], "SimCLR": [0.4]}, title="k-NN", xlabel="accuracy"
    ),
    "curve": lambda: curve(
        range(3),
        {"a": [1, 2, 3], "b": [[1, 2, 3], [3, 2, 1]]},
        title="Line",
        xlabel="step",
        ylabel="loss",
    ),
}


def pixels(figure):
    return plt.imread(io.BytesIO(figure.png()))


# Style

# Machado, Oliveira & Fernandes 2009, severity 1: what a dichromat sees, in linear RGB
MACHADO = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ rgb.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    a, b = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b))
    return (b + 0.05) / (a + 0.05)


@pytest.mark.parametrize("eyes", MACHADO)
def test_palette_colours_differ_for_every_kind_of_colour_vision(eyes):
    seen = [lab(np.array(MACHADO[eyes]) @ linear(colour)) for colour in PALETTE]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert nearest > 10  # a just noticeable difference is 2.3


def test_text_and_frame_colours_have_enough_contrast():
    assert contrast(INK, PAPER) > 7
    assert min(contrast(RIGHT, PAPER), contrast(WRONG, PAPER)) > 3
    assert contrast(PAPER, "white") < 1.1 and len(set(MARKERS)) == len(PALETTE) == len(
        set(PALETTE)
    )


COLOURS = {
    *PALETTE,
    *(f"C{i}" for i in range(len(PALETTE))),
    "C",
    INK,
    PAPER,
    "white",
    "#ffffff",
    "black",
    # the last two: of a figure's grid, of a box of a check
    "none",
    "#dededa",
    "#fdf1e3",
}
MAPS = {"gray", "cividis", "PuOr_r"}
DRAWING = sorted(
    [
        *(ROOT / "notebooks" / "src").glob("*.py"),
        *(ROOT / "course_lib" / "notebook").glob("*.py"),
    ]
)


def colours(code):
    """The colours and colour maps that Python code names: "C" stands for one that it
    counts out, f"C{i}"."""
    found = set(re.findall("#[0-9a-fA-F]{6}", code)), set()
    for call in (
        node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)
    ):
        for keyword in call.keywords:
            words = {
                node.value
                for node in ast.walk(keyword.value)
                if isinstance(node, ast.Constant)
            }
            words = {word for word in words if isinstance(word, str)}
            if re.fullmatch("c|.*colors?", keyword.arg or ""):
                found[0].update(words)
            elif keyword.arg == "cmap":
                found[1].update(words)
        if getattr(call.func, "attr", None) == "plot":  # in "r--" the r is red
            words = [
                node.value
                for node in call.args
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            found[0].update(
                letter for word in words for letter in word if letter in "bgrcmyw"
            )
    return found


@pytest.mark.parametrize("file", DRAWING, ids=lambda file: file.stem)
def test_drawing_code_uses_colours_of_the_palette_only(file):
    named, maps = colours(file.read_text(encoding="utf-8"))
    assert named <= COLOURS and maps <= MAPS


def test_colours_finds_every_named_colour_and_map():
    code = 'ax.plot(x, "r--", color="red" if x else f"C{i}", markeredgecolor="k")\nimshow(x, cmap="jet")\n#123456'
    assert colours(code) == ({"r", "red", "C", "k", "#123456"}, {"jet"})


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_titled_labelled_readable_and_opaque(name):
    figure = PLOTS[name]()
    random_state = torch.get_rng_state(), np.random.get_state()[1]
    image = pixels(figure)
    drawn = [t for t in figure.findobj(plt.Text) if t.get_text() and t.get_visible()]
    title = figure.alt.partition(".")[0]  # the alternative text begins with it
    assert title and any(t.get_text().startswith(title) for t in drawn)
    assert min(t.get_fontsize() for t in drawn) >= 10
    for ax in figure.axes:
        if ax.axison and ax.get_label() != "<colorbar>":
            assert ax.get_xlabel() and (ax.get_ylabel() or name == "bars_with_spread")
    assert image.shape[1] == 800
    assert (image[..., 3] == 1).all() and image[0, 0, :3] == pytest.approx(
        to_rgb(PAPER), abs=0.01
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.get_tightbbox(canvas.get_renderer())  # inches: nothing is cut off
    assert (
        box.x0 >= -0.01
        and box.x1 <= 8.01
        and box.y0 >= -0.01
        and box.y1 <= figure.get_figheight() + 0.01
    )
    assert (
        torch.equal(random_state[0], torch.get_rng_state())
        and (random_state[1] == np.random.get_state()[1]).all()
    )


def test_figure_shows_itself_once_with_its_alternative_text():
    figure, ax = subplots(height=2)
    ax.set(title="A title", xlabel="x", ylabel="y")
    data, metadata = figure._repr_mimebundle_()
    assert plt.imread(io.BytesIO(base64.b64decode(data["image/png"]))).shape == (
        200,
        800,
        4,
    )
    assert data["text/plain"] == metadata["image/png"]["alt"] == "A title; x; y"
    assert describe(figure, "Two humps.") is figure
    assert figure._repr_mimebundle_()[1]["image/png"]["alt"] == "Two humps."


# Plots


@pytest.mark.parametrize(
    "images",
    [
        torch.arange(216, dtype=torch.uint8).view(3, 3, 4, 6),
        torch.linspace(-0.5, 1.5, 72).view(3, 1, 4, 6),
    ],
)
def test_image_grid_shows_each_image_under_its_title(images):
    figure = image_grid(images, CLASSES, title="Some", columns=2)
    ax = figure.axes[0]
    wanted = images / 255 if images.dtype == torch.uint8 else images.clamp(0, 1)
    wanted = wanted.permute(0, 2, 3, 1).squeeze(-1)
    corners = []
    for shown, image, title in zip(ax.images, wanted, ax.texts, strict=True):
        assert np.allclose(shown.get_array(), image, atol=1e-6)
        left, right, bottom, top = shown.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(4 / 6)
        x, y = title.get_position()
        assert x == left and top - 0.2 < y <= top  # y grows downwards
        corners.append((round(left), bottom))
    assert [x for x, _ in corners] == [0, 1, 0] and corners[0][1] == corners[1][
        1
    ] < corners[2][1]
    assert [t.get_text() for t in ax.texts] == CLASSES


def test_neighbours_marks_right_and_wrong_by_colour_stroke_and_sign():
    correct = torch.tensor([[True, False, False], [False, True, True]])
    found = torch.rand(2, 3, 3, 4, 4)
    figure = neighbours(
        torch.rand(2, 3, 4, 4), found, correct, title="Near", criterion="same class"
    )
    ax = figure.axes[0]
    shown = ax.images[1:4] + ax.images[5:8]
    assert all(
        np.allclose(a.get_array(), f.permute(1, 2, 0))
        for a, f in zip(shown, found.flatten(0, 1), strict=True)
    )
    marks = [t.get_text() for t in ax.texts if t.get_text() in "✓✗"]
    for i, right in enumerate(correct.flatten()):
        frame = ax.patches[i]
        assert frame.get_xy()[0] == pytest.approx(shown[i].get_extent()[0])
        assert to_hex(frame.get_edgecolor()).upper() == (RIGHT if right else WRONG)
        assert (frame.get_linestyle() == "-") == right == (marks[i] == "✓")
    assert "3 of 6 are right (same class); by query: 1, 2" in figure.alt


def test_similarity_matrix_shows_numbers_limits_and_positives():
    matrix = torch.tensor([[1.0, -0.25, 0.5], [0.0, 0.75, -1.0]])
    figure = similarity_matrix(
        matrix, title="T", xlabel="x", ylabel="y", label="cosine", marked=matrix == 0.5
    )
    ax, bar = figure.axes
    assert np.allclose(ax.images[0].get_array(), matrix) and ax.images[
        0
    ].get_clim() == (-1, 1)
    assert [t.get_text() for t in ax.texts] == [
        "1.00",
        "-0.25",
        "0.50",
        "0.00",
        "0.75",
        "-1.00",
    ]
    assert [p.get_xy() for p in ax.patches] == [
        (1.5, -0.5)
    ] and bar.get_ylabel() == "cosine"
    assert (
        not similarity_matrix(torch.eye(20), title="T", xlabel="x", ylabel="y")
        .axes[0]
        .texts
    )


def test_matrices_have_a_colour_bar_each_and_a_signed_colour_map():
    figure = matrices(
        {"p": torch.eye(3), "d": -2 * torch.eye(3)},
        title="T",
        xlabel="x",
        ylabel="y",
        signed=("d",),
    )
    (p,), (d,) = (ax.images for ax in figure.axes[:2])
    assert (p.norm.vmin, p.norm.vmax, d.norm.vmin, d.norm.vmax) == (
        0,
        1,
        -2,
        2,
    ) and p.get_cmap() != d.get_cmap()
    assert len(figure.axes) == 4 and "d from -2 to" in figure.alt


def test_scatter_map_gives_each_class_a_colour_and_a_shape():
    points, labels, names = (
        torch.randn(50, 2),
        torch.arange(50) % 10,
        [f"class {c}" for c in range(10)],
    )
    figure = scatter_map(points, labels, names, title="T", xlabel="x", ylabel="y")
    looks = set()
    for c, collection in enumerate(figure.axes[0].collections):
        assert np.allclose(collection.get_offsets(), points[labels == c])
        looks.add(
            (
                to_hex(collection.get_facecolor()[0]),
                collection.get_paths()[0].vertices.tobytes(),
            )
        )
    assert (
        len(looks) == 10
        and [t.get_text() for t in figure.legends[0].get_texts()] == names
    )


def test_bars_with_spread_show_means_and_seeds_and_start_at_zero():
    figure = bars_with_spread(
        {"a": [0.2, 0.4], "b": torch.tensor([0.5])}, title="T", xlabel="accuracy"
    )
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(
        [0.3, 0.5]
    ) and ax.patches[0].get_x() == 0
    assert [sorted(line.get_xdata()) for line in ax.lines] == [
        pytest.approx([0.2, 0.4]),
        pytest.approx([0.5]),
    ]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.texts] == ["0.3", "0.5"]
    assert "a 0.3 (0.2 to 0.4, 2 values)" in figure.alt


def test_curve_draws_the_mean_in_the_band_of_the_seeds():
    seeds = torch.tensor([[1.0, 2, 6], [3, 4, 2]], dtype=torch.bfloat16)
    figure = curve(
        [10, 20, 30],
        {"one": [5, 5, 5], "two": seeds},
        title="T",
        xlabel="x",
        ylabel="y",
    )
    one, two = figure.axes[0].lines
    assert two.get_ydata().tolist() == [2, 3, 4] and two.get_xdata().tolist() == [
        10,
        20,
        30,
    ]
    (band,) = figure.axes[0].collections
    assert {tuple(v) for v in band.get_paths()[0].vertices} == {
        (10, 1),
        (10, 3),
        (20, 2),
        (20, 4),
        (30, 2),
        (30, 6),
    }
    assert (
        one.get_linestyle() != two.get_linestyle()
        and one.get_marker() != two.get_marker()
    )


LABELS = dict(title="T", xlabel="x", ylabel="y")
NEAR = dict(title="T", criterion="c")
IMAGES = torch.rand(2, 3, 8, 8)
FOUND = torch.rand(2, 4, 3, 8, 8)


@pytest.mark.parametrize(
    "call, says",
    [
        (
            lambda: image_grid(torch.rand(3, 8, 8), title="T"),
            "`images`: expected shape (N, C, H, W), got (3, 8, 8)",
        ),
        (
            lambda: image_grid(torch.zeros(1, 3, 8, 8, dtype=torch.int64), title="T"),
            "`images`: expected uint8, or float",
        ),
        (
            lambda: image_grid(torch.rand(1, 2, 8, 8), title="T"),
            "1 (grey), 3 (RGB) or 4",
        ),
        (lambda: image_grid(torch.rand(0, 3, 8, 8), title="T"), "at least one image"),
        (
            lambda: image_grid(torch.rand(2, 3, 8, 8), ["a"], title="T"),
            "`titles`: expected 2, one for each image, got 1",
        ),
        (lambda: image_grid(torch.rand(2, 3, 8, 8), title="T", columns=0), "`columns`"),
        (
            lambda: neighbours(IMAGES, FOUND, torch.ones(2, 3) > 0, **NEAR),
            "`correct`: expected bool of shape (2, 4)",
        ),
        (
            lambda: neighbours(IMAGES, FOUND, torch.ones(2, 4), **NEAR),
            "`correct`: expected bool",
        ),
        (
            lambda: neighbours(
                torch.rand(3, 3, 8, 8), FOUND, torch.ones(2, 4) > 0, **NEAR
            ),
            "`queries`: expected 2 images",
        ),
        (
            lambda: similarity_matrix(torch.rand(3), **LABELS),
            "`matrix`: expected shape (N, M), got (3,)",
        ),
        (
            lambda: similarity_matrix(torch.eye(3), **LABELS, marked=torch.eye(2) > 0),
            "`marked`: expected shape (3, 3)",
        ),
        (
            lambda: scatter_map(torch.rand(4, 3), torch.arange(4), "abcd", **LABELS),
            "`points`: expected shape (4, 2)",
        ),
        (
            lambda: scatter_map(torch.rand(4, 2), torch.arange(4), "abc", **LABELS),
            "integers from 0 to 2",
        ),
        (
            lambda: scatter_map(torch.rand(4, 2), torch.rand(4), "abcd", **LABELS),
            "`labels`: expected integers",
        ),
        (
            lambda: bars_with_spread({}, title="T", xlabel="x"),
            "`values`: expected a dictionary of 1 to 16 entries",
        ),
        (
            lambda: bars_with_spread({"a": [math.nan]}, title="T", xlabel="x"),
            "`values['a']`: expected one or more finite",
        ),
        (
            lambda: bars_with_spread({"a": 0.5}, title="T", xlabel="x"),
            "`values['a']`: expected shape (seeds)",
        ),
        (
            lambda: curve([1, 2], {"a": [1, 2, 3]}, **LABELS),
            "`values['a']`: expected 2 numbers",
        ),
        (lambda: curve([1, 2], [1, 2], **LABELS), "`values`: expected a dictionary"),
        (lambda: live([], every=0), "`every`"),
        (
            lambda: list(live([Step(1, 1, (torch.tensor(1.0),) * 2, 1, 1.0)])),
            "`names`: expected 2, one for each",
        ),
        (lambda: show(len), "`symbol`"),
        (lambda: show(3), "`symbol`"),
        (
            lambda: explore(lambda k: Figure(), k=IntSlider()),
            "`draw`: expected it to return a Picture",
        ),
    ],
)
def test_plot_functions_name_the_bad_argument(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


# Live


def descending(steps=40, interrupt=None, raised=None):
    """Losses 1/k, interrupted by a signal or by an exception while the given step is
    computed."""
    try:
        for k in range(1, steps + 1):
            if k == interrupt:
                signal.raise_signal(signal.SIGINT)
            if k == raised:
                raise KeyboardInterrupt
            yield Step(k, steps, (torch.tensor(1 / k),), 10 * k, 0.5 * k)
    finally:
        descending.closed = True


@pytest.fixture(autouse=True)
def interrupts_are_as_before():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before and plt.get_fignums() == []


def test_live_yields_every_step_and_records_losses_and_measures(capsys):
    run = live(descending(), every=1e-9, measure=lambda: 7.0)
    assert [step.k for step in run] == run.steps == list(range(1, 41))
    assert run.losses == {"loss": pytest.approx([1 / k for k in range(1, 41)])}
    assert (
        {1, 40} <= run.measures.keys()
        and set(run.measures.values()) == {7.0}
        and not run.stopped
    )
    line = capsys.readouterr().out
    assert (
        line.startswith("step 40 of 40 · loss 0.025 · 20 images/s · ")
        and line.count("\n") == 1
    )
    left, right = run.picture().axes
    assert left.lines[0].get_ydata() == pytest.approx(run.losses["loss"])
    assert list(right.lines[0].get_xdata()) == list(run.measures)


def test_live_smooths_losses_by_an_exponentially_weighted_mean():
    run = live(descending(500), every=1e9)
    list(run)
    keep = 1 - 100 / 500
    for k in (1, 2, 17, 500):
        weights = [keep ** (k - i) for i in range(1, k + 1)]
        wanted = sum(
            w / i for w, i in zip(weights, range(1, k + 1), strict=True)
        ) / sum(weights)
        assert run.picture().axes[0].lines[1].get_ydata()[k - 1] == pytest.approx(
            wanted
        )


def test_live_does_not_change_training_or_the_random_state():
    def train(watch):
        torch.manual_seed(1)
        method = Regression()
        steps = fit(method, points(), 6, batch_size=8, device="cpu")
        if watch:
            steps = live(steps, every=1e-9, measure=lambda: torch.rand(()).item())
        return [*(torch.rand(()) for _ in steps), *method.parameters()]

    assert all(
        torch.equal(a, b) for a, b in zip(train(True), train(False), strict=True)
    )


def test_live_shows_each_players_last_loss():
    steps = fit(ToyGAN(), points(), 3, batch_size=8, device="cpu")
    run, last = live(steps, names=("discriminator", "discriminator", "generator")), []
    for step in run:
        last.append(step.losses[1].item())
    assert (
        run.losses["discriminator"] == pytest.approx(last)
        and len(run.losses["generator"]) == 3
    )
    assert [t.get_text() for t in run.picture().axes[0].get_legend().get_texts()] == [
        "discriminator",
        "generator",
    ]


def test_live_leaves_a_gap_for_nan():
    values = iter([0.5, math.nan])
    run = live(descending(2), measure=lambda: next(values), measured="rank")
    list(run)
    assert run.measures[1] == 0.5 and math.isnan(run.measures[2])
    assert run.picture().axes[1].get_ylabel() == "rank" and run.picture().png()


@pytest.mark.parametrize(
    "where",
    [
        "signal while computing",
        "raised while computing",
        "signal in the body",
        "button",
    ],
)
def test_live_ends_the_loop_at_an_interrupt_and_keeps_the_run(where, capsys):
    descending.closed = False
    run = live(
        descending(
            interrupt=5 if where == "signal while computing" else None,
            raised=6 if where == "raised while computing" else None,
        )
    )
    for step in run:
        if step.k == 5 and where == "signal in the body":
            signal.raise_signal(signal.SIGINT)
        if step.k == 5 and where == "button":
            run._stop(None)
    assert run.steps == [1, 2, 3, 4, 5] and run.stopped and descending.closed
    assert "step 5 of 40" in capsys.readouterr().out
    assert run.picture().axes[0].lines[0].get_xdata()[-1] == 5


def test_method_can_be_trained_further_after_an_interrupted_live():
    method = Regression()
    before = method.net.weight.clone()
    for step in live(fit(method, points(), 50, batch_size=8, device="cpu")):
        if step.k == 3:
            signal.raise_signal(signal.SIGINT)
    assert step.k == 3 and not torch.equal(before, method.net.weight)
    stopped = method.net.weight.clone()
    for _ in live(fit(method, points(), 1, batch_size=8, device="cpu")):
        pass
    assert not torch.equal(stopped, method.net.weight)


def test_live_passes_on_an_error_of_the_body_after_drawing_the_last_state(capsys):
    for error in (KeyboardInterrupt, ZeroDivisionError):
        descending.closed, run = False, live(descending())
        with pytest.raises(error):
            for step in run:
                if step.k == 4:
                    raise error
        assert (
            run.steps == [1, 2, 3, 4]
            and descending.closed
            and "step 4 of 40" in capsys.readouterr().out
        )


def test_live_raises_keyboard_interrupt_at_the_second_interrupt():
    run, reached = live(descending()), []
    with pytest.raises(KeyboardInterrupt):
        for step in run:
            signal.raise_signal(signal.SIGINT)
            reached.append(step.k)
            signal.raise_signal(signal.SIGINT)
            reached.append("not here")
    assert reached == [1] and run.stopped


def test_live_handles_break_and_a_run_without_steps(capsys):
    run = live(descending())
    for step in run:
        if step.k == 2:
            break
    assert (
        run.steps == [1, 2]
        and not run.stopped
        and "step 2 of 40" in capsys.readouterr().out
    )
    assert (
        list(live([])) == [] and "no training step was done" in capsys.readouterr().out
    )


def test_live_drawing_takes_at_most_a_tenth_of_the_time(monkeypatch):
    now, measured = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def measure():
        measured.append(now[0])
        now[0] += 2.0
        return 0.0

    for _ in live(descending(1000), every=0.5, measure=measure):
        now[0] += 0.1
    # the first call, cold, does not count; the last one ends the run
    gaps = np.diff(measured)[1:-1]
    assert len(gaps) >= 3 and all(20.0 <= gap < 20.7 for gap in gaps)


# Explore


def test_explore_redraws_with_real_values_and_shows_errors():
    def draw(k, sign):
        if k == 3:
            raise RuntimeError("three is <bad>")
        return curve(
            [0, 1], {"line": [0, sign * k]}, title=f"{k} times", xlabel="x", ylabel="y"
        )

    panel = explore(
        draw, k=IntSlider(1, 0, 9), sign=IntSlider(1, -1, 1, description="the sign")
    )
    *sliders, image, words = panel.children
    assert [(s.description, s.style.description_width) for s in sliders] == [
        ("k", "9ch"),
        ("the sign", "9ch"),
    ]
    assert image.value == draw(1, 1).png() and draw(1, 1).alt in words.value
    assert panel.move(k=2) == image.value == draw(2, 1).png()
    assert panel.move(k=4, sign=-1) == draw(4, -1).png()
    with pytest.raises(RuntimeError, match="three"):
        panel.move(k=3)
    assert (
        "RuntimeError: three is &lt;bad&gt;" in words.value
        and image.layout.display == "none"
    )
    assert panel.move(k=5) == draw(5, -1).png() and image.layout.display is None
    assert "5 times" in words.value and "RuntimeError" not in words.value
    with pytest.raises(RuntimeError, match="three"):
        explore(draw, k=IntSlider(3), sign=IntSlider(1))


def test_explore_collects_no_garbage_before_the_picture_is_there():
    enabled = []

    def draw(k):
        enabled.append(gc.isenabled())
        if k == 2:
            raise RuntimeError("two")
        return curve([0, 1], {"line": [0, k]}, title="t", xlabel="x", ylabel="y")

    panel = explore(draw, k=IntSlider(1, 0, 9))
    with pytest.raises(RuntimeError, match="two"):
        panel.move(k=2)
    assert enabled == [False, False] and gc.isenabled()


def test_a_picture_has_the_pixels_that_savefig_draws_in_two_passes():
    def drawn(words):
        figure, ax = subplots(height=2)
        ax.plot([0, 1], [0, 1e5])
        ax.set(title="$x_t$", xlabel="x")
        figure.suptitle("word " * words, x=0.01, ha="left", wrap=True)
        return figure

    for words in (3, 40):  # a title of one line, and one of several
        file = io.BytesIO()
        drawn(words).savefig(file, format="png")
        pixels, other = (
            np.asarray(Image.open(io.BytesIO(data)))
            for data in (drawn(words).png(), file.getvalue())
        )
        assert np.array_equal(pixels, other)


# Show, budget


def test_show_prints_the_source_with_file_and_line(capsys):
    show(ema)
    where, *source = capsys.readouterr().out.splitlines()
    lines = open(course_lib.teacher.__file__).read().splitlines()
    first = int(where.removeprefix("# course_lib/teacher.py, line "))
    assert source == lines[first - 1 : first - 1 + len(source)] and source[:2] == [
        "@torch.no_grad()",
        lines[first],
    ]
    show(Method.turns, doc=False)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "def turns(self) -> list[tuple[Callable, Iterable[Tensor]]]:",
        "    return [(self.loss, self.parameters())]",
    ]
    show(Method, doc=False)
    source = capsys.readouterr().out
    assert source.splitlines()[1:3] == [
        "class Method(nn.Module):",
        "    progress = 0.0",
    ]
    # all that after_step has; without it the class would not compile
    assert '"""' in source
    compile(source, "shown", "exec")


def test_show_after_an_exercise_folds_the_source(monkeypatch):
    displayed = []
    monkeypatch.setattr(
        sys.modules["course_lib.notebook.show"], "display", displayed.append
    )
    show(ema)
    show(ema, after="exercise 3 <b>")
    plain, folded = (source._repr_html_() for source in displayed)
    assert displayed[0] == displayed[1]  # as text, both show the source
    summary, _, code = folded.partition("</summary>")
    assert summary.startswith("<details><summary>") and code == f"{plain}</details>"
    assert "ema" in summary and "exercise 3 &lt;b&gt;" in summary
    assert "<details" not in plain


def test_source_html_sets_its_own_background_and_text_colour():
    html = (
        sys.modules["course_lib.notebook.show"]
        .Source("def lerp_(x):\n    return x")
        ._repr_html_()
    )
    assert (
        f"background: {PAPER}" in html
        and f"color: {INK}" in html
        and "lerp_" in html
        and "<style" not in html
    )


def test_source_html_wraps_lines_that_are_wider_than_the_window():
    source = sys.modules["course_lib.notebook.show"].Source("x = 1  # " + 80 * "y")
    assert "white-space: pre-wrap" in source._repr_html_()


def test_budget_is_read_from_the_environment_or_the_device(monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "smoke")
    assert budget() == "smoke"
    monkeypatch.setenv("COURSE_BUDGET", "lots")
    with pytest.raises(
        ValueError,
        match="COURSE_BUDGET: expected one of smoke, laptop, gpu, got 'lots'",
    ):
        budget()
    for cuda, expected in ((True, "gpu"), (False, "laptop")):
        monkeypatch.delenv("COURSE_BUDGET", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert budget() == expected
        monkeypatch.setenv("COURSE_BUDGET", "")
        assert budget() == expected


# In a kernel

CELL = """
import itertools, torch
from course_lib.notebook import live
from course_lib.train import Step
endless = (Step(k, 10**9, (torch.tensor(1 / k),), k, float(k)) for k in itertools.count(1))
run = live(endless, every=0.01)
for step in run: pass
print("after the loop", run.stopped, step.k == run.steps[-1])
"""


class Kernel:
    """Runs a cell as a front end does; calls `act(message)` for each message that
    comes, until the cell has ended."""

    def __init__(self):
        self.manager = KernelManager(transport="ipc")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code, act):
        request, messages = self.client.execute(code), []
        while not messages or messages[-1]["content"] != {"execution_state": "idle"}:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") == request:
                messages.append(message)
                act(message)
        return messages

    def click(self, comm):
        """A click as JupyterLab sends it: to a subshell, since the main shell is
        busy."""
        request = self.client.session.msg("create_subshell_request")
        self.client.control_channel.send(request)
        reply = self.client.control_channel.get_msg(timeout=120)
        click = {
            "comm_id": comm,
            "data": {"method": "custom", "content": {"event": "click"}},
        }
        message = self.client.session.msg("comm_msg", click)
        message["header"]["subshell_id"] = reply["content"]["subshell_id"]
        self.client.shell_channel.send(message)


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("by", ["interrupt", "button", "interrupt"])
def test_live_in_a_kernel_updates_one_figure_in_place_until_stopped(kernel, by):
    buttons, updates = [], itertools.count(1)

    def act(message):
        data = message["content"].get("data", {})
        if (
            message["msg_type"] == "comm_open"
            and data["state"]["_model_name"] == "ButtonModel"
        ):
            buttons.append(message["content"]["comm_id"])
        if message["msg_type"] == "update_display_data" and next(updates) == 2:
            kernel.click(
                buttons[0]
            ) if by == "button" else kernel.manager.interrupt_kernel()

    messages = kernel.run(CELL, act)
    kinds = [m["msg_type"] for m in messages]
    # the button, and the figure
    assert "error" not in kinds and kinds.count("display_data") == 2
    button, figure = (m["content"] for m in messages if m["msg_type"] == "display_data")
    assert (
        "application/vnd.jupyter.widget-view+json" in button["data"]
        and "image/png" in figure["data"]
    )
    ids = {
        c["transient"]["display_id"]: c
        for c in (m["content"] for m in messages)
        if "transient" in c
    }
    assert ids.keys() == {
        button["transient"]["display_id"],
        figure["transient"]["display_id"],
    }
    assert ids[button["transient"]["display_id"]]["data"] == {
        "text/plain": "stopped: the trained weights are kept"
    }
    last = ids[figure["transient"]["display_id"]]
    assert (
        last["metadata"]["image/png"]["alt"].startswith("Training, step ")
        and last["data"] != figure["data"]
    )
    assert buttons[0] in json.dumps(
        [m["content"] for m in messages if m["msg_type"] == "comm_close"]
    )
    printed = "".join(
        m["content"]["text"] for m in messages if m["msg_type"] == "stream"
    )
    assert printed == "after the loop True True\n"
