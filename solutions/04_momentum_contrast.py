# %% [markdown]
# # Exercises 04. Momentum contrast
#
# **You write ten short pieces of code, and at the end you have a MoCo of your own.** The first five are the queue as a
# ring buffer, MoCo's loss with a mask for a picture's own old keys, how far the slow key network stays behind, how many
# negatives share the gradient, and a repair of shuffled BatchNorm. The last five are MoCHi's mixtures with the query,
# MoCo itself as a method that `fit` can train, MoCo v3's loss for more than two views, the IoU of boxes, and supervised
# contrast with a queue.
#
# **You need** notebook 04, the lecture, up to section 12. Each exercise names the section that it belongs to.
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
# | 1. The queue as a ring buffer | 7 | 15 | ★★ |
# | 2. MoCo's loss without a picture's own old keys | 7 | 15 | ★★ |
# | 3. How far the key network stays behind | 5 | 10 | ★★ |
# | 4. The effective number of negatives | 5 | 10 | ★★ |
# | 5. Repair: three mistakes in shuffled BatchNorm | 5 | 10 | ★★ |
# | 6. MoCHi's second kind of mixtures | 6 | 20 | ★★ |
# | 7. MoCo as a method | 10 | 35 | ★★★ |
# | 8. MoCo v3 with more than two views | 6 | 15 | ★★ |
# | 9. The overlap of all boxes with all boxes | 5 | 15 | ★★ |
# | 10. Labels and a queue | 8 | 15 | ★★★ |
# | **together** | **64** | **160** | |
#
# The first line of each check must be right before the other lines count.

# %%
import copy
import itertools

import torch
import torch.nn.functional as F

from course_lib import evaluate
from course_lib.contrastive.moco_recipes import views_v2
from course_lib.data import load
from course_lib.nets.mlp import mlp
from course_lib.nets.resnet import ResNet
from course_lib.notebook import budget, checks, curve
from course_lib.optim import adamw
from course_lib.run import seeded
from course_lib.train import Method, fit

check = checks("04_momentum_contrast")

# %% [markdown]
# ## 1. The queue as a ring buffer
#
# *Section 3 of the lecture.*
#
# MoCo's queue has K slots. New keys replace the oldest keys. Nothing is moved: a pointer remembers the slot of the
# oldest key, and the new keys are written from there on. After the last slot comes slot 0 again. Let $p$ be the
# pointer, and let $n_j$ be row j of `new`, with j = 0, ..., N - 1. Write one new key after the other:
#
# $$\text{slot}\ (p + j) \bmod K \;\leftarrow\; n_j, \qquad p \;\leftarrow\; (p + N) \bmod K.$$
#
# N need not divide K. N may also be larger than K: then later keys replace earlier keys of the same batch, so only the
# last K of them remain. The new keys come from a network and may require a gradient. The queue must not keep this
# gradient, because it would keep the computation graphs of all earlier batches.
#
# *15 minutes, ★★.* Points: 2 right keys, 1 right pointer, 2 more new keys than slots, 1 arguments left alone, 1 no
# gradient in the queue.


