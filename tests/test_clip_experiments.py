"""The experiments of notebook 06: their pictures of several objects and of painted
words, their measures, and that each setting is the one its name says.

The oracles are loops in plain Python, letters and drawings put together by hand, and
networks without training.
"""

import functools
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from methods import close, dot, normal, same, seeded, state_of, unit, within
from torch import nn

from course_lib.data import Dataset, as_float, emoji_names, emoji_subcategories, load
from course_lib.data.captions import (
    KEYWORDS,
    LABELS,
    NAME,
    WORDS,
    described,
    descriptions,
    sentence,
    sentence_words,
)
from course_lib.data.emoji import STYLES
from course_lib.data.scenes import render_scenes
from course_lib.data.words import words_of
from course_lib.multimodal import counting_experiments, experiments, measures, prompts
from course_lib.multimodal import robustness_experiments as robust
from course_lib.multimodal.clip import CLIP
from course_lib.multimodal.compositions import (
    OBJECTS,
    HardNegatives,
    side_by_side,
    small_drawings,
    swapped,
    tokens_of,
)
from course_lib.multimodal.counting import (
    NUMBERS,
    counted,
    few_objects,
    many_objects,
    one_word_emoji,
    other_numbers,
)
from course_lib.multimodal.painting import (
    LETTERS,
    PAINTED,
    lettering,
    paint,
    with_true_words,
)
from course_lib.multimodal.recipes import clip, clip_bag_of_words, siglip
from course_lib.multimodal.siglip import SigLIP
from course_lib.multimodal.word_prediction import WordPrediction
from course_lib.nets.text import BagOfWords, TextTransformer
from course_lib.recipe import lookup
from course_lib.supervised.recipes import supervised


def surprise(scores, k):
    """-log softmax(scores)_k."""
    top = max(scores)
    return top + math.log(sum(math.exp(s - top) for s in scores)) - scores[k]


def unchanged(x):
    return x


def tiny(kind=CLIP, text="transformer", seed=0, **options):
    """An untrained network that looks at 4 x 4 averages and reads real sentences."""
    torch.manual_seed(seed)
    image = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 16), nn.Tanh())
    words = BagOfWords(len(sentence_words()), 16)
    if text == "transformer":
        words = TextTransformer(len(sentence_words()), WORDS, 16, 1, 2)
        nn.init.orthogonal_(words.out.weight)
        nn.init.normal_(words.positions)
    heads = (nn.Linear(16, 8, bias=False) for _ in range(2))
    return kind(image, words, *heads, unchanged, unchanged, **options)


def tiny_predictor(seed=0):
    torch.manual_seed(seed)
    image = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 16), nn.Tanh())
    return WordPrediction(
        image, nn.Linear(16, len(sentence_words())), unchanged, unchanged
    )


def images_of(method, x):
    with torch.no_grad():
        rows = method.projector(method.encoder(as_float(x))).double().tolist()
    return [unit(row) for row in rows]


def texts_of(method, tokens):
    with torch.no_grad():
        rows = method.text_projector(method.text_encoder(tokens)).double().tolist()
    return [unit(row) for row in rows]


def of_sentences(method, texts):
    return texts_of(method, torch.stack([sentence(text) for text in texts]))


def words_in(row):
    return [sentence_words()[token] for token in row.tolist() if token]


