"""Words: each emoji as a short sentence, made of the words of its name and of its
search keywords.

    octopus:  octopus creature ocean sea beach          squid:  squid ocean sea

The keywords contain no word of a category's or subcategory's name (food, animal,
music). So these labels can be used later to evaluate word vectors. Words of names are
not removed in this way (grinning face, japan flag). Function words, and keywords that
would relate an emoji to no other, are left out (see `word_lists` in
tools/build_data.py). Frequent words are not subsampled: woman, female, man and male
belong to more than a hundred emoji each, flag and nation to 250.
"""

import functools
import re
import unicodedata
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from course_lib.data.dataset import Dataset
from course_lib.data.files import read

FUNCTION_WORDS = set(
    "a an and as at by do for from in is it its me my of on or the then to with "
    "without".split()
)


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    return read("words.npz")


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The V words in alphabetical order: the word with number w is vocabulary()[w]."""
    return tuple(_arrays()["words"].tolist())


def word_lists(names_only: bool = False) -> tuple[Tensor, ...]:
    """The numbers of each emoji's words, by emoji id: int64 (L_e,) for each of the E
    emoji, with L_e >= 1 and each word at most once.

    The words of the name come first, in order. The words of the keywords follow, unless
    `names_only`.
    """
    a = _arrays()
    ends = a["offsets"][:-1] + a["named"] if names_only else a["offsets"][1:]
    ids = torch.from_numpy(a["ids"]).long()
    return tuple(
        ids[start:end] for start, end in zip(a["offsets"].tolist(), ends.tolist())
    )


def bags_of_words(names_only: bool = False) -> Tensor:
    """The words of each emoji as float32 (E, V): 1 where emoji e has word v, else 0.
    Each row is the sum of its words' one-hot vectors."""
    bags = torch.zeros(len(_arrays()["named"]), len(_arrays()["words"]))
    for bag, words in zip(bags, word_lists(names_only)):
        bag[words] = 1
    return bags


def skip_gram_pairs() -> Dataset:
    """All ordered pairs of two different words of one emoji: x, int64 (P,), is the
    word, y, int64 (P,), its context; info: emoji.

    The window of word2vec is the whole sentence here. The label of a word is another
    word, so no annotation is needed. `fit` accepts this Dataset, because it does not
    change the dtype of x.
    """
    pairs = [
        (w, c, e)
        for e, words in enumerate(word_lists())
        for w, c in permutations(words.tolist(), 2)
    ]
    x, y, emoji = torch.tensor(pairs).T.contiguous()
    return Dataset(x, y, vocabulary(), {"emoji": emoji})


def words_of(text: str) -> list[str]:
    """The words of a name or keyword in order, each once: lower case, without accents,
    a to z only.

    Left out are function words, single letters (such as the s after an apostrophe) and
    anything that contains a digit.
    """
    letters = (
        c
        for c in unicodedata.normalize("NFKD", text.lower())
        if not unicodedata.combining(c)
    )
    found = re.findall("[a-z0-9]+", "".join(letters))
    return [
        w
        for w in dict.fromkeys(found)
        if w.isalpha() and len(w) > 1 and w not in FUNCTION_WORDS
    ]
