"""k-means: a vector becomes a code, the number of the mean it is nearest to.

Lloyd 1982, "Least squares quantization in PCM" (written in 1957), started by k-means++:
Arthur & Vassilvitskii 2007, "k-means++: the advantages of careful seeding".
`PatchCodes` makes features of pictures from it without any gradient: Coates, Lee, Ng
2011, "An analysis of single-layer networks in unsupervised feature learning", AISTATS.
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

# numbers held at once in an (n, K) or (n, D) matrix: 16 MB, however many rows x has
CHUNK = 2**22


@torch.no_grad()
@expects(x="float N D", means="float K D")
@full_precision
def nearest_mean(x: Tensor, means: Tensor) -> Tensor:
    """The code of each row, (N,) int64: argmin_k ||x_i - m_k||^2, the lowest k where
    several are equally near."""
    # distances do not change with the origin; far from it the squares would cancel
    centre = means.mean(0)
    means = means - centre
    # ||x - m||^2 = ||x||^2 - 2 x . m + ||m||^2, and ||x||^2 is the same for all k
    lengths = means.square().sum(1)
    parts = x.split(max(1, CHUNK // max(means.shape)))
    return torch.cat(
        [
            torch.addmm(lengths, part - centre, means.T, alpha=-2).argmin(1)
            for part in parts
        ]
    )


@torch.no_grad()
@expects(x="float N D", codes="int N", means="float K D")
def means_of(x: Tensor, codes: Tensor, means: Tensor) -> Tensor:
    """The mean of each cluster's rows, (K, D); a cluster without rows keeps the mean it
    had. Summed in float64."""
    size = codes.bincount(minlength=len(means))[:, None]  # (K, 1)
    sums, rows = (
        torch.zeros_like(means, dtype=torch.float64),
        max(1, CHUNK // x.shape[1]),
    )
    for part, code in zip(x.split(rows), codes.split(rows)):
        sums.index_add_(0, code, part.double())
    return torch.where(size > 0, (sums / size.clamp(min=1)).to(means.dtype), means)


@torch.no_grad()
@expects(x="float N D", codes="int N", means="float K D")
def inertia(x: Tensor, codes: Tensor, means: Tensor) -> float:
    """sum_i ||x_i - m_(c_i)||^2: what neither half of a step of k-means can raise."""
    rows = max(1, CHUNK // x.shape[1])
    pairs = zip(x.split(rows), codes.split(rows))
    return sum(
        (part - means[code]).double().square().sum() for part, code in pairs
    ).item()


@torch.no_grad()
@expects(x="float N D")
def plus_plus(x: Tensor, k: int, generator: Generator) -> Tensor:
    """k rows to start from, (k, D): k-means++ (Arthur & Vassilvitskii 2007, section
    2.2).

    The first one is drawn uniformly, every other one with probability proportional to
    its squared distance from the nearest one so far. The generator is the CPU's
    wherever x lies. Where x has fewer than k different rows, some come twice. Raises
    ValueError for k > N.
    """
    count("k", k, len(x))
    distance, rows = x.new_ones(len(x), dtype=torch.float64), []  # (N,)
    for u in torch.rand(k, generator=generator, dtype=torch.float64).tolist():
        # row i owns a stretch of length distance_i, none if it was chosen before
        steps = distance.cumsum(0)
        rows.append(
            torch.searchsorted(steps, u * steps[-1:], right=True).clamp(max=len(x) - 1)
        )
        new = (
            torch.cdist(x, x[rows[-1]], compute_mode="donot_use_mm_for_euclid_dist")[
                :, 0
            ]
            .double()
            .square()
        )
        distance = new if len(rows) == 1 else torch.minimum(distance, new)
    return x[torch.cat(rows)]


def lloyd(x: Tensor, means: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (means (K, D), codes (N,)): the given means first, then what each step
    makes of them; a step moves every mean to the middle of its rows, then every row to
    its nearest mean. Ends when a step changes no code.

        states = list(lloyd(x, plus_plus(x, 10, generator)))        # for a slider
        [inertia(x, codes, means) for means, codes in states]       # never rises
    """
    codes, before = nearest_mean(x, means), None
    yield means, codes
    while before is None or not torch.equal(codes, before):
        means, before = means_of(x, codes, means), codes
        codes = nearest_mean(x, means)
        yield means, codes


