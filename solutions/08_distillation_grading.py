"""Exercises 08, distillation: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it. A case that brings a `cotangent` asks
for the gradient too.
"""

from torch import Tensor

from course_lib.grading.drive import by_number, gradients, on_case, parts, same_bits


def drive_soft_targets(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """logits, temperature."""
    return on_case(answer, a, ("logits",), ("temperature",), flows=("logits",))


def drive_distillation_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """student, teacher, labels, temperature, soft. Gradient for the student; none should reach the teacher."""
    tensors, settings = ("student", "teacher", "labels"), ("temperature", "soft")
    return on_case(answer, a, tensors, settings, flows=("student",), stops=("teacher",))


def drive_ema_update(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """`target 0`, `target 1`, ... and `online 0`, ..., which want a gradient; start, progress. `value I`: the new ones;
    `unchanged ...`: whether the lists hold the tensors they held, and these are as they were; `detached`: whether all
    that comes back is without gradient."""
    number = sum(name.startswith("target ") for name in a)
    target, online = [a[f"target {i}"] for i in range(number)], [a[f"online {i}"] for i in range(number)]
    before = [tensor.clone() for tensor in target + online]
    given = [*target], [tensor.requires_grad_() for tensor in online]
    new = answer(*given, a["start"].item(), a["progress"].item())
    if not isinstance(new, (tuple, list)) or len(new) != number:
        came = f"{len(new)} things" if isinstance(new, (tuple, list)) else type(new).__name__
        raise TypeError(f"expected a list of {number} tensors, got {came}")
    same = [same_bits(now, then) for now, then in zip(target + online, before)]
    return {f"value {i}": part for i, part in enumerate(new)} | {
        "unchanged lists": list(map(id, given[0] + given[1])) == list(map(id, target + online)),
        "unchanged target": all(same[:number]),
        "unchanged online": all(same[number:]) and all(tensor.requires_grad for tensor in online),
        "detached": not any(getattr(part, "requires_grad", False) for part in new),
    }


def drive_byol_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """p1, p2, z1, z2. Gradient for the predictions p; none should reach the targets z."""
    return on_case(answer, a, ("p1", "p2", "z1", "z2"), flows=("p1", "p2"), stops=("z1", "z2"))


def drive_simsiam_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny encoder and predictor from the weights; view1, view2. `gradient ...`: of the networks' weights."""
    weights = {name: a[name].requires_grad_() for name in ("encoder", "encoder bias", "predictor", "predictor bias")}

    def encoder(x):
        return (x @ weights["encoder"] + weights["encoder bias"]).tanh()

    def predictor(z):
        return z + (z @ weights["predictor"] + weights["predictor bias"]).sin()

    value = answer(encoder, predictor, a["view1"], a["view2"])
    return {"value": value} | gradients(value, weights)


def drive_barlow_twins(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """z1, z2, off_diagonal. `matrix`: the first thing that comes back; `value` and gradients: of the second."""
    matrices = []

    def loss(z1, z2, off_diagonal):
        matrix, value = parts(answer(z1, z2, off_diagonal), ("matrix", "loss"))
        matrices.append(matrix)
        return value

    outputs = on_case(loss, a, ("z1", "z2"), ("off_diagonal",), flows=("z1", "z2"))
    return {"matrix": matrices[0]} | outputs


def drive_multicrop_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """student, teacher, tau_s, tau_t. Gradient for the student; none should reach the teacher."""
    tensors, settings = ("student", "teacher"), ("tau_s", "tau_t")
    return on_case(answer, a, tensors, settings, flows=("student",), stops=("teacher",))


def drive_centre_and_sharpen(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """outputs (which want a gradient), centre, temperature, momentum. `probabilities`, `centre`: what comes back;
    `detached`: whether both are without gradient."""
    outputs, centre = a["outputs"].requires_grad_() * 1, a["centre"]  # times 1: no leaf, so it can be written into
    before = outputs.detach().clone(), centre.clone()
    came = answer(outputs, centre, a["temperature"].item(), a["momentum"].item())
    found = dict(zip(("probabilities", "centre"), parts(came, ("probabilities", "centre"))))
    return found | {
        "unchanged": same_bits(outputs, before[0]) and same_bits(centre, before[1]),
        "detached": not any(getattr(part, "requires_grad", False) for part in found.values()),
    }


def drive_numbers_by_heart(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """prototypes, large, small, share, (Q,) each: the answer is asked Q times. `entropies`: a and b, `losses`: c and d,
    `pairs`: e, `cost`: f."""
    said = by_number(answer, a, ("prototypes", "large", "small", "share"), tuple("abcdef"))
    return {"entropies": said[:, :2], "losses": said[:, 2:4], "pairs": said[:, 4], "cost": said[:, 5]}


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


# --- 1. soft targets --------------------------------------------------------------------------------------------------


def cases_soft_targets(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, dtype=SINGLE, low=2.0, high=4.0):
        logits = 3 * normal(g, n, c, dtype=dtype) + 1
        if kind == "extreme":  # overflow in one row, and another far below it
            level = 9e3 if dtype == DOUBLE else 450  # float32 says 9000 to 0.001 only: no fault of an answer
            logits[0] += level
            logits[1] -= level
        arrays = {"logits": logits, "temperature": scalar(between(g, low, high))}
        return Case(kind, arrays | ({"cotangent": normal(g, n, c, dtype=dtype)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 3, DOUBLE),
            case("ordinary", 3, 2, low=0.3, high=0.5),
            case("extreme", 3, 4),
            case("extreme", 2, 2, DOUBLE),
            case("gradient", 2, 3, DOUBLE),
        ]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 3, n),
        case("ordinary", n, n, DOUBLE),
        case("ordinary", n, 5, low=0.3, high=0.5),
        case("extreme", n, 5, low=1.5),
        case("extreme", 2, n, DOUBLE),
        case("gradient", n, 5, DOUBLE),
        case("gradient", 3, n + 1, DOUBLE, low=0.3, high=0.5),
    ]


def soft_overflow(logits, temperature):
    """Right for small logits, but exp of a large one is inf, and inf / inf is NaN: use softmax."""
    e = (logits / temperature).exp()
    return e / e.sum(1, keepdim=True)


def soft_global_maximum(logits, temperature):
    """Subtract each row's own maximum: below the largest of the whole matrix a row may underflow to 0 / 0, NaN."""
    return soft_overflow(logits - logits.max(), temperature)


def soft_in_place(logits, temperature):
    """The argument itself gets divided: logits /= ... writes into the caller's tensor, logits / ... does not."""
    logits /= temperature
    return logits.softmax(1)


def soft_without_gradient(logits, temperature):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return (logits / temperature).softmax(1).detach()


def soft_denominator_without_gradient(logits, temperature):
    """The value is right, the gradient is not: the denominator depends on the logits as well, do not detach it."""
    logits = logits / temperature
    return (logits - logits.logsumexp(1, keepdim=True).detach()).exp()


def soft_over_the_batch(logits, temperature):
    """The softmax runs down the columns, over the pictures: each row should sum to 1, so dim=1."""
    return (logits / temperature).softmax(0)


def soft_over_all(logits, temperature):
    """The softmax runs over the whole matrix: each row is a distribution of its own."""
    return (logits / temperature).flatten().softmax(0).view_as(logits)


def soft_times_temperature(logits, temperature):
    """The logits are multiplied by the temperature: that makes high ones sharper. Divide."""
    return (logits * temperature).softmax(1)


def soft_no_temperature(logits, temperature):
    """The temperature is left out."""
    return logits.softmax(1)


def soft_divided_after(logits, temperature):
    """The temperature divides the probabilities, which then do not sum to 1: it belongs inside, to the logits."""
    return logits.softmax(1) / temperature


def soft_temperature_twice(logits, temperature):
    """The logits are divided by the temperature twice, or by its square."""
    return (logits / temperature**2).softmax(1)


def soft_softmax_twice(logits, temperature):
    """The softmax is taken of probabilities: divide the logits themselves by the temperature, then one softmax."""
    return (logits.softmax(1) / temperature).softmax(1)


def soft_logarithm(logits, temperature):
    """These are log probabilities; asked for are the probabilities."""
    return (logits / temperature).log_softmax(1)


def soft_one_hot(logits, temperature):
    """These are hard targets, 1 for the largest logit: the others are what soft targets are for."""
    return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)


def soft_sigmoid(logits, temperature):
    """Each class gets a sigmoid of its own, and a row does not sum to 1: classes share one probability."""
    return (logits / temperature).sigmoid()


def soft_sign(logits, temperature):
    """The sign is the wrong way round: the largest logit gets the smallest probability."""
    return (-logits / temperature).softmax(1)


def soft_no_exponential(logits, temperature):
    """Logits are divided by their sum: the exponential is missing."""
    return logits / temperature / (logits / temperature).sum(1, keepdim=True)


def soft_by_logsumexp(logits, temperature):
    scaled = logits / temperature
    return (scaled - scaled.logsumexp(1, keepdim=True)).exp()


def soft_by_loops(logits, temperature):
    rows = []
    for row in logits.double():
        e = ((row - row.max()) / temperature).exp()
        rows.append(e / e.sum())
    return torch.stack(rows)


def soft_by_differences(logits, temperature):
    """1 / sum_c' exp(a_c' - a_c): the softmax without a numerator."""
    return 1 / ((logits[:, None, :] - logits[:, :, None]) / temperature).exp().sum(2)


# --- 2. the loss of distillation --------------------------------------------------------------------------------------


def cases_distillation_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, c, dtype=SINGLE, soft=None, sure=""):
        student, teacher = 1.5 * normal(g, n, c, dtype=dtype), 2.5 * normal(g, n, c, dtype=dtype)
        if sure:
            logits, level = (student, 5e3) if sure == "student" else (teacher, 3e3 if dtype == DOUBLE else 300)
            logits[0, 0], logits[0, 1] = level, -level
        soft = (between(g, 0.2, 0.35) if whole(g, 0, 1) else between(g, 0.65, 0.8)) if soft is None else soft
        arrays = {"student": student, "teacher": teacher, "labels": torch.randint(0, c, (n,), generator=g)}
        arrays |= {"temperature": scalar(between(g, 2, 4)), "soft": scalar(soft)}
        return Case(kind, arrays | ({"cotangent": scalar(between(g, 1.2, 2))} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 3, DOUBLE),
            case("ordinary", 3, 2, soft=1.0),
            case("extreme", 2, 3, sure="teacher"),
            case("extreme", 3, 3, sure="student"),
            case("gradient", 2, 3, DOUBLE),
        ]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 3, n),
        case("ordinary", n, n, DOUBLE),
        case("ordinary", n + 1, 4, DOUBLE, soft=0.0),
        case("ordinary", 3, n, soft=1.0),
        case("extreme", n, 5, sure="teacher"),
        case("extreme", 4, n, DOUBLE, sure="teacher"),
        case("extreme", n + 1, 4, sure="student"),
        case("gradient", n, 5, DOUBLE),
        case("gradient", 3, n, DOUBLE, soft=1.0),
    ]


def _mixed(student, labels, temperature, soft, divergence):
    return soft * temperature**2 * divergence + (1 - soft) * F.cross_entropy(student, labels)


def _divergence(student, teacher, temperature):
    q, log_p = (teacher / temperature).softmax(1), (student / temperature).log_softmax(1)
    return F.kl_div(log_p, q, reduction="batchmean")


