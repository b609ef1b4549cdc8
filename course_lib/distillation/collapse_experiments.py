"""Experiments of notebook 08 on collapse: each method with and without the parts that
prevent it.

Caron et al. 2021 (arXiv 2104.14294): figure 7. Chen & He 2020 (arXiv 2011.10566):
section 4. Grill et al. 2020 (arXiv 2006.07733): table 5.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.data import as_float, load
from course_lib.distillation.byol import BYOL
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.recipes import byol, dino, simsiam
from course_lib.distillation.simsiam import SimSiam
from course_lib.experiments.jobs import watched
from course_lib.experiments.setting import Setting
from course_lib.nets.mlp import mlp
from course_lib.recipe import Recipe, Size, lookup
from course_lib.teacher import ema
from course_lib.train import Method


@torch.no_grad()
def collapse_metrics(method: BYOL | SimSiam | DINO) -> dict[str, float]:
    """Returns measures of collapse on 500 validation scenes.

    std: standard deviation of z, divided by its maximum; 0 if all z are equal. For
    DINO, there are two more measures. entropy: the entropy of the teacher's P_t,
    averaged over the scenes and divided by ln K; 0 if each P_t is 1 for one prototype,
    1 if each P_t is uniform. An entropy of 0 alone is no collapse: the prototype may
    differ from scene to scene (see `output_entropies`). kl: KL(P_t || P_s) in nats,
    where P_s is the student's distribution; 0 if the student has nothing to learn from
    the teacher.
    """
    x = as_float(load("scenes", "val").x[:500])
    if not isinstance(method, DINO):
        return {"std": relative_std(method.projector(method.encoder(x)))}
    teacher = (method.teacher(x) - method.centre) / method.teacher_temperature()
    log_p = (method.student(x) / method.tau_s).log_softmax(1)
    log_q = teacher.log_softmax(1)
    entropy = -(log_q.exp() * log_q).sum(1).mean()
    return {
        "std": relative_std(method.student[:2](x)),
        "entropy": entropy.item() / math.log(teacher.shape[1]),
        "kl": (log_q.exp() * (log_q - log_p)).sum(1).mean().item(),
    }


@torch.no_grad()
def output_entropies(method: DINO) -> dict[str, float]:
    """Returns two entropies of the teacher's P_t on 500 validation scenes, both divided
    by ln K.

    entropy: of each scene's P_t, averaged over the scenes. mean_entropy: of the mean of
    P_t over the scenes. Both are 0 if one prototype has probability 1 for all scenes.
    Both are 1 if each P_t is uniform. The first is 0 and the second 1 if each P_t is 1
    for one prototype and all prototypes occur equally often.
    """
    x = as_float(load("scenes", "val").x[:500])
    outputs = (method.teacher(x) - method.centre) / method.teacher_temperature()
    p = outputs.softmax(1)
    each, together = (torch.special.entr(q).sum(-1) for q in (p, p.mean(0)))
    most = math.log(p.shape[1])
    return {
        "entropy": each.mean().item() / most,
        "mean_entropy": together.item() / most,
    }


def relative_std(z: Tensor) -> float:
    """Returns the standard deviation of z (N, D) divided by its maximum, 1 /
    sqrt(D)."""
    return evaluate.feature_std(z) * z.shape[1] ** 0.5


def collapse(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe with `collapse_metrics` at regular intervals. Returns their
    curve, their final values and the k-NN accuracy."""
    method, about = watched(recipe, seed, collapse_metrics)
    return about | collapse_metrics(method) | {"knn": quick_knn(method)}


def entropies(recipe: Recipe, seed: int) -> dict:
    """Trains the recipe with `output_entropies` at regular intervals. Returns their
    curve and their final values."""
    method, about = watched(recipe, seed, output_entropies)
    return about | output_entropies(method)


@torch.no_grad()
def quick_knn(encoder: Callable[[Tensor], Tensor]) -> float:
    """Returns the k-NN accuracy on the validation scenes with 4,000 training scenes. It
    is cheap, so it can be measured many times."""
    bank, unseen = load("scenes", "train")[:4000], load("scenes", "val")
    h_bank, h = evaluate.features(encoder, bank.x), evaluate.features(encoder, unseen.x)
    return evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y)


