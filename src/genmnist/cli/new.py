"""`genmnist new`: a lesson, as a notebook of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmnist import labs
from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output


@opt.command("What to copy", "new lab1", "new lab2 --out course/diffusion.ipynb")
def new(
    lab: Annotated[
        str,
        typer.Argument(
            metavar="LAB",
            help="; ".join(f"{name}: {title}" for name, title in labs.LABS.items()) + ".",
            autocompletion=lambda: [*labs.LABS],
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The notebook, .ipynb.", show_default="LAB.ipynb")] = None,
    *,
    output: Output,
) -> None:
    """Copy a lab beside you: a notebook to learn by, with exercises that check your answers."""
    labs.cells(lab)  # says what there is before anything is written
    path = Path(f"{lab}.ipynb") if out is None else out
    values.check_out(path, (".ipynb",))
    labs.copy(lab, path)
    output.wrote(path)
    output.say(f"open it with `jupyter lab {path}`, which `pip install jupyterlab` brings, or in an editor")
