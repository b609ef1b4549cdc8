# %% [markdown]
# # Exercises 14. Denoising diffusion
#
# **Hide a picture in noise in a thousand small steps, and learn to undo each step.** In ten short exercises you write
# the schedule, the jump to any step, the step back with and without fresh noise, a loss, and the weights of the bound.
# In the end, points of noise move to eight islands by your own functions: once with a network that you train, and once
# without any network.
#
# Exercises 6, 7 and 8 go beyond the lecture: a loss with a cap, a variance that is learnt, and DDIM for a network that
# predicts $v$.
#
# **You need** notebook 14, the lecture. Each exercise names the part of the lecture that it belongs to.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check tests your answer on a
# few small cases. If the answer is wrong, the check says how, and often names the likely mistake. *The check is not the
# final mark*. The mark comes from other cases, with other shapes and other values. So write what the formula says, not
# what makes these few cases pass. The library's own functions are not available when you are marked, so write the
# answer yourself, with torch. Later answers may call earlier ones. If an earlier answer is wrong, the answers that
# build on it are wrong, too. Where the arguments are float64, compute in float64: several cases contain small
# differences of large numbers, which float32 loses.
#
# *Run All* works from the start. An answer that you have not written yet is reported as "to do". When your notebook is
# marked, only definitions count: imports, functions, classes, constants. Answers are found by their names, so keep the
# names. Everything else that you need (a helper, another import) may stand in any cell. No answer draws random numbers.
# Random values come in as arguments. Before you hand in, run `python -m course_lib check NOTEBOOK`. It runs the public
# cases on your file, which it reads as the grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. The schedule | 5 | 10 | ★ |
# | 2. One jump | 5 | 10 | ★ |
# | 3. Step by step | 5 | 15 | ★★ |
# | 4. The posterior | 5 | 15 | ★★ |
# | 5. The guess of the picture | 4 | 10 | ★ |
# | 6. A loss with a cap | 5 | 15 | ★★ |
# | 7. One step back, with a learnt variance | 6 | 15 | ★★ |
# | 8. One long step back, from v | 6 | 20 | ★★★ |
# | 9. The weights of the losses | 4 | 15 | ★★ |
# | 10. The exact score | 5 | 20 | ★★★ |
# | **together** | **50** | **145** | |
#
# On paper the steps run from 1 to T; in code they run from 0 to T - 1, so `abar[0]` is $\bar\alpha_1$. Before the first
# step nothing has happened, so $\bar\alpha_0 = 1$; no tensor contains this value. In each check the first line must be
# right before the others count.

# %%
import torch

from course_lib.data.toys import NOISE, circle_centres, gaussians
from course_lib.nets.mlp import TimedMLP
from course_lib.notebook import budget, checks, curve, describe, subplots

check = checks("14_ddpm")

# %% [markdown]
# ## 1. The schedule
#
# *The lecture, sections 2 and 4.*
#
# Step t shrinks the picture a little and adds noise of variance $\beta_t$. Everything else follows from these T
# numbers:
#
# $$\alpha_t = 1 - \beta_t, \qquad \bar\alpha_t = \prod_{s=1}^{t} \alpha_s, \qquad
# \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t.$$
#
# $\bar\alpha_t$ is the share of the picture's variance that is left after t steps. $\tilde\beta_t$ is the variance of
# $x_{t-1}$ if both $x_t$ and $x_0$ are known. It is less than $\beta_t$ (at most steps only a bit), and zero at the
# first step.
#
# *10 minutes, ★.* Points: 2 alpha and abar, 2 btilde, 1 argument left alone.


