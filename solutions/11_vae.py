# %% [markdown]
# # Exercises 11. The variational autoencoder
#
# **Ten short exercises, and at the end a plane full of digits.** You draw with a gradient, measure how far a guess is
# from the prior, compute what a picture costs in nats for two kinds of pixels, and put all of this into one loss. Then
# you tighten the bound, find out what a mean squared error silently assumes, interpolate on a sphere, look for
# dimensions that are not used, and see what the reparameterisation trick saves.
#
# **You need** notebook 11, the lecture. Each exercise names the part it belongs to.
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
# | 1. Draw, and keep the gradient | 5 | 5 | ★ |
# | 2. How far from the prior | 4 | 10 | ★ |
# | 3. Pixels that are 0 or 1 | 6 | 10 | ★★ |
# | 4. Pixels with Gaussian noise | 5 | 10 | ★★ |
# | 5. The whole loss | 6 | 15 | ★★ |
# | 6. More draws, a tighter bound | 6 | 20 | ★★★ |
# | 7. Hidden assumptions | 4 | 15 | ★★ |
# | 8. A walk on the sphere | 5 | 15 | ★★ |
# | 9. Dimensions that sleep | 4 | 5 | ★ |
# | 10. Two ways to a gradient | 5 | 20 | ★★★ |
# | **together** | **50** | **125** | |
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
# *The lecture, on reparameterisation.*
#
# The encoder does not return one place in latent space for a picture. It returns a Gaussian with mean $\mu$ and
# standard deviation $\sigma$. The decoder needs a point, so we draw one. But no gradient goes through a draw. So first
# draw the noise $\epsilon$ from a Gaussian without learnt parameters, then scale and shift it:
#
# $$z = \mu + \sigma\,\epsilon, \qquad \epsilon \sim \mathcal N(0, I).$$
#
# Networks return any real number, but $\sigma > 0$. So the encoder gives the *log-variance* $\log \sigma^2$. What is
# $\sigma$?
#
# *5 minutes, ★.* Points: 2 right values, 1 arguments left alone, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "reparameterise", "locked": false, "schema_version": 3, "solution": true, "task": false}
def reparameterise(mean, log_variance, eps):
    """A draw from N(mean, sigma^2), made from the given noise.

    mean, log_variance (N, D): of q, float32 or float64, a row for each picture;
    log_variance is log sigma^2. eps (N, D): standard normal noise. Returns z (N, D).
    Gradient flows to mean and to log_variance.
    """
    ### BEGIN SOLUTION
    sigma = (log_variance / 2).exp()
    return mean + sigma * eps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_reparameterise", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(reparameterise)
### BEGIN HIDDEN TESTS
assert check(reparameterise).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\exp(\log \sigma^2) = \sigma^2$ is the variance. You need its square root, which is a factor 1/2 in the exponent.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Plain operations keep the gradient. Do not use `torch.normal`, `detach` or `item`. And `mean += ...` would change the
# caller's tensor.
#
# </details>

# %% [markdown]
# ## 2. How far from the prior
#
# *The lecture, on the KL in closed form.*
#
# Why does the encoder not give each picture a point far away from all others? Because every picture has a cost, in
# nats: the KL divergence of its $q(z \mid x) = \mathcal N(\mu, \operatorname{diag} \sigma^2)$ from the prior
# $\mathcal N(0, I)$. For Gaussians it needs no draws:
#
# $$\mathrm{KL}_n = \frac12 \sum_{d=1}^{D} \big(\mu_{nd}^2 + \sigma_{nd}^2 - 1 - \log \sigma_{nd}^2\big).$$
#
# A code without information, $\mu = 0$ and $\sigma = 1$, costs nothing.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "gaussian_kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gaussian_kl(mean, log_variance):
    """KL(N(mean, sigma^2) || N(0, I)) of each row.

    mean, log_variance (N, D), float32 or float64; log_variance is log sigma^2. Returns
    (N,): nats, summed over the D dimensions, never below 0.
    """
    ### BEGIN SOLUTION
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_gaussian_kl", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(gaussian_kl)
### BEGIN HIDDEN TESTS
assert check(gaussian_kl).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which two of the four terms come from `log_variance`, and which of them needs `exp`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The $-1$ stands inside the sum, so it is added D times. Try `mean = 0`, `log_variance = 0` by hand: what must come
# out?
#
# </details>

