"""Knowledge distillation, BYOL, SimSiam, Barlow Twins, DINO: their losses, and which
weights each method updates when.

The oracles are plain Python loops over the papers' formulas, closed forms, numpy, and
the losses of torch and lightly.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity
from methods import TwoViews, dot, normal, seeded, view_pairs
from torch import nn

from course_lib.data import Dataset, as_float
from course_lib.distillation.byol import BYOL, byol_loss
from course_lib.distillation.dino import DINO, Prototypes, dino_loss
from course_lib.distillation.knowledge import (
    KnowledgeDistillation,
    distillation_loss,
    soft_targets,
)
from course_lib.distillation.simsiam import SimSiam, negative_cosine
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.optim import adamw, sgd
from course_lib.redundancy.barlow_twins import (
    BarlowTwins,
    barlow_twins_loss,
    cross_correlation,
)
from course_lib.train import fit


def cosine_of(u, v):
    return dot(u, v) / math.sqrt(dot(u, u) * dot(v, v))


def softmax(row):
    exponentials = [math.exp(a - max(row)) for a in row]
    return [e / sum(exponentials) for e in exponentials]


def small_encoder(norm=group_norm):
    return ResNet((8, 16), norm=norm)


def first_view(x):
    return x[:, :3]


def four_crops(x):
    """Fixed views of pictures of six channels: two of 16 x 16, two of 8 x 8."""
    return [x[:, :3], x[:, 3:], x[:, :3, 4:12, 4:12], x[:, 3:, :8, 2:10]]


def byol(seed=0, **options):
    torch.manual_seed(seed)
    return BYOL(
        small_encoder(),
        mlp(16, 16, 8, norm=None),
        mlp(8, 16, 8, norm=None),
        TwoViews(),
        **options,
    )


def simsiam(seed=0):
    torch.manual_seed(seed)
    return SimSiam(
        small_encoder(), mlp(16, 16, 8, norm=None), mlp(8, 4, 8, norm=None), TwoViews()
    )


def barlow_twins(seed=0, **options):
    torch.manual_seed(seed)
    return BarlowTwins(
        small_encoder(), mlp(16, 16, 12, norm=None), TwoViews(), **options
    )


def dino(seed=0, norm=group_norm, augment=four_crops, **options):
    torch.manual_seed(seed)
    return DINO(
        small_encoder(norm),
        mlp(16, 16, 8, norm=None),
        Prototypes(8, 10),
        augment,
        **options,
    )


def distilled(seed=0, augment=first_view, **options):
    """Its teacher has layers that would change in train mode: running statistics and
    dropout."""
    torch.manual_seed(seed)
    teacher = nn.Sequential(ResNet((8,)), nn.Dropout(0.5), nn.Linear(8, 5))
    return KnowledgeDistillation(
        small_encoder(), nn.Linear(16, 5), teacher, augment, **options
    )


def pairs_of_pictures(n=12):
    data = view_pairs(n)
    return as_float(data.x), data.y % 5


def labelled_pairs(n=32):
    data = view_pairs(n)
    return Dataset(data.x, data.y % 5, ())


def parameters_of(net):
    return [p.detach().clone() for p in net.parameters()]


def moved(before, net):
    return [
        not torch.equal(a, b.detach())
        for a, b in zip(before, net.parameters(), strict=True)
    ]


# --- knowledge distillation ---


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_equal_a_loop(temperature):
    logits = 5 * normal(6, 4)
    ours, theirs = soft_targets(logits, temperature), []
    for row in logits.tolist():
        theirs.append(
            [
                math.exp(a / temperature) / sum(math.exp(b / temperature) for b in row)
                for a in row
            ]
        )
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))
    assert ours.sum(1) == pytest.approx(torch.ones(6))


def test_soft_targets_entropy_grows_with_the_temperature():
    logits = 5 * normal(8, 4)
    entropies = [
        torch.special.entr(soft_targets(logits, t)).sum(1)
        for t in (0.25, 1.0, 4.0, 16.0, 1e6)
    ]
    assert all((cold < hot).all() for cold, hot in zip(entropies, entropies[1:]))
    assert entropies[-1] == pytest.approx(torch.full((8,), math.log(4)))
    torch.testing.assert_close(
        soft_targets(logits, 1e-3), F.one_hot(logits.argmax(1), 4).double()
    )


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0, 10.0])
def test_distillation_loss_equals_squared_temperature_times_torchs_kl_div(temperature):
    student, teacher = 3 * normal(2, 7, 5)
    theirs = F.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    ours = distillation_loss(student, teacher, temperature)
    assert ours.item() == pytest.approx(temperature**2 * theirs.item(), rel=1e-9)
    # not symmetric
    assert (
        ours.item() > 0.01
        and abs(distillation_loss(teacher, student, temperature) - ours) > 1e-3
    )


def test_distillation_loss_of_equal_distributions_is_zero():
    logits = 3 * normal(6, 5)
    assert distillation_loss(logits, logits).item() == pytest.approx(0, abs=1e-12)
    # a constant added to each row changes nothing
    assert distillation_loss(
        logits + normal(6, 1, seed=1), logits
    ).item() == pytest.approx(0, abs=1e-9)


def test_distillation_loss_has_the_gradient_of_hintons_cross_entropy():
    student, teacher = 3 * normal(2, 7, 5)
    student.requires_grad_()
    (ours,) = torch.autograd.grad(distillation_loss(student, teacher, 3.0), student)
    (theirs,) = torch.autograd.grad(
        9 * F.cross_entropy(student / 3, (teacher / 3).softmax(1)), student
    )
    torch.testing.assert_close(ours, theirs)


def test_distillation_loss_gradient_at_high_temperature_is_the_logit_difference():
    student, teacher = 3 * normal(2, 7, 5)
    centred = [z - z.mean(1, keepdim=True) for z in (student, teacher)]
    (gradient,) = torch.autograd.grad(
        distillation_loss(student.requires_grad_(), teacher, 1e5), student
    )
    torch.testing.assert_close(
        gradient, (centred[0] - centred[1]) / 35, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_loss_and_its_gradient_are_finite_at_extreme_logits(temperature):
    student = torch.tensor(
        [[1e4, -1e4, 0.0], [0.0, 1e4, -1e4], [1e4, 1e4, 1e4]], requires_grad=True
    )
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [0.0, 1e4, -1e4], [-1e4, 0.0, 0.0]])
    loss = distillation_loss(student, teacher, temperature)
    loss.backward()
    # certain and wrong; certain and right; uniform against two of three
    rows = [2e4 / temperature, 0.0, math.log(3 / 2)]
    assert loss.item() == pytest.approx(temperature**2 * sum(rows) / 3, rel=1e-6)
    assert student.grad.isfinite().all()


def test_distillation_loss_gives_the_teacher_logits_no_gradient():
    student, teacher = (
        normal(4, 3).requires_grad_(),
        normal(4, 3, seed=1).requires_grad_(),
    )
    distillation_loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_knowledge_distillation_loss_mixes_soft_and_hard_loss_of_the_same_views():
    x, y = pairs_of_pictures()
    shown = []

    def noisy(images):
        shown.append(images[:, :3] + 0.1 * torch.randn_like(images[:, :3]))
        return shown[-1]

    method = distilled(augment=noisy, temperature=3.0, soft=0.3)
    loss = method.loss(x, y)
    (views,) = shown  # drawn once: the teacher judges what the student sees
    logits = method.classifier(method.encoder(views))
    taught = (method.teacher.net(views) / 3).softmax(1)
    soft = 9 * F.kl_div((logits / 3).log_softmax(1), taught, reduction="batchmean")
    assert loss.item() == pytest.approx(
        (0.3 * soft + 0.7 * F.cross_entropy(logits, y)).item(), rel=1e-5
    )


def test_knowledge_distillation_soft_0_is_cross_entropy_and_soft_1_needs_no_label():
    x, y = pairs_of_pictures()
    hard, soft = distilled(soft=0.0), distilled(soft=1.0)
    logits = hard.classifier(hard.encoder(x[:, :3]))
    assert hard.loss(x, y).item() == pytest.approx(
        F.cross_entropy(logits, y).item(), rel=1e-6
    )
    assert (
        soft.loss(x).item()
        == soft.loss(x, y).item()
        == pytest.approx(
            distillation_loss(logits, soft.teacher(x[:, :3])).item(), rel=1e-6
        )
    )


def test_knowledge_distillation_training_leaves_the_teacher_unchanged():
    method = distilled()
    before = {
        name: value.clone() for name, value in method.teacher.state_dict().items()
    }
    student = parameters_of(method.encoder)
    for _ in fit(method, labelled_pairs(), 4, batch_size=16):
        assert not any(m.training for m in method.teacher.modules())
    assert all(
        torch.equal(value, before[name])
        for name, value in method.teacher.state_dict().items()
    )
    assert all(moved(student, method.encoder))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), None])
def test_distillation_rejects_a_temperature_that_is_not_positive(temperature):
    for call in (
        lambda: soft_targets(normal(2, 3), temperature),
        lambda: distillation_loss(*normal(2, 2, 3), temperature),
        lambda: distilled(temperature=temperature),
    ):
        with pytest.raises(
            ValueError, match="`temperature`: expected a positive number"
        ):
            call()


# --- BYOL ---


def test_byol_loss_equals_a_loop_over_two_minus_twice_the_cosine():
    prediction, target = normal(2, 9, 4)
    rows = list(zip(prediction.tolist(), target.tolist(), strict=True))
    expected = sum(2 - 2 * cosine_of(p, z) for p, z in rows) / 9
    assert byol_loss(prediction, target).item() == pytest.approx(expected, rel=1e-9)
    # the loss is invariant to scale
    assert byol_loss(7 * prediction, 0.1 * target).item() == pytest.approx(
        expected, rel=1e-9
    )


def test_byol_loss_of_equal_opposite_and_orthogonal_vectors_is_0_4_and_2():
    z = normal(6, 4)
    assert byol_loss(2 * z, z).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(-z, z).item() == pytest.approx(4)
    assert byol_loss(torch.eye(4), torch.eye(4).roll(1, 0)).item() == pytest.approx(2)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_byol_loss_gives_the_target_no_gradient_and_the_prediction_a_tangential_one(
    scale,
):
    prediction, target = (
        (scale * normal(5, 4)).requires_grad_(),
        normal(5, 4, seed=2).requires_grad_(),
    )
    byol_loss(prediction, target).backward()
    assert target.grad is None and prediction.grad.abs().sum() > 0
    # the gradient has no part along the prediction
    assert (prediction.grad * prediction).sum(1).abs().max() < 1e-12


def test_byol_loss_compares_each_views_prediction_with_the_other_views_target():
    method, (x, _) = byol(), pairs_of_pictures()
    with torch.no_grad():
        for p in method.target.parameters():
            # the target must differ from the online network
            p.add_(0.1 * torch.randn(p.shape, generator=seeded(3)))
    views = x[:, :3], x[:, 3:]
    guess = [
        method.predictor(method.projector(method.encoder(view))).double().tolist()
        for view in views
    ]
    says = [method.target.net(view).double().tolist() for view in views]
    pairs = [*zip(guess[0], says[1], strict=True), *zip(guess[1], says[0], strict=True)]
    expected = sum(2 - 2 * cosine_of(p, z) for p, z in pairs) / len(x)
    assert method.loss(x).item() == pytest.approx(expected, rel=1e-5)
    swapped = method.loss(torch.cat([x[:, 3:], x[:, :3]], 1)).item()
    # the loss is symmetric in the views
    assert swapped == pytest.approx(expected, rel=1e-5)


# --- moving averages: BYOL's target, DINO's teacher ---


def averages(name, **options):
    """The method, its moving average (BYOL's target or DINO's teacher), and the network
    which that follows."""
    if name == "BYOL":
        method = byol(**options)
        return (
            method,
            method.target.net,
            nn.Sequential(method.encoder, method.projector),
        )
    method = dino(**options)
    return method, method.teacher.net, method.student


@pytest.mark.parametrize("name", ["BYOL", "DINO"])
def test_moving_average_follows_the_weights_after_the_step_with_cosine_momentum(name):
    """At update k of 6: m = 1 - (1 - 0.9) (cos(pi (k - 1) / 6) + 1) / 2, of the weights
    after the optimiser's step."""
    method, slow, online = averages(name, momentum=0.9)
    expected = parameters_of(slow)
    # the average starts as a copy
    assert all(
        torch.equal(a, b) for a, b in zip(expected, online.parameters(), strict=True)
    )
    for step in fit(
        method,
        view_pairs(),
        6,
        batch_size=16,
        optimizers=sgd(0.05),
        schedule=lambda p: 1.0,
    ):
        m = 1 - (1 - 0.9) * (math.cos(math.pi * (step.k - 1) / 6) + 1) / 2
        expected = [
            m * t + (1 - m) * o.detach()
            for t, o in zip(expected, online.parameters(), strict=True)
        ]
        for t, e in zip(slow.parameters(), expected, strict=True):
            torch.testing.assert_close(t.detach(), e, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["BYOL", "DINO"])
