"""The experiments of notebook 14: their measures, and that each setting is the one its
name says.

Methods with known outputs replace trained ones: they return given pictures, or the
exact noise of a mixture.
"""

import importlib.util
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from methods import called_at, ddim_by_hand, few_rows, products
from scipy.stats import norm
from torch import nn

from course_lib import experiments, zoo
from course_lib.data import as_float
from course_lib.data.toys import CENTRES, NOISE
from course_lib.diffusion import experiments as studies
from course_lib.diffusion.ddpm import DDPM, EPS, X0, V
from course_lib.diffusion.exact import MixtureNoise
from course_lib.diffusion.experiments import (
    EXPERIMENTS,
    LEVELS,
    SAMPLERS,
    by_gan,
    by_vae,
    compared_with_exact,
    drawn,
    noise_error,
    real,
    sampled,
    shipped,
    shipped_rival,
    stepped,
    toy,
)
from course_lib.diffusion.next_step import NextStep, SaysNextStep
from course_lib.diffusion.samplers import ancestral, ddim, last
from course_lib.diffusion.schedules import Schedule, cosine_betas, linear_betas
from course_lib.experiments import jobs
from course_lib.experiments.judge import generation_metrics
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.unet import UNet
from course_lib.recipe import Size, build, lookup, recipes

JUDGEMENT = {"frechet", "kernel", "precision", "recall", "detail"}
RUN = {"steps", "batch_size", "seconds"}
# where the judged pictures are the real ones
PERFECT = {"frechet": 0, "precision": 1, "recall": 1, "detail": 1}
BETAS = cosine_betas(60)


class Waves(nn.Module):
    """A noise for each pixel by itself, with one weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x_t, t, y=None):
        return torch.sin(
            self.weight * x_t + 0.1 * t.reshape(-1, *(1,) * (x_t.ndim - 1))
        )


def waving(pictures=True, betas=BETAS):
    """A method whose moving average has weight 0.7 and whose network has weight -2."""
    method = DDPM(Waves(0.7), betas, pictures=pictures)
    nn.init.constant_(method.net.weight, -2.0)
    return method


class Knows(nn.Module):
    """Predicts these pictures as x_0, whatever the input."""

    def __init__(self, x):
        super().__init__()
        self.x = 2 * as_float(x) - 1

    def forward(self, x_t, t, y=None):
        return self.x[: len(x_t)]


def knowing(x):
    return DDPM(Knows(x), BETAS, X0)


class Part(nn.Module):
    """A share of the noise that another function predicts."""

    def __init__(self, exact, share):
        super().__init__()
        self.exact, self.share = exact, share

    def forward(self, x_t, t, y=None):
        return self.share * self.exact(x_t, t)


def of_mixture(centres, std, betas, share=1.0):
    """A method that predicts a share of the exact noise."""
    return DDPM(
        Part(MixtureNoise(centres, std, Schedule(betas)), share), betas, pictures=False
    )


def other_weights(instead):
    """`zoo.load` with methods of the test's own in place of some."""
    load = zoo.load
    return lambda name: instead[name] if name in instead else load(name)


# What is measured.


def in_parts(n, *shape):
    return torch.cat(
        [torch.randn(min(250, n - first), *shape) for first in range(0, n, 250)]
    )


@pytest.mark.parametrize("pictures", [True, False])
def test_drawn_equals_50_ddim_steps_of_the_average_from_the_noise_of_the_seed(
    pictures,
):
    # two whole batches and the rest
    method, like = waving(pictures), torch.zeros(620, 1, 3, 2, dtype=torch.uint8)
    state = torch.get_rng_state()
    found = drawn(method.train(), like)
    assert (
        torch.equal(state, torch.get_rng_state())
        and not found.requires_grad
        and not method.training
    )
    assert found.shape == like.shape and found.dtype == torch.float32
    x0 = ddim_by_hand(BETAS, called_at(in_parts, 620, 1, 3, 2), 50, pictures)
    expected = ((x0 + 1) / 2).clamp(0, 1) if pictures else x0
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)
    assert found.std() > 0.05
    torch.rand(7)
    assert torch.equal(drawn(method, like), found)  # the same again
    assert (drawn(method, like, seed=1) - found).abs().max() > 0.1


