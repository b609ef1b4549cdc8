# %% [markdown]
# # Exercises 12. Generative adversarial networks
#
# **A game of two networks, in ten short pieces.** You compute what the best discriminator would say if the labels of
# the real pictures are smoothed. You write the losses of both players, and repair a loss that somebody else wrote. You
# compute a distance that still helps where the discriminator has won. You keep a critic from getting too steep, in two
# ways. Then come labels and growing pictures. In the end the two networks play, with your own code.
#
# **You need** notebook 12, the lecture. Each exercise names the section that it builds on, and goes a step beyond it.
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
# | 1. The best discriminator for smoothed labels | 5 | 20 | ★★★ |
# | 2. What the discriminator wants | 5 | 10 | ★ |
# | 3. What the generator wants: find the faults | 5 | 15 | ★★ |
# | 4. Moving earth on a line | 4 | 15 | ★★ |
# | 5. Clipped, and how steep | 4 | 10 | ★★ |
# | 6. Not too steep | 6 | 20 | ★★★ |
# | 7. A norm for mixed labels | 5 | 15 | ★★ |
# | 8. Is it real, and is it a cat? | 4 | 10 | ★★ |
# | 9. Pictures that grow | 5 | 20 | ★★ |
# | 10. The two players | 7 | 25 | ★★★ |
# | **together** | **50** | **160** | |
#
# The notation is that of the lecture: $p$ (the lecture's $p_{\text{data}}$) for the data, $q$ ($p_g$) for the fakes. D
# always returns *logits* $l$: the probability that a picture is real is $D(x) = \sigma(l)$. The first line of each
# check must be right before the others count. Where an input may be float64, the result is float64, and computed in
# float64.

# %%
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.data import load
from course_lib.data.toys import circle_centres, gaussians
from course_lib.notebook import budget, checks, curve, describe, image_grid, subplots

check = checks("12_gan")

# %% [markdown]
# ## 1. The best discriminator for smoothed labels
#
# *Builds on section 2 of the lecture.*
#
# A discriminator that is very sure of real pictures gives poor gradients. So Salimans et al. (2016) give real pictures
# the label $1 - s$ instead of 1, for example 0.9. Fakes keep the label 0 (*one-sided label smoothing*). Then D
# maximises
#
# $$V_s = \sum_x p(x) \big[(1 - s) \log D(x) + s \log\big(1 - D(x)\big)\big] + q(x) \log\big(1 - D(x)\big).$$
#
# For $s = 0$ this is the game of section 2. Which $D^*$ is best for a given $s$? Differentiate at one $x$, as the
# lecture does. Then compute $D^*$ and the value $V_s$ for it.
#
# Probabilities of whole pictures are tiny, so they are given as logarithms, and must stay logarithms. Where both p and
# q are too small for the computer, the fraction is 0/0, though one may be seven times the other.
#
# *20 minutes, ★★★.* Points: 2 best D, 1 value of the game, 1 arguments left alone and float64 kept, 1 tiny
# probabilities.


# %% nbgrader={"grade": false, "grade_id": "optimal_discriminator", "locked": false, "schema_version": 3, "solution": true, "task": false}
def optimal_discriminator(log_p, log_q, smooth):
    """The output of the best discriminator, and the value of the game for it.

    log_p, log_q (K,): logarithms of two tables of K probabilities, of data and of
    fakes, float32 or float64; all finite, but exp may round them to 0. smooth: a number
    s, 0 <= s < 1; the label of real pictures is 1 - s. Returns two things: D* of each
    entry, (K,), in [0, 1]; and the value V_s of the game, a 0-d tensor, in nats.
    """
    ### BEGIN SOLUTION
    total = torch.logaddexp(log_p, log_q)
    log_s = torch.tensor(smooth, dtype=log_p.dtype).log()
    log_best = math.log(1 - smooth) + log_p - total
    log_rest = torch.logaddexp(log_s + log_p, log_q) - total
    real = (1 - smooth) * log_best + smooth * log_rest
    value = (log_p.exp() * real + log_q.exp() * log_rest).sum()
    return log_best.exp(), value
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_optimal_discriminator", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(optimal_discriminator)
### BEGIN HIDDEN TESTS
assert check(optimal_discriminator).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# With $a = (1 - s)\,p$ and $b = s\,p + q$ each term is $a \log D + b \log(1 - D)$, as in the lecture. Its best D is
# $a / (a + b)$. What is $a + b$?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $D^* = (1 - s)\, \sigma(\log p - \log q)$, because $p / (p + q) = 1 / (1 + e^{-(\log p - \log q)})$. And
# $1 - D^* = (s\, p + q) / (p + q)$.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.logaddexp(u, v)` is $\log(e^u + e^v)$, and never rounds to log 0. It takes $-\infty$ for u as well, which is
# $\log s$ for $s = 0$.
#
# </details>
# <details><summary>Hint 4</summary>
#
# In the value, p and q themselves are needed only as weights. There `exp` may round to 0, as long as the logarithm
# beside it is finite.
#
# </details>