def distill_zero_times_infinity(student, teacher, labels, temperature, soft):
    """Right for ordinary logits, but a teacher's probability may be exactly 0, and 0 log 0 gives NaN: take both
    logarithms with log_softmax."""
    q = (teacher.detach() / temperature).softmax(1)
    log_p = (student / temperature).log_softmax(1)
    return _mixed(student, labels, temperature, soft, (q * (q.log() - log_p)).sum(1).mean())


def distill_log_of_softmax(student, teacher, labels, temperature, soft):
    """Right for ordinary logits, but a student's probability that underflows to 0 has log -inf: use log_softmax."""
    q, p = (teacher.detach() / temperature).softmax(1), (student / temperature).softmax(1)
    return _mixed(student, labels, temperature, soft, (torch.xlogy(q, q) - q * p.log()).sum(1).mean())


def distill_epsilon(student, teacher, labels, temperature, soft):
    """A small number inside the logarithm hides how wrong a very sure student is: use log_softmax."""
    q, p = (teacher.detach() / temperature).softmax(1), (student / temperature).softmax(1)
    return _mixed(student, labels, temperature, soft, (q * ((q + 1e-8).log() - (p + 1e-8).log())).sum(1).mean())


def distill_teacher_learns(student, teacher, labels, temperature, soft):
    """The value is right, but a gradient reaches the teacher, who would learn from the student: detach its logits."""
    return _mixed(student, labels, temperature, soft, _divergence(student, teacher, temperature))


def distill_student_stopped(student, teacher, labels, temperature, soft):
    """The value is right, but the student is detached in the soft half, and the teacher is not: the other way round."""
    return _mixed(student, labels, temperature, soft, _divergence(student.detach(), teacher, temperature))


def distill_without_gradient(student, teacher, labels, temperature, soft):
    """No gradient reaches the student: detach the teacher only."""
    return _mixed(student, labels, temperature, soft, _divergence(student, teacher, temperature)).detach()


def distill_in_place(student, teacher, labels, temperature, soft):
    """An argument itself gets divided: teacher /= ... writes into the caller's tensor, teacher / ... does not."""
    teacher = teacher.detach()
    teacher /= temperature
    return _mixed(student, labels, temperature, soft, _divergence(student, teacher * temperature, temperature))


def distill_no_factor(student, teacher, labels, temperature, soft):
    """The factor temperature^2 is missing: the soft half all but vanishes at high temperatures."""
    hard = (1 - soft) * F.cross_entropy(student, labels)
    return soft * _divergence(student, teacher.detach(), temperature) + hard


def distill_factor_not_squared(student, teacher, labels, temperature, soft):
    """The factor is the temperature; it should be its square."""
    hard = (1 - soft) * F.cross_entropy(student, labels)
    return soft * temperature * _divergence(student, teacher.detach(), temperature) + hard


def distill_factor_divides(student, teacher, labels, temperature, soft):
    """The soft half is divided by temperature^2: multiply, to make up for what the temperature takes."""
    hard = (1 - soft) * F.cross_entropy(student, labels)
    return soft * _divergence(student, teacher.detach(), temperature) / temperature**2 + hard


def distill_factor_for_both(student, teacher, labels, temperature, soft):
    """The factor temperature^2 stands before both halves: only the soft one needs it."""
    hard = (1 - soft) * F.cross_entropy(student, labels)
    return temperature**2 * (soft * _divergence(student, teacher.detach(), temperature) + hard)


def distill_weights_swapped(student, teacher, labels, temperature, soft):
    """The weights are swapped: `soft` belongs to the teacher's half, 1 - soft to the labels'."""
    return _mixed(student, labels, temperature, 1 - soft, _divergence(student, teacher.detach(), temperature))


def distill_hard_not_weighted(student, teacher, labels, temperature, soft):
    """The labels' half is not weighted: its weight is 1 - soft."""
    divergence = _divergence(student, teacher.detach(), temperature)
    return soft * temperature**2 * divergence + F.cross_entropy(student, labels)


def distill_hard_left_out(student, teacher, labels, temperature, soft):
    """The labels' half is missing."""
    return soft * temperature**2 * _divergence(student, teacher.detach(), temperature)


def distill_hard_at_temperature(student, teacher, labels, temperature, soft):
    """The labels' half is taken at the temperature as well: labels are certain, there the student's is 1."""
    divergence = _divergence(student, teacher.detach(), temperature)
    return soft * temperature**2 * divergence + (1 - soft) * F.cross_entropy(student / temperature, labels)


def distill_hard_of_probabilities(student, teacher, labels, temperature, soft):
    """Probabilities go where logits belong: cross_entropy applies the softmax itself."""
    divergence = _divergence(student, teacher.detach(), temperature)
    return soft * temperature**2 * divergence + (1 - soft) * F.cross_entropy(student.softmax(1), labels)


def distill_cross_entropy(student, teacher, labels, temperature, soft):
    """This is the cross-entropy with the soft targets. Its gradient is right, but it is not 0 where both agree: the
    teacher's entropy is to be subtracted, which makes it KL."""
    q, log_p = (teacher.detach() / temperature).softmax(1), (student / temperature).log_softmax(1)
    return _mixed(student, labels, temperature, soft, -(q * log_p).sum(1).mean())


def distill_reversed(student, teacher, labels, temperature, soft):
    """This is KL(student || teacher): the average is over the teacher's probabilities. (F.kl_div wants the student's
    log probabilities first.)"""
    divergence = _divergence(teacher.detach(), student, temperature)
    return _mixed(student, labels, temperature, soft, divergence)


def distill_student_without_temperature(student, teacher, labels, temperature, soft):
    """The student's half of the divergence lacks the temperature: both are softened alike."""
    q, log_p = (teacher.detach() / temperature).softmax(1), student.log_softmax(1)
    return _mixed(student, labels, temperature, soft, F.kl_div(log_p, q, reduction="batchmean"))


def distill_teacher_without_temperature(student, teacher, labels, temperature, soft):
    """The teacher's half of the divergence lacks the temperature: both are softened alike."""
    q, log_p = teacher.detach().softmax(1), (student / temperature).log_softmax(1)
    return _mixed(student, labels, temperature, soft, F.kl_div(log_p, q, reduction="batchmean"))


def distill_no_temperature(student, teacher, labels, temperature, soft):
    """The logits of the soft half are not divided by the temperature."""
    return _mixed(student, labels, temperature, soft, _divergence(student, teacher.detach(), 1.0))


def distill_over_the_batch(student, teacher, labels, temperature, soft):
    """The softmax of the soft half runs down the columns, over the pictures: the classes are dim=1."""
    q, log_p = (teacher.detach() / temperature).softmax(0), (student / temperature).log_softmax(0)
    return _mixed(student, labels, temperature, soft, F.kl_div(log_p, q, reduction="batchmean"))


def distill_mean_over_all(student, teacher, labels, temperature, soft):
    """The divergence is averaged over the classes as well: they are summed, only the rows are averaged. (F.kl_div:
    reduction="batchmean".)"""
    divergence = _divergence(student, teacher.detach(), temperature) / student.shape[1]
    return _mixed(student, labels, temperature, soft, divergence)


def distill_sum(student, teacher, labels, temperature, soft):
    """The divergence is summed over the pictures: both halves are means over them."""
    divergence = _divergence(student, teacher.detach(), temperature) * len(student)
    return _mixed(student, labels, temperature, soft, divergence)


def distill_log_p_not_taken(student, teacher, labels, temperature, soft):
    """F.kl_div got the student's probabilities; it wants their logarithm as its first argument."""
    q, p = (teacher.detach() / temperature).softmax(1), (student / temperature).softmax(1)
    return _mixed(student, labels, temperature, soft, F.kl_div(p, q, reduction="batchmean"))


def distill_hard_teacher(student, teacher, labels, temperature, soft):
    """The teacher's largest logit is taken as a label: that throws away what soft targets are for."""
    divergence = F.cross_entropy(student / temperature, teacher.argmax(1))
    return _mixed(student, labels, temperature, soft, divergence)


def distill_by_kl_div(student, teacher, labels, temperature, soft):
    return _mixed(student, labels, temperature, soft, _divergence(student, teacher.detach(), temperature))


def distill_by_entropies(student, teacher, labels, temperature, soft):
    with torch.no_grad():
        q = torch.softmax(teacher / temperature, 1)
        entropy = -torch.xlogy(q, q).sum(1).mean()
    divergence = F.cross_entropy(student / temperature, q) - entropy
    hard = -student.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    return hard + soft * (divergence * temperature**2 - hard)


def distill_by_loops(student, teacher, labels, temperature, soft):
    total = 0.0
    for s, t, y in zip(student.double(), teacher.detach().double(), labels):
        log_q, log_p = (row / temperature - torch.logsumexp(row / temperature, 0) for row in (t, s))
        total = total + soft * temperature**2 * sum(a.exp() * (a - b) for a, b in zip(log_q, log_p))
        total = total + (1 - soft) * (s.logsumexp(0) - s[y])
    return total / len(student)


# --- 3. the moving average --------------------------------------------------------------------------------------------


def cases_ema_update(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, *shapes, dtype=SINGLE, progress=0.0):
        arrays = {f"target {i}": 2 + normal(g, *shape, dtype=dtype) for i, shape in enumerate(shapes)}
        arrays |= {f"online {i}": 2 * normal(g, *shape, dtype=dtype) - 1 for i, shape in enumerate(shapes)}
        return Case(kind, arrays | {"start": scalar(between(g, 0.65, 0.85)), "progress": scalar(progress)})

    if not hidden:
        return [
            case("ordinary", (2, 3), (3,)),
            case("ordinary", (2,), (2,), (1, 2), dtype=DOUBLE),
            case("schedule", (2, 2), (2,), progress=0.4),
            case("schedule", (3,), progress=0.75, dtype=DOUBLE),
            case("schedule", (2,), progress=1.0),
        ]
    n = whole(g, 4, 7)
    return [
        case("ordinary", (n, 5), (5,), (5, n), (n,)),
        case("ordinary", (n, 3, 2, 2), (), (n, n), dtype=DOUBLE),
        case("ordinary", (1,)),
        case("schedule", (n, 5), (5,), progress=between(g, 0.15, 0.4)),
        case("schedule", (n, 2), (2, n), (n,), progress=between(g, 0.6, 0.8), dtype=DOUBLE),
        case("schedule", (n,), (n,), progress=1.0),
    ]


def _momentum(start, progress):
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


def _moved(target, online, m):
    return [m * t + (1 - m) * o.detach() for t, o in zip(target, online)]


def ema_no_schedule(target, online, start, progress):
    """The momentum stays what it is at the start: it grows to 1 with the progress."""
    return _moved(target, online, start)


def ema_linear_schedule(target, online, start, progress):
    """The momentum grows in a straight line: asked for is a cosine."""
    return _moved(target, online, start + (1 - start) * progress)


def ema_momentum_falls(target, online, start, progress):
    """The momentum falls from its start to 0, as a learning rate does: it grows to 1."""
    return _moved(target, online, start * (math.cos(math.pi * progress) + 1) / 2)


def ema_no_pi(target, online, start, progress):
    """The cosine is that of the progress itself: without pi it never gets to -1."""
    return _moved(target, online, 1 - (1 - start) * (math.cos(progress) + 1) / 2)


def ema_whole_period(target, online, start, progress):
    """The cosine runs through a whole period, with 2 pi: the momentum is back at its start in the end."""
    return _moved(target, online, _momentum(start, 2 * progress))


def ema_quarter_period(target, online, start, progress):
    """The cosine runs through a quarter of its period: it is (cos(pi t) + 1) / 2, flat at both ends."""
    return _moved(target, online, 1 - (1 - start) * math.cos(math.pi * progress / 2))


