"""`genmnist edit`: a digit goes in, digits like it come out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.digits import Start
from genmnist.cli.labels import WISHES, NoLabels, ask
from genmnist.cli.weaker import NoWeaker
from genmnist.cli.weaker import of as weaker_of
from genmnist.families import Family
from genmnist.families.sampling import STRENGTH
from genmnist.figures.style import SUFFIXES
from genmnist.runs.find import find


def command(family: Family) -> Callable[..., None]:
    """Return `edit` for a family."""
    sampling = cast("Any", family.sampling)

    def edit(
        *,
        start: Start,
        request: NoLabels,
        weaker: NoWeaker,
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
        found = find(family.name, common.model)

        from genmnist import drawing
        from genmnist.models import Diffusion

        model = cast("Diffusion", common.load(found, family.name, output))
        image = start.take(model, common.seed, output)
        asked = ask(model, labels, request, weaker, chosen, common, output)
        with output.progress("editing", num * max(1, len(asked.labels))) as advance:
            drawn = drawing.edits(model, asked, image, strength=strength, num=num, watch=advance)
        picture = drawn.write(out, common.about(found), look)
        output.note(**drawn.facts)
        output.wrote(out, picture)

    groups = {"common": opt.Common, "request": WISHES[family.labels], "weaker": weaker_of(family),
              "how": sampling, "look": opt.Look, "start": Start}  # fmt: skip
    return opt.with_options(
        edit, groups, opt.sampling_default(sampling.choose), "What to edit", _examples(family)
    )


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"edit {name} --digit 7 --strength 0.4"
    if family.labels == "own":
        yield f"edit {name} --image mine.png --strength 0.6 --label 8"
        yield f"edit {name} --digit 3 --label 0-9 --num 4"
    else:
        yield f"edit {name} --image mine.png --num 12"
