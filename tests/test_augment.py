"""Augmentation against torchvision.transforms.v2.functional image by image, with the
random numbers fixed."""

import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from course_lib import augment as A
from course_lib import transforms as T

N = 6


def images(height=20, width=26, channels=3, n=N, seed=0):
    """Noise plus flat, saturated, black, white and grey images: the corners of the
    colour formulas."""
    x = torch.rand(
        n, channels, height, width, generator=torch.Generator().manual_seed(seed)
    )
    # many pixels at the corners of the RGB cube
    x[1, :, :, ::2] = x[1, :, :, ::2].round()
    x[2] = x[2, :1]  # grey
    x[3, :, : height // 2], x[3, :, height // 2 :] = 0, 1  # black above white
    return x


def uniform(low, high, n=N, seed=1):
    return low + (high - low) * torch.rand(
        n, generator=torch.Generator().manual_seed(seed)
    )


def each(function, x, *numbers):
    """The oracle's shape: one call per image, with that image's numbers as Python
    scalars."""
    return torch.stack(
        [
            function(image, *(number[i].tolist() for number in numbers))
            for i, image in enumerate(x)
        ]
    )


def close(ours, theirs, tolerance=1e-3):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert (ours - theirs).abs().max() <= tolerance


# One (name, ours, theirs) per augmentation with fixed numbers, on images that are not
# square unless they must be.

BOXES = torch.tensor(
    [
        [0, 0, 20, 26],
        [3, 5, 7, 9],
        [19, 25, 1, 1],
        [0, 2, 20, 3],
        [8, 0, 12, 26],
        [2, 3, 17, 16],
    ]
)
ERASED = torch.tensor(
    [
        [0, 0, 20, 26],
        [3, 5, 7, 9],
        [19, 25, 1, 1],
        [0, 2, 20, 3],
        [8, 0, 12, 26],
        [4, 4, 0, 5],
    ]
)
TURNS = torch.tensor([0, 1, 2, 3, 1, 3])


@pytest.mark.parametrize("size", [(20, 26), (32, 40), (5, 4), (1, 1), (9, 40), 12])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_crop_equals_torchvision(size, antialias, channels):
    x, square = (
        images(channels=channels),
        [size, size] if isinstance(size, int) else list(size),
    )
    theirs = each(
        lambda image, box: V.resized_crop(image, *box, square, antialias=antialias),
        x,
        BOXES,
    )
    close(T.resized_crop(x, BOXES, size, antialias), theirs, 1e-5)


def test_resized_crop_of_the_whole_image_is_the_image():
    x = images()
    close(T.resized_crop(x, torch.tensor([[0, 0, 20, 26]] * N), (20, 26)), x, 1e-6)


@pytest.mark.parametrize("turns", range(4))
def test_rot90_equals_torchvision(turns):
    x = images(17, 17)
    theirs = each(lambda image, k: V.rotate(image, 90 * k), x, (TURNS + turns) % 4)
    close(T.rot90(x, (TURNS + turns) % 4), theirs, 0)


def test_horizontal_flip_and_rgb_to_grayscale_equal_torchvision():
    close(T.horizontal_flip(images()), V.horizontal_flip(images()), 0)
    close(T.rgb_to_grayscale(images()), V.rgb_to_grayscale(images()), 1e-6)


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("brightness", 0, 2),
        ("contrast", 0, 2),
        ("saturation", 0, 2),
        ("hue", -0.5, 0.5),
        ("hue", -0.01, 0.01),
    ],
)
def test_adjust_functions_equal_torchvision(name, low, high):
    ours, theirs = getattr(T, f"adjust_{name}"), getattr(V, f"adjust_{name}")
    for seed in range(3):
        x, factor = images(seed=seed), uniform(low, high, seed=seed)
        factor[0], factor[1] = low, high
        close(ours(x, factor), each(theirs, x, factor), 1e-5)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_adjust_brightness_and_contrast_of_one_channel_equal_torchvision(name):
    x, factor = images(channels=1), uniform(0, 2)
    close(
        getattr(T, f"adjust_{name}")(x, factor),
        each(getattr(V, f"adjust_{name}"), x, factor),
        1e-5,
    )


