"""Predicting the words: a classifier with one class for each word of the captions. CLIP
is compared with it in figure 2 of its paper.

Joulin et al. 2015, "Learning Visual Features from Large Weakly Supervised Data", arXiv
1511.02251, equation 2 (the multi-class logistic loss).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(logits="float N V", tokens="int N L")
@full_precision
def word_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Returns the mean over captions of the mean over their words w of
    -log softmax(logits)_w, a 0-d loss in nats.

    logits (N, V): one score for each word of the vocabulary. tokens (N, L): the words
    of the captions; 0 is padding. A caption without words counts 0.
    """
    is_word = tokens > 0
    log_p = logits.log_softmax(1).gather(1, tokens.long())  # (N, L)
    of_caption = (log_p * is_word).sum(1) / is_word.sum(1).clamp(min=1)
    return -of_caption.mean()


class WordPrediction(Method):
    """Trains an encoder to predict which words are in the caption of a picture.

    encoder: images (N, C, H, W) -> h (N, D), the representation. classifier: h -> one
    score for each of V tokens. augment and draw: as for CLIP.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        augment: Callable[[Tensor], Tensor],
        draw: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier
        self.augment, self.draw = augment, draw

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return word_loss(self.classifier(self.encoder(self.augment(x))), self.draw(y))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    @torch.no_grad()
    def compare(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Returns how well each of the captions (T, L) fits each picture, by its
        features h (N, D): the mean of log p(word) over the words, (N, T)."""
        log_p = self.classifier(h).log_softmax(1)  # (N, V)
        is_word = (tokens > 0).float()
        bags = torch.zeros(len(tokens), log_p.shape[1], device=log_p.device)
        bags.scatter_add_(1, tokens.long(), is_word)
        return log_p @ (bags / is_word.sum(1, keepdim=True).clamp(min=1)).T
