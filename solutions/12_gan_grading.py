"""Exercises 12, generative adversarial networks: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it. A case that brings a `cotangent` asks
for the gradient too.
"""

import torch
from torch import Tensor, nn

from course_lib.grading.drive import direction, gradients, on_case, parts, same_bits, several


def drive_optimal_discriminator(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """log_p, log_q. `best`, `value`: what comes back."""
    return several(answer, ("best", "value"), {name: a[name] for name in ("log_p", "log_q")})


def drive_discriminator_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """real, fake. Gradient for both."""
    return on_case(answer, a, ("real", "fake"), flows=("real", "fake"))


def drive_generator_losses(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """fake. `saturating`, `non-saturating`: what comes back. Gradient: of both, weighted by the cotangent (2,)."""
    names = ("saturating", "non-saturating")
    outputs = on_case(lambda fake: torch.stack([*parts(answer(fake), names)]), a, ("fake",), flows=("fake",))
    return dict(zip(names, outputs["value"])) | outputs


def drive_wasserstein(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """a, b. Gradient for both."""
    return on_case(answer, a, ("a", "b"), flows=("a", "b"))


def drive_clip_weights(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny critic with gradients and a buffer; c. `weight ...`: each of its parameters after the call; `grad
    ...`: their gradients; `buffer`; `same`: whether these parameters are the tensors they were; `learning`: whether
    they want a gradient."""
    critic = nn.Sequential(_linear(a, "first"), nn.Tanh(), _linear(a, "last"))
    critic.register_buffer("seen", a["seen"])
    before = dict(critic.named_parameters())
    for i, parameter in enumerate(before.values(), 1):
        parameter.grad = 2 * direction(parameter.detach()) + i
    answer(critic, a["c"].item())
    after = dict(critic.named_parameters())
    same = before.keys() == after.keys() and all(after[name] is old for name, old in before.items())
    learning = all(parameter.requires_grad for parameter in after.values())
    grads = {f"grad {name}": p.grad for name, p in before.items() if p.grad is not None}
    weights = {f"weight {name}": p for name, p in after.items()}
    return weights | grads | {"buffer": critic.seen, "same": same, "learning": learning}


def drive_gradient_penalty(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny critic from the weights; real, fake, t. `gradient ...`: of the critic's weights."""
    weights = {name: a[name].requires_grad_() for name in ("first", "bias", "last")}
    value = answer(_critic(weights), a["real"], a["fake"], a["t"])
    return {"value": value} | gradients(value, weights)


def _critic(weights: dict[str, Tensor]):
    """A network with a hidden layer of sines: pictures (N, C, H, W) -> (N,)."""
    return lambda x: (x.flatten(1) @ weights["first"] + weights["bias"]).sin() @ weights["last"]


def drive_conditional_batch_norm(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, gain, bias, y, eps. Gradient for x, gain and bias."""
    return on_case(answer, a, ("x", "gain", "bias", "y"), ("eps",), flows=("x", "gain", "bias"))


def drive_projection_logit(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """h, psi, table, y. Gradient for h, psi and table."""
    return on_case(answer, a, ("h", "psi", "table", "y"), flows=("h", "psi", "table"))


def drive_grown(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """`level 0`, `level 1`, ...: the pictures; progress. `unchanged ...`: whether the list holds the tensors it held,
    and these are as they were."""
    pictures = [a[f"level {i}"] for i in range(sum(name.startswith("level ") for name in a))]
    given, before = [*pictures], [tensor.clone() for tensor in pictures]
    value = answer(given, a["progress"].item())
    return {
        "value": value,
        "unchanged list": list(map(id, given)) == list(map(id, pictures)),
        "unchanged pictures": all(map(same_bits, pictures, before)),
    }


def drive_Adversaries(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds two tiny networks; real (rounds, k, N, X), noise (rounds, k + 1, N, Z), lr. `start ...`: each parameter
    once the object is made; `discriminator ...`, `generator ...`: after all rounds; `unchanged ...`: whether batches
    and noise are, and their lists."""
    generator = nn.Sequential(_linear(a, "g first"), nn.Tanh(), _linear(a, "g last"))
    discriminator = nn.Sequential(_linear(a, "d first"), nn.Tanh(), _linear(a, "d last"), nn.Flatten(0))
    networks = {"generator": generator, "discriminator": discriminator}
    players = answer(generator, discriminator, _start, a["lr"].item())

    def parameters(prefix=""):
        return {
            f"{prefix}{player} {name}": parameter.detach().clone()
            for player, network in networks.items()
            for name, parameter in network.named_parameters()
        }

    start, lists, data = parameters("start "), True, True
    for real, noise in zip(a["real"], a["noise"]):
        given = [*real.unbind()], [*noise.unbind()]
        held, before = [*given[0], *given[1]], (real.clone(), noise.clone())
        players.step(*given)
        lists = lists and list(map(id, [*given[0], *given[1]])) == list(map(id, held))
        data = data and same_bits(real, before[0]) and same_bits(noise, before[1])
    return start | parameters() | {"unchanged lists": lists, "unchanged data": data}


def _start(network: nn.Module):
    """Stands for a random start: keeps the signs and sets the sizes. A second call changes nothing."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.sign() * (0.4 + 0.3 * direction(parameter)))


def _linear(a: dict[str, Tensor], name: str) -> nn.Linear:
    weight = a[f"{name} weight"]
    layer = nn.Linear(*weight.shape[::-1], dtype=weight.dtype)
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(a[f"{name} bias"].clone())
    return layer


# --- private: what stands above is given to students ------------------------------------------------------------------

import copy  # noqa: E402
import math  # noqa: E402

import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


# --- 1. the best discriminator ----------------------------------------------------------------------------------------


def cases_optimal_discriminator(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, k, dtype=SINGLE):
        log_p, log_q = 1.2 * normal(g, k, dtype=DOUBLE), 1.2 * normal(g, k, dtype=DOUBLE)
        if kind == "tiny":  # their exponentials are 0: in both, in p alone, in q alone
            far = 200 if dtype == SINGLE else 1000
            log_p[:2] -= far
            log_q[0] -= far
            log_q[2] -= far
        return Case(kind, {"log_p": log_p.log_softmax(0).to(dtype), "log_q": log_q.log_softmax(0).to(dtype)})

    if not hidden:
        return [case("ordinary", 3), case("ordinary", 4, DOUBLE), case("tiny", 4), case("tiny", 5, DOUBLE)]
    k = whole(g, 6, 9)
    return [case("ordinary", k), case("ordinary", k + 3, DOUBLE), case("tiny", k), case("tiny", k + 1, DOUBLE)]


def _value(log_p, log_q):
    return (log_p.exp() * F.logsigmoid(log_p - log_q) + log_q.exp() * F.logsigmoid(log_q - log_p)).sum()


def _best(log_p, log_q):
    return torch.sigmoid(log_p - log_q)


def best_exp_first(log_p, log_q):
    """Where both probabilities are too small for the computer, p / (p + q) is 0/0: take the sigmoid of log p - log
    q."""
    p, q = log_p.exp(), log_q.exp()
    return p / (p + q), (p * (p / (p + q)).log() + q * (q / (p + q)).log()).sum()


def best_epsilon(log_p, log_q):
    """A small number in the denominator avoids 0/0, but then D* is 0 where both are tiny: take sigmoid(log p - log
    q)."""
    p, q = log_p.exp(), log_q.exp()
    return p / (p + q + 1e-8), _value(log_p, log_q)


def best_half_where_nothing(log_p, log_q):
    """0/0 is replaced by 1/2, but D* is asked where both are tiny, too: take the sigmoid of log p - log q."""
    p, q = log_p.exp(), log_q.exp()
    return (p / (p + q)).nan_to_num(0.5), _value(log_p, log_q)


def value_log_of_best(log_p, log_q):
    """D* is right, but the value has 0 times log 0 where only one of the two is tiny. log D* is logsigmoid(log p - log
    q), and log(1 - D*) is logsigmoid(log q - log p)."""
    d = _best(log_p, log_q)
    return d, (log_p.exp() * d.log() + log_q.exp() * (1 - d).log()).sum()


def best_in_place(log_p, log_q):
    """An argument itself gets changed: log_p -= ... writes into the caller's tensor."""
    value = _value(log_p, log_q)
    log_p -= log_q
    return log_p.sigmoid(), value


def value_sign(log_p, log_q):
    """The value's sign is wrong: D maximises it, and logarithms of probabilities are not above 0."""
    return _best(log_p, log_q), -_value(log_p, log_q)


def value_divergence(log_p, log_q):
    """This is the Jensen-Shannon divergence itself; the value is -log 4 + 2 JSD."""
    return _best(log_p, log_q), (_value(log_p, log_q) + math.log(4)) / 2


def value_no_log_4(log_p, log_q):
    """-log 4 is missing in the value: where p = q it is not 0."""
    return _best(log_p, log_q), _value(log_p, log_q) + math.log(4)


def value_divergence_once(log_p, log_q):
    """The value has the divergence twice: -log 4 + 2 JSD."""
    return _best(log_p, log_q), (_value(log_p, log_q) - math.log(4)) / 2


def value_halved(log_p, log_q):
    """The value is halved: it is a sum of two expectations, not their mean."""
    return _best(log_p, log_q), _value(log_p, log_q) / 2


def value_mean(log_p, log_q):
    """The value is divided by the number of entries: an expectation is the sum, weighted by probabilities."""
    return _best(log_p, log_q), _value(log_p, log_q) / len(log_p)


def value_unweighted(log_p, log_q):
    """The logarithms are not weighted: each entry counts with its probability, p for log D*, q for log(1 - D*)."""
    return _best(log_p, log_q), (F.logsigmoid(log_p - log_q) + F.logsigmoid(log_q - log_p)).sum()


def value_weights_exchanged(log_p, log_q):
    """The weights are exchanged: log D* is weighted by p, the data, and log(1 - D*) by q, the fakes."""
    return _best(log_p, log_q), (
        log_q.exp() * F.logsigmoid(log_p - log_q) + log_p.exp() * F.logsigmoid(log_q - log_p)
    ).sum()


def value_data_twice(log_p, log_q):
    """Both logarithms are weighted by p: the second is an expectation over the fakes, q."""
    return _best(log_p, log_q), (log_p.exp() * (F.logsigmoid(log_p - log_q) + F.logsigmoid(log_q - log_p))).sum()


def value_of_data(log_p, log_q):
    """The value lacks the fakes' part, E log(1 - D*)."""
    return _best(log_p, log_q), (log_p.exp() * F.logsigmoid(log_p - log_q)).sum()


def value_of_fakes(log_p, log_q):
    """The value lacks the data's part, E log D*."""
    return _best(log_p, log_q), (log_q.exp() * F.logsigmoid(log_q - log_p)).sum()


def value_of_probabilities(log_p, log_q):
    """In the value the logarithms of D* and 1 - D* are missing."""
    d = _best(log_p, log_q)
    return d, (log_p.exp() * d + log_q.exp() * (1 - d)).sum()


def value_each(log_p, log_q):
    """The value is one number: sum over the entries."""
    return _best(log_p, log_q), log_p.exp() * F.logsigmoid(log_p - log_q) + log_q.exp() * F.logsigmoid(log_q - log_p)


def value_bits(log_p, log_q):
    """The value is in bits: take the natural logarithm."""
    return _best(log_p, log_q), _value(log_p, log_q) / math.log(2)


def value_kl(log_p, log_q):
    """This is KL(p || q): the value is sum p log D* + q log(1 - D*)."""
    return _best(log_p, log_q), (log_p.exp() * (log_p - log_q)).sum()


def value_at_equality(log_p, log_q):
    """This is the value where p = q; in general something is added to -log 4."""
    return _best(log_p, log_q), log_p.new_tensor(-math.log(4))


def best_for_fakes(log_p, log_q):
    """This is q / (p + q), the probability of a fake: D* is that of the data."""
    return _best(log_q, log_p), _value(log_p, log_q)


def best_ratio(log_p, log_q):
    """This is p / q, which may be above 1: D* = p / (p + q)."""
    return (log_p - log_q).exp(), _value(log_p, log_q)


def best_logit(log_p, log_q):
    """This is the logit of D*: put it through the sigmoid."""
    return log_p - log_q, _value(log_p, log_q)


def best_logarithm(log_p, log_q):
    """This is log D*."""
    return F.logsigmoid(log_p - log_q), _value(log_p, log_q)


def best_hard(log_p, log_q):
    """This says 1 where the data are likelier, else 0: the best D says how likely."""
    return (log_p > log_q).to(log_p.dtype), _value(log_p, log_q)


def best_of_logarithms(log_p, log_q):
    """The fraction is made of the log-probabilities: it is one of the probabilities."""
    return log_p / (log_p + log_q), _value(log_p, log_q)


def best_of_difference(log_p, log_q):
    """The sigmoid is taken of p - q: it belongs to log p - log q."""
    return (log_p.exp() - log_q.exp()).sigmoid(), _value(log_p, log_q)


def best_density(log_p, log_q):
    """This is p: D* compares it with q."""
    return log_p.exp(), _value(log_p, log_q)


def best_normalised(log_p, log_q):
    """D* is made to sum to 1 over the entries: it is a probability for each of them, real or fake."""
    d = _best(log_p, log_q)
    return d / d.sum(), _value(log_p, log_q)


def best_ratio_softmax(log_p, log_q):
    """The softmax runs over the entries: at each entry it is p against q."""
    return (log_p - log_q).softmax(0), _value(log_p, log_q)


def best_mean(log_p, log_q):
    """D* is averaged: it has a value at each entry."""
    return _best(log_p, log_q).mean(), _value(log_p, log_q)


def best_swapped(log_p, log_q):
    """The two results are swapped: first D*, then the value."""
    return _value(log_p, log_q), _best(log_p, log_q)


def best_alone(log_p, log_q):
    """Two things are asked for: D* and the value of the game."""
    return _best(log_p, log_q)


def best_by_softmax(log_p, log_q):
    log_d = torch.stack([log_p, log_q]).log_softmax(0)
    return log_d[0].exp(), (torch.stack([log_p, log_q]).exp() * log_d).sum()


def best_by_divergence(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    jsd = (log_p.exp() * (log_p - log_m)).sum() / 2 + (log_q.exp() * (log_q - log_m)).sum() / 2
    return 1 / (1 + (log_q - log_p).exp()), 2 * jsd - math.log(4)


# --- 2. the discriminator's loss --------------------------------------------------------------------------------------


def _sure(g: torch.Generator, n: int, dtype: torch.dtype) -> Tensor:
    """Logits of which some are enormous, of both signs, as float32 holds them."""
    logits = normal(g, n, dtype=dtype)
    logits[:2] = torch.tensor([between(g, 900, 1100), -between(g, 600, 800)], dtype=dtype)
    return logits


def cases_discriminator_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, dtype=SINGLE):
        real, fake = 1 + 1.5 * normal(g, n, dtype=dtype), -0.4 + 1.5 * normal(g, m, dtype=dtype)
        if kind == "extreme":
            real, fake = _sure(g, n, dtype), _sure(g, m, dtype)
        one = {"cotangent": normal(g, 1, dtype=dtype)[0]} if kind == "gradient" else {}
        return Case(kind, {"real": real, "fake": fake} | one)

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 4, 3, DOUBLE),
            case("extreme", 3, 2),
            case("gradient", 3, 4, DOUBLE),
        ]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 4, n, DOUBLE),
        case("ordinary", n, n),
        case("extreme", n, n + 1),
        case("extreme", n + 2, n, DOUBLE),
        case("gradient", n, n + 3, DOUBLE),
    ]


def dloss_log_of_sigmoid(real, fake):
    """The logarithm of a sigmoid is -inf as soon as the sigmoid rounds to 0: F.logsigmoid and F.softplus do not do
    that."""
    return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()


def dloss_epsilon(real, fake):
    """A small number added inside the logarithm keeps it finite, but a D that is sure and wrong pays too little."""
    return -(real.sigmoid() + 1e-8).log().mean() - (1 - fake.sigmoid() + 1e-8).log().mean()


def dloss_clamp(real, fake):
    """Probabilities are cut off before the logarithm: it is finite, but a D that is sure and wrong pays too little."""
    real, fake = (logits.sigmoid().clamp(1e-6, 1 - 1e-6) for logits in (real, fake))
    return -real.log().mean() - (1 - fake).log().mean()


def dloss_cut_at_100(real, fake):
    """F.binary_cross_entropy cuts its logarithms off at -100: give the logits to the version `with_logits`."""
    zero, one = fake.sigmoid(), real.sigmoid()
    return F.binary_cross_entropy(one, torch.ones_like(one)) + F.binary_cross_entropy(zero, torch.zeros_like(zero))


def dloss_in_place(real, fake):
    """An argument itself gets changed: operations whose names end with an underscore write into the caller's tensor."""
    return F.softplus(real.neg_()).mean() + F.softplus(fake).mean()


def dloss_without_gradient(real, fake):
    """No gradient comes through: somewhere there is a detach(), an item() or a no_grad()."""
    return (F.softplus(-real).mean() + F.softplus(fake).mean()).detach()


def dloss_fake_stopped(real, fake):
    """The value is right, but no gradient comes from the fakes: detach the *pictures* that G made, not D's logits."""
    return F.softplus(-real).mean() + F.softplus(fake.detach()).mean()


def dloss_real_stopped(real, fake):
    """The value is right, but no gradient comes from the real pictures' logits."""
    return F.softplus(-real.detach()).mean() + F.softplus(fake).mean()


def dloss_exchanged(real, fake):
    """Real and fake are exchanged: log D for real pictures, log(1 - D) for fakes."""
    return F.softplus(real).mean() + F.softplus(-fake).mean()


def dloss_sign(real, fake):
    """The sign is wrong: this is the game's value, which D maximises. Its loss is minus that."""
    return -F.softplus(-real).mean() - F.softplus(fake).mean()


def dloss_difference(real, fake):
    """One part is subtracted from the other: both are losses, add them."""
    return F.softplus(-real).mean() - F.softplus(fake).mean()


def dloss_sum(real, fake):
    """These are sums over the batch: each part is a mean."""
    return F.softplus(-real).sum() + F.softplus(fake).sum()


def dloss_halved(real, fake):
    """This is half of it: the two means are added, not averaged."""
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def dloss_all_together(real, fake):
    """This is one mean over real and fake together: one for each, added, whatever their numbers."""
    return torch.cat([F.softplus(-real), F.softplus(fake)]).mean()


def dloss_all_together_twice(real, fake):
    """This is twice the mean over both batches: right only where they are equally large."""
    return 2 * torch.cat([F.softplus(-real), F.softplus(fake)]).mean()


def dloss_real_only(real, fake):
    """The fakes' part is missing."""
    return F.softplus(-real).mean()


def dloss_fake_only(real, fake):
    """The real pictures' part is missing."""
    return F.softplus(fake).mean()


def dloss_all_real(real, fake):
    """Fakes count as real, too: for them it is log(1 - D), which is logsigmoid of *minus* the logit."""
    return F.softplus(-real).mean() + F.softplus(-fake).mean()


def dloss_all_fake(real, fake):
    """Real pictures count as fakes, too: for them it is log D."""
    return F.softplus(real).mean() + F.softplus(fake).mean()


def dloss_sigmoid_twice(real, fake):
    """The sigmoid is taken twice: what works with logits wants the logits as they are."""
    return F.softplus(-real.sigmoid()).mean() + F.softplus(fake.sigmoid()).mean()


def dloss_as_probabilities(real, fake):
    """The logits are used as if they were probabilities."""
    return -real.log().mean() - (1 - fake).log().mean()


def dloss_no_logarithm(real, fake):
    """The logarithms are missing: these are the probabilities of an error."""
    return (1 - real.sigmoid()).mean() + fake.sigmoid().mean()


def dloss_log_of_mean(real, fake):
    """The logarithm is taken of the mean probability: the mean is that of the logarithms."""
    return -real.sigmoid().mean().log() - (1 - fake.sigmoid()).mean().log()


def dloss_of_mean_logit(real, fake):
    """The logits are averaged first: the mean is that of the losses."""
    return F.softplus(-real.mean()) + F.softplus(fake.mean())


def dloss_critic(real, fake):
    """This is a WGAN critic's loss: here the outputs are logits of probabilities."""
    return (-real).mean() + fake.mean()


def dloss_hinge(real, fake):
    """This is the hinge loss: here it is -log D and -log(1 - D)."""
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


def dloss_squares(real, fake):
    """These are squared errors (a least squares GAN): here it is -log D and -log(1 - D)."""
    return (real - 1).square().mean() + fake.square().mean()


def dloss_bits(real, fake):
    """This is in bits: take the natural logarithm."""
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / math.log(2)


def dloss_by_bce(real, fake):
    good = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return good + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def dloss_by_logaddexp(real, fake):
    zero = torch.zeros((), dtype=real.dtype)
    return torch.logaddexp(zero, -real).mean() + torch.logaddexp(zero, fake).mean()


def dloss_by_loops(real, fake):
    good = sum(-F.logsigmoid(logit) for logit in real) / len(real)
    return good + sum(F.softplus(logit) for logit in fake) / len(fake)


# --- 3. two losses for the generator ----------------------------------------------------------------------------------


def cases_generator_losses(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, dtype=SINGLE):
        fake = _sure(g, n, dtype) if kind == "extreme" else -0.6 + 1.5 * normal(g, n, dtype=dtype)
        weights = torch.tensor([between(g, 0.5, 0.9), -between(g, 1.2, 1.8)], dtype=dtype)
        return Case(kind, {"fake": fake} | ({"cotangent": weights} if kind == "gradient" else {}))

    if not hidden:
        return [case("ordinary", 2), case("ordinary", 3, DOUBLE), case("extreme", 3), case("gradient", 3, DOUBLE)]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n),
        case("ordinary", n + 3, DOUBLE),
        case("extreme", n),
        case("extreme", n + 2, DOUBLE),
        case("gradient", n + 1, DOUBLE),
    ]


