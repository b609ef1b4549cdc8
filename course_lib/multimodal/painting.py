"""Words painted into pictures, for the typographic attack (Goh et al. 2021,
"Multimodal Neurons in Artificial Neural Networks")."""

import functools
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import as_seed, expects, expects_values, number
from course_lib.data import Dataset
from course_lib.data.captions import KEYWORDS, NAME, descriptions, sentence_words

# Rows of 3 x 5 letters, each row from top to bottom as a number in base 8: the bit of
# value 4 is the left column.
LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (
            "25755 65656 34443 65556 74647 74644 34553 55755 72227 11152 55655 44447 "
            "57755 65555 25552 65644 25563 65655 34216 72222 55557 55552 55775 55255 "
            "55222 71247"
        ).split(),
        strict=True,
    )
)
# One short word for each category, of the words in the training captions.
PAINTED = "ball pet flag meat film man face mark moon".split()


@functools.cache
def lettering(word: str) -> Tensor:
    """Returns a word in black letters of 6 x 10 pixels on white, float (12, 7 n + 1).

    Raises ValueError for anything but 1 to 4 letters from a to z.
    """
    if not 0 < len(word) <= 4 or set(word) - set(LETTERS):
        raise ValueError(
            f"argument `word`: expected 1 to 4 letters from a to z, got {word!r}"
        )
    ink = torch.ones(12, 7 * len(word) + 1)
    for i, letter in enumerate(word):
        for y, bits in enumerate(LETTERS[letter]):
            for x, value in enumerate((4, 2, 1)):
                if int(bits) & value:  # a point of the letter has 2 x 2 pixels
                    top, left = 1 + 2 * y, 1 + 7 * i + 2 * x
                    ink[top : top + 2, left : left + 2] = 0.0
    return ink


@expects(x="uint8 N C H W")
@expects_values(seed=as_seed)
def paint(x: Tensor, words: list[str], seed: int) -> Tensor:
    """Returns the pictures with a word painted into each, at a random place: uint8 (N,
    C, H, W). An empty word leaves the picture as it is."""
    if len(words) != len(x):
        raise ValueError(f"argument `words`: expected {len(x)} words, got {len(words)}")
    x, generator = x.clone(), torch.Generator().manual_seed(seed)
    places = torch.rand(len(x), 2, generator=generator).tolist()
    for picture, word, (down, right) in zip(x, words, places):
        if word:
            ink = (255 * lettering(word)).to(x)
            (h, w), (height, width) = ink.shape, picture.shape[1:]
            top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
            picture[:, top : top + h, left : left + w] = ink
    return x


def with_true_words(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Returns the data set with a word painted into a random share of those pictures
    whose names or keywords contain one of PAINTED. It is a word of the picture."""
    number("share", share, 0, 1)
    rows, names = descriptions(data), sentence_words()
    rows = torch.cat([rows[:, NAME], rows[:, KEYWORDS]], 1)
    painted = torch.tensor([names.index(word) for word in PAINTED])
    has = (rows[:, :, None] == painted).any(1)  # (N, 9)
    generator = torch.Generator().manual_seed(seed)
    random = torch.rand(*has.shape, generator=generator) * has
    chosen = torch.rand(len(has), generator=generator) < share
    words = [
        PAINTED[k] if any_word and take else ""
        for k, any_word, take in zip(
            random.argmax(1).tolist(), has.any(1).tolist(), chosen.tolist()
        )
    ]
    return replace(data, x=paint(data.x, words, seed))
