"""Zero-shot classification and retrieval: pictures are compared with texts.

Radford et al. 2021, arXiv 2103.00020, section 3.1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import evaluate
from course_lib.checks import count, expects
from course_lib.data.captions import sentence
from course_lib.multimodal.clip import CLIP


@torch.no_grad()
def class_embeddings(method: CLIP, prompts: Sequence[Sequence[str]]) -> Tensor:
    """Returns the weights of a classifier made from texts: unit vectors (C, d).

    prompts: for each of C classes one or more texts. The vector of a class is the mean
    of the unit vectors of its texts, normalised again (section 3.1.4). Raises
    ValueError for a class without text and for unknown words.
    """
    rows = []
    for c, texts in enumerate(prompts):
        if isinstance(texts, str) or not len(texts):
            raise ValueError(
                "argument `prompts`: expected a list of texts for each class, got "
                f"{texts!r} for class {c}"
            )
        tokens = torch.stack([sentence(text) for text in texts])
        rows.append(method.text_embedding(tokens.to(method.log_scale.device)).mean(0))
    return F.normalize(torch.stack(rows), dim=1)


def image_embeddings(method: CLIP, x: Tensor) -> Tensor:
    """Returns the unit vectors (N, d) of pictures x, uint8 or float (N, C, H, W), batch
    by batch in eval mode."""
    h = evaluate.features(method, x)
    with torch.no_grad():
        return method.joint(h)


@expects(scores="float N M", relevant="bool N M")
def first_ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Returns for each query the rank of its first relevant candidate, int64 (N,): 1 is
    the best.

    scores (N, M): of N queries with M candidates. relevant (N, M). An irrelevant
    candidate with an equal score ranks before the relevant one, so constant scores rank
    last. Raises ValueError for a query without a relevant candidate.
    """
    if not relevant.any(1).all():
        raise ValueError(
            "argument `relevant`: expected at least one relevant candidate for each "
            f"query, got none for {int((~relevant.any(1)).sum())} queries"
        )
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    return 1 + (~relevant & (scores >= best)).sum(1)


def recall_at(ranks: Tensor, k: int) -> float:
    """Returns the share of queries whose first relevant candidate is among the best
    k."""
    return (ranks <= count("k", k)).double().mean().item()


@expects(image="float N D", text="float M D")
def modality_gap(image: Tensor, text: Tensor) -> Tensor:
    """Returns the difference between the mean picture and the mean text of two sets of
    unit vectors, (D,) (Liang et al. 2022, arXiv 2203.02053, section 4.2)."""
    return image.mean(0) - text.mean(0)