def _saturating(fake):
    return F.logsigmoid(-fake).mean()


def _other(fake):
    return -F.logsigmoid(fake).mean()


def glosses_log_of_sigmoid(fake):
    """The logarithm of a sigmoid is -inf as soon as the sigmoid rounds to 0: F.logsigmoid and F.softplus do not do
    that."""
    return (1 - fake.sigmoid()).log().mean(), -fake.sigmoid().log().mean()


def glosses_saturating_infinite(fake):
    """log(1 - D) is -inf where D rounds to 1. 1 - sigmoid(a) = sigmoid(-a), so take F.logsigmoid(-a)."""
    return (1 - fake.sigmoid()).log().mean(), _other(fake)


def glosses_other_infinite(fake):
    """-log D is inf where D rounds to 0: F.logsigmoid does not do that."""
    return _saturating(fake), -fake.sigmoid().log().mean()


def glosses_epsilon(fake):
    """A small number added inside the logarithm keeps it finite, but a fake that is seen through costs too little."""
    return (1 - fake.sigmoid() + 1e-8).log().mean(), -(fake.sigmoid() + 1e-8).log().mean()


def glosses_cut_at_100(fake):
    """F.binary_cross_entropy cuts its logarithms off at -100: give the logits to the version `with_logits`."""
    d = fake.sigmoid()
    return -F.binary_cross_entropy(d, torch.zeros_like(d)), F.binary_cross_entropy(d, torch.ones_like(d))


def glosses_in_place(fake):
    """The argument itself gets changed: operations whose names end with an underscore write into the caller's
    tensor."""
    other = _other(fake)
    return F.logsigmoid(fake.neg_()).mean(), other


def glosses_without_gradient(fake):
    """No gradient comes through, and the generator never learns: no detach(), no item(), no no_grad()."""
    return _saturating(fake.detach()), _other(fake.detach())


def glosses_saturating_stopped(fake):
    """The values are right, but no gradient comes from the saturating loss."""
    return _saturating(fake.detach()), _other(fake)


def glosses_other_stopped(fake):
    """The values are right, but no gradient comes from the non-saturating loss."""
    return _saturating(fake), _other(fake.detach())


def glosses_exchanged(fake):
    """The two losses are exchanged: first the saturating one, log(1 - D)."""
    return _other(fake), _saturating(fake)


def glosses_saturating_sign(fake):
    """The sign of the saturating loss is wrong: the generator *minimises* log(1 - D)."""
    return -_saturating(fake), _other(fake)


def glosses_other_sign(fake):
    """The sign of the non-saturating loss is wrong: log D is to be large, so the loss is -log D."""
    return _saturating(fake), -_other(fake)


def glosses_both_signs(fake):
    """Both signs are wrong: this teaches the generator to be found out."""
    return -_saturating(fake), -_other(fake)


def glosses_saturating_of_d(fake):
    """The first one is log D: the saturating loss is log(1 - D)."""
    return -_other(fake), _other(fake)


def glosses_other_of_rest(fake):
    """The second one is -log(1 - D): the non-saturating loss is -log D."""
    return _saturating(fake), -_saturating(fake)


