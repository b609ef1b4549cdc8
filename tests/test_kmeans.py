"""Oracles: scikit-learn's Lloyd from the same start, plain loops, closed forms, exact
probabilities for k-means++."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from course_lib.clustering import kmeans as module
from course_lib.clustering.kmeans import (
    PatchCodes,
    fit_patch_codes,
    inertia,
    kmeans,
    lloyd,
    means_of,
    nearest_mean,
    one_hot,
    plus_plus,
    triangle,
    zca,
)
from course_lib.data import load
from course_lib.evaluate import accuracy, features, knn

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
    ),
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(n, dim=3, seed=0):
    """Overlapping groups, so that Lloyd's algorithm takes many steps."""
    g = rng(seed)
    return torch.randn(6, dim, generator=g)[
        torch.randint(6, (n,), generator=g)
    ] + torch.randn(n, dim, generator=g)


# The two halves of a step


def naive_codes(x, means):
    distances = [
        [sum((a - b) ** 2 for a, b in zip(row, mean)) for mean in means.tolist()]
        for row in x.tolist()
    ]
    return [row.index(min(row)) for row in distances]


def naive_means(x, codes, means):
    found = []
    for k, old in enumerate(means.tolist()):
        rows = [row for row, code in zip(x.tolist(), codes.tolist()) if code == k]
        found.append(
            [sum(column) / len(rows) for column in zip(*rows)] if rows else old
        )
    return found


@pytest.mark.parametrize("chunk", [2**22, 12])
def test_nearest_mean_means_of_and_inertia_equal_loops(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)  # 12: two rows at a time
    # the last mean has no rows
    x, means = cloud(50), torch.cat([cloud(5, seed=1), torch.full((1, 3), 90.0)])
    codes = nearest_mean(x, means)
    assert (
        codes.dtype == torch.int64
        and codes.tolist() == naive_codes(x, means)
        and len(set(codes.tolist())) == 5
    )
    found = means_of(x, codes, means)
    np.testing.assert_allclose(found, naive_means(x, codes, means), atol=1e-6)
    assert found.dtype == torch.float32 and torch.equal(found[5], means[5])
    rows = [
        sum((a - b) ** 2 for a, b in zip(row, means[k].tolist()))
        for row, k in zip(x.tolist(), codes.tolist())
    ]
    assert inertia(x, codes, means) == pytest.approx(sum(rows), rel=1e-6)
    assert isinstance(inertia(x, codes, means), float)
    torch.testing.assert_close(means_of(x, codes.int(), means), found)


def test_nearest_mean_takes_the_first_of_equally_near_means():
    assert nearest_mean(
        torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[2.0], [0.0], [2.0]])
    ).tolist() == [1, 0, 0]


def test_nearest_mean_and_means_of_are_exact_far_from_the_origin():
    x, means = cloud(300), cloud(8, seed=1)
    codes = nearest_mean(x, means)
    # 2^12 and three decimals: what is added is exact in float32, whose squares would
    # not be
    x, means = (x * 512).round() / 512 + 4096, (means * 512).round() / 512 + 4096
    assert nearest_mean(x, means).tolist() == naive_codes(x, means)
    assert (nearest_mean(x, means) == codes).float().mean() > 0.98
    # a float32 sum would be wrong in the fourth digit
    many = torch.full((300_000, 1), 4096.125)
    assert (
        means_of(many, torch.zeros(300_000).long(), torch.zeros(1, 1)).item()
        == 4096.125
    )


def test_nearest_mean_compares_half_precision_in_float32():
    x, means = cloud(1000).half(), cloud(15, seed=1).half()
    assert nearest_mean(x, means).tolist() == naive_codes(x, means)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nearest_mean(x.float(), means.float()).tolist() == naive_codes(x, means)


def test_lloyd_lowers_the_inertia_strictly_whenever_a_code_changes_even_with_ties():
    changed = 0
    for seed in range(60):
        # whole numbers on a small grid: many points are equally near to two means
        x = torch.randint(5, (14, 2), generator=rng(seed)).double()
        states = list(lloyd(x, x[:4]))
        assert torch.equal(states[-1][1], states[-2][1])
        for (means, codes), (later_means, later) in itertools.pairwise(states):
            if not torch.equal(codes, later):
                changed += 1
                fall = inertia(x, codes, means) - inertia(x, later, later_means)
                assert fall > 1e-9
    assert changed > 40


