"""CLIP, SigLIP and the prediction of words: their losses and methods, the sentences
they read, and zero-shot classification.

The oracles are plain Python loops over the papers' formulas, sets of words, closed
forms, finite differences, and torch's cross-entropy.
"""

import functools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from methods import (
    close,
    dot,
    normal,
    same,
    seeded,
    state_of,
    two_processes,
    unit,
    within,
)
from torch import nn

from course_lib.data import Dataset, as_float, emoji_names, emoji_subcategories, load
from course_lib.data.captions import (
    KEYWORDS,
    LABELS,
    NAME,
    WORDS,
    described,
    descriptions,
    drawn,
    leftmost,
    sentence,
    sentence_words,
)
from course_lib.data.emoji import STYLES
from course_lib.data.words import vocabulary, word_lists
from course_lib.multimodal import recipes
from course_lib.multimodal.clip import CLIP, clip_loss, fits, local_clip_loss
from course_lib.multimodal.siglip import SigLIP, siglip_loss
from course_lib.multimodal.word_prediction import WordPrediction, word_loss
from course_lib.multimodal.zero_shot import (
    class_embeddings,
    first_ranks,
    image_embeddings,
    modality_gap,
    recall_at,
)
from course_lib.nets.resnet import ResNet, group_norm
from course_lib.nets.text import BagOfWords, TextTransformer
from course_lib.optim import adamw, sgd
from course_lib.train import fit


def unit_rows(*shape, seed=0, dtype=torch.float64):
    rows = normal(*shape, seed=seed)
    return (rows / rows.square().sum(-1, keepdim=True).sqrt()).to(dtype)


def unchanged(x):
    return x


def text_net(kind, words=30, length=6, dim=16, seed=0):
    """With weights as training might leave them: nothing but padding is at zero."""
    torch.manual_seed(seed)
    if kind == "bag":
        return BagOfWords(words, dim)
    net = TextTransformer(words, length, dim, depth=2, heads=4)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
        net.words.weight[0] = 0
    return net


def networks(text="transformer", seed=0, **options):
    encoder = text_net(text, seed=seed, **options)
    torch.manual_seed(seed + 1)
    image = ResNet((8, 16), norm=group_norm)
    heads = (nn.Linear(16, 8, bias=False) for _ in range(2))
    return image, encoder, *heads, unchanged, unchanged


def pair(kind=CLIP, text="transformer", seed=0, draw=unchanged, words=30, **options):
    """Pictures and captions as they are, without random numbers."""
    length = WORDS if words > 30 else 6
    *nets, augment, _ = networks(text, seed, words=words, length=length)
    return kind(*nets, augment, draw, **options)


def predictor(seed=0, words=30):
    torch.manual_seed(seed)
    encoder = ResNet((8, 16), norm=group_norm)
    return WordPrediction(encoder, nn.Linear(16, words), unchanged, unchanged)


def captions(n=32, seed=0, words=30, length=6):
    """Random tokens: 1 to `length` words, then padding."""
    generator = seeded(seed)
    rows = torch.randint(1, words, (n, length), generator=generator)
    number = torch.randint(1, length + 1, (n, 1), generator=generator)
    return rows * (torch.arange(length) < number)


def captioned_pictures(n=32, seed=0):
    x = torch.randint(256, (n, 3, 16, 16), generator=seeded(seed)).byte()
    return Dataset(x, captions(n, seed), ())


def batch(n=8, seed=0):
    data = captioned_pictures(n, seed)
    return as_float(data.x), data.y


def embeddings(method, x, tokens):
    """Unit vectors of pictures and captions, as lists."""
    with torch.no_grad():
        image = method.projector(method.encoder(x)).double().tolist()
        text = method.text_projector(method.text_encoder(tokens)).double().tolist()
    return [unit(u) for u in image], [unit(u) for u in text]


# --- CLIP's loss ---


def surprise(scores, k):
    """-log softmax(scores)_k."""
    top = max(scores)
    return top + math.log(sum(math.exp(s - top) for s in scores)) - scores[k]


def naive_clip_loss(image, text, scale, left_out=None):
    n, total = len(image), 0.0
    for i in range(n):
        kept = [j for j in range(n) if j == i or left_out is None or not left_out[i][j]]
        scores = [scale * dot(image[i], text[j]) for j in kept]
        total += surprise(scores, kept.index(i)) / (2 * n)
        kept = [j for j in range(n) if j == i or left_out is None or not left_out[j][i]]
        scores = [scale * dot(text[i], image[j]) for j in kept]
        total += surprise(scores, kept.index(i)) / (2 * n)
    return total


@pytest.mark.parametrize("scale", [0.0, 1.0, 14.3, 100.0])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_clip_loss_equals_a_loop_and_two_cross_entropies(n, scale):
    image, text = unit_rows(2, n, 5)
    found = clip_loss(image, text, scale)
    assert found.shape == () and found.dtype == torch.float64
    expected = naive_clip_loss(image.tolist(), text.tolist(), scale)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    scores, y = scale * torch.einsum("id,jd->ij", image, text), torch.arange(n)
    both = (F.cross_entropy(scores, y) + F.cross_entropy(scores.T, y)) / 2
    close(found, both)
    close(clip_loss(image, text, torch.tensor(scale, dtype=torch.float64)), both)


