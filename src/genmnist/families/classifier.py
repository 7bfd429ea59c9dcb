"""The classifier, whose features distances are measured in, and its noisy twin, which guides diffusion."""

from __future__ import annotations

from typing import Annotated

from genmnist.data.facts import MNIST
from genmnist.families.family import ClassNames, Family, ModelOptions, Preset, Recipe
from genmnist.options import about


class ClassifierOptions(ModelOptions, frozen=True, kw_only=True):
    """What a classifier is."""

    classes: Annotated[int, about("Classes to tell apart.", 1, 256)] = MNIST.classes
    class_names: ClassNames = ()
    noisy: Annotated[bool, about("Learn from images under every level of noise, to guide diffusion by.")] = (
        False
    )
    width: Annotated[int, about("Channels at half the side; 4 times as many features.", 1, 512)] = 32
    turn: Annotated[float, about("Training images are turned by up to so many degrees.", 0, 180)] = 12.0
    shift: Annotated[float, about("Training images are shifted by up to so many pixels.", 0, 14)] = 2.0
    stretch: Annotated[
        float, about("Training images are stretched and shrunk by up to this share.", 0, 0.9)
    ] = 0.12


CLASSIFIER = Family(
    name="classifier",
    title="classifier",
    model="genmnist.models.classifier:Classifier",
    presets={
        "fast": Preset(
            "a small residual network, three minutes of two cores: 99.7 % of the test digits right",
            ClassifierOptions(),
            Recipe(epochs=8, batch_size=128, lr=4e-3, optimizer="muon", lr_schedule="cosine", warmup=0.05,
                   weight_decay=0.01, ema=0.995),
        ),
    },
    commands={
        "train": "Train a classifier of images.",
        "export": "Write the network as ONNX, for other runtimes.",
    },
    variants={"noisy": {"noisy": True}},
)  # fmt: skip
