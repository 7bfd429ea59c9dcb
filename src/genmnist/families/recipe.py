"""How a model is trained, whatever its family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from genmnist.errors import UsageError
from genmnist.options import Options, about

SHORTEST, LONGEST = 0.01, 0.28  # lengths of an average that snapshots are kept of, or that is made of them


def check_length(epochs: float | None, steps: object, budget: object) -> None:
    """Raise UsageError if the length of a training is given in more ways than one."""
    if sum(length is not None for length in (epochs, steps, budget)) > 1:
        raise UsageError("`epochs`, `steps` and `budget` are three ways to say one thing: give one of them")


class Recipe(Options, frozen=True, kw_only=True):
    """How a model is trained, whatever its family."""

    renamed: ClassVar[Mapping[str, str]] = {
        "schedule": "lr_schedule", "drop": "lr_drop", "drop_every": "lr_drop_every",
    }  # fmt: skip

    epochs: Annotated[float, about("Passes over the training set.", 1e-4, 1e6)] = 20.0
    batch_size: Annotated[int, about("Images a step.", 1, 65536)] = 128
    accumulate: Annotated[
        int, about("Parts that each batch is gone through in, where memory is short.", 1, 1024)
    ] = 1
    lr: Annotated[float, about("Learning rate.", 1e-9, 10)] = 1e-3
    optimizer: Annotated[Literal["adam", "adamw", "muon"], about("Optimiser.")] = "adam"
    weight_decay: Annotated[float, about("Decay of the weights, biases and gains spared.", 0, 10)] = 0.0
    lr_schedule: Annotated[Literal["constant", "cosine", "steps"], about("Learning rate over time.")] = (
        "constant"
    )
    lr_drop: Annotated[float, about("Factor of the learning rate at each of those steps.", 0, 1)] = 0.1
    lr_drop_every: Annotated[float, about("Share of the training between two of them.", 1e-4, 1)] = 0.5
    warmup: Annotated[
        float, about("Share of the steps over which the learning rate first rises from 0.", 0, 1)
    ] = 0.0
    clip: Annotated[float, about("Bound on the norm of the gradient; 0 for none.", 0, 1e6)] = 0.0
    ema: Annotated[
        float, about("Decay of the averaged weights, which are then the ones kept; 0 for none.", 0, 0.999999)
    ] = 0.0
    snapshots: Annotated[
        int,
        about(
            "How often over the run snapshots of two more averages are kept: `genmnist average` makes one "
            "of any length of them.",
            0,
            128,
        ),
    ] = 0
    average_short: Annotated[
        float, about("Length of the one of them, as a share of the training.", SHORTEST, LONGEST)
    ] = 0.05
    average_long: Annotated[
        float, about("Length of the other, as a share of the training.", SHORTEST, LONGEST)
    ] = 0.1

    @property
    def averages(self) -> tuple[float, ...]:
        """Return the lengths of the averages of which snapshots are kept, if any are."""
        return tuple(sorted({self.average_short, self.average_long})) if self.snapshots else ()

    def rate(self, step: float, steps: int) -> float:
        """Return the learning rate of `step` (0 … steps - 1): linear warm-up, then the schedule."""
        warmup = self.warmup * steps
        if step < warmup:
            return self.lr * (step + 1) / (warmup + 1)
        if self.lr_schedule == "constant":
            return self.lr
        if self.lr_schedule == "steps":
            return self.lr * self.lr_drop ** int(step / steps / self.lr_drop_every)
        return self.lr * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2
