"""Exercises 15, guidance: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it.
"""

import torch
from torch import Tensor

from course_lib.grading.drive import by_number, function, on_case, same_bits, several


def drive_label_dropout(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """y, null, uniform, p."""
    return on_case(answer, a, ("y", "null", "uniform"), ("p",))


def drive_guided_eps(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """told, untold, w: a number, or a tensor where each row has its own."""
    if a["w"].ndim:
        return on_case(answer, a, ("told", "untold", "w"))
    return on_case(answer, a, ("told", "untold"), ("w",))


def drive_classifier_gradient(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny classifier from the weights; x_t, t, y; inside `no_grad` where the case says `sampling`. `without
    ...`: whether no weight has a gradient afterwards, and whether what comes back wants none."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def classifier(x_t, t):
        return (x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]).sin() @ weights["last"]

    x_t, t, y = (a[name].clone() for name in ("x_t", "t", "y"))
    with torch.set_grad_enabled(not a["sampling"].item()):
        value = answer(classifier, x_t, t, y)
    unchanged = all(same_bits(given, a[name]) for name, given in (("x_t", x_t), ("t", t), ("y", y)))
    clean = all(weight.grad is None for weight in weights.values())
    return {
        "value": value,
        "unchanged": unchanged and not x_t.requires_grad,
        "without gradients in its weights": clean,
        "without a graph behind its result": not (isinstance(value, Tensor) and value.requires_grad),
    }


def drive_classifier_guided_eps(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """eps, gradient, abar, scale."""
    return on_case(answer, a, ("eps", "gradient", "abar"), ("scale",))


def drive_guided_in_one_pass(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny network from the weights; x_t, t, y, null, w. `calls`: of the network; `rows`: of all calls."""
    rows = []

    def eps(x_t, t, y):
        rows.append(len(x_t))
        label = a["table"][y] if y.ndim == 1 else a["table"][y].sum(1)
        hidden = (x_t.flatten(1) @ a["first"] + t[:, None] * a["time"] + label).sin()
        return (hidden @ a["last"]).view_as(x_t)

    given = {name: a[name] for name in ("x_t", "t", "y", "null")}
    outputs = function(lambda *tensors: answer(eps, *tensors, a["w"].item()), given)
    return outputs | {"calls": len(rows), "rows": sum(rows)}


def drive_caption_vector(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """vectors, tokens. Gradient for vectors."""
    return on_case(answer, a, ("vectors", "tokens"), flows=("vectors",))


def drive_guided_ddim_step(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """told, untold, w, x_t, abar_t, abar_s, limit."""
    w, *others = (a[name].item() for name in ("w", "abar_t", "abar_s", "limit"))
    given = {name: a[name] for name in ("told", "untold", "x_t")}
    return function(lambda told, untold, x_t: answer(told, untold, w, x_t, *others), given)


def drive_exact_label_posterior(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x_t, centres, labels, std, abar."""
    return on_case(answer, a, ("x_t", "centres", "labels"), ("std", "abar"))


def drive_two_variances(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """c, w. `samples`, `tilted`: what comes back."""
    return several(answer, ("samples", "tilted"), {"c": a["c"], "w": a["w"]})


def drive_choose_w(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """w, accuracy, target."""
    return on_case(answer, a, ("w", "accuracy"), ("target",))


def drive_numbers_and_choices(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """guidance_scale, w, steps, (Q,) each: the answer is asked Q times. `conventions`: a and b, `cost`: c, `choices`:
    d and e."""
    said = by_number(answer, a, ("guidance_scale", "w", "steps"), tuple("abcde"))
    return {"conventions": said[:, :2], "cost": said[:, 2], "choices": said[:, 3:]}


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property, gradient  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


def _wide(levels, x: Tensor):
    """(N,) -> (N, 1, ...), to multiply rows; a number stays one."""
    return levels.view(-1, *[1] * (x.ndim - 1)) if isinstance(levels, Tensor) and levels.ndim else levels


def _weight(g: torch.Generator) -> float:
    """Neither 0 nor 1 nor -1, nor near them."""
    return between(g, 1.3, 2.7)


def _uniform(g: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = SINGLE):
    return (low + (high - low) * torch.rand(shape, generator=g, dtype=DOUBLE)).to(dtype)


# --- 1. label dropout -------------------------------------------------------------------------------------------------


def cases_label_dropout(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, length=0, often=False, dtype=SINGLE):
        """often: all but two rows are dropped, and the first is not; else every fifth, and the first is."""
        p = between(g, 0.3, 0.4)
        edges = [(0.05 * p, 0.3 * p), (p + 0.05, p + 0.15), (1.05 - p, 0.99)]  # dropped; kept; kept, above 1 - p
        which = torch.tensor([1, 2] + [0] * (n - 2) if often else ([0, 2, 2, 1, 2] * n)[:n])
        which[1:] = which[1:][torch.randperm(n - 1, generator=g)]
        uniform = torch.tensor([between(g, *edges[i]) for i in which.tolist()], dtype=dtype)
        shape = (length,) if length else ()
        y, null = torch.randint(1, 7, (n, *shape), generator=g), torch.randint(9, 12, shape, generator=g)
        if length:
            null[-1] = null[0] + 3
        return Case(kind, {"y": y, "null": null, "uniform": uniform, "p": scalar(p)})

    if not hidden:
        return [
            case("ordinary", 5),
            case("ordinary", 7, often=True, dtype=DOUBLE),
            case("captions", 4, 3),
            case("captions", 4, 4, dtype=DOUBLE),
        ]
    n = whole(g, 8, 12)
    return [
        case("ordinary", n),
        case("ordinary", n + 1, often=True, dtype=DOUBLE),
        case("captions", n, 5),
        case("captions", n, n, often=True),
    ]


def _dropped(y, null, dropped):
    return torch.where(_wide(dropped, y), null, y)


def dropout_classes_only(y, null, uniform, p):
    """Captions are rows of L tokens: one decision holds for the whole row, so it must be (N, 1), not (N,)."""
    return torch.where(uniform < p, null, y)


def dropout_first_word(y, null, uniform, p):
    """Only the first token of a caption is replaced: drop the caption as a whole."""
    if y.ndim == 1:
        return _dropped(y, null, uniform < p)
    y = y.clone()
    y[:, 0] = torch.where(uniform < p, null[0], y[:, 0])
    return y


def dropout_one_null_word(y, null, uniform, p):
    """All tokens of a dropped caption are the null caption's first: the null caption is a whole row."""
    return _dropped(y, null.flatten()[0], uniform < p)


def dropout_in_place(y, null, uniform, p):
    """An argument itself gets changed: y[dropped] = null writes into the caller's tensor."""
    y[uniform < p] = null
    return y


def dropout_reversed(y, null, uniform, p):
    """The comparison is the wrong way round: the label is dropped where u < p, kept elsewhere."""
    return _dropped(y, null, uniform >= p)


def dropout_keeps_p(y, null, uniform, p):
    """p is the share that is dropped, not the share that is kept."""
    return _dropped(y, null, uniform < 1 - p)


def dropout_above(y, null, uniform, p):
    """The rows with the largest u are dropped, u > 1 - p: as many, but not those with u < p."""
    return _dropped(y, null, uniform > 1 - p)


def dropout_first_decides(y, null, uniform, p):
    """The first row's u decides for the whole batch: each row is decided by its own."""
    return _dropped(y, null, (uniform[:1] < p).expand_as(uniform))


def dropout_mean_decides(y, null, uniform, p):
    """The mean of u decides for the whole batch: each row is decided by its own u."""
    return _dropped(y, null, (uniform.mean() < p).expand(len(y)))


def dropout_to_zero(y, null, uniform, p):
    """A dropped label becomes 0, which is a label like others: it becomes the null label, which is given."""
    return _dropped(y, torch.zeros_like(null), uniform < p)


def dropout_to_minus_one(y, null, uniform, p):
    """A dropped label becomes -1: it becomes the null label, which is given."""
    return _dropped(y, -torch.ones_like(null), uniform < p)


def dropout_to_one_more(y, null, uniform, p):
    """The null label is guessed from the labels of the batch: it is given."""
    return _dropped(y, (y.max() + 1).expand_as(null), uniform < p)


def dropout_to_another(y, null, uniform, p):
    """A dropped label becomes that of another row: it becomes the null label."""
    return _dropped(y, y.roll(1, 0), uniform < p)


def dropout_zeroes_kept(y, null, uniform, p):
    """The labels that are kept have become 0: they stay as they are."""
    return _dropped(torch.zeros_like(y), null, uniform < p)


def dropout_adds(y, null, uniform, p):
    """The null label is added to the label: it takes its place."""
    return y + _wide(uniform < p, y) * null


def dropout_removes_rows(y, null, uniform, p):
    """The dropped rows are gone: their pictures stay in the batch, with the null label."""
    return y[uniform >= p]


def dropout_all(y, null, uniform, p):
    """Every label is dropped."""
    return null.expand_as(y).clone()


def dropout_none(y, null, uniform, p):
    """No label is dropped."""
    return y.clone()


def dropout_the_first(y, null, uniform, p):
    """The first rows are dropped, as many as there are u below p: the u say which rows."""
    return _dropped(y, null, torch.arange(len(y)) < (uniform < p).sum())


def dropout_by_indices(y, null, uniform, p):
    came = y.clone()
    came[(uniform < p).nonzero()[:, 0]] = null
    return came


def dropout_by_loops(y, null, uniform, p):
    return torch.stack([null if u < p else row for u, row in zip(uniform.tolist(), y)])


# --- 2. the guided noise ----------------------------------------------------------------------------------------------


def cases_guided_eps(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, *shape, dtype=SINGLE):
        arrays = {name: normal(g, *shape, dtype=dtype) for name in ("told", "untold")}
        n = shape[0]
        w = 0.6 + 0.7 * torch.arange(n)[torch.randperm(n, generator=g)] + 0.1 * _uniform(g, n)
        return Case(kind, arrays | {"w": w.to(dtype) if kind == "rows" else scalar(_weight(g))})

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 2, 1, 2, 2, dtype=DOUBLE),
            case("rows", 3, 3),
            case("rows", 2, 2, 2, 2, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 2),
        case("ordinary", n, 2, 3, 3, dtype=DOUBLE),
        case("rows", n, n, dtype=DOUBLE),
        case("rows", n, 1, 3, n),
    ]


def guided_along_columns(told, untold, w):
    """w was not given told's dimensions: (N,) then multiplies columns. It must be (N, 1), or (N, 1, 1, 1)."""
    return told + w * (told - untold)


def guided_first_w(told, untold, w):
    """The whole batch has the first row's w: each row has its own."""
    return told + (w.flatten()[0] if isinstance(w, Tensor) else w) * (told - untold)


def guided_mean_w(told, untold, w):
    """The whole batch has one mean w: each row has its own."""
    return told + (w.mean() if isinstance(w, Tensor) else w) * (told - untold)


def guided_in_place(told, untold, w):
    """An argument itself gets changed: told += ... writes into the caller's tensor."""
    told += _wide(w, told) * (told - untold)
    return told


def guided_one_less(told, untold, w):
    """This is w told + (1 - w) untold, a convention in which w = 1 is the conditional model: here told counts 1 + w."""
    w = _wide(w, told)
    return w * told + (1 - w) * untold


def guided_one_more(told, untold, w):
    """This is guidance with w + 1: told counts 1 + w times, untold -w times."""
    w = _wide(w, told) + 1
    return (1 + w) * told - w * untold


def guided_towards_untold(told, untold, w):
    """The sign of w is wrong: this goes from told back to untold and beyond."""
    w = _wide(w, told)
    return (1 - w) * told + w * untold


def guided_untold_added(told, untold, w):
    """The untold noise is added: it is subtracted, so that the coefficients sum to 1."""
    w = _wide(w, told)
    return (1 + w) * told + w * untold


def guided_untold_forgotten(told, untold, w):
    """The untold noise is forgotten: this is told alone, made larger."""
    return (1 + _wide(w, told)) * told


def guided_swapped(told, untold, w):
    """Told and untold are swapped: told counts 1 + w times."""
    w = _wide(w, told)
    return (1 + w) * untold - w * told


def guided_difference(told, untold, w):
    """This is only the change that guidance makes, w times the difference: told itself is missing."""
    return _wide(w, told) * (told - untold)


def guided_one_at_untold(told, untold, w):
    """Told counts w times and untold -(1 + w) times: the 1 belongs to told, so that the coefficients sum to 1."""
    w = _wide(w, told)
    return w * told - (1 + w) * untold


def guided_untold_whole(told, untold, w):
    """The coefficients are 1 + w and -(1 + w): untold counts -w times, so that they sum to 1."""
    w = 1 + _wide(w, told)
    return w * told - w * untold


def guided_told_once(told, untold, w):
    """Told counts once here: it counts 1 + w times, so that the coefficients sum to 1."""
    return told - _wide(w, told) * untold


def guided_not_at_all(told, untold, w):
    """This is the conditional model's noise: w has no effect."""
    return told.clone()


def guided_normalised(told, untold, w):
    """The result is divided by 1 + w: the formula divides by nothing."""
    w = _wide(w, told)
    return told - w / (1 + w) * untold


def guided_average(told, untold, w):
    """This is an average of the two, between them: guidance goes beyond told."""
    w = _wide(w, told)
    return (told + w * untold) / (1 + w)


def guided_w_squared(told, untold, w):
    """w is squared."""
    return told + _wide(w, told) ** 2 * (told - untold)


def guided_absolute(told, untold, w):
    """The difference has lost its sign."""
    return told + _wide(w, told) * (told - untold).abs()


def guided_rescaled(told, untold, w):
    """The guided noise is scaled to the size of told: a trick of some samplers, not the formula."""
    came = told + _wide(w, told) * (told - untold)
    return came * told.norm() / came.norm()


def guided_by_coefficients(told, untold, w):
    if isinstance(w, Tensor):
        return torch.einsum("n,n...->n...", 1 + w, told) - torch.einsum("n,n...->n...", w, untold)
    return (1 + w) * told - w * untold


def guided_by_lerp(told, untold, w):
    """In float64."""
    w = torch.as_tensor(w, dtype=torch.float64).reshape(-1, *[1] * (told.ndim - 1))
    return torch.lerp(untold.double(), told.double(), 1 + w)


# --- 3. the classifier's gradient -------------------------------------------------------------------------------------


def cases_classifier_gradient(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, classes, width, *shape, dtype=SINGLE):
        n, d = shape[0], math.prod(shape[1:])
        arrays = {"x_t": normal(g, *shape, dtype=dtype), "t": 1 + torch.randperm(n + 2, generator=g)[:n]}
        y = torch.arange(n) % (classes - 1) + 1
        sizes = {"first": (d, width), "time": (width,), "last": (width, classes)}
        arrays |= {name: 1.5 * normal(g, *size, dtype=dtype) for name, size in sizes.items()}
        return Case(kind, arrays | {"y": y, "sampling": torch.tensor(kind == "sampling")})

    if not hidden:
        return [
            case("ordinary", 4, 5, 3, 2),
            case("ordinary", 3, 4, 2, 1, 2, 2, dtype=DOUBLE),
            case("sampling", 3, 4, 3, 3),
            case("sampling", 4, 5, 2, 2, 1, 2, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 5, 6, n, 3),
        case("ordinary", 4, 5, n, 2, 1, 3, dtype=DOUBLE),
        case("sampling", 5, 4, n, 2),
        case("sampling", 4, 6, n, 1, 2, 3, dtype=DOUBLE),
    ]


@torch.enable_grad()
def _ascent(classifier, x_t, t, of, keep=False):
    """The gradient for x_t of a number that `of` makes of the logits."""
    x = x_t.detach().clone().requires_grad_()
    return torch.autograd.grad(of(classifier(x, t)), x, create_graph=keep)[0]


def _asked(logits, y):
    return logits.log_softmax(1).gather(1, y[:, None])[:, 0]


def gradient_not_enabled(classifier, x_t, t, y):
    """A sampler runs under no_grad, where nothing is differentiated: wrap the computation in torch.enable_grad()."""
    x = x_t.detach().requires_grad_()
    return torch.autograd.grad(_asked(classifier(x, t), y).sum(), x)[0]


@torch.enable_grad()
def gradient_backward(classifier, x_t, t, y):
    """backward() writes a .grad into the classifier's weights, too: torch.autograd.grad(number, x) does not."""
    x = x_t.detach().clone().requires_grad_()
    _asked(classifier(x, t), y).sum().backward()
    return x.grad


def gradient_keeps_graph(classifier, x_t, t, y):
    """What comes back still hangs on the weights (create_graph=True): the sampler would remember every step."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y).sum(), keep=True)


@torch.enable_grad()
def gradient_marks_argument(classifier, x_t, t, y):
    """The caller's own x_t now requires a gradient: detach it first, x_t.detach().requires_grad_()."""
    x_t.requires_grad_()
    return torch.autograd.grad(_asked(classifier(x_t, t), y).sum(), x_t)[0]


def gradient_zeros(classifier, x_t, t, y):
    """It is 0 everywhere: the classifier saw a detached copy, or the gradient was never computed."""
    return torch.zeros_like(x_t)


def gradient_sign(classifier, x_t, t, y):
    """The sign is wrong: this is the gradient of the cross-entropy, of minus log p."""
    return _ascent(classifier, x_t, t, lambda logits: -_asked(logits, y).sum())


def gradient_of_p(classifier, x_t, t, y):
    """This is the gradient of the probability: take its logarithm first."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y).exp().sum())


def gradient_mean(classifier, x_t, t, y):
    """This is N times too small: the mean over the batch was differentiated. Differentiate the sum."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y).mean())


def gradient_cross_entropy(classifier, x_t, t, y):
    """This is minus the gradient, and N times too small: cross_entropy averages over the batch and is minus log p."""
    return _ascent(classifier, x_t, t, lambda logits: F.cross_entropy(logits, y))


def gradient_of_all_classes(classifier, x_t, t, y):
    """The logarithms of all classes were summed: only that of the row's own y counts."""
    return _ascent(classifier, x_t, t, lambda logits: logits.log_softmax(1).sum())


def gradient_of_logit(classifier, x_t, t, y):
    """This is the gradient of the logit of y: log p is what log_softmax makes of it, where the other classes count."""
    return _ascent(classifier, x_t, t, lambda logits: logits.gather(1, y[:, None]).sum())


def gradient_of_all_logits(classifier, x_t, t, y):
    """The logits of all classes were summed: log p of y is asked for."""
    return _ascent(classifier, x_t, t, lambda logits: logits.sum())


def gradient_of_likeliest(classifier, x_t, t, y):
    """This is for the class that the classifier finds likeliest: for y."""
    return _ascent(classifier, x_t, t, lambda logits: logits.log_softmax(1).max(1).values.sum())


def gradient_softmax_over_rows(classifier, x_t, t, y):
    """The softmax runs over the batch: over the classes, dim 1."""
    return _ascent(classifier, x_t, t, lambda logits: logits.log_softmax(0).gather(1, y[:, None]).sum())


def gradient_first_label(classifier, x_t, t, y):
    """All rows are drawn to the first row's class: each has its own y."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y[:1].expand_as(y)).sum())


def gradient_class_zero(classifier, x_t, t, y):
    """All rows are drawn to class 0: each has its own y."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, torch.zeros_like(y)).sum())


def gradient_columns(classifier, x_t, t, y):
    """log_p[:, y] takes all columns of y for every row: pick one entry a row, log_p[torch.arange(len(y)), y]."""
    return _ascent(classifier, x_t, t, lambda logits: logits.log_softmax(1)[:, y].sum())


def gradient_first_row(classifier, x_t, t, y):
    """Only the first row has a gradient: sum over all rows before you differentiate."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y)[0])


def gradient_at_step_zero(classifier, x_t, t, y):
    """The classifier is not told t: it sees step 0 everywhere."""
    return _ascent(classifier, x_t, torch.zeros_like(t), lambda logits: _asked(logits, y).sum())


def gradient_direction_only(classifier, x_t, t, y):
    """The gradient was scaled to length 1 in each row: its length counts."""
    return F.normalize(_ascent(classifier, x_t, t, lambda logits: _asked(logits, y).sum()).flatten(1)).view_as(x_t)


def gradient_signs_only(classifier, x_t, t, y):
    """Only the signs of the gradient are left: its size counts."""
    return _ascent(classifier, x_t, t, lambda logits: _asked(logits, y).sum()).sign()


def gradient_of_rows(classifier, x_t, t, y):
    """This returns log p itself: its gradient is asked for."""
    return _asked(classifier(x_t, t), y).detach()


def gradient_by_one_hot(classifier, x_t, t, y):
    x = x_t.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = classifier(x, t)
        told = F.one_hot(y, logits.shape[1]).to(logits)
        (found,) = torch.autograd.grad((told * logits).sum() - logits.logsumexp(1).sum(), [x])
    return found


def gradient_by_rows(classifier, x_t, t, y):
    rows = []
    for n in range(len(x_t)):
        with torch.enable_grad():
            x = x_t[n : n + 1].clone().requires_grad_()
            loss = F.cross_entropy(classifier(x, t[n : n + 1]), y[n : n + 1])
            rows.append(-torch.autograd.grad(loss, x)[0])
    return torch.cat(rows)


# --- 4. noise and gradient --------------------------------------------------------------------------------------------


def cases_classifier_guided_eps(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, *shape, dtype=SINGLE):
        arrays = {name: normal(g, *shape, dtype=dtype) for name in ("eps", "gradient")}
        n = shape[0]
        abar = 0.1 + 0.3 * torch.arange(n)[torch.randperm(n, generator=g)] / (n - 1) + 0.05 * _uniform(g, n)
        return Case(kind, arrays | {"abar": abar.to(dtype), "scale": scalar(_weight(g))})

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 3, dtype=DOUBLE),
            case("shapes", 2, 1, 2, 3),
            case("shapes", 3, 3, 3, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 2),
        case("ordinary", n, n, dtype=DOUBLE),
        case("shapes", n, 2, 3, 2, dtype=DOUBLE),
        case("shapes", n, n, n),
    ]


def _pushed(eps, gradient, factor):
    return eps - _wide(factor, eps) * gradient


def push_rows_only(eps, gradient, abar, scale):
    """abar[:, None] suits points (N, D), but pictures have more dimensions: give it as many as eps has."""
    return eps - scale * (1 - abar[:, None]).sqrt() * gradient


def push_in_place(eps, gradient, abar, scale):
    """An argument itself gets changed: eps -= ... writes into the caller's tensor."""
    eps -= scale * _wide((1 - abar).sqrt(), eps) * gradient
    return eps


def push_along_columns(eps, gradient, abar, scale):
    """abar multiplies columns: it belongs to rows, so it must be (N, 1), or (N, 1, 1, 1)."""
    return eps - scale * (1 - abar).sqrt() * gradient


def push_plus(eps, gradient, abar, scale):
    """The sign is wrong: the noise is what the sampler takes away, so the gradient is subtracted from it."""
    return _pushed(eps, gradient, -scale * (1 - abar).sqrt())


def push_not_rooted(eps, gradient, abar, scale):
    """The root is missing: the factor is sqrt(1 - abar)."""
    return _pushed(eps, gradient, scale * (1 - abar))


def push_no_level(eps, gradient, abar, scale):
    """The factor sqrt(1 - abar) is missing, which makes a score a noise."""
    return eps - scale * gradient


def push_root_of_abar(eps, gradient, abar, scale):
    """The factor is sqrt(abar) here: a score is -eps / sqrt(1 - abar)."""
    return _pushed(eps, gradient, scale * abar.sqrt())


def push_abar(eps, gradient, abar, scale):
    """The factor is abar here: it is sqrt(1 - abar)."""
    return _pushed(eps, gradient, scale * abar)


def push_root_of_rest(eps, gradient, abar, scale):
    """The factor is 1 - sqrt(abar) here: it is sqrt(1 - abar)."""
    return _pushed(eps, gradient, scale * (1 - abar.sqrt()))


def push_divided(eps, gradient, abar, scale):
    """It is divided by sqrt(1 - abar), which makes a noise a score: here the score's gradient becomes a noise."""
    return _pushed(eps, gradient, scale / (1 - abar).sqrt())


def push_ratio(eps, gradient, abar, scale):
    """The factor is sqrt((1 - abar) / abar), as for the guess of x_0: for the noise it is sqrt(1 - abar)."""
    return _pushed(eps, gradient, scale * ((1 - abar) / abar).sqrt())


def push_no_scale(eps, gradient, abar, scale):
    """The scale is forgotten."""
    return _pushed(eps, gradient, (1 - abar).sqrt())


def push_one_more(eps, gradient, abar, scale):
    """The scale is one too large: it is taken as it is given."""
    return _pushed(eps, gradient, (scale + 1) * (1 - abar).sqrt())


def push_one_less(eps, gradient, abar, scale):
    """The scale is one too small: it is taken as it is given."""
    return _pushed(eps, gradient, (scale - 1) * (1 - abar).sqrt())


def push_scale_rooted(eps, gradient, abar, scale):
    """The scale was put under the root: only 1 - abar stands there."""
    return _pushed(eps, gradient, (scale * (1 - abar)).sqrt())


def push_all_scaled(eps, gradient, abar, scale):
    """The scale multiplies the noise, too: only the gradient's part."""
    return scale * _pushed(eps, gradient, (1 - abar).sqrt())


def push_one_plus_eps(eps, gradient, abar, scale):
    """The noise counts 1 + s times: it counts once, the gradient s times."""
    return _pushed((1 + scale) * eps, gradient, scale * (1 - abar).sqrt())


def push_noise_scaled(eps, gradient, abar, scale):
    """The factor sqrt(1 - abar) stands before the noise: it belongs to the gradient."""
    return _wide((1 - abar).sqrt(), eps) * eps - scale * gradient


def push_gradient_only(eps, gradient, abar, scale):
    """The noise itself is missing: this is the classifier's part alone."""
    return _pushed(torch.zeros_like(eps), gradient, scale * (1 - abar).sqrt())


def push_score(eps, gradient, abar, scale):
    """This is the guided score: the guided noise is asked for."""
    return -eps / _wide((1 - abar).sqrt(), eps) + scale * gradient


def push_first_level(eps, gradient, abar, scale):
    """The whole batch has the first row's abar: each row has its own."""
    return eps - scale * (1 - abar[0]).sqrt() * gradient


def push_mean_level(eps, gradient, abar, scale):
    """The whole batch has one mean abar: each row has its own."""
    return eps - scale * (1 - abar.mean()).sqrt() * gradient


def push_not_at_all(eps, gradient, abar, scale):
    """The classifier has no part in it."""
    return eps.clone()


def push_by_score(eps, gradient, abar, scale):
    root = torch.sqrt(1 - abar.double())
    score = torch.einsum("n...,n->n...", -eps.double(), 1 / root) + scale * gradient
    return -torch.einsum("n...,n->n...", score, root)


def push_by_loops(eps, gradient, abar, scale):
    return torch.stack([e - math.sqrt(1 - a) * scale * d for e, d, a in zip(eps, gradient, abar.tolist())])


# --- 5. one pass ------------------------------------------------------------------------------------------------------


def cases_guided_in_one_pass(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, width, length, *shape, dtype=SINGLE):
        n, d = shape[0], math.prod(shape[1:])
        arrays = {"x_t": normal(g, *shape, dtype=dtype), "t": 1 + torch.randperm(n + 2, generator=g)[:n]}
        row = (length,) if length else ()
        arrays |= {"y": torch.randint(1, 5, (n, *row), generator=g), "null": torch.randint(5, 7, row, generator=g)}
        if length:  # a null caption whose words differ
            arrays["null"] = torch.arange(length) % 2 + 5
        else:
            arrays["y"] = 1 + torch.arange(n) % 4
        sizes = {"first": (d, width), "time": (width,), "table": (8, width), "last": (width, d)}
        arrays |= {name: normal(g, *size, dtype=dtype) for name, size in sizes.items()}
        return Case(kind, arrays | {"w": scalar(_weight(g))})

    if not hidden:
        return [
            case("ordinary", 4, 0, 3, 2),
            case("ordinary", 5, 0, 2, 1, 2, 2, dtype=DOUBLE),
            case("captions", 4, 4, 2, 3),
            case("captions", 5, 3, 3, 1, 2, 1, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", 5, 0, n, 3),
        case("ordinary", 6, 0, n, 2, 2, 1, dtype=DOUBLE),
        case("captions", 5, n + 1, n, 2),
        case("captions", 4, 3, n, 2, 1, 2, dtype=DOUBLE),
    ]


def _halves(eps, x_t, t, y, null, others=None):
    """Told and untold; others: labels of the second half."""
    labels = torch.cat([y, null.expand_as(y) if others is None else others])
    return eps(torch.cat([x_t, x_t]), torch.cat([t, t]), labels).chunk(2)


def pass_classes_only(eps, x_t, t, y, null, w):
    """This suits classes only: a null caption is a row of L tokens, null.expand_as(y) repeats it for every row."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, torch.full_like(y, null.item())), w)


def pass_one_null_word(eps, x_t, t, y, null, w):
    """All words of the second half are the null caption's first: the null caption is a whole row."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, null.flatten()[0].expand_as(y)), w)


def pass_first_word_only(eps, x_t, t, y, null, w):
    """In the second half only the first word of each caption is replaced: the whole caption."""
    others = null.expand_as(y).clone()
    if y.ndim == 2:
        others[:, 1:] = y[:, 1:]
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, others), w)


def pass_twice(eps, x_t, t, y, null, w):
    """The network is called twice: stack both halves with torch.cat and call it once."""
    return guided_by_coefficients(eps(x_t, t, y), eps(x_t, t, null.expand_as(y)), w)


def pass_row_by_row(eps, x_t, t, y, null, w):
    """The network is called for each row: one call for all of them."""
    rows = []
    for n in range(len(x_t)):
        told = eps(x_t[n : n + 1], t[n : n + 1], y[n : n + 1])
        rows.append(guided_by_coefficients(told, eps(x_t[n : n + 1], t[n : n + 1], null.expand_as(y[n : n + 1])), w))
    return torch.cat(rows)


def pass_three_times(eps, x_t, t, y, null, w):
    """More rows than needed go through the network: N told and N untold."""
    again = torch.cat([x_t] * 3), torch.cat([t] * 3), torch.cat([y, y, null.expand_as(y)])
    told, _, untold = eps(*again).chunk(3)
    return guided_by_coefficients(told, untold, w)


def pass_labels_in_place(eps, x_t, t, y, null, w):
    """An argument itself gets changed: y[:] = null writes into the caller's tensor. Make the other half anew."""
    told, untold = _halves(eps, x_t, t, y, null)
    y[:] = null
    return guided_by_coefficients(told, untold, w)


def pass_never_untold(eps, x_t, t, y, null, w):
    """Both halves have the labels: in one of them each label is the null label."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, y), w)


def pass_never_told(eps, x_t, t, y, null, w):
    """Both halves have the null label: one of them has the labels."""
    return _halves(eps, x_t, t, null.expand_as(y), null)[0]


def pass_swapped(eps, x_t, t, y, null, w):
    """The halves of the answer are swapped: the rows come back in the order in which they went in."""
    told, untold = _halves(eps, x_t, t, y, null)
    return guided_by_coefficients(untold, told, w)


def pass_null_once(eps, x_t, t, y, null, w):
    """Only the first row of the second half has the null label: every row of it."""
    others = y.clone()
    others[0] = null
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, others), w)


def pass_null_zero(eps, x_t, t, y, null, w):
    """The second half has the label 0, which is a label like others: the null label is given."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null, torch.zeros_like(y)), w)


def pass_step_zero(eps, x_t, t, y, null, w):
    """The second half is told step 0: t is stacked as x_t is, torch.cat([t, t])."""
    told, untold = eps(torch.cat([x_t, x_t]), torch.cat([t, 0 * t]), torch.cat([y, null.expand_as(y)])).chunk(2)
    return guided_by_coefficients(told, untold, w)


def pass_steps_interleaved(eps, x_t, t, y, null, w):
    """repeat_interleave repeats each t beside itself, while the pictures stand one batch after the other: torch.cat."""
    labels = torch.cat([y, null.expand_as(y)])
    told, untold = eps(torch.cat([x_t, x_t]), t.repeat_interleave(2), labels).chunk(2)
    return guided_by_coefficients(told, untold, w)


def pass_first_step(eps, x_t, t, y, null, w):
    """All rows are told the first row's t: each has its own."""
    return guided_by_coefficients(*_halves(eps, x_t, t[:1].expand_as(t), y, null), w)


def pass_steps_not_stacked(eps, x_t, t, y, null, w):
    """t still has N rows while the pictures have 2N: stack it, too."""
    told, untold = eps(torch.cat([x_t, x_t]), t, torch.cat([y, null.expand_as(y)])).chunk(2)
    return guided_by_coefficients(told, untold, w)


def pass_empty_pictures(eps, x_t, t, y, null, w):
    """The second half sees zeros instead of the pictures: both halves see x_t."""
    labels = torch.cat([y, null.expand_as(y)])
    told, untold = eps(torch.cat([x_t, torch.zeros_like(x_t)]), torch.cat([t, t]), labels).chunk(2)
    return guided_by_coefficients(told, untold, w)


def pass_pictures_reversed(eps, x_t, t, y, null, w):
    """The rows of the two halves belong to different pictures: row n of both is picture n."""
    labels = torch.cat([y, null.expand_as(y)])
    told, untold = eps(torch.cat([x_t, x_t.flip(0)]), torch.cat([t, t]), labels).chunk(2)
    return guided_by_coefficients(told, untold, w)


def pass_taken_apart_wrongly(eps, x_t, t, y, null, w):
    """Every other row is taken as told: the halves stand one after the other, chunk(2) takes them apart."""
    found = eps(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, null.expand_as(y)]))
    return guided_by_coefficients(found[::2], found[1::2], w)


def pass_one_less(eps, x_t, t, y, null, w):
    """This is w told + (1 - w) untold, another convention: here told counts 1 + w times."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null), w - 1)


def pass_one_more(eps, x_t, t, y, null, w):
    """This is guidance with w + 1: told counts 1 + w times, untold -w times."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null), w + 1)


def pass_minus_w(eps, x_t, t, y, null, w):
    """The sign of w is wrong: this goes from told back to untold and beyond."""
    return guided_by_coefficients(*_halves(eps, x_t, t, y, null), -w)


def pass_all_rows(eps, x_t, t, y, null, w):
    """All 2N rows come back: combine the halves, N rows are asked for."""
    return torch.cat(_halves(eps, x_t, t, y, null))


def pass_untold_first(eps, x_t, t, y, null, w):
    n = len(y)
    labels = torch.cat([torch.stack([null] * n), y])
    found = eps(x_t.repeat(2, *[1] * (x_t.ndim - 1)), t.repeat(2), labels)
    return found[n:] + w * (found[n:] - found[:n])


def pass_interleaved(eps, x_t, t, y, null, w):
    labels = torch.stack([y, torch.broadcast_to(null, y.shape)], 1).flatten(0, 1)
    found = eps(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), labels)
    return torch.lerp(found[1::2], found[::2], 1 + w)


# --- 6. captions ------------------------------------------------------------------------------------------------------


def cases_caption_vector(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, length, d, dtype=SINGLE):
        vectors, tokens = 1 + normal(g, n, length, d, dtype=dtype), torch.randint(1, 9, (n, length), generator=g)
        for i in range(n):  # holes anywhere, as many words as are left differ from row to row
            gaps = i % (length - 1) + (i % (length - 1) == 0 and i > 0)
            tokens[i, torch.randperm(length, generator=g)[:gaps]] = 0
        tokens[-1, :2] = torch.tensor([0, 3])  # a word behind a hole
        if kind in ("empty", "gradient"):
            tokens[whole(g, 0, n - 2)] = 0
        arrays = {"vectors": vectors, "tokens": tokens}
        return Case(kind, arrays | ({"cotangent": normal(g, n, d)} if kind == "gradient" else {}))

    if not hidden:
        return [
            case("ordinary", 3, 4, 2),
            case("ordinary", 4, 5, 3, DOUBLE),
            case("empty", 3, 4, 3),
            case("gradient", 3, 4, 2, DOUBLE),
        ]
    n = whole(g, 5, 7)
    return [
        case("ordinary", n, 6, 3),
        case("ordinary", n, 4, 5, DOUBLE),
        case("empty", n, 5, 2, DOUBLE),
        case("gradient", n, 5, 3, DOUBLE),
        case("gradient", n, 3, 4),
    ]


def _told(tokens, vectors):
    return (tokens > 0).to(vectors.dtype)[:, :, None]


def _average(vectors, told):
    """With weights `told`, and nothing over nothing where all are 0."""
    return (told * vectors).sum(1) / told.sum(1)


def caption_empty_nan(vectors, tokens):
    """An empty caption divides 0 by 0: divide by at least 1, then it gives zeros."""
    return _average(vectors, _told(tokens, vectors))


def caption_empty_mean(vectors, tokens):
    """An empty caption gets the mean over all places: zeros."""
    told = _told(tokens, vectors)
    return _average(vectors, torch.where(told.sum(1, keepdim=True) > 0, told, 1))


def caption_empty_first(vectors, tokens):
    """An empty caption gets the vector of its first place, where no word stands: zeros."""
    told = _told(tokens, vectors)
    return torch.where(told.sum(1) > 0, _average(vectors, told), vectors[:, 0])


def caption_empty_ones(vectors, tokens):
    """An empty caption gets ones: zeros."""
    return _average(vectors, _told(tokens, vectors)).nan_to_num(1.0)


def caption_empty_left_out(vectors, tokens):
    """The empty captions are left out: each row has a vector, zeros for those."""
    there = (tokens > 0).any(1)
    return _average(vectors, _told(tokens, vectors))[there]


def caption_nan_gradient(vectors, tokens):
    """The value is right, the gradient is not: NaN was replaced afterwards, but the 0 / 0 is still differentiated.
    Divide by at least 1."""
    return _average(vectors, _told(tokens, vectors)).nan_to_num()


def caption_detached(vectors, tokens):
    """The value is right, but no gradient reaches the vectors: something was detached, or computed with no_grad."""
    told = _told(tokens, vectors)
    return ((told * vectors).sum(1) / told.sum(1).clamp(min=1)).detach()


def caption_in_place(vectors, tokens):
    """An argument itself gets changed: vectors *= ... or vectors[...] = 0 writes into the caller's tensor."""
    told = _told(tokens, vectors)
    vectors *= told
    return vectors.sum(1) / told.sum(1).clamp(min=1)


def caption_all_places(vectors, tokens):
    """This is the mean over all L places: only those with a word count."""
    return vectors.mean(1)


def caption_divided_by_length(vectors, tokens):
    """The words are summed rightly but divided by L: by the number of words in that caption."""
    return (_told(tokens, vectors) * vectors).mean(1)


def caption_sum(vectors, tokens):
    """This is the sum over the words: divide by their number."""
    return (_told(tokens, vectors) * vectors).sum(1)


def caption_one_more(vectors, tokens):
    """The number of words is one too large: count + 1 avoids 0 / 0 but changes all others."""
    told = _told(tokens, vectors)
    return (told * vectors).sum(1) / (told.sum(1) + 1)


def caption_absent_words(vectors, tokens):
    """This is the mean over the places without a word: those with one."""
    told = 1 - _told(tokens, vectors)
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1)


