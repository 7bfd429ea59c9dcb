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

from genmnist.errors import GenmnistError, UsageError

_MOST = 1_000_000  # images; far more than anybody measures, far less than fills a memory


def read(path: str | Path) -> tuple[UInt8[Tensor, "n 28 28"], Int64[Tensor, " n"] | None]:
    """Return `images` and, if there are any, `labels` of an .npz file.

    Sizes are checked before memory is taken, and nothing is unpickled.

    Raises:
        UsageError: there is no such file.
        GenmnistError: it is damaged, or holds something else.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}: name an .npz file with an array `images`")
    try:
        with zipfile.ZipFile(path) as archive:
            images = _array(archive, "images", np.dtype(np.uint8), 3)
            labels = _array(archive, "labels", np.dtype(np.int64), 1) if _has(archive, "labels") else None
    except OSError as error:
        raise GenmnistError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except KeyError as error:
        raise GenmnistError(f"{path} has no array `images`, uint8 [n, 28, 28]") from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise GenmnistError(f"{path} is not an .npz file of images: {reason}") from error
    if images.shape[1:] != (28, 28):
        raise GenmnistError(f"{path} holds images of {images.shape[1:]}, not of (28, 28)")
    if labels is not None and (len(labels) != len(images) or (len(labels) and labels.min() < 0)):
        raise GenmnistError(f"{path} holds {len(images)} images but not a label, 0 or more, for each")
    return torch.from_numpy(images), None if labels is None else torch.from_numpy(labels)


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return f"{name}.npy" in archive.namelist()


def _array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[np.generic], dimensions: int
) -> npt.NDArray[np.generic]:
    """Return an array of a known kind. Raises KeyError if it is absent, ValueError if it is another."""
    if archive.getinfo(f"{name}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"`{name}` is compressed in a way that genmnist does not read")
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"`{name}` is written in a format that genmnist does not read")
        shape, fortran, found = np.lib.format.read_array_header_1_0(member)
        if found != dtype or fortran or len(shape) != dimensions:
            raise ValueError(f"`{name}` is {found} {list(shape)}, not {dtype} with {dimensions} dimensions")
        if not 0 <= math.prod(shape) <= _MOST * 28 * 28 or (shape and shape[0] > _MOST):
            raise ValueError(f"`{name}` has more than {_MOST:,} entries")
        size = math.prod(shape) * dtype.itemsize
        contents = member.read(size)
        if len(contents) != size:
            raise ValueError(f"`{name}` is cut short")
    return np.frombuffer(contents, dtype).reshape(shape).copy()
