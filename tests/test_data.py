"""The shipped data, the scenes rendered from it, and `load`, which gives access to
both."""

import copy
import gzip
import hashlib
import importlib.util
import io
import json
import math
import pickle
import re
import shutil
import struct
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from methods import without_home
from sklearn.linear_model import LogisticRegression
from torchvision import datasets

from course_lib.data import (
    Dataset,
    by_row,
    emoji_names,
    emoji_subcategories,
    labelled_subset,
    load,
    names,
    on_background,
    render_scenes,
    scenes,
    shortcut_triplets,
    toys,
)
from course_lib.data.emoji import SPLITS, STYLES, premultiplied
from course_lib.data.files import FOLDER, digest, read

TOOL = Path(__file__).parents[1] / "tools" / "build_data.py"


@pytest.fixture(scope="module")
def build_data():
    spec = importlib.util.spec_from_file_location("build_data", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawings():
    return load("emoji", "train")


@pytest.fixture(scope="module")
def rendered(drawings):
    return render_scenes(drawings, 600, seed=5)


def parts(data: Dataset) -> list[torch.Tensor]:
    return [data.x, data.y, *data.info.values()]


# --- what ships ---


def test_manifest_names_every_shipped_array_and_its_hash():
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert (
        set(manifest["files"])
        == {path.name for path in FOLDER.glob("*.npz")}
        == set(manifest["licences"])
    )
    assert all(
        re.fullmatch(r"npm \S+@\d[\d.]*|pypi \S+==\d[\d.]*", p)
        for p in manifest["packages"]
    )
    for name, arrays in manifest["files"].items():
        with np.load(FOLDER / name, allow_pickle=False) as file:
            assert {key: digest(file[key]) for key in file.files} == arrays
    assert (
        sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 20e6
    )


def test_digest_depends_on_value_shape_and_dtype():
    array = np.arange(6, dtype=np.uint8)
    changed = array.copy()
    changed[3] += 1
    others = [array.reshape(2, 3), array.astype(np.int8), changed]
    assert len({digest(a) for a in [array, *others]}) == 4
    assert digest(array.reshape(2, 3).T) == digest(
        np.ascontiguousarray(array.reshape(2, 3).T)
    )


@pytest.mark.parametrize("name", ["emoji.npz", "digits.npz"])
def test_read_names_truncated_altered_and_missing_files(tmp_path, name):
    shutil.copy(FOLDER / "manifest.json", tmp_path)
    good = (FOLDER / name).read_bytes()
    middle = len(good) // 2
    for bad in (
        good[:middle],
        good[:-10],
        good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        b"",
    ):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(OSError, match=f"{name} is missing, truncated or altered"):
            read(name, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=f"{name} is missing"):
        read(name, tmp_path)
    (tmp_path / name).write_bytes(good)
    assert set(read(name, tmp_path)) == set(
        json.loads((FOLDER / "manifest.json").read_text())["files"][name]
    )


def test_read_names_a_well_formed_file_with_other_values(tmp_path):
    shutil.copy(FOLDER / "manifest.json", tmp_path)
    arrays = read("digits.npz")
    arrays["test_x"][7, 3, 3] ^= 1
    np.savez_compressed(tmp_path / "digits.npz", **arrays)
    with pytest.raises(OSError, match=r"digits\.npz is altered .*test_x"):
        read("digits.npz", tmp_path)
    # would need pickle
    np.savez(
        tmp_path / "digits.npz", **{k: v[:9].astype(object) for k, v in arrays.items()}
    )
    with pytest.raises(OSError, match="digits.npz"):
        read("digits.npz", tmp_path)


# --- emoji ---


def test_emoji_have_the_expected_counts_splits_and_labels():
    arrays, all_ids = read("emoji.npz"), []
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        data = load("emoji", split)
        assert (
            data.x.shape[1:] == (4, 32, 32)
            and data.x.dtype == torch.uint8
            and data.y.dtype == torch.int64
        )
        ids = data.info["emoji"].unique()
        all_ids.append(ids)
        assert len(data) == 3 * len(ids)
        for k in range(9):  # stratified: every category in its share, to two families
            total = (arrays["category"] == k).sum()
            assert abs((data.y == k).sum() / 3 - share * total) <= 4
        rows = torch.arange(0, len(data), 7)
        picture = arrays["pictures"][data.info["emoji"][rows], data.info["style"][rows]]
        assert torch.equal(data.x[rows], torch.from_numpy(picture).permute(0, 3, 1, 2))
        assert torch.equal(data.y, data.info["category"])
        assert torch.equal(
            data.y, torch.from_numpy(arrays["category"]).long()[data.info["emoji"]]
        )
    assert torch.cat(all_ids).sort().values.tolist() == list(range(1906))
    assert STYLES == tuple(arrays["styles"]) and len(load("emoji").classes) == 9
    assert len(emoji_names()) == 1906 and len(emoji_subcategories()) == 98
    k = emoji_names().index("grinning face")
    assert load("emoji").classes[arrays["category"][k]] == "Smileys & Emotion"
    assert emoji_subcategories()[arrays["subcategory"][k]] == "face-smiling"


def test_emoji_drawings_are_not_empty_centred_and_have_a_margin():
    alpha = torch.from_numpy(read("emoji.npz")["pictures"][..., 3]).flatten(0, 1)
    assert (alpha > 127).flatten(1).any(1).all()
    left, top, right, bottom = scenes.boxes((alpha > 8)[:, None]).T
    # in half pixels
    assert (left + right - 32).abs().max() <= 3 and (top + bottom - 32).abs().max() <= 3
    # the smallest fill half the canvas
    assert torch.maximum(right - left, bottom - top).min() >= 15
    assert not (alpha[:, [0, -1]].any() or alpha[:, :, [0, -1]].any())  # the margin


def test_emoji_families_are_in_one_split_each(build_data):
    arrays = read("emoji.npz")
    for family in np.unique(arrays["family"]):
        assert len(set(arrays["split"][arrays["family"] == family])) == 1
    name_of = {name: k for k, name in enumerate(emoji_names())}
    for group in (
        ["man cook", "woman cook", "cook"],
        ["clock face one oclock", "clock face six-thirty"],
        ["france flag", "st. martin flag"],
        ["man running", "woman running facing right", "runner"],
    ):
        assert (
            len({arrays["family"][name_of[name]] for name in group if name in name_of})
            == 1
        )
    assert (
        arrays["family"][name_of["france flag"]]
        != arrays["family"][name_of["japan flag"]]
    )


def test_emoji_test_drawings_have_no_near_copy_in_training():
    """Naively: for each style, no drawing of a test emoji lies within SAME of one of a
    training emoji."""
    train, test = (
        premultiplied(load("emoji", split).x).flatten(1) for split in ("train", "test")
    )
    for style in range(3):
        apart = torch.cdist(
            test[style::3].double(), train[style::3].double()
        ) / math.sqrt(train.shape[1])
        assert apart.min() > 0.04


def test_on_background_equals_a_loop(drawings):
    x = drawings.x[:4]
    for background in (0.0, 0.3, 1.0):
        out = on_background(x, background)
        for n, i, j in [(0, 16, 16), (1, 5, 20), (2, 3, 3), (3, 30, 9)]:
            r = x[n, :, i, j].double()
            expected = r[:3] * r[3] / 255 + 255 * background * (1 - r[3] / 255)
            assert (out[n, :, i, j] - expected).abs().max() <= 0.51
    with pytest.raises(ValueError, match="rgba"):
        on_background(x[:, :3])
    with pytest.raises(ValueError, match="background"):
        on_background(x, 255)


@pytest.mark.parametrize("split", SPLITS)
def test_emoji_on_white_are_the_same_rows_on_white(split):
    plain, drawn = load("emoji_on_white", split), load("emoji", split)
    assert plain.x.shape == (len(drawn), 3, 32, 32) and plain.x.dtype == torch.uint8
    assert all(
        torch.equal(a, b)
        for a, b in zip(parts(plain)[1:], parts(drawn)[1:], strict=True)
    )
    assert plain.info.keys() == drawn.info.keys() and plain.classes == drawn.classes
    colour, alpha = drawn.x[:, :3], drawn.x[:, 3:].expand_as(plain.x)
    assert (plain.x[alpha == 0] == 255).all() and torch.equal(
        plain.x[alpha == 255], colour[alpha == 255]
    )
    half = (alpha > 0) & (alpha < 255)
    share = alpha[half].double() / 255
    expected = share * colour[half].double() + (1 - share) * 255
    assert half.any() and (plain.x[half].double() - expected).abs().max() <= 0.51
    if split != "train":
        assert not set(plain.info["emoji"].tolist()) & set(
            load("emoji_on_white").info["emoji"].tolist()
        )


def test_emoji_on_white_do_not_change_the_emoji():
    before = load("emoji", "val").x.clone()
    load("emoji_on_white", "val").x.zero_()
    assert (
        torch.equal(load("emoji", "val").x, before)
        and load("emoji_on_white", "val").x.max() == 255
    )
    assert "emoji_on_white" in names()
    with pytest.raises(
        ValueError, match="emoji_on_white has train, val, test, got 'all'"
    ):
        load("emoji_on_white", "all")


# --- the builder ---


def naive_shrink(rgba: np.ndarray, size: int, margin: int) -> np.ndarray:
    """Weights of a Hamming-windowed sinc over the drawing's square, alpha-weighted
    colours, pixel by pixel."""
    height, inner = rgba.shape[0], size - 2 * margin
    there = np.argwhere(rgba[..., 3] > 8)
    (top, left), (bottom, right) = there.min(0), there.max(0) + 1
    side = max(bottom - top, right - left, height / 2)
    scale = side / inner

    def weights(start):
        rows = np.zeros((inner, height))
        for i in range(inner):
            for k in range(height):
                d = (k + 0.5 - (start + (i + 0.5) * scale)) / scale
                rows[i, k] = (
                    np.sinc(d) * (0.54 + 0.46 * np.cos(np.pi * d)) if abs(d) < 1 else 0
                )
        return rows

    def window_total(start):  # transparent pixels beyond the canvas count as well
        k = np.arange(-height, 2 * height)
        d = (
            k[None] + 0.5 - (start + (np.arange(inner)[:, None] + 0.5) * scale)
        ) / scale
        return np.where(
            abs(d) < 1, np.sinc(d) * (0.54 + 0.46 * np.cos(np.pi * d)), 0
        ).sum(1, keepdims=True)

    y, x = (top + bottom - side) / 2, (left + right - side) / 2
    down, across = weights(y) / window_total(y), weights(x) / window_total(x)
    rgba = rgba.astype(float) / 255
    colour = np.einsum("ih,jw,hwc->ijc", down, across, rgba[..., :3] * rgba[..., 3:])
    alpha = np.einsum("ih,jw,hw->ij", down, across, rgba[..., 3])[..., None]
    out = np.zeros((size, size, 4))
    out[margin:-margin, margin:-margin] = np.concatenate([colour, alpha], 2)
    return out  # premultiplied


@pytest.mark.parametrize("box", [(10, 50, 4, 60), (28, 34, 40, 52), (0, 64, 0, 64)])
def test_shrink_weighs_colour_with_alpha(build_data, box):
    random = np.random.default_rng(0)
    rgba = np.zeros((64, 64, 4), np.uint8)
    top, bottom, left, right = box
    rgba[top:bottom, left:right] = random.integers(
        0, 256, (bottom - top, right - left, 4)
    )
    rgba[[top, bottom - 1], left:right, 3] = rgba[top:bottom, [left, right - 1], 3] = (
        255
    )
    small = build_data.shrink(rgba).astype(float) / 255
    small[..., :3] *= small[..., 3:]
    expected = naive_shrink(rgba, build_data.SIZE, build_data.MARGIN)
    # PIL rounds after each of its three passes
    assert np.abs(small - expected).max() <= 3.1 / 255


def test_shrink_leaves_no_dark_edge(build_data):
    disc = np.zeros((64, 64, 4), np.uint8)  # transparent black around pure white
    disc[np.hypot(*np.mgrid[-32:32, -32:32]) < 25] = 255
    small = build_data.shrink(disc)
    assert (small[small[..., 3] > 4][:, :3] >= 250).all() and (
        small[..., 3] % 255 != 0
    ).any()


def test_stem_joins_variants_and_splits_keep_families_and_shares(build_data):
    stem = build_data.stem
    assert (
        stem("1F468-200D-1F373")
        == stem("1F469-200D-1F373")
        == stem("1F9D1-200D-1F373")
        != stem("1F468-200D-1F680")
    )
    assert stem("1F3C3-200D-2642-FE0F-200D-27A1-FE0F") == stem("1F3C3")
    assert stem("1F550") == stem("1F567") != stem("1F568")
    category = np.repeat([0, 1], [100, 50])
    family = np.concatenate([np.repeat(0, 20), np.arange(1, 81), np.arange(81, 131)])
    codes = [f"{k:X}" for k in range(150)]
    split = build_data.splits(category, family, codes)
    assert np.bincount(split[:100]).tolist() == [70, 10, 20] and np.bincount(
        split[100:]
    ).tolist() == [35, 5, 10]
    assert (
        len(set(split[:20])) == 1
        and (split == build_data.splits(category, family, codes)).all()
    )


def test_families_joins_emoji_with_near_pictures(build_data):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (6, 3, 8, 8, 4)).astype(np.uint8)
    pictures[3, :2] = pictures[1, :2]  # the same in two styles
    pictures[4, 2] = pictures[1, 2]  # in one
    emoji = [{"unified": code} for code in ("A", "B", "C", "D", "E", "C-200D-2642")]
    assert build_data.families(emoji, pictures).tolist() == [0, 1, 2, 1, 1, 2]


