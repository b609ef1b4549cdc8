# %% [markdown]
# # Exercises 11. The variational autoencoder
#
# **Eleven exercises, and at the end a plane full of digits.** The lecture shows each idea in one setting. Here you use
# the ideas in other settings: a guess that is not Gaussian, a prior that is not Gaussian, pictures with unknown pixels,
# a loss with two draws. You repair a program that promises too much. You find out what a mean squared error silently
# assumes, interpolate on a sphere, keep units from being switched off, compare two estimates of a gradient, and measure
# what all codes together tell about the pictures.
#
# **You need** notebook 11, the lecture. Each exercise names the section it belongs to.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check tests your answer on a
# few small cases. If the answer is wrong, the check says how, and often names the likely mistake. *The check is not the
# final mark*. The mark comes from other cases, with other shapes and other values. So write what the formula says, not
# what makes these few cases pass. The library's own functions are not available when you are marked, so write the
# answer yourself, with torch. Tensors are float32 or float64, and the answer is computed in the same dtype. Later
# answers may call earlier ones. If an earlier answer is wrong, the answers that build on it are wrong, too.
#
# *Run All* works from the start. An answer that you have not written yet is reported as "to do". When your notebook is
# marked, only definitions count: imports, functions, classes, constants. Answers are found by their names, so keep the
# names. Everything else that you need (a helper, another import) may stand in any cell. No answer draws random numbers.
# Random values come in as arguments. Before you hand in, run `python -m course_lib check NOTEBOOK`. It runs the public
# cases on your file, which it reads as the grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Draw, and keep the gradient | 5 | 10 | ★ |
# | 2. How far from a Laplace prior | 5 | 15 | ★★ |
# | 3. Pixels that are 0, 1 or unknown | 6 | 15 | ★★ |
# | 4. Pixels with Gaussian noise | 5 | 10 | ★★ |
# | 5. The whole loss, with two draws | 6 | 15 | ★★ |
# | 6. A bound that is too good | 6 | 20 | ★★★ |
# | 7. Hidden assumptions | 4 | 15 | ★★ |
# | 8. A walk on the sphere | 5 | 15 | ★★ |
# | 9. Free bits for groups of units | 5 | 15 | ★★ |
# | 10. Two ways to a gradient | 5 | 20 | ★★★ |
# | 11. What all codes together tell | 6 | 20 | ★★★ |
# | **together** | **58** | **170** | |
#
# The first line of each check must be right before the other lines count.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.data import load
from course_lib.notebook import budget, checks, curve, image_grid

check = checks("11_vae")

# %% [markdown]
# ## 1. Draw, and keep the gradient
#
# *The lecture, section 5.*
#
# The lecture's guess is a Gaussian. Now the encoder's guess for each number is a **logistic distribution** with
# location $\mu$ and scale $s > 0$. Its distribution function is $F(z) = \text{sigmoid}\big((z - \mu) / s\big)$. How do
# we draw from it and keep the gradient? As in the lecture, begin with noise that has no parameters. Here the noise is
# uniform, $u \in (0, 1)$. The draw is the point $z$ where the distribution function has the value $u$:
#
# $$F(z) = u, \qquad u \sim \text{uniform}(0, 1).$$
#
# Solve this for z. Networks return any real number, so the encoder gives $\log s$.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 u near 0 and 1, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "logistic_draw", "locked": false, "schema_version": 3, "solution": true, "task": false}
def logistic_draw(mean, log_scale, u):
    """A draw from the logistic distribution with location `mean`, made from noise.

    mean, log_scale (N, D): of the guess, float32 or float64, a row for each picture;
    log_scale is log s. u (N, D): uniform noise, above 0 and below 1. Returns z (N, D).
    Gradient flows to mean and to log_scale.
    """
    ### BEGIN SOLUTION
    scale = log_scale.exp()
    return mean + scale * u.logit()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_logistic_draw", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(logistic_draw)
### BEGIN HIDDEN TESTS
assert check(logistic_draw).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The inverse of the sigmoid is $\log u - \log(1 - u)$. torch has a function for it. Then solve
# $(z - \mu) / s = \text{...}$ for z.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Plain operations keep the gradient. Do not use `detach` or `item`. And `mean += ...` would change the caller's tensor.
#
# </details>
# <details><summary>Hint 3</summary>
#
# An epsilon inside the logarithm is not needed, because u is never 0 or 1. It would change the draws with u near 0.
#
# </details>

