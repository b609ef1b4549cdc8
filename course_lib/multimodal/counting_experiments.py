"""Experiments of notebook 06 on counting: what makes CLIP learn the number."""

from dataclasses import replace
from functools import partial

from course_lib.experiments.setting import Setting
from course_lib.multimodal.counting import counted, many_objects, other_numbers
from course_lib.multimodal.recipes import clip
from course_lib.multimodal.robustness_experiments import (
    BASE,
    composed,
    composition,
    reads_all,
)


def counting(**options) -> Setting:
    """Returns a setting with pictures from `counted` with these options. All test
    captions say the number."""
    test = {key: value for key, value in options.items() if key != "said"}
    return Setting(
        replace(
            BASE,
            build=partial(reads_all, clip),
            prepare_data=partial(composed, make=partial(counted, **options)),
        ),
        partial(composition, make=partial(counted, **test), altered=other_numbers),
    )


EXPERIMENTS = {
    "clip-numbers": {
        "24 objects": counting(),
        "24 objects, 5 % say the number": counting(said=0.05),
        "all objects": counting(objects=many_objects),
    },
}
