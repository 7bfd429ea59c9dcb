"""How a training step would fare on more processes, from what one and two of them measure here.

    python bench/scaling.py [--size medium] [--batch-size 128] [--steps 12] [--bandwidth GB/s] [--latency us]

A step of N processes on a batch of B images is taken to last

    t(N) = fixed + drawn B + computed B / N + 2 (N - 1) / N * bytes / bandwidth + 2 (N - 1) latency,

with nothing hidden behind anything: an upper bound where the network is quick. `fixed` (optimiser, average)
and `computed` (forward and backward pass, an image) come from the steps of one process of one thread with
batches of several sizes, `drawn` (noise and noise levels, which every process draws for the whole batch) from
drawing alone, `bytes` are the gradients in float32, `bandwidth` and `latency` come from all-reduces between
two processes, unless they are given. What is predicted for two processes is then measured.

It also tells what sharding weights would save (`torch.distributed.fsdp.fully_shard`): the bytes that a
process holds for its weights beside those that it keeps for the backward pass, and the step of two processes
with whole and with sharded weights, both by AdamW.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from genmnist import api, distributed
from genmnist.data import load
from genmnist.device import describe_machine
from genmnist.families.ddpm import DDPM
from genmnist.families.recipe import Recipe
from genmnist.models import Diffusion
from genmnist.shares import normal_like
from genmnist.training import StepEnd, Trainer

CPU = torch.device("cpu")
_BEFORE = 3  # steps that are not timed
_SIZES = (1024, 1 << 22)  # floats of the all-reduces that tell latency from bandwidth


@dataclass(frozen=True)
class Setting:
    """What is trained."""

    size: str
    batch_size: int
    steps: int


def model(setting: Setting) -> Diffusion:
    """Return the network of the preset `best`, of some size."""
    options: Any = DDPM.presets["best"].options
    return Diffusion(options.replace({"size": setting.size})).place(CPU, "float32")


def median(work: Callable[[], object], times: int) -> float:
    """Return the median of the seconds that something takes."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def step_time(setting: Setting, ranks: distributed.Ranks = distributed.ALONE) -> float:
    """Return the median of the seconds that a step of the training loop takes."""
    recipe: Recipe = DDPM.presets["best"].recipe.replace({"batch_size": setting.batch_size})
    trainer = Trainer(model(setting), load(), recipe, steps=_BEFORE + setting.steps + 1, ranks=ranks)
    taken, started = [], time.perf_counter()
    for event in trainer.train():
        if isinstance(event, StepEnd):
            taken.append(time.perf_counter() - started)
            started = time.perf_counter()
    return statistics.median(taken[_BEFORE:-1])


