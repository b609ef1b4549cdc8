"""How the methods of notebook 04 are built and trained. The networks are those of
SimCLR's recipe."""

from functools import partial

from torch import nn

from course_lib.augment import (
    ColorJitter,
    Compose,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    simclr_augment,
)
from course_lib.contrastive.mochi import MoCHi
from course_lib.contrastive.moco import MoCo
from course_lib.contrastive.moco_v3 import MoCoV3
from course_lib.contrastive.partly_labelled import PartlyLabelled, hide_labels
from course_lib.contrastive.pirl import PIRL, Rotated, ShuffledTiles
from course_lib.contrastive.recipes import views
from course_lib.data import by_row
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.nets.vit import PooledViT, convolutions
from course_lib.optim import step_decay
from course_lib.pretext.jigsaw import permutation_set
from course_lib.recipe import Recipe, Size


def views_v1() -> Compose:
    """Returns the views of MoCo v1: crop, flip, colour jitter for every picture, grey
    with probability 0.2. Strength and crops are those of `views`."""
    return Compose(
        [
            RandomResizedCrop(32, scale=(0.2, 1.0)),
            RandomGrayscale(0.2),
            ColorJitter(0.16, 0.16, 0.16, 0.04),
            RandomHorizontalFlip(),
        ]
    )


def views_v2() -> Compose:
    """Returns `views` with blur for half of the pictures, as in MoCo v2."""
    return simclr_augment(32, strength=0.2, blur=0.5, scale=(0.2, 1.0))


def moco() -> MoCo:
    """Returns MoCo v1: a linear projector, no blur. The queue holds 4,096 keys. The
    momentum is smaller than the paper's 0.999, because a run has only hundreds of
    updates here."""
    encoder = ResNet(widths=(24, 48, 96))
    return MoCo(
        encoder,
        mlp(encoder.dim, 64),
        views_v1(),
        queue_size=4096,
        dim=64,
        temperature=0.2,
        momentum=0.99,
    )


def moco_v2() -> MoCo:
    """Returns MoCo v2: v1 with an MLP as projector, and blur."""
    encoder = ResNet(widths=(24, 48, 96))
    return MoCo(
        encoder,
        mlp(encoder.dim, encoder.dim, 64),
        views_v2(),
        queue_size=4096,
        dim=64,
        temperature=0.2,
        momentum=0.99,
    )


def like_moco_v2(kind: type[MoCo], queue_size: int = 4096, **more) -> MoCo:
    """Returns a method of this kind with the networks, the views and the settings of
    MoCo v2. more: further arguments of `kind`."""
    method = moco_v2()
    networks = method.encoder, method.projector, method.augment
    return kind(*networks, queue_size, 64, method.temperature, method.momentum, **more)


def mochi() -> MoCHi:
    """Returns MoCHi: MoCo v2 with 128 mixtures of keys and 128 of a key and the query,
    made from the 512 hardest of 4,096 keys."""
    return like_moco_v2(MoCHi, hard=512, pairs=128, with_query=128)


def head(*widths: int) -> nn.Sequential:
    """Returns an MLP with BatchNorm after its last layer, too, as in MoCo v3; there it
    has no parameters."""
    return nn.Sequential(mlp(*widths), nn.BatchNorm1d(widths[-1], affine=False))


def moco_v3_trained_stem() -> MoCoV3:
    """Returns MoCo v3 with a small vision transformer. Its output is the mean of the
    patch tokens, after a BatchNorm without parameters; otherwise the features of all
    pictures would have a large part in common. Views are 24 pixels wide: 36 patches
    instead of 64, at half the cost."""
    vit = PooledViT(convolutions(32, 64, 64), grid=8, dim=64, depth=4, heads=4)
    return MoCoV3(
        nn.Sequential(vit, nn.BatchNorm1d(vit.dim, affine=False)),
        head(vit.dim, 128, 64),
        head(64, 128, 64),
        simclr_augment(24, strength=0.2, scale=(0.2, 1.0)),
        temperature=0.2,
        momentum=0.99,
    )


def moco_v3() -> MoCoV3:
    """Returns MoCo v3 with a stem (patch embedding) that stays random, as in the
    paper."""
    method = moco_v3_trained_stem()
    method.encoder[0].stem.requires_grad_(False)
    return method


def pirl(permutations: int = 64) -> PIRL:
    """Returns PIRL with the shuffled tiles of Jigsaw's recipe."""
    encoder = ResNet(widths=(24, 48, 96))
    transformed = ShuffledTiles(
        nn.Linear(encoder.dim, 64),
        nn.Linear(9 * 64, 64),
        permutation_set(9, permutations),
        tile=8,
        augment=simclr_augment(32, strength=0.2, scale=(0.6, 1.0)),
    )
    return PIRL(
        encoder,
        mlp(encoder.dim, 64),
        transformed,
        views(),
        images=20_000,
        dim=64,
        temperature=0.2,
        noise=4096,
    )


def pirl_rotation() -> PIRL:
    """Returns PIRL whose transformed version is a rotated view."""
    encoder = ResNet(widths=(24, 48, 96))
    return PIRL(
        encoder,
        mlp(encoder.dim, 64),
        Rotated(nn.Linear(encoder.dim, 64), views()),
        views(),
        images=20_000,
        dim=64,
        temperature=0.2,
        noise=4096,
    )


def partly_labelled() -> PartlyLabelled:
    """Returns supervised contrastive learning for partly labelled batches, with
    SimCLR's networks and views."""
    encoder = ResNet(widths=(24, 48, 96))
    return PartlyLabelled(
        encoder, mlp(encoder.dim, encoder.dim, 64), views(), temperature=0.2
    )


RECIPES = {
    "moco": Recipe(
        moco,
        "scenes",
        cpu=Size(500, 256, 5e-3),
        gpu=Size(5000, 512, 5e-3),
        schedule=step_decay,
    ),
    "moco-v2": Recipe(
        moco_v2, "scenes", cpu=Size(500, 256, 5e-3), gpu=Size(5000, 512, 5e-3)
    ),
    "moco-v3": Recipe(
        moco_v3, "scenes", cpu=Size(500, 128, 3e-3), gpu=Size(5000, 512, 3e-3)
    ),
    "mochi": Recipe(
        mochi, "scenes", cpu=Size(400, 128, 3.5e-3), gpu=Size(5000, 512, 5e-3)
    ),
    "pirl": Recipe(
        pirl,
        "scenes",
        cpu=Size(400, 128, 3.5e-3),
        gpu=Size(4000, 512, 5e-3),
        prepare_data=by_row,
    ),
    "pirl-rotation": Recipe(
        pirl_rotation,
        "scenes",
        cpu=Size(400, 128, 3.5e-3),
        gpu=Size(4000, 512, 5e-3),
        prepare_data=by_row,
    ),
    "partly-labelled": Recipe(
        partly_labelled,
        "scenes",
        cpu=Size(200, 128, 3.5e-3),
        gpu=Size(3000, 512, 5e-3),
        prepare_data=partial(hide_labels, fraction=0.1),
    ),
}
