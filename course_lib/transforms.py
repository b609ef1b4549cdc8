"""Transforms of image batches. Their random numbers are arguments, one row per image;
the classes in `augment` draw them.

Names and definitions are those of torchvision.transforms.v2, if it has the transform.
Images are float (N, C, H, W) in [0, 1], and so are the results, up to rounding errors.
No function changes its inputs or makes the CPU wait for a GPU. So numbers such as boxes
are checked only if they are on the CPU. `fit` checks the range of the images.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import (
    above_zero,
    below,
    boxes_in,
    count,
    expects,
    expects_values,
    ordered,
)


def _like(x: Tensor, values: Tensor) -> Tensor:
    """Returns values (N,) as (N, 1, 1, 1), so that they broadcast to images x."""
    return values.to(x.dtype).view(-1, 1, 1, 1)


# Geometry. A resize or a blur is linear and separable: x -> rows @ x @ columns^T, with
# two small matrices for each image. So two batched matrix products compute a whole
# batch of different crops.


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns rows @ x @ columns^T for each image, (N, C, h, w), of x (N, C, H, W),
    rows (N, h, H) and columns (N, w, W)."""
    # without autocast, because bfloat16 would round every pixel
    with torch.autocast(x.device.type, enabled=False):
        # (N, C, H, w)
        x = (x.flatten(1, 2) @ columns.to(x.dtype).mT).unflatten(1, x.shape[1:3])
        return rows.to(x.dtype)[:, None] @ x


def _resize_matrix(
    start: Tensor, length: Tensor, n_in: int, n_out: int, antialias: bool
) -> Tensor:
    """Returns matrices (N, n_out, n_in) that resize the pixels [start, start + length)
    to n_out pixels.

    The weights in row i are a triangle around the centre of output pixel i.
    """
    start = start[:, None].float()
    scale = length[:, None].float() / n_out  # input pixels per output pixel
    # (N, n_out)
    centre = start + scale * (torch.arange(n_out, device=start.device) + 0.5)
    pixel = torch.arange(n_in, device=start.device) + 0.5
    inside = (pixel > start) & (pixel < start + length[:, None])
    # (N, n_in): pixels outside the box get weight 0
    pixel = torch.where(inside, pixel, math.inf)
    radius = scale.clamp(min=1) if antialias else 1
    distance = ((pixel / radius)[:, None] - (centre / radius)[:, :, None]).abs_()
    weight = (1 - distance).relu_()
    return weight.div_(weight.sum(-1, keepdim=True))


@expects(x="float N C H W", boxes="int N 4")
@expects_values(boxes=(boxes_in, "x"))
def resized_crop(
    x: Tensor, boxes: Tensor, size: int | tuple[int, int], antialias: bool = True
) -> Tensor:
    """Cuts a box out of each image and resizes it bilinearly: (N, C, *size).

    boxes (N, 4) = (top, left, height, width) in pixels; they must be inside the image.
    size: an int or (height, width). Antialiasing has an effect only for boxes that are
    larger than `size`.
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left, h, w = boxes.unbind(1)
    rows = _resize_matrix(top, h, x.shape[2], height, antialias)
    return _separable(x, rows, _resize_matrix(left, w, x.shape[3], width, antialias))


@expects(x="float N C H W")
@expects_values(scale=ordered, ratio=ordered, tries=count)
def random_boxes(
    x: Tensor, scale: tuple[float, float], ratio: tuple[float, float], tries: int = 10
) -> Tensor:
    """Returns random boxes (N, 4) = (top, left, height, width) inside the images x.

    The area of a box, as a fraction of the image's, is uniform in `scale`. The
    logarithm of width / height is uniform between the logarithms of `ratio`. The
    position is uniform. As in torchvision, the box is the first of `tries` draws that
    fits into the image. If none fits, the first draw is clamped to the image
    (torchvision takes the centre of the image).
    """
    (height, width), shape = x.shape[-2:], (x.shape[0], tries)
    area = height * width * torch.empty(shape, device=x.device).uniform_(*scale)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.empty(shape, device=x.device).uniform_(low, high).exp_()
    h = (area / aspect).sqrt_().round_()  # (N, tries)
    w = (area * aspect).sqrt_().round_()
    fits = (h >= 1) & (h <= height) & (w >= 1) & (w <= width)
    first = fits.int().argmax(1, keepdim=True)  # 0 if none fits
    h, w = h.gather(1, first).clamp_(1, height), w.gather(1, first).clamp_(1, width)
    top = torch.rand_like(h) * (height - h + 1)
    left = torch.rand_like(w) * (width - w + 1)
    return torch.cat([top, left, h, w], 1).long()


@expects(x="float N C H W")
def horizontal_flip(x: Tensor) -> Tensor:
    """Mirrors each image horizontally."""
    return x.flip(-1)


@expects(x="float N C S S", turns="int N")
@expects_values(turns=lambda name, turns: below(name, turns, 4))
def rot90(x: Tensor, turns: Tensor) -> Tensor:
    """Rotates each square image anticlockwise by turns (N,) in {0, 1, 2, 3} times 90
    degrees."""
    size = x.shape[-1]
    index = torch.arange(size * size, device=x.device).view(size, size)
    # (4, S S): for each rotation and each pixel of the result, its pixel in x
    sources = torch.stack([index.rot90(k).flatten() for k in range(4)])
    source = sources[turns][:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, source).view_as(x)


# Colour, with torchvision's formulas. A factor of 1 changes nothing. A factor of 0
# removes brightness, contrast or saturation completely.


@expects(x="float N 3 H W")
def rgb_to_grayscale(x: Tensor) -> Tensor:
    """Returns the luminance (N, 1, H, W), by ITU-R 601."""
    red, green, blue = x.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


@expects(x="float N C H W", factor="float N")
def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Returns factor x + (1 - factor) black, clamped to [0, 1]."""
    return x.mul(_like(x, factor)).clamp_(0, 1)


