"""How every method of the course is built and trained: one row each."""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from course_lib.augment import Compose, GaussianNoise, MultiCrop, RandomResizedCrop, RandomShift, simclr_augment
from course_lib.colour import ab_bins
from course_lib.contrastive.instance_discrimination import InstanceDiscrimination
from course_lib.contrastive.siamese import Siamese
from course_lib.contrastive.simclr import SimCLR
from course_lib.contrastive.supcon import SupCon
from course_lib.data import Dataset, by_row
from course_lib.data.captions import LENGTH, captioned, shortened, token_names
from course_lib.diffusion.conditional import ConditionalDDPM
from course_lib.diffusion.ddpm import DDPM, V
from course_lib.diffusion.guidance import NoisyClassifier
from course_lib.diffusion.schedules import cosine_betas, linear_betas
from course_lib.distillation.byol import BYOL
from course_lib.distillation.dino import DINO, Prototypes
from course_lib.distillation.knowledge import KnowledgeDistillation
from course_lib.distillation.simsiam import SimSiam
from course_lib.gan.bigan import BiGAN, PairDiscriminator
from course_lib.gan.conditional import ConditionalBatchNorm, ConditionalGAN, ProjectionDiscriminator
from course_lib.gan.games import WASSERSTEIN
from course_lib.gan.gan import GAN
from course_lib.gan.painting import AdversarialPainting, fill_colour, fill_hole, hide_colour
from course_lib.gan.progressive import GrowingDiscriminator, GrowingGenerator, ProgressiveGAN
from course_lib.gan.wgan import WGAN, GradientPenalty
from course_lib.latent.conditional_vae import ConditionalVAE
from course_lib.latent.likelihoods import Bernoulli, Gaussian, binarise, dequantise
from course_lib.latent.vae import VAE
from course_lib.nets.conv import Decoder, from_vector
from course_lib.nets.dcgan import Discriminator, Generator
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet, torchvision_resnet
from course_lib.nets.text import TextTransformer
from course_lib.nets.unet import LabelEmbedding, UNet, UNetEncoder
from course_lib.nets.vit import ViT, convolutions
from course_lib.optim import Optimizers, adamw, sgd
from course_lib.pretext.autoencoder import Autoencoder
from course_lib.pretext.colourisation import Colourisation
from course_lib.pretext.context_encoder import ContextEncoder, hide_square
from course_lib.pretext.jigsaw import Jigsaw, permutation_set
from course_lib.pretext.patch_location import PatchLocation
from course_lib.pretext.rotation import Rotation
from course_lib.pretext.split_brain import SplitBrain
from course_lib.redundancy.barlow_twins import BarlowTwins
from course_lib.run import seeded
from course_lib.supervised import Supervised
from course_lib.train import Method, Step, fit


@dataclass(frozen=True)
class Size:
    """How long and how wide to train."""

    steps: int
    batch_size: int  # images, over all processes
    lr: float


@dataclass(frozen=True)
class Recipe:
    """One method ready to train: `build` makes it anew, with weights from torch's global generator."""

    build: Callable[[], Method]
    data: str  # name for course_lib.data.load
    gpu: Size
    cpu: Size | None = None  # None: out of reach without a GPU
    optimizer: Callable[..., Optimizers] = adamw
    weight_decay: float = 1e-4
    published: str = ""  # reference figure of the paper, for recipes that repeat one
    pairs: Callable[[Dataset], Dataset] | None = None  # replaces y where a method wants something else than the label
    represents: bool = True  # False: it is no representation that the method learns, and `encode` has none to measure

    def hash(self) -> str:
        """Changes when the builder or what this row says of the training does: tells what is out of date."""
        row = [fingerprint(self.build), self.data, self.cpu, self.gpu, self.optimizer.__name__, self.weight_decay]
        row += [fingerprint(self.pairs)] if self.pairs else []
        return hashlib.sha256(repr(row).encode()).hexdigest()[:12]


