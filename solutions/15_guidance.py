# %% [markdown]
# # Exercises 15. Guidance
#
# **A conditional model gets a label that says what to draw. Guidance makes it follow the label more closely.** In
# twelve short exercises you write both kinds of guidance, with a classifier and without. You also write label dropout
# (which the second kind needs), the vector of a caption, one guided step of a sampler, and the exact classifier of
# noisy points. Gaussians show that guided sampling does not draw from the distribution that its formula suggests.
# At the end your functions train a small conditional model and guide it in both ways.
#
# **You need** notebook 15, the lecture, and from notebook 14 the jump from $x_0$ to $x_t$ and DDIM. Each exercise names
# the part of the lecture it belongs to.
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
# | 1. Label dropout | 4 | 10 | ★ |
# | 2. The guided noise | 5 | 10 | ★ |
# | 3. The classifier's gradient | 5 | 15 | ★★ |
# | 4. The gradient and v | 5 | 20 | ★★★ |
# | 5. Both answers in one pass | 5 | 15 | ★★ |
# | 6. A caption as one vector | 5 | 15 | ★★ |
# | 7. A guided step | 6 | 20 | ★★★ |
# | 8. The exact classifier | 5 | 20 | ★★★ |
# | 9. Two labels at once | 4 | 25 | ★★★ |
# | 10. Choosing w | 3 | 10 | ★ |
# | 11. A program with faults | 4 | 10 | ★★ |
# | 12. Numbers and choices | 3 | 15 | ★★ |
# | **together** | **54** | **185** | |
#
# All numbers of sections are those of the lecture. The weight w is that of Ho & Salimans and of the lecture: $w = 0$
# is the conditional model as it is, $w = -1$ the unconditional one. The argument `told` is the conditional prediction $\epsilon_\theta(x_t, t, y)$, with the label. The
# argument `untold` is the unconditional prediction $\epsilon_\theta(x_t, t)$, without it. The first line of each check
# must be right before the others count.

# %%
from functools import partial

import torch

from course_lib.data.toys import NOISE, circle_centres, gaussians
from course_lib.nets.mlp import TimedMLP
from course_lib.nets.unet import LabelEmbedding
from course_lib.notebook import budget, checks, curve, describe, subplots

check = checks("15_guidance")

# %% [markdown]
# ## 1. Label dropout
#
# *The lecture, section 2.*
#
# Guidance without a classifier needs two predictions, a conditional and an unconditional one. One network learns both.
# In training each label is replaced, with probability p, by a *null label* that stands for "no label". Each row of the
# batch is decided independently, by its own uniform number u in [0, 1): the label is dropped where $u < p$. A label is
# a class or a caption, which is a row of L tokens. A caption is dropped as a whole.
#
# *10 minutes, ★.* Points: 2 classes, 1 captions, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "label_dropout", "locked": false, "schema_version": 3, "solution": true, "task": false}
def label_dropout(y, null, uniform, p):
    """Labels, some of them replaced by the null label.

    y (N,) or (N, L): classes or captions, int64. null: the null label, int64, with the
    shape of one row of y: () or (L,). uniform (N,): numbers in [0, 1), float32 or
    float64. p: a number in [0, 1]. Returns labels, with the shape and dtype of y.
    """
    ### BEGIN SOLUTION
    dropped = uniform < p
    if y.ndim == 2:
        dropped = dropped[:, None]
    return torch.where(dropped, null, y)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_label_dropout", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(label_dropout)