def ema_in_place(target, online, start, progress):
    """The target's tensors themselves are changed: new ones are asked for here."""
    m = _momentum(start, progress)
    for t, o in zip(target, online):
        t.mul_(m).add_(o.detach(), alpha=1 - m)
    return target


def ema_list_changed(target, online, start, progress):
    """The target's list is written into, target[i] = ...: build a new list."""
    target[:] = _moved(target, online, _momentum(start, progress))
    return target


def ema_gradient_kept(target, online, start, progress):
    """The value is right, but it keeps the gradient's graph of the online network, step after step: detach it, or work
    under torch.no_grad()."""
    m = _momentum(start, progress)
    return [m * t + (1 - m) * o for t, o in zip(target, online)]


def ema_online_frozen(target, online, start, progress):
    """The online parameters lose their gradient: requires_grad_(False) and detach_() change the given tensors,
    detach() does not."""
    return _moved(target, [o.requires_grad_(False) for o in online], _momentum(start, progress))


def ema_swapped(target, online, start, progress):
    """The weights are swapped: the target keeps the share m of itself, and takes 1 - m of the online network."""
    return _moved([t.detach() for t in online], target, _momentum(start, progress))


def ema_wrong_way(target, online, start, progress):
    """The schedule runs the wrong way: the momentum is 1 at the start and small at the end."""
    return _moved(target, online, _momentum(start, 1 - progress))


def ema_not_halved(target, online, start, progress):
    """The half is missing: cos + 1 is 2 at progress 0."""
    return _moved(target, online, 1 - (1 - start) * (math.cos(math.pi * progress) + 1))


def ema_one_not_added(target, online, start, progress):
    """The 1 beside the cosine is missing: (cos + 1) / 2 goes from 1 to 0."""
    return _moved(target, online, 1 - (1 - start) * math.cos(math.pi * progress) / 2)


def ema_copied(target, online, start, progress):
    """The online parameters are copied as they are: the target should move a little only."""
    return [o.detach().clone() for o in online]


def ema_online_not_weighted(target, online, start, progress):
    """The online parameters are added whole: they get the weight 1 - m."""
    m = _momentum(start, progress)
    return [m * t + o.detach() for t, o in zip(target, online)]


def ema_subtracted(target, online, start, progress):
    """The online parameters are subtracted: both weights are positive, and add up to 1."""
    m = _momentum(start, progress)
    return [m * t - (1 - m) * o.detach() for t, o in zip(target, online)]


def ema_half(target, online, start, progress):
    """This is the plain mean of both; the target's weight is the momentum."""
    return _moved(target, online, 0.5)


def ema_first_only(target, online, start, progress):
    """Only the first tensor moves: the return stands inside the loop, or the others are passed over."""
    return _moved(target[:1], online[:1], _momentum(start, progress)) + [t.clone() for t in target[1:]]


def ema_none_returned(target, online, start, progress):
    """It returns None: asked for is a list of new tensors."""


def ema_by_lerp(target, online, start, progress):
    with torch.no_grad():
        share = (1 - start) * math.cos(math.pi * progress / 2) ** 2  # (cos x + 1) / 2 is the square of cos(x / 2)
        return [torch.lerp(t, o, share) for t, o in zip(target, online)]


def ema_by_steps(target, online, start, progress):
    new = []
    for t, o in zip(target, online):
        new.append(t + (1 - _momentum(start, progress)) * (o.detach() - t))
    return tuple(new)


def ema_in_double(target, online, start, progress):
    m = start + (1 - start) * (1 - math.cos(math.pi * progress)) / 2
    copies = [t.clone().double() for t in target]
    for copy, o in zip(copies, online):
        copy.mul_(m).add_(o.data.double(), alpha=1 - m)
    return copies


# --- 4. BYOL's loss ---------------------------------------------------------------------------------------------------


def cases_byol_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE):
        arrays = {}
        for name in ("p1", "p2", "z1", "z2"):
            lengths = torch.tensor([between(g, 0.6, 2.4) for _ in range(n)], dtype=DOUBLE)
            arrays[name] = (F.normalize(normal(g, n, d, dtype=DOUBLE) + 0.3, dim=1) * lengths[:, None]).to(dtype)
        return Case(kind, arrays | ({"cotangent": scalar(between(g, 1.2, 2))} if kind == "gradient" else {}))

    if not hidden:
        return [case("ordinary", 2, 3), case("ordinary", 3, 4, DOUBLE), case("gradient", 2, 3, DOUBLE)]
    n = whole(g, 4, 8)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 3, n, DOUBLE),
        case("ordinary", n, n),
        case("ordinary", n, 2),
        case("gradient", n, 5, DOUBLE),
        case("gradient", 3, n, DOUBLE),
    ]