def caption_first_places(vectors, tokens):
    """This is the mean over the first places, as many as there are words: words may stand behind a hole."""
    count = (tokens > 0).sum(1)
    told = (torch.arange(tokens.shape[1]) < count[:, None]).to(vectors.dtype)[:, :, None]
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1)


def caption_until_hole(vectors, tokens):
    """A caption ends here with its first hole: words may stand behind it."""
    told = (tokens > 0).long().cumprod(1).to(vectors.dtype)[:, :, None]
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1)


def caption_until_last(vectors, tokens):
    """The holes before the last word are counted as words."""
    told = (tokens > 0).long().flip(1).cummax(1).values.flip(1).to(vectors.dtype)[:, :, None]
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1)


def caption_by_token(vectors, tokens):
    """The words are weighted by the numbers of their tokens: all words count alike."""
    told = tokens.to(vectors.dtype)[:, :, None]
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1)


def caption_count_of_batch(vectors, tokens):
    """Every caption is divided by the mean number of words in the batch: by its own."""
    told = _told(tokens, vectors)
    return (told * vectors).sum(1) / told.sum(1).mean()


def caption_root_of_count(vectors, tokens):
    """The sum is divided by the root of the number of words: by the number itself."""
    told = _told(tokens, vectors)
    return (told * vectors).sum(1) / told.sum(1).clamp(min=1).sqrt()


