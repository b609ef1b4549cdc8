# %% [markdown]
# # Exercises 00. Representations
#
# **Eight short exercises. At the end, your code finds the emoji in a picture.** You find the neighbours of several words in
# an embedding, let neighbours vote, and take a step of a linear probe and one of k-means with weights. You measure what a
# representation notices and how many directions it uses, score a mask, and report a result so that others can trust it.
#
# **You need** notebook 00, the lecture. Each exercise names its part of the lecture.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check tests your answer on a
# few small cases. If the answer is wrong, the check says how, and often names the likely mistake. *The check is not the
# final mark*. The mark comes from other cases, with other shapes and other values. So write what the formula says, not
# what makes these few cases pass. The library's own functions are not available when you are marked, so write the
# answer yourself, with torch.
#
# *Run All* works from the start. An answer that you have not written yet is reported as "to do". When your notebook is
# marked, only definitions count: imports, functions, classes, constants. Answers are found by their names, so keep the
# names. Everything else that you need (a helper, another import) may stand in any cell. No answer draws random numbers.
# Random values come in as arguments. Compute in the dtype of the arguments: some float64 cases go wrong in float32. Before you
# hand in, run `python -m course_lib check NOTEBOOK`. It runs the public
# cases on your file, which it reads as the grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Neighbours of several words | 5 | 10 | ★ |
# | 2. The majority of the neighbours | 6 | 15 | ★★ |
# | 3. One step of a linear probe | 6 | 15 | ★★ |
# | 4. One step of weighted k-means | 6 | 10 | ★★ |
# | 5. What a representation notices | 4 | 10 | ★ |
# | 6. How many directions it uses | 4 | 10 | ★ |
# | 7. How good a mask is | 4 | 10 | ★ |
# | 8. The number you report | 5 | 10 | ★★ |
# | **together** | **40** | **90** | |
#
# The first line of each check must be right before the other lines count.

# %%
import torch
import torch.nn.functional as F

from course_lib.notebook import budget, checks, image_grid

check = checks("00_representations")

# %% [markdown]
# ## 1. Neighbours of several words
#
# *The lecture, section 3: from one-hot vectors to embedding vectors.*
#
# A one-hot vector names a word and says nothing else, because any two different words are equally far apart. In an
# embedding, words with similar use have vectors $t_w$ with similar directions. Which words are near to *several* given
# words, such as *moon* and *night*? Let $G$ be the M given words. The neighbours are the words $v \notin G$ with the
# largest mean cosine
#
# $$s_v = \frac1M \sum_{w \in G} \cos(t_w, t_v), \qquad
# \cos(t_w, t_v) = \frac{t_w^\top t_v}{\lVert t_w\rVert\, \lVert t_v\rVert}.$$
#
# The nearest word comes first. Where two words are equally near (with one-hot vectors, most of them are), the lower index
# comes first, so that everybody gets the same answer. A synonym with exactly the same row as a given word may be a neighbour,
# but no given word is one.
#
# *10 minutes, ★.* Points: 3 right neighbours, 1 arguments left alone, 1 order of equals.


# %% nbgrader={"grade": false, "grade_id": "nearest_words", "locked": false, "schema_version": 3, "solution": true, "task": false}
def nearest_words(table, given, k):
    """The k words that are most similar to the given words, by the mean of the cosines.

    table (V, D), float32 or float64: row v is the vector of word v, with a length
    greater than 0. given (M,): different whole numbers from 0 to V - 1, in any order.
    k: a whole number from 1 to V - M. Returns (k,), whole numbers: the other words with
    the largest mean cosines, largest first. Words with equal mean cosines are in
    ascending order.
    """
    ### BEGIN SOLUTION
    unit = F.normalize(table, dim=1)
    similarity = unit @ unit[given].mean(0)  # (V,)
    similarity[given] = -torch.inf
    return similarity.argsort(descending=True, stable=True)[:k]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_nearest_words", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(nearest_words)
