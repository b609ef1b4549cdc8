"""Exercises 06, CLIP: how answers are called, and on which cases.

A driver calls an answer on the arrays of one case and returns what came of it. A case
that brings a `cotangent` asks for the gradient too.
"""

from functools import partial

import torch
from torch import nn

from course_lib.grading.drive import (
    Arrays,
    gradients,
    layer,
    named_parameters,
    on_case,
)
from course_lib.grading.probes import (
    careful,
    on_case_in_float64,
    stays_float64,
    watched,
)

drive_class_vectors = careful(
    partial(on_case, tensors=("text", "owner", "weight"), flows=("text", "weight"))
)


drive_several_captions_loss = careful(
    partial(
        on_case,
        tensors=("image", "text", "owner"),
        settings=("scale",),
        flows=("image", "text"),
    )
)


drive_pointwise_information = careful(
    partial(on_case, tensors=("joint",), names=("scores", "information"))
)


@torch.inference_mode()
def drive_scale_derivatives(answer, a: Arrays) -> Arrays:
    """Calls the answer where autograd is switched off."""
    names = {"tensors": ("image", "text", "log_scale"), "names": ("first", "second")}
    inside = {name: array.clone() for name, array in a.items()}
    return careful(partial(on_case, **names))(answer, inside)


STEP_ARGUMENTS = ("image_features", "text_features", "w_image", "w_text", "t")
drive_clip_step = watched(
    partial(on_case_in_float64, tensors=STEP_ARGUMENTS, flows=STEP_ARGUMENTS)
)


# --- drivers of exercises 6 to 10
drive_match_prior = careful(
    partial(on_case, tensors=("scores", "prior"), settings=("steps",))
)

drive_block_loss = careful(
    partial(
        on_case,
        tensors=("image", "text", "image_rows", "text_rows"),
        settings=("scale", "bias", "total"),
        flows=("image", "text"),
    )
)


def drive_LockedCLIP(answer, a: Arrays) -> Arrays:
    """Builds the method around four tiny networks, and makes the updates that `fit`
    would make, with plain gradient steps. The text encoder has a BatchNorm layer, the
    image encoder only in a case with `running mean`.

    x (updates, N, C, H, W), y (updates, N, L). `value`: the very first loss; `gradient
    ...`: of this loss, for log_scale and each parameter of the four networks;
    `parameters all`: how many numbers the method would give the optimiser. `encoder
    ...`: after each update, the parameters and the running statistics of the image
    encoder; `later loss`: the losses after the first update. `log_scale ...`: at the
    start and after each update, to which `push` is added before `after_step`;
    `log_scale kept`: whether it is the same parameter all the time.

    A case with `unseen` asks for `encode` and `loss` of these pictures, in train mode
    and in eval mode. `text statistics`: the running statistics of the text encoder
    afterwards; `returned ...`: whether `train` and `eval` return the method.
    """
    method, networks = _b_locked(answer, a)
    if "unseen" in a:
        return _b_modes(method, networks, a)
    outputs = {"log_scale start": method.log_scale.detach().clone()}
    trained = [p for p in method.parameters() if p.requires_grad]
    outputs["parameters all"] = sum(p.numel() for p in trained)
    first, values = method.log_scale, []
    for k, (x, y) in enumerate(zip(a["x"], a["y"]), 1):
        method.train()
        values.append(method.loss(x, y))
        leaves = named_parameters(**networks) | {"log_scale": method.log_scale}
        leaves = {name: p for name, p in leaves.items() if p.requires_grad}
        found = gradients(values[-1], leaves) if leaves else {}
        with torch.no_grad():
            for name, p in leaves.items():
                p -= a["rate"].item() * found.get(f"gradient {name}", 0)
            method.log_scale += a["push"].item()
            method.after_step()
        method.step_outputs.clear()
        if k == 1:
            outputs |= {"value": values[0].detach()} | found
        else:
            outputs[f"later loss {k}"] = values[-1].detach()
        outputs[f"log_scale {k}"] = method.log_scale.detach().clone()
        outputs |= _b_encoder(networks["encoder"], k)
    outputs["log_scale kept"] = method.log_scale is first
    return outputs | stays_float64(a, values[0])


def _b_modes(method, networks: dict[str, nn.Module], a: Arrays) -> Arrays:
    outputs, returned = {}, []
    for training in (True, False):
        mode = "train" if training else "eval"
        returned.append((method.train() if training else method.eval()) is method)
        with torch.no_grad():
            outputs[f"features in {mode} mode"] = method.encode(a["unseen"])
            outputs[f"loss in {mode} mode"] = method.loss(a["unseen"], a["y"])
    buffers = [b.flatten() for b in networks["text_encoder"].buffers()]
    outputs["text statistics"] = torch.cat(buffers)
    outputs["returned by train and eval"] = all(returned)
    return outputs | _b_encoder(networks["encoder"], 1)


def _b_encoder(encoder: nn.Module, k: int) -> Arrays:
    numbers = [
        p.detach().flatten() for p in (*encoder.parameters(), *encoder.buffers())
    ]
    return {f"encoder after update {k}": torch.cat(numbers)}


def _b_networks(a: Arrays) -> dict[str, nn.Module]:
    linear = {
        name: layer(nn.Linear, a[f"{name} weight"].clone(), a[f"{name} bias"].clone())
        for name in ("encoder", "projector", "text_projector")
    }
    words = a["words"]
    bag = nn.EmbeddingBag(*words.shape, dtype=words.dtype)
    bag.weight = nn.Parameter(words.clone())
    text_norm = nn.BatchNorm1d(words.shape[1], dtype=words.dtype)
    parts = [nn.Flatten(), linear["encoder"], nn.Tanh()]
    if "running mean" in a:
        norm = nn.BatchNorm1d(len(a["running mean"]), dtype=words.dtype)
        norm.running_mean.copy_(a["running mean"])
        norm.running_var.copy_(a["running variance"])
        parts.insert(2, norm)
    return {
        "encoder": nn.Sequential(*parts),
        "text_encoder": nn.Sequential(bag, text_norm),
        "projector": linear["projector"],
        "text_projector": linear["text_projector"],
    }