def test_adjust_hue_equals_torchvision_on_the_corners_of_the_colour_cube():
    levels = torch.tensor([0.0, 1e-4, 0.5, 1.0])
    x = (
        torch.cartesian_prod(levels, levels, levels)
        .T.reshape(1, 3, 8, 8)
        .repeat(13, 1, 1, 1)
    )
    shift = torch.linspace(-0.5, 0.5, 13)
    close(T.adjust_hue(x, shift), each(V.adjust_hue, x, shift), 1e-5)
    close(T.adjust_hue(x, torch.zeros(13)), x, 1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0), ()])
def test_color_jitter_equals_torchvision_in_the_given_order(order):
    x, factors = (
        images(),
        torch.stack(
            [uniform(0, 2, seed=s) for s in range(3)] + [uniform(-0.5, 0.5, seed=3)], 1
        ),
    )

    def theirs(image, row):
        for k in order:
            image = (
                V.adjust_brightness,
                V.adjust_contrast,
                V.adjust_saturation,
                V.adjust_hue,
            )[k](image, row[k])
        return image

    close(T.color_jitter(x, factors, order), each(theirs, x, factors))


@pytest.mark.parametrize("kernel_size", [1, 3, 9, 23])
@pytest.mark.parametrize("channels", [1, 3])
def test_gaussian_blur_equals_torchvision(kernel_size, channels):
    x, sigma = images(channels=channels), uniform(0.1, 3)
    close(
        T.gaussian_blur(x, sigma, kernel_size),
        each(lambda i, s: V.gaussian_blur(i, kernel_size, s), x, sigma),
        1e-5,
    )


def test_gaussian_noise_equals_torchvision(monkeypatch):
    x, noise = images(), torch.randn(N, 3, 20, 26)
    # where torchvision draws it
    monkeypatch.setattr(torch, "randn_like", lambda image: noise)
    close(T.gaussian_noise(x, 0.3 * noise), V.gaussian_noise(x, sigma=0.3), 1e-6)


def test_erase_equals_torchvision_and_clips_at_the_border():
    x = images()
    close(
        T.erase(x, ERASED, 0.5),
        each(lambda image, b: V.erase(image, *b, torch.tensor(0.5)), x, ERASED),
        0,
    )
    # rows 0 to 4, columns 20 to 25 are inside
    outside = torch.tensor([[-3, 20, 8, 10]] * N)
    close(T.erase(x, outside), V.erase(x, 0, 20, 5, 6, torch.tensor(0.0)), 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_sobel_equals_a_loop(channels):
    x = images(7, 9, channels)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    naive = torch.empty_like(x)
    for i in range(7):
        for j in range(9):
            across = down = 0
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    pixel = x[:, :, min(max(i + a, 0), 6), min(max(j + b, 0), 8)]
                    across, down = (
                        across + kernel[a + 1, b + 1] * pixel,
                        down + kernel[b + 1, a + 1] * pixel,
                    )
            naive[:, :, i, j] = (across**2 + down**2).sqrt().clamp(max=1)
    close(T.sobel(x), naive, 1e-6)
    assert T.sobel(x)[3].max() == 1  # black above white: an edge of full height


# The random numbers.

BATCHED = [
    A.RandomResizedCrop((12, 14)),
    A.RandomHorizontalFlip(),
    A.RandomGrayscale(0.5),
    A.ColorJitter(0.8, 0.8, 0.8, 0.2),
    A.RandomRotate90(),
    A.Cutout(9),
    A.GaussianNoise(0.2),
    A.GaussianBlur(5),
    A.RandomApply(T.sobel),
    A.simclr_augment(20),
    A.simclr_augment(12, strength=1, blur=0.5),
    A.RandomShift(3),
]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    ),
]


def name(transform):
    return type(transform).__name__


