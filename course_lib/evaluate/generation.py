"""Evaluates a generator: how far generated pictures are from real ones.

All functions except the last two take features, (N, D), of any encoder. The values mean
nothing without the name of the encoder: the published FID and KID use one particular
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
    """Returns ||m_r - m_g||^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2)), where m are the
    means and C the covariances (with N - 1) of the features.

    It is the squared 2-Wasserstein distance of two Gaussians with these moments (Dowson
    & Landau 1982). With Inception features it is called FID (Heusel et al. 2017, arXiv
    1706.08500). For finite sets it is too large, and more so for fewer rows. So compare
    only values of equal numbers of rows, which should be many times D. Raises
    ValueError for fewer than two rows, and for features that are not finite.
    """
    mean_r, cov_r = _moments("real", real)
    mean_g, cov_g = _moments("generated", generated)
    root = _root(cov_r)
    # this symmetric matrix has the eigenvalues of C_r C_g
    cross = torch.linalg.eigvalsh(root @ cov_g @ root).clamp(min=0).sqrt().sum()
    means = (mean_r - mean_g).square().sum()
    distance = means + cov_r.trace() + cov_g.trace() - 2 * cross
    return distance.clamp(min=0).item()


def _moments(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean (D,) and covariance (D, D), in float64."""
    if len(features) < 2:
        raise ValueError(
            f"argument `{name}`: expected at least two rows, got {len(features)}"
        )
    features = _finite(name, features).double()
    return features.mean(0), torch.atleast_2d(features.T.cov())


def _root(covariance: Tensor) -> Tensor:
    """Returns the symmetric square root of a covariance."""
    values, axes = torch.linalg.eigh(covariance)
    return axes * values.clamp(min=0).sqrt() @ axes.T


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Returns an unbiased estimate of the squared maximum mean discrepancy with the
    kernel (u^T v / D + 1)^3.

    Because it is unbiased, it can be below 0. With Inception features it is called KID
    (Binkowski et al. 2018, arXiv 1801.01401). Raises ValueError for fewer than two
    rows, and for features that are not finite.
    """
    for name, rows in (("real", real), ("generated", generated)):
        if len(_finite(name, rows)) < 2:
            raise ValueError(
                f"argument `{name}`: expected at least two rows, got {len(rows)}"
            )
    n, m = len(real), len(generated)
    within = _kernels(real) / (n * (n - 1)) + _kernels(generated) / (m * (m - 1))
    return within - 2 * _kernels(real, generated) / (n * m)


def _kernels(rows: Tensor, others: Tensor | None = None) -> float:
    """Returns the sum of the kernel over all pairs of one of `rows` and one of
    `others`. Without `others` it is the sum over all pairs of two different rows."""
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
    """Returns improved precision and recall (Kynkaanniemi et al. 2019, arXiv
    1904.06991, equations 1 and 2).

    Each row of a set is the centre of a ball, whose radius is the distance to its k-th
    nearest other row. Precision is the share of generated rows that lie in the ball of
    a real row: it measures whether generated pictures look real. Recall is the share of
    real rows that lie in the ball of a generated row: it measures whether all kinds of
    real pictures are generated. Compare only values of equal numbers of rows. Raises
    ValueError unless 1 <= k < rows, and for features that are not finite.
    """
    count("k", k, min(len(real), len(generated)) - 1)
    real = _finite("real", real).double()
    generated = _finite("generated", generated).double()
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(rows: Tensor, centres: Tensor, k: int) -> float:
    """Returns the share of rows that lie in the ball of at least one centre."""
    inside = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    exact = "donot_use_mm_for_euclid_dist"
    for part in _chunks(len(centres), max(len(rows), len(centres))):
        apart = torch.cdist(centres[part], centres, compute_mode=exact)
        # k + 1, because the nearest centre is the centre itself
        radius = apart.kthvalue(k + 1, dim=1, keepdim=True).values
        distance = torch.cdist(centres[part], rows, compute_mode=exact)
        inside |= (distance <= radius).any(0)
    return inside.double().mean().item()


@torch.no_grad()
@expects(points="float N D", centres="float K D")
def mode_coverage(points: Tensor, centres: Tensor, radius: float) -> tuple[int, float]:
    """Returns how many of K equally likely modes the points cover, and the share of
    points that lie in a mode: (modes, share).

    A point lies in the mode of its nearest centre if the distance is at most `radius`
    (three standard deviations in Srivastava et al. 2017, arXiv 1705.07761). A mode
    counts as covered if at least a tenth of the expected number of points, N / K, lies
    in it. Raises ValueError for no points.
    """
    count("points", len(points))
    distance, nearest = torch.cdist(
        points, centres, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    inside = distance <= positive("radius", radius)
    drawn = nearest[inside].bincount(minlength=len(centres))
    modes = int((drawn >= 0.1 * len(points) / len(centres)).sum())
    return modes, inside.double().mean().item()


def bits_per_dimension(
    log_density: float | Tensor, dimensions: int, levels: int = 256
) -> float | Tensor:
    """Returns log2(levels) - log_density / (dimensions ln 2), which converts the log
    density of pictures in [0, 1] from nats to bits per dimension (Theis et al. 2015,
    arXiv 1511.01844).

    log_density: log p(x), or a bound on it, of pictures with uniform noise that fills
    the gaps between `levels` greys (`course_lib.latent.likelihoods.dequantise`). The
    result is then the cost of storing one channel of one pixel. The uniform density
    costs log2(levels). Use levels = 1 for discrete data, where log_density is a
    log-probability.
    """
    return math.log2(count("levels", levels)) - log_density / (
        count("dimensions", dimensions) * math.log(2)
    )