def _b_locked(answer, a: Arrays):
    """Returns the method, and its four networks by name."""
    networks = _b_networks(a)
    return answer(*networks.values(), a["temperature"].item()), networks


drive_with_examples = careful(
    partial(
        on_case,
        tensors=("h", "text_scores", "keys", "labels"),
        settings=("alpha", "beta"),
        flows=("h", "text_scores", "keys"),
    )
)

drive_caption_scores = watched(
    partial(on_case, tensors=("scores",), names=("text", "image", "group"))
)


# --- private: what stands above is given to students ----------------------------------

import math

import torch.nn.functional as F
from torch import Generator, Tensor

from course_lib.grading.draw import F32, F64, between, normal, uniform, whole
from course_lib.grading.exercise import (
    UNCHANGED,
    Case,
    Master,
    Property,
    gradient,
    library,
    make_case,
    values,
)
from course_lib.train import Method


def a_unit(g: Generator, n: int, d: int, dtype=F32) -> Tensor:
    """n unit vectors."""
    return F.normalize(normal(g, n, d, dtype=F64), dim=1).to(dtype)


def a_owners(g: Generator, owners: int, things: int) -> Tensor:
    """The owner of each thing, in an order that is not sorted. Each owner has at least
    one thing, and they have different numbers of things; both if possible."""
    while True:
        more = torch.randint(0, owners, (things - owners,), generator=g)
        owner = torch.cat([torch.arange(owners), more])
        owner = owner[torch.randperm(things, generator=g)]
        unequal = things == owners or len(owner.bincount().unique()) > 1
        if owners == 1 or unequal and (owner.diff() < 0).any():
            return owner


# --- 1. a classifier from weighted prompts --------------------------------------------
def cases_class_vectors(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, classes, prompts, d, dtype=F32, layout=""):
        lengths = uniform(g, prompts, 1, low=0.5, high=4.0, dtype=F64)
        text, owner = a_unit(g, prompts, d, F64), a_owners(g, classes, prompts)
        weight = uniform(g, prompts, low=0.2, high=2.5, dtype=F64)
        if layout == "opposite":  # two prompts for each class, which nearly cancel
            owner = torch.arange(classes).repeat(2)
            weight = weight[owner]
            text[classes:] = -text[:classes] + 1e-6 * text[classes:]
            text = F.normalize(text, dim=1)
        elif layout == "tiny":
            weight = 1e-15 * weight
        arrays = {"text": (lengths * text).to(dtype), "owner": owner}
        return make_case(
            kind,
            partial(normal, g, classes, d, dtype=dtype),
            **arrays,
            weight=weight.to(dtype),
        )

    if not hidden:
        return [
            case("ordinary", 2, 5, 3),
            case("ordinary", 3, 6, 4, F64),
            case("ordinary", 3, 7, 3),
            case("ordinary", 2, 2, 3),  # one prompt for each class
            case("extreme", 2, 5, 3, layout="tiny"),
            case("extreme", 2, 4, 3, F64, layout="opposite"),
            case("gradient", 2, 5, 3, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 3 * n, 5),
        case("ordinary", n + 1, 2 * n + 3, 6, F64),
        case("ordinary", 1, n, 7),
        case("ordinary", n, n, 5),
        case("ordinary", 2, 11, n + 2),
        case("extreme", n, 2 * n + 1, 5, layout="tiny"),
        case("extreme", 3, n + 4, 6, F64, layout="tiny"),
        case("extreme", n, 2 * n, 5, F64, layout="opposite"),
        case("gradient", n, 2 * n, 4, F64),
        case("gradient", 3, n + 3, 5),
    ]


def classes_by_loop(text, owner, weight):
    vectors = []
    for c in range(int(owner.max()) + 1):
        rows, w = text[owner == c], weight[owner == c]
        unit = rows / rows.norm(dim=1, keepdim=True)
        mean = w @ unit / w.sum()
        vectors.append(mean / mean.norm())
    return torch.stack(vectors)


def classes_by_index_add(text, owner, weight):
    c = owner.amax().item() + 1
    unit = text / torch.linalg.vector_norm(text, dim=1)[:, None]
    total = text.new_zeros(c, text.shape[1])
    total = total.index_add(0, owner, weight[:, None] * unit)
    return total / total.square().sum(1, keepdim=True).sqrt()


# --- 2. several captions --------------------------------------------------------------
def cases_several_captions_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, scale, dtype=F32, layout=""):
        image, text, owner = a_unit(g, n, d, F64), a_unit(g, m, d, F64), None
        owner = a_owners(g, n, m)
        if layout == "nearly equal":
            image, text = (F.normalize(image[:1] + 1e-3 * x) for x in (image, text))
        elif layout == "far":
            # all captions are far from the last picture, its own ones the most; the
            # first picture is equal to one of its own captions
            u = image[-1]
            text = F.normalize(text - (text @ u)[:, None] * u)
            cos = torch.where(owner == n - 1, -0.9, -0.5).to(F64)
            cos += uniform(g, m, low=-0.05, high=0.05, dtype=F64)
            text = (1 - cos**2).sqrt()[:, None] * text + cos[:, None] * u
            image[0] = text[(owner == 0).int().argmax()]
        arrays = {"image": image.to(dtype), "text": text.to(dtype), "owner": owner}
        return make_case(kind, lambda: 1.5, **arrays, scale=scale)

    if not hidden:
        return [
            case("ordinary", 2, 4, 3, 2.0),
            case("ordinary", 3, 6, 4, 3.0, F64),
            case("ordinary", 3, 3, 3, 1.5),  # one caption for each picture
            case("ordinary", 1, 2, 3, 2.0),  # the picture owns all captions
            case("extreme", 3, 5, 4, 300.0, layout="far"),
            case("extreme", 3, 5, 4, 1e6, F64, layout="nearly equal"),
            case("gradient", 3, 5, 4, 2.0, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 3 * n, 5, between(g, 2.0, 5.0)),
        case("ordinary", n + 1, 2 * n, 6, between(g, 5.0, 9.0), F64),
        case("ordinary", 2, n + 3, 4, between(g, 0.5, 1.5)),
        case("ordinary", n, n, 5, between(g, 1.0, 4.0)),
        case("ordinary", n, n + 1, 2, between(g, 1.0, 4.0)),
        case("ordinary", 1, n, 5, between(g, 2.0, 5.0), F64),
        case("extreme", n, 2 * n, 6, 310.0, layout="far"),
        case("extreme", 3, n + 4, 5, 290.0, layout="far"),
        case("extreme", n, 2 * n + 1, 5, 1e6, F64, layout="nearly equal"),
        case("gradient", n, 2 * n + 1, 5, between(g, 1.0, 4.0), F64),
        case("gradient", 3, n + 3, 4, between(g, 1.0, 4.0)),
    ]


