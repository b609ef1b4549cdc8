"""Oracles: scikit-learn for k-NN, logistic and ridge regression and masks, torchmetrics
and scipy for distances between sets, loops and closed forms for the rest."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import jaccard_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from course_lib.data import Dataset, labelled_subset, toys
from course_lib.evaluate import (
    accuracy,
    alignment,
    bits_per_dimension,
    dense,
    effective_rank,
    feature_std,
    features,
    few_labels,
    frechet_distance,
    intersection_over_union,
    kernel_distance,
    knn,
    linear_probe,
    logistic_regression,
    mask_probe,
    mode_coverage,
    precision_recall,
    relative_change,
    representation,
    retrieval,
    uniformity,
)
from course_lib.teacher import frozen_copy
from course_lib.train import Method

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
    ),
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(n, dim=12, classes=5, noise=2.0, seed=0):
    """Overlapping classes with correlated columns of very different scale and
    offset."""
    g = rng(seed)
    y = torch.randint(classes, (n,), generator=g)
    x = torch.randn(classes, dim, generator=rng(99))[y] + noise * torch.randn(
        n, dim, generator=g
    )
    mix = torch.randn(dim, dim, generator=rng(98)) / dim**0.5 + torch.eye(dim)
    return (x @ mix) * torch.logspace(-1, 1, dim) + torch.linspace(-3, 3, dim), y


# features


class Tiny(Method):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten()
        )
        self.teacher = frozen_copy(nn.BatchNorm1d(2), training=True)

    def encode(self, x):
        return self.encoder(x)


def test_features_are_the_encoders_output_in_eval_mode_for_pixels_in_0_to_1():
    method, x = (
        Tiny(),
        torch.randint(256, (10, 3, 5, 5), generator=rng(), dtype=torch.uint8),
    )
    method.encoder[1].running_mean.normal_()
    h = features(method, x, batch_size=4)
    with torch.no_grad():
        expected = method.eval().encode(x.float() / 255)
    assert (h.dtype, h.device.type, h.requires_grad) == (torch.float32, "cpu", False)
    torch.testing.assert_close(h, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        features(method.train(), x.double() / 255), expected, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        features(method.encoder, x), expected, rtol=1e-5, atol=1e-6
    )
    # a bound method
    torch.testing.assert_close(
        features(method.encode, x), expected, rtol=1e-5, atol=1e-6
    )
    assert torch.equal(
        features(lambda x: x.flatten(1), x, batch_size=3), x.flatten(1) / 255
    )


def test_features_keep_modes_statistics_gradients_and_random_state():
    method, x = Tiny(), torch.rand(6, 3, 5, 5)
    method.train()
    method.encoder[1].eval()  # one part fixed by the user
    modes = [m.training for m in method.modules()]
    assert len(set(modes)) == 2
    before, random = (
        {k: v.clone() for k, v in method.state_dict().items()},
        torch.get_rng_state(),
    )
    seen = []
    handle = method.encoder.register_forward_hook(
        lambda *_: seen.append(
            (method.encoder[2].training, method.teacher.net.training)
        )
    )
    features(method, x)
    assert seen == [(False, False)]  # dropout off, and the teacher follows
    assert [m.training for m in method.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and all(
        p.grad is None for p in method.parameters()
    )
    handle.remove()
    with pytest.raises(RuntimeError):
        # the modes are restored after a failing encoder, too
        features(method, torch.rand(6, 1, 5, 5))
    assert [m.training for m in method.modules()] == modes


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_computed_on_the_device_of_the_module(device):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).to(device)
    x = torch.rand(5, 3, 2, 2)
    h = features(net, x)
    assert h.device.type == "cpu"
    torch.testing.assert_close(h, net.cpu()(x).detach(), rtol=1e-3, atol=1e-3)


# k-NN


@pytest.mark.parametrize(
    "k, temperature", [(1, 0.07), (20, 0.07), (35, 0.5), (300, 1.0)]
)
def test_knn_equals_scikit_learn_with_exponential_weights(k, temperature):
    train, y = blobs(300)
    test, _ = blobs(80, seed=1)
    scores = knn(train, y, test, k=k, temperature=temperature)
    oracle = KNeighborsClassifier(
        k,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    )
    expected = oracle.fit(train.double().numpy(), y.numpy()).predict_proba(
        test.double().numpy()
    )
    np.testing.assert_allclose(scores.numpy(), expected, atol=2e-5)
    assert (
        accuracy(scores, y[:80])
        == (oracle.predict(test.double().numpy()) == y[:80].numpy()).mean()
    )


def test_knn_is_invariant_to_scale_and_finite_at_low_temperatures():
    train, y = blobs(100)
    test, _ = blobs(30, seed=1)
    scores = knn(train, y, test, k=10)
    lengths = 10 ** torch.empty(100, 1).uniform_(-3, 3, generator=rng())
    torch.testing.assert_close(
        knn(train * lengths, y, test, k=10), scores, rtol=1e-4, atol=1e-4
    )
    # exp(1 / 0.001) is infinite in float32
    cold = knn(train, y, test, k=10, temperature=1e-3)
    assert cold.isfinite().all() and torch.equal(
        cold.argmax(1), knn(train, y, test, k=1).argmax(1)
    )


def test_knn_in_chunks_equals_knn_row_by_row():
    # 32 test rows a chunk; in 2-D, near ties
    train = torch.randn(200_000, 8, generator=rng())
    y, test = torch.arange(200_000) % 7, torch.randn(70, 8, generator=rng(1))
    assert len(list(representation._chunks(70, 200_000))) == 3
    single = torch.cat([knn(train, y, test[i : i + 1]) for i in range(0, 70, 10)])
    torch.testing.assert_close(knn(train, y, test)[::10], single, rtol=1e-4, atol=1e-5)


def test_knn_breaks_ties_by_lowest_class_and_scores_unseen_classes_as_wrong():
    train = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    scores = knn(
        train,
        torch.tensor([4, 2, 2, 4], dtype=torch.int32),
        torch.tensor([[2.0, 1.0]]),
        k=4,
    )
    torch.testing.assert_close(scores, torch.tensor([[0, 0, 0.5, 0, 0.5]]))
    assert accuracy(scores, torch.tensor([2])) == 1  # on equal votes the lowest class
    # a class that was never seen is a miss
    assert accuracy(scores, torch.tensor([7])) == 0
    # no direction
    assert knn(train, torch.tensor([0, 1, 1, 1]), torch.zeros(1, 2), k=4).tolist() == [
        [0.25, 0.75]
    ]


# logistic regression and linear probe


def standardised(x):
    x = x.double().numpy()
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("inverse_penalty", [1e-3, 0.1, 1.0])
# the second has more columns than rows
@pytest.mark.parametrize("n, dim", [(400, 12), (40, 60)])
def test_logistic_regression_equals_scikit_learn(n, dim, inverse_penalty):
    x, y = blobs(n, dim)
    ours = logistic_regression(x, y, [inverse_penalty])[0]
    oracle = LogisticRegression(
        C=inverse_penalty, solver="newton-cg", tol=1e-12, max_iter=1000
    )
    oracle.fit(standardised(x), y.numpy())
    x = x.double()
    np.testing.assert_allclose(
        ours.weight * x.std(0, correction=0)[:, None],
        oracle.coef_.T,
        rtol=1e-4,
        atol=5e-5,
    )
    bias = ours.bias + x.mean(0) @ ours.weight
    np.testing.assert_allclose(
        bias - bias.mean(), oracle.intercept_ - oracle.intercept_.mean(), atol=3e-4
    )
    np.testing.assert_allclose(
        ours(x).softmax(1), oracle.predict_proba(standardised(x)), atol=5e-5
    )


def test_logistic_regression_of_two_classes_is_scikit_learns_at_double_strength():
    x, y = blobs(200, classes=2, noise=4.0)
    oracle = LogisticRegression(C=0.2, tol=1e-10, max_iter=100_000).fit(
        standardised(x), y.numpy()
    )
    weight = (
        logistic_regression(x, y, [0.1])[0].weight
        * x.double().std(0, correction=0)[:, None]
    )
    np.testing.assert_allclose(
        weight[:, 1] - weight[:, 0], oracle.coef_[0], rtol=1e-4, atol=1e-6
    )


def test_logistic_regression_path_is_at_the_minimum_for_any_order_of_strengths():
    x, y = blobs(300)
    inverse_penalties = [1e-4, 1e-2, 1.0]
    path = logistic_regression(x, y, inverse_penalties)
    assert [c.inverse_penalty for c in path] == inverse_penalties
    z, onehot = torch.from_numpy(standardised(x)), F.one_hot(y, 5).double()
    for classifier, backwards in zip(
        path, logistic_regression(x, y, inverse_penalties[::-1])[::-1], strict=True
    ):
        torch.testing.assert_close(
            classifier.weight, backwards.weight, rtol=1e-3, atol=1e-5
        )
        weight = classifier.weight * x.double().std(0, correction=0)[:, None]
        # the gradient by hand: C X'(p - y) + W, and sum(p - y) for b
        residual = classifier(x).softmax(1) - onehot
        assert (z.T @ residual + weight / classifier.inverse_penalty).abs().max() / len(
            x
        ) < 1e-5
        assert residual.mean(0).abs().max() < 1e-5


def test_logistic_regression_is_invariant_to_scale_offset_and_constant_columns():
    x, y = blobs(200)
    expected = logistic_regression(x, y, [0.1])[0](x)
    moved = x.double() * torch.logspace(-3, 3, 12) + torch.linspace(-50, 50, 12)
    torch.testing.assert_close(
        logistic_regression(moved, y, [0.1])[0](moved), expected, rtol=1e-3, atol=1e-4
    )
    # neighbours in float32
    rounding = torch.where(torch.rand(200, 1, generator=rng()) < 0.5, 5.0, 5.0000005)
    dull = torch.cat([x, torch.zeros(200, 1), rounding], 1)
    classifier = logistic_regression(dull, y, [0.1])[0]
    assert torch.equal(classifier.weight[12:], torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(classifier(dull), expected, rtol=1e-3, atol=1e-4)
    collapsed = logistic_regression(torch.ones(200, 3), y, [1.0])[0](
        torch.ones(1, 3)
    ).softmax(1)[0]
    # what remains: the shares
    torch.testing.assert_close(
        collapsed, y.bincount().double() / 200, rtol=1e-4, atol=1e-5
    )


def test_logistic_regression_never_predicts_a_class_without_rows():
    x, y = blobs(200)
    rows = y != 3
    classifier = logistic_regression(x[rows], y[rows], [0.1])[0]
    scores = classifier(x)
    assert (
        scores.shape == (200, 5)
        and not scores.isnan().any()
        and (scores[:, 3] == -math.inf).all()
    )
    relabelled = torch.where(y > 3, y - 1, y)[rows]
    torch.testing.assert_close(
        scores[:, [0, 1, 2, 4]], logistic_regression(x[rows], relabelled, [0.1])[0](x)
    )
    assert (
        logistic_regression(x, torch.full((200,), 2), [1.0])[0](x).argmax(1) == 2
    ).all()


def spied(monkeypatch):
    """Column 0 of the features of every fit, in order."""
    fits, real = [], representation.logistic_regression

    def spy(features, labels, inverse_penalties):
        fits.append(features[:, 0].long().tolist())
        return real(features, labels, inverse_penalties)

    monkeypatch.setattr(representation, "logistic_regression", spy)
    return fits


def test_linear_probe_keeps_each_group_on_one_side_of_the_validation_split(monkeypatch):
    x, y = blobs(200)
    groups = torch.arange(200) % 20 * 37  # 20 groups of 10 rows, any ids
    x[:, 0] = torch.arange(200)
    fits = spied(monkeypatch)
    for seed in (0, 0, 1):
        linear_probe(x, y, groups=groups, inverse_penalties=[0.1, 1.0], seed=seed)
    (first, whole), (again, _), (other, _) = fits[0:2], fits[2:4], fits[4:6]
    assert whole == list(range(200)) and first == again and first != other
    for rows in (first, other):
        fitted, held = (
            set(groups[rows].tolist()),
            set(groups[sorted(set(whole) - set(rows))].tolist()),
        )
        # a fifth of the groups, each one whole
        assert len(fitted) == 16 and len(held) == 4 and not fitted & held
    linear_probe(x, y, inverse_penalties=[0.1])
    assert len(fits[6]) == 160  # without groups, a fifth of the rows


def test_linear_probe_with_groups_beats_a_split_that_leaks_groups():
    """The rows of a group are nearly one point, as the scenes of one emoji are: a leaky
    split rewards knowing it."""
    groups = torch.arange(2000) // 5

    def scenes(seed):
        y = torch.randint(3, (400,), generator=rng(seed))
        emoji = torch.randn(400, 100, generator=rng(seed + 1)) + F.one_hot(y, 100)
        return emoji[groups] + 0.1 * torch.randn(2000, 100, generator=rng(seed + 2)), y[
            groups
        ]

    (x, y), (test, test_y) = scenes(400), scenes(410)
    honest, leaky = linear_probe(x, y, groups=groups), linear_probe(x, y)
    assert honest.inverse_penalty <= 0.1 * leaky.inverse_penalty
    assert accuracy(honest(test), test_y) > accuracy(leaky(test), test_y) + 0.02


def test_linear_probe_refits_the_chosen_strength_on_all_rows():
    x, y = blobs(500)
    test, test_y = blobs(400, seed=1)
    probe = linear_probe(x, y)
    assert torch.equal(probe.weight, linear_probe(x, y).weight)
    assert torch.equal(
        probe.weight, logistic_regression(x, y, [probe.inverse_penalty])[0].weight
    )
    scale = np.concatenate([x, test]).astype(np.float64)
    scale = (scale - scale[:500].mean(0)) / scale[:500].std(0)
    oracle = LogisticRegression(C=probe.inverse_penalty, tol=1e-10, max_iter=100_000)
    oracle.fit(scale[:500], y.numpy())
    assert accuracy(probe(test), test_y) == pytest.approx(
        oracle.score(scale[500:], test_y.numpy()), abs=1 / 400
    )
    # every inverse penalty has accuracy 1, so the smallest is taken
    easy, labels = torch.eye(3).repeat(20, 1), torch.arange(60) % 3
    probe = linear_probe(easy, labels, inverse_penalties=[1.0, 0.01])
    assert probe.inverse_penalty == 0.01


def test_few_labels_equals_scikit_learn_on_each_draw_alone():
    x, y = blobs(400, noise=1.0)
    emoji = torch.arange(400) // 4 * 5 + y  # one class each
    data = Dataset(torch.zeros(400, 1), y, tuple("abcde"), {"emoji": emoji})
    test, test_y = blobs(300, noise=1.0, seed=1)
    draws = [labelled_subset(data, per_class=3, seed=seed) for seed in range(4)]
    found = few_labels(x, y, draws, test, test_y, inverse_penalty=0.1)
    expected = []
    for rows in draws:
        mean, std = x[rows].double().mean(0), x[rows].double().std(0, correction=0)
        oracle = LogisticRegression(C=0.1, tol=1e-10, max_iter=100_000)
        oracle.fit(((x[rows] - mean) / std).numpy(), y[rows].numpy())
        expected.append(oracle.score(((test - mean) / std).numpy(), test_y.numpy()))
    assert found.shape == (4,) and found.std() > 0
    np.testing.assert_allclose(found, expected, atol=1.01 / 300)
    more = few_labels(
        x,
        y,
        [labelled_subset(data, per_class=30, seed=s) for s in range(4)],
        test,
        test_y,
        inverse_penalty=0.1,
    )
    assert more.mean() > found.mean()


# masks


def blots(n, height=12, width=8, seed=0):
    """Masks (n, 1, height, width) of one disc each, in changing places."""
    g = rng(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre, radius = (
        torch.rand(n, 2, generator=g) * torch.tensor([height, width]),
        1.5 + 2 * torch.rand(n, generator=g),
    )
    distance = (y - centre[:, 0, None, None]) ** 2 + (x - centre[:, 1, None, None]) ** 2
    return (distance < radius[:, None, None] ** 2)[:, None]


def noisy_maps(masks, channels=5, noise=1.0, seed=1):
    """(N, channels, h, w): mixtures of the mask's pixels, noise, a pattern that each
    place has of its own."""
    inside = F.pixel_unshuffle(masks.float(), 2)
    mix = torch.randn(channels, 4, generator=rng(97))
    maps = torch.einsum("nrhw,cr->nchw", inside, mix)
    place = torch.randn(1, channels, *maps.shape[2:], generator=rng(96))
    return (
        maps + place + noise * torch.randn(maps.shape, generator=rng(seed))
    ) * torch.logspace(-2, 2, channels)[:, None, None] + 3


def test_intersection_over_union_equals_scikit_learns_mean_jaccard():
    predicted, true = blots(30, seed=3), blots(30, seed=4)
    predicted[0], true[1], predicted[2], true[2] = False, False, False, False
    expected = [
        jaccard_score(t.flatten(), p.flatten(), zero_division=1)
        for p, t in zip(predicted, true)
    ]
    assert 0 < np.mean(expected) < 1 and expected[:3] == [0, 0, 1]
    assert intersection_over_union(predicted, true) == pytest.approx(np.mean(expected))
    assert (
        intersection_over_union(true, true) == 1
        and intersection_over_union(~true[3:], true[3:]) == 0
    )
    half = torch.tensor([[[[True, True, False, False]]]])
    assert intersection_over_union(half, half.roll(1, 3)) == pytest.approx(1 / 3)


def ridge_by_hand(maps, masks, penalty):
    """scikit-learn's Ridge on rows of cells: scores in [-1, 1] for other maps, (N, 1,
    H, W)."""

    def cells(t, centre):
        return (t.double() - centre).permute(0, 2, 3, 1).reshape(-1, t.shape[1]).numpy()

    targets = F.pixel_unshuffle(masks.float() * 2 - 1, 2)
    centre, middle = maps.double().mean(0), targets.double().mean(0)
    x = cells(maps, centre)
    scale = x.std(0)
    oracle = Ridge(alpha=penalty * len(x), fit_intercept=False).fit(
        x / scale, cells(targets, middle)
    )

    def scores(other):
        found = oracle.predict(cells(other, centre) / scale).reshape(
            len(other), *maps.shape[2:], 4
        )
        return F.pixel_shuffle(torch.from_numpy(found).permute(0, 3, 1, 2) + middle, 2)

    return scores


@pytest.mark.parametrize("penalties", [[0.5], [1e-3, 30.0], [1e-3, 0.1, 300.0]])
def test_mask_probe_is_scikit_learns_ridge_with_penalty_chosen_by_validation(
    monkeypatch, penalties
):
    masks = blots(60)
    maps, groups = noisy_maps(masks), torch.arange(60) % 20 * 7
    fits, real = [], dense._ridge

    def spy(maps, masks, rows, penalties):
        fits.append(rows)
        return real(maps, masks, rows, penalties)

    monkeypatch.setattr(dense, "_ridge", spy)
    probe = mask_probe(maps, masks, groups=groups, penalties=penalties)
    held = sorted(set(range(60)) - set(fits[0].tolist()))
    assert fits[1].tolist() == list(range(60)) and len(held) == 12
    assert not set(groups[held].tolist()) & set(groups[fits[0]].tolist())
    best = (-1, 0, 0)
    for penalty in sorted(penalties, reverse=True):
        scores = ridge_by_hand(maps[fits[0]], masks[fits[0]], penalty)(maps[held])
        for tenth in range(-9, 4):
            pairs = zip(
                (scores > tenth / 10).flatten(1), masks[held].flatten(1), strict=True
            )
            iou = np.mean([jaccard_score(t, p, zero_division=1) for p, t in pairs])
            best = max(best, (iou, penalty, tenth / 10), key=lambda row: row[0])
    assert probe.penalty == best[1] and probe.bias.shape == (1, 12, 8)
    other = noisy_maps(blots(20, seed=5), seed=6)
    expected = ridge_by_hand(maps, masks, best[1])(other) - best[2]
    torch.testing.assert_close(probe(other), expected, rtol=1e-6, atol=1e-6)


def test_mask_probe_recovers_masks_from_unshuffled_pixels():
    masks, other = blots(100), blots(30, seed=5)
    maps = F.pixel_unshuffle(masks.float(), 2)
    assert maps.shape == (100, 4, 6, 4)
    probe = mask_probe(maps, masks)
    assert (
        intersection_over_union(probe(F.pixel_unshuffle(other.float(), 2)) > 0, other)
        == 1
    )
    # 3 x 2 cells of 16 pixels
    coarse = mask_probe(F.avg_pool2d(masks.float(), 4), masks)
    assert (
        coarse.weight.shape == (1, 16)
        and coarse(F.avg_pool2d(other.float(), 4)).shape == other.shape
    )


def test_mask_probe_shares_one_matrix_and_has_a_bias_per_pixel():
    """The left half has no masks in training, yet the probe finds masks there: the
    matrix does not depend on the place."""
    masks = blots(200)
    masks[..., :4] = False
    probe = mask_probe(F.pixel_unshuffle(masks.float(), 2), masks, penalties=[1e-6])
    mirrored = masks.flip(3)
    scores = probe(F.pixel_unshuffle(mirrored.float(), 2))
    assert intersection_over_union(scores > 0, mirrored) > 0.99
    masks = blots(200)
    constant = mask_probe(torch.ones(200, 3, 6, 4), masks)  # features that say nothing
    # all penalties are equally good: the largest is chosen
    assert not constant.weight.any() and constant.penalty == 1
    shown = constant(torch.randn(2, 3, 6, 4, generator=rng())) > 0
    assert torch.equal(shown[0], shown[1]) and 0 < shown[0].sum() < 96
    share = masks.double().mean(0)  # as +-1 it is 2 share - 1
    assert any(
        torch.equal(shown[0], 2 * share - 1 > tenth / 10) for tenth in range(-9, 4)
    )


def test_mask_probe_is_invariant_to_offset_scale_and_constant_channels(monkeypatch):
    masks = blots(80)
    maps = noisy_maps(masks)
    expected = mask_probe(maps, masks)(maps)
    moved = (
        maps.double() * torch.logspace(3, -3, 5)[:, None, None]
        + torch.linspace(-50, 50, 5)[:, None, None]
    )
    torch.testing.assert_close(
        mask_probe(moved, masks)(moved), expected, rtol=1e-4, atol=1e-4
    )
    # the same in all pictures
    place = torch.randn(1, 1, 6, 4, generator=rng()).expand(80, 1, 6, 4)
    dull = torch.cat([maps, torch.zeros(80, 1, 6, 4), place], 1)
    probe = mask_probe(dull, masks)
    assert not probe.weight[5:].any()
    torch.testing.assert_close(probe(dull), expected)
    monkeypatch.setattr(
        dense,
        "_chunks",
        lambda rows, columns: (slice(i, i + 7) for i in range(0, rows, 7)),
    )
    torch.testing.assert_close(mask_probe(maps, masks)(maps), expected)


def test_mask_probe_gives_better_masks_for_less_noisy_maps():
    masks, other = blots(300), blots(100, seed=5)
    found = []
    for noise in (0.1, 1.0, 10.0):
        probe = mask_probe(noisy_maps(masks, noise=noise), masks)
        found.append(
            intersection_over_union(
                probe(noisy_maps(other, noise=noise, seed=6)) > 0, other
            )
        )
    constant = mask_probe(torch.zeros(300, 1, 6, 4), masks)(torch.zeros(100, 1, 6, 4))
    assert found[0] > found[1] + 0.1 > found[2] + 0.2
    assert found[2] > intersection_over_union(constant > 0, other) - 0.03


# retrieval


def naive_retrieval(x, items, styles, ks):
    x = F.normalize(x.double(), dim=1)
    hits, precisions = {k: [] for k in ks}, []
    for i in range(len(x)):
        candidates = [
            (float(x[i] @ x[j]), int(items[j] == items[i]))
            for j in range(len(x))
            if styles[j] != styles[i]
        ]
        if not any(right for _, right in candidates):
            continue
        # on ties wrong ones first
        ranked = [right for _, right in sorted(candidates, key=lambda c: (-c[0], c[1]))]
        for k in ks:
            hits[k].append(any(ranked[:k]))
        precisions.append(
            np.mean(
                [
                    sum(ranked[: r + 1]) / (r + 1)
                    for r in range(len(ranked))
                    if ranked[r]
                ]
            )
        )
    return {f"recall@{k}": np.mean(hits[k]) for k in ks} | {"mAP": np.mean(precisions)}


@pytest.mark.parametrize("ties", [False, True])
def test_retrieval_equals_a_loop(ties):
    # items have several rows in a style, or none in another
    items = torch.randint(12, (90,), generator=rng())
    styles = torch.randint(3, (90,), generator=rng(1))
    items[:2] = torch.tensor([50, 60])  # alone: nothing to find
    x = torch.randn(12, 6, generator=rng(2))[items.clamp(max=11)] + torch.randn(
        90, 6, generator=rng(3)
    )
    if ties:
        # four directions, cosines of exactly 0 and 1
        x = torch.eye(4)[x[:, :4].argmax(1)]
    found = retrieval(x, items, styles, ks=(1, 3, 10))
    assert found == pytest.approx(
        naive_retrieval(x, items, styles, (1, 3, 10)), abs=1e-6
    )
    assert 0 < found["mAP"] < 1


def test_retrieval_of_perfect_and_constant_features_has_its_closed_form():
    items, styles = torch.arange(6).repeat(3), torch.arange(3).repeat_interleave(6)
    perfect = torch.eye(6).repeat(3, 1)
    assert retrieval(perfect, items, styles) == {
        "recall@1": 1.0,
        "recall@5": 1.0,
        "mAP": 1.0,
    }
    # 12 candidates, 2 of them right, 10 wrong ones in front: (1/11 + 2/12) / 2
    assert retrieval(torch.ones(18, 4), items, styles)["mAP"] == pytest.approx(
        (1 / 11 + 2 / 12) / 2
    )
    assert retrieval(torch.ones(18, 4), items, styles)["recall@5"] == 0
    # style dominates the features, but rows of the own style are no candidates
    own_style = torch.cat([perfect, 10 * F.one_hot(styles, 3)], 1)
    assert retrieval(own_style, items, styles)["recall@1"] == 1


def test_retrieval_in_chunks_equals_retrieval_at_once(monkeypatch):
    x, items, styles = (
        torch.randn(60, 5, generator=rng()),
        torch.arange(60) % 20,
        torch.arange(60) // 20,
    )
    whole = retrieval(x, items, styles)
    monkeypatch.setattr(
        representation,
        "_chunks",
        lambda rows, columns: (slice(i, i + 7) for i in range(0, rows, 7)),
    )
    assert retrieval(x, items, styles) == pytest.approx(whole)


# collapse


def test_effective_rank_equals_its_definition_and_closed_forms():
    x = torch.randn(50, 8, generator=rng()) * torch.logspace(0, -2, 8)
    p = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = p / p.sum()
    assert effective_rank(x) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert effective_rank(3 * x.T) == pytest.approx(effective_rank(x), rel=1e-4)
    assert effective_rank(torch.eye(7).repeat(3, 1)) == pytest.approx(7, rel=1e-5)
    assert effective_rank(torch.diag(torch.tensor([1.0, 1, 1, 0, 0]))) == pytest.approx(
        3, rel=1e-5
    )
    assert effective_rank(torch.randn(20_000, 16, generator=rng())) == pytest.approx(
        16, rel=1e-3
    )
    rank1 = torch.randn(100, 1, generator=rng()) @ torch.randn(1, 16, generator=rng(1))
    assert effective_rank(rank1) == pytest.approx(1, abs=1e-3)
    # collapsed; not centred
    assert effective_rank(torch.full((30, 4), 2.0)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.zeros(30, 4)) == 1


def test_feature_std_equals_its_definition_and_closed_forms():
    x = torch.randn(50, 8, generator=rng()) + 1
    unit = x.double().numpy() / np.linalg.norm(
        x.double().numpy(), axis=1, keepdims=True
    )
    assert feature_std(x) == pytest.approx(unit.std(0).mean(), rel=1e-5)
    assert feature_std(x) < 1 / 8**0.5  # the largest there is
    assert feature_std(torch.cat([torch.eye(9), -torch.eye(9)]) * 5) == pytest.approx(
        1 / 3, rel=1e-5
    )
    assert feature_std(torch.randn(20_000, 16, generator=rng())) == pytest.approx(
        0.25, rel=1e-2
    )
    assert feature_std(
        torch.tensor([3.0, 4.0]) * torch.rand(20, 1, generator=rng())
    ) == pytest.approx(0, abs=1e-6)


def test_alignment_equals_a_loop_and_closed_forms():
    u, v = torch.randn(20, 5, generator=rng()), torch.randn(20, 5, generator=rng(1))
    for alpha in (1, 2, 3.5):
        expected = np.mean(
            [
                float((a / a.norm() - b / b.norm()).norm()) ** alpha
                for a, b in zip(u, v, strict=True)
            ]
        )
        assert alignment(u, v, alpha=alpha) == pytest.approx(expected, rel=1e-4)
    assert alignment(u, 3 * u) == pytest.approx(0, abs=1e-6)
    assert alignment(u, -u) == pytest.approx(4, rel=1e-5)


def test_uniformity_equals_a_loop_and_closed_forms():
    x = torch.randn(20, 5, generator=rng())
    unit = F.normalize(x.double(), dim=1)
    for t in (0.5, 2, 200):
        pairs = [
            math.exp(-t * float((unit[i] - unit[j]).square().sum()))
            for i in range(20)
            for j in range(i)
        ]
        assert uniformity(x, t=t) == pytest.approx(math.log(np.mean(pairs)), rel=1e-4)
    assert uniformity(torch.ones(10, 3)) == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.tensor([[1.0, 0], [-2.0, 0]])) == pytest.approx(
        -8, rel=1e-5
    )
    sphere = torch.randn(3000, 3, generator=rng())  # more rows than one chunk has
    assert len(list(representation._chunks(3000, 3000))) > 1
    # evenly on the sphere in 3 dimensions, cos is uniform on [-1, 1]: log E exp(-2t (1
    # - cos)) = log (1 - e^-4t) / 4t
    assert uniformity(sphere) == pytest.approx(
        math.log((1 - math.exp(-8)) / 8), abs=0.01
    )
    pairs = (
        torch.pdist(F.normalize(sphere, dim=1))
        .square()
        .mul(-2)
        .exp()
        .double()
        .mean()
        .log()
        .item()
    )
    assert uniformity(sphere) == pytest.approx(pairs, rel=1e-4)


def test_relative_change_equals_a_loop_and_closed_forms():
    h, changed = (
        torch.randn(15, 4, generator=rng()),
        torch.randn(15, 4, generator=rng(1)),
    )
    moved = sum(float((a - b).square().sum()) for a, b in zip(h, changed)) / 15
    apart = sum(
        float((h[i] - h[j]).square().sum())
        for i in range(15)
        for j in range(15)
        if i != j
    ) / (15 * 14)
    assert relative_change(h, changed) == pytest.approx(moved / apart, rel=1e-5)
    assert relative_change(h, h) == 0
    # as far as the other picture
    assert relative_change(h[:2], h[:2].flip(0)) == pytest.approx(1)
    # every other picture once
    rolled = [relative_change(h, h.roll(k, 0)) for k in range(1, 15)]
    assert np.mean(rolled) == pytest.approx(1, rel=1e-5)
    assert relative_change(7 * h - 3, 7 * changed - 3) == pytest.approx(
        relative_change(h, changed), rel=1e-4
    )
    # exact in float32, squares are not
    far, near = (h * 64).round() / 64 + 8192, (changed * 64).round() / 64 + 8192
    assert relative_change(far, near) == pytest.approx(
        relative_change(far - 8192, near - 8192), rel=1e-6
    )
    many, noise = (
        torch.randn(20_000, 16, generator=rng()),
        torch.randn(20_000, 16, generator=rng(1)),
    )
    # 0.25 D / 2 D
    assert relative_change(many, many + 0.5 * noise) == pytest.approx(0.125, rel=0.02)


# what notebook 00 says about measures


def test_standard_error_by_group_equals_a_bootstrap_of_groups():
    g = np.random.default_rng(0)
    sizes = g.integers(1, 9, 150)
    # one probability for each group, so the rows of a group are alike
    groups = [g.binomial(1, g.beta(0.5, 0.5), size) for size in sizes]
    rows = np.concatenate(groups)
    deviations = [(group - rows.mean()).sum() for group in groups]
    formula = np.sqrt(np.square(deviations).sum()) / len(rows)
    drawn = []
    for _ in range(1500):
        chosen = [groups[i] for i in g.integers(0, len(groups), len(groups))]
        drawn.append(np.concatenate(chosen).mean())
    assert formula == pytest.approx(np.std(drawn), rel=0.1)
    # rows that are their own groups: the error of independent answers
    by_row = np.sqrt(np.square(rows - rows.mean()).sum()) / len(rows)
    p = rows.mean()
    assert by_row == pytest.approx(math.sqrt(p * (1 - p) / len(rows)), rel=1e-9)
    assert formula > 1.3 * by_row


def test_a_convolution_of_stride_4_is_equivariant_to_a_shift_by_4_in_the_interior():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, stride=2, padding=1),
    ).double()
    wide = torch.rand(2, 3, 32, 36, dtype=torch.float64)
    x, shifted = wide[..., 4:], wide[..., :-4]  # to the right by 4 pixels
    before, after = net(x).detach(), net(shifted).detach()
    inner = slice(2, -2)
    torch.testing.assert_close(before.roll(1, 3)[..., inner], after[..., inner])
    assert (before - after)[..., inner].abs().max() > 0.01
    # by 2 pixels: no position of the map corresponds
    half = net(wide[..., 2:-2]).detach()
    assert (before.roll(1, 3) - half)[..., inner].abs().max() > 0.01


def test_reversed_bits_keep_all_information_and_spoil_the_votes_of_neighbours():
    codes = torch.arange(256)
    turned = sum(((codes >> k) & 1) << (7 - k) for k in range(8))
    assert turned.tolist() == [int(f"{c:08b}"[::-1], 2) for c in range(256)]
    assert turned.unique().numel() == 256 and torch.equal(turned[turned], codes)
    # two classes around 90 and 160 in each of 16 pixels
    y = torch.arange(400) % 2
    x = 90 + 70 * y[:, None] + 20 * torch.randn(400, 16, generator=rng())
    x = x.round().clamp(0, 255).long()

    def share(values):
        h = values.double() - values.double().mean(0)
        return accuracy(knn(h[:200], y[:200], h[200:]), y[200:])

    assert share(x) > 0.95 and share(turned[x]) < share(x) - 0.02


# any device; what is refused


@pytest.mark.parametrize("device", DEVICES)
def test_representation_measures_run_on_the_device_and_keep_no_graph(device):
    x, y = blobs(120)
    reference = (
        knn(x, y, x, k=5),
        linear_probe(x, y, groups=y + 5 * (torch.arange(120) % 4)).weight,
    )
    found = retrieval(x, y, torch.arange(120) % 3)
    scalars = [f(x) for f in (effective_rank, feature_std, uniformity)] + [
        alignment(x, x + 1)
    ]
    x, y = x.to(device).requires_grad_(), y.to(device)
    groups = y + 5 * (torch.arange(120, device=device) % 4)
    scores, probe = knn(x, y, x, k=5), linear_probe(x, y, groups=groups)
    assert (
        not scores.requires_grad
        and not probe.weight.requires_grad
        and scores.device == x.device
    )
    torch.testing.assert_close(scores.cpu(), reference[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(probe.weight.cpu(), reference[1], rtol=1e-3, atol=1e-4)
    assert retrieval(x, y, torch.arange(120, device=device) % 3) == pytest.approx(
        found, abs=2e-2
    )
    masks = blots(30)
    maps, expected = noisy_maps(masks), mask_probe(noisy_maps(masks), masks).weight
    probe = mask_probe(maps.to(device).requires_grad_(), masks.to(device))
    assert not probe.weight.requires_grad and probe(maps.to(device)).device == x.device
    torch.testing.assert_close(probe.weight.cpu(), expected, rtol=1e-3, atol=1e-5)
    assert intersection_over_union(masks.to(device), masks.to(device)) == 1
    assert relative_change(x, x + 1) == pytest.approx(
        relative_change(x.detach().cpu(), x.detach().cpu() + 1)
    )
    again = [f(x) for f in (effective_rank, feature_std, uniformity)] + [
        alignment(x, x + 1)
    ]
    assert all(isinstance(value, float) for value in again) and again == pytest.approx(
        scalars, rel=1e-3
    )
    assert few_labels(x, y, [torch.arange(50, device=device)], x, y).shape == (1,)


X, Y = torch.randn(10, 4, generator=rng()), torch.arange(10) % 2
NAN = X.clone().index_fill_(0, torch.tensor([3]), math.nan)
MASKS = blots(10)
MAPS = noisy_maps(MASKS)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: features(nn.Flatten(), Y), "x"),
        (lambda: features(nn.Flatten(), torch.tensor(1.0)), "x"),
        (lambda: features(nn.Flatten(), X.tolist()), "x"),
        (lambda: features(nn.Identity(), torch.rand(4, 3, 2, 2)), "encoder"),
        (lambda: features(lambda x: x[:1], X), "encoder"),
        (lambda: features(nn.Flatten(), X, batch_size=0), "batch_size"),
        (lambda: accuracy(X[0], Y), "scores"),
        (lambda: accuracy(X, Y[:9]), "labels"),
        (lambda: knn(X, Y, X, k=11), "k"),
        (lambda: knn(X, Y, X, k=0), "k"),
        (lambda: knn(X, Y, X, k=2.5), "k"),
        (lambda: knn(X, Y, X, k=5, temperature=0), "temperature"),
        (lambda: knn(X.long(), Y, X), "train_features"),
        (lambda: knn(X, Y.float(), X), "train_labels"),
        (lambda: knn(X, Y - 1, X, k=2), "train_labels"),
        (lambda: knn(X, Y, X[:, :3]), "test_features"),
        (lambda: knn(NAN, Y, X, k=2), "train_features"),
        (lambda: knn(X, Y, NAN, k=2), "test_features"),
        (lambda: logistic_regression(X, Y[:9], [1.0]), "labels"),
        (lambda: logistic_regression(X, Y - 1, [1.0]), "labels"),
        (lambda: logistic_regression(X[:0], Y[:0], [1.0]), "labels"),
        (lambda: logistic_regression(NAN, Y, [1.0]), "features"),
        (lambda: logistic_regression(X, Y, []), "inverse_penalties"),
        (lambda: logistic_regression(X, Y, [1.0, 0.0]), "inverse_penalties"),
        (lambda: logistic_regression(X, Y, [1.0])[0](X[:, :1]), "features"),
        (lambda: linear_probe(X, Y, groups=Y[:5]), "groups"),
        (lambda: linear_probe(X, Y, groups=torch.zeros(10).long()), "validation"),
        (lambda: linear_probe(X, Y, validation=1.0), "validation"),
        (lambda: linear_probe(X, Y, validation=-0.1), "validation"),
        (lambda: few_labels(X, Y, [], X, Y), "draws"),
        (lambda: few_labels(X, Y, [Y], X[:, :2], Y), "test_features"),
        (lambda: intersection_over_union(MASKS, MASKS[:5]), "true"),
        (lambda: intersection_over_union(MASKS.float(), MASKS), "predicted"),
        (lambda: intersection_over_union(MASKS[:, 0], MASKS), "predicted"),
        (lambda: mask_probe(MAPS, MASKS.float()), "masks"),
        (lambda: mask_probe(MAPS, MASKS[:5]), "masks"),
        (lambda: mask_probe(MAPS, MASKS[..., :10, :]), "masks"),
        (lambda: mask_probe(MAPS, MASKS[..., :3]), "masks"),
        (lambda: mask_probe(MAPS[:, :, :4, :3], MASKS[..., :6, :4]), "masks"),
        (lambda: mask_probe(MAPS, blots(10, 9, 6)), "masks"),  # one and a half times
        (lambda: mask_probe(MAPS[0], MASKS), "maps"),
        (lambda: mask_probe(MAPS / 0, MASKS), "maps"),
        (lambda: mask_probe(MAPS, MASKS, groups=Y[:5]), "groups"),
        (lambda: mask_probe(MAPS, MASKS, groups=torch.zeros(10).long()), "validation"),
        (lambda: mask_probe(MAPS, MASKS, validation=1.0), "validation"),
        (lambda: mask_probe(MAPS, MASKS, penalties=[]), "penalties"),
        (lambda: mask_probe(MAPS, MASKS, penalties=[1.0, 0]), "penalties"),
        (lambda: mask_probe(MAPS, MASKS)(MAPS[:, :2]), "maps"),
        (lambda: mask_probe(MAPS, MASKS)(MAPS[:, :, :2]), "maps"),
        (lambda: retrieval(X, Y, Y[:3]), "styles"),
        (lambda: retrieval(X, Y, Y), "styles"),  # each item has one style only
        (lambda: retrieval(X, Y, torch.arange(10), ks=(0,)), "ks"),
        (lambda: retrieval(NAN, Y, torch.arange(10)), "features"),
        (lambda: effective_rank(X[0]), "features"),
        (lambda: effective_rank(NAN), "features"),
        (lambda: feature_std(Y), "features"),
        (lambda: alignment(X, X[:5]), "view2"),
        (lambda: alignment(X, X, alpha=0), "alpha"),
        (lambda: uniformity(X[:1]), "features"),
        (lambda: uniformity(X, t=-1), "t"),
        (lambda: relative_change(X, X[:5]), "changed"),
        (lambda: relative_change(X[:1], X[:1]), "h"),
        (lambda: relative_change(X[:1].expand(9, 4), X[:9]), "h"),
        (lambda: relative_change(NAN, X), "h"),
        (lambda: relative_change(X, NAN), "changed"),
        # NaN counted as the highest score of class 0
        (lambda: accuracy(NAN, Y), "scores"),
        (lambda: accuracy(X[:0], Y[:0]), "scores"),
        (lambda: features(nn.Flatten(), 255 * torch.rand(2, 3, 4, 4)), "x"),
        (lambda: knn(X, Y, X[:0], k=2), "test_features"),
        (lambda: linear_probe(X, Y, seed=None), "seed"),
        (lambda: linear_probe(X, Y, seed="a"), "seed"),
        (lambda: intersection_over_union(MASKS[:0], MASKS[:0]), "predicted"),
        (lambda: mask_probe(MAPS[:0], MASKS[:0]), "maps"),
        (lambda: mask_probe(MAPS, MASKS, seed=0.5), "seed"),
        (lambda: retrieval(X[:0], Y[:0], Y[:0]), "features"),
        (lambda: effective_rank(X[:0]), "features"),
        (lambda: feature_std(NAN), "features"),
        (lambda: feature_std(X[:0]), "features"),
        (lambda: alignment(X, NAN), "view2"),
        (lambda: alignment(X[:0], X[:0]), "view1"),
        (lambda: uniformity(NAN), "features"),
    ],
)
def test_representation_measures_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()


# generators: distances between real and drawn pictures' features


def rows_with(mean, std, n=40, turn=None, seed=0):
    """n rows of exactly this mean and, over n - 1, these standard deviations,
    uncorrelated but for the turn."""
    noise = torch.randn(n, len(mean), generator=rng(seed), dtype=torch.float64)
    white = torch.linalg.qr(noise - noise.mean(0))[0] * math.sqrt(n - 1)
    rows = white * torch.tensor(std, dtype=torch.float64)
    return (rows if turn is None else rows @ turn.T) + torch.tensor(
        mean, dtype=torch.float64
    )


def mixed(n, dim, seed, shift=0.0):
    """Correlated columns of different scale, float64."""
    mix = torch.randn(dim, dim, generator=rng(seed + 50), dtype=torch.float64)
    return torch.randn(n, dim, generator=rng(seed), dtype=torch.float64) @ mix + shift


class AsFeatures(nn.Module):
    """What torchmetrics is given for its Inception network: rows pass as they are."""

    def __init__(self, dim):
        super().__init__()
        self.num_features = dim

    def forward(self, x):
        return x


def test_frechet_distance_of_diagonal_gaussians_has_its_closed_form():
    means, stds = (
        ([1.0, -2.0, 0.5], [0.0, 0.3, 4.0]),
        ([0.2, 3.0, 1.0], [2.0, 1.0, 0.0]),
    )
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng(5), dtype=torch.float64))[0]
    expected = sum(
        (a - b) ** 2 for rows in (means, stds) for a, b in zip(*rows, strict=True)
    )
    real, generated = (
        rows_with(means[0], stds[0]),
        rows_with(means[1], stds[1], n=25, seed=1),
    )
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-9)
    turned = frechet_distance(real @ turn, generated @ turn)  # of the space itself
    # a deviation of 0 comes back as the root of a rounding error
    assert turned == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(3 * real + 7, 3 * generated + 7) == pytest.approx(
        9 * expected, rel=1e-9
    )
    shifted = rows_with([1.0, -2.0, 3.5], stds[0], seed=1)
    # the means alone, squared
    assert frechet_distance(real, shifted) == pytest.approx(9)


@pytest.mark.parametrize("n, m, dim", [(60, 90, 5), (50, 200, 12), (30, 30, 1)])
def test_frechet_distance_equals_scipys_matrix_root(n, m, dim):
    real, generated = mixed(n, dim, 0), mixed(m, dim, 1, shift=0.7)
    one, other = (
        np.atleast_2d(np.cov(rows.numpy(), rowvar=False)) for rows in (real, generated)
    )
    root = scipy.linalg.sqrtm(one @ other).real
    expected = ((real.mean(0) - generated.mean(0)) ** 2).sum().item() + np.trace(
        one + other - 2 * root
    )
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(real.float(), generated.float()) == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("n, m, dim", [(60, 90, 5), (8, 6, 20), (2, 40, 10)])
def test_frechet_distance_of_few_rows_equals_a_nuclear_norm(n, m, dim):
    """tr (C_r C_g)^(1/2) is the sum of the singular values of A B^T with C_r = A^T A,
    C_g = B^T B: of any rank."""
    real, generated = mixed(n, dim, 0), mixed(m, dim, 1, shift=0.7)
    a, b = (
        (rows - rows.mean(0)) / math.sqrt(len(rows) - 1) for rows in (real, generated)
    )
    cross = torch.linalg.svdvals(a @ b.T).sum()
    expected = (
        (real.mean(0) - generated.mean(0)).square().sum()
        + a.square().sum()
        + b.square().sum()
        - 2 * cross
    )
    assert frechet_distance(real, generated) == pytest.approx(expected.item(), rel=1e-6)


def test_frechet_distance_equals_torchmetrics():
    real, generated = mixed(80, 6, 0).float(), mixed(70, 6, 1, shift=0.7).float()
    theirs = FrechetInceptionDistance(
        feature=AsFeatures(6), normalize=True, input_img_size=(6,)
    )
    theirs.update(real, real=True)
    theirs.update(generated, real=False)
    assert frechet_distance(real, generated) == pytest.approx(
        theirs.compute().item(), rel=1e-4
    )


def test_frechet_distance_is_symmetric_and_zero_for_the_same_rows():
    real, generated = mixed(40, 5, 0), mixed(30, 5, 1)
    assert frechet_distance(real, generated) == pytest.approx(
        frechet_distance(generated, real), rel=1e-9
    )
    # few rows, all alike, one column
    for rows in (real, mixed(6, 20, 2), torch.ones(4, 3), mixed(9, 1, 3)):
        # roots of eigenvalues that are 0 but for rounding
        size = max(1, rows.var(0).sum().item())
        assert frechet_distance(rows, rows.flip(0)) == pytest.approx(0, abs=1e-6 * size)
    assert frechet_distance(torch.ones(4, 3), torch.ones(7, 3) + 2) == pytest.approx(12)
    few, many = (
        np.mean(
            [
                frechet_distance(mixed(n, 4, 0)[::2], mixed(n, 4, 0)[1::2])
                for n in (k, k + 2)
            ]
        )
        for k in (20, 2000)
    )
    # two halves of one set: too large, the more so the fewer rows
    assert few > 10 * many > 0


def kernel_by_hand(u, v):
    return (sum(a * b for a, b in zip(u, v, strict=True)) / len(u) + 1) ** 3


def test_kernel_distance_equals_a_double_loop():
    real, generated = mixed(9, 3, 0), mixed(7, 3, 1, shift=0.7)
    x, y = real.tolist(), generated.tolist()
    within = [
        np.mean(
            [
                kernel_by_hand(u, v)
                for i, u in enumerate(rows)
                for j, v in enumerate(rows)
                if i != j
            ]
        )
        for rows in (x, y)
    ]
    across = np.mean([kernel_by_hand(u, v) for u in x for v in y])
    assert kernel_distance(real, generated) == pytest.approx(
        sum(within) - 2 * across, rel=1e-9
    )
    assert kernel_distance(generated, real) == pytest.approx(
        kernel_distance(real, generated), rel=1e-9
    )
    assert isinstance(kernel_distance(real, generated), float)


def test_kernel_distance_equals_torchmetrics():
    real, generated = mixed(50, 6, 0).float(), mixed(50, 6, 1, shift=0.3).float()
    theirs = KernelInceptionDistance(
        feature=AsFeatures(6), normalize=True, subsets=1, subset_size=50
    )
    theirs.update(real, real=True)
    theirs.update(generated, real=False)
    assert kernel_distance(real, generated) == pytest.approx(
        theirs.compute()[0].item(), rel=1e-4
    )


def test_kernel_distance_of_two_halves_of_one_set_has_mean_zero():
    """The mean over random halves of one set is exactly 0. If each row's kernel with
    itself were included, the mean would be far above."""
    rows, found = torch.randn(30, 4, generator=rng(), dtype=torch.float64), []
    for seed in range(400):
        order = torch.randperm(30, generator=rng(seed))
        found.append(kernel_distance(rows[order[:15]], rows[order[15:]]))
    assert abs(np.mean(found)) < 4 * np.std(found) / 20 and min(found) < 0 < max(found)
    biased = 2 * np.mean([kernel_by_hand(u, u) for u in rows.tolist()]) / 15
    assert biased > 10 * np.std(found) / 20  # so the error bar would show it


def test_kernel_distance_of_two_points_has_its_closed_form():
    """In one dimension, between points at 0 and points at a: k(0, 0) + k(a, a) - 2 k(0,
    a)."""
    a = 1.5
    distance = kernel_distance(torch.zeros(4, 1), torch.full((6, 1), a))
    assert distance == pytest.approx(1 + (a * a + 1) ** 3 - 2)


def neighbours_by_hand(rows, centres, k):
    """The share of rows in a ball around a centre that reaches to its k-th nearest
    other centre."""
    radii = [
        sorted(math.dist(c, other) for j, other in enumerate(centres) if j != i)[k - 1]
        for i, c in enumerate(centres)
    ]
    inside = [
        any(
            math.dist(row, c) <= radius
            for c, radius in zip(centres, radii, strict=True)
        )
        for row in rows
    ]
    return sum(inside) / len(inside)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_equals_a_double_loop(k):
    real, generated = (
        torch.randn(40, 4, generator=rng()),
        0.7 * torch.randn(30, 4, generator=rng(1)) + 0.4,
    )
    precision, recall = precision_recall(real, generated, k=k)
    assert precision == pytest.approx(
        neighbours_by_hand(generated.tolist(), real.tolist(), k)
    )
    assert recall == pytest.approx(
        neighbours_by_hand(real.tolist(), generated.tolist(), k)
    )
    assert 0 < recall < precision <= 1
    # who is real decides which is which
    assert precision_recall(generated, real, k=k) == (recall, precision)


def test_precision_recall_uses_three_neighbours_by_default():
    real, generated = (
        torch.randn(60, 6, generator=rng()),
        torch.randn(60, 6, generator=rng(1)) + 0.5,
    )
    assert precision_recall(real, generated) == precision_recall(real, generated, k=3)
    assert precision_recall(real, generated) != precision_recall(real, generated, k=2)


def test_precision_recall_of_missing_modes_and_outliers_has_its_closed_form():
    corners = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    real = (corners[:, None] + torch.rand(4, 10, 2, generator=rng())).flatten(0, 1)
    # of so many corners
    for some, there in ((real[:10], 0.25), (real[:20], 0.5), (real, 1)):
        assert precision_recall(real, some) == (1, pytest.approx(there))
    outliers = torch.cat([real, 100 * torch.arange(3.0, 13)[:, None].expand(10, 2)])
    precision, recall = precision_recall(real, outliers)
    assert precision == pytest.approx(40 / 50) and recall == 1
    far = precision_recall(real, real + 1000)
    assert far == (0, 0)


def test_precision_recall_on_a_line_has_its_closed_form():
    """k = 1. Around 0, 1, 3 lie [-1, 1], [0, 2], [1, 5], ends included; around 5, 6.5
    lie [3.5, 6.5], [5, 8]."""
    real, generated = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[5.0], [6.5]])
    assert precision_recall(real, generated, k=1) == (0.5, 0)
    assert precision_recall(real, generated - 1.5, k=1) == (
        pytest.approx(1),
        pytest.approx(1 / 3),
    )
    alike = torch.ones(5, 2)
    assert precision_recall(alike, alike, k=2) == (1, 1) and precision_recall(
        alike, alike + 1e-3, k=2
    ) == (0, 0)


def test_kernel_distance_and_precision_recall_include_every_chunk():
    real, generated = (
        torch.randn(2500, 3, generator=rng()),
        torch.randn(2200, 3, generator=rng(1)) + 1.5,
    )
    assert len(list(representation._chunks(2500, 2500))) > 1
    x, y = real.double().numpy(), generated.double().numpy()
    kernels = [(a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    within = [
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
        for kernel in kernels[:2]
    ]
    assert kernel_distance(real, generated) == pytest.approx(
        sum(within) - 2 * kernels[2].mean(), rel=1e-9
    )
    found = precision_recall(real, generated)
    for share, (centres, rows) in zip(found, ((x, y), (y, x)), strict=True):
        nearest = KNeighborsClassifier(n_neighbors=4).fit(
            centres, np.zeros(len(centres))
        )
        radius = nearest.kneighbors(centres)[0][:, 3]
        apart = np.sqrt(((rows[:, None] - centres[None]) ** 2).sum(2))
        assert share == pytest.approx((apart <= radius).any(1).mean(), abs=1e-3)


def test_frechet_distance_and_precision_recall_are_accurate_far_from_zero():
    real, generated = (
        torch.randn(50, 3, generator=rng()),
        torch.randn(50, 3, generator=rng(1)) + 0.5,
    )
    real, generated = ((rows * 64).round() / 64 for rows in (real, generated))
    moved = real + 8192, generated + 8192  # exact in float32
    assert frechet_distance(*moved) == pytest.approx(
        frechet_distance(real, generated), rel=1e-6
    )
    assert precision_recall(*moved) == precision_recall(real, generated)
    # exact in float64, their squares are not
    farther = real.double() + 2**26, generated.double() + 2**26
    assert precision_recall(*farther) == precision_recall(real, generated)


def test_bits_per_dimension_of_known_densities_has_its_closed_form():
    assert bits_per_dimension(0.0, 3072) == 8  # uniform on [0, 1)
    # 256 greys, each as likely
    assert bits_per_dimension(-12 * math.log(256), 12, levels=1) == pytest.approx(8)
    # all in half of the interval: a bit less
    assert bits_per_dimension(math.log(2), 1) == pytest.approx(7)
    # four fair coins
    assert bits_per_dimension(-4 * math.log(2), 4, levels=1) == pytest.approx(1)
    assert bits_per_dimension(10 * math.log(4), 10, levels=32) == pytest.approx(3)
    normal = torch.distributions.Normal(0.5, 0.05)  # whose entropy is known
    log_density = -28 * normal.entropy()
    expected = 8 + math.log2(0.05 * math.sqrt(2 * math.pi * math.e))
    assert bits_per_dimension(log_density, 28).item() == pytest.approx(
        expected, rel=1e-6
    )
    several = bits_per_dimension(torch.tensor([0.0, -6 * math.log(2)]), 6)
    assert several.tolist() == pytest.approx([8, 9])


@pytest.mark.parametrize("device", DEVICES)
def test_generator_distances_run_on_the_device_and_return_floats(device):
    real, generated = mixed(40, 5, 0).float(), mixed(30, 5, 1, shift=0.7).float()
    moved = real.to(device).requires_grad_(), generated.to(device)
    for f in (
        frechet_distance,
        kernel_distance,
        lambda *rows: precision_recall(*rows)[0],
        lambda *rows: precision_recall(*rows)[1],
    ):
        found = f(*moved)
        assert isinstance(found, float) and found == pytest.approx(
            f(real, generated), rel=1e-3, abs=0.04
        )
        assert isinstance(f(real.bfloat16().to(device), moved[1].bfloat16()), float)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: frechet_distance(X, X[:, :3]), "generated"),
        (lambda: frechet_distance(X[0], X), "real"),
        (lambda: frechet_distance(X[:1], X), "real"),
        (lambda: frechet_distance(X, X[:1]), "generated"),
        (lambda: frechet_distance(NAN, X), "real"),
        (lambda: frechet_distance(X, X / 0), "generated"),
        (lambda: frechet_distance(X, X.long()), "generated"),
        (lambda: kernel_distance(X, X[:, :3]), "generated"),
        (lambda: kernel_distance(X[:1], X), "real"),
        (lambda: kernel_distance(X, X[:1]), "generated"),
        (lambda: kernel_distance(NAN, X), "real"),
        (lambda: kernel_distance(X, NAN), "generated"),
        (lambda: precision_recall(X, X[:, :3]), "generated"),
        (lambda: precision_recall(X.long(), X), "real"),
        (lambda: precision_recall(X, X, k=10), "k"),
        (lambda: precision_recall(X, X[:3]), "k"),
        (lambda: precision_recall(X[:3], X), "k"),
        (lambda: precision_recall(X, X, k=0), "k"),
        (lambda: precision_recall(X, X, k=1.5), "k"),
        (lambda: precision_recall(NAN, X), "real"),
        (lambda: precision_recall(X, NAN), "generated"),
        (lambda: bits_per_dimension(0.0, 0), "dimensions"),
        (lambda: bits_per_dimension(0.0, 2.5), "dimensions"),
        (lambda: bits_per_dimension(0.0, 3, levels=0), "levels"),
    ],
)
def test_generator_distances_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()


# --- modes ---

CORNERS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def test_mode_coverage_of_points_at_the_corners_has_its_closed_form():
    assert mode_coverage(CORNERS, CORNERS, 0.1) == (4, 1.0)
    assert mode_coverage(CORNERS[[2]].repeat(7, 1), CORNERS, 0.1) == (1, 1.0)
    assert mode_coverage(CORNERS + torch.tensor([0.5, 0.0]), CORNERS, 0.4) == (0, 0.0)
    # at the edge is inside
    assert mode_coverage(CORNERS + torch.tensor([0.5, 0.0]), CORNERS, 0.5) == (4, 1.0)
    outliers = torch.cat([CORNERS, torch.tensor([[2.0, 2.0], [90.0, 0.0]])])
    assert mode_coverage(outliers, CORNERS, 1.0) == (4, pytest.approx(4 / 6))
    assert mode_coverage(CORNERS + 0.4, CORNERS[:1], 9.0) == (1, 1.0)


def test_mode_coverage_counts_a_mode_from_a_tenth_of_its_share():
    due = 100 / 4
    for others, modes in ((2, 1), (3, 2)):  # 2.5 are a tenth of 25
        points = torch.cat(
            [CORNERS[[0]].repeat(100 - others, 1), CORNERS[[1]].repeat(others, 1)]
        )
        assert (others >= due / 10) == (modes == 2) and mode_coverage(
            points, CORNERS, 1.0
        ) == (modes, 1.0)
    # 1 of 40: just a tenth of 10
    exactly = torch.cat([CORNERS[[0]].repeat(39, 1), CORNERS[[1]]])
    assert mode_coverage(exactly, CORNERS, 1.0) == (2, 1.0)
    far = torch.cat(
        [
            CORNERS[[0]].repeat(10, 1),
            CORNERS[[1]] + torch.tensor([[1.5, 0.0]]).repeat(30, 1),
        ]
    )
    # points outside count for no mode, but in the total
    assert mode_coverage(far, CORNERS, 1.0) == (1, 0.25)


@pytest.mark.parametrize(
    ("dim", "k", "radius"), [(2, 25, 0.3), (3, 9, 0.8), (1, 4, 0.2), (2, 30, 2.0)]
)
def test_mode_coverage_equals_a_double_loop(dim, k, radius):
    centres = 2 * torch.randn(k, dim, generator=rng(1))
    # the last ones hardly ever
    chosen = (k * torch.rand(300, generator=rng(2)) ** 3).long()
    points = centres[chosen] + 0.3 * torch.randn(300, dim, generator=rng())
    drawn, inside = [0] * k, 0
    for point in points.tolist():
        apart = [math.dist(point, centre) for centre in centres.tolist()]
        if min(apart) <= radius:
            inside += 1
            drawn[apart.index(min(apart))] += 1
    expected = sum(number >= 0.1 * 300 / k for number in drawn), inside / 300
    modes, share = mode_coverage(points, centres, radius)
    assert (
        (modes, share) == (expected[0], pytest.approx(expected[1]))
        and isinstance(modes, int)
        and 0 < modes
    )
    assert mode_coverage(points.double(), centres.double(), radius) == (modes, share)


@pytest.mark.parametrize("name", list(toys.CENTRES))
def test_mode_coverage_of_a_toy_is_that_of_the_chi_squared_distribution(name):
    n, centres = 40_000, toys.CENTRES[name]()
    points, y = toys.TOYS[name][0](n, rng())
    # 3 x 0.1 is less than half of what lies between two centres
    for sigmas in (1.0, 2.0, 3.0):
        modes, share = mode_coverage(points, centres, sigmas * toys.NOISE)
        expected = 1 - math.exp(-(sigmas**2) / 2)
        assert modes == len(centres) and abs(share - expected) < 4 * math.sqrt(
            expected * (1 - expected) / n
        )
    half = points[y < len(centres) // 2]
    assert mode_coverage(half, centres, 3 * toys.NOISE)[0] == len(centres) // 2


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: mode_coverage(X, X[:, :3], 1.0), "centres"),
        (lambda: mode_coverage(X[0], X, 1.0), "points"),
        (lambda: mode_coverage(X.long(), X, 1.0), "points"),
        (lambda: mode_coverage(X, X, 0.0), "radius"),
        (lambda: mode_coverage(X, X, -1.0), "radius"),
        (lambda: mode_coverage(X, X, math.nan), "radius"),
    ],
)
def test_mode_coverage_names_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()


def test_accuracy_takes_minus_infinity_for_a_class_that_is_never_predicted():
    scores = torch.tensor([[0.0, -math.inf], [-1.0, -math.inf]])
    assert accuracy(scores, torch.tensor([0, 1])) == 0.5
