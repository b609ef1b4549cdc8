"""A recipe: one method ready to train. The families' `recipes` modules have them, a row
each."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from course_lib.data import Dataset
from course_lib.families import merged
from course_lib.fingerprint import fingerprint, weights_hash, weights_of
from course_lib.optim import Optimizers, adamw
from course_lib.run import seeded
from course_lib.train import Method, Step, fit


@dataclass(frozen=True)
class Size:
    """How long and how wide to train."""

    steps: int
    batch_size: int  # images, over all processes
    lr: float


@dataclass(frozen=True)
class Recipe:
    """One method ready to train: `build` makes it anew, with weights from torch's
    global generator."""

    build: Callable[[], Method]
    data: str  # name for course_lib.data.load
    gpu: Size
    cpu: Size | None = None  # None: out of reach without a GPU
    optimizer: Callable[..., Optimizers] = adamw
    weight_decay: float = 1e-4
    published: str = ""  # reference figure of the paper, for recipes that repeat one
    # say, y becomes what the method wants instead of labels
    prepare_data: Callable[[Dataset], Dataset] | None = None
    # False: what it learns is none, and `encode` has nothing to measure
    has_representation: bool = True
    # with each of 3 seeds; a notebook explains what is missing
    beats_random_in: tuple[str, ...] = ("knn", "probe")

    def hash(self) -> str:
        """Changes when the builder, what this row says of the training, or a teacher's
        weights do."""
        code = fingerprint(self.build, self.optimizer, self.prepare_data)
        teachers = sorted(map(weights_hash, weights_of(self.build)))
        row = [code, self.data, self.cpu, self.gpu, self.weight_decay, teachers]
        row += [] if self.has_representation else ["no representation"]
        return hashlib.sha256(repr(row).encode()).hexdigest()[:12]


@functools.cache
def recipes() -> dict[str, Recipe]:
    """name -> recipe, of all families."""
    return merged("recipes")


def lookup(name: str) -> Recipe:
    """The recipe of that name; ValueError lists the known ones."""
    if name not in recipes():
        raise ValueError(
            f"argument `name`: expected one of {', '.join(recipes())}, got {name!r}"
        )
    return recipes()[name]


def build(recipe: Recipe, seed: int) -> Method:
    """The untrained method whose weights come from `seed`; the caller's random state
    stays as it was."""
    with seeded(seed):
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
    bf16: bool | None = None,
) -> Iterator[Step]:
    """`fit` with the recipe's size for this device; steps and batch_size override it,
    bf16 is fit's.

    Raises ValueError where the recipe has no size for the CPU and none is given.
    """
    on_gpu = (
        torch.cuda.is_available()
        if device is None
        else torch.device(device).type == "cuda"
    )
    data = recipe.prepare_data(data) if recipe.prepare_data else data
    size = recipe.gpu if on_gpu else recipe.cpu
    if size is None:
        if steps is None or batch_size is None:
            raise ValueError(
                "argument `device`: this recipe is made for a GPU; on the CPU give "
                "steps and batch_size"
            )
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
        bf16=bf16,
    )
