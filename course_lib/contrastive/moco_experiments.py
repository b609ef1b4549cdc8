"""Experiments of notebook 04 on MoCo: the number of negatives, the momentum, and from
v1 to v2.

He et al. 2019 (arXiv 1911.05722): figure 3 (number of negatives) and the table of
momenta. Chen et al. 2020 (arXiv 2003.04297): table 1.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.augment import Compose
from course_lib.contrastive.instance_discrimination import InstanceDiscrimination
from course_lib.contrastive.moco import MoCo, moco_loss
from course_lib.contrastive.moco_recipes import (
    like_moco_v2,
    moco_v2,
    views_v1,
    views_v2,
)
from course_lib.contrastive.simclr import SimCLR
from course_lib.data import as_float, by_row, load
from course_lib.experiments.jobs import measures, train_to_the_end
from course_lib.experiments.setting import Setting
from course_lib.losses import info_nce
from course_lib.nets.mlp import mlp
from course_lib.optim import step_decay
from course_lib.recipe import Recipe, Size, build, lookup, train
from course_lib.run import seeded
from course_lib.supervised.recipes import supervised
from course_lib.teacher import frozen_copy
from course_lib.train import Step

# many settings, so fewer updates than in the recipe
BASE = replace(lookup("moco-v2"), cpu=Size(200, 128, 3.5e-3))


def variant(change: Callable, *arguments, **others) -> Recipe:
    """Returns BASE with change(*arguments) as its builder. others: further fields of
    the recipe."""
    return replace(BASE, build=partial(change, *arguments), **others)


# Where the negatives come from, and how many there are. All settings have the same
# batches, networks and number of updates.


def queue_of(size: int) -> MoCo:
    return like_moco_v2(MoCo, size)


class SampledBank(InstanceDiscrimination):
    """A memory bank of which `negatives` random rows are the negatives of a batch."""

    negatives = 1

    def compare(self, v: Tensor, y: Tensor) -> Tensor:
        noise = torch.randint(len(self.bank), (self.negatives,), device=v.device)
        return moco_loss(v, self.bank[y], self.bank[noise], self.temperature)


def bank_of(negatives: int) -> SampledBank:
    method = moco_v2()
    networks = method.encoder, method.projector, method.augment
    bank = SampledBank(*networks, images=20_000, dim=64, temperature=0.2)
    bank.negatives = negatives
    return bank


class EndToEnd(SimCLR):
    """Queries and keys of one network, both with gradient. The negatives of a query are
    the keys of the next `negatives` pictures of its batch."""

    negatives = 1

    def loss(self, x: Tensor, y=None) -> Tensor:
        q, k = self.project(self.augment(x), self.augment(x))
        scores = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / self.temperature
        pictures = torch.arange(len(q), device=q.device)
        distance = (pictures - pictures[:, None]) % len(q)  # 0 for the positive
        return info_nce(scores.masked_fill(distance > self.negatives, -torch.inf))


def end_to_end(negatives: int) -> EndToEnd:
    method = moco_v2()
    networks = method.encoder, method.projector, method.augment
    changed = EndToEnd(*networks, method.temperature)
    changed.negatives = negatives
    return changed


# The momentum, and how stale it makes the keys.

FROM, TO, EVERY = 50, 150, 5  # updates between which keys are compared


def with_momentum(momentum: float) -> MoCo:
    method = moco_v2()
    method.momentum = momentum
    return method


def staleness(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe and measures how fast keys become stale.

    key_cosine: age in updates -> mean cosine between a key and the key network's output
    for the same view that many updates later. It is measured on 256 views that stay the
    same, for keys made in the updates FROM to TO. query_cosine: the same for the query
    network. losses: mean loss of every 10 updates. The row also has the usual measures.
    """
    method, data = build(recipe, seed), load(recipe.data, "train")
    with seeded(1):
        view = method.augment(as_float(data.x[:256]))
    twin = frozen_copy(method.online, training=True)
    keys, queries, losses = [], [], []
    for step in train(recipe, method, data, seed=seed, device="cpu"):
        losses.append(step.loss)
        if FROM <= step.k <= TO and step.k % EVERY == 0:
            method.train()
            # copies, so that the running statistics of BatchNorm do not change
            for network, kept in (
                (method.key.net, keys),
                (method.online, queries),
            ):
                twin.net.load_state_dict(network.state_dict())
                kept.append(F.normalize(twin(view), dim=1))
    return {
        **about(step),
        **measures(method.eval(), recipe.data),
        "losses": means_of_ten(losses),
        "key_cosine": cosine_by_age(keys),
        "query_cosine": cosine_by_age(queries),
    }


