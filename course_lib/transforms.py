"""Transforms of image batches whose random numbers are arguments, one row per image;
`augment` draws them.

Names and definitions are torchvision.transforms.v2's, where it has them. Images are
float (N, C, H, W) in [0, 1] and stay there, up to rounding. Inputs are never modified,
and nothing makes the CPU wait for a GPU.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects


def _like(x: Tensor, values: Tensor) -> Tensor:
    # (N,) -> (N, 1, 1, 1), to meet images x
    return values.to(x.dtype).view(-1, 1, 1, 1)


# Geometry. A resize or a blur is linear and separable: x -> rows @ x @ columns^T with a
# pair of small matrices for each image, so that a batch of different crops is two
# batched matrix products.


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x (N, C, H, W), rows (N, h, H), columns (N, w, W) -> (N, C, h, w)."""
    # bfloat16 would cost bits of every pixel
    with torch.autocast(x.device.type, enabled=False):
        # (N, C, H, w)
        x = (x.flatten(1, 2) @ columns.to(x.dtype).mT).unflatten(1, x.shape[1:3])
        return rows.to(x.dtype)[:, None] @ x


def _resize_matrix(
    start: Tensor, length: Tensor, n_in: int, n_out: int, antialias: bool
) -> Tensor:
    """(N, n_out, n_in): row i weighs the pixels of [start, start + length) by a
    triangle about output i's centre."""
    # scale: input pixels per output pixel
    start, scale = start[:, None].float(), length[:, None].float() / n_out
    # (N, n_out)
    centre = start + scale * (torch.arange(n_out, device=start.device) + 0.5)
    pixel = torch.arange(n_in, device=start.device) + 0.5
    inside = (pixel > start) & (pixel < start + length[:, None])
    pixel = torch.where(inside, pixel, math.inf)  # (N, n_in): no weight outside the box
    radius = scale.clamp(min=1) if antialias else 1
    weight = (
        1 - ((pixel / radius)[:, None] - (centre / radius)[:, :, None]).abs_()
    ).relu_()
    return weight.div_(weight.sum(-1, keepdim=True))


@expects(x="float N C H W", boxes="int N 4")
def resized_crop(
    x: Tensor, boxes: Tensor, size: int | tuple[int, int], antialias: bool = True
) -> Tensor:
    """Cuts boxes (N, 4) = (top, left, height, width), in pixels, out of x and resizes
    them bilinearly: (N, C, *size).

    Boxes must lie inside the image. Antialiasing matters only for boxes larger than
    `size`, an int or (height, width).
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left, h, w = boxes.unbind(1)
    rows = _resize_matrix(top, h, x.shape[2], height, antialias)
    return _separable(x, rows, _resize_matrix(left, w, x.shape[3], width, antialias))


@expects(x="float N C H W")
def random_boxes(
    x: Tensor, scale: tuple[float, float], ratio: tuple[float, float], tries: int = 10
) -> Tensor:
    """Boxes (N, 4) = (top, left, height, width) inside x: their area uniform in `scale`
    of the image's, the logarithm of width / height uniform between those of `ratio`,
    the place uniform.

    As in torchvision the first of `tries` draws that fits; if none does, the first
    clamped to the image (torchvision: the centre of the image).
    """
    (height, width), shape = x.shape[-2:], (x.shape[0], tries)
    area = height * width * torch.empty(shape, device=x.device).uniform_(*scale)
    aspect = (
        torch.empty(shape, device=x.device)
        .uniform_(math.log(ratio[0]), math.log(ratio[1]))
        .exp_()
    )
    # (N, tries)
    h, w = (area / aspect).sqrt_().round_(), (area * aspect).sqrt_().round_()
    # 0 if none fits
    first = (
        ((h >= 1) & (h <= height) & (w >= 1) & (w <= width))
        .int()
        .argmax(1, keepdim=True)
    )
    h, w = h.gather(1, first).clamp_(1, height), w.gather(1, first).clamp_(1, width)
    top, left = (
        torch.rand_like(h) * (height - h + 1),
        torch.rand_like(w) * (width - w + 1),
    )
    return torch.cat([top, left, h, w], 1).long()


@expects(x="float N C H W")
def horizontal_flip(x: Tensor) -> Tensor:
    """Mirrors left and right."""
    return x.flip(-1)


@expects(x="float N C S S", turns="int N")
def rot90(x: Tensor, turns: Tensor) -> Tensor:
    """Turns each square image by turns (N,) in {0, 1, 2, 3} quarters, anticlockwise."""
    size = x.shape[-1]
    source = torch.arange(size * size, device=x.device).view(size, size)
    # (4, S S): which pixel comes here
    source = torch.stack([source.rot90(k).flatten() for k in range(4)])
    return (
        x.flatten(2)
        .gather(2, source[turns][:, None].expand(-1, x.shape[1], -1))
        .view_as(x)
    )


# Colour, by torchvision's formulas. A factor of 1 changes nothing, a factor of 0
# removes the quality altogether.


@expects(x="float N 3 H W")
def rgb_to_grayscale(x: Tensor) -> Tensor:
    """Luminance (N, 1, H, W), ITU-R 601."""
    red, green, blue = x.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


@expects(x="float N C H W", factor="float N")
def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blends with black."""
    return x.mul(_like(x, factor)).clamp_(0, 1)


