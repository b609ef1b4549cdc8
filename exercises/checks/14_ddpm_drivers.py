"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import Arrays, function, gradients, on_case
from course_lib.grading.probes import careful


def on_arrays(*tensors: str, settings=(), names=()):
    return careful(partial(on_case, tensors=tensors, settings=settings, names=names))


drive_schedule = on_arrays("betas", names=("alpha", "abar", "btilde"))
drive_q_sample = on_arrays("x0", "t", "eps", "abar")
drive_chain = on_arrays("x0", "step_noise", "betas", names=("path", "eps"))
drive_posterior = on_arrays("x0", "x_t", "t", "betas", names=("mean", "variance"))


def guess_of(answer, a: Arrays) -> Arrays:
    """The limit is None where the case has none."""
    given = {name: a[name] for name in ("x_t", "eps_hat", "t", "abar")}
    return function(answer, given, a["limit"].item() if "limit" in a else None)


drive_guess_x0 = careful(guess_of)


def loss_of(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `gradient ...`: of these."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def net(x_t, t):
        hidden = x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]
        return (hidden.sin() @ weights["last"]).view_as(x_t)

    value = answer(net, a["x0"], a["t"], a["eps"], a["abar"], a["cap"].item())
    return {"value": value} | gradients(value, weights)


drive_capped_loss = careful(loss_of)
drive_ancestral_step = on_arrays(
    "x_t", "eps_hat", "step_noise", "betas", settings=("t", "lam")
)
drive_ddim_step = on_arrays(
    "x_t", "v_hat", "step_noise", settings=("abar_t", "abar_s", "eta")
)
drive_loss_weights = on_arrays("betas", names=("bound", "next"))
drive_score_of_mixture = on_arrays("x", "centres", settings=("std", "abar"))