# k-means++


def test_plus_plus_draws_with_the_papers_probabilities():
    points = [0.0, 1.0, 3.0, 7.0]
    exact = {}
    for first, second, third in itertools.permutations(range(4), 3):

        def share(row, chosen):
            weight = [min((p - points[c]) ** 2 for c in chosen) for p in points]
            return weight[row] / sum(weight)

        exact[first, second, third] = (
            1 / 4 * share(second, [first]) * share(third, [first, second])
        )
    assert sum(exact.values()) == pytest.approx(1)
    g, n, x = rng(), 3000, torch.tensor(points)[:, None]
    seen = dict.fromkeys(exact, 0)
    for _ in range(n):
        seen[tuple(points.index(p) for p in plus_plus(x, 3, g)[:, 0].tolist())] += 1
    for triple, p in exact.items():
        assert abs(seen[triple] / n - p) < 5 * math.sqrt(p * (1 - p) / n), triple


def test_plus_plus_returns_different_rows_while_there_are_any():
    x = cloud(40)
    start = plus_plus(x, 40, rng())
    assert sorted(start.tolist()) == sorted(x.tolist())
    twice = torch.cat([x[:5], x[:5]])
    assert len(plus_plus(twice, 5, rng()).unique(dim=0)) == 5
    assert len(plus_plus(twice, 8, rng()).unique(dim=0)) == 5  # there are no more
    assert plus_plus(torch.ones(6, 2), 3, rng()).tolist() == [[1, 1]] * 3


def test_plus_plus_never_takes_a_row_of_probability_0(monkeypatch):
    # the smallest possible draw
    monkeypatch.setattr(
        torch, "rand", lambda *size, **_: torch.zeros(*size, dtype=torch.float64)
    )
    assert plus_plus(torch.tensor([[5.0], [5.0], [2.0], [9.0]]), 3, rng()).tolist() == [
        [5],
        [2],
        [9],
    ]


# Lloyd


@pytest.mark.parametrize("steps", [1, 3, 300])
def test_lloyd_equals_scikit_learn_from_the_same_start(steps):
    x = cloud(400, dim=5)
    start = plus_plus(x, 12, rng(1))
    *_, (means, codes) = itertools.islice(lloyd(x, start), steps + 1)
    oracle = KMeans(
        12, init=start.numpy(), n_init=1, max_iter=steps, tol=0, algorithm="lloyd"
    ).fit(x.numpy())
    np.testing.assert_allclose(means, oracle.cluster_centers_, atol=1e-4)
    assert codes.tolist() == oracle.labels_.tolist()
    assert inertia(x, codes, means) == pytest.approx(oracle.inertia_, rel=1e-5)


def test_lloyd_yields_its_start_never_raises_inertia_and_ends_at_a_fixed_point():
    x, start = cloud(500), cloud(9, seed=1)
    before = x.clone(), start.clone()
    states = list(lloyd(x, start))
    assert len(states) > 10 and torch.equal(states[0][0], start)
    values = [inertia(x, codes, means) for means, codes in states]
    assert (
        all(a > b for a, b in zip(values[:-1], values[1:-1]))
        and values[-1] <= values[-2]
    )
    for (_, codes), (means, new) in zip(states, states[1:]):
        np.testing.assert_allclose(means, naive_means(x, codes, means), atol=1e-5)
        assert new.tolist() == naive_codes(x, means)
    changed = [not torch.equal(a, b) for (_, a), (_, b) in zip(states, states[1:])]
    assert changed == [True] * (len(states) - 2) + [False]
    assert torch.equal(x, before[0]) and torch.equal(start, before[1])


def test_lloyd_keeps_a_mean_without_rows():
    start = torch.cat([cloud(3, seed=1), torch.full((1, 3), 50.0)])
    *_, (means, codes) = lloyd(cloud(200), start)
    assert torch.equal(means[3], start[3]) and codes.max() == 2


