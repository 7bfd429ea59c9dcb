"""`genmnist train`: the same command for every family, with that family's options."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion, values
from genmnist.cli.console import Output
from genmnist.cli.help import RUN
from genmnist.distributed import leads, size
from genmnist.errors import InterruptedRunError, UsageError
from genmnist.families import Family, Preset, Recipe
from genmnist.families.length import Plan, duration
from genmnist.families.recipe import check_length
from genmnist.options import Field, Options, fields
from genmnist.runs.find import find_source
from genmnist.runs.folder import CONFIG, Run, check_vacant

if TYPE_CHECKING:
    from genmnist.runs.documents import EpochMetrics
    from genmnist.training import Event, Trainer
    from genmnist.training.session import Listener

_BESIDE_RESUME = {"resume", "device", "threads", "quiet", "as_json", "plugin"}
_AUTO = "auto"
_FEW = 50  # steps, after which no model has learned anything


def command(family: Family) -> Callable[..., None]:
    """Return `train` for a family."""
    first, entry = family.preset()
    described = "; ".join(f"`{name}`: {entry.about}" for name, entry in family.presets.items())

    def train(
        context: typer.Context,
        *,
        preset: Annotated[
            str | None,
            typer.Option(
                help=f"{described}.",
                show_default=first,
                autocompletion=shell_completion.among(lambda: family.presets),
            ),
        ] = None,
        show: Annotated[
            bool, typer.Option("--show", help="Show every value that would be trained with, and exit.")
        ] = False,
        recipe: dict[str, Any],
        steps: Annotated[
            str | None,
            typer.Option(
                metavar="N|PLAN",
                help="Exactly so many steps instead of epochs; or the plan of a run with a budget.",
            ),
        ] = None,
        budget: Annotated[
            str | None,
            typer.Option(
                metavar="TIME",
                help="As many steps as fit into a time instead: 90s, 10m, 1h.",
                show_default=values.spell(entry.budget) if entry.budget else False,
            ),
        ] = None,
        start: Annotated[
            str | None,
            opt.which_model(
                "Go on from the weights of a model: "
                + "".join(f"`{name}`, " for name in family.sources)
                + "a file, a run folder, `latest`, `bundled` or `bundled:NAME`.",
                next(iter(family.sources), "random weights"),
                "--from",
                panel=RUN,
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                metavar="FOLDER",
                help="The run folder.",
                show_default=f"runs/{family.name}/<time>",
                rich_help_panel=RUN,
            ),
        ] = None,
        resume: Annotated[
            Path | None,
            typer.Option(
                metavar="RUN|auto",
                help="Go on with an interrupted run; `auto`: with the one in --out, if there is one.",
                autocompletion=shell_completion.runs,
                rich_help_panel=RUN,
            ),
        ] = None,
        sample_every: Annotated[
            int,
            typer.Option(help="Epochs between pictures of samples; 0 for none.", min=0, rich_help_panel=RUN),
        ] = 1,
        save_every: Annotated[
            str,
            typer.Option(
                metavar="TIME", help="Time between saves of the training state.", rich_help_panel=RUN
            ),
        ] = "20s",
        data: opt.FirstData,
        model: dict[str, Any],
        seed: opt.Seed = 0,
        device: opt.Device = "auto",
        precision: opt.Precision = "auto",
        threads: opt.Threads = None,
        compiled: Annotated[
            bool,
            typer.Option(
                "--compile/--no-compile",
                help="Run the step through torch.compile.",
            ),
        ] = False,
        deterministic: Annotated[
            bool,
            typer.Option(
                "--deterministic",
                help="Use only kernels that give the same bits each time; slower on a GPU.",
            ),
        ] = False,
        output: Output,
    ) -> None:
        auto = resume is not None and str(resume) == _AUTO
        if auto and out is None:
            raise UsageError("--resume auto goes on with the run in `out`: name that folder")
        if resume is not None and not auto:
            if leads():
                _check_resumable(context, resume, family.name)
        else:
            check_length(recipe["epochs"], steps, budget)
            name, chosen = family.preset(preset)
            options, learned = chosen.options.replace(model), chosen.recipe.replace(recipe)
            given = data.given()
            if show:
                _show_values(output, name, _length(chosen, recipe, steps, budget), options, learned)
                return
            seconds, save_seconds = None if budget is None else duration(budget), duration(save_every)
            if steps is not None:
                Plan.of(steps)
            if start is not None:
                find_source(family, start)
            if out is not None and leads():
                if not auto or not (out / CONFIG).exists():
                    check_vacant(out)
                values.check_writable(out)

        from genmnist import api
        from genmnist.training.budget import process_began

        with (
            _listener(output) as listen,
            _telling_how_to_resume(family.name, context.params.get("plugin") or ()),
        ):
            if resume is not None and not auto:
                run = api.resume(resume, None if device == "auto" else device, threads, listen=listen)
            else:
                run = api.train(
                    family.name, preset, options=model, recipe=recipe, steps=steps, budget=seconds,
                    began=process_began(), start=start, seed=seed,
                    **given | {"dataset": data.dataset or "mnist"}, device=device,
                    precision=precision, threads=threads, compiled=compiled, deterministic=deterministic,
                    out=out, resume=_AUTO if auto else None, sample_every=sample_every,
                    save_every=save_seconds, listen=listen,
                )  # fmt: skip
        if leads():
            _show(run, output)

    return opt.with_options(
        train,
        {"model": family.options, "recipe": Recipe},
        _default(entry),
        f"What to train, and how long; defaults are those of the preset {first}",
        _examples(family),
    )


def _length(
    preset: Preset, recipe: Mapping[str, Any], steps: str | None, budget: str | None
) -> dict[str, Any]:
    """Return how long a training is to be, in the one way that counts."""
    if steps is None and budget is None and recipe["epochs"] is None and preset.budget:
        budget = values.spell(preset.budget)
    epochs = preset.recipe.epochs if recipe["epochs"] is None else recipe["epochs"]
    return {"steps": steps} if steps else {"budget": budget} if budget else {"epochs": epochs}


def _default(entry: Preset) -> Callable[[Field], str | bool]:
    """Return what `--help` shows for an option: the value in the preset that is the default."""
    held = entry.recipe.asdict() | entry.options.asdict()

    def shown(field: Field) -> str | bool:
        if field.name == "classes":
            return "as many as the data have"
        if field.type is bool or (field.name == "epochs" and entry.budget):
            return False
        return values.text(held[field.name])

    return shown


def _examples(family: Family) -> Iterator[str]:
    presets = [*family.presets]
    yield f"train {family.name}"
    yield f"train {family.name} --budget 2m --out runs/{family.name}/short"
    yield f"train {family.name} --data-dir my_images --grey --image-size 28"
    yield f"train {family.name} --preset {presets[-1]} --show"
    yield f"train {family.name} --resume runs/{family.name}/short"


@contextlib.contextmanager
def _telling_how_to_resume(family: str, plugins: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except InterruptedRunError as error:
        job = f"torchrun --standalone --nproc-per-node {size()} -m ".split() if size() > 1 else []
        words = [*job, "genmnist", "train", family, "--resume", str(error.folder)]
        command = shlex.join([*words, *(word for plugin in plugins for word in ("--plugin", plugin))])
        raise InterruptedRunError(f"{error}: go on with `{command}`", error.folder) from error


def _check_resumable(context: typer.Context, folder: Path, family: str) -> None:
    """Raise UsageError unless a run can be resumed as the command line asks."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in _BESIDE_RESUME:
            option = next(p.opts[0] for p in context.command.params if p.name == name)
            raise UsageError(
                f"{option} cannot stand beside --resume, which keeps the run's own options: leave it out"
            )
    run = Run.unfinished(folder)
    if (other := run.config.family) != family:
        raise UsageError(
            f"{folder} is a run of {other:.40}, not of {family}: resume it with `genmnist train {other:.40}`"
        )


