"""Text encoders, which encode a caption as one vector: a bag of words and a small
transformer."""

import torch
from torch import Tensor, nn

from course_lib.checks import below, expects
from course_lib.nets.vit import Block


class BagOfWords(nn.Module):
    """Maps tokens (N, L) in 0..words-1 to the mean of the words' vectors, (N, dim), as
    CBOW does (Mikolov et al. 2013, arXiv 1301.3781). Token 0 is padding. The order of
    the words has no influence. An empty caption gives zeros."""

    def __init__(self, words: int, dim: int):
        super().__init__()
        self.dim, self.words = dim, nn.Embedding(words, dim, padding_idx=0)

    @expects(tokens="int N L")
    def forward(self, tokens: Tensor) -> Tensor:
        below("tokens", tokens, self.words.num_embeddings)
        number = (tokens > 0).sum(1, keepdim=True)
        return self.words(tokens).sum(1) / number.clamp(min=1)


class TextTransformer(nn.Module):
    """Maps tokens (N, L) in 0..words-1, with L <= length, to (N, dim). Token 0 is
    padding.

    The output is the mean over the words after the last block, followed by a linear map
    without bias. An empty caption (padding only) therefore always gives zeros. The
    linear map is initialised with zeros, so before training every caption gives zeros.
    """

    def __init__(self, words: int, length: int, dim: int, depth: int, heads: int):
        super().__init__()
        self.words = nn.Embedding(words, dim, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(length, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)

    @expects(tokens="int N L")
    def forward(self, tokens: Tensor) -> Tensor:
        below("tokens", tokens, self.words.num_embeddings)
        is_word, length = tokens > 0, tokens.shape[1]
        if length > len(self.positions):
            raise ValueError(
                f"argument `tokens`: expected at most {len(self.positions)} for each "
                f"caption, got {length}"
            )
        x = self.words(tokens) + self.positions[:length]  # (N, L, dim)
        # Every token attends to all words. A padding token also attends to itself,
        # because otherwise the softmax of an empty caption would have no elements.
        attn_mask = is_word[:, None, None] | torch.eye(
            length, dtype=torch.bool, device=tokens.device
        )
        for block in self.blocks:
            x = block(x, attn_mask)
        is_word = is_word[:, :, None]
        return self.out((self.norm(x) * is_word).sum(1) / is_word.sum(1).clamp(min=1))