def test_kmeans_runs_the_given_steps_of_lloyd_from_plus_plus():
    x = cloud(300)
    states = list(lloyd(x, plus_plus(x, 7, rng(5))))
    for steps, (means, codes) in [(0, states[0]), (2, states[2]), (1000, states[-1])]:
        found = kmeans(x, 7, steps=steps, seed=5)
        assert torch.equal(found[0], means) and torch.equal(found[1], codes)
    assert not torch.equal(kmeans(x, 7, seed=6)[0], kmeans(x, 7, seed=5)[0])


def test_kmeans_with_1_n_and_4_separated_means_has_its_closed_form():
    x = cloud(60).double()
    means, codes = kmeans(x, 1)
    torch.testing.assert_close(means, x.mean(0, keepdim=True))
    assert not codes.any() and inertia(x, codes, means) == pytest.approx(
        60 * x.var(0, correction=0).sum().item()
    )
    means, codes = kmeans(x, 60)
    assert (
        sorted(codes.tolist()) == list(range(60)) and inertia(x, codes, means) < 1e-20
    )
    # far apart: every start finds them
    corners = torch.tensor([[0.0, 0], [0, 9], [9, 0], [9, 9]])
    means, codes = kmeans(
        corners.repeat(25, 1) + 0.1 * torch.randn(100, 2, generator=rng()), 4
    )
    assert (torch.cdist(corners, means) < 0.1).sum(1).tolist() == [1] * 4
    assert torch.equal(codes[:4].repeat(25), codes)


def test_kmeans_and_fit_patch_codes_keep_the_callers_random_state():
    before, x = torch.get_rng_state(), torch.rand(20, 3, 8, 8, generator=rng())
    kmeans(cloud(50), 5)
    fit_patch_codes(x, 4, patch=3, patches=60)(x)
    assert torch.equal(torch.get_rng_state(), before)


# Pictures as counts of codes


def test_one_hot_and_triangle_equal_their_formulas():
    distances = torch.tensor([[1.0, 2, 6], [4, 4, 1], [2, 2, 2]])
    assert one_hot(distances).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert triangle(distances).tolist() == [[2, 1, 0], [0, 0, 2], [0, 0, 0]]


def test_zca_whitens_and_is_symmetric_positive_definite():
    x = (
        cloud(500, dim=6).double()
        * torch.logspace(-2, 1, 6)
        @ torch.randn(6, 6, generator=rng(1)).double()
        + 5
    )
    centre, whiten = zca(x, 1e-12)
    np.testing.assert_allclose(centre, x.numpy().mean(0))
    np.testing.assert_allclose(whiten, whiten.T)
    # the root, not one of its turned or mirrored versions
    assert np.linalg.eigvalsh(whiten.numpy()).min() > 0
    np.testing.assert_allclose(
        np.cov(((x - centre) @ whiten).numpy().T, bias=True), np.eye(6), atol=1e-5
    )
    _, soft = zca(x, 0.3)
    soft, covariance = soft.numpy(), np.cov(x.numpy().T, bias=True)
    np.testing.assert_allclose(
        soft @ soft @ (covariance + 0.3 * np.eye(6)), np.eye(6), atol=1e-8
    )
    assert zca(torch.ones(10, 3), 0.01)[1].isfinite().all()  # no variance at all


def naive_patch_codes(picture, means, centre, whiten, patch, stride, hard, contrast):
    """One picture, (4 K,): every step in plain loops."""
    channels, height, width = picture.shape
    tops, lefts = (
        range(0, height - patch + 1, stride),
        range(0, width - patch + 1, stride),
    )
    count, size = len(means), means.shape[1]
    grid = {}
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            p = [
                float(picture[c, top + a, left + b])
                for c in range(channels)
                for a in range(patch)
                for b in range(patch)
            ]
            if contrast is not None:
                mean = sum(p) / size
                variance = sum((v - mean) ** 2 for v in p) / size
                p = [(v - mean) / math.sqrt(variance + contrast) for v in p]
            p = [v - float(c) for v, c in zip(p, centre)]
            p = [
                sum(p[d] * float(whiten[d, e]) for d in range(size))
                for e in range(size)
            ]
            distance = [
                math.sqrt(sum((v - float(m)) ** 2 for v, m in zip(p, means[k])))
                for k in range(count)
            ]
            average = sum(distance) / count
            grid[i, j] = [
                float(distance[k] == min(distance))
                if hard
                else max(0.0, average - distance[k])
                for k in range(count)
            ]
    rows, columns, found = len(tops) // 2, len(lefts) // 2, []
    for k in range(count):
        for down in (0, rows):
            for right in (0, columns):
                quarter = [
                    grid[down + i, right + j][k]
                    for i in range(rows)
                    for j in range(columns)
                ]
                found.append(math.sqrt(sum(quarter) / len(quarter)))
    return found


