# %% [markdown]
# # Exercises 08. Distillation
#
# **You write eleven short answers, and at the end you make a teacher collapse in two ways and prevent both.** You
# soften a teacher's outputs and train a student on them, and you move a target slowly. You write BYOL's and SimSiam's
# losses with the gradient in the right place, Barlow Twins' matrix, and VICReg's three terms. For DINO you write the
# pairs of crops, and you repair its centring and sharpening. You calculate when a linear network stays alive, and the
# numbers that tell you of a collapse.
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
# | 4. BYOL's loss for many views | 5 | 15 | ★★ |
# | 5. Where the gradient stops: SimSiam | 5 | 10 | ★★ |
# | 6. Barlow Twins' matrix, with weights | 6 | 20 | ★★★ |
# | 7. VICReg's three terms | 7 | 15 | ★★ |
# | 8. Pairs of crops, some of them missing | 6 | 20 | ★★★ |
# | 9. Find the faults: centring and sharpening | 6 | 15 | ★★ |
# | 10. When a linear network stays alive | 4 | 20 | ★★★ |
# | 11. Numbers to know by heart | 4 | 10 | ★★ |
# | **together** | **61** | **160** | |
#
# The first line of each check must be right before the other lines count.

# %%
import math

import torch
import torch.nn.functional as F
from IPython.display import display

from course_lib.notebook import budget, checks, curve, matrices

check = checks("08_distillation")

# %% [markdown]
# ## 1. Soft targets
#
# *The lecture, section 1.*
#
# A label says "dog". A teacher says "dog, perhaps wolf, never a bus", and a student can learn more from this *perhaps*.
# But a trained teacher is very sure, so the *perhaps* is a number like $10^{-4}$. A temperature $\tau > 1$ makes it
# larger. With $v_{nc}$ the logit of class c for picture n,
#
# $$q_{nc} = \frac{\exp(v_{nc} / \tau)}{\sum_{c'} \exp(v_{nc'} / \tau)}.$$
#
# Your function must be right for logits of $\pm 10^4$ too. And it must compute in the dtype of the logits: float32
# knows a number near $10^7$ only to the nearest whole number, float64 to eight decimals.
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
# *The lecture, section 1.*
#
# The student has two teachers: the network, with its soft targets $q$, and the labels $y_n$. With $p$ the student's
# soft targets *at the same temperature* and $p^{(1)}$ those at temperature 1,
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
# Write the divergence with $\log q - \log p$. `log_softmax` gives both logarithms without ever taking the logarithm of
# a 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The sum runs over the classes, the mean over the rows. `F.kl_div` needs care with both, and with the order of its
# arguments.
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
# *The lecture, section 2.*
#
# BYOL's target and DINO's teacher learn nothing by themselves. After each step they move a little towards the online
# network. The higher the momentum, the smaller is this move. The momentum grows during training, so that the target
# comes to rest. With $\theta$ a parameter of the online network, $\xi$ the same parameter of the target, and
# $t \in [0, 1]$ the progress,
#
# $$\mu(t) = 1 - (1 - \mu_0)\,\frac{\cos(\pi t) + 1}{2}, \qquad \xi \leftarrow \mu(t)\,\xi + (1 - \mu(t))\,\theta.$$
#
# At the start $\mu = \mu_0$, at the end $\mu = 1$. As in any update of weights, no gradient is kept, although the
# online parameters that you get require one.
#
# *15 minutes, ★★.* Points: 2 right average, 1 right schedule, 1 arguments left alone, 2 no gradient kept.