@pytest.mark.parametrize("transform", BATCHED, ids=name)
@pytest.mark.parametrize("device", DEVICES)
def test_augmentations_keep_range_and_input_and_are_repeatable_by_seed(
    transform, device
):
    one = images(20, 20)[:1].to(device)
    x = one.repeat(64, 1, 1, 1)
    torch.manual_seed(0)
    y = transform(x)
    assert y.device == x.device and y.dtype == x.dtype and y.shape[:2] == x.shape[:2]
    assert y.min() >= 0 and y.max() <= 1 + 1e-6 and y.isfinite().all()
    assert torch.equal(x, one.expand_as(x))  # the input is untouched
    # equal images become different ones
    assert len({tuple(image.flatten().tolist()) for image in y}) > 1
    torch.manual_seed(0)
    assert torch.equal(transform(x), y)
    assert not torch.equal(transform(x), y)


@pytest.mark.parametrize(
    "transform",
    [
        t
        for t in BATCHED
        if isinstance(
            t,
            (
                A.RandomResizedCrop,
                A.ColorJitter,
                A.GaussianNoise,
                A.GaussianBlur,
                A.Cutout,
            ),
        )
    ],
    ids=name,
)
def test_augmentations_draw_separately_for_each_image(transform):
    y = transform(images(20, 20)[:1].repeat(32, 1, 1, 1))
    # Cutouts may coincide, numbers may not
    assert len({tuple(image.flatten().tolist()) for image in y}) >= 20


@pytest.mark.parametrize(
    "transform", [t for t in BATCHED if not isinstance(t, A.RandomRotate90)], ids=name
)
def test_augmentations_take_images_that_are_not_square(transform):
    assert transform(images(20, 26)).isfinite().all()


def test_augmentations_take_one_channel_or_name_the_bad_argument():
    x = images(20, 20, channels=1)
    for transform in (
        A.RandomResizedCrop(12),
        A.RandomHorizontalFlip(),
        A.ColorJitter(0.4, 0.4),
        A.RandomRotate90(),
        A.Cutout(9),
        A.GaussianNoise(),
        A.GaussianBlur(5),
        T.sobel,
        A.RandomShift(2),
    ):
        assert transform(x).shape[:2] == x.shape[:2]
    for transform in (
        A.ColorJitter(saturation=0.4),
        A.ColorJitter(hue=0.1),
        A.RandomGrayscale(),
    ):
        with pytest.raises(
            ValueError,
            match=(
                r"`x`: expected .*\(N, 3, H, W\), got float32 of shape \(6, 1, 20, "
                r"20\)"
            ),
        ):
            transform(x)


@pytest.mark.parametrize("transform", BATCHED, ids=name)
def test_augmentations_name_a_bad_image_tensor(transform):
    for wrong in (torch.zeros(4, 3, 20, 20, dtype=torch.uint8), torch.zeros(3, 20, 20)):
        with pytest.raises(ValueError, match="argument `x`"):
            transform(wrong)


