# %% [markdown]
# # Exercises 03. Contrastive learning
#
# **You write ten short pieces of code, and some of them train a network together at the end.** The first seven are the
# similarity on which everything here is built, InfoNCE, SimCLR's loss, the memory bank, the k-NN vote that measures a
# representation, the bound on mutual information, and SimCLR itself as a method that `fit` can train. The last three go
# beyond the lecture: you repair a measure with three mistakes, you let the hardest negative of a batch count, and you
# compare more than two views of each picture.
#
# **You need** notebook 03, the lecture, up to section 10. Each exercise names the section that it belongs to.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check tests your answer on a
# few small cases. If the answer is wrong, the check says how, and often names the likely mistake. *The check is not the
# final mark*. The mark comes from other cases, with other shapes and other values. So write what the formula says, not
# what makes these few cases pass. The library's own functions are not available when you are marked, so write the
# answer yourself, with torch. Later answers may call earlier ones. If an earlier answer is wrong, the answers that
# build on it are wrong, too.
#
# *Run All* works from the start. An answer that you have not written yet is reported as "to do". When your notebook is
# marked, only definitions count: imports, functions, classes, constants. Answers are found by their names, so keep the
# names. Everything else that you need (a helper, another import) may stand in any cell. No answer draws random numbers.
# Random values come in as arguments. Before you hand in, run `python -m course_lib check NOTEBOOK`. It runs the public
# cases on your file, which it reads as the grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Cosine similarity matrix | 5 | 10 | ★ |
# | 2. InfoNCE | 5 | 10 | ★ |
# | 3. NT-Xent, SimCLR's loss | 8 | 15 | ★★ |
# | 4. The memory bank | 6 | 15 | ★★ |
# | 5. The k-NN vote | 6 | 20 | ★★ |
# | 6. The bound on mutual information | 4 | 5 | ★ |
# | 7. SimCLR as a method | 6 | 10 | ★★ |
# | 8. Repair: three mistakes in the uniformity | 5 | 15 | ★★ |
# | 9. The hardest negative | 5 | 15 | ★★ |
# | 10. More than two views | 6 | 20 | ★★★ |
# | **together** | **56** | **135** | |
#
# The first line of each check must be right before the other lines count.

# %%
import math

import torch
import torch.nn.functional as F

from course_lib.notebook import budget, checks, curve
from course_lib.train import Method

check = checks("03_contrastive")

# %% [markdown]
# ## 1. Cosine similarity matrix
#
# *Section 5 of the lecture.*
#
# All of contrastive learning asks *which of these is most similar to that one?* Here, similarity depends on direction
# only: two vectors are similar if they point in the same direction, whatever their lengths. One matrix product compares
# all vectors of one set with all vectors of another.
#
# $$\cos(a_i, b_j) = \frac{a_i^\top b_j}{\lVert a_i\rVert\, \lVert b_j\rVert},$$
#
# where $a_i$ is row i of `a`, $b_j$ row j of `b`, and $\lVert\cdot\rVert$ the Euclidean length. A row of zeros has no
# direction: its similarity with every row must be 0, not NaN, and no gradient may be NaN. But a short row (of length
# $10^{-5}$) has a direction, and so has a long one (of length $10^{25}$, in float64).
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 zero, short and long rows, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "cosine_similarity_matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cosine_similarity_matrix(a, b):
    """The cosine of every row of a with every row of b.

    a (N, D), b (M, D): float32 or float64, both of one dtype. Returns (N, M); entry (i,
    j) is a_i . b_j / (||a_i|| ||b_j||), and 0 where one of the two rows is all zeros. N
    and M may differ. The gradient is finite everywhere.
    """
    ### BEGIN SOLUTION
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_cosine_similarity_matrix", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(cosine_similarity_matrix)
### BEGIN HIDDEN TESTS
assert check(cosine_similarity_matrix).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Scale every row to unit length first. Then you only need the dot product of every row with every row: one matrix
# product.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.nn.functional.normalize(x, dim=...)` divides by the length, and by a tiny number instead where the length is 0.
# Which dimension holds the D coordinates of one vector?
#
# </details>

