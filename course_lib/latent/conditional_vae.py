"""Conditional VAE: encoder and decoder are told the label, so z is left with what the
label does not say.

Kingma, Rezende, Mohamed, Welling 2014 (arXiv 1406.5298), M2 with all labels known.
Sohn, Lee, Yan 2015, "Learning structured output representation using deep conditional
generative models". Bounds log p(x given y).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.latent.vae import VAE, importance_weighted_bound
from course_lib.train import Method


class ConditionalVAE(VAE):
    """encoder: images -> h (N, F); head: h and the label's one-hot row, (N, F +
    classes) -> (N, 2 D); decoder: z and that row, (N, D + classes) -> what the
    likelihood reads. The rest is VAE's."""

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        decoder: nn.Module,
        likelihood: nn.Module,
        classes: int,
        draw: Callable[[Tensor], Tensor] = nn.Identity(),
    ):
        super().__init__(encoder, decoder, likelihood, draw)
        self.head, self.classes = head, classes

    def with_label(self, rows: Tensor, y: Tensor) -> Tensor:
        return torch.cat([rows, F.one_hot(y, self.classes).to(rows.dtype)], 1)

    def posterior(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.with_label(self.encoder(x), y)).chunk(2, 1)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return self.decoder(self.with_label(z, y))

    def encode(self, x: Tensor) -> Tensor:
        """Not defined, as in Method: z is what the label leaves to be said, and h need
        not know the label."""
        return Method.encode(self, x)

    def pretext_score(self, x: Tensor) -> Tensor:
        """A bound on log p(x) in nats, by one draw for each label, all equally likely:
        log of the mean of e^ELBO."""
        x, bounds = self.draw(x), []
        for label in range(self.classes):
            log_likelihood, kl = self.terms(
                x, torch.full((len(x),), label, device=x.device)
            )
            bounds.append(log_likelihood - kl)
        return importance_weighted_bound(torch.stack(bounds)).mean()