# %% [markdown]
# ## 3. Pixels that are 0 or 1
#
# *The lecture, on what the decoder's outputs mean.*
#
# Given z, the pixels are independent, like coins: pixel i is 1 with probability $p_i = \text{sigmoid}(a_i)$, where the
# logit $a_i$ is the output of the decoder. How likely is the whole picture?
#
# $$\log p(x_n \mid z_n) = \sum_{i} x_{ni} \log p_{ni} + (1 - x_{ni}) \log (1 - p_{ni}).$$
#
# The sum runs over all pixels and channels. A mean in its place is a common reason why a VAE seems not to work. Your
# answer must also be right for logits of $\pm 10^3$: a pixel where the decoder is sure and wrong costs 1000 nats, not
# infinity, and not 100.
#
# *10 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 2 very sure decoders, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "bernoulli_log_likelihood", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bernoulli_log_likelihood(logits, x):
    """log p(x given z) of each picture, for pixels that are 0 or 1.

    logits (N, C, H, W): the decoder's outputs, float32 or float64. x (N, C, H, W): the
    pictures, of the same dtype, each number 0 or 1. Returns (N,): nats, summed over C,
    H and W, never above 0.
    """
    ### BEGIN SOLUTION
    return (
        -F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        .flatten(1)
        .sum(1)
    )
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_bernoulli_log_likelihood", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(bernoulli_log_likelihood)
### BEGIN HIDDEN TESTS
assert check(bernoulli_log_likelihood).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In float32 the sigmoid of 20 is 1, and $\log(1 - 1)$ is $-\infty$. `F.logsigmoid(a)` is $\log p$ without this problem.
# And what is $1 - \text{sigmoid}(a)$?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.binary_cross_entropy_with_logits` does all of this. But it averages over everything unless `reduction` says
# otherwise, and it is a *loss*.
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
# *The lecture, on the Gaussian likelihood and MSE.*
#
# "Minimise the MSE", says the slide. Behind this is a Gaussian likelihood, with the decoder's output $m$ as the mean
# and the same $\sigma$ for all pixels:
#
# $$\log p(x_n \mid z_n) = -\sum_i \Big[ \frac{(x_{ni} - m_{ni})^2}{2 \sigma^2} + \log \sigma + \tfrac12 \log 2\pi \Big].$$
#
# Here $\sigma$ is not guessed: its logarithm comes as a tensor, which is learnt with the other parameters. A large
# $\sigma$ makes errors cheap, but then $\log \sigma$ costs more.
#
# *10 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 right gradient, for sigma too.


# %% nbgrader={"grade": false, "grade_id": "gaussian_log_likelihood", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gaussian_log_likelihood(mean, x, log_sigma):
    """log p(x given z) of each picture, for pixels with Gaussian noise around `mean`.

    mean (N, C, H, W): the decoder's outputs, float32 or float64; x (N, C, H, W): the
    pictures; log_sigma: a 0-d tensor, the logarithm of the standard deviation of all
    pixels. All of one dtype. Returns (N,): nats, summed over C, H and W, constants
    included. It comes from a density, so it may be above 0. Gradient reaches mean
    and log_sigma.
    """
    ### BEGIN SOLUTION
    squares = ((x - mean) / log_sigma.exp()).square()
    return -(squares / 2 + log_sigma + math.log(2 * math.pi) / 2).flatten(1).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_gaussian_log_likelihood", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(gaussian_log_likelihood)
### BEGIN HIDDEN TESTS
assert check(gaussian_log_likelihood).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each of the three terms belongs to each pixel. A 0-d tensor is counted for every pixel if you add it *before* the sum,
# and once if you add it after the sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `log_sigma` is the logarithm of $\sigma$, not of $\sigma^2$. `log_sigma.exp()` keeps the gradient;
# `math.exp(log_sigma)` makes a plain number without a gradient.
#
# </details>

