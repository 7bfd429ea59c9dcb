"""The recipes, by name. Adding a preset is adding one entry to `PRESETS`.

Nothing here needs torch: the command line reads these tables before it starts anything.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from genmnist.errors import UsageError

DATASETS = ("mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist")


def knob(
    default: Any, about: str, low: float = 0, high: float = math.inf, choices: tuple[str, ...] = ()
) -> Any:
    """Declare a field of a `Knobs` class: its default, what `--help` says of it, and what it may be."""
    return field(default=default, metadata={"about": about, "low": low, "high": high, "choices": choices})


class Knobs:
    """A frozen dataclass of numbers and names, checked wherever they come from.

    The one declaration of each serves the options that a user types, the presets below, and the header of a
    file that nobody should trust.
    """

    def __post_init__(self) -> None:
        for knob in dataclasses.fields(self):  # type: ignore[arg-type]
            value: Any = getattr(self, knob.name)
            kind, choices = type(knob.default), knob.metadata["choices"]
            option = "--" + knob.name.replace("_", "-")
            if choices:
                if value not in choices:
                    raise UsageError(f"{option} must be one of {', '.join(choices)}, not {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise UsageError(f"{option} must be a {'whole ' * (kind is int)}number, not {value!r}")
            low, high = knob.metadata["low"], knob.metadata["high"]
            if not low <= value <= high or value in (math.inf, -math.inf):
                span = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
                raise UsageError(f"{option} must be {span}, not {value!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping that may come from a file. Raises UsageError for what does not fit."""
        names = {knob.name for knob in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if stray := sorted(values.keys() - names):
            raise UsageError(f"there is no option {stray[0]!r}")
        return cls(**values)

    def asdict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with those fields changed that are not None. Raises UsageError as `of` does."""
        return self.of(self.asdict() | {name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class VAEOptions(Knobs):
    """What a variational autoencoder is, and what its objective weighs.

    The weight of the KL term is that of the beta-VAE (Higgins et al. 2017); free bits are those of Kingma
    et al. 2016, appendix C.8.
    """

    network: str = knob("mlp", "Kind of network: mlp or conv.", choices=("mlp", "conv"))
    hidden: int = knob(
        400, "Width of the MLP's hidden layer, or channels of the convolutions at 14 x 14.", 1, 4096
    )
    latent: int = knob(20, "Latent factors.", 1, 512)
    beta: float = knob(1.0, "Weight of the KL term (beta-VAE).", 0, 1000)
    kl_warmup: float = knob(0.0, "Share of training over which that weight rises from 0.", 0, 1)
    free_bits: float = knob(0.0, "KL in nats that each factor may use uncharged.", 0, 100)


@dataclass(frozen=True)
class Recipe(Knobs):
    """How a model is trained, whatever its family."""

    epochs: float = knob(20.0, "Passes over the training set.", 1e-4, 1e6)
    batch_size: int = knob(128, "Images a step.", 1, 65536)
    lr: float = knob(1e-3, "Learning rate.", 0, 10)
    optimizer: str = knob("adam", "Optimiser: adam or adamw.", choices=("adam", "adamw"))
    weight_decay: float = knob(0.0, "Decay of the weights, biases and gains spared.", 0, 10)
    schedule: str = knob(
        "constant", "Learning rate over time: constant or cosine.", choices=("constant", "cosine")
    )
    warmup: float = knob(0.0, "Share of the steps over which the learning rate first rises from 0.", 0, 1)
    clip: float = knob(0.0, "Bound on the norm of the gradient; 0 for none.", 0, 1e6)
    ema: float = knob(
        0.0, "Decay of the averaged weights, which are then the ones kept; 0 for none.", 0, 0.999999
    )

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step` (0 … steps - 1): linear warm-up, then the schedule."""
        warmup = self.warmup * steps
        if step < warmup:
            return self.lr * (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2


@dataclass(frozen=True)
class Preset:
    """A model and how to train it, with the sentence that `--help` shows."""

    about: str
    options: VAEOptions
    recipe: Recipe = field(default_factory=Recipe)


PRESETS: dict[str, dict[str, Preset]] = {
    "vae": {
        "report": Preset(
            "the reference: 784-400-20-400-784, 20 epochs of Adam at 1e-3 (validation loss 103.5 to 103.9)",
            VAEOptions(),
        ),
        "conv": Preset(
            "a convolutional VAE: 13 epochs, five minutes of two cores (validation loss 92.5)",
            VAEOptions(network="conv", hidden=32, latent=32),
            Recipe(epochs=13, batch_size=128, lr=2e-3, optimizer="adamw", schedule="cosine", warmup=0.02,
                   clip=1.0, ema=0.999),
        ),
    },
}  # fmt: skip
FAMILIES = tuple(PRESETS)


def preset(family: str, name: str | None = None) -> tuple[str, Preset]:
    """Return the name and the entry of a family's preset; the first entry is the default.

    Raises:
        UsageError: there is no such family or preset.
    """
    if family not in PRESETS:
        raise UsageError(f"there is no family {family!r}; choose one of {', '.join(FAMILIES)}")
    presets = PRESETS[family]
    name = name or next(iter(presets))
    if name not in presets:
        raise UsageError(f"there is no preset {name!r} of {family}; choose one of {', '.join(presets)}")
    return name, presets[name]