@pytest.mark.parametrize("contrast", [None, 0.01])
@pytest.mark.parametrize("code", [one_hot, triangle])
def test_patch_codes_equal_loops(code, contrast):
    # 4 x 4 windows; no window reaches the last column
    x = torch.rand(2, 3, 9, 10, generator=rng())
    codes = PatchCodes(
        torch.randn(5, 27, generator=rng(1)),
        torch.randn(27, generator=rng(2)) / 3,
        torch.randn(27, 27, generator=rng(3)) / 5,
        patch=3,
        stride=2,
        code=code,
        contrast=contrast,
    )
    expected = [
        naive_patch_codes(
            picture,
            codes.means,
            codes.centre,
            codes.whiten,
            3,
            2,
            code is one_hot,
            contrast,
        )
        for picture in x
    ]
    h = codes(x)
    assert codes.feature_map(x).shape == (2, 5, 4, 4) and h.shape == (2, 20)
    np.testing.assert_allclose(h, expected, atol=1e-4)
    if code is one_hot:
        # in each quarter the shares add to 1
        torch.testing.assert_close(h.square().sum(1), torch.full((2,), 4.0))


def test_patch_codes_of_a_batch_equal_those_of_each_picture():
    x = torch.rand(70, 3, 8, 8, generator=rng())
    codes = fit_patch_codes(x, 6, patch=3, patches=200)
    torch.testing.assert_close(
        codes(x)[::23], torch.cat([codes(picture[None]) for picture in x[::23]])
    )
    torch.testing.assert_close(
        features(codes, (x * 255).byte()), codes((x * 255).byte().float() / 255)
    )


def test_patch_codes_dictionary_shows_patches_of_the_pictures():
    """As many means as patches: each mean is one window of one picture, and all places
    are drawn."""
    x = torch.rand(3, 2, 5, 6, generator=rng())
    windows = [
        x[n, :, i : i + 3, j : j + 3]
        for n in range(3)
        for i in range(3)
        for j in range(4)
    ]
    codes = fit_patch_codes(x, 400, patch=3, patches=400)
    assert codes.dictionary().shape == (400, 2, 3, 3)
    distance = (
        codes.dictionary().flatten(1)[:, None] - torch.stack(windows).flatten(1)
    ).norm(dim=2)
    assert (
        distance.min(1).values.max() < 1e-4 and len(distance.argmin(1).unique()) == 36
    )
    torch.testing.assert_close(
        (codes.dictionary().flatten(1) - codes.centre) @ codes.whiten, codes.means
    )


def test_fit_patch_codes_gives_each_flat_colour_a_code():
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [30, 30, 30]], dtype=torch.uint8)
    kind = torch.arange(12) % 3
    x = colours[kind][:, :, None, None].repeat(1, 1, 10, 10)
    codes = fit_patch_codes(x, 3, patch=4, patches=100)
    shown = codes.dictionary()
    assert shown.std((2, 3)).max() < 1e-4
    order = torch.cdist(colours / 255, shown.mean((2, 3)), p=1).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(
        shown.mean((2, 3))[order], colours / 255, atol=1e-4, rtol=0
    )
    h = features(codes, x).view(12, 3, 4)
    assert torch.equal(
        h, nn.functional.one_hot(order[kind], 3)[:, :, None].expand(12, 3, 4).float()
    )