# %% [markdown]
# ## 2. What the discriminator wants
#
# *Builds on sections 2 and 3 of the lecture.*
#
# Now the loss for exercise 1, from samples. D maximises the game's value, but optimisers minimise. With N real pictures
# $x_n$, M fakes and smoothing $s$ the loss is
#
# $$\begin{aligned}
# L_D = {} & -\frac1N \sum_{n=1}^{N} \big[(1 - s) \log D(x_n) + s \log\big(1 - D(x_n)\big)\big] \\
# & - \frac1M \sum_{m=1}^{M} \log\big(1 - D(G(z_m))\big).
# \end{aligned}$$
#
# This is a sum of two means, because there may be more fakes than real pictures. Only real pictures are smoothed. And D
# gets very sure of itself in this game. Where it is sure and wrong, with a logit of 1000 for a fake, the loss of this
# fake must be 1000, not infinity.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone and float64 kept, 1 a very sure D, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "discriminator_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def discriminator_loss(real, fake, smooth=0.0):
    """The loss of a discriminator that returns logits, with smoothed labels.

    real (N,), fake (M,): its logits for real pictures and for fakes, float32 or
    float64. smooth: a number s, 0 <= s < 1; the label of real pictures is 1 - s.
    Returns a 0-d tensor, in nats, not below 0. Gradient flows to both.
    """
    ### BEGIN SOLUTION
    real_part = (1 - smooth) * F.logsigmoid(real) + smooth * F.logsigmoid(-real)
    return -real_part.mean() - F.logsigmoid(-fake).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_discriminator_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(discriminator_loss)
