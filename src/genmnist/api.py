"""The library: load a model, train one. The command line does neither by itself."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import platform
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, overload

import torch

from genmnist import checkpoint, data
from genmnist.checkpoint import Document
from genmnist.device import Precision, choose_device, describe_machine
from genmnist.errors import GenmnistError, InterruptedRunError, UsageError
from genmnist.figures import curves, grid, progress
from genmnist.models import FAMILIES, VAE, Classifier, ConditionalDiffusion, Diffusion, Generator, Model
from genmnist.presets import Recipe, preset
from genmnist.randomness import reseed
from genmnist.runs import BY_EPOCH, Found, Run, find
from genmnist.training import Epoch, Event, Trainer, recording
from genmnist.training.budget import fit_steps
from genmnist.version import __version__

Listener = Callable[[Event, Trainer], None]

_ROWS = 8  # of digits in the pictures that a training draws, and as many columns, or one a label


@overload
def load(
    family: Literal["vae"], model: str | Path | None = ..., device: str = ..., precision: str = ...
) -> VAE: ...
@overload
def load(
    family: Literal["ddpm"], model: str | Path | None = ..., device: str = ..., precision: str = ...
) -> Diffusion: ...
@overload
def load(
    family: Literal["cfg"], model: str | Path | None = ..., device: str = ..., precision: str = ...
) -> ConditionalDiffusion: ...
@overload
def load(
    family: Literal["classifier", "classifier-noisy"],
    model: str | Path | None = ...,
    device: str = ...,
    precision: str = ...,
) -> Classifier: ...
@overload
def load(
    family: str | None = ..., model: str | Path | None = ..., device: str = ..., precision: str = ...
) -> Model: ...
def load(
    family: str | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Load a trained model, ready to sample.

    >>> import genmnist
    >>> genmnist.load("vae", "bundled", device="cpu").sample(2, seed=0).shape
    torch.Size([2, 28, 28])

    Args:
        family: `vae`, `ddpm`, `cfg`, `classifier`, or `classifier-noisy` for one that can guide.
        model: which one; see `find`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        UsageError, GenmnistError: see `find`, `genmnist.device` and `genmnist.checkpoint`.
    """
    return load_found(find(family, model), family and family.partition("-")[0], device, precision)


def load_found(
    found: Found, family: str | None = None, device: str = "auto", precision: str = "auto"
) -> Model:
    """Load the model of a file that `find` found."""
    place = choose_device(device)
    model, document = checkpoint.load(found.path, family)
    model.trained = document.training
    return model.place(place, precision)


def trained_on(model: Model, dataset: str | None = None, data_dir: str | Path | None = None) -> data.Splits:
    """Load a named set, that of a folder, or the one that a model was trained on.

    Raises:
        UsageError: the model was trained on a folder, which must be named again.
        GenmnistError: see `genmnist.data.load`.
    """
    if dataset is None and data_dir is None and model.trained.get("data_dir"):
        raise UsageError("the model was trained on a folder of images: name it by --data-dir, or a --dataset")
    return data.load(dataset or str(model.trained.get("dataset", "mnist")), data_dir)


def info(path: str | Path) -> tuple[Document, dict[str, torch.Tensor]]:
    """Return what a checkpoint, or the one in a run folder, says of itself, and its tensors by name.

    Raises:
        UsageError, GenmnistError: see `find` and `genmnist.checkpoint.read`.
    """
    return checkpoint.read(find(None, path).path)


