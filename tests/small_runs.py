"""Small runs, trained through the session in no time, whole or broken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import genmnist
from genmnist.runs import checkpoint
from genmnist.runs.documents import EpochMetrics, StateHeader
from genmnist.runs.folder import Run
from genmnist.training import Event, Trainer

SMALL = {"hidden": 16, "latent": 4}


def train(folder: Path | None, data_dir: Path | None, **options: Any) -> Run:
    """Train a small vae of the preset `report`: two epochs of eight steps, unless `options` say otherwise."""
    settings: dict[str, Any] = {"options": SMALL, "precision": "float32", "device": "cpu"}
    if not options.keys() & {"steps", "budget"}:
        settings["recipe"] = {"epochs": 2}
    return genmnist.train("vae", data_dir=data_dir, out=folder, **(settings | options))


def broken_off(folder: Path, data_dir: Path | None, **options: Any) -> Run:
    """Train until step 10 of 16, where the process dies, so to speak; each step was saved."""

    class DiedError(Exception):
        pass

    def die(event: Event, trainer: Trainer) -> None:
        if trainer.step == 10:
            raise DiedError

    with pytest.raises(DiedError):
        train(folder, data_dir, save_every=0.0, listen=die, **options)
    return Run.open(folder)


def saved_step(run: Run) -> int:
    """Return the step at which a run was last saved."""
    header, _ = checkpoint.read(run.state_file)
    assert isinstance(header, StateHeader)
    return header.progress.step


def tensors(run: Run) -> dict[str, Tensor]:
    """Return the weights that a run has saved."""
    return checkpoint.read(run.model_file)[1]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether two sets of weights are equal, to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def timeless(history: list[EpochMetrics]) -> list[dict[str, float]]:
    """Return all that metrics say but how long it took."""
    return [
        {k: v for k, v in line.flat().items() if k not in ("seconds", "images_per_second")}
        for line in history
    ]
