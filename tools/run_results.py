"""make results: runs every experiment's missing (setting, seed) jobs, prints the tables. May be interrupted.

    python tools/run_results.py [NAME ...]     all of them, or those whose names begin so
"""

import sys

from course_lib import experiments
from course_lib.experiments import results

if __name__ == "__main__":
    known = experiments.catalogue()
    asked = sys.argv[1:] or [""]
    if unknown := [name for name in asked if not any(k.startswith(name) for k in known)]:
        sys.exit(f"no experiment begins with {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {name: known[name] for name in known if name.startswith(tuple(asked))}
    results.run(chosen)
    for name in chosen:
        print(f"{name}\n{experiments.table(name)}\n")