### BEGIN HIDDEN TESTS
assert check(label_dropout).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.where(condition, a, b)` takes a where the condition holds and b elsewhere. It broadcasts: null may be
# smaller than y.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For captions the condition needs the shape (N, 1), so that one decision holds for all L tokens of a row.
#
# </details>

# %% [markdown]
# ## 2. The guided noise
#
# *The lecture, section 4.*
#
# The difference of the two predictions points from "any picture" to "the requested picture". Guidance goes further in
# this direction:
#
# $$\tilde\epsilon = (1 + w)\, \epsilon_\theta(x_t, t, y) - w\, \epsilon_\theta(x_t, t).$$
#
# w is one number for the whole batch, or a tensor (N,) with one weight for each row. Then one batch shows several
# weights side by side.
#
# *10 minutes, ★.* Points: 3 right values, 1 each row its own weight, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "guided_eps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guided_eps(told, untold, w):
    """The noise that classifier-free guidance gives to the sampler.

    told, untold (N, ...): the noise, as the conditional and the unconditional model
    predict it, float32 or float64. w: a number >= -1, or a tensor (N,) of such numbers,
    of the same dtype. Returns noise, with the shape and dtype of told.
    """
    ### BEGIN SOLUTION
    if isinstance(w, torch.Tensor):
        w = w.view(-1, *[1] * (told.ndim - 1))
    return told + w * (told - untold)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_guided_eps", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(guided_eps)
### BEGIN HIDDEN TESTS
assert check(guided_eps).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Try w = 0 and w = -1: the first must give `told`, the second `untold`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `isinstance(w, torch.Tensor)` says whether w is a tensor. With one weight for each row, w needs as many dimensions as
# `told` has: `w.view(-1, *[1] * (told.ndim - 1))`.
#
# </details>

# %% [markdown]
# ## 3. The classifier's gradient
#
# *The lecture, section 3.*
#
# The older kind of guidance asks a classifier of noisy pictures in which direction $x_t$ becomes more like class y:
#
# $$g_n = \nabla_{x_n} \log p(y_n \mid x_n), \qquad p(\cdot \mid x_n) = \operatorname{softmax}(\text{logits of } x_n).$$
#
# It is a gradient with respect to the *input*, and the weights are not trained. You need it inside a sampler, which
# runs under `torch.no_grad()`. So autograd must be switched on again there, for this computation only. One call of the
# classifier and one gradient are enough for the whole batch, because the logits of one row do not depend on the other
# rows.
#
# *15 minutes, ★★.* Points: 2 right values, 1 works inside `no_grad`, 1 leaves no trace in the weights, 1 arguments
# left alone.


# %% nbgrader={"grade": false, "grade_id": "classifier_gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def classifier_gradient(classifier, x_t, t, y):
    """The gradient of log p(y given x_t) with respect to x_t, row by row.

    classifier: a function, x_t (N, ...) and t (N,) -> logits (N, classes). x_t (N,
    ...): float32 or float64. t (N,): int64. y (N,): classes, int64. Returns gradients,
    with the shape and dtype of x_t. No weight gets a .grad, and the caller's x_t does
    not begin to require a gradient.
    """
    ### BEGIN SOLUTION
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)
        asked_for = log_p[torch.arange(len(y)), y]
        return torch.autograd.grad(asked_for.sum(), x)[0]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_classifier_gradient", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(classifier_gradient)
### BEGIN HIDDEN TESTS
assert check(classifier_gradient).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `log_p[torch.arange(len(y)), y]` picks one entry of each row. Autograd needs one number. Take the *sum* over the rows,
# because its gradient for row n is that of row n alone.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x_t.detach().requires_grad_()` is a tensor of your own that requires a gradient. `torch.autograd.grad(number, x)[0]`
# returns the gradient for x. Unlike `.backward()`, it writes into no weight.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Put `with torch.enable_grad():` around the whole computation.
#
# </details>