def fingerprint(value) -> str:
    """What a builder or an argument of one stands for, the same in every process and on every machine.

    Of a function its source and that of the builders here that it calls; of a `functools.partial` the function's and
    its arguments'; of torch's own things their names; of everything else what it prints. Raises ValueError for
    something that prints its place in memory.
    """
    if isinstance(value, partial):
        return " ".join(map(fingerprint, (value.func, *value.args, *value.keywords, *value.keywords.values())))
    if inspect.isfunction(value) or inspect.isclass(value):
        if value.__module__.partition(".")[0] in ("torch", "torchvision"):
            return f"{value.__module__}.{value.__qualname__}"
        used = inspect.getclosurevars(value).globals.values() if inspect.isfunction(value) else ()
        builders = [f for f in used if inspect.isfunction(f) and f.__module__ == __name__]
        return "\n".join([inspect.getsource(value), *map(fingerprint, builders)])
    if " at 0x" in repr(value):
        raise ValueError(f"argument `value`: expected something that prints what it is, got {value!r}")
    return repr(value)


def views() -> Compose:
    """The random views of scenes. Milder than SimCLR's, chosen on the validation emoji: a category of emoji has its
    colours, which strong jitter hides, and a crop of 8 % of the picture may miss the emoji altogether."""
    return simclr_augment(32, strength=0.2, scale=(0.2, 1.0))


def simclr() -> SimCLR:
    """The encoder of notebooks 00 to 09 and a head with one hidden layer."""
    encoder = ResNet(widths=(24, 48, 96))
    return SimCLR(encoder, mlp(encoder.dim, encoder.dim, 64), views(), temperature=0.2)


def simclr_cifar10() -> SimCLR:
    """The paper's network and views for CIFAR-10 (appendix B.9): ResNet-50 with a 3 x 3 stem, colour strength 0.5, no
    blur. The optimiser is SGD with momentum where the paper has LARS."""
    from torchvision.models import resnet50

    encoder = torchvision_resnet(resnet50)
    return SimCLR(encoder, mlp(encoder.dim, encoder.dim, 128), simclr_augment(32, strength=0.5), temperature=0.5)


def siamese() -> Siamese:
    """SimCLR's networks and views, with one negative for each picture."""
    encoder = ResNet(widths=(24, 48, 96))
    return Siamese(encoder, mlp(encoder.dim, encoder.dim, 64), views(), margin=0.5)


def instance_discrimination() -> InstanceDiscrimination:
    """SimCLR's networks and views, one view a picture; the bank has a row for each of the 20,000 training scenes."""
    encoder = ResNet(widths=(24, 48, 96))
    projector = mlp(encoder.dim, encoder.dim, 64)
    return InstanceDiscrimination(encoder, projector, views(), images=20_000, dim=64, temperature=0.2, momentum=0.5)


def supcon() -> SupCon:
    """SimCLR's networks and views, and the labels."""
    encoder = ResNet(widths=(24, 48, 96))
    return SupCon(encoder, mlp(encoder.dim, encoder.dim, 64), views(), temperature=0.2)


def supervised() -> Supervised:
    """The same encoder with a linear classifier of the nine categories, on the same views: what labels are worth."""
    encoder = ResNet(widths=(24, 48, 96))
    return Supervised(encoder, nn.Linear(encoder.dim, 9), views())


def byol() -> BYOL:
    """SimCLR's encoder and views. A shorter memory than the paper's 0.996: a run has hundreds of updates here."""
    encoder = ResNet(widths=(24, 48, 96))
    return BYOL(encoder, mlp(encoder.dim, 192, 64), mlp(64, 128, 64), views(), momentum=0.99)


def simsiam() -> SimSiam:
    """SimCLR's encoder and views; as in the paper z is normalised once more and the predictor is a bottleneck."""
    encoder = ResNet(widths=(24, 48, 96))
    projector = nn.Sequential(mlp(encoder.dim, 192, 192), nn.BatchNorm1d(192, affine=False))
    return SimSiam(encoder, projector, mlp(192, 48, 192), views())


def barlow_twins() -> BarlowTwins:
    """SimCLR's encoder and views; z is wider than h, as in the paper."""
    encoder = ResNet(widths=(24, 48, 96))
    return BarlowTwins(encoder, mlp(encoder.dim, 256, 256), views(), off_diagonal=0.01)


