"""Momentum contrast: the queue, the losses and the updates of MoCo, MoCo v3 and MoCHi;
PIRL; partly labelled batches; and the measures of their experiments.

The oracles are plain Python loops over the papers' formulas, lists and sets, closed
forms, and lightly's loss.
"""

import math
from collections import deque
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from methods import (
    Regression,
    TwoViews,
    close,
    dot,
    normal,
    points,
    same,
    seeded,
    state_of,
    two_processes,
    unit,
    view_pairs,
    within,
)
from torch import nn

from course_lib import experiments
from course_lib.contrastive import (
    batch_experiments,
    moco_experiments,
    view_experiments,
)
from course_lib.contrastive import moco as moco_module
from course_lib.contrastive.mochi import MoCHi, hardest, mix
from course_lib.contrastive.moco import MoCo, Queue, key_scores, moco_loss
from course_lib.contrastive.moco_recipes import moco_v3_trained_stem
from course_lib.contrastive.moco_v3 import MoCoV3, moco_v3_loss
from course_lib.contrastive.partly_labelled import (
    UNLABELLED,
    PartlyLabelled,
    hide_labels,
    own_classes,
)
from course_lib.contrastive.pirl import PIRL, Rotated, ShuffledTiles, pirl_nce
from course_lib.contrastive.supcon import SupCon
from course_lib.data import Dataset, as_float, by_row, labelled_subset
from course_lib.losses import nt_xent
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.optim import cosine, sgd, step_decay
from course_lib.recipe import Recipe, Size, build, lookup, train
from course_lib.train import fit


def unit_rows(*shape, seed=0, dtype=torch.float64):
    rows = normal(*shape, seed=seed)
    return (rows / rows.square().sum(-1, keepdim=True).sqrt()).to(dtype)


def unchanged(x):
    return x


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


def networks(norm=group_norm, seed=0):
    torch.manual_seed(seed)
    return ResNet((8, 16), norm=norm), mlp(16, 8, norm=None)


def moco(kind=MoCo, norm=group_norm, seed=0, augment=None, **options):
    """Fixed views: the two halves of the channels of `view_pairs`."""
    options = dict(queue_size=24, dim=8, temperature=0.3, momentum=0.9) | options
    return kind(*networks(norm, seed), augment or TwoViews(), **options)


def moco_v3(seed=0, norm=group_norm, augment=None, **options):
    options = dict(temperature=0.3, momentum=0.9) | options
    heads = *networks(norm, seed), mlp(8, 16, 8, norm=None)
    return MoCoV3(*heads, augment or TwoViews(), **options)


