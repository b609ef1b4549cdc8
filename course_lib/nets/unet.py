"""U-Net with time (Ho, Jain, Abbeel 2020, arXiv 2006.11239, appendix B), small, for
pictures of 28 x 28 and 32 x 32.

Ronneberger et al. 2015 (arXiv 1505.04597): down to a coarse grid and up again, with a
skip connection on every level.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.nets.mlp import label_vector, time_embedding
from course_lib.nets.resnet import group_norm


class LabelEmbedding(nn.Embedding):
    """Labels y (N,) in 0..classes-1 -> (N, dim). One more, `classes`, is the null
    label: it says nothing, always 0."""

    def __init__(self, classes: int, dim: int):
        super().__init__(classes + 1, dim, padding_idx=classes)

    @expects(y="int N")
    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y)


class Condition(nn.Module):
    """Step numbers t (N,), and labels y where there is a module `label`, y -> (N, dim),
    as one vector for every block: (N, dim).

    y None: no label is told, the label's share of the vector is left out.
    """

    def __init__(self, dim: int, label: nn.Module | None = None):
        super().__init__()
        self.dim = dim
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = label

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None and self.label is None:
            raise ValueError(
                "argument `y`: expected None, for the network was built without "
                "`label`; got labels"
            )
        found = self.time(time_embedding(t, self.dim))
        return found if y is None else found + label_vector(self.label, y, t)


class TimedBlock(nn.Module):
    """Shortcut(x) + two 3 x 3 convolutions of x, each behind norm and SiLU; the
    condition (N, dim) shifts the channels between them."""

    def __init__(self, inputs: int, outputs: int, dim: int):
        super().__init__()
        self.first = nn.Sequential(
            group_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.shift = nn.Sequential(nn.SiLU(), nn.Linear(dim, outputs))
        self.second = nn.Sequential(
            group_norm(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.shortcut = (
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        )
        nn.init.zeros_(self.second[-1].weight)  # every block begins as its shortcut
        nn.init.zeros_(self.second[-1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        residual = self.first(x) + self.shift(condition)[:, :, None, None]
        return self.shortcut(x) + self.second(residual)


class SelfAttention(nn.Module):
    """x + attention among the h w places of a feature map (N, C, h, w), C a multiple of
    `heads`."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(
            self.qkv(self.norm(x)),
            "n (qkv heads c) h w -> qkv n heads (h w) c",
            qkv=3,
            heads=self.heads,
        )
        # (N, heads, h w, C / heads)
        mixed = nn.functional.scaled_dot_product_attention(*qkv)
        return x + self.out(
            rearrange(mixed, "n heads (h w) c -> n (heads c) h w", h=x.shape[2])
        )


class UNetEncoder(nn.Module):
    """The way down of a U-Net, and its middle: what a classifier of noisy pictures
    needs of it.

    Squares of patch x patch pixels come in as channels, which spares the finest and
    dearest level. One width a level, each half as fine as the one before, with `blocks`
    of that width; attention on the coarsest. Height and width are multiples of patch
    2^(len(widths) - 1). label: y -> (N, 2 widths[0]), where labels are told.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        *,
        patch: int = 2,
        blocks: int = 1,
        label: nn.Module | None = None,
    ):
        super().__init__()
        dim, self.multiple = 2 * widths[0], patch * 2 ** (len(widths) - 1)
        self.condition = Condition(dim, label)
        self.door = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(channels * patch**2, widths[0], 3, padding=1),
        )
        self.down = nn.ModuleList()
        self.kept = [widths[0]]  # channels of what is kept for the way up
        for level, width in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(self.kept[-1], self.kept[-1], 3, 2, 1))
                self.kept.append(self.kept[-1])
            for _ in range(blocks):
                self.down.append(TimedBlock(self.kept[-1], width, dim))
                self.kept.append(width)
        c = widths[-1]
        self.middle = nn.ModuleList(
            [TimedBlock(c, c, dim), SelfAttention(c), TimedBlock(c, c, dim)]
        )

    def coarse(self, x: Tensor, condition: Tensor) -> list[Tensor]:
        """All that the way up reads, fine to coarse, and the coarsest map of all
        last."""
        if any(side % self.multiple for side in x.shape[2:]):
            raise ValueError(
                f"argument `x`: expected a height and width that {self.multiple} "
                f"divides, got {tuple(x.shape[2:])}"
            )
        kept = [h := self.door(x)]
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, TimedBlock) else layer(h)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, condition) if isinstance(layer, TimedBlock) else layer(h)
        return [*kept, h]

    @expects(x="float N C H W", t="int N")
    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """The mean over the coarsest map: (N, widths[-1])."""
        return self.coarse(x, self.condition(t))[-1].mean((2, 3))


class UNet(UNetEncoder):
    """x_t (N, channels, H, W), steps t (N,), labels y or None -> a prediction like x_t.

    On the way up one block more a level than on the way down, each of which reads what
    one step of that way left.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        *,
        patch: int = 2,
        blocks: int = 1,
        label: nn.Module | None = None,
    ):
        super().__init__(channels, widths, patch=patch, blocks=blocks, label=label)
        self.up, skips, c = nn.ModuleList(), list(self.kept), widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(TimedBlock(c + skips.pop(), width, self.condition.dim))
                c = width
            if level:
                self.up.append(
                    nn.Sequential(
                        nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1)
                    )
                )
        last = nn.Conv2d(c, channels * patch**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(group_norm(c), nn.SiLU(), last, nn.PixelShuffle(patch))

    @expects(x="float N C H W", t="int N")
    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        condition = self.condition(t, y)
        *kept, h = self.coarse(x, condition)
        for layer in self.up:
            h = (
                layer(torch.cat([h, kept.pop()], 1), condition)
                if isinstance(layer, TimedBlock)
                else layer(h)
            )
        return self.out(h)
