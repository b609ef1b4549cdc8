"""`make zoo`: continues the training of the weights that ship with the course, and
measures them.

    python tools/train_zoo.py [NAME ...] [--steps N] [--start OTHER]

Makes N more updates of each recipe on this machine. An interrupted run can be resumed.
The shipped weights are the exponential moving average of the weights over the run. A
first run may start from the weights of another method (`--start`). Weights that the
other method does not have are then initialised from the seed.
"""

import argparse

import torch

from course_lib import zoo
from course_lib.experiments import jobs
from course_lib.recipe import build, lookup
from course_lib.teacher import Frozen, ema, frozen_copy
from course_lib.train import Method

# A run lasts this many time constants of the moving average. So the average covers
# about the last sixth of the run, and the first weights keep the share e^-6.
TIME_CONSTANTS = 6


class Averaged(Method):
    """A method together with the moving average of its weights.

    So the average is part of the checkpoint.
    """

    def __init__(self, method: Method, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.method, self.average = method, frozen_copy(method, training=False)
        # The same list object: the method's loss fills it, and fit clears it.
        self.step_outputs = method.step_outputs

    def turns(self):
        return self.method.turns()

    def before_epoch(self, data):
        self.method.before_epoch(data)

    def after_step(self):
        self.method.after_step()
        ema(self.average, self.method, self.momentum)

    @property
    def progress(self):
        return self.method.progress

    @progress.setter
    def progress(self, value):
        self.method.progress = value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["simclr"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="faster on processors that compute in bfloat16",
    )
    parser.add_argument(
        "--start",
        metavar="OTHER",
        help="name in the zoo: a first run takes over all weights of OTHER",
    )
    args = parser.parse_args()
    for name in args.names:
        recipe, before = lookup(name), zoo.manifest().get(name, {})
        if before.get("recipe") != recipe.hash():
            before = {}  # The weights are of another recipe: start with new ones.
        method = Averaged(
            zoo.load(name) if before else build(recipe, seed=0),
            momentum=1 - TIME_CONSTANTS / args.steps,
        )
        if args.start and not before:
            state = zoo.load(args.start).state_dict()
            keys = method.method.load_state_dict(state, strict=False)
            if keys.unexpected_keys:
                raise ValueError(
                    f"argument `start`: {name} has no place for "
                    f"{', '.join(keys.unexpected_keys)}"
                )
            ema(method.average, method.method, 0.0)
            before = {"start": args.start}
        # Each run has its own seed, so its order of data and its views are new.
        seed = before.get("steps", 0)
        part = f"{seed}-{args.start}" if args.start else seed
        checkpoint = jobs.RUNS / f"zoo-{name}-{recipe.hash()}-{part}.pt"
        _, run = jobs.train_to_the_end(
            recipe,
            seed,
            method=method,
            checkpoint=checkpoint,
            steps=args.steps,
            bf16=args.bf16,
        )
        about = {"start": before["start"]} if "start" in before else {}
        about |= {
            "seed": seed,
            "steps": before.get("steps", 0) + args.steps,
            "seconds": round(before.get("seconds", 0) + run["seconds"]),
            "device": jobs.device_name(torch.device("cpu")),
        }
        shipped = method.average.net
        has_average = isinstance(getattr(shipped, "average", None), Frozen)
        if has_average and hasattr(shipped, "net"):
            # Both become the same weights, which are then stored once.
            ema(shipped.average, shipped.net, 0.0)
        # Measure the weights as they are shipped: in half precision.
        shipped.load_state_dict(zoo.halved(shipped.state_dict()))
        measures = jobs.all_measures(shipped, recipe)
        measured = {name: round(value, 4) for name, value in measures.items()}
        zoo.save(name, shipped, about | measured)
        print(name, about | measured)


if __name__ == "__main__":
    main()
