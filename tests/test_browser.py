"""JupyterLab in Chromium, as a user has it: Run All, every control of every widget,
training stopped, an exercise.

What it measured lies in runs/browser/ afterwards: NAME.json (controls and their
answers), screenshots of the widgets.
"""

import inspect
import json

import nbformat
import pytest
from browser import CHROMIUM, Notebook, chromium, jupyterlab, move_all, poll
from build_notebooks import NOTEBOOKS, ROOT
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.grading import sheet

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
FIRST = "00_representations"  # what everybody opens; the others in `make test-all`
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
PICTURES = ROOT / "runs" / "browser"
# seconds from a move to the new picture, on a machine that does nothing else: reported,
# not asserted
GOAL = 0.3
TRAINING = """\
from ipywidgets import IntSlider

from course_lib import evaluate, recipe as recipes
from course_lib.data import load
from course_lib.notebook import curve, explore, live
recipe, train = recipes.lookup("simclr"), load("scenes")
method = recipes.build(recipe, seed=0)
---
def rank():
    return evaluate.effective_rank(evaluate.features(method, train.x[:64]))
run = live(recipes.train(recipe, method, train, seed=0, steps=5000, batch_size=8), every=0.1, measure=rank,
           measured="effective rank")
for step in run:
    pass
---
print("stopped:", run.stopped, "steps:", len(run.steps) == step.k)
---
def draw(k):
    return curve([0, 1], {"line": [0, k]}, title=f"{k} times", xlabel="x", ylabel="y")
explore(draw, k=IntSlider(1, 0, 9))
"""
# Frame by frame until the picture has been replaced five times: how many there are,
# whether it can be painted, where.
FRAMES = """async cell => {
    const seen = new Set(), pictures = new Set();
    while (pictures.size < 6) {
        await new Promise(requestAnimationFrame);
        const images = [...cell.querySelectorAll("img")];
        images.forEach(image => pictures.add(image.src));
        const whole = images.every(image => image.complete && image.naturalWidth > 0);
        seen.add(`${images.length} picture, whole: ${whole}, cell of ${cell.getBoundingClientRect().height} px`);
    }
    return [...seen];
}"""
SCROLL = """() => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const saved = cell => JSON.stringify(cell.model.outputs?.toJSON() ?? []).includes("widget-view");
    return notebook.scrollToItem(notebook.widgets.findIndex(saved), "center");
}"""
TOO_WIDE = """() => {
    const panel = document.querySelector(".jp-NotebookPanel .jp-WindowedPanel-outer");
    const outputs = [...document.querySelectorAll(".jp-OutputArea-output:has(img)")];
    const right = element => element.getBoundingClientRect().right;
    return [document.documentElement, panel, ...outputs].filter(area => area.scrollWidth > area.clientWidth + 1)
        .concat(outputs.filter(output => [...output.querySelectorAll("img")].some(i => right(i) > right(output) + 1)))
        .map(area => area.outerHTML.slice(0, 300));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Opens a notebook: lab(name, notebook)."""
    folder = tmp_path_factory.mktemp("lab")
    PICTURES.mkdir(parents=True, exist_ok=True)

    def opened(name, notebook):
        path = folder / "files" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        notary.sign(nbformat.read(path, as_version=4))
        return Notebook(browser, address, f"{name}.ipynb")

    (folder / "jupyter_data").mkdir()
    notary = NotebookNotary(data_dir=str(folder / "jupyter_data"))
    with jupyterlab(folder) as address, chromium() as browser:
        yield opened


