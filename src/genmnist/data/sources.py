"""Where data sets come from: the package, torchvision's downloads, or a folder of the user's own."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from genmnist.data.dataset import Dataset, Splits
from genmnist.data.idx import read_idx
from genmnist.errors import GenmnistError, UsageError
from genmnist.presets import DATASETS

BUNDLED = Path(__file__).parent / "mnist"

# SHA-256 of the four original files, unpacked: what the bytes are, however they were compressed.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_PREFIXES = {"train": "train", "test": "t10k"}

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Downloaded:
    """A set that torchvision knows how to fetch: its class there, and what each split is called."""

    dataset: str
    splits: dict[str, dict[str, Any]]
    transposed: bool = False
    about: str = ""

    @property
    def folder(self) -> Path:
        """Return the folder of the user's cache where torchvision keeps the archives of this set."""
        return cache() / self.dataset / "raw"

    def archives(self) -> dict[str, str]:
        """Return the MD5 sum of each archive by file name, from torchvision's own tables."""
        from torchvision import datasets

        kind: Any = getattr(datasets, self.dataset)
        if self.dataset == "EMNIST":
            return {Path(kind.url).name: kind.md5}
        if self.dataset == "QMNIST":
            wanted = [options["what"].removesuffix("10k") for options in self.splits.values()]
            return {Path(url).name: md5 for what in wanted for url, md5 in kind.resources[what]}
        return dict(kind.resources)

    def state(self) -> str:
        """Say whether the archives are in the cache and whole: `verified`, `absent` or `damaged`."""
        if not self.folder.is_dir():
            return "absent"  # without the seconds that importing torchvision takes

        from torchvision.datasets.utils import check_integrity

        archives = self.archives()
        if not all((self.folder / name).exists() for name in archives):
            return "absent"
        whole = all(check_integrity(str(self.folder / name), md5) for name, md5 in archives.items())
        return "verified" if whole else "damaged"

    def load(self) -> dict[str, Arrays]:
        """Fetch the archives if they are not in the cache, verify them, and unpack both splits."""
        from torchvision import datasets

        kind: Any = getattr(datasets, self.dataset)
        for path in self.folder.glob("*"):  # what was unpacked: only archives have sums, so unpack them again
            if path.is_file() and path.name not in self.archives():
                path.unlink()
        by_hand = f"put {', '.join(self.archives())} into {self.folder} by hand"
        try:
            loaded = {
                split: kind(str(cache()), download=True, **options) for split, options in self.splits.items()
            }
        except (OSError, RuntimeError, ValueError, AssertionError, zlib.error) as error:
            raise GenmnistError(f"cannot fetch {self.dataset} ({_one_line(error)}): {by_hand}") from error
        if self.state() != "verified":
            raise GenmnistError(f"the archives of {self.dataset} do not have their known sums: {by_hand}")
        return {split: self._arrays(data) for split, data in loaded.items()}

    def _arrays(self, data: Any) -> Arrays:
        images, labels = data.data.numpy(), data.targets.numpy()
        if self.transposed:
            images = images.transpose(0, 2, 1)
        if labels.ndim == 2:  # QMNIST keeps the whole record of each digit; its class comes first
            labels = labels[:, 0]
        return np.ascontiguousarray(images), labels.astype(np.int64)


_TRAIN_TEST: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}

DOWNLOADS = {
    "fashion-mnist": Downloaded(
        "FashionMNIST", _TRAIN_TEST, about="ten kinds of clothing (Xiao et al. 2017)"
    ),
    "kmnist": Downloaded(
        "KMNIST", _TRAIN_TEST, about="ten cursive Japanese characters (Clanuwat et al. 2018)"
    ),
    "emnist-digits": Downloaded(
        "EMNIST",
        {"train": {"split": "digits", "train": True}, "test": {"split": "digits", "train": False}},
        transposed=True,
        about="280,000 digits from the same source (Cohen et al. 2017)",
    ),
    "qmnist": Downloaded(
        "QMNIST",
        {"train": {"what": "train"}, "test": {"what": "test10k"}},
        about="MNIST rebuilt from its source (Yadav & Bottou 2019)",
    ),
}


def load(name: str = "mnist", data_dir: str | Path | None = None) -> Splits:
    """Load a data set, verified, on the CPU.

    Args:
        name: one of `genmnist.presets.DATASETS`; ignored when `data_dir` is given.
        data_dir: a folder of IDX files (`train-images-idx3-ubyte` and its three companions, gzipped or
            not) or of images, a subfolder a class, either directly or under `train/` and `test/`.

    Raises:
        UsageError: there is no set of that name.
        GenmnistError: the files are absent, damaged, or not what they should be.
    """
    if data_dir is not None:
        folder = Path(data_dir)
        return _splits(f"folder {folder.name}", _load_folder(folder))
    if name == "mnist":
        return _splits(name, _load_idx(BUNDLED, CHECKSUMS))
    if name not in DOWNLOADS:
        raise UsageError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}")
    return _splits(name, DOWNLOADS[name].load())


def cache() -> Path:
    """Return the folder under the platform's user cache where downloaded sets are kept."""
    return Path(platformdirs.user_cache_dir("genmnist"))


