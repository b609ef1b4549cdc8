"""Measures the time of a SimCLR training step, here and in lightly (`make bench`).

    python benchmarks/ssl_step.py [--rounds 30] [--seconds 120]

Table 1 has the medians over interleaved steps of
(a) the network alone: encoder and head, forward and backward, on 2 x batch ready
    images;
(b) a step of `fit`: data, two views, loss, backward, update;
(c) lightly's transform in a DataLoader, its NT-Xent, and the same network.
All use bfloat16 if the GPU supports it. A machine's speed drifts. Therefore the steps
are interleaved, and the share of the speed of the network alone says more than the
milliseconds. lightly with worker processes is timed last, its steps in a row: otherwise
its workers would run in the background while the others are timed. Table 2 has the k-NN
accuracy on held-out scenes after both have trained for the same number of seconds.
Writes benchmarks/ssl_step.json.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import torch
from lightly.loss import NTXentLoss
from lightly.transforms import SimCLRTransform
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_pil_image

from course_lib import evaluate
from course_lib.data import load
from course_lib.experiments.jobs import device_name
from course_lib.recipe import build, lookup
from course_lib.run import computes_in_bf16
from course_lib.train import fit

BATCH = 256


class Pictures(torch.utils.data.Dataset):
    """The scenes in lightly's form: each item is a list of two augmented tensors, made
    from a PIL image."""

    def __init__(self, x):
        self.x = x
        # the same views as the recipe's
        self.transform = SimCLRTransform(
            32, cj_strength=0.2, min_scale=0.2, gaussian_blur=0.0, normalize=None
        )

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.transform(to_pil_image(self.x[row]))


def autocast(device):
    """Returns the autocast context that `fit` uses, too."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device))


def bare_steps(method, device):
    views = torch.rand(2 * BATCH, 3, 32, 32, device=device)
    views = views.contiguous(memory_format=torch.channels_last)
    while True:
        with autocast(device):
            loss = method.projector(method.encoder(views)).square().mean()
        loss.backward()
        method.zero_grad(set_to_none=True)
        yield


def lightly_steps(method, x, optimizer, device, workers):
    loader = DataLoader(
        Pictures(x),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    loss, optimizer = NTXentLoss(method.temperature), optimizer(method.parameters())
    while True:
        for views in loader:
            views = torch.cat(views).to(device)
            views = views.contiguous(memory_format=torch.channels_last)
            with autocast(device):
                z1, z2 = method.projector(method.encoder(views)).chunk(2)
            loss(z1.float(), z2.float()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield


def seconds_of(step, device):
    began = time.perf_counter()
    next(step)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def knn(method, data, test):
    h, h_test = evaluate.features(method, data.x), evaluate.features(method, test.x)
    return evaluate.accuracy(evaluate.knn(h, data.y, h_test), test.y)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument(
        "--workers", type=int, default=2, help="of lightly's DataLoader"
    )
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = lookup("simclr")
    data, test = load("scenes", "train"), load("scenes", "test")
    optimizer = recipe.optimizer(recipe.cpu.lr, recipe.weight_decay)

    def fresh():
        return build(recipe, 0).to(device, memory_format=torch.channels_last)

    def ours(method):
        return fit(
            method,
            data,
            10**6,
            batch_size=BATCH,
            optimizers=optimizer,
            schedule=lambda p: 1.0,
            device=device,
        )

    steps = {
        "bare network": bare_steps(fresh(), device),
        "course_lib": ours(fresh()),
        "lightly, no workers": lightly_steps(fresh(), data.x, optimizer, device, 0),
    }
    times = {name: [] for name in steps}
    for turn in range(args.rounds + 3):
        for name, step in steps.items():
            spent = seconds_of(step, device)
            if turn >= 3:  # The first three steps are a warm-up.
                times[name].append(spent)
    with_workers = lightly_steps(fresh(), data.x, optimizer, device, args.workers)
    times[f"lightly, {args.workers} workers"] = [
        seconds_of(with_workers, device) for _ in range(args.rounds + 3)
    ][3:]
    with_workers.close()  # This also ends its workers.
    median = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "device": device_name(device),
        "batch": BATCH,
        "rounds": args.rounds,
        "steps": {},
    }
    print(
        f"{result['device']}, batch {BATCH}: medians of {args.rounds} steps, "
        "interleaved except for the last row\n"
        f"{'':22}{'ms':>8}{'min':>8}{'max':>8}{'images/s':>10}{'of bare':>9}"
    )
    for name, values in times.items():
        share = statistics.median(b / a for a, b in zip(values, times["bare network"]))
        speed = BATCH / median[name]
        result["steps"][name] = {
            "ms": 1e3 * median[name],
            "images_per_second": speed,
            "share_of_bare": share,
        }
        times_ms = [1e3 * t for t in (median[name], min(values), max(values))]
        cells = "".join(f"{t:8.0f}" for t in times_ms)
        print(f"{name:22}{cells}{speed:10.0f}{share:9.0%}")
    print(
        f"\nheld-out scenes, category k-NN after {args.seconds:.0f} seconds of "
        "training, seed 0"
    )
    result["seconds"] = args.seconds
    result["knn"] = {"random encoder": {"knn": knn(fresh(), data, test)}}

    def lightlys(method):
        return lightly_steps(method, data.x, optimizer, device, args.workers)

    for name, start in {"course_lib": ours, "lightly": lightlys}.items():
        method, count = fresh(), 0
        began, step = time.perf_counter(), start(method)
        while time.perf_counter() - began < args.seconds:
            next(step)
            count += 1
        step.close()
        result["knn"][name] = {"steps": count, "knn": knn(method.eval(), data, test)}
    for name, row in result["knn"].items():
        after = f"  after {row['steps']} steps" if "steps" in row else ""
        print(f"{name:22}{row['knn']:.3f}{after}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