class Mirrored(nn.Module):
    """A transformed version without random numbers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 8)

    def forward(self, encoder, x):
        return self.head(encoder(x.flip(-1)))


def first_view(x):
    return x[:, :3]


def pirl_method(seed=0, kind=PIRL, transformed=Mirrored, augment=unchanged, **options):
    options = dict(images=20, dim=8, temperature=0.3, noise=12) | options
    heads = networks(seed=seed)
    return kind(*heads, transformed(), augment, **options)


def pictures(n=16, size=16, seed=0):
    x = torch.randint(256, (n, 3, size, size), generator=seeded(seed)).byte()
    return by_row(Dataset(x, torch.zeros(n, dtype=torch.long), ()))


def apart(method):
    """The method with a key network that differs from the query network."""
    generator = seeded(9)
    for p in method.key.parameters():
        p += 0.1 * torch.randn(p.shape, generator=generator)
    return method


def as_units(net, x):
    """The outputs of the network as lists of length 1."""
    with torch.no_grad():
        return [unit(row) for row in net(x).double().tolist()]


# --- the queue ---


@pytest.mark.parametrize(
    "sizes",
    [[7], [3, 2], [1] * 16, [4, 4, 4, 4, 4], [3, 1, 7, 2, 6, 5], [9], [2, 20, 3, 7, 8]],
)
def test_queue_holds_the_last_keys_and_their_ages_as_a_list_does(sizes):
    torch.manual_seed(0)
    queue = Queue(7, 3)
    torch.testing.assert_close(queue.keys.square().sum(1), torch.ones(7))
    # the random rows leave in the order of their slots
    kept, pushed = deque(queue.keys.tolist(), maxlen=7), 0
    for size in sizes:
        k = unit_rows(size, 3, seed=pushed + 1, dtype=torch.float32).requires_grad_()
        queue.push(k)
        kept.extend(k.tolist())
        pushed += size
        ages = queue.ages().tolist()
        assert sorted(ages) == list(range(7)) and queue.pushed == pushed
        assert [kept[-1 - age] for age in ages] == queue.keys.tolist()
        newest = queue.keys[ages.index(0)]
        assert newest.tolist() == k[-1].tolist()
    assert not queue.keys.requires_grad and queue.keys.grad_fn is None
    assert [age >= pushed for age in sorted(ages)] == [i >= pushed for i in range(7)]


def test_queue_starts_with_ages_of_random_rows_and_continues_from_its_state():
    torch.manual_seed(0)
    queue, other = Queue(5, 3), Queue(5, 3)
    assert queue.ages().tolist() == [4, 3, 2, 1, 0] and not list(queue.parameters())
    assert not torch.equal(queue.keys, other.keys)
    queue.push(unit_rows(8, 3))
    other.load_state_dict(queue.state_dict())
    assert set(queue.state_dict()) == {"keys", "pushed"}
    for each in (queue, other):
        each.push(unit_rows(4, 3, seed=1))
    assert same(state_of(queue), state_of(other))
    assert torch.equal(queue.ages(), other.ages())


def test_queue_stores_keys_of_another_dtype_in_its_own():
    queue, k = Queue(4, 3), unit_rows(2, 3, dtype=torch.bfloat16)
    queue.push(k)
    assert queue.keys.dtype == torch.float32
    assert torch.equal(queue.keys[:2], k.float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 3), "`size`"), ((2.5, 3), "`size`"), ((3, 0), "`dim`")],
)
def test_queue_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=f"{message}: expected a whole number"):
        Queue(*arguments)
    with pytest.raises(ValueError, match="`k`"):
        Queue(4, 3).push(torch.zeros(3))


# --- MoCo's loss ---


def naive_moco_loss(q, k, negatives, tau):
    """Equation 1 for each query; `negatives` is one list for all, or one for each."""
    total = 0.0
    for i, (u, own) in enumerate(zip(q, k, strict=True)):
        others = negatives[i] if isinstance(negatives[0][0], list) else negatives
        odds = [math.exp(dot(u, v) / tau) for v in [own, *others]]
        total -= math.log(odds[0] / sum(odds)) / len(q)
    return total


@pytest.mark.parametrize("tau", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("negatives", [1, 11])
def test_moco_loss_equals_a_loop(tau, negatives):
    q, k = unit_rows(2, 6, 4)
    others = unit_rows(negatives, 4, seed=1)
    expected = naive_moco_loss(q.tolist(), k.tolist(), others.tolist(), tau)
    assert moco_loss(q, k, others, tau).item() == pytest.approx(expected, rel=1e-9)
    scores = key_scores(q, k, others)
    assert scores.shape == (6, 1 + negatives)
    assert scores[2, 0].item() == pytest.approx(dot(q[2].tolist(), k[2].tolist()))
    assert scores[4, -1].item() == pytest.approx(dot(q[4].tolist(), others[-1]))


def test_moco_loss_and_queue_equal_lightlys():
    # not at the top: two other processes import this file, and need no lightly
    from lightly.loss import NTXentLoss

    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(12, 5))
    torch.manual_seed(0)
    queue = Queue(12, 5)
    theirs.memory_bank.bank = queue.keys.clone()
    for step in range(7):
        z, k = unit_rows(2, 4, 5, seed=step, dtype=torch.float32)
        expected = theirs(z.requires_grad_(), k)
        found = moco_loss(F.normalize(z, dim=1), k, queue.keys, 0.2)
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(loss, z) for loss in (found, expected))
        torch.testing.assert_close(*gradients)
        queue.push(k)
        torch.testing.assert_close(queue.keys, theirs.memory_bank.bank)


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_moco_loss_of_equal_and_orthogonal_vectors_has_its_closed_form(tau):
    one = unit_rows(1, 6).expand(9, 6)
    assert moco_loss(one[:5], one[:5], one, tau).item() == pytest.approx(math.log(10))
    axes = torch.eye(6, dtype=torch.float64)
    q, others = axes[:2], axes[2:]
    # similarity 0 to all, and 1 to the positive only
    assert moco_loss(q, q.flip(0), others, tau).item() == pytest.approx(math.log(5))
    expected = math.log(1 + 4 * math.exp(-1 / tau))
    assert moco_loss(q, q, others, tau).item() == pytest.approx(expected)


def test_moco_loss_pushes_a_query_from_each_negative_by_its_probability():
    """The gradient is a sum of independent vectors, so least squares finds the
    coefficient of each: p_j / tau for a negative, -(1 - p_+) / tau for the positive."""
    q, tau = unit_rows(1, 12).requires_grad_(), 0.3
    k, negatives = unit_rows(1, 12, seed=1), unit_rows(7, 12, seed=2)
    (gradient,) = torch.autograd.grad(moco_loss(q, k, negatives, tau), q)
    candidates = torch.cat([k, negatives])
    odds = [math.exp(dot(q[0].tolist(), v) / tau) for v in candidates.tolist()]
    p = torch.tensor([each / sum(odds) for each in odds], dtype=torch.float64)
    p[0] -= 1
    found = torch.linalg.lstsq(candidates.T, gradient.T)
    close(found.solution[:, 0], p / tau)
    close(candidates.T @ found.solution, gradient.T)


def test_moco_losses_give_no_gradient_to_keys():
    q, k, negatives = (unit_rows(4, 5, seed=s).requires_grad_() for s in range(3))
    for loss in (moco_loss(q, k, negatives), moco_v3_loss(q, k)):
        loss.backward()
        assert q.grad.abs().min() > 0 and k.grad is None and negatives.grad is None
        q.grad = None


def test_moco_losses_are_computed_in_float32_and_finite_at_extremes():
    rows = [unit_rows(6, 4, seed=s, dtype=torch.bfloat16) for s in range(3)]
    exact = [each.float() for each in rows]
    with torch.autocast("cpu", torch.bfloat16):
        found = moco_loss(*rows), moco_v3_loss(*rows[:2]), key_scores(*exact).sum()
    expected = moco_loss(*exact), moco_v3_loss(*exact[:2]), key_scores(*exact).sum()
    for ours, theirs in zip(found, expected):
        assert ours.dtype == torch.float32 and torch.equal(ours, theirs)
    for tau in (1e-4, 1e4):
        q = exact[0].clone().requires_grad_()
        loss = moco_loss(q, *exact[1:], tau) + moco_v3_loss(q, exact[1], tau)
        loss.backward()
        assert loss.isfinite() and q.grad.isfinite().all()


@pytest.mark.parametrize("tau", [0.0, -0.1, math.nan, None])
def test_temperatures_that_are_not_positive_are_named(tau):
    message = "`temperature`: expected a positive number"
    v, rows = torch.ones(3, 4), torch.arange(3)
    for call in (
        lambda: moco_loss(v, v, v, tau),
        lambda: moco_v3_loss(v, v, tau),
        lambda: pirl_nce(v, v, rows, rows, tau),
        lambda: moco(temperature=tau),
        lambda: moco_v3(temperature=tau),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: moco_loss(v, v[:2], v), "`k`.*N = 3 in `q`"),
        (lambda v: moco_loss(v, v, v[:, :2]), "`negatives`.*D = 4 in `q`"),
        (lambda v: moco_v3_loss(v, v[:2]), "`k`.*N = 3 in `q`"),
        (lambda v: hardest(v, v, 4), "`n`"),
        (lambda v: pirl_nce(v, v, torch.arange(2), torch.arange(3)), "`rows`.*N = 3"),
        (lambda v: pirl_nce(v, v, torch.arange(3) + 1, torch.arange(3)), "`rows`"),
        (lambda v: pirl_nce(v, v, torch.arange(3), torch.tensor([3])), "`noise`"),
        (lambda v: moco(momentum=1.1), "`momentum`"),
        (lambda v: moco_v3(momentum=-0.1), "`momentum`"),
        (lambda v: moco(MoCHi, hard=25), "`hard`"),
        (lambda v: moco(MoCHi, hard=4, pairs=-1), "`pairs`"),
        (lambda v: moco(MoCHi, hard=4, with_query=0.5), "`with_query`"),
        (lambda v: pirl_method(weight=1.5), "`weight`"),
        (lambda v: pirl_method(noise=0), "`noise`"),
    ],
)
def test_losses_and_methods_name_the_bad_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(3, 4))


# --- MoCo ---


def both_views(n=8, seed=0):
    x = as_float(view_pairs(n, seed).x)
    return x, x[:, :3], x[:, 3:]


def test_moco_compares_queries_with_keys_and_the_queue():
    method, (x, view1, view2) = apart(moco()), both_views()
    q = as_units(nn.Sequential(method.encoder, method.projector), view1)
    k, queue = as_units(method.key, view2), method.queue.keys.clone()
    expected = naive_moco_loss(q, k, queue.tolist(), 0.3)
    assert method.loss(x).item() == pytest.approx(expected, rel=1e-5)
    # the loss leaves the queue and the key network to after_step
    assert torch.equal(method.queue.keys, queue) and method.queue.pushed == 0
    (keys,) = method.step_outputs
    torch.testing.assert_close(keys, torch.tensor(k))
    assert not keys.requires_grad


class Watched(MoCo):
    """Records the state of the key network and the queue around an update."""

    def loss(self, x, y=None):
        self.before = state_of(self.key), self.queue.keys.clone()
        self.k = as_units(self.key, x[:, 3:])
        value = super().loss(x)
        q = as_units(nn.Sequential(self.encoder, self.projector), x[:, :3])
        queue = self.before[1].tolist()
        self.expected = naive_moco_loss(q, self.k, queue, self.temperature)
        return value

    def after_step(self):
        self.grads = [p.grad for p in self.key.parameters()]
        self.calls, self.was = [], self.queue.pushed.item()
        super().after_step()


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_moco_update_moves_the_key_network_by_its_average_and_then_the_queue(momentum):
    method, data = apart(moco(Watched, momentum=momentum)), view_pairs(40)
    weights = [p.detach().clone() for p in method.encoder.parameters()]
    pushed = [torch.tensor(row) for row in method.queue.keys.tolist()]
    for step in fit(method, data, 4, batch_size=10, optimizers=sgd(0.5)):
        # the loss was computed with the old queue and the old key network
        assert step.loss == pytest.approx(method.expected, rel=1e-5)
        online = nn.Sequential(method.encoder, method.projector)
        old = [method.before[0][f"net.{name}"] for name, _ in online.named_parameters()]
        new = [p.detach() for p in online.parameters()]
        for a, b, p in zip(old, new, method.key.parameters(), strict=True):
            torch.testing.assert_close(p, momentum * a + (1 - momentum) * b)
            assert not p.requires_grad and p.grad is None
        # the keys of the batch were no negatives of it
        k = torch.tensor(method.k)
        assert torch.cdist(k, method.before[1]).min() > 1e-3
        pushed += list(k)
        # 24 slots, 10 keys in an update: slot 0 is filled first
        expected = {i % 24: key for i, key in enumerate(pushed)}
        torch.testing.assert_close(
            method.queue.keys, torch.stack([expected[i] for i in range(24)])
        )
        assert method.queue.pushed == 10 * step.k
    assert not any(map(torch.equal, weights, method.encoder.parameters()))
    assert method.step_outputs == []


def test_moco_updates_the_average_before_the_queue_after_the_weights(monkeypatch):
    """The order of Algorithm 1."""
    method, calls = moco(), []
    weights = method.projector[0].weight.detach().clone()
    real = moco_module.ema

    def spy(key, online, momentum):
        moved = not torch.equal(method.projector[0].weight, weights)
        calls.append(("ema", moved, method.queue.pushed.item()))
        real(key, online, momentum)

    monkeypatch.setattr(moco_module, "ema", spy)
    next(fit(method, view_pairs(8), 1, batch_size=8, optimizers=sgd(0.5)))
    assert calls == [("ema", True, 0)] and method.queue.pushed == 8


def test_moco_pushes_the_keys_of_every_accumulated_batch():
    method = moco()
    list(fit(method, view_pairs(24), 1, batch_size=8, accumulate=2))
    assert method.queue.pushed == 16


def test_moco_key_network_normalises_by_its_own_batch():
    """Its running statistics are those of the second views and of its own weights."""
    method, (x, view1, view2) = apart(moco(norm=nn.BatchNorm2d)), both_views()
    for stem, view in ((method.key.net[0].stem, view2), (method.encoder.stem, view1)):
        out = F.conv2d(view, stem[0].weight, stride=2, padding=1).detach()
        rows = out.transpose(0, 1).flatten(1)
        stem.expected = 0.1 * rows.mean(1), 0.9 + 0.1 * rows.var(1)
    method.train()
    method.loss(x)
    method.after_step()
    found = []
    for stem in (method.key.net[0].stem, method.encoder.stem):
        found.append(stem[1].running_mean)
        torch.testing.assert_close(found[-1], stem.expected[0])
        torch.testing.assert_close(stem[1].running_var, stem.expected[1])
    assert (found[0] - found[1]).abs().max() > 1e-3


def tiles_of(size, tile):
    identity = torch.arange(4)[None]
    return ShuffledTiles(
        nn.Linear(16, 6), nn.Linear(24, 8), identity.repeat(2, 1), tile, noisy
    )


METHODS = {
    "MoCo": lambda seed=0: moco(seed=seed, augment=noisy),
    "MoCHi": lambda seed=0: moco(
        MoCHi, seed=seed, augment=noisy, hard=5, pairs=4, with_query=3
    ),
    "MoCo v3": lambda seed=0: moco_v3(seed, augment=noisy),
    "PIRL, tiles": lambda seed=0: pirl_method(
        seed, transformed=lambda: tiles_of(16, 6), augment=noisy
    ),
    "PIRL, rotation": lambda seed=0: pirl_method(
        seed, transformed=lambda: Rotated(nn.Linear(16, 8), noisy), augment=noisy
    ),
    "PartlyLabelled": lambda seed=0: PartlyLabelled(*networks(seed=seed), noisy),
}
BUFFERS = {
    "MoCo": {"queue.keys", "queue.pushed"},
    "MoCHi": {"queue.keys", "queue.pushed"},
    "PIRL, tiles": {"bank", "transformed.permutations"},
    "PIRL, rotation": {"bank"},
}


@pytest.mark.parametrize("name", list(METHODS))
def test_loss_is_float32_under_autocast_with_gradient_for_trained_parameters(name):
    method, data = METHODS[name](), pictures(8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.loss(data.x / 255, data.y)
    assert loss.shape == () and loss.dtype == torch.float32
    loss.backward()
    for where, p in method.named_parameters():
        if where.startswith("key."):
            assert p.grad is None and not p.requires_grad
        else:
            assert p.grad.isfinite().all() and (p.grad != 0).any(), where
    x = data.x / 255
    assert torch.equal(method.encode(x), method.encoder(x))


@pytest.mark.parametrize("name", list(METHODS))
def test_interrupted_run_ends_with_the_same_weights_queue_and_bank(name, tmp_path):
    options, states = dict(batch_size=8, optimizers=sgd(0.1)), []
    for path in (None, tmp_path / "run.pt"):
        method = METHODS[name]()
        for step in fit(method, pictures(), 5, **options, checkpoint=path):
            if path and step.k == 3:
                break
        states.append(state_of(method))
    other = METHODS[name](seed=1)
    steps = list(fit(other, pictures(), 5, **options, checkpoint=path))
    assert [step.k for step in steps] == [4, 5]
    assert same(state_of(other), states[0]) and not same(*states)
    buffers = {name for name, _ in other.named_buffers()}
    assert buffers == BUFFERS.get(name, set())


# --- MoCo v3 ---


def naive_v3_loss(q, k, tau):
    """`ctr` of Algorithm 1, for rows of length 1."""
    total = 0.0
    for i, u in enumerate(q):
        odds = [math.exp(dot(u, v) / tau) for v in k]
        total -= math.log(odds[i] / sum(odds))
    return 2 * tau * total / len(q)


@pytest.mark.parametrize("tau", [0.1, 0.2, 1.0])
def test_moco_v3_loss_equals_a_loop_for_rows_of_any_length(tau):
    q, k = normal(2, 7, 4)
    expected = naive_v3_loss(
        [unit(u) for u in q.tolist()], list(map(unit, k.tolist())), tau
    )
    assert moco_v3_loss(q, k, tau).item() == pytest.approx(expected, rel=1e-9)
    assert moco_v3_loss(3 * q, 0.1 * k, tau).item() == pytest.approx(expected, rel=1e-9)
    # queries and keys have different roles
    assert abs(moco_v3_loss(k, q, tau).item() - expected) > 1e-4


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_moco_v3_loss_of_equal_rows_is_2_tau_log_n(tau):
    rows = torch.ones(6, 4)
    expected = 2 * tau * math.log(6)
    assert moco_v3_loss(rows, 3 * rows, tau).item() == pytest.approx(expected)


def test_moco_v3_adds_the_losses_of_both_directions():
    method, (x, view1, view2) = apart(moco_v3()), both_views()
    query = nn.Sequential(method.encoder, method.projector, method.predictor)
    q1, q2, k1, k2 = (
        as_units(net, view) for net in (query, method.key) for view in (view1, view2)
    )
    one, other = naive_v3_loss(q1, k2, 0.3), naive_v3_loss(q2, k1, 0.3)
    assert method.loss(x).item() == pytest.approx(one + other, rel=1e-5)
    assert abs(one - other) > 1e-4 and one > 0.1


def test_moco_v3_key_network_follows_along_a_cosine_without_predictor_or_gradient():
    method, data = apart(moco_v3()), view_pairs(16)
    online = nn.Sequential(method.encoder, method.projector)
    old = [p.clone() for p in method.key.parameters()]
    assert len(old) == len(list(online.parameters()))
    for step in fit(method, data, 4, batch_size=8, optimizers=sgd(0.5)):
        # 0.9 at the start, 1 at the end
        m = 1 - 0.1 * (1 + math.cos(math.pi * (step.k - 1) / 4)) / 2
        new = [p.clone() for p in method.key.parameters()]
        for a, b, p in zip(old, online.parameters(), new, strict=True):
            torch.testing.assert_close(p, m * a + (1 - m) * b.detach())
        assert all(not p.requires_grad for p in method.key.parameters())
        assert max((a - b).abs().max() for a, b in zip(old, new)) > 1e-4
        old = new


def stem_of(method):
    named = method.encoder.named_parameters()
    return [p for name, p in named if "stem." in name]


def test_moco_v3_recipe_trains_all_but_the_stem():
    method, x = build(lookup("moco-v3"), 0), pictures(4, 32).x
    assert stem_of(method) and stem_of(method)[0].std() > 1e-3
    method.loss(x / 255).backward()
    assert all(p.grad is None for p in stem_of(method))
    method.zero_grad()
    before, data = state_of(method), Dataset(x, torch.zeros(4).long(), ())
    list(fit(method, data, 2, batch_size=4, optimizers=sgd(0.1), schedule=lambda p: 1))
    for name, p in method.named_parameters():
        # the key network's stem is an average of equal weights
        assert torch.equal(p, before[name]) == (".stem." in name), name
        frozen = ".stem." in name or name.startswith("key.")
        assert p.requires_grad != frozen, name
    trained = moco_v3_trained_stem()
    trained.loss(x / 255).backward()
    assert all((p.grad != 0).any() for p in stem_of(trained))


# --- MoCHi ---


def angle(u, v):
    """In [0, pi], exact for small angles too."""
    u, v = torch.broadcast_tensors(u, v)
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def test_hardest_equals_a_sorted_list():
    q, negatives = unit_rows(5, 4), unit_rows(9, 4, seed=1)
    found = hardest(q.requires_grad_(), negatives, 3)
    assert found.shape == (5, 3, 4) and not found.requires_grad
    for u, rows in zip(q.tolist(), found.tolist()):
        assert rows == sorted(negatives.tolist(), key=lambda v: -dot(u, v))[:3]


def test_mix_of_two_vectors_is_a_unit_vector_on_the_arc_between_them():
    a, b, weight = unit_rows(8, 5), unit_rows(8, 5, seed=1), torch.rand(8, 1).double()
    mixed = mix(a, b, weight)
    close(mixed.norm(dim=1), torch.ones(8))
    close(angle(a, mixed) + angle(mixed, b), angle(a, b))
    close(mix(a, b, torch.ones(8, 1)), a)
    close(mix(a, b, torch.zeros(8, 1)), b)
    one = [0.25 * s + 0.75 * t for s, t in zip(a[0].tolist(), b[0].tolist())]
    assert mix(a, b, torch.full((8, 1), 0.25))[0].tolist() == pytest.approx(unit(one))


def mochi(pairs, with_query, kind=MoCHi, **options):
    method = moco(kind, hard=5, pairs=pairs, with_query=with_query, **options)
    method.queue.keys = unit_rows(24, 8, seed=3)
    return method


def parents(mixed, a, b):
    """Which a and b each mixture lies between, by the sum of the angles: (n, A, B)."""
    around = angle(mixed[:, None], a)[:, :, None] + angle(mixed[:, None], b)[:, None]
    return (around - angle(a[:, None], b)).abs() < 1e-7


def test_mochi_pairs_are_on_the_arcs_between_two_of_the_hardest_keys():
    method, q = mochi(pairs=300, with_query=0), unit_rows(3, 8)
    torch.manual_seed(0)
    mixed = method.mixtures(q)
    assert mixed.shape == (3, 300, 8)
    close(mixed.norm(dim=2), torch.ones(3, 300))
    for u, each in zip(q, mixed):
        order = sorted(range(24), key=lambda j: -(u @ method.queue.keys[j]))
        # a key that was drawn twice is its own mixture
        distance, key = angle(each[:, None], method.queue.keys).min(1)
        alone = distance < 1e-7
        assert 30 < alone.sum() < 90 and set(key[alone].tolist()) == set(order[:5])
        between = parents(each[~alone], method.queue.keys, method.queue.keys)
        assert (between.flatten(1).sum(1) == 2).all()  # (a, b) and (b, a)
        i, j = between.any(0).nonzero().T
        pairs = set(zip(i.tolist(), j.tolist()))
        assert pairs == {(a, b) for a in order[:5] for b in order[:5] if a != b}


def test_mochi_weights_of_pairs_are_uniform_and_those_of_the_query_below_a_half():
    """The weights are the coefficients of the parents, up to a common factor."""
    method, q = mochi(pairs=1500, with_query=1500), unit_rows(1, 8)
    torch.manual_seed(0)
    mixed, keys = method.mixtures(q)[0], hardest(q, method.queue.keys, 5)[0]
    coefficients = torch.linalg.lstsq(keys.T, mixed[:1500].T).solution.T
    share = coefficients / coefficients.sum(1, keepdim=True)
    assert share.min() > -1e-6 and ((share > 1e-6).sum(1) <= 2).all()
    # the smaller weight of two different keys is uniform in (0, 0.5)
    smaller = share.topk(2).values[:, 1]
    smaller = smaller[smaller > 1e-6]
    within(smaller, 0.25)
    within(smaller.square(), 0.25 / 3)
    # a fifth of the pairs are a key with itself
    within((share > 1 - 1e-6).any(1).double(), 0.2)
    coefficients = torch.linalg.lstsq(torch.cat([q, keys]).T, mixed[1500:].T).solution.T
    share = coefficients / coefficients.sum(1, keepdim=True)
    assert ((share > 1e-6).sum(1) == 2).all() and share.min() > -1e-6
    beta = share[:, 0]
    assert 0 < beta.min() < 0.01 and 0.49 < beta.max() < 0.5
    within(beta, 0.25)
    within(beta.square(), 0.25 / 3)
    within((share[:, 1:] > 0.4).double(), 0.2)


def test_mochi_mixtures_with_the_query_are_harder_than_their_key():
    method, q = mochi(pairs=0, with_query=100), unit_rows(3, 8)
    torch.manual_seed(0)
    mixed = method.mixtures(q)
    assert mixed.shape == (3, 100, 8)
    close(mixed.norm(dim=2), torch.ones(3, 100))
    for u, each in zip(q, mixed):
        order = sorted(range(24), key=lambda j: -(u @ method.queue.keys[j]))
        between = parents(each, u[None], method.queue.keys)[:, 0]
        assert (between.sum(1) == 1).all()
        key = between.long().argmax(1)
        assert set(key.tolist()) == set(order[:5])
        keys = method.queue.keys[key]
        assert (each @ u > (keys * u).sum(1)).all()
        # nearer to the key than to the query
        assert (angle(each, keys) < angle(each, u)).all()


class Recorded(MoCHi):
    def mixtures(self, q):
        self.mixed = super().mixtures(q)
        return self.mixed


def drawn(method, q, k, seed=0):
    """The loss, its gradient with respect to q, and the mixtures."""
    torch.manual_seed(seed)
    q = q.clone().requires_grad_()
    loss = method.compare(q, k)
    return loss.item(), torch.autograd.grad(loss, q)[0], method.mixed


def test_mochi_mixtures_do_not_depend_on_the_positive_and_are_drawn_anew():
    method, q = mochi(6, 5, Recorded), unit_rows(3, 8)
    found = [drawn(method, q, unit_rows(3, 8, seed=s)) for s in (1, 2)]
    assert torch.equal(found[0][2], found[1][2]) and found[0][0] != found[1][0]
    assert not torch.equal(found[0][2], drawn(method, q, q, seed=1)[2])


def test_mochi_loss_equals_a_loop_with_constant_mixtures():
    method, (q, k) = mochi(6, 5, Recorded), unit_rows(2, 3, 8, seed=4)
    loss, gradient, mixed = drawn(method, q, k)
    assert mixed.shape == (3, 11, 8) and not mixed.requires_grad
    everything = [[*method.queue.keys.tolist(), *own] for own in mixed.tolist()]
    expected = naive_moco_loss(q.tolist(), k.tolist(), everything, 0.3)
    assert loss == pytest.approx(expected, rel=1e-9)
    for i, others in enumerate(everything):
        rows = [k[i].tolist(), *others]
        odds = [math.exp(dot(q[i].tolist(), v) / 0.3) for v in rows]
        weights = [each / sum(odds) for each in odds]
        weights[0] -= 1
        by_hand = [dot(weights, column) / 0.3 / 3 for column in zip(*rows)]
        assert gradient[i].tolist() == pytest.approx(by_hand, rel=1e-9)


def test_mochi_mixes_the_drawn_keys_with_the_drawn_weights(monkeypatch):
    """Replays its random numbers."""
    numbers = {"randint": [], "rand": []}
    for name, kept in numbers.items():

        def spy(*args, real=getattr(torch, name), kept=kept, **options):
            kept.append(real(*args, **options))
            return kept[-1]

        monkeypatch.setattr(torch, name, spy)
    method, q = mochi(4, 3), unit_rows(2, 8)
    mixed = method.mixtures(q).tolist()
    (alpha, beta), (i, j, m) = numbers["rand"], numbers["randint"]
    assert alpha.shape == (2, 4, 1) and m.shape == (2, 3)
    for n, u in enumerate(q.tolist()):
        keys = sorted(method.queue.keys.tolist(), key=lambda v, u=u: -dot(u, v))
        expected = []
        for s in range(4):
            a, pair = alpha[n, s, 0].item(), (keys[i[n, s]], keys[j[n, s]])
            expected.append([a * v + (1 - a) * w for v, w in zip(*pair)])
        for s in range(3):
            b = beta[n, s, 0].item() / 2
            expected.append([b * v + (1 - b) * w for v, w in zip(u, keys[m[n, s]])])
        for found, theirs in zip(mixed[n], expected, strict=True):
            assert found == pytest.approx(unit(theirs), abs=1e-6)


def test_mochi_without_mixtures_is_moco():
    method, plain = mochi(0, 0), moco()
    plain.queue.keys = method.queue.keys
    q, k = unit_rows(2, 5, 8)
    assert method.mixtures(q).shape == (5, 0, 8)
    close(method.compare(q, k), plain.compare(q, k))
    expected = naive_moco_loss(q.tolist(), k.tolist(), plain.queue.keys.tolist(), 0.3)
    assert method.compare(q, k).item() == pytest.approx(expected)
    assert mochi(4, 0).compare(q, k) > method.compare(q, k)


# --- PIRL ---


def naive_pirl_nce(v, bank, rows, noise, tau):
    """Equations 3 and 4. A picture's own row is no negative."""
    total = 0.0
    for u, own in zip(v, rows, strict=True):
        negatives = [row for row in noise if row != own]
        odds = [math.exp(dot(u, bank[row]) / tau) for row in [own, *negatives]]
        p = [each / sum(odds) for each in odds]
        total -= math.log(p[0]) + sum(math.log(1 - each) for each in p[1:])
    return total / len(v)


