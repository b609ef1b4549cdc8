"""The budget of a notebook: the line that it prints, and shorter runs on a machine that
is too slow. The probe is a fake; no test depends on the time."""

import ast
import importlib
import json

import nbformat
import pytest
import torch
from build_notebooks import NOTEBOOKS
from notebook_times import cell_seconds, record_times, times_of, trains

from course_lib.notebook import budget, updates
from course_lib.notebook.budget import Times, probe, read_times, share_of

MODULE = importlib.import_module("course_lib.notebook.budget")
BUILT = Times(whole=540.0, training=400.0, longest=100.0, probe=0.02)
RUN = {"smoke": 8, "laptop": 400, "gpu": 8000}


@pytest.fixture
def machine(monkeypatch):
    """machine(probed) fakes a machine without a GPU on which the probe takes so long;
    None: the probe must not run."""

    def probe_of(probed):
        assert probed is not None, "the probe must not run"
        return probed

    def fake(probed, chosen="", gpu=""):
        monkeypatch.setenv("COURSE_BUDGET", chosen)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        monkeypatch.setattr(MODULE, "read_times", lambda: {"99_tiny": BUILT})
        monkeypatch.setattr(MODULE, "probe", lambda: probe_of(probed))

    yield fake
    MODULE._share = 1.0


@pytest.mark.parametrize(
    "probed, chosen, gpu, line, number",
    [
        (
            0.02,
            "",
            "",
            "Budget laptop: about 9 minutes of computing on this machine (an estimate; "
            "2 threads).",
            400,
        ),
        (
            0.06,  # 300 s for the longest run: 60 % of it is 180 s
            "",
            "",
            "Budget laptop: about 19 minutes of computing on this machine (an estimate; "
            "2 threads). The machine is slow: runs are shortened to 60 %. "
            "COURSE_BUDGET=laptop turns this off.",
            240,
        ),
        (
            0.06,
            "laptop",
            "",
            "Budget laptop: about 27 minutes of computing on this machine (an estimate; "
            "2 threads).",
            400,
        ),
        (
            None,
            "smoke",
            "",
            "Budget smoke: a few updates per run, to check that the notebook works.",
            8,
        ),
        (None, "", "T4", "Budget gpu: the training runs use the GPU, T4.", 8000),
        (
            None,
            "laptop",
            "T4",
            "Budget laptop: the training runs use the GPU, T4.",
            400,
        ),
        (
            None,
            "gpu",
            "",
            "Budget gpu, but PyTorch finds no GPU: this will take very long.",
            8000,
        ),
    ],
)
def test_budget_prints_the_time_on_this_machine_and_shortens_runs_of_a_slow_one(
    machine, capsys, probed, chosen, gpu, line, number
):
    machine(probed, chosen, gpu)
    assert budget("99_tiny") == (chosen or ("gpu" if gpu else "laptop"))
    assert capsys.readouterr().out == line + "\n"
    assert updates(**RUN) == number


def test_budget_without_a_measured_time_says_only_the_budget(machine, capsys):
    machine(None)
    assert budget("98_new") == "laptop"
    assert capsys.readouterr().out == (
        "Budget laptop: up to about three minutes a training run, on two cores.\n"
    )
    assert updates(**RUN) == 400


def test_budget_without_a_name_prints_nothing_and_ends_the_shortening(machine, capsys):
    machine(0.06)
    budget("99_tiny")
    assert updates(**RUN) == 240
    # never fewer than the smoke test has tried, never more than the laptop's number
    assert updates(smoke=300, laptop=400, gpu=1) == 300
    assert updates(smoke=8, laptop=5, gpu=40) == 5
    capsys.readouterr()
    assert budget() == "laptop" and updates(**RUN) == 400
    assert capsys.readouterr().out == ""


def test_share_of_a_long_run_takes_at_most_three_minutes_in_tenths():
    shares = [share_of(s) for s in (10.0, 180.0, 216.0, 217.0, 300.0, 360.0, 1e6)]
    assert shares == [1.0, 1.0, 1.0, 0.8, 0.6, 0.5, 0.1]


def test_updates_and_budget_reject_wrong_arguments():
    for wrong in (0, -3, 2.5, "8", True):
        with pytest.raises(ValueError, match="argument `laptop`: expected a whole"):
            updates(smoke=8, laptop=wrong, gpu=8)
    with pytest.raises(ValueError, match="argument `name`: expected the name of a"):
        budget(8)


def test_probe_leaves_threads_random_state_and_gradient_mode_alone():
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch.no_grad():
        assert probe(seconds=0.0) > 0
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    "source", sorted((NOTEBOOKS / "src").glob("*.py")), ids=lambda source: source.stem
)
def test_notebook_gives_its_own_name_to_budget_and_keeps_the_name_updates(source):
    text = source.read_text(encoding="utf-8")
    assert f'\nBUDGET = budget("{source.stem}")\n' in text
    stored = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    stored = {node.id for node in stored if isinstance(node.ctx, ast.Store)}
    assert not stored & {"budget", "updates", "live"}


def test_shipped_times_are_positive_and_belong_to_notebooks():
    for name, times in read_times().items():
        assert (NOTEBOOKS / "src" / f"{name}.py").exists()
        assert 0 < times.probe < times.longest <= times.training <= times.whole


def executed(*sources):
    """A notebook whose cell k took k + 1 seconds."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for k, cell in enumerate(cells):
        cell.metadata["execution"] = {
            "iopub.execute_input": "2030-01-01T00:00:00.000000Z",
            "shell.execute_reply": f"2030-01-01T00:00:{k + 1:02}.500000Z",
        }
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["course_lib"] = {"budget": "laptop"}
    return notebook


def test_times_of_a_notebook_are_those_of_the_cells_that_train(tmp_path):
    notebook = executed(
        "%pip install x",
        'BUDGET = budget("99_tiny")\ndef train(n):\n    return live(updates(n))',
        "STEPS = updates(smoke=1, laptop=2, gpu=3)",
        "for _ in train(3): pass",
        "show(model)",
        "for k in range(STEPS): k",
        "draw()",
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell("live(run)"))
    seconds = cell_seconds(notebook)
    assert seconds == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 0]
    assert all(not cell.metadata for cell in notebook.cells)
    assert [k for k, does in enumerate(trains(notebook)) if does] == [3, 5]
    times = Times(whole=31.5, training=11.0, longest=6.5, probe=0.02)
    assert times_of(notebook, seconds, 0.02) == times

    path = tmp_path / "times.json"
    for name in ("99_tiny", "98_small"):
        record_times(notebook, name, seconds, 0.02, path)
    assert list(json.loads(path.read_text())) == ["98_small", "99_tiny"]
    notebook.metadata["course_lib"]["budget"] = "smoke"
    record_times(notebook, "97_smoke", seconds, 0.02, path)
    assert read_times(path) == {"98_small": times, "99_tiny": times}
