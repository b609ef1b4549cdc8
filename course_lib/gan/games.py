"""What the two players of a GAN minimise, as pairs of losses on the discriminator's raw
outputs.

Goodfellow et al. 2014 (arXiv 1406.2661), Arjovsky, Chintala, Bottou 2017 (arXiv
1701.07875). A discriminator returns logits, D(x) = sigmoid(logit); -log D =
softplus(-logit) and -log(1 - D) = softplus(logit) are finite for every logit. A critic
returns numbers that are no logits of anything.
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
    """-mean log D(x) - mean log(1 - D(G(z))), of the logits of real pictures and of
    fakes: 0-d (section 3).

    At its best D* = p / (p + p_g) it is log 4 - 2 JSD(p, p_g) (theorem 1); for a D of
    1/2 everywhere, log 4.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


@expects(fake="float N")
@full_precision
def saturating_loss(fake: Tensor) -> Tensor:
    """mean log(1 - D(G(z))): the game's own value. Its slope for a logit is -D, nothing
    where D sees through."""
    return -F.softplus(fake).mean()


@expects(fake="float N")
@full_precision
def non_saturating_loss(fake: Tensor) -> Tensor:
    """-mean log D(G(z)): the same fixed point, and a slope of -(1 - D) (Goodfellow et
    al., end of section 3)."""
    return F.softplus(-fake).mean()


@expects(real="float N", fake="float M")
@full_precision
def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """mean f(G(z)) - mean f(x): minus the difference whose supremum over 1-Lipschitz f
    is the Wasserstein distance (Arjovsky et al., equation 2)."""
    return fake.mean() - real.mean()


@expects(fake="float N")
@full_precision
def critic_generator_loss(fake: Tensor) -> Tensor:
    """-mean f(G(z)) (Arjovsky et al., algorithm 1, line 10)."""
    return -fake.mean()


class Game(NamedTuple):
    """discriminator: outputs for real pictures and for fakes -> its loss; generator:
    outputs for fakes -> its loss."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


MINIMAX = Game(discriminator_loss, saturating_loss)
NON_SATURATING = Game(discriminator_loss, non_saturating_loss)
WASSERSTEIN = Game(critic_loss, critic_generator_loss)


@expects(log_p="float ...", log_q="float ...")
def optimal_logit(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log p - log q: the logit of D* = p / (p + q), the best answer to data p against
    fakes q at each point."""
    return log_p - log_q


@expects(p="float K", q="float K")
@full_precision
def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """JSD = [KL(p || m) + KL(q || m)] / 2 with m = (p + q) / 2, in nats, of two tables
    of K probabilities: 0-d.

    From 0, for p = q, to log 2, where no entry is in both: however far apart those
    entries are.
    """
    m = (p + q) / 2
    return (
        torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)
    ).sum() / 2
