"""Measure how well `train --budget` keeps its time: that of the whole process, start-up and figures included.

    python bench/budget.py [--runs 5] [--budget 60] [--families vae ddpm]

Every run is a process of its own, one after another, on the default options of its family.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time

from genmnist import api
from genmnist.device import describe_machine


def measure(family: str, budget: float, *options: str) -> tuple[float, int]:
    """Return the wall-clock seconds of a command with a budget of so many seconds, and the steps it took."""
    command = [sys.executable, "-m", "genmnist", "train", family, "--budget", f"{budget:g}s", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run([*command, *options], cwd=folder, stdout=subprocess.PIPE, check=True)
        seconds = time.perf_counter() - started
    return seconds, json.loads(done.stdout)["steps"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60, help="in seconds")
    parser.add_argument("--families", nargs="+", default=["vae", "ddpm"])
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    off: list[float] = []
    for family in options.families:
        for number in range(1, options.runs + 1):
            seconds, steps = measure(family, options.budget)
            off.append(seconds / options.budget - 1)
            print(
                f"{family:6} run {number}: {seconds:6.1f} s of {options.budget:g}, {off[-1]:+.1%}, "
                f"{steps:,} steps",
                flush=True,
            )
    print(f"worst deviation {max(off, key=abs):+.1%}, most over {max(off):+.1%}, of {len(off)} runs")


if __name__ == "__main__":
    main()
