"""Evaluates a representation by classification: frozen features, then weighted k-NN, a
linear probe, or logistic regression on few labels."""

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from course_lib.checks import (
    as_seed,
    count,
    expects,
    expects_values,
    not_empty,
    not_nan,
    number,
    picture_range,
    positive,
)
from course_lib.data import Dataset, as_float
from course_lib.data.reading import in_order, is_map_style
from course_lib.evaluate.logistic import (
    LinearClassifier,
    _classes,
    _finite,
    logistic_regression,
)

INVERSE_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def takes_data(function):
    """Decorator of `features`: accepts a data set or a DataLoader in place of a tensor
    x. For a tensor it changes nothing, so the fingerprints of results leave it out."""

    @functools.wraps(function)
    def wrapper(encoder, x, batch_size: int = 1024) -> Tensor:
        if isinstance(x, Dataset):
            x = x.x
        if isinstance(x, DataLoader):
            batches = (b[0] if isinstance(b, (tuple, list)) and b else b for b in x)
        elif is_map_style(x) and not isinstance(x, (list, tuple)):
            batches = (pair[0] for pair in in_order(x, count("batch_size", batch_size)))
        else:
            return function(encoder, x, batch_size)
        found = [function(encoder, batch, batch_size) for batch in batches]
        if not found:
            raise ValueError("argument `x`: expected at least one row, got none")
        return torch.cat(found)

    return wrapper


@takes_data
@torch.no_grad()
@expects(x="any ...")
@expects_values(x=picture_range)
def features(
    encoder: nn.Module | Callable[[Tensor], Tensor], x: Tensor, batch_size: int = 1024
) -> Tensor:
    """Returns the frozen features of x, (N, D) float32 on the CPU, computed batch by
    batch without gradients.

    encoder: a Method (its `encode` is called), any module, a module's bound method, or
    a function. A module runs on its own device and in eval mode. Afterwards each of its
    submodules is in its earlier mode again. Modules that a lambda calls are not found:
    write nn.Sequential(f, g) instead of lambda x: g(f(x)), or call eval() yourself.
    x: (N, ...), uint8 (converted to float32 in [0, 1]) or floating point (used without
    change). Or a data set: a `Dataset`, a map-style dataset of pairs (x, y), which is
    read in the order of its rows, or a DataLoader, which is read in its own order.
    Raises ValueError for another dtype, for a batch_size below 1, and for an encoder
    whose output is not (N, D).
    """
    count("batch_size", batch_size)
    if x.ndim == 0 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise ValueError(
            f"argument `x`: expected uint8 or float of shape (N, ...), got {x.dtype} "
            f"of {tuple(x.shape)}"
        )
    encode = getattr(encoder, "encode", encoder)
    module = getattr(encoder, "__self__", encoder)
    modes, device = {}, x.device
    if isinstance(module, nn.Module):
        modes = {m: m.training for m in module.modules()}
        device = next(chain(module.parameters(), module.buffers()), x).device
        module.eval()
    try:
        batches = []
        for batch in x.split(batch_size):
            batch = batch.to(device)
            out = encode(as_float(batch))
            if out.ndim != 2 or len(out) != len(batch):
                raise ValueError(
                    f"argument `encoder`: expected ({len(batch)}, D) features, got "
                    f"{tuple(out.shape)}"
                )
            batches.append(out.float().cpu())
        return torch.cat(batches)
    finally:
        for m, training in modes.items():
            m.training = training


@expects(scores="float N C", labels="int N")
@expects_values(scores=not_nan)
def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Returns the share of rows in which the label has the highest score.

    scores: (N, C); labels: (N,). A label outside 0..C-1 counts as an error. Raises
    ValueError for scores that are NaN, and for scores without rows.
    """
    return (scores.argmax(1) == labels).double().mean().item()


@torch.no_grad()
@expects(train_features="float N D", train_labels="int N", test_features="float M D")
@expects_values(test_features=not_empty)
def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Returns the scores (M, C) of a weighted k-nearest-neighbour classifier with
    cosine similarity (Wu et al. 2018, arXiv 1805.01978, section 3.4).

    The k training rows that are most similar to a test row vote for their classes, each
    with weight exp(cos / temperature). A row of scores holds the share of the votes for
    each class, so it sums to 1. C is the largest training label + 1. If several rows
    are equally similar, it is not specified which of them belong to the k. Raises
    ValueError for k > N, for labels below 0, and for features that are not finite.
    """
    count("k", k, len(train_features))
    positive("temperature", temperature)
    classes, labels = _classes("train_labels", train_labels), train_labels.long()
    train = _unit("train_features", train_features)
    test = _unit("test_features", test_features)
    scores = []
    for rows in _chunks(len(test), len(train)):
        similarity, nearest = (test[rows] @ train.T).topk(k)  # (m, k) out of (m, N)
        # shares of the votes; unlike exp, softmax does not overflow
        weight = (similarity / temperature).softmax(1)
        votes = weight.new_zeros(len(weight), classes)
        scores.append(votes.scatter_add_(1, labels[nearest], weight))
    return torch.cat(scores)


