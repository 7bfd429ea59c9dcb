"""Interpolation in numbers: whether the images on the way from digit to digit are digits themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genmnist.data import Dataset, Splits, quantise, scale
from genmnist.errors import UsageError
from genmnist.evaluation.document import Walk, Walks
from genmnist.evaluation.neighbours import nearest
from genmnist.models import Classifier, Latent
from genmnist.models.paths import lerp
from genmnist.models.request import check_whole
from genmnist.options import Options
from genmnist.randomness import generator

ENDS = ("digits", "prior")


def pairs_of_images(
    data: Dataset, pairs: int, seed: int = 0
) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
    """Draw the indices of pairs of images whose labels differ; of two images, where there is one label alone.

    Raises:
        UsageError: there is one image, or none.
    """
    if len(data) < 2:
        raise UsageError(f"{data.name} has {len(data)} images: there is no way to another")
    labels = data.labels.cpu()
    if len(labels.unique()) < 2:
        labels = torch.arange(len(labels))
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
    path: str | None = None,
    how: Options | None = None,
) -> Iterator[Walks]:
    """Walk between many pairs of end points, and measure every image on the way.

    The pixel walk fades between the two ends of the latent walk, as `Latent.interpolate` does, so that both
    spaces have the same end images. Images are measured as bytes.

    Args:
        model: whose latent space.
        data: images to start from, those of `test`, and to compare with, those of `train`.
        classifier: how sure it is tells an image from a blend of two; see
            `genmnist.evaluation.distances.FeatureSpace`.
        pairs: how many.
        ends: `digits`, embedded test images of different labels, or `prior`, points that samples come from,
            which spares a diffusion model the embedding.
        points: values of alpha from 0 to 1; odd, so that one is the middle.
        seed: fixes the pairs.
        batch_size: pairs at a time.
        path: `lerp` or `slerp`; None: the one that suits the model.
        how: how to sample; None: as suits the model.

    Yields:
        the means over the pairs so far after each batch, the last over all.

    Raises:
        UsageError: a number or an option that makes no sense.
    """
    check_whole("pairs", pairs, 2)
    check_whole("batch_size", batch_size, 1)
    if points < 3 or points % 2 == 0:
        raise UsageError(f"`points` must be 3, 5, 7 or more, so that one is in the middle, not {points}")
    if ends not in ENDS:
        raise UsageError(f"`ends` must be {' or '.join(ENDS)}, not {ends!r}")
    chosen = pairs_of_images(data.test, pairs, seed) if ends == "digits" else None
    train = data.train.images.to(model.device)
    shares = [point / (points - 1) for point in range(points)]
    alphas = torch.tensor(shares, device=model.device)
    way: dict[str, Any] = {"request": None if how is None else model.request(how=how)}
    way |= {} if path is None else {"path": path}
    measured: list[Float[Tensor, "spaces numbers b points"]] = []
    for first in range(0, pairs, batch_size):
        count = min(batch_size, pairs - first)
        if chosen:
            images = data.test.images
            start, end = (model.embed(images[at[first : first + count].to(images.device)]) for at in chosen)
        else:
            start, end = model.prior(seed, 2 * count, 2 * first).unflatten(0, (count, 2)).unbind(1)
        latent = model.interpolate(end, start, alphas, **way)
        pixel = lerp(latent[:, 0], latent[:, -1], alphas)
        seen = quantise(torch.stack((latent, pixel)).flatten(0, 2))
        numbers = torch.stack((_confidence(classifier, seen), nearest(seen, train).distances))
        measured.append(numbers.view(2, 2, count, points).transpose(0, 1).cpu().double())
        yield _summary(torch.cat(measured, 2), shares)


def _confidence(classifier: Classifier, images: UInt8[Tensor, "n h w *rgb"]) -> Float[Tensor, " n"]:
    with torch.inference_mode():
        batches = [
            classifier.logits(scale(batch.to(classifier.device))).softmax(-1).amax(-1)
            for batch in images.split(500)
        ]
    return torch.cat(batches).clamp_max(1).to(images.device)  # a softmax may round to more


def _summary(measured: Float[Tensor, "spaces numbers pairs points"], alphas: list[float]) -> Walks:
    latent, pixel = (Walk(*_mean(confidence), *_mean(distance)) for confidence, distance in measured)
    return Walks(measured.shape[2], tuple(alphas), latent, pixel)


def _mean(values: Float[Tensor, "pairs points"]) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """Return the mean over pairs at each point, and its standard error."""
    pairs, points = values.shape
    errors = (values.std(0) / math.sqrt(pairs)).tolist() if pairs > 1 else [None] * points
    return tuple(values.mean(0).tolist()), tuple(errors)
