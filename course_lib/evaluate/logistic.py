"""Multinomial logistic regression on frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects, positive


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """A linear classifier: logits = features @ weight + bias, in float64.

    `inverse_penalty` is the inverse penalty with which `logistic_regression` fitted the
    classifier.
    """

    inverse_penalty: float
    weight: Tensor  # (D, K), for features that are not standardised
    bias: Tensor  # (K,), -inf for a class without training rows

    @expects(features="float N D")
    def __call__(self, features: Tensor) -> Tensor:
        """Returns the logits (N, K) of features (N, D)."""
        if features.shape[1] != len(self.weight):
            raise ValueError(
                f"argument `features`: expected {len(self.weight)} columns, got "
                f"{features.shape[1]}"
            )
        return features.double() @ self.weight + self.bias


@expects(features="float N D", labels="int N")
def logistic_regression(
    features: Tensor, labels: Tensor, inverse_penalties: Sequence[float]
) -> list[LinearClassifier]:
    """Returns one multinomial logistic regression on standardised features for each
    inverse penalty.

    Each of these classifiers minimises scikit-learn's objective,

        inverse_penalty * sum_i cross_entropy(x_i W + b, y_i) + ||W||^2 / 2,

    which has no penalty on the bias b. scikit-learn calls the inverse penalty C. A
    larger inverse penalty is a weaker penalty. L-BFGS finds the minimum in float64 and
    starts from the solution for the previous inverse penalty.

    If there are two classes, W has two columns. scikit-learn's binary classifier has
    one column; it is the same model if its inverse penalty is twice as large. A
    constant column of the features has weight 0. A class without rows is never
    predicted. Raises ValueError for features that are not finite, for labels below 0,
    and for inverse penalties that are missing or not positive.
    """
    if not len(inverse_penalties):
        raise ValueError(
            "argument `inverse_penalties`: expected at least one positive number, got "
            "none"
        )
    for inverse_penalty in inverse_penalties:
        positive("inverse_penalties", inverse_penalty)
    x = _finite("features", features).detach().double()
    classes = _classes("labels", labels)
    present, y = labels.unique(return_inverse=True)
    mean, std = x.mean(0), x.std(0, correction=0)
    # a column counts as constant if its std is below the resolution of float32
    scale = std.masked_fill(std <= 1e-6 * mean.abs(), torch.inf)
    x = (x - mean) / scale
    if len(x) < x.shape[1]:
        # the best W lies in the span of the rows
        _, root, axes = torch.linalg.svd(x, full_matrices=False)
        gram, axes = root.square() / len(x), axes.T
    else:
        gram, axes = torch.linalg.eigh(x.T @ x / len(x))
    x = x @ axes  # (N, r), uncorrelated columns
    weight = x.new_zeros(x.shape[1], len(present))
    bias, classifiers = x.new_zeros(len(present)), []
    for inverse_penalty in inverse_penalties:
        weight, bias = _minimise(
            x, y, weight, bias, gram, 1 / (inverse_penalty * len(x))
        )
        raw = axes @ weight / scale[:, None]  # (D, classes with rows)
        all_weight = raw.new_zeros(len(raw), classes).index_copy_(1, present, raw)
        all_bias = raw.new_full((classes,), -torch.inf)
        all_bias.index_copy_(0, present, bias - mean @ raw)
        classifiers.append(LinearClassifier(inverse_penalty, all_weight, all_bias))
    return classifiers


def _minimise(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, gram: Tensor, decay: float
) -> tuple[Tensor, Tensor]:
    """Returns the weight (r, K) and bias (K,) that minimise the mean cross-entropy
    + decay / 2 ||weight||^2. The search starts from the given weight and bias.

    L-BFGS is slow if the columns of x differ in variance. So the search uses a scaled
    weight: the weight, divided by a scale for each column of x. The scales make the
    Hessian close to the identity. L-BFGS then needs tens of steps. The gradient is
    taken with respect to the scaled weight and the bias. The search stops when no entry
    of this gradient exceeds 1e-6 in absolute value, or after 1,000 steps.
    """
    # 1 / sqrt of the Hessian's diagonal, where p (1 - p) is taken as 1 / K
    scale = (gram.clamp(min=0) / len(bias) + decay).rsqrt()[:, None]
    scaled = (weight / scale).requires_grad_()
    bias = bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [scaled, bias],
        max_iter=1000,
        tolerance_grad=1e-6,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        weight = scale * scaled
        loss = F.cross_entropy(x @ weight + bias, y) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return (scale * scaled).detach(), bias.detach()


def _classes(name: str, labels: Tensor) -> int:
    if not len(labels) or labels.min() < 0:
        raise ValueError(
            f"argument `{name}`: expected class numbers of at least 0, got "
            f"{labels.unique().tolist() or 'no rows'}"
        )
    return int(labels.max()) + 1


def _finite(name: str, features: Tensor) -> Tensor:
    if not features.isfinite().all():
        raise ValueError(
            f"argument `{name}`: expected finite numbers, got NaN or infinity (did "
            "training diverge?)"
        )
    return features