def test_unpickler_admits_arrays_only(build_data):
    array = np.arange(5, dtype=np.float32)
    assert (
        build_data.ArraysOnly(io.BytesIO(pickle.dumps(array, 3))).load() == array
    ).all()
    for value in (print, Path("x"), np.float64):
        with pytest.raises(pickle.UnpicklingError, match="not part of an array"):
            build_data.ArraysOnly(io.BytesIO(pickle.dumps(value, 3))).load()


# --- scenes ---


def test_emoji_and_scenes_splits_share_no_emoji():
    for name in ("emoji", "scenes"):
        seen = {
            split: set(load(name, split).info["emoji"].tolist()) for split in SPLITS
        }
        assert not (
            seen["train"] & seen["test"]
            or seen["train"] & seen["val"]
            or seen["val"] & seen["test"]
        )
        assert all(
            seen[split] <= set(load("emoji", split).info["emoji"].tolist())
            for split in SPLITS
        )


def test_load_scenes_has_fixed_splits_and_returns_copies():
    train = load("scenes")
    assert [len(load("scenes", split)) for split in SPLITS] == [20_000, 2_000, 4_000]
    assert train.x.shape == (20_000, 3, 32, 32) and train.x.dtype == torch.uint8
    assert train.info["mask"].shape == (20_000, 1, 32, 32) and train.info[
        "box"
    ].shape == (20_000, 4)
    again = render_scenes(load("emoji", "train"), 100, seed=0)
    assert all(
        torch.equal(a, b) for a, b in zip(parts(train[:100]), parts(again), strict=True)
    )
    train.x.zero_()
    assert load("scenes").x.any()