def train(
    family: str,
    preset_name: str | None = None,
    *,
    options: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    steps: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    dataset: str = "mnist",
    data_dir: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    compiled: bool | None = None,
    out: str | Path | None = None,
    sample_every: int = 1,
    save_every: float = 20.0,
    listen: Listener | None = None,
) -> Run:
    """Train a model of `family` and return its run folder.

    Args:
        family: `vae`, `ddpm`, `cfg` or `classifier`.
        preset_name: a name in `genmnist.presets`; None is the family's default.
        options: changes to the preset's model options, such as `{"beta": 4.0}`.
        recipe: changes to the preset's recipe, such as `{"epochs": 3}`.
        steps: train for exactly so many steps instead of the recipe's epochs.
        budget: train for about so many seconds instead: the steps that fit are measured, then fixed.
        seed: fixes everything random.
        dataset, data_dir: what to train on; see `genmnist.data.load`.
        device, precision: where and how to compute; see `genmnist.device`.
        threads: how many a CPU computes with, from now on in this process; None leaves it as it is.
        compiled: run the step through torch.compile, which needs a C++ compiler on a CPU; None does where it
            pays without one, on a CUDA device with Triton.
        out: the run folder; None is `runs/<family>/<time>`, or `runs/classifier-noisy/<time>`.
        sample_every: epochs between two pictures of samples; 0 for none.
        save_every: seconds between two saves of the training state.
        listen: called with every event and the trainer.

    Raises:
        UsageError: an option makes no sense.
        GenmnistError: the data, the device or the disk are not there, or the loss is no longer finite.
        InterruptedRunError: SIGINT or SIGTERM came; the state was saved first.
    """
    started = time.perf_counter()
    name, entry = preset(family, preset_name)
    place = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    config: dict[str, Any] = {
        "family": family,
        "preset": name,
        "options": entry.options.replace(options or {}).suited(place.type).asdict(),
        "recipe": entry.recipe.replace(recipe or {}).asdict(),
        "steps": steps,
        "budget": budget,
        "seed": seed,
        "dataset": dataset,
        "data_dir": str(Path(data_dir).absolute()) if data_dir else None,
        "device": str(place),
        "precision": Precision.choose(precision, place).name,
        "threads": torch.get_num_threads(),  # they change the order of sums, and so the last bit
        "compiled": _triton(place) if compiled is None else compiled,
        "sample_every": sample_every,
        "save_every": save_every,
    }
    splits = data.load(dataset, data_dir)
    classes = max(int(part.labels.max()) for part in splits) + 1
    known = config["options"].get("classes", math.inf)
    if classes > known:
        raise UsageError(f"the data have labels up to {classes - 1}: name --classes {classes}")
    config["data_checksum"] = splits.checksum()
    if budget is None and steps is None and (recipe or {}).get("epochs") is None:
        config["budget"] = budget = entry.budget
    if budget is not None:
        config["steps"] = fit_steps(_trainer(config, splits), budget, started + budget)
    trainer = _trainer(config, splits)
    config["steps"] = trainer.steps
    config |= {"versions": versions(), "machine": describe_machine(), "command": sys.argv}
    run = Run.create(config, out)
    return _carry_on(run, trainer, listen)


def resume(folder: str | Path, device: str | None = None, listen: Listener | None = None) -> Run:
    """Go on with a run that was interrupted or killed, to exactly the weights it would have had.

    Args:
        folder: the run folder.
        device: another device than the run's own, if it must be.
        listen: called with every event and the trainer.

    Raises:
        UsageError: there is no run, or it has finished.
        GenmnistError: the run's files are damaged, or its data are not what they were; and as `train`.
    """
    run = Run.unfinished(folder)
    config = _checked(run)
    if device:
        place = choose_device(device)
        # What was compiled for one kind of device need not be for another.
        config["compiled"] = config["compiled"] and place.type == config["device"].partition(":")[0]
        config["device"] = str(place)
    torch.set_num_threads(config["threads"])
    splits = data.load(config["dataset"], config["data_dir"])
    if splits.checksum() != config["data_checksum"]:
        raise GenmnistError(
            f"the data of {folder} have changed since it began: bring them back, or train anew"
        )
    try:
        trainer = _trainer(config, splits)
    except UsageError as error:
        raise GenmnistError(f"{run.config_file} is damaged: {error}") from error
    recording.restore(run, trainer)
    return _carry_on(run, trainer, listen)