def test_fit_patch_codes_is_repeatable_by_seed_and_takes_bytes_and_floats():
    x = torch.randint(256, (9, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    first, again, other = (
        fit_patch_codes(x, 5, patch=3, patches=90, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.means, again.means) and not torch.equal(
        first.centre, other.centre
    )
    torch.testing.assert_close(
        fit_patch_codes(x.float() / 255, 5, patch=3, patches=90, seed=1).means,
        first.means,
    )
    chosen = fit_patch_codes(
        x, 5, patch=3, stride=1, patches=90, code=triangle, contrast=0.01
    )
    assert (chosen.patch, chosen.stride, chosen.code, chosen.contrast) == (
        3,
        1,
        triangle,
        0.01,
    )
    # brightness is out, or in
    assert (chosen.centre.abs() < 0.5).all() and (first.centre > 0.3).all()
    assert set(first.state_dict()) == {"means", "centre", "whiten"}


def test_patch_codes_beat_pixels_in_knn_accuracy():
    known, asked = load("scenes", "test")[:2000], load("scenes", "val")[:1000]
    codes = fit_patch_codes(known.x, 30, patches=5000)
    scores = knn(features(codes, known.x), known.y, features(codes, asked.x))
    pixels = knn(
        features(nn.Flatten(), known.x), known.y, features(nn.Flatten(), asked.x)
    )
    assert accuracy(scores, asked.y) > accuracy(pixels, asked.y) + 0.03


# any device; what is refused


@pytest.mark.parametrize("device", DEVICES)
def test_kmeans_and_patch_codes_stay_on_the_device_and_kmeans_keeps_no_graph(device):
    x = cloud(200)
    means, codes = kmeans(x, 4)
    found = kmeans(x.to(device).requires_grad_(), 4)
    assert found[0].device.type == device and not found[0].requires_grad
    torch.testing.assert_close(found[0].cpu(), means, rtol=1e-4, atol=1e-4)
    assert torch.equal(found[1].cpu(), codes)
    assert inertia(x.to(device), *found[::-1]) == pytest.approx(
        inertia(x, codes, means), rel=1e-4
    )
    pictures = torch.rand(20, 3, 10, 10, generator=rng()).to(device)
    fitted = fit_patch_codes(pictures, 5, patch=3, patches=100)
    h, expected = (
        fitted(pictures),
        fit_patch_codes(pictures.cpu(), 5, patch=3, patches=100)(pictures.cpu()),
    )
    assert h.device.type == device and (h.cpu() - expected).abs().mean() < 0.01
    assert fitted.cpu()(pictures.cpu()).device.type == "cpu"


X = cloud(10)
CODES = torch.arange(10) % 2
PICTURES = torch.rand(4, 3, 8, 8, generator=rng())


def small(**changed):
    given = {
        "means": torch.zeros(2, 27),
        "centre": torch.zeros(27),
        "whiten": torch.eye(27),
        "patch": 3,
    } | changed
    return PatchCodes(**given)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: nearest_mean(X, X[:, :2]), "means"),
        (lambda: nearest_mean(X.long(), X), "x"),
        (lambda: means_of(X, CODES[:5], X[:2]), "codes"),
        (lambda: means_of(X, CODES.float(), X[:2]), "codes"),
        (lambda: inertia(X, CODES, X[:2, :2]), "means"),
        (lambda: plus_plus(X, 11, rng()), "k"),
        (lambda: plus_plus(X, 0, rng()), "k"),
        (lambda: kmeans(X, 11), "k"),
        (lambda: kmeans(X[0], 1), "x"),
        (lambda: kmeans(X, 2, steps=-1), "steps"),
        (lambda: kmeans(X, 2, steps=1.5), "steps"),
        (lambda: zca(X, 0), "epsilon"),
        (lambda: small(means=torch.zeros(2, 26)), "centre"),
        (lambda: small(patch=2), "means"),
        (lambda: small(stride=0), "stride"),
        (lambda: small(whiten=torch.zeros(27, 3)), "whiten"),
        (lambda: small()(PICTURES[:, :2]), "x"),
        (lambda: small()(PICTURES[..., :4]), "x"),
        (lambda: small()(PICTURES.byte()), "x"),
        (lambda: small(contrast=0.0)(PICTURES), "contrast"),
        (lambda: fit_patch_codes(PICTURES.long(), 2, patch=3), "x"),
        (lambda: fit_patch_codes(PICTURES[0], 2, patch=3), "x"),
        (lambda: fit_patch_codes(PICTURES, 2, patch=9), "patch"),
        (lambda: fit_patch_codes(PICTURES, 2, patch=3, patches=0), "patches"),
        (lambda: fit_patch_codes(PICTURES, 9, patch=3, patches=8), "k"),
        (lambda: fit_patch_codes(PICTURES, 2, patch=3, epsilon=-1), "epsilon"),
    ],
)
def test_kmeans_and_patch_codes_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call()
