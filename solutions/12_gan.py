# %% [markdown]
# # Exercises 12. Generative adversarial networks
#
# **A forger and a detective, in ten short pieces.** The forger is the generator, the detective is the discriminator.
# You compute what the best detective would say, write down the loss of each of the two, compute a distance that still
# helps where the detective has won, and keep a critic from getting too steep, in two ways. Then come labels and growing
# pictures. In the end the two play, with your own code.
#
# **You need** notebook 12, the lecture. Each exercise names the part it belongs to.
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
# | 1. The best detective | 5 | 15 | ★★ |
# | 2. What the discriminator wants | 5 | 10 | ★ |
# | 3. What the generator wants | 6 | 10 | ★ |
# | 4. Moving earth on a line | 4 | 10 | ★ |
# | 5. Cut off | 3 | 5 | ★ |
# | 6. Not too steep, not too flat | 6 | 20 | ★★★ |
# | 7. A norm that listens to the label | 5 | 15 | ★★ |
# | 8. Is it real, and is it a cat? | 4 | 10 | ★★ |
# | 9. Pictures that grow | 5 | 20 | ★★ |
# | 10. The two players | 7 | 25 | ★★★ |
# | **together** | **50** | **140** | |
#
# D always returns *logits*: the probability that a picture is real is $D(x) = \text{sigmoid}(\text{logit})$. The first line of
# each check must be right before the others count.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.data import load
from course_lib.data.toys import circle_centres, gaussians
from course_lib.notebook import budget, checks, curve, describe, image_grid, subplots

check = checks("12_gan")

# %% [markdown]
# ## 1. The best detective
#
# *The lecture, on the best discriminator and the value of the game.*
#
# Suppose you *knew* all probabilities: $p$ for the data, $q$ for the generator. Then no discriminator could be better
# than
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad
# V = \sum_x p(x) \log D^*(x) + q(x) \log\big(1 - D^*(x)\big) = -\log 4 + 2\,\mathrm{JSD}(p, q).$$
#
# V is the value of the game for this D. Probabilities of whole pictures are tiny, so they are given as logarithms, and
# must stay logarithms. Where both p and q are too small for the computer, the fraction is 0/0, though one may be seven
# times the other. Divide its numerator and denominator by p. Which function of $\log p - \log q$ do you get?
#
# *15 minutes, ★★.* Points: 2 best D, 1 value of the game, 1 arguments left alone, 1 tiny probabilities.


# %% nbgrader={"grade": false, "grade_id": "optimal_discriminator", "locked": false, "schema_version": 3, "solution": true, "task": false}
def optimal_discriminator(log_p, log_q):
    """The output of the best discriminator, and the value of the game for it.

    log_p, log_q (K,): logarithms of two tables of K probabilities, of data and of
    fakes, float32 or float64; all finite, but exp may round them to 0. Returns two
    things: D* of each entry, (K,), in [0, 1]; and the value V of the game, a 0-d
    tensor, in nats.
    """
    ### BEGIN SOLUTION
    logit = log_p - log_q
    value = (
        log_p.exp() * F.logsigmoid(logit) + log_q.exp() * F.logsigmoid(-logit)
    ).sum()
    return logit.sigmoid(), value
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_optimal_discriminator", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(optimal_discriminator)
### BEGIN HIDDEN TESTS
assert check(optimal_discriminator).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $p / (p + q) = 1 / (1 + q/p) = 1 / (1 + e^{-(\log p - \log q)})$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# So $\log p - \log q$ is the *logit* of $D^*$. `F.logsigmoid` computes the logarithm of a sigmoid directly, and
# $1 - \text{sigmoid}(a) = \text{sigmoid}(-a)$.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In the value, p and q themselves are needed only as weights. There `exp` may round to 0, as long as the logarithm
# beside it is finite.
#
# </details>

# %% [markdown]
# ## 2. What the discriminator wants
#
# *The lecture, on the minimax game.*
#
# D should be near 1 for real pictures and near 0 for fakes. D maximises the game's value, but optimisers minimise, so
# its loss is
#
# $$L_D = -\frac1N \sum_{n=1}^{N} \log D(x_n) - \frac1M \sum_{m=1}^{M} \log\big(1 - D(G(z_m))\big).$$
#
# This is a sum of two means, because there may be more fakes than real pictures. And D gets very sure of itself in this
# game. Where it is sure and wrong by a logit of 1000, the loss must grow by 1000, not by infinity.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 a very sure D, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "discriminator_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def discriminator_loss(real, fake):
    """The loss of a discriminator that returns logits.

    real (N,), fake (M,): its logits for real pictures and for fakes, float32 or
    float64. Returns a 0-d tensor, in nats, not below 0. Gradient flows to both.
    """
    ### BEGIN SOLUTION
    return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_discriminator_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(discriminator_loss)