def test_byol_target_and_dino_teacher_get_no_gradient_and_move_in_after_step_only(name):
    method, slow, online = averages(name, momentum=0.9)
    x, _ = pairs_of_pictures()
    before, at_first = parameters_of(slow), parameters_of(online)
    optimizer = torch.optim.SGD(
        [p for p in method.parameters() if p.requires_grad], lr=0.1
    )
    method.loss(x).backward()
    assert all(p.grad is None and not p.requires_grad for p in slow.parameters())
    optimizer.step()
    assert not any(moved(before, slow)) and all(moved(at_first, online))
    method.after_step()
    assert all(moved(before, slow))


@pytest.mark.parametrize("name", ["BYOL", "DINO"])
def test_byol_target_and_dino_teacher_with_momentum_1_never_move(name):
    method, slow, online = averages(name, momentum=1.0)
    before = parameters_of(slow)
    list(fit(method, view_pairs(), 4, batch_size=16))
    assert not any(moved(before, slow)) and all(moved(before, online))


@pytest.mark.parametrize("name", ["BYOL", "DINO"])
@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan"), None])
def test_byol_and_dino_reject_a_momentum_outside_0_to_1(name, momentum):
    with pytest.raises(ValueError, match=r"`momentum`: expected a number in \[0, 1\]"):
        averages(name, momentum=momentum)


