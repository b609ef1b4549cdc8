"""Wasserstein GANs: the critic's slope is bounded by clipped weights (WGAN) or by a
gradient penalty (WGAN-GP).

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
    """A Wasserstein GAN whose critic's weights are clipped to [-clip, clip] after every
    update of the critic.

    So the critic is Lipschitz, but its constant is not set directly. The critic should
    have no BatchNorm, because the theory is about functions of a single picture.
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
        # clips after the last update; before the first update, the initial weights
        self.clip_weights()
        return super().discriminator_loss(x, y)

    def generator_loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        self.clip_weights()
        return super().generator_loss(x, y)


@full_precision
def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, t: Tensor
) -> Tensor:
    """Returns mean (||grad f(x_t)|| - 1)^2 at x_t = t x + (1 - t) G(z), 0-d (Gulrajani
    et al., equation 3 without lambda).

    t: (N,) in [0, 1]. The critic must not have BatchNorm, because the penalty is on the
    gradient for each picture separately.
    """
    t = t.view(-1, *[1] * (real.ndim - 1))
    between = (t * real + (1 - t) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


class GradientPenalty:
    """`gradient_penalty` times weight, at random points between the real and the
    generated batch. It can be used as the `penalty` of a `GAN`.

    The paper's weight 10 is for pictures in [-1, 1].
    """

    def __init__(self, weight: float = 10.0):
        self.weight = positive("weight", weight)

    def __call__(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
    ) -> Tensor:
        t = torch.rand(len(real), device=real.device)
        return self.weight * gradient_penalty(critic, real, fake, t)
