"""Measures the time of diffusion samplers relative to their network (`make bench`).

    python benchmarks/sampling.py [--batch 16] [--steps 50] [--rounds 7] [--out FILE]

Times three kinds of run: the forward passes of the network alone, one per step; the
library's samplers; and diffusers' DDIM pipeline with the same network. (Its pictures
differ slightly from ours; only the time is compared.) A round times each run once.
Each time is divided by the network's time in the same round. The result is the median
of these ratios over all rounds. A ratio above 1.05 means that a sampler wastes time; a
ratio above 1.15 is a defect. Writes benchmarks/sampling.json by default.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from course_lib.diffusion.samplers import ancestral, ddim, last, step_numbers
from course_lib.experiments.jobs import device_name
from course_lib.recipe import build, lookup

try:
    from diffusers import DDIMPipeline, DDIMScheduler, ModelMixin
    from diffusers.configuration_utils import ConfigMixin
except ImportError:  # The course itself does not need diffusers.
    DDIMPipeline = None


def pipeline(net, shape, betas):
    """Returns diffusers' DDIM pipeline with this network, unchanged."""

    class Wrapped(ModelMixin, ConfigMixin):
        config_name = "config.json"

        def __init__(self):
            super().__init__()
            self.net = net
            self.register_to_config(in_channels=shape[1], sample_size=tuple(shape[2:]))

        def forward(self, x, t, return_dict=True):
            sample = self.net(x, t.to(x.device).expand(len(x)))
            return type("Output", (), {"sample": sample})

    scheduler = DDIMScheduler(
        num_train_timesteps=len(betas),
        trained_betas=betas.numpy(),
        timestep_spacing="linspace",
    )
    pipe = DDIMPipeline(Wrapped().eval(), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ratios(name, shape, steps, rounds, device) -> dict[str, float]:
    """Returns the network's own seconds, and each sampler's time divided by them."""
    method = build(lookup(name), seed=0).eval().to(device)
    x = torch.randn(shape, device=device)

    @torch.no_grad()
    def bare():
        for t in step_numbers(len(method.schedule), steps):
            method.average(x, torch.full((len(x),), t, device=device))

    def with_sampler(sampler):
        last(sampler(method.eps, x, method.schedule, steps, clip_denoised=1.0))

    runs = {
        "bare network": bare,
        "ddim": lambda: with_sampler(ddim),
        "ancestral": lambda: with_sampler(ancestral),
    }
    if DDIMPipeline:
        pipe = pipeline(method.average, shape, method.schedule.beta.cpu())
        runs["diffusers"] = lambda: pipe(
            len(x), num_inference_steps=steps, output_type="np"
        )
    seconds = {title: [] for title in runs}
    for _ in range(rounds + 1):  # The first round is a warm-up.
        for title, run in runs.items():
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[title].append(time.perf_counter() - began)
    alone = seconds.pop("bare network")[1:]
    found = {"seconds, bare network": round(median(alone), 3)}
    for title, times in seconds.items():
        found[title] = round(median(a / b for a, b in zip(times[1:], alone)), 3)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {
        "device": device_name(device),
        "batch": args.batch,
        "steps": args.steps,
        "rounds": args.rounds,
    }
    for name, image in {"ddpm": (1, 28, 28), "ddpm-emoji": (3, 32, 32)}.items():
        shape = (args.batch, *image)
        found[name] = ratios(name, shape, args.steps, args.rounds, device)
        print(name, found[name], flush=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
