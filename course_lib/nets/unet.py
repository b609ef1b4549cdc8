"""A small U-Net that is conditional on the step (Ho, Jain, Abbeel 2020, arXiv
2006.11239, appendix B), for pictures of 28 x 28 and 32 x 32.

A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) computes maps of lower and lower
resolution, and then of higher and higher resolution again. Skip connections join the
two paths on every level.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import below, expects
from course_lib.nets.mlp import label_vector, time_embedding
from course_lib.nets.resnet import group_norm


class LabelEmbedding(nn.Embedding):
    """Maps labels y (N,) in 0..classes-1 to (N, dim). One more label, `classes`, is the
    null label, whose vector is always 0. Raises ValueError for other labels."""

    def __init__(self, classes: int, dim: int):
        super().__init__(classes + 1, dim, padding_idx=classes)

    @expects(y="int N")
    def forward(self, y: Tensor) -> Tensor:
        below("y", y, self.num_embeddings)
        return super().forward(y)


class Condition(nn.Module):
    """Maps step numbers t (N,), and labels y, to one condition vector for every block:
    (N, dim).

    label: a module y -> (N, dim). With y None, the condition depends on t only.
    """

    def __init__(self, dim: int, label: nn.Module | None = None):
        super().__init__()
        self.dim = dim
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = label

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None and self.label is None:
            raise ValueError(
                "argument `y`: expected None, because the network was built "
                "without `label`, got labels"
            )
        found = self.time(time_embedding(t, self.dim))
        return found if y is None else found + label_vector(self.label, y, t)


class TimedBlock(nn.Module):
    """Computes shortcut(x) + two 3 x 3 convolutions of x, each preceded by norm and
    SiLU. Between them the condition (N, dim) shifts the channels."""

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
        nn.init.zeros_(self.second[-1].weight)  # so each block starts as its shortcut
        nn.init.zeros_(self.second[-1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        residual = self.first(x) + self.shift(condition)[:, :, None, None]
        return self.shortcut(x) + self.second(residual)


class SelfAttention(nn.Module):
    """Computes x + attention between the h w positions of a feature map (N, C, h, w);
    C is a multiple of `heads`."""

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
    """The contracting path of a U-Net and its middle. It is also the encoder of a
    classifier of noisy pictures.

    The input is rearranged so that each square of patch x patch pixels becomes
    channels. This saves the finest level, which costs the most. There is one level for
    each of `widths`, with half the resolution of the level before, and with `blocks`
    blocks of that width. Only the coarsest level has attention. Height and width must
    be multiples of patch 2^(len(widths) - 1). label: a module y -> (N, 2 widths[0]), if
    the network is conditional on labels.
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
        self.kept = [widths[0]]  # channels of the maps for the skip connections
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
        """Returns the maps for the skip connections, from fine to coarse, and last the
        map after the middle."""
        if any(side % self.multiple for side in x.shape[2:]):
            raise ValueError(
                f"argument `x`: expected a height and width divisible by "
                f"{self.multiple}, got {tuple(x.shape[2:])}"
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
        """Returns the mean over the map after the middle: (N, widths[-1])."""
        return self.coarse(x, self.condition(t))[-1].mean((2, 3))


class UNet(UNetEncoder):
    """Maps x_t (N, channels, H, W), steps t (N,) and labels y (or None) to a prediction
    of the shape of x_t.

    Each level of the expanding path has one block more than in the contracting path.
    Each of its blocks also takes one map of the contracting path as input (a skip
    connection).
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