# %% [markdown]
# ## 5. The whole loss
#
# *The lecture, on the ELBO.*
#
# Now put all parts together. Encode, draw, decode. Then add the cost of the picture given z and the cost of z:
#
# $$L = \frac1N \sum_{n=1}^{N} \Big[ -\log p(x_n \mid z_n) + \mathrm{KL}\big(q(z \mid x_n) \,\|\, p(z)\big) \Big],
# \qquad z_n = \mu_n + \sigma_n \epsilon_n.$$
#
# The likelihood is that of exercise 3, the KL is the closed form of exercise 2. Take sums over pixels and over latent
# dimensions, and a mean over the pictures. Then L is minus a lower bound on $\log p(x)$, in nats, and not just a number
# that falls. The check builds a tiny encoder and decoder, and looks at the gradient of each weight.
#
# *15 minutes, ★★.* Points: 3 right values, 3 right gradient.


# %% nbgrader={"grade": false, "grade_id": "negative_elbo", "locked": false, "schema_version": 3, "solution": true, "task": false}
def negative_elbo(encoder, decoder, x, eps):
    """A VAE's training loss: -ELBO, from one draw of z for each picture.

    encoder: a function, x (N, C, H, W) -> (mean, log_variance), (N, D) each. decoder: a
    function, z (N, D) -> logits (N, C, H, W). x: pictures of 0 and 1, float32 or
    float64. eps (N, D): standard normal noise. Returns a 0-d tensor: nats, the mean
    over the N pictures. Gradient reaches the parameters of both networks. It reaches
    the encoder's through z and through the KL.
    """
    ### BEGIN SOLUTION
    mean, log_variance = encoder(x)
    z = mean + (log_variance / 2).exp() * eps
    gap = (
        F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none")
        .flatten(1)
        .sum(1)
    )
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return (gap + kl).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_negative_elbo", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(negative_elbo)
### BEGIN HIDDEN TESTS
assert check(negative_elbo).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You may call your answers 1, 2 and 3. Then four lines are enough, one each to encode, draw, decode and add up.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Both parts are (N,) before the mean. Which sign has each of them in a *loss*?
#
# </details>

# %% [markdown]
# ## 6. More draws, a tighter bound
#
# *The lecture, on importance weighting.*
#
# The ELBO averages the log-weights of its draws, so one bad draw counts a lot. If you average *before* the logarithm,
# you get a better bound, which rises to $\log p(x)$ as K grows. With K draws $z_k \sim q(z \mid x_n)$ for picture n,
#
# $$\log w_{kn} = \log p(x_n \mid z_{kn}) + \log p(z_{kn}) - \log q(z_{kn} \mid x_n), \qquad
# L_n = \log \frac1K \sum_{k=1}^{K} w_{kn}.$$
#
# For one latent dimension a Gaussian's log-density is
# $-\tfrac12 \big[(z - \mu)^2 / \sigma^2 + \log \sigma^2 + \log 2\pi\big]$; add these up over the dimensions. The prior
# is the Gaussian with $\mu = 0$, $\sigma = 1$. Log-likelihoods of $\pm 1000$ are not unusual: your answer must be right
# for these, too.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 arguments left alone, 1 weights of any size, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "importance_weighted_bound", "locked": false, "schema_version": 3, "solution": true, "task": false}
def importance_weighted_bound(log_likelihood, z, mean, log_variance):
    """A lower bound on log p(x) from K weighted draws (IWAE's), for each picture.

    log_likelihood (K, N): log p(x_n given z_kn), nats. z (K, N, D): draws of q. mean,
    log_variance (N, D): of q(z given x_n). All float32 or float64, of one dtype.
    Returns (N,): the log of the mean weight. Gradient flows through all four.
    """
    ### BEGIN SOLUTION
    log_prior = -z.square().sum(2) / 2  # - D/2 log(2 pi) in both: it cancels
    log_q = -((z - mean).square() / log_variance.exp() + log_variance).sum(2) / 2
    return (log_likelihood + log_prior - log_q).logsumexp(0) - math.log(len(z))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_importance_weighted_bound", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(importance_weighted_bound)