def crops(large: int) -> MultiCrop:
    """Two views of at least 30 % of the picture, `large` pixels wide, and four of at most that, 16 pixels wide."""
    return MultiCrop(
        simclr_augment(large, strength=0.2, scale=(0.3, 1.0)), simclr_augment(16, strength=0.2, scale=(0.08, 0.3)), 4
    )


def dino() -> DINO:
    """DINO with the course's residual network."""
    encoder = ResNet(widths=(24, 48, 96))
    return DINO(encoder, mlp(encoder.dim, 256, 64), Prototypes(64, 512), crops(32), momentum=0.99, freeze=0.05)


def small_vit() -> ViT:
    """Four blocks on a grid of 8 x 8 places; a linear stem learns nothing from so few pictures in so few updates."""
    return ViT(convolutions(32, 64, 64), grid=8, dim=64, depth=4, heads=4)


def dino_vit() -> DINO:
    """Large views of 24 pixels: 36 places instead of 64, at half the cost."""
    encoder = small_vit()
    return DINO(encoder, mlp(encoder.dim, 128, 64), Prototypes(64, 256), crops(24), momentum=0.99, freeze=0.05)


def supervised_vit() -> Supervised:
    """The same network with every label."""
    encoder = small_vit()
    return Supervised(encoder, nn.Linear(encoder.dim, 9), views())


def distillation() -> KnowledgeDistillation:
    """A network of a quarter of its width learns what the course's supervised one says, without any label."""
    from course_lib import zoo  # which reads this table

    teacher = zoo.load("supervised")
    encoder = ResNet(widths=(6, 12, 24))
    return KnowledgeDistillation(
        encoder, nn.Linear(encoder.dim, 9), nn.Sequential(teacher.encoder, teacher.classifier), views(), soft=1.0
    )


def autoencoder() -> Autoencoder:
    """The encoder's 96 numbers are all that the decoder has: a thirty-second of the picture's 3,072."""
    encoder = ResNet(widths=(24, 48, 96))
    decoder = Decoder(widths=(96, 48, 24), outputs=12)  # on a grid of 16; four pixels of three channels each
    return Autoencoder(encoder, nn.Sequential(from_vector(encoder.dim), decoder, nn.PixelShuffle(2)))


def denoising_autoencoder() -> Autoencoder:
    """The same networks; the encoder sees the picture through noise."""
    plain = autoencoder()
    return Autoencoder(plain.encoder, plain.decoder, corrupt=GaussianNoise(0.2))


def context_encoder() -> ContextEncoder:
    """A hole of a quarter of the picture; the decoder has the whole feature map, 4 x 4 x 96."""
    decoder = Decoder(widths=(96, 48, 24), outputs=12)
    return ContextEncoder(ResNet(widths=(24, 48, 96)), nn.Sequential(decoder, nn.PixelShuffle(2)), hidden=16)


def rotation() -> Rotation:
    """Each picture of the batch in all four rotations, as in the paper."""
    encoder = ResNet(widths=(24, 48, 96))
    return Rotation(encoder, nn.Linear(encoder.dim, 4))


def patch_location() -> PatchLocation:
    """Patches of 8 x 8, gaps of 3, jitter of 1: three of them just fit into 32 pixels."""
    encoder = ResNet(widths=(24, 48, 96))
    return PatchLocation(encoder, mlp(2 * encoder.dim, 192, 8), patch=8, gap=3, jitter=1)


def jigsaw() -> Jigsaw:
    """Nine tiles of 8 x 8 in cells of 10 x 10, 64 of the 362,880 permutations."""
    encoder = ResNet(widths=(24, 48, 96))
    return Jigsaw(encoder, mlp(9 * encoder.dim, 128, 64), permutation_set(9, 64), tile=8)


def colourisation() -> Colourisation:
    """Colours in squares of 20 (the paper: 10), predicted on a grid of 16 x 16."""
    bins = ab_bins(spacing=20)
    encoder = ResNet(widths=(24, 48, 96), channels=1)
    return Colourisation(encoder, Decoder(widths=(96, 48, 24), outputs=len(bins)), bins, sigma=10)