@pytest.mark.parametrize("chunk", [1, 7, 64, 600, 10_000])
def test_render_scenes_is_the_same_for_any_chunk(drawings, rendered, chunk):
    other = render_scenes(drawings, 600, seed=5, chunk=chunk)
    assert all(
        torch.equal(a, b) for a, b in zip(parts(rendered), parts(other), strict=True)
    )


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 599])
def test_render_scenes_with_larger_n_only_adds_rows(drawings, rendered, n):
    fewer = render_scenes(drawings, n, seed=5)
    assert all(
        torch.equal(a[:n], b)
        for a, b in zip(parts(rendered), parts(fewer), strict=True)
    )


def test_render_scenes_depends_on_the_seed_and_keeps_the_global_random_state(
    drawings, rendered
):
    before = torch.get_rng_state()
    assert not torch.equal(render_scenes(drawings, 600, seed=6).x, rendered.x)
    assert torch.equal(before, torch.get_rng_state())


def naive_scene(rgba: torch.Tensor, u: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """One scene, pixel by pixel: place, turn and size undone, then a bilinear lookup in
    premultiplied colours."""
    source = rgba.double().numpy() / 255
    source[:3] *= source[3]
    size = scenes.SIZES[0] + (scenes.SIZES[1] - scenes.SIZES[0]) * u[1]
    angle = math.radians(scenes.TURN) * (2 * u[2] - 1)
    # of the drawing, in pixels
    cx, cy = ((2 * v - 1) * (1 - size) * 16 + 16 for v in u[3:5])
    grid = np.array(u[5:]).reshape(3, scenes.GRID, scenes.GRID)
    scene, alpha = np.zeros((3, 32, 32)), np.zeros((32, 32))

    def cubic(t, a=-0.75):  # Keys' kernel with torch's a
        t = abs(t)
        return (
            (a + 2) * t**3 - (a + 3) * t**2 + 1
            if t <= 1
            else a * (t**3 - 5 * t**2 + 8 * t - 4)
            if t < 2
            else 0.0
        )

    control = np.zeros((32, scenes.GRID))
    for i in range(32):
        t = i * (scenes.GRID - 1) / 31
        for k in range(math.floor(t) - 1, math.floor(t) + 3):
            control[i, min(max(k, 0), scenes.GRID - 1)] += cubic(t - k)
    texture = np.einsum("ia,jb,cab->cij", control, control, grid).clip(0, 1)
    for i in range(32):
        for j in range(32):
            dx, dy = j + 0.5 - cx, i + 0.5 - cy
            x = (dx * math.cos(angle) - dy * math.sin(angle)) / size + 16 - 0.5
            y = (dx * math.sin(angle) + dy * math.cos(angle)) / size + 16 - 0.5
            pasted = np.zeros(4)
            for k in (math.floor(y), math.floor(y) + 1):
                for m in (math.floor(x), math.floor(x) + 1):
                    if 0 <= k < 32 and 0 <= m < 32:
                        pasted += source[:, k, m] * (1 - abs(y - k)) * (1 - abs(x - m))
            scene[:, i, j], alpha[i, j] = (
                pasted[:3] + (1 - pasted[3]) * texture[:, i, j],
                pasted[3],
            )
    return scene, alpha


def test_render_scenes_equals_a_loop_over_pixels(drawings, rendered):
    u = torch.rand(
        600, 5 + 3 * scenes.GRID**2, generator=torch.Generator().manual_seed(5)
    ).double()
    for k in range(8):
        row = int(u[k, 0] * len(drawings))
        scene, alpha = naive_scene(drawings.x[row], u[k].tolist())
        assert np.abs(rendered.x[k].numpy() - 255 * scene).max() < 0.6
        sure = abs(alpha - scenes.MASKED) > 1e-4
        assert (rendered.info["mask"][k, 0].numpy() == (alpha >= scenes.MASKED))[
            sure
        ].all()
        for name in drawings.info:
            assert rendered.info[name][k] == drawings.info[name][row]


def test_scene_boxes_enclose_their_masks(rendered):
    for mask, box in zip(
        rendered.info["mask"][:, 0], rendered.info["box"].tolist(), strict=True
    ):
        left, top, right, bottom = box
        where = mask.nonzero()
        assert [top, left] == where.amin(0).tolist() and [bottom, right] == (
            where.amax(0) + 1
        ).tolist()
    assert (
        scenes.boxes(torch.zeros(2, 1, 5, 6, dtype=torch.bool)).tolist()
        == [[0] * 4] * 2
    )
    for split in SPLITS:
        # something to find in every scene
        assert load("scenes", split).info["mask"].sum((1, 2, 3)).min() >= 8


def test_scene_labels_are_those_of_the_drawing(rendered):
    arrays = read("emoji.npz")
    emoji = rendered.info["emoji"].numpy()
    assert (rendered.y.numpy() == arrays["category"][emoji]).all()
    assert (rendered.info["subcategory"].numpy() == arrays["subcategory"][emoji]).all()
    assert rendered.classes == load("emoji").classes


def test_scene_background_and_place_do_not_predict_the_category():
    """A linear probe on what surrounds the object, and on where the object is, against
    one on shuffled labels."""
    train, test = load("scenes")[:4000], load("scenes", "test")
    random = np.random.default_rng(0)

    def seen(data):
        outside = ~data.info["mask"]
        # (N, 3, 4, 4)
        blocks = (data.x * outside).float().unfold(2, 8, 8).unfold(3, 8, 8).sum((4, 5))
        area = outside.float().unfold(2, 8, 8).unfold(3, 8, 8).sum((4, 5))
        colour = blocks / 255 / area.clamp(min=1)
        colour = torch.where(area >= 1, colour, 0.5).flatten(1)
        box = data.info["box"].float()
        return colour.numpy(), (box[:, :2] + box[:, 2:]).numpy() / 32

    def score(x, y, x_test):
        return LogisticRegression(max_iter=200).fit(x, y).score(x_test, test.y.numpy())

    y = train.y.numpy()
    for x, x_test in zip(seen(train), seen(test), strict=True):
        chance = [score(x, random.permutation(y), x_test) for _ in range(3)]
        assert abs(score(x, y, x_test) - np.mean(chance)) < 0.03
    # the probe is able to find what is there: the object's own colours do tell
    # something
    own = [
        (d.x * d.info["mask"]).float().mean((2, 3)).numpy() / 64 for d in (train, test)
    ]
    assert score(own[0], y, own[1]) > np.mean(chance) + 0.03


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_render_scenes_on_cuda_differs_by_rounding_only(drawings, rendered):
    other = render_scenes(drawings.to("cuda"), 600, seed=5)
    assert other.x.device.type == "cuda" and all(
        t.device.type == "cuda" for t in other.info.values()
    )
    assert (other.x.cpu().int() - rendered.x.int()).abs().max() <= 1
    assert torch.equal(other.y.cpu(), rendered.y) and torch.equal(
        other.info["emoji"].cpu(), rendered.info["emoji"]
    )
    assert (other.info["mask"].cpu() != rendered.info["mask"]).float().mean() < 1e-3


def test_render_scenes_names_the_bad_argument(drawings, rendered):
    with pytest.raises(ValueError, match="rgba"):
        render_scenes(rendered, 5, seed=0)
    with pytest.raises(ValueError, match="`n`"):
        render_scenes(drawings, 0, seed=0)


# --- digits and toys ---


def test_digits_have_the_expected_shapes_counts_and_labels():
    for split, each in (("train", 1200), ("test", 200)):
        data = load("digits", split)
        assert data.x.shape == (10 * each, 1, 28, 28) and data.x.dtype == torch.uint8
        assert data.y.bincount().tolist() == [each] * 10 and data.classes == tuple(
            "0123456789"
        )
        assert data.x.min() == 0 and data.x.max() == 255
    train, test = load("digits"), load("digits", "test")
    nearest = torch.cdist(
        test.x[:500].flatten(1).float(), train.x.flatten(1).float()
    ).argmin(1)
    # labels belong to their pictures
    assert (train.y[nearest] == test.y[:500]).float().mean() > 0.9


A = 6 * math.pi
MOMENTS = {  # mean of x^2, y^2 and x y without noise; the mean is zero for all
    "moons": (0.75, 0.5 - 1 / math.pi + 0.0625, 0.125 - 1 / math.pi),
    "gaussians": (1.0, 1.0, 0.0),
    "grid": (1.0, 1.0, 0.0),  # (0 + 1 + 1 + 4 + 4) / 5 / 2
    "rings": ((0.5**2 + 1.25**2 + 2**2) / 6,) * 2 + (0.0,),
    # with s = sqrt(u), a = 6 pi: E[x^2] = int 8 s^3 cos^2(3 pi s) ds = 1 + int 4 s^3
    # cos(a s) ds = 1 + 12 / a^2
    "spirals": (1 + 12 / A**2, 1 - 12 / A**2, -4 / A + 24 / A**3),
    "checkerboard": (4 / 3, 4 / 3, 0.25),
}


@pytest.mark.parametrize("name", list(MOMENTS))
def test_toys_have_their_closed_form_moments(name):
    draw, components = toys.TOYS[name]
    n = 200_000
    x, y = draw(n, torch.Generator().manual_seed(3))
    x = x.double()
    noise = 0.0 if name == "checkerboard" else toys.NOISE**2
    xx, yy, xy = MOMENTS[name]
    moments = torch.stack(
        [x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1]]
    )
    expected = torch.tensor([0, 0, xx + noise, yy + noise, xy], dtype=torch.float64)
    assert (
        (moments.mean(1) - expected).abs() < 5 * moments.std(1) / math.sqrt(n)
    ).all()
    assert y.bincount().tolist() == pytest.approx(
        [n / components] * components, rel=0.05
    )


