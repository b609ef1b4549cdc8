"""RotNet: by how many quarters has the picture been turned? To tell, one has to know
what is up in what one sees.

Gidaris, Singh, Komodakis 2018, "Unsupervised Representation Learning by Predicting
Image Rotations", arXiv 1803.07728, equations 2 and 3.
"""

import torch
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.evaluate import accuracy
from course_lib.supervised import cross_entropy
from course_lib.train import Method
from course_lib.transforms import rot90


@expects(x="float N C S S")
def rotate_four_ways(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (N, C, S, S) -> all of them turned by 0, then by 1, 2, 3 quarters
    anticlockwise (4N, C, S, S), and the quarters (4N,), int64."""
    turns = torch.arange(4, device=x.device).repeat_interleave(len(x))
    return rot90(x.repeat(4, 1, 1, 1), turns), turns


class Rotation(Method):
    """encoder: images (N, C, S, S) -> h (N, D); classifier: h -> logits (N, 4)."""

    def __init__(self, encoder: nn.Module, classifier: nn.Module):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def loss(self, x: Tensor, y=None) -> Tensor:
        views, turns = rotate_four_ways(x)
        return cross_entropy(self.classifier(self.encoder(views)), turns)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> float:
        """The share of turned pictures whose turn is recognised; chance is 1/4."""
        views, turns = rotate_four_ways(x)
        return accuracy(self.classifier(self.encoder(views)), turns)
