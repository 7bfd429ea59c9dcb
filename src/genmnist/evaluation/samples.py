"""What a set of images is worth, beside as many real ones: the numbers that stand next to every picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.evaluation import distances
from genmnist.evaluation.distances import FEATURES, Features, Manifold
from genmnist.models import Classifier
from genmnist.randomness import generator

_RESAMPLES = 50
_LEAST = 1e-9  # of a distance; less is the rounding of nothing
_INTERVAL = torch.tensor([0.025, 0.975], dtype=torch.float64)


@dataclass(frozen=True)
class Interval:
    """A number and the interval in which 95 % of its bootstrap lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """The distances of a set of images to the test images, and how the two lie in one another."""

    frechet: Interval
    kernel: float
    manifold: Manifold


@dataclass(frozen=True)
class Samples:
    """What was measured of some images."""

    num: int
    features: str  # whose features the distances are in
    images: Measured
    real: Measured  # as many training images: the floor
    ratio: float  # of the two Fréchet distances
    classes: list[float]  # the share that the classifier reads as each digit
    imbalance: float  # half the sum of how far these shares are from those of the test images: 0 to 1
    label_agreement: float | None  # the share read as the digit asked for


def check(data: Splits, classes: int = 0) -> None:
    """Raise UsageError unless data, and a model of so many labels, are of digits, as the classifier is."""
    most = max(int(part.labels.max()) for part in data)
    if most > 9 or data.train.name.startswith(("fashion-mnist", "kmnist")) or classes not in (0, 10):
        raise UsageError(
            "the classifier that measures knows the digits 0 to 9 only: evaluate against mnist, qmnist, "
            "emnist-digits or a folder of digits, and a cfg with --classes 10"
        )


def measure(
    images: UInt8[Tensor, "n 28 28"],
    data: Splits,
    classifier: Classifier,
    labels: Int64[Tensor, " n"] | None = None,
    watch: Callable[[str], None] = lambda stage: None,
) -> Samples:
    """Measure images against the test set, and as many real training images beside them.

    Args:
        images: at least six.
        data: where the real ones come from.
        classifier: whose features distances are measured in.
        labels: the digits that were asked for.
        watch: called with the name of each stage before it begins.

    Raises:
        UsageError: there are too few images, or the real ones are no digits; see `check`.
    """
    check(data)
    count = min(len(images), len(data.train))
    drawn = torch.randperm(len(data.train), generator=generator(0, "floor"))[:count]
    watch("features")
    ours, theirs = (distances.features(classifier, part) for part in (images, data.test.images))
    real = distances.features(classifier, data.train.images[drawn])
    watch("distances")
    found = _measured(ours, theirs)
    watch("distances of real digits")
    floor = _measured(real, theirs)
    read = classifier.decide(ours)
    shares, expected = (part.bincount(minlength=10).double() / len(part) for part in (read, data.test.labels))
    return Samples(
        num=len(images),
        features=FEATURES,
        images=found,
        real=floor,
        ratio=found.frechet.value / max(floor.frechet.value, _LEAST),
        classes=[round(share, 4) for share in shares.tolist()],
        imbalance=(shares - expected).abs().sum().item() / 2,
        label_agreement=None if labels is None else (read == labels).double().mean().item(),
    )


def _measured(ours: Features, theirs: Features) -> Measured:
    # Precision and recall compare sets of one size.
    size = min(len(ours), len(theirs))
    return Measured(
        bootstrap(ours, theirs),
        distances.kernel(ours, theirs),
        distances.manifold(distances.some(ours, size), distances.some(theirs, size)),
    )


def bootstrap(ours: Features, theirs: Features) -> Interval:
    """Return the Fréchet distance with an interval, by drawing our images again and again (Efron 1979).

    Images that are drawn twice make the distance of a resample larger than that of the set: the interval is
    moved back by the mean of what they add.
    """
    value = distances.frechet(ours, theirs)
    source = generator(0, "bootstrap")
    resampled = torch.tensor(
        [
            distances.frechet(ours[torch.randint(len(ours), (len(ours),), generator=source)], theirs)
            for _ in range(_RESAMPLES)
        ],
        dtype=torch.float64,
    )
    low, high = (resampled - resampled.mean() + value).quantile(_INTERVAL).tolist()
    return Interval(value, low, high)
