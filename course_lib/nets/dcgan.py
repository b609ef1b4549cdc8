"""DCGAN's networks (Radford, Metz, Chintala 2015, arXiv 1511.06434), small, with each
of its guidelines an argument.

What the paper recommends is each argument's default: strided convolutions instead of
pooling (`strided`), BatchNorm in both networks (`norm`) but neither at the generator's
output nor at the discriminator's input (`everywhere`), no hidden fully connected layer
(`hidden`), ReLU in the generator, LeakyReLU in the discriminator (`activation`).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.conv import from_vector
from course_lib.nets.resnet import Norm

Activation = Callable[[], nn.Module]


def leaky_relu() -> nn.LeakyReLU:
    """The paper's slope of 0.2 below zero."""
    return nn.LeakyReLU(0.2)


def normal_weights(net: nn.Module, std: float = 0.02) -> nn.Module:
    """The paper's start: weights of convolutions and linear layers from N(0, std^2),
    biases 0. Returns the network."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


class Stage(nn.Module):
    """One change of the grid, a norm, an activation. y, where it is given, is for a
    norm that listens to labels."""

    def __init__(self, resize: nn.Module, norm: nn.Module, activation: nn.Module):
        super().__init__()
        self.resize, self.norm, self.activation = resize, norm, activation

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.resize(x)
        return self.activation(self.norm(x) if y is None else self.norm(x, y))


def up(inputs: int, outputs: int, strided: bool = True) -> nn.Module:
    """Twice as wide and high: a fractionally strided convolution, or repeated pixels
    and a convolution."""
    if strided:
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1)
    )


def down(inputs: int, outputs: int, strided: bool = True) -> nn.Module:
    """Half as wide and high: a strided convolution, or a convolution and
    max-pooling."""
    if strided:
        return nn.Conv2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.MaxPool2d(2))


class Generator(nn.Module):
    """Noise z (N, dim) -> pictures (N, channels, S, S) in [0, 1], S = side
    2^len(widths); y (N,) goes to the norms.

    The noise becomes widths[0] maps of side x side, every stage doubles the grid. The
    last one ends in tanh, which is moved from [-1, 1] to [0, 1]: (tanh(a) + 1) / 2 =
    sigmoid(2 a).
    """

    def __init__(
        self,
        dim: int,
        widths: tuple[int, ...],
        channels: int,
        side: int = 4,
        *,
        strided: bool = True,
        norm: Norm = nn.BatchNorm2d,
        everywhere: bool = False,
        hidden: int | None = None,
        activation: Activation = nn.ReLU,
    ):
        super().__init__()
        self.hidden = (
            nn.Sequential(nn.Linear(dim, hidden), activation())
            if hidden
            else nn.Identity()
        )
        first = Stage(
            from_vector(hidden or dim, side, widths[0]), norm(widths[0]), activation()
        )
        pairs = zip(widths, widths[1:])
        self.stages = nn.ModuleList(
            [
                first,
                *(Stage(up(a, b, strided), norm(b), activation()) for a, b in pairs),
            ]
        )
        last = norm(channels) if everywhere else nn.Identity()
        self.out = nn.Sequential(up(widths[-1], channels, strided), last, nn.Tanh())
        normal_weights(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.hidden(z)
        for stage in self.stages:
            x = stage(x, y)
        return (self.out(x) + 1) / 2


def pooled(maps: list[Tensor]) -> Tensor:
    """Feature maps of all stages, max-pooled to at most 4 x 4, side by side: (N, D)."""
    return torch.cat(
        [
            F.adaptive_max_pool2d(each, min(4, each.shape[-1])).flatten(1)
            for each in maps
        ],
        1,
    )


class Discriminator(nn.Module):
    """Pictures (N, channels, side, side) in [0, 1] -> logits (N,), positive for what
    looks real. Each width halves the grid once."""

    def __init__(
        self,
        widths: tuple[int, ...],
        channels: int,
        side: int,
        *,
        strided: bool = True,
        norm: Norm = nn.BatchNorm2d,
        everywhere: bool = False,
        hidden: int | None = None,
        activation: Activation = leaky_relu,
    ):
        super().__init__()
        self.door = norm(channels) if everywhere else nn.Identity()
        first = Stage(down(channels, widths[0], strided), nn.Identity(), activation())
        pairs = zip(widths, widths[1:])
        self.stages = nn.ModuleList(
            [
                first,
                *(Stage(down(a, b, strided), norm(b), activation()) for a, b in pairs),
            ]
        )
        self.dim = widths[-1] * (side >> len(widths)) ** 2
        layers = [nn.Linear(self.dim, hidden), activation()] if hidden else []
        self.out = nn.Sequential(*layers, nn.Linear(hidden or self.dim, 1))
        normal_weights(self)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature maps of all stages, fine to coarse."""
        x, found = self.door(2 * x - 1), []
        for stage in self.stages:
            found.append(x := stage(x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.maps(x)[-1].flatten(1)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """The paper's representation (section 5.1): see `pooled`."""
        return pooled(self.maps(x))
