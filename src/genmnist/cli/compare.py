"""`genmnist compare`: any runs in one table and one chart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError
from genmnist.presets import FAMILIES
from genmnist.runs import EVALUATION, Run

_EVALUATED = {
    "distance": ("samples", "images", "frechet", "value"),
    "times floor": ("samples", "ratio"),
    "precision": ("samples", "images", "manifold", "precision"),
    "recall": ("samples", "images", "manifold", "recall"),
    "label kept": ("samples", "label_agreement"),
    "bits/dim": ("likelihood", "exact", "bits"),
}


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

    curves.compare({name: (row["family"], Run(name).metrics) for name, row in rows.items()}, out)
    known = {key for row in rows.values() for key, value in row.items() if value is not None}
    heads = [key for key in next(iter(rows.values())) if key in known]
    cells = ([name, *(_text(row[head]) for head in heads)] for name, row in rows.items())
    output.table(cells, ["run", *heads])
    output.note(runs=[{"run": name, **row} for name, row in rows.items()])
    with Image.open(out) as picture:
        output.wrote(out, picture)
    output.finish()


def _facts(run: Run) -> dict[str, Any]:
    """Return what is known of a run, finished or not, evaluated or not."""
    config, metrics = run.config, run.metrics
    if config.get("family") not in FAMILIES:
        raise GenmnistError(f"{run.config_file} is damaged: it names no family that genmnist knows")
    last: dict[str, Any] = metrics[-1] if metrics else {}
    facts = {
        "family": config.get("family"),
        "preset": config.get("preset"),
        "seed": config.get("seed"),
        "epochs": len(metrics),
        "steps": last.get("step"),
        "seconds": last.get("seconds"),
        "val_loss": last.get("val_loss"),
    }
    evaluation = run.read(EVALUATION)
    for name, path in _EVALUATED.items():
        value: Any = evaluation
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        facts[name] = value
    return facts


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
