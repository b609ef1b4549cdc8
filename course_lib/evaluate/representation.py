"""What a representation is worth: frozen features, then k-NN, linear probe, few labels,
retrieval, collapse."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import count, expects, number, positive
from course_lib.data import as_float

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@torch.no_grad()
@expects(x="any ...")
def features(
    encoder: nn.Module | Callable[[Tensor], Tensor], x: Tensor, batch_size: int = 1024
) -> Tensor:
    """Frozen features of x, (N, D) float32 on the CPU, computed batch by batch without
    gradient.

    encoder: a Method (its `encode` is called), any module, a module's bound method, or
    a function. A module computes on its own device and in eval mode, and the mode of
    each of its submodules is put back. A lambda hides its modules: write
    nn.Sequential(f, g) and not lambda x: g(f(x)), or call eval() yourself. x: (N, ...),
    uint8 (becomes float32 in [0, 1]) or floating point (taken as it is). Raises
    ValueError for another dtype, a batch_size below 1, or an encoder that does not give
    (N, D).
    """
    count("batch_size", batch_size)
    if x.ndim == 0 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise ValueError(
            f"argument `x`: expected uint8 or float of shape (N, ...), got {x.dtype} "
            f"of {tuple(x.shape)}"
        )
    encode, module = (
        getattr(encoder, "encode", encoder),
        getattr(encoder, "__self__", encoder),
    )
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
def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of rows whose highest score, of (N, C), is at the label, (N,); a label
    of C or more is a miss."""
    return (scores.argmax(1) == labels).double().mean().item()