def several_by_loops(image, text, owner, scale):
    of_images, of_texts = [], []
    for i in range(len(image)):
        scores, losses = text @ image[i] * scale, []
        for j in (owner == i).nonzero()[:, 0]:
            candidates = torch.cat([scores[j : j + 1], scores[owner != i]])
            losses.append(-candidates.log_softmax(0)[0])
        of_images.append(sum(losses) / len(losses))
    for j in range(len(text)):
        scores = image @ text[j] * scale
        of_texts.append(scores.logsumexp(0) - scores[owner[j]])
    return torch.stack(of_images).mean() / 2 + torch.stack(of_texts).mean() / 2


def captions_by_caption(image, text, owner, scale):
    """A row for each caption: its picture's scores, without the other own captions."""
    scores = scale * (image @ text.T)
    rows, m = scores[owner], len(text)  # (M, M)
    out = (owner[:, None] == owner) & ~torch.eye(m, dtype=torch.bool)
    rows = rows.masked_fill(out, -torch.inf)
    losses = F.cross_entropy(rows, torch.arange(m), reduction="none")
    number = torch.bincount(owner)[owner]
    of_texts = -scores.log_softmax(0).T.gather(1, owner[:, None]).mean()
    return 0.5 * ((losses / number).sum() / len(image) + of_texts)


def captions_by_softplus(image, text, owner, scale):
    """-log(a / (a + b)) = log(1 + b / a)."""
    scores = torch.einsum("nd,md->nm", image, text) * scale
    own = F.one_hot(owner, len(image)).T.bool()
    others = torch.where(own, -torch.inf, scores).logsumexp(1)
    losses = F.softplus(others[owner] - scores[owner, range(len(text))])
    total = losses.new_zeros(len(image)).index_add(0, owner, losses)
    of_images = (total / own.sum(1)).mean()
    return (of_images + F.cross_entropy(scores.mT, owner)) / 2


# --- 3. pointwise mutual information --------------------------------------------------
def cases_pointwise_information(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, a, b, empty=0, tiny=False):
        joint = uniform(g, a, b, low=0.05, high=1.0, dtype=F64) ** 3
        if kind == "zeros":
            joint[torch.rand(a, b, generator=g) < 0.25] = 0
            joint[0, 0], joint[0, 1], joint[1, 0] = 0.4, 0, 0
        if empty in (1, 3):
            joint[-1] = 0
        if empty in (2, 3):
            joint[:, -1] = 0
        joint[0, 0] += 0.1
        joint /= joint.sum()
        if tiny:
            joint[-1] *= 1e-200
            joint[:, -1] *= 1e-150
            joint[-1, -1] = between(g, 1e-200, 5e-200)
            joint[0, 0] += 1 - joint.sum()
        return make_case(kind, joint=joint)

    if not hidden:
        return [
            case("ordinary", 2, 3),
            case("ordinary", 3, 3),
            case("ordinary", 4, 2),
            case("zeros", 2, 3),
            case("zeros", 3, 3, empty=1),
            case("zeros", 3, 4, empty=3),
            case("tiny", 3, 3, tiny=True),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, n + 2),
        case("ordinary", n + 1, 3),
        case("ordinary", n, n),
        case("ordinary", 1, n),
        case("ordinary", n, 1),
        case("zeros", n, n + 1),
        case("zeros", n, 4, empty=1),
        case("zeros", 3, n + 2, empty=2),
        case("zeros", n + 1, n + 1, empty=3),
        case("tiny", n, n, tiny=True),
        case("tiny", n, 3, tiny=True),
    ]


def information_by_loops(joint):
    p_x = [sum(row) for row in joint.tolist()]
    p_y = [sum(column) for column in joint.T.tolist()]
    rows, information = [], 0.0
    for x, row in enumerate(joint.tolist()):
        scores = []
        for y, p in enumerate(row):
            s = math.log(p) - math.log(p_x[x]) - math.log(p_y[y]) if p else -math.inf
            information += p * s if p else 0.0
            scores.append(s)
        rows.append(scores)
    options = {"dtype": torch.float64}
    return torch.tensor(rows, **options), torch.tensor(information, **options)


def information_by_entropies(joint):
    """I = H(x) + H(y) - H(x, y); the scores by two divisions, one after the other."""
    p_x, p_y = joint.sum(1), joint.sum(0)
    given_x = joint / p_x.where(p_x > 0, 1)[:, None]
    scores = given_x.log() - p_y.where(p_y > 0, 1).log()
    entropy_x, entropy_y, both = (
        torch.special.entr(p).sum() for p in (p_x, p_y, joint)
    )
    return scores, entropy_x + entropy_y - both


# --- 4. derivatives by the scale ------------------------------------------------------
def cases_scale_derivatives(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, d, scale, dtype=F32, layout=""):
        image, text = a_unit(g, n, d, F64), a_unit(g, n, d, F64)
        if layout == "nearly equal":
            image, text = (F.normalize(image[:1] + 1e-4 * x) for x in (image, text))
        elif layout == "opposite":  # the first own pair is as far away as possible
            text[0] = -image[0]
        t = torch.tensor(math.log(scale), dtype=F64).to(dtype)
        return make_case(kind, image=image.to(dtype), text=text.to(dtype), log_scale=t)

    if not hidden:
        return [
            case("ordinary", 2, 3, 2.0),
            case("ordinary", 3, 4, 5.0, F64),
            case("ordinary", 4, 3, 0.6),
            case("extreme", 3, 4, 300.0, layout="opposite"),
            case("extreme", 3, 4, 1e8, F64, layout="nearly equal"),
        ]
    n = whole(g, 5, 7)
    return [
        case("ordinary", n, 5, between(g, 2.0, 4.0)),
        case("ordinary", n + 1, 6, between(g, 5.0, 9.0), F64),
        case("ordinary", n, n, between(g, 0.3, 0.8)),
        case("ordinary", 2, n, between(g, 8.0, 14.0), F64),
        case("ordinary", 1, 4, between(g, 2.0, 4.0)),
        case("extreme", n, 5, 300.0, layout="opposite"),
        case("extreme", n, 6, 1e8, F64, layout="nearly equal"),
        case("extreme", n + 1, 4, 1e8, F64, layout="nearly equal"),
    ]


