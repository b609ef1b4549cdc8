"""make results: runs every experiment's missing (setting, seed) jobs, prints the
tables. May be interrupted.

    python tools/run_results.py [NAME ...]     all of them, those of these names, or those whose names begin so
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
    chosen = {
        name: known[name]
        for a in asked
        for name in known
        if name == a or a not in known and name.startswith(a)
    }
    results.run(chosen)
    for name in chosen:
        print(f"{name}\n{experiments.table(name)}\n")
