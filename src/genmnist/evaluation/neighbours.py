"""How near images come to those of a training set, and how many of them are copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from genmnist.data import Splits, scale
from genmnist.errors import UsageError

Images = UInt8[Tensor, "n h w *rgb"]
Watch = Callable[[float], None]

NEAR = 0.01  # the share of new images that lie nearer to the training images than `thresholds`

_ROWS, _NUMBERS = 1000, 8_000_000  # of the table of distances, and of its columns' pixels, at a time


class Nearest(NamedTuple):
    """The nearest reference image to each image: how far it is, and which."""

    distances: Float[Tensor, " n"]  # Euclidean, of pixels in [0, 1]
    indices: Int64[Tensor, " n"]


def nearest(images: Images, reference: UInt8[Tensor, "m h w *rgb"], watch: Watch | None = None) -> Nearest:
    """Find the nearest reference image to each image, where the reference is, in bounded memory.

    The search expands the square of a - b, whose terms cancel where images are alike; the distance to what it
    finds is computed anew, so that a copy is at 0.

    Args:
        images: those to look for.
        reference: those to look among.
        watch: called after each batch with the share of the images that are done.

    Raises:
        UsageError: there is no reference image.
    """
    if not len(reference):
        raise UsageError("there are no images to look for the nearest among")
    distances, indices, done = [], [], 0
    columns = max(1, _NUMBERS // reference[0].numel())
    for batch in images.to(reference.device).split(_ROWS):
        ours = scale(batch).flatten(1)
        least = ours.new_full((len(ours),), torch.inf)
        index = torch.zeros_like(least, dtype=torch.int64)
        for number, part in enumerate(reference.split(columns)):
            theirs = scale(part).flatten(1)
            # |a|^2 is the same for all of a row.
            value, place = torch.addmm(theirs.square().sum(1), ours, theirs.T, alpha=-2).min(1)
            index = torch.where(value < least, place + number * columns, index)
            least = torch.minimum(value, least)
        distances.append((ours - scale(reference[index]).flatten(1)).norm(dim=1))
        indices.append(index)
        done += len(batch)
        if watch:
            watch(done / len(images))
    if not distances:
        return Nearest(torch.empty(0), torch.empty(0, dtype=torch.int64))
    return Nearest(torch.cat(distances), torch.cat(indices))


def thresholds(data: Splits, classes: int = 0, watch: Watch | None = None) -> Float[Tensor, " classes"]:
    """Return how near to a training image 1 % of the test images of each class are: nearer is suspicious.

    The training image may be of any class. A class without test images has the threshold of them all.

    Args:
        data: the training and the test images.
        classes: how many to have thresholds for; as many as the data have, if those are more.
        watch: see `nearest`.
    """
    distances = nearest(data.test.images, data.train.images, watch).distances
    labels = data.test.labels.to(distances.device)
    own = (distances[labels == label] for label in range(max(classes, data.classes)))
    return torch.stack([(part if len(part) else distances).quantile(NEAR) for part in own])


class Copies(NamedTuple):
    """Which samples are near-copies of training images."""

    share: float  # 0.01 of new images
    near: Bool[Tensor, " n"]
    distances: Float[Tensor, " n"]  # to the nearest training image, as in `Nearest`
    indices: Int64[Tensor, " n"]


def near_copies(
    samples: Images,
    labels: Int64[Tensor, " n"],
    train: UInt8[Tensor, "m h w *rgb"],
    thresholds: Float[Tensor, " classes"],
    watch: Watch | None = None,
) -> Copies:
    """Find the samples nearer to a training image than 99 % of the real test images of their class are.

    Images of some classes, ones above all digits, are all much alike, hence a threshold a class. A model that
    memorises has a share of near-copies far above that of new images, 1 %.

    Args:
        samples: images of a model.
        labels: their classes, asked for or read by a classifier.
        train: the images that the model was trained on.
        thresholds: of each class, from the function of this name.
        watch: see `nearest`.

    Raises:
        UsageError: there is no training image, no sample, or no threshold for a label.
    """
    if not len(samples):
        raise UsageError("there are no samples to look for copies among")
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(thresholds):
        raise UsageError(f"there are thresholds for the labels 0 to {len(thresholds) - 1} only")
    distances, indices = nearest(samples, train, watch)
    near = distances <= thresholds.to(distances.device)[labels.to(distances.device)]
    return Copies(near.double().mean().item(), near, distances, indices)