@pytest.mark.parametrize("make", [byol, simsiam, barlow_twins, dino, distilled])
def test_loss_gives_every_trained_weight_a_gradient_and_target_or_teacher_none(make):
    method, (x, y) = make(), pairs_of_pictures()
    method.loss(x, y).backward()
    for name, p in method.named_parameters():
        if name.startswith(("target.", "teacher.")):
            assert p.grad is None and not p.requires_grad, name
        else:
            assert p.grad is not None and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("make", [byol, simsiam, barlow_twins, distilled])
def test_encode_is_the_output_of_the_encoder(make):
    method, (x, _) = make(), pairs_of_pictures()
    torch.testing.assert_close(method.encode(x[:, :3]), method.encoder(x[:, :3]))
    assert method.encode(x[:, :3]).shape == (12, 16)


# --- SimSiam ---


def test_negative_cosine_equals_a_loop_and_lightly():
    prediction, target = normal(2, 9, 4)
    rows = list(zip(prediction.tolist(), target.tolist(), strict=True))
    assert negative_cosine(prediction, target).item() == pytest.approx(
        -sum(cosine_of(*row) for row in rows) / 9
    )
    theirs = NegativeCosineSimilarity()(prediction.float(), target.float())
    assert negative_cosine(prediction.float(), target.float()).item() == pytest.approx(
        theirs.item(), abs=1e-5
    )