# %% [markdown]
# ## 2. How far from a Laplace prior
#
# *The lecture, section 4.*
#
# The lecture's prior is a Gaussian. With a **Laplace prior**, most codes are near 0 and a few are far away:
#
# $$p(z) = \prod_{d=1}^{D} \frac{1}{2b} \exp\Big(-\frac{|z_d|}{b}\Big), \qquad
# q(z \mid x_n) = \prod_{d=1}^{D} \mathcal N(z_d;\ \mu_{nd},\ \sigma_{nd}^2).$$
#
# Find the rate $\mathrm{KL}\big(q(z \mid x_n)\,\|\,p(z)\big) = \mathbb E_q \log q - \mathbb E_q \log p$ in closed form,
# with pen and paper. Section 4 has the first expectation. For the second you need this one: for $z \sim \mathcal N(\mu,
# \sigma^2)$,
#
# $$\mathbb E\,|z| = \sigma \sqrt{\frac 2\pi}\ e^{-\mu^2 / 2\sigma^2} + \mu\, \text{erf}\Big(\frac{\mu}{\sigma \sqrt 2}\Big).$$
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "laplace_rate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def laplace_rate(mean, log_variance, scale):
    """KL(N(mean, sigma^2) || Laplace prior with scale b) of each row.

    mean, log_variance (N, D), float32 or float64; log_variance is log sigma^2. scale: a
    number > 0, the prior's b. Returns (N,): nats, summed over the D dimensions.
    """
    ### BEGIN SOLUTION
    sigma = (log_variance / 2).exp()
    size = sigma * math.sqrt(2 / math.pi) * (-(mean / sigma).square() / 2).exp()
    size = size + mean * torch.erf(mean / (sigma * math.sqrt(2)))
    entropy = (1 + math.log(2 * math.pi) + log_variance) / 2
    return (size / scale + math.log(2 * scale) - entropy).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_laplace_rate", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(laplace_rate)
### BEGIN HIDDEN TESTS
assert check(laplace_rate).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $-\log p(z_d) = |z_d| / b + \log 2b$. What is its expectation under q?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $-\mathbb E_q \log q = \frac12 (1 + \log 2\pi + \log\sigma^2)$ for each dimension: the entropy of the Gaussian. It
# enters the rate with a minus.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A test by hand: for a very small $\sigma$ at $\mu = 0$ the rate must be large, because a precise code is expensive.
#
# </details>

# %% [markdown]
# ## 3. Pixels that are 0, 1 or unknown
#
# *The lecture, section 6.*
#
# Given z, the pixels are independent, like coins: pixel i is 1 with probability $p_i = \text{sigmoid}(o_i)$, where the
# logit $o_i$ is the output of the decoder. In these pictures some pixels are **unknown** (a scratch, a covered corner).
# They are NaN in x. A model of independent pixels has no difficulty with this: the likelihood of the known pixels is
# the product over the known pixels,
#
# $$\log p(x_n^{\text{known}} \mid z_n) = \sum_{i \text{ known}} x_{ni} \log p_{ni} + (1 - x_{ni}) \log (1 - p_{ni}).$$
#
# The sum runs over all channels and places. The unknown pixels give no gradient: the gradient of their logits is
# exactly 0. Your answer must also be right for logits of $\pm 10^3$: a pixel where the decoder is sure and wrong costs
# 1000 nats, not infinity, and not 100.
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 1 very sure decoders, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "observed_log_likelihood", "locked": false, "schema_version": 3, "solution": true, "task": false}
def observed_log_likelihood(logits, x):
    """log p(the known pixels given z) of each picture.

    logits (N, C, H, W): the decoder's outputs, float32 or float64. x (N, C, H, W): the
    pictures, of the same dtype, each number 0, 1 or NaN (unknown). Returns (N,): nats,
    summed over the known pixels, never above 0. The gradient of the logits of unknown
    pixels is 0.
    """
    ### BEGIN SOLUTION
    known = ~x.isnan()
    filled = torch.where(known, x, 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, filled, reduction="none")
    return -(loss * known).flatten(1).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_observed_log_likelihood", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(observed_log_likelihood)
### BEGIN HIDDEN TESTS
assert check(observed_log_likelihood).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In float32 the sigmoid of 20 is 1, and $\log(1 - 1)$ is $-\infty$. `F.logsigmoid(o)` is $\log p$ without this problem.
# `F.binary_cross_entropy_with_logits` does all of this. But it averages over everything unless `reduction` says
# otherwise, and it is a *loss*.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.isnan()` finds the unknown pixels. First replace them by any number, then compute, then leave their terms out. In
# the other order the gradient is $0 \cdot \text{NaN} = \text{NaN}$, although the value is right.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `t.flatten(1)` turns (N, C, H, W) into one row for each picture.
#
# </details>

