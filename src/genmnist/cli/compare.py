"""`genmnist compare`: any runs side by side, and apart what does not compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion, values
from genmnist.cli.console import Output
from genmnist.figures.style import SUFFIXES


@opt.command("What to compare", "compare runs/ddpm/fast runs/ddpm/best", "compare runs/*/* --out all.png")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders.", autocompletion=shell_completion.runs),
    ],
    out: Annotated[Path, typer.Option(help=".png, .pdf, .svg: losses by images seen and by time.")] = Path(
        "compare.png"
    ),
    *,
    look: opt.Look,
    output: Output,
) -> None:
    """Put runs side by side: where they differ, what they cost, and what came of them."""
    values.check_out(out, SUFFIXES)

    from genmnist.report import comparison

    found = comparison.compare(*runs)
    chart = found.chart()
    chart.save(out, opt.about(), look)
    output.table(*found.table())
    groups = [*found.groups()]
    if len(groups) > 1:
        output.say(
            "Measured in different ways, so no distance of one table compares with that of another:",
            apart=True,
        )
    for basis, table in groups:
        output.say(f"{basis}:", apart=True)
        output.table(*table)
    rows = {name: dict(row) for name, row in found.rows.items()}
    for name, one in found.measured.items():
        rows[name]["measured"] = one.basis._asdict() | comparison.measures(one)
    output.note(runs=[{"run": name, **row, "settings": found.settings[name]} for name, row in rows.items()])
    output.wrote(out, chart.image())
