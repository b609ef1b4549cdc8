"""Autoencoders, context encoders, rotation, patch location and jigsaw; and the
properties all pretext tasks share.

The oracles are numpy, scikit-learn's R^2, plain slices and loops, and networks that
solve a puzzle by construction. Colourisation and split-brain are tested in
test_colour.py.
"""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from course_lib.data import Dataset
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.pretext.autoencoder import Autoencoder, variance_explained
from course_lib.pretext.colourisation import Colourisation
from course_lib.pretext.context_encoder import (
    ContextEncoder,
    hide_square,
    masked_reconstruction,
)
from course_lib.pretext.jigsaw import (
    Jigsaw,
    cut_tiles,
    maximin_permutation_set,
    permutation_set,
    standardise,
)
from course_lib.pretext.patch_location import (
    OFFSETS,
    ColorDropping,
    PatchLocation,
    patch_pairs,
)
from course_lib.pretext.rotation import Rotation, rotate_four_ways
from course_lib.pretext.split_brain import SplitBrain
from course_lib.train import fit


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Stub(nn.Module):
    """A network that is a function."""

    def __init__(self, function=lambda x: x):
        super().__init__()
        self.forward = self.feature_map = function


MEAN = Stub(lambda x: x.mean((2, 3)))


def net(channels=3):
    return ResNet((8, 16), channels=channels, norm=group_norm)


def decoder(*widths, outputs=3):
    return Decoder((16, *widths), outputs, group_norm)


BINS = torch.cartesian_prod(*[torch.tensor([-40.0, 0.0, 40.0])] * 2)
MAKE = {
    "Autoencoder": lambda: Autoencoder(
        net(), nn.Sequential(from_vector(16), decoder(8, 8)), lambda x: x + 0.1
    ),
    "ContextEncoder": lambda: ContextEncoder(net(), decoder(8, 8), 5),
    "Rotation": lambda: Rotation(net(), nn.Linear(16, 4)),
    "PatchLocation": lambda: PatchLocation(
        net(), nn.Linear(32, 8), 4, 1, 1, ColorDropping()
    ),
    "Jigsaw": lambda: Jigsaw(net(), nn.Linear(64, 10), permutation_set(4, 10), 6),
    "Colourisation": lambda: Colourisation(net(1), decoder(8, outputs=9), BINS, 20.0),
    "SplitBrain": lambda: SplitBrain(
        net(1), net(2), decoder(outputs=9), decoder(8, outputs=7), BINS
    ),
}
CLASSES = {
    "Rotation": 4,
    "PatchLocation": 8,
    "Jigsaw": 10,
    "Colourisation": 9,
    "SplitBrain": 9 * 7,
}


def build(name, seed=0):
    torch.manual_seed(seed)
    return MAKE[name]()