def test_toys_points_lie_near_their_component():
    data = load("gaussians")
    angle = data.y * math.pi / 4
    centre = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    assert (data.x - centre).norm(dim=1).max() < 6 * toys.NOISE
    rings = load("rings")
    assert (rings.x.norm(dim=1) - (0.5 + 0.75 * rings.y)).abs().max() < 6 * toys.NOISE
    column, row = (load("checkerboard").x + 2).floor().long().T
    assert (
        ((column + row) % 2 == 0).all()
        and torch.stack([column, row]).min() == 0
        and row.max() == column.max() == 3
    )
    moons = load("moons")
    # of each half circle
    centre = torch.where(moons.y == 0, -1, 1)[:, None] * torch.tensor([0.5, 0.25])
    offset = moons.x - centre
    assert (offset.norm(dim=1) - 1).abs().max() < 6 * toys.NOISE
    assert (offset[:, 1] * torch.where(moons.y == 0, 1, -1)).min() > -6 * toys.NOISE
    spirals = load("spirals")
    radius = torch.linspace(0, 2, 2000)
    arm = (
        torch.stack([(1.5 * math.pi * radius).cos(), (1.5 * math.pi * radius).sin()], 1)
        * radius[:, None]
    )
    sign = 1 - 2 * spirals.y[:, None]  # the second arm is the first turned by half
    own, other = (
        torch.cdist(points, arm).amin(1)
        for points in (sign * spirals.x, -sign * spirals.x)
    )
    assert (
        own.max() < 6 * toys.NOISE
        and (own < other)[spirals.x.norm(dim=1) > 0.5].float().mean() > 0.99
    )


