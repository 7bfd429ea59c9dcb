"""`genmnist report`: the reference report made again, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output


@opt.command("What to report", "report", "report runs/vae/short runs/ddpm/short --out my-report")
def report(
    runs: Annotated[list[Path] | None, opt.runs("Runs to report on, one a family.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for index.html and the figures.")] = Path("report"),
    *,
    data: opt.Data,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    output: Output,
) -> None:
    """Make one self-contained page with the eight figures of the reference report, and what was measured."""
    values.check_folder(out)
    given = data.given()

    from genmnist.report.sources import sources

    sources(runs or [])  # says what is wrong before anything is drawn

    from genmnist.report import build
    from genmnist.report.contents import EXHIBITS

    opt.compute_on(device, threads)
    with output.progress("drawing", len(EXHIBITS)) as advance:
        index, figures = build.report(runs or [], out, seed, device, given, advance)
    output.note(figures=[str(path) for path in figures])
    output.wrote(index)
