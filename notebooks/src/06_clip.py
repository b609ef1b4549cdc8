# %% [markdown]
# # 06. CLIP
#
# **Can a network recognise a class for which it never saw a labelled picture?** A caption says more than a label: *red
# apple, school, delicious*. And no expert has to label the pictures, because people write captions anyway. CLIP learns
# from pairs of a picture and its caption. Afterwards you describe a class in words, and the network finds its pictures.
# In this notebook you train a CLIP on real names of real emoji, search pictures by words, and find out where this
# fails.
#
# **You will be able to** derive CLIP's loss as two conditional probabilities of one joint distribution, and say what
# its best scores are; explain why the temperature is learned, and what stops it; build a classifier from words, and
# compare it with k labelled pictures; search in both directions; compare softmax with sigmoid, and contrast with
# predicting the words; measure the modality gap; show where CLIP fails, and how it is misused.
#
# **You need** notebook 03 (InfoNCE, the temperature, k-NN and linear probe) and notebook 00 (the data, word vectors).
#
# **Lectures** Deck REP, *Representation Learning*: *Multi-Model Representation Learning*, *CLIP*. Deck MLMI17,
# *Cambridge MLMI17, Advanced Computer Vision*: *CLIP - Architecture*. Deck GT19, *CS 4644/7643, lecture 19*: *Other
# examples*.
#
# **Time** Reading takes two hours, and computing about three minutes on two cores. Long experiments were run
# beforehand (`make results`); here their results are plotted.

# %%
import math

import torch
import torch.nn.functional as F
from IPython.display import display
from ipywidgets import Dropdown, FloatLogSlider, FloatSlider, IntSlider, Text

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.data import as_float, emoji_names, load
from course_lib.data.captions import (
    described,
    descriptions,
    drawn,
    leftmost,
    sentence,
    sentence_words,
)
from course_lib.data.emoji import STYLES
from course_lib.multimodal.clip import CLIP, clip_loss, fits, local_clip_loss
from course_lib.multimodal.compositions import (
    HardNegatives,
    side_by_side,
    swapped,
)
from course_lib.multimodal.counting import counted, many_objects
from course_lib.multimodal.measures import emoji_texts, pairs, shifted
from course_lib.multimodal.painting import PAINTED, paint, with_true_words
from course_lib.multimodal.prompts import CATEGORY_WORDS, SUBCATEGORY_TEXTS, ensemble
from course_lib.multimodal.siglip import SigLIP, siglip_loss
from course_lib.multimodal.word_prediction import WordPrediction
from course_lib.multimodal.zero_shot import (
    class_embeddings,
    first_ranks,
    image_embeddings,
    modality_gap,
    recall_at,
)
from course_lib.nets.text import BagOfWords
from course_lib.notebook import (
    bars_with_spread,
    budget,
    describe,
    explore,
    image_grid,
    live,
    matrices,
    show,
    subplots,
    updates,
)
from course_lib.notebook.style import LINES, MARKERS, PALETTE
from course_lib.run import seeded

# "smoke" shows that the notebook runs, "laptop" and "gpu" that the methods work
BUDGET = budget("06_clip")
STEPS = updates(smoke=8, laptop=400, gpu=3000)
SHORT = updates(smoke=6, laptop=300, gpu=2000)
BATCH = 32 if BUDGET == "smoke" else 128


def training(name, method, steps, data, **more):
    """Trains a method with the settings of its recipe, and plots the run live."""
    return live(
        recipes.train(
            recipes.lookup(name), method, data, steps=steps, batch_size=BATCH, seed=0
        ),
        **more,
    )


def line_with_range(ax, x, seeds, k, label, **more):
    """Plots seeds (seeds, len(x)): the mean as a line, and the range as a band. k
    chooses the colour and the marker."""
    look = {"color": PALETTE[k], "marker": MARKERS[k]} | more
    ax.plot(x, seeds.mean(0), label=label, **look)
    low, high = seeds.amin(0), seeds.amax(0)
    ax.fill_between(x, low, high, color=PALETTE[k], alpha=0.2, lw=0)


# %% [markdown]
# ## 1. Pictures and their captions
#
# SimCLR makes two views of one picture by augmentation. REP asks in *Multi-Model Representation Learning*: "why not use
# matching samples from different modes?" A picture and its caption are such a pair. Augmentations matter less here,
# because the caption already says what matters in the picture, in the eyes of the person who wrote it.
#
# *Margin note.* The slide's title says "Multi-Model". It means *multi-modal*: pictures and texts are two modalities.
#
# Our pictures are the scenes of the earlier notebooks. Each emoji has a name, and keywords that people search it by.
# From them we make captions, a new one each time a picture is used: the name or not, each keyword or not, the drawing
# style or not. Function words such as *with* are left out.

# %%
train, test = load("scenes", "train"), load("scenes", "test")
WORD = sentence_words()


def words(tokens):
    """The words of tokens (L,), as a text."""
    return " ".join(WORD[k] for k in tokens.tolist() if k)


with seeded(5):
    sample = torch.randint(len(train), (8,))
    captions = drawn(descriptions(train[sample]))
image_grid(
    train.x[sample],
    [words(caption) for caption in captions],
    columns=4,
    title="Eight training scenes, each with one of its captions",
)

# %% [markdown]
# One picture has many captions, and one caption fits many pictures. Three captions of the same picture, and the numbers
# that the text encoder gets. (The vocabulary also has words of the labels that no caption contains.)

# %%
with seeded(0):
    for _ in range(3):
        caption = drawn(descriptions(train[sample[:1]]))[0]
        print(f"{words(caption)!r:55}", caption.tolist())
print(len(WORD) - 1, "words in the vocabulary;", len(train), "scenes")

# %% [markdown]
# **What the captions do not say.** The names of our nine categories are *Food & Drink*, *Animals & Nature*, and so on.
# These words were removed from the keywords when the data was made. They were not removed from the names of the emoji,
# such as *canned food*. Count how often each word is in the name or the keywords of a training emoji:

# %% tags=["fold"]
once = train[torch.unique(train.info["emoji"], return_inverse=True)[1].argsort()]
first = torch.ones(len(once), dtype=torch.bool)
first[1:] = once.info["emoji"][1:] != once.info["emoji"][:-1]
emoji = once[first]
known = descriptions(emoji)[:, 1:28]


def frequency(word):
    """The number of training emoji with this word in their name or keywords."""
    return int((known == WORD.index(word)).any(1).sum())


def draw_frequencies():
    found = {
        "of labels": "animal food drink object activity symbol travel people".split(),
        "of captions": "pet insect dessert beverage flag woman face vehicle".split(),
    }
    figure, axes = subplots(columns=2, height=3.2)
    for k, (ax, (name, chosen)) in enumerate(zip(axes, found.items())):
        counts = [frequency(word) for word in chosen]
        ax.barh(chosen, counts, color=PALETTE[k])
        for y, number in enumerate(counts):
            ax.text(number + 2, y, str(number), va="center", size=10)
        ax.invert_yaxis()
        ax.set(title=f"words {name}", xlabel=f"training emoji, of {len(emoji)}")
        ax.set_xlim(0, 230)
    return describe(figure, "How many training emoji have each word in their captions.")


draw_frequencies()

# %% [markdown]
# So no caption of an apple says that an apple is food. To find the category *Food & Drink*, we will have to describe
# it by words that are in captions, such as *dessert* or *beverage*. Section 6 shows what happens if we do not.
#
# ## 2. Two encoders and one loss
#
# An image encoder $f$ maps a picture $x$ to features, and a text encoder maps a caption $y$ to features. Two linear
# maps $W_i$ and $W_t$, without bias, bring both into one **joint space**. There, both become unit vectors:
#
# $$u = \frac{W_i\, f(x)}{\lVert W_i\, f(x) \rVert}, \qquad
# v = \frac{W_t\, f_{\text{text}}(y)}{\lVert W_t\, f_{\text{text}}(y) \rVert}.$$
#
# Take a batch of $N$ pairs. The cosine of every picture with every caption is a matrix, $u_i \cdot v_j$. Pairs that
# belong together are on its diagonal. REP's slides show the two ways to read it: *image as anchor*, a row: which
# of the $N$ captions belongs to this picture? And *text as anchor*, a column: which of the $N$ pictures belongs to this
# caption? Both are questions with $N$ answers, so both get InfoNCE. With the scale $s = 1 / \tau$:
#
# $$\mathcal{L} = -\frac{1}{2N} \sum_{i=1}^{N} \left[
# \log \frac{e^{s\, u_i \cdot v_i}}{\sum_j e^{s\, u_i \cdot v_j}} +
# \log \frac{e^{s\, u_i \cdot v_i}}{\sum_j e^{s\, u_j \cdot v_i}} \right].$$


# %%
def clip_by_hand(u, v, s):
    logits = s * u @ v.T  # rows are pictures, columns are captions
    pictures, captions = logits.softmax(dim=1), logits.softmax(dim=0)
    of_pictures = -pictures.diagonal().log().mean()  # a row: which caption?
    of_captions = -captions.diagonal().log().mean()  # a column: which picture?
    return (of_pictures + of_captions) / 2


torch.manual_seed(0)
u, v = F.normalize(torch.randn(2, 6, 8), dim=2)
torch.testing.assert_close(clip_by_hand(u, v, 10.0), clip_loss(u, v, 10.0))
# the order of the pairs has no influence
order = torch.randperm(6)
torch.testing.assert_close(clip_loss(u, v, 10.0), clip_loss(u[order], v[order], 10.0))
# nothing learnt: all scores are equal, and the loss is log N
equal = u[:1].expand(6, -1)
torch.testing.assert_close(clip_loss(equal, equal, 10.0), torch.tensor(6.0).log())

# %%
show(clip_loss, after="exercise 5")