# %% [markdown]
# ## 2. InfoNCE
#
# *Section 3 of the lecture.*
#
# Here are N candidates. Which of them is the positive? InfoNCE is the cross-entropy of that question, and it is the
# loss of notebooks 03 and 04, and of the planned notebooks 05 and 06. Let `scores[i, j]` $= s_{ij}$ be the score of
# reference i with candidate j, with the positives on the diagonal. Then
#
# $$L = -\frac1N \sum_{i=1}^{N} \log \frac{\exp s_{ii}}{\sum_{j=1}^{N} \exp s_{ij}}.$$
#
# Scores are similarities divided by a temperature, so they may be large. A loss that becomes NaN at a score of 100 is
# useless. Your loss must be right for float32 scores of $\pm 10^4$, and for float64 scores of $10^6$ that differ by 1:
# it must compute float64 scores in float64.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 large scores, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "info_nce", "locked": false, "schema_version": 3, "solution": true, "task": false}
def info_nce(scores):
    """InfoNCE of a batch: the positive of row i is candidate i, and the other
    candidates of the row are its negatives.

    scores (N, N), float32 or float64: row = reference, column = candidate, temperature
    included. Returns the mean over the rows of
    -log( exp(scores_ii) / sum_j exp(scores_ij) ), a 0-d tensor, in nats. Equal scores
    give log N.
    """
    ### BEGIN SOLUTION
    return (scores.logsumexp(1) - scores.diagonal()).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_info_nce", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(info_nce)
### BEGIN HIDDEN TESTS
assert check(info_nce).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the logarithm of the fraction as a difference. One of its two terms needs no exponential.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The other term is the log of a sum of exponentials along each row; `torch.logsumexp` computes it without ever forming
# a number that overflows. Or see InfoNCE as the loss of a classifier with N classes: which class is the right one for
# row i?
#
# </details>

# %% [markdown]
# ## 3. NT-Xent, SimCLR's loss
#
# *Section 5 of the lecture.*
#
# SimCLR's whole loss takes ten lines. A batch of N pictures gives 2N views. For each view, the task is to find its
# partner among the 2N - 1 others. The details are decisive: which views are candidates, which are not, and which are
# references.
#
# Put the two halves one below the other, so that views i and i + N come from one picture. Here s is the cosine
# similarity, and $s_{ik}$ is that of views i and k. The score is $s / \tau$, with the temperature $\tau$. With the
# partner $j(i)$ of i,
#
# $$L = \frac{1}{2N} \sum_{i=1}^{2N} -\log \frac{\exp(s_{i\,j(i)} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}.$$
#
# The sum in the denominator runs over all views except i itself, so it includes the other views of the same half. Rows
# may be short, of length $10^{-5}$. Your loss must be right at $\tau = 0.005$ as well, and in float64 at
# $\tau = 10^{-6}$.
#
# *15 minutes, ★★.* Points: 4 right values, 1 arguments left alone, 1 low temperature, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "nt_xent", "locked": false, "schema_version": 3, "solution": true, "task": false}
def nt_xent(z1, z2, temperature):
    """SimCLR's loss: normalised temperature-scaled cross-entropy over 2N views.

    z1, z2 (N, D), float32 or float64: projections of the first and second views, row i
    of both from picture i, rows of any Euclidean norm. temperature: a number > 0.
    Returns the mean over all 2N views of -log( exp(s_ij / temperature) / sum_{k != i}
    exp(s_ik / temperature) ), j the partner of i: a 0-d tensor, in nats, log(2N - 1)
    for equal rows.
    """
    ### BEGIN SOLUTION
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(itself, -torch.inf)  # (2N, 2N)
    # i + N for the first views, i - N for the second
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(scores, partner)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_nt_xent", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check(nt_xent)
### BEGIN HIDDEN TESTS
assert check(nt_xent).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It is InfoNCE again, with 2N references and 2N - 1 candidates for each. First build the (2N, 2N) matrix of scores.
# Then exclude the entries that are not candidates. Then find the column of each row's positive.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A candidate whose score is minus infinity contributes exp(-inf) = 0 to the denominator: use `masked_fill` with a
# boolean diagonal. (A score of 0 would be wrong, because exp(0) is 1. So would -100, because at low temperatures other
# scores are even lower.)
#
# </details>
# <details><summary>Hint 3</summary>
#
# After `torch.cat([z1, z2])` the partner of row 0 is row N, and the partner of row N is row 0. So the partners are 0
# ... 2N - 1, rolled by N. `F.cross_entropy(scores, partners)` takes the logarithm, the softmax and the mean in one
# stable step.
#
# </details>

