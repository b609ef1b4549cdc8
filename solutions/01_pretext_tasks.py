# %% [markdown]
# # Exercises 01. Pretext tasks
#
# **Nine ways to make a picture ask its own question.** Turn it, cut it up, shuffle it, punch a hole in it, take its colour
# away: each time the answer is known, because you did it. You write what makes the questions, the losses that go with
# them, and at the end a network that colours grey drawings.
#
# **You need** notebook 01, the lecture. Each exercise names what it belongs to.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check looks at your answer on a
# few small cases. Where it is wrong, the check says how, and often names the likely mistake. *It is not the final mark*:
# that comes from other cases, of other shapes and with other values. So write what the formula says, not what makes these
# few cases pass. The library's own functions are not there when you are marked: write the answer yourself, with torch.
#
# *Run All* works from the start: what you have not written yet is reported as to do. When your notebook is marked, only
# definitions count: imports, functions, classes, constants. Answers are found by their names, so keep these. What else you
# need (a helper, another import) may stand in any cell. No answer draws random numbers; what is random comes in as an
# argument. Before you hand in, `python -m course_lib check NOTEBOOK` runs the public cases on your file as the grader reads
# it.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Four quarter turns | 5 | 10 | ★ |
# | 2. Two patches of one picture | 6 | 15 | ★★ |
# | 3. Permutations far apart | 6 | 15 | ★★ |
# | 4. The jigsaw puzzle | 5 | 15 | ★★ |
# | 5. The loss of a hole | 6 | 10 | ★ |
# | 6. Colours as shares of bins | 6 | 15 | ★★ |
# | 7. Rare colours weigh more | 4 | 5 | ★ |
# | 8. The annealed mean | 5 | 10 | ★ |
# | 9. Two half networks | 7 | 15 | ★★ |
# | **together** | **50** | **110** | |
#
# The first line of each check must be right before the others count.

# %%
import torch

from course_lib.notebook import budget, checks, image_grid
from course_lib.train import Method

check = checks("01_pretext_tasks")

# %% [markdown]
# ## 1. Four quarter turns
#
# *The lecture, on rotation.*
#
# Which way is up? Whoever knows what a picture shows can tell, and nobody has to label anything. RotNet (Gidaris et al.
# 2018) gives the network all four turns of each picture in one batch, and asks for the number of quarters.
#
# Anticlockwise, one quarter makes $\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$ into
# $\begin{pmatrix} 2 & 4 \\ 1 & 3 \end{pmatrix}$.
#
# *10 minutes, ★.* Points: 3 right views in the right order, 2 right labels.

# %% nbgrader={"grade": false, "grade_id": "rotation_batch", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rotation_batch(x):
    """All four quarter turns of every picture, with the number of quarters as label.

    x (N, C, S, S): square pictures, float32 or float64. Returns two tensors: views (4N,
    C, S, S), first all pictures as they are, then all of them turned by one quarter
    anticlockwise, by two, by three; and labels (4N,), int64, the quarters 0 to 3 of
    each view.
    """
    ### BEGIN SOLUTION
    views = torch.cat([torch.rot90(x, quarters, (2, 3)) for quarters in range(4)])
    return views, torch.arange(4).repeat_interleave(len(x))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_rotation_batch", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(rotation_batch)
### BEGIN HIDDEN TESTS
assert check(rotation_batch).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.rot90(x, k, dims)` turns all pictures of a batch at once. Which two of the four dimensions are height and width?
# Try it on the little matrix above.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cat` puts the four batches one below the other. The labels are then 0 ... 0, 1 ... 1, and so on: that is
# `repeat_interleave`, while `repeat` makes 0 1 2 3 0 1 2 3.
#
# </details>

