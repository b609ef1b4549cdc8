"""How every method of the course is built and trained: one row each."""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from course_lib.augment import simclr_augment
from course_lib.contrastive.simclr import SimCLR
from course_lib.data import Dataset
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, torchvision_resnet
from course_lib.train import Method, Optimizers, Step, adamw, fit, sgd


@dataclass(frozen=True)
class Size:
    """How long and how wide to train."""

    steps: int
    batch_size: int  # images, over all processes
    lr: float


@dataclass(frozen=True)
class Recipe:
    """One method ready to train: `build` makes it anew, with weights from torch's global generator."""

    build: Callable[[], Method]
    data: str  # name for course_lib.data.load
    gpu: Size
    cpu: Size | None = None  # None: out of reach without a GPU
    optimizer: Callable[..., Optimizers] = adamw
    weight_decay: float = 1e-4
    published: str = ""  # reference figure of the paper, for recipes that repeat one

    def hash(self) -> str:
        """Changes when the builder or what this row says of the training does: tells what is out of date."""
        row = [inspect.getsource(self.build), self.data, self.cpu, self.gpu, self.optimizer.__name__, self.weight_decay]
        return hashlib.sha256(repr(row).encode()).hexdigest()[:12]


def simclr() -> SimCLR:
    """The encoder of notebooks 00 to 09 and a head with one hidden layer.

    Milder views than the paper's, chosen on the validation emoji: a category of emoji has its colours, which strong
    jitter hides, and a crop of 8 % of the picture may miss the emoji altogether.
    """
    encoder = ResNet(widths=(24, 48, 96))
    augment = simclr_augment(32, strength=0.2, scale=(0.2, 1.0))
    return SimCLR(encoder, mlp(encoder.dim, encoder.dim, 64), augment, temperature=0.2)


def simclr_cifar10() -> SimCLR:
    """The paper's network and views for CIFAR-10 (appendix B.9): ResNet-50 with a 3 x 3 stem, colour strength 0.5, no
    blur. The optimiser is SGD with momentum where the paper has LARS."""
    from torchvision.models import resnet50

    encoder = torchvision_resnet(resnet50)
    return SimCLR(encoder, mlp(encoder.dim, encoder.dim, 128), simclr_augment(32, strength=0.5), temperature=0.5)


RECIPES = {
    "simclr": Recipe(simclr, "scenes", cpu=Size(500, 256, 5e-3), gpu=Size(5000, 512, 5e-3)),
    "simclr-cifar10": Recipe(
        simclr_cifar10,
        "cifar10",
        gpu=Size(48_000, 1024, 1.0),
        optimizer=sgd,
        published="94.0 % linear probe (Chen et al. 2020, appendix B.9: ResNet-50, 1000 epochs, batch 1024, LARS)",
    ),
}


def lookup(name: str) -> Recipe:
    """The row of that name; ValueError lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"argument `name`: expected one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


def build(recipe: Recipe, seed: int) -> Method:
    """The untrained method whose weights come from `seed`; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would reach every GPU's too
        return recipe.build()


def train(
    recipe: Recipe,
    method: Method,
    data: Dataset,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[Step]:
    """`fit` with the recipe's size for this device; steps and batch_size override it.

    Raises ValueError where the recipe has no size for the CPU and none is given.
    """
    on_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    size = recipe.gpu if on_gpu else recipe.cpu
    if size is None:
        if steps is None or batch_size is None:
            raise ValueError("argument `device`: this recipe is made for a GPU; on the CPU give steps and batch_size")
        size = recipe.gpu
    steps = size.steps if steps is None else steps
    batch_size = size.batch_size if batch_size is None else batch_size
    return fit(
        method,
        data,
        steps,
        batch_size=batch_size,
        seed=seed,
        device=device,
        optimizers=recipe.optimizer(size.lr, recipe.weight_decay),
        checkpoint=checkpoint,
    )
