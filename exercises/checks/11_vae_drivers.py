"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import Arrays, by_number, gradients, on_case

Q = ("mean", "log_variance")  # of the encoder's Gaussian

drive_reparameterise = partial(on_case, tensors=(*Q, "eps"), flows=Q)
drive_gaussian_kl = partial(on_case, tensors=Q, flows=Q)
drive_bernoulli_log_likelihood = partial(
    on_case, tensors=("logits", "x"), flows=("logits",)
)
drive_gaussian_log_likelihood = partial(
    on_case, tensors=("mean", "x", "log_sigma"), flows=("mean", "log_sigma")
)


def drive_negative_elbo(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and decoder from the weights. `gradient ...`: of these."""
    names = ("encoder", "encoder bias", "decoder", "decoder bias")
    w = {name: a[name].requires_grad_() for name in names}
    shape = a["x"].shape[1:]

    def encoder(x):
        return (x.flatten(1) @ w["encoder"] + w["encoder bias"]).chunk(2, 1)

    def decoder(z):
        logits = (z + z.sin()) @ w["decoder"] + w["decoder bias"]
        return logits.unflatten(1, shape)

    value = answer(encoder, decoder, a["x"], a["eps"])
    return {"value": value} | gradients(value, w)


drive_importance_weighted_bound = partial(
    on_case, tensors=("log_likelihood", "z", *Q), flows=("log_likelihood", "z", *Q)
)
drive_hidden_assumptions = partial(
    by_number,
    given=("pixels", "error", "share", "nats"),
    groups={"sigmas": "ab", "trade": "cd", "ignored": "e", "bits": "f"},
)
drive_slerp = partial(on_case, tensors=("a", "b"), settings=("t",))
drive_kl_by_dimension = partial(
    on_case, tensors=Q, settings=("threshold",), names=("kl", "alive")
)


def drive_two_gradients(answer, a: Arrays) -> Arrays:
    """Builds f(z) = sin(z . wave) + z^2 . bowl."""

    def f(z):
        return (z @ a["wave"]).sin() + z.square() @ a["bowl"]

    tensors, names = ("mean", "sigma", "eps"), ("score", "path")
    return on_case(partial(answer, f), a, tensors, ("baseline",), names=names)
