"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

import torch
from torch import Tensor, nn

from course_lib.grading.drive import (
    Arrays,
    direction,
    gradients,
    layer,
    named_parameters,
    on_case,
    parts,
    same_bits,
)

drive_optimal_discriminator = partial(
    on_case, tensors=("log_p", "log_q"), names=("best", "value")
)
drive_discriminator_loss = partial(
    on_case, tensors=("real", "fake"), flows=("real", "fake")
)


def drive_generator_losses(answer, a: Arrays) -> Arrays:
    """`saturating`, `non-saturating`: what comes back. Gradient: of both, weighted by
    the cotangent (2,)."""
    names = ("saturating", "non-saturating")

    def stacked(fake):
        return torch.stack([*parts(answer(fake), names)])

    outputs = on_case(stacked, a, ("fake",), flows=("fake",))
    return dict(zip(names, outputs["value"])) | outputs


drive_wasserstein = partial(on_case, tensors=("a", "b"), flows=("a", "b"))


def drive_clip_weights(answer, a: Arrays) -> Arrays:
    """Builds a tiny critic with gradients and a buffer; c. `weight ...`: each of its
    parameters after the call; `grad ...`: their gradients; `buffer`; `same`: whether
    these parameters are the tensors they were; `learning`: whether they want a
    gradient."""
    critic = _network(a)
    critic.register_buffer("seen", a["seen"])
    before = dict(critic.named_parameters())
    for i, parameter in enumerate(before.values(), 1):
        parameter.grad = 2 * direction(parameter.detach()) + i
    answer(critic, a["c"].item())
    after = dict(critic.named_parameters())
    grads = {f"grad {n}": p.grad for n, p in before.items() if p.grad is not None}
    same = before.keys() == after.keys() and all(after[n] is before[n] for n in before)
    learning = all(p.requires_grad for p in after.values())
    others = {"buffer": critic.seen, "same": same, "learning": learning}
    return named_parameters(weight=critic) | grads | others


def drive_gradient_penalty(answer, a: Arrays) -> Arrays:
    """Builds a tiny critic from the weights; real, fake, t. `gradient ...`: of
    these."""
    weights = {name: a[name].requires_grad_() for name in ("first", "bias", "last")}
    value = answer(_critic(weights), a["real"], a["fake"], a["t"])
    return {"value": value} | gradients(value, weights)


def _critic(weights: dict[str, Tensor]):
    """A network with a hidden layer of sines: pictures (N, C, H, W) -> (N,)."""
    first, bias, last = weights.values()
    return lambda x: (x.flatten(1) @ first + bias).sin() @ last


drive_conditional_batch_norm = partial(
    on_case,
    tensors=("x", "gain", "bias", "y"),
    settings=("eps",),
    flows=("x", "gain", "bias"),
)
drive_projection_logit = partial(
    on_case, tensors=("h", "psi", "table", "y"), flows=("h", "psi", "table")
)


def drive_grown(answer, a: Arrays) -> Arrays:
    """`level 0`, `level 1`, ...: the pictures; progress. `unchanged ...`: whether the
    list holds the tensors it held, and these are as they were."""
    pictures = [a[f"level {i}"] for i in range(len(a) - 1)]
    given, before = [*pictures], [picture.clone() for picture in pictures]
    return {
        "value": answer(given, a["progress"].item()),
        "unchanged list": [*map(id, given)] == [*map(id, pictures)],
        "unchanged pictures": all(map(same_bits, pictures, before)),
    }


def drive_Adversaries(answer, a: Arrays) -> Arrays:
    """Builds two tiny networks; real (rounds, k, N, X), noise (rounds, k + 1, N, Z),
    lr. `start ...`: each parameter once the object is made; `discriminator ...`,
    `generator ...`: after all rounds; `unchanged ...`: whether batches and noise are,
    and their lists."""
    generator, discriminator = _network(a, "g "), _network(a, "d ", nn.Flatten(0))
    players = answer(generator, discriminator, _start, a["lr"].item())
    named = named_parameters(generator=generator, discriminator=discriminator)
    start = {f"start {name}": p.detach().clone() for name, p in named.items()}
    lists, data = True, True
    for real, noise in zip(a["real"], a["noise"]):
        reals, noises, before = [*real], [*noise], (real.clone(), noise.clone())
        held = [*reals, *noises]
        players.step(reals, noises)
        lists = lists and [*map(id, reals + noises)] == [*map(id, held)]
        data = data and same_bits(real, before[0]) and same_bits(noise, before[1])
    named = named_parameters(generator=generator, discriminator=discriminator)
    return start | named | {"unchanged lists": lists, "unchanged data": data}


def _start(network: nn.Module):
    """Stands for a random start: keeps the signs and sets the sizes. A second call
    changes nothing."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.sign() * (0.4 + 0.3 * direction(parameter)))


def _network(a: Arrays, prefix: str = "", *more: nn.Module) -> nn.Sequential:
    """A network with a hidden layer, of weights and biases from the case."""
    first, last = (
        layer(nn.Linear, a[f"{prefix}{name} weight"], a[f"{prefix}{name} bias"])
        for name in ("first", "last")
    )
    return nn.Sequential(first, nn.Tanh(), last, *more)
