"""Masks from attention and from frozen feature maps, and how well they fit the true
masks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from course_lib.checks import (
    as_seed,
    expects,
    expects_values,
    not_empty,
    number,
    positive,
)
from course_lib.evaluate.representation import _chunks, _finite, _held_out

PENALTIES = (1e-4, 1e-2, 1.0)
THRESHOLDS = tuple(step / 10 for step in range(-9, 4))


@torch.no_grad()
@expects(predicted="bool N 1 H W", true="bool N 1 H W")
@expects_values(predicted=not_empty)
def intersection_over_union(predicted: Tensor, true: Tensor) -> float:
    """Returns the intersection over union (IoU) of two masks, averaged over pictures.

    It is the number of pixels in both masks, divided by the number of pixels in at
    least one of them. It is 1 where both masks are empty.
    """
    both = (predicted & true).flatten(1).sum(1)
    either = (predicted | true).flatten(1).sum(1)
    return torch.where(either > 0, both.double() / either, 1).mean().item()


@torch.no_grad()
@expects(attention="float ... h w")
def most_of_the_mass(attention: Tensor, share: float = 0.6) -> Tensor:
    """Returns masks (..., h, w) of the fewest positions that hold `share` of the sum of
    each map; positions with the highest attention are taken first.

    DINO makes masks from attention in this way (Caron et al. 2021, arXiv 2104.14294,
    figure 4, with a share of 60 %). Raises ValueError for a share outside [0, 1].
    """
    flat = attention.flatten(-2)
    strongest, positions = flat.sort(-1, descending=True)
    before = strongest.cumsum(-1) - strongest  # sum over the stronger positions
    kept = before < number("share", share, 0, 1) * flat.sum(-1, keepdim=True)
    masks = torch.zeros_like(flat, dtype=torch.bool).scatter_(-1, positions, kept)
    return masks.view(attention.shape)


@dataclass(frozen=True, eq=False)
class MaskProbe:
    """Predicts a mask from a feature map: each of the h x w cells predicts the pixels
    that it covers. All cells use the same matrix.

    The scores are cell @ weight + bias, in float64, with a separate bias for each pixel
    of the picture. A score above 0 means inside the mask.
    """

    penalty: float  # the penalty with which the probe was fitted
    weight: Tensor  # (C, r^2), for maps that are not standardised; a cell is r x r
    bias: Tensor  # (1, H, W) = (1, r h, r w)

    @expects(maps="float N C h w")
    def __call__(self, maps: Tensor) -> Tensor:
        """Returns the scores (N, 1, H, W) of maps (N, C, h, w)."""
        side = math.isqrt(self.weight.shape[1])
        shape = len(self.weight), self.bias.shape[1] // side, self.bias.shape[2] // side
        if maps.shape[1:] != shape:
            raise ValueError(
                f"argument `maps`: expected {shape} after the rows, got "
                f"{tuple(maps.shape)}"
            )
        scores = [
            torch.einsum("nchw,cr->nrhw", maps[rows].double(), self.weight)
            for rows in _chunks(len(maps), maps[0].numel())
        ]
        pixels = rearrange(torch.cat(scores), "n (p q) h w -> n 1 (h p) (w q)", p=side)
        return pixels + self.bias


@torch.no_grad()
@expects(maps="float N C h w", masks="bool N 1 H W", groups="int N")
@expects_values(maps=not_empty, seed=as_seed)
def mask_probe(
    maps: Tensor,
    masks: Tensor,
    groups: Tensor | None = None,
    penalties: Sequence[float] = PENALTIES,
    validation: float = 0.2,
    seed: int = 0,
) -> MaskProbe:
    """Returns a probe that predicts masks from frozen feature maps, fitted by ridge
    regression. It tells whether features contain where things are, not only what they
    are.

        trunk = nn.Sequential(net.stem, net.stages, nn.Flatten())
        maps = features(trunk, x).unflatten(1, (96, 4, 4))
        intersection_over_union(mask_probe(maps, masks)(test_maps) > 0, test_masks)

    maps: (N, C, h, w); masks: (N, 1, r h, r w). The channels are standardised, and
    pixels y are 1 inside the mask and -1 outside. The probe minimises

        mean over pictures and cells of ||y - (cell W + b)||^2 + penalty ||W||^2

    in closed form. The bias b is free at each pixel. So the prediction for constant
    maps is the mean mask, and other maps should do better.

    For a high IoU a pixel has to count as inside even where its probability is somewhat
    below one half. So a threshold is chosen together with the penalty. The chosen pair
    has the best IoU on a validation part, which is drawn as in linear_probe. If several
    pairs have the best IoU, the largest penalty is taken. Then the probe is fitted on
    all rows. Raises ValueError for masks that are not r times the maps, for maps that
    are not finite, and for penalties that are missing or not positive. Raises
    ValueError, too, if one side of the split would be empty.
    """
    (h, w), (height, width) = maps.shape[2:], masks.shape[2:]
    if height * w != width * h or height % h:
        raise ValueError(
            f"argument `masks`: expected r times the {h} x {w} of `maps`, got "
            f"{height} x {width}"
        )
    _check_penalties(penalties)
    _finite("maps", maps)
    rows = torch.arange(len(maps), device=maps.device)
    held = _held_out(rows if groups is None else groups, validation, seed)
    choices = []
    for probe in _ridge(maps, masks, rows[~held], sorted(penalties, reverse=True)):
        scores = probe(maps[held])
        choices += [
            (intersection_over_union(scores > t, masks[held]), probe.penalty, t)
            for t in THRESHOLDS
        ]
    _, penalty, threshold = max(choices, key=lambda choice: choice[0])
    (probe,) = _ridge(maps, masks, rows, [penalty])
    return replace(probe, bias=probe.bias - threshold)


def _check_penalties(penalties: Sequence[float]):
    if not len(penalties):
        raise ValueError(
            "argument `penalties`: expected at least one positive number, got none"
        )
    for penalty in penalties:
        positive("penalties", penalty)


def _ridge_weights(
    gram: Tensor, cross: Tensor, size: Tensor, penalties: Sequence[float]
) -> Iterator[tuple[float, Tensor]]:
    """Returns pairs of each penalty and the weights (D, K) that solve the ridge
    regression on standardised features, for features that are not standardised.

    gram (D, D): covariance of the features; cross (D, K): their covariance with the
    targets. size (D,): the size of each feature's mean, which decides whether it counts
    as constant, as in logistic_regression. A constant feature has the weights 0.
    """
    std = gram.diagonal().sqrt()
    scale = std.masked_fill(std <= 1e-6 * size, torch.inf)
    gram, cross = gram / scale / scale[:, None], cross / scale[:, None]
    identity = torch.eye(len(gram)).to(gram)
    for penalty in penalties:
        weights = torch.linalg.solve(gram + penalty * identity, cross)
        yield penalty, weights / scale[:, None]


def _ridge(
    maps: Tensor, masks: Tensor, rows: Tensor, penalties: Sequence[float]
) -> list[MaskProbe]:
    """Returns the probe that is fitted to these rows, in float64, for each penalty."""
    c, h, w = maps.shape[1:]
    side, cells = masks.shape[2] // h, len(rows) * h * w
    parts = [rows[part] for part in _chunks(len(rows), maps[0].numel())]
    # A free bias for each pixel: the same as centring maps and masks at each position
    mean = sum(maps[part].double().sum(0) for part in parts) / len(rows)  # (C, h, w)
    prior = sum(masks[part].double().sum(0) for part in parts) / len(rows)
    gram, cross = mean.new_zeros(c, c), mean.new_zeros(c, side**2)
    for part in parts:
        x = rearrange(maps[part].double() - mean, "n c h w -> (n h w) c")
        y = rearrange(
            2 * (masks[part].double() - prior),
            "n 1 (h p) (w q) -> (n h w) (p q)",
            p=side,
            q=side,
        )
        gram.addmm_(x.T, x, alpha=1 / cells)
        cross.addmm_(x.T, y, alpha=1 / cells)
    probes, size = [], mean.abs().amax((1, 2))
    for penalty, weight in _ridge_weights(gram, cross, size, penalties):
        at_mean = MaskProbe(penalty, weight, torch.zeros_like(prior))(mean[None])[0]
        probes.append(MaskProbe(penalty, weight, 2 * prior - 1 - at_mean))
    return probes
