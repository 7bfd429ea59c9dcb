"""What is known of images before any are loaded: no torch here."""

from __future__ import annotations

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
