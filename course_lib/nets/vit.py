"""Vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929), small, for crops of
any size."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.nets.resnet import Norm


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762): tokens (N, T,
    dim) -> (N, T, dim).

    attn_mask: where token i may attend to token j, bool (N, heads, T, T) or 1 in place
    of N, heads; all by default.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % count("heads", heads):
            raise ValueError(
                f"argument `heads`: expected a divisor of dim = {dim}, got {heads}"
            )
        self.heads = heads
        self.to_qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values: (N, heads, T, dim / heads) each."""
        return rearrange(
            self.to_qkv(x),
            "n t (qkv heads d) -> qkv n heads t d",
            qkv=3,
            heads=self.heads,
        ).unbind(0)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        # (N, heads, T, dim / heads)
        mixed = F.scaled_dot_product_attention(*self.qkv(x), attn_mask)
        return self.out(rearrange(mixed, "n heads t d -> n t (heads d)"))

    def maps(self, x: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(dim / heads)): how much token i of each head looks at
        token j, (N, heads, T, T)."""
        q, k, _ = self.qkv(x)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


class Block(nn.Module):
    """x + attention of its norm, then x + MLP of its norm: (N, T, dim) -> (N, T,
    dim)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), attn_mask)
        return x + self.mlp(self.norm2(x))


def patches(dim: int, patch: int, channels: int = 3) -> nn.Conv2d:
    """The paper's stem: images (N, channels, H, W) -> (N, dim, H / patch, W / patch), a
    linear map of each patch."""
    return nn.Conv2d(channels, dim, patch, patch)


def convolutions(
    *widths: int, channels: int = 3, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """A convolutional stem (Xiao et al. 2021, arXiv 2106.14881): 3 x 3, stride 2 each,
    then 1 x 1 to the last width.

    Images (N, channels, H, W) -> (N, widths[-1], H / 2^k, W / 2^k), k = len(widths) -
    1. Raises ValueError for fewer than 2 widths.
    """
    if len(widths) < 2:
        raise ValueError(f"argument `widths`: expected two or more, got {widths}")
    layers = []
    for inputs, outputs in zip((channels, *widths), widths[:-1]):
        layers += [
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            norm(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-2], widths[-1], 1))


class ViT(nn.Module):
    """Images (N, C, H, W) in [0, 1] -> the class token after the last block, (N, dim).

    stem: images -> one token of `dim` numbers for each place, (N, dim, h, w); grid: (h,
    w) of the size it is made for. Smaller or larger pictures have more or fewer places:
    the learned positions are interpolated.
    """

    def __init__(self, stem: nn.Module, grid: int, dim: int, depth: int, heads: int):
        super().__init__()
        self.dim, self.stem = dim, stem
        # begins the sequence; its position is part of it
        self.cls = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, dim, grid, grid))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        for parameter in (self.cls, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def positions_for(self, h: int, w: int) -> Tensor:
        """(1, dim, h, w): bicubic interpolation of the learned positions, themselves on
        the grid they were made for."""
        if (h, w) == self.positions.shape[2:]:
            return self.positions
        return F.interpolate(
            self.positions, (h, w), mode="bicubic", align_corners=False
        )

    @expects(x="float N C H W")
    def embed(self, x: Tensor) -> Tensor:
        """The class token and a token for each place, row by row, before the first
        block: (N, 1 + h w, dim)."""
        places = self.stem(x)  # (N, dim, h, w)
        places = rearrange(
            places + self.positions_for(*places.shape[2:]), "n d h w -> n (h w) d"
        )
        return torch.cat([self.cls.expand(len(x), -1, -1), places], 1)

    def tokens(self, x: Tensor) -> Tensor:
        """All tokens after the last block, normalised: (N, 1 + h w, dim), the class
        token first."""
        return self.norm(self.blocks(self.embed(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x)[:, 0]

    @torch.no_grad()
    def attention_maps(self, x: Tensor) -> Tensor:
        """The last block's attention, (N, heads, 1 + h w, 1 + h w): row i says where
        token i looks; rows sum to 1."""
        last = self.blocks[-1]
        return last.attention.maps(last.norm1(self.blocks[:-1](self.embed(x))))
