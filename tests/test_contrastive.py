"""Siamese, supervised-contrastive and memory-bank methods, their losses, and the
supervised baseline.

The oracles are plain Python sums over the papers' formulas, closed forms and torch's
own losses.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from methods import TwoViews, dot, seeded, unit
from torch import nn

from course_lib.contrastive.false_negatives import (
    DebiasedSimCLR,
    TrueNegativesSimCLR,
    debiased_nt_xent,
    nt_xent_true_negatives,
)
from course_lib.contrastive.instance_discrimination import (
    InstanceDiscrimination,
    NCEInstanceDiscrimination,
    noise_contrastive,
    non_parametric_softmax,
)
from course_lib.contrastive.siamese import Siamese, triplet
from course_lib.contrastive.simclr import SimCLR
from course_lib.contrastive.supcon import SupCon, supervised_contrastive
from course_lib.data import Dataset, by_row
from course_lib.grading import sheet
from course_lib.grading.drive import run
from course_lib.grading.verdict import judge
from course_lib.losses import info_nce, nt_xent
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.optim import adamw
from course_lib.redundancy.barlow_twins import BarlowTwins
from course_lib.supervised import Supervised, cross_entropy
from course_lib.train import fit


def unit_rows(*shape, seed=0, dtype=torch.float32):
    rows = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    return (rows / rows.square().sum(-1, keepdim=True).sqrt()).to(dtype)


# --- triplet ---


def naive_triplet(anchor, same, other, margin, negative=lambda i: i):
    total = 0.0
    for i in range(len(anchor)):
        a, p, n = (
            unit(z.double().tolist()[j])
            for z, j in ((anchor, i), (same, i), (other, negative(i)))
        )
        energy_same, energy_other = (
            sum((s - t) ** 2 for s, t in zip(a, b)) for b in (p, n)
        )
        total += max(0.0, energy_same - energy_other + margin)
    return total / len(anchor)


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
def test_triplet_equals_a_loop_and_torchs_triplet_margin_loss(margin):
    anchor, same, other = torch.randn(3, 12, 4, generator=seeded())
    lengths = [
        z / z.square().sum(1, keepdim=True).sqrt() for z in (anchor, same, other)
    ]
    theirs = F.triplet_margin_with_distance_loss(
        *lengths, distance_function=lambda a, b: (a - b).square().sum(1), margin=margin
    )
    ours = triplet(anchor, same, other, margin).item()
    assert ours == pytest.approx(naive_triplet(anchor, same, other, margin), rel=1e-5)
    assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_triplet_of_equal_orthogonal_and_opposite_vectors_has_its_closed_form():
    z = torch.eye(4)
    # three equal vectors: the margin
    assert triplet(z, 2 * z, 5 * z, 0.7).item() == pytest.approx(0.7)
    # a negative at right angles has energy 2
    assert triplet(z, z, z.roll(1, 0), 3.0).item() == pytest.approx(1.0)
    # an opposite positive has energy 4
    assert triplet(z, -z, z, 0.5).item() == pytest.approx(4.5)


def test_triplet_and_its_gradient_are_zero_where_the_margin_is_met():
    anchor, same = (
        torch.tensor([[1.0, 0.1], [0.2, 1.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    )
    leaves = [z.clone().requires_grad_() for z in (anchor, same, -anchor)]
    loss = triplet(*leaves, 0.5)
    loss.backward()
    assert loss.item() == 0 and all((z.grad == 0).all() for z in leaves)
    triplet(leaves[0], leaves[1], leaves[2], 4.5).backward()
    assert all((z.grad != 0).any(1).all() for z in leaves[:2])


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), None])
def test_triplet_and_siamese_reject_a_margin_that_is_not_positive(margin):
    with pytest.raises(ValueError, match="`margin`: expected a positive number"):
        triplet(*torch.randn(3, 2, 4), margin)
    with pytest.raises(ValueError, match="`margin`"):
        Siamese(nn.Identity(), nn.Identity(), nn.Identity(), margin)


def test_triplet_names_the_bad_argument():
    with pytest.raises(ValueError, match="`other`.*N = 3 in `anchor`"):
        triplet(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="`same`.*got int64"):
        triplet(torch.zeros(3, 2), torch.zeros(3, 2).long(), torch.zeros(3, 2))


# --- supervised contrastive ---


def naive_supervised_contrastive(z1, z2, labels, tau):
    """Equation 2 of Khosla et al., averaged over the 2N anchors i in I; A(i) = I \\
    {i}."""
    z, label = (
        [unit(row) for row in [*z1.double().tolist(), *z2.double().tolist()]],
        labels.tolist() * 2,
    )
    total, everyone = 0.0, range(len(z))
    for i in everyone:
        others = [a for a in everyone if a != i]
        positives = [p for p in others if label[p] == label[i]]
        denominator = sum(math.exp(dot(z[i], z[a]) / tau) for a in others)
        total -= sum(
            math.log(math.exp(dot(z[i], z[p]) / tau) / denominator) for p in positives
        ) / len(positives)
    return total / len(z)


@pytest.mark.parametrize(
    "labels", [[0, 1, 0, 2, 2, 0, 3], [0, 1, 2, 3, 4, 5, 6], [5] * 7]
)
@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_supervised_contrastive_equals_the_papers_double_loop(labels, tau):
    z1, z2 = torch.randn(2, 7, 5, generator=seeded())
    labels = torch.tensor(labels)
    expected = naive_supervised_contrastive(z1, z2, labels, tau)
    assert supervised_contrastive(z1, z2, labels, tau).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_supervised_contrastive_equals_nt_xent_if_all_labels_differ():
    z1, z2 = torch.randn(2, 16, 8, generator=seeded(1), dtype=torch.float64)
    labels = torch.randperm(16, generator=seeded(2))
    assert supervised_contrastive(z1, z2, labels, 0.3).item() == pytest.approx(
        nt_xent(z1, z2, 0.3).item(), abs=1e-6
    )
    labels[0] = labels[1]
    assert (
        abs(supervised_contrastive(z1, z2, labels, 0.3) - nt_xent(z1, z2, 0.3)) > 1e-3
    )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 2], [0] * 6])
def test_supervised_contrastive_of_equal_embeddings_is_log_of_2n_minus_1(labels):
    same = torch.ones(6, 4)
    assert supervised_contrastive(
        same, 3 * same, torch.tensor(labels)
    ).item() == pytest.approx(math.log(11), rel=1e-6)


def test_supervised_contrastive_is_invariant_to_row_order_label_names_and_scale():
    z1, z2 = torch.randn(2, 9, 6, generator=seeded(), dtype=torch.float64)
    labels, order = (
        torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 3]),
        torch.randperm(9, generator=seeded(1)),
    )
    loss, renamed = (
        supervised_contrastive(z1, z2, labels),
        torch.tensor([7, -1, 0, 40])[labels],
    )
    torch.testing.assert_close(
        supervised_contrastive(z1[order], z2[order], labels[order]), loss
    )
    torch.testing.assert_close(supervised_contrastive(z1, z2, renamed), loss)
    torch.testing.assert_close(supervised_contrastive(z2, 3 * z1, labels.int()), loss)
    assert not torch.isclose(supervised_contrastive(z1, z2, labels.roll(1)), loss)


@pytest.mark.parametrize("labels", [[0, 1, 0, 2], [0, 1, 2, 3], [0, 0, 0, 0]])
def test_supervised_contrastive_gradient_equals_finite_differences(labels):
    z1, z2 = (
        z.requires_grad_()
        for z in torch.randn(2, 4, 3, generator=seeded(), dtype=torch.float64)
    )
    labels = torch.tensor(labels)
    assert torch.autograd.gradcheck(
        lambda a, b: supervised_contrastive(a, b, labels, 0.3), (z1, z2)
    )


@pytest.mark.parametrize(
    "labels", [torch.arange(8), torch.arange(8) % 3, torch.zeros(8, dtype=torch.long)]
)
def test_supervised_contrastive_and_its_gradient_are_finite_at_extreme_inputs(labels):
    """The -inf on the diagonal, which excludes a view from its own candidates, must not
    become NaN in the gradient."""
    views = torch.randn(2, 8, 4, generator=seeded())
    for both, tau in (
        (views, 1e-3),
        (views, 1e3),
        (torch.ones(2, 8, 4), 0.1),
        (1e20 * views, 0.1),
    ):
        leaves = [z.clone().requires_grad_() for z in both]
        loss = supervised_contrastive(*leaves, labels, tau)
        loss.backward()
        assert loss.isfinite() and all(z.grad.isfinite().all() for z in leaves)
    assert supervised_contrastive(*views.bfloat16(), labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(3).long()),
            "`z2`.*N = 3 in `z1`",
        ),
        (
            (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(6).long()),
            "`labels`.*N = 3 in `z1`",
        ),
        (
            (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3)),
            "`labels`: expected a tensor \\(int\\).*got float32",
        ),
        ((torch.zeros(3, 2), torch.zeros(3, 2), None), "`labels`.*got NoneType"),
        ((torch.zeros(3), torch.zeros(3), torch.zeros(3).long()), "`z1`.*\\(N, D\\)"),
        (
            (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3).long(), 0.0),
            "`temperature`: expected a positive",
        ),
    ],
)
def test_supervised_contrastive_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        supervised_contrastive(*arguments)


# --- the bank's losses ---


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_non_parametric_softmax_is_cross_entropy_with_the_bank_as_weights(tau):
    v, bank, rows = (
        unit_rows(6, 4),
        unit_rows(11, 4, seed=1),
        torch.tensor([3, 0, 10, 3, 7, 1]),
    )
    scores = torch.tensor(
        [[dot(u, b) / tau for b in bank.double().tolist()] for u in v.double().tolist()]
    )
    expected = F.cross_entropy(scores, rows).item()
    assert non_parametric_softmax(v, bank, rows, tau).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_non_parametric_softmax_of_equal_bank_rows_is_the_log_of_their_number():
    v, bank = unit_rows(5, 3), unit_rows(1, 3, seed=1).expand(40, 3)
    assert non_parametric_softmax(v, bank, torch.arange(5)).item() == pytest.approx(
        math.log(40), rel=1e-6
    )


def naive_noise_contrastive(v, bank, rows, noise, log_z, tau):
    """Wu et al., equations 4 to 7: P(i | v) = exp(v . f_i / tau) / Z, h(i, v) = P(i |
    v) / (P(i | v) + m / n)."""
    v, bank = v.double().tolist(), bank.double().tolist()
    images, drawn = len(bank), noise.shape[1]

    def p(i, u):
        return math.exp(dot(u, bank[i]) / tau) / math.exp(log_z)

    def h(i, u):
        return p(i, u) / (p(i, u) + drawn * (1 / images))

    total = 0.0
    for u, row, others in zip(v, rows.tolist(), noise.tolist()):
        total += -math.log(h(row, u)) - sum(
            math.log(1 - h(other, u)) for other in others
        )
    return total / len(v)


@pytest.mark.parametrize(
    ("tau", "log_z"), [(0.07, 12.0), (0.5, 3.0), (1.0, torch.tensor(-1.5))]
)
def test_noise_contrastive_equals_the_papers_definitions(tau, log_z):
    v, bank, rows = (
        unit_rows(5, 4),
        unit_rows(13, 4, seed=1),
        torch.tensor([12, 0, 4, 4, 9]),
    )
    noise = torch.randint(13, (5, 7), generator=seeded(2))
    expected = naive_noise_contrastive(v, bank, rows, noise, float(log_z), tau)
    assert noise_contrastive(v, bank, rows, noise, log_z, tau).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_noise_contrastive_gradient_approaches_that_of_the_full_softmax():
    """Gutmann and Hyvarinen: with many noise samples NCE's gradient becomes that of
    maximum likelihood."""
    vectors, bank = (
        unit_rows(4, 8, dtype=torch.float64),
        unit_rows(50, 8, seed=1, dtype=torch.float64),
    )
    cosines = {20: [], 20_000: []}
    for i, v in enumerate(vectors):
        v = v[None].requires_grad_()
        # exact, for this v
        log_z = math.log(
            sum(math.exp(dot(v[0].tolist(), b) / 0.3) for b in bank.tolist())
        )
        (full,) = torch.autograd.grad(
            F.cross_entropy(v @ bank.T / 0.3, torch.tensor([i])), v
        )
        for k, found in cosines.items():
            noise = torch.randint(50, (1, k), generator=seeded(i))
            (sampled,) = torch.autograd.grad(
                noise_contrastive(v, bank, torch.tensor([i]), noise, log_z, 0.3), v
            )
            found.append(F.cosine_similarity(sampled, full).item())
        assert (sampled.norm() / full.norm()).item() == pytest.approx(1, abs=0.05)
    assert min(cosines[20_000]) > 0.99 > min(cosines[20])


def test_memory_bank_losses_are_finite_at_extremes_and_computed_in_float32():
    v, bank, rows = unit_rows(6, 4), unit_rows(9, 4, seed=1), torch.arange(6)
    noise = torch.randint(9, (6, 5), generator=seeded())
    for tau, log_z in ((1e-4, 0.0), (1e4, 0.0), (0.1, 1e5), (0.1, -1e5)):
        leaf = v.clone().requires_grad_()
        loss = noise_contrastive(
            leaf, bank, rows, noise, log_z, tau
        ) + non_parametric_softmax(leaf, bank, rows, tau)
        loss.backward()
        assert loss.isfinite() and leaf.grad.isfinite().all()
    low = v.bfloat16(), bank.bfloat16(), rows
    exact = noise_contrastive(low[0].float(), low[1].float(), rows, noise, 2.0)
    assert (
        torch.equal(noise_contrastive(*low, noise, 2.0), exact)
        and exact.dtype == torch.float32
    )
    assert torch.equal(
        non_parametric_softmax(*low),
        non_parametric_softmax(low[0].float(), low[1].float(), rows),
    )


@pytest.mark.parametrize("tau", [0.0, -0.1, float("nan")])
def test_memory_bank_losses_name_the_bad_argument(tau):
    v, bank, rows, noise = (
        unit_rows(3, 4),
        unit_rows(5, 4),
        torch.arange(3),
        torch.zeros(3, 2).long(),
    )
    with pytest.raises(ValueError, match="`temperature`"):
        non_parametric_softmax(v, bank, rows, tau)
    with pytest.raises(ValueError, match="`temperature`"):
        noise_contrastive(v, bank, rows, noise, 0.0, tau)
    with pytest.raises(ValueError, match="`bank`.*D = 4 in `v`"):
        non_parametric_softmax(v, bank[:, :3], rows)
    with pytest.raises(ValueError, match="`noise`.*N = 3 in `v`"):
        noise_contrastive(v, bank, rows, noise[:2], 0.0)


# --- the methods ---


def pictures(n=16, size=16, seed=0):
    x = torch.randint(
        0, 256, (n, 3, size, size), dtype=torch.uint8, generator=seeded(seed)
    )
    return by_row(Dataset(x, torch.zeros(n, dtype=torch.long), ()))


def networks(seed=0):
    torch.manual_seed(seed)
    return ResNet((8, 16), norm=group_norm), mlp(16, 16, 8, norm=None)


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


def unchanged(x):
    return x


METHODS = {
    "SimCLR": lambda seed=0: SimCLR(*networks(seed), noisy),
    "DebiasedSimCLR": lambda seed=0: DebiasedSimCLR(*networks(seed), noisy),
    "TrueNegativesSimCLR": lambda seed=0: TrueNegativesSimCLR(*networks(seed), noisy),
    "Siamese": lambda seed=0: Siamese(*networks(seed), noisy),
    "SupCon": lambda seed=0: SupCon(*networks(seed), noisy),
    "InstanceDiscrimination": lambda seed=0: InstanceDiscrimination(
        *networks(seed), noisy, 20, 8
    ),
    "NCEInstanceDiscrimination": lambda seed=0: NCEInstanceDiscrimination(
        *networks(seed), noisy, 20, 8, noise=32
    ),
    "Supervised": lambda seed=0: Supervised(
        networks(seed)[0], nn.Linear(16, 20), noisy
    ),
}


@pytest.mark.parametrize("name", list(METHODS))
def test_loss_is_float32_under_autocast_with_gradient_for_every_parameter(name):
    method, data = METHODS[name](), pictures(8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.loss(data.x / 255, data.y)
    assert loss.shape == () and loss.dtype == torch.float32
    loss.backward()
    silent = [
        where
        for where, p in method.named_parameters()
        if p.grad is None or not (p.grad != 0).any()
    ]
    assert not silent and all(p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("name", list(METHODS))
def test_encode_is_the_encoder_without_augmentation_or_head(name):
    method, x = METHODS[name](), pictures(5).x / 255
    h = method.encode(x)
    assert (
        h.shape == (5, 16)
        and torch.equal(h, method.encoder(x))
        and torch.equal(h, method.encode(x))
    )


@pytest.mark.parametrize("name", list(METHODS))
def test_state_dict_restores_buffers_and_loss(name):
    method, other, data = METHODS[name](), METHODS[name](seed=1), pictures()
    for _ in fit(method, data, 2, batch_size=8):
        pass
    other.load_state_dict(method.state_dict())
    for buffer, value in method.named_buffers():
        assert torch.equal(other.get_buffer(buffer), value)
    values = []
    for each in (method, other):
        each.progress = 0.5
        torch.manual_seed(3)
        values.append(each.loss(data.x[:8] / 255, data.y[:8]).item())
    # fit changed the memory format of the first one's convolutions
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    expected = {
        "InstanceDiscrimination": {"bank"},
        "NCEInstanceDiscrimination": {"bank", "log_z"},
    }
    assert {buffer for buffer, _ in method.named_buffers()} == expected.get(name, set())


def outputs(method, x):
    """Both fixed views (N, 3, H, W) of x (N, 6, H, W) through encoder and projector."""
    return [
        method.projector(method.encoder(view)).detach() for view in (x[:, :3], x[:, 3:])
    ]


def test_siamese_loss_takes_another_pictures_second_view_as_the_negative():
    x = torch.rand(5, 6, 16, 16, generator=seeded())
    method = Siamese(*networks(), TwoViews(), margin=0.05)
    z1, z2 = outputs(method, x[:2])
    expected = naive_triplet(z1, z2, z2, 0.05, negative=lambda i: 1 - i)
    assert method.loss(x[:2]).item() == pytest.approx(expected, rel=1e-4)
    z1, z2 = outputs(method, x)
    neighbours = [
        naive_triplet(z1, z2, z2, 0.05, negative=lambda i, s=shift: (i + s) % 5)
        for shift in (1, -1)
    ]
    assert method.loss(x).item() in [
        pytest.approx(value, rel=1e-4) for value in neighbours
    ]


def test_supcon_loss_is_supervised_contrastive_of_both_projected_views():
    x, y = (
        torch.rand(6, 6, 16, 16, generator=seeded()),
        torch.tensor([0, 1, 0, 2, 1, 0]),
    )
    method = SupCon(*networks(), TwoViews(), temperature=0.3)
    expected = naive_supervised_contrastive(*outputs(method, x), y, 0.3)
    assert method.loss(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_supervised_loss_is_the_negative_log_probability_of_the_label():
    data, labels = pictures(5), [0, 2, 1, 2, 0]
    method = Supervised(networks()[0], nn.Linear(16, 3), unchanged)
    expected = 0.0
    for h, label in zip(method.encode(data.x / 255), labels):
        odds = [math.exp(logit) for logit in method.classifier(h).tolist()]
        expected -= math.log(odds[label] / sum(odds)) / 5
    assert method.loss(data.x / 255, torch.tensor(labels)).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert (
        cross_entropy(torch.zeros(2, 3).bfloat16(), torch.tensor([0, 2])).dtype
        == torch.float32
    )


class Watched:
    """Records the bank before the update, the rows of the batch, and the unit vectors
    of the batch."""

    def loss(self, x, y):
        with torch.no_grad():
            z = self.projector(self.encoder(x))
        self.was, self.rows, self.views = (
            self.bank.clone(),
            y,
            z / z.square().sum(1, keepdim=True).sqrt(),
        )
        return super().loss(x, y)


class WatchedBank(Watched, InstanceDiscrimination):
    pass


class WatchedNCE(Watched, NCEInstanceDiscrimination):
    pass


@pytest.mark.parametrize("kind", [WatchedBank, WatchedNCE])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_after_step_moves_only_the_batchs_bank_rows_to_a_normalised_average(
    kind, momentum
):
    # four rows belong to no picture
    method, data = kind(*networks(), unchanged, 20, 8, momentum=momentum), pictures(16)
    # at the first update the bank is as before_epoch filled it
    for _ in fit(method, data, 2, batch_size=8, optimizers=adamw(1e-2)):
        pass
    moved = (method.bank != method.was).any(1).nonzero().flatten()
    assert torch.equal(moved, method.rows.sort().values)
    for row, view in zip(method.rows.tolist(), method.views.tolist()):
        mix = [
            momentum * old + (1 - momentum) * new
            for old, new in zip(method.was[row].tolist(), view)
        ]
        assert method.bank[row].tolist() == pytest.approx(unit(mix), abs=1e-6)
        if momentum == 0:
            assert method.bank[row].tolist() == pytest.approx(view, abs=1e-6)
    torch.testing.assert_close(method.bank.square().sum(1), torch.ones(20))


def test_memory_bank_with_momentum_1_never_changes():
    method = WatchedBank(*networks(), unchanged, 16, 8, momentum=1.0)
    for _ in fit(method, pictures(16), 3, batch_size=8, optimizers=adamw(1e-2)):
        torch.testing.assert_close(method.bank, method.was)


@pytest.mark.parametrize(
    "name", ["InstanceDiscrimination", "NCEInstanceDiscrimination"]
)
def test_memory_bank_is_written_by_after_step_only_and_gets_no_gradient(name):
    method, data = METHODS[name](), pictures(8)
    bank = method.bank.clone()
    method.loss(data.x / 255, data.y).backward()
    assert torch.equal(method.bank, bank), "the loss left the bank to after_step"
    # with gradients enabled: the written vectors must be detached
    method.after_step()
    assert (
        not torch.equal(method.bank, bank)
        and not method.bank.requires_grad
        and method.bank.grad is None
    )
    assert all(p.shape != bank.shape for p in method.parameters())


def test_before_epoch_fills_the_bank_in_data_order_in_the_first_epoch_only():
    method, data = (
        InstanceDiscrimination(*networks(), unchanged, 610, 8),
        pictures(600, size=8),
    )
    random = method.bank.clone()
    torch.testing.assert_close(random.square().sum(1), torch.ones(610))
    with torch.no_grad():
        method.before_epoch(data)
        z = torch.cat([method.projector(method.encoder(x[None] / 255)) for x in data.x])
    torch.testing.assert_close(
        method.bank[:600], z / z.square().sum(1, keepdim=True).sqrt()
    )
    assert torch.equal(method.bank[600:], random[600:])
    filled = method.bank.clone()
    method.progress = 0.01
    nn.init.normal_(method.projector[0].weight)
    method.before_epoch(data)
    assert torch.equal(method.bank, filled)


def test_memory_bank_begins_with_random_rows_for_streamed_data():
    method, data = WatchedBank(*networks(), unchanged, 16, 8), pictures(16)
    random = method.bank.clone()
    next(fit(method, list(zip(data.x, data.y)), 1, batch_size=8, workers=0))
    assert torch.equal(method.was, random) and not torch.equal(method.bank, random)


def test_instance_discrimination_encodes_all_data_once_before_training():
    seen = []

    def counted(x):
        seen.append(len(x))
        return x

    method = InstanceDiscrimination(*networks(), counted, 16, 8)
    assert len(list(fit(method, pictures(16), 6, batch_size=8))) == 6
    assert seen == [16] + 6 * [8]


@pytest.mark.parametrize(
    "name", ["InstanceDiscrimination", "NCEInstanceDiscrimination", "SupCon"]
)
def test_loss_rejects_missing_or_wrong_rows_and_labels(name):
    method, data = METHODS[name](), pictures(4)
    for bad in (None, data.y.float(), data.y[:3]):
        with pytest.raises(ValueError, match="`rows`|`labels`"):
            method.loss(data.x / 255, bad)
    with pytest.raises(TypeError, match="'y'"):
        method.loss(data.x / 255)


def test_instance_discrimination_loss_is_cross_entropy_of_the_pictures_own_row():
    method, data = (
        InstanceDiscrimination(*networks(), unchanged, 12, 8, temperature=0.2),
        pictures(6),
    )
    z = method.projector(method.encoder(data.x / 255)).tolist()
    rows = torch.tensor([11, 0, 3, 7, 2, 5])
    expected = 0.0
    for u, row in zip(z, rows.tolist()):
        odds = [math.exp(dot(unit(u), b) / 0.2) for b in method.bank.tolist()]
        expected -= math.log(odds[row] / sum(odds)) / 6
    assert method.loss(data.x / 255, rows).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="`rows`: expected numbers from 0 to 11"):
        method.loss(data.x / 255, rows + 1)


@pytest.mark.parametrize(("images", "rows"), [(16, 16), (40, 16)])
def test_nce_estimates_log_z_at_the_first_update_and_keeps_it(images, rows):
    method = WatchedNCE(*networks(), unchanged, images, 8, temperature=0.2, noise=16)
    assert method.log_z == 0
    steps = fit(method, pictures(rows), 5, batch_size=8, optimizers=adamw(1e-2))
    next(steps)
    z = [
        sum(math.exp(dot(u, b) / 0.2) for b in method.was.tolist())
        for u in method.views.tolist()
    ]
    first = method.log_z.clone()
    assert first.item() == pytest.approx(math.log(sum(z) / len(z)), abs=1e-5)
    assert [torch.equal(method.log_z, first) for _ in steps] == 4 * [True]


def test_nce_draws_fresh_noise_from_the_whole_bank(monkeypatch):
    drawn, randint = [], torch.randint

    def watched(*args, **kwargs):
        drawn.append(randint(*args, **kwargs))
        return drawn[-1]

    method, data = (
        NCEInstanceDiscrimination(*networks(), unchanged, 20, 8, noise=500),
        pictures(4),
    )
    monkeypatch.setattr(torch, "randint", watched)
    values = [method.loss(data.x / 255, data.y).item() for _ in range(2)]
    assert (
        [noise.shape for noise in drawn] == 2 * [(4, 500)]
        and not torch.equal(*drawn)
        and values[0] != values[1]
    )
    # 100 each on average
    assert all((noise.flatten().bincount(minlength=20) > 50).all() for noise in drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(images=0, dim=8), "`images`: expected a whole number"),
        (dict(images=4, dim=8.0), "`dim`: expected a whole number"),
        (dict(images=4, dim=8, temperature=0.0), "`temperature`"),
        (
            dict(images=4, dim=8, momentum=1.1),
            "`momentum`: expected a number in \\[0, 1\\]",
        ),
        (dict(images=4, dim=8, noise=0), "`noise`: expected a whole number"),
    ],
)
def test_instance_discrimination_names_the_bad_argument(options, message):
    with pytest.raises(ValueError, match=message):
        NCEInstanceDiscrimination(nn.Identity(), nn.Identity(), unchanged, **options)


def test_info_nce_accepts_int32_positives():
    scores, positive = torch.randn(4, 6), torch.tensor([5, 0, 2, 2])
    assert torch.equal(info_nce(scores, positive.int()), info_nce(scores, positive))


def test_nce_estimates_log_z_in_float32_under_autocast():
    method = NCEInstanceDiscrimination(*networks(), unchanged, 32, 8, noise=4)
    with torch.autocast("cpu", torch.bfloat16):
        method.loss(torch.rand(8, 3, 16, 16), torch.arange(8))
    assert method.log_z.dtype == torch.float32


def test_before_epoch_rejects_more_rows_than_the_bank_and_makes_no_batch_of_1():
    # BatchNorm needs two rows
    method = InstanceDiscrimination(ResNet((8, 16)), mlp(16, 16, 8), unchanged, 513, 8)
    data = Dataset(
        torch.randint(0, 256, (513, 3, 16, 16), dtype=torch.uint8),
        torch.arange(513),
        (),
    )
    with torch.no_grad():
        method.before_epoch(data)
    with pytest.raises(
        ValueError, match="`images`: expected the data's 513 or more, got 20"
    ):
        InstanceDiscrimination(*networks(), unchanged, 20, 8).before_epoch(data)


# --- wrong labels, and batches without another picture ---


@pytest.mark.parametrize("method", [SimCLR, Siamese, SupCon, BarlowTwins])
def test_a_batch_of_one_picture_is_rejected_where_pictures_are_compared(method):
    """The gradient of such a loss would be zero."""
    made, data = method(*networks(), noisy), pictures(4)
    message = f"at least 2 images, because {method.__name__} .*got 1"
    with pytest.raises(ValueError, match=message):
        next(fit(made, data, 1, batch_size=1))
    next(fit(made, data, 1, batch_size=2))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [-100, 0], [0, 10**9]])
def test_labels_that_are_no_class_are_named(labels):
    y = torch.tensor(labels)
    with pytest.raises(
        ValueError, match="`labels`: expected numbers from 0 to 2, got "
    ):
        cross_entropy(torch.zeros(2, 3), y)
    with pytest.raises(
        ValueError, match="`positive`: expected numbers from 0 to 2, got"
    ):
        info_nce(torch.zeros(2, 3), y)
    v, bank, noise = torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(2, 5).long()
    with pytest.raises(ValueError, match="`rows`: expected numbers from 0 to 2, got"):
        non_parametric_softmax(v, bank, y)
    with pytest.raises(ValueError, match="`rows`: expected numbers from 0 to 2, got"):
        noise_contrastive(v, bank, y, noise, 0.0)
    with pytest.raises(ValueError, match="`noise`: expected numbers from 0 to 2, got"):
        noise_contrastive(v, bank, torch.tensor([0, 2]), noise + 3, 0.0)


def test_losses_with_labels_can_still_be_differentiated_by_torch_func():
    scores, y = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 2, 1, 1])
    found = torch.func.grad(lambda s: cross_entropy(s, y))(scores)
    expected = (scores.softmax(1) - F.one_hot(y, 3)) / 4
    torch.testing.assert_close(found, expected)


# --- false negatives ---


def naive_debiased(z1, z2, prior, tau):
    """Equations 7 and 8 of Chuang et al. with one positive, for each of the 2N
    views."""
    z, n = [unit(row) for row in [*z1.tolist(), *z2.tolist()]], len(z1)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        own = math.exp(dot(z[i], z[j]) / tau)
        others = [
            math.exp(dot(z[i], z[k]) / tau) for k in range(2 * n) if k not in (i, j)
        ]
        estimate = (sum(others) / len(others) - prior * own) / (1 - prior)
        estimate = max(estimate, math.exp(-1 / tau))
        total -= math.log(own / (own + len(others) * estimate))
    return total / (2 * n)


@pytest.mark.parametrize("prior", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_debiased_nt_xent_equals_the_papers_estimate(prior, tau):
    z1, z2 = torch.randn(2, 7, 5, generator=seeded(), dtype=torch.float64)
    assert debiased_nt_xent(z1, z2, prior, tau).item() == pytest.approx(
        naive_debiased(z1, z2, prior, tau), rel=1e-9
    )


def test_debiased_nt_xent_with_prior_0_is_nt_xent_with_its_gradient():
    for z1, z2, tau in (
        (*torch.randn(2, 9, 6, generator=seeded(), dtype=torch.float64), 0.1),
        # all views opposite to their partners
        (torch.ones(1, 3).double(), -torch.ones(1, 3).double(), 0.5),
    ):
        leaves = [z.clone().requires_grad_() for z in (z1, z2)]
        losses = debiased_nt_xent(*leaves, 0.0, tau), nt_xent(*leaves, tau)
        ours, theirs = (torch.autograd.grad(loss, leaves) for loss in losses)
        torch.testing.assert_close(losses[0], losses[1])
        torch.testing.assert_close(ours, theirs)


def test_debiased_estimate_is_the_mean_over_true_negatives_if_the_prior_is_right():
    """Embeddings on the axes, one axis for each class, so that all views of a class
    are equal: then the partner is a typical false negative, and the estimate is
    exact."""
    labels = torch.arange(4).repeat(6)
    z = torch.eye(4, dtype=torch.float64)[labels]
    share = (2 * 6 - 2) / (2 * 24 - 2)  # of the negatives, by count
    loss = debiased_nt_xent(z, z, share, 0.5)
    own, other = math.exp(1 / 0.5), 1.0
    assert loss.item() == pytest.approx(-math.log(own / (own + 46 * other)))


@pytest.mark.parametrize("tau", [1e-3, 0.2, 1e3])
def test_losses_about_false_negatives_are_finite_at_extremes_with_their_gradients(tau):
    labels = torch.arange(8) % 3
    for z in (torch.randn(2, 8, 4, generator=seeded()), torch.ones(2, 8, 4)):
        leaves = [each.clone().requires_grad_() for each in z]
        loss = debiased_nt_xent(*leaves, 0.1, tau)
        loss = loss + nt_xent_true_negatives(*leaves, labels, tau)
        loss.backward()
        assert loss.isfinite() and all(each.grad.isfinite().all() for each in leaves)


def test_nt_xent_true_negatives_equals_a_loop_over_partner_and_other_classes():
    z1, z2 = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.float64)
    labels, expected = torch.tensor([0, 1, 0, 2, 1, 0]), 0.0
    z, label = [unit(row) for row in [*z1.tolist(), *z2.tolist()]], 2 * labels.tolist()
    for i in range(12):
        j = (i + 6) % 12
        candidates = [j] + [k for k in range(12) if label[k] != label[i]]
        odds = [math.exp(dot(z[i], z[k]) / 0.3) for k in candidates]
        expected -= math.log(odds[0] / sum(odds)) / 12
    found = nt_xent_true_negatives(z1, z2, labels, 0.3)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    different = torch.randperm(6, generator=seeded())
    torch.testing.assert_close(
        nt_xent_true_negatives(z1, z2, different, 0.3), nt_xent(z1, z2, 0.3)
    )


@pytest.mark.parametrize("prior", [1, 1.0, -0.1, float("nan"), None])
def test_debiased_nt_xent_rejects_a_prior_outside_0_to_1(prior):
    with pytest.raises(ValueError, match="`prior`: expected a number"):
        debiased_nt_xent(*torch.randn(2, 4, 3), prior)


def test_simclr_variants_compare_both_projected_views():
    x, y = torch.rand(6, 6, 16, 16, generator=seeded()), torch.arange(6) % 3
    f, g = networks()
    for method, loss in (
        (SimCLR(f, g, TwoViews(), 0.3), lambda a, b: nt_xent(a, b, 0.3)),
        (
            DebiasedSimCLR(f, g, TwoViews(), 0.3, prior=0.05),
            lambda a, b: naive_debiased(a.double(), b.double(), 0.05, 0.3),
        ),
        (
            TrueNegativesSimCLR(f, g, TwoViews(), 0.3),
            lambda a, b: nt_xent_true_negatives(a, b, y, 0.3),
        ),
    ):
        expected = float(loss(*outputs(method, x)))
        assert method.loss(x, y).item() == pytest.approx(expected, rel=1e-5)


# --- the sheet: wrong answers that must lose points ---


@pytest.fixture(scope="module")
def found():
    return sheet.read("03_contrastive")


def lost(found, name, answer, hidden=True):
    """The properties that an answer lacks."""
    (master,) = [each for each in found.masters if each.name == name]
    exercise = master.exercise(
        found.drivers[f"drive_{name}"], found.solutions[name], hidden=hidden
    )
    outcomes = [run(exercise.drive, answer, case.arrays) for case in exercise.cases]
    return [r.property.name for r in judge(exercise, outcomes).results if not r.passed]


def in_float32(answer):
    """The answer to a function of tensors, computed in float32 and then converted."""

    def lowered(*arguments):
        low = [
            x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
            for x in arguments
        ]
        return answer(*low).to(arguments[0].dtype)

    return lowered


@pytest.mark.parametrize(
    "name",
    [
        "cosine_similarity_matrix",
        "info_nce",
        "nt_xent",
        "update_bank",
        "knn_vote",
        "uniformity",
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_sheet_rejects_float64_that_is_computed_in_float32(found, name, hidden):
    assert not lost(found, name, found.solutions[name], hidden)
    assert lost(found, name, in_float32(found.solutions[name]), hidden)


def nan_at_zero(a, b):
    lengths = a.norm(dim=1)[:, None] * b.norm(dim=1)
    return torch.where(lengths == 0, lengths, a @ b.T / lengths)


def coarse(a, b):
    return F.normalize(a, dim=1, eps=1e-4) @ F.normalize(b, dim=1, eps=1e-4).T


@pytest.mark.parametrize("answer", [nan_at_zero, coarse])
@pytest.mark.parametrize("hidden", [False, True])
def test_sheet_rejects_a_nan_gradient_of_zero_rows_and_a_coarse_clamp(
    found, answer, hidden
):
    assert lost(found, "cosine_similarity_matrix", answer, hidden) == [
        "is right for zero, short and long rows"
    ]


@pytest.mark.parametrize("name", ["info_nce", "nt_xent", "uniformity"])
def test_sheet_rejects_requires_grad_left_on_an_argument(found, name):
    def answer(first, *others):
        return found.solutions[name](first.requires_grad_(), *others)

    assert "leaves its arguments alone" in lost(found, name, answer)


def test_sheet_rejects_encode_that_leaves_eval_mode_and_names_copies(found):
    right = found.solutions["TwoViews"]

    class LeavesEval(right):
        def encode(self, x):
            return self.eval().encoder(x)

    class Copies(right):
        def __init__(self, encoder, projector, augment, contrast):
            super().__init__(
                copy.deepcopy(encoder), copy.deepcopy(projector), augment, contrast
            )

    assert lost(found, "TwoViews", LeavesEval) == [
        "encodes a picture as it is, without the projector"
    ]
    (public,) = [each for each in found.public() if each.name == "TwoViews"]
    outcomes = [run(public.drive, Copies, case.arrays) for case in public.cases]
    verdict = judge(public, outcomes)
    assert not verdict.solved and verdict.mistake.name == "copies"
