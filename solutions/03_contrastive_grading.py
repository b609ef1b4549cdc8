"""Exercises 03, contrastive learning: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it. A case that brings a `cotangent` asks
for the gradient too.
"""

import torch
from torch import Tensor, nn

from course_lib.grading.drive import function, gradients


def drive_cosine_similarity_matrix(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """a, b: rows to compare."""
    return function(answer, {"a": a["a"], "b": a["b"]}, **_gradient(a, "a", "b"))


def drive_info_nce(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """scores: a square matrix."""
    return function(answer, {"scores": a["scores"]}, **_gradient(a, "scores"))


def drive_nt_xent(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """z1, z2, temperature."""
    return function(answer, {"z1": a["z1"], "z2": a["z2"]}, a["temperature"].item(), **_gradient(a, "z1", "z2"))


def drive_update_bank(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """bank, rows, v (which wants a gradient), momentum. `unchanged v`: whether v still wants one after the call;
    `detached`: whether the result is without."""
    wants = []

    def watched(bank, rows, v, momentum):
        value = answer(bank, rows, v, momentum)
        wants.append(v.requires_grad)
        return value

    tensors = {"bank": a["bank"], "rows": a["rows"], "v": a["v"].requires_grad_()}
    outputs = function(watched, tensors, a["momentum"].item())
    return outputs | {
        "unchanged v": all(wants),
        "detached": not getattr(outputs["value"], "requires_grad", False),
    }


def drive_knn_vote(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """train, train_labels, test, k, classes, temperature."""
    tensors = {name: a[name] for name in ("train", "train_labels", "test")}
    return function(answer, tensors, a["k"].item(), a["classes"].item(), a["temperature"].item())


def drive_mi_bound(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """losses, negatives."""
    return function(answer, {"losses": a["losses"]}, a["negatives"].item(), **_gradient(a, "losses"))


def drive_TwoViews(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds the method around two tiny networks. A case with `x` asks for a loss, one with `unseen` for `encode`.

    `value`: the loss; `gradient ...`: of each of the networks' four parameters; `parameters`: how many numbers the
    method would give the optimiser, -1 where it is no torch module; `represent`: what encode returns.
    """
    encoder = nn.Sequential(nn.Flatten(), _linear(a["encoder weight"], a["encoder bias"]), nn.Tanh())
    projector = nn.Sequential(_linear(a["projector weight"], a["projector bias"]), nn.Tanh())
    x = a.get("x", a.get("unseen"))
    method = answer(encoder, projector, _Views(a["scale"], a["shift"], len(x)), _contrast)
    if "unseen" in a:
        return {"represent": method.encode(x)}
    value = method.loss(x, torch.arange(len(x)))
    leaves = {f"encoder {name}": parameter for name, parameter in encoder[1].named_parameters()}
    leaves |= {f"projector {name}": parameter for name, parameter in projector[0].named_parameters()}
    parameters = sum(p.numel() for p in method.parameters()) if isinstance(method, nn.Module) else -1
    return {"value": value, "parameters": parameters} | gradients(value, leaves)


class _Views:
    """Stands for a random augmentation: the first N pictures it is given get one map, the next N another, and so on."""

    def __init__(self, scale: Tensor, shift: Tensor, pictures: int):
        self.scale, self.shift, self.pictures, self.seen = scale, shift, pictures, 0

    def __call__(self, x: Tensor) -> Tensor:
        turn = torch.arange(self.seen, self.seen + len(x)) // self.pictures
        self.seen += len(x)
        turn = turn.clamp(max=len(self.scale) - 1)
        return x * self.scale[turn].view(-1, 1, 1, 1) + self.shift[turn].view(-1, 1, 1, 1)


def _contrast(z1: Tensor, z2: Tensor) -> Tensor:
    """No loss of any paper; it takes both views alike, and that is all that matters here."""
    weight = torch.arange(1, z1.shape[1] + 1, dtype=z1.dtype)
    return ((z1 - z2).square() @ weight).mean() + (z1 * z2).sum(1).sin().mean()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(*weight.shape[::-1], dtype=weight.dtype)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _gradient(a: dict[str, Tensor], *names: str) -> dict:
    return {"differentiate": names, "cotangent": a["cotangent"]} if "cotangent" in a else {}


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402
from course_lib.train import Method  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


def rows_of_all_lengths(generator: torch.Generator, n: int, d: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """n rows whose lengths differ by up to a factor of four, none of them near zero."""
    lengths = torch.tensor([between(generator, 0.6, 2.4) for _ in range(n)], dtype=DOUBLE)
    return (F.normalize(normal(generator, n, d, dtype=DOUBLE), dim=1) * lengths[:, None]).to(dtype)


# --- 1. cosine similarity ---------------------------------------------------------------------------------------------


def cases_cosine_similarity_matrix(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, dtype=SINGLE, zeros=((), ())):
        arrays = {"a": rows_of_all_lengths(g, n, d, dtype), "b": rows_of_all_lengths(g, m, d, dtype)}
        for name, empty in zip("ab", zeros):
            arrays[name][list(empty)] = 0
        if kind == "gradient":
            arrays["cotangent"] = normal(g, n, m, dtype=dtype)
        return Case(kind, arrays)

    if not hidden:
        return [
            case("ordinary", 3, 2, 4),
            case("ordinary", 3, 4, 3, DOUBLE),
            case("zero rows", 3, 2, 4, zeros=([1], [])),
            case("zero rows", 2, 3, 3, zeros=([0], [2])),
            case("gradient", 2, 3, 4, DOUBLE),
            case("ordinary", 3, 3, 2),
        ]
    n = whole(g, 5, 9)
    return [
        case("ordinary", n, n + whole(g, 1, 4), 2),
        case("ordinary", n + 1, n - whole(g, 1, 3), n + whole(g, 3, 7)),
        case("ordinary", 1, whole(g, 5, 8), 5),
        case("ordinary", whole(g, 5, 8), 1, 6, DOUBLE),
        case("ordinary", n, n, 5, DOUBLE),
        case("zero rows", n, 5, 6, zeros=([whole(g, 0, n - 1)], [])),
        case("zero rows", 5, n, 2, DOUBLE, zeros=([0, 3], [whole(g, 0, n - 1)])),
        case("gradient", n, n + 2, 5, DOUBLE),
        case("gradient", n + 1, n, 12),
        case("gradient", 1, n, 2, DOUBLE),
    ]


def cosine_dot_product(a, b):
    """Normalisation is missing: the dot product grows with the rows' lengths, the cosine does not."""
    return a @ b.T


def cosine_only_a_normalised(a, b):
    """Only the rows of a are divided by their lengths: b's count as well."""
    return F.normalize(a, dim=1) @ b.T


def cosine_only_b_normalised(a, b):
    """Only the rows of b are divided by their lengths: a's count as well."""
    return a @ F.normalize(b, dim=1).T


def cosine_columns_normalised(a, b):
    """Columns are normalised: one vector is one row, so its length is a sum along dim=1."""
    return F.normalize(a, dim=0) @ F.normalize(b, dim=0).T


def cosine_one_norm_for_all(a, b):
    """The whole matrix is divided by one norm: x.norm() without dim= is over all entries."""
    return (a / a.norm()) @ (b / b.norm()).T


def cosine_squared_norm(a, b):
    """Rows are divided by their squared lengths: the square root is missing."""
    return (a / a.square().sum(1, keepdim=True)) @ (b / b.square().sum(1, keepdim=True)).T


def cosine_absolute_norm(a, b):
    """The length is taken as the sum of absolute values; it is the root of the sum of squares."""
    return F.normalize(a, p=1, dim=1) @ F.normalize(b, p=1, dim=1).T


def cosine_centred(a, b):
    """Each row's mean is subtracted first: that is a correlation, not a cosine."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def cosine_distance(a, b):
    """This is the cosine distance, 1 - cos; asked for is the similarity."""
    return 1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def cosine_absolute(a, b):
    """The absolute value is taken: opposite rows have the cosine -1, not 1."""
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).abs()


def cosine_without_keepdim(a, b):
    """a.norm(dim=1) is (N,) and would divide the columns of a: keepdim=True makes it (N, 1), one length a row."""
    return (a / a.norm(dim=1)) @ (b / b.norm(dim=1)).T


def cosine_lengths_side_by_side(a, b):
    """The lengths of a go down the rows of the result, those of b along its columns: a's as (N, 1), b's as (1, M)."""
    return a @ b.T / (a.norm(dim=1) * b.norm(dim=1))


def cosine_not_transposed(a, b):
    """(N, D) @ (M, D) does not fit: each row of a meets each row of b in a @ b.T."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1)


def cosine_transposed(a, b):
    """This is the transpose of what is asked for: a's rows belong along the first dimension, b's along the second."""
    return F.normalize(b, dim=1) @ F.normalize(a, dim=1).T


def cosine_row_with_row(a, b):
    """Row i of a is compared with row i of b only. Asked for is each row of a with every row of b, an (N, M) matrix."""
    return F.cosine_similarity(a, b, dim=1)


def cosine_nan_for_zero_rows(a, b):
    """A row of zeros has length 0, and 0 / 0 is NaN: keep the length you divide by above some tiny number."""
    return (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T


def cosine_one_for_zero_rows(a, b):
    """A row of zeros comes out with similarity 1; it points nowhere, so its similarity with everything shall be 0."""
    return cosine_nan_for_zero_rows(a, b).nan_to_num(nan=1.0)


def cosine_length_without_gradient(a, b):
    """The value is right, the gradient is not: the lengths depend on a and b as well, do not detach them."""
    return (a / a.detach().norm(dim=1, keepdim=True).clamp(min=1e-8)) @ (
        b / b.detach().norm(dim=1, keepdim=True).clamp(min=1e-8)
    ).T


def cosine_without_gradient(a, b):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).detach()


def cosine_through_numpy(a, b):
    """A tensor that wants a gradient cannot go through NumPy: stay with torch's operations."""
    a, b = (torch.from_numpy(x.numpy()) for x in (a, b))
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def cosine_in_place(a, b):
    """The arguments themselves get normalised: a /= ... writes into the caller's tensor, a = a / ... does not."""
    a /= a.norm(dim=1, keepdim=True).clamp(min=1e-12)
    b /= b.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return a @ b.T


def cosine_by_einsum(a, b):
    lengths = a.square().sum(1).sqrt()[:, None] * b.square().sum(1).sqrt()[None, :]
    return torch.einsum("nd,md->nm", a, b) / lengths.clamp(min=1e-10)


def cosine_by_broadcasting(a, b):
    return torch.cosine_similarity(a[:, None], b[None], dim=2)


def cosine_by_loops(a, b):
    rows = [[u.dot(v) / (u.norm() * v.norm() + 1e-12) for v in b.double()] for u in a.double()]
    return torch.stack([torch.stack(row) for row in rows])


# --- 2. InfoNCE -------------------------------------------------------------------------------------------------------


def cases_info_nce(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, dtype=SINGLE, scale=2.0, level=0.0):
        scores = scale * normal(g, n, n, dtype=dtype) + level
        if kind == "extreme" and not level:  # overflow and underflow in the first row, whatever the rest is
            scores = scores.clamp(-1e4, 1e4)
            scores[0, 0], scores[0, 1] = -1e4, 1e4
        return Case(kind, {"scores": scores} | ({"cotangent": scalar(1.5)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3),
            case("ordinary", 4, DOUBLE),
            case("ordinary", 5, scale=0.0),
            case("extreme", 3, scale=5e3),
            case("gradient", 4, DOUBLE),
            case("extreme", 4, level=120.0),  # here one maximum for all rows will do
        ]
    n = whole(g, 3, 6)
    return [
        case("ordinary", 1),
        case("ordinary", 2 * n),
        case("ordinary", 2 * n + 1, DOUBLE, scale=4.0),
        case("ordinary", 2, DOUBLE),
        case("ordinary", 2 * n + 3, scale=0.5),
        case("extreme", 2 * n, scale=5e3),
        case("extreme", 2, scale=1e3),
        case("extreme", 2 * n + 1, DOUBLE, scale=5e3),
        case("gradient", 2 * n + 1, DOUBLE),
        case("gradient", 2 * n),
        case("extreme", 2 * n + 2, level=-120.0),
    ]


def infonce_columns(scores):
    """The softmax runs down the columns: a reference is a row, candidates are along dim=1."""
    return F.cross_entropy(scores.T, torch.arange(len(scores)))


def infonce_both_directions(scores):
    """This is the mean over both directions, rows and columns, as CLIP has it; here only the rows ask."""
    return (F.cross_entropy(scores, torch.arange(len(scores))) + infonce_columns(scores)) / 2


def infonce_sum(scores):
    """This is the sum over the references; the loss is their mean."""
    return F.cross_entropy(scores, torch.arange(len(scores)), reduction="sum")


def infonce_each(scores):
    """These are the losses of all references, one by one; asked for is their mean, a single number."""
    return F.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


def infonce_log_of_mean(scores):
    """This is minus the log of the mean probability; take the log of each first, then the mean."""
    return -scores.softmax(1).diagonal().mean().log()


def infonce_sign(scores):
    """The sign is the wrong way round: log of a probability is negative, the loss is minus that."""
    return scores.log_softmax(1).diagonal().mean()


def infonce_no_log(scores):
    """This is minus the mean probability of the positive: the log is missing."""
    return -scores.softmax(1).diagonal().mean()


def infonce_no_denominator(scores):
    """This is minus the mean score of the positives: nothing compares them with the other candidates."""
    return -scores.diagonal().mean()


def infonce_log2(scores):
    """This is the loss in bits, with the logarithm to base 2; asked for is the natural one."""
    return F.cross_entropy(scores, torch.arange(len(scores))) / math.log(2)


def infonce_softmax_twice(scores):
    """Probabilities go where scores belong: cross_entropy applies the softmax itself."""
    return F.cross_entropy(scores.softmax(1), torch.arange(len(scores)))


def infonce_sigmoid(scores):
    """This asks of each positive alone whether it is one (a sigmoid); InfoNCE asks which of the candidates it is."""
    return -F.logsigmoid(scores.diagonal()).mean()


def infonce_positive_left_out(scores):
    """The positive is missing in the denominator: the sum runs over all candidates, the positive among them."""
    itself = torch.eye(len(scores), dtype=torch.bool)
    return (scores.masked_fill(itself, -torch.inf).logsumexp(1) - scores.diagonal()).mean()


def infonce_softmax_over_all(scores):
    """The softmax runs over the whole matrix: each row is a question of its own, with its own denominator."""
    return (scores.flatten().logsumexp(0) - scores.diagonal()).mean()


def infonce_all_entries(scores):
    """This is the mean over all entries of the matrix; only the diagonal holds positives."""
    return -scores.log_softmax(1).mean()


def infonce_first_column(scores):
    """The positives are looked for in column 0; here row i's positive is in column i."""
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))


def infonce_overflow(scores):
    """Right for small scores, but exp(100) is beyond float32, and inf / inf is NaN: use log_softmax or logsumexp."""
    return -(scores.diagonal().exp() / scores.exp().sum(1)).log().mean()


def infonce_global_maximum(scores):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow to 0 / 0, NaN."""
    scores = scores - scores.max()
    return -(scores.diagonal().exp() / scores.exp().sum(1)).log().mean()


def infonce_global_maximum_in_log(scores):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow, and log 0 is -inf."""
    scores = scores - scores.max()
    return (scores.exp().sum(1).log() - scores.diagonal()).mean()


def infonce_overflow_in_log(scores):
    """Right for small scores, but exp(100) is beyond float32, and its log is inf: use log_softmax or logsumexp."""
    return (scores.exp().sum(1).log() - scores.diagonal()).mean()


def infonce_log_of_softmax(scores):
    """Right for small scores, but a softmax that underflows to 0 has log -inf: use log_softmax or logsumexp."""
    return -scores.softmax(1).diagonal().log().mean()


def infonce_epsilon(scores):
    """A small number inside the log keeps it finite and caps the loss: at large scores it is wrong. Use log_softmax."""
    return -(scores.softmax(1).diagonal() + 1e-8).log().mean()


def infonce_denominator_without_gradient(scores):
    """The value is right, the gradient is not: none comes through the denominator, which pushes the negatives away."""
    return (scores.detach().logsumexp(1) - scores.diagonal()).mean()


def infonce_without_gradient(scores):
    """No gradient comes through: .item(), float(), detach() or torch.tensor(...) cut it."""
    return torch.tensor(F.cross_entropy(scores, torch.arange(len(scores))).item())


def infonce_through_numpy(scores):
    """A tensor that wants a gradient cannot go through NumPy: stay with torch's operations."""
    return F.cross_entropy(torch.from_numpy(scores.numpy()), torch.arange(len(scores)))


def infonce_in_place(scores):
    """Subtracting the maximum is right, but scores -= ... writes into the caller's tensor: scores = scores - ..."""
    scores -= scores.amax(1, keepdim=True)
    return F.cross_entropy(scores, torch.arange(len(scores)))


def infonce_by_cross_entropy(scores):
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def infonce_maximum_subtracted(scores):
    shifted = scores.double() - scores.double().max(1, keepdim=True).values
    return -(shifted.diagonal() - shifted.exp().sum(1).log()).mean().to(scores.dtype)


def infonce_by_loops(scores):
    losses = [torch.logsumexp(row, 0) - row[i] for i, row in enumerate(scores)]
    return sum(losses) / len(losses)


def infonce_as_trace(scores):
    return -torch.trace(F.log_softmax(scores, dim=1)) / scores.shape[0]


# --- 3. NT-Xent -------------------------------------------------------------------------------------------------------


def cases_nt_xent(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, temperature, dtype=SINGLE, layout="opposite and equal"):
        z1, z2 = rows_of_all_lengths(g, n, d, dtype), rows_of_all_lengths(g, n, d, dtype)
        if layout == "opposite":  # what a view's score with itself is masked with counts, unless it is -inf
            z2 = 0.02 * z2 - 1.3 * z1
        elif layout == "alike":  # here one maximum for all rows will do
            z1, z2 = z1[:1] + 0.02 * z1, z1[:1] + 0.02 * z2
        elif kind == "extreme":  # one pair exactly opposite, far from the rest; one all but equal
            u = z1[0] / z1[0].norm()
            z1[1:] -= 0.9 * (z1[1:] @ u)[:, None] * u
            z2 -= 0.9 * (z2 @ u)[:, None] * u
            z2[0], z2[1] = -2 * z1[0], 1.01 * z1[1]
        arrays = {"z1": z1, "z2": z2, "temperature": scalar(temperature)}
        return Case(kind, arrays | ({"cotangent": scalar(1.5)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3, 4, 0.5),
            case("ordinary", 4, 3, 0.2, DOUBLE),
            case("extreme", 4, 4, 0.005),
            case("gradient", 3, 4, 0.5, DOUBLE),
            case("ordinary", 1, 3, 1.0, layout="opposite"),
            case("extreme", 1, 3, 0.005, layout="opposite"),
            case("extreme", 3, 3, 0.005, layout="alike"),
        ]
    n = whole(g, 3, 6)
    return [
        case("ordinary", 1, 5, between(g, 0.2, 0.8)),
        case("ordinary", 2 * n, 2 * n + whole(g, 2, 6), between(g, 0.05, 0.15)),
        case("ordinary", 2 * n + 1, whole(g, 5, 6), between(g, 0.3, 0.45)),
        case("ordinary", 2 * n - 1, 2, between(g, 0.55, 0.8), DOUBLE),
        case("ordinary", 2, 5, between(g, 0.55, 0.8), DOUBLE),
        case("extreme", 2 * n, 6, 0.004),
        case("extreme", 2 * n + 1, 9, 0.006),
        case("gradient", 2 * n, 7, between(g, 0.25, 0.45), DOUBLE),
        case("gradient", 2 * n + 1, 5, between(g, 0.55, 0.8)),
        case("ordinary", 1, 4, between(g, 0.3, 0.5), layout="opposite"),
        case("extreme", 1, whole(g, 5, 7), 0.004, layout="opposite"),
        case("extreme", n + 1, whole(g, 5, 7), 0.006, layout="alike"),
    ]


def _scores(z1, z2, temperature):
    """(2N, 2N) scores of all views with each other, their own left in; partners (2N,)."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return z @ z.T / temperature, torch.arange(len(z)).roll(len(z1))


def _without_itself(scores):
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)


def _nt_xent(z1, z2, temperature, **how):
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(_without_itself(scores), partner, **how)


def ntxent_no_temperature(z1, z2, temperature):
    """The temperature is left out: divide the cosines by it."""
    return _nt_xent(z1, z2, 1.0)


def ntxent_times_temperature(z1, z2, temperature):
    """Similarities are multiplied by the temperature: divide by it."""
    return _nt_xent(z1, z2, 1 / temperature)


def ntxent_not_normalised(z1, z2, temperature):
    """Dot products stand where cosines should: rows must be taken to unit length before they are compared."""
    z = torch.cat([z1, z2])
    return F.cross_entropy(_without_itself(z @ z.T / temperature), torch.arange(len(z)).roll(len(z1)))


def ntxent_columns_normalised(z1, z2, temperature):
    """Columns are normalised instead of rows: one view is one row, dim=1."""
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    return F.cross_entropy(_without_itself(z @ z.T / temperature), torch.arange(len(z)).roll(len(z1)))


def ntxent_one_view_normalised(z1, z2, temperature):
    """Only the first views are normalised; the second ones need it too."""
    z = torch.cat([F.normalize(z1, dim=1), z2])
    return F.cross_entropy(_without_itself(z @ z.T / temperature), torch.arange(len(z)).roll(len(z1)))


def ntxent_itself_kept(z1, z2, temperature):
    """Each view's similarity with itself is still in the denominator: mask the diagonal of the (2N, 2N) matrix."""
    return F.cross_entropy(*_scores(z1, z2, temperature))


def ntxent_itself_zero(z1, z2, temperature):
    """The diagonal is masked with 0, and exp(0) is 1, a candidate like any other: mask with minus infinity."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), 0), partner)


def ntxent_itself_minus_ten(z1, z2, temperature):
    """Mask with minus infinity, not with a large negative number: where all scores are low, it still counts."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -10), partner)


def ntxent_itself_minus_hundred(z1, z2, temperature):
    """Mask with minus infinity, not with a large negative number: at low temperatures scores fall below it."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -100), partner)


def ntxent_itself_least_cosine(z1, z2, temperature):
    """The diagonal is masked with the cosine -1, the least there is, and still counts: mask with minus infinity."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -1 / temperature), partner)


def ntxent_infinity_times_zero(z1, z2, temperature):
    """-inf * torch.eye(2N) is NaN off the diagonal, for inf * 0 is NaN: use masked_fill with a boolean diagonal."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(scores - torch.inf * torch.eye(len(scores)), partner)


def ntxent_temperature_squared(z1, z2, temperature):
    """The temperature comes in twice: divide the product of the views by it, not both factors."""
    return _nt_xent(z1, z2, temperature**2)


def ntxent_rolled_by_one(z1, z2, temperature):
    """The partners are rolled by 1: after cat([z1, z2]) the partner of i stands N places away."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(_without_itself(scores), torch.arange(len(partner)).roll(1))


def ntxent_mean_over_n_again(z1, z2, temperature):
    """The mean is divided by N once more: cross_entropy takes the mean itself."""
    return _nt_xent(z1, z2, temperature) / len(z1)


def ntxent_mean_twice(z1, z2, temperature):
    """The mean is divided by 2N once more: cross_entropy takes the mean itself."""
    return _nt_xent(z1, z2, temperature) / (2 * len(z1))


def ntxent_one_direction(z1, z2, temperature):
    """Only the first views ask for their partner: all 2N views must, the second ones for the first as well."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(_without_itself(scores)[: len(z1)], partner[: len(z1)])


def ntxent_other_views_only(z1, z2, temperature):
    """The negatives come from the other views only, N candidates each. In NT-Xent there are 2N - 1: all but itself."""
    scores, rows = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / temperature, torch.arange(len(z1))
    return (F.cross_entropy(scores, rows) + F.cross_entropy(scores.T, rows)) / 2


def ntxent_one_direction_other_views_only(z1, z2, temperature):
    """This is InfoNCE of z1 against z2: one direction, N candidates. NT-Xent lets all 2N views ask, among 2N - 1."""
    scores = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(z1)))


def ntxent_divided_by_n(z1, z2, temperature):
    """The sum over 2N views is divided by N: the mean is over all 2N."""
    return 2 * _nt_xent(z1, z2, temperature)


def ntxent_sum(z1, z2, temperature):
    """This is the sum over the views; the loss is their mean."""
    return _nt_xent(z1, z2, temperature, reduction="sum")


def ntxent_neighbours_as_partners(z1, z2, temperature):
    """The partner of i is taken to be its neighbour, i +- 1, as in the paper; after cat([z1, z2]) it is i +- N."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(_without_itself(scores), torch.arange(len(partner)) ^ 1)


def ntxent_positive_left_out(z1, z2, temperature):
    """The positive is missing in the denominator: its sum runs over every k but i itself, the partner included."""
    scores, partner = _scores(z1, z2, temperature)
    positive = F.one_hot(partner, len(scores)).bool()
    return (_without_itself(scores).masked_fill(positive, -torch.inf).logsumexp(1) - scores[positive]).mean()


def ntxent_numerator_only(z1, z2, temperature):
    """This only pulls partners together: the denominator, which pushes the others away, is missing."""
    return -F.cosine_similarity(z1, z2).mean() / temperature


def ntxent_softmax_twice(z1, z2, temperature):
    """Probabilities go where scores belong: cross_entropy applies the softmax itself."""
    scores, partner = _scores(z1, z2, temperature)
    return F.cross_entropy(_without_itself(scores).softmax(1), partner)


def ntxent_log_of_mean(z1, z2, temperature):
    """This is minus the log of the mean probability; take the log of each view's first, then the mean."""
    scores, partner = _scores(z1, z2, temperature)
    return -_without_itself(scores).softmax(1).gather(1, partner[:, None]).mean().log()


def ntxent_sign(z1, z2, temperature):
    """The sign is the wrong way round: the loss is minus the log-probability of the partner."""
    return -_nt_xent(z1, z2, temperature)


def ntxent_first_view_twice(z1, z2, temperature):
    """z2 is not used: the second half of the views is z1 once more."""
    return _nt_xent(z1, z1, temperature)


def ntxent_overflow(z1, z2, temperature):
    """Right at mild temperatures, but exp(s / 0.005) is beyond float32: use log_softmax, logsumexp or cross_entropy."""
    scores, partner = _scores(z1, z2, temperature)
    p = scores.exp() * ~torch.eye(len(scores), dtype=torch.bool)
    return -(p.gather(1, partner[:, None])[:, 0] / p.sum(1)).log().mean()


def ntxent_overflow_in_log(z1, z2, temperature):
    """Right at mild temperatures, but exp(s / 0.005) is beyond float32, and its log inf: use logsumexp."""
    scores, partner = _scores(z1, z2, temperature)
    return (_without_itself(scores).exp().sum(1).log() - scores.gather(1, partner[:, None])[:, 0]).mean()


def ntxent_global_maximum(z1, z2, temperature):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow to 0 / 0, NaN."""
    scores, partner = _scores(z1, z2, temperature)
    p = (scores - scores.max()).exp() * ~torch.eye(len(scores), dtype=torch.bool)
    return -(p.gather(1, partner[:, None])[:, 0] / p.sum(1)).log().mean()


def ntxent_global_maximum_of_others(z1, z2, temperature):
    """Subtract each row's own maximum: below the largest of the whole matrix other rows may underflow to 0 / 0."""
    scores, partner = _scores(z1, z2, temperature)
    scores = _without_itself(scores)
    p = (scores - scores.max()).exp()
    return -(p.gather(1, partner[:, None])[:, 0] / p.sum(1)).log().mean()


def ntxent_global_maximum_in_log(z1, z2, temperature):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow, and log 0 is -inf."""
    scores, partner = _scores(z1, z2, temperature)
    scores = scores - scores.max()
    return (_without_itself(scores).exp().sum(1).log() - scores.gather(1, partner[:, None])[:, 0]).mean()


def ntxent_global_maximum_of_others_in_log(z1, z2, temperature):
    """Subtract each row's own maximum: below the largest of the whole matrix others underflow, and log 0 is -inf."""
    scores, partner = _scores(z1, z2, temperature)
    scores = _without_itself(scores)
    scores = scores - scores.max()
    return (scores.exp().sum(1).log() - scores.gather(1, partner[:, None])[:, 0]).mean()


def ntxent_log_of_softmax(z1, z2, temperature):
    """Right at mild temperatures, but a softmax that underflows to 0 has log -inf: use log_softmax or cross_entropy."""
    scores, partner = _scores(z1, z2, temperature)
    return -_without_itself(scores).softmax(1).gather(1, partner[:, None]).log().mean()


def ntxent_epsilon(z1, z2, temperature):
    """A small number inside the log caps the loss, and at low temperatures the cap is reached: use log_softmax."""
    scores, partner = _scores(z1, z2, temperature)
    return -(_without_itself(scores).softmax(1).gather(1, partner[:, None]) + 1e-8).log().mean()


def ntxent_stop_gradient(z1, z2, temperature):
    """The value is right, the gradient is not: z2 is detached, but both views are trained."""
    return _nt_xent(z1, z2.detach(), temperature)


def ntxent_length_without_gradient(z1, z2, temperature):
    """The value is right, the gradient is not: the lengths one divides by depend on z too, do not detach them."""
    z1, z2 = (z / z.detach().norm(dim=1, keepdim=True) for z in (z1, z2))
    z = torch.cat([z1, z2])
    return F.cross_entropy(_without_itself(z @ z.T / temperature), torch.arange(len(z)).roll(len(z1)))


def ntxent_without_gradient(z1, z2, temperature):
    """No gradient comes through: .item(), float(), detach() or torch.tensor(...) cut it."""
    return torch.tensor(_nt_xent(z1, z2, temperature).item())


def ntxent_through_numpy(z1, z2, temperature):
    """A tensor that wants a gradient cannot go through NumPy: stay with torch's operations."""
    return _nt_xent(torch.from_numpy(z1.numpy()), z2, temperature)


def ntxent_in_place(z1, z2, temperature):
    """The arguments themselves get normalised: z1 /= ... writes into the caller's tensor, z1 = z1 / ... does not."""
    z1 /= z1.norm(dim=1, keepdim=True)
    z2 /= z2.norm(dim=1, keepdim=True)
    return _nt_xent(z1, z2, temperature)


def ntxent_by_loops(z1, z2, temperature):
    z = torch.cat([z1, z2])
    z, n, losses = z / z.norm(dim=1, keepdim=True), len(z1), []
    for i in range(2 * n):
        s = torch.stack([z[i] @ z[k] / temperature for k in range(2 * n) if k != i])
        losses.append(torch.logsumexp(s, 0) - z[i] @ z[(i + n) % (2 * n)] / temperature)
    return torch.stack(losses).mean()


def ntxent_in_blocks(z1, z2, temperature):
    u, v = F.normalize(z1.double(), dim=1), F.normalize(z2.double(), dim=1)
    itself = torch.eye(len(u), dtype=torch.float64) * -1e9
    uv, uu, vv = u @ v.T / temperature, u @ u.T / temperature + itself, v @ v.T / temperature + itself
    rows = torch.arange(len(u))
    both = F.cross_entropy(torch.cat([uv, uu], 1), rows) + F.cross_entropy(torch.cat([uv.T, vv], 1), rows)
    return (both / 2).to(z1.dtype)


def ntxent_interleaved(z1, z2, temperature):
    z = torch.stack([z1, z2], dim=1).flatten(0, 1)  # partners are neighbours
    s = torch.cosine_similarity(z[:, None], z[None], dim=2) / temperature
    others = s[~torch.eye(len(z), dtype=torch.bool)].view(len(z), -1)
    top = others.detach().amax(1, keepdim=True)
    total = (others - top).exp().sum(1).log() + top[:, 0]
    return (total - s[torch.arange(len(z)), torch.arange(len(z)) ^ 1]).mean()


# --- 4. the memory bank -----------------------------------------------------------------------------------------------


def cases_update_bank(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, d, batch, momentum, dtype=SINGLE):
        rows = torch.randperm(n, generator=g)[:batch]
        if batch > 1 and (rows.diff() > 0).all():  # the order matters, so it is never ascending
            rows = rows.flip(0)
        bank, v = (F.normalize(normal(g, k, d, dtype=dtype), dim=1) for k in (n, batch))
        return Case("ordinary", {"bank": bank, "rows": rows, "v": v, "momentum": scalar(momentum)})

    if not hidden:
        return [case(5, 3, 2, 0.7), case(6, 4, 3, 0.2), case(5, 4, 3, 0.0)]
    n = whole(g, 8, 14)
    return [
        case(n, 2, 4, between(g, 0.6, 0.95)),
        case(n, n + 3, n, between(g, 0.25, 0.4)),
        case(n + 1, 5, n // 2 + 1, between(g, 0.05, 0.15), DOUBLE),
        case(n, 6, 1, between(g, 0.6, 0.8)),
        case(n + 2, 7, 5, 0.0),
    ]


def _mixed(bank, rows, v, momentum):
    return momentum * bank[rows] + (1 - momentum) * v.detach()


def _bank_with(bank, rows, new):
    bank = bank.clone()
    bank[rows] = new
    return bank


def bank_momentum_on_the_wrong_side(bank, rows, v, momentum):
    """The momentum is on v: it belongs to what is kept, momentum * old + (1 - momentum) * v."""
    return _bank_with(bank, rows, F.normalize(_mixed(bank, rows, v, 1 - momentum), dim=1))


def bank_not_normalised(bank, rows, v, momentum):
    """The mixture of two unit vectors is shorter than 1: take it to unit length again."""
    return _bank_with(bank, rows, _mixed(bank, rows, v, momentum))


def bank_columns_normalised(bank, rows, v, momentum):
    """Columns are normalised: one memory is one row, dim=1."""
    return _bank_with(bank, rows, F.normalize(_mixed(bank, rows, v, momentum), dim=0))


def bank_first_rows(bank, rows, v, momentum):
    """The first rows of the bank move; those that `rows` names should: v[i] belongs to bank[rows[i]]."""
    return bank_right(bank, torch.arange(len(v)), v, momentum)


def bank_order_lost(bank, rows, v, momentum):
    """The right rows move, but towards the wrong vectors: `rows` is in no order, v[i] belongs to bank[rows[i]]."""
    return bank_right(bank, rows.sort().values, v, momentum)


def bank_replaced(bank, rows, v, momentum):
    """The rows are simply replaced by v: the momentum keeps a share of what was there."""
    return _bank_with(bank, rows, v.detach())


def bank_v_not_weighted(bank, rows, v, momentum):
    """The factor 1 - momentum of v is missing."""
    return _bank_with(bank, rows, F.normalize(momentum * bank[rows] + v.detach(), dim=1))


def bank_old_not_weighted(bank, rows, v, momentum):
    """The factor momentum of the old row is missing."""
    return _bank_with(bank, rows, F.normalize(bank[rows] + (1 - momentum) * v.detach(), dim=1))


def bank_others_shrink(bank, rows, v, momentum):
    """All rows are multiplied by the momentum; those that `rows` does not name must stay as they are."""
    return _bank_with(momentum * bank, rows, F.normalize(_mixed(bank, rows, v, momentum), dim=1))


def bank_all_renormalised(bank, rows, v, momentum):
    """All rows are multiplied by the momentum and normalised again: with momentum 0 those not named are lost."""
    mixed = momentum * bank
    mixed[rows] += (1 - momentum) * v.detach()
    return F.normalize(mixed, dim=1)


def bank_v_by_rows(bank, rows, v, momentum):
    """v[rows] is one look-up too many: v holds the batch only, v[i] belongs to bank[rows[i]]."""
    return _bank_with(bank, rows, F.normalize(_mixed(bank, rows, v[rows], momentum), dim=1))


def bank_others_zero(bank, rows, v, momentum):
    """The rows that `rows` does not name are gone: start from a copy of the bank, not from zeros."""
    return _bank_with(torch.zeros_like(bank), rows, F.normalize(_mixed(bank, rows, v, momentum), dim=1))


def bank_moved_rows_only(bank, rows, v, momentum):
    """Only the rows that moved come back; asked for is the whole bank, with these rows in their places."""
    return F.normalize(_mixed(bank, rows, v, momentum), dim=1)


def bank_nothing_moved(bank, rows, v, momentum):
    """The bank comes back as it was: bank[rows] is a copy, so what is written into that copy is lost."""
    return bank.clone()


def bank_none_returned(bank, rows, v, momentum):
    """Nothing is returned: the new bank is wanted as the result."""


def bank_gradient_kept(bank, rows, v, momentum):
    """The memory must carry no gradient, or each update holds on to the graphs of all before: no_grad() or detach()."""
    return _bank_with(bank, rows, F.normalize(momentum * bank[rows] + (1 - momentum) * v, dim=1))


def bank_in_place(bank, rows, v, momentum):
    """The given bank itself is changed: bank[rows] = ... writes into the caller's tensor, work on bank.clone()."""
    bank[rows] = F.normalize(_mixed(bank, rows, v, momentum), dim=1)
    return bank


def bank_v_detached_in_place(bank, rows, v, momentum):
    """v.detach_() cuts the caller's own v off its graph, so the network learns no more: v.detach() does not."""
    return bank_right(bank, rows, v.detach_(), momentum)


@torch.no_grad()
def bank_right(bank, rows, v, momentum):
    mixed = torch.lerp(v, bank[rows], momentum)
    return bank.index_copy(0, rows, mixed / mixed.norm(dim=1, keepdim=True))


def bank_by_loops(bank, rows, v, momentum):
    new = bank.double().clone()
    for row, vector in zip(rows.tolist(), v.detach().double()):
        new[row] = momentum * new[row] + (1 - momentum) * vector
        new[row] /= new[row].square().sum().sqrt()
    return new.to(bank.dtype)


def bank_by_one_hot(bank, rows, v, momentum):
    chosen = F.one_hot(rows, len(bank)).to(bank.dtype)  # (B, n)
    moved = F.normalize(momentum * (chosen @ bank) + (1 - momentum) * v.data, dim=1)
    return torch.where(chosen.sum(0)[:, None] > 0, chosen.T @ moved, bank)


# --- 5. k-NN ----------------------------------------------------------------------------------------------------------


def cases_knn_vote(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, k, classes, temperature, dtype=SINGLE, far=False):
        while True:
            train, test = rows_of_all_lengths(g, n, d, dtype), rows_of_all_lengths(g, m, d, dtype)
            if far:  # all training rows lie around one direction, the last test row opposite
                u = test[0] / test[0].norm()
                train, test[-1] = 2 * u + 0.3 * train, 0.2 * test[-1] - u
            elif kind == "extreme":  # the first test row has its k nearest all around it
                near = train[0] / train[0].norm() + 0.1 * normal(g, k, d, dtype=dtype)
                train[:k], test[0] = near, near.mean(0)
            order = F.normalize(test.double(), dim=1) @ F.normalize(train.double(), dim=1).T
            order = order.sort(descending=True).values
            if k == n or (order[:, k - 1] - order[:, k] > 1e-3).all():  # which rows are the k nearest is beyond doubt
                break
        used = classes - (kind == "absent class")
        labels = torch.cat([torch.arange(used), torch.randint(used, (n - used,), generator=g)])
        labels = labels if kind == "extreme" else labels[torch.randperm(n, generator=g)]
        return Case(kind, {"train": train, "train_labels": labels, "test": test, "k": scalar(k),
                           "classes": scalar(classes), "temperature": scalar(temperature)})

    if not hidden:
        return [
            case("ordinary", 6, 3, 4, 3, 2, 0.2),
            case("ordinary", 8, 4, 3, 4, 3, 0.5, DOUBLE),
            case("absent class", 6, 2, 4, 3, 3, 0.2),
            case("extreme", 6, 3, 4, 3, 2, 0.005),
            case("extreme", 7, 2, 4, 3, 2, 0.005, far=True),
        ]
    n = whole(g, 12, 24)
    return [
        case("ordinary", n, whole(g, 5, 8), 6, 7, 4, between(g, 0.08, 0.15)),
        case("ordinary", n + 1, 5, n + 5, whole(g, 5, 9), 4, between(g, 0.25, 0.4)),
        case("ordinary", n, 1, 2, 6, 5, between(g, 0.55, 0.9), DOUBLE),
        case("ordinary", n, 5, 7, 1, 4, between(g, 0.3, 0.9)),
        case("ordinary", 7, 5, 5, 7, 4, between(g, 0.3, 0.9)),
        case("absent class", n, 5, 6, 5, 6, between(g, 0.1, 0.4)),
        case("absent class", n, 6, 2, 6, 4, between(g, 0.1, 0.4), DOUBLE),
        case("extreme", n, 6, 8, whole(g, 5, 8), 4, 0.004),
        case("extreme", n, 2, 5, 6, 5, 0.006),
        case("extreme", n, 3, 6, 4, 3, 0.005, far=True),
    ]


def _similarity(train, test):
    return F.normalize(test, dim=1) @ F.normalize(train, dim=1).T


def _count_votes(weight, labels, classes):
    return weight.new_zeros(len(weight), classes).scatter_add(1, labels, weight)


def _knn(similarity, labels, k, classes, temperature):
    similarity, nearest = similarity.topk(k)
    return _count_votes((similarity / temperature).softmax(1), labels[nearest], classes)


def knn_unweighted(train, train_labels, test, k, classes, temperature):
    """Every neighbour has the same vote: weigh it with exp(cos / temperature)."""
    return _knn(_similarity(train, test), train_labels, k, classes, torch.inf)


def knn_dot_product(train, train_labels, test, k, classes, temperature):
    """Dot products stand where cosines should, so long rows win. Take train and test to unit length first."""
    return _knn(test @ train.T, train_labels, k, classes, temperature)


def knn_train_not_normalised(train, train_labels, test, k, classes, temperature):
    """Only the test rows are normalised; the training rows' lengths still count."""
    return _knn(F.normalize(test, dim=1) @ train.T, train_labels, k, classes, temperature)


def knn_columns_normalised(train, train_labels, test, k, classes, temperature):
    """Columns are normalised: one feature vector is one row, dim=1."""
    return _knn(F.normalize(test, dim=0) @ F.normalize(train, dim=0).T, train_labels, k, classes, temperature)


def knn_euclidean(train, train_labels, test, k, classes, temperature):
    """These are Euclidean distances of the rows as they are; asked for are cosines."""
    return _knn(-torch.cdist(test, train), train_labels, k, classes, temperature)


def knn_furthest(train, train_labels, test, k, classes, temperature):
    """These are the votes of the k least similar rows: sort in descending order."""
    similarity, nearest = _similarity(train, test).topk(k, largest=False)
    return _count_votes((similarity / temperature).softmax(1), train_labels[nearest], classes)


def knn_all_vote(train, train_labels, test, k, classes, temperature):
    """All training rows vote; only the k most similar ones may."""
    return _knn(_similarity(train, test), train_labels, len(train), classes, temperature)


def knn_nearest_skipped(train, train_labels, test, k, classes, temperature):
    """The nearest row is skipped. That is right for rows among themselves; a test row is not in the training set."""
    similarity, nearest = _similarity(train, test).sort(descending=True)
    similarity, nearest = similarity[:, 1 : k + 1], nearest[:, 1 : k + 1]
    return _count_votes((similarity / temperature).softmax(1), train_labels[nearest], classes)


def knn_one_too_few(train, train_labels, test, k, classes, temperature):
    """Only k - 1 rows vote: a slice [:k] has k entries."""
    return _knn(_similarity(train, test), train_labels, max(k - 1, 1), classes, temperature)


def knn_votes_overwritten(train, train_labels, test, k, classes, temperature):
    """Neighbours of one class overwrite each other: votes[i, labels] = w keeps one of them, scatter_add_ adds all."""
    similarity, nearest = _similarity(train, test).topk(k)
    weight = (similarity / temperature).softmax(1)
    votes = weight.new_zeros(len(test), classes)
    for row, labels, weights in zip(votes, train_labels[nearest], weight):
        for label, w in zip(labels, weights):
            row[label] = w
    return votes


def knn_repeated_indices_lost(train, train_labels, test, k, classes, temperature):
    """votes[i, labels] += w counts a class once though several neighbours have it: scatter_add_ adds all of them."""
    similarity, nearest = _similarity(train, test).topk(k)
    weight, labels = (similarity / temperature).exp(), train_labels[nearest]
    votes = weight.new_zeros(len(test), classes)
    for row, of, w in zip(votes, labels, weight):
        row[of] += w
    return votes / votes.sum(1, keepdim=True)


def knn_no_shares(train, train_labels, test, k, classes, temperature):
    """These are the sums of the weights; divide by each row's total, so that the shares sum to one."""
    similarity, nearest = _similarity(train, test).topk(k)
    return _count_votes((similarity / temperature).exp(), train_labels[nearest], classes)


def knn_softmax_before_topk(train, train_labels, test, k, classes, temperature):
    """The weights are shares of all training rows, so those of the k do not sum to one: normalise among the k."""
    weight, nearest = (_similarity(train, test) / temperature).softmax(1).topk(k)
    return _count_votes(weight, train_labels[nearest], classes)


def knn_softmax_of_votes(train, train_labels, test, k, classes, temperature):
    """A softmax over the classes changes the votes; to make them shares, divide by their total."""
    return _knn(_similarity(train, test), train_labels, k, classes, temperature).softmax(1)


def knn_no_temperature(train, train_labels, test, k, classes, temperature):
    """The temperature is left out: divide the cosines by it."""
    return _knn(_similarity(train, test), train_labels, k, classes, 1.0)


def knn_times_temperature(train, train_labels, test, k, classes, temperature):
    """Similarities are multiplied by the temperature: divide by it."""
    return _knn(_similarity(train, test), train_labels, k, classes, 1 / temperature)


def knn_no_exponential(train, train_labels, test, k, classes, temperature):
    """The weights are the cosines themselves: the exponential is missing."""
    similarity, nearest = _similarity(train, test).topk(k)
    return _count_votes(similarity / similarity.sum(1, keepdim=True), train_labels[nearest], classes)


def knn_labels_of_first_rows(train, train_labels, test, k, classes, temperature):
    """The labels are those of the first k training rows: look up each neighbour's own, train_labels[nearest]."""
    weight = (_similarity(train, test).topk(k).values / temperature).softmax(1)
    return _count_votes(weight, train_labels[:k].expand(len(test), k), classes)


def knn_majority(train, train_labels, test, k, classes, temperature):
    """This is the winning class as a one-hot row; asked for are the shares of all classes."""
    return F.one_hot(_knn(_similarity(train, test), train_labels, k, classes, temperature).argmax(1), classes).to(train)


def knn_winner(train, train_labels, test, k, classes, temperature):
    """This is the number of the winning class; asked for are the shares of all classes, (M, classes)."""
    return _knn(_similarity(train, test), train_labels, k, classes, temperature).argmax(1)


def knn_classes_from_labels(train, train_labels, test, k, classes, temperature):
    """A class without training rows has lost its column: the result has `classes` columns, whatever labels occur."""
    return _knn(_similarity(train, test), train_labels, k, int(train_labels.max()) + 1, temperature)


def knn_overflow(train, train_labels, test, k, classes, temperature):
    """Right at mild temperatures, but exp(1 / 0.005) is beyond float32: softmax subtracts the largest exponent."""
    votes = knn_no_shares(train, train_labels, test, k, classes, temperature)
    return votes / votes.sum(1, keepdim=True)


def knn_overflow_hidden(train, train_labels, test, k, classes, temperature):
    """Weights beyond float32 are replaced after the fact, which is wrong: subtract the largest exponent before exp."""
    return knn_overflow(train, train_labels, test, k, classes, temperature).nan_to_num()


def knn_global_maximum(train, train_labels, test, k, classes, temperature):
    """Subtract each row's own maximum: below the largest of all, or 1, the votes of a row may underflow to 0 / 0."""
    similarity, nearest = _similarity(train, test).topk(k)
    votes = _count_votes(((similarity - similarity.max()) / temperature).exp(), train_labels[nearest], classes)
    return votes / votes.sum(1, keepdim=True)


def knn_global_maximum_in_weights(train, train_labels, test, k, classes, temperature):
    """Subtract each row's own maximum: below the largest of all, or 1, the weights of a row may underflow to 0 / 0."""
    similarity, nearest = _similarity(train, test).topk(k)
    weight = ((similarity - similarity.max()) / temperature).exp()
    return _count_votes(weight / weight.sum(1, keepdim=True), train_labels[nearest], classes)


def knn_overflow_in_weights(train, train_labels, test, k, classes, temperature):
    """Right at mild temperatures, but exp(1 / 0.005) is beyond float32, and inf / inf is NaN: use softmax."""
    similarity, nearest = _similarity(train, test).topk(k)
    weight = (similarity / temperature).exp()
    return _count_votes(weight / weight.sum(1, keepdim=True), train_labels[nearest], classes)


def knn_float32_zeros(train, train_labels, test, k, classes, temperature):
    """torch.zeros(...) is float32, the features may be float64: new_zeros of the weights has their dtype."""
    similarity, nearest = _similarity(train, test).topk(k)
    shares = (similarity / temperature).softmax(1)
    return torch.zeros(len(test), classes).scatter_add(1, train_labels[nearest], shares)


def knn_softmax_over_tests(train, train_labels, test, k, classes, temperature):
    """The softmax runs over the test rows, dim=0: each test row's own k neighbours share its votes, dim=1."""
    similarity, nearest = _similarity(train, test).topk(k)
    return _count_votes((similarity / temperature).softmax(0), train_labels[nearest], classes)


def knn_transposed(train, train_labels, test, k, classes, temperature):
    """This is the transpose of what is asked for: test rows go down, classes across."""
    return _knn(_similarity(train, test), train_labels, k, classes, temperature).T


def knn_in_place(train, train_labels, test, k, classes, temperature):
    """The arguments themselves get normalised: train /= ... writes into the caller's tensor: train = train / ..."""
    train /= train.norm(dim=1, keepdim=True)
    test /= test.norm(dim=1, keepdim=True)
    return _knn(test @ train.T, train_labels, k, classes, temperature)


def knn_by_loops(train, train_labels, test, k, classes, temperature):
    train, test, votes = train.double(), test.double(), torch.zeros(len(test), classes, dtype=torch.float64)
    for i, row in enumerate(test):
        cos = (train @ row) / (train.norm(dim=1) * row.norm())
        for j in cos.argsort(descending=True)[:k]:
            votes[i, train_labels[j]] += ((cos[j] - cos.max()) / temperature).exp()
    return votes / votes.sum(1, keepdim=True)


def knn_by_one_hot(train, train_labels, test, k, classes, temperature):
    cos = torch.cosine_similarity(test[:, None], train[None], dim=2)
    least = cos.sort(dim=1, descending=True).values[:, k - 1 : k]
    weight = (cos / temperature).masked_fill(cos < least, -torch.inf).softmax(1)
    return weight @ F.one_hot(train_labels, classes).to(weight.dtype)


def knn_by_einsum(train, train_labels, test, k, classes, temperature):
    cos, nearest = torch.einsum("md,nd->mn", F.normalize(test), F.normalize(train)).topk(k, dim=1)
    log_weight = cos / temperature - torch.logsumexp(cos / temperature, dim=1, keepdim=True)
    return torch.stack([((train_labels[nearest] == c) * log_weight.exp()).sum(1) for c in range(classes)], dim=1)


# --- 6. the bound -----------------------------------------------------------------------------------------------------


def cases_mi_bound(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, batches, negatives, dtype=SINGLE):
        low, high = (1.1, 1.8) if kind == "nothing learnt" else (0.1, 0.8)
        ceiling = math.log(negatives + 1)
        losses = torch.tensor([ceiling * between(g, low, high) for _ in range(batches)], dtype=dtype)
        arrays = {"losses": losses, "negatives": scalar(negatives)}
        return Case(kind, arrays | ({"cotangent": scalar(1.5)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3, 7),
            case("ordinary", 4, 15, DOUBLE),
            case("nothing learnt", 3, 7),
            case("gradient", 3, 7, DOUBLE),
        ]
    n = whole(g, 30, 600)
    return [
        case("ordinary", 1, n),
        case("ordinary", whole(g, 5, 9), n + 1),
        case("ordinary", whole(g, 5, 9), 2 * n, DOUBLE),
        case("ordinary", 2, 3),
        case("nothing learnt", whole(g, 5, 9), n),
        case("nothing learnt", 1, 3, DOUBLE),
        case("gradient", whole(g, 5, 9), n, DOUBLE),
        case("gradient", 2, n + 1),
    ]


def bound_positive_not_counted(losses, negatives):
    """This is log(negatives) - L: the candidates are the negatives and the positive, one more."""
    return math.log(negatives) - losses.mean()


def bound_one_outside(losses, negatives):
    """This is log(negatives) + 1: the 1 is a candidate, so it belongs inside the logarithm."""
    return math.log(negatives) + 1 - losses.mean()


def bound_one_too_few(losses, negatives):
    """This is log(negatives - 1): the positive comes on top of the negatives, it is not one of them."""
    return math.log(negatives - 1) - losses.mean()


def bound_two_views(losses, negatives):
    """This is log(2 negatives + 1), as for two views of each negative: `negatives` counts all of them already."""
    return math.log(2 * negatives + 1) - losses.mean()


def bound_sign(losses, negatives):
    """The sign is the wrong way round: a lower loss says that the views share more."""
    return losses.mean() - math.log(negatives + 1)


def bound_added(losses, negatives):
    """The loss is added; it is subtracted from the ceiling log N, which only a loss of 0 reaches."""
    return losses.mean() + math.log(negatives + 1)


def bound_no_ceiling(losses, negatives):
    """This is minus the mean loss: log N, the loss of somebody who guesses, is missing."""
    return -losses.mean()


def bound_no_log(losses, negatives):
    """The number of candidates stands there without its logarithm."""
    return negatives + 1 - losses.mean()


def bound_log2(losses, negatives):
    """The logarithm to base 2 does not go with losses in nats: use the natural one."""
    return math.log2(negatives + 1) - losses.mean()


def bound_in_bits(losses, negatives):
    """This is the bound in bits; asked for are nats, the losses' own unit."""
    return (math.log(negatives + 1) - losses.mean()) / math.log(2)


def bound_sum(losses, negatives):
    """This subtracts the sum of the losses; the bound has their mean."""
    return math.log(negatives + 1) - losses.sum()


def bound_each(losses, negatives):
    """These are bounds for all batches, one by one; asked for is one number, from their mean loss."""
    return math.log(negatives + 1) - losses


def bound_mean_of_probabilities(losses, negatives):
    """This averages the probabilities exp(-loss); the bound has the mean of the losses themselves."""
    return math.log(negatives + 1) + (-losses).exp().mean().log()


def bound_smallest_loss(losses, negatives):
    """This is the bound of the luckiest batch: only the mean loss bounds anything."""
    return math.log(negatives + 1) - losses.min()


def bound_batches_as_candidates(losses, negatives):
    """This is log of the number of batches; the candidates are what one reference is compared with."""
    return math.log(len(losses)) - losses.mean()


def bound_clamped(losses, negatives):
    """The bound is cut off at 0. A negative bound is true as well, and says that the scores are worse than guessing."""
    return (math.log(negatives + 1) - losses.mean()).clamp(min=0)


def bound_absolute(losses, negatives):
    """The bound's absolute value is taken: where it is negative it must stay so."""
    return (math.log(negatives + 1) - losses.mean()).abs()


def bound_without_gradient(losses, negatives):
    """No gradient comes through: .item(), float(), detach() or torch.tensor(...) cut it."""
    return torch.tensor(math.log(negatives + 1) - losses.mean().item())


def bound_through_numpy(losses, negatives):
    """A tensor that wants a gradient cannot go through NumPy: stay with torch's operations."""
    return torch.tensor(math.log(negatives + 1) - losses.numpy().mean())


def bound_by_tensor(losses, negatives):
    return torch.log(torch.tensor(negatives + 1.0, dtype=torch.float64)) - losses.double().sum() / losses.numel()


def bound_mean_last(losses, negatives):
    return (math.log1p(negatives) - losses).mean()


def bound_by_loop(losses, negatives):
    return sum(math.log(1 + negatives) - loss for loss in losses) / len(losses)


# --- 7. two views -----------------------------------------------------------------------------------------------------


def cases_TwoViews(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, side, d, dim, dtype=SINGLE):
        def weights(name, outputs, inputs):
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            return {f"{name} weight": weight, f"{name} bias": 0.3 * normal(g, outputs, dtype=dtype)}

        x = torch.rand((n, 3, side, side), generator=g, dtype=DOUBLE).to(dtype)
        scale = torch.tensor([between(g, low, low + 0.3) for low in (1.2, 0.4, -0.9, 2.0)], dtype=dtype)
        shift = torch.tensor([between(g, low, low + 0.2) for low in (0.1, -0.5, 0.5, -0.9)], dtype=dtype)
        networks = weights("encoder", d, 3 * side**2) | weights("projector", dim, d)
        return Case(kind, {"unseen" if kind == "encode" else "x": x, "scale": scale, "shift": shift} | networks)

    if not hidden:
        return [case("ordinary", 3, 2, 4, 3), case("ordinary", 2, 2, 5, 4, DOUBLE), case("encode", 3, 2, 4, 3)]
    n = whole(g, 3, 5)
    return [
        case("ordinary", 2 * n, 3, 6, 5),
        case("ordinary", 2 * n + 1, 2, whole(g, 7, 9), 2, DOUBLE),
        case("ordinary", 1, 4, 3, 6),
        case("encode", 2 * n, 3, 6, 5),
        case("encode", 1, 2, whole(g, 7, 9), 2, DOUBLE),
    ]


class _Right(Method):
    def __init__(self, encoder, projector, augment, contrast):
        super().__init__()
        self.encoder, self.projector, self.augment, self.contrast = encoder, projector, augment, contrast

    def project(self, view):
        return self.projector(self.encoder(view))

    def loss(self, x, y=None):
        return self.contrast(self.project(self.augment(x)), self.project(self.augment(x)))

    def encode(self, x):
        return self.encoder(x)


class ViewsSame(_Right):
    """One view is compared with itself: call augment twice, each call draws anew."""

    def loss(self, x, y=None):
        view = self.augment(x)
        return self.contrast(self.project(view), self.project(view))


class ViewsOneIsThePicture(_Right):
    """One of the two is the picture as it is: both must be augmented."""

    def loss(self, x, y=None):
        return self.contrast(self.project(self.augment(x)), self.project(x))


class ViewsNotAugmented(_Right):
    """The pictures are not augmented at all: both views come from augment(x)."""

    def loss(self, x, y=None):
        return self.contrast(self.project(x), self.project(x))


class ViewsOneAfterTheOther(_Right):
    """The second view is a view of the first: both must be views of x, independent of each other."""

    def loss(self, x, y=None):
        view1 = self.augment(x)
        return self.contrast(self.project(view1), self.project(self.augment(view1)))


class ViewsPairsMixedUp(_Right):
    """After cat([view1, view2]) the first N rows are the first views: split with chunk(2), not every other row."""

    def loss(self, x, y=None):
        z = self.project(torch.cat([self.augment(x), self.augment(x)]))
        return self.contrast(z[::2], z[1::2])


class ViewsLossOnH(_Right):
    """The loss sees h: it should see z = projector(h)."""

    def loss(self, x, y=None):
        return self.contrast(self.encoder(self.augment(x)), self.encoder(self.augment(x)))


class ViewsNormalised(_Right):
    """z is normalised before it is handed on: give contrast z as it is, what else it needs it does itself."""

    def loss(self, x, y=None):
        return self.contrast(*(F.normalize(self.project(self.augment(x)), dim=1) for _ in range(2)))


class ViewsBothOrders(_Right):
    """contrast is called in both orders and added up: it takes both views at once, so call it once."""

    def loss(self, x, y=None):
        z1, z2 = self.project(self.augment(x)), self.project(self.augment(x))
        return self.contrast(z1, z2) + self.contrast(z2, z1)


class ViewsOneViewCut(_Right):
    """One view of the batch is cut in two halves, which show different pictures: chunk needs cat of both views."""

    def loss(self, x, y=None):
        return self.contrast(*self.project(self.augment(x)).chunk(2))


class ViewsBackwardInside(_Right):
    """loss must not call backward(): it returns the loss, fit does the rest."""

    def loss(self, x, y=None):
        value = super().loss(x)
        value.backward()
        return value


class ViewsNoMethod:
    """This is no Method, so nobody finds its parameters: class TwoViews(Method)."""

    def __init__(self, encoder, projector, augment, contrast):
        self.encoder, self.projector, self.augment, self.contrast = encoder, projector, augment, contrast

    def loss(self, x, y=None):
        return self.contrast(*(self.projector(self.encoder(self.augment(x))) for _ in range(2)))

    def encode(self, x):
        return self.encoder(x)


class ViewsSecondStopped(_Right):
    """The value is right, but the second view is detached: SimCLR's gradient goes through both."""

    def loss(self, x, y=None):
        z1, z2 = self.project(self.augment(x)), self.project(self.augment(x))
        return self.contrast(z1, z2.detach())


class ViewsFirstStopped(_Right):
    """The value is right, but the first view is detached: SimCLR's gradient goes through both."""

    def loss(self, x, y=None):
        z1, z2 = self.project(self.augment(x)), self.project(self.augment(x))
        return self.contrast(z1.detach(), z2)


class ViewsEncoderFrozen(_Right):
    """Only the projector learns: the encoder runs without gradient, though it is what we want to train."""

    def project(self, view):
        with torch.no_grad():
            h = self.encoder(view)
        return self.projector(h)


class ViewsWithoutGradient(_Right):
    """No gradient comes through: the loss must stay a tensor, without .item(), float() or detach()."""

    def loss(self, x, y=None):
        return super().loss(x).item()


class ViewsEncoderInList(_Right):
    """The encoder's parameters are not the method's: a module hidden in a list, tuple or function is not registered."""

    def __init__(self, encoder, projector, augment, contrast):
        super().__init__(None, projector, augment, contrast)
        self.networks = [encoder]

    def project(self, view):
        return self.projector(self.networks[0](view))

    def encode(self, x):
        return self.networks[0](x)


class ViewsNetworksInList(_Right):
    """The networks' parameters are not the method's: modules hidden in a list, tuple or function are not registered."""

    def __init__(self, encoder, projector, augment, contrast):
        super().__init__(None, None, augment, contrast)
        self.networks = [encoder, projector]

    def project(self, view):
        return self.networks[1](self.networks[0](view))

    def encode(self, x):
        return self.networks[0](x)


class ViewsSuperForgotten(_Right):
    """super().__init__() must come before any network is assigned: it makes the place where modules are registered."""

    def __init__(self, encoder, projector, augment, contrast):
        self.encoder, self.projector, self.augment, self.contrast = encoder, projector, augment, contrast


class ViewsLossWithoutY(_Right):
    """loss must accept y, even if it needs no labels: fit calls loss(x, y) for every method."""

    def loss(self, x):
        return super().loss(x)

    loss.__qualname__ = "TwoViews.loss"  # the exception's message has it


class ViewsEncodeZ(_Right):
    """encode returns z: the projector is thrown away after training, the representation is h."""

    def encode(self, x):
        return self.project(x)


class ViewsEncodeAugments(_Right):
    """encode draws a view first: the representation is that of the picture as it is."""

    def encode(self, x):
        return self.encoder(self.augment(x))


class ViewsEncodeNormalised(_Right):
    """encode normalises h: return h = encoder(x) as it is, k-NN and probe do what they need."""

    def encode(self, x):
        return F.normalize(self.encoder(x), dim=1)


class ViewsInOneCall(_Right):
    def loss(self, x, y=None):
        z1, z2 = self.project(torch.cat([self.augment(x), self.augment(x)])).chunk(2)
        return self.contrast(z1, z2)


class ViewsSwapped(Method):
    def __init__(self, encoder, projector, augment, contrast):
        super().__init__()
        self.f, self.whole = encoder, nn.Sequential(encoder, projector)
        self.parts = augment, contrast

    def loss(self, x, y=None):
        augment, contrast = self.parts
        z2, z1 = (self.whole(augment(x)) for _ in range(2))
        return contrast(z1, z2).double()

    @torch.no_grad()
    def encode(self, x):
        return self.f(x)


class ViewsOfDoubledBatch(_Right):
    def loss(self, x, y=None):
        z = self.project(self.augment(torch.cat([x, x])))
        return self.contrast(z[: len(x)], z[len(x) :])


# --- the sheet --------------------------------------------------------------------------------------------------------

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "cosine_similarity_matrix",
        (
            Property("gives the right values", 2),
            UNCHANGED,
            Property("gives 0 for a row of zeros", 1, "zero rows"),
            gradient(1),
        ),
        cases_cosine_similarity_matrix,
        mutants=(
            cosine_nan_for_zero_rows,
            cosine_one_for_zero_rows,
            cosine_length_without_gradient,
            cosine_without_gradient,
            cosine_through_numpy,
            cosine_in_place,
            cosine_dot_product,
            cosine_only_a_normalised,
            cosine_only_b_normalised,
            cosine_columns_normalised,
            cosine_one_norm_for_all,
            cosine_squared_norm,
            cosine_absolute_norm,
            cosine_centred,
            cosine_distance,
            cosine_absolute,
            cosine_without_keepdim,
            cosine_lengths_side_by_side,
            cosine_not_transposed,
            cosine_transposed,
            cosine_row_with_row,
        ),
        alternatives=(cosine_by_einsum, cosine_by_broadcasting, cosine_by_loops),
    ),
    Master(
        "info_nce",
        (
            Property("gives the right values", 2),
            UNCHANGED,
            Property("stays right for large scores", 1, "extreme"),
            gradient(1),
        ),
        cases_info_nce,
        mutants=(
            infonce_overflow,
            infonce_overflow_in_log,
            infonce_global_maximum,
            infonce_global_maximum_in_log,
            infonce_log_of_softmax,
            infonce_epsilon,
            infonce_denominator_without_gradient,
            infonce_without_gradient,
            infonce_through_numpy,
            infonce_in_place,
            infonce_columns,
            infonce_both_directions,
            infonce_sum,
            infonce_each,
            infonce_log_of_mean,
            infonce_sign,
            infonce_no_log,
            infonce_no_denominator,
            infonce_log2,
            infonce_softmax_twice,
            infonce_sigmoid,
            infonce_positive_left_out,
            infonce_softmax_over_all,
            infonce_all_entries,
            infonce_first_column,
        ),
        alternatives=(infonce_by_cross_entropy, infonce_maximum_subtracted, infonce_by_loops, infonce_as_trace),
        hides=(
            "course_lib.losses:info_nce",
            "course_lib.contrastive.instance_discrimination:non_parametric_softmax",
        ),
    ),
    Master(
        "nt_xent",
        (
            Property("gives the right values", 4),
            UNCHANGED,
            Property("stays right at a low temperature", 1, "extreme"),
            gradient(2),
        ),
        cases_nt_xent,
        mutants=(
            ntxent_itself_minus_hundred,
            ntxent_overflow,
            ntxent_overflow_in_log,
            ntxent_global_maximum,
            ntxent_global_maximum_of_others,
            ntxent_global_maximum_in_log,
            ntxent_global_maximum_of_others_in_log,
            ntxent_log_of_softmax,
            ntxent_epsilon,
            ntxent_stop_gradient,
            ntxent_length_without_gradient,
            ntxent_without_gradient,
            ntxent_through_numpy,
            ntxent_in_place,
            ntxent_no_temperature,
            ntxent_times_temperature,
            ntxent_not_normalised,
            ntxent_columns_normalised,
            ntxent_one_view_normalised,
            ntxent_itself_kept,
            ntxent_itself_zero,
            ntxent_itself_minus_ten,
            ntxent_itself_least_cosine,
            ntxent_infinity_times_zero,
            ntxent_temperature_squared,
            ntxent_rolled_by_one,
            ntxent_mean_over_n_again,
            ntxent_mean_twice,
            ntxent_one_direction,
            ntxent_other_views_only,
            ntxent_one_direction_other_views_only,
            ntxent_divided_by_n,
            ntxent_sum,
            ntxent_neighbours_as_partners,
            ntxent_positive_left_out,
            ntxent_numerator_only,
            ntxent_softmax_twice,
            ntxent_log_of_mean,
            ntxent_sign,
            ntxent_first_view_twice,
        ),
        alternatives=(ntxent_by_loops, ntxent_in_blocks, ntxent_interleaved),
        hides=(
            "course_lib.losses:nt_xent",
            "course_lib.contrastive.simclr:SimCLR",
            "course_lib.contrastive.supcon:supervised_contrastive",
        ),
    ),
    Master(
        "update_bank",
        (
            Property("moves the named rows, and no others", 3),
            UNCHANGED,
            Property("keeps no gradient in the memory", 2, outputs=("detached",)),
        ),
        cases_update_bank,
        mutants=(
            bank_gradient_kept,
            bank_in_place,
            bank_v_detached_in_place,
            bank_momentum_on_the_wrong_side,
            bank_not_normalised,
            bank_columns_normalised,
            bank_first_rows,
            bank_order_lost,
            bank_replaced,
            bank_v_not_weighted,
            bank_old_not_weighted,
            bank_others_shrink,
            bank_all_renormalised,
            bank_v_by_rows,
            bank_others_zero,
            bank_moved_rows_only,
            bank_nothing_moved,
            bank_none_returned,
        ),
        alternatives=(bank_right, bank_by_loops, bank_by_one_hot),
        hides=("course_lib.contrastive.instance_discrimination:InstanceDiscrimination",),
    ),
    Master(
        "knn_vote",
        (
            Property("gives the right shares", 3),
            UNCHANGED,
            Property("has a column for a class without rows", 1, "absent class"),
            Property("stays right at a low temperature", 1, "extreme"),
        ),
        cases_knn_vote,
        mutants=(
            knn_classes_from_labels,
            knn_overflow,
            knn_overflow_in_weights,
            knn_overflow_hidden,
            knn_global_maximum,
            knn_global_maximum_in_weights,
            knn_in_place,
            knn_float32_zeros,
            knn_softmax_over_tests,
            knn_transposed,
            knn_unweighted,
            knn_dot_product,
            knn_train_not_normalised,
            knn_columns_normalised,
            knn_euclidean,
            knn_furthest,
            knn_all_vote,
            knn_nearest_skipped,
            knn_one_too_few,
            knn_votes_overwritten,
            knn_repeated_indices_lost,
            knn_no_shares,
            knn_softmax_before_topk,
            knn_softmax_of_votes,
            knn_no_temperature,
            knn_times_temperature,
            knn_no_exponential,
            knn_labels_of_first_rows,
            knn_majority,
            knn_winner,
        ),
        alternatives=(knn_by_loops, knn_by_one_hot, knn_by_einsum),
        hides=("course_lib.evaluate:knn",),
    ),
    Master(
        "mi_bound",
        (
            Property("gives the right values", 2),
            Property("may be negative where the scores are worse than guessing", 1, "nothing learnt"),
            gradient(1),
        ),
        cases_mi_bound,
        mutants=(
            bound_clamped,
            bound_absolute,
            bound_without_gradient,
            bound_through_numpy,
            bound_positive_not_counted,
            bound_one_outside,
            bound_one_too_few,
            bound_two_views,
            bound_sign,
            bound_added,
            bound_no_ceiling,
            bound_no_log,
            bound_log2,
            bound_in_bits,
            bound_sum,
            bound_each,
            bound_mean_of_probabilities,
            bound_smallest_loss,
            bound_batches_as_candidates,
        ),
        alternatives=(bound_by_tensor, bound_mean_last, bound_by_loop),
        hides=("course_lib.losses:mutual_information_bound",),
    ),
    Master(
        "TwoViews",
        (
            Property("compares the projections of two views", 3),
            Property("hands its networks' parameters to the optimiser", 1, outputs=("parameters",)),
            Property("has a gradient through both views and both networks", 1, outputs=("gradient",)),
            Property("encodes a picture as it is, without the projector", 1, "encode", ("represent",)),
        ),
        cases_TwoViews,
        mutants=(
            ViewsNoMethod,
            ViewsSecondStopped,
            ViewsFirstStopped,
            ViewsEncoderFrozen,
            ViewsWithoutGradient,
            ViewsEncoderInList,
            ViewsNetworksInList,
            ViewsEncodeZ,
            ViewsEncodeAugments,
            ViewsEncodeNormalised,
            ViewsSame,
            ViewsOneIsThePicture,
            ViewsNotAugmented,
            ViewsOneAfterTheOther,
            ViewsPairsMixedUp,
            ViewsLossOnH,
            ViewsNormalised,
            ViewsBothOrders,
            ViewsOneViewCut,
            ViewsBackwardInside,
            ViewsSuperForgotten,
            ViewsLossWithoutY,
        ),
        alternatives=(ViewsInOneCall, ViewsSwapped, ViewsOfDoubledBatch),
        hides=(
            "course_lib.contrastive.simclr:SimCLR",
            "course_lib.contrastive.siamese:Siamese",
            "course_lib.contrastive.supcon:SupCon",
            "course_lib.two_views:TwoViews",
        ),
    ),
]
