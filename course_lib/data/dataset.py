"""What every `load` returns: rows of tensors that stay aligned; and the choice of which
rows keep their labels."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from course_lib.checks import number


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures (or points) with their labels; `d[rows]` and `d.to(device)` move all of
    it.

    x        uint8 (N, C, H, W) pictures, or float32 (N, 2) points
    y        int64 (N,) labels
    classes  the names of y's values
    info     further tensors of N rows, by name
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    info: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        for name, rows in {"y": self.y, **self.info}.items():
            if rows.shape[:1] != self.x.shape[:1]:
                raise ValueError(
                    f"argument `{name}`: expected {len(self.x)} rows like `x`, got "
                    f"{tuple(rows.shape)}"
                )

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "Dataset":
        """The Dataset of these rows: a slice, or a tensor of row indices or of N
        booleans."""
        if not isinstance(rows, (slice, Tensor)) or (
            isinstance(rows, Tensor) and rows.ndim != 1
        ):
            raise ValueError(
                f"rows: expected a slice or a tensor of shape (N,), got {rows!r}"
            )
        return self._map(lambda t: t[rows])

    def to(self, device) -> "Dataset":
        return self._map(lambda t: t.to(device))

    def _map(self, f) -> "Dataset":
        return replace(
            self, x=f(self.x), y=f(self.y), info={k: f(v) for k, v in self.info.items()}
        )


def as_float(x: Tensor) -> Tensor:
    """uint8 pictures as float32 in [0, 1]; floating point as float32, as it is."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def by_row(dataset: Dataset) -> Dataset:
    """The same rows, each a class of its own: y is the row's index, what instance
    discrimination asks for."""
    return replace(
        dataset, y=torch.arange(len(dataset), device=dataset.y.device), classes=()
    )


def labelled_subset(
    dataset: Dataset,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Rows, int64 and ascending, that keep their labels: a fraction of each class, or
    so many of each class.

    What is counted are emoji where the data has them (`info["emoji"]`), since all
    scenes of one emoji are one drawing in three hands; all rows of a chosen emoji are
    in. Elsewhere rows are counted. Each class keeps at least one, and a smaller choice
    with the same seed is part of a larger one. Raises ValueError unless exactly one
    amount is given.
    """
    if (fraction is None) == (per_class is None):
        raise ValueError(
            f"expected either `fraction` or `per_class`, got {fraction!r} and "
            f"{per_class!r}"
        )
    number("fraction", fraction, 0, 1) if per_class is None else number(
        "per_class", per_class, 1
    )
    unit = dataset.info.get("emoji", torch.arange(len(dataset))).cpu()
    y, generator = dataset.y.cpu(), torch.Generator().manual_seed(seed)
    chosen = []
    for label in y.unique():
        units = unit[y == label].unique()
        k = per_class if fraction is None else max(1, round(fraction * len(units)))
        chosen.append(units[torch.randperm(len(units), generator=generator)[:k]])
    return torch.isin(unit, torch.cat(chosen)).nonzero().flatten()
