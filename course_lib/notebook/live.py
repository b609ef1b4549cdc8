"""Figures that are updated in place: `live` plots a training run, `explore` adds
sliders to a figure."""

import contextlib
import gc
import html
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator

import ipywidgets as widgets
import torch
from IPython import get_ipython
from IPython.display import display

from course_lib.checks import positive
from course_lib.notebook.style import LINES, PALETTE, Picture, describe, subplots


class _Throttle:
    """Limits how often a function is run: at most once in `every` seconds, and at most
    a tenth of the time. `due` is the time of the next run. The first run sets no limit
    by its duration, since it is slower than later ones."""

    def __init__(self, every: float):
        self.every, self.due, self.warm = every, 0.0, False

    def run(self, function: Callable):
        began = time.monotonic()
        result = function()
        now = time.monotonic()
        self.due = now + max(self.every, 9 * (now - began) * self.warm)
        self.warm = True
        return result


class live:
    """Plots a training run while it computes: `for step in live(fit(...)): ...`

    The figure is updated in place. It shows the loss (faint) and its moving average, a
    measure of collapse if given, images/s and the time left. It is redrawn every
    `every` seconds, but less often where redrawing would take more than a tenth of the
    time. Losses are read from the device only for drawing, so that a GPU need not wait
    at every step.

    To stop a run, use Kernel > Interrupt or the button (which appears only where the
    kernel can react to it during a computation). The current step is completed, the
    last state is drawn, and the loop ends normally: the method keeps its trained
    weights. A second interrupt does not wait for the end of the step. Outside a
    notebook nothing is drawn; one line is printed at the end.

    steps: the iterator that `fit` returns. measure: a function without arguments that
    returns a float; nan leaves a gap in the curve. It is called at the first and at the
    last step, and in between for at most a tenth of the time. PyTorch's random state
    is restored after each call. measured: the name of the measure, for its axis. names:
    one name for each turn of the method (each loss of a step); where several turns
    share a name, only the last one is plotted.

    Attributes after the loop: `steps` (all k), `losses` (name -> a number for each k),
    `measures` (k -> value), `stopped` (bool); `picture()` returns the figure. Raises
    ValueError when the numbers of names and turns differ.
    """

    def __init__(
        self,
        steps: Iterable,
        *,
        every: float = 0.5,
        measure: Callable[[], float] | None = None,
        measured: str = "collapse measure",
        names: tuple[str, ...] = ("loss",),
    ):
        self.steps, self.measures, self.stopped = [], {}, False
        self.losses = {name: [] for name in names}
        self._smooth = {name: [] for name in names}
        self._source, self._measure, self._measured = steps, measure, measured
        self._names, self._pending = names, []
        self._drawing = _Throttle(positive("every", every))
        self._measuring = _Throttle(every)
        self._kernel = getattr(get_ipython(), "kernel", None)
        self._button, self._displays = None, ()

    def __iter__(self) -> Iterator:
        # only the main thread can handle signals
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, self._interrupt) if in_main else None
        self._began = time.monotonic()
        try:
            for step in self._source:
                if len(step.losses) != len(self._names):
                    raise ValueError(
                        f"argument `names`: expected {len(step.losses)}, one for each "
                        f"of the method's turns, got {self._names}"
                    )
                self._pending.append(step)
                if time.monotonic() >= self._drawing.due:
                    self._update()
                yield step
                if self.stopped:
                    break
        # a second interrupt, or a KeyboardInterrupt that was raised without a signal
        except KeyboardInterrupt:
            self.stopped = True
        finally:
            # a generator cleans up now, not later at garbage collection
            if hasattr(self._source, "close"):
                self._source.close()
            if self._pending or self.steps:
                self._update(last=True)
            self._conclude()
            if in_main:
                signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_):
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True

    def _stop(self, _):
        self.stopped = True

    def _update(self, last: bool = False):
        """Reads the pending losses, calls `measure` if it is due, and redraws."""
        now = time.monotonic()
        if self._pending:
            values = torch.stack(
                [torch.stack(step.losses) for step in self._pending]
            ).tolist()
            for step, losses in zip(self._pending, values, strict=True):
                self.steps.append(step.k)
                for name, loss in dict(zip(self._names, losses, strict=True)).items():
                    self._record(name, loss, keep=max(0.0, 1 - 100 / step.steps))
            self._step, self._spent = step, now - self._began
            self._pending.clear()
        if (
            self._measure is not None
            and (last or now >= self._measuring.due)
            and self.steps[-1] not in self.measures
        ):
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                self.measures[self.steps[-1]] = float(
                    self._measuring.run(self._measure)
                )
        self._drawing.run(self._draw)

    def _record(self, name: str, loss: float, keep: float):
        """Appends a loss and its moving average, with the bias correction of Adam."""
        self.losses[name].append(loss)
        n, averages = len(self.losses[name]), self._smooth[name]
        before = averages[-1] * (1 - keep ** (n - 1)) if n > 1 else 0.0
        averages.append((keep * before + (1 - keep) * loss) / (1 - keep**n))

    def _draw(self):
        if self._kernel is None:
            return
        if self._displays:
            self._displays[1].update(self.picture())
            return
        advice = "Kernel > Interrupt stops the training and keeps the trained weights."
        first = {"text/plain": advice}
        if "kernel subshells" in self._kernel.kernel_info.get("supported_features", ()):
            first = self._button = widgets.Button(
                description="Stop (or Kernel > Interrupt)",
                icon="stop",
                layout=widgets.Layout(width="auto"),
            )
            self._button.on_click(self._stop)
            # without this, ipykernel 7.4 handles a click in the thread that made the
            # button, which is busy with training
            vars(self._button.comm).pop("_reply_subshell_id", None)
        self._displays = (
            display(first, raw=first is not self._button, display_id=True),
            display(self.picture(), display_id=True),
        )

    def _conclude(self):
        """Says in one line how the run ended. This line replaces the button (or the
        advice to use Kernel > Interrupt); outside a notebook it is printed."""
        line = "ended early"
        if self.stopped:
            line = "stopped: the trained weights are kept"
        elif self.steps and self._step.k == self._step.steps:
            line = "all steps done"
        if not self._displays:
            print(f"{self.status()} · {line}")
            return
        self._displays[0].update({"text/plain": line}, raw=True)
        if self._button is not None:
            for part in (self._button, self._button.layout, self._button.style):
                part.close()  # else the notebook would save a button without effect

    def status(self) -> str:
        """The progress of the run, in one line."""
        if not self.steps:
            return "no training step was done"
        step, spent = self._step, self._spent
        more = spent / len(self.steps) * (step.steps - step.k)
        rest = f"{_clock(more)} left" if more else _clock(spent)
        losses = " · ".join(
            f"{name} {values[-1]:.4g}" for name, values in self.losses.items()
        )
        speed = f"{step.images / step.seconds:,.0f} images/s"
        return f"step {step.k:,} of {step.steps:,} · {losses} · {speed} · {rest}"

    def picture(self) -> Picture:
        """The figure of the run so far."""
        figure, _ = subplots(1, 2 if self._measure else 1, height=2.8)
        figure.suptitle(self.status(), x=0.01, ha="left")
        left, *right = figure.axes
        for i, (name, values) in enumerate(self.losses.items()):
            left.plot(self.steps, values, color=PALETTE[i], alpha=0.45, linewidth=1)
            style = dict(color=PALETTE[i], linestyle=LINES[i % len(LINES)], label=name)
            left.plot(self.steps, self._smooth[name], **style)
        left.set(xlabel="step", ylabel="loss")
        if len(self.losses) > 1:
            left.legend()
        for ax in right:
            points = self.measures.keys(), self.measures.values()
            ax.plot(*points, "o-", color=PALETTE[2], markersize=3)
            ax.set(xlabel="step", ylabel=self._measured)
        for ax in figure.axes:
            ax.set_xlim(0, self._step.steps)
        text = f"Training, {self.status()}"
        if self.measures:
            values = ", ".join(f"{value:.3g}" for value in self.measures.values())
            text += f"; {self._measured}: {values}"
        return describe(figure, text)


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.0f} s"


