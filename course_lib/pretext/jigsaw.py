"""Jigsaw: the picture's tiles come in another order; which one of a known set of
permutations is it?

Noroozi & Favaro 2016, "Unsupervised Learning of Visual Representations by Solving
Jigsaw Puzzles", arXiv 1603.09246, sections 3.2 to 3.4 and Algorithm 1.
"""

import functools
import math
from itertools import permutations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.evaluate import accuracy
from course_lib.supervised import cross_entropy
from course_lib.train import Method
from course_lib.transforms import resized_crop


def permutation_set(tiles: int, size: int, seed: int = 0) -> Tensor:
    """`size` permutations of so many tiles that differ in as many places as possible,
    int64 (size, tiles).

    Algorithm 1: begin with a random one, then add again and again the one whose Hamming
    distances to all chosen so far have the largest sum. Raises ValueError for more than
    9 tiles (10! rows) or more permutations than there are.
    """
    count("size", size, math.factorial(count("tiles", tiles, 9, low=2)))
    return _permutation_set(tiles, size, seed).clone()


@functools.cache  # seconds for nine tiles
def _permutation_set(tiles: int, size: int, seed: int) -> Tensor:
    candidates = torch.tensor(list(permutations(range(tiles))), dtype=torch.uint8)
    chosen = [
        int(
            torch.randint(
                len(candidates), (), generator=torch.Generator().manual_seed(seed)
            )
        )
    ]
    total = torch.zeros(len(candidates), dtype=torch.int64)
    while len(chosen) < size:
        total += (candidates != candidates[chosen[-1]]).sum(1)
        total[chosen[-1]] = torch.iinfo(torch.int64).min // 2  # never again
        chosen.append(int(total.argmax()))
    return candidates[chosen].long()


@expects(x="float N C S S", jitter="int N T 2")
def cut_tiles(x: Tensor, jitter: Tensor, tile: int) -> Tensor:
    """Cuts square pictures into the T cells of a grid, row by row, and a tile out of
    each: (N, T, C, tile, tile).

    jitter (N, T, 2): the tile's (down, right) corner in its cell, from 0 to the cell's
    side minus `tile`: most often there is a gap between tiles. T is a square number;
    pixels that a division by its root leaves over are not used.
    """
    grid = round(jitter.shape[1] ** 0.5)
    # (T, 2)
    cell = torch.cartesian_prod(*[torch.arange(grid, device=x.device)] * 2) * (
        x.shape[-1] // grid
    )
    # (N T, 4)
    boxes = torch.cat([cell + jitter, torch.full_like(jitter, tile)], 2).flatten(0, 1)
    tiles = resized_crop(
        repeat(x, "n c h w -> (n t) c h w", t=grid * grid), boxes, tile
    )
    return rearrange(tiles, "(n t) c h w -> n t c h w", n=len(x))


@expects(x="float ... C H W")
def standardise(x: Tensor) -> Tensor:
    """Each picture or tile with mean 0 and standard deviation 1: lightness and contrast
    shall not tell where it was."""
    std, mean = torch.std_mean(x, (-3, -2, -1), keepdim=True)
    return (x - mean) / (std + 0.01)


class Jigsaw(Method):
    """encoder, the trunk that all tiles share: tiles -> h (N T, D); classifier: (N, T
    D) -> logits (N, permutations).

    permutations (P, T): the known set, as from `permutation_set`; T is a square number.
    tile: a tile's side in pixels. The h of a picture's tiles come to the classifier in
    the order in which the tiles lie.
    """

    def __init__(
        self, encoder: nn.Module, classifier: nn.Module, permutations: Tensor, tile: int
    ):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier
        self.register_buffer("permutations", permutations)
        self.tile = count("tile", tile)

    def puzzles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (N, C, S, S) -> shuffled tiles (N, T, C, tile, tile), and which
        permutation it was (N,)."""
        pieces = self.permutations.shape[1]
        cell = x.shape[-1] // round(pieces**0.5)
        free = cell - count("tile", self.tile, cell)
        jitter = torch.randint(free + 1, (len(x), pieces, 2), device=x.device)
        which = torch.randint(len(self.permutations), (len(x),), device=x.device)
        rows = torch.arange(len(x), device=x.device)[:, None]
        return cut_tiles(x, jitter, self.tile)[rows, self.permutations[which]], which

    def solve(self, tiles: Tensor) -> Tensor:
        """Tiles (N, T, C, tile, tile) -> logits (N, P)."""
        h = self.encoder(standardise(tiles).flatten(0, 1))  # (N T, D)
        return self.classifier(rearrange(h, "(n t) d -> n (t d)", n=len(tiles)))

    def loss(self, x: Tensor, y=None) -> Tensor:
        tiles, which = self.puzzles(x)
        return cross_entropy(self.solve(tiles), which)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(standardise(x))

    def pretext_score(self, x: Tensor) -> float:
        """The share of puzzles solved; chance is 1/P."""
        tiles, which = self.puzzles(x)
        return accuracy(self.solve(tiles), which)
