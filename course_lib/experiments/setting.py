"""Settings, of which an experiment consists: each has a recipe, a job, and seeds."""

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
    """One line of an experiment: a recipe, the job that measures it, and the seeds."""

    recipe: Recipe
    job: Callable[[Recipe, int], dict] = trained
    seeds: tuple[int, ...] = (0, 1, 2)
    pretrained: Recipe | None = None  # the job starts from its trained weights

    def hash(self) -> str:
        """Returns the hash of everything that the numbers depend on: the recipe, the
        job, and the weights that the job starts from or loads."""
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
    """Returns the settings that every recipe has: trained and untrained."""
    if not recipe.has_representation:
        return {"untrained": Setting(recipe, untrained), "trained": Setting(recipe)}
    return {
        "random encoder": Setting(recipe, random_encoder),
        "random, calibrated": Setting(recipe, random_calibrated),
        "trained": Setting(recipe),
    }
