"""A digit from anywhere, as MNIST's were prepared: light on dark, in a box of 20 x 20, centred by its mass.

Sizes are shares of the sides of the images of a model, so that digits of other sizes are prepared alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Num, UInt8
from numpy import ndarray
from PIL import Image

from genmnist.data.facts import Shape
from genmnist.data.pictures import grey
from genmnist.errors import UsageError

LARGEST = 2048  # pixels a side; more is a photograph, in which the digit must be found first
_BOX = 20 / 28  # of the side (LeCun et al. 1998, section III.A)
_LEAST = 40  # of 255, between a digit and its ground

Ink = Float64[ndarray, "h w"]


def digit(path: Path, shape: Shape) -> UInt8[ndarray, "h w"]:
    """Return the digit of a picture as images of `shape` are; one that is as they are stays as it is.

    Raises:
        UsageError: the picture is too large, nothing is to be seen in it, or images of `shape` are in colour.
        GenmnistError: it is no picture.
    """
    if shape[0] != 1:
        raise UsageError(f"{path}: only grey images are prepared, and the model's are in colour")
    return prepared(path, read(path), shape[1:])


def read(path: Path) -> UInt8[ndarray, "h w"]:
    """Return a picture in grey.

    Raises:
        UsageError: it is too large.
        GenmnistError: it is no picture.
    """
    return grey(path, LARGEST, f"cut out the digit, in {LARGEST:,} pixels a side at most")


def prepared(path: Path, picture: UInt8[ndarray, "h w"], size: tuple[int, int]) -> UInt8[ndarray, "a b"]:
    """Return a picture's digit in an image of `size`. Raises UsageError if there is nothing to be seen."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ground = float(np.median(edge))
    darkest, lightest = float(picture.min()), float(picture.max())
    if lightest - darkest < _LEAST:
        raise UsageError(f"{path} is {_even(darkest, lightest)} all over: there is no digit to be seen in it")
    # Light on dark as it is, if what stands out from the ground most is lighter than it.
    light = lightest - ground >= ground - darkest
    if light and picture.shape == size and ground == 0 and _placed(picture):
        return picture
    ink = picture - ground if light else ground - picture.astype(np.float64)
    uneven = 2 * np.quantile(np.abs(edge - ground), 0.9)  # what paper and camera add to the ground
    ink = np.where(ink > uneven, ink, 0).clip(0)
    if not ink.any():
        raise UsageError(f"{path} has so uneven a ground that no digit stands out: cut it out, or paint it")
    return _centred(_boxed(ink, max(1, round(_BOX * min(size)))), size)


def _even(darkest: float, lightest: float) -> str:
    return "black" if lightest < _LEAST else "white" if darkest > 255 - _LEAST else "one grey"


def _placed(picture: UInt8[ndarray, "h w"]) -> bool:
    """Tell whether a digit lies as MNIST's do: in the box, its centre of mass in the middle."""
    far = np.abs(_mass(picture.astype(np.float64)) - _middle(picture.shape)).max()
    most = _BOX * min(picture.shape)
    return bool(far <= 1 and 0.8 * most <= max(_cut(picture).shape) <= most)


def _cut(ink: Num[ndarray, "h w"]) -> Num[ndarray, "a b"]:
    """Return the least part that has all that is not black."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _boxed(ink: Ink, side: int) -> Float64[ndarray, "a b"]:
    """Cut a digit out, and bring its longer side to so many pixels."""
    cut = _cut(ink)
    height, width = (max(1, round(length * side / max(cut.shape))) for length in cut.shape)
    image = Image.fromarray(cut.astype(np.float32))
    way = Image.Resampling.BOX if side < max(cut.shape) else Image.Resampling.BICUBIC
    small: Float64[ndarray, "a b"] = np.asarray(image.resize((width, height), way), np.float64).clip(0)
    small /= small.max()
    return small


def _centred(ink: Ink, size: tuple[int, int]) -> UInt8[ndarray, "a b"]:
    """Put a digit where its centre of mass is in the middle, as far as it stays inside."""
    place = np.rint(_middle(size) - _mass(ink)).astype(int).clip(0, np.array(size) - ink.shape)
    found = np.zeros(size, np.uint8)
    down, right = place
    found[down : down + ink.shape[0], right : right + ink.shape[1]] = np.rint(255 * ink)
    return found


def _middle(size: tuple[int, ...]) -> Float64[ndarray, " 2"]:
    """Return the row and column where MNIST has the centre of mass: pixel 14, the first past the middle."""
    return np.array(size) / 2


def _mass(ink: Ink) -> Float64[ndarray, " 2"]:
    """Return the centre of mass: row and column."""
    rows, columns = (np.arange(length) for length in ink.shape)
    mass: Float64[ndarray, " 2"] = np.array([ink.sum(1) @ rows, ink.sum(0) @ columns]) / ink.sum()
    return mass


def hidden(path: Path, size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Return the mask in a picture: where it is white, pixels are hidden.

    Raises:
        UsageError: it is not of this size.
        GenmnistError: it is no picture.
    """
    picture = read(path)
    if picture.shape != size:
        (height, width), (rows, columns) = size, picture.shape
        raise UsageError(
            f"the mask {path} has {columns} x {rows} pixels: it must have as many as the image, "
            f"{width} x {height}"
        )
    return np.asarray(picture >= 128)


SIDES = ("left", "right", "top", "bottom")


def half(side: str, size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Return the mask that hides the `left`, `right`, `top` or `bottom` half."""
    (height, width), (rows, columns) = size, np.indices(size)
    hidden: dict[str, Bool[ndarray, "h w"]] = {
        "left": columns < width // 2,
        "right": columns >= width - width // 2,
        "top": rows < height // 2,
        "bottom": rows >= height - height // 2,
    }
    return hidden[side]
