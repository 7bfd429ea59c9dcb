"""The recipes, by name. Adding a preset is adding one entry to `PRESETS`.

Nothing here needs torch: the command line reads these tables before it starts anything.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from genmnist.errors import UsageError
from genmnist.knobs import Knobs, knob

DATASETS = ("mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist")


@dataclass(frozen=True)
class VAEOptions(Knobs):
    """What a variational autoencoder is, and what its objective weighs.

    The weight of the KL term is that of the beta-VAE (Higgins et al. 2017); free bits are those of Kingma
    et al. 2016, appendix C.8.
    """

    network: str = knob("mlp", "Kind of network", choices=("mlp", "conv"))
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
        "Size of the U-Net; auto is small on a CPU, base on a GPU",
        choices=("auto", "tiny", "small", "medium", "base", "report"),
    )
    width: int = knob(0, "Channels of its first level; 0: as the size has it.", 0, 1024)
    blocks: int = knob(0, "Residual blocks a level; 0: as the size has it.", 0, 16)
    patch: int = knob(0, "Side of the patches it takes for pixels, 1, 2 or 4; 0: as the size has it.", 0, 4)
    noise: str = knob("cosine", "Noise schedule", choices=("linear", "cosine", "arctan", "straight"))
    timesteps: int = knob(1000, "Timesteps of the schedule.", 64, 10_000)
    target: str = knob("v", "What it predicts", choices=("epsilon", "x0", "v", "flow"))
    times: str = knob(
        "uniform", "Where training draws timesteps", choices=("uniform", "logit-normal", "log-normal")
    )
    weight: str = knob("simple", "Weight of the noise levels", choices=("simple", "min-snr", "likelihood"))

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
class ConditionalOptions(DiffusionOptions):
    """What a diffusion model with labels is (Ho & Salimans 2022)."""

    classes: int = knob(10, "Labels that it knows, besides the null label that stands for any.", 2, 256)
    drop_label: float = knob(0.1, "Share of the training images whose label is kept from it.", 0, 1)


@dataclass(frozen=True)
class ClassifierOptions(Knobs):
    """What a classifier is."""

    classes: int = knob(10, "Classes to tell apart.", 2, 256)
    noisy: bool = knob(False, "Learn from images under every level of noise, to guide diffusion by.")
    width: int = knob(32, "Channels at 14 x 14; 4 times as many features.", 1, 512)
    turn: float = knob(12.0, "Training images are turned by up to so many degrees.", 0, 180)
    shift: float = knob(2.0, "Training images are shifted by up to so many pixels.", 0, 14)
    stretch: float = knob(0.12, "Training images are stretched and shrunk by up to this share.", 0, 0.9)


@dataclass(frozen=True)
class PriorSampling(Knobs):
    """How a variational autoencoder is sampled."""

    temperature: float = knob(1.0, "Scales the deviation of the prior.", 0, 100)


@dataclass(frozen=True)
class Sampling(Knobs):
    """How a diffusion model is sampled."""

    preferred: ClassVar[dict[str, Any]] = {}

    sampler: str = knob(
        "dpm-solver",
        "Sampler (by default dpm-solver; a cfg takes 16 steps of ddim at --eta 1)",
        choices=("dpm-solver", "heun", "ddim", "ancestral"),
    )
    steps: int = knob(16, "Steps from noise to image.", 1, 100_000)
    spacing: str = knob(
        "shifted",
        "Which timesteps, where shifted is denser where it is noisy",
        choices=("shifted", "trailing", "leading", "log-snr"),
    )
    eta: float = knob(0.0, "Share of the noise that ddim draws afresh; 1 is ancestral sampling.", 0, 1)
    variance: str = knob("beta", "Variance of an ancestral step", choices=("beta", "beta-tilde"))
    temperature: float = knob(1.0, "Scales the deviation of all noise.", 0, 100)
    threshold: str = knob("static", "Keep predicted images in range", choices=("static", "dynamic", "none"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta and self.sampler != "ddim":
            raise UsageError(f"--eta is for --sampler ddim: {self.sampler} has none")
        if self.variance != "beta" and self.sampler != "ancestral":
            raise UsageError(f"--variance is for --sampler ancestral: {self.sampler} has none")

    @classmethod
    def choose(cls, sampler: str | None = None, **changes: Any) -> Self:
        """Return how to sample: a sampler with the settings that suit it, but for those given.

        Without a sampler it is the one that suits the kind of model.

        Raises:
            UsageError: a setting makes no sense, or not with this sampler.
        """
        if sampler is None:
            return cls.of(cls.preferred).replace(changes)
        suited = SAMPLERS.get(sampler, SAMPLERS["ddim"]).asdict()
        return cls.of(suited).replace({"sampler": sampler, **changes})

    @property
    def random(self) -> bool:
        """Tell whether the sampler draws noise on its way, so that its end is no function of its start."""
        return self.sampler == "ancestral" or self.eta > 0


@dataclass(frozen=True)
class GuidedSampling(Sampling):
    """How a diffusion model with labels is sampled, and how far beyond its labels it is pushed."""

    # Fresh noise on the way mends what label and noise disagree about (docs/results.md).
    preferred: ClassVar[dict[str, Any]] = {"sampler": "ddim", "eta": 1.0}

    guidance: float = knob(
        0.5, "Strength w of the guidance: 0 is the model with labels as it is, -1 the one without.", -1, 1000
    )
    guide_above: float = knob(0.0, "Guide only where the share of noise is above this.", 0, 1)
    guide_below: float = knob(1.0, "Guide only where the share of noise is below this.", 0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guide_above >= self.guide_below:
            raise UsageError("--guide-above must be less than --guide-below: nothing lies between them")


SAMPLERS = {
    entry.sampler: entry
    for entry in (
        Sampling("dpm-solver", steps=16),
        Sampling("heun", steps=12),
        Sampling("ddim", steps=50),
        Sampling("ancestral", steps=1000, spacing="trailing"),
    )
}


SAMPLING: dict[str, type[Knobs]] = {"vae": PriorSampling, "ddpm": Sampling, "cfg": GuidedSampling}


@dataclass(frozen=True)
class Recipe(Knobs):
    """How a model is trained, whatever its family."""

    epochs: float = knob(20.0, "Passes over the training set.", 1e-4, 1e6)
    batch_size: int = knob(128, "Images a step.", 1, 65536)
    lr: float = knob(1e-3, "Learning rate.", 0, 10)
    optimizer: str = knob("adam", "Optimiser", choices=("adam", "adamw", "muon"))
    weight_decay: float = knob(0.0, "Decay of the weights, biases and gains spared.", 0, 10)
    schedule: str = knob("constant", "Learning rate over time", choices=("constant", "cosine", "steps"))
    drop: float = knob(0.1, "Factor of the learning rate at each of those steps.", 0, 1)
    drop_every: float = knob(0.5, "Share of the training between two of them.", 1e-4, 1)
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
        if self.schedule == "steps":
            return self.lr * self.drop ** int(step / steps / self.drop_every)
        return self.lr * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2


@dataclass(frozen=True)
class Preset:
    """A model and how to train it, with the sentence that `--help` shows."""

    about: str
    options: VAEOptions | DiffusionOptions | ClassifierOptions
    recipe: Recipe = field(default_factory=Recipe)
    budget: float | None = None  # seconds, instead of the recipe's epochs


# What a search found best for diffusion (docs/results.md).
_STRAIGHT: dict[str, Any] = {"noise": "straight", "target": "flow", "times": "logit-normal"}
_SHORT = Recipe(batch_size=64, lr=3e-3, optimizer="muon", schedule="cosine", warmup=0.02, ema=0.999)
_LONG = dataclasses.replace(_SHORT, ema=0.9995)

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
            DiffusionOptions(**_STRAIGHT),
            _SHORT,
            budget=600,
        ),
        "best": Preset(
            "the best model of an hour on two cores (the bundled one took 42 minutes: 2.2 times)",
            DiffusionOptions(**_STRAIGHT, size="medium"),
            _LONG,
            budget=3600,
        ),
        "report": Preset(
            "the reference: linear schedule, predicted noise, 20 epochs of Adam at 2e-4, then 2e-5",
            DiffusionOptions(size="report", noise="linear", target="epsilon"),
            Recipe(epochs=20, batch_size=256, lr=2e-4, schedule="steps", drop=0.1, drop_every=10 / 20,
                   ema=0.995),
        ),
    },
    "cfg": {
        "fast": Preset(
            "the recipe of ddpm with labels, ten minutes on two cores",
            ConditionalOptions(**_STRAIGHT),
            _SHORT,
            budget=600,
        ),
        "best": Preset(
            "its larger network, an hour (the bundled one, 67 minutes of one core: 98.8 % of labels kept)",
            ConditionalOptions(**_STRAIGHT, size="medium"),
            _LONG,
            budget=3600,
        ),
        "report": Preset(
            "the reference: the paper's schedule, predicted noise, 16 epochs of Adam at 2e-4, halved every 5",
            ConditionalOptions(size="report", noise="arctan", target="epsilon"),
            Recipe(epochs=16, batch_size=256, lr=2e-4, schedule="steps", drop=0.5, drop_every=5 / 16,
                   ema=0.995),
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
