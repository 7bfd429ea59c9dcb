"""`genmnist compare`: any runs side by side, and apart what does not compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import complete, values
from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError, UsageError
from genmnist.evaluation import document, tables
from genmnist.evaluation.document import EvaluationDocument
from genmnist.figures.style import SUFFIXES
from genmnist.registry import FAMILIES
from genmnist.runs.folder import Run


def _compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders.", autocompletion=complete.runs)
    ],
    out: Annotated[Path, typer.Option(help=".png, .pdf, .svg: losses by images seen and by time.")] = Path(
        "compare.png"
    ),
    *,
    look: opt.Look,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Put runs side by side: where they differ, what they cost, and what came of them."""
    output = Output("compare", as_json, quiet)
    values.check_out(out, SUFFIXES)
    opened = {str(folder): Run.open(folder) for folder in runs}
    settings = {name: _settings(run) for name, run in opened.items()}
    differing = _differing(list(settings.values()))
    courses = {name: _course(run) for name, run in opened.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, run in opened.items():
        told = {key: settings[name][key] for key in differing if key in settings[name]}
        rows[name] = {"family": run.config.family, **told, **(courses[name][1] or [{}])[-1]}
    measured = {
        name: document.read(run.evaluation_file)
        for name, run in opened.items()
        if run.evaluation_file.exists()
    }

    from genmnist.figures import curves

    charted = {name: (rows[name]["family"], *course) for name, course in courses.items()}
    chart = curves.compare(charted)
    chart.save(out, opt.about(), look)
    output.table(*_table(rows))
    groups = tables.by_basis(measured)
    if len(groups) > 1:
        output.say("\nMeasured in different ways, so no distance of one table compares with that of another:")
    for basis, found in groups.items():
        output.say(f"\n{basis}:")
        output.table(*_table({name: _measures(one) for name, one in found.items()}))
    for name, one in measured.items():
        rows[name]["measured"] = one.basis._asdict() | _measures(one)
    output.note(runs=[{"run": name, **row, "settings": settings[name]} for name, row in rows.items()])
    output.wrote(out, chart.image())
    output.finish()


compare = opt.with_options(
    _compare,
    {"look": opt.Look},
    panel="What to compare",
    examples=("compare runs/ddpm/fast runs/ddpm/best", "compare runs/*/* --out all.png"),
)


def _settings(run: Run) -> dict[str, Any]:
    """Return all that a run was told, by name. Raises GenmnistError if its configuration is damaged."""
    config = run.config
    try:
        FAMILIES.check(config.family)
    except UsageError as error:
        raise GenmnistError(f"{run.config_file} is damaged, or needs a `plugin`: {error}") from error
    data = {"data": config.dataset, "data checksum": config.data_checksum[:8]}
    told = {name: getattr(config, name) for name in ("preset", "seed", "validation", "precision")}
    # How long it was is said by its steps: the recipe has epochs even where it was told something else.
    recipe = {name: value for name, value in config.recipe.items() if name != "epochs"}
    return told | data | config.options | recipe


def _differing(settings: list[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that some two runs which have them do not share."""
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: [one[name] for one in settings if name in one] for name in names}
    return [name for name, found in values.items() if any(value != found[0] for value in found)]


def _course(run: Run) -> tuple[str, list[dict[str, float]]]:
    """Return what the loss of a run is called, and how it went, as `curves.compare` takes it.

    Where there is an ELBO it is that, which two runs share whatever weights their objectives have. Epochs are
    not said: the last of a run may be a part of one.
    """
    name, batch, course = "validation loss", run.config.recipe.get("batch_size", 1), []
    for line in run.metrics:
        loss = line.val_loss
        if line.losses.keys() >= {"reconstruction", "kl"}:
            name, loss = "negative ELBO", line.losses["reconstruction"] + line.losses["kl"]
        course.append(
            {"steps": line.step, "images seen": line.step * batch, "seconds": line.seconds, name: loss}
        )
    return name, course


def _measures(found: EvaluationDocument) -> dict[str, Any]:
    samples = found.samples
    return {
        tables.HEADLINE: samples.images.frechet.value,
        "from": samples.images.frechet.low,
        "to": samples.images.frechet.high,
        "real images": samples.real.frechet.value,
        "precision": samples.images.manifold.precision,
        "recall": samples.images.manifold.recall,
        "label kept": samples.label_agreement,
        "bits per dimension, at most": found.likelihood.bound.bits if found.likelihood else None,
    }


def _table(rows: dict[str, dict[str, Any]]) -> tuple[list[list[str]], list[str]]:
    """Return rows and heads, without columns that nobody has anything in."""
    heads = dict.fromkeys(key for row in rows.values() for key, value in row.items() if value is not None)
    return [[name, *(_text(row.get(head)) for head in heads)] for name, row in rows.items()], ["run", *heads]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.5g}" if isinstance(value, float) else f"{value:,}"
    return "" if value is None else str(value)