@pytest.mark.parametrize(
    "call, argument",
    [
        (lambda x: T.resized_crop(x, torch.zeros(3, 4).long(), 8), "boxes"),
        (lambda x: T.erase(x, torch.zeros(6, 4)), "boxes"),
        (lambda x: A.Cutout(0), "size"),
        (lambda x: T.adjust_hue(x, torch.zeros(5)), "shift"),
        (lambda x: T.adjust_contrast(x, 0.5), "factor"),
        (lambda x: T.rot90(x, torch.zeros(6).long()), "x"),
        (lambda x: T.color_jitter(x, torch.zeros(6, 3)), "factors"),
        (lambda x: T.gaussian_blur(x, torch.ones(6), 4), "kernel_size"),
        (lambda x: A.GaussianBlur(41)(x), "kernel_size"),
        (lambda x: T.gaussian_noise(x, torch.zeros(6, 3, 4, 4)), "noise"),
        (lambda x: A.RandomApply(T.sobel, 1.5), "p"),
        (lambda x: A.RandomGrayscale(-0.1)(x), "p"),
        (lambda x: A.ColorJitter(hue=0.6), "hue"),
        (lambda x: A.RandomResizedCrop(8, (0.5, 1.5)), "scale"),
        (lambda x: A.RandomResizedCrop(8, ratio=(2, 1)), "ratio"),
        (lambda x: A.RandomResizedCrop((8, 0)), "size"),
        (lambda x: A.GaussianBlur(3, (0, 1)), "sigma"),
        (lambda x: A.GaussianNoise(-1), "sigma"),
        (lambda x: A.simclr_augment(8, strength=-1), "strength"),
        (lambda x: A.RandomShift(0), "pixels"),
        (lambda x: A.RandomShift(1.5), "pixels"),
        (lambda x: A.RandomShift(4)(x[0]), "x"),
        (lambda x: A.RandomShift(4)(x.long()), "x"),
        # these gave NaN, or pixels of another place
        (lambda x: T.gaussian_blur(x, torch.tensor([1.0] * 5 + [0]), 3), "sigma"),
        (lambda x: T.gaussian_blur(x, torch.full((6,), math.nan), 3), "sigma"),
        (lambda x: T.gaussian_blur(x, torch.full((6,), -1.0), 3), "sigma"),
        (lambda x: T.gaussian_blur(x, torch.ones(6), 3.0), "kernel_size"),
        *(
            (lambda x, b=box: T.resized_crop(x, torch.tensor([b] * 6), 8), "boxes")
            for box in [
                (-1, 0, 5, 5),
                (0, -1, 5, 5),
                (0, 0, 0, 5),
                (0, 0, 5, -2),
                (16, 0, 5, 5),
                (0, 22, 5, 5),
                (30, 30, 5, 5),
            ]
        ),
        (lambda x: T.rot90(x[..., :20], torch.full((6,), 4)), "turns"),
        (lambda x: T.rot90(x[..., :20], torch.full((6,), -1)), "turns"),
        (lambda x: T.color_jitter(x, torch.ones(6, 4), (0, 4)), "order"),
        (lambda x: T.color_jitter(x, torch.ones(6, 4), (-1,)), "order"),
        (lambda x: T.random_boxes(x, (0.5, math.nan), (1, 1)), "scale"),
        (lambda x: T.random_boxes(x, (0.5, 1), (0, 1)), "ratio"),
        (lambda x: A.RandomHorizontalFlip(math.nan), "p"),
        (lambda x: A.RandomGrayscale("1"), "p"),
        (lambda x: A.GaussianBlur(2.5), "kernel_size"),
        (lambda x: A.GaussianBlur(3, 1.0), "sigma"),
        (lambda x: A.GaussianBlur(3, None), "sigma"),
        (lambda x: A.Cutout(2.5), "size"),
        (lambda x: A.Cutout(2, math.nan), "value"),
        (lambda x: A.RandomResizedCrop(8.5), "size"),
        (lambda x: A.RandomResizedCrop("8"), "size"),
        (lambda x: A.RandomResizedCrop(8, 0.5), "scale"),
    ],
)
def test_augmentations_name_the_bad_argument(call, argument):
    with pytest.raises(ValueError, match=f"argument `{argument}`"):
        call(images())


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_random_apply_changes_the_share_p_and_no_other_image(p):
    torch.manual_seed(0)
    x = torch.rand(4000, 1, 2, 3)
    y = A.RandomApply(T.horizontal_flip, p)(x)
    flipped = (y == x.flip(-1)).all(3).all(2).all(1)
    assert torch.equal(y[~flipped], x[~flipped])  # the rest are exactly as they were
    assert abs(flipped.float().mean() - p) <= 4 * math.sqrt(p * (1 - p) / 4000)


@pytest.mark.parametrize(
    "transform",
    [A.RandomHorizontalFlip(0), A.RandomGrayscale(0), A.ColorJitter(), A.Compose([])],
)
def test_augmentations_with_nothing_to_do_are_the_identity(transform):
    assert torch.equal(transform(images()), images())


def test_random_boxes_lie_inside_and_have_torchvisions_distribution():
    torch.manual_seed(0)
    x, scale, ratio = torch.empty(20000, 1, 24, 40), (0.08, 1.0), (0.6, 1.0)
    boxes = T.random_boxes(x, scale, ratio)
    top, left, h, w = boxes.T
    assert (
        boxes.dtype == torch.int64
        and min(top.min(), left.min()) >= 0
        and min(h.min(), w.min()) >= 1
    )
    # never beyond the edge, and up to it
    assert (top + h).max() == 24 and (left + w).max() == 40
    crop = v2.RandomResizedCrop(8, scale, ratio)
    drawn = [crop.make_params([x[0]]) for _ in range(4000)]
    theirs = torch.tensor(
        [[d["top"], d["left"], d["height"], d["width"]] for d in drawn]
    )
    # to four standard errors
    for ours, other in zip(boxes.T.float(), theirs.T.float(), strict=True):
        assert abs(ours.mean() - other.mean()) < 4 * other.std() * math.sqrt(
            1 / 4000 + 1 / 20000
        )
        assert abs(ours.std() / other.std() - 1) < 0.06