# %% [markdown]
# ## 4. The gradient and v
#
# *The lecture, section 3 (for $\epsilon$) and section 10.*
#
# Classifier guidance changes the noise to $\tilde\epsilon = \epsilon - s \sqrt{1 - \bar\alpha_t}\; g$, with the
# gradient g of exercise 3 and a scale s. But many models, also the lecture's, do not predict the noise. They predict
#
# $$v = \sqrt{\bar\alpha_t}\; \epsilon - \sqrt{1 - \bar\alpha_t}\; x_0, \qquad\text{where}\qquad x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon .$$
#
# What is the guided $\tilde v$? The sampler must get the same guided noise from $\tilde v$ as from $\tilde\epsilon$, at
# the same $x_t$. When the noise changes, the predicted $x_0$ changes, too. Each row has its own $\bar\alpha_t$, and a
# row may be a point or a picture.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 rows of any shape, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "classifier_guided_v", "locked": false, "schema_version": 3, "solution": true, "task": false}
def classifier_guided_v(v, gradient, abar, scale):
    """The v that classifier guidance gives to the sampler.

    v, gradient (N, ...): float32 or float64. abar (N,): abar_t in (0, 1) for the step
    of each row, of the same dtype. scale: a number >= 0. Returns v, with the shape and
    dtype of v.
    """
    ### BEGIN SOLUTION
    factor = ((1 - abar) / abar).sqrt().view(-1, *[1] * (v.ndim - 1))
    return v - scale * factor * gradient
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_classifier_guided_v", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(classifier_guided_v)
### BEGIN HIDDEN TESTS
assert check(classifier_guided_v).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Insert $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ into v. Then v is a factor times
# $\epsilon$, plus a part that depends on $x_t$ alone.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The factor is $\sqrt{\bar\alpha_t} + (1 - \bar\alpha_t) / \sqrt{\bar\alpha_t} = 1 / \sqrt{\bar\alpha_t}$. Multiply the
# change of the noise by it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# There is one factor for each row: (N,) must become (N, 1), or (N, 1, 1, 1), before it multiplies.
#
# </details>

# %% [markdown]
# ## 5. Both answers in one pass
#
# *The lecture, section 8.*
#
# Each guided step calls the network twice. On a GPU one pass over 2N rows is often faster than two passes over N. So
# stack the batch on a copy of itself: half of the rows with their labels, half with the null label. Call the network
# once, split its output, and combine the two halves as in exercise 2.
#
# *15 minutes, ★★.* Points: 2 right values, 1 one call of 2N rows, 1 captions, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "guided_in_one_pass", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guided_in_one_pass(eps, x_t, t, y, null, w):
    """The guided noise, with a single call of the network.

    eps: a function, x_t (M, ...), t (M,) and y, (M,) or (M, L) -> noise, as x_t. x_t
    (N, ...): float32 or float64. t (N,): int64. y (N,) or (N, L): labels, int64. null:
    () or (L,), the null label. w: a number >= -1. Returns noise, with the shape and
    dtype of x_t.
    """
    ### BEGIN SOLUTION
    labels = torch.cat([y, null.expand_as(y)])
    told, untold = eps(torch.cat([x_t, x_t]), torch.cat([t, t]), labels).chunk(2)
    return guided_eps(told, untold, w)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_guided_in_one_pass", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(guided_in_one_pass)