# %% nbgrader={"grade": false, "grade_id": "push", "locked": false, "schema_version": 3, "solution": true, "task": false}
def push(keys, pointer, new):
    """The queue after N new keys, and its pointer; the given tensors are not changed.

    keys (K, D), float32 or float64: the slots. pointer: a whole number, 0 <= pointer <
    K: the slot of the oldest key. new (N, D), N >= 1, of the dtype of keys: the new
    keys, oldest first; may require grad. Returns (keys, pointer), keys (K, D) of the
    same dtype: new[j] in slot (pointer + j) mod K for the last K of the j, and the
    other slots as they were; pointer (pointer + N) mod K. The keys carry no gradient.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        size, n = len(keys), len(new)
        last = torch.arange(max(0, n - size), n, device=new.device)
        keys = keys.clone()
        keys[(pointer + last) % size] = new[last]
        return keys, (pointer + n) % size
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_push", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(push)
### BEGIN HIDDEN TESTS
assert check(push).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Copy the queue first, and write into the copy. A loop over the new keys is a right answer: key j goes to slot
# `(pointer + j) % len(keys)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Without a loop: `keys[slots] = new` writes row j to slot `slots[j]`. If a slot occurs twice in `slots`, torch does not
# promise which of the two rows remains. So if N > K, take only the last K values of j.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Nothing that happens inside `with torch.no_grad():` is recorded for a gradient. `new.detach()` has the same effect
# here.
#
# </details>

# %% [markdown]
# ## 2. MoCo's loss without a picture's own old keys
#
# *Section 5 of the lecture.*
#
# A long queue may still contain a key of the same picture, from the epoch before. MoCo counts this key as a negative,
# although it shows the same picture. Here you leave it out. Let $r_i$ be the index in the data set of the picture of
# query i (`rows`), and $\rho_j$ that of the picture that made key j of the queue (`queue_rows`). A random key, from
# before the training, belongs to no picture. Its $\rho_j$ is -1, and it is a negative of every query. Let $s_i^+$ be
# the cosine of query i and its own key $k_i$, and $s_{ij}$ the cosine of query i and key j of the queue. Then
#
# $$L = \frac1N \sum_{i=1}^{N} -\log \frac{\exp(s_i^+ / \tau)}
# {\exp(s_i^+ / \tau) + \sum_{j:\, \rho_j \ne r_i} \exp(s_{ij} / \tau)}.$$
#
# The key $k_i$ is always the positive. A query may have no negatives left; then its loss is 0. The vectors may have any
# Euclidean norm above 0, so normalise them. No gradient reaches `k` and `queue`. Your loss must be right at
# $\tau = 0.005$ as well. In float64 it must be right at $\tau = 10^{-6}$, so do not convert float64 vectors to float32.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 low temperature, 2 right gradient, for the queries
# only.


# %% nbgrader={"grade": false, "grade_id": "masked_moco_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_moco_loss(q, k, queue, rows, queue_rows, temperature):
    """MoCo's loss; keys of the queue that come from the query's own picture are no
    negatives of this query.

    q, k (N, D), queue (K, D), float32 or float64, all of one dtype: queries, their
    positive keys, and old keys; vectors of any Euclidean norm above 0. rows (N,), all
    different, and queue_rows (K,): whole numbers, the indices of the pictures of the
    queries and of the old keys; -1 in queue_rows is a random key without a picture, a
    negative for all queries. temperature: a number > 0. Returns the mean over the
    queries of the loss above: a 0-d tensor, in nats. Gradient reaches q only.
    """
    ### BEGIN SOLUTION
    k, queue = F.normalize(k.detach(), dim=1), F.normalize(queue.detach(), dim=1)
    q = F.normalize(q, dim=1)
    positive = (q * k).sum(1, keepdim=True)  # (N, 1)
    own = rows[:, None] == queue_rows  # (N, K)
    negatives = (q @ queue.T).masked_fill(own, -torch.inf)  # (N, K)
    scores = torch.cat([positive, negatives], 1) / temperature  # (N, 1 + K)
    return (scores.logsumexp(1) - scores[:, 0]).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_masked_moco_loss", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(masked_moco_loss)
### BEGIN HIDDEN TESTS
assert check(masked_moco_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Build the scores as in the lecture: one column for the positive, K columns for the queue, (N, 1 + K) together. The
# right class of every row is column 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `rows[:, None] == queue_rows` is an (N, K) mask: which old keys come from the picture of which query. A candidate with
# the score minus infinity contributes exp(-inf) = 0 to the denominator. (A score of 0 contributes 1.)
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.cross_entropy(scores, zeros)` or `logsumexp` never forms an exponential that overflows. `x.detach()` has the
# numbers of x without its gradient.
#
# </details>

# %% [markdown]
# ## 3. How far the key network stays behind
#
# *Section 4 of the lecture.*
#
# The lecture lets the weights of the query network make a random walk. Suppose here that each network has only one
# weight, a number, and that the weight of the query network grows by 1 in each update. The weight of the key network is
# its moving average with the momentum m, and both start at 0. In each update, first the query network moves, and then
# the average is taken. With the weights $\theta_{q,t}$ of the query network and $\theta_{k,t}$ of the key network after
# t updates,
#
# $$\theta_{q,0} = \theta_{k,0} = 0, \qquad \theta_{q,t} = \theta_{q,t-1} + 1, \qquad
# \theta_{k,t} = m\, \theta_{k,t-1} + (1 - m)\, \theta_{q,t}.$$
#
# How large is the lag $d_t = \theta_{q,t} - \theta_{k,t}$? Find a recursion for $d_t$, and then the closed form. t may
# be $10^{12}$, so there is no time for a loop over the updates. m may be 0, 1, or anything between them, also a number
# like $1 - 10^{-10}$. In float32 this is 1, so compute in float64.
#
# *10 minutes, ★★.* Points: 2 right values, 1 momentum 0 and 1, 2 many updates with a momentum close to 1.


# %% nbgrader={"grade": false, "grade_id": "lag", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lag(updates, momentum):
    """How far the moving average is behind, in units of one update.

    updates: whole numbers >= 0, a tensor of integers of any shape: t, up to 10^12.
    momentum: m, a number in [0, 1]. Returns theta_q - theta_k after t updates, for each
    t: a float64 tensor of the shape of updates, computed in float64.
    """
    ### BEGIN SOLUTION
    total = updates.double()  # 1 + m + ... + m^(t-1) for m = 1
    if momentum < 1:
        total = (1 - momentum**total) / (1 - momentum)
    return momentum * total
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_lag", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(lag)
### BEGIN HIDDEN TESTS
assert check(lag).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Insert $\theta_{k,t}$ into $d_t = \theta_{q,t} - \theta_{k,t}$, and use $\theta_{q,t} = \theta_{q,t-1} + 1$. You
# should get $d_t$ as m times something with $d_{t-1}$. Then compute $d_1$, $d_2$ and $d_3$ by hand.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Write $d_3$ as a sum of powers of m. What kind of sum is this? It has a closed form for every m but 1.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The lag is a geometric sum: $d_t = m + m^2 + \dots + m^t$. What is it for m = 1?
#
# </details>
# <details><summary>Hint 4</summary>
#
# `updates.double()` converts the numbers of updates to float64, and `momentum ** t` with a tensor t is a tensor of all
# $m^t$. So no loop is needed. Only m = 1 needs an `if`.
#
# </details>

# %% [markdown]
# ## 4. The effective number of negatives
#
# *Section 7 of the lecture.*
#
# A queue has thousands of negatives, but a query does not push all of them away with the same force. The share of
# negative j in the gradient is its softmax weight among the negatives (without the positive, unlike $p_j$ in the
# lecture). If one weight is 1 and the others are 0, then
# only one negative counts. If all weights are equal, all K count. The exponential of the entropy measures what lies
# between. With $s_{ij}$ the score of query i with negative j,
#
# $$p_{ij} = \frac{\exp(s_{ij} / \tau)}{\sum_{l=1}^{K} \exp(s_{il} / \tau)}, \qquad
# n_i = \exp\Big(-\sum_{j=1}^{K} p_{ij} \log p_{ij}\Big).$$
#
# A negative that is left out has the score $-\infty$. Its weight is 0, and $0 \log 0$ counts as 0. Your function must
# be right for float32 scores of $\pm 10^4$. It must also be right for float64 scores of $10^6$ that differ by 1, so do
# not convert float64 scores to float32.
#
# *10 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 1 negatives that are left out, 1 large scores.


# %% nbgrader={"grade": false, "grade_id": "effective_negatives", "locked": false, "schema_version": 3, "solution": true, "task": false}
def effective_negatives(scores, temperature):
    """How many negatives share the gradient of each query: exp(entropy) of the softmax.

    scores (N, K), float32 or float64: row = query, column = negative, not yet divided
    by the temperature; -inf: the negative is left out. Each row has at least one finite
    score. temperature: a number > 0. Returns (N,): numbers from 1 (one negative counts)
    to K (all count alike).
    """
    ### BEGIN SOLUTION
    p = (scores / temperature).softmax(1)
    entropy = torch.special.entr(p).sum(1)  # entr(p) = -p log p, and 0 at 0
    return entropy.exp()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_effective_negatives", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(effective_negatives)
### BEGIN HIDDEN TESTS
assert check(effective_negatives).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three steps: the softmax of each row, its entropy in nats, and the exponential of the entropy. `softmax` does not
# overflow, and it gives the weight 0 for the score minus infinity.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In floating point, 0 times the logarithm of 0 is NaN. `torch.special.entr`, `torch.xlogy` and `torch.where` are three
# ways around it. Or clamp p to a tiny number before you take its logarithm.
#
# </details>

# %% [markdown]
# ## 5. Repair: three mistakes in shuffled BatchNorm
#
# *Section 5 of the lecture.*
#
# In training, BatchNorm normalises a picture by the statistics of the pictures that go through the network together
# with it. Query and key of one picture could therefore recognise each other by the statistics of their group. MoCo
# prevents this for the keys: it permutes the batch before it is cut into groups (one for each GPU), and puts the
# outputs back into the old order afterwards. Let $\sigma$ be the permutation (`order`) and $f$ the network, and let
# $x'_i = x_{\sigma(i)}$ be the permuted batch. The first group is $x'_0, \dots, x'_{N/G - 1}$, the second one is
# $x'_{N/G}, \dots, x'_{2N/G - 1}$, and so on, G groups of N / G pictures each. Then
#
# $$y' = [f(\text{group } 1);\ \dots;\ f(\text{group } G)], \qquad y_{\sigma(i)} = y'_i.$$
#
# The outputs of the groups are stacked, so $y'_i$ is the output for $x'_i$. And row n of $y$ belongs to picture n.
# Somebody wrote
#
# ```python
# def encode_shuffled(network, x, order, groups):
#     network.eval()
#     parts = x[order].split(groups)
#     return torch.cat([network(part) for part in parts])[order]
# ```
#
# There are three mistakes in it, and each of them can be observed:
#
# - The output of a picture does not depend on the pictures with which it goes through the network.
# - With 12 pictures and 3 groups, the network is called four times.
# - In most cases, row n of the result is not the output of picture n.
#
# Hand in the repaired function.
#
# *10 minutes, ★★.* Points: 3 right outputs, 1 arguments left alone, 1 network left in training mode.


# %% nbgrader={"grade": false, "grade_id": "encode_shuffled", "locked": false, "schema_version": 3, "solution": true, "task": false}
def encode_shuffled(network, x, order, groups):
    """The network's outputs for a batch that is permuted and cut into groups.

    network: a module in training mode, with BatchNorm, (n, ...) -> (n, D); it stays in
    training mode. x (N, ...), float32 or float64. order (N,): a permutation of 0 ... N
    - 1. groups: G, a whole number that divides N, with N / G >= 2. The network gets the
    G groups of x[order] one after the other. Returns (N, D), of the dtype of the
    network's outputs: row n is the output of x[n]. Whether it carries a gradient does
    not count here.
    """
    ### BEGIN SOLUTION
    parts = x[order].split(len(x) // groups)
    outputs = torch.cat([network(part) for part in parts])  # permuted
    return outputs[order.argsort()]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_encode_shuffled", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(encode_shuffled)
### BEGIN HIDDEN TESTS
assert check(encode_shuffled).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What does BatchNorm use in eval mode instead of the statistics of its input? And what is the argument of `split`: the
# number of parts, or the size of a part? (`chunk` takes the other one.)
#
# </details>
# <details><summary>Hint 2</summary>
#
# Try `order = torch.tensor([1, 2, 0])` by hand: what is `x[order][order]`? You need the inverse permutation. In it, the
# value at place `order[i]` is i.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `order.argsort()` is the inverse permutation. Or write the rows to their places: `y[order] = outputs`, into an empty
# tensor of the same shape and dtype.
#
# </details>

# %% [markdown]
# ## 6. MoCHi's second kind of mixtures
#
# *Section 8 of the lecture mixes two keys of the queue. Here a key is mixed with the query itself.*
#
# A negative is hard if it is similar to the query. MoCHi makes negatives that are even harder than the hardest keys: it
# moves a hard key a part of the way towards the query. The share of the query stays below one half, so the mixture
# remains closer to the key.
#
# Sort the negatives by their dot product with query i, the largest first. Let $n_{i,c}$ be the negative of rank c; the
# hardest one has rank 0. Each query has its own order. With the rank $c = $ `choice[i, s]` and the share
# $\beta = $ `beta[i, s]`,
#
# $$m_{i,s} = \frac{\beta\, q_i + (1 - \beta)\, n_{i,c}}{\lVert \beta\, q_i + (1 - \beta)\, n_{i,c} \rVert}.$$
#
# The ranks c are below `hard`, so only the `hard` hardest negatives of a query can occur. The mixtures are constants:
# no gradient flows through them, neither to the query nor to the keys. In float64 the sum may be as short as $10^{-5}$.
# So add nothing to its length, and do not convert float64 vectors to float32.
#
# *20 minutes, ★★.* Points: 3 right mixtures, 1 arguments left alone, 1 no gradient, 1 vectors that nearly cancel.


# %% nbgrader={"grade": false, "grade_id": "mix_with_query", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mix_with_query(q, negatives, hard, choice, beta):
    """Mixtures of each query with some of its hardest negatives.

    q (N, D): queries. negatives (K, D): the keys of the queue. Both are unit vectors,
    float32 or float64, of one dtype, and both may require grad. hard: a whole number,
    1 <= hard <= K. choice (N, S): whole numbers from 0 to hard - 1, which may repeat; c
    stands for the negative with the (c + 1)-th largest dot product with the query. beta
    (N, S), of q's dtype: numbers in (0, 0.5). Returns (N, S, D) of q's dtype: beta q_i
    + (1 - beta) n at unit length, n the chosen negative. The result carries no
    gradient.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        order = (q @ negatives.T).topk(hard, dim=1).indices  # (N, hard)
        near = negatives[order.gather(1, choice)]  # (N, S, D)
        weight = beta[:, :, None]  # (N, S, 1)
        return F.normalize(weight * q[:, None] + (1 - weight) * near, dim=2)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_mix_with_query", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(mix_with_query)