def glosses_twice_saturating(fake):
    """Both are the saturating loss: the second one is -log D."""
    return _saturating(fake), _saturating(fake)


def glosses_twice_other(fake):
    """Both are the non-saturating loss: the first one is log(1 - D)."""
    return _other(fake), _other(fake)


def glosses_sum(fake):
    """These are sums over the batch: means."""
    return len(fake) * _saturating(fake), len(fake) * _other(fake)


def glosses_each(fake):
    """The losses are not averaged over the batch."""
    return F.logsigmoid(-fake), -F.logsigmoid(fake)


def glosses_halved(fake):
    """Both are halved."""
    return _saturating(fake) / 2, _other(fake) / 2


def glosses_sigmoid_twice(fake):
    """The sigmoid is taken twice: what works with logits wants the logits as they are."""
    return _saturating(fake.sigmoid()), _other(fake.sigmoid())


def glosses_as_probabilities(fake):
    """The logits are used as if they were probabilities."""
    return (1 - fake).log().mean(), -fake.log().mean()


def glosses_no_logarithm(fake):
    """The logarithms are missing."""
    return (1 - fake.sigmoid()).mean(), -fake.sigmoid().mean()


def glosses_log_of_mean(fake):
    """The logarithm is taken of the mean probability: the mean is that of the logarithms."""
    return (1 - fake.sigmoid()).mean().log(), -fake.sigmoid().mean().log()


def glosses_of_mean_logit(fake):
    """The logits are averaged first: the mean is that of the losses."""
    return F.logsigmoid(-fake.mean()), -F.logsigmoid(fake.mean())


def glosses_critic(fake):
    """The second one is what a WGAN's generator minimises: here the outputs are logits of probabilities."""
    return _saturating(fake), -fake.mean()


def glosses_bits(fake):
    """These are in bits: take the natural logarithm."""
    return _saturating(fake) / math.log(2), _other(fake) / math.log(2)


def glosses_alone(fake):
    """Two losses are asked for, the saturating one first."""
    return _other(fake)


def glosses_by_softplus(fake):
    return [F.softplus(fake).neg().mean(), F.softplus(-fake).mean()]


def glosses_by_bce(fake):
    zeros, ones = torch.zeros_like(fake), torch.ones_like(fake)
    return -F.binary_cross_entropy_with_logits(fake, zeros), F.binary_cross_entropy_with_logits(fake, ones)


def glosses_by_loops(fake):
    n = len(fake)
    return sum(F.logsigmoid(-logit) for logit in fake) / n, sum(F.softplus(-logit) for logit in fake) / n


# --- 4. the earth mover on a line -------------------------------------------------------------------------------------


def cases_wasserstein(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, dtype=SINGLE):
        # The wider one sticks out on both sides, so that no sum of signed distances is right; and neither is sorted.
        places = torch.linspace(-1, 1, n, dtype=DOUBLE)
        a = 0.5 + places + 0.3 * torch.rand(n, generator=g, dtype=DOUBLE)
        b = 2.6 * places + 0.3 * torch.rand(n, generator=g, dtype=DOUBLE) + between(g, 0.2, 0.6)
        arrays = {"a": a.roll(1).to(dtype), "b": b.flip(0).roll(2).to(dtype)}
        return Case(
            kind, arrays | ({"cotangent": 1 + normal(g, 1, dtype=dtype)[0].abs()} if kind == "gradient" else {})
        )

    if not hidden:
        return [case("ordinary", 4), case("ordinary", 5, DOUBLE), case("gradient", 4, DOUBLE)]
    n = whole(g, 6, 9)
    return [case("ordinary", n), case("ordinary", n + 3, DOUBLE), case("gradient", n + 1, DOUBLE)]


def _moved(a, b):
    return (a.sort().values - b.sort().values).abs()


def earth_in_place(a, b):
    """An argument itself gets changed: a[:] = ... writes into the caller's tensor. sort() makes a new one."""
    with torch.no_grad():
        a[:] = a.sort().values
    return _moved(a, b).mean()


def earth_without_gradient(a, b):
    """No gradient comes through: sort() keeps it, numpy, item() and detach() do not."""
    return _moved(a, b).mean().detach()


def earth_b_stopped(a, b):
    """The value is right, but no gradient reaches b."""
    return _moved(a, b.detach()).mean()


def earth_a_stopped(a, b):
    """The value is right, but no gradient reaches a."""
    return _moved(a.detach(), b).mean()


def earth_unsorted(a, b):
    """The points are paired as they come: sort both first."""
    return (a - b).abs().mean()


def earth_a_sorted(a, b):
    """Only a is sorted."""
    return (a.sort().values - b).abs().mean()


def earth_b_sorted(a, b):
    """Only b is sorted."""
    return (a - b.sort().values).abs().mean()


def earth_opposite(a, b):
    """The smallest is paired with the largest: that is the dearest way, sort both the same way."""
    return (a.sort().values - b.sort(descending=True).values).abs().mean()


def earth_squared(a, b):
    """The distances are squared: this is the square of another distance, W2."""
    return _moved(a, b).square().mean()


def earth_root_mean_square(a, b):
    """This is W2, the root of the mean square: W1 is the mean of the distances."""
    return _moved(a, b).square().mean().sqrt()


def earth_sum(a, b):
    """This is the sum: every point carries 1/N of the mass, so the mean."""
    return _moved(a, b).sum()


def earth_largest(a, b):
    """This is the largest of the distances: their mean."""
    return _moved(a, b).max()


def earth_median(a, b):
    """This is the median of the distances: their mean."""
    return _moved(a, b).median()


def earth_each(a, b):
    """The distances are not averaged."""
    return _moved(a, b)


def earth_of_means(a, b):
    """This is the distance of the means: it is 0 for different distributions around the same place."""
    return (a.mean() - b.mean()).abs()


def earth_signed(a, b):
    """The absolute value is missing: ways to the left and to the right cancel."""
    return (a.sort().values - b.sort().values).mean()


def earth_nearest(a, b):
    """Each point of a goes to the nearest of b, and some get several: every point is used once."""
    return (a[:, None] - b).abs().min(1).values.mean()


def earth_all_pairs(a, b):
    """This is the mean over all pairs: each point is paired once. The distance of a distribution from itself is 0."""
    return (a[:, None] - b).abs().mean()


def earth_energy(a, b):
    """This is the energy distance, of all pairs: sort instead, and pair once."""
    among = (a[:, None] - a).abs().mean() + (b[:, None] - b).abs().mean()
    return 2 * (a[:, None] - b).abs().mean() - among


def earth_places(a, b):
    """sort() returns values and indices: these are the indices."""
    return (a.sort().indices - b.sort().indices).abs().to(a.dtype).mean()


def earth_by_size(a, b):
    """The points are sorted by their absolute values: by their places on the line."""
    return (a[a.abs().argsort()] - b[b.abs().argsort()]).abs().mean()


def earth_halved(a, b):
    """This is half of it (a total variation has such a 1/2)."""
    return _moved(a, b).mean() / 2


def earth_one_fewer(a, b):
    """This divides by N - 1: each of the N points carries 1/N."""
    return _moved(a, b).sum() / (len(a) - 1)


def earth_by_areas(a, b):
    """The area between the two distribution functions."""
    line = torch.cat([a, b]).sort().values
    below = [(points[:, None] <= line[:-1]).to(a.dtype).mean(0) for points in (a, b)]
    return ((below[0] - below[1]).abs() * line.diff()).sum()


def earth_by_loops(a, b):
    order = [sorted(range(len(points)), key=lambda i: points[i].item()) for points in (a, b)]
    return sum((a[i] - b[j]).abs() for i, j in zip(*order)) / len(a)


# --- 5. clipped weights -----------------------------------------------------------------------------------------------


