"""Evaluation of generators: pictures drawn from each kind of generator, and the judge.

The judge is a classifier of the zoo. Drawn and real pictures are compared by its
features.
"""

import torch
from torch import Tensor

from course_lib import evaluate, zoo
from course_lib.data import as_float
from course_lib.gan.conditional import truncated
from course_lib.gan.gan import GAN
from course_lib.latent.vae import VAE
from course_lib.run import seeded
from course_lib.train import Method

# data set -> the classifier of the zoo that evaluates its generators
JUDGES = {"digits": "supervised-digits", "emoji_on_white": "supervised"}


def judge_of(data: str) -> Method:
    """Returns the classifier of the zoo that evaluates pictures of this data set."""
    return zoo.load(JUDGES[data])


def detail(x: Tensor) -> float:
    """Returns the mean squared difference of neighbouring pixels of pictures (N, C, H,
    W), vertical plus horizontal. It is low for blurred pictures."""
    return (x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()).item()


@torch.no_grad()
def generation_metrics(drawn: Tensor, real: Tensor, data: str) -> dict[str, float]:
    """Compares drawn pictures in [0, 1] with real 8-bit ones.

    frechet, kernel, precision, recall: of the features of the classifier JUDGES[data].
    detail: of the drawn pictures, divided by that of the real ones.
    """
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
    """Returns n random ones of the 8-bit pictures x, without replacement, in [0, 1]."""
    return as_float(
        x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]
    )


def pictures(method: VAE, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Returns the means of the decoder for latents z, as pictures in [0, 1]."""
    return method.likelihood.mean(method.decode(z, y)).clamp(0, 1)


@torch.no_grad()
def prior_draws(method: VAE, like: Tensor) -> Tensor:
    """Returns pictures of latents drawn from the prior, as many as the 8-bit pictures
    `like`."""
    z = torch.randn(len(like), method.encode(as_float(like[:1])).shape[1])
    return torch.cat([pictures(method, batch) for batch in z.split(500)])


@torch.no_grad()
def gan_draws(method: GAN, labels: Tensor, threshold: float | None = None) -> Tensor:
    """Returns one generated picture for each label, in eval mode.

    The noise is drawn from a fixed seed. It is `truncated` if a threshold is given.
    """
    with seeded(0):
        z = torch.randn(len(labels), method.dim)
    z = z if threshold is None else truncated(z, threshold)
    return torch.cat(
        [
            method.eval().generate(part, y)
            for part, y in zip(z.split(500), labels.split(500))
        ]
    )