### BEGIN HIDDEN TESTS
assert check(guided_in_one_pass).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.cat([x_t, x_t])` is (2N, ...). Stack the step numbers too. `.chunk(2)` splits the output again.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `null.expand_as(y)` repeats the null label for every row, both for classes and for captions.
#
# </details>

# %% [markdown]
# ## 6. A caption as one vector
#
# *The lecture, section 9.*
#
# A caption is a row of L tokens. The token 0 means that there is no word, and it may stand at any place of the row. A
# text network has given each place a vector. The caption's vector is the mean of these vectors *over the words that are
# there*. For a caption without words it is zero: this is the null label of a model of captions. The network is trained
# through this mean, also with empty captions. So the gradient has to be right as well.
#
# *15 minutes, ★★.* Points: 2 right values, 1 empty captions, 1 gradient, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "caption_vector", "locked": false, "schema_version": 3, "solution": true, "task": false}
def caption_vector(vectors, tokens):
    """The mean vector of the words of each caption.

    vectors (N, L, D): one for each place, float32 or float64. tokens (N, L): int64, 0
    where there is no word. Returns (N, D), with zeros for a caption without words. The
    gradient reaches the vectors.
    """
    ### BEGIN SOLUTION
    told = (tokens != 0).to(vectors.dtype)
    words = told.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("nl,nld->nd", told / words, vectors)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_caption_vector", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(caption_vector)
### BEGIN HIDDEN TESTS
assert check(caption_vector).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `(tokens > 0)[:, :, None]` is 1 where there is a word. Multiply the vectors by it. Its sum is the number of words.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For an empty caption you would divide 0 by 0. If you replace the NaN afterwards, the value is right, but the gradient
# is not. Divide by at least 1: `count.clamp(min=1)`.
#
# </details>

# %% [markdown]
# ## 7. A guided step
#
# *The lecture, sections 4 and 10, and notebook 14 on DDIM.*
#
# A large w makes a large noise. Then the predicted picture,
#
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \tilde\epsilon}{\sqrt{\bar\alpha_t}},$$
#
# leaves the range of pixels. So it is clipped to [-limit, limit]. After this, the noise that belongs to the predicted
# picture is different too. Solve the same equation for it,
#
# $$\hat\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\; \hat x_0}{\sqrt{1 - \bar\alpha_t}},$$
#
# and go to step s with DDIM, without fresh noise:
#
# $$x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s}\; \hat\epsilon.$$
#
# *20 minutes, ★★★.* Points: 3 where the limit is not reached, 2 within the limit, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "guided_ddim_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guided_ddim_step(told, untold, w, x_t, abar_t, abar_s, limit):
    """From x_t to x_s at any earlier step s, by DDIM with guidance.

    told, untold, x_t (N, ...): the two predictions at x_t, and x_t itself; float32 or
    float64. w: a number >= -1. abar_t, abar_s: numbers, 0 < abar_t < abar_s <= 1.
    limit: a number > 0. Returns x_s, with the shape and dtype of x_t.
    """
    ### BEGIN SOLUTION
    eps = guided_eps(told, untold, w)
    x0 = ((x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5).clamp(-limit, limit)
    eps = (x_t - abar_t**0.5 * x0) / (1 - abar_t) ** 0.5
    return abar_s**0.5 * x0 + (1 - abar_s) ** 0.5 * eps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_guided_ddim_step", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(guided_ddim_step)
### BEGIN HIDDEN TESTS
assert check(guided_ddim_step).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You need four lines: the guided noise, the predicted picture (clipped to the limit), the noise that belongs to the
# clipped picture, and the step.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For Python numbers the root is `a**0.5`. `x.clamp(-limit, limit)` keeps numbers between the two.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Where the limit is not reached, the recomputed noise is the guided noise again.
#
# </details>

# %% [markdown]
# ## 8. The exact classifier
#
# *The lecture, section 3 (`MixtureNoise`).*
#
# Let the data be K equally likely Gaussians $\mathcal N(c_k, s^2 I)$, where the k-th has class $\ell_k$. A class may
# own several of them. After noising they have means $\sqrt{\bar\alpha}\, c_k$ and variance
# $v = \bar\alpha s^2 + 1 - \bar\alpha$ in each direction. Bayes' rule gives the classifier of noisy points:
#
# $$p(y \mid x_t) = \frac{\sum_{k : \ell_k = y} \exp\!\big(-\lVert x_t - \sqrt{\bar\alpha}\, c_k \rVert^2 / 2v\big)}{\sum_{k} \exp\!\big(-\lVert x_t - \sqrt{\bar\alpha}\, c_k \rVert^2 / 2v\big)}.$$
#
# Return its logarithm for each class. Far from all means each exp is 0 in floating point, but the logarithm of the
# fraction is still finite.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 far away, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "exact_label_posterior", "locked": false, "schema_version": 3, "solution": true, "task": false}
def exact_label_posterior(x_t, centres, labels, std, abar):
    """log p(y given x_t) of every class, for data from K equally likely Gaussians.

    x_t (N, D): noised points, centres (K, D): means of the data, float32 or float64.
    labels (K,): the class of each Gaussian, int64; each class in 0..max occurs. std:
    the data's s, a number >= 0. abar: a number in (0, 1), not a tensor. Returns (N,
    classes).
    """
    ### BEGIN SOLUTION
    v = abar * std**2 + 1 - abar
    exponent = (x_t[:, None] - abar**0.5 * centres).square().sum(2) / (-2 * v)
    classes = range(int(labels.max()) + 1)
    of_class = torch.stack([exponent[:, labels == y].logsumexp(1) for y in classes], 1)
    return of_class - exponent.logsumexp(1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_exact_label_posterior", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(exact_label_posterior)
### BEGIN HIDDEN TESTS
assert check(exact_label_posterior).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x_t[:, None] - m` is (N, K, D): the vectors from each mean to each point. The exponents are (N, K).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a.logsumexp(1)` is the logarithm of the sum of exponentials, however small these are. For one class take
# `a[:, labels == y]`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# You do not have to divide by a number of Gaussians. A class that owns three of eight has a larger prior probability,
# and the sums already contain it.
#
# </details>

# %% [markdown]
# ## 9. Two labels at once
#
# *The lecture, section 6 (for one label).*
#
# A user asks for M labels at once, each with its own scale. The guided noise starts from the unconditional one:
#
# $$\tilde\epsilon = \epsilon_\theta(x_t, t) + \sum_{m=1}^{M} s_m \big( \epsilon_\theta(x_t, t, y_m) - \epsilon_\theta(x_t, t) \big) .$$
#
# At each noise level, divided by $-\sqrt{1 - \bar\alpha_t}$, this is the score of
# $p_t(x_t) \prod_m \big( p_t(x_t \mid y_m) / p_t(x_t) \big)^{s_m}$. Without noise this is the *tilted density*,
# $p(x) \prod_m \big( p(x \mid y_m) / p(x) \big)^{s_m}$. Let $p = \mathcal N(0, 1)$ and
# $p(\cdot \mid y_m) = \mathcal N(0, c_m)$ with $c_m < 1$.
#
# *The samples.* Write $u = x_t / \sqrt{\bar\alpha_t}$ and $\sigma^2 = (1 - \bar\alpha_t) / \bar\alpha_t$. For data from
# $\mathcal N(0, a)$ the exact noise is $\epsilon = \sigma u / (a + \sigma^2)$, and DDIM in many small steps follows
#
# $$\frac{du}{d\sigma} = \tilde\epsilon,$$
#
# from a very large $\sigma$, where u has variance $\sigma^2$, down to 0. The guided noise is linear in u, so the
# result is a Gaussian. What is its variance?
#
# *The tilted density* is a Gaussian, too, up to a constant factor. What is its variance?
#
# *25 minutes, ★★★.* Points: 2 the samples' variance, 1 the tilted density's, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "two_variances", "locked": false, "schema_version": 3, "solution": true, "task": false}
def two_variances(c, s):
    """The variance of what DDIM draws, guided by M labels, and the one that the formula
    suggests.

    c (K, M): in each of K rows, the variances of the data given each of M labels, in
    (0, 1). s (K, M): the scales, >= 0. Both float32 or float64. Returns two tensors
    (K,): the variance of what guided DDIM draws with many steps, and that of the tilted
    density.
    """
    ### BEGIN SOLUTION
    samples = (c**s).prod(1)
    tilted = 1 / (1 + (s * (1 / c - 1)).sum(1))
    return samples, tilted
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_two_variances", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(two_variances)
### BEGIN HIDDEN TESTS
assert check(two_variances).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Divide by u. With $S = \sum_m s_m$, $\frac{d \log u}{d\sigma} = (1 - S) \frac{\sigma}{1 + \sigma^2} + \sum_m s_m \frac{\sigma}{c_m + \sigma^2}$. An antiderivative of $\frac{\sigma}{a + \sigma^2}$ is $\frac12 \log (a + \sigma^2)$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# So u is proportional to $(1 + \sigma^2)^{(1 - S) / 2} \prod_m (c_m + \sigma^2)^{s_m / 2}$, which is $\sigma$ for large
# $\sigma$. Insert $\sigma = 0$. The variance is the square.
#
# </details>
# <details><summary>Hint 3</summary>
#
# When densities are multiplied, inverse variances add up. A power multiplies them.
#
# </details>

# %% [markdown]
# ## 10. Choosing w
#
# *The lecture, section 7.*
#
# With a larger w, usually more of the draws look like what was asked for, but the draws also look more like each other.
# So take
# the *smallest* w that is good enough: the smallest w whose accuracy reaches a target. The accuracy comes from an
# evaluation classifier, which took no part in the guiding. Accuracy need not grow with w, and the measurements come in
# any order.
#
# *10 minutes, ★.* Points: 2 the smallest w, 1 where no w reaches the target.


# %% nbgrader={"grade": false, "grade_id": "choose_w", "locked": false, "schema_version": 3, "solution": true, "task": false}
def choose_w(w, accuracy, target):
    """The smallest w whose accuracy is at least the target.

    w, accuracy (K,): weights and the accuracy with each, in any order, float32 or
    float64. target: a number. Returns a number or a 0-d tensor; infinity if no w
    reaches the target.
    """
    ### BEGIN SOLUTION
    enough = w[accuracy >= target]
    return enough.min() if len(enough) else float("inf")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_choose_w", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(choose_w)
### BEGIN HIDDEN TESTS
assert check(choose_w).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `w[accuracy >= target]` holds the weights that are good enough.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `min` of nothing raises an error, so check `len` first. `float("inf")` is infinity.
#
# </details>

# %% [markdown]
# ## 11. A program with faults
#
# *The lecture, section 4.*
#
# This function should push *towards* a label y with weight w, and *away* from another label n with weight v. It has
# three faults.
#
# ```python
# def towards_and_away(eps_y, eps_n, eps, w, v):
#     towards = w * (eps - eps_y)
#     away = v * (eps_n - eps)
#     return eps + towards + away
# ```
#
# Here `eps_y` is $\epsilon_\theta(x_t, t, y)$, `eps_n` is $\epsilon_\theta(x_t, t, n)$ and `eps` is the unconditional
# $\epsilon_\theta(x_t, t)$. A right function has these properties.
#
# - With w = v = 0 it returns the conditional noise of y.
# - With v = 0 it is the guided noise of exercise 2.
# - With a classifier it would be
# $\epsilon_\theta(x_t, t) - \sqrt{1 - \bar\alpha_t}\; \nabla \big( (1 + w) \log p(y \mid x_t) - v \log p(n \mid x_t) \big)$.
#
# Write the right function.
#
# *10 minutes, ★★.* Points: 3 right values, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "towards_and_away", "locked": false, "schema_version": 3, "solution": true, "task": false}
def towards_and_away(eps_y, eps_n, eps, w, v):
    """The noise of guidance towards label y and away from label n.

    eps_y, eps_n, eps (N, ...): the noise that the model predicts with label y, with
    label n, and without a label; float32 or float64. w, v: numbers >= 0. Returns noise,
    with the shape and dtype of eps_y.
    """
    ### BEGIN SOLUTION
    towards = w * (eps_y - eps)
    away = v * (eps_n - eps)
    return eps_y + towards - away
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_towards_and_away", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(towards_and_away)
### BEGIN HIDDEN TESTS
assert check(towards_and_away).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# With w = v = 0 both pushes are gone. What must remain?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Take v = 0 and compare with exercise 2. Then ask of the other push: does it point towards n, or away from n?
#
# </details>

