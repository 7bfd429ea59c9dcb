"""`genmnist reconstruct`: what is left of an image on its way through a code."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.families import Family
from genmnist.figures.style import SUFFIXES
from genmnist.runs.find import find_data


def command(family: Family) -> Callable[..., None]:
    """Return `reconstruct` for a family."""

    def reconstruct(
        *,
        num: Annotated[
            int | None,
            typer.Option(
                "--num", "-n", help="How many images.", show_default="one a label, up to 10", min=1, max=40
            ),
        ] = None,
        labels: Annotated[
            str | None,
            typer.Option(
                "--label",
                metavar="LABELS",
                help="Of which labels, by number or name, in turn: 7, or 3,1,4, or 0-9.",
                show_default="all",
            ),
        ] = None,
        out: Annotated[
            Path, typer.Option(help=".png, .pdf, .svg: test images above their reconstructions.")
        ] = Path(f"{family.name}-reconstructions.png"),
        look: opt.Look,
        common: opt.Common,
        output: Output,
        data: opt.Data,
    ) -> None:
        values.check_out(out, SUFFIXES)
        asked = values.labels(labels, "labels") if labels is not None else []
        given = data.given()
        model = common.load(family.name, output)

        from genmnist import drawing

        test = find_data(model.trained, **given).test
        drawn = drawing.reconstructions(model, test, common.seed, num, labels=asked)
        common.write(drawn, out, model, look, output)

    examples = (f"reconstruct {family.name}", f"reconstruct {family.name} --label 3,8 --num 20")
    return opt.with_options(reconstruct, panel="What to reconstruct", examples=examples)
