"""Boxes from frozen features: a linear regression of the box around the object, and how
well boxes overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.checks import (
    as_seed,
    expects,
    expects_values,
    finite,
    not_empty,
)
from course_lib.evaluate.dense import PENALTIES, _check_penalties, _ridge_weights
from course_lib.evaluate.representation import _chunks, _finite, _held_out


@expects(predicted="any N 4", true="any N 4")
def box_iou(predicted: Tensor, true: Tensor) -> Tensor:
    """Returns the intersection over union (IoU) of each box with the true box of the
    same row, (N,) float64 in [0, 1].

    Boxes (N, 4) are left, top, right, bottom. A box whose right is not beyond its left,
    or whose bottom is not beyond its top, is empty; its area is 0. The IoU is 0 if both
    boxes are empty.
    """
    predicted, true = predicted.double(), true.double()
    corner = torch.maximum(predicted[:, :2], true[:, :2])
    end = torch.minimum(predicted[:, 2:], true[:, 2:])
    both, *areas = (
        sides.clamp(min=0).prod(1)
        for sides in (
            end - corner,
            predicted[:, 2:] - predicted[:, :2],
            true[:, 2:] - true[:, :2],
        )
    )
    return both / (sum(areas) - both).clamp(min=torch.finfo(torch.double).tiny)


@dataclass(frozen=True, eq=False)
class BoxProbe:
    """Predicts boxes from features: features @ weight + bias, in float64."""

    penalty: float  # the penalty with which the probe was fitted
    weight: Tensor  # (D, 4), for features that are not standardised
    bias: Tensor  # (4,)

    @expects(features="float N D")
    def __call__(self, features: Tensor) -> Tensor:
        """Returns the boxes (N, 4), in the units of the boxes it was fitted to."""
        if features.shape[1] != len(self.weight):
            raise ValueError(
                f"argument `features`: expected {len(self.weight)} columns, got "
                f"{features.shape[1]}"
            )
        return torch.cat(
            [
                features[rows].double() @ self.weight + self.bias
                for rows in _chunks(len(features), features.shape[1])
            ]
        )


@torch.no_grad()
@expects(features="float N D", boxes="any N 4", groups="int N")
@expects_values(features=not_empty, boxes=finite, seed=as_seed)
def box_probe(
    features: Tensor,
    boxes: Tensor,
    groups: Tensor | None = None,
    penalties: Sequence[float] = PENALTIES,
    validation: float = 0.2,
    seed: int = 0,
) -> BoxProbe:
    """Returns a probe that predicts the box of the object from frozen features, fitted
    by ridge regression of the four sides.

        maps = nn.Sequential(net.stem, net.stages, nn.Flatten())
        probe = box_probe(features(maps, x), boxes, groups=emoji)
        box_iou(probe(features(maps, test_x)), test_boxes).mean()

    features (N, D): use flattened feature maps, because a mean over positions hides
    where things are. boxes (N, 4): left, top, right, bottom. The features are
    standardised, and the probe minimises

        mean over rows of ||box - (feature W + b)||^2 + penalty ||W||^2

    in closed form. The penalty is the one with the best mean IoU on a validation part:
    a share `validation` of the groups, drawn from the seed (all rows of a group are on
    the same side). Then the probe is fitted again on all rows. If several penalties are
    equally good, the largest is taken. Raises ValueError for features or boxes that
    are not finite, for penalties that are missing or not positive, and if one side of
    the split would be empty.
    """
    _check_penalties(penalties)
    _finite("features", features)
    rows = torch.arange(len(features), device=features.device)
    held = _held_out(rows if groups is None else groups, validation, seed)
    best = max(
        _ridge(features[~held], boxes[~held], sorted(penalties, reverse=True)),
        key=lambda probe: box_iou(probe(features[held]), boxes[held]).mean(),
    )
    return _ridge(features, boxes, [best.penalty])[0]


def _ridge(
    features: Tensor, boxes: Tensor, penalties: Sequence[float]
) -> list[BoxProbe]:
    """Returns the probe that is fitted to these rows, in float64, for each penalty."""
    n, d = features.shape
    mean = features.mean(0, dtype=torch.double)
    middle = boxes.double().mean(0)
    gram, cross = mean.new_zeros(d, d), mean.new_zeros(d, 4)
    for rows in _chunks(n, d):
        x = features[rows].double() - mean
        gram.addmm_(x.T, x, alpha=1 / n)
        cross.addmm_(x.T, boxes[rows].double() - middle, alpha=1 / n)
    return [
        BoxProbe(penalty, weight, middle - mean @ weight)
        for penalty, weight in _ridge_weights(gram, cross, mean.abs(), penalties)
    ]
