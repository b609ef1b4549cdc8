import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm, torchvision_resnet


def test_resnet_shapes_and_size():
    net = ResNet()
    x = torch.rand(2, 3, 32, 32)
    assert net(x).shape == (2, net.dim) == (2, 96)
    assert net.feature_map(x).shape == (2, 96, 4, 4)
    torch.testing.assert_close(net(x), net.feature_map(x).flatten(2).mean(2))
    assert ResNet((8, 16), blocks=2, channels=1)(torch.rand(2, 1, 28, 28)).shape == (2, 16)


@pytest.mark.parametrize(("norm", "independent"), [(group_norm, True), (nn.BatchNorm2d, False)])
def test_only_batch_norm_lets_images_of_a_batch_see_each_other(norm, independent):
    """The Jacobian of image 0's features with respect to image 1."""
    net = ResNet((8, 16), norm=norm)
    x = torch.rand(3, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[0].square().sum(), x)
    assert (gradient[1:].abs().max() < 1e-12) == independent and gradient[0].abs().max() > 0


def test_gradient_reaches_every_weight():
    net = nn.Sequential(ResNet((8, 16), blocks=2), mlp(16, 16, 4))
    net(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_mlp_layers():
    kinds = [type(layer).__name__ for layer in mlp(4, 8, 8, 2)]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in mlp(4, 8, 2, norm=None)] == ["Linear", "ReLU", "Linear"]
    assert [layer.bias is not None for layer in mlp(4, 8, 2) if isinstance(layer, nn.Linear)] == [False, True]
    assert [type(layer) for layer in mlp(4, 2)] == [nn.Linear]
    with pytest.raises(ValueError, match="`widths`"):
        mlp(4)


def test_torchvision_resnet_for_small_and_large_images():
    small, large = torchvision_resnet(resnet18), torchvision_resnet(resnet18, small_images=False)
    x = torch.rand(2, 3, 32, 32)
    assert small(x).shape == large(x).shape == (2, small.dim) == (2, 512)
    assert small.conv1.stride == (1, 1) and large.conv1.stride == (2, 2)


def test_resnet_names_a_bad_input():
    with pytest.raises(ValueError, match="`x`.*N, C, H, W.*got uint8"):
        ResNet()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