@contextlib.contextmanager
def _no_collection():
    """Puts off Python's garbage collection until the end of the block. A collection
    looks at all objects of the notebook. This takes up to half a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# CSS of text that is invisible, but read by screen readers
SCREEN_READER_ONLY = "position: absolute; width: 1px; height: 1px; overflow: hidden"


class explore(widgets.VBox):
    """A figure with sliders: `explore(draw, tau=FloatLogSlider(...),
    k=IntSlider(...))`.

    `draw` is called with the values of the controls as keyword arguments, at once and
    again after every change. It returns a `Picture` (from a plot of this package, or
    from `subplots`). The new picture and its alternative text replace the old ones. An
    error in the first call is raised in the cell. An error in a later call is displayed
    with its traceback in place of the picture, and is also raised where the value was
    set. Tests set values by `move(tau=0.1)`.

    `draw` may run in another thread while a cell is running. So it must not change the
    data that it plots.
    """

    def __init__(self, draw: Callable[..., Picture], **controls: widgets.Widget):
        self._draw, self.controls = draw, controls
        # no margin: the picture may be as wide as the cell, and a margin would be added
        # to this width and give the widget a scroll bar
        self._image = widgets.Image(
            format="png", layout={"align_self": "flex-start", "margin": "0"}
        )
        self._words = widgets.HTML()
        super().__init__([*controls.values(), self._image, self._words])
        for name, control in controls.items():
            if not control.description:
                control.description = name
            control.observe(self._redraw, "value")
        longest = max(
            (len(control.description) for control in controls.values()), default=0
        )
        for control in controls.values():  # ipywidgets would cut a name after 80 pixels
            control.style.description_width = f"{longest + 1}ch"
        self._redraw()

    @_no_collection()
    def _redraw(self, _=None):
        try:
            picture = self._draw(
                **{name: control.value for name, control in self.controls.items()}
            )
            if not isinstance(picture, Picture):
                raise ValueError(
                    "argument `draw`: expected it to return a Picture, got "
                    f"{type(picture).__name__}"
                )
            self._image.value, self._image.layout.display = picture.png(), None
            self._words.value = (
                f"<div role='status' style='{SCREEN_READER_ONLY}'>"
                f"{html.escape(picture.alt)}</div>"
            )
        except Exception:
            self._image.layout.display = "none"
            self._words.value = (
                f"<pre role='alert'>{html.escape(traceback.format_exc())}</pre>"
            )
            raise

    def move(self, **values) -> bytes:
        """Sets controls by name, with the same effect as moving the sliders. Returns
        the new picture (PNG); raises any error of `draw`."""
        for name, value in values.items():
            self.controls[name].value = value
        return self._image.value