### BEGIN HIDDEN TESTS
assert check(discriminator_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `F.logsigmoid(l)` is log D. What is log(1 - D), again as a `logsigmoid`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Or use `F.binary_cross_entropy_with_logits` twice. Its labels need not be 0 or 1. Try all logits 0: D is 1/2
# everywhere, and the loss must be log 4 for each s.
#
# </details>

# %% [markdown]
# ## 3. What the generator wants: find the faults
#
# *Builds on section 4 of the lecture.*
#
# A student wrote both losses of section 4 like this:
#
# ```python
# def generator_losses(fake):
#     d = fake.sigmoid()
#     saturating = F.binary_cross_entropy(d, torch.zeros_like(d))
#     non_saturating = F.binary_cross_entropy(d, torch.ones_like(d))
#     return saturating, non_saturating
# ```
#
# With the first loss the fakes get *worse* with every update. With the second loss they get better, until D is very
# sure of itself. Then the loss stays at 100, and the generator gets no gradient at all. Find both faults. The losses
# are
#
# $$L_{\text{sat}} = \frac1M \sum_m \log\big(1 - D(G(z_m))\big), \qquad L_{\text{non-sat}} = -\frac1M \sum_m \log D(G(z_m)).$$
#
# And a third loss. For the best D, section 4 says that $L_{\text{sat}}$ has the gradient of $2\,\mathrm{JSD}$, and
# $L_{\text{non-sat}}$ that of $\mathrm{KL}(q \| p) - 2\,\mathrm{JSD}$. Combine both losses into $L_{\mathrm{KL}}$,
# which has the gradient of $\mathrm{KL}(q \| p)$ alone. Simplify it: what remains of the logits? The figure at the end
# shows your slopes.
#
# *15 minutes, ★★.* Points: 2 all losses, 1 argument left alone and float64 kept, 1 a very sure D, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "generator_losses", "locked": false, "schema_version": 3, "solution": true, "task": false}
def generator_losses(fake):
    """Three losses of a generator.

    fake (M,): the discriminator's logits for fakes, float32 or float64. Returns three
    0-d tensors, in nats: the saturating loss (not above 0), the non-saturating loss
    (not below 0), and the loss of KL(q || p). All are to be minimised. Gradient flows
    from each.
    """
    ### BEGIN SOLUTION
    saturating, other = F.logsigmoid(-fake).mean(), -F.logsigmoid(fake).mean()
    return saturating, other, -fake.mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_generator_losses", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(generator_losses)
### BEGIN HIDDEN TESTS
assert check(generator_losses).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# All three get smaller as D(G(z)) gets larger. Does yours? `F.binary_cross_entropy(d, zeros)` is $-\log(1 - D)$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.binary_cross_entropy` gets probabilities, and a probability of $e^{-200}$ is 0 in float32. `F.logsigmoid` and the
# loss `with_logits` get the logits themselves.
#
# </details>
# <details><summary>Hint 3</summary>
#
# KL = (KL - 2 JSD) + 2 JSD, so add the two losses. $\log(1 - D) - \log D$ is minus a very simple function of the logit.
#
# </details>

# %% [markdown]
# ## 4. Moving earth on a line
#
# *Builds on section 7 of the lecture.*
#
# Where data and fakes do not overlap, the divergence of section 2 is log 2, whether they are near or far apart. The
# earth mover's distance asks how far the mass must be carried. On a line no mass needs to overtake other mass. In the
# lecture both samples have the same size. Here sample a has N points of mass 1/N, and sample b has M points of mass
# 1/M. So a point may have to be cut in pieces. With the points in order, $a_{(1)} \le a_{(2)} \le \dots$, let
#
# $$\begin{gathered}
# A(u) = a_{(i)} \quad \text{for } \tfrac{i - 1}{N} < u \le \tfrac iN, \qquad
# B(u) = b_{(j)} \quad \text{for } \tfrac{j - 1}{M} < u \le \tfrac jM, \\
# W_1 = \int_0^1 \big|A(u) - B(u)\big|\, du .
# \end{gathered}$$
#
# $A(u)$ is the place below which the share u of the mass lies. In more dimensions points cannot be sorted, so a WGAN
# needs a critic.
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone and float64 kept, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "wasserstein", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wasserstein(a, b):
    """The Wasserstein distance W1 of two samples on a line.

    a (N,), b (M,): points in any order, float32 or float64; N and M may differ.
    Returns a 0-d tensor, not below 0. Gradient flows to both.
    """
    ### BEGIN SOLUTION
    first = a.sort().values.repeat_interleave(len(b))
    second = b.sort().values.repeat_interleave(len(a))
    return (first - second).abs().mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_wasserstein", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(wasserstein)
### BEGIN HIDDEN TESTS
assert check(wasserstein).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# N = 2, M = 3: cut the mass into 6 pieces of mass 1/6. Each point of a is 3 pieces, each point of b is 2 pieces. The
# pieces are in order, so pair them one by one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.repeat_interleave(3)` repeats each number of x three times, and keeps the order. `a.sort()` returns two things,
# values and indices, and leaves a as it is.
#
# </details>

# %% [markdown]
# ## 5. Clipped, and how steep
#
# *Builds on section 7 of the lecture.*
#
# The first WGAN bounds its critic by force. After each update every weight is *clipped*:
#
# $$w \leftarrow \min\big(\max(w, -c),\, c\big) \quad \text{for every parameter } w.$$
#
# Do it *in place*, because the optimiser holds these same tensors. Gradients and buffers must not change. ("A clearly
# terrible way", say its authors; exercise 6 is the better way.)
#
# How steep can the critic be after that? The lecture says: $K$-Lipschitz for some $K$ that nobody has chosen. A linear
# layer with the matrix W enlarges the distance of two inputs at most by its largest singular value $\sigma(W)$. Tanh
# and ReLU never enlarge a distance, and adding a bias does not change it. So return the bound
#
# $$K = \prod_W \sigma(W),$$
#
# a product over all *matrices*, which are the parameters with two dimensions, *after* the clipping.
#
# *10 minutes, ★★.* Points: 2 all weights clipped, 1 nothing else changed, 1 the bound.


# %% nbgrader={"grade": false, "grade_id": "clip_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clip_weights(critic, c):
    """Clips all parameters of a critic to [-c, c], in place; returns a bound.

    critic: an nn.Module, whose layers may be inside other modules; its parameters,
    matrices and vectors of any shape, require gradients and have some. c: a number > 0.
    Returns the product of the largest singular values of all clipped matrices, a number
    or a 0-d tensor.
    """
    ### BEGIN SOLUTION
    bound = 1.0
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-c, c)
            if parameter.ndim == 2:
                bound = bound * torch.linalg.matrix_norm(parameter, 2)
    return bound
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_clip_weights", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(clip_weights)
### BEGIN HIDDEN TESTS
assert check(clip_weights).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `t.clamp(low, high)` makes a new tensor, `t.clamp_(low, high)` changes this one. A tensor that requires a gradient may
# be changed in place only where none is recorded: `with torch.no_grad():`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `critic.parameters()` finds the parameters of all layers, also of layers inside layers. `torch.linalg.svdvals(w)`
# contains the singular values of a matrix, the largest first.
#
# </details>