# %% [markdown]
# ## 12. Numbers and choices
#
# *The whole lecture; c: section 8, d: section 8 on label dropout.*
#
# There are five questions, and the answers are numbers.
#
# - **a.** A library calls its setting `guidance_scale` and computes $\epsilon_\theta(x_t, t) + \text{guidance\_scale}\, \big(\epsilon_\theta(x_t, t, y) - \epsilon_\theta(x_t, t)\big)$. Which w is that?
# - **b.** Classifier guidance is applied to the *unconditional* model, with an exact classifier. Which scale s gives
#   the same as a weight w in classifier-free guidance?
# - **c.** One picture is drawn by DDIM in S steps, with classifier-free guidance and a w that is neither 0 nor -1. How
#   many rows go through the network?
# - **d.** A conditional network was trained with a label dropout of 0. Then it is guided, with w well above 0. What happens? Answer with the number of a choice.
# - **e.** A network was trained correctly, with label dropout. By mistake y is the null label for every row that is
#   drawn, with w well above 0. What happens? Answer with the number of a choice.
#
# The choices for d and e:
#
# 1. The guided noise is that of the conditional model, whatever w is.
# 2. The guided noise is that of the unconditional model, whatever w is.
# 3. One of the two predictions is one for which the network was never trained. Its errors are multiplied by w.
# 4. Guidance works as well as ever, because it never needs the unconditional prediction.
#
# *15 minutes, ★★.* Points: 1 conventions (a, b), 1 cost (c), 1 choices (d, e).