def caption_largest(vectors, tokens):
    """This is the largest number of each dimension over the words: the mean is asked for."""
    found = vectors.masked_fill(tokens[:, :, None] == 0, -torch.inf).amax(1)
    return torch.where((tokens > 0).any(1, keepdim=True), found, 0)


def caption_unit_length(vectors, tokens):
    """The mean was scaled to length 1: it stays as it is."""
    told = _told(tokens, vectors)
    return F.normalize((told * vectors).sum(1) / told.sum(1).clamp(min=1))


def caption_over_batch(vectors, tokens):
    """The mean runs over the batch: over the places of a caption, dimension 1."""
    told = _told(tokens, vectors)
    return (told * vectors).sum(0) / told.sum(0).clamp(min=1)


def caption_last_word(vectors, tokens):
    """This is the vector of the last word alone: the mean of all."""
    places = torch.arange(1, tokens.shape[1] + 1) * (tokens > 0)
    found = vectors[torch.arange(len(tokens)), places.argmax(1)]
    return torch.where((tokens > 0).any(1, keepdim=True), found, 0)


def caption_by_loops(vectors, tokens):
    rows = []
    for row, said in zip(vectors, tokens):
        kept = row[said != 0]
        rows.append(kept.mean(0) if len(kept) else 0 * row[0])
    return torch.stack(rows)


