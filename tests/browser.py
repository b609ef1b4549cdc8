"""JupyterLab in a real browser: a server in a folder of its own, notebooks opened, run
and moved as a user would.

The JupyterLab application object (`jupyterapp`) is asked only for what a user sees as
well: execution counts, outputs.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# seconds for anything on a loaded machine; a test that passes waits for none of them in
# full
PATIENCE = 180.0
SETTINGS = Path(__file__).parents[1] / "tools" / "lab"  # those of `make lab`
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model)
    .filter(model => model.type === "code").map(model => ({
        source: model.sharedModel.source, count: model.executionCount, outputs: model.outputs.toJSON().map(
            output => ({...output, data: {...output.data, "image/png": undefined}}))}))"""
READY = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
# What is on show in a widget's image (a blob's address changes with every update, also
# when the picture does not).
DIGEST = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-1", bytes))).join();
}"""
# Notes when the user last moved something in a widget, and when its image was last
# replaced.
WATCH = """box => {
    const note = key => () => { box.dataset[key] = performance.now(); };
    for (const kind of ["keydown", "change", "click"]) box.addEventListener(kind, note("moved"), true);
    box.querySelector("img").addEventListener("load", note("shown"));
}"""
KEYS = [
    ("ArrowRight", "ArrowLeft"),
    ("ArrowLeft", "ArrowRight"),
    ("PageUp", "PageDown"),
    ("PageDown", "PageUp"),
]
TYPED = ("blue book", "grinning face", "dog")


def _server_info(runtime: Path) -> dict | None:
    """Returns what the server says about itself, None until its file is complete."""
    for path in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(ValueError):
            return json.loads(path.read_text())
    return None


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves `folder` / "files" and keeps all that it
    writes in `folder`."""
    (folder / "files").mkdir(exist_ok=True)
    own = {
        f"{name}_DIR": str(folder / name.lower())
        for name in ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME")
    }
    own |= {
        "JUPYTER_CONFIG_PATH": str(SETTINGS),
        "IPYTHONDIR": str(folder / "ipython"),
        "COURSE_BUDGET": "smoke",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        "--ServerApp.root_dir=" + str(folder / "files"),
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if os.name == "posix" and os.getuid() == 0:
        command.append("--allow-root")
    # It ends with its input, that is with this process at the latest, however that
    # ends; and its kernels with it.
    command = ["sh", "-c", '"$@" & read end; kill $!; wait', "sh", *command]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        info = poll(
            lambda: _server_info(folder / "jupyter_runtime"),
            "the server's start, see its server.log",
        )
        yield f"{info['url']}lab/tree/NOTEBOOK?reset&token={info['token']}"
    finally:
        server.stdin.close()
        try:
            server.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def poll(condition, what: str, patience: float = PATIENCE):
    """Waits for a true value and returns it. Raises TimeoutError, naming what was
    waited for."""
    end = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.1)
    return value


