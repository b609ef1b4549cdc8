"""Skip-gram with negative sampling (word2vec): a word's vector is what tells which
words stand near it.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and
Phrases and their Compositionality", arXiv 1310.4546, equation 4. The label, a word's
neighbour, comes with the text.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import count, expects, number
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(scores_positive="float N", scores_negative="float N K")
@full_precision
def negative_sampling(scores_positive: Tensor, scores_negative: Tensor) -> Tensor:
    """Mean over N of -log sigmoid(s_i) - sum_k log sigmoid(-s_ik): equation 4, with the
    sign of a loss.

    scores_positive (N,): u_c . v_w of each word w and its context c; scores_negative
    (N, K): u_n . v_w of the same word and K words n drawn at random. One binary
    question each: did these two stand together? Returns a 0-d loss in nats, (1 + K) log
    2 where all scores are 0.
    """
    return -(
        F.logsigmoid(scores_positive) + F.logsigmoid(-scores_negative).sum(1)
    ).mean()


class SkipGram(Method):
    """Two vectors for each of V words: v as centre, the embedding that is kept, and u
    as context of another word.

    counts: int (V,), how often each word is a context, e.g.
    pairs.y.bincount(minlength=V); `negatives` noise words are drawn for each pair with
    probability proportional to counts^power, and may hit the context itself (the
    authors' code would draw again). At the optimum, with dim >= V, u_c . v_w = log(
    #(w, c) / (negatives #(w) P_noise(c)) ): for power = 1 the pointwise mutual
    information less log(negatives) (Levy & Goldberg 2014, "Neural Word Embedding as
    Implicit Matrix Factorization", equation 7). `loss` wants pairs of words, as from
    data.skip_gram_pairs(). Raises ValueError for counts below 0 or all 0, dim or
    negatives below 1, power below 0.
    """

    @expects(counts="int V")
    def __init__(
        self, counts: Tensor, dim: int = 32, negatives: int = 5, power: float = 0.75
    ):
        super().__init__()
        if counts.min() < 0 or counts.max() == 0:
            raise ValueError(
                "argument `counts`: expected 0 or more, not all 0, got "
                f"{counts.tolist()}"
            )
        self.negatives, size = (
            count("negatives", negatives),
            (len(counts), count("dim", dim)),
        )
        # (V, dim), as word2vec.c starts
        self.centre = nn.Embedding(*size, _weight=(torch.rand(size) - 0.5) / dim)
        self.context = nn.Embedding(*size, _weight=torch.zeros(size))
        noise = counts.float() ** number("power", power, 0)
        self.register_buffer("noise", noise / noise.sum())  # (V,)

    @expects(x="int N", y="int N")
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """x (N,): words; y (N,): a context of each."""
        # (N, K)
        drawn = torch.multinomial(
            self.noise, len(x) * self.negatives, replacement=True
        ).view(len(x), -1)
        v = self.centre(x)
        positive = (v * self.context(y)).sum(1)
        return negative_sampling(
            positive, torch.einsum("nd,nkd->nk", v, self.context(drawn))
        )

    @expects(x="float N V")
    def encode(self, x: Tensor) -> Tensor:
        """The mean of the words' vectors, (N, dim), of bags of words (N, V); of a
        one-hot row the word's own vector.

        A row without words is 0. Raises ValueError where x has another number of
        columns than there are words.
        """
        if x.shape[1] != len(self.noise):
            raise ValueError(
                f"argument `x`: expected {len(self.noise)} columns, one a word, got "
                f"{x.shape[1]}"
            )
        return F.normalize(x, p=1, dim=1) @ self.centre.weight
