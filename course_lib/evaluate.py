"""What a representation is worth: frozen features, then k-NN, linear probe, few labels, masks, retrieval, collapse;
and a generator: distances between real and drawn pictures' features.

    train, test = features(method, train_set.x), features(method, test_set.x)
    accuracy(knn(train, train_set.y, test), test_set.y)
    accuracy(linear_probe(train, train_set.y, groups=train_set.info["emoji"])(test), test_set.y)

Everything runs where the features lie, CPU or GPU, in memory that does not grow with the size of the test set. Classes
are the numbers 0 to C - 1. `groups` names what must stay together when rows are split: the scenes of one emoji look
alike, and a validation scene of an emoji that was fitted measures memory.
"""
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.checks import count, expects, number, positive
from course_lib.data import as_float

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
PENALTIES = (1e-4, 1e-2, 1.0)
THRESHOLDS = tuple(step / 10 for step in range(-9, 4))


@torch.no_grad()
@expects(x="any ...")
def features(encoder: nn.Module | Callable[[Tensor], Tensor], x: Tensor, batch_size: int = 1024) -> Tensor:
    """Frozen features of x, (N, D) float32 on the CPU, computed batch by batch without gradient.

    encoder: a Method (its `encode` is called), any module, a module's bound method, or a function. A module computes on
    its own device and in eval mode, and the mode of each of its submodules is put back. A lambda hides its modules:
    write nn.Sequential(f, g) and not lambda x: g(f(x)), or call eval() yourself.
    x: (N, ...), uint8 (becomes float32 in [0, 1]) or floating point (taken as it is). Raises ValueError for another
    dtype, a batch_size below 1, or an encoder that does not give (N, D).
    """
    count("batch_size", batch_size)
    if x.ndim == 0 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise ValueError(f"argument `x`: expected uint8 or float of shape (N, ...), got {x.dtype} of {tuple(x.shape)}")
    encode, module = getattr(encoder, "encode", encoder), getattr(encoder, "__self__", encoder)
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
                raise ValueError(f"argument `encoder`: expected ({len(batch)}, D) features, got {tuple(out.shape)}")
            batches.append(out.float().cpu())
        return torch.cat(batches)
    finally:
        for m, training in modes.items():
            m.training = training


