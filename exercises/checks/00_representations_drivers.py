"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import on_case

drive_nearest_words = partial(on_case, tensors=("table",), settings=("word", "k"))
drive_majority_vote = partial(
    on_case, tensors=("train", "labels", "test"), settings=("k",)
)
drive_probe_step = partial(
    on_case,
    tensors=("x", "labels", "weight", "bias"),
    settings=("rate", "decay"),
    names=("weight", "bias"),
)
drive_kmeans_step = partial(on_case, tensors=("x", "means"), names=("codes", "means"))
drive_relative_change = partial(on_case, tensors=("h", "changed"))
drive_effective_rank = partial(on_case, tensors=("features",))
drive_mean_iou = partial(on_case, tensors=("scores", "masks"))
drive_report = partial(
    on_case, tensors=("validation", "test"), names=("setting", "mean", "std")
)
