"""A GAN that is told the class: conditional BatchNorm in the generator, a projection in
the discriminator.

Miyato & Koyama 2018, "cGANs with Projection Discriminator", arXiv 1802.05637. De Vries
et al. 2017 (arXiv 1707.00683) and Dumoulin et al. 2017 (arXiv 1610.07629): norms with a
gain and a bias for each condition. Brock, Donahue, Simonyan 2018, "Large Scale GAN
Training for High Fidelity Natural Image Synthesis" (BigGAN), arXiv 1809.11096: both,
very large, and truncated noise.
"""

import torch
from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.gan.gan import GAN
from course_lib.nets.dcgan import Discriminator, normal_weights


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose gain and bias are the label's: maps (N, channels, H, W), labels
    (N,) -> maps."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = (
            nn.Embedding(classes, channels),
            nn.Embedding(classes, channels),
        )
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (
            self.gain(y)[:, :, None, None] * self.norm(x)
            + self.bias(y)[:, :, None, None]
        )


class ProjectionDiscriminator(nn.Module):
    """logit(x, y) = psi(h) + <v_y, h>, h the discriminator's last maps in one row: the
    first term, its own logit, asks whether x is real, the second whether it is a y
    (Miyato & Koyama, equation 4). Pictures and labels (N,) -> (N,)."""

    def __init__(self, discriminator: Discriminator, classes: int):
        super().__init__()
        self.discriminator = discriminator
        # row y is v_y
        self.classes = normal_weights(nn.Linear(discriminator.dim, classes, bias=False))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.discriminator.maps(x)[-1].flatten(1)
        return self.discriminator.out(h).squeeze(1) + (self.classes.weight[y] * h).sum(
            1
        )

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(x)


class ConditionalGAN(GAN):
    """generator: z (N, dim) and labels (N,) -> fakes; discriminator: a
    `ProjectionDiscriminator`, or what has its `features` and `classes`. Fakes get the
    labels of the batch, so that both are equally frequent."""

    def generate(self, z: Tensor, y: Tensor) -> Tensor:
        return self.painter(z, y)

    def sample(self, n: int) -> Tensor:
        """n fakes, every label in turn."""
        z = self.noise(n)
        return self.generate(
            z,
            torch.arange(n, device=z.device) % self.discriminator.classes.out_features,
        )

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        return self.discriminator(x, y)


@expects(z="float N D")
def truncated(z: Tensor, threshold: float) -> Tensor:
    """The truncation trick (Brock et al., section 3.1): numbers of |z| > threshold are
    drawn anew until none is left.

    By the inverse of the distribution function instead of many draws: z keeps its
    quantile among what is left. Less variety for more typical pictures, with the
    generator as it is. z (N, D) standard normal -> (N, D).
    """
    edge = torch.special.ndtr(
        torch.tensor(float(positive("threshold", threshold)), dtype=torch.float64)
    )
    quantile = (1 - edge) + (2 * edge - 1) * torch.special.ndtr(z.double())
    return torch.special.ndtri(quantile).clamp(-threshold, threshold).to(z.dtype)
