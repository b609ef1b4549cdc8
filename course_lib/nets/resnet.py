"""Residual networks (He et al. 2015, arXiv 1512.03385): a small one for pictures of
32 x 32, and those of torchvision."""

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.checks import count, expects

Norm = Callable[[int], nn.Module]  # channels -> layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns GroupNorm (arXiv 1803.08494) with 8 channels in each group; `channels` is
    a multiple of 8. The images of a batch do not affect each other."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class BasicBlock(nn.Module):
    """Computes ReLU(x + two 3 x 3 convolutions of x). Where the size or the number of
    channels changes, a 1 x 1 convolution is applied to x."""

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
    """Maps images (N, C, H, W) in [0, 1] to features (N, widths[-1]): the mean over the
    last feature map.

    The stem and every stage except the first one have stride 2. So pictures of 32 x 32
    have feature maps of 16 x 16, 8 x 8 and 4 x 4.
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
        """Returns the last feature map, (N, widths[-1], h, w), before the mean over
        positions."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.feature_map(x).mean((2, 3))


def torchvision_resnet(build: Callable[..., nn.Module], size: int) -> nn.Module:
    """Returns one of torchvision's residual networks, for example
    `torchvision.models.resnet50`, untrained and without its classifier.

    size: the side of the pictures in pixels, which decides on the stem. Up to 32, it is
    a 3 x 3 convolution of stride 1 without max-pooling, as in SimCLR for CIFAR (arXiv
    2002.05709, appendix B.9). Up to 64, it is this convolution with torchvision's
    max-pooling of stride 2. Above 64, it is torchvision's stem: a 7 x 7 convolution of
    stride 2 and the max-pooling. So pictures of 32, 64 and 224 pixels have last feature
    maps of 4 x 4, 4 x 4 and 7 x 7. The network maps images (N, 3, H, W) to (N, dim).
    Its attribute `dim` is 512 for resnet18 and 2048 for resnet50.
    """
    count("size", size)
    net = build(weights=None)
    net.dim, net.fc = net.fc.in_features, nn.Identity()
    if size <= 64:
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    if size <= 32:
        net.maxpool = nn.Identity()
    return net