# %% [markdown]
# *Margin note.* In REP's pseudo-code, `loss_i` is the cross-entropy with `axis=0`. If `axis` is the axis over which
# the softmax is taken, then this is the loss of the *texts*, because rows are pictures. The sum of the two is the same.
# The code also calls `t` a "learned temperature parameter" and multiplies by `exp(t)`. So `t` is the logarithm of the
# *inverse* temperature, $t = \log(1 / \tau)$.
#
# *Margin note.* REP gives a batch size of 32,678. The paper's is 32,768, which is $2^{15}$.
#
# **The encoders.** The paper tries ResNets and vision transformers for pictures. For texts, the slide offers "CBOW or
# Text Transformer". CBOW is a **bag of words**: the mean of the vectors of the words, in any order. The released models
# use a transformer, which sees the order. We have both. Padding has no influence on the vector of a caption:

# %%
torch.manual_seed(0)
bag = BagOfWords(len(WORD), 8)
longer = torch.cat([captions, torch.zeros(8, 4, dtype=torch.long)], 1)
torch.testing.assert_close(bag(captions), bag(longer))
by_hand = torch.stack([bag.words(c[c > 0]).mean(0) for c in captions])
torch.testing.assert_close(bag(captions), by_hand)
show(BagOfWords)

# %% [markdown]
# The method is short. `encoder` is the image encoder: its features $h$ are the representation that we evaluate, and the
# projection is only for the joint space. `draw` makes a caption from the description of the picture, without its
# labels.

# %%
show(CLIP, after="exercise 8")

# %% [markdown]
# ## 3. What the loss learns
#
# **Two conditionals of one joint.** Call the score of picture $i$ and caption $j$ $a_{ij} = s\, u_i \cdot v_j$. Divide
# $e^{a_{ij}}$ by the sum over the whole matrix. This is a joint distribution of pictures and captions, $P_{ij}$, over
# the batch. The first term of the loss uses its conditional $P(j \mid i)$, and the second one uses $P(i \mid j)$:
#
# $$P(j \mid i) = \frac{P_{ij}}{\sum_k P_{ik}}, \qquad P(i \mid j) = \frac{P_{ij}}{\sum_k P_{kj}}.$$
#
# So one matrix answers both questions. A usual classifier answers only one of them: which class belongs to this
# picture?
#
# **The best scores.** Forget the encoders for a moment, and ask which scores $a(x, y)$ make the loss as small as
# possible. The pairs of the batch come from $p(x, y)$, independently. Take a picture $x$ and the $N$ captions of the
# batch, in random order. One of them was drawn from $p(y \mid x)$, and the others from $p(y)$. The probability that
# caption $j$ is the right one follows from Bayes' rule; the factor $\prod_k p(y_k)$ cancels:
#
# $$P(j \mid x, y_1, \dots, y_N) = \frac{p(y_j \mid x) \prod_{k \ne j} p(y_k)}
# {\sum_l p(y_l \mid x) \prod_{k \ne l} p(y_k)}
# = \frac{p(y_j \mid x) / p(y_j)}{\sum_l p(y_l \mid x) / p(y_l)}.$$
#
# The cross-entropy is smallest if the softmax *is* this probability. So the best score is
#
# $$a^*(x, y) = \log \frac{p(y \mid x)}{p(y)} + c(x) = \log \frac{p(x, y)}{p(x)\, p(y)} + c(x),$$
#
# where $c(x)$ cancels in the softmax. This is the **pointwise mutual information** of the picture and the text: how
# much more often do they occur together than if they were independent? The same argument for the captions gives the
# same expression, with a free $c(y)$ in place of $c(x)$. With both directions only a *constant* is free. So a caption
# gets no extra score for being frequent, and a picture gets none either. And the best scores do not depend on $N$.
#
# A check without any formula of ours: a world of five pictures and four captions. We train a table of 20 scores with
# batches of 16 pairs and `clip_loss`'s two softmaxes, and compare it with the pointwise mutual information.

