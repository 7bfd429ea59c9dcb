"""The IDX file format of the original MNIST, read without trust and written back."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genmnist.errors import GenmnistError

_UINT8 = 0x08
_MAX_BYTES = 1 << 30  # no set in this format comes near; a small gzip file can claim to be far larger


def read_idx(path: str | Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file.
        dimensions: how many the array must have: 3 for images [N, rows, columns], 1 for labels [N].

    Raises:
        GenmnistError: the file cannot be read, or is not such an IDX file, or is not of the size it states.
    """
    path = Path(path)
    content = _read(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise GenmnistError(f"{path} is too short to be an IDX file: copy it again")
    magic, *shape = struct.unpack(f">{dimensions + 1}I", content[:header])
    if magic != _UINT8 << 8 | dimensions:
        kind = {1: "labels", 3: "images"}.get(dimensions, f"{dimensions} dimensions")
        raise GenmnistError(f"{path} is not an IDX file of {kind} (it starts with {magic:#010x})")
    size = math.prod(shape)
    if len(content) - header != size:
        raise GenmnistError(
            f"{path} holds {len(content) - header:,} bytes of data where its header states {size:,}: "
            "it is truncated or damaged; copy it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: str | Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes as an IDX file, gzipped if the name ends in `.gz`."""
    header = struct.pack(f">{array.ndim + 1}I", _UINT8 << 8 | array.ndim, *array.shape)
    content = header + array.tobytes()
    Path(path).write_bytes(gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:  # gzip.BadGzipFile, a wrong checksum within, is one of these
        raise GenmnistError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise GenmnistError(f"{path} is a damaged gzip file ({error}): copy it again") from error
    if len(content) > _MAX_BYTES:
        raise GenmnistError(f"{path} holds more than {_MAX_BYTES:,} bytes; genmnist reads no larger sets")
    return content
