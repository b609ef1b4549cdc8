"""k-means: encodes a vector as a code, the number of its nearest mean.

The algorithm is Lloyd's (1982, "Least squares quantization in PCM", written in 1957).
It starts from k-means++ (Arthur & Vassilvitskii 2007, "k-means++: the advantages of
careful seeding"). `PatchCodes` computes features of pictures from k-means, without any
gradient (Coates, Lee, Ng 2011, "An analysis of single-layer networks in unsupervised
feature learning", AISTATS).
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from course_lib.checks import count, expects, positive
from course_lib.data import as_float
from course_lib.losses import full_precision

# numbers in one (n, K) or (n, D) matrix: 16 MB, independent of the number of rows
CHUNK = 2**22


@torch.no_grad()
@expects(x="float N D", means="float K D")
@full_precision
def nearest_mean(x: Tensor, means: Tensor) -> Tensor:
    """Returns the code of each row, (N,) int64: argmin_k ||x_i - m_k||^2. If several
    means are equally near, it is the lowest k."""
    # Distances do not depend on the origin. Far from it, rounding errors of the squares
    # would be large.
    centre = means.mean(0)
    means = means - centre
    # ||x - m||^2 = ||x||^2 - 2 x . m + ||m||^2, and ||x||^2 is the same for all k
    lengths = means.square().sum(1)
    codes = []
    for part in x.split(max(1, CHUNK // max(means.shape))):
        distances = torch.addmm(lengths, part - centre, means.T, alpha=-2)
        codes.append(distances.argmin(1))
    return torch.cat(codes)


@torch.no_grad()
@expects(x="float N D", codes="int N", means="float K D")
def means_of(x: Tensor, codes: Tensor, means: Tensor) -> Tensor:
    """Returns the mean of each cluster's rows, (K, D), summed in float64. A cluster
    without rows keeps its mean from `means`."""
    size = codes.bincount(minlength=len(means))[:, None]  # (K, 1)
    sums = torch.zeros_like(means, dtype=torch.float64)
    rows = max(1, CHUNK // x.shape[1])
    for part, code in zip(x.split(rows), codes.split(rows)):
        sums.index_add_(0, code, part.double())
    return torch.where(size > 0, (sums / size.clamp(min=1)).to(means.dtype), means)


@torch.no_grad()
@expects(x="float N D", codes="int N", means="float K D")
def inertia(x: Tensor, codes: Tensor, means: Tensor) -> float:
    """Returns sum_i ||x_i - m_(c_i)||^2. Neither of the two parts of a k-means step can
    increase it."""
    rows = max(1, CHUNK // x.shape[1])
    pairs = zip(x.split(rows), codes.split(rows))
    return sum(
        (part - means[code]).double().square().sum() for part, code in pairs
    ).item()


@torch.no_grad()
@expects(x="float N D")
def plus_plus(x: Tensor, k: int, generator: Generator) -> Tensor:
    """Returns k rows of x as first means, (k, D), by k-means++ (Arthur & Vassilvitskii
    2007, section 2.2).

    The first row is drawn uniformly. Each other row is drawn with probability
    proportional to its squared distance from the nearest row drawn before. The
    generator is on the CPU for any device of x. If x has fewer than k different rows,
    some rows are drawn repeatedly. Raises ValueError for k > N.
    """
    count("k", k, len(x))
    distance, rows = x.new_ones(len(x), dtype=torch.float64), []  # (N,)
    for u in torch.rand(k, generator=generator, dtype=torch.float64).tolist():
        # row i has an interval of length distance_i, which is 0 for a row drawn before
        steps = distance.cumsum(0)
        row = torch.searchsorted(steps, u * steps[-1:], right=True)
        rows.append(row.clamp(max=len(x) - 1))
        exact = "donot_use_mm_for_euclid_dist"
        new = torch.cdist(x, x[rows[-1]], compute_mode=exact)[:, 0].double().square()
        distance = new if len(rows) == 1 else torch.minimum(distance, new)
    return x[torch.cat(rows)]


def lloyd(x: Tensor, means: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (means (K, D), codes (N,)) of Lloyd's algorithm: first for the given
    means, then after each step.

    A step replaces each mean by the mean of its rows, and then assigns each row to its
    nearest mean. The algorithm ends with a step that changes no code.

        states = list(lloyd(x, plus_plus(x, 10, generator)))   # for a slider
        [inertia(x, codes, means) for means, codes in states]  # never increases
    """
    codes, before = nearest_mean(x, means), None
    yield means, codes
    while before is None or not torch.equal(codes, before):
        means, before = means_of(x, codes, means), codes
        codes = nearest_mean(x, means)
        yield means, codes


