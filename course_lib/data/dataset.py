"""The Dataset that every `load` returns, with aligned rows of tensors, and the choice
of a labelled subset of rows."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from course_lib.checks import as_seed, count, expects_values, number


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures (or points) with their labels. `d[rows]` and `d.to(device)` apply to all
    of its tensors.

    x        uint8 (N, C, H, W) pictures, or float32 (N, 2) points
    y        int64 (N,) labels
    classes  the names of y's values
    info     further tensors with N rows, by name
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    info: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        for name, rows in {"x": self.x, "y": self.y, **self.info}.items():
            if not isinstance(rows, Tensor) or rows.ndim == 0:
                got = "a number" if isinstance(rows, Tensor) else type(rows).__name__
                raise ValueError(
                    f"argument `{name}`: expected a tensor of shape (N, ...), got "
                    f"{got}: convert it, for example by torch.as_tensor"
                )
            if rows.shape[:1] != self.x.shape[:1]:
                raise ValueError(
                    f"argument `{name}`: expected {len(self.x)} rows like `x`, got "
                    f"{tuple(rows.shape)}"
                )

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "Dataset":
        """The Dataset of these rows: a slice, a tensor of row indices, or a tensor of N
        booleans. Raises ValueError for anything else."""
        if not isinstance(rows, (slice, Tensor)) or (
            isinstance(rows, Tensor) and rows.ndim != 1
        ):
            raise ValueError(
                f"rows: expected a slice or a tensor of shape (N,), got {rows!r}"
            )
        if isinstance(rows, Tensor):
            kinds = (torch.int64, torch.int32, torch.bool)
            wrong_size = rows.dtype == torch.bool and len(rows) != len(self)
            if (rows.dtype not in kinds and len(rows)) or wrong_size:
                raise ValueError(
                    f"rows: expected row numbers (int), or {len(self)} booleans, got "
                    f"{rows.dtype} of shape {tuple(rows.shape)}"
                )
        return self._map(lambda t: t[rows])

    def to(self, device) -> "Dataset":
        return self._map(lambda t: t.to(device))

    def _map(self, f) -> "Dataset":
        return replace(
            self, x=f(self.x), y=f(self.y), info={k: f(v) for k, v in self.info.items()}
        )


def as_float(x: Tensor) -> Tensor:
    """The values as float32. Only uint8 pictures are scaled, to [0, 1]."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def by_row(dataset: Dataset) -> Dataset:
    """The same rows, with the row's index as y: each row is its own class, as in
    instance discrimination."""
    return replace(
        dataset, y=torch.arange(len(dataset), device=dataset.y.device), classes=()
    )


@expects_values(per_class=count, seed=as_seed)
def labelled_subset(
    dataset: Dataset,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> Tensor:
    """The indices of the rows that keep their labels, int64, ascending: a fraction of
    each class, or `per_class` of each class.

    Where the data set has `info["emoji"]`, emoji are counted and not rows, since all
    rows of one emoji show the same motif, each in one of three styles. Then all rows of
    a chosen emoji are included. Each class keeps at least one emoji (or row). A smaller
    subset is part of a larger one with the same seed. Raises ValueError unless exactly
    one of `fraction` and `per_class` is given.
    """
    if (fraction is None) == (per_class is None):
        raise ValueError(
            f"expected either `fraction` or `per_class`, got {fraction!r} and "
            f"{per_class!r}"
        )
    if per_class is None:
        number("fraction", fraction, 0, 1)
    else:
        number("per_class", per_class, 1)
    unit = dataset.info.get("emoji", torch.arange(len(dataset))).cpu()
    y, generator = dataset.y.cpu(), torch.Generator().manual_seed(seed)
    chosen = []
    for label in y.unique():
        units = unit[y == label].unique()
        k = per_class if fraction is None else max(1, round(fraction * len(units)))
        chosen.append(units[torch.randperm(len(units), generator=generator)[:k]])
    return torch.isin(unit, torch.cat(chosen)).nonzero().flatten()
