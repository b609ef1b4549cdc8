"""MoCo: a query should find the key of the same picture among the keys of a long queue.
A slow moving average of the query encoder makes the keys.

He, Fan, Wu, Xie, Girshick 2019, "Momentum Contrast for Unsupervised Visual
Representation Learning", arXiv 1911.05722, Algorithm 1. MoCo v2 (Chen, Fan, Girshick,
He 2020, arXiv 2003.04297) is the same algorithm with an MLP head, blur, and a cosine
schedule of the learning rate.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import count, expects, number, positive
from course_lib.distributed import gather
from course_lib.losses import full_precision, info_nce
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


@expects(q="float N D", k="float N D", negatives="float K D")
@full_precision
def key_scores(q: Tensor, k: Tensor, negatives: Tensor) -> Tensor:
    """Returns the dot products of each query with its candidates, (N, 1 + K): column 0
    is the positive.

    q (N, D): queries. k (N, D): keys; row i is the positive of query i. negatives
    (K, D): keys that are negatives of all queries. No gradient reaches the keys.
    """
    l_pos = (q * k.detach()).sum(1, keepdim=True)  # (N, 1)
    return torch.cat([l_pos, q @ negatives.detach().T], 1)


def moco_loss(
    q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.07
) -> Tensor:
    """Returns -log( exp(q . k+ / tau) / sum over k+ and the K negatives of
    exp(q . k_i / tau) ), averaged over the batch (equation 1).

    q, k (N, D), negatives (K, D): unit vectors, as in `key_scores`. This is InfoNCE
    with K + 1 candidates. Returns a 0-d loss in nats; it is log(K + 1) if all
    similarities are equal. Raises ValueError for a temperature <= 0.
    """
    scores = key_scores(q, k, negatives) / positive("temperature", temperature)
    return info_nce(scores, torch.zeros(len(q), dtype=torch.long, device=q.device))


class Queue(nn.Module):
    """The last K keys, as a ring buffer: new keys replace the oldest ones.

    keys (K, dim): unit vectors. They are random at first, as in the authors' code.
    pushed: the number of keys that were pushed so far, 0-d.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        shape = count("size", size), count("dim", dim)
        self.register_buffer("keys", F.normalize(torch.randn(shape), dim=1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    @expects(k="float N D")
    def push(self, k: Tensor):
        """Writes the keys k (N, dim) over the N oldest ones. If N > K, only the last K
        of them stay."""
        size, n = len(self.keys), len(k)
        last = torch.arange(max(0, n - size), n, device=k.device)
        self.keys[(self.pushed + last) % size] = k[last].to(self.keys.dtype)
        self.pushed += n

    def ages(self) -> Tensor:
        """Returns how many keys were pushed after each key, int64 (K,): 0 for the
        newest key. A random key that was never replaced has an age of `pushed` or
        more."""
        slots = torch.arange(len(self.keys), device=self.keys.device)
        return (self.pushed - 1 - slots) % len(self.keys)


class MoCo(Method):
    """Trains an encoder by momentum contrast.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> (N, dim); augment:
    images -> a random view of each. queue_size: the number K of negatives. momentum: of
    the moving average that makes the key network. Queries and keys are unit vectors.

    Several processes compare the queries and keys of all of them, so the queue is the
    same in each.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        queue_size: int,
        dim: int,
        temperature: float = 0.07,
        momentum: float = 0.999,
    ):
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment
        # train mode: BatchNorm normalises keys by the statistics of their own batch
        self.key = frozen_copy(nn.Sequential(encoder, projector), training=True)
        self.queue = Queue(queue_size, dim)
        self.temperature = positive("temperature", temperature)
        self.momentum = number("momentum", momentum, 0, 1)

    @property
    def online(self) -> nn.Sequential:
        """The network that encodes queries: encoder and projector."""
        return nn.Sequential(self.encoder, self.projector)

    def views(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns two random views of each picture: for the queries, and for the
        keys."""
        return self.augment(x), self.augment(x)

    def embed(self, network: Callable[[Tensor], Tensor], view: Tensor) -> Tensor:
        """Returns the outputs of `network` as unit vectors (N, dim), those of all
        processes."""
        return gather(F.normalize(network(view).float(), dim=1))

    def loss(self, x: Tensor, y=None) -> Tensor:
        view1, view2 = self.views(x)
        q = self.embed(self.online, view1)
        k = self.embed(self.key, view2)  # without gradient
        self.step_outputs.append(k)
        return self.compare(q, k)

    def compare(self, q: Tensor, k: Tensor) -> Tensor:
        return moco_loss(q, k, self.queue.keys, self.temperature)

    def after_step(self):
        ema(self.key, self.online, self.momentum)
        for k in self.step_outputs:
            self.queue.push(k)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