@torch.no_grad()
@expects(train_features="float N D", train_labels="int N", test_features="float M D")
def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Weighted k-nearest neighbours by cosine similarity (Wu et al. 2018, arXiv
    1805.01978, section 3.4).

    Each of the k training rows most similar to a test row votes for its class with
    weight exp(cos / temperature). Returns the votes' shares, (M, C) with rows that sum
    to 1, C = largest training label + 1. Which of several equally similar rows are the
    k is left open. Raises ValueError for k > N, labels below 0 or features that are not
    finite.
    """
    count("k", k, len(train_features))
    positive("temperature", temperature)
    classes, labels = _classes("train_labels", train_labels), train_labels.long()
    train, test = (
        _unit("train_features", train_features),
        _unit("test_features", test_features),
    )
    scores = []
    for rows in _chunks(len(test), len(train)):
        similarity, nearest = (test[rows] @ train.T).topk(k)  # (m, k) out of (m, N)
        weight = (similarity / temperature).softmax(1)  # votes; no exp overflows
        scores.append(
            weight.new_zeros(len(weight), classes).scatter_add_(
                1, labels[nearest], weight
            )
        )
    return torch.cat(scores)


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Logits = features @ weight + bias, in float64; `strength` is the C it was fitted
    with."""

    strength: float
    weight: Tensor  # (D, C), for features as they come: standardisation is folded in
    bias: Tensor  # (C,), -inf for a class that had no row

    @expects(features="float N D")
    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, C) of features (N, D)."""
        if features.shape[1] != len(self.weight):
            raise ValueError(
                f"argument `features`: expected {len(self.weight)} columns, got "
                f"{features.shape[1]}"
            )
        return features.double() @ self.weight + self.bias


@expects(features="float N D", labels="int N")
def logistic_regression(
    features: Tensor, labels: Tensor, strengths: Sequence[float]
) -> list[LinearClassifier]:
    """Multinomial logistic regression on standardised features, one classifier for each
    strength C, each the minimum of

        C * sum_i cross_entropy(x_i W + b, y_i) + ||W||^2 / 2          (scikit-learn's, the bias b without penalty)

    found with L-BFGS in float64, every strength from the one before. Two classes have
    two columns of W as well: that is scikit-learn's binary objective at 2 C. A constant
    column gets no weight, a class without rows is never predicted. Raises ValueError
    for features that are not finite, labels below 0, no strength or one that is not
    positive.
    """
    if not len(strengths):
        raise ValueError(
            "argument `strengths`: expected at least one positive number, got none"
        )
    for strength in strengths:
        positive("strengths", strength)
    x, classes = (
        _finite("features", features).detach().double(),
        _classes("labels", labels),
    )
    present, y = labels.unique(return_inverse=True)
    mean, std = x.mean(0), x.std(0, correction=0)
    # below float32's resolution: constant
    scale = std.masked_fill(std <= 1e-6 * mean.abs(), torch.inf)
    x = (x - mean) / scale
    if len(x) < x.shape[1]:
        # W lies in the span of the rows
        _, root, axes = torch.linalg.svd(x, full_matrices=False)
        gram, axes = root.square() / len(x), axes.T
    else:
        gram, axes = torch.linalg.eigh(x.T @ x / len(x))
    x = x @ axes  # (N, r), uncorrelated columns
    weight, bias, found = (
        x.new_zeros(x.shape[1], len(present)),
        x.new_zeros(len(present)),
        [],
    )
    for strength in strengths:
        weight, bias = _minimise(x, y, weight, bias, gram, 1 / (strength * len(x)))
        raw = axes @ weight / scale[:, None]  # (D, classes present)
        found.append(
            LinearClassifier(
                strength,
                raw.new_zeros(len(raw), classes).index_copy_(1, present, raw),
                raw.new_full((classes,), -torch.inf).index_copy_(
                    0, present, bias - mean @ raw
                ),
            )
        )
    return found


def _minimise(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, gram: Tensor, decay: float
) -> tuple[Tensor, Tensor]:
    """Weight (r, K) and bias (K,) of least mean cross-entropy + decay / 2 ||weight||^2,
    searched from the given ones.

    Columns of different variance make L-BFGS crawl; in coordinates that make the
    Hessian about the identity it takes tens of steps. It stops where no entry of the
    gradient there exceeds 1e-6, or after 1,000 steps.
    """
    # p (1 - p) is about 1 / K
    metric = (gram.clamp(min=0) / len(bias) + decay).rsqrt()[:, None]
    scaled, bias = (weight / metric).requires_grad_(), bias.clone().requires_grad_()
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
        weight = metric * scaled
        loss = F.cross_entropy(x @ weight + bias, y) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return (metric * scaled).detach(), bias.detach()


@expects(features="float N D", labels="int N", groups="int N")
def linear_probe(
    features: Tensor,
    labels: Tensor,
    groups: Tensor | None = None,
    strengths: Sequence[float] = STRENGTHS,
    validation: float = 0.2,
    seed: int = 0,
) -> LinearClassifier:
    """The linear probe: logistic regression whose strength is chosen on a validation
    part, then fitted on all rows.

    `validation` is the share of groups (of rows without groups) held out, drawn from
    the seed; no group is on both sides. The best accuracy there wins, on a tie the
    smallest C. Raises ValueError where logistic_regression does, and where either side
    of the split would be empty.
    """
    held = _held_out(
        torch.arange(len(labels), device=labels.device) if groups is None else groups,
        validation,
        seed,
    )
    path = logistic_regression(features[~held], labels[~held], sorted(strengths))
    best = max(
        path, key=lambda classifier: accuracy(classifier(features[held]), labels[held])
    )
    return logistic_regression(features, labels, [best.strength])[0]


def _held_out(groups: Tensor, validation: float, seed: int) -> Tensor:
    """True for the rows of so large a share of the groups, drawn from the seed: (N,)
    bool."""
    ids, group = groups.unique(return_inverse=True)
    size = round(number("validation", validation, 0, 1) * len(ids))
    if not 0 < size < len(ids):
        raise ValueError(
            "argument `validation`: expected a share that leaves some of the "
            f"{len(ids)} groups on each "
            f"side, got {validation!r}"
        )
    rank = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).to(
        groups.device
    )
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
    strength: float = 0.01,
) -> Tensor:
    """Test accuracy, (draws,) float64, of logistic regression that saw only the labels
    of one draw of training rows.

        draws = [labelled_subset(train_set, per_class=5, seed=seed) for seed in range(5)]       # course_lib.data's

    The strength is fixed, for a validation set would be more labels; the same draws
    serve every encoder. Report mean() and std(). Raises ValueError for no draws, and
    where logistic_regression does.
    """
    if not len(draws):
        raise ValueError(
            "argument `draws`: expected one tensor of rows or more, got none"
        )
    found = []
    for rows in draws:
        classifier = logistic_regression(
            train_features[rows], train_labels[rows], [strength]
        )[0]
        found.append(accuracy(classifier(test_features), test_labels))
    return torch.tensor(found, dtype=torch.float64)


@torch.no_grad()
@expects(features="float N D", items="int N", styles="int N")
def retrieval(
    features: Tensor, items: Tensor, styles: Tensor, ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """Finds an item again in another style: {"recall@1": ..., "recall@5": ..., "mAP":
    ...}.

    Each row queries the rows of all other styles by cosine similarity; those of its own
    item are right. recall@k: the share of queries with a right row among the first k;
    mAP: the mean over queries of the average precision. A wrong row as similar as a
    right one ranks before it, so that collapsed features score worst. Rows without a
    right candidate ask nothing. Raises ValueError where no row has one, for k < 1 or
    features that are not finite.
    """
    for k in ks:
        count("ks", k)
    unit, most = (
        _unit("features", features),
        int(items.unique(return_counts=True)[1].max()),
    )
    first, precision = [], []
    for rows in _chunks(len(unit), len(unit)):
        similarity = unit[rows] @ unit.T  # (m, N)
        other, same = styles[rows, None] != styles, items[rows, None] == items
        # (m, R) from the most similar
        right = similarity.masked_fill(~(other & same), -torch.inf).topk(most).values
        # (m, N) from the least
        wrong = similarity.masked_fill(~(other & ~same), -torch.inf).sort().values
        asked = right[:, 0] > -torch.inf
        right, wrong = right[asked], wrong[asked]
        place = torch.arange(1, most + 1, device=right.device)
        # wrong rows at or above count too
        rank = place + wrong.shape[1] - torch.searchsorted(wrong, right)
        real = right > -torch.inf
        first.append(rank[:, 0])
        precision.append((place / rank * real).sum(1) / real.sum(1))
    first, precision = torch.cat(first), torch.cat(precision)
    if not len(first):
        raise ValueError(
            "argument `styles`: expected an item in two styles or more, got none"
        )
    recall = {f"recall@{k}": (first <= k).double().mean().item() for k in ks}
    return recall | {"mAP": precision.double().mean().item()}


@torch.no_grad()
@expects(features="float N D")
def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the singular values' shares: 1 to min(N, D). Roy & Vetterli
    2007, "The effective rank".

    Not centred, as in RankMe (arXiv 2210.02885): all rows alike have rank 1. Subtract
    the mean first for the spread. Raises ValueError for features that are not finite.
    """
    values = torch.linalg.svdvals(_finite("features", features).float())
    return torch.special.entr(F.normalize(values, p=1, dim=0)).sum().exp().item()


@torch.no_grad()
@expects(features="float N D")
def feature_std(features: Tensor) -> float:
    """Standard deviation of each column of the l2-normalised features, averaged over
    columns.

    0 when collapsed to a point, at most 1 / sqrt(D), reached when spread evenly around
    0. Chen & He 2021 (arXiv 2011.10566, section 4.1).
    """
    return F.normalize(features.float(), dim=1).std(0, correction=0).mean().item()


@torch.no_grad()
@expects(view1="float N D", view2="float N D")
def alignment(view1: Tensor, view2: Tensor, alpha: float = 2) -> float:
    """mean_i ||u_i - v_i||^alpha of l2-normalised positive pairs, 0 at best. Wang &
    Isola 2020 (arXiv 2005.10242)."""
    distance = (
        F.normalize(view1.float(), dim=1) - F.normalize(view2.float(), dim=1)
    ).norm(dim=1)
    return distance.pow(positive("alpha", alpha)).mean().item()


@torch.no_grad()
@expects(features="float N D")
def uniformity(features: Tensor, t: float = 2) -> float:
    """log mean_{i != j} exp(-t ||u_i - u_j||^2) of l2-normalised features: 0 when
    collapsed, about -2 t at best.

    Wang & Isola 2020 (arXiv 2005.10242). Raises ValueError for fewer than two rows.
    """
    positive("t", t)
    n = len(features)
    if n < 2:
        raise ValueError(f"argument `features`: expected two rows or more, got {n}")
    unit, sums = F.normalize(features.float(), dim=1), []
    for rows in _chunks(n, n):
        exponent = 2 * t * (unit[rows] @ unit.T - 1)  # ||u - v||^2 = 2 - 2 cos
        exponent.diagonal(rows.start).fill_(-torch.inf)  # not with itself
        sums.append(exponent.logsumexp(1))
    return torch.cat(sums).logsumexp(0).item() - math.log(n * (n - 1))


@torch.no_grad()
@expects(h="float N D", changed="float N D")
def relative_change(h: Tensor, changed: Tensor) -> float:
    """mean_i ||h_i - h'_i||^2 / mean_{i != j} ||h_i - h_j||^2: how far features move
    when their pictures are changed.

    0 where the change leaves them alone, 1 where it moves them as far as another
    picture is: for smoothness, robustness and invariance. changed: the features h' of
    the changed pictures, row by row. Raises ValueError for fewer than two rows,
    features that are all alike, or not finite.
    """
    if len(h) < 2 or (_finite("h", h) == h[0]).all():
        raise ValueError(
            f"argument `h`: expected two different rows or more, got {len(h)} alike"
        )
    apart = 2 * h.double().var(0).sum()  # of N - 1: half the mean over pairs
    return (
        (h.double() - _finite("changed", changed).double()).square().sum(1).mean()
        / apart
    ).item()


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of so many rows (32 at least) that a (rows, columns) matrix of each holds
    about 4 million numbers."""
    size = max(32, 2**22 // columns)
    return (slice(i, i + size) for i in range(0, rows, size))


def _classes(name: str, labels: Tensor) -> int:
    if not len(labels) or labels.min() < 0:
        raise ValueError(
            f"argument `{name}`: expected classes from 0 up, got "
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


def _unit(name: str, features: Tensor) -> Tensor:
    return F.normalize(_finite(name, features).float(), dim=1)
