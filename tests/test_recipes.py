"""Recipes, their measured results, the zoo and the command line."""

import ast
import functools
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import mean

import pytest
import torch
from safetensors import safe_open

from course_lib import evaluate, experiments, zoo
from course_lib.__main__ import main
from course_lib.contrastive import experiments as studies
from course_lib.data import as_float, load
from course_lib.diffusion.ddpm import DDPM
from course_lib.experiments import jobs, results
from course_lib.experiments.setting import Setting
from course_lib.pretext.context_encoder import masked_reconstruction
from course_lib.recipe import Size, build, lookup, recipes, train
from course_lib.run import seeded
from course_lib.transforms import sobel

ON_CPU = [name for name, recipe in recipes().items() if recipe.cpu]
EXPERIMENTS = experiments.catalogue()


# Updates and batch sizes. The first four recipes need more than the others' 40 updates
# of 32 pictures to learn a little: a code that is empty at first, small parts of
# pictures, a network that loses most of its features before it finds better ones. The
# others are expensive and learn from less.
SIZES = {
    "vae-plane": (200, 64),
    "jigsaw": (40, 64),
    "patch-location": (40, 64),
    "supervised-vit": (40, 64),
    "conditional-ddpm": (10, 32),
    "text-ddpm": (10, 16),
    "ddpm-emoji": (10, 16),
    "ddpm": (10, 16),
    "wgan": (20, 32),
    "wgan-gp": (20, 32),
    "adversarial-inpainting": (20, 32),
    "adversarial-colourisation": (20, 32),
}


# Drawings are put on white in every call, scenes copied: here nothing changes them.
loaded = functools.cache(load)


def run(name, seed=0, device="cpu"):
    """The recipe's method and data (2,048 rows), and its steps to come."""
    recipe, data = lookup(name), loaded(lookup(name).data, "train")[:2048]
    method, (steps, batch_size) = build(recipe, seed), SIZES.get(name, (40, 32))
    return (
        method,
        data,
        train(
            recipe,
            method,
            data,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            device=device,
        ),
    )


def losses(name, device="cpu", seed=0, count=3):
    """Of the first updates."""
    return [step.loss for step in islice(run(name, seed, device)[2], count)]


@functools.cache
def trained(name):
    """The method, trained once for all tests, and its losses."""
    method, _, steps = run(name)
    return method, [step.loss for step in steps]


