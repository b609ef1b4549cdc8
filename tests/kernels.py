"""Gradients of recipes and of odd networks, as `fit` computes them, with oneDNN's
kernels and without.

A process of its own, for a processor's features are read once: python tests/kernels.py
prints a line for each, [name, largest difference relative to the norm, whether a second
time gave the same bits], as JSON. SiLU stands in for ReLU: where an input of ReLU is
nearly 0, rounding decides its sign, and gradients differ by 1e-3 to 2e-2 of the norm.
For the same reason MoCHi mixes only the hardest key here: among the hardest 512,
rounding decides the order of keys that are nearly equally hard.
"""

import functools
import json

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.contrastive.mochi import MoCHi
from course_lib.data import Dataset, load
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.pretext.autoencoder import Autoencoder
from course_lib.recipe import build, recipes
from course_lib.run import seeded
from course_lib.supervised import Supervised
from course_lib.train import fit

ROWS, BATCH = 64, 16


class Mean(nn.Sequential):
    """Layers, then the mean over all places: images (N, C, H, W) -> (N, D)."""

    def forward(self, x):
        return super().forward(x).mean((2, 3))


class BareWeights(nn.Module):
    """A convolution that is no nn.Conv2d."""

    def __init__(self, inputs, outputs, size, stride):
        super().__init__()
        self.weight, self.stride = (
            nn.Parameter(torch.randn(outputs, inputs, size, size) * 0.3),
            stride,
        )

    def forward(self, x):
        return F.conv2d(x, self.weight, stride=self.stride)


def stage(inputs, outputs, size, stride=1, **more):
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, **more)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


# name -> (encoder, its output's width, channels of the pictures, their side)
ENCODERS = {
    "widths 6, 12, 24": (lambda: ResNet((6, 12, 24)), 24, 3, 32),
    "widths 1, 2, 3": (lambda: ResNet((1, 2, 3)), 3, 3, 32),
    "widths 4, 8, two blocks": (lambda: ResNet((4, 8), blocks=2), 8, 3, 32),
    "widths 7, 7, 7, one channel": (lambda: ResNet((7, 7, 7), channels=1), 7, 1, 32),
    "widths 5, 10, 20, no batch": (lambda: ResNet((5, 10, 20), norm=group_norm), 20, 3, 32),
    "widths 3, 9, 27": (lambda: ResNet((3, 9, 27)), 27, 3, 16),
    "a 1 x 1 stem with stride 2": (lambda: Mean(stage(3, 16, 1, 2), stage(16, 16, 3)), 16, 3, 32),
    "a 1 x 1 stem with stride 3": (lambda: Mean(stage(1, 12, 1, 3), stage(12, 6, 3)), 6, 1, 24),
    "bare weights": (lambda: Mean(stage(3, 6, 3), BareWeights(6, 12, 1, 2), nn.ReLU(), stage(12, 8, 3)), 8, 3, 32),
    "groups": (lambda: Mean(stage(3, 12, 3), stage(12, 12, 3, 2, groups=12), stage(12, 24, 1, 2, groups=4)), 24, 3, 32),
    "dilation": (lambda: Mean(stage(3, 6, 5, 2), stage(6, 10, 3, dilation=2), stage(10, 12, 1)), 12, 3, 32),
    "up and down": (
        lambda: Mean(stage(1, 6, 7, 2), nn.ConvTranspose2d(6, 4, 1, 2), nn.ConvTranspose2d(4, 12, 4, 2, 1)), 12, 1, 28
    ),
}  # fmt: skip


def autoencoder(width, channels):
    """Narrow on both sides; the decoder has 12 outputs, four pixels of three
    channels."""
    encoder = ResNet((width, 2 * width), channels=channels)
    decoder = Decoder((2 * width, width), outputs=4 * channels)
    return Autoencoder(
        encoder,
        nn.Sequential(from_vector(encoder.dim, side=8), decoder, nn.PixelShuffle(2)),
    )


def pictures(channels, side, permuted=False):
    shape = (ROWS, side, side, channels) if permuted else (ROWS, channels, side, side)
    with seeded(1):
        x, y = torch.randint(256, shape, dtype=torch.uint8), torch.arange(ROWS) % 5
    return Dataset(x.permute(0, 3, 1, 2) if permuted else x, y, tuple("abcde"))


def odd_networks():
    """name -> (method, data)"""
    for name, (encoder, width, channels, side) in ENCODERS.items():
        with seeded(0):
            method = Supervised(encoder(), nn.Linear(width, 5), nn.Identity())
        yield name, method, pictures(channels, side)
        yield (
            f"{name}, pictures stored as (N, H, W, C)",
            method,
            pictures(channels, side, permuted=True),
        )
    for width, channels in ((3, 3), (6, 3), (5, 1)):
        with seeded(0):
            yield (
                f"autoencoder {width}, {channels}",
                autoencoder(width, channels),
                pictures(channels, 32),
            )


def all_recipes():
    rows = functools.cache(lambda name: load(name, "train")[:ROWS])
    for name, recipe in recipes().items():
        if recipe.cpu:
            data = rows(recipe.data)
            yield (
                name,
                build(recipe, 0),
                recipe.prepare_data(data) if recipe.prepare_data else data,
            )


def smooth(net):
    if isinstance(net, MoCHi):
        net.hard = 1
    for name, child in net.named_children():
        if isinstance(child, nn.ReLU):
            setattr(net, name, nn.SiLU())
        else:
            smooth(child)


def gradients(method, data) -> list[torch.Tensor]:
    """Of `fit`'s first update, one vector a turn; the weights stay as they are."""
    found = []

    def noted(params):
        optimizer = torch.optim.SGD(params, lr=0.0)

        def note(*_):
            grads = [p.grad.flatten() for p in params if p.grad is not None]
            found.append(torch.cat(grads))

        optimizer.register_step_pre_hook(note)
        return optimizer

    start = {name: value.clone() for name, value in method.state_dict().items()}
    next(fit(method, data, 100, batch_size=BATCH, optimizers=noted, device="cpu"))
    method.load_state_dict(start)
    return found


def main():
    torch.set_num_threads(1)
    for name, method, data in (*odd_networks(), *all_recipes()):
        smooth(method)
        first, again = gradients(method, data), gradients(method, data)
        with torch.backends.mkldnn.flags(enabled=False):
            right = gradients(method, data)
        apart = max(
            ((a - b).norm() / b.norm()).item()
            for a, b in zip(first, right, strict=True)
        )
        print(
            json.dumps([name, apart, all(map(torch.equal, first, again))]), flush=True
        )


if __name__ == "__main__":
    main()
