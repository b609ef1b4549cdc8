"""docs/your-own.md runs as it is written; data and recipes of one's own."""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import own_page
import pytest
import torch
from methods import Regression, points
from PIL import Image

from course_lib import experiments
from course_lib.__main__ import main
from course_lib.data import Dataset, image_folder, load
from course_lib.evaluate import features
from course_lib.experiments import __main__ as own_experiments
from course_lib.experiments import jobs, results
from course_lib.experiments.setting import standard
from course_lib.recipe import Recipe, lookup
from course_lib.train import fit


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def test_the_page_runs_from_top_to_bottom(here, monkeypatch, capsys):
    """Commands run in this process, because a new one takes seconds to import torch;
    torchrun's is in test_distributed.py."""
    monkeypatch.setattr(
        results, "ProcessPoolExecutor", lambda workers, **more: ThreadPoolExecutor(1)
    )
    monkeypatch.setattr(jobs, "RUNS", here / "runs")
    monkeypatch.setattr(results, "catalogue", dict)
    names, texts = {}, {}
    for kind, code in own_page.blocks():
        if kind == "file":
            own_page.write(code)
        elif kind == "python":
            exec(compile(code, "your-own.md", "exec"), names)
        else:
            for line in code.splitlines():
                program, _, module, *arguments = line.split()
                if module == "torch.distributed.run":
                    continue
                assert program == "python", line
                run = main if module == "course_lib" else own_experiments.main
                assert run(arguments) == 0, (line, capsys.readouterr())
                texts[line] = capsys.readouterr().out
    assert names["train_set"].x.shape == (36, 3, 64, 64)
    assert len(names["train_set"].classes) == 3
    assert names["h_train"].shape == (36, 512)
    assert Image.open("neighbours.png").width > 300
    shown = "".join(texts.values())
    assert "vicreg.pt" in shown
    assert "held-out my_pictures:pictures" in shown
    vicreg = lookup("vicreg_recipe:vicreg")
    table = texts["python -m course_lib evaluate vicreg_recipe:vicreg"]
    assert "trained - random encoder of the same seed" in table
    rows = json.loads((here / "results" / "vicreg_recipe.vicreg.json").read_text())
    assert len(rows["rows"]) == 9
    assert results.measured()[-1] == "vicreg_recipe:vicreg"
    assert results.own_recipes() == {"vicreg_recipe:vicreg": vicreg}
    capsys.readouterr()
    assert main(["list"]) == 0
    assert "\nvicreg_recipe:vicreg " in capsys.readouterr().out
    # a table of several methods, and of a method that has changed
    comparison = results.find("vicreg_against_simclr:comparison")
    assert comparison["SimCLR"].hash() != comparison["VICReg"].hash()
    check_vicreg(sys.modules["vicreg_recipe"])
    changed = here / "vicreg_recipe.py"
    changed.write_text(changed.read_text().replace("25 * invariance", "5 * invariance"))
    del sys.modules["vicreg_recipe"]
    with pytest.raises(
        ValueError, match="vicreg.json is out of date.*-m course_lib.exp"
    ):
        experiments.table("vicreg_recipe:vicreg")


def check_vicreg(module):
    """The loss, by loops over numbers."""
    torch.manual_seed(0)
    z1, z2 = torch.randn(5, 3), 0.3 * torch.randn(5, 3)
    n, d = z1.shape

    def cov(z, i, j):
        a, b = z[:, i].tolist(), z[:, j].tolist()
        mean_a, mean_b = sum(a) / n, sum(b) / n
        return sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b)) / (n - 1)

    expected = (
        25 * sum((a - b) ** 2 for a, b in zip(z1.flatten(), z2.flatten())) / (n * d)
    )
    for z in (z1, z2):
        stds = [math.sqrt(cov(z, i, i) + 1e-4) for i in range(d)]
        expected += 25 * sum(max(0, 1 - std) for std in stds) / d
        pairs = [(i, j) for i in range(d) for j in range(d) if i != j]
        expected += sum(cov(z, i, j) ** 2 for i, j in pairs) / d
    torch.testing.assert_close(module.vicreg_loss(z1, z2), expected)
    # collapsed projections: only the variance is wrong, by 1 - 0.01 in both views
    same = torch.ones(5, 3)
    assert module.vicreg_loss(same, same).item() == pytest.approx(25 * 2 * 0.99)


