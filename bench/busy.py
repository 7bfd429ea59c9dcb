"""Measure what a busy neighbour costs: the default number of threads against one, alone and beside a program.

    python bench/busy.py [--rounds 2] [--steps 1500] [--budget 15]

The neighbour is a process that keeps a core busy, started here and ended with it. Commands take turns, each
in a process of its own, and the faster of the rounds counts. A ratio above 1 says that `--threads 1` is
faster. Of `train` and `sample` the seconds of the whole command count; of a budget, the steps that fit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from genmnist import api
from genmnist.device import describe_machine

_BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"
_LIMIT = 600.0  # seconds, after which the neighbour and every command end by themselves


@dataclass(frozen=True)
class Case:
    """A command, and what is compared of it.

    Args:
        words: of the command, after `genmnist`.
        budget: in seconds, if steps are to be compared and not seconds.
    """

    words: tuple[str, ...]
    budget: float | None = None

    def cost(self, *options: str) -> tuple[float, float]:
        """Return what the command costs, the less the better, and the seconds it takes."""
        command = [sys.executable, "-m", "genmnist", *self.words, "--json", *options]
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_LIMIT, check=True)
        seconds = time.perf_counter() - started
        return (seconds if self.budget is None else 1 / json.loads(done.stdout)["steps"]), seconds


def cases(steps: int, budget: float) -> dict[str, Case]:
    """Return what is measured, by name."""
    kept = ("--sample-every", "0", "--device", "cpu")
    return {
        f"train vae, {steps:,} steps": Case(("train", "vae", "--steps", str(steps), *kept)),
        "sample ddpm": Case(("sample", "ddpm", "--model", "bundled", "--device", "cpu")),
        f"train ddpm --budget {budget:g}s": Case(
            ("train", "ddpm", "--size", "tiny", "--budget", f"{budget:g}s", *kept), budget
        ),
    }


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Keep a core busy, ten minutes at most."""
    busy = subprocess.Popen([sys.executable, "-c", _BUSY, str(_LIMIT)])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def compare(case: Case, rounds: int) -> tuple[float, float, float]:
    """Return the least cost by default, that with one thread, and the longest a command took by default."""
    defaults, ones = [], []
    for _ in range(rounds):
        defaults.append(case.cost())
        ones.append(case.cost("--threads", "1"))
    return min(cost for cost, _ in defaults), min(cost for cost, _ in ones), max(s for _, s in defaults)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--budget", type=float, default=15)
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    print(f"{'':38}   default  1 thread   ratio  longest")
    for where, beside in (("alone", contextlib.nullcontext()), ("beside a busy process", neighbour())):
        with beside:
            print(where, flush=True)
            for name, case in cases(options.steps, options.budget).items():
                default, one, longest = compare(case, options.rounds)
                shown = [
                    f"{1 / cost:,.0f} st." if case.budget else f"{cost:.1f} s" for cost in (default, one)
                ]
                print(
                    f"  {name:36} {shown[0]:>9} {shown[1]:>9}   {default / one:5.2f}  {longest:5.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