# %% [markdown]
# ## 4. The memory bank
#
# *Section 10 of the lecture.*
#
# Instance discrimination remembers the network's earlier outputs for every picture. After each update, the rows of this
# batch's pictures move towards their new outputs; the other rows of the bank do not change. With $b_r$ row r of the
# bank, $v_i$ the new output for the picture of row $r_i$ and $\mu$ the momentum of the memory,
#
# $$b_{r_i} \leftarrow \frac{\mu\, b_{r_i} + (1 - \mu)\, v_i}{\lVert \mu\, b_{r_i} + (1 - \mu)\, v_i \rVert}.$$
#
# The memory must not keep gradients. $v$ comes straight from the network and requires a gradient. A bank that kept it
# would also keep the computation graph of every batch since the beginning.
#
# *15 minutes, ★★.* Points: 3 right rows moved and no others, 1 given bank left alone, 2 no gradient in the memory.


# %% nbgrader={"grade": false, "grade_id": "update_bank", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update_bank(bank, rows, v, momentum):
    """The memory after one batch, as a new tensor; the given bank is not changed.

    bank (n, D), float32 or float64: unit rows. rows (B,): whole numbers, all different,
    in any order; v (B, D), of the bank's dtype: unit rows that may require grad, v_i
    belongs to bank[rows_i]. momentum: a number in [0, 1). Returns (n, D): the named
    rows are momentum * old + (1 - momentum) * v, scaled to unit length again; the
    others are unchanged. The result carries no gradient.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        new = bank.clone()
        new[rows] = F.normalize(momentum * bank[rows] + (1 - momentum) * v, dim=1)
        return new
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_update_bank", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(update_bank)
### BEGIN HIDDEN TESTS
assert check(update_bank).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are three steps. Copy the bank. Compute the mixture of old rows and v, at unit length. Write the mixture to its
# rows in the copy.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `bank[rows]` reads the named rows, in the order of `rows`; `new[rows] = ...` writes them in the same order. Nothing
# that happens inside `with torch.no_grad():` is recorded for a gradient.
#
# </details>

# %% [markdown]
# ## 5. The k-NN vote
#
# *Section 8 of the lecture.*
#
# How good is a representation? The k-NN vote measures this. The k training rows that are most similar to a test row
# vote for their classes, and closer rows have larger votes. No classifier is trained, so all information that the vote
# finds was already in the features. With $w_j$ the vote of neighbour j, $y_j$ its class, $c$ a class and $\tau$ a
# temperature,
#
# $$w_j = \exp\frac{\cos(\text{test row}, \text{train row } j)}{\tau}, \qquad
# \text{share}(c) = \frac{\sum_{j:\, y_j = c} w_j}{\sum_j w_j},$$
#
# where j runs over the k most similar training rows only. At $\tau = 0.005$ the votes themselves are too large for
# float32, but the shares are not. Float64 features must be compared in float64, so that $\tau = 10^{-5}$ works.
#
# *20 minutes, ★★.* Points: 3 right shares, 1 arguments left alone, 1 classes without rows, 1 low temperature.


# %% nbgrader={"grade": false, "grade_id": "knn_vote", "locked": false, "schema_version": 3, "solution": true, "task": false}
def knn_vote(train, train_labels, test, k, classes, temperature):
    """Weighted k-nearest neighbours by cosine similarity.

    train (N, D), test (M, D): features, float32 or float64, both of one dtype, rows of
    any Euclidean norm. train_labels (N,): whole numbers from 0 to classes - 1; some
    class may have no row. k <= N, classes: whole numbers; temperature: a number > 0.
    Returns (M, classes): each row holds the classes' shares of the votes exp(cos /
    temperature) of the k most similar training rows, and sums to one.
    """
    ### BEGIN SOLUTION
    # (M, k) out of (M, N)
    similarity, nearest = (F.normalize(test, dim=1) @ F.normalize(train, dim=1).T).topk(
        k
    )
    shares = (similarity / temperature).softmax(1)  # exp over sum of exp
    return shares.new_zeros(len(test), classes).scatter_add(
        1, train_labels[nearest], shares
    )
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_knn_vote", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(knn_vote)
### BEGIN HIDDEN TESTS
assert check(knn_vote).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are four steps: compute the cosines (M, N); find the k largest of each row, with their indices; turn votes into
# shares; add up the shares of each class.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `topk(k)` returns both the similarities and the indices of the neighbours, (M, k) each. Exponentials divided by the
# sum of exponentials have a name, and the function with this name does not overflow.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The votes of two neighbours of one class must be added. `votes[i, labels] += w` counts a repeated label only once, but
# `w.new_zeros(M, classes).scatter_add(1, labels, w)` adds all of them; `new_zeros` has the dtype of w. Here the labels
# and the weights w are those of the neighbours, (M, k) each.
#
# </details>

# %% [markdown]
# ## 6. The bound on mutual information
#
# *Section 4 of the lecture.*
#
# InfoNCE gives a lower bound on the information that two views have about each other: $I \ge \log N - L$. Here
# $I = \mathbb{E}_{p(x, y)} \log \frac{p(x, y)}{p(x)\,p(y)}$ is the mutual information of the two views, in nats. The
# answer is one line, but there is a trap, and a slide of deck GT19 (*CS 4644/7643, lecture 19*) falls into it: it calls
# N "the negative sample size". But N counts *candidates*, and the positive is one of them.
#
# You are given the losses $L_b$ of several batches $b = 1, \dots, B$, and the number of negatives of each reference in
# them. Estimate $L$ by the mean of these losses (all batches have the same size). A network that does worse than
# guessing has a negative bound, which is true but not useful.
#
# *5 minutes, ★.* Points: 2 right values, 1 negative bounds, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "mi_bound", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mi_bound(losses, negatives):
    """The lower bound on the mutual information from InfoNCE losses: log N - L, with N
    candidates in all.

    losses (B,), float32 or float64: InfoNCE losses of B batches, in nats. negatives: a
    whole number, the negatives of each reference. Returns a 0-d tensor, in nats; it is
    differentiable with respect to the losses.
    """
    ### BEGIN SOLUTION
    return math.log(negatives + 1) - losses.mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_mi_bound", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(mi_bound)
### BEGIN HIDDEN TESTS
assert check(mi_bound).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# With one negative there are two candidates, and guessing gives the loss log 2.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Subtract the mean of a tensor from `math.log` of a whole number. The result is a tensor, and the gradient flows back
# to the losses.
#
# </details>

# %% [markdown]
# ## 7. SimCLR as a method
#
# *Section 5 of the lecture.*
#
# A method of this course consists of its networks and of the two halves of its paper's Algorithm box, before and after
# the optimiser's update; `fit` does the rest. Your method is SimCLR, with the loss as an argument. It makes two random
# views of each picture and computes $h = f(\text{view})$, $z = g(h)$ with the encoder $f$ and the projector $g$. The
# function `contrast` compares the two batches of z (for SimCLR, it is your `nt_xent` with a temperature). After
# training, $g$ is thrown away. The representation is h, computed from the picture itself, without augmentation.
# `encode` leaves the picture and the networks' mode (train or eval) as they are: who evaluates sets the mode.
#
# A `Method` is a torch module. It gives the optimiser the parameters of all networks that are its attributes. `fit`
# calls `loss(x, y)`; SimCLR does not use y.
#
# *10 minutes, ★★.* Points: 3 projections of two views compared, 1 parameters handed to the optimiser, 1 gradient
# through both views and both networks, 1 right representation.


# %% nbgrader={"grade": false, "grade_id": "TwoViews", "locked": false, "schema_version": 3, "solution": true, "task": false}
class TwoViews(Method):
    """Contrastive learning with two views and any loss.

    encoder f: images (N, C, H, W), float32 or float64, -> h (N, D). projector g: h -> z
    (N, d). augment: images -> one random view of each, with new random numbers at each
    call. contrast(z1, z2): the projections of both views, (N, d) each, row i of both
    from image i -> 0-d loss; it does everything that is needed with z.
    """

    def __init__(self, encoder, projector, augment, contrast):
        """Stores the four arguments."""
        ### BEGIN SOLUTION
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.augment, self.contrast = augment, contrast
        ### END SOLUTION

    def loss(self, x, y=None):
        """x (N, C, H, W) -> contrast(z1, z2), 0-d, of two independent views of x: call
        augment once for each view.

        Gradient flows through both views, into encoder and projector. y is not used.
        """
        ### BEGIN SOLUTION
        # (2N, C, H, W): BatchNorm sees both views together
        views = torch.cat([self.augment(x), self.augment(x)])
        z1, z2 = self.projector(self.encoder(views)).chunk(2)
        return self.contrast(z1, z2)
        ### END SOLUTION

    def encode(self, x):
        """x (N, C, H, W) -> h (N, D), the representation that is evaluated after
        training; nothing is random here.
        """
        ### BEGIN SOLUTION
        return self.encoder(x)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_TwoViews", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(TwoViews)
### BEGIN HIDDEN TESTS
assert check(TwoViews).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `super().__init__()` comes first in `__init__`, because it sets up the place where the module registers its networks.
# Then store each of the four arguments as an attribute.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In `loss`, make two views, send both through encoder and projector, and call `contrast`. You may call the networks
# twice. Or call them once on `torch.cat` of both views, so that BatchNorm sees them together, and cut the result in two
# with `.chunk(2)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `encode` is one line. Does the evaluation need h or z? Of a view, or of the picture?
#
# </details>

# %% [markdown]
# ## 8. Repair: three mistakes in the uniformity
#
# *Section 9 of the lecture, "Near each other, and far from all others".*
#
# Uniformity says how evenly embeddings are spread over the sphere. With $u_i = z_i / \lVert z_i \rVert$ and n rows,
#
# $$U(z) = \log \frac{1}{n (n - 1)} \sum_{i \ne k} \exp\left(-t\, \lVert u_i - u_k \rVert^2\right).$$
#
# Somebody wrote
#
# ```python
# def uniformity(z, t):
#     squares = (z[:, None] - z).square().sum(-1)  # (n, n)
#     return (t * squares).exp().mean().log()
# ```
#
# There are three mistakes in it, and each of them can be observed:
#
# - Evenly spread vectors get a *larger* value than equal ones.
# - The value changes if all vectors are multiplied by 2.
# - Without these two mistakes, the value is never below $\log \frac1n$, however large t is.
#
# Hand in the repaired function. It must also be right for large t, such as 300, where each $\exp$ may be 0 in float32.
# It must compute float64 rows in float64.
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 1 large t, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "uniformity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def uniformity(z, t):
    """The logarithm of the mean of exp(-t ||u_i - u_k||^2) over all pairs i != k.

    z (n, D), float32 or float64, n >= 2: rows of any Euclidean norm above 0; u are
    these rows at unit length. t: a number > 0. Returns a 0-d tensor: 0 for equal rows,
    less for all others.
    """
    ### BEGIN SOLUTION
    u = F.normalize(z, dim=1)
    squares = (u[:, None] - u).square().sum(-1)  # (n, n)
    different = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    exponents = -t * squares[different]  # (n (n - 1),)
    return exponents.logsumexp(0) - math.log(len(exponents))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_uniformity", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(uniformity)
### BEGIN HIDDEN TESTS
assert check(uniformity).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Compare the code with the formula, from left to right: what is u, what stands before t, and which pairs are in the
# mean?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x[mask]` with a boolean (n, n) mask returns the chosen entries in one row. For large t: the logarithm of a mean is
# the logarithm of a sum minus the logarithm of the number of terms, and `torch.logsumexp` computes the first without
# ever forming an exponential that underflows.
#
# </details>

# %% [markdown]
# ## 9. The hardest negative
#
# *Section 2 of the lecture, and section 6: with a very small temperature, nearly all of the push goes to the most
# similar negative.*
#
# The triplet loss of the lecture takes any negative. Most of them are soon far enough away, and teach nothing more. So
# take the hardest one of the batch: for the first view of picture i, the second view of *another* picture with the
# lowest energy. With $E(u, v) = 2 - 2 \cos(u, v)$ and the margin m,
#
# $$L = \frac1N \sum_{i=1}^{N} \max\Big(0,\ E(z_{1,i}, z_{2,i}) - \min_{j \ne i} E(z_{1,i}, z_{2,j}) + m\Big).$$
#
# Here $z_{1,i}$ is row i of `z1`, and $z_{2,j}$ is row j of `z2`. Gradient flows through all three embeddings of a
# triplet.
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "hardest_triplet", "locked": false, "schema_version": 3, "solution": true, "task": false}
def hardest_triplet(z1, z2, margin):
    """The triplet loss with the hardest negative of the batch.

    z1, z2 (N, D), float32 or float64, N >= 2: projections of the first and second
    views, row i of both from picture i, rows of any Euclidean norm above 0. margin: a
    number > 0. Returns the mean over the N first views of
    max(0, E(own) - E(hardest) + margin), a 0-d tensor: E(own) is the energy with the
    second view of the same picture, and E(hardest) the lowest energy with a second view
    of another one.
    """
    ### BEGIN SOLUTION
    energy = 2 - 2 * F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T  # (N, N)
    own = energy.diagonal()
    itself = torch.eye(len(z1), dtype=torch.bool, device=z1.device)
    hardest = energy.masked_fill(itself, torch.inf).amin(1)
    return F.relu(own - hardest + margin).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_hardest_triplet", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(hardest_triplet)
### BEGIN HIDDEN TESTS
assert check(hardest_triplet).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# All energies are one (N, N) matrix: rows are first views, columns are second views. Where in it are the positives?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Take the minimum of each row, but not over the positive: give the diagonal an energy that is never the lowest. Which
# number is that? (0 is the lowest energy that there is.)
#
# </details>

# %% [markdown]
# ## 10. More than two views
#
# *Section 5 of the lecture has two views of each picture. Here there are V.*
#
# Let `z[a, k]` be the embedding of view a of picture k. Take each *ordered pair* of different views of one picture. The
# first of them, i, is the reference, and the second, j, is the only positive. The negatives are all views of **other**
# pictures. The further views of the same picture are neither: they are left out of the denominator. With cosine
# similarities s,
#
# $$L = \frac{1}{V (V - 1) N} \sum_{(i, j)} -\log \frac{\exp(s_{ij} / \tau)}{\exp(s_{ij} / \tau) + \sum_{k \text{ of another picture}} \exp(s_{ik} / \tau)}.$$
#
# With V = 2 this is NT-Xent. Your loss must be right at $\tau = 0.005$ as well.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 arguments left alone, 1 low temperature, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "multi_view_nt_xent", "locked": false, "schema_version": 3, "solution": true, "task": false}
def multi_view_nt_xent(z, temperature):
    """NT-Xent for V views of each picture.

    z (V, N, D), float32 or float64, V >= 2, N >= 2: z[a, k] is the embedding of view a
    of picture k, of any Euclidean norm above 0. temperature: a number > 0. Returns the
    mean, over all V (V - 1) N ordered pairs of different views of one picture, of
    -log( exp(s_ij / temperature) / (exp(s_ij / temperature) + sum of exp(s_ik /
    temperature) over all views k of other pictures) ): a 0-d tensor, in nats.
    """
    ### BEGIN SOLUTION
    views, pictures, _ = z.shape
    # row a * N + k is view a of picture k
    u = F.normalize(z, dim=2).flatten(0, 1)  # (V N, D)
    scores = u @ u.T / temperature  # (V N, V N)
    picture = torch.arange(pictures, device=z.device).repeat(views)
    same = picture[:, None] == picture
    negatives = scores.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    losses = torch.logaddexp(scores, negatives) - scores
    itself = torch.eye(len(u), dtype=torch.bool, device=z.device)
    return losses[same & ~itself].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_multi_view_nt_xent", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(multi_view_nt_xent)
### BEGIN HIDDEN TESTS
assert check(multi_view_nt_xent).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `z.flatten(0, 1)` puts the V halves one below the other: row a N + k is view a of picture k. So the picture of each
# row is 0 ... N - 1, repeated V times. Which rows show the same picture is then one (V N, V N) comparison.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The sum over the negatives depends on the reference only: one number for each row, best kept as its logarithm. Then
# each pair's loss is `logaddexp(score, log of that sum) - score`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Or use loops: for each ordered pair of views (a, b), a batch of N references has N positives, and the negatives lie in
# all V views. Take the logarithms together with `torch.logsumexp`, and average over the pairs at the end.
#
# </details>

# %% [markdown]
# ## All together
#
# Here your `TwoViews` is trained with your `nt_xent` for a short time, on the course's scenes. Your `knn_vote` measures
# it before and after. (This is not marked and takes some seconds. 100 small steps are few: notebook 03 has runs that
# are long enough to evaluate a method.)

# %%
from course_lib import evaluate
from course_lib.augment import simclr_augment
from course_lib.data import load
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.optim import adamw
from course_lib.train import fit


def all_together(steps):
    torch.manual_seed(0)
    encoder = ResNet(widths=(24, 48, 96))
    augment = simclr_augment(32, strength=0.2, scale=(0.2, 1.0))
    mine = TwoViews(
        encoder,
        mlp(encoder.dim, encoder.dim, 64),
        augment,
        lambda z1, z2: nt_xent(z1, z2, 0.2),
    )
    train, test = load("scenes", "train"), load("scenes", "test")[:500]

    def accuracy():
        h, h_test = (
            evaluate.features(mine, train.x[:2000]),
            evaluate.features(mine, test.x),
        )
        return evaluate.accuracy(
            knn_vote(h, train.y[:2000], h_test, k=20, classes=9, temperature=0.07),
            test.y,
        )

    before = accuracy()
    losses = [
        step.loss
        for step in fit(
            mine, train, steps, batch_size=64, optimizers=adamw(5e-3), device="cpu"
        )
    ]
    print(
        f"loss {losses[0]:.2f} -> {losses[-1]:.2f} in {steps} steps, k-NN accuracy "
        f"{before:.2f} -> {accuracy():.2f}"
    )
    print(
        "Accuracy on 500 scenes is good to about +- 0.02; equal rows would give the "
        "loss log(2N - 1) = 4.84."
    )
    return losses


def trained(steps):
    """The loss as a curve, as soon as the three answers are right."""
    if not all(check(answer).solved for answer in (nt_xent, knn_vote, TwoViews)):
        print("To do: this trains as soon as nt_xent, knn_vote and TwoViews are right.")
        return None
    losses = all_together(steps)
    return curve(
        range(1, steps + 1),
        {"NT-Xent": losses},
        title="Your SimCLR learns",
        xlabel="step",
        ylabel="loss, nats",
    )


trained(steps=10 if budget() == "smoke" else 100)

# %% [markdown]
# ## What next
#
# Give `all_together` more steps. (Section 9 of the lecture trains for longer, and says where the loss of a collapsed
# network stays.) Or give it another `contrast`: your `info_nce` on the cosines of z1 with z2, divided by a temperature,
# has N candidates instead of 2N - 1. Does the loss start where you expect it? Your `mi_bound` is meant for such an
# InfoNCE run. What is the bound with `negatives=63`, before and after training, and how far is it below its ceiling log
# 64? The exercises 04 replace the memory bank by a queue of the outputs of a momentum encoder.
