"""MoCHi: MoCo with additional negatives that are mixed from the hardest ones.

Kalantidis, Sariyildiz, Pion, Weinzaepfel, Larlus 2020, "Hard Negative Mixing for
Contrastive Learning", arXiv 2010.01028, sections 4.1 and 4.2. A negative is hard if it
is similar to the query. Few keys of the queue are, so MoCHi makes more.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.contrastive.moco import MoCo, key_scores
from course_lib.losses import full_precision, info_nce


@torch.no_grad()
@expects(q="float N D", negatives="float K D")
def hardest(q: Tensor, negatives: Tensor, n: int) -> Tensor:
    """Returns the n negatives with the largest dot product with each query, the hardest
    first: (N, n, D). Raises ValueError for n > K."""
    count("n", n, len(negatives))
    return negatives[(q @ negatives.T).topk(n, dim=1).indices]


@expects(a="float ... D", b="float ... D", weight="float ... 1")
def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Returns weight a + (1 - weight) b as unit vectors, for vectors (..., D) and
    weights (..., 1) in [0, 1]."""
    return F.normalize(weight * a + (1 - weight) * b, dim=-1)


class MoCHi(MoCo):
    """MoCo with mixed negatives.

    hard: each query mixes its `hard` hardest keys of the queue. pairs: number of
    mixtures of two such keys for each query, alpha n_i + (1 - alpha) n_j with alpha
    uniform in (0, 1). with_query: number of mixtures of one such key with the query
    itself, beta q + (1 - beta) n_j with beta uniform in (0, 0.5). They are negatives
    even harder than the key, since the key has the larger weight. All mixtures are unit
    vectors and constants: no gradient flows through them. Other arguments: as for MoCo.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        queue_size: int,
        dim: int,
        temperature: float = 0.2,
        momentum: float = 0.999,
        hard: int = 1024,
        pairs: int = 256,
        with_query: int = 256,
    ):
        super().__init__(
            encoder, projector, augment, queue_size, dim, temperature, momentum
        )
        self.hard = count("hard", hard, queue_size)
        self.pairs = count("pairs", pairs, low=0)
        self.with_query = count("with_query", with_query, low=0)

    @torch.no_grad()
    def mixtures(self, q: Tensor) -> Tensor:
        """Returns the mixed negatives of queries q (N, dim), drawn at random: (N, pairs
        + with_query, dim)."""
        near = hardest(q, self.queue.keys, self.hard)  # (N, hard, dim)
        rows = torch.arange(len(q), device=q.device)[:, None]

        def pick(n: int) -> Tensor:
            return near[rows, torch.randint(self.hard, (len(q), n), device=q.device)]

        alpha = torch.rand(len(q), self.pairs, 1, device=q.device)
        beta = torch.rand(len(q), self.with_query, 1, device=q.device) / 2
        two_keys = mix(pick(self.pairs), pick(self.pairs), alpha)
        key_and_query = mix(q[:, None], pick(self.with_query), beta)
        return torch.cat([two_keys, key_and_query], 1)

    @full_precision
    def compare(self, q: Tensor, k: Tensor) -> Tensor:
        mixed = torch.einsum("nd,nsd->ns", q, self.mixtures(q))
        scores = torch.cat([key_scores(q, k, self.queue.keys), mixed], 1)
        positives = torch.zeros(len(q), dtype=torch.long, device=q.device)
        return info_nce(scores / self.temperature, positives)
