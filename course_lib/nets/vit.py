"""A small vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) for crops of
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

    attn_mask: bool (N, heads, T, T), True where token i may attend to token j; N and
    heads may be 1. By default each token attends to all.
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
        """Returns queries, keys and values, each (N, heads, T, dim / heads)."""
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
        """Returns the attention maps softmax(q k^T / sqrt(dim / heads)), (N, heads, T,
        T): the weight with which token i of each head attends to token j."""
        q, k, _ = self.qkv(x)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


class Block(nn.Module):
    """A transformer block: x + attention of norm(x), then x + MLP of norm(x): (N, T,
    dim) -> (N, T, dim)."""

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
    """Returns the paper's stem, a linear map of each patch: images (N, channels, H, W)
    -> (N, dim, H / patch, W / patch)."""
    return nn.Conv2d(channels, dim, patch, patch)


def convolutions(
    *widths: int, channels: int = 3, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Returns a convolutional stem (Xiao et al. 2021, arXiv 2106.14881): 3 x 3
    convolutions of stride 2, then a 1 x 1 convolution to the last width.

    It maps images (N, channels, H, W) to (N, widths[-1], H / 2^k, W / 2^k), where
    k = len(widths) - 1. Raises ValueError for fewer than 2 widths.
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
    """Maps images (N, C, H, W) in [0, 1] to the class token after the last block, (N,
    dim).

    stem: images -> one token of `dim` numbers for each patch, (N, dim, h, w). grid:
    h = w for the image size that the network is made for. For images of other sizes,
    which have more or fewer patches, the learned position embeddings are interpolated.
    """

    def __init__(self, stem: nn.Module, grid: int, dim: int, depth: int, heads: int):
        super().__init__()
        self.dim, self.stem = dim, stem
        # the first token; it includes its own position embedding
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
        """Returns position embeddings for a grid of h x w patches, (1, dim, h, w): the
        learned ones, interpolated (bicubic) if they are for another grid."""
        if (h, w) == self.positions.shape[2:]:
            return self.positions
        return F.interpolate(
            self.positions, (h, w), mode="bicubic", align_corners=False
        )

    @expects(x="float N C H W")
    def embed(self, x: Tensor) -> Tensor:
        """Returns the input of the first block, (N, 1 + h w, dim): the class token and
        a token for each patch, row by row."""
        x = self.stem(x)  # (N, dim, h, w)
        x = rearrange(x + self.positions_for(*x.shape[2:]), "n d h w -> n (h w) d")
        return torch.cat([self.cls.expand(len(x), -1, -1), x], 1)

    def tokens(self, x: Tensor) -> Tensor:
        """Returns all tokens after the last block, normalised: (N, 1 + h w, dim), the
        class token first."""
        return self.norm(self.blocks(self.embed(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x)[:, 0]

    @torch.no_grad()
    def attention_maps(self, x: Tensor) -> Tensor:
        """Returns the attention maps of the last block, (N, heads, 1 + h w, 1 + h w):
        row i has the weights with which token i attends to the tokens; a row sums to 1.
        """
        last = self.blocks[-1]
        return last.attention.maps(last.norm1(self.blocks[:-1](self.embed(x))))


class PooledViT(ViT):
    """A vision transformer whose output is the mean of the patch tokens after the last
    block, (N, dim)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x)[:, 1:].mean(1)