@pytest.mark.parametrize("pictures", [True, False])
def test_drawn_passes_on_sampler_and_steps(pictures):
    method, calls = waving(pictures).train(), []

    def sampler(eps, x, schedule, steps, clip_denoised):
        calls.append((len(x), schedule, steps, clip_denoised))
        assert not torch.is_grad_enabled()
        torch.testing.assert_close(
            eps(x, torch.full((len(x),), 3)), torch.sin(0.7 * x + 0.3)
        )
        yield x, x
        yield x / 4, x

    found = drawn(method, torch.zeros(620, 2), 5, sampler, 17)
    assert calls == [
        (n, method.schedule, 17, 1.0 if pictures else None) for n in (250, 250, 120)
    ]
    ends = called_at(in_parts, 620, 2, seed=5) / 4
    torch.testing.assert_close(
        found, (ends / 2 + 0.5).clamp(0, 1) if pictures else ends
    )


def test_drawn_by_ancestral_takes_all_noise_from_the_seed():
    method, like, state = waving(), torch.zeros(40, 1, 3, 2), torch.get_rng_state()
    first, other = (drawn(method, like, seed, ancestral, 10) for seed in (0, 1))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert (
        torch.equal(drawn(method, like, 0, ancestral, 10), first)
        and (first - other).abs().max() > 0.1
    )
    assert (first - drawn(method, like, 0, ddim, 10)).abs().max() > 0.1


def test_noise_error_equals_its_formula_for_one_gaussian():
    """One Gaussian about a centre: E[eps given x_t] = sqrt(1 - abar) (x_t - sqrt(abar)
    centre) / v."""
    betas, centre, std = cosine_betas(100), torch.tensor([[0.5, -1.0]]), 0.3
    method = waving(pictures=False, betas=betas).train()
    x0 = centre + std * called_at(torch.randn, 3000, 2, seed=3)
    state = torch.get_rng_state()
    found = noise_error(method, MixtureNoise(centre, std, method.schedule), x0)
    assert torch.equal(state, torch.get_rng_state()) and not method.training
    assert (
        set(found) == {"t", "error", "exact"} and json.loads(json.dumps(found)) == found
    )
    assert found["t"] == list(range(0, 100, 11)) and len(found["t"]) == LEVELS == 10

    def draws():
        return [torch.randn(3000, 2) for _ in found["t"]]

    abar = products(betas)
    for k, (t, eps) in enumerate(zip(found["t"], called_at(draws), strict=True)):
        a = abar[t]
        v = a * std**2 + 1 - a
        x_t = math.sqrt(a) * x0.double() + math.sqrt(1 - a) * eps.double()
        answer = math.sqrt(1 - a) / v * (x_t - math.sqrt(a) * centre.double())
        said = torch.sin(0.7 * x_t + 0.1 * t)
        assert found["error"][k] == pytest.approx(
            (said - answer).square().mean().item(), rel=1e-4
        )
        assert found["exact"][k] == pytest.approx(
            answer.square().mean().item(), rel=1e-4
        )
        # the mean square is this times that of 6,000 standard normal numbers
        share = (1 - a) / v
        assert found["exact"][k] == pytest.approx(share, rel=5 * math.sqrt(2 / 6000))


def test_noise_error_of_the_exact_answer_is_zero():
    centres, betas = CENTRES["gaussians"](), cosine_betas(28)
    found = noise_error(
        of_mixture(centres, NOISE, betas),
        MixtureNoise(centres, NOISE, Schedule(betas)),
        torch.randn(50, 2),
    )
    assert (
        found["t"] == list(range(0, 28, 3))
        and found["error"] == [0.0] * LEVELS
        and min(found["exact"]) > 0
    )


# Jobs.


