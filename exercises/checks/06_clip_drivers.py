"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch
from torch import nn

from course_lib.grading.drive import (
    Arrays,
    gradients,
    layer,
    named_parameters,
    on_case,
)
from course_lib.grading.probes import (
    careful,
    on_case_in_float64,
    stays_float64,
    watched,
)

drive_class_vectors = careful(
    partial(on_case, tensors=("text", "owner", "weight"), flows=("text", "weight"))
)


drive_several_captions_loss = careful(
    partial(
        on_case,
        tensors=("image", "text", "owner"),
        settings=("scale",),
        flows=("image", "text"),
    )
)


drive_pointwise_information = careful(
    partial(on_case, tensors=("joint",), names=("scores", "information"))
)


@torch.inference_mode()
def drive_scale_derivatives(answer, a: Arrays) -> Arrays:
    """Calls the answer where autograd is switched off."""
    names = {"tensors": ("image", "text", "log_scale"), "names": ("first", "second")}
    inside = {name: array.clone() for name, array in a.items()}
    return careful(partial(on_case, **names))(answer, inside)


STEP_ARGUMENTS = ("image_features", "text_features", "w_image", "w_text", "t")
drive_clip_step = watched(
    partial(on_case_in_float64, tensors=STEP_ARGUMENTS, flows=STEP_ARGUMENTS)
)


# --- drivers of exercises 6 to 10
drive_match_prior = careful(
    partial(on_case, tensors=("scores", "prior"), settings=("steps",))
)

drive_block_loss = careful(
    partial(
        on_case,
        tensors=("image", "text", "image_rows", "text_rows"),
        settings=("scale", "bias", "total"),
        flows=("image", "text"),
    )
)


def drive_LockedCLIP(answer, a: Arrays) -> Arrays:
    """Builds the method around four tiny networks, and makes the updates that `fit`
    would make, with plain gradient steps. The text encoder has a BatchNorm layer, the
    image encoder only in a case with `running mean`.

    x (updates, N, C, H, W), y (updates, N, L). `value`: the very first loss; `gradient
    ...`: of this loss, for log_scale and each parameter of the four networks;
    `parameters all`: how many numbers the method would give the optimiser. `encoder
    ...`: after each update, the parameters and the running statistics of the image
    encoder; `later loss`: the losses after the first update. `log_scale ...`: at the
    start and after each update, to which `push` is added before `after_step`;
    `log_scale kept`: whether it is the same parameter all the time.

    A case with `unseen` asks for `encode` and `loss` of these pictures, in train mode
    and in eval mode. `text statistics`: the running statistics of the text encoder
    afterwards; `returned ...`: whether `train` and `eval` return the method.
    """
    method, networks = _b_locked(answer, a)
    if "unseen" in a:
        return _b_modes(method, networks, a)
    outputs = {"log_scale start": method.log_scale.detach().clone()}
    trained = [p for p in method.parameters() if p.requires_grad]
    outputs["parameters all"] = sum(p.numel() for p in trained)
    first, values = method.log_scale, []
    for k, (x, y) in enumerate(zip(a["x"], a["y"]), 1):
        method.train()
        values.append(method.loss(x, y))
        leaves = named_parameters(**networks) | {"log_scale": method.log_scale}
        leaves = {name: p for name, p in leaves.items() if p.requires_grad}
        found = gradients(values[-1], leaves) if leaves else {}
        with torch.no_grad():
            for name, p in leaves.items():
                p -= a["rate"].item() * found.get(f"gradient {name}", 0)
            method.log_scale += a["push"].item()
            method.after_step()
        method.step_outputs.clear()
        if k == 1:
            outputs |= {"value": values[0].detach()} | found
        else:
            outputs[f"later loss {k}"] = values[-1].detach()
        outputs[f"log_scale {k}"] = method.log_scale.detach().clone()
        outputs |= _b_encoder(networks["encoder"], k)
    outputs["log_scale kept"] = method.log_scale is first
    return outputs | stays_float64(a, values[0])


def _b_modes(method, networks: dict[str, nn.Module], a: Arrays) -> Arrays:
    outputs, returned = {}, []
    for training in (True, False):
        mode = "train" if training else "eval"
        returned.append((method.train() if training else method.eval()) is method)
        with torch.no_grad():
            outputs[f"features in {mode} mode"] = method.encode(a["unseen"])
            outputs[f"loss in {mode} mode"] = method.loss(a["unseen"], a["y"])
    buffers = [b.flatten() for b in networks["text_encoder"].buffers()]
    outputs["text statistics"] = torch.cat(buffers)
    outputs["returned by train and eval"] = all(returned)
    return outputs | _b_encoder(networks["encoder"], 1)


def _b_encoder(encoder: nn.Module, k: int) -> Arrays:
    numbers = [
        p.detach().flatten() for p in (*encoder.parameters(), *encoder.buffers())
    ]
    return {f"encoder after update {k}": torch.cat(numbers)}


def _b_networks(a: Arrays) -> dict[str, nn.Module]:
    linear = {
        name: layer(nn.Linear, a[f"{name} weight"].clone(), a[f"{name} bias"].clone())
        for name in ("encoder", "projector", "text_projector")
    }
    words = a["words"]
    bag = nn.EmbeddingBag(*words.shape, dtype=words.dtype)
    bag.weight = nn.Parameter(words.clone())
    text_norm = nn.BatchNorm1d(words.shape[1], dtype=words.dtype)
    parts = [nn.Flatten(), linear["encoder"], nn.Tanh()]
    if "running mean" in a:
        norm = nn.BatchNorm1d(len(a["running mean"]), dtype=words.dtype)
        norm.running_mean.copy_(a["running mean"])
        norm.running_var.copy_(a["running variance"])
        parts.insert(2, norm)
    return {
        "encoder": nn.Sequential(*parts),
        "text_encoder": nn.Sequential(bag, text_norm),
        "projector": linear["projector"],
        "text_projector": linear["text_projector"],
    }


def _b_locked(answer, a: Arrays):
    """Returns the method, and its four networks by name."""
    networks = _b_networks(a)
    return answer(*networks.values(), a["temperature"].item()), networks


drive_with_examples = careful(
    partial(
        on_case,
        tensors=("h", "text_scores", "keys", "labels"),
        settings=("alpha", "beta"),
        flows=("h", "text_scores", "keys"),
    )
)

drive_caption_scores = watched(
    partial(on_case, tensors=("scores",), names=("text", "image", "group"))
)
