# %% [markdown]
# # Exercises 01. Pretext tasks
#
# **Nine exercises about puzzles that need no labels.** Turn a picture, cut it up, shuffle it, cut a hole into it, take
# away its colours. Each time you know the answer, because you made the change. You write the functions that make such
# puzzles and the losses that go with them. At the end you write a network that colours grey drawings.
#
# **You need** notebook 01, the lecture. Each exercise names the part of the lecture that it belongs to.
#
# **How it works.** Write your code where the cell says so and run the cell below it. The check tests your answer on a
# few small cases. If the answer is wrong, the check says how, and often names the likely mistake. *The check is not the
# final mark*. The mark comes from other cases, with other shapes and other values. So write what the formula says, not
# what makes these few cases pass. The library's own functions are not available when you are marked, so write the
# answer yourself, with torch.
#
# *Run All* works from the start. An answer that you have not written yet is reported as "to do". When your notebook
# is marked, only definitions count: imports, functions, classes, constants. Answers are found by their names, so keep
# the names. Everything else that you need (a helper, another import) may stand in any cell. No answer draws random
# numbers. Random values come in as arguments. For float64 arguments, compute in float64 and return float64. Before
# you hand in, run `python -m course_lib check NOTEBOOK`. It runs the public cases on your file, which it reads as the
# grader does.
#
# | exercise | points | minutes | difficulty |
# |---|---|---|---|
# | 1. Turned and mirrored | 6 | 15 | ★★ |
# | 2. Two patches of one picture | 6 | 15 | ★★ |
# | 3. Permutations far apart | 6 | 20 | ★★ |
# | 4. The jigsaw puzzle | 5 | 15 | ★★ |
# | 5. Holes of many sizes | 7 | 15 | ★★ |
# | 6. Colours as shares of bins | 6 | 15 | ★★ |
# | 7. Rare colours weigh more | 5 | 15 | ★★ |
# | 8. A colour and its spread | 6 | 15 | ★★ |
# | 9. Two half networks | 8 | 15 | ★★ |
# | **together** | **55** | **140** | |
#
# The first line of each check must be right before the other lines count.

# %%
import torch

from course_lib.notebook import budget, checks, image_grid
from course_lib.train import Method

check = checks("01_pretext_tasks")

# %% [markdown]
# ## 1. Turned and mirrored
#
# *The lecture, section 4.*
#
# RotNet asks by how many quarter turns a picture was turned. A square has four more symmetries: each turn of its mirror
# image. So one can ask for one of *eight* views. Label k from 0 to 3 means that the picture was turned anticlockwise by
# k quarters. Label 4 + k means that the picture was mirrored first (left and right changed places), and that the mirror
# image was then turned anticlockwise by k quarters.
#
# For example, the picture $\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$ gives
# $\begin{pmatrix} 2 & 4 \\ 1 & 3 \end{pmatrix}$ with label 1, and
# $\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}$ with label 5.
#
# The views come picture by picture: the eight views of the first picture in the order of their labels, then the eight
# views of the second picture, and so on.
#
# *15 minutes, ★★.* Points: 4 right views in the right order, 2 right labels.


# %% nbgrader={"grade": false, "grade_id": "eight_views", "locked": false, "schema_version": 3, "solution": true, "task": false}
def eight_views(x):
    """Every picture in eight views, turned and mirrored, with their labels.

    x (N, C, S, S): square pictures, float32 or float64. Returns two tensors, views and
    labels. views (8N, C, S, S), of x's dtype: views[8 n + k] is picture n with label k.
    For k < 4 it is turned anticlockwise by k quarters; for k >= 4 it is mirrored, left
    to right, and the mirror image is turned anticlockwise by k - 4 quarters. labels
    (8N,), int64: the label of each view, 0 to 7.
    """
    ### BEGIN SOLUTION
    both = torch.stack([x, x.flip(3)], 1)  # (N, 2, C, S, S)
    turned = [torch.rot90(both, quarters, (3, 4)) for quarters in range(4)]
    views = torch.stack(turned, 2)  # (N, 2, 4, C, S, S)
    return views.flatten(0, 2), torch.arange(8).repeat(len(x))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_eight_views", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(eight_views)