def split_brain() -> SplitBrain:
    """Two encoders of half the width; 96 features together, as in every other method."""
    bins = ab_bins(spacing=20)
    from_l, from_ab = ResNet(widths=(12, 24, 48), channels=1), ResNet(widths=(12, 24, 48), channels=2)
    to_ab, to_l = Decoder(widths=(48, 24, 24), outputs=len(bins)), Decoder(widths=(48, 24, 24), outputs=20)
    return SplitBrain(from_l, from_ab, to_ab, to_l, bins)


def mlp_vae(dim: int, beta: float = 1.0, warm_up: float = 0.0) -> VAE:
    """Kingma & Welling's perceptrons for digits, with two hidden layers; pixels are drawn 0 or 1."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, 2 * dim, norm=None))
    decoder = nn.Sequential(mlp(dim, 256, 256, 784, norm=None), nn.Unflatten(1, (1, 28, 28)))
    return VAE(encoder, decoder, Bernoulli(), binarise, beta, warm_up)


def vae_plane() -> VAE:
    """Two latent dimensions: the plane of digits that one can walk through."""
    return mlp_vae(dim=2)


def vae() -> VAE:
    """Convolutions see 28, 14, 7 pixels, and back."""
    encoder = nn.Sequential(convolutions(16, 32, 32, channels=1), nn.Flatten(), nn.Linear(32 * 7 * 7, 2 * 16))
    decoder = nn.Sequential(from_vector(16, side=7, width=32), Decoder((32, 32, 16), outputs=1))
    return VAE(encoder, decoder, Bernoulli(), binarise)


def colour_vae(likelihood: nn.Module, outputs: int = 3) -> VAE:
    """Convolutions for 32 x 32 colour pictures, a code of 64 numbers; the decoder has `outputs` channels."""
    encoder = nn.Sequential(convolutions(24, 48, 48, 48), nn.Flatten(), nn.Linear(48 * 4 * 4, 2 * 64))
    decoder = nn.Sequential(from_vector(64, side=4, width=48), Decoder((48, 48, 48, 24), outputs))
    return VAE(encoder, decoder, likelihood, dequantise)


def vae_emoji() -> VAE:
    """One sigma for all pixels, learned: it becomes the error that the decoder cannot avoid."""
    return colour_vae(Gaussian(0.1, learned=True))


def conditional_vae() -> ConditionalVAE:
    """The digit's name is given, so the code, of 8 numbers, is left with its hand. The head needs a hidden layer: a
    linear one can only shift what it reads by what the label says."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, norm=None), nn.ReLU())
    decoder = nn.Sequential(mlp(8 + 10, 256, 256, 784, norm=None), nn.Unflatten(1, (1, 28, 28)))
    head = mlp(256 + 10, 128, 2 * 8, norm=None)
    return ConditionalVAE(encoder, head, decoder, Bernoulli(), classes=10, draw=binarise)


def supervised_digits() -> Supervised:
    """A classifier of digits; its features and its opinion measure what generators draw."""
    encoder = ResNet(widths=(24, 48, 96), channels=1)
    return Supervised(encoder, nn.Linear(encoder.dim, 10), RandomResizedCrop(28, scale=(0.7, 1.0)))


def gan(k: int = 1) -> GAN:
    """DCGAN with all its guidelines: the generator paints on grids of 7, 14 and 28, the discriminator looks back."""
    return GAN(Generator(64, (48, 24), 1, side=7), Discriminator((24, 48), 1, 28), 64, k=k, momentum=0.99)


def wgan() -> WGAN:
    """The same networks, without norms in the critic. Weights in 0.05 instead of the paper's 0.01: a small critic's
    outputs would vanish."""
    return WGAN(Generator(64, (48, 24), 1, side=7), Discriminator((24, 48), 1, 28, norm=nn.Identity), 64, clip=0.05)


def wgan_gp() -> GAN:
    """The same, with a penalty instead of clipped weights."""
    critic = Discriminator((24, 48), 1, 28, norm=nn.Identity)
    return GAN(
        Generator(64, (48, 24), 1, side=7), critic, 64, WASSERSTEIN, k=5, penalty=GradientPenalty(10.0), momentum=0.9
    )