def _distance(p, z):
    return (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean()


def _both(p1, p2, z1, z2):
    return _distance(p1, z2) + _distance(p2, z1)


def byol_target_learns(p1, p2, z1, z2):
    """The value is right, but a gradient reaches the targets: z is what is to be guessed, detach it."""
    return _both(p1, p2, z1, z2)


def byol_predictions_stopped(p1, p2, z1, z2):
    """The value is right, but the predictions are detached, and the targets are not: the other way round."""
    return _both(p1.detach(), p2.detach(), z1, z2)


def byol_half_stopped(p1, p2, z1, z2):
    """The value is right, but one of the two targets is not detached."""
    return _both(p1, p2, z1, z2.detach())


def byol_without_gradient(p1, p2, z1, z2):
    """No gradient reaches the predictions: detach the targets only."""
    return _both(p1, p2, z1, z2).detach()


def byol_length_without_gradient(p1, p2, z1, z2):
    """The value is right, the gradient is not: the predictions' lengths depend on them as well, do not detach these."""
    p1, p2 = (p / p.detach().norm(dim=1, keepdim=True) for p in (p1, p2))
    z1, z2 = (F.normalize(z.detach(), dim=1) for z in (z1, z2))
    return ((p1 - z2).square() + (p2 - z1).square()).sum(1).mean()


def byol_in_place(p1, p2, z1, z2):
    """The arguments themselves get normalised: p1 /= ... writes into the caller's tensor, p1 = p1 / ... does not."""
    for rows in (p1, p2, z1, z2):
        rows /= rows.detach().norm(dim=1, keepdim=True)
    return _both(p1, p2, z1.detach(), z2.detach())


def byol_not_symmetrised(p1, p2, z1, z2):
    """Only the first view's prediction is compared: add the same for the second."""
    return _distance(p1, z2.detach())


def byol_own_view(p1, p2, z1, z2):
    """Each prediction is compared with its own view's target: it should guess the other view's."""
    return _both(p1, p2, z2.detach(), z1.detach())


def byol_halved(p1, p2, z1, z2):
    """This is half of what is asked for: BYOL adds the two views' parts (SimSiam averages them), and the squared
    distance of two unit vectors is 2 - 2 cos, not 1 - cos."""
    return _both(p1, p2, z1.detach(), z2.detach()) / 2


def byol_not_normalised(p1, p2, z1, z2):
    """The rows are not taken to unit length: only directions are compared."""
    return ((p1 - z2.detach()).square() + (p2 - z1.detach()).square()).sum(1).mean()


def byol_only_predictions_normalised(p1, p2, z1, z2):
    """Only the predictions are taken to unit length: the targets are, too."""
    p1, p2 = F.normalize(p1, dim=1), F.normalize(p2, dim=1)
    return ((p1 - z2.detach()).square() + (p2 - z1.detach()).square()).sum(1).mean()


def byol_columns_normalised(p1, p2, z1, z2):
    """Columns are normalised: a vector is a row, so its length is a sum along dim=1."""
    p1, p2, z1, z2 = (F.normalize(rows, dim=0) for rows in (p1, p2, z1.detach(), z2.detach()))
    return ((p1 - z2).square() + (p2 - z1).square()).sum(1).mean()


def byol_mean_over_all(p1, p2, z1, z2):
    """The squares are averaged over the coordinates as well (as F.mse_loss does): a squared distance is their sum."""
    return _both(p1, p2, z1.detach(), z2.detach()) / p1.shape[1]


def byol_sum(p1, p2, z1, z2):
    """This is the sum over the pictures; the loss is their mean."""
    return _both(p1, p2, z1.detach(), z2.detach()) * len(p1)


def byol_each(p1, p2, z1, z2):
    """These are the losses of all pictures, one by one; asked for is their mean, a single number."""
    p1, p2, z1, z2 = (F.normalize(rows, dim=1) for rows in (p1, p2, z1.detach(), z2.detach()))
    return ((p1 - z2).square() + (p2 - z1).square()).sum(1)


def byol_distance(p1, p2, z1, z2):
    """The distances are not squared: leave out the root."""
    p1, p2, z1, z2 = (F.normalize(rows, dim=1) for rows in (p1, p2, z1.detach(), z2.detach()))
    return ((p1 - z2).norm(dim=1) + (p2 - z1).norm(dim=1)).mean()


def byol_absolute(p1, p2, z1, z2):
    """Absolute values are summed instead of squares."""
    p1, p2, z1, z2 = (F.normalize(rows, dim=1) for rows in (p1, p2, z1.detach(), z2.detach()))
    return ((p1 - z2).abs() + (p2 - z1).abs()).sum(1).mean()


def byol_negative_cosine(p1, p2, z1, z2):
    """This is minus the cosines: the squared distance of two unit vectors is 2 - 2 cos."""
    return _both(p1, p2, z1.detach(), z2.detach()) / 2 - 2


def byol_two_minus_cosine(p1, p2, z1, z2):
    """This is 2 - cos for each: the cosine has a factor of 2 as well."""
    cosines = [F.cosine_similarity(p, z.detach(), dim=1) for p, z in ((p1, z2), (p2, z1))]
    return (4 - cosines[0] - cosines[1]).mean()


def byol_predictions_compared(p1, p2, z1, z2):
    """The two predictions are compared with each other, and the targets have no part in it."""
    return 2 * _distance(p1, p2)


def byol_by_cosines(p1, p2, z1, z2):
    cosines = [F.cosine_similarity(p, z.detach(), dim=1) for p, z in ((p1, z2), (p2, z1))]
    return (4 - 2 * cosines[0] - 2 * cosines[1]).mean()


def byol_together(p1, p2, z1, z2):
    p, z = F.normalize(torch.cat([p1, p2]), dim=1), F.normalize(torch.cat([z2, z1]), dim=1).detach()
    return 2 * F.mse_loss(p, z, reduction="sum") / len(p)


def byol_by_loops(p1, p2, z1, z2):
    total = 0.0
    for p, z in ((p1, z2), (p2, z1)):
        for u, v in zip(p.double(), z.detach().double()):
            total = total + 2 - 2 * u.dot(v) / (u.dot(u) * v.dot(v)).sqrt()
    return total / len(p1)


# --- 5. SimSiam -------------------------------------------------------------------------------------------------------


def cases_simsiam_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(n, inputs, d, dtype=DOUBLE):
        arrays = {"encoder": 0.7 * normal(g, inputs, d, dtype=dtype), "encoder bias": normal(g, d, dtype=dtype)}
        arrays |= {"predictor": normal(g, d, d, dtype=dtype), "predictor bias": normal(g, d, dtype=dtype)}
        view1 = normal(g, n, inputs, dtype=dtype)
        return Case("ordinary", arrays | {"view1": view1, "view2": view1 + 0.8 * normal(g, n, inputs, dtype=dtype)})

    if not hidden:
        return [case(2, 3, 3), case(3, 2, 4), case(3, 3, 2, SINGLE)]
    n = whole(g, 4, 8)
    return [case(n, 5, n + 1), case(n + 2, n, 4), case(n, n, n, SINGLE), case(n + 1, 2, 2)]


def _cosine(p, z):
    return F.cosine_similarity(p, z, dim=1).mean()


def _simsiam(encoder, predictor, view1, view2, target=torch.detach, predict=lambda z: z):
    """The loss with something done to z where it is the target, and where it is the predictor's input."""
    z1, z2 = encoder(view1), encoder(view2)
    return -_cosine(predictor(predict(z1)), target(z2)) / 2 - _cosine(predictor(predict(z2)), target(z1)) / 2


def siam_no_stop(encoder, predictor, view1, view2):
    """The value is right, but nothing is detached: where z is the target, it is to count as a constant."""
    return _simsiam(encoder, predictor, view1, view2, target=lambda z: z)


def siam_prediction_stopped(encoder, predictor, view1, view2):
    """The value is right, but the gradient is stopped on the prediction and flows through the target: the other way
    round."""
    z1, z2 = encoder(view1), encoder(view2)
    return -_cosine(predictor(z1).detach(), z2) / 2 - _cosine(predictor(z2).detach(), z1) / 2


def siam_stopped_before_predictor(encoder, predictor, view1, view2):
    """The value is right, but z is detached before the predictor as well, so that the encoder learns nothing: detach it
    only where it is the target."""
    return _simsiam(encoder, predictor, view1, view2, predict=torch.detach)


def siam_only_predictor_input_stopped(encoder, predictor, view1, view2):
    """The value is right, but z is detached where it goes into the predictor, and not where it is the target: the other
    way round."""
    return _simsiam(encoder, predictor, view1, view2, target=lambda z: z, predict=torch.detach)


def siam_second_not_stopped(encoder, predictor, view1, view2):
    """The value is right, but one of the two targets is not detached."""
    z1, z2 = encoder(view1), encoder(view2)
    return -_cosine(predictor(z1), z2.detach()) / 2 - _cosine(predictor(z2), z1) / 2


def siam_first_not_stopped(encoder, predictor, view1, view2):
    """The value is right, but one of the two targets is not detached."""
    z1, z2 = encoder(view1), encoder(view2)
    return -_cosine(predictor(z1), z2) / 2 - _cosine(predictor(z2), z1.detach()) / 2


def siam_second_view_without_gradient(encoder, predictor, view1, view2):
    """The value is right, but the second view is without gradient in both roles: its prediction needs one."""
    with torch.no_grad():
        z2 = encoder(view2)
    z1 = encoder(view1)
    return -_cosine(predictor(z1), z2) / 2 - _cosine(predictor(z2), z1.detach()) / 2


def siam_without_gradient(encoder, predictor, view1, view2):
    """No gradient comes through at all: detach the targets only."""
    return _simsiam(encoder, predictor, view1, view2).detach()


def siam_not_symmetrised(encoder, predictor, view1, view2):
    """Only the first view's prediction is compared: the same for the second, and the mean of both."""
    return -_cosine(predictor(encoder(view1)), encoder(view2).detach())


def siam_half_only(encoder, predictor, view1, view2):
    """Only the first of the two halves is there."""
    return -_cosine(predictor(encoder(view1)), encoder(view2).detach()) / 2


def siam_not_halved(encoder, predictor, view1, view2):
    """The two halves are added whole: each counts one half."""
    return 2 * _simsiam(encoder, predictor, view1, view2)


def siam_sign(encoder, predictor, view1, view2):
    """The sign is the wrong way round: a low loss should be a high cosine."""
    return -_simsiam(encoder, predictor, view1, view2)


def siam_one_minus_cosine(encoder, predictor, view1, view2):
    """This is 1 - cos; SimSiam's loss is -cos."""
    return 1 + _simsiam(encoder, predictor, view1, view2)


def siam_own_view(encoder, predictor, view1, view2):
    """Each prediction is compared with its own view's z: it should guess the other view's."""
    z1, z2 = encoder(view1), encoder(view2)
    return -_cosine(predictor(z1), z1.detach()) / 2 - _cosine(predictor(z2), z2.detach()) / 2


def siam_no_predictor(encoder, predictor, view1, view2):
    """The predictor is left out: p = predictor(z)."""
    return _simsiam(encoder, lambda z: z, view1, view2)


def siam_predictor_on_both(encoder, predictor, view1, view2):
    """The predictor is applied to the target as well: the target is z, straight from the encoder."""
    return _simsiam(encoder, predictor, view1, view2, target=lambda z: predictor(z).detach())


def siam_not_normalised(encoder, predictor, view1, view2):
    """These are dot products: the cosine divides by both lengths."""
    z1, z2 = encoder(view1), encoder(view2)
    return -((predictor(z1) * z2.detach()).sum(1).mean() + (predictor(z2) * z1.detach()).sum(1).mean()) / 2


def siam_cosine_over_the_batch(encoder, predictor, view1, view2):
    """The cosine is taken along the batch: a vector is a row, dim=1."""
    z1, z2 = encoder(view1), encoder(view2)
    cosines = [F.cosine_similarity(p, z.detach(), dim=0).mean() for p, z in ((predictor(z1), z2), (predictor(z2), z1))]
    return -(cosines[0] + cosines[1]) / 2


def siam_squared_distance(encoder, predictor, view1, view2):
    """This is BYOL's squared distance, 2 - 2 cos; SimSiam's loss is -cos."""
    return 2 + 2 * _simsiam(encoder, predictor, view1, view2)


def siam_sum(encoder, predictor, view1, view2):
    """This is the sum over the pictures; the loss is their mean."""
    return len(view1) * _simsiam(encoder, predictor, view1, view2)


def siam_each(encoder, predictor, view1, view2):
    """These are the losses of all pictures, one by one; asked for is their mean, a single number."""
    z1, z2 = encoder(view1), encoder(view2)
    cosines = [F.cosine_similarity(p, z.detach(), dim=1) for p, z in ((predictor(z1), z2), (predictor(z2), z1))]
    return -(cosines[0] + cosines[1]) / 2


def siam_together(encoder, predictor, view1, view2):
    z = encoder(torch.cat([view1, view2]))
    return -(F.normalize(predictor(z), dim=1) * F.normalize(z.roll(len(view1), 0).detach(), dim=1)).sum() / len(z)


def siam_encoded_twice(encoder, predictor, view1, view2):
    with torch.no_grad():
        z1, z2 = encoder(view1).clone(), encoder(view2).clone()
    return (-_cosine(predictor(encoder(view1)), z2) - _cosine(predictor(encoder(view2)), z1)) / 2


def siam_by_loops(encoder, predictor, view1, view2):
    z1, z2 = encoder(view1), encoder(view2)
    total = 0.0
    for z, other in ((z1, z2), (z2, z1)):
        for p, t in zip(predictor(z).double(), other.detach().double()):
            total = total - p.dot(t) / (p.norm() * t.norm())
    return total / (2 * len(view1))


# --- 6. Barlow Twins --------------------------------------------------------------------------------------------------


def cases_barlow_twins(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, dtype=SINGLE, dead=((), ())):
        first = normal(g, n, d, dtype=DOUBLE)
        views = [first, 0.6 * first + normal(g, n, d, dtype=DOUBLE)]
        for view, columns in zip(views, dead):
            view -= view.mean(0)
            view /= view.std(0, correction=0)  # no feature is nearly dead, so no small number below matters
            view *= torch.tensor([between(g, 0.6, 2) for _ in range(d)], dtype=DOUBLE)
            view += torch.tensor([between(g, 0.5, 2) for _ in range(d)], dtype=DOUBLE)
            view[:, list(columns)] = 0
        arrays = {"z1": views[0].to(dtype), "z2": views[1].to(dtype), "off_diagonal": scalar(between(g, 0.1, 0.4))}
        return Case(kind, arrays | ({"cotangent": scalar(between(g, 1.2, 2))} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 4, 3),
            case("ordinary", 5, 2, DOUBLE),
            case("ordinary", 4, 4),
            case("dead", 4, 3, dead=([1], [])),
            case("dead", 5, 3, dead=([0], [0, 2])),
            case("gradient", 4, 3, DOUBLE),
        ]
    n = whole(g, 6, 9)
    return [
        case("ordinary", n, n - 2),
        case("ordinary", n, n + 2),
        case("ordinary", n, n, DOUBLE),
        case("ordinary", n, 2),
        case("dead", n, 5, dead=([whole(g, 0, 4)], [])),
        case("dead", n + 1, 4, DOUBLE, dead=([], [whole(g, 0, 1), 3])),
        case("dead", n, 4, dead=([2], [2])),
        case("gradient", n, 5, DOUBLE),
        case("gradient", n, n + 1, DOUBLE),
    ]


def _standardised(z):
    z = z - z.mean(0)
    return z / z.square().mean(0).clamp(min=1e-12).sqrt()


def _matrix(z1, z2):
    return _standardised(z1).T @ _standardised(z2) / len(z1)


def _barlow(c, off_diagonal):
    """Matrix and right loss of whatever matrix."""
    off = c.square().sum() - c.diagonal().square().sum()
    return c, (1 - c.diagonal()).square().sum() + off_diagonal * off


def barlow_lambda_on_the_diagonal(z1, z2, off_diagonal):
    """The weight stands before the diagonal's sum: it belongs to the other one."""
    c = _matrix(z1, z2)
    off = c.square().sum() - c.diagonal().square().sum()
    return c, off_diagonal * (1 - c.diagonal()).square().sum() + off


def barlow_lambda_on_both(z1, z2, off_diagonal):
    """The weight stands before both sums: the diagonal's has none."""
    c, loss = _barlow(_matrix(z1, z2), 1.0)
    return c, off_diagonal * loss


def barlow_lambda_left_out(z1, z2, off_diagonal):
    """The weight off_diagonal is left out."""
    return _barlow(_matrix(z1, z2), 1.0)


def barlow_lambda_squared(z1, z2, off_diagonal):
    """The weight is squared along with the entries: square C first, then multiply."""
    return _barlow(_matrix(z1, z2), off_diagonal**2)


def barlow_diagonal_counted(z1, z2, off_diagonal):
    """The diagonal is counted in the second sum as well: that runs over i != j."""
    c = _matrix(z1, z2)
    return c, (1 - c.diagonal()).square().sum() + off_diagonal * c.square().sum()


def barlow_identity_counted(z1, z2, off_diagonal):
    """The diagonal's (1 - C_ii)^2 is counted in the second sum as well: that runs over i != j."""
    c = _matrix(z1, z2)
    difference = (c - torch.eye(len(c), dtype=c.dtype)).square()
    return c, difference.diagonal().sum() + off_diagonal * difference.sum()


def barlow_off_left_out(z1, z2, off_diagonal):
    """The second sum is missing: nothing keeps the features from all saying the same."""
    return _barlow(_matrix(z1, z2), 0.0)


def barlow_diagonal_left_out(z1, z2, off_diagonal):
    """The first sum is missing: dead features would do."""
    c, loss = _barlow(_matrix(z1, z2), off_diagonal)
    return c, loss - (1 - c.diagonal()).square().sum()


def barlow_target_zero(z1, z2, off_diagonal):
    """The diagonal is driven to 0: its target is 1, (1 - C_ii)^2."""
    c = _matrix(z1, z2)
    return c, c.diagonal().square().sum() + off_diagonal * (c.square().sum() - c.diagonal().square().sum())


def barlow_diagonal_not_squared(z1, z2, off_diagonal):
    """The first sum's terms are not squared."""
    c, loss = _barlow(_matrix(z1, z2), off_diagonal)
    return c, loss - (1 - c.diagonal()).square().sum() + (1 - c.diagonal()).sum()


def barlow_off_not_squared(z1, z2, off_diagonal):
    """The second sum's terms are not squared: positive and negative correlations would cancel."""
    c = _matrix(z1, z2)
    return c, (1 - c.diagonal()).square().sum() + off_diagonal * (c.sum() - c.diagonal().sum())


def barlow_off_absolute(z1, z2, off_diagonal):
    """The second sum is that of absolute values; asked for are squares."""
    c = _matrix(z1, z2)
    return c, (1 - c.diagonal()).square().sum() + off_diagonal * (c.abs().sum() - c.diagonal().abs().sum())


def barlow_means(z1, z2, off_diagonal):
    """Both sums are means here: the loss sums over features."""
    c = _matrix(z1, z2)
    d = len(c)
    off = (c.square().sum() - c.diagonal().square().sum()) / max(1, d * d - d)
    return c, (1 - c.diagonal()).square().mean() + off_diagonal * off


def barlow_divided_by_d(z1, z2, off_diagonal):
    """The loss is divided by the number of features: it is a sum over them."""
    c, loss = _barlow(_matrix(z1, z2), off_diagonal)
    return c, loss / len(c)


def barlow_upper_half(z1, z2, off_diagonal):
    """Only one of the two triangles is summed: C is not symmetric, and the sum runs over all i != j."""
    c = _matrix(z1, z2)
    return c, (1 - c.diagonal()).square().sum() + off_diagonal * c.triu(1).square().sum()


def barlow_in_place(z1, z2, off_diagonal):
    """The arguments themselves get centred: z1 -= ... writes into the caller's tensor, z1 = z1 - ... does not."""
    z1 -= z1.mean(0).detach()
    z2 -= z2.mean(0).detach()
    return _barlow(_matrix(z1, z2), off_diagonal)


def barlow_nan_for_dead(z1, z2, off_diagonal):
    """A dead feature's standard deviation is 0, and 0 / 0 is NaN: keep what you divide by above some tiny number."""
    z1, z2 = ((z - z.mean(0)) / z.std(0, correction=0) for z in (z1, z2))
    return _barlow(z1.T @ z2 / len(z1), off_diagonal)


def barlow_one_for_dead(z1, z2, off_diagonal):
    """A dead feature comes out with correlation 1; it correlates with nothing, so 0 is asked for."""
    z1, z2 = ((z - z.mean(0)) / z.std(0, correction=0) for z in (z1, z2))
    return _barlow((z1.T @ z2 / len(z1)).nan_to_num(nan=1.0), off_diagonal)


def barlow_spread_without_gradient(z1, z2, off_diagonal):
    """The values are right, the gradient is not: mean and deviation depend on z as well, do not detach them."""
    z1, z2 = ((z - z.mean(0)) / z.std(0, correction=0).clamp(min=1e-6).detach() for z in (z1, z2))
    return _barlow(z1.T @ z2 / len(z1), off_diagonal)


def barlow_second_stopped(z1, z2, off_diagonal):
    """The values are right, but one view is detached: Barlow Twins stops no gradient."""
    return _barlow(_matrix(z1, z2.detach()), off_diagonal)


def barlow_without_gradient(z1, z2, off_diagonal):
    """No gradient comes through: somewhere there is a detach(), a no_grad() or a new tensor made from numbers."""
    return _barlow(_matrix(z1.detach(), z2.detach()), off_diagonal)


def barlow_sample_deviation(z1, z2, off_diagonal):
    """The standard deviation divides by N - 1 (torch's does), the matrix by N, and no correlation gets to 1: std with
    correction=0."""
    n = len(z1)
    return _barlow(_matrix(z1, z2) * (n - 1) / n, off_diagonal)


def barlow_covariance_over_less(z1, z2, off_diagonal):
    """The matrix is divided by N - 1, the standard deviations by N: correlations beyond 1."""
    n = len(z1)
    return _barlow(_matrix(z1, z2) * n / (n - 1), off_diagonal)


def barlow_along_features(z1, z2, off_diagonal):
    """Each row is standardised, over its features: each column should be, over the batch, dim=0."""
    z1, z2 = ((z - z.mean(1, keepdim=True)) / z.std(1, correction=0, keepdim=True).clamp(min=1e-6) for z in (z1, z2))
    return _barlow(z1.T @ z2 / len(z1), off_diagonal)


def barlow_unit_rows(z1, z2, off_diagonal):
    """Rows are taken to unit length, as contrastive losses do: here columns are standardised."""
    return _barlow(F.normalize(z1, dim=1).T @ F.normalize(z2, dim=1) / len(z1), off_diagonal)


def barlow_not_centred(z1, z2, off_diagonal):
    """The mean over the batch is not subtracted: columns are only divided by their length."""
    return _barlow(F.normalize(z1, dim=0).T @ F.normalize(z2, dim=0), off_diagonal)


def barlow_covariance(z1, z2, off_diagonal):
    """This is the covariance: divide by both standard deviations."""
    return _barlow((z1 - z1.mean(0)).T @ (z2 - z2.mean(0)) / len(z1), off_diagonal)


def barlow_variance(z1, z2, off_diagonal):
    """Columns are divided by their variance: the square root is missing."""
    z1, z2 = ((z - z.mean(0)) / z.var(0, correction=0).clamp(min=1e-6) for z in (z1, z2))
    return _barlow(z1.T @ z2 / len(z1), off_diagonal)


def barlow_not_averaged(z1, z2, off_diagonal):
    """The matrix product sums over the batch: divide by N."""
    return _barlow(_matrix(z1, z2) * len(z1), off_diagonal)


def barlow_divided_by_features(z1, z2, off_diagonal):
    """The matrix is divided by the number of features D: divide by the number of rows N."""
    return _barlow(_matrix(z1, z2) * len(z1) / z1.shape[1], off_diagonal)


def barlow_transposed(z1, z2, off_diagonal):
    """This is the transpose of what is asked for: z1's features belong along the first dimension."""
    return _barlow(_matrix(z2, z1), off_diagonal)


def barlow_pictures_compared(z1, z2, off_diagonal):
    """Pictures are compared with pictures, an (N, N) matrix: features with features is z1.T @ z2."""
    z1, z2 = _standardised(z1), _standardised(z2)
    return _barlow(z1 @ z2.T / len(z1), off_diagonal)


def barlow_one_view(z1, z2, off_diagonal):
    """The first view is correlated with itself: the second has no part in it."""
    return _barlow(_matrix(z1, z1), off_diagonal)


def barlow_shared_statistics(z1, z2, off_diagonal):
    """Mean and deviation are those of both views together: each view has its own."""
    n = len(z1)
    z = _standardised(torch.cat([z1, z2]))
    return _barlow(z[:n].T @ z[n:] / n, off_diagonal)


def barlow_one_deviation(z1, z2, off_diagonal):
    """All features are divided by one deviation: std() without dim= is over all entries."""
    z1, z2 = ((z - z.mean(0)) / z.std(correction=0) for z in (z1, z2))
    return _barlow(z1.T @ z2 / len(z1), off_diagonal)


def barlow_loss_only(z1, z2, off_diagonal):
    """Only the loss comes back: asked for are two things, the matrix and the loss."""
    return _barlow(_matrix(z1, z2), off_diagonal)[1]


def barlow_by_batch_norm(z1, z2, off_diagonal):
    z1, z2 = (F.batch_norm(z, None, None, training=True, eps=1e-8) for z in (z1, z2))
    c = torch.einsum("ni,nj->ij", z1, z2) / len(z1)
    weight = off_diagonal + (1 - off_diagonal) * torch.eye(len(c), dtype=c.dtype)
    return c, (weight * (c - torch.eye(len(c), dtype=c.dtype)).square()).sum()


def barlow_over_less_in_both(z1, z2, off_diagonal):
    """N - 1 in the covariance and in both deviations: it cancels."""
    n = len(z1)
    z1, z2 = ((z - z.mean(0)) / (z.var(0) + 1e-12).sqrt() for z in (z1, z2))
    c = z1.T @ z2 / (n - 1)
    itself = torch.eye(len(c), dtype=torch.bool)
    return [c, ((c[itself] - 1) ** 2).sum() + off_diagonal * c[~itself].pow(2).sum()]


def barlow_by_loops(z1, z2, off_diagonal):
    d, rows, loss = z1.shape[1], [], 0.0
    for i in range(d):
        a = z1[:, i].double() - z1[:, i].double().mean()
        row = []
        for j in range(d):
            b = z2[:, j].double() - z2[:, j].double().mean()
            row.append(a.dot(b) / (a.norm() * b.norm()).clamp(min=1e-9))
            loss = loss + ((1 - row[-1]) ** 2 if i == j else off_diagonal * row[-1] ** 2)
        rows.append(torch.stack(row))
    return torch.stack(rows), loss


# --- 7. all pairs of crops --------------------------------------------------------------------------------------------


def cases_multicrop_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, v, large, n, k, dtype=SINGLE, sure=""):
        student, teacher = normal(g, v, n, k, dtype=dtype), 0.7 * normal(g, large, n, k, dtype=dtype)
        tau_s, tau_t = between(g, 0.6, 0.9), between(g, 0.25, 0.4)
        if sure == "teacher":
            tau_t, teacher = 0.01, 5 * teacher
            teacher[:, 0, 0], teacher[:, 0, 1] = 9, -9
        if sure == "student":
            tau_s, student = 0.01, 5 * student
            student[:, 0, 0], student[:, 0, 1] = -9, 9
        arrays = {"student": student, "teacher": teacher, "tau_s": scalar(tau_s), "tau_t": scalar(tau_t)}
        return Case(kind, arrays | ({"cotangent": scalar(between(g, 1.2, 2))} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3, 2, 2, 4),
            case("ordinary", 2, 2, 3, 3, DOUBLE),
            case("ordinary", 4, 2, 3, 2),
            case("extreme", 3, 2, 2, 3, sure="teacher"),
            case("extreme", 3, 2, 2, 4, sure="student"),
            case("gradient", 3, 2, 2, 3, DOUBLE),
        ]
    n, v = whole(g, 4, 6), whole(g, 5, 7)
    return [
        case("ordinary", v, 2, n, n + 3),
        case("ordinary", v, 3, n + 1, 4, DOUBLE),
        case("ordinary", 2, 2, n, n),
        case("ordinary", 4, 1, 3, n),
        case("ordinary", 3, 3, n, 5, DOUBLE),
        case("extreme", v, 2, n, 5, sure="teacher"),
        case("extreme", 4, 3, 2, n, DOUBLE, sure="teacher"),
        case("extreme", v, 2, n, 4, sure="student"),
        case("gradient", v, 2, 3, n, DOUBLE),
        case("gradient", 4, 3, n, 3, DOUBLE),
    ]


