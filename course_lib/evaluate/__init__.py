"""What a representation is worth: frozen features, then k-NN, linear probe, few labels,
retrieval, collapse, masks; and a generator: distances between real and drawn pictures'
features.

    train, test = features(method, train_set.x), features(method, test_set.x)
    accuracy(knn(train, train_set.y, test), test_set.y)
    accuracy(linear_probe(train, train_set.y, groups=train_set.info["emoji"])(test), test_set.y)

Everything runs where the features lie, CPU or GPU, in memory that does not grow with
the size of the test set. Classes are the numbers 0 to C - 1. `groups` names what must
stay together when rows are split: the scenes of one emoji look alike, and a validation
scene of an emoji that was fitted measures memory.
"""

from course_lib.evaluate.dense import (
    PENALTIES,
    THRESHOLDS,
    MaskProbe,
    intersection_over_union,
    mask_probe,
    most_of_the_mass,
)
from course_lib.evaluate.generation import (
    bits_per_dimension,
    frechet_distance,
    kernel_distance,
    mode_coverage,
    precision_recall,
)
from course_lib.evaluate.representation import (
    STRENGTHS,
    LinearClassifier,
    accuracy,
    alignment,
    effective_rank,
    feature_std,
    features,
    few_labels,
    knn,
    linear_probe,
    logistic_regression,
    relative_change,
    retrieval,
    uniformity,
)

__all__ = [
    "PENALTIES",
    "STRENGTHS",
    "THRESHOLDS",
    "LinearClassifier",
    "MaskProbe",
    "accuracy",
    "alignment",
    "bits_per_dimension",
    "effective_rank",
    "feature_std",
    "features",
    "few_labels",
    "frechet_distance",
    "intersection_over_union",
    "kernel_distance",
    "knn",
    "linear_probe",
    "logistic_regression",
    "mask_probe",
    "mode_coverage",
    "most_of_the_mass",
    "precision_recall",
    "relative_change",
    "retrieval",
    "uniformity",
]
