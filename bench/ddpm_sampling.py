"""Sample with the reference's way and with ours, and compare images a second.

    python bench/ddpm_sampling.py [--rounds 3] [--steps 4,6,8,16]

The reference draws 64 images by 1000 ancestral steps of the report's network (bench/reference_ddpm.py), in
bfloat16 where the processor has it; its weights do not change its speed, so they are random here, and
bench/ddpm_quality.py measures how far the samples of trained ones are. Ours is the bundled model with the
default solver and so many steps; beside each speed stands the distance of its samples. Same cores, one run,
in turns; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import genmnist
import reference_ddpm
from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", default="4,6,8,16")
    parser.add_argument("--num", type=int, default=2000, help="images that ours draws each time")
    parser.add_argument("--reference-steps", type=int, default=1000, help="fewer only to try this program")
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    reference = reference_ddpm.ReferenceUNet().eval()
    ours = genmnist.load("ddpm", "bundled", device="cpu")
    theirs_name = f"{options.reference_steps} ancestral steps of the reference"
    rates: dict[str, list[float]] = {theirs_name: []}
    drawn: dict[str, torch.Tensor] = {}
    for _ in range(options.rounds):
        started = time.perf_counter()
        for _batch in reference_ddpm.sample(reference, 64, "ancestral", options.reference_steps, batch=64):
            pass
        rates[theirs_name].append(64 / (time.perf_counter() - started))
        for steps in map(int, options.steps.split(",")):
            name = f"{steps} steps of genmnist"
            started = time.perf_counter()
            drawn[name] = ours.sample(options.num, 0, batch_size=64, steps=steps)
            rates.setdefault(name, []).append(options.num / (time.perf_counter() - started))
    features = distances.bundled_features(choose_device("cpu"))
    theirs = features.features(load("mnist").test.images)
    base = statistics.median(rates[theirs_name])
    for name, values in rates.items():
        rate = statistics.median(values)
        distance = (
            f"   distance {distances.frechet(features.features(drawn[name]), theirs):.3f}"
            if name in drawn
            else ""
        )
        print(f"  {name:38} {rate:8.2f} images/s   {rate / base:5.0f} times{distance}", flush=True)


if __name__ == "__main__":
    main()