@pytest.mark.parametrize("tau", [0.1, 0.4, 2.0])
@pytest.mark.parametrize("noise", [[3], [5, 2, 2, 9, 0, 5, 7, 7], list(range(11))])
def test_pirl_nce_equals_a_loop(tau, noise):
    v, bank = unit_rows(6, 4), unit_rows(11, 4, seed=1)
    rows = torch.tensor([3, 0, 10, 3, 7, 5])
    expected = naive_pirl_nce(v.tolist(), bank.tolist(), rows.tolist(), noise, tau)
    found = pirl_nce(v, bank, rows, torch.tensor(noise), tau)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_pirl_nce_gradient_equals_finite_differences_and_is_finite_at_extremes():
    v, bank = unit_rows(3, 4).requires_grad_(), unit_rows(6, 4, seed=1)
    rows, noise = torch.tensor([2, 0, 5]), torch.tensor([2, 4, 0, 0, 1])
    assert torch.autograd.gradcheck(lambda u: pirl_nce(u, bank, rows, noise, 0.3), v)
    for dtype in (torch.float32, torch.bfloat16):
        for tau in (1e-4, 0.07, 1e4):
            u = bank[rows - 1].to(dtype).requires_grad_()  # nearest to a negative
            loss = pirl_nce(u, bank.to(dtype), rows, noise, tau)
            loss.backward()
            assert loss.dtype == torch.float32
            assert loss.isfinite() and u.grad.isfinite().all()