# %% [markdown]
# ## 4. Pixels with Gaussian noise
#
# *The lecture, sections 6 and 13.*
#
# The lecture has one $s$ for all pixels, or one for each pixel. Between the two: **one for each colour channel**. With
# the decoder's output $o$ as the mean, and $c$ for the channel, $i$ for the place,
#
# $$\log p(x_n \mid z_n) = -\sum_{c=1}^{C} \sum_{i=1}^{HW} \Big[ \frac{(x_{nci} - o_{nci})^2}{2 s_c^2} + \log s_c + \tfrac12 \log 2\pi \Big].$$
#
# The logarithms $\log s_c$ come as a tensor of shape (C,), which is learnt with the other parameters. A large $s_c$
# makes errors cheap, but then $\log s_c$ costs more.
#
# *10 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 right gradient, for sigma too.


# %% nbgrader={"grade": false, "grade_id": "gaussian_log_likelihood", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gaussian_log_likelihood(mean, x, log_sigma):
    """log p(x given z) of each picture, for pixels with Gaussian noise around `mean`.

    mean (N, C, H, W): the decoder's outputs o, float32 or float64; x (N, C, H, W): the
    pictures; log_sigma (C,): the logarithm of each channel's standard deviation. All of
    one dtype. Returns (N,): nats, summed over C, H and W, constants included. It comes
    from a density, so it may be above 0. Gradient reaches mean and log_sigma.
    """
    ### BEGIN SOLUTION
    log_s = log_sigma[:, None, None]
    squares = ((x - mean) / log_s.exp()).square()
    return -(squares / 2 + log_s + math.log(2 * math.pi) / 2).flatten(1).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_gaussian_log_likelihood", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(gaussian_log_likelihood)
### BEGIN HIDDEN TESTS
assert check(gaussian_log_likelihood).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Shapes are aligned at their ends: (C,) would be aligned with W. Give it the shape (C, 1, 1) first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each of the three terms belongs to each pixel. `log_sigma` is counted for every pixel if you add it *before* the sum.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `log_sigma` is the logarithm of $s$, not of $s^2$. `log_sigma.exp()` keeps the gradient; `math.exp` makes a plain
# number without a gradient.
#
# </details>

# %% [markdown]
# ## 5. The whole loss, with two draws
#
# *The lecture, sections 3 and 7.*
#
# Now put all parts together: encode, draw, decode, and add the two costs. The lecture takes one draw for each picture.
# Here we take two, $\mu_n + \sigma_n \epsilon_n$ and its mirror image (an *antithetic* pair). Both are draws of the
# same q, so the average of both log-likelihoods estimates $\mathbb E_q \log p(x \mid z)$, too. The parts of the error
# that are odd in $\epsilon$ cancel:
#
# $$\begin{gathered}
# L = \frac1N \sum_{n=1}^{N} \Big[ -\frac{\log p(x_n \mid z_n^+) + \log p(x_n \mid z_n^-)}{2} + \mathrm{KL}\big(q(z
# \mid x_n) \,\|\, p(z)\big) \Big], \\
# z_n^{\pm} = \mu_n \pm \sigma_n \epsilon_n.
# \end{gathered}$$
#
# The pixels are 0 or 1 (section 6), all of them known. The prior is $\mathcal N(0, I)$, so the KL is the closed form of
# section 4. Take sums over pixels and over latent dimensions, and a mean over the pictures. Then L is an estimate of
# $-$ELBO in nats. The check builds a tiny encoder and decoder, and looks at the gradient of each weight.
#
# *15 minutes, ★★.* Points: 3 right values, 3 right gradient.


# %% nbgrader={"grade": false, "grade_id": "negative_elbo", "locked": false, "schema_version": 3, "solution": true, "task": false}
def negative_elbo(encoder, decoder, x, eps):
    """A VAE's training loss: -ELBO, from an antithetic pair of draws for each picture.

    encoder: a function, x (N, C, H, W) -> (mean, log_variance), (N, D) each. decoder: a
    function, z (N, D) -> logits (N, C, H, W). x: pictures of 0 and 1, float32 or
    float64. eps (N, D): standard normal noise. Returns a 0-d tensor: nats, the mean
    over the N pictures. Gradient reaches the parameters of both networks. It reaches
    the encoder's through both draws and through the KL.
    """
    ### BEGIN SOLUTION
    mean, log_variance = encoder(x)
    step = (log_variance / 2).exp() * eps

    def cost(z):
        loss = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none")
        return loss.flatten(1).sum(1)

    pictures = (cost(mean + step) + cost(mean - step)) / 2
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return (pictures + kl).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_negative_elbo", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(negative_elbo)
### BEGIN HIDDEN TESTS
assert check(negative_elbo).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You may call your answer 3: without NaN it is the log-likelihood of all pixels. Decode both points, and average the
# two *log-likelihoods*. The average of the two points would be $\mu$, without noise.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The encoder and the KL are needed once. Both costs are (N,) before the mean. Which sign has each of them in a *loss*?
#
# </details>

