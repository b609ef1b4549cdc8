"""Autoencoders compress a picture to a short code and reconstruct it from this code.
Denoising autoencoders also undo a corruption.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
Vincent, Larochelle, Bengio, Manzagol 2008, "Extracting and composing robust features
with denoising autoencoders": the input is corrupted, the target is the clean picture.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import expects
from course_lib.losses import full_precision
from course_lib.train import Method


@expects(prediction="float N C H W", target="float N C H W")
@full_precision
def variance_explained(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - mean squared error / variance of the target, 0-d: 1 for a perfect
    prediction, 0 for the target's mean as prediction.

    The mean is taken over the batch, for each channel of each pixel. So the batch needs
    two pictures or more.
    """
    variance = (target - target.mean(0)).square().mean()
    return 1 - F.mse_loss(prediction, target) / variance


class Autoencoder(Method):
    """Trains an encoder and a decoder to reconstruct pictures, with the mean squared
    error.

    encoder: images (N, C, H, W) -> code h (N, D); decoder: h -> images; corrupt:
    images -> the encoder's input in training. In a denoising autoencoder `corrupt` adds
    noise or hides pixels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        corrupt: Callable[[Tensor], Tensor] = nn.Identity(),
    ):
        super().__init__()
        self.encoder, self.decoder, self.corrupt = encoder, decoder, corrupt

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    def loss(self, x: Tensor, y=None) -> Tensor:
        return F.mse_loss(self.reconstruct(self.corrupt(x)).float(), x)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def pretext_score(self, x: Tensor) -> Tensor:
        """Returns the fraction of the clean pictures' variance that the reconstruction
        explains."""
        return variance_explained(self.reconstruct(self.corrupt(x)), x)
