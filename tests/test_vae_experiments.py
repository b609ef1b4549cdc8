"""The experiments of notebook 11: their measures, and that each setting is the one its
name says."""

import json
import math
from dataclasses import replace
from functools import partial
from statistics import mean, pvariance

import pytest
import torch
import torch.nn.functional as F
from methods import called_at, few_rows
from torch import nn
from torch.distributions import Bernoulli as Coin
from torch.distributions import Normal, kl_divergence

from course_lib import evaluate, experiments, zoo
from course_lib.data import as_float, load
from course_lib.experiments import jobs
from course_lib.experiments.jobs import LOOKS
from course_lib.experiments.judge import detail, generation_metrics, pictures
from course_lib.latent import experiments as studies
from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.experiments import (
    EXPERIMENTS,
    both_samples,
    bound,
    bounded,
    conditional_bound,
    digits,
    fixed_sigma,
    followed,
    log_p,
    mean_and_trunk,
    mlp_autoencoder,
    of_random,
    per_pixel_sigma,
    real,
    reconstructions,
    represented,
    scenes_vae,
    train_and_test_bounds,
)
from course_lib.latent.free_bits import FreeBitsVAE
from course_lib.latent.likelihoods import (
    Bernoulli,
    Gaussian,
    GaussianPerPixel,
    binarise,
    dequantise,
)
from course_lib.latent.recipes import conditional_vae, mlp_vae, vae_emoji
from course_lib.latent.vae import VAE
from course_lib.recipe import Size, build, lookup, recipes, train

JUDGEMENT = {"frechet", "kernel", "precision", "recall", "detail"}
PARTS = {"elbo", "distortion", "rate", "active", "units", "rmse"}
WORTH = {"knn", "probe", "effective_rank", "feature_std"}
RUN = {"steps", "batch_size", "seconds"}


def lively(builder, *arguments):
    """A VAE as the seed makes it, its last encoder layer stronger: posteriors that
    differ, some units silent."""
    method = called_at(builder, *arguments).eval()
    last = [
        layer
        for layer in method.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == 2 * 6
    ][0]
    with torch.no_grad():
        last.weight *= torch.tensor([8.0, 0.0, 4.0, 0.2, 16.0, 0.1]).repeat(2)[:, None]
        last.bias += torch.tensor(
            [0.0, 0.0, 0.5, 0.0, 0.0, 0.0] + [0.0, 0.0, -1.0, 0.5, -3.0, 0.0]
        )
    return method


def told_six():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh())
    decoder = nn.Sequential(nn.Linear(6 + 10, 784), nn.Unflatten(1, (1, 28, 28)))
    return ConditionalVAE(
        encoder,
        nn.Linear(20 + 10, 2 * 6),
        decoder,
        Bernoulli(),
        classes=10,
        draw=binarise,
    )


@torch.no_grad()
def by_hand(method, x, y=None):
    """`bound` for Bernoulli pixels, by torch.distributions."""
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for start in range(0, len(x), 500):
            clean = x[start : start + 500] / 255
            seen = torch.bernoulli(clean)
            if y is None:
                told_row, out = torch.empty(len(clean), 0), method.encoder(seen)
            else:
                told_row = torch.eye(10)[y[start : start + 500]]
                out = method.head(torch.cat([method.encoder(seen), told_row], 1))
            q = Normal(
                out[:, : out.shape[1] // 2], out[:, out.shape[1] // 2 :].exp().sqrt()
            )
            z = q.loc + q.scale * torch.randn(q.loc.shape)
            pixels = Coin(logits=method.decoder(torch.cat([z, told_row], 1)))
            kl = kl_divergence(q, Normal(0.0, 1.0))
            rows.append(
                (
                    pixels.log_prob(seen).sum((1, 2, 3)),
                    kl,
                    q.loc,
                    (pixels.probs - clean).square(),
                )
            )
    log_likelihood, kl, mean, squares = (
        torch.cat(parts).double() for parts in zip(*rows)
    )
    rates = [sum(unit) / len(x) for unit in kl.T.tolist()]
    return {
        "distortion": -log_likelihood.mean().item(),
        "rate": sum(rates),
        "active": sum(pvariance(unit) > 0.01 for unit in mean.T.tolist()),
        "units": sorted(rates, reverse=True),
        "rmse": math.sqrt(squares.mean()),
    }


def check_bound(found, expected):
    assert PARTS <= set(found)
    assert found["active"] == expected["active"]
    for key in ("distortion", "rate", "units", "rmse"):
        assert found[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-5), key
    assert found["elbo"] == pytest.approx(
        -expected["distortion"] - expected["rate"], rel=1e-4
    )


# What is measured.


def test_bound_equals_torch_distributions_averaged_over_pictures():
    # 667: a whole batch and the rest
    method, test = lively(mlp_vae, 6), load("digits", "test")[::3]
    found = bound(method, test.x, test.y)
    check_bound(found, by_hand(method, test.x))
    assert 0 < found["active"] < 6
    assert found["units"] == sorted(found["units"], reverse=True) and sum(
        found["units"]
    ) == pytest.approx(found["rate"])
    assert found["elbo"] == pytest.approx(-found["distortion"] - found["rate"])


def test_bound_passes_the_label_only_with_by_label():
    method, test = lively(told_six), load("digits", "test")[::20]
    check_bound(
        bound(method, test.x, test.y, by_label=True), by_hand(method, test.x, test.y)
    )
    others = (test.y + 1) % 10
    expected = by_hand(method, test.x, others)
    check_bound(bound(method, test.x, others, by_label=True), expected)
    assert expected["distortion"] != by_hand(method, test.x, test.y)["distortion"]
    plain, heard = lively(mlp_vae, 6), []
    posterior = plain.posterior
    plain.posterior = lambda x, y=None: heard.append(y) or posterior(x, y)
    assert (
        bound(plain, test.x, test.y) == bound(plain, test.x, others)
        and heard
        and set(heard) == {None}
    )


def test_bound_of_colour_pictures_counts_every_channel_in_eval_mode():
    x, y = (
        load("emoji_on_white", "test").x[::60],
        load("emoji_on_white", "test").y[::60],
    )
    method = called_at(per_pixel_sigma)
    method.loss(as_float(x))  # moves BatchNorm's averages
    before = {key: value.clone() for key, value in method.state_dict().items()}
    state = torch.get_rng_state()
    found = bound(method.train(), x, y)
    assert torch.equal(state, torch.get_rng_state()) and found == bound(method, x, y)
    assert all(
        torch.equal(value, before[key]) for key, value in method.state_dict().items()
    )
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = (x.float() + torch.rand(x.shape) * (1 - 2**-16)) / 256
        out = method.eval().encoder(seen)
        z = out[:, :64] + out[:, 64:].exp().sqrt() * torch.randn(len(x), 64)
        painted = method.decoder(z)
        floor = math.log(1 / 256)
        sigma = (floor + (painted[:, 3:] - floor).exp().log1p()).exp()
        expected = (
            -Normal(painted[:, :3], sigma).log_prob(seen).sum((1, 2, 3)).mean().item()
        )
        error = (painted[:, :3].clamp(0, 1) - x / 255).square().mean().sqrt().item()
    assert found["distortion"] == pytest.approx(expected, rel=1e-4) and found[
        "rmse"
    ] == pytest.approx(error, rel=1e-4)
    assert len(found["units"]) == 64


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        (
            Bernoulli(),
            [1 / (1 + math.e), 1 / (1 + math.exp(-0.3)), 0.5, 1 / (1 + math.exp(-2))],
        ),
        (Gaussian(0.3), [0.0, 0.3, 0.0, 1.0]),
        (GaussianPerPixel(), [0.0, 0.3]),
    ],
)
def test_pictures_are_the_decoder_means_clipped_to_0_to_1(likelihood, expected):
    method = VAE(nn.Identity(), nn.Identity(), likelihood)
    found = pictures(method, torch.tensor([-1.0, 0.3, 0.0, 2.0]).view(1, 4, 1, 1))
    assert found.flatten().tolist() == pytest.approx(expected)


