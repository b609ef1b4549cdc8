# %% [markdown]
# # 04. Momentum contrast
#
# **Where do four thousand negatives come from when a batch holds only 128 pictures?** SimCLR (notebook 03) compares
# each view with the other views of its batch. So more negatives need a larger batch, and a larger batch needs more
# memory. MoCo keeps the vectors of *earlier* batches in a queue. But the network changes at each update, and old
# vectors become out of date. In this notebook you find out how MoCo solves this problem, how well, and what it costs.
#
# **You will be able to** describe InfoNCE as a look-up in a dictionary; implement the queue and the slow key encoder,
# and derive how fast keys become out of date; train MoCo v1, v2 and v3, MoCHi and PIRL, and compare them with the
# random encoder; say which negatives carry the gradient, and what false negatives do; measure by boxes, not only by
# classes; decide how different two views should be.
#
# **You need** notebook 03: InfoNCE, the temperature, SimCLR and the memory bank.
#
# **Lectures** Deck REP, *Representation Learning*: *Contrastive Learning Approaches*, *MoCo*. Deck AIA, *Automatic
# Image Analysis, lecture 13*: *Good negative samples are very important*. Deck ENS, *Apprentissage continu de
# représentations visuelles* (in French): *Importance des échantillons négatifs*, *MoCo*, *How to make the task harder?*
# Deck GT19, *CS 4644/7643, lecture 19*: *Momentum Contrastive Learning (MoCo)*, *Improved Baselines with Momentum
# Contrastive Learning*, *MoCo vs. SimCLR vs. MoCo V2*.
#
# **Time** Reading takes an hour and a half, and computing about three minutes on two cores. Long experiments were run
# beforehand (`make results`); here their results are plotted.

# %%
import math
from collections import deque

import torch
import torch.nn.functional as F
from IPython.display import display
from ipywidgets import Dropdown, FloatLogSlider, IntSlider, SelectionSlider
from matplotlib.patches import Rectangle
from torch import nn

from course_lib import evaluate, experiments, zoo
from course_lib import recipe as recipes
from course_lib.contrastive.mochi import MoCHi, hardest, mix
from course_lib.contrastive.moco import MoCo, Queue, moco_loss
from course_lib.contrastive.moco_v3 import MoCoV3, moco_v3_loss
from course_lib.contrastive.partly_labelled import (
    UNLABELLED,
    PartlyLabelled,
    own_classes,
)
from course_lib.contrastive.pirl import PIRL, pirl_nce
from course_lib.contrastive.supcon import supervised_contrastive
from course_lib.contrastive.view_experiments import crops_at, shuffled
from course_lib.data import as_float, load
from course_lib.notebook import (
    bars_with_spread,
    budget,
    curve,
    describe,
    explore,
    image_grid,
    live,
    show,
    subplots,
    updates,
)
from course_lib.notebook.style import LINES, MARKERS, PALETTE
from course_lib.run import seeded

# "smoke" shows that the notebook runs, "laptop" and "gpu" that the methods work
BUDGET = budget("04_momentum_contrast")
STEPS = updates(smoke=8, laptop=300, gpu=2000)
SHORT = updates(smoke=6, laptop=100, gpu=1000)
BATCH = 32 if BUDGET == "smoke" else 128


