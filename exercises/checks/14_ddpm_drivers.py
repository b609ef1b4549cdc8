"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import Arrays, function, gradients, on_case

drive_schedule = partial(on_case, tensors=("betas",), names=("alpha", "abar", "btilde"))
drive_q_sample = partial(on_case, tensors=("x0", "t", "eps", "abar"))
drive_chain = partial(
    on_case, tensors=("x0", "step_noise", "betas"), names=("path", "eps")
)
drive_posterior = partial(
    on_case, tensors=("x0", "x_t", "t", "betas"), names=("mean", "variance")
)


def drive_guess_x0(answer, a: Arrays) -> Arrays:
    """The limit is None where the case has none."""
    given = {name: a[name] for name in ("x_t", "eps_hat", "t", "abar")}
    return function(answer, given, a["limit"].item() if "limit" in a else None)


def drive_simple_loss(answer, a: Arrays) -> Arrays:
    """Builds a tiny network from the weights. `gradient ...`: of these."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def net(x_t, t):
        hidden = x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]
        return (hidden.sin() @ weights["last"]).view_as(x_t)

    value = answer(net, a["x0"], a["t"], a["eps"], a["abar"])
    return {"value": value} | gradients(value, weights)


drive_ancestral_step = partial(
    on_case, tensors=("x_t", "eps_hat", "step_noise", "betas"), settings=("t", "large")
)
drive_ddim_step = partial(
    on_case,
    tensors=("x_t", "eps_hat", "step_noise"),
    settings=("abar_t", "abar_s", "eta"),
)
drive_loss_weights = partial(on_case, tensors=("betas",), names=("bound", "next"))
drive_score_of_mixture = partial(
    on_case, tensors=("x", "centres"), settings=("std", "abar")
)
