"""Boxes from frozen features: their overlap, and the ridge regression that finds them.

The oracles count pixels, or are torchvision's and numpy's functions.
"""

import math

import numpy as np
import pytest
import torch
import torchvision
from methods import close, normal, seeded

from course_lib.evaluate import box_iou, box_probe
from course_lib.evaluate import boxes as boxes_module

# --- overlap ---


def pixels(box):
    left, top, right, bottom = box
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def test_box_iou_of_whole_numbers_equals_a_count_of_pixels():
    """Corners may have any order, so many boxes are empty."""
    boxes = torch.randint(0, 6, (2, 400, 4), generator=seeded())
    predicted, true = boxes + torch.tensor([0, 0, 2, 2])
    found, empty = box_iou(predicted, true), 0
    for value, one, other in zip(found.tolist(), predicted.tolist(), true.tolist()):
        both, either = pixels(one) & pixels(other), pixels(one) | pixels(other)
        empty += not either
        assert value == pytest.approx(len(both) / len(either) if either else 0)
    assert empty > 10 and found.dtype == torch.float64 and found.shape == (400,)
    assert (found > 0).sum() > 50


def test_box_iou_equals_torchvisions_for_boxes_with_fractions():
    corners = normal(2, 60, 2)
    predicted, true = torch.cat([corners, corners + normal(2, 60, 2, seed=1) ** 2], 2)
    theirs = torchvision.ops.box_iou(predicted, true).diagonal()
    close(box_iou(predicted, true), theirs)
    close(box_iou(true, predicted), theirs)
    # as fractions of a large picture
    close(box_iou(predicted / 1000, true / 1000), theirs)
    close(box_iou(3 * predicted.float() + 5, 3 * true.float() + 5), theirs, atol=1e-5)


def test_box_iou_of_equal_half_and_disjoint_boxes_has_its_closed_form():
    box = torch.tensor([[2.0, 1.0, 6.0, 4.0]])
    others = {
        1.0: [2.0, 1, 6, 4],
        0.5: [2.0, 1, 4, 4],
        1 / 7: [4.0, 2.5, 8, 5.5],
        0.0: [6.0, 1, 9, 4],
    }
    for value, other in others.items():
        assert box_iou(box, torch.tensor([other])).item() == pytest.approx(value)
    # an empty box inside of a box, a box turned inside out, and two empty boxes
    for other in ([3.0, 2, 3, 3], [6.0, 4, 2, 1], [6.0, 1, 2, 4]):
        assert box_iou(torch.tensor([other]), box).item() == 0
        assert box_iou(torch.tensor([other]), torch.tensor([other])).item() == 0


def test_box_iou_names_the_bad_argument():
    with pytest.raises(ValueError, match="`true`.*N = 3 in `predicted`"):
        box_iou(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="`predicted`.*\\(N, 4\\)"):
        box_iou(torch.zeros(3, 5), torch.zeros(3, 4))


# --- the probe ---


def scenes(n=60, dim=6, seed=0, noise=0.5):
    """Features, and boxes that are almost a linear function of them."""
    h = 3 * normal(n, dim, seed=seed) + torch.arange(dim) - 2
    corner, size = h[:, :2], 4 + h[:, 2:4].abs()
    exact = torch.cat([corner, corner + size], 1)
    return h.float(), exact + noise * normal(n, 4, seed=seed + 1)


def ridge_by_hand(h, box, penalty):
    """Least squares by numpy: the penalty is D more rows, sqrt(N penalty) I with the
    targets 0."""
    h, box = h.double().numpy(), box.double().numpy()
    n, d = h.shape
    mean, middle = h.mean(0), box.mean(0)
    scale = np.sqrt(((h - mean) ** 2).mean(0))
    rows = np.concatenate([(h - mean) / scale, math.sqrt(n * penalty) * np.eye(d)])
    targets = np.concatenate([box - middle, np.zeros((d, 4))])
    weight = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return lambda other: torch.from_numpy(
        (other.double().numpy() - mean) / scale @ weight + middle
    )


def overlap(box, other):
    """The IoU of two boxes; a box that is inside out overlaps nothing."""

    def length(first, last):
        return max(0.0, last - first)

    def area(left, top, right, bottom):
        return length(left, right) * length(top, bottom)

    (a, b, c, d), (e, f, g, h) = box, other
    both = area(max(a, e), max(b, f), min(c, g), min(d, h))
    return both / (area(*box) + area(*other) - both) if both else 0.0


def spied(monkeypatch):
    """The features and the penalties of every fit, in order."""
    fits, real = [], boxes_module._ridge

    def spy(features, boxes, penalties):
        fits.append((features, list(penalties)))
        return real(features, boxes, penalties)

    monkeypatch.setattr(boxes_module, "_ridge", spy)
    return fits