# %% nbgrader={"grade": false, "grade_id": "ema_update", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ema_update(target, online, start, progress):
    """The target's parameters after one step, as new tensors; the given ones stay as
    they are.

    target, online: lists of tensors, float32 or float64, of any shapes, the same shape
    at the same place; those of online require grad. start: the momentum at
    progress 0, in [0, 1]. progress: a number in [0, 1]. Returns a list of tensors like
    target's: mu * target + (1 - mu) * online, mu the momentum at this progress. They
    carry no gradient.
    """
    ### BEGIN SOLUTION
    mu = 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
    return [mu * t + (1 - mu) * o.detach() for t, o in zip(target, online)]
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
# A target network is slow: with a momentum near 1 it keeps nearly all of what it has. Which of the two gets the weight
# $\mu$?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Operations whose names end with an underscore write into their tensor. Here you need new tensors. `detach()` or
# `torch.no_grad()` keeps the gradient out.
#
# </details>

# %% [markdown]
# ## 4. BYOL's loss for many views
#
# *The lecture, section 2.*
#
# Predict the target network's output for *another* view. There are no negatives and no softmax, only the squared
# distance of two unit vectors. The lecture takes two views of each picture. Here there are V views, and each of them
# predicts each other one. A bar means "normalised to unit length". With $p^{(v)}$ the predictions from the online
# network for view v, and $z^{(w)}$ the target's projections of view w,
#
# $$L = \frac{1}{V (V - 1)} \sum_{v=1}^{V} \sum_{w = 1,\, w \ne v}^{V} \frac1N \sum_{n=1}^{N} \big\lVert \bar p^{(v)}_n - \bar z^{(w)}_n \big\rVert^2.$$
#
# The target's $z$ are the values to predict, so no gradient reaches them. The loss lies between 0 and 4. (For V = 2 it
# is half of the lecture's loss, which adds the two directions.)
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 2 right gradient, for the predictions only.


