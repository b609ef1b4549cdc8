import math

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss

from course_lib.data.toys import CorrelatedGaussians
from course_lib.losses import (
    full_precision,
    info_nce,
    mutual_information_bound,
    nt_xent,
)


def naive_nt_xent(z1, z2, tau):
    """SimCLR's Algorithm 1 as it is printed: rows 2k - 1 and 2k are the two views of
    image k, plain Python sums."""
    z = [
        row for pair in zip(z1.double().tolist(), z2.double().tolist()) for row in pair
    ]
    dot = lambda u, v: sum(a * b for a, b in zip(u, v))  # noqa: E731
    s = lambda i, j: dot(z[i], z[j]) / math.sqrt(dot(z[i], z[i]) * dot(z[j], z[j]))  # noqa: E731

    def loss(i, j):
        return -math.log(
            math.exp(s(i, j) / tau)
            / sum(math.exp(s(i, k) / tau) for k in range(len(z)) if k != i)
        )

    return sum(
        loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(len(z1))
    ) / len(z)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
def test_nt_xent_equals_the_papers_double_loop(tau):
    z1, z2 = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    assert nt_xent(z1, z2, tau).item() == pytest.approx(
        naive_nt_xent(z1, z2, tau), rel=1e-5
    )


def test_nt_xent_equals_lightly():
    z1, z2 = torch.randn(2, 33, 16, generator=torch.Generator().manual_seed(1))
    assert nt_xent(z1, z2, 0.2).item() == pytest.approx(
        NTXentLoss(0.2)(z1, z2).item(), abs=1e-5
    )


@pytest.mark.parametrize("n", [2, 5, 64])
def test_nt_xent_of_equal_embeddings_is_log_of_2n_minus_1(n):
    same = torch.ones(n, 4)
    assert nt_xent(same, 3 * same).item() == pytest.approx(
        math.log(2 * n - 1), rel=1e-6
    )


def test_nt_xent_is_invariant_to_scale_row_order_and_swapped_views():
    z1, z2 = torch.randn(2, 9, 6, dtype=torch.float64)
    loss, order = nt_xent(z1, z2), torch.randperm(9)
    for other in (
        nt_xent(5 * z1, z2 / 3),
        nt_xent(z1[order], z2[order]),
        nt_xent(z2, z1),
    ):
        torch.testing.assert_close(other, loss)
    shuffled = nt_xent(z1, z2[order.roll(1)])
    assert (order.roll(1) == torch.arange(9)).all() or not torch.isclose(shuffled, loss)


def test_nt_xent_gradient_equals_finite_differences():
    z1, z2 = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.3),
        (z1.detach().requires_grad_(), z2.detach().requires_grad_()),
    )


def test_nt_xent_is_finite_at_extremes_and_computed_in_float32():
    z1, z2 = torch.randn(2, 16, 8)
    assert nt_xent(z1, z2, 1e-3).isfinite() and nt_xent(1e20 * z1, z2, 0.1).isfinite()
    half = nt_xent(z1.bfloat16(), z2.bfloat16(), 0.1)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(
        nt_xent(z1.bfloat16().float(), z2.bfloat16().float(), 0.1).item(), rel=1e-6
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert nt_xent(z1, z2, 0.1).item() == pytest.approx(
            naive_nt_xent(z1, z2, 0.1), rel=1e-5
        )


def test_full_precision_keeps_float64():
    assert (
        full_precision(lambda x: x)(torch.zeros(2, dtype=torch.float64)).dtype
        == torch.float64
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 2), torch.zeros(4, 2)), "`z2`.*N = 3 in `z1`"),
        (
            (torch.zeros(3), torch.zeros(3)),
            "`z1`: expected a tensor \\(float\\) of shape \\(N, D\\), got float32 of "
            "shape \\(3,\\)",
        ),
        ((torch.zeros(3, 2).long(), torch.zeros(3, 2)), "`z1`.*got int64"),
        (
            (torch.zeros(3, 2), torch.zeros(3, 2, device="meta")),
            "`z2`: expected on cpu like `z1`, got meta",
        ),
        ((torch.zeros(3, 2), None), "`z2`.*got NoneType"),
        (
            (torch.zeros(3, 2), torch.zeros(3, 2), 0.0),
            "`temperature`: expected a positive number, got 0.0",
        ),
        ((torch.zeros(3, 2), torch.zeros(3, 2), float("nan")), "`temperature`"),
    ],
)
def test_nt_xent_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(*arguments)


