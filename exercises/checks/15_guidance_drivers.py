"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch
from torch import Tensor

from course_lib.grading.drive import Arrays, by_number, on_case, same_bits
from course_lib.grading.probes import precise, stays_float64

drive_label_dropout = partial(
    on_case, tensors=("y", "null", "uniform"), settings=("p",)
)


def guided_eps_by(answer, a: Arrays) -> Arrays:
    """w: a number, or a tensor where each row has its own."""
    if a["w"].ndim:
        return on_case(answer, a, ("told", "untold", "w"))
    return on_case(answer, a, ("told", "untold"), ("w",))


drive_guided_eps = precise(guided_eps_by, "value")


def drive_classifier_gradient(answer, a: Arrays) -> Arrays:
    """Builds a tiny classifier from the weights. `sampling`: whether to ask inside
    `no_grad`. `without ...`: whether no weight has a gradient afterwards, and whether
    what comes back requires none."""
    weights = [a[name].requires_grad_() for name in ("first", "time", "last")]
    first, time, last = weights

    def classifier(x_t, t):
        return (x_t.flatten(1) @ first + t[:, None] * time).sin() @ last

    given = {name: a[name].clone() for name in ("x_t", "t", "y")}
    with torch.set_grad_enabled(not a["sampling"].item()):
        value = answer(classifier, *given.values())
    unchanged = all(same_bits(tensor, a[name]) for name, tensor in given.items())
    wants = isinstance(value, Tensor) and value.requires_grad
    return stays_float64(a, value) | {
        "value": value,
        "unchanged": unchanged and not given["x_t"].requires_grad,
        "without gradients in its weights": all(w.grad is None for w in weights),
        "without a graph behind its result": not wants,
    }


drive_classifier_guided_v = precise(
    partial(on_case, tensors=("v", "gradient", "abar"), settings=("scale",)), "value"
)


def guided_in_one_pass_by(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `calls`: of the network; `rows`: of all
    calls."""
    rows = []

    def eps(x_t, t, y):
        rows.append(len(x_t))
        label = a["table"][y] if y.ndim == 1 else a["table"][y].sum(1)
        hidden = (x_t.flatten(1) @ a["first"] + t[:, None] * a["time"] + label).sin()
        return (hidden @ a["last"]).view_as(x_t)

    outputs = on_case(partial(answer, eps), a, ("x_t", "t", "y", "null"), ("w",))
    return outputs | {"calls": len(rows), "rows": sum(rows)}


drive_guided_in_one_pass = precise(guided_in_one_pass_by, "value")
drive_caption_vector = precise(
    partial(on_case, tensors=("vectors", "tokens"), flows=("vectors",)), "value"
)


def guided_ddim_step_by(answer, a: Arrays) -> Arrays:
    def ask(told, untold, x_t, w, *others):
        return answer(told, untold, w, x_t, *others)

    settings = ("w", "abar_t", "abar_s", "limit")
    return on_case(ask, a, ("told", "untold", "x_t"), settings)


drive_guided_ddim_step = precise(guided_ddim_step_by, "value")
drive_exact_label_posterior = precise(
    partial(on_case, tensors=("x_t", "centres", "labels"), settings=("std", "abar")),
    "value",
)
drive_two_variances = precise(
    partial(on_case, tensors=("c", "s"), names=("samples", "tilted")),
    "samples",
    "tilted",
)
drive_towards_and_away = precise(
    partial(on_case, tensors=("eps_y", "eps_n", "eps"), settings=("w", "v")), "value"
)
drive_choose_w = partial(on_case, tensors=("w", "accuracy"), settings=("target",))
drive_numbers_and_choices = partial(
    by_number,
    given=("guidance_scale", "w", "steps"),
    groups={"conventions": "ab", "cost": "c", "choices": "de"},
)