def test_random_boxes_are_clamped_if_none_fits():
    boxes = T.random_boxes(torch.empty(50, 3, 4, 64), (0.9, 1.0), (1.0, 1.0))
    assert (
        (boxes[:, 2] == 4).all()
        and (boxes[:, 3] <= 64).all()
        and (boxes[:, 1] + boxes[:, 3] <= 64).all()
    )


def test_color_jitter_draws_factors_in_their_range_and_every_order():
    torch.manual_seed(0)
    x = torch.full((3000, 1, 1, 1), 0.25)
    factor = A.ColorJitter(brightness=0.8)(x) / x
    assert (
        0.2 <= factor.min() < 0.23
        and 1.77 < factor.max() <= 1.8
        and abs(factor.mean() - 1) < 0.04
    )
    # from 0, not from 1 - 1.5 and then clamped
    strong = A.ColorJitter(brightness=1.5)(x) / x
    assert (
        strong.min() < 0.01
        and 2.4 < strong.max() <= 2.5
        and (strong == 0).float().mean() < 0.01
    )
    orders, jitter = set(), A.ColorJitter(0.4, 0.4, 0.4, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            A, "color_jitter", lambda x, factors, order: orders.add(tuple(order))
        )
        for _ in range(300):
            jitter(images())
    assert len(orders) == 24


def test_random_rotate90_draws_the_three_turns_equally_often():
    torch.manual_seed(0)
    corner = torch.tensor([[1.0, 0], [0, 0]]).expand(6000, 1, 2, 2)
    # where the upper left pixel went
    share = A.RandomRotate90()(corner).mean(0).flatten()
    assert share[0] == 0 and (share[1:] - 1 / 3).abs().max() < 0.025


def test_cutout_covers_every_pixel_and_clips_at_the_border():
    torch.manual_seed(0)
    holes = (A.Cutout(6, value=0.0)(torch.ones(4000, 1, 10, 14)) == 0)[:, 0]
    assert (
        holes.any(0).all()
        and holes.sum((1, 2)).max() == 36
        and holes.sum((1, 2)).min() == 9
    )


def shifted(image, down, right):
    """Pixel by pixel; where there is none, the nearest of the border."""
    _, height, width = image.shape
    moved = torch.empty_like(image)
    for i in range(height):
        for j in range(width):
            moved[:, i, j] = image[
                :, min(max(i + down, 0), height - 1), min(max(j + right, 0), width - 1)
            ]
    return moved


@pytest.mark.parametrize("height, width, pixels", [(5, 6, 2), (4, 3, 1)])
def test_random_shift_draws_every_shift_equally_often(height, width, pixels):
    torch.manual_seed(0)
    image, n = torch.rand(3, height, width), 6000
    y = A.RandomShift(pixels)(image.expand(n, 3, height, width))
    by, share = range(-pixels, pixels + 1), 1 / (2 * pixels + 1) ** 2
    found = {
        (a, b): (y == shifted(image, a, b)).flatten(1).all(1).double()
        for a in by
        for b in by
    }
    # each image is one of them, in all channels
    assert (sum(found.values()) == 1).all()
    for hits in found.values():
        assert abs(hits.mean() - share) < 4 * math.sqrt(share * (1 - share) / n)


def test_random_shift_beyond_the_picture_repeats_the_border():
    torch.manual_seed(0)
    image = torch.rand(1, 2, 3)
    y = A.RandomShift(9)(image.expand(4000, 1, 2, 3))
    assert {tuple(each.flatten().tolist()) for each in y} == {
        tuple(shifted(image, a, b).flatten().tolist())
        for a in range(-9, 10)
        for b in range(-9, 10)
    }


