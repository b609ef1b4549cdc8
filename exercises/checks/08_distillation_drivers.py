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
from course_lib.grading.probes import careful, stays_float64


def on_arrays(**names):
    return careful(partial(on_case, **names))


drive_soft_targets = on_arrays(
    tensors=("logits",), settings=("temperature",), flows=("logits",)
)
drive_distillation_loss = on_arrays(
    tensors=("student", "teacher", "labels"),
    settings=("temperature", "soft"),
    flows=("student",),
    stops=("teacher",),
)


def drive_ema_update(answer, a: Arrays) -> Arrays:
    """`target 0`, `target 1`, ... and `online 0`, ..., which want a gradient; start,
    progress. `value I`: the new ones; `unchanged ...`: whether the lists hold the
    tensors they held, and these are as they were; `without gradient`: whether all that
    comes back is without gradient; `float64 ...`: as in `stays_float64`."""
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
    not_wanting = not any(tensor.requires_grad for tensor in target)
    outputs = {f"value {i}": part for i, part in enumerate(new)} | {
        "unchanged lists": [*map(id, given[0] + given[1])] == [*map(id, tensors)],
        "unchanged target": all(same[:n]) and not_wanting,
        "unchanged online": all(same[n:]) and wanting,
        "without gradient": not any(map(_wants, new)),
    }
    return outputs | stays_float64(a, *new)


def _wants(tensor) -> bool:
    return getattr(tensor, "requires_grad", False)


def drive_byol_loss(answer, a: Arrays) -> Arrays:
    """As for `on_case`, without a `slope` for predictions that are shorter than the
    step of its finite difference."""
    drive = on_arrays(tensors=("p", "z"), flows=("p",), stops=("z",))
    outputs = drive(answer, a)
    if a["p"].norm(dim=-1).min() < 0.1:
        outputs.pop("slope", None)
    return outputs


def drive_simsiam_loss(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and predictor from the weights. `gradient ...`: of these;
    `unchanged wish ...` and `float64 ...`: as in `careful`."""
    names = ("encoder", "encoder bias", "predictor", "predictor bias")
    weights = {name: a[name].requires_grad_() for name in names}

    def encoder(x):
        return (x @ weights["encoder"] + weights["encoder bias"]).tanh()

    def predictor(z):
        return z + (z @ weights["predictor"] + weights["predictor bias"]).sin()

    views = a["view1"], a["view2"]
    value = answer(encoder, predictor, *views)
    outputs = {"value": value} | gradients(value, weights)
    outputs["unchanged wish for a gradient"] = not any(map(_wants, views)) and all(
        map(_wants, weights.values())
    )
    return outputs | stays_float64(a, value)


def drive_barlow_twins(answer, a: Arrays) -> Arrays:
    """`matrix`: the first thing that comes back; `value`, gradients: of the second.
    `finite ...`: whether the gradient of the second is finite, in cases of dead
    features."""
    matrices = []

    def loss(z1, z2, weights, off_diagonal):
        came = parts(answer(z1, z2, weights, off_diagonal), ("matrix", "loss"))
        matrices.append(came[0])
        return came[1]

    def drive(loss, a):
        tensors, flows = ("z1", "z2", "weights"), ("z1", "z2")
        outputs = on_case(loss, a, tensors, ("off_diagonal",), flows=flows)
        return {"matrix": matrices[0]} | outputs

    outputs = careful(drive)(loss, a)
    if not bool(a["z1"].any(0).all() and a["z2"].any(0).all()):
        leaves = {name: a[name].clone().requires_grad_() for name in ("z1", "z2")}
        value = loss(*leaves.values(), a["weights"], a["off_diagonal"].item())
        found = gradients(value, leaves).values()
        finite = all(bool(gradient.isfinite().all()) for gradient in found)
        outputs["finite in its gradient"] = finite
    return outputs


def drive_vicreg_terms(answer, a: Arrays) -> Arrays:
    """`invariance`, `variance`, `covariance`: what comes back. Gradients: of a sum of
    the three with different weights, in cases that ask for them."""
    names = ("invariance", "variance", "covariance")
    found = []

    def loss(z1, z2, floor):
        came = parts(answer(z1, z2, floor), names)
        found.append(came)
        return 0.7 * came[0] + 1.3 * came[1] + 0.4 * came[2]

    def drive(loss, a):
        return on_case(loss, a, ("z1", "z2"), ("floor",), flows=("z1", "z2"))

    outputs = careful(drive)(loss, a)
    return dict(zip(names, found[0])) | outputs


drive_multicrop_loss = on_arrays(
    tensors=("student", "teacher", "present"),
    settings=("tau_s", "tau_t"),
    flows=("student",),
    stops=("teacher",),
)


def drive_centre_and_sharpen(answer, a: Arrays) -> Arrays:
    """`probabilities`, `centre`: what comes back; `without ...`: whether each of them
    is without gradient, though the outputs want one."""
    a["outputs"].requires_grad_()
    names = ("probabilities", "centre")

    def drive(answer, a):
        tensors, settings = ("outputs", "centre"), ("temperature", "momentum")
        return on_case(answer, a, tensors, settings, names=names)

    outputs = careful(drive)(answer, a)
    return outputs | {
        f"without gradient in the {name}": not _wants(outputs[name]) for name in names
    }


drive_linear_network = partial(
    by_number,
    given=("noise", "decay", "lag"),
    groups={"largest": "a", "alive": "b", "threshold": "c", "rate": "d"},
)
drive_numbers_by_heart = partial(
    by_number,
    given=("prototypes", "large", "small", "share"),
    groups={"entropies": "abcd", "losses": "ef", "pairs": "g", "cost": "h"},
)