SQUARED = {
    "gaussians": [2] * 8,
    "grid": [(a * a + b * b) / 2 for a in range(-2, 3) for b in range(-2, 3)],
}


@pytest.mark.parametrize(("name", "lengths"), SQUARED.items())
def test_toys_with_centres_are_round_gaussians_around_them(name, lengths):
    data, centres = load(name), toys.CENTRES[name]()
    assert centres.shape == (toys.TOYS[name][1], 2) and centres.dtype == torch.float32
    assert centres.square().sum(1).tolist() == pytest.approx(lengths, abs=1e-5)
    for k, centre in enumerate(centres.double()):
        offset = data.x[data.y == k].double() - centre
        error = toys.NOISE / math.sqrt(len(offset))
        assert (
            offset.norm(dim=1).max() < 6 * toys.NOISE
            and (offset.mean(0).abs() < 5 * error).all()
        )
        assert offset.std(0).tolist() == pytest.approx(
            [toys.NOISE] * 2, rel=5 / math.sqrt(2 * len(offset))
        )
        angle = offset[:, 0].atan2(offset[:, 1])  # round, not only as wide as high
        assert angle.mul(2).cos().mean().abs() < 5 / math.sqrt(2 * len(offset))
    apart = torch.cdist(centres, centres).fill_diagonal_(math.inf).amin(1)
    nearest = {
        "gaussians": 2 * math.sqrt(2) * math.sin(math.pi / 8),
        "grid": 1 / math.sqrt(2),
    }[name]
    assert apart.tolist() == pytest.approx([nearest] * len(centres), rel=1e-5)


def test_toys_centres_are_known_for_gaussians_and_grid():
    assert set(toys.CENTRES) == {"gaussians", "grid"} and set(toys.CENTRES) < set(
        toys.TOYS
    ) == set(MOMENTS)
    rows = toys.grid_centres().view(5, 5, 2) * math.sqrt(2)  # row by row
    torch.testing.assert_close(
        rows[..., 0], torch.arange(-2.0, 3)[:, None].expand(5, 5)
    )
    torch.testing.assert_close(rows[..., 1], torch.arange(-2.0, 3).expand(5, 5))
    # each is the one before, an eighth of a turn on
    turned = toys.circle_centres().roll(-1, 0)
    torch.testing.assert_close(
        torch.view_as_complex(turned),
        torch.view_as_complex(toys.circle_centres()) * complex(0.5**0.5, 0.5**0.5),
    )


def test_toys_splits_differ_and_are_repeatable():
    for name in toys.TOYS:
        train, test = load(name), load(name, "test")
        assert (
            train.x.shape == (10_000, 2)
            and test.x.shape == (2_000, 2)
            and train.x.dtype == torch.float32
        )
        assert torch.equal(load(name).x, train.x) and not torch.equal(
            train.x[:2_000], test.x
        )
    together = load("toys", "val")
    assert together.classes == tuple(toys.TOYS) and len(together) == 2_000 * len(
        toys.TOYS
    )
    one = together[together.y == together.classes.index("rings")]
    assert torch.equal(one.x, load("rings", "val").x) and torch.equal(
        one.info["component"], load("rings", "val").y
    )