@pytest.fixture
def few(tmp_path, monkeypatch):
    """The loader of few rows; as few pictures are drawn, and points."""
    for name, value in {"SAMPLES": 40, "FEW_SAMPLES": 30, "POINTS": 700}.items():
        monkeypatch.setattr(studies, name, value)
    return few_rows(tmp_path, monkeypatch, studies)


@pytest.fixture
def given(monkeypatch):
    """A function: the jobs get this method as the trained one."""

    def give(method):
        monkeypatch.setattr(
            studies, "train_to_the_end", lambda recipe, seed: (method, {"steps": 7})
        )
        return method

    return give


@pytest.fixture
def shown(monkeypatch):
    """The arguments of `generation_metrics` in order: (drawn, real, data). Its result
    is the number of the call."""
    found = []

    def recorded(*arguments):
        found.append(arguments)
        return {"frechet": len(found)}

    monkeypatch.setattr(studies, "generation_metrics", recorded)
    return found


def tiny(recipe, steps=2):
    size = Size(steps, 16, 1e-3)
    return replace(recipe, cpu=size, gpu=size)


def tiny_ddpm():
    return DDPM(UNet(1, (8,), patch=4), cosine_betas(50))


@pytest.mark.parametrize("job", [sampled, by_vae, by_gan, compared_with_exact])
def test_ddpm_jobs_train_with_gradients_enabled(monkeypatch, job):
    class Begun(Exception):
        pass

    def begin(recipe, seed):
        assert torch.is_grad_enabled() and seed == 4 and recipe is lookup("ddpm")
        raise Begun

    monkeypatch.setattr(studies, "train_to_the_end", begin)
    with pytest.raises(Begun):
        job(lookup("ddpm"), 4)
    assert torch.is_grad_enabled()


def test_sampled_of_known_pictures_is_perfect_with_closed_form_bits(few, given):
    """A network that always predicts x_0. Its draws are the test pictures. Of the bound
    only L_T and the first term are left. The first term is the mass of a Gaussian of
    variance beta_1 in the cell around its mean."""
    test = few("digits", "test").x[:40]
    given(knowing(test))
    state = torch.get_rng_state()
    row = sampled(lookup("ddpm"), 0)
    assert torch.equal(state, torch.get_rng_state())
    assert set(row) == {"steps", "bits"} | JUDGEMENT and row["steps"] == 7
    assert {name: row[name] for name in PERFECT} == pytest.approx(PERFECT, abs=1e-3)
    reach, a, nats = 1 / 255 / math.sqrt(BETAS[0].item()), products(BETAS)[-1], 0.0
    below, between = math.log(norm.cdf(reach)), math.log(2 * norm.cdf(reach) - 1)
    for grey in test.flatten().tolist():
        nats += (a * (grey / 127.5 - 1) ** 2 - a - math.log1p(-a)) / 2
        nats -= below if grey in (0, 255) else between
    assert row["bits"] == pytest.approx(nats / test.numel() / math.log(2), rel=1e-3)


def test_sampled_on_a_tiny_run_equals_ddim_and_is_repeatable(few):
    recipe = tiny(replace(lookup("ddpm"), build=tiny_ddpm))
    row = sampled(recipe, 1)
    assert (
        set(row) == RUN | JUDGEMENT | {"bits"}
        and row["steps"] == 2
        and all(map(math.isfinite, row.values()))
    )
    # from its checkpoint
    assert json.loads(json.dumps(row)) == row == sampled(recipe, 1)
    method, _ = jobs.train_to_the_end(recipe, 1)
    real = few("digits", "test").x[:40]
    x = called_at(torch.randn, 40, 1, 28, 28)
    fakes = (
        last(ddim(method.eval().eps, x, method.schedule, 50, clip_denoised=1.0)) / 2
        + 0.5
    )
    for measure, value in generation_metrics(fakes.clamp(0, 1), real, "digits").items():
        assert row[measure] == pytest.approx(value, rel=1e-3, abs=1e-3), measure


def ticking(monkeypatch, *times):
    """A clock that returns these times, one for each call."""
    looks = iter(times)
    monkeypatch.setattr(
        studies, "time", SimpleNamespace(perf_counter=lambda: next(looks))
    )


