"""Keeping a run's folder while its model trains, so that a kill at any moment loses little."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator

from genmnist import checkpoint
from genmnist.checkpoint import Document
from genmnist.errors import GenmnistError
from genmnist.files import TEMPORARY, write_text
from genmnist.runs import Run, write_json
from genmnist.training.trainer import Epoch, Event, Trainer

_FACTS = (
    "recipe",
    "seed",
    "dataset",
    "data_dir",
    "data_checksum",
    "versions",
    "machine",
)


def record(run: Run, trainer: Trainer, save_every: float = 20.0) -> Iterator[Event]:
    """Pass on a trainer's events, keeping the folder so that a kill at any moment loses little.

    Args:
        run: the folder.
        trainer: what is to be trained.
        save_every: seconds between two saves of the state.
    """
    saved = time.monotonic()
    for event in trainer.train():
        if isinstance(event, Epoch):
            _write_metrics(run, trainer)
        if time.monotonic() - saved >= save_every:
            save(run, trainer)
            saved = time.monotonic()
        yield event


def save(run: Run, trainer: Trainer) -> None:
    """Save the training state, then the model. Raises GenmnistError if that fails; the old ones stay."""
    tensors, values = trainer.state()
    model, config = trainer.result, run.config
    document = Document("state", model.family, config["preset"], model.options.asdict(), training=values)
    checkpoint.write(run.state_file, document, tensors)
    facts = {
        **{key: config[key] for key in _FACTS},
        "device": str(model.device),
        "precision": model.precision.name,
        "step": trainer.step,
        "steps": trainer.steps,
        "seconds": round(trainer.seconds, 2),
    }
    metrics = trainer.history[-1] if trainer.history else {}
    checkpoint.save(run.model_file, model, config["preset"], facts, metrics)


def restore(run: Run, trainer: Trainer) -> None:
    """Bring a trainer to where the run was last saved; a run killed before that starts again.

    Raises:
        GenmnistError: the state is damaged, or of another run.
    """
    for abandoned in run.folder.rglob(f"{TEMPORARY}*"):  # what a kill left half written
        shutil.rmtree(abandoned, ignore_errors=True)
    if run.state_file.exists():
        document, tensors = checkpoint.read(run.state_file)
        try:
            if document.kind != "state" or document.options != trainer.model.options.asdict():
                raise ValueError("it is of another model")
            trainer.load_state(tensors, document.training)
        except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            why = str(error).splitlines()[0][:100]
            raise GenmnistError(
                f"{run.state_file} is not a state of this run ({why}): start afresh"
            ) from error
    _write_metrics(run, trainer)


def summarise(run: Run, trainer: Trainer) -> None:
    """Write the summary, which marks the run as finished."""
    model, config = trainer.result, run.config
    summary = {
        "family": model.family,
        "preset": config["preset"],
        "options": model.options.asdict(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "steps": trainer.steps,
        "seed": config["seed"],
        "dataset": config["dataset"],
        "device": str(model.device),
        "precision": model.precision.name,
        "seconds": round(trainer.seconds, 2),
        "metrics": trainer.history[-1],
    }
    write_json(run.summary_file, summary)


def _write_metrics(run: Run, trainer: Trainer) -> None:
    write_text(run.metrics_file, "".join(json.dumps(line) + "\n" for line in trainer.history))
