"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch
from torch import Tensor, nn

from course_lib.grading.drive import Arrays, gradients, layer, named_parameters, on_case

drive_cosine_similarity_matrix = partial(on_case, tensors=("a", "b"), flows=("a", "b"))
drive_info_nce = partial(on_case, tensors=("scores",), flows=("scores",))
drive_nt_xent = partial(
    on_case, tensors=("z1", "z2"), settings=("temperature",), flows=("z1", "z2")
)


def drive_update_bank(answer, a: Arrays) -> Arrays:
    """v wants a gradient. `unchanged v`: whether it still does after the call;
    `detached`: whether the result wants none."""
    wants = []

    def watched(bank, rows, v, momentum):
        value = answer(bank, rows, v, momentum)
        wants.append(v.requires_grad)
        return value

    a["v"].requires_grad_()
    outputs = on_case(watched, a, ("bank", "rows", "v"), ("momentum",))
    detached = not getattr(outputs["value"], "requires_grad", False)
    return outputs | {"unchanged v": all(wants), "detached": detached}


drive_knn_vote = partial(
    on_case,
    tensors=("train", "train_labels", "test"),
    settings=("k", "classes", "temperature"),
)
drive_mi_bound = partial(
    on_case, tensors=("losses",), settings=("negatives",), flows=("losses",)
)


def drive_TwoViews(answer, a: Arrays) -> Arrays:
    """Builds the method around two tiny networks. A case with `x` asks for a loss, one
    with `unseen` for `encode`.

    `value`: the loss; `gradient ...`: of each of the networks' four parameters;
    `parameters`: how many numbers the method would give the optimiser, -1 where it is
    no torch module; `represent`: what encode returns.
    """
    f, g = (
        layer(nn.Linear, a[f"{name} weight"], a[f"{name} bias"])
        for name in ("encoder", "projector")
    )
    encoder = nn.Sequential(nn.Flatten(), f, nn.Tanh())
    projector = nn.Sequential(g, nn.Tanh())
    x = a.get("x", a.get("unseen"))
    views = _Views(a["scale"], a["shift"], len(x))
    method = answer(encoder, projector, views, _contrast)
    if "unseen" in a:
        return {"represent": method.encode(x)}
    value = method.loss(x, torch.arange(len(x)))
    known = method.parameters() if isinstance(method, nn.Module) else None
    outputs = {"value": value}
    outputs["parameters"] = -1 if known is None else sum(p.numel() for p in known)
    return outputs | gradients(value, named_parameters(encoder=f, projector=g))


class _Views:
    """Stands for a random augmentation: the first N pictures it is given get one map,
    the next N another, and so on."""

    def __init__(self, scale: Tensor, shift: Tensor, pictures: int):
        self.maps, self.pictures, self.seen = (scale, shift), pictures, 0

    def __call__(self, x: Tensor) -> Tensor:
        turn = torch.arange(self.seen, self.seen + len(x)) // self.pictures
        self.seen += len(x)
        turn = turn.clamp(max=len(self.maps[0]) - 1)
        scale, shift = (of[turn].view(-1, 1, 1, 1) for of in self.maps)
        return x * scale + shift


def _contrast(z1: Tensor, z2: Tensor) -> Tensor:
    """No loss of any paper. It treats both views alike, and no more is needed here."""
    weight = torch.arange(1, z1.shape[1] + 1, dtype=z1.dtype)
    return ((z1 - z2).square() @ weight).mean() + (z1 * z2).sum(1).sin().mean()