def test_stepped_passes_on_seed_sampler_and_steps_and_times_one_picture(
    few, monkeypatch, shown
):
    method, calls = waving(), []

    def sampler(eps, x, schedule, steps, clip_denoised):
        calls.append((x, schedule, steps, clip_denoised))
        yield x / 4, x

    monkeypatch.setattr(zoo, "load", {"ddpm": method}.__getitem__)
    ticking(monkeypatch, 100.0, 106.0)
    assert stepped(lookup("ddpm"), 3, sampler=sampler, steps=11) == {
        "steps": 11,
        "seconds": 6 / 30,
        "frechet": 1,
    }
    ((x, *rest),) = calls
    assert rest == [method.schedule, 11, 1.0] and torch.equal(
        x, called_at(torch.randn, 30, 1, 28, 28, seed=3)
    )
    ((found, real, data),) = shown
    torch.testing.assert_close(found, (x / 8 + 0.5).clamp(0, 1))
    assert torch.equal(real, few("digits", "test").x[:30]) and data == "digits"


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_stepped_ends_at_the_known_pictures_with_every_sampler(few, monkeypatch, name):
    method = knowing(few("digits", "test").x[:30])
    monkeypatch.setattr(zoo, "load", other_weights({"ddpm": method}))
    state = torch.get_rng_state()
    row = stepped(lookup("ddpm"), 0, SAMPLERS[name], 10)
    assert (
        torch.equal(state, torch.get_rng_state()) and json.loads(json.dumps(row)) == row
    )
    assert (
        set(row) == {"steps", "seconds"} | JUDGEMENT
        and row["steps"] == 10
        and row["seconds"] > 0
    )
    assert {measure: row[measure] for measure in PERFECT} == pytest.approx(
        PERFECT, abs=1e-3
    )


def test_real_draws_other_training_pictures_for_each_seed(few, shown):
    state = torch.get_rng_state()
    assert [real(lookup("ddpm"), seed, n=50) for seed in (0, 0, 1)] == [
        {"steps": 0, "frechet": number} for number in (1, 2, 3)
    ]
    assert torch.equal(state, torch.get_rng_state())
    train = {tuple(row) for row in few("digits", "train").x.flatten(1).tolist()}
    for found, unseen, data in shown:
        rows = [tuple(row) for row in (255 * found).round().long().flatten(1).tolist()]
        assert (
            len(set(rows)) == 50
            and set(rows) <= train
            and data == "digits"
            and 0 <= found.min() < found.max() <= 1
        )
        assert torch.equal(unseen, few("digits", "test").x[:50])
    first, again, other = (found for found, _, _ in shown)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_real_pictures_score_well(few):
    row = real(lookup("ddpm"), 0, n=300)
    assert (
        set(row) == {"steps"} | JUDGEMENT
        and row["steps"] == 0
        and json.loads(json.dumps(row)) == row
    )
    noise = generation_metrics(
        torch.rand(300, 1, 28, 28), few("digits", "test").x, "digits"
    )
    assert (
        row["frechet"] < noise["frechet"] / 5
        and min(row["precision"], row["recall"]) > 0.6
    )
    assert row["detail"] == pytest.approx(1, abs=0.1)


def test_shipped_draws_as_many_pictures_as_the_test_set_has(few, monkeypatch, shown):
    """In batches of 250, from the seed's noise, by the weights of the name."""
    method = waving()
    monkeypatch.setattr(zoo, "load", {"these": method}.__getitem__)
    monkeypatch.setattr(studies, "bits_per_dimension", lambda method, x: len(x) / 100)
    assert shipped(lookup("ddpm"), 2, name="these") == {
        "steps": 50,
        "frechet": 1,
        "bits": 3.0,
    }
    ((found, unseen, data),) = shown
    assert torch.equal(unseen, few("digits", "test").x) and data == "digits"
    x0 = ddim_by_hand(
        BETAS, called_at(in_parts, 300, 1, 28, 28, seed=2), 50, limit=True
    )
    torch.testing.assert_close(
        found.double(), (x0 / 2 + 0.5).clamp(0, 1), atol=1e-3, rtol=1e-3
    )