def derivatives_by_loops(image, text, log_scale):
    s, n, slope, bend = log_scale.exp(), len(image), 0, 0
    for anchors, candidates in ((image, text), (text, image)):
        for i in range(n):
            c = candidates @ anchors[i]
            gaps = c - c[i]  # the softmax does not change, and the own gap is 0
            p = (s * gaps - (s * gaps).logsumexp(0)).exp()
            mean = p @ gaps
            slope = slope + mean / (2 * n)
            bend = bend + p @ (gaps - mean) ** 2 / (2 * n)
    return s * slope, s * slope + s * s * bend


def derivatives_by_pairs(image, text, log_scale):
    """The variance is half of the mean squared difference of two draws. Scores are
    s c = x, so dL/dt is the mean gap of x, and d2L/dt2 adds the variance of x."""
    x = log_scale.exp() * torch.stack([image @ text.T, text @ image.T])  # (2, N, N)
    p = x.softmax(2)
    own = x.diagonal(dim1=1, dim2=2)[:, :, None]
    first = (p * (x - own)).sum(2).mean()
    pairs = p[..., None] * p[..., None, :] * (x[..., None] - x[..., None, :]) ** 2
    return first, first + pairs.sum((2, 3)).mean() / 2


# --- 5. CLIP's loss from the features -------------------------------------------------
def cases_clip_step(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, e, k, d, t, dtype=F32):
        w_image, w_text = normal(g, e, d, dtype=F64), normal(g, k, d, dtype=F64)
        image, text = normal(g, n, e, dtype=F64), normal(g, n, k, dtype=F64)
        lengths = uniform(g, 2, n, 1, low=0.4, high=2.5, dtype=F64)
        image, text = lengths[0] * image, lengths[1] * text
        if kind in ("temperature", "directions"):
            # the rows and the columns of both projections are unit vectors
            w_image, w_text = (torch.linalg.qr(w).Q for w in (w_image, w_text))
            while True:
                u, v = (normal(g, n, n, dtype=F64).sign() / n**0.5 for _ in range(2))
                rows, columns = (
                    F.cross_entropy(c, torch.arange(n)) for c in (u @ v.T, v @ u.T)
                )
                if abs(rows - columns) > 0.03:
                    break
            image, text = u @ w_image.T, v @ w_text.T
        if kind in ("temperature", "lengths"):  # then rows and columns are equal
            text, w_text = image, w_image
        arrays = {"image_features": image, "text_features": text}
        arrays |= {"w_image": w_image, "w_text": w_text}
        arrays["t"] = torch.tensor(t, dtype=F64)
        arrays = {name: array.to(dtype) for name, array in arrays.items()}
        return make_case(kind, lambda: 1.5, **arrays)

    if not hidden:
        return [
            case("ordinary", 3, 4, 3, 2, 0.8),
            case("ordinary", 4, 2, 5, 3, 1.5, F64),
            case("ordinary", 3, 3, 3, 3, -0.4),
            case("lengths", 3, 4, 4, 2, 0.0),
            case("lengths", 4, 3, 3, 5, 0.0, F64),
            case("temperature", 4, 5, 5, 4, 1.2),
            case("temperature", 3, 3, 3, 3, -0.7, F64),
            case("directions", 4, 5, 4, 4, 0.0),
            case("directions", 3, 3, 4, 3, 0.0, F64),
            case("gradient", 3, 4, 3, 2, 0.7, F64),
        ]
    n = whole(g, 5, 7)
    return [
        case("ordinary", n, 6, 4, 5, between(g, 0.5, 1.5)),
        case("ordinary", n + 1, 4, 7, 3, between(g, 1.5, 2.5), F64),
        case("ordinary", n, n, n, n, between(g, -1.0, -0.2)),
        case("lengths", n, 5, 5, 4, 0.0),
        case("lengths", n + 1, 4, 4, 6, 0.0, F64),
        case("temperature", n, n + 1, n + 1, n, between(g, 0.8, 1.6)),
        case("temperature", n + 1, n + 3, n + 3, n + 1, between(g, -1.0, -0.5), F64),
        case("directions", n, n + 2, n, n, 0.0),
        case("directions", n + 1, n + 1, n + 2, n + 1, 0.0, F64),
        case("gradient", n, 5, 6, 4, between(g, 0.3, 1.2), F64),
        case("gradient", n, 4, 3, 5, between(g, 0.3, 1.2)),
    ]


def step_by_softmax(image_features, text_features, w_image, w_text, t):
    u, v = image_features @ w_image, text_features @ w_text
    lengths = u.norm(dim=1)[:, None] * v.norm(dim=1)
    logits = torch.exp(t) * (u @ v.T) / lengths
    both = logits.log_softmax(0).diagonal() + logits.log_softmax(1).diagonal()
    return -both.mean() / 2


def step_by_loops(image_features, text_features, w_image, w_text, t):
    losses = []
    for i in range(len(image_features)):
        u, v = w_image.T @ image_features[i], w_text.T @ text_features[i]
        to_texts = torch.cosine_similarity(u[None], text_features @ w_text) * t.exp()
        to_images = torch.cosine_similarity(v[None], image_features @ w_image) * t.exp()
        for scores in (to_texts, to_images):
            losses.append(scores.logsumexp(0) - scores[i])
    return sum(losses) / len(losses)


def b_unit_rows(g: Generator, *shape: int, dtype=F32) -> Tensor:
    return F.normalize(normal(g, *shape, dtype=F64), dim=-1).to(dtype)