def test_pictures_of_a_conditional_vae_use_the_label():
    method, z, y = called_at(told_six), torch.randn(3, 6), torch.tensor([2, 0, 9])
    expected = method.decoder(torch.cat([z, torch.eye(10)[y]], 1)).sigmoid()
    torch.testing.assert_close(pictures(method, z, y), expected)


def test_reconstructions_decode_one_draw_of_the_posterior():
    method, x = lively(mlp_vae, 6), load("digits", "test").x[::200]

    @torch.no_grad()
    def expected():
        out = method.encoder(torch.bernoulli(x / 255))
        return method.decoder(
            out[:, :6] + out[:, 6:].exp().sqrt() * torch.randn(len(x), 6)
        ).sigmoid()

    torch.testing.assert_close(
        called_at(reconstructions, method, x, seed=3), called_at(expected, seed=3)
    )
    assert not torch.equal(
        called_at(reconstructions, method, x, seed=3),
        called_at(reconstructions, method, x, seed=4),
    )


def test_detail_equals_a_double_loop():
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    down, right = [], []
    for picture in x.tolist():
        for channel in picture:
            for i in range(4):
                for j in range(5):
                    if i < 3:
                        down.append((channel[i + 1][j] - channel[i][j]) ** 2)
                    if j < 4:
                        right.append((channel[i][j + 1] - channel[i][j]) ** 2)
    assert detail(x) == pytest.approx(
        sum(down) / len(down) + sum(right) / len(right), rel=1e-5
    )
    chessboard = (
        (torch.arange(6)[:, None] + torch.arange(6)).remainder(2).float()[None, None]
    )
    assert detail(torch.full((1, 1, 6, 6), 0.7)) == 0 and detail(chessboard) == 2
    assert detail(F.avg_pool2d(x, 3, 1, 1)) < detail(x)


@pytest.mark.parametrize("data", ["digits", "emoji_on_white"])
def test_generation_metrics_of_identical_pictures_are_perfect(data):
    x = load(data, "test").x[::10]
    found = generation_metrics(as_float(x), x, data)
    assert set(found) == JUDGEMENT and found["frechet"] == pytest.approx(0, abs=1e-3)
    # without bias: each picture has its copy in the other set only
    assert found["kernel"] <= 0
    assert found["detail"] == found["precision"] == found["recall"] == 1