def test_negative_cosine_of_equal_opposite_and_orthogonal_vectors_is_minus_1_1_and_0():
    z = normal(6, 4)
    assert negative_cosine(3 * z, z).item() == pytest.approx(-1) and negative_cosine(
        -z, z
    ).item() == pytest.approx(1)
    assert negative_cosine(
        torch.eye(4), torch.eye(4).roll(1, 0)
    ).item() == pytest.approx(0, abs=1e-7)


def test_simsiam_loss_has_the_gradient_for_constant_targets():
    """The slide's D(p1, z2) / 2 + D(p2, z1) / 2, where z1 and z2 are constants."""
    method, (x, _) = simsiam(), pairs_of_pictures()
    trained = list(method.parameters())
    views = x[:, :3], x[:, 3:]
    z1, z2 = (
        torch.tensor(method.projector(method.encoder(view)).tolist()) for view in views
    )
    p1, p2 = (
        method.predictor(method.projector(method.encoder(view))) for view in views
    )

    def agreement(p, z):
        return (
            (p / p.square().sum(1, keepdim=True).sqrt())
            * (z / z.square().sum(1, keepdim=True).sqrt())
        ).sum(1)

    expected = -agreement(p1, z2).mean() / 2 - agreement(p2, z1).mean() / 2
    loss = method.loss(x)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(loss, trained),
        torch.autograd.grad(expected, trained),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_simsiam_without_stop_gradient_has_the_same_loss_but_another_gradient():
    class Flowing(SimSiam):
        def target(self, z):
            return z

    method, (x, _) = simsiam(), pairs_of_pictures()
    flowing = Flowing(method.encoder, method.projector, method.predictor, TwoViews())
    assert flowing.loss(x).item() == pytest.approx(method.loss(x).item(), abs=1e-7)
    stopped, open_ = (
        torch.autograd.grad(m.loss(x), list(method.encoder.parameters()))
        for m in (method, flowing)
    )
    assert any(
        (a - b).abs().max() > 1e-3 * a.abs().max()
        for a, b in zip(stopped, open_, strict=True)
    )


# --- Barlow Twins ---


def naive_correlation(z1, z2):
    rows, dims = len(z1), len(z1[0])
    c = [[0.0] * dims for _ in range(dims)]
    for i in range(dims):
        for j in range(dims):
            mean1, mean2 = (
                sum(z[n][k] for n in range(rows)) / rows for z, k in ((z1, i), (z2, j))
            )
            top = left = right = 0.0
            for n in range(rows):
                a, b = z1[n][i] - mean1, z2[n][j] - mean2
                top, left, right = top + a * b, left + a * a, right + b * b
            c[i][j] = top / math.sqrt(left * right)
    return c


def test_cross_correlation_equals_a_triple_loop_and_numpy():
    z1, z2 = 3 * normal(2, 11, 4) + 2
    ours = cross_correlation(z1, z2)
    assert ours.numpy() == pytest.approx(
        np.array(naive_correlation(z1.tolist(), z2.tolist())), abs=1e-9
    )
    assert ours.numpy() == pytest.approx(np.corrcoef(z1.T, z2.T)[:4, 4:], abs=1e-9)
    # rows are the first view's features, columns the second's
    assert (ours - ours.T).abs().max() > 0.1
    assert (cross_correlation(z1, z1).diagonal() - 1).abs().max() < 1e-9


def test_cross_correlation_is_invariant_to_scale_and_shift_and_follows_the_sign():
    z1, z2 = normal(2, 11, 4)
    c = cross_correlation(z1, z2)
    scale, shift = (
        torch.tensor([0.1, 1.0, 5.0, 100.0]),
        torch.tensor([-3.0, 0.0, 10.0, 1.0]),
    )
    torch.testing.assert_close(cross_correlation(scale * z1 + shift, z2), c)
    torch.testing.assert_close(cross_correlation(z1, scale * z2 + shift), c)
    torch.testing.assert_close(
        cross_correlation(torch.tensor([1.0, -1.0, 1.0, 1.0]) * z1, z2)[1], -c[1]
    )
    torch.testing.assert_close(
        cross_correlation(z1, torch.tensor([1.0, -1.0, 1.0, 1.0]) * z2)[:, 1], -c[:, 1]
    )
    assert c.abs().max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, -2.0, 1.1, 100.1])