class Notebook:
    """A notebook of the server's folder, open in a page of its own; `close` ends its
    kernel."""

    def __init__(self, browser: Browser, address: str, name: str):
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.goto(address.replace("NOTEBOOK", name))
        # who runs cells sooner is asked to select a kernel
        self.page.wait_for_function(READY)

    def close(self):
        self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"
        )
        self.page.close()

    def cells(self) -> list[dict]:
        """source, count and outputs (but for the pictures' bytes) of each code cell."""
        return self.page.evaluate(CELLS)

    def menu(self, *path: str):
        """Chooses from the menus: menu("Run", "Run All Cells")."""
        first, *rest = path
        self.page.locator(".lm-MenuBar-itemLabel", has_text=first).first.click()
        for name in rest:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(
                name, exact=True
            ).click()

    def run_all(self) -> float:
        """Run > Run All Cells, until all are done; returns the seconds. Raises
        AssertionError where one failed."""
        before, began = (
            max((cell["count"] or 0) for cell in self.cells()),
            time.monotonic(),
        )
        self.menu("Run", "Run All Cells")
        self.ran(before)
        return time.monotonic() - began

    def ran(self, before: int = 0):
        """Waits until every code cell has run, in their order, as number before + 1,
        before + 2 and so on."""

        def done():
            assert not (found := self.errors()), found
            counts = [cell["count"] for cell in self.cells() if cell["source"].strip()]
            return counts == list(range(before + 1, before + 1 + len(counts)))

        poll(done, "all cells")
        assert not (found := self.errors()), found

    def errors(self) -> list[str]:
        """Errors of cells, in the outputs and in widgets."""
        outputs = [
            output
            for cell in self.cells()
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]
        found = [f"{output['ename']}: {output['evalue']}" for output in outputs]
        return (
            found
            + self.page.locator(
                "[role=alert]:not(:empty)", has_text="Traceback"
            ).all_inner_texts()
        )

    def widgets(self) -> list[Locator]:
        """The `explore` boxes, when all of them are on the page with their pictures."""
        kinds = [
            kind
            for cell in self.cells()
            for output in cell["outputs"]
            for kind in output["data"]
        ]
        wanted = kinds.count("application/vnd.jupyter.widget-view+json")
        boxes = self.page.locator(".jp-OutputArea-output .widget-vbox:has(img)")
        poll(lambda: boxes.count() == wanted, f"{wanted} widgets")
        return boxes.all()


def move_all(box: Locator) -> list[dict]:
    """Moves every control of an `explore` box; of each its name, whether the picture
    changed, and after how long."""
    box.scroll_into_view_if_needed()
    box.evaluate(WATCH)
    controls = box.locator(":scope > :not(.widget-html, img)").all()
    return [
        {
            "control": "".join(control.locator("label").all_inner_texts()).strip(
                "\u200b "
            ),
            **_move(box, control),
        }
        for control in controls
    ]


def _move(box: Locator, control: Locator) -> dict:
    """Tries one value after the other until the picture is another one; then puts the
    control back, since it may be that under another value of this one the next one has
    nothing to say."""
    image = box.locator("img")

    def changes(move) -> bool:
        before = image.evaluate(DIGEST)
        if move() is not False:  # not at the end of its range
            with contextlib.suppress(TimeoutError):
                return poll(
                    lambda: image.evaluate(DIGEST) != before, "another picture", 10
                )
        return False

    for move, back in _moves(control):
        if changes(move):
            moved, shown = box.evaluate(
                "box => [box.dataset.moved, box.dataset.shown].map(Number)"
            )
            return {
                "changed": True,
                "seconds": round((shown - moved) / 1000, 3),
                "and back": changes(back),
            }
    return {"changed": False}


def _moves(control: Locator) -> list[tuple]:
    """What a hand can do to a control, and how to undo it."""
    handle, options = (
        control.locator(".noUi-handle"),
        control.locator("select option, datalist option"),
    )
    if handle.count():

        def press(key):
            before = handle.get_attribute("aria-valuetext")
            handle.press(key)
            return handle.get_attribute("aria-valuetext") != before

        return [
            (lambda key=key: press(key), lambda back=back: press(back))
            for key, back in KEYS
        ]
    if control.locator("select").count():
        field = control.locator("select")
        first = field.evaluate("field => field.selectedIndex")
        return [
            (
                lambda k=k: field.select_option(index=k),
                lambda: field.select_option(index=first),
            )
            for k in range(options.count())
            if k != first
        ]
    if control.locator("input[type=checkbox], button").count():
        click = control.locator("input, button").first.click
        return [(click, click)]
    field = control.locator("input[type=text]")
    first, texts = (
        field.input_value(),
        options.evaluate_all("options => options.slice(0, 3).map(o => o.value)"),
    )

    def write(text):
        field.fill(text)
        field.press("Enter")

    return [
        (lambda text=text: write(text), lambda: write(first)) for text in texts or TYPED
    ]