### BEGIN HIDDEN TESTS
assert check(importance_weighted_bound).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First compute two tensors of shape (K, N): $\log p(z)$ and $\log q(z \mid x)$. `z - mean` broadcasts over K by itself.
#
# </details>
# <details><summary>Hint 2</summary>
#
# You need the log of a mean of exponentials. `t.logsumexp(0)` gives it without ever making a number too large, except
# for the factor 1/K. What does 1/K become outside of the logarithm?
#
# </details>
# <details><summary>Hint 3</summary>
#
# With K = 1 it is one draw of the ELBO: the result is the log-weight itself.
#
# </details>

# %% [markdown]
# ## 7. Hidden assumptions
#
# *The lecture, on the Gaussian likelihood and MSE, on beta, on collapse, and on bits.*
#
# This exercise has no network. Work with pen and paper, then return a number for each question, as a formula of the
# given numbers. A picture has d pixels, and the decoder's output for it is m.
#
# - **a.** A loss is the *sum* of the squared errors, $\sum_i (x_i - m_i)^2$, plus the KL. For which $\sigma$ is this
#   sum equal to $-\log p(x \mid z)$ of exercise 4, up to a constant?
# - **b.** Another loss is their *mean*, $\frac1d \sum_i (x_i - m_i)^2$, plus the KL. Which $\sigma$ is it now?
# - **c.** Up to a factor in front, the loss of b. is that of a beta-VAE with $\sigma = 1$:
#   $-\log p(x \mid z) + \beta\,\mathrm{KL}$. Which $\beta$?
# - **d.** After training, the mean squared error *of a pixel* is e. Which $\sigma$ makes these pictures most likely?
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
# For a and b: which factor stands before $(x_i - m_i)^2$ in exercise 4, and which factor here? For c: multiply the loss
# of b until its squares have the factor that they have for $\sigma = 1$. This multiplies the KL, too.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For d: $e / (2\sigma^2) + \log \sigma$ per pixel must be as small as possible, so its derivative is 0. For e: the KL
# is 0. What remains is exercise 3 with one p for all pixels, and the best p is r.
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
# *The lecture, on walking through latent space.*
#
# In D dimensions nearly all draws of $\mathcal N(0, I)$ lie close to a sphere of radius $\sqrt D$. The straight line
# between two of them passes through the inside of the sphere, where the decoder was never trained. So follow the sphere
# at constant speed. With $\Omega$ the angle between a and b,
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
# ## 9. Dimensions that sleep
#
# *The lecture, on posterior collapse.*
#
# Your model has 32 latent dimensions. How many does it use? A dimension that is not used costs nothing, so it is easy
# to find:
#
# $$\mathrm{KL}_d = \frac1N \sum_{n=1}^{N} \frac12 \big(\mu_{nd}^2 + \sigma_{nd}^2 - 1 - \log \sigma_{nd}^2\big).$$
#
# A dimension is alive where $\mathrm{KL}_d$ is above a threshold. The sum of all $\mathrm{KL}_d$ is the KL of the loss,
# so they show which dimensions use the nats. (Others count the dimensions whose *mean* varies from picture to picture.
# When do the two counts differ?)
#
# *5 minutes, ★.* Points: 2 each dimension's KL, 1 those alive, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "kl_by_dimension", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kl_by_dimension(mean, log_variance, threshold):
    """What each latent dimension costs, and how many are alive.

    mean, log_variance (N, D): of q for N pictures, float32 or float64. threshold: a
    number > 0, in nats. Returns two things: the KL of each dimension, averaged over the
    pictures, (D,); and how many of these are above the threshold, a whole number.
    """
    ### BEGIN SOLUTION
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean(0) / 2
    return kl, int((kl > threshold).sum())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_kl_by_dimension", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(kl_by_dimension)
### BEGIN HIDDEN TESTS
assert check(kl_by_dimension).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# This is exercise 2 along another dimension of the tensor, with a mean in place of the sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(kl > threshold)` is a tensor of True and False; its sum is a count.
#
# </details>