def test_random_shift_passes_the_gradient_to_the_pixels_shown():
    x, weight = (
        torch.rand(40, 2, 4, 5, dtype=torch.float64, requires_grad=True),
        torch.rand(40, 2, 4, 5).double(),
    )
    torch.manual_seed(0)
    y = A.RandomShift(2)(x)
    (weight * y).sum().backward()
    expected, places = (
        torch.zeros_like(weight),
        torch.arange(20.0).view(1, 1, 4, 5).expand(40, 2, 4, 5),
    )
    torch.manual_seed(0)
    source = A.RandomShift(2)(places).long()  # which pixel is shown in each place
    assert torch.equal(y, x.flatten(2).gather(2, source.flatten(2)).view_as(x))
    for n in range(40):
        for c in range(2):
            for where, w in zip(
                source[n, c].flatten().tolist(), weight[n, c].flatten().tolist()
            ):
                expected[n, c, where // 5, where % 5] += w
    torch.testing.assert_close(x.grad, expected)


def test_simclr_augment_is_the_composition_of_its_parts():
    x = images(32, 32)
    torch.manual_seed(0)
    y = A.simclr_augment(32, strength=0.5)(x)
    torch.manual_seed(0)
    parts = A.RandomHorizontalFlip(0.5)(
        A.RandomResizedCrop(32, (0.08, 1), (3 / 4, 4 / 3))(x)
    )
    assert torch.equal(
        y,
        A.RandomGrayscale(0.2)(
            A.RandomApply(A.ColorJitter(0.4, 0.4, 0.4, 0.1), 0.8)(parts)
        ),
    )
    assert A.simclr_augment(224, 1, blur=0.5).transforms[-1] == A.RandomApply(
        A.GaussianBlur(23), 0.5
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_simclr_augment_supports_float64_and_float16(dtype):
    x = images(20, 20)
    torch.manual_seed(0)
    y = A.simclr_augment(20, blur=0.5)(x)
    torch.manual_seed(0)
    z = A.simclr_augment(20, blur=0.5)(x.to(dtype))
    assert z.dtype == dtype and (z - y).abs().max() < (
        1e-5 if dtype == torch.float64 else 2e-2
    )


def test_simclr_augment_is_unchanged_by_autocast():
    x = images()
    torch.manual_seed(0)
    y = A.simclr_augment(12, blur=1)(x)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(A.simclr_augment(12, blur=1)(x), y)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_augmentations_do_not_synchronise_with_the_gpu(device):
    transform = A.Compose([*BATCHED[1:9], A.simclr_augment(20, blur=0.5)])
    x = images(20, 20).to(device)
    transform(x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        transform(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Several crops.


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("device", DEVICES)
def test_multi_crop_returns_two_global_and_count_local_crops_drawn_separately(
    count, device
):
    x = images(20, 20).to(device)
    before = x.clone()
    crops = A.MultiCrop(
        A.simclr_augment(16, blur=0.5),
        A.simclr_augment((8, 10), scale=(0.05, 0.3)),
        count,
    )
    torch.manual_seed(0)
    views = crops(x)
    assert [tuple(view.shape) for view in views] == 2 * [(N, 3, 16, 16)] + count * [
        (N, 3, 8, 10)
    ]
    assert all(view.device == x.device and view.dtype == x.dtype for view in views)
    assert all(
        view.min() >= 0 and view.max() <= 1 + 1e-6 and view.isfinite().all()
        for view in views
    )
    assert torch.equal(x, before)
    for size in (views[:2], views[2:]):  # every view is a draw of its own
        assert all(not torch.equal(a, b) for i, a in enumerate(size) for b in size[:i])
    torch.manual_seed(0)
    parts = [crops.global_crop(x), crops.global_crop(x)] + [
        crops.local_crop(x) for _ in range(count)
    ]
    assert all(torch.equal(view, part) for view, part in zip(views, parts, strict=True))


@pytest.mark.parametrize("count", [-1, 1.5, True, None])
def test_multi_crop_rejects_a_count_that_is_no_whole_number(count):
    with pytest.raises(ValueError, match="argument `count`: expected a whole number"):
        A.MultiCrop(A.RandomResizedCrop(8), A.RandomResizedCrop(4), count)
