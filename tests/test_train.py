import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from methods import (
    Queue,
    Regression,
    ToyGAN,
    fixed_view_simclr,
    points,
    view_pairs,
    without_home,
)
from PIL import Image
from torch import nn

from course_lib.data import Dataset
from course_lib.nets.mlp import mlp
from course_lib.optim import adamw, cosine, sgd
from course_lib.recipe import build, lookup
from course_lib.teacher import cosine_momentum, ema, frozen_copy
from course_lib.train import Method, fit


def made(kind, seed=0):
    torch.manual_seed(seed)
    return kind()


def run(method, data, steps, **options):
    losses = [
        step.loss for step in fit(method, data, steps, **{"batch_size": 16, **options})
    ]
    return losses, {name: value.clone() for name, value in method.state_dict().items()}


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(
            a[name],
            b[name],
            **(tolerance or dict(rtol=0, atol=0)),
            msg=lambda m, name=name: f"{name}: {m}",
        )


@pytest.mark.parametrize("kind", [Regression, Queue, ToyGAN])
def test_fit_gives_the_same_weights_for_the_same_seed_only(kind):
    first, again, other = (
        run(made(kind), points(), 12, seed=seed)[1] for seed in (3, 3, 4)
    )
    assert_same(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_fit_with_plain_sgd_equals_the_textbook_update():
    """One full-batch step of plain SGD against the gradient written out by hand."""
    method, data = made(Regression), points(16)
    weight, bias = method.net.weight.detach().clone(), method.net.bias.detach().clone()
    residual = 2 / (16 * 2) * (data.x @ weight.T + bias - data.y)
    run(
        method,
        data,
        1,
        optimizers=sgd(0.1, weight_decay=0, momentum=0),
        schedule=lambda p: 1.0,
    )
    torch.testing.assert_close(
        method.net.weight.detach(), weight - 0.1 * residual.T @ data.x
    )
    torch.testing.assert_close(method.net.bias.detach(), bias - 0.1 * residual.sum(0))


def test_fit_with_accumulate_equals_the_larger_batch_for_a_mean_loss():
    whole = run(made(Regression), points(), 8, batch_size=32, optimizers=sgd(0.1))
    parts = run(
        made(Regression), points(), 8, batch_size=16, accumulate=2, optimizers=sgd(0.1)
    )
    assert whole[0] == pytest.approx(parts[0], rel=1e-4)
    assert_same(whole[1], parts[1], rtol=1e-4, atol=1e-6)


def test_queue_takes_keys_of_all_accumulated_batches_and_drops_the_oldest():
    method, data = made(Queue), points()
    list(fit(method, data, 1, batch_size=8, accumulate=2))
    pushed = method.queue[-16:]
    assert torch.equal(method.queue[:8], made(Queue).queue[16:])
    assert pushed.norm(dim=1) == pytest.approx(torch.ones(16)) and not torch.equal(
        pushed[:8], pushed[8:]
    )
    assert method.step_outputs == []


def test_fit_updates_each_player_only_in_its_turn():
    """The discriminator's turn must not change the generator, nor the generator's turn
    the discriminator. The same holds for gradients."""
    method, calls = made(ToyGAN), []

    def spy(name, loss, mine, other):
        def watched(x, y):
            calls.append((name, [p.detach().clone() for p in method.parameters()]))
            assert all(p.requires_grad for p in mine.parameters())
            assert not any(p.requires_grad for p in other.parameters())
            return loss(x, y)

        return watched

    method.d_loss = spy("D", method.d_loss, method.discriminator, method.generator)
    method.g_loss = spy("G", method.g_loss, method.generator, method.discriminator)
    list(fit(method, points(), 2, batch_size=16))
    assert [name for name, _ in calls] == ["D", "D", "G"] * 2
    of_generator = len(list(method.generator.parameters()))
    for (name, before), (_, after) in zip(calls, calls[1:]):
        moved = [not torch.equal(a, b) for a, b in zip(before, after)]
        assert not any(moved[:of_generator] if name == "D" else moved[of_generator:])
        assert any(moved[of_generator:] if name == "D" else moved[:of_generator])
    assert all(p.grad is None and p.requires_grad for p in method.parameters())


def test_fit_takes_one_optimizer_for_each_player():
    still = run(made(ToyGAN), points(), 3, optimizers=[adamw(1e-2), sgd(1e-12)])[1]
    start = made(ToyGAN).state_dict()
    assert torch.allclose(
        still["generator.0.weight"], start["generator.0.weight"], atol=1e-9
    )
    assert not torch.allclose(
        still["discriminator.0.weight"], start["discriminator.0.weight"], atol=1e-4
    )
    with pytest.raises(ValueError, match="`optimizers`.*2 players, got 1"):
        fit(made(ToyGAN), points(), 3, batch_size=16, optimizers=[adamw(1e-2)])


def test_fit_is_unaffected_by_seeds_draws_and_eval_between_steps():
    def disturbed(method):
        for _ in fit(method, points(), 10, batch_size=16):
            torch.manual_seed(0), torch.randn(7), method.eval()

    calm, busy = made(Noisy), made(Noisy)
    list(fit(calm, points(), 10, batch_size=16))
    disturbed(busy)
    assert_same(calm.state_dict(), busy.state_dict())


class Noisy(Regression):
    """Draws random numbers in its loss and has a layer with a train and an eval
    mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def loss(self, x, y=None):
        return super().loss(self.norm(x + torch.randn_like(x)), y)


def test_fit_keeps_the_callers_random_state():
    torch.manual_seed(5)
    expected = torch.randn(3)
    method = made(Noisy)
    torch.manual_seed(5)
    for step in fit(method, points(), 3, batch_size=16):
        if step.k == 2:
            assert torch.equal(torch.randn(3), expected)


def test_fit_sees_every_row_once_per_pass_in_a_new_order():
    """itertools.cycle(loader) would repeat the order of the first pass for ever."""
    seen = []

    class Spy(Regression):
        def loss(self, x, y=None):
            seen.append(x[:, 0].long())
            return super().loss(x, y)

    data = Dataset(torch.arange(64.0)[:, None].repeat(1, 4), torch.zeros(64, 2), ())
    list(fit(made(Spy), data, 8, batch_size=16))
    passes = torch.stack(seen).reshape(2, 64)
    assert torch.equal(passes.sort(1).values, torch.arange(64).repeat(2, 1))
    assert not torch.equal(passes[0], passes[1])


def test_fit_sets_progress_learning_rate_and_before_epoch_by_schedule():
    rates, progress, epochs = [], [], []

    class Spy(Regression):
        def before_epoch(self, data):
            assert not torch.is_grad_enabled()
            epochs.append((self.progress, len(data)))

        def after_step(self):
            rates.append(optimizer[0].param_groups[0]["lr"])
            progress.append(self.progress)

    optimizer = []

    def remembered(params):
        optimizer.append(sgd(0.5)(params))
        return optimizer[0]

    list(
        fit(
            made(Spy),
            points(32),
            6,
            batch_size=16,
            optimizers=remembered,
            schedule=lambda p: p,
        )
    )
    assert rates == pytest.approx([0.5 * (k - 0.5) / 6 for k in range(1, 7)])
    assert progress == pytest.approx([k / 6 for k in range(6)])
    assert epochs == [(0.0, 32), (pytest.approx(2 / 6), 32), (pytest.approx(4 / 6), 32)]


def test_cosine_schedule_equals_its_closed_form():
    factor = cosine(warmup=0.2)
    assert [factor(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )
    assert cosine(warmup=0)(0.0) == 1


def test_adamw_has_no_weight_decay_on_biases_and_norms():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    groups = adamw(1e-3, weight_decay=0.1)(net.parameters()).param_groups
    assert [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups] == [
        (0.1, [2]),
        (0.0, [1, 1, 1]),
    ]


def test_fit_clip_bounds_the_update():
    method, data = made(Regression), points(16)
    start = method.net.weight.detach().clone(), method.net.bias.detach().clone()
    run(
        method,
        data,
        1,
        optimizers=sgd(1.0, weight_decay=0, momentum=0),
        schedule=lambda p: 1.0,
        clip=0.01,
    )
    moved = torch.cat(
        [(method.net.weight - start[0]).flatten(), method.net.bias - start[1]]
    )
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


KILLED = """
import os, signal, sys
import torch
sys.path.insert(0, sys.argv[1])
import test_train
torch.set_num_threads(1)
folder, die = sys.argv[2], int(sys.argv[3])
methods, runs = test_train.resumable(folder)
for steps in zip(*runs):
    if steps[0].k == die:
        os.kill(os.getpid(), signal.SIGKILL)
torch.save([method.state_dict() for method in methods], folder + "/end")
"""


def resumable(folder):
    """A queue, a GAN, BatchNorm with noise, and SimCLR, trained side by side; without
    folder: without checkpoint."""
    methods = [made(Queue), made(ToyGAN), made(Noisy), fixed_view_simclr()]
    data = [points(), points(), points(), view_pairs()]
    return methods, [
        fit(
            method,
            d,
            20,
            batch_size=16,
            checkpoint=folder and f"{folder}/{k}.pt",
            save_every=5,
        )
        for k, (method, d) in enumerate(zip(methods, data))
    ]


def test_fit_killed_and_resumed_ends_with_the_same_weights_bit_for_bit(tmp_path):
    def start(die):
        script = [
            sys.executable,
            "-c",
            KILLED,
            str(Path(__file__).parent),
            str(tmp_path),
            str(die),
        ]
        return subprocess.run(
            script,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    assert start(13).returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "0.pt", weights_only=True)["done"][0] == 10
    (tmp_path / "0.pt.part").write_bytes(
        b"half a checkpoint, as a kill while saving leaves it"
    )
    assert (done := start(-1)).returncode == 0, done.stderr
    methods, runs = resumable(None)
    for _ in zip(*runs):
        pass
    for method, end in zip(
        methods, torch.load(tmp_path / "end", weights_only=True), strict=True
    ):
        assert_same(method.state_dict(), end)


def test_fit_rejects_and_keeps_a_checkpoint_of_another_run(tmp_path):
    path = tmp_path / "run.pt"
    run(made(Regression), points(), 4, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"`checkpoint`.*another run \(seed 0 -> 1\)"):
        fit(made(Regression), points(), 4, batch_size=16, seed=1, checkpoint=path)
    assert path.read_bytes() == before
    assert (
        list(fit(made(Regression), points(), 4, batch_size=16, checkpoint=path)) == []
    )


def test_fit_saves_when_the_loop_is_left_and_clears_leftovers_of_an_interrupt(
    tmp_path,
):
    path, method = tmp_path / "run.pt", made(Queue)
    for step in fit(
        method, points(), 10, batch_size=16, checkpoint=path, save_every=100
    ):
        if step.k == 4:
            break
    other = made(Queue, seed=9)
    assert [
        step.k for step in fit(other, points(), 10, batch_size=16, checkpoint=path)
    ] == [5, 6, 7, 8, 9, 10]
    assert_same(other.state_dict(), run(made(Queue), points(), 10)[1])
    interrupted = made(Queue)
    for p in interrupted.query.parameters():
        # as an interrupt in the middle of backward() leaves it
        p.grad = torch.ones_like(p)
    interrupted.step_outputs.append(torch.ones(16, 3))
    assert_same(run(interrupted, points(), 10)[1], other.state_dict())


def test_fit_stops_at_a_loss_that_is_not_finite_and_keeps_the_checkpoint(tmp_path):
    class Exploding(Regression):
        def loss(self, x, y=None):
            return super().loss(x, y) * (float("nan") if self.progress >= 0.5 else 1)

    path, steps = tmp_path / "run.pt", 0
    with pytest.raises(
        FloatingPointError, match="in update 6 of 10 .*learning rate.*clip"
    ):
        for step in fit(
            made(Exploding), points(), 10, batch_size=16, checkpoint=path, save_every=1
        ):
            steps = step.k
    state = torch.load(path, weights_only=True)
    assert steps == state["done"][0] == 5
    assert all(value.isfinite().all() for value in state["method"].values())
    with pytest.raises(FloatingPointError, match="one of the updates 5 to 8 of 10"):
        list(fit(made(Exploding), points(), 10, batch_size=16, check_every=4))


def changed(**parts):
    return replace(points(), **parts)


NO_SEEDS = [None, 0.0, True, "a", float("nan"), 2**64]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(steps=0), r"`steps`: expected a whole number in \[1, inf\], got 0"),
        (dict(batch_size=2.5), "`batch_size`.*2.5"),
        (
            dict(batch_size=65),
            "`batch_size`: expected at most the data's 64 rows, got 65",
        ),
        (dict(accumulate=-1), "`accumulate`"),
        (dict(clip=0.0), "`clip`"),
        (dict(check_every=-3), "`check_every`"),
        (
            dict(method=nn.Linear(4, 2)),
            "`method`: expected a course_lib.train.Method, got Linear",
        ),
        (dict(optimizers=adamw(0)), "`lr`: expected a positive number, got 0"),
        (dict(optimizers=adamw), "`optimizers`: expected a function from parameters"),
        (
            dict(optimizers=torch.optim.SGD([nn.Parameter(torch.ones(1))])),
            "`optimizers`: expected a function from parameters",
        ),
        (dict(schedule=0.5), "`schedule`: expected a function of the progress"),
        (dict(schedule=cosine), "`schedule`: expected a function that returns a num"),
        (dict(schedule=lambda p: float("nan")), "`schedule`: .*got nan"),
        (dict(check_every=2.5), "`check_every`: expected a whole number"),
        (dict(workers=-1), "`workers`: expected a whole number in \\[0"),
        (dict(bf16="yes"), "`bf16`: expected True or False, got 'yes'"),
        (dict(compile=None), "`compile`: expected True or False, got None"),
        (dict(device="mps"), "`device`: expected cpu, cuda or cuda:N, got 'mps'"),
        (dict(device="gpu"), "`device`: .*got 'gpu'"),
        (dict(device="cuda:99"), "`device`: .*got 'cuda:99' \\("),
        (dict(device=3.5), "`device`: .*got '3.5'"),
        (dict(data=points().x), "`data`: expected a .*Dataset, .* got Tensor"),
        (dict(data={"x": points().x}), "`data`: expected a .* got dict"),
        (dict(data=np.zeros((64, 4))), "`data`: expected a .* got ndarray"),
        (dict(data=(points().x, points().y)), "`data`: .*Dataset\\(x, y, classes"),
        (
            dict(data=torch.utils.data.DataLoader(points().x)),
            "`data`: expected a .* got DataLoader: give its dataset, and batch_size",
        ),
        (
            dict(data="pictures"),
            "`data`: expected .*, got str: read a folder .*image_fo",
        ),
        (dict(data=changed(x=points().x.double())), "`data`: .*got float64: convert x"),
        (dict(data=changed(x=points().x / 0)), "`data`, `x`: expected finite numbers"),
        (dict(data=changed(y=points().y / 0)), "`data`, `y`: expected finite numbers"),
        (
            dict(data=Dataset(255 * torch.rand(64, 3, 4, 4), torch.zeros(64), ())),
            "`data`: expected float pictures in .0, 1.*divide them by 255",
        ),
        (dict(checkpoint=5), "`checkpoint`: expected a path, got 5"),
        *((dict(seed=seed), "`seed`: expected a whole number") for seed in NO_SEEDS),
    ],
)
def test_fit_names_the_bad_argument_before_it_runs(arguments, message):
    with pytest.raises(ValueError, match=message):
        steps = fit(
            **{
                "method": made(Regression),
                "data": points(),
                "steps": 3,
                "batch_size": 16,
                **arguments,
            }
        )
        next(steps)  # a schedule is first called here


def test_fit_streaming_a_map_style_dataset_gives_the_same_weights(tmp_path):
    data = view_pairs()

    class Streamed(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, row):
            return data.x[row], data.y[row]

    options = dict(batch_size=16, workers=0)
    whole, streamed = fixed_view_simclr(), fixed_view_simclr()
    list(fit(whole, data, 6, **options))
    for step in fit(
        streamed, Streamed(), 6, **options, checkpoint=tmp_path / "s.pt", save_every=3
    ):
        if step.k == 4:
            break
    streamed = fixed_view_simclr(seed=1)  # everything must come from the checkpoint
    assert [
        step.k
        for step in fit(
            streamed, Streamed(), 6, **options, checkpoint=tmp_path / "s.pt"
        )
    ] == [5, 6]
    assert_same(whole.state_dict(), streamed.state_dict())


def test_step_counts_images_of_all_turns():
    last = list(fit(made(ToyGAN), points(), 4, batch_size=16, accumulate=2))[-1]
    assert (last.k, last.steps, last.images, len(last.losses)) == (
        4,
        4,
        4 * 3 * 2 * 16,
        3,
    )
    assert last.seconds > 0 and isinstance(last.loss, float)


def test_frozen_copy_has_no_gradient_and_follows_train_mode_only_if_training():
    net = mlp(4, 8, 2)
    for training in (True, False):
        # the mode of the network it copies does not matter
        for at_first in (True, False):
            copy = frozen_copy(net.train(at_first), training=training)
            assert {m.training for m in copy.modules()} == {training}
        holder = nn.ModuleList([net, copy])
        for mode in (True, False, True):
            holder.train(mode)
            assert net.training is mode
            assert {m.training for m in copy.modules()} == {mode and training}
        assert copy.eval() is copy and not copy.net.training
    assert (
        not any(p.requires_grad for p in copy.parameters())
        and not copy(torch.randn(3, 4)).requires_grad
    )
    net[0].weight.data.zero_()
    assert copy.net[0].weight.abs().sum() > 0


def test_frozen_copy_in_eval_mode_does_not_depend_on_the_batch():
    net, x = nn.BatchNorm1d(4), torch.randn(8, 4) + 3
    for training in (True, False):
        holder = nn.ModuleList([copy := frozen_copy(net, training=training)]).train()
        for _ in range(3):
            copy(x)
        # the copy gathers its own statistics only if training=True
        assert (copy.net.running_mean.abs().max() > 0.5) == training
        holder.eval()
        torch.testing.assert_close(copy(x)[:1], copy(x[:1]))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.996, 1.0])
def test_cosine_momentum_equals_its_closed_form(momentum):
    assert cosine_momentum(momentum, 0.0) == pytest.approx(momentum, abs=1e-12)
    assert cosine_momentum(momentum, 1.0) == pytest.approx(1)
    # cos(pi / 3) = 1 / 2
    assert cosine_momentum(momentum, 1 / 3) == pytest.approx(1 - 0.75 * (1 - momentum))
    assert cosine_momentum(momentum, 0.5) == pytest.approx((1 + momentum) / 2)
    for bad in ((2.0, 0.5), (momentum, 1.1), (math.nan, 0.5), (None, 0.5)):
        with pytest.raises(ValueError, match="expected a number in .0, 1"):
            cosine_momentum(*bad)
    values = [cosine_momentum(momentum, k / 20) for k in range(21)]
    assert momentum == 1 or all(
        earlier < later for earlier, later in zip(values, values[1:])
    )


def test_ema_equals_its_closed_form_and_copies_statistics_only_without_training():
    online = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    seeing, unseeing = (
        frozen_copy(online, training=True),
        frozen_copy(online, training=False),
    )
    start = online[0].weight.detach().clone()
    with torch.no_grad():
        online[0].weight += 1
    online(torch.randn(8, 2) + 5)
    for _ in range(3):
        ema(seeing, online, 0.9), ema(unseeing, online, 0.9)
    for target in (seeing, unseeing):
        torch.testing.assert_close(target.net[0].weight, start + 1 - 0.9**3)
    assert torch.equal(unseeing.net[1].running_mean, online[1].running_mean)
    assert torch.equal(seeing.net[1].running_mean, torch.zeros(2))


def test_queue_gives_the_query_a_gradient_and_the_key_encoder_none():
    method = made(Queue)
    x = points(16).x
    method.loss(x).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in method.query.parameters()
    )
    assert all(p.grad is None for p in method.key.parameters())


def test_method_without_loss_or_encode_raises_not_implemented():
    for call in (Method().loss, Method().encode):
        with pytest.raises(NotImplementedError, match="Method must define"):
            call(torch.zeros(1))


@pytest.mark.parametrize("kind", [Regression, Queue, ToyGAN])
def test_fit_lowers_the_loss_of_small_methods(kind):
    losses, _ = run(made(kind), points(), 60, optimizers=adamw(1e-2))
    assert all(torch.tensor(losses).isfinite())
    if kind is not ToyGAN:  # the value of a game need not fall
        assert sum(losses[-8:]) < 0.97 * sum(losses[:8])


def test_fit_gives_weights_outside_all_turns_no_gradient_and_no_update():
    class Partly(Regression):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 4)

        def loss(self, x, y=None):
            return super().loss(self.body(x), y)

        def turns(self):
            return [(self.loss, self.net.parameters())]

    method = made(Partly)
    before = method.body.weight.detach().clone()
    for _ in fit(method, points(), 3, batch_size=16):
        assert method.body.weight.grad is None and method.body.weight.requires_grad
    assert torch.equal(method.body.weight, before)


def test_fit_bf16_runs_layers_in_bfloat16_and_keeps_float32_weights():
    seen = []
    method = fixed_view_simclr()
    method.projector.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    losses, _ = run(method, view_pairs(), 3, bf16=True)
    assert set(seen) == {torch.bfloat16} and torch.tensor(losses).isfinite().all()
    assert all(p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.slow
def test_fit_with_compile_gives_the_same_losses():
    eager, compiled = (
        run(made(Regression), points(), 3)[0],
        run(made(Regression), points(), 3, compile=True)[0],
    )
    assert compiled == pytest.approx(eager, rel=1e-4)


def test_fit_names_a_damaged_checkpoint(tmp_path):
    (tmp_path / "run.pt").write_bytes(b"no checkpoint")
    with pytest.raises(
        ValueError, match=r"`checkpoint`: .*run\.pt cannot be read: move or delete it"
    ):
        fit(
            made(Regression), points(), 3, batch_size=16, checkpoint=tmp_path / "run.pt"
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA")
def test_fit_on_cuda_lowers_the_loss():
    data = view_pairs()
    method = fixed_view_simclr()
    losses, _ = run(method, data, 20, device="cuda")
    assert losses[-1] < losses[0]


# Numbers of NumPy


def numpy_and_plain():
    """The arguments of one run, with plain numbers and with NumPy's."""
    for whole, real in ((int, float), (np.int64, np.float64)):
        maker = adamw(real(0.01), real(1e-4), (real(0.9), real(0.99)))
        yield dict(
            steps=whole(6),
            batch_size=whole(16),
            seed=whole(1),
            clip=real(0.5),
            accumulate=whole(2),
            save_every=whole(2),
            check_every=whole(3),
            optimizers=maker,
            schedule=lambda p, real=real: real(1 - p),
        )


def test_fit_with_numbers_of_numpy_is_the_same_run_and_can_be_resumed(tmp_path):
    plain, numpy = numpy_and_plain()
    expected = run(made(Regression), points(), **plain)[1]
    path, method = tmp_path / "run.pt", made(Regression)
    assert_same(run(method, points(), **numpy)[1], expected)
    for step in fit(made(Regression), points(), **numpy, checkpoint=path):
        if step.k == 3:
            break
    resumed = made(Regression, seed=5)
    assert [step.k for step in fit(resumed, points(), **plain, checkpoint=path)] == [
        4,
        5,
        6,
    ]
    assert_same(resumed.state_dict(), expected)
    # an optimiser that the caller makes
    for lr in (0.1, np.float64(0.1)):
        own = dict(optimizers=lambda params, lr=lr: torch.optim.SGD(params, lr=lr))
        options = {**own, "batch_size": 16, "checkpoint": tmp_path / "own.pt"}
        left = [step.k for step in fit(made(Regression), points(), 2, **options)]
        assert left == ([1, 2] if type(lr) is float else [])


@pytest.mark.parametrize("seed", NO_SEEDS)
def test_build_rejects_a_seed_that_is_no_whole_number(seed):
    with pytest.raises(ValueError, match="`seed`: expected a whole number"):
        build(lookup("simclr"), seed)


def test_build_takes_a_seed_of_numpy():
    a, b = (build(lookup("simclr"), seed).state_dict() for seed in (3, np.int64(3)))
    assert_same(a, b)


# Data that cannot be used


class Streamed(torch.utils.data.Dataset):
    """A map-style dataset whose every sample is make(row)."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 8

    def __getitem__(self, row):
        return self.make(row)


def picture(row):
    return {"x": torch.zeros(4), "y": torch.zeros(2)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (picture, "expected pairs data.k. = .x, y. of tensors or numbers, got dict"),
        (lambda row: (torch.zeros(4), 0, 0), "got tuple of 3"),
        (lambda row: torch.zeros(4), "got Tensor"),
        (
            lambda row: (Image.new("RGB", (4, 4)), 0),
            "got x of type PIL.* for k = .*PILToTensor",
        ),
        (lambda row: (torch.zeros(4), None), "got y of type NoneType"),
        (lambda row: (torch.zeros(4), "cat"), "got y of type str"),
        (
            lambda row: (torch.zeros(4 + row), 0),
            "equal shapes, got x of shape .* for k = . and of",
        ),
        (lambda row: (np.zeros(4), np.zeros(2)), "got float64: convert x"),
        (lambda row: (torch.full((3, 2, 2), 9.0), 0), "expected float pictures in"),
        (lambda row: (torch.full((4,), torch.nan), 0), "`x`: expected finite"),
    ],
)
def test_fit_names_samples_of_a_map_style_dataset_that_make_no_batch(make, message):
    steps = fit(made(Regression), Streamed(make), 2, batch_size=4, workers=0)
    with pytest.raises(ValueError, match=f"argument `data`.*{message}"):
        next(steps)


def test_fit_names_a_bad_sample_without_the_traceback_of_a_worker():
    steps = fit(made(Regression), Streamed(picture), 2, batch_size=4, workers=1)
    with pytest.raises(ValueError, match="got dict for k = .$"):
        next(steps)


def test_fit_accepts_float64_data_for_a_method_in_float64():
    data = changed(x=points().x.double(), y=points().y.double())
    losses, _ = run(made(Regression).double(), data, 2)
    expected, _ = run(made(Regression), points(), 2)
    assert losses == pytest.approx(expected, rel=1e-5)


# Checkpoints that cannot be used


class Wide(Regression):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)


def test_fit_does_not_resume_with_other_data_or_another_schedule(tmp_path):
    path = tmp_path / "run.pt"
    options = dict(batch_size=16, checkpoint=path)
    for step in fit(made(Regression), points(), 4, **options):
        if step.k == 2:
            break
    before = path.read_bytes()
    others = [
        ("other x in the data, other y in", dict(data=points(seed=1))),
        ("other x in the data.:", dict(data=changed(x=points().x + 0.1))),
        ("other y in the data.:", dict(data=changed(y=points().y.flip(0)))),
        ("schedule.:", dict(schedule=lambda p: 1.0)),
        ("the method has another net.weight.:", dict(method=Wide())),
        ("optimizers .* -> ", dict(method=made(Queue))),
    ]
    for message, other in others:
        arguments = {"method": made(Regression), "data": points(), "steps": 4, **other}
        with pytest.raises(ValueError, match=f"belongs to another run .{message}"):
            fit(**arguments, **options)
        assert path.read_bytes() == before
    # the same data after other rounding, and in another layout of the memory
    near = changed(x=(points().x + 1e-4).T.contiguous().T)
    assert len(list(fit(made(Regression), near, 4, **options))) == 2


def test_fit_resumes_from_a_file_without_data_and_schedule(tmp_path):
    """Earlier versions wrote such files."""
    path = tmp_path / "run.pt"
    run(made(Regression), points(), 4, checkpoint=path)
    state = torch.load(path, weights_only=True)
    del state["data"], state["run"]["schedule"]
    torch.save(state, path)
    options = dict(batch_size=16, checkpoint=path)
    assert list(fit(made(Regression), points(), 4, **options)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(2)}, "contains no run .perhaps only weights"),
        ([1, 2], "contains no run"),
        (b"", "cannot be read: move or delete it"),
        (b"\x80\x02garbage", "cannot be read: move or delete it"),
        (None, "expected a file, got the folder"),
    ],
)
def test_fit_names_a_checkpoint_that_is_none(tmp_path, content, message):
    path = tmp_path / "run.pt"
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=f"`checkpoint`: .*{message}"):
        fit(made(Regression), points(), 3, batch_size=16, checkpoint=path)


def test_fit_tries_to_write_the_checkpoint_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`checkpoint`: cannot write to .*run.pt"):
        run(made(Regression), points(), 1, checkpoint=tmp_path / "file" / "run.pt")
    fit(
        made(Regression), points(), 1, batch_size=16, checkpoint=tmp_path / "a" / "b"
    ).close()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "file"}


def test_fit_expands_the_home_folder_in_the_checkpoints_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run(made(Regression), points(), 1, checkpoint="~/runs/a.pt")
    assert (tmp_path / "home" / "runs" / "a.pt").is_file()
    assert not (tmp_path / "~").exists()
    without_home(monkeypatch)
    with pytest.raises(ValueError, match="`checkpoint`: the home folder is unknown"):
        run(made(Regression), points(), 1, checkpoint="~/runs/a.pt")
