"""Collapse and what prevents it, small crops, attention as a mask, soft targets:
experiments of notebook 08.

Caron et al. 2021 (arXiv 2104.14294): figures 4, 6 and 7. Chen & He 2020 (arXiv
2011.10566): section 4. Grill et al. 2020 (arXiv 2006.07733): table 5. Zbontar et al.
2021 (arXiv 2103.03230): figure 2. Hinton et al. 2015 (arXiv 1503.02531): sections 3 and
5.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.contrastive.experiments import SHARES
from course_lib.data import Dataset, as_float, load
from course_lib.distillation.byol import BYOL
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.knowledge import KnowledgeDistillation
from course_lib.distillation.recipes import byol, dino, dino_vit, distillation, simsiam
from course_lib.distillation.simsiam import SimSiam
from course_lib.experiments.jobs import (
    checkpoint_of,
    measures,
    train_on_few,
    train_to_the_end,
    watched,
)
from course_lib.experiments.setting import Setting
from course_lib.nets.mlp import mlp
from course_lib.nets.vit import ViT, patches
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.supervised import Supervised
from course_lib.train import Method

# Collapse: each remedy on and off.


@torch.no_grad()
def collapse_metrics(method: BYOL | SimSiam | DINO) -> dict[str, float]:
    """std: of z over 500 unseen scenes, as a share of the most it can be; 0 where all
    are alike. DINO also: entropy of the teacher's P_t, mean over scenes, as a share of
    ln K: 0 where one prototype wins, 1 where all are equal; kl, in nats, from P_t to
    the student's P_s: 0 where there is nothing to learn."""
    x = as_float(load("scenes", "val").x[:500])
    if not isinstance(method, DINO):
        return {"std": share_of_std(method.projector(method.encoder(x)))}
    teacher = (method.teacher(x) - method.centre) / method.teacher_temperature()
    log_p, log_q = (
        (method.student(x) / method.tau_s).log_softmax(1),
        teacher.log_softmax(1),
    )
    entropy = -(log_q.exp() * log_q).sum(1).mean()
    return {
        "std": share_of_std(method.student[:2](x)),
        "entropy": entropy.item() / math.log(teacher.shape[1]),
        "kl": (log_q.exp() * (log_q - log_p)).sum(1).mean().item(),
    }


def share_of_std(z: Tensor) -> float:
    return evaluate.feature_std(z) * z.shape[1] ** 0.5


def collapse(recipe: Recipe, seed: int) -> dict:
    method, about = watched(recipe, seed, collapse_metrics)
    return about | collapse_metrics(method) | {"knn": quick_knn(method)}


@torch.no_grad()
def quick_knn(encoder: Callable[[Tensor], Tensor]) -> float:
    """k-NN accuracy on the validation scenes with 4,000 training scenes: for what is
    measured many times."""
    bank, unseen = load("scenes", "train")[:4000], load("scenes", "val")
    h_bank, h = evaluate.features(encoder, bank.x), evaluate.features(encoder, unseen.x)
    return evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y)


class SimSiamWithGradient(SimSiam):
    """SimSiam whose targets get a gradient, too."""

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


def dino_with(
    centring: bool, sharpening: bool, norm: type[nn.Module] | None = nn.BatchNorm1d
) -> DINO:
    """Without centring the centre stays at 0; without sharpening the teacher is as soft
    as the student. norm: in the head, which has none in the paper."""
    method = with_head(dino(), mlp(96, 256, 64, norm=norm), Prototypes(64, 512))
    if not centring:
        method.centre_momentum = 1.0
    if not sharpening:
        method.tau_t = method.tau_t_start = method.tau_s
    return method


def collapsing(change: Callable[..., Method], *arguments) -> Setting:
    recipe = lookup(change.__name__.removesuffix("_with"))
    return Setting(
        replace(
            recipe, build=partial(change, *arguments), cpu=Size(100, 128, recipe.cpu.lr)
        ),
        collapse,
    )


def with_head(method: DINO, projector: nn.Module, prototypes: Prototypes) -> DINO:
    """The same method with another head."""
    settings = {
        name: getattr(method, name)
        for name in ("tau_s", "tau_t", "tau_t_start", "warmup", "freeze")
    }
    momenta = method.momentum, method.centre_momentum
    return DINO(
        method.student[0], projector, prototypes, method.augment, *momenta, **settings
    )


# Small crops, and who leads: the teacher or the student.


def who_leads(method: DINO) -> dict[str, float]:
    return {
        "teacher": quick_knn(method.teacher.net[0]),
        "student": quick_knn(method.student[0]),
    }


def teacher_and_student(recipe: Recipe, seed: int) -> dict:
    method, about = watched(recipe, seed, who_leads)
    return about | measures(method, recipe.data)


def global_crops_only(change: Callable[[], DINO]) -> DINO:
    method = change()
    method.augment = replace(method.augment, count=0)
    return method


def short_memory() -> DINO:
    """A teacher that begins by remembering ten updates, not a hundred."""
    method = dino()
    method.momentum = 0.9
    return method


