"""Samples written as whatever their file's name asks for, in the memory of one batch."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from genmnist.figures import grid
from genmnist.files import replacing


def npz(
    batches: Iterable[UInt8[Tensor, "b 28 28"]], num: int, path: Path, labels: Sequence[int] | None = None
) -> None:
    """Write `images` uint8 [num, 28, 28], and `labels` int64 [num] if there are any, as NumPy reads them.

    Raises:
        GenmnistError: the file cannot be written.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (num, 28, 28)}
            np.lib.format.write_array_header_1_0(member, header)
            for batch in batches:
                member.write(batch.numpy().tobytes())
        if labels is not None:
            with archive.open("labels.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(labels, np.int64))


def folder(batches: Iterable[UInt8[Tensor, "b 28 28"]], num: int, path: Path) -> None:
    """Write a PNG an image into a folder: `000.png`, `001.png` and so on.

    Raises:
        GenmnistError: the folder cannot be written.
    """
    digits = max(3, len(str(num - 1)))
    with replacing(path) as temporary:
        temporary.mkdir()
        for number, image in enumerate(itertools.chain.from_iterable(batches)):
            pixels: npt.NDArray[np.uint8] = image.numpy()
            Image.fromarray(pixels).save(temporary / f"{number:0{digits}d}.png")


def png(batches: Iterable[UInt8[Tensor, "b 28 28"]], path: Path, columns: int | None = None) -> Image.Image:
    """Write a grid of all the images, a square unless `columns` says otherwise, and return it.

    Raises:
        UsageError: there are more than a picture can show.
        GenmnistError: the file cannot be written.
    """
    picture = grid.grid(torch.cat(list(batches)), columns)
    grid.save(picture, path)
    return picture