# %% [markdown]
# ## 6. A bound that is too good
#
# *The lecture, section 10.*
#
# The lecture's figure has a problem: for some digits the encoder's q is very narrow and lies beside the posterior. A
# colleague has an idea: draw from a **wider** Gaussian, $r(z \mid x) = \mathcal N(\mu, w^2 \sigma^2)$ with a width
# $w > 0$. The importance-weighted bound holds for draws of any density, if the weights contain this density:
#
# $$\begin{gathered}
# z_k = \mu + w\,\sigma\,\epsilon_k, \\
# \log w_{kn} = \log p(x_n \mid z_{kn}) + \log p(z_{kn}) - \log r(z_{kn} \mid x_n), \\
# L_n = \log \frac1K \sum_{k=1}^{K} w_{kn}.
# \end{gathered}$$
#
# The colleague's program reports bounds *above* the true $\log p(x)$, and sometimes infinity:
#
# ```python
# def wider_bound(log_likelihood, eps, mean, log_variance, width):
#     z = mean + width * log_variance.exp() * eps
#     log_prior = -z.square().sum(2) / 2
#     log_r = -(eps.square() - log_variance).sum(2) / 2
#     weights = (log_likelihood + log_prior - log_r).exp()
#     return weights.sum(0).log()
# ```
#
# The author knows that $-\frac D2 \log 2\pi$ stands in both $\log p(z)$ and $\log r$ and cancels: this is right. But
# the program has **five faults**. Derive $\log r(z_k \mid x)$ for $z_k = \mu + w \sigma \epsilon_k$, find the faults,
# and hand in a program that is right. Log-likelihoods of $\pm 1000$ are not unusual: it must be right for these, too.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 arguments left alone, 1 weights of any size, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "wider_bound", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wider_bound(log_likelihood, eps, mean, log_variance, width):
    """A lower bound on log p(x) from K weighted draws of a wider q, for each picture.

    log_likelihood (K, N): log p(x_n given z_kn), nats. eps (K, N, D): standard normal
    noise. mean, log_variance (N, D): of q(z given x_n). All float32 or float64, of one
    dtype. width: a number > 0; the draws were z = mean + width sigma eps. Returns (N,):
    the log of the mean weight. Gradient flows to log_likelihood, mean and log_variance.
    """
    ### BEGIN SOLUTION
    z = mean + width * (log_variance / 2).exp() * eps
    log_prior = -z.square().sum(2) / 2  # - D/2 log(2 pi) in both: it cancels
    log_r = -(eps.square() + log_variance + 2 * math.log(width)).sum(2) / 2
    log_weights = log_likelihood + log_prior - log_r
    return log_weights.logsumexp(0) - math.log(len(eps))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_wider_bound", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(wider_bound)
### BEGIN HIDDEN TESTS
assert check(wider_bound).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For one dimension a Gaussian's log-density is $-\tfrac12 \big[(z - \mu)^2 / \text{variance} + \log \text{variance} +
# \log 2\pi\big]$. Which variance has r, and what is $(z_k - \mu)^2$ divided by it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Look at each line: is this the standard deviation? Is this sign right? Does this density know the width? Is this a sum
# or a mean? What happens to `exp(1000)`?
#
# </details>
# <details><summary>Hint 3</summary>
#
# You need the log of a mean of exponentials. `t.logsumexp(0)` gives it without ever making a number too large, except
# for the factor 1/K. What does 1/K become outside of the logarithm?
#
# </details>

# %% [markdown]
# ## 7. Hidden assumptions
#
# *The lecture, sections 6, 11, 12 and 13.*
#
# This exercise has no network. Work with pen and paper, then return a number for each question, as a formula of the
# given numbers. A picture has d pixels, and the decoder's output for it is o. In a to d, all pixels have the same
# standard deviation $s$.
#
# - **a.** A loss is the *sum* of the squared errors, $\sum_i (x_i - o_i)^2$, plus the KL. For which $s$ is this
#   sum equal to $-\log p(x \mid z)$ of section 6, up to a constant?
# - **b.** Another loss is their *mean*, $\frac1d \sum_i (x_i - o_i)^2$, plus the KL. Which $s$ is it now?
# - **c.** Up to a factor in front, the loss of b. is that of a beta-VAE with $s = 1$:
#   $-\log p(x \mid z) + \beta\,\mathrm{KL}$. Which $\beta$?
# - **d.** After training, the mean squared error *of a pixel* is e. Which $s$ makes these pictures most likely?
# - **e.** Now pixels are 0 or 1, and the posterior has collapsed: q is the prior for every picture. The decoder ignores
#   z and can only return the same probability for every pixel. A share r of the pixels is 1. What is the best ELBO it
#   can reach, in nats per picture?
# - **f.** An ELBO is L nats per picture, L < 0, again for pixels that are 0 or 1. How many bits per pixel is that?
#
# The lesson of b and c: if you average over 784 pixels, you have set $\beta$ to several hundred. Then all samples look
# the same.
#
# *15 minutes, ★★.* Points: 1 assumed sigma, 1 beta and the best sigma, 1 without z, 1 bits.


