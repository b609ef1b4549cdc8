"""Relative patch location: two patches of one picture; where does the second lie, seen
from the first?

Doersch, Gupta, Efros 2015, "Unsupervised Visual Representation Learning by Context
Prediction", arXiv 1505.05192, section 3. The answer must not come from anything cheap:
lines that run on from patch to patch (a gap and jitter keep them apart) or the lens's
colour fringes, which tell where in the picture a patch comes from (colour dropping).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.evaluate import accuracy
from course_lib.supervised import cross_entropy
from course_lib.train import Method
from course_lib.transforms import resized_crop

# (down, right) of the eight places
OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@expects(x="float N C H W", place="int N", jitter="int N 2 2")
def patch_pairs(
    x: Tensor, place: Tensor, jitter: Tensor, patch: int, gap: int
) -> tuple[Tensor, Tensor]:
    """The patch in the middle of each picture and the one at OFFSETS[place] from it,
    (N, C, patch, patch) each.

    place (N,): in 0..7. gap: pixels between the two. jitter (N, 2, 2): by how many
    pixels (down, right) the first and the second patch are displaced. Raises ValueError
    where the 3 x 3 grid is larger than the picture.
    """
    margin = min(x.shape[2:]) - 3 * patch - 2 * gap
    if margin < 0:
        raise ValueError(
            f"argument `patch`: three of {patch} pixels with gaps of {gap} exceed "
            f"{tuple(x.shape[2:])}"
        )
    middle = torch.tensor(
        [(side - patch) // 2 for side in x.shape[2:]], device=x.device
    )
    away = (patch + gap) * torch.tensor(OFFSETS, device=x.device)[place]  # (N, 2)
    size = torch.full_like(away, patch)
    corners = middle + jitter[:, 0], middle + away + jitter[:, 1]
    first, second = (
        resized_crop(x, torch.cat([corner, size], 1), patch) for corner in corners
    )
    return first, second


class ColorDropping:
    """Keeps one random channel of each picture; the two others become faint noise
    around its mean (section 3.1)."""

    def __call__(self, x: Tensor) -> Tensor:
        keep = torch.randint(x.shape[1], (len(x),), device=x.device)
        kept = x[torch.arange(len(x), device=x.device), keep][:, None]  # (N, 1, H, W)
        noise = torch.randn_like(x) * kept.std((2, 3), keepdim=True) / 100
        channel = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
        return torch.where(
            channel == keep.view(-1, 1, 1, 1),
            x,
            kept.mean((2, 3), keepdim=True) + noise,
        )


class PatchLocation(Method):
    """encoder: patches -> h (N, D), the same for both; classifier: (N, 2 D) -> logits
    (N, 8).

    patch, gap, jitter: side, distance and largest displacement in pixels. prepare: what
    each patch goes through, at random and on its own, before the encoder sees it
    (`ColorDropping`).
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        patch: int,
        gap: int,
        jitter: int,
        prepare: Callable[[Tensor], Tensor] = nn.Identity(),
    ):
        super().__init__()
        self.encoder, self.classifier, self.prepare = encoder, classifier, prepare
        self.patch, self.gap, self.jitter = (
            count("patch", patch),
            count("gap", gap, low=0),
            count("jitter", jitter, low=0),
        )

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A random pair of patches of each picture, one above the other (2N, C, patch,
        patch); the places (N,)."""
        free = max(0, min(x.shape[2:]) - 3 * self.patch - 2 * self.gap) // 2
        if self.jitter > free:
            raise ValueError(
                f"argument `jitter`: expected at most {free} for {tuple(x.shape[2:])}, "
                f"got {self.jitter}"
            )
        place = torch.randint(8, (len(x),), device=x.device)
        jitter = torch.randint(
            -self.jitter, self.jitter + 1, (len(x), 2, 2), device=x.device
        )
        return torch.cat(patch_pairs(x, place, jitter, self.patch, self.gap)), place

    def locate(self, patches: Tensor) -> Tensor:
        """Patches as from `pairs` -> logits (N, 8)."""
        return self.classifier(
            torch.cat(self.encoder(self.prepare(patches)).chunk(2), 1)
        )

    def loss(self, x: Tensor, y=None) -> Tensor:
        patches, place = self.pairs(x)
        return cross_entropy(self.locate(patches), place)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> float:
        """The share of pairs whose place is found; chance is 1/8."""
        patches, place = self.pairs(x)
        return accuracy(self.locate(patches), place)
