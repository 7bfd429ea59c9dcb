"""`genmnist complete`: a part of a digit goes in, whole digits come out."""

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
from genmnist.families.sampling import RESAMPLE
from genmnist.figures.style import SUFFIXES


def command(family: Family) -> Callable[..., None]:
    """Return `complete` for a family."""
    sampling: Any = family.sampling

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
        request: Request,
        weaker: Weaker,
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
        model = common.load(family.name, output)

        import torch

        from genmnist import drawing

        size = model.shape[1:]
        hidden = centred.half(mask, size) if mask in centred.SIDES else centred.hidden(Path(mask), size)
        image = start.take(model, common.seed, output)
        asked = ask(model, labels, request, weaker, chosen, common, output)
        with output.progress("completing", num * max(1, len(asked.labels))) as advance:
            drawn = drawing.completions(
                model, asked, image, torch.from_numpy(hidden), num=num, resample=resample, watch=advance
            )
        output.note(mask=mask)
        common.write(drawn, out, model, look, output)

    return opt.for_family(
        complete, family, sampling.completing, "What to complete", _examples(family),
        request=of(family, *IN_ROWS), how=sampling,
    )  # fmt: skip


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"complete {name} --digit 7 --mask left"
    yield f"complete {name} --image mine.png --mask bottom --num 12"
    if family.labels == "own":
        yield f"complete {name} --digit 3 --mask left --label 3,8"