@pytest.mark.parametrize("name", ON_CPU)
def test_recipe_losses_are_finite_and_repeatable_by_seed(name):
    values = trained(name)[1]
    assert torch.tensor(values).isfinite().all()
    assert values[:3] == losses(name)
    assert values[:1] != losses(name, seed=1, count=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA")
@pytest.mark.parametrize("name", ON_CPU)
def test_recipe_losses_are_finite_on_cuda(name):
    assert torch.tensor(losses(name, "cuda")).isfinite().all()


def losses_on(method, data, size, batches):
    """Losses on so many batches of that size, each of other rows and with other random
    draws; the same in every call."""
    found = []
    for k in range(batches):
        with torch.no_grad(), seeded(k):
            rows = torch.randperm(len(data.x))[:size]
            found.append(
                method.train().loss(as_float(data.x[rows]), data.y[rows]).item()
            )
    return torch.tensor(found, dtype=torch.float64)


def gains(name, method, data):
    """How much lower the losses of 16 batches (8 for the costly DDPM) are with the
    parameters that `method` has learnt than with those it began with.

    All else is the same, batches, random draws, and what training left in a bank, a
    teacher or a centre: where the optimiser changes nothing, every gain is 0.
    """
    recipe, before = lookup(name), deepcopy(method)
    data, first = (
        recipe.prepare_data(data) if recipe.prepare_data else data,
        dict(build(recipe, 0).named_parameters()),
    )
    with torch.no_grad():
        for key, parameter in before.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(first[key])
    size = 2 * SIZES.get(name, (40, 32))[1]
    # the mean gain of a DDPM is more than 15 standard errors already with 8 batches
    batches = 8 if isinstance(method, DDPM) else 16
    after = losses_on(deepcopy(method), data, size, batches)
    return losses_on(before, data, size, batches) - after


def clearly_positive(gains):
    """Their mean is more than three standard errors above 0."""
    return (gains.mean() > 3 * gains.std() / len(gains) ** 0.5).item()


GAMES = [name for name in ON_CPU if len(build(lookup(name), 0).turns()) > 1]


ALONE = [name for name in ON_CPU if name not in GAMES]


@pytest.mark.parametrize("name", GAMES)
def test_adversarial_recipe_improves_its_score(name):
    """The loss of neither player need fall. The quality of the fakes, or the squared
    error of the painter, must improve."""
    x = loaded(lookup(name).data, "test").x[:500]

    def score(method):
        if hasattr(method, "pretext_score"):
            return experiments.pretext_score(method, x)
        with torch.no_grad(), seeded(0):
            left, mask = method.eval().hide(as_float(x))
            return -masked_reconstruction(
                method.paint(left, mask), as_float(x), mask
            ).item()

    assert score(trained(name)[0]) > score(build(lookup(name), 0))


@pytest.mark.parametrize("name", ALONE)
def test_recipe_lowers_the_loss_and_keeps_features_from_collapse(name):
    """The loss falls on the same batches. The features do not collapse: they spread
    over many directions, if there are many."""
    method, data = trained(name)[0], loaded(lookup(name).data, "train")[:2048]
    if lookup(name).has_representation:
        h = evaluate.features(method, data.x[:512])
        assert evaluate.effective_rank(h - h.mean(0)) > min(4, h.shape[1] / 2)
        if isinstance(method, DDPM):  # such features say mostly what time it is
            h = h - h.mean(0)
        assert evaluate.feature_std(h) > 0.15 / h.shape[1] ** 0.5
    assert clearly_positive(gains(name, method, data))


# plain; with a bank; a teacher and a centre; noisy
FEW = {"supervised", "instance-discrimination", "dino", "ddpm"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in ALONE]
)
def test_gains_are_zero_for_a_recipe_with_learning_rate_0(name, monkeypatch):
    """With learning rate 0 every gain is 0, although bank, teacher and centre still
    change."""

    def idle(lr, weight_decay):
        return lambda params: torch.optim.SGD(params, lr=0.0)

    monkeypatch.setitem(recipes(), name, replace(lookup(name), optimizer=idle))
    method, data, steps = run(name)
    list(islice(steps, 3))
    found = gains(name, method, data)
    assert found.eq(0).all() and not clearly_positive(found)


def test_gpu_recipe_is_rejected_on_the_cpu_and_its_network_fits_its_data():
    recipe = lookup("simclr-cifar10")
    method = build(recipe, 0)
    with pytest.raises(
        ValueError,
        match=(
            "`device`: this recipe is made for a GPU; on the CPU give steps and "
            "batch_size"
        ),
    ):
        train(recipe, method, None, device="cpu")
    assert method.encode(torch.rand(2, 3, 32, 32)).shape == (2, 2048)
    assert recipe.published and not (results.RESULTS / "simclr-cifar10.json").exists()


