"""What a generator is worth: how far drawn pictures are from real ones.

All but the last two functions read features, (N, D) of any encoder, and a figure means
nothing without that encoder's name: the published FID and KID are those of one
Inception network.
"""

import math

import torch
from torch import Tensor

from course_lib.checks import count, expects, positive
from course_lib.evaluate.representation import _chunks, _finite


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """||m_r - m_g||^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2)), of features' means m and
    covariances C (of N - 1).

    The squared 2-Wasserstein distance of two Gaussians with these moments (Dowson &
    Landau 1982); with Inception features Heusel et al. 2017 (arXiv 1706.08500) call it
    FID. Of finite sets it is too large, the more so the fewer rows: compare equal
    numbers only, many times D. Raises ValueError for fewer than two rows or features
    that are not finite.
    """
    (mean_r, cov_r), (mean_g, cov_g) = (
        _moments("real", real),
        _moments("generated", generated),
    )
    root = _root(cov_r)
    # eigenvalues are those of C_r C_g
    cross = torch.linalg.eigvalsh(root @ cov_g @ root).clamp(min=0).sqrt().sum()
    return (
        ((mean_r - mean_g).square().sum() + cov_r.trace() + cov_g.trace() - 2 * cross)
        .clamp(min=0)
        .item()
    )


def _moments(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    if len(features) < 2:
        raise ValueError(
            f"argument `{name}`: expected two rows or more, got {len(features)}"
        )
    features = _finite(name, features).double()
    return features.mean(0), torch.atleast_2d(features.T.cov())


def _root(covariance: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(covariance)
    return axes * values.clamp(min=0).sqrt() @ axes.T


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (u^T v / D + 1)^3: without bias,
    so it may be below 0.

    With Inception features Binkowski et al. 2018 (arXiv 1801.01401) call it KID. Raises
    ValueError for fewer than two rows or features that are not finite.
    """
    for name, rows in (("real", real), ("generated", generated)):
        if len(_finite(name, rows)) < 2:
            raise ValueError(
                f"argument `{name}`: expected two rows or more, got {len(rows)}"
            )
    n, m = len(real), len(generated)
    within = _kernels(real) / (n * (n - 1)) + _kernels(generated) / (m * (m - 1))
    return within - 2 * _kernels(real, generated) / (n * m)


def _kernels(rows: Tensor, others: Tensor | None = None) -> float:
    """The sum of the kernel over all pairs of a row and one of the others; without
    others, of two different rows."""
    rows, total = rows.double(), 0.0
    columns = rows if others is None else others.double()
    for part in _chunks(len(rows), len(columns)):
        kernel = (rows[part] @ columns.T / rows.shape[1] + 1) ** 3
        if others is None:
            kernel.diagonal(part.start).zero_()
        total += kernel.sum().item()
    return total


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def precision_recall(
    real: Tensor, generated: Tensor, k: int = 3
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991,
    equations 1 and 2).

    Around each row of a set lies a ball that reaches to its k-th nearest other row.
    Precision: the share of generated rows inside a real row's ball (are they real?);
    recall: of real rows inside a generated row's (is all there?). Compare equal numbers
    of rows only. Raises ValueError unless 1 <= k < rows, or for features that are not
    finite.
    """
    count("k", k, min(len(real), len(generated)) - 1)
    real, generated = (
        _finite("real", real).double(),
        _finite("generated", generated).double(),
    )
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(rows: Tensor, centres: Tensor, k: int) -> float:
    """The share of rows within some centre's ball."""
    inside, exact = (
        torch.zeros(len(rows), dtype=torch.bool, device=rows.device),
        "donot_use_mm_for_euclid_dist",
    )
    for part in _chunks(len(centres), max(len(rows), len(centres))):
        apart = torch.cdist(centres[part], centres, compute_mode=exact)
        # the nearest of all is itself
        radius = apart.kthvalue(k + 1, dim=1, keepdim=True).values
        inside |= (torch.cdist(centres[part], rows, compute_mode=exact) <= radius).any(
            0
        )
    return inside.double().mean().item()


@torch.no_grad()
@expects(points="float N D", centres="float K D")
def mode_coverage(points: Tensor, centres: Tensor, radius: float) -> tuple[int, float]:
    """(modes, share): how many of K equally likely modes are drawn, and the share of
    points that lie in one.

    A point lies in the mode of its nearest centre if it is at most radius away (three
    standard deviations in Srivastava et al. 2017, arXiv 1705.07761); a mode counts
    where at least a tenth of its due, N / K, lies in it. Raises ValueError for no
    points.
    """
    count("points", len(points))
    distance, nearest = torch.cdist(
        points, centres, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    inside = distance <= positive("radius", radius)
    drawn = nearest[inside].bincount(minlength=len(centres))
    return int(
        (drawn >= 0.1 * len(points) / len(centres)).sum()
    ), inside.double().mean().item()


def bits_per_dimension(
    log_density: float | Tensor, dimensions: int, levels: int = 256
) -> float | Tensor:
    """log2(levels) - log_density / (dimensions ln 2): nats of pictures in [0, 1] as
    bits for each of their pixels.

    log_density: log p(x) or a bound on it, of pictures with uniform noise that fills
    the gaps between `levels` greys (`course_lib.latent.likelihoods.dequantise`); then
    this is what storing one channel of one pixel costs. The uniform density costs
    log2(levels). levels = 1: log_density is of discrete data, a log-probability. Theis
    et al. 2015 (arXiv 1511.01844).
    """
    return math.log2(count("levels", levels)) - log_density / (
        count("dimensions", dimensions) * math.log(2)
    )