### BEGIN HIDDEN TESTS
assert check(mix_with_query).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are three steps: sort the negatives of each query, take those that `choice` names, mix. `scores.topk(hard,
# dim=1)` returns the largest scores of each row and their columns, in descending order (but not with `sorted=False`).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `order.gather(1, choice)` takes `order[i, choice[i, s]]` for all i and s. The result holds rows of `negatives`, and
# `negatives[...]` with indices (N, S) has the shape (N, S, D).
#
# </details>
# <details><summary>Hint 3</summary>
#
# For the mixture, all parts need three dimensions: the query is (N, 1, D), and a share is (N, S, 1). Add the missing
# ones by `[:, None]` and `[:, :, None]`. Which dimension holds the D coordinates of one mixture?
#
# </details>

# %% [markdown]
# ## 7. MoCo as a method
#
# *Sections 4 and 5 of the lecture.*
#
# Now MoCo as a whole: two networks, one queue, and the right order of four steps: the loss, the gradient step, the
# moving average, the queue. Many bugs are errors in this order. Your class can be trained by `fit`. For each update
# `fit` does the following:
#
# 1. It calls `loss(x, y)`, mostly once. If it adds up the gradients of several small batches, it calls `loss` once for
#    each of them. Each call appends one tensor (N, d), its new keys, to the list `self.step_outputs`. (`Method` makes
#    this list.)
# 2. It updates the parameters that require a gradient.
# 3. It calls `after_step()`, without gradient.
# 4. It empties the list `self.step_outputs`.
#
# *The loss.* The query of a picture is made from its first view by the encoder f and the projector g, the key from its
# second view by the key network. Both are scaled to unit length. With $q_i$, $k_i$ of picture i, the queue's keys
# $n_1, \dots, n_K$ as they were before this update, and the temperature $\tau$,
#
# $$L = -\frac1N \sum_{i=1}^{N} \log \frac{\exp(q_i^\top k_i / \tau)}
# {\exp(q_i^\top k_i / \tau) + \sum_{j=1}^{K} \exp(q_i^\top n_j / \tau)}.$$
#
# *The key network* begins as a copy of f and g. It has no gradient. After the update, each of its parameters becomes
# momentum times itself plus (1 - momentum) times the parameter of f or g. Only parameters are averaged. `fit` calls
# `method.train()`, so do not call `.eval()`: BatchNorm uses the statistics of the keys' own batch and updates the key
# network's own running statistics.
#
# *The queue* is a buffer `self.queue` (K, d). A buffer is a tensor that belongs to a module and is not trained. The
# given queue's row 0 is the oldest key, and its last row the newest one. In `after_step` all keys of this update enter,
# and the oldest keys leave. If the update has more than K keys, the last K of them stay. The order of the rows in your
# queue is up to you. (The check sorts the rows by their first number, so that is how it shows them.)
#
# *The state.* A checkpoint is a file from which training goes on after an interruption. It contains the parameters and
# buffers of a method, and nothing else of it. Training must continue exactly from a checkpoint, so store all state as
# parameters or buffers.
#
# The library's `MoCo`, `Queue`, `moco_loss`, `frozen_copy` and `ema` are not available when you are marked.
#
# *35 minutes, ★★★.* Points: 3 right loss, 1 gradient for the query network only, 2 right key network, 2 right queue, 1
# complete state, 1 right representation.