# %% [markdown]
# ## 6. Not too steep
#
# *Builds on section 7 of the lecture.*
#
# The theorem needs a critic whose slope is *at most* 1. The best plan joins pairs of a real picture and a fake. A best
# critic has slope 1 on the straight line between the two pictures of a pair, and may be flatter elsewhere. So why
# punish slopes below 1? Gulrajani et al. also name the **one-sided** penalty, which does not:
#
# $$P = \frac1N \sum_{n=1}^{N} \max\Big(0,\; \big\lVert \nabla_{\hat x} f(\hat x_n) \big\rVert_2 - 1 \Big)^2, \qquad \hat x_n = t_n\, x_n + (1 - t_n)\, G(z_n).$$
#
# The norm is over all numbers of one picture. Note that here the loss is made of a *gradient*. This gradient will be
# differentiated once more, with respect to the critic's weights. Without that, the value is right and the curve looks
# fine, but the penalty teaches the critic nothing. A critic may be flat everywhere: then the penalty is 0, and its
# gradient must be 0 as well, not NaN.
#
# *20 minutes, ★★★.* Points: 2 right values, 2 teaches the critic, 1 a flat critic, 1 arguments left alone and float64
# kept.


# %% nbgrader={"grade": false, "grade_id": "gradient_penalty", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradient_penalty(critic, real, fake, t):
    """How far the critic's slope is above 1, between real pictures and fakes.

    critic: a function, pictures (N, C, H, W) -> (N,), each number from its own picture.
    real, fake (N, C, H, W): pictures and fakes without gradient, float32 or float64;
    afterwards they still require none. t (N,), in [0, 1]: the real picture's share in
    each point. Returns a 0-d tensor, the mean over the N pairs. Gradient reaches the
    critic's weights.
    """
    ### BEGIN SOLUTION
    x = fake + t[:, None, None, None] * (real - fake)
    x.requires_grad_()
    slope = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return (slope.flatten(1).norm(dim=1) - 1).relu().square().mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_gradient_penalty", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(gradient_penalty)