def caption_by_matmul(vectors, tokens):
    shares = (tokens != 0).double()
    shares = shares / torch.where(shares.sum(1) == 0, 1, shares.sum(1))[:, None]
    return (shares[:, None] @ vectors.double())[:, 0]


# --- 7. the guided step -----------------------------------------------------------------------------------------------


def cases_guided_ddim_step(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, *shape, dtype=SINGLE):
        told, untold, x_t = (normal(g, *shape, dtype=dtype) for _ in range(3))
        w, abar_t, abar_s = _weight(g), between(g, 0.15, 0.4), between(g, 0.6, 0.8)
        x0 = (x_t - (1 - abar_t) ** 0.5 * (told + w * (told - untold))) / abar_t**0.5
        share = between(g, 1.6, 2.0) if kind == "ordinary" else between(g, 0.3, 0.4)
        numbers = {"w": w, "abar_t": abar_t, "abar_s": abar_s, "limit": share * x0.abs().max().item()}
        arrays = {"told": told, "untold": untold, "x_t": x_t}
        return Case(kind, arrays | {name: scalar(value) for name, value in numbers.items()})

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 2, 1, 2, 2, dtype=DOUBLE),
            case("limit", 3, 4),
            case("limit", 2, 2, 2, 2, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 3),
        case("ordinary", n, 2, 2, 3, dtype=DOUBLE),
        case("limit", n, 4),
        case("limit", n, 1, 3, 2, dtype=DOUBLE),
    ]