def test_generation_metrics_use_the_features_of_the_judge_of_the_data(monkeypatch):
    """With one feature, the mean grey, both distances have a closed form."""
    asked = []

    def of_grey(name):
        asked.append(name)
        return lambda x: x.mean((1, 2, 3))[:, None]

    monkeypatch.setattr(zoo, "load", of_grey)
    drawn = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) ** 2
    real_ones = torch.randint(
        0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(1)
    ).byte()
    found = generation_metrics(drawn, real_ones, "emoji_on_white")
    generation_metrics(drawn[:, :1], real_ones[:, :1], "digits")
    assert asked == ["supervised", "supervised-digits"]
    g, r = drawn.double().mean((1, 2, 3)), (real_ones.double() / 255).mean((1, 2, 3))
    assert found["frechet"] == pytest.approx(
        ((g.mean() - r.mean()) ** 2 + (g.std() - r.std()) ** 2).item(), rel=1e-3
    )
    g, r = g.tolist(), r.tolist()
    within = sum(
        (u[i] * u[j] + 1) ** 3
        for u in (g, r)
        for i in range(40)
        for j in range(40)
        if i != j
    )
    across = sum((a * b + 1) ** 3 for a in g for b in r)
    assert found["kernel"] == pytest.approx(
        within / (40 * 39) - 2 * across / 40**2, rel=1e-3
    )
    assert found["detail"] == pytest.approx(detail(drawn) / detail(real_ones / 255))


def test_generation_metrics_of_one_digit_have_low_recall_and_of_noise_low_precision():
    test = load("digits", "test")
    mixed, zeros = test[::10].x, load("digits", "train")
    zeros = as_float(zeros[zeros.y == 0].x[: len(mixed)])
    one = generation_metrics(zeros, mixed, "digits")
    noise = generation_metrics(torch.rand(len(mixed), 1, 28, 28), mixed, "digits")
    assert one["precision"] > 0.5 > 0.2 > one["recall"]
    assert (
        noise["precision"] < 0.1
        and noise["frechet"] > one["frechet"]
        and noise["detail"] > 2
    )


class Beside(nn.Module):
    """Pixels as the posterior's mean, and next to nothing as its variance."""

    def forward(self, x):
        return torch.cat([x.flatten(1), torch.full_like(x.flatten(1), -40.0)], 1)


def test_both_samples_are_draws_of_the_prior_and_reconstructions(monkeypatch):
    seen = []

    def recorded(drawn, real_ones, data):
        assert data == "digits" and real_ones is x
        seen.append(drawn)
        return {"frechet": float(len(seen))}

    monkeypatch.setattr(studies, "generation_metrics", recorded)
    method = VAE(Beside(), nn.Unflatten(1, (1, 2, 2)), Gaussian(0.1))
    x = torch.randint(
        0, 256, (1200, 1, 2, 2), generator=torch.Generator().manual_seed(0)
    ).byte()
    assert both_samples(method, x, "digits") == {
        "frechet prior": 1.0,
        "frechet posterior": 2.0,
    }
    prior, posterior = seen
    # each in its own place
    torch.testing.assert_close(posterior, x / 255, atol=1e-6, rtol=0)
    assert prior.shape == x.shape
    # clamped normals
    for share, p in (
        ((prior == 0).double().mean(), 0.5),
        ((prior == 1).double().mean(), 0.1587),
    ):
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 4800)


def test_both_samples_is_repeatable_and_keeps_the_random_state():
    method, x = lively(mlp_vae, 6), load("digits", "test").x[::40]
    state = torch.get_rng_state()
    found = both_samples(method, x, "digits")
    assert torch.equal(state, torch.get_rng_state())
    assert set(found) == {
        f"{measure} {of}" for measure in JUDGEMENT for of in ("prior", "posterior")
    }
    torch.rand(7)
    assert both_samples(method, x, "digits") == found


def test_log_p_equals_importance_weighting_by_loops():
    # 143: a whole batch and the rest
    method, x = lively(mlp_vae, 6), load("digits", "test").x[::14]

    @torch.no_grad()
    def expected(draws):
        found = []
        for batch in x.split(100):
            seen = torch.bernoulli(batch / 255)
            out = method.encoder(seen)
            q, eps = (
                Normal(out[:, :6], out[:, 6:].exp().sqrt()),
                torch.randn(draws, len(batch), 6),
            )
            for i, picture in enumerate(seen):
                weights = []
                for z in q.loc[i] + q.scale[i] * eps[:, i]:
                    of_q = Normal(q.loc[i], q.scale[i]).log_prob(z).sum()
                    of_x = (
                        Coin(logits=method.decoder(z[None])[0]).log_prob(picture).sum()
                    )
                    weights.append(
                        (of_x + Normal(0.0, 1.0).log_prob(z).sum() - of_q).item()
                    )
                top = max(weights)
                found.append(
                    top + math.log(sum(math.exp(w - top) for w in weights) / draws)
                )
        return sum(found) / len(found)

    state = torch.get_rng_state()
    one, three = log_p(method, x, draws=1), log_p(method, x, draws=3)
    assert torch.equal(state, torch.get_rng_state())
    assert one == pytest.approx(called_at(expected, 1), rel=1e-5)
    assert three == pytest.approx(called_at(expected, 3), rel=1e-5)
    elbo = bound(method, x, torch.zeros(len(x)))["elbo"]
    assert log_p(method, x) > three > max(one, elbo)


