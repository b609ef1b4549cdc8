import math

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from course_lib.nets.mlp import TimedMLP, mlp, time_embedding
from course_lib.nets.resnet import ResNet, group_norm, torchvision_resnet
from course_lib.nets.unet import (
    Condition,
    LabelEmbedding,
    SelfAttention,
    TimedBlock,
    UNet,
    UNetEncoder,
)
from course_lib.nets.vit import Attention, Block, ViT, convolutions, patches


def test_resnet_output_and_feature_map_have_the_expected_shapes():
    net = ResNet()
    x = torch.rand(2, 3, 32, 32)
    assert net(x).shape == (2, net.dim) == (2, 96)
    assert net.feature_map(x).shape == (2, 96, 4, 4)
    torch.testing.assert_close(net(x), net.feature_map(x).flatten(2).mean(2))
    assert ResNet((8, 16), blocks=2, channels=1)(torch.rand(2, 1, 28, 28)).shape == (
        2,
        16,
    )


@pytest.mark.parametrize(
    ("norm", "independent"), [(group_norm, True), (nn.BatchNorm2d, False)]
)
def test_resnet_images_depend_on_each_other_with_batch_norm_only(norm, independent):
    """The Jacobian of image 0's features with respect to image 1."""
    net = ResNet((8, 16), norm=norm)
    x = torch.rand(3, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[0].square().sum(), x)
    assert (gradient[1:].abs().max() < 1e-12) == independent and gradient[
        0
    ].abs().max() > 0


def test_resnet_and_mlp_gradient_reaches_every_weight():
    net = nn.Sequential(ResNet((8, 16), blocks=2), mlp(16, 16, 4))
    net(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_mlp_has_the_expected_layers():
    kinds = [type(layer).__name__ for layer in mlp(4, 8, 8, 2)]
    assert kinds == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
    ]
    assert [type(layer).__name__ for layer in mlp(4, 8, 2, norm=None)] == [
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert [
        layer.bias is not None for layer in mlp(4, 8, 2) if isinstance(layer, nn.Linear)
    ] == [False, True]
    assert [type(layer) for layer in mlp(4, 2)] == [nn.Linear]
    with pytest.raises(ValueError, match="`widths`"):
        mlp(4)


@pytest.mark.parametrize(
    ("size", "stem", "side"), [(32, 32, 4), (64, 32, 4), (65, 17, 3), (224, 56, 7)]
)
def test_torchvision_resnet_has_the_stem_for_the_size_of_the_pictures(size, stem, side):
    """stem: the side of the feature map after it; side: that of the last one."""
    net, seen = torchvision_resnet(resnet18, size), []
    for layer in (net.maxpool, net.layer4):
        layer.register_forward_hook(lambda _, x, out: seen.append(out.shape[2:]))
    x = torch.rand(1, 3, size, size)
    assert net.eval()(x).shape == (1, net.dim) == (1, 512)
    assert seen == [(stem, stem), (side, side)]


def test_torchvision_resnet_asks_for_the_size_of_the_pictures():
    with pytest.raises(TypeError, match="size"):
        torchvision_resnet(resnet18)


def test_resnet_names_the_bad_argument():
    with pytest.raises(ValueError, match="`x`.*N, C, H, W.*got uint8"):
        ResNet()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


# --- vision transformer ---


def vit(dim=16, depth=2, heads=4, patch=8, size=32, spread=1.0):
    """Weights large enough that attention is far from uniform, unlike those a training
    begins with."""
    torch.manual_seed(0)
    net = ViT(patches(dim, patch), size // patch, dim, depth, heads)
    with torch.no_grad():
        for p in (*net.blocks.parameters(), net.cls, net.positions):
            p.add_(spread * torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.1))
    return net


def torchs_attention(attention, dim):
    """The same layer as PyTorch has it, with the same weights."""
    theirs = nn.MultiheadAttention(dim, attention.heads, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = (
        attention.to_qkv.weight,
        attention.to_qkv.bias,
    )
    theirs.out_proj = attention.out
    return theirs


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_torchs_multihead_attention(heads):
    torch.manual_seed(0)
    ours, x = Attention(8, heads), 3 * torch.randn(3, 7, 8)
    mixed, maps = torchs_attention(ours, 8)(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), mixed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.maps(x), maps, rtol=1e-4, atol=1e-6)
    # attention is not uniform
    assert maps.shape == (3, heads, 7, 7) and maps.max() > 0.4


def test_attention_maps_are_the_weights_of_the_mean_over_values():
    torch.manual_seed(0)
    attention, x = Attention(8, 2), 3 * torch.randn(3, 7, 8)
    maps, (_, _, v) = attention.maps(x), attention.qkv(x)
    assert v.shape == (3, 2, 7, 4)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 7))
    assert maps.min() >= 0
    heads = [maps[:, head] @ v[:, head] for head in range(2)]
    torch.testing.assert_close(
        attention.out(torch.cat(heads, -1)), attention(x), rtol=1e-4, atol=1e-5
    )