class Copies:
    """A VAE, or a GAN, whose answers are these pictures, brighter than white for the
    VAE: its pictures are cut off."""

    def __init__(self, x):
        self.x, self.asked, self.evaluated, self.dim = as_float(x), [], False, 5
        self.likelihood = self

    def eval(self):
        self.evaluated = True
        return self

    def encode(self, x):
        assert x.shape == (1, 1, 28, 28) and 0 <= x.min() and x.max() <= 1
        return torch.zeros(1, 5)

    def decode(self, z, y=None):
        assert self.evaluated
        self.asked.append(z)
        return torch.where(self.x == 1, 2.0, self.x)

    def mean(self, decoded):
        return decoded

    def generate(self, z, y=None):
        assert self.evaluated
        self.asked.append((z, y))
        return self.x


def test_by_vae_judges_draws_of_the_prior(few, given):
    method = given(Copies(few("digits", "test").x[:40]))
    state = torch.get_rng_state()
    row = by_vae(lookup("vae"), 3)
    assert (
        torch.equal(state, torch.get_rng_state()) and set(row) == {"steps"} | JUDGEMENT
    )
    assert {name: row[name] for name in PERFECT} == pytest.approx(PERFECT, abs=1e-3)
    assert len(method.asked) == 1 and torch.equal(
        method.asked[0], called_at(torch.randn, 40, 5)
    )


def test_by_gan_judges_fakes_of_the_test_labels(few, given):
    test = few("digits", "test")
    method = given(Copies(test.x[:40]))
    state = torch.get_rng_state()
    row = by_gan(lookup("gan"), 3)
    assert (
        torch.equal(state, torch.get_rng_state()) and set(row) == {"steps"} | JUDGEMENT
    )
    assert {name: row[name] for name in PERFECT} == pytest.approx(PERFECT, abs=1e-3)
    ((z, y),) = method.asked
    assert torch.equal(z, called_at(torch.randn, 40, 5)) and torch.equal(y, test.y[:40])


@pytest.mark.parametrize(("job", "name"), [(by_vae, "vae"), (by_gan, "gan")])
def test_by_vae_and_by_gan_on_tiny_runs_are_finite_and_repeatable(few, job, name):
    recipe = tiny(lookup(name))
    row = job(recipe, 1)
    assert (
        set(row) == RUN | JUDGEMENT
        and row["steps"] == 2
        and all(map(math.isfinite, row.values()))
    )
    assert json.loads(json.dumps(row)) == row == job(recipe, 1)  # from its checkpoint


@pytest.mark.parametrize("data", ["gaussians", "grid"])
def test_compared_with_exact_of_the_exact_noise_has_no_error_and_all_modes(
    few, given, data
):
    given(of_mixture(CENTRES[data](), NOISE, cosine_betas(100)))
    state = torch.get_rng_state()
    row = compared_with_exact(toy(data), 0)
    assert (
        torch.equal(state, torch.get_rng_state()) and json.loads(json.dumps(row)) == row
    )
    assert (
        set(row) == {"steps", "error", "modes", "inside", "curve"} and row["steps"] == 7
    )
    assert (
        row["error"] == 0
        and row["modes"] == 1
        and row["curve"]["error"] == [0.0] * LEVELS
    )
    within_three = 1 - math.exp(-4.5)  # of a Gaussian of the plane
    assert row["inside"] == pytest.approx(
        within_three, abs=5 * math.sqrt(within_three * (1 - within_three) / 700)
    )


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_compared_with_exact_error_is_relative_to_the_noise(few, given, share):
    given(of_mixture(CENTRES["gaussians"](), NOISE, cosine_betas(100), share))
    row = compared_with_exact(toy("gaussians"), 0)
    assert (
        row["error"] == pytest.approx((1 - share) ** 2, rel=1e-5)
        and row["inside"] < 0.5
    )
    curve = row["curve"]
    assert curve["t"] == list(range(0, 100, 11))
    assert curve["error"] == pytest.approx(
        [(1 - share) ** 2 * size for size in curve["exact"]], rel=1e-5
    )


