"""Pictures of two small emoji, whose captions name the left one first, and CLIP with
hard negatives."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import as_seed, count, expects_values
from course_lib.data import Dataset, emoji_names, load
from course_lib.data.captions import WORDS, sentence_words
from course_lib.data.emoji import premultiplied
from course_lib.losses import info_nce
from course_lib.multimodal.clip import CLIP

OBJECTS = (
    "dog pig octopus fish turtle rose banana carrot tomato bread doughnut train rocket "
    "umbrella trophy bell violin key hammer crown candle camera mushroom snowman"
).split()
CELLS = torch.tensor([[0, 0], [0, 16], [16, 0], [16, 16]])  # top left corners


def small_drawings() -> Tensor:
    """Returns the OBJECTS in the three styles, premultiplied RGBA, float (24, 3, 4, 16,
    16)."""
    emoji, names = load("emoji", "train"), emoji_names()
    ids = torch.tensor([names.index(name) for name in OBJECTS])
    rows = (emoji.info["emoji"] == ids[:, None]).nonzero()[:, 1].view(len(ids), 3)
    small = F.avg_pool2d(premultiplied(emoji.x[rows.flatten()]), 2)
    return small.view(len(ids), 3, 4, 16, 16)


def tokens_of(words: list[str]) -> Tensor:
    """Returns the tokens of single words, int64 (len(words),)."""
    return torch.tensor([sentence_words().index(word) for word in words])


def _pasted(drawings: Tensor, cells: Tensor, generator: torch.Generator) -> Tensor:
    """Pastes drawings (N, M, 4, 16, 16) at cells (N, M), -1 for none, onto a random
    light colour: uint8 (N, 3, 32, 32)."""
    x = 0.6 + 0.4 * torch.rand(len(drawings), 3, 1, 1, generator=generator)
    x = x.repeat(1, 1, 32, 32)
    for k, (top, left) in enumerate(CELLS.tolist()):
        window = x[:, :, top : top + 16, left : left + 16]
        for drawing, here in zip(drawings.unbind(1), (cells == k).unbind(1)):
            pasted = drawing[:, :3] + (1 - drawing[:, 3:]) * window
            window[here] = pasted[here]
    return (255 * x).round().byte()


@expects_values(n=count, seed=as_seed)
def side_by_side(n: int, seed: int, *, new: bool = False) -> Dataset:
    """Returns n pictures of two different objects, one on the left and one on the
    right; both are in the upper or both in the lower half. y, int64 (n, WORDS): the
    left word, then the right word. A fifth of the unordered pairs is in no picture
    unless `new`; then only these are. info: first and second, the numbers of the
    objects."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    allowed = (a != b) & (((a + b) % 5 == 0) == new)
    ordered = allowed.nonzero()
    pair = ordered[torch.randint(len(ordered), (n,), generator=generator)]
    style = torch.randint(3, (n, 2), generator=generator)
    row = 2 * torch.randint(2, (n, 1), generator=generator)
    x = _pasted(small_drawings()[pair, style], row + torch.tensor([0, 1]), generator)
    y = torch.zeros(n, WORDS, dtype=torch.long)
    y[:, :2] = tokens_of(OBJECTS)[pair]
    return Dataset(x, y, (), {"first": pair[:, 0], "second": pair[:, 1]})


def swapped(y: Tensor) -> Tensor:
    """Returns the captions (N, WORDS) with their first two words exchanged, (N, 1,
    WORDS)."""
    return torch.cat([y[:, [1, 0]], y[:, 2:]], 1)[:, None]


class HardNegatives(CLIP):
    """CLIP where each picture has further negatives: altered versions of its own
    caption and of all others (NegCLIP, Yuksekgonul et al. 2022, arXiv 2210.01936,
    section 4). altered: captions (N, L) -> (N, k, L). One process only."""

    altered: Callable[[Tensor], Tensor]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        image, tokens = self.image_embedding(self.augment(x)), self.draw(y)
        text = self.text_embedding(tokens)
        wrong = self.text_embedding(self.altered(tokens).flatten(0, 1))
        scale = self.log_scale.exp()
        of_images = info_nce(scale * image @ torch.cat([text, wrong]).T)
        return (of_images + info_nce(scale * text @ image.T)) / 2
