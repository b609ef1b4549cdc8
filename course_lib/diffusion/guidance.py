"""Guidance: samples that fit their label more strongly. Guidance changes the noise
prediction that a sampler calls; the samplers themselves stay the same.

Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis" (arXiv
2105.05233): guidance by a classifier. Ho & Salimans 2022, "Classifier-Free Diffusion
Guidance" (arXiv 2207.12598): guidance by the model itself. The weight w is that of the
second paper.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects_values, label_for_each, number, number_or_rows
from course_lib.diffusion.ddpm import normalise
from course_lib.diffusion.gaussians import q_sample
from course_lib.diffusion.samplers import EpsFn
from course_lib.diffusion.schedules import Schedule
from course_lib.supervised import cross_entropy
from course_lib.train import Method

LARGEST = 1e4  # weight allowed; far above all useful ones


@expects_values(w=number_or_rows(-1, LARGEST))
def guided(eps: Callable[..., Tensor], y: Tensor, w: float | Tensor) -> EpsFn:
    """Returns the function (1 + w) eps(x_t, t, y) - w eps(x_t, t) for a sampler:
    classifier-free guidance (equation 6).

    eps: (x_t, t, y) or (x_t, t) -> noise of the shape of x_t (N, ...). y: N labels. w =
    0 gives the conditional model, which costs half as much; w = -1 gives the
    unconditional model. w may be a tensor (N,), with one weight for each row.
    """
    if not isinstance(w, Tensor) and number("w", w, -1, LARGEST) == 0:
        return lambda x_t, t: eps(x_t, t, y)

    def eps_fn(x_t: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = eps(x_t, t, y), eps(x_t, t)
        return conditional + _by_row(w, conditional) * (conditional - unconditional)

    return eps_fn


def in_interval(guided_fn: EpsFn, eps_fn: EpsFn, low: int, high: int) -> EpsFn:
    """Returns the function that is guided_fn in the rows with low <= t < high and
    eps_fn in the other rows: guidance at some levels of noise only.

    Kynkäänniemi et al. 2024 (arXiv 2404.07724). A function is only called if a row
    needs it. So a sampler, where all rows have the same t, calls one of them per step.
    """

    def interval_fn(x_t: Tensor, t: Tensor) -> Tensor:
        inside = (low <= t) & (t < high)
        if inside.all():
            return guided_fn(x_t, t)
        if not inside.any():
            return eps_fn(x_t, t)
        inside = inside.view(-1, *[1] * (x_t.ndim - 1))
        return torch.where(inside, guided_fn(x_t, t), eps_fn(x_t, t))

    return interval_fn


@expects_values(scale=number_or_rows(-1, LARGEST))
def classifier_guided(
    eps_fn: EpsFn,
    log_prob: Callable[..., Tensor],
    y: Tensor,
    scale: float | Tensor,
    schedule: Schedule,
) -> EpsFn:
    """Returns the function eps_fn(x_t, t) - scale sqrt(1 - abar_t) grad log p(y given
    x_t) for a sampler: classifier guidance (Dhariwal & Nichol, Algorithm 2).

    log_prob: (x_t, t, y) -> log p(y given x_t), (N,), where each value depends on its
    own row only. Its gradient with respect to x_t is computed here, also inside a
    sampler's `no_grad`. For weight w, scale is w if eps_fn is the conditional model,
    and 1 + w if it is the unconditional one. scale may be a tensor (N,), with one value
    for each row.
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
    """Returns the gradient of log p(y given x_t) with respect to x_t, of the shape of
    x_t. The classifier's weights get no gradient."""
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        # rows are independent, so the sum has the gradient of each row
        return torch.autograd.grad(log_prob(x_t, t, y).sum(), x_t)[0]


def _by_row(factor: float | Tensor, like: Tensor) -> float | Tensor:
    return (
        factor.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
        if isinstance(factor, Tensor)
        else factor
    )


class NoisyClassifier(Method):
    """A classifier p(y given x_t) that is trained at all noise levels.

    encoder.features: x_t, t -> (N, D). classifier: (N, D) -> (N, classes). A classifier
    that was trained on clean pictures only has no useful gradient at the high noise
    levels where a sampler starts.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        betas: Tensor,
        pictures: bool = True,
    ):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier
        self.schedule, self.pictures = Schedule(betas), pictures

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.classifier(self.encoder.features(x_t, t))

    def log_prob(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Returns log p(y given x_t), (N,)."""
        logits = self.logits(x_t, t)
        label_for_each("y", y, *logits.shape)
        return logits.log_softmax(1).gather(1, y[:, None])[:, 0]

    def noised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Draws steps t, all equally likely, and noise; returns x_t and t."""
        x0 = normalise(x, self.pictures)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        return q_sample(x0, self.schedule.abar[t], torch.randn_like(x0)), t

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.logits(*self.noised(x)), y)

    def encode(self, x: Tensor) -> Tensor:
        """Returns the features of the picture without noise, with t = 0."""
        t = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.encoder.features(normalise(x, self.pictures), t)
