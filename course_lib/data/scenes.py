"""Scenes: an emoji of random size, position and rotation on a smooth random texture.

On a white background, raw pixels already predict the category. In scenes, background
and position are independent of the category, so a representation has to find the
object. Each picture comes with the object's mask and bounding box.
"""

import copy
import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import as_seed, count, expects, expects_values, positive
from course_lib.data.dataset import Dataset
from course_lib.data.emoji import SPLITS, STYLES, load_emoji, premultiplied

SIDE = 32
# Smallest and largest size of the drawing, as a fraction of the picture's side. Below
# one half, the drawings lose the details that distinguish them.
SIZES = (0.55, 1.0)
# Largest rotation in degrees, to both sides. It is small, so that RotNet's question (by
# how many quarter turns was this rotated?) has a clear answer.
TURN = 20.0
# Control points of the texture along each side: its blobs are about eight pixels wide,
# like parts of the drawings.
GRID = 4
COUNTS = (20_000, 2_000, 4_000)  # scenes in SPLITS
# Scenes rendered at once: enough work for each thread between two synchronisations;
# about 8 MB for each tensor.
CHUNK = 512
# A pixel belongs to the mask if the drawing covers at least this share of it.
MASKED = 0.5


@expects_values(n=count, seed=as_seed, chunk=count)
def render_scenes(
    drawings: Dataset, n: int, seed: int, *, chunk: int = CHUNK
) -> Dataset:
    """n scenes of `drawings` (as from load("emoji")), on the device of `drawings`.

    Scene k depends only on the seed and on k. It does not depend on n, and on the CPU
    it does not depend on `chunk` either, bit for bit. x: uint8 (n, 3, 32, 32); y,
    classes and info (emoji, style, category, subcategory) as in `drawings`. info also
    has `mask`, bool (n, 1, 32, 32), and `box`, int64 (n, 4): left, top, right, bottom
    of the mask in pixels, the last two excluded. Raises ValueError unless the drawings
    are uint8 RGBA and n is positive.
    """
    positive("n", n)
    # The random numbers are rows of one uniform draw on the CPU. So they are the same
    # on every device, and a larger n only adds rows.
    u = torch.rand(n, 5 + 3 * GRID**2, generator=torch.Generator().manual_seed(seed))
    row = (u[:, 0].double() * len(drawings)).long()
    source = premultiplied(drawings.x)  # avoids wrong colours at edges when resampled
    row, u = row.to(source.device), u[:, 1:].to(source.device)
    chunks = [
        _render(source[r], v)
        for r, v in zip(row.split(chunk), u.split(chunk), strict=True)
    ]
    x, mask = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    info = {name: rows[row] for name, rows in drawings.info.items()} | {
        "mask": mask,
        "box": boxes(mask),
    }
    return Dataset(x, drawings.y[row], drawings.classes, info)


def _render(drawing: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Premultiplied drawings (n, 4, H, W) and uniform random numbers
    (n, 4 + 3 GRID^2) -> scenes, uint8 (n, 3, 32, 32), and masks, bool
    (n, 1, 32, 32)."""
    n = len(u)
    texture = F.interpolate(
        u[:, 4:].reshape(n, 3, GRID, GRID),
        (SIDE, SIDE),
        mode="bicubic",
        align_corners=True,
    )
    size = SIZES[0] + (SIZES[1] - SIZES[0]) * u[:, 0]
    turn = math.radians(TURN) * (2 * u[:, 1] - 1)
    # position of the drawing's centre in [-1, 1]^2, such that the drawing's square,
    # before its rotation, is inside the picture
    place = (2 * u[:, 2:4] - 1) * (1 - size[:, None])
    # grid_sample needs, for each pixel p of the picture, its position in the drawing:
    # R(turn) (p - place) / size
    c, s = torch.cos(turn) / size, torch.sin(turn) / size
    turned = torch.stack([c, -s, s, c], 1).view(n, 2, 2)
    theta = torch.cat([turned, -(turned @ place[:, :, None])], 2)  # (n, 2, 3)
    pasted = F.grid_sample(
        drawing,
        F.affine_grid(theta, (n, 4, SIDE, SIDE), align_corners=False),
        align_corners=False,
    )
    colour, alpha = pasted[:, :3], pasted[:, 3:]
    scene = torch.addcmul(colour, 1 - alpha, texture.clamp_(0, 1))
    return scene.mul_(255).round_().byte(), alpha >= MASKED


@expects_values(n=count, seed=as_seed)
def shortcut_triplets(
    drawings: Dataset, n: int, seed: int
) -> tuple[Dataset, Dataset, Dataset]:
    """Triplets of scenes that test whether a representation depends on the object or on
    the background. Returns the anchors and two comparison scenes for each, row by row.

    The first comparison scene has the drawing of the anchor, but another texture, size,
    position and rotation. The second one has another drawing, but the texture, size,
    position and rotation of the anchor. Fewer than n triplets may be returned: an
    anchor is left out if no first comparison scene was drawn for it.
    """
    anchor = render_scenes(drawings, n, seed)
    same_background = render_scenes(
        drawings[torch.arange(len(drawings)).roll(len(drawings) // 2)], n, seed
    )
    pool = render_scenes(drawings, 6 * len(drawings), seed + 1)
    wanted, there = (
        scenes.info["emoji"] * len(STYLES) + scenes.info["style"]
        for scenes in (anchor, pool)
    )
    ordered, place = there.sort()
    at = torch.searchsorted(ordered, wanted).clamp(max=len(pool) - 1)
    found = ordered[at] == wanted
    return anchor[found], pool[place[at[found]]], same_background[found]


@expects(mask="bool N 1 H W")
def boxes(mask: Tensor) -> Tensor:
    """bool (N, 1, H, W) -> int64 (N, 4): left, top, right, bottom of the pixels that
    are set, the last two excluded; 0 for an empty mask."""
    # whether a column (N, W), or a row (N, H), contains a set pixel
    across, down = mask.any(2).flatten(1).int(), mask.any(3).flatten(1).int()
    ends = [(m.argmax(1), m.shape[1] - m.flip(1).argmax(1)) for m in (across, down)]
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], 1) * mask.flatten(1).any(1)[:, None]


@functools.cache
def _scenes(split: str) -> Dataset:
    k = SPLITS.index(split)
    return render_scenes(load_emoji(split), COUNTS[k], seed=k)


def load_scenes(split: str) -> Dataset:
    """The fixed scenes of a split. They are rendered once in each process. Returns a
    copy, so that changes to it do not change later loads."""
    return copy.deepcopy(_scenes(split))
