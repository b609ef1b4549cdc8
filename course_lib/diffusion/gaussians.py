"""The Gaussians of diffusion: the forward process in one step or in one jump, the
posterior, and conversions between predictions of eps, x_0 and v.

Ho, Jain, Abbeel 2020 (arXiv 2006.11239), equations 2 to 12; v: Salimans & Ho 2022
(arXiv 2202.00512, appendix D). Pictures, noise and predictions are (N, ...). beta and
abar are numbers, or (N,): one for each picture.
"""

import torch
from torch import Tensor

from course_lib.checks import expects

Level = float | Tensor


def _levels(like: Tensor, *levels: Level) -> list[Tensor]:
    """Returns numbers or tensors (N,) as float64, shaped so that they can be multiplied
    with `like` (N, ...)."""
    levels = [torch.as_tensor(level, dtype=torch.float64) for level in levels]
    return [
        level.reshape(-1, *(1,) * (like.ndim - 1)) if level.ndim else level
        for level in levels
    ]


def _mix(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """Returns a x + b y in the precision of x. The float64 coefficients are converted
    to it."""
    if x.shape != y.shape:
        raise ValueError(
            f"expected two tensors of one shape, got {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    return a.to(x.dtype) * x + b.to(x.dtype) * y


@expects(x="float ...", step_noise="float ...")
def q_step(x: Tensor, beta: Level, step_noise: Tensor) -> Tensor:
    """Returns x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) step_noise (equation 2). If
    x_{t-1} has variance 1, so has x_t."""
    (beta,) = _levels(x, beta)
    return _mix((1 - beta).sqrt(), x, beta.sqrt(), step_noise)


@expects(x0="float ...", eps="float ...")
def q_sample(x0: Tensor, abar: Level, eps: Tensor) -> Tensor:
    """Returns x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps: all steps up to t in one jump
    (equation 4)."""
    (abar,) = _levels(x0, abar)
    return _mix(abar.sqrt(), x0, (1 - abar).sqrt(), eps)


def posterior_variance(abar: Level, abar_prev: Level) -> Level:
    """Returns btilde = (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s): the variance
    of x_s given x_t and x_0 (equation 7).

    abar: abar_t. abar_prev: abar_s of any step s < t; in the paper s = t - 1.
    """
    return (1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev)


@expects(x0="float ...", x_t="float ...")
def posterior_mean(x0: Tensor, x_t: Tensor, abar: Level, abar_prev: Level) -> Tensor:
    """Returns the mean of x_s given x_t and x_0 (equation 7): sqrt(abar_s) beta /
    (1 - abar_t) x_0 + sqrt(alpha) (1 - abar_s) / (1 - abar_t) x_t, with alpha =
    abar_t / abar_s = 1 - beta."""
    abar, abar_prev = _levels(x_t, abar, abar_prev)
    alpha = abar / abar_prev
    x0_weight = abar_prev.sqrt() * (1 - alpha) / (1 - abar)
    x_t_weight = alpha.sqrt() * (1 - abar_prev) / (1 - abar)
    return _mix(x0_weight, x0, x_t_weight, x_t)


@expects(x_t="float ...", eps="float ...")
def mean_from_eps(x_t: Tensor, eps: Tensor, beta: Level, abar: Level) -> Tensor:
    """Returns (x_t - beta / sqrt(1 - abar) eps) / sqrt(1 - beta): the posterior's mean,
    as a function of x_t and eps instead of x_0 (equation 11)."""
    beta, abar = _levels(x_t, beta, abar)
    root = (1 - beta).sqrt()
    return _mix(1 / root, x_t, -beta / (1 - abar).sqrt() / root, eps)


@expects(x_t="float ...", eps="float ...")
def x0_from_eps(x_t: Tensor, eps: Tensor, abar: Level) -> Tensor:
    """Returns x_0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar): `q_sample`, solved for
    x_0."""
    (abar,) = _levels(x_t, abar)
    return _mix(1 / abar.sqrt(), x_t, -(1 / abar - 1).sqrt(), eps)


@expects(x_t="float ...", x0="float ...")
def eps_from_x0(x_t: Tensor, x0: Tensor, abar: Level) -> Tensor:
    """Returns eps = (x_t - sqrt(abar) x_0) / sqrt(1 - abar): `q_sample`, solved for
    eps."""
    (abar,) = _levels(x_t, abar)
    return _mix(1 / (1 - abar).sqrt(), x_t, -(abar / (1 - abar)).sqrt(), x0)


@expects(x0="float ...", eps="float ...")
def v_from(x0: Tensor, eps: Tensor, abar: Level) -> Tensor:
    """Returns v = sqrt(abar) eps - sqrt(1 - abar) x_0. With sqrt(abar) = cos(phi), this
    is the velocity dx_t / dphi."""
    (abar,) = _levels(x0, abar)
    return _mix(abar.sqrt(), eps, -(1 - abar).sqrt(), x0)


@expects(x_t="float ...", v="float ...")
def eps_from_v(x_t: Tensor, v: Tensor, abar: Level) -> Tensor:
    """Returns eps = sqrt(1 - abar) x_t + sqrt(abar) v."""
    (abar,) = _levels(x_t, abar)
    return _mix((1 - abar).sqrt(), x_t, abar.sqrt(), v)


@expects(eps="float ...")
def score_from_eps(eps: Tensor, abar: Level) -> Tensor:
    """Returns the score grad log p_t(x_t) = -E[eps given x_t] / sqrt(1 - abar) (Song &
    Ermon 2019, arXiv 1907.05600)."""
    (abar,) = _levels(eps, abar)
    return -(1 / (1 - abar).sqrt()).to(eps.dtype) * eps
