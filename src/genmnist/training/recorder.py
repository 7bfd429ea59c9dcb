"""Keeping a run's folder while its model trains, so that a kill at any moment loses little."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import Tensor

from genmnist import data as sets
from genmnist.data import Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.families.length import Plan
from genmnist.files import TEMPORARY, write_document
from genmnist.models import Model
from genmnist.registry import DATASETS, UnknownNameError
from genmnist.runs import checkpoint
from genmnist.runs.documents import (
    Config,
    Progress,
    StateHeader,
    Summary,
    Training,
    identity_sum,
    write_metrics,
)
from genmnist.runs.folder import Run
from genmnist.training.trainer import Trainer

OWN = "own"  # the name of a data set that was given from Python


def images(run: Run, config: Config, data: Any, again: str) -> Splits:
    """Return what a run is trained on: `data`, if it was given from Python, or what its configuration names.

    Raises:
        UsageError: it was given from Python, and is not now: `again` says where; or it needs a plugin.
        GenmnistError: it is not here, or has changed.
    """
    if data is not None:
        splits = sets.as_splits(data, config.dataset)
    elif config.dataset == OWN:
        raise UsageError(
            f"{run.folder} was trained on `data` given from Python: {again}, with the same `data`"
        )
    else:
        try:
            splits = sets.load(
                config.dataset, config.data_dir, image_size=config.image_size, colour=config.colour
            )
        except UnknownNameError as error:
            raise checkpoint.unknown(run.config_file, error, config.sources) from error
    if splits.checksum() != config.data_checksum:
        raise GenmnistError(
            f"the data of {run.folder} have changed since it began: bring them back, or train anew"
        )
    return splits


def replan(run: Run, trainer: Trainer, config: Config, plan: Plan) -> None:
    """Give a trainer another plan, which a resumed run will follow too."""
    config.steps, config.plan = plan.steps, str(plan)
    # First: a state that has followed it must find it there.
    trainer.ranks.lead(lambda: write_document(run.config_file, config))
    trainer.plan = plan


def save(run: Run, trainer: Trainer, config: Config) -> None:
    """Save the training state, then the model. Raises GenmnistError if that fails; the old ones stay.

    Of several processes, all of which must call this, the first one writes.
    """
    tensors, progress = trainer.state()
    progress = msgspec.structs.replace(progress, run=identity_sum(config))
    metrics = trainer.history[-1].flat() if trainer.history else {}
    model = trainer.result

    def write() -> None:
        checkpoint.save_state(run.state_file, run.former_state_file, model, config.preset, progress, tensors)
        checkpoint.save(run.model_file, model, config.preset, _training(trainer, config), metrics)

    trainer.ranks.lead(write)


def _training(trainer: Trainer, config: Config, average: float | None = None) -> Training:
    """Return how weights came about: the model's, or those of the average of a length."""
    model = trainer.result
    kept = {name: getattr(config, name) for name in Training.__struct_fields__ if hasattr(config, name)}
    kept |= {"device": str(model.device), "precision": model.precision, "steps": trainer.steps}
    source = config.sources.get(f"{DATASETS.kind} {config.dataset}", "")
    seconds = round(trainer.seconds, 2)
    return Training(**kept, dataset_source=source, average=average, step=trainer.step, seconds=seconds)


def keep_snapshot(run: Run, trainer: Trainer, config: Config) -> None:
    """Keep the averages as they are, each as a model of its own, if this is a step after which they are kept.

    Of several processes, all of which must call this after each step and before a state of it is saved, the
    first one writes. A run that goes on from an earlier state writes the same again.

    Raises:
        GenmnistError: the loss is no longer finite, or that fails; what is there stays.
    """
    if not trainer.snapshot_is_due:
        return
    trainer.check()

    def write() -> None:
        for average in trainer.powers:
            path, model = run.snapshot(trainer.step, average.length), cast("Model", average.module)
            checkpoint.save(path, model, config.preset, _training(trainer, config, average.length), {})

    trainer.ranks.lead(write)