# --- 6. a known prior -----------------------------------------------------------------
def cases_match_prior(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, classes, steps, dtype=F32, levels=(0.0,), hopeless=0.0):
        scores = 1.5 * normal(g, n, classes, dtype=F64)
        scores += uniform(g, classes, low=-1.5, high=1.5, dtype=F64)  # preferences
        scores += torch.tensor(levels, dtype=F64).repeat(n)[:n, None]
        scores[:, 0] -= hopeless
        prior = uniform(g, classes, low=0.3, high=3.0, dtype=F64)
        prior /= prior.sum()
        arrays = {"scores": scores.to(dtype), "prior": prior.to(dtype)}
        return make_case(kind, **arrays, steps=steps)

    if not hidden:
        return [
            case("ordinary", 3, 2, 1),
            case("ordinary", 4, 3, 3),
            case("ordinary", 2, 3, 2, F64),
            case("ordinary", 2, 2, 0, F64),
            case("extreme", 3, 3, 2, hopeless=200.0),
            case("extreme", 4, 2, 2, levels=(100.0, -100.0)),
            case("extreme", 3, 3, 2, F64, levels=(1e6,)),
        ]
    n = whole(g, 5, 9)
    return [
        case("ordinary", n, 4, 1),
        case("ordinary", 2 * n, 5, 7),
        case("ordinary", n, 6, 4, F64),
        case("ordinary", 1, 4, 2),
        case("ordinary", n, 3, 0, F64),
        case("ordinary", 40, 9, 60),
        case("extreme", n, 5, 3, hopeless=200.0),
        case("extreme", n, 4, 2, levels=(-100.0, 100.0)),
        case("extreme", n, 5, 3, F64, levels=(1e6, -1e6)),
        case("extreme", n, 4, 3, F64, hopeless=2000.0),
    ]


def prior_by_sinkhorn(scores, prior, steps):
    """Scales rows and columns of exp(scores) in turn, by factors exp(u) and exp(v)."""
    n = len(scores)
    v = 0 * prior
    for _ in range(steps):
        u = -math.log(n) - torch.logsumexp(scores + v, 1, keepdim=True)
        v = prior.log() - torch.logsumexp(scores + u, 0)
    return v


def prior_by_loops(scores, prior, steps):
    rows, n = scores.tolist(), len(scores)
    b = [0.0] * len(prior)

    def log_sum(numbers):
        top = max(numbers)
        return top + math.log(sum(math.exp(x - top) for x in numbers))

    for _ in range(steps):
        log_p = []
        for row in rows:
            shifted = [s + bias for s, bias in zip(row, b)]
            total = log_sum(shifted)
            log_p.append([s - total for s in shifted])
        b = [
            bias + math.log(share) - log_sum(column) + math.log(n)
            for bias, share, column in zip(b, prior.tolist(), zip(*log_p))
        ]
    return torch.tensor(b, dtype=scores.dtype)


# --- 7. SigLIP in blocks --------------------------------------------------------------
def cases_block_loss(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, m, d, own, scale, bias, dtype=F32, layout=""):
        image, text = (b_unit_rows(g, rows, d, dtype=F64) for rows in (n, m))
        total = n + m + 3
        # row numbers: own pairs are in both, and at other places of the two
        while True:
            numbers = torch.randperm(total, generator=g)[: n + m - own]
            image_rows = numbers[:n]
            text_rows = torch.cat([numbers[:own], numbers[n:]])
            text_rows = text_rows[torch.randperm(m, generator=g)]
            least = min(n, m)
            same = image_rows[:, None] == text_rows
            straight = torch.eye(n, m, dtype=torch.bool)
            if least == 1 or not (same & straight).sum() == own or own == 0:
                break
        if layout == "nearly equal":
            centre = image[:1]
            image, text = (F.normalize(centre + 1e-3 * x) for x in (image, text))
        elif layout == "opposite":
            place = same.nonzero()[0]  # an own pair as far away as possible
            text[place[1]] = -image[place[0]]
            others = (~same).nonzero()[0]  # and another pair as near as possible
            if others[0] != place[0] and others[1] != place[1]:
                text[others[1]] = image[others[0]]
        rows = {"image_rows": image_rows, "text_rows": text_rows}
        arrays = {"image": image.to(dtype), "text": text.to(dtype)} | rows
        settings = {"scale": scale, "bias": bias, "total": total}
        return make_case(kind, lambda: 1.5, **arrays, **settings)

    if not hidden:
        return [
            case("ordinary", 2, 3, 3, 2, 3.0, -1.0),
            case("ordinary", 3, 2, 4, 1, 2.0, -0.5, F64),
            case("ordinary", 2, 2, 3, 0, 4.0, -2.0),
            case("extreme", 2, 3, 3, 2, 200.0, -10.0, layout="opposite"),
            case("extreme", 2, 2, 3, 1, 2000.0, -10.0, F64, "opposite"),
            case("extreme", 2, 3, 4, 2, 1e6, -1e6, F64, "nearly equal"),
            case("gradient", 3, 2, 3, 1, 3.0, -1.0, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, n + 2, 5, 3, between(g, 2, 6), between(g, -3, -1)),
        case("ordinary", n + 1, 3, 4, 2, between(g, 1, 3), between(g, -1, 1), F64),
        case("ordinary", n, n, 6, n, between(g, 4, 8), between(g, -4, -2)),
        case("ordinary", n, 5, 4, 0, between(g, 2, 6), between(g, -3, -1)),
        case("ordinary", 1, 7, n, 1, between(g, 2, 6), between(g, 0.5, 2)),
        case("extreme", n, 5, 6, 3, 200.0, -10.0, layout="opposite"),
        case("extreme", n, 4, 5, 2, 2000.0, -10.0, F64, "opposite"),
        case("extreme", n, n + 1, 5, 3, 1e6, -1e6, F64, "nearly equal"),
        case("gradient", n, 5, 4, 3, between(g, 2, 5), between(g, -3, -1), F64),
        case("gradient", 3, n, 5, 2, between(g, 2, 5), between(g, -3, -1), F64),
    ]


def block_by_softplus(image, text, image_rows, text_rows, scale, bias, total):
    """All pairs as negatives, and then a correction for the own ones: softplus(-x) -
    softplus(x) = -x."""
    logits = scale * torch.einsum("nd,md->nm", image, text) + bias
    own = (image_rows[:, None] == text_rows[None]).to(logits.dtype)
    return (F.softplus(logits) - own * logits).sum() / total


