"""Keeping a run's folder while its model trains, so that a kill at any moment loses little."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from genmnist.errors import GenmnistError
from genmnist.families.length import Plan
from genmnist.files import TEMPORARY, write_document
from genmnist.registry import DATASETS
from genmnist.runs import checkpoint
from genmnist.runs.documents import Config, StateHeader, Summary, Training, write_metrics
from genmnist.runs.folder import Run
from genmnist.training.trainer import EpochEnd, Event, Trainer


def record(run: Run, trainer: Trainer, config: Config) -> Iterator[Event]:
    """Pass on a trainer's events, keeping the folder so that a kill at any moment loses little."""
    saved = time.monotonic()
    for event in trainer.train():
        if isinstance(event, EpochEnd):
            write_metrics(run.metrics_file, trainer.history)
        if time.monotonic() - saved >= config.save_every:
            save(run, trainer, config)
            saved = time.monotonic()
        yield event


def replan(run: Run, trainer: Trainer, config: Config, plan: Plan) -> None:
    """Give a trainer another plan, which a resumed run will follow too."""
    config.steps, config.plan = plan.steps, str(plan)
    write_document(run.config_file, config)  # first: a state that has followed it must find it there
    trainer.plan = plan


def save(run: Run, trainer: Trainer, config: Config) -> None:
    """Save the training state, then the model. Raises GenmnistError if that fails; the old ones stay."""
    tensors, progress = trainer.state()
    model = trainer.result
    checkpoint.save_state(run.state_file, model, config.preset, progress, tensors)
    kept = {name: getattr(config, name) for name in Training.__struct_fields__ if hasattr(config, name)}
    kept |= {"device": str(model.device), "precision": model.precision, "steps": trainer.steps}
    source = config.sources.get(f"{DATASETS.kind} {config.dataset}", "")
    seconds = round(trainer.seconds, 2)
    training = Training(**kept, dataset_source=source, step=trainer.step, seconds=seconds)
    metrics = trainer.history[-1].flat() if trainer.history else {}
    checkpoint.save(run.model_file, model, config.preset, training, metrics)


def restore(run: Run, trainer: Trainer) -> None:
    """Bring a trainer to where the run was last saved; a run killed before that starts again.

    Raises:
        GenmnistError: the state is damaged, or of another run.
    """
    for abandoned in run.folder.rglob(f"{TEMPORARY}*"):  # what a kill left half written
        shutil.rmtree(abandoned, ignore_errors=True)
    if run.state_file.exists():
        header, tensors = checkpoint.read(run.state_file)
        try:
            if not isinstance(header, StateHeader):
                raise ValueError("it is a model")
            if checkpoint.family_options(header) != trainer.model.options:
                raise ValueError("it is of another model")
            trainer.load_state(tensors, header.progress)
        except (ValueError, GenmnistError) as error:
            why = str(error).splitlines()[0][:100]
            raise GenmnistError(
                f"{run.state_file} is not a state of this run ({why}): start afresh"
            ) from error
    write_metrics(run.metrics_file, trainer.history)


def summarise(run: Run, trainer: Trainer, config: Config) -> None:
    """Write the summary, which marks the run as finished."""
    model = trainer.result
    summary = Summary(
        family=model.family,
        preset=config.preset,
        options=model.options.asdict(),
        parameters=sum(weight.numel() for weight in model.parameters()),
        steps=trainer.steps,
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
