"""Wasserstein GANs: a critic that may not be steep, by clipped weights or by a penalty
on its slope.

Arjovsky, Chintala, Bottou 2017, "Wasserstein GAN", arXiv 1701.07875, algorithm 1.
Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville 2017, "Improved Training of Wasserstein
GANs", arXiv 1704.00028, algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import positive
from course_lib.gan.games import WASSERSTEIN
from course_lib.gan.gan import GAN
from course_lib.losses import full_precision


class WGAN(GAN):
    """The first way: after every update of the critic its weights are cut off at -clip
    and clip.

    That keeps it Lipschitz, with a constant that nobody chose. No BatchNorm in the
    critic is asked for by the theory.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        dim: int,
        k: int = 5,
        clip: float = 0.01,
    ):
        super().__init__(generator, critic, dim, WASSERSTEIN, k)
        self.clip = positive("clip", clip)

    @torch.no_grad()
    def clip_weights(self):
        for p in self.discriminator.parameters():
            p.clamp_(-self.clip, self.clip)

    def discriminator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        # what the last update left; before the first one, what the start left
        self.clip_weights()
        return super().discriminator_loss(x, y)

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        self.clip_weights()
        return super().generator_loss(x, y)


@full_precision
def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, t: Tensor
) -> Tensor:
    """mean (||grad f(x_t)|| - 1)^2 at x_t = t x + (1 - t) G(z), 0-d (Gulrajani et al.,
    equation 3 without lambda).

    t (N,) in [0, 1]. No BatchNorm in the critic: the penalty is on the slope for each
    picture by itself.
    """
    t = t.view(-1, *[1] * (real.ndim - 1))
    between = (t * real + (1 - t) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


class GradientPenalty:
    """`gradient_penalty` times weight, at points drawn between the two batches: a GAN's
    `penalty`.

    The paper's weight 10 is for pictures in [-1, 1].
    """

    def __init__(self, weight: float = 10.0):
        self.weight = positive("weight", weight)

    def __call__(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
    ) -> Tensor:
        return self.weight * gradient_penalty(
            critic, real, fake, torch.rand(len(real), device=real.device)
        )
