"""Emoji: 1,906 small drawings, each in three styles (Noto, Twemoji, OpenMoji), with
names and categories.

All styles of an emoji are in the same split. Emoji with similar drawings are in the
same split, too: man / woman / person with the same activity, the clock faces, flags
that differ in a detail (see `families` in tools/build_data.py).
"""

import functools
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from course_lib.checks import expects, number
from course_lib.data.dataset import Dataset
from course_lib.data.files import read

SPLITS = ("train", "val", "test")
STYLES = ("noto", "twemoji", "openmoji")


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    return read("emoji.npz")


def emoji_names() -> tuple[str, ...]:
    """The name of each emoji, by emoji id: "grinning face", "egypt flag"."""
    return tuple(_arrays()["names"].tolist())


def emoji_subcategories() -> tuple[str, ...]:
    """The names of the values of `info["subcategory"]`: "face-smiling",
    "country-flag"."""
    return tuple(_arrays()["subcategories"].tolist())


def load_emoji(split: str) -> Dataset:
    """x: uint8 (N, 4, 32, 32), RGBA with straight alpha; y: category; info: emoji,
    style, category, subcategory.

    The rows are ordered by emoji; each emoji has three rows, in the order of STYLES.
    """
    a = _arrays()
    emoji = torch.from_numpy(np.flatnonzero(a["split"] == SPLITS.index(split)))
    x = rearrange(
        torch.from_numpy(a["pictures"][emoji.numpy()]),
        "n style h w c -> (n style) c h w",
    ).contiguous()
    info = {
        "emoji": emoji.repeat_interleave(3),
        "style": torch.arange(3).repeat(len(emoji)),
    }
    for key in ("category", "subcategory"):
        info[key] = torch.from_numpy(a[key]).long()[info["emoji"]]
    return Dataset(x, info["category"].clone(), tuple(a["categories"].tolist()), info)


@expects(rgba="uint8 N 4 H W")
def premultiplied(rgba: Tensor) -> Tensor:
    """uint8 (N, 4, H, W) -> float32 in [0, 1], with each colour multiplied by alpha.
    Averaging, resizing and pasting are correct in this form only."""
    rgba = rgba.float() / 255
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)


@expects(rgba="uint8 N 4 H W")
def on_background(rgba: Tensor, background: float = 1.0) -> Tensor:
    """uint8 (N, 4, H, W) -> uint8 (N, 3, H, W): the drawings on a uniform background,
    from 0 (black) to 1 (white)."""
    drawn, grey = premultiplied(rgba), number("background", background, 0, 1)
    pasted = drawn[:, :3] + grey * (1 - drawn[:, 3:])
    return (pasted * 255).round().byte()


def load_emoji_on_white(split: str) -> Dataset:
    """The emoji on a white background: x uint8 (N, 3, 32, 32), RGB; all else as from
    `load_emoji`."""
    emoji = load_emoji(split)
    return replace(emoji, x=on_background(emoji.x))
