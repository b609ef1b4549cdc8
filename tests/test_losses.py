import math

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss

from course_lib.losses import full_precision, nt_xent


def naive_nt_xent(z1, z2, tau):
    """SimCLR's Algorithm 1 as it is printed: rows 2k - 1 and 2k are the two views of image k, plain Python sums."""
    z = [row for pair in zip(z1.double().tolist(), z2.double().tolist()) for row in pair]
    dot = lambda u, v: sum(a * b for a, b in zip(u, v))  # noqa: E731
    s = lambda i, j: dot(z[i], z[j]) / math.sqrt(dot(z[i], z[i]) * dot(z[j], z[j]))  # noqa: E731

    def loss(i, j):
        return -math.log(math.exp(s(i, j) / tau) / sum(math.exp(s(i, k) / tau) for k in range(len(z)) if k != i))

    return sum(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(len(z1))) / len(z)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
def test_nt_xent_equals_the_papers_double_loop(tau):
    z1, z2 = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    assert nt_xent(z1, z2, tau).item() == pytest.approx(naive_nt_xent(z1, z2, tau), rel=1e-5)


def test_nt_xent_equals_lightly():
    z1, z2 = torch.randn(2, 33, 16, generator=torch.Generator().manual_seed(1))
    assert nt_xent(z1, z2, 0.2).item() == pytest.approx(NTXentLoss(0.2)(z1, z2).item(), abs=1e-5)


@pytest.mark.parametrize("n", [2, 5, 64])
def test_collapsed_embeddings_cost_log_of_2n_minus_1(n):
    same = torch.ones(n, 4)
    assert nt_xent(same, 3 * same).item() == pytest.approx(math.log(2 * n - 1), rel=1e-6)


def test_nt_xent_ignores_the_length_of_rows_their_order_and_which_view_is_first():
    z1, z2 = torch.randn(2, 9, 6, dtype=torch.float64)
    loss, order = nt_xent(z1, z2), torch.randperm(9)
    for other in (nt_xent(5 * z1, z2 / 3), nt_xent(z1[order], z2[order]), nt_xent(z2, z1)):
        torch.testing.assert_close(other, loss)
    shuffled = nt_xent(z1, z2[order.roll(1)])
    assert (order.roll(1) == torch.arange(9)).all() or not torch.isclose(shuffled, loss)


def test_nt_xent_gradient_by_finite_differences():
    z1, z2 = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.3), (z1.detach().requires_grad_(), z2.detach().requires_grad_())
    )


def test_nt_xent_survives_extreme_temperatures_and_low_precision():
    z1, z2 = torch.randn(2, 16, 8)
    assert nt_xent(z1, z2, 1e-3).isfinite() and nt_xent(1e20 * z1, z2, 0.1).isfinite()
    half = nt_xent(z1.bfloat16(), z2.bfloat16(), 0.1)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(nt_xent(z1.bfloat16().float(), z2.bfloat16().float(), 0.1).item(), rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert nt_xent(z1, z2, 0.1).item() == pytest.approx(naive_nt_xent(z1, z2, 0.1), rel=1e-5)


def test_full_precision_leaves_float64_alone():
    assert full_precision(lambda x: x)(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 2), torch.zeros(4, 2)), "`z2`.*N = 3 in `z1`"),
        (
            (torch.zeros(3), torch.zeros(3)),
            "`z1`: expected a tensor \\(float\\) of shape \\(N, D\\), got float32 of shape \\(3,\\)",
        ),
        ((torch.zeros(3, 2).long(), torch.zeros(3, 2)), "`z1`.*got int64"),
        ((torch.zeros(3, 2), torch.zeros(3, 2, device="meta")), "`z2`: expected on cpu like `z1`, got meta"),
        ((torch.zeros(3, 2), None), "`z2`.*got NoneType"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), 0.0), "`temperature`: expected a positive number, got 0.0"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), float("nan")), "`temperature`"),
    ],
)
def test_nt_xent_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(*arguments)


def test_partner_is_the_only_positive():
    """With every image orthogonal to every other and the views equal, the loss has a closed form."""
    z = torch.eye(6)
    expected = -math.log(math.exp(2) / (math.exp(2) + 10))  # tau = 1/2: partner at cos 1, ten others at cos 0
    assert nt_xent(z, z, 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert nt_xent(z, z.roll(1, 0), 0.5) > F.softplus(torch.tensor(2.0))