def _splits(name: str, arrays: dict[str, Arrays]) -> Splits:
    def dataset(split: str) -> Dataset:
        images, labels = arrays[split]
        return Dataset(f"{name} ({split})", torch.from_numpy(images.copy()), torch.from_numpy(labels))

    return Splits(dataset("train"), dataset("test"))


def _load_idx(folder: Path, checksums: dict[str, str] | None = None) -> dict[str, Arrays]:
    def part(split: str, kind: str, dimensions: int) -> npt.NDArray[np.uint8]:
        path = _find_idx(folder, _PREFIXES[split], kind, dimensions)
        array = read_idx(path, dimensions)
        if checksums and _checksum(array) != checksums[path.name.removesuffix(".gz")]:
            raise GenmnistError(f"{path} is not the MNIST file of that name: install genmnist again")
        return array

    def arrays(split: str) -> Arrays:
        images, labels = part(split, "images", 3), part(split, "labels", 1)
        if len(images) != len(labels):
            raise GenmnistError(f"{folder} has {len(images)} {split} images but {len(labels)} labels")
        if not len(images):
            raise GenmnistError(f"{folder} has no {split} images")
        if images.shape[1:] != (28, 28):
            rows, columns = images.shape[1:]
            raise GenmnistError(f"{folder} has images of {rows} x {columns} pixels; genmnist takes 28 x 28")
        return images, labels.astype(np.int64)

    return {split: arrays(split) for split in _PREFIXES}


def _checksum(array: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 sum of the IDX file that holds `array`."""
    header = b"".join(n.to_bytes(4, "big") for n in (0x0800 | array.ndim, *array.shape))
    digest = hashlib.sha256(header)
    digest.update(array.data)
    return digest.hexdigest()


def _find_idx(folder: Path, prefix: str, kind: str, dimensions: int) -> Path:
    names = [f"{prefix}-{kind}{dot}idx{dimensions}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise GenmnistError(f"{folder} has no file {names[0]} (nor {names[1]})")


def _load_folder(folder: Path) -> dict[str, Arrays]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: --data-dir takes a folder of IDX files or of images")
    if any(folder.glob("*-ubyte*")):
        return _load_idx(folder)
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        classes = _classes(folder / "train")
        return {split: _load_images(folder / split, classes) for split in _PREFIXES}
    images, labels = _load_images(folder, _classes(folder))
    # One folder holds no test set: every tenth image is kept aside to be one.
    held_out = np.arange(len(images)) % 10 == 9
    if not held_out.any():
        raise GenmnistError(
            f"{folder} has {len(images)} images; genmnist needs ten or more to keep some for validation"
        )
    return {"train": (images[~held_out], labels[~held_out]), "test": (images[held_out], labels[held_out])}


def _classes(folder: Path) -> dict[str, int]:
    """Return a number for each subfolder: its name, if all names are numbers, else its alphabetical place."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if names and all(name.isascii() and name.isdigit() and int(name) < 256 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _load_images(folder: Path, classes: dict[str, int]) -> Arrays:
    from torchvision.datasets import ImageFolder

    class Numbered(ImageFolder):  # type: ignore[misc]
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            names = sorted(path.name for path in Path(directory).iterdir() if path.is_dir())
            if stray := [name for name in names if name not in classes]:
                raise FileNotFoundError(f"{stray[0]} is not among the classes of the training set")
            return names, classes

    try:
        found = Numbered(str(folder), loader=_grey, allow_empty=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise GenmnistError(
            f"{folder} holds neither IDX files nor a subfolder of images for each class ({_one_line(error)})"
        ) from error
    pairs = [found[index] for index in range(len(found))]
    if not pairs:
        raise GenmnistError(f"{folder} holds neither IDX files nor a subfolder of images for each class")
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs], np.int64)


def _grey(path: str) -> npt.NDArray[np.uint8]:
    """Read an image as 28 x 28 bytes of grey."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # PIL would cut 16 bits off at 255
                grey = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise GenmnistError(f"{path} has pixels of {image.mode} type: save it with 8 or 16 bits")
            else:
                grey = image.convert("L")
            return np.asarray(grey.resize((28, 28), Image.Resampling.LANCZOS))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise GenmnistError(f"{path} cannot be read as an image: remove it or save it again") from error


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":. ") if lines else type(error).__name__


@dataclass(frozen=True)
class Described:
    """What `genmnist data` shows of one set."""

    name: str
    about: str
    place: str
    state: str
    train: int | None = None
    test: int | None = None


def describe(data_dir: str | Path | None = None) -> list[Described]:
    """Describe a folder, or every known set: the bundled one as loaded, the others as the cache has them.

    Raises:
        GenmnistError: the folder, or the bundled set, cannot be loaded.
    """
    if data_dir is not None:
        train, test = load(data_dir=data_dir)
        return [Described(Path(data_dir).name, "a folder", str(data_dir), "read", len(train), len(test))]
    train, test = load()
    about = "70,000 handwritten digits (LeCun et al. 1998)"
    return [
        Described("mnist", about, str(BUNDLED), "verified", len(train), len(test)),
        *(Described(name, s.about, str(s.folder), s.state()) for name, s in DOWNLOADS.items()),
    ]