def test_build_is_repeatable_by_seed_and_keeps_the_callers_random_state():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a, b, c = (build(lookup("simclr"), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(
        a["encoder.stem.0.weight"], c["encoder.stem.0.weight"]
    )


def test_lookup_of_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(
        ValueError,
        match="`name`: expected one of .*simclr, .*supervised-digits, .*got 'simclir'",
    ):
        lookup("simclir")


# Results: what is committed must come from today's recipes, and show what the course
# claims.


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_are_complete_and_current_and_a_short_row_is_reproduced(
    name, monkeypatch
):
    monkeypatch.setattr(results, "load", loaded)
    assert results.stale(name, EXPERIMENTS[name]) == []
    assert results.same(
        results.short(EXPERIMENTS[name]), experiments.read(name)["short"]
    )


def test_every_results_file_has_an_experiment_and_vice_versa():
    assert {path.stem for path in results.RESULTS.glob("*.json")} == set(EXPERIMENTS)


@pytest.mark.parametrize(
    "name", [name for name in ON_CPU if recipes()[name].has_representation]
)
def test_results_of_each_seed_beat_the_random_encoder_of_that_seed(name):
    rows = {
        (row["setting"], row["seed"]): row for row in experiments.read(name)["rows"]
    }
    for seed in (0, 1, 2):
        trained = rows["trained", seed]
        assert trained["steps"] == lookup(name).cpu.steps
        for random in (rows["random encoder", seed], rows["random, calibrated", seed]):
            assert random["steps"] == 0
            assert lookup(name).beats_random_in
            assert all(
                trained[measure] > random[measure]
                for measure in lookup(name).beats_random_in
            )


@pytest.mark.parametrize(
    "name", [name for name in ON_CPU if not recipes()[name].has_representation]
)
def test_results_of_each_seed_beat_the_untrained_method_of_that_seed(name):
    untrained, trained = (
        experiments.values(name, "pretext")[setting]
        for setting in ("untrained", "trained")
    )
    assert len(trained) == 3 and all(
        after > before for before, after in zip(untrained, trained, strict=True)
    )


def test_simclr_results_beat_the_random_encoder_by_15_points_of_knn():
    rows, knn = experiments.read("simclr")["rows"], experiments.values("simclr", "knn")
    assert mean(knn["trained"]) - mean(knn["random encoder"]) >= 0.15
    assert {
        (r["steps"], r["batch_size"]) for r in rows if r["setting"] == "trained"
    } == {(500, 256)}


@pytest.mark.parametrize(
    "name", ["supervised-digits", pytest.param("simclr", marks=pytest.mark.slow)]
)
def test_random_encoder_row_is_reproduced(name):
    """2e-3: eight of 4,000 test scenes, or four of 2,000 digits, may have another
    neighbour where another processor rounds otherwise. 5e-3: the probe's training
    follows such differences."""
    row = next(
        r
        for r in experiments.read(name)["rows"]
        if r["setting"] == "random encoder" and r["seed"] == 0
    )
    again = jobs.random_encoder(lookup(name), 0)
    assert again["knn"] == pytest.approx(row["knn"], abs=2e-3) and again[
        "probe"
    ] == pytest.approx(row["probe"], abs=5e-3)


def count_jobs(folder, monkeypatch):
    """A recipe, and settings whose jobs leave a line in `folder` each time they run."""
    monkeypatch.setattr(results, "RESULTS", folder)
    monkeypatch.setattr(jobs, "RUNS", folder)
    monkeypatch.setattr(results, "short", lambda experiment: {"simclr": [2.0]})
    job = partial(noted, folder / "log")
    return {
        name: Setting(lookup("simclr"), job, seeds=(0, 1)) for name in ("one", "two")
    }


def noted(log, recipe, seed):
    with log.open("a") as file:
        print(seed, file=file)
    return {"steps": recipe.cpu.steps, "knn": 0.1}


def jobs_in_this_process(monkeypatch):
    """A process of its own takes seconds to import torch."""
    monkeypatch.setattr(
        results, "ProcessPoolExecutor", lambda workers, **more: ThreadPoolExecutor(1)
    )


def test_run_computes_missing_rows_and_those_of_a_changed_recipe_or_code(
    tmp_path, monkeypatch
):
    experiment, log, path = (
        count_jobs(tmp_path, monkeypatch),
        tmp_path / "log",
        tmp_path / "toy.json",
    )
    checkpoint = jobs.checkpoint_of(lookup("simclr"), 0)
    checkpoint.touch()
    monkeypatch.setattr(
        results, "catalogue", lambda: {"toy": experiment, "other": experiment}
    )
    results.run({"toy": experiment})
    assert checkpoint.exists()  # another experiment, not complete, may need it
    jobs_in_this_process(monkeypatch)
    monkeypatch.setattr(results, "catalogue", lambda: {"toy": experiment})
    results.run({"toy": experiment})
    found = json.loads(path.read_text())
    assert [(row["setting"], row["seed"]) for row in found["rows"]] == [
        ("one", 0),
        ("one", 1),
        ("two", 0),
        ("two", 1),
    ]
    assert results.stale("toy", experiment) == [] and not checkpoint.exists()
    results.run({"toy": experiment})
    # nothing was left to do
    assert json.loads(path.read_text()) == found and len(log.read_text().split()) == 4

    changed = replace(lookup("simclr"), weight_decay=0.5)
    experiment["two"] = replace(experiment["two"], recipe=changed)
    assert results.stale("toy", experiment) == ["two, seed 0", "two, seed 1"]
    results.run({"toy": experiment})
    assert not results.stale("toy", experiment) and len(log.read_text().split()) == 6

    # now the code differs
    monkeypatch.setattr(results, "short", lambda experiment: {"simclr": [2.1]})
    results.run({"toy": experiment})
    assert len(log.read_text().split()) == 10 and json.loads(path.read_text())[
        "short"
    ] == {"simclr": [2.1]}


def fails_for_seed_0(recipe, seed):
    return {"steps": 1, "knn": 1 / seed}


def test_run_finishes_the_other_jobs_if_one_fails(tmp_path, monkeypatch):
    experiment = count_jobs(tmp_path, monkeypatch)
    jobs_in_this_process(monkeypatch)
    experiment["one"] = replace(experiment["one"], job=fails_for_seed_0)
    with pytest.raises(
        RuntimeError, match="jobs of toy failed; the rest is done"
    ) as caught:
        results.run({"toy": experiment})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert results.stale("toy", experiment) == ["one, seed 0"]


def test_table_rejects_stale_results(tmp_path, monkeypatch):
    found = experiments.read("simclr")
    found["rows"][0]["recipe"] = "another"
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    (tmp_path / "simclr.json").write_text(json.dumps(found))
    with pytest.raises(
        ValueError, match="is out of date for raw pixels, seed 0: run `make results`"
    ):
        experiments.table("simclr")


def test_different_settings_of_an_experiment_have_different_recipe_hashes():
    """A hash sees what a variant's builder is given: functions by their source, other
    things by their value."""
    for experiment in EXPERIMENTS.values():
        trained = [
            s
            for s in experiment.values()
            if s.job in (jobs.trained, studies.trained_h_and_z)
        ]
        assert len({setting.recipe.hash() for setting in trained}) == len(trained)
    assert (
        EXPERIMENTS["simclr-heads"]["MLP"].recipe
        == EXPERIMENTS["simclr-temperature"]["0.2"].recipe
    )


def test_setting_hashes_are_the_same_in_another_process():
    every = "[setting.hash() for experiment in catalogue().values() for setting in experiment.values()]"
    script = f"from course_lib.experiments import catalogue; print({every})"
    again = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert ast.literal_eval(again) == [
        setting.hash() for x in EXPERIMENTS.values() for setting in x.values()
    ]


def test_setting_hash_depends_on_the_pretrained_recipe():
    tuned = EXPERIMENTS["simclr-labels"]["SimCLR, fine-tuned"]
    assert tuned.pretrained == lookup("simclr")
    assert (
        replace(
            tuned, pretrained=replace(lookup("simclr"), cpu=Size(600, 256, 5e-3))
        ).hash()
        != tuned.hash()
    )


def test_from_scratch_and_fine_tuned_use_the_same_few_rows(tmp_path, monkeypatch):
    few = load("scenes", "train")[:600]
    monkeypatch.setattr(jobs, "RUNS", tmp_path)
    for module in (jobs, studies):
        monkeypatch.setattr(module, "load", lambda *_: few)
    short = replace(lookup("simclr"), cpu=Size(1, 64, 5e-3))
    monkeypatch.setitem(recipes(), "simclr", short)
    recipe, seen = replace(lookup("supervised"), cpu=Size(1, 256, 2e-3)), {}

    def watch(recipe, method, data, **more):
        seen.setdefault(
            len(seen),
            (
                method.encoder.stem[0].weight.clone(),
                data.info["emoji"].unique().tolist(),
            ),
        )
        return train(recipe, method, data, **more)

    pretrained, _ = jobs.train_to_the_end(short, 0)
    monkeypatch.setattr(jobs, "train", watch)
    scratch = studies.from_scratch(recipe, 0)
    tuned = studies.fine_tuned(recipe, 0)
    assert scratch.keys() == tuned.keys() >= {"1%", "10%", "100%", "steps", "seconds"}
    # the pretraining, done already, is among them
    runs = list(seen.values())[:3] + list(seen.values())[-3:]
    for (fresh, rows), (start, same_rows) in zip(runs[:3], runs[3:]):
        assert rows == same_rows and not torch.equal(fresh, start)
        assert torch.equal(start, pretrained.encoder.stem[0].weight)
    assert [len(rows) for _, rows in runs[:3]] == sorted(
        len(rows) for _, rows in runs[:3]
    )


def test_variant_settings_build_the_method_they_name():
    def of(experiment, setting):
        return build(EXPERIMENTS[experiment][setting].recipe, seed=0)

    assert (
        of("simclr-temperature", "0.5").temperature == 0.5
        and of("simclr-temperature", "0.2").temperature == 0.2
    )
    assert [
        len(list(of("simclr-heads", head).projector.children()))
        for head in ("none", "linear", "MLP")
    ] == [0, 1, 4]
    assert of("bank-negatives", "NCE, 1024 negatives").noise == 1024
    size = EXPERIMENTS["simclr-batch-size"]["batch 32, 800 steps"].recipe.cpu
    assert (size.steps, size.batch_size) == (800, 32) and size.lr == pytest.approx(
        5e-3 / 8**0.5
    )
    x = torch.rand(4, 3, 32, 32)
    twice = of("simclr-augmentations", "Sobel, Sobel").augment(x)
    torch.testing.assert_close(twice, sobel(x))  # the diagonal: once
    grey_then_turned = of("simclr-augmentations", "Sobel, rotate").augment(x)
    assert grey_then_turned.shape == x.shape and not torch.equal(
        grey_then_turned, twice
    )


def test_read_of_missing_results_names_make_results(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `make results`"):
        experiments.read("simclr")


# The zoo.


@pytest.mark.parametrize("name", zoo.manifest())
def test_zoo_checkpoints_load_in_eval_mode_with_finite_values(name):
    method = zoo.load(name)  # whose file and recipe are as the manifest says
    assert not any(module.training for module in method.modules())
    assert all(value.isfinite().all() for value in method.state_dict().values())


SMALL = {"supervised-digits", "vae-plane"}  # the others in `make test-all`


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in SMALL else pytest.mark.slow)
        for n in zoo.manifest()
    ],
)
def test_zoo_checkpoints_reproduce_their_metric(name):
    row, method = zoo.manifest()[name], zoo.load(name)
    again, (bank, unseen) = (
        {},
        (load(lookup(name).data, split) for split in ("train", "test")),
    )
    if "knn" in row:
        h_bank, h = (
            evaluate.features(method, bank.x),
            evaluate.features(method, unseen.x),
        )
        again["knn"] = evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y)
    if "pretext" in row:
        again["pretext"] = experiments.pretext_score(method, unseen.x)
    assert again
    for measure, value in again.items():
        # Another processor rounds otherwise: a few rows change their class.
        assert value == pytest.approx(row[measure], rel=1e-3, abs=2e-3)
        assert value > max(
            r[measure] for r in experiments.read(name)["rows"] if measure in r
        )


