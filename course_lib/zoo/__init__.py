"""Trained weights that are part of the course. They are moving averages of the weights
during training, stored in half precision; manifest.json describes them."""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from course_lib.files import write_json, write_whole
from course_lib.names import unknown
from course_lib.recipe import build, lookup
from course_lib.train import Method

FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict]:
    """Returns a dictionary: name of the weights -> hash of the recipe, sha256 of the
    file, seed, steps, seconds, device and measures."""
    return json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def load(name: str) -> Method:
    """Returns the trained method of this recipe, in eval mode on the CPU.

    Raises ValueError for a name without weights, and for weights that were trained
    before the recipe changed. Raises OSError for an altered file.
    """
    known = manifest()
    if name not in known:
        raise unknown("name", name, known)
    if known[name]["recipe"] != lookup(name).hash():
        raise ValueError(
            f"the recipe of {name!r} has changed since its weights in the zoo were "
            "trained: run `make zoo`"
        )
    path = FOLDER / f"{name}.safetensors"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != known[name]["sha256"]:
        raise OSError(
            f"{path.name}: the file is altered or incomplete; restore it, for example "
            "by a new clone"
        )
    method = build(lookup(name), seed=0)
    state = from_bytes(content)
    with safe_open(path, "pt") as file:
        state |= {key: state[twin] for key, twin in (file.metadata() or {}).items()}
    method.load_state_dict(state)  # copied into float32
    return method.eval()


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state_dict with floating-point tensors in half precision, as in the
    files of the zoo."""
    return {
        key: value.half() if value.is_floating_point() else value
        for key, value in state.items()
    }


def save(name: str, method: Method, about: dict):
    """Writes the method's weights in half precision, and its row of the manifest.

    about: all entries of the row except the two hashes.
    """
    # Equal tensors are written once: twins has their other keys.
    state, twins = {}, {}
    for key, value in halved(method.state_dict()).items():
        for other, stored in state.items():
            same_shape = stored.ndim > 1 and stored.shape == value.shape
            if same_shape and stored.equal(value):
                twins[key] = other
                break
        else:
            state[key] = value
    path = FOLDER / f"{name}.safetensors"
    content = to_bytes(
        {key: value.contiguous().cpu() for key, value in state.items()}, metadata=twins
    )
    write_whole(path, content)
    row = {
        "recipe": lookup(name).hash(),
        "sha256": hashlib.sha256(content).hexdigest(),
        **about,
    }
    known = manifest() if (FOLDER / "manifest.json").exists() else {}
    write_json(FOLDER / "manifest.json", known | {name: row})
