"""Masks: from attention, from frozen feature maps, and how well they fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from course_lib.checks import expects, number, positive
from course_lib.evaluate.representation import _chunks, _finite, _held_out

PENALTIES = (1e-4, 1e-2, 1.0)
THRESHOLDS = tuple(step / 10 for step in range(-9, 4))


@torch.no_grad()
@expects(predicted="bool N 1 H W", true="bool N 1 H W")
def intersection_over_union(predicted: Tensor, true: Tensor) -> float:
    """The pixels in both masks over the pixels in either, 1 where both are empty: the
    mean over pictures."""
    both, either = (
        (predicted & true).flatten(1).sum(1),
        (predicted | true).flatten(1).sum(1),
    )
    return torch.where(either > 0, both.double() / either, 1).mean().item()


@torch.no_grad()
@expects(attention="float ... h w")
def most_of_the_mass(attention: Tensor, share: float = 0.6) -> Tensor:
    """Masks (..., h, w) of the fewest places that hold `share` of each map's sum, the
    strongest first.

    How DINO makes masks of attention (Caron et al. 2021, arXiv 2104.14294, figure 4;
    there 60 %). Raises ValueError for a share outside [0, 1].
    """
    flat = attention.flatten(-2)
    strongest, places = flat.sort(-1, descending=True)
    before = strongest.cumsum(-1) - strongest  # held by the stronger ones
    kept = before < number("share", share, 0, 1) * flat.sum(-1, keepdim=True)
    return (
        torch.zeros_like(flat, dtype=torch.bool)
        .scatter_(-1, places, kept)
        .view(attention.shape)
    )


@dataclass(frozen=True, eq=False)
class MaskProbe:
    """A mask from a feature map: each of its h x w cells predicts the pixels it covers,
    all with one matrix.

    Scores, in float64, above 0 for what is inside: cell @ weight + bias, with a bias of
    its own for each pixel.
    """

    penalty: float  # the one it was fitted with
    weight: Tensor  # (C, r^2), for maps as they come; a cell covers r x r pixels
    bias: Tensor  # (1, H, W) = (1, r h, r w)

    @expects(maps="float N C h w")
    def __call__(self, maps: Tensor) -> Tensor:
        """Scores (N, 1, H, W) of maps (N, C, h, w)."""
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
        return (
            rearrange(torch.cat(scores), "n (p q) h w -> n 1 (h p) (w q)", p=side)
            + self.bias
        )


@torch.no_grad()
@expects(maps="float N C h w", masks="bool N 1 H W", groups="int N")
def mask_probe(
    maps: Tensor,
    masks: Tensor,
    groups: Tensor | None = None,
    penalties: Sequence[float] = PENALTIES,
    validation: float = 0.2,
    seed: int = 0,
) -> MaskProbe:
    """Masks from frozen feature maps by ridge regression: do features tell where things
    are, not only what?

        maps = features(nn.Sequential(net.stem, net.stages, nn.Flatten()), x).unflatten(1, (96, 4, 4))
        intersection_over_union(mask_probe(maps, masks)(test_maps) > 0, test_masks)

    maps (N, C, h, w), masks (N, 1, r h, r w). With pixels y of +-1 and the channels
    standardised, the minimum of

        mean over pictures and cells of ||y - (cell W + b)||^2 + penalty ||W||^2

    in closed form. The bias b is free at each pixel: of constant maps the mean mask
    remains, which others should beat. IoU rewards calling a pixel inside before that is
    the likelier half, so a threshold is chosen with the penalty, by IoU on a validation
    part drawn as linear_probe's (on a tie the largest penalty); then all rows are
    fitted. Raises ValueError for masks that are not r times the maps, maps that are not
    finite, no penalty or one that is not positive, and where either side of the split
    would be empty.
    """
    (h, w), (height, width) = maps.shape[2:], masks.shape[2:]
    if height * w != width * h or height % h:
        raise ValueError(
            f"argument `masks`: expected r times the {h} x {w} of `maps`, got {height} "
            f"x {width}"
        )
    if not len(penalties):
        raise ValueError(
            "argument `penalties`: expected at least one positive number, got none"
        )
    for penalty in penalties:
        positive("penalties", penalty)
    _finite("maps", maps)
    held = _held_out(
        torch.arange(len(maps), device=maps.device) if groups is None else groups,
        validation,
        seed,
    )
    found = []
    for probe in _ridge(
        maps, masks, (~held).nonzero()[:, 0], sorted(penalties, reverse=True)
    ):
        scores = probe(maps[held])
        found += [
            (intersection_over_union(scores > t, masks[held]), probe.penalty, t)
            for t in THRESHOLDS
        ]
    _, penalty, threshold = max(found, key=lambda row: row[0])
    probe = _ridge(maps, masks, torch.arange(len(maps), device=maps.device), [penalty])[
        0
    ]
    return replace(probe, bias=probe.bias - threshold)


def _ridge(
    maps: Tensor, masks: Tensor, rows: Tensor, penalties: Sequence[float]
) -> list[MaskProbe]:
    """The minimum on these rows for each penalty, in float64."""
    (c, h, w), parts = (
        maps.shape[1:],
        [rows[part] for part in _chunks(len(rows), maps[0].numel())],
    )
    side, cells = masks.shape[2] // h, len(rows) * h * w
    # (C, h, w): a free bias for each pixel
    mean = sum(maps[part].double().sum(0) for part in parts) / len(rows)
    # is to centre each place by itself
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
        gram, cross = (
            gram.addmm_(x.T, x, alpha=1 / cells),
            cross.addmm_(x.T, y, alpha=1 / cells),
        )
    std = gram.diagonal().sqrt()
    # constant, as in logistic_regression
    scale = std.masked_fill(std <= 1e-6 * mean.abs().amax((1, 2)), torch.inf)
    gram, cross, found = gram / scale / scale[:, None], cross / scale[:, None], []
    for penalty in penalties:
        weight = (
            torch.linalg.solve(gram + penalty * torch.eye(c).to(gram), cross)
            / scale[:, None]
        )
        at_mean = MaskProbe(penalty, weight, torch.zeros_like(prior))(mean[None])[0]
        found.append(MaskProbe(penalty, weight, 2 * prior - 1 - at_mean))
    return found
