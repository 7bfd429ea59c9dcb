"""Which length of an average is best: averages of some lengths, judged on validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from genmnist import notebook
from genmnist.data import Dataset
from genmnist.device import choose_device
from genmnist.errors import UsageError
from genmnist.evaluation import distances, suite
from genmnist.evaluation.distances import FeatureSpace
from genmnist.families.recipe import Recipe
from genmnist.models import Classifier, Generator, Model
from genmnist.models.request import check_whole
from genmnist.registry import FAMILIES
from genmnist.runs import checkpoint
from genmnist.runs.documents import Config
from genmnist.runs.folder import Run
from genmnist.training import recorder
from genmnist.training.posthoc import Snapshots
from genmnist.training.trainer import validate

Watch = Callable[[str, float], None]  # what is being judged, and the share of all that is done

LENGTHS = (0.03, 0.05, 0.08, 0.12, 0.18)
NUM = 1000
_READING = 0.1  # of the time that a length takes, if samples are drawn


@dataclass(frozen=True)
class Judged:
    """What an average is worth on validation images.

    Attributes:
        length: None for the weights that the run itself has kept.
        name: what to call it.
        error: how far its profile is from the one of its length, of the norm of that.
        loss: on validation images.
        distance: from them, of samples, in the features of a classifier; None if none were drawn.
    """

    length: float | None
    name: str
    error: float | None
    loss: float
    distance: float | None


@dataclass(frozen=True)
class Lengths:
    """The weights that a run has kept and averages of some lengths beside each other.

    Attributes:
        rows: one for each.
        unit: of the loss.
        num: how many samples were drawn of each.
        features: in which distances are measured, if they are.
    """

    rows: tuple[Judged, ...]
    unit: str
    num: int
    features: str

    @property
    def best(self) -> Judged:
        """Return the length of the least distance; without distances that of the least loss."""
        made = [row for row in self.rows if row.length is not None]
        return min(made, key=lambda row: row.loss if row.distance is None else row.distance)

    def table(self) -> tuple[list[list[str]], list[str]]:
        """Return rows and heads."""
        heads = ["length", "profile off by", f"validation loss, {self.unit}"]
        rows = [
            [row.name, "" if row.error is None else f"{row.error:.1%}", f"{row.loss:.6g}"]
            for row in self.rows
        ]
        if self.num:
            heads.append(f"distance of {self.num:,} samples")
            for shown, row in zip(rows, self.rows, strict=True):
                shown.append(f"{row.distance:.4f}")
        return rows, heads

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return notebook.table(*self.table())


def compare(
    run: str | Path | Run,
    lengths: Sequence[float] | None = None,
    *,
    num: int | None = None,
    seed: int = 0,
    features: Classifier | None = None,
    data: Any = None,
    network: nn.Module | None = None,
    device: str = "auto",
    precision: str = "auto",
    watch: Watch | None = None,
) -> Lengths:
    """Judge averages of some lengths on validation images, and what the run has kept beside them.

    Test images are not looked at.

    Args:
        run: a run or its folder, trained with `snapshots`.
        lengths: which, as `Snapshots.average` takes them; None: those of `LENGTHS` that can be had.
        num: how many samples to draw by each, to measure their distance from the validation images; 0 for
            none; None is 1,000, or none if the family draws nothing.
        seed: of the samples, whose noise is the same for all.
        features: a classifier to measure distances by; None is the one that ships.
        data, network: what the run was trained on and with, if they were given from Python.
        device, precision: where and how to compute.
        watch: called as things proceed; None: a notebook shows a bar.

    Raises:
        UsageError: a length cannot be had, the run has no validation images of its own, or the family, the
            data and the classifier do not fit what is asked.
        GenmnistError: a file is damaged; the data are not here, or have changed.
    """
    snapshots = Snapshots(run, network)
    low, high = snapshots.lengths
    chosen = [length for length in LENGTHS if low <= length <= high] if lengths is None else lengths
    config, errors = snapshots.config, {length: snapshots.error(length) for length in chosen or [low]}
    num = _checked(config, num)
    if config.validation == "test":
        raise UsageError(
            f"{snapshots.run.folder} was trained on all training images, so that only test images could tell "
            "lengths apart: train with another preset"
        )
    again = "compare there, by genmnist.training.lengths.compare"
    splits, place = recorder.images(snapshots.run, config, data, again), choose_device(device)
    space: FeatureSpace | None = None
    if num:
        space = distances.own_features(features) if features else distances.bundled_features(place)
        space.check(splits._replace(test=splits.validation))
    judge = _Judge(splits.validation.to(place), precision, num, seed, space)
    ways = [*([None] if snapshots.run.model_file.exists() else []), *errors]
    rows, reading = [], _READING if num else 1.0
    with notebook.bar("judging") as advance:
        told = watch or (lambda name, share: advance(share, name))
        for number, length in enumerate(ways):
            name = f"{length:g}" if length else _name(config)

            def show(share: float, number: int = number, name: str = name) -> None:
                told(name, (number + share) / len(ways))

            show(0)
            if length is None:
                model, _ = checkpoint.load(snapshots.run.model_file, config.family, network)
            else:
                model = snapshots.average(length, lambda share: show(reading * share))
            loss, distance = judge.judged(model, lambda share: show(reading + (1 - reading) * share))
            rows.append(Judged(length, name, errors[length] if length else None, loss, distance))
    return Lengths(tuple(rows), model.unit, num, space.name if space else "")


def _checked(config: Config, num: int | None) -> int:
    """Return how many samples to draw by each average. Raises UsageError if that makes no sense."""
    draws = FAMILIES[config.family].sampling is not None
    if num is None:
        return NUM if draws else 0
    check_whole("num", num, 0)
    if num and not draws:
        raise UsageError(f"a {config.family} draws nothing to be measured: leave `num` out")
    if num:
        suite.check_enough(num)
    return num


def _name(config: Config) -> str:
    """Say which weights the run itself has kept."""
    ema = Recipe.of(config.recipe).ema
    return f"the run's own (ema {ema:g})" if ema else "the run's own"


@dataclass(frozen=True)
class _Judge:
    """Whoever judges models by validation images, all in the same way; in a space, by samples too."""

    images: Dataset
    precision: str
    num: int
    seed: int
    space: FeatureSpace | None

    @cached_property
    def theirs(self) -> Tensor:
        """Return the features of the validation images."""
        return cast("FeatureSpace", self.space).features(self.images.images)

    def judged(self, model: Model, watch: Callable[[float], None]) -> tuple[float, float | None]:
        """Return the loss of a model on the images, and the distance of its samples from them."""
        model.place(self.images.images.device, self.precision)
        with torch.random.fork_rng():  # whoever asks may draw on
            loss = validate(model, self.images)["loss"]
        if self.space is None:
            return loss, None
        ours = self.space.features(self._drawn(cast("Generator", model), watch))
        return loss, distances.frechet(ours, self.theirs)

    def _drawn(self, model: Generator, watch: Callable[[float], None]) -> UInt8[Tensor, "n h w *rgb"]:
        batches, done = [], 0
        size = FAMILIES[model.family].batch_size
        for batch in model.sample_batches(model.request(self.seed), self.num, size):
            batches.append(batch)
            done += len(batch)
            watch(done / self.num)
        return torch.cat(batches)
