"""Guidance: more of what was asked for. It wraps the noise that a sampler asks for;
samplers never know.

Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis" (arXiv
2105.05233): by a classifier. Ho & Salimans 2022, "Classifier-Free Diffusion Guidance"
(arXiv 2207.12598): by the model itself. w as in the latter.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import number
from course_lib.diffusion.ddpm import normalise
from course_lib.diffusion.gaussians import q_sample
from course_lib.diffusion.samplers import EpsFn
from course_lib.diffusion.schedules import Schedule
from course_lib.supervised import cross_entropy
from course_lib.train import Method

LARGEST = 1e4  # weight; far beyond any use


def guided(eps: Callable[..., Tensor], y: Tensor, w: float | Tensor) -> EpsFn:
    """(1 + w) eps(x_t, t, y) - w eps(x_t, t): classifier-free guidance (equation 6),
    what a sampler is given.

    eps: (x_t, t, y) or (x_t, t) -> noise like x_t (N, ...). y: N labels. w = 0 is the
    conditional model, at half the cost; w = -1 the unconditional one. A tensor (N,):
    each row its own.
    """
    if not isinstance(w, Tensor) and number("w", w, -1, LARGEST) == 0:
        return lambda x_t, t: eps(x_t, t, y)

    def eps_fn(x_t: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = eps(x_t, t, y), eps(x_t, t)
        return conditional + _by_row(w, conditional) * (conditional - unconditional)

    return eps_fn


def classifier_guided(
    eps_fn: EpsFn,
    log_prob: Callable[..., Tensor],
    y: Tensor,
    scale: float | Tensor,
    schedule: Schedule,
) -> EpsFn:
    """eps_fn(x_t, t) - scale sqrt(1 - abar_t) grad log p(y given x_t) (Dhariwal &
    Nichol, Algorithm 2).

    log_prob: (x_t, t, y) -> log p(y given x_t), (N,), each of its own row; its gradient
    for x_t is taken here, also inside a sampler's `no_grad`. scale = w where eps_fn is
    the conditional model, 1 + w where it is the unconditional one; a tensor (N,): each
    row its own.
    """

    if not isinstance(scale, Tensor):
        number("scale", scale, -1, LARGEST)

    def guided_fn(x_t: Tensor, t: Tensor) -> Tensor:
        # eps = -sqrt(1 - abar) score
        root = (1 - schedule.abar[t]).sqrt().to(x_t.dtype)
        return eps_fn(x_t, t) - _by_row(scale * root, x_t) * input_gradient(
            log_prob, x_t, t, y
        )

    return guided_fn


def input_gradient(
    log_prob: Callable[..., Tensor], x_t: Tensor, t: Tensor, y: Tensor
) -> Tensor:
    """grad log p(y given x_t) for x_t: like x_t. No gradient reaches the classifier's
    weights."""
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        # the sum: rows do not see each other
        return torch.autograd.grad(log_prob(x_t, t, y).sum(), x_t)[0]


def _by_row(factor: float | Tensor, like: Tensor) -> float | Tensor:
    return (
        factor.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
        if isinstance(factor, Tensor)
        else factor
    )


class NoisyClassifier(Method):
    """p(y given x_t) at every level of noise. encoder.features: x_t, t -> (N, D);
    classifier: (N, D) -> (N, classes).

    A classifier that only saw clean pictures has no useful gradient where a sampler
    begins.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        betas: Tensor,
        pictures: bool = True,
    ):
        super().__init__()
        self.encoder, self.classifier, self.schedule = (
            encoder,
            classifier,
            Schedule(betas),
        )
        self.pictures = pictures

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.classifier(self.encoder.features(x_t, t))

    def log_prob(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """log p(y given x_t), (N,)."""
        return self.logits(x_t, t).log_softmax(1).gather(1, y[:, None])[:, 0]

    def noised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and t, every step equally likely."""
        x0 = normalise(x, self.pictures)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        return q_sample(x0, self.schedule.abar[t], torch.randn_like(x0)), t

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.logits(*self.noised(x)), y)

    def encode(self, x: Tensor) -> Tensor:
        """The features of the picture as it is, as if at the first step."""
        t = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.encoder.features(normalise(x, self.pictures), t)