### BEGIN HIDDEN TESTS
assert check(nearest_words).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Scale the rows to unit length. Then `unit @ unit[given].T` has the cosines of all words with each given word, (V, M). Which
# similarity must a given word get, so that it is never among the first?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `topk` promises nothing about the order of equal values. A stable sort does: `argsort(descending=True, stable=True)`.
#
# </details>

# %% [markdown]
# ## 2. The majority of the neighbours
#
# *The lecture, section 1: k-NN. There the votes are weighted, and "near" is measured by the cosine. Here all votes
# count the same, and "near" is measured by the Euclidean distance.*
#
# How good is a representation? The simplest question is: are things of one class near each other? The k training rows nearest
# to a test row $t$, by the Euclidean distance $\lVert t - x_i\rVert$, have one vote each, and the class with most votes wins.
# Nothing is trained, so the vote uses only information that was in the features already.
#
# Votes can tie, with k = 2 or with three classes. Then compare the nearest voter of each tied class. The class whose voter is
# nearest to $t$ wins. No two distances are equal here.
#
# *15 minutes, ★★.* Points: 3 right classes, 1 arguments left alone, 2 ties.


# %% nbgrader={"grade": false, "grade_id": "majority_vote", "locked": false, "schema_version": 3, "solution": true, "task": false}
def majority_vote(train, labels, test, k):
    """k nearest neighbours by Euclidean distance, one vote each.

    train (N, D), test (M, D): features, float32 or float64, both of one dtype. labels
    (N,): whole numbers from 0, the classes of the training rows. k: a whole number from
    1 to N. Returns (M,), whole numbers: the class with most votes among the k nearest
    training rows; of classes that tie, the one with the nearest voter.
    """
    ### BEGIN SOLUTION
    nearest = torch.cdist(test, train).argsort(1)[:, :k]  # (M, k), nearest first
    votes = F.one_hot(labels)[nearest].sum(1)  # (M, C)
    # (M, k): how many votes each voter's class has
    own = votes.gather(1, labels[nearest])
    # argmax: the first of several, so the nearest
    return labels[nearest.gather(1, own.argmax(1, keepdim=True))[:, 0]]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_majority_vote", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(majority_vote)
