"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch

from course_lib.grading.drive import Arrays, by_number, gradients
from course_lib.grading.probes import keeps_float64, on_case_in_float64

Q = ("mean", "log_variance")  # of the encoder's Gaussian


drive_logistic_draw = partial(
    on_case_in_float64, tensors=("mean", "log_scale", "u"), flows=("mean", "log_scale")
)
drive_laplace_rate = partial(
    on_case_in_float64, tensors=Q, settings=("scale",), flows=Q
)


def drive_observed_log_likelihood(answer, a: Arrays) -> Arrays:
    """Makes the unknown pixels NaN."""
    x = a["x"].masked_fill(a["unknown"], float("nan"))
    a = a | {"x": x}
    return on_case_in_float64(answer, a, ("logits", "x"), flows=("logits",))


drive_gaussian_log_likelihood = partial(
    on_case_in_float64, tensors=("mean", "x", "log_sigma"), flows=("mean", "log_sigma")
)


def drive_negative_elbo(answer, a: Arrays) -> Arrays:
    """Builds a tiny encoder and decoder from the weights. `gradient ...`: of these."""
    names = ("encoder", "encoder bias", "decoder", "decoder bias")
    w = {name: a[name].requires_grad_() for name in names}
    shape = a["x"].shape[1:]

    def loss(eps):
        def encoder(x):
            return (x.flatten(1) @ w["encoder"] + w["encoder bias"]).chunk(2, 1)

        def decoder(z):
            logits = (z + z.sin()) @ w["decoder"] + w["decoder bias"]
            return logits.unflatten(1, shape)

        return answer(encoder, decoder, a["x"], eps)

    value = loss(a["eps"])
    outputs = {"value": value} | gradients(value, w)
    if a["eps"].dtype == torch.float64:
        outputs |= keeps_float64(loss, {"eps": a["eps"]})
    return outputs


drive_wider_bound = partial(
    on_case_in_float64,
    tensors=("log_likelihood", "eps", *Q),
    settings=("width",),
    flows=("log_likelihood", *Q),
)


drive_hidden_assumptions = partial(
    by_number,
    given=("pixels", "error", "share", "nats"),
    groups={"sigmas": "ab", "trade": "cd", "ignored": "e", "bits": "f"},
)

drive_slerp = partial(on_case_in_float64, tensors=("a", "b"), settings=("t",))
drive_free_bits = partial(
    on_case_in_float64, tensors=(*Q, "group"), settings=("free",), flows=Q
)


def drive_two_gradients(answer, a: Arrays) -> Arrays:
    """Builds f(z) = sin(z . wave) + z^2 . bowl."""

    def f(z):
        return (z @ a["wave"]).sin() + z.square() @ a["bowl"]

    tensors, names = ("mean", "sigma", "eps"), ("score", "path")
    return on_case_in_float64(partial(answer, f), a, tensors, names=names)


drive_information = partial(
    on_case_in_float64, tensors=("z", *Q), names=("information", "mismatch")
)