def test_clip_loss_of_equal_and_of_orthogonal_vectors_has_its_closed_form():
    one = unit_rows(1, 6).expand(9, 6)
    assert clip_loss(one, one, 20.0).item() == pytest.approx(math.log(9))
    assert clip_loss(*unit_rows(2, 9, 6), 0.0).item() == pytest.approx(math.log(9))
    axes = torch.eye(6, dtype=torch.float64)
    expected = math.log(1 + 5 * math.exp(-3.0))
    assert clip_loss(axes, axes, 3.0).item() == pytest.approx(expected)
    expected = math.log(5 + math.exp(3.0))
    # each vector is that of another pair; all but one similarity are 0
    assert clip_loss(axes, axes.roll(1, 0), 3.0).item() == pytest.approx(expected)


def test_clip_loss_does_not_depend_on_the_order_of_pairs_or_the_names_of_the_sides():
    image, text = unit_rows(2, 8, 5)
    left_out = torch.rand(8, 8, generator=seeded()) < 0.3
    order = torch.randperm(8, generator=seeded())
    for out in (None, left_out):
        found = clip_loss(image, text, 9.0, out)
        moved = None if out is None else out[order][:, order]
        close(clip_loss(image[order], text[order], 9.0, moved), found)
        close(clip_loss(text, image, 9.0, None if out is None else out.T), found)
    mixed = clip_loss(image, text[order], 9.0)
    assert (mixed - clip_loss(image, text, 9.0)).abs() > 0.01


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_clip_loss_with_pairs_left_out_equals_a_loop(share):
    image, text = unit_rows(2, 7, 5)
    left_out = torch.rand(7, 7, generator=seeded(1)) < share
    expected = naive_clip_loss(image.tolist(), text.tolist(), 6.0, left_out.tolist())
    found = clip_loss(image, text, 6.0, left_out)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    # the diagonal is ignored, and the argument is not changed
    before, itself = left_out.clone(), torch.eye(7, dtype=torch.bool)
    for other in (left_out | itself, left_out & ~itself):
        assert torch.equal(clip_loss(image, text, 6.0, other), found)
    assert torch.equal(left_out, before)
    if share == 1:
        assert found.item() == 0


def test_equal_captions_keep_the_loss_at_log_n_unless_they_are_left_out():
    image = unit_rows(6, 5).requires_grad_()
    text = unit_rows(1, 5, seed=1).expand(6, 5)
    scores = 30.0 * (image @ text.T).detach()
    # the picture's direction has log N exactly, the caption's at least that
    of_images = sum(surprise(row, i) for i, row in enumerate(scores.tolist())) / 6
    of_texts = sum(surprise(row, i) for i, row in enumerate(scores.T.tolist())) / 6
    assert of_images == pytest.approx(math.log(6)) and of_texts > math.log(6)
    loss = clip_loss(image, text, 30.0)
    assert loss.item() == pytest.approx((of_images + of_texts) / 2)
    assert loss.item() > math.log(6)
    alone = clip_loss(image, text, 30.0, torch.ones(6, 6, dtype=torch.bool))
    alone.backward()
    assert alone.item() == 0 and image.grad.abs().max() == 0


def test_losses_are_computed_in_float32_and_finite_at_extremes():
    image, text = unit_rows(2, 6, 4, dtype=torch.bfloat16)
    exact, scale, tokens = (
        (image.float(), text.float()),
        torch.tensor(14.3),
        captions(6),
    )
    logits = normal(6, 30, dtype=torch.bfloat16)
    parts = dict(scale=scale, first=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = (
            clip_loss(image, text, scale),
            local_clip_loss(image[2:4], text[2:4], image, text, **parts),
            siglip_loss(image, text, scale, torch.tensor(-3.0)),
            word_loss(logits, tokens),
        )
    expected = (
        clip_loss(*exact, scale),
        local_clip_loss(exact[0][2:4], exact[1][2:4], *exact, **parts),
        siglip_loss(*exact, scale, torch.tensor(-3.0)),
        word_loss(logits.float(), tokens),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, theirs)
    for size in (1e-4, 1e4):
        rows = [each.clone().requires_grad_() for each in exact]
        loss = clip_loss(*rows, size) + siglip_loss(*rows, size, -10.0)
        loss.backward()
        assert loss.isfinite() and all(each.grad.isfinite().all() for each in rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: clip_loss(v, v[:2], 1.0), "`text`.*N = 3 in `image`"),
        (lambda v: clip_loss(v, v[:, :2], 1.0), "`text`.*D = 4 in `image`"),
        (lambda v: clip_loss(v, v, 1.0, v[:, :3]), "`left_out`.*bool"),
        (lambda v: clip_loss(v, v, 1.0, v[:2, :3] > 0), "`left_out`.*N = 3"),
        (lambda v: local_clip_loss(v[:1], v[:2], v, v, 1.0, 0), "`text`.*n = 1"),
        (lambda v: local_clip_loss(v, v, v, v[:2], 1.0, 0), "`texts`.*N = 3"),
        (lambda v: local_clip_loss(v[:2], v[:2], v, v, 1.0, 2), "`positive`"),
        (lambda v: siglip_loss(v, v[:2], 1.0, 0.0), "`text`.*N = 3 in `image`"),
        (lambda v: word_loss(v, v), "`tokens`.*int"),
        (lambda v: word_loss(v, torch.ones(2, 3).long()), "`tokens`.*N = 3"),
        (lambda v: fits(v, torch.ones(2, 3).long(), 4), "`drawn`.*int"),
        (lambda v: first_ranks(v, v[:2] > 0), "`relevant`.*N = 3"),
        (lambda v: first_ranks(v, v < 0), "`relevant`.*got none for 3 queries"),
        (lambda v: modality_gap(v, v[:, :2]), "`text`.*D = 4"),
        (lambda v: recall_at(torch.arange(3), 0), "`k`"),
        (lambda v: leftmost(v), "`rows`.*int"),
        (lambda v: drawn(torch.ones(2, 12).long()), "`rows`.*34"),
        (lambda v: pair().text_embedding(torch.full((1, 6), 30)), "`tokens`.*29"),
        (lambda v: BagOfWords(4, 2)(torch.full((1, 6), 4)), "`tokens`.*0 to 3"),
        (lambda v: BagOfWords(4, 2)(v), "`tokens`.*int"),
    ],
)
def test_functions_name_the_bad_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(3, 4))


