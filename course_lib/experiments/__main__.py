"""Runs the missing jobs (setting, seed) of experiments and prints their tables.

    python -m course_lib.experiments [NAME ...]

NAME is an experiment, or the beginning of the names of several. Without names all
experiments of the course are run, as by `make results`. NAME may also be module:NAME, a
recipe or an experiment of your own; its results are then in results/module.NAME.json in
the current folder. A run may be interrupted: the next one resumes it.
"""

import sys

from course_lib import experiments
from course_lib.experiments import results
from course_lib.names import is_own, unknown


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    known = experiments.catalogue()
    chosen = {}
    try:
        for word in arguments or [""]:
            names = [word]
            if word not in known and not is_own(word):
                names = [name for name in known if name.startswith(word)]
            if not names:
                more = ", the beginning of one, or module:NAME"
                raise unknown("NAME", word, known, more)
            chosen |= {name: results.find(name) for name in names}
        results.run(chosen)
        for name in chosen:
            print(f"{name}\n{experiments.table(name)}\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