### BEGIN HIDDEN TESTS
assert check(gradient_penalty).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.autograd.grad(output, x)[0]` is the gradient of one number with respect to x. For this, call
# `x.requires_grad_()` before the critic gets x. Each of the N outputs depends on its own picture only, so the gradient
# of their *sum* contains all their gradients.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `create_graph=True` makes the gradient itself something that can be differentiated.
#
# </details>
# <details><summary>Hint 3</summary>
#
# t has the shape (N,), but pictures (N, C, H, W), so use `t[:, None, None, None]`. And `flatten(1)` makes a row of each
# picture.
#
# </details>
# <details><summary>Hint 4</summary>
#
# The derivative of a root at 0 is infinite, and infinity times 0 is NaN. `Tensor.norm` takes care of that,
# `.square().sum().sqrt()` does not.
#
# </details>

# %% [markdown]
# ## 7. A norm for mixed labels
#
# *Builds on section 9 of the lecture.*
#
# The lecture's conditional BatchNorm gives each label a gain and a bias. Dumoulin et al. (2016) did this with *instance
# norm*, for styles of painting: every picture is normalised by itself. And they *mixed* styles. So a picture does not
# have one label, but shares of all labels: three quarters cat, one quarter dog. With the shares $s_{nk}$ of picture n,
#
# $$\hat x_{nchw} = \gamma_{nc}\, \frac{x_{nchw} - \mu_{nc}}{\sqrt{\sigma_{nc}^2 + \epsilon}} + \beta_{nc}, \qquad
# \gamma_{nc} = \sum_k s_{nk}\, \Gamma_{kc}, \quad \beta_{nc} = \sum_k s_{nk}\, B_{kc}.$$
#
# $\Gamma$ and $B$ are the tables of gains and biases, with a row for each label. $\mu_{nc}$ and $\sigma_{nc}^2$ are the
# mean and the variance of channel c of picture n over its positions; the variance is the plain mean of the squares.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone and float64 kept, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "conditional_instance_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conditional_instance_norm(x, gain, bias, shares, eps):
    """Instance norm with a gain and a bias that are mixed from those of all labels.

    x (N, C, H, W): maps, float32 or float64. gain, bias (classes, C): a row for each
    label, of the same dtype. shares (N, classes): shares of each picture, in [0, 1],
    with sum 1, of the same dtype. eps: a number > 0. Returns maps (N, C, H, W).
    Gradient flows to all four.
    """
    ### BEGIN SOLUTION
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    normal = (x - mean) / (variance + eps).sqrt()
    return (shares @ gain)[:, :, None, None] * normal + (shares @ bias)[
        :, :, None, None
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conditional_instance_norm", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(conditional_instance_norm)
### BEGIN HIDDEN TESTS
assert check(conditional_instance_norm).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.mean((2, 3), keepdim=True)` has the shape (N, C, 1, 1): one number for each channel of each picture. `x.var`
# divides by one less, unless you set `correction=0`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The sum over k is a matrix product of (N, classes) and (classes, C). For maps it needs two more dimensions:
# `[:, :, None, None]`.
#
# </details>

# %% [markdown]
# ## 8. Is it real, and is it a cat?
#
# *Builds on section 9 of the lecture.*
#
# Labels cost money, so half of a batch may have none. Let h be the discriminator's features of a picture, and let $y_n
# = -1$ mean that picture n has no label. Where there is a label, the logit answers two questions, as in the lecture.
# Where there is none, only the first one:
#
# $$\text{logit}(x_n, y_n) = \langle \psi, h_n \rangle + \begin{cases} \langle v_{y_n}, h_n \rangle & \text{if } y_n \ge 0 \\ 0 & \text{if } y_n = -1 . \end{cases}$$
#
# The first part asks "is it real?", the second "is it a $y_n$?". $v_y$ is row y of a table that is learnt. There is no
# softmax, and the other classes do not matter. (What is `table[-1]`?)
#
# *10 minutes, ★★.* Points: 2 right values, 1 arguments left alone and float64 kept, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "projection_logit", "locked": false, "schema_version": 3, "solution": true, "task": false}
def projection_logit(h, psi, table, y):
    """The logit of a projection discriminator, for pictures with and without label.

    h (N, D): features of N pictures, float32 or float64. psi (D,). table (classes, D):
    a row v for each class. y (N,): labels, int64, or -1 for no label. Returns logits
    (N,). Gradient flows to h, psi and table.
    """
    ### BEGIN SOLUTION
    labelled = (y >= 0).to(h.dtype)
    return h @ psi + labelled * (table[y] * h).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_projection_logit", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(projection_logit)
### BEGIN HIDDEN TESTS
assert check(projection_logit).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `table[y]` is (N, D): for each picture the row of its own label. An index of -1 means the *last* row, so these rows
# must not count.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Inner products row by row are not a matrix product, so multiply, then sum over D. `(y >= 0)` is true or false for each
# picture; as a number it is 1 or 0.
#
# </details>

