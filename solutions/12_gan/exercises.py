"""Exercises 12, adversarial networks: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

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


# --- private: what stands above is given to students ----------------------------------

import copy
import math

import torch.nn.functional as F
from torch import Generator

from course_lib.grading.draw import F32, F64, between, normal, normals, uniform, whole
from course_lib.grading.exercise import (
    Case,
    Master,
    Property,
    gradient,
    library,
    make_case,
    make_cases,
    values,
)


# --- 1. the optimal discriminator -----------------------------------------------------
def cases_optimal_discriminator(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, k, smooth):
        arrays = {name: 1.2 * normal(g, k, dtype=F64) for name in ("log_p", "log_q")}
        if kind == "tiny":  # their exponentials are 0: in both, in p alone, in q alone
            # in float32 the difference of two such logarithms would have few digits
            far = 200 if dtype == F32 else 100_000
            arrays["log_p"][:2] -= far
            arrays["log_q"][[0, 2]] -= far
        tables = {n: x.log_softmax(0).to(dtype) for n, x in arrays.items()}
        return make_case(kind, **tables, smooth=float(smooth))

    if not hidden:
        ordinary, tiny = [(F32, 3, 0.1), (F64, 4, 0.0)], [(F32, 4, 0.0), (F64, 5, 0.2)]
    else:
        k, s = whole(g, 6, 9), between(g, 0.05, 0.4)
        ordinary, tiny = [(F32, k, s), (F64, k + 3, s / 2)], [(F32, k, s)]
        tiny += [(F32, k + 2, 0.0), (F64, k + 1, s), (F64, k + 3, 0.0)]
    return make_cases(case, ordinary=ordinary, tiny=tiny)


def best_by_softmax(log_p, log_q, smooth):
    log_d = torch.stack([log_p, log_q]).log_softmax(0)
    weights = torch.tensor([smooth, 1.0], dtype=log_p.dtype)[:, None]
    rest = (log_d + weights.log()).logsumexp(0)
    best = (1 - smooth) * log_d[0].exp()
    log_best = log_d[0] + math.log1p(-smooth)
    entropy = (1 - smooth) * log_p.exp() * log_best
    return best, (entropy + (smooth * log_p.exp() + log_q.exp()) * rest).sum()


def best_by_cases(log_p, log_q, smooth):
    """Divides by the larger of p and q."""
    ratio = (log_q - log_p).clamp(max=700).exp()
    other = (log_p - log_q).clamp(max=700).exp()
    large = log_p > log_q
    best = torch.where(large, 1 / (1 + ratio), other / (1 + other)) * (1 - smooth)
    log_best = torch.where(
        large, -ratio.log1p(), log_p - log_q - other.log1p()
    ) + math.log(1 - smooth)
    tail = log_q - log_p - ratio.log1p()
    rest = torch.where(large, tail, -other.log1p())
    if smooth:
        rest = torch.logaddexp(rest, log_best + math.log(smooth / (1 - smooth)))
    p, q = log_p.exp(), log_q.exp()
    return best, ((1 - smooth) * p * log_best + (smooth * p + q) * rest).sum()


# --- 2. the discriminator's loss ------------------------------------------------------
def sure_logits(g: Generator, n: int, dtype: torch.dtype) -> Tensor:
    """Logits of which some are enormous, of both signs, as float32 holds them."""
    logits = normal(g, n, dtype=dtype)
    logits[0], logits[1] = between(g, 900, 1100), -between(g, 600, 800)
    return logits


def cases_discriminator_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, m, smooth):
        draw = partial(normal, g, dtype=dtype)
        real, fake = 1 + 1.5 * draw(n), -0.4 + 1.5 * draw(m)
        if kind == "extreme":
            real, fake = sure_logits(g, n, dtype), sure_logits(g, m, dtype)
        return make_case(kind, draw, real=real, fake=fake, smooth=float(smooth))

    if not hidden:
        ordinary = [(F32, 2, 3, 0.1), (F64, 4, 3, 0.0)]
        extreme, slopes = [(F32, 3, 2, 0.2)], [(F64, 3, 4, 0.1)]
    else:
        n, s = whole(g, 5, 8), between(g, 0.05, 0.3)
        ordinary = [(F32, n, n + 2, s), (F64, n + 4, n, s / 2), (F32, n, n, 0.0)]
        extreme = [(F32, n, n + 1, s), (F64, n + 2, n, 0.0)]
        slopes = [(F64, n, n + 3, s)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def d_loss_by_bce(real, fake, smooth=0.0):
    good = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smooth))
    return good + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def d_loss_by_logaddexp(real, fake, smooth=0.0):
    """-log D + s l is the smoothed loss, because log D - log(1 - D) = l."""
    zero = torch.zeros((), dtype=real.dtype)
    smoothed = torch.logaddexp(zero, -real) + smooth * real
    return smoothed.mean() + torch.logaddexp(zero, fake).mean()


# --- 3. the generator's losses --------------------------------------------------------
def cases_generator_losses(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n):
        draw = partial(normal, g, dtype=dtype)
        fake = sure_logits(g, n, dtype) if kind == "extreme" else -0.6 + 1.5 * draw(n)
        if kind == "extreme" and dtype == F64:
            # their mean is small: in float32 it would be wrong
            fake[:2] = torch.tensor([1e5, -1e5]) + uniform(g, 2, dtype=F64)
        weights = [between(g, 0.5, 0.9), -between(g, 1.2, 1.8), between(g, 0.3, 0.4)]
        cotangent = torch.tensor(weights, dtype=dtype)
        return make_case(kind, lambda: cotangent, fake=fake)

    if not hidden:
        ordinary, slopes = [(F32, 2), (F64, 3)], [(F64, 3)]
        extreme = [(F32, 3), (F64, 4)]
    else:
        n = whole(g, 5, 8)
        ordinary, extreme = [(F32, n), (F64, n + 3)], [(F32, n), (F64, n + 2)]
        slopes = [(F64, n + 1)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def g_losses_by_softplus(fake):
    good = F.softplus(-fake)
    return [
        F.softplus(fake).neg().mean(),
        good.mean(),
        (good - F.softplus(fake)).mean(),
    ]


def g_losses_by_loops(fake):
    total = sum(torch.stack([F.logsigmoid(-a), F.softplus(-a), -a]) for a in fake)
    return tuple(total / len(fake))


# --- 4. the Wasserstein distance ------------------------------------------------------
def cases_wasserstein(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, m, far=0.0):
        # b sticks out on both sides of a, so no sum of signed distances is right.
        a = 0.5 + torch.linspace(-1, 1, n, dtype=F64) + 0.3 * uniform(g, n, dtype=F64)
        b = 2.6 * torch.linspace(-1, 1, m, dtype=F64) + 0.3 * uniform(g, m, dtype=F64)
        b, far = b + between(g, 0.7, 1.0), torch.tensor(far, dtype=dtype)
        a, b = a.roll(1).to(dtype) + far, b.flip(0).roll(2).to(dtype) + far
        return make_case(kind, lambda: 1 + normal(g, dtype=dtype).abs(), a=a, b=b)

    if not hidden:
        ordinary = [(F32, 2, 3), (F64, 4, 4), (F64, 3, 4, 1e6)]
        return make_cases(case, ordinary=ordinary, gradient=[(F64, 4, 2)])
    n = whole(g, 5, 7)
    ordinary = [(F32, n, n + 2), (F64, n + 3, n, 1e6), (F32, 3, n), (F64, n, n)]
    return make_cases(case, ordinary=ordinary, gradient=[(F64, n + 1, n)])


def earth_by_areas(a, b):
    """The area between the two distribution functions."""
    line = torch.cat([a, b]).sort().values
    below = [(points[:, None] <= line[:-1]).to(a.dtype).mean(0) for points in (a, b)]
    return ((below[0] - below[1]).abs() * line.diff()).sum()


def earth_by_loops(a, b):
    """Moves as much as possible from the first place to the first place."""
    total, (n, m) = torch.zeros((), dtype=a.dtype), (len(a), len(b))
    i, j, left, room = 0, 0, m, n  # in pieces of mass 1 / (n m)
    first, second = a.sort().values, b.sort().values
    while i < n:
        piece = min(left, room)
        total = total + piece * (first[i] - second[j]).abs() / (n * m)
        left, room = left - piece, room - piece
        if left == 0:
            i, left = i + 1, m
        if room == 0:
            j, room = j + 1, n
    return total


# --- 5. clipped weights ---------------------------------------------------------------
def cases_clip_weights(g: Generator, hidden: bool) -> list[Case]:
    def case(inputs, width, c, dtype=F32):
        arrays, draw = {}, partial(normal, g, dtype=dtype)
        shapes = {"first": (width, inputs), "middle": (3, width), "last": (2, 3)}
        for name, (n, m) in shapes.items():
            bias = torch.cat([draw(n - 1), torch.tensor([between(g, 0.9, 1.4)])])
            arrays |= {f"{name} weight": 0.7 * draw(n, m), f"{name} bias": bias}
        arrays["shift"], arrays["seen"] = 1 + draw(width).abs(), 2 + draw(width).abs()
        return make_case("ordinary", **arrays, c=c)

    if not hidden:
        return [case(2, 3, 0.4), case(3, 4, 0.25, F64)]
    n = whole(g, 5, 7)
    first = case(n, n + 1, between(g, 0.2, 0.5))
    return [first, case(4, n, between(g, 0.3, 0.6), F64)]


def clip_by_data(critic, c):
    bound = torch.ones((), dtype=next(critic.parameters()).dtype)
    for p in critic.parameters():
        p.data = p.data.clip(-c, c)
    for p in critic.parameters():
        if p.dim() == 2:
            bound *= torch.linalg.svdvals(p.detach())[0]
    return bound.item()


@torch.no_grad()
def clip_by_minimum(critic, c):
    """The largest singular value is the root of the largest eigenvalue of W^T W."""
    bound = 1.0
    for p in critic.parameters():
        p.copy_(p.sign() * p.abs().minimum(torch.full_like(p, c)))
        if p.ndim > 1:
            bound *= torch.linalg.eigvalsh(p.T @ p)[-1].sqrt().item()
    return bound


# --- 6. the gradient penalty ----------------------------------------------------------
def cases_gradient_penalty(g: Generator, hidden: bool) -> list[Case]:
    def case(dtype, n, c, h, w, width, kind="ordinary", steep=False):
        draw = partial(normal, g, dtype=dtype)
        critic = {"first": 0.8 * draw(c * h * w, width), "bias": draw(width)}
        critic["last"] = 1.1 * draw(width)
        t = [between(g, *((0.6, 0.9), (0.1, 0.4))[i % 2]) for i in range(n)]
        real, fake = uniform(g, 2, n, c, h, w, dtype=dtype)
        real, fake, t = 2 * real, 1.5 * fake - 1, torch.tensor(t, dtype=dtype)
        # Slopes then lie on both sides of 1, so that the penalty's shape shows.
        norms = slope_norms(_critic(critic), real, fake, t)
        middle = (norms.min() + norms.max()).item() / 2
        critic["last"] /= middle if n > 1 else 0.6 * norms.item()
        if steep:
            critic["last"] *= 3 * n
        if kind == "flat":
            critic["last"] = torch.zeros_like(critic["last"])
        return make_case(kind, **critic, real=real, fake=fake, t=t)

    if not hidden:
        first = [case(F64, 2, 1, 2, 3, 3), case(F64, 3, 2, 2, 2, 4)]
        first += [case(F32, 3, 1, 3, 3, 3, steep=True)]
        return [*first, case(F64, 2, 1, 2, 2, 3, "flat")]
    n = whole(g, 4, 7)
    first = [case(F64, n, 3, 2, 3, 4), case(F64, n + 2, 1, 3, n, 5)]
    first += [case(F32, n, 2, 2, 2, 3, steep=True), case(F64, 1, 1, 4, 4, 4)]
    return [*first, case(F32, n, 1, 3, 2, 4, "flat")]


def slope_norms(critic, real, fake, t):
    """Norms of the critic's gradients between real and fake."""
    t = t.view(-1, 1, 1, 1)
    x = (t * real + (1 - t) * fake).requires_grad_()
    ones = torch.ones_like(t[:, 0, 0, 0])
    (slope,) = torch.autograd.grad(critic(x), x, ones, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def penalty_by_cotangent(critic, real, fake, t):
    above = (slope_norms(critic, real, fake, t) - 1).clamp(min=0)
    return above.pow(2).sum() / len(real)


def penalty_by_loops(critic, real, fake, t):
    total = 0
    for one, other, share in zip(real, fake, t):
        x = torch.lerp(other, one, share)[None].requires_grad_()
        (slope,) = torch.autograd.grad(critic(x)[0], x, create_graph=True)
        norm = torch.linalg.vector_norm(slope)
        total += torch.where(norm > 1, norm - 1, 0 * norm) ** 2
    return total / len(real)


# --- 7. conditional instance norm -----------------------------------------------------
def cases_conditional_instance_norm(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, classes, c, h, w, far=0.0):
        draw = partial(normal, g, dtype=dtype)
        # far from 0, where float32 would lose the differences
        x = 1.5 * draw(n, c, h, w) + torch.arange(n).view(-1, 1, 1, 1) - 1 + far
        gain, bias = 1.5 + draw(classes, c), draw(classes, c)
        shares = 0.05 + uniform(g, n, classes, dtype=F64)
        shares = (shares / shares.sum(1, keepdim=True)).to(dtype)
        arrays = {"x": x, "gain": gain, "bias": bias, "shares": shares}
        arrays["eps"] = between(g, 0.2, 0.4)
        return make_case(kind, partial(draw, *x.shape), **arrays)

    if not hidden:
        ordinary = [(F32, 3, 4, 2, 2, 3), (F64, 3, 2, 3, 2, 2, 1e4)]
        slopes = [(F64, 3, 2, 2, 2, 2)]
    else:
        n = whole(g, 5, 8)
        ordinary = [(F32, n, 3, 4, 2, 3), (F64, n + 1, 5, 2, 3, 2, 1e4)]
        ordinary += [(F64, 4, 4, 4, 4, 4)]
        slopes = [(F64, n, 3, 2, 2, 3)]
    return make_cases(case, ordinary=ordinary, gradient=slopes)


def norm_by_torch(x, gain, bias, shares, eps):
    normed = F.instance_norm(x, eps=eps)
    scale = torch.einsum("nk,kc->nc", shares, gain)
    return scale[..., None, None] * normed + (shares @ bias)[..., None, None]


def norm_by_loops(x, gain, bias, shares, eps):
    """Mixes the results for the single labels, which is the same."""
    maps = torch.zeros_like(x)
    for n, picture in enumerate(x):
        for c, numbers in enumerate(picture):
            variance = numbers.var(correction=0)
            normed = (numbers - numbers.mean()) / (variance + eps) ** 0.5
            for share, scale, shift in zip(shares[n], gain[:, c], bias[:, c]):
                maps[n, c] = maps[n, c] + share * (scale * normed + shift)
    return maps


# --- 8. the projection ----------------------------------------------------------------
def cases_projection_logit(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, labels, classes, d, large=0.0):
        n = len(labels)
        arrays = normals(g, dtype, h=(n, d), psi=(d,), table=(classes, d))
        arrays["table"] += 0.3
        if large:  # the two parts nearly cancel: in float32 the rest would be wrong
            big = large * normal(g, d, dtype=dtype)
            arrays["psi"] += big
            arrays["table"] -= big
        return make_case(kind, partial(normal, g, n, dtype=dtype), **arrays, y=labels)

    if not hidden:
        ordinary = [(F32, [2, -1, 2], 4, 2), (F64, [1, 3, -1, 0], 4, 3)]
        ordinary += [(F64, [1, 0], 2, 2, 1e5)]
        return make_cases(case, ordinary=ordinary, gradient=[(F64, [1, -1], 3, 4)])
    y = [(3 * i + 1) % 5 - 1 for i in range(whole(g, 5, 8))]
    ordinary = [(F32, y, len(y) + 2, len(y) + 1), (F64, [0, *y], 4, 5)]
    ordinary += [(F64, [abs(label) for label in y], 5, 3, 1e5), (F32, [-1, -1], 3, 2)]
    return make_cases(case, ordinary=ordinary, gradient=[(F64, y, 5, 3)])


def projection_by_one_row(h, psi, table, y):
    with_none = torch.cat([table, torch.zeros_like(table[:1])])
    return torch.einsum("nd,nd->n", h, psi + with_none[y])


def projection_by_loops(h, psi, table, y):
    rows = [psi + table[label] if label >= 0 else psi for label in y]
    return torch.stack([row @ v for row, v in zip(h, rows)])


# --- 9. growing -----------------------------------------------------------------------
def cases_grown(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, levels, n, c, side, phase, share=None, dtype=F32):
        """At this share of this phase; without share, at the progress `phase`."""
        sides = [side * 2**i for i in range(levels)]
        drawn = [uniform(g, n, c, s, s, dtype=dtype) for s in sides]
        pictures = {f"level {i}": x for i, x in enumerate(drawn)}
        lengths = [between(g, 0.5, 3) for _ in range(2 * levels - 1)]
        if share is not None:
            passed = sum(lengths[:phase]) + share * lengths[phase]
            phase = passed / sum(lengths)
        return make_case(kind, **pictures, progress=float(phase), lengths=lengths)

    def some():
        return between(g, 0.15, 0.4) if whole(g, 0, 1) else between(g, 0.6, 0.85)

    if not hidden:
        return [
            case("ordinary", 3, 1, 1, 2, 1, 0.3),
            case("ordinary", 4, 1, 1, 2, 3, 0.7, F64),
            case("alone", 3, 1, 2, 2, 2, 0.4),
            case("alone", 3, 1, 1, 2, 4, 0.6),
            case("alone", 2, 2, 1, 2, 1.0, None, F64),
        ]
    n = whole(g, 2, 4)
    return [
        case("ordinary", 3, n, 3, 2, 3, some()),
        case("ordinary", 4, n, 1, 3, 1, some(), F64),
        case("ordinary", 4, 2, 1, 2, 5, some()),
        case("alone", 4, n, 1, 2, 2 * whole(g, 1, 2), some()),
        case("alone", 3, n, 2, 3, 1.0),
        case("alone", 1, n, 1, 3, 0, some(), F64),
        case("alone", 4, 2, 2, 2, 0.0),
    ]


def grown_by_search(pictures, progress, lengths):
    ends = torch.tensor(lengths, dtype=F64).cumsum(0)
    ends /= ends[-1].clone()
    phase = min(int((ends <= progress).sum()), len(lengths) - 1)
    start = ends[phase - 1].item() if phase else 0.0
    level, fading = divmod(phase, 2)
    if not fading:
        return pictures[level].clone()
    alpha = (progress - start) / (ends[phase].item() - start)
    old = F.interpolate(pictures[level], scale_factor=2)
    return torch.lerp(old, pictures[level + 1], alpha)


def grown_by_kron(pictures, progress, lengths):
    shown, passed = pictures[0], progress * math.fsum(lengths)
    for level, new in enumerate(pictures[1:], 1):
        before = sum(lengths[: 2 * level - 1])
        alpha = min(max((passed - before) / lengths[2 * level - 1], 0), 1)
        if alpha > 0:
            old = torch.kron(shown, torch.ones(2, 2, dtype=shown.dtype))
            shown = (1 - alpha) * old + alpha * new
    return shown


# --- 10. two players ------------------------------------------------------------------
def cases_Adversaries(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, rounds, k, n, x, z, width):
        arrays, draw = {}, partial(normal, g, dtype=dtype)
        shapes = (width, z), (x, width), (width, x), (1, width)
        for name, shape in zip(("g first", "g last", "d first", "d last"), shapes):
            arrays |= {f"{name} weight": draw(*shape), f"{name} bias": draw(shape[0])}
        arrays["real"] = 1.5 + draw(rounds, k, n, x)
        arrays["lr"], arrays["momentum"] = between(g, 0.5, 0.8), between(g, 0.6, 0.8)
        return make_case(kind, **arrays, noise=draw(rounds, k + 1, n, z))

    if not hidden:
        ordinary = [(F64, 1, 2, 3, 2, 2, 3), (F32, 1, 3, 2, 2, 1, 4)]
        rounds = [(F64, 3, 1, 3, 2, 2, 3), (F64, 2, 2, 2, 2, 2, 3)]
    else:
        n = whole(g, 4, 6)
        ordinary = [(F64, 1, 2, n, 3, 2, 4), (F32, 1, 4, n + 1, 2, 3, 3)]
        ordinary += [(F64, 1, 1, n, 2, 2, 5)]
        rounds = [(F64, 3, 1, n, 3, 2, 4), (F64, 2, 3, n, 2, 1, 4)]
    return make_cases(case, ordinary=ordinary, rounds=rounds)


class PlayersByOptimisers:
    def __init__(self, generator, discriminator, init, lr, momentum):
        self.networks = [generator, discriminator]
        for network in self.networks:
            init(network)
        self.average, self.momentum = copy.deepcopy(generator), momentum
        self.optimisers = [torch.optim.SGD(n.parameters(), lr) for n in self.networks]

    def step(self, reals, noises):
        (generator, discriminator), (by_g, by_d) = self.networks, self.optimisers
        for i, real in enumerate(reals):
            by_d.zero_grad()
            with torch.no_grad():
                fake = generator(noises[i])
            d_loss_by_bce(discriminator(real), discriminator(fake)).backward()
            by_d.step()
        by_g.zero_grad()
        fake = generator(noises[len(reals)])
        g_losses_by_softplus(discriminator(fake))[1].backward()
        by_g.step()
        with torch.no_grad():
            for old, new in zip(self.average.parameters(), generator.parameters()):
                old.lerp_(new, 1 - self.momentum)


class PlayersAsModule(nn.Module):
    def __init__(self, generator, discriminator, init, lr, momentum):
        super().__init__()
        init(generator), init(discriminator)
        self.generator, self.discriminator, self.lr = generator, discriminator, lr
        self.average = copy.deepcopy(generator).requires_grad_(False)
        self.momentum = momentum

    def move(self, network, loss):
        self.zero_grad()
        loss.backward()
        for parameter in network.parameters():
            parameter.data -= self.lr * parameter.grad

    def step(self, reals, noises):
        *for_d, for_g = noises
        for real, z in zip(reals, for_d):
            logits = self.discriminator(torch.cat([real, self.generator(z)]))
            labels = (torch.arange(len(logits)) < len(real)).to(logits.dtype)
            loss = F.binary_cross_entropy_with_logits(logits, labels)
            self.move(self.discriminator, 2 * loss)
        logits = self.discriminator(self.generator(for_g))
        self.move(self.generator, -logits.sigmoid().log().mean())
        state, m = self.generator.state_dict(), self.momentum
        old = self.average.state_dict()
        self.average.load_state_dict({k: m * old[k] + (1 - m) * state[k] for k in old})
        return loss.item()


# --- the sheet ------------------------------------------------------------------------
BOTH = ("best", "value")
LOSSES = ("saturating", "non-saturating", "KL")
PLAYERS = ("discriminator", "generator")
KEPT = ("same", "learning", "grad", "buffer")
LEFT_ALONE = Property(
    "leaves its arguments alone, and float64 is kept",
    1,
    outputs=("unchanged", "float64"),
)

SHEET: list[Master] = [
    Master(
        "optimal_discriminator",
        (
            Property("gives the best D", 2, outputs=BOTH[:1]),
            Property("gives the value of the game", 1, outputs=BOTH[1:]),
            LEFT_ALONE,
            Property("stays right for tiny probabilities", 1, "tiny", BOTH),
        ),
        cases_optimal_discriminator,
        (best_by_softmax, best_by_cases),
        library("gan.games", "optimal_logit", "jensen_shannon"),
    ),
    Master(
        "discriminator_loss",
        (
            values(2),
            LEFT_ALONE,
            Property("stays right for a very sure D", 1, "extreme"),
            gradient(1),
        ),
        cases_discriminator_loss,
        (d_loss_by_bce, d_loss_by_logaddexp),
        library("gan.games", "discriminator_loss"),
    ),
    Master(
        "generator_losses",
        (
            Property("gives all losses", 2, outputs=LOSSES),
            LEFT_ALONE,
            Property("stays right for a very sure D", 1, "extreme", LOSSES),
            gradient(1),
        ),
        cases_generator_losses,
        (g_losses_by_softplus, g_losses_by_loops),
        library(
            "gan.games",
            "saturating_loss",
            "non_saturating_loss",
            "critic_generator_loss",
        ),
    ),
    Master(
        "wasserstein",
        (values(2), LEFT_ALONE, gradient(1)),
        cases_wasserstein,
        (earth_by_areas, earth_by_loops),
        library("gan.games", "critic_loss"),
    ),
    Master(
        "clip_weights",
        (
            Property("clips all weights", 2, outputs=("weight",)),
            Property("changes nothing else", 1, outputs=KEPT),
            Property("gives the bound", 1, outputs=("bound",)),
        ),
        cases_clip_weights,
        (clip_by_data, clip_by_minimum),
        library("gan.wgan", "WGAN"),
    ),
    Master(
        "gradient_penalty",
        (
            values(2),
            Property("teaches the critic", 2, outputs=("gradient",)),
            Property("is 0 for a flat critic", 1, "flat", ("value", "gradient")),
            LEFT_ALONE,
        ),
        cases_gradient_penalty,
        (penalty_by_cotangent, penalty_by_loops),
        library("gan.wgan", "gradient_penalty", "GradientPenalty"),
    ),
    Master(
        "conditional_instance_norm",
        (values(3), LEFT_ALONE, gradient(1)),
        cases_conditional_instance_norm,
        (norm_by_torch, norm_by_loops),
        library("gan.conditional", "ConditionalBatchNorm"),
    ),
    Master(
        "projection_logit",
        (values(2), LEFT_ALONE, gradient(1)),
        cases_projection_logit,
        (projection_by_one_row, projection_by_loops),
        library("gan.conditional", "ProjectionDiscriminator"),
    ),
    Master(
        "grown",
        (
            Property("fades the next level in", 3),
            Property("shows one level alone in between", 1, "alone"),
            LEFT_ALONE,
        ),
        cases_grown,
        (grown_by_search, grown_by_kron),
        library("gan.progressive", "fade_in", "blend"),
    ),
    Master(
        "Adversaries",
        (
            Property(
                "starts both networks with init", 1, outputs=("start", "training")
            ),
            Property("moves the discriminator k times", 2, outputs=PLAYERS[:1]),
            Property("then moves the generator once", 1, outputs=PLAYERS[1:]),
            Property("stays right round after round", 1, "rounds", PLAYERS),
            Property("averages the generator", 1, "rounds", ("average",)),
            Property(
                "leaves its arguments alone", 1, outputs=("unchanged", "trainable")
            ),
        ),
        cases_Adversaries,
        (PlayersByOptimisers, PlayersAsModule),
        library("gan.gan", "GAN")
        + library("gan.games", "discriminator_loss", "non_saturating_loss"),
    ),
]
