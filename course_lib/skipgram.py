"""Skip-gram with negative sampling (word2vec): learns a vector for each word that
predicts which words occur near it.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and
Phrases and their Compositionality", arXiv 1310.4546, equation 4. No labels are needed:
the neighbours of a word in the text are its targets.
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
    """Returns the mean over N of -log sigmoid(s_i) - sum_k log sigmoid(-s_ik), which is
    minus the objective of equation 4.

    scores_positive (N,): u_c . v_w of each word w and its context c. scores_negative
    (N, K): u_n . v_w of the same word and K randomly drawn words n. Each score is the
    logit of a binary classification: do the two words occur together? Returns a 0-d
    loss in nats; it is (1 + K) log 2 if all scores are 0.
    """
    return -(
        F.logsigmoid(scores_positive) + F.logsigmoid(-scores_negative).sum(1)
    ).mean()


class SkipGram(Method):
    """Learns two vectors for each of V words: v as the centre word, which is its
    embedding, and u as the context of another word.

    counts: int (V,), how often each word is a context, for example
    pairs.y.bincount(minlength=V). For each pair, `negatives` noise words are drawn with
    probability proportional to counts^power. A noise word may be the context itself;
    the authors' code would draw again. At the optimum, with dim >= V,
    u_c . v_w = log( #(w, c) / (negatives #(w) P_noise(c)) ).
    For power = 1 this is the pointwise mutual information minus log(negatives) (Levy &
    Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization", equation
    7). `loss` expects pairs of words, as from data.skip_gram_pairs(). Raises ValueError
    for counts below 0 or all 0, dim or negatives below 1, power below 0.
    """

    @expects(counts="int V")
    def __init__(
        self, counts: Tensor, dim: int = 32, negatives: int = 5, power: float = 0.75
    ):
        super().__init__()
        if counts.min() < 0 or counts.max() == 0:
            raise ValueError(
                "argument `counts`: expected counts of 0 or more, not all 0, got "
                f"{counts.tolist()}"
            )
        self.negatives = count("negatives", negatives)
        size = (len(counts), count("dim", dim))
        # (V, dim), initial values as in word2vec.c
        self.centre = nn.Embedding(*size, _weight=(torch.rand(size) - 0.5) / dim)
        self.context = nn.Embedding(*size, _weight=torch.zeros(size))
        noise = counts.float() ** number("power", power, 0)
        self.register_buffer("noise", noise / noise.sum())  # (V,)

    @expects(x="int N", y="int N")
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the loss of words x (N,) and one context word of each, y (N,)."""
        draws = len(x) * self.negatives
        drawn = torch.multinomial(self.noise, draws, replacement=True)
        drawn = drawn.view(len(x), -1)  # (N, K)
        v = self.centre(x)
        positive = (v * self.context(y)).sum(1)
        negative = torch.einsum("nd,nkd->nk", v, self.context(drawn))
        return negative_sampling(positive, negative)

    @expects(x="float N V")
    def encode(self, x: Tensor) -> Tensor:
        """Returns the mean vector of the words, (N, dim), of bags of words x (N, V).

        A one-hot row gives the vector of its word; a row without words gives 0. Raises
        ValueError if x does not have V columns.
        """
        if x.shape[1] != len(self.noise):
            raise ValueError(
                f"argument `x`: expected {len(self.noise)} columns, one for each "
                "word, got "
                f"{x.shape[1]}"
            )
        return F.normalize(x, p=1, dim=1) @ self.centre.weight