def test_compared_with_exact_draws_by_ancestral_on_all_steps_from_the_seed(
    few, given, monkeypatch
):
    method, asked = given(of_mixture(CENTRES["grid"](), NOISE, cosine_betas(20))), []

    def recorded(*arguments):
        asked.append(arguments)
        return CENTRES["grid"]()[:3].repeat(100, 1)

    monkeypatch.setattr(studies, "drawn", recorded)
    row = compared_with_exact(toy("grid"), 6)
    ((who, like, *rest),) = asked
    assert who is method and like.shape == (700, 2) and rest == [6, ancestral, 20]
    assert row["modes"] == 3 / 25 and row["inside"] == 1


def test_compared_with_exact_on_a_tiny_run_has_all_measures(few):
    recipe = tiny(toy("gaussians"))
    row = compared_with_exact(recipe, 1)
    assert set(row) == RUN | {"error", "modes", "inside", "curve"} and row["steps"] == 2
    assert set(row["curve"]) == {"t", "error", "exact"} and {
        len(v) for v in row["curve"].values()
    } == {LEVELS}
    assert 0.3 < row["error"] < 3 and json.loads(
        json.dumps(row)
    ) == row == compared_with_exact(recipe, 1)


# Settings.


def settings(name):
    return {
        title: (setting, build(setting.recipe, 0))
        for title, setting in EXPERIMENTS[name].items()
    }


def plain(value):
    """What can be compared."""
    if isinstance(value, partial):
        return (
            plain(value.func),
            *map(plain, value.args),
            *((k, plain(v)) for k, v in sorted(value.keywords.items())),
        )
    return value


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def is_linear(schedule):
    return np.allclose(schedule.beta, np.linspace(1e-4, 0.02, 1000), rtol=1e-12)


def is_cosine(schedule, steps=1000):
    """By the formula of abar, but for the last step, whose beta is cut off."""
    t = np.arange(1, steps) / steps
    f = np.cos((np.array([0, *t]) + 0.008) / 1.008 * math.pi / 2) ** 2
    return len(schedule) == steps and np.allclose(
        schedule.abar[:-1], f[1:] / f[0], rtol=1e-9
    )


def but(recipe, **changes):
    """The recipe without what is allowed to differ."""
    return replace(recipe, build=None, **changes)


def test_settings_of_a_ddpm_experiment_are_all_different():
    for name, experiment in EXPERIMENTS.items():
        assert name.startswith("ddpm-") and name not in recipes()
        different = {
            (setting.hash(), plain(setting.job)) for setting in experiment.values()
        }
        assert len(different) == len(experiment), name
        assert all(setting.pretrained is None for setting in experiment.values())
    assert EXPERIMENTS.items() <= experiments.catalogue().items()


def test_predictions_settings_differ_in_prediction_and_schedule_only():
    expected = {
        "noise, linear": (DDPM, EPS, is_linear),
        "noise": (DDPM, EPS, is_cosine),
        "picture": (DDPM, X0, is_cosine),
        "v": (DDPM, V, is_cosine),
        "next step, linear, by its noise": (NextStep, EPS, is_linear),
        "next step, linear, itself": (NextStep, EPS, is_linear),
    }
    found, usual = settings("ddpm-predictions"), build(lookup("ddpm"), 0)
    assert set(found) == set(expected)
    for name, (setting, method) in found.items():
        kind, prediction, schedule = expected[name]
        assert (
            type(method) is kind
            and method.prediction is prediction
            and schedule(method.schedule)
        ), name
        assert setting.job is sampled and but(setting.recipe) == but(lookup("ddpm"))
        itself = name.endswith("itself")
        for net, twin in (
            (method.net, usual.net),
            (method.average.net, usual.average.net),
        ):
            assert isinstance(net, SaysNextStep) is itself
            assert not itself or is_linear(net.schedule)
            inner = net.net if itself else net
            assert repr(inner) == repr(twin) and same_weights(inner, twin), name
        assert (method.momentum, method.pictures) == (usual.momentum, usual.pictures)
    assert found["noise, linear"][0].recipe is lookup("ddpm")


