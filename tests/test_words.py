"""The words of the emoji, and skip-gram with negative sampling on them.

The oracles are plain Python loops over the paper's formula, and the optimum derived by
Levy & Goldberg (2014).
"""

import importlib.util
import io
import json
import math
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.data import (
    Dataset,
    bags_of_words,
    emoji_names,
    emoji_subcategories,
    load,
    skip_gram_pairs,
    vocabulary,
    word_lists,
)
from course_lib.data.emoji import SPLITS
from course_lib.data.files import read
from course_lib.evaluate import features
from course_lib.optim import adamw
from course_lib.skipgram import SkipGram, negative_sampling
from course_lib.train import fit

TOOL = Path(__file__).parents[1] / "tools" / "build_data.py"


@pytest.fixture(scope="module")
def build_data():
    spec = importlib.util.spec_from_file_location("build_data_words", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs():
    return skip_gram_pairs()


def sentence(name: str, names_only: bool = False) -> list[str]:
    return [
        vocabulary()[w]
        for w in word_lists(names_only)[emoji_names().index(name)].tolist()
    ]


# --- the data ---


def test_word_lists_of_known_emoji_hold_name_words_and_keywords():
    assert sentence("octopus") == ["octopus", "creature", "ocean", "sea", "beach"]
    assert sentence("squid") == ["squid", "ocean", "sea"]
    assert sentence("squid", names_only=True) == ["squid"]
    assert (
        sentence("woman cook")[:2]
        == sentence("woman cook", names_only=True)
        == ["woman", "cook"]
    )
    assert sentence("côte d’ivoire flag", names_only=True) == ["cote", "ivoire", "flag"]
    assert sentence("keycap 1", names_only=True) == ["keycap"]
    assert sentence("thinking face", names_only=True) == ["thinking", "face"]


def test_word_lists_begin_with_all_words_of_the_name():
    """Naively: letters and digits by str.isalnum, for the names that are plain
    ASCII."""
    dropped = "a an and as at by do for from in is it its me my of on or than the then to with without".split()
    lists, own, checked = word_lists(), word_lists(names_only=True), 0
    assert len(lists) == len(own) == len(emoji_names()) == 1906
    for name, words, first in zip(emoji_names(), lists, own, strict=True):
        assert (
            len(first) >= 1
            and torch.equal(words[: len(first)], first)
            and len(words.unique()) == len(words)
        )
        if name.isascii():
            plain = "".join(c if c.isalnum() else " " for c in name).split()
            plain = [
                w
                for w in dict.fromkeys(plain)
                if w.isalpha() and len(w) > 1 and w not in dropped
            ]
            assert [vocabulary()[w] for w in first.tolist()] == plain
            checked += 1
    assert checked > 1890
    assert sum(map(len, lists)) > 2 * sum(map(len, own))


def test_vocabulary_is_sorted_lowercase_and_without_rare_keywords():
    words, lists, own = vocabulary(), word_lists(), word_lists(names_only=True)
    assert list(words) == sorted(set(words)) and 2000 < len(words) < 3000
    assert all(
        w.isascii() and w.isalpha() and w.islower() and len(w) > 1 for w in words
    )
    uses, named = Counter(torch.cat(lists).tolist()), set(torch.cat(own).tolist())
    assert set(uses) == set(range(len(words)))
    for w, word in enumerate(words):
        assert w in named or (uses[w] > 1 and len(word) > 2)


def test_word_lists_have_no_keyword_that_is_a_word_of_a_label():
    labels = set()
    for label in (*load("emoji").classes, *emoji_subcategories()):
        labels |= set(label.lower().replace("-", " ").replace("&", " ").split())
    assert {"animal", "food", "flag", "smileys", "av", "zodiac"} <= labels
    for words, first in zip(word_lists(), word_lists(names_only=True), strict=True):
        for w in words[len(first) :].tolist():
            word = vocabulary()[w]
            assert not {word, word + "s", word.removesuffix("s")} & labels


def test_bags_of_words_equal_a_loop():
    for names_only in (False, True):
        bags = bags_of_words(names_only)
        assert bags.shape == (1906, len(vocabulary())) and bags.dtype == torch.float32
        for row, words in zip(
            bags[::50].tolist(), word_lists(names_only)[::50], strict=True
        ):
            assert [i for i, value in enumerate(row) if value == 1.0] == sorted(
                words.tolist()
            )
            assert sum(row) == len(words)


def test_skip_gram_pairs_are_all_ordered_pairs_of_an_emoji(pairs):
    expected = Counter()
    for e, words in enumerate(word_lists()):
        for i, w in enumerate(words.tolist()):
            for j, c in enumerate(words.tolist()):
                if i != j:
                    expected[w, c, e] += 1
    assert (
        Counter(
            zip(
                pairs.x.tolist(),
                pairs.y.tolist(),
                pairs.info["emoji"].tolist(),
                strict=True,
            )
        )
        == expected
    )
    assert max(expected.values()) == 1 and pairs.classes == vocabulary()
    assert (
        pairs.x.dtype == pairs.y.dtype == torch.int64 and pairs.x.shape == pairs.y.shape
    )
    assert torch.equal(pairs.x.bincount(), pairs.y.bincount())  # symmetric


def test_word_data_is_returned_as_copies(pairs):
    word_lists()[5].zero_()
    bags_of_words().zero_()
    skip_gram_pairs().x.zero_()
    assert (
        word_lists()[5].any()
        and bags_of_words().any()
        and torch.equal(skip_gram_pairs().x, pairs.x)
    )


# --- the builder ---


def test_words_of_splits_text_into_lowercase_ascii_words(build_data):
    assert build_data.words_of("Grinning_Face: grinning FACE!") == ["grinning", "face"]
    assert build_data.words_of("woman’s and man's T-Shirt") == ["woman", "man", "shirt"]
    assert build_data.words_of("São Tomé 1st 100 é :D o’clock") == [
        "sao",
        "tome",
        "clock",
    ]
    assert build_data.words_of("1 :) 时") == []


def test_label_words_are_words_with_singular_and_plural(build_data):
    assert build_data.label_words(["Animals & Nature", "cat-face"]) == {
        "animals",
        "animalss",
        "animal",
        "nature",
        "natures",
        "cat",
        "cats",
        "face",
        "faces",
    }


def test_build_word_lists_keeps_shared_keywords_that_are_no_label_words(build_data):
    names = ["cat face", "dog", "lion"]
    keywords = [
        # pets: on one emoji; dog: one other's name
        ["cat_face", "pet", "pets", "dog", "uber", "feline"],
        ["animals", "Pet", "best friend", "ja", "uber"],
        ["feline", "face", "dog", "ja", "lion"],
    ]
    lists = build_data.word_lists(
        names, keywords, {"animal", "animals", "face", "faces"}
    )
    assert lists == [
        (["cat", "face"], ["pet", "dog", "feline"]),
        (["dog"], ["pet"]),
        (["lion"], ["feline", "dog"]),
    ]


def test_build_words_matches_emoji_with_and_without_variation_selector(
    build_data, tmp_path
):
    emoji = read("emoji.npz")
    said = {}
    for k, code in enumerate(emoji["codes"].tolist()):
        text = "".join(chr(int(c, 16)) for c in code.split("-") if c != "FE0F" or k % 2)
        said[text] = ["zebu", "yak" if k in (3, 900, 1905) else "food", f"only {k}"]
    package = tmp_path / "emojilib.tgz"
    with tarfile.open(package, "w:gz") as tar:
        content = json.dumps(said).encode()
        info = tarfile.TarInfo("package/dist/emoji-en-US.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    built, shipped = build_data.build_words({"keywords": package}), read("words.npz")
    assert {k: a.dtype.kind for k, a in built.items()} == {
        k: a.dtype.kind for k, a in shipped.items()
    }
    assert (built["named"] == shipped["named"]).all()
    for k in range(1906):
        words = built["words"][
            built["ids"][built["offsets"][k] : built["offsets"][k + 1]]
        ].tolist()
        more = ["zebu"] + ["yak"] * (k in (3, 900, 1905)) + ["only"]
        assert words == sentence_of(shipped, k)[: shipped["named"][k]] + [
            w for w in more if w != "food"
        ]
    assert build_data.FILES["words.npz"][0] is build_data.build_words


def sentence_of(arrays: dict[str, np.ndarray], k: int) -> list[str]:
    return [
        str(arrays["words"][i])
        for i in arrays["ids"][arrays["offsets"][k] : arrays["offsets"][k + 1]]
    ]


# --- the loss ---


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s))