# %% nbgrader={"grade": false, "grade_id": "schedule", "locked": false, "schema_version": 3, "solution": true, "task": false}
def schedule(betas):
    """Computes alpha, abar and btilde from a variance schedule.

    betas (T,): each in (0, 1), float32 or float64. Returns three tensors (T,): alpha,
    abar and btilde; entry 0 belongs to the first step.
    """
    ### BEGIN SOLUTION
    alpha = 1 - betas
    abar = alpha.cumprod(0)
    before = torch.cat([abar.new_ones(1), abar[:-1]])
    return alpha, abar, (1 - before) / (1 - abar) * betas
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_schedule", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(schedule)
### BEGIN HIDDEN TESTS
assert check(schedule).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.cumprod(0)` holds the products of the first 1, 2, ..., T entries.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For $\bar\alpha_{t-1}$ put a 1 in front and drop the last entry: `torch.cat([torch.ones_like(abar[:1]), abar[:-1]])`.
# Then $\tilde\beta_1 = 0$ follows by itself.
#
# </details>

# %% [markdown]
# ## 2. One jump
#
# *The lecture, section 2.*
#
# To train on step t, one need not simulate t steps. A sum of independent Gaussians is a Gaussian, so
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \epsilon \sim \mathcal N(0, I).$$
#
# Each row of the batch has its *own* t, and a row may be a point or a picture.
#
# *10 minutes, ★.* Points: 3 right values, 1 rows of any shape, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "q_sample", "locked": false, "schema_version": 3, "solution": true, "task": false}
def q_sample(x0, t, eps, abar):
    """Adds noise to each row of a batch, up to the row's own step.

    x0 (N, ...): points (N, D), pictures (N, C, H, W) or anything else, float32 or
    float64. t (N,): steps, int64, in 0..T-1. eps: noise, like x0. abar (T,): of the
    same dtype. Returns x_t, like x0.
    """
    ### BEGIN SOLUTION
    left = abar[t].view(-1, *[1] * (x0.ndim - 1))
    return left.sqrt() * x0 + (1 - left).sqrt() * eps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_q_sample", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(q_sample)
### BEGIN HIDDEN TESTS
assert check(q_sample).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `abar[t]` has the shape (N,): one number for each row. To multiply rows, it needs the shape (N, 1) or (N, 1, 1, 1).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a.view(-1, *[1] * (x0.ndim - 1))` gives `a` as many dimensions as `x0` has. Both coefficients are roots, and their
# squares sum to 1.
#
# </details>

# %% [markdown]
# ## 3. Step by step
#
# *The lecture, section 2.*
#
# Now the same, step by step. Each step has its own noise $\epsilon_t$:
#
# $$x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; \epsilon_t.$$
#
# (A slide of deck GT19, *CS 4644/7643, lecture 19*, forgets the first root. Then the variance does not stay 1, but
# falls towards one half.) At the end, a single noise $\epsilon$ would have led from $x_0$ to the same $x_T$ in one
# jump. Which noise is it? Both ways must agree; this is the whole idea of exercise 2.
#
# *15 minutes, ★★.* Points: 3 every step, 1 the noise of the jump, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "chain", "locked": false, "schema_version": 3, "solution": true, "task": false}
def chain(x0, step_noise, betas):
    """Simulates the steps from x_0 to x_T, and finds the noise of the jump to x_T.

    x0 (N, D), step_noise (T, N, D): the noise of each step, betas (T,): float32 or
    float64. Returns two things: x_1, ..., x_T, as one tensor (T, N, D); and eps (N, D)
    with sqrt(abar_T) x_0 + sqrt(1 - abar_T) eps = x_T.
    """
    ### BEGIN SOLUTION
    x, path = x0, []
    for beta, noise in zip(betas, step_noise):
        x = (1 - beta).sqrt() * x + beta.sqrt() * noise
        path.append(x)
    abar = (1 - betas).prod()
    return torch.stack(path), (x - abar.sqrt() * x0) / (1 - abar).sqrt()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_chain", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(chain)
### BEGIN HIDDEN TESTS
assert check(chain).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `for beta, noise in zip(betas, step_noise)` goes through the steps; keep each x in a list, and `torch.stack` the list.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The last x is $x_T$. Take the formula of exercise 2, with the product of all $1 - \beta_t$, and solve it for
# $\epsilon$.
#
# </details>