@expects(scores="float N C", labels="int N")
def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of rows whose highest score, of (N, C), is at the label, (N,); a label of C or more is a miss."""
    return (scores.argmax(1) == labels).double().mean().item()


@torch.no_grad()
@expects(train_features="float N D", train_labels="int N", test_features="float M D")
def knn(train_features: Tensor, train_labels: Tensor, test_features: Tensor, k: int = 20,
        temperature: float = 0.07) -> Tensor:
    """Weighted k-nearest neighbours by cosine similarity (Wu et al. 2018, arXiv 1805.01978, section 3.4).

    Each of the k training rows most similar to a test row votes for its class with weight exp(cos / temperature).
    Returns the votes' shares, (M, C) with rows that sum to 1, C = largest training label + 1. Which of several equally
    similar rows are the k is left open. Raises ValueError for k > N, labels below 0 or features that are not finite.
    """
    count("k", k, len(train_features))
    positive("temperature", temperature)
    classes, labels = _classes("train_labels", train_labels), train_labels.long()
    train, test = _unit("train_features", train_features), _unit("test_features", test_features)
    scores = []
    for rows in _chunks(len(test), len(train)):
        similarity, nearest = (test[rows] @ train.T).topk(k)                     # (m, k) out of (m, N)
        weight = (similarity / temperature).softmax(1)                         # votes; no exp overflows
        scores.append(weight.new_zeros(len(weight), classes).scatter_add_(1, labels[nearest], weight))
    return torch.cat(scores)


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Logits = features @ weight + bias, in float64; `strength` is the C it was fitted with."""
    strength: float
    weight: Tensor      # (D, C), for features as they come: standardisation is folded in
    bias: Tensor        # (C,), -inf for a class that had no row

    @expects(features="float N D")
    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, C) of features (N, D)."""
        if features.shape[1] != len(self.weight):
            raise ValueError(f"argument `features`: expected {len(self.weight)} columns, got {features.shape[1]}")
        return features.double() @ self.weight + self.bias


@expects(features="float N D", labels="int N")
def logistic_regression(features: Tensor, labels: Tensor, strengths: Sequence[float]) -> list[LinearClassifier]:
    """Multinomial logistic regression on standardised features, one classifier for each strength C, each the minimum of

        C * sum_i cross_entropy(x_i W + b, y_i) + ||W||^2 / 2          (scikit-learn's, the bias b without penalty)

    found with L-BFGS in float64, every strength from the one before. Two classes have two columns of W as well: that is
    scikit-learn's binary objective at 2 C. A constant column gets no weight, a class without rows is never predicted.
    Raises ValueError for features that are not finite, labels below 0, no strength or one that is not positive.
    """
    if not len(strengths):
        raise ValueError("argument `strengths`: expected at least one positive number, got none")
    for strength in strengths:
        positive("strengths", strength)
    x, classes = _finite("features", features).detach().double(), _classes("labels", labels)
    present, y = labels.unique(return_inverse=True)
    mean, std = x.mean(0), x.std(0, correction=0)
    scale = std.masked_fill(std <= 1e-6 * mean.abs(), torch.inf)                # below float32's resolution: constant
    x = (x - mean) / scale
    if len(x) < x.shape[1]:
        _, root, axes = torch.linalg.svd(x, full_matrices=False)                # W lies in the span of the rows
        gram, axes = root.square() / len(x), axes.T
    else:
        gram, axes = torch.linalg.eigh(x.T @ x / len(x))
    x = x @ axes                                                                # (N, r), uncorrelated columns
    weight, bias, found = x.new_zeros(x.shape[1], len(present)), x.new_zeros(len(present)), []
    for strength in strengths:
        weight, bias = _minimise(x, y, weight, bias, gram, 1 / (strength * len(x)))
        raw = axes @ weight / scale[:, None]                                    # (D, classes present)
        found.append(LinearClassifier(
            strength, raw.new_zeros(len(raw), classes).index_copy_(1, present, raw),
            raw.new_full((classes,), -torch.inf).index_copy_(0, present, bias - mean @ raw)))
    return found


def _minimise(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, gram: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Weight (r, K) and bias (K,) of least mean cross-entropy + decay / 2 ||weight||^2, searched from the given ones.

    Columns of different variance make L-BFGS crawl; in coordinates that make the Hessian about the identity it takes
    tens of steps. It stops where no entry of the gradient there exceeds 1e-6, or after 1,000 steps.
    """
    metric = (gram.clamp(min=0) / len(bias) + decay).rsqrt()[:, None]           # p (1 - p) is about 1 / K
    scaled, bias = (weight / metric).requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([scaled, bias], max_iter=1000, tolerance_grad=1e-6, tolerance_change=0,
                                  history_size=20, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        weight = metric * scaled
        loss = F.cross_entropy(x @ weight + bias, y) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return (metric * scaled).detach(), bias.detach()


@expects(features="float N D", labels="int N", groups="int N")
def linear_probe(features: Tensor, labels: Tensor, groups: Tensor | None = None,
                 strengths: Sequence[float] = STRENGTHS, validation: float = 0.2, seed: int = 0) -> LinearClassifier:
    """The linear probe: logistic regression whose strength is chosen on a validation part, then fitted on all rows.

    `validation` is the share of groups (of rows without groups) held out, drawn from the seed; no group is on both
    sides. The best accuracy there wins, on a tie the smallest C. Raises ValueError where logistic_regression does, and
    where either side of the split would be empty.
    """
    held = _held_out(torch.arange(len(labels), device=labels.device) if groups is None else groups, validation, seed)
    path = logistic_regression(features[~held], labels[~held], sorted(strengths))
    best = max(path, key=lambda classifier: accuracy(classifier(features[held]), labels[held]))
    return logistic_regression(features, labels, [best.strength])[0]


def _held_out(groups: Tensor, validation: float, seed: int) -> Tensor:
    """True for the rows of so large a share of the groups, drawn from the seed: (N,) bool."""
    ids, group = groups.unique(return_inverse=True)
    size = round(number("validation", validation, 0, 1) * len(ids))
    if not 0 < size < len(ids):
        raise ValueError(f"argument `validation`: expected a share that leaves some of the {len(ids)} groups on each "
                         f"side, got {validation!r}")
    rank = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).to(groups.device)
    return (rank < size)[group]


@expects(train_features="float N D", train_labels="int N", test_features="float M D", test_labels="int M")
def few_labels(train_features: Tensor, train_labels: Tensor, draws: Sequence[Tensor], test_features: Tensor,
               test_labels: Tensor, strength: float = 0.01) -> Tensor:
    """Test accuracy, (draws,) float64, of logistic regression that saw only the labels of one draw of training rows.

        draws = [labelled_subset(train_set, per_class=5, seed=seed) for seed in range(5)]       # course_lib.data's

    The strength is fixed, for a validation set would be more labels; the same draws serve every encoder. Report mean()
    and std(). Raises ValueError for no draws, and where logistic_regression does.
    """
    if not len(draws):
        raise ValueError("argument `draws`: expected one tensor of rows or more, got none")
    found = []
    for rows in draws:
        classifier = logistic_regression(train_features[rows], train_labels[rows], [strength])[0]
        found.append(accuracy(classifier(test_features), test_labels))
    return torch.tensor(found, dtype=torch.float64)


@torch.no_grad()
@expects(predicted="bool N 1 H W", true="bool N 1 H W")
def intersection_over_union(predicted: Tensor, true: Tensor) -> float:
    """The pixels in both masks over the pixels in either, 1 where both are empty: the mean over pictures."""
    both, either = (predicted & true).flatten(1).sum(1), (predicted | true).flatten(1).sum(1)
    return torch.where(either > 0, both.double() / either, 1).mean().item()


@torch.no_grad()
@expects(attention="float ... h w")
def most_of_the_mass(attention: Tensor, share: float = 0.6) -> Tensor:
    """Masks (..., h, w) of the fewest places that hold `share` of each map's sum, the strongest first.

    How DINO makes masks of attention (Caron et al. 2021, arXiv 2104.14294, figure 4; there 60 %). Raises ValueError for
    a share outside [0, 1].
    """
    flat = attention.flatten(-2)
    strongest, places = flat.sort(-1, descending=True)
    before = strongest.cumsum(-1) - strongest                                   # held by the stronger ones
    kept = before < number("share", share, 0, 1) * flat.sum(-1, keepdim=True)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(-1, places, kept).view(attention.shape)


@dataclass(frozen=True, eq=False)
class MaskProbe:
    """A mask from a feature map: each of its h x w cells predicts the pixels it covers, all with one matrix.

    Scores, in float64, above 0 for what is inside: cell @ weight + bias, with a bias of its own for each pixel.
    """
    penalty: float      # the one it was fitted with
    weight: Tensor      # (C, r^2), for maps as they come; a cell covers r x r pixels
    bias: Tensor        # (1, H, W) = (1, r h, r w)

    @expects(maps="float N C h w")
    def __call__(self, maps: Tensor) -> Tensor:
        """Scores (N, 1, H, W) of maps (N, C, h, w)."""
        side = math.isqrt(self.weight.shape[1])
        shape = len(self.weight), self.bias.shape[1] // side, self.bias.shape[2] // side
        if maps.shape[1:] != shape:
            raise ValueError(f"argument `maps`: expected {shape} after the rows, got {tuple(maps.shape)}")
        scores = [torch.einsum("nchw,cr->nrhw", maps[rows].double(), self.weight)
                  for rows in _chunks(len(maps), maps[0].numel())]
        return rearrange(torch.cat(scores), "n (p q) h w -> n 1 (h p) (w q)", p=side) + self.bias


@torch.no_grad()
@expects(maps="float N C h w", masks="bool N 1 H W", groups="int N")
def mask_probe(maps: Tensor, masks: Tensor, groups: Tensor | None = None, penalties: Sequence[float] = PENALTIES,
               validation: float = 0.2, seed: int = 0) -> MaskProbe:
    """Masks from frozen feature maps by ridge regression: do features tell where things are, not only what?

        maps = features(nn.Sequential(net.stem, net.stages, nn.Flatten()), x).unflatten(1, (96, 4, 4))
        intersection_over_union(mask_probe(maps, masks)(test_maps) > 0, test_masks)

    maps (N, C, h, w), masks (N, 1, r h, r w). With pixels y of +-1 and the channels standardised, the minimum of

        mean over pictures and cells of ||y - (cell W + b)||^2 + penalty ||W||^2

    in closed form. The bias b is free at each pixel: of constant maps the mean mask remains, which others should beat.
    IoU rewards calling a pixel inside before that is the likelier half, so a threshold is chosen with the penalty, by
    IoU on a validation part drawn as linear_probe's (on a tie the largest penalty); then all rows are fitted. Raises
    ValueError for masks that are not r times the maps, maps that are not finite, no penalty or one that is not
    positive, and where either side of the split would be empty.
    """
    (h, w), (height, width) = maps.shape[2:], masks.shape[2:]
    if height * w != width * h or height % h:
        raise ValueError(f"argument `masks`: expected r times the {h} x {w} of `maps`, got {height} x {width}")
    if not len(penalties):
        raise ValueError("argument `penalties`: expected at least one positive number, got none")
    for penalty in penalties:
        positive("penalties", penalty)
    _finite("maps", maps)
    held = _held_out(torch.arange(len(maps), device=maps.device) if groups is None else groups, validation, seed)
    found = []
    for probe in _ridge(maps, masks, (~held).nonzero()[:, 0], sorted(penalties, reverse=True)):
        scores = probe(maps[held])
        found += [(intersection_over_union(scores > t, masks[held]), probe.penalty, t) for t in THRESHOLDS]
    _, penalty, threshold = max(found, key=lambda row: row[0])
    probe = _ridge(maps, masks, torch.arange(len(maps), device=maps.device), [penalty])[0]
    return replace(probe, bias=probe.bias - threshold)


def _ridge(maps: Tensor, masks: Tensor, rows: Tensor, penalties: Sequence[float]) -> list[MaskProbe]:
    """The minimum on these rows for each penalty, in float64."""
    (c, h, w), parts = maps.shape[1:], [rows[part] for part in _chunks(len(rows), maps[0].numel())]
    side, cells = masks.shape[2] // h, len(rows) * h * w
    mean = sum(maps[part].double().sum(0) for part in parts) / len(rows)        # (C, h, w): a free bias for each pixel
    prior = sum(masks[part].double().sum(0) for part in parts) / len(rows)      # is to centre each place by itself
    gram, cross = mean.new_zeros(c, c), mean.new_zeros(c, side**2)
    for part in parts:
        x = rearrange(maps[part].double() - mean, "n c h w -> (n h w) c")
        y = rearrange(2 * (masks[part].double() - prior), "n 1 (h p) (w q) -> (n h w) (p q)", p=side, q=side)
        gram, cross = gram.addmm_(x.T, x, alpha=1 / cells), cross.addmm_(x.T, y, alpha=1 / cells)
    std = gram.diagonal().sqrt()
    scale = std.masked_fill(std <= 1e-6 * mean.abs().amax((1, 2)), torch.inf)   # constant, as in logistic_regression
    gram, cross, found = gram / scale / scale[:, None], cross / scale[:, None], []
    for penalty in penalties:
        weight = torch.linalg.solve(gram + penalty * torch.eye(c).to(gram), cross) / scale[:, None]
        at_mean = MaskProbe(penalty, weight, torch.zeros_like(prior))(mean[None])[0]
        found.append(MaskProbe(penalty, weight, 2 * prior - 1 - at_mean))
    return found


@torch.no_grad()
@expects(features="float N D", items="int N", styles="int N")
def retrieval(features: Tensor, items: Tensor, styles: Tensor, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Finds an item again in another style: {"recall@1": ..., "recall@5": ..., "mAP": ...}.

    Each row queries the rows of all other styles by cosine similarity; those of its own item are right. recall@k: the
    share of queries with a right row among the first k; mAP: the mean over queries of the average precision. A wrong
    row as similar as a right one ranks before it, so that collapsed features score worst. Rows without a right
    candidate ask nothing. Raises ValueError where no row has one, for k < 1 or features that are not finite.
    """
    for k in ks:
        count("ks", k)
    unit, most = _unit("features", features), int(items.unique(return_counts=True)[1].max())
    first, precision = [], []
    for rows in _chunks(len(unit), len(unit)):
        similarity = unit[rows] @ unit.T                                            # (m, N)
        other, same = styles[rows, None] != styles, items[rows, None] == items
        right = similarity.masked_fill(~(other & same), -torch.inf).topk(most).values     # (m, R) from the most similar
        wrong = similarity.masked_fill(~(other & ~same), -torch.inf).sort().values        # (m, N) from the least
        asked = right[:, 0] > -torch.inf
        right, wrong = right[asked], wrong[asked]
        place = torch.arange(1, most + 1, device=right.device)
        rank = place + wrong.shape[1] - torch.searchsorted(wrong, right)            # wrong rows at or above count too
        real = right > -torch.inf
        first.append(rank[:, 0])
        precision.append((place / rank * real).sum(1) / real.sum(1))
    first, precision = torch.cat(first), torch.cat(precision)
    if not len(first):
        raise ValueError("argument `styles`: expected an item in two styles or more, got none")
    recall = {f"recall@{k}": (first <= k).double().mean().item() for k in ks}
    return recall | {"mAP": precision.double().mean().item()}


@torch.no_grad()
@expects(features="float N D")
def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the singular values' shares: 1 to min(N, D). Roy & Vetterli 2007, "The effective rank".

    Not centred, as in RankMe (arXiv 2210.02885): all rows alike have rank 1. Subtract the mean first for the spread.
    Raises ValueError for features that are not finite.
    """
    values = torch.linalg.svdvals(_finite("features", features).float())
    return torch.special.entr(F.normalize(values, p=1, dim=0)).sum().exp().item()


@torch.no_grad()
@expects(features="float N D")
def feature_std(features: Tensor) -> float:
    """Standard deviation of each column of the l2-normalised features, averaged over columns.

    0 when collapsed to a point, at most 1 / sqrt(D), reached when spread evenly around 0. Chen & He 2021 (arXiv
    2011.10566, section 4.1).
    """
    return F.normalize(features.float(), dim=1).std(0, correction=0).mean().item()


@torch.no_grad()
@expects(view1="float N D", view2="float N D")
def alignment(view1: Tensor, view2: Tensor, alpha: float = 2) -> float:
    """mean_i ||u_i - v_i||^alpha of l2-normalised positive pairs, 0 at best. Wang & Isola 2020 (arXiv 2005.10242)."""
    distance = (F.normalize(view1.float(), dim=1) - F.normalize(view2.float(), dim=1)).norm(dim=1)
    return distance.pow(positive("alpha", alpha)).mean().item()


@torch.no_grad()
@expects(features="float N D")
def uniformity(features: Tensor, t: float = 2) -> float:
    """log mean_{i != j} exp(-t ||u_i - u_j||^2) of l2-normalised features: 0 when collapsed, about -2 t at best.

    Wang & Isola 2020 (arXiv 2005.10242). Raises ValueError for fewer than two rows.
    """
    positive("t", t)
    n = len(features)
    if n < 2:
        raise ValueError(f"argument `features`: expected two rows or more, got {n}")
    unit, sums = F.normalize(features.float(), dim=1), []
    for rows in _chunks(n, n):
        exponent = 2 * t * (unit[rows] @ unit.T - 1)                                # ||u - v||^2 = 2 - 2 cos
        exponent.diagonal(rows.start).fill_(-torch.inf)                             # not with itself
        sums.append(exponent.logsumexp(1))
    return torch.cat(sums).logsumexp(0).item() - math.log(n * (n - 1))


@torch.no_grad()
@expects(h="float N D", changed="float N D")
def relative_change(h: Tensor, changed: Tensor) -> float:
    """mean_i ||h_i - h'_i||^2 / mean_{i != j} ||h_i - h_j||^2: how far features move when their pictures are changed.

    0 where the change leaves them alone, 1 where it moves them as far as another picture is: for smoothness, robustness
    and invariance. changed: the features h' of the changed pictures, row by row. Raises ValueError for fewer than two
    rows, features that are all alike, or not finite.
    """
    if len(h) < 2 or (_finite("h", h) == h[0]).all():
        raise ValueError(f"argument `h`: expected two different rows or more, got {len(h)} alike")
    apart = 2 * h.double().var(0).sum()                                         # of N - 1: half the mean over pairs
    return ((h.double() - _finite("changed", changed).double()).square().sum(1).mean() / apart).item()


# Generators: how far drawn pictures are from real ones. All but the last read features, (N, D) of any encoder, and a
# figure means nothing without that encoder's name: the published FID and KID are those of one Inception network.


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """||m_r - m_g||^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2)), of features' means m and covariances C (of N - 1).

    The squared 2-Wasserstein distance of two Gaussians with these moments (Dowson & Landau 1982); with Inception
    features Heusel et al. 2017 (arXiv 1706.08500) call it FID. Of finite sets it is too large, the more so the fewer
    rows: compare equal numbers only, many times D. Raises ValueError for fewer than two rows or features that are not
    finite.
    """
    (mean_r, cov_r), (mean_g, cov_g) = _moments("real", real), _moments("generated", generated)
    root = _root(cov_r)
    cross = torch.linalg.eigvalsh(root @ cov_g @ root).clamp(min=0).sqrt().sum()    # eigenvalues are those of C_r C_g
    return ((mean_r - mean_g).square().sum() + cov_r.trace() + cov_g.trace() - 2 * cross).clamp(min=0).item()


def _moments(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    if len(features) < 2:
        raise ValueError(f"argument `{name}`: expected two rows or more, got {len(features)}")
    features = _finite(name, features).double()
    return features.mean(0), torch.atleast_2d(features.T.cov())


def _root(covariance: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(covariance)
    return axes * values.clamp(min=0).sqrt() @ axes.T


@torch.no_grad()
@expects(real="float N D", generated="float M D")
def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (u^T v / D + 1)^3: without bias, so it may be below 0.

    With Inception features Binkowski et al. 2018 (arXiv 1801.01401) call it KID. Raises ValueError for fewer than two
    rows or features that are not finite.
    """
    for name, rows in (("real", real), ("generated", generated)):
        if len(_finite(name, rows)) < 2:
            raise ValueError(f"argument `{name}`: expected two rows or more, got {len(rows)}")
    n, m = len(real), len(generated)
    within = _kernels(real) / (n * (n - 1)) + _kernels(generated) / (m * (m - 1))
    return within - 2 * _kernels(real, generated) / (n * m)


def _kernels(rows: Tensor, others: Tensor | None = None) -> float:
    """The sum of the kernel over all pairs of a row and one of the others; without others, of two different rows."""
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
def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2).

    Around each row of a set lies a ball that reaches to its k-th nearest other row. Precision: the share of generated
    rows inside a real row's ball (are they real?); recall: of real rows inside a generated row's (is all there?).
    Compare equal numbers of rows only. Raises ValueError unless 1 <= k < rows, or for features that are not finite.
    """
    count("k", k, min(len(real), len(generated)) - 1)
    real, generated = _finite("real", real).double(), _finite("generated", generated).double()
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(rows: Tensor, centres: Tensor, k: int) -> float:
    """The share of rows within some centre's ball."""
    inside, exact = torch.zeros(len(rows), dtype=torch.bool, device=rows.device), "donot_use_mm_for_euclid_dist"
    for part in _chunks(len(centres), max(len(rows), len(centres))):
        apart = torch.cdist(centres[part], centres, compute_mode=exact)
        radius = apart.kthvalue(k + 1, dim=1, keepdim=True).values              # the nearest of all is itself
        inside |= (torch.cdist(centres[part], rows, compute_mode=exact) <= radius).any(0)
    return inside.double().mean().item()


@torch.no_grad()
@expects(points="float N D", centres="float K D")
def mode_coverage(points: Tensor, centres: Tensor, radius: float) -> tuple[int, float]:
    """(modes, share): how many of K equally likely modes are drawn, and the share of points that lie in one.

    A point lies in the mode of its nearest centre if it is at most radius away (three standard deviations in Srivastava
    et al. 2017, arXiv 1705.07761); a mode counts where at least a tenth of its due, N / K, lies in it. Raises
    ValueError for no points.
    """
    count("points", len(points))
    distance, nearest = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    inside = distance <= positive("radius", radius)
    drawn = nearest[inside].bincount(minlength=len(centres))
    return int((drawn >= 0.1 * len(points) / len(centres)).sum()), inside.double().mean().item()


def bits_per_dimension(log_density: float | Tensor, dimensions: int, levels: int = 256) -> float | Tensor:
    """log2(levels) - log_density / (dimensions ln 2): nats of pictures in [0, 1] as bits for each of their pixels.

    log_density: log p(x) or a bound on it, of pictures with uniform noise that fills the gaps between `levels` greys
    (`course_lib.latent.likelihoods.dequantise`); then this is what storing one channel of one pixel costs. The uniform
    density costs log2(levels). levels = 1: log_density is of discrete data, a log-probability. Theis et al. 2015 (arXiv
    1511.01844).
    """
    return math.log2(count("levels", levels)) - log_density / (count("dimensions", dimensions) * math.log(2))


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of so many rows (32 at least) that a (rows, columns) matrix of each holds about 4 million numbers."""
    size = max(32, 2**22 // columns)
    return (slice(i, i + size) for i in range(0, rows, size))


def _classes(name: str, labels: Tensor) -> int:
    if not len(labels) or labels.min() < 0:
        raise ValueError(f"argument `{name}`: expected classes from 0 up, got {labels.unique().tolist() or 'no rows'}")
    return int(labels.max()) + 1


def _finite(name: str, features: Tensor) -> Tensor:
    if not features.isfinite().all():
        raise ValueError(f"argument `{name}`: expected finite numbers, got NaN or infinity (did training diverge?)")
    return features


def _unit(name: str, features: Tensor) -> Tensor:
    return F.normalize(_finite(name, features).float(), dim=1)
