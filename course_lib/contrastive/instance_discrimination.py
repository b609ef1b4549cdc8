"""Instance discrimination: every picture is a class of its own. A memory bank stores
one feature vector of each picture.

Wu, Xiong, Yu, Lin 2018, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", arXiv 1805.01978. A row of the bank takes the place of a classifier's
weight vector. The result is the non-parametric softmax, equation 2.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import (
    count,
    expects,
    expects_values,
    number,
    positive,
    rows_of,
)
from course_lib.data import Dataset, as_float
from course_lib.distributed import gather
from course_lib.losses import full_precision, info_nce
from course_lib.train import Method


@expects(v="float N D", bank="float M D", rows="int N")
@expects_values(rows=(rows_of, "bank"))
@full_precision
def non_parametric_softmax(
    v: Tensor, bank: Tensor, rows: Tensor, temperature: float = 0.07
) -> Tensor:
    """Returns -log P(row_i | v_i), averaged over the batch, with P(j | v) =
    exp(v . bank_j / tau) / sum_k exp(v . bank_k / tau), equation 2.

    v (N, D), bank (M, D): unit vectors. rows (N,): the index of the bank's row for each
    v. Returns a 0-d loss in nats; it is log M if all rows of the bank are equal. Raises
    ValueError for a temperature <= 0.
    """
    return info_nce(v @ bank.T / positive("temperature", temperature), rows)


@expects(v="float N D", bank="float M D", rows="int N", noise="int N K")
@expects_values(rows=(rows_of, "bank"), noise=(rows_of, "bank"))
@full_precision
def noise_contrastive(
    v: Tensor,
    bank: Tensor,
    rows: Tensor,
    noise: Tensor,
    log_z: Tensor | float,
    temperature: float = 0.07,
) -> Tensor:
    """Returns the loss of noise-contrastive estimation, equations 4 to 7: a binary
    classifier decides whether a row of the bank belongs to the picture or is one of K
    random rows.

    v, bank, rows: as in `non_parametric_softmax`. noise (N, K): indices of rows, drawn
    uniformly from all M. log_z: log of the constant Z. With P(j | v) =
    exp(v . bank_j / tau) / Z and h = P / (P + K / M), the loss is the mean over N of
    -log h(own) - sum_K log(1 - h(noise)). Each term is one binary decision, so no sum
    over the bank is needed once Z is known. Raises ValueError for a temperature <= 0.
    """
    own = (v * bank[rows]).sum(1) / positive("temperature", temperature)  # (N,)
    others = torch.einsum("nd,nkd->nk", v, bank[noise]) / temperature
    # h = sigmoid(v . bank_j / tau - offset)
    offset = log_z + math.log(noise.shape[1] / len(bank))
    return (F.softplus(offset - own) + F.softplus(others - offset).sum(1)).mean()


@full_precision
def log_partition(v: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Returns log Z, 0-d: Z is the mean over v of sum_j exp(v . bank_j / tau). Equation
    8 uses a random sample of the rows j; this function uses all rows."""
    scores = v @ bank.T / temperature  # (N, M)
    return scores.flatten().logsumexp(0) - math.log(len(v))


class InstanceDiscrimination(Method):
    """Trains an encoder with the softmax over the whole bank. The loss is exact, and
    its cost is small for the course's 20,000 pictures.

    encoder f: images (N, C, H, W) -> h (N, D); projector g: h -> (N, dim); augment:
    images -> a random view of each. images: number of rows of the bank, at least the
    number of pictures; rows without a picture stay random negatives. momentum: weight
    of the old row when a row is updated; with 0 the newest view replaces the row. (The
    authors' code uses 0.5; the paper describes a proximal term with the same purpose.)
    `loss` needs the index of each picture's row as y.
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
        self.temperature = positive("temperature", temperature)
        self.momentum = number("momentum", momentum, 0, 1)
        shape = count("images", images), count("dim", dim)
        # (images, dim), unit rows
        self.register_buffer("bank", F.normalize(torch.randn(shape), dim=1))

    def before_epoch(self, data: Dataset):
        """Before the first epoch, fills the bank with views encoded by the untrained
        network. With random rows the network would learn only noise in the first
        epoch."""
        if len(data) > len(self.bank):
            raise ValueError(
                f"argument `images`: expected the data's {len(data)} or more, got "
                f"{len(self.bank)}"
            )
        # data streamed from disk: the rows stay random
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
        """Returns one view of each picture as a unit vector, (N, dim)."""
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
            # only the rows of this batch's pictures change
            self.bank[y] = F.normalize(mixed, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class NCEInstanceDiscrimination(InstanceDiscrimination):
    """Instance discrimination with noise-contrastive estimation (NCE) against `noise`
    random rows of the bank. Z is estimated on the first batch.

    Wu et al. trained with NCE on 1.28 million pictures. The loss is an approximation
    whose cost does not grow with the number of pictures. Further arguments: as for
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