@pytest.mark.parametrize("tau", [0.0, -0.1, math.nan, None])
@pytest.mark.parametrize("kind", [CLIP, SigLIP])
def test_temperatures_that_are_not_positive_are_named(kind, tau):
    with pytest.raises(ValueError, match="`temperature`: expected a positive number"):
        pair(kind, temperature=tau)


# --- the loss in parts ---


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_mean_of_local_losses_equals_the_loss_and_its_gradients(parts):
    image, text = unit_rows(2, 6, 5)
    log_scale = torch.tensor(2.0, dtype=torch.float64)
    leaves = [each.clone().requires_grad_() for each in (image, text, log_scale)]
    whole = clip_loss(*leaves[:2], leaves[2].exp())
    expected = torch.autograd.grad(whole, leaves)
    n, (image, text, log_scale) = 6 // parts, leaves
    losses = [
        local_clip_loss(
            image[first : first + n],
            text[first : first + n],
            image,
            text,
            log_scale.exp(),
            first,
        )
        for first in range(0, 6, n)
    ]
    mean = sum(losses) / parts
    close(mean, whole)
    for ours, theirs in zip(torch.autograd.grad(mean, leaves), expected):
        close(ours, theirs)
    assert parts == 1 or max(losses) - min(losses) > 1e-3


JOINT = {
    "CLIP": partial(pair, temperature=0.2),
    "CLIP with a bag of words": partial(pair, text="bag"),
    "SigLIP": partial(pair, SigLIP, bias=-2.0),
}


def joint(name):
    """The losses and the state after each of three updates of plain SGD."""
    method, states, losses = JOINT[name](), [], []
    options = dict(optimizers=sgd(0.1, weight_decay=0, momentum=0), batch_size=16)
    data = captioned_pictures()
    for step in fit(method, data, 3, schedule=lambda p: 1.0, **options):
        states.append(state_of(method))
        losses.append(step.loss)
    return losses, states


def work():
    return {name: joint(name) for name in JOINT}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return two_processes("test_clip", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", list(JOINT))
def test_two_processes_equal_one_on_the_joint_batch(two, name):
    """With plain SGD the changes of the weights are the gradients."""
    start, (losses, states) = state_of(JOINT[name]()), joint(name)
    for theirs, each in (process[name] for process in two):
        if "CLIP" == name[:4]:  # each process reports its own part
            theirs = [(a + b) / 2 for a, b in zip(*(p[name][0] for p in two))]
        assert theirs == pytest.approx(losses, rel=1e-4)
        for ours, other in zip(states, each, strict=True):
            assert ours.keys() == other.keys()
            for key, value in ours.items():
                torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5)
    assert all(map(same, two[0][name][1], two[1][name][1])), "they drifted apart"
    learned = ("log_scale", "bias") if name == "SigLIP" else ("log_scale",)
    for key in learned:
        assert (states[0][key] - start[key]).abs() > 1e-3
    for key in ("projector.weight", "text_projector.weight"):
        assert (states[0][key] - start[key]).abs().max() > 1e-3


# --- CLIP ---