@expects(features="float N D", labels="int N", groups="int N")
@expects_values(seed=as_seed)
def linear_probe(
    features: Tensor,
    labels: Tensor,
    groups: Tensor | None = None,
    inverse_penalties: Sequence[float] = INVERSE_PENALTIES,
    validation: float = 0.2,
    seed: int = 0,
) -> LinearClassifier:
    """Returns a linear probe: a logistic regression that is fitted on all rows. Its
    inverse penalty is the one with the best accuracy on a validation part.

    `validation` is the share of the groups in the validation part, which is drawn from
    the seed. All rows of a group are on the same side of the split. Without `groups`
    each row is a group of its own. If several inverse penalties have the best accuracy,
    the smallest is taken. Raises ValueError for the same arguments as
    logistic_regression, and if one side of the split would be empty.
    """
    if groups is None:
        groups = torch.arange(len(labels), device=labels.device)
    held = _held_out(groups, validation, seed)
    classifiers = logistic_regression(
        features[~held], labels[~held], sorted(inverse_penalties)
    )
    best = max(
        classifiers,
        key=lambda classifier: accuracy(classifier(features[held]), labels[held]),
    )
    return logistic_regression(features, labels, [best.inverse_penalty])[0]


def _held_out(groups: Tensor, validation: float, seed: int) -> Tensor:
    """Returns a bool tensor (N,) that is True for the rows that are held out. A random
    share `validation` of the groups is drawn from the seed. All rows of these groups
    are held out."""
    ids, group = groups.unique(return_inverse=True)
    size = round(number("validation", validation, 0, 1) * len(ids))
    if not 0 < size < len(ids):
        raise ValueError(
            "argument `validation`: expected a share that leaves some of the "
            f"{len(ids)} groups on each side, got {validation!r}"
        )
    generator = torch.Generator().manual_seed(seed)
    rank = torch.randperm(len(ids), generator=generator).to(groups.device)
    return (rank < size)[group]


@expects(
    train_features="float N D",
    train_labels="int N",
    test_features="float M D",
    test_labels="int M",
)
def few_labels(
    train_features: Tensor,
    train_labels: Tensor,
    draws: Sequence[Tensor],
    test_features: Tensor,
    test_labels: Tensor,
    inverse_penalty: float = 0.01,
) -> Tensor:
    """Fits one logistic regression for each draw of training rows, on the labels of
    these rows only. Returns the test accuracies, (draws,) float64.

        from course_lib.data import labelled_subset
        draws = [
            labelled_subset(train_set, per_class=5, seed=seed) for seed in range(5)
        ]

    The inverse penalty is fixed, because a validation set would need more labels. Use
    the same draws for every encoder, and report mean() and std(). Raises ValueError if
    there are no draws, and for the same arguments as logistic_regression.
    """
    if not len(draws):
        raise ValueError(
            "argument `draws`: expected at least one tensor of row numbers, got none"
        )
    accuracies = []
    for rows in draws:
        (classifier,) = logistic_regression(
            train_features[rows], train_labels[rows], [inverse_penalty]
        )
        accuracies.append(accuracy(classifier(test_features), test_labels))
    return torch.tensor(accuracies, dtype=torch.float64)


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    """Returns slices of the rows. A matrix with the rows of one slice and with
    `columns` columns has about 4 million numbers.

    A slice has at least 32 rows, even if the matrix is then larger. The last slice may
    have fewer.
    """
    size = max(32, 2**22 // columns)
    return (slice(i, i + size) for i in range(0, rows, size))


def _unit(name: str, features: Tensor) -> Tensor:
    return F.normalize(_finite(name, features).float(), dim=1)