def test_log_p_of_many_draws_equals_the_integral_over_z():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    decoder = nn.Sequential(nn.Linear(1, 4), nn.Unflatten(1, (1, 2, 2)))
    method = called_at(VAE, encoder, decoder, Bernoulli(), binarise)
    with torch.no_grad():
        decoder[0].weight.copy_(torch.tensor([[2.0], [-1.0], [0.5], [1.5]]))
    x = torch.tensor(
        [[0, 255, 0, 0], [255, 0, 255, 255], [255, 255, 255, 0]], dtype=torch.uint8
    ).view(3, 1, 2, 2)
    width, exact = 0.01, []
    grid = [width * k for k in range(-800, 801)]
    weight, bias = decoder[0].weight.flatten().tolist(), decoder[0].bias.tolist()
    for pixels in (x.flatten(1) / 255).tolist():
        total = 0.0
        for z in grid:
            p = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            for pixel, w, b in zip(pixels, weight, bias):
                on = 1 / (1 + math.exp(-w * z - b))
                p *= on if pixel else 1 - on
            total += p * width
        exact.append(math.log(total))
    exact = sum(exact) / 3
    assert log_p(method, x, draws=4000) == pytest.approx(exact, abs=0.03)
    elbo = bound(method, x.repeat(400, 1, 1, 1), torch.zeros(1200))["elbo"]
    assert elbo < exact - 0.05


def test_bound_of_a_model_that_ignores_z_is_exact_with_rate_0():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    decoder = nn.Sequential(nn.Linear(2, 9), nn.Unflatten(1, (1, 3, 3)))
    method = VAE(encoder, decoder, Bernoulli(), binarise)
    for layer in (encoder[1], decoder[0]):
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(encoder[1].bias)
    # every pixel is 1 with probability 3/4
    nn.init.constant_(decoder[0].bias, math.log(3))
    x = torch.zeros(6, 9, dtype=torch.uint8)
    for k in range(6):
        x[k, :k] = 255
    expected = (
        sum(k * math.log(3 / 4) + (9 - k) * math.log(1 / 4) for k in range(6)) / 6
    )
    found = bound(method, x.view(6, 1, 3, 3), torch.zeros(6))
    assert found["rate"] == found["active"] == 0 and found["units"] == [0, 0]
    assert (
        found["elbo"]
        == pytest.approx(expected)
        == log_p(method, x.view(6, 1, 3, 3), draws=5)
    )


# Jobs.


@pytest.fixture
def few(tmp_path, monkeypatch):
    return few_rows(tmp_path, monkeypatch, studies)


def tiny(recipe, steps=2):
    size = Size(steps, 16, 1e-3)
    return replace(recipe, cpu=size, gpu=size)


def test_train_and_test_bounds_compare_equally_many_train_and_test_digits():
    method, seen, test = (
        lively(mlp_vae, 6),
        load("digits", "train"),
        load("digits", "test"),
    )
    found = train_and_test_bounds(method)
    assert set(found) == {"elbo", "rate", "distortion", "elbo_train"}
    on_test, on_train = by_hand(method, test.x), by_hand(method, seen.x[: len(test)])
    assert found["rate"] == pytest.approx(on_test["rate"], rel=1e-4)
    assert found["distortion"] == pytest.approx(on_test["distortion"], rel=1e-4)
    assert found["elbo_train"] == pytest.approx(
        -on_train["distortion"] - on_train["rate"], rel=1e-4
    )


def test_followed_measures_during_training_and_log_p_after_it(few):
    recipe = tiny(digits(mlp_vae, 2), steps=2 * LOOKS)
    row, curve = followed(recipe, 0), {}
    assert (
        set(row) == RUN | PARTS | {"curve", "elbo_few", "log_p_few"}
        and row["steps"] == 2 * LOOKS
        and row["batch_size"] == 16
    )
    train_set, test, method = (
        few("digits", "train"),
        few("digits", "test"),
        build(recipe, 0),
    )
    for step in train(recipe, method, train_set, seed=0, device="cpu"):
        curve[step.k] = by_hand(method.eval(), test.x), by_hand(method, train_set.x)
    check_bound(row, curve[2 * LOOKS][0])
    assert set(row["curve"]) == {"update", "elbo", "rate", "distortion", "elbo_train"}
    assert row["curve"]["update"] == list(range(1, 2 * LOOKS, 2))
    for place, update in enumerate(row["curve"]["update"]):
        found = {key: values[place] for key, values in row["curve"].items()}
        unseen, seen = curve[update]
        assert found["rate"] == pytest.approx(unseen["rate"], rel=1e-3)
        assert found["distortion"] == pytest.approx(unseen["distortion"], rel=1e-4)
        assert found["elbo"] == pytest.approx(
            -found["distortion"] - found["rate"], rel=1e-5
        )
        assert found["elbo_train"] == pytest.approx(
            -seen["distortion"] - seen["rate"], rel=1e-4
        )
    assert row["elbo_few"] < row["log_p_few"] < 0
    assert json.loads(json.dumps(row)) == row
    assert followed(recipe, 0) == row  # from its checkpoint


def test_bounded_measures_the_trained_method(few):
    recipe = tiny(digits(mlp_vae, 6, 3.0))
    row, test = bounded(recipe, 1), few("digits", "test")
    kinds = {
        f"{measure} {of}" for measure in JUDGEMENT for of in ("prior", "posterior")
    }
    assert set(row) == RUN | PARTS | kinds and row["steps"] == 2
    method, _ = jobs.train_to_the_end(recipe, 1)
    check_bound(row, by_hand(method.eval(), test.x))
    assert not torch.equal(
        method.encoder[1][0].weight, build(recipe, 1).encoder[1][0].weight
    )
    assert json.loads(json.dumps(row)) == row and bounded(recipe, 1) == row
    assert bounded(recipe, 2)["elbo"] != row["elbo"]


def test_bounded_on_emoji_gives_finite_values(few):
    row = bounded(tiny(EXPERIMENTS["vae-likelihoods"]["sigma of each pixel"].recipe), 0)
    assert (
        all(math.isfinite(value) for key, value in row.items() if key != "units")
        and len(row["units"]) == 64
    )


