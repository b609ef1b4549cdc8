"""What all generators share: everything around a method's own lines of `sample`.

`course_lib.train.Method.sample` says what `sample` takes and returns. A new generator
defines it in a few lines:

    @sampling
    def sample(self, n, y=None):
        return self.decode(torch.randn(n, self.dim), y)

A conditional generator defines `sample_labels`, too.
"""

import functools
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects, label_for_each

ROWS = 500  # samples that are generated at once


def sampling(sample: Callable) -> Callable:
    """Returns a method's function `sample` with all that generators have in common.

    It checks n and y, draws the labels that are missing, and moves them to the device
    of the weights. It generates without gradient, in eval mode, and at most ROWS
    samples at once. Afterwards each submodule is in its earlier mode again.
    """

    @functools.wraps(sample)
    def checked(self, n: int, y: Tensor | None = None, **options) -> Tensor:
        y = self.sample_labels(count("n", n), y)
        device, found = next(self.parameters()).device, []
        with torch.no_grad(), _eval_mode(self):
            for start in range(0, n, ROWS):
                rows = slice(start, min(n, start + ROWS))
                labels = None if y is None else y[rows].to(device)
                found.append(sample(self, rows.stop - start, labels, **options))
        return torch.cat(found)

    return checked


@contextmanager
def _eval_mode(module: nn.Module):
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


@expects(y="int N")
def class_labels(n: int, classes: int, y: Tensor | None = None) -> Tensor:
    """Returns the labels (n,) of n samples: y, or random ones, all classes equally
    likely. Raises ValueError unless y has n labels in 0..classes - 1."""
    if y is None:
        return torch.randint(classes, (n,))
    label_for_each("y", y, n, classes)
    return y


def zeros_like_data(method: nn.Module, n: int) -> Tensor:
    """Returns n rows of zeros of the shape of the data, on the device of the method's
    weights. Raises ValueError if the method does not know this shape yet."""
    if method.data_shape is None:
        raise ValueError(
            "sample: the shape of the data is unknown: train the method by `fit`, or "
            "set its `data_shape`, for example to (1, 28, 28)"
        )
    like = next(method.parameters())
    return torch.zeros(n, *method.data_shape, device=like.device, dtype=like.dtype)
