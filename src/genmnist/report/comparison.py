"""Runs side by side: where they differ, what they cost, what came of them; and apart what does not compare.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmnist import notebook
from genmnist.errors import GenmnistError, UsageError
from genmnist.evaluation import document, tables
from genmnist.evaluation.document import Basis, EvaluationDocument
from genmnist.figures import curves
from genmnist.figures.curves import Chart
from genmnist.registry import FAMILIES
from genmnist.runs.documents import quoted_loss
from genmnist.runs.folder import Run

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """What there is to say of some runs, by the name of each.

    Args:
        settings: all that each was told.
        rows: its family, the settings in which it differs from another, and how it ended.
        courses: the name of its loss, and how that went.
        measured: its evaluation, if it has one.
    """

    settings: Rows
    rows: Rows
    courses: dict[str, tuple[str, list[dict[str, float]]]]
    measured: dict[str, EvaluationDocument]

    def chart(self) -> Chart:
        """Return their losses by images seen and by time, a row a family."""
        return curves.compare(
            {name: (self.rows[name]["family"], *course) for name, course in self.courses.items()}
        )

    def table(self) -> tuple[list[list[str]], list[str]]:
        """Return where they differ and what they cost: rows and heads."""
        return _table(self.rows)

    def groups(self) -> Iterator[tuple[Basis, tuple[list[list[str]], list[str]]]]:
        """Yield what was measured in the same way: on what, and a table of it."""
        for basis, found in tables.by_basis(self.measured).items():
            yield basis, _table({name: measures(one) for name, one in found.items()})

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        shown = [notebook.table(*self.table())]
        shown += [notebook.titled(f"{basis}", notebook.table(*table)) for basis, table in self.groups()]
        return "".join([*shown, notebook.picture(notebook.png(self.chart().image()), width=900)])


def compare(*runs: str | Path | Run) -> Comparison:
    """Put runs side by side: a table, a chart, and what was measured of them.

    Args:
        runs: runs or their folders, one or more.

    Raises:
        UsageError: there are none, or one is not a run folder.
        GenmnistError: one is damaged.
    """
    if not runs:
        raise UsageError("name one of the `runs` to compare, or more")
    opened = {str(run.folder if isinstance(run, Run) else run): run for run in runs}
    found = {name: run if isinstance(run, Run) else Run.open(run) for name, run in opened.items()}
    settings = {name: _settings(run) for name, run in found.items()}
    differing = _differing([*settings.values()])
    courses = {name: _course(run) for name, run in found.items()}
    rows: Rows = {}
    for name, run in found.items():
        told = {key: settings[name][key] for key in differing if key in settings[name]}
        rows[name] = {"family": run.config.family, **told, **(courses[name][1] or [{}])[-1]}
    evaluated = {name: run.evaluation_file for name, run in found.items() if run.evaluation_file.exists()}
    return Comparison(
        settings, rows, courses, {name: document.read(file) for name, file in evaluated.items()}
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


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that some two runs which have them do not share."""
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: [one[name] for one in settings if name in one] for name in names}
    return [name for name, found in values.items() if any(value != found[0] for value in found)]


def _course(run: Run) -> tuple[str, list[dict[str, float]]]:
    """Return what the loss of a run is called, and how it went, as `curves.compare` takes it.

    Epochs are not said: the last of a run may be a part of one.
    """
    name, batch, course = "validation loss", run.config.recipe.get("batch_size", 1), []
    for line in run.metrics:
        name, loss = quoted_loss(line.flat())
        course.append(
            {"steps": line.step, "images seen": line.step * batch, "seconds": line.seconds, name: loss}
        )
    return name, course


def measures(found: EvaluationDocument) -> dict[str, Any]:
    """Return the measures by which runs are compared."""
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


def _table(rows: Rows) -> tuple[list[list[str]], list[str]]:
    """Return rows and heads, without columns that nobody has anything in."""
    heads = dict.fromkeys(key for row in rows.values() for key, value in row.items() if value is not None)
    return [[name, *(_text(row.get(head)) for head in heads)] for name, row in rows.items()], ["run", *heads]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.5g}" if isinstance(value, float) else f"{value:,}"
    return "" if value is None else str(value)
