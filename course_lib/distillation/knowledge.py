"""Knowledge distillation: a small student learns all class probabilities of a large
teacher, not only the correct class.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv
1503.02531, section 2.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects, number, positive
from course_lib.losses import full_precision
from course_lib.supervised import cross_entropy
from course_lib.teacher import frozen_copy
from course_lib.train import Method


@expects(logits="float N C")
@full_precision
def soft_targets(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns softmax(logits / tau), equation 1: (N, C), each row sums to 1. A higher
    temperature tau gives flatter rows."""
    return (logits / positive("temperature", temperature)).softmax(1)


@expects(student="float N C", teacher="float N C")
@full_precision
def distillation_loss(
    student: Tensor, teacher: Tensor, temperature: float = 4.0
) -> Tensor:
    """Returns tau^2 KL(teacher || student) of the soft targets, averaged over the
    batch: a 0-d loss, 0 if both distributions are equal.

    student, teacher (N, C): logits; no gradient reaches the teacher's logits. The KL
    divergence has the same gradient as Hinton's cross-entropy. The factor tau^2 keeps
    the size of this gradient comparable to that of hard targets when tau grows: with
    logits of mean 0 in each row it tends to (student - teacher) / (N C) (section 2.1).
    Raises ValueError for a temperature <= 0.
    """
    q = soft_targets(teacher.detach(), temperature)
    log_p = (student / temperature).log_softmax(1)
    return temperature**2 * (torch.xlogy(q, q) - q * log_p).sum(1).mean()


class KnowledgeDistillation(Method):
    """Trains a student on soft targets of the teacher, on hard labels, or on both.

    encoder: images (N, C, H, W) -> h (N, D); classifier: h -> logits (N, classes);
    teacher: images -> logits. augment: images -> a random view of each; student and
    teacher get the same views. soft: weight of the soft loss. The hard loss, the
    cross-entropy with the labels y, has the weight 1 - soft. With soft = 1 no labels
    are needed; soft = 0 is plain supervised training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        teacher: nn.Module,
        augment: Callable[[Tensor], Tensor],
        temperature: float = 4.0,
        soft: float = 0.9,
    ):
        super().__init__()
        self.encoder, self.classifier, self.augment = encoder, classifier, augment
        self.teacher = frozen_copy(teacher, training=False)
        self.temperature = positive("temperature", temperature)
        self.soft = number("soft", soft, 0, 1)

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        views = self.augment(x)
        logits = self.classifier(self.encoder(views))
        soft_loss = distillation_loss(logits, self.teacher(views), self.temperature)
        loss = self.soft * soft_loss
        if self.soft < 1:
            loss = loss + (1 - self.soft) * cross_entropy(logits, y)
        return loss

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
