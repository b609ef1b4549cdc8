"""The experiments of notebook 08: their measures, and that each switch changes the part
its name says."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib import experiments
from course_lib.data import as_float, load
from course_lib.distillation import experiments as studies
from course_lib.distillation import vit_experiments as vit_studies
from course_lib.distillation.collapse_experiments import (
    byol_with,
    byol_without_average,
    collapse_metrics,
    dino_with,
    output_entropies,
    simsiam_with,
)
from course_lib.distillation.experiments import UNSHOWN, global_crops_only, targets
from course_lib.distillation.recipes import dino, small_vit
from course_lib.distillation.vit_experiments import class_attention
from course_lib.evaluate import most_of_the_mass
from course_lib.experiments import jobs
from course_lib.experiments.jobs import LOOKS, watched
from course_lib.recipe import Size, build, lookup


def test_most_of_the_mass_equals_a_loop():
    attention = torch.rand(5, 2, 4, 3)
    for share in (0.0, 0.3, 0.6, 1.0):
        masks = most_of_the_mass(attention, share)
        assert masks.shape == attention.shape
        for one, mask in zip(attention.flatten(0, 1), masks.flatten(0, 1)):
            order = sorted(range(12), key=lambda place: -one.flatten()[place])
            kept, held = set(), 0.0
            while order and held < share * one.sum().item() * (1 - 1e-6):
                held += one.flatten()[order[0]].item()
                kept.add(order.pop(0))
            assert kept == set(mask.flatten().nonzero().flatten().tolist())


def test_most_of_the_mass_of_one_strong_place_is_that_place():
    attention = torch.full((8, 8), 0.3 / 63)
    attention[2, 5] = 0.7
    assert most_of_the_mass(attention).nonzero().tolist() == [[2, 5]]
    with pytest.raises(ValueError, match="`share`"):
        most_of_the_mass(attention, 1.5)


def test_class_attention_is_the_class_tokens_row_as_a_map():
    vit, x = small_vit(), load("scenes", "val").x[:5]
    found = class_attention(vit, x, batch_size=2)
    assert found.shape == (5, 4, 8, 8) and vit.training
    maps = vit.eval().attention_maps(as_float(x))
    torch.testing.assert_close(found[3, 1, 2, 5], maps[3, 1, 0, 1 + 2 * 8 + 5])
    assert (found.sum((2, 3)) < 1).all()  # the rest is on the class token itself


TINY = replace(lookup("simclr"), cpu=Size(4 * LOOKS, 16, 1e-3))


def test_watched_measures_in_equal_steps_and_resumes_after_an_interrupt(
    tmp_path, monkeypatch
):
    def look(method):
        assert not method.training
        return {
            "progress": method.progress,
            "norm": method.projector[0].weight.norm().item(),
        }

    monkeypatch.setattr(jobs, "RUNS", tmp_path / "a")
    _, about = watched(TINY, 0, look)
    curve = about["curve"]
    assert (
        curve["update"] == list(range(1, 4 * LOOKS, 4)) and about["steps"] == 4 * LOOKS
    )
    assert curve["progress"] == pytest.approx(
        [(k - 1) / (4 * LOOKS) for k in curve["update"]]
    )
    assert len(set(curve["norm"])) == LOOKS

    calls = []

    def interrupted(method):
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return look(method)

    monkeypatch.setattr(jobs, "RUNS", tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        watched(TINY, 0, interrupted)
    resumed = watched(TINY, 0, look)[1]["curve"]
    assert resumed["update"] == curve["update"] and resumed[
        "progress"
    ] == pytest.approx(curve["progress"], abs=0.03)
    assert torch.tensor(list(resumed.values())).isfinite().all()


def test_collapse_metrics_detect_constant_and_uniform_outputs():
    simsiam, method = (
        build(lookup("simsiam"), 0).eval(),
        build(lookup("dino"), 0).eval(),
    )
    assert 0.02 < collapse_metrics(simsiam)["std"] <= 1
    nn.init.zeros_(simsiam.projector[0][-1].weight)
    assert collapse_metrics(simsiam)["std"] == pytest.approx(0, abs=1e-4)
    assert 0.1 < collapse_metrics(method)["entropy"] < 0.99
    method.centre[3] = -100.0
    assert collapse_metrics(method)["entropy"] == pytest.approx(0, abs=1e-6)
    method.centre.zero_()
    method.tau_t = method.tau_t_start = 1e4
    found = collapse_metrics(method)
    assert found["entropy"] == pytest.approx(1, abs=1e-4)
    method.tau_s = 1e4
    assert (
        collapse_metrics(method)["kl"] == pytest.approx(0, abs=1e-6)
        and found["kl"] > 0.01
    )


def test_output_entropies_tell_the_ideal_from_both_collapses(monkeypatch):
    k = 512

    class Outputs(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.rows = rows

        def forward(self, x):
            return self.rows[: len(x)]

    def of(rows):
        method = build(lookup("dino"), 0)
        method.teacher = Outputs(rows)
        found = output_entropies(method)
        return found["entropy"], found["mean_entropy"]

    one_wins = torch.zeros(500, k)
    one_wins[:, 3] = 9
    assert of(one_wins) == pytest.approx((0, 0), abs=1e-4)
    assert of(torch.zeros(500, k)) == pytest.approx((1, 1), abs=1e-4)
    # sure of each scene, and a different prototype for each: 500 of 512 occur
    ideal = 9 * torch.eye(k)[:500]
    assert of(ideal) == pytest.approx((0, math.log(500) / math.log(k)), abs=1e-4)
    # the mean over scenes of the entropy, never the entropy of one of them
    half = torch.cat([one_wins[:250], torch.zeros(250, k)])
    each, together = of(half)
    assert each == pytest.approx(0.5, abs=1e-4)
    share = 0.5 + 0.5 / k
    expected = -share * math.log(share) - (k - 1) / (2 * k) * math.log(1 / (2 * k))
    assert together == pytest.approx(expected / math.log(k), abs=1e-4)


def test_byol_without_average_copies_the_online_network_at_any_progress():
    for predictor in (True, False):
        method = byol_without_average(predictor)
        assert isinstance(method.predictor, nn.Identity) is not predictor
        other = byol_with(predictor, 0.0)
        for progress in (0.0, 0.5, 0.99):
            method.progress = other.progress = progress
            for one in (method, other):
                nn.init.constant_(one.encoder.stem[0].weight, 1 + progress)
                with torch.no_grad():
                    one.after_step()
            target, rising = (
                one.target.net[0].stem[0].weight for one in (method, other)
            )
            assert torch.equal(target, method.encoder.stem[0].weight)
            # BYOL's momentum of 0 rises to 1 along the cosine
            assert torch.equal(rising, target) is (progress == 0)


def test_byol_simsiam_and_dino_switches_change_the_part_they_name():
    x = torch.rand(8, 3, 32, 32)
    z = torch.randn(4, 192, requires_grad=True)
    assert (
        simsiam_with(True, False).target(z).requires_grad
        and not simsiam_with(True, True).target(z).requires_grad
    )
    assert isinstance(simsiam_with(False, True).predictor, nn.Identity)
    assert (
        isinstance(byol_with(False, 0.5).predictor, nn.Identity)
        and byol_with(True, 0.5).momentum == 0.5
    )
    method = byol_with(True, 0.0)
    nn.init.ones_(method.encoder.stem[0].weight)
    method.after_step()
    assert torch.equal(
        method.target.net[0].stem[0].weight, method.encoder.stem[0].weight
    )

    for centring, sharpening in (
        (True, True),
        (False, True),
        (True, False),
        (False, False),
    ):
        method = dino_with(centring, sharpening)
        method.loss(x)
        with torch.no_grad():
            method.after_step()
        assert bool(method.centre.any()) is centring
        assert (method.teacher_temperature() < method.tau_s) is sharpening
    assert not any(
        isinstance(m, nn.BatchNorm1d) for m in dino_with(True, True, None).student[1]
    )
    assert len(global_crops_only(dino).augment(x)) == 2 and len(dino().augment(x)) == 6


def test_dino_vit_choices_differ_in_the_part_they_name_only():
    base = build(lookup("dino-vit"), 0)
    settings = (
        "momentum",
        "centre_momentum",
        "tau_s",
        "tau_t",
        "tau_t_start",
        "warmup",
        "freeze",
    )
    changed = {"teacher's temperature 0.07": {"tau_t", "tau_t_start"}}
    for name, setting in vit_studies.EXPERIMENTS["dino-vit-choices"].items():
        method = build(setting.recipe, 0)
        expected = changed.get(
            name, {"momentum"} if name.startswith("momentum") else set()
        )
        assert {
            s for s in settings if getattr(method, s) != getattr(base, s)
        } == expected, name
        other_layers = repr(method.student) != repr(base.student)
        assert other_layers is (name in ("linear stem", "no BatchNorm in the head")), (
            name
        )
        assert method.student[2].weight.shape == base.student[2].weight.shape


def test_targets_0_is_cross_entropy_and_targets_1_needs_no_label():
    x, y = load("scenes", "train").x[:8], load("scenes", "train").y[:8]
    hard, soft = targets(0.0), targets(1.0)
    assert soft.loss(as_float(x)).isfinite()  # no label needed
    hard.augment = nn.Identity()
    expected = (
        -hard.classifier(hard.encoder(as_float(x))).log_softmax(1)[range(8), y].mean()
    )
    torch.testing.assert_close(hard.loss(as_float(x), y), expected)


def test_without_a_class_excludes_the_digit_from_training_and_tunes_its_bias(
    monkeypatch,
):
    seen = []

    def untrained(recipe, seed, *, method=None, data=None, checkpoint=None):
        if data is not None:
            seen.append(data)
        return (method or build(recipe, seed)).eval(), {"steps": 0}

    monkeypatch.setattr(studies, "train_to_the_end", untrained)
    setting = studies.EXPERIMENTS["distillation-unshown"]["soft targets"]
    row = studies.without_a_class(setting.recipe, 0)
    (data,) = seen
    assert not (data.y == UNSHOWN).any() and set(data.y.tolist()) == set(range(10)) - {
        UNSHOWN
    }
    assert (
        row["all_bias"] >= row["all"] - 0.05 and row["unshown_bias"] >= row["unshown"]
    )
    assert 0 <= row["teacher"] <= 1 and 0 <= row["bias"] <= 30


# What notebook 08 says of the measured rows.


def by_setting(name, measure):
    return experiments.values(name, measure)


def test_results_dino_without_centring_or_sharpening_collapses():
    entropy = {
        name: max(values)
        for name, values in by_setting("distillation-collapse", "entropy").items()
    }
    least = {
        name: min(values)
        for name, values in by_setting("distillation-collapse", "entropy").items()
    }
    assert (
        entropy["DINO, no centring"] < 0.3 < least["DINO"]
        and entropy["DINO"] < 0.8 < least["DINO, no sharpening"]
    )
    assert entropy["DINO, no centring, no BatchNorm"] < 0.1


def test_results_only_the_entropy_of_the_mean_tells_dino_from_a_collapse():
    each = by_setting("dino-entropies", "entropy")
    of_mean = by_setting("dino-entropies", "mean_entropy")
    stored = by_setting("distillation-collapse", "entropy")
    for name, values in each.items():
        assert values == pytest.approx(stored[name], abs=0.05), name
        # the entropy of a mean is at least the mean of the entropies
        assert all(a <= b for a, b in zip(values, of_mean[name])), name


def test_results_soft_targets_help_by_4_to_9_points_with_1_percent_of_the_emoji():
    found = by_setting("distillation-labels", "1%")
    gains = [s - h for s, h in zip(found["soft targets"], found["hard labels"])]
    assert 0.035 < min(gains) and max(gains) < 0.095
    for share in ("10%", "100%"):
        found = by_setting("distillation-labels", share)
        gains = [s - h for s, h in zip(found["soft targets"], found["hard labels"])]
        assert min(gains) < 0 < max(gains)


def test_results_dino_on_the_transformer_is_below_labels_and_beside_simclr():
    gain = {}
    for name in ("simclr", "dino-vit"):
        found = by_setting(name, "knn")
        pairs = zip(found["trained"], found["random encoder"])
        gain[name] = sum(a - b for a, b in pairs) / 3
    assert abs(gain["simclr"] - gain["dino-vit"]) < 0.02
    for measure in ("knn", "probe"):
        dinos, labelled = (
            by_setting(name, measure)["trained"]
            for name in ("dino-vit", "supervised-vit")
        )
        assert max(dinos) < min(labelled)


def test_results_simsiam_without_stop_gradient_and_byol_with_neither_collapse():
    std = by_setting("distillation-collapse", "std")
    assert max(std["SimSiam, no stop-gradient"]) < 0.2 < min(std["SimSiam"])
    assert max(std["BYOL, neither"]) < 0.05 and 0.6 < min(std["BYOL, momentum 0"])


def test_table_of_an_experiment_has_no_curve():
    assert "curve" not in experiments.table("distillation-collapse")
    assert math.isclose(
        len(experiments.read("distillation-collapse")["rows"][0]["curve"]["update"]),
        LOOKS,
    )


def test_results_soft_targets_beat_hard_labels_with_1_percent_of_labels():
    found = by_setting("distillation-labels", "1%")
    assert all(
        soft > hard for soft, hard in zip(found["soft targets"], found["hard labels"])
    )


def test_results_only_soft_targets_teach_a_class_never_shown():
    threes = by_setting("distillation-unshown", "unshown_bias")
    assert max(threes["hard labels"]) == 0 and min(threes["soft targets"]) > 0.8


def test_results_dino_attention_covers_emoji_better_than_untrained_and_supervised():
    for measure in ("iou_mean", "iou_tuned"):
        found = by_setting("dino-attention", measure)
        assert min(found["DINO"]) > max(found["untrained"] + found["supervised"])
