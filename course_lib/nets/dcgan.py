"""Small networks of DCGAN (Radford, Metz, Chintala 2015, arXiv 1511.06434), with an
argument for each guideline of the paper.

The defaults are what the paper recommends: strided convolutions instead of pooling
(`strided`); BatchNorm in both networks (`norm`), but neither at the generator's output
nor at the discriminator's input (`everywhere`); no hidden fully connected layer
(`hidden`); ReLU in the generator and LeakyReLU in the discriminator (`activation`).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.conv import from_vector
from course_lib.nets.resnet import Norm

Activation = Callable[[], nn.Module]


def leaky_relu() -> nn.LeakyReLU:
    """Returns LeakyReLU with the paper's slope of 0.2 below zero."""
    return nn.LeakyReLU(0.2)


def normal_weights(net: nn.Module, std: float = 0.02) -> nn.Module:
    """Initialises a network as in the paper and returns it: weights of convolutions and
    linear layers from N(0, std^2), biases 0."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


class Stage(nn.Module):
    """A change of height and width, a norm, and an activation. Labels y, if given, go
    to the norm, which is then conditional."""

    def __init__(self, resize: nn.Module, norm: nn.Module, activation: nn.Module):
        super().__init__()
        self.resize, self.norm, self.activation = resize, norm, activation

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.resize(x)
        return self.activation(self.norm(x) if y is None else self.norm(x, y))


def up(inputs: int, outputs: int, strided: bool = True) -> nn.Module:
    """Returns a layer that doubles height and width: a transposed convolution of stride
    2 (strided), or repeated pixels and then a convolution."""
    if strided:
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1)
    )


def down(inputs: int, outputs: int, strided: bool = True) -> nn.Module:
    """Returns a layer that halves height and width: a convolution of stride 2
    (strided), or a convolution and then max-pooling."""
    if strided:
        return nn.Conv2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.MaxPool2d(2))


class Generator(nn.Module):
    """Maps noise z (N, dim) to pictures (N, channels, S, S) in [0, 1], where S = side
    2^len(widths). Labels y (N,), if given, go to the norms.

    The noise becomes widths[0] maps of side x side. Each later stage and the output
    layer double height and width. The output of tanh is scaled from [-1, 1] to [0, 1]:
    (tanh(a) + 1) / 2 = sigmoid(2 a).
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
    """Max-pools the feature maps of all stages to at most 4 x 4 and concatenates them:
    (N, D)."""
    return torch.cat(
        [
            F.adaptive_max_pool2d(each, min(4, each.shape[-1])).flatten(1)
            for each in maps
        ],
        1,
    )


class Discriminator(nn.Module):
    """Maps pictures (N, channels, side, side) in [0, 1] to logits (N,), which are
    positive for pictures classified as real. There is one stage for each of `widths`,
    and each halves height and width."""

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
        """Returns the feature maps of all stages, from fine to coarse."""
        x, found = self.door(2 * x - 1), []
        for stage in self.stages:
            found.append(x := stage(x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.maps(x)[-1].flatten(1)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Returns the paper's representation (section 5.1): see `pooled`."""
        return pooled(self.maps(x))