@pytest.mark.slow
def test_the_pages_torchrun_command_trains_in_two_processes(here):
    files = [code for kind, code in own_page.blocks() if kind == "file"]
    for code in files:
        own_page.write(code)
    first = next(code for kind, code in own_page.blocks() if kind == "python")
    exec(first, {})
    line = own_page.command("python -m torch.distributed.run").split()
    done = subprocess.run(
        [sys.executable, *line[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights in") == 1 and (here / "vicreg2.pt").is_file()


# Names of one's own


RECIPE = """\
from course_lib.recipe import lookup

mine = lookup("simclr")
number = 3


def build():
    pass


def no_data(split):
    return 3
"""


def test_lookup_takes_a_recipe_of_a_module_in_the_current_folder(here):
    (here / "my_recipe.py").write_text(RECIPE)
    assert lookup("my_recipe:mine") is lookup("simclr")
    (here / "deep").mkdir()
    (here / "deep" / "inner.py").write_text(RECIPE)
    assert isinstance(lookup("deep.inner:mine"), Recipe)
    assert results.find("my_recipe:mine") == standard(lookup("simclr"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("simcrl", r"or module:NAME.*, got 'simcrl' .did you mean 'simclr'"),
        ("SimCLR", r"got 'SimCLR' .did you mean 'simclr"),
        ("my_recip:mine", "no module my_recip in .*did you mean 'my_recipe"),
        ("my_recipe.py:mine", "no module my_recipe.py in"),
        ("./my_recipe.py:mine", "expected module:NAME, such as my_recipe:mine, got"),
        ("my_recipe:", "expected module:NAME, such as my_recipe:NAME, got"),
        (":", "expected module:NAME, such as my_recipe:NAME, got ':'"),
        (
            "my_recipe:min",
            r"my_recipe.py\) has no min; it has mine .did you mean 'mine",
        ),
        ("my_recipe:number", "expected a Recipe, got my_recipe:number, .* a int"),
        ("my_recipe:build", "expected a Recipe, got my_recipe:build, .* a function"),
        ("broken:mine", "import of broken failed with ZeroDiv.*broken.py, line 2"),
        ("syntax:mine", r"import of syntax failed with SyntaxError: .*line 1\)"),
        ("needs:mine", "import of needs failed with ModuleNotFoundError: .*no_such"),
        ("exits:mine", "import of exits failed with SystemExit"),
        (
            "colorsys:mine",
            "name colorsys exists twice, as .*colorsys.py and .*colorsys",
        ),
        ("twice:mine", "name twice exists twice, as .*twice.py and .*__init__.py"),
    ],
)
def test_lookup_says_what_is_wrong_with_a_name_of_ones_own(here, name, message):
    import colorsys  # noqa: F401  a module of Python that is already imported

    files = {
        "my_recipe": RECIPE,
        "broken": "a = 1\n1 / 0",
        "syntax": "def",
        "needs": "import no_such_module",
        "exits": "raise SystemExit",
        "colorsys": RECIPE,
        "twice": RECIPE,
    }
    for stem, text in files.items():
        (here / f"{stem}.py").write_text(text)
    (here / "twice").mkdir()
    (here / "twice" / "__init__.py").write_text(RECIPE)
    with pytest.raises(ValueError, match=f"argument `name`.*{message}"):
        lookup(name)


def test_load_and_table_say_what_is_wrong_with_a_name(here):
    (here / "my_recipe.py").write_text(RECIPE)
    for name, message in (
        ("my_recipe:mine", "expected a function split -> Dataset, got .* a Recipe"),
        ("my_recipe:no_data", "returns a Dataset, got .*, which returned int"),
        ("scene", "got 'scene' .did you mean 'scenes"),
    ):
        with pytest.raises(ValueError, match=message):
            load(name)
    with pytest.raises(ValueError, match="expected a Recipe, or a dictionary of Set"):
        experiments.table("my_recipe:number")
    with pytest.raises(
        FileNotFoundError, match="-m course_lib.experiments my_recipe:m"
    ):
        experiments.table("my_recipe:mine")


# Pictures of one's own


def picture(path, mode="RGB", size=(20, 30), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, value)
    image.save(path)
    return image


def test_image_folder_reads_pictures_of_all_kinds(here):
    """Labels are the same in all splits, also if one has no folder for a class."""
    folder = here / "train" / "b"
    picture(folder / "0.png", "RGB", (90, 40), (255, 0, 0))
    picture(folder / "1.png", "L", value=51)
    picture(folder / "2.png", "RGBA", value=(0, 0, 0, 0))
    picture(folder / "3.png", "I;16", value=65535)
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    palette.save(folder / "deep.png")
    palette.save(folder / "transparent.png", transparency=1)
    upright = Image.new("L", (20, 40))
    upright.paste(255, (0, 0, 20, 20))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upright.save(folder / "up.jpg", exif=exif)
    picture(here / "train" / "c" / "1.bmp", "1", value=1)
    picture(here / "test" / "a" / "0.png")
    (folder / "._0.png").write_bytes(b"macOS")
    (folder / "Thumbs.db").write_bytes(b"Windows")
    data = image_folder(here, "train", size=8)
    assert isinstance(data, Dataset) and data.classes == ("a", "b", "c")
    assert data.y.tolist() == [1] * 7 + [2] and data.x.shape == (8, 3, 8, 8)
    colours = [tuple(x[:, 0, 0].tolist()) for x in data.x]
    black, white = (0, 0, 0), (255, 255, 255)
    assert colours[:4] == [(255, 0, 0), (51, 51, 51), white, white]
    assert colours[4:6] == [(0, 0, 255), white] and colours[7] == white
    assert data.x[6, :, 0].max() < 9 and data.x[6, :, -1].min() > 246 and black
    # pictures without classes
    alone = image_folder(here / "train", "c", size=8)
    assert (
        alone.y.tolist() == [0]
        and alone.classes == ()
        and image_folder(here / "test", size=8).y.shape == (1,)
    )


def test_image_folder_says_what_is_wrong_with_a_folder(here):
    picture(here / "all" / "train" / "a" / "0.png")
    picture(here / "mixed" / "a" / "0.png")
    picture(here / "mixed" / "1.png")
    picture(here / "hollow" / "a" / "0.png")
    (here / "hollow" / "b").mkdir()
    (here / "empty").mkdir()
    picture(here / "torn" / "a" / "whole.png")
    content = (here / "torn" / "a" / "whole.png").read_bytes()
    (here / "torn" / "a" / "half.png").write_bytes(content[: len(content) // 2])
    (here / "torn" / "a" / "text.jpg").write_text("no picture")
    for arguments, message in (
        (
            ("nowhere",),
            "`root`: expected a folder of pictures, got .*nowhere, which do",
        ),
        (
            ("al", "train"),
            "`root`: .*al/train, which does not exist .did you mean 'all",
        ),
        (("all", "trian"), "`split`: .*; all has train .did you mean 'train"),
        (("mixed",), "the folder of its class, got mixed/1.png .1 such.* folders a"),
        (("hollow",), "pictures in each folder of hollow, got none in b"),
        (("empty",), "a folder for each class, such as empty/cats/1.png"),
        (("torn",), "2 of 3 files cannot be read: torn/a/half.png .*torn/a/text.jpg"),
    ):
        with pytest.raises(ValueError, match=message):
            image_folder(*arguments)


# What `fit` and `features` say about data of one's own


class Pairs(torch.utils.data.Dataset):
    def __init__(self, make):
        self.make, self.samples = make, [(f"p{k}.png", 0) for k in range(8)]

    def __len__(self):
        return 8

    def __getitem__(self, k):
        return self.make(k)


def unreadable(k):
    if k == 5:
        raise OSError("image file is truncated")
    return torch.zeros(4), torch.zeros(2)


def test_fit_names_the_file_that_cannot_be_read():
    data = torch.utils.data.Subset(Pairs(unreadable), [0, 1, 5])
    run = fit(Regression(), data, 1, batch_size=3, workers=0)
    with pytest.raises(
        ValueError, match=r"data\[2\] cannot be read: p5.png .*truncated"
    ):
        next(run)


class Augmented(Regression):
    def augment(self, x):
        return x


def test_fit_rejects_normalised_pictures_and_those_with_channels_last():
    x = torch.rand(8, 3, 6, 6)
    mean, std = 0.45, 0.225  # as for ImageNet
    for wrong, message in (
        (
            (x - mean) / std,
            r"in \[0, 1\], got values from -.* remove the normalisation",
        ),
        (2 * x - 1, "remove the normalisation, such as transforms.Normalize"),
        (
            x.permute(0, 2, 3, 1),
            r"\(N, C, H, W\), got \(8, 6, 6, 3\): move the channels",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            fit(Augmented(), Dataset(wrong, torch.zeros(8), ()), 1, batch_size=8)
        pairs = Pairs(lambda k, wrong=wrong: (wrong[k], 0))
        with pytest.raises(ValueError, match=message):
            next(fit(Augmented(), pairs, 1, batch_size=8, workers=0))
    # without augmentation any range is right
    lab = Dataset((x - mean) / std, torch.zeros(8), ())
    fit(Regression(), lab, 1, batch_size=8).close()
    # a bicubic resize goes a little beyond
    near = Dataset(1.08 * x - 0.04, torch.zeros(8), ())
    fit(Augmented(), near, 1, batch_size=8).close()


def test_features_accepts_data_sets_and_loaders():
    x = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    expected = features(lambda x: x.flatten(1), x)
    pairs = Pairs(lambda k: (x[k], k))
    loaders = [torch.utils.data.DataLoader(d, 3) for d in (pairs, x)]
    for data in (Dataset(x, torch.arange(8), ()), pairs, *loaders):
        torch.testing.assert_close(features(lambda x: x.flatten(1), data, 3), expected)
    with pytest.raises(ValueError, match="got x of type PIL.*PILToTensor"):
        features(lambda x: x, Pairs(lambda k: (Image.new("RGB", (4, 4)), 0)))
    shapes = Pairs(lambda k: (torch.zeros(3, 4, 4 + (k == 6)), 0))
    with pytest.raises(ValueError, match="for k = 0 and of shape .3, 4, 5. for k = 6"):
        features(lambda x: x, shapes)


def test_fit_without_a_loop_warns_and_one_with_a_loop_does_not(recwarn):
    def steps():
        return fit(Regression(), points(), 2, batch_size=16)

    with pytest.warns(
        UserWarning, match="nothing was trained .Regression, steps=2"
    ) as w:
        steps()
    assert w[0].filename == __file__
    assert "nothing is trained yet: write `for step in fit" in repr(steps_ := steps())
    assert len(list(steps_)) == 2 and "started" in repr(steps_)
    for _ in steps():
        break
    next(steps())
    steps().close()
    assert not recwarn.list
