"""`genmnist compare`: any runs in one table and one chart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError, UsageError
from genmnist.registry import FAMILIES
from genmnist.runs.folder import Run


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path, typer.Option(help=".png: losses by epoch and by time.")] = Path("compare.png"),
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Put runs side by side: what they are, what they cost, and what came of them."""
    output = Output("compare", as_json, quiet)
    opt.check_out(out, (".png",))
    rows = {str(folder): _facts(Run.open(folder)) for folder in runs}

    from PIL import Image

    from genmnist.figures import curves

    metrics = {name: [line.flat() for line in Run(name).metrics] for name in rows}
    curves.compare({name: (row["family"], metrics[name]) for name, row in rows.items()}, out)
    known = {key for row in rows.values() for key, value in row.items() if value is not None}
    heads = [key for key in dict.fromkeys(key for row in rows.values() for key in row) if key in known]
    cells = ([name, *(_text(row.get(head)) for head in heads)] for name, row in rows.items())
    output.table(cells, ["run", *heads])
    output.note(runs=[{"run": name, **row} for name, row in rows.items()])
    with Image.open(out) as picture:
        output.wrote(out, picture)
    output.finish()


def _facts(run: Run) -> dict[str, Any]:
    """Return what is known of a run, finished or not, evaluated or not."""
    from genmnist.evaluation import document

    config, metrics = run.config, run.metrics
    try:
        FAMILIES.check(config.family)
    except UsageError as error:
        raise GenmnistError(f"{run.config_file} is damaged, or needs a `plugin`: {error}") from error
    last = metrics[-1] if metrics else None
    facts = {
        "family": config.family,
        "preset": config.preset,
        "seed": config.seed,
        "epochs": len(metrics),
        "steps": last and last.step,
        "seconds": last and last.seconds,
        "val_loss": last and last.val_loss,
    }
    if run.evaluation_file.exists():
        found = document.read(run.evaluation_file)
        samples = found.samples
        facts |= {
            "distance": samples.images.frechet.value,
            "times floor": samples.ratio,
            "precision": samples.images.manifold.precision,
            "recall": samples.images.manifold.recall,
            "label kept": samples.label_agreement,
            "bits/dim": found.likelihood.exact.bits if found.likelihood else None,
        }
    return facts


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
