"""Recipes, their measured results, the zoo and the command line."""

import json
import re

import pytest
import torch

from course_lib import evaluate, experiments, zoo
from course_lib.__main__ import main
from course_lib.data import load
from course_lib.recipes import RECIPES, build, lookup, train

ON_CPU = [name for name, recipe in RECIPES.items() if recipe.cpu]


@pytest.fixture(scope="module")
def scenes():
    return load("scenes", "train")[:2048]


def losses(name, data, device="cpu", steps=3, seed=0):
    method = build(lookup(name), seed)
    return method, [
        s.loss for s in train(lookup(name), method, data, seed=seed, steps=steps, batch_size=64, device=device)
    ]


@pytest.mark.parametrize("name", ON_CPU)
def test_recipe_trains_and_the_same_seed_gives_the_same_loss(name, scenes):
    first, again, other = (losses(name, scenes, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.tensor(first).isfinite().all() and first == again != other


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA")
@pytest.mark.parametrize("name", ON_CPU)
def test_recipe_trains_on_cuda(name, scenes):
    assert torch.tensor(losses(name, scenes, "cuda")[1]).isfinite().all()


@pytest.mark.parametrize("name", ON_CPU)
def test_recipe_learns(name, scenes):
    """The loss falls well below where it begins, the features stay alive: spread over many directions."""
    method, values = losses(name, scenes, steps=40)
    assert sum(values[-5:]) / 5 < sum(values[:5]) / 5 - 0.4
    h = evaluate.features(method, scenes.x[:512])
    assert evaluate.effective_rank(h) > 8 and evaluate.feature_std(h) > 0.2 / h.shape[1] ** 0.5


def test_a_gpu_recipe_says_so_on_the_cpu_and_its_network_fits_its_data():
    recipe = lookup("simclr-cifar10")
    method = build(recipe, 0)
    with pytest.raises(
        ValueError, match="`device`: this recipe is made for a GPU; on the CPU give steps and batch_size"
    ):
        train(recipe, method, None, device="cpu")
    assert method.encode(torch.rand(2, 3, 32, 32)).shape == (2, 2048)
    assert recipe.published and not (experiments.RESULTS / "simclr-cifar10.json").exists()


def test_building_is_seeded_and_leaves_the_callers_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a, b, c = (build(lookup("simclr"), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(
        a["encoder.stem.0.weight"], c["encoder.stem.0.weight"]
    )


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ValueError, match="`name`: expected one of simclr, simclr-cifar10, got 'simclir'"):
        lookup("simclir")


# Results: what is committed must come from today's recipes, and show what the course claims.


@pytest.mark.parametrize("name", ON_CPU)
def test_results_belong_to_todays_recipe_and_a_short_row_comes_out_again(name):
    found = experiments.read(name)
    assert found["recipe"] == lookup(name).hash()
    assert experiments.same(experiments.short(name), found["short"])


@pytest.mark.parametrize("name", ON_CPU)
def test_each_of_three_seeds_beats_the_random_encoder_of_the_same_seed(name):
    rows = {(row["setting"], row["seed"]): row for row in experiments.read(name)["rows"]}
    for seed in (0, 1, 2):
        trained = rows["trained", seed]
        assert trained["steps"] == lookup(name).cpu.steps
        for random in (rows["random encoder", seed], rows["random, calibrated", seed]):
            assert random["steps"] == 0 and trained["knn"] > random["knn"] and trained["probe"] > random["probe"]


def test_simclr_is_worth_fifteen_points_of_knn_after_500_steps():
    rows = experiments.read("simclr")["rows"]
    mean = {s: sum(r["knn"] for r in rows if r["setting"] == s) / 3 for s in ("trained", "random encoder")}
    assert mean["trained"] - mean["random encoder"] >= 0.15
    assert {(r["steps"], r["batch_size"]) for r in rows if r["setting"] == "trained"} == {(500, 256)}


def test_a_random_encoders_row_comes_out_again():
    row = next(r for r in experiments.read("simclr")["rows"] if r["setting"] == "random encoder" and r["seed"] == 0)
    again = experiments.random_encoder("simclr", 0)
    assert again["knn"] == pytest.approx(row["knn"], abs=2e-3) and again["probe"] == pytest.approx(
        row["probe"], abs=5e-3
    )


def test_run_skips_finished_jobs_and_a_changed_recipe_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    path = tmp_path / "simclr.json"
    done = [{"setting": s, "seed": k, "knn": 0.5} for s in experiments.SETTINGS for k in (0, 1)]
    monkeypatch.setattr(experiments, "RUNS", tmp_path)
    monkeypatch.setattr(experiments, "short", lambda name: [2.0])
    path.write_text(before := json.dumps({"recipe": lookup("simclr").hash(), "short": [2.0], "rows": done}))
    experiments.run("simclr", seeds=(0, 1))
    assert path.read_text() == before
    path.write_text(json.dumps({"recipe": lookup("simclr").hash(), "short": [2.1], "rows": done}))
    experiments.run("simclr", seeds=())
    assert json.loads(path.read_text())["rows"] == []  # the code gives other numbers than it did
    path.write_text(json.dumps({"recipe": "another", "short": [1.0], "rows": done}))
    with pytest.raises(ValueError, match="results/simclr.json was made by another recipe"):
        experiments.table("simclr")
    experiments.run("simclr", seeds=())
    assert json.loads(path.read_text()) == {"recipe": lookup("simclr").hash(), "short": [2.0], "rows": []}


def test_missing_results_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `make results`"):
        experiments.read("simclr")


# The zoo.


@pytest.mark.parametrize("name", ON_CPU)
def test_each_zoo_checkpoints_metric_is_measured_again(name):
    row, method = zoo.manifest()[name], zoo.load(name)
    assert not any(module.training for module in method.modules())
    again = experiments.measures(method, lookup(name).data)
    assert again["knn"] == pytest.approx(row["knn"], abs=2e-3) and again["probe"] == pytest.approx(
        row["probe"], abs=5e-3
    )
    assert row["knn"] > max(r["knn"] for r in experiments.read(name)["rows"])


def test_zoo_is_small_and_in_half_precision():
    files = list(zoo.FOLDER.glob("*.safetensors"))
    assert {f.stem for f in files} == set(zoo.manifest()) and all(f.stat().st_size < 2e6 for f in files)


def test_an_altered_zoo_file_a_stale_recipe_and_an_unknown_name_are_refused(tmp_path, monkeypatch):
    content, row = (zoo.FOLDER / "simclr.safetensors").read_bytes(), zoo.manifest()["simclr"]
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"simclr": row}))
    for broken in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        (tmp_path / "simclr.safetensors").write_bytes(broken)
        with pytest.raises(OSError, match="simclr.safetensors: the file is altered or incomplete"):
            zoo.load("simclr")
    with pytest.raises(ValueError, match="`name`: the zoo holds simclr; got 'dino'"):
        zoo.load("dino")
    (tmp_path / "manifest.json").write_text(json.dumps({"simclr": row | {"recipe": "older"}}))
    with pytest.raises(ValueError, match="another recipe"):
        zoo.load("simclr")


