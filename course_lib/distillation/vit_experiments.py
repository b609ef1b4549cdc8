"""Experiments of notebook 08 on the vision transformer: its attention as a mask of the
emoji, and the choices that its training depends on.

Caron et al. 2021 (arXiv 2104.14294): figure 4.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.data import as_float, load
from course_lib.distillation.collapse_experiments import quick_knn, with_head
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.experiments import global_crops_only
from course_lib.distillation.recipes import dino_vit
from course_lib.experiments.jobs import measures, train_to_the_end
from course_lib.experiments.setting import Setting
from course_lib.nets.mlp import mlp
from course_lib.nets.vit import ViT, patches
from course_lib.recipe import Recipe, Size, build, lookup

# Attention of the class token.


@torch.no_grad()
def class_attention(vit: ViT, x: Tensor, batch_size: int = 500) -> Tensor:
    """Returns the attention of the class token to each position in the last block:
    uint8 images (N, C, H, W) -> (N, heads, h, w)."""
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
    """Returns how well the class token's attention covers the emoji of the test scenes:
    the intersection over union (IoU) of a mask from the attention with the emoji's
    mask.

    The mask from the attention contains the strongest positions that together hold a
    given fraction of the attention. iou: 60 %, in the head that is best on the
    validation scenes. iou_mean: 60 %, in the mean of the heads. iou_tuned: the head
    (or the mean) and the fraction are chosen on the validation scenes. iou_all: the
    mask is the whole picture.
    """
    (val, val_masks), (test, masks) = (
        (class_attention(vit, split.x), split.info["mask"].bool())
        for split in (load("scenes", "val"), load("scenes", "test"))
    )
    # the last map is the mean of the heads
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


# Choices that the transformer's training depends on: each setting changes one of them,
# with one seed and a short run.


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
    """Trains the recipe and returns its k-NN accuracy on the validation scenes."""
    method, about = train_to_the_end(recipe, seed)
    return about | {"knn": quick_knn(method.eval())}


def choice(change: Callable[..., DINO], *arguments, lr: float = 5e-3) -> Setting:
    """Returns the setting of a short run with one changed choice."""
    build = partial(change, *arguments) if arguments else change
    return Setting(
        replace(lookup("dino-vit"), build=build, cpu=Size(200, 128, lr)),
        validated,
        seeds=(0,),
    )


VIT = lookup("dino-vit")

EXPERIMENTS = {
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
    "dino-vit-choices": {
        "as it is": choice(dino_vit),
        "linear stem": choice(vit_with_stem, partial(patches, 64, 4)),
        "no BatchNorm in the head": choice(vit_with_head, None),
        "teacher's temperature 0.07": choice(vit_with_teacher, 0.99, 0.07),
        "momentum 0.996": choice(vit_with_teacher, 0.996, 0.04),
        "learning rate 0.001": choice(dino_vit, lr=1e-3),
    },
}