def test_nt_xent_of_orthogonal_images_has_its_closed_form():
    """With every image orthogonal to every other and the views equal, the loss has a
    closed form."""
    z = torch.eye(6)
    # tau = 1/2: partner at cos 1, ten others at cos 0
    expected = -math.log(math.exp(2) / (math.exp(2) + 10))
    assert nt_xent(z, z, 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert nt_xent(z, z.roll(1, 0), 0.5) > F.softplus(torch.tensor(2.0))


# --- InfoNCE and what it says of mutual information ---


@pytest.mark.parametrize("positive", [None, [8, 0, 3, 3, 5]])
def test_info_nce_equals_a_loop(positive):
    scores = 3 * torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    columns = positive or range(5)  # the diagonal
    expected = (
        sum(
            -math.log(math.exp(row[j]) / sum(map(math.exp, row)))
            for row, j in zip(scores.tolist(), columns)
        )
        / 5
    )
    loss = (
        info_nce(scores)
        if positive is None
        else info_nce(scores, torch.tensor(positive))
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k", [2, 7, 300])
def test_info_nce_of_equal_scores_is_the_log_of_the_number_of_candidates(k):
    assert info_nce(torch.full((2, k), -40.0)).item() == pytest.approx(
        math.log(k), rel=1e-6
    )


def test_info_nce_gradient_is_softmax_minus_one_hot():
    scores = torch.randn(
        4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    info_nce(scores, torch.tensor([5, 0, 2, 2])).backward()
    odds = scores.detach().exp()
    too_much = odds / odds.sum(1, keepdim=True)
    for i, j in enumerate([5, 0, 2, 2]):
        too_much[i, j] -= 1
    torch.testing.assert_close(scores.grad, too_much / 4)


def test_info_nce_is_invariant_to_a_constant_added_to_a_row_of_scores():
    scores, row = (
        torch.randn(
            5, k, dtype=torch.float64, generator=torch.Generator().manual_seed(k)
        )
        for k in (8, 1)
    )
    torch.testing.assert_close(info_nce(scores + 100 * row), info_nce(scores))
    assert not torch.isclose(
        info_nce(scores + row.T[:, :1] * torch.arange(8)), info_nce(scores)
    )


def test_info_nce_computes_low_precision_scores_in_float32():
    scores = (
        5 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    ).bfloat16()
    expected = info_nce(scores.double())
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = info_nce(scores)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(
            expected.item(), rel=1e-6
        )


def test_info_nce_without_positive_rejects_fewer_candidates_than_rows():
    with pytest.raises(
        ValueError, match=r"`scores`: expected a candidate for each row, got \(4, 3\)"
    ):
        info_nce(torch.zeros(4, 3))
    assert info_nce(torch.zeros(4, 3), torch.zeros(4).long()).item() == pytest.approx(
        math.log(3)
    )
    with pytest.raises(ValueError, match="`positive`.*N = 4 in `scores`"):
        info_nce(torch.zeros(4, 3), torch.zeros(3).long())
    with pytest.raises(ValueError, match="`scores`.*got float32 of shape \\(4,\\)"):
        info_nce(torch.zeros(4))


def bound(pairs, k, score):
    """The mean of the bounds of all groups of k pairs, each group its own
    candidates."""
    groups = list(zip(*(each.split(k) for each in pairs)))
    return sum(
        mutual_information_bound(info_nce(score(x, y)), k).item() for x, y in groups
    ) / len(groups)


@pytest.mark.parametrize(
    "gaussians", [CorrelatedGaussians(0.7, 3), CorrelatedGaussians(-0.95, 2)]
)
def test_mutual_information_bound_grows_with_candidates_and_stays_below_the_truth(
    gaussians,
):
    pairs = gaussians.sample(8192, torch.Generator().manual_seed(0))
    bounds = [bound(pairs, k, gaussians.log_ratio) for k in (2, 16, 128, 1024)]
    spread = (
        torch.cat(
            [
                gaussians.log_ratio(x, y).diag()
                for x, y in zip(*(z.split(1024) for z in pairs))
            ]
        )
        .std()
        .item()
    )
    assert bounds == sorted(bounds) and len(set(bounds)) == 4
    assert max(bounds) < gaussians.mutual_information + 3 * spread / math.sqrt(8192)
    for k, value in zip((2, 16, 128, 1024), bounds):
        assert value < math.log(k)


def test_mutual_information_bound_is_tight_for_many_candidates():
    gaussians = CorrelatedGaussians(0.8)
    pairs = gaussians.sample(32 * 1024, torch.Generator().manual_seed(0))
    assert bound(pairs, 1024, gaussians.log_ratio) == pytest.approx(
        gaussians.mutual_information, abs=0.02
    )
    assert gaussians.mutual_information > 0.5


@pytest.mark.parametrize("k", [2, 16, 128])
def test_mutual_information_bound_is_at_most_the_log_of_the_candidates(k):
    gaussians = CorrelatedGaussians(0.9999, 10)
    found = bound(
        gaussians.sample(512, torch.Generator().manual_seed(0)), k, gaussians.log_ratio
    )
    assert (
        math.log(k) - 0.01
        < found
        <= math.log(k) + 1e-6
        < gaussians.mutual_information - 30
    )


@pytest.mark.parametrize("factor", [0.3, 3.0, -1.0])
def test_mutual_information_bound_is_lower_for_a_wrong_score(factor):
    gaussians = CorrelatedGaussians(0.8, 2)
    pairs = gaussians.sample(4096, torch.Generator().manual_seed(0))
    right, wrong = (
        bound(pairs, 128, lambda x, y, f=f: f * gaussians.log_ratio(x, y))
        for f in (1.0, factor)
    )
    assert wrong < right - 0.05


def test_mutual_information_bound_is_invariant_to_a_shift_per_reference():
    """InfoNCE cannot tell log p(y | x) from log p(y | x) / p(x): a shift for each
    reference changes nothing."""
    gaussians = CorrelatedGaussians(0.8, 2)
    pairs = [
        z.double() for z in gaussians.sample(256, torch.Generator().manual_seed(0))
    ]
    shifted = bound(
        pairs, 64, lambda x, y: gaussians.log_ratio(x, y) + 5 * x.sum(1, keepdim=True)
    )
    assert shifted == pytest.approx(bound(pairs, 64, gaussians.log_ratio), abs=1e-9)
    # a shift for each candidate does change the bound
    uneven = bound(pairs, 64, lambda x, y: gaussians.log_ratio(x, y) + y.sum(1))
    assert uneven < shifted - 0.05


def test_mutual_information_bound_is_log_of_candidates_minus_the_loss():
    assert mutual_information_bound(0.5, 8) == pytest.approx(3 * math.log(2) - 0.5)
    loss = torch.tensor(0.25, requires_grad=True)
    mutual_information_bound(loss, 2).backward()
    assert loss.grad == -1


@pytest.mark.parametrize("candidates", [1, 0, -3, 2.0, "4", None, True])
def test_mutual_information_bound_rejects_fewer_than_2_candidates(candidates):
    with pytest.raises(
        ValueError, match=r"`candidates`: expected a whole number in \[2, inf\]"
    ):
        mutual_information_bound(0.5, candidates)


def test_nt_xent_gradient_is_finite_at_extreme_temperatures_and_lengths():
    views = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    for both, tau in (
        (views, 1e-4),
        (views, 1e4),
        (1e20 * views, 0.1),
        (1e-20 * views, 0.1),
        (torch.ones(2, 16, 8), 1e-4),
        (torch.zeros(2, 16, 8), 0.1),
    ):
        leaves = [z.clone().requires_grad_() for z in both]
        loss = nt_xent(*leaves, tau)
        loss.backward()
        assert loss.isfinite() and all(z.grad.isfinite().all() for z in leaves)


def test_gap_of_the_bound_with_the_best_score_shrinks_with_the_candidates():
    """All of a table of three by three values is enumerated. The gap I - (log N - L) is
    the mean of m log m over independent candidates, m the mean of the density
    ratios."""
    table = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)).double() ** 2
    table /= table.sum()
    p_x, p_y = table.sum(1), table.sum(0)
    ratio = table / p_x[:, None] / p_y
    information, gaps = (table * ratio.log()).sum().item(), []
    for n in range(1, 6):
        x, *ys = torch.cartesian_prod(*(torch.arange(3),) * (n + 1)).T
        scores = torch.stack([ratio[x, y] for y in ys], 1).log()  # (3^(n + 1), n)
        chance = p_x[x] * torch.stack([p_y[y] for y in ys], 1).prod(1)
        bound = (
            math.log(n) + (chance * ratio[x, ys[0]] * scores.log_softmax(1)[:, 0]).sum()
        )
        mean = scores.exp().mean(1)
        assert (chance * mean * mean.log()).sum().item() == pytest.approx(
            information - bound.item(), abs=1e-12
        )
        gaps.append(information - bound.item())
    assert gaps[0] == pytest.approx(information)
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] > 0


