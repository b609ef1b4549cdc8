"""U-Net with time (Ho, Jain, Abbeel 2020, arXiv 2006.11239, appendix B), small, for pictures of 28 x 28 and 32 x 32.

Ronneberger et al. 2015 (arXiv 1505.04597): down to a coarse grid and up again, with a skip connection on every level.
"""

import torch
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.nets.mlp import time_embedding
from course_lib.nets.resnet import group_norm


class Condition(nn.Module):
    """Step numbers t (N,), and labels y (N,) where there are `classes`, as one vector for every block: (N, dim).

    y None: no label is told, the label's share of the vector is left out.
    """

    def __init__(self, dim: int, classes: int | None = None):
        super().__init__()
        self.dim = dim
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes, dim) if classes else None

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None and self.label is None:
            raise ValueError("argument `y`: expected None, for the network was built without `classes`; got labels")
        found = self.time(time_embedding(t, self.dim))
        return found if y is None else found + self.label(y)


class TimedBlock(nn.Module):
    """Shortcut(x) + two 3 x 3 convolutions of x, each behind norm and SiLU; the condition (N, dim) shifts the channels
    between them."""

    def __init__(self, inputs: int, outputs: int, dim: int):
        super().__init__()
        self.first = nn.Sequential(group_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shift = nn.Sequential(nn.SiLU(), nn.Linear(dim, outputs))
        self.second = nn.Sequential(group_norm(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.second[-1].weight)  # every block begins as its shortcut
        nn.init.zeros_(self.second[-1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        residual = self.first(x) + self.shift(condition)[:, :, None, None]
        return self.shortcut(x) + self.second(residual)


class SelfAttention(nn.Module):
    """x + attention among the h w places of a feature map (N, C, h, w), C a multiple of `heads`."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(3, 4)
        mixed = nn.functional.scaled_dot_product_attention(*qkv.unbind(1))  # (N, heads, h w, C / heads)
        return x + self.out(mixed.transpose(2, 3).reshape(n, c, h, w))


class UNet(nn.Module):
    """x_t (N, channels, H, W), steps t (N,), labels y (N,) or None -> a prediction like x_t.

    Squares of patch x patch pixels come in as channels, which spares the finest and dearest level. One width a level,
    each half as fine as the one before; `blocks` a level on the way down and one more on the way up; attention on the
    coarsest. H and W are multiples of patch 2^(len(widths) - 1).
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        *,
        patch: int = 2,
        blocks: int = 1,
        classes: int | None = None,
    ):
        super().__init__()
        dim, self.multiple = 2 * widths[0], patch * 2 ** (len(widths) - 1)
        self.condition = Condition(dim, classes)
        self.door = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, widths[0], 3, padding=1))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, c = [widths[0]], widths[0]  # channels of what is kept for the way up
        for level, width in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(c, c, 3, 2, 1))
                skips.append(c)
            for _ in range(blocks):
                self.down.append(TimedBlock(c, width, dim))
                skips.append(c := width)
        self.middle = nn.ModuleList([TimedBlock(c, c, dim), SelfAttention(c), TimedBlock(c, c, dim)])
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(TimedBlock(c + skips.pop(), width, dim))
                c = width
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1)))
        last = nn.Conv2d(c, channels * patch**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(group_norm(c), nn.SiLU(), last, nn.PixelShuffle(patch))

    def coarse(self, x: Tensor, condition: Tensor) -> list[Tensor]:
        """The way down: all that the way up reads, fine to coarse, and the coarsest map of all last."""
        kept = [h := self.door(x)]
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, TimedBlock) else layer(h)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, condition) if isinstance(layer, TimedBlock) else layer(h)
        return [*kept, h]

    @expects(x="float N C H W", t="int N", y="int N")
    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if any(side % self.multiple for side in x.shape[2:]):
            raise ValueError(
                f"argument `x`: expected a height and width that {self.multiple} divides, got {tuple(x.shape[2:])}"
            )
        condition = self.condition(t, y)
        *kept, h = self.coarse(x, condition)
        for layer in self.up:
            h = layer(torch.cat([h, kept.pop()], 1), condition) if isinstance(layer, TimedBlock) else layer(h)
        return self.out(h)

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """The mean over the coarsest map: (N, widths[-1])."""
        return self.coarse(x, self.condition(t))[-1].mean((2, 3))
