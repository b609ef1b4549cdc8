"""How each answer is called, for the check and the grader.

Made by `make exercises` from solutions/."""

from functools import partial

from course_lib.grading.drive import on_case
from course_lib.grading.probes import precise, watched

drive_nearest_words = partial(on_case, tensors=("table", "given"), settings=("k",))
drive_majority_vote = partial(
    on_case, tensors=("train", "labels", "test"), settings=("k",)
)
drive_probe_step = precise(
    watched(
        partial(
            on_case,
            tensors=("x", "labels", "weight", "bias"),
            settings=("rate", "decay"),
            names=("weight", "bias"),
        )
    ),
    "weight",
    "bias",
)
drive_kmeans_step = precise(
    partial(on_case, tensors=("x", "weight", "means"), names=("codes", "means")),
    "means",
)
drive_relative_change = precise(
    partial(on_case, tensors=("h", "changed", "labels")), "value"
)
drive_effective_rank = precise(partial(on_case, tensors=("features",)), "value")
drive_mean_iou = partial(on_case, tensors=("scores", "masks"))
drive_report = partial(
    on_case, tensors=("validation", "test"), names=("setting", "mean", "std")
)
