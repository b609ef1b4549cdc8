"""Conditional diffusion: the network is told what it is that drowns. Now and then it is
not: label dropout.

Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", arXiv 2207.12598, Algorithm 1:
one network learns eps(x_t, t, y) and eps(x_t, t), which
`course_lib.diffusion.guidance.guided` needs both.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects, number
from course_lib.diffusion.ddpm import DDPM, EPS, Prediction


@expects(dropped="bool N")
def with_dropout(y: Tensor, null: Tensor, dropped: Tensor) -> Tensor:
    """y (N, ...) with the null label, of a row's shape, in every row that is `dropped`
    (N,)."""
    if len(dropped) != len(y):
        raise ValueError(
            f"argument `dropped`: expected {len(y)}, one for each label, got "
            f"{len(dropped)}"
        )
    return torch.where(dropped.view(-1, *[1] * null.ndim), null, y)


class ConditionalDDPM(DDPM):
    """net: x_t, t, y -> a prediction; null: the label that says nothing, of the shape
    of a row of y: `classes` for a `LabelEmbedding`, zeros for captions. Telling it and
    telling None are to be the same to the net.

    dropout: how often a label is not told. reword: what becomes of labels at random
    before they are told.
    """

    def __init__(
        self,
        net: nn.Module,
        betas: Tensor,
        null: Tensor,
        prediction: Prediction = EPS,
        dropout: float = 0.1,
        reword: Callable[[Tensor], Tensor] = nn.Identity(),
        momentum: float = 0.999,
        pictures: bool = True,
    ):
        super().__init__(net, betas, prediction, momentum, pictures)
        self.register_buffer("null", null, persistent=False)
        self.dropout, self.reword = number("dropout", dropout, 0, 1), reword

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """L_simple, each picture with its label or, in one of 1 / dropout, with
        none."""
        x0 = self.normalise(x)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        if y is not None:
            dropped = torch.rand(len(y), device=y.device) < self.dropout
            y = with_dropout(self.reword(y), self.null, dropped)
        return self.errors(x0, t, torch.randn_like(x0), y).mean()
