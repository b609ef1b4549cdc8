"""PIRL: the representation of a picture should be similar to that of its transformed
version, such as its shuffled tiles. A pretext task asks for the transformation instead.

Misra, van der Maaten 2019, "Self-Supervised Learning of Pretext-Invariant
Representations", arXiv 1912.01991, equations 3 to 5.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import count, expects, expects_values, number, positive, rows_of
from course_lib.contrastive.instance_discrimination import InstanceDiscrimination
from course_lib.losses import full_precision
from course_lib.pretext.jigsaw import shuffled_tiles
from course_lib.transforms import rot90


@expects(v="float N D", bank="float M D", rows="int N", noise="int K")
@expects_values(rows=(rows_of, "bank"), noise=(rows_of, "bank"))
@full_precision
def pirl_nce(
    v: Tensor, bank: Tensor, rows: Tensor, noise: Tensor, temperature: float = 0.07
) -> Tensor:
    """Returns -log p_own - sum over the K negatives of log(1 - p_k), averaged over the
    batch (equation 4).

    v (N, D), bank (M, D): unit vectors. rows (N,): the bank's row of each picture.
    noise (K,): the rows of the negatives; a picture's own row is no negative of it. p:
    softmax of the similarities v . bank / tau over a picture's own row and its
    negatives (equation 3). Returns a 0-d loss in nats. Raises ValueError for a
    temperature <= 0.
    """
    own = (v * bank[rows]).sum(1, keepdim=True)  # (N, 1)
    others = v @ bank[noise].T  # (N, K)
    others = others.masked_fill(rows[:, None] == noise, -torch.inf)
    scores = torch.cat([own, others], 1) / positive("temperature", temperature)
    log_p = scores.log_softmax(1)
    # 1 - p_k can round to 0 where a negative has almost all of the probability
    log_rest = torch.log1p(-log_p[:, 1:].exp().clamp(max=1 - 1e-6))
    return -(log_p[:, 0] + log_rest.sum(1)).mean()


class ShuffledTiles(nn.Module):
    """Maps pictures to one vector each, from their tiles in a random order: the encoder
    gives h of each tile, `tile_head` maps h (N, D) to (N, d), and `head` maps the
    concatenated tiles (N, T d) to (N, dim).

    permutations (P, T): the orders that are possible, as from
    `course_lib.pretext.jigsaw.permutation_set`. tile: side of a tile in pixels.
    augment: pictures -> a random view of each, which is cut into tiles.
    """

    def __init__(
        self,
        tile_head: nn.Module,
        head: nn.Module,
        permutations: Tensor,
        tile: int,
        augment: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.tile_head, self.head, self.augment = tile_head, head, augment
        self.register_buffer("permutations", permutations)
        self.tile = count("tile", tile)

    def forward(self, encoder: nn.Module, x: Tensor) -> Tensor:
        tiles, _ = shuffled_tiles(self.augment(x), self.permutations, self.tile)
        h = self.tile_head(encoder(tiles.flatten(0, 1)))  # (N T, d)
        return self.head(rearrange(h, "(n t) d -> n (t d)", n=len(x)))


class Rotated(nn.Module):
    """Maps pictures to one vector each, from the picture rotated by a random number of
    quarter turns, 0 to 3: `head` maps its h (N, D) to (N, dim). augment: as for
    ShuffledTiles."""

    def __init__(self, head: nn.Module, augment: Callable[[Tensor], Tensor]):
        super().__init__()
        self.head, self.augment = head, augment

    def forward(self, encoder: nn.Module, x: Tensor) -> Tensor:
        turns = torch.randint(4, (len(x),), device=x.device)
        return self.head(encoder(rot90(self.augment(x), turns)))


class PIRL(InstanceDiscrimination):
    """Trains an encoder so that a picture and its transformed version are both similar
    to the picture's row of a memory bank.

    transformed: a module (encoder, images) -> one vector for each picture's transformed
    version, (N, dim); `ShuffledTiles` or `Rotated`. weight: lambda, the weight of the
    transformed version's loss; the picture itself has the weight 1 - lambda. The bank
    stores features of the picture itself only. noise: number of random rows of the bank
    that are the negatives of a batch. Other arguments: as for InstanceDiscrimination.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        transformed: nn.Module,
        augment: Callable[[Tensor], Tensor],
        images: int,
        dim: int,
        temperature: float = 0.07,
        momentum: float = 0.5,
        weight: float = 0.5,
        noise: int = 4096,
    ):
        super().__init__(
            encoder, projector, augment, images, dim, temperature, momentum
        )
        self.transformed, self.noise = transformed, count("noise", noise)
        self.weight = number("weight", weight, 0, 1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        v = self.embed(x)
        v_t = F.normalize(self.transformed(self.encoder, x).float(), dim=1)
        noise = torch.randint(len(self.bank), (self.noise,), device=x.device)
        self.step_outputs.append((y, v.detach()))
        loss_t, loss = (
            pirl_nce(each, self.bank, y, noise, self.temperature) for each in (v_t, v)
        )
        return self.weight * loss_t + (1 - self.weight) * loss