# %% [markdown]
# ## 4. The posterior
#
# *The lecture, section 4.*
#
# From $x_t$ alone, nobody can say which $x_{t-1}$ led to it. With the picture one can: given $x_t$ and $x_0$, the
# distribution of $x_{t-1}$ is a Gaussian. Its mean is
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t$$
#
# and its variance is $\tilde\beta_t$. Every step back learns from this Gaussian.
#
# *15 minutes, ★★.* Points: 2 the mean, 1 the variance, 1 the first step, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "posterior", "locked": false, "schema_version": 3, "solution": true, "task": false}
def posterior(x0, x_t, t, betas):
    """The Gaussian of x_{t-1}, given x_t and x_0.

    x0, x_t (N, ...): float32 or float64. t (N,): the step of each row's x_t, int64,
    in 0..T-1; where it is 0, the mean is x_0 and the variance is 0. betas (T,).
    Returns two things: the mean, like x_t, and the variance, (N,).
    """
    ### BEGIN SOLUTION
    alpha, abar, btilde = schedule(betas)
    before = torch.cat([abar.new_ones(1), abar[:-1]])
    of_x0, of_x_t = (
        before.sqrt() * betas / (1 - abar),
        alpha.sqrt() * (1 - before) / (1 - abar),
    )
    shape = -1, *[1] * (x0.ndim - 1)
    return of_x0[t].view(shape) * x0 + of_x_t[t].view(shape) * x_t, btilde[t]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_posterior", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(posterior)
### BEGIN HIDDEN TESTS
assert check(posterior).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Your `schedule` computes most of it. Compute the two coefficients for all T steps, (T,) each, and select with `[t]` at
# the end.
#
# </details>
# <details><summary>Hint 2</summary>
#
# As in exercise 2, a coefficient needs as many dimensions as x_0 has. The variance stays (N,).
#
# </details>

# %% [markdown]
# ## 5. The guess of the picture
#
# *The lecture, sections 5 and 12.*
#
# The network predicts the noise, $\hat\epsilon$. So it also predicts the picture: solve the jump of exercise 2 for
# $x_0$,
#
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \hat\epsilon}{\sqrt{\bar\alpha_t}}.$$
#
# Where $x_t$ is nearly all noise, $\sqrt{\bar\alpha_t}$ is tiny, and the division makes a small error huge. But pixels
# lie in $[-1, 1]$. So samplers clamp the guess to a limit, *after* the division.
#
# *10 minutes, ★.* Points: 2 right values, 1 kept within the limit, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "guess_x0", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guess_x0(x_t, eps_hat, t, abar, limit):
    """The guess of the picture that follows from a prediction of the noise.

    x_t, eps_hat (N, ...): float32 or float64. t (N,): int64, in 0..T-1. abar (T,).
    limit: a number > 0 (the guess is clamped to [-limit, limit]), or None (no limit).
    Returns the guess of x_0, like x_t.
    """
    ### BEGIN SOLUTION
    left = abar[t].view(-1, *[1] * (x_t.ndim - 1))
    x0 = (x_t - (1 - left).sqrt() * eps_hat) / left.sqrt()
    return x0 if limit is None else x0.clamp(-limit, limit)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_guess_x0", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(guess_x0)
