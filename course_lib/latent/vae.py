"""Variational autoencoder: a latent-variable model trained by a lower bound on log
p(x), with an encoder as its guess.

Kingma & Welling 2013, "Auto-encoding variational Bayes" (arXiv 1312.6114), Algorithm 1.
Rezende, Mohamed, Wierstra 2014 (arXiv 1401.4082). beta: Higgins et al. 2017,
"beta-VAE". Importance weights: Burda, Grosse, Salakhutdinov 2015 (arXiv 1509.00519).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects, number
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(mean="float ... D", log_variance="float ... D", eps="float ... D")
def reparameterise(mean: Tensor, log_variance: Tensor, eps: Tensor) -> Tensor:
    """z = mean + sigma eps with sigma = exp(log_variance / 2): for eps ~ N(0, I) a draw
    from N(mean, sigma^2) through which gradients flow to both (section 2.4)."""
    return mean + (log_variance / 2).exp() * eps


@expects(mean="float ... D", log_variance="float ... D")
@full_precision
def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, I)) = 1/2 sum_d (mean_d^2 + sigma_d^2 - 1 - log
    sigma_d^2): (..., D) -> (...) nats, at least 0 (appendix B)."""
    return (mean.square() + log_variance.expm1() - log_variance).sum(-1) / 2


@expects(log_weights="float K N")
@full_precision
def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """log 1/K sum_k w_k: a bound on log p(x) that tightens with K (Burda et al. 2015,
    equation 8), (K, N) -> (N,) nats.

    log_weights: log p(x, z_k) - log q(z_k given x) for K draws z_k of q. K = 1 is one
    draw of the ELBO.
    """
    return log_weights.logsumexp(0) - math.log(count("K", len(log_weights)))


@expects(mean="float N D")
def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """How many of the D latent dimensions are in use: where the posterior mean varies
    over pictures by more than `threshold` in variance (Burda et al. 2015, section
    5.2)."""
    return int((mean.var(0, correction=0) > threshold).sum())


class VAE(Method):
    """encoder: images -> (N, 2 D), mean and log-variance of q(z given x); decoder: z
    (N, D) -> what the likelihood reads (`likelihoods.Bernoulli`, `Gaussian`); draw:
    what makes a batch of 8-bit pictures that likelihood's kind.

    The prior p(z) is N(0, I). The loss is -ELBO in nats, averaged over pictures. beta
    weighs the KL (below 1 this is no bound on log p(x) any more); during the first
    `warm_up` of the training, a share in [0, 1], it grows from 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: nn.Module,
        draw: Callable[[Tensor], Tensor] = nn.Identity(),
        beta: float = 1.0,
        warm_up: float = 0.0,
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood, self.draw = (
            encoder,
            decoder,
            likelihood,
            draw,
        )
        self.beta, self.warm_up = (
            number("beta", beta, 0),
            number("warm_up", warm_up, 0, 1),
        )

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z given x), (N, D) each."""
        return self.encoder(x).chunk(2, 1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """What the likelihood reads: z (N, D) -> (N, C, H, W)."""
        return self.decoder(z)

    def terms(
        self, x: Tensor, y: Tensor | None = None, eps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The ELBO's two terms, (N,) nats each: log p(x given z) at one draw z of q, by
        noise eps (N, D), and KL."""
        mean, log_variance = self.posterior(x, y)
        z = reparameterise(
            mean, log_variance, torch.randn_like(mean) if eps is None else eps
        )
        return self.likelihood.log_prob(self.decode(z, y), x), gaussian_kl(
            mean, log_variance
        )

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        log_likelihood, kl = self.terms(self.draw(x), y)
        beta = (
            self.beta * min(1.0, self.progress / self.warm_up)
            if self.warm_up
            else self.beta
        )
        return (beta * kl - log_likelihood).mean()

    def log_weights(self, x: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x, z_k) - log q(z_k given x) for noise eps (K, N, D): (K, N) nats, for
        `importance_weighted_bound`."""
        mean, log_variance = self.posterior(x, y)
        found = []
        for noise in eps:
            z = reparameterise(mean, log_variance, noise)
            # log p(z) - log q(z given x)
            log_ratio = (noise.square() - z.square() + log_variance).sum(1) / 2
            found.append(self.likelihood.log_prob(self.decode(z, y), x) + log_ratio)
        return torch.stack(found)

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean."""
        return self.posterior(x)[0]

    def pretext_score(self, x: Tensor) -> Tensor:
        """The ELBO (beta = 1) in nats, by one draw for each picture."""
        log_likelihood, kl = self.terms(self.draw(x))
        return (log_likelihood - kl).mean()
