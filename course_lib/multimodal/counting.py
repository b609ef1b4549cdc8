"""Pictures of one to four copies of an object, with captions that say how many."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import as_seed, count, expects_values, number_in
from course_lib.data import Dataset, emoji_names, load
from course_lib.data.captions import WORDS, leftmost, sentence_words
from course_lib.data.emoji import premultiplied
from course_lib.data.words import words_of
from course_lib.multimodal.compositions import OBJECTS, _pasted, tokens_of

NUMBERS = "one two three four".split()


@functools.cache
def one_word_emoji() -> dict[str, int]:
    """Returns word -> emoji id of the training emoji whose name is a single word."""
    names = emoji_names()
    found = {}
    for e in load("emoji", "train").info["emoji"].unique().tolist():
        words = words_of(names[e])
        if len(words) == 1 and words[0] in sentence_words() and words[0] not in NUMBERS:
            found.setdefault(words[0], e)
    return found


def few_objects() -> list[str]:
    return list(OBJECTS)


def many_objects() -> list[str]:
    return list(one_word_emoji())


@expects_values(n=count, seed=as_seed, said=number_in(0, 1))
def counted(
    n: int, seed: int, *, objects=few_objects, said: float = 1.0, new: bool = False
) -> Dataset:
    """Returns n pictures with one to four copies of an object in random cells.

    y, int64 (n, WORDS): the number word, then the object; a share 1 - said of the
    captions has no number. objects: a function that returns the words of the objects. A
    fifth of the pairs (number, object) is in no picture unless `new`; then only these
    are. info: number (0 for one) and object.
    """
    words = objects()
    emoji, generator = load("emoji", "train"), torch.Generator().manual_seed(seed)
    a, b = torch.meshgrid(torch.arange(4), torch.arange(len(words)), indexing="ij")
    allowed = (((a + b) % 5 == 0) == new).nonzero()
    number, thing = allowed[torch.randint(len(allowed), (n,), generator=generator)].T
    style = torch.randint(3, (n,), generator=generator)
    cells = torch.rand(n, 4, generator=generator).argsort(1)
    cells[torch.arange(4) > number[:, None]] = -1
    ids = torch.tensor([one_word_emoji()[word] for word in words])[thing]
    # the first row of each emoji; its three styles follow one another
    first = torch.searchsorted(emoji.info["emoji"], ids)
    drawing = F.avg_pool2d(premultiplied(emoji.x[first + style]), 2)
    x = _pasted(drawing[:, None].expand(-1, 4, -1, -1, -1), cells, generator)
    y = torch.zeros(n, WORDS, dtype=torch.long)
    y[:, 0], y[:, 1] = tokens_of(NUMBERS)[number], tokens_of(words)[thing]
    y[torch.rand(n, generator=generator) >= said, 0] = 0
    return Dataset(x, leftmost(y), (), {"number": number, "object": thing})


def other_numbers(y: Tensor) -> Tensor:
    """Returns for each caption (N, WORDS) that begins with a number the three captions
    with other numbers, (N, 3, WORDS)."""
    numbers = tokens_of(NUMBERS).to(y.device)
    place = (y[:, :1] == numbers).int().argmax(1)
    others = numbers[(place[:, None] + torch.arange(1, 4, device=y.device)) % 4]
    y = y[:, None].repeat(1, 3, 1)
    y[:, :, 0] = others
    return y
