"""What drawing costs beside the network: make bench, or

    python benchmarks/sampling.py [--batch 16] [--steps 50] [--rounds 7] [--out benchmarks/sampling.json]

In turns, in one run: the bare network's forward passes, one a step, and nothing else;
the library's samplers; diffusers' DDIM pipeline around the same network (its pictures
are not quite ours: what is compared is time). A round times each once; what is reported
is the median over rounds of each one's time divided by the bare network's of the same
round. Above 1.05 a sampler wastes time, above 1.15 it is a defect.
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
except ImportError:  # the course itself does not need it
    DDIMPipeline = None


def pipeline(net, shape, betas):
    """diffusers' pipeline, around the network as it is."""

    class Wrapped(ModelMixin, ConfigMixin):
        config_name = "config.json"

        def __init__(self):
            super().__init__()
            self.net = net
            self.register_to_config(in_channels=shape[1], sample_size=tuple(shape[2:]))

        def forward(self, x, t, return_dict=True):
            return type(
                "Output", (), {"sample": self.net(x, t.to(x.device).expand(len(x)))}
            )

    scheduler = DDIMScheduler(
        num_train_timesteps=len(betas),
        trained_betas=betas.numpy(),
        timestep_spacing="linspace",
    )
    pipe = DDIMPipeline(Wrapped().eval(), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ratios(name, shape, steps, rounds, device) -> dict[str, float]:
    """Seconds of the bare network, and each sampler's time as a multiple of them."""
    method = build(lookup(name), seed=0).eval().to(device)
    x = torch.randn(shape, device=device)

    @torch.no_grad()
    def bare():
        for t in step_numbers(len(method.schedule), steps):
            method.average(x, torch.full((len(x),), t, device=device))

    runs = {
        "bare network": bare,
        "ddim": lambda: last(
            ddim(method.eps, x, method.schedule, steps, clip_denoised=1.0)
        ),
        "ancestral": lambda: last(
            ancestral(method.eps, x, method.schedule, steps, clip_denoised=1.0)
        ),
    }
    if DDIMPipeline:
        pipe = pipeline(method.average, shape, method.schedule.beta.cpu())
        runs["diffusers"] = lambda: pipe(
            len(x), num_inference_steps=steps, output_type="np"
        )
    seconds = {title: [] for title in runs}
    for _ in range(rounds + 1):  # the first is thrown away
        for title, run in runs.items():
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[title].append(time.perf_counter() - began)
    alone = seconds.pop("bare network")[1:]
    found = {"seconds, bare network": round(median(alone), 3)}
    return found | {
        title: round(median(a / b for a, b in zip(s[1:], alone)), 3)
        for title, s in seconds.items()
    }


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
    for name, shape in (
        ("ddpm", (args.batch, 1, 28, 28)),
        ("ddpm-emoji", (args.batch, 3, 32, 32)),
    ):
        found[name] = ratios(name, shape, args.steps, args.rounds, device)
        print(name, found[name], flush=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
