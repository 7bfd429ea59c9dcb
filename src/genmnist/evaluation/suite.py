"""Everything that can be measured of a model, or of images from anywhere, in one document.

What applies to a family its description lists by name (`Family.measures`); `MEASURES` has the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from genmnist import notebook
from genmnist.data import Dataset, Splits
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import UsageError
from genmnist.evaluation import (
    bands,
    distances,
    factors,
    likelihood,
    neighbours,
    samples,
    scores,
    tables,
    vae,
)
from genmnist.evaluation import walks as walked
from genmnist.evaluation.distances import FeatureSpace
from genmnist.evaluation.document import (
    Autoencoder,
    Chain,
    EvaluationDocument,
    Guided,
    Likelihood,
    NearCopies,
    Settled,
    Sharpness,
    Walks,
    is_sound,
)
from genmnist.evaluation.scores import Terms
from genmnist.evaluation.shapes import by, image_shape
from genmnist.models import VAE, Diffusion, Generator, Latent
from genmnist.options import Options
from genmnist.registry import FAMILIES

Watch = Callable[[str, float], None]  # the name of a stage, and the share of it that is done
Images = UInt8[Tensor, "n h w *rgb"]
Labels = Int64[Tensor, " n"] | None
_Result = TypeVar("_Result")

_STRENGTHS = (0.0, 1.0, 3.0, 8.0)  # of guidance
_TRACED_STEPS = 48
_EXACT_BATCH = 8  # whose gradients take as much memory as training
_SHOWN = 12  # samples in the picture above their nearest real images


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
    coded: int = 10_000  # test images that an autoencoder codes
    scored: int = 10_000  # test images that a model which knows values scores
    looks: int = 16  # noise levels at which it looks at each
    chained: int = 500  # test images of its chain in discrete time
    steps: int = 500  # of that chain


_LEAST = 6  # images: each has its fifth neighbour

FULL = Effort(10_000, 512, 100, 64, 500, 256, 1000)
QUICK = Effort(1_000, 64, 32, 8, 50, 64, 200, coded=1_000, scored=200, chained=50)


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and some of the images beside the training images that they are nearest to."""

    document: EvaluationDocument
    shown: Images
    nearest: Images

    def _repr_html_(self) -> str:
        """Show in a notebook what was measured, and samples above the real images nearest to them."""
        strip = torch.cat([torch.cat([*images], 1) for images in (self.shown, self.nearest)])
        picture = notebook.picture(notebook.png(Image.fromarray(strip.numpy())), width=700)
        said = "".join(f"<p>{sentence}</p>" for sentence in tables.caveats(self.document))
        return notebook.table(*tables.rows(self.document)) + said + picture


@dataclass(frozen=True)
class Task:
    """What a measure works on."""

    model: Generator
    data: Splits
    features: FeatureSpace
    effort: Effort
    watch: Watch
    seed: int
    how: Options | None  # to sample
    beyond: dict[str, Any] = field(default_factory=dict)  # the weaker model that is gone beyond, if one is
    ranks: Ranks = ALONE  # who shares what the network computes; the rest each does for itself

    def test_images(self, count: int) -> tuple[Images, Labels]:
        """Return so many test images, spread evenly, and their labels if the model takes labels."""
        test = self.test(count)
        return test.images, test.labels if self.model.classes else None

    def test(self, count: int) -> Dataset:
        """Return so many test images, spread evenly, with their labels; all if there are no more."""
        test = self.data.test
        if count >= len(test):
            return test
        chosen = torch.linspace(0, len(test) - 1, count).long().to(test.images.device)
        return Dataset(test.name, test.images[chosen], test.labels[chosen])

    def last(self, stage: str, results: Iterator[_Result], share: Callable[[_Result], float]) -> _Result:
        """Return the last of results that get ever more complete, and show how far they are."""
        for result in results:
            self.watch(stage, share(result))
        return result


def check_enough(count: int) -> None:
    """Raise UsageError if so many images are too few to be measured."""
    if count < _LEAST:
        raise UsageError(f"a distance needs {_LEAST} images or more, not {count}")