def test_cross_correlation_of_a_constant_feature_is_0_with_a_finite_gradient(value):
    z1, z2 = normal(2, 16, 4, dtype=torch.float32)
    z1[:, 1], z2[:, 1] = value, value
    rest = cross_correlation(z1, z2)[[0, 2, 3]][:, [0, 2, 3]]
    c = cross_correlation(z1.requires_grad_(), z2)
    # and not with itself in the other view
    assert c[1].abs().max() < 1e-3 and c[:, 1].abs().max() < 1e-3
    assert rest.numpy() == pytest.approx(
        np.corrcoef(z1.detach().T[[0, 2, 3]], z2.T[[0, 2, 3]])[:3, 3:], abs=1e-5
    )
    barlow_twins_loss(z1, z2).backward()
    assert z1.grad.isfinite().all()


@pytest.mark.parametrize("off_diagonal", [5e-3, 0.3])
def test_barlow_twins_loss_equals_a_loop_and_lightly(off_diagonal):
    z1, z2 = 30 * normal(2, 11, 4) + 2
    c = naive_correlation(z1.tolist(), z2.tolist())
    expected = sum(
        (1 - c[i][i]) ** 2 if i == j else off_diagonal * c[i][j] ** 2
        for i in range(4)
        for j in range(4)
    )
    assert barlow_twins_loss(z1, z2, off_diagonal).item() == pytest.approx(
        expected, rel=1e-9
    )
    # lightly normalises by batch_norm, whose 1e-5 beside the variance is not in the
    # paper: with features of variance 900, as here, it is nothing; with variance 1
    # their C is smaller by a hundred-thousandth.
    theirs = BarlowTwinsLoss(lambda_param=off_diagonal)(z1.float(), z2.float())
    assert barlow_twins_loss(
        z1.float(), z2.float(), off_diagonal
    ).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_barlow_twins_loss_of_known_correlations_has_its_closed_form():
    hadamard = torch.tensor([[1.0]])
    for _ in range(3):
        hadamard = torch.cat(
            [torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)]
        )
    z = hadamard[:, 1:]  # (8, 7): seven features of mean 0 that are uncorrelated
    assert barlow_twins_loss(z, 3 * z + 1).item() == pytest.approx(0, abs=1e-9)
    # C = -1: (1 + 1)^2 each
    assert barlow_twins_loss(z, -z).item() == pytest.approx(4 * 7)
    assert barlow_twins_loss(z, z.roll(1, 1), 0.3).item() == pytest.approx(
        7 + 0.3 * 7
    )  # each agrees with its neighbour
    same = z[:, :1].expand(8, 5)
    # five times the same feature
    assert barlow_twins_loss(same, same, 0.3).item() == pytest.approx(
        0.3 * 20, rel=1e-5
    )
    # collapse
    assert barlow_twins_loss(
        torch.ones(8, 5), torch.ones(8, 5)
    ).item() == pytest.approx(5)


def test_barlow_twins_loss_of_constant_features_is_not_the_largest():
    z, d, weight = normal(40, 5), 5, 0.5
    constant = barlow_twins_loss(torch.ones(40, d), torch.ones(40, d), weight).item()
    opposite, equal = barlow_twins_loss(z, -z, weight), z[:, :1].expand(40, d)
    assert constant == pytest.approx(d)
    # C_ii = -1 costs 4; equal features cost lambda d (d - 1)
    assert opposite.item() >= 4 * d
    assert barlow_twins_loss(equal, equal, weight).item() == pytest.approx(
        weight * d * (d - 1), rel=1e-6
    )
    assert weight * d * (d - 1) > constant


def test_barlow_twins_loss_gains_nothing_from_smaller_features():
    z1, z2 = normal(2, 40, 5)
    whole, tiny = (barlow_twins_loss(s * z1 + 3, s * z2 + 3) for s in (1.0, 1e-3))
    assert tiny.item() == pytest.approx(whole.item(), rel=1e-6)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(barlow_twins_loss(scale * z1, scale * z2), scale)
    assert slope.item() == pytest.approx(0, abs=1e-9)


def test_barlow_twins_loss_has_the_numerical_gradient_in_both_views():
    z1, z2 = (z.requires_grad_() for z in normal(2, 7, 3))
    gradients = torch.autograd.grad(barlow_twins_loss(z1, z2, 0.3), (z1, z2))
    for k, gradient in enumerate(gradients):
        for n, i in ((0, 0), (3, 2), (6, 1)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [z1.detach().clone(), z2.detach().clone()]
                moved[k][n, i] += step
                ends.append(barlow_twins_loss(*moved, 0.3).item())
            slope = (ends[0] - ends[1]) / 2e-5
            assert gradient[n, i].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)
            assert abs(slope) > 1e-4


def test_barlow_twins_loss_method_uses_the_cross_correlation_of_both_projections():
    method, (x, _) = barlow_twins(off_diagonal=0.1), pairs_of_pictures()
    z1, z2 = (
        method.projector(method.encoder(view)).double().tolist()
        for view in (x[:, :3], x[:, 3:])
    )
    c = torch.tensor(naive_correlation(z1, z2))
    expected = (1 - c.diagonal()).square().sum() + 0.1 * (
        c.square().sum() - c.diagonal().square().sum()
    )
    assert method.loss(x).item() == pytest.approx(expected.item(), rel=1e-4)
    ours = method.project(x[:, :3], x[:, 3:])
    assert [z.tolist() for z in ours] == [
        pytest.approx(z, abs=1e-5) for z in map(np.array, (z1, z2))
    ]