def _guess(eps, x_t, abar_t):
    return (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5


def _meant(x0, x_t, abar_t):
    """The noise that a guess means."""
    return (x_t - abar_t**0.5 * x0) / (1 - abar_t) ** 0.5


def _renoised(x0, eps, abar_s):
    return abar_s**0.5 * x0 + (1 - abar_s) ** 0.5 * eps


def _stepped(eps, x_t, abar_t, abar_s, limit):
    x0 = _guess(eps, x_t, abar_t).clamp(-limit, limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_no_limit(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess of x_0 is not kept within the limit."""
    eps = told + w * (told - untold)
    return _renoised(_guess(eps, x_t, abar_t), eps, abar_s)


def step_old_noise(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is kept within the limit, but the noise is the old one: compute it anew from the limited guess."""
    eps = told + w * (told - untold)
    return _renoised(_guess(eps, x_t, abar_t).clamp(-limit, limit), eps, abar_s)


def step_old_guess(told, untold, w, x_t, abar_t, abar_s, limit):
    """The noise is that of the limited guess, but the guess itself goes on without its limit."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t)
    return _renoised(x0, _meant(x0.clamp(-limit, limit), x_t, abar_t), abar_s)


def step_limit_above(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is limited from above only: from below, too, at -limit."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t).clamp(max=limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_limit_of_result(told, untold, w, x_t, abar_t, abar_s, limit):
    """x_s is kept within the limit: the guess of x_0 is."""
    eps = told + w * (told - untold)
    return _renoised(_guess(eps, x_t, abar_t), eps, abar_s).clamp(-limit, limit)


def step_limit_of_eps(told, untold, w, x_t, abar_t, abar_s, limit):
    """The noise is kept within the limit: the guess of x_0 is."""
    eps = (told + w * (told - untold)).clamp(-limit, limit)
    return _renoised(_guess(eps, x_t, abar_t), eps, abar_s)


def step_limits_first(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guesses of told and untold are limited each, before guidance: guide first, then limit the guided guess."""
    guesses = [_guess(eps, x_t, abar_t).clamp(-limit, limit) for eps in (told, untold)]
    x0 = guesses[0] + w * (guesses[0] - guesses[1])
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_scaled_to_limit(told, untold, w, x_t, abar_t, abar_s, limit):
    """The whole guess is scaled down to the limit: only the numbers beyond it are changed, by clamp."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t)
    x0 = x0 * min(1.0, limit / x0.abs().max().item())
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_beyond_to_zero(told, untold, w, x_t, abar_t, abar_s, limit):
    """Numbers beyond the limit become 0: they become the limit."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t)
    x0 = x0 * (x0.abs() <= limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_in_place(told, untold, w, x_t, abar_t, abar_s, limit):
    """An argument itself gets changed: told += ... or x_t -= ... writes into the caller's tensor."""
    told += w * (told - untold)
    return _stepped(told, x_t, abar_t, abar_s, limit)


def step_limit_one(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is kept within [-1, 1], whatever the limit."""
    return _stepped(told + w * (told - untold), x_t, abar_t, abar_s, 1.0)


def step_limit_from_zero(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is kept in [0, limit]: in [-limit, limit]."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t).clamp(0, limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_one_less(told, untold, w, x_t, abar_t, abar_s, limit):
    """This is w told + (1 - w) untold, another convention: here told counts 1 + w times."""
    return _stepped(untold + w * (told - untold), x_t, abar_t, abar_s, limit)


def step_minus_w(told, untold, w, x_t, abar_t, abar_s, limit):
    """The sign of w is wrong: this goes from told back to untold and beyond."""
    return _stepped(told - w * (told - untold), x_t, abar_t, abar_s, limit)


def step_swapped(told, untold, w, x_t, abar_t, abar_s, limit):
    """Told and untold are swapped: told counts 1 + w times."""
    return _stepped(untold + w * (untold - told), x_t, abar_t, abar_s, limit)


def step_not_guided(told, untold, w, x_t, abar_t, abar_s, limit):
    """This is a step of the conditional model: w has no effect."""
    return _stepped(told, x_t, abar_t, abar_s, limit)


def step_untold_direction(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is guided, but the noise beside it is the untold one: it is the noise of the guess."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t).clamp(-limit, limit)
    return _renoised(x0, untold, abar_s)


def step_told_direction(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is guided, but the noise beside it is the told one: it is the noise of the guess."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t).clamp(-limit, limit)
    return _renoised(x0, told, abar_s)


def step_told_guess(told, untold, w, x_t, abar_t, abar_s, limit):
    """The noise is guided, but the guess is that of told: it is that of the guided noise."""
    x0 = _guess(told, x_t, abar_t).clamp(-limit, limit)
    return _renoised(x0, told + w * (told - untold), abar_s)


def step_levels_swapped(told, untold, w, x_t, abar_t, abar_s, limit):
    """abar_t and abar_s are swapped: the guess takes abar_t, the way to x_s takes abar_s."""
    return _stepped(told + w * (told - untold), x_t, abar_s, abar_t, limit)


def step_back_to_t(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is noised to abar_t again: to abar_s."""
    return _stepped(told + w * (told - untold), x_t, abar_t, abar_t, limit)


def step_guess_only(told, untold, w, x_t, abar_t, abar_s, limit):
    """This is the guess of x_0: it has to be noised to abar_s."""
    return _guess(told + w * (told - untold), x_t, abar_t).clamp(-limit, limit)


def step_no_direction(told, untold, w, x_t, abar_t, abar_s, limit):
    """The noise is missing in x_s: the second term is sqrt(1 - abar_s) times the noise of the guess."""
    return abar_s**0.5 * _guess(told + w * (told - untold), x_t, abar_t).clamp(-limit, limit)


def step_noise_added(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess adds the noise: it is subtracted from x_t."""
    return _stepped(-told - w * (told - untold), x_t, abar_t, abar_s, limit)


def step_not_divided(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess lacks its division by sqrt(abar_t)."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * (told + w * (told - untold))).clamp(-limit, limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_divided_by_abar(told, untold, w, x_t, abar_t, abar_s, limit):
    """The guess is divided by abar_t: by its root."""
    x0 = ((x_t - (1 - abar_t) ** 0.5 * (told + w * (told - untold))) / abar_t).clamp(-limit, limit)
    return _renoised(x0, _meant(x0, x_t, abar_t), abar_s)


def step_not_rooted(told, untold, w, x_t, abar_t, abar_s, limit):
    """The roots are missing in x_s: sqrt(abar_s) and sqrt(1 - abar_s)."""
    x0 = _guess(told + w * (told - untold), x_t, abar_t).clamp(-limit, limit)
    return abar_s * x0 + (1 - abar_s) * _meant(x0, x_t, abar_t)


def step_not_stepped(told, untold, w, x_t, abar_t, abar_s, limit):
    """This is the guided noise alone: the step is missing."""
    return told + w * (told - untold)


def step_by_coefficients(told, untold, w, x_t, abar_t, abar_s, limit):
    ratio = math.sqrt((1 - abar_s) / (1 - abar_t))
    x0 = (_guess(told, x_t, abar_t) * (1 + w) - _guess(untold, x_t, abar_t) * w).clip(-limit, limit)
    return (math.sqrt(abar_s) - ratio * math.sqrt(abar_t)) * x0 + ratio * x_t


def step_in_double(told, untold, w, x_t, abar_t, abar_s, limit):
    told, untold, x_t = told.double(), untold.double(), x_t.double()
    sigma_t, sigma_s = ((1 / abar - 1) ** 0.5 for abar in (abar_t, abar_s))
    u = x_t / abar_t**0.5
    x0 = torch.maximum(torch.minimum(u - sigma_t * torch.lerp(untold, told, 1 + w), u * 0 + limit), u * 0 - limit)
    return abar_s**0.5 * (x0 + sigma_s / sigma_t * (u - x0))


# --- 8. the exact classifier ------------------------------------------------------------------------------------------


def cases_exact_label_posterior(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, k, d, classes, dtype=SINGLE):
        centres, x_t = 1.2 * normal(g, k, d, dtype=dtype), 0.8 * normal(g, n, d, dtype=dtype)
        if kind == "far":
            x_t = 70 * F.normalize(x_t)  # in float64: in float32 the differences of such exponents are mostly rounding
        # One Gaussian of each class but the last, which owns the rest; in any order.
        labels = torch.arange(k).clamp(max=classes - 1)[torch.randperm(k, generator=g)]
        arrays = {"x_t": x_t, "centres": centres, "labels": labels, "std": scalar(between(g, 0.5, 0.7))}
        return Case(kind, arrays | {"abar": scalar(between(g, 0.55, 0.8))})

    if not hidden:
        return [
            case("ordinary", 3, 4, 2, 2),
            case("ordinary", 4, 5, 3, 3, DOUBLE),
            case("far", 3, 4, 2, 2, DOUBLE),
            case("far", 2, 5, 3, 3, DOUBLE),
        ]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n, 6, 2, 3),
        case("ordinary", n, n, 3, 2, DOUBLE),
        case("far", n, 6, 2, 4, DOUBLE),
        case("far", n, 5, n, 3, DOUBLE),
    ]


def _exponents(x_t, centres, variance, shrink):
    return (x_t[:, None] - shrink * centres).square().sum(2) / (-2 * variance)


def _by_class(exponent, labels, join=torch.logsumexp):
    """(N, K) -> (N, classes)."""
    return torch.stack([join(exponent[:, labels == y], 1) for y in range(int(labels.max()) + 1)], 1)


def _bayes(x_t, centres, labels, variance, shrink):
    return _by_class(_exponents(x_t, centres, variance, shrink), labels).log_softmax(1)


def posterior_exp_first(x_t, centres, labels, std, abar):
    """Far from all means each exponential is 0, and its logarithm infinite: take logsumexp of the exponents."""
    density = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5).exp()
    return (_by_class(density, labels, torch.sum) / density.sum(1, keepdim=True)).log()


def posterior_epsilon(x_t, centres, labels, std, abar):
    """A small number added before the logarithm hides how unlikely a class is: take logsumexp of the exponents."""
    density = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5).exp()
    return ((_by_class(density, labels, torch.sum) + 1e-12) / (density.sum(1, keepdim=True) + 1e-12)).log()


def posterior_clamped(x_t, centres, labels, std, abar):
    """The probabilities were kept away from 0, which makes the logarithm wrong: take logsumexp of the exponents."""
    density = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5).softmax(1)
    return _by_class(density, labels, torch.sum).clamp(min=1e-6).log()


def posterior_in_place(x_t, centres, labels, std, abar):
    """An argument itself gets changed: centres *= ... writes into the caller's tensor."""
    centres *= abar**0.5
    return _bayes(x_t, centres, labels, abar * std**2 + 1 - abar, 1.0)


def posterior_classes_alike(x_t, centres, labels, std, abar):
    """The classes were taken as equally likely: the Gaussians are, so a class with more of them is likelier."""
    counts = labels.bincount()
    exponent = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5)
    return (_by_class(exponent, labels) - counts.log()).log_softmax(1)


def posterior_probabilities(x_t, centres, labels, std, abar):
    """These are probabilities: their logarithms are asked for."""
    return _bayes(x_t, centres, labels, abar * std**2 + 1 - abar, abar**0.5).exp()


def posterior_not_normalised(x_t, centres, labels, std, abar):
    """The denominator is missing: subtract the logarithm of the sum over all Gaussians."""
    return _by_class(_exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5), labels)


def posterior_sign(x_t, centres, labels, std, abar):
    """The sign is wrong: this is minus log p."""
    return -_bayes(x_t, centres, labels, abar * std**2 + 1 - abar, abar**0.5)


def posterior_std_not_scaled(x_t, centres, labels, std, abar):
    """The data's variance is not scaled: v = abar s^2 + 1 - abar."""
    return _bayes(x_t, centres, labels, std**2 + 1 - abar, abar**0.5)


def posterior_of_noise_only(x_t, centres, labels, std, abar):
    """The variance is that of the noise alone: the data have a variance as well, v = abar s^2 + 1 - abar."""
    return _bayes(x_t, centres, labels, 1 - abar, abar**0.5)


def posterior_of_data_only(x_t, centres, labels, std, abar):
    """The variance is that of the clean data: noise has been added, v = abar s^2 + 1 - abar."""
    return _bayes(x_t, centres, labels, std**2, abar**0.5)


def posterior_std_not_squared(x_t, centres, labels, std, abar):
    """s is not squared: v = abar s^2 + 1 - abar."""
    return _bayes(x_t, centres, labels, abar * std + 1 - abar, abar**0.5)


def posterior_std_scaled_by_root(x_t, centres, labels, std, abar):
    """s^2 is scaled by sqrt(abar): a variance is scaled by abar."""
    return _bayes(x_t, centres, labels, abar**0.5 * std**2 + 1 - abar, abar**0.5)


def posterior_deviation(x_t, centres, labels, std, abar):
    """The squares are divided by the standard deviation: by the variance, 2 v."""
    return _bayes(x_t, centres, labels, (abar * std**2 + 1 - abar) ** 0.5, abar**0.5)


def posterior_clean_centres(x_t, centres, labels, std, abar):
    """The centres are those of the clean data: noised, they are sqrt(abar) c."""
    return _bayes(x_t, centres, labels, abar * std**2 + 1 - abar, 1.0)


def posterior_centres_by_abar(x_t, centres, labels, std, abar):
    """The centres are scaled by abar: by its root."""
    return _bayes(x_t, centres, labels, abar * std**2 + 1 - abar, abar)


def posterior_of_clean_data(x_t, centres, labels, std, abar):
    """This is the classifier of clean points: it has to know how much noise there is."""
    return _bayes(x_t, centres, labels, std**2, 1.0)


def posterior_no_half(x_t, centres, labels, std, abar):
    """The exponent lacks its half: the square is divided by 2 v."""
    return _bayes(x_t, centres, labels, (abar * std**2 + 1 - abar) / 2, abar**0.5)


def posterior_further_is_likelier(x_t, centres, labels, std, abar):
    """The exponent lacks its minus: a far mean is unlikely."""
    return _bayes(x_t, centres, labels, -(abar * std**2 + 1 - abar), abar**0.5)


def posterior_distance_not_squared(x_t, centres, labels, std, abar):
    """The distance is not squared."""
    away = (x_t[:, None] - abar**0.5 * centres).norm(dim=2)
    return _by_class(-away / (2 * (abar * std**2 + 1 - abar)), labels).log_softmax(1)


def posterior_of_nearest(x_t, centres, labels, std, abar):
    """Only the nearest Gaussian of each class counts: sum over all that the class owns."""
    exponent = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5)
    return _by_class(exponent, labels, torch.amax).log_softmax(1)


def posterior_sum_of_logs(x_t, centres, labels, std, abar):
    """The logarithms of a class's Gaussians are summed: sum the densities, then take the logarithm."""
    exponent = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5)
    return _by_class(exponent, labels, torch.sum).log_softmax(1)


def posterior_of_mean_centre(x_t, centres, labels, std, abar):
    """Each class is one Gaussian around the mean of its centres: it is a mixture of several."""
    means = torch.stack([centres[labels == y].mean(0) for y in range(int(labels.max()) + 1)])
    return _exponents(x_t, means, abar * std**2 + 1 - abar, abar**0.5).log_softmax(1)


def posterior_over_points(x_t, centres, labels, std, abar):
    """It is normalised over the points: over the classes, for each point."""
    exponent = _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5)
    return _by_class(exponent, labels).log_softmax(0)


def posterior_of_gaussians(x_t, centres, labels, std, abar):
    """This has a column for each Gaussian: one for each class, the sum over its Gaussians."""
    return _exponents(x_t, centres, abar * std**2 + 1 - abar, abar**0.5).log_softmax(1)


def posterior_of_x_given_y(x_t, centres, labels, std, abar):
    """This is log p(x_t given y), the density of each class: by Bayes' rule, p(y given x_t) is asked for."""
    v = abar * std**2 + 1 - abar
    density = _by_class(_exponents(x_t, centres, v, abar**0.5), labels) - labels.bincount().log()
    return density - x_t.shape[1] / 2 * math.log(2 * math.pi * v)


def posterior_by_matmul(x_t, centres, labels, std, abar):
    x_t, means = x_t.double(), abar**0.5 * centres.double()
    exponent = (x_t @ means.T - means.square().sum(1) / 2) / (abar * std**2 + 1 - abar)  # |x|^2 cancels
    member = F.one_hot(labels).double().log()
    return (exponent.log_softmax(1)[:, :, None] + member).logsumexp(1)


def posterior_by_loops(x_t, centres, labels, std, abar):
    rows, v = [], abar * (std * std - 1) + 1
    for x in x_t.tolist():
        away = [sum((p - abar**0.5 * q) ** 2 for p, q in zip(x, c)) / (2 * v) for c in centres.tolist()]
        total, least = {}, min(away)
        for y in range(int(labels.max()) + 1):
            own = [a for a, label in zip(away, labels.tolist()) if label == y]
            total[y] = -min(own) + math.log(sum(math.exp(min(own) - a) for a in own))
        everything = -least + math.log(sum(math.exp(least - a) for a in away))
        rows.append([value - everything for value in total.values()])
    return torch.tensor(rows, dtype=torch.float64)


# --- 9. two Gaussians -------------------------------------------------------------------------------------------------


def cases_two_variances(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(k, dtype=SINGLE):
        c, w = _uniform(g, k, low=0.3, high=0.8, dtype=dtype), _uniform(g, k, low=1.2, high=2.6, dtype=dtype)
        c[-1] = 1.1  # wider than p
        return Case("ordinary", {"c": c, "w": w})

    if not hidden:
        return [case(3), case(4, DOUBLE)]
    k = whole(g, 5, 8)
    return [case(k), case(k + 2, DOUBLE)]


def _variances(c, w, **others):
    """The right two, but for those that are given."""
    return tuple(({"samples": c ** (1 + w), "tilted": c / (1 + w - w * c)} | others).values())


def variances_tilted_same(c, w):
    """The tilted density has the variance of the samples here: guidance does not draw from it, that is the point."""
    return _variances(c, w, tilted=c ** (1 + w))


def variances_tilted_precision(c, w):
    """The second is the inverse of the variance."""
    return _variances(c, w, tilted=(1 + w - w * c) / c)


def variances_tilted_without_p(c, w):
    """In the tilted density p counts, too: it stands below with the power 1 + w and above with the power 1."""
    return _variances(c, w, tilted=c / (1 + w))


def variances_tilted_by_square(c, w):
    """p counts with the power -(1 + w) here: once more above, so -w together."""
    return _variances(c, w, tilted=1 / ((1 + w) / c - (1 + w)))


def variances_tilted_plus(c, w):
    """The inverse variance of p is added: p stands below, so it is subtracted, w times."""
    return _variances(c, w, tilted=c / (1 + w + w * c))


def variances_tilted_one_less(c, w):
    """The power is w here: it is 1 + w."""
    return _variances(c, w, tilted=c / (w + (1 - w) * c))


def variances_tilted_linear(c, w):
    """Variances were added up with the powers as weights: inverse variances are."""
    return _variances(c, w, tilted=(1 + w) * c - w)


def variances_tilted_deviation(c, w):
    """The second is a standard deviation: the variance is asked for."""
    return _variances(c, w, tilted=(c / (1 + w - w * c)).sqrt())


def variances_tilted_is_c(c, w):
    """The second is c, as without guidance."""
    return _variances(c, w, tilted=c.clone())


def variances_in_place(c, w):
    """An argument itself gets changed: w += 1 writes into the caller's tensor."""
    found = _variances(c, w)
    w += 1
    return found


def variances_samples_tilted(c, w):
    """The first is the variance of the tilted density, which guidance does not draw from: solve the equation for it."""
    return _variances(c, w, samples=c / (1 + w - w * c))


def variances_samples_deviation(c, w):
    """The first is a standard deviation, the factor of u: its square is the variance."""
    return _variances(c, w, samples=c ** ((1 + w) / 2))


def variances_samples_squared(c, w):
    """The first was squared once too often: the antiderivative has a half."""
    return _variances(c, w, samples=c ** (2 * (1 + w)))


def variances_samples_w(c, w):
    """The power is w here: told counts 1 + w times."""
    return _variances(c, w, samples=c**w)


def variances_samples_two_w(c, w):
    """The power is 1 + 2 w here: the part of p = N(0, 1) is 1 at sigma = 0 and adds nothing to it."""
    return _variances(c, w, samples=c ** (1 + 2 * w))


def variances_samples_minus_w(c, w):
    """The power is 1 - w here: told counts 1 + w times."""
    return _variances(c, w, samples=c ** (1 - w))


def variances_samples_linear(c, w):
    """The variances are mixed as the noises are: the equation has to be solved, its solution is a power."""
    return _variances(c, w, samples=(1 + w) * c - w)


def variances_samples_deviations_mixed(c, w):
    """The standard deviations are mixed as the noises are: the equation has to be solved, its solution is a power."""
    return _variances(c, w, samples=((1 + w) * c.sqrt() - w).square())


def variances_samples_is_c(c, w):
    """The first is c, as without guidance."""
    return _variances(c, w, samples=c.clone())


def variances_samples_divided(c, w):
    """The first is c / (1 + w): the equation has to be solved, its solution is a power."""
    return _variances(c, w, samples=c / (1 + w))


def variances_samples_exponential(c, w):
    """Base and exponent are exchanged, or the exponential of the wrong thing was taken: c to the power of 1 + w."""
    return _variances(c, w, samples=(1 + w) ** c)


def variances_one_only(c, w):
    """Two things are asked for: the variance of the samples and that of the tilted density."""
    return (c ** (1 + w),)


def variances_by_logs(c, w):
    return ((1 + w) * c.log()).exp(), 1 / ((1 + w) / c - w)


def variances_by_loops(c, w):
    rows = [(math.exp(math.log(a) * (1 + b)), 1 / (1 / a + b * (1 / a - 1))) for a, b in zip(c.tolist(), w.tolist())]
    return tuple(torch.tensor(rows, dtype=torch.float64).T)


# --- 10. choosing w ---------------------------------------------------------------------------------------------------


def cases_choose_w(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, k, exact=False, dtype=SINGLE):
        """By growing w: far too low, a little too low, good enough (three times), too low again. In 64ths."""
        first = k - 4  # the answer
        low, good = [-5, -11, -7, -9, -6, -8][: k - 5], [0, 7, 5] if exact else [3, 7, 1]
        target = whole(g, 40, 44)
        parts = target + torch.tensor([*low, -0.5, *good, -5], dtype=DOUBLE) - (20 if kind == "none" else 0)
        w = 0.3 + 0.8 * torch.arange(k) + 0.5 * _uniform(g, k, dtype=DOUBLE)
        order = torch.randperm(k, generator=g)
        places = ((order >= first) & (order < first + 3)).nonzero()[:, 0]  # the answer in the middle of the good ones
        order[places] = first + torch.tensor([2, 0, 1] if exact else [1, 0, 2])
        arrays = {"w": w.to(dtype)[order], "accuracy": (parts / 64).to(dtype)[order]}
        return Case(kind, arrays | {"target": scalar(target / 64)})

    if not hidden:
        return [case("ordinary", 6), case("ordinary", 7, True, DOUBLE), case("none", 6)]
    k = whole(g, 8, 10)
    return [case("ordinary", k, True), case("ordinary", k + 1, dtype=DOUBLE), case("none", k), case("none", 7)]


def _chosen(w, good):
    return w[good].min() if good.any() else torch.tensor(math.inf)


def choice_error_for_none(w, accuracy, target):
    """Where no w reaches the target, the minimum of nothing raises an error: return infinity there."""
    return w[accuracy >= target].min()


def choice_best_for_none(w, accuracy, target):
    """Where no w reaches the target, this is the best of them: infinity is asked for, as none is good enough."""
    good = accuracy >= target
    return w[good].min() if good.any() else w[accuracy.argmax()]


def choice_largest_for_none(w, accuracy, target):
    """Where no w reaches the target, this is the largest w: infinity is asked for."""
    good = accuracy >= target
    return w[good].min() if good.any() else w.max()


def choice_nan_for_none(w, accuracy, target):
    """Where no w reaches the target, this is NaN: infinity is asked for."""
    good = accuracy >= target
    return w[good].min() if good.any() else math.nan


def choice_zero_for_none(w, accuracy, target):
    """Where no w reaches the target, this is 0, which means no guidance: infinity is asked for."""
    good = accuracy >= target
    return w[good].min() if good.any() else 0.0


def choice_strictly_above(w, accuracy, target):
    """An accuracy that equals the target reaches it: at least, not more than."""
    return _chosen(w, accuracy > target)


def choice_largest(w, accuracy, target):
    """This is the largest w that reaches the target: the smallest is asked for."""
    good = accuracy >= target
    return w[good].max() if good.any() else math.inf


def choice_best(w, accuracy, target):
    """This is the w of the highest accuracy: the smallest that is good enough."""
    return w[accuracy.argmax()] if (accuracy >= target).any() else math.inf


def choice_first(w, accuracy, target):
    """This is the first in the list that reaches the target: the list is in no order, take the smallest w."""
    good = accuracy >= target
    return w[good][0] if good.any() else math.inf


def choice_last(w, accuracy, target):
    """This is the last in the list that reaches the target: the list is in no order, take the smallest w."""
    good = accuracy >= target
    return w[good][-1] if good.any() else math.inf


def choice_nearest(w, accuracy, target):
    """This is the w whose accuracy is nearest to the target, from either side: it has to reach it."""
    return w[(accuracy - target).abs().argmin()] if (accuracy >= target).any() else math.inf


def choice_barely(w, accuracy, target):
    """This is the w of the lowest accuracy that reaches the target: the smallest w is asked for."""
    good = accuracy >= target
    return w[good][accuracy[good].argmin()] if good.any() else math.inf


def choice_too_low(w, accuracy, target):
    """This is the smallest w that does not reach the target, or the smallest of all: take those that reach it."""
    return _chosen(w, accuracy < target)


def choice_accuracy(w, accuracy, target):
    """This is an accuracy: the w is asked for."""
    good = accuracy >= target
    return accuracy[good][w[good].argmin()] if good.any() else math.inf


def choice_mean(w, accuracy, target):
    """This is the mean of all w that reach the target: the smallest is asked for."""
    good = accuracy >= target
    return w[good].mean() if good.any() else math.inf


def choice_from_then_on(w, accuracy, target):
    """This wants all larger w to reach the target as well: accuracy need not grow with w."""
    bad = accuracy < target
    above = w > (w[bad].max() if bad.any() else -math.inf)
    return w[above].min() if above.any() else torch.tensor(math.inf)


def choice_all(w, accuracy, target):
    """These are all w that reach the target: the smallest of them is asked for."""
    return w[accuracy >= target]


def choice_by_sorting(w, accuracy, target):
    for weight, share in sorted(zip(w.tolist(), accuracy.tolist())):
        if share >= target:
            return weight
    return math.inf


def choice_by_infinity(w, accuracy, target):
    return torch.where(accuracy.double() < target, math.inf, w.double()).amin()


# --- 11. numbers and choices ------------------------------------------------------------------------------------------


def cases_numbers_and_choices(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(scales, weights, steps):
        arrays = {"guidance_scale": torch.tensor(scales, dtype=DOUBLE), "w": torch.tensor(weights, dtype=DOUBLE)}
        return Case("ordinary", arrays | {"steps": torch.tensor(steps)})

    if not hidden:
        return [case([7.5, 3.0], [2.0, 0.5], [25, 60])]
    questions = whole(g, 3, 5)
    scales = [between(g, 2.5, 9) for _ in range(questions)]
    weights = [between(g, 1.5, 6) for _ in range(questions)]
    return [case(scales, weights, [whole(g, 10, 200) for _ in range(questions)]), case([5.0], [4.0], [50])]


def _numbers(guidance_scale, w, steps):
    return {"a": guidance_scale - 1, "b": 1 + w, "c": 2 * steps, "d": 3, "e": 2}


def _but(numbers, **others):
    return tuple((numbers | others).values())


def numbers_one_pass(guidance_scale, w, steps):
    """c is twice that: each step asks for the told and for the untold noise."""
    return _but(_numbers(guidance_scale, w, steps), c=steps)


def numbers_one_untold(guidance_scale, w, steps):
    """c: the untold noise is not computed once for all steps. x_t changes, so each step asks for both."""
    return _but(_numbers(guidance_scale, w, steps), c=steps + 1)


def numbers_three_passes(guidance_scale, w, steps):
    """c: two rows a step, told and untold. Their combination asks the network nothing."""
    return _but(_numbers(guidance_scale, w, steps), c=3 * steps)


def numbers_passes_by_w(guidance_scale, w, steps):
    """c does not depend on w: told and untold are weighted, not asked for again."""
    return _but(_numbers(guidance_scale, w, steps), c=(1 + w) * steps)


def numbers_one_step(guidance_scale, w, steps):
    """c: that is one step; there are S of them."""
    return _but(_numbers(guidance_scale, w, steps), c=2)


def numbers_dropout_zero_conditional(guidance_scale, w, steps):
    """d: told - untold is not 0 without dropout. The untold answer is there, but nobody has taught it."""
    return _but(_numbers(guidance_scale, w, steps), d=1)


def numbers_dropout_zero_unconditional(guidance_scale, w, steps):
    """d: it is the untold answer that was never taught. Told is right, and told - untold is not 0."""
    return _but(_numbers(guidance_scale, w, steps), d=2)


def numbers_dropout_zero_harmless(guidance_scale, w, steps):
    """d: classifier-free guidance needs the untold answer in every step, and with no dropout it is never taught."""
    return _but(_numbers(guidance_scale, w, steps), d=4)


def numbers_null_is_conditional(guidance_scale, w, steps):
    """e: told - untold is 0, but what is left is the answer for the null label, the unconditional model's."""
    return _but(_numbers(guidance_scale, w, steps), e=1)


def numbers_null_untaught(guidance_scale, w, steps):
    """e: the network was taught both answers. But both halves are told the same: told - untold is 0."""
    return _but(_numbers(guidance_scale, w, steps), e=3)


def numbers_null_harmless(guidance_scale, w, steps):
    """e: no label is told, so nothing is asked for: told - untold is 0."""
    return _but(_numbers(guidance_scale, w, steps), e=4)


def numbers_choices_swapped(guidance_scale, w, steps):
    """d and e are exchanged: without dropout the untold answer is untaught, with null labels both are untold."""
    return _but(_numbers(guidance_scale, w, steps), d=2, e=3)


def numbers_same_convention(guidance_scale, w, steps):
    """a: the conventions differ. With guidance_scale = 1 untold cancels: that is w = 0."""
    return _but(_numbers(guidance_scale, w, steps), a=guidance_scale)


def numbers_wrong_way(guidance_scale, w, steps):
    """a is one less, not one more: with guidance_scale = 1 untold cancels, which is w = 0."""
    return _but(_numbers(guidance_scale, w, steps), a=guidance_scale + 1)


def numbers_ratio(guidance_scale, w, steps):
    """a: compare the coefficients of told, guidance_scale and 1 + w."""
    return _but(_numbers(guidance_scale, w, steps), a=(guidance_scale - 1) / guidance_scale)


def numbers_minus(guidance_scale, w, steps):
    """a has the wrong sign: the coefficient of told is guidance_scale and 1 + w."""
    return _but(_numbers(guidance_scale, w, steps), a=1 - guidance_scale)


def numbers_scale_w(guidance_scale, w, steps):
    """b: from the conditional model it is w. From the unconditional one the way to told has to be gone as well."""
    return _but(_numbers(guidance_scale, w, steps), b=w)


def numbers_scale_less(guidance_scale, w, steps):
    """b is one more, not one less: w = 0 is the conditional model, for which the classifier counts once."""
    return _but(_numbers(guidance_scale, w, steps), b=w - 1)


def numbers_scale_twice(guidance_scale, w, steps):
    """b: told is untold plus the classifier once; guidance adds it w times more."""
    return _but(_numbers(guidance_scale, w, steps), b=2 * w)


def numbers_neither(guidance_scale, w, steps):
    """a and b were exchanged: subtract 1 for the library's setting, add 1 for the unconditional model."""
    return _but(_numbers(guidance_scale, w, steps), a=guidance_scale + 1, b=w - 1)


def numbers_by_torch(guidance_scale, w, steps):
    return torch.tensor([guidance_scale - 1, w + 1, steps + steps, 3.0, 2.0], dtype=torch.float64)


def numbers_as_list(guidance_scale, w, steps):
    passes_of_a_step = len(("told", "untold"))
    return [-(1 - guidance_scale), 1 - -w, steps * passes_of_a_step, 6 // 2, 4 // 2]


# --- the sheet --------------------------------------------------------------------------------------------------------

VALUES = "gives the right values"
GUIDANCE = "course_lib.diffusion.guidance:"

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "label_dropout",
        (
            Property(VALUES, 2),
            Property("drops captions as a whole", 1, "captions"),
            UNCHANGED,
        ),
        cases_label_dropout,
        mutants=(
            dropout_classes_only,
            dropout_first_word,
            dropout_one_null_word,
            dropout_in_place,
            dropout_reversed,
            dropout_keeps_p,
            dropout_above,
            dropout_first_decides,
            dropout_mean_decides,
            dropout_to_zero,
            dropout_to_minus_one,
            dropout_to_one_more,
            dropout_to_another,
            dropout_zeroes_kept,
            dropout_adds,
            dropout_removes_rows,
            dropout_all,
            dropout_none,
            dropout_the_first,
        ),
        alternatives=(dropout_by_indices, dropout_by_loops),
        hides=(
            "course_lib.diffusion.conditional:with_dropout",
            "course_lib.diffusion.conditional:ConditionalDDPM",
        ),
    ),
    Master(
        "guided_eps",
        (
            Property(VALUES, 3),
            Property("takes a weight for each row", 1, "rows"),
            UNCHANGED,
        ),
        cases_guided_eps,
        mutants=(
            guided_along_columns,
            guided_first_w,
            guided_mean_w,
            guided_in_place,
            guided_one_less,
            guided_one_more,
            guided_towards_untold,
            guided_untold_added,
            guided_untold_forgotten,
            guided_swapped,
            guided_difference,
            guided_one_at_untold,
            guided_untold_whole,
            guided_told_once,
            guided_not_at_all,
            guided_normalised,
            guided_average,
            guided_w_squared,
            guided_absolute,
            guided_rescaled,
        ),
        alternatives=(guided_by_coefficients, guided_by_lerp),
        hides=(GUIDANCE + "guided",),
    ),
    Master(
        "classifier_gradient",
        (
            Property(VALUES, 2),
            Property("works inside no_grad", 1, "sampling"),
            Property("leaves no trace in the weights", 1, outputs=("without",)),
            UNCHANGED,
        ),
        cases_classifier_gradient,
        mutants=(
            gradient_not_enabled,
            gradient_backward,
            gradient_keeps_graph,
            gradient_marks_argument,
            gradient_zeros,
            gradient_sign,
            gradient_of_p,
            gradient_mean,
            gradient_cross_entropy,
            gradient_of_all_classes,
            gradient_of_logit,
            gradient_of_all_logits,
            gradient_of_likeliest,
            gradient_softmax_over_rows,
            gradient_first_label,
            gradient_class_zero,
            gradient_columns,
            gradient_first_row,
            gradient_at_step_zero,
            gradient_direction_only,
            gradient_signs_only,
            gradient_of_rows,
        ),
        alternatives=(gradient_by_one_hot, gradient_by_rows),
        hides=(
            GUIDANCE + "input_gradient",
            GUIDANCE + "NoisyClassifier",
        ),
    ),
    Master(
        "classifier_guided_eps",
        (
            Property(VALUES, 3),
            Property("takes rows of any shape", 1, "shapes"),
            UNCHANGED,
        ),
        cases_classifier_guided_eps,
        mutants=(
            push_rows_only,
            push_in_place,
            push_along_columns,
            push_plus,
            push_not_rooted,
            push_no_level,
            push_root_of_abar,
            push_abar,
            push_root_of_rest,
            push_divided,
            push_ratio,
            push_no_scale,
            push_one_more,
            push_one_less,
            push_scale_rooted,
            push_all_scaled,
            push_one_plus_eps,
            push_noise_scaled,
            push_gradient_only,
            push_score,
            push_first_level,
            push_mean_level,
            push_not_at_all,
        ),
        alternatives=(push_by_score, push_by_loops),
        hides=(GUIDANCE + "classifier_guided",),
    ),
    Master(
        "guided_in_one_pass",
        (
            Property(VALUES, 2),
            Property("asks once, for 2N rows", 1, outputs=("calls", "rows")),
            Property("takes captions", 1, "captions"),
            UNCHANGED,
        ),
        cases_guided_in_one_pass,
        mutants=(
            pass_classes_only,
            pass_one_null_word,
            pass_first_word_only,
            pass_twice,
            pass_row_by_row,
            pass_three_times,
            pass_labels_in_place,
            pass_never_untold,
            pass_never_told,
            pass_swapped,
            pass_null_once,
            pass_null_zero,
            pass_step_zero,
            pass_steps_interleaved,
            pass_first_step,
            pass_steps_not_stacked,
            pass_empty_pictures,
            pass_pictures_reversed,
            pass_taken_apart_wrongly,
            pass_one_less,
            pass_one_more,
            pass_minus_w,
            pass_all_rows,
        ),
        alternatives=(pass_untold_first, pass_interleaved),
        hides=(GUIDANCE + "guided",),
    ),
    Master(
        "caption_vector",
        (
            Property(VALUES, 2),
            Property("gives zeros for an empty caption", 1, "empty"),
            gradient(1),
            UNCHANGED,
        ),
        cases_caption_vector,
        mutants=(
            caption_nan_gradient,
            caption_empty_nan,
            caption_empty_mean,
            caption_empty_first,
            caption_empty_ones,
            caption_empty_left_out,
            caption_detached,
            caption_in_place,
            caption_all_places,
            caption_divided_by_length,
            caption_sum,
            caption_one_more,
            caption_absent_words,
            caption_first_places,
            caption_until_hole,
            caption_until_last,
            caption_by_token,
            caption_count_of_batch,
            caption_root_of_count,
            caption_largest,
            caption_unit_length,
            caption_over_batch,
            caption_last_word,
        ),
        alternatives=(caption_by_loops, caption_by_matmul),
        hides=("course_lib.nets.text:TextTransformer",),
    ),
    Master(
        "guided_ddim_step",
        (
            Property("steps where the limit is not reached", 3),
            Property("keeps the guess within the limit", 2, "limit"),
            UNCHANGED,
        ),
        cases_guided_ddim_step,
        mutants=(
            step_no_limit,
            step_old_noise,
            step_old_guess,
            step_limit_above,
            step_limit_of_result,
            step_limit_of_eps,
            step_limits_first,
            step_scaled_to_limit,
            step_beyond_to_zero,
            step_in_place,
            step_limit_one,
            step_limit_from_zero,
            step_one_less,
            step_minus_w,
            step_swapped,
            step_not_guided,
            step_untold_direction,
            step_told_direction,
            step_told_guess,
            step_levels_swapped,
            step_back_to_t,
            step_guess_only,
            step_no_direction,
            step_noise_added,
            step_not_divided,
            step_divided_by_abar,
            step_not_rooted,
            step_not_stepped,
        ),
        alternatives=(step_by_coefficients, step_in_double),
        hides=(
            GUIDANCE + "guided",
            "course_lib.diffusion.samplers:ddim",
        ),
    ),
    Master(
        "exact_label_posterior",
        (
            Property(VALUES, 3),
            Property("stays right far away", 1, "far"),
            UNCHANGED,
        ),
        cases_exact_label_posterior,
        mutants=(
            posterior_exp_first,
            posterior_epsilon,
            posterior_clamped,
            posterior_in_place,
            posterior_classes_alike,
            posterior_probabilities,
            posterior_not_normalised,
            posterior_sign,
            posterior_std_not_scaled,
            posterior_of_noise_only,
            posterior_of_data_only,
            posterior_std_not_squared,
            posterior_std_scaled_by_root,
            posterior_deviation,
            posterior_clean_centres,
            posterior_centres_by_abar,
            posterior_of_clean_data,
            posterior_no_half,
            posterior_further_is_likelier,
            posterior_distance_not_squared,
            posterior_of_nearest,
            posterior_sum_of_logs,
            posterior_of_mean_centre,
            posterior_over_points,
            posterior_of_gaussians,
            posterior_of_x_given_y,
        ),
        alternatives=(posterior_by_matmul, posterior_by_loops),
        hides=("course_lib.diffusion.exact:MixtureNoise",),
    ),
    Master(
        "two_variances",
        (
            Property("gives the samples' variance", 2, outputs=("samples",)),
            Property("gives the tilted density's variance", 1, outputs=("tilted",)),
            UNCHANGED,
        ),
        cases_two_variances,
        mutants=(
            variances_tilted_same,
            variances_tilted_precision,
            variances_tilted_without_p,
            variances_tilted_by_square,
            variances_tilted_plus,
            variances_tilted_one_less,
            variances_tilted_linear,
            variances_tilted_deviation,
            variances_tilted_is_c,
            variances_in_place,
            variances_samples_tilted,
            variances_samples_deviation,
            variances_samples_squared,
            variances_samples_w,
            variances_samples_two_w,
            variances_samples_minus_w,
            variances_samples_linear,
            variances_samples_deviations_mixed,
            variances_samples_is_c,
            variances_samples_divided,
            variances_samples_exponential,
            variances_one_only,
        ),
        alternatives=(variances_by_logs, variances_by_loops),
    ),
    Master(
        "choose_w",
        (
            Property("chooses the smallest w that is good enough", 2),
            Property("says infinity where none is", 1, "none"),
        ),
        cases_choose_w,
        mutants=(
            choice_error_for_none,
            choice_best_for_none,
            choice_largest_for_none,
            choice_nan_for_none,
            choice_zero_for_none,
            choice_strictly_above,
            choice_largest,
            choice_best,
            choice_first,
            choice_last,
            choice_nearest,
            choice_barely,
            choice_too_low,
            choice_accuracy,
            choice_mean,
            choice_from_then_on,
            choice_all,
        ),
        alternatives=(choice_by_sorting, choice_by_infinity),
    ),
    Master(
        "numbers_and_choices",
        (
            Property("knows the conventions (a, b)", 1, outputs=("conventions",)),
            Property("knows the cost (c)", 1, outputs=("cost",)),
            Property("knows what goes wrong (d, e)", 1, outputs=("choices",)),
        ),
        cases_numbers_and_choices,
        mutants=(
            numbers_one_pass,
            numbers_one_untold,
            numbers_three_passes,
            numbers_passes_by_w,
            numbers_one_step,
            numbers_dropout_zero_conditional,
            numbers_dropout_zero_unconditional,
            numbers_dropout_zero_harmless,
            numbers_null_is_conditional,
            numbers_null_untaught,
            numbers_null_harmless,
            numbers_choices_swapped,
            numbers_same_convention,
            numbers_wrong_way,
            numbers_ratio,
            numbers_minus,
            numbers_scale_w,
            numbers_scale_less,
            numbers_scale_twice,
            numbers_neither,
        ),
        alternatives=(numbers_by_torch, numbers_as_list),
    ),
]