def naive_negative_sampling(
    positive: list[float], negative: list[list[float]]
) -> float:
    total = 0.0
    for s, others in zip(positive, negative, strict=True):
        total -= math.log(sigmoid(s))
        for other in others:
            total -= math.log(sigmoid(-other))
    return total / len(positive)


@pytest.mark.parametrize("n, k", [(1, 1), (4, 3), (7, 15)])
def test_negative_sampling_equals_the_papers_sum(n, k):
    generator = torch.Generator().manual_seed(n)
    positive, negative = (
        3 * torch.randn(n, generator=generator),
        3 * torch.randn(n, k, generator=generator),
    )
    expected = naive_negative_sampling(positive.tolist(), negative.tolist())
    assert negative_sampling(positive, negative).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_negative_sampling_of_zero_and_of_large_scores_has_its_closed_form():
    assert negative_sampling(torch.zeros(6), torch.zeros(6, 5)).item() == pytest.approx(
        6 * math.log(2)
    )
    assert (
        negative_sampling(torch.full((3,), 200.0), torch.full((3, 2), -200.0)).item()
        == 0
    )
    assert negative_sampling(
        torch.full((3,), -200.0), torch.full((3, 2), 200.0)
    ).item() == pytest.approx(600)


def test_negative_sampling_gradient_equals_finite_differences():
    scores = (
        torch.randn(3, dtype=torch.float64),
        torch.randn(3, 4, dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(
        negative_sampling, tuple(s.requires_grad_() for s in scores)
    )


def test_negative_sampling_computes_bfloat16_in_float32():
    positive, negative = torch.randn(9), torch.randn(9, 5)
    half = negative_sampling(positive.bfloat16(), negative.bfloat16())
    assert half.dtype == torch.float32
    expected = naive_negative_sampling(
        positive.bfloat16().tolist(), negative.bfloat16().tolist()
    )
    assert half.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "positive, negative",
    [
        (torch.zeros(3), torch.zeros(4, 2)),
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(3, 1), torch.zeros(3, 2)),
        (torch.zeros(3).long(), torch.zeros(3, 2)),
    ],
)
def test_negative_sampling_names_the_bad_argument(positive, negative):
    with pytest.raises(ValueError, match="negative_sampling: argument `scores_"):
        negative_sampling(positive, negative)


