"""`genmnist complete`: a part of a digit goes in, whole digits come out."""

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
from genmnist.families.sampling import RESAMPLE
from genmnist.figures.style import SUFFIXES
from genmnist.runs.find import find


def command(family: Family) -> Callable[..., None]:
    """Return `complete` for a family."""
    sampling = cast("Any", family.sampling)

    def complete(
        *,
        start: Start,
        mask: Annotated[
            str,
            typer.Option(
                metavar="SIDE|FILE",
                help="What is hidden: left, right, top or bottom, or where a picture of the images' size is "
                "white.",
            ),
        ] = "right",
        request: NoLabels,
        weaker: NoWeaker,
        how: dict[str, Any],
        num: Annotated[int, typer.Option("--num", "-n", help="How many completions.", min=1, max=30)] = 8,
        resample: Annotated[
            int,
            typer.Option(
                help="How often each step is taken, for what is drawn to agree with what is known.",
                min=1,
                max=100,
            ),
        ] = RESAMPLE,
        out: Annotated[
            Path,
            typer.Option(help=".png, .pdf, .svg: the digit, what is known of it, completions; .npz: arrays."),
        ] = Path(f"{family.name}-completions.png"),
        look: opt.Look,
        common: opt.Common,
        output: Output,
    ) -> None:
        values.check_out(out, (*SUFFIXES, ".npz"))
        chosen = sampling.completing(**how)
        labels = request.asked
        start.check()

        from genmnist.data import centred

        if mask not in centred.SIDES:
            centred.read(Path(mask))
        found = find(family.name, common.model)

        import torch

        from genmnist import drawing
        from genmnist.models import Diffusion

        model = cast("Diffusion", common.load(found, family.name, output))
        size = model.shape[1:]
        hidden = centred.half(mask, size) if mask in centred.SIDES else centred.hidden(Path(mask), size)
        image = start.take(model, common.seed, output)
        asked = ask(model, labels, request, weaker, chosen, common, output)
        with output.progress("completing", num * max(1, len(asked.labels))) as advance:
            drawn = drawing.completions(
                model, asked, image, torch.from_numpy(hidden), num=num, resample=resample, watch=advance
            )
        picture = drawn.write(out, common.about(found), look)
        output.note(mask=mask, **drawn.facts)
        output.wrote(out, picture)

    groups = {"common": opt.Common, "request": WISHES[family.labels], "weaker": weaker_of(family),
              "how": sampling, "look": opt.Look, "start": Start}  # fmt: skip
    return opt.with_options(
        complete, groups, opt.sampling_default(sampling.completing), "What to complete", _examples(family)
    )


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"complete {name} --digit 7 --mask left"
    yield f"complete {name} --image mine.png --mask bottom --num 12"
    if family.labels == "own":
        yield f"complete {name} --digit 3 --mask left --label 3,8"