# --- correlated Gaussians ---


def joint(gaussians) -> torch.distributions.MultivariateNormal:
    """Of (x_1, ..., x_dim, y_1, ..., y_dim)."""
    eye, rho = torch.eye(gaussians.dim, dtype=torch.float64), gaussians.correlation
    covariance = torch.cat(
        [torch.cat([eye, rho * eye], 1), torch.cat([rho * eye, eye], 1)]
    )
    return torch.distributions.MultivariateNormal(
        torch.zeros(2 * gaussians.dim, dtype=torch.float64), covariance
    )


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.9])
def test_mutual_information_equals_numerical_quadrature(correlation):
    gaussians, step = toys.CorrelatedGaussians(correlation), 0.02
    axis = torch.arange(-8, 8, step, dtype=torch.float64)
    log_p = (
        joint(gaussians)
        .log_prob(torch.cartesian_prod(axis, axis))
        .reshape(len(axis), len(axis))
    )
    p = log_p.exp() * step**2
    # of the marginals, summed as well
    log_product = (p.sum(1)[:, None] * p.sum(0)).log() - 2 * math.log(step)
    assert gaussians.mutual_information == pytest.approx(
        (p * (log_p - log_product)).sum().item(), abs=1e-6
    )


@pytest.mark.parametrize("correlation, dim", [(0.3, 1), (0.99, 3), (-0.7, 8)])
def test_mutual_information_is_the_divergence_from_independence(correlation, dim):
    gaussians, independent = (
        toys.CorrelatedGaussians(correlation, dim),
        joint(toys.CorrelatedGaussians(0.0, dim)),
    )
    expected = torch.distributions.kl_divergence(joint(gaussians), independent).item()
    assert gaussians.mutual_information == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("correlation, dim", [(0.8, 1), (-0.6, 3), (0.0, 3)])
def test_log_ratio_is_the_difference_of_log_densities(correlation, dim):
    x, y = (
        2
        * torch.randn(
            n, dim, generator=torch.Generator().manual_seed(n), dtype=torch.float64
        )
        for n in (4, 7)
    )
    found = toys.CorrelatedGaussians(correlation, dim).log_ratio(x, y)
    assert found.shape == (4, 7)
    marginal = torch.distributions.Normal(0.0, 1.0)
    for i in range(4):
        conditional = torch.distributions.Normal(
            correlation * x[i], math.sqrt(1 - correlation**2)
        )
        for j in range(7):
            expected = (conditional.log_prob(y[j]) - marginal.log_prob(y[j])).sum()
            assert found[i, j].item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("correlation, dim", [(0.9, 1), (-0.6, 3)])
