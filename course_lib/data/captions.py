"""Captions of emoji drawings, as rows of tokens. There are two kinds.

A caption for a generator has fixed places for the style, the category and the words of
the name:

    "twemoji, Food & Drink, red apple"
    -> int64 (LENGTH,): style, category, the words, then 0 for padding

Its vocabulary contains the words in the names of the training emoji. Any part may be
missing: "red apple" without a style, or a category without a name.

A sentence, as CLIP reads it, is a list of words: "twemoji red apple fruit". Its
vocabulary contains the styles, the words of the training emoji's names and keywords,
and the words of the labels (categories and subcategories):

    description  all that is known of a picture: style, name, keywords, labels
    drawn        a random sentence of a description; the next draw is another one
    sentence     a sentence that somebody typed
"""

import functools
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import expects, expects_values, number_in
from course_lib.data.dataset import Dataset
from course_lib.data.emoji import STYLES, emoji_subcategories, load_emoji
from course_lib.data.words import vocabulary, word_lists, words_of
from course_lib.spelling import did_you_mean

PLACES = 9  # positions for words: the longest name has nine
LENGTH = 2 + PLACES
FIRST_WORD = 1 + len(STYLES) + 9  # the first token that is a word
WORDS = 12  # places of a sentence
# places of a description: the style, the name, at most 18 keywords, at most 6 words of
# the labels
NAME, KEYWORDS, LABELS = slice(1, 1 + PLACES), slice(1 + PLACES, 28), slice(28, 34)


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


@functools.cache
def sentence_words() -> tuple[str, ...]:
    """The meaning of each token of a sentence, by its number: "" for padding, the
    styles, then all other words in alphabetical order."""
    train, lists = load_emoji("train"), word_lists()
    labels = (*train.classes, *emoji_subcategories())
    words = {word for label in labels for word in words_of(label)}
    for e in train.info["emoji"].unique().tolist():
        words |= {vocabulary()[w] for w in lists[e].tolist()}
    return ("", *STYLES, *sorted(words - set(STYLES)))


@functools.cache
def _sentence_numbers() -> dict[str, int]:
    return {word: token for token, word in enumerate(sentence_words())}


def sentence(text: str) -> Tensor:
    """A text as the tokens of a sentence, int64 (WORDS,), with 0 for padding.

    As in names, each word is taken once, and function words such as "with" are left
    out. Raises ValueError for a text without any other word, for more than WORDS words,
    and for words that are not in `sentence_words()`.
    """
    words, known = words_of(text), sentence_words()
    for word in words:
        if word not in _sentence_numbers():
            raise ValueError(
                "argument `text`: expected words of the training captions, got "
                f"{word!r}{did_you_mean(word, known[1:])}"
            )
    if not 0 < len(words) <= WORDS:
        raise ValueError(
            f"argument `text`: expected 1 to {WORDS} words that are no function words "
            f"(such as with, of, the), got {len(words)} in {text!r}"
        )
    row = [_sentence_numbers()[word] for word in words]
    return torch.tensor(row + [0] * (WORDS - len(row)))


def descriptions(emoji: Dataset) -> Tensor:
    """All that is known of each picture of a Dataset with the `info` of emoji: int64
    (N, 34), with 0 for unknown words and unused places.

    Column 0: the style; NAME: the words of the name; KEYWORDS: those of the keywords;
    LABELS: those of the subcategory and the category.
    """
    numbers, lists = _sentence_numbers(), word_lists()
    classes, subcategories = load_emoji("train").classes, emoji_subcategories()
    named = [len(names) for names in word_lists(names_only=True)]
    found = torch.zeros(len(lists), LABELS.stop, dtype=torch.long)
    about = (emoji.info[key].tolist() for key in ("emoji", "subcategory", "category"))
    for e, subcategory, category in set(zip(*about, strict=True)):
        words = [vocabulary()[w] for w in lists[e].tolist()]
        labels = words_of(f"{subcategories[subcategory]} {classes[category]}")
        parts = (NAME, words[: named[e]]), (KEYWORDS, words[named[e] :])
        for places, part in (*parts, (LABELS, labels)):
            tokens = [numbers[word] for word in part if word in numbers]
            found[e, places.start : places.start + len(tokens)] = torch.tensor(tokens)
    found = found[emoji.info["emoji"]]
    found[:, 0] = 1 + emoji.info["style"]
    return found


def described(emoji: Dataset) -> Dataset:
    """The same rows, with their descriptions as y."""
    return replace(emoji, y=descriptions(emoji), classes=())


@expects(rows="int N L")
def leftmost(rows: Tensor, places: int = WORDS) -> Tensor:
    """The words of each row (N, L) in their order, without gaps, cut after `places`
    words: (N, places)."""
    order = (rows == 0).sort(dim=1, stable=True).indices
    return rows.gather(1, order)[:, :places]


@expects(rows="int N 34")
@expects_values(
    style=number_in(0, 1),
    name=number_in(0, 1),
    keyword=number_in(0, 1),
    label=number_in(0, 1),
)
def drawn(
    rows: Tensor,
    style: float = 0.3,
    name: float = 0.7,
    keyword: float = 0.5,
    label: float = 0.0,
) -> Tensor:
    """One random sentence of each description (N, 34): int64 (N, WORDS).

    The style, the whole name, each keyword, and all words of the labels are kept with
    their own probabilities. A sentence without name, keyword and label gets the name. A
    sentence has at least one word if the description has one in these parts.
    """
    n, device = len(rows), rows.device
    kept = torch.rand(n, rows.shape[1], device=device) < keyword
    for places, share in (
        (slice(0, 1), style),
        (NAME, name),
        (LABELS, label),
    ):
        kept[:, places] = torch.rand(n, 1, device=device) < share
    empty = ~(kept & (rows > 0))[:, 1:].any(1)
    kept[:, NAME] |= empty[:, None]
    return leftmost(rows * kept)
