"""Draw 640 guided images with the reference's way and with ours, and compare images a second.

    python bench/cfg_sampling.py [--rounds 3] [--reference-num 64]

The reference takes 1000 ancestral steps of the report's network (bench/reference_ddpm.py), two calls a step,
in bfloat16 where the processor has it; neither its weights, which are random here, nor the label, whose
embedding would be one addition, change its speed. Since 640 images would take it more than half an hour it
draws `--reference-num`, in one batch, and its rate is what is compared. Ours is what `genmnist sample cfg
--guidance 3` does with the bundled model: 640 images in batches of 64. Same cores, one run, in turns;
medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

from torch import Tensor

import genmnist
import reference_ddpm
from genmnist import api
from genmnist.device import choose_device, describe_machine

_NUM, _GUIDANCE = 640, 3.0


class Guided(reference_ddpm.ReferenceUNet):
    """The report's network as its guided sampler asks it: once with the label, once without."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (1 + w) epsilon(x, label) - w epsilon(x)."""
        given, free = super().forward(x, t), super().forward(x, t)
        return (1 + _GUIDANCE) * given - _GUIDANCE * free


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-num", type=int, default=64)
    parser.add_argument("--num", type=int, default=_NUM, help="images that ours draws each time")
    options = parser.parse_args()
    choose_device("cpu")
    print(f"{describe_machine()}; {api.versions()}")
    reference, ours = Guided().eval(), genmnist.load("cfg", "bundled", device="cpu")
    rates: dict[str, list[float]] = {"reference": [], "genmnist": []}
    for _ in range(options.rounds):
        started = time.perf_counter()
        num = options.reference_num
        for _batch in reference_ddpm.sample(reference, num, "ancestral", 1000, batch=num):
            pass
        rates["reference"].append(num / (time.perf_counter() - started))
        started = time.perf_counter()
        ours.sample(options.num, 0, batch_size=64, guidance=_GUIDANCE)
        rates["genmnist"].append(options.num / (time.perf_counter() - started))
    base = statistics.median(rates["reference"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(
            f"  {name:10} {rate:8.3f} images/s   {_NUM / rate:8.1f} s for {_NUM}   {rate / base:5.0f} times"
        )


if __name__ == "__main__":
    main()
