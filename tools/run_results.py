"""make results: runs every experiment's missing (setting, seed) jobs, prints the tables. May be interrupted."""

import sys

from course_lib import experiments
from course_lib.recipes import RECIPES

if __name__ == "__main__":
    for name in sys.argv[1:] or [name for name, recipe in RECIPES.items() if recipe.cpu]:
        experiments.run(name)
        print(f"{name}\n{experiments.table(name)}\n")
