"""Emoji: 1,906 small drawings, each by three hands (Noto, Twemoji, OpenMoji), with
names and categories.

All styles of an emoji are in the same split, and so are emoji drawn alike: man / woman
/ person doing the same thing, the clock faces, flags that differ in a detail (see
`families` in tools/build_data.py).
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
    """The caption of each emoji, by emoji id: "grinning face", "egypt flag"."""
    return tuple(_arrays()["names"].tolist())


def emoji_subcategories() -> tuple[str, ...]:
    """The names of `info["subcategory"]`: "face-smiling", "country-flag"."""
    return tuple(_arrays()["subcategories"].tolist())


def load_emoji(split: str) -> Dataset:
    """x: uint8 (N, 4, 32, 32), RGBA with straight alpha; y: category; info: emoji,
    style, category, subcategory.

    Rows come emoji by emoji, in the three styles of STYLES.
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
    """uint8 (N, 4, H, W) -> float32 in [0, 1] with colour times alpha: what may be
    averaged, resized and pasted."""
    rgba = rgba.float() / 255
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)


@expects(rgba="uint8 N 4 H W")
def on_background(rgba: Tensor, background: float = 1.0) -> Tensor:
    """uint8 (N, 4, H, W) -> uint8 (N, 3, H, W): the drawings over a grey, 0 black to 1
    white."""
    drawn = premultiplied(rgba)
    return (
        (
            (drawn[:, :3] + number("background", background, 0, 1) * (1 - drawn[:, 3:]))
            * 255
        )
        .round()
        .byte()
    )


def load_emoji_on_white(split: str) -> Dataset:
    """The emoji as a printed page shows them: x uint8 (N, 3, 32, 32), RGB; the rest as
    load_emoji's."""
    emoji = load_emoji(split)
    return replace(emoji, x=on_background(emoji.x))