def mean_of(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def largest(scores):
    return scores.index(max(scores))


def rank(scores, relevant):
    """The place of the first relevant candidate; of equal ones it is the last."""
    best = max(s for s, r in zip(scores, relevant, strict=True) if r)
    return 1 + sum(s >= best for s, r in zip(scores, relevant) if not r)


def share(found):
    found = list(found)
    return sum(found) / len(found)


# --- painted words ---

I_BY_HAND = """
###
.#.
.#.
.#.
###
"""
L_BY_HAND = """
#..
#..
#..
#..
###
"""


def doubled(text):
    """A drawing of # as ink, each point of 2 x 2 pixels: 0 for ink, 1 elsewhere."""
    rows = [[float(c != "#") for c in row for _ in (0, 1)] for row in text.split()]
    return torch.tensor([row for row in rows for _ in (0, 1)])


def test_letters_are_black_on_white_with_a_margin_of_one_pixel():
    word = lettering("il")
    assert word.shape == (12, 15) and word.dtype == torch.float32
    expected = torch.ones(12, 15)
    expected[1:11, 1:7], expected[1:11, 8:14] = doubled(I_BY_HAND), doubled(L_BY_HAND)
    assert torch.equal(word, expected)
    # letters that are not symmetric
    assert torch.equal(lettering("f")[1:11, 1:7], doubled("### #.. ##. #.. #.."))
    assert torch.equal(lettering("j")[1:11, 1:7], doubled("..# ..# ..# #.# .#."))
    shapes = {tuple(lettering(letter).flatten().tolist()) for letter in LETTERS}
    assert "".join(LETTERS) == "abcdefghijklmnopqrstuvwxyz" and len(shapes) == 26
    assert lettering("moon").shape == (12, 29)


@pytest.mark.parametrize("word", ["", "balls", "Ball", "a b", "é", "x1"])
def test_lettering_rejects_what_it_cannot_write(word):
    with pytest.raises(ValueError, match="`word`: expected 1 to 4 letters"):
        lettering(word)


def written(x, word):
    """Where pictures (N, 3, H, W) have exactly this word: bool (N, top, left)."""
    ink = lettering(word)
    white, black = ((x == c).all(1, keepdim=True).float() for c in (255, 0))
    equal = F.conv2d(white, ink[None, None]) + F.conv2d(black, 1 - ink[None, None])
    return equal[:, 0].round() == ink.numel()


def places_of(x, word):
    return written(x[None], word)[0].nonzero().tolist()


def test_paint_writes_each_word_inside_its_picture_and_changes_nothing_else():
    x = torch.randint(1, 255, (300, 3, 24, 32), generator=seeded()).byte()
    words = [("", "i", "man", "moon")[k % 4] for k in range(300)]
    before = x.clone()
    found, corners = paint(x, words, seed=3), set()
    assert torch.equal(x, before) and found.dtype == torch.uint8
    for picture, new, word in zip(x, found, words):
        if not word:
            assert torch.equal(new, picture)
            continue
        # colours of x are never 0 or 255, so ink and paper cannot be there by chance
        changed = (new != picture).any(0)
        assert (new != picture).all(0).equal(changed)
        ((top, left),) = places_of(new, word)
        h, w = 12, 7 * len(word) + 1
        assert changed[top : top + h, left : left + w].all()
        assert changed.sum() == h * w
        if word == "moon":
            corners.add((top, left))
    assert {top for top, _ in corners} >= {0, 12} and max(corners)[0] == 12
    assert {left for _, left in corners} == {0, 1, 2, 3}
    assert torch.equal(paint(x, words, seed=3), found)
    assert not torch.equal(paint(x, words, seed=4), found)


def test_paint_names_the_bad_argument():
    x = torch.zeros(2, 3, 32, 32).byte()
    for call, message in (
        (lambda: paint(x, ["ball"], 0), "`words`: expected 2 words, got 1"),
        (lambda: paint(x.float(), ["ball"] * 2, 0), "`x`.*uint8"),
        (lambda: paint(x, ["ball"] * 2, 0.5), "`seed`"),
        (lambda: paint(x, ["ball", "a b"], 0), "`word`"),
        (lambda: with_true_words(few_emoji(), 1.5), "`share`"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@functools.cache
def few_emoji(step=1):
    """Black pictures in place of the drawings."""
    data = load("emoji", "train")[::step]
    x = torch.zeros(len(data), 3, 32, 32).byte()
    return Dataset(x, data.y, data.classes, data.info)


@functools.cache
def true_painted(data):
    """For each row the words of PAINTED in its name or keywords."""
    rows = described(data).y
    return [
        set(PAINTED) & {*words_in(row[NAME]), *words_in(row[KEYWORDS])} for row in rows
    ]


def test_true_words_are_words_of_the_picture():
    data = few_emoji()
    found, true = with_true_words(data, 1.0), true_painted(data)
    assert found.x.shape == data.x.shape and data.x.max() == 0
    assert torch.equal(found.y, data.y) and found.info.keys() == data.info.keys()
    rows = (found.x > 0).flatten(1).any(1).nonzero().flatten().tolist()
    assert rows == [k for k, words in enumerate(true) if words]
    read = torch.stack([written(found.x[rows], w).any(2).any(1) for w in PAINTED], 1)
    seen, firsts, several = set(), 0, 0
    for k, marks in zip(rows, read.tolist()):
        (word,) = [w for w, mark in zip(PAINTED, marks) if mark]
        assert word in true[k]
        seen.add(word)
        if len(true[k]) > 1:
            several += 1
            firsts += word == next(w for w in PAINTED if w in true[k])
    assert seen == set(PAINTED)
    # of several true words any one
    assert several > 20 and 0.2 < firsts / several < 0.8
    assert torch.equal(found.x, with_true_words(data, 1.0).x)
    assert not torch.equal(found.x, with_true_words(data, 1.0, seed=1).x)


@pytest.mark.parametrize("given", [0.0, 0.1, 0.5])
def test_true_words_are_in_a_share_of_the_pictures_that_can_have_one(given):
    data = few_emoji()
    can = torch.tensor([bool(words) for words in true_painted(data)])
    painted = (with_true_words(data, given).x > 0).flatten(1).any(1)
    assert not (painted & ~can).any()
    if not given:
        assert not painted.any()
    else:
        within(painted[can], given)
    captions = robust.painted_captions(data, given)
    assert torch.equal(captions.x, with_true_words(data, given).x)
    assert torch.equal(captions.y, descriptions(data)) and captions.classes == ()


def test_painted_words_are_one_for_each_category():
    data = few_emoji(step=3)
    counts = {word: [0] * 9 for word in PAINTED}
    for words, label in zip(true_painted(data), data.y.tolist()):
        for word in words:
            counts[word][label] += 1
    assert len(counts) == 9
    for k, numbers in enumerate(counts.values()):
        assert largest(numbers) == k and sum(numbers) >= 4


@pytest.mark.parametrize(
    ("word", "expected"),
    [("ball", "labl"), ("moon", "oomn"), ("pet", "ept"), ("flag", "alfg")],
)
def test_scrambled_has_the_same_letters_in_another_order(word, expected):
    assert robust.scrambled(word) == expected
    for each in PAINTED:
        other = robust.scrambled(each)
        assert sorted(other) == sorted(each) and other != each
        assert other not in sentence_words()


# --- several objects ---


def small_by_hand(names=OBJECTS):
    """Each object in each style: colour times alpha, and alpha, averaged over 2 x 2
    pixels."""
    data, found = load("emoji", "train"), {}
    for name in names:
        e = emoji_names().index(name)
        for row in (data.info["emoji"] == e).nonzero().flatten().tolist():
            rgba = data.x[row].double() / 255
            parts = torch.cat([rgba[:3] * rgba[3], rgba[3:]])
            small = sum(parts[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
            found[name, data.info["style"][row].item()] = small
    return found


CORNERS = ((0, 0), (0, 16), (16, 0), (16, 16))


def read_cells(picture, drawings):
    """What is in the four cells of a picture: None, or (object, style)."""
    colours, numbers = picture.flatten(1).unique(dim=1, return_counts=True)
    picture, keys = picture.double() / 255, list(drawings)
    rgba = torch.stack(list(drawings.values()))
    # the background is a frequent colour, and it explains all cells
    for colour in colours[:, numbers.argsort(descending=True)[:8]].T:
        background, found = colour.double()[:, None, None] / 255, []
        pasted = rgba[:, :3] + (1 - rgba[:, 3:]) * background
        for top, left in CORNERS:
            cell = picture[:, top : top + 16, left : left + 16]
            off = (pasted - cell).abs().amax((1, 2, 3))
            fits = [keys[k] for k in (off < 1.6 / 255).nonzero().flatten().tolist()]
            found += [None] if (cell == background).all() else fits
        if len(found) == 4:
            return found, background.flatten()
    raise AssertionError("no drawings explain this picture")


@pytest.fixture(scope="module")
def drawings():
    return small_by_hand()


def test_small_drawings_are_averages_of_premultiplied_drawings(drawings):
    found = small_drawings()
    assert found.shape == (24, 3, 4, 16, 16) and len(drawings) == 72
    for (name, style), expected in drawings.items():
        drawing = found[OBJECTS.index(name), style].double()
        torch.testing.assert_close(drawing, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("new", [False, True])
def test_captions_of_two_objects_name_the_left_and_the_right_one(new, drawings):
    data, halves = side_by_side(60, 1, new=new), set()
    assert data.x.shape == (60, 3, 32, 32) and data.x.dtype == torch.uint8
    assert data.y.shape == (60, WORDS) and data.y.dtype == torch.int64
    styles, backgrounds = set(), []
    for k, picture in enumerate(data.x):
        cells, background = read_cells(picture, drawings)
        upper = cells[:2] != [None, None]
        shown, empty = (cells[:2], cells[2:]) if upper else (cells[2:], cells[:2])
        assert empty == [None, None]
        assert words_in(data.y[k]) == [name for name, _ in shown]
        numbers = [OBJECTS.index(name) for name, _ in shown]
        assert [data.info[key][k].item() for key in ("first", "second")] == numbers
        halves.add(upper)
        styles.add(tuple(style for _, style in shown))
        backgrounds.append(background)
    assert halves == {True, False} and len(styles) > 6
    assert (
        torch.stack(backgrounds).min() >= 0.6 and len({*map(tuple, backgrounds)}) == 60
    )


@pytest.mark.parametrize("new", [False, True])
def test_captions_of_counted_objects_name_the_number(new, drawings):
    data, places, numbers = counted(60, 1, new=new), set(), set()
    for k, picture in enumerate(data.x):
        cells, _ = read_cells(picture, drawings)
        shown = [cell for cell in cells if cell]
        ((name, _),) = set(shown)  # one object, in one style
        assert words_in(data.y[k]) == [NUMBERS[len(shown) - 1], name]
        assert data.info["number"][k] == len(shown) - 1
        assert data.info["object"][k] == OBJECTS.index(name)
        numbers.add(len(shown))
        if len(shown) == 1:
            places.add(cells.index(shown[0]))
    assert numbers == {1, 2, 3, 4} and places == {0, 1, 2, 3}
    assert NUMBERS == ["one", "two", "three", "four"]


def kinds_of(make, keys, **options):
    data = make(3000, 0, **options)
    return list(zip(*(data.info[key].tolist() for key in keys)))


def test_held_out_pairs_of_objects_are_in_no_training_picture():
    keys = ("first", "second")
    seen, new = (kinds_of(side_by_side, keys, new=new) for new in (False, True))
    assert all(a != b for a, b in [*seen, *new])
    pairs, held = ({frozenset(pair) for pair in each} for each in (seen, new))
    assert not pairs & held and 50 <= len(held) <= 60
    assert len(pairs | held) == 24 * 23 / 2
    # both orders, and every object in both sets
    for each in (seen, new):
        assert len(set(each)) == 2 * len({frozenset(pair) for pair in each})
        assert {a for a, _ in each} == {b for _, b in each} == set(range(24))


def test_objects_to_count_are_all_training_emoji_with_a_name_of_one_word():
    names, ids = emoji_names(), load("emoji", "train").info["emoji"].unique().tolist()
    found, expected = one_word_emoji(), {}
    for e in reversed(ids):
        if len(words_of(names[e])) == 1 and words_of(names[e])[0] not in NUMBERS:
            expected[words_of(names[e])[0]] = e
    assert found == expected and few_objects() == OBJECTS and len(found) > 200
    assert many_objects() == list(found) and set(OBJECTS) <= set(found)
    data = counted(400, 3, objects=many_objects)
    assert len(data.info["object"].unique()) > 100
    for row, thing in zip(data.y, data.info["object"].tolist()):
        assert words_in(row)[1] == many_objects()[thing]


def test_counted_draws_the_emoji_of_its_word():
    words = [w for w in many_objects() if w in emoji_names()][40:48]
    mine, shown = small_by_hand(words), set()
    data = counted(30, 2, objects=lambda: words)
    for picture, row in zip(data.x, data.y):
        cells, _ = read_cells(picture, mine)
        ((name, style),) = {cell for cell in cells if cell}
        assert words_in(row)[1] == name
        shown.add(style)
    assert shown == {0, 1, 2}


@pytest.mark.parametrize("said", [0.0, 0.3, 1.0])
def test_a_share_of_the_captions_says_the_number(said):
    data = counted(1500, 0, said=said)
    has = torch.tensor([words_in(row)[0] in NUMBERS for row in data.y]).double()
    if 0 < said < 1:
        within(has, said)
    else:
        assert has.mean() == said
    full = counted(1500, 0)
    assert torch.equal(full.x, data.x)
    for row, whole, number in zip(data.y, full.y, has.tolist()):
        assert words_in(row) == words_in(whole)[0 if number else 1 :]
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="`said`"):
            counted(3, 0, said=bad)


def test_held_out_numbers_of_objects_are_in_no_training_picture():
    keys = ("number", "object")
    seen, new = (set(kinds_of(counted, keys, new=new)) for new in (False, True))
    assert not seen & new and len(seen | new) == 96 and 18 <= len(new) <= 20
    for each in (seen, new):
        assert {number for number, _ in each} == {0, 1, 2, 3}
    assert {thing for _, thing in seen} == set(range(24))


@pytest.mark.parametrize("make", [side_by_side, counted])
def test_compositions_depend_on_the_seed_only(make):
    first = make(20, 0)
    torch.rand(3)
    again, other = make(20, 0), make(20, 1)
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    with pytest.raises(ValueError, match="`n`"):
        make(0, 0)
    with pytest.raises(ValueError, match="`seed`"):
        make(3, 0.5)


def test_altered_captions_equal_plain_python():
    y = side_by_side(30, 0).y
    y[:, 4] = torch.arange(30)  # further words stay
    found = swapped(y)
    assert found.shape == (30, 1, WORDS)
    for row, ((a, b, *rest),) in zip(y.tolist(), found.tolist()):
        assert [b, a, *rest] == row
    y = counted(60, 0).y
    y[:, 4] = torch.arange(60)
    before, found = y.clone(), other_numbers(y)
    assert found.shape == (60, 3, WORDS) and torch.equal(y, before)
    tokens = [sentence_words().index(word) for word in NUMBERS]
    for row, altered in zip(y.tolist(), found.tolist()):
        others = {token for token in tokens if token != row[0]}
        assert {new[0] for new in altered} == others
        assert all(new[1:] == row[1:] for new in altered)
    assert tokens_of(NUMBERS).tolist() == tokens


@pytest.mark.parametrize(
    ("make", "altered"), [(side_by_side, swapped), (counted, other_numbers)]
)
def test_hard_negatives_are_further_captions_for_pictures_only(make, altered):
    method, data = tiny(HardNegatives, temperature=0.4), make(7, 0)
    method.altered, method.draw = altered, lambda y: y.flip(0)
    method.augment = lambda x: x.flip(-1)
    x, tokens = as_float(data.x), data.y.flip(0)
    image, text = images_of(method, x.flip(-1)), texts_of(method, tokens)
    wrong = texts_of(method, torch.cat(list(altered(tokens))))
    assert len(wrong) == 7 * altered(tokens).shape[1]
    total = 0.0
    for i in range(7):
        scores = [dot(image[i], v) / 0.4 for v in text + wrong]
        total += surprise(scores, i) / 14
        total += surprise([dot(text[i], u) / 0.4 for u in image], i) / 14
    loss = method.loss(x, data.y)
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    assert method.log_scale.grad.abs() > 0


# --- the order and the number of objects: measures ---


def test_share_first_equals_a_loop_with_ties():
    own = torch.randint(0, 3, (50, 1), generator=seeded()).float()
    others = torch.randint(-2, 3, (50, 3), generator=seeded(1)).float()
    others[4] = -torch.inf
    total, kinds = 0.0, set()
    for (score,), row in zip(own.tolist(), others.tolist()):
        if score >= max(row):
            total += 1 / (1 + row.count(score)) / 50
            kinds.add(row.count(score))
    assert robust.share_first(own, others) == pytest.approx(total)
    assert kinds >= {0, 1, 2}
    # equal up to rounding
    assert robust.share_first(own, own + 1e-6) == robust.share_first(own, own) == 0.5
    assert robust.share_first(own, own + 1e-3) == 0
    assert robust.share_first(own, own - 1e-3) == 1
    assert robust.share_first(own, own.expand(50, 4)) == pytest.approx(0.2)


@pytest.mark.parametrize("text", ["transformer", "bag"])
@pytest.mark.parametrize(
    ("make", "altered"), [(side_by_side, swapped), (counted, other_numbers)]
)
def test_margins_equal_a_loop(make, altered, text):
    method, data = tiny(text=text).eval(), make(130, 2)
    wrong = altered(data.y)
    found = robust.margins(method, data, wrong)
    image, texts = images_of(method, data.x), texts_of(method, data.y)
    versions = [texts_of(method, rows) for rows in wrong]

    def first(own, others):
        if any(other > own + 1e-5 for other in others):
            return 0.0
        return 1 / (1 + sum(abs(other - own) <= 1e-5 for other in others))

    fine, coarse, sizes = 0.0, 0.0, set()
    for i, u in enumerate(image):
        own = dot(u, texts[i])
        fine += first(own, [dot(u, v) for v in versions[i]]) / 130
        known = [sorted(row) for row in [data.y[i].tolist(), *wrong[i].tolist()]]
        rivals = [
            dot(u, texts[j])
            for j in ((i + d) % 130 for d in range(1, 100))
            if sorted(data.y[j].tolist()) not in known
        ]
        coarse += first(own, rivals) / 130
        sizes.add(len(rivals))
    assert found == pytest.approx((fine, coarse), abs=1e-9)
    assert max(sizes) <= 99 and len(sizes) > 1 and 0 < found[1] < 0.5
    if text == "bag" and altered is swapped:
        assert found[0] == 0.5  # it cannot know


@pytest.mark.parametrize("distance", [1, 99, 100, 149])
def test_margins_look_at_the_captions_of_the_next_99_pictures(distance):
    """Each picture is nearest to the caption of another one, at this distance."""
    axes, n = torch.eye(152), 150

    class Method(nn.Module):
        projector, encode = nn.Identity(), nn.Identity()

        def text_embedding(self, tokens):
            return axes[tokens[:, 0]]

    words = torch.arange(n)
    x = axes[words] + 2 * axes[(words + distance) % n]
    y, wrong = words[:, None], torch.full((n, 1, 1), 151)
    found = robust.margins(Method(), Dataset(x, y, ()), wrong)
    assert found == (1, 0 if distance <= 99 else 1)


def test_reads_all_changes_nothing_and_has_the_hard_negatives_of_its_setting():
    plain = robust.reads_all(clip)
    assert type(plain) is CLIP and plain.draw is robust.same
    hard = robust.reads_all(clip, swapped)
    assert type(hard) is HardNegatives and hard.altered is swapped
    assert type(robust.reads_all(clip_bag_of_words).text_encoder) is BagOfWords
    data = side_by_side(4, 0)
    for method in (plain, hard):
        assert method.draw(data.y) is data.y
        x = as_float(data.x)
        assert torch.equal(method.augment(x), x)
        assert method.loss(x, data.y).isfinite()


def test_composition_measures_shown_and_new_pairs(monkeypatch):
    method, calls = tiny(), []
    monkeypatch.setattr(
        robust, "train_to_the_end", lambda recipe, seed: (method.train(), {"steps": 3})
    )

    def make(n, seed, *, new):
        calls.append((n, seed, new))
        return side_by_side(110, 5, new=new)

    found = robust.composition(None, 0, make, swapped)
    assert calls == [(1000, 1, False), (1000, 1, True)] and not method.training
    expected = {"steps": 3}
    for name, new in (("", False), ("_new", True)):
        data = side_by_side(110, 5, new=new)
        fine, coarse = robust.margins(method, data, swapped(data.y))
        expected |= {f"fine{name}": fine, f"coarse{name}": coarse}
    assert found == expected


# --- styles ---


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("captions", [True, False])
def test_without_style_keeps_the_two_other_styles(style, captions):
    data = few_emoji(step=7)
    found = robust.without_style(data, style, captions)
    kept = [k for k, s in enumerate(data.info["style"].tolist()) if STYLES[s] != style]
    assert found.info["emoji"].tolist() == data.info["emoji"][kept].tolist()
    assert len(found.info["style"].unique()) == 2
    if captions:
        assert torch.equal(found.y, descriptions(data)[kept])
    else:
        assert torch.equal(found.y, data.y[kept]) and found.classes == data.classes


# --- measures, on a few test scenes ---


@pytest.fixture
def scenes(monkeypatch):
    """Scenes of some test emoji, a few of which have no known word."""
    drawings, names = load("emoji", "test"), emoji_names()
    empty = [names.index(name) for name in ("orangutan", "lemon")]
    ids = drawings.info["emoji"].unique()[::12].tolist() + empty
    rows = torch.isin(drawings.info["emoji"], torch.tensor(ids))
    data = described(render_scenes(drawings[rows], 240, seed=0))
    for module in (measures, robust, experiments):
        monkeypatch.setattr(module, "held_out", lambda: data)
    texts = measures.emoji_texts.__wrapped__
    monkeypatch.setattr(measures, "emoji_texts", texts)
    return data


def known_captions(data):
    """Emoji id -> the tokens of its caption, by hand."""
    found = {}
    for e, row in zip(data.info["emoji"].tolist(), data.y.tolist()):
        words = [w for w in row[NAME] + row[KEYWORDS] if w][:WORDS]
        found[e] = words + [0] * (WORDS - len(words))
    return dict(sorted(found.items()))


def test_held_out_scenes_have_descriptions():
    data = measures.held_out()
    assert len(data) == 4000 and data.y.shape == (4000, 34)
    assert torch.equal(data.x, load("scenes", "test").x)
    assert torch.equal(data.y[:9], descriptions(data[:9]))
    texts, row = measures.emoji_texts()
    assert len(texts) == 382 and (texts > 0).any(1).sum() == 374
    assert len(row) == 4000


def test_emoji_texts_are_the_known_words_of_names_and_keywords(scenes):
    texts, row = measures.emoji_texts()
    expected = known_captions(scenes)
    assert texts.tolist() == list(expected.values())
    ids = list(expected)
    assert row.tolist() == [ids.index(e) for e in scenes.info["emoji"].tolist()]
    assert sum(not any(words) for words in texts.tolist()) == 2
    assert scenes.y[:, LABELS].any(1).all()  # they are left out


@pytest.mark.parametrize("make", [tiny, tiny_predictor])
def test_class_scores_are_cosines_or_mean_scores_of_the_texts(make, scenes):
    method, texts = make(), [["dog"], ["red apple", "fruit", "noto apple"]]
    x = scenes.x[:9]
    found = measures.class_scores(method, method.encode(as_float(x)), texts)
    assert found.shape == (9, 2) and not found.requires_grad
    with torch.no_grad():
        h = method.encoder(as_float(x))
    if make is tiny:
        weights = [unit(mean_of(of_sentences(method, each))) for each in texts]
        expected = [[dot(u, w) for w in weights] for u in images_of(method, x)]
    else:
        with torch.no_grad():
            logits = method.classifier(h).double().tolist()
        rows = [[sentence(text).tolist() for text in each] for each in texts]
        expected = [
            [
                mean_of(
                    [[mean_of([[-surprise(s, w)] for w in row if w])[0]] for row in c]
                )[0]
                for c in rows
            ]
            for s in logits
        ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [tiny, tiny_predictor, partial(tiny, text="bag")])
def test_name_ranks_equal_loops(make, scenes):
    method = make().eval()
    h = method.encode(as_float(scenes.x))
    captions = known_captions(scenes)
    known = [e for e, words in captions.items() if any(words)]
    texts = torch.tensor([captions[e] for e in known])
    for n in (240, 150):
        shown = scenes.info["emoji"][:n].tolist()
        scores = method.compare(h[:n], texts).tolist()
        to_name = [
            rank(scores[i], [e == other for other in known])
            for i, e in enumerate(shown)
            if e in known
        ]
        to_picture = [
            rank([row[k] for row in scores], [e == other for other in shown])
            for k, e in enumerate(known)
            if e in shown
        ]
        found = measures.name_ranks(method, h[:n])
        assert [ranks.tolist() for ranks in found] == [to_name, to_picture]
    assert len(set(to_name)) > 5 and len(to_name) < 150


def test_zero_shot_measures_equal_loops_over_all_texts(scenes):
    method = tiny().eval()
    found = measures.zero_shot_measures(method)
    image, y = images_of(method, scenes.x), scenes.info["category"].tolist()

    def accuracy(classes, rows=None, labels=y):
        weights = [unit(mean_of(of_sentences(method, texts))) for texts in classes]
        rows = range(240) if rows is None else rows
        scores = [[dot(image[i], w) for w in weights] for i in rows]
        return share(largest(s) == labels[i] for s, i in zip(scores, rows))

    groups, texts = prompts.CATEGORY_WORDS, prompts.SUBCATEGORY_TEXTS
    names = [emoji_subcategories()[s] for s in scenes.info["subcategory"].tolist()]
    rows = [i for i, name in enumerate(names) if name in texts]
    labels = [list(texts).index(name) if name in texts else -1 for name in names]
    assert 100 < len(rows) < 240
    to_name, to_picture = measures.name_ranks(method, method.encode(as_float(scenes.x)))
    expected = {
        "one_word": accuracy([[words.split()[0]] for words in groups.values()]),
        "seven_words": accuracy([[words] for words in groups.values()]),
        "zero_shot": accuracy(
            [
                words.split() + [f"{s} {w}" for w in words.split() for s in STYLES]
                for words in groups.values()
            ]
        ),
        "label_names": accuracy([[name] for name in load("emoji", "test").classes]),
        "sub": accuracy([[text] for text in texts.values()], rows, labels),
        "name_1": share(r <= 1 for r in to_name.tolist()),
        "name_10": share(r <= 10 for r in to_name.tolist()),
        "picture_10": share(r <= 10 for r in to_picture.tolist()),
    }
    medians = {"name_rank": to_name, "picture_rank": to_picture}
    for name, ranks in medians.items():
        # torch's median of an even number is the lower of the two
        ordered = sorted(ranks.tolist())
        assert found.pop(name) == ordered[(len(ordered) - 1) // 2]
    assert found == pytest.approx(expected)
    predicted = measures.zero_shot_measures(tiny_predictor())
    assert predicted.keys() == expected.keys() | medians.keys()


def test_looks_use_half_of_the_test_scenes(scenes, monkeypatch):
    method, seen = tiny().eval(), []
    monkeypatch.setattr(
        experiments,
        "evaluate",
        SimpleNamespace(features=lambda m, x: seen.append(x) or m.encode(as_float(x))),
    )
    found = experiments.looks(method)
    full = measures.zero_shot_measures(method)
    assert found == {name: full[name] for name in ("zero_shot", "name_10")}
    assert torch.equal(seen[0], scenes.x[:2000])


def test_pairs_are_one_scene_and_the_caption_of_each_emoji(scenes):
    method = tiny().eval()
    image, text = measures.pairs(method)
    captions, shown = known_captions(scenes), scenes.info["emoji"].tolist()
    known = [e for e, words in captions.items() if any(words)]
    rows = [shown.index(e) for e in known]
    expected = images_of(method, scenes.x[rows])
    torch.testing.assert_close(image, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    expected = texts_of(method, torch.tensor([captions[e] for e in known]))
    torch.testing.assert_close(text, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert not image.requires_grad and not text.requires_grad


@pytest.mark.parametrize("given", [-0.5, 0.0, 0.5, 1.0])
def test_shifted_moves_both_sides_by_half_of_the_share(given):
    image, text, gap = normal(5, 4), normal(3, 4, seed=1), normal(4, seed=2)
    found = measures.shifted(image, text, gap, given)
    for rows, moved, sign in zip((image, text), found, (-1, 1)):
        expected = [
            unit([a + sign * given * g / 2 for a, g in zip(row, gap.tolist())])
            for row in rows.tolist()
        ]
        close(moved, torch.tensor(expected, dtype=torch.float64))


def test_gap_measures_equal_loops(scenes):
    method = tiny(temperature=0.25).eval()
    found = measures.gap_measures(method)
    assert found["scale"] == pytest.approx(4.0)
    captions, shown = known_captions(scenes), scenes.info["emoji"].tolist()
    known = [e for e, words in captions.items() if any(words)]
    images = images_of(method, scenes.x)
    names = texts_of(method, torch.tensor([captions[e] for e in known]))
    own = [images[shown.index(e)] for e in known]
    gap = [a - b for a, b in zip(mean_of(own), mean_of(names))]
    assert found["gap"] == pytest.approx(math.sqrt(dot(gap, gap)), rel=1e-4)
    classes = [unit(mean_of(of_sentences(method, t))) for t in prompts.ensemble()]

    def moved(rows, by):
        return [unit([a + by * g for a, g in zip(row, gap)]) for row in rows]

    y = scenes.info["category"].tolist()
    assert list(found["closed"]) == ["-0.5", "0.0", "0.5", "1.0", "1.5"]
    for title, (loss, accuracy, recall) in found["closed"].items():
        by = float(title) / 2
        u, v, total = moved(own, -by), moved(names, by), 0.0
        for i in range(len(known)):
            total += surprise([4 * dot(u[i], each) for each in v], i)
            total += surprise([4 * dot(v[i], each) for each in u], i)
        assert loss == pytest.approx(total / 2 / len(known), rel=1e-4)
        pictures, weights = moved(images, -by), moved(classes, by)
        right = [
            largest([dot(u, w) for w in weights]) == c for u, c in zip(pictures, y)
        ]
        assert accuracy == pytest.approx(share(right), abs=0.009)
        near = [
            rank([dot(u, each) for each in v], [e == other for other in known]) <= 10
            for u, e in zip(pictures, shown)
            if e in known
        ]
        assert recall == pytest.approx(share(near), abs=0.009)
    losses = [loss for loss, _, _ in found["closed"].values()]
    assert len(set(losses)) == 5


def test_emoji_shots_equal_a_loop(scenes):
    h, shown = (
        normal(240, 5, seed=3, dtype=torch.float32),
        scenes.info["emoji"].tolist(),
    )
    h += 1.5 * normal(2000, 5, dtype=torch.float32)[scenes.info["emoji"]]
    rows, ids = [unit(row) for row in h.double().tolist()], sorted(set(shown))
    number = [shown[: i + 1].count(e) for i, e in enumerate(shown)]
    found = measures.emoji_shots(h)
    assert list(found) == ["1", "2", "4"]
    for k, accuracy in found.items():
        means = [
            unit(
                mean_of(
                    [
                        row
                        for row, other, n in zip(rows, shown, number)
                        if other == e and n <= int(k)
                    ]
                )
            )
            for e in ids
        ]
        right = [
            ids[largest([dot(rows[i], m) for m in means])] == shown[i]
            for i in range(240)
            if number[i] > 4
        ]
        assert accuracy == pytest.approx(share(right), abs=1e-9)
        assert 0.02 < accuracy < 0.9 and len(right) > 50


@pytest.mark.parametrize("kind", ["CLIP", "supervised"])
def test_by_style_gives_the_accuracy_of_each_style(kind, scenes):
    method = tiny().eval()
    if kind == "supervised":
        method = nn.Module()
        torch.manual_seed(0)
        method.encode = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
        method.classifier = nn.Linear(192, 9)
        method.encode.requires_grad_(False)
        with torch.no_grad():
            rows = method.classifier(method.encode(as_float(scenes.x))).tolist()
    else:
        weights = [unit(mean_of(of_sentences(method, t))) for t in prompts.ensemble()]
        rows = [[dot(u, w) for w in weights] for u in images_of(method, scenes.x)]
    found = robust.by_style(method)
    assert list(found) == list(STYLES) and len(set(found.values())) > 1
    y, styles = scenes.info["category"].tolist(), scenes.info["style"].tolist()
    for name, accuracy in found.items():
        right = [
            largest(row) == c for row, c, s in zip(rows, y, styles) if STYLES[s] == name
        ]
        assert accuracy == pytest.approx(share(right), abs=1e-9)


class Pixels(nn.Module):
    """All pixels are the representation."""

    def encode(self, x):
        return x.flatten(1)


def test_attacked_paints_words_of_other_categories_and_scrambles_them(
    monkeypatch, scenes
):
    seen = []

    def read(method, h, texts):
        """Finds the painted word by comparing pixels."""
        x = (255 * h).round().byte().view(-1, 3, 32, 32)
        seen.append(x)
        assert texts == [[word] for word in PAINTED]
        rows = [written(x, word).flatten(1).any(1) for word in PAINTED]
        return torch.stack(rows, 1).float()

    monkeypatch.setattr(robust, "class_scores", read)
    monkeypatch.setattr(
        robust, "train_to_the_end", lambda recipe, seed: (Pixels(), {"steps": 2})
    )
    found, y = robust.attacked(None, 0), scenes.info["category"]
    first = (y == 0).double().mean().item()  # where nothing is read
    assert found["steps"] == 2
    assert found["word_painted"] == 1 and found["word_right"] == 0
    assert found["clean_right"] == found["shuffled_right"] == pytest.approx(first)
    assert found["clean_painted"] == found["shuffled_painted"] < 1 - first
    clean, word, shuffled = seen
    assert torch.equal(clean, scenes.x)
    others = set()
    place_of = [written(word, each) for each in PAINTED]
    for i, (a, b, c, label) in enumerate(zip(clean, word, shuffled, y.tolist())):
        ((k, place),) = [
            (k, places[i].nonzero().tolist())
            for k, places in enumerate(place_of)
            if places[i].any()
        ]
        assert k != label
        assert places_of(c, robust.scrambled(PAINTED[k])) == place
        (top, left), w = place[0], 7 * len(PAINTED[k]) + 1
        for picture in (b, c):
            outside = (picture != a).any(0)
            outside[top : top + 12, left : left + w] = False
            assert not outside.any()
        others.add((k - label) % 9)
    assert others == set(range(1, 9))


# --- texts ---


def test_prompts_are_readable_and_complete():
    classes = load("emoji", "train").classes
    assert tuple(prompts.CATEGORY_WORDS) == classes
    for words in prompts.CATEGORY_WORDS.values():
        assert len(words.split()) == len(set(words.split())) == 7
    every = [
        word for words in prompts.CATEGORY_WORDS.values() for word in words.split()
    ]
    assert len(set(every)) == 63  # no word stands for two categories
    assert [t[0] for t in prompts.one_word()] == every[::7]
    assert set(prompts.SUBCATEGORY_TEXTS) <= set(emoji_subcategories())
    for make, number in (
        (prompts.one_word, 1),
        (prompts.seven_words, 1),
        (prompts.ensemble, 28),
        (prompts.label_names, 1),
    ):
        texts = make()
        assert [len(each) for each in texts] == [number] * 9
        for text in (t for each in texts for t in each):
            assert words_in(sentence(text)) == words_of(text)
    for texts in prompts.ensemble():
        assert len({tuple(sentence(t).tolist()) for t in texts}) == 28
    for text in prompts.SUBCATEGORY_TEXTS.values():
        assert words_in(sentence(text)) == text.split()


def test_subcategory_texts_are_those_with_enough_emoji():
    known = emoji_subcategories()
    numbers = {
        split: [
            len(data.info["emoji"][data.info["subcategory"] == k].unique())
            for data in [load("emoji", split)]
            for k in range(len(known))
        ]
        for split in ("train", "test")
    }
    enough = {
        name
        for name, train, test in zip(known, numbers["train"], numbers["test"])
        if train >= 4 and test >= 2
    }
    assert set(prompts.SUBCATEGORY_TEXTS) == enough


def test_words_of_a_category_are_no_words_of_its_label():
    for name, words in prompts.CATEGORY_WORDS.items():
        assert not set(words_of(name)) & set(words.split())


# --- the settings ---


@pytest.mark.parametrize("tau", [1.0, 0.07])
def test_learned_and_fixed_start_at_their_temperature(tau):
    learned, fixed = experiments.learned(tau), experiments.fixed(tau)
    for method in (learned, fixed):
        assert method.log_scale.item() == pytest.approx(-math.log(tau), abs=1e-6)
    assert learned.log_scale.requires_grad and not fixed.log_scale.requires_grad
    assert all(p.requires_grad for p in learned.parameters())
    assert sum(not p.requires_grad for p in fixed.parameters()) == 1


@pytest.mark.parametrize("given", [0.0, 0.5, 1.0])
def test_with_labels_draws_the_words_of_labels_in_a_share_of_captions(given):
    row = descriptions(few_emoji(step=600))[:1]
    torch.manual_seed(0)
    found = experiments.with_labels(given).draw(row.expand(4000, 34))
    label = row[0, LABELS][row[0, LABELS] > 0]
    last = torch.tensor([words_in(r)[-len(label) :] == words_in(label) for r in found])
    if given in (0, 1):
        assert last.all() if given else not last.any()
    else:
        within(last, given)


def test_leaves_out_ignores_captions_that_are_true_of_a_picture():
    method, data = tiny(experiments.LeavesOut, temperature=0.3), few_emoji(step=50)
    data = described(data)[:14]
    texts = torch.zeros(14, WORDS, dtype=torch.long)
    texts[:, 0] = data.y[:, 1]  # the first word of the name
    texts[3], texts[5] = texts[2], texts[4]
    method.draw = lambda y: texts
    method.augment = lambda x: x + torch.arange(len(x))[:, None, None, None] / 20
    x = method.augment(as_float(data.x))
    image, text = images_of(method, x), texts_of(method, texts)
    true, total, left = [{*row} - {0} for row in data.y.tolist()], 0.0, 0
    words = [{*row} - {0} for row in texts.tolist()]
    n = len(data)
    for i in range(n):
        kept = [j for j in range(n) if j == i or not words[j] <= true[i]]
        scores = [dot(image[i], text[j]) / 0.3 for j in kept]
        total += surprise(scores, kept.index(i)) / (2 * n)
        left += n - len(kept)
        kept = [j for j in range(n) if j == i or not words[i] <= true[j]]
        scores = [dot(text[i], image[j]) / 0.3 for j in kept]
        total += surprise(scores, kept.index(i)) / (2 * n)
    assert left > 1
    found = method.loss(as_float(data.x), data.y)
    assert found.item() == pytest.approx(total, rel=1e-5)
    assert type(experiments.leaves_out()) is experiments.LeavesOut


def test_settings_are_those_of_their_names():
    ours = experiments.EXPERIMENTS
    zero_shot = ours["clip-zero-shot"]
    assert list(zero_shot)[1:] == list(experiments.COMPARED)
    for name in experiments.COMPARED:
        assert zero_shot[name].recipe == lookup(name)
    for title, setting in ours["clip-temperature"].items():
        scale = setting.recipe.build().log_scale
        assert scale.item() == pytest.approx(
            -math.log(float(title.split()[-1])), abs=1e-6
        )
        assert scale.requires_grad == title.startswith("learned")
    for title, setting in ours["clip-batch-size"].items():
        size, kind = setting.recipe.cpu, setting.recipe.build
        assert size.batch_size == int(title.split()[-1])
        # equal numbers of pictures
        base = experiments.BASE.cpu
        assert size.steps * size.batch_size == base.steps * base.batch_size
        assert kind().__class__ is (SigLIP if "sigmoid" in title else CLIP)
        assert kind in (clip, siglip) or kind.func in (clip, siglip)
    kinds = [s.recipe.build() for s in ours["clip-true-captions"].values()]
    assert [type(kind) for kind in kinds] == [CLIP, experiments.LeavesOut]
    sizes = {s.recipe.cpu for s in ours["clip-true-captions"].values()}
    ((steps, n),) = {(size.steps, size.batch_size) for size in sizes}
    assert steps * n == base.steps * base.batch_size
    for title, setting in ours["clip-label-words"].items():
        assert setting.recipe.build().draw.keywords == {"label": float(title)}


def test_settings_of_other_pictures_are_those_of_their_names():
    ours, data = robust.EXPERIMENTS, few_emoji(step=40)
    assert len(ours["clip-styles"]) == 6
    for title, setting in ours["clip-styles"].items():
        kind, style = title.split(", without ")
        prepared = setting.recipe.prepare_data(data)
        assert STYLES.index(style) not in prepared.info["style"].tolist()
        assert len(prepared.info["style"].unique()) == 2
        assert (prepared.y.ndim == 2) == (kind == "CLIP")
        assert setting.recipe.build is {"CLIP": clip, "supervised": supervised}[kind]
    for title, setting in ours["clip-typography"].items():
        prepared = setting.recipe.prepare_data(data)
        expected = robust.painted_captions(data, float(title))
        assert torch.equal(prepared.x, expected.x)
        assert prepared.y.shape == (len(data), 34)
    for title, setting in ours["clip-order"].items():
        method = setting.recipe.build()
        assert setting.recipe.prepare_data.keywords == {"make": side_by_side}
        assert setting.job.keywords == {"make": side_by_side, "altered": swapped}
        assert isinstance(method, HardNegatives) == ("swapped" in title)
        assert "swapped" not in title or method.altered is swapped
        bag = isinstance(method.text_encoder, BagOfWords)
        assert bag == (title == "bag of words")


def test_settings_of_counting_are_those_of_their_names():
    for title, setting in counting_experiments.EXPERIMENTS["clip-numbers"].items():
        train, test = setting.recipe.prepare_data.keywords["make"], setting.job.keywords
        assert train.func is test["make"].func is counted
        assert test["altered"] is other_numbers
        said = train.keywords.get("said", 1.0)
        assert said == (0.05 if "5 %" in title else 1.0)
        assert "said" not in test["make"].keywords
        kinds = {
            make.keywords.get("objects", few_objects) for make in (train, test["make"])
        }
        assert kinds == {many_objects if "all objects" in title else few_objects}
        method = setting.recipe.build()
        assert isinstance(method, HardNegatives) == ("hard negatives" in title)
        if "hard negatives" in title:
            assert method.altered is other_numbers


def test_composed_replaces_the_data():
    calls = []
    made = robust.composed(None, lambda n, seed: calls.append((n, seed)) or "made")
    assert made == "made" and calls == [(20_000, 0)]


def test_everything_measures_what_the_method_has(monkeypatch):
    for name in ("zero_shot_measures", "gap_measures", "shot_measures"):
        monkeypatch.setattr(experiments, name, lambda method, name=name: {name: 1})
    monkeypatch.setattr(experiments, "measures", lambda method, data: {data: 1})
    recipe = SimpleNamespace(data="scenes")
    clips = experiments.everything(tiny(), recipe)
    words = experiments.everything(tiny_predictor(), recipe)
    assert set(clips) - set(words) == {"gap_measures"}
    assert set(words) == {"scenes", "zero_shot_measures", "shot_measures"}


def test_tiny_networks_do_not_change_by_measuring(scenes):
    method = tiny().train()
    before = state_of(method)
    measures.zero_shot_measures(method)
    measures.gap_measures(method)
    assert same(before, state_of(method)) and method.training