# %% [markdown]
# ## 2. Two patches of one picture
#
# *The lecture, on relative patch location.*
#
# Here is an ear; here is another piece of the same picture. Is it above, below, to the left? Doersch et al. (2015) cut a 3
# x 3 grid of patches and ask where the second one lies, seen from the one in the middle. The eight places are numbered row
# by row, without the middle:
#
# $$\begin{pmatrix} 0 & 1 & 2 \\ 3 & \cdot & 4 \\ 5 & 6 & 7 \end{pmatrix}.$$
#
# Networks cheat where they can: a line that runs on from patch to patch gives the answer away. So there are `gap` pixels
# between two patches, and each patch is displaced by a few pixels of its own, the **jitter**. With corner $c_i$ of picture
# i's grid, jitter $\delta_{ip}$, and p = 0 for the middle and p = 1 for the neighbour, the top left pixel of a patch in
# row r and column s of the grid (counted from 0) is at
#
# $$c_i + (\text{patch} + \text{gap}) \begin{pmatrix} r \\ s \end{pmatrix} + \delta_{ip}, \qquad \text{(down, right)}.$$
#
# *15 minutes, ★★.* Points: 5 right patches, 1 arguments left alone.

# %% nbgrader={"grade": false, "grade_id": "cut_patches", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cut_patches(x, corner, which, jitter, patch, gap):
    """The middle patch of each picture's 3 x 3 grid, and one of its eight neighbours.

    x (N, C, H, W), float32 or float64. corner (N, 2): row and column of the top left
    pixel of the grid's first patch, before jitter. which (N,): the neighbour, from 0 to
    7, row by row without the middle. jitter (N, 2, 2): by how many pixels (down, right)
    the middle patch, jitter[i, 0], and the neighbour, jitter[i, 1], are displaced; may
    be negative. All three hold whole numbers. patch, gap: a patch's side and the pixels
    between two, whole numbers. All patches lie inside their picture. Returns two
    tensors (N, C, patch, patch): the middle patches, the neighbours.
    """
    ### BEGIN SOLUTION
    cell = torch.where(which < 4, which, which + 1)  # 0 to 8, row by row; 4 is the middle
    both = torch.stack([torch.full_like(cell, 4), cell], 1)  # (N, 2 patches)
    place = torch.stack([both // 3, both % 3], 2)  # (N, 2 patches, 2): row and column in the grid
    start = corner[:, None] + (patch + gap) * place + jitter

    def cut(starts):
        pieces = zip(x, starts.tolist())
        return torch.stack([p[:, top : top + patch, left : left + patch] for p, (top, left) in pieces])

    return cut(start[:, 0]), cut(start[:, 1])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_cut_patches", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(cut_patches)
### BEGIN HIDDEN TESTS
assert check(cut_patches).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Number the nine cells of the grid 0 to 8, row by row: cell k is in row k // 3, column k % 3, and the middle is cell 4.
# Which cell is neighbour 3, which is neighbour 4?
#
# </details>
# <details><summary>Hint 2</summary>
#
# First the start of every patch, in one tensor (N, 2); then a loop over the pictures that slices
# `picture[:, top : top + patch, left : left + patch]`, and `torch.stack` of the slices.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `which[which >= 4] += 1` would change the caller's own tensor: `torch.where(which < 4, which, which + 1)` makes a new one.
#
# </details>

# %% [markdown]
# ## 3. Permutations far apart
#
# *The lecture, on jigsaw puzzles.*
#
# Nine tiles can be shuffled in 9! = 362,880 ways, too many classes. Which thousand shall the network tell apart? If two of
# them differ in two tiles only, the question is not fair: pieces of sky look all alike. Noroozi & Favaro (2016, Algorithm
# 1) choose greedily. The **Hamming distance** of two permutations is the number of places in which they differ; with
# candidates $p_1, \dots, p_M$, begin with the first and add, again and again, the row
#
# $$\arg\max_{k \text{ not yet chosen}} \; \sum_{j \text{ chosen}} \operatorname{Hamming}(p_j, p_k).$$
#
# *15 minutes, ★★.* Points: 4 right rows, 1 none twice, 1 right where several rows are as far away.

# %% nbgrader={"grade": false, "grade_id": "permutation_set", "locked": false, "schema_version": 3, "solution": true, "task": false}
def permutation_set(candidates, count):
    """Row numbers of `count` permutations that are far apart, chosen greedily.

    candidates (M, T), int64: a permutation of 0 to T - 1 in each row, all different.
    count: a whole number from 1 to M. Returns (count,), int64: row 0 first, then each
    time the row not yet chosen whose Hamming distances to all rows chosen so far have
    the largest sum, the lowest row number where several have it. In the order in which
    they are chosen.
    """
    ### BEGIN SOLUTION
    chosen, total = [0], torch.zeros(len(candidates), dtype=torch.int64)
    while len(chosen) < count:
        total = total + (candidates != candidates[chosen[-1]]).sum(1)  # (M,): distances to the one that came last
        chosen.append(int(total.index_fill(0, torch.tensor(chosen), -1).argmax()))
    return torch.tensor(chosen)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_permutation_set", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(permutation_set)
### BEGIN HIDDEN TESTS
assert check(permutation_set).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Keep a running total for each candidate, (M,). Every time a row is chosen, its distances to all candidates are added:
# `(candidates != candidates[row]).sum(1)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A row that is chosen already may still have the largest total, though its distance to itself is 0. Give the chosen ones a
# total below all others before you look for the largest; `argmax` returns the first of several.
#
# </details>

# %% [markdown]
# ## 4. The jigsaw puzzle
#
# *The lecture, on jigsaw puzzles.*
#
# Cut, shuffle, and ask in which way it was shuffled. A picture is cut into `side` x `side` tiles, $t_0, \dots, t_{T-1}$
# with $T = \text{side}^2$, numbered row by row. The network gets them as a row of tiles. With the permutation $\pi$ that
# picture i's label names, place j of that row holds
#
# $$\text{tile}_{ij} = t_{\pi(j)}, \qquad \pi = \text{permutations}[\text{labels}_i].$$
#
# *15 minutes, ★★.* Points: 4 square pictures, 1 pictures that are not square.

# %% nbgrader={"grade": false, "grade_id": "shuffle_tiles", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shuffle_tiles(x, permutations, labels, side):
    """Pictures cut into tiles, which come in the order of each picture's permutation.

    x (N, C, H, W), float32 or float64; `side` divides H and W. permutations (P, T), T =
    side * side: a permutation of 0 to T - 1 in each row. labels (N,): whole numbers
    from 0 to P - 1. side: a whole number. Returns (N, T, C, H / side, W / side): entry
    [i, j] is tile permutations[labels[i], j] of picture i; tiles are numbered row by
    row.
    """
    ### BEGIN SOLUTION
    n, c, height, width = x.shape
    cut = x.reshape(n, c, side, height // side, side, width // side)
    tiles = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (N, T, C, h, w), row by row
    return tiles[torch.arange(n)[:, None], permutations[labels]]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_shuffle_tiles", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(shuffle_tiles)
### BEGIN HIDDEN TESTS
assert check(shuffle_tiles).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A row of pixels, H long, is `side` blocks of H / side: a reshape may split one dimension in two, (N, C, side, h, side, w).
# Then the dimensions are brought in order, and two of them made one. (Slices in two loops do as well.)
#
# </details>
# <details><summary>Hint 2</summary>
#
# `tiles[:, order]` would shuffle all pictures in the same ways. Name the picture together with the tile: with `rows =
# torch.arange(N)[:, None]`, `tiles[rows, order]` pairs each row of `order` with its own picture.
#
# </details>

# %% [markdown]
# ## 5. The loss of a hole
#
# *The lecture, on context encoders.*
#
# A context encoder (Pathak et al. 2016) sees a picture with a hole and paints the whole of it. Only the hole counts: to
# copy what one sees teaches nothing. With prediction $\hat x$, picture $x$ and $m = 1$ where a pixel is missing,
#
# $$L = \frac{\sum_{i,c,p} m_{ip} (\hat x_{icp} - x_{icp})^2}{C \sum_{i,p} m_{ip}},$$
#
# with pictures i, channels c = 1 to C, pixels p. All missing values of the batch count alike, in whichever picture they
# are. And a batch in which nothing is missing has the loss 0, with which a training loop can go on: `backward()` works and
# gives zeros.
#
# *10 minutes, ★.* Points: 3 right values, 1 arguments left alone, 1 nothing missing, 1 right gradient.

# %% nbgrader={"grade": false, "grade_id": "masked_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_loss(prediction, target, mask):
    """Mean squared error over the missing pixels only.

    prediction, target (N, C, H, W), float32 or float64, both of one dtype. mask (N, 1,
    H, W), bool: True where the pixel is missing, in all its channels. Returns a 0-d
    tensor: the mean of (prediction - target)^2 over all missing values of the batch; 0
    with a gradient of zeros where there are none.
    """
    ### BEGIN SOLUTION
    error = (prediction - target).square() * mask
    return error.sum() / (mask.sum() * prediction.shape[1]).clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_masked_loss", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(masked_loss)
### BEGIN HIDDEN TESTS
assert check(masked_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Multiply the squared error by the mask: one mask channel goes with all C of the picture. How many *values* are missing,
# when `mask.sum()` *pixels* are?
#
# </details>
# <details><summary>Hint 2</summary>
#
# 0 / 0 is NaN, and so is its gradient, even if the value is repaired afterwards. `clamp(min=1)` on the number you divide by
# changes nothing where a pixel is missing.
#
# </details>

# %% [markdown]
# ## 6. Colours as shares of bins
#
# *The lecture, on colourisation.*
#
# From lightness L, predict the colours (a, b) of a pixel. The mean of a red and a green apple is a brown one, so Zhang et
# al. (2016) make it a classification: the plane of (a, b) is cut into squares, the **bins**. A colour belongs to several at
# once: to its k nearest bins q, each with a share that falls with the distance d of colour and centre,
#
# $$\text{share}_q = \frac{\exp(-d_q^2 / 2\sigma^2)}{\sum_{q'} \exp(-d_{q'}^2 / 2\sigma^2)},$$
#
# where q and q' run over these k bins only; all others get 0. (The paper: k = 5, $\sigma$ = 5, bins 10 apart.) Far away
# from every bin all the exponentials are 0 in floating point; the shares still exist and sum to 1.
#
# *15 minutes, ★★.* Points: 4 right shares, 1 arguments left alone, 1 far away from every bin.

# %% nbgrader={"grade": false, "grade_id": "soft_bins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soft_bins(ab, bins, neighbours, sigma):
    """Each colour shared among its nearest bins.

    ab (M, 2): colours, bins (Q, 2): centres, float32 or float64, both of one dtype.
    neighbours: how many bins share a colour, a whole number from 1 to Q. sigma: a
    number > 0. Returns (M, Q): row i is proportional to exp(-d^2 / (2 sigma^2)) at the
    bins nearest to colour i, d the Euclidean distance, and 0 elsewhere; it sums to 1.
    """
    ### BEGIN SOLUTION
    squared = (ab[:, None] - bins[None]).square().sum(2)  # (M, Q)
    value, nearest = squared.topk(neighbours, dim=1, largest=False)
    shares = (-value / (2 * sigma**2)).softmax(1)  # softmax subtracts the largest exponent first
    return torch.zeros_like(squared).scatter(1, nearest, shares)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_soft_bins", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(soft_bins)
### BEGIN HIDDEN TESTS
assert check(soft_bins).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three steps: squared distances (M, Q), by broadcasting `ab[:, None]` against `bins[None]`; the k smallest of each row with
# their places; exponentials divided by their sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Exponentials divided by the sum of exponentials have a name, and the function of that name subtracts the largest exponent
# first. `topk(..., largest=False)` gives values and indices, and `zeros.scatter(1, indices, shares)` puts the shares into
# the columns of their bins.
#
# </details>

# %% [markdown]
# ## 7. Rare colours weigh more
#
# *The lecture, on colourisation.*
#
# Skies, walls and floors are grey: a network that says grey everywhere is mostly right. So a pixel's loss is multiplied by
# a weight, the larger the rarer its colour. With the prior $p_q$, the share of all pixels that are in bin q, mixed with a
# uniform distribution over the Q bins so that a colour nobody wears does not get an infinite weight,
#
# $$w_q \propto \frac{1}{(1 - \lambda)\, p_q + \lambda / Q}, \qquad \sum_{q} p_q w_q = 1.$$
#
# The second formula keeps the size of the loss: the mean weight of a pixel is 1.
#
# *5 minutes, ★.* Points: 2 right weights, 1 argument left alone, 1 bins that never occur.

# %% nbgrader={"grade": false, "grade_id": "rebalancing_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rebalancing_weights(prior, mix):
    """A weight for each colour bin, larger for rare ones.

    prior (Q,), float32 or float64: the bins' shares of all pixels, >= 0, summing to 1.
    mix: lambda, the uniform distribution's share, a number in (0, 1]. Returns (Q,):
    weights proportional to 1 / ((1 - mix) prior + mix / Q), scaled so that the sum of
    prior * weights is 1.
    """
    ### BEGIN SOLUTION
    weights = 1 / ((1 - mix) * prior + mix / len(prior))
    return weights / (prior * weights).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_rebalancing_weights", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(rebalancing_weights)
### BEGIN HIDDEN TESTS
assert check(rebalancing_weights).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two lines: the weights up to a factor, then the factor.
#
# </details>
# <details><summary>Hint 2</summary>
#
# If the sum of prior times weight is s, then dividing all weights by s makes it 1. With mix = 1 all weights are 1, whatever
# the prior.
#
# </details>

# %% [markdown]
# ## 8. The annealed mean
#
# *The lecture, on colourisation.*
#
# The network gives each pixel a distribution over the bins; a picture wants one colour. The mean is pale, the mode is
# vivid but patchy. Zhang et al. take the mean of a distribution that is sharpened first, by a temperature T below 1. With
# probabilities $p_q$, the softmax of the logits, and centres $c_q$,
#
# $$\text{colour} = \sum_{q} f_q c_q, \qquad f_q = \frac{\exp(\log p_q / T)}{\sum_{q'} \exp(\log p_{q'} / T)}.$$
#
# T = 1 is the mean, T near 0 the mode; the paper chose 0.38. It must be right for logits of $\pm 700$ and at T = 0.002.
#
# *10 minutes, ★.* Points: 3 right colours, 1 arguments left alone, 1 large logits and low temperatures.

# %% nbgrader={"grade": false, "grade_id": "annealed_mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def annealed_mean(logits, bins, temperature):
    """One colour for each pixel, from its distribution over bins.

    logits (N, Q, H, W), bins (Q, 2): float32 or float64, both of one dtype.
    temperature: a number > 0. Returns (N, 2, H, W): the mean of the bins' centres under
    the distribution proportional to p^(1 / temperature), p the softmax of a pixel's
    logits over the bins.
    """
    ### BEGIN SOLUTION
    shares = (logits / temperature).softmax(1)  # log p is the logit minus what all bins of the pixel share
    return torch.einsum("nqhw,qc->nchw", shares, bins)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_annealed_mean", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(annealed_mean)
### BEGIN HIDDEN TESTS
assert check(annealed_mean).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# log p is the logit minus a number that is the same for all bins of a pixel. What does such a number do to f?
#
# </details>
# <details><summary>Hint 2</summary>
#
# So f is one softmax, of the logits over T, along the dimension of the bins. The mean is a sum over q of (N, Q, H, W) times
# (Q, 2): `torch.einsum("nqhw,qc->nchw", ...)`.
#
# </details>

# %% [markdown]
# ## 9. Two half networks
#
# *The lecture, on split-brain autoencoders.*
#
# Who predicts colour from lightness has never seen a colour, and that is a pity for a representation. Zhang et al. (2017)
# split the network in two: one half sees L and predicts (a, b), the other sees (a, b) and predicts L. Neither sees what it
# has to predict; together they have seen everything. With the halves $f_L$ and $f_{ab}$, a head g for each, and a loss
# $\ell$ for each,
#
# $$\text{loss} = \ell_{ab}\big(g_{ab}(f_L(L)),\, ab\big) + \ell_L\big(g_L(f_{ab}(ab)),\, L\big), \qquad
# h = \big[f_L(L),\, f_{ab}(ab)\big].$$
#
# A `Method` is a torch module, which `fit` can train. It gives the optimiser the parameters of all networks it knows of, and
# it knows of those that are attributes of it. `fit` calls `loss(lab, y)`; y is not used.
#
# *15 minutes, ★★.* Points: 3 right wiring, 1 parameters handed to the optimiser, 1 gradient through all four networks, 2
# right representation.

# %% nbgrader={"grade": false, "grade_id": "CrossChannel", "locked": false, "schema_version": 3, "solution": true, "task": false}
class CrossChannel(Method):
    """A split-brain autoencoder with any networks and losses.

    from_l: lightness (N, 1, H, W) -> features (N, D, h, w). from_ab: colours (N, 2, H,
    W) -> features (N, E, h, w). to_ab: features of lightness -> a prediction of colour;
    to_l: features of colour -> a prediction of lightness. loss_ab(prediction, ab),
    loss_l(prediction, lightness): 0-d each; they do all that is needed to compare.
    """

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        """Keeps the six."""
        ### BEGIN SOLUTION
        super().__init__()
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.loss_ab, self.loss_l = loss_ab, loss_l
        ### END SOLUTION

    def loss(self, lab, y=None):
        """lab (N, 3, H, W), channels L, a, b, float32 or float64, given to networks and
        losses as it is -> 0-d: the loss of colour plus the loss of lightness.
        """
        ### BEGIN SOLUTION
        lightness, ab = lab[:, :1], lab[:, 1:]
        colour_loss = self.loss_ab(self.to_ab(self.from_l(lightness)), ab)
        return colour_loss + self.loss_l(self.to_l(self.from_ab(ab)), lightness)
        ### END SOLUTION

    def encode(self, lab):
        """lab (N, 3, H, W) -> (N, D + E, h, w): the features of lightness, then those
        of colour.
        """
        ### BEGIN SOLUTION
        return torch.cat([self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])], dim=1)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_CrossChannel", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(CrossChannel)
### BEGIN HIDDEN TESTS
assert check(CrossChannel).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `super().__init__()` comes first in `__init__`: it makes the place where the module notes its networks. Then each of the
# six becomes an attribute of its own.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `lab[:, :1]` is lightness with its channel, (N, 1, H, W); `lab[:, 0]` would lose it. Write down for each of the two terms
# what goes in, through which two networks, and what comes out is compared with.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `encode` needs neither head: the features of both halves, one behind the other along dimension 1.
#
# </details>

# %% [markdown]
# ## All together: a page of puzzles
#
# Four of your answers make the questions; can you answer them? (Not marked.)

# %%
import torch.nn.functional as F
from torch import nn

from course_lib.colour import ab_bins, lab_to_rgb, rgb_to_lab
from course_lib.data import Dataset, as_float, load, on_background
from course_lib.optim import adamw
from course_lib.train import fit


def solved(*answers):
    """Whether all of them are; says what is missing."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print("To do: this shows something as soon as these are right:", ", ".join(missing))
    return not missing


def puzzles():
    """A row for each of four emoji: turned, two patches, shuffled; the picture itself comes last."""
    g = torch.Generator().manual_seed(3)
    x = as_float(on_background(load("emoji", "test").x[::240][:4]))[:, :, 1:31, 1:31]
    n = len(x)
    views, labels = rotation_batch(x)
    turned = torch.arange(n) + n * torch.randint(1, 4, (n,), generator=g)
    corner, which = torch.ones(n, 2, dtype=torch.int64), torch.randperm(8, generator=g)[:n]
    pair = cut_patches(x, corner, which, torch.randint(-1, 2, (n, 2, 2), generator=g), patch=8, gap=2)
    candidates = torch.stack([torch.randperm(9, generator=g) for _ in range(2000)])
    orders = candidates[permutation_set(candidates, 10)]
    tiles = shuffle_tiles(x, orders, torch.randperm(10, generator=g)[:n], side=3)  # (N, 9, 3, 10, 10)
    jigsaw = F.fold(tiles.flatten(2).mT, 30, 10, stride=10)  # the tiles side by side, as a picture
    pictures = [views[turned], *(F.interpolate(patch, (30, 30)) for patch in pair), jigsaw, x]
    titles = [("which way?", "a middle", f"where? ({w})", "what?", f"turned by {t}") for w, t in zip(which, labels[turned])]
    return image_grid(torch.stack(pictures, 1).flatten(0, 1), [title for row in titles for title in row], columns=5,
                      title="Four emoji as puzzles (in brackets: where the second patch lies)")


puzzles() if solved(rotation_batch, cut_patches, permutation_set, shuffle_tiles) else None

# %% [markdown]
# ## And a network that colours grey drawings
#
# Your `CrossChannel`, on emoji, with the colour loss that your `soft_bins` and `rebalancing_weights` make, and your
# `masked_loss` for lightness: the paper around a drawing is white, which is no question, so only the drawing counts. The
# half that sees lightness then colours emoji that it has never seen; your `annealed_mean` chooses the colours. (Not marked;
# about fifteen seconds on two cores.)

# %%
BINS, SIGMA = ab_bins(20.0), 10.0  # coarser than the paper's, for a small network


def in_lab(split):
    emoji = load("emoji", split)
    return Dataset(rgb_to_lab(as_float(on_background(emoji.x))), emoji.y, emoji.classes, emoji.info)


def halved(x):
    return F.avg_pool2d(x, 2)


def shares_of(ab):
    """ab (N, 2, 32, 32) -> shares of the bins (N 16 16, Q), on a grid of 16 x 16."""
    return soft_bins(halved(ab).movedim(1, 3).flatten(0, 2), BINS, neighbours=5, sigma=SIGMA)


def half(inputs, outputs, width=32):
    """Convolutions (N, inputs, 32, 32) -> (N, width, 8, 8), and a head -> (N, outputs, 16, 16)."""
    layers = []
    for channels, stride in ((inputs, 2), (width, 1), (width, 2), (width, 1), (width, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers), nn.Sequential(nn.Conv2d(width, 4 * outputs, 1), nn.PixelShuffle(2))


def coloured(steps):
    torch.manual_seed(0)
    train, test = in_lab("train"), in_lab("test")
    weights = rebalancing_weights(shares_of(train.x[::6, 1:]).mean(0), 0.5)

    def loss_ab(logits, ab):
        shares = shares_of(ab)
        by_pixel = -(shares * logits.movedim(1, 3).flatten(0, 2).log_softmax(1)).sum(1)
        return (weights[shares.argmax(1)] * by_pixel).mean()

    def loss_l(prediction, lightness):
        lightness = halved(lightness) / 100
        return masked_loss(prediction, lightness, lightness < 0.99)

    (from_l, to_ab), (from_ab, to_l) = half(1, len(BINS)), half(2, 1)
    mine = CrossChannel(from_l, from_ab, to_ab, to_l, loss_ab, loss_l)
    losses = [step.loss for step in fit(mine, train, steps, batch_size=32, optimizers=adamw(3e-3), device="cpu")]
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} in {steps} steps")

    some, mine = test.x[:480:60], mine.eval()
    with torch.no_grad():
        logits = to_ab(from_l(some[:, :1]))
    colours = [annealed_mean(logits, BINS, temperature) for temperature in (1.0, 0.38, 0.05)]
    colours = [torch.zeros_like(some[:, 1:]), *(F.interpolate(ab, (32, 32), mode="bilinear") for ab in colours), some[:, 1:]]
    pictures = [lab_to_rgb(torch.cat([some[:, :1], ab], 1)) for ab in colours]
    title = f"Emoji of the test set after {steps} steps\nWhat the network sees; T = 1; T = 0.38; T = 0.05; as they are"
    return image_grid(torch.cat(pictures), title=title, columns=len(some))


ready = solved(masked_loss, soft_bins, rebalancing_weights, annealed_mean, CrossChannel)
coloured(steps=10 if budget() == "smoke" else 200) if ready else None

# %% [markdown]
# ## What next
#
# The network has found out that faces are yellow. A shirt may have any colour, and the rows show what each temperature
# makes of that: T = 1 mixes all of them to a brownish grey, T = 0.05 makes up its mind pixel by pixel. Give the rebalancing
# a `mix` of 1 and see what becomes of rare colours; leave out the gap between the patches and ask yourself how a network
# would cheat. Pretty pictures are not the point, though: the features are, which `encode` returns. The lecture measures what
# each puzzle's are worth.