# %% nbgrader={"grade": false, "grade_id": "byol_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def byol_loss(p, z):
    """BYOL's loss, averaged over all ordered pairs of different views.

    p (V, N, D): predictions made from each of V >= 2 views of N pictures; z (V, N, D):
    the target's projections of the same views. Both float32 or float64; the vectors
    along the last dimension have any Euclidean norm but 0. Returns the squared distance
    between unit vectors, p of one view and z of another, averaged over the pictures and
    over the V (V - 1) pairs: a 0-d tensor. No gradient reaches z.
    """
    ### BEGIN SOLUTION
    p, z = F.normalize(p, dim=-1), F.normalize(z.detach(), dim=-1)
    pairs = (p[:, None] - z).square().sum(-1).mean(-1)  # (V, V)
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(pairs))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_byol_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(byol_loss)
### BEGIN HIDDEN TESTS
assert check(byol_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two loops over v and w with an `if v != w` are a good answer. How many pairs are there for V = 3?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.normalize(x, dim=-1)` normalises along the last dimension. A squared distance is a *sum* over the D coordinates;
# the mean is over the N pictures. (For unit vectors it is 2 - 2 cos, which is another way to write the whole exercise.)
#
# </details>

# %% [markdown]
# ## 5. Where the gradient stops: SimSiam
#
# *The lecture, section 3.*
#
# SimSiam is BYOL without the slow copy: the target is the same network, with the same weights. The predictor and the
# `detach` on the target keep it from always giving the same output. If you leave the `detach` out, or put it on the
# other side, the value of the loss is as before, but the training is ruined. So this check looks at the gradient.
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
# ## 6. Barlow Twins' matrix, with weights
#
# *The lecture, section 5.*
#
# Barlow Twins avoids the collapse in another way, with no stopped gradient, slow copy or negatives. It looks at the
# features, not at the pictures. A feature should agree with itself across the two views, and with no other feature.
#
# Here picture n has a weight $w_n \ge 0$. A batch may be filled up with pictures that should not count, and these have
# the weight 0. Divide the weights by their sum first: $\bar w_n = w_n / \sum_m w_m$. All means over the batch are
# weighted means. For feature i of view v
#
# $$\mu^{(v)}_i = \sum_n \bar w_n\, z^{(v)}_{ni}, \qquad
# \sigma^{(v)}_i = \sqrt{\sum_n \bar w_n \big(z^{(v)}_{ni} - \mu^{(v)}_i\big)^2},$$
#
# $$C_{ij} = \sum_n \bar w_n\, \frac{z^{(1)}_{ni} - \mu^{(1)}_i}{\sigma^{(1)}_i}\cdot\frac{z^{(2)}_{nj} - \mu^{(2)}_j}{\sigma^{(2)}_j},
# \qquad L = \sum_i (1 - C_{ii})^2 + \lambda \sum_i \sum_{j \ne i} C_{ij}^2.$$
#
# A feature that is 0 for the whole batch correlates with nothing: there $C_{ij} = 0$, not NaN, and the gradient of the
# loss is finite. All other features have a standard deviation of 0.01 or more. So what you add to a variance, or use as
# its lower limit, must be $10^{-8}$ or less.
#
# *20 minutes, ★★★.* Points: 2 right matrix, 1 right loss, 1 arguments left alone, 1 dead features, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "barlow_twins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def barlow_twins(z1, z2, weights, off_diagonal):
    """The weighted cross-correlation matrix of two views' features, and Barlow Twins'
    loss.

    z1, z2 (N, D), float32 or float64, N >= 2: projections of the two views, row n of
    both from picture n; a feature may be 0 in all rows. weights (N,), of the same
    dtype: >= 0, at least two of them > 0. off_diagonal: the weight lambda, a number >
    0. Returns two tensors: C (D, D), C_ij the correlation of feature i of z1 with
    feature j of z2, and the loss, 0-d. Gradient flows into both views.
    """
    ### BEGIN SOLUTION
    w = (weights / weights.sum())[:, None]
    z1, z2 = z1 - (w * z1).sum(0), z2 - (w * z2).sum(0)
    s1, s2 = ((w * z.square()).sum(0).clamp(min=1e-12).sqrt() for z in (z1, z2))
    c = (z1 / s1).T @ (w * z2 / s2)  # (D, D)
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
# The batch is dimension 0: one mean and one standard deviation for each column. A weight belongs to a row. Which shape
# must the weights have, so that `w * z` multiplies row n by $w_n$?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A matrix product sums over the inner dimension: (D, N) @ (N, D). The weights enter this sum once.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The loss compares C with the identity. Use `c.diagonal()` for the first sum, and all squares except those of the
# diagonal for the second. And keep the variance above some tiny number before you take the square root, because the
# derivative of the square root is infinite at 0.
#
# </details>

# %% [markdown]
# ## 7. VICReg's three terms
#
# *The lecture, end of section 5.*
#
# VICReg replaces the division by the standard deviation by a penalty. The penalty has one side: only features that vary
# *too little* pay. With the covariance matrix of one view,
# $\mathrm{Cov}(z)_{ij} = \frac{1}{N - 1}\sum_n (z_{ni} - \mu_i)(z_{nj} - \mu_j)$, and $\gamma$ the standard deviation
# that is asked for,
#
# $$\begin{aligned}
# v(z) &= \frac1D \sum_{j=1}^{D} \max\Big(0,\; \gamma - \sqrt{\mathrm{Cov}(z)_{jj} + 10^{-4}}\Big), \\
# c(z) &= \frac1D \sum_{i=1}^{D} \sum_{j \ne i} \mathrm{Cov}(z)_{ij}^2.
# \end{aligned}$$
#
# Return the three terms of the loss: the invariance $\frac1N\sum_n \lVert z^{(1)}_n - z^{(2)}_n\rVert^2$, the variance
# $v(z^{(1)}) + v(z^{(2)})$ and the covariance $c(z^{(1)}) + c(z^{(2)})$.
#
# *15 minutes, ★★.* Points: 2 right variance, 2 right covariance, 1 right invariance, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "vicreg_terms", "locked": false, "schema_version": 3, "solution": true, "task": false}
def vicreg_terms(z1, z2, floor):
    """VICReg's invariance, variance and covariance.

    z1, z2 (N, D), float32 or float64, N >= 2: projections of the two views, row n of
    both from picture n; a feature may be the same in all rows. floor: gamma, a number >
    0. Returns three 0-d tensors in this order: invariance, variance, covariance.
    Gradient flows into both views.
    """
    ### BEGIN SOLUTION
    invariance, variance, covariance = (z1 - z2).square().sum(1).mean(), 0.0, 0.0
    for z in (z1, z2):
        z = z - z.mean(0)
        c = z.T @ z / (len(z) - 1)  # (D, D)
        spread = (c.diagonal() + 1e-4).sqrt()
        variance = variance + (floor - spread).clamp(min=0).mean()
        off = c.square().sum() - c.diagonal().square().sum()
        covariance = covariance + off / len(c)
    return invariance, variance, covariance
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_vicreg_terms", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(vicreg_terms)
### BEGIN HIDDEN TESTS
assert check(vicreg_terms).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the variance and the covariance of *one* view, then add those of both. Subtract the mean of each column first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `clamp(min=0)` is max(0, .). Does a feature with a standard deviation of $2\gamma$ pay anything?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.cov` expects the features along the rows. Both sums, $v$ and $c$, are divided by D. The covariance is divided
# by $N - 1$.
#
# </details>

# %% [markdown]
# ## 8. Pairs of crops, some of them missing
#
# *The lecture, section 6.*
#
# DINO's teacher sees the G large crops of a picture. Its student sees all V crops: first the same G, in the same order,
# then the small ones. From each crop that it sees, the student should predict the teacher's output for each large crop.
# There is one exception: a crop is not compared with itself.
#
# In this batch some small crops are missing. $m_{jn}$ is 1 if crop j of picture n exists, else 0. The large crops
# always exist. The student's outputs for a missing crop are any numbers, and they must not count. With the teacher's
# outputs $t$ and the student's $s$,
#
# $$\begin{gathered}
# P^t = \text{softmax}(t / \tau_t), \qquad P^s = \text{softmax}(s / \tau_s), \\
# L = \frac{\sum_{i=1}^{G} \sum_{j = 1,\, j \ne i}^{V} \sum_{n=1}^{N} m_{jn} \sum_{k=1}^{K} -P^t_{ink} \log P^s_{jnk}}
#          {\sum_{i=1}^{G} \sum_{j = 1,\, j \ne i}^{V} \sum_{n=1}^{N} m_{jn}}.
# \end{gathered}$$
#
# So every comparison that exists has the same weight. $\tau_t$ is the lower temperature, because a teacher should be
# surer than its student. No gradient reaches the teacher. Your function must be right for $\tau = 0.01$ too.
#
# *20 minutes, ★★★.* Points: 2 right values, 1 arguments left alone, 1 low temperatures, 2 right gradient, for the student only.


# %% nbgrader={"grade": false, "grade_id": "multicrop_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def multicrop_loss(student, teacher, present, tau_s, tau_t):
    """DINO's loss over all pairs of crops that exist, except pairs of a crop with
    itself.

    student (V, N, K): outputs for V crops of N pictures. teacher (G, N, K), 1 <= G <=
    V, V >= 2: outputs for the first G of these crops, already centred. Both float32 or
    float64, of one dtype. present (V, N), bool: whether the crop exists; True for the
    first G. tau_s, tau_t: the temperatures of student and teacher, numbers > 0. Returns
    the cross-entropy, averaged over all comparisons that exist: a 0-d tensor, in nats.
    No gradient reaches the teacher.
    """
    ### BEGIN SOLUTION
    target = (teacher.detach() / tau_t).softmax(-1)
    log_p = (student / tau_s).log_softmax(-1)
    pairs = -(target[:, None] * log_p).sum(-1)  # (G, V, N)
    itself = torch.eye(len(teacher), len(student), dtype=torch.bool)
    counts = present & ~itself[:, :, None]  # (G, V, N)
    return pairs[counts].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_multicrop_loss", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(multicrop_loss)
### BEGIN HIDDEN TESTS
assert check(multicrop_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two loops, over i in range(G) and j in range(V), with an `if i != j` inside, are a good answer. Add up the terms that
# exist, and count them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For one cross-entropy, multiply the teacher's probabilities by the student's log probabilities and sum over K, the
# last dimension. `log_softmax` is safe where `log` of a softmax is not. `x[mask]` takes the entries where the mask is
# True.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Without loops: `target[:, None] * log_p` has the shape (G, V, N, K). `present` (V, N) fits to (G, V, N), and so does a
# mask of the pairs with i = j in the shape (G, V, 1).
#
# </details>

# %% [markdown]
# ## 9. Find the faults: centring and sharpening
#
# *The lecture, section 6.*
#
# There are two kinds of collapse: one prototype wins for every picture, or all are equally likely. Centring prevents
# the first and drives towards the second. Sharpening, a low temperature, prevents the second and drives towards the
# first. Together they keep the balance. With $t_m$ the teacher's outputs for M crops (all of a batch), $c$ the centre
# and $\mu$ its momentum,
#
# $$P_m = \text{softmax}\big((t_m - c) / \tau_t\big), \qquad c \leftarrow \mu\, c + (1 - \mu)\, \frac1M \sum_{m=1}^{M} t_m.$$
#
# The mean is that of the outputs *as they came*, not of the centred ones. The new centre is for the next batch, not for
# this one. Neither result carries a gradient.
#
# A student handed in this program. On the outputs of a network it runs without an error, but **it has five faults.**
# (One fault can have two effects.)
#
# ```python
# def centre_and_sharpen(outputs, centre, temperature, momentum):
#     outputs += centre
#     centre = (1 - momentum) * centre + momentum * outputs.mean(0)
#     probabilities = (outputs / temperature).softmax(0)
#     return probabilities, centre
# ```
#
# Find them, and write the function as it should be.
#
# *15 minutes, ★★.* Points: 2 right probabilities, 2 right centre, 1 arguments left alone, 1 no gradient kept.


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
# Compare each line with the formula: a sign, two weights, a dimension. Then ask of each line what it changes: which
# tensor does `+=` write into, and what does the line below it see?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The teacher's outputs may require a gradient. What do the two results keep of it? And along which dimension should the
# probabilities sum to 1?
#
# </details>

# %% [markdown]
# ## 10. When a linear network stays alive
#
# *The lecture, end of section 4.*
#
# The lecture solves SimSiam for a linear network: $W$ has orthogonal rows of length $w$, the predictor is $P = p I$,
# the views are $x_1 = x + \text{noise}$ and $x_2 = x + \text{noise}$ with the *standard deviation* $s$ of the noise in
# each direction, $\mathbb{E}\,xx^\top = I$, and the weight decay is $\eta$. Now the target's output is only $c$ times
# the online network's, with a constant $0 < c \le 1$ (as if the target lagged behind while the features grow),
#
# $$L = \tfrac12\,\mathbb{E}\,\lVert P W x_1 - \mathrm{stopgrad}(c\,W x_2)\rVert^2.$$
#
# Repeat the derivation with pen and paper. After some time $w = p$ again. Then give a formula for each question:
#
# - **a.** Above which weight decay is there only the collapse? (Give the largest $\eta$ for which $p$ has a nonzero
#   value that does not change.)
# - **b.** At which $p > 0$ does the network end if it stays alive? ($\eta$ is smaller than your answer to a.)
# - **c.** The network starts with $w = p$. Below which $p$ does it fall into the collapse?
# - **d.** Now without the predictor, $P = I$. The features are $w = w_0 e^{rt}$. What is $r$?
#
# *20 minutes, ★★★.* Points: 1 for each question. (The check looks at question b first.)


# %% nbgrader={"grade": false, "grade_id": "linear_network", "locked": false, "schema_version": 3, "solution": true, "task": false}
def linear_network(noise, decay, lag):
    """The answers to the four questions.

    noise (s), decay (eta), lag (c): numbers > 0, lag <= 1, and a decay for which the
    network can stay alive. Returns four numbers, in this order: the answers to a, b, c
    and d.
    """
    ### BEGIN SOLUTION
    noisy = 1 + noise**2
    largest = lag**2 / (4 * noisy)
    root = math.sqrt(lag**2 - 4 * decay * noisy)
    alive, threshold = (lag + root) / (2 * noisy), (lag - root) / (2 * noisy)
    rate = lag - noisy - decay
    return largest, alive, threshold, rate
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_linear_network", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(linear_network)
### BEGIN HIDDEN TESTS
assert check(linear_network).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\nabla_P L = \big((1 + s^2) P - c I\big) W W^\top$. Find $\nabla_W L$ in the same way: only the prediction has a
# gradient. Then write $\dot p$ and $\dot w$, each with its weight decay.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With $w = p$: $\dot p = p\,\big(c\,p - (1 + s^2)\,p^2 - \eta\big)$. Where is the bracket 0, and between which values
# is it positive? When has the quadratic equation no real solution?
#
# </details>

# %% [markdown]
# ## 11. Numbers to know by heart
#
# *The lecture, section 6.*
#
# There is no network here. Use pen and paper, then give a number for each question, as a formula of what is given. DINO
# has K prototypes, and G large and S small crops for each picture, and none is missing. Entropies and losses are in
# nats. The loss is the cross-entropy of exercise 8. *The mean* is the mean of the teacher's probabilities over all
# pictures.
#
# - **a.** One prototype wins for every picture, with probability 1. What is the entropy of the teacher's probabilities
#   for one picture?
# - **b.** The same teacher. What is the entropy of the mean?
# - **c.** The ideal: the teacher is sure of each picture, and every prototype wins for equally many pictures. What is
#   the entropy of the teacher's probabilities for one picture?
# - **d.** The same ideal teacher. What is the entropy of the mean?
# - **e.** The student has learnt to give the same probabilities as the teacher in question a. What is the loss?
# - **f.** Teacher and student both say that all prototypes are equally likely, for every picture. What is the loss?
# - **g.** How many pairs of crops are compared for one picture?
# - **h.** Teacher and student are equally large, and a crop costs in proportion to its area. A small crop has the share
#   a of a large crop's area. How much do the forward passes for one picture cost, in units of one network's pass over
#   one large crop?
#
# What do you learn from this? A loss near 0 may be a collapse (e), and a high loss may be one, too (f). The entropy of
# single pictures cannot tell the collapse (a) from the ideal (c). The entropy of the mean can (b, d). But it does not
# notice the other collapse, in which all outputs are equal. So plot both entropies.
#
# *10 minutes, ★★.* Points: 1 entropies, 1 losses, 1 pairs, 1 cost.


# %% nbgrader={"grade": false, "grade_id": "numbers_by_heart", "locked": false, "schema_version": 3, "solution": true, "task": false}
def numbers_by_heart(prototypes, large, small, share):
    """The answers to the eight questions.

    prototypes (K), large (G) and small (S): whole numbers, K >= 2, G >= 2, S >= 0.
    share (a): a number in (0, 1), a small crop's area divided by a large one's. Returns
    eight numbers, in this order: the answers to a, b, c, d, e, f, g and h.
    """
    ### BEGIN SOLUTION
    most = math.log(prototypes)
    one_wins, of_its_mean = 0.0, 0.0
    ideal, of_ideal_mean = 0.0, most
    copied, uniform = 0.0, most
    pairs = large * (large + small - 1)
    cost = large + (large + small * share)  # teacher, student
    entropies = one_wins, of_its_mean, ideal, of_ideal_mean
    return *entropies, copied, uniform, pairs, cost
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_numbers_by_heart", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(numbers_by_heart)
### BEGIN HIDDEN TESTS
assert check(numbers_by_heart).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The entropy is $-\sum_k P_k \log P_k$, with 0 log 0 = 0. For b and d, first write the mean of the probabilities: which
# share has each prototype? For f: whichever prototype you take, what is the student's $-\log P^s_k$ for it?
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
# The first figure shows the entropy of the teacher's probabilities for one point (the mean over the points), the second
# one the entropy of their mean. (Not marked; some seconds.)


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
    """The entropy of the teacher's probabilities for one point, and of their mean,
    after each step; and how many of the 6 prototypes win for some point."""
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
    teacher, centre = [p.detach().clone() for p in student], torch.zeros(6)
    each, of_mean = [], []
    present = torch.ones(4, 96, dtype=torch.bool)
    optimizer = torch.optim.Adam(student, lr=0.01)
    # two large crops, two small ones
    spread = torch.tensor([0.1, 0.1, 0.3, 0.3]).view(4, 1, 1)
    for step in range(steps):
        crops = points + spread * torch.randn(4, 96, 2, generator=g)
        outputs = crops[:2] @ teacher[0] + teacher[1]  # (2, 96, 6)
        loss = multicrop_loss(
            crops @ student[0] + student[1], outputs - centre, present, tau_s, tau_t
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        said, new = centre_and_sharpen(
            outputs.flatten(0, 1), centre, tau_t, momentum=0.9
        )
        each.append(torch.special.entr(said).sum(1).mean().item())
        of_mean.append(torch.special.entr(said.mean(0)).sum().item())
        centre = new if centring else centre
        teacher = ema_update(teacher, student, start=0.9, progress=step / steps)
    return each, of_mean, len(said.argmax(1).unique())


def collapses(steps):
    if not ready(ema_update, multicrop_loss, centre_and_sharpen, numbers_by_heart):
        return None
    runs = {
        "both": tiny_dino(steps),
        "no centring": tiny_dino(steps, centring=False),
        "no sharpening": tiny_dino(steps, tau_t=0.2),
    }
    for name, (each, of_mean, winners) in runs.items():
        print(
            f"{name}: after {steps} steps the entropy is {each[-1]:.2f}, that of the "
            f"mean {of_mean[-1]:.2f}, and {winners} of 6 prototypes win somewhere"
        )
    one_wins, _, _, largest, *_ = numbers_by_heart(6, 2, 2, 0.25)
    for which, ylabel in enumerate(("entropy, nats", "entropy of the mean, nats")):
        lines = {name: run[which] for name, run in runs.items()}
        lines |= {
            "one prototype wins (a, b)": [float(one_wins)] * steps,
            "all equally likely (d)": [float(largest)] * steps,
        }
        display(
            curve(
                range(1, steps + 1),
                lines,
                title=f"Two ways to collapse: the teacher's {ylabel}",
                xlabel="step",
                ylabel=ylabel,
            )
        )


collapses(steps=10 if budget() == "smoke" else 120)

# %% [markdown]
# **A matrix becomes the identity.** Now take 256 other points of the plane, drawn from a normal distribution, and
# your `barlow_twins`. A small network makes five features from two noisy views. A point contains only two numbers.
# Can five features of it become uncorrelated?


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
        matrix, loss = barlow_twins(z1, z2, torch.ones(256), off_diagonal=0.1)
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
# Without centring, both entropies fall to 0: one prototype wins for all points. Without sharpening, both end near your
# answer to d: all prototypes are almost equally likely. With both remedies the entropy of a point is low, too, and only
# the entropy of the mean shows that several prototypes share the points. No label says which cluster a point belongs
# to. Barlow's five features become less correlated, although the points have two numbers only: uncorrelated features
# may still depend on the same thing. Give `tiny_dino` other temperatures, or a `start` of 0 in `ema_update` (then the
# teacher is a copy of the student at first, and the schedule still makes it slow at the end): what breaks first? Then
# train for real: the lecture trains DINO on scenes and watches the same entropies. And put your `byol_loss` or
# `simsiam_loss` in place of `multicrop_loss`, with one `detach` missing: how fast do all outputs become the same?
