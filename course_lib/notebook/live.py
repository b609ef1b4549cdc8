"""Figures that change in place: `live` draws a training run, `explore` answers to
sliders."""

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


class _Pace:
    """Says when something is due again if it may take a tenth of the time; the first
    call, cold, does not count."""

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
    """Wraps the steps of `course_lib.train.fit` and draws them while they come: `for
    step in live(fit(...)): ...`

    One figure, updated in place: loss (faint) and its moving average, a measure of
    collapse, images/s, time left. It is redrawn every `every` seconds, less often where
    that would take more than a tenth of the time. Losses are read from the device only
    then, so that a GPU never waits in between.

    To stop a run: Kernel > Interrupt, or the button (shown where the kernel can answer
    it while it works). The step under way is finished, the last state drawn, and the
    loop ends as if the steps had run out: the method keeps what it has learnt. A second
    interrupt breaks off at once. Outside a notebook nothing is drawn; one line is
    printed.

    steps: what `fit` returns. measure: function -> float (a gap is left for nan),
    called at the first and last step and for at most a tenth of the
        time between them; random numbers it takes from torch are given back. measured: the name of its axis.
    names: one for each of the method's turns; where turns share a name the last one is
    shown.

    After the loop: `steps` (every k), `losses` (name -> a number for each k),
    `measures` (k -> value), `stopped`, `picture()`. Raises ValueError when `names` and
    turns differ in number.
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
        self.steps, self.losses, self.measures, self.stopped = (
            [],
            {name: [] for name in names},
            {},
            False,
        )
        self._source, self._measure, self._measured = steps, measure, measured
        self._names, self._pending, self._smooth = (
            names,
            [],
            {name: [] for name in names},
        )
        self._drawing, self._measuring = _Pace(positive("every", every)), _Pace(every)
        self._kernel, self._button, self._shown = (
            getattr(get_ipython(), "kernel", None),
            None,
            (),
        )

    def __iter__(self) -> Iterator:
        # signals can be caught nowhere else
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, self._interrupt) if in_main else None
        self._began = time.monotonic()
        try:
            for step in self._source:
                if len(step.losses) != len(self._names):
                    raise ValueError(
                        f"argument `names`: expected {len(step.losses)}, one for each "
                        "of the method's "
                        f"turns, got {self._names}"
                    )
                self._pending.append(step)
                if time.monotonic() >= self._drawing.due:
                    self._update()
                yield step
                if self.stopped:
                    break
        # the second one, or one that was raised and not signalled
        except KeyboardInterrupt:
            self.stopped = True
        finally:
            # a generator puts its things away now, not when garbage is collected
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
        """Reads the losses that have come in, measures when that is due, redraws."""
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
        """Appends a loss and the moving average, whose start is corrected as Adam
        corrects its moments."""
        self.losses[name].append(loss)
        seen = len(self.losses[name])
        before = self._smooth[name][-1] * (1 - keep ** (seen - 1)) if seen > 1 else 0.0
        self._smooth[name].append(
            (keep * before + (1 - keep) * loss) / (1 - keep**seen)
        )

    def _draw(self):
        if self._kernel is None:
            return
        if self._shown:
            self._shown[1].update(self.picture())
            return
        first = {
            "text/plain": "Kernel > Interrupt ends the training early and keeps what was learnt."
        }
        if "kernel subshells" in self._kernel.kernel_info.get("supported_features", ()):
            first = self._button = widgets.Button(
                description="Stop (or Kernel > Interrupt)",
                icon="stop",
                layout=widgets.Layout(width="auto"),
            )
            self._button.on_click(self._stop)
            # ipykernel 7.4 would answer a click in the thread that made the button,
            # which is busy training
            vars(self._button.comm).pop("_reply_subshell_id", None)
        self._shown = (
            display(first, raw=first is not self._button, display_id=True),
            display(self.picture(), display_id=True),
        )

    def _conclude(self):
        """A line that stays: in the place of the button, or printed."""
        all_done = self.steps and self._step.k == self._step.steps
        line = (
            "stopped: what was learnt is kept"
            if self.stopped
            else "all steps done"
            if all_done
            else "ended early"
        )
        if not self._shown:
            print(f"{self.status()} · {line}")
            return
        self._shown[0].update({"text/plain": line}, raw=True)
        if self._button is not None:
            for part in (self._button, self._button.layout, self._button.style):
                part.close()  # else the notebook would save a button that does nothing

    def status(self) -> str:
        """How far the run is, in a line."""
        if not self.steps:
            return "no step was made"
        step, spent = self._step, self._spent
        more = spent / len(self.steps) * (step.steps - step.k)
        rest = f"{_clock(more)} left" if more else _clock(spent)
        losses = " · ".join(
            f"{name} {values[-1]:.4g}" for name, values in self.losses.items()
        )
        return f"step {step.k:,} of {step.steps:,} · {losses} · {step.images / step.seconds:,.0f} images/s · {rest}"

    def picture(self) -> Picture:
        """The figure of the run so far."""
        figure, _ = subplots(1, 2 if self._measure else 1, height=2.8)
        figure.suptitle(self.status(), x=0.01, ha="left")
        left, *right = figure.axes
        for i, (name, values) in enumerate(self.losses.items()):
            left.plot(self.steps, values, color=PALETTE[i], alpha=0.45, linewidth=1)
            left.plot(
                self.steps,
                self._smooth[name],
                color=PALETTE[i],
                linestyle=LINES[i % len(LINES)],
                label=name,
            )
        left.set(xlabel="step", ylabel="loss")
        if len(self.losses) > 1:
            left.legend()
        for ax in right:
            ax.plot(
                self.measures.keys(),
                self.measures.values(),
                "o-",
                color=PALETTE[2],
                markersize=3,
            )
            ax.set(xlabel="step", ylabel=self._measured)
        for ax in figure.axes:
            ax.set_xlim(0, self._step.steps)
        measures = f"; {self._measured}: " + ", ".join(
            f"{value:.3g}" for value in self.measures.values()
        )
        return describe(
            figure, f"Training, {self.status()}" + (measures if self.measures else "")
        )


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.0f} s"


# but read by screen readers
UNSEEN = "position: absolute; width: 1px; height: 1px; overflow: hidden"


class explore(widgets.VBox):
    """A figure that answers to sliders: `explore(draw, tau=FloatLogSlider(...),
    k=IntSlider(...))`.

    draw is called with the controls' values by name and returns a `Picture` (of
    `plots`, or of `subplots`), which is replaced in place, alternative text included.
    The first call is made at once: what fails, fails in the cell. Later an error stands
    in place of the picture, traceback and all, and is raised for whoever set the value:
    tests move controls with `move(tau=0.1)`.

    draw may run while another cell does, in another thread: it must not change what it
    shows.
    """

    def __init__(self, draw: Callable[..., Picture], **controls: widgets.Widget):
        self._draw, self.controls = draw, controls
        # as wide as the cell at most: its margin would be added to that, and the whole
        # widget get a scroll bar
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
                f"<div role='status' style='{UNSEEN}'>{html.escape(picture.alt)}</div>"
            )
        except Exception:
            self._image.layout.display = "none"
            self._words.value = (
                f"<pre role='alert'>{html.escape(traceback.format_exc())}</pre>"
            )
            raise

    def move(self, **values) -> bytes:
        """Sets controls, as a hand would; returns the picture (PNG) that came of it,
        raises what `draw` raised."""
        for name, value in values.items():
            self.controls[name].value = value
        return self._image.value
