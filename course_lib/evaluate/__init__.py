"""Measures for a representation and for a generator.

A representation is evaluated on frozen features: k-NN, linear probe, few labels,
retrieval, collapse, masks, boxes. A generator is evaluated by distances between
features of real and of generated pictures.

    train, test = features(method, train_set.x), features(method, test_set.x)
    accuracy(knn(train, train_set.y, test), test_set.y)
    probe = linear_probe(train, train_set.y, groups=train_set.info["emoji"])
    accuracy(probe(test), test_set.y)

All measures are computed on the device of the features, CPU or GPU. They need memory
that does not grow with the size of the test set. Classes are the numbers 0 to C - 1.
`groups` says which rows must stay together when the rows are split. For example, scenes
of one emoji look alike. If some are in the training part and others in the validation
part, then the validation accuracy measures memory.
"""

from course_lib.evaluate.boxes import BoxProbe, box_iou, box_probe
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
from course_lib.evaluate.geometry import (
    alignment,
    effective_rank,
    feature_std,
    relative_change,
    retrieval,
    uniformity,
)
from course_lib.evaluate.logistic import LinearClassifier, logistic_regression
from course_lib.evaluate.representation import (
    INVERSE_PENALTIES,
    accuracy,
    features,
    few_labels,
    knn,
    linear_probe,
)

__all__ = [
    "INVERSE_PENALTIES",
    "PENALTIES",
    "THRESHOLDS",
    "BoxProbe",
    "LinearClassifier",
    "MaskProbe",
    "accuracy",
    "alignment",
    "bits_per_dimension",
    "box_iou",
    "box_probe",
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