def test_pirl_nce_with_no_negative_but_the_own_row_is_zero():
    v, bank = unit_rows(2, 4).requires_grad_(), unit_rows(5, 4, seed=1)
    loss = pirl_nce(v, bank, torch.tensor([3, 3]), torch.tensor([3, 3, 3]))
    loss.backward()
    assert loss.item() == 0 and (v.grad == 0).all()


def test_pirl_nce_of_equal_similarities_has_its_closed_form():
    """p = 1 / (K + 1) for all."""
    v = unit_rows(1, 4).expand(7, 4)
    loss = pirl_nce(v[:2], v, torch.tensor([0, 1]), torch.tensor([2, 3, 4, 5, 6]))
    assert loss.item() == pytest.approx(math.log(6) + 5 * math.log(6 / 5))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_pirl_loss_weighs_the_transformed_version_and_the_picture(weight):
    method, data = pirl_method(weight=weight), pictures(6)
    x, rows = data.x / 255, torch.tensor([19, 0, 3, 7, 2, 5])
    torch.manual_seed(3)
    noise = torch.randint(20, (12,)).tolist()
    bank = [unit(row) for row in method.bank.double().tolist()]
    picture = as_units(nn.Sequential(method.encoder, method.projector), x)
    mirrored = as_units(
        nn.Sequential(method.encoder, method.transformed.head), x.flip(-1)
    )
    own, other = (
        naive_pirl_nce(v, bank, rows.tolist(), noise, 0.3) for v in (picture, mirrored)
    )
    torch.manual_seed(3)
    loss = method.loss(x, rows)
    expected = (1 - weight) * own + weight * other
    assert loss.item() == pytest.approx(expected, rel=1e-5) and abs(own - other) > 1e-3
    loss.backward()
    for head, share in (
        (method.transformed.head, weight),
        (method.projector, 1 - weight),
    ):
        assert all((p.grad != 0).any() == (share > 0) for p in head.parameters())


