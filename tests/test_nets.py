import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, group_norm, torchvision_resnet
from course_lib.nets.vit import Attention, Block, ViT, convolutions, patches


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


# --- vision transformer ---


def vit(dim=16, depth=2, heads=4, patch=8, size=32, spread=1.0):
    """Weights large enough that attention is far from uniform, unlike those a training begins with."""
    torch.manual_seed(0)
    net = ViT(patches(dim, patch), size // patch, dim, depth, heads)
    with torch.no_grad():
        for p in (*net.blocks.parameters(), net.cls, net.positions):
            p.add_(spread * torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.1))
    return net


def torchs_attention(attention, dim):
    """The same layer as PyTorch has it, with the same weights."""
    theirs = nn.MultiheadAttention(dim, attention.heads, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = attention.to_qkv.weight, attention.to_qkv.bias
    theirs.out_proj = attention.out
    return theirs


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_torchs(heads):
    torch.manual_seed(0)
    ours, x = Attention(8, heads), 3 * torch.randn(3, 7, 8)
    mixed, maps = torchs_attention(ours, 8)(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), mixed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.maps(x), maps, rtol=1e-4, atol=1e-6)
    assert maps.shape == (3, heads, 7, 7) and maps.max() > 0.4  # something is attended to


def test_attention_maps_are_the_weights_of_its_mean():
    torch.manual_seed(0)
    attention, x = Attention(8, 2), 3 * torch.randn(3, 7, 8)
    maps, (_, _, v) = attention.maps(x), attention.qkv(x)
    assert v.shape == (3, 2, 7, 4)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 7))
    assert maps.min() >= 0
    heads = [maps[:, head] @ v[:, head] for head in range(2)]
    torch.testing.assert_close(attention.out(torch.cat(heads, -1)), attention(x), rtol=1e-4, atol=1e-5)


def test_block_equals_torchs():
    torch.manual_seed(0)
    ours, x = Block(8, 2), torch.randn(3, 7, 8)
    theirs = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    theirs.self_attn = torchs_attention(ours.attention, 8)
    theirs.linear1, theirs.linear2, theirs.norm1, theirs.norm2 = ours.mlp[0], ours.mlp[2], ours.norm1, ours.norm2
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [0, 3, 16, 2.0])
def test_heads_must_divide_the_width(heads):
    with pytest.raises(ValueError, match="`heads`"):
        Attention(8, heads)
    with pytest.raises(ValueError, match="`heads`"):
        ViT(patches(8, 4), 8, 8, 1, heads)


def test_blocks_know_places_by_their_positions_only():
    """Tokens that change places together with their positions come out changed in the same way, the class token as it
    was."""
    net, x = vit(), torch.rand(2, 3, 32, 32)
    tokens = net.embed(x)
    order = torch.cat([torch.zeros(1).long(), 1 + torch.randperm(16)])
    ours, theirs = net.norm(net.blocks(tokens[:, order])), net.tokens(x)
    torch.testing.assert_close(ours, theirs[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[:, 0], net(x), rtol=1e-4, atol=1e-5)


def test_a_picture_of_shuffled_patches_differs_by_the_positions_only():
    net, x = vit(), torch.rand(2, 3, 32, 32)
    shuffled = torch.cat([x[..., 16:, :], x[..., :16, :]], 2)  # whole patches: the halves change places
    assert (net(shuffled) - net(x)).abs().max() > 1e-2
    with torch.no_grad():
        net.positions.zero_()
    torch.testing.assert_close(net(shuffled), net(x), rtol=1e-4, atol=1e-5)


def test_embedding_is_a_linear_map_of_each_patch_and_its_position_row_by_row():
    net, x = vit(), torch.rand(2, 3, 32, 32)
    tokens = net.embed(x)
    assert tokens.shape == (2, 17, 16)
    torch.testing.assert_close(tokens[:, 0], net.cls[0].expand(2, -1))
    for i in range(4):
        for j in range(4):
            patch = x[..., 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].flatten(1)
            expected = patch @ net.stem.weight.flatten(1).T + net.stem.bias + net.positions[0, :, i, j]
            torch.testing.assert_close(tokens[:, 1 + 4 * i + j], expected, rtol=1e-4, atol=1e-5)


def test_positions_of_other_sizes_are_interpolated():
    net = vit()
    assert net.positions_for(4, 4) is net.positions
    for h, w in ((2, 2), (3, 5), (8, 4), (4, 3)):
        assert net.positions_for(h, w).shape == (1, 16, h, w)
    with torch.no_grad():
        net.positions.copy_(torch.arange(16.0)[:, None, None].expand(16, 4, 4))
        torch.testing.assert_close(net.positions_for(3, 5), torch.arange(16.0)[:, None, None].expand(1, 16, 3, 5))
        net.positions.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(16, 4, 4))  # from left to right
        across = net.positions_for(6, 8)
        torch.testing.assert_close(across, across[:, :, :1].expand(-1, -1, 6, -1))
        assert (across.diff(dim=3) > 0).all()  # a value for each place, in order
        # Place 3 of 8 is at 3.5 / 2 - 0.5 = 1.25 of 4. Keys' cubic with a = -3/4 weighs its neighbours 0, 1, 2, 3 by:
        weights = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
        assert across[0, 0, 0, 3].item() == pytest.approx(sum(i * w for i, w in enumerate(weights)), rel=1e-5)
        torch.testing.assert_close(across + across.flip(3), torch.full_like(across, 3.0))  # the middle stays the middle


