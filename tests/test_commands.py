"""The command line: help, errors, JSON, `sample`, and a training run that is interrupted,
killed and resumed with real signals."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from torch import nn

from course_lib import zoo
from course_lib.__main__ import main
from course_lib.commands import progress
from course_lib.commands.as_json import as_json
from course_lib.commands.interrupt import Interrupt
from course_lib.commands.list import kind_of
from course_lib.commands.parser import invocation
from course_lib.commands.sample import class_number, generators, read_caption, written
from course_lib.data import SHAPES, load, names
from course_lib.data.captions import tokens
from course_lib.diffusion.conditional import ConditionalDDPM
from course_lib.experiments import results
from course_lib.nets.unet import LabelEmbedding, UNet
from course_lib.recipe import build, lookup, recipes
from course_lib.train import Method, Step

ROOT = Path(__file__).parents[1]
# Methods of generative families that generate nothing from noise.
NO_GENERATORS = {
    "noisy-classifier": "a classifier, which only guides a generator",
    "adversarial-inpainting": "it completes a picture that it gets",
    "adversarial-colourisation": "it colours a picture that it gets",
}
FAMILIES = ("autoregressive", "diffusion", "energy", "flow", "gan", "latent", "score")
LIGHT = """
import sys
from course_lib.commands.parser import parse
args = parse(["sample", "vae", "--class", "3", "--n", "4"])
assert args.command == "sample" and args.classes == ["3"] and args.n == 4
for words in (["--help"], ["train", "--help"], ["sample", "--help"], ["--version"]):
    try:
        parse(words)
    except SystemExit as end:
        assert end.code == 0
print(*sorted({"torch", "numpy", "matplotlib"} & set(sys.modules)), " end")
"""
SERVER = """
import json, os, signal, sys
import torch
from course_lib.__main__ import main
from course_lib.commands import train
# imported once, for all children
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).zero_grad()
# pytest may run in the background, where SIGINT is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
for line in sys.stdin:
    if not (child := os.fork()):
        print("pid", os.getpid(), flush=True)
        code = main(json.loads(line))
        sys.stdout.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""


# Help and mistakes.