@expects(x="float N C H W", factor="float N")
def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image's mean luminance."""
    mean = x.mean((2, 3), keepdim=True)
    mean = rgb_to_grayscale(mean) if x.shape[1] == 3 else mean
    return mean.lerp(x, _like(x, factor)).clamp_(0, 1)


@expects(x="float N 3 H W", factor="float N")
def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image in grey."""
    return rgb_to_grayscale(x).lerp(x, _like(x, factor)).clamp_(0, 1)


@expects(x="float N 3 H W", shift="float N")
def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue of HSV by `shift`, in whole turns of the colour circle; saturation
    and value stay.

    With every channel scaled to r, g, b in [0, 1] by the pixel's minimum and chroma
    (maximum minus minimum), the hue is sign(g - b) (1 + g + b - r) sixths of a turn,
    and a channel is clamp(2 - its distance from the hue in sixths, 0, 1).
    """
    red, green, blue = x.unbind(1)
    low = torch.minimum(red, torch.minimum(green, blue))  # (N, H, W)
    chroma = torch.maximum(red, torch.maximum(green, blue)).sub_(low)
    slope = (6 * chroma).clamp_(min=1e-6)  # grey pixels: no division by zero
    # in turns
    hue = (
        (green + blue)
        .sub_(red)
        .sub_(low)
        .div_(slope)
        .add_(1 / 6)
        .copysign_(green - blue)
    )
    # the hues of red, green and blue
    primary = torch.arange(3, device=x.device, dtype=x.dtype).view(3, 1, 1) / 3
    distance = (hue[:, None] + _like(x, shift)) - primary  # (N, 3, H, W)
    # around the circle
    distance = distance.sub_(distance.round()).abs_().clamp_(1 / 6, 1 / 3)
    return (
        distance.mul_(-slope[:, None])
        .add_(low.add_(chroma, alpha=2)[:, None])
        .clamp_(0, 1)
    )


@expects(x="float N C H W", factors="float N 4")
def color_jitter(
    x: Tensor, factors: Tensor, order: Sequence[int] = (0, 1, 2, 3)
) -> Tensor:
    """Adjusts brightness, contrast, saturation and hue by the columns of factors (N,
    4): those in `order`, in turn."""
    for k in order:
        x = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)[k](
            x, factors[:, k]
        )
    return x


# Pixels.


@expects(x="float N C H W", sigma="float N")
def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Convolves with a Gaussian of sigma (N,) pixels, cut to kernel_size (odd) pixels;
    borders are reflected."""
    radius = kernel_size // 2
    if kernel_size % 2 == 0 or radius >= min(x.shape[2:]):
        raise ValueError(
            "argument `kernel_size`: expected an odd number below twice the image's "
            "sides "
            f"{tuple(x.shape[2:])}, got {kernel_size}"
        )
    tap = torch.arange(-radius, radius + 1, device=x.device)  # (K,)
    kernel = torch.softmax(-0.5 * (tap / sigma[:, None]) ** 2, 1)[:, None]  # (N, 1, K)

    def matrix(n):  # (N, n, n): row i holds the taps about i
        # (n, K)
        source = (
            n
            - 1
            - (n - 1 - (torch.arange(n, device=x.device)[:, None] + tap).abs()).abs()
        )
        shape = (len(x), n, kernel_size)
        return kernel.new_zeros(len(x), n, n).scatter_add_(
            2, source.expand(shape), kernel.expand(shape)
        )

    return _separable(x, matrix(x.shape[2]), matrix(x.shape[3]))


@expects(x="float N C H W", noise="float N C H W")
def gaussian_noise(x: Tensor, noise: Tensor) -> Tensor:
    """Adds noise of x's shape and clamps to [0, 1]."""
    return (x + noise.to(x.dtype)).clamp_(0, 1)


@expects(x="float N C H W", boxes="int N 4")
def erase(x: Tensor, boxes: Tensor, value: float = 0.0) -> Tensor:
    """Fills boxes (N, 4) = (top, left, height, width) with `value`; they may stick out
    of the image."""
    top, left, h, w = boxes[:, :, None].unbind(1)  # (N, 1) each
    row, column = (
        torch.arange(x.shape[2], device=x.device),
        torch.arange(x.shape[3], device=x.device),
    )
    # (N, H), (N, W)
    rows, columns = (
        (row >= top) & (row < top + h),
        (column >= left) & (column < left + w),
    )
    return x.masked_fill((rows[:, :, None] & columns[:, None])[:, None], value)


@expects(x="float N C H W")
def sobel(x: Tensor) -> Tensor:
    """Length of each channel's Sobel gradient, borders replicated, scaled to 1 at a
    straight edge from 0 to 1."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")  # (N, C, H + 2, W + 2)
    across, down = (
        padded[..., 2:] - padded[..., :-2],
        padded[..., 2:, :] - padded[..., :-2, :],
    )
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return across.square_().add_(down.square_()).div_(16).clamp_(max=1).sqrt_()