@pytest.mark.parametrize("text", ["transformer", "bag"])
def test_clip_compares_views_of_pictures_with_drawn_captions(text):
    method, (x, y) = pair(text=text, temperature=0.3), batch()
    method.augment, method.draw = lambda x: x.flip(-1), lambda y: y.flip(0)
    image, words = embeddings(method, x.flip(-1), y.flip(0))
    expected = naive_clip_loss(image, words, 1 / 0.3)
    assert method.loss(x, y).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(
        method.image_embedding(x.flip(-1)), torch.tensor(image), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        method.text_embedding(y.flip(0)), torch.tensor(words), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", [CLIP, SigLIP])
def test_gradients_of_all_weights_equal_those_of_the_formula(kind):
    options = {} if kind is CLIP else dict(bias=-1.0)
    method, (x, y) = pair(kind, temperature=0.3, **options), batch()
    image = method.projector(method.encoder(x))
    text = method.text_projector(method.text_encoder(y))
    image, text = (h / h.square().sum(1, keepdim=True).sqrt() for h in (image, text))
    scores, own = torch.exp(method.log_scale) * image @ text.T, torch.arange(8)
    if kind is CLIP:
        expected = F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)
        expected = expected / 2
    else:
        answers = torch.eye(8)
        expected = F.binary_cross_entropy_with_logits(scores + method.bias, answers) * 8
    names, weights = zip(*method.named_parameters(), strict=True)
    expected = torch.autograd.grad(expected, weights)
    found = torch.autograd.grad(method.loss(x, y), weights)
    for name, ours, theirs in zip(names, found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", [CLIP, SigLIP])
def test_encode_is_the_encoder_and_compare_gives_cosines(kind):
    method, (x, y) = pair(kind), batch()
    h = method.encode(x)
    assert torch.equal(h, method.encoder(x)) and h.shape == (8, 16)
    image, text = embeddings(method, x, y[:5])
    found = method.compare(h, y[:5])
    expected = torch.tensor([[dot(u, v) for v in text] for u in image])
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_scale", [0.0, 2.66, 4.6])
def test_gradient_of_log_scale_equals_finite_differences(log_scale):
    image, text, step = *unit_rows(2, 6, 5), 1e-5
    at = torch.tensor(log_scale, dtype=torch.float64, requires_grad=True)
    for loss in (clip_loss, lambda *a: siglip_loss(*a, -10.0)):
        (found,) = torch.autograd.grad(loss(image, text, at.exp()), at)
        ends = [
            loss(image, text, math.exp(log_scale + side)).item()
            for side in (-step, step)
        ]
        expected = (ends[1] - ends[0]) / (2 * step)
        assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("tau", [1.0, 0.07, 0.02])
def test_scale_starts_at_one_over_tau_and_all_weights_get_a_gradient(tau):
    method, (x, y) = pair(temperature=tau), batch()
    assert method.log_scale.exp().item() == pytest.approx(1 / tau)
    assert pair().log_scale.exp().item() == pytest.approx(1 / 0.07)
    assert any(p is method.log_scale for p in method.parameters())
    method.loss(x, y).backward()
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    assert (method.text_encoder.words.weight.grad[0] == 0).all()


@pytest.mark.parametrize("start", [-1.0, 4.0, math.log(100), 4.7, 9.0])
def test_after_step_keeps_the_scale_at_most_100(start):
    method = pair()
    with torch.no_grad():
        method.log_scale.fill_(start)
        method.after_step()
    limit = torch.tensor(math.log(100.0))
    expected = torch.minimum(torch.tensor(start), limit)
    assert torch.equal(method.log_scale.detach(), expected)
    sigmoid = pair(SigLIP)
    with torch.no_grad():
        sigmoid.log_scale.fill_(start)
        sigmoid.after_step()
    assert sigmoid.log_scale.item() == pytest.approx(start)


def test_fit_clamps_the_scale_and_leaves_a_fixed_one_alone():
    method, (x, _) = pair(), batch(8)
    # each picture has its own vector as its caption, so the scale grows
    method.text_encoder, method.text_projector = nn.Identity(), nn.Identity()
    method.requires_grad_(False).log_scale.requires_grad_()
    vectors = method.image_embedding(x)
    data, optimizer = Dataset(x, vectors, ()), sgd(1.0, weight_decay=0, momentum=0)
    options = dict(batch_size=8, optimizers=optimizer)
    method.log_scale.data.fill_(4.0)
    for _ in fit(method, data, 20, schedule=lambda p: 1.0, **options):
        assert method.log_scale.item() <= torch.tensor(math.log(100.0)).item()
    assert method.log_scale.item() == torch.tensor(math.log(100.0)).item()
    fixed = pair(temperature=0.2)
    fixed.log_scale.requires_grad_(False)
    before = state_of(fixed)
    list(fit(fixed, captioned_pictures(), 2, batch_size=16, optimizers=adamw(1e-2)))
    assert torch.equal(fixed.log_scale, before["log_scale"])
    assert not torch.equal(fixed.projector.weight, before["projector.weight"])


# --- SigLIP ---


def naive_siglip_loss(image, text, scale, bias):
    n, total = len(image), 0.0
    for i in range(n):
        for j in range(n):
            logit = scale * dot(image[i], text[j]) + bias
            z = logit if i == j else -logit
            total += (math.log1p(math.exp(-abs(z))) + max(-z, 0.0)) / n
    return total


@pytest.mark.parametrize(
    ("scale", "bias"), [(10.0, -10.0), (1.0, 0.5), (100.0, 3.0), (0.0, -2.0)]
)
@pytest.mark.parametrize("n", [1, 6])
def test_siglip_loss_equals_a_double_loop(n, scale, bias):
    image, text = unit_rows(2, n, 5)
    expected = naive_siglip_loss(image.tolist(), text.tolist(), scale, bias)
    found = siglip_loss(image, text, scale, bias)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_siglip_loss_has_its_closed_forms_and_stays_finite():
    for n in (1, 5, 8):
        rows = unit_rows(2, n, 4)
        expected = n * math.log(2)
        assert siglip_loss(*rows, 0.0, 0.0).item() == pytest.approx(expected)
    axes = torch.eye(4, dtype=torch.float64)
    # right at once, and all wrong by the same logit
    assert siglip_loss(axes, axes, 2e4, -1e4).item() == 0
    assert siglip_loss(axes, axes, -2e4, 1e4).item() == pytest.approx(4e4)
    logit = torch.tensor(-1e30, requires_grad=True)
    siglip_loss(axes.float(), axes.float(), 1.0, logit).backward()
    assert logit.grad.isfinite()


def test_siglip_method_uses_its_bias_and_the_start_of_the_paper():
    method, (x, y) = pair(SigLIP), batch()
    assert method.bias.item() == -10
    assert method.log_scale.exp().item() == pytest.approx(10)
    method = pair(SigLIP, temperature=0.5, bias=-1.5)
    expected = naive_siglip_loss(*embeddings(method, x, y), 2.0, -1.5)
    loss = method.loss(x, y)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    flipped = pair(SigLIP)
    flipped.augment, flipped.draw = lambda x: x.flip(-1), lambda y: y.flip(0)
    rows = embeddings(flipped, x.flip(-1), y.flip(0))
    expected = naive_siglip_loss(*rows, 10.0, -10.0)
    assert flipped.loss(x, y).item() == pytest.approx(expected, rel=1e-5)


# --- predicting the words ---


def naive_word_loss(logits, rows):
    total = 0.0
    for scores, row in zip(logits, rows, strict=True):
        words = [w for w in row if w]
        for w in words:
            total += surprise(scores, w) / len(words) / len(logits)
    return total


def test_word_loss_equals_a_loop_and_ignores_padding():
    logits, tokens = 3 * normal(8, 30), captions(8)
    tokens[3], tokens[4, 2] = 0, tokens[4, 0]  # an empty caption; a word twice
    tokens[5] = torch.tensor([0, 7, 0, 0, 9, 0])
    expected = naive_word_loss(logits.tolist(), tokens.tolist())
    assert word_loss(logits, tokens).item() == pytest.approx(expected, rel=1e-9)
    close(word_loss(logits, F.pad(tokens, (2, 5))), expected)
    close(word_loss(logits, tokens.int()), expected)
    # one word for each is cross-entropy
    one = tokens[:, :1].clamp(min=1)
    close(word_loss(logits, one), F.cross_entropy(logits, one[:, 0]))
    equal = torch.zeros(5, 30)
    assert word_loss(equal, captions(5)).item() == pytest.approx(math.log(30))
    assert word_loss(equal, torch.zeros(5, 6).long()).item() == 0


def test_word_prediction_uses_views_and_drawn_words_and_compares_by_their_mean():
    method, (x, y) = predictor(), batch()
    method.augment, method.draw = lambda x: x.flip(-1), lambda y: y.flip(0)
    h = method.encode(x)
    assert torch.equal(h, method.encoder(x))
    with torch.no_grad():
        logits = method.classifier(method.encoder(x.flip(-1))).double().tolist()
        plain = method.classifier(h).double().tolist()
    expected = naive_word_loss(logits, y.flip(0).tolist())
    assert method.loss(x, y).item() == pytest.approx(expected, rel=1e-5)
    texts = y[:5].clone()
    texts[1, :2], texts[2] = texts[1, 0], 0  # a word twice; no word
    found = method.compare(h, texts)
    assert found.shape == (8, 5) and not found.requires_grad
    for i, scores in enumerate(plain):
        for j, row in enumerate(texts.tolist()):
            logs = [-surprise(scores, w) for w in row if w]
            mean = sum(logs) / len(logs) if logs else 0
            assert found[i, j].item() == pytest.approx(mean, rel=1e-4, abs=1e-6)
    padded = method.compare(h, F.pad(texts, (0, 4)))
    torch.testing.assert_close(padded, found)


# --- text encoders ---


def test_bag_of_words_is_the_mean_of_the_words_vectors():
    net, rows = text_net("bag"), captions(6)
    rows[2], rows[3] = 0, torch.tensor([0, 4, 0, 4, 9, 0])
    vectors = net.words.weight.tolist()
    for row, found in zip(rows.tolist(), net(rows)):
        words = [vectors[w] for w in row if w]
        columns = zip(*words) if words else [[0.0]] * 16
        mean = torch.tensor([sum(c) / max(1, len(words)) for c in columns])
        torch.testing.assert_close(found, mean, rtol=1e-5, atol=1e-6)
    assert net.dim == 16 and (net.words.weight[0] == 0).all()
    assert torch.equal(net(rows.int()), net(rows))


@pytest.mark.parametrize("text", ["transformer", "bag"])
def test_padding_never_changes_an_embedding(text):
    method, rows = pair(text=text), captions(12)
    rows = rows * (torch.arange(6) < 3)  # at most three words
    found = method.text_embedding(rows)
    assert found.norm(dim=1).detach() == pytest.approx([1.0] * 12, abs=1e-5)
    for length in (3, 4, 5):
        torch.testing.assert_close(method.text_embedding(rows[:, :length]), found)


@pytest.mark.parametrize(("text", "changes"), [("transformer", True), ("bag", False)])
def test_only_the_transformer_reads_the_order_of_words(text, changes):
    method = pair(text=text).eval()
    a, b = method.text_embedding(torch.tensor([[3, 1, 4, 0, 0, 0], [4, 3, 1, 0, 0, 0]]))
    assert ((a - b).abs().max() > 1e-3) == changes
    if not changes:
        torch.testing.assert_close(a, b)


# --- true captions ---


def test_fits_equals_sets_of_words():
    generator = seeded()
    known = torch.randint(0, 12, (9, 10), generator=generator)
    # some words of a description, in another order, and some other captions
    own = known[:, torch.randperm(10, generator=generator)[:3]]
    rows = torch.cat([own, torch.randint(0, 12, (6, 3), generator=generator)])
    rows[4], rows[5] = 0, torch.tensor([5, 0, 5])
    found, seen = fits(rows, known, 12), set()
    assert found.dtype == torch.bool and found.shape == (9, 15)
    for i, description in enumerate(known.tolist()):
        for j, row in enumerate(rows.tolist()):
            expected = set(row) - {0} <= set(description)
            assert found[i, j].item() == expected
            seen.add(expected)
    assert seen == {True, False} and found[:, 4].all()
    assert torch.equal(fits(rows.int(), known.int(), 12), found)


def test_a_drawn_caption_fits_its_own_picture():
    rows = descriptions(load("emoji", "train"))[::7]
    torch.manual_seed(0)
    found = fits(drawn(rows, label=0.5), rows, len(sentence_words()))
    assert found.diagonal().all() and 0.001 < found.double().mean() < 0.3


# --- sentences ---


def words_in(row):
    return [sentence_words()[token] for token in row.tolist() if token]


def test_sentence_words_are_padding_then_styles_then_all_other_words_in_order():
    words, train, lists = sentence_words(), load("emoji", "train"), word_lists()
    assert words[:4] == ("", *STYLES) and len(set(words)) == len(words)
    assert list(words[4:]) == sorted(words[4:])
    expected = set(STYLES)
    for e in train.info["emoji"].unique().tolist():
        expected |= {vocabulary()[w] for w in lists[e].tolist()}
    plain = "".join(
        c if c.isalpha() else " "
        for c in " ".join([*train.classes, *emoji_subcategories()]).lower()
    )
    expected |= set(plain.split()) - {"a"}
    assert set(words[1:]) == expected


def test_sentence_has_each_known_word_once_and_no_function_words():
    row = sentence("A RED apple, with the red Apple of Noto!")
    assert row.shape == (WORDS,) and row.dtype == torch.int64
    assert words_in(row) == ["red", "apple", "noto"]
    assert row[3:].tolist() == [0] * 9
    full = " ".join(sentence_words()[10:22])
    assert words_in(sentence(full)) == full.split()
    for word in ("animals", "nature", "twemoji"):  # of a label, and a style
        assert words_in(sentence(word)) == [word]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red apples", r"`text`.*got 'apples' \(did you mean 'apple'\?\)"),
        ("xqzvw", "`text`.*training captions, got 'xqzvw'$"),
        ("", "expected 1 to 12 words .*got 0 in ''"),
        ("with the 7", "got 0 in 'with the 7'"),
        (None, "got 13 in"),
    ],
)
def test_sentence_names_the_bad_word_and_the_wrong_number(text, message):
    text = " ".join(sentence_words()[10:23]) if text is None else text
    with pytest.raises(ValueError, match=message):
        sentence(text)


