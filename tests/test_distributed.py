"""Two gloo processes give the same loss, gradients and state as one process on the
joint batch."""

import os
import tempfile
from pathlib import Path

import own_page
import pytest
import torch
from methods import Queue, ToyGAN, fixed_view_simclr, points, two_processes, view_pairs

from course_lib.__main__ import main
from course_lib.contrastive.instance_discrimination import (
    InstanceDiscrimination,
    NCEInstanceDiscrimination,
)
from course_lib.contrastive.siamese import Siamese
from course_lib.contrastive.supcon import SupCon
from course_lib.data import Dataset
from course_lib.distillation.byol import BYOL
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.simsiam import SimSiam
from course_lib.distributed import gather, rank, world_size
from course_lib.nets.mlp import mlp
from course_lib.optim import sgd
from course_lib.recipe import build, lookup
from course_lib.redundancy.barlow_twins import BarlowTwins
from course_lib.train import fit

PICTURES = """\
import torch

from course_lib.data import Dataset


def pictures(split):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (16, 3, 64, 64), dtype=torch.uint8, generator=generator)
    return Dataset(x, torch.arange(16), ())
"""


def first_view(x):
    return x[:, :3]


def fixed_view_supcon():
    method = fixed_view_simclr()
    return SupCon(method.encoder, method.projector, method.augment, temperature=0.3)


def fixed_view_siamese():
    method = fixed_view_simclr()
    return Siamese(method.encoder, method.projector, method.augment)


def fixed_view_bank(kind=InstanceDiscrimination, **options):
    method = fixed_view_simclr()
    return kind(
        method.encoder, method.projector, first_view, 32, 8, temperature=0.3, **options
    )


def fixed_view_nce():
    return fixed_view_bank(NCEInstanceDiscrimination, noise=16)


def fixed_view_byol():
    method = fixed_view_simclr()
    return BYOL(
        method.encoder,
        method.projector,
        mlp(8, 16, 8, norm=None),
        method.augment,
        momentum=0.9,
    )


def fixed_view_simsiam():
    method = fixed_view_simclr()
    return SimSiam(
        method.encoder, method.projector, mlp(8, 4, 8, norm=None), method.augment
    )


class InDoubles(BarlowTwins):
    """Computes in float64. The features hardly differ between pictures at first, so
    correlations and long steps amplify rounding."""

    def loss(self, x, y=None):
        return super().loss(x.double())


def fixed_view_barlow_twins():
    method = fixed_view_simclr()
    return InDoubles(
        method.encoder, method.projector, method.augment, off_diagonal=0.1
    ).double()


def four_crops(x):
    """Two views of 16 x 16, two of 8 x 8."""
    return [x[:, :3], x[:, 3:], x[:, :3, 4:12, 4:12], x[:, 3:, :8, 2:10]]


def fixed_view_dino(**options):
    method = fixed_view_simclr()
    heads = method.projector, Prototypes(8, 10)
    return DINO(
        method.encoder,
        *heads,
        four_crops,
        momentum=0.9,
        centre_momentum=0.5,
        tau_s=0.2,
        tau_t=0.1,
        **options,
    )


def freezing_dino():
    """Its prototypes are frozen for two of four updates. Every process still sends a
    zero gradient for them."""
    return fixed_view_dino(freeze=0.5, warmup=0.5, tau_t_start=0.05)


def few_classes():
    data = view_pairs()
    return Dataset(data.x, data.y % 5, ())


def toy_points():
    return points(32)


METHODS = {
    "Queue": (Queue, toy_points),
    "ToyGAN": (ToyGAN, toy_points),
    "SimCLR": (fixed_view_simclr, view_pairs),
    "SupCon": (fixed_view_supcon, few_classes),
    "Siamese": (fixed_view_siamese, view_pairs),
    "InstanceDiscrimination": (fixed_view_bank, view_pairs),
    "BYOL": (fixed_view_byol, view_pairs),
    "SimSiam": (fixed_view_simsiam, view_pairs),
    "BarlowTwins": (fixed_view_barlow_twins, view_pairs),
    "DINO": (fixed_view_dino, view_pairs),
    "DINO that freezes": (freezing_dino, view_pairs),
}


def made(name):
    torch.manual_seed(0)
    return METHODS[name][0]()


def train(name, **options):
    """Losses, first gradient (from one step of plain SGD), final state."""
    method, data = made(name), METHODS[name][1]()
    steps = fit(
        method,
        data,
        4,
        batch_size=16,
        optimizers=sgd(0.1, weight_decay=0, momentum=0),
        schedule=lambda p: 1.0,
        **options,
    )
    before = [p.detach().clone() for p in method.parameters()]
    next(steps)
    # the first gradient
    after_one = [(b - p.detach()) / 0.1 for b, p in zip(before, method.parameters())]
    losses = [[loss.item() for loss in step.losses] for step in steps]
    return losses, after_one, [v.clone() for v in method.state_dict().values()]


def nce_memory():
    """The bank and log Z after each update: the noise is drawn by every process for
    itself."""
    method = fixed_view_nce()
    steps = fit(method, view_pairs(), 4, batch_size=16, optimizers=sgd(0.1))
    return [(method.bank.clone(), method.log_z.clone()) for _ in steps]


