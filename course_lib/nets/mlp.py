"""Multi-layer perceptrons, for projection heads, predictors, small classifiers and
denoisers of points."""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import expects


def mlp(*widths: int, norm: type[nn.Module] | None = nn.BatchNorm1d) -> nn.Sequential:
    """Returns linear layers of the given widths with norm and ReLU between them: (N,
    widths[0]) -> (N, widths[-1]).

    `mlp(96, 64)` is one linear layer. `mlp(96, 96, 64)` is SimCLR's head g, with one
    hidden layer. norm is called with the number of features. With None there is no
    norm, and then every layer has a bias. Raises ValueError for fewer than 2 widths.
    """
    if len(widths) < 2:
        raise ValueError(
            "argument `widths`: expected at least an input and an output width, got "
            f"{widths}"
        )
    layers = []
    for i in range(len(widths) - 1):
        last = i == len(widths) - 2
        layers.append(nn.Linear(widths[i], widths[i + 1], bias=last or norm is None))
        if not last:
            layers += [norm(widths[i + 1])] if norm else []
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


@expects(t="any N")
def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Returns sines and cosines of the step numbers t (N,) at dim / 2 frequencies from
    1 down to almost 1 / 10,000: (N, dim).

    Vaswani et al. 2017 (arXiv 1706.03762, section 3.5) encode positions in this way.
    Raises ValueError for an odd dim.
    """
    if dim % 2:
        raise ValueError(f"argument `dim`: expected an even number, got {dim}")
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2)
    )
    angle = t[:, None].float() * frequencies  # (N, dim / 2)
    return torch.cat([angle.sin(), angle.cos()], 1)


def label_vector(label: nn.Module, y: Tensor, t: Tensor) -> Tensor:
    """Returns label(y), (N, dim). Raises ValueError unless there are as many labels y
    as steps t (N,)."""
    if len(y) != len(t):
        raise ValueError(
            f"argument `y`: expected {len(t)} labels, as many as steps `t`, got "
            f"{len(y)}"
        )
    return label(y)


class TimedMLP(nn.Module):
    """Maps points x_t (N, dim), steps t (N,) and labels y to a prediction (N, dim).

    label: a module y -> (N, hidden). Without it the network is unconditional and
    ignores labels.
    """

    def __init__(
        self, dim: int, hidden: int, depth: int = 3, label: nn.Module | None = None
    ):
        super().__init__()
        self.hidden, self.label = hidden, label
        self.net = mlp(dim + hidden, *(hidden,) * depth, dim, norm=None)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        condition = time_embedding(t, self.hidden)
        if y is not None and self.label is not None:
            condition = condition + label_vector(self.label, y, t)
        return self.net(torch.cat([x_t, condition], 1))
