"""`genmnist explore`: every model in one page that runs in a browser, offline."""

from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output


@opt.command("What to explore", "explore", "explore runs/vae/short --out my-explorer.html")
def explore(
    runs: Annotated[list[Path] | None, opt.runs("Runs to explore, one a family.")] = None,
    out: Annotated[Path, typer.Option(help="The page, .html.")] = Path("explorer.html"),
    *,
    data: opt.Data,
    output: Output,
) -> None:
    """Make one self-contained page to play with every model, in any browser, without a network."""
    values.check_out(out, (".html",))
    given = data.given()

    from genmnist.report.sources import sources

    found = sources(runs or [])  # says what is wrong before anything is made

    from genmnist.explorer import build

    with output.progress("packing", len(found) + 1) as advance:
        page = build.explorer(runs or [], out, given, advance)
    output.note(bytes=page.stat().st_size)
    output.wrote(page)
