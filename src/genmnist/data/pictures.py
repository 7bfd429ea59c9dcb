"""Image files, read into arrays of one shape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from genmnist.errors import GenmnistError, UsageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_LARGEST = 256  # pixels a side, of images that are taken as they are

# Told by content, whatever the name says: PIL would hand PostScript to another program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_GREY = ("1", "L", "LA", "La")


def read_pictures(
    paths: Sequence[Path], image_size: int | None = None, colour: bool | None = None
) -> npt.NDArray[np.uint8]:
    """Return images [n, h, w], or [n, h, w, 3] if they are in colour.

    Args:
        paths: the files, in order; at least one.
        image_size: the side, in pixels, to which each is brought; absent, all must have one size.
        colour: whether they become colour or grey; absent, colour as soon as one of them is.

    Raises:
        UsageError: the images have several sizes, or are too large, and no `image_size` was given.
        GenmnistError: a file is no image.
    """
    images: list[npt.NDArray[np.uint8]] = []
    for path in paths:
        images.append(_read(path, image_size, colour))
        (height, width), (rows, columns) = images[0].shape[:2], images[-1].shape[:2]
        if (rows, columns) != (height, width):
            raise UsageError(
                f"{paths[0]} has {width} x {height} pixels but {path} {columns} x {rows}: give `image_size`, "
                "the side to which all images are brought"
            )
    if len({image.ndim for image in images}) > 1:
        images = [np.stack([image] * 3, -1) if image.ndim == 2 else image for image in images]
    return np.stack(images)


def grey(path: Path, most: int, mend: str) -> npt.NDArray[np.uint8]:
    """Return a picture in grey [h, w]; what is transparent is as far from the rest as can be.

    Args:
        path: the file.
        most: pixels a side.
        mend: what to do about a larger one.

    Raises:
        UsageError: it is larger.
        GenmnistError: it is no image.
    """
    with _opened(path) as image:
        if max(image.size) > most:
            width, height = image.size
            raise UsageError(f"{path} has {width:,} x {height:,} pixels: {mend}")
        if not image.has_transparency_data:
            return np.asarray(_in_mode(path, image, colour=False))
        seen = np.asarray(image.convert("LA"), np.float64)
        tone, share = seen[..., 0], seen[..., 1] / 255
        light = (tone * share).sum() > 127.5 * share.sum()
        return np.rint(tone * share + (0 if light else 255) * (1 - share)).astype(np.uint8)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image. Raises GenmnistError if it is none, or turns out not to be one as it is read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except (
        OSError, EOFError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError
    ) as error:  # fmt: skip
        raise GenmnistError(f"{path} cannot be read as an image: remove it or save it again") from error


def _read(path: Path, image_size: int | None, colour: bool | None) -> npt.NDArray[np.uint8]:
    with _opened(path) as image:
        if image_size is None and max(image.size) > _LARGEST:
            width, height = image.size
            raise UsageError(
                f"{path} has {width} x {height} pixels, more than {_LARGEST} a side: give `image_size`, "
                "the side to which all images are brought"
            )
        picture = _in_mode(path, image, colour)
        if image_size is not None:
            picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
        pixels = np.asarray(picture)
    if colour is None and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])  # grey, though stored as colour
    return pixels


def _in_mode(path: Path, image: Any, colour: bool | None) -> Image.Image:
    """Return the picture in 8 bits of grey or of each colour; what is transparent shows its own colour."""
    image.load()
    image.info.pop("transparency", None)
    if image.mode in ("I", "F"):
        raise GenmnistError(f"{path} has pixels of {image.mode} type: save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):  # PIL would cut 16 bits off at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    in_colour = image.mode not in _GREY if colour is None else colour
    picture: Image.Image = image.convert("RGB" if in_colour else "L")
    return picture