def versions() -> dict[str, str]:
    """Return the versions on which a result may depend."""
    return {"genmnist": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _checked(run: Run) -> dict[str, Any]:
    """Return a run's configuration. Raises GenmnistError unless it holds what `train` wrote there."""
    kinds: dict[str, Any] = {
        "family": str, "preset": str, "options": dict, "recipe": dict, "steps": int, "seed": int,
        "dataset": str, "data_dir": str | None, "data_checksum": str, "device": str, "precision": str,
        "threads": int, "compiled": bool, "sample_every": int, "save_every": float | int, "versions": dict,
        "machine": str,
    }  # fmt: skip
    config = run.config
    for name, kind in kinds.items():
        if name not in config or not isinstance(config[name], kind):
            raise GenmnistError(f"{run.config_file} is damaged: {name} is not what genmnist writes there")
    try:
        preset(config["family"], config["preset"])
    except UsageError as error:
        raise GenmnistError(f"{run.config_file} is damaged, or of another genmnist: {error}") from error
    for name in ("steps", "threads"):
        if not 1 <= config[name] <= 10**12:
            raise GenmnistError(f"{run.config_file} is damaged: {name} is not what genmnist writes there")
    return config


def _triton(place: torch.device) -> bool:
    return place.type == "cuda" and importlib.util.find_spec("triton") is not None


def _trainer(config: dict[str, Any], splits: data.Splits) -> Trainer:
    place = choose_device(config["device"])
    compiler = os.environ.get("CXX", "g++")
    if config["compiled"] and place.type == "cpu" and not (shutil.which(compiler) or shutil.which("clang++")):
        raise GenmnistError(
            f"--compile needs a C++ compiler, and {compiler} is not here: install it or leave it out"
        )
    reseed(torch.device("cpu"), config["seed"], "weights")
    model = FAMILIES[config["family"]].from_options(config["options"]).place(place, config["precision"])
    return Trainer(
        model,
        splits,
        Recipe.of(config["recipe"]),
        steps=config["steps"],
        seed=config["seed"],
        compiled=config["compiled"],
    )


def _carry_on(run: Run, trainer: Trainer, listen: Listener | None) -> Run:
    """Train to the end, with pictures on the way, whatever was done before."""
    config = run.config
    every, seed = config["sample_every"], config["seed"]
    with run.locked(), _interruptible() as interrupted:
        if every and trainer.step == 0:
            _picture(run, trainer, 0, seed)
        for event in recording.record(run, trainer, config["save_every"]):
            if isinstance(event, Epoch):
                epoch = len(trainer.history)
                if every and (epoch % every == 0 or trainer.step >= trainer.steps):
                    _picture(run, trainer, epoch, seed)
            if listen:
                listen(event, trainer)
            if interrupted.is_set() and trainer.step < trainer.steps:
                recording.save(run, trainer)
                raise InterruptedRunError(
                    f"interrupted at step {trainer.step:,} of {trainer.steps:,}, which is saved: go on with "
                    f"`genmnist train {config['family']} --resume {shlex.quote(str(run.folder))}`"
                )
        recording.save(run, trainer)  # before anything else that could fail
        curves.losses(
            run.metrics,
            run.folder / "losses.png",
            f"{config['family']} · {config['preset']}",
            trainer.model.unit,
        )
        if pictures := run.pictures:
            columns, file = _columns(trainer.model), run.folder / BY_EPOCH
            progress.by_epoch(pictures, columns, file, labelled="classes" in config["options"])
        recording.summarise(run, trainer)
    return run


def _picture(run: Run, trainer: Trainer, epoch: int, seed: int) -> None:
    """Draw samples from the model as it is now, always from the same noise."""
    model = trainer.result.eval()
    if isinstance(model, Generator):
        columns = _columns(model)
        grid.save(grid.grid(model.sample(_ROWS * columns, seed), columns), run.picture(epoch))
    trainer.model.train()


def _columns(model: Model) -> int:
    return (isinstance(model, Generator) and model.classes) or _ROWS


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event that is looked at between steps; a second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread only
        return

    def note(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
