"""Knowledge distillation: a small student learns the large teacher's probabilities, not
only which class is right.

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
    """softmax(logits / tau), equation 1: (N, C), rows sum to 1, the flatter the higher
    the temperature tau."""
    return (logits / positive("temperature", temperature)).softmax(1)


@expects(student="float N C", teacher="float N C")
@full_precision
def distillation_loss(
    student: Tensor, teacher: Tensor, temperature: float = 4.0
) -> Tensor:
    """tau^2 KL(teacher || student) of the soft targets, averaged over the batch: a 0-d
    loss, 0 where both agree.

    student, teacher (N, C): logits; no gradient reaches the teacher's. KL has the
    gradient of Hinton's cross-entropy. The factor keeps it as large as that of hard
    targets when tau grows: it tends to (student - teacher) / (N C), the logits centred
    (section 2.1). Raises ValueError for a temperature <= 0.
    """
    q = soft_targets(teacher.detach(), temperature)
    log_p = (student / temperature).log_softmax(1)
    return temperature**2 * (torch.xlogy(q, q) - q * log_p).sum(1).mean()


class KnowledgeDistillation(Method):
    """encoder: images (N, C, H, W) -> h (N, D); classifier: h -> logits (N, classes);
    teacher: images -> logits.

    augment: images -> views, the same for both. soft: weight of the soft loss; that of
    the hard one, cross-entropy with the labels y, is 1 - soft. With soft = 1 no label
    is needed; with soft = 0 it is plain supervision.
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
        self.temperature, self.soft = (
            positive("temperature", temperature),
            number("soft", soft, 0, 1),
        )

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        views = self.augment(x)
        logits = self.classifier(self.encoder(views))
        loss = self.soft * distillation_loss(
            logits, self.teacher(views), self.temperature
        )
        if self.soft < 1:
            loss = loss + (1 - self.soft) * cross_entropy(logits, y)
        return loss

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)