# %% nbgrader={"grade": false, "grade_id": "MoCo", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MoCo(Method):
    """Momentum contrast.

    encoder f: images (N, C, H, W), float32 or float64, -> h (N, D). projector g: h ->
    (N, d). augment: images -> one random view of each, with new random numbers at each
    call. queue (K, d): unit vectors, the first keys; the given tensor is not changed.
    temperature: a number > 0. momentum: a number in [0, 1].

    Attributes that the check reads: `key_encoder` and `key_projector`, the copies of f
    and g; `queue` (K, d).
    """

    def __init__(self, encoder, projector, augment, queue, temperature, momentum):
        """Stores the arguments, and makes the key network and the queue."""
        ### BEGIN SOLUTION
        super().__init__()
        self.encoder, self.projector, self.augment = encoder, projector, augment
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projector = copy.deepcopy(projector).requires_grad_(False)
        self.register_buffer("queue", queue.clone())
        self.temperature, self.momentum = temperature, momentum
        ### END SOLUTION

    def loss(self, x, y=None):
        """x (N, C, H, W) -> MoCo's loss, 0-d, in nats. y is not used.

        Call augment twice: the first view is the query's, the second the key's.
        Gradient reaches the parameters of encoder and projector only.
        """
        ### BEGIN SOLUTION
        view1, view2 = self.augment(x), self.augment(x)
        q = F.normalize(self.projector(self.encoder(view1)), dim=1)
        with torch.no_grad():
            k = F.normalize(self.key_projector(self.key_encoder(view2)), dim=1)
        self.step_outputs.append(k)
        positive = (q * k).sum(1, keepdim=True)  # (N, 1)
        scores = torch.cat([positive, q @ self.queue.T], 1) / self.temperature
        return F.cross_entropy(scores, torch.zeros_like(scores[:, 0], dtype=torch.long))
        ### END SOLUTION

    def after_step(self):
        """Moves the key network, and puts the keys of this update into the queue."""
        ### BEGIN SOLUTION
        for online, key in (
            (self.encoder, self.key_encoder),
            (self.projector, self.key_projector),
        ):
            for o, k in zip(online.parameters(), key.parameters()):
                k.copy_(self.momentum * k + (1 - self.momentum) * o)
        keys = torch.cat([self.queue, *self.step_outputs])
        self.queue = keys[-len(self.queue) :]
        ### END SOLUTION

    def encode(self, x):
        """x (N, C, H, W) -> h (N, D), the representation that is evaluated after
        training; nothing is random here, and the mode of the networks stays as it is.
        """
        ### BEGIN SOLUTION
        return self.encoder(x)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_MoCo", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check(MoCo)