def test_barlow_twins_calls_its_encoder_once_for_both_views():
    method, (x, _) = barlow_twins(), pairs_of_pictures()
    shapes = []
    method.encoder.register_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape))
    )
    method.loss(x)
    assert shapes == [(24, 3, 16, 16)]


@pytest.mark.parametrize("off_diagonal", [0.0, -1.0, None])
def test_barlow_twins_rejects_an_off_diagonal_weight_that_is_not_positive(off_diagonal):
    for call in (
        lambda: barlow_twins_loss(*normal(2, 3, 2), off_diagonal),
        lambda: barlow_twins(off_diagonal=off_diagonal),
    ):
        with pytest.raises(
            ValueError, match="`off_diagonal`: expected a positive number"
        ):
            call()


# --- DINO ---


def naive_dino(student, teacher, centre, tau_s, tau_t):
    """H(P_t, P_s) of the paper's equation 3, one picture and one pair of views at a
    time."""
    total, terms = 0.0, 0
    for i in range(len(teacher)):
        for j in range(len(student)):
            if i == j:
                continue
            terms += 1
            for t, s in zip(teacher[i].tolist(), student[j].tolist(), strict=True):
                target = softmax(
                    [(a - c) / tau_t for a, c in zip(t, centre.tolist(), strict=True)]
                )
                guess = softmax([a / tau_s for a in s])
                total -= (
                    sum(p * math.log(q) for p, q in zip(target, guess, strict=True))
                    / student.shape[1]
                )
    return total / terms


@pytest.mark.parametrize(("large", "views"), [(2, 2), (2, 6), (1, 3), (3, 3)])
def test_dino_loss_equals_a_loop_over_pairs_of_different_views(large, views):
    student, teacher, centre = (
        normal(views, 5, 4),
        normal(large, 5, 4, seed=1),
        normal(4, seed=2),
    )
    expected = naive_dino(student, teacher, centre, 0.3, 0.2)
    assert dino_loss(student, teacher, centre, 0.3, 0.2).item() == pytest.approx(
        expected, rel=1e-9
    )


def test_dino_loss_of_two_views_equals_algorithm_1_of_the_paper():
    (s1, s2), (t1, t2), centre = (
        normal(2, 5, 4),
        normal(2, 5, 4, seed=1),
        normal(4, seed=2),
    )

    def cross_entropy(t, s):  # Algorithm 1's H(t, s)
        t = t.detach()
        s = torch.softmax(s / 0.1, dim=1)
        t = torch.softmax((t - centre) / 0.04, dim=1)
        return -(t * torch.log(s)).sum(dim=1).mean()

    expected = cross_entropy(t1, s2) / 2 + cross_entropy(t2, s1) / 2
    # its defaults are the paper's temperatures
    ours = dino_loss(torch.stack([s1, s2]), torch.stack([t1, t2]), centre)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9)


def test_dino_loss_of_uniform_outputs_is_log_k_and_of_certain_equal_ones_0():
    centre = normal(7)
    # the centre and one number for each picture
    teacher = centre + normal(2, 5, 1, seed=1)
    assert dino_loss(
        torch.zeros(4, 5, 7).double(), teacher, centre
    ).item() == pytest.approx(math.log(7))
    assert dino_loss(
        torch.zeros(4, 5, 7).double(), teacher, 0 * centre
    ).item() == pytest.approx(math.log(7))
    certain = 100 * F.one_hot(torch.arange(5), 7).double()
    assert dino_loss(
        certain.expand(4, 5, 7), certain.expand(2, 5, 7), 0 * centre
    ).item() == pytest.approx(0, abs=1e-9)


def test_dino_loss_gives_the_teacher_no_gradient_and_is_finite_at_extreme_outputs():
    student, teacher = (
        (1e4 * normal(2, 5, 4, seed=s, dtype=torch.float32)).requires_grad_()
        for s in (0, 1)
    )
    loss = dino_loss(student, teacher, torch.zeros(4))
    loss.backward()
    assert (
        loss.isfinite()
        and student.grad.isfinite().all()
        and student.grad.abs().sum() > 0
        and teacher.grad is None
    )


def test_dino_loss_and_centre_equal_those_of_lightly():
    # without an epoch lightly uses no schedule
    theirs = DINOLoss(10, teacher_temp=0.07, student_temp=0.2, center_momentum=0.8)
    student, teacher = (
        normal(4, 5, 10, dtype=torch.float32),
        normal(2, 5, 10, seed=1, dtype=torch.float32),
    )
    method = dino(centre_momentum=0.8)
    for k in range(3):
        student, teacher = student.roll(1, 2), 1.5 * teacher + k
        ours = dino_loss(student, teacher, method.centre, 0.2, 0.07)
        assert ours.item() == pytest.approx(
            theirs(list(teacher), list(student)).item(), rel=1e-5
        )
        method.step_outputs = [teacher.flatten(0, 1)]
        method.after_step()
        torch.testing.assert_close(method.centre, theirs.center[0, 0])


