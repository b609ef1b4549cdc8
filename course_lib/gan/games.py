"""The losses of the two players of a GAN, as functions of the discriminator's raw
outputs.

Goodfellow et al. 2014 (arXiv 1406.2661), Arjovsky, Chintala, Bottou 2017 (arXiv
1701.07875). A discriminator returns logits, with D(x) = sigmoid(logit). -log D =
softplus(-logit) and -log(1 - D) = softplus(logit) are finite for every logit. A critic
returns numbers f(x) that are not logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects
from course_lib.losses import full_precision


@expects(real="float N", fake="float M")
@full_precision
def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Returns -mean log D(x) - mean log(1 - D(G(z))), 0-d, from the logits of real and
    of generated pictures (section 3).

    For the optimal D* = p / (p + p_g), it is log 4 - 2 JSD(p, p_g) (theorem 1). If D is
    1/2 everywhere, it is log 4.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


@expects(fake="float N")
@full_precision
def saturating_loss(fake: Tensor) -> Tensor:
    """Returns mean log(1 - D(G(z))), 0-d: the generator's loss in the minimax game. Its
    derivative with respect to a logit is -D, near 0 where D recognises the fake."""
    return -F.softplus(fake).mean()


@expects(fake="float N")
@full_precision
def non_saturating_loss(fake: Tensor) -> Tensor:
    """Returns -mean log D(G(z)), 0-d. The game has the same fixed point as with the
    saturating loss, but the derivative is -(1 - D) (Goodfellow et al., end of section
    3)."""
    return F.softplus(-fake).mean()


@expects(real="float N", fake="float M")
@full_precision
def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Returns mean f(G(z)) - mean f(x), 0-d. The supremum of minus this loss over all
    1-Lipschitz f is the Wasserstein distance (Arjovsky et al., equation 2)."""
    return fake.mean() - real.mean()


@expects(fake="float N")
@full_precision
def critic_generator_loss(fake: Tensor) -> Tensor:
    """Returns -mean f(G(z)), 0-d (Arjovsky et al., algorithm 1, line 10)."""
    return -fake.mean()


class Game(NamedTuple):
    """The two losses of a game. discriminator: outputs for real and for generated
    pictures -> its loss. generator: outputs for generated pictures -> its loss."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


MINIMAX = Game(discriminator_loss, saturating_loss)
NON_SATURATING = Game(discriminator_loss, non_saturating_loss)
WASSERSTEIN = Game(critic_loss, critic_generator_loss)


@expects(log_p="float ...", log_q="float ...")
def optimal_logit(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Returns log p - log q: the logit of D* = p / (p + q), the optimal discriminator
    at each point between data of density p and generated data of density q."""
    return log_p - log_q


@expects(p="float K", q="float K")
@full_precision
def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Returns JSD = [KL(p || m) + KL(q || m)] / 2 with m = (p + q) / 2, in nats, 0-d,
    for two distributions given by K probabilities each.

    JSD is 0 for p = q. It is log 2 if no outcome has positive probability in both,
    however far apart the outcomes are.
    """
    m = (p + q) / 2
    return (
        torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)
    ).sum() / 2