def conditional_gan() -> ConditionalGAN:
    """The digit's name goes into every BatchNorm of the generator and, as a projection, into the discriminator."""
    generator = Generator(64, (48, 24), 1, side=7, norm=partial(ConditionalBatchNorm, classes=10))
    discriminator = ProjectionDiscriminator(Discriminator((24, 48), 1, 28), classes=10)
    return ConditionalGAN(generator, discriminator, 64, momentum=0.99)


def gan_emoji() -> GAN:
    """One more stage, three channels; shifted pictures, for there are only 4,000."""
    generator, discriminator = Generator(64, (96, 48, 24), 3), Discriminator((32, 64, 128), 3, 32)
    return GAN(generator, discriminator, 64, momentum=0.99, augment=RandomShift(4))


def conditional_gan_emoji() -> ConditionalGAN:
    """The networks of `gan_emoji`, told the category."""
    generator = Generator(64, (96, 48, 24), 3, norm=partial(ConditionalBatchNorm, classes=9))
    discriminator = ProjectionDiscriminator(Discriminator((32, 64, 128), 3, 32), classes=9)
    return ConditionalGAN(generator, discriminator, 64, momentum=0.99, augment=RandomShift(4))


def progressive_gan() -> ProgressiveGAN:
    """As dear as `gan_emoji`; grows through 8, 16 and 32 pixels."""
    widths = (64, 64, 32, 16)
    return ProgressiveGAN(GrowingGenerator(64, widths, 3), GrowingDiscriminator(widths, 3), 64, momentum=0.99)


def bigan() -> BiGAN:
    """The generator of `gan`. Perceptrons for the rest, as in the paper's experiment with digits: convolutions tell the
    two kinds of pairs too well, and the encoder learns nothing."""
    encoder = nn.Sequential(nn.Flatten(), mlp(784, 512, 512, 32))
    discriminator = PairDiscriminator(nn.Flatten(), mlp(784 + 32, 512, 512, 1, norm=None))
    return BiGAN(encoder, Generator(32, (48, 24), 1, side=7), discriminator, 32, momentum=0.99)


def inpainting(weight: float) -> AdversarialPainting:
    """The networks and the hole of the context encoder; the discriminator sees six channels: a picture, and what was
    left of it."""
    decoder = nn.Sequential(Decoder(widths=(96, 48, 24), outputs=12), nn.PixelShuffle(2))
    hide, discriminator = partial(hide_square, side=16), Discriminator((24, 48, 96), 6, 32)
    return AdversarialPainting(hide, fill_hole, ResNet(widths=(24, 48, 96)), decoder, discriminator, weight)


def colouring(weight: float) -> AdversarialPainting:
    """The networks of notebook 01's colourisation, which paint on a grid of 16 x 16; three channels instead of bins."""
    decoder, discriminator = Decoder(widths=(96, 48, 24), outputs=3), Discriminator((24, 48, 96), 6, 32)
    return AdversarialPainting(hide_colour, fill_colour, ResNet(widths=(24, 48, 96)), decoder, discriminator, weight)


def adversarial_inpainting() -> AdversarialPainting:
    """Ten times the weight of the paper, whose pictures are in [-1, 1] and larger."""
    return inpainting(weight=0.01)


def adversarial_colourisation() -> AdversarialPainting:
    """As for inpainting."""
    return colouring(weight=0.01)


def adversarial(lr: float, weight_decay: float) -> Optimizers:
    """Adam with the short memory of DCGAN: the other player keeps turning the gradient."""
    return adamw(lr, weight_decay, betas=(0.5, 0.999))


def without_momentum(lr: float, weight_decay: float) -> Optimizers:
    """Adam as in the paper of the gradient penalty, nearly RMSprop."""
    return adamw(lr, weight_decay, betas=(0.0, 0.9))


def ddpm() -> DDPM:
    """The paper's noise prediction and schedule; the U-Net looks at digits on grids of 14 and 7."""
    return DDPM(UNet(1, (32, 64)), linear_betas())


def ddpm_emoji() -> DDPM:
    """v instead of noise: of colours on white the network must know the white exactly, from the first step on. Grids of
    16 and 8."""
    return DDPM(UNet(3, (48, 96)), cosine_betas(), V)


