"""Trained weights that ship with the course: moving averages in half precision,
described by manifest.json."""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from course_lib.files import write_json, write_whole
from course_lib.recipe import build, lookup
from course_lib.train import Method

FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict]:
    """name -> recipe hash, sha256, seed, steps, seconds, device and measures of each
    set of weights."""
    return json.loads((FOLDER / "manifest.json").read_text())


def load(name: str) -> Method:
    """The trained method of that recipe, in eval mode on the CPU.

    Raises ValueError for a name without weights and for weights of another recipe,
    OSError for an altered file.
    """
    known = manifest()
    if name not in known:
        raise ValueError(
            f"argument `name`: the zoo holds {', '.join(known)}; got {name!r}"
        )
    if known[name]["recipe"] != lookup(name).hash():
        raise ValueError(
            f"the zoo's {name!r} was trained by another recipe than today's: run `make "
            "zoo`"
        )
    path = FOLDER / f"{name}.safetensors"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != known[name]["sha256"]:
        raise OSError(
            f"{path.name}: the file is altered or incomplete; restore it, for example "
            "by a fresh clone"
        )
    method = build(lookup(name), seed=0)
    state = from_bytes(content)
    with safe_open(path, "pt") as file:
        state |= {key: state[twin] for key, twin in (file.metadata() or {}).items()}
    method.load_state_dict(state)  # copied into float32
    return method.eval()


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors in half precision, as they ship."""
    return {
        key: value.half() if value.is_floating_point() else value
        for key, value in state.items()
    }


def save(name: str, method: Method, about: dict):
    """Writes the method's weights in half precision and its row of the manifest."""
    state, twins = {}, {}
    # what stands there twice is written once
    for key, value in halved(method.state_dict()).items():
        twin = next(
            (
                k
                for k, v in state.items()
                if v.ndim > 1 and v.shape == value.shape and v.equal(value)
            ),
            None,
        )
        if twin:
            twins[key] = twin
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