### BEGIN HIDDEN TESTS
assert check(majority_vote).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.cdist(test, train)` has all distances, (M, N). Sort each row, keep the first k indices, look up their labels:
# (M, k), nearest first. A loop over the M test rows is fine.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For ties, do not count the votes of each class. For each voter, in order, count the votes of the voter's class. The first
# voter whose count is the largest belongs to the class you are looking for. `argmax` returns the first of several largest
# values. `mode` would take the smallest label instead.
#
# </details>

# %% [markdown]
# ## 3. One step of a linear probe
#
# *The lecture, section 8: the linear probe.*
#
# A linear probe is a small classifier that is trained on frozen features. It has one matrix W and one bias b. Its
# gradient is short enough to write down, so here is a step of gradient descent without autograd. Take features $X$, (N,
# D), one-hot labels $Y$, (N, C), and the probabilities $P$, the softmax of each row of $XW + b$. The step is
#
# $$W \leftarrow W - \eta \left( \tfrac1N X^\top (P - Y) + \lambda W \right), \qquad
# b \leftarrow b - \eta\, \tfrac1N \sum_{i=1}^{N} (p_i - y_i),$$
#
# where $p_i, y_i$ are rows of $P, Y$, $\eta$ is the learning rate and $\lambda$ is the weight decay. The term $\lambda W$ is
# the gradient of $\tfrac\lambda2 \lVert W\rVert^2$. The bias is not decayed. The new W and the new b are both computed from
# the old W and b.
#
# Features of a network may be large, and then the logits are large, too. They must not turn the step into NaN.
#
# *15 minutes, ★★.* Points: 3 right step, 1 arguments left alone, 1 classes without rows, 1 large logits.


# %% nbgrader={"grade": false, "grade_id": "probe_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def probe_step(x, labels, weight, bias, rate, decay):
    """One step of gradient descent for softmax regression with weight decay.

    x (N, D), weight (D, C), bias (C,): float32 or float64, all of one dtype. labels
    (N,): whole numbers from 0 to C - 1; some class may have no row. rate, decay:
    numbers >= 0. Returns the new weight (D, C) and the new bias (C,), in this order, as
    new tensors.
    """
    ### BEGIN SOLUTION
    error = (x @ weight + bias).softmax(1) - F.one_hot(labels, len(bias))  # (N, C)
    new_weight = weight - rate * (x.T @ error / len(x) + decay * weight)
    return new_weight, bias - rate * error.mean(0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_probe_step", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(probe_step)
### BEGIN HIDDEN TESTS
assert check(probe_step).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First compute the error $P - Y$, (N, C), one number for each row and class. The gradient of the bias is the mean of the
# error over the rows. The gradient of the weight is a matrix product. Its shape, (D, C), tells you what to transpose.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The largest label decides how many columns `F.one_hot(labels)` has, but `F.one_hot(labels, C)` has C. And `softmax`
# subtracts each row's maximum before it takes an exponential. If you write $e^{x} / \sum e^{x}$ yourself, you have to do
# this, too.
#
# </details>

# %% [markdown]
# ## 4. One step of weighted k-means
#
# *The lecture, section 5: k-means codes. There all vectors count the same.*
#
# K-means turns a vector into a *code*, the number of the nearest mean. Some vectors may count more than others. For
# example, let the vectors be the different colours of a picture, and let a colour count 20 times if 20 pixels have it.
# With the vectors $x_i$, their weights $a_i \ge 0$ and the means $m_1, \dots, m_K$, one step is
#
# $$c_i = \arg\min_k \lVert x_i - m_k \rVert^2, \qquad
# m_k \leftarrow \frac{\sum_{i:\, c_i = k} a_i x_i}{\sum_{i:\, c_i = k} a_i} .$$
#
# Where the weights of a mean's members sum to 0, the mean stays where it was. This also holds for a mean that no vector chose.
# A weight does not influence which mean is nearest. (In Python, codes and means are counted from 0. No vector is equally near
# to two means here.)
#
# *10 minutes, ★★.* Points: 2 right codes, 2 right means, 1 arguments left alone, 1 means whose members weigh nothing.


# %% nbgrader={"grade": false, "grade_id": "kmeans_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kmeans_step(x, weight, means):
    """One step of weighted k-means: which mean each row belongs to, and the new means.

    x (N, D), weight (N,), means (K, D): float32 or float64, all of one dtype; weights
    >= 0, of any size. Returns the codes (N,), whole numbers from 0 to K - 1, and the
    new means (K, D), in this order, as new tensors. A mean whose members' weights sum
    to 0 is returned as it was.
    """
    ### BEGIN SOLUTION
    codes = torch.cdist(x, means).argmin(1)
    member = F.one_hot(codes, len(means)) * weight[:, None]  # (N, K)
    total = member.sum(0)[:, None]
    return codes, torch.where(total > 0, member.T @ x / total, means)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_kmeans_step", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(kmeans_step)
### BEGIN HIDDEN TESTS
assert check(kmeans_step).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.cdist(x, means)` is (N, K). The nearest mean of a row is an `argmin`; along which dimension?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A loop over the K means is fine: `x[codes == j]` are the members of mean j, and `weight[codes == j]` are their weights. Start
# with `new = means.clone()`, and write a row only where the weights sum to more than 0, because 0 / 0 is NaN. The sum of the
# weights may be smaller than 1, so a clamp to 1 changes other means.
#
# </details>