class WatchedPIRL(PIRL):
    def loss(self, x, y):
        net = nn.Sequential(self.encoder, self.projector)
        self.was, self.rows, self.views = self.bank.clone(), y, as_units(net, x)
        return super().loss(x, y)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_pirl_moves_only_the_batchs_rows_towards_the_pictures_themselves(momentum):
    method = pirl_method(kind=WatchedPIRL, momentum=momentum, weight=0.9)
    for step in fit(method, pictures(16), 3, batch_size=8, optimizers=sgd(0.5)):
        moved = (method.bank != method.was).any(1).nonzero().flatten()
        # at the first update the bank is as before_epoch filled it
        assert step.k == 1 or torch.equal(moved, method.rows.sort().values)
        assert set(moved.tolist()) <= set(method.rows.tolist())
        for row, view in zip(method.rows.tolist(), method.views):
            old = method.was[row].tolist()
            mixed = [momentum * a + (1 - momentum) * b for a, b in zip(old, view)]
            assert method.bank[row].tolist() == pytest.approx(unit(mixed), abs=1e-5)


def coordinates(n, size):
    """Pictures whose three channels are the row, the column and the picture's number,
    divided by 32."""
    place = torch.arange(size) / 32
    rows, columns = place[:, None].expand(size, size), place.expand(size, size)
    number = torch.arange(n)[:, None, None] / 32
    return torch.stack(
        [
            rows.expand(n, -1, -1),
            columns.expand(n, -1, -1),
            number.expand(n, size, size),
        ],
        1,
    )


