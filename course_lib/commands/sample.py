"""`sample`: draws pictures with a trained generator and writes them as a grid."""

import inspect
from itertools import cycle, islice
from pathlib import Path

import torch
from torch import Tensor

from course_lib import zoo
from course_lib.checkpoint import load_weights
from course_lib.checks import as_seed, count
from course_lib.commands.list import kind_of
from course_lib.data import Dataset, load
from course_lib.data.captions import token_names, tokens
from course_lib.data.emoji import STYLES
from course_lib.files import file_to_write, write_whole
from course_lib.notebook import image_grid
from course_lib.recipe import Recipe, build, lookup, recipes
from course_lib.run import seeded, training_device
from course_lib.spelling import did_you_mean
from course_lib.train import Method

AT_ONCE = 8  # pictures between two lines of progress


def run(args):
    recipe, n = lookup(args.name), count("n", args.n)
    seed, device = as_seed("seed", args.seed), training_device(args.device)
    out = args.out or Path(f"{args.name.rpartition(':')[2]}.png")
    if out.suffix.lower() != ".png":
        raise ValueError(f"argument `out`: expected a file *.png, got {str(out)!r}")
    options = options_of(args, recipe)
    method = weights_of(args, recipe).to(device)
    out = file_to_write("out", out)
    with seeded(seed, device):
        y, titles = labels_of(args, recipe, method, n)
        parts = []
        for start in range(0, n, AT_ONCE):
            rows = slice(start, min(n, start + AT_ONCE))
            labels = None if y is None else y[rows]
            size = rows.stop - start
            parts.append(method.sample(size, labels, **options).cpu())
            print(f"{rows.stop} of {n} pictures", flush=True)
    numbers = "".join(f", {key} = {value:g}" for key, value in options.items())
    title = f"{args.name}: {n} samples{numbers}, seed {seed}"
    write_whole(out, image_grid(torch.cat(parts), titles, title=title).png())
    print(f"{n} samples of {args.name} in {out}")


def generators(argument: str | None = None) -> str:
    """Returns the names of the recipes that have `sample`, or of those whose `sample`
    has this argument."""
    return ", ".join(
        name
        for name, recipe in recipes().items()
        if (sample := kind_of(recipe).sample) is not Method.sample
        and (argument is None or argument in inspect.signature(sample).parameters)
    )


def options_of(args, recipe: Recipe) -> dict:
    """Returns the arguments `steps` and `w` that were given. Raises ValueError for a
    recipe that generates nothing, or without these arguments."""
    sample = kind_of(recipe).sample
    if sample is Method.sample:
        raise ValueError(
            f"argument `name`: {args.name} generates no pictures; these recipes do: "
            f"{generators()}"
        )
    options = {}
    for name in ("steps", "w"):
        if (value := getattr(args, name)) is None:
            continue
        if name not in inspect.signature(sample).parameters:
            raise ValueError(
                f"argument `{name}`: {args.name} does not have it; these recipes do: "
                f"{generators(name)}"
            )
        options[name] = value
    return options


def weights_of(args, recipe: Recipe) -> Method:
    """Returns the trained method."""
    if args.weights:
        method = build(recipe, 0)
        load_weights(method, args.weights)
        if method.data_shape is None:  # data of one's own
            method.data_shape = load(recipe.data, "train")[:1].x.shape[1:]
        return method
    if args.name not in zoo.manifest():
        raise ValueError(
            f"argument `name`: the course has no trained weights of {args.name}: train "
            f"it by `train {args.name} --out FILE` and give --weights FILE"
        )
    return zoo.load(args.name)


def labels_of(
    args, recipe: Recipe, method: Method, n: int
) -> tuple[Tensor | None, list[str] | None]:
    """Returns the labels of n pictures and their titles; None for an unconditional
    method."""
    given = "captions" if args.captions else "classes" if args.classes else None
    example = method.sample_labels(1)
    takes = None if example is None else ("classes", "captions")[example.ndim - 1]
    if given and (takes is None or (given, takes) == ("captions", "classes")):
        is_ = "is unconditional" if takes is None else f"takes {takes}"
        raise ValueError(
            f"argument `{'class' if given == 'classes' else 'caption'}`: expected "
            f"nothing, because {args.name} {is_}"
        )
    if takes is None:
        return None, None
    data = load(recipe.data, "train")
    if takes == "classes":
        found = [class_number(text, data.classes) for text in args.classes or []]
        y = in_turn(found, n) if found else method.sample_labels(n)
        return y, [data.classes[label] for label in y.tolist()]
    if given == "captions":
        y = in_turn([read_caption(text, data.classes) for text in args.captions], n)
    elif given == "classes":
        names = [data.classes[class_number(c, data.classes)] for c in args.classes]
        y = in_turn([tokens(category=name) for name in names], n)
    else:
        y = random_captions(recipe, data, n)
    return y, [written(row) for row in y.tolist()]


def written(row: list[int]) -> str:
    """Returns a row of tokens as a caption: "noto, Flags, morocco flag"."""
    style, category, *words = (token_names()[token] for token in row)
    return ", ".join(filter(None, [style, category, " ".join(filter(None, words))]))


def in_turn(labels: list, n: int) -> Tensor:
    return torch.stack([torch.as_tensor(label) for label in islice(cycle(labels), n)])


def random_captions(recipe: Recipe, data: Dataset, n: int) -> Tensor:
    """Returns random captions of the training data."""
    y = recipe.prepare_data(data).y
    return y[torch.randint(len(y), (n,))]


def class_number(text: str, classes: tuple[str, ...]) -> int:
    """Returns the number of a class, given as its number or as a part of its name that
    no other class has."""
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    word = text.casefold()
    found = [k for k, name in enumerate(classes) if word in name.casefold()]
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"argument `class`: expected one of {', '.join(classes)}, or its number from "
        f"0 to {len(classes) - 1}, got {text!r}"
        f"{did_you_mean(text, [part for name in classes for part in name.split()])}"
    )


def read_caption(text: str, classes: tuple[str, ...]) -> Tensor:
    """Returns the tokens of a caption, whose parts are separated by commas: perhaps a
    style, perhaps a category, and words."""
    parts = {"style": "", "category": "", "caption": ""}
    for part in map(str.strip, text.split(",")):
        if part.casefold() in STYLES:
            parts["style"] = part.casefold()
        elif part.casefold() in map(str.casefold, classes):
            parts["category"] = classes[class_number(part, classes)]
        else:
            parts["caption"] += f" {part}"
    return tokens(**parts)
