"""How many threads of a CPU to compute with: as many as are fastest here and now.

The threads that share a step wait for each other dozens of times in it. On a quiet machine all cores are
fastest. Where another program keeps one of them busy, the thread that shares it is late each time and the
others wait: then a single thread may be ten times as fast. Which it is can only be found out by trying.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator

_ROUNDS = 3  # in which each number of threads has its turn
_WINDOW = 0.012  # seconds of work in a turn: several slices of time that a scheduler gives
_HOPELESS = 2.0  # times as slow as the fastest: has no further turn
_CLEARLY = 1.15  # times as fast as the present number is what takes its place
_CROWDED = 0.7  # of a core is what one thread gets at most where there is no room for two
_SHARE = 100.0  # a look takes a hundredth of the time,
_LEAST, _MOST = 5.0, 30.0  # and is repeated after so many seconds, even where it must take longer

# How often a thread that waits looks again before it sleeps: what GNU's OpenMP takes by itself where it knows
# that cores are scarce. Where it does not, it looks 300,000 times, and uses up the time of whom it waits for.
_SPINS = "1000"

Work = Callable[[], object]


def wait_briefly() -> None:
    """Let threads that wait for others sleep soon. Needs no torch, and must come before it is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


class Balance:
    """The number of threads that torch computes with, kept at the fastest by a look now and then.

    A look computes something of its own, so that results depend on the number taken and on nothing else of
    it; where nothing disturbs the machine that number never changes.

    Args:
        most: threads; half of them, one less, and one alone are tried beside.
        work: what is timed; None is a small piece of a convolutional network.
    """

    def __init__(self, most: int, work: Work | None = None) -> None:
        self.numbers = sorted({1, most // 2 or 1, most - 1 or 1, most})
        self._work = work or _piece()
        self._next = 0.0

    def look(self) -> None:
        """Time the work with each number of threads, and take another than the present one if it pays."""
        import torch

        present, begun = torch.get_num_threads(), time.perf_counter()
        seconds: dict[int, list[float]] = {number: [] for number in self.numbers}
        passed = computed = 0.0  # of one thread
        try:
            with torch.inference_mode():
                for _ in range(_ROUNDS):
                    for number, taken in seconds.items():
                        best = min((min(other) for other in seconds.values() if other), default=0.0)
                        if not taken or min(taken) <= _HOPELESS * best:
                            torch.set_num_threads(number)
                            clock, processor = time.perf_counter(), time.thread_time()
                            taken.append(self._turn())
                            if number == 1:
                                passed += time.perf_counter() - clock
                                computed += time.thread_time() - processor
                    if computed < _CROWDED * passed:  # then times are mostly chance
                        seconds = {1: seconds[1]}
        finally:
            torch.set_num_threads(present)
        medians = {number: statistics.median(taken) for number, taken in seconds.items()}
        fastest = min(medians, key=medians.__getitem__)
        if medians[fastest] * _CLEARLY < medians.get(present, math.inf):
            torch.set_num_threads(fastest)
        ended = time.perf_counter()
        self._next = ended + min(max(_LEAST, _SHARE * (ended - begun)), _MOST)

    def look_if_due(self) -> None:
        """Look again, unless the last look was just now."""
        if time.perf_counter() >= self._next:
            self.look()

    def _turn(self) -> float:
        """Return the seconds that the work takes once."""
        begun, times = time.perf_counter(), 0
        while (passed := time.perf_counter() - begun) < _WINDOW or not times:
            self._work()
            times += 1
        return passed / times


_balance: Balance | None = None  # the one at work in this process


def can_choose() -> bool:
    """Tell whether there is more than one number of threads to choose from."""
    import torch

    return torch.get_num_threads() > 1


@contextlib.contextmanager
def taking(number: int | None = None) -> Iterator[None]:
    """Compute with so many threads, and give back those there were.

    Args:
        number: of threads; None is always the fastest number, up to as many as torch has now.
    """
    import torch

    global _balance
    threads_before, balance_before = torch.get_num_threads(), _balance
    try:
        if number is not None:
            _balance = None
            torch.set_num_threads(number)
        elif can_choose():
            _balance = Balance(threads_before)
            _balance.look()
        yield
    finally:
        _balance = balance_before
        torch.set_num_threads(threads_before)


def keep_balance() -> None:
    """Look whether another number of threads is faster by now; called wherever a network is about to run."""
    if _balance is not None:
        _balance.look_if_due()


def _piece() -> Work:
    """Return a piece of work like a step of a small network: two milliseconds, threads that meet often."""
    import torch
    from torch.nn import functional

    images, kernel = torch.full((8, 16, 28, 28), 0.1), torch.full((16, 16, 3, 3), 0.01)
    codes, weights = torch.full((128, 784), 0.1), torch.full((784, 256), 0.01)

    def work() -> None:
        hidden = functional.conv2d(images, kernel, padding=1)
        hidden = functional.silu(functional.group_norm(hidden, 4))
        functional.conv2d(hidden, kernel, padding=1)
        (codes @ weights).relu_().sum()

    return work
