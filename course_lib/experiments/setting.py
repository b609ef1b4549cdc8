"""What an experiment consists of: settings, each a recipe, what is done with it, and
for which seeds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from course_lib.experiments.jobs import (
    random_calibrated,
    random_encoder,
    trained,
    untrained,
)
from course_lib.experiments.judge import JUDGES
from course_lib.fingerprint import fingerprint, weights_hash, weights_of
from course_lib.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """One line of an experiment: the recipe it is about, what is done with it, and for
    which seeds."""

    recipe: Recipe
    job: Callable[[Recipe, int], dict] = trained
    seeds: tuple[int, ...] = (0, 1, 2)
    pretrained: Recipe | None = None  # whose trained weights the job begins with

    def hash(self) -> str:
        """Of all that its numbers depend on: recipe, job, and the weights that the job
        begins with or loads."""
        loaded = {
            JUDGES[self.recipe.data] if name == "judge" else name
            for name in weights_of(self.job)
        }
        row = [
            self.recipe.hash(),
            self.pretrained and self.pretrained.hash(),
            fingerprint(self.job),
        ]
        return hashlib.sha256(
            repr([*row, *sorted(map(weights_hash, loaded))]).encode()
        ).hexdigest()[:12]


Experiment = dict[str, Setting]


def standard(recipe: Recipe) -> Experiment:
    """What every method is measured by: trained against untrained."""
    if not recipe.has_representation:
        return {"untrained": Setting(recipe, untrained), "trained": Setting(recipe)}
    return {
        "random encoder": Setting(recipe, random_encoder),
        "random, calibrated": Setting(recipe, random_calibrated),
        "trained": Setting(recipe),
    }