def test_real_draws_training_rows_once_each_by_the_seed(monkeypatch):
    seen = []

    def recorded(drawn, real_ones, data):
        seen.append((drawn * 255).round().byte())
        assert data == "digits" and torch.equal(real_ones, load("digits", "test").x)
        return {"frechet": 1.5}

    monkeypatch.setattr(studies, "generation_metrics", recorded)
    for seed in (0, 0, 1):
        assert real(lookup("vae"), seed) == {"steps": 0, "frechet prior": 1.5}
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    assert len(seen[0]) == len(load("digits", "test"))
    known, drawn = (
        {picture.numpy().tobytes() for picture in x}
        for x in (load("digits", "train").x, seen[0])
    )
    assert drawn <= known and len(drawn) == len(seen[0])


@pytest.mark.parametrize("name", ["vae", "vae-emoji"])
def test_real_pictures_score_better_than_samples_of_an_untrained_model(few, name):
    row, x = real(lookup(name), 0), few(lookup(name).data, "test").x
    samples = both_samples(build(lookup(name), 0).eval(), x, lookup(name).data)
    assert set(row) == {"steps"} | {f"{measure} prior" for measure in JUDGEMENT}
    assert (
        row["frechet prior"] < samples["frechet prior"]
        and row["kernel prior"] < samples["kernel prior"]
    )
    assert (
        row["precision prior"] > 0.5 > samples["precision prior"]
        and 0.8 < row["detail prior"] < 1.25
    )


