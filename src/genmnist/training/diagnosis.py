"""Why does my output look like noise? The seven usual causes, each looked for in a run.

docs/noise.md explains them one by one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genmnist import data as sets
from genmnist import notebook
from genmnist.data import Splits, scale
from genmnist.device import choose_device
from genmnist.diffusion.spacings import spaced
from genmnist.errors import GenmnistError, UsageError
from genmnist.models import Diffusion, Model
from genmnist.randomness import reseed
from genmnist.registry import FAMILIES, SAMPLERS
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader
from genmnist.runs.find import find
from genmnist.runs.folder import Run
from genmnist.training.trainer import validate

_IMAGE_LEFT = 0.1  # the share of the image in what sampling takes for nothing but noise
_FRESH_STEPS = 100  # that ancestral sampling needs at least, which draws fresh noise at each
_SHORT = 50  # steps of an average, which then averages next to nothing
_WORSE = 1.2  # times: by so much a loss is worse than another
_FALLING = 0.1  # the share that a loss has fallen over the last quarter of a training that is not done
_OFF = 0.05  # the share by which a loss may be computed otherwise on another machine
_DIM = 64  # the brightest pixel, of 255, of images that are dim
_APART = 0.15  # by how much the mean pixel of two parts of a set may differ, of 1
_EXPLODING = "exploding loss"
_ASKED = 256  # images


@dataclass(frozen=True)
class Finding:
    """A cause: its name, what was found (nothing, if it is not there), and what mends it."""

    cause: str
    found: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What was looked for in a run: the seven causes in their order, and what could not be looked at."""

    run: str
    findings: tuple[Finding, ...]
    left_out: str = ""

    @property
    def causes(self) -> tuple[Finding, ...]:
        """Return those that were found."""
        return tuple(finding for finding in self.findings if finding.found)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return a row a cause, for a table."""
        return [(one.cause, one.found or "not found", one.remedy) for one in self.findings]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        table = notebook.table(self.rows(), ("cause", "found", "what mends it"))
        return notebook.titled(self.run, table, f"<p>{self.left_out}</p>" if self.left_out else "")


@dataclass(frozen=True)
class _Case:
    run: Run
    model: Model
    header: ModelHeader
    data: Splits | None
    how: dict[str, Any]

    def validated(self, model: Model) -> float:
        """Return a loss as the training computed it, on the same images and with the same noise."""
        images: Any = self.data
        return validate(model, images.validation.to(model.device))["loss"]


def diagnose(
    run: str | Path | Run,
    *,
    data: Any = None,
    network: nn.Module | None = None,
    device: str = "cpu",
    **how: Any,
) -> Diagnosis:
    """Look in a run for the seven usual causes of output that looks like noise.

    Args:
        run: a run or its folder, finished or not.
        data, network: what it was trained on and with, if they were given from Python.
        device: where to compute.
        how: how you sample, such as `sampler="ancestral", steps=16`; else as suits the model.

    Raises:
        UsageError: it is not a run, or there is no such way of sampling.
        GenmnistError: it is damaged, or has saved no model yet.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    config = opened.config
    if not opened.model_file.exists() and opened.diverged_file.is_file():
        return _diverged(opened)
    place = choose_device(device)
    model, header = checkpoint.load(find(None, opened).path, None, network)
    if not isinstance(header, ModelHeader):
        raise GenmnistError(f"{opened.model_file} is not a model: `resume` the run to have it written again")
    splits, left_out = None, ""
    if data is not None:
        splits = sets.as_splits(data)
    else:
        try:
            splits = sets.load(
                config.dataset, config.data_dir, image_size=config.image_size, colour=config.colour
            )
        except (UsageError, GenmnistError):
            left_out = "The images that it was trained on are not here, so nothing was computed on them."
    if splits and config.validation == "test":
        splits = splits.validated_on_test()
    case = _Case(opened, model.place(place, "float32").eval(), header, splits, how)
    findings = tuple(Finding(name, *next(look(case), ())) for name, look in CAUSES.items())
    return Diagnosis(f"run {opened.folder}", findings, left_out)


