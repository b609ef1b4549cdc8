"""What the experiments of notebook 06 measure on emoji that were in no training
picture."""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import evaluate
from course_lib.data import Dataset, emoji_subcategories, labelled_subset, load
from course_lib.data.captions import LABELS, described, leftmost, sentence
from course_lib.multimodal.clip import CLIP, clip_loss
from course_lib.multimodal.prompts import (
    SUBCATEGORY_TEXTS,
    ensemble,
    label_names,
    one_word,
    seven_words,
)
from course_lib.multimodal.zero_shot import (
    class_embeddings,
    first_ranks,
    modality_gap,
    recall_at,
)
from course_lib.train import Method

SHOTS = (1, 2, 4, 8, 16, 32)


@functools.cache
def held_out() -> Dataset:
    """Returns the test scenes with their descriptions as y."""
    return described(load("scenes", "test"))


@functools.cache
def emoji_texts() -> tuple[Tensor, Tensor]:
    """Returns a caption of each test emoji, int64 (E, WORDS), and for each test scene
    the row of its caption, int64 (N,). A caption has the known words of the name and of
    the keywords; it may be empty."""
    data = held_out()
    ids, row = data.info["emoji"].unique(return_inverse=True)
    first = (row == torch.arange(len(ids))[:, None]).int().argmax(1)
    words = data.y[first].clone()
    words[:, 0], words[:, LABELS] = 0, 0
    return leftmost(words), row


def class_scores(method: Method, h: Tensor, prompts: Sequence[Sequence[str]]) -> Tensor:
    """Returns the score of each class for features h, (N, C): for CLIP the cosine with
    the vector of the class, for other methods the mean score of its texts."""
    if isinstance(method, CLIP):
        with torch.no_grad():
            image = F.normalize(method.projector(h), dim=1)
        return image @ class_embeddings(method, prompts).T
    of_classes = (torch.stack([sentence(t) for t in texts]) for texts in prompts)
    return torch.stack([method.compare(h, rows).mean(1) for rows in of_classes], 1)


def zero_shot(method: Method, h: Tensor, prompts: Sequence[Sequence[str]]) -> float:
    """Returns the zero-shot accuracy for the nine categories, of features h of the test
    scenes."""
    scores = class_scores(method, h, prompts)
    return evaluate.accuracy(scores, held_out().info["category"][: len(h)])


def subcategory_accuracy(method: Method, h: Tensor) -> float:
    """Returns the zero-shot accuracy among the subcategories of SUBCATEGORY_TEXTS, on
    the test scenes of these subcategories."""
    names = list(SUBCATEGORY_TEXTS)
    number = torch.tensor(
        [names.index(s) if s in names else -1 for s in emoji_subcategories()]
    )
    y = number[held_out().info["subcategory"]]
    texts = [[text] for text in SUBCATEGORY_TEXTS.values()]
    return evaluate.accuracy(class_scores(method, h[y >= 0], texts), y[y >= 0])