def committed(path):
    """A copy of a notebook, outputs and saved widgets included, whose cells have not
    run yet."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
    return notebook


def written(text):
    kernel = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
    }
    return new_notebook(
        cells=[new_code_cell(source.strip()) for source in text.split("---\n")],
        metadata=kernel,
    )


@pytest.mark.parametrize(
    ("name", "again"),
    [pytest.param(FIRST, False, id=FIRST)]
    + [pytest.param(n, True, marks=pytest.mark.slow, id=f"{n}-again") for n in NAMES],
)
def test_notebooks_run_in_a_browser_and_every_control_changes_its_picture(
    lab, name, again
):
    """`again`: all cells run a second time, as those of a short notebook do below."""
    notebook = lab(name, committed(NOTEBOOKS / f"{name}.ipynb"))
    if name == FIRST and not again:
        before_it_runs(notebook)
    report = {"notebook": name, "run all": notebook.run_all(), "controls": []}
    for k, box in enumerate(notebook.widgets()):
        report["controls"] += [{"widget": k, **found} for found in move_all(box)]
        # the picture in words
        assert box.locator("[role=status]").text_content().strip()
        box.screenshot(path=PICTURES / f"{name}-{k}.png")
    unchanged = [found for found in report["controls"] if not found["changed"]]
    report |= {
        "moved": len(report["controls"]),
        "changed": len(report["controls"]) - len(unchanged),
        "slower than the goal": sum(
            found.get("seconds", 0) > GOAL for found in report["controls"]
        ),
        "slowest": max(
            (found.get("seconds", 0) for found in report["controls"]), default=0
        ),
    }
    (PICTURES / f"{name}.json").write_text(json.dumps(report, indent=1))
    assert report["controls"] and not unchanged and not notebook.errors()
    if name == FIRST and not again:
        narrow_and_dark(notebook, name)
    if again:
        report["run all again"] = notebook.run_all()
        assert len(notebook.widgets()) == 1 + report["controls"][-1]["widget"]
    notebook.close()


def before_it_runs(notebook):
    """A trusted notebook shows its saved widgets. No pop-up covers it, and the names of
    files are not cut."""
    page, saved = notebook.page, notebook.page.locator(".widget-vbox")
    page.evaluate(SCROLL)
    poll(saved.count, "a saved widget")
    saved.first.scroll_into_view_if_needed()
    assert page.get_by_text("explore(children").count() == 0
    assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0
    assert page.locator(".jp-DirListing-item").count() > 0
    assert page.locator(".jp-DirListing-itemModified:visible").count() == 0
    page.screenshot(path=PICTURES / "first.png")


def narrow_and_dark(notebook, name):
    """In a window of 800 pixels, then in the dark: nothing sticks out to the right; to
    be looked at."""
    notebook.page.keyboard.press("Control+B")  # hides the list of files
    notebook.page.set_viewport_size({"width": 800, "height": 1300})
    assert notebook.page.evaluate(TOO_WIDE) == []
    for look in ("narrow", "dark"):
        if look == "dark":
            notebook.menu("Settings", "Theme", "JupyterLab Dark")
            notebook.page.locator("body[data-jp-theme-light=false]").wait_for(
                state="attached"
            )
        for k, box in enumerate(notebook.widgets()):
            box.screenshot(path=PICTURES / f"{name}-{k}-{look}.png")
    notebook.menu("Settings", "Theme", "JupyterLab Light")


def test_live_in_a_browser_draws_without_flicker_and_stops_by_button_and_menu(lab):
    """All cells run twice. The second time, too, the widget is there once."""
    notebook = lab("training", written(TRAINING))
    cell, last = (notebook.page.locator(".jp-CodeCell").nth(k) for k in (1, 3))

    def press_button():
        cell.get_by_role("button", name="Stop").click()

    for before, stop in (
        (0, press_button),
        (4, lambda: notebook.menu("Kernel", "Interrupt Kernel")),
    ):
        notebook.menu("Run", "Run All Cells")
        cell.locator("img").wait_for()
        (seen,) = cell.evaluate(FRAMES)  # the same in every frame
        assert seen.startswith("1 picture, whole: true")
        notebook.page.screenshot(path=PICTURES / "training.png")
        stop()
        notebook.ran(before)
        line, figure = (
            output["data"]["text/plain"] for output in notebook.cells()[1]["outputs"]
        )
        assert "stopped: the trained weights are kept" in line
        assert all(
            word in figure for word in ("loss", "effective rank", "images/s", "left")
        )
        assert (
            notebook.cells()[2]["outputs"][0]["text"] == "stopped: True steps: True\n"
        )
        (shown,) = notebook.cells()[3]["outputs"]
        assert "application/vnd.jupyter.widget-view+json" in shown["data"]
        boxes = last.locator(".jp-OutputArea-output .widget-vbox:has(img)")
        poll(lambda boxes=boxes: boxes.count() == 1, "one widget")
    notebook.close()


def test_check_in_a_browser_shows_wrong_and_right_answers(lab):
    found = sheet.read("03_contrastive")
    master, right = (
        found.masters[0],
        inspect.getsource(found.masters[0].alternatives[0]),
    )
    wrong = next(one for one in found.wrong[master.name] if one.name == "dot_product")
    notebook = lab("exercise", committed(ROOT / "exercises" / "03_contrastive.ipynb"))
    notebook.run_all()
    sources = [cell["source"] for cell in notebook.cells()]
    k = sources.index(f"check({master.name})")
    stub, panel = (notebook.page.locator(".jp-CodeCell").nth(j) for j in (k - 1, k))
    status = panel.locator("[role=status]")
    assert "to do" in status.text_content()  # inner_text is empty out of sight
    right = right.replace(master.alternatives[0].__name__, master.name)
    for answer, says in (
        (wrong.source, ("wrong", wrong.hint)),
        (right, ("solved, 5 of 5", "right")),
    ):
        stub.locator(".cm-content").click()
        notebook.page.keyboard.press("Control+A")
        notebook.page.keyboard.insert_text(answer)
        notebook.page.keyboard.press("Shift+Enter")  # runs it and goes on to the check
        notebook.page.keyboard.press("Shift+Enter")
        poll(
            lambda says=says: all(
                words in " ".join(status.all_text_contents()) for words in says
            ),
            says[-1],
        )
        assert ("wrong" in status.text_content()) == (answer is wrong.source)
        panel.screenshot(
            path=PICTURES
            / f"exercise-{'wrong' if answer is wrong.source else 'right'}.png"
        )
    notebook.close()


@pytest.mark.slow
def test_links_go_to_sections_of_the_same_and_of_another_notebook(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "tools" / "lab"))
    line = "Words, to make it long.\n\n"
    text = (
        f"# 1\n\n[here](#7.-Far,-below?) [there](b.ipynb#7.-Far,-below?)\n\n{40 * line}"
    )
    for name in ("a", "b"):
        cells = [new_markdown_cell(text)]
        cells += [new_markdown_cell(f"{line}## 7. Far, below?\n\n{40 * line}")]
        (tmp_path / "files").mkdir(exist_ok=True)
        notebook = new_notebook(cells=cells, metadata=written("").metadata)
        nbformat.write(notebook, tmp_path / "files" / f"{name}.ipynb")
    top = """name => {
        const panel = jupyterapp.shell.currentWidget;
        const heading = panel.node.querySelector("h2");
        const box = panel.node.querySelector(".jp-WindowedPanel-outer");
        if (panel.title.label !== name || !heading) return false;
        const distance = heading.getBoundingClientRect().top - box.getBoundingClientRect().top;
        return distance > -5 && distance < 100;
    }"""
    with jupyterlab(tmp_path) as address, chromium() as browser:
        page = Notebook(browser, address, "a.ipynb").page
        assert not page.evaluate(top, "a.ipynb")
        for words, name in (("here", "a.ipynb"), ("there", "b.ipynb")):
            page.get_by_role("link", name=words, exact=True).first.click()
            page.wait_for_function(top, arg=name)
