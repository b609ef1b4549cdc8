"""SigLIP: for each picture and each caption the network decides on its own whether they
belong together.

Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343,
Algorithm 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.distributed import gather
from course_lib.losses import full_precision
from course_lib.multimodal.clip import CLIP


@expects(image="float N D", text="float N D")
@full_precision
def siglip_loss(
    image: Tensor, text: Tensor, scale: float | Tensor, bias: float | Tensor
) -> Tensor:
    """Returns SigLIP's loss of a batch of pairs, a 0-d tensor in nats.

    image, text (N, D): unit vectors; row i of both is pair i. The loss is the sum over
    all N^2 pairs of -log sigmoid(label (scale cos + bias)), divided by N. The label is
    1 for the pairs i = j and -1 for all others.
    """
    logits = scale * image @ text.T + bias  # (N, N)
    labels = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(labels * logits).sum() / len(logits)


class SigLIP(CLIP):
    """CLIP with the sigmoid loss. bias is a second learned number. The paper starts at
    bias = -10 and tau = 0.1, so that at first nearly all pairs are answered by no."""

    def __init__(self, *networks, temperature: float = 0.1, bias: float = -10.0):
        super().__init__(*networks, temperature=temperature)
        self.bias = nn.Parameter(torch.tensor(bias))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        image = self.image_embedding(self.augment(x))
        text = self.text_embedding(self.draw(y))
        return siglip_loss(gather(image), gather(text), self.log_scale.exp(), self.bias)

    def after_step(self):
        """Nothing: the sigmoid loss needs no upper bound of the scale."""