def test_steps_settings_differ_in_sampler_and_steps_only():
    samplers = {
        "DDPM": plain(ancestral),
        "DDPM, variance beta": plain(partial(ancestral, large_variance=True)),
        "DDIM": plain(ddim),
    }
    steps = (1000, 250, 50, 10)
    expected = {
        f"{name}, {n}": (stepped, ("sampler", of), ("steps", n))
        for name, of in samplers.items()
        for n in steps
    }
    del expected["DDPM, variance beta, 1000"]
    expected["real"] = (real, ("n", studies.FEW_SAMPLES))
    found = EXPERIMENTS["ddpm-steps"]
    assert {name: plain(setting.job) for name, setting in found.items()} == expected
    assert all(setting.recipe is lookup("ddpm") for setting in found.values())
    assert len({setting.seeds for setting in found.values()}) == 1


def test_equal_time_settings_differ_from_their_recipes_in_steps_only():
    found = EXPERIMENTS["ddpm-equal-time"]
    assert list(found) == ["real", "VAE", "GAN", "DDPM", "DDPM, v"]
    assert plain(found["real"].job) == (real, ("n", studies.SAMPLES))
    for name, recipe, job in (
        ("VAE", "vae", by_vae),
        ("GAN", "gan", by_gan),
        ("DDPM", "ddpm", sampled),
    ):
        usual, longer = lookup(recipe), found[name].recipe
        assert found[name].job is job and replace(longer, cpu=usual.cpu) == usual
        assert replace(longer.cpu, steps=usual.cpu.steps) == usual.cpu
    assert found["DDPM"].recipe is lookup("ddpm") and found["real"].recipe is lookup(
        "ddpm"
    )
    twin = EXPERIMENTS["ddpm-predictions"]["v"]
    assert found["DDPM, v"].hash() == twin.hash() and found["DDPM, v"].job is twin.job
    assert {setting.recipe.data for setting in found.values()} == {"digits"}


def test_shipped_settings_use_the_data_of_their_weights():
    ours = {"digits": "ddpm", "emoji": "ddpm-emoji"}
    rivals = {
        "digits, VAE": "vae",
        "digits, GAN, label": "conditional-gan",
        "emoji, VAE": "vae-emoji",
        "emoji, GAN": "gan-emoji",
        "emoji, GAN, label": "conditional-gan-emoji",
    }
    assert set(EXPERIMENTS["ddpm-shipped"]) == ours.keys() | rivals.keys()
    for job, expected in ((shipped, ours), (shipped_rival, rivals)):
        for name, weights in expected.items():
            setting = EXPERIMENTS["ddpm-shipped"][name]
            assert setting.recipe is lookup(weights) and plain(setting.job) == (
                job,
                ("name", weights),
            )
            assert (
                setting.recipe.data
                == {"digits": "digits", "emoji": "emoji_on_white"}[
                    name.partition(",")[0]
                ]
            )


@pytest.mark.parametrize("name", ["vae", "conditional-gan"])
def test_shipped_rival_draws_as_many_pictures_of_the_test_labels(few, shown, name):
    """Shipped weights on 300 rows: the judge sees the label that a GAN is told far more
    often than by chance."""
    assert shipped_rival(lookup(name), 0, name=name) == {"steps": 1, "frechet": 1}
    ((found, unseen, data),), test = shown, few("digits", "test")
    assert (
        torch.equal(unseen, test.x) and data == "digits" and found.shape == unseen.shape
    )
    assert 0 <= found.min() and found.max() <= 1 and 0.03 < found.mean() < 0.3
    if name == "conditional-gan":
        judge = zoo.load("supervised-digits")
        assert (
            judge.classifier(judge.encode(found)).argmax(1) == test.y
        ).double().mean() > 0.8