def about(step: Step) -> dict:
    """Returns what a row says of the run that ended with this step."""
    return {
        "steps": step.steps,
        "batch_size": step.images // step.steps,
        "seconds": round(step.seconds, 1),
    }


def means_of_ten(values: list[float]) -> list[float]:
    """Returns the mean of every 10 values; the last mean may be of fewer."""
    return [mean(values[i : i + 10]) for i in range(0, len(values), 10)]


def cosine_by_age(kept: list[Tensor]) -> dict[str, float]:
    """Returns age -> mean cosine of unit vectors (N, D) and those `age` updates later,
    for vectors that were kept every EVERY updates."""
    return {
        str(lag * EVERY): mean(
            (old * new).sum(1).mean().item() for old, new in zip(kept, kept[lag:])
        )
        for lag in range(1, len(kept))
    }


# From v1 to v2, one change at a time.


def between(head: Callable[[], nn.Module], augment: Callable[[], Compose]) -> MoCo:
    method = moco_v2()
    return MoCo(
        method.encoder,
        head(),
        augment(),
        len(method.queue.keys),
        64,
        method.temperature,
        method.momentum,
    )


LINEAR, MLP = partial(mlp, 96, 64), partial(mlp, 96, 96, 64)


def box_measures(method: nn.Module) -> dict[str, float]:
    """Returns how well a linear regression finds the box of the emoji from the frozen
    feature map (4 x 4 x 96): box_iou, the mean IoU on the test scenes, and box_75, the
    share of boxes with an IoU above 0.75."""
    data, test = load("scenes", "train"), load("scenes", "test")
    maps = nn.Sequential(method.encoder.stem, method.encoder.stages, nn.Flatten())
    h, h_test = evaluate.features(maps, data.x), evaluate.features(maps, test.x)
    probe = evaluate.box_probe(h, data.info["box"], groups=data.info["emoji"])
    return overlap(probe(h_test), test.info["box"])


def overlap(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Returns box_iou and box_75 of boxes (N, 4)."""
    iou = evaluate.box_iou(predicted, true)
    return {"box_iou": iou.mean().item(), "box_75": (iou > 0.75).double().mean().item()}


def probe_and_box(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe; returns `measures` and `box_measures`."""
    method, about = train_to_the_end(recipe, seed)
    return about | measures(method, recipe.data) | box_measures(method)


def untrained_probe_and_box(recipe: Recipe, seed: int) -> dict:
    method = build(recipe, seed)
    return {"steps": 0, **measures(method, recipe.data), **box_measures(method)}


def mean_box(recipe: Recipe, seed: int) -> dict:
    """Evaluates the prediction that is the same for each picture: the mean box."""
    data, test = load(recipe.data, "train"), load(recipe.data, "test")
    box = data.info["box"].double().mean(0).expand(len(test), 4)
    return {"steps": 0, **overlap(box, test.info["box"])}


EXPERIMENTS = {
    "moco-negatives": {
        **{f"queue, K = {k}": Setting(variant(queue_of, k)) for k in (32, 1024, 8192)},
        **{
            f"bank, K = {k}": Setting(variant(bank_of, k, prepare_data=by_row))
            for k in (32, 1024, 8192)
        },
        **{f"end-to-end, K = {k}": Setting(variant(end_to_end, k)) for k in (32, 127)},
    },
    "moco-momentum": {
        f"{m}": Setting(variant(with_momentum, m), staleness)
        for m in (0.0, 0.9, 0.99, 0.999, 0.9999)
    },
    "moco-v1-to-v2": {
        "mean box": Setting(BASE, mean_box, seeds=(0,)),
        "random encoder": Setting(BASE, untrained_probe_and_box),
        "v1": Setting(
            variant(between, LINEAR, views_v1, schedule=step_decay), probe_and_box
        ),
        "+ MLP": Setting(
            variant(between, MLP, views_v1, schedule=step_decay), probe_and_box
        ),
        "+ blur": Setting(
            variant(between, LINEAR, views_v2, schedule=step_decay), probe_and_box
        ),
        "+ MLP + blur": Setting(
            variant(between, MLP, views_v2, schedule=step_decay), probe_and_box
        ),
        "v2 (+ cosine)": Setting(variant(between, MLP, views_v2), probe_and_box),
        "v2, 600 updates": Setting(
            variant(between, MLP, views_v2, cpu=Size(600, 128, 3.5e-3)),
            probe_and_box,
            seeds=(0,),
        ),
        "supervised": Setting(variant(supervised), probe_and_box, seeds=(0,)),
    },
}