def restore(run: Run, trainer: Trainer, config: Config) -> list[str]:
    """Bring a trainer to where the run was last saved; a run killed before that starts again.

    Of several processes, all of which must call this, the first one reads.

    Returns:
        What is to be said of it, in sentences.

    Raises:
        GenmnistError: both states are damaged, or one is of another run.
    """
    ranks = trainer.ranks
    progress, running, said = ranks.first(lambda: _restore_first(run, trainer, config), _Restored)
    if progress is not None:
        own = {name: tensor for name, tensor in sorted(trainer.tensors().items()) if name != "running"}
        if not ranks.leads:
            trainer.load_state(own | {"running": torch.tensor(running)}, progress)
        ranks.spread([*own.values()])
        if progress.ranks != ranks.size:
            said.append(
                f"the run was saved by {progress.ranks} process{'es' if progress.ranks > 1 else ''} and goes "
                f"on with {ranks.size}: its results are the same to rounding, not to the bit"
            )
    return said


# How far a run was, the sums of its losses, one a process where there were several, and what is to be said.
_Restored = tuple[Progress | None, float | list[float], list[str]]


def _restore_first(run: Run, trainer: Trainer, config: Config) -> _Restored:
    """Do what `restore` says in the first process.

    Returns:
        What the others need besides the trainer's tensors, and what is to be said.
    """
    for abandoned in run.folder.rglob(f"{TEMPORARY}*"):  # what a kill left half written
        shutil.rmtree(abandoned, ignore_errors=True)
    progress, said = None, list[str]()
    running: float | list[float] = []
    if (found := _last_state(run)) is not None:
        header, tensors, said = found
        progress = header.progress
        if "running" in tensors:
            running = tensors["running"].tolist()
        try:
            if checkpoint.family_options(header) != trainer.model.options:
                raise ValueError("it is of another model")
            if progress.run not in ("", identity_sum(config)):
                raise ValueError("config.json no longer says what it was trained by")
            trainer.load_state(tensors, progress)
        except (ValueError, GenmnistError) as error:
            raise _not_of_this_run(run.state_file, str(error)) from error
    write_metrics(run.metrics_file, trainer.history)
    return progress, running, said


def _last_state(run: Run) -> tuple[StateHeader, dict[str, Tensor], list[str]] | None:
    """Return the state that was saved last, or, where it is damaged, the one before; None if there is none.

    Raises:
        GenmnistError: there is none that can be read.
    """
    if not run.state_file.exists() and not run.former_state_file.exists():
        return None
    try:
        return *_state(run.state_file), []
    except GenmnistError as error:
        try:
            header, tensors = _state(run.former_state_file)
        except GenmnistError:
            raise error from None
        step = header.progress.step
        return header, tensors, [f"{error}; the run goes on from the state before it, of step {step:,}"]


def _state(path: Path) -> tuple[StateHeader, dict[str, Tensor]]:
    header, tensors = checkpoint.read(path)
    if not isinstance(header, StateHeader):
        raise _not_of_this_run(path, "it is a model")
    return header, tensors


def _not_of_this_run(path: Path, why: str) -> GenmnistError:
    return GenmnistError(f"{path} is not a state of this run ({why.splitlines()[0][:100]}): start afresh")


def summarise(run: Run, trainer: Trainer, config: Config) -> None:
    """Write the summary, which marks the run as finished."""
    model = trainer.result
    summary = Summary(
        family=model.family,
        preset=config.preset,
        options=model.options.asdict(),
        parameters=sum(weight.numel() for weight in model.parameters()),
        steps=trainer.steps,
        ranks=trainer.ranks.size,
        plan=config.plan,
        threads=trainer.threads,
        seed=config.seed,
        dataset=config.dataset,
        device=str(model.device),
        precision=model.precision,
        seconds=round(trainer.seconds, 2),
        metrics=trainer.history[-1].flat(),
    )
    write_document(run.summary_file, summary)
