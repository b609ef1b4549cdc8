"""Residual networks (He et al. 2015, arXiv 1512.03385): a small one for 32 x 32
pictures, and torchvision's."""

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.checks import expects

Norm = Callable[[int], nn.Module]  # channels -> layer


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm (arXiv 1803.08494), 8 channels a group (a multiple of 8): no image sees
    another one of its batch."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class BasicBlock(nn.Module):
    """ReLU(x + two 3 x 3 convolutions of x); where size or channels change, x takes a 1
    x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs)
            )
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.shortcut(x) + self.residual(x))


class ResNet(nn.Module):
    """Images (N, C, H, W) in [0, 1] -> features (N, widths[-1]), the mean over the last
    feature map.

    The stem has stride 2, every stage after the first one too: 32 x 32 pictures are
    looked at on grids of 16, 8 and 4.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96),
        blocks: int = 1,
        channels: int = 3,
        norm: Norm = nn.BatchNorm2d,
    ):
        super().__init__()
        self.dim = widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False),
            norm(widths[0]),
            nn.ReLU(),
        )
        inputs = (widths[0], *widths)
        self.stages = nn.Sequential(
            *(
                BasicBlock(
                    inputs[i] if j == 0 else width,
                    width,
                    2 if i > 0 and j == 0 else 1,
                    norm,
                )
                for i, width in enumerate(widths)
                for j in range(blocks)
            )
        )

    @expects(x="float N C H W")
    def feature_map(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> (N, widths[-1], h, w), before the mean over
        positions."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.feature_map(x).mean((2, 3))


def torchvision_resnet(
    build: Callable[..., nn.Module], small_images: bool = True
) -> nn.Module:
    """One of torchvision's residual networks, say `torchvision.models.resnet50`,
    untrained, without its classifier.

    small_images: 3 x 3 stem of stride 1 and no max-pooling, as SimCLR does for CIFAR
    (arXiv 2002.05709, appendix B.9). Images (N, 3, H, W) -> (N, dim), with `dim` an
    attribute: 512 for resnet18, 2048 for resnet50.
    """
    net = build(weights=None)
    net.dim, net.fc = net.fc.in_features, nn.Identity()
    if small_images:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net