def _targets(teacher, tau):
    return (teacher.detach() / tau).softmax(-1)


def _pairs(target, log_p):
    """(G, V) cross-entropies, averaged over the pictures, of (G, N, K) with (V, N, K)."""
    return -torch.einsum("gnk,vnk->gv", target, log_p) / log_p.shape[1]


def _others(pairs):
    """The mean of the entries with i != j."""
    keep = ~torch.eye(*pairs.shape, dtype=torch.bool)
    return pairs[keep].mean()


def crops_teacher_learns(student, teacher, tau_s, tau_t):
    """The value is right, but a gradient reaches the teacher: detach its outputs."""
    return _others(_pairs((teacher / tau_t).softmax(-1), (student / tau_s).log_softmax(-1)))


def crops_student_stopped(student, teacher, tau_s, tau_t):
    """The value is right, but the student is detached, and the teacher is not: the other way round."""
    return _others(_pairs((teacher / tau_t).softmax(-1), (student.detach() / tau_s).log_softmax(-1)))


def crops_without_gradient(student, teacher, tau_s, tau_t):
    """No gradient reaches the student: detach the teacher only."""
    return _others(_pairs(_targets(teacher, tau_t), (student.detach() / tau_s).log_softmax(-1)))


def crops_denominator_without_gradient(student, teacher, tau_s, tau_t):
    """The value is right, the gradient is not: the softmax's denominator depends on the student as well."""
    scores = student / tau_s
    log_p = scores - scores.logsumexp(-1, keepdim=True).detach()
    return _others(_pairs(_targets(teacher, tau_t), log_p))


