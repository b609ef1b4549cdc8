"""Captions of emoji drawings: a row of tokens for the style, the category and the words
of the name.

    "twemoji, Food & Drink, red apple"
    -> int64 (LENGTH,): style, category, the words, then 0 for padding

The vocabulary contains the words in the names of the training emoji. Any part of a
caption may be missing: "red apple" without a style, or a category without a name.
"""

import functools
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import expects, expects_values, number_in
from course_lib.data.dataset import Dataset
from course_lib.data.emoji import STYLES, load_emoji
from course_lib.data.words import vocabulary, word_lists, words_of
from course_lib.spelling import did_you_mean

PLACES = 9  # positions for words: the longest name has nine
LENGTH = 2 + PLACES
FIRST_WORD = 1 + len(STYLES) + 9  # the first token that is a word


@functools.cache
def token_names() -> tuple[str, ...]:
    """The meaning of each token, by its number: "" for padding, then the styles, the
    categories, and the words of the training emoji's names in alphabetical order."""
    train, lists = load_emoji("train"), word_lists(names_only=True)
    words = {
        vocabulary()[w]
        for e in train.info["emoji"].unique().tolist()
        for w in lists[e].tolist()
    }
    return ("", *STYLES, *train.classes, *sorted(words))


@functools.cache
def _numbers() -> dict[str, int]:
    return {name: token for token, name in enumerate(token_names())}


def tokens(caption: str = "", style: str = "", category: str = "") -> Tensor:
    """A caption as tokens, int64 (LENGTH,): style, category, then the words of
    `caption`, at most PLACES of them. As in names, each word is taken once, and
    function words such as "with" are left out.

    Raises ValueError for an unknown style or category, for too many words, and for
    words that are in no training emoji's name (`unknown` finds them).
    """
    words, categories = words_of(caption), token_names()[1 + len(STYLES) : FIRST_WORD]
    if strange := unknown(caption):
        raise ValueError(
            "argument `caption`: expected words of the training emoji's names, got "
            f"{', '.join(strange)}"
            f"{did_you_mean(strange[0], token_names()[FIRST_WORD:])}"
        )
    if len(words) > PLACES:
        raise ValueError(
            f"argument `caption`: expected at most {PLACES} words, got {len(words)}"
        )
    for name, value, known in (
        ("style", style, STYLES),
        ("category", category, categories),
    ):
        if value and value not in known:
            raise ValueError(
                f"argument `{name}`: expected one of {', '.join(known)}, or nothing, "
                f"got {value!r}"
            )
    row = [_numbers()[name] for name in (style, category, *words)]
    return torch.tensor(row + [0] * (LENGTH - len(row)))


def unknown(caption: str) -> list[str]:
    """The words of a caption that are in no training emoji's name."""
    return [word for word in words_of(caption) if _numbers().get(word, 0) < FIRST_WORD]


def captions(emoji: Dataset) -> Tensor:
    """The captions of a Dataset of emoji, int64 (N, LENGTH): style, category and known
    words of each row."""
    lists = word_lists(names_only=True)
    found = torch.zeros(len(emoji), LENGTH, dtype=torch.long)
    for row, e in zip(found, emoji.info["emoji"].tolist()):
        words = [
            _numbers()[word]
            for w in lists[e].tolist()
            if (word := vocabulary()[w]) in _numbers()
        ]
        row[2 : 2 + len(words)] = torch.tensor(words)
    found[:, 0] = 1 + emoji.info["style"]
    found[:, 1] = 1 + len(STYLES) + emoji.info["category"]
    return found


def withheld(emoji: Dataset) -> Tensor:
    """Which rows are held out from the training of caption models, bool (N,): of every
    tenth emoji the drawing in one style, with the styles in rotation."""
    number = emoji.info["emoji"]
    return (number % 10 == 0) & (emoji.info["style"] == number // 10 % len(STYLES))


def captioned(emoji: Dataset) -> Dataset:
    """The rows that are not withheld, with their captions as y."""
    kept = emoji[~withheld(emoji)]
    return replace(kept, y=captions(kept), classes=())


@expects(rows="int N L")
@expects_values(
    style=number_in(0, 1),
    category=number_in(0, 1),
    name=number_in(0, 1),
    word=number_in(0, 1),
)
def shortened(
    rows: Tensor,
    style: float = 0.3,
    category: float = 0.3,
    name: float = 0.3,
    word: float = 0.1,
) -> Tensor:
    """Captions (N, LENGTH) with parts dropped (set to 0) at random: the style, the
    category, the whole name, and single words, each with its own probability. So a
    model also learns to use each part without the others."""
    n, length = rows.shape
    missing = torch.tensor(
        [style, category, *[word] * (length - 2)], device=rows.device
    )
    kept = torch.rand(n, length, device=rows.device) >= missing
    kept[:, 2:] &= torch.rand(n, 1, device=rows.device) >= name
    return rows * kept
