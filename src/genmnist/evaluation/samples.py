"""What a set of images is worth, beside as many real ones: the numbers that stand next to every picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data import Splits
from genmnist.evaluation import distances
from genmnist.evaluation.distances import Features, FeatureSpace, Others
from genmnist.evaluation.document import Interval, Measured, Samples
from genmnist.randomness import generator

_RESAMPLES = 50
_INTERVAL = torch.tensor([0.025, 0.975], dtype=torch.float64)


def measure(
    images: UInt8[Tensor, "n h w *rgb"],
    data: Splits,
    features: FeatureSpace,
    labels: Int64[Tensor, " n"] | None = None,
    watch: Callable[[str], None] = lambda stage: None,
) -> Samples:
    """Measure images against the test set, and as many real training images beside them.

    Args:
        images: at least six.
        data: where the real ones come from.
        features: what distances are measured in, which must know them; see `FeatureSpace.check`.
        labels: those that were asked for.
        watch: called with the name of each stage before it begins.

    Raises:
        UsageError: there are too few images.
    """
    count = min(len(images), len(data.train))
    drawn = torch.randperm(len(data.train), generator=generator(0, "floor"))[:count]
    watch("features")
    ours, theirs = (features.features(part) for part in (images, data.test.images))
    real = features.features(data.train.images[drawn.to(data.train.images.device)])
    watch("distances")
    found = _measured(ours, theirs)
    watch("distances of real images")
    floor = _measured(real, theirs)
    read = features.decide(ours)
    shares, expected = (
        part.cpu().bincount(minlength=features.classes).double() / len(part)
        for part in (read, data.test.labels)
    )
    return Samples(
        num=len(images),
        real_num=len(real),
        test_num=len(theirs),
        features=features.name,
        images=found,
        real=floor,
        classes=tuple(round(share, 4) for share in shares.tolist()),
        imbalance=min((shares - expected).abs().sum().item() / 2, 1.0),
        label_agreement=None if labels is None else (read == labels.cpu()).double().mean().item(),
    )


def _measured(ours: Features, theirs: Others) -> Measured:
    # Precision and recall compare sets of one size.
    size = min(len(ours), len(theirs))
    return Measured(
        bootstrap(ours, theirs),
        distances.kernel(ours, theirs),
        distances.manifold(distances.fixed_subset(ours, size), distances.fixed_subset(theirs, size)),
    )


def bootstrap(ours: Features, theirs: Others) -> Interval:
    """Return the Fréchet distance with an interval, by drawing our images again and again (Efron 1979).

    Images that are drawn twice make the distance of a resample larger than that of the set: the interval is
    moved back by the mean of what they add, though never below 0.
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
    low, high = (resampled - resampled.mean() + value).quantile(_INTERVAL).clamp_min(0).tolist()
    return Interval(value, low, high)
