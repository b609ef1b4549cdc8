"""Exercises 00, representations: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it.
"""

from torch import Tensor

from course_lib.grading.drive import function, several


def drive_nearest_words(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """table, word, k."""
    return function(answer, {"table": a["table"]}, a["word"].item(), a["k"].item())


def drive_majority_vote(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """train, labels, test, k."""
    return function(answer, {name: a[name] for name in ("train", "labels", "test")}, a["k"].item())


def drive_probe_step(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, labels, weight, bias, rate, decay. `weight`, `bias`: the new ones."""
    tensors = {name: a[name] for name in ("x", "labels", "weight", "bias")}
    return several(answer, ("weight", "bias"), tensors, a["rate"].item(), a["decay"].item())


def drive_kmeans_step(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, means. `codes`, `means`: the new ones."""
    return several(answer, ("codes", "means"), {"x": a["x"], "means": a["means"]})


def drive_relative_change(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """h, changed: features of pictures before and after a change."""
    return function(answer, {"h": a["h"], "changed": a["changed"]})


def drive_effective_rank(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """features."""
    return function(answer, {"features": a["features"]})


def drive_mean_iou(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """scores, masks."""
    return function(answer, {"scores": a["scores"], "masks": a["masks"]})


def drive_report(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """validation, test. `setting`, `mean`, `std`: the three things that come back."""
    tensors = {"validation": a["validation"], "test": a["test"]}
    return several(answer, ("setting", "mean", "std"), tensors)


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64
APART = 0.02  # how much further the next one is at least, where order matters: no rounding changes it


def labels_of_all(generator: torch.Generator, n: int, classes: int) -> Tensor:
    """n labels in a random order, each class among them as often as the others or once more."""
    return (torch.arange(n) % classes)[torch.randperm(n, generator=generator)]


def gap(values: Tensor) -> float:
    """The least difference between any two of the values."""
    return values.flatten().sort().values.diff().min().item()


# --- 1. neighbours in an embedding ------------------------------------------------------------------------------------


def cases_nearest_words(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(v, d, k, dtype=SINGLE):
        """Rows of lengths 0.5 to 2 around a common direction, no two at nearly one angle from the word; other ways
        to compare them lead to other words."""
        word = whole(g, 1, v // 2)
        while True:
            lengths = torch.tensor([[between(g, 0.5, 2)] for _ in range(v)], dtype=DOUBLE)
            table = lengths * F.normalize(normal(g, v, d, dtype=DOUBLE) + 0.4, dim=1)
            right = words_by_loop(table, word, k)
            others = (words_dot_product, words_euclidean, words_absolute, words_columns_normalised, words_centred)
            found = [right, *(wrong(table, word, k) for wrong in others)]
            if gap(_cosines(table, word)[right]) > APART / v and len({tuple(f.tolist()) for f in found}) == len(found):
                return Case("ordinary", {"table": table.to(dtype), "word": scalar(word), "k": scalar(k)})

    def one_hot(v, d, k, dtype=SINGLE):
        """Each row is one of d one-hot vectors; some words before and after the one asked for have its very row."""
        place = torch.randint(0, d, (v,), generator=g)
        word = whole(g, v // 2, v - 2)
        place[[0, whole(g, 1, v // 2 - 1), word, v - 1]] = place[word].item()
        return Case("equals", {"table": F.one_hot(place, d).to(dtype), "word": scalar(word), "k": scalar(k)})

    if not hidden:
        return [
            case(7, 3, 3),
            case(8, 4, 7, DOUBLE),
            case(9, 2, 2),
            one_hot(20, 6, 12),
            Case("equals", {"table": torch.eye(6, dtype=DOUBLE), "word": scalar(2), "k": scalar(3)}),
        ]
    v = whole(g, 12, 20)
    return [
        case(v, 5, 4),
        case(v + 3, whole(g, 8, 12), v, DOUBLE),
        case(v + 1, 6, v),
        case(6, 3, 5),
        one_hot(v + 20, whole(g, 4, 5), v + 10),
        one_hot(v + 5, 7, v, DOUBLE),
    ]


def _cosines(table, word):
    unit = F.normalize(table, dim=1)
    similarity = unit @ unit[word]
    similarity[word] = -torch.inf
    return similarity


def _first(similarity, k):
    return similarity.argsort(descending=True, stable=True)[:k]


def words_topk(table, word, k):
    """topk promises nothing about the order of equals: sort, with stable=True, and keep the first k."""
    return _cosines(table, word).topk(k).indices


def words_equals_reversed(table, word, k):
    """Of equally near words the highest index comes first: sorting upwards and reading backwards turns equals round."""
    return _cosines(table, word).argsort(stable=True).flip(0)[:k]


def words_first_dropped(table, word, k):
    """The first of the sorted words is dropped, and that need not be the word itself: another may have its very row."""
    unit = F.normalize(table, dim=1)
    return _first(unit @ unit[word], k + 1)[1:]


def words_equal_rows_excluded(table, word, k):
    """Every word of cosine 1 is left out; only the word itself is no neighbour, a synonym with its very row is one."""
    similarity = _cosines(table, word)
    return _first(similarity.masked_fill(similarity > 1 - 1e-5, -torch.inf), k)


def words_in_place(table, word, k):
    """The table itself gets normalised: table /= ... writes into the caller's tensor, table = table / ... does not."""
    table /= table.norm(dim=1, keepdim=True)
    return _first(_cosines(table, word), k)


def words_dot_product(table, word, k):
    """This is the order of the dot products: long rows come first. Divide by the lengths of the rows."""
    similarity = table @ table[word]
    similarity[word] = -torch.inf
    return _first(similarity, k)


def words_euclidean(table, word, k):
    """This is the order of Euclidean distances between the rows as they are; the cosine does not look at lengths."""
    similarity = -(table - table[word]).norm(dim=1)
    similarity[word] = -torch.inf
    return _first(similarity, k)


def words_itself(table, word, k):
    """The word is its own nearest neighbour here: leave it out."""
    unit = F.normalize(table, dim=1)
    return _first(unit @ unit[word], k)


def words_itself_zero(table, word, k):
    """The word's own similarity is set to 0, which is more than many a cosine: set it to minus infinity."""
    similarity = _cosines(table, word)
    similarity[word] = 0
    return _first(similarity, k)


def words_shifted(table, word, k):
    """Taking the word's row out of the table moves the others up: indices behind it are one too small."""
    return _first(torch.cat([_cosines(table, word)[:word], _cosines(table, word)[word + 1 :]]), k)


def words_furthest(table, word, k):
    """These are the words with the smallest cosines; nearest are those with the largest."""
    similarity = _cosines(table, word)
    similarity[word] = torch.inf
    return similarity.argsort(stable=True)[:k]


def words_nearest_last(table, word, k):
    """The right words in the wrong order: the nearest comes first."""
    return _first(_cosines(table, word), k).flip(0)


def words_by_index(table, word, k):
    """The right words, but in the order of the table; asked for is the nearest first."""
    return _first(_cosines(table, word), k).sort().values


def words_similarities(table, word, k):
    """These are the cosines of the neighbours; asked for is which words they are, their indices."""
    return _cosines(table, word).sort(descending=True).values[:k]


def words_absolute(table, word, k):
    """The absolute value of the cosine is taken: a row that points the opposite way is as far as can be."""
    return _first(_cosines(table, word).abs().masked_fill(torch.arange(len(table)) == word, -torch.inf), k)


def words_columns_normalised(table, word, k):
    """Columns are normalised: a word is a row, so its length is a sum along dim=1."""
    unit = F.normalize(table, dim=0)
    similarity = unit @ unit[word]
    similarity[word] = -torch.inf
    return _first(similarity, k)


def words_centred(table, word, k):
    """The mean of the table is subtracted first: asked for is the cosine of the rows as they are."""
    return _first(_cosines(table - table.mean(0), word), k)


def words_one_too_few(table, word, k):
    """These are k - 1 words: the one asked for was left out of the first k, and nobody took its place."""
    return _first(_cosines(table, word), k)[:-1]


def words_mask(table, word, k):
    """These are zeros and ones, (V,), that say who is a neighbour; asked for are (k,) indices, nearest first."""
    return torch.zeros(len(table), dtype=torch.long).index_fill(0, _first(_cosines(table, word), k), 1)


def words_by_loop(table, word, k):
    rows = table.double()
    others = [v for v in range(len(rows)) if v != word]
    cosine = {v: (rows[v] @ rows[word] / rows[v].norm() / rows[word].norm()).item() for v in others}
    return torch.tensor(sorted(others, key=lambda v: (-round(cosine[v], 9), v))[:k])


def words_by_distance(table, word, k):
    """Unit vectors: ||u - v||^2 = 2 - 2 cos, so the order is the same."""
    unit = table / table.square().sum(1, keepdim=True).sqrt()
    distance = (unit - unit[word]).square().sum(1)
    distance[word] = torch.inf
    return distance.sort(stable=True).indices[:k]


def words_itself_taken_out(table, word, k):
    order = F.cosine_similarity(table, table[word][None]).argsort(descending=True, stable=True)
    return order[order != word][:k].int()


# --- 2. the majority of the neighbours --------------------------------------------------------------------------------


def cases_majority_vote(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, k, classes, dtype=SINGLE):
        """m test rows or some more, whose votes tie or do not, and of whose k + 1 nearest none are equally near; for
        each other way to vote there is a row for which it finds another class than the right one."""
        ways = TIED if kind == "ties" else UNTIED
        ways = ways[1:] if classes == 2 else ways
        while True:
            train, labels = (0.5 + normal(g, n, d, dtype=DOUBLE)).to(dtype), labels_of_all(g, n, classes)
            test = (0.5 + 0.8 * normal(g, 200, d, dtype=DOUBLE)).to(dtype)
            distance, nearest = (test[:, None] - train).norm(dim=2).sort(1)
            apart = distance[:, : k + 1].diff(dim=1).amin(1) > APART / n
            votes = _votes(labels[nearest[:, :k]], classes)
            tied = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
            test = test[apart & (tied if kind == "ties" else ~tied)]
            right = _elected(_voters(train, labels, test, k)[1])
            wrong = torch.stack([way(train, labels, test, k) for way in ways]) != right  # (ways, rows)
            if wrong.any(1).all() and len(test) >= m:
                break
        telling = wrong.sum(0).masked_fill(~wrong, len(ways) + 1).argmin(1)  # each way's row that most others get right
        kept = torch.cat([telling, torch.arange(m)]).unique()
        return Case(kind, {"train": train, "labels": labels, "test": test[kept], "k": scalar(k)})

    if not hidden:
        return [
            case("ordinary", 12, 4, 2, 3, 2),
            case("ordinary", 14, 2, 3, 5, 3, DOUBLE),
            case("ties", 12, 4, 2, 4, 2),
            case("ties", 15, 2, 3, 5, 3, DOUBLE),
        ]
    n = whole(g, 20, 30)
    return [
        case("ordinary", n, n // 2, whole(g, 4, 6), 5, 3),
        case("ordinary", n + 2, 8, 2, 7, whole(g, 4, 5), DOUBLE),
        case("ordinary", n + 1, 10, 3, 11, 2),
        case("ties", n, 9, 3, 4, 2),
        case("ties", n + 1, 10, 2, 5, 3),
        case("ties", n + 3, 8, 4, 7, 4, DOUBLE),
    ]


def _voters(train, labels, test, k):
    """Distances and classes of the k nearest, (M, k) each, nearest first."""
    distance, nearest = torch.cdist(test, train).sort(1)
    return distance[:, :k], labels[nearest[:, :k]]


def _votes(voters, classes):
    return F.one_hot(voters, classes).sum(1)


def _elected(voters):
    """The class of each row of voters, nearest first."""
    same = (voters[:, :, None] == voters[:, None]).sum(2)
    return voters.gather(1, same.argmax(1, keepdim=True))[:, 0]


def vote_tie_smallest(train, labels, test, k):
    """Of classes that tie the smallest number is taken, as mode and an argmax over classes do: look who is nearest."""
    return _votes(_voters(train, labels, test, k)[1], int(labels.max()) + 1).argmax(1)


def vote_tie_largest(train, labels, test, k):
    """Of classes that tie the largest number is taken: look whose nearest voter is nearest instead."""
    classes = int(labels.max()) + 1
    return classes - 1 - _votes(_voters(train, labels, test, k)[1], classes).flip(1).argmax(1)


def vote_tie_furthest(train, labels, test, k):
    """Of classes that tie the one with the furthest voter is taken: it is the nearest voter that decides."""
    return _elected(_voters(train, labels, test, k)[1].flip(1))


def vote_tie_nearest_of_all(train, labels, test, k):
    """Where votes tie, the nearest neighbour's class is taken, even if that class is not among those that tie."""
    voters = _voters(train, labels, test, k)[1]
    votes = _votes(voters, int(labels.max()) + 1)
    tied = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
    return torch.where(tied, voters[:, 0], votes.argmax(1))


def vote_tie_mean_distance(train, labels, test, k):
    """Of classes that tie the one whose voters are nearest on average is taken: only its nearest voter counts."""
    distance, voters = _voters(train, labels, test, k)
    one = F.one_hot(voters, int(labels.max()) + 1).to(distance.dtype)
    votes, total = one.sum(1), (one * distance[:, :, None]).sum(1)
    return (votes - total / (1 + total.max())).argmax(1)


def vote_tie_fewer(train, labels, test, k):
    """Where votes tie, the furthest voters are sent away until one class wins: here all k stay, the nearest decides."""
    voters, found = _voters(train, labels, test, k)[1], []
    for row in voters:
        while True:
            votes = torch.bincount(row)
            if (votes == votes.max()).sum() == 1:
                break
            row = row[:-1]
        found.append(votes.argmax())
    return torch.stack(found)


def vote_in_place(train, labels, test, k):
    """The arguments are modified: work on new tensors, test = test - ... and not test -= ...; all distances stay."""
    middle = train.mean(0)
    train -= middle
    test -= middle
    return _elected(_voters(train, labels, test, k)[1])


def vote_cosine(train, labels, test, k):
    """These are the neighbours by cosine; asked for are those by Euclidean distance."""
    nearest = (F.normalize(test, dim=1) @ F.normalize(train, dim=1).T).argsort(1, descending=True)[:, :k]
    return _elected(labels[nearest])


def vote_dot_product(train, labels, test, k):
    """These are the rows with the largest dot products; asked for are those with the smallest Euclidean distances."""
    return _elected(labels[(test @ train.T).argsort(1, descending=True)[:, :k]])


def vote_manhattan(train, labels, test, k):
    """The distance is a sum of absolute differences; the Euclidean one is the root of the sum of their squares."""
    return _elected(labels[torch.cdist(test, train, p=1).argsort(1)[:, :k]])


def vote_furthest(train, labels, test, k):
    """The furthest rows vote: distances are small where things are alike, so sort them upwards."""
    return _elected(labels[torch.cdist(test, train).argsort(1, descending=True)[:, :k]])


def vote_normalised(train, labels, test, k):
    """Every column is divided by its standard deviation first; take the distance of the features as they are."""
    return _elected(_voters(train / train.std(0), labels, test / train.std(0), k)[1])


def vote_all(train, labels, test, k):
    """All training rows vote; only the k nearest do."""
    return _elected(_voters(train, labels, test, len(train))[1])


def vote_nearest_only(train, labels, test, k):
    """This is the class of the nearest row alone: k of them vote."""
    return _voters(train, labels, test, 1)[1][:, 0]


def vote_one_too_many(train, labels, test, k):
    """k + 1 rows vote: no test row is among the training rows, so there is no first one to make up for."""
    return _elected(_voters(train, labels, test, k + 1)[1])


def vote_nearest_skipped(train, labels, test, k):
    """The nearest row is skipped; it is no copy of the test row, so it votes."""
    return _elected(_voters(train, labels, test, k + 1)[1][:, 1:])


def vote_weighted(train, labels, test, k):
    """Votes are weighted by how near the voter is; here each of the k has one vote."""
    distance, voters = _voters(train, labels, test, k)
    return (F.one_hot(voters).to(distance.dtype) / (distance[:, :, None] + 1e-8)).sum(1).argmax(1)


def vote_first_labels(train, labels, test, k):
    """The labels are those of the first k training rows; those of the neighbours are labels[nearest]."""
    return _elected(labels[:k].expand(len(test), k))


def vote_place_not_class(train, labels, test, k):
    """These are rows of the training set; asked for are their classes, labels[...]."""
    nearest = torch.cdist(test, train).argsort(1)[:, :k]
    voters = labels[nearest]
    return nearest.gather(1, (voters[:, :, None] == voters[:, None]).sum(2).argmax(1, keepdim=True))[:, 0]


def vote_counts(train, labels, test, k):
    """These are the numbers of votes; asked for is who got them: an argmax, not a maximum."""
    return _votes(_voters(train, labels, test, k)[1], int(labels.max()) + 1).amax(1)


def vote_all_classes(train, labels, test, k):
    """These are the votes of all classes, (M, C); asked for is the class that wins, (M,)."""
    return _votes(_voters(train, labels, test, k)[1], int(labels.max()) + 1)


def vote_mean_label(train, labels, test, k):
    """The labels of the neighbours are averaged. Classes are names, not quantities: count votes."""
    return _voters(train, labels, test, k)[1].double().mean(1).round().long()


def vote_transposed(train, labels, test, k):
    """Each training row asks for its nearest test rows; it is the other way round: distances are (M, N)."""
    return _elected(labels[torch.cdist(train, test).argsort(1)[:, :k]])


UNTIED = (  # the first is right where there are two classes
    vote_mean_label,
    vote_cosine,
    vote_dot_product,
    vote_manhattan,
    vote_furthest,
    vote_normalised,
    vote_all,
    vote_nearest_only,
    vote_one_too_many,
    vote_nearest_skipped,
    vote_weighted,
)
TIED = (  # the first is right where there are two classes
    vote_tie_nearest_of_all,
    vote_tie_fewer,
    vote_tie_smallest,
    vote_tie_largest,
    vote_tie_furthest,
    vote_tie_mean_distance,
)


def vote_by_loops(train, labels, test, k):
    found = []
    for row in test.double():
        nearest = sorted(range(len(train)), key=lambda j: math.dist(row.tolist(), train[j].tolist()))[:k]
        voters = [int(labels[j]) for j in nearest]
        found.append(max(voters, key=voters.count))  # max: the first of several
    return torch.tensor(found)


def vote_small_bonus(train, labels, test, k):
    """A vote counts 1 and a bonus, for which the nearer is worth more than all behind it, and all less than a vote."""
    voters = labels[(test[:, None] - train[None]).square().sum(2).topk(k, largest=False).indices]
    worth = torch.zeros(len(test), int(labels.max()) + 1, dtype=torch.float64)
    for j in range(k):
        worth.scatter_add_(1, voters[:, j : j + 1], torch.full((len(test), 1), 1 + 2.0 ** -(j + 2)).double())
    return worth.argmax(1)


# --- 3. one step of a linear probe ------------------------------------------------------------------------------------


def cases_probe_step(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, c, dtype=SINGLE, levels=False):
        x, weight, bias = 0.5 + normal(g, n, d, dtype=DOUBLE), normal(g, d, c, dtype=DOUBLE), normal(g, c, dtype=DOUBLE)
        labels = labels_of_all(g, n, c - 1 if kind == "absent class" else c)
        if kind == "extreme":  # logits near 2000; or near 2000 in one row and near -2000 in the next
            x[:, 0], weight[0] = 1, 2000 + weight[0]
            if levels:
                x[1::2, 0] = -1
        arrays = {"x": x.to(dtype), "labels": labels, "weight": weight.to(dtype), "bias": bias.to(dtype)}
        decay = between(g, 1e-4, 2e-4) if kind == "extreme" else between(g, 0.1, 0.4)
        return Case(kind, arrays | {"rate": scalar(between(g, 0.4, 0.8)), "decay": scalar(decay)})

    if not hidden:
        return [
            case("ordinary", 4, 3, 2),
            case("ordinary", 5, 2, 3, DOUBLE),
            case("absent class", 4, 2, 3),
            case("extreme", 4, 3, 3),
            case("extreme", 4, 2, 3, DOUBLE, levels=True),
        ]
    n = whole(g, 8, 16)
    return [
        case("ordinary", n, 5, 4),
        case("ordinary", 1, whole(g, 4, 7), 3, DOUBLE),
        case("ordinary", n + 3, n + 5, 6, DOUBLE),
        case("ordinary", n + 1, 1, 3),
        case("absent class", n, 4, 5),
        case("absent class", n, 3, 2, DOUBLE),
        case("extreme", n, 5, 4),
        case("extreme", n + 1, 3, 5, levels=True),
        case("extreme", n + 2, 4, 3, DOUBLE, levels=True),
    ]


def _error(x, labels, weight, bias):
    return (x @ weight + bias).softmax(1) - F.one_hot(labels, len(bias))


def _probe(x, labels, weight, bias, rate, decay, error=None):
    error = _error(x, labels, weight, bias) if error is None else error
    return weight - rate * (x.T @ error / len(x) + decay * weight), bias - rate * error.mean(0)


def probe_overflow(x, labels, weight, bias, rate, decay):
    """Right for small logits, but exp(1000) overflows, and inf / inf is NaN: use softmax, or subtract the maximum."""
    e = (x @ weight + bias).exp()
    return _probe(x, labels, weight, bias, rate, decay, e / e.sum(1, keepdim=True) - F.one_hot(labels, len(bias)))


def probe_global_maximum(x, labels, weight, bias, rate, decay):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow to 0 / 0, NaN."""
    logits = x @ weight + bias
    e = (logits - logits.max()).exp()
    return _probe(x, labels, weight, bias, rate, decay, e / e.sum(1, keepdim=True) - F.one_hot(labels, len(bias)))


def probe_classes_from_labels(x, labels, weight, bias, rate, decay):
    """one_hot(labels) has columns up to the largest label only: say how many classes there are, one_hot(labels, C)."""
    return _probe(x, labels, weight, bias, rate, decay, (x @ weight + bias).softmax(1) - F.one_hot(labels))


def probe_in_place(x, labels, weight, bias, rate, decay):
    """The step is written into the caller's weight and bias: weight -= ... does that, weight - ... does not."""
    new_weight, new_bias = _probe(x, labels, weight, bias, rate, decay)
    return weight.copy_(new_weight), bias.copy_(new_bias)


def probe_bias_decayed(x, labels, weight, bias, rate, decay):
    """The bias is decayed as well: the weight decay is the weight's alone."""
    new_weight, new_bias = _probe(x, labels, weight, bias, rate, decay)
    return new_weight, new_bias - rate * decay * bias


def probe_bias_forgotten(x, labels, weight, bias, rate, decay):
    """The weight is right; the bias takes no step. It has a gradient, too: the mean of the rows of P - Y."""
    return _probe(x, labels, weight, bias, rate, decay)[0], bias.clone()


def probe_bias_sum(x, labels, weight, bias, rate, decay):
    """The weight is right; the bias moves N times too far: its gradient is the mean over the rows, not the sum."""
    error = _error(x, labels, weight, bias)
    return _probe(x, labels, weight, bias, rate, decay)[0], bias - rate * error.sum(0)


def probe_bias_one_number(x, labels, weight, bias, rate, decay):
    """The bias moves by one number for all classes: its gradient is a mean over the rows alone, dim=0."""
    error = _error(x, labels, weight, bias)
    return _probe(x, labels, weight, bias, rate, decay)[0], bias - rate * error.square().mean()


def probe_one_after_the_other(x, labels, weight, bias, rate, decay):
    """The bias's gradient is taken after the weight has moved; both are taken at the old weight and bias."""
    new_weight = _probe(x, labels, weight, bias, rate, decay)[0]
    return new_weight, bias - rate * _error(x, labels, new_weight, bias).mean(0)


def probe_no_decay(x, labels, weight, bias, rate, decay):
    """The weight decay is left out."""
    return _probe(x, labels, weight, bias, rate, 0)


def probe_decay_without_rate(x, labels, weight, bias, rate, decay):
    """The decay is not multiplied by the learning rate: it is part of the gradient, inside the brackets."""
    return _probe(x, labels, weight, bias, rate, decay / rate)


def probe_decay_twice(x, labels, weight, bias, rate, decay):
    """The decay is twice too strong: the gradient of decay / 2 ||W||^2 is decay W."""
    return _probe(x, labels, weight, bias, rate, 2 * decay)


def probe_decay_over_n(x, labels, weight, bias, rate, decay):
    """The decay is divided by N along with the rest: only X^T (P - Y) is a sum over rows."""
    return _probe(x, labels, weight, bias, rate, decay / len(x))


def probe_decay_grows(x, labels, weight, bias, rate, decay):
    """The decay has the wrong sign: it lets the weight grow."""
    return _probe(x, labels, weight, bias, rate, -decay)


def probe_sum(x, labels, weight, bias, rate, decay):
    """The gradient is the sum over the rows; divide by N."""
    error = _error(x, labels, weight, bias)
    return weight - rate * (x.T @ error + decay * weight), bias - rate * error.sum(0)


def probe_mean_over_classes(x, labels, weight, bias, rate, decay):
    """The gradient is divided by the number of classes as well: the mean is over the N rows."""
    return _probe(x, labels, weight, bias, rate, decay, _error(x, labels, weight, bias) / len(bias))


def probe_uphill(x, labels, weight, bias, rate, decay):
    """This step goes uphill: the error is P - Y, and the step is minus the gradient."""
    return _probe(x, labels, weight, bias, rate, decay, -_error(x, labels, weight, bias))


def probe_all_uphill(x, labels, weight, bias, rate, decay):
    """This step goes uphill, decay included: subtract the gradient."""
    return _probe(x, labels, weight, bias, -rate, decay)


def probe_without_labels(x, labels, weight, bias, rate, decay):
    """The labels are missing: the error is P - Y, not P."""
    return _probe(x, labels, weight, bias, rate, decay, (x @ weight + bias).softmax(1))


def probe_sigmoid(x, labels, weight, bias, rate, decay):
    """Probabilities come from a sigmoid of each logit; classes exclude each other, so take a softmax over them."""
    return _probe(x, labels, weight, bias, rate, decay, (x @ weight + bias).sigmoid() - F.one_hot(labels, len(bias)))


def probe_softmax_over_rows(x, labels, weight, bias, rate, decay):
    """The softmax runs over the rows of the batch: it is over the classes, dim=1."""
    return _probe(x, labels, weight, bias, rate, decay, (x @ weight + bias).softmax(0) - F.one_hot(labels, len(bias)))


def probe_squared_error(x, labels, weight, bias, rate, decay):
    """The softmax is missing: this is the gradient of the squared error of the logits."""
    return _probe(x, labels, weight, bias, rate, decay, x @ weight + bias - F.one_hot(labels, len(bias)))


def probe_log_softmax(x, labels, weight, bias, rate, decay):
    """Log-probabilities stand where probabilities belong: softmax, not log_softmax."""
    share = (x @ weight + bias).log_softmax(1)
    return _probe(x, labels, weight, bias, rate, decay, share - F.one_hot(labels, len(bias)))


def probe_logits_without_bias(x, labels, weight, bias, rate, decay):
    """The bias is missing in the logits: P is the softmax of X W + b."""
    return _probe(x, labels, weight, bias, rate, decay, _error(x, labels, weight, torch.zeros_like(bias)))


def probe_no_rate(x, labels, weight, bias, rate, decay):
    """The learning rate is left out."""
    return _probe(x, labels, weight, bias, 1, decay)


def probe_gradients(x, labels, weight, bias, rate, decay):
    """These are the gradients; asked for are weight and bias after the step."""
    error = _error(x, labels, weight, bias)
    return x.T @ error / len(x) + decay * weight, error.mean(0)


def probe_swapped(x, labels, weight, bias, rate, decay):
    """The right two tensors in the wrong order: the weight comes first."""
    return _probe(x, labels, weight, bias, rate, decay)[::-1]


def probe_transposed(x, labels, weight, bias, rate, decay):
    """The new weight comes out transposed: it is (D, C), X^T (P - Y)."""
    new_weight, new_bias = _probe(x, labels, weight, bias, rate, decay)
    return new_weight.T, new_bias


def probe_nothing_returned(x, labels, weight, bias, rate, decay):
    """Nothing is returned: the new weight and bias are."""


def probe_by_autograd(x, labels, weight, bias, rate, decay):
    with torch.enable_grad():
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        loss = F.cross_entropy(x @ weight + bias, labels) + decay / 2 * weight.square().sum()
        slopes = torch.autograd.grad(loss, (weight, bias))
    return [(old - rate * slope).detach() for old, slope in zip((weight, bias), slopes)]


def probe_by_loops(x, labels, weight, bias, rate, decay):
    new_weight, new_bias = (1 - rate * decay) * weight.double(), bias.double()
    for row, label in zip(x.double(), labels):
        logits = row @ weight.double() + bias.double()
        p = (logits - logits.max()).exp()
        p = p / p.sum()
        p[label] -= 1
        new_weight = new_weight - rate / len(x) * torch.outer(row, p)
        new_bias = new_bias - rate / len(x) * p
    return new_weight.to(weight.dtype), new_bias.to(bias.dtype)


def probe_as_one_matrix(x, labels, weight, bias, rate, decay):
    """The bias is the weight of a feature that is always 1."""
    x, both = torch.cat([x, x.new_ones(len(x), 1)], 1), torch.cat([weight, bias[None]])
    share = (x @ both).log_softmax(1).exp()
    wanted = (labels[:, None] == torch.arange(len(bias))).to(x.dtype)
    kept = torch.cat([torch.full_like(weight, 1 - rate * decay), torch.ones_like(bias)[None]])
    both = kept * both + rate * torch.einsum("nd,nc->dc", x, wanted - share) / len(x)
    return both[:-1], both[-1]


# --- 4. one step of k-means -------------------------------------------------------------------------------------------


def cases_kmeans_step(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, k, dtype=SINGLE, empty=()):
        """Vectors around 1, means among them, no vector nearly as near to a second mean; `empty`: means far away.
        A step changes the nearest mean of some vector."""
        while True:
            x, means = 1 + normal(g, n, d, dtype=DOUBLE), 1 + 0.8 * normal(g, k, d, dtype=DOUBLE)
            means[list(empty)] += 50
            apart = (x[:, None] - means).norm(dim=2).sort(1).values.diff(dim=1)[:, :1].min() if k > 1 else 1
            codes = _codes(x, means)
            chosen = torch.bincount(codes, minlength=k)
            after = _codes(x, torch.stack([x[codes == j].mean(0) if chosen[j] else means[j] for j in range(k)]))
            moves = k - len(empty) == 1 or not torch.equal(codes, after)
            if apart > APART / n and int((chosen == 0).sum()) == len(empty) and moves:
                break
        return Case(kind, {"x": x.to(dtype), "means": means.to(dtype)})

    if not hidden:
        return [
            case("ordinary", 8, 2, 3),
            case("ordinary", 9, 3, 2, DOUBLE),
            case("empty mean", 6, 2, 3, empty=[1]),
            case("empty mean", 7, 3, 4, DOUBLE, empty=[0, 3]),
        ]
    n = whole(g, 15, 25)
    return [
        case("ordinary", n, 4, 5),
        case("ordinary", n + 2, whole(g, 5, 8), 3, DOUBLE),
        case("ordinary", n + 30, 2, 4),
        case("ordinary", 4, 3, 1),
        case("empty mean", n, 3, 5, empty=[whole(g, 1, 3)]),
        case("empty mean", n + 1, 2, 6, DOUBLE, empty=[0, 2, 5]),
    ]


def _codes(x, means):
    return (x[:, None] - means).square().sum(2).argmin(1)


def _sums(x, codes, k):
    """Sum and number of the members of each of k means, (K, D) and (K, 1)."""
    member = F.one_hot(codes, k).to(x.dtype)
    return member.T @ x, member.sum(0)[:, None]


def _moved(x, codes, means):
    total, count = _sums(x, codes, len(means))
    return torch.where(count > 0, total / count.clamp(min=1), means)


def kmeans_empty_nan(x, means):
    """A mean without members becomes NaN, 0 / 0: it stays where it was."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))
    return codes, total / count


def kmeans_empty_zero(x, means):
    """A mean without members goes to the origin, 0 divided by a small number: it stays where it was."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))
    return codes, total / count.clamp(min=1)


def kmeans_empty_dropped(x, means):
    """A mean without members is dropped, and those behind it move up: there are K means before and after."""
    codes = _codes(x, means)
    return codes, torch.stack([x[codes == j].mean(0) for j in codes.unique()])


def kmeans_empty_anew(x, means):
    """A mean without members is put where the worst fitting vector is: a good trick, but here it stays where it was."""
    codes = _codes(x, means)
    worst = x[(x - means[codes]).square().sum(1).argmax()]
    return codes, torch.where(_sums(x, codes, len(means))[1] > 0, _moved(x, codes, means), worst)


def kmeans_empty_middle(x, means):
    """A mean without members goes to the mean of all vectors: it stays where it was."""
    codes = _codes(x, means)
    return codes, torch.where(_sums(x, codes, len(means))[1] > 0, _moved(x, codes, means), x.mean(0))


def kmeans_counts_too_short(x, means):
    """bincount(codes) ends at the largest code there is: with minlength=K it has a count for every mean."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))[0], torch.bincount(codes)[:, None]
    return codes, torch.where(count > 0, total / count.clamp(min=1), means)


def kmeans_in_place(x, means):
    """The new means are written into the caller's tensor: new = means.clone() first, and write into that."""
    codes = _codes(x, means)
    return codes, means.copy_(_moved(x, codes, means))


def kmeans_sums(x, means):
    """These are the sums of the members: divide by how many there are."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))
    return codes, torch.where(count > 0, total, means)


def kmeans_over_all(x, means):
    """The sums are divided by N; a mean is divided by the number of its own members."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))
    return codes, torch.where(count > 0, total / len(x), means)


def kmeans_old_counts(x, means):
    """The old mean is counted as one more member: the new mean is that of the members alone."""
    codes = _codes(x, means)
    total, count = _sums(x, codes, len(means))
    return codes, (total + means) / (count + 1)


def kmeans_half_way(x, means):
    """The means go half of the way only: each becomes the mean of its members."""
    codes = _codes(x, means)
    return codes, (means + _moved(x, codes, means)) / 2


def kmeans_median(x, means):
    """These are medians of the members; k-means takes their mean."""
    codes = _codes(x, means)
    members = [x[codes == j] for j in range(len(means))]
    return codes, torch.stack([m.quantile(0.5, dim=0) if len(m) else means[j] for j, m in enumerate(members)])


def kmeans_one_member(x, means):
    """Each mean becomes one of its members: means[codes] = x writes the last one, it adds nothing up."""
    codes, new = _codes(x, means), means.clone()
    for row, j in zip(x, codes):
        new[j] = row
    return codes, new


def kmeans_not_moved(x, means):
    """The means are returned as they were: they move to the mean of their members."""
    return _codes(x, means), means.clone()


def kmeans_one_mean(x, means):
    """All members' coordinates are averaged into one number a mean: the mean is over the rows, dim=0."""
    codes, new = _codes(x, means), means.clone()
    for j in codes.unique():
        new[j] = x[codes == j].mean()
    return codes, new


def kmeans_codes_anew(x, means):
    """The codes are those of the moved means; asked for are those that the means were moved with."""
    moved = _moved(x, _codes(x, means), means)
    return _codes(x, moved), moved


def kmeans_furthest(x, means):
    """The codes name the furthest mean: an argmin, not an argmax, of distances."""
    codes = (x[:, None] - means).square().sum(2).argmax(1)
    return codes, _moved(x, codes, means)


def kmeans_cosine(x, means):
    """The codes name the mean with the largest cosine; k-means goes by the Euclidean distance."""
    codes = (F.normalize(x, dim=1) @ F.normalize(means, dim=1).T).argmax(1)
    return codes, _moved(x, codes, means)


def kmeans_dot_product(x, means):
    """The codes name the mean with the largest dot product; k-means goes by the Euclidean distance."""
    codes = (x @ means.T).argmax(1)
    return codes, _moved(x, codes, means)


def kmeans_manhattan(x, means):
    """The distance is a sum of absolute differences; the Euclidean one squares them."""
    codes = torch.cdist(x, means, p=1).argmin(1)
    return codes, _moved(x, codes, means)


def kmeans_from_one(x, means):
    """The codes are counted from 1: here from 0."""
    codes = _codes(x, means)
    return codes + 1, _moved(x, codes, means)


def kmeans_one_hot_codes(x, means):
    """The codes come as one-hot rows, (N, K); asked for are whole numbers, (N,)."""
    codes = _codes(x, means)
    return F.one_hot(codes, len(means)), _moved(x, codes, means)


def kmeans_other_dimension(x, means):
    """This finds the nearest vector of each mean, (K,); asked for is the nearest mean of each vector: another dim."""
    nearest = torch.cdist(x, means).argmin(0)
    return nearest, x[nearest]


def kmeans_swapped(x, means):
    """The right two tensors in the wrong order: the codes come first."""
    codes = _codes(x, means)
    return _moved(x, codes, means), codes


def kmeans_means_only(x, means):
    """Only the means are returned: the codes come before them."""
    return _moved(x, _codes(x, means), means)


def kmeans_by_loops(x, means):
    new, codes = means.clone(), torch.tensor([(means - row).norm(dim=1).argmin() for row in x])
    for j in range(len(means)):
        if (codes == j).any():
            new[j] = x[codes == j].mean(0)
    return codes, new


def kmeans_by_index_add(x, means):
    distance = x.square().sum(1, keepdim=True) - 2 * x @ means.T + means.square().sum(1)
    codes = distance.min(1).indices
    total, count = torch.zeros_like(means).index_add_(0, codes, x), torch.bincount(codes, minlength=len(means))
    return codes, torch.where((count == 0)[:, None], means, total / count[:, None])


def kmeans_in_double(x, means):
    codes = torch.cdist(x.double(), means.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1).int()
    found = [x[codes == j].double() for j in range(len(means))]
    return codes, torch.stack([m.mean(0) if len(m) else means[j].double() for j, m in enumerate(found)])


# --- 5. what a representation notices ---------------------------------------------------------------------------------


def cases_relative_change(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, noise, dtype=SINGLE):
        """Features of other spread in every column, around 1 or, where that is asked for, around 1000."""
        h = normal(g, n, d, dtype=DOUBLE) * torch.linspace(0.5, 2, d, dtype=DOUBLE)
        h = h + (1000 if kind == "large mean" else 1)
        changed = h + noise * (0.3 + normal(g, n, d, dtype=DOUBLE))
        return Case(kind, {"h": h.to(dtype), "changed": changed.to(dtype)})

    if not hidden:
        return [
            case("ordinary", 3, 2, 0.5),
            case("ordinary", 4, 3, 1.0, DOUBLE),
            case("ordinary", 3, 4, 0.0),
            case("large mean", 4, 3, 0.6),
        ]
    n = whole(g, 6, 10)
    return [
        case("ordinary", n, 5, between(g, 0.3, 0.6)),
        case("ordinary", 2, whole(g, 4, 7), between(g, 0.5, 0.8), DOUBLE),
        case("ordinary", n + 12, 3, between(g, 0.8, 1.5)),
        case("ordinary", n, 1, between(g, 0.3, 0.6), DOUBLE),
        case("large mean", n, 4, between(g, 0.5, 0.8)),
        case("large mean", n + 3, 6, between(g, 0.3, 0.6)),
    ]


def _moves(h, changed):
    return (h - changed).square().sum(1)


def _pairs(h):
    """(N, N) squared distances."""
    return (h[:, None] - h).square().sum(2)


def _apart(h):
    return _pairs(h).sum() / (len(h) * (len(h) - 1))


def change_cancels(h, changed):
    """Right on paper, but mean(h^2) - mean(h)^2 is a small difference of large numbers: subtract the mean first."""
    n = len(h)
    spread = (h.square().mean(0) - h.mean(0).square()).sum()
    return _moves(h, changed).mean() / (2 * n / (n - 1) * spread)


def change_cancels_in_pairs(h, changed):
    """Right on paper, but ||a||^2 + ||b||^2 - 2 a.b cancels where the mean is large: take differences, then squares."""
    length, n = h.square().sum(1), len(h)
    pairs = length[:, None] + length - 2 * h @ h.T
    return _moves(h, changed).mean() / (pairs.sum() / (n * (n - 1)))


def change_in_place(h, changed):
    """The arguments are modified: h - h.mean(0) makes a new tensor, h -= h.mean(0) writes into the caller's."""
    middle = h.mean(0)
    h -= middle
    changed -= middle
    return _moves(h, changed).mean() / _apart(h)


def change_with_itself(h, changed):
    """The pairs of a row with itself are counted in the mean: there are N (N - 1) pairs of different rows."""
    return _moves(h, changed).mean() / _pairs(h).mean()


def change_factor_two(h, changed):
    """Twice too large: the mean over pairs is twice the summed variance; or each pair was counted once, not twice."""
    return _moves(h, changed).mean() / h.var(0).sum()


def change_biased_factor_two(h, changed):
    """This divides by the variance with N, summed over the columns; the mean over pairs is 2 N / (N - 1) times that."""
    return _moves(h, changed).mean() / h.var(0, correction=0).sum()


def change_sum_of_moves(h, changed):
    """The numerator is a sum over the pictures; it is their mean."""
    return _moves(h, changed).sum() / _apart(h)


def change_mean_of_columns(h, changed):
    """The numerator is averaged over the D columns as well: a squared distance is a sum over them."""
    return (h - changed).square().mean() / _apart(h)


def change_not_squared(h, changed):
    """These are distances; asked for are squared distances, above and below."""
    n = len(h)
    return _moves(h, changed).sqrt().mean() / (_pairs(h).sqrt().sum() / (n * (n - 1)))


def change_root(h, changed):
    """The root is taken of the ratio: it stays squared."""
    return (_moves(h, changed).mean() / _apart(h)).sqrt()


def change_numerator_not_squared(h, changed):
    """The numerator is not squared, the denominator is."""
    return _moves(h, changed).sqrt().mean() / _apart(h)


def change_absolute(h, changed):
    """Absolute differences are summed; the Euclidean distance squares them."""
    n = len(h)
    return (h - changed).abs().sum(1).mean() / ((h[:, None] - h).abs().sum() / (n * (n - 1)))


def change_by_length(h, changed):
    """This divides by the squared length of the features: that depends on where their mean is. Divide by how far apart
    they are."""
    return _moves(h, changed).mean() / h.square().sum(1).mean()


def change_upside_down(h, changed):
    """The fraction is upside down: the change of the pictures stands above."""
    return _apart(h) / _moves(h, changed).mean()


def change_invariance(h, changed):
    """This is 1 minus the relative change: asked for is 0 for a representation that does not notice."""
    return 1 - _moves(h, changed).mean() / _apart(h)


def change_each(h, changed):
    """This is one number for each picture; asked for is their mean."""
    return _moves(h, changed) / _apart(h)


def change_by_row(h, changed):
    """Each picture's move is divided by its own distance from the others, then averaged: divide the two means."""
    return (_moves(h, changed) / (_pairs(h).sum(1) / (len(h) - 1))).mean()


def change_by_column(h, changed):
    """Each column is divided by its own variance, then averaged: sum over the columns above and below first."""
    return ((h - changed).square().mean(0) / (2 * h.var(0))).mean()


def change_spread_of_changed(h, changed):
    """How far apart pictures are is taken from the changed ones: it is that of the unchanged, h."""
    return _moves(h, changed).mean() / _apart(changed)


def change_crosswise(h, changed):
    """The denominator compares h_i with changed h_j: both are unchanged there."""
    pairs = (h[:, None] - changed).square().sum(2)
    return _moves(h, changed).mean() / ((pairs.sum() - pairs.diagonal().sum()) / (len(h) * (len(h) - 1)))


def change_normalised(h, changed):
    """The rows are taken to unit length first: asked for are the features as they are."""
    return change_by_pdist(F.normalize(h, dim=1), F.normalize(changed, dim=1))


def change_of_means(h, changed):
    """This is how far the mean moves: take each picture's squared distance first, then the mean."""
    return (h.mean(0) - changed.mean(0)).square().sum() / _apart(h)


def change_by_pdist(h, changed):
    return (h - changed).square().sum(1).mean() / torch.nn.functional.pdist(h).square().mean()


def change_by_loops(h, changed):
    n, rows = len(h), h.double()
    total = sum((rows[i] - rows[j]).square().sum() for i in range(n) for j in range(n) if i != j)
    return (rows - changed.double()).square().sum() * (n - 1) / total


def change_by_covariance(h, changed):
    return (h - changed).norm(dim=1).pow(2).mean() / (2 * torch.trace(torch.cov(h.T).reshape(h.shape[1], -1)))


# --- 6. how many directions it uses -----------------------------------------------------------------------------------


def cases_effective_rank(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE, zeros=()):
        """Columns of falling size around a mean; `zeros`: columns of zeros, whose singular values are exactly 0."""
        features = (0.3 + normal(g, n, d, dtype=DOUBLE)) * torch.logspace(0, -0.6, d, dtype=DOUBLE)
        features[:, list(zeros)] = 0
        return Case(kind, {"features": features.to(dtype)})

    if not hidden:
        return [
            case("ordinary", 5, 3),
            case("ordinary", 4, 6, DOUBLE),
            case("ordinary", 6, 2),
            case("zeros", 5, 4, zeros=[1, 3]),
            Case("zeros", {"features": F.one_hot(torch.tensor([0, 0, 2, 3, 3, 3]), 5).double()}),
        ]
    n = whole(g, 8, 14)
    return [
        case("ordinary", n + 2, whole(g, 4, 7)),
        case("ordinary", n, n + 5, DOUBLE),
        case("ordinary", 2 * n, 8),
        case("ordinary", n, n, DOUBLE),
        case("zeros", n, 6, zeros=[0, 4]),
        case("zeros", n + 1, 5, DOUBLE, zeros=[whole(g, 0, 4)]),
        Case("zeros", {"features": F.one_hot(labels_of_all(g, n + 3, 4), 7).to(SINGLE)}),
    ]


def _shares(features):
    values = torch.linalg.svdvals(features)
    return values / values.sum()


def _entropy(share):
    return torch.special.entr(share).sum()


def rank_nan(features):
    """A singular value of 0 makes this NaN, 0 * log 0: it contributes nothing. torch.special.entr knows that."""
    share = _shares(features)
    return (-share * share.log()).sum().exp()


def rank_zero_as_one(features):
    """A small number inside the log alone is fine, but here shares are kept above 0.01: small values count too much."""
    share = _shares(features).clamp(min=0.01)
    return (-share * share.log()).sum().exp()


def rank_in_place(features):
    """The argument is modified: features / ... makes a new tensor, features /= ... writes into the caller's."""
    features /= 2 * features.norm()
    return _entropy(_shares(features)).exp()


def rank_centred(features):
    """The mean is subtracted first: here the features are taken as they are."""
    return _entropy(_shares(features - features.mean(0))).exp()


def rank_squares(features):
    """The shares are those of the squares, the eigenvalues of the Gram matrix: take those of the singular values."""
    values = torch.linalg.svdvals(features).square()
    return _entropy(values / values.sum()).exp()


def rank_entropy(features):
    """This is the entropy: the effective rank is its exponential."""
    return _entropy(_shares(features))


def rank_power_of_two(features):
    """This is 2 to the power of an entropy in nats: with the natural logarithm take exp."""
    return 2 ** _entropy(_shares(features))


def rank_bits(features):
    """The entropy is in bits, with the logarithm to base 2, and the exponential is not: take log, or 2 ** entropy."""
    return (_entropy(_shares(features)) / math.log(2)).exp()


def rank_sign(features):
    """The sign of the entropy is the wrong way round: this is 1 over the effective rank."""
    return (-_entropy(_shares(features))).exp()


def rank_no_shares(features):
    """The singular values are taken as they are: divide by their sum, so that they are shares."""
    return _entropy(torch.linalg.svdvals(features)).exp()


def rank_unit_length(features):
    """The singular values are divided by their Euclidean length: shares sum to 1, so divide by the sum."""
    return _entropy(F.normalize(torch.linalg.svdvals(features), dim=0)).exp()


def rank_by_largest(features):
    """The singular values are divided by the largest: shares sum to 1, so divide by the sum."""
    values = torch.linalg.svdvals(features)
    return _entropy(values / values.max()).exp()


def rank_softmax(features):
    """The shares are a softmax of the singular values: divide them by their sum."""
    return _entropy(torch.linalg.svdvals(features).softmax(0)).exp()


def rank_mean(features):
    """The mean of p log p is taken: the entropy is the sum."""
    return torch.special.entr(_shares(features)).mean().exp()


def rank_participation(features):
    """This is the participation ratio, (sum of values)^2 / sum of squares: another count of directions. Take exp of the
    entropy."""
    values = torch.linalg.svdvals(features)
    return values.sum().square() / values.square().sum()


def rank_stable(features):
    """This is the stable rank, the sum of squares over the largest square: take exp of the entropy."""
    values = torch.linalg.svdvals(features).square()
    return values.sum() / values.max()


def rank_exact(features):
    """This is the rank: it counts all singular values above 0 alike, however small. Take exp of the entropy."""
    return torch.linalg.matrix_rank(features).to(features.dtype)


def rank_rows_normalised(features):
    """The rows are taken to unit length first: here the features are taken as they are."""
    return _entropy(_shares(F.normalize(features, dim=1))).exp()


def rank_of_columns(features):
    """The shares are those of the columns' lengths: that depends on the axes. Directions have singular values."""
    length = features.norm(dim=0)
    return _entropy(length / length.sum()).exp()


def rank_of_entries(features):
    """The shares are those of all entries of the matrix: the singular values come first."""
    return _entropy(features.abs() / features.abs().sum()).exp()


def rank_relative(features):
    """This is the share of the dimensions that is used; asked for is their number."""
    return _entropy(_shares(features)).exp() / min(features.shape)


def rank_by_gram(features):
    """The smaller Gram matrix's eigenvalues are the squares of the singular values."""
    features = features.double()
    gram = features @ features.T if len(features) < features.shape[1] else features.T @ features
    share = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = share[share > 1e-7 * share.max()] / share.sum()
    return (-share * share.log()).sum().exp()


def rank_by_product(features):
    share = _shares(features)
    share = share[share > 0]
    return (share ** (-share)).prod()


def rank_with_epsilon(features):
    """As RankMe has it."""
    values = torch.linalg.svd(features, full_matrices=False)[1]
    share = values / values.sum() + 1e-9
    return torch.exp(-(share * torch.log(share)).sum())


# --- 7. how good a mask is --------------------------------------------------------------------------------------------


def cases_mean_iou(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, h, w, dtype=SINGLE):
        """Masks of very different sizes, scores that agree with them now more, now less; some scores are exactly 0."""
        size = torch.linspace(0.2, 0.8, n, dtype=DOUBLE)[torch.randperm(n, generator=g)].view(-1, 1, 1, 1)
        masks = torch.rand(n, 1, h, w, generator=g, dtype=DOUBLE) < size
        help_ = torch.linspace(0.2, 2, n, dtype=DOUBLE)[torch.randperm(n, generator=g)].view(-1, 1, 1, 1)
        scores = normal(g, n, 1, h, w, dtype=DOUBLE) + help_ * (2.0 * masks - 1)
        scores.view(n, -1)[:, whole(g, 0, h * w - 1)] = 0
        masks[:, :, 0, 0], scores[:, :, 0, 0] = True, 0.3  # none is empty
        masks[:, :, -1, -1], scores[:, :, -1, -1] = False, 2
        scores[:, :, 0, -1] = 0
        if kind == "empty masks":  # both in the first picture, one of them in the next two
            scores[0], masks[0] = -scores[0].abs(), False
            masks[1] = False
            if n > 2:
                scores[2] = -scores[2].abs()
        return Case(kind, {"scores": scores.to(dtype), "masks": masks})

    if not hidden:
        return [
            case("ordinary", 3, 3, 4),
            case("ordinary", 2, 4, 4, DOUBLE),
            case("empty masks", 4, 3, 3),
            case("empty masks", 2, 3, 4, DOUBLE),
        ]
    n = whole(g, 5, 9)
    return [
        case("ordinary", n, 6, whole(g, 7, 9)),
        case("ordinary", 1, 5, whole(g, 6, 8), DOUBLE),
        case("ordinary", n + 2, 2, 9),
        case("empty masks", n, 5, whole(g, 6, 8)),
        case("empty masks", 3, 8, 6, DOUBLE),
    ]


def _both(predicted, masks):
    """How many pixels intersection and union have in each picture, (N,) each."""
    return (predicted & masks).flatten(1).sum(1), (predicted | masks).flatten(1).sum(1)


def _mean_iou(predicted, masks):
    intersection, union = _both(predicted, masks)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()


def iou_empty_nan(scores, masks):
    """Two empty masks make this NaN, 0 / 0: such a picture counts as 1."""
    intersection, union = _both(scores > 0, masks)
    return (intersection / union).mean()


def iou_empty_zero(scores, masks):
    """A picture without an object, in which none is found, counts as 0: it is perfect, 1."""
    intersection, union = _both(scores > 0, masks)
    return (intersection / union.clamp(min=1)).mean()


def iou_empty_left_out(scores, masks):
    """Pictures in which both masks are empty are left out of the mean: they count as 1."""
    intersection, union = _both(scores > 0, masks)
    return (intersection / union).nanmean()


def iou_no_object_one(scores, masks):
    """Every picture without an object counts as 1, even if one is found there: only where both masks are empty."""
    intersection, union = _both(scores > 0, masks)
    return torch.where(masks.flatten(1).any(1), intersection / union.clamp(min=1), 1.0).mean()


def iou_nothing_found_one(scores, masks):
    """Every picture in which nothing is found counts as 1, even with an object in it: only where both are empty."""
    intersection, union = _both(scores > 0, masks)
    return torch.where((scores > 0).flatten(1).any(1), intersection / union.clamp(min=1), 1.0).mean()


def iou_in_place(scores, masks):
    """An argument is modified: masks & ... makes a new tensor, masks &= ... writes into the caller's."""
    predicted = scores > 0
    union = (predicted | masks).flatten(1).sum(1)
    masks &= predicted
    return torch.where(union > 0, masks.flatten(1).sum(1) / union.clamp(min=1), 1.0).mean()


def iou_pooled(scores, masks):
    """Pixels of all pictures are counted together, so large objects count more: one ratio a picture, then the mean."""
    intersection, union = _both(scores > 0, masks)
    return intersection.sum() / union.sum()


def iou_each(scores, masks):
    """This is one number for each picture; asked for is their mean."""
    intersection, union = _both(scores > 0, masks)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def iou_sum(scores, masks):
    """This is the sum over the pictures; asked for is their mean."""
    return len(masks) * _mean_iou(scores > 0, masks)


def iou_pixel_accuracy(scores, masks):
    """This is the share of right pixels: background counts for nothing in the intersection over union."""
    return ((scores > 0) == masks).double().mean()


def iou_dice(scores, masks):
    """This is Dice's coefficient, twice the intersection over the sum of both sizes: divide by the union."""
    intersection, union = _both(scores > 0, masks)
    return torch.where(union > 0, 2 * intersection / (union + intersection).clamp(min=1), 1.0).mean()


def iou_union_too_large(scores, masks):
    """The two sizes are added, so the intersection counts twice: the union is their sum minus the intersection."""
    intersection, union = _both(scores > 0, masks)
    return torch.where(union > 0, intersection / (union + intersection).clamp(min=1), 1.0).mean()


def iou_precision(scores, masks):
    """This divides by the predicted pixels, the precision: divide by the union."""
    intersection, size = _both(scores > 0, masks)[0], (scores > 0).flatten(1).sum(1)
    return torch.where(size > 0, intersection / size.clamp(min=1), 1.0).mean()


def iou_recall(scores, masks):
    """This divides by the true pixels, the recall: divide by the union."""
    intersection, size = _both(scores > 0, masks)[0], masks.flatten(1).sum(1)
    return torch.where(size > 0, intersection / size.clamp(min=1), 1.0).mean()


def iou_half(scores, masks):
    """The threshold is 0.5: these are scores, not probabilities, and positive means the object."""
    return _mean_iou(scores > 0.5, masks)


def iou_sigmoid(scores, masks):
    """A sigmoid is above 0 everywhere, so all pixels are predicted: compare the score with 0, or a sigmoid with 0.5."""
    return _mean_iou(scores.sigmoid() > 0, masks)


def iou_from_zero(scores, masks):
    """A score of exactly 0 is taken for the object: it has to be greater than 0."""
    return _mean_iou(scores >= 0, masks)


def iou_rounded(scores, masks):
    """Every score that is not 0 is taken for the object, as .bool() does: it has to be greater than 0."""
    return _mean_iou(scores.bool(), masks)


def iou_background(scores, masks):
    """This is the intersection over union of the background: the object is where the score is positive."""
    return _mean_iou(scores <= 0, ~masks)


def iou_both_classes(scores, masks):
    """The background's intersection over union is averaged in, as for several classes: here only the object counts."""
    return (_mean_iou(scores > 0, masks) + _mean_iou(scores <= 0, ~masks)) / 2


def iou_wrong_pixels(scores, masks):
    """The pixels in which the masks differ are counted: the intersection is where both are true."""
    predicted = scores > 0
    union = _both(predicted, masks)[1]
    return torch.where(union > 0, (predicted ^ masks).flatten(1).sum(1) / union.clamp(min=1), 1.0).mean()


def iou_smoothed(scores, masks):
    """Adding 1 above and below takes care of empty masks, and changes all others, too."""
    intersection, union = _both(scores > 0, masks)
    return ((intersection + 1) / (union + 1)).mean()


def iou_by_row(scores, masks):
    """The ratio is taken in each row of pixels: sum over all dimensions but the first, then divide."""
    predicted = scores > 0
    intersection, union = (predicted & masks).sum(3), (predicted | masks).sum(3)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()


def iou_by_loops(scores, masks):
    found = []
    for score, mask in zip(scores, masks):
        predicted = {i for i, value in enumerate(score.flatten().tolist()) if value > 0}
        true = {i for i, value in enumerate(mask.flatten().tolist()) if value}
        found.append(len(predicted & true) / len(predicted | true) if predicted | true else 1.0)
    return torch.tensor(sum(found) / len(found))


def iou_with_epsilon(scores, masks):
    predicted, masks = (scores > 0).double(), masks.double()
    intersection, total = (predicted * masks).sum((1, 2, 3)), (predicted + masks).sum((1, 2, 3))
    return ((intersection + 1e-7) / (total - intersection + 1e-7)).mean()


def iou_nan_to_one(scores, masks):
    predicted, masks = scores.gt(0).flatten(1), masks.flatten(1)
    return (predicted.logical_and(masks).sum(1) / predicted.logical_or(masks).sum(1)).nan_to_num(1.0).mean()


# --- 8. the number you report -----------------------------------------------------------------------------------------


def cases_report(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(s, r, dtype=SINGLE):
        """Accuracies in 1/64 for which other ways to choose lead to other settings than the right one."""
        while True:
            validation, test = (torch.randint(20, 60, (s, r), generator=g).to(dtype) / 64 for _ in range(2))
            clear = gap(validation.mean(1)) > 1e-3 and gap(test.mean(1)) > 1e-3 and gap(test.std(1)) > 1e-3
            if clear and _chosen(validation) not in _otherwise(validation, test):
                return Case("ordinary", {"validation": validation, "test": test})

    def tied(s, r, dtype=SINGLE):
        """Three settings have the best validation accuracies, in another order: their means are equal to the last bit.
        The second of them is the best on test."""
        best = torch.randperm(s, generator=g)[:3].sort().values
        validation, test = (torch.randint(20, 40, (s, r), generator=g).to(dtype) / 64 for _ in range(2))
        validation[best] = torch.arange(40, 40 + r, dtype=dtype) / 64
        validation[best[1]] = validation[best[1]].flip(0)
        test[best[1]], test[best[2]] = test[best[0]] + 0.25, test[best[0]] + 0.125
        return Case("ties", {"validation": validation, "test": test})

    if not hidden:
        while True:
            both = [case(6, 3), case(5, 4, DOUBLE)]
            ways = zip(*(_otherwise(c.arrays["validation"], c.arrays["test"]) for c in both))
            if len(set(ways)) == len(_otherwise(**both[0].arrays)):  # no two lead to the same settings in both
                return [*both, tied(4, 2), tied(5, 4, DOUBLE)]
    r = whole(g, 3, 5)
    return [
        case(7, r),
        case(whole(g, 8, 10), 5, DOUBLE),
        case(4, 2),
        tied(6, r),
        tied(7, 3, DOUBLE),
    ]


def _chosen(validation):
    return validation.mean(1).argmax().item()


def _otherwise(validation, test):
    """The settings to which other ways of choosing lead."""
    return [
        test.mean(1).argmax().item(),
        int(validation.argmax()) // validation.shape[1],
        int(test.argmax()) // test.shape[1],
        validation.amin(1).argmax().item(),
        validation.std(1).argmin().item(),
        (validation + test).mean(1).argmax().item(),
        validation.mean(1).argmin().item(),
        validation[:, 0].argmax().item(),
    ]


def report_biased(validation, test):
    """The standard deviation is divided by R; with R - 1 it does not come out too small on average."""
    s = _chosen(validation)
    return s, test[s].mean(), test[s].std(correction=0)


def report_variance(validation, test):
    """This is the variance: the standard deviation is its root."""
    s = _chosen(validation)
    return s, test[s].mean(), test[s].var()


def report_standard_error(validation, test):
    """This is the standard error of the mean, divided by the root of R: asked for is how much single seeds differ."""
    s = _chosen(validation)
    return s, test[s].mean(), test[s].std() / math.sqrt(test.shape[1])


def report_std_of_all(validation, test):
    """The standard deviation is that of all runs: it is that of the chosen setting's seeds."""
    s = _chosen(validation)
    return s, test[s].mean(), test.std()


def report_std_of_settings(validation, test):
    """The standard deviation is that of the settings' means: it is that of the chosen setting's seeds."""
    s = _chosen(validation)
    return s, test[s].mean(), test.mean(1).std()


def report_std_of_validation(validation, test):
    """The standard deviation is that of the validation accuracies: it is that of the test accuracies."""
    s = _chosen(validation)
    return s, test[s].mean(), validation[s].std()


def report_range(validation, test):
    """This is the range, the largest minus the smallest: asked for is the standard deviation."""
    s = _chosen(validation)
    return s, test[s].mean(), test[s].max() - test[s].min()


def report_last_of_equals(validation, test):
    """Of settings with the same mean validation accuracy the last is taken: take the first."""
    means = validation.mean(1)
    s = int((means == means.max()).nonzero().max())
    return s, test[s].mean(), test[s].std()


def report_equals_by_test(validation, test):
    """Of settings with the same mean validation accuracy the best on test is taken: test has no say in the choice."""
    means = validation.mean(1)
    s = int(torch.where(means == means.max(), test.mean(1), -1.0).argmax())
    return s, test[s].mean(), test[s].std()


def report_in_place(validation, test):
    """An argument is modified: test - ... makes a new tensor, test -= ... writes into the caller's."""
    s = _chosen(validation)
    mean = test[s].mean()
    test[s] -= mean
    return s, mean, (test[s].square().sum() / (test.shape[1] - 1)).sqrt()


def report_chosen_on_test(validation, test):
    """The setting is chosen by the test accuracy: that is the very thing which the validation set is for."""
    s = test.mean(1).argmax()
    return s, test[s].mean(), test[s].std()


def report_chosen_on_both(validation, test):
    """The test accuracies have a say in the choice: the validation accuracies alone decide."""
    s = (validation + test).mean(1).argmax()
    return s, test[s].mean(), test[s].std()


def report_best_run(validation, test):
    """The setting with the best single validation run is chosen; it is chosen by its mean over the seeds."""
    s = int(validation.argmax()) // validation.shape[1]
    return s, test[s].mean(), test[s].std()


def report_best_test_run(validation, test):
    """The setting with the best single test run is chosen: by the mean over the seeds, and on validation."""
    s = int(test.argmax()) // test.shape[1]
    return s, test[s].mean(), test[s].std()


def report_worst_case(validation, test):
    """The setting with the best of the worst validation runs is chosen; it is chosen by its mean over the seeds."""
    s = validation.amin(1).argmax()
    return s, test[s].mean(), test[s].std()


def report_first_seed(validation, test):
    """The setting is chosen by its first seed alone: by the mean over all seeds."""
    s = validation[:, 0].argmax()
    return s, test[s].mean(), test[s].std()


def report_least(validation, test):
    """The setting with the smallest validation accuracy is chosen: argmax, not argmin."""
    s = validation.mean(1).argmin()
    return s, test[s].mean(), test[s].std()


def report_steadiest(validation, test):
    """The setting whose seeds differ least is chosen: by the mean, not by the standard deviation."""
    s = validation.std(1).argmin()
    return s, test[s].mean(), test[s].std()


def report_best_seed(validation, test):
    """The right setting, but its best seed's test accuracy instead of the mean: report all seeds."""
    s = _chosen(validation)
    return s, test[s].max(), test[s].std()


def report_seed_best_on_validation(validation, test):
    """The right setting, but only the seed that was best on validation: report the mean over all seeds."""
    s = _chosen(validation)
    return s, test[s, validation[s].argmax()], test[s].std()


def report_validation(validation, test):
    """The validation accuracies of the chosen setting are reported: having been chosen by, they are too good. Report
    test."""
    s = _chosen(validation)
    return s, validation[s].mean(), validation[s].std()


def report_all_settings(validation, test):
    """The mean is over all settings: it is over the seeds of the chosen one."""
    return _chosen(validation), test.mean(), test.std()


def report_chosen_per_seed(validation, test):
    """A setting is chosen for each seed anew, and these differ: choose one setting by its mean over the seeds."""
    found = test.gather(0, validation.argmax(0, keepdim=True))[0]
    return _chosen(validation), found.mean(), found.std()


def report_median(validation, test):
    """This is the median of the seeds: asked for is the mean."""
    s = _chosen(validation)
    return s, test[s].quantile(0.5) if test.shape[1] > 2 else test[s].min(), test[s].std()


def report_seeds_as_settings(validation, test):
    """Rows are settings, columns are seeds: here it is the other way round. The mean over the seeds is over dim=1."""
    s = validation.mean(0).argmax()
    return s, test[:, s].mean(), test[:, s].std()


def report_percent(validation, test):
    """These are per cent: accuracies stay shares, from 0 to 1."""
    s = _chosen(validation)
    return s, 100 * test[s].mean(), 100 * test[s].std()


def report_from_one(validation, test):
    """The settings are counted from 1: here from 0."""
    s = _chosen(validation)
    return s + 1, test[s].mean(), test[s].std()


def report_setting_forgotten(validation, test):
    """Two things are returned: the setting comes first, then mean and standard deviation."""
    s = _chosen(validation)
    return test[s].mean(), test[s].std()


def report_order(validation, test):
    """The right three things in another order: setting, mean, standard deviation."""
    s = _chosen(validation)
    return test[s].mean(), test[s].std(), s


def report_by_lists(validation, test):
    sums = [sum(row) for row in validation.tolist()]
    found = test[sums.index(max(sums))].tolist()
    mean = sum(found) / len(found)
    return sums.index(max(sums)), mean, math.sqrt(sum((v - mean) ** 2 for v in found) / (len(found) - 1))


def report_by_formula(validation, test):
    s = validation.sum(1).max(0).indices
    mean = test.mean(1)[s]
    return s.int(), mean, ((test.double()[s] - mean).square().sum() / (test.shape[1] - 1)).sqrt()


# --- the sheet --------------------------------------------------------------------------------------------------------

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "nearest_words",
        (
            Property("finds the right neighbours, nearest first", 3),
            UNCHANGED,
            Property("puts equals in ascending order", 1, "equals"),
        ),
        cases_nearest_words,
        mutants=(
            words_topk,
            words_equals_reversed,
            words_first_dropped,
            words_equal_rows_excluded,
            words_in_place,
            words_dot_product,
            words_euclidean,
            words_itself,
            words_itself_zero,
            words_shifted,
            words_furthest,
            words_nearest_last,
            words_by_index,
            words_similarities,
            words_absolute,
            words_columns_normalised,
            words_centred,
            words_one_too_few,
            words_mask,
        ),
        alternatives=(words_by_loop, words_by_distance, words_itself_taken_out),
    ),
    Master(
        "majority_vote",
        (
            Property("finds the right classes", 3),
            UNCHANGED,
            Property("settles ties by the nearest voter", 2, "ties"),
        ),
        cases_majority_vote,
        mutants=(
            vote_tie_smallest,
            vote_tie_largest,
            vote_tie_furthest,
            vote_tie_nearest_of_all,
            vote_tie_mean_distance,
            vote_tie_fewer,
            vote_in_place,
            vote_cosine,
            vote_dot_product,
            vote_manhattan,
            vote_furthest,
            vote_normalised,
            vote_all,
            vote_nearest_only,
            vote_one_too_many,
            vote_nearest_skipped,
            vote_weighted,
            vote_first_labels,
            vote_place_not_class,
            vote_counts,
            vote_all_classes,
            vote_mean_label,
            vote_transposed,
        ),
        alternatives=(vote_by_loops, vote_small_bonus),
        hides=("course_lib.evaluate:knn",),
    ),
    Master(
        "probe_step",
        (
            Property("moves weight and bias as the formula says", 3, outputs=("weight", "bias")),
            UNCHANGED,
            Property("knows classes without rows", 1, "absent class", ("weight", "bias")),
            Property("stays right for large logits", 1, "extreme", ("weight", "bias")),
        ),
        cases_probe_step,
        mutants=(
            probe_overflow,
            probe_global_maximum,
            probe_classes_from_labels,
            probe_in_place,
            probe_bias_decayed,
            probe_bias_forgotten,
            probe_bias_sum,
            probe_bias_one_number,
            probe_one_after_the_other,
            probe_no_decay,
            probe_decay_without_rate,
            probe_decay_twice,
            probe_decay_over_n,
            probe_decay_grows,
            probe_sum,
            probe_mean_over_classes,
            probe_uphill,
            probe_all_uphill,
            probe_without_labels,
            probe_sigmoid,
            probe_softmax_over_rows,
            probe_squared_error,
            probe_log_softmax,
            probe_logits_without_bias,
            probe_no_rate,
            probe_gradients,
            probe_swapped,
            probe_transposed,
            probe_nothing_returned,
        ),
        alternatives=(probe_by_autograd, probe_by_loops, probe_as_one_matrix),
        hides=("course_lib.evaluate:logistic_regression", "course_lib.evaluate:linear_probe"),
    ),
    Master(
        "kmeans_step",
        (
            Property("finds the right codes", 2, outputs=("codes",)),
            Property("moves the means to the mean of their members", 2, outputs=("means",)),
            UNCHANGED,
            Property("leaves a mean without members where it was", 1, "empty mean", ("codes", "means")),
        ),
        cases_kmeans_step,
        mutants=(
            kmeans_empty_nan,
            kmeans_empty_zero,
            kmeans_empty_dropped,
            kmeans_empty_anew,
            kmeans_empty_middle,
            kmeans_counts_too_short,
            kmeans_in_place,
            kmeans_sums,
            kmeans_over_all,
            kmeans_old_counts,
            kmeans_half_way,
            kmeans_median,
            kmeans_one_member,
            kmeans_not_moved,
            kmeans_one_mean,
            kmeans_codes_anew,
            kmeans_furthest,
            kmeans_cosine,
            kmeans_dot_product,
            kmeans_manhattan,
            kmeans_from_one,
            kmeans_one_hot_codes,
            kmeans_other_dimension,
            kmeans_swapped,
            kmeans_means_only,
        ),
        alternatives=(kmeans_by_loops, kmeans_by_index_add, kmeans_in_double),
        hides=(
            "course_lib.clustering.kmeans:nearest_mean",
            "course_lib.clustering.kmeans:means_of",
            "course_lib.clustering.kmeans:lloyd",
            "course_lib.clustering.kmeans:kmeans",
        ),
    ),
    Master(
        "relative_change",
        (
            Property("gives the right values", 2),
            UNCHANGED,
            Property("stays right where the mean is large", 1, "large mean"),
        ),
        cases_relative_change,
        mutants=(
            change_cancels,
            change_cancels_in_pairs,
            change_in_place,
            change_with_itself,
            change_factor_two,
            change_biased_factor_two,
            change_sum_of_moves,
            change_mean_of_columns,
            change_not_squared,
            change_root,
            change_numerator_not_squared,
            change_absolute,
            change_by_length,
            change_upside_down,
            change_invariance,
            change_each,
            change_by_row,
            change_by_column,
            change_spread_of_changed,
            change_crosswise,
            change_normalised,
            change_of_means,
        ),
        alternatives=(change_by_pdist, change_by_loops, change_by_covariance),
        hides=("course_lib.evaluate:relative_change",),
    ),
    Master(
        "effective_rank",
        (
            Property("gives the right values", 2),
            Property("leaves its argument alone", 1, outputs=("unchanged",)),
            Property("lets a singular value of 0 contribute nothing", 1, "zeros"),
        ),
        cases_effective_rank,
        mutants=(
            rank_nan,
            rank_zero_as_one,
            rank_in_place,
            rank_centred,
            rank_squares,
            rank_entropy,
            rank_power_of_two,
            rank_bits,
            rank_sign,
            rank_no_shares,
            rank_unit_length,
            rank_by_largest,
            rank_softmax,
            rank_mean,
            rank_participation,
            rank_stable,
            rank_exact,
            rank_rows_normalised,
            rank_of_columns,
            rank_of_entries,
            rank_relative,
        ),
        alternatives=(rank_by_gram, rank_by_product, rank_with_epsilon),
        hides=("course_lib.evaluate:effective_rank",),
    ),
    Master(
        "mean_iou",
        (
            Property("gives the right values", 2),
            UNCHANGED,
            Property("counts a picture as 1 where both masks are empty", 1, "empty masks"),
        ),
        cases_mean_iou,
        mutants=(
            iou_empty_nan,
            iou_empty_zero,
            iou_empty_left_out,
            iou_no_object_one,
            iou_nothing_found_one,
            iou_in_place,
            iou_pooled,
            iou_each,
            iou_sum,
            iou_pixel_accuracy,
            iou_dice,
            iou_union_too_large,
            iou_precision,
            iou_recall,
            iou_half,
            iou_sigmoid,
            iou_from_zero,
            iou_rounded,
            iou_background,
            iou_both_classes,
            iou_wrong_pixels,
            iou_smoothed,
            iou_by_row,
        ),
        alternatives=(iou_by_loops, iou_with_epsilon, iou_nan_to_one),
        hides=("course_lib.evaluate:intersection_over_union",),
    ),
    Master(
        "report",
        (
            Property("chooses the right setting, and reports its mean", 2, outputs=("setting", "mean")),
            Property("reports the standard deviation of its seeds", 1, outputs=("std",)),
            UNCHANGED,
            Property("takes the first of settings that tie", 1, "ties", ("setting", "mean")),
        ),
        cases_report,
        mutants=(
            report_biased,
            report_variance,
            report_standard_error,
            report_std_of_all,
            report_std_of_settings,
            report_std_of_validation,
            report_range,
            report_last_of_equals,
            report_equals_by_test,
            report_in_place,
            report_chosen_on_test,
            report_chosen_on_both,
            report_best_run,
            report_best_test_run,
            report_worst_case,
            report_first_seed,
            report_least,
            report_steadiest,
            report_best_seed,
            report_seed_best_on_validation,
            report_validation,
            report_all_settings,
            report_chosen_per_seed,
            report_median,
            report_seeds_as_settings,
            report_percent,
            report_from_one,
            report_setting_forgotten,
            report_order,
        ),
        alternatives=(report_by_lists, report_by_formula),
    ),
]