def test_toys_settings_differ_in_data_only():
    found = settings("ddpm-toys")
    assert {name: setting.recipe.data for name, (setting, _) in found.items()} == {
        "8 Gaussians": "gaussians",
        "25 Gaussians": "grid",
    }
    (first, method), (second, other) = found.values()
    assert (
        replace(first.recipe, data="grid") == second.recipe
        and first.recipe.cpu == first.recipe.gpu
    )
    assert (
        first.job is second.job is compared_with_exact
        and first.recipe.weight_decay == 0
    )
    assert same_weights(method, other) and repr(method) == repr(other)
    assert (
        type(method) is DDPM
        and isinstance(method.net, TimedMLP)
        and not method.pictures
    )
    assert method.prediction is EPS and is_cosine(method.schedule, 100)
    assert [p.shape[0] for p in method.net.parameters() if p.ndim == 2] == [
        128,
        128,
        128,
        2,
    ]


# What drawing costs.


@pytest.fixture
def bench():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "sampling.py"
    spec = importlib.util.spec_from_file_location("sampling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "betas", [linear_betas(40), cosine_betas(20)], ids=["linear", "cosine"]
)
def test_benchmark_pipeline_of_diffusers_equals_ddim(bench, betas):
    net, shape = Waves(0.7), (3, 2, 4, 5)
    pipe = bench.pipeline(net, shape, betas)
    theirs = called_at(
        lambda: pipe(
            3,
            num_inference_steps=len(betas),
            use_clipped_model_output=True,
            output_type="pt",
        )
    )
    x = called_at(torch.randn, *shape)
    ours = last(ddim(net, x, Schedule(betas), clip_denoised=1.0))
    torch.testing.assert_close(
        theirs.images, (ours / 2 + 0.5).clamp(0, 1), atol=1e-3, rtol=0
    )
    assert ours.std() > 0.1 and theirs.images.shape == shape


def test_benchmark_pipeline_and_ddim_call_the_network_at_the_same_steps(bench):
    asked = []

    class Listens(Waves):
        def forward(self, x_t, t, y=None):
            assert (
                x_t.shape == (3, 1, 2, 2)
                and t.shape == (3,)
                and len(set(t.tolist())) == 1
            )
            asked.append(t[0].item())
            return super().forward(x_t, t)

    net, betas = Listens(0.7), linear_betas(1000)
    bench.pipeline(net, (3, 1, 2, 2), betas)(3, num_inference_steps=7, output_type="np")
    theirs = asked[:]
    asked.clear()
    last(ddim(net, torch.randn(3, 1, 2, 2), Schedule(betas), 7, clip_denoised=1.0))
    assert asked == theirs and asked[0] == 999 and asked[-1] == 0 and len(asked) == 7


@pytest.mark.parametrize("peer", [True, False])
def test_benchmark_ratios_are_1_if_only_network_calls_take_time(
    bench, tmp_path, monkeypatch, peer
):
    """Each call of the network advances the clock by a second. In the warm-up round,
    which is thrown away, it advances by ever more."""
    calls, each = [], 3 * (4 if peer else 3)

    def forward(net, x, t, y=None):
        calls.append(1 if len(calls) % (3 * each) >= each else 50 * len(calls))
        return torch.zeros_like(x)

    monkeypatch.setattr(UNet, "forward", forward)
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: sum(calls)))
    if not peer:
        monkeypatch.setattr(bench, "DDIMPipeline", None)
    out = tmp_path / "found.json"
    monkeypatch.setattr(
        "sys.argv",
        [
            "sampling",
            "--batch",
            "2",
            "--steps",
            "3",
            "--rounds",
            "2",
            "--out",
            str(out),
        ],
    )
    bench.main()
    found = json.loads(out.read_text())
    assert (found["batch"], found["steps"], found["rounds"]) == (2, 3, 2) and found[
        "device"
    ]
    names = ["ddim", "ancestral", *(["diffusers"] if peer else [])]
    for recipe in ("ddpm", "ddpm-emoji"):
        assert found[recipe] == {"seconds, bare network": 3} | dict.fromkeys(names, 1.0)
    assert len(calls) == 2 * 3 * each  # two recipes, three rounds