def _diverged(run: Run) -> Diagnosis:
    """Return what is known of a run that ended before it saved anything."""
    found = "its loss was no longer finite before it had saved a model"
    exploded = Finding(_EXPLODING, found, "train anew with a smaller lr or precision float32")
    findings = tuple(exploded if name == _EXPLODING else Finding(name) for name in CAUSES)
    return Diagnosis(f"run {run.folder}", findings, "There are no weights: nothing else was looked at.")


Found = Iterator[tuple[str, str]]  # what was found, and what mends it


def _sampler(case: _Case) -> Found:
    model = case.model
    if not isinstance(model, Diffusion):
        return
    how, schedule = model.how(**case.how), model.schedule
    name, last = model.options.noise_schedule, len(schedule) - 1
    left = schedule.alpha(last).item()
    if left > _IMAGE_LEFT:
        yield (
            f"at its last timestep the noise schedule {name} leaves {left:.0%} of the image, but sampling "
            "starts from nothing but noise",
            "train with a schedule that ends in noise: cosine, straight or linear",
        )
    visited = spaced(schedule, how.steps, how.spacing, how.last_timestep)
    left = schedule.alpha(visited[0]).item()
    if left > _IMAGE_LEFT:
        yield (
            f"sampling starts at timestep {visited[0]:.0f}, where {left:.0%} of the image should be there",
            "take the spacing trailing or shifted, which start at the last timestep",
        )
    ancestral = "variance" in SAMPLERS.parameters(how.sampler)
    if ancestral and how.steps < _FRESH_STEPS:
        yield (
            f"the sampler {how.sampler} draws fresh noise at each step, and {how.steps} steps are too few to "
            "take it away again",
            f"take {_FRESH_STEPS} steps or more, or the sampler dpm-solver",
        )


def _average(case: _Case) -> Found:
    decay = case.run.config.recipe.get("ema", 0.0)
    if not isinstance(case.model, Diffusion):
        return
    span = math.inf if decay >= 1 else 1 / (1 - decay)
    if span < _SHORT:
        yield (
            f"the weights are averaged over the last {span:.0f} steps or so (ema {decay:g}): next to nothing",
            "train with an ema of 0.99 or more; 0.999 for runs of some thousand steps",
        )
    if not (decay and case.data and case.run.state_file.is_file()):
        return
    _, tensors = checkpoint.read(case.run.state_file)
    raw = copy.deepcopy(case.model)
    own = {name.removeprefix("model."): held for name, held in tensors.items() if name.startswith("model.")}
    try:
        raw.load_state_dict(own)
    except RuntimeError:
        return  # it is of another model, which is another cause
    last, averaged = case.validated(raw), case.validated(case.model)
    if averaged > _WORSE * last:
        yield (
            f"the average of the weights (ema {decay:g}) has a loss of {averaged:.4g}, the weights "
            f"themselves {last:.4g}: the training was too short for it",
            "train longer, or with a smaller ema",
        )