# --- the method ---


def model(counts, dim=3, seed=0, **options) -> SkipGram:
    """With random context vectors, which start at 0 otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = SkipGram(torch.tensor(counts), dim, **options)
        torch.nn.init.normal_(method.centre.weight)
        torch.nn.init.normal_(method.context.weight)
    return method


def test_skip_gram_loss_is_negative_sampling_of_pairs_and_drawn_words():
    """Where only one word can be drawn, nothing is random."""
    method = model([0, 0, 0, 7], negatives=2)
    v, u = method.centre.weight.tolist(), method.context.weight.tolist()
    dot = lambda a, b: sum(s * t for s, t in zip(a, b, strict=True))  # noqa: E731
    x, y = [0, 1, 1, 3, 2], [1, 0, 2, 2, 3]
    positive = [dot(v[w], u[c]) for w, c in zip(x, y, strict=True)]
    expected = naive_negative_sampling(positive, [[dot(v[w], u[3])] * 2 for w in x])
    assert method.loss(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_skip_gram_draws_negatives_by_count_to_the_power(power):
    counts, n = [1, 16, 81, 256, 0], 40_000
    method = model(counts, negatives=3, power=power)
    total = sum(c**power for c in counts)
    weights = [c**power / total for c in counts]
    assert method.noise.tolist() == pytest.approx(weights, rel=1e-5)
    v, u = method.centre.weight[2].tolist(), method.context.weight.tolist()
    scores = [sum(a * b for a, b in zip(v, row, strict=True)) for row in u]
    costs = [-math.log(sigmoid(-s)) for s in scores]
    expected = -math.log(sigmoid(scores[1])) + 3 * sum(
        w * cost for w, cost in zip(weights, costs, strict=True)
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loss = method.loss(torch.full((n,), 2), torch.full((n,), 1)).item()
    spread = math.sqrt(
        3 * sum(w * cost**2 for w, cost in zip(weights, costs, strict=True)) / n
    )
    assert loss == pytest.approx(expected, abs=5 * spread)


def test_skip_gram_gradient_reaches_the_words_of_the_batch_only():
    method = model([0, 0, 3, 0, 0, 0], negatives=2)
    method.loss(torch.tensor([0, 1]), torch.tensor([3, 4])).backward()
    assert (method.centre.weight.grad != 0).any(1).tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert (method.context.weight.grad != 0).any(1).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]
    assert not method.noise.requires_grad and len(list(method.parameters())) == 2


def test_skip_gram_loss_before_training_is_that_of_zero_scores():
    method = SkipGram(torch.ones(9, dtype=torch.long), dim=4, negatives=7)
    assert method.loss(torch.arange(9), torch.arange(9)).item() == pytest.approx(
        8 * math.log(2)
    )
    assert (
        method.centre.weight.abs().max() <= 0.5 / 4
        and method.centre.weight.std() > 0.05
    )


def tiny_corpus() -> tuple[Dataset, list[list[int]]]:
    """5,490 pairs of five words, rare and frequent, all of them seen together, in a
    symmetric table of counts."""
    table = [
        [60, 120, 30, 100, 200],
        [120, 50, 150, 90, 160],
        [30, 150, 80, 200, 300],
        [100, 90, 200, 300, 400],
        [200, 160, 300, 400, 1500],
    ]
    x = [w for w in range(5) for c in range(5) for _ in range(table[w][c])]
    y = [c for w in range(5) for c in range(5) for _ in range(table[w][c])]
    return Dataset(torch.tensor(x), torch.tensor(y), ("v", "w", "x", "y", "z")), table


@pytest.mark.parametrize("power, negatives", [(1.0, 1), (1.0, 3), (0.75, 2)])
def test_skip_gram_training_reaches_the_pointwise_mutual_information(power, negatives):
    data, table = tiny_corpus()
    rows = [sum(row) for row in table]
    total, weights = sum(rows), [r**power for r in rows]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = SkipGram(data.y.bincount(), dim=6, negatives=negatives, power=power)
    for _step in fit(
        method,
        data,
        300,
        batch_size=len(data),
        optimizers=adamw(0.1, weight_decay=0.0),
        device="cpu",
    ):
        pass
    scores = (method.centre.weight @ method.context.weight.T).tolist()
    for w in range(5):
        for c in range(5):
            if power == 1:
                optimum = math.log(
                    table[w][c] * total / (rows[w] * rows[c])
                ) - math.log(negatives)
            else:
                optimum = math.log(
                    table[w][c] / (negatives * rows[w] * weights[c] / sum(weights))
                )
            assert scores[w][c] == pytest.approx(optimum, abs=0.1)


def test_skip_gram_encode_is_the_mean_of_the_word_vectors():
    method = model([1, 1, 1, 1])
    v = method.centre.weight
    out = method.encode(
        torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 2, 1, 0]])
    )
    torch.testing.assert_close(
        out, torch.stack([v[1], (v[0] + v[3]) / 2, 0 * v[0], (2 * v[1] + v[2]) / 3])
    )
    with pytest.raises(
        ValueError, match="argument `x`: expected 4 columns, one for each word, got 5"
    ):
        method.encode(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="argument `x`"):
        method.encode(torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            dict(counts=torch.tensor([1.0, 2.0])),
            "argument `counts`: expected a tensor \\(int\\)",
        ),
        (
            dict(counts=torch.tensor([[1, 2]])),
            "argument `counts`: expected a tensor \\(int\\)",
        ),
        (
            dict(counts=torch.tensor([1, -2])),
            "argument `counts`: expected counts of 0 or more, not all 0",
        ),
        (
            dict(counts=torch.tensor([0, 0])),
            "argument `counts`: expected counts of 0 or more, not all 0",
        ),
        (dict(counts=torch.tensor([1, 2]), dim=0), "argument `dim`"),
        (dict(counts=torch.tensor([1, 2]), negatives=0), "argument `negatives`"),
        (dict(counts=torch.tensor([1, 2]), power=-0.5), "argument `power`"),
    ],
)
def test_skip_gram_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        SkipGram(**arguments)


def test_skip_gram_loss_rejects_words_that_are_not_in_pairs():
    method = model([1, 1, 1])
    for x, y in (
        (torch.zeros(2), torch.zeros(2).long()),
        (torch.zeros(2).long(), torch.zeros(3).long()),
    ):
        with pytest.raises(ValueError, match="argument `"):
            method.loss(x, y)


# --- what it learns ---


def trained(pairs: Dataset, steps: int, seed: int) -> tuple[SkipGram, list[float]]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = SkipGram(pairs.y.bincount(minlength=len(vocabulary())))
    steps = fit(
        method,
        pairs,
        steps,
        batch_size=1024,
        optimizers=adamw(1e-2),
        seed=seed,
        device="cpu",
    )
    return method, [step.loss for step in steps]


def test_skip_gram_training_is_repeatable_by_seed(pairs):
    assert (
        trained(pairs, 4, seed=3)[1]
        == trained(pairs, 4, seed=3)[1]
        != trained(pairs, 4, seed=4)[1]
    )


def test_skip_gram_vectors_relate_emoji_that_share_no_word(pairs):
    """One-hot vectors cannot: they are all equally far from each other. Chance is 1 in
    80, and 1 in 100."""
    subcategory = torch.full((1906,), -1)
    for split in SPLITS:
        data = load("emoji", split)
        subcategory[data.info["emoji"]] = data.info["subcategory"]
    method, losses = trained(pairs, 400, seed=0)
    assert (
        losses[0] == pytest.approx(6 * math.log(2), abs=0.01)
        and sum(losses[-20:]) / 20 < 0.4 * losses[0]
    )
    names, every = bags_of_words(names_only=True), bags_of_words()
    h = F.normalize(features(method, names), dim=1)
    for shared, least in ((names @ names.T, 0.25), (every @ every.T, 0.06)):
        nearest = (h @ h.T).masked_fill(shared > 0, -2).argmax(1)
        others = (shared == 0) & (subcategory[:, None] == subcategory)
        asked = others.any(1)
        assert asked.sum() > 1400
        assert (others.sum(1) / (shared == 0).sum(1))[asked].mean() < 0.0125
        assert (subcategory[nearest] == subcategory)[asked].float().mean() > least