# %% nbgrader={"grade": false, "grade_id": "numbers_and_choices", "locked": false, "schema_version": 3, "solution": true, "task": false}
def numbers_and_choices(guidance_scale, w, steps):
    """The answers to the five questions.

    guidance_scale (a) and w (b): numbers. steps (c): S, a whole number. Returns five
    numbers, in this order: the answers to a, b, c, d and e.
    """
    ### BEGIN SOLUTION
    a, b = guidance_scale - 1, w + 1
    rows = 2 * steps
    never_taught, both_untold = 3, 2
    return a, b, rows, never_taught, both_untold
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_numbers_and_choices", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(numbers_and_choices)
### BEGIN HIDDEN TESTS
assert check(numbers_and_choices).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For a: which w, and which guidance_scale, give the conditional model as it is? For b: replace `told` by `untold` plus
# the classifier's part, and count how often this part occurs.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For d and e write down how the network was trained for each of its two predictions, and what `told - untold` then is.
#
# </details>

# %% [markdown]
# ## All together
#
# **Gaussians.** Here is exercise 9 with your own steps. One number goes through 400 guided steps of DDIM with the exact
# noise of the Gaussians. The map is linear, so its factor gives the variance. This variance lies on the first of your
# formulas, not on the second.


# %%
def ready(*answers):
    """Are all answers right? Prints what is to do if one is not."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            f"To do: this runs as soon as {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} right."
        )
    return not missing


def drawn_variance(c, s, steps=400):
    """The variance of what DDIM draws, guided by labels with variances c and scales s,
    where all data are N(0, 1)."""
    sigma = torch.linspace(6, -6, steps, dtype=torch.float64).exp()
    levels = [*(1 / (1 + sigma.square())).tolist(), 1.0]
    x = torch.ones(1, 1, dtype=torch.float64)
    for abar_t, abar_s in zip(levels, levels[1:]):
        untold, *told = (
            (1 - abar_t) ** 0.5 * x / (abar_t * a + 1 - abar_t) for a in (1.0, *c)
        )
        eps = untold + sum(scale * (one - untold) for scale, one in zip(s, told))
        x = guided_ddim_step(eps, eps, 0.0, x, abar_t, abar_s, limit=1e9)
    return x.square().item()


def gaussians_by_scale():
    if not ready(guided_ddim_step, two_variances):
        return None
    first = torch.linspace(0, 4, 9, dtype=torch.float64)
    s = torch.stack([first, torch.ones(9, dtype=torch.float64)], 1)
    c = torch.tensor([0.5, 0.8], dtype=torch.float64)
    samples, tilted = two_variances(c.expand(9, 2).clone(), s)
    lines = {
        "drawn in 400 steps": [drawn_variance(c.tolist(), row) for row in s.tolist()],
        "of the samples (first formula)": samples.tolist(),
        "of the tilted density (second)": tilted.tolist(),
    }
    return curve(
        first.tolist(),
        lines,
        title="Variance of guided samples, two labels: c = 0.5 and 0.8",
        xlabel="scale of the first label (the second: 1)",
        ylabel="variance",
    )


gaussians_by_scale()

# %% [markdown]
# **Eight islands in three classes.** A small conditional network is trained with your `label_dropout`. Then points of
# noise become points of the first class, which owns four of the islands. The guidance grows from left to right. The
# upper row is guided by the network alone, the lower row by your exact classifier. (Not marked; about ten seconds.)

# %%
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])  # the class of each island
NULL = torch.tensor(3)


def trained(abar, steps):
    """A small network that predicts noise on the islands, with or without the class."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TimedMLP(2, 128, label=LabelEmbedding(3, 128))
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        x0, island = gaussians(256, g)
        t, eps = (
            torch.randint(len(abar), (256,), generator=g),
            torch.randn(256, 2, generator=g),
        )
        x_t = abar[t, None].sqrt() * x0 + (1 - abar[t, None]).sqrt() * eps
        y = label_dropout(LABELS[island], NULL, torch.rand(256, generator=g), 0.15)
        loss = (net(x_t, t, y) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"simple loss after {steps} updates: {loss.item():.2f}")
    return net