@expects(x="float N D")
def kmeans(x: Tensor, k: int, steps: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns means (k, D) and the code of each row, (N,), after k-means++ and at most
    `steps` steps of Lloyd's algorithm.

    The result is a local minimum of `inertia` if the steps suffice. Another seed may
    have a lower one. Raises ValueError for k > N or steps < 0.
    """
    start = plus_plus(x, k, torch.Generator().manual_seed(seed))
    states = islice(lloyd(x, start), count("steps", steps, low=0) + 1)
    return deque(states, maxlen=1).pop()  # the last one


# Features of pictures: counts of codes.


def one_hot(distances: Tensor) -> Tensor:
    """Maps distances to the means, (M, K), to 1 at the nearest mean and 0 elsewhere:
    "K-means (hard)" of Coates et al."""
    return torch.zeros_like(distances).scatter_(1, distances.argmin(1, keepdim=True), 1)


def triangle(distances: Tensor) -> Tensor:
    """Maps distances to the means, (M, K), to max(0, mean distance - distance):
    "K-means (triangle)" of Coates et al. About half of the values are 0."""
    return (distances.mean(1, keepdim=True) - distances).relu()


@torch.no_grad()
@expects(x="float N D")
def zca(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns the mean (D,) and the symmetric whitening matrix (D, D) of rows x.

    If x has the covariance V diag(v) V^T, then (x - mean) @ matrix has the covariance
    V diag(v / (v + epsilon)) V^T. Directions with a variance below epsilon stay small,
    because they are mostly noise.
    """
    centre = x.mean(0)
    variances, axes = torch.linalg.eigh((x - centre).T.cov(correction=0))
    std = (variances.clamp(min=0) + positive("epsilon", epsilon)).sqrt()
    return centre, axes / std @ axes.T


class PatchCodes(nn.Module):
    """Maps pictures (N, C, H, W) in [0, 1] to (N, 4 K): how often each of K kinds of
    patch occurs in each quarter of the picture.

    Every window of patch x patch pixels, at distances of `stride`, is whitened and
    compared with the K means. `code` computes activities (M, K) from the distances (M,
    K). The features are the square roots of the activities averaged over each quarter.
    Without the root, a few kinds of smooth patch, which fill most of a picture, would
    determine the cosine similarity almost alone. (With one_hot, the cosine of the roots
    is the mean Bhattacharyya coefficient of the quarters' histograms.)

    means: (K, D), where D = C patch^2; centre (D,) and whiten (D, D): as from `zca`.
    contrast: None, or the constant in the normalisation of each patch before whitening
    (Coates et al.), (p - mean(p)) / sqrt(var(p) + contrast).
    """

    @expects(means="float K D", centre="float D", whiten="float D D")
    def __init__(
        self,
        means: Tensor,
        centre: Tensor,
        whiten: Tensor,
        patch: int = 6,
        stride: int = 2,
        code: Callable[[Tensor], Tensor] = one_hot,
        contrast: float | None = None,
    ):
        super().__init__()
        self.patch, self.stride = count("patch", patch), count("stride", stride)
        self.channels, rest = divmod(means.shape[1], patch**2)
        if rest:
            raise ValueError(
                f"argument `means`: expected C x {patch**2} columns, got "
                f"{means.shape[1]}"
            )
        self.code, self.contrast = code, contrast
        for name, value in {"means": means, "centre": centre, "whiten": whiten}.items():
            self.register_buffer(name, value)

    @torch.no_grad()
    @expects(x="float N C H W")
    def feature_map(self, x: Tensor) -> Tensor:
        """Returns the activities of each window of pictures (N, C, H, W), as (N, K, h,
        w). Raises ValueError if the number of channels is not that of the means, and
        for fewer than two windows in height or width."""
        least = self.patch + self.stride
        if x.shape[1] != self.channels or min(x.shape[2:]) < least:
            raise ValueError(
                f"argument `x`: expected (N, {self.channels}, H, W), H and W at least "
                f"{least}, got {tuple(x.shape)}"
            )
        h, w = ((side - self.patch) // self.stride + 1 for side in x.shape[2:])
        patches = rearrange(
            F.unfold(x, self.patch, stride=self.stride), "n d places -> (n places) d"
        )
        patches = normalise(patches, self.contrast)  # (N h w, D)
        distances = torch.cdist((patches - self.centre) @ self.whiten, self.means)
        activities = self.code(distances)  # (N h w, K)
        return rearrange(activities, "(n h w) k -> n k h w", h=h, w=w)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for part in x.split(64):  # 12,544 windows, for 32 x 32 pixels
            quarters = F.adaptive_avg_pool2d(self.feature_map(part), 2)
            features.append(quarters.sqrt().flatten(1))
        return torch.cat(features)

    def dictionary(self) -> Tensor:
        """Returns the means as pictures, (K, C, patch, patch): the patches that are
        equal to the means after whitening."""
        patches = torch.linalg.solve(self.whiten, self.means, left=False) + self.centre
        return patches.unflatten(1, (self.channels, self.patch, self.patch))


def normalise(patches: Tensor, contrast: float | None) -> Tensor:
    """Removes brightness and contrast from each row of (M, D), pixels in [0, 1]. With
    contrast None it returns the rows unchanged."""
    if contrast is None:
        return patches
    variance = patches.var(1, correction=0, keepdim=True)
    deviation = (variance + positive("contrast", contrast)).sqrt()
    return (patches - patches.mean(1, keepdim=True)) / deviation


@torch.no_grad()
@expects(x="any N C H W")
def fit_patch_codes(
    x: Tensor,
    k: int = 100,
    patch: int = 6,
    stride: int = 2,
    patches: int = 50_000,
    seed: int = 0,
    code: Callable[[Tensor], Tensor] = one_hot,
    epsilon: float = 0.05,
    contrast: float | None = None,
) -> PatchCodes:
    """Returns PatchCodes fitted to `patches` random patches of pictures x (N, C, H, W),
    uint8 or float in [0, 1].

    epsilon: of `zca`. A value far above all variances, such as 1e5, turns whitening
    off. The defaults were chosen on the validation scenes. There the normalisation of
    Coates et al. (contrast 0.01) had two points less accuracy. Raises ValueError for
    k > patches, for a patch larger than x, and for x of another dtype.
    """
    if not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise ValueError(f"argument `x`: expected uint8 or float, got {x.dtype}")
    side = count("patch", patch, high=min(x.shape[2:]))
    generator = torch.Generator().manual_seed(seed)
    count("patches", patches)
    u = torch.rand(3, patches, generator=generator, dtype=torch.float64)
    sizes = torch.tensor([len(x), x.shape[2] - side + 1, x.shape[3] - side + 1])
    row, top, left = (u * sizes[:, None]).long().to(x.device)
    pixel = torch.arange(side, device=x.device)
    channel = torch.arange(x.shape[1], device=x.device)
    sample = x[
        row[:, None, None, None],
        channel[:, None, None],
        (top[:, None] + pixel)[:, None, :, None],
        (left[:, None] + pixel)[:, None, None],
    ]
    sample = normalise(as_float(sample).flatten(1), contrast)  # (patches, D)
    centre, whiten = zca(sample, epsilon)
    means, _ = kmeans((sample - centre) @ whiten, k, seed=seed)
    return PatchCodes(means, centre, whiten, patch, stride, code, contrast)
