"""What is held out of the training images, for validation and for test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from genmnist.data.dataset import Dataset, Splits
from genmnist.errors import GenmnistError
from genmnist.randomness import generator

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images [n, h, w] or [n, h, w, 3] and their labels [n]."""

_MOST = 5_000  # the last of MNIST's 60,000, as is the custom


def named(name: str, **parts: Arrays) -> Splits:
    """Return three parts that are given, `train`, `validation` and `test`, under the set's name."""
    return Splits(**{split: _dataset(name, split, arrays) for split, arrays in parts.items()})


def split_shuffled(name: str, train: Arrays, test: Arrays) -> Splits:
    """Hold out the last images of a set that comes shuffled: 5,000, or a twelfth if that is fewer.

    Raises:
        GenmnistError: there are fewer than two training images; so for the functions below.
    """
    images, labels = train
    _enough(name, images, 2)
    kept = len(images) - max(1, min(_MOST, len(images) // 12))
    return named(
        name, train=(images[:kept], labels[:kept]), validation=(images[kept:], labels[kept:]), test=test
    )


def split_seeded(name: str, train: Arrays, test: Arrays) -> Splits:
    """Hold out a tenth of the training images, in whichever order they come; always the same ones."""
    return Splits(test=_dataset(name, "test", test), **_held_out(name, train, "validation"))


def split_in_three(name: str, arrays: Arrays) -> Splits:
    """Hold out a tenth of all images for validation and another for test; always the same ones."""
    return Splits(**_held_out(name, arrays, "validation", "test"))


def _held_out(name: str, arrays: Arrays, *splits: str) -> dict[str, Dataset]:
    """Return a tenth of the images (one at least) for each of `splits`, and the rest to train on."""
    count = len(arrays[0])
    _enough(name, arrays[0], len(splits) + 1)
    order = torch.randperm(count, generator=generator(0, "hold out")).numpy()
    pieces = np.split(order, [max(1, count // 10) * (part + 1) for part in range(len(splits))])
    return {
        split: _dataset(name, split, arrays, np.sort(piece))
        for split, piece in zip((*splits, "train"), pieces, strict=True)
    }


def _dataset(name: str, split: str, arrays: Arrays, places: npt.NDArray[np.int64] | None = None) -> Dataset:
    images, labels = (
        torch.from_numpy(array.copy() if places is None else array[places]) for array in arrays
    )  # copies: what comes from a file is read-only
    return Dataset(f"{name} ({split})", images, labels, None if places is None else torch.from_numpy(places))


def _enough(name: str, images: npt.NDArray[np.uint8], least: int) -> None:
    if len(images) < least:
        raise GenmnistError(
            f"{name} has too few images to hold some out: {len(images)}, where {least} are the least"
        )