# %% [markdown]
# ## 5. What a representation notices
#
# *The lecture, section 7: relative change. There it is compared with all other pictures.*
#
# Turn the picture a little, mirror it, or add noise. Does the representation notice, that is, does it change? The size of its
# change means nothing by itself, because features come in all scales. The lecture compares it with how far apart different
# pictures are. For a classifier, pictures of the same category need not be far apart. So here we compare with pictures of
# *another category*. With the features $h_i$ of N pictures, the features $h'_i$ of the same pictures after the change, and the
# categories $y_i$,
#
# $$\text{relative change} = \frac{\frac1N \sum_{i} \lVert h_i - h'_i \rVert^2}
# {\frac{1}{|P|} \sum_{(i, j) \in P} \lVert h_i - h_j \rVert^2}, \qquad P = \{(i, j) : y_i \ne y_j\}.$$
#
# It is 0 for a representation that does not notice, and 1 where the changed picture is as far away as a picture of another
# category. It does not depend on the scale of the features or on their mean. This is true on paper. You get the last of the
# four points if your code is right, too, when the features' mean is large compared with their spread: 1,000 times as large in
# float32, and 100 million times in float64.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 large means.


# %% nbgrader={"grade": false, "grade_id": "relative_change", "locked": false, "schema_version": 3, "solution": true, "task": false}
def relative_change(h, changed, labels):
    """How far features move when the pictures change, in units of how far apart
    pictures of different categories are.

    h, changed (N, D), float32 or float64, both of one dtype: features of N pictures,
    and of the same pictures changed, row by row. labels (N,): whole numbers, the
    categories; at least two occur. Returns the mean over i of ||h_i - changed_i||^2,
    divided by the mean of ||h_i - h_j||^2 over the pairs with labels_i != labels_j: a
    0-d tensor.
    """
    ### BEGIN SOLUTION
    apart = (h[:, None] - h[None]).square().sum(2)  # (N, N)
    other = labels[:, None] != labels[None]
    return (h - changed).square().sum(1).mean() / apart[other].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_relative_change", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(relative_change)
### BEGIN HIDDEN TESTS
assert check(relative_change).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `h[:, None] - h[None]` holds all differences, (N, N, D). `labels[:, None] != labels` holds which pairs count, (N, N). A
# boolean tensor selects: `a[mask]`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# On paper, $\lVert a - b \rVert^2 = \lVert a \rVert^2 + \lVert b \rVert^2 - 2 a^\top b$. In floating point numbers, large
# numbers cancel there, and little precision is left. So take the differences first, then square them.
#
# </details>

# %% [markdown]
# ## 6. How many directions it uses
#
# *The lecture, section 7: compactness. There the features are centred.*
#
# A representation of 256 dimensions may use only three of them. The singular values $\sigma_1, \dots, \sigma_r$ of the (N, D)
# features say how much lies along each direction. (Take the features as they are, not centred.) The shares of the singular
# values form a distribution, and the exponential of its entropy says over how many values it is spread,
#
# $$p_k = \frac{\sigma_k}{\sum_j \sigma_j}, \qquad \text{effective rank} = \exp\Big( - \sum_k p_k \log p_k \Big),$$
#
# from 1 (all rows are multiples of one row) to the smaller of N and D (all directions are used equally). A singular value of
# 0 contributes nothing, because $p \log p \to 0$ as $p \to 0$. The effective rank does not depend on the scale of the
# features, be they as small as 1e-15 in float32 or 1e-50 in float64. (Roy and Vetterli 2007; as a measure of self-supervised
# features: RankMe, arXiv 2210.02885.)
#
# *10 minutes, ★.* Points: 2 right values, 1 argument left alone, 1 singular values of 0.


