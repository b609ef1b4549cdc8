"""Standard data sets through torchvision. They are downloaded at the first load and
verified by md5 at every load."""

import gzip
import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from course_lib.data.dataset import Dataset

TORCHVISION = {  # name: (torchvision's class, splits)
    "cifar10": ("CIFAR10", ("train", "test")),
    "stl10": ("STL10", ("train", "unlabeled", "train+unlabeled", "test")),
    "mnist": ("MNIST", ("train", "test")),
    "fashion_mnist": ("FashionMNIST", ("train", "test")),
    "svhn": ("SVHN", ("train", "extra", "test")),
}
MNISTS = ("mnist", "fashion_mnist")


def load_torchvision(name: str, split: str, root: str | Path | None = None) -> Dataset:
    """x: uint8 (N, C, H, W); y: class, or -1 in splits without labels.

    Raises OSError when a file is truncated or altered, a download fails, or the home
    folder is unknown, and ImportError when svhn is loaded without scipy.
    """
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    if name == "svhn" and importlib.util.find_spec("scipy") is None:
        raise ImportError(
            "svhn comes as MATLAB files, which scipy reads: pip install scipy, then "
            "load it again"
        )
    kind = getattr(datasets, TORCHVISION[name][0])
    root = root or os.environ.get("COURSE_LIB_DATA") or "~/.cache/course_lib"
    try:
        root = Path(root).expanduser()
    except RuntimeError:
        raise OSError(
            f"the home folder is unknown, so {name} cannot be stored in {str(root)!r}: "
            "set the environment variable COURSE_LIB_DATA, or give `root`, a folder "
            "without `~`"
        ) from None
    files = {root / path: md5 for path, md5 in _files(kind, split)}
    for path, md5 in files.items():
        if path.exists() and not check_integrity(path, md5):
            raise OSError(
                f"{path} is truncated or altered (md5 is not {md5}): delete it and "
                f"load {name} again"
            )
    part = (
        {"split": split} if name in ("stl10", "svhn") else {"train": split == "train"}
    )
    missing = [path.name for path in files if not path.exists()]
    try:
        if missing:
            kind(root, download=True, **part)
        x, y, classes = (
            _read_archives(kind, list(files), split)
            if name in MNISTS
            else _read(kind(root, **part))
        )
    except (OSError, RuntimeError) as error:
        why, folder = " ".join(str(error).split()), next(iter(files)).parent
        raise OSError(
            f"could not download {name} ({why}): connect to the internet and load it "
            "again, or copy "
            f"{', '.join(missing)} to {folder}; emoji, scenes, digits and toys ship "
            "with course_lib"
        ) from error
    return Dataset(
        torch.tensor(np.ascontiguousarray(x)),
        torch.tensor(np.asarray(y, np.int64)),
        tuple(classes),
    )


def _read(data) -> tuple[np.ndarray, np.ndarray, list[str]]:
    if hasattr(data, "targets"):  # CIFAR10 keeps (N, H, W, C)
        return rearrange(data.data, "n h w c -> n c h w"), data.targets, data.classes
    return data.data, data.labels, getattr(data, "classes", "0123456789")  # STL10, SVHN


def _read_archives(
    kind: type, archives: list[Path], split: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images, labels and class names of MNIST or FashionMNIST, from the verified
    archives: torchvision does not verify the unpacked files."""
    archives = archives[:2] if split == "train" else archives[2:]
    images, labels = (gzip.decompress(path.read_bytes()) for path in archives)
    # the offsets skip the headers of the IDX format
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return (
        x,
        np.frombuffer(labels, np.uint8, offset=8),
        [name.split(" - ")[0] for name in kind.classes],
    )


def _files(kind: type, split: str) -> list[tuple[str, str]]:
    """(path below the root, md5) of each file that torchvision's class reads."""
    # MNIST, FashionMNIST: train images, train labels, test images, test labels
    if hasattr(kind, "resources"):
        return [(f"{kind.__name__}/raw/{name}", md5) for name, md5 in kind.resources]
    if hasattr(kind, "split_list"):  # SVHN
        return [tuple(kind.split_list[split][1:])]
    # CIFAR10 has a further file with the names of the classes
    meta = [(kind.meta["filename"], kind.meta["md5"])] if hasattr(kind, "meta") else []
    return [
        (f"{kind.base_folder}/{name}", md5)
        for name, md5 in kind.train_list + kind.test_list + meta
    ]
