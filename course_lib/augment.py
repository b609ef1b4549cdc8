"""Random augmentation of image batches, on whatever device they live, with different
random numbers for every image.

The nine of SimCLR's figure 4 (Chen et al. 2020, arXiv 2002.05709) and their
composition: small classes that draw random numbers from torch's global generators, one
row per image, and call a function of `transforms` with them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.checks import count, expects, number, ordered, positive
from course_lib.transforms import (
    color_jitter,
    erase,
    gaussian_blur,
    gaussian_noise,
    horizontal_flip,
    random_boxes,
    resized_crop,
    rgb_to_grayscale,
    rot90,
)

# The classes that draw the numbers.


@dataclass(frozen=True)
class Compose:
    """One transform after the other."""

    transforms: Sequence[Callable[[Tensor], Tensor]]

    def __call__(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x


@dataclass(frozen=True)
class RandomApply:
    """Takes transform(x) for each image with probability p, else the image as it is;
    transform keeps the shape.

    All images are transformed and the right ones kept: to pick them first would make
    the CPU wait for the GPU.
    """

    transform: Callable[[Tensor], Tensor]
    p: float = 0.5

    def __post_init__(self):
        number("p", self.p, 0, 1)

    def __call__(self, x: Tensor) -> Tensor:
        changed = self.transform(x)
        return torch.where(
            torch.rand(len(x), 1, 1, 1, device=x.device) < self.p, changed, x
        )


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts out a random box (`random_boxes`) and resizes it to `size`, an int or
    (height, width)."""

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    antialias: bool = True

    def __post_init__(self):
        positive("size", self.size if isinstance(self.size, int) else min(self.size))
        ordered("scale", self.scale, 1)
        ordered("ratio", self.ratio)

    def __call__(self, x: Tensor) -> Tensor:
        return resized_crop(
            x, random_boxes(x, self.scale, self.ratio), self.size, self.antialias
        )


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors each image with probability p."""

    p: float = 0.5

    def __call__(self, x: Tensor) -> Tensor:
        return RandomApply(horizontal_flip, self.p)(x)


@dataclass(frozen=True)
class RandomShift:
    """Moves each image by up to so many whole pixels along each axis, and repeats its
    border."""

    pixels: int

    def __post_init__(self):
        count("pixels", self.pixels)

    @expects(x="float N C H W")
    def __call__(self, x: Tensor) -> Tensor:
        for dim in (2, 3):
            by = torch.randint(
                -self.pixels, self.pixels + 1, (len(x), 1), device=x.device
            )
            # (N, H) or (N, W)
            at = (torch.arange(x.shape[dim], device=x.device) + by).clamp(
                0, x.shape[dim] - 1
            )
            x = x.gather(
                dim,
                (at[:, None, :, None] if dim == 2 else at[:, None, None, :]).expand(
                    x.shape
                ),
            )
        return x


@dataclass(frozen=True)
class RandomGrayscale:
    """Colour drop: greys each image with probability p, in three equal channels."""

    p: float = 0.1

    def __call__(self, x: Tensor) -> Tensor:
        # the one channel is broadcast to three
        return RandomApply(rgb_to_grayscale, self.p)(x)


@dataclass(frozen=True)
class ColorJitter:
    """Factors uniform in [max(0, 1 - strength), 1 + strength], hue shift in [-hue, hue]
    turns, each image its own.

    The order is drawn at each call, for the whole batch (torchvision: for each image).
    Strengths of 0 are skipped, so that brightness and contrast also serve images of one
    channel.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        for name, high in (
            ("brightness", math.inf),
            ("contrast", math.inf),
            ("saturation", math.inf),
            ("hue", 0.5),
        ):
            number(name, getattr(self, name), 0, high)

    def __call__(self, x: Tensor) -> Tensor:
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        ranges = [
            (max(0, 1 - strength), 1 + strength) for strength in strengths[:3]
        ] + [(-self.hue, self.hue)]
        factors = torch.stack(
            [torch.empty(len(x), device=x.device).uniform_(*pair) for pair in ranges], 1
        )
        return color_jitter(
            x, factors, [k for k in torch.randperm(4).tolist() if strengths[k]]
        )


@dataclass(frozen=True)
class RandomRotate90:
    """Turns each square image by 90, 180 or 270 degrees, equally often."""

    def __call__(self, x: Tensor) -> Tensor:
        return rot90(x, torch.randint(1, 4, (len(x),), device=x.device))


@dataclass(frozen=True)
class Cutout:
    """Fills a square of `size` pixels, its centre anywhere in the image (DeVries &
    Taylor 2017, arXiv 1708.04552)."""

    size: int
    value: float = 0.5  # they use 0 on images of mean 0

    def __post_init__(self):
        positive("size", self.size)

    def __call__(self, x: Tensor) -> Tensor:
        corner = [
            torch.randint(side, (len(x),), device=x.device) - self.size // 2
            for side in x.shape[-2:]
        ]
        side = torch.full_like(corner[0], self.size)
        return erase(x, torch.stack([*corner, side, side], 1), self.value)


@dataclass(frozen=True)
class GaussianNoise:
    """Adds normal noise of standard deviation sigma."""

    sigma: float = 0.1

    def __post_init__(self):
        number("sigma", self.sigma, 0)

    def __call__(self, x: Tensor) -> Tensor:
        return gaussian_noise(x, self.sigma * torch.randn(x.shape, device=x.device))


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs each image by a standard deviation uniform in `sigma`, in pixels."""

    kernel_size: int
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self):
        positive("kernel_size", self.kernel_size)
        ordered("sigma", self.sigma)

    def __call__(self, x: Tensor) -> Tensor:
        return gaussian_blur(
            x,
            torch.empty(len(x), device=x.device).uniform_(*self.sigma),
            self.kernel_size,
        )


def simclr_augment(
    size: int,
    strength: float = 0.5,
    blur: float = 0.0,
    scale: tuple[float, float] = (0.08, 1.0),
) -> Compose:
    """SimCLR's composition (appendix A): crop, resize, flip, colour jitter and drop;
    blur with probability `blur`.

    The defaults are those of CIFAR-10 (appendix B.9): strength 0.5, no blur. On
    ImageNet: 1 and 0.5. scale: the crop's share of the picture's area.
    """
    number("strength", strength, 0)
    s = 0.8 * strength
    views = [
        RandomResizedCrop(size, scale),
        RandomHorizontalFlip(),
        RandomApply(ColorJitter(s, s, s, 0.2 * strength), 0.8),
        RandomGrayscale(0.2),
    ]
    if blur:
        # a tenth of the side
        views.append(RandomApply(GaussianBlur(2 * (size // 20) + 1), blur))
    return Compose(views)


@dataclass(frozen=True)
class MultiCrop:
    """Views of several sizes: two global crops, then `count` local ones, each batch of
    views (N, C, h, w) on its own.

    Caron et al. 2020 (SwAV, arXiv 2006.09882): local crops are small, so they cost
    little, and make the global ones answer for their parts.
    """

    global_crop: Callable[[Tensor], Tensor]
    local_crop: Callable[[Tensor], Tensor]
    count: int

    def __post_init__(self):
        count("count", self.count, low=0)

    def __call__(self, x: Tensor) -> list[Tensor]:
        return [
            self.global_crop(x),
            self.global_crop(x),
            *(self.local_crop(x) for _ in range(self.count)),
        ]