@pytest.mark.parametrize("name", list(MAKE))
def test_loss_is_float32_under_autocast_with_gradient_for_every_parameter(name):
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.loss(random(8, 3, 16, 16))
    assert loss.shape == () and loss.dtype == torch.float32
    loss.backward()
    silent = [
        where
        for where, p in method.named_parameters()
        if p.grad is None or not (p.grad != 0).any()
    ]
    assert not silent and all(p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("name", list(MAKE))
@torch.no_grad()
def test_state_dict_restores_representation_score_and_loss(name):
    method, other, x = (
        build(name),
        build(name, seed=1),
        (255 * random(16, 3, 16, 16)).byte(),
    )
    with torch.enable_grad():
        assert all(
            math.isfinite(step.loss)
            for step in fit(method, Dataset(x, torch.zeros(16), ()), 2, batch_size=8)
        )
    other.load_state_dict(method.state_dict())
    h, scores = method.encode(x / 255), []
    assert h.shape == (16, 32 if name == "SplitBrain" else 16) and h.std(0).max() > 1e-3
    torch.testing.assert_close(other.encode(x / 255), h)
    for each in (method, other):
        torch.manual_seed(3)
        scores.append((float(each.pretext_score(x / 255)), each.loss(x / 255).item()))
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    # the whole picture, as it is
    if name in ("Autoencoder", "ContextEncoder", "Rotation", "PatchLocation"):
        assert torch.equal(h, method.encoder(x / 255))


@pytest.mark.parametrize(("name", "classes"), CLASSES.items())
def test_loss_with_a_zeroed_classifier_is_the_log_of_the_number_of_classes(
    name, classes
):
    method, x = build(name), random(16, 3, 16, 16)
    assert 0 < abs(method.loss(x).item() - math.log(classes)) < 1
    for where, p in method.named_parameters():
        if "classifier" in where or ".out." in where:
            nn.init.zeros_(p)
    assert method.loss(x).item() == pytest.approx(math.log(classes), rel=1e-5)


def test_decoder_doubles_the_grid_at_each_stage():
    assert Decoder((16, 8, 4, 4), 7)(torch.randn(2, 16, 3, 5)).shape == (2, 7, 24, 40)
    assert Decoder()(from_vector(96)(torch.randn(2, 96))).shape == (2, 3, 32, 32)
    assert Decoder((6,), 1)(from_vector(6, 2)(torch.randn(2, 6))).shape == (2, 1, 2, 2)


X, INT = random(2, 3, 8, 8), torch.zeros(2).long()
BAD = [
    (lambda: variance_explained(X, X[:1]), "`target`.*N = 2 in `prediction`"),
    (
        lambda: masked_reconstruction(X, X, X[:, :1]),
        "`mask`: expected a tensor \\(bool\\).*got float32",
    ),
    (lambda: ContextEncoder(Stub(), Stub(), 0), "`hidden`: expected a whole number"),
    (lambda: rotate_four_ways(X[:, :, 1:]), "`x`.*\\(N, C, S, S\\)"),
    (lambda: patch_pairs(X, INT, INT.view(2, 1, 1), 2, 0), "`jitter`.*\\(N, 2, 2\\)"),
    (lambda: PatchLocation(Stub(), Stub(), 4, -1, 1), "`gap`"),
    (
        lambda: permutation_set(10, 3),
        "`tiles`: expected a whole number in \\[2, 9\\], got 10",
    ),
    (
        lambda: permutation_set(3, 7),
        "`size`: expected a whole number in \\[1, 6\\], got 7",
    ),
    (lambda: cut_tiles(X, INT.view(1, 1, 2), 2), "`jitter`.*N = 2 in `x`"),
    (lambda: Jigsaw(Stub(), Stub(), permutation_set(4, 2), 0), "`tile`"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_pretext_functions_name_the_bad_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- autoencoders and context encoders ---


def test_variance_explained_equals_scikit_learns_r2_score():
    target, noise = random(7, 3, 4, 5), random(7, 3, 4, 5, seed=1)
    for prediction in (
        target,
        target + 0.2 * noise,
        noise,
        target.mean(0).expand_as(target),
    ):
        theirs = r2_score(
            target.flatten(1), prediction.flatten(1), multioutput="variance_weighted"
        )
        assert variance_explained(prediction, target).item() == pytest.approx(
            theirs, abs=1e-5
        )


def test_autoencoder_loss_compares_output_for_corrupted_input_with_clean_input():
    x, same = random(5, 3, 4, 4), (nn.Flatten(), nn.Unflatten(1, (3, 4, 4)))
    method, plain = Autoencoder(*same, lambda x: 1 - x), Autoencoder(*same)
    assert method.loss(x).item() == pytest.approx(
        np.mean((1 - 2 * x.numpy()) ** 2), rel=1e-5
    )
    assert method.pretext_score(x) == variance_explained(1 - x, x) and torch.equal(
        method.reconstruct(x), x
    )
    assert plain.loss(x) == 0 and plain.pretext_score(x) == 1


def test_masked_reconstruction_and_its_gradient_equal_a_loop():
    target, mask = random(3, 2, 4, 5), random(3, 1, 4, 5, seed=2) < 0.3
    prediction, slope = (
        random(3, 2, 4, 5, seed=1).requires_grad_(),
        torch.zeros_like(target),
    )
    hidden = [(n, c, i, j) for n, c, i, j in np.ndindex(3, 2, 4, 5) if mask[n, 0, i, j]]
    for at in hidden:
        slope[at] = 2 * (prediction[at] - target[at]).item() / len(hidden)
    loss, nothing = (
        masked_reconstruction(prediction, target, m) for m in (mask, mask & False)
    )
    assert loss.item() == pytest.approx(
        sum((prediction[at] - target[at]).item() ** 2 for at in hidden) / len(hidden)
    )
    torch.testing.assert_close(torch.autograd.grad(loss, prediction)[0], slope)
    assert nothing == 0 and not torch.autograd.grad(nothing, prediction)[0].any()


def test_hide_square_covers_every_position_and_fills_with_the_mean_colour():
    x, found = random(300, 3, 6, 8), set()
    torch.manual_seed(0)
    holed, mask = ContextEncoder(Stub(), Stub(), 4).hide(x)
    for picture, hole, original in zip(holed, mask[:, 0], x):
        top, left = hole.nonzero().min(0).values.tolist()
        found.add((top, left))
        assert hole.sum() == 16 and hole[top : top + 4, left : left + 4].all()
        assert torch.equal(picture[:, ~hole], original[:, ~hole])
        torch.testing.assert_close(
            picture[:, hole], x.mean((0, 2, 3))[:, None].expand(3, 16)
        )
    assert found == {(top, left) for top in range(3) for left in range(5)}
    torch.manual_seed(0)
    again = hide_square(x, 4)
    assert (
        torch.equal(again[0], holed)
        and torch.equal(again[1], mask)
        and mask.dtype == torch.bool
    )
    assert torch.equal(x, random(300, 3, 6, 8))
    whole, everywhere = hide_square(x[:, :2, :, :6], 6)
    assert everywhere.all() and everywhere.shape == (300, 1, 6, 6)
    torch.testing.assert_close(
        whole, x[:, :2, :, :6].mean((0, 2, 3), keepdim=True).expand_as(whole)
    )


def test_context_encoder_loss_is_computed_on_pixels_hidden_from_the_input():
    method, x = build("ContextEncoder"), random(6, 3, 16, 16)

    def again(function, x):
        torch.manual_seed(5)
        return function(x)

    (holed, mask), turned = again(method.hide, x), x.clone()
    for picture, hole in zip(turned, mask[:, 0]):
        # other pixels, the mean colour stays
        picture[:, hole] = picture[:, hole].flip(1)
    assert not torch.allclose(turned, x)
    torch.testing.assert_close(again(method.hide, turned)[0], holed)
    squares = (method.paint(holed) - x).square()
    torch.testing.assert_close(again(method.loss, x), squares[mask.expand_as(x)].mean())
    for painting, score in ((x, 1), (x.mean((0, 2, 3), keepdim=True).expand_as(x), 0)):
        blind = ContextEncoder(
            Stub(), Stub(lambda seen, painting=painting: painting), 5
        )
        assert blind.pretext_score(x).item() == pytest.approx(score, abs=1e-6)


# --- rotation ---


def test_rotate_four_ways_equals_numpys_rot90_and_rotation_scores_a_known_solver():
    x = random(5, 3, 6, 6)
    views, turns = rotate_four_ways(x)
    assert views.shape == (20, 3, 6, 6) and turns.tolist() == [
        k for k in range(4) for _ in range(5)
    ]
    assert all(
        np.array_equal(views[i], np.rot90(x[i % 5], i // 5, (1, 2))) for i in range(20)
    )
    once = x
    for _ in range(4):
        once = rotate_four_ways(once)[0][5:10]
    assert torch.equal(once, x)
    x = torch.zeros(6, 1, 4, 4)
    # a mark that goes down the left side, along the bottom, up the right side gives the
    # turn away
    x[:, :, 0, 0] = 1
    method = Rotation(Stub(lambda x: x[:, 0, [0, 3, 3, 0], [0, 0, 3, 3]]), Stub())
    assert method.pretext_score(x) == 1 and method.loss(x).item() == pytest.approx(
        math.log(math.e + 3) - 1
    )
    assert Rotation(method.encoder, Stub(torch.zeros_like)).pretext_score(x) == 0.25


# --- patch location ---

PLACES = [place for place in product((-1, 0, 1), repeat=2) if place != (0, 0)]


def test_patch_pairs_equal_slices_for_every_place_and_jitter():
    assert list(OFFSETS) == PLACES
    place, moves = torch.arange(8).repeat(25), list(product(range(-2, 3), repeat=2))
    jitter = torch.tensor([[(i, -j), (j, i)] for i, j in moves]).repeat_interleave(8, 0)
    x = random(200, 2, 19, 21)
    pairs = patch_pairs(x, place, jitter, 4, 1)
    for k, each in enumerate(jitter.tolist()):
        for patch, away, move in zip(pairs, ((0, 0), PLACES[place[k]]), each):
            top, left = (
                middle + 5 * step + by for middle, step, by in zip((7, 8), away, move)
            )
            torch.testing.assert_close(
                patch[k], x[k, :, top : top + 4, left : left + 4]
            )
    patch_pairs(x[:8, :, :14, :14], place[:8], 0 * jitter[:8], 4, 1)
    with pytest.raises(
        ValueError, match="`patch`.*gaps of 1 .* \\(13, 21\\), got patches of 4"
    ):
        patch_pairs(x[:, :, :13], place, jitter, 4, 1)


def test_color_dropping_keeps_one_channel_and_fills_the_others_with_noise():
    x = random(60, 3, 40, 40)
    torch.manual_seed(0)
    dropped = ColorDropping()(x)
    kept = (dropped == x).flatten(2).all(2)
    assert (
        (kept.sum(1) == 1).all()
        and kept.any(0).all()
        and torch.equal(x, random(60, 3, 40, 40))
    )
    for picture, before, keep in zip(dropped, x, kept):
        assert not torch.equal(*picture[~keep])
        for other in picture[~keep]:
            assert other.mean().item() == pytest.approx(
                before[keep].mean().item(), abs=1e-3
            )
            assert other.std().item() == pytest.approx(
                before[keep].std().item() / 100, rel=0.15
            )


def test_patch_location_draws_all_places_and_jitters_and_scores_a_known_solver():
    # row and column
    x = (
        torch.cartesian_prod(*[torch.arange(19.0)] * 2)
        .T.reshape(1, 2, 19, 19)
        .repeat(500, 1, 1, 1)
    )
    places = torch.tensor(PLACES)
    find = Stub(
        lambda h: -(h[:, None, 2:] - h[:, None, :2] - 5 * places).square().sum(2)
    )
    method = PatchLocation(MEAN, find, 4, 1, 1)
    torch.manual_seed(0)
    patches, place = method.pairs(x)
    first, second = patches[:, :, 0, 0].round().long().chunk(2)  # the corners
    moves = torch.cat([first - 7, second - 7 - 5 * places[place]], 1)
    assert set(place.tolist()) == set(range(8)) and moves.abs().max() == 1
    assert len(moves.unique(dim=0)) == 81  # each patch has its own jitter
    assert method.pretext_score(x) == 1
    method.prepare = Stub(torch.zeros_like)
    assert method.pretext_score(x) == pytest.approx(1 / 8, abs=0.05)


# --- jigsaw ---


def hamming(p, q):
    return sum(a != b for a, b in zip(p, q, strict=True))


def test_permutation_set_is_chosen_greedily_by_hamming_distance():
    for seed in range(4):
        chosen = [tuple(row) for row in permutation_set(4, 24, seed).tolist()]
        assert sorted(chosen) == sorted(permutations(range(4)))
        for k in range(1, 24):
            totals = [sum(hamming(p, q) for q in chosen[:k]) for p in chosen[k:]]
            assert totals[0] == max(totals)
        assert torch.equal(permutation_set(4, 7, seed), torch.tensor(chosen[:7]))
    assert (
        len({tuple(permutation_set(4, 1, seed)[0].tolist()) for seed in range(20)}) > 5
    )
    chosen, drawn = (
        permutation_set(9, 9).tolist(),
        [torch.randperm(9).tolist() for _ in range(9)],
    )
    distances = [
        np.mean([hamming(p, q) for p, q in permutations(rows, 2)])
        for rows in (chosen, drawn)
    ]
    # nine of nine tiles can differ everywhere: a Latin square
    assert distances[0] == 9 > 8.7 > distances[1]


def test_cut_tiles_equal_slices():
    x, jitter = (
        random(3, 2, 20, 20),
        torch.randint(3, (3, 9, 2), generator=torch.Generator().manual_seed(0)),
    )
    tiles = cut_tiles(x, jitter, 4)
    assert tiles.shape == (3, 9, 2, 4, 4)
    for n, t in np.ndindex(3, 9):
        top, left = 6 * (t // 3) + jitter[n, t, 0], 6 * (t % 3) + jitter[n, t, 1]
        torch.testing.assert_close(tiles[n, t], x[n, :, top : top + 4, left : left + 4])


def test_jigsaw_puzzles_are_undone_by_the_inverse_permutation():
    method, found = Jigsaw(Stub(), Stub(), permutation_set(9, 6), 4), set()
    torch.manual_seed(0)
    tiles, which = method.puzzles(
        torch.arange(18.0 * 18).view(1, 1, 18, 18).repeat(200, 1, 1, 1)
    )
    assert set(which.tolist()) == set(range(6))
    for puzzle, p in zip(
        tiles[:, :, 0].round().long(), method.permutations[which].tolist()
    ):
        for tile in range(9):
            # where tile `tile` has gone
            row, column = divmod(puzzle[p.index(tile), 0, 0].item(), 18)
            assert (row // 6, column // 6) == divmod(tile, 3)
            found.add((row % 6, column % 6))
    # every place in the cell, none beyond
    assert found == set(product(range(3), repeat=2))


def test_standardise_removes_mean_and_contrast_of_each_tile():
    x = random(2, 5, 3, 8, 8)
    expected = (x.numpy() - x.numpy().mean((2, 3, 4), keepdims=True)) / x.numpy().std(
        (2, 3, 4), keepdims=True
    )
    assert np.abs(standardise(x).numpy() - expected).max() < 0.1
    torch.testing.assert_close(
        standardise(0.5 * x + 0.3), standardise(x), atol=0.1, rtol=0
    )
    assert not standardise(torch.full((1, 3, 4, 4), 0.75)).any()
    assert torch.equal(
        Jigsaw(Stub(), Stub(), permutation_set(4, 2), 4).encode(x[0]), standardise(x[0])
    )


def test_jigsaw_pretext_score_is_1_for_a_known_solver_and_chance_for_a_constant_one():
    x, known = torch.zeros(400, 4, 12, 12), permutation_set(4, 10)
    for t in range(4):
        x[:, t, 6 * (t // 2) :, 6 * (t % 2) :][:, :6, :6] = 1
    solve = Stub(lambda h: (h.view(-1, 1, 4, 4).argmax(3) == known).sum(2).float())
    assert Jigsaw(MEAN, solve, known, 5).pretext_score(x) == 1
    torch.manual_seed(0)
    assert Jigsaw(MEAN, Stub(lambda h: h[:, :10] * 0), known, 5).pretext_score(
        x
    ) == pytest.approx(0.1, abs=0.05)


BATCH = torch.rand(16, 3, 32, 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: PatchLocation(nn.Identity(), nn.Identity(), 8, 3, 2).pairs(BATCH),
            "`jitter`.*at most 1",
        ),
        (
            lambda: PatchLocation(nn.Identity(), nn.Identity(), 11, 0, 0).pairs(BATCH),
            "`patch`",
        ),
        (
            lambda: Jigsaw(
                nn.Identity(), nn.Identity(), permutation_set(9, 4), 11
            ).puzzles(BATCH),
            "`tile`.*10.*got 11",
        ),
        (
            lambda: ContextEncoder(nn.Identity(), nn.Identity(), 33).hide(BATCH),
            "`side`.*32.*got 33",
        ),
        (lambda: hide_square(BATCH[:, :, :20], 21), "`side`.*20.*got 21"),
        (lambda: hide_square(BATCH, 0), "`side`: expected a whole number"),
    ],
)
def test_pretext_tasks_name_a_size_that_does_not_fit_the_picture(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- what notebook 01 says of its methods ---


def test_maximin_set_takes_the_largest_smallest_distance_and_then_the_largest_sum():
    for seed in range(3):
        chosen = [tuple(row) for row in maximin_permutation_set(4, 24, seed).tolist()]
        assert sorted(chosen) == sorted(permutations(range(4)))
        assert chosen[0] == tuple(permutation_set(4, 1, seed)[0].tolist())
        for k in range(1, 24):
            merits = []
            for p in chosen[k:]:
                apart = [hamming(p, q) for q in chosen[:k]]
                merits.append((min(apart), sum(apart)))
            assert merits[0] == max(merits)
    with pytest.raises(ValueError, match="`size`"):
        maximin_permutation_set(3, 7)


def test_largest_sums_leave_pairs_two_places_apart_and_maximin_leaves_none():
    """The 64 permutations of the jigsaw recipe: 61 pairs differ in two places only."""
    found = {}
    for name, chosen in (
        ("sum", permutation_set(9, 64)),
        ("maximin", maximin_permutation_set(9, 64)),
    ):
        rows = chosen.numpy()
        apart = [
            int((rows[i] != rows[j]).sum()) for i in range(64) for j in range(i + 1, 64)
        ]
        found[name] = min(apart), apart.count(2), np.mean(apart)
    assert found["sum"][:2] == (2, 61) and found["maximin"][:2] == (7, 0)
    assert found["sum"][2] > found["maximin"][2] > 8.1


def test_linear_autoencoder_has_the_same_error_for_every_basis_of_the_subspace():
    """The subspace of PCA is the best of its rank, and every invertible mixture of its
    two numbers does as well."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    x -= x.mean(0)
    u = np.linalg.svd(x, full_matrices=False)[2][:2].T

    def error(encoder, decoder):
        return ((x @ encoder @ decoder.T - x) ** 2).sum(1).mean()

    best = error(u, u)
    for _ in range(20):
        a = rng.normal(size=(2, 2))
        assert error(u @ np.linalg.inv(a).T, u @ a) == pytest.approx(best)
        other = np.linalg.qr(rng.normal(size=(6, 2)))[0]
        assert error(other, other) > best
    assert best == pytest.approx(np.linalg.eigvalsh(x.T @ x / 500)[:-2].sum())


def test_clamped_noise_breaks_tweedies_formula():
    """For x = 0 or 1 the posterior mean given a clamped observation of 0 is not the one
    that the formula gives for unclamped noise at 0."""
    rng, sigma = np.random.default_rng(0), 0.7
    x = rng.integers(0, 2, 400_000).astype(float)
    noisy = x + sigma * rng.normal(size=len(x))
    formula = 1 / (1 + math.exp(1 / (2 * sigma**2)))  # E[x | noisy = 0]
    near = np.abs(noisy) < 0.05
    assert x[near].mean() == pytest.approx(formula, abs=0.02)
    assert x[noisy.clip(0, 1) == 0].mean() < formula - 0.05
