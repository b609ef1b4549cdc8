"""Lab, colour bins, and the two methods that predict colour from lightness.

The oracles are scikit-image's Lab, exact fractions and plain Python loops over the
papers' formulas.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import lab2rgb, rgb2lab
from torch import nn

from course_lib import colour as C
from course_lib.data import Dataset
from course_lib.nets.conv import Decoder
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.pretext.colourisation import Colourisation, rebalanced_cross_entropy
from course_lib.pretext.split_brain import SplitBrain
from course_lib.train import fit


def random(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pictures(n=3, dtype=torch.float64):
    """Noise; from the second on also a dark half (the straight part of both curves) and
    the corners of the RGB cube."""
    x = random(n, 3, 8, 8, dtype=dtype)
    x[1:, :, :4] *= 0.06
    x[1:, :, -1] = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T.to(dtype)
    return x


def lab_in_gamut(seed=0):
    """Lab (2, 3, 8, 8) well inside sRGB."""
    return torch.cat(
        [
            45 + 30 * random(2, 1, 8, 8, seed=seed),
            40 * random(2, 2, 8, 8, seed=seed + 1) - 20,
        ],
        1,
    )


def last(x):
    return x.permute(0, 2, 3, 1)


def rows(x):
    """(N, C, H, W) -> a list of C numbers for each position, picture by picture, row by
    row."""
    return last(x).reshape(-1, x.shape[1]).tolist()


def block_means(x):
    """Numpy (N, H, W, C) -> the mean of each 2 x 2 block, a list as from `rows`."""
    return (
        (sum(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4)
        .reshape(-1, x.shape[3])
        .tolist()
    )


def naive_nearest(ab, bins):
    return min(range(len(bins)), key=lambda q: math.dist(ab, bins[q]))


def naive_soft(ab, bins, neighbours, sigma):
    near = sorted(range(len(bins)), key=lambda q: math.dist(ab, bins[q]))[:neighbours]
    share = {q: math.exp(-(math.dist(ab, bins[q]) ** 2) / (2 * sigma**2)) for q in near}
    return [share.get(q, 0.0) / sum(share.values()) for q in range(len(bins))]


def exact_weights(counts, mix):
    prior, mix = [Fraction(n, sum(counts)) for n in counts], Fraction(mix)
    raw = [1 / ((1 - mix) * p + mix / len(counts)) for p in prior]
    return [float(w / sum(p * v for p, v in zip(prior, raw))) for w in raw]


# no two bins are equally near
AB, IRREGULAR = 100 * random(2, 2, 4, 4) - 50, 100 * random(11, 2, seed=9) - 50
LOGITS = 3 * torch.randn(
    2, 11, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)]
)
def test_rgb_to_lab_and_lab_to_rgb_equal_scikit_image(dtype, tolerance):
    x = pictures(dtype=dtype)
    lab = C.rgb_to_lab(x)
    assert (
        lab.dtype == dtype
        and np.abs(last(lab).numpy() - rgb2lab(last(x.double()).numpy())).max()
        < tolerance
    )
    assert (C.lab_to_rgb(lab) - x).abs().max() < max(tolerance, 1e-5)
    # many beyond sRGB
    lab = torch.cat(
        [30 + 70 * random(3, 1, 9, 7), 120 * random(3, 2, 9, 7, seed=1) - 60], 1
    )
    rgb = C.lab_to_rgb(lab.to(dtype))
    assert (
        np.abs(last(rgb.double()).numpy() - lab2rgb(last(lab).numpy())).max()
        < tolerance
    )
    assert rgb.min() == 0 and rgb.max() == 1


def test_lab_conversions_have_their_range_finite_gradients_and_float32():
    lightness, a, b = C.rgb_to_lab(pictures(40)).unbind(1)
    assert lightness.min() == pytest.approx(
        0, abs=1e-9
    ) and lightness.max() == pytest.approx(100)
    assert (
        -87 <= a.min() < -86
        and 98 < a.max() <= 99
        and -108 <= b.min() < -107
        and 94 < b.max() <= 95
    )
    x = pictures().requires_grad_()
    for y in (C.rgb_to_lab(x), C.lab_to_rgb(C.rgb_to_lab(x))):
        (grad,) = torch.autograd.grad(y.square().sum(), x)
        assert grad.isfinite().all() and (grad[0] != 0).any(0).all()
    with torch.autocast("cpu", torch.bfloat16):
        for convert, low in (
            (C.rgb_to_lab, x.bfloat16()),
            (C.lab_to_rgb, 100 * x.bfloat16()),
        ):
            assert torch.equal(convert(low), convert(low.float()))


def test_ab_bins_are_the_squares_reached_by_srgb_colours():
    cube = rgb2lab(
        np.stack(np.meshgrid(*[np.linspace(0, 1, 40)] * 3), -1).reshape(1, -1, 3)
    )[0, :, 1:]
    for spacing in (10.0, 16, 25.0, 40.0):
        bins = C.ab_bins(spacing)
        squares = {tuple(square) for square in (bins / spacing).tolist()}
        reached = set(map(tuple, np.rint(cube / spacing).tolist()))
        # a finer cube may reach a corner more
        assert len(squares ^ reached) <= 1 and bins.shape == (len(squares), 2)
        assert torch.equal(
            C.nearest_bin(bins.T[None, :, :, None], bins).flatten(),
            torch.arange(len(bins)),
        )
        bins.zero_()
        assert C.ab_bins(spacing).any(), (
            "what a caller does with the bins must not matter to the next one"
        )


@pytest.mark.parametrize(
    ("neighbours", "sigma"), [(5, 5.0), (1, 5.0), (3, 20), (11, 40.0)]
)
def test_nearest_bin_and_soft_bins_equal_loops(neighbours, sigma):
    nearest, shares = (
        C.nearest_bin(AB, IRREGULAR),
        C.soft_bins(AB, IRREGULAR, neighbours, sigma),
    )
    assert (
        nearest.shape == (2, 4, 4)
        and nearest.dtype == torch.int64
        and shares.shape == (2, 11, 4, 4)
    )
    assert nearest.flatten().tolist() == [
        naive_nearest(ab, IRREGULAR.tolist()) for ab in rows(AB)
    ]
    for ours, ab in zip(rows(shares), rows(AB), strict=True):
        assert ours == pytest.approx(
            naive_soft(ab, IRREGULAR.tolist(), neighbours, sigma), abs=1e-12
        )
    if (neighbours, sigma) == (5, 5.0):  # the paper's numbers are the defaults
        assert torch.equal(C.soft_bins(AB, IRREGULAR), shares)


@pytest.mark.parametrize("mix", [0.0, 0.3, 0.5, 1.0])
def test_rebalancing_weights_equal_exact_fractions(mix):
    counts = [1, 2, 3, 5, 13] if mix == 0 else [0, 2, 3, 5, 13]
    prior = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    assert C.rebalancing_weights(prior, mix).tolist() == pytest.approx(
        exact_weights(counts, mix), rel=1e-12
    )
    assert torch.equal(C.rebalancing_weights(prior), C.rebalancing_weights(prior, 0.5))


@pytest.mark.parametrize("temperature", [0.38, 1, 3.0])
def test_annealed_mean_is_the_papers_formula(temperature):
    for ours, row in zip(
        rows(C.annealed_mean(LOGITS, IRREGULAR, temperature)), rows(LOGITS), strict=True
    ):
        z = [math.exp(logit) / sum(map(math.exp, row)) for logit in row]
        f = z if temperature == 1 else [math.exp(math.log(p) / temperature) for p in z]
        assert ours == pytest.approx(
            [
                sum(map(math.prod, zip(f, column))) / sum(f)
                for column in IRREGULAR.T.tolist()
            ]
        )
    mode = IRREGULAR[LOGITS.argmax(1)].movedim(-1, 1)
    torch.testing.assert_close(C.annealed_mean(LOGITS, IRREGULAR, 1e-4), mode)
    assert torch.equal(
        C.annealed_mean(LOGITS, IRREGULAR), C.annealed_mean(LOGITS, IRREGULAR, 0.38)
    )


BAD = [
    (lambda: C.rgb_to_lab(AB), "`x`.*\\(N, 3, H, W\\)"),
    (
        lambda: C.lab_to_rgb(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)),
        "`lab`.*got uint8",
    ),
    (lambda: C.ab_bins(0.0), "`spacing`: expected a positive number, got 0.0"),
    (lambda: C.nearest_bin(AB, IRREGULAR.T), "`bins`.*\\(Q, 2\\)"),
    (
        lambda: C.soft_bins(AB, IRREGULAR, 12),
        "`neighbours`: expected a whole number in \\[1, 11\\], got 12",
    ),
    (lambda: C.soft_bins(AB, IRREGULAR, 5, 0.0), "`sigma`: expected a positive"),
    (
        lambda: C.rebalancing_weights(IRREGULAR[:, 0], 1.5),
        "`mix`: expected a number in \\[0, 1\\], got 1.5",
    ),
    (lambda: C.annealed_mean(AB, IRREGULAR), "`bins`.*Q = 2 in `logits`"),
    (
        lambda: C.annealed_mean(LOGITS, IRREGULAR, 0.0),
        "`temperature`: expected a positive",
    ),
    (
        lambda: rebalanced_cross_entropy(AB, AB, IRREGULAR[:, 0]),
        "`weights`.*Q = 2 in `logits`",
    ),
    (lambda: Colourisation(nn.Identity(), nn.Identity(), IRREGULAR, -1.0), "`sigma`"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_colour_functions_name_the_bad_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- colourisation and split-brain ---

BINS = C.ab_bins(40.0)


class Stub(nn.Module):
    """A network that is a function."""

    def __init__(self, function=lambda x: x):
        super().__init__()
        self.forward = self.feature_map = function


def colourisation():
    torch.manual_seed(0)
    return Colourisation(
        ResNet((8, 16), 1, 1, group_norm),
        Decoder((16, 8), len(BINS), group_norm),
        BINS,
        sigma=20.0,
    )


def split_brain():
    """8 x 8 pictures -> maps 2 x 2 -> predictions 4 x 4."""
    torch.manual_seed(0)
    encoders = (ResNet((8, 16), 1, channels, group_norm) for channels in (1, 2))
    return SplitBrain(
        *encoders,
        *(Decoder((16, 8), outputs, group_norm) for outputs in (len(BINS), 7)),
        BINS,
    )


def test_colourisation_loss_equals_a_loop():
    method, x = colourisation().double(), pictures()
    method.weights.copy_(random(len(BINS)))
    lab, total = rgb2lab(last(x).numpy()), 0.0
    logits = method.decoder(
        method.encoder.feature_map(torch.tensor(lab[..., :1] / 100).movedim(3, 1))
    )
    for ab, log_z in zip(
        block_means(lab[..., 1:]), rows(logits.log_softmax(1)), strict=True
    ):
        weight = method.weights[naive_nearest(ab, BINS.tolist())].item()
        total -= weight * sum(
            map(math.prod, zip(naive_soft(ab, BINS.tolist(), 5, 20.0), log_z))
        )
    assert method.loss(x).item() == pytest.approx(total / (3 * 4 * 4), rel=1e-6)


def test_colourisation_measures_its_weights_before_the_epoch():
    x, counts, method = (255 * pictures(6)).byte(), [0] * len(BINS), colourisation()
    for ab in rgb2lab(last(x).numpy())[..., 1:].reshape(-1, 2).tolist():
        counts[naive_nearest(ab, BINS.tolist())] += 1
    assert (method.weights == 1).all()
    next(fit(method, Dataset(x, torch.zeros(6), ()), 1, batch_size=4))
    assert method.weights.tolist() == pytest.approx(
        exact_weights(counts, 0.5), rel=1e-4
    )


def test_colourisation_depends_on_lightness_only():
    method, lab, other = colourisation().double(), lab_in_gamut(), lab_in_gamut(seed=5)
    x, recoloured = (
        C.lab_to_rgb(lab),
        C.lab_to_rgb(torch.cat([lab[:, :1], other[:, 1:]], 1)),
    )
    assert (x - recoloured).abs().max() > 0.1 and not torch.allclose(
        method.encode(x), method.encode(x.flip(1))
    )
    torch.testing.assert_close(method.encode(x), method.encoder(lab[:, :1] / 100))
    torch.testing.assert_close(method.encode(x), method.encode(recoloured))
    torch.testing.assert_close(method.colourise(x), method.colourise(recoloured))


@pytest.mark.parametrize("temperature", [0.38, 1.0])
def test_colourise_keeps_lightness_and_paints_the_annealed_mean(temperature):
    ab, logits = (
        torch.tensor([10.0, -15.0]).double(),
        torch.tensor([2.0, 1.0, 0.0]).double().view(1, 3, 1, 1),
    )
    paint = Stub(lambda x: logits.expand(len(x), 3, 4, 4))
    method = Colourisation(Stub(), paint, torch.stack([ab, -ab, 0 * ab]), 5.0)
    lab = lab_in_gamut()
    found = C.rgb_to_lab(method.colourise(C.lab_to_rgb(lab), temperature))
    f = [math.exp(logit / temperature) for logit in (2, 1, 0)]
    expected = (ab * (f[0] - f[1]) / sum(f)).view(1, 2, 1, 1).expand(2, 2, 8, 8)
    torch.testing.assert_close(found, torch.cat([lab[:, :1], expected], 1))


def test_split_brain_halves_do_not_see_the_channels_they_predict():
    method, lab = split_brain().double(), lab_in_gamut().requires_grad_()
    (colour, _), (lightness, _) = method.tasks(C.lab_to_rgb(lab))
    for logits, seen, hidden in (
        (colour, slice(0, 1), slice(1, 3)),
        (lightness, slice(1, 3), slice(0, 1)),
    ):
        (grad,) = torch.autograd.grad(logits.square().sum(), lab, retain_graph=True)
        assert (
            grad[:, hidden].abs().max() < 1e-9 * grad[:, seen].abs().max()
            and (grad[:, seen] != 0).any(1).all()
        )
    halves = method.from_l(lab[:, :1] / 100), method.from_ab(lab[:, 1:] / 100)
    torch.testing.assert_close(method.encode(C.lab_to_rgb(lab)), torch.cat(halves, 1))


def test_split_brain_classes_and_loss_equal_loops():
    method, x = split_brain().double(), pictures()
    x[0, :, :2, :2], x[0, :, :2, 2:4] = 1, 0  # the lightest and the darkest class
    lab = rgb2lab(last(x).numpy())
    tasks = method.tasks(x)
    assert tasks[0][1].tolist() == [
        naive_nearest(ab, BINS.tolist()) for ab in block_means(lab[..., 1:])
    ]
    assert tasks[1][1].tolist() == [
        min(int(0.07 * lightness), 6) for (lightness,) in block_means(lab[..., :1])
    ]
    maps = method.to_l(
        method.from_ab.feature_map(torch.tensor(lab[..., 1:] / 100).movedim(3, 1))
    )
    torch.testing.assert_close(tasks[1][0], last(maps).flatten(0, 2))
    assert method.loss(x).item() == pytest.approx(
        sum(F.cross_entropy(*task).item() for task in tasks), rel=1e-6
    )


def test_colourisation_and_split_brain_score_known_predictors_exactly():
    """Blue above yellow: of these two, lightness tells the colour and colour tells the
    lightness."""
    x = (
        torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
        .T[None, :, :, None]
        .repeat_interleave(4, 2)
        .expand(2, 3, 8, 8)
    )
    bins = torch.tensor([[80.0, -108.0], [-22.0, 94.0], [0.0, 0.0]])

    # class `yes` where it is so, class `no` elsewhere, on a grid of 4 x 4
    def pick(no, yes, where):
        return torch.eye(3)[torch.where(where[:, -1, ::2, ::2], yes, no)].movedim(3, 1)

    colour, blue = (
        Stub(lambda x: pick(0, 1, x > 0.6)),
        Stub(lambda x: pick(0, 1, x > 9)),
    )
    # of three steps blue (L = 32) has the first, yellow (97) the last
    lightness = Stub(lambda x: pick(0, 2, x > 0))
    for from_l, from_ab, score in (
        (colour, lightness, 1),
        (blue, lightness, 0.75),
        (blue, blue, 0.5),
    ):
        assert Colourisation(from_l, Stub(), bins, 5.0).pretext_score(x) == (
            1 if from_l is colour else 0.5
        )
        assert (
            SplitBrain(from_l, from_ab, Stub(), Stub(), bins).pretext_score(x) == score
        )


def test_rebalancing_weight_of_a_bin_without_pixels_is_infinite_without_mixing():
    assert C.rebalancing_weights(torch.tensor([0.5, 0.5, 0.0]), 0).tolist() == [
        1,
        1,
        float("inf"),
    ]
