"""Experiments of notebook 04 on small batches: shuffled BatchNorm, memory and time of a
queue and of a large batch.

He et al. 2019 (arXiv 1911.05722): figure A.1 (shuffling). Chen et al. 2020 (arXiv
2003.04297): tables 2 and 3.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from course_lib.contrastive.moco import MoCo, key_scores
from course_lib.contrastive.moco_experiments import (
    about,
    end_to_end,
    means_of_ten,
    variant,
)
from course_lib.contrastive.moco_recipes import like_moco_v2, moco_v2, views_v2
from course_lib.contrastive.recipes import simclr
from course_lib.contrastive.simclr import SimCLR
from course_lib.data import as_float, load
from course_lib.experiments.jobs import measures
from course_lib.experiments.setting import Setting
from course_lib.recipe import Recipe, Size, build, train
from course_lib.run import seeded

# Shuffled BatchNorm. On several GPUs, each normalises its own pictures. Small groups of
# one batch take the place of the GPUs here.


class GroupedMoCo(MoCo):
    """MoCo that encodes queries and keys in groups of `group` pictures, each with its
    own BatchNorm statistics. If `shuffle`, the groups of the keys are drawn anew."""

    group, shuffle = 8, True

    def loss(self, x: Tensor, y=None) -> Tensor:
        view1, view2 = self.views(x)
        ordered = torch.randperm if self.shuffle else torch.arange
        order = ordered(len(x), device=x.device)
        q = torch.cat([self.embed(self.online, v) for v in view1.split(self.group)])
        shuffled = [self.embed(self.key, v) for v in view2[order].split(self.group)]
        k = torch.cat(shuffled)[order.argsort()]
        self.step_outputs.append(k)
        scores = key_scores(q, k, self.queue.keys)
        self.pretext_accuracy = (scores.argmax(1) == 0).float().mean()
        return self.compare(q, k)


def grouped(group: int, shuffle: bool) -> GroupedMoCo:
    method = like_moco_v2(GroupedMoCo)
    method.group, method.shuffle = group, shuffle
    return method


def pretext_accuracy(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe. Returns `measures`, the loss and the pretext accuracy (the
    share of queries whose own key has the highest score), both as means of every 10
    updates."""
    method, correct, losses = build(recipe, seed), [], []
    data = load(recipe.data, "train")
    for step in train(recipe, method, data, seed=seed, device="cpu"):
        correct.append(method.pretext_accuracy.item())
        losses.append(step.loss)
    return {
        **about(step),
        **measures(method.eval(), recipe.data),
        "pretext": means_of_ten(correct),
        "losses": means_of_ten(losses),
    }


# Memory and time.


def saved_bytes(loss: Callable[[], Tensor]) -> int:
    """Returns the size of all tensors that autograd stores for the backward pass of
    loss(), without the parameters, in bytes."""
    storages = {}

    def pack(x: Tensor) -> Tensor:
        # a linear layer stores a transposed view of its weight
        if not isinstance(x if x._base is None else x._base, nn.Parameter):
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        kept = loss()  # keeps the graph, so that no address is used twice
    assert kept.requires_grad
    return sum(storages.values())


def cost(recipe: Recipe, seed: int) -> dict:
    """Returns what an update of the recipe's batch costs: megabytes (all that is stored
    for the backward pass, the queue included) and ms (median time of 7 updates)."""
    method, n = build(recipe, seed).train(), recipe.cpu.batch_size
    x = as_float(load(recipe.data, "train").x[:n])
    with seeded(seed):
        stored = saved_bytes(lambda: method.loss(x))
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        method.loss(x).backward()
        method.after_step()
        method.step_outputs.clear()
        method.zero_grad()
        seconds.append(time.perf_counter() - start)
    return {
        "steps": 0,
        "batch_size": n,
        "megabytes": stored / 1e6,
        "ms": 1000 * median(seconds[1:]),
    }


def at_batch(change: Callable, *arguments, steps: int, batch_size: int) -> Recipe:
    """Returns the recipe of a batch size. The learning rate grows with the square root
    of the batch size."""
    size = Size(steps, batch_size, 5e-3 * (batch_size / 256) ** 0.5)
    return variant(change, *arguments, cpu=size)


def simclr_with_blur() -> SimCLR:
    """Returns SimCLR with the views of MoCo v2."""
    method = simclr()
    method.augment = views_v2()
    return method


EXPERIMENTS = {
    "moco-shuffle": {
        "one batch": Setting(variant(grouped, 128, False), pretext_accuracy),
        "groups, shuffled": Setting(variant(grouped, 8, True), pretext_accuracy),
        "groups, not shuffled": Setting(variant(grouped, 8, False), pretext_accuracy),
    },
    "moco-cost": {
        **{
            f"MoCo, batch {n}, K = 4096": Setting(
                at_batch(moco_v2, steps=1, batch_size=n), cost, seeds=(0,)
            )
            for n in (64, 256)
        },
        **{
            f"end-to-end, batch {n}, K = {n - 1}": Setting(
                at_batch(end_to_end, n - 1, steps=1, batch_size=n), cost, seeds=(0,)
            )
            for n in (64, 256, 1024, 4096)
        },
    },
    "moco-equal-time": {
        "MoCo v2, batch 64": Setting(at_batch(moco_v2, steps=600, batch_size=64)),
        "SimCLR, batch 64": Setting(
            at_batch(simclr_with_blur, steps=420, batch_size=64)
        ),
        "SimCLR, batch 512": Setting(
            at_batch(simclr_with_blur, steps=48, batch_size=512)
        ),
    },
}