# Where a transformer looks.


@torch.no_grad()
def class_attention(vit: ViT, x: Tensor, batch_size: int = 500) -> Tensor:
    """How much the class token looks at each place in the last block: uint8 images (N,
    C, H, W) -> (N, heads, h, w)."""
    training = vit.training
    vit.eval()
    maps = torch.cat(
        [
            vit.attention_maps(as_float(batch))[:, :, 0, 1:]
            for batch in x.split(batch_size)
        ]
    )
    vit.train(training)
    return maps.unflatten(2, (round(maps.shape[2] ** 0.5), -1))


def attention_iou(vit: ViT) -> dict[str, float]:
    """How well the strongest places of the class token's attention cover the emoji, on
    unseen scenes.

    iou: the places that hold 60 % in the head that is best on validation scenes;
    iou_mean: in the heads' mean; iou_tuned: head, or mean, and share chosen on
    validation scenes; iou_all: the whole picture.
    """
    (val, val_masks), (test, masks) = (
        (class_attention(vit, split.x), split.info["mask"].bool())
        for split in (load("scenes", "val"), load("scenes", "test"))
    )
    # the last one is the mean
    val, test = (
        torch.cat([maps, maps.mean(1, keepdim=True)], 1) for maps in (val, test)
    )

    def iou(attention: Tensor, masks: Tensor, share: float = 0.6) -> float:
        mask = evaluate.most_of_the_mass(attention, share).float()[:, None]
        return evaluate.intersection_over_union(
            F.interpolate(mask, masks.shape[2:]) > 0, masks
        )

    heads = range(val.shape[1] - 1)
    best = max(heads, key=lambda head: iou(val[:, head], val_masks))
    choices = [
        (head, share)
        for head in (*heads, -1)
        for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    ]
    head, share = max(
        choices, key=lambda choice: iou(val[:, choice[0]], val_masks, choice[1])
    )
    return {
        "iou": iou(test[:, best], masks),
        "iou_mean": iou(test[:, -1], masks),
        "iou_tuned": iou(test[:, head], masks, share),
        "iou_all": evaluate.intersection_over_union(torch.ones_like(masks), masks),
    }


def untrained_attention(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **attention_iou(build(recipe, seed).teacher.net[0])}