# %% nbgrader={"grade": false, "grade_id": "hidden_assumptions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def hidden_assumptions(pixels, error, share, nats):
    """The answers to the six questions.

    pixels (d): a whole number >= 2. error (e): a number > 0. share (r): a number in (0,
    1). nats (L): a number < 0. Returns six numbers, in this order: the answers to a, b,
    c, d, e and f.
    """
    ### BEGIN SOLUTION
    # 1 / (2 sigma^2) = 1, and 1 / d
    of_sum, of_mean = math.sqrt(1 / 2), math.sqrt(pixels / 2)
    beta = pixels / 2
    best = math.sqrt(error)
    ignored = pixels * (share * math.log(share) + (1 - share) * math.log(1 - share))
    return of_sum, of_mean, beta, best, ignored, -nats / (pixels * math.log(2))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_hidden_assumptions", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(hidden_assumptions)
### BEGIN HIDDEN TESTS
assert check(hidden_assumptions).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For a and b: which factor stands before $(x_i - o_i)^2$ in section 6, and which factor here? For c: multiply the loss
# of b until its squares have the factor that they have for $s = 1$. This multiplies the KL, too.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For d: $e / (2 s^2) + \log s$ per pixel must be as small as possible, so its derivative is 0. For e: the KL
# is 0. What remains is the log-likelihood with one p for all pixels, and the best p is r.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A bit is $\log 2 = 0.69$ nats. A pixel that is 0 or 1 with equal probability costs one bit.
#
# </details>

# %% [markdown]
# ## 8. A walk on the sphere
#
# *The lecture, section 14.*
#
# In many dimensions D, nearly all draws of $\mathcal N(0, I)$ lie close to a sphere of radius $\sqrt D$. The straight
# line between two of them passes through the inside of the sphere, where the decoder was hardly trained. So follow the
# sphere at constant speed. With $\Omega$ the angle between a and b,
#
# $$\text{slerp}(a, b; t) = \frac{\sin\big((1 - t)\,\Omega\big)}{\sin \Omega}\, a + \frac{\sin(t\,\Omega)}{\sin \Omega}\, b.$$
#
# a and b keep their lengths; only the angle is that of unit vectors. Where both point in the same direction the formula
# gives 0/0. For such a row alone, use the straight line $(1 - t)\,a + t\,b$.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 ends that point the same way.


# %% nbgrader={"grade": false, "grade_id": "slerp", "locked": false, "schema_version": 3, "solution": true, "task": false}
def slerp(a, b, t):
    """Spherical interpolation, row by row.

    a, b (N, D): latent points, float32 or float64, rows of any length except 0. No row
    of a is opposite to the same row of b. t: a number in [0, 1]. Returns (N, D): a at
    t = 0, b at t = 1; a straight line where a and b point in the same direction.
    """
    ### BEGIN SOLUTION
    angle = F.cosine_similarity(a, b, dim=1).clamp(-1, 1).acos()[:, None]
    arc = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return torch.where(angle < 1e-6, (1 - t) * a + t * b, arc)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_slerp", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(slerp)