### BEGIN HIDDEN TESTS
assert check(guess_x0).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Test it with `q_sample`: from its result and the same $\epsilon$ you must get $x_0$ again.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.clamp(low, high)` keeps numbers between `low` and `high`. `limit is None` is true if there is no limit.
#
# </details>

# %% [markdown]
# ## 6. A loss with a cap
#
# *The lecture, sections 5 and 6. The cap is new.*
#
# The simple loss gives each step the weight 1. Written with the picture, this is another weight, because
# $\lVert \epsilon - \epsilon_\theta \rVert^2 = \mathrm{SNR}_t\, \lVert x_0 - \hat x_0 \rVert^2$ with
# $\mathrm{SNR}_t = \bar\alpha_t / (1 - \bar\alpha_t)$. At the first steps this ratio is in the thousands. Hang et al.
# ([arXiv 2303.09556](https://arxiv.org/abs/2303.09556)) cap it: the error of the picture gets the weight
# $\min(\mathrm{SNR}_t, \gamma)$. Written with the noise, this is
#
# $$L = \frac1{N D} \sum_{n=1}^{N} c_{t_n}\, \big\lVert \epsilon_n - \epsilon_\theta(x_{t_n}, t_n) \big\rVert^2, \qquad
# c_t = \frac{\min(\mathrm{SNR}_t, \gamma)}{\mathrm{SNR}_t} .$$
#
# $\gamma$ is the cap, and D is the number of values in one row. So L is the mean over *all* values of the weighted
# squares. Each row has its own step and its own weight. With $\gamma = \infty$ this is the simple loss. The network
# gets the step, too, as `net(x_t, t)`, with t numbered as in code.
#
# *15 minutes, ★★.* Points: 3 right values, 2 teaches the network.


# %% nbgrader={"grade": false, "grade_id": "capped_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def capped_loss(net, x0, t, eps, abar, cap):
    """The loss of the noise, where no step counts more than `cap` for the picture.

    net: a function, x_t (N, ...) and t (N,) -> noise, like x_t. x0, eps (N, ...): data
    and noise, float32 or float64. t (N,): int64, in 0..T-1. abar (T,). cap: a number
    > 0, or float("inf"). Returns a 0-d tensor. Its gradient must reach the weights of
    net, and the arguments must stay as they are.
    """
    ### BEGIN SOLUTION
    errors = (net(q_sample(x0, t, eps, abar), t) - eps).square().flatten(1).mean(1)
    snr = abar[t] / (1 - abar[t])
    return ((cap / snr).clamp(max=1) * errors).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_capped_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(capped_loss)
### BEGIN HIDDEN TESTS
assert check(capped_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Compute `x_t` as in exercise 2, let `net` predict, and take the mean of the squared errors *within each row*. This
# gives (N,) numbers. The SNR of each row has the same shape.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a.clamp(max=1)` is min(a, 1). The fraction $c_t$ is min(1, $\gamma$ / SNR), and this form is right for
# $\gamma = \infty$, too.
#
# </details>

# %% [markdown]
# ## 7. One step back, with a learnt variance
#
# *The lecture, section 7. The variance between the two is new.*
#
# Insert exercise 5's guess into exercise 4's mean, and the formula becomes short. A step back takes this mean and adds
# fresh noise z:
#
# $$x_{t-1} = \frac{1}{\sqrt{\alpha_t}} \Big( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\epsilon \Big) + \sigma_t z .$$
#
# For pixels the right variance lies, on average, between $\tilde\beta_t$ and $\beta_t$. Nichol and Dhariwal
# ([arXiv 2102.09672](https://arxiv.org/abs/2102.09672)) let the network choose it, by a number $\lambda$ for each
# pixel. Here one $\lambda$ in [0, 1] is given for all. They mix the *logarithms* of the two variances:
#
# $$\log \sigma_t^2 = \lambda \log \beta_t + (1 - \lambda) \log \tilde\beta_t .$$
#
# On the last step back, to $x_0$, *no* noise is added, whatever $\lambda$ is. There $\tilde\beta_1 = 0$ has no
# logarithm.
#
# *15 minutes, ★★.* Points: 3 right values, 1 both ends of the variance, 1 the last step, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "ancestral_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ancestral_step(x_t, eps_hat, step_noise, betas, t, lam):
    """One step from x_t to x_{t-1}, as in DDPM, with a variance between two.

    x_t, eps_hat, step_noise (N, ...): the current point, the predicted noise, and
    z; float32 or float64. betas (T,). t: one number for all rows, in 0..T-1; 0 is the
    last step back. lam: a number in [0, 1]; 1 gives the variance beta_t, 0 gives
    btilde_t. Returns x_{t-1}.
    """
    ### BEGIN SOLUTION
    alpha, abar, btilde = schedule(betas)
    mean = (x_t - betas[t] / (1 - abar[t]).sqrt() * eps_hat) / alpha[t].sqrt()
    if t == 0:
        return mean
    variance = betas[t] ** lam * btilde[t] ** (1 - lam)
    return mean + variance.sqrt() * step_noise
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_ancestral_step", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(ancestral_step)
### BEGIN HIDDEN TESTS
assert check(ancestral_step).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\sigma_t$ multiplies the noise z, so it is the root of the variance. The $\beta_t$ in the mean needs no root.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\sigma_t^2 = \beta_t^{\lambda}\, \tilde\beta_t^{1 - \lambda}$. At the last step this is 0 for most $\lambda$, but not
# for $\lambda = 1$. So test whether `t == 0`.
#
# </details>