def test_zoo_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    method = build(lookup("simclr"), 5).eval()
    zoo.save("simclr", method, {"steps": 1})
    x = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(zoo.load("simclr").encode(x), method.encode(x), rtol=1e-2, atol=1e-2)


# The command line.


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"simclr +scenes +500 x 256 .* yes +yes\n", out)
    assert re.search(r"simclr-cifar10 +cifar10 +- .* no +not measured\n +published: 94.0 % linear probe", out)
    assert "emoji" in out and "stl10" in out


def test_evaluate_prints_the_measured_table(capsys):
    assert main(["evaluate", "simclr"]) == 0
    out = capsys.readouterr().out
    for part in (
        r"random encoder +0\.\d{3} ± 0\.\d{3}",
        r"trained +0\.\d{3} ± ",
        r"k-NN: trained - random encoder of the same seed = \+0\.",
        "0,1,2 +500 +[1-9]",
        "CPU, . thread",
    ):
        assert re.search(part, out), part


def test_train_then_resume_then_evaluate_its_weights(tmp_path, capsys, monkeypatch):
    small = load("scenes", "train")[:512]
    monkeypatch.setattr("course_lib.__main__.load", lambda *_: small)
    monkeypatch.setattr(experiments, "load", lambda *_: small)
    arguments = ["train", "simclr", "--steps", "2", "--batch-size", "64", "--every", "1", "--device", "cpu"]
    arguments += ["--checkpoint", str(tmp_path / "c.pt"), "--out", str(tmp_path / "deep" / "w.pt")]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert (
        re.search(r"step 2 of 2  loss \d+\.\d{4}  \d+ images/s  0 s left", first)
        and (tmp_path / "deep" / "w.pt").exists()
    )
    assert main(arguments) == 0 and "step" not in capsys.readouterr().out  # finished: nothing left to train
    assert main(["evaluate", "simclr", "--weights", str(tmp_path / "deep" / "w.pt")]) == 0
    assert re.search(r"random encoder +knn 0\..*\ntrained +knn 0\..*\nheld-out scenes, seed 0", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing"], "argument `name`: expected one of simclr"),
        (["train", "simclr", "--steps", "0"], "argument `steps`"),
        (["evaluate", "--zoo"], "need the recipe's name"),
        (["evaluate", "simclr", "--weights", "missing.pt"], "missing.pt"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