class SimSiamWithGradient(SimSiam):
    """SimSiam without stop-gradient: the targets have a gradient, too."""

    def target(self, z: Tensor) -> Tensor:
        return z


def simsiam_with(predictor: bool, stop_gradient: bool) -> SimSiam:
    method, kind = simsiam(), SimSiam if stop_gradient else SimSiamWithGradient
    return kind(
        method.encoder,
        method.projector,
        method.predictor if predictor else nn.Identity(),
        method.augment,
    )


def byol_with(predictor: bool, momentum: float) -> BYOL:
    method = byol()
    if not predictor:
        method.predictor = nn.Identity()
    method.momentum = momentum
    return method


class BYOLWithoutAverage(BYOL):
    """BYOL with momentum 0 throughout the training: after each update the target is a
    copy of the online network. `BYOL(momentum=0)` is not this, because the cosine lets
    its momentum rise from 0 to 1."""

    def after_step(self):
        ema(self.target, nn.Sequential(self.encoder, self.projector), 0.0)


def byol_without_average(predictor: bool) -> BYOL:
    method = byol_with(predictor, 0.0)
    return BYOLWithoutAverage(
        method.encoder,
        method.projector,
        method.predictor,
        method.augment,
        method.momentum,
    )


def dino_with(
    centring: bool, sharpening: bool, norm: type[nn.Module] | None = nn.BatchNorm1d
) -> DINO:
    """Returns DINO with or without centring and sharpening. Without centring the centre
    stays 0. Without sharpening the teacher has the same temperature as the student.
    norm: normalisation layer in the head; the paper's head has none."""
    method = with_head(dino(), mlp(96, 256, 64, norm=norm), Prototypes(64, 512))
    if not centring:
        method.centre_momentum = 1.0
    if not sharpening:
        method.tau_t = method.tau_t_start = method.tau_s
    return method


def collapsing(
    change: Callable[..., Method],
    *arguments,
    job: Callable[[Recipe, int], dict] = collapse,
) -> Setting:
    """Returns the setting that measures collapse in a short run of a changed recipe.
    The name of the recipe is the first word of the name of `change`."""
    recipe = lookup(change.__name__.partition("_")[0])
    return Setting(
        replace(
            recipe, build=partial(change, *arguments), cpu=Size(100, 128, recipe.cpu.lr)
        ),
        job,
    )


def with_head(method: DINO, projector: nn.Module, prototypes: Prototypes) -> DINO:
    """Returns the same method with another head."""
    settings = {
        name: getattr(method, name)
        for name in ("tau_s", "tau_t", "tau_t_start", "warmup", "freeze")
    }
    momenta = method.momentum, method.centre_momentum
    return DINO(
        method.student[0], projector, prototypes, method.augment, *momenta, **settings
    )


EXPERIMENTS = {
    "distillation-collapse": {
        "SimSiam": collapsing(simsiam_with, True, True),
        "SimSiam, no predictor": collapsing(simsiam_with, False, True),
        "SimSiam, no stop-gradient": collapsing(simsiam_with, True, False),
        "SimSiam, neither": collapsing(simsiam_with, False, False),
        "BYOL": collapsing(byol_with, True, 0.99),
        "BYOL, no predictor": collapsing(byol_with, False, 0.99),
        "BYOL, momentum 0": collapsing(byol_without_average, True),
        "BYOL, neither": collapsing(byol_without_average, False),
        "DINO": collapsing(dino_with, True, True),
        "DINO, no centring": collapsing(dino_with, False, True),
        "DINO, no sharpening": collapsing(dino_with, True, False),
        "DINO, neither": collapsing(dino_with, False, False),
        "DINO, no centring, no BatchNorm": collapsing(dino_with, False, True, None),
    },
    "dino-entropies": {
        name: collapsing(dino_with, *arguments, job=entropies)
        for name, arguments in {
            "DINO": (True, True),
            "DINO, no centring": (False, True),
            "DINO, no sharpening": (True, False),
            "DINO, neither": (False, False),
            "DINO, no centring, no BatchNorm": (False, True, None),
        }.items()
    },
}