# %% [markdown]
# ## 8. One long step back, from v
#
# *The lecture, sections 9 and 10. Their combination is new.*
#
# The loss does not depend on how one gets from $x_t$ to $x_s$. So you may choose any earlier s, even a hundred steps at
# once, and how much fresh noise you add. Guess the picture and the noise. Then add noise again, up to step s: part of
# it is the noise that was *predicted*, and part is fresh noise z:
#
# $$x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \hat\epsilon + \sigma z, \qquad
# \sigma^2 = \eta^2\, \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \Big( 1 - \frac{\bar\alpha_t}{\bar\alpha_s} \Big).$$
#
# $\eta = 1$ is the step of exercise 7 with $\lambda = 0$, if s = t - 1. $\eta = 0$ adds no fresh noise, so the same
# first noise always gives the same picture. Here the network predicts neither the noise nor the picture, but
#
# $$v = \sqrt{\bar\alpha_t}\; \epsilon - \sqrt{1 - \bar\alpha_t}\; x_0 .$$
#
# Together with the jump $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$ these are two equations.
# Solve them for $\hat x_0$ and $\hat\epsilon$. (No division is needed.) There is no limit for $\hat x_0$.
#
# *20 minutes, ★★★.* Points: 2 without fresh noise, 2 with fresh noise, 1 the end, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "ddim_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ddim_step(x_t, v_hat, step_noise, abar_t, abar_s, eta):
    """One step from x_t to x_s, at any earlier step s, as in DDIM, for predicted v.

    x_t, v_hat, step_noise (N, ...): float32 or float64. abar_t, abar_s: numbers (not
    tensors), 0 < abar_t < abar_s <= 1; abar_s is 1 where the step ends at x_0. eta: a
    number in [0, 1]. Returns x_s.
    """
    ### BEGIN SOLUTION
    x0 = abar_t**0.5 * x_t - (1 - abar_t) ** 0.5 * v_hat
    eps = (1 - abar_t) ** 0.5 * x_t + abar_t**0.5 * v_hat
    variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    return (
        abar_s**0.5 * x0
        + (1 - abar_s - variance) ** 0.5 * eps
        + variance**0.5 * step_noise
    )
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_ddim_step", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(ddim_step)
### BEGIN HIDDEN TESTS
assert check(ddim_step).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The root of a Python number is `a**0.5`. To find $\hat x_0$, multiply the jump by $\sqrt{\bar\alpha_t}$ and the
# equation of v by $\sqrt{1 - \bar\alpha_t}$, and subtract. Then the noise cancels. The squares of the two factors
# sum to 1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The squares of the last two coefficients sum to $1 - \bar\alpha_s$. This is the variance of all the noise at step s,
# predicted and fresh.
#
# </details>
# <details><summary>Hint 3</summary>
#
# At $\bar\alpha_s = 1$ only $\hat x_0$ is left.
#
# </details>

# %% [markdown]
# ## 9. The weights of the losses
#
# *The lecture, sections 5 and 9.*
#
# The simple loss weighs all steps equally. The bound does not. In the bound, with the variance $\tilde\beta_t$, an
# error $\lVert \epsilon - \epsilon_\theta \rVert^2$ at step t has the weight (in nats)
#
# $$w_t = \frac{\beta_t^2}{2\, \tilde\beta_t\, \alpha_t\, (1 - \bar\alpha_t)}, \qquad t = 2, \dots, T.$$
#
# (The first step has a likelihood instead, so there is no $w_1$.) Another algorithm (1.2 of deck MLMI17, *Advanced
# Computer Vision*; section 9 of the lecture) lets the network predict $x_{t-1}$ itself. With squared error, this is, up
# to a constant, again the loss of the noise, with weights for all T steps:
#
# $$u_t = \frac{\beta_t^2}{\alpha_t\, (1 - \bar\alpha_t)}.$$
#
# The optimum is the same for all three losses. But they make a network of finite size care about different steps: look
# at the curves at the end.
#
# *15 minutes, ★★.* Points: 2 the bound's weights, 1 those of the next step, 1 argument left alone.


