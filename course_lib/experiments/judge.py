"""How generators are measured: draws of each kind, and the judge, a classifier of the
zoo whose features compare them with real pictures."""

import torch
from torch import Tensor

from course_lib import evaluate, zoo
from course_lib.data import as_float
from course_lib.gan.conditional import truncated
from course_lib.gan.gan import GAN
from course_lib.latent.vae import VAE
from course_lib.run import seeded
from course_lib.train import Method

# whose features measure drawn pictures
JUDGES = {"digits": "supervised-digits", "emoji_on_white": "supervised"}


def judge_of(data: str) -> Method:
    """The classifier, from the zoo, that measures pictures of this data set."""
    return zoo.load(JUDGES[data])


def detail(x: Tensor) -> float:
    """Mean squared difference of neighbouring pixels, (N, C, H, W) -> a number: low for
    blurred pictures."""
    return (x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()).item()


@torch.no_grad()
def generation_metrics(drawn: Tensor, real: Tensor, data: str) -> dict[str, float]:
    """Frechet and kernel distance, precision and recall of pictures in [0, 1] against
    8-bit ones, by the features of JUDGES[data]; detail, as a share of the real
    ones'."""
    judge = judge_of(data)
    h_real, h = evaluate.features(judge, real), evaluate.features(judge, drawn)
    precision, recall = evaluate.precision_recall(h_real, h)
    return {
        "frechet": evaluate.frechet_distance(h_real, h),
        "kernel": evaluate.kernel_distance(h_real, h),
        "precision": precision,
        "recall": recall,
        "detail": detail(drawn) / detail(as_float(real)),
    }


def some_of(x: Tensor, n: int, seed: int) -> Tensor:
    """n of the 8-bit pictures x, in [0, 1], each at most once."""
    return as_float(
        x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]
    )


def pictures(method: VAE, z: Tensor, y: Tensor | None = None) -> Tensor:
    """The decoder's means at z as pictures in [0, 1]."""
    return method.likelihood.mean(method.decode(z, y)).clamp(0, 1)


@torch.no_grad()
def prior_draws(method: VAE, like: Tensor) -> Tensor:
    """As many draws of the prior as there are 8-bit pictures `like`, as pictures."""
    z = torch.randn(len(like), method.encode(as_float(like[:1])).shape[1])
    return torch.cat([pictures(method, batch) for batch in z.split(500)])


@torch.no_grad()
def gan_draws(method: GAN, labels: Tensor, threshold: float | None = None) -> Tensor:
    """One fake for each label, from one fixed noise (`truncated`, where a threshold is
    given), in eval mode."""
    with seeded(0):
        z = torch.randn(len(labels), method.dim)
    z = z if threshold is None else truncated(z, threshold)
    return torch.cat(
        [
            method.eval().generate(part, y)
            for part, y in zip(z.split(500), labels.split(500))
        ]
    )