### BEGIN HIDDEN TESTS
assert check(eight_views).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.rot90(x, k, dims)` turns all pictures of a batch at once. Which two of the dimensions are height and width?
# `x.flip(3)` mirrors left to right. Try both on the little matrix above.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cat` of eight batches would give all pictures with label 0, then all with label 1. With
# `torch.stack(..., 1)` the views of one picture stand side by side, (N, 8, C, S, S). `flatten(0, 1)` then joins the
# first two dimensions. The labels repeat 0 to 7 for each picture.
#
# </details>

# %% [markdown]
# ## 2. Two patches of one picture
#
# *The lecture, section 5.*
#
# Suppose that one patch shows an ear, and another patch comes from the same picture. Does this patch lie above, below,
# to the left? Doersch et al. (2015) cut a 3 x 3 grid of patches and ask where a second patch lies, seen from the one in
# the middle. The eight places are numbered row by row, without the middle:
#
# $$\begin{pmatrix} 0 & 1 & 2 \\ 3 & \cdot & 4 \\ 5 & 6 & 7 \end{pmatrix}.$$
#
# Networks use shortcuts where they can. For example, a line that continues from one patch into the next reveals the
# answer. So there are `gap` pixels between two patches, and each patch is displaced by a few pixels of its own, the
# **jitter**. Let $c_i$ be the corner of picture i's grid and $\delta_{ip}$ the jitter, with p = 0 for the middle and
# p = 1 for the neighbour. Then the top left pixel of a patch in row r and column s of the grid (counted from 0) is at
#
# $$c_i + (\text{patch} + \text{gap}) \begin{pmatrix} r \\ s \end{pmatrix} + \delta_{ip}, \qquad \text{(down, right)}.$$
#
# *15 minutes, ★★.* Points: 5 right patches, 1 arguments left alone.


