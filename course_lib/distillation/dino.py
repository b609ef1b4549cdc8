"""DINO: a student that sees every crop learns what its own moving average says of the
large ones.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin 2021, "Emerging Properties in
Self-Supervised Vision Transformers", arXiv 2104.14294, Algorithm 1. Centring and
sharpening of the teacher keep both from saying always the same.
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
    """Cross-entropy H(P_t, P_s) of every pair of views but those of a view with itself,
    averaged: equation 3.

    student (V, N, K): outputs for V views; teacher (G, N, K): for the first G of them;
    P_s = softmax(student / tau_s), P_t = softmax((teacher - centre) / tau_t). No
    gradient reaches the teacher. Returns a 0-d loss in nats, log K where both are
    uniform. Raises ValueError for a temperature <= 0 and where no pair is left, or V <
    G.
    """
    if len(student) < (least := max(2, len(teacher))):
        raise ValueError(
            f"argument `student`: expected {least} views or more, got {len(student)}"
        )
    # centre, then sharpen
    target = ((teacher.detach() - centre) / positive("tau_t", tau_t)).softmax(-1)
    log_p = (student / positive("tau_s", tau_s)).log_softmax(-1)
    # (G, V): the mean over pictures of H
    pairs = -torch.einsum("gnk,vnk->gv", target, log_p) / student.shape[1]
    # i = j is left out
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(pairs))


class Prototypes(nn.Module):
    """The head's last layer, weight-normalised: cosines of z with K learned directions,
    (N, d) -> (N, K)."""

    def __init__(self, dim: int, prototypes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(prototypes, dim))
        self.learns = True

    def forward(self, z: Tensor) -> Tensor:
        weight = self.weight
        if not self.learns:
            # the same values; the gradient is zeros, not None: DDP waits for one
            weight = weight.detach() + 0 * weight
        return F.normalize(z, dim=-1) @ F.normalize(weight, dim=-1).T


class DINO(Method):
    """encoder: images (N, C, H, W) of any size -> h (N, D); projector: h -> z (N, d);
    prototypes: z -> outputs (N, K).

    augment: images -> a list of views, the first two large ("global"), further ones
    small ("local"): the student sees them all, the teacher the large ones. Without
    small ones it is the paper's Algorithm 1. momentum: of the teacher, at first; it
    rises to 1 on a cosine. tau_t: the teacher's temperature, reached from tau_t_start
    in equal steps after the share `warmup` of the training; the prototypes stay where
    they are until `freeze` of it. The representation is the teacher's h, as in the
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
        self.warmup, self.freeze = (
            number("warmup", warmup, 0, 1),
            number("freeze", freeze, 0, 1),
        )
        self.register_buffer("centre", torch.zeros(len(prototypes.weight)))  # (K,)

    def teacher_temperature(self) -> float:
        done = min(1, self.progress / self.warmup) if self.warmup else 1
        return self.tau_t_start + done * (self.tau_t - self.tau_t_start)

    def loss(self, x: Tensor, y=None) -> Tensor:
        views = self.augment(x)
        self.student[2].learns = self.progress >= self.freeze
        teacher = self.teacher(torch.cat(views[:2]))  # (2N, K)
        student = [self.student(torch.cat(views[:2]))]  # one call for each size of view
        if views[2:]:
            student.append(self.student(torch.cat(views[2:])))
        self.step_outputs.append(teacher)
        student, teacher = (
            rearrange(o, "(v n) k -> v n k", n=len(x))
            for o in (torch.cat(student), teacher)
        )
        return dino_loss(
            student, teacher, self.centre, self.tau_s, self.teacher_temperature()
        )

    def after_step(self):
        ema(self.teacher, self.student, cosine_momentum(self.momentum, self.progress))
        # of what the teacher put out, before centring
        mean = gather(torch.cat(self.step_outputs)).mean(0)
        self.centre.lerp_(mean, 1 - self.centre_momentum)

    def encode(self, x: Tensor) -> Tensor:
        return self.teacher.net[0](x)
