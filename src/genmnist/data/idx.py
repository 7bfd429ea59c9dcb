"""The IDX file format of the original MNIST, read without trust and written back."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genmnist.errors import GenmnistError
from genmnist.files import opened, read_into

_UINT8 = 0x08
_MAX_BYTES = 1 << 30  # no set in this format comes near
_MOST = 10_000_000  # entries, likewise


def read_idx(path: str | Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file.
        dimensions: how many the array must have: 3 for images [N, rows, columns], 1 for labels [N].

    Raises:
        GenmnistError: the file cannot be read, or is not such an IDX file, or is not of the size it states.
    """
    path = Path(path)
    try:
        with opened(path, "copy it again") as raw:
            zipped, packed = raw.read(2) == b"\x1f\x8b", os.fstat(raw.fileno()).st_size
            raw.seek(0)
            if not zipped:
                return _array(path, raw, dimensions, None, packed)
            with gzip.open(raw) as file:
                return _array(path, file, dimensions, packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise GenmnistError(f"{path} is a damaged gzip file ({error}): copy it again") from error
    except ValueError as error:  # it unpacks to too much
        raise GenmnistError(f"{path} is no set of images: {error}") from error


def write_idx(path: str | Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes as an IDX file, gzipped if the name ends in `.gz`."""
    content = header(array) + array.tobytes()
    Path(path).write_bytes(gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def header(array: npt.NDArray[np.uint8]) -> bytes:
    """Return what stands before the bytes of an array in an IDX file."""
    return struct.pack(f">{array.ndim + 1}I", _UINT8 << 8 | array.ndim, *array.shape)


def _array(
    path: Path, file: Any, dimensions: int, packed: int | None, known: int | None = None
) -> npt.NDArray[np.uint8]:
    """Read an array, whose header is believed only as far as memory for it may be taken.

    Args:
        path: what the file is called.
        file: what to read from.
        dimensions: how many the array must have.
        packed: how large the file is that is unpacked as it is read, if it is.
        known: how large a file is that is read as it is.
    """
    start = file.read(4 + 4 * dimensions)
    if len(start) < 4 + 4 * dimensions:
        raise GenmnistError(f"{path} is too short to be an IDX file: copy it again")
    magic, *shape = struct.unpack(f">{dimensions + 1}I", start)
    if magic != _UINT8 << 8 | dimensions:
        kind = {1: "labels", 3: "images"}.get(dimensions, f"{dimensions} dimensions")
        raise GenmnistError(f"{path} is not an IDX file of {kind} (it starts with {magic:#010x})")
    size = math.prod(shape)
    if known is not None and known - len(start) != size:
        raise _wrong_size(path, f"{known - len(start):,}", size)
    if size > _MAX_BYTES or shape[0] > _MOST:
        raise GenmnistError(
            f"{path} states {shape[0]:,} entries and {size:,} bytes; genmnist reads no larger sets than "
            f"{_MOST:,} and {_MAX_BYTES:,}"
        )
    array = np.empty(shape, np.uint8)
    if not read_into(file, array.reshape(-1).data, packed):
        raise _wrong_size(path, "fewer", size)
    if file.read(1):
        raise _wrong_size(path, "more", size)
    return array


def _wrong_size(path: Path, held: str, stated: int) -> GenmnistError:
    return GenmnistError(
        f"{path} holds {held} bytes of data where its header states {stated:,}: "
        "it is truncated or damaged; copy it again"
    )