# %% nbgrader={"grade": false, "grade_id": "effective_rank", "locked": false, "schema_version": 3, "solution": true, "task": false}
def effective_rank(features):
    """The exponential of the entropy of the singular values' shares.

    features (N, D), float32 or float64, not all zeros. Returns a 0-d tensor, from 1 to
    min(N, D); singular values of 0 contribute nothing.
    """
    ### BEGIN SOLUTION
    values = torch.linalg.svdvals(features)
    share = values / values.sum()
    return torch.special.entr(share).sum().exp()  # entr(p) is -p log p, and 0 at 0
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_effective_rank", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(effective_rank)
### BEGIN HIDDEN TESTS
assert check(effective_rank).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.linalg.svdvals` returns the singular values. (The eigenvalues of $H^\top H$ are their squares.)
#
# </details>
# <details><summary>Hint 2</summary>
#
# `0 * log(0)` is NaN for a computer. `torch.special.entr(p)` is $-p \log p$ with the right value at 0. Or keep only
# `share[share > 0]`.
#
# </details>

# %% [markdown]
# ## 7. How good a mask is
#
# *The lecture, section 8: dense transfer.*
#
# A probe gives every pixel a score. The pixels with a positive score are its mask of the object. How good is this mask? With
# the predicted pixels $P_n$ and the true pixels $T_n$ of picture n, the intersection over union, averaged over the pictures,
# is
#
# $$\text{IoU} = \frac1N \sum_{n=1}^{N} \frac{|P_n \cap T_n|}{|P_n \cup T_n|}.$$
#
# If we counted right pixels, a probe that finds nothing would score well in a picture that is mostly background. And each
# picture counts the same, however large its object is. If a picture has no object and the probe finds none, the result is
# perfect and counts as 1.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 empty masks.


# %% nbgrader={"grade": false, "grade_id": "mean_iou", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mean_iou(scores, masks):
    """Intersection over union of predicted and true masks, averaged over the pictures.

    scores (N, 1, H, W), float32 or float64: a pixel is predicted to belong to the
    object where its score is greater than 0. masks (N, 1, H, W), boolean: True where a
    pixel really belongs to it. Returns a 0-d floating point tensor. A picture in which
    both masks are empty counts as 1.
    """
    ### BEGIN SOLUTION
    predicted, masks = (scores > 0).flatten(1), masks.flatten(1)
    intersection, union = (predicted & masks).sum(1), (predicted | masks).sum(1)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_mean_iou", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(mean_iou)
### BEGIN HIDDEN TESTS
assert check(mean_iou).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `&` and `|` of boolean tensors are intersection and union, pixel by pixel. Sum over all dimensions except the pictures,
# divide, and only then take the mean over the pictures.
#
# </details>
# <details><summary>Hint 2</summary>
#
# 0 / 0 is NaN. `torch.where(union > 0, ..., 1.0)` gives the value 1 there.
#
# </details>

# %% [markdown]
# ## 8. The number you report
#
# *The lecture, section 9: choosing on the test set, and one seed.*
#
# You tried S settings (a temperature, a number of neighbours, a learning rate) with R random seeds each, and measured the
# accuracy of every run on the validation set, $v_{sr}$, and on the test set, $t_{sr}$. Which number do you report? If you
# pick the best of the *test* numbers, you report luck. So choose the setting on the validation set, by its mean over the
# seeds. Then report the test accuracies of this setting, over all its seeds:
#
# $$\begin{gathered}
# s^* = \arg\max_s \frac1R \sum_r v_{sr}, \qquad \text{mean} = \frac1R \sum_r t_{s^* r}, \\
# \text{std} = \sqrt{\frac{1}{R - 1} \sum_r \left( t_{s^* r} - \text{mean} \right)^2}.
# \end{gathered}$$
#
# If several settings have the same mean validation accuracy, take the first one. The standard deviation is over the seeds,
# and it divides by $R - 1$ because the mean was estimated from the same R numbers.
#
# *10 minutes, ★★.* Points: 2 right setting and mean, 1 standard deviation, 1 arguments left alone, 1 settings that tie.


# %% nbgrader={"grade": false, "grade_id": "report", "locked": false, "schema_version": 3, "solution": true, "task": false}
def report(validation, test):
    """What to report of S settings that were run with R seeds each.

    validation, test (S, R), float32 or float64, R >= 2: the accuracies of each run.
    Returns three things, in this order: the setting with the largest mean validation
    accuracy (a whole number, the first of several equal ones), the mean of its test
    accuracies, and their sample standard deviation (R - 1). Numbers or 0-d tensors.
    """
    ### BEGIN SOLUTION
    setting = validation.mean(1).argmax()  # the first of several
    return setting, test[setting].mean(), test[setting].std()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_report", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(report)
### BEGIN HIDDEN TESTS
assert check(report).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The test accuracies must not influence the choice. Which dimension are the seeds?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `argmax` returns the first of several largest values. By default, `torch.std` divides by R - 1, and NumPy's `std` divides by
# R.
#
# </details>

# %% [markdown]
# ## All together
#
# Here you use your functions on the course's emoji, in three parts. The parts are not marked, and take some seconds each.
# First, **words**. Every emoji comes with words, and we describe a word by its company. Its vector counts how many emoji it
# shares with each word. Nothing is trained. One-hot vectors say nothing about neighbours, whatever the word.

# %%
from course_lib import evaluate
from course_lib.data import load
from course_lib.data.words import bags_of_words, vocabulary
from course_lib.nets.resnet import ResNet


def ready(*answers):
    """Are all answers right? Prints which ones are still to do."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            f"To do: this runs as soon as {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} right."
        )
    return not missing


def ask_words(*questions):
    if ready(nearest_words):
        # bags (E, V): 1 where an emoji has that word
        words, bags = vocabulary(), bags_of_words()
        # (V, V); with the root, so that the most frequent words do not dominate
        company = (bags.T @ bags).sqrt()
        for asked in questions:
            given = torch.tensor([words.index(word) for word in asked])
            for kind, table in (
                ("company", company),
                ("one-hot", torch.eye(len(words))),
            ):
                near = [words[v] for v in nearest_words(table, given, 6)]
                print(f"{' and '.join(asked)}, {kind}: {', '.join(near)}")


ask_words(["octopus"], ["king"], ["moon"], ["moon", "night"], ["moon", "happy"])

# %% [markdown]
# Second, **a report** on three representations of scenes that nobody trained: the pixels (averaged 4 by 4), a random
# network, and a histogram of colour codes. The codes come from your k-means on colours. Each channel of a colour is
# rounded to 16 levels, and the weight of a colour is the number of pixels that have it. The setting is the k of the
# vote, chosen on validation scenes. The seeds draw the 500 scenes that vote. The representation should not notice when
# the picture is mirrored.


# %%
def pixels(x):
    """uint8 (N, 3, H, W) -> the colour of each pixel, (N H W, 3), in [0, 1]."""
    return x.permute(0, 2, 3, 1).flatten(0, 2) / 255


def colour_means(x, k, steps):
    """k colours that k-means finds in pictures."""
    number = (x.long() // 16 * torch.tensor([256, 16, 1]).view(3, 1, 1)).sum(1)
    number, count = number.unique(return_counts=True)
    colours = torch.stack([number // 256, number // 16 % 16, number % 16], 1) / 15
    # start with the k colours that most pixels have
    means = colours[count.topk(k).indices]
    for _ in range(steps):
        _, means = kmeans_step(colours, count.float(), means)
    return means


def histogram(x, means):
    """(N, 3, H, W) -> (N, K): the share of a picture's pixels that have each code."""
    colours = pixels(x)
    codes, _ = kmeans_step(colours, torch.ones(len(colours)), means)
    return (
        torch.stack(
            [torch.bincount(c, minlength=len(means)) for c in codes.view(len(x), -1)]
        )
        / x[0, 0].numel()
    )


def compare(n):
    if not ready(majority_vote, kmeans_step, relative_change, effective_rank, report):
        return
    train, val, test = (load("scenes", split)[:n] for split in ("train", "val", "test"))
    torch.manual_seed(0)
    network, means = (
        ResNet(widths=(24, 48, 96)),
        colour_means(train.x[: n // 5], 16, steps=10),
    )
    encoders = {
        "pixels": lambda x: F.avg_pool2d(x / 255, 4).flatten(1),
        "random network": lambda x: evaluate.features(network, x),
        "colour codes": lambda x: histogram(x, means),
    }
    print(
        "largest class: accuracy "
        f"{(test.y == train.y.mode().values).double().mean():.3f}. That much is free."
    )
    settings = (1, 5, 20)
    for name, encode in encoders.items():
        h = {
            split: encode(data.x)
            for split, data in (("train", train), ("val", val), ("test", test))
        }
        found = {"val": torch.zeros(3, 5), "test": torch.zeros(3, 5)}
        for seed in range(5):
            rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[
                : n // 2
            ]
            for s, k in enumerate(settings):
                for split, data in (("val", val), ("test", test)):
                    classes = majority_vote(
                        h["train"][rows], train.y[rows], h[split], k
                    )
                    found[split][s, seed] = (classes == data.y).float().mean()
        s, mean, std = report(found["val"], found["test"])
        change = relative_change(h["test"], encode(test.x.flip(3)), test.y)
        print(
            f"{name}: accuracy {mean:.3f} +- {std:.3f} (k = {settings[s]}, 5 seeds), "
            f"mirror {change:.2f}, "
            f"effective rank {effective_rank(h['test']):.0f} of {h['test'].shape[1]}"
        )


compare(200 if budget() == "smoke" else 1000)

# %% [markdown]
# Third, **masks**. Your probe classifies every pixel by itself. It uses the pixel's colour, its place, how rough the picture
# is around it, and how far its colour is from that of the picture's edge. There is no network, and training takes 30 steps.
# The figure shows test scenes, the same scenes in the six colours that your k-means found in them, and the parts that the
# probe cuts out.


# %%
def describe_pixels(x):
    """uint8 (N, 3, H, W) -> (N H W, 11) features of the pixels."""
    x = x / 255
    down, right = (
        line.expand(len(x), 1, -1, -1)
        for line in torch.meshgrid(
            *(torch.linspace(-1, 1, side) for side in x.shape[2:]), indexing="ij"
        )
    )
    rough = F.avg_pool2d(
        (x - F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)).abs(), 5, 1, 2
    )
    edge = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 2).mean(
        2
    )[:, :, None, None]
    both = torch.cat(
        [x, down.square(), right.square(), rough.sqrt(), (x - edge).abs()], 1
    )
    return both.permute(0, 2, 3, 1).flatten(0, 2)


def cut_out(n, steps):
    if not ready(probe_step, kmeans_step, mean_iou):
        return None
    train, test = load("scenes", "train")[:n], load("scenes", "test")[:n]
    features = describe_pixels(train.x)
    mean, std = features.mean(0), features.std(0)
    features, labels = (features - mean) / std, train.info["mask"].flatten().long()
    weight, bias = torch.zeros(features.shape[1], 2), torch.zeros(2)
    for _ in range(steps):
        weight, bias = probe_step(features, labels, weight, bias, 1.0, 1e-4)
    logits = (describe_pixels(test.x) - mean) / std @ weight + bias
    scores, masks = (
        (logits[:, 1] - logits[:, 0]).view(test.info["mask"].shape),
        test.info["mask"],
    )
    print(
        f"IoU {mean_iou(scores, masks):.2f} on {n} new scenes; "
        f"{mean_iou(torch.ones_like(scores), masks):.2f} for "
        "all pixels, and the share of right pixels "
        f"{((scores > 0) == masks).double().mean():.2f} (none found: "
        f"{(~masks).double().mean():.2f})"
    )
    shown = test.x[:8]
    means = colour_means(shown, 6, steps=10)
    colours = pixels(shown)
    codes, _ = kmeans_step(colours, torch.ones(len(colours)), means)
    painted = means[codes].view(8, 32, 32, 3).permute(0, 3, 1, 2)
    cut = torch.where(scores[:8] > 0, shown / 255, 1.0)
    return image_grid(
        torch.cat([shown / 255, painted, cut]),
        title="Scenes, six colours, and what the probe cuts out",
    )


cut_out(50 if budget() == "smoke" else 300, steps=30)

# %% [markdown]
# ## What next
#
# Nobody trained the three representations that you compared, and only one of them is clearly above "always the largest
# class". What information does it give to the vote that pixels do not give? Add a trained representation to `compare`:
# `zoo.load("simclr")`, with `from course_lib import zoo`, has an `encode`, and you can pass the whole object to
# `evaluate.features`. Then replace the mirror by noise, or by `x.roll(4, 3)`. What should a representation of emoji notice,
# and what does each of these notice? Finally, choose k on the test scenes, only this once. How much accuracy do you gain, and
# how large is the standard deviation in comparison?
