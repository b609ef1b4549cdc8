"""Contrastive learning of labelled and unlabelled pictures together: a labelled view
has all views of its class as positives, an unlabelled one only the other view of its
picture.

The loss is that of supervised contrastive learning (Khosla et al. 2020, arXiv
2004.11362, equation 2). An unlabelled picture is a class of its own.
"""

from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import expects
from course_lib.contrastive.supcon import SupCon, supervised_contrastive
from course_lib.data import Dataset, labelled_subset
from course_lib.distributed import gather

UNLABELLED = -1


@expects(labels="int N")
def own_classes(labels: Tensor) -> Tensor:
    """Returns the labels (N,) with a class of its own, below 0, for each UNLABELLED
    row."""
    own = -1 - torch.arange(len(labels), device=labels.device)
    return torch.where(labels == UNLABELLED, own, labels)


def hide_labels(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Returns the data set with the label UNLABELLED for all rows but those of
    `labelled_subset(dataset, fraction=fraction, seed=seed)`. A fraction of 0 hides all
    labels."""
    y = torch.full_like(dataset.y, UNLABELLED)
    if fraction:
        kept = labelled_subset(dataset, fraction=fraction, seed=seed).to(y.device)
        y[kept] = dataset.y[kept]
    return replace(dataset, y=y)


class PartlyLabelled(SupCon):
    """Supervised contrastive learning where only some pictures have a label. y (N,):
    the class, or UNLABELLED."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        z1, z2 = self.project(self.augment(x), self.augment(x))
        return supervised_contrastive(z1, z2, own_classes(gather(y)), self.temperature)