def supervised_attention(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | attention_iou(method.eval().encoder)


def dino_attention(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return (
        about
        | measures(method, recipe.data)
        | attention_iou(method.eval().teacher.net[0])
    )


# What mattered in making the transformer learn: one thing changed at a time, one seed,
# a short run.


def vit_with_stem(stem: Callable[[], nn.Module]) -> DINO:
    method = dino_vit()
    encoder = ViT(stem(), grid=8, dim=64, depth=4, heads=4)
    return DINO(
        encoder, *method.student[1:], method.augment, momentum=0.99, freeze=0.05
    )


def vit_with_head(norm: type[nn.Module] | None) -> DINO:
    return with_head(dino_vit(), mlp(64, 128, 64, norm=norm), Prototypes(64, 256))


def vit_with_teacher(momentum: float, tau_t: float) -> DINO:
    method = dino_vit()
    method.momentum, method.tau_t, method.tau_t_start = momentum, tau_t, tau_t
    return method


def validated(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | {"knn": quick_knn(method.eval())}


def choice(change: Callable[..., DINO], *arguments, lr: float = 5e-3) -> Setting:
    build = partial(change, *arguments) if arguments else change
    return Setting(
        replace(lookup("dino-vit"), build=build, cpu=Size(200, 128, lr)),
        validated,
        seeds=(0,),
    )


# Soft targets: few labels, and a class that the student never sees.

FEW = replace(lookup("distillation"), cpu=Size(200, 128, 5e-3))


def targets(soft: float) -> KnowledgeDistillation:
    method = distillation()
    method.soft = soft
    return method


def on_few(recipe: Recipe, seed: int) -> dict:
    return train_on_few(recipe, seed, SHARES, "few", lambda: build(recipe, seed))


UNSHOWN = 3  # the digit that the student never sees


@torch.no_grad()
def shifted(x: Tensor) -> Tensor:
    """The batch, moved by up to two pixels each way."""
    return x.roll(torch.randint(-2, 3, (2,)).tolist(), (2, 3))


def digits_teacher() -> Supervised:
    """The paper's large network, smaller, and with its views: moved by up to two
    pixels."""
    return Supervised(
        nn.Sequential(nn.Flatten(), mlp(784, 512, 256)), nn.Linear(256, 10), shifted
    )


def digits_student(soft: float) -> KnowledgeDistillation:
    """A small one; its teacher's weights come later."""
    teacher = digits_teacher()
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 64, 32))
    teacher = nn.Sequential(teacher.encoder, teacher.classifier)
    return KnowledgeDistillation(
        encoder, nn.Linear(32, 10), teacher, shifted, temperature=8.0, soft=soft
    )


TEACHER = Recipe(
    digits_teacher, "digits", cpu=Size(1500, 128, 2e-3), gpu=Size(1500, 128, 2e-3)
)


def without_a_class(recipe: Recipe, seed: int) -> dict:
    """Test accuracy of a student that saw no picture of the digit UNSHOWN: `all`,
    `unshown` digit, and both again with that digit's bias raised until most of the
    training digits are right (`_bias`: section 3 does it on test digits)."""
    teacher, _ = train_to_the_end(TEACHER, seed)
    method = build(recipe, seed)
    method.teacher.net.load_state_dict(
        nn.Sequential(teacher.encoder, teacher.classifier).state_dict()
    )
    data, test = load("digits", "train"), load("digits", "test")
    shown = data[(data.y != UNSHOWN).nonzero().flatten()]
    method, about = train_to_the_end(
        recipe,
        seed,
        method=method,
        data=shown,
        checkpoint=checkpoint_of(recipe, seed, "-s"),
    )

    def logits(network: Supervised | KnowledgeDistillation, digits: Dataset) -> Tensor:
        return network.classifier(evaluate.features(network, digits.x)).detach()

    of_data, of_test = logits(method, data), logits(method, test)
    one = F.one_hot(torch.tensor(UNSHOWN), 10)
    best = max(
        range(31), key=lambda bias: evaluate.accuracy(of_data + bias * one, data.y)
    )
    threes, row = test.y == UNSHOWN, {"bias": best}
    for name, found in {"": of_test, "_bias": of_test + best * one}.items():
        row[f"all{name}"] = evaluate.accuracy(found, test.y)
        row[f"unshown{name}"] = evaluate.accuracy(found[threes], test.y[threes])
    return about | row | {"teacher": evaluate.accuracy(logits(teacher, test), test.y)}


# Batch size.


def barlow_of(batch_size: int, steps: int) -> Setting:
    # as SimCLR's in notebook 03
    size = Size(steps, batch_size, 5e-3 * (batch_size / 256) ** 0.5)
    return Setting(replace(lookup("barlow-twins"), cpu=size))


WATCHED = replace(lookup("dino"), cpu=Size(200, 128, 3e-3))
VIT = lookup("dino-vit")

EXPERIMENTS = {
    "distillation-collapse": {
        "SimSiam": collapsing(simsiam_with, True, True),
        "SimSiam, no predictor": collapsing(simsiam_with, False, True),
        "SimSiam, no stop-gradient": collapsing(simsiam_with, True, False),
        "SimSiam, neither": collapsing(simsiam_with, False, False),
        "BYOL": collapsing(byol_with, True, 0.99),
        "BYOL, no predictor": collapsing(byol_with, False, 0.99),
        "BYOL, momentum 0": collapsing(byol_with, True, 0.0),
        "BYOL, neither": collapsing(byol_with, False, 0.0),
        "DINO": collapsing(dino_with, True, True),
        "DINO, no centring": collapsing(dino_with, False, True),
        "DINO, no sharpening": collapsing(dino_with, True, False),
        "DINO, neither": collapsing(dino_with, False, False),
        "DINO, no centring, no BatchNorm": collapsing(dino_with, False, True, None),
    },
    "dino-crops": {
        "large and small crops": Setting(WATCHED, teacher_and_student),
        "large crops only": Setting(
            replace(WATCHED, build=partial(global_crops_only, dino)),
            teacher_and_student,
        ),
        "short memory": Setting(
            replace(WATCHED, build=short_memory), teacher_and_student
        ),
    },
    "dino-attention": {
        "untrained": Setting(VIT, untrained_attention),
        "supervised": Setting(lookup("supervised-vit"), supervised_attention),
        "DINO": Setting(VIT, dino_attention),
        "DINO, large crops only": Setting(
            replace(VIT, build=partial(global_crops_only, dino_vit)),
            dino_attention,
            seeds=(0,),
        ),
    },
    "distillation-labels": {
        "hard labels": Setting(replace(FEW, build=partial(targets, 0.0)), on_few),
        "soft targets": Setting(replace(FEW, build=partial(targets, 1.0)), on_few),
    },
    "distillation-unshown": {
        title: Setting(
            replace(TEACHER, build=partial(digits_student, soft)),
            without_a_class,
            pretrained=TEACHER,
        )
        for title, soft in {"hard labels": 0.0, "soft targets": 1.0}.items()
    },
    "barlow-batch-size": {
        f"batch {n}, {steps} steps": barlow_of(n, steps)
        for n, steps in {32: 800, 128: 200, 256: 100}.items()
    },
    "dino-vit-choices": {
        "as it is": choice(dino_vit),
        "linear stem": choice(vit_with_stem, partial(patches, 64, 4)),
        "no BatchNorm in the head": choice(vit_with_head, None),
        "teacher's temperature 0.07": choice(vit_with_teacher, 0.99, 0.07),
        "momentum 0.996": choice(vit_with_teacher, 0.996, 0.04),
        "learning rate 0.001": choice(dino_vit, lr=1e-3),
    },
}