### BEGIN HIDDEN TESTS
assert check(slerp).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `F.cosine_similarity(a, b, dim=1)` gives N cosines, and `acos` turns them into angles. Rounding may make a cosine
# larger than 1, where `acos` is NaN. So use `clamp`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# N angles must multiply N rows of D numbers: `angle[:, None]` has the shape (N, 1).
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.where(condition, one, other)` decides for each row, with a condition of shape (N, 1). A NaN in the branch that
# is not taken does no harm here.
#
# </details>

# %% [markdown]
# ## 9. Free bits for groups of units
#
# *The lecture, section 12.*
#
# A VAE uses 64 latent dimensions in groups: a group of two for the place, a group of ten for the shape, and so on. Each
# **group** may use $\lambda$ nats for free. What goes beyond them is paid as usual. With $\mathrm{KL}_{nd} = \frac12
# (\mu_{nd}^2 + \sigma_{nd}^2 - 1 - \log \sigma_{nd}^2)$,
#
# $$R = \sum_{g} \max\Big(\lambda,\ \frac1N \sum_{n=1}^{N} \sum_{d \in g} \mathrm{KL}_{nd}\Big).$$
#
# So the penalty is *one-sided*: a group below $\lambda$ costs $\lambda$, and no gradient comes from it. Groups have
# different sizes, and the dimensions of a group need not stand side by side. (What would change if the maximum stood
# inside the mean over the pictures? Then a picture could not save what another one spends.)
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "free_bits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def free_bits(mean, log_variance, group, free):
    """The rate of a VAE whose groups of latent dimensions have `free` nats each.

    mean, log_variance (N, D): of q for N pictures, float32 or float64. group (D,): for
    each dimension the number of its group, int64; each of 0, 1, ..., G - 1 occurs.
    free: a number > 0, lambda. Returns a 0-d tensor: nats. Gradient flows to mean and
    log_variance.
    """
    ### BEGIN SOLUTION
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean(0) / 2
    groups = kl.new_zeros(int(group.max()) + 1).index_add(0, group, kl)
    return groups.clamp(min=free).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_free_bits", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(free_bits)
### BEGIN HIDDEN TESTS
assert check(free_bits).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First compute the KL of each dimension, averaged over the pictures: (D,). Then add up the dimensions of each group:
# (G,). Then take the maximum with $\lambda$. Then take the sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `zeros.index_add(0, group, kl)` adds each number of `kl` to the entry that `group` names. A loop over the groups with
# `kl[group == g].sum()` does the same. `t.clamp(min=free)` is the maximum, and its gradient is 0 below `free`.
#
# </details>

# %% [markdown]
# ## 10. Two ways to a gradient
#
# *The lecture, section 5.*
#
# We want $\nabla_\mu\, \mathbb E\, f(z)$ with $z \sim \mathcal N(\mu, \sigma^2)$, from K draws $z_k = \mu + \sigma
# \epsilon_k$. Reparameterisation follows the *path* $\epsilon \to z \to f$ and needs the slope of f. The *score
# function* needs only values of f. The lecture says that a baseline helps a lot. But where does it come from, if
# $\mathbb E f$ is unknown? From the **other draws**:
#
# $$\begin{gathered}
# g^{\text{score}} = \frac1K \sum_{k=1}^{K} \big(f(z_k) - b_k\big)\, \frac{z_k - \mu}{\sigma^2}, \qquad
# b_k = \frac{1}{K - 1} \sum_{j \ne k} f(z_j), \\
# g^{\text{path}} = \frac1K \sum_{k=1}^{K} \nabla f(z_k).
# \end{gathered}$$
#
# The baseline $b_k$ does not depend on draw k. So $\mathbb E\, b_k (z_k - \mu) = \mathbb E\, b_k \cdot \mathbb E (z_k -
# \mu) = 0$, and the estimate stays unbiased. With the mean of *all* K values this is not so: the estimate would be too
# small by the factor $(K - 1) / K$.
#
# *20 minutes, ★★★.* Points: 2 the score function's estimate, 2 the path's, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "two_gradients", "locked": false, "schema_version": 3, "solution": true, "task": false}
def two_gradients(f, mean, sigma, eps):
    """Two estimates of the gradient of E f(z) with respect to the mean.

    f: a function, z (K, D) -> values (K,), each from its own row; it can be
    differentiated. mean, sigma (D,): of the Gaussian, sigma > 0 its standard deviation;
    eps (K, D): standard normal noise, K >= 2. All float32 or float64, of one dtype.
    Returns two tensors, (D,) each: the score function's estimate with the mean of the
    other draws as baseline, then the one along the path.
    """
    ### BEGIN SOLUTION
    z = (mean + sigma * eps).requires_grad_()
    values = f(z)
    path = torch.autograd.grad(values.sum(), z)[0].mean(0)
    values = values.detach()
    baseline = (values.sum() - values) / (len(eps) - 1)
    score = ((values - baseline)[:, None] * eps / sigma).mean(0)
    return score, path
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_two_gradients", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(two_gradients)
### BEGIN HIDDEN TESTS
assert check(two_gradients).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $(z_k - \mu) / \sigma^2 = \epsilon_k / \sigma$. Multiply one value for each draw by one row for each draw:
# `values[:, None] * rows`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The sum of the *other* values is the sum of all values minus the own one. There are K - 1 of them.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.autograd.grad(output, z)[0]` is the gradient of one number with respect to z. For this, z must require a
# gradient: call `z.requires_grad_()` on the new tensor z before you call f. Each value depends on its own row only, so
# row k of the gradient of the *sum* is the gradient of $f(z_k)$.
#
# </details>

