"""Data sets: `load(name, split)` loads each of them. The data sets that ship with the
package need no network."""

from functools import partial
from pathlib import Path

from course_lib.data.dataset import Dataset, as_float, by_row, labelled_subset
from course_lib.data.digits import load_digits
from course_lib.data.emoji import (
    SPLITS,
    emoji_names,
    emoji_subcategories,
    load_emoji,
    load_emoji_on_white,
    on_background,
)
from course_lib.data.folders import image_folder
from course_lib.data.scenes import load_scenes, render_scenes, shortcut_triplets
from course_lib.data.torchvision_sets import TORCHVISION, load_torchvision
from course_lib.data.toys import TOYS, load_toy, load_toys
from course_lib.data.words import bags_of_words, skip_gram_pairs, vocabulary, word_lists
from course_lib.names import imported, is_own, unknown

__all__ = [
    "Dataset",
    "as_float",
    "bags_of_words",
    "by_row",
    "emoji_names",
    "emoji_subcategories",
    "image_folder",
    "labelled_subset",
    "load",
    "names",
    "on_background",
    "render_scenes",
    "shortcut_triplets",
    "skip_gram_pairs",
    "vocabulary",
    "word_lists",
]

SHIPPED = {  # name: (splits, loader)
    "emoji": (SPLITS, load_emoji),
    "emoji_on_white": (SPLITS, load_emoji_on_white),
    "scenes": (SPLITS, load_scenes),
    "digits": (("train", "test"), load_digits),
    "toys": (SPLITS, load_toys),
    **{toy: (SPLITS, partial(load_toy, toy)) for toy in TOYS},
}
# the shape of a row of x
SHAPES = {
    "emoji": (4, 32, 32),
    "emoji_on_white": (3, 32, 32),
    "scenes": (3, 32, 32),
    "digits": (1, 28, 28),
    **dict.fromkeys(["toys", *TOYS], (2,)),
    **dict.fromkeys(["cifar10", "svhn"], (3, 32, 32)),
    **dict.fromkeys(["mnist", "fashion_mnist"], (1, 28, 28)),
    "stl10": (3, 96, 96),
}


def load(name: str, split: str = "train", *, root: str | Path | None = None) -> Dataset:
    """A data set by name, as a Dataset of tensors in memory.

    emoji           32x32 drawings (RGBA), y = category; no emoji is in two splits
    emoji_on_white  the same drawings on white as RGB, for generative models
    scenes          32x32 RGB pictures of these drawings on textures, y = category
    digits          28x28 digits of MNIST, 12,000 train and 2,000 test
    moons, gaussians, rings, spirals, checkerboard, grid
                    points of the plane, y = component
    toys            all six of these, y = the index of the distribution
    cifar10, stl10, mnist, fashion_mnist, svhn (needs scipy)
                    the complete data sets of torchvision. The first call downloads them
                    into `root`, and every call verifies them. Default of `root`: the
                    environment variable COURSE_LIB_DATA, else ~/.cache/course_lib.
    module:NAME     data of one's own: a function NAME(split) -> Dataset in a module,
                    for example with `image_folder` (docs/your-own.md)

    Raises ValueError for an unknown name or split (the message lists the known ones).
    Raises OSError when a file is missing, truncated or altered (the message names the
    file) and when a download fails (the message says what to do).
    """
    if is_own(name):
        found = imported("name", name, callable, "a function split -> Dataset")(split)
        if not isinstance(found, Dataset):
            raise ValueError(
                f"argument `name`: expected a function that returns a Dataset, got "
                f"{name}, which returned {type(found).__name__}"
            )
        return found
    if name not in names():
        raise unknown("name", name, names())
    splits = SHIPPED[name][0] if name in SHIPPED else TORCHVISION[name][1]
    if split not in splits:
        raise ValueError(
            f"argument `split`: {name} has {', '.join(splits)}, got {split!r}"
        )
    return (
        SHIPPED[name][1](split)
        if name in SHIPPED
        else load_torchvision(name, split, root)
    )


def names() -> tuple[str, ...]:
    """The names of all data sets that `load` can load."""
    return (*SHIPPED, *TORCHVISION)