def cases_clip_weights(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(inputs, width, c, dtype=SINGLE):
        def layer(name, shape):
            bias = torch.cat([normal(g, shape[0] - 1, dtype=DOUBLE), torch.full((1,), between(g, 0.9, 1.4)).double()])
            return {f"{name} weight": normal(g, *shape, dtype=dtype), f"{name} bias": bias.to(dtype)}

        critic = layer("first", (width, inputs)) | layer("last", (2, width))
        return Case("ordinary", critic | {"seen": 2 + normal(g, width, dtype=dtype).abs(), "c": scalar(c)})

    if not hidden:
        return [case(2, 3, 0.4), case(3, 4, 0.25, DOUBLE)]
    n = whole(g, 5, 7)
    return [case(n, n + 1, between(g, 0.2, 0.5)), case(4, n, between(g, 0.1, 0.6), DOUBLE)]


@torch.no_grad()
def _clip(critic, c):
    for p in critic.parameters():
        p.clamp_(-c, c)


def clip_gradients_too(critic, c):
    """The gradients are cut off as well: only the weights."""
    _clip(critic, c)
    for p in critic.parameters():
        p.grad.clamp_(-c, c)


def clip_gradients_cleared(critic, c):
    """The gradients are gone afterwards: clearing them is the training step's business."""
    _clip(critic, c)
    critic.zero_grad()


def clip_buffers_too(critic, c):
    """A buffer got cut off too (a BatchNorm has such running statistics): state_dict() holds these, parameters() does
    not."""
    for tensor in critic.state_dict().values():
        tensor.clamp_(-c, c)


def clip_frozen(critic, c):
    """Afterwards the parameters no longer want a gradient: use torch.no_grad(), not requires_grad_(False)."""
    for p in critic.parameters():
        p.requires_grad_(False).clamp_(-c, c)


def clip_replaced(critic, c):
    """The numbers are right, but the parameters are new tensors, and the optimiser goes on with the old ones: clamp in
    place."""
    for module in critic.modules():
        for name, p in [*module.named_parameters(recurse=False)]:
            grad = p.grad
            setattr(module, name, nn.Parameter(p.detach().clamp(-c, c)))
            getattr(module, name).grad = grad


def clip_copies(critic, c):
    """The weights are as before: clamp makes a new tensor, clamp_ changes the parameter itself. (To cut off gradients
    is another thing.)"""
    return [p.clamp(-c, c) for p in critic.parameters()]


def clip_with_gradient(critic, c):
    """Changing a parameter in place is forbidden while gradients are recorded: with torch.no_grad()."""
    for p in critic.parameters():
        p.clamp_(-c, c)


@torch.no_grad()
def clip_from_zero(critic, c):
    """Negative weights became 0: the range is from -c to c."""
    for p in critic.parameters():
        p.clamp_(0, c)


@torch.no_grad()
def clip_above(critic, c):
    """Only what is above c is cut off, what is below -c is not."""
    for p in critic.parameters():
        p.clamp_(max=c)


@torch.no_grad()
def clip_below(critic, c):
    """Only what is below -c is cut off, what is above c is not."""
    for p in critic.parameters():
        p.clamp_(min=-c)


@torch.no_grad()
def clip_no_biases(critic, c):
    """The biases are left out: all parameters."""
    for p in critic.parameters():
        if p.ndim > 1:
            p.clamp_(-c, c)


@torch.no_grad()
def clip_biases_only(critic, c):
    """Only the biases are cut off: all parameters."""
    for p in critic.parameters():
        if p.ndim == 1:
            p.clamp_(-c, c)


def clip_first_only(critic, c):
    """Only the first layer is cut off: all parameters."""
    _clip(critic[0], c)


def clip_last_only(critic, c):
    """Only the last layer is cut off: all parameters."""
    _clip(critic[-1], c)


@torch.no_grad()
def clip_by_norm(critic, c):
    """Each tensor is scaled to norm c: instead each number is cut off by itself."""
    for p in critic.parameters():
        p.mul_((c / p.norm()).clamp(max=1))


@torch.no_grad()
def clip_by_norm_of_all(critic, c):
    """All parameters together are scaled to norm c: instead each number is cut off by itself."""
    total = torch.cat([p.flatten() for p in critic.parameters()]).norm()
    for p in critic.parameters():
        p.mul_(c / total)


@torch.no_grad()
def clip_by_largest(critic, c):
    """Each tensor is scaled until its largest number is c: instead each number is cut off by itself."""
    for p in critic.parameters():
        p.mul_(c / p.abs().max())


@torch.no_grad()
def clip_scaled(critic, c):
    """Everything is multiplied by c: only what is outside [-c, c] changes."""
    for p in critic.parameters():
        p.mul_(c)


@torch.no_grad()
def clip_signs(critic, c):
    """All became c or -c: what is inside [-c, c] stays."""
    for p in critic.parameters():
        p.copy_(c * p.sign())


@torch.no_grad()
def clip_soft(critic, c):
    """This is a soft edge, c tanh(w / c): cut off sharply."""
    for p in critic.parameters():
        p.copy_(c * (p / c).tanh())


@torch.no_grad()
def clip_dropped(critic, c):
    """What is outside became 0: it becomes c or -c."""
    for p in critic.parameters():
        p.mul_(p.abs() <= c)


@torch.no_grad()
def clip_reversed(critic, c):
    """The small weights were changed, and the large ones stayed: it is the other way round."""
    for p in critic.parameters():
        p.copy_(torch.where(p.abs() < c, c * p.sign(), p))


@torch.no_grad()
def clip_gradients_instead(critic, c):
    """The gradients are cut off (that is gradient clipping): a WGAN cuts off the weights."""
    for p in critic.parameters():
        p.grad.clamp_(-c, c)


def clip_by_data(critic, c):
    for p in critic.parameters():
        p.data = p.data.clip(-c, c)


@torch.no_grad()
def clip_by_minimum(critic, c):
    for p in critic.parameters():
        p.copy_(p.sign() * p.abs().minimum(torch.full_like(p, c)))


# --- 6. the gradient penalty ------------------------------------------------------------------------------------------


def cases_gradient_penalty(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, c, h, w, width, dtype=DOUBLE):
        pixels = c * h * w
        critic = {"first": 0.8 * normal(g, pixels, width, dtype=dtype), "bias": normal(g, width, dtype=dtype)}
        critic |= {"last": 1.1 * normal(g, width, dtype=dtype)}
        t = torch.tensor([between(g, 0.1, 0.4) if i % 2 else between(g, 0.6, 0.9) for i in range(n)], dtype=dtype)
        real, fake = torch.rand((2, n, c, h, w), generator=g, dtype=DOUBLE).to(dtype)
        real, fake = 2 * real, 1.5 * fake - 1
        norms = _norms(_critic(critic), real, fake, t)  # then on both sides of 1, so that the penalty's shape shows
        critic["last"] /= (norms.min() + norms.max()).item() / 2 if n > 1 else 0.6 * norms.item()
        return Case("ordinary", critic | {"real": real, "fake": fake, "t": t})

    if not hidden:
        return [case(2, 1, 2, 3, 3), case(3, 2, 2, 2, 4), case(3, 1, 3, 3, 3, SINGLE)]
    n = whole(g, 4, 7)
    return [case(n, 3, 2, 3, 4), case(n + 2, 1, 3, n, 5), case(n, 2, 2, 2, 3, SINGLE), case(1, 1, 4, 4, 4)]


def _between(real, fake, t):
    t = t.view(-1, *[1] * (real.ndim - 1))
    return t * real + (1 - t) * fake


def _slope(critic, x, create_graph=True):
    """The critic's gradient at pictures x, a row for each."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(critic(x).sum(), x, create_graph=create_graph)[0].flatten(1)


def _norms(critic, real, fake, t):
    return _slope(critic, _between(real, fake, t)).norm(dim=1)


def penalty_no_graph(critic, real, fake, t):
    """The value is right, but the critic learns nothing from it: autograd.grad(..., create_graph=True) keeps the
    gradient differentiable."""
    slope = _slope(critic, _between(real, fake, t), create_graph=False)
    return (slope.norm(dim=1) - 1).square().mean()


def penalty_half_stopped(critic, real, fake, t):
    """The value is right, but the critic gets half the gradient only: square one and the same tensor, undetached."""
    norms = _norms(critic, real, fake, t)
    return ((norms - 1) * (norms.detach() - 1)).mean()


def penalty_norm_stopped(critic, real, fake, t):
    """The value is right, but the gradient is that of another function: nothing in it may be detached."""
    slope = _slope(critic, _between(real, fake, t))
    norms = slope.norm(dim=1)
    return (slope.square().sum(1) / norms.detach() - 1).square().mean()


def penalty_at_real(critic, real, fake, t):
    """The slope is taken at the real pictures: between real and fake."""
    return (_slope(critic, real).norm(dim=1) - 1).square().mean()


def penalty_at_fake(critic, real, fake, t):
    """The slope is taken at the fakes: between real and fake."""
    return (_slope(critic, fake).norm(dim=1) - 1).square().mean()


def penalty_at_both(critic, real, fake, t):
    """The slope is taken at the real pictures and at the fakes: it is wanted between them, once for each pair."""
    norms = torch.cat([_slope(critic, real).norm(dim=1), _slope(critic, fake).norm(dim=1)])
    return (norms - 1).square().mean()


def penalty_at_middle(critic, real, fake, t):
    """The slope is taken half way: t says where."""
    return (_norms(critic, real, fake, torch.full_like(t, 0.5)) - 1).square().mean()


def penalty_one_t(critic, real, fake, t):
    """The first row's t is used for all pairs: each has its own."""
    return (_norms(critic, real, fake, t[:1].expand(len(t))) - 1).square().mean()


def penalty_t_exchanged(critic, real, fake, t):
    """t and 1 - t are exchanged: t belongs to the real picture."""
    return (_norms(critic, fake, real, t) - 1).square().mean()


def penalty_t_along_columns(critic, real, fake, t):
    """t runs along the last dimension of the pictures: give it the shape (N, 1, 1, 1)."""
    return (_slope(critic, t * real + (1 - t) * fake).norm(dim=1) - 1).square().mean()


def penalty_of_mixed_slopes(critic, real, fake, t):
    """The slopes at both ends are mixed: mix the pictures, and take the slope there."""
    mixed = t[:, None] * _slope(critic, real) + (1 - t)[:, None] * _slope(critic, fake)
    return (mixed.norm(dim=1) - 1).square().mean()


def penalty_of_difference(critic, real, fake, t):
    """This is a quotient of differences between real and fake: the slope is the gradient at one point between them."""
    steep = (critic(real) - critic(fake)).abs() / (real - fake).flatten(1).norm(dim=1)
    return (steep - 1).square().mean()


def penalty_squared_norm(critic, real, fake, t):
    """The norm is squared before 1 is subtracted: (norm - 1)^2, not (norm^2 - 1)^2."""
    return (_norms(critic, real, fake, t).square() - 1).square().mean()


def penalty_one_sided(critic, real, fake, t):
    """Only slopes above 1 are punished: this is the one-sided penalty, here those below 1 cost as well."""
    return (_norms(critic, real, fake, t) - 1).relu().square().mean()


def penalty_absolute(critic, real, fake, t):
    """The difference from 1 is not squared."""
    return (_norms(critic, real, fake, t) - 1).abs().mean()


def penalty_not_squared(critic, real, fake, t):
    """norm - 1 is not squared: negative ones would be a reward."""
    return (_norms(critic, real, fake, t) - 1).mean()


def penalty_of_zero(critic, real, fake, t):
    """1 is not subtracted: the slope should be 1, not 0."""
    return _norms(critic, real, fake, t).square().mean()


def penalty_of_all(critic, real, fake, t):
    """The norm is that of the whole batch's gradient: each picture has its own norm."""
    return (_slope(critic, _between(real, fake, t)).norm() - 1).square()


def penalty_of_mean_norm(critic, real, fake, t):
    """The norms are averaged first: square each one's difference from 1, then take the mean."""
    return (_norms(critic, real, fake, t).mean() - 1).square()


def penalty_over_channels(critic, real, fake, t):
    """The norm is taken over the channels alone: over all numbers of a picture, so flatten(1) first."""
    slope = _slope(critic, _between(real, fake, t)).view_as(real)
    return (slope.norm(dim=1) - 1).square().mean()


def penalty_per_pixel(critic, real, fake, t):
    """1 is subtracted from each number of the gradient: first the norm."""
    return (_slope(critic, _between(real, fake, t)) - 1).square().mean()


def penalty_absolute_norm(critic, real, fake, t):
    """This is the sum of absolute values: the norm is the root of the sum of squares."""
    return (_slope(critic, _between(real, fake, t)).abs().sum(1) - 1).square().mean()


def penalty_root_mean(critic, real, fake, t):
    """This is the root of the *mean* square over the pixels: of the sum."""
    return (_slope(critic, _between(real, fake, t)).square().mean(1).sqrt() - 1).square().mean()


def penalty_sum(critic, real, fake, t):
    """This is the sum over the batch: the mean."""
    return (_norms(critic, real, fake, t) - 1).square().sum()


def penalty_each(critic, real, fake, t):
    """The penalties are not averaged."""
    return (_norms(critic, real, fake, t) - 1).square()


def penalty_of_mean_output(critic, real, fake, t):
    """The gradient is that of the critic's *mean*, so each is too small by a factor N: differentiate the sum."""
    return (_norms(critic, real, fake, t) / len(real) - 1).square().mean()


def penalty_of_output(critic, real, fake, t):
    """This is about the critic's output: it may be anything, its gradient's norm should be 1."""
    return (critic(_between(real, fake, t)) - 1).square().mean()


def penalty_weighted(critic, real, fake, t):
    """The weight 10 is in it: that comes later."""
    return 10 * (_norms(critic, real, fake, t) - 1).square().mean()


def penalty_halved(critic, real, fake, t):
    """The penalty is halved."""
    return (_norms(critic, real, fake, t) - 1).square().mean() / 2


def penalty_by_backward(critic, real, fake, t):
    x = _between(real, fake, t).requires_grad_()
    scores = critic(x)
    (slope,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    return (slope.square().sum((1, 2, 3)).sqrt() - 1).pow(2).sum() / len(real)


def penalty_by_loops(critic, real, fake, t):
    penalties = []
    for one, other, share in zip(real, fake, t):
        x = torch.lerp(other, one, share)[None].requires_grad_()
        (slope,) = torch.autograd.grad(critic(x)[0], x, create_graph=True)
        penalties.append((slope.norm() - 1) ** 2)
    return torch.stack(penalties).mean()


# --- 7. conditional batch norm ----------------------------------------------------------------------------------------


def cases_conditional_batch_norm(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, labels, classes, c, h, w, dtype=SINGLE):
        x = 1.5 * normal(g, len(labels), c, h, w, dtype=dtype) + torch.arange(len(labels)).view(-1, 1, 1, 1) - 1
        arrays = {"x": x, "gain": 1.5 + normal(g, classes, c, dtype=dtype), "bias": normal(g, classes, c, dtype=dtype)}
        arrays |= {"y": torch.tensor(labels), "eps": scalar(between(g, 0.2, 0.4))}
        one = {"cotangent": normal(g, *x.shape, dtype=dtype)} if kind == "gradient" else {}
        return Case(kind, arrays | one)

    if not hidden:
        return [
            case("ordinary", [2, 0, 2], 4, 2, 2, 3),
            case("ordinary", [1, 0, 0, 1], 5, 3, 2, 2, DOUBLE),
            case("gradient", [1, 2, 1], 3, 2, 2, 2, DOUBLE),
        ]
    n = whole(g, 5, 8)
    labels = [(3 * i + 1) % 4 for i in range(n)]
    return [
        case("ordinary", labels, n + 2, 3, 2, 3),
        case("ordinary", [1, 1, *labels], 4, n, 3, 2, DOUBLE),
        case("gradient", labels, 5, 3, 2, n, DOUBLE),
    ]


def _wide(table, y):
    return table[y][:, :, None, None]


def _normal(x, eps, dims=(0, 2, 3), correction=0):
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, correction=correction)
    return (x - mean) / (variance + eps).sqrt()


def cbn_in_place(x, gain, bias, y, eps):
    """An argument itself gets changed: x -= ... writes into the caller's tensor."""
    deviation = (x.var((0, 2, 3), keepdim=True, correction=0) + eps).sqrt()
    x -= x.mean((0, 2, 3), keepdim=True)
    return _wide(gain, y) * x / deviation + _wide(bias, y)


def cbn_without_gradient(x, gain, bias, y, eps):
    """No gradient comes through: no detach(), no no_grad()."""
    return (_wide(gain, y) * _normal(x, eps) + _wide(bias, y)).detach()


def cbn_statistics_stopped(x, gain, bias, y, eps):
    """The values are right, but mean and variance are detached: they depend on x, and their gradient counts."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return _wide(gain, y) * (x - mean.detach()) / (variance.detach() + eps).sqrt() + _wide(bias, y)


def cbn_variance_stopped(x, gain, bias, y, eps):
    """The values are right, but the variance is detached: it depends on x, and its gradient counts."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return _wide(gain, y) * (x - mean) / (variance.detach() + eps).sqrt() + _wide(bias, y)


def cbn_gain_stopped(x, gain, bias, y, eps):
    """The values are right, but no gradient reaches the gains: they are learnt."""
    return _wide(gain.detach(), y) * _normal(x, eps) + _wide(bias, y)


def cbn_bias_stopped(x, gain, bias, y, eps):
    """The values are right, but no gradient reaches the biases: they are learnt."""
    return _wide(gain, y) * _normal(x, eps) + _wide(bias.detach(), y)


def cbn_per_picture(x, gain, bias, y, eps):
    """Each picture is normalised by itself (instance norm): mean and variance are over batch and positions together."""
    return _wide(gain, y) * _normal(x, eps, (2, 3)) + _wide(bias, y)


def cbn_per_position(x, gain, bias, y, eps):
    """Each position is normalised by itself: mean and variance are over batch *and* positions."""
    return _wide(gain, y) * _normal(x, eps, (0,)) + _wide(bias, y)


def cbn_over_channels(x, gain, bias, y, eps):
    """Each picture is normalised over its channels and positions (layer norm): over batch and positions, per
    channel."""
    return _wide(gain, y) * _normal(x, eps, (1, 2, 3)) + _wide(bias, y)


def cbn_over_all(x, gain, bias, y, eps):
    """There is one mean and one variance for all channels: each channel has its own."""
    return _wide(gain, y) * _normal(x, eps, (0, 1, 2, 3)) + _wide(bias, y)


def cbn_per_class(x, gain, bias, y, eps):
    """Each class is normalised by itself: mean and variance are the whole batch's, only gain and bias are the
    class's."""
    normal_x = torch.empty_like(x)
    for label in y.unique():
        normal_x[y == label] = _normal(x[y == label], eps)
    return _wide(gain, y) * normal_x + _wide(bias, y)


def cbn_unbiased(x, gain, bias, y, eps):
    """The variance is divided by M - 1: BatchNorm takes the plain mean of the squares, correction=0."""
    return _wide(gain, y) * _normal(x, eps, correction=1) + _wide(bias, y)


def cbn_by_variance(x, gain, bias, y, eps):
    """This divides by the variance: by its root."""
    variance = x.var((0, 2, 3), keepdim=True, correction=0)
    return _wide(gain, y) * (x - x.mean((0, 2, 3), keepdim=True)) / (variance + eps) + _wide(bias, y)


def cbn_eps_outside(x, gain, bias, y, eps):
    """eps is added to the standard deviation: to the variance, under the root."""
    deviation = x.var((0, 2, 3), keepdim=True, correction=0).sqrt()
    return _wide(gain, y) * (x - x.mean((0, 2, 3), keepdim=True)) / (deviation + eps) + _wide(bias, y)


def cbn_eps_squared(x, gain, bias, y, eps):
    """eps is squared: it is added to the variance as it is."""
    return _wide(gain, y) * _normal(x, eps**2) + _wide(bias, y)


def cbn_no_eps(x, gain, bias, y, eps):
    """eps is left out."""
    return _wide(gain, y) * _normal(x, 0) + _wide(bias, y)


def cbn_not_centred(x, gain, bias, y, eps):
    """The mean is not subtracted."""
    return _wide(gain, y) * x / (x.var((0, 2, 3), keepdim=True, correction=0) + eps).sqrt() + _wide(bias, y)


def cbn_not_scaled(x, gain, bias, y, eps):
    """The deviation is left out: this only subtracts the mean."""
    return _wide(gain, y) * (x - x.mean((0, 2, 3), keepdim=True)) + _wide(bias, y)


def cbn_not_normalised(x, gain, bias, y, eps):
    """The maps are not normalised at all."""
    return _wide(gain, y) * x + _wide(bias, y)


def cbn_normalised_last(x, gain, bias, y, eps):
    """Gain and bias come first, and the norm takes them away again: normalise, then gain and bias."""
    return _normal(_wide(gain, y) * x + _wide(bias, y), eps)


def cbn_of_row(x, gain, bias, y, eps):
    """Row n of the tables is used for picture n: it is row y[n]."""
    rows = torch.arange(len(x))
    return _wide(gain, rows) * _normal(x, eps) + _wide(bias, rows)


def cbn_first_label(x, gain, bias, y, eps):
    """The first picture's label is used for all: each has its own."""
    first = y[:1].expand(len(y))
    return _wide(gain, first) * _normal(x, eps) + _wide(bias, first)


def cbn_neighbour(x, gain, bias, y, eps):
    """The labels are one place off."""
    return _wide(gain, y.roll(1)) * _normal(x, eps) + _wide(bias, y.roll(1))


def cbn_all_classes(x, gain, bias, y, eps):
    """The tables are averaged over the classes: take the label's row."""
    return gain.mean(0)[:, None, None] * _normal(x, eps) + bias.mean(0)[:, None, None]


def cbn_no_label(x, gain, bias, y, eps):
    """Gain and bias are missing: this is the norm alone."""
    return _normal(x, eps)


def cbn_no_bias(x, gain, bias, y, eps):
    """The bias is forgotten."""
    return _wide(gain, y) * _normal(x, eps)


def cbn_no_gain(x, gain, bias, y, eps):
    """The gain is forgotten."""
    return _normal(x, eps) + _wide(bias, y)


def cbn_one_plus_gain(x, gain, bias, y, eps):
    """1 is added to the gain. Some write it so, with tables that start at 0; here the gain is a plain factor."""
    return (1 + _wide(gain, y)) * _normal(x, eps) + _wide(bias, y)


def cbn_tables_swapped(x, gain, bias, y, eps):
    """Gain and bias are swapped: the gain is the factor."""
    return _wide(bias, y) * _normal(x, eps) + _wide(gain, y)


def cbn_bias_scaled(x, gain, bias, y, eps):
    """The gain multiplies the bias too: only the normalised maps."""
    return _wide(gain, y) * (_normal(x, eps) + _wide(bias, y))


def cbn_minus_bias(x, gain, bias, y, eps):
    """The bias is subtracted: add it."""
    return _wide(gain, y) * _normal(x, eps) - _wide(bias, y)


def cbn_not_widened(x, gain, bias, y, eps):
    """(N, C) does not meet (N, C, H, W) as it should: table[y][:, :, None, None] has the shape (N, C, 1, 1)."""
    return gain[y] * _normal(x, eps) + bias[y]


def cbn_by_torch(x, gain, bias, y, eps):
    normed = F.batch_norm(x, None, None, training=True, eps=eps)
    pick = F.one_hot(y, len(gain)).to(x.dtype)
    return torch.einsum("nc,nchw->nchw", pick @ gain, normed) + (pick @ bias)[..., None, None]


def cbn_by_loops(x, gain, bias, y, eps):
    maps = []
    for c in range(x.shape[1]):
        values = x[:, c].flatten()
        mean = values.sum() / len(values)
        deviation = ((values - mean).square().sum() / len(values) + eps) ** 0.5
        maps.append(torch.stack([gain[k, c] * (one - mean) / deviation + bias[k, c] for one, k in zip(x[:, c], y)]))
    return torch.stack(maps, 1)


# --- 8. the projection ------------------------------------------------------------------------------------------------


def cases_projection_logit(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, labels, classes, d, dtype=SINGLE):
        arrays = {"h": normal(g, len(labels), d, dtype=dtype), "psi": normal(g, d, dtype=dtype)}
        arrays |= {"table": normal(g, classes, d, dtype=dtype) + 0.3, "y": torch.tensor(labels)}
        one = {"cotangent": normal(g, len(labels), dtype=dtype)} if kind == "gradient" else {}
        return Case(kind, arrays | one)

    if not hidden:
        return [
            case("ordinary", [2, 0, 2], 4, 2),
            case("ordinary", [1, 3, 3, 0], 4, 3, DOUBLE),
            case("gradient", [1, 0], 3, 4, DOUBLE),
        ]
    n = whole(g, 5, 8)
    labels = [(3 * i + 1) % 4 for i in range(n)]
    return [
        case("ordinary", labels, n + 2, n + 1),
        case("ordinary", [0, *labels], 4, 5, DOUBLE),
        case("gradient", labels, 5, 3, DOUBLE),
    ]


def projection_in_place(h, psi, table, y):
    """An argument itself gets changed: h *= ... writes into the caller's tensor."""
    real = h @ psi
    h *= table[y]
    return real + h.sum(1)


def projection_without_gradient(h, psi, table, y):
    """No gradient comes through: no detach(), no no_grad()."""
    return (h @ psi + (table[y] * h).sum(1)).detach()


def projection_h_stopped(h, psi, table, y):
    """The values are right, but the label's part sends no gradient to h: D's features are to learn the classes, too."""
    return h @ psi + (table[y] * h.detach()).sum(1)


def projection_table_stopped(h, psi, table, y):
    """The values are right, but no gradient reaches the table: its rows are learnt."""
    return h @ psi + (table.detach()[y] * h).sum(1)


def projection_psi_stopped(h, psi, table, y):
    """The values are right, but no gradient reaches psi."""
    return h @ psi.detach() + (table[y] * h).sum(1)


def projection_no_label(h, psi, table, y):
    """The label is forgotten: this says whether a picture is real, not whether it is a y."""
    return h @ psi


def projection_no_psi(h, psi, table, y):
    """The first part, <psi, h>, is missing: this says whether it is a y, not whether it is real."""
    return (table[y] * h).sum(1)


def projection_all_classes(h, psi, table, y):
    """All classes are added up: only the label's row of the table."""
    return h @ psi + (h @ table.T).sum(1)


def projection_mean_class(h, psi, table, y):
    """The classes are averaged: only the label's row of the table."""
    return h @ psi + (h @ table.T).mean(1)


def projection_best_class(h, psi, table, y):
    """This takes the class that fits best: the label's, whether it fits or not."""
    return h @ psi + (h @ table.T).max(1).values


def projection_of_row(h, psi, table, y):
    """Row n of the table is used for picture n: it is row y[n]."""
    return h @ psi + (table[torch.arange(len(h))] * h).sum(1)


def projection_neighbour(h, psi, table, y):
    """The labels are one place off."""
    return h @ psi + (table[y.roll(1)] * h).sum(1)


def projection_all_pairs(h, psi, table, y):
    """This is a matrix, every picture with every label: picture n meets its own label only."""
    return h @ psi + h @ table[y].T


def projection_classifier(h, psi, table, y):
    """The log-probability of a softmax over the classes is added: here it is the plain inner product."""
    return h @ psi + (h @ table.T).log_softmax(1).gather(1, y[:, None])[:, 0]


def projection_probability(h, psi, table, y):
    """The probability of a softmax over the classes is added: here it is the plain inner product."""
    return h @ psi + (h @ table.T).softmax(1).gather(1, y[:, None])[:, 0]


def projection_cosine(h, psi, table, y):
    """The label's part is a cosine: the inner product, lengths included."""
    return h @ psi + F.cosine_similarity(table[y], h, dim=1)


def projection_unit_rows(h, psi, table, y):
    """The table's rows are normalised: the inner product, lengths included."""
    return h @ psi + (F.normalize(table, dim=1)[y] * h).sum(1)


def projection_scaled(h, psi, table, y):
    """The inner product is divided by the root of D, as in attention: here it is not."""
    return h @ psi + (table[y] * h).sum(1) / h.shape[1] ** 0.5


def projection_mean(h, psi, table, y):
    """The label's part is averaged over the D features: an inner product is a sum."""
    return h @ psi + (table[y] * h).mean(1)


def projection_distance(h, psi, table, y):
    """The squared distance from v_y is subtracted: here the inner product is added."""
    return h @ psi - (table[y] - h).square().sum(1)


def projection_of_label_alone(h, psi, table, y):
    """v_y is summed without h: that depends on the label only, not on the picture."""
    return h @ psi + table[y].sum(1)


def projection_product(h, psi, table, y):
    """The two parts are multiplied: add them."""
    return (h @ psi) * (table[y] * h).sum(1)


def projection_difference(h, psi, table, y):
    """The label's part is subtracted: add it."""
    return h @ psi - (table[y] * h).sum(1)


def projection_sigmoid(h, psi, table, y):
    """This is a probability: the losses want the logit."""
    return (h @ psi + (table[y] * h).sum(1)).sigmoid()


def projection_label_as_number(h, psi, table, y):
    """The label is used as a number: it is the index of a row."""
    return h @ psi + y * table.sum()


def projection_total(h, psi, table, y):
    """This is one number for the batch: one for each picture."""
    return (h @ psi + (table[y] * h).sum(1)).sum()


def projection_column(h, psi, table, y):
    """This has the shape (N, 1): sum without keepdim, so that N logits come out."""
    return (h @ psi)[:, None] + (table[y] * h).sum(1, keepdim=True)


def projection_by_one_row(h, psi, table, y):
    return torch.einsum("nd,nd->n", h, psi + table[y])


def projection_by_one_hot(h, psi, table, y):
    return (F.linear(h, torch.cat([psi[None], table])) * F.pad(F.one_hot(y, len(table)), (1, 0), value=1)).sum(1)


def projection_by_loops(h, psi, table, y):
    return torch.stack([torch.dot(row, psi) + torch.dot(row, table[label]) for row, label in zip(h, y)])


# --- 9. growing pictures ----------------------------------------------------------------------------------------------


def cases_grown(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, levels, n, c, side, progress, dtype=SINGLE):
        pictures = {f"level {i}": torch.rand((n, c, side * 2**i, side * 2**i), generator=g, dtype=DOUBLE).to(dtype)
                    for i in range(levels)}  # fmt: skip
        return Case(kind, pictures | {"progress": scalar(progress)})

    def fading(level, levels):
        """The progress at which this level is being faded in, not half way."""
        alpha = between(g, 0.15, 0.4) if level % 2 else between(g, 0.6, 0.85)
        return (2 * level - 1 + alpha) / (2 * levels - 1)

    def alone(level, levels):
        return (2 * level + between(g, 0.2, 0.8)) / (2 * levels - 1)

    if not hidden:
        return [
            case("ordinary", 3, 1, 1, 2, fading(1, 3)),
            case("ordinary", 4, 1, 1, 2, fading(2, 4), DOUBLE),
            case("alone", 3, 1, 2, 2, alone(1, 3)),
            case("alone", 3, 1, 1, 2, alone(2, 3)),
            case("alone", 2, 2, 1, 2, 1.0, DOUBLE),
        ]
    n = whole(g, 2, 4)
    return [
        case("ordinary", 3, n, 3, 2, fading(2, 3)),
        case("ordinary", 4, n, 1, 3, fading(1, 4), DOUBLE),
        case("ordinary", 4, 2, 1, 2, fading(3, 4)),
        case("alone", 4, n, 1, 2, alone(whole(g, 1, 2), 4)),
        case("alone", 3, n, 2, 3, 1.0),
        case("alone", 1, n, 1, 3, between(g, 0.1, 0.9), DOUBLE),
        case("alone", 4, 2, 2, 2, 0.0),
    ]


def _now(pictures, progress):
    """The level that is there or being faded in, and how far: alpha = 1 where it is alone."""
    phase = min(progress * (2 * len(pictures) - 1), 2 * len(pictures) - 2)
    fading = int(phase) % 2
    return int(phase) // 2 + fading, phase % 1 if fading else 1.0


def _twice(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _faded(pictures, level, alpha):
    """Level `level` with that alpha, by repeated pixels."""
    if level == 0 or alpha == 1:
        return pictures[level]
    return (1 - alpha) * _twice(pictures[level - 1]) + alpha * pictures[level]


def grown_in_place(pictures, progress):
    """A picture of the list itself gets changed: new *= alpha writes into the caller's tensor."""
    level, alpha = _now(pictures, progress)
    if alpha == 1:
        return pictures[level]
    new = pictures[level]
    new *= alpha
    new += (1 - alpha) * _twice(pictures[level - 1])
    return new


def grown_list_shortened(pictures, progress):
    """The caller's list has become shorter: index it, no pop()."""
    level, alpha = _now(pictures, progress)
    while len(pictures) > level + 1:
        pictures.pop()
    return _faded(pictures, level, alpha)


def grown_past_the_end(pictures, progress):
    """At progress 1 there is no next phase: the last level stays, alone."""
    phase = progress * (2 * len(pictures) - 1)
    fading = int(phase) % 2
    return _faded(pictures, int(phase) // 2 + fading, phase % 1 if fading else 1.0)


def grown_never_alone(pictures, progress):
    """Where a level should be alone, it is still mixed with the one before."""
    phase = min(progress * (2 * len(pictures) - 1), 2 * len(pictures) - 2)
    return _faded(pictures, (int(phase) + 1) // 2, phase % 1)


def grown_alone_too_small(pictures, progress):
    """Between two fades the level before is shown: once it is faded in, the new level stays."""
    level, alpha = _now(pictures, progress)
    return pictures[max(level - 1, 0)] if alpha == 1 else _faded(pictures, level, alpha)


def grown_alone_too_large(pictures, progress):
    """Between two fades the level after is shown: it comes with the next fade."""
    level, alpha = _now(pictures, progress)
    return pictures[min(level + 1, len(pictures) - 1)] if alpha == 1 else _faded(pictures, level, alpha)


def grown_alone_enlarged(pictures, progress):
    """Between two fades the picture is enlarged to the next level's size: it stays as it is until the fade begins."""
    level, alpha = _now(pictures, progress)
    return _twice(pictures[level]) if alpha == 1 and level < len(pictures) - 1 else _faded(pictures, level, alpha)


def _blended_by(change, enlarge=_twice):
    """The answer with alpha changed, or the old picture enlarged in another way."""

    def grown(pictures, progress):
        level, alpha = _now(pictures, progress)
        if alpha == 1:
            return pictures[level]
        alpha = change(alpha)
        return (1 - alpha) * enlarge(pictures[level - 1]) + alpha * pictures[level]

    return grown


def grown_swapped(pictures, progress):
    """alpha and 1 - alpha are swapped: the fade ends with the new picture."""
    return _blended_by(lambda alpha: 1 - alpha)(pictures, progress)


def grown_half(pictures, progress):
    """Old and new are averaged throughout: their shares change with alpha."""
    return _blended_by(lambda alpha: 0.5)(pictures, progress)


def grown_old_only(pictures, progress):
    """The new picture is missing: this is the old one, enlarged."""
    return _blended_by(lambda alpha: 0.0)(pictures, progress)


def grown_new_only(pictures, progress):
    """The old picture is missing: the new one is faded in, not switched on."""
    return _blended_by(lambda alpha: 1.0)(pictures, progress)


def grown_too_early(pictures, progress):
    """alpha is 1 half way through the phase: it gets there at its end."""
    return _blended_by(lambda alpha: min(2 * alpha, 1.0))(pictures, progress)


def grown_squared(pictures, progress):
    """alpha is squared: it grows evenly."""
    return _blended_by(lambda alpha: alpha**2)(pictures, progress)


def grown_smooth(pictures, progress):
    """alpha follows an S-shaped curve: it grows evenly."""
    return _blended_by(lambda alpha: alpha**2 * (3 - 2 * alpha))(pictures, progress)


def grown_by_progress(pictures, progress):
    """alpha is the progress of the whole training: how far the *phase* has come."""
    return _blended_by(lambda alpha: progress)(pictures, progress)


def grown_bilinear(pictures, progress):
    """The old picture is enlarged by interpolation: each pixel becomes four equal ones."""
    return _blended_by(lambda alpha: alpha, lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"))(
        pictures, progress
    )


def grown_tiled(pictures, progress):
    """The old picture stands there four times (that is `repeat`): each *pixel* becomes four, with repeat_interleave."""
    return _blended_by(lambda alpha: alpha, lambda x: x.repeat(1, 1, 2, 2))(pictures, progress)


def grown_with_gaps(pictures, progress):
    """The enlarged picture has black gaps: all four of the new pixels get the old one's value."""

    def enlarge(x):
        wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        wide[:, :, ::2, ::2] = x
        return wide

    return _blended_by(lambda alpha: alpha, enlarge)(pictures, progress)


def grown_turned(pictures, progress):
    """Rows and columns are exchanged in the old picture."""
    return _blended_by(lambda alpha: alpha, lambda x: _twice(x.mT))(pictures, progress)


def grown_added(pictures, progress):
    """The old picture keeps its full weight: its share is 1 - alpha."""
    level, alpha = _now(pictures, progress)
    return pictures[level] if alpha == 1 else _twice(pictures[level - 1]) + alpha * pictures[level]


def grown_full_new(pictures, progress):
    """The new picture has its full weight from the start: its share is alpha."""
    level, alpha = _now(pictures, progress)
    return pictures[level] if alpha == 1 else (1 - alpha) * _twice(pictures[level - 1]) + pictures[level]


def grown_shrunk(pictures, progress):
    """The new picture is made small: the old one is made large, so that the size is the new one's."""
    level, alpha = _now(pictures, progress)
    if alpha == 1:
        return pictures[level]
    return (1 - alpha) * pictures[level - 1] + alpha * F.avg_pool2d(pictures[level], 2)


def grown_own_old(pictures, progress):
    """The old picture is made from the new one: it is the level before's own picture."""
    level, alpha = _now(pictures, progress)
    if alpha == 1:
        return pictures[level]
    return (1 - alpha) * _twice(F.avg_pool2d(pictures[level], 2)) + alpha * pictures[level]


def grown_a_level_early(pictures, progress):
    """Each fade is one level too high."""
    level, alpha = _now(pictures, progress)
    return _faded(pictures, level if alpha == 1 else min(level + 1, len(pictures) - 1), alpha)


def grown_without_rest(pictures, progress):
    """There are phases of fading only: between two fades each level is alone for as long, 2 L - 1 phases in all."""
    phase = progress * (len(pictures) - 1)
    level = min(int(phase), len(pictures) - 1)
    return pictures[level] if level == len(pictures) - 1 else _faded(pictures, level + 1, phase - level)


def grown_even_phases(pictures, progress):
    """Training has 2 L phases here: the last fade is followed by one phase alone, so there are 2 L - 1."""
    phase = progress * 2 * len(pictures)
    level, fading = min(int(phase) // 2, len(pictures) - 1), int(phase) % 2
    if fading and level < len(pictures) - 1:
        return _faded(pictures, level + 1, phase % 1)
    return pictures[level]


def grown_phase_per_level(pictures, progress):
    """Training has L phases here, one for each level: 2 L - 1, in turn alone and fading."""
    phase = min(progress * len(pictures), len(pictures) - 1e-9)
    return _faded(pictures, int(phase), phase % 1)


def grown_not_enlarged(pictures, progress):
    """Pictures of two sizes are added: enlarge the old one first."""
    level, alpha = _now(pictures, progress)
    return pictures[level] if alpha == 1 else (1 - alpha) * pictures[level - 1] + alpha * pictures[level]


def grown_by_search(pictures, progress):
    length = 1 / (2 * len(pictures) - 1)
    for level in range(len(pictures) - 1):
        if progress <= (2 * level + 1) * length:
            return pictures[level].clone()
        if progress < (2 * level + 2) * length:
            alpha = progress / length - (2 * level + 1)
            old = F.interpolate(pictures[level], scale_factor=2, mode="nearest")
            return torch.lerp(old, pictures[level + 1], alpha)
    return pictures[-1].clone()


def grown_by_kron(pictures, progress):
    phase = progress * (2 * len(pictures) - 1)
    steps = [min(max(phase - (2 * level + 1), 0), 1) for level in range(len(pictures) - 1)]
    shown = pictures[0]
    for alpha, new in zip(steps, pictures[1:]):
        if alpha > 0:
            shown = (1 - alpha) * torch.kron(shown, torch.ones(2, 2, dtype=shown.dtype)) + alpha * new
    return shown


# --- 10. the two players ----------------------------------------------------------------------------------------------


def cases_Adversaries(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, rounds, k, n, x, z, width, dtype=DOUBLE):
        def layer(name, outputs, inputs):
            weight, bias = normal(g, outputs, inputs, dtype=dtype), normal(g, outputs, dtype=dtype)
            return {f"{name} weight": weight, f"{name} bias": bias}

        arrays = layer("g first", width, z) | layer("g last", x, width)
        arrays |= layer("d first", width, x) | layer("d last", 1, width)
        arrays |= {"real": 1.5 + normal(g, rounds, k, n, x, dtype=dtype), "lr": scalar(between(g, 0.5, 0.8))}
        return Case(kind, arrays | {"noise": normal(g, rounds, k + 1, n, z, dtype=dtype)})

    if not hidden:
        return [
            case("ordinary", 1, 2, 3, 2, 2, 3),
            case("ordinary", 1, 3, 2, 2, 1, 4, SINGLE),
            case("rounds", 3, 1, 3, 2, 2, 3),
            case("rounds", 2, 2, 2, 2, 2, 3),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 1, 2, n, 3, 2, 4),
        case("ordinary", 1, 4, n + 1, 2, 3, 3, SINGLE),
        case("ordinary", 1, 1, n, 2, 2, 5),
        case("rounds", 3, 1, n, 3, 2, 4),
        case("rounds", 2, 3, n, 2, 1, 4),
    ]


class _Right:
    def __init__(self, generator, discriminator, init, lr):
        self.generator, self.discriminator, self.init, self.lr = generator, discriminator, init, lr
        self.begin()

    def begin(self):
        self.init(self.generator)
        self.init(self.discriminator)

    def descend(self, loss, network):
        """One step of gradient descent for one network."""
        parameters = [*network.parameters()]
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes):
                parameter -= self.lr * slope

    def against(self, real, z):
        fake = self.generator(z).detach()
        return F.softplus(-self.discriminator(real)).mean() + F.softplus(self.discriminator(fake)).mean()

    def fooling(self, z):
        return F.softplus(-self.discriminator(self.generator(z))).mean()

    def step(self, reals, noises):
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)
        self.descend(self.fooling(noises[-1]), self.generator)


class PlayersListShortened(_Right):
    """The caller's list of noises is shorter afterwards: noises[-1] looks, noises.pop() takes away."""

    def step(self, reals, noises):
        last = noises.pop()
        super().step(reals, [*noises, last])


class PlayersDataChanged(_Right):
    """The real batches got changed: real -= ... writes into the caller's tensor."""

    def step(self, reals, noises):
        super().step(reals, noises)
        for real in reals:
            real -= real.mean(0)


class PlayersStartEachRound(_Right):
    """The networks are started anew in every round, and what they had learnt is lost: init belongs into __init__."""

    def step(self, reals, noises):
        self.begin()
        super().step(reals, noises)


class PlayersDiscriminatorHolds(_Right):
    """D starts each round with the gradients that the generator's turn left in it: zero_grad() right before
    backward()."""

    def __init__(self, generator, discriminator, init, lr):
        super().__init__(generator, discriminator, init, lr)
        self.left = [torch.zeros_like(parameter) for parameter in discriminator.parameters()]

    def step(self, reals, noises):
        for real, z in zip(reals, noises):
            parameters = [*self.discriminator.parameters()]
            slopes = torch.autograd.grad(self.against(real, z), parameters)
            with torch.no_grad():
                for parameter, slope, left in zip(parameters, slopes, self.left):
                    parameter -= self.lr * (slope + left)
                    left.zero_()
        self.left = [*torch.autograd.grad(self.fooling(noises[-1]), [*self.discriminator.parameters()])]
        self.descend(self.fooling(noises[-1]), self.generator)


class PlayersGeneratorHolds(_Right):
    """The generator's gradient still holds those of the rounds before: zero_grad() before backward()."""

    def __init__(self, generator, discriminator, init, lr):
        super().__init__(generator, discriminator, init, lr)
        self.held = [torch.zeros_like(parameter) for parameter in generator.parameters()]

    def descend(self, loss, network):
        if network is self.discriminator:
            return super().descend(loss, network)
        parameters = [*network.parameters()]
        for held, slope in zip(self.held, torch.autograd.grad(loss, parameters)):
            held += slope
        with torch.no_grad():
            for parameter, held in zip(parameters, self.held):
                parameter -= self.lr * held


class PlayersSaturating(_Right):
    """The generator minimises log(1 - D), the saturating loss: -log D is asked for."""

    def fooling(self, z):
        return -F.softplus(self.discriminator(self.generator(z))).mean()


class PlayersGeneratorSign(_Right):
    """The sign of the generator's loss is wrong: it learns to be found out."""

    def fooling(self, z):
        return -super().fooling(z)


class PlayersGeneratorAgainstItself(_Right):
    """The generator minimises -log(1 - D), D's own loss: it learns to be found out. Its loss is -log D."""

    def fooling(self, z):
        return F.softplus(self.discriminator(self.generator(z))).mean()


class PlayersGeneratorRests(_Right):
    """The generator never moves: in its own turn the fakes must not be detached, and its parameters are updated."""

    def step(self, reals, noises):
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)


class PlayersGeneratorFirstNoise(_Right):
    """The generator's turn uses the noise of D's first turn: it has its own, the last."""

    def step(self, reals, noises):
        super().step(reals, [*noises[:-1], noises[0]])


class PlayersGeneratorSecondLast(_Right):
    """The generator's turn uses the noise of D's last turn: it has its own."""

    def step(self, reals, noises):
        super().step(reals, [*noises[:-1], noises[-2]])


class PlayersGeneratorEachTurn(_Right):
    """The generator moves k times, at the end: once in a round."""

    def step(self, reals, noises):
        super().step(reals, noises)
        for _ in reals[1:]:
            self.descend(self.fooling(noises[-1]), self.generator)


class PlayersGeneratorSum(_Right):
    """The generator's loss is a sum over the batch: the mean."""

    def fooling(self, z):
        return len(z) * super().fooling(z)


class PlayersGeneratorAgainstOld(_Right):
    """The generator plays against D as it was before the round: D's turns come first, and change what it must fool."""

    def step(self, reals, noises):
        old = copy.deepcopy(self.discriminator)
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)
        self.descend(F.softplus(-old(self.generator(noises[-1]))).mean(), self.generator)


