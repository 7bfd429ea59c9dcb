"""A folder of the user's own: IDX files, or a subfolder of images for each class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from genmnist.data.adopt import MOST_CLASSES
from genmnist.data.dataset import Splits
from genmnist.data.facts import MAX_SIDE
from genmnist.data.holdout import Arrays, split_seeded
from genmnist.data.idx_set import read_idx_set
from genmnist.data.pictures import leads_back, list_pictures, read_pictures
from genmnist.errors import GenmnistError, UsageError

_Listing = list[tuple[Path, int]]


def load_folder(folder: Path, image_size: int | None = None, colour: bool | None = None) -> Splits:
    """Load a folder as `data.load` describes it.

    Raises:
        UsageError: there is no such folder, or its images need an `image_size`, or cannot have one.
        GenmnistError: the files are absent, damaged, or not what they should be.
    """
    if image_size is not None and not 1 <= image_size <= MAX_SIDE:
        raise UsageError(f"`image_size` must lie between 1 and {MAX_SIDE}, not {image_size}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: `data_dir` takes a folder of IDX files or of images")
    if any(folder.glob("*-ubyte*")):
        if image_size is not None or colour is not None:
            raise UsageError(
                f"{folder} holds IDX files, which are taken as they are: "
                "`image_size` and `colour` are for folders of images"
            )
        parts = read_idx_set(folder)
        classes: dict[str, int] = {}
    else:
        classes = _classes(folder / "train" if _is_split(folder) else folder)
        parts = _read_images(folder, classes, image_size, colour)
    splits = split_seeded(f"folder {folder.name}", **parts)
    called = {number: name for name, number in classes.items()}
    names = tuple(called.get(number, "") for number in range(max(called, default=-1) + 1))
    return Splits(*(replace(part, class_names=names) for part in splits))


def _is_split(folder: Path) -> bool:
    """Tell whether a folder has its images under `train/` and `test/`."""
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def _read_images(
    folder: Path, classes: dict[str, int], image_size: int | None, colour: bool | None
) -> dict[str, Arrays]:
    if _is_split(folder):
        listings = {split: _listing(folder / split, classes) for split in ("train", "test")}
    else:
        listings = _every_tenth(folder, _listing(folder, classes))
    # Read together: all have one shape, and all are in colour as soon as one is.
    images = read_pictures([path for part in listings.values() for path, _ in part], image_size, colour)
    labels = np.array([label for part in listings.values() for _, label in part], np.int64)
    cut = len(listings["train"])
    return {"train": (images[:cut], labels[:cut]), "test": (images[cut:], labels[cut:])}


def _every_tenth(folder: Path, listing: _Listing) -> dict[str, _Listing]:
    """Keep every tenth image of a folder that holds no test set aside to be one."""
    if len(listing) < 10:
        raise GenmnistError(
            f"{folder} has {len(listing)} images; genmnist needs ten or more "
            "to keep some for validation and test"
        )
    train = [item for number, item in enumerate(listing) if number % 10 != 9]
    return {"train": train, "test": listing[9::10]}


def _classes(folder: Path) -> dict[str, int]:
    """Return a number for each subfolder: its name, if all names are numbers, else its alphabetical place."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(names) > MOST_CLASSES:
        raise GenmnistError(
            f"{folder} has {len(names):,} subfolders; genmnist takes {MOST_CLASSES:,} classes"
        )
    if names and all(name.isascii() and name.isdigit() and int(name) < 256 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _listing(folder: Path, classes: dict[str, int]) -> _Listing:
    """Return the image files of each class, in the order of their names, with the class's number."""
    listing: _Listing = []
    for name in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        if leads_back(folder / name):
            raise GenmnistError(f"{folder / name} is a link to a folder that it lies in: remove it")
        if name not in classes:
            raise GenmnistError(f"{folder / name} is not among the classes of the training set")
        listing += [(path, classes[name]) for path in list_pictures(folder / name, follow=True)]
    if not listing:
        raise GenmnistError(f"{folder} holds neither IDX files nor a subfolder of images for each class")
    return listing
