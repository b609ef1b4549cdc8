"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch

from course_lib.grading.drive import Arrays, function, gradients, on_case


def careful(drive, answer, a: Arrays) -> Arrays:
    """Adds two outputs to those of drive(answer, a). `float64 ...`: for arguments in
    float64, whether all tensors that come back are float64. `unchanged wish ...`:
    whether no argument is told to require a gradient."""
    given, kinds = [], set()

    def recorded(*arguments):
        returned = answer(*arguments)
        given.extend(x for x in arguments if isinstance(x, torch.Tensor))
        parts = returned if isinstance(returned, (tuple, list)) else [returned]
        kinds.update(x.dtype for x in parts if isinstance(x, torch.Tensor))
        return returned

    outputs = drive(recorded, a)
    double = torch.float64 in {x.dtype for x in a.values() if x.ndim}
    kept = not double or kinds <= {torch.float64}
    outputs["float64 for float64 input"] = torch.tensor(kept)
    wish = any(x.requires_grad for x in given)
    outputs["unchanged wish for a gradient"] = torch.tensor(not wish)
    return outputs


def on_arrays(*tensors: str, settings=(), names=()):
    drive = partial(on_case, tensors=tensors, settings=settings, names=names)
    return partial(careful, drive)


drive_schedule = on_arrays("betas", names=("alpha", "abar", "btilde"))
drive_q_sample = on_arrays("x0", "t", "eps", "abar")
drive_chain = on_arrays("x0", "step_noise", "betas", names=("path", "eps"))
drive_posterior = on_arrays("x0", "x_t", "t", "betas", names=("mean", "variance"))


def guess_of(answer, a: Arrays) -> Arrays:
    """The limit is None where the case has none."""
    given = {name: a[name] for name in ("x_t", "eps_hat", "t", "abar")}
    return function(answer, given, a["limit"].item() if "limit" in a else None)


drive_guess_x0 = partial(careful, guess_of)


def loss_of(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `gradient ...`: of these."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def net(x_t, t):
        hidden = x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]
        return (hidden.sin() @ weights["last"]).view_as(x_t)

    value = answer(net, a["x0"], a["t"], a["eps"], a["abar"], a["cap"].item())
    return {"value": value} | gradients(value, weights)


drive_capped_loss = partial(careful, loss_of)
drive_ancestral_step = on_arrays(
    "x_t", "eps_hat", "step_noise", "betas", settings=("t", "lam")
)
drive_ddim_step = on_arrays(
    "x_t", "v_hat", "step_noise", settings=("abar_t", "abar_s", "eta")
)
drive_loss_weights = on_arrays("betas", names=("bound", "next"))
drive_score_of_mixture = on_arrays("x", "centres", settings=("std", "abar"))
