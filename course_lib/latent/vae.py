"""Variational autoencoder: a latent-variable model that is trained with a lower bound
on log p(x). An encoder approximates the posterior of the latent variable.

Kingma & Welling 2013, "Auto-encoding variational Bayes" (arXiv 1312.6114), Algorithm 1.
Rezende, Mohamed, Wierstra 2014 (arXiv 1401.4082). beta: Higgins et al. 2017,
"beta-VAE". Importance weights: Burda, Grosse, Salakhutdinov 2015 (arXiv 1509.00519).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects, number
from course_lib.generator import sampling, zeros_like_data
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(mean="float ... D", log_variance="float ... D", eps="float ... D")
def reparameterise(mean: Tensor, log_variance: Tensor, eps: Tensor) -> Tensor:
    """Returns z = mean + sigma eps with sigma = exp(log_variance / 2). For eps ~ N(0,
    I), z is a draw from N(mean, sigma^2), and gradients flow to mean and log_variance
    (section 2.4)."""
    return mean + (log_variance / 2).exp() * eps


@expects(mean="float ... D", log_variance="float ... D")
@full_precision
def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Returns KL(N(mean, sigma^2) || N(0, I)) = 1/2 sum_d (mean_d^2 + sigma_d^2 - 1 -
    log sigma_d^2), (..., D) -> (...) nats. It is at least 0 (appendix B)."""
    return (mean.square() + log_variance.expm1() - log_variance).sum(-1) / 2


@expects(log_weights="float K N")
@full_precision
def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Returns log 1/K sum_k w_k, (K, N) -> (N,) nats: a bound on log p(x) that becomes
    tighter with K (Burda et al. 2015, equation 8).

    log_weights: log p(x, z_k) - log q(z_k given x) for K draws z_k of q. K = 1 gives
    the ELBO, estimated from one draw.
    """
    return log_weights.logsumexp(0) - math.log(count("K", len(log_weights)))


@expects(mean="float N D")
def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """Returns how many of the D latent dimensions are in use. In those, the variance of
    the posterior mean over the pictures is above `threshold` (Burda et al. 2015,
    section 5.2)."""
    return int((mean.var(0, correction=0) > threshold).sum())


class VAE(Method):
    """A variational autoencoder with the prior p(z) = N(0, I). The loss is -ELBO in
    nats, averaged over pictures.

    encoder: images -> (N, 2 D), mean and log-variance of q(z given x). decoder: z (N,
    D) -> the parameters of the likelihood. likelihood: `likelihoods.Bernoulli` or
    `Gaussian`, for example. draw: converts a batch of 8-bit pictures to the kind of
    pixels that the likelihood needs (`binarise`, `dequantise`). beta: the weight of the
    KL; with beta < 1, the loss no longer bounds -log p(x). warm_up: the fraction of the
    training, in [0, 1], during which the weight of the KL grows from 0 to beta.
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
        self.encoder, self.decoder = encoder, decoder
        self.likelihood, self.draw = likelihood, draw
        self.beta = number("beta", beta, 0)
        self.warm_up = number("warm_up", warm_up, 0, 1)

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance of q(z given x), (N, D) each."""
        return self.encoder(x).chunk(2, 1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns the parameters of the likelihood, z (N, D) -> (N, C, H, W)."""
        return self.decoder(z)

    @sampling
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Returns the means of the likelihood for n latents z drawn from the prior."""
        mean, _ = self.posterior(zeros_like_data(self, n), y)
        return self.likelihood.mean(self.decode(torch.randn_like(mean), y)).clamp(0, 1)

    def terms(
        self, x: Tensor, y: Tensor | None = None, eps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the two terms of the ELBO, (N,) nats each: log p(x given z) at one
        draw z of q, and the KL. eps (N, D): the noise of the draw; None: drawn here."""
        mean, log_variance = self.posterior(x, y)
        eps = torch.randn_like(mean) if eps is None else eps
        z = reparameterise(mean, log_variance, eps)
        log_likelihood = self.likelihood.log_prob(self.decode(z, y), x)
        return log_likelihood, gaussian_kl(mean, log_variance)

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        log_likelihood, kl = self.terms(self.draw(x), y)
        beta = self.beta
        if self.warm_up:
            beta = self.beta * min(1.0, self.progress / self.warm_up)
        return (beta * kl - log_likelihood).mean()

    def log_weights(self, x: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns log p(x, z_k) - log q(z_k given x), (K, N) nats, for noise eps (K, N,
        D). `importance_weighted_bound` needs these weights."""
        mean, log_variance = self.posterior(x, y)
        weights = []
        for noise in eps:
            z = reparameterise(mean, log_variance, noise)
            # log p(z) - log q(z given x)
            log_ratio = (noise.square() - z.square() + log_variance).sum(1) / 2
            weights.append(self.likelihood.log_prob(self.decode(z, y), x) + log_ratio)
        return torch.stack(weights)

    def encode(self, x: Tensor) -> Tensor:
        """Returns the posterior mean."""
        return self.posterior(x)[0]

    def pretext_score(self, x: Tensor) -> Tensor:
        """Returns the ELBO (beta = 1) in nats, estimated with one draw for each
        picture."""
        log_likelihood, kl = self.terms(self.draw(x))
        return (log_likelihood - kl).mean()
