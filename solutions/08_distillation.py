# %% [markdown]
# # Exercises 08. Distillation
#
# **You write nine short pieces of code, and at the end you make a teacher collapse in two ways and heal it.** You
# soften a teacher's outputs and train a student on them, and you move a target slowly. You write BYOL's and SimSiam's
# losses with the gradient in the right place, and Barlow Twins' matrix. For DINO you write the pairs of crops, the
# centre, sharpening, and the numbers that tell you what is going wrong.
#
# **You need** notebook 08, the lecture. Each exercise names the part it belongs to.
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
# Random values come in as arguments. Before you hand in, run `python -m course_lib check NOTEBOOK`. It runs the public
# cases on your file, which it reads as the grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Soft targets | 5 | 5 | ★ |
# | 2. The loss of distillation | 7 | 15 | ★★ |
# | 3. The moving average | 6 | 15 | ★★ |
# | 4. BYOL's loss | 5 | 10 | ★ |
# | 5. Where the gradient stops: SimSiam | 5 | 10 | ★★ |
# | 6. Barlow Twins' matrix, and its loss | 6 | 15 | ★★ |
# | 7. All pairs of crops | 6 | 20 | ★★★ |
# | 8. Centring and sharpening | 6 | 10 | ★★ |
# | 9. Numbers to know by heart | 4 | 10 | ★★ |
# | **together** | **50** | **110** | |
#
# The first line of each check must be right before the other lines count.

# %%
import math

import torch
import torch.nn.functional as F

from course_lib.notebook import budget, checks, curve, matrices

check = checks("08_distillation")