# %% [markdown]
# ## 11. What all codes together tell
#
# *The lecture, section 15.*
#
# The average rate is the sum of two parts: the information $I_q(x; z)$ of the code about the picture, and the mismatch
# $\mathrm{KL}\big(q(z)\,\|\,p(z)\big)$ of all codes together with the prior. Estimate both from one draw $z_n$ of each
# picture's $q(z \mid x_n)$. All N pictures together have the density $q(z) = \frac1N \sum_m q(z \mid x_m)$, so
#
# $$\begin{aligned}
# I &= \frac1N \sum_{n=1}^{N} \big[\log q(z_n \mid x_n) - \log q(z_n)\big], \\
# M &= \frac1N \sum_{n=1}^{N} \big[\log q(z_n) - \log p(z_n)\big].
# \end{aligned}$$
#
# You need the log-density of *every* draw under *every* picture's q, an N x N matrix. All densities are normalised
# Gaussians, with $p(z) = \mathcal N(0, I)$. With many dimensions a density may be too small or too large for a floating
# point number. Then only its logarithm can be computed. (I can never be above $\log N$. Why?)
#
# *20 minutes, ★★★.* Points: 2 the information, 2 the mismatch, 1 many dimensions, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "information", "locked": false, "schema_version": 3, "solution": true, "task": false}
def information(z, mean, log_variance):
    """Estimates of the two parts of the average rate.

    z (N, D): one draw of q(z given x_n) for each picture. mean, log_variance (N, D): of
    q(z given x_n). All float32 or float64, of one dtype. Returns two 0-d tensors, in
    nats: the information I, and the mismatch M.
    """
    ### BEGIN SOLUTION
    squares = (z[:, None] - mean).square() / log_variance.exp()  # (draws, pictures, D)
    log_q = -(squares + log_variance + math.log(2 * math.pi)).sum(2) / 2
    log_aggregate = log_q.logsumexp(1) - math.log(len(z))
    log_prior = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
    own = log_q.diagonal()
    return (own - log_aggregate).mean(), (log_aggregate - log_prior).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_information", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(information)
### BEGIN HIDDEN TESTS
assert check(information).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `z[:, None] - mean` has the shape (N, N, D): the first axis is the draw, the second is the picture whose q it is.
# After the sum over D, `log_q[n, m]` is $\log q(z_n \mid x_m)$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\log q(z_n)$ is a `logsumexp` over the pictures m, minus $\log N$. $\log q(z_n \mid x_n)$ stands on the diagonal.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A test: $I + M$ is an estimate of the average rate. And if all pictures have the same q, I is 0.
#
# </details>

# %% [markdown]
# ## All together
#
# **A plane full of digits.** We train small networks with two latent dimensions on digits of 14 x 14 pixels, with your
# own `negative_elbo` as the loss. Then the decoder draws a picture for each point of a grid. The grid is spaced so that
# each square of it has the same share of the prior. (Not marked; some seconds.)


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


def small_digits(split, count):
    """Digits of black and white pixels only, without grey, (count, 1, 14, 14)."""
    digits = load("digits", split).x
    rows = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[
        :count
    ]
    return (F.avg_pool2d(digits[rows] / 255, 2) > 0.4).float()