# %% nbgrader={"grade": false, "grade_id": "cut_patches", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cut_patches(x, corner, which, jitter, patch, gap):
    """The middle patch of each picture's 3 x 3 grid, and one of its eight neighbours.

    x (N, C, H, W), float32 or float64. corner (N, 2): row and column of the top left
    pixel of the grid's first patch, before jitter. which (N,): the neighbour, from 0 to
    7, row by row without the middle. jitter (N, 2, 2): the displacement in pixels
    (down, right) of the middle patch, jitter[i, 0], and of the neighbour, jitter[i, 1];
    it may be negative. corner, which and jitter hold whole numbers. patch: a patch's
    side. gap: the pixels between two patches. Both are whole numbers. All patches lie
    inside their picture. Returns two tensors (N, C, patch, patch), of x's dtype: the
    middle patches and the neighbours.
    """
    ### BEGIN SOLUTION
    # 0 to 8, row by row; 4 is the middle
    cell = torch.where(which < 4, which, which + 1)
    both = torch.stack([torch.full_like(cell, 4), cell], 1)  # (N, 2 patches)
    # (N, 2 patches, 2): row and column in the grid
    place = torch.stack([both // 3, both % 3], 2)
    start = corner[:, None] + (patch + gap) * place + jitter

    def cut(starts):
        pieces = zip(x, starts.tolist())
        return torch.stack(
            [p[:, top : top + patch, left : left + patch] for p, (top, left) in pieces]
        )

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
# First compute the start of every patch, in one tensor (N, 2). Then loop over the pictures, cut out
# `picture[:, top : top + patch, left : left + patch]`, and put the pieces together with `torch.stack`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `which[which >= 4] += 1` would change the caller's own tensor. `torch.where(which < 4, which, which + 1)` makes a new
# one.
#
# </details>

# %% [markdown]
# ## 3. Permutations far apart
#
# *The lecture, section 6.*
#
# The **Hamming distance** of two permutations is the number of places in which they differ. The lecture adds, again and
# again, the permutation with the largest *sum* of distances to those already chosen. A large sum may hide a small
# distance: some of its 64 permutations differ in two places only. Where these two tiles look alike, the question is not
# fair. So take the permutation whose *nearest* chosen one is as far away as possible (the **maximin** rule). From the
# candidates $p_1, \dots, p_M$, take the first, and then add, again and again, the row
#
# $$\arg\max_{k} \; \min_{j \text{ chosen}} \operatorname{Hamming}(p_j, p_k).$$
#
# Often several rows have the largest minimum. Of these rows, choose the one with the largest *sum* of distances to all
# rows chosen so far. If several of them have this sum, too, choose the lowest row number.
#
# *20 minutes, ★★.* Points: 4 right rows, 1 right where sums decide, 1 right where row numbers decide.


# %% nbgrader={"grade": false, "grade_id": "maximin_set", "locked": false, "schema_version": 3, "solution": true, "task": false}
def maximin_set(candidates, count):
    """Row numbers of `count` permutations that are far apart, chosen greedily.

    candidates (M, T), int64: each row is a permutation of 0 to T - 1, and all rows are
    different. count: a whole number from 1 to M. Returns (count,), int64: the row
    numbers in the order in which they are chosen. Row 0 is first. Then comes, each
    time, the row whose smallest Hamming distance to a row chosen so far is largest. Of
    several such rows, it is the one whose distances to all rows chosen so far have the
    largest sum; of several of those, the one with the lowest row number.
    """
    ### BEGIN SOLUTION
    m, tiles = candidates.shape
    chosen, total = [0], torch.zeros(m, dtype=torch.int64)
    smallest = torch.full((m,), tiles)
    while len(chosen) < count:
        # (M,): distances to the one that came last
        apart = (candidates != candidates[chosen[-1]]).sum(1)
        smallest, total = torch.minimum(smallest, apart), total + apart
        best = torch.where(smallest == smallest.max(), total, -1)
        chosen.append(int(best.argmax()))
    return torch.tensor(chosen)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_maximin_set", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check(maximin_set)
### BEGIN HIDDEN TESTS
assert check(maximin_set).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Keep two tensors (M,): each candidate's smallest distance to the chosen rows, and the sum of its distances. Every time
# a row is chosen, its distances to all candidates are `(candidates != candidates[row]).sum(1)`. They update both.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A chosen row has the smallest distance 0, to itself, so it is never chosen again. Give all rows below the largest
# minimum a sum of -1, and then look for the largest sum. If several are largest, `argmax` returns the first.
#
# </details>

# %% [markdown]
# ## 4. The jigsaw puzzle
#
# *The lecture, section 6.*
#
# This puzzle cuts a picture into tiles, shuffles them, and asks for the permutation. A picture is cut into `side` x
# `side` tiles, $t_0, \dots, t_{T-1}$ with $T = \text{side}^2$, numbered row by row. The network gets them as a sequence
# of tiles. Let $\pi$ be the permutation that picture i's label names. Then place j of the sequence holds
#
# $$\text{tile}_{ij} = t_{\pi(j)}, \qquad \pi = \text{permutations}[\text{labels}_i].$$
#
# *15 minutes, ★★.* Points: 4 square pictures, 1 pictures that are not square.


# %% nbgrader={"grade": false, "grade_id": "shuffle_tiles", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shuffle_tiles(x, permutations, labels, side):
    """Cut pictures into tiles, in the order that each picture's permutation gives.

    x (N, C, H, W), float32 or float64; `side` divides H and W. permutations (P, T), T =
    side * side: each row is a permutation of 0 to T - 1. labels (N,): whole numbers
    from 0 to P - 1. side: a whole number. Returns (N, T, C, H / side, W / side), of
    x's dtype: entry [i, j] is tile permutations[labels[i], j] of picture i. Tiles are
    numbered row by row.
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
# The H rows of a picture form `side` blocks of h = H / side rows each, and the W columns likewise. A reshape may split
# one dimension in two: (N, C, side, h, side, w). Then bring the dimensions into the right order, and merge two of them
# into one. (Slices in two loops work as well.)
#
# </details>
# <details><summary>Hint 2</summary>
#
# `tiles[:, order]` would shuffle all pictures in the same ways. So index the picture together with the tile: with
# `rows = torch.arange(N)[:, None]`, `tiles[rows, order]` pairs each row of `order` with its own picture.
#
# </details>

# %% [markdown]
# ## 5. Holes of many sizes
#
# *The lecture, section 3.*
#
# The lecture's loss of a hole is a mean over all missing values of the batch. If the holes have different sizes, a
# picture with a large hole then counts more than a picture with a small one. Here every picture with a hole counts
# alike, whatever the size of its hole. With prediction $\hat x$, picture $x$, and $m = 1$ where a pixel is missing, the
# loss of picture i is
#
# $$L_i = \frac{\sum_{c,p} m_{ip} (\hat x_{icp} - x_{icp})^2}{C \sum_{p} m_{ip}},$$
#
# with channels c = 1 to C and pixels p. The loss of the batch is the mean of $L_i$ over the pictures in which at least
# one pixel is missing. A picture without a hole does not count at all. A batch in which nothing is missing has the
# loss 0, and a training loop can go on with it: `backward()` works and gives zeros.
#
# *15 minutes, ★★.* Points: 3 right values, 1 arguments left alone, 1 pictures without a hole, 1 nothing missing, 1
# right gradient.


# %% nbgrader={"grade": false, "grade_id": "masked_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_loss(prediction, target, mask):
    """Mean over the pictures of the mean squared error in their holes.

    prediction, target (N, C, H, W), float32 or float64, both of the same dtype. mask
    (N, 1, H, W), bool: True where the pixel is missing, in all its channels. Returns a
    0-d tensor of this dtype: the mean of (prediction - target)^2 over the missing
    values of a picture, averaged over the pictures with missing pixels. If no value of
    the batch is missing, it is 0, with a gradient of zeros.
    """
    ### BEGIN SOLUTION
    error = (prediction - target).square() * mask
    missing = mask.sum((1, 2, 3)) * prediction.shape[1]  # (N,) values
    by_picture = error.sum((1, 2, 3)) / missing.clamp(min=1)
    return by_picture.sum() / (missing > 0).sum().clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_masked_loss", "locked": true, "points": 7, "schema_version": 3, "solution": false, "task": false}
check(masked_loss)
### BEGIN HIDDEN TESTS
assert check(masked_loss).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Multiply the squared error by the mask: its one channel goes with all C channels of the picture. Sum over all
# dimensions but the first. If `mask.sum((1, 2, 3))` *pixels* of each picture are missing, how many *values* are
# missing?
#
# </details>
# <details><summary>Hint 2</summary>
#
# 0 / 0 is NaN, and so is its gradient, even if you repair the value afterwards. `clamp(min=1)` on a number that you
# divide by changes nothing where it is 1 or more. There are two such numbers.
#
# </details>

# %% [markdown]
# ## 6. Colours as shares of bins
#
# *The lecture, section 7.*
#
# From lightness L, predict the colours (a, b) of a pixel. The mean of a red apple and a green apple is a brownish
# apple. So Zhang et al. (2016) make this a classification, and divide the plane of (a, b) into squares, the **bins**. A
# colour belongs to several bins at once, its k nearest bins q. Each of these bins has a share that falls with the
# distance d between the colour and the bin's centre,
#
# $$\text{share}_q = \frac{\exp(-d_q^2 / 2\sigma^2)}{\sum_{q'} \exp(-d_{q'}^2 / 2\sigma^2)},$$
#
# where q and q' run over these k bins only. All other bins get 0. (The paper: k = 5, $\sigma$ = 5, bins 10 apart.) Far
# away from every bin, all the exponentials are 0 in floating point, but the shares still exist and sum to 1.
#
# *15 minutes, ★★.* Points: 4 right shares, 1 arguments left alone, 1 far away from every bin.


# %% nbgrader={"grade": false, "grade_id": "soft_bins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soft_bins(ab, bins, neighbours, sigma):
    """The shares of each colour in its nearest bins.

    ab (M, 2): colours; bins (Q, 2): centres. Same dtype for both, float32 or float64.
    neighbours: how many bins share a colour, a whole number from 1 to Q. sigma: a
    number > 0. Returns (M, Q), of this dtype: row i is proportional to
    exp(-d^2 / (2 sigma^2)) at the bins nearest to colour i, where d is the Euclidean
    distance, and 0 elsewhere. Each row sums to 1.
    """
    ### BEGIN SOLUTION
    squared = (ab[:, None] - bins[None]).square().sum(2)  # (M, Q)
    value, nearest = squared.topk(neighbours, dim=1, largest=False)
    # softmax subtracts the largest exponent first
    shares = (-value / (2 * sigma**2)).softmax(1)
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
# There are three steps. First compute the squared distances (M, Q), by broadcasting `ab[:, None]` against `bins[None]`.
# Then find the k smallest of each row and their places. Then divide the exponentials by their sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Exponentials divided by the sum of exponentials are a well-known function, and torch's version subtracts the largest
# exponent first. `topk(..., largest=False)` gives values and indices, and `zeros.scatter(1, indices, shares)` puts the
# shares into the columns of their bins.
#
# </details>

# %% [markdown]
# ## 7. Rare colours weigh more
#
# *The lecture, section 7.*
#
# In photographs, clouds, walls and floors are nearly grey, so a network that always predicts grey is often right.
# Therefore a pixel's loss is multiplied by a weight, which is larger for rarer colours. The prior $p_q$ is the share of
# all pixels that are in bin q. Counts of rare colours are rough, so Zhang et al. first *smooth* the prior with a
# Gaussian (the lecture leaves this out). Each bin r gives its share to all bins q, and near bins get more of it. With
# the bins' centres $c_q$,
#
# $$\tilde p_q = \sum_{r} p_r\, k_{qr}, \qquad
# k_{qr} = \frac{\exp(-\lVert c_q - c_r \rVert^2 / 2\sigma^2)}
# {\sum_{q'} \exp(-\lVert c_{q'} - c_r \rVert^2 / 2\sigma^2)}.$$
#
# So the smoothed shares sum to 1, too. They are mixed with a uniform distribution over the Q bins, and the weights are
#
# $$w_q \propto \frac{1}{(1 - \lambda)\, \tilde p_q + \lambda / Q}, \qquad \sum_{q} p_q w_q = 1.$$
#
# The last sum uses the prior *before* smoothing, because pixels have this distribution. (The paper's sum uses the
# smoothed one.) So the mean weight of a pixel is 1, and the size of the loss is kept.
#
# *15 minutes, ★★.* Points: 3 right weights, 1 arguments left alone, 1 bins that never occur.


# %% nbgrader={"grade": false, "grade_id": "rebalancing_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rebalancing_weights(prior, bins, mix, sigma):
    """A weight for each colour bin, larger for rare ones, from a smoothed prior.

    prior (Q,): each bin's share of all pixels. The shares are >= 0 and sum to 1. bins
    (Q, 2): the bins' centres. Both float32 or both float64. mix: lambda, the uniform
    distribution's share, a number in (0, 1]. sigma: the width of the Gaussian, a number
    > 0. Returns (Q,), of the prior's dtype: weights proportional to
    1 / ((1 - mix) smoothed prior + mix / Q), scaled so that the sum of prior * weights
    is 1.
    """
    ### BEGIN SOLUTION
    squared = (bins[:, None] - bins).square().sum(2)  # (Q, Q)
    # column r: the shares in which bin r gives away its own
    kernel = (-squared / (2 * sigma**2)).softmax(0)
    smooth = kernel @ prior
    weights = 1 / ((1 - mix) * smooth + mix / len(prior))
    return weights / (prior * weights).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_rebalancing_weights", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(rebalancing_weights)
### BEGIN HIDDEN TESTS
assert check(rebalancing_weights).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are three steps: the matrix k, the smoothed prior as a product of a matrix with a vector, and the weights. Over
# which of its two indices does k sum to 1? Check it with a sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# First compute the weights up to a factor. If the sum of prior times weight is s, then dividing all weights by s makes
# this sum 1. With mix = 1 all weights are 1 for every prior.
#
# </details>

# %% [markdown]
# ## 8. A colour and its spread
#
# *The lecture, section 7.*
#
# The network gives each pixel a distribution over the bins, but a picture needs one colour per pixel. The mean is pale,
# the mode is vivid but patchy. Zhang et al. first sharpen the distribution with a temperature T below 1, and then take
# its mean. With probabilities $p_q$, the softmax of the logits, and centres $c_q$, the colour is
#
# $$\text{colour} = \sum_{q} f_q c_q, \qquad f_q = \frac{\exp(\log p_q / T)}{\sum_{q'} \exp(\log p_{q'} / T)}.$$
#
# T = 1 gives the mean, T near 0 gives the mode; the paper chose 0.38. Where two very different colours are likely at
# the same time, the colour between them is a bad answer. The **spread** of the sharpened distribution finds such
# pixels. It is the mean squared distance from the colour:
#
# $$\text{spread} = \sum_{q} f_q\, \lVert c_q - \text{colour} \rVert^2.$$
#
# Your answer must be right for logits of $\pm 700$, at T = 0.002, and at T = 200.
#
# *15 minutes, ★★.* Points: 3 right colours, 1 right spread, 1 arguments left alone, 1 extreme logits and
# temperatures.


# %% nbgrader={"grade": false, "grade_id": "annealed_mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def annealed_mean(logits, bins, temperature):
    """One colour for each pixel, from its distribution over bins, and its spread.

    logits (N, Q, H, W), bins (Q, 2): float32 or float64, both of the same dtype.
    temperature: a number > 0. Returns two tensors of this dtype. colour (N, 2, H, W):
    the mean of the bins' centres under the distribution f proportional to
    p^(1 / temperature), where p is the softmax of a pixel's logits over the bins.
    spread (N, H, W): the mean, under f, of the squared distance between a bin's centre
    and the colour.
    """
    ### BEGIN SOLUTION
    # log p is the logit minus what all bins of the pixel share
    shares = (logits / temperature).softmax(1)
    colour = torch.einsum("nqhw,qc->nchw", shares, bins)
    away = bins[:, :, None, None] - colour[:, None]  # (N, Q, 2, H, W)
    return colour, (shares * away.square().sum(2)).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_annealed_mean", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
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
# So f is one softmax, of the logits divided by T, along the dimension of the bins. The mean is a sum over q of
# (N, Q, H, W) times (Q, 2): `torch.einsum("nqhw,qc->nchw", ...)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `bins[:, :, None, None] - colour[:, None]` has the shape (N, Q, 2, H, W): the way from each pixel's colour to each
# bin. Its squares, summed over the two coordinates, have the shape of f.
#
# </details>

# %% [markdown]
# ## 9. Two half networks
#
# *The lecture, section 8.*
#
# A network that predicts colour from lightness never gets a colour as input. So two pictures that differ in colour
# alone have the same features. Zhang et al. (2017) split the network in two: one half sees L and predicts (a, b), the
# other half sees (a, b) and predicts L. Neither half sees what it has to predict, but together they see the whole
# picture. With the halves $f_L$ and $f_{ab}$, a head g for each, and a loss $\ell$ for each, the loss and the
# representation h are
#
# $$\text{loss} = \ell_{ab}\big(g_{ab}(f_L(L)),\, ab\big) + \ell_L\big(g_L(f_{ab}(ab)),\, L\big), \qquad
# h = \big[f_L(L),\, f_{ab}(ab)\big].$$
#
# A `Method` is a torch module that `fit` can train. It gives the optimiser the parameters of all networks that it
# knows, and it knows those that are its attributes. `fit` calls `loss(lab, y)`, but y is not used.
#
# *15 minutes, ★★.* Points: 3 right wiring, 1 argument left alone, 1 parameters handed to the optimiser, 1 gradient
# through all four networks, 2 right representation.


# %% nbgrader={"grade": false, "grade_id": "CrossChannel", "locked": false, "schema_version": 3, "solution": true, "task": false}
class CrossChannel(Method):
    """A split-brain autoencoder with any networks and losses.

    from_l: lightness (N, 1, H, W) -> features (N, D, h, w). from_ab: colours (N, 2, H,
    W) -> features (N, E, h, w). to_ab: features of lightness -> a prediction of colour;
    to_l: features of colour -> a prediction of lightness. loss_ab(prediction, ab),
    loss_l(prediction, lightness): each compares its two arguments and returns a 0-d
    tensor; nothing else is needed.
    """

    def __init__(self, from_l, from_ab, to_ab, to_l, loss_ab, loss_l):
        """Keeps the six arguments, the networks themselves and no copies."""
        ### BEGIN SOLUTION
        super().__init__()
        self.from_l, self.from_ab, self.to_ab, self.to_l = from_l, from_ab, to_ab, to_l
        self.loss_ab, self.loss_l = loss_ab, loss_l
        ### END SOLUTION

    def loss(self, lab, y=None):
        """lab (N, 3, H, W): channels L, a, b, float32 or float64. Networks and losses
        get it as it is. Returns a 0-d tensor: loss of colour plus loss of lightness.
        """
        ### BEGIN SOLUTION
        lightness, ab = lab[:, :1], lab[:, 1:]
        colour_loss = self.loss_ab(self.to_ab(self.from_l(lightness)), ab)
        return colour_loss + self.loss_l(self.to_l(self.from_ab(ab)), lightness)
        ### END SOLUTION

    def encode(self, lab):
        """lab (N, 3, H, W) -> (N, D + E, h, w): first the features of lightness, then
        the features of colour. The networks stay in the mode (train or eval) that they
        have.
        """
        ### BEGIN SOLUTION
        return torch.cat([self.from_l(lab[:, :1]), self.from_ab(lab[:, 1:])], dim=1)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_CrossChannel", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check(CrossChannel)
### BEGIN HIDDEN TESTS
assert check(CrossChannel).solved
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `super().__init__()` comes first in `__init__`, because it makes the place where the module registers its networks.
# Then make each of the six an attribute of its own.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `lab[:, :1]` is lightness with its channel dimension, (N, 1, H, W); `lab[:, 0]` would lose this dimension. For each of
# the two terms, write down the input, the two networks that it goes through, and the target of the comparison.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `encode` needs neither head. It joins the features of both halves along dimension 1.
#
# </details>

# %% [markdown]
# ## All together: a page of puzzles
#
# Four of your answers make these puzzles. Can you solve them? The solutions stand in the titles: the place of the
# second patch, and the label of the first picture's view. (A symmetric drawing looks the same under two labels. This
# part is not marked.)

# %%
import torch.nn.functional as F
from torch import nn

from course_lib.colour import ab_bins, lab_to_rgb, rgb_to_lab
from course_lib.data import Dataset, as_float, load, on_background
from course_lib.optim import adamw
from course_lib.train import fit


def solved(*answers):
    """Whether all these answers are right; prints which ones are not."""
    missing = [answer.__name__ for answer in answers if not check(answer).solved]
    if missing:
        print(
            "To do: this shows something as soon as these are right:",
            ", ".join(missing),
        )
    return not missing


def puzzles():
    """A row for each of four emoji: turned, two patches, shuffled, and the picture."""
    g = torch.Generator().manual_seed(3)
    x = as_float(on_background(load("emoji", "test").x[::240][:4]))[:, :, 1:31, 1:31]
    n = len(x)
    views, labels = eight_views(x)
    turned = 8 * torch.arange(n) + torch.randint(1, 8, (n,), generator=g)
    corner, which = (
        torch.ones(n, 2, dtype=torch.int64),
        torch.randperm(8, generator=g)[:n],
    )
    pair = cut_patches(
        x, corner, which, torch.randint(-1, 2, (n, 2, 2), generator=g), patch=8, gap=2
    )
    candidates = torch.stack([torch.randperm(9, generator=g) for _ in range(2000)])
    orders = candidates[maximin_set(candidates, 10)]
    # (N, 9, 3, 10, 10)
    tiles = shuffle_tiles(x, orders, torch.randperm(10, generator=g)[:n], side=3)
    # the tiles side by side, as a picture
    jigsaw = F.fold(tiles.flatten(2).mT, 30, 10, stride=10)
    pictures = [
        views[turned],
        *(F.interpolate(patch, (30, 30)) for patch in pair),
        jigsaw,
        x,
    ]
    titles = [
        ("which view?", "a middle", f"where? ({w})", "what?", f"view {t}")
        for w, t in zip(which, labels[turned])
    ]
    return image_grid(
        torch.stack(pictures, 1).flatten(0, 1),
        [title for row in titles for title in row],
        columns=5,
        title="Four emoji as puzzles (the solutions are in the titles)",
    )


puzzles() if solved(eight_views, cut_patches, maximin_set, shuffle_tiles) else None

# %% [markdown]
# ## And a network that colours grey drawings
#
# This cell trains your `CrossChannel` on emoji. Your `soft_bins` and `rebalancing_weights` make the colour loss. Your
# `masked_loss` is the lightness loss: it counts only the drawing, because the paper around it is always white. The half
# that sees lightness then colours held-out emoji, and your `annealed_mean` chooses the colours. (This part is not
# marked. It takes about fifteen seconds on two cores.)

# %%
BINS, SIGMA = ab_bins(20.0), 10.0  # coarser than the paper's, for a small network


def in_lab(split):
    emoji = load("emoji", split)
    return Dataset(
        rgb_to_lab(as_float(on_background(emoji.x))), emoji.y, emoji.classes, emoji.info
    )


def halved(x):
    return F.avg_pool2d(x, 2)


def shares_of(ab):
    """ab (N, 2, 32, 32) -> shares of the bins (N * 16 * 16, Q), on a 16 x 16 grid."""
    return soft_bins(
        halved(ab).movedim(1, 3).flatten(0, 2), BINS, neighbours=5, sigma=SIGMA
    )


def half(inputs, outputs, width=32):
    """Convolutions (N, inputs, 32, 32) -> (N, width, 8, 8), and a head -> (N, outputs,
    16, 16)."""
    layers = []
    for channels, stride in (
        (inputs, 2),
        (width, 1),
        (width, 2),
        (width, 1),
        (width, 1),
    ):
        layers += [
            nn.Conv2d(channels, width, 3, stride, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers), nn.Sequential(
        nn.Conv2d(width, 4 * outputs, 1), nn.PixelShuffle(2)
    )


def coloured(steps):
    torch.manual_seed(0)
    train, test = in_lab("train"), in_lab("test")
    prior = shares_of(train.x[::6, 1:]).mean(0)
    weights = rebalancing_weights(prior, BINS, mix=0.5, sigma=5.0)

    def loss_ab(logits, ab):
        shares = shares_of(ab)
        by_pixel = -(shares * logits.movedim(1, 3).flatten(0, 2).log_softmax(1)).sum(1)
        return (weights[shares.argmax(1)] * by_pixel).mean()

    def loss_l(prediction, lightness):
        lightness = halved(lightness) / 100
        return masked_loss(prediction, lightness, lightness < 0.99)

    (from_l, to_ab), (from_ab, to_l) = half(1, len(BINS)), half(2, 1)
    mine = CrossChannel(from_l, from_ab, to_ab, to_l, loss_ab, loss_l)
    losses = [
        step.loss
        for step in fit(
            mine, train, steps, batch_size=32, optimizers=adamw(3e-3), device="cpu"
        )
    ]
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} in {steps} steps")

    some, mine = test.x[:480:60], mine.eval()
    with torch.no_grad():
        logits = to_ab(from_l(some[:, :1]))
    colours = [
        annealed_mean(logits, BINS, temperature)[0] for temperature in (1.0, 0.38, 0.05)
    ]
    colours = [
        torch.zeros_like(some[:, 1:]),
        *(F.interpolate(ab, (32, 32), mode="bilinear") for ab in colours),
        some[:, 1:],
    ]
    pictures = [lab_to_rgb(torch.cat([some[:, :1], ab], 1)) for ab in colours]
    title = (
        f"Emoji of the test set after {steps} steps\nWhat the network sees; T = 1; T = "
        "0.38; T = 0.05; as they are"
    )
    return image_grid(torch.cat(pictures), title=title, columns=len(some))


ready = solved(masked_loss, soft_bins, rebalancing_weights, annealed_mean, CrossChannel)
coloured(steps=10 if budget() == "smoke" else 200) if ready else None

# %% [markdown]
# ## What next
#
# The network has learnt that faces are yellow. A shirt may have any colour, and the rows show what each temperature
# does in such a case: T = 1 mixes all colours to a brownish grey, T = 0.05 decides for one colour, pixel by pixel. Give
# the rebalancing a `mix` of 1 and see what happens to rare colours. Leave out the gap between the patches and ask
# yourself which shortcut a network would use. But the aim is not pretty pictures. The aim is the features, which
# `encode` returns. The lecture measures how useful the features of each puzzle are.
