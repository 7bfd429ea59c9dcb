"""Sets that are fetched: torchvision's addresses, sums and loaders, in a cache of genmnist's own."""

from __future__ import annotations

import tarfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import platformdirs

from genmnist.data.cifar10 import read_cifar10
from genmnist.data.facts import Shape
from genmnist.data.holdout import Arrays
from genmnist.errors import GenmnistError
from genmnist.text import first_line

CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the "binary version" on Krizhevsky's page


def cache() -> Path:
    """Return the folder under the platform's user cache where downloaded sets are kept."""
    return Path(platformdirs.user_cache_dir("genmnist"))


@dataclass(frozen=True)
class Download(ABC):
    """A set that torchvision knows, by the name of its class there; its home; and the shape of its images."""

    shape: ClassVar[Shape] = (3, 32, 32)
    dataset: str
    home: str  # where people find its files

    @property
    def folder(self) -> Path:
        """Return the folder of the user's cache where the archives of this set are kept."""
        return cache() / self.dataset / "raw"

    @abstractmethod
    def archives(self) -> dict[str, str]:
        """Return the MD5 sum of each archive by file name."""

    @abstractmethod
    def fetch(self) -> dict[str, Arrays]:
        """Fetch the archives that are not in the cache, and read both splits."""

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
        """Return images and labels of `train` and `test`, verified.

        Raises:
            GenmnistError: the archives cannot be fetched, or are not what they should be.
        """
        files = ", ".join(f"{name} (MD5 {md5})" for name, md5 in self.archives().items())
        by_hand = f"get its files by hand from {self.home} and put them into {self.folder}: {files}"
        try:
            loaded = self.fetch()
        except (
            OSError,
            RuntimeError,
            ValueError,
            AssertionError,
            EOFError,
            zlib.error,
            tarfile.TarError,
        ) as error:
            reason = first_line(error).rstrip(":. ")
            raise GenmnistError(f"cannot fetch {self.dataset} ({reason}): {by_hand}") from error
        if self.state() != "verified":
            raise GenmnistError(f"the archives of {self.dataset} do not have their known sums: {by_hand}")
        return loaded

    def theirs(self) -> Any:
        """Return torchvision's class."""
        from torchvision import datasets

        return getattr(datasets, self.dataset)


@dataclass(frozen=True)
class LikeMNIST(Download):
    """A set in MNIST's format, and by what arguments torchvision tells its splits apart."""

    shape = (1, 28, 28)
    train: dict[str, Any]
    test: dict[str, Any]
    transposed: bool = False

    def archives(self) -> dict[str, str]:
        """Return the MD5 sum of each archive by file name, from torchvision's own tables."""
        loader = self.theirs()
        if self.dataset == "EMNIST":
            return {Path(loader.url).name: loader.md5}
        if self.dataset == "QMNIST":
            wanted = [options["what"].removesuffix("10k") for options in (self.train, self.test)]
            return {Path(url).name: md5 for what in wanted for url, md5 in loader.resources[what]}
        return dict(loader.resources)

    def fetch(self) -> dict[str, Arrays]:
        """Fetch the archives if they are not in the cache, and unpack both splits anew."""
        # What was unpacked has no sums, nor has the form of older releases, which torchvision would prefer.
        for path in (*self.folder.glob("*"), *self.folder.with_name("processed").glob("*")):
            if path.is_file() and path.name not in self.archives():
                path.unlink()
        return {
            split: self._arrays(self.theirs()(str(cache()), download=True, **options))
            for split, options in (("train", self.train), ("test", self.test))
        }

    def _arrays(self, data: Any) -> Arrays:
        images, labels = data.data.numpy(), data.targets.numpy()
        if self.transposed:
            images = images.transpose(0, 2, 1)
        if labels.ndim == 2:  # QMNIST keeps the whole record of each digit; its class comes first
            labels = labels[:, 0]
        return np.ascontiguousarray(images), labels.astype(np.int64)


class SVHN(Download):
    """SVHN: two files of MATLAB's, read by SciPy."""

    def archives(self) -> dict[str, str]:
        """Return the MD5 sum of each file by name, from torchvision's own table."""
        files = (self.theirs().split_list[split] for split in ("train", "test"))
        return {name: md5 for _, name, md5 in files}

    def fetch(self) -> dict[str, Arrays]:
        """Fetch the files if they are not in the cache, and read both splits."""
        return {split: self._arrays(split) for split in ("train", "test")}

    def _arrays(self, split: str) -> Arrays:
        data = self.theirs()(str(self.folder), split=split, download=True)
        return np.ascontiguousarray(data.data.transpose(0, 2, 3, 1)), data.labels.astype(np.int64)


class CIFAR10(Download):
    """CIFAR-10 from its archive of plain bytes; the one that torchvision reads may hold code, and run it."""

    def archives(self) -> dict[str, str]:
        """Return the MD5 sum of the archive by file name."""
        return {Path(self._url()).name: CIFAR10_MD5}

    def fetch(self) -> dict[str, Arrays]:
        """Fetch the archive if it is not in the cache, and read both splits from within it."""
        from torchvision.datasets.utils import download_url

        ((name, md5),) = self.archives().items()
        download_url(self._url(), str(self.folder), name, md5)
        return read_cifar10(self.folder / name)

    def _url(self) -> str:
        return str(self.theirs().url).replace("python", "binary")


_TRAIN_TEST: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})

DOWNLOADS: dict[str, Download] = {
    "fashion-mnist": LikeMNIST(
        "FashionMNIST", "https://github.com/zalandoresearch/fashion-mnist", *_TRAIN_TEST
    ),
    "kmnist": LikeMNIST("KMNIST", "http://codh.rois.ac.jp/kmnist/", *_TRAIN_TEST),
    "emnist-digits": LikeMNIST(
        "EMNIST",
        "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        {"split": "digits", "train": True},
        {"split": "digits", "train": False},
        transposed=True,
    ),
    "qmnist": LikeMNIST(
        "QMNIST",
        "https://github.com/facebookresearch/qmnist",
        {"what": "train"},
        {"what": "test10k"},
    ),
    "cifar10": CIFAR10("CIFAR10", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "svhn": SVHN("SVHN", "http://ufldl.stanford.edu/housenumbers/"),
}
