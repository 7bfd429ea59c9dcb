"""Compare two processes of one thread each with one of two threads: images a second, and equal losses.

    python bench/parallel.py [--steps 300] [--rounds 3] [--size tiny]

`train ddpm` on a CPU, by torchrun and gloo against alone. Images a second are those of the last line of
metrics, when the first steps are over; commands take turns, and the medians of the rounds count. Losses are
compared over all lines.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from genmnist import api
from genmnist.device import describe_machine
from genmnist.runs.documents import EpochMetrics
from genmnist.runs.folder import Run

_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def measure(ranks: int, threads: int, steps: int, *more: str) -> list[EpochMetrics]:
    """Return the metrics of a training by so many processes, with so many threads each."""
    job = (*_TORCHRUN, str(ranks)) if ranks > 1 else ()
    command = (
        sys.executable,
        *job,
        "-m",
        "genmnist",
        "train",
        "ddpm",
        "--device",
        "cpu",
        "--sample-every",
        "0",
    )
    lengths = ("--steps", str(steps), "--threads", str(threads), "--save-every", "1h", "--out", "run")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*command, *lengths, *more],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            check=True,
        )
        return Run(Path(folder) / "run").metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", help="of the network; the default is that of train ddpm")
    options = parser.parse_args()
    more = ("--size", options.size) if options.size else ()
    print(f"{describe_machine()}; {api.versions()}")
    ways = {"1 process of 2 threads": (1, 2), "2 processes of 1 thread": (2, 1)}
    paces, lines = {name: list[float]() for name in ways}, {}
    for number in range(1, options.rounds + 1):
        for name, (ranks, threads) in ways.items():
            lines[name] = measure(ranks, threads, options.steps, *more)
            pace = lines[name][-1].images_per_second
            paces[name].append(pace)
            print(f"round {number}, {name:24} {pace:8.1f} images/s", flush=True)
    one, two = lines.values()
    apart = max(abs(b.train_loss / a.train_loss - 1) for a, b in zip(one, two, strict=True))
    alone, shared = map(statistics.median, paces.values())
    print(f"ratio {shared / alone:.2f}; training losses of {len(one)} lines differ by {apart:.1e} at most")


if __name__ == "__main__":
    main()
