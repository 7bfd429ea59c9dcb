"""A training, from its beginning or from where it stopped: the loop, its listeners, and signals."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from genmnist import data as sets
from genmnist import distributed, notebook
from genmnist.data import Splits
from genmnist.data.facts import class_name
from genmnist.device import choose_device, choose_precision, computing, describe_machine
from genmnist.distributed import Ranks
from genmnist.errors import DivergedError, GenmnistError, InterruptedRunError, UsageError
from genmnist.families.family import Family, ModelOptions
from genmnist.families.length import Plan, duration
from genmnist.families.recipe import Recipe, check_length
from genmnist.figures import curves, grid, progress
from genmnist.figures.style import about
from genmnist.files import only_while
from genmnist.models import Generator, Model
from genmnist.randomness import reseed
from genmnist.registry import DATASETS, FAMILIES, NETWORKS, UnknownNameError
from genmnist.runs import checkpoint
from genmnist.runs.documents import Config, identity, write_metrics
from genmnist.runs.find import find_source, no_beginning
from genmnist.runs.folder import Run
from genmnist.threads import can_choose
from genmnist.training import recorder
from genmnist.training.budget import Budget
from genmnist.training.trainer import EpochEnd, Event, Remark, StepEnd, Trainer
from genmnist.version import versions

Listener = Callable[[Event, Trainer], None]

_ROWS = 8  # of digits in the pictures that a training draws, and as many columns, or one a label


def train(
    family: str,
    preset: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    steps: int | str | None = None,
    budget: float | str | None = None,
    began: float | None = None,
    start: str | Path | Run | None = None,
    seed: int = 0,
    dataset: str = "mnist",
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    colour: bool | None = None,
    data: Any = None,
    network: nn.Module | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
    deterministic: bool = False,
    out: str | Path | None = None,
    resume: str | None = None,
    sample_every: int = 1,
    save_every: float | str = 20.0,
    listen: Listener | None = None,
) -> Run:
    """Train a model of `family` and return its run folder.

    Every process of a job that torchrun has started calls this alike; they share each batch, and the first
    one writes.

    Args:
        family: `vae`, `ddpm`, `cfg`, `classifier`, or one that a plugin registers.
        preset: one of the family's presets; None is the first.
        options: changes to the preset's model options, such as `{"beta": 4.0}`.
        recipe: changes to the preset's recipe, such as `{"epochs": 3}`.
        steps: train for exactly so many steps instead of the recipe's epochs; or by the plan that a run with
            a budget has written, such as `5000,5200@1600`.
        budget: train for so many seconds instead, or for a time such as `10m`: the steps that fit are
            measured first, and corrected while it trains.
        began: the `time.perf_counter()` from which a budget counts; None is now.
        start: a model to go on from instead of random weights, as `find` takes one: its options are those of
            this one, unless `options` say otherwise; its weights must fit. A family that is trained from
            others, such as few, takes their names too: ddpm is the latest run of it, else the bundled one.
        seed: fixes everything random.
        dataset, data_dir, image_size, colour: what to train on; see `genmnist.data.load`.
        data: images of your own instead: `Splits`, a pair of arrays (images, labels), or two such pairs, to
            train on and to test on; see `genmnist.data.as_splits`.
        network: a network of your own, in a family that takes one: for diffusion any module of the signature
            `(x, log_snr, labels=None)` that answers in the shape of x; for a vae one with an `encoder` and a
            `decoder`. A copy is trained.
        device, precision: where and how to compute; see `genmnist.device`.
        threads: how many a CPU computes with; None is the fastest number, looked for at the start and again
            while it trains, or, if it is to be deterministic, as many as torch has.
        compiled: run the step through torch.compile, which needs a C++ compiler on a CPU.
        deterministic: use only kernels that give the same bits each time, which costs speed on a GPU.
        out: the run folder; None is `runs/<family>/<time>`.
        resume: `auto` goes on with the run in `out` if there is one that has not finished, and returns one
            that has; what else is given must be as it was then. None: `out` must hold no run.
        sample_every: epochs between two pictures of samples; 0 for none.
        save_every: seconds, or a time, between two saves of the training state.
        listen: called with every event and the trainer, in every process.

    Raises:
        UsageError: an option makes no sense, or processes of a job were given different ones.
        GenmnistError: the data, the device or the disk are not there, the loss is no longer finite, or
            another process of the job has ended.
        InterruptedRunError: SIGINT or SIGTERM came; the state was saved first.
    """
    started = time.perf_counter() if began is None else began
    check_length((recipe or {}).get("epochs"), steps, budget)
    if resume is not None and (resume != "auto" or out is None):
        raise UsageError("`resume` is `auto` here, beside the folder `out`; genmnist.resume takes a folder")
    plan = None if steps is None else Plan.of(steps)
    budget = None if budget is None else duration(budget)
    if data is not None and (dataset != "mnist" or data_dir or image_size or colour is not None):
        raise UsageError(
            "`data` stands for itself: leave `dataset`, `data_dir`, `image_size` and `colour` out"
        )
    described = FAMILIES[family]
    name, entry = described.preset(preset)
    place = choose_device(device)
    ranks = distributed.join(place)
    given = dict(options or {})
    start = start or next(iter(described.sources), None)
    source = None if start is None else _source(described, start, network)
    base = entry.options.of_source(source[0].options) if source else entry.options
    chosen, learned = base.replace(given), entry.recipe.replace(recipe or {})
    if not source and (network is not None or any(r is NETWORKS and r.origin(n) for r, n in chosen.named())):
        chosen = base.of_own_network().replace(given)
    if network is not None and not hasattr(chosen, "network"):
        raise UsageError(f"a {family} takes no `network` of your own")
    if budget is None and steps is None and (recipe or {}).get("epochs") is None:
        budget = entry.budget
    balanced = threads is None and place.type == "cpu" and not deterministic and can_choose()
    with computing(threads, deterministic, balanced):
        if data is None:
            splits = sets.load(dataset, data_dir, image_size=image_size, colour=colour)
            dataset = f"folder {Path(data_dir).name}" if data_dir else dataset
        else:
            splits, dataset = sets.as_splits(data, recorder.OWN), recorder.OWN
        config = Config(
            family=family,
            preset=name,
            options=described.fitted(chosen, splits.shape, splits.class_names, given)
            .suited(place.type)
            .asdict(),
            recipe=learned.asdict(),
            steps=plan.steps if plan else None,
            plan=str(plan) if plan and plan.corrected else "",
            budget=budget,
            start=source and source[1],
            seed=seed,
            dataset=dataset,
            data_dir=str(Path(data_dir).absolute()) if data_dir else None,
            image_size=image_size,
            colour=colour,
            validation=entry.validation,
            data_checksum=splits.checksum(),
            device=str(place),
            precision=choose_precision(precision, place),
            ranks=ranks.size,
            threads=torch.get_num_threads(),  # they change the order of sums, and so the last bit
            balanced=balanced,
            compiled=compiled,
            deterministic=deterministic,
            sample_every=sample_every,
            save_every=save_every if isinstance(save_every, (int, float)) else duration(save_every),
            versions=versions(),
            machine=describe_machine(),
            command=sys.argv,
        )
        config = _checked(config)
        ranks.agree(_everything(config))
        asked = config if resume else None
        if out is not None and (begun := ranks.first(lambda: _begun(Run(out), asked, precision), str)):
            if begun == "finished":
                return Run(out)
            return _go_on(out, device, threads, data=data, network=network, listen=listen)
        _try_out(_trainer(config, splits, network, ranks), network)
        kept = None if budget is None else Budget(budget, started)
        if kept:
            config.steps = kept.fit(_trainer(config, splits, network, ranks))
        trainer = _trainer(config, splits, network, ranks, source and source[0])
        config.steps = trainer.steps
        config.options = trainer.model.options.asdict()
        config.sources = checkpoint.sources(trainer.model)
        if data is None and data_dir is None and (origin := DATASETS.origin(dataset)):
            config.sources[f"{DATASETS.kind} {dataset}"] = origin
        with contextlib.ExitStack() as locked:
            begin = Run.created(config, out)
            run = Run(Path(ranks.first(lambda: str(locked.enter_context(begin).folder), str)))
            if source:
                recorder.save(run, trainer, config)  # or a resumed run would begin elsewhere
            return _carry_on(run, config, trainer, listen, kept)


def _everything(config: Config) -> dict[str, Any]:
    """Return what all processes of a job must have been told alike."""
    more = ("dataset", "image_size", "colour", "steps", "budget", "compiled", "deterministic", "sample_every")
    facts = identity(config) | {name: getattr(config, name) for name in (*more, "save_every", "versions")}
    return facts | {"data": facts.pop("data_checksum")}


def _begun(run: Run, asked: Config | None, precision: str) -> str:
    """Return whether a run is `finished` or `unfinished`; empty if there is none, or nobody asked for it.

    Raises:
        UsageError: it is not the run that is asked for.
    """
    if asked is None or not run.config_file.is_file():
        return ""
    _check_same(run.config, asked, precision)
    return "finished" if run.finished else "unfinished"


def _check_same(begun: Config, config: Config, precision: str) -> None:
    """Raise UsageError unless a run that has begun is the one that is asked for."""
    # What had no option then was as it is now unless it is asked for.
    before, now = Recipe().asdict() | identity(begun), identity(config)
    if precision == "auto":
        now["precision"] = before["precision"]
    before["budget"], now["budget"] = begun.budget, config.budget
    if config.steps is not None:
        before["steps"], now["steps"] = (part.plan or str(part.steps) for part in (begun, config))
    before, now = (msgspec.json.decode(msgspec.json.encode(facts)) for facts in (before, now))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            given = f"{now.get(name)!r:.60}, not {before.get(name)!r:.60}"
            what = "the data are others" if name == "data_checksum" else f"`{name}` is {given}"
            raise UsageError(f"the run in `out` was begun otherwise ({what}): name another `out`")


def _source(family: Family, start: str | Path | Run, network: nn.Module | None) -> tuple[Model, str]:
    """Return the model to go on from, and which it is in words.

    Raises:
        UsageError: a model of that family is no beginning for this one; and as `find` and `checkpoint.load`.
    """
    found = find_source(family, start)
    model, _ = checkpoint.load(found.path, None if family.sources else family.name, network)
    if model.family not in (*family.sources, family.name):
        raise no_beginning(family, f"{found.origin}, which is a {model.family}")
    return model, found.origin


def _checked(config: Config) -> Config:
    """Return a configuration as it will be read back. Raises UsageError if that would be refused."""
    try:
        return msgspec.convert(msgspec.to_builtins(config), Config)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        raise UsageError(f"`{place.rstrip('`')}` is not what it must be: {reason}") from error


def _try_out(trainer: Trainer, network: nn.Module | None) -> None:
    """Compute one loss before anything is written. Raises UsageError if a network of the user's cannot."""
    images = trainer.validation_set
    try:
        few = torch.arange(min(2, len(images)), device=trainer.device)
        with torch.no_grad():
            trainer.model.eval().losses(*images.batch(few))
    except GenmnistError:
        raise
    except Exception as error:
        if network is None and not checkpoint.sources(trainer.model):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UsageError(f"the `network` cannot be trained on these images: {reason}") from error
    finally:
        trainer.model.train()


