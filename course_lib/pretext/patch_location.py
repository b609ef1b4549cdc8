"""Relative patch location: from two patches of one picture, the network predicts where
the second lies relative to the first.

Doersch, Gupta, Efros 2015, "Unsupervised Visual Representation Learning by Context
Prediction", arXiv 1505.05192, section 3. The network must not use shortcuts. Lines may
continue from one patch to the next; a gap and jitter between patches prevent this. The
colour fringes of a lens reveal where in the picture a patch lies; colour dropping
removes them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import count, expects
from course_lib.evaluate import accuracy
from course_lib.supervised import cross_entropy
from course_lib.train import Method
from course_lib.transforms import resized_crop

# (down, right) of the eight places relative to the first patch
OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@expects(x="float N C H W", place="int N", jitter="int N 2 2")
def patch_pairs(
    x: Tensor, place: Tensor, jitter: Tensor, patch: int, gap: int
) -> tuple[Tensor, Tensor]:
    """Returns the patch in the middle of each picture and the patch at OFFSETS[place]
    from it, (N, C, patch, patch) each.

    place (N,): in 0..7. gap: pixels between the two. jitter (N, 2, 2): displacement of
    the first and of the second patch in pixels (down, right). Raises ValueError if the
    3 x 3 grid is larger than the picture.
    """
    margin = min(x.shape[2:]) - 3 * patch - 2 * gap
    if margin < 0:
        raise ValueError(
            f"argument `patch`: expected three patches with gaps of {gap} to fit into "
            f"{tuple(x.shape[2:])}, got patches of {patch} pixels"
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
    """Keeps one random channel of each picture. The two others become weak noise around
    the mean of this channel (section 3.1)."""

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
    """Trains an encoder to predict the relative location of two patches.

    encoder: patches -> h (N, D), the same network for both; classifier: (N, 2 D) ->
    logits (N, 8). patch: side of the patches, gap: distance between them, jitter:
    largest displacement, all in pixels. prepare: random transform of each patch before
    the encoder, such as `ColorDropping`.
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
        self.patch = count("patch", patch)
        self.gap = count("gap", gap, low=0)
        self.jitter = count("jitter", jitter, low=0)

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a random pair of patches of each picture, (2N, C, patch, patch): all
        first patches, then all second ones. Also returns the places (N,)."""
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
        """Returns the logits (N, 8) for patches as from `pairs`."""
        h1, h2 = self.encoder(self.prepare(patches)).chunk(2)
        return self.classifier(torch.cat([h1, h2], 1))

    def loss(self, x: Tensor, y=None) -> Tensor:
        patches, place = self.pairs(x)
        return cross_entropy(self.locate(patches), place)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> float:
        """Returns the fraction of pairs whose place is predicted correctly; chance is
        1/8."""
        patches, place = self.pairs(x)
        return accuracy(self.locate(patches), place)