# %% [markdown]
# ## 9. Pictures that grow
#
# *Builds on section 10 of the lecture.*
#
# A generator with L levels first learns small pictures, then twice as large ones, and so on. Training has $2L - 1$
# phases: level 0 alone, level 1 fading in, level 1 alone, level 2 fading in, ..., level $L - 1$ alone. In the lecture
# all phases are equally long. Here each phase has its own *length*, for example longer ones for larger pictures. The
# lengths are given in any unit, and `progress` is the share of their sum that has passed. While a level fades in, its
# $\alpha$ grows evenly from 0 to 1 in that phase, and the generator shows
#
# $$(1 - \alpha)\, \text{enlarged}(\text{old}) + \alpha\, \text{new}.$$
#
# Enlarging makes four equal pixels of each pixel. At the very end, at progress 1, the last level is alone.
#
# *20 minutes, ★★.* Points: 3 the next level fades in, 1 one level alone in between, 1 arguments left alone and float64
# kept.


# %% nbgrader={"grade": false, "grade_id": "grown", "locked": false, "schema_version": 3, "solution": true, "task": false}
def grown(pictures, progress, lengths):
    """What a growing generator shows at some point of its training.

    pictures: a list of L >= 1 tensors, the same pictures as the levels paint them:
    level i is (N, C, S * 2^i, S * 2^i), float32 or float64. progress: a number in [0,
    1]. lengths: a list of 2 L - 1 numbers > 0, one for each phase. Returns one tensor:
    a level's pictures where it is alone; where level i is fading in, the mixture with
    level i - 1, in level i's size.
    """
    ### BEGIN SOLUTION
    phase, last = 0, len(lengths) - 1
    passed = progress * sum(lengths)
    while phase < last and passed >= lengths[phase]:
        passed -= lengths[phase]
        phase += 1
    level, alpha = phase // 2, passed / lengths[phase]
    if phase % 2 == 0:
        return pictures[level]
    old = pictures[level].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return (1 - alpha) * old + alpha * pictures[level + 1]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_grown", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(grown)
### BEGIN HIDDEN TESTS
assert check(grown).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Multiply `progress` by the sum of all lengths. Then subtract the lengths of the phases that are over. What is left
# says how far the present phase has come. In even phases (counted from 0) a level is alone. Which one?
#
# </details>
# <details><summary>Hint 2</summary>
#
# L = 2 with the lengths 1, 2, 1: at progress 0.5 two units have passed. The first phase has taken one of them, so the
# second phase is half over, and level 1 has $\alpha = 1/2$. At progress 1 nothing is left after the last phase, and
# there is no next phase.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.repeat_interleave(2, dim=2)` repeats each row of pixels; `F.interpolate(x, scale_factor=2)` does both directions at
# once, and repeats pixels by default.
#
# </details>

# %% [markdown]
# ## 10. The two players
#
# *Builds on section 3 of the lecture.*
#
# Now let them play. Both networks start with a given function `init` (in the lecture: small normal weights). Then, in
# each round:
#
# 1. k times: a batch of real pictures, noise, and one step of gradient descent on $L_D$ of exercise 2 with $s = 0$, for
#    D's parameters *only*;
# 2. once: noise, and one step on the non-saturating loss of exercise 3, for G's parameters *only*;
# 3. once: the *average* moves. It is a copy of the generator, made after `init`, and its parameters follow those of the
#    generator: $\bar w \leftarrow m\, \bar w + (1 - m)\, w$, with the momentum m.
#
# A step is plain gradient descent, $w \leftarrow w - \text{lr} \cdot \partial L / \partial w$. What can go wrong? G's
# gradient flows through D. D's gradient flows into G unless you stop it. And gradients add up until you clear them. You
# may use `torch.optim.SGD`. The networks that you were given learn in place, and stay trainable and in training mode.
#
# *25 minutes, ★★★.* Points: 1 both networks start with init, 2 the discriminator moves k times, 1 then the generator
# once, 1 round after round, 1 the average, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "Adversaries", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Adversaries:
    """Two networks that learn from each other, and an average of the first one.

    generator: an nn.Module, noise (N, Z) -> fakes like the real batches. discriminator:
    an nn.Module, a batch -> logits (N,). init: a function that changes all parameters
    of a network in place, once. lr: a number > 0. momentum: a number in [0, 1), that of
    the average. Both networks learn in place. The attribute `average` is an nn.Module
    like the generator.
    """

    def __init__(self, generator, discriminator, init, lr, momentum):
        """Calls init on both networks, then makes the average."""
        ### BEGIN SOLUTION
        init(generator)
        init(discriminator)
        self.generator, self.discriminator = generator, discriminator
        self.lr, self.momentum = lr, momentum
        self.average = copy.deepcopy(generator)
        ### END SOLUTION

    def step(self, reals, noises):
        """One round: reals[i] and noises[i] are for D's turn i, noises[k] is G's.

        reals: a list of k >= 1 batches of N real pictures or points; noises: a list of
        k + 1 tensors (N, Z). What it returns does not matter.
        """
        ### BEGIN SOLUTION
        for real, noise in zip(reals, noises):
            fake = self.generator(noise).detach()
            self.descend(
                discriminator_loss(self.discriminator(real), self.discriminator(fake)),
                self.discriminator,
            )
        saturating, other, divergence = generator_losses(
            self.discriminator(self.generator(noises[-1]))
        )
        self.descend(other, self.generator)
        self.follow()

    def descend(self, loss, network):
        parameters = list(network.parameters())
        with torch.no_grad():
            for parameter, slope in zip(
                parameters, torch.autograd.grad(loss, parameters)
            ):
                parameter -= self.lr * slope

    @torch.no_grad()
    def follow(self):
        m = self.momentum
        for old, new in zip(self.average.parameters(), self.generator.parameters()):
            old.copy_(m * old + (1 - m) * new)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_Adversaries", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(Adversaries)
