"""Digits: 1,200 training and 200 test pictures of each class of MNIST (LeCun, Cortes,
Burges)."""

import torch

from course_lib.data.dataset import Dataset
from course_lib.data.files import read


def load_digits(split: str) -> Dataset:
    """x: uint8 (N, 1, 28, 28), white on black; y: the digit."""
    arrays = read("digits.npz")
    x, y = (torch.from_numpy(arrays[f"{split}_{key}"]) for key in "xy")
    return Dataset(x[:, None], y.long(), tuple("0123456789"))