def crops_in_place(student, teacher, tau_s, tau_t):
    """The arguments themselves get divided: student /= ... writes into the caller's tensor, student / ... does not."""
    student /= tau_s
    return _others(_pairs(_targets(teacher, tau_t), student.log_softmax(-1)))


def crops_log_of_softmax(student, teacher, tau_s, tau_t):
    """Right at ordinary temperatures, but a softmax that underflows to 0 has log -inf: use log_softmax."""
    target, p = _targets(teacher, tau_t)[:, None], (student / tau_s).softmax(-1)
    return _others(-(target * p.log()).sum(-1).mean(-1))


def crops_epsilon(student, teacher, tau_s, tau_t):
    """A small number inside the logarithm hides how wrong a very sure student is: use log_softmax."""
    return _others(_pairs(_targets(teacher, tau_t), ((student / tau_s).softmax(-1) + 1e-8).log()))


def crops_overflow(student, teacher, tau_s, tau_t):
    """Right at ordinary temperatures, but exp of a large number is inf, and inf / inf is NaN: use softmax."""
    e = (teacher.detach() / tau_t).exp()
    return _others(_pairs(e / e.sum(-1, keepdim=True), (student / tau_s).log_softmax(-1)))


def crops_itself_kept(student, teacher, tau_s, tau_t):
    """The pairs with i = j are in: what the teacher says of the very same crop is to be left out."""
    return _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1)).mean()


def crops_itself_kept_in_sum(student, teacher, tau_s, tau_t):
    """The pairs with i = j are in the sum, and not in what it is divided by: leave them out of both."""
    pairs = _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))
    return pairs.sum() / (pairs.numel() - len(pairs))


def crops_itself_counted(student, teacher, tau_s, tau_t):
    """The pairs with i = j are left out of the sum, but counted in what it is divided by: there are G (V - 1) pairs."""
    pairs = _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))
    return (pairs.sum() - pairs.diagonal().sum()) / pairs.numel()


def crops_divided_by_unordered(student, teacher, tau_s, tau_t):
    """Each i was excluded with only one pair less in all: there are G (V - 1) pairs, not G V - 1."""
    pairs = _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - 1)


def crops_sum_of_pairs(student, teacher, tau_s, tau_t):
    """This is the sum over the pairs: divide by their number, G (V - 1)."""
    pairs = _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))
    return pairs.sum() - pairs.diagonal().sum()


def crops_sum_of_pictures(student, teacher, tau_s, tau_t):
    """This is the sum over the pictures: divide by their number N."""
    return _others(_pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))) * student.shape[1]


def crops_mean_over_prototypes(student, teacher, tau_s, tau_t):
    """The cross-entropy is averaged over the K prototypes: it is a sum over them."""
    return _others(_pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))) / student.shape[2]


def crops_earlier_left_out(student, teacher, tau_s, tau_t):
    """Only pairs with i < j are taken: teacher and student play different roles, so (2, 1) counts beside (1, 2)."""
    pairs = _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))
    return pairs[torch.ones_like(pairs).triu(1).bool()].mean()


def crops_large_only(student, teacher, tau_s, tau_t):
    """The student's small crops are left out: it sees all V."""
    some = student[: max(2, len(teacher))]
    return _others(_pairs(_targets(teacher, tau_t), (some / tau_s).log_softmax(-1)))


def crops_first_teacher_only(student, teacher, tau_s, tau_t):
    """Only the teacher's first crop is taken: all G are."""
    return _others(_pairs(_targets(teacher[:1], tau_t), (student / tau_s).log_softmax(-1)))


def crops_last_left_out(student, teacher, tau_s, tau_t):
    """For each i the student's last crop is left out: it is the crop j = i that is to be left out."""
    return _pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1))[:, :-1].mean()


def crops_student_temperature_for_both(student, teacher, tau_s, tau_t):
    """The student's temperature is used for both: the teacher has its own, lower one."""
    return _others(_pairs(_targets(teacher, tau_s), (student / tau_s).log_softmax(-1)))


def crops_teacher_temperature_for_both(student, teacher, tau_s, tau_t):
    """The teacher's temperature is used for both: the student has its own, higher one."""
    return _others(_pairs(_targets(teacher, tau_t), (student / tau_t).log_softmax(-1)))


def crops_temperatures_swapped(student, teacher, tau_s, tau_t):
    """The temperatures are swapped: tau_s is the student's, tau_t the teacher's."""
    return _others(_pairs(_targets(teacher, tau_s), (student / tau_t).log_softmax(-1)))


def crops_no_temperature(student, teacher, tau_s, tau_t):
    """The temperatures are left out."""
    return _others(_pairs(_targets(teacher, 1.0), student.log_softmax(-1)))


def crops_times_temperature(student, teacher, tau_s, tau_t):
    """The outputs are multiplied by the temperatures: divide."""
    return _others(_pairs(_targets(teacher, 1 / tau_t), (student * tau_s).log_softmax(-1)))


def crops_over_the_batch(student, teacher, tau_s, tau_t):
    """The softmax runs over the pictures: it belongs to the prototypes, the last dimension."""
    return _others(_pairs((teacher.detach() / tau_t).softmax(1), (student / tau_s).log_softmax(1)))


def crops_over_the_crops(student, teacher, tau_s, tau_t):
    """The softmax runs over the crops, dimension 0: it belongs to the prototypes, the last dimension."""
    return _others(_pairs((teacher.detach() / tau_t).softmax(0), (student / tau_s).log_softmax(0)))


def crops_sides_swapped(student, teacher, tau_s, tau_t):
    """The average is over the student's probabilities, of the teacher's logarithms: the other way round."""
    log_q, p = (teacher.detach() / tau_t).log_softmax(-1), (student / tau_s).softmax(-1)
    return _others(_pairs(log_q, p))


def crops_divergence(student, teacher, tau_s, tau_t):
    """This is the KL divergence: the teacher's entropy is subtracted. DINO's loss is the cross-entropy."""
    target, log_p = _targets(teacher, tau_t), (student / tau_s).log_softmax(-1)
    negative_entropy = torch.xlogy(target, target).sum(-1).mean(-1, keepdim=True)
    return _others(_pairs(target, log_p) + negative_entropy)


def crops_no_logarithm(student, teacher, tau_s, tau_t):
    """The logarithm is missing: this multiplies probabilities with probabilities."""
    return _others(_pairs(_targets(teacher, tau_t), (student / tau_s).softmax(-1)))


def crops_sign(student, teacher, tau_s, tau_t):
    """The sign is the wrong way round: log of a probability is negative, the loss is minus that."""
    return -_others(_pairs(_targets(teacher, tau_t), (student / tau_s).log_softmax(-1)))


def crops_hard_targets(student, teacher, tau_s, tau_t):
    """The teacher's largest output is taken as a label: its probabilities are the targets."""
    target = F.one_hot(teacher.argmax(-1), teacher.shape[-1]).to(student.dtype)
    return _others(_pairs(target, (student / tau_s).log_softmax(-1)))


def crops_by_loops(student, teacher, tau_s, tau_t):
    total, pairs = 0.0, 0
    for i, t in enumerate(teacher):
        q = torch.softmax(t / tau_t, dim=-1).detach()
        for j, s in enumerate(student):
            if i != j:
                total = total - (q * F.log_softmax(s / tau_s, dim=-1)).sum(dim=-1).mean()
                pairs += 1
    return total / pairs


def crops_by_masks(student, teacher, tau_s, tau_t):
    with torch.no_grad():
        target = (teacher / tau_t).softmax(2)
    scores = student / tau_s
    mine = torch.arange(len(teacher))[:, None] == torch.arange(len(student))
    dots = (target[:, None] * scores[None]).sum(3)  # (G, V, N)
    each = scores.logsumexp(2)[None] - dots
    return each.masked_fill(mine[:, :, None], 0).sum() / (~mine).sum() / student.shape[1]


def crops_by_sums_of_teachers(student, teacher, tau_s, tau_t):
    """For each crop of the student the sum of all other teachers' targets."""
    target = (teacher.detach() / tau_t).softmax(-1)
    total = 0.0
    for j, s in enumerate(student):
        wanted = target.sum(0) - (target[j] if j < len(target) else 0)
        total = total - (wanted * (s / tau_s).log_softmax(-1)).sum()
    return total / (len(teacher) * (len(student) - 1) * student.shape[1])


# --- 8. centring and sharpening ---------------------------------------------------------------------------------------