@pytest.mark.parametrize(
    "augment",
    [four_crops, lambda x: four_crops(x)[:2]],
    ids=["multi-crop", "two views"],
)
def test_dino_loss_compares_every_crop_with_the_teachers_other_large_crops(augment):
    method, (x, _) = dino(augment=augment, tau_s=0.2, tau_t=0.1), pairs_of_pictures()
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=seeded(3)))
        method.centre.copy_(0.1 * normal(10))
        # one view at a time
        student = torch.stack([method.student(view) for view in augment(x)])
        teacher = torch.stack([method.teacher.net(view) for view in augment(x)[:2]])
    expected = naive_dino(
        student.double(), teacher.double(), method.centre.double(), 0.2, 0.1
    )
    assert method.loss(x).item() == pytest.approx(expected, rel=1e-4)


def test_dino_student_sees_all_crops_and_the_teacher_the_large_ones_only():
    method, (x, _) = dino(), pairs_of_pictures()
    seen = {"student": [], "teacher": []}
    for name, shapes in seen.items():
        getattr(method, name).register_forward_pre_hook(
            lambda module, inputs, shapes=shapes: shapes.append(tuple(inputs[0].shape))
        )
    method.loss(x)
    assert seen["teacher"] == [(24, 3, 16, 16)]
    assert seen["student"] == [(24, 3, 16, 16), (24, 3, 8, 8)]  # one call for each size


def watched_teacher(method):
    """A list that collects all outputs of the teacher."""
    outputs = []
    method.teacher.register_forward_hook(
        lambda module, inputs, output: outputs.append(output.clone())
    )
    return outputs


@pytest.mark.parametrize("accumulate", [1, 2])
def test_dino_centre_is_the_moving_average_of_uncentred_teacher_outputs(accumulate):
    method = dino(centre_momentum=0.6)
    outputs, expected = watched_teacher(method), torch.zeros(10)
    assert torch.equal(method.centre, expected)
    for _ in fit(
        method,
        view_pairs(),
        2,
        batch_size=8,
        accumulate=accumulate,
        optimizers=sgd(0.05),
    ):
        assert len(outputs) == accumulate and all(o.shape == (16, 10) for o in outputs)
        rows = [row for o in outputs for row in o.tolist()]
        mean = torch.tensor(
            [sum(row[k] for row in rows) / len(rows) for k in range(10)]
        )
        expected = 0.6 * expected + 0.4 * mean
        torch.testing.assert_close(method.centre, expected, rtol=1e-5, atol=1e-6)
        outputs.clear()
    assert expected.abs().max() > 0.05 and method.step_outputs == []


def test_dino_loss_subtracts_the_centre_from_before_the_update():
    method, (x, _) = (
        dino(centre_momentum=0.5, tau_s=0.2, tau_t=0.1),
        pairs_of_pictures(),
    )
    outputs, centres = watched_teacher(method), [method.centre.clone()]
    for _ in range(2):
        loss = method.loss(x)
        with torch.no_grad():
            student = torch.stack([method.student(view) for view in four_crops(x)])
        teacher = outputs.pop().unflatten(0, (2, 12))
        with torch.no_grad():
            method.after_step()
        centres.append(method.centre.clone())
        before, after = (
            naive_dino(student.double(), teacher.double(), centre.double(), 0.2, 0.1)
            for centre in centres[-2:]
        )
        assert loss.item() == pytest.approx(before, rel=1e-4)
        assert abs(before - after) > 1e-3 * before


def test_dino_centre_moves_in_after_step_only():
    method, (x, _) = dino(), pairs_of_pictures()
    method.loss(x)
    assert torch.equal(method.centre, torch.zeros(10))
    method.after_step()
    # a resumed run needs the centre
    assert method.centre.abs().max() > 0 and "centre" in method.state_dict()


def test_prototypes_output_cosines_and_get_zero_gradient_while_frozen():
    layer, z = Prototypes(4, 3).double(), normal(5, 4)
    weight = layer.weight.tolist()
    expected = [[cosine_of(row, w) for w in weight] for row in z.tolist()]
    assert layer(z).detach().numpy() == pytest.approx(np.array(expected))
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([[0.1], [1.0], [50.0]]))
    assert layer(z).detach().numpy() == pytest.approx(np.array(expected))
    layer.trainable = False
    assert layer(z).detach().numpy() == pytest.approx(np.array(expected))
    layer(z).square().sum().backward()
    # a zero gradient, not None
    assert torch.equal(layer.weight.grad, torch.zeros(3, 4).double())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_prototypes_keep_their_direction_until_the_share_freeze_of_training(
    weight_decay,
):
    method = dino(freeze=0.5)
    layer, encoder = method.student[2], method.student[0]
    start, still = layer.weight.detach().clone(), []
    optimizers, other = adamw(1e-2, weight_decay=weight_decay), parameters_of(encoder)
    for _ in fit(
        method,
        view_pairs(),
        6,
        batch_size=16,
        optimizers=optimizers,
        schedule=lambda p: 1.0,
    ):
        if weight_decay:  # shortens them; their directions, all that counts, stay
            still.append(
                (F.cosine_similarity(layer.weight, start) - 1).abs().max().item() < 1e-6
            )
        else:
            still.append(torch.equal(layer.weight, start))
        assert all(moved(other, encoder))
    # progress 0, 1/6, 2/6 | 3/6, ...
    assert still == [True, True, True, False, False, False]