### BEGIN HIDDEN TESTS
assert check(Adversaries).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.autograd.grad(loss, list(net.parameters()))` gives the gradients of one player and stores none. With
# `loss.backward()`, call `zero_grad()` just before.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In D's turn use `self.generator(noise).detach()`, so that the fakes are only data. In G's turn nothing is detached,
# because G's gradient comes *through* D. But D does not move.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `zip(reals, noises)` stops with the shorter list, so `noises[-1]` is left for the generator. Change parameters in
# place, with `torch.no_grad()`.
#
# </details>
# <details><summary>Hint 4</summary>
#
# `copy.deepcopy(generator)` makes the average. `zip(average.parameters(), generator.parameters())` pairs their
# parameters.
#
# </details>

# %% [markdown]
# ## All together
#
# **Near or far.** The data lie around 0. The fakes have the same shape, moved by d. What do your
# `optimal_discriminator` and your `wasserstein` say about them? And which slope does a generator get from your
# `generator_losses`, when the discriminator believes with probability D that a fake is real?


# %%
def ready(*answers):
    """Are all answers right? If one is not, prints what is left to do."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            f"To do: this runs as soon as {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} right."
        )
    return not missing


def distances():
    if not ready(optimal_discriminator, wasserstein):
        return None
    shifts, line = [i / 5 for i in range(26)], torch.linspace(-5, 10, 500)
    # a Gaussian's quantiles, sigma = 1/2
    points = torch.special.ndtri((torch.arange(200) + 0.5) / 200) / 2
    said = {"value of the game, plus log 4": [], "Wasserstein distance": []}
    for d in shifts:
        tables = [(-2 * (line - place).square()).log_softmax(0) for place in (0, d)]
        said["value of the game, plus log 4"].append(
            optimal_discriminator(*tables, 0.0)[1].item() + math.log(4)
        )
        said["Wasserstein distance"].append(wasserstein(points, points + d).item())
    return curve(
        shifts,
        said,
        title="Which distance still changes when the fakes come closer?",
        xlabel="d",
        ylabel="nats, or a distance",
    )


distances()


# %%
def slopes():
    if not ready(generator_losses):
        return None
    believed, lines = (
        [i / 50 for i in range(1, 50)],
        {"saturating": [], "non-saturating": [], "KL": []},
    )
    for d in believed:
        for which, name in enumerate(lines):
            logit = torch.logit(torch.tensor([d])).requires_grad_()
            lines[name].append(
                -torch.autograd.grad(generator_losses(logit)[which], logit)[0].item()
            )
    return curve(
        believed,
        lines,
        title="The generator's gradient for one fake",
        xlabel="D of the fake",
        ylabel="minus the slope for the logit",
    )


slopes()

# %% [markdown]
# **A picture grows.** Here is one emoji at four levels, from 4 x 4 pixels to 32 x 32, with your `grown`.


# %%
def growing():
    if not ready(grown):
        return None
    picture = load("scenes", "test").x[3:4] / 255
    pictures = [F.avg_pool2d(picture, 2**k) for k in (3, 2, 1, 0)]
    moments, lengths = [i / 15 for i in range(16)], [1, 1, 1, 2, 2, 4, 4]
    shown = [
        F.interpolate(grown(pictures, moment, lengths), size=32) for moment in moments
    ]
    return image_grid(
        torch.cat(shown),
        [f"{moment:.2f}" for moment in moments],
        title="Progress of a growing picture",
    )


growing()

# %% [markdown]
# **The game.** The data lie on eight islands, and your `Adversaries` trains two tiny networks. The generator starts as
# one random cloud. The colours behind the points show the output of your D. (This is not marked, and takes some
# seconds.)


# %%
def tiny_players():
    """Two networks for the plane, with a hidden layer each, and an init for both."""
    g = torch.Generator().manual_seed(0)

    def init(network):
        with torch.no_grad():
            for layer, size in ((network[0], 2.0), (network[2], 1.5 / 128**0.5)):
                for parameter in layer.parameters():
                    parameter.copy_(size * torch.randn(parameter.shape, generator=g))

    generator = nn.Sequential(nn.Linear(2, 128), nn.Tanh(), nn.Linear(128, 2))
    discriminator = nn.Sequential(
        nn.Linear(2, 128), nn.Tanh(), nn.Linear(128, 1), nn.Flatten(0)
    )
    return generator, discriminator, init


@torch.no_grad()
def look(ax, generator, discriminator, title):
    """Draws real points, fakes and D's output; prints the state of the game."""
    g = torch.Generator().manual_seed(1)
    real, fake = gaussians(500, g)[0], generator(torch.randn(500, 2, generator=g))
    line = torch.linspace(-2.6, 2.6, 80)
    plane = discriminator(torch.cartesian_prod(line, line)).sigmoid().view(80, 80).T
    ax.contourf(
        line, line, plane, levels=[i / 10 for i in range(11)], cmap="RdBu", alpha=0.6
    )
    ax.plot(*real.T, ".", markersize=2, color="black", label="real")
    ax.plot(*fake.T, ".", markersize=3, color="#E69F00", label="fake")
    ax.set(title=title, xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    nearest = torch.cdist(fake, circle_centres()).min(1)
    reached = len(nearest.indices[nearest.values < 0.3].unique())
    loss = discriminator_loss(discriminator(real), discriminator(fake)).item()
    print(
        f"{title}: {reached} of 8 islands reached, D's loss {loss:.2f} (log 4 = "
        f"{math.log(4):.2f}), "
        f"W of the horizontal places {wasserstein(real[:, 0], fake[:, 0]).item():.2f}"
    )


def game(rounds, k=1):
    if not ready(discriminator_loss, wasserstein, Adversaries):
        return None
    generator, discriminator, init = tiny_players()
    players, g = (
        Adversaries(generator, discriminator, init, lr=0.02, momentum=0.99),
        torch.Generator().manual_seed(2),
    )
    figure, axes = subplots(1, 3, height=3.4)
    for i, ax in enumerate(axes):
        for _ in range(rounds // 2 if i else 0):
            reals = [gaussians(128, g)[0] for _ in range(k)]
            players.step(
                reals, [torch.randn(128, 2, generator=g) for _ in range(k + 1)]
            )
        look(ax, generator, discriminator, f"after {i * (rounds // 2)} rounds")
    axes[0].legend(loc="upper left", markerscale=4)
    return describe(
        figure,
        "Eight islands of real points, the generator's points, and D's opinion, at "
        "three moments.",
    )


game(rounds=10 if budget() == "smoke" else 1500)

# %% [markdown]
# ## What next
#
# In the first picture D knows nothing, and its output is random. Later it is red (fake) where there are fakes but no
# data, and the fakes move away. The two keep circling, so a later picture need not be a better one, and D's loss does
# not say which is better. Give the game another `k`, a larger `lr`, or the saturating loss in `step`. What fails first?
# Put a critic in D's place, with the means of its outputs as losses and ten times your `gradient_penalty` (treat points
# as pictures of 1 x 1 pixel with two channels) or your `clip_weights` after each turn. How many islands are reached?
# Draw with `players.average` instead of the generator. Then train on pictures with convolutions, as the lecture does.
