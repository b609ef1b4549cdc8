"""Supervised contrastive learning: all views of the same class are positives, not only
the other view of the same picture.

Khosla et al. 2020, "Supervised Contrastive Learning", arXiv 2004.11362, equation 2
(L_out, which the paper finds better than L_in).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects, positive
from course_lib.contrastive.simclr import SimCLR
from course_lib.distributed import gather
from course_lib.losses import full_precision


@expects(z1="float N D", z2="float N D", labels="int N")
@full_precision
def supervised_contrastive(
    z1: Tensor, z2: Tensor, labels: Tensor, temperature: float = 0.1
) -> Tensor:
    """Returns the mean over the 2N views i of -1/|P(i)| sum_{p in P(i)} log(
    exp(s_ip / tau) / sum_{k != i} exp(s_ik / tau) ).

    z1, z2 (N, D): projections of two views; row i of both comes from image i, of class
    labels_i (N,). P(i): all other views of i's class. s: cosine similarity. The loss
    equals NT-Xent if all labels differ. Returns a 0-d loss in nats; it is log(2N - 1)
    if all rows are equal. Raises ValueError for a temperature <= 0.
    """
    positive("temperature", temperature)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    labels = labels.repeat(2)  # (2N,)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    # (2N, 2N)
    log_p = (z @ z.T / temperature).masked_fill(itself, float("-inf")).log_softmax(1)
    positives = (labels[:, None] == labels) & ~itself
    return -(log_p.masked_fill(~positives, 0).sum(1) / positives.sum(1)).mean()


class SupCon(SimCLR):
    """SimCLR with labels: all views of the same class are positives. y holds the
    labels (N,)."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return supervised_contrastive(z1, z2, gather(y), self.temperature)