def tiles_by_hand(picture, grid, side):
    return [
        picture[:, side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(grid)
        for j in range(grid)
    ]


def test_shuffled_tiles_in_the_identical_order_are_the_tiles_in_reading_order():
    x, order = coordinates(3, 27), torch.arange(9)
    plain = ShuffledTiles(nn.Identity(), nn.Identity(), order[None], 9, unchanged)
    found = plain(nn.Flatten(), x)
    for picture, row in zip(x, found):
        by_hand = torch.cat([t.flatten() for t in tiles_by_hand(picture, 3, 9)])
        torch.testing.assert_close(row, by_hand)
    # one other order
    order = torch.tensor([4, 0, 8, 2, 7, 1, 3, 6, 5])
    other = ShuffledTiles(nn.Identity(), nn.Identity(), order[None], 9, unchanged)
    for picture, row in zip(x, other(nn.Flatten(), x)):
        tiles = tiles_by_hand(picture, 3, 9)
        torch.testing.assert_close(row, torch.cat([tiles[i].flatten() for i in order]))


def test_shuffled_tiles_of_heads_are_the_linear_maps_of_each_tile_and_of_all():
    x, encoder = coordinates(3, 8), nn.Flatten()
    torch.manual_seed(0)
    method = ShuffledTiles(
        nn.Linear(48, 2),
        nn.Linear(8, 5),
        torch.arange(4)[None],
        4,
        lambda x: x.flip(-1),
    )
    found = method(encoder, x)
    for picture, row in zip(x, found):
        # the augmentation comes before the tiles
        tiles = tiles_by_hand(picture.flip(-1), 2, 4)
        h = torch.cat([method.tile_head(t.reshape(1, 48))[0] for t in tiles])
        torch.testing.assert_close(row, method.head(h))


def test_shuffled_tiles_draw_an_order_for_each_picture_and_a_place_for_each_tile():
    orders = torch.tensor([[0, 1, 2, 3], [3, 0, 1, 2]])
    method = ShuffledTiles(nn.Identity(), nn.Identity(), orders, 5, unchanged)
    torch.manual_seed(0)
    found = method(nn.Flatten(), coordinates(30, 16)).view(30, 4, 3, 5, 5)
    rows, columns, numbers = (32 * found).round().long().unbind(2)
    corners, step = torch.stack([rows, columns], 2)[..., 0, 0], torch.arange(5)
    top, left = corners[..., None, None].unbind(2)
    assert (rows == top + step[:, None]).all() and (columns == left + step).all()
    assert (numbers == torch.arange(30)[:, None, None, None]).all()
    # cells have 8 pixels: corners at 0 to 3 of each
    cells = corners[..., 0] // 8 * 2 + corners[..., 1] // 8
    assert set(map(tuple, cells.tolist())) == set(map(tuple, orders.tolist()))
    assert set((corners % 8).flatten().tolist()) == {0, 1, 2, 3}
    # each tile has a place of its own
    assert ((corners % 8).float().std(1) > 0).any()


def test_rotated_gives_the_head_a_view_that_is_turned_by_quarters():
    method = Rotated(nn.Identity(), lambda x: 2 * x)
    x = torch.rand(40, 3, 6, 6, generator=seeded())
    torch.manual_seed(0)
    found, turns = method(nn.Flatten(), x).view_as(x), []
    for picture, turned in zip(x, found):
        equal = [torch.equal(turned, 2 * picture.rot90(k, (1, 2))) for k in range(4)]
        assert sum(equal) == 1
        turns.append(equal.index(True))
    assert set(turns) == {0, 1, 2, 3}
    torch.manual_seed(0)
    headed = Rotated(nn.Linear(108, 2), unchanged)
    assert headed(nn.Flatten(), x).shape == (40, 2)


# --- partly labelled ---


def naive_partly_labelled(z1, z2, labels, tau):
    """For each view, the mean over its positives: the other views of its class, or the
    other view of its picture."""
    z, n, total = [unit(row) for row in [*z1, *z2]], len(z1), 0.0
    for i in range(2 * n):
        others = [j for j in range(2 * n) if j != i]
        label = labels[i % n]
        positives = [
            j
            for j in others
            if j % n == i % n or (label != -1 and labels[j % n] == label)
        ]
        odds = {j: math.exp(dot(z[i], z[j]) / tau) for j in others}
        logs = [math.log(odds[j] / sum(odds.values())) for j in positives]
        total -= sum(logs) / len(logs) / (2 * n)
    return total


def partly(kind=PartlyLabelled, seed=0):
    return kind(*networks(seed=seed), TwoViews(), temperature=0.3)


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 0, 1, 2, 0], [-1] * 6, [-1, 0, -1, 0, 1, -1], [3, -1, -1, -1, -1, -1]],
)
def test_partly_labelled_loss_equals_a_loop(labels):
    method, (x, view1, view2) = partly(), both_views(6)
    net = nn.Sequential(method.encoder, method.projector)
    z = as_units(net, view1), as_units(net, view2)
    expected = naive_partly_labelled(*z, labels, 0.3)
    found = method.loss(x, torch.tensor(labels))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_partly_labelled_is_supcon_with_all_labels_and_nt_xent_with_none():
    x, view1, view2 = both_views(6)
    y, method = torch.tensor([0, 1, 0, 1, 2, 0]), partly()
    assert torch.equal(method.loss(x, y), partly(SupCon).loss(x, y))
    net = nn.Sequential(method.encoder, method.projector)
    none = method.loss(x, torch.full((6,), UNLABELLED))
    torch.testing.assert_close(none, nt_xent(net(view1), net(view2), 0.3))
    # SupCon itself would take the unlabelled pictures for one class
    y[1:4] = UNLABELLED
    assert (method.loss(x, y) - partly(SupCon).loss(x, y)).abs() > 1e-3


def test_own_classes_keeps_labels_and_gives_the_others_one_each():
    y = torch.tensor([4, -1, 0, -1, -1, 4], dtype=torch.int32)
    found = own_classes(y).tolist()
    assert [found[i] for i in (0, 2, 5)] == [4, 0, 4]
    own = [found[i] for i in (1, 3, 4)]
    assert max(own) < 0 and len(set(own)) == 3
    assert y.tolist() == [4, -1, 0, -1, -1, 4]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_hide_labels_keeps_exactly_the_labelled_subset(fraction, seed):
    y = torch.arange(90) % 3
    data = Dataset(torch.rand(90, 2), y, (), {"emoji": torch.arange(90) % 30})
    for each in (data, Dataset(data.x, y, ())):
        hidden = hide_labels(each, fraction, seed)
        kept = set()
        if fraction:
            kept = set(labelled_subset(each, fraction=fraction, seed=seed).tolist())
        expected = [y[i].item() if i in kept else -1 for i in range(90)]
        assert hidden.y.tolist() == expected and hidden.x is each.x
        assert len(kept) == pytest.approx(90 * fraction)
        assert torch.equal(each.y, torch.arange(90) % 3)


# --- two processes ---


def few_labels():
    data = view_pairs()
    return Dataset(data.x, torch.arange(32) % 5 - 1, ())


# MoCHi draws no number that matters: mixtures of one key with itself
JOINT = {
    "MoCo": (moco, view_pairs),
    "MoCHi": (lambda: moco(MoCHi, hard=1, pairs=3, with_query=0), view_pairs),
    "MoCo v3": (moco_v3, view_pairs),
    "PartlyLabelled": (partly, few_labels),
}


def joint(name):
    """The losses and the state after each of three updates of plain SGD."""
    (make, data), states, losses = JOINT[name], [], []
    method = make()
    options = dict(optimizers=sgd(0.1, weight_decay=0, momentum=0))
    for step in fit(
        method, data(), 3, batch_size=16, schedule=lambda p: 1.0, **options
    ):
        states.append(state_of(method))
        losses.append(step.loss)
    return losses, states


def bank_of_pirl():
    """The noise is drawn by every process for itself, the bank is one."""
    options = dict(augment=first_view, images=32, transformed=MirroredFirst)
    method, data = pirl_method(**options), view_pairs()
    list(fit(method, data, 2, batch_size=16, optimizers=sgd(0.1)))
    return state_of(method)


class MirroredFirst(Mirrored):
    def forward(self, encoder, x):
        return super().forward(encoder, x[:, :3])