def test_help_needs_no_torch_and_shows_defaults_and_version():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for part in (
        r"train +train a recipe",
        r"\(default:\s+200\)",
        r"\(default:\s+64\)",
        "130",
    ):
        assert re.search(part, done.stdout), part
    assert "(default: None)" not in done.stdout and "False" not in done.stdout
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1]
    assert done.stdout.endswith(f"course_lib {version}\n end\n")
    assert '[project.scripts]\ncourse_lib = "course_lib.__main__:main"\n' in project


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("trian simclr", 2, "got 'trian' (did you mean 'train'?)"),
        ("train simclr --stpes 3", 2, "--stpes (did you mean '--steps'?)"),
        ("train simclr --steps x", 2, "--steps"),
        ("", 2, "COMMAND"),
        ("evaluate simcrl", 1, "(did you mean 'simclr'?)"),
        ("train vae --device cuda:99", 1, "argument `device`: torch finds "),
        ("sample simclr", 1, "simclr generates no pictures; these recipes do: "),
        ("sample bigan", 1, "no trained weights of bigan: train it by"),
        ("sample vae --out grid.jpg", 1, "expected a file *.png, got 'grid.jpg'"),
        ("sample vae --n 0", 1, "argument `n`: expected a whole number"),
        ("sample vae --w 2", 1, "do: conditional-ddpm, text-ddpm"),
        ("sample vae --class 3", 1, "`class`: expected nothing, because vae is uncond"),
        ("sample conditional-vae --class 10", 1, "its number from 0 to 9, got '10'"),
        (
            "sample conditional-vae --caption x",
            1,
            "because conditional-vae takes class",
        ),
        ("sample text-ddpm --caption appel", 1, "(did you mean 'apple'?)"),
    ],
)
def test_mistake_is_one_sentence_on_stderr(
    arguments, code, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_evaluate_shows_the_other_tables_if_one_cannot_be_shown(capsys, monkeypatch):
    monkeypatch.setattr(results, "measured", lambda: ["vae-plane", "no_module:mine"])
    assert main(["evaluate"]) == 1
    printed, error = capsys.readouterr()
    assert printed.startswith("vae-plane\n") and "trained" in printed
    assert error.startswith("error: ") and "no module no_module" in error


def test_kind_of_a_builder_that_declares_nothing_is_the_class_that_it_builds():
    vae = lookup("vae")
    assert kind_of(replace(vae, build=lambda: vae.build())) is kind_of(vae)


def test_commands_to_continue_quote_a_python_in_a_folder_with_a_space(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["__main__.py"])
    monkeypatch.setattr(sys, "executable", "/my courses/bin/python")
    assert invocation() == "'/my courses/bin/python' -m course_lib"


# JSON.


def test_json_has_null_instead_of_nan():
    nan = float("nan")
    found = as_json({"loss": nan, 1: [nan, 2.5, (float("inf"), "ü")], "k": True})
    assert found == '{"loss": null, "1": [null, 2.5, [null, "ü"]], "k": true}'


def test_json_of_list_evaluate_and_train(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def printed(words):
        assert main(words.split()) == 0
        return [json.loads(row) for row in capsys.readouterr().out.splitlines()]

    (found,) = printed("list --json")
    rows = {row["name"]: row for row in found["recipes"]}
    assert rows.keys() == recipes().keys() and found["data_sets"] == [*names()]
    assert rows["vae"]["zoo"] and rows["vae"]["generates"] and rows["vae"]["measured"]
    assert rows["simclr"]["cpu"]["steps"] == 500 and not rows["simclr"]["generates"]
    monkeypatch.setattr("course_lib.experiments.table", lambda name: "up to date")
    (found,) = printed("evaluate simclr --json")
    assert {row["setting"] for row in found["simclr"]} > {"random encoder", "trained"}
    *steps, end = printed(
        "train vae-plane --steps 3 --batch-size 8 --every 2 --device cpu --json"
    )
    assert [row["step"] for row in steps] == [1, 2, 3] and steps[0]["loss"] > 0
    assert end["weights"] == str(Path("runs", "vae-plane", "weights.pt"))
    assert [path.name for path in Path("runs/vae-plane").iterdir()] == ["weights.pt"]
    # an earlier run is never overwritten
    assert printed("train vae-plane --steps 1 --batch-size 8 --device cpu --json")[-1][
        "weights"
    ] == str(Path("runs", "vae-plane-2", "weights.pt"))


# The bar.


def test_bar_fits_the_terminal_and_names_loss_speed_and_time_left(capsys, monkeypatch):
    step = Step(30, 120, (torch.tensor(1.25),), 3000, 60.0)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "91")
    shown = progress.Progress(every=50, json=False)
    shown.show(step)
    shown.show(step)  # at once: too early to draw it again
    shown.close()
    out = capsys.readouterr().out
    text = "step 30 of 120  loss 1.2500  50 images/s  3 min left"
    assert out.startswith("\r[") and text in out and out.count("\r") == 1
    assert len(out.strip("\r\n")) == 90
    filled, empty = out.count("#"), out.count(".") - 1
    assert filled == (filled + empty) // 4 > 5
    assert len(progress.bar({"step": 1, "steps": 2, "loss": 0.5,
        "images_per_second": 1, "seconds_left": 8000}, 20)) == 20  # fmt: skip
    assert progress.duration(8000) == "2 h 13 min" and progress.duration(99) == "99 s"


# Signals.


def test_second_interrupt_ends_at_once_and_handlers_come_back():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
        with Interrupt() as interrupt:
            assert not interrupt.asked
            signal.raise_signal(number)
            assert interrupt.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.default_int_handler
        signal.signal(number, signal.SIG_IGN)
        with Interrupt() as interrupt:  # a job in the background ignores Ctrl-C
            signal.raise_signal(number)
        assert not interrupt.asked
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before):
        signal.signal(number, handler)