def test_correlated_gaussians_have_the_expected_moments(correlation, dim):
    gaussians, n = toys.CorrelatedGaussians(correlation, dim), 200_000
    x, y = gaussians.sample(n, torch.Generator().manual_seed(3))
    assert x.shape == y.shape == (n, dim) and x.dtype == y.dtype == torch.float32
    z = torch.cat([x, y], 1).double()
    assert (z.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert (
        z.T @ z / n - joint(gaussians).covariance_matrix
    ).abs().max() < 5 * math.sqrt(2 / n)
    ratios = torch.stack(
        [
            gaussians.log_ratio(a[None], b[None])[0, 0]
            for a, b in zip(x[:2000], y[:2000])
        ]
    )
    assert ratios.mean().item() == pytest.approx(
        gaussians.mutual_information, abs=5 * ratios.std().item() / 2000**0.5
    )


def test_correlated_gaussians_sample_uses_the_given_generator_only():
    gaussians = toys.CorrelatedGaussians(0.5, 2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (
        gaussians.sample(10, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert all(
        torch.equal(a, b) and not torch.equal(a, c)
        for a, b, c in zip(first, again, other)
    )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("correlation", [1, -1.0, 1.5, -2, float("nan"), "0.5", None])
def test_correlated_gaussians_reject_a_correlation_not_between_minus_1_and_1(
    correlation,
):
    with pytest.raises(ValueError, match="argument `correlation`: expected a number"):
        toys.CorrelatedGaussians(correlation)


@pytest.mark.parametrize("dim", [0, -1, 2.0, True])
def test_correlated_gaussians_reject_a_dim_that_is_no_positive_whole_number(dim):
    with pytest.raises(ValueError, match="argument `dim`: expected a whole number"):
        toys.CorrelatedGaussians(0.5, dim)


# --- Dataset, labels ---


def test_dataset_indexing_moving_and_pickling_keep_rows_aligned(rendered):
    for rows in (slice(10, 50, 3), torch.tensor([5, 5, 0]), rendered.y == 3):
        some = rendered[rows]
        assert all(
            torch.equal(a, b[rows])
            for a, b in zip(parts(some), parts(rendered), strict=True)
        )
        assert len(some) == len(some.y) and some.classes == rendered.classes
    for other in (
        pickle.loads(pickle.dumps(rendered)),
        copy.deepcopy(rendered),
        rendered.to("cpu"),
    ):
        assert all(
            torch.equal(a, b)
            for a, b in zip(parts(other), parts(rendered), strict=True)
        )
    assert all(t.device.type == "meta" for t in parts(rendered.to("meta")))


def test_dataset_rejects_misaligned_rows_and_single_indices():
    x = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    for bad in (
        dict(y=torch.zeros(3)),
        dict(y=torch.zeros(4), info={"mask": torch.zeros(5)}),
    ):
        with pytest.raises(ValueError, match="expected 4 rows"):
            Dataset(x=x, classes=(), **bad)
    for rows in (3, "train", torch.tensor(3)):
        with pytest.raises(ValueError, match="rows"):
            Dataset(x, torch.zeros(4), ())[rows]


def test_by_row_makes_every_row_a_class_and_changes_nothing_else(rendered):
    rows, y = by_row(rendered), rendered.y.clone()
    assert (
        rows.y.tolist() == list(range(600))
        and rows.y.dtype == torch.int64
        and rows.classes == ()
    )
    assert (
        rows.x is rendered.x
        and rows.info.keys() == rendered.info.keys()
        and len(rows.info) > 0
    )
    assert all(rows.info[name] is rendered.info[name] for name in rows.info)
    assert torch.equal(rendered.y, y) and len(rendered.classes) == 9
    assert by_row(rendered[torch.tensor([7, 7, 3])]).y.tolist() == [0, 1, 2]
    assert by_row(rendered.to("meta")).y.device.type == "meta"


def test_labelled_subset_takes_whole_emoji_of_every_class():
    data = load("scenes")
    emoji = data.info["emoji"]
    for fraction in (0.01, 0.1, 1.0):
        rows = labelled_subset(data, fraction=fraction)
        chosen = emoji[rows].unique()
        # with all their scenes
        assert torch.equal(rows, torch.isin(emoji, chosen).nonzero().flatten())
        for k in range(9):
            there, kept = (
                len(emoji[data.y == k].unique()),
                len(emoji[rows][data.y[rows] == k].unique()),
            )
            assert kept == max(1, round(fraction * there))
    small, large = (
        labelled_subset(data, fraction=0.01),
        labelled_subset(data, fraction=0.1),
    )
    assert set(small.tolist()) < set(large.tolist())
    assert torch.equal(small, labelled_subset(data, fraction=0.01, seed=0))
    assert not torch.equal(small, labelled_subset(data, fraction=0.01, seed=1))
    three = labelled_subset(data, per_class=3)
    assert [len(emoji[three][data.y[three] == k].unique()) for k in range(9)] == [3] * 9
    digits = load("digits")
    # no emoji: rows are counted
    assert (
        digits.y[labelled_subset(digits, per_class=5)].bincount().tolist() == [5] * 10
    )
    for bad in (
        dict(),
        dict(fraction=0.1, per_class=3),
        dict(fraction=1.5),
        dict(per_class=0),
    ):
        with pytest.raises(ValueError, match="fraction|per_class"):
            labelled_subset(data, **bad)


# --- the door ---


def test_load_lists_the_known_names_and_splits():
    known = "emoji, emoji_on_white, scenes, digits, toys, .*cifar10, stl10, .*"
    with pytest.raises(ValueError, match=f"{known}got 'imagenet'"):
        load("imagenet")
    with pytest.raises(ValueError, match="digits has train, test, got 'val'"):
        load("digits", "val")
    with pytest.raises(ValueError, match="stl10 has train, unlabeled"):
        load("stl10", "valid")
    assert set(names()) >= {
        "emoji",
        "scenes",
        "digits",
        "toys",
        "moons",
        "cifar10",
        "stl10",
        "mnist",
        "svhn",
    }


@pytest.mark.parametrize("name", ["cifar10", "stl10", "mnist", "fashion_mnist", "svhn"])
def test_load_without_network_gives_instructions(monkeypatch, tmp_path, name):
    def unreachable(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("COURSE_LIB_DATA", str(tmp_path / "here"))
    with pytest.raises(
        OSError,
        match=f"could not download {name} .*connect to the internet.* or copy .*here",
    ):
        load(name)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def spoil(path: Path):
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    return good


@pytest.mark.parametrize(
    "name, kind", [("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)]
)
def test_load_mnist_reads_archives_and_names_an_altered_one(
    monkeypatch, tmp_path, name, kind
):
    raw, random, resources, truth = (
        tmp_path / kind.__name__ / "raw",
        np.random.default_rng(0),
        [],
        {},
    )
    raw.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 4)):
        x, y = (
            random.integers(0, 256, (n, 28, 28)).astype(np.uint8),
            random.integers(0, 10, n).astype(np.uint8),
        )
        truth[part] = x, y
        for file, data in (
            (
                f"{part}-images-idx3-ubyte",
                struct.pack(">4i", 2051, n, 28, 28) + x.tobytes(),
            ),
            (f"{part}-labels-idx1-ubyte", struct.pack(">2i", 2049, n) + y.tobytes()),
        ):
            (raw / f"{file}.gz").write_bytes(gzip.compress(data))
            resources.append((f"{file}.gz", md5(raw / f"{file}.gz")))
    monkeypatch.setattr(kind, "resources", resources)
    for split, part in (("train", "train"), ("test", "t10k")):
        data = load(name, split, root=tmp_path)
        assert (data.x[:, 0].numpy() == truth[part][0]).all() and (
            data.y.numpy() == truth[part][1]
        ).all()
        assert data.x.shape[1:] == (1, 28, 28) and len(data.classes) == 10
    spoil(raw / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(
        OSError, match=r"t10k-labels-idx1-ubyte\.gz is truncated or altered"
    ):
        load(name, "test", root=tmp_path)


def test_load_cifar10_keeps_pixels_in_place_and_names_an_altered_file(
    monkeypatch, tmp_path
):
    folder, random = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir()
    x, y = random.integers(0, 256, (4, 3, 32, 32)).astype(np.uint8), [1, 2, 9, 0]
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(
            pickle.dumps({"data": x.reshape(4, -1), "labels": y})
        )
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": list("abcdefghij")})
    )
    monkeypatch.setattr(
        datasets.CIFAR10, "train_list", [["data_batch_1", md5(folder / "data_batch_1")]]
    )
    monkeypatch.setattr(
        datasets.CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]]
    )
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": md5(folder / "batches.meta"),
    }
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    data = load("cifar10", root=tmp_path)
    assert (
        (data.x.numpy() == x).all()
        and data.y.tolist() == y
        and data.classes == tuple("abcdefghij")
    )
    assert data.x.is_contiguous() and data.y.dtype == torch.int64
    for name in ("data_batch_1", "batches.meta"):
        good = spoil(folder / name)
        with pytest.raises(OSError, match=f"{name} is truncated or altered"):
            load("cifar10", root=tmp_path)
        (folder / name).write_bytes(good)


def test_load_stl10_transposes_and_names_an_altered_file(monkeypatch, tmp_path):
    folder, random = tmp_path / "stl10_binary", np.random.default_rng(0)
    folder.mkdir()
    x = random.integers(0, 256, (3, 3, 96, 96)).astype(np.uint8)
    for name in ("train_X.bin", "unlabeled_X.bin", "test_X.bin"):
        # the files are column-major
        (folder / name).write_bytes(x.transpose(0, 1, 3, 2).tobytes())
    for name in ("train_y.bin", "test_y.bin"):
        (folder / name).write_bytes(bytes([1, 10, 4]))
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    files = [
        f"{name}.bin"
        for name in ("train_X", "train_y", "unlabeled_X", "test_X", "test_y")
    ]
    listed = [[name, md5(folder / name)] for name in files]
    monkeypatch.setattr(datasets.STL10, "train_list", listed[:3])
    monkeypatch.setattr(datasets.STL10, "test_list", listed[3:])
    data = load("stl10", root=tmp_path)
    assert (
        (data.x.numpy() == x).all()
        and data.y.tolist() == [0, 9, 3]
        and data.classes == tuple("abcdefghij")
    )
    assert load("stl10", "unlabeled", root=tmp_path).y.tolist() == [-1] * 3
    spoil(folder / "unlabeled_X.bin")
    with pytest.raises(OSError, match=r"unlabeled_X\.bin is truncated or altered"):
        load("stl10", root=tmp_path)


def test_load_svhn_maps_label_10_to_0_and_names_an_altered_file(monkeypatch, tmp_path):
    from scipy.io import savemat

    x = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    savemat(
        tmp_path / "train_32x32.mat",
        {"X": x.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [9], [10]])},
    )
    entry = ["http://localhost/", "train_32x32.mat", md5(tmp_path / "train_32x32.mat")]
    monkeypatch.setattr(datasets.SVHN, "split_list", {"train": entry})
    data = load("svhn", root=tmp_path)
    assert (
        (data.x.numpy() == x).all()
        and data.y.tolist() == [0, 1, 9, 0]
        and data.classes == tuple("0123456789")
    )
    spoil(tmp_path / "train_32x32.mat")
    with pytest.raises(OSError, match=r"train_32x32\.mat is truncated or altered"):
        load("svhn", root=tmp_path)


