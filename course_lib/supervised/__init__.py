"""Supervised classification: the baseline that uses all labels, and the method that
trains or fine-tunes an encoder with few labels."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import classes_of, expects, expects_values
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(logits="float N C", labels="int N")
@expects_values(labels=(classes_of, "logits"))
@full_precision
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns -log softmax(logits)_label, averaged over the batch: logits (N, C),
    labels (N,) in 0..C-1 -> 0-d loss in nats."""
    return F.cross_entropy(logits, labels.long())


class Supervised(Method):
    """Trains an encoder and a classifier with cross-entropy. y holds the labels (N,).

    encoder: images (N, C, H, W) -> h (N, D); classifier: h -> logits (N, classes);
    augment: images -> a random view of each. The representation is h, the penultimate
    layer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        augment: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.encoder, self.classifier, self.augment = encoder, classifier, augment

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.classifier(self.encoder(self.augment(x))), y)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
