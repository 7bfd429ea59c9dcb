"""A set of four IDX files: images and labels, to train on and to test on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genmnist.data.facts import MAX_SIDE
from genmnist.data.holdout import Arrays
from genmnist.data.idx import header, read_idx
from genmnist.errors import GenmnistError


def read_idx_set(folder: Path, checksums: Mapping[str, str] | None = None) -> dict[str, Arrays]:
    """Read the four files of a set: images and labels, to train on ("train") and to test on ("test").

    Args:
        folder: where `train-images-idx3-ubyte` and its three companions lie, gzipped or not.
        checksums: the SHA-256 sum of each file, unpacked, by name.

    Raises:
        GenmnistError: a file is absent, damaged, or not the one of that sum, or they do not belong together.
    """
    train, test = (_read_part(folder, *names, checksums) for names in (("train", "train"), ("test", "t10k")))
    if train[0].shape[1:] != test[0].shape[1:]:
        trained, tested = (f"{images.shape[1]} x {images.shape[2]}" for images, _ in (train, test))
        raise GenmnistError(f"{folder} has train images of {trained} pixels but test images of {tested}")
    return {"train": train, "test": test}


def _read_part(folder: Path, split: str, prefix: str, checksums: Mapping[str, str] | None) -> Arrays:
    images, labels = (
        _read_known(_find(folder, prefix, kind, dimensions), dimensions, checksums)
        for kind, dimensions in (("images", 3), ("labels", 1))
    )
    if len(images) != len(labels):
        raise GenmnistError(f"{folder} has {len(images)} {split} images but {len(labels)} labels")
    if not len(images):
        raise GenmnistError(f"{folder} has no {split} images")
    rows, columns = images.shape[1:]
    if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
        raise GenmnistError(
            f"{folder} has images of {rows} x {columns} pixels; genmnist takes 1 to {MAX_SIDE} a side"
        )
    return images, labels.astype(np.int64)


def _read_known(path: Path, dimensions: int, checksums: Mapping[str, str] | None) -> npt.NDArray[np.uint8]:
    array = read_idx(path, dimensions)
    if checksums is not None and _checksum(array) != checksums[path.name.removesuffix(".gz")]:
        raise GenmnistError(f"{path} is not the MNIST file of that name: install genmnist again")
    return array


def _checksum(array: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 sum of the IDX file that holds `array`."""
    digest = hashlib.sha256(header(array))
    digest.update(array.data)
    return digest.hexdigest()


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path:
    names = [f"{prefix}-{kind}{dot}idx{dimensions}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise GenmnistError(f"{folder} has no file {names[0]} (nor {names[1]})")
