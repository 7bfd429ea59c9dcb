"""`genmnist reverse-trace`: how digits come out of noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.request import IN_TURN, Request, Weaker, ask, of
from genmnist.families import Family
from genmnist.figures.style import SUFFIXES


def command(family: Family) -> Callable[..., None]:
    """Return `reverse-trace` for a family."""
    sampling: Any = family.sampling

    def reverse_trace(
        *,
        request: Request,
        how: dict[str, Any],
        num: Annotated[int, typer.Option("--num", "-n", help="How many images.", min=1, max=100)] = 4,
        timesteps: Annotated[
            str | None,
            typer.Option(
                metavar="T,…",
                help="Where to look; the sampler passes through each of them.",
                show_default="999,899,499,199,99,49,19,0 of 1000",
            ),
        ] = None,
        show_x0: Annotated[
            bool,
            typer.Option("--show-x0", help="Show the clean image predicted at each of them, underneath."),
        ] = False,
        out: Annotated[
            Path,
            typer.Option(help=".png, .pdf, .svg: a row an image; .gif: the steps of the sampler in motion."),
        ] = Path(f"{family.name}-reverse-trace.png"),
        weaker: Weaker,
        look: opt.MovingLook,
        common: opt.Common,
        output: Output,
    ) -> None:
        values.check_out(out, (*SUFFIXES, ".gif"))
        chosen = sampling.choose(**how)
        visit = values.whole_numbers(timesteps, "timesteps") if timesteps else []
        labels = request.asked
        model = common.load(family.name, output)

        from genmnist import drawing

        asked = ask(model, labels, request, weaker, chosen, common, output)
        with output.progress("denoising", chosen.steps + len(visit)) as advance:
            drawn = drawing.reverse_trace(
                model, asked, num=num,
                timesteps=visit, show_x0=show_x0, animated=out.suffix == ".gif", watch=advance,
            )  # fmt: skip
        common.write(drawn, out, model, look, output)

    examples = (
        f"reverse-trace {family.name} --show-x0",
        *([f"reverse-trace {family.name} --label 7 --num 2"] if family.labels == "own" else ()),
        f"reverse-trace {family.name} --timesteps 900,500,100,0 --out trace.png",
        f"reverse-trace {family.name} --out trace.gif",
    )
    return opt.for_family(
        reverse_trace, family, sampling.choose, "What to trace", examples,
        request=of(family, *IN_TURN), how=sampling,
    )  # fmt: skip