def conditional_ddpm(dropout: float = 0.1) -> ConditionalDDPM:
    """The network of `ddpm`, told the digit nine times of ten; v and the cosine schedule, with which it learns sooner
    to draw."""
    net = UNet(1, (32, 64), label=LabelEmbedding(10, 64))
    return ConditionalDDPM(net, cosine_betas(), torch.tensor(10), V, dropout)


def text_ddpm() -> ConditionalDDPM:
    """The network of `ddpm-emoji`, told style, category and name, or less."""
    label = TextTransformer(len(token_names()), LENGTH, dim=96, depth=2, heads=4)
    net = UNet(3, (48, 96), label=label)
    return ConditionalDDPM(net, cosine_betas(), torch.zeros(LENGTH, dtype=torch.long), V, reword=shortened)


def noisy_classifier(noise: bool = True) -> NoisyClassifier:
    """The way down of `conditional_ddpm`'s network and a linear layer; noise=False: for pictures with next to none."""
    betas = cosine_betas() if noise else torch.full((1000,), 1e-9, dtype=torch.float64)
    return NoisyClassifier(UNetEncoder(1, (32, 64)), nn.Linear(64, 10), betas)


game_recipe = partial(Recipe, optimizer=adversarial, weight_decay=0.0)  # rows of two players
generator_recipe = partial(game_recipe, represents=False)