def block_by_loops(image, text, image_rows, text_rows, scale, bias, total):
    losses, zero = [], image.new_zeros(())
    for u, row in zip(image, image_rows.tolist()):
        for v, other in zip(text, text_rows.tolist()):
            logit = scale * (u * v).sum() + bias
            losses.append(torch.logaddexp(zero, -logit if row == other else logit))
    return torch.stack(losses).div(total).sum()


def block_by_cross_entropy(image, text, image_rows, text_rows, scale, bias, total):
    own = torch.isclose(image_rows[:, None].double(), text_rows[None].double())
    return F.binary_cross_entropy_with_logits(
        image @ text.mul(scale).T + bias, own.to(image.dtype), reduction="sum"
    ).div(total)


# --- 8. a locked image encoder --------------------------------------------------------
def cases_LockedCLIP(g: Generator, hidden: bool) -> list[Case]:
    def draw(kind, updates, n, side, d, words, dim, temperature, push, dtype):
        def weights(name, outputs, inputs):
            weight = normal(g, outputs, inputs, dtype=dtype) / inputs**0.5
            bias = 0.3 * normal(g, outputs, dtype=dtype)
            return {f"{name} weight": weight, f"{name} bias": bias}

        length, width = 3, d + 1
        tokens = torch.randint(words, (updates, n, length), generator=g)
        pictures = uniform(g, updates, n, 3, side, side, dtype=dtype)
        if kind == "modes":
            arrays = {"unseen": pictures[0], "y": tokens[0]}
        else:
            arrays = {"x": pictures, "y": tokens}
        arrays |= weights("encoder", d, 3 * side**2) | weights("projector", dim, d)
        arrays |= weights("text_projector", dim, width)
        arrays["words"] = normal(g, words, width, dtype=dtype)
        if kind in ("locked", "modes"):
            arrays["running mean"] = 0.5 * normal(g, d, dtype=dtype)
            spread = uniform(g, d, low=0.3, high=2.0, dtype=dtype)
            arrays["running variance"] = spread
        arrays |= {"temperature": temperature, "push": push}
        rate = 1e-3 if kind == "bound" else between(g, 0.3, 0.6)
        return make_case(kind, **arrays, rate=rate)

    def case(kind, updates, n, side, d, words, dim, temperature, push=0.0, dtype=F32):
        while True:
            drawn = draw(
                kind, updates, n, side, d, words, dim, temperature, push, dtype
            )
            if kind != "extreme" or _b_overflows(drawn.arrays):
                return drawn

    if not hidden:
        return [
            case("ordinary", 2, 3, 1, 3, 5, 3, 0.5),
            case("ordinary", 1, 4, 1, 4, 6, 2, 0.3, dtype=F64),
            case("locked", 2, 4, 1, 3, 6, 3, 0.4),
            case("modes", 1, 4, 1, 3, 5, 2, 0.4),
            case("bound", 2, 3, 1, 3, 5, 2, 0.02, push=1.0),
            case("bound", 1, 3, 1, 3, 5, 2, 0.8, push=-1.5),
            case("extreme", 1, 3, 1, 3, 5, 2, 0.01),
        ]
    n = whole(g, 5, 7)
    return [
        case("ordinary", 2, n, 2, 4, 9, 5, between(g, 0.2, 0.5)),
        case("ordinary", 3, n + 1, 1, 5, 8, 4, between(g, 0.3, 0.7), dtype=F64),
        case("ordinary", 1, 2 * n, 1, 6, 12, 3, between(g, 0.1, 0.2)),
        case("locked", 3, n, 2, 4, 8, 3, between(g, 0.3, 0.6)),
        case("locked", 2, n + 2, 1, 5, 9, 4, between(g, 0.3, 0.6), dtype=F64),
        case("modes", 1, n, 2, 5, 8, 4, between(g, 0.3, 0.6)),
        case("modes", 1, n + 1, 1, 4, 7, 3, between(g, 0.3, 0.6), dtype=F64),
        case("bound", 3, n, 1, 4, 8, 3, between(g, 0.02, 0.03), push=0.9),
        case("bound", 2, n, 1, 4, 8, 3, between(g, 0.8, 1.5), push=-1.5, dtype=F64),
        case("extreme", 1, n, 1, 4, 9, 2, 0.01),
    ]


def _b_overflows(a: Arrays) -> bool:
    """Tests whether exp of a score overflows in float32, and whether the probability of
    an own pair underflows in both directions."""
    networks = _b_networks(a)
    with torch.no_grad():
        u = F.normalize(networks["projector"](networks["encoder"](a["x"][0])))
        texts = networks["text_encoder"](a["y"][0])
        scores = 100 * u @ F.normalize(networks["text_projector"](texts)).T
    gaps = [(s.logsumexp(1) - s.diagonal()).max() for s in (scores, scores.T)]
    return scores.max() > 92 and min(gaps) > 110


class LockedByMatrices(Method):
    """Detaches the features, and takes both directions from one matrix."""

    def __init__(self, encoder, text_encoder, projector, text_projector, temperature):
        super().__init__()
        self.encoder, self.text_encoder = encoder, text_encoder
        self.maps = nn.ModuleList([projector, text_projector])
        for p in self.encoder.parameters():
            p.requires_grad = False
        start = torch.as_tensor(1 / temperature, dtype=torch.float32).log()
        self.log_scale = nn.Parameter(start)

    def train(self, mode=True):
        self.training = mode
        for child in (self.text_encoder, self.maps):
            child.train(mode)
        self.encoder.train(False)
        return self

    def loss(self, x, y):
        given = self.encoder(x).detach(), self.text_encoder(y)
        u, v = (to(each) for to, each in zip(self.maps, given))
        u, v = u / u.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True)
        s = torch.einsum("nd,md->nm", u, v) * torch.exp(self.log_scale)
        both = s.log_softmax(0) + s.log_softmax(1)
        return -both.trace() / (2 * len(s))

    def after_step(self):
        self.log_scale.data = self.log_scale.data.clamp(max=math.log(100.0))

    def encode(self, x):
        return self.encoder(x)


