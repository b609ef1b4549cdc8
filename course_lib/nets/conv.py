"""A convolutional decoder: from an encoder's coarse feature map to a picture."""

from torch import Tensor, nn

from course_lib.nets.resnet import Norm


class Decoder(nn.Module):
    """Maps a feature map (N, widths[0], h, w) to (N, outputs, 2^k h, 2^k w), where
    k = len(widths) - 1.

    Each stage doubles height and width by repeating pixels, and then convolves. A
    transposed convolution can leave a checkerboard pattern; this does not (Odena et al.
    2016, "Deconvolution and checkerboard artifacts"). There are no skip connections, so
    the encoder's last map is the decoder's only input.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (96, 48, 24, 12),
        outputs: int = 3,
        norm: Norm = nn.BatchNorm2d,
    ):
        super().__init__()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    nn.Conv2d(a, b, 3, padding=1, bias=False),
                    norm(b),
                    nn.ReLU(),
                )
                for a, b in zip(widths, widths[1:])
            )
        )
        self.out = nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.stages(x))


def from_vector(dim: int, side: int = 4, width: int | None = None) -> nn.Sequential:
    """Returns a linear layer from vectors (N, dim) to maps (N, width, side, side). It
    connects a bottleneck with a decoder.

    width: number of channels of the maps, by default dim.
    """
    width = dim if width is None else width
    return nn.Sequential(
        nn.Linear(dim, width * side * side), nn.Unflatten(1, (width, side, side))
    )