# %% nbgrader={"grade": false, "grade_id": "loss_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def loss_weights(betas):
    """The weights that two losses give to an error of the noise, at each step.

    betas (T,): T >= 2, float32 or float64. Returns two things: w for the steps 2..T,
    (T - 1,), and u for all steps, (T,).
    """
    ### BEGIN SOLUTION
    alpha, abar, btilde = schedule(betas)
    u = betas.square() / (alpha * (1 - abar))
    return (u / (2 * btilde))[1:], u
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_loss_weights", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(loss_weights)
### BEGIN HIDDEN TESTS
assert check(loss_weights).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $w_t$ is $u_t$, divided by something.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\tilde\beta_1 = 0$ makes the first entry infinite: leave it out with `[1:]`.
#
# </details>

# %% [markdown]
# ## 10. The exact score
#
# *The lecture, section 8.*
#
# What would a perfect network predict? Let the data be K equally likely Gaussians $\mathcal N(c_k, s^2 I)$. With noise
# added, they are still Gaussians, with means $m_k = \sqrt{\bar\alpha}\, c_k$ and variance
# $v = \bar\alpha s^2 + 1 - \bar\alpha$ in each direction. The score of their mixture $p_t$ points uphill. It points
# towards each mean, weighted by the probability that x comes from this Gaussian:
#
# $$\nabla_x \log p_t(x) = \sum_{k=1}^{K} r_k(x)\, \frac{m_k - x}{v}, \qquad r_k(x) = \frac{\exp\!\big(-\lVert x - m_k \rVert^2 / 2v\big)}{\sum_j \exp\!\big(-\lVert x - m_j \rVert^2 / 2v\big)}.$$
#
# The best prediction of the noise is $-\sqrt{1 - \bar\alpha}$ times the score. Far from all the means, the computer
# rounds each exp to 0, but the fraction is not 0.
#
# *20 minutes, ★★★.* Points: 3 right values, 1 far away, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "score_of_mixture", "locked": false, "schema_version": 3, "solution": true, "task": false}
def score_of_mixture(x, centres, std, abar):
    """The gradient of log p_t, for data from K equally likely Gaussians.

    x (N, D): points with noise, centres (K, D): means of the data, float32 or
    float64. std: the data's s, a number >= 0. abar: a number in (0, 1), not a tensor.
    Returns the score at each point, (N, D).
    """
    ### BEGIN SOLUTION
    way = abar**0.5 * centres - x[:, None]
    v = abar * std**2 + 1 - abar
    r = (way.square().sum(2) / (-2 * v)).softmax(1)
    return torch.einsum("nk,nkd->nd", r, way) / v
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_score_of_mixture", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(score_of_mixture)
### BEGIN HIDDEN TESTS
assert check(score_of_mixture).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `way = m - x[:, None]` is (N, K, D): the vector from each point to each mean.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The fraction $r_k$ is a softmax over k. Which numbers go into it? `a.softmax(1)` is right however small its
# exponentials are.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Take the weighted sum of the vectors: `(r[:, :, None] * way).sum(1)`.
#
# </details>

# %% [markdown]
# ## All together
#
# **How each loss weighs the steps.** The figure shows your `loss_weights` on a thousand steps of the usual schedule.
# The simple loss is the flat line.


