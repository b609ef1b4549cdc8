"""Measures on frozen features that need no classifier: retrieval, collapse (effective
rank, standard deviation), alignment, uniformity, and how far features move when their
pictures are changed."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import (
    count,
    expects,
    expects_values,
    finite,
    finite_rows,
    not_empty,
    positive,
)
from course_lib.evaluate.representation import _chunks, _finite, _unit


@torch.no_grad()
@expects(features="float N D", items="int N", styles="int N")
@expects_values(features=not_empty)
def retrieval(
    features: Tensor, items: Tensor, styles: Tensor, ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """Returns how well a search by features finds the same item in another style:
    {"recall@1": ..., "recall@5": ..., "mAP": ...}.

    A row is a query if a row of another style shows the same item. A query ranks the
    rows of all other styles by cosine similarity; the rows of the same item are
    relevant. recall@k: the share of queries with a relevant row among the first k. mAP:
    the mean over queries of the average precision. If a relevant row and an irrelevant
    row are equally similar, the irrelevant row ranks first. So collapsed features have
    the lowest scores. Raises ValueError if there is no query, for k < 1, and for
    features that are not finite.
    """
    for k in ks:
        count("ks", k)
    unit = _unit("features", features)
    # the largest number of rows of one item
    most = int(items.unique(return_counts=True)[1].max())
    first, precision = [], []
    for rows in _chunks(len(unit), len(unit)):
        similarity = unit[rows] @ unit.T  # (m, N)
        other, same = styles[rows, None] != styles, items[rows, None] == items
        # similarities of the relevant rows, (m, most), descending; -inf fills the rest
        relevant = similarity.masked_fill(~(other & same), -torch.inf).topk(most).values
        # similarities of the irrelevant rows, (m, N), ascending
        irrelevant = similarity.masked_fill(~(other & ~same), -torch.inf).sort().values
        is_query = relevant[:, 0] > -torch.inf
        relevant, irrelevant = relevant[is_query], irrelevant[is_query]
        number = torch.arange(1, most + 1, device=relevant.device)
        # The rank of the i-th relevant row is i, plus the number of irrelevant rows
        # that are at least as similar to the query.
        above = irrelevant.shape[1] - torch.searchsorted(irrelevant, relevant)
        rank = number + above
        exists = relevant > -torch.inf
        first.append(rank[:, 0])
        precision.append((number / rank * exists).sum(1) / exists.sum(1))
    first, precision = torch.cat(first), torch.cat(precision)
    if not len(first):
        raise ValueError(
            "argument `styles`: expected at least one item in two styles, got none"
        )
    recall = {f"recall@{k}": (first <= k).double().mean().item() for k in ks}
    return recall | {"mAP": precision.double().mean().item()}


@torch.no_grad()
@expects(features="float N D")
@expects_values(features=not_empty)
def effective_rank(features: Tensor) -> float:
    """Returns the exponential of the entropy of p, where p are the singular values
    divided by their sum (Roy & Vetterli 2007, "The effective rank").

    It is between 1 and min(N, D). Like RankMe (arXiv 2210.02885), it does not centre
    the features, so equal rows have rank 1. To measure the spread around the mean,
    subtract the mean first. Raises ValueError for features that are not finite.
    """
    values = torch.linalg.svdvals(_finite("features", features).float())
    return torch.special.entr(F.normalize(values, p=1, dim=0)).sum().exp().item()


@torch.no_grad()
@expects(features="float N D")
@expects_values(features=finite_rows)
def feature_std(features: Tensor) -> float:
    """Returns the standard deviation of a column of the l2-normalised features,
    averaged over columns (Chen & He 2021, arXiv 2011.10566, section 4.1).

    It is 0 for features that have collapsed to a point. It is at most 1 / sqrt(D);
    features spread evenly around 0 have this value.
    """
    return F.normalize(features.float(), dim=1).std(0, correction=0).mean().item()


@torch.no_grad()
@expects(view1="float N D", view2="float N D")
@expects_values(view1=finite_rows, view2=finite_rows)
def alignment(view1: Tensor, view2: Tensor, alpha: float = 2) -> float:
    """Returns mean_i ||u_i - v_i||^alpha of l2-normalised positive pairs (u_i, v_i);
    the best value is 0 (Wang & Isola 2020, arXiv 2005.10242)."""
    u, v = F.normalize(view1.float(), dim=1), F.normalize(view2.float(), dim=1)
    distance = (u - v).norm(dim=1)
    return distance.pow(positive("alpha", alpha)).mean().item()


@torch.no_grad()
@expects(features="float N D")
@expects_values(features=finite)
def uniformity(features: Tensor, t: float = 2) -> float:
    """Returns log mean_{i != j} exp(-t ||u_i - u_j||^2) of l2-normalised features u
    (Wang & Isola 2020, arXiv 2005.10242).

    It is 0 for collapsed features; the best value is about -2 t. Raises ValueError for
    fewer than two rows.
    """
    positive("t", t)
    n = len(features)
    if n < 2:
        raise ValueError(f"argument `features`: expected at least two rows, got {n}")
    unit, sums = F.normalize(features.float(), dim=1), []
    for rows in _chunks(n, n):
        exponent = 2 * t * (unit[rows] @ unit.T - 1)  # ||u - v||^2 = 2 - 2 cos
        exponent.diagonal(rows.start).fill_(-torch.inf)  # leaves out i = j
        sums.append(exponent.logsumexp(1))
    return torch.cat(sums).logsumexp(0).item() - math.log(n * (n - 1))


@torch.no_grad()
@expects(h="float N D", changed="float N D")
def relative_change(h: Tensor, changed: Tensor) -> float:
    """Returns how far features move when their pictures are changed:
    mean_i ||h_i - h'_i||^2 / mean_{i != j} ||h_i - h_j||^2.

    The value is 0 if the features do not move. The value is 1 if two mean squared
    distances are equal: the distance between the features of a picture before and after
    its change, and the distance between the features of two different pictures. The
    function measures smoothness, robustness and invariance. changed: the features h' of
    the changed pictures, in the order of h. Raises ValueError for fewer than two rows,
    for features that are all equal, and for features that are not finite.
    """
    if len(h) < 2 or (_finite("h", h) == h[0]).all():
        raise ValueError(
            f"argument `h`: expected at least two different rows, got {len(h)} equal"
        )
    # The mean squared distance of two different rows is twice the variance of the rows,
    # if the variance is computed with N - 1 and summed over the columns.
    apart = 2 * h.double().var(0).sum()
    difference = h.double() - _finite("changed", changed).double()
    return (difference.square().sum(1).mean() / apart).item()
