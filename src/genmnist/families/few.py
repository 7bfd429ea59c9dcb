"""Digits in one to four steps: a diffusion model tuned until it is consistent (Geng et al. 2024)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import msgspec

from genmnist.errors import UsageError
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.ddpm import MAX_CLUSTERS, Clusters
from genmnist.families.family import Family, ModelOptions, Preset, Recipe
from genmnist.families.sampling import GuidedSampling
from genmnist.options import about, internal, named
from genmnist.registry import SAMPLERS, SPACINGS, TIMES

_OF_THE_SOURCE = (
    "shape", "classes", "class_names", "clusters", "network", "size", "width", "blocks", "patch",
    "noise_schedule", "timesteps", "target",
)  # fmt: skip


class FewOptions(ConditionalOptions, frozen=True, kw_only=True):
    """What a few-step model is: the network of a diffusion model, and how it is made consistent."""

    classes: Annotated[int, internal(0, MAX_CLUSTERS)] = 0
    clusters: Clusters = 0
    times: Annotated[str, named(TIMES, "Where training draws timesteps.")] = "broad"
    halvings: Annotated[
        float, about("How often training halves the gap between the two noise levels it compares.", 0, 16)
    ] = 8.0
    huber: Annotated[
        float, about("Distance between images, a pixel, below which the loss is quadratic.", 0, 1)
    ] = 5.4e-4

    def _count_classes(self) -> None:
        """Let the network know the clusters, if there are any, or else the labels of its source."""
        if self.clusters:
            msgspec.structs.force_setattr(self, "classes", self.clusters)

    def of_source(self, source: ModelOptions) -> Self:
        """Return these options for the network of another diffusion model."""
        if getattr(source, "knows_values", False):
            raise UsageError(
                "a model with the target categorical answers with probabilities, and cannot become a few: "
                "go `from` another ddpm or cfg"
            )
        held = source.asdict()
        return self.replace({name: held[name] for name in _OF_THE_SOURCE if name in held})


class FewSampling(GuidedSampling, frozen=True, kw_only=True):
    """How a few-step model is sampled: in two steps, and guided if it has labels."""

    default_sampler: ClassVar[str] = "consistency"

    sampler: Annotated[str, named(SAMPLERS, "Sampler.")] = "consistency"
    steps: Annotated[int, about("Steps from noise to image: 1, 2 or 4.", 1, 10_000)] = 2
    spacing: Annotated[str, named(SPACINGS, "Which timesteps.")] = "trailing"
    guidance: Annotated[
        float, about("Strength w of the guidance: 0 is the model with labels as it is.", -1, 1000)
    ] = 1.0

    @classmethod
    def choose(cls, sampler: str | None = None, **changes: Any) -> Self:
        """Return how to sample, as in any diffusion model, but from less noise the fewer the steps are.

        Jumps from 1 - 0.2 / steps^2 of the noise are likelier to hit a digit (docs/results.md).
        """
        how = super().choose(sampler, **changes)
        if how.sampler != cls.default_sampler or changes.get("temperature") is not None:
            return how
        return how.replace({"temperature": 1 - 0.2 / how.steps**2})


FEW = Family(
    name="few",
    title="few steps",
    model="genmnist.models.few:FewSteps",
    presets={
        "tuned": Preset(
            "a diffusion model, tuned for an hour on two cores until it draws in one, two or four steps",
            FewOptions(),
            Recipe(batch_size=128, lr=1e-3, optimizer="muon", lr_schedule="cosine", warmup=0.02, ema=0.9995),
            budget=3600,
        ),
    },
    commands={
        "train": "Tune a diffusion model, ddpm or cfg, until it draws in a few steps.",
        "sample": "Draw images in one to four steps.",
        "reverse-trace": "Show x_t at some timesteps of the few.",
        "evaluate": "Measure a few-step model: its samples, and whether they are as asked for.",
        "export": "Write the network as ONNX, with all that it takes to sample.",
    },
    sampling=FewSampling,
    labels="own",
    path="slerp",
    sources=("ddpm", "cfg"),
    story="A diffusion model whose predictions were made to agree on the path from noise to image, so that "
    "it can jump to the end at once.",
)