def test_load_svhn_without_scipy_names_scipy_before_any_download(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="svhn.*pip install scipy"):
        load("svhn", root=tmp_path)
    assert list(tmp_path.iterdir()) == []  # before anything is downloaded


def test_shortcut_triplets_share_the_drawing_or_the_background():
    drawings = load("emoji", "test")
    anchor, same_drawing, same_background = shortcut_triplets(drawings, 300, seed=7)
    assert 280 < len(anchor) == len(same_drawing) == len(same_background)
    for name in ("emoji", "style"):
        assert torch.equal(anchor.info[name], same_drawing.info[name])
    assert (anchor.info["emoji"] != same_background.info["emoji"]).all()
    # no drawing in either: the same texture
    bare = ~(anchor.info["mask"] | same_background.info["mask"])
    difference = (anchor.x.float() - same_background.x.float()).abs()
    assert difference[bare.expand_as(difference)].median() == 0
    assert (anchor.x.float() - same_drawing.x.float()).abs().median() > 20
    assert not torch.equal(anchor.info["box"], same_drawing.info["box"])


# --- arguments that failed inside torch, or that were accepted ---


@pytest.mark.parametrize("name", ["cifar10", "stl10", "mnist", "fashion_mnist"])
def test_load_without_a_home_folder_says_what_to_set(monkeypatch, name):
    without_home(monkeypatch)
    monkeypatch.setenv("COURSE_LIB_DATA", "")
    with pytest.raises(
        OSError, match=f"home folder is unknown.*{name}.*COURSE_LIB_DATA"
    ):
        load(name)
    with pytest.raises(OSError, match="home folder is unknown.*~/data.*`root`"):
        load(name, root="~/data")


PIXELS, LABELS = torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.zeros(4)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict(x=PIXELS.numpy()), "`x`: expected a tensor of shape .* got ndarray"),
        (dict(x=[1, 2, 3, 4]), "`x`: .* got list"),
        (dict(y=[0, 0, 0, 0]), "`y`: .* got list: convert it"),
        (dict(y=None), "`y`: .* got NoneType"),
        (dict(x=torch.tensor(1.0), y=torch.tensor(0)), "`x`: .* got a number"),
        (dict(info={"mask": [1, 2, 3, 4]}), "`mask`: .* got list"),
    ],
)
def test_dataset_names_a_part_that_is_no_tensor_of_rows(parts, message):
    with pytest.raises(ValueError, match=f"argument {message}"):
        Dataset(**{"x": PIXELS, "y": LABELS, "classes": (), **parts})


@pytest.mark.parametrize(
    "rows",
    [torch.ones(3).bool(), torch.ones(5).bool(), torch.ones(2), PIXELS[:, 0, 0, 0]],
)
def test_dataset_names_rows_that_are_neither_numbers_nor_a_mask(rows):
    with pytest.raises(
        ValueError, match="rows: expected row numbers .*or 4 booleans, got"
    ):
        Dataset(PIXELS, LABELS, ())[rows]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda d: render_scenes(d, 2.5, seed=0), "n"),
        (lambda d: render_scenes(d, True, seed=0), "n"),
        (lambda d: render_scenes(d, 2, seed=None), "seed"),
        (lambda d: render_scenes(d, 2, seed=0, chunk=0), "chunk"),
        (lambda d: shortcut_triplets(d, 2, "a"), "seed"),
        (lambda d: labelled_subset(d, per_class=2.5), "per_class"),
        (lambda d: labelled_subset(d, per_class=0), "per_class"),
        (lambda d: labelled_subset(d, fraction=math.nan), "fraction"),
        (lambda d: labelled_subset(d, fraction=0.5, seed=0.0), "seed"),
        (lambda d: labelled_subset(d, fraction=0.5, seed=True), "seed"),
    ],
)
def test_data_functions_name_a_count_or_a_seed_of_another_kind(drawings, call, name):
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        call(drawings)
