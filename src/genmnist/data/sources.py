"""Where data sets come from: the package, a download, a plugin, or a folder of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genmnist.data.adopt import as_splits
from genmnist.data.dataset import Splits
from genmnist.data.downloads import DOWNLOADS
from genmnist.data.facts import Shape
from genmnist.data.folders import load_folder
from genmnist.data.holdout import split_shuffled
from genmnist.data.idx_set import read_idx_set
from genmnist.errors import UsageError
from genmnist.registry import DATASETS

BUNDLED = Path(__file__).parent / "mnist"

# SHA-256 of the four original files, unpacked: what the bytes are, however they were compressed.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist() -> Splits:
    """Handwritten digits, grey 28 x 28, from the package itself (LeCun et al. 1998)."""
    return split_shuffled("mnist", **read_idx_set(BUNDLED, CHECKSUMS))


def _downloaded(name: str) -> Callable[[], Splits]:
    """Return what loads a set that is fetched; the registry says what each of them is."""
    return lambda: split_shuffled(name, **DOWNLOADS[name].load())


fashion_mnist, kmnist, emnist_digits, qmnist, cifar10, svhn = map(_downloaded, DOWNLOADS)


def load(
    name: str = "mnist",
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    colour: bool | None = None,
) -> Splits:
    """Load a data set, verified, on the CPU.

    Args:
        name: one of `genmnist.registry.DATASETS`; ignored when `data_dir` is given.
        data_dir: a folder of IDX files (`train-images-idx3-ubyte` and its three companions, gzipped or
            not) or of images, a subfolder a class, either directly or under `train/` and `test/`.
        image_size: the side, in pixels, to which the images of a folder are brought; absent, they stay as
            they are, and must have one size.
        colour: whether the images of a folder become colour or grey; absent, they are colour as soon as
            one of them is.

    Raises:
        UsageError: there is no set of that name, or its images are not what genmnist takes.
        GenmnistError: the files are absent, damaged, or not what they should be.
    """
    if not isinstance(name, str):
        raise UsageError("a data set is chosen by its name, such as mnist: give arrays as `data`")
    if data_dir is not None:
        return load_folder(Path(data_dir), image_size, colour)
    if image_size is not None or colour is not None:
        argument = "colour" if image_size is None else "image_size"
        raise UsageError(f"`{argument}` is for a folder of images: give it with `data_dir`")
    return as_splits(DATASETS[name](), name)


@dataclass(frozen=True)
class Described:
    """What `genmnist data` shows of one set: its parts' sizes and its images' shape, where they are known."""

    name: str
    about: str
    place: str
    state: str
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    shape: Shape | None = None


def describe(
    data_dir: str | Path | None = None, *, image_size: int | None = None, colour: bool | None = None
) -> list[Described]:
    """Describe a folder, or every registered set: the bundled one as loaded, others as the cache has them.

    Raises:
        GenmnistError: the folder, or the bundled set, cannot be loaded.
    """
    if data_dir is not None:
        splits = load(data_dir=data_dir, image_size=image_size, colour=colour)
        return [_loaded(Path(data_dir).name, "a folder", str(data_dir), "read", splits)]
    return [_described(name) for name in DATASETS.names()]


def _described(name: str) -> Described:
    about = DATASETS.facts(name).get("about", "")
    if name == "mnist":
        return _loaded(name, about, str(BUNDLED), "verified", load(name))
    if name in DOWNLOADS:
        source = DOWNLOADS[name]
        return Described(name, about, str(source.folder), source.state(), shape=source.shape)
    function = DATASETS[name]  # a plugin's
    about = about or (inspect.getdoc(function) or "").partition("\n")[0]
    return Described(name, about, str(getattr(function, "__module__", "")), "registered")


def _loaded(name: str, about: str, place: str, state: str, splits: Splits) -> Described:
    train, validation, test = map(len, splits)
    return Described(name, about, place, state, train, validation, test, splits.shape)
