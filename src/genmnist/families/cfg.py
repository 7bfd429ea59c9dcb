"""Diffusion with labels, for classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

from typing import Annotated

from genmnist.data.facts import MNIST
from genmnist.families.ddpm import STRAIGHT, DiffusionOptions, presets
from genmnist.families.family import ClassNames, Family, Preset, Recipe
from genmnist.families.sampling import GuidedSampling
from genmnist.options import about, internal


class ConditionalOptions(DiffusionOptions, frozen=True, kw_only=True):
    """What a diffusion model with labels is (Ho & Salimans 2022)."""

    classes: Annotated[
        int, about("Labels that it knows, besides the null label that stands for any.", 1, 256)
    ] = MNIST.classes
    class_names: ClassNames = ()
    clusters: Annotated[int, internal(0, 0)] = 0

    def _count_classes(self) -> None:
        """Leave it to the data how many there are."""


CFG = Family(
    name="cfg",
    title="classifier-free guidance",
    model="genmnist.models.conditional:ConditionalDiffusion",
    presets=presets(
        ConditionalOptions(**STRAIGHT),
        "the recipe of ddpm with labels, ten minutes on two cores",
        "its larger network, an hour (the bundled one, 67 minutes of one core: 98.8 % of labels kept)",
        "a model that knows how likely a digit with its label is, an hour on two cores",
        Preset(
            "the reference: the paper's schedule, predicted noise, 16 epochs of Adam at 2e-4, halved "
            "every 5, on all training images, validated on the test images",
            ConditionalOptions(size="report", noise_schedule="arctan", target="epsilon"),
            Recipe(epochs=16, batch_size=256, lr=2e-4, lr_schedule="steps", lr_drop=0.5,
                   lr_drop_every=5 / 16, ema=0.995),
            validation="test",
        ),
    ),
    commands={
        "train": "Train a diffusion model with labels, for classifier-free guidance.",
        "sample": "Draw images of the labels you ask for, from a diffusion model with labels.",
        "interpolate": "Denoise the points between noises with labels, or between labels; guidance is 0.",
        "reverse-trace": "Show x_t at some timesteps, from noise to images of the labels you ask for.",
        "evaluate": "Measure a diffusion model with labels: its samples, and whether they are as asked for.",
        "complete": "Draw what is hidden of a digit, of the labels you ask for or of any.",
        "edit": "Turn a digit into others like it, of the labels you ask for.",
        "export": "Write the network as ONNX, with all that it takes to sample.",
    },
    sampling=GuidedSampling,
    labels="own",
    spaces=("latent", "pixel", "label"),
    path="slerp",
    measures=("likelihood", "reverse", "guidance", "walks"),
    story="The same, but the network knows which digit. Asking it with and without the label, and going "
    "beyond the difference, trades diversity for digits that are truer to their label.",
)  # fmt: skip
