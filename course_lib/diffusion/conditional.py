"""Conditional diffusion with label dropout: the network gets the label of the picture,
except in a small fraction of cases.

Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", arXiv 2207.12598, Algorithm 1:
so one network learns both eps(x_t, t, y) and eps(x_t, t).
`course_lib.diffusion.guidance.guided` needs both.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects, number
from course_lib.diffusion.ddpm import DDPM, EPS, Prediction
from course_lib.diffusion.guidance import guided
from course_lib.generator import class_labels, sampling


@expects(dropped="bool N")
def with_dropout(y: Tensor, null: Tensor, dropped: Tensor) -> Tensor:
    """Returns y (N, ...) with the null label in every row where `dropped` (N,) is True.
    null has the shape of one row of y."""
    if len(dropped) != len(y):
        raise ValueError(
            f"argument `dropped`: expected {len(y)}, one for each label, got "
            f"{len(dropped)}"
        )
    return torch.where(dropped.view(-1, *[1] * null.ndim), null, y)


class ConditionalDDPM(DDPM):
    """A DDPM whose network also gets a label, which is dropped at random in training.

    net: x_t, t, y -> a prediction. null: the label that means "no label", of the shape
    of a row of y: `classes` for a `LabelEmbedding`, zeros for captions. For the net,
    null and None must mean the same. dropout: the probability with which a label is
    replaced by null. reword: a random change of the labels y, made before dropout.
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
        """Returns L_simple of the conditional network. Each label is replaced by `null`
        with probability `dropout`."""
        x0 = self.normalise(x)
        t = torch.randint(len(self.schedule), (len(x0),), device=x0.device)
        if y is not None:
            dropped = torch.rand(len(y), device=y.device) < self.dropout
            y = with_dropout(self.reword(y), self.null, dropped)
        return self.errors(x0, t, torch.randn_like(x0), y).mean()

    @sampling
    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        steps: int | None = None,
        w: float = 0.0,
    ) -> Tensor:
        """Returns n samples, drawn with DDIM and classifier-free guidance. w: the
        guidance weight; 0 gives the conditional model, -1 the unconditional one."""
        return self.by_ddim(guided(self.eps, y, w), n, steps)

    def sample_labels(self, n: int, y: Tensor | None = None) -> Tensor:
        """Returns y, or random classes if y is None; without y, a model of captions
        gets the null label."""
        if not self.null.ndim:
            return class_labels(n, self.null.item(), y)
        y = self.null.expand(n, -1) if y is None else y
        if y.shape != (n, *self.null.shape):
            raise ValueError(
                f"argument `y`: expected {n} captions of {len(self.null)} tokens, got "
                f"{tuple(y.shape)}"
            )
        return y