def row_of(data, name, style="noto"):
    rows = data.info["emoji"] == emoji_names().index(name)
    rows &= data.info["style"] == STYLES.index(style)
    return data[rows]


@pytest.mark.parametrize(
    ("split", "name", "style", "parts"),
    [
        (
            "train",
            "octopus",
            "openmoji",
            ("octopus", "creature ocean sea beach", "animal marine animals nature"),
        ),
        (
            "train",
            "squid",
            "noto",
            ("squid", "ocean sea", "animal marine animals nature"),
        ),
        (
            "train",
            "red apple",
            "twemoji",
            ("red apple", "school delicious", "food fruit drink"),
        ),
        (
            "train",
            "grinning face",
            "noto",
            ("grinning face", "smile happy joy grin", "face smiling smileys emotion"),
        ),
        # no training emoji's caption has one of their words
        ("test", "orangutan", "noto", ("", "", "animal mammal animals nature")),
        ("test", "crocodile", "twemoji", ("", "", "animal reptile animals nature")),
    ],
)
def test_descriptions_of_some_emoji(split, name, style, parts):
    (row,) = descriptions(row_of(load("emoji", split), name, style))
    assert row.dtype == torch.int64 and row.shape == (34,)
    assert sentence_words()[row[0]] == style
    for places, words in zip((NAME, KEYWORDS, LABELS), parts, strict=True):
        found = row[places]
        assert words_in(found) == words.split()
        assert (found[len(words.split()) :] == 0).all()
    assert (NAME.start, KEYWORDS.start, LABELS.start) == (1, 10, 28)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_descriptions_hold_the_known_words_of_all_lists(split):
    data = load("emoji", split)
    rows, lists, names = descriptions(data), word_lists(), word_lists(names_only=True)
    known = set(sentence_words())
    assert rows.shape == (len(data), 34)
    assert rows.min() == 0 and rows.max() < len(known)
    for row, e in list(zip(rows, data.info["emoji"].tolist()))[::4]:
        words, n = [vocabulary()[w] for w in lists[e].tolist()], len(names[e])
        assert words_in(row[NAME]) == [w for w in words[:n] if w in known]
        assert words_in(row[KEYWORDS]) == [w for w in words[n:] if w in known]
        assert words_in(row[LABELS])
        assert split != "train" or words_in(row[NAME]) == words[:n]
    assert torch.equal(rows[:, 0], 1 + data.info["style"])
    # in any order, with one row for several pictures of an emoji
    some = torch.randint(len(data), (50,), generator=seeded())
    assert torch.equal(descriptions(data[some]), rows[some])
    found = described(data[some])
    assert torch.equal(found.y, rows[some]) and found.classes == ()
    assert torch.equal(found.x, data.x[some])