def training(name, method, steps, **more):
    """Trains a method with the settings of its recipe, and plots the run live."""
    recipe, data = recipes.lookup(name), train if BUDGET != "smoke" else train[:2000]
    return live(
        recipes.train(recipe, method, data, seed=0, steps=steps, batch_size=BATCH),
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
# ## 1. The dictionary
#
# Think of a dictionary in the sense of a program: a table of **keys**. A **query** comes, and the dictionary returns
# the key that fits best. In contrastive learning, both are vectors. The query $q$ is the encoding of one view of a
# picture. The key $k_+$ is the encoding of another view of the same picture. All other keys of the dictionary belong to
# other pictures. The look-up is right if $k_+$ is the most similar key.
#
# A look-up that returns one key has no gradient. So we make it soft: each key gets a probability, the softmax of its
# similarity with the query. The loss is the negative logarithm of the probability of the right key. REP writes it with
# $K$ negatives and one positive:
#
# $$\mathcal{L}_q = -\log \frac{\exp(q \cdot k_+ / \tau)}{\sum_{i=0}^{K} \exp(q \cdot k_i / \tau)}.$$
#
# You know this loss from notebook 03: it is InfoNCE, the cross-entropy of a classifier with $K + 1$ classes. What is
# new is the question of where the keys come from. MoCo's authors name two wishes. The dictionary should be **large**,
# to sample the pictures well. And it should be **consistent**: all keys should come from the same encoder, or from
# nearly the same. In our words: a large dictionary also contains keys that are hard to tell from the right one. And if
# keys came from different encoders, the positive could be recognised by the encoder that made it, and not by its
# picture.
#
# *Margin note.* REP says that MoCo "enables learning a large and consistent visual representation". In the paper, it is
# the *dictionary* that is large and consistent.
#
# Here is a look-up with a trained encoder. The first picture of each row is the query, a random view. Beside it are
# the six most similar of 512 keys. One of the 512 is another view of the query's picture (*its key*, if it is among the
# six).

# %% tags=["fold"]
train, test = load("scenes", "train"), load("scenes", "test")
shipped = zoo.load("moco-v2")
random_moco = recipes.build(recipes.lookup("moco-v2"), seed=0).eval()
held_out = as_float(test.x[:512])


@torch.no_grad()
def unit(network, x):
    """Unit vectors of pictures, computed without gradient."""
    return F.normalize(network(x), dim=1)


def draw_look_up(method, name):
    with seeded(1):
        view1, view2 = method.views(held_out)
    q, k = unit(method.online, view1), unit(method.key, view2)
    top = (q[:4] @ k.T).topk(6).indices  # (4, 6)
    shown = torch.stack(
        [torch.cat([view1[i : i + 1], view2[top[i]]]) for i in range(4)]
    )
    captions = [
        "query" if j == 0 else ("its key" if top[i, j - 1] == i else "other")
        for i in range(4)
        for j in range(7)
    ]
    correct = ((q @ k.T).argmax(1) == torch.arange(len(q))).float().mean()
    return image_grid(
        shown.flatten(0, 1),
        captions,
        columns=7,
        title=f"{name}: the best of {len(k)} keys is the right one for "
        f"{correct:.0%} of the queries",
    )


display(draw_look_up(random_moco, "random encoder"))
display(draw_look_up(shipped, "MoCo v2, shipped weights"))

# %% [markdown]
# ## 2. Three ways to get many keys
#
# **End to end.** The keys are the other views of the batch, encoded by the same network as the query. All keys are up
# to date, and the gradient also flows through them. SimCLR works like this. The number of keys is tied to the batch:
# REP writes that k (our K) "is coupled to the mini-batch size which limits k by GPU memory".
#
# **A memory bank.** A table has one row for each picture of the training set, and a row moves to the new vector when
# its picture was in a batch (notebook 03, section 10). K random rows are the negatives. The bank can be large, but REP
# says what is wrong with it: "encodings are not up to date (typically once per epoch)".
#
# **A queue with a slow encoder.** MoCo keeps the keys of the last batches. A key is replaced after $K / N$ updates,
# where $N$ is the batch size, and not after an epoch. And a *second* network encodes the keys, which changes slowly.
#
# *Margin notes.* AIA's slide is titled "*Good* negative samples are very important", but its list is about *many*
# negatives; sections 7 to 9 ask which negatives are good. It also says that a memory bank "needs a lot of RAM". For
# ImageNet the bank has 1.28 million rows of 128 numbers. With four bytes a number this is the product printed below,
# less than a gigabyte. The problem of the bank is its age.
#
# Does the number of keys matter at our scale, and the way they are made? The next figure compares the three at *equal
# batches and equal updates*: 128 pictures each time, the same networks, the same kind of views. What differs
# is where the keys come from, how many there are, and whether a gradient flows to them. (The bank's positive is the
# picture's own row.) The line of the end-to-end method ends at 127, because
# a batch of 128 has 127 other pictures.

# %% tags=["fold"]
print(f"a bank for ImageNet: {1_281_167 * 128 * 4 / 1e9:.2f} GB")
SIZES = {"queue": (32, 1024, 8192), "bank": (32, 1024, 8192)}
SIZES["end-to-end"] = (32, 127)


def draw_sizes():
    figure, axes = subplots(columns=2, height=3.6)
    for ax, measure in zip(axes, ("knn", "probe")):
        by_setting = experiments.values("moco-negatives", measure)
        for line, (name, sizes) in enumerate(SIZES.items()):
            seeds = torch.tensor([by_setting[f"{name}, K = {k}"] for k in sizes]).T
            line_with_range(ax, sizes, seeds, line, name)
        baseline = max(experiments.values("moco-v2", measure)["random encoder"])
        ax.axhline(
            baseline, color="#666666", ls=":", label="random encoder (best seed)"
        )
        ax.set_xscale("log", base=2)
        ax.set(
            xlabel="number of negatives K",
            ylabel={"knn": "k-NN accuracy", "probe": "probe accuracy"}[measure],
        )
    axes[0].legend(fontsize=8)
    figure.suptitle("200 updates of 128 pictures; mean and range of 3 seeds")
    return describe(figure, "Accuracy over K for queue, memory bank and end to end.")


draw_sizes()

# %% [markdown]
# At our scale the number of negatives matters little, although K changes by a factor of 256. With each seed, k-NN and
# probe are higher at 8,192 than at 32, for the queue and for the bank, but only by 0.1 to 1.3 points. The end-to-end
# method is better by k-NN with each seed, by more than one point, and it has few negatives. By the probe it is better
# on average, but not with each seed. Two reasons are possible. Its gradient flows through *both* views, so an update
# learns from twice as many views. And its keys are never out of date, while in runs as short as ours a slow encoder
# still contains a part of its random start. (The bank starts with vectors of the untrained network. Our runs last 1.3
# epochs, so most rows are replaced only once.) Why then MoCo? Because an update costs less. Section 6 compares at equal
# time.
#
# *How this differs from the paper.* In figure 3 of the MoCo paper, the end-to-end line changes the *batch* with K, and
# the learning rate with the batch. There the end-to-end method is as good as MoCo at the same K, and it ends where the
# memory ends. The bank is 2.6 points worse at its largest K.

# %% [markdown]
# ## 3. The queue
#
# A queue of K keys is a table of K rows. New keys are written over the oldest ones. Nothing moves: a counter says where
# the next key goes, and after the last row it starts again with the first. This is called a *ring buffer*. In Python, a
# `deque` with a maximum length behaves in the same way. Here are both, side by side, with batches whose size does not
# divide K:

# %%
torch.manual_seed(0)
queue, by_hand = Queue(size=10, dim=2), deque(maxlen=10)
by_hand.extend(queue.keys.clone())  # random unit vectors at first
for _ in range(7):
    k = F.normalize(torch.randn(4, 2), dim=1)
    queue.push(k)
    by_hand.extend(k)
oldest_first = queue.ages().argsort(descending=True)
torch.testing.assert_close(queue.keys[oldest_first], torch.stack(list(by_hand)))
print("age of the key in each row, in keys:", queue.ages().tolist())

# %%
show(Queue, after="exercise 1")

# %% [markdown]
# The keys in the queue are numbers, not a graph: no gradient flows to them. So the queue costs memory for its vectors,
# but no memory for the layers that made them. A gradient through an old key would be of no use, because it
# belongs to weights that have changed since.
#
# The loss needs the queries, their own keys, and the queue. Ten lines suffice:


# %%
def moco_loss_by_hand(q, k, queue, tau):
    losses = []
    for query, key in zip(q, k):
        positive = torch.exp(query @ key / tau)
        others = sum(torch.exp(query @ old / tau) for old in queue)
        losses.append(-torch.log(positive / (positive + others)))
    return torch.stack(losses).mean()


torch.manual_seed(0)
q, k = F.normalize(torch.randn(2, 5, 8), dim=2)
old_keys = F.normalize(torch.randn(20, 8), dim=1)
torch.testing.assert_close(
    moco_loss_by_hand(q, k, old_keys, 0.2), moco_loss(q, k, old_keys, 0.2)
)
# nothing learnt: all K + 1 similarities are equal
same = q[:1].expand(20, -1)
torch.testing.assert_close(
    moco_loss(same[:5], same[:5], same, 0.2), torch.tensor(21.0).log()
)
show(moco_loss, after="exercise 2")

# %% [markdown]
# Note what is *not* a negative: the keys of the other pictures in the same batch. MoCo's negatives are the queue, and
# the queue does not contain this batch yet. The batch's keys are pushed after the update. If they were pushed before,
# each query would meet its own positive a second time, among the negatives.
#
# **Look into a queue.** The next cell trains three small MoCos for a few updates, with three values of the momentum,
# and films their queues. After each update it encodes *the same views* again, with the key encoder of that moment. A
# key in the queue is up to date if it still equals what the encoder would say today.

# %% tags=["fold"]
FILM = updates(smoke=6, laptop=40, gpu=40)
SIZE, SMALL = 256, 16  # keys in the queue, pictures in a batch


class Filmed(MoCo):
    """MoCo that keeps the views of the keys, for the film."""

    def views(self, x):
        self.last = self.augment(x), self.augment(x)
        return self.last


def film(momentum):
    v2 = recipes.build(recipes.lookup("moco-v2"), seed=0)
    with seeded(0):
        method = Filmed(v2.encoder, v2.projector, v2.augment, SIZE, 64, 0.2, momentum)
    views, frames = torch.zeros(SIZE, 3, 32, 32), []
    for step in recipes.train(
        recipes.lookup("moco-v2"), method, train, steps=5 * FILM, batch_size=SMALL
    ):
        pushed = int(method.queue.pushed)
        rows = torch.arange(pushed - SMALL, pushed) % SIZE
        views[rows] = method.last[1].cpu()
        ages = method.queue.ages().cpu()
        known = (ages < pushed).nonzero()[:, 0]  # not the random rows of the start
        today = torch.full((SIZE,), torch.nan)
        # In train mode and in groups of a batch, as the keys were made: BatchNorm then
        # uses as many pictures. Its buffers are restored afterwards.
        buffers = [b.clone() for b in method.key.buffers()]
        old = method.queue.keys[known]
        method.key.train()
        parts = views[known].to(old.device).split(SMALL)
        new = torch.cat([unit(method.key, part) for part in parts])
        today[known] = (new * old).sum(1).cpu()
        moved = new - old
        common = moved.mean(0).square().sum() / moved.square().sum(1).mean()
        for buffer, before in zip(method.key.buffers(), buffers):
            buffer.copy_(before)
        frames.append((ages, today, common.item()))
        if step.k == FILM:
            break
    return frames


films = {momentum: film(momentum) for momentum in (0.0, 0.9, 0.99)}


def draw_queue(update, momentum):
    ages, today, common = films[momentum][update - 1]
    figure, axes = subplots(columns=2, height=3.6)
    side = math.isqrt(SIZE)
    image = axes[0].imshow(
        today.view(side, side), cmap="cividis", vmin=0, vmax=1, aspect="auto"
    )
    axes[0].grid(False)
    axes[0].set(
        title="the queue, row by row\n(white: still random)",
        xticks=range(0, side, 5),
        yticks=range(0, side, 5),
        xlabel="column",
        ylabel="row of 16 keys",
    )
    figure.colorbar(image, ax=axes[0], label="cosine with today's encoding")
    known = ~today.isnan()
    axes[1].plot(ages[known] // SMALL, today[known], ".", color=PALETTE[0])
    axes[1].set(
        xlim=(-0.5, SIZE / SMALL),
        ylim=(-0.3, 1.05),
        xlabel="age of the key in updates",
        ylabel="cosine with today's encoding",
        title=f"mean cosine {today[known].mean():.2f}\nmovement in common {common:.0%}",
    )
    figure.suptitle(f"Momentum {momentum}, after {update} updates")
    return describe(
        figure,
        f"Queue of {SIZE} keys after {update} updates with momentum {momentum}: mean "
        f"cosine with today's encoding {today[known].mean():.2f}.",
    )


# %% [markdown]
# **Try it.** How does the front of new keys move through the table? At which momentum do the oldest keys still fit? And
# do the keys move independently of each other, or all in the same direction? (The title says
# which part of the mean squared movement of the keys is common to all of them.)

# %%
explore(
    draw_queue,
    update=IntSlider(FILM, 1, FILM),
    momentum=SelectionSlider(options=list(films), value=0.99),
)

# %% [markdown]
# ## 4. The slow key encoder
#
# The key encoder has the same layers as the query encoder. No gradient reaches it. After each update its weights move a
# little towards those of the query encoder:
#
# $$\theta_k \leftarrow m\, \theta_k + (1 - m)\, \theta_q, \qquad m \in [0, 1].$$
#
# $m$ is the **momentum**. With $m = 0$ the key encoder *is* the query encoder. With $m = 1$ it never changes. Why
# should a value in between be good? Let us compute how fast a key gets out of date, or *stale*.
#
# **A model.** Look at one weight, or at one coordinate of an encoding. Training moves it at each update by a random
# step $\varepsilon_t$, with mean 0 and variance $\sigma^2$, independent of the earlier steps. The query encoder is the
# sum of its steps, a *random walk*. After $a$ updates it is at a mean squared distance of
#
# $$D_q(a) = a\, \sigma^2$$
#
# from where it was. The key encoder moves by $\delta_t = \theta_{k, t} - \theta_{k, t-1}$. Subtract the rule above for
# two following updates: $\delta_t = m\, \delta_{t-1} + (1 - m)\, \varepsilon_t$. So its movement is an average of the
# last steps with weights $(1 - m)\, m^j$. After many updates, $\delta_t$ has the variance
#
# $$\sigma^2 (1 - m)^2 (1 + m^2 + m^4 + \dots) = \sigma^2\, \frac{(1 - m)^2}{1 - m^2}
# = \sigma^2\, \frac{1 - m}{1 + m},$$
#
# and the covariance of $\delta_s$ and $\delta_t$ is $m^{|s - t|}$ times this variance. A key of age $a$ was made before
# the last $a$ movements. Their sum has the mean square
#
# $$D_k(a) = \sigma^2\, \frac{1 - m}{1 + m} \sum_{s=1}^{a} \sum_{t=1}^{a} m^{|s - t|}
# = \sigma^2 \left[ a - \frac{2 m\, (1 - m^a)}{1 - m^2} \right].$$
#
# Check the limits. With $m = 0$ it is $a\, \sigma^2$, as it must be. For $a$ much smaller than $1 / (1 - m)$ it is
# about $\frac{1 - m}{2}\, a^2 \sigma^2$: its squared distance is only $\frac{1 - m}{2}\, a$ times that of the query
# encoder. (At $a = 1 / (1 - m)$ it is 37 % of it, for $m$ near 1.) For $a$ much larger than $1 / (1 - m)$ the slow
# encoder has the same distance as the fast one, minus a constant. So **the momentum has to fit the age of the oldest
# key**: $1 / (1 - m)$ should not be much smaller than $K / N$ updates.


# %%
def stale_distance(age, momentum):
    """D_k(age) / sigma^2: the mean squared distance of the key encoder from where it
    was `age` updates ago."""
    age = torch.as_tensor(age, dtype=torch.float64)
    if momentum == 0:
        return age
    if momentum == 1:
        return 0 * age
    return age - 2 * momentum * (1 - momentum**age) / (1 - momentum**2)


# 4,000 random walks and their moving averages, simulated
torch.manual_seed(0)
m, walk = 0.9, torch.randn(400, 4000, dtype=torch.float64).cumsum(0)
slow = [walk[0]]
for fast in walk[1:]:
    slow.append(m * slow[-1] + (1 - m) * fast)
slow = torch.stack(slow)
for age in (1, 10, 50):
    simulated = (slow[300 + age] - slow[300]).square().mean()
    torch.testing.assert_close(simulated, stale_distance(age, m), rtol=0.1, atol=0)
    print(
        f"age {age}: query encoder {age}.0, key encoder {stale_distance(age, m):.2f}, "
        f"simulated {simulated:.2f}"
    )

# %% [markdown]
# For unit vectors, $\cos(u, v) = 1 - \frac12 \lVert u - v \rVert^2$. So in this model, 1 minus the cosine between a key
# and today's encoding grows like $D_k(a)$.
#
# **Now measured.** In a real run of MoCo v2, 256 views stay the same all the time. Every five updates between update
# 50 and 150 they are encoded, by the key encoder and by the query encoder. The next figure shows the cosine between an
# encoding and that of the same views some updates later, for five values of the momentum. The dotted line is the query
# encoder.

# %% tags=["fold"]
rows = experiments.read("moco-momentum")["rows"]
MOMENTA = list(dict.fromkeys(row["setting"] for row in rows))


def measured_cosine(momentum, measure="key_cosine"):
    """Age in updates, and the cosine for each seed, (seeds, ages)."""
    of_it = [row[measure] for row in rows if row["setting"] == momentum]
    ages = [int(age) for age in of_it[0]]
    return ages, torch.tensor([list(found.values()) for found in of_it])


def draw_staleness():
    figure, ax = subplots(height=3.8)
    for k, momentum in enumerate(MOMENTA):
        label, more = f"key encoder, m = {momentum}", {"ls": LINES[k], "markevery": 4}
        line_with_range(ax, *measured_cosine(momentum), k, label, **more)
    ages, cosine = measured_cosine("0.99", "query_cosine")
    ax.plot(ages, cosine.mean(0), ":", color="#666666", label="query encoder, m = 0.99")
    ax.set(
        title="How well does an old key fit? 3 seeds",
        xlabel="age of the key in updates",
        ylabel="cosine with today's key",
    )
    ax.legend(fontsize=8)
    return describe(figure, "Cosine of a key with today's encoding over its age.")


draw_staleness()

# %% [markdown]
# The order is that of the model: the larger the momentum, the longer keys stay valid. The sizes are not. The model says
# 0.85 for a momentum of 0.99 and an age of 100 updates, and less than 0.5 was measured. Real updates are not
# independent: many of them go in the same direction, and an average of such steps is not smaller than the steps. So at
# 0.99 the key encoder is more consistent than the query encoder only up to an age of 30 to 50 updates, depending on the
# seed. (A key stays in our queue for 32 updates.) At 0.999 and above it is more consistent at every age.
#
# With 0 and 0.9 something else happens. The cosine falls to about 0 within 40 to 60 updates. Then it *rises* again (0),
# or it becomes clearly *negative* (0.9). Random steps do not do that. The encodings seem to go round in a circle.
#
# The reason is the queue. Its keys are up to 32 updates old here, and with a fast key encoder, that is far behind. Now
# there is a short cut: move *all* outputs into one common direction. The positive comes along, because it was just made
# by (nearly) the same network. The negatives stay behind, because they are old. So the loss falls, and nothing about
# pictures was learnt. When the queue has filled up with the moved keys, the encoder has to move on. The widget above
# shows this by the movement in common. A slow key encoder closes the short cut, because then the positive stays behind,
# too.
#
# **Try it.** Which momentum does a queue of K keys need? The lines are the model and the measurement; the shaded part
# is the age that keys in the queue have. The title gives the mean over the queue.

# %% tags=["fold"]
# sigma^2 of the model, from the query encoder of the run with m = 0.99
query_ages, query_cosine = measured_cosine("0.99", "query_cosine")
NOISE = float((1 - query_cosine.mean(0)[0]) / query_ages[0])


def draw_model(momentum, queue, batch):
    oldest = queue / batch
    figure, ax = subplots(height=3.6)
    age = torch.arange(0, 101)
    model = 1 - NOISE * stale_distance(age, float(momentum))
    ax.plot(age, model, color=PALETTE[0], label="model")
    ages, cosine = measured_cosine(momentum)
    ax.plot(ages, cosine.mean(0), "o", ms=4, color=PALETTE[1], label="measured")
    ax.axvspan(
        0, min(oldest, 100), color="#666666", alpha=0.2, label="ages in the queue"
    )
    inside = [c for a, c in zip(ages, cosine.mean(0).tolist()) if a <= oldest]
    mean = f"{sum(inside) / len(inside):.2f}" if inside else "not measured below 5"
    ax.set(
        xlim=(0, 100),
        ylim=(-0.1, 1.05),
        xlabel="age of the key in updates",
        ylabel="cosine with today's key",
        title=f"K = {queue}, N = {batch}: keys up to {oldest:.0f} updates old, "
        f"measured mean cosine {mean}",
    )
    ax.legend(loc="lower left")
    return describe(figure, f"Model and measurement for momentum {momentum}.")


explore(
    draw_model,
    momentum=SelectionSlider(options=MOMENTA, value="0.99"),
    queue=SelectionSlider(options=[256, 1024, 4096, 16384], value=4096),
    batch=SelectionSlider(options=[64, 128, 256], value=128),
)

# %% [markdown]
# ## 5. MoCo v1
#
# Now put the parts together. This is the whole of Algorithm 1 of the paper, without a library, for one update. The
# order matters. The loss uses the queue *before* this batch's keys enter it. The key encoder moves *after* the gradient
# step. Then the keys enter the queue.


# %%
def one_update(f_q, f_k, queue, view1, view2, tau, m, lr):
    q = F.normalize(f_q(view1), dim=1)
    with torch.no_grad():
        k = F.normalize(f_k(view2), dim=1)  # no gradient to the keys
    loss = moco_loss_by_hand(q, k, queue, tau)
    gradients = torch.autograd.grad(loss, list(f_q.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(f_q.parameters(), gradients):
            weight -= lr * gradient
        for slow, fast in zip(f_k.parameters(), f_q.parameters()):
            slow.copy_(m * slow + (1 - m) * fast)
    return torch.cat([queue, k])[len(k) :]  # the oldest keys leave


torch.manual_seed(0)
x = torch.rand(6, 3, 4, 4)
method = MoCo(
    nn.Sequential(nn.Flatten(), nn.Linear(48, 8)),
    nn.Identity(),
    lambda x: x,
    12,
    8,
    momentum=0.9,
)
f_q, f_k, old_keys = nn.Linear(48, 8), nn.Linear(48, 8), method.queue.keys.clone()
for copy in (f_q, f_k):
    copy.load_state_dict(method.encoder[1].state_dict())
sgd = torch.optim.SGD(method.encoder.parameters(), lr=0.5)
for _ in range(3):
    old_keys = one_update(
        f_q, f_k, old_keys, x.flatten(1), x.flatten(1), 0.07, 0.9, 0.5
    )
    method.loss(x).backward()
    sgd.step()
    sgd.zero_grad()
    method.after_step()
    method.step_outputs.clear()
torch.testing.assert_close(f_k.weight, method.key.net[0][1].weight)
oldest_first = method.queue.ages().argsort(descending=True)
torch.testing.assert_close(old_keys, method.queue.keys[oldest_first])

# %%
show(MoCo, after="exercise 7")

# %% [markdown]
# After training, only the query encoder is kept. Projector, key encoder and queue are thrown away.
#
# Train it: v1, with a linear projector and without blur. Our momentum is 0.99 and not the paper's 0.999, because a run
# has hundreds of updates here and not a million. Our temperature is that of v2, 0.2 (v1 has 0.07). The second curve
# measures the dictionary: the share of test queries whose own key is the most similar of 512.


# %%
def pretext_accuracy():
    with seeded(1):
        view1, view2 = moco.views(held_out.to(moco.queue.keys.device))
    q, k = unit(moco.online, view1), unit(moco.key, view2)
    return ((q @ k.T).argmax(1) == torch.arange(len(q), device=q.device)).float().mean()


moco = recipes.build(recipes.lookup("moco"), seed=0)
for step in training(
    "moco", moco, STEPS, measure=pretext_accuracy, measured="own key found"
):
    pass

# %% [markdown]
# The loss first *rises*, and this is not an error. At the start, all 4,096 negatives are random vectors, which are
# easy. They are replaced by real keys of a network that maps everything to nearly the same vector, and those are hard.
# Later, the network spreads its outputs, and the loss falls. (It may rise slowly again, because the keys become better,
# too.) Compare losses only at equal negatives.
#
# Is the representation better than before? We use the measures of notebook 03: k-NN with 20 neighbours, and the random
# encoder of the same seed.

# %%
bank = train if BUDGET != "smoke" else train[:1000]
unseen = test if BUDGET != "smoke" else test[:300]


def knn_accuracy(method):
    h_bank, h = evaluate.features(method, bank.x), evaluate.features(method, unseen.x)
    return evaluate.accuracy(evaluate.knn(h_bank, bank.y, h), unseen.y)


print(
    f"k-NN accuracy on {len(unseen)} test scenes: random encoder "
    f"{knn_accuracy(recipes.build(recipes.lookup('moco'), seed=0)):.3f}, MoCo v1 after "
    f"{STEPS} updates {knn_accuracy(moco):.3f}"
)

# %% [markdown]
# Three seeds of every method of this notebook, each with the updates of its recipe:

# %% tags=["fold"]
NAMES = {
    "moco": "MoCo v1",
    "moco-v2": "MoCo v2",
    "moco-v3": "MoCo v3 (ViT)",
    "mochi": "MoCHi",
    "pirl": "PIRL, jigsaw",
    "pirl-rotation": "PIRL, rotation",
}


def draw_methods(measure, title):
    bars = {}
    for name, label in NAMES.items():
        found = experiments.values(name, measure)
        bars[f"{label}: random"] = found["random encoder"]
        bars[f"{label}: trained"] = found["trained"]
    return bars_with_spread(
        bars, xlabel=title, title="Random encoder and trained, 3 seeds"
    )


display(draw_methods("knn", "k-NN accuracy"))
display(draw_methods("probe", "linear probe accuracy"))

# %% [markdown]
# Every method is better than the random encoder of the same seed, by both measures and with each of the three seeds. Do
# not compare the methods with each other here. Their runs differ: MoCo v1 and v2 have 500 updates of 256 pictures, MoCo
# v3 has 500 of 128, MoCHi and PIRL have 400 of 128, and MoCo v3 has another network. The sections that follow compare
# under equal conditions.
#
# ### The momentum table
#
# ENS shows the paper's table: with $m = 0$ training *fails*, 0.9 gives 55.2 % on ImageNet, 0.99 gives 57.8, 0.999 gives
# 59.0 and 0.9999 gives 58.9. Here is ours, with 200 updates and a queue of 4,096 keys, 32 batches long.

# %% tags=["fold"]
momentum_knn, momentum_probe = (
    {"random encoder": experiments.values("moco-v2", measure)["random encoder"]}
    | {f"m = {m}": v for m, v in experiments.values("moco-momentum", measure).items()}
    for measure in ("knn", "probe")
)
display(
    bars_with_spread(
        momentum_knn,
        xlabel="k-NN accuracy",
        title="Momentum, 200 updates of 128 pictures, 3 seeds",
    )
)
display(
    bars_with_spread(
        momentum_probe,
        xlabel="linear probe accuracy",
        title="Momentum, 200 updates of 128 pictures, 3 seeds",
    )
)


def draw_momentum_losses():
    lines = {}
    for momentum in MOMENTA:
        losses = torch.tensor([r["losses"] for r in rows if r["setting"] == momentum])
        lines[f"m = {momentum}"] = losses
    return curve(
        range(10, 201, 10),
        lines,
        title="Training loss, mean of every 10 updates; range of 3 seeds",
        xlabel="update",
        ylabel="loss in nats",
    )


draw_momentum_losses()

# %% [markdown]
# With $m = 0$ all three seeds are worse than every run with another momentum, by k-NN. So one part of the paper's table
# appears here, too: $m = 0$ is the worst. But "fails" would be too strong: the network still beats the random encoder.
# The loss shows why it is worse. In the first updates it is the lowest of all: this is the short cut of section 4. Then
# it rises, falls once more at a different time with each seed (between updates 80 and 140), and ends as the highest of
# all. With 0.9 the short cut comes later, near update 50, and the loss rises afterwards, too.
#
# From 0.9 to 0.9999 our accuracies do not differ by more than the seeds do. With a momentum of 0.9999, the weights of
# the key encoder still contain 98 % of their random start after 200 updates, $0.9999^{200}$. It is surprising that this
# is good enough. The keys of a random network are at least consistent, and a query can learn to predict them. (BYOL
# began with this observation, notebook 08, section 2.) A longer run would need keys that become better.
#
# ### Why MoCo shuffles
#
# BatchNorm subtracts the mean of the batch. So the output for one picture tells something about the *other pictures of
# its batch*. Suppose that the queries are normalised in small groups, and that the keys of the same pictures are
# normalised in the same groups. Then a query and its key share a trace of their group. The network can use this trace
# to find the right key. That is a short cut: the loss falls, and nothing about the picture is learnt.
#
# With several GPUs this situation is normal, because each GPU normalises its own part of the batch. So MoCo
# **shuffles** the pictures between the GPUs before it encodes the keys, and restores their order afterwards. The query
# and its key then come from different groups. On a single device there is only one group, and shuffling changes
# nothing. There, the statistics of the whole batch are an average over many pictures, and the trace is weak. To show
# the effect on one device, we cut the batch of 128 into 16 groups of 8 pictures, each with its own statistics.

# %% tags=["fold"]
shuffle = experiments.read("moco-shuffle")["rows"]


def draw_shuffle():
    lines = {}
    for setting in dict.fromkeys(row["setting"] for row in shuffle):
        of_it = [row["pretext"] for row in shuffle if row["setting"] == setting]
        lines[setting] = torch.tensor(of_it)
    return curve(
        range(10, 201, 10),
        lines,
        title="Share of training queries whose own key is the best of 4,097; 3 seeds",
        xlabel="update",
        ylabel="pretext accuracy",
    )


display(draw_shuffle())
bars_with_spread(
    experiments.values("moco-shuffle"),
    xlabel="k-NN accuracy",
    title="BatchNorm in groups of 8 pictures; 200 updates, 3 seeds",
)

# %% [markdown]
# Compare the two lines with groups. Without shuffling, queries find their own keys more often, with every seed and at
# every time, on average 1.6 to 1.9 times as often. The pictures, the networks and the size of the groups are the same,
# so the additional matches come from the trace of the group. The representation does not gain: k-NN is the same. In our
# short run, it does not suffer either; the probe is even higher without shuffling, by 0.1 to 1.9 points. (In the
# paper's figure A.1, the pretext accuracy without shuffling soon exceeds 99.9 %, and the k-NN accuracy drops.) The line
# *one batch* shows what replaces shuffling on one device: one large batch, whose statistics are less noisy. This
# setting is the best by k-NN with every seed.
#
# ## 6. From v1 to v2
#
# MoCo v2 takes two ideas from SimCLR: an MLP as projector, and blur as an additional augmentation. A third change is
# the learning rate, which falls along a cosine instead of in steps. GT19 shows the paper's table 1, the linear probe on
# ImageNet and the detection of objects on PASCAL VOC (AP, average precision; AP50 and AP75 count a box as right if it
# overlaps the true one by an IoU of 0.5 or 0.75, explained below):
#
# | | MLP | aug+ | cos | epochs | ImageNet | AP50 | AP | AP75 |
# |---|---|---|---|---|---|---|---|---|
# | supervised | | | | | 76.5 | 81.3 | 53.5 | 58.8 |
# | MoCo v1 | | | | 200 | 60.6 | 81.5 | 55.9 | 62.6 |
# | (a) | ✓ | | | 200 | 66.2 | 82.0 | 56.4 | 62.6 |
# | (b) | | ✓ | | 200 | 63.4 | 82.2 | 56.8 | 63.2 |
# | (c) | ✓ | ✓ | | 200 | 67.3 | 82.5 | 57.2 | 63.9 |
# | (d) | ✓ | ✓ | ✓ | 200 | 67.5 | 82.4 | 57.0 | 63.6 |
# | (e) | ✓ | ✓ | ✓ | 800 | 71.1 | 82.5 | 57.4 | 64.0 |
#
# Look at the first two rows. The supervised network is far better at naming what is in a picture, and *worse* as a
# start for finding objects, above all when the box must fit well (AP75). So one number does not describe a
# representation. We need a second measure: **boxes**. Each scene has a box around its emoji. A linear regression
# predicts its four sides from the frozen feature map, which has 96 numbers at 4 x 4 places. The measure is the
# intersection over union (IoU) of the predicted and the true box: the area that both share, divided by the area that at
# least one of them covers.

# %%
probe_rows = train if BUDGET != "smoke" else train[:1000]
feature_map = nn.Sequential(shipped.encoder.stem, shipped.encoder.stages, nn.Flatten())
h = evaluate.features(feature_map, probe_rows.x)
h_test = evaluate.features(feature_map, unseen.x)
box_of = evaluate.box_probe(
    h, probe_rows.info["box"], groups=probe_rows.info["emoji"], penalties=[1e-2]
)
predicted = box_of(h_test)
iou = evaluate.box_iou(predicted, unseen.info["box"])
mean_box = probe_rows.info["box"].double().mean(0).expand(len(unseen), 4)
print(
    f"mean IoU on {len(unseen)} test scenes: the same mean box for all "
    f"{evaluate.box_iou(mean_box, unseen.info['box']).mean():.3f}, "
    f"boxes from MoCo's features {iou.mean():.3f}"
)

# %% tags=["fold"]
figure = image_grid(
    unseen.x[:16],
    [f"IoU {value:.2f}" for value in iou[:16]],
    title="Test scenes: true box (solid), predicted from frozen features (dashed)",
)
ax = figure.axes[0]
# image_grid draws all pictures in one axes: find where each one is
inside = predicted.clamp(0, 32)
for image, mine, true in zip(ax.get_images(), inside, unseen.info["box"].double()):
    left, right, bottom, top = image.get_extent()
    scale = (right - left) / 32, (bottom - top) / 32
    for box, style, colour in ((true, "-", "white"), (mine, "--", PALETTE[1])):
        ax.add_patch(
            Rectangle(
                (left + box[0] * scale[0], top + box[1] * scale[1]),
                (box[2] - box[0]) * scale[0],
                (box[3] - box[1]) * scale[1],
                fill=False,
                ls=style,
                color=colour,
                lw=1.2,
            )
        )
figure

# %% [markdown]
# Now the table at our scale: one change at a time, 200 updates of 128 pictures. The last figure counts boxes with an
# IoU above 0.75, which is stricter.

# %% tags=["fold"]
for measure, label in (
    ("knn", "k-NN accuracy"),
    ("probe", "linear probe accuracy"),
    ("box_iou", "mean IoU of boxes from frozen features"),
    ("box_75", "share of boxes with an IoU above 0.75"),
):
    display(
        bars_with_spread(
            experiments.values("moco-v1-to-v2", measure),
            xlabel=label,
            title="From v1 to v2, 3 seeds (the last two settings: one)",
        )
    )

# %% [markdown]
# The gains of the table do not appear in our short runs: by k-NN and by the probe, the five settings differ no more
# than their seeds do. (Notebook 03, section 12, found the same for the MLP.) What helps is *time*: 600 updates instead
# of 200, with one seed. But the boxes show a difference that the classes hide. Among the runs of 200 updates, every run
# with blur has a lower mean IoU than every run without. A possible reason: in a picture of 32 pixels, blur removes the
# edges that a box needs. In the paper, with pictures of 224 pixels, blur *helps* the boxes. (As in the authors' code,
# the views with blur also leave the colours of a fifth of the pictures as they are.)
#
# A second difference from the paper: our supervised network (one seed) is the best by every measure, by boxes too.
# There, the whole network is trained further on the new task, with other pictures than before. Here the features are
# frozen and the pictures are of the same kind. So do not read our table as a contradiction: it answers an easier
# question.
#
# ### What it costs
#
# GT19's table 3 (eight GPUs): MoCo with 256 pictures takes 5.0 GB per GPU, and 53 hours for 200 epochs. The end-to-end
# method takes 7.4 GB and 65 hours at 256 pictures, and an estimated 93 GB per GPU at 4,096. We count here what must be
# kept in memory for the backward pass: all intermediate results of the layers, to the byte, and the queue. Time is the
# median of seven updates on one thread. (GT19's "end-to-end" means SimCLR.)

# %% tags=["fold"]
costs = {row["setting"]: row for row in experiments.read("moco-cost")["rows"]}


def draw_cost():
    figure, axes = subplots(columns=2, height=3.6)
    labels = list(costs)
    places = range(len(labels))
    for ax, measure, xlabel in (
        (axes[0], "megabytes", "MB kept for the backward pass"),
        (axes[1], "ms", "ms for an update"),
    ):
        numbers = [costs[label][measure] for label in labels]
        colours = [PALETTE[0] if "MoCo" in label else PALETTE[1] for label in labels]
        ax.barh(places, numbers, color=colours)
        for place, number in zip(places, numbers):
            ax.text(number, place, f" {number:,.0f}", va="center", fontsize=8)
        ax.set(xlabel=xlabel, xlim=(0, 1.25 * max(numbers)))
        ax.invert_yaxis()
        ax.grid(axis="y")
    axes[0].set_yticks(
        places, [label.replace(", K", ",\nK") for label in labels], fontsize=8
    )
    axes[1].set_yticks(places, [""] * len(labels))
    return describe(figure, "Memory and time of one update for MoCo and end to end.")


display(draw_cost())
bars_with_spread(
    experiments.values("moco-equal-time"),
    xlabel="k-NN accuracy",
    title="Equal time on one thread: "
    + ", ".join(
        f"{name.removesuffix(' v2')} {seconds:.0f} s"
        for name, seconds in {
            setting: sum(found) / len(found)
            for setting, found in experiments.values(
                "moco-equal-time", "seconds"
            ).items()
        }.items()
    ),
)

# %% [markdown]
# At the same batch, MoCo needs a little more than half of the memory of the end-to-end method and about two thirds to
# three quarters of the time, because only one of the two views needs a backward pass. At the same number of negatives
# the difference is of another order: 4,096 keys cost MoCo one megabyte, and the end-to-end method needs a batch of
# 4,096, with more than a hundred times the memory of MoCo's 64.
#
# What does this buy? The last figure gives three methods about equal time. SimCLR with a batch of 512 makes only 48
# updates in it, MoCo with 64 pictures makes 600, and MoCo is better with each seed. This is GT19's message (table 2:
# MoCo v2 67.5 % with 256 pictures; SimCLR 61.9 % with 256 and 66.6 % with 8,192). (MoCo even had eight seconds more;
# the times are in the title.) But by k-NN, SimCLR with a *small* batch is better than both, also with each seed. (By
# the probe, MoCo with 64 pictures is slightly better with one of the three.) So the slides' reason for MoCo, that a
# contrastive method needs thousands of negatives, does not hold at our scale (notebook 03, section 12, came to the same
# result for the batch size). What remains is its price.
#
# *Margin note.* GT19 writes that MoCo's queues "allow training on a large number of negative samples (no TPU
# required!)", and in a summary that MoCo "allows large batch training without TPU". Only the first is right: many
# *negatives*, with a *small* batch.
#
# ## 7. Which negatives count
#
# All negatives are in the denominator, but they do not count equally. Write $s_j = q \cdot k_j$, and let $p_j$ be the
# softmax of $s_j / \tau$ over the positive ($j = 0$) and the $K$ negatives. The loss is
# $-s_0 / \tau + \log \sum_j e^{s_j / \tau}$. Its derivative with respect to one similarity is
#
# $$\frac{\partial \mathcal{L}}{\partial s_j} = \frac{p_j}{\tau} \quad (j \ge 1), \qquad
# \frac{\partial \mathcal{L}}{\partial s_0} = -\frac{1 - p_0}{\tau},$$
#
# and since $s_j = q \cdot k_j$, the gradient on the query is
#
# $$\frac{\partial \mathcal{L}}{\partial q} = \frac1\tau \Big[ \sum_{j \ge 1} p_j\, k_j - (1 - p_0)\, k_0 \Big].$$
#
# A negative pushes the query with the force $p_j / \tau$. The forces of all negatives add up to the force of the
# positive, because $\sum_{j \ge 1} p_j = 1 - p_0$. And $p_i / p_j = e^{(s_i - s_j) / \tau}$: at $\tau = 0.2$, a
# negative whose similarity is 0.46 higher counts ten times as much. So hard negatives carry much more of the gradient
# than their number says. The easy ones are many, but each of them hardly moves the query.

# %%
torch.manual_seed(0)
q = F.normalize(torch.randn(1, 8), dim=1).requires_grad_()
k, others = (
    F.normalize(torch.randn(1, 8), dim=1),
    F.normalize(torch.randn(50, 8), dim=1),
)
moco_loss(q, k, others, 0.2).backward()
similarities = torch.cat([(q * k).sum(1), (q @ others.T)[0]]).detach()
p = (similarities / 0.2).softmax(0)
formula = (p[1:] @ others - (1 - p[0]) * k[0]) / 0.2
torch.testing.assert_close(q.grad[0], formula)
share = p[1:].topk(10).values.sum() / p[1:].sum()
print(f"ten of 50 negatives carry {share:.0%} (20 % if all were equal)")

# %% [markdown]
# **Who are the hardest negatives?** Choose a query. The figure shows its positive and the ten negatives with the
# largest force, out of 2,048 training scenes, with their categories. The percentage is a negative's share of the force
# of all negatives. **Try it.** How many of the ten show the category of the query? What changes at a small temperature?

# %% tags=["fold"]
POOL = 300 if BUDGET == "smoke" else 2048


def pool_of(method):
    with seeded(0):
        view1, view2 = method.views(as_float(train.x[: POOL + 60]))
    return unit(method.online, view1[:60]), unit(method.key, view2), view1, view2


pools = {"random encoder": pool_of(random_moco), "MoCo v2, shipped": pool_of(shipped)}


def draw_hardest(query, encoder, tau):
    q, keys, view1, view2 = pools[encoder]
    scores = q[query] @ keys[60:].T
    force = (scores / tau).softmax(0)
    order = scores.argsort(descending=True)[:10]
    same = train.y[60:][order] == train.y[query]
    captions = [f"query: {train.classes[train.y[query]][:9]}", "its positive"] + [
        f"{train.classes[train.y[60 + i]][:9]} {force[i]:.1%}" for i in order.tolist()
    ]
    return image_grid(
        torch.cat(
            [view1[query : query + 1], view2[query : query + 1], view2[60:][order]]
        ),
        captions,
        columns=6,
        title=f"{encoder}: the ten hardest of {POOL} negatives carry "
        f"{force[order].sum():.0%} of the force;\n{int(same.sum())} of them show the "
        "query's category",
    )


explore(
    draw_hardest,
    query=IntSlider(7, 0, 59),
    encoder=Dropdown(options=list(pools), value="MoCo v2, shipped"),
    tau=FloatLogSlider(value=0.2, min=-1.5, max=0, step=0.1),
)

# %% [markdown]
# Over many queries: the next figure sorts 8,192 negatives of each query by their similarity. For each group of ranks it
# shows how many of them have the category of the query, and which part of the gradient they carry. The encoder is MoCo
# v2 after 500 updates.

# %% tags=["fold"]
hard_rows = experiments.read("moco-hardest")["rows"]
GROUPS = list(hard_rows[0]["gradient"])


def by_group(setting, measure):
    return torch.tensor(
        [list(row[measure].values()) for row in hard_rows if row["setting"] == setting]
    )


def draw_groups():
    figure, axes = subplots(columns=2, height=3.6)
    for ax, measure, ylabel in (
        (axes[0], "same_category", "share with the query's category"),
        (axes[1], "gradient", "share of the negatives' gradient"),
    ):
        for setting, colour, marker in zip(
            ("random encoder", "MoCo v2"), PALETTE, MARKERS
        ):
            found = by_group(setting, measure)
            ax.plot(GROUPS, found.mean(0), marker=marker, color=colour, label=setting)
            ax.plot(
                GROUPS * len(found),
                found.flatten(),
                ".",
                color=colour,
                alpha=0.5,
                ls="",
            )
        ax.set(xlabel="rank of the negative", ylabel=ylabel)
        ax.set_ylim(bottom=0)
    share = (train.y.bincount().double() / len(train)).square().sum().item()
    axes[0].axhline(share, color="#666666", ls=":", label="two random scenes")
    # sizes of the four groups of ranks
    sizes = torch.tensor([10, 90, 900, 7192]) / 8192
    axes[1].plot(GROUPS, sizes, "x", color="#666666", label="share of the negatives")
    for ax in axes:
        ax.legend(fontsize=8)
    figure.suptitle("Negatives by rank, 1,024 queries, 3 seeds")
    return describe(figure, "Category and gradient of negatives by their rank.")


draw_groups()

# %% [markdown]
# After training, the negatives are very unequal. The ten hardest are *more* similar to the query than the positive is,
# on average (0.86 against 0.67), so the task is far from solved. The 1,000 hardest negatives are an eighth of all, and
# they carry almost two thirds of the gradient. The ten hardest are 0.1 % of all and carry 3 %, about 26 times their
# share. In the random encoder all negatives count nearly the same.
#
# And the hardest ones are special. Of the ten hardest, 29 % have the category of the query (17 to 19 % in the random
# encoder, 13 % of two random scenes). The same *emoji*, in the query's style or in another one, is 2.2 to 2.6 % of the
# ten hardest. That is about fifty times its share among the ranks above 1,000. It is a success of the representation
# that these are near. The loss counts them as errors.
#
# ## 8. MoCHi: make hard negatives
#
# ENS asks *How to make the task harder?* and answers with better positives and better negatives. Its observation: after
# a few updates, there are very few hard negatives. A longer queue contains more of them, but also many more easy ones.
# MoCHi (Kalantidis et al. 2020) *makes* hard negatives, from those that there are. Take two of the hardest negatives of
# a query, and mix them:
#
# $$\tilde h_k = \alpha_k\, n_i + (1 - \alpha_k)\, n_j, \qquad h_k = \tilde h_k / \lVert \tilde h_k \rVert, \qquad
# \alpha_k \in (0, 1).$$
#
# Why is the mixture hard? Its similarity with the query is
# $q \cdot h_k = (\alpha_k s_i + (1 - \alpha_k)\, s_j) / \lVert \tilde h_k \rVert$. The length of a mixture of two unit
# vectors is at most 1. So for positive similarities, the mixture is at least as similar to the query as the weighted
# mean of its parents, and sometimes more similar than both.
#
# *Margin note.* ENS shows only mixtures of two negatives. The paper has a second kind: mixtures of a negative with the
# *query itself*, with at most half of the weight for the query. They are harder than the negative itself.


# %%
def mix_by_hand(n_i, n_j, alpha):
    mixture = alpha * n_i + (1 - alpha) * n_j
    return mixture / mixture.square().sum().sqrt()


torch.manual_seed(0)
q = F.normalize(torch.randn(3, 8), dim=1)
near = hardest(q, F.normalize(torch.randn(100, 8), dim=1), 10)  # (3, 10, 8)
alpha = torch.rand(3, 1)
mixed = mix(near[:, 0], near[:, 1], alpha)  # the two hardest of each query
for row in range(3):
    by_hand = mix_by_hand(near[row, 0], near[row, 1], alpha[row])
    torch.testing.assert_close(mixed[row], by_hand)
parents = torch.einsum("nd,nkd->nk", q, near[:, :2])
print("similarity of the two parents and of their mixture:")
print(torch.cat([parents, (q * mixed).sum(1, keepdim=True)], 1))
show(MoCHi.mixtures, after="exercise 6")

# %% [markdown]
# How hard are the mixtures for a trained network? Here are the similarities of queries with their positives, with all
# negatives of section 7, with the hardest eighth of them, and with both kinds of mixtures.

# %% tags=["fold"]
q, keys, _, _ = pools["MoCo v2, shipped"]  # of section 7
k, negatives = keys[:60], keys[60:]
maker = recipes.build(recipes.lookup("mochi"), seed=0)
maker.queue.keys, maker.hard = negatives, POOL // 8
with seeded(0):
    mixtures = torch.einsum("nd,nsd->ns", q, maker.mixtures(q))
groups = {
    "all negatives": q @ negatives.T,
    f"the {maker.hard} hardest": (q @ negatives.T).topk(maker.hard, 1).values,
    "mixtures of two": mixtures[:, : maker.pairs],
    "mixtures with the query": mixtures[:, maker.pairs :],
    "positives": (q * k).sum(1),
}
figure, ax = subplots(height=3.6)
for place, (name, values) in enumerate(groups.items()):
    low, middle, high = values.flatten().quantile(torch.tensor([0.05, 0.5, 0.95]))
    ax.plot([low, high], [place, place], color=PALETTE[place], lw=3)
    ax.plot(middle, place, MARKERS[place], color=PALETTE[place], ms=9)
ax.set_yticks(range(len(groups)), list(groups))
ax.invert_yaxis()
ax.set(
    xlabel="similarity with the query: 5 % to 95 %, and the median",
    title="How hard are the negatives? MoCo v2, 60 queries",
)
describe(figure, "Similarities of negatives, mixtures and positives with the query.")

# %% [markdown]
# The mixtures have no gradient of their own: they are constants for the loss, like the keys in the queue. They cost one
# sort and a few products, and no additional pass through a network. Train MoCHi for a moment:

# %%
mochi = recipes.build(recipes.lookup("mochi"), seed=0)
for step in training("mochi", mochi, SHORT):
    pass

# %% [markdown]
# MoCHi's denominators contain more terms, and harder ones. So its loss is higher than MoCo's, and it must not be
# compared with it. What can be compared are measures on the same negatives. The next figure follows three methods over
# 400 updates: k-NN on validation scenes, the share of validation queries whose own key is the best, and how much of the
# negatives' gradient the 64 hardest of 976 carry.

# %% tags=["fold"]
course = experiments.read("mochi-training")["rows"]


def draw_course():
    figure, axes = subplots(columns=3, height=3.4)
    for ax, measure, title in zip(
        axes,
        ("knn", "pretext", "top_64"),
        ("k-NN accuracy", "own key found", "share of the 64 hardest"),
    ):
        for k, setting in enumerate(dict.fromkeys(row["setting"] for row in course)):
            of_it = [row["curve"] for row in course if row["setting"] == setting]
            seeds = torch.tensor([found[measure] for found in of_it])
            line_with_range(ax, of_it[0]["update"], seeds, k, setting, ms=4)
        ax.set(xlabel="update", title=title)
    axes[0].legend(fontsize=7)
    return describe(figure, "Three measures during the training of MoCo and MoCHi.")


display(draw_course())
bars_with_spread(
    experiments.values("mochi-training", "probe"),
    xlabel="linear probe accuracy",
    title="MoCo v2 and MoCHi after 400 updates of 128 pictures, 3 seeds",
)

# %% [markdown]
# First look at MoCo alone. At the start, the 64 hardest negatives have 7 % of the gradient, which is their share of all
# 976 negatives. After 361 updates they have nearly half of it. ENS's observation holds here: as training goes on, few
# negatives remain hard. MoCHi does what it should: with each seed, its last share is lower than MoCo's, by two to two
# and a half points, and the validation queries find their own keys somewhat more often. But the representation does not
# gain. k-NN is nearly the same, and the probe is lower on average, though not with each seed. MoCHi pushes hardest
# where section 7 found the most false negatives. (In the paper, too, the linear probe on ImageNet gains little; the
# authors stress the gains for boxes. They train for a hundred epochs or more; our 400 updates are less than three.)
#
# ## 9. False negatives and labels
#
# Section 7 showed that among the hardest negatives, the category of the query is more frequent than by chance. They are
# **false negatives**: the loss pushes them away, although they are similar for a good reason. Hard and false go
# together. So a method that looks for harder negatives also finds more false ones.
#
# **Without labels: the debiased loss.** Suppose that a random picture has the class of the query with probability
# $\eta$. A key of the queue is then drawn from a mixture, $p = \eta\, p^+ + (1 - \eta)\, p^-$. Write $e_j =
# \exp(q \cdot k_j / \tau)$. The mean over the queue estimates $\mathbb{E}_p\, e$. We want the mean over true negatives.
# Solve the mixture for it:
#
# $$\mathbb{E}_{p^-}\, e = \frac{\mathbb{E}_p\, e - \eta\, \mathbb{E}_{p^+}\, e}{1 - \eta}
# \;\approx\; \frac{\frac1K \sum_j e_j - \eta\, e_0}{1 - \eta},$$
#
# where the only known draw from $p^+$ is the positive itself, $e_0$. The denominator of the loss is then $e_0$ plus $K$
# times this estimate, which is kept above its smallest possible value, $e^{-1 / \tau}$. (Chuang et al. 2020; notebook
# 03, section 6, has the version for the batch, and section 12 its results.) A toy example checks the formula: the
# similarities of true negatives are around 0, those of false ones around 0.8.

# %%
torch.manual_seed(0)
eta, tau, K = 0.1, 0.2, 100_000
false = torch.rand(K) < eta
s = torch.where(false, 0.8, 0.0) + 0.1 * torch.randn(K)
e, e_positive = (s / tau).exp(), ((0.8 + 0.1 * torch.randn(K)) / tau).exp()
true_mean = e[~false].mean()
debiased = (e.mean() - eta * e_positive.mean()) / (1 - eta)
print(
    f"mean over the queue {e.mean():.2f}, over its true negatives {true_mean:.2f}, "
    f"debiased estimate {debiased:.2f}"
)
# within four standard errors of the difference
error = 4 * (e.std() + eta * e_positive.std()) / (1 - eta) / K**0.5
assert abs(debiased - true_mean) < error

# %% [markdown]
# One false negative in ten makes the mean several times as large as it should be, because the false ones are hard.
#
# **With some labels.** REP notes that the contrastive loss works in a semi-supervised setting, too: "some samples are
# annotated, others not". How? Notebook 03 has the supervised contrastive loss (SupCon): all views of a class are
# positives. Now give each picture *without* a label a class of its own. Its only positive is then its other view, and
# the same loss covers both kinds of pictures.

# %%
labels = torch.tensor([2, UNLABELLED, 2, UNLABELLED])
print("classes:", own_classes(labels).tolist())
torch.manual_seed(0)
z1, z2 = F.normalize(torch.randn(2, 4, 8), dim=2)
z = torch.cat([z1, z2])  # view i of picture i % 4
log_p = (z @ z.T / 0.1).fill_diagonal_(-torch.inf).log_softmax(1)
positives = {0: [2, 4, 6], 1: [5], 2: [0, 4, 6], 3: [7]}
positives |= {i + 4: [(j + 4) % 8 for j in positives[i]] for i in range(4)}
by_hand = -torch.stack([log_p[i, positives[i]].mean() for i in range(8)]).mean()
torch.testing.assert_close(
    by_hand, supervised_contrastive(z1, z2, own_classes(labels), 0.1)
)

# %%
show(PartlyLabelled.loss)

# %% [markdown]
# An unlabelled picture may still show the class of a labelled one. Then it is a false negative, as before. The next
# figure labels a share of the emoji, with all their scenes, and trains on all pictures. A linear classifier on the
# frozen features then gets the labelled scenes only. The comparison trains the same network, with a classifier, on the
# labelled scenes only (notebook 03, section 12). The second figure measures the representations by k-NN.

# %% tags=["fold"]
alone = {
    share: experiments.values("simclr-labels", share)["supervised from scratch"]
    for share in ("1%", "10%", "100%")
}
partly = experiments.values("partly-labelled-share", "labelled_only")
bars = {}
for share in partly:
    bars[f"{share}: all pictures, then a classifier"] = partly[share]
    if share in alone:
        bars[f"{share}: labelled pictures only"] = alone[share]
display(
    bars_with_spread(
        bars,
        xlabel="accuracy on test scenes",
        title="Share of labelled emoji. All pictures: 200 updates; labelled: 600",
    )
)
bars_with_spread(
    {
        f"{share} labelled": found
        for share, found in experiments.values("partly-labelled-share").items()
    },
    xlabel="k-NN accuracy, with the labels of all training scenes",
    title="The representation itself, 200 updates of 128 pictures, 3 seeds",
)

# %% [markdown]
# With labels for 1 % or 10 % of the emoji, the representation is the same as without labels. A batch of 128 pictures
# then has about one or thirteen labelled ones, so there are hardly any additional positives. With half of the labels,
# k-NN and probe are higher with each seed. With all labels the probe is higher with each seed, and k-NN with two of
# three. But look at the first figure: the network that uses *only* the labelled pictures is better at each share where
# we have both. It is trained three times as long, and its loss asks for the classes directly. So in runs as short as
# ours, the mixture is no bargain. In notebook 03, section 12, a longer run of SimCLR on all pictures used the labels
# only afterwards. With 1 % of them, a linear classifier on its frozen features was as good as training on the labels
# alone. Fine-tuned, it was better at every share and with every seed.
#
# ## 10. PIRL: invariant, not covariant
#
# A pretext task such as Jigsaw (notebook 01, section 6) shuffles the tiles of a picture and asks *how* they were
# shuffled. To answer, the features must change with the transformation: they are **covariant**. PIRL (Misra and van der
# Maaten 2019; the name stands for pretext-invariant representation learning) turns the task round. The features of a
# picture $I$ and of its transformed version $I^t$ should be *the same*: **invariant**. The transformation is used as an
# augmentation, and its answer is thrown away.
#
# PIRL's negatives come from a memory bank with one row $m_I$ for each picture (notebook 03, section 10). The row is a
# moving average of the features of the picture *itself*, never of its transformed version. Both are compared with it:
#
# $$\mathcal{L} = \lambda\, \mathcal{L}_{NCE}(m_I, g(v_{I^t})) + (1 - \lambda)\, \mathcal{L}_{NCE}(m_I, f(v_I)),$$
#
# where $v$ is the output of the encoder, and $f$ and $g$ are two heads. The second term keeps the row stable; it is the
# loss of instance discrimination. $\mathcal{L}_{NCE}$ adds to InfoNCE a term for each negative, with $p$ the softmax
# over the own row and the negatives:
#
# $$\mathcal{L}_{NCE} = -\log p_{\text{own}} - \sum_k \log(1 - p_k).$$
#
# *Margin note.* GT19 lists PIRL in *Semi-supervised learning on SimCLR features*: top-5 accuracy 57.2 % and 83.8 % on
# ImageNet with 1 % and 10 % of the labels. That is more than instance discrimination (39.2, 77.4) and less than SimCLR
# (75.5, 87.8).


# %%
def pirl_by_hand(v, own, others, tau):
    e_own, e_others = torch.exp(v @ own / tau), torch.exp(others @ v / tau)
    total = e_own + e_others.sum()
    return -torch.log(e_own / total) - torch.log(1 - e_others / total).sum()


torch.manual_seed(0)
rows_of_bank, v = (
    F.normalize(torch.randn(30, 8), dim=1),
    F.normalize(torch.randn(8), dim=0),
)
torch.testing.assert_close(
    pirl_by_hand(v, rows_of_bank[3], rows_of_bank[10:], 0.2),
    pirl_nce(v[None], rows_of_bank, torch.tensor([3]), torch.arange(10, 30), 0.2),
)
show(PIRL.loss)

# %% [markdown]
# For many negatives the additional term is small: each $p_k$ is small, $-\log(1 - p_k) \approx p_k$, and the $p_k$ sum
# to $1 - p_{\text{own}}$. So it is at most about one nat. For jigsaw, $g$ gets nine tiles: each is encoded alone, then
# all are put together in a random order.

# %% tags=["fold"]
with seeded(0):
    examples = as_float(train.x[:6])
    puzzle = F.pad(shuffled(examples), (4, 4, 4, 4), value=1.0)
image_grid(
    torch.cat([examples, puzzle]),
    columns=6,
    title="Six scenes I, and their tiles in a random order, I^t",
)

# %%
pirl = recipes.build(recipes.lookup("pirl"), seed=0)
for step in training("pirl", pirl, SHORT):
    pass

# %% [markdown]
# Two questions, as in the paper. *How many permutations?* Jigsaw gets harder with more of them, because each is a
# class. PIRL does not need to tell them apart. *Is the representation invariant?* The second figure shows the mean
# distance between the features of a test scene and of the same scene with shuffled tiles, and with a quarter turn. It
# is divided by the distance of two different scenes. 0 means invariant, 1 means as different as another scene.

# %% tags=["fold"]
counts = (4, 1000)


def draw_permutations():
    figure, axes = subplots(columns=2, height=3.4)
    for ax, measure, ylabel in zip(
        axes, ("knn", "probe"), ("k-NN accuracy", "linear probe accuracy")
    ):
        found = experiments.values("pirl-permutations", measure)
        for k, name in enumerate(("Jigsaw", "PIRL")):
            seeds = torch.tensor([found[f"{name}, {n}"] for n in counts]).T
            line_with_range(ax, counts, seeds, k, name)
        baseline = max(experiments.values("pirl", measure)["random encoder"])
        ax.axhline(
            baseline, color="#666666", ls=":", label="random encoder (best seed)"
        )
        ax.set_xscale("log")
        ax.set(xlabel="number of permutations", ylabel=ylabel)
    axes[0].legend(fontsize=8)
    figure.suptitle("200 updates of 128 pictures; mean and range of 3 seeds")
    return describe(figure, "Accuracy of Jigsaw and PIRL by number of permutations.")


display(draw_permutations())
others = experiments.values("pirl-distances", "others")
for measure, what in (("shuffled", "shuffled tiles"), ("rotated", "a quarter turn")):
    ratio = {
        name: [a / b for a, b in zip(values, others[name])]
        for name, values in experiments.values("pirl-distances", measure).items()
    }
    display(
        bars_with_spread(
            ratio,
            xlabel="distance, divided by that of two different scenes",
            title=f"The same scene with {what}, 3 seeds (RotNet, Jigsaw: one)",
        )
    )

# %% [markdown]
# *Permutations.* With four permutations, Jigsaw is solved almost always after 200 updates. With 1,000 it is hardly ever
# solved. PIRL is better than Jigsaw in both cases, by both measures and with each seed, and the number of permutations
# makes no difference to it.
#
# *Distances.* RotNet must know the rotation. Its features of a rotated scene are at 82 % of the distance of another
# scene (one run, the shipped weights). PIRL with rotations brings them to a fifth or a quarter of the distance of
# another scene. A surprise: PIRL with *jigsaw* is also more invariant to rotation than RotNet and than the random
# encoder, although it never saw a rotated picture. And PIRL with rotations is the most invariant to shuffled tiles. One
# reason is that the denominator is larger: contrastive training moves *different* scenes far apart. Jigsaw, on the
# other hand, is not invariant to shuffled tiles at all (also one run; RotNet and Jigsaw were trained for 1,400 and
# 1,100 updates, PIRL for 400).
#
# ## 11. How different should two views be?
#
# ENS calls it a key observation: a harder pretext task generalises better. Can it be too hard? Two views share some
# information, $I(v_1; v_2)$. If they share *everything*, the task can be solved by anything, by colours or noise. If
# they share *nothing*, nothing can be learnt. Tian et al. (2020, *InfoMin*) conclude that the best views share what the
# task needs, and no more. So accuracy over shared information should look like an inverted U.
#
# The first way to vary it: two crops of 16 x 16 pixels at a fixed distance, and no other augmentation. **Try it.** From
# which distance do you yourself no longer see that the crops belong together? The title shows what was measured for
# this distance.

# %% tags=["fold"]
OFFSETS = [int(offset) for offset in experiments.values("infomin-crops")]


def means_of(name, offset):
    found = experiments.values(name, "bound")[offset]
    accuracy = experiments.values(name, "knn")[offset]
    return sum(found) / len(found), sum(accuracy) / len(accuracy)


with torch.no_grad():
    pairs = {}
    for offset in OFFSETS:
        with seeded(3):
            maker = crops_at(offset)
            pairs[offset] = [
                maker.views(as_float(train.x[i : i + 1]).expand(5, -1, -1, -1))
                for i in range(12)
            ]


def draw_crops(picture, distance):
    first, second = pairs[distance][picture]
    scene = F.interpolate(as_float(train.x[picture : picture + 1]), 16, mode="area")
    bound, accuracy = means_of("infomin-crops", str(distance))
    row1, row2 = torch.cat([scene, first]), torch.cat([scene, second])
    captions = ["scene"] + ["view 1"] * 5 + ["scene"] + ["view 2"] * 5
    return image_grid(
        torch.cat([row1, row2]),
        captions,
        columns=6,
        title=f"Crops {distance} pixels apart in both directions: at least {bound:.1f} "
        f"nats shared, k-NN {accuracy:.3f}",
    )


explore(
    draw_crops,
    picture=IntSlider(2, 0, 11),
    distance=SelectionSlider(options=OFFSETS, value=8),
)

# %% [markdown]
# The second way: crops and flips as usual, and a jitter of the colours whose strength varies from none to very strong.
# The shared information is estimated from below, by $\log(K + 1) - \mathcal{L}$ on test scenes (notebook 03, section
# 4).

# %% tags=["fold"]


def draw_infomin(name, xlabel):
    found = {
        measure: experiments.values(name, measure)
        for measure in ("bound", "knn", "probe")
    }
    settings = list(found["knn"])
    figure, axes = subplots(columns=2, height=3.5)
    for ax, x_is_bound in zip(axes, (False, True)):
        for measure, colour, marker, label in (
            ("knn", PALETTE[0], MARKERS[0], "k-NN"),
            ("probe", PALETTE[1], MARKERS[1], "linear probe"),
        ):
            seeds = torch.tensor([found[measure][setting] for setting in settings])
            bound = torch.tensor([found["bound"][setting] for setting in settings])
            x = bound.mean(1) if x_is_bound else torch.arange(len(settings))
            ax.plot(x, seeds.mean(1), marker=marker, color=colour, label=label)
            at = bound if x_is_bound else x[:, None].expand(-1, seeds.shape[1])
            ax.plot(at, seeds, ".", color=colour, alpha=0.5, ls="")
        for measure, colour in (("knn", PALETTE[0]), ("probe", PALETTE[1])):
            baseline = experiments.values("moco-v2", measure)["random encoder"]
            ax.axhline(sum(baseline) / 3, color=colour, ls=":", lw=1)
        ax.set(ylabel="accuracy (dotted: random encoder)")
    axes[0].set_xticks(range(len(settings)), settings)
    axes[0].set(xlabel=xlabel)
    axes[1].set(xlabel="bound on the shared information, nats")
    for setting, b, value in zip(
        settings,
        torch.tensor([found["bound"][s] for s in settings]).mean(1).tolist(),
        torch.tensor([found["knn"][s] for s in settings]).mean(1).tolist(),
    ):
        axes[1].annotate(
            setting, (b, value), (0, 6), textcoords="offset points", fontsize=8
        )
    axes[0].legend(fontsize=8)
    figure.suptitle("200 updates of 128 pictures; mean and 3 seeds")
    return describe(figure, f"Accuracy over {xlabel} and over the shared information.")


display(draw_infomin("infomin-crops", "distance of the crops in pixels"))
display(draw_infomin("infomin-colour", "strength of the colour jitter"))

# %% [markdown]
# **Crops: an inverted U, clearest by the probe.** Two equal crops share the most. What is learnt from them is a little
# better than the random encoder by k-NN, and on average a little worse by the probe. The linear probe is best at a
# distance of 8 pixels, where a quarter of each crop is common to both: with every seed it is higher there than at any
# other distance. At 12 and 16 pixels it is 1.4 to 3.3 points lower. By k-NN, the distances from 4 to 16 do not differ
# clearly: each seed has another best one. At 16 pixels the crops only touch at a corner, and the bound is nearly 0.
# Still the features are clearly better than random ones: a little shared information is enough to learn from. (The
# bound is a lower bound, measured on test emoji. And at larger distances there are fewer places for the crops; at 16
# they always lie in the corners.)
#
# **Colours: no U.** From no jitter to 0.3, and from 0.3 to 1.0, both measures fall with each seed. From 1.0 to 3.0
# there is no clear change: the features are then on average only one or two points better than random ones, and not
# with each seed by both measures. (At 3.0 the bound is below 0. Information cannot be negative, but a lower bound of it
# can.) A possible reason: the categories of our emoji have typical colours, so the jitter removes what the task needs,
# while crop and flip alone already make the views different enough. The rule is the same in both figures: good views
# keep what the task needs. But which task? The strength of an augmentation is a statement about what will be asked of
# the features later.
#
# ## 12. MoCo v3: without a queue, with a transformer
#
# MoCo v3 goes back to the batch. With several thousand pictures in a batch, the keys of the batch are enough, and the
# queue disappears. What remains of MoCo is the slow key encoder. Two things are new. A **predictor**, a small MLP,
# stands behind the projector of the query network, as in BYOL (notebook 08, section 2). And the loss is
# **symmetric**: each view is a query once and a key once.
#
# $$\mathcal{L} = \mathrm{ctr}(q_1, k_2) + \mathrm{ctr}(q_2, k_1), \qquad
# \mathrm{ctr}(q, k) = -2 \tau \, \frac1N \sum_i
# \log \frac{\exp(q_i \cdot k_i / \tau)}{\sum_j \exp(q_i \cdot k_j / \tau)}.$$
#
# Here all other keys of the batch *are* negatives. The factor $2 \tau$ cancels the $1 / \tau$ of the gradient (section
# 7), so its size depends less on the temperature. The part that pulls a pair together is then $-2\, q \cdot k$, as in
# BYOL, whose loss is $\lVert q - k \rVert^2 = 2 - 2\, q \cdot k$.

# %%
torch.manual_seed(0)
q1, q2, k1, k2 = F.normalize(torch.randn(4, 6, 8), dim=2)


def ctr(q, k, tau):
    losses = []
    for i in range(len(q)):
        exps = [torch.exp(q[i] @ key / tau) for key in k]
        losses.append(-2 * tau * torch.log(exps[i] / sum(exps)))
    return torch.stack(losses).mean()


torch.testing.assert_close(
    ctr(q1, k2, 0.2) + ctr(q2, k1, 0.2), moco_v3_loss(q1, k2) + moco_v3_loss(q2, k1)
)
equal = q1[:1].expand(6, -1)  # equal rows
torch.testing.assert_close(moco_v3_loss(equal, equal), torch.tensor(0.4 * math.log(6)))
show(MoCoV3.loss, after="exercise 8")

# %% [markdown]
# The paper's subject is another one: *vision transformers are unstable to train*. In large batches the authors see
# sudden dips of the accuracy. They trace them to the first layer, the patch embedding (also called the stem), whose
# gradient spikes first. Their remedy is simple: the **patch embedding stays random** and is not trained.

# %%
v3 = recipes.build(recipes.lookup("moco-v3"), seed=0)
frozen = {n for n, p in v3.encoder.named_parameters() if not p.requires_grad}
print("not trained:", ", ".join(sorted(frozen)))
for step in training("moco-v3", v3, SHORT):
    pass

# %% [markdown]
# With equal similarities the loss is $2 \tau \log N$ for each of the two terms, together 3.9 for 128 pictures. At the
# start it is a little higher. Section 5 has the result of 500 updates with three seeds: k-NN and probe are above those
# of the random transformer of the same seed. Our batches of 128 pictures show no dips, so we cannot test whether the
# frozen patch embedding is needed; the paper sees the dips with batches of thousands. Our transformer differs from the
# paper's in two ways: its patch embedding consists of three convolutions (notebook 08, section 7), and its output is
# the mean of the patch tokens.
#
# ## 13. Pitfalls
#
# - **Keys before the loss.** If the keys of the batch enter the queue before the loss is computed, each query has its
#   own positive among the negatives. The loss then cannot fall below $\log 2$.
# - **Gradient through the queue.** Keys are constants. Without `detach` (or `no_grad`), the graph of each batch stays
#   in memory as long as its keys are in the queue.
# - **The moving average before the gradient step** makes the keys one update older than they should be. The result is
#   hardly different, so only a test of the order finds this error.
# - **A key encoder in eval mode** normalises by running statistics that no one updates, or by those of another network.
#   Here it is in train mode, and BatchNorm uses the statistics of the batch of keys.
# - **Comparing losses.** A loss with another K, another temperature or mixed negatives has another scale.
# - **Momentum by habit.** 0.999 fits a million updates. In a run of 200 updates it keeps most of the random start. Here
#   this did not lower the accuracy, but such keys hardly improve.
# - **One measure.** In section 6 the boxes show a difference that the classes do not show.
#
# ## 14. What to try next
#
# **Exercises**: [`exercises/04_momentum_contrast.ipynb`](../exercises/04_momentum_contrast.ipynb), each checked when
# you run the cell below it.
#
# Let the queue of the film hold 1,024 keys, and the film run for 100 updates. Which momentum do its oldest keys need?
# Use the model of section 4 first. Give MoCHi mixtures of the *easiest* negatives. Train MoCo with only the keys of its
# queue that have ranks 11 to 4,096 for each query, so that the ten hardest are left out. Does it help against false
# negatives?
#
# Notebook 08 goes further and leaves out the negatives. Planned: CPC in 05, text as the other view (CLIP) in 06.
#
# ## 15. What to read
#
# He, Fan, Wu, Xie, Girshick 2019, *Momentum Contrast for Unsupervised Visual Representation Learning* ([arXiv
# 1911.05722](https://arxiv.org/abs/1911.05722)). Chen, Fan, Girshick, He 2020, *Improved Baselines with Momentum
# Contrastive Learning* ([arXiv 2003.04297](https://arxiv.org/abs/2003.04297)). Chen, Xie, He 2021, *An Empirical Study
# of Training Self-Supervised Vision Transformers* ([arXiv 2104.02057](https://arxiv.org/abs/2104.02057)). Kalantidis et
# al. 2020, *Hard Negative Mixing for Contrastive Learning* ([arXiv 2010.01028](https://arxiv.org/abs/2010.01028)).
# Misra and van der Maaten 2019, *Self-Supervised Learning of Pretext-Invariant Representations* ([arXiv
# 1912.01991](https://arxiv.org/abs/1912.01991)). Tian et al. 2020, *What Makes for Good Views for Contrastive
# Learning?* ([arXiv 2005.10243](https://arxiv.org/abs/2005.10243)). Chuang et al. 2020, *Debiased Contrastive Learning*
# ([arXiv 2007.00224](https://arxiv.org/abs/2007.00224)). Khosla et al. 2020, *Supervised Contrastive Learning* ([arXiv
# 2004.11362](https://arxiv.org/abs/2004.11362)). Wu et al. 2018, *Unsupervised Feature Learning via Non-Parametric
# Instance Discrimination* ([arXiv 1805.01978](https://arxiv.org/abs/1805.01978)).
