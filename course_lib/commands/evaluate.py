"""`evaluate`: prints measured results, or measures weights now."""

import sys

from course_lib import distributed, experiments, zoo
from course_lib.checkpoint import load_weights
from course_lib.commands.as_json import as_json
from course_lib.experiments import jobs, results
from course_lib.recipe import build, lookup, recipes


def run(args) -> int:
    if args.zoo and args.weights:
        raise ValueError("give --zoo or --weights, not both")
    if args.zoo or args.weights:
        measure(args)
        return 0
    # if nothing is measured, the table of any recipe raises an error with a hint
    measured = results.measured() or list(recipes())[:1]
    names = [args.name] if args.name else measured
    tables, faults = {}, []
    for name in names:
        try:
            tables[name] = experiments.table(name)
        # one file that is out of date does not hide the others
        except (ValueError, OSError) as error:
            faults.append(error)
    if args.json:
        print(as_json({name: results.read(name)["rows"] for name in tables}))
    else:
        for name, table in tables.items():
            print(f"{name}\n{table}\n")
    for error in faults:
        print(f"error: {error}", file=sys.stderr)
    return 1 if faults else 0


def measure(args):
    """Measures weights, and the random encoder of the same recipe."""
    if args.name is None:
        raise ValueError("--zoo and --weights need the recipe's name")
    recipe = lookup(args.name)
    method = zoo.load(args.name) if args.zoo else build(recipe, args.seed)
    if args.weights:
        load_weights(method, args.weights)
    device = distributed.start()
    methods = {"random encoder": build(recipe, args.seed), "trained": method}
    rows = {
        title: jobs.all_measures(net.to(device), recipe)
        for title, net in methods.items()
    }
    about = {"data": recipe.data, "seed": args.seed, "device": jobs.device_name(device)}
    if args.json:
        print(as_json(rows | about))
        return
    for title, row in rows.items():
        values = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
        print(f"{title:16}{values}")
    print(f"held-out {about['data']}, seed {args.seed}, {about['device']}")
