"""Contrastive losses that take false negatives into account: candidates that show the
same thing as the reference, but count as negatives.

Chuang, Robinson, Lin, Torralba, Jegelka 2020, "Debiased Contrastive Learning", arXiv
2007.00224: without labels, the share of false negatives is enough to estimate what they
add to the denominator, and to subtract it.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, number, positive
from course_lib.contrastive.simclr import SimCLR
from course_lib.distributed import gather
from course_lib.losses import full_precision, info_nce


@expects(z1="float N D", z2="float N D")
@full_precision
def debiased_nt_xent(
    z1: Tensor, z2: Tensor, prior: float, temperature: float = 0.5
) -> Tensor:
    """Returns NT-Xent with the mean over the negatives replaced by an estimate of the
    mean over the true negatives.

    z1, z2 (N, D): projections of two views; row i of both comes from image i. prior:
    the share of false negatives, in [0, 1). With e_ik = exp(s_ik / tau), partner j and
    the mean m_i of the 2N - 2 other e_ik, the loss of view i is
    -log( e_ij / (e_ij + (2N - 2) g_i) ),
    g_i = max( (m_i - prior e_ij) / (1 - prior), exp(-1 / tau) ).
    With prior 0 it is NT-Xent. Returns the mean over the 2N views, a 0-d loss in nats.
    Raises ValueError for a temperature <= 0 or a prior outside [0, 1).
    """
    positive("temperature", temperature)
    if number("prior", prior, 0, 1) == 1:
        raise ValueError(f"argument `prior`: expected a number below 1, got {prior!r}")
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    # minus the largest score that is possible: the factor exp(-1 / tau) cancels
    scores = (z @ z.T - 1) / temperature  # (2N, 2N)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    own = scores.gather(1, partner[:, None])[:, 0]  # (2N,)
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    others = scores.masked_fill(itself, -torch.inf).exp().sum(1) - own.exp()
    mean = others / max(2 * n - 2, 1)
    negatives = (mean - prior * own.exp()) / (1 - prior)
    total = (2 * n - 2) * negatives.clamp(min=math.exp(-2 / temperature))
    tiny = torch.finfo(z.dtype).tiny  # no log of 0 where N is 1
    return (torch.logaddexp(own, (total + tiny).log()) - own).mean()


@expects(z1="float N D", z2="float N D", labels="int N")
@full_precision
def nt_xent_true_negatives(
    z1: Tensor, z2: Tensor, labels: Tensor, temperature: float = 0.5
) -> Tensor:
    """Returns NT-Xent with each view's negatives of its own class left out.

    z1, z2 (N, D): projections of two views; row i of both comes from image i, of class
    labels_i (N,). The candidates of a view are its partner and all views of other
    classes. Returns a 0-d loss in nats; it equals NT-Xent if all labels differ. Raises
    ValueError for a temperature <= 0.
    """
    positive("temperature", temperature)
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    labels = labels.repeat(2)
    left_out = labels[:, None] == labels  # (2N, 2N)
    left_out[torch.arange(2 * n, device=z.device), partner] = False
    return info_nce((z @ z.T / temperature).masked_fill(left_out, -torch.inf), partner)


class DebiasedSimCLR(SimCLR):
    """SimCLR with the debiased loss. prior: the share of false negatives among the
    negatives, a guess that needs no label of a single picture."""

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        temperature: float = 0.5,
        prior: float = 0.1,
    ):
        super().__init__(encoder, projector, augment, temperature)
        self.prior = number("prior", prior, 0, 1)

    def loss(self, x: Tensor, y=None) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return debiased_nt_xent(z1, z2, self.prior, self.temperature)


class TrueNegativesSimCLR(SimCLR):
    """SimCLR that uses the labels y (N,) to leave the false negatives out, and for
    nothing else: partners stay the only positives."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return nt_xent_true_negatives(z1, z2, gather(y), self.temperature)
