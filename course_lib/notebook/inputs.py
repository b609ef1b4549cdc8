"""Checks and conversions of the arguments of plots."""

import numpy as np
from einops import rearrange
from torch import Tensor

from course_lib.notebook.style import PALETTE


def as_array(name: str, value, *shape: str) -> np.ndarray:
    """A tensor, array or list as a NumPy array. Raises ValueError unless it has as many
    dimensions as `shape` has names.

    name: the name of the argument, for the error message.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy has no bfloat16
        value = value.float() if value.is_floating_point() else value
    value = np.asarray(value)
    if value.ndim != len(shape):
        raise ValueError(
            f"argument `{name}`: expected shape ({', '.join(shape)}), got "
            f"{tuple(value.shape)}"
        )
    return value


def as_images(name: str, images, *shape: str) -> np.ndarray:
    """Images (..., C, H, W) as float in [0, 1], channels last: (..., H, W) for grey,
    (..., H, W, 3 or 4) for colour. Raises ValueError for another shape or dtype."""
    images = as_array(name, images, *shape)
    if images.dtype.kind not in "fb" and images.dtype != np.uint8:
        raise ValueError(
            f"argument `{name}`: expected uint8, or float in [0, 1], got {images.dtype}"
        )
    if images.shape[-3] not in (1, 3, 4) or 0 in images.shape:
        raise ValueError(
            f"argument `{name}`: expected at least one image, with 1 (grey), 3 (RGB) "
            f"or 4 (RGBA) channels, got shape {tuple(images.shape)}"
        )
    if images.dtype == np.uint8:
        images = images / 255
    else:
        images = images.astype(float).clip(0, 1)
    images = rearrange(images, "... c h w -> ... h w c")
    return images[..., 0] if images.shape[-1] == 1 else images


def as_series(name: str, values: dict, most: int = len(PALETTE)) -> dict:
    """The dictionary `values` itself. Raises ValueError unless it is a dictionary of 1
    to `most` entries (default: one for each colour of the palette)."""
    if not isinstance(values, dict) or not 1 <= len(values) <= most:
        raise ValueError(
            f"argument `{name}`: expected a dictionary of 1 to {most} entries by name, "
            f"got {len(values) if isinstance(values, dict) else type(values).__name__}"
        )
    return values