class LockedByCalls(Method):
    """Sets the encoder to eval mode at each call instead of in `train`."""

    def __init__(self, encoder, text_encoder, projector, text_projector, temperature):
        super().__init__()
        self.encoder, self.text_encoder = encoder, text_encoder
        self.encoder.requires_grad_(False)
        self.projector, self.text_projector = projector, text_projector
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def train(self, mode=True):
        return super().train(mode)

    def encode(self, x):
        return self.encoder.eval()(x)

    def loss(self, x, y):
        u = F.normalize(self.projector(self.encode(x)))
        v = F.normalize(self.text_projector(self.text_encoder(y)))
        s = u @ v.T * self.log_scale.exp()
        own = s.diagonal()
        return (s.logsumexp(1) + s.logsumexp(0) - 2 * own).mean() / 2

    @torch.no_grad()
    def after_step(self):
        bound = self.log_scale.new_tensor(math.log(100))
        self.log_scale.copy_(torch.minimum(self.log_scale, bound))


# --- 9. zero-shot and few labels ------------------------------------------------------
def cases_with_examples(g: Generator, hidden: bool) -> list[Case]:
    def case(kind, n, keys, d, classes, alpha, beta, dtype=F32, layout=""):
        h, memory = (normal(g, rows, d, dtype=F64) for rows in (n, keys))
        if layout == "nearly equal":
            h, memory = (h[:1] + 1e-3 * x for x in (h, memory))
        elif layout == "some near":  # one key is near the first picture
            memory[0] = h[0] + 0.02 * memory[0]
        h, memory = (
            x * uniform(g, len(x), 1, low=0.4, high=2.5, dtype=F64) for x in (h, memory)
        )
        # the last class has no key, and the first one has at least two
        labels = torch.randint(max(1, classes - 1), (keys,), generator=g)
        labels[:2] = 0
        labels = labels[torch.randperm(keys, generator=g)]
        arrays = {
            "h": h.to(dtype),
            "text_scores": normal(g, n, classes, dtype=dtype),
            "keys": memory.to(dtype),
            "labels": labels,
        }
        cotangent = partial(normal, g, n, classes, dtype=dtype)
        return make_case(kind, cotangent, **arrays, alpha=alpha, beta=beta)

    if not hidden:
        return [
            case("ordinary", 2, 4, 3, 3, 2.0, 1.5),
            case("ordinary", 3, 3, 2, 2, 0.7, 2.5, F64),
            case("ordinary", 2, 0, 3, 3, 1.0, 2.0),
            case("extreme", 2, 3, 3, 3, 3.0, 200.0, layout="some near"),
            case("extreme", 2, 4, 3, 3, 2.0, 1e6, F64, "nearly equal"),
            case("gradient", 2, 3, 3, 3, 2.0, 1.5, F64),
        ]
    n = whole(g, 4, 6)
    return [
        case("ordinary", n, 2 * n, 5, 4, between(g, 1, 3), between(g, 1, 4)),
        case("ordinary", n + 1, 5, 4, 3, between(g, 0.3, 0.8), between(g, 2, 5), F64),
        case("ordinary", 1, n + 3, 6, 5, between(g, 1, 3), between(g, 0.3, 0.8)),
        case("ordinary", n, 2, 4, 7, between(g, 1, 3), between(g, 1, 4)),
        case("ordinary", n, 0, 4, 3, between(g, 1, 3), between(g, 1, 4), F64),
        case("extreme", n, 7, 5, 4, 3.0, 200.0, layout="some near"),
        case("extreme", n, 8, 5, 4, 2.0, 1e6, F64, "nearly equal"),
        case("gradient", n, 5, 4, 3, between(g, 1, 3), between(g, 1, 3), F64),
        case("gradient", 3, n, 5, 4, between(g, 0.5, 1), between(g, 1, 3), F64),
    ]


def examples_by_index(h, text_scores, keys, labels, alpha, beta):
    """Adds each key's column to the column of its class."""
    h = h / h.norm(dim=1, keepdim=True)
    keys = keys / keys.norm(dim=1, keepdim=True)
    weights = alpha * (beta * (h @ keys.T) - beta).exp()
    return text_scores.index_add(1, labels, weights)


def examples_by_loops(h, text_scores, keys, labels, alpha, beta):
    """By distances: |h - k|^2 = 2 (1 - cos) for unit vectors."""
    h = F.normalize(h)
    columns = list(text_scores.unbind(1))
    for key, label in zip(F.normalize(keys), labels.tolist()):
        far = (h - key).square().sum(1)
        columns[label] = columns[label] + alpha * torch.exp(-beta / 2 * far)
    return torch.stack(columns, 1)


# --- 10. the order of the words -------------------------------------------------------
def cases_caption_scores(g: Generator, hidden: bool) -> list[Case]:
    def draw(kind, n, k, dtype):
        if kind == "ties":
            scores = torch.randint(3, (n, k, k), generator=g)
            ahead = torch.randint(2, (n, 1, 1), generator=g) * torch.eye(k)
            return (scores + 0.4 * ahead).to(dtype)
        scores = normal(g, n, k, k, dtype=F64) + 1.2 * torch.eye(k, dtype=F64)
        if kind == "close":
            scores = 1 + 1e-9 * scores
        return scores.to(dtype)

    def case(kind, n, k, dtype=F32):
        while True:
            scores = draw(kind, n, k, dtype)
            shares = [x.item() for x in captions_by_loops(scores)]
            if kind == "ties":
                loose = [x.item() for x in captions_by_loops(scores, strictly=False)]
                clear = all(a < b for a, b in zip(shares, loose))
                # an argmax takes the first of equal scores
                first = (scores.argmax(2) == torch.arange(k)).all(1).double().mean()
                clear &= first != shares[0]
            elif n == 1:
                clear = shares[2] == 1
            else:
                text, image, group = shares
                clear = len({*shares, text * image, 0.0}) == 5
                # an own pair may be below a pair of other rows and columns
                own, eye = scores.diagonal(dim1=1, dim2=2), torch.eye(k)
                others = scores.masked_fill(eye > 0, -torch.inf)
                one_winner = (own.amin(1) > others.amax((1, 2))).double().mean()
                clear &= k == 2 or one_winner != group
            if clear:
                return make_case(
                    "ordinary" if kind == "ordinary" else "extreme", scores=scores
                )

    if not hidden:
        return [
            case("ordinary", 6, 2),
            case("ordinary", 8, 3, F64),
            case("ordinary", 7, 2),
            case("ties", 6, 2),
            case("close", 6, 2, F64),
        ]
    n = whole(g, 9, 14)
    return [
        case("ordinary", n, 2),
        case("ordinary", 2 * n, 3),
        case("ordinary", 3 * n, 4, F64),
        case("ordinary", 1, 3),
        case("ordinary", 40, 2, F64),
        case("ties", 2 * n, 2),
        case("ties", 3 * n, 3, F64),
        case("close", n, 2, F64),
        case("close", 2 * n, 3, F64),
    ]