def _length(case: _Case) -> Found:
    metrics, config = case.run.metrics, case.run.config
    done, planned = case.header.training.step, config.steps or 0
    if planned and done < planned:
        yield (
            f"it stopped at step {done:,} of {planned:,}",
            f"`genmnist train {config.family} --resume {case.run.folder}` goes on with it",
        )
    seen = done * config.recipe.get("batch_size", 1)
    few = len(case.data.train) if case.data else 10_000
    if seen < few:
        yield (
            f"it has seen {seen:,} images, less than each of them once",
            "give it more steps, epochs or time",
        )
    if len(metrics) >= 4:
        before, last = metrics[-1 - len(metrics) // 4].val_loss, metrics[-1].val_loss
        fallen = (before - last) / abs(before) if before else 0.0
        if fallen > _FALLING:
            yield (
                f"its validation loss fell by {fallen:.0%} over the last quarter: it was still learning",
                "train longer",
            )


def _pixels(case: _Case) -> Found:
    if case.data is None:
        return
    brightest = int(case.data.train.images.max())
    if brightest < _DIM:
        yield (
            f"the brightest pixel of its training images is {brightest} of 255: nearly black to the network",
            "bring them to the whole range from 0 to 255; multiply floats from 0 to 1 by 255",
        )


def _exploded(case: _Case) -> Found:
    if not all(weight.isfinite().all() for weight in case.model.state_dict().values()):
        yield "some of its weights are not finite", "train anew with a smaller lr, or precision float32"
    metrics = case.run.metrics
    if not metrics:
        return
    best = min(metrics, key=lambda line: line.val_loss)
    last = metrics[-1].val_loss
    if last > best.val_loss + (_WORSE - 1) * abs(best.val_loss):
        yield (
            f"its validation loss was {best.val_loss:.4g} at step {best.step:,} and rose to {last:.4g}",
            "train anew with a smaller lr, a warmup or clip",
        )
    seen = [line.train_loss for line in metrics]
    if seen[-1] > 10 * min(seen) > 0:
        yield (
            f"its training loss rose from {min(seen):.4g} to {seen[-1]:.4g}",
            "train anew with a smaller lr, a warmup or clip",
        )


def _normalised(case: _Case) -> Found:
    if case.data is None:
        return
    parts = {"training": case.data.train.images, "validation": case.data.validation.images}
    means = {name: scale(images[:_ASKED]).mean().item() for name, images in parts.items()}
    if abs(means["training"] - means["validation"]) > _APART:
        yield (
            f"the mean pixel of its training images is {means['training']:.2f}, of its validation images "
            f"{means['validation']:.2f}: they were prepared in different ways",
            "prepare all images alike; light on dark or dark on light, not both",
        )
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in case.model.modules()):
        return
    images, labels = case.data.train.batch(torch.arange(min(_ASKED, len(case.data.train))))
    losses = {}
    for name, training in (("batch", True), ("kept", False)):
        reseed(torch.device("cpu"), 0, "diagnosis")
        model = copy.deepcopy(case.model).train(training)
        with torch.no_grad():
            losses[name] = model.losses(images.to(model.device), labels.to(model.device))["loss"].item()
    if losses["kept"] > 2 * losses["batch"] or not math.isfinite(losses["kept"]):
        yield (
            "the statistics that its batch normalisation kept for sampling do not fit: by them the loss is "
            f"{losses['kept']:.4g}, by those of a batch {losses['batch']:.4g}",
            "train longer, with a larger momentum of the normalisation, or take group normalisation",
        )


def _weights(case: _Case) -> Found:
    config, header = case.run.config, case.header
    mend = "take the model.safetensors that the run wrote, or resume the run to have it written again"
    if (header.family, header.preset) != (config.family, config.preset):
        yield (
            f"its model.safetensors is a {header.family}, preset {header.preset}; the run trained a "
            f"{config.family}, preset {config.preset}",
            mend,
        )
        return
    trained = header.training
    for name, theirs, ours in (
        ("seed", trained.seed, config.seed),
        ("data", trained.data_checksum, config.data_checksum),
        ("options", case.model.options, FAMILIES[config.family].options.of(config.options)),
    ):
        if theirs and theirs != ours:
            yield f"its model.safetensors was trained with other {name} than the run", mend
    recorded = {line.step: line.val_loss for line in case.run.metrics}.get(trained.step)
    if recorded is None or case.data is None:
        return
    measured = case.validated(case.model)
    if not abs(measured - recorded) <= _OFF * abs(recorded):
        yield (
            f"its weights have a validation loss of {measured:.4g}, and the run recorded {recorded:.4g}",
            mend,
        )


# By its name, in the order in which one should look: what looks for it.
CAUSES: dict[str, Callable[[_Case], Found]] = {
    "sampler and noise schedule": _sampler,
    "average too short or too long": _average,
    "not trained enough": _length,
    "range of pixels": _pixels,
    _EXPLODING: _exploded,
    "wrong normalisation": _normalised,
    "wrong checkpoint": _weights,
}