### BEGIN HIDDEN TESTS
assert check(discriminator_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `F.logsigmoid(a)` is log D. What is log(1 - D), again as a `logsigmoid`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Or use `F.binary_cross_entropy_with_logits` twice, first with ones as labels, then with zeros. Try all logits 0: D is
# 1/2 everywhere, and the loss must be log 4.
#
# </details>

# %% [markdown]
# ## 3. What the generator wants
#
# *The lecture, on the two losses of the generator.*
#
# The game says: minimise $\log(1 - D(G(z)))$, the *saturating* loss. Its slope with respect to a logit is $-D$. In the
# beginning the discriminator recognises every fake. Then D is about 0, and the generator gets no gradient. So nearly
# everybody minimises another loss with the same goal:
#
# $$L_{\text{sat}} = \frac1M \sum_m \log\big(1 - D(G(z_m))\big), \qquad L_{\text{non-sat}} = -\frac1M \sum_m \log D(G(z_m)).$$
#
# The slope of the second one is $-(1 - D)$, which is large where it matters. The figure at the end shows your own
# slopes.
#
# *10 minutes, ★.* Points: 2 both losses, 1 argument left alone, 1 a very sure D, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "generator_losses", "locked": false, "schema_version": 3, "solution": true, "task": false}
def generator_losses(fake):
    """The two losses of a generator.

    fake (M,): the discriminator's logits for fakes, float32 or float64. Returns two 0-d
    tensors, in nats: the saturating loss (not above 0), then the non-saturating one
    (not below 0). Both are to be minimised. Gradient flows from each.
    """
    ### BEGIN SOLUTION
    return F.logsigmoid(-fake).mean(), -F.logsigmoid(fake).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_generator_losses", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(generator_losses)
### BEGIN HIDDEN TESTS
assert check(generator_losses).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Both get smaller as D(G(z)) gets larger. Does yours?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The first loss is minus a part of exercise 2. In the second, the fakes are labelled as *real*, and the loss is the
# usual one.
#
# </details>

# %% [markdown]
# ## 4. Moving earth on a line
#
# *The lecture, on the Wasserstein distance.*
#
# Where data and fakes do not overlap, the divergence of exercise 1 is log 2, whether they are near or far apart. The
# earth mover's distance asks how far the mass must be carried. On a line, with N points each, no point needs to
# overtake another. The smallest goes to the smallest, the next to the next, so the distance is
#
# $$W_1 = \frac1N \sum_{i=1}^{N} \big|a_{(i)} - b_{(i)}\big|,$$
#
# with $a_{(1)} \le a_{(2)} \le \dots$ the points in order. In more dimensions points cannot be sorted, so a WGAN needs
# a critic.
#
# *10 minutes, ★.* Points: 2 right values, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "wasserstein", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wasserstein(a, b):
    """The Wasserstein distance W1 of two samples on a line.

    a, b (N,): N points each, in any order, float32 or float64. Returns a 0-d tensor,
    not below 0. Gradient flows to both.
    """
    ### BEGIN SOLUTION
    return (a.sort().values - b.sort().values).abs().mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_wasserstein", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(wasserstein)
### BEGIN HIDDEN TESTS
assert check(wasserstein).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `a.sort()` returns two things, values and indices, and leaves a as it is.
#
# </details>
# <details><summary>Hint 2</summary>
#
# First the distances, none of them negative, then their mean.
#
# </details>

# %% [markdown]
# ## 5. Cut off
#
# *The lecture, on the WGAN.*
#
# A critic's values say how much better one picture is than another. The critic must not be steep, because otherwise it
# would win with ever larger numbers. The first WGAN kept it flat by force. After each update every weight is cut off
# (*clipped*):
#
# $$w \leftarrow \min\big(\max(w, -c),\, c\big) \quad \text{for every parameter } w.$$
#
# Do it *in place*, because the optimiser holds these same tensors. Gradients and buffers must not change. ("A clearly
# terrible way", say its authors; exercise 6 is the better way.)
#
# *5 minutes, ★.* Points: 2 all weights cut off, 1 nothing else changed.


# %% nbgrader={"grade": false, "grade_id": "clip_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clip_weights(critic, c):
    """Clips all parameters of a critic to [-c, c], in place.

    critic: an nn.Module; its parameters, weights and biases of any shape, require
    gradients and have some. c: a number > 0. What it returns does not matter.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-c, c)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_clip_weights", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(clip_weights)
### BEGIN HIDDEN TESTS
assert check(clip_weights).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `t.clamp(low, high)` makes a new tensor, `t.clamp_(low, high)` changes this one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A tensor that requires a gradient may be changed in place only where none is recorded: `with torch.no_grad():`.
#
# </details>

# %% [markdown]
# ## 6. Not too steep, not too flat
#
# *The lecture, on the gradient penalty.*
#
# The best critic has slope 1 nearly everywhere between a real picture and a fake. So ask for slope 1 at one point
# between each pair:
#
# $$P = \frac1N \sum_{n=1}^{N} \Big( \big\lVert \nabla_{\hat x} f(\hat x_n) \big\rVert_2 - 1 \Big)^2, \qquad \hat x_n = t_n\, x_n + (1 - t_n)\, G(z_n).$$
#
# The norm is over all numbers of one picture. Note that here the loss is made of a *gradient*. This gradient will be
# differentiated once more, with respect to the critic's weights. Without that, the value is right and the curve looks
# fine, but nothing is learnt.
#
# *20 minutes, ★★★.* Points: 3 right values, 3 teaches the critic.


# %% nbgrader={"grade": false, "grade_id": "gradient_penalty", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradient_penalty(critic, real, fake, t):
    """How far the critic's slope is from 1, between real pictures and fakes.

    critic: a function, pictures (N, C, H, W) -> (N,), each number from its own picture.
    real, fake (N, C, H, W): pictures and fakes without gradient, float32 or float64. t
    (N,), in [0, 1]: the real picture's share in each point. Returns a 0-d tensor,
    the mean over the N pairs. Gradient reaches the critic's weights.
    """
    ### BEGIN SOLUTION
    x = fake + t[:, None, None, None] * (real - fake)
    x.requires_grad_()
    slope = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
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

# %% [markdown]
# ## 7. A norm that listens to the label
#
# *The lecture, on conditional GANs.*
#
# How does a generator know which class to paint? One way changes hardly anything in the network. BatchNorm has a gain
# and a bias for each channel. Give it a table of them, with a row for each class, and let the label choose the row:
#
# $$\hat x_{nchw} = \gamma_{y_n c}\, \frac{x_{nchw} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_{y_n c}.$$
#
# $\mu_c$ and $\sigma_c^2$ are the mean and the variance of channel c over the *whole* batch and all positions, whatever the labels; the
# variance is the plain mean of the squares.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "conditional_batch_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conditional_batch_norm(x, gain, bias, y, eps):
    """BatchNorm, as in training, with a gain and a bias for each label.

    x (N, C, H, W): maps, float32 or float64. gain, bias (classes, C): a row for each
    class, of the same dtype. y (N,): labels, int64. eps: a number > 0. Returns maps
    (N, C, H, W). Gradient flows to x, gain and bias.
    """
    ### BEGIN SOLUTION
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    normal = (x - mean) / (variance + eps).sqrt()
    return gain[y][:, :, None, None] * normal + bias[y][:, :, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conditional_batch_norm", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(conditional_batch_norm)
### BEGIN HIDDEN TESTS
assert check(conditional_batch_norm).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.mean((0, 2, 3), keepdim=True)` has the shape (1, C, 1, 1): one number for each channel. `x.var` divides by one
# less, unless you set `correction=0`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `gain[y]` picks a row for each picture, (N, C). For maps it needs two more dimensions: `[:, :, None, None]`.
#
# </details>

# %% [markdown]
# ## 8. Is it real, and is it a cat?
#
# *The lecture, on the projection discriminator.*
#
# And how does the discriminator use a label? Let h be its features of a picture. One logit answers two questions:
#
# $$\text{logit}(x_n, y_n) = \langle \psi, h_n \rangle + \langle v_{y_n}, h_n \rangle.$$
#
# The first part asks "is it real?", the second "is it a $y_n$?". $v_y$ is row y of a table that is learnt. There is no
# softmax, and the other classes do not matter.
#
# *10 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "projection_logit", "locked": false, "schema_version": 3, "solution": true, "task": false}
def projection_logit(h, psi, table, y):
    """The logit of a projection discriminator.

    h (N, D): features of N pictures, float32 or float64. psi (D,). table (classes, D):
    a row v for each class. y (N,): labels, int64. Returns logits (N,). Gradient flows
    to h, psi and table.
    """
    ### BEGIN SOLUTION
    return h @ psi + (table[y] * h).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_projection_logit", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(projection_logit)
### BEGIN HIDDEN TESTS
assert check(projection_logit).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `table[y]` is (N, D): for each picture the row of its own label.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Inner products row by row are not a matrix product, so multiply, then sum over D. (The two parts have h in common. Is
# one inner product enough?)
#
# </details>

# %% [markdown]
# ## 9. Pictures that grow
#
# *The lecture, on progressive growing.*
#
# A generator with L levels first learns small pictures, then twice as large ones, and so on. Training is cut into
# $2L - 1$ phases of equal length: level 0 alone, level 1 fading in, level 1 alone, level 2 fading in, ..., level
# $L - 1$ alone. While a level fades in, its $\alpha$ grows evenly from 0 to 1 in that phase, and the generator shows
#
# $$(1 - \alpha)\, \text{enlarged}(\text{old}) + \alpha\, \text{new}.$$
#
# Enlarging makes four equal pixels of each pixel. At the very end, at progress 1, the last level is alone.
#
# *20 minutes, ★★.* Points: 3 the next level fades in, 1 one level alone in between, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "grown", "locked": false, "schema_version": 3, "solution": true, "task": false}
def grown(pictures, progress):
    """What a growing generator shows at some point of its training.

    pictures: a list of L >= 1 tensors, the same pictures as the levels paint them:
    level i is (N, C, S * 2^i, S * 2^i), float32 or float64. progress: a number in [0,
    1]. Returns one tensor: a level's pictures where it is alone; where level i is
    fading in, the mixture with level i - 1, in level i's size.
    """
    ### BEGIN SOLUTION
    last = 2 * len(pictures) - 2  # the number of the last phase
    phase = min(progress * (last + 1), last)
    level, alpha = int(phase) // 2, phase - int(phase)
    if int(phase) % 2 == 0:
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
# The integer part of `progress * (2 * L - 1)` is the number of the phase, counted from 0. The rest says how far this
# phase has come. In even phases a level is alone. Which one?
#
# </details>
# <details><summary>Hint 2</summary>
#
# L = 2 has three phases. At progress 0.5 half of the second phase is over, so level 1 has $\alpha = 1/2$. At progress 1
# the integer part is 3, and there is no such phase.
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
# *The lecture, on GAN's training algorithm.*
#
# Now let them play. Both networks start with a given function `init` (in the lecture: small normal weights). Then, in
# each round:
#
# 1. k times: a batch of real pictures, noise, and one step of gradient descent on $L_D$ of exercise 2, for D's parameters *only*;
# 2. once: noise, and one step on the non-saturating loss of exercise 3, for G's parameters *only*.
#
# A step is plain gradient descent, $w \leftarrow w - \text{lr} \cdot \partial L / \partial w$. What can go wrong? G's
# gradient flows through D. D's gradient flows into G unless you stop it. And gradients add up until you clear them. You
# may use `torch.optim.SGD`.
#
# *25 minutes, ★★★.* Points: 1 both networks start with init, 2 the discriminator moves k times, 2 then the generator once, 1 round after round, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "Adversaries", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Adversaries:
    """Two networks that learn from each other.

    generator: an nn.Module, noise (N, Z) -> fakes like the real batches. discriminator:
    an nn.Module, a batch -> logits (N,). init: a function that changes a network's
    parameters in place. lr: a number > 0. Both networks learn in place.
    """

    def __init__(self, generator, discriminator, init, lr):
        """Calls init on both networks."""
        ### BEGIN SOLUTION
        init(generator)
        init(discriminator)
        self.generator, self.discriminator, self.lr = generator, discriminator, lr
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
        saturating, other = generator_losses(
            self.discriminator(self.generator(noises[-1]))
        )
        self.descend(other, self.generator)

    def descend(self, loss, network):
        parameters = list(network.parameters())
        with torch.no_grad():
            for parameter, slope in zip(
                parameters, torch.autograd.grad(loss, parameters)
            ):
                parameter -= self.lr * slope
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
            optimal_discriminator(*tables)[1].item() + math.log(4)
        )
        said["Wasserstein distance"].append(wasserstein(points, points + d).item())
    return curve(
        shifts,
        said,
        title="Who still notices that the fakes come closer?",
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
        {"saturating": [], "non-saturating": []},
    )
    for d in believed:
        for name, which in (("saturating", 0), ("non-saturating", 1)):
            logit = torch.logit(torch.tensor([d])).requires_grad_()
            lines[name].append(
                -torch.autograd.grad(generator_losses(logit)[which], logit)[0].item()
            )
    return curve(
        believed,
        lines,
        title="How loud a generator is told to improve",
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
    moments = [i / 15 for i in range(16)]
    shown = [F.interpolate(grown(pictures, moment), size=32) for moment in moments]
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
        Adversaries(generator, discriminator, init, lr=0.02),
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
# Then train on pictures with convolutions, as the lecture does.
