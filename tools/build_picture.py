"""Draws docs/course.png, the picture in README: six figures made with the shipped
weights.

    python tools/build_picture.py [FILE]

This takes about a minute.
"""

import io
import sys
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from build_notebooks import ROOT
from PIL import Image
from torch import Tensor

from course_lib import zoo
from course_lib.augment import simclr_augment
from course_lib.data import as_float, load
from course_lib.data.captions import tokens
from course_lib.diffusion.guidance import guided
from course_lib.diffusion.samplers import ddim, last

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

PICTURE = ROOT / "docs" / "course.png"
# rows of the test scenes; their emoji are in no training set
SCENES = [3, 8, 20, 41, 60, 77]
CAPTIONS = ["red apple", "blue book", "grinning face", "man walking"]


def tiled(pictures: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Returns pictures (N, 3, H, W) in [0, 1] as one picture (H', W', 3).

    They are placed row by row, with `gap` white pixels around each.
    """
    rows = [
        torch.cat(list(F.pad(row, (gap,) * 4, value=1.0)), 2)
        for row in pictures.split(columns)
    ]
    return torch.cat(rows, 1).permute(1, 2, 0).clamp(0, 1)


def heat_map(values: Tensor) -> Tensor:
    """Returns values in [0, 1], (..., H, W), as colours (..., 3, H, W)."""
    rgba = torch.from_numpy(matplotlib.colormaps["cividis"](values.numpy()))
    return rgba[..., :3].float().movedim(-1, -3)


def colours() -> Tensor:
    """Grey scenes, the colours that a network predicts for them, and the true ones."""
    scenes = as_float(load("scenes", "test").x[[60, 77, 120]])
    grey = scenes.mean(1, keepdim=True).expand_as(scenes)
    predicted = zoo.load("colourisation").colourise(scenes, 0.38)
    return tiled(torch.cat([grey, predicted, scenes]), 3)


def similarities() -> Tensor:
    """A table of the cosine similarities between views of six scenes.

    Above each column is a view of a scene. On the left of each row is another view.
    """
    method, scenes = zoo.load("simclr"), as_float(load("scenes", "test").x[SCENES])
    augment = simclr_augment(32, strength=0.2, scale=(0.2, 1.0))
    above, left = augment(scenes), augment(scenes)
    z_above, z_left = (
        F.normalize(method.projector(method.encode(view)), dim=1)
        for view in (above, left)
    )
    similarity = (z_left @ z_above.T).clamp(0, 1)
    squares = heat_map(similarity[..., None, None].expand(-1, -1, 32, 32))
    rows = [torch.cat([left[k : k + 1], squares[k]]) for k in range(len(scenes))]
    return tiled(torch.cat([torch.ones(1, 3, 32, 32), above, *rows]), 1 + len(scenes))


def attention() -> Tensor:
    """Scenes, and under each the attention of DINO's class token, the mean of all
    heads."""
    scenes = as_float(load("scenes", "test").x[[3, 8, 20, 41, 60, 77, 120, 203]])
    vit = zoo.load("dino-vit").teacher.net[0]
    maps = vit.attention_maps(scenes)[:, :, 0, 1:].mean(1).unflatten(1, (8, 8))
    maps = maps / maps.amax((1, 2), keepdim=True)
    heat = heat_map(F.interpolate(maps[:, None], 32)[:, 0])
    return tiled(torch.cat([scenes[:4], heat[:4], scenes[4:], heat[4:]]), 4)


def latent_grid() -> Tensor:
    """Digits that a VAE decodes from a grid of quantiles in its two-dimensional latent
    space."""
    side = 13
    at = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(side) + 0.5) / side)
    z = torch.stack([at.repeat(side), at.flip(0).repeat_interleave(side)], 1)
    method = zoo.load("vae-plane")
    digits = method.likelihood.mean(method.decode(z)).view(-1, 1, 28, 28)
    return tiled(1 - digits.expand(-1, 3, -1, -1), side, gap=0)


def from_noise() -> Tensor:
    """Four samples of DDIM, a row each: x_t after 0, 25, 38 and 50 of 50 steps."""
    model, x = zoo.load("ddpm-emoji"), torch.randn(4, 3, 32, 32)
    clip = model.clip_denoised
    steps = ddim(model.eps, x, model.schedule, 50, clip_denoised=clip)
    path = [x, *(x_t for x_t, _ in steps)]
    rows = torch.stack([model.denormalise(path[k]) for k in (0, 25, 38, 50)], 1)
    return tiled(rows.flatten(0, 1), 4)


def from_words() -> Tensor:
    """Four guided samples for each caption, a row each, from the same four noises."""
    model = zoo.load("text-ddpm")
    captions = torch.stack([tokens(words) for words in CAPTIONS])
    eps = guided(model.eps, captions.repeat_interleave(4, 0), 3.0)
    x = torch.randn(4, 3, 32, 32).repeat(len(CAPTIONS), 1, 1, 1)
    clip = model.clip_denoised
    steps = ddim(eps, x, model.schedule, 50, clip_denoised=clip)
    return tiled(model.denormalise(last(steps)), 4)


@torch.no_grad()
def figure() -> plt.Figure:
    """Returns the picture: six panels with titles."""
    torch.manual_seed(0)
    page, axes = plt.subplots(2, 3, figsize=(12, 8), dpi=80, layout="constrained")
    captions = [words.replace(" ", "\n") for words in CAPTIONS]
    panels = {
        "01  Which colour was it?": (colours, ["given", "painted", "truth"]),
        "03  Which two views are one scene?": (similarities, []),
        "08  Where does a network look?": (attention, []),
        "11  A plane of digits": (latent_grid, []),
        "14  From noise to emoji": (from_noise, []),
        "15  From words to emoji": (from_words, captions),
    }
    for ax, (title, (panel, rows)) in zip(axes.flat, panels.items()):
        # Enlarged first, so that interpolation keeps the pixels square.
        large = panel().repeat_interleave(6, 0).repeat_interleave(6, 1)
        ax.imshow(large, interpolation="hanning")
        ax.set_title(title, fontsize=15)
        at = [(k + 0.5) * len(large) / len(rows) for k in range(len(rows))]
        ax.set(xticks=[], yticks=at)
        ax.set_yticklabels(rows, fontsize=12)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return page


def save(path: Path) -> None:
    """Writes the figure with a palette of 128 colours: a third of the file size."""
    buffer = io.BytesIO()
    figure().savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    save(Path(sys.argv[1]) if sys.argv[1:] else PICTURE)
