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


# --- private: what stands above is given to students ----------------------------------

import math

import torch.nn.functional as F
from torch import Generator

from course_lib.grading.draw import F32, F64, between, normal, normals, uniform, whole
from course_lib.grading.exercise import (
    UNCHANGED,
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
    def case(kind, dtype, k):
        arrays = {name: 1.2 * normal(g, k, dtype=F64) for name in ("log_p", "log_q")}
        if kind == "tiny":  # their exponentials are 0: in both, in p alone, in q alone
            far = 200 if dtype == F32 else 1000
            arrays["log_p"][:2] -= far
            arrays["log_q"][[0, 2]] -= far
        return Case(kind, {n: x.log_softmax(0).to(dtype) for n, x in arrays.items()})

    if not hidden:
        ordinary, tiny = [(F32, 3), (F64, 4)], [(F32, 4), (F64, 5)]
    else:
        k = whole(g, 6, 9)
        ordinary, tiny = [(F32, k), (F64, k + 3)], [(F32, k), (F64, k + 1)]
    return make_cases(case, ordinary=ordinary, tiny=tiny)


def best_by_softmax(log_p, log_q):
    log_d = torch.stack([log_p, log_q]).log_softmax(0)
    return log_d[0].exp(), (torch.stack([log_p, log_q]).exp() * log_d).sum()


def best_by_divergence(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    twice_jsd = (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum()
    return 1 / (1 + (log_q - log_p).exp()), twice_jsd - math.log(4)


# --- 2. the discriminator's loss ------------------------------------------------------
def sure_logits(g: Generator, n: int, dtype: torch.dtype) -> Tensor:
    """Logits of which some are enormous, of both signs, as float32 holds them."""
    logits = normal(g, n, dtype=dtype)
    logits[0], logits[1] = between(g, 900, 1100), -between(g, 600, 800)
    return logits


def cases_discriminator_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n, m):
        draw = partial(normal, g, dtype=dtype)
        real, fake = 1 + 1.5 * draw(n), -0.4 + 1.5 * draw(m)
        if kind == "extreme":
            real, fake = sure_logits(g, n, dtype), sure_logits(g, m, dtype)
        return make_case(kind, draw, real=real, fake=fake)

    if not hidden:
        ordinary = [(F32, 2, 3), (F64, 4, 3)]
        extreme, slopes = [(F32, 3, 2)], [(F64, 3, 4)]
    else:
        n = whole(g, 5, 8)
        ordinary = [(F32, n, n + 2), (F64, n + 4, n), (F32, n, n)]
        extreme, slopes = [(F32, n, n + 1), (F64, n + 2, n)], [(F64, n, n + 3)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def d_loss_by_bce(real, fake):
    good = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return good + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def d_loss_by_logaddexp(real, fake):
    zero = torch.zeros((), dtype=real.dtype)
    return torch.logaddexp(zero, -real).mean() + torch.logaddexp(zero, fake).mean()


# --- 3. the generator's losses --------------------------------------------------------
def cases_generator_losses(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n):
        draw = partial(normal, g, dtype=dtype)
        fake = sure_logits(g, n, dtype) if kind == "extreme" else -0.6 + 1.5 * draw(n)
        weights = [between(g, 0.5, 0.9), -between(g, 1.2, 1.8)]
        cotangent = torch.tensor(weights, dtype=dtype)
        return make_case(kind, lambda: cotangent, fake=fake)

    if not hidden:
        ordinary, extreme, slopes = [(F32, 2), (F64, 3)], [(F32, 3)], [(F64, 3)]
    else:
        n = whole(g, 5, 8)
        ordinary, extreme = [(F32, n), (F64, n + 3)], [(F32, n), (F64, n + 2)]
        slopes = [(F64, n + 1)]
    return make_cases(case, ordinary=ordinary, extreme=extreme, gradient=slopes)


def g_losses_by_softplus(fake):
    return [F.softplus(fake).neg().mean(), F.softplus(-fake).mean()]


def g_losses_by_loops(fake):
    total = sum(torch.stack([F.logsigmoid(-a), F.softplus(-a)]) for a in fake)
    return tuple(total / len(fake))


# --- 4. the Wasserstein distance ------------------------------------------------------
def cases_wasserstein(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, n):
        # b sticks out on both sides of a, so no sum of signed distances is right.
        places = torch.linspace(-1, 1, n, dtype=F64)
        a = 0.5 + places + 0.3 * uniform(g, n, dtype=F64)
        b = 2.6 * places + 0.3 * uniform(g, n, dtype=F64) + between(g, 0.2, 0.6)
        arrays = {"a": a.roll(1).to(dtype), "b": b.flip(0).roll(2).to(dtype)}
        return make_case(kind, lambda: 1 + normal(g, dtype=dtype).abs(), **arrays)

    if not hidden:
        return make_cases(case, ordinary=[(F32, 4), (F64, 5)], gradient=[(F64, 4)])
    n = whole(g, 6, 9)
    return make_cases(case, ordinary=[(F32, n), (F64, n + 3)], gradient=[(F64, n + 1)])


def earth_by_areas(a, b):
    """The area between the two distribution functions."""
    line = torch.cat([a, b]).sort().values
    below = [(points[:, None] <= line[:-1]).to(a.dtype).mean(0) for points in (a, b)]
    return ((below[0] - below[1]).abs() * line.diff()).sum()


def earth_by_loops(a, b):
    pairs = zip(sorted(a, key=Tensor.item), sorted(b, key=Tensor.item))
    return sum((x - y).abs() for x, y in pairs) / len(a)


# --- 5. clipped weights ---------------------------------------------------------------
def cases_clip_weights(g: Generator, hidden: bool) -> list[Case]:
    def case(inputs, width, c, dtype=F32):
        arrays, draw = {}, partial(normal, g, dtype=dtype)
        for name, n, m in (("first", width, inputs), ("last", 2, width)):
            bias = torch.cat([draw(n - 1), torch.tensor([between(g, 0.9, 1.4)])])
            arrays |= {f"{name} weight": draw(n, m), f"{name} bias": bias}
        arrays["seen"] = 2 + draw(width).abs()
        return make_case("ordinary", **arrays, c=c)

    if not hidden:
        return [case(2, 3, 0.4), case(3, 4, 0.25, F64)]
    n = whole(g, 5, 7)
    first = case(n, n + 1, between(g, 0.2, 0.5))
    return [first, case(4, n, between(g, 0.1, 0.6), F64)]


def clip_by_data(critic, c):
    for p in critic.parameters():
        p.data = p.data.clip(-c, c)


@torch.no_grad()
def clip_by_minimum(critic, c):
    for p in critic.parameters():
        p.copy_(p.sign() * p.abs().minimum(torch.full_like(p, c)))


# --- 6. the gradient penalty ----------------------------------------------------------
def cases_gradient_penalty(g: Generator, hidden: bool) -> list[Case]:
    def case(dtype, n, c, h, w, width):
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
        return make_case("ordinary", **critic, real=real, fake=fake, t=t)

    if not hidden:
        first = [case(F64, 2, 1, 2, 3, 3), case(F64, 3, 2, 2, 2, 4)]
        return [*first, case(F32, 3, 1, 3, 3, 3)]
    n = whole(g, 4, 7)
    first = [case(F64, n, 3, 2, 3, 4), case(F64, n + 2, 1, 3, n, 5)]
    return [*first, case(F32, n, 2, 2, 2, 3), case(F64, 1, 1, 4, 4, 4)]


def slope_norms(critic, real, fake, t):
    """Norms of the critic's gradients between real and fake."""
    t = t.view(-1, 1, 1, 1)
    x = (t * real + (1 - t) * fake).requires_grad_()
    ones = torch.ones_like(t[:, 0, 0, 0])
    (slope,) = torch.autograd.grad(critic(x), x, ones, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def penalty_by_cotangent(critic, real, fake, t):
    return (slope_norms(critic, real, fake, t) - 1).pow(2).sum() / len(real)


def penalty_by_loops(critic, real, fake, t):
    total = 0
    for one, other, share in zip(real, fake, t):
        x = torch.lerp(other, one, share)[None].requires_grad_()
        (slope,) = torch.autograd.grad(critic(x)[0], x, create_graph=True)
        total += (slope.square().sum().sqrt() - 1) ** 2
    return total / len(real)


# --- 7. conditional batch norm --------------------------------------------------------
def some_labels(g: Generator) -> list[int]:
    """Five to eight labels of four classes."""
    return [(3 * i + 1) % 4 for i in range(whole(g, 5, 8))]


def cases_conditional_batch_norm(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, labels, classes, *shape):
        draw, n = partial(normal, g, dtype=dtype), len(labels)
        x = 1.5 * draw(n, *shape) + torch.arange(n).view(-1, 1, 1, 1) - 1
        gain, bias = 1.5 + draw(classes, shape[0]), draw(classes, shape[0])
        arrays = {"x": x, "gain": gain, "bias": bias, "y": labels}
        arrays["eps"] = between(g, 0.2, 0.4)
        return make_case(kind, partial(draw, *x.shape), **arrays)

    if not hidden:
        ordinary = [(F32, [2, 0, 2], 4, 2, 2, 3), (F64, [1, 0, 0, 1], 5, 3, 2, 2)]
        slopes = [(F64, [1, 2, 1], 3, 2, 2, 2)]
    else:
        y = some_labels(g)
        n = len(y)
        ordinary = [(F32, y, n + 2, 3, 2, 3), (F64, [1, 1, *y], 4, n, 3, 2)]
        slopes = [(F64, y, 5, 3, 2, n)]
    return make_cases(case, ordinary=ordinary, gradient=slopes)


def norm_by_torch(x, gain, bias, y, eps):
    normed = F.batch_norm(x, None, None, training=True, eps=eps)
    pick = F.one_hot(y, len(gain)).to(x.dtype)
    scaled = torch.einsum("nc,nchw->nchw", pick @ gain, normed)
    return scaled + (pick @ bias)[..., None, None]


def norm_by_loops(x, gain, bias, y, eps):
    maps = torch.zeros_like(x)
    for c, numbers in enumerate(x.unbind(1)):
        mean = numbers.sum() / numbers.numel()
        deviation = ((numbers - mean).square().sum() / numbers.numel() + eps) ** 0.5
        for n, k in enumerate(y):
            maps[n, c] = gain[k, c] * (numbers[n] - mean) / deviation + bias[k, c]
    return maps


# --- 8. the projection ----------------------------------------------------------------
def cases_projection_logit(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, dtype, labels, classes, d):
        n = len(labels)
        arrays = normals(g, dtype, h=(n, d), psi=(d,), table=(classes, d))
        arrays["table"] += 0.3
        return make_case(kind, partial(normal, g, n, dtype=dtype), **arrays, y=labels)

    if not hidden:
        ordinary = [(F32, [2, 0, 2], 4, 2), (F64, [1, 3, 3, 0], 4, 3)]
        return make_cases(case, ordinary=ordinary, gradient=[(F64, [1, 0], 3, 4)])
    y = some_labels(g)
    ordinary = [(F32, y, len(y) + 2, len(y) + 1), (F64, [0, *y], 4, 5)]
    return make_cases(case, ordinary=ordinary, gradient=[(F64, y, 5, 3)])


def projection_by_one_row(h, psi, table, y):
    return torch.einsum("nd,nd->n", h, psi + table[y])


def projection_by_loops(h, psi, table, y):
    return torch.stack([row @ psi + row @ table[label] for row, label in zip(h, y)])


# --- 9. growing -----------------------------------------------------------------------
def cases_grown(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, levels, n, c, side, progress, dtype=F32):
        sides = [side * 2**i for i in range(levels)]
        drawn = [uniform(g, n, c, s, s, dtype=dtype) for s in sides]
        pictures = {f"level {i}": x for i, x in enumerate(drawn)}
        return make_case(kind, **pictures, progress=progress)

    def fading(level, levels):
        """The progress at which this level is being faded in, not half way."""
        alpha = between(g, 0.15, 0.4) if level % 2 else between(g, 0.6, 0.85)
        return (2 * level - 1 + alpha) / (2 * levels - 1)

    def alone(level, levels):
        return (2 * level + between(g, 0.2, 0.8)) / (2 * levels - 1)

    if not hidden:
        return [
            case("ordinary", 3, 1, 1, 2, fading(1, 3)),
            case("ordinary", 4, 1, 1, 2, fading(2, 4), F64),
            case("alone", 3, 1, 2, 2, alone(1, 3)),
            case("alone", 3, 1, 1, 2, alone(2, 3)),
            case("alone", 2, 2, 1, 2, 1.0, F64),
        ]
    n = whole(g, 2, 4)
    return [
        case("ordinary", 3, n, 3, 2, fading(2, 3)),
        case("ordinary", 4, n, 1, 3, fading(1, 4), F64),
        case("ordinary", 4, 2, 1, 2, fading(3, 4)),
        case("alone", 4, n, 1, 2, alone(whole(g, 1, 2), 4)),
        case("alone", 3, n, 2, 3, 1.0),
        case("alone", 1, n, 1, 3, between(g, 0.1, 0.9), F64),
        case("alone", 4, 2, 2, 2, 0.0),
    ]


def grown_by_search(pictures, progress):
    length = 1 / (2 * len(pictures) - 1)
    for level in range(len(pictures) - 1):
        if progress <= (2 * level + 1) * length:
            return pictures[level].clone()
        if progress < (2 * level + 2) * length:
            old = F.interpolate(pictures[level], scale_factor=2)
            alpha = progress / length - (2 * level + 1)
            return torch.lerp(old, pictures[level + 1], alpha)
    return pictures[-1].clone()


def grown_by_kron(pictures, progress):
    shown, phase = pictures[0], progress * (2 * len(pictures) - 1)
    for level, new in enumerate(pictures[1:], 1):
        alpha = min(max(phase - (2 * level - 1), 0), 1)
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
        arrays["lr"] = between(g, 0.5, 0.8)
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
    def __init__(self, generator, discriminator, init, lr):
        self.networks = [generator.apply(init), discriminator.apply(init)]
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


class PlayersAsModule(nn.Module):
    def __init__(self, generator, discriminator, init, lr):
        super().__init__()
        init(generator), init(discriminator)
        self.generator, self.discriminator, self.lr = generator, discriminator, lr

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
        return loss.item()


# --- the sheet ------------------------------------------------------------------------
BOTH = ("best", "value")
LOSSES = ("saturating", "non-saturating")
PLAYERS = ("discriminator", "generator")
KEPT = ("same", "learning", "grad", "buffer")

SHEET: list[Master] = [
    Master(
        "optimal_discriminator",
        (
            Property("gives the best D", 2, outputs=BOTH[:1]),
            Property("gives the value of the game", 1, outputs=BOTH[1:]),
            UNCHANGED,
            Property("stays right for tiny probabilities", 1, "tiny", BOTH),
        ),
        cases_optimal_discriminator,
        (best_by_softmax, best_by_divergence),
        library("gan.games", "optimal_logit", "jensen_shannon"),
    ),
    Master(
        "discriminator_loss",
        (
            values(2),
            UNCHANGED,
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
            Property("gives both losses", 2, outputs=LOSSES),
            UNCHANGED,
            Property("stays right for a very sure D", 1, "extreme", LOSSES),
            gradient(2),
        ),
        cases_generator_losses,
        (g_losses_by_softplus, g_losses_by_loops),
        library("gan.games", "saturating_loss", "non_saturating_loss"),
    ),
    Master(
        "wasserstein",
        (values(2), UNCHANGED, gradient(1)),
        cases_wasserstein,
        (earth_by_areas, earth_by_loops),
        library("gan.games", "critic_loss"),
    ),
    Master(
        "clip_weights",
        (
            Property("cuts all weights off", 2, outputs=("weight",)),
            Property("changes nothing else", 1, outputs=KEPT),
        ),
        cases_clip_weights,
        (clip_by_data, clip_by_minimum),
        library("gan.wgan", "WGAN"),
    ),
    Master(
        "gradient_penalty",
        (values(3), Property("teaches the critic", 3, outputs=("gradient",))),
        cases_gradient_penalty,
        (penalty_by_cotangent, penalty_by_loops),
        library("gan.wgan", "gradient_penalty"),
    ),
    Master(
        "conditional_batch_norm",
        (values(3), UNCHANGED, gradient(1)),
        cases_conditional_batch_norm,
        (norm_by_torch, norm_by_loops),
        library("gan.conditional", "ConditionalBatchNorm"),
    ),
    Master(
        "projection_logit",
        (values(2), UNCHANGED, gradient(1)),
        cases_projection_logit,
        (projection_by_one_row, projection_by_loops),
        library("gan.conditional", "ProjectionDiscriminator"),
    ),
    Master(
        "grown",
        (
            Property("fades the next level in", 3),
            Property("shows one level alone in between", 1, "alone"),
            UNCHANGED,
        ),
        cases_grown,
        (grown_by_search, grown_by_kron),
        library("gan.progressive", "fade_in", "blend"),
    ),
    Master(
        "Adversaries",
        (
            Property("starts both networks with init", 1, outputs=("start",)),
            Property("moves the discriminator k times", 2, outputs=PLAYERS[:1]),
            Property("then moves the generator once", 2, outputs=PLAYERS[1:]),
            Property("stays right round after round", 1, "rounds", PLAYERS),
            UNCHANGED,
        ),
        cases_Adversaries,
        (PlayersByOptimisers, PlayersAsModule),
        library("gan.gan", "GAN")
        + library("gan.games", "discriminator_loss", "non_saturating_loss"),
    ),
]
