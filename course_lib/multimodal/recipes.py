"""How the methods of notebook 06 are built and trained."""

from torch import nn

from course_lib.augment import RandomResizedCrop
from course_lib.data.captions import WORDS, described, drawn, sentence_words
from course_lib.multimodal.clip import CLIP
from course_lib.multimodal.siglip import SigLIP
from course_lib.multimodal.word_prediction import WordPrediction
from course_lib.nets.resnet import ResNet
from course_lib.nets.text import BagOfWords, TextTransformer
from course_lib.nets.vit import PooledViT, convolutions
from course_lib.recipe import Recipe, Size

DIM = 64  # of the joint space


def crop() -> RandomResizedCrop:
    """Returns the random crop that is CLIP's only augmentation. It is larger than in
    other methods, because the caption must stay true."""
    return RandomResizedCrop(32, scale=(0.6, 1.0))


def text_transformer() -> TextTransformer:
    """Returns a transformer for sentences. Its last layer is not initialised with zeros
    here, because CLIP divides by the length of the output."""
    text = TextTransformer(len(sentence_words()), WORDS, dim=96, depth=2, heads=4)
    nn.init.orthogonal_(text.out.weight)
    return text


def linear(inputs: int) -> nn.Linear:
    return nn.Linear(inputs, DIM, bias=False)


def clip(kind: type[CLIP] = CLIP) -> CLIP:
    """Returns CLIP with the encoder of notebooks 00 to 09 and a small text
    transformer."""
    encoder, text = ResNet(widths=(24, 48, 96)), text_transformer()
    return kind(encoder, text, linear(encoder.dim), linear(96), crop(), drawn)


def clip_bag_of_words() -> CLIP:
    """Returns CLIP with a bag of words as its text encoder."""
    encoder, text = ResNet(widths=(24, 48, 96)), BagOfWords(len(sentence_words()), 96)
    return CLIP(encoder, text, linear(encoder.dim), linear(96), crop(), drawn)


def clip_vit() -> CLIP:
    """Returns CLIP with a small vision transformer as its image encoder. A BatchNorm
    without parameters follows, as in MoCo v3's recipe; otherwise the features of all
    pictures would have a large part in common."""
    vit = PooledViT(convolutions(32, 64, 64), grid=8, dim=64, depth=4, heads=4)
    encoder = nn.Sequential(vit, nn.BatchNorm1d(vit.dim, affine=False))
    text = text_transformer()
    return CLIP(encoder, text, linear(vit.dim), linear(96), crop(), drawn)


def siglip() -> SigLIP:
    """Returns CLIP's networks with the sigmoid loss."""
    return clip(SigLIP)


def word_prediction() -> WordPrediction:
    """Returns the prediction of a caption's words, with CLIP's encoder."""
    encoder = ResNet(widths=(24, 48, 96))
    classifier = nn.Linear(encoder.dim, len(sentence_words()))
    return WordPrediction(encoder, classifier, crop(), drawn)


def on_captions(build, cpu: Size, gpu: Size) -> Recipe:
    return Recipe(build, "scenes", cpu=cpu, gpu=gpu, prepare_data=described)


RECIPES = {
    "clip": on_captions(clip, Size(500, 128, 3e-3), Size(8000, 512, 3e-3)),
    "clip-bag-of-words": on_captions(
        clip_bag_of_words, Size(500, 128, 3e-3), Size(8000, 512, 3e-3)
    ),
    "clip-vit": on_captions(clip_vit, Size(300, 128, 3e-3), Size(8000, 512, 3e-3)),
    "siglip": on_captions(siglip, Size(500, 128, 3e-3), Size(8000, 512, 3e-3)),
    "word-prediction": on_captions(
        word_prediction, Size(500, 128, 3e-3), Size(8000, 512, 3e-3)
    ),
}
