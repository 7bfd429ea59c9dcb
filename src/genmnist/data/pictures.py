"""Image files, read into arrays of one shape."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import opened, reason

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_LARGEST = 256  # pixels a side, of images that are taken as they are
_MOST_PIXELS = 1 << 26  # of an image that is brought to another size; a quarter of a gibibyte, unpacked
_MOST_BYTES = 1 << 27  # of a file
_MOST_TOGETHER = 1 << 32  # bytes of all images
_MOST = 2_000_000  # files in a folder and those within it

# Told by content, whatever the name says: PIL would hand PostScript to another program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_MEND = "remove it or save it again"
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
        if len(paths) * images[-1].size > _MOST_TOGETHER:
            raise UsageError(
                f"{len(paths):,} images of {width} x {height} pixels are more than {_MOST_TOGETHER >> 30} "
                "GiB: give a smaller `image_size`, or fewer"
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


def list_pictures(folder: Path, follow: bool) -> list[Path]:
    """Return the image files in a folder and in those within it, in the order of their names.

    Args:
        folder: the folder.
        follow: also into folders that are links; but into each folder once, and never back to where the link
            lies, so that no loop is run through.

    Raises:
        GenmnistError: a folder cannot be read, or there is too much in them.
    """
    found: list[Path] = []
    seen, looked = set[str](), 0

    def refuse(error: OSError) -> NoReturn:
        raise GenmnistError(f"cannot read the folder {error.filename}: {reason(error)}") from error

    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=follow):
        place = Path(here)
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        looked += len(folders) + len(files)
        if looked > _MOST:
            raise GenmnistError(f"{folder} has more than {_MOST:,} files: name a folder of pictures alone")
        found += [place / name for name in files if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = sorted(name for name in folders if not leads_back(place / name))
    return sorted(found, key=lambda path: (str(path.parent), path.name))


def leads_back(link: Path) -> bool:
    """Tell whether a link leads to a folder that it lies in."""
    target, here = os.path.realpath(link), os.path.realpath(link.parent)
    return os.path.commonpath([target, here]) == target


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image. Raises GenmnistError if it is none, or turns out not to be one as it is read."""
    try:
        with opened(path, _MEND) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow finds odd it either reads or refuses
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise GenmnistError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: {_MEND}")
            image = Image.open(file, formats=_FORMATS)
            with _silent() if image.format == "TIFF" else contextlib.nullcontext():
                yield image
    except GenmnistError:
        raise
    except Exception as error:  # a damaged image may make Pillow raise anything: KeyError, struct.error, …
        raise GenmnistError(f"{path} cannot be read as an image: {_MEND}") from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep libtiff from writing to standard error what it finds wrong: our sentence says that."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


def _read(path: Path, image_size: int | None, colour: bool | None) -> npt.NDArray[np.uint8]:
    with _opened(path) as image:
        pixels = _pixels(path, image, image_size, colour)
    if colour is None and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])  # grey, though stored as colour
    return pixels


def _pixels(path: Path, image: Any, image_size: int | None, colour: bool | None) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image that has not been unpacked yet."""
    width, height = image.size
    if image_size is None and max(image.size) > _LARGEST:
        raise UsageError(
            f"{path} has {width} x {height} pixels, more than {_LARGEST} a side: give `image_size`, "
            "the side to which all images are brought"
        )
    if width * height > _MOST_PIXELS:
        raise GenmnistError(f"{path} has {width} x {height} pixels, more than genmnist unpacks: {_MEND}")
    picture = _in_mode(path, image, colour)
    if image_size is not None:
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


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
