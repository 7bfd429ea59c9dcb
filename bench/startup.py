"""Measure how soon genmnist answers: help, usage errors, and one image from a cold start.

python bench/startup.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from genmnist import api
from genmnist.device import describe_machine

COMMANDS = {
    "genmnist --help": ("--help",),
    "genmnist train vae --help": ("train", "vae", "--help"),
    "genmnist train vae --device tpu": ("train", "vae", "--device", "tpu"),
    "genmnist sample vae --num 0": ("sample", "vae", "--num", "0"),
    "genmnist sample vae --model absent": ("sample", "vae", "--model", "absent"),
    "genmnist sample vae --num 1": ("sample", "vae", "--num", "1", "--model", "bundled"),
    "genmnist sample cfg --label 7 --guidance 3 --num 1": (
        "sample", "cfg", "--label", "7", "--guidance", "3", "--num", "1", "--model", "bundled",
    ),
}  # fmt: skip


def measure(words: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Return the seconds of CPU and of wall time that a command takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "genmnist", *words], cwd=folder, capture_output=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{describe_machine()}; {api.versions()}")
    print(
        f"medians of {rounds} rounds: CPU seconds, wall seconds, CPU as a share of `python -c 'import torch'`"
    )
    with tempfile.TemporaryDirectory() as folder:
        code = [sys.executable, "-c", "import torch"]
        base = statistics.median(_cpu(code) for _ in range(rounds))
        print(f"  {'import torch':36} {base:5.2f}")
        for name, words in COMMANDS.items():
            cpu, wall = (
                statistics.median(c)
                for c in zip(*(measure(words, folder) for _ in range(rounds)), strict=True)
            )
            print(f"  {name:36} {cpu:5.2f} {wall:5.2f} {cpu / base:5.2f}")


def _cpu(code: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(code, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