@contextlib.contextmanager
def _listener(output: Output) -> "Iterator[Listener]":
    """Show a run as it goes: a bar of steps, and a line an epoch."""
    with contextlib.ExitStack() as stack:
        advance: Callable[..., None] | None = None
        looked = 0

        def listen(event: "Event", trainer: "Trainer") -> None:
            nonlocal advance, looked
            from genmnist.training import EpochEnd, Remark

            if advance is None:
                epochs = trainer.steps / trainer.steps_per_epoch
                output.say(
                    f"{trainer.steps:,} steps of {trainer.recipe.batch_size} images: {epochs:.3g} epochs"
                )
                if trainer.steps < _FEW:
                    output.say(f"{_few(trainer.steps)}: give it more time or more steps, or a smaller model")
                advance = stack.enter_context(output.progress("training", trainer.steps))
            if isinstance(event, Remark):
                output.say(event.sentence)
            elif isinstance(event, EpochEnd):
                output.say(_line(event.metrics, trainer.steps / trainer.steps_per_epoch))
            elif event.step - looked >= 25:
                looked = event.step
                advance(event.step, f"loss {event.loss.item():.4g}", trainer.steps)

        yield listen


def _few(steps: int) -> str:
    return f"{steps} step{'s' if steps > 1 else ''} only, too few to learn anything"


def _line(metrics: "EpochMetrics", epochs: float) -> str:
    of = f"{epochs:.3g}"
    return (
        f"epoch {metrics.epoch:>{len(of)}.3g}/{of}   training {metrics.train_loss:8.5g}   "
        f"validation {metrics.val_loss:8.5g}   {metrics.images_per_second:>8,.0f} images/s   "
        f"{metrics.seconds:7.1f} s"
    )


def _show_values(
    output: Output, preset: str, length: Mapping[str, Any], options: Options, recipe: Options
) -> None:
    """Show what would be trained with: each value, beside what it is."""
    output.note(preset=preset, **length, options=options.asdict(), recipe=recipe.asdict())
    rows = [["preset", preset, ""]]
    rows += [[f"--{name}", values.text(value), ""] for name, value in length.items()]
    for part in (options, recipe):
        held = {field: getattr(part, field.name) for field in fields(type(part)) if not field.internal}
        rows += [
            [f"--{field.name.replace('_', '-')}", values.text(value), field.about]
            for field, value in held.items()
            if field.name != "epochs"
        ]
    output.table(rows)


def _show(run: Run, output: Output) -> None:
    summary, last = run.summary, run.summary.metrics
    output.note(run=str(run.folder), **msgspec.structs.asdict(summary))
    parts = [f"{key[4:]} {last[key]:.5g}" for key in last if key.startswith("val_") and key != "val_loss"]
    output.say(
        f"{summary.steps:,} steps in {summary.seconds:.1f} s: "
        f"validation loss {last['val_loss']:.5g}" + (f" ({', '.join(parts)})" if parts else "")
    )
    if summary.steps < _FEW:
        output.say(_few(summary.steps))
    if summary.plan:
        output.say(f"the time was kept by a plan that --steps {summary.plan} repeats")
    if pictures := run.pictures:
        from PIL import Image

        with Image.open(pictures[-1][1], formats=("PNG",)) as picture:
            output.wrote(run.folder, picture)
    else:
        output.wrote(run.folder)
