"""Experiments of notebook 08: small crops, soft targets and batch size. Those on
collapse are in `collapse_experiments`, those on the vision transformer in
`vit_experiments`.

Caron et al. 2021 (arXiv 2104.14294): figure 6. Zbontar et al. 2021 (arXiv 2103.03230):
figure 2. Hinton et al. 2015 (arXiv 1503.02531): sections 3 and 6.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import evaluate
from course_lib.contrastive.experiments import SHARES
from course_lib.data import Dataset, load
from course_lib.distillation.collapse_experiments import quick_knn
from course_lib.distillation.dino import DINO
from course_lib.distillation.knowledge import KnowledgeDistillation
from course_lib.distillation.recipes import dino, distillation
from course_lib.experiments.jobs import (
    checkpoint_of,
    measures,
    train_on_few,
    train_to_the_end,
    watched,
)
from course_lib.experiments.setting import Setting
from course_lib.nets.mlp import mlp
from course_lib.recipe import Recipe, Size, build, lookup
from course_lib.supervised import Supervised

# Small crops, and the accuracy of teacher and student during training.


def who_leads(method: DINO) -> dict[str, float]:
    """Returns the k-NN accuracy of the teacher's and of the student's encoder."""
    return {
        "teacher": quick_knn(method.teacher.net[0]),
        "student": quick_knn(method.student[0]),
    }


def teacher_and_student(recipe: Recipe, seed: int) -> dict:
    method, about = watched(recipe, seed, who_leads)
    return about | measures(method, recipe.data)


def global_crops_only(change: Callable[[], DINO]) -> DINO:
    """Returns the method of the builder `change` without local crops."""
    method = change()
    method.augment = replace(method.augment, count=0)
    return method


def short_memory() -> DINO:
    """Returns DINO whose teacher averages over about ten updates at the start, not a
    hundred."""
    method = dino()
    method.momentum = 0.9
    return method


# Soft targets: with few labels, and with one class left out of the student's training.

FEW = replace(lookup("distillation"), cpu=Size(200, 128, 5e-3))


def targets(soft: float) -> KnowledgeDistillation:
    """Returns the distillation recipe's method with this weight of the soft loss."""
    method = distillation()
    method.soft = soft
    return method


def on_few(recipe: Recipe, seed: int) -> dict:
    return train_on_few(recipe, seed, SHARES, "few", lambda: build(recipe, seed))


UNSHOWN = 3  # the digit that is left out of the student's training


@torch.no_grad()
def shifted(x: Tensor) -> Tensor:
    """Returns the batch, shifted at random by up to two pixels in each direction."""
    return x.roll(torch.randint(-2, 3, (2,)).tolist(), (2, 3))


def digits_teacher() -> Supervised:
    """Returns a smaller version of the paper's large network. Its views are shifted by
    up to two pixels, as in the paper."""
    return Supervised(
        nn.Sequential(nn.Flatten(), mlp(784, 512, 256)), nn.Linear(256, 10), shifted
    )


def digits_student(soft: float) -> KnowledgeDistillation:
    """Returns a small student. `without_a_class` loads its teacher's weights later."""
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
    """Trains a student without pictures of the digit UNSHOWN and returns its test
    accuracy.

    all, unshown: accuracy on all digits, and on the digit UNSHOWN. all_bias,
    unshown_bias: the same after this digit's bias was raised by `bias`, the value from
    0 to 30 with the highest accuracy on the training digits. (The paper, section 3,
    chooses it on the test digits.) teacher: the teacher's accuracy on all digits.
    """
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
    """Returns the setting of Barlow Twins with this batch size. The learning rate grows
    with the square root of the batch size, as for SimCLR in notebook 03."""
    size = Size(steps, batch_size, 5e-3 * (batch_size / 256) ** 0.5)
    return Setting(replace(lookup("barlow-twins"), cpu=size))


WATCHED = replace(lookup("dino"), cpu=Size(200, 128, 3e-3))

EXPERIMENTS = {
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
}