def test_block_equals_torchs_transformer_encoder_layer():
    torch.manual_seed(0)
    ours, x = Block(8, 2), torch.randn(3, 7, 8)
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    theirs.self_attn = torchs_attention(ours.attention, 8)
    theirs.linear1, theirs.linear2, theirs.norm1, theirs.norm2 = (
        ours.mlp[0],
        ours.mlp[2],
        ours.norm1,
        ours.norm2,
    )
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(1, 1, 7, 7), (3, 1, 7, 7), (3, 2, 7, 7), (3, 1, 1, 7)]
)
def test_attention_with_a_mask_equals_torchs(shape):
    torch.manual_seed(0)
    ours, x = Attention(8, 2), 3 * torch.randn(3, 7, 8)
    seen = (torch.rand(shape) < 0.5) | (torch.arange(7) == 2)  # each looks at something
    refused = ~seen.expand(3, 2, 7, 7).flatten(0, 1)
    mixed, _ = torchs_attention(ours, 8)(x, x, x, attn_mask=refused)
    torch.testing.assert_close(ours(x, seen), mixed, rtol=1e-4, atol=1e-5)
    assert (ours(x, seen) - ours(x)).abs().max() > 1e-2


def test_block_does_not_see_masked_tokens():
    torch.manual_seed(0)
    block, x = Block(8, 2), torch.randn(3, 7, 8, requires_grad=True)
    seen = torch.ones(7, 7, dtype=torch.bool).tril()[None, None]
    (gradient,) = torch.autograd.grad(block(x, seen)[:, 3].square().sum(), x)
    assert gradient[:, 4:].abs().max() == 0 < gradient[:, :4].abs().amax(2).min()
    torch.testing.assert_close(
        block(x, seen)[:, :4], block(x[:, :4], seen[..., :4, :4]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        block(x, torch.ones(1, 1, 7, 7, dtype=torch.bool)),
        block(x),
        rtol=1e-4,
        atol=1e-5,
    )
    assert torch.equal(block(x, None), block(x))


@pytest.mark.parametrize("heads", [0, 3, 16, 2.0])
def test_attention_and_vit_reject_heads_that_do_not_divide_the_width(heads):
    with pytest.raises(ValueError, match="`heads`"):
        Attention(8, heads)
    with pytest.raises(ValueError, match="`heads`"):
        ViT(patches(8, 4), 8, 8, 1, heads)


def test_vit_blocks_are_equivariant_to_token_order():
    """Tokens that change places together with their positions come out changed in the
    same way, the class token as it was."""
    net, x = vit(), torch.rand(2, 3, 32, 32)
    tokens = net.embed(x)
    order = torch.cat([torch.zeros(1).long(), 1 + torch.randperm(16)])
    ours, theirs = net.norm(net.blocks(tokens[:, order])), net.tokens(x)
    torch.testing.assert_close(ours, theirs[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[:, 0], net(x), rtol=1e-4, atol=1e-5)


def test_vit_without_positions_is_invariant_to_patch_order():
    net, x = vit(), torch.rand(2, 3, 32, 32)
    # whole patches: the halves change places
    shuffled = torch.cat([x[..., 16:, :], x[..., :16, :]], 2)
    assert (net(shuffled) - net(x)).abs().max() > 1e-2
    with torch.no_grad():
        net.positions.zero_()
    torch.testing.assert_close(net(shuffled), net(x), rtol=1e-4, atol=1e-5)


def test_vit_embedding_is_a_linear_map_of_each_patch_plus_its_position():
    net, x = vit(), torch.rand(2, 3, 32, 32)
    tokens = net.embed(x)
    assert tokens.shape == (2, 17, 16)
    torch.testing.assert_close(tokens[:, 0], net.cls[0].expand(2, -1))
    for i in range(4):
        for j in range(4):
            patch = x[..., 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].flatten(1)
            expected = (
                patch @ net.stem.weight.flatten(1).T
                + net.stem.bias
                + net.positions[0, :, i, j]
            )
            torch.testing.assert_close(
                tokens[:, 1 + 4 * i + j], expected, rtol=1e-4, atol=1e-5
            )


def test_vit_positions_are_interpolated_for_other_sizes():
    net = vit()
    assert net.positions_for(4, 4) is net.positions
    for h, w in ((2, 2), (3, 5), (8, 4), (4, 3)):
        assert net.positions_for(h, w).shape == (1, 16, h, w)
    with torch.no_grad():
        net.positions.copy_(torch.arange(16.0)[:, None, None].expand(16, 4, 4))
        torch.testing.assert_close(
            net.positions_for(3, 5),
            torch.arange(16.0)[:, None, None].expand(1, 16, 3, 5),
        )
        # from left to right
        net.positions.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(16, 4, 4))
        across = net.positions_for(6, 8)
        torch.testing.assert_close(across, across[:, :, :1].expand(-1, -1, 6, -1))
        assert (across.diff(dim=3) > 0).all()  # a value for each place, in order
        # Place 3 of 8 is at 3.5 / 2 - 0.5 = 1.25 of 4. Keys' cubic with a = -3/4 weighs
        # its neighbours 0, 1, 2, 3 by:
        weights = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
        assert across[0, 0, 0, 3].item() == pytest.approx(
            sum(i * w for i, w in enumerate(weights)), rel=1e-5
        )
        # the middle stays the middle
        torch.testing.assert_close(
            across + across.flip(3), torch.full_like(across, 3.0)
        )


@pytest.mark.parametrize("size", [(32, 32), (16, 16), (24, 24), (16, 32)])
def test_vit_takes_pictures_of_other_sizes(size):
    net, x = vit(), torch.rand(2, 3, *size)
    places = size[0] * size[1] // 64
    assert net(x).shape == (2, net.dim) == (2, 16) and net(x).isfinite().all()
    assert net.tokens(x).shape == (2, 1 + places, 16)
    assert net.attention_maps(x).shape == (2, 4, 1 + places, 1 + places)
    torch.testing.assert_close(net(x), net.tokens(x)[:, 0])
    # normalised
    torch.testing.assert_close(
        net.tokens(x).mean(2), torch.zeros(2, 1 + places), atol=1e-5, rtol=0
    )
    # no picture depends on another one
    torch.testing.assert_close(net(x)[1:], net(x[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_vit_attention_maps_are_those_of_the_last_block(depth):
    net, x = vit(depth=depth), torch.rand(2, 3, 32, 32)
    last, calls = net.blocks[-1].attention, []
    handle = last.register_forward_hook(
        lambda module, inputs, output: calls.append((inputs[0], output))
    )
    net(x)
    handle.remove()
    ((into, out),) = calls
    mixed, maps = torchs_attention(last, 16)(
        into, into, into, average_attn_weights=False
    )
    ours = net.attention_maps(x)
    torch.testing.assert_close(ours, maps, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mixed, out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.sum(-1), torch.ones(2, 4, 17))
    assert not ours.requires_grad and (ours - 1 / 17).abs().max() > 0.05


@pytest.mark.parametrize(
    "stem", [patches(16, 8), convolutions(4, 8, 8, 16)], ids=["patches", "convolutions"]
)
@pytest.mark.parametrize("size", [32, 16])
def test_vit_gradient_reaches_every_weight(stem, size):
    net = ViT(stem, 4, 16, 2, 4)
    net(torch.rand(4, 3, size, size)).square().mul(torch.arange(16)).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
        p.grad = None  # the stem is used again


def test_vit_stems_have_the_expected_shapes_and_layers():
    x = torch.rand(2, 3, 32, 24)
    assert patches(16, 8)(x).shape == (2, 16, 4, 3)
    assert patches(16, 4, channels=1)(x[:, :1]).shape == (2, 16, 8, 6)
    assert convolutions(8, 16)(x).shape == (2, 16, 16, 12)
    assert convolutions(4, 8, 12, 16)(x).shape == (2, 16, 4, 3)
    assert convolutions(4, 8, 16, channels=1)(x[:, :1]).shape == (2, 16, 8, 6)
    kinds = [type(layer).__name__ for layer in convolutions(8, 16, 24)]
    assert kinds == 2 * ["Conv2d", "BatchNorm2d", "ReLU"] + ["Conv2d"]
    assert [
        layer.kernel_size
        for layer in convolutions(8, 16, 24)
        if isinstance(layer, nn.Conv2d)
    ][-1] == (1, 1)
    assert not any(
        isinstance(layer, nn.BatchNorm2d)
        for layer in convolutions(8, 16, norm=group_norm)
    )


def test_vit_names_the_bad_argument():
    with pytest.raises(ValueError, match="`x`.*N, C, H, W.*got uint8"):
        vit()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_convolutions_rejects_fewer_than_two_widths():
    with pytest.raises(ValueError, match="`widths`: expected two or more"):
        convolutions(8)


# --- denoisers: time, U-Net ---


@pytest.mark.parametrize("dim", [2, 8, 64])
@pytest.mark.parametrize("dtype", [torch.long, torch.int32, torch.float32])
def test_time_embedding_equals_a_double_loop(dim, dtype):
    steps, half = [0, 1, 17, 999], dim // 2
    found = time_embedding(torch.tensor(steps).to(dtype), dim)
    assert found.shape == (4, dim) and found.dtype == torch.float32
    for row, t in enumerate(steps):
        for k in range(half):
            angle = t * 10_000 ** (-k / half)
            assert found[row, k].item() == pytest.approx(math.sin(angle), abs=2e-4)
            assert found[row, half + k].item() == pytest.approx(
                math.cos(angle), abs=2e-4
            )


def test_timed_mlp_without_label_embedding_ignores_labels():
    torch.manual_seed(0)
    net, x, t = (
        TimedMLP(3, 16, depth=2),
        torch.randn(5, 3),
        torch.tensor([0, 1, 50, 500, 999]),
    )
    assert [
        layer.out_features for layer in net.net if isinstance(layer, nn.Linear)
    ] == [16, 16, 3]
    h = torch.cat([x, time_embedding(t, 16)], 1)
    first, _, second, _, third = net.net
    expected = third(second(first(h).relu()).relu())
    torch.testing.assert_close(net(x, t), expected)
    assert torch.equal(net(x, t, torch.arange(5)), net(x, t))
    assert not torch.allclose(net(x, t), net(x, t + 100), atol=1e-3)


def test_timed_mlp_adds_the_label_embedding_to_the_time_embedding():
    torch.manual_seed(0)
    net, x, t = (
        TimedMLP(3, 16, depth=1, label=LabelEmbedding(4, 16)),
        torch.randn(5, 3),
        torch.arange(5) * 99,
    )
    y = torch.tensor([3, 0, 1, 1, 2])
    first, _, second = net.net
    expected = second(
        first(torch.cat([x, time_embedding(t, 16) + net.label.weight[y]], 1)).relu()
    )
    torch.testing.assert_close(net(x, t, y), expected)
    assert (net(x, t, y) - net(x, t)).abs().amax(1).min() > 1e-3
    assert torch.equal(net(x, t, torch.full_like(y, 4)), net(x, t))  # the null label
    assert list(TimedMLP(3, 16, depth=1).state_dict()) == [
        key for key in net.state_dict() if key != "label.weight"
    ]


def test_label_embedding_has_a_zero_row_for_the_null_label():
    torch.manual_seed(0)
    label = LabelEmbedding(5, 4)
    assert (
        label.weight.shape == (6, 4)
        and label.weight[:5].abs().min() > 0 == label.weight[5].abs().max()
    )
    assert torch.equal(label(torch.tensor([2, 5, 0])), label.weight[[2, 5, 0]])
    for y in (torch.zeros(3), torch.zeros(3, 1, dtype=torch.long), 2):
        with pytest.raises(ValueError, match="argument `y`: expected"):
            label(y)


def unet(channels=1, widths=(8, 16), seed=0, **options):
    """With random numbers where training begins with zeros, and norms that do more than
    normalise."""
    torch.manual_seed(seed)
    net = UNet(channels, widths, **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


SIZES = [
    (1, (8, 16), 28, dict()),
    (3, (16, 32), 32, dict()),
    (1, (8, 16, 24), 28, dict(patch=1)),
    (3, (8, 16, 16), 32, dict(patch=2, blocks=2)),
    (2, (8,), 6, dict(patch=1)),
    (3, (16, 8), 32, dict(patch=4, blocks=2, label=LabelEmbedding(7, 32))),
]


@pytest.mark.parametrize(("channels", "widths", "size", "options"), SIZES)
def test_unet_has_the_expected_shapes_and_skip_connections(
    channels, widths, size, options
):
    net, x, t = (
        unet(channels, widths, **options),
        torch.randn(2, channels, size, size),
        torch.tensor([3, 900]),
    )
    assert net(x, t).shape == x.shape and net.features(x, t).shape == (2, widths[-1])
    patch, blocks = options.get("patch", 2), options.get("blocks", 1)
    expected, c, side = [(widths[0], size // patch)], widths[0], size // patch
    for level, width in enumerate(widths):
        if level:
            side //= 2
            expected.append((c, side))
        expected += blocks * [(width, side)]
        c = width
    *kept, coarsest = net.coarse(x, net.condition(t))
    assert [(h.shape[1], h.shape[2]) for h in kept] == expected and coarsest.shape[
        1:
    ] == (widths[-1], side, side)
    up = [layer for layer in net.up if isinstance(layer, TimedBlock)]
    assert len(up) == len(expected)  # each reads one
    torch.testing.assert_close(net.features(x, t), coarsest.flatten(2).mean(2))


@pytest.mark.parametrize(("channels", "widths", "size", "options"), SIZES)
def test_unet_encoder_equals_the_first_part_of_unet_for_the_same_seed(
    channels, widths, size, options
):
    torch.manual_seed(1)
    whole = UNet(channels, widths, **options)
    torch.manual_seed(1)
    first = UNetEncoder(channels, widths, **options)
    whole_state, state = whole.state_dict(), first.state_dict()
    parts = list(dict.fromkeys(key.split(".")[0] for key in whole_state))
    # the order in which they draw their weights
    assert parts == ["condition", "door", "down", "middle", "up", "out"]
    assert list(state) == [key for key in whole_state if key.split(".")[0] in parts[:4]]
    assert all(torch.equal(state[key], whole_state[key]) for key in state)
    x, t = torch.randn(2, channels, size, size), torch.tensor([3, 900])
    assert torch.equal(first.features(x, t), whole.features(x, t))


def test_unet_takes_pictures_that_are_not_square():
    net = unet(3, (8, 16))
    assert net(torch.randn(2, 3, 8, 20), torch.tensor([1, 2])).shape == (2, 3, 8, 20)


def test_unet_outputs_zero_at_initialisation_and_its_last_layer_has_a_gradient():
    torch.manual_seed(0)
    net, x = UNet(3, (8, 16), label=LabelEmbedding(5, 16)), torch.randn(4, 3, 8, 8)
    out = net(x, torch.arange(4), torch.arange(4))
    assert torch.equal(out, torch.zeros_like(x))
    (out - x).square().sum().backward()
    moved = {
        name
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert moved == {"out.2.weight", "out.2.bias"}
    block, attention = TimedBlock(8, 8, 4), SelfAttention(16)
    h = torch.randn(2, 8, 3, 3)
    assert torch.equal(block(h, torch.randn(2, 4)), h)
    h = torch.randn(2, 16, 3, 3)
    assert torch.equal(attention(h), h)


def test_unet_gradient_reaches_every_weight_after_a_few_updates():
    torch.manual_seed(0)
    net, x, target = (
        UNet(3, (8, 16), label=LabelEmbedding(5, 16)),
        torch.randn(8, 3, 8, 8),
        torch.randn(8, 3, 8, 8),
    )
    losses = []
    for _ in range(4):  # what begins at zero hides the gradient of what comes before it
        net.zero_grad()
        loss = (
            (net(x, torch.arange(8) * 100, torch.arange(8) % 5) - target)
            .square()
            .mean()
        )
        loss.backward()
        losses.append(loss.item())
        for p in net.parameters():
            p.data -= 0.1 * p.grad
    assert losses[-1] < losses[0]
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_unet_output_depends_on_time_and_label():
    net, x = unet(label=LabelEmbedding(5, 16)), torch.randn(2, 1, 8, 8)
    t, y = torch.tensor([10, 10]), torch.tensor([1, 4])
    plain = net(x, t)
    assert (net(x, t + 400) - plain).abs().amax((1, 2, 3)).min() > 1e-3
    assert (net(x, t, y) - plain).abs().amax((1, 2, 3)).min() > 1e-3
    assert (net(x, t, y.flip(0)) - net(x, t, y)).abs().amax((1, 2, 3)).min() > 1e-3
    net.condition.label.weight.data.zero_()
    torch.testing.assert_close(net(x, t, y), plain)
    assert unet().condition.label is None


def test_condition_adds_time_and_label_and_ignores_the_null_label():
    torch.manual_seed(0)
    condition, t, y = (
        Condition(8, LabelEmbedding(5, 8)),
        torch.tensor([0, 3, 700]),
        torch.tensor([4, 0, 2]),
    )
    first, act, second = condition.time
    expected = second(torch.nn.functional.silu(first(time_embedding(t, 8))))
    torch.testing.assert_close(condition(t), expected)
    torch.testing.assert_close(condition(t, y), expected + condition.label.weight[y])
    # the null label equals no label
    assert torch.equal(condition(t, torch.full_like(y, 5)), condition(t))
    # any module that makes a vector of a label
    condition.label = nn.Linear(3, 8, bias=False)
    y = torch.randn(3, 3)
    torch.testing.assert_close(condition(t, y), expected + y @ condition.label.weight.T)


def test_unet_treats_each_picture_of_a_batch_independently():
    net, t, y = (
        unet(2, label=LabelEmbedding(5, 16)),
        torch.tensor([5, 80, 700]),
        torch.tensor([1, 3, 0]),
    )
    x = torch.randn(3, 2, 8, 8, requires_grad=True)
    out = net(x, t, y)
    (gradient,) = torch.autograd.grad(out[0].square().sum(), x)
    assert gradient[1:].abs().max() < 1e-12 and gradient[0].abs().max() > 0
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        net(x[order], t[order], y[order]), out[order], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        net(x[1:2], t[1:2], y[1:2]), out[1:2], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (16, 8), (8, 24)])
def test_timed_block_equals_its_formula(inputs, outputs):
    torch.manual_seed(0)
    block, f = TimedBlock(inputs, outputs, 4).double(), nn.functional
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(torch.randn_like(p))
    x, condition = (
        torch.randn(3, inputs, 5, 4, dtype=torch.float64),
        torch.randn(3, 4, dtype=torch.float64),
    )

    def part(layers, h):
        norm, _, conv = layers
        rows = h.reshape(len(h), max(1, h.shape[1] // 8), -1)
        rows = (rows - rows.mean(2, keepdim=True)) / (
            rows.var(2, keepdim=True, unbiased=False) + norm.eps
        ).sqrt()
        h = (
            rows.reshape(h.shape) * norm.weight[:, None, None]
            + norm.bias[:, None, None]
        )
        return f.conv2d(h / (1 + (-h).exp()), conv.weight, conv.bias, padding=1)

    silu = condition / (1 + (-condition).exp())
    shift = silu @ block.shift[1].weight.T + block.shift[1].bias
    expected = part(block.second, part(block.first, x) + shift[:, :, None, None])
    if inputs == outputs:
        expected = expected + x
    else:
        expected = expected + f.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, condition), expected)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_equals_loops_over_heads_and_places(heads):
    torch.manual_seed(0)
    attention, (n, c, h, w) = SelfAttention(8, heads), (2, 8, 2, 3)
    with torch.no_grad():
        for p in attention.parameters():
            p.copy_(torch.randn_like(p))
    x = torch.randn(n, c, h, w)
    # (N, 3 C, places): all queries, all keys, all values
    qkv = attention.qkv(attention.norm(x)).flatten(2)
    mixed, size = torch.zeros(n, c, h * w), c // heads
    for picture in range(n):
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            q, k, v = (part[rows] for part in qkv[picture].split(c))
            for place in range(h * w):
                scores = [
                    math.exp((q[:, place] @ k[:, j]).item() / math.sqrt(size))
                    for j in range(h * w)
                ]
                for j, score in enumerate(scores):
                    mixed[picture, rows, place] += score / sum(scores) * v[:, j]
    torch.testing.assert_close(
        attention(x), x + attention.out(mixed.reshape(x.shape)), rtol=1e-4, atol=1e-5
    )


def test_unet_attention_connects_distant_places():
    net = unet(1, (8, 16))
    x = torch.randn(1, 1, 96, 96, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x, torch.tensor([50]))[0, 0, 0, 0], x)
    assert gradient[0, 0, -4:, -4:].abs().max() > 0
    net.middle[1].out.weight.data.zero_()
    for module in net.modules():
        # its mean and variance are of all places, too
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    (gradient,) = torch.autograd.grad(net(x, torch.tensor([50]))[0, 0, 0, 0], x)
    assert (
        gradient[0, 0, -4:, -4:].abs().max() == 0 < gradient[0, 0, :4, :4].abs().max()
    )


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_unet_patches_enter_as_channels_and_are_restored(patch):
    net, x = UNet(3, (8,), patch=patch), torch.randn(2, 3, 8, 8)
    inside = net.door[0](x)
    assert inside.shape == (2, 3 * patch**2, 8 // patch, 8 // patch)
    assert torch.equal(net.out[-1](inside), x)
    for i, j in [(0, 0), (patch - 1, 0), (0, patch - 1)]:
        assert torch.equal(inside[:, i * patch + j], x[:, 0, i::patch, j::patch])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (
            lambda net: net(
                torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
                torch.zeros(2, dtype=torch.long),
            ),
            "x",
        ),
        (lambda net: net(torch.zeros(2, 8, 8), torch.zeros(2, dtype=torch.long)), "x"),
        (lambda net: net(torch.zeros(2, 1, 8, 8), torch.zeros(2)), "t"),
        (
            lambda net: net(torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.long)),
            "t",
        ),
        (lambda net: net(torch.zeros(2, 1, 8, 8), 3), "t"),
        (
            lambda net: net(
                torch.zeros(2, 1, 8, 8),
                torch.zeros(2, dtype=torch.long),
                torch.zeros(2),
            ),
            "y",
        ),
        (
            lambda net: net.features(
                torch.zeros(2, 8, 8), torch.zeros(2, dtype=torch.long)
            ),
            "x",
        ),
        (
            lambda net: net.features(
                torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.long)
            ),
            "t",
        ),
        (lambda net: time_embedding(torch.zeros(2, 1), 8), "t"),
        (lambda net: time_embedding(5, 8), "t"),
    ],
)
def test_denoisers_name_the_bad_argument(call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`: expected"):
        call(unet(label=LabelEmbedding(3, 16)))


def test_unet_names_an_indivisible_size_or_an_unexpected_label():
    net = UNet(1, (8, 16))
    with pytest.raises(
        ValueError,
        match=r"`x`: expected a height and width divisible by 4, got \(30, 28\)",
    ):
        net(torch.zeros(1, 1, 30, 28), torch.zeros(1, dtype=torch.long))
    with pytest.raises(
        ValueError,
        match=(
            "`y`: expected None, because the network was built without `label`, got "
            "labels"
        ),
    ):
        net(
            torch.zeros(1, 1, 28, 28),
            torch.zeros(1, dtype=torch.long),
            torch.zeros(1, dtype=torch.long),
        )
    with pytest.raises(
        ValueError,
        match=r"`x`: expected a height and width divisible by 4, got \(28, 30\)",
    ):
        net.features(torch.zeros(1, 1, 28, 30), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="`dim`: expected an even number, got 7"):
        time_embedding(torch.zeros(1), 7)
