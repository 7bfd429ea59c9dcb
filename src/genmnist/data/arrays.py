"""Images from anywhere: what `genmnist sample` writes, and what other code does; read without trust."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data.adopt import MOST_CLASSES, are_labels, take_images
from genmnist.data.pictures import list_pictures, read_pictures
from genmnist.errors import GenmnistError, UsageError
from genmnist.files import opened, read_into
from genmnist.text import first_line

_MOST = 1_000_000  # images; far more than anybody measures
_MOST_BYTES = 1 << 30
_MOST_ARRAYS = 1_000  # in a file
_AT_ONCE = 1 << 20  # bytes; the list of a thousand arrays has a tenth
_LIKE_THIS = "`numpy.savez('images.npz', images=images)` writes such a file"

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]  # shape, whether columns come first, type


class Found(NamedTuple):
    """Images, and labels if there are any; and what was assumed of them, a sentence each."""

    images: UInt8[Tensor, "n h w *rgb"]
    labels: Int64[Tensor, " n"] | None
    assumed: tuple[str, ...]


def read(path: str | Path) -> Found:
    """Return the images of an .npz or .npy file, or of a folder of pictures.

    What is unambiguous is taken as it is meant: floats from 0 to 1, [n, 1, h, w], arrays of other names.
    Sizes are checked before memory is taken, and nothing in a file is run.

    Raises:
        UsageError: there is no such file, or it holds something that may mean several things; the sentence
            says which line of NumPy mends it.
        GenmnistError: it is damaged, or holds something else.
    """
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if not place.exists():
        raise UsageError(f"there is no file {path}: name an .npz file with an array `images`, or a folder")
    try:
        found = _arrays(place)
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        reason = f"{first_line(error):.200}; {_LIKE_THIS}"
        raise GenmnistError(f"{path} is not an .npz file of images: {reason}") from error
    images, assumed = take_images(found["images"], str(path))
    labels = found.get("labels")
    if labels is not None and not _are_labels(labels, len(images)):
        raise GenmnistError(
            f"{path} holds {len(images)} images but not a label for each, a whole number from 0 to "
            f"{MOST_CLASSES - 1:,}"
        )
    assumed = tuple(f"its array {name!r} is its {role}" for role, name in found["names"].items()) + assumed
    return Found(
        torch.from_numpy(images),
        None if labels is None else torch.from_numpy(labels.astype(np.int64)),
        assumed,
    )


def _are_labels(labels: npt.NDArray[Any], count: int) -> bool:
    return labels.shape == (count,) and labels.dtype.kind in "iu" and are_labels(labels)


def _folder(folder: Path) -> Found:
    """Return the pictures in a folder and in those within it, in the order of their names."""
    pictures = _pictures(folder)
    if not pictures:
        raise GenmnistError(f"{folder} has no pictures: name a folder of PNG files, or an .npz file")
    return Found(torch.from_numpy(read_pictures(pictures)), None, (f"its {len(pictures)} pictures, by name",))


def _pictures(folder: Path) -> list[Path]:
    return list_pictures(folder, follow=False)


def names(path: str | Path, count: int) -> tuple[str, ...]:
    """Return what to call the images that `read` returned: pictures by their paths, others by number."""
    place = Path(path)
    if place.is_dir():
        return tuple(picture.relative_to(place).as_posix() for picture in _pictures(place))
    return tuple(map(str, range(count)))


def _arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of images and labels, and by their role the names of those that were guessed."""
    mend = "name an .npz file with an array `images`, or a folder"
    if path.suffix == ".npy":
        with opened(path, mend) as file:
            return {"images": _contents(file, "images", _header(file, "images")), "names": {}}
    with opened(path, mend) as raw, zipfile.ZipFile(_Sparing(raw)) as archive:
        stored = [member for member in archive.namelist() if member.endswith(".npy")]
        if len(stored) > _MOST_ARRAYS:
            raise ValueError(f"it has more than {_MOST_ARRAYS:,} arrays")
        headers: dict[str, Header] = {}
        for member in stored:
            name = member.removesuffix(".npy")
            if archive.getinfo(member).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"`{name}` is compressed in a way that genmnist does not read")
            with archive.open(member) as file:
                headers[name] = _header(file, name)
        chosen = _chosen(path, headers)
        found: dict[str, Any] = {"names": {role: name for role, name in chosen.items() if role != name}}
        for role, name in chosen.items():
            with archive.open(f"{name}.npy") as file:
                packed = archive.getinfo(f"{name}.npy").compress_size
                found[role] = _contents(file, name, _header(file, name), packed)
        return found


class _Sparing:
    """A file of which not more is read at once than images need: the list of what is in it is short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, _AT_ONCE + 1) if size >= 0 else _AT_ONCE + 1)
        if len(content) > _AT_ONCE:
            raise ValueError("it lists too much")
        return content


def _chosen(path: Path, headers: dict[str, Header]) -> dict[str, str]:
    """Return which array has the images, and which the labels. Raises UsageError if that is open."""
    likely = (
        ["images"] if "images" in headers else [n for n, (shape, *_) in headers.items() if len(shape) > 1]
    )
    if len(likely) != 1:
        many = f"several arrays that may be images, {', '.join(likely)}" if likely else "no array `images`"
        raise UsageError(f"{path} has {many:.200}: {_LIKE_THIS}")
    count = headers[likely[0]][0][0]
    numbers = [
        name
        for name, (shape, _, dtype) in headers.items()
        if name != likely[0] and len(shape) == 1 and shape[0] == count and dtype.kind in "iu"
    ]
    labels = ["labels"] if "labels" in headers else numbers
    return {"images": likely[0], **({"labels": labels[0]} if len(labels) == 1 else {})}


def _header(file: Any, name: str) -> Header:
    """Return what an array says of itself. Raises ValueError if it is of no known kind, or too large."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"`{name}` is written in a format that genmnist does not read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it is nobody's trouble
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, tokenize.TokenError, TypeError, RecursionError, MemoryError) as error:
        # NumPy reads it as Python's literals, whose parser has its own words for what is none.
        raise ValueError(f"`{name}` has a header that says nothing") from error
    if dtype.kind not in "biuf" or not shape or min(shape) < 0 or any(type(side) is bool for side in shape):
        raise ValueError(f"`{name}` is {dtype} {list(shape)}, not numbers")
    if shape[0] > _MOST or math.prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"`{name}` has more than {_MOST:,} entries or {_MOST_BYTES:,} bytes")
    return shape, fortran, dtype


def _contents(file: Any, name: str, header: Header, packed: int | None = None) -> npt.NDArray[Any]:
    """Return an array whose header was read, `packed` in so many bytes.

    Raises:
        ValueError: it is cut short, or packed so that little becomes very much.
    """
    shape, fortran, dtype = header
    contents = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    try:
        enough = read_into(file, contents.data, packed)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from error
    if not enough:
        raise ValueError(f"`{name}` is cut short")
    return contents.view(dtype).reshape(shape, order="F" if fortran else "C")
