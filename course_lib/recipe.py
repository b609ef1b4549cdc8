"""A recipe: everything that is needed to train one method.

Each family of methods (a folder of course_lib) lists its recipes in its `recipes`
module.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from course_lib.checks import as_seed
from course_lib.data import SHAPES, Dataset
from course_lib.families import merged
from course_lib.fingerprint import fingerprint, weights_hash, weights_of
from course_lib.names import imported, is_own, unknown
from course_lib.optim import Optimizers, adamw, cosine
from course_lib.run import seeded, training_device
from course_lib.train import Method, Step, fit


@dataclass(frozen=True)
class Size:
    """The number of updates, the batch size and the learning rate."""

    steps: int
    batch_size: int  # images in one batch, summed over all processes
    lr: float


@dataclass(frozen=True)
class Recipe:
    """Everything that is needed to train one method.

    Each call of `build` returns a new method. Its initial weights come from torch's
    global random number generator.
    """

    build: Callable[[], Method]
    # name of the data set, for course_lib.data.load; "module:NAME" for one's own
    data: str
    gpu: Size
    cpu: Size | None = None  # None: the training is too long for a CPU
    optimizer: Callable[..., Optimizers] = adamw
    weight_decay: float = 1e-4
    # progress in (0, 1) -> the factor of the learning rate, as for `fit`
    schedule: Callable[[float], float] | None = None  # None: cosine()
    # the number that the paper reports, for a recipe that repeats a paper's experiment
    published: str = ""
    # changes the data set first; for example, it replaces the labels y by other targets
    prepare_data: Callable[[Dataset], Dataset] | None = None
    # False: the method learns no representation, so `encode` is not evaluated
    has_representation: bool = True
    # Names of measures. In each of these measures, the trained encoder must be better
    # than a random encoder, for each of 3 seeds. If one of the two default measures is
    # missing, a notebook says why.
    beats_random_in: tuple[str, ...] = ("knn", "probe")

    def hash(self) -> str:
        """Returns a hash of the builder's code, the settings of the training, and the
        weights of any teacher.

        A change of one of these changes the hash.
        """
        code = fingerprint(self.build, self.optimizer, self.prepare_data)
        teachers = sorted(map(weights_hash, weights_of(self.build)))
        row = [code, self.data, self.cpu, self.gpu, self.weight_decay, teachers]
        row += [] if self.has_representation else ["no representation"]
        row += [fingerprint(self.schedule)] if self.schedule else []
        return hashlib.sha256(repr(row).encode()).hexdigest()[:12]


@functools.cache
def recipes() -> dict[str, Recipe]:
    """Returns the recipes of all families as a dictionary name -> recipe."""
    return merged("recipes")


def lookup(name: str) -> Recipe:
    """Returns the recipe of this name.

    "module:NAME" is a recipe of one's own: the Recipe NAME in a module, for example in
    a file of the current folder. Raises ValueError for an unknown name. The message
    lists the known ones and suggests the closest.
    """
    if is_own(name):
        return imported("name", name, is_recipe, "a Recipe")
    if name not in recipes():
        raise unknown("name", name, recipes(), ", or module:NAME for one of your own")
    return recipes()[name]


def is_recipe(value) -> bool:
    """Returns whether the value is a Recipe."""
    return isinstance(value, Recipe)


def build(recipe: Recipe, seed: int) -> Method:
    """Returns the untrained method, with initial weights drawn from `seed`.

    The caller's random state does not change. Raises ValueError for a seed that is no
    whole number.
    """
    with seeded(as_seed("seed", seed)):
        method = recipe.build()
    method.data_shape = SHAPES.get(recipe.data)
    return method


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
    save_every: int = 200,
    bf16: bool | None = None,
) -> Iterator[Step]:
    """Trains the method by `fit`, with the recipe's size for this device.

    steps and batch_size replace the recipe's numbers. The other arguments are those of
    `fit`. On the CPU, a recipe without a size for the CPU needs steps and batch_size as
    arguments. Raises ValueError if one of these two arguments is then missing.
    """
    device = training_device(device)
    on_gpu = device.type == "cuda"
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
        schedule=recipe.schedule or cosine(),
        checkpoint=checkpoint,
        save_every=save_every,
        bf16=bf16,
    )
