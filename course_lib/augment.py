"""Random augmentations of image batches on any device. Every image gets its own random
numbers.

Here are the augmentations of SimCLR's figure 4 (Chen et al. 2020, arXiv 2002.05709) and
their composition. Each one is a small class. It draws random numbers from torch's
global random number generators, one row per image, and calls a function of `transforms`
with them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.checks import count, expects, number, ordered
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


@dataclass(frozen=True)
class Compose:
    """Applies the transforms one after the other."""

    transforms: Sequence[Callable[[Tensor], Tensor]]

    def __call__(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x


@dataclass(frozen=True)
class RandomApply:
    """Applies the transform to each image with probability p.

    The result of the transform must have the shape of x, or a shape that broadcasts to
    the shape of x. The transform is applied to all images. For each image, either the
    result or the unchanged image is then selected. If the images were selected first,
    the CPU would have to wait for the GPU.
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
        for side in self.size if isinstance(self.size, (tuple, list)) else [self.size]:
            count("size", side)
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

    def __post_init__(self):
        number("p", self.p, 0, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return RandomApply(horizontal_flip, self.p)(x)


@dataclass(frozen=True)
class RandomShift:
    """Shifts each image by a random whole number of pixels, from -pixels to pixels,
    along each axis. The empty pixels at the border get the value of the nearest border
    pixel of the image."""

    pixels: int

    def __post_init__(self):
        count("pixels", self.pixels)

    @expects(x="float N C H W")
    def __call__(self, x: Tensor) -> Tensor:
        for dim in (2, 3):
            n, pixels = x.shape[dim], self.pixels
            shift = torch.randint(-pixels, pixels + 1, (len(x), 1), device=x.device)
            # (N, n): for each row (or column) of the result, the number of the row (or
            # column) of x that is copied there
            source = (torch.arange(n, device=x.device) + shift).clamp(0, n - 1)
            source = source[:, None, :, None] if dim == 2 else source[:, None, None, :]
            x = x.gather(dim, source.expand(x.shape))
        return x


@dataclass(frozen=True)
class RandomGrayscale:
    """Makes each image grey with probability p; the image keeps three channels, which
    are then equal. SimCLR calls this colour drop."""

    p: float = 0.1

    def __post_init__(self):
        number("p", self.p, 0, 1)

    def __call__(self, x: Tensor) -> Tensor:
        # the one channel is broadcast to three
        return RandomApply(rgb_to_grayscale, self.p)(x)


@dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue of each image at random.

    The factors of the first three are uniform in [max(0, 1 - strength), 1 + strength].
    The shift of the hue is uniform in [-hue, hue]; a shift of 1 is a full turn of the
    colour circle. Each image has its own numbers. The order of the four changes is
    drawn once for the whole batch at each call (in torchvision, for each image). A
    change of strength 0 is skipped. Saturation and hue need images with three channels,
    but brightness and contrast do not.
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
        ranges = [(max(0, 1 - s), 1 + s) for s in strengths[:3]]
        ranges.append((-self.hue, self.hue))
        factors = [torch.empty(len(x), device=x.device).uniform_(*r) for r in ranges]
        order = [k for k in torch.randperm(4).tolist() if strengths[k]]
        return color_jitter(x, torch.stack(factors, 1), order)


@dataclass(frozen=True)
class RandomRotate90:
    """Rotates each square image by 90, 180 or 270 degrees, with equal probability."""

    def __call__(self, x: Tensor) -> Tensor:
        return rot90(x, torch.randint(1, 4, (len(x),), device=x.device))


@dataclass(frozen=True)
class Cutout:
    """Fills a square of size x size pixels in each image. Its centre is uniform in the
    image (DeVries & Taylor 2017, arXiv 1708.04552)."""

    size: int
    value: float = 0.5  # the paper uses 0, for images with mean 0

    def __post_init__(self):
        count("size", self.size)
        number("value", self.value, -math.inf)

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
    """Blurs each image by a Gaussian whose standard deviation in pixels is uniform in
    the range `sigma`."""

    kernel_size: int
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self):
        count("kernel_size", self.kernel_size)
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
    """Returns SimCLR's augmentation (appendix A): crop and resize, flip, colour jitter,
    colour drop, and blur with probability `blur`.

    The defaults are those for CIFAR-10 (appendix B.9): strength 0.5, no blur. For
    ImageNet the paper uses strength 1 and blur 0.5. scale: range of the crop's area, as
    a fraction of the image's area.
    """
    number("strength", strength, 0)
    s = 0.8 * strength
    transforms = [
        RandomResizedCrop(size, scale),
        RandomHorizontalFlip(),
        RandomApply(ColorJitter(s, s, s, 0.2 * strength), 0.8),
        RandomGrayscale(0.2),
    ]
    if blur:
        # the kernel is about a tenth of the image's side
        transforms.append(RandomApply(GaussianBlur(2 * (size // 20) + 1), blur))
    return Compose(transforms)


@dataclass(frozen=True)
class MultiCrop:
    """Returns a list of batches of views (N, C, h, w): two batches of global crops,
    then `count` batches of local crops.

    Multi-crop is from Caron et al. 2020 (SwAV, arXiv 2006.09882). Local crops are
    small, so they cost little time. They train the network to give the parts of an
    image a similar representation as the whole.
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
