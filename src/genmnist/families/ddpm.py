"""Denoising diffusion, unconditional (Ho, Jain & Abbeel 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec

from genmnist.families.family import Family, ModelOptions, Preset, Recipe
from genmnist.families.sampling import Sampling
from genmnist.options import about, internal, named
from genmnist.registry import NETWORKS, SCHEDULES, TARGETS, TIMES, WEIGHTS

MAX_CLUSTERS = 1024
FEATURES = 32  # from which the probabilities of a channel's values are made
Clusters = Annotated[
    int,
    about("Clusters that it sorts the images into, and is told which; 0: none.", 0, MAX_CLUSTERS),
]


class DiffusionOptions(ModelOptions, frozen=True, kw_only=True):
    """What a diffusion model is: its network, the noise it undoes, and what it predicts."""

    renamed: ClassVar[Mapping[str, str]] = {"noise": "noise_schedule"}

    classes: Annotated[int, internal(0, MAX_CLUSTERS)] = 0  # that the network knows: the clusters
    clusters: Clusters = 0
    drop_label: Annotated[
        float, about("Share of the training images whose label or cluster is kept from it.", 0, 1)
    ] = 0.1
    network: Annotated[str, named(NETWORKS, "Network.")] = "unet"
    size: Annotated[
        Literal["auto", "tiny", "small", "medium", "fine", "base", "report"],
        about("Size of the U-Net; auto is small on a CPU, base on a GPU; fine is wide where pixels are."),
    ] = "auto"
    width: Annotated[int, about("Channels of its first level; 0: as the size has it.", 0, 1024)] = 0
    blocks: Annotated[int, about("Residual blocks a level; 0: as the size has it.", 0, 16)] = 0
    patch: Annotated[
        Literal[0, 1, 2, 4], about("Side of the patches it takes for pixels; 0: as the size has it.")
    ] = 0
    noise_schedule: Annotated[str, named(SCHEDULES, "Noise schedule.")] = "cosine"
    timesteps: Annotated[int, about("Timesteps of the schedule.", 64, 10_000)] = 1000
    target: Annotated[str, named(TARGETS, "What it predicts.")] = "v"
    values: Annotated[
        int, about("Values that a pixel may have, evenly spaced, for the target categorical.", 2, 256)
    ] = 256
    cross_entropy: Annotated[
        float, about("Weight of the cross-entropy in the loss of the target categorical.", 0, 1e6)
    ] = 1.0
    times: Annotated[str, named(TIMES, "Where training draws timesteps.")] = "uniform"
    weight: Annotated[str, named(WEIGHTS, "Weight of the noise levels.")] = "simple"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._count_classes()

    def _count_classes(self) -> None:
        """See to it that a network without labels knows the clusters, and nothing else."""
        msgspec.structs.force_setattr(self, "classes", self.clusters)

    def of_own_network(self) -> Self:
        """Return these options without clusters, of which a network may take no labels."""
        return self.replace({"clusters": 0})

    @property
    def knows_values(self) -> bool:
        """Return whether the model says how likely each value of a pixel is."""
        return bool(TARGETS.facts(self.target).get("values"))

    @property
    def inputs(self) -> int:
        """Return how many channels the network sees: each beside what its pixels say by themselves."""
        return 3 * self.shape[0] if self.knows_values else self.shape[0]

    @property
    def outputs(self) -> int:
        """Return how many channels the network answers with: features of each, or each itself."""
        return FEATURES * self.shape[0] if self.knows_values else self.shape[0]

    def suited(self, device: str) -> Self:
        """Return a copy with the size that suits the kind of device, where it was left open."""
        if self.size != "auto":
            return self
        return self.replace({"size": "base" if device == "cuda" else "small"})


# What a search found best for diffusion (docs/results.md).
STRAIGHT: dict[str, Any] = {"noise_schedule": "straight", "target": "flow", "times": "logit-normal"}
LIKELY: dict[str, Any] = {
    "size": "fine", "noise_schedule": "log-snr", "target": "categorical", "times": "adaptive",
    "weight": "likelihood",
}  # fmt: skip
SHORT = Recipe(batch_size=64, lr=3e-3, optimizer="muon", lr_schedule="cosine", warmup=0.02, ema=0.999)


def presets(
    quick: DiffusionOptions, fast: str, best: str, likelihood: str, report: Preset
) -> dict[str, Preset]:
    """Return the presets of a kind of diffusion model: ten minutes, an hour, likelihood, the reference.

    The model of ten minutes is `quick`; that of an hour is larger.
    """
    kind, larger = type(quick), quick.replace({"size": "medium"})
    return {
        "fast": Preset(fast, quick, SHORT, budget=600),
        "best": Preset(best, larger, SHORT.replace({"ema": 0.9995}), budget=3600),
        "likelihood": Preset(likelihood, kind(**LIKELY), SHORT.replace({"lr": 4e-3}), budget=3600),
        "report": report,
    }


DDPM = Family(
    name="ddpm",
    title="denoising diffusion",
    model="genmnist.models.diffusion:Diffusion",
    presets=presets(
        DiffusionOptions(**STRAIGHT, clusters=100),
        "the best model of ten minutes on two cores",
        "the best model of an hour on two cores (the bundled one took 42 minutes, without clusters)",
        "a model that knows how likely a digit is, an hour on two cores (the bundled one, 102 minutes of one "
        "core: 0.925 bits per dimension)",
        Preset(
            "the reference: linear schedule, predicted noise, 20 epochs of Adam at 2e-4, then 2e-5, on all "
            "training images, validated on the test images",
            DiffusionOptions(size="report", noise_schedule="linear", target="epsilon"),
            Recipe(epochs=20, batch_size=256, lr=2e-4, lr_schedule="steps", lr_drop=0.1,
                   lr_drop_every=10 / 20, ema=0.995),
            validation="test",
        ),
    ),
    commands={
        "train": "Train a denoising diffusion model.",
        "sample": "Draw images from a diffusion model.",
        "interpolate": "Denoise the points between two noises, or fade between the two images.",
        "reverse-trace": "Show x_t at some timesteps of the reverse process, from noise to images.",
        "evaluate": "Measure a diffusion model: its samples, its likelihood, its reverse process, its walks.",
        "complete": "Draw what is hidden of a digit, so that it agrees with the rest.",
        "edit": "Turn a digit into others like it, by way of noise.",
        "export": "Write the network as ONNX, with all that it takes to sample.",
    },
    sampling=Sampling,
    labels="classifier",
    path="slerp",
    measures=("likelihood", "reverse", "walks"),
    story="Digits come out of noise in steps. The network learns at every level of noise what is image and "
    "what is not; the sampler walks from the one to the other.",
)  # fmt: skip