@pytest.mark.parametrize("penalties", [[0.5], [1e-3, 30.0], [10.0, 1e-4, 0.1]])
@pytest.mark.parametrize("n", [60, 12])
def test_box_probe_is_least_squares_with_the_penalty_that_is_best_when_held_out(
    monkeypatch, penalties, n
):
    h, box = scenes(n, noise=3.0)
    h[:, 5] = torch.arange(n)  # the number of the row
    groups = torch.arange(n) % (n // 3) * 7
    fits = spied(monkeypatch)
    probe = box_probe(h, box, groups, penalties, validation=0.25)
    fitted = fits[0][0][:, 5].long().tolist()
    held = sorted(set(range(n)) - set(fitted))
    assert torch.equal(fits[1][0], h) and len(fits) == 2
    assert len(held) == 3 * round(0.25 * (n // 3))
    assert not set(groups[held].tolist()) & set(groups[fitted].tolist())
    scores = {}
    for penalty in penalties:
        found = ridge_by_hand(h[fitted], box[fitted], penalty)(h[held])
        pairs = list(zip(found.tolist(), box[held].tolist()))
        scores[penalty] = sum(overlap(*pair) for pair in pairs) / len(pairs)
    assert probe.penalty == max(scores, key=scores.get)
    other, _ = scenes(20, seed=5)
    close(probe(other), ridge_by_hand(h, box, probe.penalty)(other), 1e-6, 1e-6)
    close(probe.weight, fits_of(h, box, probe.penalty), 1e-6, 1e-6)


def fits_of(h, box, penalty):
    """The weight for features that are not standardised: the change of the boxes for
    one more of each feature."""
    predict, zero = ridge_by_hand(h, box, penalty), torch.zeros(1, h.shape[1])
    return predict(torch.eye(h.shape[1])) - predict(zero)


def test_box_probe_splits_by_the_seed_and_by_rows_if_there_are_no_groups(monkeypatch):
    h, box = scenes(50)
    h[:, 5] = torch.arange(50)
    fits = spied(monkeypatch)
    for seed in (0, 0, 1):
        box_probe(h, box, seed=seed)
    first, again, other = (fits[i][0][:, 5].tolist() for i in (0, 2, 4))
    assert first == again != other and len(first) == 40


def test_box_probe_takes_the_largest_of_equally_good_penalties():
    """Constant features have no weight, so every penalty gives the mean box."""
    _, box = scenes(40)
    for value in (0.0, 1.0, 1e4, -3.3):
        probe = box_probe(torch.full((40, 3), value), box, penalties=[0.1, 10.0, 1.0])
        assert probe.penalty == 10.0 and (probe.weight == 0).all()
        close(probe(normal(5, 3, seed=2)), box.mean(0).expand(5, 4))


def test_box_probe_recovers_linear_boxes_and_ignores_scale_and_offset_of_features():
    h, box = scenes(80, noise=0.0)
    h = torch.cat([h, h[:, 2:4].abs(), torch.ones(80, 1)], 1)
    probe = box_probe(h[:60], box[:60], penalties=[1e-8])
    close(probe(h[60:]), box[60:], atol=1e-4)
    assert box_iou(probe(h[60:]), box[60:]).min() > 0.999
    changed = h.double() * torch.tensor([1e3, 1e-3, -1, 1, 5, 1, 1, 1, 2]) + 7
    moved = box_probe(changed[:60], box[:60], penalties=[1e-8])
    close(moved(changed[60:]), probe(h[60:]), atol=1e-5)
    assert probe(h).dtype == torch.float64


def test_box_probe_in_chunks_equals_one_fit(monkeypatch):
    h, box = scenes(70)
    whole = box_probe(h, box, penalties=[0.1])
    expected = whole(h)
    monkeypatch.setattr(
        boxes_module,
        "_chunks",
        lambda rows, columns: (slice(i, i + 32) for i in range(0, rows, 32)),
    )
    chunked = box_probe(h, box, penalties=[0.1])
    close(chunked.weight, whole.weight)
    close(whole(h), expected)


def test_box_probe_accepts_whole_numbers_as_boxes_and_keeps_no_graph():
    h, box = scenes(40)
    found = box_probe(h.requires_grad_(), box.round().long())
    assert not found.weight.requires_grad
    again = box_probe(h.detach(), box.round())
    close(found.weight, again.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(penalties=[]), "`penalties`: expected at least one positive number"),
        (dict(penalties=[0.1, 0.0]), "`penalties`: expected a positive number"),
        (dict(penalties=[-1.0]), "`penalties`: expected a positive number"),
        (dict(features=torch.zeros(0, 3)), "`boxes`|`features`"),
        (dict(features=torch.full((8, 3), math.inf)), "`features`"),
        (dict(features=torch.full((8, 3), math.nan)), "`features`"),
        (dict(features=torch.zeros(8, 3).long()), "`features`.*got int64"),
        (dict(boxes=torch.zeros(7, 4)), "`boxes`.*N = 8 in `features`"),
        (dict(boxes=torch.zeros(8, 3)), "`boxes`"),
        (dict(groups=torch.zeros(8)), "`groups`.*got float32"),
        (dict(groups=torch.zeros(8).long()), "`validation`: expected a share"),
        (dict(validation=0.0), "`validation`: expected a share"),
        (dict(validation=1.0), "`validation`: expected a share"),
        (dict(seed="0"), "`seed`"),
    ],
)
def test_box_probe_names_the_bad_argument(change, message):
    arguments = dict(features=torch.zeros(8, 3), boxes=torch.zeros(8, 4)) | change
    with pytest.raises(ValueError, match=message):
        box_probe(**arguments)


def test_a_probe_names_features_with_another_number_of_columns():
    h, box = scenes(40)
    probe = box_probe(h, box)
    with pytest.raises(ValueError, match="`features`: expected 6 columns, got 5"):
        probe(h[:, :5])
    with pytest.raises(ValueError, match="`features`"):
        probe(h.long())