@torch.no_grad()
def flow(eps_fn, x, abar, jump=4):
    """From x_T to x_0 by your `guided_ddim_step`, `jump` steps at a time.

    eps_fn(x_t, t): the noise, already guided.
    """
    levels = abar.tolist()
    for t in range(len(levels) - 1, -1, -jump):
        eps = eps_fn(x, torch.full((len(x),), t))
        x = guided_ddim_step(
            eps,
            eps,
            0.0,
            x,
            levels[t],
            levels[t - jump] if t >= jump else 1.0,
            limit=2.0,
        )
    return x


def look(ax, x, name):
    """Draws the points; prints the share of them on each island of the class."""
    ax.plot(*x.T, ".", markersize=1.5, color="#0072B2")
    for y, marker in enumerate("+x1"):
        ax.plot(*circle_centres()[LABELS == y].T, marker, markersize=6, color="#D55E00")
    ax.set(
        xlim=(-2.2, 2.2),
        ylim=(-2.2, 2.2),
        aspect="equal",
        xticks=[],
        yticks=[],
        title=name,
    )
    nearest = torch.cdist(x, circle_centres()).min(1)
    landed = nearest.indices[nearest.values < 4 * NOISE]
    shares = landed.bincount(minlength=8) / len(x)
    print(
        f"{name}: on the islands of its class "
        f"{', '.join(f'{s:.0%}' for s in shares[:4])}; on others "
        f"{shares[4:].sum():.0%}"
    )