def cases_centre_and_sharpen(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(m, k, dtype=SINGLE):
        outputs, centre = normal(g, m, k, dtype=dtype) + normal(g, k, dtype=dtype), 1.5 * normal(g, k, dtype=dtype)
        arrays = {"outputs": outputs, "centre": centre, "temperature": scalar(between(g, 0.3, 0.6))}
        return Case("ordinary", arrays | {"momentum": scalar(between(g, 0.65, 0.85))})

    if not hidden:
        return [case(2, 3), case(3, 4, DOUBLE), case(3, 3)]
    n = whole(g, 5, 9)
    return [case(n, n + 2), case(n + 2, n, DOUBLE), case(n, n), case(2 * n, 2)]


def _said(outputs, centre, temperature):
    return ((outputs.detach() - centre) / temperature).softmax(1)


def _next(outputs, centre, momentum):
    return momentum * centre + (1 - momentum) * outputs.detach().mean(0)


def centre_of_centred(outputs, centre, temperature, momentum):
    """The new centre averages the centred outputs: it wants the mean of the outputs as they came. (After
    outputs -= centre there are no others left.)"""
    return _said(outputs, centre, temperature), _next(outputs - centre, centre, momentum)


def centre_of_sharpened(outputs, centre, temperature, momentum):
    """The new centre averages outputs that were divided by the temperature: it wants them as they came."""
    return _said(outputs, centre, temperature), _next(outputs / temperature, centre, momentum)


def centre_of_probabilities(outputs, centre, temperature, momentum):
    """The new centre averages the probabilities: it wants the mean of the outputs, before the softmax."""
    said = _said(outputs, centre, temperature)
    return said, _next(said, centre, momentum)


def centre_replaced(outputs, centre, temperature, momentum):
    """The centre is replaced by the batch's mean: it is a moving average, and keeps the share `momentum` of itself."""
    return _said(outputs, centre, temperature), outputs.detach().mean(0)


def centre_kept(outputs, centre, temperature, momentum):
    """The centre stays what it was."""
    return _said(outputs, centre, temperature), centre.clone()


def centre_momentum_swapped(outputs, centre, temperature, momentum):
    """The weights are swapped: the centre keeps the share `momentum` of itself, and takes the rest of the mean."""
    return _said(outputs, centre, temperature), _next(outputs, centre, 1 - momentum)


def centre_mean_not_weighted(outputs, centre, temperature, momentum):
    """The mean is added whole: its weight is 1 - momentum."""
    return _said(outputs, centre, temperature), momentum * centre + outputs.detach().mean(0)


def centre_sum(outputs, centre, temperature, momentum):
    """The outputs are summed over the crops: the centre wants their mean."""
    return _said(outputs, centre, temperature), _next(outputs * len(outputs), centre, momentum)


def centre_one_mean(outputs, centre, temperature, momentum):
    """The mean is over all entries: outputs.mean() without dim=. Each prototype has a mean of its own."""
    return _said(outputs, centre, temperature), momentum * centre + (1 - momentum) * outputs.detach().mean()


def centre_in_place(outputs, centre, temperature, momentum):
    """The given centre itself is changed: new tensors are asked for."""
    said = _said(outputs, centre, temperature)
    return said, centre.mul_(momentum).add_((1 - momentum) * outputs.detach().mean(0))


def centre_gradient_in_both(outputs, centre, temperature, momentum):
    """Both results keep a gradient, and the centre would hold on to every batch since the beginning: detach the
    outputs."""
    said = ((outputs - centre) / temperature).softmax(1)
    return said, momentum * centre + (1 - momentum) * outputs.mean(0)


def centre_added(outputs, centre, temperature, momentum):
    """The centre is added: it is to be subtracted."""
    return _said(outputs, -centre, temperature), _next(outputs, centre, momentum)


def centre_not_subtracted(outputs, centre, temperature, momentum):
    """The centre is not subtracted from the outputs."""
    return _said(outputs, 0, temperature), _next(outputs, centre, momentum)


def centre_new_used(outputs, centre, temperature, momentum):
    """The new centre is subtracted already: it is for the next batch, this one gets the given centre."""
    new = _next(outputs, centre, momentum)
    return _said(outputs, new, temperature), new


def centre_mean_subtracted(outputs, centre, temperature, momentum):
    """The batch's own mean is subtracted: it should be the given centre."""
    return _said(outputs, outputs.detach().mean(0), temperature), _next(outputs, centre, momentum)


def centre_after_sharpening(outputs, centre, temperature, momentum):
    """The centre is subtracted after the division by the temperature: centre first, then sharpen."""
    return _said(outputs, temperature * centre, temperature), _next(outputs, centre, momentum)


def centre_after_softmax(outputs, centre, temperature, momentum):
    """The centre is subtracted from the probabilities, which then may be negative: subtract it from the outputs."""
    return _said(outputs, 0, temperature) - centre, _next(outputs, centre, momentum)


def centre_no_sharpening(outputs, centre, temperature, momentum):
    """The temperature is left out: there is no sharpening."""
    return _said(outputs, centre, 1.0), _next(outputs, centre, momentum)


def centre_times_temperature(outputs, centre, temperature, momentum):
    """The outputs are multiplied by the temperature: a low one would flatten. Divide."""
    return _said(outputs, centre, 1 / temperature), _next(outputs, centre, momentum)


def centre_over_the_batch(outputs, centre, temperature, momentum):
    """The softmax runs down the columns, over the crops: each row should sum to 1, so dim=1."""
    said = ((outputs.detach() - centre) / temperature).softmax(0)
    return said, _next(outputs, centre, momentum)


def centre_logarithm(outputs, centre, temperature, momentum):
    """These are log probabilities; asked for are the probabilities."""
    return _said(outputs, centre, temperature).log(), _next(outputs, centre, momentum)


def centre_results_swapped(outputs, centre, temperature, momentum):
    """The two results are swapped: probabilities first, then the new centre."""
    return _next(outputs, centre, momentum), _said(outputs, centre, temperature)


def centre_only_probabilities(outputs, centre, temperature, momentum):
    """Only the probabilities come back: the new centre is the second result."""
    return _said(outputs, centre, temperature)


def centre_by_lerp(outputs, centre, temperature, momentum):
    with torch.no_grad():
        scores = outputs / temperature - centre / temperature
        new = torch.lerp(centre, outputs.sum(0) / len(outputs), 1 - momentum)
        return (scores - scores.logsumexp(1, keepdim=True)).exp(), new


def centre_by_loops(outputs, centre, temperature, momentum):
    said, mean = [], torch.zeros_like(centre)
    for row in outputs.detach():
        e = ((row - centre) / temperature).double().exp()
        said.append(e / e.sum())
        mean = mean + row / len(outputs)
    return torch.stack(said), centre + (1 - momentum) * (mean - centre)


# --- 9. numbers to know by heart --------------------------------------------------------------------------------------


def cases_numbers_by_heart(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(prototypes, large, small, share):
        arrays = {"prototypes": prototypes, "large": large, "small": small}
        arrays = {name: torch.tensor(numbers) for name, numbers in arrays.items()}
        return Case("ordinary", arrays | {"share": torch.tensor(share, dtype=DOUBLE)})

    if not hidden:
        return [case([8, 64], [2, 3], [6, 4], [0.25, 0.19])]
    questions = whole(g, 3, 5)
    wholes = [[whole(g, *ends) for _ in range(questions)] for ends in ((5, 2000), (2, 5), (3, 10))]
    return [case(*wholes, [between(g, 0.1, 0.4) for _ in range(questions)]), case([5], [2], [0], [0.3])]


def _numbers(prototypes, large, small, share):
    log_k = math.log(prototypes)
    return {"a": 0.0, "b": log_k, "c": 0.0, "d": log_k, "e": large * (large + small - 1),
            "f": 2 * large + small * share}  # fmt: skip


def _but(numbers, **others):
    return tuple((numbers | others).values())


def numbers_copied_log(prototypes, large, small, share):
    """c is 0: the student says with probability 1 what the teacher says, and log 1 is 0. The loss is lowest of all, and
    nothing has been learnt."""
    numbers = _numbers(prototypes, large, small, share)
    return _but(numbers, c=numbers["b"])


def numbers_undecided_zero(prototypes, large, small, share):
    """d is log K: whichever prototype the teacher names, the student gives it 1 / K, and -log(1 / K) = log K."""
    return _but(_numbers(prototypes, large, small, share), d=0.0)


def numbers_undecided_infinite(prototypes, large, small, share):
    """d is finite: the student gives each prototype 1 / K, and -log(1 / K) = log K."""
    return _but(_numbers(prototypes, large, small, share), d=math.inf)


def numbers_undecided_probability(prototypes, large, small, share):
    """d is a loss: minus the log of the student's 1 / K."""
    return _but(_numbers(prototypes, large, small, share), d=1 / prototypes)


def numbers_undecided_twice(prototypes, large, small, share):
    """d is log K: the teacher is sure, and adds no entropy of its own."""
    numbers = _numbers(prototypes, large, small, share)
    return _but(numbers, d=2 * numbers["b"])


def numbers_losses_swapped(prototypes, large, small, share):
    """c and d are swapped: who agrees pays nothing, who is undecided pays log K."""
    numbers = _numbers(prototypes, large, small, share)
    return _but(numbers, c=numbers["d"], d=0.0)


def numbers_itself_kept(prototypes, large, small, share):
    """e counts the pairs of a crop with itself: each of the G large ones is compared with the V - 1 other crops."""
    return _but(_numbers(prototypes, large, small, share), e=large * (large + small))


def numbers_teacher_sees_all(prototypes, large, small, share):
    """e lets the teacher see all crops: it sees the large ones only."""
    crops = large + small
    return _but(_numbers(prototypes, large, small, share), e=crops * (crops - 1))


def numbers_unordered(prototypes, large, small, share):
    """e counts each pair of large crops once: teacher and student play different roles, so both orders count."""
    return _but(_numbers(prototypes, large, small, share), e=large * (large - 1) // 2 + large * small)


def numbers_small_only(prototypes, large, small, share):
    """e leaves out the large crops that the student sees: it sees all."""
    return _but(_numbers(prototypes, large, small, share), e=large * small)


def numbers_large_only(prototypes, large, small, share):
    """e leaves out the small crops: the student sees all."""
    return _but(_numbers(prototypes, large, small, share), e=large * (large - 1))


def numbers_one_less(prototypes, large, small, share):
    """e takes away one pair only: each of the G large crops has one with itself."""
    return _but(_numbers(prototypes, large, small, share), e=large * (large + small) - 1)


def numbers_teacher_free(prototypes, large, small, share):
    """f forgets the teacher: it looks at the G large crops as well."""
    return _but(_numbers(prototypes, large, small, share), f=large + small * share)


def numbers_small_as_dear(prototypes, large, small, share):
    """f counts a small crop like a large one: its cost is the share a."""
    return _but(_numbers(prototypes, large, small, share), f=2 * large + small)


def numbers_teacher_pays_for_all(prototypes, large, small, share):
    """f lets the teacher look at the small crops: it sees the large ones only."""
    return _but(_numbers(prototypes, large, small, share), f=2 * (large + small * share))


def numbers_share_squared(prototypes, large, small, share):
    """f squares the share: a is that of the area already."""
    return _but(_numbers(prototypes, large, small, share), f=2 * large + small * share**2)


def numbers_share_of_side(prototypes, large, small, share):
    """f takes the root of the share, the ratio of the sides: the cost goes with the area."""
    return _but(_numbers(prototypes, large, small, share), f=2 * large + small * share**0.5)


def numbers_each_pair_paid(prototypes, large, small, share):
    """f pays for every pair: each crop passes through a network once, and is compared many times."""
    numbers = _numbers(prototypes, large, small, share)
    return _but(numbers, f=2 * large * (large - 1) + large * small * (1 + share))


def numbers_entropies_swapped(prototypes, large, small, share):
    """a and b are swapped: where one prototype is certain the entropy is 0, where all are equal it is largest."""
    numbers = _numbers(prototypes, large, small, share)
    return _but(numbers, a=numbers["b"], b=0.0)


def numbers_in_bits(prototypes, large, small, share):
    """These are bits: asked for are nats, with the natural logarithm."""
    return _but(_numbers(prototypes, large, small, share), b=math.log2(prototypes), d=math.log2(prototypes))


def numbers_uniform_share(prototypes, large, small, share):
    """b is an entropy, not a probability: -sum_k P_k log P_k with K equal terms."""
    return _but(_numbers(prototypes, large, small, share), b=1 / prototypes)


def numbers_uniform_one_term(prototypes, large, small, share):
    """b is one term of the sum, log(K) / K: there are K of them."""
    return _but(_numbers(prototypes, large, small, share), b=math.log(prototypes) / prototypes)


def numbers_uniform_negative(prototypes, large, small, share):
    """The sign is missing in b: an entropy is not negative."""
    return _but(_numbers(prototypes, large, small, share), b=-math.log(prototypes))


def numbers_one_wins_one(prototypes, large, small, share):
    """a is an entropy, not the winner's probability: 1 log 1 = 0."""
    return _but(_numbers(prototypes, large, small, share), a=1.0)


def numbers_uniform_one_less(prototypes, large, small, share):
    """b is log K, with all K prototypes: none of them is left out."""
    return _but(_numbers(prototypes, large, small, share), b=math.log(prototypes - 1))


def numbers_by_torch(prototypes, large, small, share):
    even, sure = torch.full((prototypes,), 1 / prototypes), torch.eye(prototypes)[0]

    def entropy(p, q):
        return -torch.xlogy(p, q).sum()

    views = large + small
    pairs = sum(i != j for i in range(large) for j in range(views))
    cost = sum(2.0 if j < large else share for j in range(views))
    return [entropy(sure, sure), entropy(even, even), entropy(sure, sure), entropy(sure, even), pairs, cost]


def numbers_rearranged(prototypes, large, small, share):
    log_k = -math.log(1 / prototypes)
    return 0, log_k, 0, log_k, large * (large - 1) + large * small, large * (2 + share * small / large)


# --- the sheet --------------------------------------------------------------------------------------------------------

VALUES = "gives the right values"

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "soft_targets",
        (
            Property(VALUES, 2),
            Property("leaves its argument alone", 1, outputs=("unchanged",)),
            Property("stays right for large logits", 1, "extreme"),
            gradient(1),
        ),
        cases_soft_targets,
        mutants=(
            soft_overflow,
            soft_global_maximum,
            soft_in_place,
            soft_without_gradient,
            soft_denominator_without_gradient,
            soft_over_the_batch,
            soft_over_all,
            soft_times_temperature,
            soft_no_temperature,
            soft_divided_after,
            soft_temperature_twice,
            soft_softmax_twice,
            soft_logarithm,
            soft_one_hot,
            soft_sigmoid,
            soft_sign,
            soft_no_exponential,
        ),
        alternatives=(soft_by_logsumexp, soft_by_loops, soft_by_differences),
        hides=(
            "course_lib.distillation.knowledge:soft_targets",
            "course_lib.distillation.knowledge:distillation_loss",
        ),
    ),
    Master(
        "distillation_loss",
        (
            Property(VALUES, 3),
            UNCHANGED,
            Property("stays right for very sure networks", 1, "extreme"),
            gradient(2, "has the right gradient, for the student only"),
        ),
        cases_distillation_loss,
        mutants=(
            distill_zero_times_infinity,
            distill_log_of_softmax,
            distill_epsilon,
            distill_in_place,
            distill_teacher_learns,
            distill_student_stopped,
            distill_without_gradient,
            distill_no_factor,
            distill_factor_not_squared,
            distill_factor_divides,
            distill_factor_for_both,
            distill_weights_swapped,
            distill_hard_not_weighted,
            distill_hard_left_out,
            distill_hard_at_temperature,
            distill_hard_of_probabilities,
            distill_cross_entropy,
            distill_reversed,
            distill_student_without_temperature,
            distill_teacher_without_temperature,
            distill_no_temperature,
            distill_over_the_batch,
            distill_mean_over_all,
            distill_sum,
            distill_log_p_not_taken,
            distill_hard_teacher,
        ),
        alternatives=(distill_by_kl_div, distill_by_entropies, distill_by_loops),
        hides=(
            "course_lib.distillation.knowledge:soft_targets",
            "course_lib.distillation.knowledge:distillation_loss",
            "course_lib.distillation.knowledge:KnowledgeDistillation",
        ),
    ),
    Master(
        "ema_update",
        (
            Property("averages target and online network", 2),
            Property("follows the schedule", 1, "schedule"),
            UNCHANGED,
            Property("keeps no gradient", 2, outputs=("detached",)),
        ),
        cases_ema_update,
        mutants=(
            ema_no_schedule,
            ema_linear_schedule,
            ema_momentum_falls,
            ema_no_pi,
            ema_whole_period,
            ema_quarter_period,
            ema_list_changed,
            ema_gradient_kept,
            ema_in_place,
            ema_online_frozen,
            ema_swapped,
            ema_wrong_way,
            ema_not_halved,
            ema_one_not_added,
            ema_copied,
            ema_online_not_weighted,
            ema_subtracted,
            ema_half,
            ema_first_only,
            ema_none_returned,
        ),
        alternatives=(ema_by_lerp, ema_by_steps, ema_in_double),
        hides=(
            "course_lib.teacher:ema",
            "course_lib.teacher:cosine_momentum",
        ),
    ),
    Master(
        "byol_loss",
        (Property(VALUES, 2), UNCHANGED, gradient(2, "has the right gradient, for the predictions only")),
        cases_byol_loss,
        mutants=(
            byol_in_place,
            byol_target_learns,
            byol_predictions_stopped,
            byol_half_stopped,
            byol_without_gradient,
            byol_length_without_gradient,
            byol_not_symmetrised,
            byol_own_view,
            byol_halved,
            byol_not_normalised,
            byol_only_predictions_normalised,
            byol_columns_normalised,
            byol_mean_over_all,
            byol_sum,
            byol_each,
            byol_distance,
            byol_absolute,
            byol_negative_cosine,
            byol_two_minus_cosine,
            byol_predictions_compared,
        ),
        alternatives=(byol_by_cosines, byol_together, byol_by_loops),
        hides=(
            "course_lib.distillation.byol:byol_loss",
            "course_lib.distillation.byol:BYOL",
        ),
    ),
    Master(
        "simsiam_loss",
        (
            Property(VALUES, 2),
            Property("lets the gradient through the predictions, and nothing else", 3, outputs=("gradient",)),
        ),
        cases_simsiam_loss,
        mutants=(
            siam_no_stop,
            siam_prediction_stopped,
            siam_stopped_before_predictor,
            siam_only_predictor_input_stopped,
            siam_second_not_stopped,
            siam_first_not_stopped,
            siam_second_view_without_gradient,
            siam_without_gradient,
            siam_not_symmetrised,
            siam_half_only,
            siam_not_halved,
            siam_sign,
            siam_one_minus_cosine,
            siam_own_view,
            siam_no_predictor,
            siam_predictor_on_both,
            siam_not_normalised,
            siam_cosine_over_the_batch,
            siam_squared_distance,
            siam_sum,
            siam_each,
        ),
        alternatives=(siam_together, siam_encoded_twice, siam_by_loops),
        hides=(
            "course_lib.distillation.simsiam:negative_cosine",
            "course_lib.distillation.simsiam:SimSiam",
        ),
    ),
    Master(
        "barlow_twins",
        (
            Property("gives the right matrix", 2, outputs=("matrix",)),
            Property("gives the right loss", 1),
            UNCHANGED,
            Property("gives 0 for a dead feature", 1, "dead", ("matrix", "value")),
            gradient(1),
        ),
        cases_barlow_twins,
        mutants=(
            barlow_lambda_on_the_diagonal,
            barlow_lambda_on_both,
            barlow_lambda_left_out,
            barlow_lambda_squared,
            barlow_diagonal_counted,
            barlow_identity_counted,
            barlow_off_left_out,
            barlow_diagonal_left_out,
            barlow_target_zero,
            barlow_diagonal_not_squared,
            barlow_off_not_squared,
            barlow_off_absolute,
            barlow_means,
            barlow_divided_by_d,
            barlow_upper_half,
            barlow_in_place,
            barlow_nan_for_dead,
            barlow_one_for_dead,
            barlow_spread_without_gradient,
            barlow_second_stopped,
            barlow_without_gradient,
            barlow_sample_deviation,
            barlow_covariance_over_less,
            barlow_along_features,
            barlow_unit_rows,
            barlow_not_centred,
            barlow_covariance,
            barlow_variance,
            barlow_not_averaged,
            barlow_divided_by_features,
            barlow_transposed,
            barlow_pictures_compared,
            barlow_one_view,
            barlow_shared_statistics,
            barlow_one_deviation,
            barlow_loss_only,
        ),
        alternatives=(barlow_by_batch_norm, barlow_over_less_in_both, barlow_by_loops),
        hides=(
            "course_lib.redundancy.barlow_twins:cross_correlation",
            "course_lib.redundancy.barlow_twins:barlow_twins_loss",
            "course_lib.redundancy.barlow_twins:BarlowTwins",
        ),
    ),
    Master(
        "multicrop_loss",
        (
            Property(VALUES, 2),
            UNCHANGED,
            Property("stays right at low temperatures", 1, "extreme"),
            gradient(2, "has the right gradient, for the student only"),
        ),
        cases_multicrop_loss,
        mutants=(
            crops_log_of_softmax,
            crops_epsilon,
            crops_overflow,
            crops_in_place,
            crops_teacher_learns,
            crops_student_stopped,
            crops_without_gradient,
            crops_denominator_without_gradient,
            crops_itself_kept,
            crops_itself_kept_in_sum,
            crops_itself_counted,
            crops_divided_by_unordered,
            crops_sum_of_pairs,
            crops_sum_of_pictures,
            crops_mean_over_prototypes,
            crops_earlier_left_out,
            crops_large_only,
            crops_first_teacher_only,
            crops_last_left_out,
            crops_student_temperature_for_both,
            crops_teacher_temperature_for_both,
            crops_temperatures_swapped,
            crops_no_temperature,
            crops_times_temperature,
            crops_over_the_batch,
            crops_over_the_crops,
            crops_sides_swapped,
            crops_divergence,
            crops_no_logarithm,
            crops_sign,
            crops_hard_targets,
        ),
        alternatives=(crops_by_loops, crops_by_masks, crops_by_sums_of_teachers),
        hides=(
            "course_lib.distillation.dino:dino_loss",
            "course_lib.distillation.dino:DINO",
        ),
    ),
    Master(
        "centre_and_sharpen",
        (
            Property("gives the right probabilities", 2, outputs=("probabilities",)),
            Property("gives the right centre for the next batch", 2, outputs=("centre",)),
            UNCHANGED,
            Property("keeps no gradient", 1, outputs=("detached",)),
        ),
        cases_centre_and_sharpen,
        mutants=(
            centre_of_centred,
            centre_of_sharpened,
            centre_of_probabilities,
            centre_replaced,
            centre_kept,
            centre_momentum_swapped,
            centre_mean_not_weighted,
            centre_sum,
            centre_one_mean,
            centre_in_place,
            centre_gradient_in_both,
            centre_added,
            centre_not_subtracted,
            centre_new_used,
            centre_mean_subtracted,
            centre_after_sharpening,
            centre_after_softmax,
            centre_no_sharpening,
            centre_times_temperature,
            centre_over_the_batch,
            centre_logarithm,
            centre_results_swapped,
            centre_only_probabilities,
        ),
        alternatives=(centre_by_lerp, centre_by_loops),
        hides=(
            "course_lib.distillation.dino:dino_loss",
            "course_lib.distillation.dino:DINO",
        ),
    ),
    Master(
        "numbers_by_heart",
        (
            Property("knows the entropies (a, b)", 1, outputs=("entropies",)),
            Property("knows the losses (c, d)", 1, outputs=("losses",)),
            Property("counts the pairs (e)", 1, outputs=("pairs",)),
            Property("knows the cost (f)", 1, outputs=("cost",)),
        ),
        cases_numbers_by_heart,
        mutants=(
            numbers_copied_log,
            numbers_undecided_zero,
            numbers_undecided_infinite,
            numbers_undecided_probability,
            numbers_undecided_twice,
            numbers_losses_swapped,
            numbers_itself_kept,
            numbers_teacher_sees_all,
            numbers_unordered,
            numbers_small_only,
            numbers_large_only,
            numbers_one_less,
            numbers_teacher_free,
            numbers_small_as_dear,
            numbers_teacher_pays_for_all,
            numbers_share_squared,
            numbers_share_of_side,
            numbers_each_pair_paid,
            numbers_entropies_swapped,
            numbers_in_bits,
            numbers_uniform_share,
            numbers_uniform_one_term,
            numbers_uniform_negative,
            numbers_one_wins_one,
            numbers_uniform_one_less,
        ),
        alternatives=(numbers_by_torch, numbers_rearranged),
    ),
]
