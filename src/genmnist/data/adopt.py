"""Images that a user hands over as arrays, checked; a sentence gives the line that mends what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data.dataset import Dataset, Splits
from genmnist.data.facts import MAX_SIDE
from genmnist.data.holdout import Arrays, named, split_in_three, split_seeded
from genmnist.errors import UsageError

MOST_CLASSES = 10_000
_AT_ONCE = 1 << 20  # pixels that are looked at together
_PARTS = ({"train"}, {"train", "test"}, {"train", "validation", "test"})
_FORMS = "genmnist takes (images, labels), ((images, labels), (images, labels)) for train and test, or Splits"
# What brings pixels between two values to those from 0 to 255.
_RANGES = {(0, 1): "255 * images", (-1, 1): "127.5 * (images + 1)", (0, 255): "images"}
_OTHER_RANGE = "255.0 * (images - images.min()) / (images.max() - images.min())"


def as_splits(data: object, name: str = "data") -> Splits:
    """Return data of any of these forms as splits on the CPU or, for `Splits`, as they are.

    Args:
        data: `Splits`; a pair (images, labels), of which a tenth is held out for validation and another for
            test, always the same; two such pairs, train and test, where a tenth of train is held out; or
            three, train, validation and test. Pairs may stand in a mapping with these names. Images are
            uint8, grey [n, h, w], [n, h, w, 1] or [n, 1, h, w], or colour [n, h, w, 3] or [n, 3, h, w];
            labels are integers from 0 on, [n], or None, which is label 0 for all. Arrays of NumPy and
            tensors will do.
        name: what the set is called.

    Raises:
        UsageError: the data are something else; the sentence gives the line that mends them.
        GenmnistError: there are too few images to hold some out.
    """
    if isinstance(data, Splits):
        return _checked(data, name)
    parts = {split: _arrays(pair, name, split) for split, pair in _pairs(data, name).items()}
    _one_shape(name, {split: images.shape[1:] for split, (images, _) in parts.items()})
    if parts["train"][1].min() == 1:
        raise UsageError(
            f"{name} has labels from 1 on, and classes are counted from 0: `labels = labels - 1`, or build "
            "`Splits` if class 0 is to stay empty"
        )
    if len(parts) == 1:
        return split_in_three(name, parts["train"])
    return split_seeded(name, **parts) if len(parts) == 2 else named(name, **parts)


def _pairs(data: Any, name: str) -> dict[str, Any]:
    """Return the pairs by split."""
    if isinstance(data, dict):
        if set(data) not in _PARTS:
            raise UsageError(
                f"{name} is a mapping of {', '.join(map(repr, data)) or 'nothing'}; "
                "genmnist takes 'train', 'test' and, if you like, 'validation', each (images, labels)"
            )
        return data
    if _is_array(data):
        raise UsageError(f"{name} is images without labels: give (images, labels), or (images, None)")
    if isinstance(data, tuple | list) and len(data) == 2 and _is_array(data[0]):
        return {"train": data}
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        splits = ("train", "test") if len(data) == 2 else ("train", "validation", "test")
        return dict(zip(splits, data, strict=True))
    raise UsageError(f"{name} is {_kind(data)}; {_FORMS}")


def _arrays(pair: Any, name: str, split: str) -> Arrays:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and _is_array(pair[0])):
        raise UsageError(f"{name} has {_kind(pair)} for {split}; {_FORMS}")
    images = _images(pair[0], name)
    labels = np.zeros(len(images), np.int64) if pair[1] is None else _labels(pair[1], name)
    if len(images) != len(labels):
        least = min(len(images), len(labels))
        raise UsageError(
            f"{name} has {len(images)} images but {len(labels)} labels: "
            f"`images, labels = images[:{least}], labels[:{least}]` if the rest is to go"
        )
    return images, labels


def take_arrays(
    images: Any, labels: Any, name: str
) -> tuple[UInt8[Tensor, "n h w *rgb"], Int64[Tensor, " labels"] | None]:
    """Return images from Python, of NumPy or tensors, in genmnist's form, and their labels, if there are any.

    Raises:
        UsageError: they are something else; the sentence gives the line that mends them.
    """
    if not _is_array(images):
        raise UsageError(f"{name} must be an array, uint8 [n, h, w] or [n, h, w, 3], not {_kind(images)}")
    taken = torch.from_numpy(_images(images, name))
    return taken, None if labels is None else torch.from_numpy(_labels(labels, name))


def take_images(images: npt.NDArray[Any], name: str) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return images in genmnist's form, [n, h, w] or [n, h, w, 3], and what was assumed of them.

    Args:
        images: as other people's code writes them.
        name: what they are called.

    Raises:
        UsageError: they may mean several things; the sentence gives the line of NumPy that says which.
    """
    assumed: list[str] = []
    kind = images.dtype.kind
    if images.size and images.dtype != np.uint8 and kind in "iuf" and _finite(images):
        low, high = images.min(), images.max()
        if kind == "f" and low >= 0 and high <= 1:
            images = _converted(images, lambda part: (255 * part.astype(np.float64)).round())
            assumed.append("floats from 0, black, to 1, white")
        elif (
            low >= 0 and 1 < high <= 255 and (kind != "f" or _all(images, lambda part: part == part.round()))
        ):
            assumed.append(f"{images.dtype} from 0, black, to 255, white")
            images = images.astype(np.uint8)
    if _channels_first(images):
        assumed.append("[n, channels, height, width]")
    return _images(images, name), tuple(assumed)


def _channels_first(images: npt.NDArray[Any]) -> bool:
    return images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3)


