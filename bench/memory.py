"""Watch how much memory long jobs take: 10,000 steps of training, 100,000 samples and more.

    python bench/memory.py [--steps 10000] [--num 100000]

Each job is a command in a process of its own, whose resident memory is read ten times a second (Linux). What
counts is whether it grows: the medians over the second, the sixth and the last tenth of the job's time, and
the peak.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from genmnist import api
from genmnist.device import describe_machine

_EVERY = 0.1  # seconds
_TENTHS = (2, 6, 10)


def watch(command: Sequence[str], folder: Path) -> tuple[list[float], float]:
    """Run a command of genmnist; return its resident memory over time, and its peak, in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "genmnist", *command, "--quiet"], cwd=folder, stdout=subprocess.DEVNULL
    )
    status, found, peak = Path(f"/proc/{process.pid}/status"), list[float](), 0.0
    while process.poll() is None:
        told = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+) kB$", status.read_text("utf-8"), re.MULTILINE))
        if told:  # not of a process that has just ended
            found.append(int(told["VmRSS"]) / 1024)
            peak = int(told["VmHWM"]) / 1024
        time.sleep(_EVERY)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    return found, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--num", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    long = ("--steps", str(options.steps), "--save-every", "5s")
    many = ("--num", str(options.num))
    guide = ("sample", "ddpm", "--model", "bundled:guide", "--steps", "4", *many)
    jobs = (
        ("train", "vae", *long, "--out", "vae"),
        ("train", "ddpm", "--size", "tiny", "--batch-size", "16", *long, "--out", "ddpm"),
        # Ten times as many, or most of the time would be that of the start.
        ("sample", "vae", "--model", "bundled", "--num", str(10 * options.num), "--out", "vae.npz"),
        (*guide, "--out", "ddpm.npz"),
        (*guide, "--out", "digits"),
    )
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs:
            started = time.perf_counter()
            found, peak = watch(job, Path(folder))
            tenth = max(len(found) // 10, 1)
            medians = [statistics.median(found[(k - 1) * tenth : k * tenth]) for k in _TENTHS]
            over = ", ".join(f"{median:.0f}" for median in medians)
            print(f"{' '.join(job)}: {time.perf_counter() - started:.0f} s", flush=True)
            print(
                f"  {over} MiB in the 2nd, 6th and 10th tenth, {medians[-1] - medians[0]:+.0f}; "
                f"peak {peak:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