def tiny_vae(steps):
    """A trained encoder and decoder, and the loss of each step."""
    g, x = torch.Generator().manual_seed(0), small_digits("train", 4000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = nn.Sequential(
            nn.Flatten(), nn.Linear(196, 100), nn.ReLU(), nn.Linear(100, 4)
        )
        decoder = nn.Sequential(
            nn.Linear(2, 100),
            nn.ReLU(),
            nn.Linear(100, 196),
            nn.Unflatten(1, (1, 14, 14)),
        )

    def encoder(x):
        return inner(x).chunk(2, 1)

    optimizer, losses = (
        torch.optim.Adam([*inner.parameters(), *decoder.parameters()], lr=3e-3),
        [],
    )
    for _ in range(steps):
        batch = x[torch.randint(len(x), (100,), generator=g)]
        loss = negative_elbo(encoder, decoder, batch, torch.randn(100, 2, generator=g))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return encoder, decoder, losses


@torch.no_grad()
def measured(encoder, decoder):
    """Test digits: bounds on log p(x) from more and more draws and from two widths of
    q, and the parts of the rate."""
    x, g = small_digits("test", 200), torch.Generator().manual_seed(1)
    mean, log_variance = encoder(x)
    sigma = (log_variance / 2).exp()
    for width in (1.0, 1.5):
        for draws in (1, 10, 100):
            eps = torch.randn(draws, 200, 2, generator=g)
            log_likelihood = torch.stack(
                [
                    observed_log_likelihood(decoder(mean + width * sigma * noise), x)
                    for noise in eps
                ]
            )
            bound = (
                wider_bound(log_likelihood, eps, mean, log_variance, width)
                .mean()
                .item()
            )
            bits = hidden_assumptions(196, 1.0, 0.5, bound)[-1]
            print(
                f"width {width}, K = {draws:3}: log p(x) is at least {bound:6.1f} "
                f"nats, so a pixel costs at most {bits:.3f} bits"
            )
    z = mean + sigma * torch.randn(200, 2, generator=g)
    known, mismatch = information(z, mean, log_variance)
    rate = free_bits(mean, log_variance, torch.tensor([0, 1]), 0.0)
    print(
        f"rate {rate:.2f} nats; the code tells {known:.2f} nats about the picture "
        f"(log 200 is {math.log(200):.2f}), mismatch with the prior {mismatch:.2f}"
    )


def plane(steps):
    answers = (
        observed_log_likelihood,
        negative_elbo,
        wider_bound,
        hidden_assumptions,
        free_bits,
        information,
    )
    if not ready(*answers):
        return None
    encoder, decoder, losses = tiny_vae(steps)
    print(
        f"-ELBO {losses[0]:.1f} nats at step 1, "
        f"{sum(losses[-20:]) / len(losses[-20:]):.1f} after {steps}"
    )
    measured(encoder, decoder)
    # equal shares of the prior
    places = torch.special.ndtri((torch.arange(12) + 0.5) / 12)
    with torch.no_grad():
        pictures = decoder(
            torch.cartesian_prod(places.flip(0), places).flip(1)
        ).sigmoid()
    return image_grid(
        pictures, title="What your decoder sees in the latent plane", columns=12
    )


plane(steps=10 if budget() == "smoke" else 1500)

# %% [markdown]
# **What the trick saves.** We estimate the same gradient 500 times from K draws. How much do the estimates differ? We
# use your `two_gradients`, on $f(z) = \lVert z \rVert^2$ in ten dimensions, with the mean at (1, ..., 1). The true
# gradient is 2 in each dimension.


# %%
def noise_of_gradients(repeats):
    if not ready(two_gradients):
        return None
    g, sigma, mean = (
        torch.Generator().manual_seed(0),
        torch.full((10,), 0.5),
        torch.ones(10),
    )
    draws = (2, 3, 10, 30, 100)
    lines = {
        "score function without baseline": [],
        "score function, mean of the others": [],
        "along the path": [],
    }
    for k in draws:
        noise = torch.randn(repeats, k, 10, generator=g)
        z = mean + sigma * noise
        plain = (z.square().sum(2, keepdim=True) * noise / sigma).mean(1)
        both = [
            two_gradients(lambda z: z.square().sum(1), mean, sigma, eps)
            for eps in noise
        ]
        for name, found in zip(
            lines, ([*plain], [s for s, _ in both], [p for _, p in both])
        ):
            lines[name].append(torch.stack(found).std(0).mean().item())
    figure = curve(
        draws,
        lines,
        title="Two ways to a gradient whose truth is 2",
        xlabel="draws for one estimate",
        ylabel="standard deviation of an estimate",
    )
    figure.axes[0].set(xscale="log", yscale="log")
    return figure


noise_of_gradients(repeats=20 if budget() == "smoke" else 500)

# %% [markdown]
# **Inside or around?** Take two draws of $\mathcal N(0, I)$ in 200 dimensions, and the path from one to the other. How
# far from the origin is each point of the path?


# %%
def two_ways():
    if not ready(slerp):
        return None
    a, b = torch.randn(2, 1, 200, generator=torch.Generator().manual_seed(0))
    steps = [i / 20 for i in range(21)]
    lines = {
        "straight": [(a + t * (b - a)).norm().item() for t in steps],
        "your slerp": [slerp(a, b, t).norm().item() for t in steps],
    }
    return curve(
        steps,
        lines | {"where draws lie": [math.sqrt(200)] * 21},
        title="From one draw to another",
        xlabel="t",
        ylabel="distance from the origin",
    )


two_ways()

# %% [markdown]
# ## What next
#
# Neighbours on the plane look similar, and between two digits there are mixtures of both, although nobody gave the
# model any labels. The samples are blurry where one kind of digit changes into another. The bound rises with K while
# the model stays the same. Which width is better for many draws, and which for one? Write a second loss that averages
# over the pixels, let `tiny_vae` use it, and look again. How large is the rate now, and did c. of exercise 7 warn you?
# Draw with `logistic_draw` in place of a Gaussian: which term of the loss must change? Train with `laplace_rate` in the
# loss, and look at the plane. Then train larger models, as the lecture does, with convolutions, labels and a learnt
# sigma.