def test_dino_teacher_temperature_warms_up_linearly_from_tau_t_start_to_tau_t():
    method = dino(tau_t=0.07, tau_t_start=0.04, warmup=0.3)
    for progress, expected in (
        (0.0, 0.04),
        (0.1, 0.05),
        (0.15, 0.055),
        (0.3, 0.07),
        (0.31, 0.07),
        (0.99, 0.07),
    ):
        method.progress = progress
        assert method.teacher_temperature() == pytest.approx(expected)
    # no warm-up
    assert dino(tau_t=0.07, tau_t_start=0.04).teacher_temperature() == pytest.approx(
        0.07
    )
    method, (x, _) = dino(tau_t=0.5, tau_t_start=0.05, warmup=0.5), pairs_of_pictures()
    outputs = torch.stack([method.student(view) for view in four_crops(x)]).double()
    for progress, tau_t in ((0.0, 0.05), (0.25, 0.275), (0.5, 0.5)):
        method.progress = progress  # student and teacher still agree
        expected = naive_dino(outputs, outputs[:2], torch.zeros(10), 0.1, tau_t)
        assert method.loss(x).item() == pytest.approx(expected, rel=1e-4)


def test_dino_encode_uses_the_teacher_without_gradient():
    method, (x, _) = dino(), pairs_of_pictures()
    before = method.encode(x[:, :3])
    assert before.shape == (12, 16) and not before.requires_grad
    with torch.no_grad():
        for p in method.student.parameters():
            p.mul_(0.5)
    assert torch.equal(method.encode(x[:, :3]), before)
    with torch.no_grad():
        for p in method.teacher.net[0].parameters():
            p.mul_(0.5)
    assert not torch.allclose(method.encode(x[:, :3]), before, rtol=1e-2)


def test_dino_encode_in_eval_mode_does_not_depend_on_the_batch():
    method = dino(norm=nn.BatchNorm2d)
    list(fit(method, view_pairs(), 3, batch_size=16))
    x = pairs_of_pictures()[0][:, :3]
    alone = torch.cat([method.eval().encode(picture[None]) for picture in x])
    torch.testing.assert_close(method.encode(x), alone, rtol=1e-4, atol=1e-5)
    statistics = method.teacher.net[0].stem[1].running_mean.clone()
    method.train().encode(x)
    # in train mode the teacher gathers its own statistics
    assert not torch.equal(method.teacher.net[0].stem[1].running_mean, statistics)


@pytest.mark.parametrize("name", ["tau_s", "tau_t", "tau_t_start"])
def test_dino_rejects_temperatures_that_are_not_positive(name):
    with pytest.raises(ValueError, match=f"`{name}`: expected a positive number"):
        dino(**{name: 0.0})
    if name != "tau_t_start":
        with pytest.raises(ValueError, match=f"`{name}`: expected a positive number"):
            dino_loss(normal(2, 3, 4), normal(2, 3, 4), normal(4), **{name: -1.0})


@pytest.mark.parametrize("name", ["centre_momentum", "warmup", "freeze"])
def test_dino_rejects_centre_momentum_warmup_and_freeze_outside_0_to_1(name):
    with pytest.raises(ValueError, match=rf"`{name}`: expected a number in \[0, 1\]"):
        dino(**{name: 1.5})


# --- all ---


LOSSES = {
    distillation_loss: [(4, 3), (4, 3)],
    byol_loss: [(4, 3), (4, 3)],
    negative_cosine: [(4, 3), (4, 3)],
    barlow_twins_loss: [(4, 3), (4, 3)],
    dino_loss: [(3, 4, 5), (2, 4, 5), (5,)],
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_losses_are_computed_in_float32_under_autocast(loss):
    inputs = [normal(*shape, seed=k).bfloat16() for k, shape in enumerate(LOSSES[loss])]
    with torch.autocast("cpu", torch.bfloat16):
        ours = loss(*inputs)
    assert ours.dtype == torch.float32 and ours.ndim == 0
    assert ours.item() == pytest.approx(
        loss(*(z.double() for z in inputs)).item(), rel=1e-4
    )


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_losses_do_not_change_their_inputs_and_reject_a_wrong_shape_or_type(loss):
    inputs = [normal(*shape, seed=k) for k, shape in enumerate(LOSSES[loss])]
    before = [z.clone() for z in inputs]
    loss(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    with pytest.raises(ValueError, match="expected a tensor .float.*got float64"):
        loss(inputs[0], inputs[1][..., :-1], *inputs[2:])
    with pytest.raises(ValueError, match="expected a tensor .float.*got int64"):
        loss(inputs[0].long(), *inputs[1:])


def test_dino_loss_rejects_fewer_than_2_student_views():
    outputs, centre = torch.randn(2, 4, 3), torch.zeros(3)
    for student, teacher in ((outputs[:1], outputs[:1]), (outputs[:1], outputs)):
        with pytest.raises(
            ValueError, match="`student`: expected 2 views or more, got 1"
        ):
            dino_loss(student, teacher, centre)
