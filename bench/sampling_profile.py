"""Say what bounds sampling: where its time goes, at which share of the machine's matrix rate, and what helps.

    python bench/sampling_profile.py [--num 512] [--rounds 3] [--compile]

The bundled ddpm on a CPU, by its default sampler. First one batch under torch's profiler: the share of each
kind of operation, and the operations of convolutions and products a second beside those of large matrix
products. Then images a second by size of batch; with images that lie channels first; with `--compile` through
torch.compile, whose compiling is told apart; and by the command, start-up included, one process with two
threads against two with one each, by torchrun.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock

import torch

import genmnist
import profiled
from genmnist import api
from genmnist.device import describe_machine
from genmnist.models import Diffusion

_BATCH = 64
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def pace(model: Diffusion, num: int, batch_size: int, rounds: int) -> float:
    """Return images a second, the median of some rounds."""
    model.sample(batch_size, 0, batch_size)
    taken = []
    for seed in range(rounds):
        started = time.perf_counter()
        model.sample(num, seed, batch_size)
        taken.append(time.perf_counter() - started)
    return num / statistics.median(taken)


def seconds_of(command: tuple[str, ...], num: int, threads: int) -> float:
    """Return the seconds that `genmnist sample ddpm` says it took."""
    words = (*command, "-m", "genmnist", "sample", "ddpm", "--model", "bundled", "--threads", str(threads))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *words, "-n", str(num), "--out", "samples.npz", "--json"],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return float(json.loads(done.stdout)["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="which needs a C++ compiler")
    options = parser.parse_args()
    model: Any = genmnist.load("ddpm", "bundled", device="cpu")
    print(f"{describe_machine()}, {model.precision}; {api.versions()}")

    profiled.tell(lambda: model.sample(_BATCH, 0, _BATCH), _BATCH, model.precision)

    base = pace(model, options.num, _BATCH, options.rounds)
    for batch in (1, 8, 32, _BATCH, 256):
        found = base if batch == _BATCH else pace(model, max(options.num // 4, batch), batch, options.rounds)
        print(f"batches of {batch:3}: {found:7.1f} images/s, ratio {found / base:.2f}", flush=True)

    model.network.to(memory_format=torch.contiguous_format)
    with mock.patch("torch.channels_last", torch.contiguous_format):
        found = pace(model, options.num, _BATCH, options.rounds)
    print(f"channels first: {found:7.1f} images/s, ratio {found / base:.2f}", flush=True)
    model.network.to(memory_format=torch.channels_last)

    if options.compile:
        model.network.compile()
        started = time.perf_counter()
        model.sample(_BATCH, 0, _BATCH)
        compiling = time.perf_counter() - started
        found = pace(model, options.num, _BATCH, options.rounds)
        print(
            f"torch.compile: {found:7.1f} images/s, ratio {found / base:.2f}, after {compiling:.0f} s of "
            "compiling",
            flush=True,
        )

    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, command, threads in (("1 process of 2 threads", (), 2), ("2 of 1 thread", _TORCHRUN, 1)):
            times.setdefault(name, []).append(seconds_of(command, 4 * options.num, threads))
    alone, shared = map(statistics.median, times.values())
    print(
        f"{4 * options.num:,} images by {' and '.join(times)}: {alone:.1f} and {shared:.1f} s, ratio "
        f"{alone / shared:.2f}"
    )


if __name__ == "__main__":
    main()
