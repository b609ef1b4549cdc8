"""Convolutional decoder: from an encoder's coarse feature map back to the picture's
grid."""

from torch import Tensor, nn

from course_lib.nets.resnet import Norm


class Decoder(nn.Module):
    """Feature map (N, widths[0], h, w) -> (N, outputs, 2^k h, 2^k w), k = len(widths) -
    1.

    Each stage doubles the grid by repeating pixels and convolves, which leaves no
    checkerboard as a transposed convolution does (Odena et al. 2016, "Deconvolution and
    checkerboard artifacts"). No skip connections: all that the decoder knows went
    through the encoder's last map.
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
    """Vectors (N, dim) -> maps (N, width, side, side), by one linear layer: the door
    from a bottleneck to a decoder.

    width: of the maps, by default dim.
    """
    width = dim if width is None else width
    return nn.Sequential(
        nn.Linear(dim, width * side * side), nn.Unflatten(1, (width, side, side))
    )