def resume(
    folder: str | Path,
    device: str | None = None,
    threads: int | None = None,
    *,
    data: Any = None,
    network: nn.Module | None = None,
    listen: Listener | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed.

    It ends with exactly the weights it would have had, if its number of threads was given, or did not change;
    else they agree to rounding. A budget is not corrected any further: the run keeps the plan it has.

    Args:
        folder: the run folder.
        device, threads: others than the run's own, if they must be.
        data, network: what `train` was given, if it was given any.
        listen: called with every event and the trainer.

    Raises:
        UsageError: there is no run, or it has finished, or it needs what was not given.
        GenmnistError: the run's files are damaged, or its data are not what they were; and as `train`.
    """
    ranks = distributed.join(choose_device(device or "auto"))
    ranks.lead(lambda: Run.open(folder))
    run = Run(folder)
    with contextlib.ExitStack() as held:
        # Before anything is looked at: whoever trains it may be about to finish.
        ranks.lead(lambda: held.enter_context(run.locked()))
        config = ranks.first(lambda: Run.unfinished(folder).config, Config)
        if config.steps is None:
            raise GenmnistError(f"{run.config_file} is damaged: it does not say how many steps there are")
        _move(config, device, threads, ranks)
        if config.start and ranks.leads and not (run.state_file.exists() or run.former_state_file.exists()):
            raise GenmnistError(
                f"{folder} was stopped before it had saved the weights it starts from: train anew"
            )
        splits = recorder.images(run, config, data, "resume it there")
        held.enter_context(computing(config.threads, config.deterministic, config.balanced))
        try:
            trainer = _trainer(config, splits, network, ranks)
        except UnknownNameError as error:
            raise checkpoint.unknown(run.config_file, error, config.sources) from error
        except UsageError as error:
            if config.options.get("network") == "own" and network is None:
                raise
            raise GenmnistError(f"{run.config_file} is damaged: {error}") from error
        for sentence in recorder.restore(run, trainer, config):
            if listen:
                listen(Remark(sentence), trainer)
        return _carry_on(run, config, trainer, listen)


_go_on = resume  # for `train`, one of whose arguments is called so


def _move(config: Config, device: str | None, threads: int | None, ranks: Ranks) -> None:
    """Say in a configuration where a run goes on, if that is elsewhere than it began."""
    if device:
        place = choose_device(device)
        # What was compiled for one kind of device need not be for another.
        config.compiled = config.compiled and place.type == config.device.partition(":")[0]
        config.device = str(place)
    elif ranks.size > 1:
        config.device = str(choose_device("cpu" if config.device == "cpu" else "auto"))
    config.ranks = ranks.size
    if threads is not None:
        config.threads, config.balanced = threads, False


def _trainer(
    config: Config, splits: Splits, network: nn.Module | None, ranks: Ranks, source: Model | None = None
) -> Trainer:
    place = choose_device(config.device)
    compiler = os.environ.get("CXX", "g++")
    if config.compiled and place.type == "cpu" and not (shutil.which(compiler) or shutil.which("clang++")):
        raise GenmnistError(
            f"`compiled` needs a C++ compiler, and {compiler} is not here: install it or leave it out"
        )
    family = FAMILIES[config.family]
    family.preset(config.preset)
    options: ModelOptions = family.options.of(config.options)
    reseed(torch.device("cpu"), config.seed, "weights")
    build: Any = family.model_class
    model: Model = build(options) if network is None else build(options, copy.deepcopy(network))
    if source is not None:
        _go_on_from(source, model)
    return Trainer(
        model.place(place, config.precision),
        splits.validated_on_test() if config.validation == "test" else splits,
        Recipe.of(config.recipe),
        steps=config.plan or config.steps,
        seed=config.seed,
        compiled=config.compiled,
        ranks=ranks,
    )


def _go_on_from(source: Model, model: Model) -> None:
    """Give a model the weights of another; those that are `optional` and absent start at 0.

    Raises:
        UsageError: the others do not have the same shapes.
    """
    weights, own = source.state_dict(), model.state_dict()
    absent = [name for name in own if name not in weights and name.startswith(model.optional)]
    weights |= {name: torch.zeros_like(own[name]) for name in absent}
    for name in sorted(weights.keys() | own.keys()):
        have, need = (set_[name].shape if name in set_ else None for set_ in (weights, own))
        if have != need:
            form, wanted = ("none" if shape is None else str([*shape]) for shape in (have, need))
            raise UsageError(
                f"the weights of `start` do not fit: it has {form} for {name} where this model has {wanted}; "
                "leave the options of the model out, or train from random weights"
            )
    model.load_state_dict(weights)


def _carry_on(
    run: Run, config: Config, trainer: Trainer, listen: Listener | None, budget: Budget | None = None
) -> Run:
    """Train to the end, with pictures on the way, whatever was done before."""
    ranks, saved = trainer.ranks, time.monotonic()
    with (
        _interruptible() as interrupted,
        only_while(run.config_file),
        notebook.bar("training", trainer.steps) as advance,
        _noted(run, ranks.leads),
    ):
        started = time.perf_counter()
        if not ranks.first(run.picture(trainer.step // trainer.steps_per_epoch).exists, bool):
            ranks.lead(lambda: _picture_if_due(run, trainer, config))
        if budget:
            budget.reserve(time.perf_counter() - started)  # for the last one
        for event in trainer.train():
            if isinstance(event, EpochEnd):
                ranks.lead(lambda: _keep_epoch(run, trainer, config))
            elif isinstance(event, StepEnd):
                recorder.keep_snapshot(run, trainer, config)
            last = f"validation loss {trainer.history[-1].val_loss:.5g}" if trainer.history else ""
            advance(trainer.step, last, trainer.steps)
            if listen:
                listen(event, trainer)
            due = ranks.leads and time.monotonic() - saved >= config.save_every
            plan = budget.correct(trainer) if budget and ranks.leads else None
            stop, save, steps = ranks.vote(interrupted.is_set(), due, plan.steps if plan else 0)
            if steps > trainer.step:
                recorder.replan(run, trainer, config, trainer.plan.correct(trainer.step, steps))
            over = trainer.step >= trainer.steps
            if save or (stop and not over):
                recorder.save(run, trainer, config)
                saved = time.monotonic()
            if stop and not over:
                raise InterruptedRunError(
                    f"interrupted at step {trainer.step:,} of {trainer.steps:,}, which is saved", run.folder
                )
        ranks.end_votes()
        recorder.save(run, trainer, config)  # before anything else that could fail
        ranks.lead(lambda: _finish(run, trainer, config))
    return run


@contextlib.contextmanager
def _noted(run: Run, leads: bool) -> Iterator[None]:
    """Leave in the folder that a loss was not finite: it may hold nothing else that says so."""
    try:
        yield
    except DivergedError as error:
        if leads:
            with contextlib.suppress(OSError):
                run.diverged_file.write_text(f"{error}\n", "utf-8")
        raise


def _keep_epoch(run: Run, trainer: Trainer, config: Config) -> None:
    """Write the metrics, and a picture if it is time for one."""
    write_metrics(run.metrics_file, trainer.history)
    _picture_if_due(run, trainer, config)


def _finish(run: Run, trainer: Trainer, config: Config) -> None:
    """Draw what came of a run, and say that it has finished."""
    said = _about(config)
    lines = [line.flat() for line in trainer.history]
    title = f"{config.family} · {config.preset}"
    curves.losses(lines, run.curves_file, title, trainer.model.unit, said)
    if pictures := run.pictures:
        model = trainer.model
        names = model.class_names
        seen = [class_name(names, label) for label, name in enumerate(names) if name]
        progress.by_epoch(pictures, _columns(model), model.shape[1:], run.by_epoch_file, seen, said)
    recorder.summarise(run, trainer, config)


def _about(config: Config) -> dict[str, str]:
    """Return what the pictures of a run say of how to make them again."""
    return about(config.command, f"{config.family}, preset {config.preset}", config.seed)


def _picture_if_due(run: Run, trainer: Trainer, config: Config) -> None:
    """Draw samples from the model as it is now, always from the same noise, if this is a moment for it.

    A picture is drawn before a state that is past it is saved, so that a kill loses none.
    """
    every = config.sample_every
    epochs, rest = divmod(trainer.step, trainer.steps_per_epoch)
    due = every and ((not rest and epochs % every == 0) or trainer.step >= trainer.steps)
    if not due:
        return
    path, model = run.picture(epochs + bool(rest)), trainer.result.eval()
    if isinstance(model, Generator):
        columns = _columns(model)
        grid.grid(model.sample(_ROWS * columns, config.seed), columns).save(path, _about(config))
    trainer.model.train()


def _columns(model: Model) -> int:
    return sum(map(bool, model.class_names)) or _ROWS


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