@pytest.mark.parametrize("size", [(32, 32), (16, 16), (24, 24), (16, 32)])
def test_vit_takes_pictures_of_other_sizes(size):
    net, x = vit(), torch.rand(2, 3, *size)
    places = size[0] * size[1] // 64
    assert net(x).shape == (2, net.dim) == (2, 16) and net(x).isfinite().all()
    assert net.tokens(x).shape == (2, 1 + places, 16)
    assert net.attention_maps(x).shape == (2, 4, 1 + places, 1 + places)
    torch.testing.assert_close(net(x), net.tokens(x)[:, 0])
    torch.testing.assert_close(net.tokens(x).mean(2), torch.zeros(2, 1 + places), atol=1e-5, rtol=0)  # normalised
    torch.testing.assert_close(net(x)[1:], net(x[1:]), rtol=1e-4, atol=1e-5)  # no picture sees another one


@pytest.mark.parametrize("depth", [1, 3])
def test_attention_maps_are_those_of_the_last_block_in_the_forward_pass(depth):
    net, x = vit(depth=depth), torch.rand(2, 3, 32, 32)
    last, calls = net.blocks[-1].attention, []
    handle = last.register_forward_hook(lambda module, inputs, output: calls.append((inputs[0], output)))
    net(x)
    handle.remove()
    ((into, out),) = calls
    mixed, maps = torchs_attention(last, 16)(into, into, into, average_attn_weights=False)
    ours = net.attention_maps(x)
    torch.testing.assert_close(ours, maps, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mixed, out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.sum(-1), torch.ones(2, 4, 17))
    assert not ours.requires_grad and (ours - 1 / 17).abs().max() > 0.05


@pytest.mark.parametrize("stem", [patches(16, 8), convolutions(4, 8, 8, 16)], ids=["patches", "convolutions"])
@pytest.mark.parametrize("size", [32, 16])
def test_gradient_reaches_every_weight_of_a_vit(stem, size):
    net = ViT(stem, 4, 16, 2, 4)
    net(torch.rand(4, 3, size, size)).square().mul(torch.arange(16)).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
        p.grad = None  # the stem is used again


def test_stems():
    x = torch.rand(2, 3, 32, 24)
    assert patches(16, 8)(x).shape == (2, 16, 4, 3)
    assert patches(16, 4, channels=1)(x[:, :1]).shape == (2, 16, 8, 6)
    assert convolutions(8, 16)(x).shape == (2, 16, 16, 12)
    assert convolutions(4, 8, 12, 16)(x).shape == (2, 16, 4, 3)
    assert convolutions(4, 8, 16, channels=1)(x[:, :1]).shape == (2, 16, 8, 6)
    kinds = [type(layer).__name__ for layer in convolutions(8, 16, 24)]
    assert kinds == 2 * ["Conv2d", "BatchNorm2d", "ReLU"] + ["Conv2d"]
    assert [layer.kernel_size for layer in convolutions(8, 16, 24) if isinstance(layer, nn.Conv2d)][-1] == (1, 1)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in convolutions(8, 16, norm=group_norm))


def test_vit_names_a_bad_input():
    with pytest.raises(ValueError, match="`x`.*N, C, H, W.*got uint8"):
        vit()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_a_convolutional_stem_needs_two_widths():
    with pytest.raises(ValueError, match="`widths`: expected two or more"):
        convolutions(8)
