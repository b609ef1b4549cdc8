"""Exercises 14, denoising diffusion: how answers are called, on which cases, and what goes wrong with them.

A driver calls an answer on the arrays of one case and returns what came of it.
"""

from torch import Tensor

from course_lib.grading.drive import function, gradients, on_case, several


def drive_schedule(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """betas. `alpha`, `abar`, `btilde`: what comes back."""
    return several(answer, ("alpha", "abar", "btilde"), {"betas": a["betas"]})


def drive_q_sample(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x0, t, eps, abar."""
    return on_case(answer, a, ("x0", "t", "eps", "abar"))


def drive_chain(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x0, step_noise, betas. `path`, `eps`: what comes back."""
    return several(answer, ("path", "eps"), {name: a[name] for name in ("x0", "step_noise", "betas")})


def drive_posterior(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x0, x_t, t, betas. `mean`, `variance`: what comes back."""
    return several(answer, ("mean", "variance"), {name: a[name] for name in ("x0", "x_t", "t", "betas")})


def drive_guess_x0(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x_t, eps_hat, t, abar; limit, None where the case has none."""
    limit = a["limit"].item() if "limit" in a else None
    return function(answer, {name: a[name] for name in ("x_t", "eps_hat", "t", "abar")}, limit)


def drive_simple_loss(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """Builds a tiny network from the weights; x0, t, eps, abar. `gradient ...`: of the network's weights."""
    weights = {name: a[name].requires_grad_() for name in ("first", "time", "last")}

    def net(x_t, t):
        hidden = (x_t.flatten(1) @ weights["first"] + t[:, None] * weights["time"]).sin()
        return (hidden @ weights["last"]).view_as(x_t)

    value = answer(net, a["x0"], a["t"], a["eps"], a["abar"])
    return {"value": value} | gradients(value, weights)


def drive_ancestral_step(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x_t, eps_hat, step_noise, betas, t, large."""
    return on_case(answer, a, ("x_t", "eps_hat", "step_noise", "betas"), ("t", "large"))


def drive_ddim_step(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x_t, eps_hat, step_noise, abar_t, abar_s, eta."""
    return on_case(answer, a, ("x_t", "eps_hat", "step_noise"), ("abar_t", "abar_s", "eta"))


def drive_loss_weights(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """betas. `bound`, `next`: what comes back."""
    return several(answer, ("bound", "next"), {"betas": a["betas"]})


def drive_score_of_mixture(answer, a: dict[str, Tensor]) -> dict[str, Tensor]:
    """x, centres, std, abar."""
    return on_case(answer, a, ("x", "centres"), ("std", "abar"))


# --- private: what stands above is given to students ------------------------------------------------------------------

import math  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from course_lib.grading.draw import between, normal, scalar, whole  # noqa: E402
from course_lib.grading.exercise import UNCHANGED, Case, Master, Property  # noqa: E402

SINGLE, DOUBLE = torch.float32, torch.float64


def _betas(g: torch.Generator, steps: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """A growing schedule, of large steps, so that each mistake shows."""
    return (0.08 + 0.3 * torch.rand(steps, generator=g, dtype=DOUBLE)).sort().values.to(dtype)


def _abar(g: torch.Generator, steps: int, dtype: torch.dtype = SINGLE) -> Tensor:
    return (1 - _betas(g, steps, DOUBLE)).cumprod(0).to(dtype)


def _steps(g: torch.Generator, n: int, low: int, high: int) -> Tensor:
    """n >= 2 different steps of low..high-1; low comes last, so that row n never has step n."""
    others = low + 1 + torch.randperm(high - low - 1, generator=g)[: n - 1]
    return torch.cat([others, torch.tensor([low])])


def _wide(levels: Tensor, x: Tensor) -> Tensor:
    """(N,) -> (N, 1, ...), to multiply rows."""
    return levels.view(-1, *[1] * (x.ndim - 1))


def _before(abar: Tensor) -> Tensor:
    return torch.cat([abar.new_ones(1), abar[:-1]])


def _levels(betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha, abar and btilde."""
    abar = (1 - betas).cumprod(0)
    return 1 - betas, abar, betas * (1 - _before(abar)) / (1 - abar)


# --- 1. schedule ------------------------------------------------------------------------------------------------------


def cases_schedule(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(steps, dtype=SINGLE):
        return Case("ordinary", {"betas": _betas(g, steps, dtype)})

    if not hidden:
        return [case(3), case(4, DOUBLE)]
    steps = whole(g, 6, 10)
    return [case(steps), case(steps + 3, DOUBLE), case(5)]


def btilde_is_beta(betas):
    """btilde is beta here: multiply it by (1 - abar of the step before) / (1 - abar)."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, betas.clone()


def btilde_wraps_around(betas):
    """Before the first step abar is 1; here it is that of the last step, as roll gives it."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - abar.roll(1)) / (1 - abar) * betas


def btilde_zero_before(betas):
    """Before the first step abar is 1, not 0: nothing has happened yet, and the first btilde is 0."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - torch.cat([abar.new_zeros(1), abar[:-1]])) / (1 - abar) * betas


def btilde_first_is_beta(betas):
    """All but the first btilde are right: before the first step abar is 1, so that btilde is 0 there."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar, torch.cat([betas[:1], btilde[1:]])


def btilde_ratio_upside_down(betas):
    """The fraction is upside down: 1 - abar of the step before stands above, so that btilde is less than beta."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - abar) / (1 - _before(abar)) * betas


def btilde_without_beta(betas):
    """btilde lacks its factor beta."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - _before(abar)) / (1 - abar)


def btilde_of_alpha(betas):
    """The factor is alpha here, where beta belongs."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, alpha * (1 - _before(abar)) / (1 - abar)


def btilde_root(betas):
    """This is the standard deviation: btilde is a variance, without a root."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar, btilde.sqrt()


def btilde_of_abar(betas):
    """The fraction is made of abar itself: it is (1 - abar of the step before) / (1 - abar)."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, _before(abar) / abar * betas


def btilde_of_alphas(betas):
    """The fraction is made of alpha, of one step: it wants abar, of all steps so far."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - _before(alpha)) / (1 - alpha) * betas


def btilde_rooted_levels(betas):
    """In the fraction abar was put under a root: the variance of the noise is 1 - abar."""
    alpha, abar, _ = _levels(betas)
    return alpha, abar, (1 - _before(abar).sqrt()) / (1 - abar.sqrt()) * betas


def btilde_squared_noise(betas):
    """The fraction is squared."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar, btilde.square() / betas


def btilde_one_short(betas):
    """btilde has T entries: that of the first step is 0, not absent."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar, btilde[1:]


def schedule_in_place(betas):
    """The argument itself gets changed: betas *= ... or betas[0] = ... writes into the caller's tensor."""
    found = _levels(betas)
    betas *= 0.5
    return found


def abar_sum(betas):
    """abar is the sum of the alphas so far: it is their product."""
    alpha = 1 - betas
    abar = alpha.cumsum(0)
    return alpha, abar, (1 - _before(abar)) / (1 - abar) * betas


def abar_one_minus_sum(betas):
    """abar is 1 minus the sum of the betas: that is right for tiny betas only, it is the product of the alphas."""
    alpha = 1 - betas
    abar = 1 - betas.cumsum(0)
    return alpha, abar, (1 - _before(abar)) / (1 - abar) * betas


def abar_product_of_betas(betas):
    """abar is the product of the betas: it is that of the alphas."""
    abar = betas.cumprod(0)
    return 1 - betas, abar, (1 - _before(abar)) / (1 - abar) * betas


def abar_one_minus_product(betas):
    """abar is 1 minus the product of the betas: first 1 - beta, then the product."""
    abar = 1 - betas.cumprod(0)
    return 1 - betas, abar, (1 - _before(abar)) / (1 - abar) * betas


def abar_shifted(betas):
    """abar is off by one: entry 0 belongs to the first step and is alpha of that step, not 1."""
    alpha, abar, btilde = _levels(betas)
    return alpha, _before(abar), btilde


def abar_with_one_in_front(betas):
    """abar has T entries: the 1 before the first step stands in no table."""
    alpha, abar, btilde = _levels(betas)
    return alpha, torch.cat([abar.new_ones(1), abar]), btilde


def abar_is_alpha(betas):
    """abar is alpha, of one step: it is the product of all alphas so far."""
    alpha = 1 - betas
    return alpha, alpha, (1 - _before(alpha)) / (1 - alpha) * betas


def abar_total(betas):
    """abar is one number for all steps: step t has the product of the alphas up to t. cumprod does that."""
    alpha, _, btilde = _levels(betas)
    return alpha, alpha.prod().expand(len(betas)), btilde


def abar_from_the_end(betas):
    """The product runs from the last step to the first: it begins with the first step."""
    alpha, _, btilde = _levels(betas)
    return alpha, alpha.flip(0).cumprod(0).flip(0), btilde


def abar_root(betas):
    """This is the root of abar, the coefficient in the jump: abar is the product itself."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar.sqrt(), btilde


def abar_noise(betas):
    """This is 1 - abar, the noise's variance: abar is what is left of the picture's."""
    alpha, abar, btilde = _levels(betas)
    return alpha, 1 - abar, btilde


def abar_logarithm(betas):
    """This is the logarithm of abar: the exponential is missing."""
    alpha, abar, btilde = _levels(betas)
    return alpha, abar.log(), btilde


def abar_mean(betas):
    """abar is the mean of the alphas so far: the bar means their product."""
    alpha, _, btilde = _levels(betas)
    return alpha, alpha.cumsum(0) / torch.arange(1, len(betas) + 1), btilde


def alpha_is_beta(betas):
    """alpha is beta here: alpha = 1 - beta."""
    _, abar, btilde = _levels(betas)
    return betas.clone(), abar, btilde


def alpha_root(betas):
    """alpha got a root: alpha = 1 - beta, roots come in the jump."""
    alpha, abar, btilde = _levels(betas)
    return alpha.sqrt(), abar, btilde


def schedule_swapped(betas):
    """The results are in another order: alpha, abar, btilde."""
    alpha, abar, btilde = _levels(betas)
    return abar, alpha, btilde


def schedule_two(betas):
    """Three things are asked for: alpha, abar and btilde."""
    return _levels(betas)[1:]


def schedule_by_loops(betas):
    alpha, abar, btilde, product = [], [], [], 1.0
    for beta in betas.tolist():
        before, product = product, product * (1 - beta)
        alpha.append(1 - beta)
        abar.append(product)
        btilde.append((1 - before) / (1 - product) * beta)
    return tuple(torch.tensor(values, dtype=torch.float64) for values in (alpha, abar, btilde))


def schedule_by_precisions(betas):
    alpha = 1 - betas
    abar = torch.log1p(-betas).cumsum(0).exp()
    before = F.pad(abar[:-1], (1, 0), value=1.0)
    return alpha, abar, 1 / (alpha / betas + 1 / (1 - before))


# --- 2. the jump ------------------------------------------------------------------------------------------------------


def cases_q_sample(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, steps, *shape, dtype=SINGLE):
        arrays = {"x0": normal(g, *shape, dtype=dtype), "t": _steps(g, shape[0], 0, steps)}
        return Case(kind, arrays | {"eps": normal(g, *shape, dtype=dtype), "abar": _abar(g, steps, dtype)})

    if not hidden:
        return [
            case("ordinary", 4, 3, 2),
            case("ordinary", 5, 3, 3, dtype=DOUBLE),
            case("shapes", 4, 2, 1, 2, 3),
            case("shapes", 4, 3, 3, 3),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n + 2, n, 3),
        case("ordinary", n + 3, n, n, dtype=DOUBLE),
        case("shapes", n + 1, n, 2, 3, 2, dtype=DOUBLE),
        case("shapes", n + 1, n, n, n),
    ]


def jump_rows_only(x0, t, eps, abar):
    """abar[t][:, None] suits points (N, D), but pictures have more dimensions: give it as many as x0 has."""
    left = abar[t][:, None]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_in_place(x0, t, eps, abar):
    """An argument itself gets changed: x0 *= ... writes into the caller's tensor."""
    left = _wide(abar[t], x0)
    x0 *= left.sqrt()
    x0 += (1 - left).sqrt() * eps
    return x0


def jump_picture_not_rooted(x0, t, eps, abar):
    """The picture's coefficient lacks its root: it is sqrt(abar)."""
    left = _wide(abar[t], x0)
    return left * x0 + (1 - left).sqrt() * eps


def jump_noise_not_rooted(x0, t, eps, abar):
    """The noise's variance is used as its standard deviation: its coefficient is sqrt(1 - abar)."""
    left = _wide(abar[t], x0)
    return left.sqrt() * x0 + (1 - left) * eps


def jump_no_roots(x0, t, eps, abar):
    """Both roots are missing: variances add up, so coefficients are roots."""
    left = _wide(abar[t], x0)
    return left * x0 + (1 - left) * eps


def jump_root_of_rest(x0, t, eps, abar):
    """The noise's coefficient is 1 - sqrt(abar): the squares of both must sum to 1, so it is sqrt(1 - abar)."""
    left = _wide(abar[t], x0)
    return left.sqrt() * x0 + (1 - left.sqrt()) * eps


def jump_swapped(x0, t, eps, abar):
    """The coefficients are swapped: abar is what is left of the picture."""
    left = _wide(abar[t], x0)
    return (1 - left).sqrt() * x0 + left.sqrt() * eps


def jump_one_early(x0, t, eps, abar):
    """t is off by one: abar[t] is that of step t as it is in code, which begins with 0. Nothing is subtracted."""
    left = _wide(abar[t - 1], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_one_before(x0, t, eps, abar):
    """This noises up to the step before: a 1 was put in front of abar, but abar[0] is the first step's."""
    left = _wide(_before(abar)[t], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_one_late(x0, t, eps, abar):
    """This noises one step too far: abar[t] is that of step t as it is in code, which begins with 0."""
    left = _wide(abar[(t + 1).clamp(max=len(abar) - 1)], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_alpha(x0, t, eps, abar):
    """This is a single step, with alpha of step t: the jump takes abar, all alphas so far."""
    left = _wide((abar / _before(abar))[t], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_product_twice(x0, t, eps, abar):
    """abar was multiplied up once more: it is the product already."""
    left = _wide(abar.cumprod(0)[t], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_first_t(x0, t, eps, abar):
    """The whole batch has the first row's t: each row has its own."""
    left = abar[t[0]]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_mean_level(x0, t, eps, abar):
    """The whole batch has one mean abar: each row has its own."""
    left = abar[t].mean()
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_along_columns(x0, t, eps, abar):
    """abar[t] is spread along the last dimension: each row has its own t, so it wants dimensions behind, (N, 1)."""
    left = abar[t]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_by_row(x0, t, eps, abar):
    """Row n has abar[n]: it is abar[t[n]], the step is drawn for each row."""
    left = _wide(abar[: len(x0)], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def jump_to_the_end(x0, t, eps, abar):
    """All rows are noised up to the last step: each up to its own t."""
    return abar[-1].sqrt() * x0 + (1 - abar[-1]).sqrt() * eps


def jump_no_noise(x0, t, eps, abar):
    """This is the mean of x_t: the noise is missing."""
    return _wide(abar[t], x0).sqrt() * x0


def jump_whole_noise(x0, t, eps, abar):
    """The noise has the coefficient 1: it is sqrt(1 - abar), so that variance 1 stays variance 1."""
    return _wide(abar[t], x0).sqrt() * x0 + eps


def jump_whole_picture(x0, t, eps, abar):
    """The picture keeps the coefficient 1: it is sqrt(abar), so that variance 1 stays variance 1."""
    return x0 + (1 - _wide(abar[t], x0)).sqrt() * eps


def jump_noise_subtracted(x0, t, eps, abar):
    """The noise is subtracted: as likely, but then eps is not what the network is to say."""
    left = _wide(abar[t], x0)
    return left.sqrt() * x0 - (1 - left).sqrt() * eps


def jump_exploding(x0, t, eps, abar):
    """This is x_t divided by sqrt(abar): there the variance explodes. In DDPM the picture shrinks."""
    left = _wide(abar[t], x0)
    return x0 + ((1 - left) / left).sqrt() * eps


def jump_with_noise_returned(x0, t, eps, abar):
    """One thing is asked for, x_t: the noise is known to who calls."""
    left = _wide(abar[t], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps, eps


def jump_by_einsum(x0, t, eps, abar):
    signal, noise = abar.sqrt().gather(0, t), torch.sqrt(1 - abar).gather(0, t)
    return torch.einsum("n,n...->n...", signal, x0) + torch.einsum("n,n...->n...", noise, eps)


def jump_by_loops(x0, t, eps, abar):
    left = [abar[step].item() for step in t]
    return torch.stack([math.sqrt(a) * x + math.sqrt(1 - a) * e for a, x, e in zip(left, x0, eps)])


# --- 3. the chain -----------------------------------------------------------------------------------------------------


def cases_chain(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(steps, n, d, dtype=SINGLE):
        arrays = {"x0": normal(g, n, d, dtype=dtype), "step_noise": normal(g, steps, n, d, dtype=dtype)}
        return Case("ordinary", arrays | {"betas": _betas(g, steps, dtype)})

    if not hidden:
        return [case(3, 2, 2), case(4, 3, 2, DOUBLE)]
    steps = whole(g, 5, 8)
    return [case(steps, 4, 3), case(steps + 2, 2, steps, DOUBLE)]


def _walk(x0, step_noise, betas, step=None):
    """The path of a step (x, beta, noise) -> x; by default the right one."""
    step = step or (lambda x, beta, noise: (1 - beta).sqrt() * x + beta.sqrt() * noise)
    x, path = x0, []
    for beta, noise in zip(betas, step_noise):
        x = step(x, beta, noise)
        path.append(x)
    return torch.stack(path)


def _jumped(x0, x, betas):
    abar = (1 - betas).prod()
    return (x - abar.sqrt() * x0) / (1 - abar).sqrt()


def _walked(x0, step_noise, betas, step):
    path = _walk(x0, step_noise, betas, step)
    return path, _jumped(x0, path[-1], betas)


def chain_last_noise(x0, step_noise, betas):
    """The last step's noise is no noise of the jump: each step's has a part in it."""
    return _walk(x0, step_noise, betas), step_noise[-1].clone()


def chain_mean_noise(x0, step_noise, betas):
    """The mean of the steps' noise has too small a variance, and later steps weigh more: solve the jump for eps."""
    return _walk(x0, step_noise, betas), step_noise.mean(0)


def chain_sum_noise(x0, step_noise, betas):
    """The sum of all noise over sqrt(T) weighs each step alike: later ones count more. Solve the jump for eps."""
    return _walk(x0, step_noise, betas), step_noise.sum(0) / len(betas) ** 0.5


def chain_noise_by_beta(x0, step_noise, betas):
    """What a step has added shrinks in the later ones: weights sqrt(beta) alone are not right. Solve the jump for
    eps."""
    abar = (1 - betas).prod()
    return _walk(x0, step_noise, betas), (betas.sqrt()[:, None, None] * step_noise).sum(0) / (1 - abar).sqrt()


def chain_eps_not_divided(x0, step_noise, betas):
    """This is all the noise in x_T: divided by sqrt(1 - abar) it has variance 1, and is eps."""
    path = _walk(x0, step_noise, betas)
    return path, path[-1] - (1 - betas).prod().sqrt() * x0


def chain_eps_by_variance(x0, step_noise, betas):
    """eps is divided by the variance 1 - abar: take its root."""
    path, abar = _walk(x0, step_noise, betas), (1 - betas).prod()
    return path, (path[-1] - abar.sqrt() * x0) / (1 - abar)


def chain_eps_not_rooted(x0, step_noise, betas):
    """In eps the picture's share lacks its root: sqrt(abar) x_0 is subtracted."""
    path, abar = _walk(x0, step_noise, betas), (1 - betas).prod()
    return path, (path[-1] - abar * x0) / (1 - abar).sqrt()


def chain_eps_whole_picture(x0, step_noise, betas):
    """In eps the whole x_0 is subtracted: of it only sqrt(abar) x_0 is left in x_T."""
    path, abar = _walk(x0, step_noise, betas), (1 - betas).prod()
    return path, (path[-1] - x0) / (1 - abar).sqrt()


def chain_eps_of_last_step(x0, step_noise, betas):
    """In eps stands alpha of the last step: the jump has abar, the product of all."""
    path = _walk(x0, step_noise, betas)
    return path, (path[-1] - (1 - betas[-1]).sqrt() * x0) / betas[-1].sqrt()


def chain_eps_sign(x0, step_noise, betas):
    """The sign of eps is wrong."""
    path = _walk(x0, step_noise, betas)
    return path, -_jumped(x0, path[-1], betas)


def chain_eps_each(x0, step_noise, betas):
    """eps is asked of the last step only, (N, D)."""
    path, abar = _walk(x0, step_noise, betas), (1 - betas).cumprod(0)[:, None, None]
    return path, (path - abar.sqrt() * x0) / (1 - abar).sqrt()


def chain_in_place(x0, step_noise, betas):
    """An argument itself gets changed: x *= ... writes into x0 where x is that very tensor."""
    path, x, start = [], x0, x0.clone()
    for beta, noise in zip(betas, step_noise):
        x *= (1 - beta).sqrt()
        x += beta.sqrt() * noise
        path.append(x.clone())
    return torch.stack(path), _jumped(start, x, betas)


def chain_same_tensor(x0, step_noise, betas):
    """All steps show the last x: where x is changed in place, the list holds one tensor many times: append copies."""
    path, x = [], x0.clone()
    for beta, noise in zip(betas, step_noise):
        x *= (1 - beta).sqrt()
        x += beta.sqrt() * noise
        path.append(x)
    return torch.stack(path), _jumped(x0, x, betas)


def chain_slide(x0, step_noise, betas):
    """This is the slide's mean, (1 - beta) x: with the root the variance stays 1, without it falls to one half."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta) * x + beta.sqrt() * noise)


def chain_beta_as_deviation(x0, step_noise, betas):
    """beta is the noise's variance: its coefficient is sqrt(beta)."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta).sqrt() * x + beta * noise)


def chain_no_roots(x0, step_noise, betas):
    """Both roots are missing: sqrt(1 - beta) x + sqrt(beta) noise."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta) * x + beta * noise)


def chain_swapped(x0, step_noise, betas):
    """The coefficients are swapped: beta is the noise's share, and small."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: beta.sqrt() * x + (1 - beta).sqrt() * noise)


def chain_root_of_rest(x0, step_noise, betas):
    """The coefficients must have squares that sum to 1: sqrt(1 - beta) and sqrt(beta)."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta.sqrt()) * x + beta.sqrt() * noise)


def chain_exploding(x0, step_noise, betas):
    """x does not shrink here, and the variance grows: x is multiplied by sqrt(1 - beta)."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: x + beta.sqrt() * noise)


def chain_whole_noise(x0, step_noise, betas):
    """The noise has the coefficient 1: it is sqrt(beta)."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta).sqrt() * x + noise)


def chain_no_noise(x0, step_noise, betas):
    """No noise comes in."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta).sqrt() * x)


def chain_noise_subtracted(x0, step_noise, betas):
    """The noise is subtracted: add it."""
    return _walked(x0, step_noise, betas, lambda x, beta, noise: (1 - beta).sqrt() * x - beta.sqrt() * noise)


def chain_of_jumps(x0, step_noise, betas):
    """Each x_t is right by itself, by a jump from x_0, but there is no chain: x_t comes from x_{t-1}."""
    abar = (1 - betas).cumprod(0)[:, None, None]
    path = abar.sqrt() * x0 + (1 - abar).sqrt() * step_noise
    return path, step_noise[-1].clone()


def chain_with_abar(x0, step_noise, betas):
    """The step uses the jump's abar: one step has its own beta."""
    found = _walk(x0, step_noise, 1 - (1 - betas).cumprod(0))
    return found, _jumped(x0, found[-1], betas)


def chain_from_the_start(x0, step_noise, betas):
    """Each step begins at x_0 again: step t begins at x_{t-1}."""
    b = betas[:, None, None]
    path = (1 - b).sqrt() * x0 + b.sqrt() * step_noise
    return path, _jumped(x0, path[-1], betas)


def chain_same_noise(x0, step_noise, betas):
    """Each step adds the first step's noise: each has its own."""
    path = _walk(x0, step_noise[:1].expand_as(step_noise), betas)
    return path, _jumped(x0, path[-1], betas)


def chain_same_beta(x0, step_noise, betas):
    """Each step has the first beta: each has its own."""
    path = _walk(x0, step_noise, betas[:1].expand_as(betas))
    return path, _jumped(x0, path[-1], betas)


def chain_betas_reversed(x0, step_noise, betas):
    """The betas come from the last to the first."""
    path = _walk(x0, step_noise, betas.flip(0))
    return path, _jumped(x0, path[-1], betas)


def chain_with_start(x0, step_noise, betas):
    """x_0 is in the path: asked for are x_1, ..., x_T."""
    path = _walk(x0, step_noise, betas)
    return torch.cat([x0[None], path]), _jumped(x0, path[-1], betas)


def chain_end_only(x0, step_noise, betas):
    """Only x_T comes back: asked for are all of x_1, ..., x_T, stacked."""
    x = _walk(x0, step_noise, betas)[-1]
    return x, _jumped(x0, x, betas)


def chain_rows_first(x0, step_noise, betas):
    """The path is stacked along another dimension: steps come first, (T, N, D)."""
    path = _walk(x0, step_noise, betas)
    return path.transpose(0, 1), _jumped(x0, path[-1], betas)


def chain_path_only(x0, step_noise, betas):
    """Two things are asked for: the path, and eps."""
    return _walk(x0, step_noise, betas)


def chain_by_sums(x0, step_noise, betas):
    abar = (1 - betas).cumprod(0)[:, None, None]
    came = ((betas[:, None, None] / abar).sqrt() * step_noise).cumsum(0)
    return abar.sqrt() * (x0 + came), (abar[-1] / (1 - abar[-1])).sqrt() * came[-1]


def chain_by_loops(x0, step_noise, betas):
    x, noise, path, variance = x0.clone(), torch.zeros_like(x0), [], 0.0
    for t, beta in enumerate(betas.tolist()):
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * step_noise[t]
        noise = math.sqrt(1 - beta) * noise + math.sqrt(beta) * step_noise[t]
        variance = (1 - beta) * variance + beta
        path.append(x)
    return torch.stack(path), noise / math.sqrt(variance)


# --- 4. the posterior -------------------------------------------------------------------------------------------------


def cases_posterior(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, steps, *shape, dtype=SINGLE):
        t = _steps(g, shape[0], 1, steps) if kind == "ordinary" else torch.zeros(shape[0], dtype=torch.int64)
        arrays = {"x0": normal(g, *shape, dtype=dtype), "x_t": normal(g, *shape, dtype=dtype)}
        return Case(kind, arrays | {"t": t, "betas": _betas(g, steps, dtype)})

    if not hidden:
        return [
            case("ordinary", 5, 3, 2),
            case("ordinary", 4, 2, 1, 2, 3, dtype=DOUBLE),
            case("ordinary", 5, 3, 3),
            case("first", 3, 2, 3),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n + 2, n, 3),
        case("ordinary", n + 3, n, 2, 2, 3, dtype=DOUBLE),
        case("first", 4, n, 2, dtype=DOUBLE),
        case("first", n, 2, 1, 3, 2),
    ]


def _mean_of(x0, x_t, t, of_x0, of_x_t):
    """The mean with coefficients (T,)."""
    return _wide(of_x0[t], x0) * x0 + _wide(of_x_t[t], x0) * x_t


def _right_posterior(x0, x_t, t, betas):
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_wraps_around(x0, x_t, t, betas):
    """Before the first step abar is 1: abar[t - 1] is the last step's where t is 0."""
    alpha, abar, _ = _levels(betas)
    before = abar.roll(1)
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), (betas * (1 - before) / (1 - abar))[t]


def posterior_zero_before(x0, x_t, t, betas):
    """Before the first step abar is 1, not 0."""
    alpha, abar, _ = _levels(betas)
    before = torch.cat([abar.new_zeros(1), abar[:-1]])
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), (betas * (1 - before) / (1 - abar))[t]


def posterior_first_stays(x0, x_t, t, betas):
    """At the first step abar of the same step was taken for the one before, which is 1: the mean is x_0 there, and
    nothing is unsure."""
    alpha, abar, _ = _levels(betas)
    before = torch.cat([abar[:1], abar[:-1]])
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), (betas * (1 - before) / (1 - abar))[t]


def posterior_variance_beta(x0, x_t, t, betas):
    """The variance is beta: who knows x_0 is surer than that, btilde."""
    return _right_posterior(x0, x_t, t, betas)[0], betas[t]


def posterior_deviation(x0, x_t, t, betas):
    """This is the standard deviation: asked for is the variance, without a root."""
    mean, variance = _right_posterior(x0, x_t, t, betas)
    return mean, variance.sqrt()


def posterior_log_variance(x0, x_t, t, betas):
    """This is the logarithm of the variance, as some code keeps it: asked for is the variance."""
    mean, variance = _right_posterior(x0, x_t, t, betas)
    return mean, variance.log()


def posterior_variance_of_x_t(x0, x_t, t, betas):
    """This is 1 - abar, the variance of x_t given x_0: asked for is that of x_{t-1} given both, btilde."""
    return _right_posterior(x0, x_t, t, betas)[0], (1 - _levels(betas)[1])[t]


def posterior_variance_before(x0, x_t, t, betas):
    """This is the variance of x_{t-1} given x_0 alone: x_t is known, too."""
    return _right_posterior(x0, x_t, t, betas)[0], (1 - _before(_levels(betas)[1]))[t]


def posterior_all_variances(x0, x_t, t, betas):
    """The variance has T entries: pick each row's own with [t]."""
    return _right_posterior(x0, x_t, t, betas)[0], _levels(betas)[2]


def posterior_variance_wide(x0, x_t, t, betas):
    """The variance is asked for as (N,), one number for each row, with no more dimensions."""
    mean, variance = _right_posterior(x0, x_t, t, betas)
    return mean, _wide(variance, x0)


def posterior_in_place(x0, x_t, t, betas):
    """An argument itself gets changed: x_t *= ... or betas[0] = ... writes into the caller's tensor."""
    found = _right_posterior(x0, x_t, t, betas)
    x_t *= 0.5
    return found


def posterior_swapped(x0, x_t, t, betas):
    """x_0 and x_t are swapped: the first coefficient belongs to x_0."""
    return _right_posterior(x_t, x0, t, betas)


def posterior_abar_for_before(x0, x_t, t, betas):
    """abar of step t stands where that of the step before belongs."""
    alpha, abar, btilde = _levels(betas)
    return _mean_of(x0, x_t, t, abar.sqrt() * betas / (1 - abar), alpha.sqrt()), btilde[t]


def posterior_abar_in_x0(x0, x_t, t, betas):
    """The coefficient of x_0 has the root of abar of step t: it is that of the step before."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x_t = alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, abar.sqrt() * betas / (1 - abar), of_x_t), btilde[t]


def posterior_alpha_for_abar(x0, x_t, t, betas):
    """alpha stands where abar belongs: only the root before x_t has the alpha of one step."""
    alpha, _, btilde = _levels(betas)
    before = _before(alpha)
    of_x0, of_x_t = before.sqrt() * betas / (1 - alpha), alpha.sqrt() * (1 - before) / (1 - alpha)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_abar_for_alpha(x0, x_t, t, betas):
    """The root before x_t is that of alpha, of one step, not of abar."""
    _, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), abar.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_no_root_of_alpha(x0, x_t, t, betas):
    """The alpha before x_t lacks its root."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_no_root_of_abar(x0, x_t, t, betas):
    """The abar before x_0 lacks its root."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_no_roots(x0, x_t, t, betas):
    """Both roots are missing, before x_0 and before x_t."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before * betas / (1 - abar), alpha * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_root_of_beta(x0, x_t, t, betas):
    """The beta before x_0 has a root: it has none."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before.sqrt() * betas.sqrt() / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, of_x0, of_x_t), btilde[t]


def posterior_root_below(x0, x_t, t, betas):
    """The denominators have a root: they are 1 - abar. (sqrt(1 - abar) is in the mean that has eps.)"""
    alpha, abar, btilde = _levels(betas)
    before, below = _before(abar), (1 - abar).sqrt()
    return _mean_of(x0, x_t, t, before.sqrt() * betas / below, alpha.sqrt() * (1 - before) / below), btilde[t]


def posterior_no_denominator(x0, x_t, t, betas):
    """The denominators 1 - abar are missing."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    return _mean_of(x0, x_t, t, before.sqrt() * betas, alpha.sqrt() * (1 - before)), btilde[t]


def posterior_difference(x0, x_t, t, betas):
    """The parts are subtracted: the mean lies between, add them."""
    alpha, abar, btilde = _levels(betas)
    before = _before(abar)
    of_x0, of_x_t = before.sqrt() * betas / (1 - abar), alpha.sqrt() * (1 - before) / (1 - abar)
    return _mean_of(x0, x_t, t, -of_x0, of_x_t), btilde[t]


def posterior_one_early(x0, x_t, t, betas):
    """t is off by one: betas[t] is that of step t as it is in code, nothing is subtracted."""
    return _right_posterior(x0, x_t, t - 1, betas)


def posterior_first_t(x0, x_t, t, betas):
    """The whole batch has the first row's t: each row has its own."""
    return _right_posterior(x0, x_t, t[:1].expand_as(t), betas)


def posterior_marginal(x0, x_t, t, betas):
    """This is x_{t-1} given x_0 alone: x_t says something about it, too."""
    before = _before(_levels(betas)[1])
    return _wide(before[t].sqrt(), x0) * x0, (1 - before)[t]


def posterior_step_undone(x0, x_t, t, betas):
    """x_t is divided by sqrt(alpha), as if the step had had no noise, and x_0 plays no part."""
    return x_t / _wide((1 - betas)[t].sqrt(), x0), _levels(betas)[2][t]


def posterior_results_swapped(x0, x_t, t, betas):
    """The results are swapped: first the mean, then the variance."""
    return _right_posterior(x0, x_t, t, betas)[::-1]


def posterior_mean_only(x0, x_t, t, betas):
    """Two things are asked for: the mean and the variance."""
    return _right_posterior(x0, x_t, t, betas)[0]


def posterior_by_bayes(x0, x_t, t, betas):
    means, variances = [], []
    for start, x, step in zip(x0, x_t, t.tolist()):
        prior = (1 - betas[:step]).prod()  # the product of nothing is 1
        if step == 0:
            means.append(start.clone())
            variances.append(betas[0] * 0)
            continue
        precision = 1 / (1 - prior) + (1 - betas[step]) / betas[step]
        pull = prior.sqrt() * start / (1 - prior) + (1 - betas[step]).sqrt() * x / betas[step]
        means.append(pull / precision)
        variances.append(1 / precision)
    return torch.stack(means), torch.stack(variances)


def posterior_by_correction(x0, x_t, t, betas):
    """x_{t-1} as one expects it from x_0, corrected by what x_t surprises with: a Kalman gain."""
    abar = torch.exp(torch.cumsum(torch.log(1 - betas), 0))
    shape = [len(t)] + [1] * (x0.dim() - 1)
    now, beta = abar[t].reshape(shape), betas[t].reshape(shape)
    before = torch.where(t == 0, torch.ones_like(abar[t]), abar[(t - 1).clamp(min=0)]).reshape(shape)
    gain = (1 - beta).sqrt() * (1 - before) / (1 - now)
    expected = before.sqrt() * x0
    variance = (1 - before) * (1 - gain * (1 - beta).sqrt())
    return expected + gain * (x_t - (1 - beta).sqrt() * expected), variance.reshape(-1)


# --- 5. the guess -----------------------------------------------------------------------------------------------------


def cases_guess_x0(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, steps, *shape, limit=None, dtype=SINGLE):
        arrays = {"x_t": 2 * normal(g, *shape, dtype=dtype), "eps_hat": normal(g, *shape, dtype=dtype)}
        arrays |= {"t": _steps(g, shape[0], 0, steps), "abar": _abar(g, steps, dtype)}
        return Case(kind, arrays | ({} if limit is None else {"limit": scalar(limit)}))

    if not hidden:
        return [
            case("ordinary", 5, 3, 3),
            case("ordinary", 4, 2, 1, 2, 3, dtype=DOUBLE),
            case("limit", 5, 4, 3, limit=1.0),
            case("limit", 5, 3, 4, limit=1.5, dtype=DOUBLE),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n + 2, n, 3),
        case("ordinary", n + 3, n, 2, 2, 3, dtype=DOUBLE),
        case("limit", n + 1, n, 6, limit=between(g, 0.7, 0.9)),
        case("limit", n + 1, n, 2, 3, 2, limit=between(g, 1.2, 1.6), dtype=DOUBLE),
    ]


def _guessed(x_t, eps_hat, t, abar):
    left = _wide(abar[t], x_t)
    return (x_t - (1 - left).sqrt() * eps_hat) / left.sqrt()


def _within(x0, limit):
    return x0 if limit is None else x0.clamp(-limit, limit)


def guess_no_limit(x_t, eps_hat, t, abar, limit):
    """The limit is not listened to."""
    return _guessed(x_t, eps_hat, t, abar)


def guess_limit_first(x_t, eps_hat, t, abar, limit):
    """The limit is applied before the division: keep the guess itself within it, at the end."""
    left = _wide(abar[t], x_t)
    return _within(x_t - (1 - left).sqrt() * eps_hat, limit) / left.sqrt()


def guess_limit_of_x_t(x_t, eps_hat, t, abar, limit):
    """x_t is kept within the limit: it is noisy and may be anything. Keep the guess of x_0 within it."""
    return _guessed(_within(x_t, limit), eps_hat, t, abar)


def guess_limit_of_eps(x_t, eps_hat, t, abar, limit):
    """The noise is kept within the limit: keep the guess of x_0 within it."""
    return _guessed(x_t, _within(eps_hat, limit), t, abar)


def guess_limit_from_zero(x_t, eps_hat, t, abar, limit):
    """The guess is kept between 0 and the limit: pictures lie in [-1, 1] here, so it is -limit below."""
    x0 = _guessed(x_t, eps_hat, t, abar)
    return x0 if limit is None else x0.clamp(0, limit)


def guess_limit_above(x_t, eps_hat, t, abar, limit):
    """The guess is kept below the limit, but not above -limit."""
    x0 = _guessed(x_t, eps_hat, t, abar)
    return x0 if limit is None else x0.clamp(max=limit)


def guess_limit_is_one(x_t, eps_hat, t, abar, limit):
    """The limit is 1 here, whatever the argument says."""
    return _within(_guessed(x_t, eps_hat, t, abar), None if limit is None else 1)


def guess_limit_by_tanh(x_t, eps_hat, t, abar, limit):
    """The guess is squeezed, by tanh: what lies within the limit is to stay as it is."""
    x0 = _guessed(x_t, eps_hat, t, abar)
    return x0 if limit is None else limit * (x0 / limit).tanh()


def guess_limit_by_scale(x_t, eps_hat, t, abar, limit):
    """The guess is scaled down as a whole: what lies within the limit is to stay as it is."""
    x0 = _guessed(x_t, eps_hat, t, abar)
    return x0 if limit is None else x0 * limit / x0.abs().max()


def guess_limit_zeroes(x_t, eps_hat, t, abar, limit):
    """What is beyond the limit becomes 0: it is to become the limit."""
    x0 = _guessed(x_t, eps_hat, t, abar)
    return x0 if limit is None else x0 * (x0.abs() <= limit)


def guess_in_place(x_t, eps_hat, t, abar, limit):
    """An argument itself gets changed: x_t -= ... writes into the caller's tensor."""
    left = _wide(abar[t], x_t)
    x_t -= (1 - left).sqrt() * eps_hat
    return _within(x_t / left.sqrt(), limit)


def guess_always_limited(x_t, eps_hat, t, abar, limit):
    """Where limit is None, nothing is cut off."""
    return _within(_guessed(x_t, eps_hat, t, abar), limit or 1)


def guess_not_divided(x_t, eps_hat, t, abar, limit):
    """The division by sqrt(abar) is missing: the picture shrank, and is to grow again."""
    return _within(x_t - (1 - _wide(abar[t], x_t)).sqrt() * eps_hat, limit)


def guess_divided_by_abar(x_t, eps_hat, t, abar, limit):
    """It is divided by abar: take the root."""
    left = _wide(abar[t], x_t)
    return _within((x_t - (1 - left).sqrt() * eps_hat) / left, limit)


def guess_multiplied(x_t, eps_hat, t, abar, limit):
    """It is multiplied by sqrt(abar): divide."""
    left = _wide(abar[t], x_t)
    return _within((x_t - (1 - left).sqrt() * eps_hat) * left.sqrt(), limit)


def guess_divided_by_noise(x_t, eps_hat, t, abar, limit):
    """It is divided by sqrt(1 - abar): the picture's coefficient is sqrt(abar)."""
    left = _wide(abar[t], x_t)
    return _within((x_t - (1 - left).sqrt() * eps_hat) / (1 - left).sqrt(), limit)


def guess_noise_added(x_t, eps_hat, t, abar, limit):
    """The noise is added: it is in x_t, take it away."""
    return _within(_guessed(x_t, -eps_hat, t, abar), limit)


def guess_noise_not_rooted(x_t, eps_hat, t, abar, limit):
    """The noise's coefficient lacks its root: sqrt(1 - abar)."""
    left = _wide(abar[t], x_t)
    return _within((x_t - (1 - left) * eps_hat) / left.sqrt(), limit)


def guess_whole_noise(x_t, eps_hat, t, abar, limit):
    """The noise is subtracted as it is: in x_t it has the coefficient sqrt(1 - abar)."""
    return _within((x_t - eps_hat) / _wide(abar[t], x_t).sqrt(), limit)


def guess_no_noise(x_t, eps_hat, t, abar, limit):
    """The predicted noise plays no part."""
    return _within(x_t / _wide(abar[t], x_t).sqrt(), limit)


def guess_half_divided(x_t, eps_hat, t, abar, limit):
    """Only x_t is divided: the noise's part is, too. Mind the brackets."""
    left = _wide(abar[t], x_t)
    return _within(x_t / left.sqrt() - (1 - left).sqrt() * eps_hat, limit)


def guess_of_noise(x_t, eps_hat, t, abar, limit):
    """abar and 1 - abar are exchanged: this solves the jump for the noise, with eps_hat as the picture. Solve it for
    x_0."""
    left = _wide(abar[t], x_t)
    return _within((x_t - left.sqrt() * eps_hat) / (1 - left).sqrt(), limit)


def guess_one_early(x_t, eps_hat, t, abar, limit):
    """t is off by one: abar[t] is that of step t as it is in code, nothing is subtracted."""
    return _within(_guessed(x_t, eps_hat, t - 1, abar), limit)


def guess_one_before(x_t, eps_hat, t, abar, limit):
    """This takes abar of the step before: x_t was noised up to step t."""
    return _within(_guessed(x_t, eps_hat, t, _before(abar)), limit)


def guess_one_step(x_t, eps_hat, t, abar, limit):
    """This undoes one step, with alpha: the guess goes all the way, with abar."""
    return _within(_guessed(x_t, eps_hat, t, abar / _before(abar)), limit)


def guess_first_t(x_t, eps_hat, t, abar, limit):
    """The whole batch has the first row's t: each row has its own."""
    return _within(_guessed(x_t, eps_hat, t[:1].expand_as(t), abar), limit)


def guess_along_columns(x_t, eps_hat, t, abar, limit):
    """abar[t] is spread along the last dimension: it wants dimensions behind, (N, 1)."""
    left = abar[t]
    return _within((x_t - (1 - left).sqrt() * eps_hat) / left.sqrt(), limit)


def guess_by_ratio(x_t, eps_hat, t, abar, limit):
    scale, noise = abar[t].rsqrt(), (1 / abar[t] - 1).sqrt()
    x0 = torch.einsum("n,n...->n...", scale, x_t) - torch.einsum("n,n...->n...", noise, eps_hat)
    return x0 if limit is None else torch.minimum(torch.maximum(x0, torch.full_like(x0, -limit)), x0.new_tensor(limit))


def guess_by_loops(x_t, eps_hat, t, abar, limit):
    rows = []
    for x, eps, step in zip(x_t, eps_hat, t):
        left = abar[step].item()
        row = (x - math.sqrt(1 - left) * eps) / math.sqrt(left)
        if limit is not None:
            row = torch.clip(row, -limit, limit)
        rows.append(row)
    return torch.stack(rows)


# --- 6. the simple loss -----------------------------------------------------------------------------------------------


def cases_simple_loss(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(steps, hidden_width, *shape, dtype=SINGLE):
        d = math.prod(shape[1:])
        arrays = {"x0": 1 + normal(g, *shape, dtype=dtype), "t": _steps(g, shape[0], 0, steps)}
        arrays |= {"eps": normal(g, *shape, dtype=dtype), "abar": _abar(g, steps, dtype)}
        sizes = {"first": (d, hidden_width), "time": (hidden_width,), "last": (hidden_width, d)}
        return Case("ordinary", arrays | {name: normal(g, *size, dtype=dtype) for name, size in sizes.items()})

    if not hidden:
        return [case(5, 4, 3, 2), case(5, 3, 2, 1, 2, 2, dtype=DOUBLE)]
    n = whole(g, 4, 6)
    return [case(n + 2, 5, n, 3), case(n + 1, 4, n, 2, 1, 3, dtype=DOUBLE)]


def _noised(x0, t, eps, abar):
    left = _wide(abar[t], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def _errors(net, x0, t, eps, abar):
    return net(_noised(x0, t, eps, abar), t) - eps


def loss_detached(net, x0, t, eps, abar):
    """The value is right, but no gradient reaches the network: something was detached, or computed with no_grad."""
    return _errors(net, x0, t, eps, abar).square().mean().detach()


def loss_half_detached(net, x0, t, eps, abar):
    """The value is right, the gradient is half of what it should be: one factor of the square was detached."""
    error = _errors(net, x0, t, eps, abar)
    return (error * error.detach()).mean()


def loss_sum(net, x0, t, eps, abar):
    """This is the sum over all numbers: the mean is asked for."""
    return _errors(net, x0, t, eps, abar).square().sum()


def loss_sum_over_dimensions(net, x0, t, eps, abar):
    """This sums over each row's numbers, and averages over rows: average over all numbers."""
    return _errors(net, x0, t, eps, abar).square().flatten(1).sum(1).mean()


def loss_mean_over_dimensions(net, x0, t, eps, abar):
    """This averages over each row's numbers, and sums over rows: average over all numbers."""
    return _errors(net, x0, t, eps, abar).square().flatten(1).mean(1).sum()


def loss_each(net, x0, t, eps, abar):
    """One number is asked for: the mean over the rows, too."""
    return _errors(net, x0, t, eps, abar).square().flatten(1).mean(1)


def loss_halved(net, x0, t, eps, abar):
    """The loss is halved."""
    return _errors(net, x0, t, eps, abar).square().mean() / 2


def loss_absolute(net, x0, t, eps, abar):
    """This is the mean absolute error: take squares."""
    return _errors(net, x0, t, eps, abar).abs().mean()


def loss_norm(net, x0, t, eps, abar):
    """The norm is not squared."""
    return _errors(net, x0, t, eps, abar).flatten(1).norm(dim=1).mean()


def loss_root(net, x0, t, eps, abar):
    """This is the root of the mean square: there is no root in the loss."""
    return _errors(net, x0, t, eps, abar).square().mean().sqrt()


def loss_signed(net, x0, t, eps, abar):
    """The errors are averaged with their signs: square them first."""
    return _errors(net, x0, t, eps, abar).mean()


def loss_square_of_mean(net, x0, t, eps, abar):
    """This is the square of the mean error: first the squares, then the mean."""
    return _errors(net, x0, t, eps, abar).mean().square()


def loss_target_x0(net, x0, t, eps, abar):
    """The target is x_0: the network is to say the noise."""
    return (net(_noised(x0, t, eps, abar), t) - x0).square().mean()


def loss_target_x_t(net, x0, t, eps, abar):
    """The target is x_t, which the network sees: it is to say the noise in it."""
    x_t = _noised(x0, t, eps, abar)
    return (net(x_t, t) - x_t).square().mean()


def loss_target_scaled(net, x0, t, eps, abar):
    """The target is the noise as it is in x_t, sqrt(1 - abar) eps: it is eps itself, of variance 1."""
    return (net(_noised(x0, t, eps, abar), t) - (1 - _wide(abar[t], x0)).sqrt() * eps).square().mean()


def loss_target_minus_eps(net, x0, t, eps, abar):
    """The target is -eps: prediction minus noise is squared, not their sum."""
    return (net(_noised(x0, t, eps, abar), t) + eps).square().mean()


def loss_target_v(net, x0, t, eps, abar):
    """The target is v, another thing that networks are taught: here it is eps."""
    left = _wide(abar[t], x0)
    return (net(_noised(x0, t, eps, abar), t) - left.sqrt() * eps + (1 - left).sqrt() * x0).square().mean()


def loss_net_sees_x0(net, x0, t, eps, abar):
    """The network sees x_0, without noise: it is to see x_t."""
    return (net(x0, t) - eps).square().mean()


def loss_net_sees_noise(net, x0, t, eps, abar):
    """The network sees the noise alone: it is to see x_t."""
    return (net(eps, t) - eps).square().mean()


def loss_no_time(net, x0, t, eps, abar):
    """The network is not told t: it sees step 0 everywhere."""
    return (net(_noised(x0, t, eps, abar), torch.zeros_like(t)) - eps).square().mean()


def loss_first_time(net, x0, t, eps, abar):
    """The network is told the first row's t for all: each row has its own."""
    return (net(_noised(x0, t, eps, abar), t[:1].expand_as(t)) - eps).square().mean()


def loss_time_share(net, x0, t, eps, abar):
    """The network is told t / T: give it t as it is."""
    return (net(_noised(x0, t, eps, abar), t / len(abar)) - eps).square().mean()


def loss_time_from_one(net, x0, t, eps, abar):
    """The network is told t + 1, as on paper: give it t as it is in code."""
    return (net(_noised(x0, t, eps, abar), t + 1) - eps).square().mean()


def loss_told_abar(net, x0, t, eps, abar):
    """The network is told abar[t]: give it t."""
    return (net(_noised(x0, t, eps, abar), abar[t]) - eps).square().mean()


def loss_one_step(net, x0, t, eps, abar):
    """x_t is made by a single step, with alpha and beta of step t: it is a jump, with abar."""
    return _errors(net, x0, t, eps, abar / _before(abar)).square().mean()


def loss_one_early(net, x0, t, eps, abar):
    """x_t is noised up to the step before: abar[t] is that of step t as it is in code."""
    return _errors(net, x0, t, eps, _before(abar)).square().mean()


def loss_wrapped(net, x0, t, eps, abar):
    """t is off by one: abar[t - 1] is that of the step before, and the last one's where t is 0."""
    return _errors(net, x0, t, eps, abar.roll(1)).square().mean()


def loss_jump_first_t(net, x0, t, eps, abar):
    """All rows are noised up to the first row's t: each has its own."""
    left = abar[t[0]]
    return (net(left.sqrt() * x0 + (1 - left).sqrt() * eps, t) - eps).square().mean()


def loss_jump_no_roots(net, x0, t, eps, abar):
    """The jump has no roots: sqrt(abar) x_0 + sqrt(1 - abar) eps."""
    left = _wide(abar[t], x0)
    return (net(left * x0 + (1 - left) * eps, t) - eps).square().mean()


def loss_jump_swapped(net, x0, t, eps, abar):
    """In the jump abar and 1 - abar are swapped."""
    return _errors(net, x0, t, eps, 1 - abar).square().mean()


def loss_of_guess(net, x0, t, eps, abar):
    """This is the error of the guessed picture: the simple loss is that of the noise, every step of equal weight."""
    left = _wide(abar[t], x0)
    return ((1 - left) / left * _errors(net, x0, t, eps, abar).square()).mean()


def loss_weighted(net, x0, t, eps, abar):
    """The steps are weighted by their noise, 1 - abar: in the simple loss all weigh alike."""
    return ((1 - _wide(abar[t], x0)) * _errors(net, x0, t, eps, abar).square()).mean()


def loss_by_mse(net, x0, t, eps, abar):
    x_t = torch.einsum("n,n...->n...", abar[t].sqrt(), x0) + torch.einsum("n,n...->n...", (1 - abar[t]).sqrt(), eps)
    return F.mse_loss(net(x_t, t), eps)


def loss_by_rows(net, x0, t, eps, abar):
    total = 0
    for n in range(len(x0)):
        left = abar[t[n]]
        x_t = left.sqrt() * x0[n] + (1 - left).sqrt() * eps[n]
        total = total + (net(x_t[None], t[n : n + 1])[0] - eps[n]).pow(2).sum() / eps[n].numel()
    return total / len(x0)


# --- 7. ancestral sampling --------------------------------------------------------------------------------------------


def cases_ancestral_step(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, steps, t, large, *shape, dtype=SINGLE):
        arrays = {name: normal(g, *shape, dtype=dtype) for name in ("x_t", "eps_hat", "step_noise")}
        return Case(kind, arrays | {"betas": _betas(g, steps, dtype), "t": scalar(t), "large": torch.tensor(large)})

    if not hidden:
        return [
            case("ordinary", 4, 2, False, 2, 3),
            case("ordinary", 5, 1, False, 2, 1, 2, 2, dtype=DOUBLE),
            case("large", 4, 2, True, 3, 2),
            case("last", 3, 0, False, 2, 2),
            case("last", 3, 0, True, 3, 3, dtype=DOUBLE),
        ]
    steps = whole(g, 6, 9)
    return [
        case("ordinary", steps, whole(g, 2, steps - 2), False, 4, 3),
        case("ordinary", steps, 1, False, 2, 2, 2, 3, dtype=DOUBLE),
        case("large", steps, whole(g, 2, steps - 2), True, 4, 2),
        case("last", steps, 0, False, 4, 2),
        case("last", steps, 0, True, 3, 4, dtype=DOUBLE),
    ]


def _back(x_t, eps_hat, betas, t):
    """The mean."""
    alpha, abar, _ = _levels(betas)
    return (x_t - betas[t] / (1 - abar[t]).sqrt() * eps_hat) / alpha[t].sqrt()


def _dice(step_noise, betas, t, large):
    """sigma z, and nothing at the last step."""
    return (t > 0) * (betas[t] if large else _levels(betas)[2][t]).sqrt() * step_noise


def back_noise_at_last(x_t, eps_hat, step_noise, betas, t, large):
    """At the last step, t = 0, the large variance still adds noise: add none there."""
    variance = betas[t] if large else _levels(betas)[2][t]
    return _back(x_t, eps_hat, betas, t) + variance.sqrt() * step_noise


def back_last_untouched(x_t, eps_hat, step_noise, betas, t, large):
    """At the last step x_t comes back as it is: without dice, but the mean is taken there, too."""
    return _back(x_t, eps_hat, betas, t) + _dice(step_noise, betas, t, large) if t else x_t.clone()


def back_noise_from_two(x_t, eps_hat, step_noise, betas, t, large):
    """Noise is left out at t = 1, the first step on paper: in code the last step back has t = 0."""
    variance = betas[t] if large else _levels(betas)[2][t]
    return _back(x_t, eps_hat, betas, t) + (t != 1) * variance.sqrt() * step_noise


def back_always_small(x_t, eps_hat, step_noise, betas, t, large):
    """The variance is btilde, though large is True: then it is beta."""
    return _back(x_t, eps_hat, betas, t) + _dice(step_noise, betas, t, False)


def back_large_as_deviation(x_t, eps_hat, step_noise, betas, t, large):
    """The large variance lacks its root: the dice are multiplied by sqrt(beta)."""
    dice = betas[t] * step_noise if large and t else _dice(step_noise, betas, t, large)
    return _back(x_t, eps_hat, betas, t) + dice


def back_large_too_large(x_t, eps_hat, step_noise, betas, t, large):
    """The large variance is 1 - abar here, that of all noise so far: it is beta, of one step."""
    variance = (1 - _levels(betas)[1] if large else _levels(betas)[2])[t]
    return _back(x_t, eps_hat, betas, t) + (t > 0) * variance.sqrt() * step_noise


def back_in_place(x_t, eps_hat, step_noise, betas, t, large):
    """An argument itself gets changed: x_t -= ... writes into the caller's tensor."""
    found = _back(x_t, eps_hat, betas, t) + _dice(step_noise, betas, t, large)
    x_t.copy_(found)
    return found


def back_always_large(x_t, eps_hat, step_noise, betas, t, large):
    """The variance is beta, though large is False: then it is btilde."""
    return _back(x_t, eps_hat, betas, t) + _dice(step_noise, betas, t, True)


def back_variance_as_deviation(x_t, eps_hat, step_noise, betas, t, large):
    """The variance multiplies the dice: take its root."""
    variance = betas[t] if large else _levels(betas)[2][t]
    return _back(x_t, eps_hat, betas, t) + (t > 0) * variance * step_noise


def back_no_noise(x_t, eps_hat, step_noise, betas, t, large):
    """This is the mean: no dice are thrown."""
    return _back(x_t, eps_hat, betas, t)


def back_whole_noise(x_t, eps_hat, step_noise, betas, t, large):
    """The dice are not scaled: multiply them by sigma."""
    return _back(x_t, eps_hat, betas, t) + (t > 0) * step_noise


def back_noise_divided(x_t, eps_hat, step_noise, betas, t, large):
    """The dice are divided by sqrt(alpha), too: they come in after that. Mind the brackets."""
    return _back(x_t, eps_hat, betas, t) + _dice(step_noise, betas, t, large) / (1 - betas[t]).sqrt()


def back_noise_subtracted(x_t, eps_hat, step_noise, betas, t, large):
    """The dice are subtracted: add them."""
    return _back(x_t, eps_hat, betas, t) - _dice(step_noise, betas, t, large)


def back_eps_added(x_t, eps_hat, step_noise, betas, t, large):
    """The predicted noise is added: take it away."""
    return _back(x_t, -eps_hat, betas, t) + _dice(step_noise, betas, t, large)


def back_eps_forgotten(x_t, eps_hat, step_noise, betas, t, large):
    """The predicted noise plays no part."""
    return x_t / (1 - betas[t]).sqrt() + _dice(step_noise, betas, t, large)


def back_alpha_for_abar(x_t, eps_hat, step_noise, betas, t, large):
    """Below beta stands sqrt(1 - alpha), of one step: it is sqrt(1 - abar)."""
    mean = (x_t - betas[t].sqrt() * eps_hat) / (1 - betas[t]).sqrt()
    return mean + _dice(step_noise, betas, t, large)


def back_not_rooted_below(x_t, eps_hat, step_noise, betas, t, large):
    """Below beta the root is missing: sqrt(1 - abar)."""
    alpha, abar, _ = _levels(betas)
    mean = (x_t - betas[t] / (1 - abar[t]) * eps_hat) / alpha[t].sqrt()
    return mean + _dice(step_noise, betas, t, large)


def back_beta_rooted(x_t, eps_hat, step_noise, betas, t, large):
    """The beta before the predicted noise has a root: it has none."""
    alpha, abar, _ = _levels(betas)
    mean = (x_t - betas[t].sqrt() / (1 - abar[t]).sqrt() * eps_hat) / alpha[t].sqrt()
    return mean + _dice(step_noise, betas, t, large)


def back_all_noise_taken(x_t, eps_hat, step_noise, betas, t, large):
    """All noise of x_t is taken away at once: one step takes beta / sqrt(1 - abar) of it."""
    alpha, abar, _ = _levels(betas)
    return (x_t - (1 - abar[t]).sqrt() * eps_hat) / alpha[t].sqrt() + _dice(step_noise, betas, t, large)


def back_by_noise_alone(x_t, eps_hat, step_noise, betas, t, large):
    """Before the predicted noise beta is missing: the factor is beta / sqrt(1 - abar)."""
    alpha, abar, _ = _levels(betas)
    return (x_t - eps_hat / (1 - abar[t]).sqrt()) / alpha[t].sqrt() + _dice(step_noise, betas, t, large)


def back_not_divided(x_t, eps_hat, step_noise, betas, t, large):
    """The division by sqrt(alpha) is missing."""
    return _back(x_t, eps_hat, betas, t) * (1 - betas[t]).sqrt() + _dice(step_noise, betas, t, large)


def back_divided_by_alpha(x_t, eps_hat, step_noise, betas, t, large):
    """It is divided by alpha: take the root."""
    return _back(x_t, eps_hat, betas, t) / (1 - betas[t]).sqrt() + _dice(step_noise, betas, t, large)


def back_multiplied(x_t, eps_hat, step_noise, betas, t, large):
    """It is multiplied by sqrt(alpha), as going forward: divide."""
    return _back(x_t, eps_hat, betas, t) * (1 - betas[t]) + _dice(step_noise, betas, t, large)


def back_divided_by_abar(x_t, eps_hat, step_noise, betas, t, large):
    """It is divided by sqrt(abar), all the way to x_0: one step back divides by sqrt(alpha)."""
    alpha, abar, _ = _levels(betas)
    return _back(x_t, eps_hat, betas, t) * (alpha[t] / abar[t]).sqrt() + _dice(step_noise, betas, t, large)


def back_half_divided(x_t, eps_hat, step_noise, betas, t, large):
    """Only x_t is divided by sqrt(alpha): the predicted noise is, too. Mind the brackets."""
    alpha, abar, _ = _levels(betas)
    mean = x_t / alpha[t].sqrt() - betas[t] / (1 - abar[t]).sqrt() * eps_hat
    return mean + _dice(step_noise, betas, t, large)


def back_to_x0(x_t, eps_hat, step_noise, betas, t, large):
    """This is the guess of x_0, with dice: go one step, to the mean of x_{t-1}."""
    abar = _levels(betas)[1]
    return (x_t - (1 - abar[t]).sqrt() * eps_hat) / abar[t].sqrt() + _dice(step_noise, betas, t, large)


def back_one_early(x_t, eps_hat, step_noise, betas, t, large):
    """t is off by one: betas[t] is that of step t as it is in code, nothing is subtracted."""
    alpha, abar, btilde = _levels(betas)
    mean = (x_t - betas[t - 1] / (1 - abar[t - 1]).sqrt() * eps_hat) / alpha[t - 1].sqrt()
    return mean + (t > 0) * (betas[t - 1] if large else btilde[t - 1]).sqrt() * step_noise


def back_noised_again(x_t, eps_hat, step_noise, betas, t, large):
    """The guess of x_0 is noised again, by a jump to t - 1: that forgets what x_t says. Take the posterior's mean."""
    abar = _levels(betas)[1]
    before = _before(abar)[t]
    x0 = (x_t - (1 - abar[t]).sqrt() * eps_hat) / abar[t].sqrt()
    return before.sqrt() * x0 + (1 - before).sqrt() * step_noise


def back_by_posterior(x_t, eps_hat, step_noise, betas, t, large):
    alpha, abar, btilde = _levels(betas)
    before = abar[t - 1] if t > 0 else torch.ones_like(abar[0])
    x0 = (x_t - (1 - abar[t]).sqrt() * eps_hat) / abar[t].sqrt()
    x = (before.sqrt() * betas[t] * x0 + alpha[t].sqrt() * (1 - before) * x_t) / (1 - abar[t])
    if t > 0:
        x = x + torch.sqrt(betas[t] if large else btilde[t]) * step_noise
    return x


def back_by_numbers(x_t, eps_hat, step_noise, betas, t, large):
    numbers = betas.tolist()
    before = math.prod(1 - beta for beta in numbers[:t])
    beta, abar = numbers[t], before * (1 - numbers[t])
    sigma = 0.0 if t == 0 else math.sqrt(beta if large else beta * (1 - before) / (1 - abar))
    return (x_t - beta / math.sqrt(1 - abar) * eps_hat) / math.sqrt(1 - beta) + sigma * step_noise


# --- 8. DDIM ----------------------------------------------------------------------------------------------------------


def cases_ddim_step(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, *shape, eta=0.0, dtype=SINGLE):
        arrays = {name: normal(g, *shape, dtype=dtype) for name in ("x_t", "eps_hat", "step_noise")}
        abar_t = between(g, 0.1, 0.4)
        abar_s = 1.0 if kind == "end" else between(g, 0.5, 0.8)
        return Case(kind, arrays | {"abar_t": scalar(abar_t), "abar_s": scalar(abar_s), "eta": scalar(eta)})

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 2, 1, 2, 2, dtype=DOUBLE),
            case("dice", 3, 2, eta=1.0),
            case("dice", 2, 2, eta=0.6, dtype=DOUBLE),
            case("end", 3, 3, eta=0.5),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 3),
        case("ordinary", n, 2, 2, 3, dtype=DOUBLE),
        case("dice", n, 2, eta=between(g, 0.4, 0.7)),
        case("dice", n, 4, eta=1.0, dtype=DOUBLE),
        case("end", n, 5, eta=between(g, 0.4, 0.9), dtype=DOUBLE),
    ]


def _small(abar_t, abar_s):
    """btilde of the step from t to s."""
    return (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)


def _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, variance, taken=None):
    """With a given variance of the dice, and `taken` in the direction's root, the same by default."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    seen = max(1 - abar_s - (variance if taken is None else taken), 0.0) ** 0.5
    return abar_s**0.5 * x0 + seen * eps_hat + variance**0.5 * step_noise


def ddim_eta_not_squared(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """eta is not squared: sigma is eta times a root, so sigma^2 has eta^2."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta * _small(abar_t, abar_s))


def ddim_never_dice(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """No dice are thrown, whatever eta."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, 0.0)


def ddim_all_dice(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """eta plays no part but whether it is 0: sigma is multiplied by it."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, (eta > 0) * _small(abar_t, abar_s))


def ddim_direction_whole(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """sigma^2 is not subtracted under the root: with the dice there is too much noise then."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * _small(abar_t, abar_s), 0.0)


def ddim_direction_less_sigma(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """Under the root sigma is subtracted: it is sigma^2."""
    variance = eta**2 * _small(abar_t, abar_s)
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, variance, variance**0.5)


def ddim_sigma_outside(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """sigma is subtracted from the root of 1 - abar_s: sigma^2 stands under the root."""
    variance = eta**2 * _small(abar_t, abar_s)
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, variance, 0.0) - variance**0.5 * eps_hat


def ddim_direction_more(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """Under the root sigma^2 is added: seen and thrown noise together have the variance 1 - abar_s, so subtract it."""
    variance = eta**2 * _small(abar_t, abar_s)
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, variance, -variance)


def ddim_direction_none(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """With the dice the noise that was seen falls away: it keeps 1 - abar_s - sigma^2."""
    if eta == 0:
        return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, 0.0)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 + eta * _small(abar_t, abar_s) ** 0.5 * step_noise


def ddim_variance_as_deviation(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The dice are multiplied by sigma^2: by sigma."""
    variance = eta**2 * _small(abar_t, abar_s)
    return _ddim(x_t, eps_hat, step_noise * variance**0.5, abar_t, abar_s, variance)


def ddim_dice_subtracted(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The dice are subtracted: add them."""
    return _ddim(x_t, eps_hat, -step_noise, abar_t, abar_s, eta**2 * _small(abar_t, abar_s))


def ddim_dice_of_eps(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The predicted noise is thrown instead of the dice."""
    return _ddim(x_t, eps_hat, eps_hat, abar_t, abar_s, eta**2 * _small(abar_t, abar_s))


def ddim_large_variance(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """In sigma^2 the fraction (1 - abar_s) / (1 - abar_t) is missing: this is the large variance, which at the end does
    not vanish."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * (1 - abar_t / abar_s))


def ddim_variance_fraction_only(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """In sigma^2 the factor 1 - abar_t / abar_s is missing."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * (1 - abar_s) / (1 - abar_t))


def ddim_variance_by_abar(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """In sigma^2 stands 1 - abar_t: it is 1 - abar_t / abar_s, what was lost between s and t."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * (1 - abar_s))


def ddim_end_is_x_t(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """At the end x_t comes back: it is to be the guess of x_0."""
    return (
        x_t.clone() if abar_s == 1 else _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * _small(abar_t, abar_s))
    )


def ddim_end_limited(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """At the end the guess is kept in [-1, 1]: there is no limit here, data need not be pictures."""
    found = _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * _small(abar_t, abar_s))
    return found.clamp(-1, 1) if abar_s == 1 else found


def ddim_in_place(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """An argument itself gets changed: x_t -= ... writes into the caller's tensor."""
    found = _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, eta**2 * _small(abar_t, abar_s))
    eps_hat *= 0.5
    return found


def ddim_dice_always(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """Dice are thrown though eta is 0: sigma is eta times a root."""
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, _small(abar_t, abar_s))


def ddim_no_picture(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """x_t stands where the guess of x_0 belongs."""
    variance = eta**2 * _small(abar_t, abar_s)
    return abar_s**0.5 * x_t + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_guess_only(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """This is the guess of x_0: noise it again, to depth s."""
    return (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5


def ddim_no_direction(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The noise that was seen is missing: sqrt(1 - abar_s - sigma^2) eps."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 + eta * _small(abar_t, abar_s) ** 0.5 * step_noise


def ddim_fresh_noise(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The guess is noised again with the dice alone: most of the noise is the one that was seen."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 + (1 - abar_s) ** 0.5 * step_noise


def ddim_direction_subtracted(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The noise that was seen is subtracted when noising again: add it."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 - (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_eps_added(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """In the guess of x_0 the noise is added: take it away."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t + (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_depth_unchanged(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """This is x_t again, by a detour: guess x_0 with abar_t, where x_t lies, and noise it again with abar_s."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_t**0.5 * x0 + (1 - abar_t - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_exchanged(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """abar_t and abar_s are exchanged: this goes from s to t, into the noise."""
    return _ddim(x_t, eps_hat, step_noise, abar_s, abar_t, eta**2 * abs(_small(abar_s, abar_t)))


def ddim_guess_not_divided(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The guess of x_0 is not divided by sqrt(abar_t)."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = x_t - (1 - abar_t) ** 0.5 * eps_hat
    return abar_s**0.5 * x0 + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_guess_by_abar(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The guess of x_0 is divided by abar_t: take the root."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t
    return abar_s**0.5 * x0 + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_picture_not_rooted(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """Before the guess of x_0 the root of abar_s is missing."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s * x0 + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_direction_not_rooted(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """Before the noise that was seen the root is missing."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return abar_s**0.5 * x0 + (1 - abar_s - variance) * eps_hat + variance**0.5 * step_noise


def ddim_limited(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """The guess of x_0 is kept in [-1, 1]: there is no limit here, data need not be pictures."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = ((x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5).clamp(-1, 1)
    return abar_s**0.5 * x0 + (1 - abar_s - variance) ** 0.5 * eps_hat + variance**0.5 * step_noise


def ddim_ancestral(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """This is the mean of exercise 7, with beta = 1 - abar_t / abar_s: without dice DDIM keeps more of the noise."""
    alpha = abar_t / abar_s
    mean = (x_t - (1 - alpha) / (1 - abar_t) ** 0.5 * eps_hat) / alpha**0.5
    return mean + eta * _small(abar_t, abar_s) ** 0.5 * step_noise


def ddim_with_guess(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """One thing is asked for, x_s: not the guess of x_0, too."""
    variance = eta**2 * _small(abar_t, abar_s)
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps_hat) / abar_t**0.5
    return _ddim(x_t, eps_hat, step_noise, abar_t, abar_s, variance), x0


def ddim_by_coefficients(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    scale = math.sqrt(abar_s / abar_t)
    sigma = eta * math.sqrt((1 - abar_s) / (1 - abar_t)) * math.sqrt(1 - abar_t / abar_s)
    seen = math.sqrt(max(1 - abar_s - sigma * sigma, 0)) - scale * math.sqrt(1 - abar_t)
    return scale * x_t + seen * eps_hat + sigma * step_noise


def ddim_by_signal_to_noise(x_t, eps_hat, step_noise, abar_t, abar_s, eta):
    """In units where the data do not shrink, x / sqrt(abar), and the noise has the deviation s = sqrt(1 / abar - 1)."""
    now, then = ((1 / abar - 1) ** 0.5 for abar in (abar_t, abar_s))
    up = eta * then / now * (now**2 - then**2) ** 0.5
    down = max(then**2 - up**2, 0.0) ** 0.5
    x = x_t / abar_t**0.5 + (down - now) * eps_hat + up * step_noise
    return x * abar_s**0.5


# --- 9. weights -------------------------------------------------------------------------------------------------------


def cases_loss_weights(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(steps, dtype=SINGLE):
        return Case("ordinary", {"betas": _betas(g, steps, dtype)})

    if not hidden:
        return [case(4), case(5, DOUBLE)]
    steps = whole(g, 6, 10)
    return [case(steps), case(steps + 3, DOUBLE), case(2)]


def _both(betas):
    """The right weights."""
    alpha, abar, btilde = _levels(betas)
    following = betas.square() / (alpha * (1 - abar))
    return (following / (2 * btilde))[1:], following


def next_halved(betas):
    """The weights of the next step have no 2."""
    bound, following = _both(betas)
    return bound, following / 2


def next_doubled(betas):
    """The weights of the next step have no factor 2."""
    bound, following = _both(betas)
    return bound, 2 * following


def next_no_first(betas):
    """The next step's weights are asked for at all T steps: the first is finite there."""
    bound, following = _both(betas)
    return bound, following[1:]


def next_no_alpha(betas):
    """alpha is missing below the weights of the next step."""
    bound, _ = _both(betas)
    return bound, betas.square() / (1 - _levels(betas)[1])


def next_beta_not_squared(betas):
    """The beta above the weights of the next step is squared."""
    bound, following = _both(betas)
    return bound, following / betas


def next_rooted_noise(betas):
    """Below the weights of the next step stands 1 - abar, without a root: the coefficient was squared."""
    bound, following = _both(betas)
    return bound, following * (1 - _levels(betas)[1]).sqrt()


def next_no_noise(betas):
    """1 - abar is missing below the weights of the next step."""
    bound, following = _both(betas)
    return bound, following * (1 - _levels(betas)[1])


def next_coefficient(betas):
    """These are the factors of the noise in the mean: the loss has their squares."""
    bound, following = _both(betas)
    return bound, following.sqrt()


def next_over_btilde(betas):
    """The weights of the next step are not divided by btilde: only the bound's are."""
    bound, following = _both(betas)
    return bound, following / _levels(betas)[2]


def next_is_bound(betas):
    """Both results are the bound's weights: the second has no 2 btilde below, and T entries."""
    bound, _ = _both(betas)
    return bound, bound


def next_ones(betas):
    """These are the simple loss's weights, all 1."""
    bound, _ = _both(betas)
    return bound, torch.ones_like(betas)


def weights_in_place(betas):
    """The argument itself gets changed: betas *= ... writes into the caller's tensor."""
    found = _both(betas)
    betas *= betas
    return found


def bound_with_first(betas):
    """The bound's weights begin with the second step: at the first, whose btilde is 0, they would be infinite."""
    alpha, abar, btilde = _levels(betas)
    following = betas.square() / (alpha * (1 - abar))
    return following / (2 * btilde), following


def bound_without_last(betas):
    """The wrong end is left out: the first step has no weight, the last has."""
    alpha, abar, btilde = _levels(betas)
    following = betas.square() / (alpha * (1 - abar))
    return (following / (2 * btilde))[:-1], following


def bound_no_half(betas):
    """The 2 is missing below the bound's weights."""
    bound, following = _both(betas)
    return 2 * bound, following


def bound_quarter(betas):
    """The bound's weights are divided by 2 twice."""
    bound, following = _both(betas)
    return bound / 2, following


def bound_beta_for_btilde(betas):
    """beta stands below, where btilde belongs: the weights are those of the variance btilde."""
    _, following = _both(betas)
    return (following / (2 * betas))[1:], following


def bound_btilde_squared(betas):
    """btilde is squared below: it is a variance, not a standard deviation."""
    bound, following = _both(betas)
    return bound / _levels(betas)[2][1:], following


def bound_btilde_rooted(betas):
    """btilde has a root below: the variance itself stands there."""
    bound, following = _both(betas)
    return bound * _levels(betas)[2][1:].sqrt(), following


def bound_no_btilde(betas):
    """btilde is missing below the bound's weights."""
    _, following = _both(betas)
    return following[1:] / 2, following


def bound_no_alpha(betas):
    """alpha is missing below the bound's weights."""
    bound, following = _both(betas)
    return bound * (1 - betas[1:]), following


def bound_abar_for_alpha(betas):
    """abar stands below where alpha belongs."""
    bound, following = _both(betas)
    return bound * ((1 - betas) / _levels(betas)[1])[1:], following


def bound_rooted_alpha(betas):
    """alpha has a root below: the coefficient was squared, it has none."""
    bound, following = _both(betas)
    return bound * (1 - betas[1:]).sqrt(), following


def bound_no_noise(betas):
    """1 - abar is missing below the bound's weights."""
    bound, following = _both(betas)
    return bound * (1 - _levels(betas)[1])[1:], following


def bound_rooted_noise(betas):
    """1 - abar has a root below: the coefficient was squared, it has none."""
    bound, following = _both(betas)
    return bound * (1 - _levels(betas)[1])[1:].sqrt(), following


def bound_noise_before(betas):
    """Below stands 1 - abar of the step before: it is that of step t."""
    bound, following = _both(betas)
    abar = _levels(betas)[1]
    return bound * (1 - abar[1:]) / (1 - abar[:-1]), following


def bound_beta_not_squared(betas):
    """The beta above the bound's weights is squared."""
    bound, following = _both(betas)
    return bound / betas[1:], following


def bound_normalised(betas):
    """The bound's weights are divided by their mean: they are in nats, leave them."""
    bound, following = _both(betas)
    return bound / bound.mean(), following


def bound_of_x0(betas):
    """These are the weights of an error of x_0: the error here is that of the noise."""
    _, following = _both(betas)
    abar = _levels(betas)[1]
    ratio = abar / (1 - abar)
    return (ratio[:-1] - ratio[1:]) / 2, following


def weights_swapped(betas):
    """The results are swapped: first the bound's weights, then those of the next step."""
    return _both(betas)[::-1]


def weights_bound_only(betas):
    """Two things are asked for: the bound's weights and those of the next step."""
    return _both(betas)[0]


def weights_by_snr(betas):
    """The signal to noise that the step wins, moved from the picture's error to the noise's."""
    abar = (1 - betas).cumprod(0)
    ratio = abar / (1 - abar)
    following = betas * betas / (1 - betas) / (1 - abar)
    return 0.5 * (ratio[:-1] / ratio[1:] - 1), following


def weights_by_loops(betas):
    bound, following, before = [], [], 1.0
    for t, beta in enumerate(betas.tolist()):
        abar = before * (1 - beta)
        following.append((beta / math.sqrt(1 - beta) / math.sqrt(1 - abar)) ** 2)
        if t > 0:
            bound.append(beta / (2 * (1 - beta) * (1 - before)))
        before = abar
    return torch.tensor(bound), torch.tensor(following)


# --- 10. the score ----------------------------------------------------------------------------------------------------


def cases_score_of_mixture(g: torch.Generator, hidden: bool) -> list[Case]:
    def case(kind, n, k, d, dtype=SINGLE):
        centres, x = 1.2 * normal(g, k, d, dtype=dtype), 0.8 * normal(g, n, d, dtype=dtype)
        if kind == "far":
            x = (20 if dtype == SINGLE else 60) * F.normalize(x)
        arrays = {"x": x, "centres": centres, "std": scalar(between(g, 0.3, 0.5))}
        return Case(kind, arrays | {"abar": scalar(between(g, 0.4, 0.7))})

    if not hidden:
        return [case("ordinary", 3, 3, 2), case("ordinary", 4, 2, 3, DOUBLE), case("far", 2, 3, 2)]
    n = whole(g, 5, 8)
    return [
        case("ordinary", n, 4, 3),
        case("ordinary", n, n, n, DOUBLE),
        case("far", n, 4, 2),
        case("far", 3, n, 3, DOUBLE),
    ]


def _ways(x, centres, abar):
    return abar**0.5 * centres - x[:, None]


def _shares(ways, variance):
    return (ways.square().sum(2) / (-2 * variance)).softmax(1)[:, :, None]


def score_exp_first(x, centres, std, abar):
    """Far from all means each exponential is 0, and the fraction 0/0: a softmax of the logarithms does not do that."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    density = (ways.square().sum(2) / (-2 * v)).exp()
    return ((density / density.sum(1, keepdim=True))[:, :, None] * ways).sum(1) / v


def score_epsilon(x, centres, std, abar):
    """A small number in the denominator, or 0 for 0/0, gives a number, but far away no mean pulls any more: take a
    softmax."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    density = (ways.square().sum(2) / (-2 * v)).exp()
    return ((density / (density.sum(1, keepdim=True) + 1e-12))[:, :, None] * ways).sum(1) / v


def score_in_place(x, centres, std, abar):
    """An argument itself gets changed: centres *= ... writes into the caller's tensor."""
    v = abar * std**2 + 1 - abar
    centres *= abar**0.5
    ways = centres - x[:, None]
    return (_shares(ways, v) * ways).sum(1) / v


def score_of_all_alike(x, centres, std, abar):
    """All means pull alike: each pulls as far as the point may be its own, r_k."""
    v = abar * std**2 + 1 - abar
    return _ways(x, centres, abar).mean(1) / v


def score_unshared(x, centres, std, abar):
    """The pulls of all means are added, each in full: weigh them with r_k, which sum to 1."""
    v = abar * std**2 + 1 - abar
    return _ways(x, centres, abar).sum(1) / v


def score_of_nearest(x, centres, std, abar):
    """Only the nearest mean pulls: the others do, too, as far as the point may be theirs."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    nearest = ways.square().sum(2).argmin(1)
    return ways[torch.arange(len(x)), nearest] / v


def score_over_points(x, centres, std, abar):
    """The softmax runs over the points: for each point the r_k of all K means sum to 1."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return ((ways.square().sum(2) / (-2 * v)).softmax(0)[:, :, None] * ways).sum(1) / v


def score_not_normalised(x, centres, std, abar):
    """The r_k are not divided by their sum."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return ((ways.square().sum(2) / (-2 * v)).exp()[:, :, None] * ways).sum(1) / v


def score_distance_not_squared(x, centres, std, abar):
    """In r_k the distance is not squared."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return ((ways.norm(dim=2) / (-2 * v)).softmax(1)[:, :, None] * ways).sum(1) / v


def score_no_half_in_share(x, centres, std, abar):
    """In r_k the squared distance is divided by v: by 2v."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v / 2) * ways).sum(1) / v


def score_share_sign(x, centres, std, abar):
    """In r_k the sign is wrong: far means pull most here."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, -v) * ways).sum(1) / v


def score_share_by_deviation(x, centres, std, abar):
    """In r_k stands the standard deviation, where the variance v belongs."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v**0.5) * ways).sum(1) / v


def score_share_of_data(x, centres, std, abar):
    """In r_k stands the data's own variance: the noise widens it, to v."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, std**2) * ways).sum(1) / v


def score_share_not_scaled(x, centres, std, abar):
    """In r_k the division by 2v is missing."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, 0.5) * ways).sum(1) / v


def score_centres_not_shrunk(x, centres, std, abar):
    """The centres are not shrunk: at that depth the means are sqrt(abar) c."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, 1.0)
    return (_shares(ways, v) * ways).sum(1) / v


def score_centres_by_abar(x, centres, std, abar):
    """The centres are shrunk by abar: by its root."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar**2)
    return (_shares(ways, v) * ways).sum(1) / v


def score_variance_of_data(x, centres, std, abar):
    """v is the data's variance, abar std^2: the noise's, 1 - abar, is missing."""
    v, ways = abar * std**2, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_variance_of_noise(x, centres, std, abar):
    """v is the noise's variance, 1 - abar: the data's, abar std^2, is missing, as if they were single points."""
    v, ways = 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_variance_not_shrunk(x, centres, std, abar):
    """In v the data's variance is not shrunk: abar std^2 + 1 - abar."""
    v, ways = std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_std_not_squared(x, centres, std, abar):
    """In v the standard deviation of the data is not squared."""
    v, ways = abar * std + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_deviations_added(x, centres, std, abar):
    """In v standard deviations are added: variances add up."""
    v, ways = (abar**0.5 * std + (1 - abar) ** 0.5) ** 2, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_variance_exchanged(x, centres, std, abar):
    """In v abar and 1 - abar are exchanged: abar is the data's."""
    v, ways = (1 - abar) * std**2 + abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v


def score_sign(x, centres, std, abar):
    """The sign is wrong: the score points to the means, m - x."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return -(_shares(ways, v) * ways).sum(1) / v


def score_not_divided(x, centres, std, abar):
    """The division by v is missing: this is the way, not the slope."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1)


def score_divided_by_deviation(x, centres, std, abar):
    """It is divided by the standard deviation: divide by the variance v."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / v**0.5


def score_divided_by_two_v(x, centres, std, abar):
    """It is divided by 2v: the 2 goes when the square is differentiated."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (_shares(ways, v) * ways).sum(1) / (2 * v)


def score_is_noise(x, centres, std, abar):
    """This is the prediction of the noise, -sqrt(1 - abar) times the score: asked for is the score."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return -((1 - abar) ** 0.5) * (_shares(ways, v) * ways).sum(1) / v


def score_at_no_noise(x, centres, std, abar):
    """This is the score of the data themselves, without noise: abar plays no part."""
    ways = _ways(x, centres, 1.0)
    return (_shares(ways, std**2) * ways).sum(1) / std**2


def score_log_density(x, centres, std, abar):
    """This is the logarithm of the density, up to a constant: asked for is its gradient, (N, D)."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return (ways.square().sum(2) / (-2 * v)).logsumexp(1)


def score_of_density(x, centres, std, abar):
    """This is the gradient of the density, up to a factor: the score is that of its logarithm."""
    v, ways = abar * std**2 + 1 - abar, _ways(x, centres, abar)
    return ((ways.square().sum(2) / (-2 * v)).exp()[:, :, None] * ways).mean(1) / v


def score_by_autograd(x, centres, std, abar):
    v = abar * std * std + (1 - abar)
    with torch.enable_grad():
        points = x.detach().clone().requires_grad_()
        squares = (points.unsqueeze(1) - math.sqrt(abar) * centres).pow(2).sum(-1)
        return torch.autograd.grad(torch.logsumexp(-squares / (2 * v), 1).sum(), points)[0]


def score_by_loops(x, centres, std, abar):
    v, rows = abar * std**2 + 1 - abar, []
    means = [math.sqrt(abar) * centre for centre in centres]
    for point in x:
        logs = [-(point - mean).square().sum().item() / (2 * v) for mean in means]
        shares = [math.exp(value - max(logs)) for value in logs]
        expected = sum(share * mean for share, mean in zip(shares, means)) / sum(shares)
        rows.append((expected - point) / v)
    return torch.stack(rows)


# --- the sheet --------------------------------------------------------------------------------------------------------

VALUES = "gives the right values"
GAUSSIANS = "course_lib.diffusion.gaussians:"

# Mutants that are right on the first property stand first: what another one does on the later ones is not its mistake.
SHEET: list[Master] = [
    Master(
        "schedule",
        (
            Property("gives alpha and abar", 2, outputs=("alpha", "abar")),
            Property("gives btilde", 2, outputs=("btilde",)),
            UNCHANGED,
        ),
        cases_schedule,
        mutants=(
            btilde_is_beta,
            btilde_wraps_around,
            btilde_zero_before,
            btilde_first_is_beta,
            btilde_ratio_upside_down,
            btilde_without_beta,
            btilde_of_alpha,
            btilde_root,
            btilde_of_abar,
            btilde_of_alphas,
            btilde_rooted_levels,
            btilde_squared_noise,
            btilde_one_short,
            schedule_in_place,
            abar_sum,
            abar_one_minus_sum,
            abar_product_of_betas,
            abar_one_minus_product,
            abar_shifted,
            abar_with_one_in_front,
            abar_is_alpha,
            abar_total,
            abar_from_the_end,
            abar_root,
            abar_noise,
            abar_logarithm,
            abar_mean,
            alpha_is_beta,
            alpha_root,
            schedule_swapped,
            schedule_two,
        ),
        alternatives=(schedule_by_loops, schedule_by_precisions),
        hides=(
            "course_lib.diffusion.schedules:linear_betas",
            "course_lib.diffusion.schedules:cosine_betas",
            "course_lib.diffusion.schedules:Schedule",
            GAUSSIANS + "posterior_variance",
        ),
    ),
    Master(
        "q_sample",
        (
            Property(VALUES, 3),
            Property("takes rows of any shape", 1, "shapes"),
            UNCHANGED,
        ),
        cases_q_sample,
        mutants=(
            jump_rows_only,
            jump_in_place,
            jump_picture_not_rooted,
            jump_noise_not_rooted,
            jump_no_roots,
            jump_root_of_rest,
            jump_swapped,
            jump_one_early,
            jump_one_before,
            jump_one_late,
            jump_alpha,
            jump_product_twice,
            jump_first_t,
            jump_mean_level,
            jump_along_columns,
            jump_by_row,
            jump_to_the_end,
            jump_no_noise,
            jump_whole_noise,
            jump_whole_picture,
            jump_noise_subtracted,
            jump_exploding,
            jump_with_noise_returned,
        ),
        alternatives=(jump_by_einsum, jump_by_loops),
        hides=(GAUSSIANS + "q_sample",),
    ),
    Master(
        "chain",
        (
            Property("gives every step", 3, outputs=("path",)),
            Property("gives the noise of the jump", 1, outputs=("eps",)),
            UNCHANGED,
        ),
        cases_chain,
        mutants=(
            chain_last_noise,
            chain_mean_noise,
            chain_sum_noise,
            chain_noise_by_beta,
            chain_eps_not_divided,
            chain_eps_by_variance,
            chain_eps_not_rooted,
            chain_eps_whole_picture,
            chain_eps_of_last_step,
            chain_eps_sign,
            chain_eps_each,
            chain_in_place,
            chain_same_tensor,
            chain_slide,
            chain_beta_as_deviation,
            chain_no_roots,
            chain_swapped,
            chain_root_of_rest,
            chain_exploding,
            chain_whole_noise,
            chain_no_noise,
            chain_noise_subtracted,
            chain_of_jumps,
            chain_with_abar,
            chain_from_the_start,
            chain_same_noise,
            chain_same_beta,
            chain_betas_reversed,
            chain_with_start,
            chain_end_only,
            chain_rows_first,
            chain_path_only,
        ),
        alternatives=(chain_by_sums, chain_by_loops),
        hides=(
            GAUSSIANS + "q_step",
            GAUSSIANS + "eps_from_x0",
        ),
    ),
    Master(
        "posterior",
        (
            Property("gives the mean", 2, outputs=("mean",)),
            Property("gives the variance", 1, outputs=("variance",)),
            Property("is right at the first step", 1, "first", ("mean", "variance")),
            UNCHANGED,
        ),
        cases_posterior,
        mutants=(
            posterior_wraps_around,
            posterior_zero_before,
            posterior_first_stays,
            posterior_variance_beta,
            posterior_deviation,
            posterior_log_variance,
            posterior_variance_of_x_t,
            posterior_variance_before,
            posterior_all_variances,
            posterior_variance_wide,
            posterior_in_place,
            posterior_swapped,
            posterior_abar_for_before,
            posterior_abar_in_x0,
            posterior_alpha_for_abar,
            posterior_abar_for_alpha,
            posterior_no_root_of_alpha,
            posterior_no_root_of_abar,
            posterior_no_roots,
            posterior_root_of_beta,
            posterior_root_below,
            posterior_no_denominator,
            posterior_difference,
            posterior_one_early,
            posterior_first_t,
            posterior_marginal,
            posterior_step_undone,
            posterior_results_swapped,
            posterior_mean_only,
        ),
        alternatives=(posterior_by_bayes, posterior_by_correction),
        hides=(
            GAUSSIANS + "posterior_mean",
            GAUSSIANS + "posterior_variance",
        ),
    ),
    Master(
        "guess_x0",
        (
            Property(VALUES, 2),
            Property("keeps within the limit", 1, "limit"),
            UNCHANGED,
        ),
        cases_guess_x0,
        mutants=(
            guess_no_limit,
            guess_limit_first,
            guess_limit_of_x_t,
            guess_limit_of_eps,
            guess_limit_from_zero,
            guess_limit_above,
            guess_limit_is_one,
            guess_limit_by_tanh,
            guess_limit_by_scale,
            guess_limit_zeroes,
            guess_in_place,
            guess_always_limited,
            guess_not_divided,
            guess_divided_by_abar,
            guess_multiplied,
            guess_divided_by_noise,
            guess_noise_added,
            guess_noise_not_rooted,
            guess_whole_noise,
            guess_no_noise,
            guess_half_divided,
            guess_of_noise,
            guess_one_early,
            guess_one_before,
            guess_one_step,
            guess_first_t,
            guess_along_columns,
        ),
        alternatives=(guess_by_ratio, guess_by_loops),
        hides=(
            GAUSSIANS + "x0_from_eps",
            GAUSSIANS + "eps_from_x0",
            GAUSSIANS + "v_from",
            GAUSSIANS + "eps_from_v",
        ),
    ),
    Master(
        "simple_loss",
        (
            Property(VALUES, 3),
            Property("teaches the network", 2, outputs=("gradient",)),
        ),
        cases_simple_loss,
        mutants=(
            loss_detached,
            loss_half_detached,
            loss_sum,
            loss_sum_over_dimensions,
            loss_mean_over_dimensions,
            loss_each,
            loss_halved,
            loss_absolute,
            loss_norm,
            loss_root,
            loss_signed,
            loss_square_of_mean,
            loss_target_x0,
            loss_target_x_t,
            loss_target_scaled,
            loss_target_minus_eps,
            loss_target_v,
            loss_net_sees_x0,
            loss_net_sees_noise,
            loss_no_time,
            loss_first_time,
            loss_time_share,
            loss_time_from_one,
            loss_told_abar,
            loss_one_step,
            loss_one_early,
            loss_wrapped,
            loss_jump_first_t,
            loss_jump_no_roots,
            loss_jump_swapped,
            loss_of_guess,
            loss_weighted,
        ),
        alternatives=(loss_by_mse, loss_by_rows),
        hides=(
            "course_lib.diffusion.ddpm:DDPM",
            "course_lib.diffusion.ddpm:squared_error",
            GAUSSIANS + "q_sample",
        ),
    ),
    Master(
        "ancestral_step",
        (
            Property(VALUES, 3),
            Property("knows the large variance", 1, "large"),
            Property("adds no noise at the last step", 1, "last"),
            UNCHANGED,
        ),
        cases_ancestral_step,
        mutants=(
            back_noise_at_last,
            back_last_untouched,
            back_noise_from_two,
            back_always_small,
            back_large_as_deviation,
            back_large_too_large,
            back_in_place,
            back_always_large,
            back_variance_as_deviation,
            back_no_noise,
            back_whole_noise,
            back_noise_divided,
            back_noise_subtracted,
            back_eps_added,
            back_eps_forgotten,
            back_alpha_for_abar,
            back_not_rooted_below,
            back_beta_rooted,
            back_all_noise_taken,
            back_by_noise_alone,
            back_not_divided,
            back_divided_by_alpha,
            back_multiplied,
            back_divided_by_abar,
            back_half_divided,
            back_to_x0,
            back_one_early,
            back_noised_again,
        ),
        alternatives=(back_by_posterior, back_by_numbers),
        hides=(
            "course_lib.diffusion.samplers:ancestral",
            GAUSSIANS + "mean_from_eps",
            GAUSSIANS + "posterior_mean",
        ),
    ),
    Master(
        "ddim_step",
        (
            Property("steps back without dice", 2),
            Property("steps back with dice", 2, "dice"),
            Property("ends at the guess of x_0", 1, "end"),
            UNCHANGED,
        ),
        cases_ddim_step,
        mutants=(
            ddim_eta_not_squared,
            ddim_never_dice,
            ddim_all_dice,
            ddim_direction_whole,
            ddim_direction_less_sigma,
            ddim_sigma_outside,
            ddim_direction_more,
            ddim_direction_none,
            ddim_variance_as_deviation,
            ddim_dice_subtracted,
            ddim_dice_of_eps,
            ddim_large_variance,
            ddim_variance_fraction_only,
            ddim_variance_by_abar,
            ddim_end_is_x_t,
            ddim_end_limited,
            ddim_in_place,
            ddim_dice_always,
            ddim_no_picture,
            ddim_guess_only,
            ddim_no_direction,
            ddim_fresh_noise,
            ddim_direction_subtracted,
            ddim_eps_added,
            ddim_depth_unchanged,
            ddim_exchanged,
            ddim_guess_not_divided,
            ddim_guess_by_abar,
            ddim_picture_not_rooted,
            ddim_direction_not_rooted,
            ddim_limited,
            ddim_ancestral,
            ddim_with_guess,
        ),
        alternatives=(ddim_by_coefficients, ddim_by_signal_to_noise),
        hides=(
            "course_lib.diffusion.samplers:ddim",
            "course_lib.diffusion.samplers:invert",
        ),
    ),
    Master(
        "loss_weights",
        (
            Property("gives the bound's weights", 2, outputs=("bound",)),
            Property("gives those of the next step", 1, outputs=("next",)),
            UNCHANGED,
        ),
        cases_loss_weights,
        mutants=(
            next_halved,
            next_doubled,
            next_no_first,
            next_no_alpha,
            next_beta_not_squared,
            next_rooted_noise,
            next_no_noise,
            next_coefficient,
            next_over_btilde,
            next_is_bound,
            next_ones,
            weights_in_place,
            bound_with_first,
            bound_without_last,
            bound_no_half,
            bound_quarter,
            bound_beta_for_btilde,
            bound_btilde_squared,
            bound_btilde_rooted,
            bound_no_btilde,
            bound_no_alpha,
            bound_abar_for_alpha,
            bound_rooted_alpha,
            bound_no_noise,
            bound_rooted_noise,
            bound_noise_before,
            bound_beta_not_squared,
            bound_normalised,
            bound_of_x0,
            weights_swapped,
            weights_bound_only,
        ),
        alternatives=(weights_by_snr, weights_by_loops),
        hides=(
            "course_lib.diffusion.bound:noise_weights",
            "course_lib.diffusion.bound:terms",
            "course_lib.diffusion.schedules:signal_to_noise",
            "course_lib.diffusion.next_step:NextStep",
        ),
    ),
    Master(
        "score_of_mixture",
        (
            Property(VALUES, 3),
            Property("stays right far away", 1, "far"),
            UNCHANGED,
        ),
        cases_score_of_mixture,
        mutants=(
            score_exp_first,
            score_epsilon,
            score_in_place,
            score_of_all_alike,
            score_unshared,
            score_of_nearest,
            score_over_points,
            score_not_normalised,
            score_distance_not_squared,
            score_no_half_in_share,
            score_share_sign,
            score_share_by_deviation,
            score_share_of_data,
            score_share_not_scaled,
            score_centres_not_shrunk,
            score_centres_by_abar,
            score_variance_of_data,
            score_variance_of_noise,
            score_variance_not_shrunk,
            score_std_not_squared,
            score_deviations_added,
            score_variance_exchanged,
            score_sign,
            score_not_divided,
            score_divided_by_deviation,
            score_divided_by_two_v,
            score_is_noise,
            score_at_no_noise,
            score_log_density,
            score_of_density,
        ),
        alternatives=(score_by_autograd, score_by_loops),
        hides=(
            "course_lib.diffusion.exact:MixtureNoise",
            GAUSSIANS + "score_from_eps",
        ),
    ),
]
