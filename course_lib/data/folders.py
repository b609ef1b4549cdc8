"""Pictures of one's own: a folder of files as a Dataset."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from course_lib.checks import count
from course_lib.data.dataset import Dataset
from course_lib.files import expanded
from course_lib.spelling import did_you_mean

# those that torchvision's ImageFolder reads
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


def image_folder(root: str | Path, split: str = "", *, size: int = 64) -> Dataset:
    """Returns the pictures in the folder root/split as a Dataset in memory, uint8 (N,
    3, size, size).

    As for torchvision's ImageFolder, the file root/split/CLASS/NAME.png has the label
    CLASS. All splits have the same classes: those of all folders beside root/split, in
    alphabetical order. If root/split has no folders, but only pictures, then they have
    no classes, and all labels are 0. split="": there are no splits, and `root` itself
    is this folder.

    Each picture is turned upright (EXIF). Its shorter side is resized to `size`, and
    its centre is cut out. Greyscale and palette become RGB; transparent pixels become
    white. Files with another suffix than that of a picture, and those whose name begins
    with a dot, are left out. Raises ValueError if there is no such folder, if it has no
    pictures, if only some pictures are in folders, and if files cannot be read; the
    message names them.
    """
    count("size", size)
    root = expanded("root", root)
    folder = root / split
    if not folder.is_dir():
        splits = _folders(root) if root.is_dir() else []
        has = f"; {root} has {', '.join(splits)}" if splits and split else ""
        fault = "is a file" if folder.exists() else "does not exist"
        name, known = split, splits
        if not root.is_dir() and root.absolute().parent.is_dir():
            name, known = root.name, _folders(root.absolute().parent)
        raise ValueError(
            f"argument `{'split' if has else 'root'}`: expected a folder of pictures, "
            f"got {folder.absolute()}, which {fault}{has}{did_you_mean(name, known)}"
        )
    splits = [root / name for name in _folders(root)] if split else [root]
    classes = sorted({name for other in splits for name in _folders(other)})
    found = {name: _pictures(folder / name) for name in _folders(folder)}
    alone = sorted(path for path in folder.iterdir() if _is_picture(path))
    if alone and found:
        raise ValueError(
            f"argument `root`: expected every picture in the folder of its class, got "
            f"{alone[0]} ({len(alone)} such files) beside the folders "
            f"{', '.join(found)}"
        )
    if empty := [name for name, files in found.items() if not files]:
        raise ValueError(
            f"argument `root`: expected pictures in each folder of {folder}, got none "
            f"in {', '.join(empty)} (a picture ends in {', '.join(sorted(SUFFIXES))})"
        )
    if not alone and not found:
        raise ValueError(
            f"argument `root`: expected a folder for each class, such as "
            f"{folder / 'cats' / '1.png'}, or only pictures, got the folder {folder} "
            "without pictures"
        )
    files = alone or [path for some in found.values() for path in some]
    y = [classes.index(name) for name, some in found.items() for _ in some]
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda path: _read(path, size), files))
    if faults := [fault for fault in read if isinstance(fault, str)]:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"argument `root`: {len(faults)} of {len(files)} files cannot be read: "
            f"{'; '.join(faults[:3])}{more}: remove or replace them"
        )
    labels = torch.tensor(y) if y else torch.zeros(len(files), dtype=torch.int64)
    return Dataset(torch.stack(read), labels, () if alone else tuple(classes))


def _folders(path: Path) -> list[str]:
    """Returns the names of the folders in this one."""
    found = (other for other in path.iterdir() if other.is_dir())
    return sorted(other.name for other in found if not other.name.startswith("."))


def _is_picture(path: Path) -> bool:
    # macOS leaves files such as ._cat.jpg, which are no pictures
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and path.is_file() and not hidden


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_picture(path))


def _read(path: Path, size: int) -> Tensor | str:
    """Returns a picture (3, size, size), or in words why it cannot be read."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            rgb = _in_rgb(picture)
    # broken files lead to errors of many types
    except Exception as error:
        why = f"{type(error).__name__}: {error}".replace(f"'{path}'", "it")
        return f"{path} ({why})"
    rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


def _in_rgb(picture: Image.Image) -> Image.Image:
    """Returns the picture as RGB, on white where it is transparent."""
    if picture.mode.startswith("I;16"):  # convert("RGB") would clip 16 bits to 8
        picture = Image.fromarray((np.array(picture) / 257).round().astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")