@expects(x="float N D")
def kmeans(x: Tensor, k: int, steps: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    """k-means++, then at most so many steps of Lloyd's: means (k, D), and the code of
    each row's nearest one, (N,).

    A local minimum: other seeds may find a lower `inertia`. Raises ValueError for k > N
    or steps < 0.
    """
    start = plus_plus(x, k, torch.Generator().manual_seed(seed))
    states = islice(lloyd(x, start), count("steps", steps, low=0) + 1)
    return deque(states, maxlen=1).pop()  # the last one


# Pictures as counts of codes.


def one_hot(distances: Tensor) -> Tensor:
    """Distances to the means (M, K) -> 1 at the nearest one, 0 elsewhere: "K-means
    (hard)" of Coates et al."""
    return torch.zeros_like(distances).scatter_(1, distances.argmin(1, keepdim=True), 1)


def triangle(distances: Tensor) -> Tensor:
    """Distances to the means (M, K) -> max(0, mean distance - distance), "K-means
    (triangle)": about half are 0."""
    return (distances.mean(1, keepdim=True) - distances).relu()


@torch.no_grad()
@expects(x="float N D")
def zca(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the symmetric whitening matrix (D, D) of rows x: (x - mean) @
    matrix has covariance V (v / (v + epsilon)) V^T where x has V v V^T. Directions of a
    variance below epsilon stay small: they are noise.
    """
    centre = x.mean(0)
    variances, axes = torch.linalg.eigh((x - centre).T.cov(correction=0))
    return centre, axes / (
        variances.clamp(min=0) + positive("epsilon", epsilon)
    ).sqrt() @ axes.T


class PatchCodes(nn.Module):
    """Pictures (N, C, H, W) in [0, 1] -> (N, 4 K): how often each of K kinds of patch
    occurs in each quarter.

    Every window of patch x patch pixels, `stride` apart, is whitened and compared with
    the K means; `code` makes activities (M, K) of the distances (M, K); these are
    averaged over each quarter, and the root is taken. Few kinds of smooth patch fill
    most of a picture: without the root a cosine hardly sees the others. (With one_hot,
    the cosine of the roots is the mean Bhattacharyya coefficient of the quarters'
    histograms.)

    means (K, D), D = C patch^2; centre (D,) and whiten (D, D) as from `zca`. contrast:
    None, or Coates et al.'s normalisation of each patch before whitening, (p - mean(p))
    / sqrt(var(p) + contrast).
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
        """Pictures (N, C, H, W) -> the activities of each window, (N, K, h, w). Raises
        ValueError for other channels than the means have, or fewer than two windows a
        side."""
        least = self.patch + self.stride
        if x.shape[1] != self.channels or min(x.shape[2:]) < least:
            raise ValueError(
                f"argument `x`: expected (N, {self.channels}, H, W), H and W at least "
                f"{least}, got "
                f"{tuple(x.shape)}"
            )
        h, w = ((side - self.patch) // self.stride + 1 for side in x.shape[2:])
        patches = rearrange(
            F.unfold(x, self.patch, stride=self.stride), "n d places -> (n places) d"
        )
        patches = normalise(patches, self.contrast)  # (N h w, D)
        # (N h w, K)
        activities = self.code(
            torch.cdist((patches - self.centre) @ self.whiten, self.means)
        )
        return rearrange(activities, "(n h w) k -> n k h w", h=h, w=w)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(64)  # of 32 x 32 pixels: 12,544 windows
        return torch.cat(
            [
                F.adaptive_avg_pool2d(self.feature_map(part), 2).sqrt().flatten(1)
                for part in parts
            ]
        )

    def dictionary(self) -> Tensor:
        """The means as pictures, (K, C, patch, patch): the patch that whitening takes
        to each mean."""
        patches = torch.linalg.solve(self.whiten, self.means, left=False) + self.centre
        return patches.unflatten(1, (self.channels, self.patch, self.patch))


def normalise(patches: Tensor, contrast: float | None) -> Tensor:
    """Takes brightness and contrast out of each row of (M, D), pixels in [0, 1];
    contrast None: leaves it as it is."""
    if contrast is None:
        return patches
    deviation = (
        patches.var(1, correction=0, keepdim=True) + positive("contrast", contrast)
    ).sqrt()
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
    """PatchCodes learned from so many random patches of pictures x (N, C, H, W), uint8
    or float in [0, 1].

    epsilon: of `zca`; one far above every variance, say 1e5, turns whitening off. The
    defaults were chosen on the validation scenes, where the normalisation of Coates et
    al. (contrast 0.01) cost two points of accuracy. Raises ValueError for k > patches,
    a patch larger than x, or x of another dtype.
    """
    if not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise ValueError(f"argument `x`: expected uint8 or float, got {x.dtype}")
    side = count("patch", patch, high=min(x.shape[2:]))
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(
        3, count("patches", patches), generator=generator, dtype=torch.float64
    )
    sizes = torch.tensor([len(x), x.shape[2] - side + 1, x.shape[3] - side + 1])
    row, top, left = (u * sizes[:, None]).long().to(x.device)
    pixel, channel = (
        torch.arange(side, device=x.device),
        torch.arange(x.shape[1], device=x.device),
    )
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