def test_leftmost_closes_gaps_and_cuts():
    rows = torch.randint(0, 3, (40, 9), generator=seeded()) * torch.arange(1, 10)
    for places in (1, 4, 9, 12):
        found = leftmost(rows, places)
        assert found.shape == (40, min(places, 9))
        for row, short in zip(rows.tolist(), found.tolist()):
            words = [w for w in row if w][:places]
            assert short == words + [0] * (len(short) - len(words))
    assert leftmost(torch.ones(2, 20).long()).shape == (2, WORDS)


@pytest.mark.parametrize("label", [0.0, 0.5])
def test_drawn_words_are_words_of_the_description_in_its_order(label):
    rows = descriptions(load("emoji", "train"))
    torch.manual_seed(0)
    found = drawn(rows, label=label)
    assert found.shape == (len(rows), WORDS) and found.dtype == torch.int64
    again = drawn(rows, label=label)
    assert (found != again).any(1).double().mean() > 0.8
    labelled = 0
    for row, caption in zip(rows.tolist(), found.tolist()):
        words = [w for w in caption if w]
        assert words and caption == words + [0] * (WORDS - len(words))
        left = iter([w for w in row if w])
        assert all(w in left for w in words)  # a subsequence
        assert words[0] > 3 or len(words) > 1  # a style alone is no caption
        parts = [w for w in row[LABELS] if w]
        labelled += words[-len(parts) :] == parts
    assert labelled > 1000 if label else labelled < 10
    torch.manual_seed(0)
    assert torch.equal(drawn(rows, label=label), found)


