"""CLIP: a picture and its caption should be nearest neighbours of each other among all
pictures and captions of the batch.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
Supervision", arXiv 2103.00020, figure 3.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects, positive
from course_lib.distributed import gather, rank
from course_lib.losses import full_precision, info_nce
from course_lib.train import Method

LARGEST_SCALE = 100.0


@expects(image="float N D", text="float N D", left_out="bool N N")
@full_precision
def clip_loss(
    image: Tensor, text: Tensor, scale: float | Tensor, left_out: Tensor | None = None
) -> Tensor:
    """Returns CLIP's loss of a batch of pairs, a 0-d tensor in nats.

    image, text (N, D): unit vectors; row i of both is pair i. scale: 1 / tau. The loss
    is the mean of two InfoNCE losses: each picture finds its caption among N captions,
    and each caption finds its picture among N pictures. left_out (N, N): pairs (picture
    i, caption j) that are no negatives; its diagonal is ignored. The loss is log N if
    all scores are equal and nothing is left out.
    """
    scores = scale * image @ text.T  # (N, N): rows are pictures
    if left_out is not None:
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(left_out & ~itself, -torch.inf)
    return (info_nce(scores) + info_nce(scores.T)) / 2


@expects(image="float n D", text="float n D", images="float N D", texts="float N D")
@full_precision
def local_clip_loss(
    image: Tensor,
    text: Tensor,
    images: Tensor,
    texts: Tensor,
    scale: float | Tensor,
    first: int,
) -> Tensor:
    """Returns the part of CLIP's loss that belongs to the n pairs of one process.

    images, texts (N, D): the pairs of all processes; those of this one are the rows
    first to first + n - 1. The mean over processes equals `clip_loss(images, texts,
    scale)`, but each process computes 2 n N scores instead of N^2.
    """
    own = first + torch.arange(len(image), device=image.device)
    of_images = info_nce(scale * image @ texts.T, own)
    return (of_images + info_nce(scale * text @ images.T, own)) / 2


@expects(drawn="int N L", descriptions="int M K")
def fits(drawn: Tensor, descriptions: Tensor, words: int) -> Tensor:
    """Returns whether caption j is true of picture i, bool (M, N): all its words are in
    the picture's description. words: the number of different tokens; 0 is padding."""

    def bags(rows):
        found = torch.zeros(len(rows), words, device=rows.device)
        return found.scatter_(1, rows.long(), 1.0)[:, 1:]  # without padding

    captions = bags(drawn)
    return bags(descriptions) @ captions.T == captions.sum(1)


class CLIP(Method):
    """Trains an image encoder and a text encoder with captions as the only labels.

    encoder: images (N, C, H, W) -> h (N, D), the representation. text_encoder: tokens
    (N, L) -> (N, E). projector, text_projector: linear maps of both to the joint space
    (N, d). augment: images -> a random view of each. draw: the descriptions y (N, K) of
    a batch -> a random caption of each, tokens (N, L).

    log_scale is log(1 / tau), a parameter. It starts at log(1 / temperature), and 1 /
    tau stays at most 100, as in the paper (section 2.5).
    """

    def __init__(
        self,
        encoder: nn.Module,
        text_encoder: nn.Module,
        projector: nn.Module,
        text_projector: nn.Module,
        augment: Callable[[Tensor], Tensor],
        draw: Callable[[Tensor], Tensor],
        temperature: float = 0.07,
    ):
        super().__init__()
        self.encoder, self.text_encoder = encoder, text_encoder
        self.projector, self.text_projector = projector, text_projector
        self.augment, self.draw = augment, draw
        start = -math.log(positive("temperature", temperature))
        self.log_scale = nn.Parameter(torch.tensor(start))

    def image_embedding(self, x: Tensor) -> Tensor:
        """Returns unit vectors (N, d) of images (N, C, H, W)."""
        return self.joint(self.encoder(x))

    def joint(self, h: Tensor) -> Tensor:
        """Returns unit vectors (N, d) of pictures by their features h (N, D)."""
        return F.normalize(self.projector(h), dim=1)

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Returns unit vectors (N, d) of captions (N, L)."""
        return F.normalize(self.text_projector(self.text_encoder(tokens)), dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        image = self.image_embedding(self.augment(x))
        text = self.text_embedding(self.draw(y))
        return local_clip_loss(
            image,
            text,
            gather(image),
            gather(text),
            self.log_scale.exp(),
            first=rank() * len(image),
        )

    def after_step(self):
        self.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    @torch.no_grad()
    def compare(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Returns the cosine of each picture, by its features h (N, D), with each of
        the captions (T, L): (N, T)."""
        return self.joint(h) @ self.text_embedding(tokens).T
