"""Toy methods that use every part of the `Method` contract, and other things that
several test files share."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.contrastive.simclr import SimCLR
from course_lib.data import Dataset, load
from course_lib.distributed import gather
from course_lib.experiments import jobs
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.teacher import ema, frozen_copy
from course_lib.train import Method


def points(n=64, dim=4, seed=0):
    """Gaussian points with an unrelated pair of numbers each as y, as fixed noise."""
    generator = torch.Generator().manual_seed(seed)
    return Dataset(
        torch.randn(n, dim, generator=generator),
        torch.randn(n, 2, generator=generator),
        (),
    )


class Regression(Method):
    """Least squares; its loss is a plain mean over the batch, so accumulation must
    change nothing."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 2)

    def loss(self, x, y=None):
        return F.mse_loss(self.net(x), y)


class Queue(Method):
    """A momentum encoder and a first-in-first-out queue of its keys, filled in
    `after_step`."""

    def __init__(self, size=24):
        super().__init__()
        self.query = mlp(4, 8, 3, norm=None)
        self.key = frozen_copy(self.query, training=True)
        self.register_buffer(
            "queue", F.normalize(torch.arange(3.0 * size).reshape(size, 3).cos(), dim=1)
        )

    def loss(self, x, y=None):
        query, key = (
            F.normalize(self.query(x), dim=1),
            F.normalize(self.key(x + 0.1), dim=1),
        )
        self.step_outputs.append(key)
        scores = (
            torch.cat([(query * key).sum(1, keepdim=True), query @ self.queue.T], 1)
            / 0.2
        )
        return F.cross_entropy(scores, torch.zeros(len(x), dtype=torch.long))

    def after_step(self):
        keys = torch.cat([gather(key) for key in self.step_outputs])
        self.queue.copy_(torch.cat([self.queue, keys])[-len(self.queue) :])
        ema(self.key, self.query, 0.9)


class ToyGAN(Method):
    """Two players, the discriminator twice per update; y is the generator's noise, so
    that nothing is drawn."""

    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = (
            mlp(2, 8, 4, norm=None),
            mlp(4, 8, 1, norm=None),
        )

    def d_loss(self, x, y):
        real, fake = (
            self.discriminator(x),
            self.discriminator(self.generator(y).detach()),
        )
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def g_loss(self, x, y):
        return F.softplus(-self.discriminator(self.generator(y))).mean()

    def turns(self):
        discriminator = (self.d_loss, self.discriminator.parameters())
        return [
            discriminator,
            discriminator,
            (self.g_loss, self.generator.parameters()),
        ]


class TwoViews:
    """Stands in for an augmentation: the two views of an image are its two halves along
    the channels."""

    def __init__(self):
        self.second = True

    def __call__(self, x):
        self.second = not self.second
        return x[:, 3:] if self.second else x[:, :3]


def fixed_view_simclr(seed=0):
    torch.manual_seed(seed)
    encoder = ResNet((8, 16), norm=group_norm)
    return SimCLR(encoder, mlp(16, 16, 8, norm=None), TwoViews(), temperature=0.3)


def view_pairs(n=32, seed=0):
    x = torch.randint(
        0,
        256,
        (n, 6, 16, 16),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )
    return Dataset(x, torch.arange(n), ())


# A process ends without the interpreter's clean-up: gloo's threads now and then abort in
# it, after all work is done.
WORKER = """
import os
import sys
sys.path.insert(0, sys.argv[1])
import torch
import torch.distributed as dist
torch.set_num_threads(1)
import {module}
number, folder = int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{{folder}}/store", rank=number, world_size=2)
torch.save({module}.work(), f"{{folder}}/{{number}}.pt")
dist.barrier()
sys.stderr.flush()
os._exit(0)
"""


def two_processes(module, folder):
    """What the `work()` of that test module returns in each of two processes of one
    group, which meet in `folder`."""
    command = [
        sys.executable,
        "-c",
        WORKER.format(module=module),
        str(Path(__file__).parent),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(number), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return [
        torch.load(folder / f"{number}.pt", weights_only=True) for number in range(2)
    ]


def state_of(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(a, b):
    """Whether two states are equal, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def products(betas):
    """abar_1, ..., abar_T."""
    found, product = [], 1.0
    for beta in betas.tolist():
        product *= 1 - beta
        found.append(product)
    return found


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def called_at(function, *arguments, seed=0):
    """function(*arguments) with torch's global generator at the seed, and then where it
    was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return function(*arguments)


def dot(u, v):
    """The scalar product of two lists of numbers, by a plain loop."""
    return sum(a * b for a, b in zip(u, v, strict=True))


def unit(u):
    """A list of numbers divided by its Euclidean norm."""
    return [a / math.sqrt(dot(u, u)) for a in u]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def close(a, b, rtol=1e-9, atol=1e-9):
    torch.testing.assert_close(
        a, torch.as_tensor(b, dtype=a.dtype), rtol=rtol, atol=atol
    )


def within(sample, expected, errors=5.0):
    """The mean of independent numbers is `expected` up to that many standard errors."""
    off = (sample.double().mean(0) - expected).abs()
    assert (off <= errors * sample.double().std(0) / math.sqrt(len(sample))).all(), off


def ddim_by_hand(betas, x, steps, limit):
    """DDIM with the noise sin(0.7 x_t + 0.1 t), each step in double precision."""
    abar, x = products(betas), x.double()
    numbers = [round(t) for t in np.linspace(len(abar) - 1, 0, steps)]
    for t, s in zip(numbers, [*numbers[1:], None], strict=True):
        a, b = abar[t], 1.0 if s is None else abar[s]
        eps = torch.sin(0.7 * x + 0.1 * t)
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        if limit:
            x0 = x0.clamp(-1, 1)
            eps = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
        x = math.sqrt(b) * x0 + math.sqrt(1 - b) * eps
    return x


def few_rows(folder, monkeypatch, studies):
    """Checkpoints of the test's own, in `folder`, and 300 rows of each split; gives the
    loader."""

    def loaded(name, split="train"):
        data = load(name, split)
        return data[
            torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:300]
        ]

    monkeypatch.setattr(jobs, "RUNS", folder)
    monkeypatch.setattr(jobs, "load", loaded)
    monkeypatch.setattr(studies, "load", loaded)
    return loaded


def without_home(monkeypatch):
    """From here on the home folder is unknown, as for a user without an entry in the
    system's list of users."""

    def unknown(name):
        raise KeyError(name)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