### BEGIN HIDDEN TESTS
assert check(MoCo).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `copy.deepcopy(network)` is a second network with the same weights, and `network.requires_grad_(False)` excludes its
# parameters from training. `self.register_buffer("queue", tensor)` makes a buffer. Later you may assign a new
# tensor to `self.queue`; it is still a buffer.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In `loss`, the positive's score is one column (N, 1) in front of the K scores with the queue. Then the loss is the
# cross-entropy with class 0. Append the keys to `self.step_outputs`. The queue must not get them yet: they would be
# negatives of their own queries.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In `after_step`, `zip(network.parameters(), key_network.parameters())` gives the pairs of parameters, and
# `k.copy_(...)` writes into a parameter. For the queue without a pointer: put the new keys behind the old ones, and
# keep the last K rows. All entries of `self.step_outputs` count.
#
# </details>

# %% [markdown]
# ## 8. MoCo v3 with more than two views
#
# *Section 12 of the lecture has two views of each picture. Here there are V.*
#
# MoCo v3 has no queue. The negatives of a query are the keys of the other pictures in the batch. Its loss is symmetric:
# each view is a query once and a key once. With V views, each ordered pair of different views $(u, v)$ gives one such
# term.
#
# Let $q_{u,i}$ be the query of view u of picture i, and $k_{v,j}$ the key of view v of picture j. With cosine
# similarities,
#
# $$\begin{aligned}
# L &= \frac{1}{V - 1} \sum_{u \ne v} 2 \tau\, \ell(q_u, k_v), \\
# \ell(q_u, k_v) &= -\frac1N \sum_{i=1}^{N} \log \frac{\exp(\cos(q_{u,i}, k_{v,i}) / \tau)}
# {\sum_{j=1}^{N} \exp(\cos(q_{u,i}, k_{v,j}) / \tau)}.
# \end{aligned}$$
#
# The sum has $V (V - 1)$ terms. With $V = 2$ this is the paper's loss. A query is not compared with the keys of its
# own view. Keys are constants. Your loss must be right at $\tau = 0.005$ as well. In float64, vectors may have the
# length (Euclidean norm) $10^{25}$, so do not convert them to float32.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 low temperature and long rows, 1 right gradient.