# %% [markdown]
# ## 1. Soft targets
#
# *The lecture, on what a teacher says beyond the label.*
#
# A label says "dog". A teacher says "dog, perhaps wolf, never a bus", and a student can learn more from this *perhaps*.
# But a trained teacher is very sure, so the *perhaps* is a number like $10^{-4}$. A temperature $\tau > 1$ makes it
# larger. With $a_{nc}$ the logit of class c for picture n,
#
# $$q_{nc} = \frac{\exp(a_{nc} / \tau)}{\sum_{c'} \exp(a_{nc'} / \tau)}.$$
#
# Your function must be right for logits of $\pm 10^4$ too.
#
# *5 minutes, ★.* Points: 2 right values, 1 argument left alone, 1 large logits, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "soft_targets", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soft_targets(logits, temperature):
    """Class probabilities at a temperature.

    logits (N, C), float32 or float64: a row for each picture. temperature: a number >
    0. Returns (N, C): rows >= 0 that sum to 1. A higher temperature makes them flatter;
    1 gives the ordinary softmax.
    """
    ### BEGIN SOLUTION
    return (logits / temperature).softmax(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_soft_targets", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(soft_targets)
### BEGIN HIDDEN TESTS
assert check(soft_targets).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It is the softmax of something. What is divided by the temperature: the logits, or the probabilities?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.softmax(dim)` does not overflow, and its sums run along `dim`. Along which dimension are the classes?
#
# </details>

# %% [markdown]
# ## 2. The loss of distillation
#
# *The lecture, on what a teacher says beyond the label.*
#
# The student has two teachers: the network, with its soft targets $q$, and the labels $y_n$. With $p$ the student's soft
# targets *at the same temperature* and $p^{(1)}$ those at temperature 1,
#
# $$L = \lambda\; \tau^2\, \frac1N \sum_n \sum_c q_{nc} \log\frac{q_{nc}}{p_{nc}}
# \;+\; (1 - \lambda)\, \frac1N \sum_n -\log p^{(1)}_{n y_n}.$$
#
# The gradient of the soft half shrinks like $1/\tau^2$. The factor $\tau^2$ makes up for this, so $\lambda$ keeps its
# meaning when you change the temperature. The labels are certain, so they get no temperature. The teacher must not
# learn from its student, so no gradient reaches it. A teacher may be so sure that some $q_{nc}$ is exactly 0 in
# floating point. Such a term counts as 0, not NaN.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 very sure networks, 2 right gradient, for the student only.


# %% nbgrader={"grade": false, "grade_id": "distillation_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def distillation_loss(student, teacher, labels, temperature, soft):
    """Hinton's loss: soft targets from a teacher, hard ones from the labels.

    student, teacher (N, C): logits, float32 or float64, both of one dtype, down to
    -10^4 and up to 10^4. labels (N,): whole numbers from 0 to C - 1. temperature: a
    number > 0. soft: the weight lambda of the soft half, in [0, 1]. Returns soft *
    temperature^2 * KL(teacher || student) + (1 - soft) * cross-entropy with the labels,
    both averaged over the rows: a 0-d tensor, in nats. No gradient reaches the teacher.
    """
    ### BEGIN SOLUTION
    log_q = (teacher.detach() / temperature).log_softmax(1)
    log_p = (student / temperature).log_softmax(1)
    divergence = (log_q.exp() * (log_q - log_p)).sum(1).mean()
    return soft * temperature**2 * divergence + (1 - soft) * F.cross_entropy(
        student, labels
    )
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_distillation_loss", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(distillation_loss)
### BEGIN HIDDEN TESTS
assert check(distillation_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the divergence with $\log q - \log p$. `log_softmax` gives both logarithms without ever taking the logarithm of a 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The sum runs over the classes, the mean over the rows. `F.kl_div` needs care with both, and with the order of its arguments.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `teacher.detach()` has the same numbers and no gradient. `F.cross_entropy(student, labels)` is the whole hard half.
#
# </details>

# %% [markdown]
# ## 3. The moving average
#
# *The lecture, on BYOL's target network.*
#
# BYOL's target and DINO's teacher learn nothing by themselves. After each step they move a little towards the online
# network. The momentum says how little. It grows during training, so that the target comes to rest. With $\theta$ a
# parameter of the online network, $\xi$ the same parameter of the target, and $t \in [0, 1]$ the progress,
#
# $$m(t) = 1 - (1 - m_0)\,\frac{\cos(\pi t) + 1}{2}, \qquad \xi \leftarrow m(t)\,\xi + (1 - m(t))\,\theta.$$
#
# At the start $m = m_0$, at the end $m = 1$. As in any update of weights, no gradient is kept, although the online
# parameters that you get require one.
#
# *15 minutes, ★★.* Points: 2 right average, 1 right schedule, 1 arguments left alone, 2 no gradient kept.


# %% nbgrader={"grade": false, "grade_id": "ema_update", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ema_update(target, online, start, progress):
    """The target's parameters after one step, as new tensors; the given ones stay as
    they are.

    target, online: lists of tensors, float32 or float64, of any shapes, the same shape
    at the same place; those of online require grad. start: the momentum at
    progress 0, in [0, 1]. progress: a number in [0, 1]. Returns a list of tensors like
    target's: m * target + (1 - m) * online, m the momentum at this progress. They carry
    no gradient.
    """
    ### BEGIN SOLUTION
    m = 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
    return [m * t + (1 - m) * o.detach() for t, o in zip(target, online)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_ema_update", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(ema_update)
### BEGIN HIDDEN TESTS
assert check(ema_update).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First compute the momentum, a single number, with `math.cos` and `math.pi`. Try progress 0, 1/2 and 1 by hand. Then
# write one line for all parameters: `zip` walks along two lists together.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A target network is slow: with m near 1 it keeps nearly all of what it has. Which of the two gets m?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Operations whose names end with an underscore write into their tensor. Here you need new tensors. `detach()` or
# `torch.no_grad()` keeps the gradient out.
#
# </details>

# %% [markdown]
# ## 4. BYOL's loss
#
# *The lecture, on BYOL.*
#
# Predict the target network's output for the *other* view. There are no negatives and no softmax, only the squared
# distance of two unit vectors. A hat means "normalised to unit length". With $p$ the predictions from the online
# network and $z$ the target's projections,
#
# $$L = \frac1N \sum_n \big\lVert \hat p^{(1)}_n - \hat z^{(2)}_n \big\rVert^2
#     + \frac1N \sum_n \big\lVert \hat p^{(2)}_n - \hat z^{(1)}_n \big\rVert^2.$$
#
# The target's $z$ are the values to predict, so no gradient reaches them. The loss lies between 0 and 8.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 2 right gradient, for the predictions only.


# %% nbgrader={"grade": false, "grade_id": "byol_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def byol_loss(p1, p2, z1, z2):
    """BYOL's symmetrised loss.

    p1, p2 (N, D): predictions made from the first and from the second view; z1, z2 (N,
    D): the target's projections of the first and of the second view. All float32 or
    float64, rows of any Euclidean norm but 0, row n of each from picture n. Returns the
    squared distance between unit rows, p of one view and z of the other, averaged over
    the pictures and added for both views: a 0-d tensor. No gradient reaches z1 and z2.
    """
    ### BEGIN SOLUTION
    p1, p2, z1, z2 = (
        F.normalize(rows, dim=1) for rows in (p1, p2, z1.detach(), z2.detach())
    )
    return ((p1 - z2).square() + (p2 - z1).square()).sum(1).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_byol_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(byol_loss)
### BEGIN HIDDEN TESTS
assert check(byol_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the distance for one p and one z, then call it twice. Whose view goes with whose?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.normalize(x, dim=1)` normalises rows to unit length. A squared distance is a *sum* over the D coordinates; the mean
# is over the N pictures. (For unit vectors it is 2 - 2 cos, which is another way to write the whole exercise.)
#
# </details>

# %% [markdown]
# ## 5. Where the gradient stops: SimSiam
#
# *The lecture, on SimSiam.*
#
# SimSiam is BYOL without the slow copy: the target is the same network, with the same weights. One `detach` is all that
# keeps it from always giving the same output. If you leave it out, or put it on the other side, the value of the loss
# is as before, but the training is ruined. So this check looks at the gradient.
#
# With the encoder $f$, the predictor $h$, and $z^{(v)} = f(x^{(v)})$, $p^{(v)} = h(z^{(v)})$ for the views $v = 1, 2$,
#
# $$L = -\frac12\, \frac1N \sum_n \cos\!\big(p^{(1)}_n, \text{stop}(z^{(2)}_n)\big)
#       -\frac12\, \frac1N \sum_n \cos\!\big(p^{(2)}_n, \text{stop}(z^{(1)}_n)\big).$$
#
# The gradient flows through the predictions, into the predictor *and on into the encoder*, and through nothing else.
#
# *10 minutes, ★★.* Points: 2 right values, 3 right gradient.


# %% nbgrader={"grade": false, "grade_id": "simsiam_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def simsiam_loss(encoder, predictor, view1, view2):
    """SimSiam's symmetrised loss (Algorithm 1).

    encoder: a function, views (N, D) -> z (N, d), projector included; predictor: a
    function, z (N, d) -> p (N, d). view1, view2 (N, D): two views of the same N
    pictures, float32 or float64. Returns a 0-d tensor in [-1, 1]. Gradient reaches the
    networks' parameters through p only: z counts as a constant where it is the target.
    """
    ### BEGIN SOLUTION
    z1, z2 = encoder(view1), encoder(view2)
    p1, p2 = predictor(z1), predictor(z2)
    cosines = F.cosine_similarity(p1, z2.detach(), dim=1) + F.cosine_similarity(
        p2, z1.detach(), dim=1
    )
    return -cosines.mean() / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_simsiam_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(simsiam_loss)
### BEGIN HIDDEN TESTS
assert check(simsiam_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each $z$ has two roles: it is the predictor's input, with gradient, and the other view's target, without gradient.
# Which of the two roles needs a `detach`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `z.detach()` makes a second tensor; `z` itself still has its gradient. So detach where the cosine is computed, not
# where z is computed. `F.cosine_similarity(a, b, dim=1)` gives N cosines.
#
# </details>

# %% [markdown]
# ## 6. Barlow Twins' matrix, and its loss
#
# *The lecture, on Barlow Twins.*
#
# Barlow Twins avoids the collapse in another way, with no stopped gradient, slow copy or negatives. It looks at the
# features, not at the pictures. A feature should agree with itself across the two views, and with no other feature.
# Standardise each feature *along the batch*, with its mean $\mu$ and its standard deviation $\sigma$ over the N rows
# (divided by N, not N - 1), separately in each view. Then
#
# $$C_{ij} = \frac1N \sum_n \frac{z^{(1)}_{ni} - \mu^{(1)}_i}{\sigma^{(1)}_i}\cdot\frac{z^{(2)}_{nj} - \mu^{(2)}_j}{\sigma^{(2)}_j},
# \qquad L = \sum_i (1 - C_{ii})^2 + \lambda \sum_i \sum_{j \ne i} C_{ij}^2.$$
#
# A feature that is 0 for the whole batch correlates with nothing: there $C_{ij} = 0$, not NaN.
#
# *15 minutes, ★★.* Points: 2 right matrix, 1 right loss, 1 arguments left alone, 1 dead features, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "barlow_twins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def barlow_twins(z1, z2, off_diagonal):
    """The cross-correlation matrix of two views' features, and Barlow Twins' loss.

    z1, z2 (N, D), float32 or float64, N >= 2: projections of the two views, row n of
    both from picture n; a feature may be 0 in all rows. off_diagonal: the weight
    lambda, a number > 0. Returns two tensors: C (D, D), C_ij the correlation of feature
    i of z1 with feature j of z2, and the loss, 0-d. Gradient flows into both views.
    """
    ### BEGIN SOLUTION
    z1, z2 = z1 - z1.mean(0), z2 - z2.mean(0)
    z1, z2 = (z / z.square().mean(0).clamp(min=1e-12).sqrt() for z in (z1, z2))
    c = z1.T @ z2 / len(z1)  # (D, D)
    on = (1 - c.diagonal()).square().sum()
    off = c.square().sum() - c.diagonal().square().sum()
    return c, on + off_diagonal * off
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_barlow_twins", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(barlow_twins)
### BEGIN HIDDEN TESTS
assert check(barlow_twins).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The batch is dimension 0: one mean and one standard deviation for each column. `std` divides by N - 1 by default. With
# `correction=0` it divides by N.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A matrix product sums over the inner dimension: (D, N) @ (N, D). Which of the two views is transposed?
#
# </details>
# <details><summary>Hint 3</summary>
#
# The loss compares C with the identity. Use `c.diagonal()` for the first sum, and all squares except those of the
# diagonal for the second. And keep what you divide by above some tiny number.
#
# </details>

# %% [markdown]
# ## 7. All pairs of crops
#
# *The lecture, on DINO's crops.*
#
# DINO's teacher sees the G large crops of a picture. Its student sees all V crops: first the same G, in the same order,
# then the small ones. From each crop that it sees, the student should predict the teacher's output for each large crop.
# There is one exception: a crop is not compared with itself. With the teacher's outputs $t$ and the student's $s$,
#
# $$P^t = \text{softmax}(t / \tau_t), \quad P^s = \text{softmax}(s / \tau_s), \qquad
# L = \frac{1}{G\,(V - 1)} \sum_{i=1}^{G} \sum_{j = 1,\, j \ne i}^{V} \frac1N \sum_{n=1}^{N} \sum_{k=1}^{K} -P^t_{ink} \log P^s_{jnk}.$$
#
# $\tau_t$ is the lower one, because a teacher should be surer than its student. No gradient reaches the teacher. Your
# function must be right for $\tau = 0.01$ too.
#
# *20 minutes, ★★★.* Points: 2 right values, 1 arguments left alone, 1 low temperatures, 2 right gradient, for the student only.


# %% nbgrader={"grade": false, "grade_id": "multicrop_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def multicrop_loss(student, teacher, tau_s, tau_t):
    """DINO's loss over all pairs of crops, except pairs of a crop with itself.

    student (V, N, K): outputs for V crops of N pictures. teacher (G, N, K), 1 <= G <=
    V, V >= 2: outputs for the first G of these crops, already centred. Both float32 or
    float64, of one dtype. tau_s, tau_t: the temperatures of student and teacher,
    numbers > 0. Returns the cross-entropy, averaged over the pictures and over the G (V
    - 1) pairs: a 0-d tensor, in nats. No gradient reaches the teacher.
    """
    ### BEGIN SOLUTION
    target = (teacher.detach() / tau_t).softmax(-1)
    log_p = (student / tau_s).log_softmax(-1)
    pairs = -(target[:, None] * log_p).sum(-1).mean(-1)  # (G, V)
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(pairs))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_multicrop_loss", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(multicrop_loss)
### BEGIN HIDDEN TESTS
assert check(multicrop_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two loops, over i in range(G) and j in range(V), with an `if i != j` inside, are a good answer. How many terms did you
# add?
#
# </details>
# <details><summary>Hint 2</summary>
#
# For one cross-entropy, multiply the teacher's probabilities by the student's log probabilities and sum over K, the
# last dimension. Then take minus the mean over the pictures. `log_softmax` is safe where `log` of a softmax is not.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Without loops: `target[:, None] * log_p` has the shape (G, V, N, K), and the pairs with i = j are then the diagonal of a
# (G, V) matrix.
#
# </details>

# %% [markdown]
# ## 8. Centring and sharpening
#
# *The lecture, on DINO's centring and sharpening.*
#
# There are two kinds of collapse: one prototype wins for every picture, or all are equally likely. Centring prevents
# the first and drives towards the second. Sharpening, a low temperature, prevents the second and drives towards the
# first. Together they keep the balance. With $t_m$ the teacher's outputs for M crops (all of a batch), $c$ the centre
# and $\mu$ its momentum,
#
# $$P_m = \text{softmax}\big((t_m - c) / \tau_t\big), \qquad c \leftarrow \mu\, c + (1 - \mu)\, \frac1M \sum_{m=1}^{M} t_m.$$
#
# There is a trap, and a lecture's slide falls into it too. The mean is that of the outputs *as they came*, not of the
# centred ones. Centred outputs have a mean near 0 as soon as the centre is right, so the centre would forget what it
# has learnt. The new centre is for the next batch, not for this one. Neither result carries a gradient.
#
# *10 minutes, ★★.* Points: 2 right probabilities, 2 right centre, 1 arguments left alone, 1 no gradient kept.


# %% nbgrader={"grade": false, "grade_id": "centre_and_sharpen", "locked": false, "schema_version": 3, "solution": true, "task": false}
def centre_and_sharpen(outputs, centre, temperature, momentum):
    """The probabilities of DINO's teacher, and its centre for the next batch.

    outputs (M, K), float32 or float64: the teacher's, for M crops; may require grad.
    centre (K,), of the same dtype. temperature: tau_t, a number > 0. momentum: of the
    centre, in [0, 1]. Returns two new tensors without gradient: the probabilities (M,
    K) of the centred outputs at this temperature, and the new centre (K,): momentum *
    centre + (1 - momentum) * the mean of the outputs, uncentred.
    """
    ### BEGIN SOLUTION
    outputs = outputs.detach()
    probabilities = ((outputs - centre) / temperature).softmax(1)
    return probabilities, momentum * centre + (1 - momentum) * outputs.mean(0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_centre_and_sharpen", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(centre_and_sharpen)
### BEGIN HIDDEN TESTS
assert check(centre_and_sharpen).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two independent lines. In what order does the first one centre, sharpen and take the softmax?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The centre is one vector of K numbers: a mean over the crops, dimension 0. `outputs - centre` subtracts it from each row, and
# makes a new tensor; `outputs -= centre` would make the second line see centred outputs.
#
# </details>

# %% [markdown]
# ## 9. Numbers to know by heart
#
# *The lecture, on DINO: its crops, and its two ways to collapse.*
#
# There is no network here. Use pen and paper, then give a number for each question, as a formula of what is given. DINO
# has K prototypes, and G large and S small crops for each picture. Entropies and losses are in nats. The loss is the
# cross-entropy of exercise 7.
#
# - **a.** One prototype wins for every picture, with probability 1. What is the entropy of the teacher's probabilities?
# - **b.** All prototypes are equally likely for every picture. What is the entropy of the teacher's probabilities?
# - **c.** The student has learnt to give the same probabilities as the teacher in question a. What is the loss?
# - **d.** The student says that all prototypes are equally likely. The teacher is sure, of a different prototype for
#   each picture. What is the loss?
# - **e.** How many pairs of crops are compared for one picture?
# - **f.** Teacher and student are equally large, and a crop costs in proportion to its area. A small crop has the share
#   a of a large crop's area. How much do the forward passes for one picture cost, in units of one network's pass over
#   one large crop?
#
# The lesson of c and d is that a loss near 0 may be a disaster, and that a loss of log K says only that the student is
# undecided. Plot the teacher's entropy.
#
# *10 minutes, ★★.* Points: 1 entropies, 1 losses, 1 pairs, 1 cost.


# %% nbgrader={"grade": false, "grade_id": "numbers_by_heart", "locked": false, "schema_version": 3, "solution": true, "task": false}
def numbers_by_heart(prototypes, large, small, share):
    """The answers to the six questions.

    prototypes (K), large (G) and small (S): whole numbers, K >= 2, G >= 2, S >= 0.
    share (a): a number in (0, 1), a small crop's area divided by a large one's. Returns
    six numbers, in this order: the answers to a, b, c, d, e and f.
    """
    ### BEGIN SOLUTION
    one_wins, uniform = 0.0, math.log(prototypes)
    copied, undecided = 0.0, math.log(prototypes)
    pairs = large * (large + small - 1)
    cost = large + (large + small * share)  # teacher, student
    return one_wins, uniform, copied, undecided, pairs, cost
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_numbers_by_heart", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(numbers_by_heart)
### BEGIN HIDDEN TESTS
assert check(numbers_by_heart).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The entropy is $-\sum_k P_k \log P_k$, with 0 log 0 = 0. For d: whichever prototype the teacher names, what is the student's
# $-\log P^s_k$ for it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# With two large crops and no small one there are two pairs, and four passes, each of a large crop.
#
# </details>

# %% [markdown]
# ## All together
#
# **A DINO of eighteen numbers.** A "picture" is a point in the plane. The points form six clusters, which lie to one
# side of the origin, as photographs too have much in common. Student and teacher are linear, with 2 inputs and 6
# outputs, the prototypes. A large crop moves the point a little, a small one more. Your `multicrop_loss` trains the
# student, your `ema_update` moves the teacher, and your `centre_and_sharpen` computes the teacher's probabilities.
# Train it three times: as it is; with the centre held at 0; with the teacher's temperature as high as the student's.
# (Not marked; some seconds.)


# %%
def ready(*answers):
    """Are all of them right? Says which are to do where one is not."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            f"To do: this runs as soon as {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} right."
        )
    return not missing


def tiny_dino(steps, centring=True, tau_s=0.2, tau_t=0.05):
    """The teacher's entropy after each step, and how many of the 6 prototypes win for
    some point."""
    g = torch.Generator().manual_seed(0)
    angles = torch.arange(6) * math.pi / 3
    points = (
        1
        + torch.stack([angles.cos(), angles.sin()], 1).repeat(16, 1)
        + 0.15 * torch.randn(96, 2, generator=g)
    )
    student = [
        (0.1 * torch.randn(shape, generator=g)).requires_grad_()
        for shape in ((2, 6), (6,))
    ]
    teacher, centre, entropies = (
        [p.detach().clone() for p in student],
        torch.zeros(6),
        [],
    )
    optimizer = torch.optim.Adam(student, lr=0.01)
    # two large crops, two small ones
    spread = torch.tensor([0.1, 0.1, 0.3, 0.3]).view(4, 1, 1)
    for step in range(steps):
        crops = points + spread * torch.randn(4, 96, 2, generator=g)
        outputs = crops[:2] @ teacher[0] + teacher[1]  # (2, 96, 6)
        loss = multicrop_loss(
            crops @ student[0] + student[1], outputs - centre, tau_s, tau_t
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        said, new = centre_and_sharpen(
            outputs.flatten(0, 1), centre, tau_t, momentum=0.9
        )
        entropies.append(-torch.xlogy(said, said).sum(1).mean().item())
        centre = new if centring else centre
        teacher = ema_update(teacher, student, start=0.9, progress=step / steps)
    return entropies, len(said.argmax(1).unique())


def collapses(steps):
    if not ready(ema_update, multicrop_loss, centre_and_sharpen, numbers_by_heart):
        return None
    runs = {
        "both": tiny_dino(steps),
        "no centring": tiny_dino(steps, centring=False),
        "no sharpening": tiny_dino(steps, tau_t=0.2),
    }
    for name, (entropies, winners) in runs.items():
        print(
            f"{name}: entropy {entropies[-1]:.2f} after {steps} steps, {winners} of 6 "
            "prototypes win somewhere"
        )
    one_wins, uniform, *_ = numbers_by_heart(6, 2, 2, 0.25)
    lines = {name: entropies for name, (entropies, _) in runs.items()}
    lines |= {
        "one prototype wins (a)": [float(one_wins)] * steps,
        "all equally likely (b)": [float(uniform)] * steps,
    }
    return curve(
        range(1, steps + 1),
        lines,
        title="Two ways to collapse, and how to avoid both",
        xlabel="step",
        ylabel="the teacher's entropy, nats",
    )


collapses(steps=10 if budget() == "smoke" else 120)

# %% [markdown]
# **A matrix becomes the identity.** Now take the same points and your `barlow_twins`. A small network makes five
# features from two noisy views. A point contains only two numbers. How different can all five features become?


# %%
def twins(steps):
    if not ready(barlow_twins):
        return None
    g = torch.Generator().manual_seed(0)
    weights = [
        (scale * torch.randn(shape, generator=g)).requires_grad_()
        for scale, shape in ((1.0, (2, 32)), (1.0, (32,)), (0.2, (32, 5)))
    ]
    optimizer, points = (
        torch.optim.Adam(weights, lr=0.01),
        torch.randn(256, 2, generator=g),
    )
    panels = {}
    for step in range(steps + 1):
        views = points + 0.1 * torch.randn(2, 256, 2, generator=g)
        z1, z2 = (views @ weights[0] + weights[1]).tanh() @ weights[2]
        matrix, loss = barlow_twins(z1, z2, off_diagonal=0.1)
        if step in (0, steps):
            panels["before training" if step == 0 else f"after {steps} steps"] = (
                matrix.detach()
            )
            print(f"loss {loss.item():.3f} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return matrices(
        panels,
        title="Your cross-correlation matrix",
        xlabel="feature, second view",
        ylabel="feature, first view",
        signed=tuple(panels),
    )


twins(steps=10 if budget() == "smoke" else 200)

# %% [markdown]
# ## What next
#
# With both centring and sharpening, the entropy settles somewhere between, and several prototypes share the points.
# Without one of the two, it ends at your answer to question a or b. Nobody told this DINO what a cluster is. Barlow's
# five features all become different, although the points have two numbers only: uncorrelated features may still depend
# on the same thing. Give `tiny_dino` other temperatures, or a `start` of 0 in `ema_update` (then the teacher is the
# student of the last step): what breaks first? Then train for real: the lecture trains DINO on scenes and watches the
# same entropy curve. And put your `byol_loss` or `simsiam_loss` in place of `multicrop_loss`, with one `detach`
# missing: how fast do all outputs become the same?
