"""Conditional VAE: encoder and decoder get the label, so z only has to describe what
the label does not determine.

Kingma, Rezende, Mohamed, Welling 2014 (arXiv 1406.5298), M2 with all labels known.
Sohn, Lee, Yan 2015, "Learning structured output representation using deep conditional
generative models". The loss bounds log p(x given y).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import label_for_each
from course_lib.generator import class_labels
from course_lib.latent.vae import VAE, importance_weighted_bound
from course_lib.train import Method


class ConditionalVAE(VAE):
    """A VAE whose encoder and decoder get the label as a one-hot row.

    encoder: images -> h (N, F). head: h and the one-hot row, (N, F + classes) -> mean
    and log-variance, (N, 2 D). decoder: z and the one-hot row, (N, D + classes) -> the
    parameters of the likelihood. The other arguments are those of `VAE`.
    """

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
        label_for_each("y", y, len(rows), self.classes)
        return torch.cat([rows, F.one_hot(y, self.classes).to(rows.dtype)], 1)

    def posterior(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.with_label(self.encoder(x), y)).chunk(2, 1)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return self.decoder(self.with_label(z, y))

    def sample_labels(self, n: int, y: Tensor | None = None) -> Tensor:
        return class_labels(n, self.classes, y)

    def encode(self, x: Tensor) -> Tensor:
        """Raises NotImplementedError, as in Method, because there is no good
        representation: z need not contain the information in the label, and neither
        need h."""
        return Method.encode(self, x)

    def pretext_score(self, x: Tensor) -> Tensor:
        """Returns a bound on log p(x) in nats: log of the mean of e^ELBO over all
        labels, which are equally likely, with one draw for each label."""
        x, bounds = self.draw(x), []
        for label in range(self.classes):
            y = torch.full((len(x),), label, device=x.device)
            log_likelihood, kl = self.terms(x, y)
            bounds.append(log_likelihood - kl)
        return importance_weighted_bound(torch.stack(bounds)).mean()
