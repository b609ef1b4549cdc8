"""A class-conditional GAN: conditional BatchNorm in the generator, a projection in the
discriminator.

Miyato & Koyama 2018, "cGANs with Projection Discriminator", arXiv 1802.05637. De Vries
et al. 2017 (arXiv 1707.00683) and Dumoulin et al. 2017 (arXiv 1610.07629): norms with a
gain and a bias for each condition. Brock, Donahue, Simonyan 2018, "Large Scale GAN
Training for High Fidelity Natural Image Synthesis" (BigGAN), arXiv 1809.11096: both in
very large networks, and truncated noise.
"""

import torch
from torch import Tensor, nn

from course_lib.checks import expects, label_for_each, positive
from course_lib.gan.gan import GAN
from course_lib.generator import class_labels
from course_lib.nets.dcgan import Discriminator, normal_weights


class ConditionalBatchNorm(nn.Module):
    """BatchNorm with a gain and a bias for each class: maps (N, channels, H, W) and
    labels (N,) -> maps."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        label_for_each("y", y, len(x), self.gain.num_embeddings)
        gain, bias = self.gain(y)[:, :, None, None], self.bias(y)[:, :, None, None]
        return gain * self.norm(x) + bias


class ProjectionDiscriminator(nn.Module):
    """Pictures x and labels y (N,) -> logit(x, y) = psi(h) + <v_y, h>, (N,) (Miyato &
    Koyama, equation 4).

    h are the discriminator's last feature maps, flattened. psi(h), the discriminator's
    own logit, measures whether x is real, and <v_y, h> whether x belongs to class y.
    """

    def __init__(self, discriminator: Discriminator, classes: int):
        super().__init__()
        self.discriminator = discriminator
        # row y is v_y
        self.classes = normal_weights(nn.Linear(discriminator.dim, classes, bias=False))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        label_for_each("y", y, len(x), self.classes.out_features)
        h = self.discriminator.maps(x)[-1].flatten(1)
        projection = (self.classes.weight[y] * h).sum(1)
        return self.discriminator.out(h).squeeze(1) + projection

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(x)


class ConditionalGAN(GAN):
    """A GAN whose generator and discriminator get the labels.

    generator: z (N, dim) and labels (N,) -> generated pictures. discriminator: a
    `ProjectionDiscriminator`, or a module that also has `features` and `classes`.
    Generated pictures get the labels of the real batch, so that each label is equally
    frequent in both.
    """

    def generate(self, z: Tensor, y: Tensor) -> Tensor:
        return self.active_generator(z, y)

    @property
    def classes(self) -> int:
        return self.discriminator.classes.out_features

    def sample_labels(self, n: int, y: Tensor | None = None) -> Tensor:
        return class_labels(n, self.classes, y)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        return self.discriminator(x, y)

    def pretext_score(self, x: Tensor) -> float:
        """Returns the score of a `GAN`. The fakes have the labels in turn."""
        return super().pretext_score(x, torch.arange(len(x)) % self.classes)


@expects(z="float N D")
def truncated(z: Tensor, threshold: float) -> Tensor:
    """Returns noise of the truncated normal distribution, without numbers |z| >
    threshold: z (N, D), standard normal, -> (N, D). This is the truncation trick (Brock
    et al., section 3.1).

    The paper draws such numbers again until none is left. This function uses the
    inverse of the distribution function instead: each number keeps its quantile. The
    generated pictures are more typical and less diverse, with the same generator.
    """
    edge = torch.special.ndtr(
        torch.tensor(float(positive("threshold", threshold)), dtype=torch.float64)
    )
    quantile = (1 - edge) + (2 * edge - 1) * torch.special.ndtr(z.double())
    return torch.special.ndtri(quantile).clamp(-threshold, threshold).to(z.dtype)
