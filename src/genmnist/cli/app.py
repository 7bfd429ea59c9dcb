"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from genmnist.cli import (
    compare,
    data,
    doctor,
    evaluate,
    info,
    interpolate,
    report,
    reverse_trace,
    sample,
    train,
    traverse,
)
from genmnist.version import __version__

app = typer.Typer(
    name="genmnist",
    help="Train, sample, explore and measure generative models of handwritten digits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(train.app, name="train")
app.add_typer(sample.app, name="sample")
app.add_typer(traverse.app, name="traverse")
app.add_typer(interpolate.app, name="interpolate")
app.add_typer(reverse_trace.app, name="reverse-trace")
app.add_typer(evaluate.app, name="evaluate")
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("info")(info.info)
app.command("data")(data.data)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genmnist {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Train, sample, explore and measure generative models of handwritten digits."""