class PlayersFakesNotDetached(_Right):
    """The generator's gradients hold those of D's turns, too, which teach it to be found out: detach the fakes there,
    or zero_grad() before its own turn."""

    def step(self, reals, noises):
        held = [torch.zeros_like(parameter) for parameter in self.generator.parameters()]
        for real, z in zip(reals, noises):
            found_out = F.softplus(self.discriminator(self.generator(z))).mean()
            for total, slope in zip(held, torch.autograd.grad(found_out, [*self.generator.parameters()])):
                total += slope
            self.descend(self.against(real, z), self.discriminator)
        slopes = torch.autograd.grad(self.fooling(noises[-1]), [*self.generator.parameters()])
        with torch.no_grad():
            for parameter, slope, total in zip(self.generator.parameters(), slopes, held):
                parameter -= self.lr * (slope + total)


class PlayersBothInGeneratorsTurn(_Right):
    """The generator's turn moves D too: one player at a time."""

    def step(self, reals, noises):
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)
        self.descend(self.fooling(noises[-1]), nn.ModuleList([self.generator, self.discriminator]))


class PlayersBothInDiscriminatorsTurn(_Right):
    """D's turns move the generator too, and against its own interest: one player at a time."""

    def step(self, reals, noises):
        both = nn.ModuleList([self.generator, self.discriminator])
        for real, z in zip(reals, noises):
            fake = F.softplus(self.discriminator(self.generator(z))).mean()
            self.descend(F.softplus(-self.discriminator(real)).mean() + fake, both)
        self.descend(self.fooling(noises[-1]), self.generator)