# %%
def ready(*answers):
    """True if all answers are right; else prints which are still to do."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            f"To do: this runs as soon as {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} right."
        )
    return not missing


def weights():
    if not ready(schedule, loss_weights):
        return None
    bound, following = loss_weights(
        torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    )
    following = following[1:]
    lines = {
        "bound": bound / bound.mean(),
        "next step": following / following.mean(),
        "simple": torch.ones(999),
    }
    figure = curve(
        list(range(2, 1001)),
        {name: line.tolist() for name, line in lines.items()},
        title="What an error of the noise costs, at each step",
        xlabel="t",
        ylabel="weight over mean weight",
    )
    figure.axes[0].set(yscale="log")
    return figure


weights()

# %% [markdown]
# **From noise to islands.** The data lie on eight islands. A small network is trained with your `capped_loss`, without
# a cap. Then points of noise go back by your steps (upper row). In the lower row the same points of noise go back
# without a network, by your `score_of_mixture`. (Not marked; it takes about ten seconds.)


# %%
def trained(betas, steps):
    """A small network that predicts noise on eight islands."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TimedMLP(2, 128)
    abar, g = schedule(betas)[1], torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        x0, t = gaussians(256, g)[0], torch.randint(len(betas), (256,), generator=g)
        eps = torch.randn(256, 2, generator=g)
        loss = capped_loss(net, x0, t, eps, abar, float("inf"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"simple loss after {steps} updates: {loss.item():.2f}")
    return net


@torch.no_grad()
def flow(eps_fn, x, betas, eta=0.0, jump=5):
    """All points from x_T to x_0, by your `ddim_step`, `jump` steps at a time.

    eps_fn: a function, x_t and t (a number) -> noise.
    """
    abar, g = schedule(betas)[1].tolist(), torch.Generator().manual_seed(3)
    path = [x]
    for t in range(len(abar) - 1, -1, -jump):
        to = abar[t - jump] if t >= jump else 1.0
        # the v that belongs to this noise
        v = (eps_fn(x, t) - (1 - abar[t]) ** 0.5 * x) / abar[t] ** 0.5
        x = ddim_step(x, v, torch.randn(x.shape, generator=g), abar[t], to, eta)
        path.append(x)
    return path


def look(axes, path, name):
    """Draws six moments of a flow, and prints how many points end on an island."""
    for i, ax in enumerate(axes):
        k = round(i * (len(path) - 1) / 5)
        ax.plot(*path[k].T, ".", markersize=1.5, color="#0072B2")
        ax.plot(*circle_centres().T, "+", markersize=5, color="#D55E00")
        ax.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"{5 * (len(path) - 1 - k)} to go")
    axes[0].set_ylabel(name)
    nearest = torch.cdist(path[-1], circle_centres()).min(1)
    landed = nearest.values < 3 * NOISE
    shares = nearest.indices[landed].bincount(minlength=8) / len(path[-1])
    print(
        f"{name}: {landed.float().mean():.0%} of the points land on an island; "
        f"an island has {shares.min():.0%} to {shares.max():.0%} of them"
    )


def islands(steps):
    if not ready(schedule, q_sample, capped_loss, ddim_step, score_of_mixture):
        return None
    betas = torch.linspace(0.03, 0.7, 100) ** 3  # slow at low noise: islands form there
    net, abar = trained(betas, steps), schedule(betas)[1].tolist()

    def learnt(x, t):
        return net(x, torch.full((len(x),), t))

    def exact(x, t):
        return -((1 - abar[t]) ** 0.5) * score_of_mixture(
            x, circle_centres(), NOISE, abar[t]
        )

    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(2))
    figure, axes = subplots(2, 6, height=3.6)
    for row, (name, eps_fn) in zip(
        axes, {"your network": learnt, "your score": exact}.items()
    ):
        look(row, flow(eps_fn, noise, betas), name)
    return describe(
        figure,
        "Points of noise flow to eight islands, in six moments: by a trained network, "
        "and by the exact score.",
    )


islands(steps=10 if budget() == "smoke" else 2000)

# %% [markdown]
# ## What next
#
# So far `flow` added no fresh noise. Give it an `eta` of 1: do more points land on an island, or fewer? Try both with a
# `jump` of 1, 5, 10 and 25. Perhaps fresh noise lets later steps correct the errors of earlier ones, as long as there
# are enough later steps. Colour the points by the island where they end, and look where these colours are in the noise.
# Train with a cap of 5, or write a loss with your `loss_weights`: at which steps does the network become better, and
# can you see it in the points? Let `flow` use your `ancestral_step` instead. Then add `guess_x0`, with a limit, and
# train on real data, as the lecture does with a U-Net and pictures.