class Server:
    """A process that runs commands, one at a time, each in a child of its own.

    Its stdout is a small pipe: while nobody reads, a command stops after some dozens of
    lines. So it cannot end before the signal.
    """

    def __init__(self):
        paths = f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open("stderr", "wb"),
            bufsize=0,
            env=os.environ | {"PYTHONPATH": paths},
        )
        fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 4096)

    def start(self, words):
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.pid = int(self.read_until("pid ").split()[1])

    def read_until(self, text):
        lines = iter(self.process.stdout.readline, b"")
        return next(line.decode() for line in lines if line.startswith(text.encode()))

    def end(self, number):
        """Sends the signal; returns the exit code."""
        os.kill(self.pid, number)
        return int(self.read_until("ended ").split()[1])


def test_training_that_is_interrupted_and_killed_ends_with_the_same_weights(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = "train vae-plane --steps 200 --batch-size 16 --every 1 --device cpu".split()
    server = Server()
    server.start(words)
    server.read_until("step 3 of 200")
    assert server.end(signal.SIGINT) == 130
    error = Path("stderr").read_text()
    said = re.search(
        r"interrupted after update (\d+); the run is saved in (\S+)\. This command "
        r"continues it:\n.* -m course_lib (train .*)\n",
        error,
    )
    assert said and "finishing this step" in error, error
    done, words = int(said[1]), shlex.split(said[3])
    assert 3 <= done < 200 and said[2] == "runs/vae-plane/checkpoint.pt"
    server.start([*words, "--save-every", "2"])
    assert server.read_until("step ").startswith(f"step {done + 1} of 200 ")
    server.read_until(f"step {done + 6} of 200")
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server.process.stdin.close()
    assert server.process.wait(timeout=60) == 0
    saved, *_ = torch.load(said[2], weights_only=True)["done"]
    assert done + 4 <= saved < 200
    capsys.readouterr()
    assert main(words) == 0
    assert re.search(rf"\nstep {saved + 1} of 200 ", capsys.readouterr().out)
    straight = [word for word in words if word not in (said[2], "--checkpoint")]
    straight[straight.index("--out") + 1] = "straight.pt"
    assert main(straight) == 0
    found, expected = (
        torch.load(path, weights_only=True)
        for path in ("runs/vae-plane/weights.pt", "straight.pt")
    )
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# Samples.


def test_shapes_of_shipped_data():
    assert SHAPES.keys() == set(names())
    for name in ("emoji", "emoji_on_white", "digits", "toys", "moons"):
        assert load(name, "test").x.shape[1:] == SHAPES[name]


def test_every_generator_has_sample():
    for name, recipe in recipes().items():
        kind = kind_of(recipe)
        family = kind.__module__.split(".")[1]
        if family in FAMILIES or not recipe.has_representation:
            has = kind.sample is not Method.sample
            assert has is (name not in NO_GENERATORS), name
    assert set(NO_GENERATORS) <= recipes().keys()


@pytest.mark.parametrize("name", generators().split(", "))
def test_sample_of_every_generator(name):
    method, shape = build(lookup(name), 0).train(), SHAPES[lookup(name).data]
    modes = [module.training for module in method.modules()]
    state = {key: value.clone() for key, value in method.state_dict().items()}
    few = {"steps": 2} if "ddpm" in name else {}
    x = method.sample(3, **few)
    assert x.shape == (3, *shape) and x.dtype == torch.float32
    assert not x.requires_grad and 0 <= x.min() and x.max() <= 1
    assert not torch.equal(x, method.sample(3, **few))
    # neither modes nor statistics of norms change
    assert modes == [module.training for module in method.modules()]
    assert all(torch.equal(state[k], v) for k, v in method.state_dict().items())
    if method.sample_labels(1) is None:
        with pytest.raises(ValueError, match="is unconditional, got labels"):
            method.sample(3, torch.zeros(3, dtype=torch.long))
        return
    y = method.sample_labels(500)
    if y.ndim == 1:
        assert y.bincount().tolist() and set(y.tolist()) == set(range(y.max() + 1))
        assert y.bincount().min() > 20 and y.max() in (8, 9)
        wrong = (y[:2], y[:3] + 10, y[:3].float(), y[:3, None], 4)
    else:
        assert not y.any()
        wrong = (y[:2], y[:3, :5])
    torch.manual_seed(0)
    found = method.sample(3, y[:3], **few)
    torch.manual_seed(0)
    assert torch.equal(found, method.sample(3, y[:3], **few))
    for labels in wrong:
        with pytest.raises(ValueError, match="argument `y`"):
            method.sample(3, labels, **few)


def test_sample_of_trained_models_draws_the_label_that_was_asked_for():
    judge = zoo.load("supervised-digits")
    torch.manual_seed(0)
    for name in ("conditional-vae", "conditional-gan"):
        method, y = zoo.load(name), torch.arange(600) % 10
        x = method.sample(600, y)  # in two parts
        found = judge.classifier(judge.encode(x)).argmax(1)
        assert len(x) == 600 and (found == y).double().mean() > 0.8


def test_sample_with_guidance_is_the_sampler_by_hand():
    torch.manual_seed(0)
    net = UNet(1, (8, 16), label=LabelEmbedding(10, 16))
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    method = ConditionalDDPM(net, torch.full((4,), 0.2), torch.tensor(10))
    method.data_shape = (1, 8, 8)
    y = torch.tensor([3, 7])
    torch.manual_seed(5)
    found = method.sample(2, y, steps=1, w=3.0)
    torch.manual_seed(5)
    x, t, abar = torch.randn(2, 1, 8, 8), torch.tensor([3, 3]), 0.8**4
    with torch.no_grad():
        eps = 4 * net.eval()(x, t, y) - 3 * net(x, t)
    assert (net(x, t, y) - net(x, t)).abs().max() > 0.01  # the label matters
    x0 = ((x - (1 - abar) ** 0.5 * eps) / abar**0.5).clamp(-1, 1)
    torch.testing.assert_close(found, (x0 + 1) / 2, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="argument `w`"):
        method.sample(2, y, w=-2.0)


def test_sample_without_the_shape_of_the_data_says_what_to_do():
    method = recipes()["ddpm"].build()
    with pytest.raises(ValueError, match="set its `data_shape`"):
        method.sample(2)


def test_command_sample_writes_a_grid(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "sample conditional-gan-emoji --n 20 --class food 0 --device cpu"
    pictures = []
    for seed, out in (("0", "a.png"), ("0", "b.png"), ("1", "c.png")):
        assert main([*words.split(), "--seed", seed, "--out", out]) == 0
        assert (
            f"20 samples of conditional-gan-emoji in {out}" in capsys.readouterr().out
        )
        pictures.append(imread(out))
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()
    assert pictures[0].shape[1] == 800 and pictures[0].std() > 0.1
    caption = ["--caption", "openmoji, red apple", "--n", "2", "--steps", "1"]
    assert main(["sample", "text-ddpm", *caption, "--w", "2"]) == 0
    assert Path("text-ddpm.png").exists()


def test_class_and_caption_as_typed():
    classes = load("emoji_on_white").classes
    assert class_number("food", classes) == class_number("3", classes) == 3
    with pytest.raises(ValueError, match="did you mean 'Food'"):
        class_number("fod", classes)
    with pytest.raises(ValueError, match="got '&'"):  # a part of several names
        class_number("&", classes)
    found = read_caption("OpenMoji, food & drink, red apple", classes)
    assert torch.equal(found, tokens("red apple", "openmoji", "Food & Drink"))
    assert written(found.tolist()) == "openmoji, Food & Drink, red apple"