def gathered_gradient():
    """A loss of all rows that every process computes in full: the gradient of this
    process's own rows."""
    x = torch.arange(8.0).reshape(4, 2)
    own = (x.chunk(world_size())[rank()]).clone().requires_grad_()
    loss = torch.cdist(gather(own), gather(own).flip(0) ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, own)
    return gradient / world_size(), gather(own.detach())


def own_recipe():
    """Runs torchrun's command of docs/your-own.md, on random pictures, in this process
    of the group. Returns the weights that this process has written, if any, and those
    before the training."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind, code in own_page.blocks():
            if kind == "file":
                own_page.write(code)
        Path("my_pictures.py").write_text(PICTURES)
        arguments = (
            own_page.command("python -m torch.distributed.run")
            .split(" -m course_lib ")[1]
            .split()
        )
        assert main(arguments) == 0
        found = Path(arguments[-1])
        weights = torch.load(found, weights_only=True) if found.exists() else {}
        start = build(lookup("vicreg_recipe:vicreg"), 0).state_dict()
        os.chdir(before)
    return weights, start


def work():
    results = {name: train(name) for name in METHODS}
    results["NCE"] = nce_memory()
    results["accumulated"] = train("ToyGAN", accumulate=2)
    results["accumulated DINO"] = train("DINO that freezes", accumulate=2)
    results["gathered"] = gathered_gradient()
    results["own"] = own_recipe()
    try:
        fit(made("Queue"), points(33), 1, batch_size=15)
    except ValueError as error:
        results["error"] = str(error)
    return results


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return two_processes("test_distributed", tmp_path_factory.mktemp("two"))


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(METHODS))
def test_training_in_two_processes_equals_one_on_the_joint_batch(two, name):
    losses, after_one, state = train(name)
    for per_process in two:
        close(per_process[name][1], after_one)
        close(per_process[name][2], state)
    # every process computes the joint loss
    if name in ("SimCLR", "SupCon", "Siamese", "BarlowTwins"):
        for per_process in two:
            assert (
                torch.tensor(per_process[name][0]).sub(torch.tensor(losses)).abs().max()
                < 1e-5
            )
    else:  # a plain mean: each process reports its own half
        halves = torch.tensor([per_process[name][0] for per_process in two]).mean(0)
        assert halves.sub(torch.tensor(losses)).abs().max() < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(two[0][name][2], two[1][name][2])), (
        "the processes drifted apart"
    )


def test_nce_bank_and_log_z_are_the_same_in_all_processes(two):
    for ours, theirs in zip(two[0]["NCE"], two[1]["NCE"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs)), (
            "the processes drifted apart"
        )
    alone = nce_memory()
    # the noise has no effect before the first update
    close(two[0]["NCE"][0], alone[0])
    assert all(torch.equal(log_z, two[0]["NCE"][0][1]) for _, log_z in two[0]["NCE"])
    assert not torch.equal(two[0]["NCE"][-1][0], two[0]["NCE"][0][0])


@pytest.mark.parametrize(
    ("result", "name"),
    [("accumulated", "ToyGAN"), ("accumulated DINO", "DINO that freezes")],
)
def test_accumulation_in_two_processes_equals_one(two, result, name):
    _, after_one, state = train(name, accumulate=2)
    for per_process in two:
        close(per_process[result][1], after_one)
        close(per_process[result][2], state)


def test_byol_target_dino_teacher_and_centre_are_in_state_dict_and_change():
    """The comparison above covers the state_dict, so these names must be in it, and
    their values must have changed."""
    for name, kept in (("BYOL", "target."), ("DINO", "teacher."), ("DINO", "centre")):
        method, start = made(name), made(name).state_dict()
        list(fit(method, METHODS[name][1](), 4, batch_size=16, optimizers=sgd(0.1)))
        state = method.state_dict()
        names = [key for key in state if key.startswith(kept)]
        assert names and all(not torch.equal(state[key], start[key]) for key in names)


def test_gather_returns_each_process_the_gradient_of_its_rows(two):
    gradient, rows = gathered_gradient()
    close([torch.cat([per_process["gathered"][0] for per_process in two])], [gradient])
    assert all(torch.equal(per_process["gathered"][1], rows) for per_process in two)


def test_recipe_of_ones_own_trains_in_two_processes(two):
    """Only rank 0 writes the weights."""
    (trained, start), (nothing, _) = two[0]["own"], two[1]["own"]
    assert nothing == {} and trained.keys() == start.keys()
    moved = [(trained[key] - start[key]).abs().max() for key in start]
    assert 0 < max(moved) < torch.inf


def test_gather_in_one_process_is_the_identity():
    x = torch.randn(3, 2)
    assert gather(x) is x and (rank(), world_size()) == (0, 1)


def test_fit_rejects_a_batch_size_that_does_not_divide_among_processes(two):
    assert (
        two[0]["error"]
        == two[1]["error"]
        == "argument `batch_size`: expected a multiple of the 2 processes, got 15"
    )
