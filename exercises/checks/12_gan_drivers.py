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
from course_lib.grading.probes import precise, stays_float64

drive_optimal_discriminator = precise(
    partial(
        on_case,
        tensors=("log_p", "log_q"),
        settings=("smooth",),
        names=("best", "value"),
    ),
    "best",
    "value",
)
drive_discriminator_loss = precise(
    partial(
        on_case, tensors=("real", "fake"), settings=("smooth",), flows=("real", "fake")
    ),
    "value",
)


def drive_generator_losses(answer, a: Arrays) -> Arrays:
    """`saturating`, `non-saturating`, `KL`: what comes back. Gradient: of all, weighted
    by the cotangent (3,)."""
    names = ("saturating", "non-saturating", "KL")

    def stacked(fake):
        return torch.stack([*parts(answer(fake), names)])

    outputs = on_case(stacked, a, ("fake",), flows=("fake",))
    kept = stays_float64(a, outputs["value"])
    return dict(zip(names, outputs["value"])) | outputs | kept


drive_wasserstein = precise(
    partial(on_case, tensors=("a", "b"), flows=("a", "b")), "value"
)


def drive_clip_weights(answer, a: Arrays) -> Arrays:
    """Builds a tiny critic with gradients and a buffer; c. Its first layers are inside
    another module, and one of its modules is no layer of torch's. `bound`: what comes
    back; `weight ...`: each of its parameters after the call; `grad ...`: their
    gradients; `buffer`; `same`: whether these parameters are the tensors they were;
    `learning`: whether they want a gradient."""
    first, middle, last = (
        layer(nn.Linear, a[f"{name} weight"], a[f"{name} bias"])
        for name in ("first", "middle", "last")
    )
    inner = nn.Sequential(first, Shift(a["shift"]), nn.Tanh(), middle)
    critic = nn.Sequential(inner, nn.ReLU(), last)
    critic.register_buffer("seen", a["seen"])
    before = dict(critic.named_parameters())
    for i, parameter in enumerate(before.values(), 1):
        parameter.grad = 2 * direction(parameter.detach()) + i
    bound = answer(critic, a["c"].item())
    after = dict(critic.named_parameters())
    grads = {f"grad {n}": p.grad for n, p in before.items() if p.grad is not None}
    same = before.keys() == after.keys() and all(after[n] is before[n] for n in before)
    learning = all(p.requires_grad for p in after.values())
    others = {"buffer": critic.seen, "same": same, "learning": learning}
    return named_parameters(weight=critic) | grads | others | {"bound": bound}


class Shift(nn.Module):
    """Adds a vector that is learnt."""

    def __init__(self, shift: Tensor):
        super().__init__()
        self.shift = nn.Parameter(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


def drive_gradient_penalty(answer, a: Arrays) -> Arrays:
    """Builds a tiny critic from the weights; real, fake, t. `gradient ...`: of these
    weights; `unchanged ...`: whether pictures and fakes are, and still require no
    gradient."""
    weights = {name: a[name].requires_grad_() for name in ("first", "bias", "last")}
    given = {name: a[name].clone() for name in ("real", "fake", "t")}
    value = answer(_critic(weights), *given.values())
    left_alone = all(
        same_bits(x.detach(), a[name]) and not x.requires_grad
        for name, x in given.items()
    )
    outputs = {"value": value, "unchanged": left_alone}
    return outputs | stays_float64(a, value) | gradients(value, weights)


def _critic(weights: dict[str, Tensor]):
    """A network with a hidden layer of sines: pictures (N, C, H, W) -> (N,)."""
    first, bias, last = weights.values()
    return lambda x: (x.flatten(1) @ first + bias).sin() @ last


drive_conditional_instance_norm = precise(
    partial(
        on_case,
        tensors=("x", "gain", "bias", "shares"),
        settings=("eps",),
        flows=("x", "gain", "bias", "shares"),
    ),
    "value",
)
drive_projection_logit = precise(
    partial(on_case, tensors=("h", "psi", "table", "y"), flows=("h", "psi", "table")),
    "value",
)


def drive_grown(answer, a: Arrays) -> Arrays:
    """`level 0`, `level 1`, ...: the pictures; progress; lengths. `unchanged ...`:
    whether the lists hold what they held, and the pictures are as they were."""
    pictures = [a[f"level {i}"] for i in range(len(a) - 2)]
    given, before = [*pictures], [picture.clone() for picture in pictures]
    lengths = a["lengths"].tolist()
    value = answer(given, a["progress"].item(), lengths)
    held = [*map(id, given)] == [*map(id, pictures)]
    return stays_float64(a, value) | {
        "value": value,
        "unchanged lists": held and lengths == a["lengths"].tolist(),
        "unchanged pictures": all(map(same_bits, pictures, before)),
    }


def drive_Adversaries(answer, a: Arrays) -> Arrays:
    """Builds two tiny networks; real (rounds, k, N, X), noise (rounds, k + 1, N, Z),
    lr, momentum. `start ...`: each parameter once the object is made; `training ...`:
    whether these networks move at all; `discriminator ...`, `generator ...`, `average
    ...`: after all rounds; `unchanged ...`: whether batches and noise are, and their
    lists; `trainable ...`: whether the networks still are, in training mode."""
    generator, discriminator = _network(a, "g "), _network(a, "d ", nn.Flatten(0))
    players = answer(
        generator, discriminator, _start, a["lr"].item(), a["momentum"].item()
    )
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
    moved = any(
        not same_bits(p.detach(), start[f"start {n}"]) for n, p in named.items()
    )
    trainable = all(p.requires_grad for p in named.values())
    average = getattr(players, "average", None)
    found = named_parameters(average=average) if average is not None else {}
    return (
        start
        | {"training the given networks, not copies": moved}
        | named
        | found
        | {"unchanged lists": lists, "unchanged data": data}
        | {"trainable afterwards": trainable}
        | {"trainable in training mode": generator.training and discriminator.training}
    )


def _start(network: nn.Module):
    """Stands for a random start. A second call changes the parameters again."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.6).add_(0.4 * direction(parameter))


def _network(a: Arrays, prefix: str = "", *more: nn.Module) -> nn.Sequential:
    """A network with a hidden layer, of weights and biases from the case."""
    first, last = (
        layer(nn.Linear, a[f"{prefix}{name} weight"], a[f"{prefix}{name} bias"])
        for name in ("first", "last")
    )
    return nn.Sequential(first, nn.Tanh(), last, *more)
