"""Images from anywhere, in the arrays that `genmnist sample --out FILE.npz` writes; read without trust."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data.facts import MAX_SIDE
from genmnist.errors import GenmnistError, UsageError

_MOST = 1_000_000  # images; far more than anybody measures
_MOST_BYTES = 1 << 30


def read(path: str | Path) -> tuple[UInt8[Tensor, "n h w *rgb"], Int64[Tensor, " n"] | None]:
    """Return the images, [n, h, w] or [n, h, w, 3], and, if there are any, the labels of an .npz file.

    Sizes are checked before memory is taken, and nothing in the file is run.

    Raises:
        UsageError: there is no such file.
        GenmnistError: it is damaged, or holds something else.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}: name an .npz file with an array `images`")
    try:
        with zipfile.ZipFile(path) as archive:
            images = _array(archive, "images", np.dtype(np.uint8), (3, 4))
            labels = _array(archive, "labels", np.dtype(np.int64), (1,)) if _has(archive, "labels") else None
    except OSError as error:
        raise GenmnistError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except KeyError as error:
        raise GenmnistError(f"{path} has no array `images`, uint8 [n, h, w] or [n, h, w, 3]") from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise GenmnistError(f"{path} is not an .npz file of images: {reason}") from error
    height, width, *rgb = images.shape[1:]
    if rgb not in ([], [3]) or not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise GenmnistError(
            f"{path} holds images {list(images.shape)}; genmnist takes grey [n, h, w] or "
            f"colour [n, h, w, 3] with sides of 1 to {MAX_SIDE} pixels"
        )
    if labels is not None and (len(labels) != len(images) or (len(labels) and labels.min() < 0)):
        raise GenmnistError(f"{path} holds {len(images)} images but not a label, 0 or more, for each")
    return torch.from_numpy(images), None if labels is None else torch.from_numpy(labels)


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return f"{name}.npy" in archive.namelist()


def _array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[np.generic], dimensions: tuple[int, ...]
) -> npt.NDArray[np.generic]:
    """Return an array of a known kind. Raises KeyError if it is absent, ValueError if it is another."""
    if archive.getinfo(f"{name}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"`{name}` is compressed in a way that genmnist does not read")
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"`{name}` is written in a format that genmnist does not read")
        shape, fortran, found = np.lib.format.read_array_header_1_0(member)
        if found != dtype or fortran or len(shape) not in dimensions or min(shape) < 0:
            wanted = " or ".join(map(str, dimensions))
            raise ValueError(f"`{name}` is {found} {list(shape)}, not {dtype} with {wanted} dimensions")
        size = math.prod(shape) * dtype.itemsize
        if shape[0] > _MOST or size > _MOST_BYTES:
            raise ValueError(f"`{name}` has more than {_MOST:,} entries or {_MOST_BYTES:,} bytes")
        contents = member.read(size)
        if len(contents) != size:
            raise ValueError(f"`{name}` is cut short")
    return np.frombuffer(contents, dtype).reshape(shape).copy()
