"""`make results`: runs the missing jobs (setting, seed) of experiments and prints their
tables.

    python tools/run_results.py [NAME ...]

NAME is an experiment, or the beginning of the names of several. Without names all
experiments are run. A run may be interrupted: the next one resumes it.
"""

import sys

from course_lib import experiments
from course_lib.experiments import results

if __name__ == "__main__":
    known = experiments.catalogue()
    asked = sys.argv[1:] or [""]
    if unknown := [
        name for name in asked if not any(k.startswith(name) for k in known)
    ]:
        sys.exit(
            f"no experiment begins with {', '.join(unknown)}; there are "
            f"{', '.join(known)}"
        )
    chosen = {}
    for word in asked:
        names = [word] if word in known else [k for k in known if k.startswith(word)]
        chosen |= {name: known[name] for name in names}
    results.run(chosen)
    for name in chosen:
        print(f"{name}\n{experiments.table(name)}\n")
