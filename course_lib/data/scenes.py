"""Scenes: an emoji of random size, place and turn on a smooth random texture.

On plain white a category can be told from raw pixels; here neither background nor
position says anything about it, so a representation has to find the object. Mask and
box come with each picture.
"""

import copy
import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects, positive
from course_lib.data.dataset import Dataset
from course_lib.data.emoji import SPLITS, STYLES, load_emoji, premultiplied

SIDE = 32
# of the picture's side: below a half, drawings of 32 pixels lose what tells them apart
SIZES = (0.55, 1.0)
# degrees to either side: upright enough for a turn by quarters (RotNet) to have a right
# answer
TURN = 20.0
# control points of the texture a side: blobs of eight pixels, as large as parts of the
# drawings
GRID = 4
COUNTS = (20_000, 2_000, 4_000)  # scenes in SPLITS
# scenes drawn at once: enough work between the meetings of threads, 8 MB a tensor
CHUNK = 512
# a pixel belongs to the mask where the drawing covers at least this much of it
MASKED = 0.5


def render_scenes(
    drawings: Dataset, n: int, seed: int, *, chunk: int = CHUNK
) -> Dataset:
    """n scenes of `drawings` (as from load("emoji")), on its device.

    Scene k depends on the seed and on k only: not on n, and on the CPU not on `chunk`,
    bit for bit. x: uint8 (n, 3, 32, 32); y, classes and info (emoji, style, category,
    subcategory) as in `drawings`; info also has `mask` bool (n, 1, 32, 32) and `box`
    int64 (n, 4): left, top, right, bottom of the mask in pixels, the last two excluded.
    Raises ValueError unless the drawings are uint8 RGBA and n is positive.
    """
    positive("n", n)
    # the random numbers are rows of one uniform draw on the CPU: the same on every
    # device, a longer draw only adds rows
    u = torch.rand(n, 5 + 3 * GRID**2, generator=torch.Generator().manual_seed(seed))
    row = (u[:, 0].double() * len(drawings)).long()
    source = premultiplied(drawings.x)  # resampled so, edges stay clean
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
    """Premultiplied (n, 4, H, W), uniform (n, 4 + 3 GRID^2) -> scenes (n, 3, 32, 32)
    uint8, masks (n, 1, 32, 32)."""
    n = len(u)
    texture = F.interpolate(
        u[:, 4:].reshape(n, 3, GRID, GRID),
        (SIDE, SIDE),
        mode="bicubic",
        align_corners=True,
    )
    size = SIZES[0] + (SIZES[1] - SIZES[0]) * u[:, 0]
    turn = math.radians(TURN) * (2 * u[:, 1] - 1)
    # of the centre, in [-1, 1]: the drawing stays inside
    place = (2 * u[:, 2:4] - 1) * (1 - size[:, None])
    # grid_sample asks for each picture pixel p where in the drawing it lies: R(turn) (p
    # - place) / size
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


def shortcut_triplets(
    drawings: Dataset, n: int, seed: int
) -> tuple[Dataset, Dataset, Dataset]:
    """Scenes that ask what a representation looks at: anchors, and two rivals for each,
    row by row.

    The first rival has the anchor's drawing, on another texture, at another size, place
    and turn; the second one has all of these from the anchor, and another drawing. A
    few of n are left out, where no first rival came up.
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
    """bool (N, 1, H, W) -> int64 (N, 4): left, top, right, bottom of what is set, the
    last two excluded; 0 if none."""
    # (N, W), (N, H)
    across, down = mask.any(2).flatten(1).int(), mask.any(3).flatten(1).int()
    ends = [(m.argmax(1), m.shape[1] - m.flip(1).argmax(1)) for m in (across, down)]
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], 1) * mask.flatten(1).any(1)[:, None]


@functools.cache
def _scenes(split: str) -> Dataset:
    k = SPLITS.index(split)
    return render_scenes(load_emoji(split), COUNTS[k], seed=k)


def load_scenes(split: str) -> Dataset:
    """The fixed scenes of a split, rendered once in a process; a copy, so that writing
    into it spoils nothing."""
    return copy.deepcopy(_scenes(split))
