"""Text transformer, small: a caption as one vector."""

import torch
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.nets.vit import Block


class TextTransformer(nn.Module):
    """Tokens (N, L) in 0..words-1, 0 where nothing stands, L <= length -> (N, dim).

    The mean over the words after the last block, behind a linear map without bias that
    begins at zero: nothing told is zeros, for ever, and before training so is
    everything else.
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
        is_word, length = tokens > 0, tokens.shape[1]
        if length > len(self.positions):
            raise ValueError(
                f"argument `tokens`: expected at most {len(self.positions)} a caption, "
                f"got {length}"
            )
        x = self.words(tokens) + self.positions[:length]  # (N, L, dim)
        # Words look at words; at itself also each empty place, whose softmax would else
        # be over nothing.
        attn_mask = is_word[:, None, None] | torch.eye(
            length, dtype=torch.bool, device=tokens.device
        )
        for block in self.blocks:
            x = block(x, attn_mask)
        is_word = is_word[:, :, None]
        return self.out((self.norm(x) * is_word).sum(1) / is_word.sum(1).clamp(min=1))
