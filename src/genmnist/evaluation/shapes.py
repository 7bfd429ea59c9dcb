"""The shape of images in bytes, and how to say it."""

from __future__ import annotations

from jaxtyping import UInt8
from torch import Tensor

from genmnist.data import Shape


def image_shape(images: UInt8[Tensor, "n h w *rgb"]) -> Shape:
    """Return channels, height and width."""
    height, width, *channels = images.shape[1:]
    return (channels[0] if channels else 1, height, width)


def by(shape: Shape) -> str:
    """Say a shape: `28 x 28, grey`."""
    channels, height, width = shape
    return f"{height} x {width}, {'grey' if channels == 1 else 'colour'}"