def work():
    return {name: joint(name) for name in JOINT} | {"PIRL": bank_of_pirl()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return two_processes("test_moco", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", list(JOINT))
def test_two_processes_equal_one_on_the_joint_batch(two, name):
    losses, states = joint(name)
    for theirs, each in (process[name] for process in two):
        assert theirs == pytest.approx(losses, abs=1e-5)
        for ours, other in zip(states, each, strict=True):
            assert ours.keys() == other.keys()
            for key, value in ours.items():
                torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5)
    assert all(map(same, two[0][name][1], two[1][name][1])), "they drifted apart"
    if name in ("MoCo", "MoCHi"):
        assert two[0][name][1][-1]["queue.pushed"] == 3 * 16
        queues = [state["queue.keys"] for state in two[0][name][1]]
        # 16 of 24 slots change in an update
        assert (queues[0] != queues[1]).any(1).sum() == 16


def test_pirl_bank_and_weights_are_the_same_in_both_processes(two):
    ours, theirs = two[0]["PIRL"], two[1]["PIRL"]
    assert same(ours, theirs)
    alone = bank_of_pirl()
    assert ours.keys() == alone.keys()
    # each process draws its own noise, so the runs are only similar
    torch.testing.assert_close(ours["bank"], alone["bank"], rtol=0, atol=0.3)


# --- the schedule of a recipe ---


def test_step_decay_has_a_warm_up_and_two_steps():
    values = {0: 0, 0.025: 0.5, 0.05: 1, 0.3: 1, 0.5999: 1}
    values |= {0.6: 0.1, 0.7: 0.1, 0.7999: 0.1, 0.8: 0.01, 0.9: 0.01, 1: 0.01}
    for p, factor in values.items():
        assert step_decay(p) == pytest.approx(factor)
    for p in (-0.01, 1.01, math.nan, None):
        with pytest.raises(ValueError, match="`p`"):
            step_decay(p)


def constant(p):
    return 0.5


def test_recipe_trains_with_its_schedule():
    size = Size(10, 16, 0.05)
    plain = Recipe(Regression, "points", gpu=size, cpu=size)

    def trained(recipe):
        method = build(recipe, 0)
        list(train(recipe, method, points(), device="cpu"))
        return state_of(method)

    def fitted(schedule):
        method = build(plain, 0)
        options = dict(batch_size=16, device="cpu", schedule=schedule)
        optimizers = plain.optimizer(size.lr, plain.weight_decay)
        list(fit(method, points(), 10, optimizers=optimizers, **options))
        return state_of(method)

    for schedule in (step_decay, constant):
        found = trained(replace(plain, schedule=schedule))
        assert same(found, fitted(schedule))
        assert not same(found, trained(plain))
    assert same(trained(plain), fitted(cosine()))


def test_recipe_hash_depends_on_its_schedule():
    size = Size(10, 16, 0.05)
    plain = Recipe(Regression, "points", gpu=size, cpu=size)
    others = [replace(plain, schedule=each) for each in (step_decay, constant)]
    assert len({each.hash() for each in [plain, *others]}) == 3
    assert replace(others[0], schedule=None).hash() == plain.hash()
    # a recipe without a schedule has the hash that its results were stored with
    assert lookup("simclr").schedule is None and experiments.table("simclr")
    assert lookup("moco").schedule is step_decay


# --- experiments: negatives, momentum ---


def test_cosine_by_age_equals_a_loop():
    kept = list(unit_rows(5, 4, 3))
    expected = {}
    for lag in (1, 2, 3, 4):
        pairs = [
            dot(kept[t][row].tolist(), kept[t + lag][row].tolist())
            for t in range(5 - lag)
            for row in range(4)
        ]
        expected[str(5 * lag)] = sum(pairs) / len(pairs)
    found = moco_experiments.cosine_by_age(kept)
    assert found == pytest.approx(expected) and list(found) == ["5", "10", "15", "20"]
    still = moco_experiments.cosine_by_age([kept[0]] * 3)
    assert still == pytest.approx({"5": 1.0, "10": 1.0})


@pytest.mark.parametrize("negatives", [1, 3, 5])
def test_end_to_end_compares_with_the_next_pictures_of_the_batch(negatives):
    method = moco_experiments.EndToEnd(*networks(), TwoViews(), 0.3)
    method.negatives = negatives
    x, view1, view2 = both_views(6)
    net = nn.Sequential(method.encoder, method.projector)
    q, k = as_units(net, view1), as_units(net, view2)
    others = [[k[(i + 1 + s) % 6] for s in range(negatives)] for i in range(6)]
    loss = method.loss(x)
    assert loss.item() == pytest.approx(naive_moco_loss(q, k, others, 0.3), rel=1e-5)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


def test_sampled_bank_compares_with_random_rows():
    bank = moco_experiments.SampledBank(*networks(), unchanged, 20, 8, temperature=0.3)
    bank.negatives = 6
    v, y = unit_rows(4, 8, dtype=torch.float32), torch.tensor([3, 19, 0, 7])
    torch.manual_seed(5)
    noise = torch.randint(20, (6,))
    torch.manual_seed(5)
    found, rows = bank.compare(v, y), bank.bank.tolist()
    own, others = [rows[i] for i in y], [rows[i] for i in noise]
    expected = naive_moco_loss(v.tolist(), own, others, 0.3)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_settings_change_what_their_name_says():
    assert moco_experiments.queue_of(32).queue.keys.shape == (32, 64)
    assert moco_experiments.with_momentum(0.5).momentum == 0.5
    assert moco_experiments.end_to_end(7).negatives == 7
    assert moco_experiments.bank_of(9).negatives == 9
    v1 = moco_experiments.between(moco_experiments.LINEAR, moco_experiments.views_v1)
    assert len(v1.projector) == 1 and len(v1.queue.keys) == 4096
    grouped = batch_experiments.grouped(16, False)
    assert (grouped.group, grouped.shuffle) == (16, False)
    assert view_experiments.crops_at(4).offset == 4
    mochi = view_experiments.mochi_of(3, 5)
    assert (mochi.hard, mochi.pairs, mochi.with_query) == (512, 3, 5)
    assert len(view_experiments.colours_of(0.0).augment.transforms) == 2
    recipe = batch_experiments.at_batch(constant, steps=9, batch_size=64)
    assert recipe.cpu == Size(9, 64, pytest.approx(2.5e-3))


# --- experiments: groups, memory ---


def grouped(group, shuffle, norm=nn.BatchNorm2d):
    method = apart(moco(batch_experiments.GroupedMoCo, norm))
    method.group, method.shuffle = group, shuffle
    return method


def test_grouped_moco_with_one_group_is_moco():
    (x, _, _), plain = both_views(), apart(moco(norm=nn.BatchNorm2d))
    expected = plain.loss(x)
    for shuffle in (False, True):
        method = grouped(8, shuffle)
        torch.testing.assert_close(method.loss(x), expected)
        torch.testing.assert_close(method.step_outputs, plain.step_outputs)


@pytest.mark.parametrize("group", [1, 3, 4])
def test_grouped_moco_keeps_keys_in_the_order_of_the_pictures(group):
    """With GroupNorm, groups and their order have no effect."""
    (x, _, _), plain = both_views(), apart(moco())
    expected = plain.loss(x)
    for shuffle in (False, True):
        method = grouped(group, shuffle, group_norm)
        torch.manual_seed(1)
        torch.testing.assert_close(method.loss(x), expected)
        torch.testing.assert_close(method.step_outputs, plain.step_outputs)


def test_grouped_moco_normalises_each_group_alone_and_shuffles_only_keys():
    (x, view1, view2), method = both_views(), grouped(4, False)
    loss, (keys,) = method.loss(x), method.step_outputs
    q, net = [], nn.Sequential(method.encoder, method.projector)
    for part in (slice(0, 4), slice(4, 8)):
        by_hand = torch.tensor(as_units(method.key, view2[part]))
        torch.testing.assert_close(keys[part], by_hand)
        q += as_units(net, view1[part])
    expected = naive_moco_loss(q, keys.tolist(), method.queue.keys.tolist(), 0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    shuffled = grouped(4, True)
    torch.manual_seed(0)
    shuffled.loss(x)
    torch.manual_seed(0)
    order = torch.randperm(8)
    by_hand = torch.zeros(8, 8)
    for part in order.split(4):
        by_hand[part] = torch.tensor(as_units(shuffled.key, view2[part]))
    torch.testing.assert_close(shuffled.step_outputs[0], by_hand)
    assert (by_hand - keys).abs().max() > 1e-3


def test_grouped_moco_counts_the_queries_that_find_their_key():
    (x, view1, view2), method = both_views(), grouped(4, False, group_norm)
    net = nn.Sequential(method.encoder, method.projector)
    q, k = as_units(net, view1), as_units(method.key, view2)
    middle = [sum(column) / 8 for column in zip(*k)]
    ratios = sorted(dot(a, own) / dot(a, middle) for a, own in zip(q, k))
    assert ratios[0] > 0
    # three of the eight queries are more similar to this negative than to their key
    bound = (ratios[2] + ratios[3]) / 2
    method.queue.keys = bound * torch.tensor([middle, middle])
    method.loss(x)
    assert method.pretext_accuracy.item() == pytest.approx(5 / 8)


def test_saved_bytes_equal_a_count_by_hand():
    w = nn.Parameter(torch.rand(10))
    x, double = torch.rand(10), torch.rand(10, dtype=torch.float64)
    count = batch_experiments.saved_bytes
    # the product needs x, the exponential its result, the sum nothing
    assert count(lambda: (w * x).exp().sum()) == 80
    assert count(lambda: (w * double).exp().sum()) == 160
    assert count(lambda: (w + x).sum()) == 0

    def squared():
        y = (w * x).exp()
        return (y * y).sum() + (y[:5] * x[:5]).sum()

    # what is stored twice, or in part, counts once
    assert count(squared) == 80
    with pytest.raises(AssertionError):
        count(lambda: x.sum())


def test_saved_bytes_leave_out_parameters():
    """A linear layer stores a view of its weight, if its input needs a gradient."""
    net, x = (
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)),
        torch.rand(3, 5),
    )
    # x, and the result of the ReLU
    found = batch_experiments.saved_bytes(lambda: net(x).sum())
    assert found == 4 * (3 * 5 + 3 * 7)


