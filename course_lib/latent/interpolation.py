"""Interpolation between latent points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import expects


@expects(a="float ... D", b="float ... D")
def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Returns the spherical interpolation [sin((1 - t) angle) a + sin(t angle) b] /
    sin(angle), (..., D), where angle is the angle between a and b.

    t = 0 gives a, and t = 1 gives b; t may be a tensor that broadcasts. Draws of N(0,
    I) in D dimensions lie near the sphere of radius sqrt(D). A straight line between
    two of them goes through the inside of the sphere, where the prior has little mass
    (White 2016, arXiv 1609.04468). If a and b have the same or opposite directions, the
    interpolation is a straight line.
    """
    cos = F.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    angle = cos.acos()
    sine = angle.sin()
    straight = sine < 1e-6
    safe = torch.where(straight, 1.0, sine)
    wa = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / safe)
    wb = torch.where(straight, t * torch.ones_like(sine), (t * angle).sin() / safe)
    return wa * a + wb * b
