"""RotNet: the network predicts by how many quarter turns a picture was rotated. For
this it must recognise what the picture contains and which side of it is usually up.

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
    """Returns all pictures (N, C, S, S) rotated by 0 quarter turns, then by 1, 2 and 3,
    anticlockwise, (4N, C, S, S), and the number of quarter turns (4N,), int64."""
    turns = torch.arange(4, device=x.device).repeat_interleave(len(x))
    return rot90(x.repeat(4, 1, 1, 1), turns), turns


class Rotation(Method):
    """Trains an encoder to predict the rotation of pictures.

    encoder: images (N, C, S, S) -> h (N, D); classifier: h -> logits (N, 4).
    """

    def __init__(self, encoder: nn.Module, classifier: nn.Module):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def loss(self, x: Tensor, y=None) -> Tensor:
        views, turns = rotate_four_ways(x)
        return cross_entropy(self.classifier(self.encoder(views)), turns)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> float:
        """Returns the fraction of rotated pictures whose rotation is predicted
        correctly; chance is 1/4."""
        views, turns = rotate_four_ways(x)
        return accuracy(self.classifier(self.encoder(views)), turns)
