"""Reads data sets sample by sample, with errors that name the sample and its file."""

from collections.abc import Iterator
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate

TRANSFORM = (
    "transform=v2.Compose([v2.Resize(64), v2.CenterCrop(64), v2.PILToTensor()]) with "
    "torchvision.transforms.v2"
)


class Numbered(torch.utils.data.Dataset):
    """A map-style dataset with the samples (k, data[k]) of another one. Where a file
    cannot be read, the sample is (k, ValueError)."""

    def __init__(self, data):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, k: int):
        try:
            return k, self.data[k]
        # PIL raises a SyntaxError for some broken files.
        except (OSError, SyntaxError) as error:
            return k, ValueError(
                f"argument `data`: data[{k}] cannot be read{_file_of(self.data, k)} "
                f"({type(error).__name__}: {error}): remove or replace the file"
            )


def _file_of(data, k: int) -> str:
    """Returns ": PATH" for the sample of an ImageFolder, also in a Subset of one; an
    empty text for other data."""
    while isinstance(data, Subset):
        data, k = data.dataset, data.indices[k]
    samples = getattr(data, "samples", None)
    return f": {samples[k][0]}" if isinstance(samples, list) else ""


def collate(numbered: list) -> tuple[Tensor, Tensor] | ValueError:
    """Returns the batch (x, y) of samples of `Numbered`.

    If they cannot be a batch, returns (and does not raise) a ValueError: if a worker
    process raises an error, the DataLoader adds the whole traceback to its message.
    """
    expected = "argument `data`: expected pairs data[k] = (x, y) of tensors or numbers"
    for k, sample in numbered:
        if isinstance(sample, ValueError):
            return sample
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            kind = type(sample).__name__
            size = f" of {len(sample)}" if isinstance(sample, (tuple, list)) else ""
            return ValueError(f"{expected}, got {kind}{size} for k = {k}")
        for name, value in zip("xy", sample):
            if not isinstance(value, (Tensor, np.ndarray, np.generic, Real)):
                kind = f"{type(value).__module__}.{type(value).__name__}"
                is_picture = kind.startswith("PIL")
                hint = f": give the data set {TRANSFORM}" if is_picture else ""
                kind = kind.removeprefix("builtins.")
                return ValueError(
                    f"{expected}, got {name} of type {kind} for k = {k}{hint}"
                )
    first, (x, _) = numbered[0]
    for k, (other, _) in numbered:
        if np.shape(other) != np.shape(x):
            is_picture = len(np.shape(x)) == 3
            hint = f": give the data set {TRANSFORM}" if is_picture else ""
            return ValueError(
                f"{expected} with equal shapes, got x of shape "
                f"{tuple(np.shape(x))} for k = {first} and of shape "
                f"{tuple(np.shape(other))} for k = {k}{hint}"
            )
    try:
        x, y = default_collate([sample for _, sample in numbered])
    except (TypeError, RuntimeError) as error:
        return ValueError(
            f"{expected} with equal shapes, got samples that do not make a batch "
            f"({str(error).splitlines()[0]})"
        )
    return x, y


def is_map_style(data) -> bool:
    """Returns whether data is a dataset with len(data) and data[k]."""
    other = (Tensor, np.ndarray, dict, str, torch.utils.data.IterableDataset)
    is_map = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return is_map and not isinstance(data, other)


def in_order(data, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the batches (x, y) of a map-style dataset, in the order of its rows.
    Raises ValueError, which names the sample, where they do not make a batch."""
    for pair in DataLoader(Numbered(data), batch_size, collate_fn=collate):
        if isinstance(pair, ValueError):
            raise pair
        yield pair
