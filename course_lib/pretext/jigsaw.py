"""Jigsaw: the tiles of a picture are shuffled, and the network predicts which
permutation of a known set was used.

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
    """Returns `size` permutations of `tiles` tiles that differ in many places, int64
    (size, tiles).

    Algorithm 1: start with a random permutation. Then repeat: add the permutation with
    the largest sum of Hamming distances to all those already chosen. Raises ValueError
    for more than 9 tiles (10! rows) and for more permutations than there are.
    """
    count("size", size, math.factorial(count("tiles", tiles, 9, low=2)))
    return _permutation_set(tiles, size, seed).clone()


@functools.cache  # seconds for nine tiles
def _permutation_set(tiles: int, size: int, seed: int) -> Tensor:
    candidates = torch.tensor(list(permutations(range(tiles))), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(candidates), (), generator=generator))]
    total = torch.zeros(len(candidates), dtype=torch.int64)
    while len(chosen) < size:
        total += (candidates != candidates[chosen[-1]]).sum(1)
        # it is never chosen again
        total[chosen[-1]] = torch.iinfo(torch.int64).min // 2
        chosen.append(int(total.argmax()))
    return candidates[chosen].long()


def maximin_permutation_set(tiles: int, size: int, seed: int = 0) -> Tensor:
    """Returns `size` permutations of `tiles` tiles of which every two differ in many
    places, int64 (size, tiles).

    It starts with the permutation of `permutation_set`. Then it repeats: add the
    permutation with the largest smallest Hamming distance to those already chosen; if
    several have it, the one among them with the largest sum of distances. Raises
    ValueError as `permutation_set`.
    """
    count("size", size, math.factorial(count("tiles", tiles, 9, low=2)))
    return _maximin_permutation_set(tiles, size, seed).clone()


@functools.cache  # seconds for nine tiles
def _maximin_permutation_set(tiles: int, size: int, seed: int) -> Tensor:
    candidates = torch.tensor(list(permutations(range(tiles))), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(candidates), (), generator=generator))]
    total = torch.zeros(len(candidates), dtype=torch.int64)
    smallest = torch.full_like(total, tiles)
    while len(chosen) < size:
        distance = (candidates != candidates[chosen[-1]]).sum(1)
        total += distance
        smallest = torch.minimum(smallest, distance)
        # a total is at most tiles * size
        chosen.append(int((smallest * (tiles * size + 1) + total).argmax()))
    return candidates[chosen].long()


@expects(x="float N C S S", jitter="int N T 2")
def cut_tiles(x: Tensor, jitter: Tensor, tile: int) -> Tensor:
    """Cuts square pictures into the T cells of a grid, row by row, and one tile out of
    each cell. Returns (N, T, C, tile, tile).

    jitter (N, T, 2): position (down, right) of the tile's corner in its cell, from 0 to
    the cell's side minus `tile`. So there is usually a gap between neighbouring tiles.
    T is a square number. Pixels that remain when the side is divided by sqrt(T) are not
    used.
    """
    grid = round(jitter.shape[1] ** 0.5)
    side = x.shape[-1] // grid
    index = torch.arange(grid, device=x.device)
    corners = side * torch.cartesian_prod(index, index)  # corners of the cells, (T, 2)
    sides = torch.full_like(jitter, tile)
    boxes = torch.cat([corners + jitter, sides], 2).flatten(0, 1)  # (N T, 4)
    tiles = resized_crop(
        repeat(x, "n c h w -> (n t) c h w", t=grid * grid), boxes, tile
    )
    return rearrange(tiles, "(n t) c h w -> n t c h w", n=len(x))


@expects(x="float N C S S", permutations="int P T")
def shuffled_tiles(x: Tensor, permutations: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """Cuts square pictures into tiles, at random places of their cells, and puts them
    in the order of a random permutation. Returns the tiles (N, T, C, tile, tile), and
    the index of each picture's permutation (N,).

    Raises ValueError for a tile that is larger than a cell.
    """
    pieces = permutations.shape[1]
    cell = x.shape[-1] // round(pieces**0.5)
    free = cell - count("tile", tile, cell)
    jitter = torch.randint(free + 1, (len(x), pieces, 2), device=x.device)
    which = torch.randint(len(permutations), (len(x),), device=x.device)
    rows = torch.arange(len(x), device=x.device)[:, None]
    return cut_tiles(x, jitter, tile)[rows, permutations[which]], which


@expects(x="float ... C H W")
def standardise(x: Tensor) -> Tensor:
    """Returns each picture or tile with mean 0 and standard deviation 1, so that
    lightness and contrast do not reveal a tile's place."""
    std, mean = torch.std_mean(x, (-3, -2, -1), keepdim=True)
    return (x - mean) / (std + 0.01)


class Jigsaw(Method):
    """Trains an encoder to find the permutation of shuffled tiles.

    encoder: tiles -> h (N T, D), the same network for all tiles; classifier:
    (N, T D) -> logits (N, P). permutations (P, T): the known set, as from
    `permutation_set`; T is a square number. tile: side of a tile in pixels. The
    classifier gets the h of a picture's tiles in the shuffled order.
    """

    def __init__(
        self, encoder: nn.Module, classifier: nn.Module, permutations: Tensor, tile: int
    ):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier
        self.register_buffer("permutations", permutations)
        self.tile = count("tile", tile)

    def puzzles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the shuffled tiles (N, T, C, tile, tile) of pictures (N, C, S, S),
        and the index of each picture's permutation (N,)."""
        return shuffled_tiles(x, self.permutations, self.tile)

    def solve(self, tiles: Tensor) -> Tensor:
        """Returns the logits (N, P) for tiles (N, T, C, tile, tile)."""
        h = self.encoder(standardise(tiles).flatten(0, 1))  # (N T, D)
        return self.classifier(rearrange(h, "(n t) d -> n (t d)", n=len(tiles)))

    def loss(self, x: Tensor, y=None) -> Tensor:
        tiles, which = self.puzzles(x)
        return cross_entropy(self.solve(tiles), which)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(standardise(x))

    def pretext_score(self, x: Tensor) -> float:
        """Returns the fraction of puzzles solved; chance is 1/P."""
        tiles, which = self.puzzles(x)
        return accuracy(self.solve(tiles), which)
