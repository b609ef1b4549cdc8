"""Free bits: a VAE whose loss does not reward a latent dimension for giving up its last
few nats.

Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling 2016, "Improving variational
inference with inverse autoregressive flow" (arXiv 1606.04934), with one group for each
latent dimension.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects, number
from course_lib.latent.vae import VAE, gaussian_kl, reparameterise


@expects(mean="float N D", log_variance="float N D")
def free_bits_rate(mean: Tensor, log_variance: Tensor, free: float) -> Tensor:
    """Returns sum_d max(free, KL_d) in nats, 0-d, where KL_d is the mean of the d-th
    dimension's KL over the N pictures.

    A dimension below `free` nats costs `free` and gets no gradient, so it loses nothing
    by using them.
    """
    number("free", free, 0)
    kl = gaussian_kl(mean[..., None], log_variance[..., None]).mean(0)
    return kl.clamp(min=free).sum()


class FreeBitsVAE(VAE):
    """A VAE that is trained with `free_bits_rate` in place of the KL (beta = 1).

    free: in nats for each latent dimension; 0 gives the VAE. The other arguments are
    those of `VAE`. Only the loss differs: `terms` and the bounds contain the true KL.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: nn.Module,
        draw: Callable[[Tensor], Tensor] = nn.Identity(),
        free: float = 0.0,
    ):
        super().__init__(encoder, decoder, likelihood, draw)
        self.free = number("free", free, 0)

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.draw(x)
        mean, log_variance = self.posterior(x, y)
        z = reparameterise(mean, log_variance, torch.randn_like(mean))
        log_likelihood = self.likelihood.log_prob(self.decode(z, y), x)
        return free_bits_rate(mean, log_variance, self.free) - log_likelihood.mean()