class PlayersGradientsKept(_Right):
    """Gradients add up from turn to turn: zero_grad() before each backward()."""

    def __init__(self, generator, discriminator, init, lr):
        super().__init__(generator, discriminator, init, lr)
        self.held = {}

    def descend(self, loss, network):
        everything = [*self.generator.parameters(), *self.discriminator.parameters()]
        for parameter, slope in zip(everything, torch.autograd.grad(loss, everything, allow_unused=True)):
            if slope is not None:
                self.held[parameter] = self.held.get(parameter, 0) + slope
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= self.lr * self.held[parameter]


class PlayersGeneratorFirst(_Right):
    """The generator moves first: D's k turns come before its own."""

    def step(self, reals, noises):
        self.descend(self.fooling(noises[-1]), self.generator)
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)


class PlayersTakingTurns(_Right):
    """The generator moves after each turn of D: it waits until D has had its k turns."""

    def step(self, reals, noises):
        for real, z in zip(reals, noises):
            self.descend(self.against(real, z), self.discriminator)
            self.descend(self.fooling(noises[-1]), self.generator)


class PlayersRolesExchanged(_Right):
    """The generator has k turns and D one: it is the other way round."""

    def step(self, reals, noises):
        for z in noises[:-1]:
            self.descend(self.fooling(z), self.generator)
        self.descend(self.against(reals[-1], noises[-1]), self.discriminator)