def test_repeated_negatives_can_lift_the_number_above_the_information():
    """Step 3 of the proof needs candidates that can be exchanged. With ten copies of
    each negative, log(number of candidates) - L is no bound."""
    gaussians, pairs = CorrelatedGaussians(0.5, 4), 1024
    x, y = gaussians.sample(pairs, torch.Generator().manual_seed(0))
    own = gaussians.log_ratio(x, y).diagonal()
    negative = gaussians.log_ratio(x, y.roll(1, 0)).diagonal()
    for copies, above in ((1, False), (10, True)):
        scores = torch.cat(
            [own[:, None], negative[:, None].expand(pairs, copies)], dim=1
        )
        loss = info_nce(scores, torch.zeros(pairs, dtype=torch.long)).item()
        bound = mutual_information_bound(loss, 1 + copies)
        assert (bound > gaussians.mutual_information + 0.1) == above


def test_negatives_must_be_independent_of_the_pair_and_not_only_of_the_reference():
    """x and y1 are independent bits, and y2 says whether they differ: y2 is independent
    of x, yet x is a function of y1 and y2."""
    rows = [(x, y, x ^ y) for x in (0, 1) for y in (0, 1)]
    joint = {row: 1 / 4 for row in rows}

    def information(first, second):
        total = 0.0
        for row, p in joint.items():
            key = tuple(row[k] for k in first), tuple(row[k] for k in second)
            both, a, b = (
                sum(
                    q
                    for other, q in joint.items()
                    if all(
                        tuple(other[k] for k in where) == value
                        for where, value in wanted
                    )
                )
                for wanted in (
                    [(first, key[0]), (second, key[1])],
                    [(first, key[0])],
                    [(second, key[1])],
                )
            )
            total += p * math.log(both / (a * b))
        return total

    assert information([0], [1]) == information([0], [2]) == 0
    assert information([0], [1, 2]) == pytest.approx(math.log(2))
