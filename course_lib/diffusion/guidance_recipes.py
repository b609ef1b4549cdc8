"""Recipes of notebook 15: how the conditional diffusion models and the noise-aware
classifier are built and trained."""

import torch
from torch import nn

from course_lib.data.captions import LENGTH, captioned, shortened, token_names
from course_lib.diffusion.conditional import ConditionalDDPM
from course_lib.diffusion.ddpm import V
from course_lib.diffusion.guidance import NoisyClassifier
from course_lib.diffusion.schedules import cosine_betas
from course_lib.nets.text import TextTransformer
from course_lib.nets.unet import LabelEmbedding, UNet, UNetEncoder
from course_lib.recipe import Recipe, Size


def conditional_ddpm(dropout: float = 0.1) -> ConditionalDDPM:
    """Builds the network of `ddpm` with the digit as label, which is dropped in one of
    ten cases by default. It predicts v with the cosine schedule, because its samples
    then become good sooner."""
    net = UNet(1, (32, 64), label=LabelEmbedding(10, 64))
    return ConditionalDDPM(net, cosine_betas(), torch.tensor(10), V, dropout)


def text_ddpm() -> ConditionalDDPM:
    """Builds the network of `ddpm-emoji`, conditional on captions of style, category
    and name. In training, `shortened` removes parts of the captions at random."""
    label = TextTransformer(len(token_names()), LENGTH, dim=96, depth=2, heads=4)
    net = UNet(3, (48, 96), label=label)
    return ConditionalDDPM(
        net, cosine_betas(), torch.zeros(LENGTH, dtype=torch.long), V, reword=shortened
    )


def noisy_classifier(noise: bool = True) -> NoisyClassifier:
    """Builds a classifier from the encoder half of `conditional_ddpm`'s U-Net and a
    linear layer. noise=False: it is trained on pictures with almost no noise."""
    betas = cosine_betas() if noise else torch.full((1000,), 1e-9, dtype=torch.float64)
    return NoisyClassifier(UNetEncoder(1, (32, 64)), nn.Linear(64, 10), betas)


RECIPES = {
    "conditional-ddpm": Recipe(
        conditional_ddpm,
        "digits",
        cpu=Size(400, 64, 2e-3),
        gpu=Size(20_000, 128, 1e-3),
        weight_decay=0.0,
    ),
    "text-ddpm": Recipe(
        text_ddpm,
        "emoji_on_white",
        cpu=Size(400, 64, 2e-3),
        gpu=Size(40_000, 128, 1e-3),
        weight_decay=0.0,
        prepare_data=captioned,
    ),
    "noisy-classifier": Recipe(
        noisy_classifier, "digits", cpu=Size(300, 64, 2e-3), gpu=Size(6000, 128, 2e-3)
    ),
}