def captions_by_loops(scores, strictly=True):
    right = []
    for item in scores.tolist():
        places = range(len(item))
        pairs = [(i, c) for i in places for c in places if i != c]
        beaten = (lambda a, b: a > b) if strictly else (lambda a, b: a >= b)
        text = all(beaten(item[i][i], item[i][c]) for i, c in pairs)
        image = all(beaten(item[c][c], item[i][c]) for i, c in pairs)
        right.append([text, image, text and image])
    return list(torch.tensor(right).double().mean(0))


def captions_by_counting(scores):
    """An own pair is right if exactly one score of its row, its own, is not smaller."""
    own = torch.einsum("nkk->nk", scores)
    by_text = (scores >= own[:, :, None]).sum(2) == 1
    by_image = (scores >= own[:, None, :]).sum(1) == 1
    right = torch.stack([by_text, by_image, by_text & by_image]).all(2)
    return tuple(right.sum(1).div(len(scores)).tolist())


# --- the sheet ------------------------------------------------------------------------

SHEET: list[Master] = [
    Master(
        "class_vectors",
        (
            values(3),
            UNCHANGED,
            Property(
                "is right for tiny weights and for nearly opposite prompts",
                2,
                "extreme",
                ("value", "float64"),
            ),
            gradient(1),
        ),
        cases_class_vectors,
        (classes_by_loop, classes_by_index_add),
        library("multimodal.zero_shot", "class_embeddings"),
    ),
    Master(
        "several_captions_loss",
        (
            values(4),
            UNCHANGED,
            Property(
                "stays right for large scores", 1, "extreme", ("value", "float64")
            ),
            gradient(1),
        ),
        cases_several_captions_loss,
        (several_by_loops, captions_by_caption, captions_by_softplus),
        library("multimodal.clip", "clip_loss", "local_clip_loss", "CLIP"),
    ),
    Master(
        "pointwise_information",
        (
            Property("gives the right scores", 2, outputs=("scores", "float64")),
            Property("gives the right information", 1, outputs=("information",)),
            UNCHANGED,
            Property("is right with zeros", 2, "zeros", ("scores", "information")),
            Property(
                "is right for tiny probabilities", 1, "tiny", ("scores", "information")
            ),
        ),
        cases_pointwise_information,
        (information_by_loops, information_by_entropies),
    ),
    Master(
        "scale_derivatives",
        (
            Property("gives the right first derivative", 2, outputs=("first",)),
            Property("gives the right second derivative", 2, outputs=("second",)),
            UNCHANGED,
            Property(
                "stays right for large scales",
                2,
                "extreme",
                ("first", "second", "float64"),
            ),
        ),
        cases_scale_derivatives,
        (derivatives_by_loops, derivatives_by_pairs),
        library("multimodal.clip", "clip_loss", "local_clip_loss", "CLIP"),
    ),
    Master(
        "clip_step",
        (
            Property("gives the right loss", 2, outputs=("value", "float64")),
            Property("compares unit vectors", 1, "lengths", independent=True),
            Property("has the right temperature", 1, "temperature", independent=True),
            Property("asks in both directions", 1, "directions", independent=True),
            UNCHANGED,
            gradient(1, "has the right gradient, for all five arguments"),
        ),
        cases_clip_step,
        (step_by_softmax, step_by_loops),
        library("multimodal.clip", "clip_loss", "local_clip_loss", "CLIP"),
    ),
    Master(
        "match_prior",
        (
            values(3),
            UNCHANGED,
            Property(
                "stays right for large scores", 1, "extreme", ("value", "float64")
            ),
        ),
        cases_match_prior,
        (prior_by_sinkhorn, prior_by_loops),
    ),
    Master(
        "block_loss",
        (
            values(3),
            UNCHANGED,
            Property(
                "stays right for large logits", 1, "extreme", ("value", "float64")
            ),
            gradient(1),
        ),
        cases_block_loss,
        (block_by_softplus, block_by_loops, block_by_cross_entropy),
        library("multimodal.siglip", "siglip_loss", "SigLIP"),
    ),
    Master(
        "LockedCLIP",
        (
            Property("gives the right loss", 3, outputs=("value", "float64")),
            Property(
                "trains the text encoder, both linear maps and the scale, no more",
                2,
                outputs=("gradient", "parameters"),
            ),
            Property(
                "leaves the image encoder as it is",
                2,
                "locked",
                ("value", "encoder"),
            ),
            Property(
                "keeps to the modes, and encodes a picture",
                1,
                "modes",
                ("features", "loss", "text", "returned", "encoder"),
            ),
            Property(
                "starts the scale right and bounds it", 1, "bound", ("log_scale",)
            ),
            Property("stays right for a large scale", 1, "extreme"),
        ),
        cases_LockedCLIP,
        (LockedByMatrices, LockedByCalls),
        library("multimodal.clip", "CLIP", "clip_loss", "local_clip_loss"),
    ),
    Master(
        "with_examples",
        (
            values(3),
            UNCHANGED,
            Property(
                "stays right for a large beta", 1, "extreme", ("value", "float64")
            ),
            gradient(1),
        ),
        cases_with_examples,
        (examples_by_index, examples_by_loops),
    ),
    Master(
        "caption_scores",
        (
            Property("gives the right text score", 2, outputs=("text",)),
            Property("gives the right image score", 1, outputs=("image",)),
            Property("gives the right group score", 1, outputs=("group",)),
            Property(
                "is right for equal and nearly equal scores",
                1,
                "extreme",
                ("text", "image", "group"),
            ),
            UNCHANGED,
        ),
        cases_caption_scores,
        (captions_by_loops, captions_by_counting),
    ),
]
