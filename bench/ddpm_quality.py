"""Train diffusion models for the same time on the same cores, and compare how close their samples come.

    python bench/ddpm_quality.py [--minutes 10] [--recipes reference,fast,…] [--samples 2000] [--keep DIR]

Closeness is the Fréchet distance of samples to the 10,000 test images, in the features of the classifier that
ships with genmnist; what counts is its ratio to the distance of as many real training images. The reference
is the report's model and loop (bench/reference_ddpm.py). Its samples come from 20 steps of our solver: 1000
ancestral steps would take hours. Ours is the mean over three sets of samples, the reference's over one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import genmnist
import reference_ddpm
from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances

# What ours differ in from a preset, and how they are sampled.
_OURS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "fast": ("fast", {}, {}),
    "guided": ("fast", {}, {"guidance": 0.4}),
    "unclustered": ("fast", {"clusters": 0}, {}),
    "best": ("best", {}, {}),
}
_FLOOR_DRAWS = 10
_SETS = 3


class Result(NamedTuple):
    """One trained recipe: its size, how many images it saw, and what it draws."""

    parameters: int
    seen: int
    seconds: float
    samples: npt.NDArray[np.uint8]  # a tensor would be shared memory of a process that is gone


def train_reference(minutes: float, num: int, folder: Path, seed: int) -> Result:
    """Train the report's recipe and sample it."""
    choose_device("cpu")
    started = time.perf_counter()
    network, seen = reference_ddpm.train(60 * minutes, seed)
    seconds = time.perf_counter() - started
    samples = torch.cat(list(reference_ddpm.sample(network, num, "dpm-solver", 20))).numpy()
    return Result(sum(weight.numel() for weight in network.parameters()), seen, seconds, samples)


def train_ours(recipe: str, minutes: float, num: int, folder: Path, seed: int) -> Result:
    """Train a recipe and sample it as `genmnist sample ddpm` does."""
    preset, options, how = _OURS[recipe]
    started = time.perf_counter()
    run = api.train("ddpm", preset, options=options, budget=60 * minutes, seed=seed, device="cpu", out=folder)
    seconds = time.perf_counter() - started
    samples = genmnist.load("ddpm", folder, device="cpu").sample(_SETS * num, seed, **how).numpy()
    summary = run.summary
    seen = summary.steps * run.config.recipe["batch_size"]
    return Result(summary.parameters, seen, seconds, samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--recipes", default="reference,fast")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    features, data = distances.bundled_features(choose_device("cpu")), load("mnist")
    train, theirs = data.train, features.features(data.test.images)

    def distance(images: Tensor) -> float:
        return distances.frechet(features.features(images), theirs)

    generator = torch.Generator().manual_seed(options.seed)
    draws = [torch.randperm(len(train), generator=generator)[: options.samples] for _ in range(_FLOOR_DRAWS)]
    floors = [distance(train.images[draw]) for draw in draws]
    floor = statistics.mean(floors)
    print(f"{options.samples} real training images: {floor:.4f} ({min(floors):.4f} to {max(floors):.4f})")
    fresh = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as name, fresh:
        for recipe in options.recipes.split(","):
            folder = (options.keep or Path(name)) / recipe
            work = (options.minutes, options.samples, folder, options.seed)
            future = (
                fresh.submit(train_reference, *work)
                if recipe == "reference"
                else fresh.submit(train_ours, recipe, *work)
            )
            result = future.result()
            sets = torch.from_numpy(result.samples).split(options.samples)
            found = statistics.mean(distance(samples) for samples in sets)
            print(
                f"  {recipe:10} {result.parameters:>10,} parameters   {result.seconds:6.0f} s   "
                f"{result.seen / result.seconds:6.0f} images/s   {found:8.3f}   "
                f"{found / floor:6.1f} times the floor",
                flush=True,
            )


if __name__ == "__main__":
    main()
