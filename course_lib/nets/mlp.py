"""Multi-layer perceptron: projection heads, predictors, small classifiers."""

from torch import nn


def mlp(*widths: int, norm: type[nn.Module] | None = nn.BatchNorm1d) -> nn.Sequential:
    """Linear layers of the given widths with norm and ReLU between them: (N, widths[0]) -> (N, widths[-1]).

    `mlp(96, 64)` is one linear layer, `mlp(96, 96, 64)` SimCLR's head g with one hidden layer. norm is called with the
    number of features; None leaves it out (a layer without norm has a bias). Raises ValueError for fewer than 2 widths.
    """
    if len(widths) < 2:
        raise ValueError(f"argument `widths`: expected at least an input and an output width, got {widths}")
    layers = []
    for i in range(len(widths) - 1):
        last = i == len(widths) - 2
        layers.append(nn.Linear(widths[i], widths[i + 1], bias=last or norm is None))
        if not last:
            layers += [norm(widths[i + 1])] if norm else []
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)