def saved_bytes(setting: Setting) -> int:
    """Return how many bytes one image has the network keep for its backward pass."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network, count = model(setting), 8
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network.losses(torch.rand(count, *network.shape), torch.zeros(count, dtype=torch.long))["loss"]
    del loss
    return sum(size for place, size in found.items() if place not in weights) // count


def by_adamw(setting: Setting, sharded: bool) -> float:
    """Return the median of the seconds of a step with whole or with sharded weights, by AdamW."""
    torch.manual_seed(0)
    network = model(setting)
    images = torch.rand(setting.batch_size // dist.get_world_size(), *network.shape)
    labels = torch.zeros(len(images), dtype=torch.long)
    loss: torch.nn.Module = _Loss(network)
    if sharded:  # which takes no weights that lie channels last, as our convolutions have them
        network.to(memory_format=torch.contiguous_format)
        fully_shard(network.network, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    else:
        loss = DistributedDataParallel(loss)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)

    def step() -> None:
        loss(images, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(_BEFORE):
        step()
    return median(step, setting.steps)


class _Loss(torch.nn.Module):
    def __init__(self, inner: Diffusion) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.inner.losses(images, labels)["loss"]


def two(rank: int, setting: Setting, port: int) -> dict[str, float]:
    """Be one of two processes, and return what they measure together."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = distributed.join(CPU)
    found: dict[str, float] = {}
    for count in _SIZES:
        reduce = functools.partial(dist.all_reduce, torch.zeros(count))
        reduce()
        found[f"reduce {count}"] = median(reduce, 20)
    found["step"] = step_time(setting, ranks)
    for sharded in (False, True):
        found["sharded" if sharded else "whole"] = by_adamw(setting, sharded)
    distributed.leave()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="medium", help="of the network of `train ddpm --preset best`")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12, help="timed, of each kind")
    parser.add_argument("--bandwidth", type=float, help="GB/s between processes; measured, if not given")
    parser.add_argument("--latency", type=float, help="microseconds of a message; measured, if not given")
    options = parser.parse_args()
    setting = Setting(options.size, options.batch_size, options.steps)
    torch.set_num_threads(1)
    print(f"{describe_machine()}; {api.versions()}")

    batches = [setting.batch_size // part for part in (8, 4, 2, 1)]
    times = [step_time(Setting(setting.size, batch, setting.steps)) for batch in batches]
    slope, fixed = np.polyfit(batches, times, 1)
    one = model(setting)
    noisy = torch.zeros(setting.batch_size, *one.shape)
    drawn = median(lambda: normal_like(noisy), 50) / setting.batch_size
    weights = sum(weight.numel() for weight in one.parameters())
    for batch, seconds in zip(batches, times, strict=True):
        print(f"one process, batches of {batch:4}: {1000 * seconds:8.1f} ms a step")
    print(
        f"fixed {1000 * fixed:.1f} ms, computed {1000 * (slope - drawn):.3f} ms an image, drawn "
        f"{1e6 * drawn:.1f} us an image; {4 * weights / 1e6:.1f} MB of gradients"
    )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        measured, _ = pool.map(two, range(2), [setting] * 2, [port] * 2)
    small, large = (measured[f"reduce {count}"] for count in _SIZES)
    bandwidth = (options.bandwidth or 4e-9 * (_SIZES[1] - _SIZES[0]) / (large - small)) * 1e9
    latency = small / 2 if options.latency is None else 1e-6 * options.latency
    print(f"between two processes: {bandwidth / 1e9:.2f} GB/s, {1e6 * latency:.0f} us a message")

    def predicted(ranks: int, batch: int) -> float:
        moved = 2 * (ranks - 1) / ranks * 4 * weights / bandwidth + 2 * (ranks - 1) * latency
        return float(fixed + drawn * batch + (slope - drawn) * batch / ranks + moved)

    if options.bandwidth is None:
        guess = predicted(2, setting.batch_size)
        print(
            f"two processes: predicted {1000 * guess:.1f} ms a step, measured {1000 * measured['step']:.1f} "
            f"ms, ratio {guess / measured['step']:.2f}"
        )
    alone = predicted(1, setting.batch_size)
    print(f"{'processes':>9} {f'batch of {setting.batch_size}':>24} {f'{setting.batch_size} each':>24}")
    for ranks in (1, 2, 4, 8, 16, 32, 64, 128):
        columns = []
        for batch in (setting.batch_size, setting.batch_size * ranks):
            pace = batch / predicted(ranks, batch)
            columns.append(f"{pace:9.0f} images/s {pace / ranks / (setting.batch_size / alone):5.0%}")
        print(f"{ranks:9} {columns[0]:>24} {columns[1]:>24}")

    held, kept = 4 * weights * 5, saved_bytes(setting) * setting.batch_size
    print(
        f"weights, gradients, what Adam remembers and the average are {held / 1e6:.0f} MB; for the backward "
        f"pass of {setting.batch_size} images {kept / 1e6:.0f} MB are kept"
    )
    print(
        f"two processes by AdamW: {1000 * measured['whole']:.1f} ms a step with whole weights, "
        f"{1000 * measured['sharded']:.1f} with sharded ones, ratio "
        f"{measured['sharded'] / measured['whole']:.2f}"
    )


if __name__ == "__main__":
    main()
