"""make zoo: trains the weights that ship with the course further, from where they are,
and measures them.

    python tools/train_zoo.py [NAME ...] [--steps N] [--start OTHER]

N more updates of the recipe on this machine, resumable; what ships is the moving
average of the weights over the run. The first run may start from another method's
weights: what the recipe has beside these begins as its seed makes it.
"""

import argparse

import torch

from course_lib import zoo
from course_lib.experiments import jobs
from course_lib.recipe import build, lookup
from course_lib.teacher import Frozen, ema, frozen_copy
from course_lib.train import Method

# the average covers about the last sixth of the run: of the first weights e^-6 is left
LATE = 6


class Averaged(Method):
    """A method with the moving average of its weights, which so becomes part of the
    checkpoint."""

    def __init__(self, method: Method, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.method, self.average = method, frozen_copy(method, training=False)
        # one list: what the method's loss leaves there is cleared by fit
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
        help="of the zoo: a first run takes over all its weights",
    )
    args = parser.parse_args()
    for name in args.names:
        recipe, before = lookup(name), zoo.manifest().get(name, {})
        if before.get("recipe") != recipe.hash():
            before = {}  # weights of another recipe: start afresh
        method = Averaged(
            zoo.load(name) if before else build(recipe, seed=0),
            momentum=1 - LATE / args.steps,
        )
        if args.start and not before:
            missing = method.method.load_state_dict(
                zoo.load(args.start).state_dict(), strict=False
            )
            if missing.unexpected_keys:
                raise ValueError(
                    f"argument `start`: {name} has no place for "
                    f"{', '.join(missing.unexpected_keys)}"
                )
            ema(method.average, method.method, 0.0)
            before = {"start": args.start}
        # another order and other views than in the runs before
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
        about = {
            **({"start": before["start"]} if "start" in before else {}),
            "seed": seed,
            "steps": before.get("steps", 0) + args.steps,
            "seconds": round(before.get("seconds", 0) + run["seconds"]),
            "device": jobs.device_name(torch.device("cpu")),
        }
        shipped = method.average.net
        if isinstance(getattr(shipped, "average", None), Frozen) and hasattr(
            shipped, "net"
        ):
            # the same weights twice are shipped once
            ema(shipped.average, shipped.net, 0.0)
        state = zoo.halved(shipped.state_dict())
        shipped.load_state_dict(state)  # what is shipped is measured
        measured = {
            k: round(v, 4) for k, v in jobs.all_measures(shipped, recipe).items()
        }
        zoo.save(name, shipped, about | measured)
        print(name, about | measured)


if __name__ == "__main__":
    main()
