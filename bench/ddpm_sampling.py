"""Sample with the reference's way and with ours, and compare images a second.

    python bench/ddpm_sampling.py [--rounds 3]

The reference draws 64 images by 1000 ancestral steps of the report's network (bench/reference_ddpm.py), in
bfloat16 where the machine has it; its weights do not change its speed, so they are random. Ours is
`genmnist.load("ddpm", "bundled").sample`. Same cores, one run; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import genmnist
import reference_ddpm
from genmnist import api
from genmnist.device import choose_device, describe_machine
from genmnist.presets import sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num", type=int, default=2000, help="images that ours draws a round")
    options = parser.parse_args()
    choose_device("cpu")
    print(f"{describe_machine()}; {api.versions()}")
    reference = reference_ddpm.ReferenceUNet().eval()
    ours = genmnist.load("ddpm", "bundled", device="cpu")
    rates: dict[str, list[float]] = {"reference": [], "genmnist": []}
    for _ in range(options.rounds):
        started = time.perf_counter()
        for _batch in reference_ddpm.sample(reference, 64, "ancestral", 1000, batch=64):
            pass
        rates["reference"].append(64 / (time.perf_counter() - started))
        started = time.perf_counter()
        ours.sample(options.num, 0, batch_size=64)
        rates["genmnist"].append(options.num / (time.perf_counter() - started))
        print("  ".join(f"{kind} {values[-1]:.3g} images/s" for kind, values in rates.items()), flush=True)
    slow, fast = (statistics.median(values) for values in rates.values())
    how = sampling()
    print(
        f"medians: 1000 ancestral steps {slow:.3g}, {how.steps} steps of {how.sampler} {fast:.3g} images/s: "
        f"{fast / slow:.0f} times"
    )


if __name__ == "__main__":
    main()