def name_ranks(method: Method, h: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the ranks of two searches with features h of the test scenes.

    The first: of each scene's own caption among the captions of all test emoji. The
    second: of the first own scene of each caption, among all scenes. Emoji without a
    known word are left out.
    """
    texts, row = emoji_texts()
    row = row[: len(h)]
    known = (texts > 0).any(1)
    scores, relevant = (
        method.compare(h, texts),
        row[:, None] == torch.arange(len(texts)),
    )
    scores, relevant = scores[:, known], relevant[:, known]
    has_text, has_scene = relevant.any(1), relevant.any(0)
    return (
        first_ranks(scores[has_text], relevant[has_text]),
        first_ranks(scores.T[has_scene], relevant.T[has_scene]),
    )


def zero_shot_measures(method: Method) -> dict:
    """Returns all zero-shot measures of a method with `compare`, on the test scenes.

    Accuracy for the nine categories: with one word for each, with seven words in one
    text, with an ensemble of 28 texts (zero_shot), with the names of the labels. sub:
    among the subcategories. name_1, name_10, name_rank: the caption of a scene's emoji,
    among those of all test emoji. picture_10, picture_rank: a scene for a caption,
    among all test scenes.
    """
    h = evaluate.features(method, held_out().x)
    to_name, to_picture = name_ranks(method, h)
    return {
        "one_word": zero_shot(method, h, one_word()),
        "seven_words": zero_shot(method, h, seven_words()),
        "zero_shot": zero_shot(method, h, ensemble()),
        "label_names": zero_shot(method, h, label_names()),
        "sub": subcategory_accuracy(method, h),
        "name_1": recall_at(to_name, 1),
        "name_10": recall_at(to_name, 10),
        "name_rank": to_name.median().item(),
        "picture_10": recall_at(to_picture, 10),
        "picture_rank": to_picture.median().item(),
    }


def pairs(method: CLIP) -> tuple[Tensor, Tensor]:
    """Returns the unit vectors of one scene and of the caption of each test emoji that
    has a caption, both (E, d)."""
    texts, row = emoji_texts()
    known = (texts > 0).any(1)
    first = (row == torch.arange(len(texts))[:, None]).int().argmax(1)
    h = evaluate.features(method, held_out().x[first[known]])
    with torch.no_grad():
        image = F.normalize(method.projector(h), dim=1)
        return image, method.text_embedding(texts[known])


def shifted(image: Tensor, text: Tensor, gap: Tensor, share: float) -> list[Tensor]:
    """Returns unit vectors of pictures and texts after both moved towards each other,
    each by half of this share of the gap."""
    moved = image - share / 2 * gap, text + share / 2 * gap
    return [F.normalize(vectors, dim=1) for vectors in moved]


@torch.no_grad()
def gap_measures(method: CLIP) -> dict:
    """Returns the scale 1 / tau, the length of the modality gap, and what happens when
    the gap is closed by a shift: share of the gap -> CLIP's loss of one scene for each
    test emoji, the zero-shot accuracy, and name_10."""
    image, text = pairs(method)
    gap, scale = modality_gap(image, text), method.log_scale.exp()
    h = evaluate.features(method, held_out().x)
    all_images = F.normalize(method.projector(h), dim=1)
    texts, row = emoji_texts()
    known = (texts > 0).any(1)
    relevant = (row[:, None] == torch.arange(len(texts)))[:, known]
    classes, names = (
        class_embeddings(method, ensemble()),
        method.text_embedding(texts[known]),
    )
    has_text, closed = relevant.any(1), {}
    for share in (-0.5, 0.0, 0.5, 1.0, 1.5):
        loss = clip_loss(*shifted(image, text, gap, share), scale).item()
        pictures, moved = shifted(all_images, classes, gap, share)
        accuracy = evaluate.accuracy(pictures @ moved.T, held_out().info["category"])
        pictures, moved = shifted(all_images, names, gap, share)
        ranks = first_ranks((pictures @ moved.T)[has_text], relevant[has_text])
        closed[str(share)] = [loss, accuracy, recall_at(ranks, 10)]
    return {"scale": scale.item(), "gap": gap.norm().item(), "closed": closed}


def shot_measures(method: Method) -> dict:
    """Returns accuracies with k labelled emoji (all their scenes) of each category, of
    the probe on few labels: k -> mean of five draws. And the accuracy of finding a
    scene's emoji from k labelled scenes of each test emoji by the nearest mean."""
    train, test = load("scenes", "train"), held_out()
    h, h_test = evaluate.features(method, train.x), evaluate.features(method, test.x)
    probe = {}
    for k in SHOTS:
        draws = [labelled_subset(train, per_class=k, seed=seed) for seed in range(5)]
        found = evaluate.few_labels(h, train.y, draws, h_test, test.info["category"])
        probe[str(k)] = found.mean().item()
    return {"k_shot": probe, "emoji_shot": emoji_shots(h_test)}


def emoji_shots(h: Tensor) -> dict[str, float]:
    """Returns k -> accuracy of finding the emoji of a test scene by the nearest mean of
    k scenes of each emoji. The other scenes are the queries."""
    _, row = emoji_texts()
    h, found = F.normalize(h, dim=1), {}
    same = row[:, None] == row
    number = same.tril().sum(1)  # 1 for the first scene of its emoji, then 2, ...
    for k in (1, 2, 4):
        shown = number <= k
        means = torch.zeros(int(row.max()) + 1, h.shape[1])
        means.index_add_(0, row[shown], h[shown])
        means = F.normalize(means, dim=1)
        found[str(k)] = evaluate.accuracy(h[number > 4] @ means.T, row[number > 4])
    return found
