"""Images that a user hands over as arrays, checked; each sentence says which line of NumPy mends them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genmnist.data.dataset import Dataset, Splits
from genmnist.data.facts import MAX_SIDE
from genmnist.data.holdout import Arrays, named, split_in_three, split_seeded
from genmnist.errors import UsageError

_MOST_CLASSES = 10_000

_FORMS = "genmnist takes (images, labels), ((images, labels), (images, labels)) for train and test, or Splits"


def as_splits(data: object, name: str = "data") -> Splits:
    """Return data of any of these forms as splits on the CPU or, for `Splits`, as they are.

    Args:
        data: `Splits`; a pair (images, labels), of which a tenth is held out for validation and another for
            test, always the same; two such pairs, train and test, where a tenth of train is held out; or
            three, train, validation and test. Pairs may stand in a mapping with these names. Images are
            uint8, grey [n, h, w], [n, h, w, 1] or [n, 1, h, w], or colour [n, h, w, 3]; labels are integers
            from 0 on, [n]. Arrays of NumPy and tensors will do.
        name: what the set is called.

    Raises:
        UsageError: the data are something else; the sentence gives the line of NumPy that mends them.
    """
    if isinstance(data, Splits):
        return _checked(data, name)
    pairs = _pairs(data, name)
    parts = {split: _arrays(pair, name, split) for split, pair in pairs.items()}
    _one_shape(name, {split: images.shape[1:] for split, (images, _) in parts.items()})
    if "test" not in parts:
        if (count := len(parts["train"][0])) < 3:
            raise UsageError(
                f"{name} has too few images: {count}; 3 are the least, one of them for each part"
            )
        return split_in_three(name, parts["train"])
    if "validation" in parts:
        return named(name, **parts)
    if len(parts["train"][0]) < 2:
        raise UsageError(
            f"{name} has too few training images: 1; 2 are the least, one of them for validation"
        )
    return split_seeded(name, parts["train"], parts["test"])


def _pairs(data: Any, name: str) -> dict[str, Any]:
    """Return the pairs by split."""
    if isinstance(data, dict):
        if set(data) in ({"train"}, {"train", "test"}, {"train", "validation", "test"}):
            return data
        raise UsageError(
            f"{name} is a mapping of {', '.join(map(repr, data)) or 'nothing'}; "
            "genmnist takes 'train', 'test' and, if you like, 'validation', each (images, labels)"
        )
    if _is_array(data):
        raise UsageError(
            f"{name} is images without labels: give (images, labels), "
            "if need be `(images, numpy.zeros(len(images), numpy.int64))`"
        )
    if isinstance(data, tuple | list):
        if len(data) == 2 and _is_array(data[0]):
            return {"train": data}
        if len(data) == 2:
            return {"train": data[0], "test": data[1]}
        if len(data) == 3:
            return {"train": data[0], "validation": data[1], "test": data[2]}
    raise UsageError(f"{name} is {_kind(data)}; {_FORMS}")


def _arrays(pair: Any, name: str, split: str) -> Arrays:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and _is_array(pair[0])):
        raise UsageError(f"{name} has {_kind(pair)} for {split}; {_FORMS}")
    images, labels = _images(_numpy(pair[0]), name), _labels(_numpy(pair[1]), name)
    if len(images) != len(labels):
        least = min(len(images), len(labels))
        raise UsageError(
            f"{name} has {len(images)} images but {len(labels)} labels: "
            f"`images, labels = images[:{least}], labels[:{least}]` if the rest is to go"
        )
    return images, labels


def _images(images: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if not images.size:
        raise UsageError(
            f"{name} has no images ({list(images.shape)}): look at `images.shape` where you read it"
        )
    if images.dtype != np.uint8:
        raise UsageError(
            f"{name} has images of {images.dtype}; genmnist takes uint8, 0 black to 255 white: "
            f"`images = {_to_bytes(images)}`"
        )
    if mend := _to_shape(images.shape):
        raise UsageError(
            f"{name} has images {list(images.shape)}; genmnist takes grey [n, h, w] or colour [n, h, w, 3]: "
            f"`images = {mend}`"
        )
    if images.ndim == 4 and images.shape[3] != 3:
        images = images[..., 0] if images.shape[3] == 1 else images[:, 0]
    return np.ascontiguousarray(images)


def _to_bytes(images: npt.NDArray[Any]) -> str:
    """Return the expression that turns images of another type into bytes."""
    if images.dtype == np.bool_:
        return "255 * images.astype(numpy.uint8)"
    if images.dtype.kind not in "iuf":
        return "numpy.array(images.tolist(), numpy.uint8)"
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        return "numpy.nan_to_num(images, posinf=0, neginf=0)"  # and then again, by their range
    low, high = images.min(), images.max()
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return "(255 * images).round().astype(numpy.uint8)"
    if images.dtype.kind == "f" and low >= -1 and high <= 1:
        return "(127.5 * (images + 1)).round().astype(numpy.uint8)"
    if low >= 0 and high <= 255:
        return "images.round().astype(numpy.uint8)"
    if images.dtype == np.uint16:
        return "(images // 257).astype(numpy.uint8)"
    return "(255.0 * (images - images.min()) / numpy.ptp(images)).round().astype(numpy.uint8)"


def _to_shape(shape: tuple[int, ...]) -> str:
    """Return the expression that brings images to a shape that genmnist takes, or "" if they have one."""
    if len(shape) == 4:
        if shape[3] not in (1, 3) and shape[1] == 3:
            return "images.transpose(0, 2, 3, 1)"
        if shape[3] not in (1, 3) and shape[1] != 1:
            return f"images[..., {0 if shape[3] == 2 else ':3'}]"
        height, width = shape[1:3] if shape[3] in (1, 3) else shape[2:]
        grid = "::{0}, ::{0}" if shape[3] in (1, 3) else ":, ::{0}, ::{0}"
    elif len(shape) == 3:
        (height, width), grid = shape[1:], "::{0}, ::{0}"
    elif len(shape) == 2:
        side = round(shape[1] ** 0.5)
        return f"images.reshape(-1, {f'{side}, {side}' if side * side == shape[1] else 'height, width'})"
    else:
        return "images.reshape(-1, height, width)"
    stride = -(-max(height, width) // MAX_SIDE)
    return "" if stride == 1 else f"images[:, {grid.format(stride)}]"


def _labels(labels: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    if labels.ndim != 1:
        mend = "labels.argmax(1)" if labels.ndim == 2 and labels.shape[1] > 1 else "labels.reshape(-1)"
        raise UsageError(
            f"{name} has labels {list(labels.shape)}; genmnist takes one an image, [n]: `labels = {mend}`"
        )
    numbered = "`labels = numpy.unique(labels, return_inverse=True)[1]`"
    if labels.dtype.kind not in "iu":
        whole = labels.dtype.kind == "b" or (
            labels.dtype.kind == "f" and bool((labels == labels.round()).all())
        )
        mend = "`labels = labels.astype(numpy.int64)`" if whole else numbered
        raise UsageError(f"{name} has labels of {labels.dtype}; genmnist takes integers: {mend}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < _MOST_CLASSES):
        raise UsageError(
            f"{name} has labels from {labels.min()} to {labels.max()}; genmnist takes 0 to "
            f"{_MOST_CLASSES - 1:,}: {numbered}"
        )
    return labels.astype(np.int64)


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
        array: npt.NDArray[Any] = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
        return array
    try:
        return np.asarray(value)
    except ValueError:  # lists of lists of different lengths
        return np.empty(0, object)


def _kind(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"of type {type(value).__name__}"
