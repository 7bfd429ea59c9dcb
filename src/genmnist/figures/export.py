"""Samples written as whatever their file's name asks for, in the memory of one batch."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from genmnist.figures.style import texts
from genmnist.files import replacing

Batches = Iterable[UInt8[Tensor, "_ h w *rgb"]]  # of any size each


def npz(
    batches: Batches, num: int, path: Path, labels: Sequence[int] | Int64[Tensor, " num"] | None = None
) -> None:
    """Write arrays as NumPy reads them.

    `images` are uint8 [num, height, width], in colour [num, height, width, 3]; `labels`, if there are any,
    int64 [num].

    Raises:
        GenmnistError: the file cannot be written.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as member:
            for number, batch in enumerate(batches):
                if number == 0:
                    shape = (num, *batch.shape[1:])
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                member.write(batch.numpy().tobytes())
        if labels is not None:
            with archive.open("labels.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(labels, np.int64))


def folder(batches: Batches, num: int, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write a PNG an image into a folder: `000.png`, `001.png` and so on.

    Each says `about` of itself, and its number under `image`.

    Raises:
        GenmnistError: the folder cannot be written.
    """
    digits = max(3, len(str(num - 1)))
    with replacing(path) as temporary:
        temporary.mkdir()
        for number, image in enumerate(itertools.chain.from_iterable(batches)):
            pixels: npt.NDArray[np.uint8] = image.numpy()
            said = texts({**about, "image": str(number)} if about else {})
            Image.fromarray(pixels).save(temporary / f"{number:0{digits}d}.png", pnginfo=said)