def _parts(images: npt.NDArray[Any]) -> Iterator[slice]:
    """Yield the images by so many at a time that what is computed of them takes little memory."""
    count = max(1, _AT_ONCE * len(images) // max(images.size, 1))
    return (slice(first, first + count) for first in range(0, len(images), count))


def _all(images: npt.NDArray[Any], holds: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> bool:
    return all(bool(holds(images[part]).all()) for part in _parts(images))


def _finite(images: npt.NDArray[Any]) -> bool:
    return _all(images, np.isfinite)


def _converted(
    images: npt.NDArray[Any], convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> npt.NDArray[np.uint8]:
    result = np.empty(images.shape, np.uint8)
    for part in _parts(images):
        result[part] = convert(images[part])
    return result


def _images(given: Any, name: str) -> npt.NDArray[np.uint8]:
    images = _numpy(given)
    if not images.size:
        raise UsageError(
            f"{name} has no images ({list(images.shape)}): look at `images.shape` where you read it"
        )
    if images.dtype != np.uint8 or images.max() == 1:
        raise UsageError(
            f"{name} has images of {images.dtype}{_mend_bytes(images, isinstance(given, torch.Tensor))}"
        )
    images = images.transpose(0, 2, 3, 1) if _channels_first(images) else images
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        flat = images.ndim == 2 and math.isqrt(images.shape[1]) ** 2 == images.shape[1]
        sides = f"{math.isqrt(images.shape[1])}, {math.isqrt(images.shape[1])}" if flat else "height, width"
        mend = "images[..., :3]" if images.ndim == 4 else f"images.reshape(-1, {sides})"
        raise UsageError(
            f"{name} has images {list(images.shape)}; genmnist takes grey [n, h, w] or colour [n, h, w, 3]: "
            f"`images = {mend}`"
        )
    if max(images.shape[1:3]) > MAX_SIDE:
        raise UsageError(f"{name} has images {list(images.shape)}; genmnist takes sides up to {MAX_SIDE}")
    return np.ascontiguousarray(images[..., 0] if images.shape[3:] == (1,) else images)


def _mend_bytes(images: npt.NDArray[Any], is_tensor: bool) -> str:
    """Return what is wrong with pixels of another type or other values, and the line that mends it."""
    wanted = "genmnist takes uint8, 0 black to 255 white"
    if images.dtype.kind not in "biuf" or not _finite(images):
        return f", not all of them numbers; {wanted}"
    low, high = images.min(), images.max()
    pixels = next((expr for (a, b), expr in _RANGES.items() if a <= low and high <= b), _OTHER_RANGE)
    cast = ".to(torch.uint8)" if is_tensor else ".astype(numpy.uint8)"
    return f" from {low:g} to {high:g}; {wanted}: `images = ({pixels}).round(){cast}`"


def _labels(given: Any, name: str) -> npt.NDArray[np.int64]:
    labels, is_tensor = _numpy(given), isinstance(given, torch.Tensor)
    if labels.ndim != 1:
        mend = "labels.argmax(1)" if labels.ndim == 2 and labels.shape[1] > 1 else "labels.reshape(-1)"
        raise UsageError(
            f"{name} has labels {list(labels.shape)}; genmnist takes one an image, [n]: `labels = {mend}`"
        )
    if labels.dtype.kind in "iu" and are_labels(labels):
        return labels.astype(np.int64)
    if are_labels(labels):
        mend = "labels.long()" if is_tensor else "labels.astype(numpy.int64)"
    else:
        package = "torch" if is_tensor else "numpy"
        mend = f"{package}.unique(labels, return_inverse=True)[1]"
    raise UsageError(
        f"{name} has labels of {labels.dtype}, such as {labels[0]!s:.20}; genmnist takes integers from 0 to "
        f"{MOST_CLASSES - 1:,}: `labels = {mend}`"
    )


def are_labels(numbers: npt.NDArray[Any]) -> bool:
    """Tell whether numbers, of whatever type, are labels: whole, and there are so many classes."""
    kind = numbers.dtype.kind
    whole = kind in "biu" or (kind == "f" and bool((numbers % 1 == 0).all()))
    return whole and (not len(numbers) or bool(numbers.min() >= 0 and numbers.max() < MOST_CLASSES))


def _checked(splits: Splits, name: str) -> Splits:
    """Check splits that were built by hand as arrays are checked."""
    for split, part in splits._asdict().items():
        if not isinstance(part, Dataset):
            raise UsageError(f"{name} has {_kind(part)} for {split}; Splits holds three of Dataset")
        images, _ = _arrays((part.images, part.labels), name, split)
        if images.shape != part.images.shape or part.labels.dtype != torch.int64:
            raise UsageError(
                f"{name} has images {list(part.images.shape)} and labels of {part.labels.dtype} for {split}; "
                "a Dataset holds grey [n, h, w] or colour [n, h, w, 3] and int64: `genmnist.data.as_splits("
                "((images, labels), (images, labels)))` makes them so"
            )
    _one_shape(name, {split: tuple(part.images.shape[1:]) for split, part in splits._asdict().items()})
    return splits


def _one_shape(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    for split, shape in shapes.items():
        if shape != shapes["train"]:
            raise UsageError(
                f"{name} has images of {list(shapes['train'])} for train but {list(shape)} for {split}: "
                "all must have one shape"
            )


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def _numpy(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, torch.Tensor):
        host = value.detach().cpu()
        return (host.float() if host.dtype == torch.bfloat16 else host).numpy()
    try:
        return np.asarray(value)
    except ValueError:  # lists of lists of different lengths
        return np.empty((0, 0), object)


def _kind(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"of type {type(value).__name__}"