# %% nbgrader={"grade": false, "grade_id": "many_view_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def many_view_loss(q, k, temperature):
    """MoCo v3's loss for V views of each picture.

    q, k (V, N, D), float32 or float64, both of one dtype, V >= 2: q[u, i] is the query
    and k[u, i] the key of view u of picture i, of any Euclidean norm above 1e-3.
    temperature: a number > 0. Returns 1 / (V - 1) times the sum over all ordered pairs
    u != v of 2 temperature InfoNCE(q[u], k[v]), a 0-d tensor. InfoNCE is the mean over
    the N queries, in nats, with cosines divided by the temperature; the keys of the
    other pictures in k[v] are the negatives. Equal rows give 2 V temperature log N. No
    gradient reaches k.
    """
    ### BEGIN SOLUTION
    q, k = F.normalize(q, dim=2), F.normalize(k.detach(), dim=2)
    views, pictures, _ = q.shape
    own = torch.arange(pictures, device=q.device)
    losses = [
        F.cross_entropy(q[u] @ k[v].T / temperature, own)
        for u, v in itertools.permutations(range(views), 2)
    ]
    return 2 * temperature * sum(losses) / (views - 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_many_view_loss", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(many_view_loss)
### BEGIN HIDDEN TESTS
assert check(many_view_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First write the term of one pair of views: an (N, N) matrix of cosines, divided by the temperature, with the positives
# on the diagonal. `F.cross_entropy` with the classes 0 ... N - 1 is its InfoNCE.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two loops over the views give all ordered pairs; leave out u = v. (1, 0) and (0, 1) are two different pairs. What is
# the factor before the sum if V = 2, and what is it if V = 3?
#
# </details>
# <details><summary>Hint 3</summary>
#
# One row q[u, i] is one query. So its length is along the last dimension, the third one. Detach k before it is used.
#
# </details>

# %% [markdown]
# ## 9. The overlap of all boxes with all boxes
#
# *Section 6 of the lecture measures how well one predicted box overlaps with the true box. Here each box of one list is
# compared with each box of another.*
#
# A detector predicts many boxes, and a picture has several objects. To find which prediction belongs to which object,
# one needs the intersection over union (IoU) of all pairs:
#
# $$\text{IoU}(a_i, b_j) = \frac{\text{area}(a_i \cap b_j)}{\text{area}(a_i) + \text{area}(b_j) - \text{area}(a_i \cap
# b_j)}.$$
#
# A box is given by left, top, right, bottom; the vertical axis points down, so bottom is larger than top. Its area is
# (right - left) (bottom - top). A box whose right is not beyond its left, or whose bottom is not beyond its top, is
# empty: its area is 0, and its overlap with every box is 0. The IoU of two empty boxes would be 0 / 0; it must be 0.
#
# Your function must be right for boxes with sides of $10^{-5}$ as well. In float64 it must be right for boxes with
# sides of 1 that lie at coordinates near $10^8$.
#
# *15 minutes, ★★.* Points: 2 right values, 1 arguments left alone, 1 empty boxes, 1 tiny and far boxes.


# %% nbgrader={"grade": false, "grade_id": "iou_matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
def iou_matrix(a, b):
    """The intersection over union of every box of a with every box of b.

    a (N, 4), b (M, 4): left, top, right, bottom, float32 or float64, both of one dtype.
    N and M may differ. Returns (N, M) of the same dtype, in [0, 1]: 1 for equal boxes
    that are not empty, 0 for boxes without a common area and wherever one of the two
    boxes is empty, or both.
    """
    ### BEGIN SOLUTION
    a = a[:, None]  # (N, 1, 4)
    corner = torch.maximum(a[..., :2], b[:, :2])  # (N, M, 2)
    end = torch.minimum(a[..., 2:], b[:, 2:])
    both = (end - corner).clamp(min=0).prod(-1)  # (N, M)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)  # (N, 1)
    area_b = (b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1)  # (M,)
    union = area_a + area_b - both
    return torch.where(union > 0, both / union, 0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_iou_matrix", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(iou_matrix)
### BEGIN HIDDEN TESTS
assert check(iou_matrix).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The intersection of two boxes is a box, too. Its left is the larger of the two lefts, and its right is the smaller of
# the two rights. What do these numbers look like if the two boxes do not meet?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a[:, None]` has the shape (N, 1, 4). With b (M, 4), `torch.maximum` then compares each box with each: (N, M, ...).
# Set a negative side to 0 (`clamp(min=0)`) *before* you multiply the two sides, because the product of two negative
# sides is positive.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.where(condition, x, 0)` takes x where the condition holds, and 0 elsewhere. A small number that is added to the
# union would avoid the division by 0, too. But 1e-6 is not small beside the area of a tiny box.
#
# </details>

# %% [markdown]
# ## 10. Labels and a queue
#
# *Section 9 of the lecture has the two views of the batch as candidates. Here the candidates are in a queue, which also
# keeps their labels.*
#
# Some pictures have a label 0, 1, 2, ... The others have the label -1, which means *unlabelled*. A key of the queue is
# a false negative if it shows the same class as the query. With labels, such keys become positives.
#
# The candidates of query i are its own key $k_i$ and all K keys of the queue. Its positives $P(i)$ are
#
# - its own key, always;
# - all keys of the queue with its label, if the query has a label. A query with the label -1 has no other positive.
#
# All other candidates are negatives. So an unlabelled key of the queue is a negative of every query, also of an
# unlabelled one. With the score $s_{ic}$ of query i and candidate c, a dot product divided by the temperature,
#
# $$L = \frac1N \sum_{i=1}^{N} \frac{1}{|P(i)|} \sum_{p \in P(i)} -\log \frac{\exp s_{ip}}{\sum_{c} \exp s_{ic}},$$
#
# where c runs over all K + 1 candidates. All vectors are unit vectors. Keys are constants. Your loss must be right at
# $\tau = 0.005$ as well. In float64 it must be right at $\tau = 10^{-6}$, so do not convert float64 vectors to float32.
#
# *15 minutes, ★★★.* Points: 4 right values, 1 arguments left alone, 1 low temperature, 2 right gradient.


# %% nbgrader={"grade": false, "grade_id": "labelled_queue_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def labelled_queue_loss(q, k, y, queue, queue_y, temperature):
    """Supervised contrast of queries with their own keys and a queue.

    q, k (N, D): queries and their own keys, row i of both from picture i. queue (K, D):
    older keys. All are unit vectors, float32 or float64, of one dtype. y (N,), queue_y
    (K,): whole numbers, the labels; -1: unlabelled. temperature: a number > 0. Returns
    a 0-d tensor in nats: the mean over the queries of the mean over their positives p
    of -log( exp(score_p) / sum of exp(score_c) over the own key and the whole queue ).
    Equal vectors give log(K + 1). No gradient reaches k and queue.
    """
    ### BEGIN SOLUTION
    own = (q * k.detach()).sum(1, keepdim=True)  # (N, 1)
    scores = torch.cat([own, q @ queue.detach().T], 1) / temperature  # (N, 1 + K)
    same = (y[:, None] == queue_y) & (y[:, None] != -1)  # (N, K)
    positives = torch.cat([torch.ones_like(same[:, :1]), same], 1)
    losses = -scores.log_softmax(1)
    return ((losses * positives).sum(1) / positives.sum(1)).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_labelled_queue_loss", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check(labelled_queue_loss)
### BEGIN HIDDEN TESTS
assert check(labelled_queue_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Build the (N, 1 + K) matrix of scores: column 0 has the own keys, the other columns have the queue. One log-softmax
# along the rows gives the loss of each candidate, as if it were the positive.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Then build a boolean matrix of the same shape, with True for each positive. `y[:, None] == queue_y` compares all
# labels with all labels. For which queries is this comparison not what you need?
#
# </details>
# <details><summary>Hint 3</summary>
#
# A boolean matrix can be a factor: `(losses * positives).sum(1)` adds the losses of the positives of each row, and
# `positives.sum(1)` counts them. It is at least 1 in each row. Why?
#
# </details>

# %% [markdown]
# ## All together
#
# Your `MoCo` trains a network: 64 pictures in a batch, and a queue of 1,024 keys. k-NN then measures the representation
# on 500 test scenes.


# %%
def all_together(steps):
    with seeded(0):
        encoder = ResNet(widths=(24, 48, 96))
        queue = F.normalize(torch.randn(1024, 64), dim=1)
        mine = MoCo(
            encoder, mlp(encoder.dim, encoder.dim, 64), views_v2(), queue, 0.2, 0.99
        )
    train, test = load("scenes", "train"), load("scenes", "test")[:500]

    def accuracy():
        h, h_test = (
            evaluate.features(mine, train.x[:2000]),
            evaluate.features(mine, test.x),
        )
        return evaluate.accuracy(evaluate.knn(h, train.y[:2000], h_test), test.y)

    before = accuracy()
    losses = [
        step.loss
        for step in fit(
            mine, train, steps, batch_size=64, optimizers=adamw(2.5e-3), device="cpu"
        )
    ]
    print(
        f"k-NN accuracy on 500 scenes: {before:.2f} before, {accuracy():.2f} after "
        f"{steps} updates (good to about +- 0.02)"
    )
    return losses


def trained(steps):
    """The loss as a curve, as soon as `MoCo` is right."""
    if not check(MoCo).solved:
        print("To do: this trains as soon as MoCo is right.")
        return None
    losses = all_together(steps)
    return curve(
        range(1, steps + 1),
        {"MoCo's loss": losses},
        title="Your MoCo learns: first the queue fills with real keys, which are hard",
        xlabel="update",
        ylabel="loss, nats",
    )


trained(steps=10 if budget() == "smoke" else 150)

# %% [markdown]
# ## What next
#
# Give `all_together` a queue of 64 keys, then one of 8,192. Let your `push` and your `masked_moco_loss` work together:
# keep the row of each key beside the queue, so that a picture's own old keys are left out. Give your `MoCo` the labels
# of a tenth of the pictures, and `labelled_queue_loss`. The exercises 08 work without
# negatives.