SAMPLE = torch.zeros(34, dtype=torch.long)
SAMPLE[0], SAMPLE[NAME][:2], SAMPLE[KEYWORDS][:4] = (
    1,
    *(torch.tensor(part) for part in ([10, 11], [20, 21, 22, 23])),
)
SAMPLE[LABELS][:3] = torch.tensor([30, 31, 32])


def shares_of(found, tokens):
    return torch.stack([(found == token).any(1) for token in tokens], 1).double()


@pytest.mark.parametrize(
    "given",
    [{}, dict(style=0.8, name=0.4, keyword=0.2, label=0.3), dict(name=0.0, label=0.1)],
)
def test_drawn_keeps_each_part_with_its_probability(given):
    p = dict(style=0.3, name=0.7, keyword=0.5, label=0.0) | given
    torch.manual_seed(0)
    found = drawn(SAMPLE.expand(40_000, 34), **given)
    style, a, b, *keywords, x, y, z = shares_of(
        found, [1, 10, 11, 20, 21, 22, 23, 30, 31, 32]
    ).unbind(1)
    within(style, p["style"])
    # the name as a whole; also where nothing else is
    nothing = (1 - p["name"]) * (1 - p["keyword"]) ** 4 * (1 - p["label"])
    within(a, p["name"] + nothing)
    for keyword in keywords:
        within(keyword, p["keyword"])
    if p["label"]:
        within(x, p["label"])
    assert x.sum() > 0 or not p["label"]
    assert torch.equal(a, b) and torch.equal(x, y) and torch.equal(x, z)
    # independently of each other
    within(keywords[0] * keywords[3], p["keyword"] ** 2)
    within(style * keywords[1], p["style"] * p["keyword"])
    within(style * a, p["style"] * (p["name"] + nothing))


def test_drawn_with_probabilities_0_and_1_keeps_exactly_these_parts():
    rows = torch.stack([SAMPLE, SAMPLE.flip(0), torch.zeros_like(SAMPLE)])
    parts = dict(style=[1], name=[10, 11], keyword=[20, 21, 22, 23], label=[30, 31, 32])
    for bits in range(16):
        on = {name: float(bits >> k & 1) for k, name in enumerate(parts)}
        words = [w for name, part in parts.items() for w in part if on[name]]
        if not (on["name"] or on["keyword"] or on["label"]):
            words = words + parts["name"]
        found = drawn(SAMPLE[None], **on)[0].tolist()
        assert found == words + [0] * (WORDS - len(words))
    assert drawn(rows, 1, 1, 1, 1)[2].tolist() == [0] * WORDS
    # no name: the style alone is left, and nothing is invented
    nameless = SAMPLE.clone()
    nameless[NAME] = 0
    assert drawn(nameless[None], 1, 0, 0, 0)[0].tolist() == [1] + [0] * 11
    assert drawn(nameless[None], 0, 1, 0, 0)[0].tolist() == [0] * 12


@pytest.mark.parametrize("name", ["style", "name", "keyword", "label"])
@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_drawn_rejects_what_is_no_probability(name, p):
    with pytest.raises(ValueError, match=f"`{name}`"):
        drawn(SAMPLE[None], **{name: p})


# --- zero-shot ---

PROMPTS = [["dog"], ["red apple", "noto apple", "fruit"], ["clock", "twemoji city"]]


def reader(kind=CLIP, text="transformer"):
    """Reads real sentences."""
    return pair(kind, text, words=len(sentence_words())).eval()


def vectors_of(method, texts):
    rows = torch.stack([sentence(text) for text in texts])
    return embeddings(method, batch(1)[0], rows)[1]


@pytest.mark.parametrize("text", ["transformer", "bag"])
def test_class_embeddings_average_unit_vectors_and_normalise_again(text):
    method = reader(text=text)
    found = class_embeddings(method, PROMPTS)
    assert found.shape == (3, 8) and not found.requires_grad
    for vector, texts in zip(found.tolist(), PROMPTS):
        columns = zip(*vectors_of(method, texts), strict=True)
        expected = unit([sum(c) / len(texts) for c in columns])
        assert vector == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # the texts have vectors of different lengths, so the first normalisation matters
    with torch.no_grad():
        raw = method.text_projector(
            method.text_encoder(torch.stack([sentence(t) for t in PROMPTS[1]]))
        )
    assert (F.normalize(raw.mean(0), dim=0) - found[1]).abs().max() > 1e-3


def test_zero_shot_with_one_prompt_for_each_class_finds_the_nearest_text():
    method, texts = reader(), ["dog", "red apple", "clock", "city", "happy face"]
    data = captioned_pictures(20)
    found = class_embeddings(method, [[text] for text in texts])
    single = method.text_embedding(torch.stack([sentence(t) for t in texts]))
    torch.testing.assert_close(found, single)
    image, _ = embeddings(method, as_float(data.x), torch.ones(1, WORDS).long())
    vectors = image_embeddings(method.train(), data.x)
    assert method.training and not vectors.requires_grad
    torch.testing.assert_close(vectors, torch.tensor(image), rtol=1e-4, atol=1e-5)
    words, nearest = vectors_of(method, texts), []
    for u in image:
        distances = [sum((a - b) ** 2 for a, b in zip(u, v)) for v in words]
        nearest.append(distances.index(min(distances)))
    assert (vectors @ found.T).argmax(1).tolist() == nearest