def test_zoo_files_are_in_the_manifest_and_below_4_megabytes():
    files = list(zoo.FOLDER.glob("*.safetensors"))
    assert {f.stem for f in files} == set(zoo.manifest()) and all(
        f.stat().st_size < 4e6 for f in files
    )


def test_zoo_load_rejects_an_altered_file_a_stale_recipe_and_an_unknown_name(
    tmp_path, monkeypatch
):
    content, row = (
        (zoo.FOLDER / "simclr.safetensors").read_bytes(),
        zoo.manifest()["simclr"],
    )
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"simclr": row}))
    for broken in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        (tmp_path / "simclr.safetensors").write_bytes(broken)
        with pytest.raises(
            OSError, match="simclr.safetensors: the file is altered or incomplete"
        ):
            zoo.load("simclr")
    with pytest.raises(ValueError, match="`name`: expected one of simclr, got 'dino'"):
        zoo.load("dino")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"simclr": row | {"recipe": "older"}})
    )
    with pytest.raises(ValueError, match="recipe of 'simclr' has changed"):
        zoo.load("simclr")


def test_zoo_save_and_load_keep_the_representation(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    method = build(lookup("simclr"), 5).eval()
    zoo.save("simclr", method, {"steps": 1})
    x = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(
        zoo.load("simclr").encode(x), method.encode(x), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    "same", [True, False], ids=["average as network", "average of its own"]
)
def test_zoo_writes_equal_tensors_once_and_restores_both(tmp_path, monkeypatch, same):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    torch.manual_seed(0)
    method = build(lookup("ddpm"), 5)
    with torch.no_grad():
        for p in method.net.parameters():
            # no zeros: every two tensors differ but for what is copied here
            p.copy_(torch.randn_like(p))
        for p, twin in zip(method.average.net.parameters(), method.net.parameters()):
            p.copy_(twin if same else torch.randn_like(p))
        # a vector: twice, it is not worth a line
        method.net.door[1].bias.copy_(method.net.out[0].bias)
    method.updates.fill_(70_000)  # more than half precision can hold
    zoo.save("ddpm", method, {"steps": 1})
    back, state = zoo.load("ddpm").state_dict(), method.state_dict()
    assert back.keys() == state.keys() and zoo.load("ddpm").average.training is False
    for key, value in state.items():
        expected = value.half().float() if value.is_floating_point() else value
        assert back[key].dtype == value.dtype and torch.equal(back[key], expected), key
    with safe_open(tmp_path / "ddpm.safetensors", "pt") as file:
        written, twins = set(file.keys()), file.metadata() or {}
    assert not written & twins.keys() and written | twins.keys() == state.keys()
    assert set(twins.values()) <= written  # none is found by way of another
    matrices = {
        key for key in state if key.startswith("average.net.") and state[key].ndim > 1
    }
    assert twins == (
        {key: key.removeprefix("average.") for key in matrices} if same else {}
    )


def test_zoo_writes_three_equal_tensors_once(tmp_path, monkeypatch):
    """A new U-Net is full of zeros of one shape."""
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    method = build(lookup("ddpm"), 5)
    zoo.save("ddpm", method, {"steps": 1})
    with safe_open(tmp_path / "ddpm.safetensors", "pt") as file:
        assert (
            max(map(list(file.metadata().values()).count, file.metadata().values()))
            >= 2
        )
    back = zoo.load("ddpm").state_dict()
    for key, value in method.state_dict().items():
        assert torch.equal(
            back[key], value.half().float() if value.is_floating_point() else value
        ), key


def test_zoo_halved_converts_floating_point_only():
    state = {
        "a": torch.tensor([1 / 3]),
        "n": torch.tensor(70_001),
        "flag": torch.tensor([True]),
    }
    halved = zoo.halved(state)
    assert (
        halved["a"].dtype == torch.half
        and halved["n"] is state["n"]
        and halved["flag"] is state["flag"]
    )


# The command line.


def test_command_list_shows_recipes_and_data(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"simclr +scenes +500 x 256 .* yes +yes +contrastive.simclr.SimCLR\n", out
    )
    assert re.search(
        r"simclr-cifar10 +cifar10 +- .* - +- +contrastive.*\n +published: 94.0 % "
        r"linear probe",
        out,
    )
    assert "emoji" in out and "stl10" in out


def test_command_evaluate_prints_the_measured_table(capsys):
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


def test_command_train_resumes_and_evaluate_reads_its_weights(
    tmp_path, capsys, monkeypatch
):
    small = load("scenes", "train")[:512]
    monkeypatch.setattr("course_lib.commands.train.load", lambda *_: small)
    monkeypatch.setattr(jobs, "load", lambda *_: small)
    arguments = [
        "train",
        "simclr",
        "--steps",
        "2",
        "--batch-size",
        "64",
        "--every",
        "1",
        "--device",
        "cpu",
    ]
    arguments += [
        "--checkpoint",
        str(tmp_path / "c.pt"),
        "--out",
        str(tmp_path / "deep" / "w.pt"),
    ]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert (
        re.search(r"step 2 of 2  loss \d+\.\d{4}  \d+ images/s  0 s left", first)
        and (tmp_path / "deep" / "w.pt").exists()
    )
    # finished: nothing left to train
    assert main(arguments) == 0 and "step" not in capsys.readouterr().out
    assert (
        main(["evaluate", "simclr", "--weights", str(tmp_path / "deep" / "w.pt")]) == 0
    )
    assert re.search(
        r"random encoder +knn 0\..*\ntrained +knn 0\..*\nheld-out scenes, seed 0",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing"], "argument `name`: expected one of simclr, "),
        (["train", "simclr", "--steps", "0"], "argument `steps`"),
        (["evaluate", "--zoo"], "need the recipe's name"),
        (["evaluate", "simclr-cifar10"], "argument `name`: expected one of simclr, "),
        (["evaluate", "simclr", "--weights", "missing.pt"], "missing.pt"),
    ],
)
def test_command_line_mistakes_end_in_one_sentence(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with files that a user may give in place of weights or a checkpoint; the
    working and the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    method = build(lookup("simclr"), 0)
    torch.save(method.state_dict(), "weights.pt")
    torch.save({"run": {}, "method": method.state_dict()}, "checkpoint.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--every 0", "argument `every`: expected a whole number in [1, inf], got 0"),
        ("--device mps", "argument `device`: expected cpu, cuda or cuda:N, got 'mps'"),
        ("--device gpu", "argument `device`: expected cpu, cuda or cuda:N, got 'gpu'"),
        ("--batch-size 0", "argument `batch_size`: expected a whole number"),
        (f"--seed {2**64}", "argument `seed`: expected a whole number"),
        ("--out folder", "argument `out`: expected a file, got the folder 'folder'"),
        ("--out empty.pt/w.pt", "argument `out`: cannot write to 'empty.pt/w.pt'"),
        ("--out a.pt --checkpoint ./a.pt", "expected two files, got 'a.pt' twice"),
        ("--checkpoint folder", "argument `checkpoint`: expected a file, got the fold"),
        (
            "--checkpoint weights.pt",
            "weights.pt contains no run (perhaps only weights)",
        ),
        ("--checkpoint empty.pt", "empty.pt cannot be read: move or delete it"),
        ("--weights empty.pt", "argument `weights`: empty.pt cannot be read"),
        (
            "--weights folder",
            "expected weights of this recipe, written by train --out, go",
        ),
        ("--weights none.pt", "--weights none.pt: expected weights of this recipe"),
        ("--weights checkpoint.pt", "got a checkpoint: give it by --checkpoint"),
    ],
)
def test_command_train_names_bad_arguments_before_it_trains(
    arguments, message, files, capsys, monkeypatch
):
    def trains(*_):
        raise AssertionError("the training has begun")

    small = load("scenes", "train")[:64]
    monkeypatch.setattr("course_lib.commands.train.load", lambda *_: small)
    monkeypatch.setattr("course_lib.contrastive.simclr.SimCLR.loss", trains)
    command = [
        "train",
        "simclr",
        "--steps",
        "1",
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ]
    before = sorted(path.name for path in files.rglob("*"))
    assert main([*command, *arguments.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
    assert sorted(path.name for path in files.rglob("*")) == before


def test_command_train_keeps_the_weights_if_the_file_cannot_be_written_any_more(
    files, capsys, monkeypatch
):
    from course_lib import checkpoint

    def full(path, content, write=checkpoint.write_whole):
        if "new.pt" in str(path) and path.parent.name != "kept":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(files / "kept"))
    small = load("scenes", "train")[:16]
    monkeypatch.setattr("course_lib.commands.train.load", lambda *_: small)
    arguments = "train simclr --steps 1 --batch-size 8 --device cpu --out=~/new.pt"
    assert main(arguments.split()) == 0
    shown = capsys.readouterr()
    assert (
        "No space left" in shown.err and f"weights in {files}/kept/new.pt" in shown.out
    )
    state = torch.load(files / "kept" / "new.pt", weights_only=True)
    build(lookup("simclr"), 0).load_state_dict(state)
    monkeypatch.setattr(checkpoint, "write_whole", full.__defaults__[0])
    assert main(arguments.split()) == 0
    assert (files / "home" / "new.pt").is_file() and not (files / "~").exists()
