"""Everything that can be measured of a model, or of images from anywhere, in one document."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genmnist.data import Splits
from genmnist.evaluation import bands, distances, factors, likelihood, neighbours, vae
from genmnist.evaluation import samples as sampled
from genmnist.evaluation import walks as walked
from genmnist.evaluation.bands import Settled
from genmnist.evaluation.likelihood import Bound, Exact
from genmnist.evaluation.samples import Samples
from genmnist.evaluation.vae import Bounds, Disentanglement
from genmnist.evaluation.walks import Walks
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion, Generator, Latent
from genmnist.models.vae import Usage

Watch = Callable[[str, float], None]  # the name of a stage, and the share of it that is done
Images = UInt8[Tensor, "n 28 28"]
_Result = TypeVar("_Result")

_STRENGTHS = (0.0, 1.0, 3.0, 8.0)
_SHOWN = 12  # samples in the picture above their nearest real digits


@dataclass(frozen=True)
class Effort:
    """How much is measured of what."""

    num: int  # samples
    bounded: int  # test images under the variational bound
    levels: int  # noise levels that it is the sum of
    exact: int  # test images whose likelihood is computed exactly
    pairs: int  # of walks
    traced: int  # samples whose reverse process is followed
    guided: int  # samples at each strength of guidance


FULL, QUICK = Effort(10_000, 512, 100, 64, 500, 256, 1000), Effort(1_000, 64, 32, 8, 50, 64, 200)


@dataclass(frozen=True)
class Memorised:
    """The share of samples that are near-copies of training digits, and some beside those nearest to them."""

    share: float  # of near-copies
    expected: float  # of new digits
    shown: Images
    nearest: Images


@dataclass(frozen=True)
class Guided:
    """What classifier-free guidance of one strength makes of samples."""

    strength: float
    label_agreement: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Whole:
    """What was measured; what does not apply to a family is None."""

    samples: Samples
    memorised: Memorised
    sharpness: float  # of the edges of the images, and of those of the test digits
    real_sharpness: float
    bounds: Bounds | None = None
    usage: Usage | None = None
    disentanglement: Disentanglement | None = None
    bound: Bound | None = None
    exact: Exact | None = None
    settled: Settled | None = None
    walks: Walks | None = None
    guided: Sequence[Guided] = ()

    def document(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        found: dict[str, Any] = {
            "samples": _plain(self.samples),
            "near_copies": {"share": self.memorised.share, "expected": self.memorised.expected},
            "sharpness": {"images": self.sharpness, "real": self.real_sharpness},
        }
        if self.bounds and self.usage and self.disentanglement:
            found["vae"] = _plain(self.bounds) | {
                "active_units": int(self.usage.active.sum()),
                "latent": len(self.usage.active),
                "kl_by_factor": self.usage.kl.tolist(),
                "mutual_information_gap": {
                    "mean": self.disentanglement.mean_gap,
                    **self.disentanglement.gaps,
                },
            }
        if self.bound and self.exact:
            bound = {"bits": self.bound.total, **_plain(self.bound)}
            found["likelihood"] = {"bound": bound, "exact": _plain(self.exact)}
        if self.settled:
            found["coarse_before_fine"] = _plain(self.settled) | {"half_settled": self.settled.half_settled()}
        if self.walks:
            found["walks"] = _plain(self.walks)
        if self.guided:
            found["guidance_sweep"] = _plain(self.guided)
        return found


def measure_images(
    images: Images, data: Splits, classifier: Classifier, labels: Int64[Tensor, " n"] | None, watch: Watch
) -> Whole:
    """Measure images from anywhere.

    Raises:
        UsageError: there are too few, or the data are no digits.
    """
    sampled.check(data)
    stages = ("features", "distances", "distances of real digits")
    measured = sampled.measure(
        images, data, classifier, labels, lambda name: watch(f"measuring {name}", stages.index(name) / 3)
    )
    watch("looking for near-copies", 0)
    read = labels
    if read is None:
        read = classifier.decide(distances.features(classifier, images))
    data = data.to(classifier.device)
    train = data.train.images
    limits = neighbours.thresholds(data, lambda share: watch("looking for near-copies", share / 2))
    found = neighbours.near_copies(
        images,
        read,
        train,
        limits,
        lambda share: watch("looking for near-copies", 0.5 + share / 2),
    )
    nearest = train[found.indices[:_SHOWN]].cpu()
    return Whole(
        measured,
        Memorised(found.share, neighbours.NEAR, images[:_SHOWN], nearest),
        factors.sharpness(images).mean().item(),
        factors.sharpness(data.test.images).mean().item(),
    )


def measure(
    model: Generator,
    data: Splits,
    classifier: Classifier,
    effort: Effort,
    watch: Watch,
    seed: int = 0,
    **options: Any,
) -> Whole:
    """Measure a model.

    Args:
        model: which one.
        data: the real digits.
        classifier: the one that ships; see `distances.bundled_classifier`.
        effort: how much of everything.
        watch: called as things proceed.
        seed: of the samples.
        options: how to sample.

    Raises:
        UsageError: an option makes no sense, or the data or the model's labels are no digits.
    """
    sampled.check(data, model.classes)
    drawn = []
    for batch in model.sample_batches(effort.num, seed, 64 if model.family != "vae" else 512, **options):
        drawn.append(batch)
        watch("sampling", sum(map(len, drawn)) / effort.num)
    images = torch.cat(drawn)
    labels = torch.arange(len(images)) % model.classes if model.classes else None
    whole = measure_images(images, data, classifier, labels, watch)
    more: dict[str, Any] = {}
    if isinstance(model, VAE):
        test = data.test
        more["bounds"] = _last(
            "bounds", vae.bounds(model, test, seed=seed), lambda b: b.images / len(test), watch
        )
        more["usage"] = _last("latent factors", model.usage(test), lambda u: u.images / len(test), watch)
        watch("disentanglement", 0)
        more["disentanglement"] = vae.disentanglement(model, test, seed)
    if isinstance(model, Diffusion):
        more |= _diffusion(model, data, effort, watch, seed)
    if isinstance(model, ConditionalDiffusion):
        more["guided"] = [*_guided(model, data, classifier, effort, watch, seed, options)]
    if isinstance(model, Latent):
        ends = "digits" if isinstance(model, VAE) else "prior"
        steps = walked.walks(model, data, classifier, effort.pairs, ends, seed=seed)
        more["walks"] = _last("walks", steps, lambda w: w.pairs / effort.pairs, watch)
    return dataclasses.replace(whole, **more)


def _diffusion(model: Diffusion, data: Splits, effort: Effort, watch: Watch, seed: int) -> dict[str, Any]:
    """Return what is measured of diffusion models alone."""

    def some(count: int) -> tuple[Images, Int64[Tensor, " n"] | None]:
        chosen = torch.linspace(0, len(data.test) - 1, min(count, len(data.test))).long()
        return data.test.images[chosen], data.test.labels[chosen] if model.classes else None

    bound = likelihood.bound(model, *some(effort.bounded), steps=effort.levels, seed=seed)
    images, labels = some(effort.exact)
    exact = likelihood.exact(model, images, labels, seed=seed, batch_size=8)
    steps = 48
    settled = bands.settle(model, effort.traced, seed, steps)
    return {
        "bound": _last("bound", bound, lambda b: len(b.levels) / effort.levels, watch),
        "exact": _last("exact likelihood", exact, lambda e: e.images / len(images), watch),
        "settled": _last("reverse process", settled, lambda s: len(s.timesteps) / (steps + 1), watch),
    }


def _guided(
    model: ConditionalDiffusion,
    data: Splits,
    classifier: Classifier,
    effort: Effort,
    watch: Watch,
    seed: int,
    options: dict[str, Any],
) -> Iterator[Guided]:
    """Sweep the strength of guidance over the same noise."""
    theirs = distances.some(distances.features(classifier, data.test.images), effort.guided)
    for number, strength in enumerate(_STRENGTHS):
        watch("guidance", number / len(_STRENGTHS))
        images = model.sample(effort.guided, seed, 64, **options | {"guidance": strength})
        found = distances.features(classifier, images)
        kept = classifier.decide(found) == torch.arange(effort.guided) % model.classes
        like = distances.manifold(found[: len(theirs)], theirs)
        yield Guided(strength, kept.double().mean().item(), like.precision, like.recall)


def _last(stage: str, results: Iterator[_Result], share: Callable[[_Result], float], watch: Watch) -> _Result:
    """Return the last of the results that are getting ever more complete."""
    for result in results:
        watch(stage, share(result))
    return result


def _plain(part: Any) -> Any:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return _plain({field.name: getattr(part, field.name) for field in dataclasses.fields(part)})
    if hasattr(part, "_asdict"):
        return _plain(part._asdict())
    if isinstance(part, dict):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, float) and not math.isfinite(part):
        return None  # JSON has no such number
    if isinstance(part, (list, tuple)):
        return [_plain(value) for value in part]
    return part
