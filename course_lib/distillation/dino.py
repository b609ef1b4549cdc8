"""DINO: a student network learns the outputs of a teacher network for other crops of
the same picture. The student gets all crops, the teacher only the large ones. The
teacher is a moving average of the student.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin 2021, "Emerging Properties in
Self-Supervised Vision Transformers", arXiv 2104.14294, Algorithm 1. Centring and
sharpening of the teacher's outputs prevent collapse, that is, the same output for all
pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import expects, number, positive
from course_lib.distributed import gather
from course_lib.losses import full_precision
from course_lib.teacher import cosine_momentum, ema, frozen_copy
from course_lib.train import Method


@expects(student="float V N K", teacher="float G N K", centre="float K")
@full_precision
def dino_loss(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    tau_s: float = 0.1,
    tau_t: float = 0.04,
) -> Tensor:
    """Returns the mean cross-entropy H(P_t, P_s) over all pairs of a teacher's view and
    a different view of the student (equation 3).

    student (V, N, K): outputs for V views. teacher (G, N, K): outputs for the first G
    of them. P_s = softmax(student / tau_s), P_t = softmax((teacher - centre) / tau_t).
    No gradient reaches the teacher. Returns a 0-d loss in nats; it is log K if P_s and
    P_t are uniform. Raises ValueError for a temperature <= 0, for V < G, and for V < 2
    (no pair of different views).
    """
    needed = max(2, len(teacher))
    if len(student) < needed:
        raise ValueError(
            f"argument `student`: expected {needed} views or more, got {len(student)}"
        )
    # centre, then sharpen
    target = ((teacher.detach() - centre) / positive("tau_t", tau_t)).softmax(-1)
    log_p = (student / positive("tau_s", tau_s)).log_softmax(-1)
    # (G, V): H of each pair of views, averaged over the pictures
    pairs = -torch.einsum("gnk,vnk->gv", target, log_p) / student.shape[1]
    # without the pairs of a view with itself
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(pairs))


class Prototypes(nn.Module):
    """The last layer of the head, weight-normalised: it returns the cosines of z with K
    learned directions, (N, d) -> (N, K)."""

    def __init__(self, dim: int, prototypes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(prototypes, dim))
        self.trainable = True

    def forward(self, z: Tensor) -> Tensor:
        weight = self.weight
        if not self.trainable:
            # The values are the same. DDP needs a gradient for every parameter, so the
            # gradient of the weight is zero, not None.
            weight = weight.detach() + 0 * weight
        return F.normalize(z, dim=-1) @ F.normalize(weight, dim=-1).T


class DINO(Method):
    """Trains a student network with a teacher that is its own moving average.

    encoder: images (N, C, H, W) of any size -> h (N, D); projector: h -> z (N, d);
    prototypes: z -> outputs (N, K).

    augment: images -> a list of views. The first two are large ("global"), all further
    ones are small ("local"). The student gets all views, the teacher only the large
    ones. Without small views the method is the paper's Algorithm 1.

    momentum: the momentum of the teacher's moving average at the start of training. The
    momentum rises to 1 along a cosine. warmup, freeze: fractions of the training.
    During `warmup` the teacher's temperature changes linearly from tau_t_start to
    tau_t. After `warmup` the temperature is tau_t. During `freeze` the directions of
    the prototypes do not change. The representation is the teacher's h, as in the
    authors' evaluation.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        prototypes: Prototypes,
        augment: Callable[[Tensor], list[Tensor]],
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        tau_s: float = 0.1,
        tau_t: float = 0.04,
        tau_t_start: float = 0.04,
        warmup: float = 0.0,
        freeze: float = 0.0,
    ):
        super().__init__()
        self.student = nn.Sequential(encoder, projector, prototypes)
        self.teacher = frozen_copy(self.student, training=True)
        self.augment = augment
        self.momentum = number("momentum", momentum, 0, 1)
        self.centre_momentum = number("centre_momentum", centre_momentum, 0, 1)
        self.tau_s, self.tau_t = positive("tau_s", tau_s), positive("tau_t", tau_t)
        self.tau_t_start = positive("tau_t_start", tau_t_start)
        self.warmup = number("warmup", warmup, 0, 1)
        self.freeze = number("freeze", freeze, 0, 1)
        self.register_buffer("centre", torch.zeros(len(prototypes.weight)))  # (K,)

    def teacher_temperature(self) -> float:
        """Returns the teacher's temperature at this point of the training."""
        done = min(1, self.progress / self.warmup) if self.warmup else 1
        return self.tau_t_start + done * (self.tau_t - self.tau_t_start)

    def loss(self, x: Tensor, y=None) -> Tensor:
        views = self.augment(x)
        self.student[2].trainable = self.progress >= self.freeze
        teacher = self.teacher(torch.cat(views[:2]))  # (2N, K)
        # one call of the student for each size of views
        student = [self.student(torch.cat(views[:2]))]
        if views[2:]:
            student.append(self.student(torch.cat(views[2:])))
        self.step_outputs.append(teacher)
        student = rearrange(torch.cat(student), "(v n) k -> v n k", n=len(x))
        teacher = rearrange(teacher, "(v n) k -> v n k", n=len(x))
        return dino_loss(
            student, teacher, self.centre, self.tau_s, self.teacher_temperature()
        )

    def after_step(self):
        ema(self.teacher, self.student, cosine_momentum(self.momentum, self.progress))
        # mean of the teacher's outputs before centring
        mean = gather(torch.cat(self.step_outputs)).mean(0)
        self.centre.lerp_(mean, 1 - self.centre_momentum)

    def encode(self, x: Tensor) -> Tensor:
        return self.teacher.net[0](x)