def test_cost_counts_the_queue_once(monkeypatch):
    data = pictures(4)

    def loaded(name, split):
        return data

    monkeypatch.setattr(batch_experiments, "load", loaded)

    def megabytes(size):
        recipe = Recipe(
            lambda: moco(augment=noisy, queue_size=size),
            "scenes",
            gpu=Size(1, 4, 1e-3),
            cpu=Size(1, 4, 1e-3),
        )
        return batch_experiments.cost(recipe, 0)

    few, many = megabytes(100), megabytes(1100)
    # 1,000 more keys of 8 numbers, and the log-probabilities of 4 queries
    assert 1e6 * (many["megabytes"] - few["megabytes"]) == pytest.approx(
        4 * 1000 * (8 + 4)
    )
    assert few["batch_size"] == 4 and few["ms"] > 0


# --- experiments: views and negatives ---


@pytest.mark.parametrize("offset", [0, 4, 13, 16])
def test_crop_pairs_are_at_the_offset_in_each_direction(offset):
    method = moco(view_experiments.CropPairMoCo)
    method.offset = offset
    torch.manual_seed(0)
    views = method.views(coordinates(400, 32))
    corners = []
    for view in views:
        assert view.shape == (400, 3, 16, 16)
        corner = (32 * view[:, :2, 0, 0]).round().long()
        corners.append(corner)
        place = torch.arange(16)
        rows = (corner[:, 0, None, None] + place[:, None]).expand(-1, 16, 16)
        columns = (corner[:, 1, None, None] + place).expand(-1, 16, 16)
        torch.testing.assert_close(32 * view[:, 0], rows.float())
        torch.testing.assert_close(32 * view[:, 1], columns.float())
        numbers = torch.arange(400.0)[:, None, None].expand(-1, 16, 16)
        torch.testing.assert_close(32 * view[:, 2], numbers)
        assert set(corner.flatten().tolist()) <= set(range(17))
    difference = corners[1] - corners[0]
    assert (difference.abs() == offset).all()
    if offset:
        # all four diagonals, equally often
        counts = (difference > 0).long() @ torch.tensor([2, 1])
        assert (counts.bincount(minlength=4) > 60).all()
    # every place that is possible
    upper = torch.minimum(*corners)
    assert set(upper.flatten().tolist()) == set(range(17 - offset))


def test_shuffled_pictures_have_the_same_tiles_in_another_order():
    x = coordinates(20, 32)
    torch.manual_seed(0)
    found, orders = view_experiments.shuffled(x), []
    assert found.shape == (20, 3, 24, 24)
    for picture, new in zip(x, found):
        # a cell has 10 pixels, the tile is in its middle
        cells = tiles_by_hand(picture[:, :30, :30], 3, 10)
        tiles = [cell[:, 1:9, 1:9] for cell in cells]
        places = []
        for tile in tiles_by_hand(new, 3, 8):
            equal = [torch.allclose(tile, each, atol=1e-5) for each in tiles]
            assert sum(equal) == 1
            places.append(equal.index(True))
        assert sorted(places) == list(range(9))
        orders.append(tuple(places))
    assert len(set(orders)) == 20


def few_scenes(monkeypatch, data):
    monkeypatch.setattr(view_experiments, "load", lambda name, split: data)


def test_queries_and_keys_are_views_of_different_pictures_and_always_the_same(
    monkeypatch,
):
    monkeypatch.setattr(view_experiments, "QUERIES", 6)
    monkeypatch.setattr(view_experiments, "KEYS", 16)
    data = view_pairs(40)
    few_scenes(monkeypatch, data)
    method = apart(moco(norm=nn.BatchNorm2d))
    q, k, negatives = view_experiments.queries_and_keys(method)
    assert not method.training and (len(q), len(negatives)) == (6, 16)
    x, net = as_float(data.x), nn.Sequential(method.encoder, method.projector)
    for found, network, view in (
        (q, net, x[:6, :3]),
        (k, method.key, x[:6, 3:]),
        (negatives, method.key, x[6:22, 3:]),
    ):
        torch.testing.assert_close(found, torch.tensor(as_units(network, view)))
        assert not found.requires_grad
    few_scenes(monkeypatch, data[:15])
    assert len(view_experiments.queries_and_keys(method)[2]) == 9
    random = apart(moco(augment=noisy))
    few_scenes(monkeypatch, pictures(12))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = view_experiments.queries_and_keys(random)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = view_experiments.queries_and_keys(random.train())
    assert all(map(torch.equal, first, again))


def test_hardness_equals_a_loop_over_ranked_negatives(monkeypatch):
    monkeypatch.setattr(view_experiments, "QUERIES", 3)
    monkeypatch.setattr(view_experiments, "KEYS", 1500)
    y, emoji = torch.randint(4, (1503,), generator=seeded()), torch.arange(1503) % 40
    few_scenes(monkeypatch, Dataset(torch.zeros(1503, 1), y, (), {"emoji": emoji}))
    q, k, negatives = (unit_rows(n, 5, seed=n) for n in (3, 4, 1500))
    monkeypatch.setattr(
        view_experiments, "queries_and_keys", lambda method: (q, k[:3], negatives)
    )
    found = view_experiments.hardness(moco())
    first, last = {"1-10": (0, 10), "11-100": (10, 100), "101-1000": (100, 1000)}, 1500
    expected = {
        name: dict.fromkeys([*first, "1001-8192"], 0.0)
        for name in ("same_category", "same_emoji", "gradient", "similarity")
    }
    for i, u in enumerate(q.tolist()):
        rows = [(dot(u, v), j) for j, v in enumerate(negatives.tolist())]
        rows.sort(reverse=True)
        total = sum(math.exp(s / 0.3) for s, _ in rows)
        for name, (a, b) in (first | {"1001-8192": (1000, last)}).items():
            group = rows[a:b]
            for measure, values in (
                ("same_category", [(y[3 + j] == y[i]).item() for _, j in group]),
                ("same_emoji", [(emoji[3 + j] == emoji[i]).item() for _, j in group]),
                ("similarity", [s for s, _ in group]),
                (
                    "gradient",
                    [len(group) * math.exp(s / 0.3) / total for s, _ in group],
                ),
            ):
                expected[measure][name] += sum(values) / len(values) / 3
    own = [dot(a, b) for a, b in zip(q.tolist(), k[:3].tolist())]
    assert found.pop("positive") == pytest.approx(sum(own) / 3)
    assert found.keys() == expected.keys()
    for measure, row in expected.items():
        assert found[measure] == pytest.approx(row)
    assert sum(found["gradient"].values()) == pytest.approx(1)