class Copybook(nn.Module):
    """Paints one given picture for each label, whatever z is."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, rows):
        return self.logits[rows[:, 8:].argmax(1)]


@torch.no_grad()
def test_conditional_bound_accuracy_is_the_share_of_samples_judged_as_their_label(
    few, monkeypatch
):
    judge, known = zoo.load("supervised-digits"), load("digits", "train")[::10]
    known = known[
        judge.classifier(judge.encode(as_float(known.x))).argmax(1) == known.y
    ]
    copies = as_float(known.x[[known.y.tolist().index(label) for label in range(10)]])
    for shift, share in ((0, 1.0), (1, 0.0)):  # every digit painted as the next one
        method = called_at(conditional_vae)
        method.decoder = Copybook(copies.roll(-shift, 0) * 40 - 20)
        monkeypatch.setattr(
            studies,
            "train_to_the_end",
            lambda *_, method=method: (method, {"steps": 7}),
        )
        row, test = (
            conditional_bound(lookup("conditional-vae"), 0),
            few("digits", "test"),
        )
        assert row["accuracy"] == share and row["steps"] == 7
        check_bound(row, by_hand(method, test.x, test.y))
        assert set(row) == {"steps", "accuracy"} | PARTS | {
            f"{measure} prior" for measure in JUDGEMENT
        }


def test_conditional_bound_trains_the_conditional_vae_and_is_repeatable(few):
    recipe = tiny(lookup("conditional-vae"))
    row = conditional_bound(recipe, 0)
    assert (
        RUN < set(row)
        and 0 <= row["accuracy"] <= 1
        and conditional_bound(recipe, 0) == row
    )
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    "builder", [partial(digits, mlp_autoencoder, 2), partial(digits, mlp_vae, 2, 1.0)]
)
def test_represented_measures_the_latent_code(few, builder):
    row = represented(tiny(builder()), 0)
    assert set(row) == RUN | WORTH and row["steps"] == 2
    assert 0.1 < row["knn"] <= 1 and 1 <= row["effective_rank"] <= 2


def test_mean_and_trunk_measures_the_mean_and_the_features_before(few, monkeypatch):
    asked = []

    def recorded(encoder, data):
        asked.append(evaluate.features(encoder, x))
        return {"knn": float(len(asked))}

    x = load("scenes", "val").x[:4]
    monkeypatch.setattr(studies, "measures", recorded)
    recipe = tiny(EXPERIMENTS["vae-representation"]["VAE"].recipe)
    row = mean_and_trunk(recipe, 0)
    assert set(row) == RUN | {"knn", "knn_h"} and {row["knn"], row["knn_h"]} == {
        1.0,
        2.0,
    }
    h, mean = asked[int(row["knn_h"]) - 1], asked[int(row["knn"]) - 1]
    method = jobs.train_to_the_end(recipe, 0)[0].eval()
    with torch.no_grad():
        torch.testing.assert_close(h, method.encoder[0](as_float(x)))
        torch.testing.assert_close(
            mean,
            F.linear(h, method.encoder[1].weight[:96], method.encoder[1].bias[:96]),
        )


def test_of_random_measures_the_untrained_network_without_a_run(few, tmp_path):
    recipe = tiny(EXPERIMENTS["vae-representation"]["random"].recipe)
    row = of_random(recipe, 0)
    assert (
        set(row) == {"steps"} | WORTH | {f"{measure}_h" for measure in WORTH}
        and row["steps"] == 0
    )
    assert not list(tmp_path.iterdir())
    method, seen, test = (
        build(recipe, 0).eval(),
        few("scenes", "train"),
        few("scenes", "test"),
    )
    for end, encoder in (("", method.encode), ("_h", method.encoder[0])):
        with torch.no_grad():
            bank, h = encoder(as_float(seen.x)), encoder(as_float(test.x))
        assert row["knn" + end] == evaluate.accuracy(
            evaluate.knn(bank, seen.y, h), test.y
        )
        assert row["feature_std" + end] == pytest.approx(
            evaluate.feature_std(h), rel=1e-4
        )


# Settings.


def settings(name):
    return {
        title: (setting, build(setting.recipe, 0))
        for title, setting in EXPERIMENTS[name].items()
    }


def code(method):
    """How many latent dimensions a method has."""
    x = load({1: "digits", 3: "scenes"}[channels(method)], "test").x[:2]
    with torch.no_grad():
        return method.eval().encode(as_float(x)).shape[1]


def channels(method):
    return (
        1
        if any(p.shape[1:] in ((784,), (1, 3, 3)) for p in method.encoder.parameters())
        else 3
    )


def shapes(module):
    return [tuple(p.shape) for p in module.parameters()]


def test_settings_of_a_vae_experiment_are_all_different():
    for name, experiment in EXPERIMENTS.items():
        assert name.startswith("vae-") and name not in recipes()
        different = {(setting.hash(), setting.job) for setting in experiment.values()}
        assert len(different) == len(experiment), name
    assert EXPERIMENTS.items() <= experiments.catalogue().items()


def test_rate_distortion_settings_differ_in_beta_only():
    found = settings("vae-rate-distortion")
    first = next(iter(found.values()))[1]
    assert (
        min(method.beta for _, method in found.values())
        < 1
        < max(method.beta for _, method in found.values())
    )
    for name, (setting, method) in found.items():
        assert (
            method.beta == float(name)
            and method.warm_up == 0
            and code(method) == 16
            and setting.job is bounded
        )
        assert all(
            torch.equal(a, b)
            for a, b in zip(method.parameters(), first.parameters(), strict=True)
        )
        assert isinstance(method.likelihood, Bernoulli) and method.draw is binarise
        assert replace(setting.recipe, build=None) == replace(
            digits(mlp_vae, 16), build=None
        )


def test_dimensions_settings_have_the_dimension_and_warm_up_of_their_name():
    found = settings("vae-dimensions")
    for name, (setting, method) in found.items():
        dim, _, rest = name.partition(", ")
        assert code(method) == int(dim) and method.beta == 1 and setting.job is bounded
        assert method.warm_up == (0.5 if rest == "warm-up" else 0)
    for a, b in zip(
        found["64"][1].parameters(), found["64, warm-up"][1].parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_free_bits_settings_are_the_vae_of_64_dimensions_with_the_free_nats_of_their_name():
    plain = settings("vae-dimensions")["64"]
    for name, (setting, method) in settings("vae-free-bits").items():
        assert type(method) is FreeBitsVAE and method.free == float(name) > 0
        assert code(method) == 64 and setting.job is bounded
        assert setting.recipe.cpu == plain[0].recipe.cpu
        for a, b in zip(method.parameters(), plain[1].parameters(), strict=True):
            assert torch.equal(a, b)


def test_free_bits_switch_units_on_and_do_not_improve_the_bound():
    """As notebook 11 says, section 12."""
    units = experiments.values("vae-free-bits", "units")
    for name, seeds in units.items():
        shares = [sum(kl > 0.8 * float(name) for kl in seed) / 64 for seed in seeds]
        assert len(seeds) == 3 and min(shares) > 0.85, name
    without = mean(experiments.values("vae-dimensions", "elbo")["64"])
    loss = {
        name: without - mean(values)
        for name, values in experiments.values("vae-free-bits", "elbo").items()
    }
    assert abs(loss["0.05"]) < 2 and all(7 < loss[name] < 14 for name in ("0.2", "0.5"))


def test_training_labels_and_samples_settings_match_their_names():
    for name, (setting, method) in settings("vae-training").items():
        kind, _, dim = name.partition(", ")
        assert code(method) == int(dim) and method.beta == 1 and setting.job is followed
        assert any(
            isinstance(layer, nn.Conv2d) for layer in method.encoder.modules()
        ) is (kind == "convolutions")
        assert setting.recipe.cpu.steps % LOOKS == 0
    found = settings("vae-labels")
    (blind, without), (sighted, given) = found["without label"], found["with label"]
    assert (type(without), type(given), blind.job, sighted.job) == (
        VAE,
        ConditionalVAE,
        bounded,
        conditional_bound,
    )
    assert (
        code(without) == given.head[-1].out_features // 2 == 8
        and blind.recipe.cpu == sighted.recipe.cpu
    )
    assert shapes(without.decoder)[1:] == shapes(given.decoder)[1:]
    assert (
        shapes(given.decoder)[0][1] - shapes(without.decoder)[0][1]
        == given.classes
        == 10
    )
    assert shapes(without.encoder)[:-2] == shapes(given.encoder)
    for name, setting in EXPERIMENTS["vae-samples"].items():
        assert setting.job is (real if name.startswith("real") else bounded)
        assert setting.recipe.data == (
            "emoji_on_white" if "emoji" in name else "digits"
        )
    assert code(build(EXPERIMENTS["vae-samples"]["digits, 2"].recipe, 0)) == 2


def test_likelihoods_settings_have_the_sigma_of_their_name():
    found = settings("vae-likelihoods")
    d = 3 * 32 * 32
    sigma = {
        "mean of squares": math.sqrt(d / 2),
        "sum of squares": math.sqrt(0.5),
        "sigma 0.1": 0.1,
    }
    for name, (setting, method) in found.items():
        assert (
            setting.job is bounded
            and setting.recipe.data == "emoji_on_white"
            and method.draw is dequantise
        )
        assert replace(setting.recipe, build=None) == replace(
            found["sigma 0.1"][0].recipe, build=None
        )
        assert (
            shapes(method.encoder) == shapes(found["sigma 0.1"][1].encoder)
            and method.beta == 1
        )
        per_pixel = name == "sigma of each pixel"
        assert method.decoder[-1].out.out_channels == (6 if per_pixel else 3)
        assert isinstance(
            method.likelihood, GaussianPerPixel if per_pixel else Gaussian
        )
        if not per_pixel:
            assert method.likelihood.log_sigma.exp().item() == pytest.approx(
                sigma.get(name, 0.1), rel=1e-5
            )
            assert method.likelihood.log_sigma.requires_grad is (
                name == "sigma learned"
            )
    method = vae_emoji()
    method.loss(as_float(load("emoji_on_white", "test").x[:4])).backward()
    assert (
        method.likelihood.log_sigma.grad.abs() > 1
        and fixed_sigma(0.1).likelihood.log_sigma.grad is None
    )


@pytest.mark.parametrize(
    ("name", "reduced"), [("mean of squares", "mean"), ("sum of squares", "sum")]
)
def test_vae_loss_of_fixed_sigma_is_squared_error_plus_kl_up_to_a_constant(
    name, reduced
):
    method, d = (
        build(EXPERIMENTS["vae-likelihoods"][name].recipe, 0).double(),
        3 * 32 * 32,
    )
    sigma2, test = (
        {"mean": d / 2, "sum": 0.5}[reduced],
        load("emoji_on_white", "test").x,
    )

    def by_hand(x):
        seen = (255 * x + torch.rand_like(x) * (1 - 2**-16)) / 256
        mean, log_variance = method.encoder(seen).chunk(2, 1)
        squares = (
            method.decoder(mean + (log_variance / 2).exp() * torch.randn_like(mean))
            - seen
        ).square()
        kl = (
            kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
            .sum(1)
            .mean()
        )
        return (
            squares.mean() if reduced == "mean" else squares.sum((1, 2, 3)).mean()
        ) + kl

    losses, rest = [], []
    batches = (
        as_float(test[:8]),
        as_float(test[300::90]) ** 2,
        torch.zeros(4, 3, 32, 32),
    )
    for seed, x in enumerate(batch.double() for batch in batches):
        with torch.no_grad():
            losses.append(called_at(by_hand, x, seed=seed).item())
            rest.append(called_at(method.loss, x, seed=seed).item() - losses[-1])
    assert max(losses) > 1.2 * min(losses)
    assert rest == pytest.approx([d / 2 * math.log(2 * math.pi * sigma2)] * 3, rel=1e-6)
    assert max(rest) - min(rest) < 1e-4 * (max(losses) - min(losses))


def test_scenes_vae_has_the_autoencoders_networks_and_one_more_layer():
    ours, theirs = scenes_vae(0.1), build(lookup("autoencoder"), 0)
    door = {"1.weight": (2 * 96, 96), "1.bias": (2 * 96,)}

    def named(module, before=""):
        return {
            before + name: tuple(p.shape) for name, p in module.state_dict().items()
        }

    assert named(ours.encoder) == named(theirs.encoder, "0.") | door
    assert named(ours.decoder) == named(theirs.decoder) and repr(ours.decoder) == repr(
        theirs.decoder
    )
    assert repr(ours.encoder[0]) == repr(theirs.encoder)
    x = torch.rand(2, 3, 32, 32)
    assert ours.decode(ours.encode(x)).shape == theirs.reconstruct(x).shape == x.shape
    assert ours.likelihood.log_sigma.requires_grad and ours.draw is dequantise


@pytest.mark.parametrize("dim", [2, 16])
def test_mlp_autoencoder_has_the_networks_of_mlp_vae(dim):
    ours, theirs = mlp_autoencoder(dim), mlp_vae(dim)
    assert shapes(ours.encoder)[:-2] == shapes(theirs.encoder)[:-2]
    assert shapes(ours.encoder)[-2:] == [(dim, 256), (dim,)]
    assert shapes(theirs.encoder)[-2:] == [(2 * dim, 256), (2 * dim,)]
    assert shapes(ours.decoder) == shapes(theirs.decoder)
    x = torch.rand(3, 1, 28, 28)
    painted = ours.reconstruct(x)
    assert (
        ours.encode(x).shape == (3, dim)
        and painted.shape == x.shape
        and 0 < painted.min() < painted.max() < 1
    )
    theirs.decoder.load_state_dict(ours.decoder.state_dict())
    z = ours.encode(x)
    torch.testing.assert_close(pictures(theirs, z), ours.decoder(z))  # the same painter


def test_representation_settings_match_their_names():
    scenes = lookup("autoencoder")
    for name, (setting, method) in settings("vae-representation").items():
        data, _, kind = name.partition(": ")
        if not kind:
            # trained as the autoencoder was
            assert replace(setting.recipe, build=None) == replace(scenes, build=None)
            assert method.beta == (0.1 if "0.1" in name else 1.0) and code(method) == 96
            assert setting.job is (of_random if name == "random" else mean_and_trunk)
        else:
            assert setting.recipe.data == "digits" and setting.job is represented
            assert code(method) == int(data.removeprefix("digits, "))
            assert (
                isinstance(method, VAE) is (kind == "VAE")
                and getattr(method, "beta", 1) == 1
            )


# What the notebook says of its results.


def rows(name, measure, setting):
    return experiments.values(name, measure)[setting]


def of(name, measure, setting):
    return mean(rows(name, measure, setting))


def test_results_elbo_of_digits_rises_during_training_with_every_model_and_seed():
    for row in experiments.read("vae-training")["rows"]:
        curve = row["curve"]["elbo"]
        # two looks apart: one is noisy
        assert all(later > earlier for earlier, later in zip(curve, curve[2:]))
        # the tighter bound is tighter
        assert row["elbo_few"] < row["log_p_few"] < row["elbo_few"] + 12
    for worse, better in (
        ("perceptron, 2", "perceptron, 16"),
        ("perceptron, 16", "convolutions, 16"),
    ):
        assert (
            max(rows("vae-training", "elbo", worse))
            < min(rows("vae-training", "elbo", better)) - 10
        )


def test_results_rate_falls_distortion_rises_with_beta_and_elbo_is_best_at_1():
    name, betas = "vae-rate-distortion", [f"{beta:g}" for beta in studies.BETAS]
    for low, high in zip(betas, betas[1:]):
        assert min(rows(name, "rate", low)) > max(rows(name, "rate", high))
        assert max(rows(name, "distortion", low)) < min(rows(name, "distortion", high))
        for measure in ("elbo", "frechet prior"):
            best = max if measure == "elbo" else min
            assert best(betas, key=lambda beta: of(name, measure, beta)) == "1"
    assert of(name, "rate", "0.1") == pytest.approx(44, abs=1)
    assert rows(name, "active", "10") == [1, 1, 1] and rows(name, "active", "30") == [
        0,
        0,
        0,
    ]


def test_results_few_latents_carry_the_digit_at_any_dimension_and_warm_up_helps():
    name = "vae-dimensions"
    carrying = {
        s: [sum(kl > 0.1 for kl in units) for units in values]
        for s, values in experiments.values(name, "units").items()
    }
    assert (
        7 <= min(carrying["16"])
        and max(carrying["16"]) <= 12
        and max(carrying["64"]) <= 13
    )
    assert of(name, "active", "64") == pytest.approx(61, abs=0.5)
    losses = {
        setting: -of(name, "elbo", setting) for setting in ("16", "64", "64, warm-up")
    }
    assert losses["64"] - losses["16"] == pytest.approx(6.5, abs=0.5)
    assert losses["64, warm-up"] - losses["16"] < 0.3 * (losses["64"] - losses["16"])


def test_results_reconstructions_beat_samples_and_both_are_blurred():
    name = "vae-samples"
    for model in ("digits", "digits, 2", "emoji"):
        assert of(name, "frechet posterior", model) < of(name, "frechet prior", model)
        assert (
            of(name, "detail prior", model) < 0.55
            and of(name, "detail posterior", model) < 0.6
        )
    assert of(name, "frechet prior", "real digits") == pytest.approx(0.4, abs=0.05)
    assert of(name, "frechet posterior", "digits") == pytest.approx(0.9, abs=0.05)
    assert (
        of(name, "recall prior", "digits, 2") < 0.03
        and of(name, "precision prior", "emoji") > 0.9
    )


def test_results_kernel_distance_is_lowest_at_beta_1():
    betas = [f"{beta:g}" for beta in studies.BETAS]
    assert (
        min(betas, key=lambda beta: of("vae-rate-distortion", "kernel prior", beta))
        == "1"
    )


def test_results_label_accuracy_grows_with_training_and_a_deeper_head():
    obey = experiments.values("vae-labels", "accuracy")
    assert min(obey["with label"]) > 0.9
    assert (
        max(obey["with label, 1500 updates"] + obey["with label, linear head"]) < 0.87
    )
    assert (
        max(rows("vae-labels", "frechet prior", "with label"))
        < 1.5
        < 4
        < min(rows("vae-labels", "frechet prior", "without label"))
    )
    bounds = {
        setting: -of("vae-labels", "elbo", setting)
        for setting in obey | {"without label": None}
    }
    assert bounds["without label"] == pytest.approx(bounds["with label"], abs=1)
    assert bounds["without label"] - bounds["with label, linear head"] > math.log(10)


def test_results_likelihood_decides_rate_and_bits_per_dimension():
    name = "vae-likelihoods"
    assert (
        rows(name, "active", "mean of squares") == [0, 0, 0]
        and max(rows(name, "rate", "mean of squares")) < 0.01
    )
    bits = {
        s: evaluate.bits_per_dimension(of(name, "elbo", s), 3072)
        for s in experiments.values(name, "elbo")
    }
    assert sorted(bits, key=bits.get, reverse=True) == list(bits)
    assert (bits["sigma learned"], bits["sigma of each pixel"]) == (
        pytest.approx(7.74, abs=0.01),
        pytest.approx(6.4, abs=0.01),
    )
    assert min(rows(name, "rmse", "sigma of each pixel")) > max(
        rows(name, "rmse", "sigma learned")
    )


def test_results_vae_mean_is_no_better_representation_than_autoencoder_code():
    name = "vae-representation"
    knn = experiments.values(name, "knn")
    assert min(knn["digits, 16: autoencoder"]) > max(knn["digits, 16: VAE"])
    assert of(name, "probe", "digits, 16: VAE") == pytest.approx(
        of(name, "probe", "digits, 16: autoencoder"), abs=0.01
    )
    assert (
        mean(knn["VAE"])
        < mean(knn["random"])
        < of("autoencoder", "knn", "trained") - 0.02
    )
    assert mean(knn["VAE, beta 0.1"]) == pytest.approx(mean(knn["VAE"]), abs=0.01)
    assert min(rows("vae", "knn", "trained")) > 0.92