def measure_images(
    images: Images,
    data: Splits,
    features: FeatureSpace,
    labels: Int64[Tensor, " n"] | None,
    watch: Watch,
) -> Evaluation:
    """Measure images from anywhere, against the test images, with the training images beside them.

    Args:
        images: at least six, of the shape of the data's.
        data: the real images.
        features: what distances are measured in.
        labels: those that were asked for, if any were.
        watch: called as things proceed.

    Raises:
        UsageError: there are too few, or images, data and features do not fit one another.
    """
    check_enough(len(images))  # before anything that takes time
    if labels is not None and (most := int(labels.max())) >= features.classes:
        raise UsageError(
            f"the images have labels up to {most}, and {features.name} knows {features.classes}: leave the "
            "labels out, or name a classifier that knows them by `features`"
        )
    features.check(data)
    if (shape := image_shape(images)) != data.shape:
        raise UsageError(f"the images are {by(shape)}, and those of {data.test.name} {by(data.shape)}")
    stages = ("features", "distances", "distances of real images")
    measured = samples.measure(
        images, data, features, labels, lambda name: watch(f"measuring {name}", stages.index(name) / 3)
    )
    watch("looking for near-copies", 0)
    read = features.decide(features.features(images)) if labels is None else labels
    data = data.to(features.classifier.device)
    train = data.train.images
    classes = max(features.classes, int(read.max()) + 1)
    limits = neighbours.thresholds(data, classes, lambda share: watch("looking for near-copies", share / 2))
    found = neighbours.near_copies(
        images, read, train, limits, lambda share: watch("looking for near-copies", 0.5 + share / 2)
    )
    real = factors.sharpness(data.test.images).mean().item()
    document = EvaluationDocument(
        samples=measured,
        near_copies=NearCopies(found.share, neighbours.NEAR),
        sharpness=Sharpness(factors.sharpness(images).mean().item(), real),
    )
    return Evaluation(document, images[:_SHOWN].cpu(), train[found.indices[:_SHOWN]].cpu())