@expects(x="float N C H W", factor="float N")
def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Returns factor x + (1 - factor) m, clamped to [0, 1]; m is the image's mean
    luminance."""
    mean = x.mean((2, 3), keepdim=True)
    mean = rgb_to_grayscale(mean) if x.shape[1] == 3 else mean
    return mean.lerp(x, _like(x, factor)).clamp_(0, 1)


@expects(x="float N 3 H W", factor="float N")
def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Returns factor x + (1 - factor) luminance, clamped to [0, 1]."""
    return rgb_to_grayscale(x).lerp(x, _like(x, factor)).clamp_(0, 1)


@expects(x="float N 3 H W", shift="float N")
def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Adds `shift` to the hue of HSV; saturation and value do not change.

    The unit of the shift is a whole turn of the colour circle. The formulas: subtract
    the pixel's minimum from its channels and divide by its chroma (maximum minus
    minimum). This gives r, g, b in [0, 1]. The hue in sixths of a turn is
    sign(g - b) (1 + g + b - r). A channel is clamp(2 - d, 0, 1), with its distance d
    from the hue in sixths of a turn.
    """
    red, green, blue = x.unbind(1)
    low = torch.minimum(red, torch.minimum(green, blue))  # (N, H, W)
    chroma = torch.maximum(red, torch.maximum(green, blue)).sub_(low)
    slope = (6 * chroma).clamp_(min=1e-6)  # grey pixels: no division by zero
    hue = (green + blue).sub_(red).sub_(low).div_(slope)
    hue = hue.add_(1 / 6).copysign_(green - blue)  # in turns
    # the hues of red, green and blue
    primary = torch.arange(3, device=x.device, dtype=x.dtype).view(3, 1, 1) / 3
    distance = (hue[:, None] + _like(x, shift)) - primary  # (N, 3, H, W)
    # the shorter way around the circle
    distance = distance.sub_(distance.round()).abs_().clamp_(1 / 6, 1 / 3)
    top = low.add_(chroma, alpha=2)[:, None]
    return distance.mul_(-slope[:, None]).add_(top).clamp_(0, 1)


@expects(x="float N C H W", factors="float N 4")
@expects_values(order=lambda name, order: [count(name, k, 3, 0) for k in order])
def color_jitter(
    x: Tensor, factors: Tensor, order: Sequence[int] = (0, 1, 2, 3)
) -> Tensor:
    """Adjusts brightness (0), contrast (1), saturation (2) and hue (3) in this `order`.

    The columns of factors (N, 4) are the three factors and the shift of the hue. An
    adjustment that is not in `order` is left out.
    """
    adjust = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for k in order:
        x = adjust[k](x, factors[:, k])
    return x


# Pixels


@expects(x="float N C H W", sigma="float N")
@expects_values(sigma=above_zero, kernel_size=count)
def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Convolves each image with a Gaussian of standard deviation sigma (N,), in pixels.

    The kernel has kernel_size (odd) pixels on each side. The image is reflected at its
    borders. Raises ValueError if kernel_size is even or too large for the image.
    """
    radius = kernel_size // 2
    if kernel_size % 2 == 0 or radius >= min(x.shape[2:]):
        raise ValueError(
            "argument `kernel_size`: expected an odd number below twice the image's "
            f"sides {tuple(x.shape[2:])}, got {kernel_size}"
        )
    tap = torch.arange(-radius, radius + 1, device=x.device)  # (K,)
    kernel = torch.softmax(-0.5 * (tap / sigma[:, None]) ** 2, 1)[:, None]  # (N, 1, K)

    def matrix(n):  # (N, n, n): row i has the kernel around pixel i
        source = (torch.arange(n, device=x.device)[:, None] + tap).abs()
        source = n - 1 - (n - 1 - source).abs()  # (n, K), reflected at both borders
        shape = (len(x), n, kernel_size)
        return kernel.new_zeros(len(x), n, n).scatter_add_(
            2, source.expand(shape), kernel.expand(shape)
        )

    return _separable(x, matrix(x.shape[2]), matrix(x.shape[3]))


@expects(x="float N C H W", noise="float N C H W")
def gaussian_noise(x: Tensor, noise: Tensor) -> Tensor:
    """Returns x + noise, clamped to [0, 1]; the noise has the shape of x."""
    return (x + noise.to(x.dtype)).clamp_(0, 1)


@expects(x="float N C H W", boxes="int N 4")
def erase(x: Tensor, boxes: Tensor, value: float = 0.0) -> Tensor:
    """Fills a box in each image with `value`.

    boxes (N, 4) = (top, left, height, width) in pixels. A part of a box may be outside
    the image.
    """
    top, left, h, w = boxes[:, :, None].unbind(1)  # (N, 1) each
    row = torch.arange(x.shape[2], device=x.device)
    column = torch.arange(x.shape[3], device=x.device)
    rows = (row >= top) & (row < top + h)  # (N, H)
    columns = (column >= left) & (column < left + w)  # (N, W)
    return x.masked_fill((rows[:, :, None] & columns[:, None])[:, None], value)


@expects(x="float N C H W")
def sobel(x: Tensor) -> Tensor:
    """Returns the length of each channel's Sobel gradient, (N, C, H, W).

    It is scaled so that a straight edge from 0 to 1 gives 1. The borders of the image
    are replicated.
    """
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")  # (N, C, H + 2, W + 2)
    across = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return across.square_().add_(down.square_()).div_(16).clamp_(max=1).sqrt_()