RECIPES = {
    "autoencoder": Recipe(autoencoder, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "denoising-autoencoder": Recipe(
        denoising_autoencoder, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)
    ),
    "context-encoder": Recipe(context_encoder, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "rotation": Recipe(rotation, "scenes", cpu=Size(300, 64, 5e-3), gpu=Size(3000, 128, 5e-3)),
    "patch-location": Recipe(patch_location, "scenes", cpu=Size(600, 256, 5e-3), gpu=Size(6000, 512, 5e-3)),
    "jigsaw": Recipe(jigsaw, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "colourisation": Recipe(colourisation, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "split-brain": Recipe(split_brain, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "simclr": Recipe(simclr, "scenes", cpu=Size(500, 256, 5e-3), gpu=Size(5000, 512, 5e-3)),
    "siamese": Recipe(siamese, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "instance-discrimination": Recipe(
        instance_discrimination, "scenes", cpu=Size(600, 256, 5e-3), gpu=Size(6000, 512, 5e-3), pairs=by_row
    ),
    "supcon": Recipe(supcon, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "supervised": Recipe(supervised, "scenes", cpu=Size(600, 256, 2e-3), gpu=Size(6000, 512, 2e-3)),
    "byol": Recipe(byol, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "simsiam": Recipe(simsiam, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "barlow-twins": Recipe(barlow_twins, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "dino": Recipe(dino, "scenes", cpu=Size(300, 128, 3e-3), gpu=Size(3000, 512, 3e-3)),
    "dino-vit": Recipe(dino_vit, "scenes", cpu=Size(1000, 128, 5e-3), gpu=Size(10_000, 512, 5e-3)),
    "supervised-vit": Recipe(supervised_vit, "scenes", cpu=Size(500, 128, 2e-3), gpu=Size(5000, 512, 2e-3)),
    "distillation": Recipe(distillation, "scenes", cpu=Size(300, 256, 5e-3), gpu=Size(3000, 512, 5e-3)),
    "vae-plane": Recipe(vae_plane, "digits", cpu=Size(1500, 128, 2e-3), gpu=Size(1500, 128, 2e-3)),
    "vae": Recipe(vae, "digits", cpu=Size(750, 128, 5e-3), gpu=Size(6000, 128, 5e-3)),
    "vae-emoji": Recipe(vae_emoji, "emoji_on_white", cpu=Size(600, 128, 5e-3), gpu=Size(6000, 128, 5e-3)),
    "conditional-vae": Recipe(
        conditional_vae, "digits", cpu=Size(4500, 128, 2e-3), gpu=Size(4500, 128, 2e-3), represents=False
    ),
    "supervised-digits": Recipe(supervised_digits, "digits", cpu=Size(300, 128, 5e-3), gpu=Size(3000, 128, 5e-3)),
    "gan": generator_recipe(gan, "digits", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)),
    "wgan": generator_recipe(
        wgan, "digits", cpu=Size(300, 64, 1e-3), gpu=Size(3000, 64, 1e-3), optimizer=without_momentum
    ),
    "wgan-gp": generator_recipe(
        wgan_gp, "digits", cpu=Size(300, 64, 1e-3), gpu=Size(3000, 64, 1e-3), optimizer=without_momentum
    ),
    "conditional-gan": generator_recipe(
        conditional_gan, "digits", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)
    ),
    "gan-emoji": generator_recipe(gan_emoji, "emoji_on_white", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)),
    "conditional-gan-emoji": generator_recipe(
        conditional_gan_emoji, "emoji_on_white", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)
    ),
    "progressive-gan": generator_recipe(
        progressive_gan, "emoji_on_white", cpu=Size(1000, 64, 1e-3), gpu=Size(10_000, 64, 1e-3)
    ),
    "bigan": game_recipe(bigan, "digits", cpu=Size(1500, 64, 5e-4), gpu=Size(15_000, 64, 5e-4)),
    "adversarial-inpainting": game_recipe(
        adversarial_inpainting, "emoji_on_white", cpu=Size(200, 128, 2e-3), gpu=Size(2000, 128, 2e-3)
    ),
    "adversarial-colourisation": game_recipe(
        adversarial_colourisation, "emoji_on_white", cpu=Size(200, 128, 2e-3), gpu=Size(2000, 128, 2e-3)
    ),
    "ddpm": Recipe(ddpm, "digits", cpu=Size(400, 64, 2e-3), gpu=Size(20_000, 128, 1e-3), weight_decay=0.0),
    "ddpm-emoji": Recipe(
        ddpm_emoji, "emoji_on_white", cpu=Size(400, 64, 2e-3), gpu=Size(40_000, 128, 1e-3), weight_decay=0.0
    ),
    "conditional-ddpm": Recipe(
        conditional_ddpm, "digits", cpu=Size(400, 64, 2e-3), gpu=Size(20_000, 128, 1e-3), weight_decay=0.0
    ),
    "text-ddpm": Recipe(
        text_ddpm,
        "emoji_on_white",
        cpu=Size(400, 64, 2e-3),
        gpu=Size(40_000, 128, 1e-3),
        weight_decay=0.0,
        pairs=captioned,
    ),
    "noisy-classifier": Recipe(noisy_classifier, "digits", cpu=Size(300, 64, 2e-3), gpu=Size(6000, 128, 2e-3)),
    "simclr-cifar10": Recipe(
        simclr_cifar10,
        "cifar10",
        gpu=Size(48_000, 1024, 1.0),
        optimizer=sgd,
        published="94.0 % linear probe (Chen et al. 2020, appendix B.9: ResNet-50, 1000 epochs, batch 1024, LARS)",
    ),
}


def lookup(name: str) -> Recipe:
    """The row of that name; ValueError lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"argument `name`: expected one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


def build(recipe: Recipe, seed: int) -> Method:
    """The untrained method whose weights come from `seed`; the caller's random state stays as it was."""
    with seeded(seed):
        return recipe.build()


def train(
    recipe: Recipe,
    method: Method,
    data: Dataset,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    checkpoint: str | Path | None = None,
    bf16: bool | None = None,
) -> Iterator[Step]:
    """`fit` with the recipe's size for this device; steps and batch_size override it, bf16 is fit's.

    Raises ValueError where the recipe has no size for the CPU and none is given.
    """
    on_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    data = recipe.pairs(data) if recipe.pairs else data
    size = recipe.gpu if on_gpu else recipe.cpu
    if size is None:
        if steps is None or batch_size is None:
            raise ValueError("argument `device`: this recipe is made for a GPU; on the CPU give steps and batch_size")
        size = recipe.gpu
    steps = size.steps if steps is None else steps
    batch_size = size.batch_size if batch_size is None else batch_size
    return fit(
        method,
        data,
        steps,
        batch_size=batch_size,
        seed=seed,
        device=device,
        optimizers=recipe.optimizer(size.lr, recipe.weight_decay),
        checkpoint=checkpoint,
        bf16=bf16,
    )