def measure(
    model: Generator,
    data: Splits,
    features: FeatureSpace,
    effort: Effort,
    watch: Watch,
    seed: int = 0,
    how: Options | None = None,
    weaker: Diffusion | None = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Measure a model: its samples, and whatever else its family's description lists.

    Measures whose numbers do not come out finite, as those of a model that diverged, are named in the
    document as `undefined`.

    Args:
        model: which one.
        data: the real images; final figures are against its test images.
        features: what distances are measured in.
        effort: how much of everything.
        watch: called as things proceed.
        seed: of the samples.
        how: how to sample; None: as suits the model.
        weaker: the model that autoguidance goes beyond, if `how` asks for it.
        ranks: the processes that share the work; all get the same.

    Raises:
        UsageError: the model, the data and the features do not fit one another, or the family lists a
            measure that is unknown.
    """
    family = FAMILIES[model.family]
    if stray := [name for name in family.measures if name not in MEASURES]:
        raise UsageError(f"there is no measure {stray[0]!r}; a family may list {', '.join(MEASURES)}")
    features.check(data, model.classes)
    if model.shape != data.shape:
        raise UsageError(
            f"the model draws images of {by(model.shape)}, and those of {data.test.name} are {by(data.shape)}"
        )
    drawn: list[Images] = []
    beyond: dict[str, Any] = {} if weaker is None else {"weaker": weaker}
    labels = data.train.deal(effort.num, seed) if model.classes else None
    request = model.request(seed, labels=labels, how=how, **beyond)
    for batch in model.sample_batches(request, effort.num, family.batch_size, ranks):
        drawn.append(batch)
        watch("sampling", sum(map(len, drawn)) / effort.num)
    evaluation = measure_images(torch.cat(drawn), data, features, labels, watch)
    task = Task(model, data, features, effort, watch, seed, how, beyond, ranks)
    found: dict[str, Any] = {}
    undefined: list[str] = []
    for name in family.measures:
        field, value = MEASURES[name](task)
        sound = all(map(is_sound, value if isinstance(value, tuple) else (value,)))
        found |= {field: value} if sound else {}
        undefined += [] if sound else [name]
    document = evaluation.document.replace(**found, undefined=tuple(undefined))
    return Evaluation(document, evaluation.shown, evaluation.nearest)


def _autoencoder(task: Task) -> tuple[str, Autoencoder]:
    model, test = cast("VAE", task.model), task.test(task.effort.coded)
    bounds = task.last(
        "bounds", vae.bounds(model, test, seed=task.seed), lambda found: found.images / len(test)
    )
    usage = task.last("latent factors", model.usage(test), lambda found: found.images / len(test))
    task.watch("disentanglement", 0)
    known = vae.disentanglement(model, test, task.seed)
    return "vae", Autoencoder(
        **msgspec.structs.asdict(bounds),
        active_units=int(usage.active.sum()),
        latent=len(usage.active),
        kl_by_factor=tuple(usage.kl.tolist()),
        mutual_information_gap={"mean": known.mean_gap, **known.gaps},
    )


def _likelihood(task: Task) -> tuple[str, Likelihood]:
    model, effort = cast("Diffusion", task.model), task.effort
    if model.knows_values:
        return "likelihood", _scored(task, model)
    shared: dict[str, Any] = {"seed": task.seed, "ranks": task.ranks}
    bound = likelihood.bound(model, *task.test_images(effort.bounded), steps=effort.levels, **shared)
    images, labels = task.test_images(effort.exact)
    exact = likelihood.exact(model, images, labels, batch_size=_EXACT_BATCH, **shared)
    return "likelihood", Likelihood(
        task.last("bound", bound, lambda found: len(found.levels) / effort.levels),
        task.last("exact likelihood", exact, lambda found: found.images / len(images)),
    )


def _scored(task: Task, model: Diffusion) -> Likelihood:
    """Score images by a model that knows values, in continuous time and by a chain of steps."""
    effort, (images, labels) = task.effort, task.test_images(task.effort.scored)

    def last(stage: str, images: Images, labels: Labels, steps: int | None = None) -> Terms:
        found = scores.terms(model, images, labels, effort.looks, steps, task.seed, ranks=task.ranks)
        return task.last(stage, found, lambda terms: len(terms.prior) / len(images))

    bound = last("bound", images, labels).bound(model)
    images, labels = task.test_images(effort.chained)
    whole = last("bound of the same images", images, labels).bits
    bits = last(f"chain of {effort.steps} steps", images, labels, effort.steps).bits
    gap, error = bits - whole, likelihood.standard_error
    chain = Chain(effort.steps, len(images), bits.mean().item(), error(bits), gap.mean().item(), error(gap))
    return Likelihood(bound, chain=chain)


def _reverse(task: Task) -> tuple[str, Settled]:
    steps = bands.settle(cast("Diffusion", task.model), task.effort.traced, task.seed, _TRACED_STEPS)
    total = _TRACED_STEPS + 1
    return "coarse_before_fine", task.last(
        "reverse process", steps, lambda found: len(found.timesteps) / total
    )


def _guidance(task: Task) -> tuple[str, tuple[Guided, ...]]:
    """Sweep the strength of guidance over the same noise."""
    model, features, count = task.model, task.features, task.effort.guided
    theirs = distances.fixed_subset(features.features(task.data.test.images), count)
    batch_size = FAMILIES[model.family].batch_size
    how, labels = task.how or model.how(), task.data.train.deal(count, task.seed)
    asked: dict[str, Any] = {"labels": labels, **task.beyond}
    rows = []
    for number, strength in enumerate(_STRENGTHS):
        task.watch("guidance", number / len(_STRENGTHS))
        guided = how.replace({"guidance": strength})
        images = model.sample(count, task.seed, batch_size, task.ranks, how=guided, **asked)
        found = features.features(images)
        kept = features.decide(found) == labels
        like = distances.manifold(found[: len(theirs)], theirs)
        rows.append(Guided(strength, kept.double().mean().item(), like.precision, like.recall))
    return "guidance_sweep", tuple(rows)


def _walks(task: Task) -> tuple[str, Walks]:
    model, pairs, family = cast("Latent", task.model), task.effort.pairs, FAMILIES[task.model.family]
    classifier = task.features.classifier
    steps = walked.walks(
        model, task.data, classifier, pairs, family.walk_ends, seed=task.seed, path=family.path
    )
    return "walks", task.last("walks", steps, lambda found: found.pairs / pairs)


# By the name in a family's description: what returns a field of the document, and what stands there.
MEASURES: dict[str, Callable[[Task], tuple[str, Any]]] = {
    "autoencoder": _autoencoder,
    "likelihood": _likelihood,
    "reverse": _reverse,
    "guidance": _guidance,
    "walks": _walks,
}
