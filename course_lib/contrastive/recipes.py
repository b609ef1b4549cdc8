"""How the contrastive methods of notebook 03 are built and trained, and the random
views of scenes."""

from course_lib.augment import Compose, simclr_augment
from course_lib.contrastive.instance_discrimination import InstanceDiscrimination
from course_lib.contrastive.siamese import Siamese
from course_lib.contrastive.simclr import SimCLR
from course_lib.contrastive.supcon import SupCon
from course_lib.data import by_row
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, torchvision_resnet
from course_lib.optim import sgd
from course_lib.recipe import Recipe, Size


def views() -> Compose:
    """Returns the random views of scenes. They are milder than SimCLR's; their strength
    was chosen on the validation emoji. The categories of emoji have typical colours,
    which strong jitter hides. A crop of 8 % of the picture may miss the emoji."""
    return simclr_augment(32, strength=0.2, scale=(0.2, 1.0))


def simclr() -> SimCLR:
    """Returns SimCLR with the encoder of notebooks 00 to 09 and a head with one hidden
    layer."""
    encoder = ResNet(widths=(24, 48, 96))
    return SimCLR(encoder, mlp(encoder.dim, encoder.dim, 64), views(), temperature=0.2)


def simclr_cifar10() -> SimCLR:
    """Returns SimCLR with the paper's network and views for CIFAR-10 (appendix B.9):
    ResNet-50 with a 3 x 3 stem, colour strength 0.5, no blur. The optimiser is SGD with
    momentum; the paper uses LARS."""
    from torchvision.models import resnet50

    encoder = torchvision_resnet(resnet50, 32)
    return SimCLR(
        encoder,
        mlp(encoder.dim, encoder.dim, 128),
        simclr_augment(32, strength=0.5),
        temperature=0.5,
    )


def siamese() -> Siamese:
    """Returns a Siamese network with SimCLR's networks and views, and one negative for
    each picture."""
    encoder = ResNet(widths=(24, 48, 96))
    return Siamese(encoder, mlp(encoder.dim, encoder.dim, 64), views(), margin=0.5)


def instance_discrimination(
    kind: type[InstanceDiscrimination] = InstanceDiscrimination,
) -> InstanceDiscrimination:
    """Returns instance discrimination with SimCLR's networks and views, but one view of
    each picture. The bank has a row for each of the 20,000 training scenes."""
    encoder = ResNet(widths=(24, 48, 96))
    projector = mlp(encoder.dim, encoder.dim, 64)
    return kind(
        encoder,
        projector,
        views(),
        images=20_000,
        dim=64,
        temperature=0.2,
        momentum=0.5,
    )


def supcon() -> SupCon:
    """Returns supervised contrastive learning with SimCLR's networks and views."""
    encoder = ResNet(widths=(24, 48, 96))
    return SupCon(encoder, mlp(encoder.dim, encoder.dim, 64), views(), temperature=0.2)


RECIPES = {
    "simclr": Recipe(
        simclr, "scenes", cpu=Size(500, 256, 5e-3), gpu=Size(5000, 512, 5e-3)
    ),
    "siamese": Recipe(
        siamese, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "instance-discrimination": Recipe(
        instance_discrimination,
        "scenes",
        cpu=Size(600, 256, 5e-3),
        gpu=Size(6000, 512, 5e-3),
        prepare_data=by_row,
    ),
    "supcon": Recipe(
        supcon, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "simclr-cifar10": Recipe(
        simclr_cifar10,
        "cifar10",
        gpu=Size(48_000, 1024, 1.0),
        optimizer=sgd,
        published=(
            "94.0 % linear probe (Chen et al. 2020, appendix B.9: ResNet-50, "
            "1000 epochs, batch 1024, LARS)"
        ),
    ),
}