def islands(steps):
    if not ready(
        label_dropout,
        guided_in_one_pass,
        guided_ddim_step,
        classifier_gradient,
        classifier_guided_v,
        exact_label_posterior,
    ):
        return None
    abar = (1 - torch.linspace(0.03, 0.7, 100) ** 3).cumprod(0)
    net, y = trained(abar, steps), torch.zeros(600, dtype=torch.long)

    def free(x, t, w):
        return guided_in_one_pass(net, x, t, y, NULL, w)

    def by_classifier(x, t, w):
        def classifier(x, t):
            return exact_label_posterior(
                x, circle_centres(), LABELS, NOISE, abar[t[0]].item()
            )

        root, rest = abar[t, None].sqrt(), (1 - abar[t, None]).sqrt()
        v = (net(x, t, y) - rest * x) / root  # from the noise to v
        gradient = classifier_gradient(classifier, x, t, y)
        v = classifier_guided_v(v, gradient, abar[t], w)
        return root * v + rest * x  # and back

    noise, weights = (
        torch.randn(600, 2, generator=torch.Generator().manual_seed(2)),
        (0.0, 1.0, 3.0),
    )
    figure, axes = subplots(2, 3, height=5)
    for row, (kind, guided) in zip(
        axes, {"no classifier": free, "classifier": by_classifier}.items()
    ):
        for ax, w in zip(row, weights):
            look(ax, flow(partial(guided, w=w), noise, abar), f"{kind}, w = {w:.0f}")
    return describe(
        figure,
        "Points drawn for a class of four islands, guided more and more, with and "
        "without a classifier.",
    )


islands(steps=10 if budget() == "smoke" else 2000)

# %% [markdown]
# ## What next
#
# Ask for another class, or set w to -1, and compare the two rows. Train with a dropout of 0 and of 0.9. Use a smaller
# limit in `flow`, or none, with a large w. Let the classifier guide the *unconditional* noise, `net(x, t)`, with the
# scale of exercise 12: does the row change? (In `by_classifier`, w is the scale.) Measure for eight weights how many
# draws lie on the right islands, and
# choose one of the weights with your `choose_w`.