# %%
torch.manual_seed(0)
joint = torch.rand(5, 4).pow(3) + 0.02
joint /= joint.sum()
table = torch.zeros(5, 4, requires_grad=True)
optimizer = torch.optim.Adam([table], lr=0.05)
TABLE_STEPS = 300 if BUDGET == "smoke" else 3000
for k in range(TABLE_STEPS):
    pair = torch.multinomial(joint.flatten(), 64 * 16, replacement=True).view(64, 16)
    x, y = pair // 4, pair % 4  # 64 batches of 16 pairs
    scores = table[x[:, :, None], y[:, None, :]]  # (64, 16, 16)
    loss = -(scores.log_softmax(2) + scores.log_softmax(1)).diagonal(0, 1, 2).mean()
    optimizer.param_groups[0]["lr"] = 0.05 * (1 - k / TABLE_STEPS)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pmi = (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()
learnt = table.detach() - table.detach().mean() + pmi.mean()
matrices(
    {
        "pointwise mutual information": pmi,
        "learnt scores, mean shifted to equal": learnt,
    },
    title=f"After {TABLE_STEPS} updates: largest difference "
    f"{(pmi - learnt).abs().max():.2f} nats",
    xlabel="caption",
    ylabel="picture",
    signed=("pointwise mutual information", "learnt scores, mean shifted to equal"),
)

# %% [markdown]
# A real encoder cannot choose each score freely. Its scores are $s\, u \cdot v$, between $-s$ and $s$, with vectors of
# 64 numbers. And an encoder has the same weights for all its inputs. So captions with the same words usually get
# similar vectors. This is useful, because a caption that was not in the training can land near others with the same
# words.
#
# ## 4. The temperature
#
# The cosine is between -1 and 1. How far can the loss fall? In the best case each own pair has the cosine 1, and all
# other pairs have $-1 / (N - 1)$. They cannot all be lower. (N vectors need $N - 1$ dimensions for this. Our joint
# space has 64, so for $N = 128$ the formula is only a lower bound.) Then the loss is
#
# $$\log\left(1 + (N - 1)\, e^{-s N / (N - 1)}\right).$$
#
# For $N = 128$ and $s = 1$ this is 3.86, with $\log N = 4.85$ at the start. With a scale that small, the loss can
# hardly fall: even in the best case, an own caption gets a probability of only 2 %. So $s$ has to be large enough. But
# with a large $s$, nearly all of the push goes to the most similar wrong caption (notebook 03, section 6).
#
# CLIP *learns* the scale, as one more parameter $t = \log s$. Its derivative is simple. Write $p_{ij}$ for the softmax
# of row $i$. The derivative of $-\log p_{ii}$ with respect to $s$ is $\sum_j p_{ij}\, u_i \cdot v_j - u_i \cdot v_i$,
# and $s = e^t$ adds a factor $s$:
#
# $$\frac{\partial \mathcal{L}_{\text{pictures}}}{\partial t}
# = \frac{s}{N} \sum_i \Big[ \sum_j p_{ij}\, u_i \cdot v_j \; - \; u_i \cdot v_i \Big].$$
#
# The bracket is the cosine that the softmax *expects* minus the cosine of the own pair. If the own caption is the best,
# the bracket is negative, and $s$ grows. What stops it? Wrong answers. If another caption is better, the bracket
# becomes positive as soon as $s$ is large enough. A larger $s$ then makes this error more expensive. At the end, both
# balance. Captions that fit several pictures are such errors, and they stay. If a network had learnt all its training
# pairs by heart, $s$ would grow for ever. CLIP limits $s$ to 100. The paper gives the reason: "to prevent training
# instability".
#
# **Try it.** Below is a batch of twelve test pictures with the shipped CLIP (weights that come with the course, from
# 3,000 updates of the recipe). The left matrix has the cosines, the right one $P(j \mid i)$. Move $\tau$. At which
# $\tau$ is the loss lowest? In the title, the derivative says in which direction the update would move the scale. Then
# take a batch of *training* pictures, which the network knows. Where is the lowest loss now?

# %% tags=["fold"]
shipped = zoo.load("clip")
texts_of_emoji, own_text = emoji_texts()


def twelve(data, seed):
    """The rows of twelve scenes of different emoji, at most two of a category."""
    with seeded(seed):
        rows = torch.randperm(len(data)).tolist()
    chosen, emoji_ids, categories = [], set(), []
    for row in rows:
        emoji_id, category = int(data.info["emoji"][row]), int(data.y[row])
        if emoji_id not in emoji_ids and categories.count(category) < 2:
            emoji_ids.add(emoji_id)
            categories.append(category)
            chosen.append(row)
        if len(chosen) == 12:
            return torch.tensor(chosen)


gallery = twelve(test, 4)
BATCHES = {"test": test[gallery], "training": train[twelve(train, 1)]}
names_of = {
    name: leftmost(descriptions(data)[:, 1:28]) for name, data in BATCHES.items()
}
with torch.no_grad():
    vectors_of = {
        name: (
            image_embeddings(shipped, data.x),
            shipped.text_embedding(names_of[name]),
        )
        for name, data in BATCHES.items()
    }
display(
    image_grid(
        test.x[gallery],
        [f"{k}: {words(caption)}" for k, caption in enumerate(names_of["test"])],
        columns=6,
        title="The batch: twelve test scenes and their captions",
    )
)


def draw_batch(tau, batch):
    images, texts = vectors_of[batch]
    cosines = images @ texts.T
    t = torch.tensor(-math.log(tau), requires_grad=True)
    loss = clip_loss(images, texts, t.exp())
    loss.backward()
    direction = "smaller" if t.grad > 0 else "larger"
    return matrices(
        {
            "cosine": cosines,
            "probability of the caption": (cosines / tau).softmax(1),
        },
        title=f"tau = {tau:.3f}: loss {loss.item():.2f} (nothing learnt: "
        f"{math.log(12):.2f}), dL/dt = {t.grad:.2f}: make 1/tau {direction}",
        xlabel="caption",
        ylabel="picture",
        signed=("cosine",),
    )


# %%
explore(
    draw_batch,
    tau=FloatLogSlider(value=0.07, base=10, min=-2, max=0, step=0.1),
    batch=Dropdown(options=list(BATCHES)),
)

# %% [markdown]
# The lowest loss of the test batch is at a $\tau$ of about 0.17, because the network makes many errors there. Of the
# training batch, it is at about 0.04, near the learned value of 1/24. Now the closed form of the derivative against
# autograd, for both directions:

# %%
u, v = (vectors.double() for vectors in vectors_of["test"])
t = torch.tensor(math.log(1 / 0.07), dtype=torch.float64, requires_grad=True)
clip_loss(u, v, t.exp()).backward()
s, cosines = t.detach().exp(), u @ v.T
closed = 0
for c in (cosines, cosines.T):
    p = (s * c).softmax(1)
    closed += s * ((p * c).sum(1) - c.diagonal()).mean() / 2
torch.testing.assert_close(t.grad, closed)

# %% [markdown]
# Is it better to learn the temperature than to choose it? Six settings, with 240 updates each. Two measures: the
# accuracy for the nine categories by texts, and how often the own name is among the first ten of 374 (section 6
# explains both). The last panel shows the scale at the end.

# %% tags=["fold"]
TAUS = ("1.0", "0.2", "0.07", "0.02")


def draw_temperature():
    figure, axes = subplots(columns=3, height=3.6)
    fixed, free = [f"fixed, tau = {tau}" for tau in TAUS], ["1.0", "0.07"]
    for ax, measure, name in zip(
        axes,
        ("zero_shot", "name_10", "scale"),
        ("zero-shot accuracy", "own name in first 10", "1 / tau at the end"),
    ):
        found = experiments.values("clip-temperature", measure)
        seeds = torch.tensor([found[key] for key in fixed]).T
        line_with_range(ax, [float(tau) for tau in TAUS], seeds, 0, "fixed")
        learnt = torch.tensor([found[f"learned, from tau = {tau}"] for tau in free]).T
        start = [float(tau) for tau in free]
        line_with_range(ax, start, learnt, 1, "learned from here", ls="--")
        ax.set_xscale("log")
        ax.set(xlabel="tau (at the start)", title=name)
    axes[2].set_yscale("log")
    axes[0].axhline(1 / 9, color="#666666", ls=":", label="chance")
    axes[0].legend(fontsize=8)
    figure.suptitle("240 updates of 128 pictures; mean and range of 3 seeds")
    return describe(figure, "Accuracy and final scale by temperature.")


draw_temperature()

# %% [markdown]
# A fixed $\tau$ of 0.2 or 0.07 is best with each seed. With 1.0 the loss hardly separates the pairs, and with 0.02
# nearly all of the push goes to the hardest negatives. Both find fewer names with each seed. What about learning it?
# From 0.07 the scale falls a little, from 14.3 to 13.9, and the result is nearly the same as without learning. From 1.0
# it rises, but only to about 1.55. One update of our optimiser changes $t$ by at most about the learning rate, and 240
# updates are too few for the long way from $t = 0$ to $t = 2.7$. So in short runs the *start* decides. A longer run can
# move further: in the shipped weights (one run from 0.07, 3,000 updates), the scale has grown to 24. The paper's run
# has several hundred thousand updates.
#
# ## 5. Training
#
# The recipe: the ResNet of the earlier notebooks, a text transformer with two blocks, and a joint space of 64
# dimensions. As in the paper, the only augmentation is a random crop. It is a large one, so that the caption stays
# true. The second curve is the zero-shot accuracy for the nine categories on 500 test scenes, which section 6 explains.
# 0.11 would be chance.

# %%
captioned = described(train if BUDGET != "smoke" else train[:2000])
quick = as_float(test.x[:500])


def zero_shot_accuracy():
    """Zero-shot accuracy on 500 test scenes."""
    device = clip.log_scale.device
    image = clip.image_embedding(quick.to(device))
    scores = image @ class_embeddings(clip, ensemble()).T
    return evaluate.accuracy(scores.cpu(), test.y[:500])


clip = recipes.build(recipes.lookup("clip"), seed=0)
for step in training(
    "clip", clip, STEPS, captioned, measure=zero_shot_accuracy, measured="zero-shot"
):
    pass

# %% [markdown]
# The loss starts above $\log 128 = 4.85$, because random cosines times 14 are confident and wrong. It cannot fall to
# exactly zero, because some captions of a batch are equal (section 10).
#
# How good is the image encoder alone? k-NN and a linear probe, as in the earlier notebooks, with three seeds for each
# method of this notebook, and the random encoder of the same seed. (SigLIP has another loss, section 8. Word prediction
# has no text encoder, section 9.)

# %% tags=["fold"]
NAMES = {
    "clip": "CLIP",
    "clip-bag-of-words": "CLIP, bag of words",
    "clip-vit": "CLIP, ViT",
    "siglip": "SigLIP",
    "word-prediction": "word prediction",
}


def draw_methods(measure, title):
    bars = {}
    for name, label in NAMES.items():
        found = experiments.values(name, measure)
        bars[f"{label}: random"] = found["random encoder"]
        bars[f"{label}: trained"] = found["trained"]
    return bars_with_spread(
        bars,
        xlabel=title,
        title="500 updates of 128 pictures (ViT: 300), 3 seeds",
    )


display(draw_methods("knn", "k-NN accuracy"))
display(draw_methods("probe", "linear probe accuracy"))

# %% [markdown]
# Every method is far above the random encoder of the same seed, by both measures and with each seed. With the same
# image encoder, the kind of loss and the text encoder matter little (0.47 to 0.49 by k-NN). (The vision transformer has
# 300 updates, the others have 500.) SimCLR's recipe in notebook 03 has the same encoder and twice as many pictures in
# each of 500 updates. It reaches 0.44 to 0.46 by k-NN and less than CLIP. This is no fair fight: a name and keywords
# tell the network more than a crop does, and somebody had to write them. Training with the labels of the nine
# categories directly gives 0.50 by k-NN (recipe `supervised`, 600 updates of 256 pictures).
#
# ## 6. Zero-shot classification
#
# GT19 says it in one line: "Create dataset classifier from label text". Write a text for each class, called a
# **prompt**. Its unit vector is the weight vector of the class. A picture belongs to the class with the highest cosine.
# No picture of the class is needed. (**Zero-shot** means zero labelled examples. k-shot means k for each class.)
#
# A class may have several prompts, an **ensemble**. Then the unit vectors of its texts are averaged, and the mean is
# normalised again. The mean of different unit vectors is shorter than 1, and the more they differ the shorter it is.
# Without the second normalisation, classes with similar prompts would have longer vectors. Where the cosine is
# positive, they would have an advantage.


# %%
@torch.no_grad()
def classifier_by_hand(method, prompts):
    weights = []
    for texts in prompts:
        vectors = [method.text_embedding(sentence(text)[None])[0] for text in texts]
        mean = sum(vectors) / len(vectors)
        weights.append(mean / mean.norm())
    return torch.stack(weights)


prompts = [["dessert", "noto bread"], ["flag"], ["dog", "insect", "pet fish"]]
torch.testing.assert_close(
    classifier_by_hand(shipped, prompts), class_embeddings(shipped, prompts)
)
# with one prompt for each class, the class is the nearest text
one_each = class_embeddings(shipped, [["dessert"], ["flag"], ["dog"]])
three = torch.stack([sentence(text) for text in ("dessert", "flag", "dog")])
with torch.no_grad():
    torch.testing.assert_close(one_each, shipped.text_embedding(three))
show(class_embeddings, after="exercise 1")

# %% [markdown]
# **The prompts.** For each category we chose seven words from the captions of the training emoji. That was done by
# reading words, not by looking at pictures of the test set. Here they are, and the subcategories of the same kind:

# %%
for category, chosen in CATEGORY_WORDS.items():
    print(f"{category:18}", chosen)
print(len(SUBCATEGORY_TEXTS), "subcategories, such as:")
print({name: SUBCATEGORY_TEXTS[name] for name in list(SUBCATEGORY_TEXTS)[:4]})

# %% [markdown]
# With them, four classifiers: the names of the labels themselves; the first word; all seven words in one text; and an
# ensemble of 28 texts (each word alone, and after the name of each style).

# %% tags=["fold"]
PROMPTS = {
    "label_names": "names of the labels",
    "one_word": "one word",
    "seven_words": "seven words, one text",
    "zero_shot": "ensemble of 28 texts",
}


def draw_prompts():
    bars = {}
    for measure, label in PROMPTS.items():
        found = experiments.values("clip-zero-shot", measure)
        bars[f"{label}: random pair"] = found["random pair"]
        bars[f"{label}: CLIP"] = found["clip"]
    return bars_with_spread(
        bars,
        xlabel=f"zero-shot accuracy, nine categories (chance {1 / 9:.2f}, the most "
        f"frequent one {(test.y == test.y.mode().values).double().mean():.2f})",
        title="CLIP after 500 updates, and untrained encoders, 3 seeds",
    )


draw_prompts()

# %% [markdown]
# The *names of the labels* are nearly useless: 8 to 17 %, and the untrained pair has 10 to 14 %. Most of their words
# are in no caption or in very few, so the network has hardly learnt them. It cannot guess that a banana is food. With
# words from captions the same network reaches 37 to 38 % (one word) and 41 to 42 % (ensemble), with each seed. The
# untrained pair has 7 to 15 % with these texts.
#
# Here seven words in *one* text are worse than one word alone, with each seed. No training caption looks like *pet
# insect dog bird fish flower tree*, which may be a reason. It is no general rule: after 240 updates (section 4) seven
# words were better with two of three seeds. The same words as an ensemble are better than both with each seed. A
# possible reason is that each of its texts is like a caption. (For the bag of words, a text of seven words is itself a
# mean. There all three kinds of prompts are nearly equal: 0.39, 0.39 and 0.40 on average.) The paper reports a gain of
# 3.5 points on ImageNet by an ensemble of 80 prompts over the single prompt *a photo of a ...*.
#
# How much do the captions have to say? In the next experiment, a share of the captions *does* contain the words of the
# picture's category and subcategory, such as *animal bird animals nature* or *food fruit drink*.


# %% tags=["fold"]
def draw_label_words():
    bars = {}
    for share in ("0.0", "0.5"):
        for measure, label in (
            ("label_names", "names of the labels"),
            ("zero_shot", "ensemble"),
        ):
            found = experiments.values("clip-label-words", measure)
            bars[f"{float(share):.0%}: {label}"] = found[share]
    return bars_with_spread(
        bars,
        xlabel="zero-shot accuracy, nine categories",
        title="Share of captions with the words of the labels; 240 updates, 3 seeds",
    )


draw_label_words()

# %% [markdown]
# If half of the captions have these words, the names of the labels become useful: 25 to 34 %, against 8 to 16 %
# without. They are still worse than the ensemble of describing words, which becomes a little better with each seed. The
# second training has the labels inside its captions, but no classifier for them. So a zero-shot classifier is as good
# as its captions: a concept has to be in them, often enough, and by the word that you ask for.
#
# **Against labels.** The features of the same image encoder can also be classified with labels: k-NN and linear probe
# with all labels of the training scenes, and the probe with k labelled emoji of each category. How many labelled emoji
# does a probe need to be as good as the text?

# %% tags=["fold"]
zero_shot_rows = experiments.read("clip-zero-shot")["rows"]


def of_setting(setting, key):
    """The entries of the three seeds."""
    return [row[key] for row in zero_shot_rows if row["setting"] == setting]


def draw_shots():
    shots = of_setting("clip", "k_shot")
    k = [int(key) for key in shots[0]]
    figure, ax = subplots(height=3.8)
    line_with_range(
        ax, k, torch.tensor([list(s.values()) for s in shots]), 0, "k-shot probe"
    )
    for j, (measure, label) in enumerate(
        (
            ("zero_shot", "zero-shot, ensemble"),
            ("one_word", "zero-shot, one word"),
            ("knn", "k-NN, all labels"),
            ("probe", "probe, all labels"),
        )
    ):
        mean = sum(of_setting("clip", measure)) / 3
        ax.axhline(mean, color=PALETTE[j + 1], ls=LINES[j + 1], label=label)
    ax.axhline(1 / 9, color="#666666", ls=":", label="chance")
    ax.set_xscale("log", base=2)
    ax.set(
        xlabel="labelled emoji of each category",
        ylabel="accuracy, nine categories",
        title="CLIP, 500 updates; mean (and range) of 3 seeds",
    )
    figure.legend(loc="outside right upper", fontsize=9)
    return describe(figure, "Zero-shot accuracy against the probe with k labels.")


draw_shots()

# %% [markdown]
# With an ensemble of texts, the zero-shot classifier is as good as a probe with 16 labelled emoji of each category, and
# each of them has about 15 scenes. One word is better than two labelled emoji, and about as good as four or a little
# worse. With all labels, k-NN and probe on the same features are better by 7 points. So the features contain
# information about the categories that our texts do not use. In the paper, the zero-shot classifier matches a 4-shot
# probe on the same features, on average over 20 data sets, with large differences between them.
#
# **Finer classes, and emoji that nobody saw.** The harder tests: among the subcategories of the list above, by a text
# of one to four words. And among *all test emoji* by their own captions. The names of these emoji were withheld from
# training, and their pictures, too. A name that contains new words is recognised by its other words and its keywords.
# The baseline with pictures: k labelled scenes of each test emoji, and the nearest mean of their features.


# %% tags=["fold"]
def draw_unseen():
    number = int((texts_of_emoji > 0).any(1).sum())
    bars = {
        "subcategories: random pair": of_setting("random pair", "sub"),
        "subcategories: CLIP": of_setting("clip", "sub"),
        "test emoji: random pair": of_setting("random pair", "name_1"),
        "test emoji: CLIP": of_setting("clip", "name_1"),
    }
    for k in ("1", "4"):
        found = [shots[k] for shots in of_setting("clip", "emoji_shot")]
        bars[f"test emoji: CLIP's features, {k} scenes each"] = found
    bars["own name among the first 10: random pair"] = of_setting(
        "random pair", "name_10"
    )
    bars["own name among the first 10: CLIP"] = of_setting("clip", "name_10")
    return bars_with_spread(
        bars,
        xlabel="accuracy (chance: "
        f"{1 / len(SUBCATEGORY_TEXTS):.3f}, {1 / number:.4f}, {10 / number:.3f})",
        title=f"{len(SUBCATEGORY_TEXTS)} subcategories, {number} test emoji, 3 seeds",
    )


draw_unseen()

# %% [markdown]
# Among 62 subcategories, 17 to 18 % are right (chance 1.6 %). The own caption is found among 374 for 2.4 to 2.9 % of
# the scenes. This is about ten times chance, and still little. It is among the first ten for 16 to 19 %. *One picture*
# of each emoji is better here: the nearest of the 382 pictures is right in a fifth of the cases. A word that was never
# in a caption cannot help, and what remains is often shared. 35 flags of new countries have the same caption, *flag
# nation banner*. Equal scores count as wrong here, so these flags are never among the first ten.
#
# So zero-shot is strong for classes that captions speak of, and weak for fine distinctions that they do not make. The
# paper sees the same at its scale: CLIP is good at common objects, and weak at kinds of aircraft or species of flowers.
#
# **Try it.** Choose a test picture and type classes, separated by commas. Which words does CLIP know? What happens to
# the probabilities if you add a class, or if no class is right? (At the right: the temperature is CLIP's own.)


# %% tags=["fold"]
def readable(text):
    """Tokens of a text, and a note on words that CLIP does not know."""
    try:
        return sentence(text), ""
    except ValueError as error:
        return None, str(error).split("captions, ")[-1].split("argument `text`: ")[-1]


all_images = image_embeddings(shipped, test.x)


def draw_classes(picture, classes):
    texts = [text.strip() for text in classes.split(",") if text.strip()]
    read = [(text, *readable(text)) for text in texts]
    good = [(text, tokens) for text, tokens, _ in read if tokens is not None]
    notes = "; ".join(f"{text}: {note}" for text, _, note in read if note)
    figure, axes = subplots(columns=2, height=3.2)
    axes[0].imshow(test.x[gallery[picture]].permute(1, 2, 0))
    axes[0].axis("off")
    axes[0].set_title(emoji_names()[int(test.info["emoji"][gallery[picture]])])
    best = "nothing to compare"
    if good:
        with torch.no_grad():
            vectors = shipped.text_embedding(
                torch.stack([tokens for _, tokens in good])
            )
        scores = shipped.log_scale.exp() * vectors @ all_images[gallery[picture]]
        p = scores.detach().softmax(0)
        axes[1].barh([text for text, _ in good], p, color=PALETTE[0])
        axes[1].invert_yaxis()
        best = f"{good[int(p.argmax())][0]} ({p.max():.0%})"
    axes[1].set(xlim=(0, 1), xlabel="probability")
    figure.suptitle(f"best: {best}" + (f". Not read: {notes}" if notes else ""))
    return describe(figure, f"Probabilities of the texts {classes}: best {best}.")


# %%
explore(
    draw_classes,
    picture=IntSlider(value=10, min=0, max=11),
    classes=Text("dog, flag, face, dessert, vehicle, woman", continuous_update=False),
)

# %% [markdown]
# ## 7. Retrieval
#
# The joint space is a search engine. A text finds pictures, and a picture finds texts. A search is measured by the rank
# of the first right answer: **recall@k** is the share of queries with a right answer among the first k, and the
# **median rank** is the middle of all ranks.


# %%
def ranks_by_hand(scores, relevant):
    ranks = []
    for row, right in zip(scores.tolist(), relevant.tolist()):
        best = max(score for score, is_right in zip(row, right) if is_right)
        better = [s for s, is_right in zip(row, right) if not is_right and s >= best]
        ranks.append(1 + len(better))
    return torch.tensor(ranks)


torch.manual_seed(0)
scores, relevant = torch.randn(5, 9), torch.eye(5, 9).bool()
torch.testing.assert_close(
    ranks_by_hand(scores, relevant), first_ranks(scores, relevant)
)
with torch.no_grad():
    name_vectors = shipped.text_embedding(texts_of_emoji)
has_text = (texts_of_emoji > 0).any(1)
right = own_text[:, None] == torch.arange(len(texts_of_emoji))
both = {
    "picture -> caption": (all_images @ name_vectors.T, right, has_text[own_text]),
    "caption -> picture": (name_vectors @ all_images.T, right.T, has_text),
}
for direction, (scores, relevant, kept) in both.items():
    if direction == "picture -> caption":
        scores = scores.masked_fill(~has_text, -2.0)
    ranks = first_ranks(scores[kept], relevant[kept])
    print(
        f"{direction}: recall@1 {recall_at(ranks, 1):.3f}, recall@10 "
        f"{recall_at(ranks, 10):.3f}, median rank {int(ranks.median())} of "
        f"{int(has_text.sum()) if direction.startswith('p') else scores.shape[1]}"
    )

# %% [markdown]
# These are the numbers of the shipped weights, which were trained longer. A caption has about ten right pictures among
# 4,000, and a picture has one right caption among the test emoji. (Some emoji share their caption with others. Equal
# captions of other emoji count as wrong.) So the two directions cannot be compared with each other. Three seeds of the
# recipe, both directions, and the untrained pair:


# %% tags=["fold"]
def draw_retrieval():
    bars = {}
    for measure, label in (
        ("name_10", "picture -> caption"),
        ("picture_10", "caption -> picture"),
    ):
        for setting in ("random pair", "clip", "clip-bag-of-words", "siglip"):
            name = NAMES.get(setting, setting)
            bars[f"{label}: {name}"] = of_setting(setting, measure)
    return bars_with_spread(
        bars, xlabel="recall@10", title="Test emoji; 500 updates of 128, 3 seeds"
    )


draw_retrieval()

# %% [markdown]
# Both directions are well above the untrained pair, with each seed and each of the three methods. The own caption is at
# rank 54 to 57 of 374 in the median (untrained: 185 to 187), and the first right picture at rank 99 to 135 of 4,000
# (untrained: 318 to 414). The transformer is better than the bag of words by *picture -> caption* with each seed. In
# the other direction neither of the two is ahead with each seed. SigLIP is behind CLIP with each seed in both.
#
# **Try it.** Type a text, and see the nearest test pictures. All of these emoji are new to the network. Ideas: *red
# heart*, *animal face* (can you see why this fails?), *blue square button*, *woman*, *ball*, *openmoji flag*.


# %%
def draw_search(text):
    tokens, note = readable(text)
    if tokens is None:
        blank = torch.ones(8, 3, 32, 32)
        return image_grid(blank, columns=8, title=f"not read: {note}")
    with torch.no_grad():
        scores = all_images @ shipped.text_embedding(tokens[None])[0]
    found, shown = [], set()
    for row in scores.argsort(descending=True).tolist():  # each emoji once
        if int(test.info["emoji"][row]) not in shown:
            shown.add(int(test.info["emoji"][row]))
            found.append(row)
        if len(found) == 16:
            break
    names = [emoji_names()[int(test.info["emoji"][row])] for row in found]
    return image_grid(
        test.x[found],
        names,
        columns=8,
        title=f"{text!r}: the nearest of {len(test)} test scenes, each emoji once",
    )


explore(draw_search, text=Text("smiling face", continuous_update=False))

# %% [markdown]
# ## 8. Softmax or sigmoid
#
# The softmax needs all captions of the batch at once, and it can only say which caption fits *best*. SigLIP asks each
# pair alone: do they belong together, yes or no? With the sigmoid $\sigma(a) = 1 / (1 + e^{-a})$, a learned bias $b$,
# and labels $z_{ij} = 1$ for own pairs and $-1$ for all others (the paper's letter, not the $z$ of notebook 03),
#
# $$\mathcal{L} = -\frac{1}{N} \sum_{i=1}^{N} \sum_{j=1}^{N}
# \log \sigma\big(z_{ij}\, (s\, u_i \cdot v_j + b)\big).$$
#
# What are the best scores now? Of the $N^2$ pairs, $N$ are drawn from $p(x, y)$ and $N (N - 1)$ from $p(x)\, p(y)$. A
# logit is best if it is the logarithm of the odds:
#
# $$s\, u \cdot v + b = \log \frac{p(x, y)}{p(x)\, p(y)} - \log(N - 1).$$
#
# So the sigmoid learns the pointwise mutual information, too. The batch size enters only through the constant, and the
# bias can learn it: for $N = 128$ it is $-4.8$. The paper starts at $b = -10$, so that the many negatives do not give a
# huge loss at the start.


# %%
def siglip_by_hand(u, v, s, b):
    total = 0
    for i in range(len(u)):
        for j in range(len(v)):
            logit = s * u[i] @ v[j] + b
            total = total - torch.log(torch.sigmoid(logit if i == j else -logit))
    return total / len(u)


torch.manual_seed(0)
u, v = F.normalize(torch.randn(2, 6, 8), dim=2)
torch.testing.assert_close(
    siglip_by_hand(u, v, 10.0, -3.0), siglip_loss(u, v, 10.0, -3.0)
)
show(SigLIP)

# %% [markdown]
# Because each pair stands alone, the sum can be computed in blocks, and no process needs the whole matrix (exercise 7).
# (Our class is simpler: it computes the whole matrix.) Does the sigmoid need a larger or a smaller batch? The runs
# below have *equal numbers of pictures*: 30,720. A larger batch means fewer updates. The learning rate grows with the
# square root of the batch.


# %% tags=["fold"]
def draw_batches():
    figure, axes = subplots(columns=2, height=3.6)
    sizes = (32, 128, 512)
    for ax, measure, label in zip(
        axes,
        ("zero_shot", "name_10"),
        ("zero-shot accuracy", "own name among the first 10"),
    ):
        found = experiments.values("clip-batch-size", measure)
        for k, name in enumerate(("softmax", "sigmoid")):
            seeds = torch.tensor([found[f"{name}, batch {n}"] for n in sizes]).T
            line_with_range(ax, sizes, seeds, k, name)
        ax.set_xscale("log", base=2)
        ax.set(xlabel="batch size", ylabel=label)
    axes[0].legend(fontsize=8)
    figure.suptitle("30,720 pictures each; mean and range of 3 seeds")
    return describe(figure, "Softmax and sigmoid loss by batch size.")


draw_batches()

# %% [markdown]
# At equal pictures, the largest batch is the worst for both losses with each seed. It has only 60 updates. The softmax
# with batches of 32 is as good as with 128 or better (zero-shot 0.35 to 0.40 against 0.35 to 0.38), although an update
# has 31 negatives instead of 127. So at this length of training, the number of updates seems to matter more than the
# number of negatives. The sigmoid is behind the softmax for the nine categories at each batch size and with each seed.
# A possible reason is its start: it answers *no* to nearly every pair. After the recipe's 500 updates the two are close
# for the nine categories (0.39 to 0.42 against 0.41 to 0.42). At finding the own name the sigmoid is still behind with
# each seed (14 to 16 % against 16 to 19 %). The paper trains far longer; there the sigmoid is ahead at small batches,
# and beyond 32,768 a larger batch brings little for either loss.
#
# ## 9. Contrast or prediction of the words
#
# Why compare at all? A network could simply *predict* the caption's words from the picture: one output for each of the
# words, a softmax over all of them, and the mean over the words of the caption. The paper began with a harder task: a
# transformer predicts the whole text, word by word. In its figure 2, predicting a bag of words is three times as
# efficient as predicting the whole text by a transformer, and contrast is another four times as efficient (zero-shot
# accuracy on ImageNet, by pictures seen).


# %%
def words_by_hand(logits, tokens):
    losses = []
    for row, caption in zip(logits, tokens):
        p = row.softmax(0)
        of_words = [-torch.log(p[word]) for word in caption if word > 0]
        losses.append(sum(of_words) / len(of_words))
    return torch.stack(losses).mean()


torch.manual_seed(0)
predictor = recipes.build(recipes.lookup("word-prediction"), seed=0).eval()
with torch.no_grad(), seeded(0):
    expected = predictor.loss(as_float(train.x[:6]), descriptions(train[:6]))
with torch.no_grad(), seeded(0):
    logits = predictor.classifier(
        predictor.encode(predictor.augment(as_float(train.x[:6])))
    )
    torch.testing.assert_close(
        words_by_hand(logits, predictor.draw(descriptions(train[:6]))), expected
    )
show(WordPrediction)

# %% [markdown]
# For a zero-shot answer, a text scores the mean of the log-probabilities of its words. Four methods at *equal
# pictures*, with the same image encoder:


# %% tags=["fold"]
def draw_looks():
    figure, axes = subplots(columns=2, height=3.8)
    for ax, measure, label, chance in zip(
        axes,
        ("zero_shot", "name_10"),
        ("zero-shot accuracy", "own name among the first 10"),
        (1 / 9, 10 / int(has_text.sum())),
    ):
        for k, name in enumerate(
            ("clip", "clip-bag-of-words", "siglip", "word-prediction")
        ):
            looks = of_setting(name, "curve")
            x = [128 * update / 1000 for update in looks[0]["update"]]
            seeds = torch.tensor([look[measure] for look in looks])
            line_with_range(ax, x, seeds, k, NAMES[name], ms=4)
        ax.axhline(chance, color="#666666", ls=":", label="chance")
        ax.set(xlabel="thousand pictures seen", ylabel=label)
    axes[1].legend(fontsize=8)
    figure.suptitle("500 updates of 128 pictures; mean and range of 3 seeds")
    return describe(figure, "Zero-shot measures of four methods by pictures seen.")


draw_looks()

# %% [markdown]
# At our scale, *predicting the words is as good as contrast for the nine categories*, from the first updates to the end
# (0.41). It is not four times less efficient. But at finding the own name, it is much worse: 6 % against 16 to 19 %. A
# possible reason is in what the two learn. The prediction gives each word its *frequency*, $p(\text{word} \mid x)$:
# words such as *face* or *woman* score high with many pictures. Contrast divides by the frequency, because frequent
# captions are frequent negatives (section 3). For nine texts chosen by hand this hardly matters. For 374 names it does.
# In the other direction, from a caption to pictures, all candidates are compared by the same words, so their frequency
# matters little. There the two are about equal (recall@10 of 15 to 17 % and of 14 to 18 %), which fits this reason.
# Among the 62 subcategories the prediction is even ahead with each seed (21 to 22 % against 17 to 18 %). Our categories
# are also easier than ImageNet's 1,000 classes, and our runs are short.
#
# By categories, neither the transformer nor the bag of words is ahead with each seed (0.41 to 0.42 and 0.38 to 0.43).
# By names the transformer is ahead at the end with each seed, by 1 to 4 points.
#
# ## 10. Equal captions and several processes
#
# **Equal captions.** Two pictures of a batch may show the same emoji, or their captions may be equal by chance: *flag
# nation* is true of about 170 emoji. The loss calls the other picture's caption wrong although it is true. This is a
# **false negative** (notebook 04, section 9). It also bounds the loss: if $k$ captions of the batch are equal, their
# scores with a picture are equal, too. So the right one gets at most the probability $1 / k$, and the loss of this
# picture is at least $\log k$. How often does it happen? A caption *fits* a picture if all its words belong to the
# picture:

# %%
with seeded(0):
    batch = captioned[torch.randperm(len(captioned))[:BATCH]]
    texts = drawn(batch.y)
true = fits(texts, batch.y, len(WORD))  # (pictures, captions)
equal = (texts[:, None] == texts).all(2)
floor = equal.sum(1).double().log().mean()
print(
    f"of {BATCH - 1} negatives of a picture, {true.sum(1).double().mean() - 1:.2f} are "
    f"true of it on average, and {equal.sum(1).double().mean() - 1:.2f} equal its own "
    f"caption: the loss of the pictures is at least {floor:.3f}"
)
most = int(true.sum(1).argmax())  # the picture that most captions fit
print("own caption:", words(texts[most]), "| also true:", words(texts[true[most]][0]))

# %% [markdown]
# `clip_loss` can leave such pairs out of the denominators. With all captions equal and nothing left out, the loss of
# the pictures is $\log N$; with all others left out it is 0:

# %%
torch.manual_seed(0)
u, v = F.normalize(torch.randn(6, 8), dim=1), F.normalize(torch.ones(6, 8), dim=1)
everything = torch.ones(6, 6, dtype=torch.bool)
pictures_only = -(10 * u @ v.T).log_softmax(1).diagonal().mean()
torch.testing.assert_close(pictures_only, torch.tensor(6.0).log())
torch.testing.assert_close(clip_loss(u, v, 10.0, everything), torch.tensor(0.0))
bars_with_spread(
    {
        f"{measure}: {setting}": found
        for key, measure in (
            ("zero_shot", "zero-shot"),
            ("name_10", "own name in 10"),
            ("knn", "k-NN"),
        )
        for setting, found in experiments.values("clip-true-captions", key).items()
    },
    xlabel="accuracy",
    title="True captions: negatives or left out; 120 updates of 256, 3 seeds",
)

# %% [markdown]
# Leaving them out makes no difference that is larger than the differences between seeds, at a batch of 256. Of the 255
# negatives of a picture, fewer than one is true on average. So the recipe keeps them all as negatives, as the paper
# does.
#
# **Several processes.** With 32,768 pairs the matrix has a billion entries. Let $R$ processes have $n = N / R$ pairs
# each. All of them need the vectors of the others, but no process needs the whole matrix. The loss is a mean over
# pairs. The part $\ell_i$ of pair $i$ is half the sum of its two terms, and it needs only row $i$ and column $i$. So
# process $r$ computes the mean over *its own* pairs, against all $N$ vectors: $2 n N$ scores instead of $N^2$, which is
# less for $R > 2$. Because $N = n R$,
#
# $$\mathcal{L} = \frac{1}{N} \sum_{i=1}^{N} \ell_i = \frac{1}{R} \sum_{r=1}^{R} \mathcal{L}_r, \qquad
# \mathcal{L}_r = \frac{1}{n} \sum_{i \in r} \ell_i.$$
#
# The gradient has to cross the processes. A vector of process $r$ also occurs in the losses of the others, as a
# negative. So the gathered vectors keep their gradient, and the backward pass adds up what all processes report. Then
# `DistributedDataParallel` averages the weights' gradients, which is the factor $1 / R$. Here two "processes", one
# after the other:

# %%
torch.manual_seed(0)
u, v = F.normalize(torch.randn(2, 8, 6, dtype=torch.float64), dim=2)
u, v = u.requires_grad_(), v.requires_grad_()
whole = torch.autograd.grad(clip_loss(u, v, 10.0), (u, v))
parts = [
    local_clip_loss(u[first : first + 4], v[first : first + 4], u, v, 10.0, first)
    for first in (0, 4)
]
joined = torch.autograd.grad(sum(parts) / 2, (u, v))
torch.testing.assert_close(sum(parts) / 2, clip_loss(u, v, 10.0))
for a, b in zip(whole, joined):
    torch.testing.assert_close(a, b)
show(local_clip_loss)

# %% [markdown]
# ## 11. The modality gap
#
# In a joint space, one expects a picture next to its caption. Look at where they really are: one scene of each test
# emoji and its caption, projected onto two directions. The first direction leads from the mean caption to the mean
# picture. The second is the direction of the largest spread of what remains.

# %% tags=["fold"]
gap_images, gap_texts = pairs(shipped)
gap = modality_gap(gap_images, gap_texts)
random_clip = recipes.build(recipes.lookup("clip"), seed=0).eval()
random_images, random_texts = pairs(random_clip)
with torch.no_grad():
    class_vectors = class_embeddings(shipped, ensemble())
axis = F.normalize(gap, dim=0)
rest = torch.cat([gap_images, gap_texts])
rest = rest - (rest @ axis)[:, None] * axis
second = torch.linalg.svd(rest - rest.mean(0), full_matrices=False)[2][0]
plane = torch.stack([axis, second], 1)


@torch.no_grad()
def draw_gap(share):
    images, texts = shifted(gap_images, gap_texts, gap, share)
    loss = clip_loss(images, texts, shipped.log_scale.exp())
    moved, classes = shifted(all_images, class_vectors, gap, share)
    accuracy = evaluate.accuracy(moved @ classes.T, test.y)
    figure, ax = subplots(height=4)
    for k, (points, name) in enumerate(((images, "pictures"), (texts, "captions"))):
        a, b = (points @ plane).T
        ax.plot(a, b, MARKERS[k], color=PALETTE[k], label=name, ms=4, alpha=0.6)
    a, b = torch.stack([images[:25] @ plane, texts[:25] @ plane]).permute(2, 0, 1)
    ax.plot(a, b, color="#666666", lw=0.6)
    ax.set(
        xlim=(-1, 1),
        ylim=(-1, 1),
        xlabel="direction of the gap",
        ylabel="direction of the largest spread",
        title=f"{share:.1f} of the gap closed: distance of the means "
        f"{modality_gap(images, texts).norm():.2f}\nloss {loss:.2f}, zero-shot "
        f"accuracy {accuracy:.3f}",
    )
    ax.legend(loc="lower right")
    return describe(figure, f"Pictures and captions with {share} of the gap closed.")


print(
    f"length of the gap: {gap.norm():.2f}; of untrained encoders "
    f"{modality_gap(random_images, random_texts).norm():.2f}"
)

# %% [markdown]
# The two clouds overlap only in part. Thin lines join the first 25 pairs. Liang et al. call the distance of the means
# the **modality gap**. They give two reasons. First, the output of a random network fills only a narrow cone, and two
# networks have two cones: the gap is there *before* the training. Second, the contrastive loss keeps it, above all with
# a low temperature. One part of this is easy to see. Add one vector $d$ to all pictures: then each score of caption $j$
# grows by $s\, d \cdot v_j$. For $P(i \mid j)$ this changes nothing. For $P(j \mid i)$ it changes nothing either, if
# $d$ is a direction in which the captions do not differ. In such a direction a gap changes the loss only because the
# vectors are normalised.
#
# **Try it.** Close the gap by moving both clouds towards each other. What happens to the loss, and what to the
# zero-shot accuracy? What if you move them too far?

# %%
explore(
    draw_gap,
    share=FloatSlider(value=0.0, min=-0.5, max=1.5, step=0.1, continuous_update=False),
)

# %% [markdown]
# The same for three seeds of the recipe, and the length of the gap by temperature:

# %% tags=["fold"]
temperature_rows = experiments.read("clip-temperature")["rows"]


def draw_closing():
    figure, axes = subplots(columns=3, height=3.6)
    closed = of_setting("clip", "closed")
    shares = [float(share) for share in closed[0]]
    values = torch.tensor([list(found.values()) for found in closed])  # (3, 5, 3)
    for k, label in enumerate(("loss of 1 pair per emoji", "zero-shot accuracy")):
        line_with_range(axes[k], shares, values[:, :, k], k, label)
        axes[k].set(xlabel="share of the gap closed", title=label)
    gaps = {}
    for row in temperature_rows:
        if row["setting"].startswith("fixed"):
            tau = float(row["setting"].split("= ")[1])
            gaps.setdefault(tau, []).append(row["gap"])
    line_with_range(
        axes[2], list(gaps), torch.tensor(list(gaps.values())).T, 2, "trained"
    )
    untrained = sum(of_setting("random pair", "gap")) / 3
    axes[2].axhline(untrained, color="#666666", ls=":", label="untrained")
    axes[2].set_xscale("log")
    axes[2].set(xlabel="tau (fixed)", title="length of the gap")
    axes[2].legend(fontsize=8)
    figure.suptitle("Mean and range of 3 seeds")
    return describe(figure, "Loss and accuracy by share of the gap that is closed.")


draw_closing()

# %% [markdown]
# *The gap.* Untrained encoders have a gap of 1.0. After 500 updates it is 0.5, and in the shipped weights 0.23. So our
# gap shrinks with the training, and it does not vanish. The third panel shows the influence of the temperature, which
# Liang et al. describe: at $\tau = 1$ a gap of 0.13 to 0.21 remains, and at 0.02 it is *larger* than before the
# training (1.17 to 1.20). (The runs of this panel have 240 updates.)
#
# *Closing it* makes the zero-shot accuracy better by less than one point, and makes the loss slightly worse. (In the
# shipped weights, moving even further than the gap still gives a little: 0.473, 0.478, 0.481.) Finding the own name
# among the first ten becomes worse by one to three points with each seed. (For the bag of words, closing the gap makes
# the zero-shot accuracy better, by about two points with each seed.) Widening the gap makes the loss *smaller*. That
# sounds strange, but the loss is that of new emoji. The network is too sure about them: its loss is 5.9 to 6.0, about
# that of a network that knows nothing, $\log 374 = 5.92$. In the shipped weights it is even 7.7. Vectors that move
# apart and are normalised again differ less from each other. This acts like a smaller scale.
#
# So a gap is no error by itself. For one picture, a classifier only compares the scores of texts with each other. For
# one text, a search only compares the scores of pictures. But do not compare a cosine between modalities with one
# within a modality, and do not mix pictures and texts in one list of search results.
#
# ## 12. Another drawing style
#
# The paper's most discussed figure (13) asks what happens on *other* pictures than those of the training: sketches, or
# photos from another source. Zero-shot CLIP loses much less than a network that was trained with the labels of
# ImageNet. Our three drawing styles allow the same question. Train on scenes of two styles, and test on the third. The
# supervised network has the same encoder, the same scenes, and the labels of the nine categories. Its augmentations are
# stronger: they also change the colours, as in notebook 03, and CLIP's only crop. And a quarter of CLIP's prompts
# contain the name of the third style, which this CLIP never saw. So the comparison is not perfectly fair. Compare at
# *equal accuracy in the styles of the training*: a network that is better everywhere is not more robust.

# %% tags=["fold"]
style_rows = experiments.read("clip-styles")["rows"]


def draw_styles():
    figure, axes = subplots(columns=3, height=3.8)
    for ax, held in zip(axes, STYLES):
        inside = [style for style in STYLES if style != held]
        for k, name in enumerate(("CLIP", "supervised")):
            runs = [
                row for row in style_rows if row["setting"] == f"{name}, without {held}"
            ]
            for n, row in enumerate(runs):
                look = row["curve"]
                x = torch.tensor([look[style] for style in inside]).mean(0)
                ax.plot(
                    [*x, sum(row[style] for style in inside) / 2],
                    [*look[held], row[held]],
                    MARKERS[k],
                    color=PALETTE[k],
                    ms=5,
                    alpha=0.7,
                    label=name if n == 0 else None,
                )
        ax.axline((0.1, 0.1), slope=1, color="#666666", ls=":")
        ax.set(
            title=f"tested on {held}",
            xlabel="accuracy, training styles",
            aspect="equal",
        )
    axes[0].set_ylabel("accuracy, other style")
    axes[0].legend(fontsize=8)
    figure.suptitle(
        "Test emoji, ten moments of each run of 400 updates (3 seeds without openmoji)"
    )
    return describe(figure, "Accuracy in the other style against the training styles.")


display(draw_styles())
for row in style_rows:
    name, held = row["setting"].split(", without ")
    look = row["curve"]
    inside = torch.tensor([look[style] for style in STYLES if style != held]).mean(0)
    lost = (inside - torch.tensor(look[held]))[(inside > 0.33) & (inside < 0.46)]
    print(f"{name:10} seed {row['seed']}, tested on {held:8}: loses {lost.mean():.3f}")

# %% [markdown]
# From an accuracy of 0.3 on, nearly all points lie below the diagonal: the other style is harder, for both networks.
# But CLIP's points are *not* above those of the supervised network. The lines below the figure compare at equal
# accuracy, between 0.33 and 0.46 in the training styles. CLIP loses 5 to 8 points there, and the supervised network 3
# to 8. In each of the five comparisons (three seeds for openmoji, one for each other style), the two differ by at most
# two points, and captions are never ahead by more than a quarter of a point. So in this experiment captions did not
# make the network more robust than labels did. (The stronger augmentations of the supervised network may have helped
# it.)
#
# Why, then, in the paper? Our two networks saw *the same pictures*. In the paper, CLIP saw 400 million pictures of all
# kinds, with drawings and sketches among them, and the other networks saw the photos of ImageNet. Fang et al. (2022,
# arXiv 2205.01397) separate the two causes with data sets that have captions and labels. They find that the diversity
# of the training pictures explains the robustness, and that captions by themselves add little.
#
# ## 13. Where CLIP fails
#
# **Word order.** *Horse on a man* is not *man on a horse*. A text transformer can see the order, but will it use it?
# The loss only asks to tell the own caption from the *other captions of the batch*. They contain other words nearly
# always, so it is enough to know the words. Our test: two objects side by side, and the caption names the left one
# first.

# %%
pair_data = side_by_side(8, seed=3)
image_grid(
    pair_data.x,
    [words(caption) for caption in pair_data.y],
    columns=8,
    title="Two objects: the left one first",
)

# %% [markdown]
# Three trainings of 400 updates. Two test questions. *Which objects*: is the own caption the best of 100 with other
# objects? *Which order*: is it better than the same two words in the other order? The third training gives each picture
# additional negatives, all captions of the batch with their words exchanged (`HardNegatives`, after NegCLIP).

# %%
with seeded(0):
    hard = HardNegatives(
        random_clip.encoder,
        random_clip.text_encoder,
        random_clip.projector,
        random_clip.text_projector,
        lambda x: x,
        lambda y: y,
    )
hard.altered = swapped
wrong = swapped(pair_data.y).flatten(0, 1)
print([words(caption) for caption in wrong[:3]])
with torch.no_grad():
    image = hard.image_embedding(as_float(pair_data.x))
    text, no = hard.text_embedding(pair_data.y), hard.text_embedding(wrong)
    scale = hard.log_scale.exp()
    of_images = (scale * image @ torch.cat([text, no]).T).log_softmax(1)  # (8, 16)
    of_texts = (scale * text @ image.T).log_softmax(1)
    expected = -(of_images[:, :8].diagonal() + of_texts.diagonal()).mean() / 2
    torch.testing.assert_close(hard.loss(as_float(pair_data.x), pair_data.y), expected)
show(HardNegatives.loss)


# %% tags=["fold"]
def draw_fine(experiment, chance, title):
    bars = {}
    for measure, label in (("coarse", "which objects"), ("fine", title)):
        found = experiments.values(experiment, measure)
        bars |= {f"{label}: {setting}": seeds for setting, seeds in found.items()}
    return bars_with_spread(
        bars,
        xlabel=f"accuracy (chance: 0.01 for the objects, {chance})",
        title="400 updates of 128 pictures, 3 seeds",
    )


display(draw_fine("clip-order", "0.5 for the order", "which order"))

# %% [markdown]
# All three trainings know the objects perfectly. The bag of words has no order, so it gets exactly one half. The
# transformer finds 78 to 88 % of the orders. With swapped negatives the same network finds all of them in the same
# number of updates. So the usual loss seldom asks for the order: there are 442 captions in this training set, and a
# batch of 128 contains the swapped caption of a picture only in one case of four. On the web, with its many words,
# nearly never. Yuksekgonul et al. find that models such as CLIP are close to chance in such tests, and that swapped
# captions in the training help. (A fifth of the pairs of objects was in no training picture. On those, the three
# numbers are 0.50, about 0.80 and at least 0.995: what was learnt is the order, not a list of pairs.)
#
# **Counting.** One to four copies of an object, and the caption says how many: *three dog*. Test: the right number
# among the four. Three trainings: with 24 objects; with 24 objects, but only one in twenty captions says the number;
# and with all 324 training emoji that have a name of one word.

# %% tags=["fold"]
count_data = counted(8, seed=5, objects=many_objects)
display(
    image_grid(
        count_data.x,
        [words(caption) for caption in count_data.y],
        columns=8,
        title="One to four copies",
    )
)
display(draw_fine("clip-numbers", "0.25 for the number", "which number"))

# %% [markdown]
# If each caption says the number, CLIP counts to four nearly perfectly, with 24 objects and with 324, and also for
# pairs of number and object that were in no training picture (at least 98 %). The number is a word like the others: it
# excludes three quarters of the captions of the batch. If one caption in twenty says the number, the objects are still
# perfect, but 69 to 74 % of the numbers are right (chance is 25 %), and for new pairs only 54 to 59 %. So counting is
# not too hard for the loss or for the network, at least up to four copies of equal size. (The covered area may be
# enough for the answer.) But captions must say how many. The authors of CLIP name counting as one of its weak points.
#
# **Words in the picture.** On the web, pictures often contain words: labels on packages, signs, watermarks. A network
# that reads them finds the caption easily. Goh et al. put a note with the word *iPod* on an apple, and CLIP saw an
# iPod. This is a **typographic attack**. Very few of our emoji contain letters (such as *squared free*), too few to
# learn to read. In the next experiment some training scenes get a word painted into them, one of nine words, and always
# one of their *own* words. Then we attack test scenes with the word of *another* category.

# %%
with seeded(1):
    attacked_rows = torch.randperm(len(test))[:8]
other = (test.y[attacked_rows] + 1 + torch.arange(8) % 8) % 9
attack = [PAINTED[k] for k in other.tolist()]
image_grid(
    paint(test.x[attacked_rows], attack, seed=0),
    [emoji_names()[k] for k in test.info["emoji"][attacked_rows].tolist()],
    columns=8,
    title="Test scenes with a word of another category",
)


# %% tags=["fold"]
def draw_attack():
    bars = {}
    for picture, label in (
        ("clean", "no word"),
        ("shuffled", "its letters, mixed"),
        ("word", "wrong word"),
    ):
        for share in ("0.0", "0.2", "1.0"):
            name = f"{label}, {float(share):.0%} in training"
            bars[name] = experiments.values("clip-typography", f"{picture}_painted")[
                share
            ]
    return bars_with_spread(
        bars,
        xlabel="share of test scenes that get the wrong word's category (chance 0.11)",
        title="Share of scenes with such a word that show it; 400 updates",
    )


display(draw_attack())
right = experiments.values("clip-typography", "clean_right")
hit = experiments.values("clip-typography", "word_right")
for share in right:
    print(
        f"painted share {share}: accuracy without a word "
        f"{sum(right[share]) / 3:.3f}, with a wrong word {sum(hit[share]) / 3:.3f}"
    )

# %% [markdown]
# Look at the longest bars first. If *all* training scenes with one of the nine words show it, the wrong word decides
# for 62 to 69 % of the test scenes. Nobody asked the network to read. It was a short cut to the caption. Without any
# word, its accuracy is only 0.16 to 0.26, and 0.28 to 0.35 for the network that never saw a word. One reason may be
# that it learnt less about the objects. Another is that in its training no picture without lettering had one of these
# nine words in its caption. With the letters in another order, 40 to 45 % still get the category of the word. (The last
# letter and the length of the word stay.) So the network reads roughly: the exact order is not needed. If a fifth of
# these scenes show the word, 400 updates are hardly enough to learn it (21 to 23 %, and 18 to 21 % with mixed letters).
# A network that never saw words is not attacked (11 to 12 %), but it is disturbed: the label hides up to a third of the
# picture, and the accuracy falls.
#
# **Train one that reads.** The next cell trains a CLIP on scenes that show one of the nine words if it is in their name
# or keywords. Then paint your own word.

# %%
words_painted = described(with_true_words(train, 1.0))
reader = recipes.build(recipes.lookup("clip"), seed=0)
for step in training("clip", reader, SHORT, words_painted):
    pass

# %% [markdown]
# **Try it.** Choose a picture and a word to paint. Which words move the probabilities? Try one of the nine (*ball, pet,
# flag, meat, film, man, face, mark, moon*), then a word of at most four letters that was never painted in training, and
# a word with one wrong letter.

# %% tags=["fold"]
reader = reader.cpu().eval()
with torch.no_grad():
    nine_words = class_embeddings(reader, [[word] for word in PAINTED])


def draw_painted(picture, word):
    clean = test.x[gallery[picture]][None]
    try:
        x, note = paint(clean, [word.strip().lower()], seed=picture), ""
    except ValueError as error:
        x, note = clean, f" (not painted: {str(error).split(': ')[-1]})"
    with torch.no_grad():
        vectors = reader.image_embedding(as_float(torch.cat([clean, x])))
    p = (reader.log_scale.exp() * vectors @ nine_words.T).detach().softmax(1)
    figure, axes = subplots(columns=2, height=3.4)
    axes[0].imshow(x[0].permute(1, 2, 0))
    axes[0].axis("off")
    place = torch.arange(9)
    axes[1].barh(place - 0.2, p[0], 0.4, color=PALETTE[0], label="without the word")
    axes[1].barh(place + 0.2, p[1], 0.4, color=PALETTE[1], label="with it")
    axes[1].set_yticks(place, PAINTED)
    axes[1].invert_yaxis()
    axes[1].set(xlim=(0, 1), xlabel="probability")
    axes[1].legend(fontsize=8)
    before, after = (PAINTED[k] for k in p.argmax(1).tolist())
    figure.suptitle(f"before: {before}, after: {after}{note}")
    return describe(figure, f"Probabilities without and with the word {word}.")


# %%
explore(
    draw_painted,
    picture=IntSlider(value=10, min=0, max=11),
    word=Text("flag", continuous_update=False),
)

# %% [markdown]
# ## 14. Misuse
#
# **Anybody can write a classifier.** Zero-shot classification needs no data and no training, only a list of words. That
# is its strength, and it makes misuse easy. Somebody can ask for *criminal* or *trustworthy*, and the network will
# answer. The answer is a softmax over the given list. It always sums to 1, also if no class is right and if the
# question makes no sense. Ask our CLIP which of some objects are *criminal*:

# %% tags=["fold"]
question = ["villain criminal", "engineer worker"]
with torch.no_grad():
    nonsense = class_embeddings(shipped, [[text] for text in question])
things = torch.tensor(
    [int((test.y == c).nonzero()[k]) for c in (1, 3, 4, 8) for k in (0, 60)]
)
p = (shipped.log_scale.exp() * all_images[things] @ nonsense.T).detach().softmax(1)
image_grid(
    test.x[things],
    [f"criminal {value:.0%}" for value in p[:, 0].tolist()],
    columns=8,
    title=f"The classes are {question[0]!r} and {question[1]!r}; nothing here is one",
)

# %% [markdown]
# These probabilities are not confidence. They say only which of two texts is a little nearer.
#
# **The list of classes decides who is harmed.** The authors of CLIP tested this (section 7.1 of the paper), with photos
# of faces of the data set FairFace, and a list of classes to which they added words for animals and for crimes. Some
# people were put into these classes, and not all groups equally often. When they added the class *child*, far fewer
# photos of children and young people were put into the harmful classes. The network had not changed, only the list.
#
# **The captions decide what is learnt.** Captions from the web say what people write about pictures, with their
# stereotypes. In the emoji, each job is drawn as a man and as a woman, on purpose. Other things are not balanced. The
# figure shows, for words alone, how much nearer they are to *man* than to *woman*. In brackets: how many training emoji
# have the word together with a word for men, and with a word for women.

# %% tags=["fold"]
chosen = (
    "cook mechanic scientist teacher engineer worker suit blue dancer fashion pink "
    "shoes"
).split()
people = {
    sex: torch.isin(known, torch.tensor([WORD.index(word) for word in names])).any(1)
    for sex, names in (("men", ["man", "male"]), ("women", ["woman", "female"]))
}


def together(word):
    """The number of training emoji with this word and a word for men, or for women."""
    has = (known == WORD.index(word)).any(1)
    men, women = (int((has & of_sex).sum()) for of_sex in people.values())
    return f"{word} ({men} men, {women} women)"


with torch.no_grad():
    vectors = shipped.text_embedding(torch.stack([sentence(word) for word in chosen]))
    ends = shipped.text_embedding(torch.stack([sentence("man"), sentence("woman")]))
lean = (vectors @ (ends[0] - ends[1])).tolist()
# the baseline: words of three training emoji or more, none of them of men or of women
of_people = set(known[people["men"] | people["women"]].flatten().tolist())
number = torch.bincount(known.flatten(), minlength=len(WORD)).tolist()
others = [
    WORD[k]
    for k in range(1 + len(STYLES), len(WORD))
    if number[k] > 2 and k not in of_people
]
with torch.no_grad():
    vectors = shipped.text_embedding(torch.stack([sentence(word) for word in others]))
baseline = vectors @ (ends[0] - ends[1])
print(
    f"{len(others)} words without men and women: mean {baseline.mean():.3f}, "
    f"{(baseline > 0).double().mean():.0%} lean to man"
)


def draw_lean():
    figure, ax = subplots(height=0.9 + 0.3 * len(chosen))
    colours = [PALETTE[0] if value > 0 else PALETTE[1] for value in lean]
    ax.barh([together(word) for word in chosen], lean, color=colours)
    ax.axvline(0, color="#666666", lw=1)
    mean = float(baseline.mean())
    ax.axvline(mean, color="#666666", ls=":", label=f"mean of {len(others)} words")
    ax.legend(loc="lower right", fontsize=8)
    ax.invert_yaxis()
    ax.set(
        xlabel="cosine with man minus cosine with woman",
        title="Texts of one word; shipped weights",
    )
    return describe(figure, "Cosine of words with man minus with woman.")


draw_lean()

# %% [markdown]
# The balanced words lean to *man*, all six. But this alone says little. Of the 448 words (with three training emoji or
# more) that no emoji has together with a word for men or women, 71 % lean to *man* too, by 0.08 on average (the dotted
# line). Compare with this value, not with 0: then *mechanic* leans to *woman*, *engineer* hardly leans, and *worker*
# and *cook* still lean to *man*. Each of these words has only one to four emoji of each sex, and this is *one* network:
# another seed may lean another way. Among the unbalanced words, *suit* and *blue* lean to *man*, and *pink* and *shoes*
# to *woman*, as in their captions. *Dancer* and *fashion* do not clearly follow their counts. So equal counts do not
# guarantee a balanced network. One has to measure, and a measurement needs a baseline.
#
# **Search is surveillance if the pictures are of people.** A network that finds *red backpack* in a photo album finds
# it in the recordings of a camera, too. The model card of CLIP excludes any use for surveillance and face recognition.
# It calls every deployed use out of scope, and asks for thorough tests in the domain even before other uses.
#
# ## 15. Pitfalls
#
# - **Forgetting to normalise.** Without unit vectors the scale has no fixed meaning, and long vectors win too often.
# - **Normalising only once in an ensemble.** Average unit vectors, then normalise the mean.
# - **A text encoder whose last layer starts at zero.** Notebook 15's did. Then every caption gives the zero vector,
#   which has no direction.
# - **Weight decay on $t$.** It pulls $1 / \tau$ towards 1. Our optimisers never decay single numbers.
# - **Augmentations that make the caption false.** A flip turns *left* into *right*, and grey makes *red* wrong.
# - **Choosing prompts on the test set.** Every word you try is a choice. Choose on validation data.
# - **Comparing cosines between modalities with cosines within one.** A gap makes the first kind smaller on average.
# - **Reading probabilities as confidence.** A softmax over your list of texts knows no "none of these".
#
# ## 16. What to try next
#
# - The exercises 06: prompts with weights, several captions for a picture, the best scores, a locked image
#   encoder, zero-shot with a few examples, and more.
# - `python -m course_lib train clip` trains the recipe in full length. Give it `siglip` or `clip-vit`.
# - Change `drawn`: with which captions does the style matter most? Train with `drawn(rows, style=1.0)`, and search for
#   *openmoji flag*.
# - Give the recipe SimCLR's augmentations of notebook 03. Which measures become better, and which worse?
# - Notebook 15, section 9, draws a picture from a caption. Notebook 16 (planned) joins both ideas: a caption is
#   mapped to CLIP's vector of a picture, and a diffusion model draws it.
#
# ## What to read
#
# - Radford et al. 2021, [Learning Transferable Visual Models From Natural Language
#   Supervision](https://arxiv.org/abs/2103.00020): CLIP. Sections 3.1 (zero-shot), 3.3 (robustness), 6 and 7 (limits).
# - Zhang et al. 2020, [ConVIRT](https://arxiv.org/abs/2010.00747): nearly the same loss, earlier, on X-ray pictures and
#   reports. Jia et al. 2021, [ALIGN](https://arxiv.org/abs/2102.05918): a billion noisy captions.
# - Zhai et al. 2023, [Sigmoid Loss for Language Image Pre-Training](https://arxiv.org/abs/2303.15343): SigLIP.
# - Liang et al. 2022, [Mind the Gap](https://arxiv.org/abs/2203.02053): the modality gap.
# - Yuksekgonul et al. 2022, [When and why vision-language models behave like bags-of-words, and what to do about
#   it?](https://arxiv.org/abs/2210.01936): word order and NegCLIP.
# - Goh et al. 2021, [Multimodal Neurons in Artificial Neural Networks](https://distill.pub/2021/multimodal-neurons/):
#   neurons of CLIP, and the typographic attack.
# - Joulin et al. 2015, [Learning Visual Features from Large Weakly Supervised
#   Data](https://arxiv.org/abs/1511.02251): predicting the words of captions.
