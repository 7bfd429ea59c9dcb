"""Say what bounds a step of training: where its time goes, and at which share of the machine's matrix rate.

    python bench/training_profile.py [--presets fast,best] [--rounds 20] [--threads 2]

Presets of ddpm on a CPU. A whole step under torch's profiler: the share of each kind of operation, and the
operations of convolutions and products a second beside those of large matrix products. Then the parts of a
step, medians of some rounds, and images a second by size of batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch

import profiled
from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device, describe_machine, products
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import Diffusion
from genmnist.registry import FAMILIES
from genmnist.training.trainer import StepEnd, Trainer


def begun(preset: str, batch_size: int | None = None) -> Trainer:
    """Return a training of ddpm that has not taken a step; by the batch that the preset has, or another."""
    chosen = FAMILIES["ddpm"].presets[preset]
    options = cast("DiffusionOptions", chosen.options).suited("cpu")
    model = Diffusion(options).place(choose_device("cpu"))
    recipe = chosen.recipe if batch_size is None else chosen.recipe.replace({"batch_size": batch_size})
    return Trainer(model, load("mnist"), recipe, steps=1_000_000)


def stepping(trainer: Trainer) -> Callable[[], object]:
    """Return what takes the next step."""
    steps = (event for event in trainer.train() if isinstance(event, StepEnd))
    return lambda: next(steps)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def parts(trainer: Trainer) -> dict[str, float]:
    """Return the seconds of each part of a step, which is not quite that of a training: its rate is fixed."""
    model, data = trainer.model, trainer.train_set
    batch = data.batch(torch.randperm(len(data))[: trainer.recipe.batch_size])
    found: dict[str, Any] = {}

    def forward() -> None:
        found["loss"] = model.losses(*batch, 0.5)["loss"]

    with products(trainer.device, model.precision):
        taken = {"forwards": seconds(forward), "backwards": seconds(lambda: found["loss"].backward())}
    for optimizer in trainer.optimizers:
        taken[f"the optimiser {type(optimizer).__name__}"] = seconds(optimizer.step)
        optimizer.zero_grad()
    average = trainer.average
    if average is not None:
        taken["the average of the weights"] = seconds(lambda: average.update_parameters(model))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", default="fast,best")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{describe_machine()}; {api.versions()}")
    for preset in options.presets.split(","):
        trainer = begun(preset)
        size = trainer.recipe.batch_size
        print(f"{preset}, batches of {size}, {trainer.model.precision}")
        profiled.tell(stepping(trainer), size, trainer.model.precision)
        rounds = [parts(trainer) for _ in range(options.rounds)]
        medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        whole = sum(medians.values())
        for name, taken in medians.items():
            print(f"  {name:28} {1000 * taken:7.1f} ms   {taken / whole:6.1%}", flush=True)
        for other in (16, 32, 64, 128, 256):
            step = stepping(begun(preset, other))
            step()
            times = max(4, 64 * options.rounds // other)
            middle = statistics.median(seconds(step) for _ in range(times))
            print(f"  batches of {other:3}: {other / middle:6.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
