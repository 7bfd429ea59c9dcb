"""Repeat the search behind the `fast` preset of ddpm: train each variant for the same time, and score it.

    python scripts/search.py [--minutes 3] [--threads 1] [--only base,adamw]

Each variant differs from `fast` in one thing. Scores are Fréchet distances of 2,000 samples to the validation
images in the features of the bundled classifier; docs/results.md keeps those of the search that was made, to
the test images then.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import genmnist
from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances

Changes = dict[str, Any]

VARIANTS: dict[str, tuple[Changes, Changes]] = {
    "base": ({}, {}),
    "adamw": ({}, {"optimizer": "adamw", "lr": 2e-3}),
    "rate-2e-3": ({}, {"lr": 2e-3}),
    "rate-6e-3": ({}, {"lr": 6e-3}),
    "batch-32": ({}, {"batch_size": 32, "lr": 2e-3}),
    "batch-128": ({}, {"batch_size": 128, "lr": 4e-3}),
    "width-24": ({"width": 24}, {}),
    "width-32": ({"width": 32}, {}),
    "patch-2": ({"patch": 2, "width": 64}, {}),
    "ema-0.9995": ({}, {"ema": 0.9995}),
    "no-ema": ({}, {"ema": 0.0}),
    "uniform": ({"times": "uniform"}, {}),
    "v-cosine": ({"noise_schedule": "cosine", "target": "v", "times": "uniform"}, {}),
    "v-cosine-logit": ({"noise_schedule": "cosine", "target": "v"}, {}),
    "v-cosine-min-snr": (
        {"noise_schedule": "cosine", "target": "v", "times": "uniform", "weight": "min-snr"},
        {},
    ),
    "epsilon-cosine": ({"noise_schedule": "cosine", "target": "epsilon", "times": "uniform"}, {}),
    "epsilon-linear": ({"noise_schedule": "linear", "target": "epsilon", "times": "uniform"}, {}),
    "log-normal": ({"noise_schedule": "cosine", "target": "v", "times": "log-normal"}, {}),
}


def main() -> None:
    """Train and score the variants that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    features = distances.bundled_features(choose_device("cpu"))
    theirs = features.features(load("mnist").validation.images)
    print(f"{describe_machine()}; {api.versions()}; {options.minutes:g} minutes each")
    for name in options.only.split(","):
        model, recipe = VARIANTS[name]
        with tempfile.TemporaryDirectory() as folder:
            run = api.train(
                "ddpm", "fast", options=model, recipe=recipe, budget=60 * options.minutes,
                threads=options.threads, device="cpu", out=Path(folder) / "run", sample_every=0,
                save_every=1e9,
            )  # fmt: skip
            samples = genmnist.load("ddpm", run.folder, device="cpu").sample(options.samples, 0, 64)
            summary = run.summary
        distance = distances.frechet(features.features(samples), theirs)
        print(
            f"{name:14} {summary.parameters:>9,} parameters  {summary.steps:>6,} steps  "
            f"validation {summary.metrics['val_loss']:.4f}  distance {distance:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
