"""How the methods of notebook 08 are built and trained."""

from torch import nn

from course_lib import zoo
from course_lib.augment import MultiCrop, simclr_augment
from course_lib.contrastive.recipes import views
from course_lib.distillation.byol import BYOL
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.knowledge import KnowledgeDistillation
from course_lib.distillation.simsiam import SimSiam
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.nets.vit import ViT, convolutions
from course_lib.recipe import Recipe, Size
from course_lib.supervised import Supervised


def byol() -> BYOL:
    """Returns BYOL with SimCLR's encoder and views. The momentum is smaller than the
    paper's 0.996, because a run has only hundreds of updates here."""
    encoder = ResNet(widths=(24, 48, 96))
    return BYOL(
        encoder, mlp(encoder.dim, 192, 64), mlp(64, 128, 64), views(), momentum=0.99
    )


def simsiam() -> SimSiam:
    """Returns SimSiam with SimCLR's encoder and views. As in the paper, z is normalised
    once more and the predictor is a bottleneck."""
    encoder = ResNet(widths=(24, 48, 96))
    projector = nn.Sequential(
        mlp(encoder.dim, 192, 192), nn.BatchNorm1d(192, affine=False)
    )
    return SimSiam(encoder, projector, mlp(192, 48, 192), views())


def crops(global_size: int) -> MultiCrop:
    """Returns the transform of pictures into two global crops and four local ones.
    Global crops are `global_size` pixels wide and contain at least 30 % of the picture.
    Local crops are 16 pixels wide and contain at most 30 %."""
    global_crop = simclr_augment(global_size, strength=0.2, scale=(0.3, 1.0))
    return MultiCrop(
        global_crop, simclr_augment(16, strength=0.2, scale=(0.08, 0.3)), 4
    )


def dino() -> DINO:
    """Returns DINO with the course's residual network."""
    encoder = ResNet(widths=(24, 48, 96))
    return DINO(
        encoder,
        mlp(encoder.dim, 256, 64),
        Prototypes(64, 512),
        crops(32),
        momentum=0.99,
        freeze=0.05,
    )


def small_vit() -> ViT:
    """Returns a transformer of four blocks on a grid of 8 x 8 positions. Its stem is
    convolutional, because with a linear stem it learns nothing from so few pictures in
    so few updates."""
    return ViT(convolutions(32, 64, 64), grid=8, dim=64, depth=4, heads=4)


def dino_vit() -> DINO:
    """Returns DINO with `small_vit`. Large views are 24 pixels wide: 36 positions
    instead of 64, at half the cost."""
    encoder = small_vit()
    return DINO(
        encoder,
        mlp(encoder.dim, 128, 64),
        Prototypes(64, 256),
        crops(24),
        momentum=0.99,
        freeze=0.05,
    )


def supervised_vit() -> Supervised:
    """Returns the same network as a classifier that is trained with all labels."""
    encoder = small_vit()
    return Supervised(encoder, nn.Linear(encoder.dim, 9), views())


def distillation() -> KnowledgeDistillation:
    """Returns a student with a quarter of the teacher's width. It learns the outputs of
    the course's supervised network, without labels."""
    teacher = zoo.load("supervised")
    encoder = ResNet(widths=(6, 12, 24))
    return KnowledgeDistillation(
        encoder,
        nn.Linear(encoder.dim, 9),
        nn.Sequential(teacher.encoder, teacher.classifier),
        views(),
        soft=1.0,
    )


RECIPES = {
    "byol": Recipe(byol, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "simsiam": Recipe(
        simsiam, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "dino": Recipe(dino, "scenes", cpu=Size(300, 128, 3e-3), gpu=Size(3000, 512, 3e-3)),
    "dino-vit": Recipe(
        dino_vit, "scenes", cpu=Size(1000, 128, 5e-3), gpu=Size(10_000, 512, 5e-3)
    ),
    "supervised-vit": Recipe(
        supervised_vit, "scenes", cpu=Size(500, 128, 2e-3), gpu=Size(5000, 512, 2e-3)
    ),
    "distillation": Recipe(
        distillation, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
}