def test_image_embeddings_use_eval_mode():
    method = reader()
    method.encoder = nn.Sequential(method.encoder, nn.BatchNorm1d(16)).train()
    x = captioned_pictures(12).x
    found, state = image_embeddings(method, x), state_of(method)
    torch.testing.assert_close(image_embeddings(method, x[:3]), found[:3])
    assert same(state, state_of(method))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["dog", "cat"], "list of texts for each class, got 'dog' for class 0"),
        ([["dog"], []], r"got \[\] for class 1"),
        ([["dog"], ["xqzvw"]], "got 'xqzvw'"),
        ([["dog", "the"]], "got 0 in 'the'"),
    ],
)
def test_class_embeddings_name_the_bad_text(prompts, message):
    with pytest.raises(ValueError, match=message):
        class_embeddings(reader(), prompts)


def test_first_ranks_equal_a_loop_over_sorted_scores_with_ties():
    generator = seeded()
    scores = torch.randint(0, 5, (60, 9), generator=generator) / 4
    relevant = torch.rand(60, 9, generator=generator) < 0.3
    relevant[torch.arange(60), torch.randint(9, (60,), generator=generator)] = True
    expected = []
    for row, marks in zip(scores.tolist(), relevant.tolist()):
        # best score first; of equal ones the irrelevant first
        ordered = sorted(zip(row, marks), key=lambda pair: (-pair[0], pair[1]))
        expected.append([mark for _, mark in ordered].index(True) + 1)
    found = first_ranks(scores, relevant)
    assert found.dtype == torch.int64 and found.tolist() == expected
    assert len(set(expected)) > 4
    constant = first_ranks(torch.zeros(4, 6), torch.eye(6)[:4] > 0)
    assert constant.tolist() == [6] * 4
    lowest = torch.full((1, 3), -torch.inf)
    assert first_ranks(lowest, torch.tensor([[True, False, False]])).item() == 3
    assert first_ranks(lowest, torch.ones(1, 3) > 0).item() == 1


def test_recall_counts_the_ranks_up_to_k():
    ranks = torch.tensor([1, 2, 2, 5, 10, 11, 400, 1])
    for k in (1, 2, 4, 5, 10, 400):
        expected = sum(rank <= k for rank in ranks.tolist()) / 8
        assert recall_at(ranks, k) == expected


def test_modality_gap_is_the_difference_of_the_means():
    image, text = unit_rows(7, 4), unit_rows(5, 4, seed=1)
    expected = [
        sum(a) / 7 - sum(b) / 5 for a, b in zip(image.T.tolist(), text.T.tolist())
    ]
    assert modality_gap(image, text).tolist() == pytest.approx(expected)
    assert modality_gap(image, image).abs().max() == 0


# --- training ---

RUNS = {
    "CLIP": lambda seed: pair(seed=seed, draw=drawn_words),
    "SigLIP": lambda seed: pair(SigLIP, seed=seed, draw=drawn_words),
    "words": predictor,
}


def drawn_words(y):
    return leftmost(y * (torch.rand(y.shape) < 0.7), 6)


@pytest.mark.parametrize("name", list(RUNS))
def test_resumed_training_ends_with_the_same_weights_bit_for_bit(name, tmp_path):
    def run(seed, stop=None, **options):
        method, steps = RUNS[name](seed), []
        data, optimizer = captioned_pictures(), adamw(1e-2)
        for step in fit(method, data, 6, batch_size=8, optimizers=optimizer, **options):
            steps.append(step.k)
            if step.k == stop:
                break
        return method, steps

    whole, _ = run(0)
    run(0, stop=3, checkpoint=tmp_path / "run.pt")
    # the seed differs, so all weights come from the checkpoint
    resumed, steps = run(1, checkpoint=tmp_path / "run.pt")
    assert steps == [4, 5, 6] and same(whole.state_dict(), resumed.state_dict())
    assert not same(state_of(whole), state_of(RUNS[name](0)))
    if name != "words":
        assert "log_scale" in whole.state_dict()


def test_training_finds_the_captions_of_a_few_pictures():
    method, data = pair(), captioned_pictures(8)
    options = dict(batch_size=8, optimizers=adamw(1e-2))
    losses = [step.loss for step in fit(method, data, 40, **options)]
    assert losses[-1] < 0.2 * losses[0]
    cosines = method.compare(method.encode(as_float(data.x)), data.y)
    assert cosines.argmax(1).tolist() == list(range(8))


@functools.cache
def six_emoji():
    return described(load("emoji_on_white", "train")[:300:50])


@pytest.mark.parametrize(
    "build",
    [
        recipes.clip,
        recipes.clip_bag_of_words,
        recipes.clip_vit,
        recipes.siglip,
        recipes.word_prediction,
    ],
)
def test_recipes_run_on_described_emoji_and_train_every_weight(build):
    torch.manual_seed(0)
    method, data = build(), six_emoji()
    loss = method.loss(as_float(data.x), data.y)
    loss.backward()
    assert loss.isfinite()
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    x = as_float(data.x)
    method.eval()
    assert torch.equal(method.encode(x), method.encoder(x))
    scores = method.compare(method.encode(x), torch.stack([sentence("red apple")] * 2))
    assert scores.shape == (6, 2)
    if isinstance(method, CLIP):
        # untrained captions already differ
        words = torch.stack([sentence(t) for t in ("dog", "clock", "dog clock")])
        text = method.text_embedding(words)
        assert text.norm(dim=1).detach() == pytest.approx([1.0] * 3, abs=1e-5)
        assert (text @ text.T - torch.eye(3)).abs().max() < 1.5
        assert torch.pdist(text).min() > 1e-3
