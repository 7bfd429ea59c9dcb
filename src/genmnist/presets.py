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

    def suited(self, device: str) -> Self:
        """Return a copy in which whatever was left to the kind of device, `cpu` or `cuda`, is decided."""
        return self


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
class DiffusionOptions(Knobs):
    """What a diffusion model is: its network, the noise it undoes, and what it predicts."""

    size: str = knob(
        "auto",
        "Size of the U-Net: tiny, small, medium, base or report; auto: small on a CPU, base on a GPU.",
        choices=("auto", "tiny", "small", "medium", "base", "report"),
    )
    width: int = knob(0, "Channels of its first level; 0: as the size has it.", 0, 1024)
    blocks: int = knob(0, "Residual blocks a level; 0: as the size has it.", 0, 16)
    patch: int = knob(0, "Side of the patches it takes for pixels, 1, 2 or 4; 0: as the size has it.", 0, 4)
    noise: str = knob(
        "cosine",
        "Noise schedule: linear, cosine, arctan or straight.",
        choices=("linear", "cosine", "arctan", "straight"),
    )
    timesteps: int = knob(1000, "Timesteps of the schedule.", 64, 10_000)
    target: str = knob(
        "v", "What it predicts: epsilon, x0, v or flow.", choices=("epsilon", "x0", "v", "flow")
    )
    times: str = knob(
        "uniform",
        "Where training draws timesteps: uniform, logit-normal or log-normal.",
        choices=("uniform", "logit-normal", "log-normal"),
    )
    weight: str = knob(
        "simple",
        "Weight of the noise levels: simple, min-snr or likelihood.",
        choices=("simple", "min-snr", "likelihood"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch == 3:
            raise UsageError("--patch must be 1, 2 or 4, which divide 28, not 3")

    def suited(self, device: str) -> Self:
        """Return a copy with the size that suits the kind of device, where it was left open."""
        return (
            self.replace({"size": "base" if device == "cuda" else "small"}) if self.size == "auto" else self
        )


@dataclass(frozen=True)
class ClassifierOptions(Knobs):
    """What a classifier is."""

    classes: int = knob(10, "Classes to tell apart.", 2, 256)
    width: int = knob(32, "Channels at 14 x 14; 4 times as many features.", 1, 512)
    turn: float = knob(12.0, "Training images are turned by up to so many degrees.", 0, 180)
    shift: float = knob(2.0, "Training images are shifted by up to so many pixels.", 0, 14)
    stretch: float = knob(0.12, "Training images are stretched and shrunk by up to this share.", 0, 0.9)


@dataclass(frozen=True)
class Sampling(Knobs):
    """How a diffusion model is sampled."""

    sampler: str = knob(
        "dpm-solver",
        "dpm-solver, heun, ddim or ancestral.",
        choices=("dpm-solver", "heun", "ddim", "ancestral"),
    )
    steps: int = knob(16, "Steps from noise to image.", 1, 100_000)
    spacing: str = knob(
        "shifted",
        "Which timesteps: shifted (denser where it is noisy), trailing, leading or log-snr.",
        choices=("shifted", "trailing", "leading", "log-snr"),
    )
    eta: float = knob(0.0, "Share of the noise that ddim draws afresh; 1 is ancestral sampling.", 0, 1)
    variance: str = knob(
        "beta", "Variance of an ancestral step: beta or beta-tilde.", choices=("beta", "beta-tilde")
    )
    temperature: float = knob(1.0, "Scales the deviation of all noise.", 0, 100)
    threshold: str = knob(
        "static",
        "Keep predicted images in range: static, dynamic or none.",
        choices=("static", "dynamic", "none"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta and self.sampler != "ddim":
            raise UsageError(f"--eta is for --sampler ddim: {self.sampler} has none")
        if self.variance != "beta" and self.sampler != "ancestral":
            raise UsageError(f"--variance is for --sampler ancestral: {self.sampler} has none")

    @property
    def random(self) -> bool:
        """Tell whether the sampler draws noise on its way, so that its end is no function of its start."""
        return self.sampler == "ancestral" or self.eta > 0


SAMPLERS = {
    entry.sampler: entry
    for entry in (
        Sampling("dpm-solver", steps=16),
        Sampling("heun", steps=12),
        Sampling("ddim", steps=50),
        Sampling("ancestral", steps=1000, spacing="trailing"),
    )
}


def sampling(sampler: str | None = None, **changes: Any) -> Sampling:
    """Return how to sample: a sampler with the settings that suit it, but for those given.

    Raises:
        UsageError: a setting makes no sense, or not with this sampler.
    """
    name = sampler or "dpm-solver"
    return SAMPLERS.get(name, SAMPLERS["ddim"]).replace({"sampler": name, **changes})


@dataclass(frozen=True)
class Recipe(Knobs):
    """How a model is trained, whatever its family."""

    epochs: float = knob(20.0, "Passes over the training set.", 1e-4, 1e6)
    batch_size: int = knob(128, "Images a step.", 1, 65536)
    lr: float = knob(1e-3, "Learning rate.", 0, 10)
    optimizer: str = knob("adam", "Optimiser: adam, adamw or muon.", choices=("adam", "adamw", "muon"))
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
    options: VAEOptions | DiffusionOptions | ClassifierOptions
    recipe: Recipe = field(default_factory=Recipe)
    budget: float | None = None  # seconds, instead of the recipe's epochs


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
    "ddpm": {
        "fast": Preset(
            "the best model of ten minutes on two cores: 5.3 times as far from the test set as real digits",
            DiffusionOptions(noise="straight", target="flow", times="logit-normal"),
            Recipe(batch_size=64, lr=3e-3, optimizer="muon", schedule="cosine", warmup=0.02, ema=0.999),
            budget=600,
        ),
        "best": Preset(
            "the best model of an hour on two cores (the bundled one took 42 minutes: 2.2 times)",
            DiffusionOptions(noise="straight", target="flow", times="logit-normal", size="medium"),
            Recipe(batch_size=64, lr=3e-3, optimizer="muon", schedule="cosine", warmup=0.02, ema=0.9995),
            budget=3600,
        ),
        "report": Preset(
            "the reference: linear schedule, predicted noise, 20 epochs of Adam at 2e-4",
            DiffusionOptions(size="report", noise="linear", target="epsilon"),
            Recipe(epochs=20, batch_size=256, lr=2e-4, ema=0.995),
        ),
    },
    "classifier": {
        "fast": Preset(
            "a small residual network, three minutes of two cores: 99.7 % of the test digits right",
            ClassifierOptions(),
            Recipe(epochs=8, batch_size=128, lr=4e-3, optimizer="muon", schedule="cosine", warmup=0.05,
                   weight_decay=0.01, ema=0.995),
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
