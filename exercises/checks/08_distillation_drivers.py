"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import (
    Arrays,
    by_number,
    gradients,
    on_case,
    parts,
    same_bits,
)

drive_soft_targets = partial(
    on_case, tensors=("logits",), settings=("temperature",), flows=("logits",)
)
drive_distillation_loss = partial(
    on_case,
    tensors=("student", "teacher", "labels"),
    settings=("temperature", "soft"),
    flows=("student",),
    stops=("teacher",),
)


def drive_ema_update(answer, a: Arrays) -> Arrays:
    """`target 0`, `target 1`, ... and `online 0`, ..., which want a gradient; start,
    progress. `value I`: the new ones; `unchanged ...`: whether the lists hold the
    tensors they held, and these are as they were; `detached`: whether all that comes
    back is without gradient."""
    n = sum(name.startswith("target ") for name in a)
    target, online = (
        [a[f"{word} {i}"] for i in range(n)] for word in ("target", "online")
    )
    tensors, before = target + online, [tensor.clone() for tensor in target + online]
    given = [*target], [tensor.requires_grad_() for tensor in online]
    new = answer(*given, a["start"].item(), a["progress"].item())
    listed = isinstance(new, (tuple, list))
    if not listed or len(new) != n:
        came = f"{len(new)} things" if listed else type(new).__name__
        raise TypeError(f"expected a list of {n} tensors, got {came}")
    same = list(map(same_bits, tensors, before))
    wanting = all(tensor.requires_grad for tensor in online)
    return {f"value {i}": part for i, part in enumerate(new)} | {
        "unchanged lists": [*map(id, given[0] + given[1])] == [*map(id, tensors)],
        "unchanged target": all(same[:n]),
        "unchanged online": all(same[n:]) and wanting,
        "detached": _detached(new),
    }


def _detached(tensors) -> bool:
    return not any(getattr(tensor, "requires_grad", False) for tensor in tensors)


drive_byol_loss = partial(
    on_case, tensors=("p1", "p2", "z1", "z2"), flows=("p1", "p2"), stops=("z1", "z2")
)


def drive_simsiam_loss(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and predictor from the weights. `gradient ...`: of
    these."""
    names = ("encoder", "encoder bias", "predictor", "predictor bias")
    weights = {name: a[name].requires_grad_() for name in names}

    def encoder(x):
        return (x @ weights["encoder"] + weights["encoder bias"]).tanh()

    def predictor(z):
        return z + (z @ weights["predictor"] + weights["predictor bias"]).sin()

    value = answer(encoder, predictor, a["view1"], a["view2"])
    return {"value": value} | gradients(value, weights)


def drive_barlow_twins(answer, a: Arrays) -> Arrays:
    """`matrix`: the first thing that comes back; `value`, gradients: of the second."""
    matrices = []

    def loss(z1, z2, off_diagonal):
        came = parts(answer(z1, z2, off_diagonal), ("matrix", "loss"))
        matrices.append(came[0])
        return came[1]

    outputs = on_case(loss, a, ("z1", "z2"), ("off_diagonal",), flows=("z1", "z2"))
    return {"matrix": matrices[0]} | outputs


drive_multicrop_loss = partial(
    on_case,
    tensors=("student", "teacher"),
    settings=("tau_s", "tau_t"),
    flows=("student",),
    stops=("teacher",),
)


def drive_centre_and_sharpen(answer, a: Arrays) -> Arrays:
    """`probabilities`, `centre`: what comes back; `detached`: whether both are without
    gradient, though the outputs want one."""
    a["outputs"].requires_grad_()
    tensors, settings = ("outputs", "centre"), ("temperature", "momentum")
    names = ("probabilities", "centre")
    found = on_case(answer, a, tensors, settings, names=names)
    return found | {"detached": _detached(found[name] for name in names)}


drive_numbers_by_heart = partial(
    by_number,
    given=("prototypes", "large", "small", "share"),
    groups={"entropies": "ab", "losses": "cd", "pairs": "e", "cost": "f"},
)
