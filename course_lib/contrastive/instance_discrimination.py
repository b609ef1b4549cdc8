"""Instance discrimination: every picture is a class of its own, and a memory bank
remembers what each looked like.

Wu, Xiong, Yu, Lin 2018, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", arXiv 1805.01978. A row of the bank stands where a classifier would
have a weight vector: that is the non-parametric softmax, equation 2.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import count, expects, number, positive
from course_lib.data import Dataset, as_float
from course_lib.distributed import gather
from course_lib.losses import full_precision, info_nce
from course_lib.train import Method


@expects(v="float N D", bank="float M D", rows="int N")
@full_precision
def non_parametric_softmax(
    v: Tensor, bank: Tensor, rows: Tensor, temperature: float = 0.07
) -> Tensor:
    """-log P(row_i | v_i), averaged: P(j | v) = exp(v . bank_j / tau) / sum_k exp(v .
    bank_k / tau), equation 2.

    v (N, D), bank (M, D): unit vectors; rows (N,): the bank's row of each v. Returns a
    0-d loss in nats, log M for a bank of equal rows. Raises ValueError for a
    temperature <= 0.
    """
    return info_nce(v @ bank.T / positive("temperature", temperature), rows)


@expects(v="float N D", bank="float M D", rows="int N", noise="int N K")
@full_precision
def noise_contrastive(
    v: Tensor,
    bank: Tensor,
    rows: Tensor,
    noise: Tensor,
    log_z: Tensor | float,
    temperature: float = 0.07,
) -> Tensor:
    """Noise-contrastive estimation, equations 4 to 7: is this row the picture's own, or
    one of K drawn at random?

    v, bank, rows: as above; noise (N, K): rows drawn uniformly from all M. With P(j |
    v) = exp(v . bank_j / tau) / Z and h = P / (P + K / M), returns the mean over N of
    -log h(own) - sum_K log(1 - h(noise)): one binary question each, so that no sum over
    the bank is needed once Z is known. Raises ValueError for a temperature <= 0.
    """
    own = (v * bank[rows]).sum(1) / positive("temperature", temperature)  # (N,)
    others = torch.einsum("nd,nkd->nk", v, bank[noise]) / temperature
    # h = sigmoid(v . bank_j / tau - offset)
    offset = log_z + math.log(noise.shape[1] / len(bank))
    return (F.softplus(offset - own) + F.softplus(others - offset).sum(1)).mean()


@full_precision
def log_partition(v: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """log of Z: the mean over v of sum_j exp(v . bank_j / tau), 0-d. (Equation 8 takes
    a sample of j; this, all.)"""
    scores = v @ bank.T / temperature  # (N, M)
    return scores.flatten().logsumexp(0) - math.log(len(v))


class InstanceDiscrimination(Method):
    """Full softmax over the bank: exact, and cheap for the course's 20,000 pictures.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> (N, dim); augment:
    images -> a random view of each; images: how many there are (rows beyond the data
    stay random negatives). `loss` wants each picture's row as y. momentum: of the
    memory, 0 replaces a row by the newest view (0.5 in the authors' code, where the
    paper has a proximal term to the same end).
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        images: int,
        dim: int,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ):
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment
        self.temperature, self.momentum = (
            positive("temperature", temperature),
            number("momentum", momentum, 0, 1),
        )
        shape = count("images", images), count("dim", dim)
        # (images, dim), unit rows
        self.register_buffer("bank", F.normalize(torch.randn(shape), dim=1))

    def before_epoch(self, data: Dataset):
        """Fills the bank with views under the untrained network: from random rows the
        first epoch learns noise only."""
        if len(data) > len(self.bank):
            raise ValueError(
                f"argument `images`: expected the data's {len(data)} or more, got "
                f"{len(self.bank)}"
            )
        # what is streamed from disk keeps its random rows
        if self.progress == 0 and isinstance(data, Dataset):
            if not torch.equal(data.y, torch.arange(len(data), device=data.y.device)):
                raise ValueError(
                    "argument `data`: expected each row's index as y, as from "
                    "by_row(data), got other y"
                )
            views = [
                self.embed(as_float(x))
                for x in data.x.tensor_split(-(-len(data) // 512))
            ]
            self.bank[: len(data)] = torch.cat(views)

    def embed(self, x: Tensor) -> Tensor:
        """One view of each picture as a unit vector, (N, dim)."""
        return F.normalize(self.projector(self.encoder(self.augment(x))).float(), dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        v = self.embed(x)
        loss = self.compare(v, y)
        self.step_outputs.append((y, v.detach()))
        return loss

    def compare(self, v: Tensor, y: Tensor) -> Tensor:
        return non_parametric_softmax(v, self.bank, y, self.temperature)

    def after_step(self):
        for y, v in self.step_outputs:
            y, v = gather(y), gather(v)
            mixed = self.momentum * self.bank[y] + (1 - self.momentum) * v
            # the rows of this batch's pictures move, no other
            self.bank[y] = F.normalize(mixed, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class NCEInstanceDiscrimination(InstanceDiscrimination):
    """As Wu et al. trained on 1.28 million pictures: NCE with `noise` rows of the bank,
    Z estimated on the first batch.

    An approximation whose cost does not grow with the data. Further arguments: as for
    InstanceDiscrimination.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        images: int,
        dim: int,
        temperature: float = 0.07,
        momentum: float = 0.5,
        noise: int = 4096,
    ):
        super().__init__(
            encoder, projector, augment, images, dim, temperature, momentum
        )
        self.noise = count("noise", noise)
        self.register_buffer("log_z", torch.zeros(()))

    def compare(self, v: Tensor, y: Tensor) -> Tensor:
        # the first batch of the first update
        if self.progress == 0 and not self.step_outputs:
            self.log_z.copy_(
                log_partition(gather(v.detach()), self.bank, self.temperature)
            )
        noise = torch.randint(len(self.bank), (len(v), self.noise), device=v.device)
        return noise_contrastive(v, self.bank, y, noise, self.log_z, self.temperature)
