"""Where the time of a piece of work goes, and at which share of the machine's matrix rate it computes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from genmnist.device import gigaflops

_SHOWN = 8  # kinds of operation


def tell(work: Callable[[], object], images: int, precision: str) -> None:
    """Print the share of each kind of operation, and those of convolutions and products a second.

    Beside these stand those of large matrix products of the same precision on the same CPU.
    """
    work()
    with FlopCounterMode(display=False) as counted:
        work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    kinds = sorted(profiled.key_averages(), key=lambda kind: -kind.self_cpu_time_total)
    whole = sum(kind.self_cpu_time_total for kind in kinds)
    for kind in kinds[:_SHOWN]:
        print(f"  {kind.key:40} {kind.self_cpu_time_total / whole:6.1%}   {kind.count:6} calls")
    started = time.perf_counter()
    work()
    reached = counted.get_total_flops() / (time.perf_counter() - started) / 1e9
    rate = gigaflops(torch.device("cpu"), getattr(torch, precision))
    print(
        f"{counted.get_total_flops() / images / 1e9:.2f} billion operations an image; {reached:.0f} billion "
        f"a second, {reached / rate:.0%} of the {rate:.0f} of large matrix products"
    )
