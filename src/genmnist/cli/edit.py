"""`genmnist edit`: a digit goes in, digits like it come out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.digits import Start
from genmnist.cli.request import IN_ROWS, Request, Weaker, ask, of
from genmnist.families import Family
from genmnist.families.sampling import STRENGTH
from genmnist.figures.style import SUFFIXES


def command(family: Family) -> Callable[..., None]:
    """Return `edit` for a family."""
    sampling: Any = family.sampling

    def edit(
        *,
        start: Start,
        request: Request,
        weaker: Weaker,
        how: dict[str, Any],
        strength: Annotated[
            float,
            typer.Option(
                help="How far into the noise and back, as a share of the timesteps; of 1 nothing is left.",
                min=0.01,
                max=1,
            ),
        ] = STRENGTH,
        num: Annotated[int, typer.Option("--num", "-n", help="How many edits.", min=1, max=30)] = 8,
        out: Annotated[
            Path, typer.Option(help=".png, .pdf, .svg: the digit and its edits; .npz: arrays.")
        ] = Path(f"{family.name}-edits.png"),
        look: opt.Look,
        common: opt.Common,
        output: Output,
    ) -> None:
        values.check_out(out, (*SUFFIXES, ".npz"))
        chosen = sampling.choose(**how)
        labels = request.asked
        start.check()
        model = common.load(family.name, output)

        from genmnist import drawing

        image = start.take(model, common.seed, output)
        asked = ask(model, labels, request, weaker, chosen, common, output)
        with output.progress("editing", num * max(1, len(asked.labels))) as advance:
            drawn = drawing.edits(model, asked, image, strength=strength, num=num, watch=advance)
        common.write(drawn, out, model, look, output)

    return opt.for_family(
        edit, family, sampling.choose, "What to edit", _examples(family),
        request=of(family, *IN_ROWS), how=sampling,
    )  # fmt: skip


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"edit {name} --digit 7 --strength 0.4"
    if family.labels == "own":
        yield f"edit {name} --image mine.png --strength 0.6 --label 8"
        yield f"edit {name} --digit 3 --label 0-9 --num 4"
    else:
        yield f"edit {name} --image mine.png --num 12"