class PlayersOneTurn(_Right):
    """D moves only once, on the first batch: once for each."""

    def step(self, reals, noises):
        super().step(reals[:1], [noises[0], noises[-1]])


class PlayersLastTurn(_Right):
    """D moves only once, on the last batch: once for each."""

    def step(self, reals, noises):
        super().step(reals[-1:], noises[-2:])


class PlayersOneBatch(_Right):
    """D makes one step on all batches together: k steps, one after the other."""

    def step(self, reals, noises):
        super().step([torch.cat([*reals])], [torch.cat([*noises[:-1]]), noises[-1]])


class PlayersSameReal(_Right):
    """D sees the first real batch in all its turns: each turn has its own."""

    def step(self, reals, noises):
        super().step([reals[0]] * len(reals), noises)


class PlayersSameNoise(_Right):
    """The first noise is used in all of D's turns: each turn has its own."""

    def step(self, reals, noises):
        super().step(reals, [noises[0]] * len(reals) + [noises[-1]])


class PlayersLastNoise(_Right):
    """The generator's noise is used in all of D's turns: each turn has its own."""

    def step(self, reals, noises):
        super().step(reals, [noises[-1]] * len(noises))


class PlayersNoiseShifted(_Right):
    """The noises are one place off: turn i of D uses noises[i], and what is left is the generator's."""

    def step(self, reals, noises):
        super().step(reals, [*noises[1:], noises[0]])


class PlayersDiscriminatorRests(_Right):
    """D never moves: update its parameters in place. parameter = parameter - ... makes a new tensor."""

    def step(self, reals, noises):
        self.descend(self.fooling(noises[-1]), self.generator)


class PlayersDiscriminatorSign(_Right):
    """D goes uphill: the sign of its loss is wrong (the game's value is *minus* the loss), or that of the step."""

    def against(self, real, z):
        return -super().against(real, z)


class PlayersLabelsExchanged(_Right):
    """Real and fake are exchanged in D's loss."""

    def against(self, real, z):
        fake = self.generator(z).detach()
        return F.softplus(self.discriminator(real)).mean() + F.softplus(-self.discriminator(fake)).mean()


class PlayersRealOnly(_Right):
    """D sees real batches only."""

    def against(self, real, z):
        return F.softplus(-self.discriminator(real)).mean()


class PlayersFakesOnly(_Right):
    """D sees fakes only."""

    def against(self, real, z):
        return F.softplus(self.discriminator(self.generator(z).detach())).mean()


class PlayersLossHalved(_Right):
    """D's loss is the mean of its two parts: their sum."""

    def against(self, real, z):
        return super().against(real, z) / 2


class PlayersLossSummed(_Right):
    """D's loss is a sum over the batch: means."""

    def against(self, real, z):
        return len(real) * super().against(real, z)


class PlayersCritic(_Right):
    """D is taught as a WGAN's critic: its outputs are logits, and its loss is that of exercise 2."""

    def against(self, real, z):
        return self.discriminator(self.generator(z).detach()).mean() - self.discriminator(real).mean()


class PlayersSigmoidTwice(_Right):
    """The sigmoid is taken twice: what works with logits wants D's outputs as they are."""

    def against(self, real, z):
        fake = self.discriminator(self.generator(z).detach())
        return F.softplus(-self.discriminator(real).sigmoid()).mean() + F.softplus(fake.sigmoid()).mean()


class PlayersNoRate(_Right):
    """The step is the whole gradient: times lr."""

    def descend(self, loss, network):
        super().descend(loss / self.lr, network)


class PlayersAdam(_Right):
    """This is not plain gradient descent (it is Adam, or another rule that rescales): w - lr * gradient."""

    def descend(self, loss, network):
        parameters = [*network.parameters()]
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes):
                parameter -= self.lr * slope / (slope.abs() + 1e-8)


class PlayersInitForgotten(_Right):
    """init was never called: without it both networks start as torch made them. Call it on both in __init__."""

    def begin(self):
        pass


class PlayersInitGeneratorOnly(_Right):
    """init was called on the generator only: on both."""

    def begin(self):
        self.init(self.generator)


class PlayersInitDiscriminatorOnly(_Right):
    """init was called on the discriminator only: on both."""

    def begin(self):
        self.init(self.discriminator)


class PlayersZeroStart(_Right):
    """All weights start at 0: init(network) says how they start."""

    def begin(self):
        with torch.no_grad():
            for parameter in [*self.generator.parameters(), *self.discriminator.parameters()]:
                parameter.zero_()


class PlayersNewWeights(_Right):
    """The networks start as a start scaled by 0.02: init does it all, call it on both and leave the rest alone."""

    def begin(self):
        super().begin()
        with torch.no_grad():
            for parameter in [*self.generator.parameters(), *self.discriminator.parameters()]:
                parameter *= 0.02


