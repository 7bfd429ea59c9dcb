"""Interpolation in numbers: whether the images on the way from digit to digit are digits themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from genmnist.data import Dataset, Splits, quantise, scale
from genmnist.errors import UsageError
from genmnist.evaluation.neighbours import nearest
from genmnist.models import Classifier, Latent
from genmnist.models.paths import lerp
from genmnist.randomness import generator

ENDS = ("digits", "prior")


@dataclass(frozen=True)
class Walk:
    """What is met on the way through one space: at each alpha the mean over pairs, and its standard error.

    The standard error of a single pair, as the first of a run may be, is nan.
    """

    confidence: list[float]  # the classifier's highest probability
    confidence_error: list[float]
    distance: list[float]  # Euclidean, of pixels in [0, 1], to the nearest training digit
    distance_error: list[float]

    @property
    def middle(self) -> tuple[float, float]:
        """Return confidence and distance half-way, at alpha = 0.5."""
        half = len(self.confidence) // 2
        return self.confidence[half], self.distance[half]


@dataclass(frozen=True)
class Walks:
    """Walks between the same end images through latent space and through pixel space."""

    pairs: int
    alphas: list[float]
    latent: Walk
    pixel: Walk


def pairs_of_digits(
    data: Dataset, pairs: int, seed: int = 0
) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
    """Draw the indices of pairs of images whose labels differ.

    Raises:
        UsageError: all images have the same label.
    """
    labels = data.labels.cpu()
    if len(labels.unique()) < 2:
        raise UsageError(f"all images of {data.name} have the same label: there is no way to another")
    chance = generator(seed, "pairs")
    start, end = torch.randint(len(labels), (2, pairs), generator=chance)
    while (same := labels[start] == labels[end]).any():
        end[same] = torch.randint(len(labels), (int(same.sum()),), generator=chance)
    return start, end


def walks(
    model: Latent,
    data: Splits,
    classifier: Classifier,
    pairs: int = 500,
    ends: str = "digits",
    points: int = 11,
    seed: int = 0,
    batch_size: int = 50,
    **options: Any,
) -> Iterator[Walks]:
    """Walk between many pairs of end points, and measure every image on the way.

    The pixel walk fades between the two ends of the latent walk, as `Latent.interpolate` does, so that both
    spaces have the same end images. Images are measured as bytes.

    Args:
        model: whose latent space.
        data: digits to start from, those of `test`, and to compare with, those of `train`.
        classifier: how sure it is tells a digit from a blend of two; see
            `genmnist.evaluation.distances.bundled_classifier`.
        pairs: how many.
        ends: `digits`, embedded test digits of different labels, or `prior`, points that samples come from,
            which spares a diffusion model the embedding.
        points: values of alpha from 0 to 1; odd, so that one is the middle.
        seed: fixes the pairs.
        batch_size: pairs at a time.
        options: how to interpolate: `path`, and those of sampling.

    Yields:
        the means over the pairs so far after each batch, the last over all.

    Raises:
        UsageError: a number or an option that makes no sense.
    """
    if pairs < 2 or batch_size < 1:
        raise UsageError(f"a mean takes 2 pairs or more, 1 or more at a time, not {pairs} and {batch_size}")
    if points < 3 or points % 2 == 0:
        raise UsageError(
            f"the points of a walk must be 3, 5, 7 or more, with one in the middle, not {points}"
        )
    if ends not in ENDS:
        raise UsageError(f"there are no ends {ends!r}; choose {' or '.join(ENDS)}")
    chosen = pairs_of_digits(data.test, pairs, seed) if ends == "digits" else None
    train = data.train.images.to(model.device)
    shares = [point / (points - 1) for point in range(points)]
    alphas = torch.tensor(shares, device=model.device)
    measured: list[Float[Tensor, "spaces numbers b points"]] = []
    for first in range(0, pairs, batch_size):
        count = min(batch_size, pairs - first)
        if chosen:
            images = data.test.images
            start, end = (model.embed(images[at[first : first + count].to(images.device)]) for at in chosen)
        else:
            start, end = model.prior(seed, 2 * count, 2 * first).unflatten(0, (count, 2)).unbind(1)
        latent = model.interpolate(start, end, alphas, **options)
        pixel = lerp(latent[:, -1], latent[:, 0], alphas)
        seen = quantise(torch.stack((latent, pixel)).flatten(0, 2).unsqueeze(1))
        numbers = torch.stack((_confidence(classifier, seen), nearest(seen, train).distances))
        measured.append(numbers.view(2, 2, count, points).transpose(0, 1).cpu().double())
        yield _summary(torch.cat(measured, 2), shares)


def _confidence(classifier: Classifier, images: Tensor) -> Float[Tensor, " n"]:
    with torch.inference_mode():
        batches = [
            classifier.logits(scale(batch.to(classifier.device))).softmax(-1).amax(-1)
            for batch in images.split(500)
        ]
    return torch.cat(batches).to(images.device)


def _summary(measured: Float[Tensor, "spaces numbers pairs points"], alphas: list[float]) -> Walks:
    pairs = measured.shape[2]
    mean = measured.mean(2)
    error = measured.std(2) / math.sqrt(pairs) if pairs > 1 else torch.full_like(mean, math.nan)
    latent, pixel = (
        Walk(means[0].tolist(), errors[0].tolist(), means[1].tolist(), errors[1].tolist())
        for means, errors in zip(mean, error, strict=True)
    )
    return Walks(pairs, alphas, latent, pixel)