# %% [markdown]
# ## 10. Two ways to a gradient
#
# *The lecture, on reparameterisation, and on what was done before it.*
#
# We want $\nabla_\mu\, \mathbb E\, f(z)$ with $z \sim \mathcal N(\mu, \sigma^2)$, from K draws
# $z_k = \mu + \sigma \epsilon_k$. The old way, the *score function* (REINFORCE), needs only the values of f: it pulls
# $\mu$ towards draws where f was better than usual. The new way, reparameterisation, follows the *path*
# $\epsilon \to z \to f$ and needs the gradient of f:
#
# $$g^{\text{score}} = \frac1K \sum_k \big(f(z_k) - b\big)\, \frac{z_k - \mu}{\sigma^2}, \qquad
# g^{\text{path}} = \frac1K \sum_k \nabla f(z_k).$$
#
# Both are right on average, for any baseline b that does not depend on the draws. One of them has a much larger
# variance: the last cell below shows how much larger, and how much a good baseline helps.
#
# *20 minutes, ★★★.* Points: 2 the score function's estimate, 2 the path's, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "two_gradients", "locked": false, "schema_version": 3, "solution": true, "task": false}
def two_gradients(f, mean, sigma, eps, baseline):
    """Two estimates of the gradient of E f(z) with respect to the mean.

    f: a function, z (K, D) -> values (K,), each from its own row; it can be
    differentiated. mean, sigma (D,): of the Gaussian, sigma > 0 its standard deviation;
    eps (K, D): standard normal noise. All float32 or float64, of one dtype. baseline: a
    number, subtracted from f in the first estimate. Returns two tensors, (D,) each: the
    score function's estimate, then the one along the path.
    """
    ### BEGIN SOLUTION
    z = (mean + sigma * eps).requires_grad_()
    values = f(z)
    path = torch.autograd.grad(values.sum(), z)[0].mean(0)
    score = ((values.detach() - baseline)[:, None] * eps / sigma).mean(0)
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
# `torch.autograd.grad(output, z)[0]` is the gradient of one number with respect to z. For this, z must require a
# gradient: call `z.requires_grad_()` before you call f. Each value depends on its own row only, so row k of the
# gradient of the *sum* is the gradient of $f(z_k)$.
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
    """Test digits: bounds on log p(x) from more and more draws, KL of each
    dimension."""
    x, g = small_digits("test", 200), torch.Generator().manual_seed(1)
    mean, log_variance = encoder(x)
    for draws in (1, 10, 100):
        z = torch.stack(
            [
                reparameterise(mean, log_variance, torch.randn(200, 2, generator=g))
                for _ in range(draws)
            ]
        )
        log_likelihood = torch.stack(
            [bernoulli_log_likelihood(decoder(points), x) for points in z]
        )
        bound = (
            importance_weighted_bound(log_likelihood, z, mean, log_variance)
            .mean()
            .item()
        )
        bits = hidden_assumptions(196, 1.0, 0.5, bound)[-1]
        print(
            f"K = {draws:3}: log p(x) is at least {bound:6.1f} nats, so a pixel costs "
            f"at most {bits:.3f} bits"
        )
    kl, alive = kl_by_dimension(mean, log_variance, threshold=0.1)
    print(
        f"KL of the two dimensions: {kl[0].item():.2f} and {kl[1].item():.2f} nats; "
        f"{alive} alive; "
        f"together {gaussian_kl(mean, log_variance).mean().item():.2f}"
    )


def plane(steps):
    answers = (
        reparameterise,
        gaussian_kl,
        bernoulli_log_likelihood,
        negative_elbo,
        importance_weighted_bound,
        hidden_assumptions,
        kl_by_dimension,
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
    draws = (1, 3, 10, 30, 100)
    lines = {
        "score function": [],
        "score function, baseline E f": [],
        "along the path": [],
    }
    for k in draws:
        noise = torch.randn(repeats, k, 10, generator=g)
        plain = [
            two_gradients(lambda z: z.square().sum(1), mean, sigma, eps, 0.0)
            for eps in noise
        ]
        better = [
            two_gradients(lambda z: z.square().sum(1), mean, sigma, eps, 12.5)
            for eps in noise
        ]
        for name, found in zip(
            lines,
            ([s for s, _ in plain], [s for s, _ in better], [p for _, p in plain]),
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
# the model stays the same. Write a second loss that averages over the pixels, let `tiny_vae` use it, and look again.
# How many dimensions are alive now, and did c. of exercise 7 warn you? Give the model more dimensions, and see how many
# it uses. Then train larger models, as the lecture does, with convolutions, labels and a learnt sigma.