class PlayersByOptimisers:
    def __init__(self, generator, discriminator, init, lr):
        self.networks = [generator.apply(init), discriminator.apply(init)]
        self.optimizers = [torch.optim.SGD(network.parameters(), lr=lr) for network in self.networks]

    def step(self, reals, noises):
        generator, discriminator = self.networks
        by_generator, by_discriminator = self.optimizers
        for i, real in enumerate(reals):
            by_discriminator.zero_grad()
            with torch.no_grad():
                fake = generator(noises[i])
            loss = -F.logsigmoid(discriminator(real)).mean() - F.logsigmoid(-discriminator(fake)).mean()
            loss.backward()
            by_discriminator.step()
        by_generator.zero_grad()
        logits = discriminator(generator(noises[len(reals)]))
        F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).backward()
        by_generator.step()
        return loss.item()


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
            labels = torch.cat([torch.ones(len(real)), torch.zeros(len(z))]).to(logits.dtype)
            self.move(self.discriminator, 2 * F.binary_cross_entropy_with_logits(logits, labels))
        logits = self.discriminator(self.generator(for_g))
        self.move(self.generator, -logits.sigmoid().log().mean())


# --- the sheet --------------------------------------------------------------------------------------------------------

VALUES = "gives the right values"
LOSSES = ("saturating", "non-saturating")

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "optimal_discriminator",
        (
            Property("gives the best D", 2, outputs=("best",)),
            Property("gives the value of the game", 1, outputs=("value",)),
            UNCHANGED,
            Property("stays right for tiny probabilities", 1, "tiny", ("best", "value")),
        ),
        cases_optimal_discriminator,
        mutants=(
            best_exp_first,
            best_epsilon,
            best_half_where_nothing,
            value_log_of_best,
            best_in_place,
            value_sign,
            value_divergence,
            value_no_log_4,
            value_divergence_once,
            value_halved,
            value_mean,
            value_unweighted,
            value_weights_exchanged,
            value_data_twice,
            value_of_data,
            value_of_fakes,
            value_of_probabilities,
            value_each,
            value_bits,
            value_kl,
            value_at_equality,
            best_for_fakes,
            best_ratio,
            best_logit,
            best_logarithm,
            best_hard,
            best_of_logarithms,
            best_of_difference,
            best_density,
            best_normalised,
            best_ratio_softmax,
            best_mean,
            best_swapped,
            best_alone,
        ),
        alternatives=(best_by_softmax, best_by_divergence),
        hides=(
            "course_lib.gan.games:optimal_logit",
            "course_lib.gan.games:jensen_shannon",
        ),
    ),
    Master(
        "discriminator_loss",
        (
            Property(VALUES, 2),
            UNCHANGED,
            Property("stays right for a very sure D", 1, "extreme"),
            gradient(1),
        ),
        cases_discriminator_loss,
        mutants=(
            dloss_log_of_sigmoid,
            dloss_epsilon,
            dloss_clamp,
            dloss_cut_at_100,
            dloss_in_place,
            dloss_without_gradient,
            dloss_fake_stopped,
            dloss_real_stopped,
            dloss_exchanged,
            dloss_sign,
            dloss_difference,
            dloss_sum,
            dloss_halved,
            dloss_all_together,
            dloss_all_together_twice,
            dloss_real_only,
            dloss_fake_only,
            dloss_all_real,
            dloss_all_fake,
            dloss_sigmoid_twice,
            dloss_as_probabilities,
            dloss_no_logarithm,
            dloss_log_of_mean,
            dloss_of_mean_logit,
            dloss_critic,
            dloss_hinge,
            dloss_squares,
            dloss_bits,
        ),
        alternatives=(dloss_by_bce, dloss_by_logaddexp, dloss_by_loops),
        hides=("course_lib.gan.games:discriminator_loss",),
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
        mutants=(
            glosses_log_of_sigmoid,
            glosses_saturating_infinite,
            glosses_other_infinite,
            glosses_epsilon,
            glosses_cut_at_100,
            glosses_in_place,
            glosses_without_gradient,
            glosses_saturating_stopped,
            glosses_other_stopped,
            glosses_exchanged,
            glosses_saturating_sign,
            glosses_other_sign,
            glosses_both_signs,
            glosses_saturating_of_d,
            glosses_other_of_rest,
            glosses_twice_saturating,
            glosses_twice_other,
            glosses_sum,
            glosses_each,
            glosses_halved,
            glosses_sigmoid_twice,
            glosses_as_probabilities,
            glosses_no_logarithm,
            glosses_log_of_mean,
            glosses_of_mean_logit,
            glosses_critic,
            glosses_bits,
            glosses_alone,
        ),
        alternatives=(glosses_by_softplus, glosses_by_bce, glosses_by_loops),
        hides=(
            "course_lib.gan.games:saturating_loss",
            "course_lib.gan.games:non_saturating_loss",
        ),
    ),
    Master(
        "wasserstein",
        (Property(VALUES, 2), UNCHANGED, gradient(1)),
        cases_wasserstein,
        mutants=(
            earth_in_place,
            earth_without_gradient,
            earth_b_stopped,
            earth_a_stopped,
            earth_unsorted,
            earth_a_sorted,
            earth_b_sorted,
            earth_opposite,
            earth_squared,
            earth_root_mean_square,
            earth_sum,
            earth_largest,
            earth_median,
            earth_each,
            earth_of_means,
            earth_signed,
            earth_nearest,
            earth_all_pairs,
            earth_energy,
            earth_places,
            earth_by_size,
            earth_halved,
            earth_one_fewer,
        ),
        alternatives=(earth_by_areas, earth_by_loops),
        hides=("course_lib.gan.games:critic_loss",),
    ),
    Master(
        "clip_weights",
        (
            Property("cuts all weights off", 2, outputs=("weight",)),
            Property("changes nothing else", 1, outputs=("same", "learning", "grad", "buffer")),
        ),
        cases_clip_weights,
        mutants=(
            clip_gradients_too,
            clip_gradients_cleared,
            clip_buffers_too,
            clip_frozen,
            clip_replaced,
            clip_copies,
            clip_with_gradient,
            clip_from_zero,
            clip_above,
            clip_below,
            clip_no_biases,
            clip_biases_only,
            clip_first_only,
            clip_last_only,
            clip_by_norm,
            clip_by_norm_of_all,
            clip_by_largest,
            clip_scaled,
            clip_signs,
            clip_soft,
            clip_dropped,
            clip_reversed,
            clip_gradients_instead,
        ),
        alternatives=(clip_by_data, clip_by_minimum),
        hides=("course_lib.gan.wgan:WGAN",),
    ),
    Master(
        "gradient_penalty",
        (Property(VALUES, 3), Property("teaches the critic", 3, outputs=("gradient",))),
        cases_gradient_penalty,
        mutants=(
            penalty_no_graph,
            penalty_half_stopped,
            penalty_norm_stopped,
            penalty_at_real,
            penalty_at_fake,
            penalty_at_both,
            penalty_at_middle,
            penalty_one_t,
            penalty_t_exchanged,
            penalty_t_along_columns,
            penalty_of_mixed_slopes,
            penalty_of_difference,
            penalty_squared_norm,
            penalty_one_sided,
            penalty_absolute,
            penalty_not_squared,
            penalty_of_zero,
            penalty_of_all,
            penalty_of_mean_norm,
            penalty_over_channels,
            penalty_per_pixel,
            penalty_absolute_norm,
            penalty_root_mean,
            penalty_sum,
            penalty_each,
            penalty_of_mean_output,
            penalty_of_output,
            penalty_weighted,
            penalty_halved,
        ),
        alternatives=(penalty_by_backward, penalty_by_loops),
        hides=("course_lib.gan.wgan:gradient_penalty",),
    ),
    Master(
        "conditional_batch_norm",
        (Property(VALUES, 3), UNCHANGED, gradient(1)),
        cases_conditional_batch_norm,
        mutants=(
            cbn_in_place,
            cbn_without_gradient,
            cbn_statistics_stopped,
            cbn_variance_stopped,
            cbn_gain_stopped,
            cbn_bias_stopped,
            cbn_per_picture,
            cbn_per_position,
            cbn_over_channels,
            cbn_over_all,
            cbn_per_class,
            cbn_unbiased,
            cbn_by_variance,
            cbn_eps_outside,
            cbn_eps_squared,
            cbn_no_eps,
            cbn_not_centred,
            cbn_not_scaled,
            cbn_not_normalised,
            cbn_normalised_last,
            cbn_of_row,
            cbn_first_label,
            cbn_neighbour,
            cbn_all_classes,
            cbn_no_label,
            cbn_no_bias,
            cbn_no_gain,
            cbn_one_plus_gain,
            cbn_tables_swapped,
            cbn_bias_scaled,
            cbn_minus_bias,
            cbn_not_widened,
        ),
        alternatives=(cbn_by_torch, cbn_by_loops),
        hides=("course_lib.gan.conditional:ConditionalBatchNorm",),
    ),
    Master(
        "projection_logit",
        (Property(VALUES, 2), UNCHANGED, gradient(1)),
        cases_projection_logit,
        mutants=(
            projection_in_place,
            projection_without_gradient,
            projection_h_stopped,
            projection_table_stopped,
            projection_psi_stopped,
            projection_no_label,
            projection_no_psi,
            projection_all_classes,
            projection_mean_class,
            projection_best_class,
            projection_of_row,
            projection_neighbour,
            projection_all_pairs,
            projection_classifier,
            projection_probability,
            projection_cosine,
            projection_unit_rows,
            projection_scaled,
            projection_mean,
            projection_distance,
            projection_of_label_alone,
            projection_product,
            projection_difference,
            projection_sigmoid,
            projection_label_as_number,
            projection_total,
            projection_column,
        ),
        alternatives=(projection_by_one_row, projection_by_one_hot, projection_by_loops),
        hides=("course_lib.gan.conditional:ProjectionDiscriminator",),
    ),
    Master(
        "grown",
        (
            Property("fades the next level in", 3),
            Property("shows one level alone in between", 1, "alone"),
            UNCHANGED,
        ),
        cases_grown,
        mutants=(
            grown_in_place,
            grown_list_shortened,
            grown_past_the_end,
            grown_never_alone,
            grown_alone_too_small,
            grown_alone_too_large,
            grown_alone_enlarged,
            grown_swapped,
            grown_half,
            grown_old_only,
            grown_new_only,
            grown_too_early,
            grown_squared,
            grown_smooth,
            grown_by_progress,
            grown_bilinear,
            grown_tiled,
            grown_with_gaps,
            grown_turned,
            grown_added,
            grown_full_new,
            grown_shrunk,
            grown_own_old,
            grown_a_level_early,
            grown_without_rest,
            grown_even_phases,
            grown_phase_per_level,
            grown_not_enlarged,
        ),
        alternatives=(grown_by_search, grown_by_kron),
        hides=(
            "course_lib.gan.progressive:fade_in",
            "course_lib.gan.progressive:blend",
        ),
    ),
    Master(
        "Adversaries",
        (
            Property("starts both networks with init", 1, outputs=("start",)),
            Property("moves the discriminator k times", 2, outputs=("discriminator",)),
            Property("then moves the generator once", 2, outputs=("generator",)),
            Property("stays right round after round", 1, "rounds", ("discriminator", "generator")),
            UNCHANGED,
        ),
        cases_Adversaries,
        mutants=(
            PlayersListShortened,
            PlayersDataChanged,
            PlayersStartEachRound,
            PlayersDiscriminatorHolds,
            PlayersGeneratorHolds,
            PlayersSaturating,
            PlayersGeneratorSign,
            PlayersGeneratorAgainstItself,
            PlayersGeneratorRests,
            PlayersGeneratorFirstNoise,
            PlayersGeneratorSecondLast,
            PlayersGeneratorEachTurn,
            PlayersGeneratorSum,
            PlayersGeneratorAgainstOld,
            PlayersFakesNotDetached,
            PlayersBothInGeneratorsTurn,
            PlayersBothInDiscriminatorsTurn,
            PlayersGradientsKept,
            PlayersGeneratorFirst,
            PlayersTakingTurns,
            PlayersRolesExchanged,
            PlayersOneTurn,
            PlayersLastTurn,
            PlayersOneBatch,
            PlayersSameReal,
            PlayersSameNoise,
            PlayersLastNoise,
            PlayersNoiseShifted,
            PlayersDiscriminatorRests,
            PlayersDiscriminatorSign,
            PlayersLabelsExchanged,
            PlayersRealOnly,
            PlayersFakesOnly,
            PlayersLossHalved,
            PlayersLossSummed,
            PlayersCritic,
            PlayersSigmoidTwice,
            PlayersNoRate,
            PlayersAdam,
            PlayersInitForgotten,
            PlayersInitGeneratorOnly,
            PlayersInitDiscriminatorOnly,
            PlayersZeroStart,
            PlayersNewWeights,
        ),
        alternatives=(PlayersByOptimisers, PlayersAsModule),
        hides=(
            "course_lib.gan.gan:GAN",
            "course_lib.gan.games:discriminator_loss",
            "course_lib.gan.games:non_saturating_loss",
        ),
    ),
]
