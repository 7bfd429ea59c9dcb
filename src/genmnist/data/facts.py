"""What is known of images before any are loaded: no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]
"""Channels (1 grey, 3 colour), height and width of an image."""

MAX_SIDE = 1024
"""The largest side of an image, in pixels, that is read."""


@dataclass(frozen=True)
class DatasetFacts:
    """What the images of a set are."""

    shape: Shape
    classes: int


MNIST = DatasetFacts((1, 28, 28), 10)


def class_name(names: Sequence[str], label: int) -> str:
    """Return what a label is called, as it can be written; by its number, if it has no name."""
    name = names[label] if label < len(names) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in name) or str(label)
